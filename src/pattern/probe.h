/* SPDX-License-Identifier: MIT */
/*
 * A probe: one TCP connection of our own that finds out whether a ZeroMQ peer listens at an address,
 * and if not, why, which libzmq does not tell.
 */
#ifndef ZN_PATTERN_PROBE_H
#define ZN_PATTERN_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mesh.h"
#include "pattern/address.h"

#define ZN_PROBE_CONNECT_US (1 * ZN_SECOND)
#define ZN_PROBE_ANSWER_US (2 * ZN_SECOND)

struct zn_probe {
    const char *socket_type; /* that we say we are: one that the listener takes */
    int fd;                  /* -1: no probe is going on */
    bool connected;
    uint32_t token;
    uint8_t heard[128]; /* what the peer said so far */
    uint32_t heard_bytes;
};

enum zn_probe_result { ZN_PROBE_PENDING, ZN_PROBE_CONNECTED, ZN_PROBE_OK, ZN_PROBE_FAILED };

/* socket_type: static text, "DEALER", "PUSH", "SUB". */
void zn_probe_init(struct zn_probe *p, const char *socket_type);
/* Begin; the descriptor is registered under `token`. Then, and whenever epoll reports it, call
 * zn_probe_step(): PENDING; CONNECTED, once: give it ZN_PROBE_ANSWER_US from now; OK; FAILED and *why.
 * After OK and FAILED it has ended itself. */
enum zn_probe_result zn_probe_begin(struct zn_probe *p, const struct zn_address *to, int epoll_fd,
                                    uint32_t token, enum zn_why *why);
enum zn_probe_result zn_probe_step(struct zn_probe *p, int epoll_fd, enum zn_why *why);
/* Give up. Idempotent. */
void zn_probe_end(struct zn_probe *p, int epoll_fd);

#endif
