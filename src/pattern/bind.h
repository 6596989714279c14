/* SPDX-License-Identifier: MIT */
/* What the sockets that listen have in common: where, and the sentence that says why not. */
#ifndef ZN_PATTERN_BIND_H
#define ZN_PATTERN_BIND_H

#include <stdint.h>

#include "model/peers.h"
#include "pattern/address.h"

/* One port of a replica. */
struct zn_bind {
    const struct zmqnet_replica *self;
    uint16_t port;
    const char *what; /* "pub port"; NULL: the one that the replica is known by */
};

/* All of these fill *diag when they fail, and return its code. */
int zn_bind_explain(const struct zn_bind *b, struct zmqnet_diag *diag, int code, const char *text,
                    const char *more);
/* Blocks for as long as the system's resolver does. Returns 0 or ZMQNET_EADDR. */
int zn_bind_resolve(const struct zn_bind *b, struct zn_address *out, struct zmqnet_diag *diag);
/* Binds, and registers the socket's descriptor under `token`. Returns what zn_pattern.open() does. */
int zn_bind_listen(const struct zn_bind *b, const struct zn_address *at, void *socket, int epoll_fd,
                   uint32_t token, struct zmqnet_diag *diag);

/* A descriptor to be reported as readable under `token`. Returns 0 or ZMQNET_ESYSTEM. */
int zn_bind_watch(int epoll_fd, int fd, uint32_t token);
/* Closes a socket that may be registered; NULL is allowed. What was sent just before still leaves,
 * for at most linger_ms. */
void zn_bind_close(void **socket, int epoll_fd, int linger_ms);

#endif
