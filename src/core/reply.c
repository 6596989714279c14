/* SPDX-License-Identifier: MIT */
/*
 * What comes back on our own links in answer to a request.
 *
 * A reply is believed only if it is meant for this life of ours, names a call whose row was sent to that
 * peer, and comes from the life that the row is pinned to. Everything else is counted under the name
 * of what is wrong with it and changes nothing. A peer that had no room is asked again soon, with a
 * back-off that doubles; its refusal is no proof that an earlier copy of the request did not run.
 */
#include "core/core.h"

#include <string.h>

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
    zn_call_arm(m, c);
}

/* A negative code in answer to a REQUEST: the peer itself refused, not its handler. */
static void row_rejected(struct zn_mesh *m, struct zn_call *c, int peer, int code)
{
    bool crossed = zn_call_track(m, c, peer)->crossed; /* an earlier life may have run it */
    switch (code) {
    case ZMQNET_EFULL:
    case ZMQNET_EHELLO:
    case ZMQNET_ECLOSED: row_not_run(m, c, peer, code); return;
    /* A copy that was sent before may have run, so neither refusal proves that it never did. */
    case ZMQNET_ELIFE: zn_row_settle(m, c, peer, ZMQNET_UNACKED, ZN_WHY_RESTARTED); return;
    case ZMQNET_ETOOOLD: zn_row_settle(m, c, peer, ZMQNET_UNACKED, ZN_WHY_TOO_OLD); return;
    default:
        zn_row_settle(m, c, peer, crossed ? ZMQNET_UNACKED : ZMQNET_NEVER_SENT, ZN_WHY_REJECTED);
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
    zn_call_complete(m, c, msg->code, msg);
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
        enum zn_why why = zn_call_keep_reply(m, c, r, msg->body);
        zn_row_settle(m, c, peer, msg->code == 0 ? ZMQNET_ACKED : ZMQNET_REFUSED, why);
    }
}

void zn_call_reply(struct zn_mesh *m, int peer, struct zn_msg *msg)
{
    if (!zn_meant_for(msg, m->life)) {
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
