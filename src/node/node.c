/* SPDX-License-Identifier: MIT */
/*
 * Opens a node and frees it. Acquired in this order and released in reverse: commands, epoll and
 * timer, decoder, the pattern (which binds the port), core. The descriptor limit is the pattern's to
 * judge, since it knows what a link costs.
 */
#include "node/node.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"

static int fail(struct zmqnet_diag *diag, int code, const char *what, const char *remedy)
{
    if (diag->text[0] == '\0') {
        snprintf(diag->text, sizeof diag->text, "%s: %s", what, remedy);
        diag->code = code;
    }
    return code;
}

static int watch(int epoll_fd, int fd)
{
    /* Descriptors of the loop itself carry their number above what a pattern may use. */
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (1ull << 32) | (uint32_t)fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : ZMQNET_ESYSTEM;
}

static int loop_open(zmqnet_node *node)
{
    node->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    node->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    node->armed_us = UINT64_MAX;
    if (node->epoll_fd < 0 || node->timer_fd < 0)
        return ZMQNET_ESYSTEM;
    int rc = watch(node->epoll_fd, node->timer_fd);
    if (rc == 0)
        rc = watch(node->epoll_fd, node->commands.wake_fd);
    return rc;
}

static int carrier_open(zmqnet_node *node, uint64_t seed, struct zmqnet_diag *diag)
{
    struct zn_pattern_config config = {
        .peers = node->peers,
        .self = node->self,
        .message_max = node->message_max,
        .epoll_fd = node->epoll_fd,
        .seed = seed,
        .sink = zn_node_sink(node),
    };
    return node->pattern->open(&config, &node->carrier, diag);
}

static int mesh_open(zmqnet_node *node, uint64_t life, uint64_t seed)
{
    bool client = node->self < 0;
    struct zn_mesh_config config = {
        .peers = node->peers,
        .self = node->self,
        .via = node->via,
        .life = life,
        .seed = seed,
        .pattern = node->pattern->name,
        .pattern_too = node->pattern->mixes_with,
        .lock_step = node->pattern->lock_step,
        .message_max = node->message_max,
        .served_max = client ? 1 : 0, /* nothing arrives at a client */
        .origins_max = client ? 1 : 0,
    };
    int rc = zn_mesh_open(&config, zn_clock_us(), &node->mesh);
    if (rc != 0)
        return rc;
    node->out.at = malloc(zn_mesh_actions_max(node->mesh) * sizeof *node->out.at);
    return node->out.at ? 0 : ZMQNET_ENOMEM;
}

static int parts_open(zmqnet_node *node, struct zmqnet_diag *diag)
{
    uint64_t life = zn_rand_life(), seed = zn_rand_life();
    if (life == 0 || seed == 0)
        return fail(diag, ZMQNET_ESYSTEM, "getrandom", "the kernel has no random bytes to give");
    int rc = zn_commands_open(&node->commands);
    if (rc == 0)
        rc = loop_open(node);
    if (rc == ZMQNET_ESYSTEM && (errno == EMFILE || errno == ENFILE))
        return fail(diag, ZMQNET_ENOFILE, "no file descriptor is left", "raise ulimit -n");
    if (rc != 0)
        return fail(diag, rc, "epoll, timerfd, eventfd", strerror(errno));
    rc = zn_decoder_new(node->message_max, &node->decoder);
    if (rc == 0)
        rc = carrier_open(node, seed, diag);
    if (rc == 0)
        rc = mesh_open(node, life, seed + 1);
    if (rc != 0)
        return fail(diag, rc, "opening the node", zmqnet_error_text(rc));
    /* The first turn has to come by itself: it asks for the links. */
    zn_commands_wake(&node->commands);
    return 0;
}

static int find_name(const zmqnet_peers *peers, const char *name, int *out,
                     struct zmqnet_diag *diag)
{
    *out = name ? zmqnet_peers_find(peers, name) : -1;
    if (!name || *out >= 0)
        return 0;
    snprintf(diag->text, sizeof diag->text, "%.64s: no such replica in the peers file, it has %s%s",
             name, zmqnet_peers_get(peers, 0)->name, peers->n > 1 ? " and others" : "");
    return diag->code = ZMQNET_ENOPEER;
}

static int options_read(zmqnet_node *node, const struct zmqnet_options *o, struct zmqnet_diag *diag)
{
    int rc = find_name(node->peers, o->name, &node->self, diag);
    if (rc == 0)
        rc = find_name(node->peers, o->via, &node->via, diag);
    if (rc != 0)
        return rc;
    if (o->name && o->via)
        return fail(diag, ZMQNET_EINVAL, "options.via", "only a client has one");
    node->pattern = zn_pattern_find(o->pattern);
    if (!node->pattern)
        return fail(diag, ZMQNET_EINVAL, "options.pattern",
                    "there are \"router\", \"reqrep\" and \"pubsub\"");
    if (node->self < 0)
        node->pattern = zn_pattern_find(NULL); /* replicas of all patterns take the same clients */
    if (o->message_max > ZN_MESSAGE_MAX_MAX)
        return fail(diag, ZMQNET_EINVAL, "options.message_max", "at most 64 MiB");
    node->message_max = o->message_max ? o->message_max : ZMQNET_MESSAGE_MAX;
    node->handler = o->handler;
    node->handler_arg = o->handler_arg;
    node->on_event = o->on_event;
    node->event_arg = o->event_arg;
    node->log = (struct zn_log){o->log, o->log_arg, o->log_level};
    return 0;
}

int zn_node_open(zmqnet_node **out, const zmqnet_peers *peers, const struct zmqnet_options *o,
                 struct zmqnet_diag *diag)
{
    zmqnet_node *node = calloc(1, sizeof *node);
    if (!node)
        return fail(diag, ZMQNET_ENOMEM, "opening the node", "out of memory");
    node->epoll_fd = node->timer_fd = -1;
    pthread_mutex_init(&node->thread_lock, NULL);
    node->peers = zn_peers_ref(peers);
    int rc = options_read(node, o, diag);
    if (rc == 0)
        rc = parts_open(node, diag);
    if (rc != 0) {
        zn_node_free(&node);
        return rc;
    }
    *out = node;
    return 0;
}

void zn_node_free(zmqnet_node **handle)
{
    zmqnet_node *node = *handle;
    zn_mesh_close(&node->mesh);
    free(node->out.at);
    if (node->carrier)
        node->pattern->close(&node->carrier);
    zn_decoder_free(&node->decoder);
    zn_batch_clear(&node->batches[0]);
    zn_batch_clear(&node->batches[1]);
    if (node->timer_fd >= 0)
        close(node->timer_fd);
    if (node->epoll_fd >= 0)
        close(node->epoll_fd);
    zn_commands_close(&node->commands);
    zn_peers_drop(&node->peers);
    pthread_mutex_destroy(&node->thread_lock);
    free(node);
    *handle = NULL;
}
