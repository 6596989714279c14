/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_MATRIX_H
#define ZN_CLI_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "zmqnet.h"

/* Who reaches whom: a row for each replica of the peers file, told by itself or, if it did not
 * answer, by those whom it told. Sets of replicas are bit masks by index. */

struct zn_matrix_cell {
    enum zmqnet_state state; /* 0: not known */
    const char *cause;       /* why it is not reached; "" if there is none */
    uint64_t since_us;       /* for how long; UINT64_MAX: not known */
    bool absent;             /* it is not in the peers file of the row's replica */
};

enum zn_mend_kind {
    ZN_MEND_NOTHING,
    ZN_MEND_LINK,    /* from cannot reach to; `both`: nor the other way */
    ZN_MEND_REPLICA, /* nobody reaches `to` */
    ZN_MEND_SILENCE, /* `to` is not cut off, as far as is known: not all of its links are */
};

struct zn_mend {
    enum zn_mend_kind kind;
    size_t from, to;
    bool both;
    size_t more; /* other links between `to` or `from` and the connected set that are missing too */
};

struct zn_matrix {
    size_t n;
    const char *names[ZN_REPLICAS_MAX];
    uint64_t answered, known; /* known: whose row is known, from itself or from others */
    uint64_t age_us[ZN_REPLICAS_MAX];
    struct zn_matrix_cell cells[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX]; /* [from][to] */

    /* What zn_matrix_judge() finds. */
    uint64_t reaches[ZN_REPLICAS_MAX]; /* itself included */
    uint64_t connected;                /* the largest set in which each reaches each */
    bool exact;                        /* none is larger; false: the search was cut short */
    uint64_t majority;                 /* those that reach more than half of all */
    struct zn_mend mend;
};

/* Does a replica reach another one that it sees in this state? Of a suspect one it does not know: that
 * is neither a link nor a cut. */
bool zn_state_reaches(enum zmqnet_state state);

void zn_matrix_init(struct zn_matrix *m, const zmqnet_peers *peers);
/* What one replica answered: its own row, and those that it was told. The texts must outlive the
 * matrix. Any order. */
void zn_matrix_answer(struct zn_matrix *m, size_t at, const zmqnet_status *status);
/* After the last answer. */
void zn_matrix_judge(struct zn_matrix *m);

bool zn_matrix_has(uint64_t set, size_t i);
uint64_t zn_matrix_all(const struct zn_matrix *m);
size_t zn_matrix_count(uint64_t set);
/* Known, and it does not reach it. */
bool zn_matrix_cut(const struct zn_matrix *m, size_t from, size_t to);
/* Its row is not known, and nobody whose row is known reaches it or may still reach it (suspect). */
bool zn_matrix_lost(const struct zn_matrix *m, size_t i);
/* All reach all, each said so itself. */
bool zn_matrix_whole(const struct zn_matrix *m);

#endif
