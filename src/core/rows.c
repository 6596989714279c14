/* SPDX-License-Identifier: MIT */
/*
 * Rows: what becomes of one call at one peer.
 *
 * A row is in exactly one place: IDLE rows nowhere, QUEUED and AGAIN rows in the peer's queue, SENT
 * rows in its flight, SETTLED rows nowhere. row_move() is the only function that changes the state,
 * against one table of allowed moves, and it keeps the lists and their byte counts.
 *
 * Good path: IDLE -> QUEUED -> SENT -> SETTLED(acked). A lost answer: SENT -> AGAIN -> SENT. A send
 * that the transport did not take: SENT -> QUEUED. Everything can become SETTLED from anywhere, once.
 * A row that was never sent is settled NEVER_SENT, and then really never leaves.
 */
#include "core/core.h"

#include <assert.h>

static const bool moves[ZN_ROW_STATES][ZN_ROW_STATES] = {
    [ZN_ROW_IDLE] = {[ZN_ROW_QUEUED] = true, [ZN_ROW_SETTLED] = true},
    [ZN_ROW_QUEUED] = {[ZN_ROW_IDLE] = true, [ZN_ROW_SENT] = true, [ZN_ROW_SETTLED] = true},
    [ZN_ROW_SENT] = {[ZN_ROW_QUEUED] = true, [ZN_ROW_AGAIN] = true, [ZN_ROW_SETTLED] = true},
    [ZN_ROW_AGAIN] = {[ZN_ROW_SENT] = true, [ZN_ROW_SETTLED] = true},
};

void zn_row_list_init(struct zn_row_list *list)
{
    zn_list_init(&list->rows);
    list->n = 0;
    list->bytes = 0;
}

/* The list that a row of this state is in, NULL: none. */
static struct zn_row_list *list_of(struct zn_peer *p, enum zn_row_state state)
{
    switch (state) {
    case ZN_ROW_QUEUED:
    case ZN_ROW_AGAIN: return &p->queue;
    case ZN_ROW_SENT: return &p->flight;
    default: return NULL;
    }
}

/* What was sent before goes first: behind a full window it would wait for itself. So does what the
 * transport gave back, to keep its place. */
static void row_move(struct zn_mesh *m, struct zn_call *c, int peer, enum zn_row_state to)
{
    struct zn_peer *p = &m->peers[peer];
    uint32_t row = zn_row_number(m, c, peer);
    struct zn_track *t = &m->tracks[row];
    size_t bytes = zn_blob_bytes(c->body);
    assert(moves[t->state][to]);
    bool front = t->state != ZN_ROW_IDLE;
    struct zn_chain chain = ZN_CHAIN(m->tracks, links);
    struct zn_row_list *from = list_of(p, t->state), *into = list_of(p, to);
    if (from) {
        zn_list_remove(&from->rows, chain, row);
        from->n--;
        from->bytes -= bytes;
    }
    if (into == &p->queue && front)
        zn_list_prepend(&into->rows, chain, row);
    else if (into)
        zn_list_append(&into->rows, chain, row);
    if (into) {
        into->n++;
        into->bytes += bytes;
    }
    t->state = to;
    zn_rows_update_sendable(m, peer);
}

/* The head of the queue, if there is one and the flight has room. What was in flight before has. */
bool zn_row_may_leave(struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    if (p->queue.n == 0)
        return false;
    if (m->tracks[p->queue.rows.head].state == ZN_ROW_AGAIN || p->flight.n == 0)
        return true;
    size_t bytes = zn_blob_bytes(zn_row_call(m, p->queue.rows.head)->body);
    return p->flight.n < m->limits.window_messages_max &&
           p->flight.bytes + bytes <= ZN_WINDOW_BYTES_MAX;
}

void zn_rows_update_sendable(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    bool yes = p->greeting == ZN_GREET_DONE && !p->blocked && !zn_peer_is_asked(m, peer) &&
               zn_row_may_leave(m, peer);
    m->sendable = yes ? m->sendable | zn_bit(peer) : m->sendable & ~zn_bit(peer);
}

static void row_queue(struct zn_mesh *m, struct zn_call *c, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->queue.n >= m->limits.queue_messages_max ||
        p->queue.bytes + zn_blob_bytes(c->body) > m->limits.queue_bytes_max) {
        zn_count(m, ZN_COUNT_queue_full);
        zn_row_settle(m, c, peer, ZMQNET_NEVER_SENT, ZN_WHY_QUEUE_FULL);
        return;
    }
    row_move(m, c, peer, ZN_ROW_QUEUED);
}

void zn_row_begin(struct zn_mesh *m, struct zn_call *c, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    if (p->state == ZMQNET_DOWN && !zn_is_client(m))
        zn_row_settle(m, c, peer, ZMQNET_NEVER_SENT, p->why);
    else
        row_queue(m, c, peer);
}

void zn_row_sent(struct zn_mesh *m, struct zn_call *c, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    struct zn_track *t = zn_call_track(m, c, peer);
    row_move(m, c, peer, ZN_ROW_SENT);
    t->not_run = false;
    p->sent_bytes += zn_blob_bytes(c->body);
    if (p->original)
        zn_original_asked(m, peer);
    zn_peer_asked(m, peer);
    if (t->sends < UINT16_MAX)
        t->sends++;
    if (t->sends > 1) {
        p->retries++;
        zn_count(m, ZN_COUNT_retries);
        return;
    }
    t->life = p->life;
    t->sent_us = m->now_us;
    p->sent++;
}

/* The transport did not take the frame: undo zn_row_sent(), so that what never left can still be
 * called so. A row that has left before stays pinned. */
void zn_row_unsend(struct zn_mesh *m, uint32_t row)
{
    struct zn_call *c = zn_row_call(m, row);
    struct zn_track *t = &m->tracks[row];
    int peer = (int)(row % m->n);
    struct zn_peer *p = &m->peers[peer];
    if (t->state != ZN_ROW_SENT)
        return;
    p->sent_bytes -= zn_blob_bytes(c->body);
    t->sends--;
    if (t->sends > 0) {
        p->retries--;
        m->counters[ZN_COUNT_retries]--;
        row_move(m, c, peer, ZN_ROW_AGAIN);
        return;
    }
    t->life = 0;
    p->sent--;
    row_move(m, c, peer, ZN_ROW_QUEUED);
}

void zn_row_again(struct zn_mesh *m, struct zn_call *c, int peer)
{
    row_move(m, c, peer, ZN_ROW_AGAIN);
}

void zn_row_unqueue(struct zn_mesh *m, struct zn_call *c, int peer)
{
    row_move(m, c, peer, ZN_ROW_IDLE);
}

static void count_outcome(struct zn_peer *p, enum zmqnet_outcome outcome)
{
    switch (outcome) {
    case ZMQNET_ACKED: p->acked++; return;
    case ZMQNET_REFUSED: p->refused++; return;
    case ZMQNET_UNACKED: p->unknown++; return;
    case ZMQNET_NEVER_SENT: p->never_sent++; return;
    case ZMQNET_SELF: return;
    }
}

void zn_row_settle(struct zn_mesh *m, struct zn_call *c, int peer, enum zmqnet_outcome outcome,
                   enum zn_why why)
{
    struct zn_row *r = zn_call_row(m, c, peer);
    struct zn_track *t = zn_call_track(m, c, peer);
    row_move(m, c, peer, ZN_ROW_SETTLED);
    t->why = why;
    r->outcome = outcome;
    r->why = zn_peer_cause(m, peer, why);
    if (outcome != ZMQNET_UNACKED && outcome != ZMQNET_NEVER_SENT)
        r->rtt_us = (uint32_t)(m->now_us - t->sent_us);
    if (peer != m->self)
        count_outcome(&m->peers[peer], outcome);
    zn_call_row_settled(m, c, peer);
}

void zn_row_give_up(struct zn_mesh *m, struct zn_call *c, int peer, enum zn_why why)
{
    const struct zn_track *t = zn_call_track(m, c, peer);
    bool was_sent = t->state == ZN_ROW_SENT || t->state == ZN_ROW_AGAIN;
    if (t->not_run && why == ZN_WHY_NO_ANSWER)
        why = t->why;
    zn_row_settle(m, c, peer, was_sent ? ZMQNET_UNACKED : ZMQNET_NEVER_SENT, why);
}

/* A new life has answered. What the old one may have run is not run again, unless the caller said
 * that this does no harm. */
static void row_meets_life(struct zn_mesh *m, uint32_t row, int peer)
{
    struct zn_call *c = zn_row_call(m, row);
    struct zn_track *t = &m->tracks[row];
    zn_call_drop_wire(c);
    if (t->life == 0 || t->life == m->peers[peer].life) {
        if (t->state == ZN_ROW_SENT)
            row_move(m, c, peer, ZN_ROW_AGAIN);
    } else if (c->idempotent) {
        t->life = m->peers[peer].life;
        t->crossed = true;
        if (t->state == ZN_ROW_SENT)
            row_move(m, c, peer, ZN_ROW_AGAIN);
    } else {
        bool original = m->peers[peer].original; /* each connection to one is taken for a life */
        zn_row_settle(m, c, peer, ZMQNET_UNACKED, original ? ZN_WHY_RESET : ZN_WHY_RESTARTED);
    }
}

/* Run `visit` on each row of a list, though it may move or settle the row that it is given. Newest
 * first: what goes back to the front of the queue keeps its order. */
static void rows_each(struct zn_mesh *m, const struct zn_row_list *list, int peer,
                      void (*visit)(struct zn_mesh *m, uint32_t row, int peer))
{
    for (uint32_t row = list->rows.tail, older; row != ZN_NONE; row = older) {
        older = m->tracks[row].links.prev;
        visit(m, row, peer);
    }
}

/* The answers to what is in flight went down with the old connection, so it is sent again. */
void zn_rows_peer_greeted(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    rows_each(m, &p->queue, peer, row_meets_life);
    rows_each(m, &p->flight, peer, row_meets_life);
    zn_rows_update_sendable(m, peer);
}

static void row_not_run_again(struct zn_mesh *m, uint32_t row, int peer)
{
    if (m->tracks[row].not_run)
        row_move(m, zn_row_call(m, row), peer, ZN_ROW_AGAIN);
}

/* It had refused us for want of a hello, and has it now. */
void zn_rows_peer_knows_us(struct zn_mesh *m, int peer)
{
    rows_each(m, &m->peers[peer].flight, peer, row_not_run_again);
}

/* One that was not run was answered, and waits for its time. */
static void row_resend(struct zn_mesh *m, uint32_t row, int peer)
{
    if (!m->tracks[row].not_run)
        row_move(m, zn_row_call(m, row), peer, ZN_ROW_AGAIN);
}

void zn_rows_resend(struct zn_mesh *m, int peer)
{
    rows_each(m, &m->peers[peer].flight, peer, row_resend);
}

static void queued_row_unassign(struct zn_mesh *m, uint32_t row, int peer)
{
    if (m->tracks[row].state == ZN_ROW_QUEUED)
        zn_call_unassign(m, zn_row_call(m, row), peer);
}

/* What a client has not sent there may go to another coordinator. */
void zn_rows_link_lost(struct zn_mesh *m, int peer)
{
    rows_each(m, &m->peers[peer].queue, peer, queued_row_unassign);
}

static void queued_row_goes_down(struct zn_mesh *m, uint32_t row, int peer)
{
    struct zn_call *c = zn_row_call(m, row);
    if (m->tracks[row].state != ZN_ROW_QUEUED)
        return;
    if (zn_call_unassign(m, c, peer) || zn_is_client(m))
        return;
    zn_row_settle(m, c, peer, ZMQNET_NEVER_SENT, m->peers[peer].why);
}

/* Nobody listens there: that life is over, and with it every answer. */
static void sent_row_dies(struct zn_mesh *m, uint32_t row, int peer)
{
    struct zn_call *c = zn_row_call(m, row);
    enum zn_row_state state = m->tracks[row].state;
    if (c->idempotent || (state != ZN_ROW_SENT && state != ZN_ROW_AGAIN))
        return;
    zn_row_give_up(m, c, peer, m->peers[peer].why);
}

void zn_rows_peer_down(struct zn_mesh *m, int peer, enum zn_why why)
{
    struct zn_peer *p = &m->peers[peer];
    rows_each(m, &p->queue, peer, queued_row_goes_down);
    if (why != ZN_WHY_REFUSED)
        return;
    rows_each(m, &p->queue, peer, sent_row_dies);
    rows_each(m, &p->flight, peer, sent_row_dies);
}
