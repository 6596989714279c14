/* SPDX-License-Identifier: MIT */
/*
 * The XPUB of a replica: what it tells its peers, and which of them listen. A peer's link, as core
 * sees it, is up while the peer's subscription stands here.
 */
#ifndef ZN_PATTERN_PUBLISH_H
#define ZN_PATTERN_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "pattern/carrier.h"

struct zn_publish;

/* Binds the pub port. The carrier, whose links go to the ack ports of the peers, outlives it. Returns
 * what zn_pattern.open() returns and fills *diag on failure. */
int zn_publish_open(struct zn_carrier *carrier, const struct zn_pattern_config *config,
                    uint32_t token, struct zn_publish **out, struct zmqnet_diag *diag);
/* *p may be NULL. What was sent just before still leaves, for at most linger_ms; does not block. */
void zn_publish_close(struct zn_publish **p, int linger_ms);

/* As in struct zn_pattern. */
void zn_publish_want(struct zn_publish *p, int peer);
void zn_publish_reset(struct zn_publish *p, int peer);
void zn_publish_good(struct zn_publish *p, int peer);
int zn_publish_send(struct zn_publish *p, int peer, struct zn_blob *frame);

/* The carrier's link to this peer is up, or not: lost (NONE), or failed because. May call the sink. */
void zn_publish_reached(struct zn_publish *p, int peer);
void zn_publish_unreached(struct zn_publish *p, int peer, enum zn_why why);

/* Whose subscription this is; -1: nobody's. And is its link up, or held back after a reset? */
int zn_publish_peer_of(const struct zn_publish *p, uint64_t nonce);
bool zn_publish_is_up(const struct zn_publish *p, int peer);
/* Its subscription has answered, so it is alive. */
void zn_publish_answered(struct zn_publish *p, int peer);

/* epoll reported the descriptor. */
void zn_publish_ready(struct zn_publish *p);
bool zn_publish_is_due(const struct zn_publish *p);
void zn_publish_turn(struct zn_publish *p, uint64_t now_us);
/* Also publishes what was held until now. */
bool zn_publish_pending(struct zn_publish *p);
uint64_t zn_publish_next_us(const struct zn_publish *p);

#endif
