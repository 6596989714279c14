/* SPDX-License-Identifier: MIT */
/*
 * From the answers of some replicas to what they show together: who reaches whom, the largest set in
 * which everybody reaches everybody, who reaches a majority, and what to mend first. Pure: statuses
 * in, sets out; one thread.
 *
 * A row told by others is older than one told by its replica itself. It counts only if it was told
 * after everyone who misses that replica (down, lost, suspect) began to: what a replica said before it
 * was killed does not make it alive. A link whose row is not known connects nothing.
 *
 * The largest set is searched for by branch and bound with a greedy colouring. That is exponential at
 * worst; it is cut short after STEPS_MAX steps, and `exact` then is false. Meshes with a few cuts, or
 * that fall into parts, take some dozens.
 */
#include "cli/matrix.h"

#include <string.h>

#define STEPS_MAX 100000
/* A row and the news of a death may cross on their way. */
#define CROSSED_US (250 * ZN_MS)

bool zn_state_reaches(enum zmqnet_state state)
{
    return state == ZMQNET_UP || state == ZMQNET_SLOW || state == ZMQNET_LOCAL;
}

bool zn_matrix_has(uint64_t set, size_t i) { return (set >> i & 1) != 0; }

uint64_t zn_matrix_all(const struct zn_matrix *m) { return ~0ull >> (64 - m->n); }

size_t zn_matrix_count(uint64_t set) { return (size_t)__builtin_popcountll(set); }

static uint64_t bit(size_t i) { return 1ull << i; }

static size_t first_of(uint64_t set) { return (size_t)__builtin_ctzll(set); }

static size_t last_of(uint64_t set) { return 63 - (size_t)__builtin_clzll(set); }

/* ---- rows in ---- */

void zn_matrix_init(struct zn_matrix *m, const zmqnet_peers *peers)
{
    memset(m, 0, sizeof *m);
    m->n = zmqnet_peers_count(peers);
    for (size_t i = 0; i < m->n; i++)
        m->names[i] = zmqnet_peers_get(peers, i)->name;
}

/* m->n: there is none of this name. */
static size_t find(const struct zn_matrix *m, const char *name)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->names[i], name) != 0)
        i++;
    return i;
}

static void row_begin(struct zn_matrix *m, size_t row, uint64_t age_us)
{
    m->known |= bit(row);
    m->age_us[row] = age_us;
    for (size_t i = 0; i < m->n; i++)
        m->cells[row][i] =
            (struct zn_matrix_cell){.cause = i != row ? "not in the peers file there" : "",
                                    .since_us = UINT64_MAX,
                                    .absent = i != row};
}

static void row_answered(struct zn_matrix *m, size_t row, const zmqnet_status *s,
                         const size_t columns[])
{
    row_begin(m, row, 0);
    m->answered |= bit(row);
    for (size_t i = 0; i < s->peers_n; i++)
        if (columns[i] < m->n)
            m->cells[row][columns[i]] = (struct zn_matrix_cell){.state = s->peers[i].state,
                                                                .cause = s->peers[i].cause,
                                                                .since_us = s->peers[i].since_us};
}

static void row_told(struct zn_matrix *m, size_t row, const zmqnet_status *s,
                     const struct zmqnet_heard *heard, const size_t columns[])
{
    row_begin(m, row, heard->age_us);
    for (size_t i = 0; i < s->peers_n; i++)
        if (columns[i] < m->n)
            m->cells[row][columns[i]] =
                (struct zn_matrix_cell){.state = (enum zmqnet_state)heard->links[i].state,
                                        .cause = zmqnet_cause_text(heard->links[i].cause),
                                        .since_us = UINT64_MAX};
}

void zn_matrix_answer(struct zn_matrix *m, size_t at, const zmqnet_status *s)
{
    size_t columns[ZN_REPLICAS_MAX];
    for (size_t i = 0; i < s->peers_n; i++)
        columns[i] = find(m, s->peers[i].name);
    row_answered(m, at, s, columns);
    for (size_t i = 0; i < s->rows_n; i++) {
        const struct zmqnet_heard *heard = &s->rows[i];
        size_t row = find(m, heard->name);
        if (row == m->n || zn_matrix_has(m->answered, row))
            continue;
        if (!zn_matrix_has(m->known, row) || heard->age_us < m->age_us[row])
            row_told(m, row, s, heard, columns);
    }
}

/* ---- what they show ---- */

bool zn_matrix_cut(const struct zn_matrix *m, size_t from, size_t to)
{
    const struct zn_matrix_cell *cell = &m->cells[from][to];
    bool cut = cell->state == ZMQNET_DOWN || cell->state == ZMQNET_CONNECTING || cell->absent;
    return zn_matrix_has(m->known, from) && cut;
}

static bool is_outdated(const struct zn_matrix *m, size_t row)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct zn_matrix_cell *cell = &m->cells[i][row];
        bool missed = cell->state != 0 && !zn_state_reaches(cell->state);
        if (zn_matrix_has(m->answered, i) && missed && m->age_us[row] + CROSSED_US >= cell->since_us)
            return true;
    }
    return false;
}

static void find_reaches(struct zn_matrix *m)
{
    for (size_t i = 0; i < m->n; i++) {
        m->reaches[i] = 0;
        for (size_t j = 0; j < m->n && zn_matrix_has(m->known, i); j++)
            if (zn_state_reaches(m->cells[i][j].state))
                m->reaches[i] |= bit(j);
        if (zn_matrix_count(m->reaches[i]) * 2 > m->n)
            m->majority |= bit(i);
    }
}

struct search {
    uint64_t mutual[ZN_REPLICAS_MAX]; /* who reaches it and is reached, itself not */
    uint64_t best;
    unsigned steps;
};

/* The candidates in an order in which the first k of them have at most colours[k - 1] that are all
 * connected: those of one colour are not connected to each other. */
static size_t colour(const struct search *s, uint64_t candidates, uint8_t order[],
                     uint8_t colours[])
{
    size_t n = 0;
    for (uint8_t c = 1; candidates != 0; c++) {
        for (uint64_t left = candidates; left != 0;) {
            size_t v = last_of(left); /* so that of equal sets the one in front is found first */
            left &= ~bit(v) & ~s->mutual[v];
            candidates &= ~bit(v);
            order[n] = (uint8_t)v;
            colours[n++] = c;
        }
    }
    return n;
}

static void grow(struct search *s, uint64_t set, uint64_t candidates)
{
    uint8_t order[ZN_REPLICAS_MAX], colours[ZN_REPLICAS_MAX];
    size_t n = zn_matrix_count(set);
    if (n > zn_matrix_count(s->best))
        s->best = set;
    if (s->steps == STEPS_MAX)
        return;
    s->steps++;
    for (size_t k = colour(s, candidates, order, colours); k-- > 0;) {
        if (n + colours[k] <= zn_matrix_count(s->best))
            return;
        grow(s, set | bit(order[k]), candidates & s->mutual[order[k]]);
        candidates &= ~bit(order[k]);
    }
}

/* A search that was cut short may have left out some who fit. */
static uint64_t complete(const struct search *s, uint64_t set, uint64_t known)
{
    for (size_t v = 0; v < ZN_REPLICAS_MAX; v++)
        if (zn_matrix_has(known & ~set, v) && (set & ~s->mutual[v]) == 0)
            set |= bit(v);
    return set;
}

static void find_connected(struct zn_matrix *m, struct search *s)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < m->n; j++)
            if (i != j && zn_matrix_has(m->reaches[i], j) && zn_matrix_has(m->reaches[j], i))
                s->mutual[i] |= bit(j);
    grow(s, 0, m->known);
    m->connected = complete(s, s->best, m->known);
    m->exact = s->steps < STEPS_MAX;
}

bool zn_matrix_lost(const struct zn_matrix *m, size_t i)
{
    for (size_t j = 0; j < m->n; j++) {
        bool suspect = zn_matrix_has(m->known, j) && m->cells[j][i].state == ZMQNET_SUSPECT;
        if (suspect || zn_matrix_has(m->reaches[j], i))
            return false;
    }
    return !zn_matrix_has(m->known, i);
}

/* Of the links between a replica and those of `to`: which are known to be cut, either way. */
static uint64_t cuts_between(const struct zn_matrix *m, size_t v, uint64_t to)
{
    uint64_t cuts = 0;
    for (size_t u = 0; u < m->n; u++)
        if (zn_matrix_has(to, u) && (zn_matrix_cut(m, u, v) || zn_matrix_cut(m, v, u)))
            cuts |= bit(u);
    return cuts;
}

static void mend_of(struct zn_matrix *m, size_t v, uint64_t lacks)
{
    uint64_t cuts = cuts_between(m, v, lacks);
    size_t u = first_of(cuts != 0 ? cuts : lacks);
    bool there = zn_matrix_cut(m, u, v), back = zn_matrix_cut(m, v, u);
    m->mend = (struct zn_mend){
        .kind = ZN_MEND_LINK,
        .from = there || !back ? u : v,
        .to = there || !back ? v : u,
        .both = there && back,
        .more = zn_matrix_count(lacks) - 1,
    };
    if (zn_matrix_lost(m, v))
        m->mend.kind = ZN_MEND_REPLICA;
    else if (cuts == 0 || !zn_matrix_has(m->known, v))
        m->mend.kind = ZN_MEND_SILENCE;
}

/* Is it known what is wrong with its links? Of one that says nothing and that some may still reach it
 * is not: a cut that is known may be all of them, as soon as the others notice. */
static bool is_sure(const struct zn_matrix *m, size_t v, uint64_t lacks)
{
    bool cut = zn_matrix_has(m->known, v) && cuts_between(m, v, lacks) != 0;
    return cut || zn_matrix_lost(m, v);
}

/* The outsider that lacks the fewest links to the connected set, and the first of these links that
 * is known to be cut. Those of which that is not sure come last: they tell within seconds. */
static void find_mend(struct zn_matrix *m, const struct search *s)
{
    size_t best = m->n, least = SIZE_MAX;
    for (size_t v = 0; v < m->n && m->connected != 0; v++) {
        uint64_t lacks = m->connected & ~s->mutual[v];
        size_t cost = zn_matrix_count(lacks) + (is_sure(m, v, lacks) ? 0 : ZN_REPLICAS_MAX);
        if (!zn_matrix_has(m->connected, v) && cost < least) {
            least = cost;
            best = v;
        }
    }
    if (best < m->n)
        mend_of(m, best, m->connected & ~s->mutual[best]);
}

void zn_matrix_judge(struct zn_matrix *m)
{
    struct search s = {.steps = 0};
    for (size_t i = 0; i < m->n; i++)
        if (!zn_matrix_has(m->answered, i) && zn_matrix_has(m->known, i) && is_outdated(m, i))
            m->known &= ~bit(i);
    find_reaches(m);
    find_connected(m, &s);
    find_mend(m, &s);
}

bool zn_matrix_whole(const struct zn_matrix *m)
{
    return m->answered == zn_matrix_all(m) && m->connected == zn_matrix_all(m);
}
