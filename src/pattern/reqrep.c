/* SPDX-License-Identifier: MIT */
/*
 * The pattern "reqrep": one REQ per peer, in lock step: a question, its answer, the next question. The
 * loop's thread.
 *
 * The bound side is the same ROUTER as in the pattern router, which a REQ cannot tell from a REP: but
 * it takes the next question while an answer is still owed, so that two replicas that broadcast to
 * each other at once do not wait for each other.
 *
 * Lazy Pirate without closing the socket: REQ is relaxed, so that a question may follow one that was
 * not answered, and correlated, so that the late answer to the first is not taken for the second's.
 * When to do so is core's decision (zn_pattern.lock_step).
 */
#include <zmq.h>

#include "pattern/carrier.h"

static int reqrep_open(const struct zn_pattern_config *config, struct zn_carrier **out,
                       struct zmqnet_diag *diag)
{
    static const struct zn_carrier_kind kind = {
        .bytes = sizeof(struct zn_carrier),
        .link_socket = ZMQ_REQ,
        .link_port = zn_carrier_main_port,
        .files_per_peer = 3,
    };
    return zn_carrier_open(config, &kind, out, diag);
}

const struct zn_pattern zn_pattern_reqrep = {
    .name = "reqrep",
    .mixes_with = "router",
    .lock_step = true,
    .open = reqrep_open,
    ZN_CARRIER_CALLS,
};
