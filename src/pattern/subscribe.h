/* SPDX-License-Identifier: MIT */
/* One SUB to each peer whose ack port we have reached: what the peers tell us, and our answers. */
#ifndef ZN_PATTERN_SUBSCRIBE_H
#define ZN_PATTERN_SUBSCRIBE_H

#include <stdbool.h>
#include <stdint.h>

#include "pattern/carrier.h"

struct zn_subscribe;

/* The carrier, whose links go to the ack ports of the peers, outlives it. Descriptors are registered
 * under `token` + peer. Returns 0 or ZMQNET_ENOMEM. */
int zn_subscribe_open(struct zn_carrier *carrier, const struct zn_pattern_config *config,
                      uint32_t token, struct zn_subscribe **out);
/* *s may be NULL. */
void zn_subscribe_close(struct zn_subscribe **s);

/* The carrier's link to this peer is up; it is not any more (idempotent). */
void zn_subscribe_begin(struct zn_subscribe *s, int peer);
void zn_subscribe_end(struct zn_subscribe *s, int peer);

/* Is this a route of ours, or one of the server's? */
bool zn_subscribe_owns(zn_route route);
int zn_subscribe_reply(struct zn_subscribe *s, zn_route route, struct zn_blob *frame);

/* epoll reported a descriptor of this peer. */
void zn_subscribe_ready(struct zn_subscribe *s, int peer);
void zn_subscribe_turn(struct zn_subscribe *s, uint64_t now_us);
bool zn_subscribe_pending(const struct zn_subscribe *s);
uint64_t zn_subscribe_next_us(const struct zn_subscribe *s);

#endif
