/* SPDX-License-Identifier: MIT */
/*
 * Doubly linked lists of the slots of a table, by slot number: half as large as pointers, and nothing
 * is allocated.
 *
 * Owned by whoever owns the table; no locks. Invariants: the head has no prev, the tail no next, and
 * the next of a slot's prev is the slot. Nothing can fail.
 */
#include "base/list.h"

static struct zn_links *links_of(struct zn_chain chain, uint32_t slot)
{
    return (struct zn_links *)(void *)((char *)chain.first + slot * chain.step);
}

void zn_list_init(struct zn_list *list) { *list = (struct zn_list){ZN_LIST_NONE, ZN_LIST_NONE}; }

/* What points to the slot after `prev`, and to the one before `next`. */
static uint32_t *next_of(struct zn_list *list, struct zn_chain chain, uint32_t prev)
{
    return prev == ZN_LIST_NONE ? &list->head : &links_of(chain, prev)->next;
}

static uint32_t *prev_of(struct zn_list *list, struct zn_chain chain, uint32_t next)
{
    return next == ZN_LIST_NONE ? &list->tail : &links_of(chain, next)->prev;
}

static void insert(struct zn_list *list, struct zn_chain chain, uint32_t slot,
                   struct zn_links between)
{
    *links_of(chain, slot) = between;
    *next_of(list, chain, between.prev) = slot;
    *prev_of(list, chain, between.next) = slot;
}

void zn_list_append(struct zn_list *list, struct zn_chain chain, uint32_t slot)
{
    insert(list, chain, slot, (struct zn_links){.prev = list->tail, .next = ZN_LIST_NONE});
}

void zn_list_prepend(struct zn_list *list, struct zn_chain chain, uint32_t slot)
{
    insert(list, chain, slot, (struct zn_links){.prev = ZN_LIST_NONE, .next = list->head});
}

void zn_list_remove(struct zn_list *list, struct zn_chain chain, uint32_t slot)
{
    struct zn_links out = *links_of(chain, slot);
    *next_of(list, chain, out.prev) = out.next;
    *prev_of(list, chain, out.next) = out.prev;
}
