/* SPDX-License-Identifier: MIT */
/*
 * The dedup window: which request ids are known here, what was answered, and what is too old.
 *
 * An id is (origin, seq). While it has a slot a repeat gets what the first one got. A slot is given
 * back when its caller says that it is finished (the floor that travels with each request), or, under
 * pressure, the oldest first. Either way the floor of its origin is raised over it, so that a copy
 * that comes later is refused as too old: a window that merely forgot would run it a second time.
 *
 * Callers are forgotten only after ZN_ORIGIN_KEEP_US of silence, longer than any request lives. When
 * nothing can be given back, new requests are refused as full, and have not run.
 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

/* ---- origins ---- */

static uint32_t origin_slot_of(const struct zn_mesh *m, const struct zn_origin *o)
{
    return (uint32_t)(o - m->origins);
}

static struct zn_chain lru_chain(const struct zn_mesh *m) { return ZN_CHAIN(m->origins, in_lru); }

static void floor_raise(struct zn_mesh *m, struct zn_origin *o, uint64_t floor);

/* Silent for longer than any request lives, and nothing of it is open. */
static bool origin_is_over(struct zn_mesh *m, struct zn_origin *o)
{
    if (m->now_us - o->heard_us < ZN_ORIGIN_KEEP_US)
        return false;
    floor_raise(m, o, UINT64_MAX);
    return o->served.head == ZN_NONE;
}

/* A slot for a new caller; one that was silent long enough may be forgotten for it. Some slots are
 * kept for replicas: a flood of clients must not keep one that restarted out. */
static struct zn_origin *origin_slot(struct zn_mesh *m, uint64_t origin)
{
    uint32_t reserve = zn_is_replica_origin(m, origin) ? 0 : m->n;
    if (m->origins_fresh + reserve < m->limits.origins_max)
        return &m->origins[m->origins_fresh++];
    uint32_t slot = m->origins_lru.head;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        struct zn_origin *o = &m->origins[slot];
        slot = o->in_lru.next;
        if (!origin_is_over(m, o))
            continue;
        zn_list_remove(&m->origins_lru, lru_chain(m), origin_slot_of(m, o));
        zn_index_del(&m->origins_by_id, origin_slot_of(m, o));
        return o;
    }
    return NULL;
}

static struct zn_origin *origin_find(const struct zn_mesh *m, uint64_t origin)
{
    uint32_t slot = zn_index_find(&m->origins_by_id, origin, 0);
    return slot == ZN_INDEX_NONE ? NULL : &m->origins[slot];
}

static struct zn_origin *origin_get(struct zn_mesh *m, uint64_t origin)
{
    struct zn_origin *o = origin_find(m, origin);
    if (o) {
        zn_list_remove(&m->origins_lru, lru_chain(m), origin_slot_of(m, o));
    } else {
        o = origin_slot(m, origin);
        if (!o)
            return NULL;
        *o = (struct zn_origin){.origin = origin};
        zn_list_init(&o->served);
        zn_index_put(&m->origins_by_id, origin_slot_of(m, o), origin, 0);
    }
    o->heard_us = m->now_us;
    zn_list_append(&m->origins_lru, lru_chain(m), origin_slot_of(m, o));
    return o;
}

/* ---- slots ---- */

static struct zn_chain window_chain(const struct zn_mesh *m)
{
    return ZN_CHAIN(m->served, in_window);
}

static struct zn_chain origin_chain(const struct zn_mesh *m)
{
    return ZN_CHAIN(m->served, in_origin);
}

static uint32_t slot_of(const struct zn_mesh *m, const struct zn_served *s)
{
    return (uint32_t)(s - m->served);
}

/* Its handler may have never answered; then it goes when whoever asked has long stopped waiting. */
bool zn_served_is_done(const struct zn_mesh *m, const struct zn_served *s)
{
    if (s->answers != 0 || (s->handler == ZN_HANDLER_RUNS && m->now_us <= s->expires_us))
        return false;
    if (s->call == ZN_NONE)
        return true;
    const struct zn_call *c = &m->calls[s->call];
    return c->state == ZN_CALL_REPORTED && c->pending == 0;
}

void zn_window_forget(struct zn_mesh *m, struct zn_served *s)
{
    assert(s->used && s->answers == 0);
    if (s->call != ZN_NONE)
        zn_call_free(m, &m->calls[s->call]);
    if (s->origin != ZN_NONE) {
        zn_list_remove(&m->origins[s->origin].served, origin_chain(m), slot_of(m, s));
        zn_index_del(&m->served_by_id, slot_of(m, s));
    }
    zn_list_remove(&m->window, window_chain(m), slot_of(m, s));
    m->served_bytes -= zn_blob_bytes(s->reply);
    m->served_n--;
    zn_blob_drop(&s->reply);
    s->used = false;
    s->in_window.next = m->served_free;
    m->served_free = slot_of(m, s);
}

void zn_window_free(struct zn_mesh *m, struct zn_served *s)
{
    if (s->origin != ZN_NONE && m->origins[s->origin].floor < s->id.seq)
        m->origins[s->origin].floor = s->id.seq;
    zn_window_forget(m, s);
}

/* Give back one slot, the oldest that nobody needs. What is still needed goes to the end, so that a
 * few slow handlers in front do not hide the rest. False: there is none among those looked at. */
static bool window_evict(struct zn_mesh *m)
{
    for (int i = 0; i < ZN_SEARCH_MAX && m->window.head != ZN_NONE; i++) {
        struct zn_served *s = &m->served[m->window.head];
        if (zn_served_is_done(m, s)) {
            zn_window_free(m, s);
            return true;
        }
        zn_list_remove(&m->window, window_chain(m), slot_of(m, s));
        zn_list_append(&m->window, window_chain(m), slot_of(m, s));
    }
    return false;
}

/* Give back the oldest until the answers fit. False: those that are left are needed. */
static bool answers_fit(struct zn_mesh *m)
{
    while (m->served_bytes > m->limits.served_bytes_max)
        if (!window_evict(m))
            return false;
    return true;
}

/* What has run can't be refused any more, and its answer has to be kept. So nothing begins while there
 * is too much already: above the limit are only the answers of those that ran then. */
static struct zn_served *slot_take(struct zn_mesh *m)
{
    bool fresh = m->served_fresh < m->limits.served_max;
    bool room = m->served_free != ZN_NONE || fresh || window_evict(m);
    if (!room || !answers_fit(m)) {
        zn_count(m, ZN_COUNT_served_full);
        return NULL;
    }
    uint32_t slot = m->served_free;
    if (slot != ZN_NONE)
        m->served_free = m->served[slot].in_window.next;
    else
        slot = m->served_fresh++;
    struct zn_served *s = &m->served[slot];
    uint32_t generation = s->generation + 1;
    *s = (struct zn_served){
        .used = true,
        .generation = generation,
        .origin = ZN_NONE,
        .from = -1,
        .call = ZN_NONE,
        .answer_next = ZN_NONE,
    };
    m->served_n++;
    zn_list_append(&m->window, window_chain(m), slot_of(m, s));
    return s;
}

struct zn_served *zn_window_add_anonymous(struct zn_mesh *m) { return slot_take(m); }

/* ---- floors ---- */

/* Its caller has finished everything up to the floor: nobody will ask for those answers again. */
static void floor_raise(struct zn_mesh *m, struct zn_origin *o, uint64_t floor)
{
    if (floor > o->floor)
        o->floor = floor;
    uint32_t slot = o->served.head;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        struct zn_served *s = &m->served[slot];
        slot = s->in_origin.next;
        if (s->id.seq <= o->floor && zn_served_is_done(m, s))
            zn_window_free(m, s);
    }
}

enum zn_lookup zn_window_find(struct zn_mesh *m, struct zmqnet_id id, uint64_t floor,
                              struct zn_served **out)
{
    if (id.seq == 0)
        return ZN_LOOKUP_TOO_OLD; /* ids count from 1 */
    struct zn_origin *o = origin_get(m, id.origin);
    if (!o) {
        zn_count(m, ZN_COUNT_served_full);
        return ZN_LOOKUP_FULL;
    }
    floor_raise(m, o, floor);
    uint32_t slot = zn_index_find(&m->served_by_id, id.origin, id.seq);
    if (slot != ZN_INDEX_NONE) {
        *out = &m->served[slot];
        return ZN_LOOKUP_KNOWN;
    }
    if (id.seq <= o->floor)
        return ZN_LOOKUP_TOO_OLD;
    struct zn_served *s = slot_take(m);
    if (!s)
        return ZN_LOOKUP_FULL;
    s->id = id;
    s->origin = origin_slot_of(m, o);
    zn_list_append(&o->served, origin_chain(m), slot_of(m, s));
    zn_index_put(&m->served_by_id, slot_of(m, s), id.origin, id.seq);
    *out = s;
    return ZN_LOOKUP_NEW;
}

bool zn_window_was_here(const struct zn_mesh *m, struct zmqnet_id id)
{
    const struct zn_origin *o = origin_find(m, id.origin);
    if (!o)
        return false;
    return id.seq <= o->floor ||
           zn_index_find(&m->served_by_id, id.origin, id.seq) != ZN_INDEX_NONE;
}

void zn_window_bye(struct zn_mesh *m, uint64_t origin)
{
    struct zn_origin *o = origin_find(m, origin);
    if (o)
        floor_raise(m, o, UINT64_MAX);
}

/* Not above a request of that client that is still on its way to somebody: it would be refused there
 * as too old. */
uint64_t zn_window_floor(const struct zn_mesh *m, const struct zn_served *s, uint64_t floor)
{
    if (s->origin == ZN_NONE)
        return 0;
    uint32_t slot = m->origins[s->origin].served.head;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        const struct zn_served *old = &m->served[slot];
        if (old->call != ZN_NONE && m->calls[old->call].pending > 0 && old->id.seq <= floor)
            floor = old->id.seq - 1;
        slot = old->in_origin.next;
    }
    return floor;
}

/* The slot itself is safe from being given back here: its handler counts as running until now. */
void zn_window_keep_reply(struct zn_mesh *m, struct zn_served *s, struct zn_blob *reply)
{
    assert(s->handler == ZN_HANDLER_RUNS);
    s->expires_us = UINT64_MAX;
    s->reply = zn_blob_ref(reply);
    m->served_bytes += zn_blob_bytes(reply);
    (void)answers_fit(m);
}
