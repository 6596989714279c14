/* SPDX-License-Identifier: MIT */
/*
 * A binary heap of timers that live inside what they belong to. Owned by one thread; no locks.
 *
 * Invariants: slots[i]->pos == i for i < n, and no timer is earlier than its parent (i - 1) / 2.
 * A timer that is not set has pos ZN_HEAP_OUT. The heap owns its array, never a timer.
 *
 * Set, clear and pop take O(log n) and allocate nothing. Only init can fail. Setting more timers
 * than the capacity is a bug of the caller and asserted.
 */
#include "base/heap.h"

#include "zmqnet.h"

#include <assert.h>
#include <stdlib.h>

static void place(struct zn_heap *h, uint32_t pos, struct zn_timer *t)
{
    h->slots[pos] = t;
    t->pos = pos;
}

/* Move t, whose place is free at pos, towards the root. */
static void sift_up(struct zn_heap *h, uint32_t pos, struct zn_timer *t)
{
    while (pos > 0) {
        uint32_t parent = (pos - 1) / 2;
        if (h->slots[parent]->at_us <= t->at_us)
            break;
        place(h, pos, h->slots[parent]);
        pos = parent;
    }
    place(h, pos, t);
}

/* Move t, whose place is free at pos, towards the leaves. */
static void sift_down(struct zn_heap *h, uint32_t pos, struct zn_timer *t)
{
    while (pos < h->n / 2) {
        uint32_t child = 2 * pos + 1;
        if (child + 1 < h->n && h->slots[child + 1]->at_us < h->slots[child]->at_us)
            child++;
        if (t->at_us <= h->slots[child]->at_us)
            break;
        place(h, pos, h->slots[child]);
        pos = child;
    }
    place(h, pos, t);
}

static void settle(struct zn_heap *h, uint32_t pos, struct zn_timer *t)
{
    if (pos > 0 && t->at_us < h->slots[(pos - 1) / 2]->at_us)
        sift_up(h, pos, t);
    else
        sift_down(h, pos, t);
}

int zn_heap_init(struct zn_heap *h, uint32_t max)
{
    assert(max > 0 && max < ZN_HEAP_OUT / 2);
    *h = (struct zn_heap){.slots = malloc(max * sizeof(struct zn_timer *)), .max = max};
    return h->slots ? 0 : ZMQNET_ENOMEM;
}

void zn_heap_free(struct zn_heap *h)
{
    free(h->slots);
    *h = (struct zn_heap){0};
}

void zn_timer_init(struct zn_timer *t, uint32_t tag)
{
    *t = (struct zn_timer){.pos = ZN_HEAP_OUT, .tag = tag};
}

void zn_timer_set(struct zn_heap *h, struct zn_timer *t, uint64_t at_us)
{
    t->at_us = at_us;
    if (zn_timer_is_set(t)) {
        assert(t->pos < h->n && h->slots[t->pos] == t);
        settle(h, t->pos, t);
        return;
    }
    assert(h->n < h->max);
    sift_up(h, h->n++, t);
}

void zn_timer_clear(struct zn_heap *h, struct zn_timer *t)
{
    if (!zn_timer_is_set(t))
        return;
    uint32_t pos = t->pos;
    assert(pos < h->n && h->slots[pos] == t);
    t->pos = ZN_HEAP_OUT;
    struct zn_timer *last = h->slots[--h->n];
    if (last != t)
        settle(h, pos, last);
}

uint64_t zn_heap_next_us(const struct zn_heap *h) { return h->n ? h->slots[0]->at_us : UINT64_MAX; }

struct zn_timer *zn_heap_pop_due(struct zn_heap *h, uint64_t now_us)
{
    if (h->n == 0 || h->slots[0]->at_us > now_us)
        return NULL;
    struct zn_timer *t = h->slots[0];
    zn_timer_clear(h, t);
    return t;
}
