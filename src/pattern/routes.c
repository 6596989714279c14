/* SPDX-License-Identifier: MIT */
/*
 * A fixed table of envelopes with an index by content and a list by last use. The loop's thread.
 *
 * Slots are taken in order until all have been used once, so memory that no client has asked for is
 * never touched; then the least recently used slot is taken again. Correlated REQ clients make a new
 * envelope with each request, and so pass through the table all the time. A route is slot and
 * generation: after reuse the old route finds nothing. Generations start at 1, so that no route is 0.
 *
 * Envelopes longer than SHORT_BYTES, which only proxies and long client ids make, are allocated.
 */
#include "pattern/routes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/index.h"
#include "base/limits.h"
#include "pattern/envelope.h"
#include "zmqnet.h"

#define SHORT_BYTES 24
#define NONE UINT32_MAX

struct slot {
    uint32_t generation;
    uint32_t newer, older; /* by last use; NONE: the end */
    uint16_t bytes;
    union {
        uint8_t here[SHORT_BYTES];
        uint8_t *there; /* bytes > SHORT_BYTES */
    } envelope;
};

struct zn_routes {
    struct zn_index index;
    struct slot *slots;
    uint32_t max, used;
    uint32_t newest, oldest; /* NONE: no slot is used */
    uint64_t seed;
};

_Static_assert(ZN_ENVELOPE_ROOM <= UINT16_MAX, "lengths fit");

static const uint8_t *envelope_of(const struct slot *s)
{
    return s->bytes > SHORT_BYTES ? s->envelope.there : s->envelope.here;
}

/* Seeded, so that nobody can choose envelopes that meet in one chain of the index. */
static uint64_t hash(const uint8_t *data, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15u);
    while (n > 0) {
        uint64_t word = 0;
        size_t step = n < sizeof word ? n : sizeof word;
        memcpy(&word, data, step);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        data += step;
        n -= step;
    }
    return h * 0xc4ceb9fe1a85ec53u;
}

static void unlink_slot(struct zn_routes *r, uint32_t i)
{
    struct slot *s = &r->slots[i];
    *(s->newer == NONE ? &r->newest : &r->slots[s->newer].older) = s->older;
    *(s->older == NONE ? &r->oldest : &r->slots[s->older].newer) = s->newer;
}

static void link_newest(struct zn_routes *r, uint32_t i)
{
    struct slot *s = &r->slots[i];
    s->newer = NONE;
    s->older = r->newest;
    *(r->newest == NONE ? &r->oldest : &r->slots[r->newest].newer) = i;
    r->newest = i;
}

static void touch(struct zn_routes *r, uint32_t i)
{
    if (r->newest == i)
        return;
    unlink_slot(r, i);
    link_newest(r, i);
}

static void empty(struct slot *s)
{
    if (s->bytes > SHORT_BYTES)
        free(s->envelope.there);
    s->bytes = 0;
}

/* A slot that is in no list and no index. */
static uint32_t take_slot(struct zn_routes *r)
{
    if (r->used < r->max)
        return r->used++;
    uint32_t i = r->oldest;
    unlink_slot(r, i);
    zn_index_del(&r->index, i);
    empty(&r->slots[i]);
    return i;
}

static zn_route route_of(const struct zn_routes *r, uint32_t i)
{
    return (uint64_t)r->slots[i].generation << 32 | i;
}

int zn_routes_open(uint32_t routes_max, uint64_t seed, struct zn_routes **out)
{
    assert(routes_max >= 1 && routes_max <= ZN_ROUTES_MAX);
    int rc = ZMQNET_ENOMEM;
    struct zn_routes *r = calloc(1, sizeof *r);
    if (!r)
        return rc;
    r->max = routes_max;
    r->newest = r->oldest = NONE;
    r->seed = seed;
    r->slots = calloc(routes_max, sizeof *r->slots);
    if (!r->slots)
        goto free_routes;
    rc = zn_index_init(&r->index, routes_max, seed);
    if (rc != 0)
        goto free_slots;
    *out = r;
    return 0;

free_slots:
    free(r->slots);
free_routes:
    free(r);
    return rc;
}

void zn_routes_close(struct zn_routes **r)
{
    if (!*r)
        return;
    for (uint32_t i = 0; i < (*r)->used; i++)
        empty(&(*r)->slots[i]);
    zn_index_free(&(*r)->index);
    free((*r)->slots);
    free(*r);
    *r = NULL;
}

zn_route zn_routes_put(struct zn_routes *r, const uint8_t *envelope, size_t bytes)
{
    assert(bytes > 0 && bytes <= ZN_ENVELOPE_ROOM);
    uint64_t a = hash(envelope, bytes, r->seed), b = hash(envelope, bytes, ~a);
    uint32_t i = zn_index_find(&r->index, a, b);
    if (i != ZN_INDEX_NONE && r->slots[i].bytes == bytes &&
        memcmp(envelope_of(&r->slots[i]), envelope, bytes) == 0) {
        touch(r, i);
        return route_of(r, i);
    }
    uint8_t *there = NULL;
    if (bytes > SHORT_BYTES && !(there = malloc(bytes)))
        return 0;
    i = take_slot(r);
    struct slot *s = &r->slots[i];
    memcpy(there ? there : s->envelope.here, envelope, bytes);
    if (there)
        s->envelope.there = there;
    s->bytes = (uint16_t)bytes;
    s->generation += s->generation == UINT32_MAX ? 2 : 1;
    zn_index_put(&r->index, i, a, b);
    link_newest(r, i);
    return route_of(r, i);
}

const uint8_t *zn_routes_get(struct zn_routes *r, zn_route route, size_t *bytes)
{
    uint32_t i = (uint32_t)route, generation = (uint32_t)(route >> 32);
    if (i >= r->used || r->slots[i].generation != generation)
        return NULL;
    touch(r, i);
    *bytes = r->slots[i].bytes;
    return envelope_of(&r->slots[i]);
}
