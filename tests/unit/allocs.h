/* SPDX-License-Identifier: MIT */
/*
 * Counts the calls of malloc(), calloc() and realloc() in what is linked into a test program, and lets
 * one of them fail. The linker sends these calls here (--wrap, see tests/meson.build), so it is the same
 * with a sanitizer, and what shared libraries allocate for themselves is neither counted nor failed.
 */
#ifndef ZN_TESTS_ALLOCS_H
#define ZN_TESTS_ALLOCS_H

#include <stdbool.h>
#include <stddef.h>

/* Of all threads, since the beginning. */
size_t allocs_calls(void);
size_t allocs_bytes(void);

enum allocs_thread { ALLOCS_OF_THIS_THREAD = 1, ALLOCS_OF_THE_OTHERS };

/* Always from the same thread. One call fails: the next one if n is 0, the one behind it if it is 1, ... */
void allocs_fail(size_t n, enum allocs_thread whose);
/* Each call of this thread fails. */
void allocs_fail_all(void);
/* Has it come to that? */
bool allocs_failed(void);
/* From now on none fails; returns whether one has failed. */
bool allocs_end(void);

#endif
