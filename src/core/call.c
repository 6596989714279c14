/* SPDX-License-Identifier: MIT */
/*
 * How a call begins, and whom it goes to.
 *
 * On a replica our own handler runs first if it is among those asked; if it refuses, nothing leaves.
 * Then one row begins for each peer. On a client there is one row, that of the coordinator: the fixed
 * one, or any that has said hello. What was never sent may go to another coordinator; what was sent
 * stays where it is.
 */
#include "core/core.h"

#include <assert.h>

/* The replies of one receipt have to fit one frame, and all of them the table's memory. */
enum zn_why zn_call_keep_reply(struct zn_mesh *m, struct zn_call *c, struct zn_row *r,
                               struct zn_blob *reply)
{
    size_t bytes = zn_blob_bytes(reply);
    if (c->reply_bytes + bytes > m->limits.message_max)
        return ZN_WHY_REPLY_DROPPED;
    while (m->call_bytes + bytes > m->limits.call_bytes_max)
        if (!zn_calls_give_up_kept(m))
            return ZN_WHY_REPLY_DROPPED;
    c->reply_bytes += bytes;
    m->call_bytes += bytes;
    r->reply = zn_blob_ref(reply);
    return ZN_WHY_NONE;
}

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
    if (m->phase >= ZN_PHASE_DRAINING) {
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

/* In turn, and one that is slow or suspect only if no other is up; -1: none is. */
static int client_choose(const struct zn_mesh *m, const struct zn_call *c)
{
    uint32_t first = (uint32_t)(c->id.seq % m->n);
    int other = -1;
    for (uint32_t i = 0; i < m->n; i++) {
        int p = (int)((first + i) % m->n);
        if (m->peers[p].state == ZMQNET_UP)
            return p;
        if (other < 0 && zn_peer_is_up(&m->peers[p]))
            other = p;
    }
    return other;
}

static void client_assign(struct zn_mesh *m, struct zn_call *c)
{
    c->via = client_choose(m, c);
    if (c->via >= 0)
        zn_row_begin(m, c, c->via);
}

static void client_run(struct zn_mesh *m, struct zn_call *c)
{
    zn_call_move(c, ZN_CALL_OPEN);
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
        zn_call_move(c, ZN_CALL_OPEN);
        zn_call_evaluate(m, c);
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
    enum zn_why why = zn_call_keep_reply(m, c, r, reply);
    c->held = true;
    zn_row_settle(m, c, m->self, code == 0 ? ZMQNET_SELF : ZMQNET_REFUSED, why);
    if (c->ask == ZN_ASK_ALL && code == 0)
        bounce(m, c);
    else if (c->ask == ZN_ASK_ALL)
        bounce_nothing(m, c);
    zn_call_move(c, ZN_CALL_OPEN);
    c->held = false;
    zn_call_evaluate(m, c);
}

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
    for (uint32_t i = m->own.head, next; i != ZN_NONE; i = next) {
        struct zn_call *c = &m->calls[i];
        next = c->links.next;
        if (c->state == ZN_CALL_OPEN && c->via < 0)
            client_assign(m, c);
    }
}
