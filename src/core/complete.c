/* SPDX-License-Identifier: MIT */
/*
 * When a call is complete, and what its receipt says.
 *
 * zn_call_complete() is the only completion. It runs once: when the quorum is reached or impossible, or
 * when every row is settled, which the deadline sees to. Rows that are still under way then go on as
 * stragglers; when the last is settled the call is finished.
 *
 * An impossible quorum is reported as soon as no peer that is up may still answer, and after
 * ZN_LAST_LOOK_US in any case.
 */
#include "core/core.h"

#include <assert.h>

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
    return why == ZN_WHY_NONE ? zmqnet_error_text(c->status) : zn_peer_cause(m, peer, why);
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
void zn_call_complete(struct zn_mesh *m, struct zn_call *c, int status,
                      const struct zn_msg *receipt)
{
    c->status = status;
    zn_call_move(c, ZN_CALL_REPORTED);
    m->calls_open--;
    if (!zn_call_is_own(m, c))
        zn_call_list(m, c, &m->lingering);
    if (c->served == ZN_NONE)
        emit_done(m, c, receipt);
    else
        zn_serve_receipt(m, c);
}

/* On a replica: rows may still be under way. */
static void replica_complete(struct zn_mesh *m, struct zn_call *c, int status)
{
    rows_show_pending(m, c);
    zn_call_complete(m, c, status, NULL);
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
    zn_call_complete(m, c, outcome_status(outcome), NULL);
}

/* Is a peer that is up about to answer? */
static bool answers_to_come(struct zn_mesh *m, const struct zn_call *c)
{
    for (int p = 0; p < (int)m->n; p++) {
        enum zn_row_state state = zn_call_track(m, c, p)->state;
        if (state != ZN_ROW_IDLE && state != ZN_ROW_SETTLED && zn_peer_is_up(&m->peers[p]))
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
        zn_call_arm(m, c);
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
void zn_call_evaluate(struct zn_mesh *m, struct zn_call *c)
{
    if (c->held)
        return;
    if (c->state == ZN_CALL_OPEN && zn_is_client(m))
        client_evaluate(m, c);
    else if (c->state == ZN_CALL_OPEN)
        replica_evaluate(m, c);
    if (c->state == ZN_CALL_REPORTED && c->pending == 0)
        zn_call_finish(m, c);
}

static void emit_progress(struct zn_mesh *m, struct zn_call *c, int peer)
{
    /* After the completion nobody listens any more: the tag may be gone. */
    if (!c->progress || c->state == ZN_CALL_REPORTED || m->phase == ZN_PHASE_CLOSING)
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
    zn_call_evaluate(m, c);
}
