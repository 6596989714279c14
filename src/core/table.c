/* SPDX-License-Identifier: MIT */
/*
 * The request table: slots of calls, from the free list and back.
 *
 * A slot that is taken is in at most one list: `own` (calls of our own origin; the oldest says what the
 * floor is), `lingering` (complete calls of clients whose stragglers go on), `kept` (receipts that may
 * be asked for again), `ended` (freed in the next step, since the actions of this one point to it).
 *
 * When no slot is free, kept receipts are given up first, then the stragglers of complete calls: one
 * slow peer must not use up what all requests need. Only then is a new call refused as full.
 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

static const bool moves[ZN_CALL_STATES][ZN_CALL_STATES] = {
    [ZN_CALL_FREE] = {[ZN_CALL_SELF] = true},
    [ZN_CALL_SELF] = {[ZN_CALL_OPEN] = true, [ZN_CALL_FREE] = true},
    [ZN_CALL_OPEN] = {[ZN_CALL_REPORTED] = true, [ZN_CALL_FREE] = true},
    [ZN_CALL_REPORTED] = {[ZN_CALL_FREE] = true},
};

void zn_call_move(struct zn_call *c, enum zn_call_state to)
{
    assert(moves[c->state][to]);
    c->state = to;
}

/* Out of the list that it is in, to the end of another; NULL: into none. */
void zn_call_list(struct zn_mesh *m, struct zn_call *c, struct zn_list *to)
{
    struct zn_chain chain = ZN_CHAIN(m->calls, links);
    if (c->in)
        zn_list_remove(c->in, chain, c->slot);
    if (to)
        zn_list_append(to, chain, c->slot);
    c->in = to;
}

/* The oldest receipt that is not about to be answered; NULL: there is none among the oldest. */
static struct zn_call *kept_oldest(struct zn_mesh *m)
{
    uint32_t slot = m->kept.head;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        if (zn_served_is_done(m, &m->served[m->calls[slot].served]))
            return &m->calls[slot];
        slot = m->calls[slot].links.next;
    }
    return NULL;
}

uint64_t zn_own_floor(const struct zn_mesh *m)
{
    return m->own.head == ZN_NONE ? m->seq : m->calls[m->own.head].id.seq - 1;
}

static bool has_room(const struct zn_mesh *m, size_t bytes)
{
    bool slot = m->calls_free != ZN_NONE || m->calls_fresh < m->limits.calls_max;
    return slot && m->call_bytes + bytes <= m->limits.call_bytes_max;
}

/* The oldest call that is complete and whose stragglers still go on; NULL: none among the oldest. */
static struct zn_call *lingering_oldest(struct zn_mesh *m)
{
    if (m->lingering.head != ZN_NONE)
        return &m->calls[m->lingering.head];
    uint32_t slot = m->own.head;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        if (m->calls[slot].state == ZN_CALL_REPORTED && m->calls[slot].pending > 0)
            return &m->calls[slot];
        slot = m->calls[slot].links.next;
    }
    return NULL;
}

/* Give up the oldest receipt that is only kept for repeats, and the id that it belongs to. */
bool zn_calls_give_up_kept(struct zn_mesh *m)
{
    struct zn_call *c = kept_oldest(m);
    if (c)
        zn_window_free(m, &m->served[c->served]);
    return c != NULL;
}

/* A kept receipt, or else the stragglers of the oldest call that is complete. One slow peer must not
 * use up a table that all requests need. */
static bool make_room(struct zn_mesh *m)
{
    if (zn_calls_give_up_kept(m))
        return true;
    struct zn_call *c = lingering_oldest(m);
    if (!c)
        return false;
    zn_call_settle_all(m, c, ZN_WHY_NO_ROOM);
    if (c->in == &m->ended)
        zn_call_free(m, c); /* reported in an earlier step: no action points to it */
    return true;
}

static struct zn_call *slot_take(struct zn_mesh *m, size_t bytes)
{
    if (bytes > m->limits.call_bytes_max)
        return NULL;
    while (!has_room(m, bytes))
        if (!make_room(m))
            return NULL;
    uint32_t slot = m->calls_free;
    if (slot != ZN_NONE)
        m->calls_free = m->calls[slot].links.next;
    else
        slot = m->calls_fresh++;
    struct zn_call *c = &m->calls[slot];
    uint32_t generation = c->generation + 1;
    memset(c, 0, sizeof *c);
    c->slot = slot;
    c->generation = generation;
    return c;
}

static void rows_reset(struct zn_mesh *m, struct zn_call *c)
{
    for (int p = 0; p < (int)m->n; p++) {
        *zn_call_track(m, c, p) =
            (struct zn_track){.sent_us = m->now_us, .links = {ZN_NONE, ZN_NONE}};
        *zn_call_row(m, c, p) = (struct zn_row){.name = m->peers[p].name, .why = ""};
    }
}

uint32_t zn_quorum_need(int32_t quorum, uint32_t of)
{
    if (quorum == ZMQNET_QUORUM_ALL)
        return of;
    return quorum < 0 ? of / 2 + 1 : (uint32_t)quorum;
}

int zn_call_open(struct zn_mesh *m, const struct zn_call_spec *spec, struct zmqnet_id id,
                 struct zn_call **out)
{
    struct zn_call *c = slot_take(m, zn_blob_bytes(spec->body));
    if (!c) {
        zn_count(m, ZN_COUNT_calls_full);
        return ZMQNET_EFULL;
    }
    if (id.origin == 0)
        id = (struct zmqnet_id){m->life, ++m->seq};
    c->ask = spec->ask;
    c->served = ZN_NONE;
    c->tag = spec->tag;
    c->target = spec->target;
    c->via = m->self;
    c->id = id;
    c->body = zn_blob_ref(spec->body);
    c->start_us = m->now_us;
    c->deadline_us = m->now_us + spec->timeout_us;
    c->again_us = c->look_us = UINT64_MAX;
    c->attempts = spec->attempts;
    c->attempt = 1;
    c->quorum = spec->quorum;
    c->of = spec->ask == ZN_ASK_ALL ? m->n : 1;
    c->need = spec->ask == ZN_ASK_ALL ? zn_quorum_need(spec->quorum, m->n) : 1;
    c->pending = zn_is_client(m) ? 1 : c->of;
    c->idempotent = spec->idempotent;
    c->progress = spec->progress;
    m->call_bytes += zn_blob_bytes(c->body);
    m->calls_open++;
    rows_reset(m, c);
    zn_index_put(&m->calls_by_id, c->slot, id.origin, id.seq);
    if (zn_call_is_own(m, c))
        zn_call_list(m, c, &m->own);
    zn_timer_init(&c->timer, c->slot);
    zn_call_next_retry(m, c);
    zn_call_move(c, ZN_CALL_SELF);
    zn_call_arm(m, c);
    zn_count(m, spec->ask == ZN_ASK_ALL ? ZN_COUNT_broadcasts : ZN_COUNT_requests);
    *out = c;
    return 0;
}

void zn_call_free(struct zn_mesh *m, struct zn_call *c)
{
    if (c->state != ZN_CALL_REPORTED)
        m->calls_open--;
    zn_call_list(m, c, NULL);
    zn_timer_clear(&m->heap, &c->timer);
    zn_index_del(&m->calls_by_id, c->slot);
    for (int p = 0; p < (int)m->n; p++)
        zn_blob_drop(&zn_call_row(m, c, p)->reply);
    m->call_bytes -= zn_blob_bytes(c->body) + c->reply_bytes;
    zn_blob_drop(&c->wire);
    zn_blob_drop(&c->body);
    zn_call_move(c, ZN_CALL_FREE);
    c->links.next = m->calls_free;
    m->calls_free = c->slot;
}

uint64_t zn_call_token(const struct zn_call *c)
{
    return 1ull << 63 | (uint64_t)(c->generation & 0x7fffffffu) << 32 | c->slot;
}

struct zn_call *zn_call_by_token(struct zn_mesh *m, uint64_t token)
{
    uint32_t slot = (uint32_t)token;
    if (slot >= m->calls_fresh)
        return NULL;
    struct zn_call *c = &m->calls[slot];
    return c->state == ZN_CALL_SELF && zn_call_token(c) == token ? c : NULL;
}

/* Every row is settled. */
void zn_call_finish(struct zn_mesh *m, struct zn_call *c)
{
    zn_timer_clear(&m->heap, &c->timer);
    zn_blob_drop(&c->wire);
    if (c->served == ZN_NONE)
        zn_call_list(m, c, &m->ended);
    else if (!zn_call_is_own(m, c))
        zn_call_list(m, c, &m->kept);
}

void zn_calls_free_ended(struct zn_mesh *m)
{
    while (m->ended.head != ZN_NONE)
        zn_call_free(m, &m->calls[m->ended.head]);
}

void zn_call_detach(struct zn_call *c)
{
    assert(c->pending > 0);
    c->served = ZN_NONE;
}
