/* SPDX-License-Identifier: MIT */
/*
 * The pattern "pubsub": each replica publishes what it asks of the others and is answered on a second
 * port. The loop's thread.
 *
 *     publish.c    XPUB at the pub port: requests out. Who subscribes there is a link that is up
 *     ack.c        PULL at the ack port: their answers in
 *     subscribe.c  a SUB per peer: the peer's requests in, and routes for our answers
 *     carrier      a PUSH per peer, supervised as any link: our answers out
 *
 * A PUSH shows when its connection is gone and why it does not come, which a SUB does not; so the
 * PUSH leads. It comes up: we subscribe to that peer. It is lost: the subscription is given up, and so
 * the peer's XPUB sees it end. Clients use the carrier's server as in every pattern.
 */
#include <assert.h>
#include <zmq.h>

#include "pattern/ack.h"
#include "pattern/carrier.h"
#include "pattern/publish.h"
#include "pattern/subscribe.h"

enum {
    TOKEN_PUBLISH = ZN_TOKEN_PATTERN,
    TOKEN_ACK,
    TOKEN_SUBSCRIBE /* and the peers' behind it */
};

/* So often is the ack port read before the end of a subscription is: a whole window of answers. */
#define ANSWER_READS (2 * ZN_WINDOW_MESSAGES_MAX / ZN_TURN_FRAMES_MAX + 1)

struct pubsub {
    struct zn_carrier carrier;
    struct zn_sink link_sink; /* what the links to the ack ports report to */
    struct zn_publish *publish;
    struct zn_ack *ack;
    struct zn_subscribe *subscribe;
};

static struct pubsub *of(struct zn_carrier *c) { return (struct pubsub *)c; }

/* ---- the links to the ack ports ---- */

static void ack_up(void *arg, int peer)
{
    struct pubsub *s = arg;
    zn_publish_reached(s->publish, peer);
    zn_subscribe_begin(s->subscribe, peer);
}

static void ack_failed(void *arg, int peer, enum zn_why why)
{
    struct pubsub *s = arg;
    zn_subscribe_end(s->subscribe, peer);
    zn_publish_unreached(s->publish, peer, why);
}

static void ack_lost(void *arg, int peer) { ack_failed(arg, peer, ZN_WHY_NONE); }

/* What found no room there was counted as lost. */
static void ack_writable(void *arg, int peer)
{
    (void)arg;
    (void)peer;
}

static void ack_count(void *arg, enum zn_counter counter)
{
    const struct zn_sink *sink = &of(arg)->carrier.sink;
    sink->count(sink->arg, counter);
}

/* Nothing can be read from a PUSH. */
static struct zn_sink link_sink(struct pubsub *s)
{
    return (struct zn_sink){
        .arg = s,
        .link_up = ack_up,
        .link_lost = ack_lost,
        .link_failed = ack_failed,
        .link_writable = ack_writable,
        .count = ack_count,
    };
}

/* ---- opening ---- */

static uint16_t ack_port(const struct zmqnet_replica *replica) { return replica->ack_port; }

static void pubsub_close(struct zn_carrier **c)
{
    struct pubsub *s = of(*c);
    if (!s)
        return;
    zn_subscribe_close(&s->subscribe);
    zn_ack_close(&s->ack);
    zn_publish_close(&s->publish, ZN_CLOSE_LINGER_MS);
    zn_carrier_close(c);
}

/* The pub port is bound before the ack port: who reaches the latter will find the former. */
static int open_parts(struct pubsub *s, const struct zn_pattern_config *config,
                      struct zmqnet_diag *diag)
{
    struct zn_carrier *c = &s->carrier;
    int rc = zn_publish_open(c, config, TOKEN_PUBLISH, &s->publish, diag);
    if (rc == 0)
        rc = zn_ack_open(c, s->publish, config, TOKEN_ACK, &s->ack, diag);
    if (rc == 0)
        rc = zn_subscribe_open(c, config, TOKEN_SUBSCRIBE, &s->subscribe);
    return rc;
}

/* Per peer: PUSH and SUB and their connections, the peer's two to us, and a probe each way for each. */
static int pubsub_open(const struct zn_pattern_config *config, struct zn_carrier **out,
                       struct zmqnet_diag *diag)
{
    static const struct zn_carrier_kind kind = {
        .bytes = sizeof(struct pubsub),
        .link_socket = ZMQ_PUSH,
        .link_port = ack_port,
        .files_per_peer = 10,
    };
    assert(config->self >= 0); /* clients of all patterns use the pattern router */
    struct zn_carrier *c = NULL;
    int rc = zmqnet_peers_check_ports(config->peers, diag);
    if (rc != 0)
        return rc;
    rc = zn_carrier_open(config, &kind, &c, diag);
    if (rc != 0)
        return rc;
    of(c)->link_sink = link_sink(of(c));
    c->links.sink = &of(c)->link_sink;
    rc = open_parts(of(c), config, diag);
    if (rc != 0) {
        zn_carrier_explain(rc, diag);
        pubsub_close(&c);
        return rc;
    }
    *out = c;
    return 0;
}

/* ---- the loop's calls ---- */

static void pubsub_want(struct zn_carrier *c, int peer)
{
    zn_carrier_want(c, peer);
    zn_publish_want(of(c)->publish, peer);
}

/* The PUSH is not to blame: it shows by itself when it is broken. */
static void pubsub_reset(struct zn_carrier *c, int peer) { zn_publish_reset(of(c)->publish, peer); }

static void pubsub_good(struct zn_carrier *c, int peer)
{
    zn_carrier_good(c, peer);
    zn_publish_good(of(c)->publish, peer);
}

static int pubsub_send(struct zn_carrier *c, int peer, struct zn_blob *frame)
{
    return zn_publish_send(of(c)->publish, peer, frame);
}

static int pubsub_reply(struct zn_carrier *c, zn_route route, struct zn_blob *frame)
{
    if (zn_subscribe_owns(route))
        return zn_subscribe_reply(of(c)->subscribe, route, frame);
    return zn_carrier_reply(c, route, frame);
}

static void pubsub_ready(struct zn_carrier *c, uint32_t token)
{
    if (token == TOKEN_PUBLISH)
        zn_publish_ready(of(c)->publish);
    else if (token == TOKEN_ACK)
        zn_ack_ready(of(c)->ack);
    else if (token >= TOKEN_SUBSCRIBE)
        zn_subscribe_ready(of(c)->subscribe, (int)(token - TOKEN_SUBSCRIBE));
    else
        zn_carrier_ready(c, token);
}

/* What a subscriber has still answered is read before it is seen that it is gone. */
static void pubsub_turn(struct zn_carrier *c, uint64_t now_us)
{
    struct pubsub *s = of(c);
    if (zn_publish_is_due(s->publish))
        zn_ack_ready(s->ack);
    for (int i = 0; i < ANSWER_READS && (i == 0 || zn_ack_pending(s->ack)); i++)
        zn_ack_turn(s->ack);
    zn_publish_turn(s->publish, now_us);
    zn_subscribe_turn(s->subscribe, now_us);
    zn_carrier_turn(c, now_us);
}

static bool pubsub_pending(struct zn_carrier *c)
{
    struct pubsub *s = of(c);
    bool publish = zn_publish_pending(s->publish);
    return zn_carrier_pending(c) || publish || zn_ack_pending(s->ack) ||
           zn_subscribe_pending(s->subscribe);
}

static uint64_t pubsub_next_us(const struct zn_carrier *c)
{
    const struct pubsub *s = (const struct pubsub *)c;
    uint64_t at_us = zn_carrier_next_us(c);
    uint64_t publish_us = zn_publish_next_us(s->publish);
    uint64_t subscribe_us = zn_subscribe_next_us(s->subscribe);
    at_us = publish_us < at_us ? publish_us : at_us;
    return subscribe_us < at_us ? subscribe_us : at_us;
}

const struct zn_pattern zn_pattern_pubsub = {
    .name = "pubsub",
    .open = pubsub_open,
    .close = pubsub_close,
    .want = pubsub_want,
    .reset = pubsub_reset,
    .good = pubsub_good,
    .send = pubsub_send,
    .reply = pubsub_reply,
    .ready = pubsub_ready,
    .turn = pubsub_turn,
    .pending = pubsub_pending,
    .next_us = pubsub_next_us,
};
