/* SPDX-License-Identifier: MIT */
/*
 * Holds the timer heap against a plain array that is searched from end to end, over a long random
 * schedule of its operations; and that nothing is allocated after init.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>

#include "base/heap.h"
#include "base/rand.h"

#define TIMERS_N 200

static void empty_heap_has_nothing_due(void **state)
{
    (void)state;
    struct zn_heap h;
    assert_int_equal(zn_heap_init(&h, 1), 0);
    assert_true(zn_heap_next_us(&h) == UINT64_MAX);
    assert_null(zn_heap_pop_due(&h, UINT64_MAX));
    zn_heap_free(&h);
    zn_heap_free(&h);
}

static void timer_is_due_at_its_time_and_not_before(void **state)
{
    (void)state;
    struct zn_heap h;
    struct zn_timer t;
    assert_int_equal(zn_heap_init(&h, 1), 0);
    zn_timer_init(&t, 7);
    assert_false(zn_timer_is_set(&t));
    zn_timer_clear(&h, &t);
    zn_timer_set(&h, &t, 100);
    assert_true(zn_timer_is_set(&t));
    assert_null(zn_heap_pop_due(&h, 99));
    assert_ptr_equal(zn_heap_pop_due(&h, 100), &t);
    assert_int_equal(t.tag, 7);
    assert_false(zn_timer_is_set(&t));
    assert_null(zn_heap_pop_due(&h, 100));
    zn_heap_free(&h);
}

static void setting_again_moves(void **state)
{
    (void)state;
    struct zn_heap h;
    struct zn_timer a, b;
    assert_int_equal(zn_heap_init(&h, 2), 0);
    zn_timer_init(&a, 0);
    zn_timer_init(&b, 1);
    zn_timer_set(&h, &a, 10);
    zn_timer_set(&h, &b, 20);
    zn_timer_set(&h, &a, 30);
    assert_int_equal(zn_heap_next_us(&h), 20);
    zn_timer_set(&h, &a, 5);
    assert_int_equal(zn_heap_next_us(&h), 5);
    assert_int_equal(h.n, 2);
    zn_timer_clear(&h, &a);
    assert_int_equal(zn_heap_next_us(&h), 20);
    zn_heap_free(&h);
}

static uint64_t earliest(const struct zn_timer *timers)
{
    uint64_t at_us = UINT64_MAX;
    for (size_t i = 0; i < TIMERS_N; i++)
        if (zn_timer_is_set(&timers[i]) && timers[i].at_us < at_us)
            at_us = timers[i].at_us;
    return at_us;
}

static void check_shape(const struct zn_heap *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        assert_int_equal(h->slots[i]->pos, i);
        if (i > 0)
            assert_true(h->slots[(i - 1) / 2]->at_us <= h->slots[i]->at_us);
    }
}

static void random_schedule_agrees_with_a_search(void **state)
{
    (void)state;
    static struct zn_timer timers[TIMERS_N];
    struct zn_heap h;
    struct zn_rand r;
    zn_rand_seed(&r, 1);
    assert_int_equal(zn_heap_init(&h, TIMERS_N), 0);
    for (uint32_t i = 0; i < TIMERS_N; i++)
        zn_timer_init(&timers[i], i);
    for (uint64_t now_us = 0; now_us < 20000; now_us++) {
        struct zn_timer *t = &timers[zn_rand_below(&r, TIMERS_N)];
        if (zn_rand_below(&r, 4) > 0)
            zn_timer_set(&h, t, now_us + zn_rand_below(&r, 300));
        else
            zn_timer_clear(&h, t);
        uint64_t due_us = earliest(timers);
        assert_int_equal(zn_heap_next_us(&h), due_us);
        struct zn_timer *popped = zn_heap_pop_due(&h, now_us);
        assert_int_equal(popped != NULL, due_us <= now_us);
        if (popped)
            assert_int_equal(popped->at_us, due_us);
        check_shape(&h);
    }
    assert_true(h.n > 0);
    zn_heap_free(&h);
}

/* A sanitizer's allocator reports 0 throughout; the plain build is the one that tells. */
static void nothing_is_allocated_after_init(void **state)
{
    (void)state;
    static struct zn_timer timers[TIMERS_N];
    struct zn_heap h;
    assert_int_equal(zn_heap_init(&h, TIMERS_N), 0);
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < TIMERS_N; i++) {
        zn_timer_init(&timers[i], i);
        zn_timer_set(&h, &timers[i], TIMERS_N - i);
    }
    for (uint64_t i = 1; i <= TIMERS_N; i++)
        assert_int_equal(zn_heap_pop_due(&h, UINT64_MAX)->at_us, i);
    assert_int_equal(mallinfo2().uordblks, before);
    zn_heap_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_heap_has_nothing_due),
        cmocka_unit_test(timer_is_due_at_its_time_and_not_before),
        cmocka_unit_test(setting_again_moves),
        cmocka_unit_test(random_schedule_agrees_with_a_search),
        cmocka_unit_test(nothing_is_allocated_after_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
