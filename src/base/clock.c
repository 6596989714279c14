/* SPDX-License-Identifier: MIT */
/*
 * The monotonic clock. Any thread; no state. Core never reads it: the loop reads it once a turn and
 * hands the time in, so that core runs just as well on a virtual clock.
 *
 * It cannot fail: CLOCK_MONOTONIC exists on every Linux that the library builds on.
 */
#include "base/clock.h"

#include <assert.h>
#include <time.h>

uint64_t zn_clock_us(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    assert(rc == 0);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}
