/* SPDX-License-Identifier: MIT */
/*
 * What `zmqnet status` prints of the matrix, for people and for programs. One thread.
 *
 * Up to WORDS_MAX replicas the table has a word for each link; above that a character, and only if
 * not everybody reaches everybody. Cuts that are alike share a line: replicas on one side, replicas
 * on the other, one cause.
 */
#include "cli/matrix_show.h"

#include <string.h>

#include "cli/session.h"

#define WORDS_MAX 12

static uint64_t bit(size_t i) { return 1ull << i; }

static void put_names(const struct zn_matrix *m, uint64_t set, struct zn_text *out)
{
    const char *comma = "";
    for (size_t i = 0; i < m->n; i++) {
        if (!zn_matrix_has(set, i))
            continue;
        zn_text_printf(out, "%s%s", comma, m->names[i]);
        comma = ", ";
    }
}

/* ---- the table ---------------------------------------------------------------------------- */

static bool is_told(const struct zn_matrix *m, size_t i)
{
    return zn_matrix_has(m->known, i) && !zn_matrix_has(m->answered, i);
}

static const char *state_word(const struct zn_matrix *m, size_t from, size_t to)
{
    if (from == to)
        return "-";
    if (zn_matrix_has(m->known, from) && m->cells[from][to].absent)
        return "absent";
    return zn_matrix_has(m->known, from) ? zmqnet_state_name(m->cells[from][to].state) : "?";
}

static void put_age(const struct zn_matrix *m, size_t i, struct zn_text *out)
{
    zn_text_add(out, "told ");
    zn_text_duration(out, m->age_us[i]);
    zn_text_add(out, " ago");
}

static void word_table(const struct zn_matrix *m, struct zn_text *out)
{
    struct zn_table table = {0};
    zn_table_cell(&table, "from");
    for (size_t i = 0; i < m->n; i++)
        zn_table_cell(&table, "%s", m->names[i]);
    zn_table_end_row(&table);
    for (size_t i = 0; i < m->n; i++) {
        zn_table_cell(&table, "%s", m->names[i]);
        for (size_t j = 0; j < m->n; j++)
            zn_table_cell(&table, "%s", state_word(m, i, j));
        if (is_told(m, i)) {
            put_age(m, i, &table.cells);
            zn_table_cell(&table, "%s", "");
        }
        zn_table_end_row(&table);
    }
    zn_table_print(&table, "  ", out);
}

static char state_mark(const struct zn_matrix *m, size_t from, size_t to)
{
    static const char marks[] = {
        [ZMQNET_CONNECTING] = 'c', [ZMQNET_UP] = '.',   [ZMQNET_DOWN] = 'x',
        [ZMQNET_LOCAL] = '-',      [ZMQNET_SLOW] = '~', [ZMQNET_SUSPECT] = '!',
    };
    unsigned state = m->cells[from][to].state;
    if (from == to)
        return '-';
    if (zn_matrix_has(m->known, from) && m->cells[from][to].absent)
        return 'a';
    return state > 0 && state < sizeof marks && zn_matrix_has(m->known, from) ? marks[state] : '?';
}

static void mark_table(const struct zn_matrix *m, struct zn_text *out)
{
    int width = 0;
    for (size_t i = 0; i < m->n; i++)
        width = (int)strlen(m->names[i]) > width ? (int)strlen(m->names[i]) : width;
    zn_text_printf(out, "  %*s", width + 4, "");
    for (size_t i = 1; i <= m->n; i++)
        zn_text_printf(out, "%c", i % 10 == 0 ? (char)('0' + i / 10) : i % 5 == 0 ? '5' : ' ');
    for (size_t i = 0; i < m->n; i++) {
        zn_text_printf(out, "\n  %2zu %-*s ", i + 1, width, m->names[i]);
        for (size_t j = 0; j < m->n; j++)
            zn_text_printf(out, "%c", state_mark(m, i, j));
        zn_text_add(out, is_told(m, i) ? "  " : "");
        if (is_told(m, i))
            put_age(m, i, out);
    }
    zn_text_add(out,
                "\n  . up  ~ slow  ! suspect  x down  c connecting  a absent  ? not known; from "
                "the row to the column\n");
}

/* ---- cuts --------------------------------------------------------------------------------- */

enum cut { NO_CUT, ONE_WAY, BOTH_WAYS, OTHER_WAY_UNKNOWN };

static enum cut cut_of(const struct zn_matrix *m, size_t from, size_t to)
{
    if (!zn_matrix_cut(m, from, to) || zn_matrix_lost(m, to))
        return NO_CUT;
    if (zn_matrix_cut(m, to, from))
        return BOTH_WAYS;
    return zn_matrix_has(m->reaches[to], from) ? ONE_WAY : OTHER_WAY_UNKNOWN;
}

/* Cuts of one kind and for the same causes. */
static bool same_cut(const struct zn_matrix *m, size_t from, size_t to, enum cut kind,
                     const char *there, const char *back)
{
    return cut_of(m, from, to) == kind && strcmp(m->cells[from][to].cause, there) == 0 &&
           (kind != BOTH_WAYS || strcmp(m->cells[to][from].cause, back) == 0);
}

struct group {
    enum cut kind;
    uint64_t from, to;
    const char *there, *back; /* the causes */
};

static void put_cause(const struct zn_matrix *m, const zmqnet_peers *peers, uint64_t to,
                      const char *cause, struct zn_text *out)
{
    if (cause[0] == '\0')
        return;
    zn_text_add(out, " (");
    if (zn_matrix_count(to) == 1)
        zn_session_cause(peers, m->names[__builtin_ctzll(to)], cause, out);
    else
        zn_text_escaped(out, cause, strlen(cause));
    zn_text_add(out, ")");
}

static void put_group(const struct zn_matrix *m, const zmqnet_peers *peers, const struct group *g,
                      struct zn_text *out)
{
    bool alike = g->kind != BOTH_WAYS || strcmp(g->there, g->back) == 0;
    put_names(m, g->from, out);
    zn_text_add(out, " cannot reach ");
    put_names(m, g->to, out);
    put_cause(m, peers, alike && g->kind == BOTH_WAYS ? g->from | g->to : g->to, g->there, out);
    zn_text_add(out, g->kind == OTHER_WAY_UNKNOWN ? "; not known: whether " : "; ");
    put_names(m, g->to, out);
    if (g->kind == BOTH_WAYS)
        zn_text_add(out, " cannot reach ");
    else
        zn_text_add(out, zn_matrix_count(g->to) == 1 ? " reaches " : " reach ");
    put_names(m, g->from, out);
    if (!alike)
        put_cause(m, peers, g->from, g->back, out);
    zn_text_add(out, "\n");
}

/* All cuts like the one from `from` to `to`: its other ends, and who else has the same. */
static struct group group_of(const struct zn_matrix *m, size_t from, size_t to,
                             const uint64_t said[])
{
    struct group g = {cut_of(m, from, to), bit(from), 0, m->cells[from][to].cause,
                      m->cells[to][from].cause};
    for (size_t j = 0; j < m->n; j++)
        if (!zn_matrix_has(said[from], j) && same_cut(m, from, j, g.kind, g.there, g.back))
            g.to |= bit(j);
    for (size_t i = 0; i < m->n; i++) {
        bool all = i != from && !zn_matrix_has(g.to, i) && (said[i] & g.to) == 0;
        for (size_t j = 0; j < m->n && all; j++)
            all = !zn_matrix_has(g.to, j) || same_cut(m, i, j, g.kind, g.there, g.back);
        g.from |= all ? bit(i) : 0;
    }
    return g;
}

static void put_cuts(const struct zn_matrix *m, const zmqnet_peers *peers, struct zn_text *out)
{
    uint64_t said[ZN_REPLICAS_MAX] = {0};
    for (size_t i = 0; i < m->n; i++) {
        for (size_t j = 0; j < m->n; j++) {
            if (zn_matrix_has(said[i], j) || cut_of(m, i, j) == NO_CUT)
                continue;
            struct group g = group_of(m, i, j, said);
            put_group(m, peers, &g, out);
            for (size_t k = 0; k < m->n; k++) {
                said[k] |= zn_matrix_has(g.from, k) ? g.to : 0;
                said[k] |= zn_matrix_has(g.to, k) && g.kind == BOTH_WAYS ? g.from : 0;
            }
        }
    }
}

/* Why those who are known do not reach it: what the first of them says that has tried. */
static const char *lost_cause(const struct zn_matrix *m, size_t lost)
{
    const char *cause = "";
    for (size_t i = 0; i < m->n; i++) {
        if (!zn_matrix_cut(m, i, lost))
            continue;
        cause = m->cells[i][lost].cause;
        if (!m->cells[i][lost].absent)
            break;
    }
    return cause;
}

static void put_lost(const struct zn_matrix *m, const zmqnet_peers *peers, struct zn_text *out)
{
    for (size_t i = 0; i < m->n && m->known != 0; i++) {
        if (zn_matrix_lost(m, i)) {
            zn_text_printf(out, "nobody reaches %s", m->names[i]);
            put_cause(m, peers, bit(i), lost_cause(m, i), out);
            zn_text_add(out, "\n");
        } else if (!zn_matrix_has(m->known, i)) {
            zn_text_printf(out, "not known: whom %s reaches\n", m->names[i]);
        }
    }
}

/* ---- what follows ------------------------------------------------------------------------- */

/* Of nearly all, those who are missing. */
static void put_set(const struct zn_matrix *m, uint64_t set, struct zn_text *out)
{
    size_t n = zn_matrix_count(set);
    uint64_t others = zn_matrix_all(m) & ~set;
    zn_text_add(out, n == 0 ? "nobody" : n == m->n ? "all" : "");
    if (n > WORDS_MAX && n < m->n && zn_matrix_count(others) < n) {
        zn_text_add(out, "all but ");
        put_names(m, others, out);
    } else if (n < m->n) {
        put_names(m, set, out);
    }
}

static void put_majority(const struct zn_matrix *m, struct zn_text *out)
{
    const char *comma = "";
    size_t n = zn_matrix_count(m->majority);
    zn_text_printf(out, "a majority, %zu/%zu, is reached by ", m->n / 2 + 1, m->n);
    if (n == 0 || n == m->n || m->n > WORDS_MAX)
        put_set(m, m->majority, out);
    for (size_t i = 0; i < m->n && n < m->n && m->n <= WORDS_MAX; i++) {
        if (!zn_matrix_has(m->majority, i))
            continue;
        zn_text_printf(out, "%s%s %zu/%zu", comma, m->names[i], zn_matrix_count(m->reaches[i]),
                       m->n);
        comma = ", ";
    }
    zn_text_add(out, "\n");
}

static void put_connected(const struct zn_matrix *m, struct zn_text *out)
{
    size_t n = zn_matrix_count(m->connected);
    zn_text_printf(out, "largest set in which all reach all: %s%zu/%zu",
                   m->exact ? "" : "at least ", n, m->n);
    if (n > 0 && n < m->n) {
        zn_text_add(out, ", ");
        put_set(m, m->connected, out);
    }
    uint64_t told = m->connected & ~m->answered;
    if (told != 0) {
        zn_text_add(out, "; ");
        put_names(m, told, out);
        zn_text_printf(out, " by what %s told last", zn_matrix_count(told) == 1 ? "it" : "they");
    }
    zn_text_add(out, "\n");
}

static void put_mend(const struct zn_matrix *m, const zmqnet_peers *peers, struct zn_text *out)
{
    const struct zn_mend *mend = &m->mend;
    const char *from = m->names[mend->from], *to = m->names[mend->to];
    const char *cause = m->cells[mend->from][mend->to].cause;
    char remedy[ZN_REMEDY_MAX];
    switch (mend->kind) {
    case ZN_MEND_NOTHING: return;
    case ZN_MEND_REPLICA:
        zn_session_remedy(peers, to, lost_cause(m, mend->to), remedy);
        zn_text_printf(out, "mend first: %s%s%s\n", to, remedy[0] != '\0' ? ": " : "", remedy);
        return;
    case ZN_MEND_SILENCE:
        zn_text_printf(out, "look first: at %s, of whose links not all are known\n", to);
        return;
    case ZN_MEND_LINK: break;
    }
    zn_text_printf(out, "mend first: %s %s %s", from, mend->both ? "<->" : "->", to);
    put_cause(m, peers, bit(mend->to), cause, out);
    if (mend->more > 0)
        zn_text_printf(out, ", one of %zu links that keep a replica out of that set",
                       mend->more + 1);
    zn_text_add(out, "\n");
}

void zn_matrix_text(const struct zn_matrix *m, const zmqnet_peers *peers, struct zn_text *out)
{
    if (m->known != 0 && m->n <= WORDS_MAX)
        word_table(m, out);
    else if (m->known != 0 && !zn_matrix_whole(m))
        mark_table(m, out);
    put_lost(m, peers, out);
    put_cuts(m, peers, out);
    put_connected(m, out);
    put_majority(m, out);
    put_mend(m, peers, out);
}

/* ---- for programs ------------------------------------------------------------------------- */

static void names_json(const struct zn_matrix *m, const char *key, uint64_t set, struct zn_json *j)
{
    zn_json_open(j, key, '[');
    for (size_t i = 0; i < m->n; i++)
        if (zn_matrix_has(set, i))
            zn_json_string(j, NULL, m->names[i]);
    zn_json_close(j, ']');
}

static void row_json(const struct zn_matrix *m, size_t i, struct zn_json *j)
{
    zn_json_open(j, NULL, '{');
    zn_json_string(j, "from", m->names[i]);
    zn_json_string(j, "source",
                   zn_matrix_has(m->answered, i) ? "itself"
                   : zn_matrix_has(m->known, i)  ? "others"
                                                 : "none");
    if (is_told(m, i))
        zn_json_u64(j, "age_us", m->age_us[i]);
    zn_json_open(j, "to", '{');
    for (size_t k = 0; k < m->n && zn_matrix_has(m->known, i); k++)
        zn_json_string(j, m->names[k], i == k ? "self" : state_word(m, i, k));
    zn_json_close(j, '}');
    zn_json_close(j, '}');
}

static void cut_json(const struct zn_matrix *m, size_t from, size_t to, struct zn_json *j)
{
    bool reaches = zn_matrix_has(m->reaches[to], from);
    zn_json_open(j, NULL, '{');
    zn_json_string(j, "from", m->names[from]);
    zn_json_string(j, "to", m->names[to]);
    zn_json_string(j, "cause", m->cells[from][to].cause);
    zn_json_string(j, "back", reaches ? "up" : zn_matrix_cut(m, to, from) ? "cut" : "unknown");
    zn_json_close(j, '}');
}

static void mend_json(const struct zn_matrix *m, struct zn_json *j)
{
    const struct zn_mend *mend = &m->mend;
    if (mend->kind == ZN_MEND_NOTHING)
        return;
    zn_json_open(j, "mend", '{');
    if (mend->kind == ZN_MEND_LINK) {
        zn_json_string(j, "from", m->names[mend->from]);
        zn_json_string(j, "to", m->names[mend->to]);
        zn_json_bool(j, "both", mend->both);
        zn_json_u64(j, "more", mend->more);
    } else {
        zn_json_string(j, "replica", m->names[mend->to]);
        zn_json_bool(j, "reached", mend->kind == ZN_MEND_SILENCE);
    }
    zn_json_close(j, '}');
}

void zn_matrix_json(const struct zn_matrix *m, struct zn_json *j)
{
    zn_json_open(j, "matrix", '[');
    for (size_t i = 0; i < m->n; i++)
        row_json(m, i, j);
    zn_json_close(j, ']');
    zn_json_open(j, "cuts", '[');
    for (size_t from = 0; from < m->n; from++)
        for (size_t to = 0; to < m->n; to++)
            if (zn_matrix_cut(m, from, to))
                cut_json(m, from, to, j);
    zn_json_close(j, ']');
    zn_json_open(j, "connected", '{');
    zn_json_u64(j, "n", zn_matrix_count(m->connected));
    zn_json_u64(j, "of", m->n);
    zn_json_bool(j, "exact", m->exact);
    names_json(m, "names", m->connected, j);
    zn_json_close(j, '}');
    names_json(m, "majority", m->majority, j);
    mend_json(m, j);
}
