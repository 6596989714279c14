/* SPDX-License-Identifier: MIT */
/*
 * One outgoing link. The loop's thread; nothing blocks.
 *
 * A link is one socket with one connection that libzmq is told never to make anew (RECONNECT_IVL -1):
 * a lost one is closed with its socket, so nothing of an earlier connection is ever read, and none
 * of libzmq's own recoveries, which are silent or missing, is relied on. With IMMEDIATE the socket
 * shows POLLOUT exactly while the connection stands and has room, so no monitor is needed.
 *
 * Good path: BACKOFF (none) - RESOLVE - PROBE - CONNECT - UP. Each failure on the way is reported with
 * its cause and followed by a back-off of 50 ms, doubling to 2 s, with jitter; the first try after
 * the link was good comes at once. If it was good for less than a second, only once in ten seconds:
 * or else a peer that greets and drops would be connected to as fast as it drops.
 *
 * Lost or full? When POLLOUT goes without room having been used up, the connection is lost. Otherwise
 * the link is FULL: a stopped peer keeps its connection, so that its late answers arrive. Probes,
 * repeated while the state lasts, tell if nobody is there any more (refused), or if the peer runs well
 * and this connection alone is stuck (they are answered, and still there is no room).
 */
#include "pattern/link.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/limits.h"
#include "pattern/socket.h"

#define RESOLVE_US (5 * ZN_SECOND)
#define CONNECT_US (2 * ZN_SECOND)
#define FULL_PROBE_US (500 * ZN_MS)
#define FULL_ANSWERS_MAX 4
#define STEADY_US ZN_SECOND
#define AT_ONCE_EVERY_US (10 * ZN_SECOND)

#define TO(state) (1u << ZN_LINK_##state)
static const unsigned allowed[ZN_LINK_STATES] = {
    [ZN_LINK_IDLE] = TO(BACKOFF),
    [ZN_LINK_BACKOFF] = TO(RESOLVE),
    [ZN_LINK_RESOLVE] = TO(PROBE) | TO(BACKOFF),
    [ZN_LINK_PROBE] = TO(CONNECT) | TO(BACKOFF),
    [ZN_LINK_CONNECT] = TO(UP) | TO(BACKOFF),
    [ZN_LINK_UP] = TO(FULL) | TO(BACKOFF),
    [ZN_LINK_FULL] = TO(UP) | TO(BACKOFF),
};

static void move(struct zn_link *l, enum zn_link_state to)
{
    assert(allowed[l->state] & (1u << to));
    l->state = to;
}

static uint64_t bit(const struct zn_link *l) { return (uint64_t)1 << l->peer; }

static void arm(struct zn_link *l, uint64_t in_us)
{
    zn_timer_set(&l->links->timers, &l->timer, zn_clock_us() + in_us);
}

/* ---- leaving a state ---- */

static void close_socket(struct zn_link *l, int linger_ms)
{
    if (!l->socket)
        return;
    epoll_ctl(l->links->epoll_fd, EPOLL_CTL_DEL, zn_socket_fd(l->socket), NULL);
    zn_socket_close(&l->socket, linger_ms);
    l->generation++;
}

/* A link that was good and is lost: the failures before it count no more. */
static void forget_failures(struct zn_link *l)
{
    uint64_t now_us = zn_clock_us();
    bool steady = now_us - l->good_us >= STEADY_US;
    bool rare = l->at_once_us == 0 || now_us - l->at_once_us >= AT_ONCE_EVERY_US;
    if (l->good_us != 0 && (steady || rare)) {
        l->backoff.us = 0;
        l->at_once_us = now_us;
    }
    l->good_us = 0;
}

static void back_off(struct zn_link *l)
{
    close_socket(l, 0);
    zn_probe_end(&l->probe, l->links->epoll_fd);
    l->links->due &= ~bit(l);
    l->links->touched &= ~bit(l);
    move(l, ZN_LINK_BACKOFF);
    forget_failures(l);
    arm(l, zn_backoff_next_us(&l->backoff, &l->links->rand));
}

static void fail(struct zn_link *l, enum zn_why why)
{
    back_off(l);
    l->links->sink->link_failed(l->links->sink->arg, l->peer, why);
}

static void lose(struct zn_link *l)
{
    back_off(l);
    l->links->sink->link_lost(l->links->sink->arg, l->peer);
}

/* ---- on the way up ---- */

static int open_socket(struct zn_link *l)
{
    struct zn_links *ls = l->links;
    int rc = zn_socket_make(ls->context, ls->socket_type, ls->message_max,
                            zn_address_is_ipv6(&l->address), &l->socket);
    if (rc != 0)
        return rc;
    zn_socket_set_int(l->socket, ZMQ_IMMEDIATE, 1);
    zn_socket_set_int(l->socket, ZMQ_RECONNECT_IVL, -1);
    if (ls->socket_type == ZMQ_REQ) {
        zn_socket_set_int(l->socket, ZMQ_REQ_RELAXED, 1);
        zn_socket_set_int(l->socket, ZMQ_REQ_CORRELATE, 1);
    }
    l->sent = l->sent_since_out = 0;
    l->expected = 1;
    l->filled = l->changed = false;
    l->owes_writable = l->delimited = false;
    l->frame_n = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)l->peer};
    if (epoll_ctl(ls->epoll_fd, EPOLL_CTL_ADD, zn_socket_fd(l->socket), &event) != 0)
        return ZMQNET_ESYSTEM;
    char endpoint[ZN_ADDRESS_TEXT_MAX];
    zn_address_endpoint(&l->address, endpoint);
    return zmq_connect(l->socket, endpoint) == 0 ? 0 : ZMQNET_EADDR;
}

static void start_connect(struct zn_link *l)
{
    move(l, ZN_LINK_CONNECT);
    arm(l, CONNECT_US);
    l->links->due |= bit(l); /* connecting may eat the first edge */
    if (open_socket(l) != 0)
        fail(l, ZN_WHY_HANDSHAKE);
}

/* The probe of a link that is on its way. */
static void on_probe(struct zn_link *l, enum zn_probe_result result, enum zn_why why)
{
    if (result == ZN_PROBE_CONNECTED)
        arm(l, ZN_PROBE_ANSWER_US);
    else if (result == ZN_PROBE_OK)
        start_connect(l);
    else if (result == ZN_PROBE_FAILED)
        fail(l, why);
}

static void start_probe(struct zn_link *l)
{
    move(l, ZN_LINK_PROBE);
    arm(l, ZN_PROBE_CONNECT_US);
    enum zn_why why = ZN_WHY_NONE;
    enum zn_probe_result result =
        zn_probe_begin(&l->probe, &l->address, l->links->epoll_fd, (uint32_t)l->peer, &why);
    on_probe(l, result, why);
}

static void start_resolve(struct zn_link *l)
{
    move(l, ZN_LINK_RESOLVE);
    l->tried_us = zn_clock_us();
    if (zn_address_numeric(l->host, l->port, &l->address) == 0) {
        start_probe(l);
        return;
    }
    arm(l, RESOLVE_US);
    zn_resolver_ask(l->links->resolver, l->peer, l->host, l->port);
}

static void come_up(struct zn_link *l)
{
    move(l, ZN_LINK_UP);
    zn_timer_clear(&l->links->timers, &l->timer);
    l->links->touched |= bit(l);
    l->links->sink->link_up(l->links->sink->arg, l->peer);
}

/* ---- while it is up ---- */

/* Peers answer with one frame, behind a delimiter if there was one in front of what they answer; what
 * has more is dropped as a whole. */
static void take_frame(struct zn_link *l, zmq_msg_t *msg)
{
    const struct zn_sink *sink = l->links->sink;
    bool more = zmq_msg_more(msg) != 0;
    unsigned nth = l->frame_n;
    l->frame_n = more ? nth + (nth < 2) : 0;
    if (nth == 0)
        l->delimited = more && zmq_msg_size(msg) == 0;
    if (more)
        return;
    if (nth > (l->delimited ? 1 : 0))
        sink->count(sink->arg, ZN_COUNT_extra_frames);
    else if (zmq_msg_size(msg) == 0)
        sink->count(sink->arg, ZN_COUNT_empty_message);
    else if (zmq_msg_size(msg) > zn_frame_max(l->links->message_max))
        sink->count(sink->arg, ZN_COUNT_oversize);
    else
        sink->link_bytes(sink->arg, l->peer, zmq_msg_data(msg), zmq_msg_size(msg));
}

static bool read_frame(struct zn_link *l)
{
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    bool read = zmq_msg_recv(&msg, l->socket, ZMQ_DONTWAIT) >= 0;
    if (read)
        take_frame(l, &msg);
    zmq_msg_close(&msg);
    return read;
}

/* Each call on a socket with nothing to read costs libzmq two system calls. So no more is read than came
 * the last time, mostly one answer, and zn_link_look(), which runs after what leaves in this turn
 * anyway, tells if there is more. Returns whether anything was read.
 * The sink may reset the link: then its socket is another one, or none. */
static bool read_frames(struct zn_link *l)
{
    uint32_t generation = l->generation, n = 0;
    uint64_t until_us = zn_clock_us() + ZN_TURN_READ_US;
    /* Also if the time is over: nobody else looks whether there is more. */
    l->links->touched |= bit(l);
    while (n < l->expected && read_frame(l)) {
        n++;
        if (l->generation != generation || zn_clock_us() >= until_us)
            return true;
    }
    l->filled = n == l->expected;
    if (!l->filled)
        l->expected = n > 0 ? n : 1;
    return n > 0;
}

static void probe_full(struct zn_link *l)
{
    enum zn_why why;
    arm(l, FULL_PROBE_US);
    zn_probe_end(&l->probe, l->links->epoll_fd); /* the last one may wait for ever */
    if (zn_probe_begin(&l->probe, &l->address, l->links->epoll_fd, (uint32_t)l->peer, &why) ==
        ZN_PROBE_FAILED)
        lose(l);
}

static void become_full(struct zn_link *l)
{
    move(l, ZN_LINK_FULL);
    l->full_answers = 0;
    probe_full(l);
}

static void become_writable(struct zn_link *l)
{
    l->sent_since_out = 0;
    if (l->state == ZN_LINK_FULL) {
        move(l, ZN_LINK_UP);
        zn_timer_clear(&l->links->timers, &l->timer);
        zn_probe_end(&l->probe, l->links->epoll_fd);
    }
    if (l->owes_writable) {
        l->owes_writable = false;
        l->links->sink->link_writable(l->links->sink->arg, l->peer);
    }
}

/* Who has sent less than a pipe holds, or nothing since there was room, has not filled it. */
static bool may_be_full(const struct zn_link *l)
{
    return l->sent_since_out > 0 && l->sent >= ZN_SOCKET_SEND_FRAMES;
}

/* What can still be read is read before a loss is believed. */
static void judge(struct zn_link *l)
{
    int events = zn_socket_events(l->socket);
    l->links->touched &= ~bit(l);
    l->changed = false;
    if (events & ZMQ_POLLIN)
        l->links->due |= bit(l);
    if (events & ZMQ_POLLOUT)
        become_writable(l);
    else if (l->state == ZN_LINK_UP && !(events & ZMQ_POLLIN))
        may_be_full(l) ? become_full(l) : lose(l);
}

/* A probe that is not answered, by a stopped peer, means nothing. */
static void step_full_probe(struct zn_link *l)
{
    if (l->state != ZN_LINK_FULL || l->probe.fd < 0)
        return;
    enum zn_why why = ZN_WHY_NONE;
    if (zn_probe_step(&l->probe, l->links->epoll_fd, &why) == ZN_PROBE_OK)
        l->full_answers++;
    if (why == ZN_WHY_REFUSED || why == ZN_WHY_UNREACHABLE || l->full_answers == FULL_ANSWERS_MAX)
        lose(l);
}

static void serve(struct zn_link *l)
{
    uint32_t generation = l->generation;
    bool read = read_frames(l);
    if (l->generation == generation && (!read || l->changed))
        judge(l);
    if (l->generation == generation)
        step_full_probe(l);
}

/* ---- public ---- */

void zn_link_init(struct zn_link *l, struct zn_links *links, int peer, const char *host,
                  uint16_t port)
{
    *l = (struct zn_link){.links = links, .host = host, .port = port, .peer = peer};
    zn_probe_init(&l->probe, links->socket_type == ZMQ_PUSH ? "PUSH" : "DEALER");
    zn_timer_init(&l->timer, (uint32_t)peer);
}

void zn_link_end(struct zn_link *l, int linger_ms)
{
    close_socket(l, zn_link_is_up(l) ? linger_ms : 0);
    zn_probe_end(&l->probe, l->links->epoll_fd);
    zn_timer_clear(&l->links->timers, &l->timer);
}

void zn_link_want(struct zn_link *l)
{
    if (l->state == ZN_LINK_IDLE)
        back_off(l);
}

void zn_link_reset(struct zn_link *l)
{
    if (l->state == ZN_LINK_IDLE || l->state == ZN_LINK_BACKOFF)
        return;
    forget_failures(l);
    zn_backoff_not_at_once(&l->backoff);
    back_off(l);
}

void zn_link_good(struct zn_link *l)
{
    if (l->good_us == 0)
        l->good_us = zn_clock_us();
}

/* Not at once: whoever says so may be a stranger who says it often. */
void zn_link_hurry(struct zn_link *l)
{
    uint64_t at_us = zn_clock_us() + ZN_BACKOFF_MIN_US;
    if (l->state == ZN_LINK_BACKOFF && l->timer.at_us > at_us)
        zn_timer_set(&l->links->timers, &l->timer, at_us);
}

/* The head alone decides: the pipe that took it has room for the rest, or is gone with it. */
static int send_frames(struct zn_link *l, const void *head, size_t head_bytes,
                       struct zn_blob *frame)
{
    zmq_msg_t msg;
    if (!frame)
        return zn_socket_send_bytes(l->socket, head, head_bytes, 0);
    if (zn_socket_wrap(frame, &msg) != 0)
        return ENOMEM;
    int error = head ? zn_socket_send_bytes(l->socket, head, head_bytes, ZMQ_SNDMORE) : 0;
    if (error == 0) {
        error = zn_socket_send(l->socket, &msg, 0);
        return head ? 0 : error;
    }
    zmq_msg_close(&msg);
    return error;
}

int zn_link_send_headed(struct zn_link *l, const void *head, size_t head_bytes,
                        struct zn_blob *frame)
{
    if (!zn_link_is_up(l))
        return ZMQNET_ENEVERSENT;
    l->links->touched |= bit(l);
    if (l->state == ZN_LINK_UP) {
        int error = send_frames(l, head, head_bytes, frame);
        if (error == 0) {
            l->sent++;
            l->sent_since_out++;
            return 0;
        }
        if (error == ENOMEM)
            return ZMQNET_ENOMEM;
        assert(error == EAGAIN);
    }
    l->owes_writable = true;
    return ZMQNET_EFULL;
}

/* The first thing on a DEALER goes behind a delimiter: should the original program's REP listen there,
 * it can answer. Without one it would drop it, and libzmq 4.3.4 sometimes its next answer with it. */
int zn_link_send(struct zn_link *l, struct zn_blob *frame)
{
    bool delimit = l->sent == 0 && l->links->socket_type == ZMQ_DEALER;
    return zn_link_send_headed(l, delimit ? "" : NULL, 0, frame);
}

void zn_link_resolved(struct zn_link *l, const struct zn_resolved *answer)
{
    /* One that came too late is still the answer: to ask again would take as long again. */
    if (l->state == ZN_LINK_BACKOFF && answer->found)
        move(l, ZN_LINK_RESOLVE);
    if (l->state != ZN_LINK_RESOLVE)
        return;
    if (!answer->found) {
        fail(l, ZN_WHY_UNRESOLVED);
        return;
    }
    l->address = answer->address;
    start_probe(l);
}

void zn_link_timer(struct zn_link *l)
{
    switch (l->state) {
    case ZN_LINK_BACKOFF: start_resolve(l); break;
    case ZN_LINK_RESOLVE: fail(l, ZN_WHY_UNRESOLVED); break;
    case ZN_LINK_PROBE: fail(l, l->probe.connected ? ZN_WHY_HANDSHAKE : ZN_WHY_TIMEOUT); break;
    case ZN_LINK_CONNECT: fail(l, ZN_WHY_HANDSHAKE); break;
    case ZN_LINK_FULL: probe_full(l); break;
    default: assert(!"no timer in this state");
    }
}

void zn_link_turn(struct zn_link *l)
{
    l->links->due &= ~bit(l);
    enum zn_why why = ZN_WHY_NONE;
    enum zn_probe_result result;
    switch (l->state) {
    case ZN_LINK_PROBE:
        result = zn_probe_step(&l->probe, l->links->epoll_fd, &why);
        on_probe(l, result, why);
        break;
    case ZN_LINK_CONNECT:
        if (zn_socket_events(l->socket) & ZMQ_POLLOUT)
            come_up(l);
        break;
    case ZN_LINK_UP:
    case ZN_LINK_FULL: serve(l); break;
    default: break; /* A stale report. */
    }
}

bool zn_link_look(struct zn_link *l)
{
    l->links->touched &= ~bit(l);
    if (l->state != ZN_LINK_UP && l->state != ZN_LINK_FULL)
        return false;
    int events = zn_socket_events(l->socket);
    bool out = (events & ZMQ_POLLOUT) != 0;
    if (out)
        l->sent_since_out = 0;
    bool more = (events & ZMQ_POLLIN) != 0;
    l->changed = out != (l->state == ZN_LINK_UP) || (out && l->owes_writable);
    if (more && l->filled && l->expected < ZN_TURN_FRAMES_MAX)
        l->expected *= 2;
    if (more || l->changed)
        l->links->due |= bit(l);
    return more || l->changed;
}
