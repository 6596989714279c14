/* SPDX-License-Identifier: MIT */
/*
 * A hash from a pair of 64-bit keys to a slot number, for tables whose memory is fixed at open.
 *
 * Owned by whoever owns the table that it indexes; no locks. The entries are the owner's own slot
 * numbers, so an index can never be fuller than its table and put cannot fail.
 *
 * Invariants: a slot is on exactly one chain, or on none. A link is a slot number plus one, so that
 * memory of zeros is an empty index, and pages of it that are never used are never touched. There
 * are at least as many chains as slots, so a chain holds one slot on average. The keys of requests
 * come from strangers: they are hashed under a secret seed, so that nobody can choose keys that all
 * fall on one chain and make each lookup walk the whole table.
 */
#include "base/index.h"

#include "base/hash.h"
#include "zmqnet.h"

#include <assert.h>
#include <stdlib.h>

static uint32_t chain_of(const struct zn_index *x, uint64_t a, uint64_t b)
{
    return (uint32_t)zn_hash_pair(x->key, a, b) & (x->heads_n - 1);
}

int zn_index_init(struct zn_index *x, uint32_t slots_max, uint64_t seed)
{
    assert(slots_max >= 1 && slots_max <= 1u << 30);
    uint32_t heads_n = 1;
    while (heads_n < slots_max)
        heads_n *= 2;
    *x = (struct zn_index){
        .heads = calloc(heads_n, sizeof *x->heads),
        .slots = calloc(slots_max, sizeof *x->slots),
        .heads_n = heads_n,
        .slots_max = slots_max,
        .key = {seed, ~(seed << 32 | seed >> 32)},
    };
    if (!x->heads || !x->slots) {
        zn_index_free(x);
        return ZMQNET_ENOMEM;
    }
    return 0;
}

void zn_index_free(struct zn_index *x)
{
    free(x->heads);
    free(x->slots);
    *x = (struct zn_index){0};
}

uint32_t zn_index_find(const struct zn_index *x, uint64_t a, uint64_t b)
{
    uint32_t link = x->heads[chain_of(x, a, b)];
    while (link != 0 && (x->slots[link - 1].a != a || x->slots[link - 1].b != b))
        link = x->slots[link - 1].next;
    return link == 0 ? ZN_INDEX_NONE : link - 1;
}

void zn_index_put(struct zn_index *x, uint32_t slot, uint64_t a, uint64_t b)
{
    assert(slot < x->slots_max && x->slots[slot].home == 0);
    uint32_t chain = chain_of(x, a, b);
    x->slots[slot] =
        (struct zn_index_slot){.a = a, .b = b, .next = x->heads[chain], .home = chain + 1};
    x->heads[chain] = slot + 1;
}

void zn_index_del(struct zn_index *x, uint32_t slot)
{
    assert(slot < x->slots_max && x->slots[slot].home != 0);
    struct zn_index_slot *s = &x->slots[slot];
    uint32_t *link = &x->heads[s->home - 1];
    while (*link != slot + 1) {
        assert(*link != 0);
        link = &x->slots[*link - 1].next;
    }
    *link = s->next;
    s->home = 0;
}
