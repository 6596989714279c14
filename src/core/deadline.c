/* SPDX-License-Identifier: MIT */
/*
 * Time in the life of a call: attempts, the deadline, and the end of the node.
 *
 * Attempt k+1 begins k shares of the time after the first, plus a back-off that doubles, with jitter.
 * The deadline is fixed at the beginning; a resend never moves it. At the deadline every row that is not
 * settled gets its last outcome: never sent, or unknown.
 */
#include "core/core.h"

void zn_call_arm(struct zn_mesh *m, struct zn_call *c)
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

void zn_call_next_retry(struct zn_mesh *m, struct zn_call *c)
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

static enum zn_why why_unsent(const struct zn_peer *p)
{
    return zn_peer_is_up(p) ? ZN_WHY_NO_TURN : p->why;
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
void zn_call_settle_all(struct zn_mesh *m, struct zn_call *c, enum zn_why why)
{
    c->held = true;
    if (c->state == ZN_CALL_SELF) {
        zn_row_settle(m, c, m->self, ZMQNET_UNACKED, why);
        zn_call_move(c, ZN_CALL_OPEN);
    }
    for (int p = 0; p < (int)m->n; p++) {
        if (!is_member(m, c, p) || zn_call_track(m, c, p)->state == ZN_ROW_SETTLED)
            continue;
        zn_row_give_up(m, c, p, why_given_up(m, c, p, why));
    }
    c->held = false;
    zn_call_evaluate(m, c);
}

static void call_expire(struct zn_mesh *m, struct zn_call *c, enum zn_why why)
{
    if (zn_is_client(m) && c->via < 0) {
        c->pending = 0; /* it never had a coordinator, so there is no row to settle */
        zn_call_evaluate(m, c);
    } else {
        zn_call_settle_all(m, c, why);
    }
}

void zn_call_drop_wire(struct zn_call *c)
{
    zn_blob_drop(&c->wire);
    c->lives_n = 0;
}

/* Put what was sent and not answered into the queues again. The original program would run it again,
 * and only its connection can lose what it answers. */
static void resend(struct zn_mesh *m, struct zn_call *c, bool only_refused)
{
    zn_call_drop_wire(c);
    for (int p = 0; p < (int)m->n; p++) {
        const struct zn_track *t = zn_call_track(m, c, p);
        bool asks = !only_refused || t->not_run;
        if (t->state == ZN_ROW_SENT && asks && !m->peers[p].original)
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
        zn_call_evaluate(m, c);
        c->look_us = UINT64_MAX;
    }
    if (m->now_us >= c->retry_us) {
        c->attempt++;
        zn_call_next_retry(m, c);
        resend(m, c, false);
    }
    zn_call_arm(m, c);
}

void zn_calls_close(struct zn_mesh *m)
{
    zn_mesh_enter(m, ZN_PHASE_CLOSING);
    for (uint32_t i = 0; i < m->calls_fresh; i++) {
        struct zn_call *c = &m->calls[i];
        if (c->state != ZN_CALL_FREE && c->pending > 0)
            call_expire(m, c, ZN_WHY_CLOSING);
    }
}
