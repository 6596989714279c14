/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_CLOCK_H
#define ZN_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic microseconds since an unspecified start. Any thread. */
uint64_t zn_clock_us(void);

#endif
