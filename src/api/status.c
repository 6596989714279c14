/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: of this node, taken by its loop, or of a replica's view, asked over the mesh. Both wait
 * for the loop; any thread but the loop's.
 */
#include "api/latch.h"
#include "node/node.h"

struct waiter {
    struct zn_pending pending; /* first: it is what the loop knows */
    struct zn_latch latch;
    int rc;
    zmqnet_status *status;
    const char *why;
};

static void got(struct zn_pending *p, int rc, zmqnet_status *status, const char *why)
{
    struct waiter *w = (struct waiter *)p;
    w->rc = rc;
    w->status = status;
    w->why = why;
    zn_latch_open(&w->latch);
}

static int command_fill(zmqnet_node *node, const char *peer, uint32_t timeout_ms,
                        struct zn_command *command)
{
    int target = peer ? zmqnet_peers_find(node->peers, peer) : -1;
    *command = (struct zn_command){.type = ZN_CMD_SNAPSHOT};
    if (timeout_ms > ZMQNET_TIMEOUT_MAX_MS)
        return ZMQNET_EINVAL;
    if (!peer)
        return 0;
    if (target < 0)
        return ZMQNET_ENOPEER;
    if (node->self >= 0)
        return ZMQNET_EINVAL;
    command->type = ZN_CMD_CALL;
    command->call = (struct zn_call_spec){
        .ask = ZN_ASK_STATUS,
        .target = target,
        .timeout_us = (timeout_ms ? timeout_ms : ZMQNET_TIMEOUT_MS) * ZN_MS,
        .attempts = ZMQNET_ATTEMPTS,
    };
    return 0;
}

int zmqnet_status_get(zmqnet_node *node, const char *peer, uint32_t timeout_ms,
                      zmqnet_status **status, const char **why)
{
    struct waiter w = {
        .pending = {.got_status = got},
        .latch = ZN_LATCH_INITIALIZER,
        .why = "",
    };
    struct zn_command command;
    if (!status)
        return ZMQNET_EINVAL;
    *status = NULL;
    if (why)
        *why = "";
    if (zn_node_in_callback(node))
        return ZMQNET_EDEADLK;
    if (!atomic_load(&node->threaded))
        return ZMQNET_ESTATE;
    int rc = command_fill(node, peer, timeout_ms, &command);
    command.pending = &w.pending;
    if (rc == 0)
        rc = zn_commands_push(&node->commands, &command, false);
    if (rc != 0)
        return rc;
    zn_latch_wait(&w.latch);
    *status = w.status;
    if (why)
        *why = w.why;
    return w.rc;
}

const char *zmqnet_cause_text(unsigned cause) { return zn_reach_cause_text(cause); }
