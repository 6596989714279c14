/* SPDX-License-Identifier: MIT */
/*
 * A latch: one thread waits until another has opened it, once. It lives on the waiter's stack; what
 * is written before it is opened is seen by the waiter.
 */
#ifndef ZN_API_LATCH_H
#define ZN_API_LATCH_H

#include <pthread.h>
#include <stdbool.h>

struct zn_latch {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
};

#define ZN_LATCH_INITIALIZER                                                                       \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false                                 \
    }

/* The waiter may be gone when this returns. */
static inline void zn_latch_open(struct zn_latch *l)
{
    pthread_mutex_lock(&l->lock);
    l->open = true;
    pthread_cond_signal(&l->opened);
    pthread_mutex_unlock(&l->lock);
}

static inline void zn_latch_wait(struct zn_latch *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->open)
        pthread_cond_wait(&l->opened, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

#endif
