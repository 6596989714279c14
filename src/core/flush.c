/* SPDX-License-Identifier: MIT */
/*
 * What leaves at the end of a turn, and what leaves together.
 *
 * Each flush emits at most one frame for each peer and link: the messages that are ready, up to the
 * limits of a batch and of the peer's flight, and the answers that are due, those for one connection
 * next to each other. `more` joins an action with the next into one frame. An idle mesh never waits to
 * fill one.
 *
 * A broadcast is encoded once: every copy carries the lives of all replicas that it is meant for, so
 * that the same bytes go to each. The encoding is dropped when that set or the attempt changes.
 */
#include "core/core.h"

#include <assert.h>

/* Part of the caller's time that a coordinator keeps for its receipt to come back. */
#define MARGIN_MAX_US (100 * ZN_MS)

/* What comes of a row at most: it leaves, or it is settled and with it the call. */
#define ROW_ACTIONS_MAX 2

/* ---- requests ---- */

static uint64_t life_for(const struct zn_mesh *m, const struct zn_track *t, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    if (t->state == ZN_ROW_IDLE || t->state == ZN_ROW_SETTLED)
        return 0;
    if (t->life != 0)
        return t->life;
    return p->greeting == ZN_GREET_DONE ? p->life : 0;
}

static bool lives_hold(const struct zn_mesh *m, const struct zn_call *c, uint64_t life)
{
    const uint64_t *lives = &m->lives[zn_row_number(m, c, 0)];
    for (size_t i = 0; i < c->lives_n; i++)
        if (lives[i] == life)
            return true;
    return false;
}

/* All lives that the message may be sent to as things are now. */
static void lives_collect(struct zn_mesh *m, struct zn_call *c)
{
    uint64_t *lives = &m->lives[zn_row_number(m, c, 0)];
    for (int p = 0; p < (int)m->n; p++) {
        uint64_t life = life_for(m, zn_call_track(m, c, p), p);
        if (life != 0)
            lives[c->lives_n++] = life;
    }
}

static uint32_t budget_ms(const struct zn_mesh *m, const struct zn_call *c)
{
    uint64_t left_us = c->deadline_us > m->now_us ? c->deadline_us - m->now_us : 0;
    uint64_t margin_us = left_us / 10 < MARGIN_MAX_US ? left_us / 10 : MARGIN_MAX_US;
    uint64_t ms = (zn_is_client(m) ? left_us - margin_us : left_us) / ZN_MS;
    return ms > 0 ? (uint32_t)ms : 1;
}

static enum zn_kind kind_of(const struct zn_mesh *m, const struct zn_call *c)
{
    if (c->ask == ZN_ASK_STATUS)
        return ZN_STATUS;
    return zn_is_client(m) ? ZN_SUBMIT : ZN_REQUEST;
}

/* A client's REQUEST to one replica is a SUBMIT with a target; its coordinator itself is one too. */
static const char *target_of(const struct zn_mesh *m, const struct zn_call *c)
{
    if (!zn_is_client(m) || c->ask != ZN_ASK_ONE)
        return "";
    return m->peers[c->target >= 0 ? c->target : c->via].name;
}

/* A client with several coordinators tells none: the next one would refuse what the last one is still
 * sending as too old. */
static uint64_t floor_of(const struct zn_mesh *m, const struct zn_call *c)
{
    if (c->id.origin != m->life)
        return c->floor;
    return zn_is_client(m) && m->via_only < 0 ? 0 : zn_own_floor(m);
}

static struct zn_msg request_message(struct zn_mesh *m, struct zn_call *c)
{
    enum zn_kind kind = kind_of(m, c);
    struct zn_msg msg = zn_message(m, kind == ZN_SUBMIT ? ZN_SINGLE : ZN_BOUNCE, kind);
    msg.id = c->id;
    msg.body = c->body;
    msg.to_life = &m->lives[zn_row_number(m, c, 0)];
    msg.lives_n = c->lives_n;
    msg.budget_ms = budget_ms(m, c);
    msg.attempt = c->attempt;
    msg.quorum = zn_is_client(m) ? c->quorum : 0;
    msg.floor = floor_of(m, c);
    msg.idempotent = c->idempotent;
    msg.target = target_of(m, c);
    return msg;
}

static void emit_request(struct zn_mesh *m, struct zn_call *c, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    const struct zn_track *t = zn_call_track(m, c, peer);
    uint64_t life = t->life ? t->life : p->life;
    if (c->lives_n == 0)
        lives_collect(m, c);
    assert(lives_hold(m, c, life));
    struct zn_action *a = zn_emit(m, ZN_ACT_SEND);
    a->peer = peer;
    a->msg = request_message(m, c);
    a->wire = &c->wire;
    p->frame[p->frame_n++] = zn_row_number(m, c, peer);
    zn_row_sent(m, c, peer);
    zn_count(m, ZN_COUNT_messages_out);
}

static bool room_for(const struct zn_mesh *m, size_t actions)
{
    return m->out->n + actions <= m->out_max;
}

static void flush_requests(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    struct zn_action *last = NULL;
    size_t bytes = 0;
    while (p->frame_n < ZN_BATCH_MESSAGES_MAX && room_for(m, ROW_ACTIONS_MAX) &&
           zn_row_may_leave(m, peer)) {
        struct zn_call *c = zn_row_call(m, p->queue.rows.head);
        if (p->original && !zn_original_takes(m, c, peer))
            continue;
        bytes += zn_blob_bytes(c->body) + ZN_MESSAGE_HEAD_MAX;
        if (last && bytes > ZN_BATCH_BYTES_MAX)
            break;
        if (last)
            last->more = true;
        emit_request(m, c, peer);
        last = &m->out->at[m->out->n - 1];
    }
}

/* The transport did not take the frame of the flush just before. Newest first: each goes back to the
 * front of the queue. */
void zn_flush_failed(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->blocked = true;
    while (p->frame_n > 0)
        zn_row_unsend(m, p->frame[--p->frame_n]);
    if (p->original)
        zn_original_not_asked(m, peer);
    zn_rows_update_sendable(m, peer);
}

/* ---- answers ---- */

/* The answer to a REQUEST: the handler's result. */
static void emit_result(struct zn_mesh *m, struct zn_served *s)
{
    bool legacy = s->kind == ZN_LEGACY && s->type == ZN_BOUNCE;
    enum zn_type type = legacy ? (s->code != 0 ? ZN_ERROR : ZN_SINGLE) : ZN_BOUNCE;
    struct zn_action *a = zn_emit(m, ZN_ACT_REPLY);
    a->route = s->request_route;
    a->msg = zn_message(m, type, legacy ? ZN_LEGACY : ZN_REPLY);
    a->msg.id = s->id;
    a->msg.code = s->code;
    a->msg.body = s->reply;
    a->msg.to_life = &s->request_life;
    a->msg.lives_n = s->request_life != 0 ? 1 : 0;
    zn_count(m, ZN_COUNT_messages_out);
}

/* The answer to a SUBMIT: the receipt. */
static void emit_receipt(struct zn_mesh *m, struct zn_served *s)
{
    const struct zn_call *c = &m->calls[s->call];
    bool legacy = s->kind == ZN_LEGACY;
    struct zn_action *a = zn_emit(m, ZN_ACT_REPLY);
    a->route = s->submit_route;
    a->msg = zn_message(m, ZN_SINGLE, legacy ? ZN_LEGACY : ZN_REPLY);
    a->msg.id = c->id;
    a->msg.code = c->status;
    a->msg.rows = zn_call_receipt(m, c, &a->msg.rows_n);
    a->msg.need = c->need;
    a->msg.have = c->have;
    zn_count(m, ZN_COUNT_messages_out);
}

/* How large a message gets, about: its body or the replies in its receipt, and the heads. */
static size_t message_bytes(const struct zn_msg *msg)
{
    size_t bytes = zn_blob_bytes(msg->body);
    for (size_t i = 0; i < msg->rows_n; i++)
        bytes += zn_blob_bytes(msg->rows[i].reply) + ZN_ROW_HEAD_MAX;
    return bytes + ZN_MESSAGE_HEAD_MAX;
}

/* What is in the frame that the last reply went into. */
struct filling {
    uint32_t messages;
    size_t bytes;
};

/* Put the action just emitted into one frame with the one before, if both are for one connection. */
static void join_previous(struct zn_mesh *m, struct filling *f)
{
    struct zn_action *now = &m->out->at[m->out->n - 1];
    struct zn_action *before = f->messages > 0 ? now - 1 : NULL;
    size_t bytes = message_bytes(&now->msg);
    bool fits = f->messages < ZN_BATCH_MESSAGES_MAX && f->bytes + bytes <= ZN_BATCH_BYTES_MAX;
    if (before && fits && before->route == now->route && now->msg.kind != ZN_LEGACY &&
        before->msg.kind != ZN_LEGACY) {
        before->more = true;
        f->messages++;
        f->bytes += bytes;
    } else {
        *f = (struct filling){1, bytes};
    }
}

/* Without an id nobody can ask again. */
static void answered_once(struct zn_mesh *m, struct zn_served *s)
{
    s->answer_next = m->answered;
    m->answered = (uint32_t)(s - m->served);
}

static void flush_answers(struct zn_mesh *m, struct zn_answers *list)
{
    struct filling frame = {0, 0};
    while (list->head != ZN_NONE && room_for(m, 2)) {
        struct zn_served *s = &m->served[list->head];
        list->head = s->answer_next;
        if (list->head == ZN_NONE)
            list->tail = ZN_NONE;
        if (s->answers & ZN_ANSWER_REQUEST) {
            emit_result(m, s);
            join_previous(m, &frame);
        }
        if (s->answers & ZN_ANSWER_SUBMIT) {
            emit_receipt(m, s);
            join_previous(m, &frame);
        }
        s->answers = 0;
        if (s->origin == ZN_NONE)
            answered_once(m, s);
    }
}

void zn_flush_free_answered(struct zn_mesh *m)
{
    while (m->answered != ZN_NONE) {
        struct zn_served *s = &m->served[m->answered];
        m->answered = s->answer_next;
        if (s->call != ZN_NONE && m->calls[s->call].pending > 0) {
            zn_call_detach(&m->calls[s->call]);
            s->call = ZN_NONE;
        }
        zn_window_free(m, s);
    }
}

/* ---- both ---- */

int zn_flush(struct zn_mesh *m)
{
    bool more = false;
    for (int p = 0; p < (int)m->n; p++) {
        struct zn_answers *answers = &m->peers[p].answers;
        m->peers[p].frame_n = 0;
        if (m->sendable & zn_bit(p))
            flush_requests(m, p);
        if (answers->head != ZN_NONE)
            flush_answers(m, answers);
        more = more || answers->head != ZN_NONE;
    }
    if (m->client_answers.head != ZN_NONE)
        flush_answers(m, &m->client_answers);
    return more || m->sendable != 0 || m->client_answers.head != ZN_NONE;
}
