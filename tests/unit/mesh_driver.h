/* SPDX-License-Identifier: MIT */
/*
 * One mesh, driven by hand: the test is the clock, the network, every other replica and the
 * handler. Each step is followed by zn_mesh_check(), and must not have allocated.
 */
#ifndef ZN_TESTS_MESH_DRIVER_H
#define ZN_TESTS_MESH_DRIVER_H

#include "core/core.h"

#define LIFE_OF_CLIENT 0x77u

/* A message that was sent, on a link. */
struct driver_sent {
    enum zn_kind kind;
    struct zmqnet_id id;
    uint64_t floor, at_us;
    uint32_t attempt;
    uint64_t lives[ZN_REPLICAS_MAX]; /* whom its encoding is meant for */
    size_t lives_n;
};

/* A DONE, or a REPLY with what it says. */
struct driver_result {
    zn_route route;
    int status;
    uint32_t need, have;
    struct zn_row rows[ZN_REPLICAS_MAX]; /* without their replies */
    size_t rows_n, reply_bytes;
    const char *why;
    uint64_t at_us;
};

struct driver {
    struct zn_mesh *m;
    zmqnet_peers *peers;
    struct zn_actions out;
    uint64_t now_us;
    uint64_t alive; /* peers that answer pings in drive_for() */
    uint64_t unanswered_pings;
    size_t steps_unchecked;

    /* how often, since the beginning */
    size_t sent[ZN_KINDS], requests_to[ZN_REPLICAS_MAX];
    size_t encodings, deliveries, replies, dones, progresses, notes, resets;
    size_t joined_bytes_max; /* of all frames that hold more than one answer */
    uint32_t joined_answers_max;

    /* the last one */
    struct driver_sent to[ZN_REPLICAS_MAX]; /* REQUEST or SUBMIT */
    uint64_t token;
    struct driver_result done, reply;
};

/* The life of replica p when it was first started. */
static inline uint64_t life_of(int p) { return 0x1000u + (uint64_t)p; }

/* Replicas are r0, r1, ... self -1: a client. Of the config only what is not 0 differs from the
 * default; via counts for clients alone. */
struct driver *drive_open(int n, int self, struct zn_mesh_config config);
void drive_close(struct driver **d);
struct zn_blob *drive_blob(size_t bytes);

int drive(struct driver *d, struct zn_event e);
void drive_flush(struct driver *d);
void drive_tick(struct driver *d);
/* Time passes: each timer is due at its own time, what is ready leaves, d->alive answer pings. */
void drive_for(struct driver *d, uint64_t us);

/* ---- links ---- */
void drive_link(struct driver *d, enum zn_event_type type, int peer);
void drive_link_msg(struct driver *d, int peer, struct zn_msg msg);
void drive_hello_answer(struct driver *d, int peer, uint64_t life);
/* Link up and hello answered. */
void drive_greet(struct driver *d, int peer, uint64_t life);
/* All others, in their first life. They answer pings from now on. */
void drive_greet_all(struct driver *d);
void drive_pong(struct driver *d, int peer);
/* The answer to the last REQUEST to this peer. */
void drive_answer_from(struct driver *d, int peer, int code, struct zn_blob *body);
void drive_reply_from(struct driver *d, int peer, struct zmqnet_id id, int code,
                      struct zn_blob *body);
/* A message without a kind, as the original program answers; type ERROR: it refuses. */
void drive_original_answer(struct driver *d, int peer, enum zn_type type, struct zn_blob *body);
/* Link up, and our hello answered so. */
void drive_greet_original(struct driver *d, int peer);

/* ---- our own port ---- */
struct zn_msg drive_msg(enum zn_type type, enum zn_kind kind, const char *sender);
void drive_route_msg(struct driver *d, zn_route route, struct zn_msg msg);
void drive_hello_from(struct driver *d, zn_route route, int peer, uint64_t life);
void drive_bye_from(struct driver *d, zn_route route, const char *sender, uint64_t life);
void drive_request(struct driver *d, zn_route route, int from, struct zmqnet_id id);
void drive_submit(struct driver *d, zn_route route, struct zmqnet_id id);

/* ---- our user and our handler ---- */
/* timeout 0: five seconds; attempts 0: one. */
void drive_call(struct driver *d, struct zn_call_spec spec);
/* A request to one replica. */
void drive_ask(struct driver *d, int target);
/* What was delivered last. */
void drive_answer(struct driver *d, int code, struct zn_blob *body);

#endif
