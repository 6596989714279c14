/* SPDX-License-Identifier: MIT */
/*
 * The command ring. Any thread pushes, only the loop pops.
 *
 * A push into an empty ring wakes the loop; into one that is not empty it does not, since the wake-up
 * of the first is still on its way or the loop is popping: many calls cost one system call. Memory is
 * bounded by ZN_COMMANDS_MAX and ZN_COMMAND_BYTES_MAX. An empty ring begins at its first slot again: a
 * loop that keeps up uses the same few cache lines for ever.
 *
 * The loop looks before it locks. What it may miss so is a command whose wake-up is still to come; a
 * quiet push is the loop's own, which looks again before it sleeps.
 */
#include "node/commands.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int zn_commands_open(struct zn_commands *c)
{
    *c = (struct zn_commands){.wake_fd = -1};
    c->ring = calloc(ZN_COMMANDS_MAX, sizeof *c->ring);
    if (!c->ring)
        return ZMQNET_ENOMEM;
    c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->wake_fd < 0) {
        free(c->ring);
        c->ring = NULL;
        return ZMQNET_ESYSTEM;
    }
    pthread_mutex_init(&c->lock, NULL);
    return 0;
}

void zn_commands_close(struct zn_commands *c)
{
    if (!c->ring)
        return;
    assert(c->n == 0);
    pthread_mutex_destroy(&c->lock);
    close(c->wake_fd);
    free(c->ring);
    c->ring = NULL;
}

void zn_commands_wake(struct zn_commands *c)
{
    uint64_t one = 1;
    ssize_t n = write(c->wake_fd, &one, sizeof one);
    assert(n == (ssize_t)sizeof one || errno == EAGAIN); /* EAGAIN: it is awake as can be */
}

void zn_commands_woken(struct zn_commands *c)
{
    uint64_t count;
    ssize_t n = read(c->wake_fd, &count, sizeof count);
    assert(n == (ssize_t)sizeof count || errno == EAGAIN);
}

int zn_commands_push(struct zn_commands *c, const struct zn_command *command, bool quiet)
{
    size_t bytes = zn_blob_bytes(command->body);
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    bool first = c->n == 0;
    if (c->closed || (c->stopping && command->type != ZN_CMD_ANSWER)) {
        rc = ZMQNET_ECLOSED;
    } else if (c->n == ZN_COMMANDS_MAX || (c->n > 0 && c->bytes + bytes > ZN_COMMAND_BYTES_MAX)) {
        rc = ZMQNET_EFULL;
    } else {
        c->ring[(c->head + c->n) % ZN_COMMANDS_MAX] = *command;
        c->n++;
        c->bytes += bytes;
    }
    pthread_mutex_unlock(&c->lock);
    if (rc == 0 && first && !quiet)
        zn_commands_wake(c);
    return rc;
}

bool zn_commands_pop(struct zn_commands *c, struct zn_command *out)
{
    if (!zn_commands_waiting(c))
        return false;
    pthread_mutex_lock(&c->lock);
    bool any = c->n > 0;
    if (any) {
        *out = c->ring[c->head];
        c->n--;
        c->head = c->n > 0 ? (c->head + 1) % ZN_COMMANDS_MAX : 0;
        c->bytes -= zn_blob_bytes(out->body);
    }
    pthread_mutex_unlock(&c->lock);
    return any;
}

void zn_commands_shut(struct zn_commands *c)
{
    pthread_mutex_lock(&c->lock);
    c->closed = true;
    pthread_mutex_unlock(&c->lock);
}

void zn_commands_stop(struct zn_commands *c, uint32_t grace_ms)
{
    pthread_mutex_lock(&c->lock);
    if (!c->stopping)
        c->grace_ms = grace_ms;
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    zn_commands_wake(c);
}

bool zn_commands_stopping(struct zn_commands *c, uint32_t *grace_ms)
{
    if (!atomic_load(&c->stopping))
        return false;
    pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    *grace_ms = c->grace_ms;
    pthread_mutex_unlock(&c->lock);
    return stopping;
}
