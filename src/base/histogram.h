/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_HISTOGRAM_H
#define ZN_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Values below 2^ZN_HISTOGRAM_BITS are kept exactly; each power of two above has so many buckets. */
#define ZN_HISTOGRAM_BITS 7
#define ZN_HISTOGRAM_BUCKETS ((size_t)(65 - ZN_HISTOGRAM_BITS) << ZN_HISTOGRAM_BITS)

/* A quantile is a value that was recorded, but for a relative error of at most 1 in this. */
#define ZN_HISTOGRAM_ERROR (2u << ZN_HISTOGRAM_BITS)
_Static_assert(ZN_HISTOGRAM_ERROR > 100, "the error is below 1 %");

/* How often each value was recorded, in fixed memory (58 KiB). Any unit. All zero is empty. */
struct zn_histogram {
    uint64_t count, min, max; /* exact */
    unsigned __int128 sum;
    uint64_t at[ZN_HISTOGRAM_BUCKETS];
};

void zn_histogram_clear(struct zn_histogram *h);
void zn_histogram_record(struct zn_histogram *h, uint64_t value);
/* The smallest value that so many millionths of all do not exceed: 500000 is the median, 0 the
 * minimum, 1000000 the maximum, those two exact. 0 if nothing was recorded. */
uint64_t zn_histogram_quantile(const struct zn_histogram *h, uint32_t millionths);
/* `times` times the mean, rounded; exact. 0 if nothing was recorded. */
uint64_t zn_histogram_mean(const struct zn_histogram *h, uint32_t times);

#endif
