/* SPDX-License-Identifier: MIT */
/*
 * What must hold in the tables between any two steps. Only the simulator and the tests run this: it
 * walks everything. Each line is an assertion about our own code, never about what arrived.
 */
#include "core/core.h"

#include <assert.h>

static void list_check(const struct zn_mesh *m, const struct zn_row_list *list, int peer,
                       bool in_flight)
{
    uint32_t n = 0, prev = ZN_NONE;
    size_t bytes = 0;
    for (uint32_t row = list->rows.head; row != ZN_NONE; row = m->tracks[row].links.next) {
        const struct zn_track *t = &m->tracks[row];
        assert(t->links.prev == prev && (int)(row % m->n) == peer);
        assert(in_flight == (t->state == ZN_ROW_SENT));
        assert(in_flight || t->state == ZN_ROW_QUEUED || t->state == ZN_ROW_AGAIN);
        assert(m->calls[row / m->n].state != ZN_CALL_FREE);
        bytes += zn_blob_bytes(m->calls[row / m->n].body);
        prev = row;
        n++;
    }
    assert(list->rows.tail == prev && list->n == n && list->bytes == bytes);
}

static void peer_check(const struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    list_check(m, &p->queue, peer, false);
    list_check(m, &p->flight, peer, true);
    assert(p->queue.n <= m->limits.calls_max && p->flight.n <= m->limits.calls_max);
    assert(!zn_peer_is_up(p) || p->greeting == ZN_GREET_DONE);
    bool idle = p->original && p->greeting == ZN_GREET_DONE && !p->pinging;
    assert((p->greeting == ZN_GREET_NO_LINK || idle) == !zn_timer_is_set(&p->timer));
    bool sendable = (m->sendable & zn_bit(peer)) != 0;
    assert(!sendable || (p->queue.n > 0 && p->greeting == ZN_GREET_DONE && !p->blocked));
    assert(peer == m->self || p->sent + p->never_sent >= p->acked + p->refused);
}

static size_t call_check(const struct zn_mesh *m, const struct zn_call *c)
{
    uint32_t pending = 0, have = 0;
    size_t reply_bytes = 0;
    if (c->state == ZN_CALL_FREE)
        return 0;
    assert(!c->held);
    for (int p = 0; p < (int)m->n; p++) {
        uint32_t row = zn_row_number(m, c, p);
        bool member = zn_is_client(m) ? p == c->via : c->ask == ZN_ASK_ALL || p == c->target;
        reply_bytes += zn_blob_bytes(m->rows[row].reply);
        if (!member)
            continue;
        if (m->tracks[row].state != ZN_ROW_SETTLED)
            pending++;
        else if (m->rows[row].outcome == ZMQNET_SELF || m->rows[row].outcome == ZMQNET_ACKED)
            have++;
    }
    bool unassigned = zn_is_client(m) && c->via < 0;
    assert(unassigned || c->pending == pending);
    assert(zn_is_client(m) || c->have == have);
    assert(c->pending == 0 || zn_timer_is_set(&c->timer));
    assert(reply_bytes == c->reply_bytes);
    return zn_blob_bytes(c->body) + reply_bytes;
}

static size_t served_check(const struct zn_mesh *m, const struct zn_served *s)
{
    if (!s->used)
        return 0;
    if (s->origin != ZN_NONE)
        assert(zn_index_find(&m->served_by_id, s->id.origin, s->id.seq) ==
               (uint32_t)(s - m->served));
    if (s->call != ZN_NONE)
        assert(m->calls[s->call].served == (uint32_t)(s - m->served));
    return zn_blob_bytes(s->reply);
}

void zn_mesh_check(const struct zn_mesh *m)
{
    size_t call_bytes = 0, served_bytes = 0;
    uint32_t open = 0, used = 0;
    for (int p = 0; p < (int)m->n; p++)
        peer_check(m, p);
    for (uint32_t i = 0; i < m->calls_fresh; i++) {
        enum zn_call_state state = m->calls[i].state;
        call_bytes += call_check(m, &m->calls[i]);
        if (state == ZN_CALL_SELF || state == ZN_CALL_OPEN)
            open++;
    }
    for (uint32_t i = 0; i < m->served_fresh; i++) {
        served_bytes += served_check(m, &m->served[i]);
        if (m->served[i].used)
            used++;
    }
    assert(open == m->calls_open && call_bytes == m->call_bytes);
    assert(call_bytes <= m->limits.call_bytes_max);
    assert(used == m->served_n && served_bytes == m->served_bytes);
}

size_t zn_mesh_open_count(const struct zn_mesh *m)
{
    size_t open = m->calls_open;
    for (uint32_t i = 0; i < m->served_fresh; i++) {
        const struct zn_served *s = &m->served[i];
        if (s->used && ((s->handler == ZN_HANDLER_RUNS && s->request_route) || s->answers))
            open++;
    }
    return open;
}
