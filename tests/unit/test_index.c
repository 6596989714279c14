/* SPDX-License-Identifier: MIT */
/*
 * Holds the index against a table that is searched from end to end, over a random schedule; that
 * keys chosen to collide under another seed spread; and that nothing is allocated after init.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/index.h"
#include "base/rand.h"

#define SLOTS_N 100

struct entry {
    bool used;
    uint64_t a, b;
};

static uint32_t search(const struct entry *table, uint64_t a, uint64_t b)
{
    for (uint32_t i = 0; i < SLOTS_N; i++)
        if (table[i].used && table[i].a == a && table[i].b == b)
            return i;
    return ZN_INDEX_NONE;
}

/* Few keys, so that the same pair comes back again and again; the halves swap, so that the order of
 * a pair matters. */
static void random_schedule_agrees_with_a_search(void **state)
{
    (void)state;
    static struct entry table[SLOTS_N];
    struct zn_index x;
    struct zn_rand r;
    zn_rand_seed(&r, 1);
    assert_int_equal(zn_index_init(&x, SLOTS_N, 99), 0);
    for (int i = 0; i < 50000; i++) {
        uint64_t a = zn_rand_below(&r, 15);
        uint64_t b = zn_rand_below(&r, 15);
        uint32_t found = zn_index_find(&x, a, b);
        assert_int_equal(found, search(table, a, b));
        uint32_t slot = (uint32_t)zn_rand_below(&r, SLOTS_N);
        if (found != ZN_INDEX_NONE) {
            zn_index_del(&x, found);
            table[found].used = false;
        } else if (!table[slot].used) {
            zn_index_put(&x, slot, a, b);
            table[slot] = (struct entry){true, a, b};
        }
    }
    zn_index_free(&x);
}

static void every_slot_can_be_used(void **state)
{
    (void)state;
    struct zn_index x;
    assert_int_equal(zn_index_init(&x, SLOTS_N, 0), 0);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < SLOTS_N; i++)
            zn_index_put(&x, i, UINT64_MAX, i);
        for (uint32_t i = 0; i < SLOTS_N; i++)
            assert_int_equal(zn_index_find(&x, UINT64_MAX, i), i);
        assert_int_equal(zn_index_find(&x, UINT64_MAX, SLOTS_N), ZN_INDEX_NONE);
        for (uint32_t i = 0; i < SLOTS_N; i++)
            zn_index_del(&x, i);
    }
    assert_int_equal(zn_index_find(&x, UINT64_MAX, 0), ZN_INDEX_NONE);
    zn_index_free(&x);
}

static void one_slot_is_enough(void **state)
{
    (void)state;
    struct zn_index x;
    assert_int_equal(zn_index_init(&x, 1, 5), 0);
    zn_index_put(&x, 0, 1, 2);
    assert_int_equal(zn_index_find(&x, 1, 2), 0);
    assert_int_equal(zn_index_find(&x, 2, 1), ZN_INDEX_NONE);
    zn_index_free(&x);
}

static void of_equal_pairs_the_last_is_found(void **state)
{
    (void)state;
    struct zn_index x;
    assert_int_equal(zn_index_init(&x, 2, 5), 0);
    zn_index_put(&x, 0, 1, 2);
    zn_index_put(&x, 1, 1, 2);
    assert_int_equal(zn_index_find(&x, 1, 2), 1);
    zn_index_del(&x, 1);
    assert_int_equal(zn_index_find(&x, 1, 2), 0);
    zn_index_free(&x);
}

static uint32_t longest_chain(const struct zn_index *x)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < x->heads_n; i++) {
        uint32_t n = 0;
        for (uint32_t s = x->heads[i]; s != 0; s = x->slots[s - 1].next)
            n++;
        longest = n > longest ? n : longest;
    }
    return longest;
}

/* Whoever learned the chains of one seed gathers pairs of a single chain there: under another seed
 * they must spread. So must keys that differ in their high bits only. */
static void chosen_keys_do_not_pile_up(void **state)
{
    (void)state;
    enum { N = 1024 };
    struct zn_index known, secret;
    assert_int_equal(zn_index_init(&known, N, 1), 0);
    assert_int_equal(zn_index_init(&secret, N, 2), 0);
    uint32_t head = 0;
    for (uint64_t a = 0, n = 0; n < N; a++) {
        zn_index_put(&known, 0, a << 32, a);
        if (a == 0)
            for (head = 0; known.heads[head] == 0;)
                head++;
        if (known.heads[head] != 0)
            zn_index_put(&secret, (uint32_t)n++, a << 32, a);
        zn_index_del(&known, 0);
    }
    assert_in_range(longest_chain(&secret), 2, 12);
    zn_index_free(&secret);
    assert_int_equal(zn_index_init(&secret, N, 3), 0);
    for (uint32_t i = 0; i < N; i++)
        zn_index_put(&secret, i, (uint64_t)i << 54, 0);
    assert_in_range(longest_chain(&secret), 2, 12);
    zn_index_free(&known);
    zn_index_free(&secret);
}

/* A sanitizer's allocator reports 0 throughout; the plain build is the one that tells. */
static void nothing_is_allocated_after_init(void **state)
{
    (void)state;
    struct zn_index x;
    assert_int_equal(zn_index_init(&x, SLOTS_N, 1), 0);
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < SLOTS_N; i++)
        zn_index_put(&x, i, i, i);
    for (uint32_t i = 0; i < SLOTS_N; i++)
        zn_index_del(&x, i);
    assert_int_equal(mallinfo2().uordblks, before);
    zn_index_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedule_agrees_with_a_search),
        cmocka_unit_test(every_slot_can_be_used),
        cmocka_unit_test(one_slot_is_enough),
        cmocka_unit_test(of_equal_pairs_the_last_is_found),
        cmocka_unit_test(chosen_keys_do_not_pile_up),
        cmocka_unit_test(nothing_is_allocated_after_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
