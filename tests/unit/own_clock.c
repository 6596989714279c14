/* SPDX-License-Identifier: MIT */
/*
 * The clock that tests of patterns are linked with: the real one and what it was put ahead. Any thread
 * reads it; the test's puts it ahead. It never goes back.
 */
#include "own_clock.h"

#include <stdatomic.h>

static atomic_uint_least64_t ahead_us;

uint64_t __real_zn_clock_us(void);
uint64_t __wrap_zn_clock_us(void);

uint64_t __wrap_zn_clock_us(void) { return __real_zn_clock_us() + atomic_load(&ahead_us); }

void own_clock_put_ahead(uint64_t us) { atomic_fetch_add(&ahead_us, us); }

uint64_t own_clock_real_us(void) { return __real_zn_clock_us(); }
