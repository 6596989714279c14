/* SPDX-License-Identifier: MIT */
/*
 * The state of each peer, and what its link does to it.
 *
 * Two things are kept apart. The greeting is about our link: NO_LINK, ASKED (our hello is out), DONE
 * (theirs has come: requests may leave); hello.c has the words. The state is what the user sees:
 * connecting, up, slow, suspect, down; detector.c moves it by what is heard. Good path: link up, hello
 * out, hello in, up.
 *
 * Down means: the connection failed, or the peer is silent though we asked, or it said bye. A lost
 * connection alone is "connecting": the next try tells within a moment.
 */
#include "core/core.h"

#include <assert.h>

/* For so long what a hello on our port said of its pattern explains why our own link fails. */
#define MISFIT_US (5 * ZN_SECOND)

#define TO(state) (1u << ZMQNET_##state)
static const unsigned moves[] = {
    [ZMQNET_CONNECTING] = TO(UP) | TO(DOWN),
    [ZMQNET_UP] = TO(SLOW) | TO(SUSPECT) | TO(CONNECTING) | TO(DOWN),
    [ZMQNET_SLOW] = TO(UP) | TO(SUSPECT) | TO(CONNECTING) | TO(DOWN),
    [ZMQNET_SUSPECT] = TO(SLOW) | TO(CONNECTING) | TO(DOWN),
    [ZMQNET_DOWN] = TO(UP),
    [ZMQNET_LOCAL] = 0,
};

void zn_peer_move(struct zn_mesh *m, int peer, enum zmqnet_state to, enum zn_why why)
{
    static const enum zn_note_id notes[] = {
        [ZMQNET_CONNECTING] = ZN_NOTE_PEER_CONNECTING,
        [ZMQNET_UP] = ZN_NOTE_PEER_UP,
        [ZMQNET_SLOW] = ZN_NOTE_PEER_SLOW,
        [ZMQNET_SUSPECT] = ZN_NOTE_PEER_SUSPECT,
        [ZMQNET_DOWN] = ZN_NOTE_PEER_DOWN,
    };
    struct zn_peer *p = &m->peers[peer];
    p->why = why;
    if (p->state == to)
        return;
    assert(moves[p->state] & (1u << to));
    p->state = to;
    p->since_us = m->now_us;
    zn_note_peer(m, notes[to], peer, why);
}

void zn_peer_down(struct zn_mesh *m, int peer, enum zn_why why)
{
    zn_peer_move(m, peer, ZMQNET_DOWN, why);
    zn_rows_peer_down(m, peer, why);
    if (m->peers[peer].rival.route)
        zn_peer_rival_accept(m, peer);
}

static void greeting_move(struct zn_mesh *m, int peer, enum zn_greeting to)
{
    static const bool allowed[ZN_GREETINGS][ZN_GREETINGS] = {
        [ZN_GREET_NO_LINK] = {[ZN_GREET_NO_LINK] = true, [ZN_GREET_ASKED] = true},
        [ZN_GREET_ASKED] = {[ZN_GREET_NO_LINK] = true, [ZN_GREET_DONE] = true},
        [ZN_GREET_DONE] = {[ZN_GREET_NO_LINK] = true},
    };
    struct zn_peer *p = &m->peers[peer];
    assert(allowed[p->greeting][to]);
    p->greeting = to;
    p->pinging = p->asked_again = false;
    p->original = p->original && to == ZN_GREET_DONE;
    zn_rows_update_sendable(m, peer);
    zn_peer_update_timer(m, peer);
}

void zn_peer_open(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->name = m->peer_file->replicas[peer].name;
    p->state = peer == m->self ? ZMQNET_LOCAL : ZMQNET_CONNECTING;
    p->why = peer == m->self ? ZN_WHY_NONE : ZN_WHY_CONNECTING;
    p->since_us = m->now_us;
    p->answers = (struct zn_answers){ZN_NONE, ZN_NONE};
    zn_row_list_init(&p->queue);
    zn_row_list_init(&p->flight);
    zn_timer_init(&p->timer, ZN_TAG_PEER | (uint32_t)peer);
}

void zn_peer_want(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->wanted)
        return;
    p->wanted = true;
    zn_emit(m, ZN_ACT_WANT)->peer = peer;
}

const char *zn_peer_cause(const struct zn_mesh *m, int peer, enum zn_why why)
{
    bool known = why == ZN_WHY_PATTERN && peer >= 0 && m->peers[peer].patterns[0] != '\0';
    return known ? m->peers[peer].patterns : zn_why_text(why);
}

bool zn_peer_is_asked(const struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    return m->limits.lock_step && (p->pinging || p->asked_again);
}

/* ---- our link ---- */

void zn_peer_link_up(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->blocked = false;
    p->asked_us = m->now_us;
    p->read_bytes = p->sent_bytes;  /* nothing is under way on a new link */
    p->measured_from = p->ping_seq; /* until our own loop stalls */
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    greeting_move(m, peer, ZN_GREET_ASKED);
    zn_peer_say_hello(m, peer);
}

void zn_peer_link_lost(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    if (zn_peer_is_up(p))
        zn_peer_move(m, peer, ZMQNET_CONNECTING, ZN_WHY_RESET);
    zn_rows_link_lost(m, peer);
    if (p->rival.route)
        zn_peer_rival_accept(m, peer);
}

/* A peer of another pattern may not listen where we look for it: what it said on our port tells more. */
void zn_peer_link_failed(struct zn_mesh *m, int peer, enum zn_why why)
{
    const struct zn_peer *p = &m->peers[peer];
    bool misfit = p->misfit_us != 0 && m->now_us - p->misfit_us < MISFIT_US;
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    zn_peer_down(m, peer, misfit ? ZN_WHY_PATTERN : why);
}

void zn_peer_link_gap(struct zn_mesh *m, int peer)
{
    zn_count(m, ZN_COUNT_gap_reported);
    if (m->peers[peer].asked_again)
        zn_peer_say_hello(m, peer);
    zn_rows_resend(m, peer);
}

/* Give up this link: what it is worth has been seen. */
void zn_peer_reset_link(struct zn_mesh *m, int peer, enum zn_why why)
{
    zn_emit(m, ZN_ACT_RESET)->peer = peer;
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    zn_peer_down(m, peer, why);
}

void zn_peer_refuse_link(struct zn_mesh *m, int peer, enum zn_why fault)
{
    bool clash = fault == ZN_WHY_CLASH;
    zn_count(m, ZN_COUNT_hello_refused);
    zn_note_peer(m, clash ? ZN_NOTE_NAME_CLASH : ZN_NOTE_HELLO_REFUSED, peer, fault);
    zn_peer_reset_link(m, peer, fault);
}

/* Returns whether it was restarted. */
static bool life_learn(struct zn_mesh *m, int peer, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    bool restarted = p->life != 0 && p->life != life && !p->original;
    if (p->life == life)
        return false;
    if (restarted)
        zn_note_peer(m, ZN_NOTE_PEER_RESTARTED, peer, ZN_WHY_RESTARTED);
    p->life = life;
    p->returned_us = 0;
    if (p->in_life != life)
        p->in_connection = 0;
    return restarted;
}

void zn_peer_greeted(struct zn_mesh *m, int peer, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    bool restarted = life_learn(m, peer, life);
    if (!restarted && p->state == ZMQNET_DOWN && p->why == ZN_WHY_SILENT)
        p->returned_us = m->now_us;
    zn_peer_measure_hello(m, peer);
    greeting_move(m, peer, ZN_GREET_DONE);
    zn_peer_move(m, peer, ZMQNET_UP, restarted ? ZN_WHY_RESTARTED : ZN_WHY_NONE);
    zn_rows_peer_greeted(m, peer);
    zn_calls_assign(m);
}

/* It takes frames again. A hello or ping that is out may be one that was not taken. */
void zn_peer_writable(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (!p->blocked)
        return;
    p->blocked = false;
    zn_rows_update_sendable(m, peer);
    if (p->greeting == ZN_GREET_ASKED || p->asked_again)
        zn_peer_say_hello(m, peer);
    else if (p->pinging)
        zn_peer_ping_again(m, peer);
}
