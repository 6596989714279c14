/* SPDX-License-Identifier: MIT */
/*
 * A hash from a pair of 64-bit keys to a slot number, for tables whose memory is fixed at open.
 *
 * Owned by whoever owns the table that it indexes; no locks. The entries are the owner's own slot
 * numbers, so an index can never be fuller than its table and put cannot fail.
 *
 * Invariants: a slot is on exactly one chain, or not used. A link is a slot number plus one, so that
 * memory of zeros is an empty index, and pages of it that are never used are never touched. There are at least as many
 * chains as slots, so a chain holds one slot on average. The keys of requests come from strangers:
 * they are hashed by SipHash-1-3 under a secret seed, so that nobody can choose keys that all fall
 * on one chain and make each lookup walk the whole table.
 */
#include "base/index.h"

#include "zmqnet.h"

#include <assert.h>
#include <stdlib.h>

static uint64_t rotate(uint64_t x, unsigned by) { return (x << by) | (x >> (64 - by)); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

/* SipHash with one round per word and three at the end, over the sixteen bytes of the pair. */
static uint64_t hash_of(const struct zn_index *x, uint64_t a, uint64_t b)
{
    const uint64_t words[3] = {a, b, (uint64_t)16 << 56};
    uint64_t v[4] = {
        x->key[0] ^ 0x736f6d6570736575u,
        x->key[1] ^ 0x646f72616e646f6du,
        x->key[0] ^ 0x6c7967656e657261u,
        x->key[1] ^ 0x7465646279746573u,
    };
    for (int i = 0; i < 3; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t *head_of(const struct zn_index *x, uint64_t a, uint64_t b)
{
    return &x->heads[hash_of(x, a, b) & (x->heads_n - 1)];
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
        .key = {seed, ~rotate(seed, 32)},
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
    uint32_t link = *head_of(x, a, b);
    while (link != 0 && (x->slots[link - 1].a != a || x->slots[link - 1].b != b))
        link = x->slots[link - 1].next;
    return link == 0 ? ZN_INDEX_NONE : link - 1;
}

void zn_index_put(struct zn_index *x, uint32_t slot, uint64_t a, uint64_t b)
{
    assert(slot < x->slots_max && !x->slots[slot].used);
    uint32_t *head = head_of(x, a, b);
    x->slots[slot] = (struct zn_index_slot){.a = a, .b = b, .next = *head, .used = true};
    *head = slot + 1;
}

void zn_index_del(struct zn_index *x, uint32_t slot)
{
    assert(slot < x->slots_max && x->slots[slot].used);
    struct zn_index_slot *s = &x->slots[slot];
    uint32_t *link = head_of(x, s->a, s->b);
    while (*link != slot + 1) {
        assert(*link != 0);
        link = &x->slots[*link - 1].next;
    }
    *link = s->next;
    s->used = false;
}
