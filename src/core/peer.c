/* SPDX-License-Identifier: MIT */
/*
 * What is known of each peer: whether there is a link, whether it has said hello there, which life it
 * is in, and whether it answers.
 *
 * Two things are kept apart. The greeting is about our link: NO_LINK, ASKED (our hello is out), DONE
 * (theirs has come: requests may leave). The state is what the user sees: connecting, up, down.
 * Good path: link up, hello out, hello in, up; then a ping whenever nothing was heard for ZN_PING_US
 * while an answer is due, or for the longer idle interval.
 *
 * Down means: the connection failed, or nothing was heard on our link for ZN_SILENT_US though we
 * asked, or it said bye. A lost connection alone is "connecting": the next try tells within a moment.
 *
 * The hello on our own port names the caller. A second life under a name whose first life still
 * answers on our link is a rival: it waits, unanswered, until a pong has proved that the first one
 * lives (then it is refused) or the link has broken (then it is the new one).
 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

/* For so long what a hello on our port said of its pattern explains why our own link fails. */
#define MISFIT_US (5 * ZN_SECOND)

static const bool moves[ZMQNET_LOCAL + 1][ZMQNET_LOCAL + 1] = {
    [ZMQNET_CONNECTING] = {[ZMQNET_UP] = true, [ZMQNET_DOWN] = true},
    [ZMQNET_UP] = {[ZMQNET_CONNECTING] = true, [ZMQNET_DOWN] = true},
    [ZMQNET_DOWN] = {[ZMQNET_UP] = true},
};

static void state_move(struct zn_mesh *m, int peer, enum zmqnet_state to, enum zn_why why)
{
    static const enum zn_note_id notes[] = {
        [ZMQNET_CONNECTING] = ZN_NOTE_PEER_CONNECTING,
        [ZMQNET_UP] = ZN_NOTE_PEER_UP,
        [ZMQNET_DOWN] = ZN_NOTE_PEER_DOWN,
    };
    struct zn_peer *p = &m->peers[peer];
    p->why = why;
    if (p->state == to)
        return;
    assert(moves[p->state][to]);
    p->state = to;
    p->since_us = m->now_us;
    zn_note_peer(m, notes[to], peer, why);
}

static void rival_accept(struct zn_mesh *m, int peer);

static void peer_down(struct zn_mesh *m, int peer, enum zn_why why)
{
    state_move(m, peer, ZMQNET_DOWN, why);
    zn_rows_peer_down(m, peer, why);
    if (m->peers[peer].rival.route)
        rival_accept(m, peer);
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
    p->why = ZN_WHY_CONNECTING;
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

/* ---- our link ---- */

static void say_hello(struct zn_mesh *m, int peer)
{
    struct zn_msg hello = zn_message(m, ZN_BOUNCE, ZN_HELLO);
    hello.life = m->life;
    hello.version = ZN_PROTOCOL_VERSION;
    hello.peers_hash = m->peer_file->hash;
    hello.pattern = m->pattern;
    hello.target = m->peers[peer].name;
    zn_send_now(m, peer, &hello);
}

/* It has lost our hello. */
void zn_peer_hello_again(struct zn_mesh *m, int peer)
{
    if (m->peers[peer].asked_again)
        return;
    m->peers[peer].asked_again = true;
    zn_rows_update_sendable(m, peer);
    say_hello(m, peer);
}

void zn_peer_link_up(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    p->blocked = false;
    p->asked_us = m->now_us;
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    greeting_move(m, peer, ZN_GREET_ASKED);
    say_hello(m, peer);
}

void zn_peer_link_lost(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    if (p->state == ZMQNET_UP)
        state_move(m, peer, ZMQNET_CONNECTING, ZN_WHY_RESET);
    zn_rows_link_lost(m, peer);
    if (p->rival.route)
        rival_accept(m, peer);
}

/* A peer of another pattern may not listen where we look for it: what it said on our port tells more. */
void zn_peer_link_failed(struct zn_mesh *m, int peer, enum zn_why why)
{
    const struct zn_peer *p = &m->peers[peer];
    bool misfit = p->misfit_us != 0 && m->now_us - p->misfit_us < MISFIT_US;
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    peer_down(m, peer, misfit ? ZN_WHY_PATTERN : why);
}

void zn_peer_link_gap(struct zn_mesh *m, int peer)
{
    zn_count(m, ZN_COUNT_gap_reported);
    if (m->peers[peer].asked_again)
        say_hello(m, peer);
    zn_rows_resend(m, peer);
}

/* Give up this link: what it is worth has been seen. */
static void link_reset(struct zn_mesh *m, int peer, enum zn_why why)
{
    zn_emit(m, ZN_ACT_RESET)->peer = peer;
    greeting_move(m, peer, ZN_GREET_NO_LINK);
    peer_down(m, peer, why);
}

/* What a refusal of our hello says. */
static enum zn_why refusal_why(int code)
{
    switch (code) {
    case ZMQNET_EVERSION: return ZN_WHY_VERSION;
    case ZMQNET_EPATTERN: return ZN_WHY_PATTERN;
    case ZMQNET_ECLASH: return ZN_WHY_CLASH;
    case ZMQNET_ENAME: return ZN_WHY_NAME;
    case ZMQNET_ENOPEER: return ZN_WHY_STRANGER;
    default: return ZN_WHY_REJECTED;
    }
}

static bool pattern_fits(const struct zn_mesh *m, const char *pattern)
{
    return strcmp(pattern, m->pattern) == 0 ||
           (m->pattern_too && strcmp(pattern, m->pattern_too) == 0);
}

static void misfit_keep(struct zn_mesh *m, int peer, const char *pattern)
{
    struct zn_peer *p = &m->peers[peer];
    const char *const words[] = {p->name,   " speaks ",   pattern[0] ? pattern : "no pattern",
                                 ", ",      m->self_name, " speaks ",
                                 m->pattern};
    size_t at = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]), room = sizeof p->patterns - 1 - at;
        n = n < room ? n : room;
        memcpy(p->patterns + at, words[i], n);
        at += n;
    }
    p->patterns[at] = '\0';
}

const char *zn_peer_cause(const struct zn_mesh *m, int peer, enum zn_why why)
{
    bool known = why == ZN_WHY_PATTERN && peer >= 0 && m->peers[peer].patterns[0] != '\0';
    return known ? m->peers[peer].patterns : zn_why_text(why);
}

static enum zn_why hello_fault(const struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    if (msg->life == m->life)
        return ZN_WHY_OURSELVES;
    if (msg->code != 0)
        return refusal_why(msg->code);
    if (strcmp(msg->sender, m->peers[peer].name) != 0)
        return ZN_WHY_NAME;
    if (msg->version != ZN_PROTOCOL_VERSION || msg->life == 0)
        return ZN_WHY_VERSION;
    if (!zn_is_client(m) && !pattern_fits(m, msg->pattern))
        return ZN_WHY_PATTERN;
    return ZN_WHY_NONE;
}

static void config_compare(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    bool differs = msg->peers_hash != m->peer_file->hash;
    if (differs && !p->config_differs) {
        zn_count(m, ZN_COUNT_config_differs);
        zn_note_hello(m, ZN_NOTE_CONFIG_DIFFERS, peer, ZN_WHY_NONE);
    }
    p->config_differs = differs;
}

static void life_learn(struct zn_mesh *m, int peer, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->life == life)
        return;
    if (p->life != 0 && !p->original)
        zn_note_peer(m, ZN_NOTE_PEER_RESTARTED, peer, ZN_WHY_RESTARTED);
    p->life = life;
    if (p->in_life != life)
        p->in_connection = 0;
}

static void rtt_sample(struct zn_peer *p, uint64_t rtt_us)
{
    uint32_t sample = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX;
    p->rtt_us = p->rtt_us == 0 ? sample : p->rtt_us - p->rtt_us / 8 + sample / 8;
}

void zn_peer_refuse_link(struct zn_mesh *m, int peer, enum zn_why fault)
{
    bool clash = fault == ZN_WHY_CLASH;
    zn_count(m, ZN_COUNT_hello_refused);
    zn_note_peer(m, clash ? ZN_NOTE_NAME_CLASH : ZN_NOTE_HELLO_REFUSED, peer, fault);
    link_reset(m, peer, fault);
}

void zn_peer_greeted(struct zn_mesh *m, int peer, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    rtt_sample(p, m->now_us - p->asked_us);
    life_learn(m, peer, life);
    greeting_move(m, peer, ZN_GREET_DONE);
    state_move(m, peer, ZMQNET_UP, ZN_WHY_NONE);
    zn_rows_peer_greeted(m, peer);
    zn_calls_assign(m);
}

void zn_peer_hello_answer(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    enum zn_why fault = hello_fault(m, peer, msg);
    if (fault == ZN_WHY_PATTERN)
        misfit_keep(m, peer, msg->pattern);
    if (fault != ZN_WHY_NONE) {
        zn_peer_refuse_link(m, peer, fault);
        return;
    }
    config_compare(m, peer, msg);
    if (p->greeting == ZN_GREET_ASKED) {
        zn_peer_greeted(m, peer, msg->life);
    } else if (p->asked_again && msg->life == p->life) {
        p->asked_again = false;
        zn_rows_peer_knows_us(m, peer);
        zn_rows_update_sendable(m, peer);
    } else {
        zn_count_bad(m, ZN_COUNT_unasked_reply, peer);
    }
}

/* ---- liveness ---- */

bool zn_peer_is_asked(const struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    return m->limits.lock_step && (p->pinging || p->asked_again);
}

/* In lock step the ping came in between: the answers to what was asked before it are lost. */
static void ask_on(struct zn_mesh *m, int peer)
{
    zn_rows_resend(m, peer);
    zn_rows_update_sendable(m, peer);
    if (m->peers[peer].asked_again)
        say_hello(m, peer);
}

void zn_peer_heard(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    bool waited = waits_for_pong(p);
    p->heard_us = m->now_us;
    if (waited)
        zn_peer_update_timer(m, peer);
    if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_SILENT && p->greeting == ZN_GREET_DONE) {
        state_move(m, peer, ZMQNET_UP, ZN_WHY_NONE);
        zn_calls_assign(m);
    }
}

static void rival_refuse(struct zn_mesh *m, int peer);

void zn_peer_pong(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_peer *p = &m->peers[peer];
    if (!p->pinging || msg->id.seq != p->ping_seq)
        return;
    rtt_sample(p, m->now_us - p->asked_us);
    p->pinging = false;
    zn_peer_update_timer(m, peer);
    if (p->state == ZMQNET_DOWN && p->why == ZN_WHY_LEFT)
        state_move(m, peer, ZMQNET_UP, ZN_WHY_NONE); /* the bye was not its own */
    if (p->rival.route && msg->life == p->life)
        rival_refuse(m, peer);
    if (m->limits.lock_step)
        ask_on(m, peer);
}

static void ping(struct zn_mesh *m, int peer)
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
        link_reset(m, peer, ZN_WHY_SILENT);
        return;
    }
    peer_down(m, peer, ZN_WHY_SILENT);
    ping(m, peer);
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
        say_hello(m, peer);
    else if (p->pinging)
        ping(m, peer);
}

void zn_peer_tick(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    uint64_t quiet_us = m->now_us - p->heard_us;
    if (p->greeting == ZN_GREET_ASKED)
        link_reset(m, peer, ZN_WHY_NO_HELLO);
    else if (!waits_for_pong(p) && m->now_us >= ping_at_us(m, p))
        ping(m, peer);
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

/* ---- hello and bye on our own port ---- */

static void hello_reply(struct zn_mesh *m, zn_route route, const char *to, int code)
{
    bool client = to[0] == '\0';
    struct zn_msg hello = zn_message(m,
                                     code != 0 ? ZN_ERROR
                                     : client  ? ZN_SINGLE
                                               : ZN_BOUNCE,
                                     ZN_HELLO);
    hello.life = m->life;
    hello.version = ZN_PROTOCOL_VERSION;
    hello.peers_hash = m->peer_file->hash;
    hello.pattern = m->pattern;
    hello.target = to;
    hello.code = code;
    zn_reply_now(m, route, &hello);
}

static void hello_refuse(struct zn_mesh *m, zn_route route, const char *to, int peer, int code,
                         enum zn_why why)
{
    zn_count(m, ZN_COUNT_hello_refused);
    zn_note_hello(m, ZN_NOTE_HELLO_REFUSED, peer, why);
    hello_reply(m, route, to, code);
}

static void in_accept(struct zn_mesh *m, int peer, const struct zn_from *from, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    p->in_connection = from->connection;
    p->in_life = life;
    p->in_heard_us = m->now_us;
    p->misfit_us = 0;
    hello_reply(m, from->route, p->name, 0);
}

static void rival_accept(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    struct zn_from from = p->rival;
    p->rival.route = 0;
    in_accept(m, peer, &from, p->rival_life);
}

static void rival_refuse(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    zn_route route = p->rival.route;
    p->rival.route = 0;
    zn_count(m, ZN_COUNT_name_clash);
    hello_refuse(m, route, p->name, peer, ZMQNET_ECLASH, ZN_WHY_CLASH);
}

/* Is another life under this name known to be alive? Ask it, and decide when it has answered. */
static bool rival_wait(struct zn_mesh *m, int peer, const struct zn_from *from, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->state != ZMQNET_UP || p->life == life)
        return false;
    p->rival = *from;
    p->rival_life = life;
    if (!p->pinging)
        ping(m, peer);
    return true;
}

/* What is wrong with a hello on our port, and the code that refuses it; 0: nothing. */
static int hello_code(const struct zn_mesh *m, const struct zn_msg *msg, int peer, enum zn_why *why)
{
    bool client = msg->sender[0] == '\0';
    *why = ZN_WHY_OURSELVES;
    if (msg->life == m->life)
        return ZMQNET_ENAME;
    *why = ZN_WHY_NAME;
    if (msg->target[0] != '\0' && strcmp(msg->target, m->self_name) != 0)
        return ZMQNET_ENAME;
    *why = ZN_WHY_VERSION;
    if (msg->version != ZN_PROTOCOL_VERSION || msg->life == 0)
        return ZMQNET_EVERSION;
    if (client)
        return 0;
    *why = ZN_WHY_CLASH;
    if (peer == m->self)
        return ZMQNET_ECLASH;
    *why = ZN_WHY_STRANGER;
    if (peer < 0)
        return ZMQNET_ENOPEER;
    *why = ZN_WHY_PATTERN;
    return pattern_fits(m, msg->pattern) ? 0 : ZMQNET_EPATTERN;
}

void zn_peer_hello_asked(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg)
{
    enum zn_why why;
    bool client = msg->sender[0] == '\0';
    int peer = client ? -1 : zmqnet_peers_find(m->peer_file, msg->sender);
    int code = hello_code(m, msg, peer, &why);
    if (code == ZMQNET_ECLASH)
        zn_count(m, ZN_COUNT_name_clash);
    if (code == ZMQNET_EPATTERN) {
        misfit_keep(m, peer, msg->pattern);
        m->peers[peer].misfit_us = m->now_us;
    }
    if (code != 0) {
        hello_refuse(m, from->route, msg->sender, peer, code, why);
    } else if (client) {
        hello_reply(m, from->route, "", 0);
    } else {
        config_compare(m, peer, msg);
        if (!rival_wait(m, peer, from, msg->life))
            in_accept(m, peer, from, msg->life);
    }
}

void zn_peers_say_bye(struct zn_mesh *m)
{
    for (int p = 0; p < (int)m->n; p++) {
        if (m->peers[p].greeting != ZN_GREET_DONE || m->peers[p].original)
            continue;
        struct zn_msg bye = zn_message(m, ZN_BOUNCE, ZN_BYE);
        bye.life = m->life;
        zn_send_now(m, p, &bye);
    }
}

/* It has finished: nothing is asked of it any more, and a client's ids may be forgotten. */
void zn_peer_bye(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg)
{
    if (msg->sender[0] == '\0') {
        if (!zn_is_replica_origin(m, msg->life))
            zn_window_bye(m, msg->life);
        return;
    }
    for (int i = 0; i < (int)m->n; i++) {
        struct zn_peer *p = &m->peers[i];
        if (p->in_connection != from->connection || strcmp(msg->sender, p->name) != 0)
            continue;
        p->in_connection = 0;
        p->ping_seq++; /* a pong to an earlier ping proves nothing any more */
        if (p->life == msg->life)
            peer_down(m, i, ZN_WHY_LEFT);
        return;
    }
    zn_count_bad(m, ZN_COUNT_no_hello, -1);
}
