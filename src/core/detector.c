/* SPDX-License-Identifier: MIT */
/*
 * Does a peer answer? A ping whenever nothing was heard for ZN_PING_US while an answer is due, or for
 * the longer idle interval; one that is not answered for ZN_SILENT_US makes the peer down.
 */
#include "core/core.h"

#include <assert.h>

void zn_peer_rtt_sample(struct zn_peer *p, uint64_t rtt_us)
{
    uint32_t sample = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX;
    p->rtt_us = p->rtt_us == 0 ? sample : p->rtt_us - p->rtt_us / 8 + sample / 8;
}

/* Whatever was heard since the ping shows that it lives: the ping or its answer was lost. */
static bool waits_for_pong(const struct zn_peer *p)
{
    return p->pinging && p->heard_us <= p->asked_us;
}

/* A mesh has n * (n - 1) links. Those that are idle share a fixed number of pings, or a large mesh
 * would do nothing else. */
static uint64_t idle_interval_us(const struct zn_mesh *m)
{
    uint64_t share_us = (uint64_t)m->n * (m->n - 1) * ZN_SECOND / ZN_IDLE_PINGS_PER_SECOND;
    return share_us > ZN_PING_US ? share_us : ZN_PING_US;
}

/* A request is out: whether it will be answered must show soon. */
static bool is_busy(const struct zn_peer *p) { return p->flight.n + p->queue.n > 0; }

/* Idle peers are pinged together, so that one wake-up serves several. */
static uint64_t ping_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    uint64_t idle_us = idle_interval_us(m), together_us = idle_us / 8;
    if (is_busy(p) || idle_us == ZN_PING_US)
        return p->heard_us + ZN_PING_US;
    return (p->heard_us + idle_us) / together_us * together_us;
}

/* The original program is not pinged: a request is what it answers. */
void zn_peer_update_timer(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    switch (p->greeting) {
    case ZN_GREET_NO_LINK: zn_timer_clear(&m->heap, &p->timer); return;
    case ZN_GREET_ASKED: zn_timer_set(&m->heap, &p->timer, p->asked_us + ZN_HELLO_US); return;
    case ZN_GREET_DONE: break;
    case ZN_GREETINGS: assert(false);
    }
    if (p->original && !p->pinging) {
        zn_timer_clear(&m->heap, &p->timer);
        return;
    }
    bool waits = waits_for_pong(p);
    zn_timer_set(&m->heap, &p->timer, waits ? p->asked_us + ZN_SILENT_US : ping_at_us(m, p));
}

void zn_peer_asked(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t at_us = m->now_us + ZN_PING_US;
    if (p->timer.at_us > at_us && zn_timer_is_set(&p->timer) && !waits_for_pong(p))
        zn_timer_set(&m->heap, &p->timer, at_us);
}

/* In lock step the ping came in between: the answers to what was asked before it are lost. */
static void ask_on(struct zn_mesh *m, int peer)
{
    zn_rows_resend(m, peer);
    zn_rows_update_sendable(m, peer);
    if (m->peers[peer].asked_again)
        zn_peer_say_hello(m, peer);
}

void zn_peer_heard(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    bool waited = waits_for_pong(p);
    p->heard_us = m->now_us;
    if (waited)
        zn_peer_update_timer(m, peer);
    if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_SILENT && p->greeting == ZN_GREET_DONE) {
        zn_peer_move(m, peer, ZMQNET_UP, ZN_WHY_NONE);
        zn_calls_assign(m);
    }
}

void zn_peer_pong(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    if (!p->pinging || msg->id.seq != p->ping_seq)
        return;
    zn_peer_rtt_sample(p, m->now_us - p->asked_us);
    p->pinging = false;
    zn_peer_update_timer(m, peer);
    if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_LEFT)
        zn_peer_move(m, peer, ZMQNET_UP, ZN_WHY_NONE); /* the bye was not its own */
    if (p->rival.route && msg->life == p->life)
        zn_peer_rival_refuse(m, peer);
    if (m->limits.lock_step)
        ask_on(m, peer);
}

void zn_peer_ping(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->pinging = true;
    p->asked_us = m->now_us;
    p->ping_seq++;
    zn_peer_update_timer(m, peer);
    zn_rows_update_sendable(m, peer);
    if (p->blocked || p->original)
        return;
    struct zn_msg msg = zn_message(m, ZN_BOUNCE, ZN_PING);
    msg.life = m->life;
    msg.id.seq = p->ping_seq;
    zn_send_now(m, peer, &msg);
}

/* A peer that asks us on its own link lives, so it is ours that is broken. */
static void silent(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t since_us = p->state == ZMQNET_DOWN ? p->since_us : p->asked_us;
    bool lives = p->in_connection != 0 && p->in_heard_us > since_us;
    if (lives) {
        zn_peer_reset_link(m, peer, ZN_WHY_SILENT);
        return;
    }
    zn_peer_down(m, peer, ZN_WHY_SILENT);
    zn_peer_ping(m, peer);
}

void zn_peer_tick(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t quiet_us = m->now_us - p->heard_us;
    if (p->greeting == ZN_GREET_ASKED)
        zn_peer_reset_link(m, peer, ZN_WHY_NO_HELLO);
    else if (!waits_for_pong(p) && m->now_us >= ping_at_us(m, p))
        zn_peer_ping(m, peer);
    else if (waits_for_pong(p) && quiet_us >= ZN_SILENT_US)
        silent(m, peer);
    else
        zn_peer_update_timer(m, peer);
}

void zn_peers_forgive(struct zn_mesh *m, uint64_t gap_us)
{
    for (int i = 0; i < (int)m->n; i++) {
        struct zn_peer *p = &m->peers[i];
        if (p->greeting == ZN_GREET_NO_LINK)
            continue;
        p->heard_us = p->heard_us + gap_us < m->now_us ? p->heard_us + gap_us : m->now_us;
        p->asked_us = p->asked_us + gap_us < m->now_us ? p->asked_us + gap_us : m->now_us;
        zn_peer_update_timer(m, i);
    }
}
