/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_HEAP_H
#define ZN_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZN_HEAP_OUT UINT32_MAX

/* One timer: embedded in what it belongs to. All zero is not valid: call zn_timer_init(). */
struct zn_timer {
    uint64_t at_us;
    uint32_t pos; /* in the heap, ZN_HEAP_OUT: not set */
    uint32_t tag; /* the owner's, to find itself again */
};

/* A binary heap of timers, earliest first; ties in the order of setting are not promised but are the
 * same for the same sequence of calls. Capacity is fixed at init: set never fails below it. */
struct zn_heap {
    struct zn_timer **slots;
    uint32_t n, max;
};

/* Returns 0 or ZMQNET_ENOMEM. */
int zn_heap_init(struct zn_heap *h, uint32_t max);
void zn_heap_free(struct zn_heap *h);

void zn_timer_init(struct zn_timer *t, uint32_t tag);
/* Set or move. Asserts that there is room. */
void zn_timer_set(struct zn_heap *h, struct zn_timer *t, uint64_t at_us);
void zn_timer_clear(struct zn_heap *h, struct zn_timer *t);
static inline bool zn_timer_is_set(const struct zn_timer *t) { return t->pos != ZN_HEAP_OUT; }
/* The earliest time, UINT64_MAX if empty. */
uint64_t zn_heap_next_us(const struct zn_heap *h);
/* Take the earliest timer that is due at now_us off the heap; NULL if none is. */
struct zn_timer *zn_heap_pop_due(struct zn_heap *h, uint64_t now_us);

#endif
