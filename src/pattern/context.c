/* SPDX-License-Identifier: MIT */
/*
 * A context of libzmq is two threads and some descriptors. A replica has its own, for its own pace; a
 * process that opens many clients would pay that for each, so they share one, which is there from the
 * first client to the last. Any thread may open and close; the lock guards the shared one alone.
 *
 * libzmq's threads start with the first socket and inherit the signal mask: they take no signal.
 */
#include "pattern/context.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <zmq.h>

#include "base/limits.h"
#include "pattern/socket.h"
#include "zmqnet.h"

static struct {
    pthread_mutex_t lock;
    void *context;
    unsigned users;
    pid_t pid; /* whose it is: after a fork libzmq's threads are the parent's alone */
} shared_one = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int start(size_t sockets_max, void **out)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = ZMQNET_ENOMEM;
    void *context = zmq_ctx_new();
    if (context) {
        zmq_ctx_set(context, ZMQ_MAX_SOCKETS, (int)sockets_max);
        zmq_ctx_set(context, ZMQ_BLOCKY, 0);
        void *first = zmq_socket(context, ZMQ_PAIR);
        rc = first ? 0 : ZMQNET_ENOFILE;
        zn_socket_close(&first, 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *out = context;
    return rc;
}

static void end(void *context)
{
    while (context && zmq_ctx_term(context) != 0 && errno == EINTR)
        continue;
}

static int shared_open(void **out)
{
    pthread_mutex_lock(&shared_one.lock);
    if (shared_one.pid != getpid())
        shared_one.users = 0;
    shared_one.pid = getpid();
    int rc = shared_one.users > 0 ? 0 : start(ZN_SHARED_SOCKETS_MAX, &shared_one.context);
    if (rc == 0)
        shared_one.users++;
    else
        end(shared_one.context);
    *out = rc == 0 ? shared_one.context : NULL;
    pthread_mutex_unlock(&shared_one.lock);
    return rc;
}

/* Another client may open one anew while this one ends. */
static void shared_close(void)
{
    pthread_mutex_lock(&shared_one.lock);
    assert(shared_one.users > 0);
    void *last = --shared_one.users == 0 ? shared_one.context : NULL;
    pthread_mutex_unlock(&shared_one.lock);
    end(last);
}

int zn_context_open(bool shared, size_t sockets_max, void **out)
{
    if (shared)
        return shared_open(out);
    int rc = start(sockets_max, out);
    if (rc != 0)
        zn_context_close(false, out);
    return rc;
}

void zn_context_close(bool shared, void **context)
{
    if (*context && shared)
        shared_close();
    else
        end(*context);
    *context = NULL;
}
