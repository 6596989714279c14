/* SPDX-License-Identifier: MIT */
/*
 * Hello and bye: who is there, in which life, and whether we can work together.
 *
 * Ours leaves on each new link; the answer is checked and makes the peer up. Theirs comes on our own
 * port and names the caller of that connection. A second life under a name whose first life still
 * answers on our link is a rival: it waits, unanswered, until a pong has proved that the first one
 * lives (then it is refused) or the link has broken (then it is the new one).
 */
#include "core/core.h"

#include <string.h>

/* ---- our link ---- */

void zn_peer_say_hello(struct zn_mesh *m, int peer)
{
    struct zn_msg hello = zn_message(m, ZN_BOUNCE, ZN_HELLO);
    hello.life = m->life;
    hello.version = ZN_PROTOCOL_VERSION;
    hello.peers_hash = m->peer_file->hash;
    hello.pattern = m->pattern;
    hello.target = m->peers[peer].name;
    m->peers[peer].hello_us = m->now_us;
    zn_send_now(m, peer, &hello);
}

/* It has lost our hello. One that is not answered for so long is lost as well. */
void zn_peer_hello_again(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->asked_again && m->now_us - p->hello_us < ZN_PING_US)
        return;
    p->asked_again = true;
    zn_rows_update_sendable(m, peer);
    zn_peer_say_hello(m, peer);
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

/* A stranger may say anything, and this is quoted in logs and shown at terminals. A client has no
 * pattern that could not fit; and what its user is told is static text. */
static void misfit_keep(struct zn_mesh *m, int peer, const char *pattern)
{
    struct zn_peer *p = &m->peers[peer];
    if (zn_is_client(m))
        return;
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
    for (char *c = p->patterns; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = '?';
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

void zn_peer_rival_accept(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    struct zn_from from = p->rival;
    p->rival.route = 0;
    in_accept(m, peer, &from, p->rival_life);
}

void zn_peer_rival_refuse(struct zn_mesh *m, int peer)
{
    struct zn_peer *p = &m->peers[peer];
    zn_route route = p->rival.route;
    p->rival.route = 0;
    zn_count(m, ZN_COUNT_name_clash);
    hello_refuse(m, route, p->name, peer, ZMQNET_ECLASH, ZN_WHY_CLASH);
}

/* Is another life under this name known to be alive? Ask it, and decide when it has answered: what it
 * was asked before it may have answered, and then died. The original program cannot be asked so, and
 * has no life. */
static bool rival_wait(struct zn_mesh *m, int peer, const struct zn_from *from, uint64_t life)
{
    struct zn_peer *p = &m->peers[peer];
    if (p->original || !zn_peer_is_up(p) || p->life == life)
        return false;
    p->rival = *from;
    p->rival_life = life;
    p->rival_seq = p->ping_seq + 1;
    if (!p->pinging)
        zn_peer_ping(m, peer);
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

/* A client says it to its only coordinator: another replica may still be asked to run what that one
 * bounces, and would refuse it as too old. */
void zn_peers_say_bye(struct zn_mesh *m)
{
    for (int p = 0; p < (int)m->n; p++) {
        bool told = !zn_is_client(m) || p == m->via_only;
        if (!told || m->peers[p].greeting != ZN_GREET_DONE || m->peers[p].original)
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
        p->ping_seq += ZN_PINGS_KEPT; /* a pong to an earlier ping proves nothing any more */
        if (p->life == msg->life)
            zn_peer_down(m, i, ZN_WHY_LEFT);
        return;
    }
    zn_count_bad(m, ZN_COUNT_no_hello, -1);
}
