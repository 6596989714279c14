/* SPDX-License-Identifier: MIT */
/*
 * SipHash with one round per word and three at the end, for tables whose keys strangers choose. A
 * weaker hash lets them find keys that collide under every seed. No state; any thread.
 */
#include "base/hash.h"

#include <string.h>

/* By force: the four words then stay in registers, and a short key costs a third. */
#define INLINE __attribute__((always_inline)) static inline

INLINE uint64_t rotate(uint64_t x, unsigned by) { return (x << by) | (x >> (64 - by)); }

INLINE void sip_round(uint64_t v[4])
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

INLINE void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* What is left behind the whole words, with the length in the top byte. */
static uint64_t last_word(const uint8_t *rest, size_t n)
{
    uint64_t word = (uint64_t)n << 56;
    for (size_t i = 0; i < n % 8; i++)
        word |= (uint64_t)rest[i] << 8 * i;
    return word;
}

INLINE void begin(uint64_t v[4], const uint64_t key[2])
{
    v[0] = key[0] ^ 0x736f6d6570736575u;
    v[1] = key[1] ^ 0x646f72616e646f6du;
    v[2] = key[0] ^ 0x6c7967656e657261u;
    v[3] = key[1] ^ 0x7465646279746573u;
}

INLINE uint64_t finish(uint64_t v[4])
{
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t zn_hash_pair(const uint64_t key[2], uint64_t a, uint64_t b)
{
    uint64_t v[4];
    begin(v, key);
    absorb(v, a);
    absorb(v, b);
    absorb(v, (uint64_t)16 << 56);
    return finish(v);
}

uint64_t zn_hash_bytes(const uint64_t key[2], const void *data, size_t n)
{
    uint64_t v[4];
    begin(v, key);
    const uint8_t *at = data;
    for (size_t words = n / 8; words > 0; words--) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        absorb(v, word);
        at += sizeof word;
    }
    absorb(v, last_word(at, n));
    return finish(v);
}
