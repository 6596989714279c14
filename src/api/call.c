/* SPDX-License-Identifier: MIT */
/*
 * Requests and broadcasts: arguments are checked and copied here, then queued for the loop; a blocking
 * call waits for its own completion. Any thread; the blocking ones not from a callback, where they
 * would wait for themselves.
 */
#include <stdlib.h>

#include "api/latch.h"
#include "node/node.h"

/* ---- queueing ---- */

static int spec_fill(const zmqnet_node *node, const struct zmqnet_call *call,
                     struct zn_call_spec *spec)
{
    static const struct zmqnet_call defaults = {0};
    if (!call)
        call = &defaults;
    uint32_t timeout_ms = call->timeout_ms ? call->timeout_ms : ZMQNET_TIMEOUT_MS;
    uint32_t attempts = call->attempts ? call->attempts : ZMQNET_ATTEMPTS;
    int replicas = (int)zmqnet_peers_count(node->peers);
    if (timeout_ms > ZMQNET_TIMEOUT_MAX_MS || attempts > ZMQNET_ATTEMPTS_MAX)
        return ZMQNET_EINVAL;
    bool all = spec->ask == ZN_ASK_ALL;
    if (all && (call->quorum < ZMQNET_QUORUM_MAJORITY || call->quorum > replicas))
        return ZMQNET_EINVAL;
    spec->timeout_us = timeout_ms * ZN_MS;
    spec->attempts = attempts;
    spec->quorum = all ? call->quorum : 0;
    spec->idempotent = call->idempotent;
    spec->progress = all && node->self >= 0 && call->progress != NULL;
    return 0;
}

static int target_find(const zmqnet_node *node, const char *peer, int *target)
{
    *target = -1;
    if (!peer)
        return node->self < 0 ? 0 : ZMQNET_EINVAL;
    *target = zmqnet_peers_find(node->peers, peer);
    return *target < 0 ? ZMQNET_ENOPEER : 0;
}

static int body_copy(const zmqnet_node *node, const void *body, size_t bytes, struct zn_blob **out)
{
    if (bytes > 0 && !body)
        return ZMQNET_EINVAL;
    if (bytes > node->message_max)
        return ZMQNET_ETOOBIG;
    return zn_blob_copy(body, bytes, out);
}

static struct zn_pending *pending_new(const struct zmqnet_call *call, zmqnet_done done, void *arg)
{
    struct zn_pending *p = malloc(sizeof *p);
    if (!p)
        return NULL;
    p->done = done;
    p->arg = arg;
    p->progress = call ? call->progress : NULL;
    p->progress_arg = call ? call->progress_arg : NULL;
    p->got_status = NULL;
    return p;
}

static int submit(zmqnet_node *node, struct zn_call_spec *spec, const void *body, size_t body_bytes,
                  const struct zmqnet_call *call, zmqnet_done done, void *arg)
{
    struct zn_command command = {.type = ZN_CMD_CALL};
    if (!done)
        return ZMQNET_EINVAL;
    int rc = spec_fill(node, call, spec);
    if (rc == 0)
        rc = body_copy(node, body, body_bytes, &command.body);
    if (rc != 0)
        return rc;
    command.call = *spec;
    command.pending = pending_new(call, done, arg);
    rc = command.pending ? zn_commands_push(&node->commands, &command, zn_node_in_callback(node))
                         : ZMQNET_ENOMEM;
    if (rc == 0)
        return 0;
    free(command.pending);
    zn_blob_drop(&command.body);
    return rc;
}

int zmqnet_broadcast_async(zmqnet_node *node, const void *body, size_t body_bytes,
                           const struct zmqnet_call *call, zmqnet_done done, void *arg)
{
    struct zn_call_spec spec = {.ask = ZN_ASK_ALL, .target = -1};
    return submit(node, &spec, body, body_bytes, call, done, arg);
}

int zmqnet_request_async(zmqnet_node *node, const char *peer, const void *body, size_t body_bytes,
                         const struct zmqnet_call *call, zmqnet_done done, void *arg)
{
    struct zn_call_spec spec = {.ask = ZN_ASK_ONE};
    int rc = target_find(node, peer, &spec.target);
    return rc != 0 ? rc : submit(node, &spec, body, body_bytes, call, done, arg);
}

int zmqnet_answer(zmqnet_node *node, uint64_t token, int code, const void *reply,
                  size_t reply_bytes)
{
    struct zn_command command = {.type = ZN_CMD_ANSWER, .token = token, .code = code};
    if (code < 0 || code > ZMQNET_CODE_MAX)
        return ZMQNET_EINVAL;
    int rc = body_copy(node, reply, reply_bytes, &command.body);
    if (rc == 0)
        rc = zn_commands_push(&node->commands, &command, zn_node_in_callback(node));
    if (rc != 0)
        zn_blob_drop(&command.body);
    return rc;
}

/* ---- waiting ---- */

struct waiter {
    struct zn_latch latch;
    zmqnet_receipt *receipt;
};

static void complete(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct waiter *w = arg;
    (void)node;
    w->receipt = receipt;
    zn_latch_open(&w->latch);
}

static int wait_for(struct waiter *w, zmqnet_receipt **receipt)
{
    zn_latch_wait(&w->latch);
    *receipt = w->receipt;
    return w->receipt->status;
}

static int may_block(zmqnet_node *node, zmqnet_receipt **receipt)
{
    if (!receipt)
        return ZMQNET_EINVAL;
    *receipt = NULL;
    if (zn_node_in_callback(node))
        return ZMQNET_EDEADLK;
    return atomic_load(&node->threaded) ? 0 : ZMQNET_ESTATE;
}

int zmqnet_broadcast(zmqnet_node *node, const void *body, size_t body_bytes,
                     const struct zmqnet_call *call, zmqnet_receipt **receipt)
{
    struct waiter w = {.latch = ZN_LATCH_INITIALIZER};
    int rc = may_block(node, receipt);
    if (rc == 0)
        rc = zmqnet_broadcast_async(node, body, body_bytes, call, complete, &w);
    return rc != 0 ? rc : wait_for(&w, receipt);
}

int zmqnet_request(zmqnet_node *node, const char *peer, const void *body, size_t body_bytes,
                   const struct zmqnet_call *call, zmqnet_receipt **receipt)
{
    struct waiter w = {.latch = ZN_LATCH_INITIALIZER};
    int rc = may_block(node, receipt);
    if (rc == 0)
        rc = zmqnet_request_async(node, peer, body, body_bytes, call, complete, &w);
    return rc != 0 ? rc : wait_for(&w, receipt);
}
