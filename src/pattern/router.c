/* SPDX-License-Identifier: MIT */
/*
 * The pattern "router": one ROUTER bound for requests in and their answers out, and one DEALER per
 * peer for requests out and their answers in. Any number of questions are open on a link, and each
 * answer finds its own by the id. The loop's thread.
 *
 * Clients of every pattern use it too: they have no server, and a link to each replica that they ask.
 */
#include <zmq.h>

#include "pattern/carrier.h"

static int router_open(const struct zn_pattern_config *config, struct zn_carrier **out,
                       struct zmqnet_diag *diag)
{
    static const struct zn_carrier_kind kind = {
        .bytes = sizeof(struct zn_carrier),
        .link_socket = ZMQ_DEALER,
        .link_port = zn_carrier_main_port,
        .files_per_peer = 3,
    };
    return zn_carrier_open(config, &kind, out, diag);
}

const struct zn_pattern zn_pattern_router = {
    .name = "router",
    .mixes_with = "reqrep",
    .open = router_open,
    ZN_CARRIER_CALLS,
};
