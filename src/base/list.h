/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_LIST_H
#define ZN_BASE_LIST_H

#include <stddef.h>
#include <stdint.h>

#define ZN_LIST_NONE UINT32_MAX

/* The place of a slot in one list: embedded in it, once for each list that it may be in at a time. */
struct zn_links {
    uint32_t prev, next; /* ZN_LIST_NONE: it is the head, or the tail */
};

/* Slots of one table, by number. Empty: both are ZN_LIST_NONE, as zn_list_init() makes it. */
struct zn_list {
    uint32_t head, tail;
};

/* Where the links of a table's slots are: ZN_CHAIN(table, name of the member). */
struct zn_chain {
    void *first;
    size_t step;
};
#define ZN_CHAIN(table, links) ((struct zn_chain){&(table)->links, sizeof *(table)})

void zn_list_init(struct zn_list *list);
/* The slot must be in no list by these links. */
void zn_list_append(struct zn_list *list, struct zn_chain chain, uint32_t slot);
void zn_list_prepend(struct zn_list *list, struct zn_chain chain, uint32_t slot);
/* The slot must be in this list. */
void zn_list_remove(struct zn_list *list, struct zn_chain chain, uint32_t slot);

#endif
