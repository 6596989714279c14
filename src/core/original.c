/* SPDX-License-Identifier: MIT */
/*
 * A peer that is the original program, which knows three fields: it answers whatever it is asked with
 * an "ACK" that has neither kind nor id. Only in lock step is it certain what such an answer is to.
 *
 * It is known by its answer to our hello. It has no lives that we could learn, so each connection is
 * taken for one; no dedup, so nothing is sent to it twice unless that does no harm; and no ping, so
 * a request is what shows whether it answers: until then nothing else is sent to it.
 *
 * Without lock step such a peer is refused. Its handler sees our hello as a message without a text.
 * Bytes that are not text would end it.
 */
#include "base/parse.h"
#include "core/core.h"

static void answered(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    if (!p->pinging) {
        zn_count_bad(m, ZN_COUNT_unasked_reply, peer);
        return;
    }
    p->pinging = false;
    zn_peer_measure(m, peer, p->ping_seq);
    zn_peer_update_timer(m, peer);
    zn_rows_update_sendable(m, peer);
    if (p->flight.n == 0) {
        zn_count(m, ZN_COUNT_late_reply);
        p->late++;
        return;
    }
    struct zn_call *c = zn_row_call(m, p->flight.rows.head);
    struct zn_row *r = zn_call_row(m, c, peer);
    bool refused = msg->type == ZN_ERROR;
    enum zn_why why = refused ? zn_call_keep_reply(m, c, r, msg->body) : ZN_WHY_NONE;
    r->code = refused ? 1 : 0;
    zn_row_settle(m, c, peer, refused ? ZMQNET_REFUSED : ZMQNET_ACKED, why);
}

void zn_original_answer(struct zn_mesh *m, int peer, struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->greeting == ZN_GREET_ASKED && !m->limits.lock_step) {
        zn_peer_refuse_link(m, peer, ZN_WHY_ORIGINAL);
    } else if (p->greeting == ZN_GREET_ASKED) {
        p->original = true;
        zn_peer_greeted(m, peer, zn_rand_u64(&m->rand) | 1);
    } else if (p->original) {
        answered(m, peer, msg);
    } else {
        zn_count_bad(m, ZN_COUNT_unknown_kind, peer);
    }
}

/* A request takes the place of the ping. */
void zn_original_asked(struct zn_mesh *m, int peer) { zn_peer_ping(m, peer); }

void zn_original_not_asked(struct zn_mesh *m, int peer)
{
    m->peers[peer].pinging = false;
    zn_peer_update_timer(m, peer);
}

bool zn_original_takes(struct zn_mesh *m, struct zn_call *c, int peer)
{
    if (zn_utf8_valid(zn_blob_data(c->body), zn_blob_bytes(c->body)))
        return true;
    zn_row_give_up(m, c, peer, ZN_WHY_NOT_TEXT);
    return false;
}
