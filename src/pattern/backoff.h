/* SPDX-License-Identifier: MIT */
/* How long to wait before something that failed is tried again. */
#ifndef ZN_PATTERN_BACKOFF_H
#define ZN_PATTERN_BACKOFF_H

#include <stdint.h>

#include "base/limits.h"
#include "base/rand.h"

#define ZN_BACKOFF_MIN_US (50 * ZN_MS)
#define ZN_BACKOFF_MAX_US (2 * ZN_SECOND)

/* All zero: nothing has failed yet, and the next try comes at once. */
struct zn_backoff {
    uint64_t us; /* the next one, before jitter */
};

/* Each is double the one before, up to the maximum; with jitter of a quarter either way. */
uint64_t zn_backoff_next_us(struct zn_backoff *b, struct zn_rand *rand);
/* The next one is no less than the minimum: something that stood was given up. */
void zn_backoff_not_at_once(struct zn_backoff *b);

#endif
