/* SPDX-License-Identifier: MIT */
/*
 * The life of a node as the user sees it: open, start or drive, stop, close. Any thread; zmqnet_stop()
 * and zmqnet_close() may block until the loop has ended.
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include "node/node.h"

int zmqnet_open(zmqnet_node **node, const zmqnet_peers *peers, const struct zmqnet_options *options,
                struct zmqnet_diag *diag)
{
    static const struct zmqnet_options defaults = {0};
    struct zmqnet_diag unread, *d = diag ? diag : &unread;
    *d = (struct zmqnet_diag){0};
    if (!node || !peers) {
        snprintf(d->text, sizeof d->text, "zmqnet_open: node and peers must not be NULL");
        return d->code = ZMQNET_EINVAL;
    }
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

static int thread_make(zmqnet_node *node)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&node->thread, NULL, run, node);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : ZMQNET_ESYSTEM;
}

int zmqnet_start(zmqnet_node *node)
{
    uint32_t grace_ms;
    if (zn_commands_stopping(&node->commands, &grace_ms) || zn_node_in_callback(node))
        return ZMQNET_ESTATE;
    pthread_mutex_lock(&node->thread_lock);
    int rc = ZMQNET_ESTATE;
    if (!atomic_exchange(&node->threaded, true)) {
        rc = thread_make(node);
        if (rc != 0)
            atomic_store(&node->threaded, false);
    }
    pthread_mutex_unlock(&node->thread_lock);
    return rc;
}

int zmqnet_fd(zmqnet_node *node) { return atomic_load(&node->threaded) ? -1 : node->epoll_fd; }

int zmqnet_process(zmqnet_node *node)
{
    if (atomic_load(&node->threaded))
        return ZMQNET_ESTATE;
    return zn_node_turn(node);
}

/* Whoever comes second waits here until the first has seen the thread end. */
static void join(zmqnet_node *node)
{
    pthread_mutex_lock(&node->thread_lock);
    if (!node->joined && atomic_load(&node->threaded)) {
        int rc = pthread_join(node->thread, NULL);
        assert(rc == 0);
        node->joined = true;
    }
    pthread_mutex_unlock(&node->thread_lock);
}

int zmqnet_stop(zmqnet_node *node, uint32_t grace_ms)
{
    if (grace_ms > 60000)
        return ZMQNET_EINVAL;
    bool threaded = atomic_load(&node->threaded);
    if (threaded && zn_node_in_callback(node))
        return ZMQNET_EDEADLK;
    zn_commands_stop(&node->commands, grace_ms);
    if (threaded)
        join(node);
    return 0;
}

void zmqnet_close(zmqnet_node **handle)
{
    zmqnet_node *node = *handle;
    if (!node)
        return;
    assert(!zn_node_in_callback(node));
    int rc = zmqnet_stop(node, 0);
    assert(rc == 0);
    /* Without a thread the turns that are left are ours to run. */
    while (!atomic_load(&node->threaded) && zn_node_turn(node) == 0)
        zn_node_wait(node);
    zn_node_free(handle);
}
