/* SPDX-License-Identifier: MIT */
/*
 * The clock of a test program over real sockets. It runs as it does, and a test can put it ahead: then
 * our own timers are due without anybody waiting for them. libzmq, the kernel and other processes have
 * the real one. The linker sends zn_clock_us() here (--wrap, see tests/meson.build).
 */
#ifndef ZN_TESTS_OWN_CLOCK_H
#define ZN_TESTS_OWN_CLOCK_H

#include <stdint.h>

void own_clock_put_ahead(uint64_t us);
/* What it would be if it had never been put ahead: of deadlines. */
uint64_t own_clock_real_us(void);

#endif
