/* SPDX-License-Identifier: MIT */
/*
 * The allocator that tests are linked with. Any thread may allocate; one test thread arms it.
 *
 * `left` counts down to the call that fails, and stays below zero after it, so that one call fails and
 * those behind it succeed: the code that cleans up may allocate again.
 */
#include "allocs.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_size_t calls, bytes_in_all;
static atomic_int armed_for; /* an enum allocs_thread, 0: nobody */
static atomic_long left;
static atomic_bool goes_on;     /* what fails once fails again */
static _Thread_local bool arms; /* this thread does */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);

static bool fails(size_t bytes)
{
    atomic_fetch_add(&calls, 1);
    atomic_fetch_add(&bytes_in_all, bytes);
    int whose = arms ? ALLOCS_OF_THIS_THREAD : ALLOCS_OF_THE_OTHERS;
    if (atomic_load(&armed_for) != whose)
        return false;
    long n = atomic_fetch_sub(&left, 1);
    if (n > 0 || (n < 0 && !atomic_load(&goes_on)))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t bytes) { return fails(bytes) ? NULL : __real_malloc(bytes); }

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails(n * bytes) ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return fails(bytes) ? NULL : __real_realloc(p, bytes);
}

size_t allocs_calls(void) { return atomic_load(&calls); }
size_t allocs_bytes(void) { return atomic_load(&bytes_in_all); }

void allocs_fail(size_t n, enum allocs_thread whose)
{
    arms = true;
    atomic_store(&left, (long)n);
    atomic_store(&armed_for, (int)whose);
}

void allocs_fail_all(void)
{
    atomic_store(&goes_on, true);
    allocs_fail(0, ALLOCS_OF_THIS_THREAD);
}

bool allocs_failed(void) { return atomic_load(&left) < 0; }

bool allocs_end(void)
{
    atomic_store(&armed_for, 0);
    atomic_store(&goes_on, false);
    return allocs_failed();
}
