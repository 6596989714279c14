/* SPDX-License-Identifier: MIT */
/*
 * The mesh as one pure state machine: an event and the time go in, actions come out.
 *
 * Core knows no socket, thread, clock or environment and allocates nothing after zn_mesh_open().
 * Whoever drives it (node/ over real links, tests/sim/ on a virtual clock) does, for each turn:
 *
 *     for each thing that happened:  zn_mesh_step(m, now, &event, out), carry out `out`
 *     zn_mesh_step(m, now, TICK)     timers that are due
 *     zn_mesh_step(m, now, FLUSH)    again while it returns 1: what is ready for a link leaves together
 *
 * Carrying out an action must not call zn_mesh_step(); what comes of it (a handler's answer, a failed
 * send) is the next event. Pointers in an action are valid until the next step.
 *
 * Links. To each peer there is one outgoing link, named by the peer's index in the peers file:
 * requests leave there and their answers come back there. What arrives on our own port has a route
 * instead: a handle that an answer is given to. Routes are never assumed to be alive. On one connection
 * there may be many, since a correlated REQ makes a new one with each question.
 */
#ifndef ZN_CORE_MESH_H
#define ZN_CORE_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/counters.h"
#include "model/msg.h"
#include "model/peers.h"

typedef uint64_t zn_route; /* 0: none */

/* Why a link is not there, or a row was not answered. One list: name, text. */
#define ZN_WHYS(X)                                                                                 \
    X(NONE, "")                                                                                    \
    X(CONNECTING, "not connected yet")                                                             \
    X(REFUSED, "connection refused")                                                               \
    X(UNREACHABLE, "host unreachable")                                                             \
    X(TIMEOUT, "connection timed out")                                                             \
    X(UNRESOLVED, "name cannot be resolved")                                                       \
    X(RESET, "connection lost")                                                                    \
    X(HANDSHAKE, "no ZeroMQ handshake")                                                            \
    X(NO_HELLO, "connected, but no hello")                                                         \
    X(SILENT, "silent")                                                                            \
    X(LATE, "answers late")                                                                        \
    X(RESTARTED, "restarted")                                                                      \
    X(LEFT, "ended")                                                                               \
    X(NAME, "another replica answers there")                                                       \
    X(OURSELVES, "we answer there ourselves")                                                      \
    X(STRANGER, "its peers file does not have us, or ours not it")                                 \
    X(VERSION, "another protocol version")                                                         \
    X(PATTERN, "another pattern")                                                                  \
    X(ORIGINAL, "the original program answers there, only replicas with reqrep can ask it")        \
    X(NOT_TEXT, "not text, and the original program takes nothing else")                           \
    X(CLASH, "two replicas under one name")                                                        \
    X(QUEUE_FULL, "queue full")                                                                    \
    X(NO_TURN, "not sent in time, others were before it")                                          \
    X(PEER_FULL, "its tables are full")                                                            \
    X(TOO_OLD, "older than its dedup window")                                                      \
    X(NO_ANSWER, "no answer in time")                                                              \
    X(PENDING, "not answered yet")                                                                 \
    X(CLOSING, "closing")                                                                          \
    X(REJECTED, "rejected before its handler")                                                     \
    X(COORDINATOR, "the coordinator refused")                                                      \
    X(NO_REPLICA, "no replica was reached")                                                        \
    X(NO_RECEIPT, "its coordinator did not answer")                                                \
    X(NOT_REACHED, "its coordinator was not reached")                                              \
    X(NO_ROOM, "given up to make room")                                                            \
    X(REPLY_DROPPED, "its reply did not fit the receipt")                                          \
    X(EARLIER, "an earlier life of its coordinator may have sent it")

enum zn_why {
#define ZN_WHY_ENUM(name, text) ZN_WHY_##name,
    ZN_WHYS(ZN_WHY_ENUM)
#undef ZN_WHY_ENUM
        ZN_WHYS_N
};
const char *zn_why_text(enum zn_why why);
/* The number of a cause on the wire, which never changes, in words. */
const char *zn_reach_cause_text(unsigned cause);

/* ---- events: what goes in ---- */

enum zn_ask { ZN_ASK_ALL, ZN_ASK_ONE, ZN_ASK_STATUS };

/* A call of this node's own user. */
struct zn_call_spec {
    uint64_t tag; /* comes back in PROGRESS and DONE */
    enum zn_ask ask;
    int target;           /* ASK_ONE: the replica; a client may say -1: its coordinator itself.
                   * ASK_STATUS (clients): whose view */
    struct zn_blob *body; /* borrowed; core takes its own reference */
    uint64_t timeout_us;  /* > 0 */
    uint32_t attempts;    /* > 0 */
    int32_t quorum;
    bool idempotent;
    bool progress; /* PROGRESS actions wanted */
};

enum zn_event_type {
    ZN_EV_TICK = 1,
    ZN_EV_FLUSH,
    ZN_EV_LINK_UP,       /* peer: the transport can carry bytes to it; hello comes next */
    ZN_EV_LINK_LOST,     /* peer: the connection is gone, a new one is being tried */
    ZN_EV_LINK_FAILED,   /* peer, why: the try failed, more will follow */
    ZN_EV_LINK_WRITABLE, /* peer: takes more again, after SEND_FAILED */
    ZN_EV_LINK_GAP,      /* peer: it has missed something that was sent */
    ZN_EV_SEND_FAILED,   /* peer: the frame that the last step emitted for it was not taken */
    ZN_EV_LINK_MSG,      /* peer, msg: came on the link to peer */
    ZN_EV_ROUTE_MSG,     /* route, connection, msg: came on our port */
    ZN_EV_CALL,          /* call */
    ZN_EV_ANSWER,        /* token, code, body: the handler's */
    ZN_EV_COUNT,         /* counter, peer: something bad came by and was dropped */
    ZN_EV_BAD,           /* counter, peer or route, code: likewise, and a route is told so */
    ZN_EV_DRAIN,         /* take nothing new; finish what is open */
    ZN_EV_CLOSE,         /* settle everything that is open now */
    ZN_EV_BYE,           /* tell those we are connected to that we end; the last event */
};

struct zn_event {
    enum zn_event_type type;
    int peer;
    enum zn_why why;
    zn_route route;
    uint64_t connection; /* ROUTE_MSG: the same for all that comes on one connection, never 0 */
    struct zn_msg *msg;  /* borrowed */
    const struct zn_call_spec *call;
    uint64_t token;
    int code;
    struct zn_blob *body; /* borrowed; core takes its own reference */
    enum zn_counter counter;
};

/* ---- actions: what comes out ---- */

enum zn_action_type {
    ZN_ACT_SEND = 1, /* peer, msg, wire, more */
    ZN_ACT_REPLY,    /* route, msg, more */
    ZN_ACT_DELIVER,  /* token, from, id, body: run the handler */
    ZN_ACT_PROGRESS, /* tag, id, row */
    ZN_ACT_DONE,     /* tag, done: exactly once for each accepted CALL */
    ZN_ACT_WANT,     /* peer: make a link to it and keep it up (clients make links on demand) */
    ZN_ACT_RESET,    /* peer: drop the link to it and make a new one after a back-off */
    ZN_ACT_NOTE,     /* note: a thing to log or to tell the user */
};

/* What a note is about; its id and level stand in docs/events.md. */
#define ZN_NOTES(X)                                                                                \
    X(PEER_UP, "peer.up", ZMQNET_INFO)                                                             \
    X(PEER_CONNECTING, "peer.connecting", ZMQNET_INFO)                                             \
    X(PEER_SLOW, "peer.slow", ZMQNET_WARN)                                                         \
    X(PEER_SUSPECT, "peer.suspect", ZMQNET_WARN)                                                   \
    X(PEER_DOWN, "peer.down", ZMQNET_WARN)                                                         \
    X(PEER_RESTARTED, "peer.restarted", ZMQNET_WARN)                                               \
    X(CONFIG_DIFFERS, "config.differs", ZMQNET_WARN)                                               \
    X(HELLO_REFUSED, "hello.refused", ZMQNET_WARN)                                                 \
    X(NAME_CLASH, "name.clash", ZMQNET_ERROR)                                                      \
    X(BAD_INPUT, "input.bad", ZMQNET_WARN)

enum zn_note_id {
#define ZN_NOTE_ENUM(name, id, level) ZN_NOTE_##name,
    ZN_NOTES(ZN_NOTE_ENUM)
#undef ZN_NOTE_ENUM
        ZN_NOTES_N
};

struct zn_note {
    enum zn_note_id id;
    int peer; /* -1: none */
    enum zn_why why;
    const char *cause;       /* the text of why */
    enum zn_counter counter; /* BAD_INPUT: under which it was counted */
    uint64_t count;          /* BAD_INPUT: how many since the last such note */
};

/* A completed call. */
struct zn_done {
    int status; /* 0 or ZMQNET_E... */
    struct zmqnet_id id;
    int via; /* the coordinator, -1: none was reached */
    uint32_t need, have, of;
    uint64_t elapsed_us;
    uint32_t attempts;
    const struct zn_row *rows;
    size_t rows_n;
    const char *why;                  /* status != 0; to a client, static text */
    const zmqnet_status *status_view; /* ASK_STATUS that succeeded */
};

struct zn_action {
    enum zn_action_type type;
    int peer;
    zn_route route;
    bool more; /* SEND, REPLY: the next action is for the same link, put it into the same frame */
    struct zn_msg msg;
    struct zn_blob **wire; /* SEND, if not NULL: *wire is this message's encoding, or NULL: encode it
                            * and leave a reference there for the other peers of the broadcast */
    uint64_t token, tag;
    const char *from;
    struct zmqnet_id id;
    struct zn_blob *body;
    const struct zn_row *row;
    struct zn_done done;
    struct zn_note note;
};

struct zn_actions {
    struct zn_action *at; /* room for zn_mesh_actions_max() */
    size_t n;
};

/* ---- the machine ---- */

struct zn_mesh;

struct zn_mesh_config {
    const zmqnet_peers *peers; /* core takes a reference */
    int self;                  /* index of this replica; -1: a client */
    int via;                   /* client: the only coordinator, -1: any */
    uint64_t life;             /* and origin; not 0, random, new each time */
    uint64_t seed;             /* of jitter */
    const char *pattern;       /* static text, as hello says it */
    const char *pattern_too;   /* another one that a peer may say; NULL: none */
    bool lock_step; /* a link carries one question at a time: a new one gives up the answer to the
                     * one before. Replicas of the original program can be peers then */
    size_t message_max; /* bytes */
    uint32_t calls_max; /* 0: the maximum of limits.h, for each of these */
    uint32_t served_max;
    uint32_t origins_max;
    uint32_t queue_messages_max;
    uint32_t window_messages_max;
    size_t call_bytes_max, served_bytes_max, queue_bytes_max;
};

/* Returns 0, ZMQNET_ENOMEM. All memory of the mesh is allocated here. A replica WANTs its links in the
 * first step. */
int zn_mesh_open(const struct zn_mesh_config *config, uint64_t now_us, struct zn_mesh **out);
/* Frees everything; *m may be NULL. Calls that are still open are forgotten: CLOSE first. */
void zn_mesh_close(struct zn_mesh **m);

/* `out` is emptied first. Returns 0, or 1 from FLUSH: there is more, call FLUSH again. */
int zn_mesh_step(struct zn_mesh *m, uint64_t now_us, const struct zn_event *in,
                 struct zn_actions *out);

/* When to TICK without another event; UINT64_MAX: never. */
uint64_t zn_mesh_next_us(const struct zn_mesh *m);
/* No step emits more actions than this. */
size_t zn_mesh_actions_max(const struct zn_mesh *m);

const char *zn_counter_name(enum zn_counter counter);
/* Count something that only the driver sees. */
void zn_mesh_count(struct zn_mesh *m, enum zn_counter counter);

/* Calls and served requests that are not complete: 0 ends a drain. */
size_t zn_mesh_open_count(const struct zn_mesh *m);
/* A snapshot, valid until the next step. */
const zmqnet_status *zn_mesh_status(struct zn_mesh *m, uint64_t now_us);

/* For the simulator: asserts every internal invariant (counts against lists, sizes against limits). */
void zn_mesh_check(const struct zn_mesh *m);

#endif
