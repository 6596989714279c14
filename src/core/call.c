/* SPDX-License-Identifier: MIT */
/*
 * The request table: every call from its beginning to its one completion.
 *
 * A call is ours (our user's: `served` is ZN_NONE) or that of a client of ours (it makes the answer to
 * a served request). On a replica it first runs our own handler if we are among those asked, then
 * bounces; on a client it has one row, that of the coordinator.
 *
 * call_complete() is the only completion. It runs once: when the quorum is reached or impossible, or
 * at the deadline. Rows that are still under way then go on as stragglers until each is settled; only
 * then is the slot given back, or, for a client's call, kept as the receipt for repeats.
 *
 * Attempt k+1 begins k shares of the time after the first, plus a back-off that doubles, with jitter;
 * the deadline is fixed at the beginning. A row that a peer had no room for is sent again much sooner.
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

static void call_move(struct zn_call *c, enum zn_call_state to)
{
    assert(moves[c->state][to]);
    c->state = to;
}

static void settle_all(struct zn_mesh *m, struct zn_call *c, enum zn_why why);

/* ---- slots ---- */

/* Out of the list that it is in, to the end of another; NULL: into none. */
static void call_list(struct zn_mesh *m, struct zn_call *c, struct zn_ages *to)
{
    if (c->in) {
        if (c->prev != ZN_NONE)
            m->calls[c->prev].next = c->next;
        else
            c->in->oldest = c->next;
        if (c->next != ZN_NONE)
            m->calls[c->next].prev = c->prev;
        else
            c->in->newest = c->prev;
    }
    c->in = to;
    if (!to)
        return;
    c->next = ZN_NONE;
    c->prev = to->newest;
    if (to->newest != ZN_NONE)
        m->calls[to->newest].next = c->slot;
    else
        to->oldest = c->slot;
    to->newest = c->slot;
}

static bool is_own(const struct zn_mesh *m, const struct zn_call *c)
{
    return c->id.origin == m->life;
}

/* The oldest receipt that is not about to be answered; NULL: there is none among the oldest. */
static struct zn_call *kept_oldest(struct zn_mesh *m)
{
    uint32_t slot = m->kept.oldest;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        if (zn_served_is_done(m, &m->served[m->calls[slot].served]))
            return &m->calls[slot];
        slot = m->calls[slot].next;
    }
    return NULL;
}

uint64_t zn_own_floor(const struct zn_mesh *m)
{
    return m->own.oldest == ZN_NONE ? m->seq : m->calls[m->own.oldest].id.seq - 1;
}

static bool has_room(const struct zn_mesh *m, size_t bytes)
{
    bool slot = m->calls_free != ZN_NONE || m->calls_fresh < m->limits.calls_max;
    return slot && m->call_bytes + bytes <= m->limits.call_bytes_max;
}

/* The oldest call that is complete and whose stragglers still go on; NULL: none among the oldest. */
static struct zn_call *lingering_oldest(struct zn_mesh *m)
{
    if (m->lingering.oldest != ZN_NONE)
        return &m->calls[m->lingering.oldest];
    uint32_t slot = m->own.oldest;
    for (int i = 0; i < ZN_SEARCH_MAX && slot != ZN_NONE; i++) {
        if (m->calls[slot].state == ZN_CALL_REPORTED)
            return &m->calls[slot];
        slot = m->calls[slot].next;
    }
    return NULL;
}

/* Make room: give up the oldest receipt that is only kept for repeats, and the id that it belongs to,
 * or else the stragglers of the oldest call that is complete. One slow peer must not use up a table
 * that all requests need. */
static bool make_room(struct zn_mesh *m)
{
    struct zn_call *c = kept_oldest(m);
    if (c) {
        zn_window_free(m, &m->served[c->served]);
        return true;
    }
    c = lingering_oldest(m);
    if (!c)
        return false;
    settle_all(m, c, ZN_WHY_NO_ROOM);
    if (c->in == &m->ended)
        zn_call_free(m, c); /* reported in an earlier step: no action points to it */
    return true;
}

static struct zn_call *slot_take(struct zn_mesh *m, size_t bytes)
{
    while (!has_room(m, bytes))
        if (!make_room(m))
            return NULL;
    uint32_t slot = m->calls_free;
    if (slot != ZN_NONE)
        m->calls_free = m->calls[slot].next;
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
            (struct zn_track){.sent_us = m->now_us, .next = ZN_NONE, .prev = ZN_NONE};
        *zn_call_row(m, c, p) = (struct zn_row){.name = m->peers[p].name, .why = ""};
    }
}

uint32_t zn_quorum_need(int32_t quorum, uint32_t of)
{
    if (quorum == ZMQNET_QUORUM_ALL)
        return of;
    return quorum < 0 ? of / 2 + 1 : (uint32_t)quorum;
}

static void timer_update(struct zn_mesh *m, struct zn_call *c)
{
    uint64_t at_us = c->deadline_us;
    if (c->retry_us < at_us)
        at_us = c->retry_us;
    if (c->again_us < at_us)
        at_us = c->again_us;
    if (c->look_us < at_us)
        at_us = c->look_us;
    zn_timer_set(&m->heap, &c->timer, at_us);
}

static void next_retry(struct zn_mesh *m, struct zn_call *c)
{
    if (c->attempt >= c->attempts) {
        c->retry_us = UINT64_MAX;
        return;
    }
    uint64_t share_us = (c->deadline_us - c->start_us) / c->attempts;
    uint64_t backoff_us = share_us / 16 << (c->attempt < 4 ? c->attempt - 1 : 3);
    c->retry_us = c->start_us + c->attempt * share_us + backoff_us / 2;
    if (backoff_us > 1)
        c->retry_us += zn_rand_below(&m->rand, backoff_us / 2 + 1);
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
    if (is_own(m, c))
        call_list(m, c, &m->own);
    zn_timer_init(&c->timer, c->slot);
    next_retry(m, c);
    call_move(c, ZN_CALL_SELF);
    timer_update(m, c);
    zn_count(m, spec->ask == ZN_ASK_ALL ? ZN_COUNT_broadcasts : ZN_COUNT_requests);
    *out = c;
    return 0;
}

void zn_call_free(struct zn_mesh *m, struct zn_call *c)
{
    if (c->state != ZN_CALL_REPORTED)
        m->calls_open--;
    call_list(m, c, NULL);
    zn_timer_clear(&m->heap, &c->timer);
    zn_index_del(&m->calls_by_id, c->slot);
    for (int p = 0; p < (int)m->n; p++)
        zn_blob_drop(&zn_call_row(m, c, p)->reply);
    m->call_bytes -= zn_blob_bytes(c->body) + c->reply_bytes;
    zn_blob_drop(&c->wire);
    zn_blob_drop(&c->body);
    call_move(c, ZN_CALL_FREE);
    c->next = m->calls_free;
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

/* ---- completion ---- */

/* Every row is settled. */
static void call_finish(struct zn_mesh *m, struct zn_call *c)
{
    zn_timer_clear(&m->heap, &c->timer);
    zn_blob_drop(&c->wire);
    if (c->served == ZN_NONE)
        call_list(m, c, &m->ended);
    else if (!is_own(m, c))
        call_list(m, c, &m->kept);
}

void zn_calls_free_ended(struct zn_mesh *m)
{
    while (m->ended.oldest != ZN_NONE)
        zn_call_free(m, &m->calls[m->ended.oldest]);
}

void zn_call_detach(struct zn_call *c)
{
    assert(c->pending > 0);
    c->served = ZN_NONE;
}

/* What a row shows while it is still under way. */
static void rows_show_pending(struct zn_mesh *m, struct zn_call *c)
{
    for (int p = 0; p < (int)m->n; p++) {
        if (zn_call_track(m, c, p)->state == ZN_ROW_SETTLED)
            continue;
        struct zn_row *r = zn_call_row(m, c, p);
        r->outcome = ZMQNET_UNACKED;
        r->why = zn_why_text(ZN_WHY_PENDING);
    }
}

/* A client that has no receipt says what it knows of each replica: what became of the coordinator
 * says what can have happened at the others. */
static void rows_without_receipt(struct zn_mesh *m, struct zn_call *c, enum zmqnet_outcome outcome)
{
    bool sent = outcome == ZMQNET_UNACKED;
    for (int p = 0; p < (int)m->n; p++) {
        struct zn_row *r = zn_call_row(m, c, p);
        if (p == c->via)
            continue;
        r->outcome = outcome;
        r->why = zn_why_text(sent ? ZN_WHY_NO_RECEIPT : ZN_WHY_NOT_REACHED);
    }
}

struct zn_row *zn_call_receipt(struct zn_mesh *m, const struct zn_call *c, size_t *rows_n)
{
    int one = c->target >= 0 ? c->target : c->via;
    if (c->ask == ZN_ASK_ALL) {
        *rows_n = m->n;
        return zn_call_row(m, c, 0);
    }
    *rows_n = one >= 0 && c->ask == ZN_ASK_ONE ? 1 : 0;
    return *rows_n ? zn_call_row(m, c, one) : NULL;
}

static int outcome_status(enum zmqnet_outcome outcome)
{
    switch (outcome) {
    case ZMQNET_SELF:
    case ZMQNET_ACKED: return 0;
    case ZMQNET_REFUSED: return ZMQNET_EREFUSED;
    case ZMQNET_UNACKED: return ZMQNET_EUNKNOWN;
    case ZMQNET_NEVER_SENT: return ZMQNET_ENEVERSENT;
    }
    assert(false);
    return ZMQNET_EUNKNOWN;
}

static const char *status_why(struct zn_mesh *m, const struct zn_call *c)
{
    if (c->status == 0)
        return "";
    if (c->refused_by_self)
        return zn_why_text(ZN_WHY_COORDINATOR);
    if (zn_is_client(m) && c->via < 0)
        return zn_why_text(ZN_WHY_NO_REPLICA);
    if (c->ask == ZN_ASK_ALL && !zn_is_client(m))
        return zmqnet_error_text(c->status);
    int peer = zn_is_client(m) ? c->via : c->target;
    enum zn_why why = zn_call_track(m, c, peer)->why;
    return why == ZN_WHY_NONE ? zmqnet_error_text(c->status) : zn_why_text(why);
}

/* `receipt`: the coordinator's answer to a client, NULL: what we know ourselves. */
static void emit_done(struct zn_mesh *m, struct zn_call *c, const struct zn_msg *receipt)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_DONE);
    a->tag = c->tag;
    a->done = (struct zn_done){
        .status = c->status,
        .id = c->id,
        .via = c->via,
        .need = receipt ? receipt->need : c->need,
        .have = receipt ? receipt->have : c->have,
        .of = receipt ? (uint32_t)receipt->rows_n : c->of,
        .elapsed_us = m->now_us - c->start_us,
        .attempts = c->attempt,
        .why = !receipt         ? status_why(m, c)
               : c->status == 0 ? ""
                                : zmqnet_error_text(c->status),
        .status_view = receipt ? receipt->status : NULL,
    };
    if (receipt) {
        a->done.rows = receipt->rows;
        a->done.rows_n = receipt->rows_n;
    } else {
        a->done.rows = zn_call_receipt(m, c, &a->done.rows_n);
    }
}

/* The one completion of every call. */
static void call_complete(struct zn_mesh *m, struct zn_call *c, int status,
                          const struct zn_msg *receipt)
{
    c->status = status;
    call_move(c, ZN_CALL_REPORTED);
    m->calls_open--;
    if (!is_own(m, c))
        call_list(m, c, &m->lingering);
    if (c->served == ZN_NONE)
        emit_done(m, c, receipt);
    else
        zn_serve_receipt(m, c);
}

/* On a replica: rows may still be under way. */
static void replica_complete(struct zn_mesh *m, struct zn_call *c, int status)
{
    rows_show_pending(m, c);
    call_complete(m, c, status, NULL);
}

/* A client whose coordinator has not answered, and will not. */
static void client_evaluate(struct zn_mesh *m, struct zn_call *c)
{
    if (c->pending > 0)
        return;
    enum zmqnet_outcome outcome =
        c->via < 0 ? ZMQNET_NEVER_SENT : zn_call_row(m, c, c->via)->outcome;
    rows_without_receipt(m, c, outcome);
    c->have = 0;
    call_complete(m, c, outcome_status(outcome), NULL);
}

/* Is a peer that is up about to answer? */
static bool answers_to_come(struct zn_mesh *m, const struct zn_call *c)
{
    for (int p = 0; p < (int)m->n; p++) {
        enum zn_row_state state = zn_call_track(m, c, p)->state;
        if (state != ZN_ROW_IDLE && state != ZN_ROW_SETTLED && m->peers[p].state == ZMQNET_UP)
            return true;
    }
    return false;
}

/* The quorum is out of reach. A moment later the receipt can say of those who are well that they
 * acked, instead of that nothing is known. */
static void call_fail_soon(struct zn_mesh *m, struct zn_call *c)
{
    if (m->now_us < c->look_us && answers_to_come(m, c)) {
        if (c->look_us == UINT64_MAX)
            c->look_us = m->now_us + ZN_LAST_LOOK_US;
        timer_update(m, c);
        return;
    }
    replica_complete(m, c, ZMQNET_ENOQUORUM);
}

/* The status of a call on a replica, if it can be said now. */
static void replica_evaluate(struct zn_mesh *m, struct zn_call *c)
{
    if (c->have >= c->need)
        replica_complete(m, c, 0);
    else if (c->ask == ZN_ASK_ONE && c->pending == 0)
        replica_complete(m, c, outcome_status(zn_call_row(m, c, c->target)->outcome));
    else if (c->refused_by_self)
        replica_complete(m, c, ZMQNET_EREFUSED);
    else if (c->have + c->pending < c->need)
        call_fail_soon(m, c);
}

/* Complete, if it can be said now. Not while rows are begun or settled together: a receipt that is
 * made half-way would not know the others. */
static void call_evaluate(struct zn_mesh *m, struct zn_call *c)
{
    if (c->held)
        return;
    if (c->state == ZN_CALL_OPEN && zn_is_client(m))
        client_evaluate(m, c);
    else if (c->state == ZN_CALL_OPEN)
        replica_evaluate(m, c);
    if (c->state == ZN_CALL_REPORTED && c->pending == 0)
        call_finish(m, c);
}

static void emit_progress(struct zn_mesh *m, struct zn_call *c, int peer)
{
    /* After the completion nobody listens any more: the tag may be gone. */
    if (!c->progress || c->state == ZN_CALL_REPORTED || m->closing)
        return;
    struct zn_action *a = zn_emit(m, ZN_ACT_PROGRESS);
    a->tag = c->tag;
    a->id = c->id;
    a->peer = peer;
    a->row = zn_call_row(m, c, peer);
}

void zn_call_row_settled(struct zn_mesh *m, struct zn_call *c, int peer)
{
    enum zmqnet_outcome outcome = zn_call_row(m, c, peer)->outcome;
    assert(c->pending > 0);
    c->pending--;
    if (outcome == ZMQNET_SELF || outcome == ZMQNET_ACKED)
        c->have++;
    emit_progress(m, c, peer);
    call_evaluate(m, c);
}

/* The replies of one receipt have to fit one frame, and all of them the table's memory. */
static enum zn_why reply_keep(struct zn_mesh *m, struct zn_call *c, struct zn_row *r,
                              struct zn_blob *reply)
{
    size_t bytes = zn_blob_bytes(reply);
    if (c->reply_bytes + bytes > m->limits.message_max ||
        m->call_bytes + bytes > m->limits.call_bytes_max)
        return ZN_WHY_REPLY_DROPPED;
    c->reply_bytes += bytes;
    m->call_bytes += bytes;
    r->reply = zn_blob_ref(reply);
    return ZN_WHY_NONE;
}

/* ---- beginning ---- */

/* Refused before it began: no row, no id. */
static void refuse_call(struct zn_mesh *m, const struct zn_call_spec *spec, int status)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_DONE);
    a->tag = spec->tag;
    a->done = (struct zn_done){.status = status, .via = -1, .why = zmqnet_error_text(status)};
}

void zn_call_begin(struct zn_mesh *m, const struct zn_call_spec *spec)
{
    struct zn_call *c;
    if (m->draining) {
        zn_count(m, ZN_COUNT_closing);
        refuse_call(m, spec, ZMQNET_ECLOSED);
        return;
    }
    int rc = zn_call_open(m, spec, (struct zmqnet_id){0, 0}, &c);
    if (rc != 0)
        refuse_call(m, spec, rc);
    else
        zn_call_run(m, c);
}

/* A client without a fixed coordinator takes the replicas in turn, those that have said hello. */
static void client_assign(struct zn_mesh *m, struct zn_call *c)
{
    uint32_t first = (uint32_t)(c->id.seq % m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        int p = (int)((first + i) % m->n);
        if (m->peers[p].greeting != ZN_GREET_DONE || m->peers[p].state != ZMQNET_UP)
            continue;
        c->via = p;
        zn_row_begin(m, c, p);
        return;
    }
}

static void client_run(struct zn_mesh *m, struct zn_call *c)
{
    call_move(c, ZN_CALL_OPEN);
    c->via = c->ask == ZN_ASK_STATUS ? c->target : m->via_only;
    if (c->via < 0) {
        client_assign(m, c);
        return;
    }
    zn_peer_want(m, c->via);
    zn_row_begin(m, c, c->via);
}

static void deliver_to_self(struct zn_mesh *m, struct zn_call *c)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_DELIVER);
    a->token = zn_call_token(c);
    a->from = m->self_name;
    a->id = c->id;
    a->body = c->body;
    zn_count(m, ZN_COUNT_delivered);
}

bool zn_call_asks_self(const struct zn_mesh *m, const struct zn_call *c)
{
    return c->ask == ZN_ASK_ALL || c->target == m->self;
}

void zn_call_run(struct zn_mesh *m, struct zn_call *c)
{
    if (zn_is_client(m)) {
        client_run(m, c);
    } else if (zn_call_asks_self(m, c)) {
        deliver_to_self(m, c);
    } else {
        zn_row_begin(m, c, c->target);
        call_move(c, ZN_CALL_OPEN);
        call_evaluate(m, c);
    }
}

static void bounce(struct zn_mesh *m, struct zn_call *c)
{
    for (int p = 0; p < (int)m->n; p++)
        if (p != m->self)
            zn_row_begin(m, c, p);
}

static void bounce_nothing(struct zn_mesh *m, struct zn_call *c)
{
    c->refused_by_self = true;
    for (int p = 0; p < (int)m->n; p++)
        if (p != m->self)
            zn_row_settle(m, c, p, ZMQNET_NEVER_SENT, ZN_WHY_COORDINATOR);
}

void zn_call_self_done(struct zn_mesh *m, struct zn_call *c, int code, struct zn_blob *reply)
{
    struct zn_row *r = zn_call_row(m, c, m->self);
    r->code = code;
    enum zn_why why = reply_keep(m, c, r, reply);
    c->held = true;
    zn_row_settle(m, c, m->self, code == 0 ? ZMQNET_SELF : ZMQNET_REFUSED, why);
    if (c->ask == ZN_ASK_ALL && code == 0)
        bounce(m, c);
    else if (c->ask == ZN_ASK_ALL)
        bounce_nothing(m, c);
    call_move(c, ZN_CALL_OPEN);
    c->held = false;
    call_evaluate(m, c);
}

/* ---- answers ---- */

static bool lives_hold(const struct zn_msg *msg, uint64_t life)
{
    for (size_t i = 0; i < msg->lives_n; i++)
        if (msg->to_life[i] == life)
            return true;
    return msg->lives_n == 0;
}

/* A reply without a call: was there one once? */
static void count_stray(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    bool ours = msg->id.origin == m->life && msg->id.seq >= 1 && msg->id.seq <= m->seq;
    if (!ours && !zn_window_was_here(m, msg->id)) {
        zn_count_bad(m, ZN_COUNT_unasked_reply, peer);
        return;
    }
    zn_count(m, ZN_COUNT_late_reply);
    m->peers[peer].late++;
}

/* The peer did not run it: no room, no hello, closing. It may have room soon. */
static void row_not_run(struct zn_mesh *m, struct zn_call *c, int peer, int code)
{
    struct zn_track *t = zn_call_track(m, c, peer);
    t->not_run = true;
    t->why = code == ZMQNET_ECLOSED ? ZN_WHY_CLOSING : ZN_WHY_PEER_FULL;
    if (code == ZMQNET_EHELLO)
        zn_peer_hello_again(m, peer);
    uint64_t backoff_us = 10 * ZN_MS << (c->backoffs < 7 ? c->backoffs : 7);
    if (backoff_us > ZN_RETRY_BACKOFF_MAX_US)
        backoff_us = ZN_RETRY_BACKOFF_MAX_US;
    c->backoffs++;
    if (c->again_us == UINT64_MAX)
        c->again_us = m->now_us + backoff_us / 2 + zn_rand_below(&m->rand, backoff_us / 2);
    timer_update(m, c);
}

/* A negative code in answer to a REQUEST: the peer itself refused, not its handler. */
static void row_rejected(struct zn_mesh *m, struct zn_call *c, int peer, int code)
{
    switch (code) {
    case ZMQNET_EFULL:
    case ZMQNET_EHELLO:
    case ZMQNET_ECLOSED: row_not_run(m, c, peer, code); return;
    /* A copy that was sent before may have run, so neither refusal proves that it never did. */
    case ZMQNET_ELIFE: zn_row_settle(m, c, peer, ZMQNET_UNACKED, ZN_WHY_RESTARTED); return;
    case ZMQNET_ETOOOLD: zn_row_settle(m, c, peer, ZMQNET_UNACKED, ZN_WHY_TOO_OLD); return;
    default: zn_row_settle(m, c, peer, ZMQNET_NEVER_SENT, ZN_WHY_REJECTED);
    }
}

/* This life of the coordinator cannot speak for the earlier one, which may have sent to anybody. */
static void receipt_doubt(struct zn_msg *msg)
{
    if (msg->code == ZMQNET_ENEVERSENT)
        msg->code = ZMQNET_EUNKNOWN;
    for (size_t i = 0; i < msg->rows_n; i++) {
        if (msg->rows[i].outcome != ZMQNET_NEVER_SENT)
            continue;
        msg->rows[i].outcome = ZMQNET_UNACKED;
        msg->rows[i].why = zn_why_text(ZN_WHY_EARLIER);
    }
}

/* The coordinator's answer to a client is the completion, with its rows and its numbers. */
static void client_answered(struct zn_mesh *m, struct zn_call *c, struct zn_msg *msg)
{
    if (zn_call_track(m, c, c->via)->crossed)
        receipt_doubt(msg);
    call_complete(m, c, msg->code, msg);
    zn_row_settle(m, c, c->via, ZMQNET_ACKED, ZN_WHY_NONE);
}

/* Does it answer what was asked? A coordinator with our own peers file names our replicas, in order. */
static bool is_receipt(const struct zn_mesh *m, const struct zn_call *c, const struct zn_msg *msg)
{
    if (msg->code > 0 || msg->code < ZN_ERROR_LAST)
        return false;
    if (c->ask == ZN_ASK_STATUS)
        return msg->status != NULL && msg->code == 0;
    if (c->ask == ZN_ASK_ONE)
        return msg->rows_n == 1;
    if (m->peers[c->via].config_differs)
        return msg->rows_n > 0;
    for (uint32_t i = 0; i < m->n && i < msg->rows_n; i++)
        if (strcmp(msg->rows[i].name, m->peers[i].name) != 0)
            return false;
    return msg->rows_n == m->n;
}

static void row_answered(struct zn_mesh *m, struct zn_call *c, int peer, struct zn_msg *msg)
{
    struct zn_row *r = zn_call_row(m, c, peer);
    if (zn_is_client(m) && is_receipt(m, c, msg)) {
        client_answered(m, c, msg);
    } else if (msg->code < 0) {
        row_rejected(m, c, peer, msg->code);
    } else if (zn_is_client(m)) {
        zn_count_bad(m, ZN_COUNT_bad_protobuf, peer);
    } else {
        r->code = msg->code;
        enum zn_why why = reply_keep(m, c, r, msg->body);
        zn_row_settle(m, c, peer, msg->code == 0 ? ZMQNET_ACKED : ZMQNET_REFUSED, why);
    }
}

void zn_call_reply(struct zn_mesh *m, int peer, struct zn_msg *msg)
{
    if (!lives_hold(msg, m->life)) {
        zn_count_bad(m, ZN_COUNT_stale_reply, peer);
        return;
    }
    uint32_t slot = zn_index_find(&m->calls_by_id, msg->id.origin, msg->id.seq);
    if (slot == ZN_INDEX_NONE) {
        count_stray(m, peer, msg);
        return;
    }
    struct zn_call *c = &m->calls[slot];
    const struct zn_track *t = zn_call_track(m, c, peer);
    if (t->sends == 0) {
        zn_count_bad(m, ZN_COUNT_unasked_reply, peer);
    } else if (t->life != m->peers[peer].life) {
        zn_count_bad(m, ZN_COUNT_stale_reply, peer);
    } else if (t->state == ZN_ROW_SETTLED) {
        zn_count(m, ZN_COUNT_late_reply);
        m->peers[peer].late++;
    } else {
        row_answered(m, c, peer, msg);
    }
}

/* ---- time ---- */

static enum zn_why why_unsent(const struct zn_peer *p)
{
    return p->state == ZMQNET_UP ? ZN_WHY_QUEUE_FULL : p->why;
}

/* Why a row that was not settled gets its last outcome: what is asked for, or, at the deadline, what
 * kept it from leaving. */
static enum zn_why why_given_up(struct zn_mesh *m, struct zn_call *c, int peer, enum zn_why why)
{
    const struct zn_track *t = zn_call_track(m, c, peer);
    if (why != ZN_WHY_NO_ANSWER)
        return why;
    if (t->state == ZN_ROW_IDLE)
        return ZN_WHY_NO_RECEIPT;
    return t->state == ZN_ROW_QUEUED ? why_unsent(&m->peers[peer]) : why;
}

static bool is_member(const struct zn_mesh *m, const struct zn_call *c, int peer)
{
    if (zn_is_client(m))
        return peer == c->via;
    return c->ask == ZN_ASK_ALL || peer == c->target;
}

/* Give every row that is not settled its last outcome. The call may be gone afterwards. */
static void settle_all(struct zn_mesh *m, struct zn_call *c, enum zn_why why)
{
    c->held = true;
    if (c->state == ZN_CALL_SELF) {
        zn_row_settle(m, c, m->self, ZMQNET_UNACKED, why);
        call_move(c, ZN_CALL_OPEN);
    }
    for (int p = 0; p < (int)m->n; p++) {
        if (!is_member(m, c, p) || zn_call_track(m, c, p)->state == ZN_ROW_SETTLED)
            continue;
        zn_row_give_up(m, c, p, why_given_up(m, c, p, why));
    }
    c->held = false;
    call_evaluate(m, c);
}

static void call_expire(struct zn_mesh *m, struct zn_call *c, enum zn_why why)
{
    if (zn_is_client(m) && c->via < 0) {
        c->pending = 0; /* it never had a coordinator, so there is no row to settle */
        call_evaluate(m, c);
    } else {
        settle_all(m, c, why);
    }
}

void zn_call_drop_wire(struct zn_call *c)
{
    zn_blob_drop(&c->wire);
    c->lives_n = 0;
}

/* Put what was sent and not answered into the queues again. */
static void resend(struct zn_mesh *m, struct zn_call *c, bool only_refused)
{
    zn_call_drop_wire(c);
    for (int p = 0; p < (int)m->n; p++) {
        const struct zn_track *t = zn_call_track(m, c, p);
        if (t->state == ZN_ROW_SENT && (!only_refused || t->not_run))
            zn_row_again(m, c, p);
    }
}

void zn_call_tick(struct zn_mesh *m, struct zn_call *c)
{
    if (m->now_us >= c->deadline_us) {
        call_expire(m, c, ZN_WHY_NO_ANSWER);
        return;
    }
    if (m->now_us >= c->again_us) {
        c->again_us = UINT64_MAX;
        resend(m, c, true);
    }
    if (m->now_us >= c->look_us) {
        call_evaluate(m, c);
        c->look_us = UINT64_MAX;
    }
    if (m->now_us >= c->retry_us) {
        c->attempt++;
        next_retry(m, c);
        resend(m, c, false);
    }
    timer_update(m, c);
}

void zn_calls_close(struct zn_mesh *m)
{
    m->draining = m->closing = true;
    for (uint32_t i = 0; i < m->calls_fresh; i++) {
        struct zn_call *c = &m->calls[i];
        if (c->state != ZN_CALL_FREE && c->pending > 0)
            call_expire(m, c, ZN_WHY_CLOSING);
    }
}

/* ---- links ---- */

bool zn_call_unassign(struct zn_mesh *m, struct zn_call *c, int peer)
{
    if (!zn_is_client(m) || m->via_only >= 0 || c->ask == ZN_ASK_STATUS)
        return false;
    zn_row_unqueue(m, c, peer);
    zn_call_drop_wire(c);
    c->via = -1;
    client_assign(m, c);
    return true;
}

void zn_calls_assign(struct zn_mesh *m)
{
    for (uint32_t i = m->own.oldest, next; i != ZN_NONE; i = next) {
        struct zn_call *c = &m->calls[i];
        next = c->next;
        if (c->state == ZN_CALL_OPEN && c->via < 0)
            client_assign(m, c);
    }
}
