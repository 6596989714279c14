/* SPDX-License-Identifier: MIT */
/*
 * Holds the random numbers: the seeded generator gives the published sequence and repeats it,
 * bounded numbers are in range and even, lives differ. Also that the clock does not run backwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"

/* With the state 1 2 3 4 the first numbers of xoshiro256** follow from its definition by hand. */
static void known_state_gives_known_numbers(void **state)
{
    (void)state;
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240u};
    struct zn_rand r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(zn_rand_u64(&r), expected[i]);
}

/* The first outputs of splitmix64 for the seed 0. */
static void seed_fills_the_state(void **state)
{
    (void)state;
    struct zn_rand r;
    zn_rand_seed(&r, 0);
    assert_int_equal(r.s[0], 0xe220a8397b1dcdafu);
    assert_int_equal(r.s[1], 0x6e789e6aa1b965f4u);
    assert_int_equal(r.s[2], 0x06c45d188009454fu);
    assert_int_equal(r.s[3], 0xf88bb8a8724c81ecu);
}

static void same_seed_same_numbers(void **state)
{
    (void)state;
    struct zn_rand a, b, c;
    zn_rand_seed(&a, 42);
    zn_rand_seed(&b, 42);
    zn_rand_seed(&c, 43);
    int equal_to_c = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = zn_rand_u64(&a);
        assert_int_equal(x, zn_rand_u64(&b));
        equal_to_c += x == zn_rand_u64(&c);
    }
    assert_int_equal(equal_to_c, 0);
}

static void below_is_in_range_and_even(void **state)
{
    (void)state;
    enum { SIDES = 6, ROLLS = 60000 };
    struct zn_rand r;
    zn_rand_seed(&r, 7);
    int seen[SIDES] = {0};
    for (int i = 0; i < ROLLS; i++) {
        uint64_t x = zn_rand_below(&r, SIDES);
        assert_true(x < SIDES);
        seen[x]++;
    }
    for (int i = 0; i < SIDES; i++)
        assert_in_range(seen[i], ROLLS / SIDES - 500, ROLLS / SIDES + 500);
    assert_int_equal(zn_rand_below(&r, 1), 0);
}

/* Just above 2^63 nearly half of all numbers are thrown away. */
static void below_a_large_bound_is_in_range(void **state)
{
    (void)state;
    const uint64_t bound = (1ull << 63) + 1;
    struct zn_rand r;
    zn_rand_seed(&r, 8);
    for (int i = 0; i < 1000; i++)
        assert_true(zn_rand_below(&r, bound) < bound);
}

static void lives_differ_and_are_never_zero(void **state)
{
    (void)state;
    uint64_t previous = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t life = zn_rand_life();
        assert_int_not_equal(life, 0);
        assert_int_not_equal(life, previous);
        previous = life;
    }
}

static void clock_does_not_run_backwards(void **state)
{
    (void)state;
    uint64_t start = zn_clock_us();
    uint64_t now = start;
    while (now < start + 2000) {
        uint64_t next = zn_clock_us();
        assert_true(next >= now);
        now = next;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_state_gives_known_numbers),
        cmocka_unit_test(seed_fills_the_state),
        cmocka_unit_test(same_seed_same_numbers),
        cmocka_unit_test(below_is_in_range_and_even),
        cmocka_unit_test(below_a_large_bound_is_in_range),
        cmocka_unit_test(lives_differ_and_are_never_zero),
        cmocka_unit_test(clock_does_not_run_backwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
