/* SPDX-License-Identifier: MIT */
/*
 * The failure detector: does a peer answer, and as fast as it used to?
 *
 * A ping leaves when nothing was heard for ZN_PING_US while an answer is due, and for each link at the
 * idle interval. Its pong is what is measured: it is made by the loop that runs the handlers. The good
 * path is up, ping, pong, up. Answers that come late against the peer's own history make it slow,
 * silence for its patience makes it suspect, for ZN_DOWN_PATIENCES of them down. Who is slow or suspect
 * is treated as one who is up. docs/failure-detector.md has the numbers and what proves them.
 *
 * That our own loop is late makes it patient with all (the strain); what is too much for that is
 * forgiven: it is not counted as silence of theirs.
 */
#include "core/core.h"

#include <assert.h>

/* ---- how long it takes to answer ---- */

static bool is_slow(const struct zn_rtt *r, uint64_t limit_us) { return r->smooth_us > limit_us; }

static uint32_t usual_us(const struct zn_rtt *r)
{
    return (uint32_t)(r->usual_sum_us / ZN_RTT_HISTORY);
}

static uint64_t slow_limit_us(const struct zn_rtt *r)
{
    uint64_t us = ZN_SLOW_FACTOR * (uint64_t)usual_us(r);
    return us > ZN_SLOW_MIN_US ? us : ZN_SLOW_MIN_US;
}

/* RFC 6298, section 2, with the gains that it gives. */
static void rtt_smooth(struct zn_rtt *r, uint32_t us)
{
    uint32_t off_us = us > r->smooth_us ? us - r->smooth_us : r->smooth_us - us;
    bool first = r->samples == 0;
    r->vary_us = first ? us / 2 : r->vary_us - r->vary_us / 4 + off_us / 4;
    r->smooth_us = first ? us : r->smooth_us - r->smooth_us / 8 + us / 8;
}

/* The mean of about the last ZN_RTT_HISTORY samples. The first few weigh more, since there are no
 * others yet, but not so much that one of them is the history. */
static void rtt_keep(struct zn_rtt *r, uint32_t us)
{
    if (r->samples < ZN_RTT_HISTORY)
        r->samples++;
    int64_t share = r->samples == 1 || r->samples > ZN_RTT_FEW ? r->samples : ZN_RTT_FEW;
    r->usual_sum_us += ((int64_t)us * ZN_RTT_HISTORY - r->usual_sum_us) / share;
}

/* It leaves `slow` at half of what took it there, so that it does not go to and fro. */
static void judge_speed(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t limit_us = slow_limit_us(&p->rtt);
    if (p->state == ZMQNET_UP && is_slow(&p->rtt, limit_us))
        zn_peer_move(m, peer, ZMQNET_SLOW, ZN_WHY_LATE);
    else if (p->state == ZMQNET_SLOW && !is_slow(&p->rtt, limit_us / 2))
        zn_peer_move(m, peer, ZMQNET_UP, ZN_WHY_NONE);
}

/* How late our own loop was of late: less and less so, the longer ago that is. */
static uint64_t strain_us(const struct zn_mesh *m)
{
    uint64_t ago_us = m->now_us - m->late_at_us;
    return ago_us < ZN_STRAIN_US ? m->late_us - m->late_us * ago_us / ZN_STRAIN_US : 0;
}

/* Whoever shares our machine, and perhaps our trouble, needs several turns of several threads to
 * answer, each of them as late as ours. */
static uint64_t allowance_us(const struct zn_mesh *m)
{
    uint64_t us = ZN_STRAIN_FACTOR * strain_us(m);
    return us < ZN_PATIENCE_MAX_US ? us : ZN_PATIENCE_MAX_US;
}

static uint64_t hello_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    return p->asked_us + ZN_HELLO_US + allowance_us(m);
}

/* How long nothing may be heard after a ping. One that was silent and came back gets more of it for
 * a while: what it did once it may do again. */
static uint64_t patience_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    bool again = p->returned_us != 0 && m->now_us - p->returned_us < ZN_RELAPSE_US;
    uint64_t least_us = again ? ZN_RELAPSE_FACTOR * ZN_PATIENCE_MIN_US : ZN_PATIENCE_MIN_US;
    uint64_t us = p->rtt.smooth_us + 4ull * p->rtt.vary_us;
    us = (us > least_us ? us : least_us) + allowance_us(m);
    return us < ZN_PATIENCE_MAX_US ? us : ZN_PATIENCE_MAX_US;
}

/* Compared with those before it. It counts for no more than the peer's patience: one stall shall not
 * put off that the next one is seen, several shall. */
static void sample(struct zn_mesh *m, int peer, uint64_t us)
{
    struct zn_rtt *r = &m->peers[peer].rtt;
    uint64_t most_us = patience_us(m, &m->peers[peer]);
    uint32_t sample_us = (uint32_t)(us < most_us ? us : most_us);
    rtt_smooth(r, sample_us);
    if (r->samples > 0)
        judge_speed(m, peer);
    rtt_keep(r, sample_us);
}

/* The pings that are out say no more about how fast it is. */
static void measure_anew(const struct zn_mesh *m, struct zn_peer *p)
{
    p->measured_from = p->ping_seq + 1;
    p->measured_us = m->now_us;
}

/* A pong tells that what was sent before the ping has been read. Not more than is unanswered is on its
 * way: a fast link carries much between two pongs. */
static uint64_t on_its_way(const struct zn_peer *p)
{
    uint64_t bytes = p->sent_bytes > p->read_bytes ? p->sent_bytes - p->read_bytes : 0;
    return bytes < p->flight.bytes ? bytes : p->flight.bytes;
}

/* How long the ping that is out may take only to get there. */
static uint64_t transfer_us(const struct zn_peer *p)
{
    return p->asked_bytes * ZN_SECOND / ZN_LINK_BYTES_PER_S;
}

void zn_peer_measure(struct zn_mesh *m, int peer, uint64_t ping_seq)
{
    struct zn_peer *p = &m->peers[peer];
    const struct zn_ping *ping = &p->pings[ping_seq % ZN_PINGS_KEPT];
    uint64_t late_us = m->late_sum_us - ping->late_us;
    if (zn_peer_is_up(p) && ping_seq >= p->measured_from)
        sample(m, peer, m->now_us - ping->at_us - late_us);
    if (p->read_bytes < ping->bytes)
        p->read_bytes = ping->bytes;
    measure_anew(m, p);
}

/* Only the first one: a peer that was restarted may have to wait until it is known to be no rival. And
 * not if our own loop stalled meanwhile. */
void zn_peer_measure_hello(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->rtt.samples == 0 && p->measured_from <= p->ping_seq)
        sample(m, peer, m->now_us - p->asked_us);
    measure_anew(m, p);
}

/* ---- when to ping ---- */

/* Nothing was heard since: else it lives, and the ping or its pong was lost or is on its way. */
static bool waits_for_pong(const struct zn_peer *p)
{
    return p->pinging && p->heard_us <= p->asked_us;
}

/* A mesh has n * (n - 1) links. They share a fixed number of pings, or a large mesh would do nothing
 * else. */
uint64_t zn_peer_idle_us(const struct zn_mesh *m)
{
    uint64_t share_us = (uint64_t)m->n * (m->n - 1) * ZN_SECOND / ZN_IDLE_PINGS_PER_SECOND;
    return share_us > ZN_PING_US ? share_us : ZN_PING_US;
}

/* A request is out: whether it will be answered must show soon. */
static bool is_busy(const struct zn_peer *p) { return p->flight.n + p->queue.n > 0; }

static uint64_t pinged_us(const struct zn_peer *p)
{
    return p->pings[p->ping_seq % ZN_PINGS_KEPT].at_us;
}

/* Peers are pinged together, so that one wake-up serves several. */
static uint64_t measure_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    uint64_t idle_us = zn_peer_idle_us(m), together_us = idle_us / 8;
    uint64_t at_us = p->measured_us + idle_us;
    return idle_us == ZN_PING_US ? at_us : at_us / together_us * together_us;
}

/* In lock step a ping takes the place of the answer that is awaited: only silence is worth that. */
static uint64_t ping_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    uint64_t quiet_us = p->heard_us + ZN_PING_US;
    uint64_t other_us = measure_at_us(m, p);
    if (p->pinging)
        other_us = pinged_us(p) + ZN_DOWN_PATIENCES * patience_us(m, p);
    else if (!is_busy(p))
        return other_us;
    else if (m->limits.lock_step)
        return quiet_us;
    return quiet_us < other_us ? quiet_us : other_us;
}

static bool is_well(const struct zn_peer *p)
{
    return p->state == ZMQNET_UP || p->state == ZMQNET_SLOW;
}

static uint64_t down_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    return p->asked_us + ZN_DOWN_PATIENCES * patience_us(m, p) + transfer_us(p);
}

/* The next thing to do about a pong that does not come: suspect it, ask once more, or give it up. A
 * ping or its pong can be lost alone; but in lock step another one gives up the answer that may be on
 * its way, and a request to the original program is no ping that could be repeated. */
static uint64_t overdue_at_us(const struct zn_mesh *m, const struct zn_peer *p)
{
    uint64_t down_us = down_at_us(m, p),
             next_us = pinged_us(p) + patience_us(m, p) + transfer_us(p);
    bool asks_again = p->state == ZMQNET_SUSPECT && !p->original &&
                      (!m->limits.lock_step || pinged_us(p) == p->asked_us);
    return (is_well(p) || asks_again) && next_us < down_us ? next_us : down_us;
}

/* Nobody is accused by one look: had our own loop not run for a while, what came meanwhile may not
 * have been read yet. So the timer fires a moment before the deadline too, only to have run then; the
 * sockets are read once more before it fires again. */
static bool was_looked(const struct zn_peer *p, uint64_t deadline_us)
{
    return p->looked_us + ZN_LOOK_US >= deadline_us;
}

static uint64_t look_at_us(const struct zn_peer *p, uint64_t deadline_us)
{
    uint64_t again_us = p->looked_us + ZN_LOOK_US;
    if (!was_looked(p, deadline_us))
        return deadline_us - ZN_LOOK_US;
    return again_us > deadline_us ? again_us : deadline_us;
}

/* Is the deadline over, and was it looked before? If not, the timer is set. */
static bool is_over(struct zn_mesh *m, int peer, uint64_t deadline_us)
{
    struct zn_peer *p = &m->peers[peer];
    bool due = m->now_us >= look_at_us(p, deadline_us);
    if (due && was_looked(p, deadline_us))
        return true;
    if (due)
        p->looked_us = m->now_us;
    zn_peer_update_timer(m, peer);
    return false;
}

/* The original program is not pinged: a request is what it answers. */
void zn_peer_update_timer(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    switch (p->greeting) {
    case ZN_GREET_NO_LINK: zn_timer_clear(&m->heap, &p->timer); return;
    case ZN_GREET_ASKED:
        zn_timer_set(&m->heap, &p->timer, look_at_us(p, hello_at_us(m, p)));
        return;
    case ZN_GREET_DONE: break;
    case ZN_GREETINGS: assert(false);
    }
    if (p->original && !p->pinging)
        zn_timer_clear(&m->heap, &p->timer);
    else if (waits_for_pong(p))
        zn_timer_set(&m->heap, &p->timer, look_at_us(p, overdue_at_us(m, p)));
    else
        zn_timer_set(&m->heap, &p->timer, ping_at_us(m, p));
}

void zn_peer_asked(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t at_us = m->now_us + ZN_PING_US;
    if (p->timer.at_us > at_us && zn_timer_is_set(&p->timer) && !waits_for_pong(p))
        zn_timer_set(&m->heap, &p->timer, at_us);
}

/* ---- ping and pong ---- */

static void emit_ping(struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    if (p->blocked || p->original)
        return;
    struct zn_msg msg = zn_message(m, ZN_BOUNCE, ZN_PING);
    msg.life = m->life;
    msg.id.seq = p->ping_seq;
    zn_send_now(m, peer, &msg);
}

static void send_ping(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->pinging = true;
    p->ping_seq++;
    p->pings[p->ping_seq % ZN_PINGS_KEPT] =
        (struct zn_ping){m->now_us, m->late_sum_us, p->sent_bytes};
    if (p->asked_bytes < on_its_way(p))
        p->asked_bytes = on_its_way(p);
    zn_peer_update_timer(m, peer);
    zn_rows_update_sendable(m, peer);
    emit_ping(m, peer);
}

void zn_peer_ping(struct zn_mesh *m, int peer)
{
    m->peers[peer].asked_us = m->now_us;
    m->peers[peer].asked_bytes = 0;
    send_ping(m, peer);
}

/* How long it is waited for counts from when it was to leave: one that never leaves is silence too. */
void zn_peer_ping_again(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->measured_from = p->ping_seq + 1;
    emit_ping(m, peer);
}

/* In lock step the ping came in between: the answers to what was asked before it are lost. */
static void ask_on(struct zn_mesh *m, int peer)
{
    zn_rows_resend(m, peer);
    zn_rows_update_sendable(m, peer);
    if (m->peers[peer].asked_again)
        zn_peer_say_hello(m, peer);
}

void zn_peer_pong(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    if (!p->pinging || p->ping_seq - msg->id.seq >= ZN_PINGS_KEPT)
        return;
    zn_peer_measure(m, peer, msg->id.seq);
    if (msg->id.seq != p->ping_seq)
        return;
    p->pinging = false;
    zn_peer_update_timer(m, peer);
    if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_LEFT)
        zn_peer_move(m, peer, ZMQNET_UP, ZN_WHY_NONE); /* the bye was not its own */
    if (p->rival.route && p->ping_seq < p->rival_seq) {
        zn_peer_ping(m, peer);
        return;
    }
    if (p->rival.route && msg->life == p->life)
        zn_peer_rival_refuse(m, peer);
    if (m->limits.lock_step)
        ask_on(m, peer);
}

/* ---- silence, and its end ---- */

/* Heard again after it was down. What it was late with until now was late for that reason. */
static void come_back(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->returned_us = m->now_us;
    p->rtt.smooth_us = usual_us(&p->rtt);
    measure_anew(m, p);
    zn_peer_move(m, peer, ZMQNET_UP, ZN_WHY_NONE);
    zn_calls_assign(m);
}

void zn_peer_heard(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    bool waited = waits_for_pong(p);
    p->heard_us = m->now_us;
    if (p->state == ZMQNET_SUSPECT)
        zn_peer_move(m, peer, ZMQNET_SLOW, ZN_WHY_LATE);
    else if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_SILENT && p->greeting == ZN_GREET_DONE)
        come_back(m, peer);
    if (waited)
        zn_peer_update_timer(m, peer);
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

static void pong_is_overdue(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (m->now_us >= down_at_us(m, p)) {
        silent(m, peer);
        return;
    }
    if (is_well(p))
        zn_peer_move(m, peer, ZMQNET_SUSPECT, ZN_WHY_SILENT);
    if (p->original)
        zn_peer_update_timer(m, peer);
    else
        send_ping(m, peer);
}

void zn_peer_tick(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->greeting == ZN_GREET_ASKED) {
        if (is_over(m, peer, hello_at_us(m, p)))
            zn_peer_reset_link(m, peer, ZN_WHY_NO_HELLO);
    } else if (waits_for_pong(p)) {
        if (is_over(m, peer, overdue_at_us(m, p)))
            pong_is_overdue(m, peer);
    } else if (m->now_us >= ping_at_us(m, p)) {
        zn_peer_ping(m, peer);
    } else {
        zn_peer_update_timer(m, peer);
    }
}

/* ---- our own health ---- */

static void forgive(const struct zn_mesh *m, uint64_t *at_us, uint64_t late_us)
{
    *at_us = *at_us + late_us < m->now_us ? *at_us + late_us : m->now_us;
}

static void forgive_peer(const struct zn_mesh *m, struct zn_peer *p, uint64_t late_us)
{
    forgive(m, &p->heard_us, late_us);
    forgive(m, &p->asked_us, late_us);
    for (int k = 0; k < ZN_PINGS_KEPT; k++)
        forgive(m, &p->pings[k].at_us, late_us);
}

/* The latest lateness counts, unless what is left of an earlier one is more. */
static void strain(struct zn_mesh *m, uint64_t late_us)
{
    if (late_us < strain_us(m))
        return;
    m->late_us = late_us < ZN_STRAIN_US ? late_us : ZN_STRAIN_US;
    m->late_at_us = m->now_us;
}

/* With many calls open some timer is due at the start of every turn: to forgive all lateness would be
 * to count no silence at all. What was asked before a stall is not measured: the answer may have
 * waited for us, or the ping too. */
void zn_peers_forgive(struct zn_mesh *m, uint64_t before_us)
{
    uint64_t due_us = zn_heap_next_us(&m->heap);
    uint64_t from_us = due_us > before_us ? due_us : before_us;
    if (from_us >= m->now_us || m->now_us - from_us < ZN_LATE_US)
        return;
    zn_count(m, ZN_COUNT_loop_late);
    uint64_t late_us = m->now_us - from_us;
    uint64_t kept_us = late_us < ZN_FORGIVE_US ? late_us : ZN_FORGIVE_US;
    strain(m, late_us);
    m->late_sum_us += kept_us;
    for (int i = 0; i < (int)m->n; i++) {
        struct zn_peer *p = &m->peers[i];
        if (p->greeting == ZN_GREET_NO_LINK)
            continue;
        forgive_peer(m, p, late_us - kept_us);
        if (late_us >= ZN_STALL_US)
            p->measured_from = p->ping_seq + 1;
        zn_peer_update_timer(m, i);
    }
}
