/* SPDX-License-Identifier: MIT */
/*
 * What other threads want of the loop: a bounded ring behind a mutex, and an eventfd that wakes the
 * loop. A full ring is an immediate error to whoever calls.
 */
#ifndef ZN_NODE_COMMANDS_H
#define ZN_NODE_COMMANDS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mesh.h"

enum zn_command_type { ZN_CMD_CALL = 1, ZN_CMD_ANSWER, ZN_CMD_SNAPSHOT };

struct zn_pending;

struct zn_command {
    enum zn_command_type type;
    struct zn_pending *pending; /* CALL, SNAPSHOT: who waits; the loop owns it from then on */
    struct zn_call_spec call;
    uint64_t token; /* ANSWER */
    int code;
    struct zn_blob *body; /* ANSWER, CALL: one reference, the loop's from then on */
};

struct zn_commands {
    pthread_mutex_t lock;
    struct zn_command *ring; /* ZN_COMMANDS_MAX */
    uint32_t head;
    atomic_uint n; /* changed under the lock; the loop looks at it without */
    size_t bytes;
    atomic_bool stopping; /* takes answers only, so that what is open can be finished; as n */
    bool closed;          /* takes no more: the loop has ended */
    uint32_t grace_ms;    /* of the stop */
    int wake_fd;          /* eventfd, owned */
};

/* Returns 0, ZMQNET_ENOMEM, ZMQNET_ESYSTEM. */
int zn_commands_open(struct zn_commands *c);
void zn_commands_close(struct zn_commands *c);

/* From any thread. `quiet`: the loop is known to look before it sleeps. On failure the command's
 * references stay the caller's. Returns 0, ZMQNET_EFULL, ZMQNET_ECLOSED. */
int zn_commands_push(struct zn_commands *c, const struct zn_command *command, bool quiet);

/* From the loop. pop: false if there is none. shut: no push succeeds any more. */
bool zn_commands_pop(struct zn_commands *c, struct zn_command *out);
static inline bool zn_commands_waiting(struct zn_commands *c) { return atomic_load(&c->n) > 0; }
void zn_commands_shut(struct zn_commands *c);
/* From any thread: take no new calls from now on. Only the first counts. */
void zn_commands_stop(struct zn_commands *c, uint32_t grace_ms);
bool zn_commands_stopping(struct zn_commands *c, uint32_t *grace_ms);
void zn_commands_wake(struct zn_commands *c);
/* The eventfd was readable. */
void zn_commands_woken(struct zn_commands *c);

#endif
