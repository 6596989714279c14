/* SPDX-License-Identifier: MIT */
/* The bound side of a replica: one ROUTER for peers and clients alike. */
#ifndef ZN_PATTERN_SERVER_H
#define ZN_PATTERN_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pattern/pattern.h"

struct zn_server;

struct zn_server_config {
    void *context;
    const struct zmqnet_replica *self;
    size_t message_max;
    uint32_t connections_max;
    int epoll_fd;
    uint32_t token, watch_token; /* of its two descriptors */
    uint64_t seed;
    const struct zn_sink *sink; /* outlives the server */
};

/* Returns what zn_pattern.open() returns and fills *diag on failure. */
int zn_server_open(const struct zn_server_config *config, struct zn_server **out,
                   struct zmqnet_diag *diag);
/* What was sent just before still leaves, for at most linger_ms; does not block. */
void zn_server_close(struct zn_server **s, int linger_ms);

int zn_server_reply(struct zn_server *s, zn_route route, struct zn_blob *frame);
/* epoll reported a descriptor of ours. */
void zn_server_ready(struct zn_server *s, uint32_t token);
void zn_server_turn(struct zn_server *s, uint64_t now_us);
uint64_t zn_server_next_us(const struct zn_server *s);
bool zn_server_pending(struct zn_server *s);

#endif
