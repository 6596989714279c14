/* SPDX-License-Identifier: MIT */
/*
 * The life of a node as the user sees it: open, start or drive, stop, close. Any thread; zmqnet_stop()
 * and zmqnet_close() may block until the loop has ended.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "node/node.h"

int zmqnet_open(zmqnet_node **node, const zmqnet_peers *peers, const struct zmqnet_options *options,
                struct zmqnet_diag *diag)
{
    static const struct zmqnet_options defaults = {0};
    struct zmqnet_diag unread, *d = diag ? diag : &unread;
    *d = (struct zmqnet_diag){0};
    if (!node || !peers)
        return d->code = ZMQNET_EINVAL;
    *node = NULL;
    return zn_node_open(node, peers, options ? options : &defaults, d);
}

static void *run(void *arg)
{
    zmqnet_node *node = arg;
    while (zn_node_turn(node) == 0) {
    }
    return NULL;
}

int zmqnet_start(zmqnet_node *node)
{
    sigset_t all, before;
    if (atomic_exchange(&node->threaded, true))
        return ZMQNET_ESTATE;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&node->thread, NULL, run, node);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        return 0;
    atomic_store(&node->threaded, false);
    return ZMQNET_ESYSTEM;
}

int zmqnet_fd(zmqnet_node *node) { return atomic_load(&node->threaded) ? -1 : node->epoll_fd; }

int zmqnet_process(zmqnet_node *node)
{
    if (atomic_load(&node->threaded))
        return ZMQNET_ESTATE;
    return zn_node_turn(node);
}

static void join(zmqnet_node *node)
{
    if (!atomic_load(&node->threaded) || atomic_exchange(&node->joined, true))
        return;
    int rc = pthread_join(node->thread, NULL);
    assert(rc == 0);
}

int zmqnet_stop(zmqnet_node *node, uint32_t grace_ms)
{
    const struct zn_command command = {.type = ZN_CMD_STOP, .grace_ms = grace_ms};
    if (grace_ms > 60000)
        return ZMQNET_EINVAL;
    bool threaded = atomic_load(&node->threaded);
    if (threaded && zn_node_in_callback(node))
        return ZMQNET_EDEADLK;
    int rc = zn_commands_push(&node->commands, &command, false);
    /* A full ring empties as fast as the loop turns, and a shut one has stopped already. */
    while (rc == ZMQNET_EFULL && threaded) {
        sched_yield();
        rc = zn_commands_push(&node->commands, &command, false);
    }
    if (threaded)
        join(node);
    return rc == ZMQNET_ECLOSED ? 0 : rc;
}

void zmqnet_close(zmqnet_node **handle)
{
    zmqnet_node *node = *handle;
    if (!node)
        return;
    assert(!zn_node_in_callback(node));
    int rc = zmqnet_stop(node, 0);
    /* Without a thread the turns that are left are ours to run. A full ring is emptied by them. */
    while (!atomic_load(&node->threaded) && zn_node_turn(node) == 0)
        if (rc == ZMQNET_EFULL)
            rc = zmqnet_stop(node, 0);
    zn_node_free(handle);
}
