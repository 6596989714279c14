/* SPDX-License-Identifier: MIT */
/*
 * What the pattern reports: links become events, bytes become messages and then events. The loop's.
 *
 * Bytes that are not understood are counted by core under the name of what is wrong with them, and
 * whoever sent them to our port is told, since a client that waits for an answer would wait for ever.
 */
#include "node/node.h"

#include <assert.h>

static void count(void *arg, enum zn_counter counter)
{
    const struct zn_event event = {.type = ZN_EV_COUNT, .peer = -1, .counter = counter};
    zn_node_step(arg, &event);
}

static void link_event(zmqnet_node *node, enum zn_event_type type, int peer, enum zn_why why)
{
    const struct zn_event event = {.type = type, .peer = peer, .why = why};
    zn_node_step(node, &event);
}

static void link_up(void *arg, int peer) { link_event(arg, ZN_EV_LINK_UP, peer, ZN_WHY_NONE); }

static void link_lost(void *arg, int peer) { link_event(arg, ZN_EV_LINK_LOST, peer, ZN_WHY_NONE); }

static void link_failed(void *arg, int peer, enum zn_why why)
{
    link_event(arg, ZN_EV_LINK_FAILED, peer, why);
}

static void link_writable(void *arg, int peer)
{
    link_event(arg, ZN_EV_LINK_WRITABLE, peer, ZN_WHY_NONE);
}

static void link_gap(void *arg, int peer) { link_event(arg, ZN_EV_LINK_GAP, peer, ZN_WHY_NONE); }

static enum zn_counter counter_of(enum zn_wire_error error)
{
    switch (error) {
    case ZN_WIRE_EMPTY: return ZN_COUNT_empty_message;
    case ZN_WIRE_TYPE: return ZN_COUNT_unknown_type;
    case ZN_WIRE_KIND: return ZN_COUNT_unknown_kind;
    case ZN_WIRE_OVERSIZE: return ZN_COUNT_oversize;
    case ZN_WIRE_LIMIT:
    case ZN_WIRE_MEMORY: return ZN_COUNT_over_limit;
    case ZN_WIRE_OK:
    case ZN_WIRE_MALFORMED: break;
    }
    return ZN_COUNT_bad_protobuf;
}

static void bad_message(zmqnet_node *node, int peer, zn_route route, enum zn_wire_error error)
{
    const struct zn_event event = {
        .type = ZN_EV_BAD,
        .peer = peer,
        .route = route,
        .counter = counter_of(error),
        .code = error == ZN_WIRE_OVERSIZE ? ZMQNET_ETOOBIG : ZMQNET_EPROTO,
    };
    zn_node_step(node, &event);
}

/* One frame, from the link to a peer (route 0) or from our port (peer -1). */
static void frame(zmqnet_node *node, int peer, zn_route route, uint64_t connection,
                  const void *bytes, size_t n)
{
    struct zn_msg msg;
    enum zn_wire_error error;
    struct zn_event event = {
        .type = route ? ZN_EV_ROUTE_MSG : ZN_EV_LINK_MSG,
        .peer = peer,
        .route = route,
        .connection = connection,
        .msg = &msg,
    };
    zn_mesh_count(node->mesh, ZN_COUNT_frames_in);
    zn_decoder_begin(node->decoder, bytes, n);
    while (zn_decoder_next(node->decoder, &msg, &error)) {
        if (error != ZN_WIRE_OK) {
            bad_message(node, peer, route, error);
            continue;
        }
        zn_node_step(node, &event);
        zn_msg_drop(&msg);
    }
}

static void link_bytes(void *arg, int peer, const void *bytes, size_t n)
{
    frame(arg, peer, 0, 0, bytes, n);
}

static void route_bytes(void *arg, zn_route route, uint64_t connection, const void *bytes, size_t n)
{
    frame(arg, -1, route, connection, bytes, n);
}

struct zn_sink zn_node_sink(zmqnet_node *node)
{
    return (struct zn_sink){
        .arg = node,
        .link_up = link_up,
        .link_lost = link_lost,
        .link_failed = link_failed,
        .link_writable = link_writable,
        .link_gap = link_gap,
        .link_bytes = link_bytes,
        .route_bytes = route_bytes,
        .count = count,
    };
}
