/* SPDX-License-Identifier: MIT */
/*
 * Requests that arrive on our own port: who may ask, the handler, and the answers.
 *
 * A REQUEST comes from a peer that has said hello on that connection; a SUBMIT from any client; a
 * message without a kind from the original program. Each that may run gets a slot of the dedup window.
 * The handler's result is stored there, whoever asked first, so an id that reaches us both as a
 * client's SUBMIT and as another coordinator's REQUEST runs once.
 *
 * Refusals are answered at once and leave no trace but a count: they are never a claim about an earlier
 * copy of the same request. Answers leave with the next flush.
 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

static uint64_t served_token(const struct zn_mesh *m, const struct zn_served *s)
{
    return (uint64_t)(s->generation & 0x7fffffffu) << 32 | (uint32_t)(s - m->served);
}

static struct zn_served *served_by_token(struct zn_mesh *m, uint64_t token)
{
    uint32_t slot = (uint32_t)token;
    if (slot >= m->served_fresh)
        return NULL;
    struct zn_served *s = &m->served[slot];
    bool runs = s->used && s->handler == ZN_HANDLER_RUNS;
    return runs && served_token(m, s) == token ? s : NULL;
}

void zn_serve_refuse(struct zn_mesh *m, zn_route route, const struct zn_msg *msg, int code)
{
    struct zn_msg reply = zn_message(m, ZN_ERROR, msg->kind == ZN_LEGACY ? ZN_LEGACY : ZN_REPLY);
    reply.id = msg->id;
    reply.code = code;
    zn_reply_now(m, route, &reply);
}

static void deliver(struct zn_mesh *m, struct zn_served *s, const char *from, struct zn_blob *body)
{
    s->handler = ZN_HANDLER_RUNS;
    struct zn_action *a = zn_emit(m, ZN_ACT_DELIVER);
    a->token = served_token(m, s);
    a->from = from;
    a->id = s->id;
    a->body = body;
    zn_count(m, ZN_COUNT_delivered);
}

static uint64_t budget_us(const struct zn_msg *msg)
{
    uint64_t ms = msg->budget_ms ? msg->budget_ms : ZMQNET_TIMEOUT_MS;
    return (ms < ZMQNET_TIMEOUT_MAX_MS ? ms : ZMQNET_TIMEOUT_MAX_MS) * ZN_MS;
}

static void refuse_counted(struct zn_mesh *m, zn_route route, const struct zn_msg *msg,
                           enum zn_counter counter, int code)
{
    zn_count(m, counter);
    zn_serve_refuse(m, route, msg, code);
}

static enum zn_lookup look_up(struct zn_mesh *m, const struct zn_msg *msg, struct zn_served **s)
{
    if (msg->id.origin != 0)
        return zn_window_find(m, msg->id, msg->floor, s);
    *s = zn_window_add_anonymous(m);
    return *s ? ZN_LOOKUP_NEW : ZN_LOOKUP_FULL;
}

/* The slot for a request that may run or has run; NULL: it was refused. */
static struct zn_served *admit(struct zn_mesh *m, zn_route route, const struct zn_msg *msg)
{
    struct zn_served *s;
    if (!zn_meant_for(msg, m->life)) {
        refuse_counted(m, route, msg, ZN_COUNT_wrong_life, ZMQNET_ELIFE);
        return NULL;
    }
    switch (look_up(m, msg, &s)) {
    case ZN_LOOKUP_TOO_OLD:
        refuse_counted(m, route, msg, ZN_COUNT_too_old, ZMQNET_ETOOOLD);
        return NULL;
    case ZN_LOOKUP_FULL: zn_serve_refuse(m, route, msg, ZMQNET_EFULL); return NULL;
    case ZN_LOOKUP_KNOWN: zn_count(m, ZN_COUNT_duplicate); return s;
    case ZN_LOOKUP_NEW: break;
    }
    if (m->phase >= ZN_PHASE_DRAINING) {
        zn_window_forget(m, s);
        refuse_counted(m, route, msg, ZN_COUNT_closing, ZMQNET_ECLOSED);
        return NULL;
    }
    s->kind = msg->kind;
    s->type = msg->type;
    s->expires_us = m->now_us + budget_us(msg);
    return s;
}

/* Ids of a replica's own origin are used by nobody else: its life is no secret. */
bool zn_is_replica_origin(const struct zn_mesh *m, uint64_t origin)
{
    if (origin == m->life)
        return true;
    for (uint32_t p = 0; p < m->n; p++)
        if (origin == m->peers[p].life || origin == m->peers[p].in_life)
            return origin != 0;
    return false;
}

static bool refuse_forged(struct zn_mesh *m, zn_route route, const struct zn_msg *msg, int peer)
{
    uint64_t allowed = peer < 0 ? 0 : m->peers[peer].in_life;
    if (msg->id.origin == allowed || !zn_is_replica_origin(m, msg->id.origin))
        return false;
    zn_count_bad(m, ZN_COUNT_forged_sender, peer);
    zn_serve_refuse(m, route, msg, ZMQNET_EHELLO);
    return true;
}

/* ---- a request to our handler ---- */

/* The peer that said hello on this connection, -1: nobody did. */
static int peer_of(struct zn_mesh *m, const struct zn_from *from)
{
    for (int p = 0; p < (int)m->n; p++)
        if (m->peers[p].in_connection == from->connection)
            return p;
    return -1;
}

static int sender_checked(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg)
{
    int peer = peer_of(m, from);
    if (peer >= 0 && strcmp(msg->sender, m->peers[peer].name) == 0) {
        m->peers[peer].in_heard_us = m->now_us;
        return peer;
    }
    zn_count_bad(m, peer < 0 ? ZN_COUNT_no_hello : ZN_COUNT_forged_sender, peer);
    zn_serve_refuse(m, from->route, msg, ZMQNET_EHELLO);
    return -1;
}

static void serve_run(struct zn_mesh *m, zn_route route, struct zn_msg *msg, int peer)
{
    struct zn_served *s = admit(m, route, msg);
    if (!s)
        return;
    s->from = peer;
    s->request_route = route;
    s->request_life = peer < 0 ? 0 : m->peers[peer].in_life;
    if (s->handler == ZN_HANDLER_NONE)
        deliver(m, s, peer < 0 ? "unknown" : m->peers[peer].name, msg->body);
    else if (s->handler == ZN_HANDLER_DONE)
        zn_answer_due(m, s, ZN_ANSWER_REQUEST);
}

static void serve_request(struct zn_mesh *m, const struct zn_from *from, struct zn_msg *msg)
{
    int peer = sender_checked(m, from, msg);
    if (peer >= 0 && !refuse_forged(m, from->route, msg, peer))
        serve_run(m, from->route, msg, peer);
}

/* ---- a client's message: we coordinate ---- */

static void run_self(struct zn_mesh *m, struct zn_served *s, struct zn_call *c)
{
    if (s->handler == ZN_HANDLER_NONE)
        deliver(m, s, m->self_name, c->body);
    else if (s->handler == ZN_HANDLER_DONE)
        zn_call_self_done(m, c, s->code, s->reply);
}

static void coordinate(struct zn_mesh *m, zn_route route, struct zn_msg *msg, struct zn_served *s,
                       int target)
{
    struct zn_call *c;
    struct zn_call_spec spec = {
        .ask = target < 0 ? ZN_ASK_ALL : ZN_ASK_ONE,
        .target = target,
        .body = msg->body,
        .timeout_us = budget_us(msg),
        .attempts = ZMQNET_ATTEMPTS,
        .quorum = msg->quorum,
        .idempotent = msg->idempotent,
    };
    /* Opening may make room by giving up the oldest receipt; this slot has none and stays. */
    if (zn_call_open(m, &spec, msg->id, &c) != 0) {
        if (s->handler == ZN_HANDLER_NONE)
            zn_window_forget(m, s);
        zn_serve_refuse(m, route, msg, ZMQNET_EFULL);
        return;
    }
    c->served = (uint32_t)(s - m->served);
    c->floor = zn_window_floor(m, s, msg->floor);
    s->call = c->slot;
    s->submit_route = route;
    if (s->origin == ZN_NONE)
        s->id = c->id;
    if (zn_call_asks_self(m, c))
        run_self(m, s, c);
    else
        zn_call_run(m, c);
}

/* Whom to ask: -1 all, a replica, or below -1: there is no such replica. */
static int submit_target(const struct zn_mesh *m, const struct zn_msg *msg)
{
    if (msg->target[0] == '\0')
        return -1;
    int target = zmqnet_peers_find(m->peer_file, msg->target);
    return target < 0 ? -2 : target;
}

static void serve_submit(struct zn_mesh *m, zn_route route, struct zn_msg *msg)
{
    int target = submit_target(m, msg);
    if (refuse_forged(m, route, msg, -1))
        return;
    if (target < -1 || msg->quorum < ZMQNET_QUORUM_MAJORITY || msg->quorum > (int32_t)m->n) {
        zn_count_bad(m, ZN_COUNT_over_limit, -1);
        zn_serve_refuse(m, route, msg, target < -1 ? ZMQNET_ENOPEER : ZMQNET_EINVAL);
        return;
    }
    struct zn_served *s = admit(m, route, msg);
    if (!s)
        return;
    if (s->call == ZN_NONE) {
        coordinate(m, route, msg, s, target);
        return;
    }
    s->submit_route = route;
    if (m->calls[s->call].state == ZN_CALL_REPORTED)
        zn_answer_due(m, s, ZN_ANSWER_SUBMIT);
}

static void serve_status(struct zn_mesh *m, zn_route route, const struct zn_msg *msg)
{
    struct zn_msg reply = zn_message(m, ZN_SINGLE, ZN_REPLY);
    reply.id = msg->id;
    reply.status = zn_mesh_status(m, m->now_us);
    zn_reply_now(m, route, &reply);
}

/* The original program: a client's message is bounced to all, a bounce goes to the handler; neither
 * has an id. */
static void serve_legacy(struct zn_mesh *m, zn_route route, struct zn_msg *msg)
{
    msg->id = (struct zmqnet_id){0, 0};
    msg->lives_n = 0;
    if (msg->type == ZN_SINGLE) {
        msg->quorum = ZMQNET_QUORUM_ALL;
        msg->target = "";
        serve_submit(m, route, msg);
    } else if (msg->type == ZN_BOUNCE) {
        serve_run(m, route, msg, -1);
    } else {
        zn_count_bad(m, ZN_COUNT_unknown_type, -1);
        zn_serve_refuse(m, route, msg, ZMQNET_EPROTO);
    }
}

static void serve_ping(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg)
{
    int peer = peer_of(m, from);
    if (peer >= 0)
        m->peers[peer].in_heard_us = m->now_us;
    struct zn_msg pong = zn_message(m, peer < 0 ? ZN_SINGLE : ZN_BOUNCE, ZN_PONG);
    pong.id = msg->id;
    pong.life = m->life;
    zn_reply_now(m, from->route, &pong);
}

/* From whom a row is taken has been seen by now: the peer of this connection. */
static void hear_row(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg)
{
    int peer = peer_of(m, from);
    if (peer >= 0)
        zn_reach_hear(m, peer, msg);
}

void zn_serve(struct zn_mesh *m, const struct zn_from *from, struct zn_msg *msg)
{
    zn_count(m, ZN_COUNT_messages_in);
    switch (msg->kind) {
    case ZN_HELLO: zn_peer_hello_asked(m, from, msg); break;
    case ZN_PING: serve_ping(m, from, msg); break;
    case ZN_REQUEST: serve_request(m, from, msg); return;
    case ZN_SUBMIT: serve_submit(m, from->route, msg); return;
    case ZN_STATUS: serve_status(m, from->route, msg); return;
    case ZN_BYE: zn_peer_bye(m, from, msg); return;
    case ZN_LEGACY: serve_legacy(m, from->route, msg); return;
    case ZN_REPLY: zn_count_bad(m, ZN_COUNT_unasked_reply, peer_of(m, from)); return;
    default: zn_count_bad(m, ZN_COUNT_unknown_kind, peer_of(m, from)); return;
    }
    hear_row(m, from, msg);
}

/* ---- answers ---- */

void zn_serve_answer(struct zn_mesh *m, uint64_t token, int code, struct zn_blob *reply)
{
    if (token >> 63) {
        struct zn_call *c = zn_call_by_token(m, token);
        if (c)
            zn_call_self_done(m, c, code, reply);
        else
            zn_count(m, ZN_COUNT_answer_unasked);
        return;
    }
    struct zn_served *s = served_by_token(m, token);
    if (!s) {
        zn_count(m, ZN_COUNT_answer_unasked);
        return;
    }
    zn_window_keep_reply(m, s, reply);
    s->code = code;
    s->handler = ZN_HANDLER_DONE;
    if (s->request_route)
        zn_answer_due(m, s, ZN_ANSWER_REQUEST);
    if (s->call == ZN_NONE)
        return;
    struct zn_call *c = &m->calls[s->call];
    if (c->state == ZN_CALL_SELF && zn_call_asks_self(m, c))
        zn_call_self_done(m, c, code, reply);
}

void zn_serve_receipt(struct zn_mesh *m, struct zn_call *c)
{
    struct zn_served *s = &m->served[c->served];
    if (s->submit_route)
        zn_answer_due(m, s, ZN_ANSWER_SUBMIT);
}

void zn_answer_due(struct zn_mesh *m, struct zn_served *s, uint8_t which)
{
    uint8_t before = s->answers;
    s->answers |= which;
    if (before)
        return;
    struct zn_answers *list = s->from >= 0 ? &m->peers[s->from].answers : &m->client_answers;
    uint32_t slot = (uint32_t)(s - m->served);
    s->answer_next = ZN_NONE;
    if (list->tail != ZN_NONE)
        m->served[list->tail].answer_next = slot;
    else
        list->head = slot;
    list->tail = slot;
}
