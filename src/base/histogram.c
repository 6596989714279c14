/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram: recording is a few instructions, quantiles have a bounded relative error.
 *
 * No state of its own; one thread at a time for one histogram. A value v of n bits, n above
 * ZN_HISTOGRAM_BITS, falls by its highest ZN_HISTOGRAM_BITS + 1 bits; the buckets of one power of two
 * are all as wide. A bucket [low, low + width) has width <= low / 2^ZN_HISTOGRAM_BITS, and its middle
 * stands for it, so that no value is further from what it is read as than half of that: 1 in 256.
 *
 * Nothing can fail: every 64-bit value has a bucket. A count wraps after 2^64 records.
 */
#include "base/histogram.h"

#include <assert.h>
#include <string.h>

#define EXACT ((uint64_t)1 << ZN_HISTOGRAM_BITS)
#define MILLION 1000000u

static size_t bucket_of(uint64_t value)
{
    if (value < EXACT)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - ZN_HISTOGRAM_BITS;
    return ((size_t)shift << ZN_HISTOGRAM_BITS) + (size_t)(value >> shift);
}

static uint64_t middle_of(size_t bucket)
{
    if (bucket < 2 * EXACT)
        return bucket;
    unsigned shift = (unsigned)(bucket >> ZN_HISTOGRAM_BITS) - 1;
    uint64_t top = EXACT + (bucket & (EXACT - 1));
    return (top << shift) + ((uint64_t)1 << (shift - 1));
}

void zn_histogram_clear(struct zn_histogram *h) { memset(h, 0, sizeof *h); }

void zn_histogram_record(struct zn_histogram *h, uint64_t value)
{
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum += value;
    h->at[bucket_of(value)]++;
}

uint64_t zn_histogram_quantile(const struct zn_histogram *h, uint32_t millionths)
{
    assert(millionths <= MILLION);
    unsigned __int128 scaled = (unsigned __int128)h->count * millionths;
    uint64_t rank = (uint64_t)((scaled + MILLION - 1) / MILLION), seen = 0;
    if (rank <= 1)
        return h->min;
    if (rank == h->count)
        return h->max;
    for (size_t i = 0; i < ZN_HISTOGRAM_BUCKETS; i++) {
        seen += h->at[i];
        if (seen < rank)
            continue;
        uint64_t value = middle_of(i);
        if (value < h->min)
            return h->min;
        return value < h->max ? value : h->max;
    }
    return h->max;
}

uint64_t zn_histogram_mean(const struct zn_histogram *h, uint32_t times)
{
    if (h->count == 0)
        return 0;
    unsigned __int128 mean = (h->sum * times + h->count / 2) / h->count;
    return mean < UINT64_MAX ? (uint64_t)mean : UINT64_MAX;
}
