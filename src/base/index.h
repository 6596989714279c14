/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_INDEX_H
#define ZN_BASE_INDEX_H

#include <stdint.h>

#define ZN_INDEX_NONE UINT32_MAX

struct zn_index_slot {
    uint64_t a, b;
    uint32_t next; /* in its chain, plus one; 0: the last one */
    uint32_t home; /* the chain that it is on, plus one; 0: on none */
};

/* From a pair of keys to a slot number of the owner's table. Its memory is fixed at init. */
struct zn_index {
    uint32_t *heads; /* the first slot of each chain, plus one; heads_n is a power of two */
    struct zn_index_slot *slots;
    uint32_t heads_n, slots_max;
    uint64_t key[2]; /* of the hash */
};

/* The owner's slots are 0..slots_max-1, slots_max 1..2^30. seed: secret from whoever chooses the
 * keys. Returns 0 or ZMQNET_ENOMEM. */
int zn_index_init(struct zn_index *x, uint32_t slots_max, uint64_t seed);
/* Also of an all-zero one. */
void zn_index_free(struct zn_index *x);

/* The slot of this pair, ZN_INDEX_NONE if absent. Of equal pairs, the one put last. */
uint32_t zn_index_find(const struct zn_index *x, uint64_t a, uint64_t b);
/* Asserts that the slot is not in the index. */
void zn_index_put(struct zn_index *x, uint32_t slot, uint64_t a, uint64_t b);
/* Asserts that the slot is in the index. */
void zn_index_del(struct zn_index *x, uint32_t slot);

#endif
