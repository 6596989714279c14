/* SPDX-License-Identifier: MIT */
/*
 * A node: the mesh of core driven over a pattern by an epoll loop. No protocol rule lives here.
 *
 *   node.c      open and close; the order of acquiring and releasing
 *   loop.c      one turn: commands, sockets, clock, timers, flush; starting and stopping
 *   commands.c  what other threads want of the loop
 *   inbound.c   bytes -> messages -> events of core
 *   outbound.c  actions of core -> frames -> the pattern; running the handler
 *   batch.c     messages that leave together -> one frame
 *   results.c   completed calls and snapshots -> what the user gets
 *   notes.c     notes of core -> log records and events
 *
 * Everything belongs to the loop but `commands`, the thread, and what is constant after open.
 */
#ifndef ZN_NODE_NODE_H
#define ZN_NODE_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/log.h"
#include "core/mesh.h"
#include "model/wire.h"
#include "node/batch.h"
#include "node/commands.h"
#include "pattern/pattern.h"

enum zn_node_state {
    ZN_NODE_RUNNING,
    ZN_NODE_DRAINING, /* takes nothing new, finishes what is open */
    ZN_NODE_LEAVING,  /* has said all; keeps its connections until that was read */
    ZN_NODE_ENDED,
    ZN_NODE_STATES
};

/* What a call of the user waits for: lives from the call to its completion. A block of malloc() for
 * calls that end in a receipt: if there is no memory for that it becomes the receipt itself. */
struct zn_pending {
    zmqnet_receipt spare; /* first, so that the block is freed as a receipt */
    zmqnet_done done;
    void *arg;
    zmqnet_progress progress;
    void *progress_arg;
    void (*got_status)(struct zn_pending *p, int rc, zmqnet_status *status, const char *why);
};

struct zmqnet_node {
    /* Constant after open. */
    const zmqnet_peers *peers;
    int self; /* -1: a client */
    int via;
    size_t message_max;
    const struct zn_pattern *pattern;
    zmqnet_handler handler;
    void *handler_arg;
    zmqnet_on_event on_event;
    void *event_arg;
    struct zn_log log;

    /* Any thread. */
    struct zn_commands commands;
    atomic_bool threaded;        /* has a thread of its own */
    pthread_mutex_t thread_lock; /* held while that is made and while it is joined */
    bool joined;
    pthread_t thread;

    /* The loop's. */
    struct zn_carrier *carrier;
    struct zn_mesh *mesh;
    struct zn_actions out;
    struct zn_decoder *decoder;
    int epoll_fd, timer_fd;
    uint64_t armed_us; /* when timer_fd will be readable, UINT64_MAX: never */
    uint64_t now_us;
    enum zn_node_state state;
    uint64_t until_us; /* of DRAINING, LEAVING */
    bool busy;         /* there is more to do: do not sleep */
    atomic_bool in_turn;
    bool flush_due;             /* a step was made that may have left something to send */
    struct zn_batch batches[2]; /* from actions with `more`: the one in hand, the last to a peer */
    unsigned batch_at;          /* which of them is in hand */
    uint64_t failed_sends;      /* peers whose frame was not taken by the transport */
    uint64_t starved;           /* of those, the ones for which there was no memory, */
    uint64_t starved_us;        /* and when they are tried again */
};

/* node.c. Returns what zmqnet_open() does. */
int zn_node_open(zmqnet_node **out, const zmqnet_peers *peers, const struct zmqnet_options *o,
                 struct zmqnet_diag *diag);
/* The loop must have ended. */
void zn_node_free(zmqnet_node **node);

/* loop.c */
/* One turn; a node with a thread of its own waits for something to do. Returns 0, or ZMQNET_ECLOSED
 * once the loop has ended. */
int zn_node_turn(zmqnet_node *node);
/* Until the next turn has something to do; for a node without a thread. */
void zn_node_wait(const zmqnet_node *node);
/* Is this the loop, in a callback? */
bool zn_node_in_callback(const zmqnet_node *node);
/* Step core and carry out what comes of it. */
void zn_node_step(zmqnet_node *node, const struct zn_event *event);

/* inbound.c: the sink that the pattern reports to. */
struct zn_sink zn_node_sink(zmqnet_node *node);

/* outbound.c */
/* Carry out the actions of one step, in order. */
void zn_node_carry_out(zmqnet_node *node);

/* results.c */
void zn_node_done(zmqnet_node *node, struct zn_pending *p, const struct zn_done *done);
void zn_node_progress(zmqnet_node *node, const struct zn_pending *p, struct zmqnet_id id,
                      const struct zn_row *row);
zmqnet_status *zn_status_copy(const zmqnet_status *from);

/* notes.c */
void zn_node_note(zmqnet_node *node, const struct zn_note *note);

#endif
