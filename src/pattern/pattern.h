/* SPDX-License-Identifier: MIT */
/*
 * A pattern: how bytes reach a peer and come back. One file per pattern behind one const table.
 *
 * A pattern keeps, for each peer that is wanted, one outgoing link, and makes it anew for as long as
 * it is wanted (back-off with jitter, reset when the link was good); and on a replica it listens and
 * gives each thing that arrives a route for its answer. It decides nothing about retries, quorum or
 * liveness: it says "up", "lost", "failed because", and hands over bytes.
 *
 * A link is one connection: a lost connection is never resumed, so what a link delivers after UP
 * belongs to that connection alone.
 *
 * One thread, the loop's, calls everything here. Nothing blocks. The sink is only called from turn().
 */
#ifndef ZN_PATTERN_PATTERN_H
#define ZN_PATTERN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mesh.h"

/* What a pattern reports. `bytes` are valid until the function returns. */
struct zn_sink {
    void *arg;
    void (*link_up)(void *arg, int peer);
    void (*link_lost)(void *arg, int peer);
    void (*link_failed)(void *arg, int peer, enum zn_why why);
    void (*link_writable)(void *arg, int peer); /* after a send() that returned ZMQNET_EFULL */
    void (*link_gap)(void *arg, int peer);      /* the peer says that it has missed something */
    void (*link_bytes)(void *arg, int peer, const void *bytes, size_t n);
    void (*route_bytes)(void *arg, zn_route route, uint64_t connection, const void *bytes,
                        size_t n);
    void (*count)(void *arg, enum zn_counter counter); /* bad input, dropped */
};

struct zn_pattern_config {
    const zmqnet_peers *peers; /* outlives the carrier */
    int self;                  /* listens on its port; -1: a client, listens nowhere */
    size_t message_max;        /* largest body; frames may be ZN_BODY_OVERHEAD longer, or a batch */
    int epoll_fd;              /* where the pattern registers its descriptors, level-triggered, with
                                * data.u64 below 1 << 32: those come back in ready() */
    uint64_t seed;             /* of jitter */
    struct zn_sink sink;
};

struct zn_carrier; /* an open pattern; each pattern has its own */

struct zn_pattern {
    const char *name;
    const char *mixes_with; /* another pattern whose replicas it can talk to; NULL: none */
    bool lock_step;         /* as in struct zn_mesh_config */

    /* Binds the port. Returns 0, ZMQNET_EADDRINUSE, ZMQNET_EADDR, ZMQNET_ENOFILE, ZMQNET_ESYSTEM,
     * ZMQNET_ENOMEM, and says more in *diag (never NULL). May block while our own address resolves. */
    int (*open)(const struct zn_pattern_config *config, struct zn_carrier **out,
                struct zmqnet_diag *diag);
    /* Frees everything; what was sent just before still leaves, for at most 100 ms. */
    void (*close)(struct zn_carrier **c);

    /* Make a link to this peer and keep it up. Idempotent. */
    void (*want)(struct zn_carrier *c, int peer);
    /* Drop the link to this peer now, without a report, and make a new one after a back-off. */
    void (*reset)(struct zn_carrier *c, int peer);
    /* The peer has proved to be who it should be: the next back-off starts small again. */
    void (*good)(struct zn_carrier *c, int peer);

    /* Hand over one frame; takes a reference of its own if it keeps the blob. Returns 0 (which says
     * nothing about delivery), ZMQNET_EFULL (link_writable will follow, if the link lives),
     * ZMQNET_ENOMEM, or ZMQNET_ENEVERSENT (there is no such link or route any more). */
    int (*send)(struct zn_carrier *c, int peer, struct zn_blob *frame);
    int (*reply)(struct zn_carrier *c, zn_route route, struct zn_blob *frame);

    /* epoll reported this descriptor. */
    void (*ready)(struct zn_carrier *c, uint32_t token);
    /* Read what is readable, within ZN_TURN_FRAMES_MAX per socket, and run timers that are due. */
    void (*turn)(struct zn_carrier *c, uint64_t now_us);
    /* Before sleeping: true if turn() has more to do at once. */
    bool (*pending)(struct zn_carrier *c);
    /* When turn() has to run without a descriptor being ready; UINT64_MAX: never. */
    uint64_t (*next_us)(const struct zn_carrier *c);
};

extern const struct zn_pattern zn_pattern_router;
extern const struct zn_pattern zn_pattern_reqrep;
extern const struct zn_pattern zn_pattern_pubsub;

/* By name, NULL if there is none. A NULL name means the default. */
const struct zn_pattern *zn_pattern_find(const char *name);

#endif
