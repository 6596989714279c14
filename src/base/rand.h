/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_RAND_H
#define ZN_BASE_RAND_H

#include <stdint.h>

/* A small seeded generator (xoshiro256** seeded by splitmix64): jitter and simulation, not secrets. */
struct zn_rand {
    uint64_t s[4];
};

void zn_rand_seed(struct zn_rand *r, uint64_t seed);
uint64_t zn_rand_u64(struct zn_rand *r);
/* Uniform in [0, n); n > 0. */
uint64_t zn_rand_below(struct zn_rand *r, uint64_t n);

/* 64 bits from the kernel, never 0: lives and origins. Returns 0 if the kernel has none to give. */
uint64_t zn_rand_life(void);

#endif
