/* SPDX-License-Identifier: MIT */
/*
 * Holds the histogram: the promised error of quantiles against a sorted array, for several shapes of
 * data; what is exact.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/histogram.h"
#include "base/rand.h"

#define VALUES 20000
#define MILLION 1000000u

static struct zn_histogram h;
static uint64_t values[VALUES];

static uint64_t uniform_small(struct zn_rand *r) { return zn_rand_below(r, 300); }
static uint64_t uniform_large(struct zn_rand *r) { return zn_rand_below(r, 1ull << 40); }
/* Every order of magnitude is as likely. */
static uint64_t all_sizes(struct zn_rand *r) { return zn_rand_u64(r) >> zn_rand_below(r, 64); }
/* Latencies: most near 200, one in a hundred a thousand times that. */
static uint64_t two_humps(struct zn_rand *r)
{
    return zn_rand_below(r, 100) > 0 ? 180 + zn_rand_below(r, 40)
                                     : 200000 + zn_rand_below(r, 50000);
}
static uint64_t one_value(struct zn_rand *r)
{
    (void)r;
    return 123457;
}
static uint64_t bucket_edges(struct zn_rand *r)
{
    return (1ull << (7 + zn_rand_below(r, 57))) - zn_rand_below(r, 2);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void fill(uint64_t (*draw)(struct zn_rand *), uint64_t seed)
{
    struct zn_rand r;
    zn_rand_seed(&r, seed);
    zn_histogram_clear(&h);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = draw(&r);
        zn_histogram_record(&h, values[i]);
    }
    qsort(values, VALUES, sizeof *values, ascending);
}

static void check_quantile(const char *shape, uint32_t millionths)
{
    uint64_t rank = ((uint64_t)VALUES * millionths + MILLION - 1) / MILLION;
    uint64_t right = values[rank > 0 ? rank - 1 : 0];
    uint64_t got = zn_histogram_quantile(&h, millionths);
    uint64_t off = got > right ? got - right : right - got;
    if (off > right / ZN_HISTOGRAM_ERROR)
        fail_msg("%s: quantile %u is %llu, not %llu", shape, millionths, (unsigned long long)got,
                 (unsigned long long)right);
}

static void quantiles_are_within_the_error(void **state)
{
    static const struct {
        const char *name;
        uint64_t (*draw)(struct zn_rand *);
    } shapes[] = {
        {"uniform_small", uniform_small}, {"uniform_large", uniform_large},
        {"all_sizes", all_sizes},         {"two_humps", two_humps},
        {"one_value", one_value},         {"bucket_edges", bucket_edges},
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        fill(shapes[i].draw, i + 1);
        for (uint32_t q = 0; q <= 1000; q++)
            check_quantile(shapes[i].name, q * 1000);
        check_quantile(shapes[i].name, 999900);
        check_quantile(shapes[i].name, 999999);
        assert_true(zn_histogram_quantile(&h, 0) == values[0]);
        assert_true(zn_histogram_quantile(&h, MILLION) == values[VALUES - 1]);
    }
}

static void small_values_are_exact(void **state)
{
    (void)state;
    zn_histogram_clear(&h);
    for (uint64_t v = 0; v < 256; v++)
        zn_histogram_record(&h, v);
    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(zn_histogram_quantile(&h, (i + 1) * 3906), i);
}

static void edges_of_the_range(void **state)
{
    (void)state;
    zn_histogram_clear(&h);
    assert_int_equal(zn_histogram_quantile(&h, 0), 0);
    assert_int_equal(zn_histogram_quantile(&h, MILLION), 0);
    assert_int_equal(zn_histogram_mean(&h, 1), 0);
    zn_histogram_record(&h, UINT64_MAX);
    assert_true(zn_histogram_quantile(&h, 0) == UINT64_MAX);
    assert_true(zn_histogram_quantile(&h, 500000) == UINT64_MAX);
    zn_histogram_record(&h, UINT64_MAX);
    zn_histogram_record(&h, 0);
    assert_true(zn_histogram_quantile(&h, 0) == 0);
    assert_true(zn_histogram_quantile(&h, 500000) > UINT64_MAX - UINT64_MAX / ZN_HISTOGRAM_ERROR);
    assert_true(zn_histogram_quantile(&h, MILLION) == UINT64_MAX);
    assert_true(zn_histogram_mean(&h, 1) == UINT64_MAX / 3 * 2);
}

/* One slow value in a thousand is seen from the first quantile that it belongs to, and not before. */
static void one_in_a_thousand(void **state)
{
    (void)state;
    zn_histogram_clear(&h);
    for (int i = 0; i < 999; i++)
        zn_histogram_record(&h, 100);
    zn_histogram_record(&h, 70000);
    assert_int_equal(zn_histogram_quantile(&h, 999000), 100);
    assert_int_equal(zn_histogram_quantile(&h, 999001), 70000);
    assert_int_equal(h.max, 70000);
}

static void mean_is_exact(void **state)
{
    (void)state;
    zn_histogram_clear(&h);
    zn_histogram_record(&h, 1000001);
    zn_histogram_record(&h, 1000002);
    assert_int_equal(zn_histogram_mean(&h, 1000), 1000001500);
    assert_int_equal(zn_histogram_mean(&h, 1), 1000002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_the_error),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(edges_of_the_range),
        cmocka_unit_test(one_in_a_thousand),
        cmocka_unit_test(mean_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
