/* SPDX-License-Identifier: MIT */
/*
 * What every pattern is built on: libzmq's context, the bound server of a replica, and one supervised
 * link per peer. A pattern that needs no more uses these functions as they are; one that has further
 * sockets embeds the carrier as the first member of its own struct.
 */
#ifndef ZN_PATTERN_CARRIER_H
#define ZN_PATTERN_CARRIER_H

#include "pattern/link.h"
#include "pattern/pattern.h"
#include "pattern/server.h"

/* epoll's tokens: a link's is its peer's index; these stand behind them, then a pattern's own. */
enum {
    ZN_TOKEN_SERVER = ZN_REPLICAS_MAX,
    ZN_TOKEN_WATCH,
    ZN_TOKEN_RESOLVER,
    ZN_TOKEN_PATTERN, /* the first that a pattern may use for itself */
};

/* How long sockets that are closed may go on sending what they have taken. */
#define ZN_CLOSE_LINGER_MS 100

/* What the patterns differ in. */
struct zn_carrier_kind {
    size_t bytes;    /* of the struct that begins with the carrier */
    int link_socket; /* libzmq's type of the socket of a link */
    uint16_t (*link_port)(const struct zmqnet_replica *replica); /* where it connects to */
    unsigned files_per_peer; /* descriptors, while its links are being made */
};

struct zn_carrier {
    struct zn_sink sink;
    void *context;
    bool is_client;
    struct zn_server *server; /* NULL: a client */
    struct zn_links links;
    struct zn_link *link; /* links_n of them, one per replica; our own stays idle */
    size_t links_n;
    bool resolver_due;
};

/* The port that a replica is known by. */
uint16_t zn_carrier_main_port(const struct zmqnet_replica *replica);

/* As zn_pattern.open(); what stands behind the carrier in its struct is zero. */
int zn_carrier_open(const struct zn_pattern_config *config, const struct zn_carrier_kind *kind,
                    struct zn_carrier **out, struct zmqnet_diag *diag);
/* What failed to open said why, or it is said here. */
void zn_carrier_explain(int code, struct zmqnet_diag *diag);
/* As in struct zn_pattern. */
void zn_carrier_close(struct zn_carrier **c);
void zn_carrier_want(struct zn_carrier *c, int peer);
void zn_carrier_reset(struct zn_carrier *c, int peer);
void zn_carrier_good(struct zn_carrier *c, int peer);
int zn_carrier_send(struct zn_carrier *c, int peer, struct zn_blob *frame);
int zn_carrier_reply(struct zn_carrier *c, zn_route route, struct zn_blob *frame);
void zn_carrier_ready(struct zn_carrier *c, uint32_t token);
void zn_carrier_turn(struct zn_carrier *c, uint64_t now_us);
bool zn_carrier_pending(struct zn_carrier *c);
uint64_t zn_carrier_next_us(const struct zn_carrier *c);

/* All but `open` of a pattern that needs no more than the carrier. */
/* clang-format off */
#define ZN_CARRIER_CALLS                                                                           \
    .close = zn_carrier_close, .want = zn_carrier_want, .reset = zn_carrier_reset,                 \
    .good = zn_carrier_good, .send = zn_carrier_send, .reply = zn_carrier_reply,                   \
    .ready = zn_carrier_ready, .turn = zn_carrier_turn, .pending = zn_carrier_pending,             \
    .next_us = zn_carrier_next_us
/* clang-format on */

#endif
