/* SPDX-License-Identifier: MIT */
/*
 * Holds lists of slots against an array, over a random schedule: slots that are in two lists at a time,
 * by different links.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/list.h"
#include "base/rand.h"

#define SLOTS_N 12

struct entry {
    struct zn_links first;
    int between;
    struct zn_links second;
};

/* What a list has to be. */
struct row {
    uint32_t at[SLOTS_N], n;
};

static struct entry table[SLOTS_N];

static void row_insert(struct row *r, uint32_t place, uint32_t slot)
{
    memmove(&r->at[place + 1], &r->at[place], (r->n - place) * sizeof r->at[0]);
    r->at[place] = slot;
    r->n++;
}

static uint32_t row_place(const struct row *r, uint32_t slot)
{
    uint32_t place = 0;
    while (place < r->n && r->at[place] != slot)
        place++;
    return place;
}

static void row_remove(struct row *r, uint32_t place)
{
    r->n--;
    memmove(&r->at[place], &r->at[place + 1], (r->n - place) * sizeof r->at[0]);
}

static const struct zn_links *links(struct zn_chain chain, uint32_t slot)
{
    return (const struct zn_links *)(const void *)((const char *)chain.first + slot * chain.step);
}

static void assert_same(const struct zn_list *list, struct zn_chain chain, const struct row *r)
{
    uint32_t prev = ZN_LIST_NONE, slot = list->head;
    for (uint32_t i = 0; i < r->n; i++) {
        assert_int_equal(slot, r->at[i]);
        assert_int_equal(links(chain, slot)->prev, prev);
        prev = slot;
        slot = links(chain, slot)->next;
    }
    assert_int_equal(slot, ZN_LIST_NONE);
    assert_int_equal(list->tail, prev);
}

static void play(struct zn_rand *rand, struct zn_list *list, struct zn_chain chain, struct row *r)
{
    uint32_t slot = (uint32_t)zn_rand_below(rand, SLOTS_N), place = row_place(r, slot);
    if (place < r->n) {
        zn_list_remove(list, chain, slot);
        row_remove(r, place);
    } else if (zn_rand_below(rand, 2) == 0) {
        zn_list_append(list, chain, slot);
        row_insert(r, r->n, slot);
    } else {
        zn_list_prepend(list, chain, slot);
        row_insert(r, 0, slot);
    }
}

static void random_schedule_agrees_with_an_array(void **state)
{
    (void)state;
    const struct zn_chain chains[] = {ZN_CHAIN(table, first), ZN_CHAIN(table, second)};
    struct zn_list lists[2];
    struct row rows[2] = {0};
    struct zn_rand rand;
    zn_rand_seed(&rand, 1);
    zn_list_init(&lists[0]);
    zn_list_init(&lists[1]);
    for (int i = 0; i < 20000; i++) {
        uint32_t which = (uint32_t)zn_rand_below(&rand, 2);
        play(&rand, &lists[which], chains[which], &rows[which]);
        for (int k = 0; k < 2; k++)
            assert_same(&lists[k], chains[k], &rows[k]);
    }
    for (uint32_t i = 0; i < SLOTS_N; i++)
        assert_int_equal(table[i].between, 0);
}

/* How the calls of one owner go from list to list. */
static void a_slot_moves_between_lists_of_the_same_links(void **state)
{
    (void)state;
    const struct zn_chain chain = ZN_CHAIN(table, first);
    struct zn_list from, to;
    zn_list_init(&from);
    zn_list_init(&to);
    for (uint32_t slot = 0; slot < 3; slot++)
        zn_list_append(&from, chain, slot);
    zn_list_remove(&from, chain, 1);
    zn_list_append(&to, chain, 1);
    assert_same(&from, chain, &(struct row){{0, 2}, 2});
    assert_same(&to, chain, &(struct row){{1}, 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedule_agrees_with_an_array),
        cmocka_unit_test(a_slot_moves_between_lists_of_the_same_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
