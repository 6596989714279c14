/* SPDX-License-Identifier: MIT */
/*
 * Random numbers of two kinds. A seeded generator (xoshiro256**), owned by whoever holds its
 * struct, for jitter and simulation: the same seed gives the same numbers on every machine. And 64
 * bits from the kernel for lives and origins, which must differ between any two processes; any
 * thread.
 *
 * Only the kernel can fail; zn_rand_life() then returns 0, which is never a life.
 */
#include "base/rand.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

static uint64_t rotate(uint64_t x, unsigned by) { return (x << by) | (x >> (64 - by)); }

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Successive splitmix outputs differ, so the state is never all zero, where xoshiro would stay. */
void zn_rand_seed(struct zn_rand *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

uint64_t zn_rand_u64(struct zn_rand *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Numbers below 2^64 mod n are thrown away: what is left is a multiple of n, so no remainder is
 * likelier than another. */
uint64_t zn_rand_below(struct zn_rand *r, uint64_t n)
{
    assert(n > 0);
    uint64_t reject_below = (0 - n) % n;
    uint64_t x;
    do {
        x = zn_rand_u64(r);
    } while (x < reject_below);
    return x % n;
}

uint64_t zn_rand_life(void)
{
    uint64_t x = 0;
    while (x == 0) {
        ssize_t got = getrandom(&x, sizeof x, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof x)
            return 0;
    }
    return x;
}
