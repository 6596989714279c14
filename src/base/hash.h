/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_HASH_H
#define ZN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3. While the key is secret, nobody can choose data that collides. Values are for tables
 * in memory: they differ between machines of different byte order. */
uint64_t zn_hash_bytes(const uint64_t key[2], const void *data, size_t n);
/* The same of two words that stand one behind the other in memory. */
uint64_t zn_hash_pair(const uint64_t key[2], uint64_t a, uint64_t b);

#endif
