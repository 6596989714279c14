/* SPDX-License-Identifier: MIT */
/* The PULL of a replica, where its subscribers answer, and what is said to that of a peer. */
#ifndef ZN_PATTERN_ACK_H
#define ZN_PATTERN_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include "pattern/carrier.h"
#include "pattern/frames.h"
#include "pattern/publish.h"

/* On the link to a peer's ack port; a gap report has no frame. As zn_link_send(). */
int zn_ack_send(struct zn_link *l, struct zn_ack_head head, struct zn_blob *frame);

struct zn_ack;

/* Binds the ack port. Carrier and publish, which knows the subscribers, outlive it. Returns what
 * zn_pattern.open() returns and fills *diag on failure. */
int zn_ack_open(struct zn_carrier *carrier, struct zn_publish *publish,
                const struct zn_pattern_config *config, uint32_t token, struct zn_ack **out,
                struct zmqnet_diag *diag);
/* *a may be NULL. */
void zn_ack_close(struct zn_ack **a);

/* There may be something to read. */
void zn_ack_ready(struct zn_ack *a);
void zn_ack_turn(struct zn_ack *a);
bool zn_ack_pending(const struct zn_ack *a);

#endif
