/* SPDX-License-Identifier: MIT */
/*
 * The resolver. getaddrinfo() may take many seconds and cannot be interrupted, so threads of its own
 * call it, several, since a name that hangs must not keep the others waiting. Loop and threads share
 * one object with a reference each and a mutex; whoever drops the last reference frees it, so closing
 * never waits for a look-up that hangs.
 *
 * Good path: ask() queues the job and wakes a thread, or starts one if none is idle; it looks up without
 * the mutex, stores the answer and writes the eventfd; the loop takes it. If there is no thread and none
 * can be started, the job is answered with "not found", and the next question tries again.
 */
#include "pattern/resolve.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/limits.h"
#include "zmqnet.h"

enum job_state { JOB_FREE, JOB_ASKED, JOB_RUNNING, JOB_DONE, JOB_STATES };

#define TO(state) (1u << JOB_##state)
static const unsigned moves[JOB_STATES] = {
    [JOB_FREE] = TO(ASKED),
    [JOB_ASKED] = TO(RUNNING) | TO(DONE), /* DONE: there is no thread */
    [JOB_RUNNING] = TO(DONE),
    [JOB_DONE] = TO(FREE) | TO(ASKED),
};

struct job {
    enum job_state state;
    uint64_t nth; /* of all that were asked */
    uint16_t port;
    char host[ZN_HOST_MAX + 1];
    bool found;
    struct zn_address address;
};

struct zn_resolver {
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t asked;
    unsigned refs;    /* the loop's and the threads' */
    unsigned threads; /* that exist, */
    unsigned idle;    /* and those of them that wait for a job */
    unsigned asked_n; /* jobs that nobody has begun */
    uint64_t asked_ever;
    bool closing;
    int fd; /* eventfd: a job is done */
    struct job jobs[ZN_REPLICAS_MAX];
};

/* All of these need the mutex. */
static void move(struct job *job, enum job_state to)
{
    assert(moves[job->state] & (1u << to));
    job->state = to;
}

/* The oldest one: names that hang are asked again and again, and shall not pass those behind them. */
static int find(const struct zn_resolver *r, enum job_state state)
{
    int oldest = -1;
    for (int i = 0; i < ZN_REPLICAS_MAX; i++)
        if (r->jobs[i].state == state && (oldest < 0 || r->jobs[i].nth < r->jobs[oldest].nth))
            oldest = i;
    return oldest;
}

/* The mutex is released. */
static void drop(struct zn_resolver *r)
{
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    close(r->fd);
    pthread_cond_destroy(&r->asked);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void finish(struct zn_resolver *r, struct job *job, bool found)
{
    job->found = found;
    move(job, JOB_DONE);
    uint64_t one = 1;
    ssize_t n = write(r->fd, &one, sizeof one);
    assert(n == sizeof one);
    (void)n;
}

/* The name and the answer are copied: the mutex is not held during the look-up. */
static void run(struct zn_resolver *r, struct job *job)
{
    char host[ZN_HOST_MAX + 1];
    memcpy(host, job->host, sizeof host);
    uint16_t port = job->port;
    move(job, JOB_RUNNING);
    r->asked_n--;
    pthread_mutex_unlock(&r->lock);
    struct zn_address address;
    bool found = zn_address_resolve(host, port, &address) == 0;
    pthread_mutex_lock(&r->lock);
    if (found)
        job->address = address;
    finish(r, job, found);
}

static void *resolver_main(void *arg)
{
    struct zn_resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        int i = find(r, JOB_ASKED);
        if (i >= 0) {
            run(r, &r->jobs[i]);
            continue;
        }
        r->idle++;
        pthread_cond_wait(&r->asked, &r->lock);
        r->idle--;
    }
    drop(r);
    return NULL;
}

/* Signals are the application's: the thread is born with all of them blocked. */
static void start(struct zn_resolver *r)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int rc = pthread_create(&thread, &attr, resolver_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return;
    r->refs++;
    r->threads++;
}

int zn_resolver_open(struct zn_resolver **out)
{
    struct zn_resolver *r = calloc(1, sizeof *r);
    if (!r)
        return ZMQNET_ENOMEM;
    r->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->fd < 0) {
        free(r);
        return ZMQNET_ENOFILE;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->asked, NULL);
    r->refs = 1;
    *out = r;
    return 0;
}

void zn_resolver_close(struct zn_resolver **r)
{
    struct zn_resolver *it = *r;
    if (!it)
        return;
    *r = NULL;
    pthread_mutex_lock(&it->lock);
    it->closing = true;
    pthread_cond_broadcast(&it->asked);
    drop(it);
}

int zn_resolver_fd(const struct zn_resolver *r) { return r->fd; }

void zn_resolver_ask(struct zn_resolver *r, int peer, const char *host, uint16_t port)
{
    assert(peer >= 0 && peer < ZN_REPLICAS_MAX && strlen(host) <= ZN_HOST_MAX);
    struct job *job = &r->jobs[peer];
    pthread_mutex_lock(&r->lock);
    if (job->state == JOB_FREE || job->state == JOB_DONE) {
        memcpy(job->host, host, strlen(host) + 1);
        job->port = port;
        move(job, JOB_ASKED);
        job->nth = r->asked_ever++;
        r->asked_n++;
        if (r->asked_n > r->idle && r->threads < ZN_RESOLVERS_MAX)
            start(r);
        if (r->threads > 0) {
            pthread_cond_signal(&r->asked);
        } else {
            r->asked_n--;
            finish(r, job, false);
        }
    }
    pthread_mutex_unlock(&r->lock);
}

bool zn_resolver_take(struct zn_resolver *r, struct zn_resolved *out)
{
    pthread_mutex_lock(&r->lock);
    int i = find(r, JOB_DONE);
    if (i >= 0) {
        struct job *job = &r->jobs[i];
        *out = (struct zn_resolved){.peer = i, .found = job->found, .address = job->address};
        move(job, JOB_FREE);
    } else {
        uint64_t count;
        ssize_t n = read(r->fd, &count, sizeof count);
        (void)n; /* EAGAIN: it was clear already. */
    }
    pthread_mutex_unlock(&r->lock);
    return i >= 0;
}
