/* SPDX-License-Identifier: MIT */
/*
 * The SUBs of a replica. The loop's thread.
 *
 * A SUB is one connection, which libzmq never makes anew, with a nonce of its own: its publications
 * are numbered from 1, its routes end with it, and the newest one is the one that the peer counts. It
 * exists while the link to the peer's ack port is up. A number that is skipped is a gap: the peer is
 * told, and sends again what is open. A number that jumps back is followed, not judged.
 *
 * A SUB does not show that its connection is gone. So the peer's silence is watched: a core that hears
 * nothing from us pings every half second, which is a publication on our topic; if that does not come
 * though we have not answered anything either, a probe asks the peer's pub port. Answered, and still
 * silent: the SUB is made anew, after a back-off that grows until something is heard. Not answered: the
 * peer is stopped or cut off, and what it has sent until then is worth waiting for.
 *
 * Silence is counted in ticks of this loop, so that a loop that stood still blames nobody.
 */
#include "pattern/subscribe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "pattern/ack.h"
#include "pattern/backoff.h"
#include "pattern/bind.h"
#include "pattern/frames.h"
#include "pattern/probe.h"
#include "pattern/socket.h"

#define TICK_US (500 * ZN_MS)
#define QUIET_TICKS 5    /* until we ask. No back-off of the peer's is as long */
#define CONNECT_TICKS 2  /* until we ask again */
#define ANSWER_TICKS 10  /* likewise, once connected */
#define ANSWERED_TICKS 3 /* until it is made anew: one that was stopped has time to ping */
#define REPORT_US (20 * ZN_MS)

#define ROUTE_MARK 0x80000000u /* the server's routes do not have it */
_Static_assert(ZN_ROUTES_MAX <= ROUTE_MARK, "a route is the server's or ours");

enum sub_state {
    IDLE,     /* not reached */
    BACKOFF,  /* the timer starts the next try */
    OPEN,     /* subscribed */
    PROBED,   /* silent, and asked whether anybody is there */
    ANSWERED, /* silent though somebody is */
    SUB_STATES
};

#define TO(state) (1u << (state))
static const unsigned allowed[SUB_STATES] = {
    [IDLE] = TO(BACKOFF),
    [BACKOFF] = TO(IDLE) | TO(OPEN),
    [OPEN] = TO(IDLE) | TO(BACKOFF) | TO(PROBED),
    [PROBED] = TO(IDLE) | TO(OPEN) | TO(ANSWERED),
    [ANSWERED] = TO(IDLE) | TO(BACKOFF) | TO(OPEN),
};

struct sub {
    struct zn_subscribe *all;
    int peer;
    uint16_t port; /* the peer's pub port */
    enum sub_state state;
    struct zn_address address;
    void *socket;
    uint32_t generation; /* counts the sockets */
    uint64_t nonce;
    uint8_t topic[ZN_TOPIC_MAX];
    size_t topic_bytes;
    bool based;              /* `seen` is true: something has come on our own topic */
    struct zn_sequence seen; /* the numbers of what came last */
    struct zn_pair pair;     /* the message that is being read */
    bool lively;             /* since the last tick: heard on our own topic, */
    bool answered;           /* answered, */
    bool to_all;             /* heard on the topic of all, which says nothing of us */
    unsigned quiet_ticks;    /* since the last one that was lively, or since the state changed */
    uint64_t tick_us;        /* the next one */
    bool owes_report;        /* of a gap */
    uint64_t report_us;      /* not before */
    struct zn_probe probe;
    struct zn_backoff backoff;
    struct zn_timer timer;
};

struct zn_subscribe {
    struct zn_carrier *carrier;
    const char *self; /* our name */
    uint32_t token;
    size_t message_max;
    uint64_t now_us;
    uint64_t due;          /* there is something to look at. Bit i is peer i */
    struct zn_heap timers; /* tag: the peer */
    size_t n;
    struct sub subs[ZN_REPLICAS_MAX];
};

static uint64_t bit(const struct sub *s) { return (uint64_t)1 << s->peer; }

static uint32_t token_of(const struct sub *s) { return s->all->token + (uint32_t)s->peer; }

static int epoll_of(const struct sub *s) { return s->all->carrier->links.epoll_fd; }

static struct zn_link *link_of(const struct sub *s) { return &s->all->carrier->link[s->peer]; }

static const struct zn_sink *sink_of(const struct sub *s) { return &s->all->carrier->sink; }

static void count(const struct sub *s, enum zn_counter counter)
{
    sink_of(s)->count(sink_of(s)->arg, counter);
}

static void move(struct sub *s, enum sub_state to)
{
    assert(allowed[s->state] & TO(to));
    if (s->state == PROBED)
        zn_probe_end(&s->probe, epoll_of(s));
    s->state = to;
    s->quiet_ticks = 0;
}

/* ---- one socket ---- */

static void shut(struct sub *s)
{
    zn_bind_close(&s->socket, epoll_of(s), 0);
    zn_timer_clear(&s->all->timers, &s->timer);
    s->all->due &= ~bit(s);
}

static void back_off(struct sub *s)
{
    uint64_t in_us = zn_backoff_next_us(&s->backoff, &s->all->carrier->links.rand);
    shut(s);
    move(s, BACKOFF);
    zn_timer_set(&s->all->timers, &s->timer, zn_clock_us() + in_us);
}

/* The subscriptions leave as soon as there is a connection. */
static int make_socket(struct sub *s)
{
    struct zn_links *ls = &s->all->carrier->links;
    int rc = zn_socket_make(ls->context, ZMQ_SUB, s->all->message_max,
                            zn_address_is_ipv6(&s->address), &s->socket);
    if (rc != 0)
        return rc;
    zn_socket_set_int(s->socket, ZMQ_RECONNECT_IVL, -1);
    if (zmq_setsockopt(s->socket, ZMQ_SUBSCRIBE, ZN_TOPIC_ALL, ZN_TOPIC_ALL_BYTES) != 0 ||
        zmq_setsockopt(s->socket, ZMQ_SUBSCRIBE, s->topic, s->topic_bytes) != 0)
        return ZMQNET_ENOMEM;
    rc = zn_bind_watch(ls->epoll_fd, zn_socket_fd(s->socket), token_of(s));
    if (rc != 0)
        return rc;
    char endpoint[ZN_ADDRESS_TEXT_MAX];
    zn_address_endpoint(&s->address, endpoint);
    return zmq_connect(s->socket, endpoint) == 0 ? 0 : ZMQNET_EADDR;
}

static void arm(struct sub *s)
{
    bool report_first = s->owes_report && s->report_us < s->tick_us;
    zn_timer_set(&s->all->timers, &s->timer, report_first ? s->report_us : s->tick_us);
}

static void open_sub(struct sub *s)
{
    move(s, OPEN);
    s->generation++;
    s->based = s->lively = s->answered = s->to_all = s->owes_report = false;
    s->pair.frames = 0;
    s->report_us = 0;
    s->tick_us = s->all->now_us + TICK_US;
    s->nonce = zn_rand_life();
    s->topic_bytes = zn_topic_write(s->topic, s->all->self, s->nonce);
    if (s->nonce == 0 || make_socket(s) != 0) {
        back_off(s);
        return;
    }
    s->all->due |= bit(s); /* connecting may eat the first edge */
    arm(s);
}

/* ---- what arrives ---- */

static void report(struct sub *s)
{
    if (!s->owes_report || s->all->now_us < s->report_us)
        return;
    const struct zn_ack_head head = {ZN_ACK_GAP, s->nonce};
    s->owes_report = zn_ack_send(link_of(s), head, NULL) != 0;
    s->report_us = s->all->now_us + REPORT_US;
}

/* The number of the topic of all is known from the first publication on our own: what had gone to all
 * before was not meant for us. */
static void follow(struct sub *s, bool to_all, struct zn_sequence got)
{
    struct zn_sequence next = {s->seen.all + to_all, s->seen.own + !to_all};
    if (!s->based)
        next = (struct zn_sequence){got.all, 1};
    if (to_all)
        got.own = s->seen.own;
    bool back = got.all < next.all || got.own < next.own;
    bool gap = got.all > next.all || got.own > next.own;
    s->based = true;
    s->seen = got;
    if (back) {
        count(s, ZN_COUNT_sequence_back);
    } else if (gap) {
        count(s, ZN_COUNT_gap);
        s->owes_report = true;
        report(s);
        arm(s);
    }
}

static void deliver(const struct sub *s, zmq_msg_t *body)
{
    size_t n = zmq_msg_size(body);
    zn_route route = (zn_route)s->generation << 32 | ROUTE_MARK | (uint32_t)s->peer;
    if (n == 0)
        count(s, ZN_COUNT_empty_message);
    else if (n > zn_frame_max(s->all->message_max))
        count(s, ZN_COUNT_oversize);
    else
        sink_of(s)->route_bytes(sink_of(s)->arg, route, route, zmq_msg_data(body), n);
}

static bool has_topic(const struct zn_pair *p, const void *topic, size_t n)
{
    return p->head_bytes == n + ZN_SEQUENCE_BYTES && memcmp(p->head, topic, n) == 0;
}

static void heard(struct sub *s)
{
    s->lively = true;
    s->backoff.us = 0;
    if (s->state != OPEN)
        move(s, OPEN);
}

/* What goes to all is heard by everybody. Only our own topic shows that we are known. */
static void on_publication(struct sub *s, zmq_msg_t *body)
{
    bool to_all = has_topic(&s->pair, ZN_TOPIC_ALL, ZN_TOPIC_ALL_BYTES);
    if (!to_all && !has_topic(&s->pair, s->topic, s->topic_bytes)) {
        count(s, ZN_COUNT_bad_envelope);
        return;
    }
    if (!to_all)
        heard(s);
    else
        s->to_all = true;
    if (!s->based && to_all)
        return;
    follow(s, to_all, zn_sequence_read(s->pair.head + s->pair.head_bytes - ZN_SEQUENCE_BYTES));
    deliver(s, body);
}

/* The sink may answer, but nothing that it does closes the socket. */
static void take_frame(void *arg, zmq_msg_t *frame)
{
    struct sub *s = arg;
    switch (zn_pair_frame(&s->pair, frame)) {
    case ZN_PAIR_MORE: break;
    case ZN_PAIR_HEAD: count(s, ZN_COUNT_bad_envelope); break;
    case ZN_PAIR_BODY: on_publication(s, frame); break;
    case ZN_PAIR_BAD: count(s, ZN_COUNT_extra_frames); break;
    }
}

/* ---- silence ---- */

/* Who answers at once was not stopped. */
static void on_probe(struct sub *s, enum zn_probe_result result)
{
    bool at_once = s->quiet_ticks == 0;
    if (result == ZN_PROBE_OK) {
        move(s, ANSWERED);
        s->quiet_ticks = at_once ? ANSWERED_TICKS - 1 : 0;
    } else if (result == ZN_PROBE_FAILED) {
        move(s, OPEN);
        s->quiet_ticks = QUIET_TICKS - CONNECT_TICKS;
    }
}

static void ask(struct sub *s)
{
    enum zn_why why;
    move(s, PROBED);
    on_probe(s, zn_probe_begin(&s->probe, &s->address, epoll_of(s), token_of(s), &why));
}

static void ask_again(struct sub *s)
{
    move(s, OPEN);
    ask(s);
}

static void step_probe(struct sub *s)
{
    enum zn_why why;
    if (s->state == PROBED)
        on_probe(s, zn_probe_step(&s->probe, epoll_of(s), &why));
}

/* What can be read has been heard, though nobody has read it yet. */
static void tick(struct sub *s)
{
    s->tick_us = s->all->now_us + TICK_US;
    if (zn_socket_events(s->socket) & ZMQ_POLLIN) {
        s->all->due |= bit(s);
        s->answered = true;
    }
    bool lively = s->lively || (s->answered && !s->to_all);
    s->lively = s->answered = s->to_all = false;
    if (lively) {
        s->quiet_ticks = 0;
        return;
    }
    s->quiet_ticks++;
    if (s->state == OPEN && s->quiet_ticks >= QUIET_TICKS)
        ask(s);
    else if (s->state == PROBED &&
             s->quiet_ticks >= (s->probe.connected ? ANSWER_TICKS : CONNECT_TICKS))
        ask_again(s);
    else if (s->state == ANSWERED && s->quiet_ticks >= ANSWERED_TICKS)
        back_off(s);
}

static void on_timer(struct sub *s)
{
    if (s->state == BACKOFF) {
        open_sub(s);
        return;
    }
    report(s);
    if (s->all->now_us >= s->tick_us)
        tick(s);
    if (s->socket)
        arm(s);
}

/* ---- public ---- */

int zn_subscribe_open(struct zn_carrier *carrier, const struct zn_pattern_config *config,
                      uint32_t token, struct zn_subscribe **out)
{
    const zmqnet_peers *peers = config->peers;
    struct zn_subscribe *s = calloc(1, sizeof *s);
    if (!s)
        return ZMQNET_ENOMEM;
    s->carrier = carrier;
    s->self = peers->replicas[config->self].name;
    s->token = token;
    s->message_max = config->message_max;
    s->n = peers->n;
    for (int i = 0; i < (int)s->n; i++) {
        s->subs[i] = (struct sub){.all = s, .peer = i, .port = peers->replicas[i].pub_port};
        zn_probe_init(&s->subs[i].probe, "SUB");
        zn_timer_init(&s->subs[i].timer, (uint32_t)i);
    }
    int rc = zn_heap_init(&s->timers, (uint32_t)s->n);
    if (rc != 0)
        zn_subscribe_close(&s);
    *out = s;
    return rc;
}

void zn_subscribe_close(struct zn_subscribe **s)
{
    if (!*s)
        return;
    for (int i = 0; i < (int)(*s)->n; i++)
        zn_subscribe_end(*s, i);
    zn_heap_free(&(*s)->timers);
    free(*s);
    *s = NULL;
}

void zn_subscribe_begin(struct zn_subscribe *all, int peer)
{
    struct sub *s = &all->subs[peer];
    s->address = zn_address_at_port(&link_of(s)->address, s->port);
    s->backoff.us = 0;
    back_off(s);
}

void zn_subscribe_end(struct zn_subscribe *all, int peer)
{
    struct sub *s = &all->subs[peer];
    if (s->state == IDLE)
        return;
    shut(s);
    move(s, IDLE);
}

bool zn_subscribe_owns(zn_route route) { return (route & ROUTE_MARK) != 0; }

/* A peer that hears answers does not ping: to be silent then is its right. */
int zn_subscribe_reply(struct zn_subscribe *all, zn_route route, struct zn_blob *frame)
{
    uint32_t peer = (uint32_t)route & ~ROUTE_MARK;
    struct sub *s = peer < all->n ? &all->subs[peer] : NULL;
    if (!s || !s->socket || s->generation != route >> 32)
        return ZMQNET_ENEVERSENT;
    s->answered = true;
    return zn_ack_send(link_of(s), (struct zn_ack_head){ZN_ACK_BODY, s->nonce}, frame);
}

void zn_subscribe_ready(struct zn_subscribe *all, int peer)
{
    if (peer >= 0 && (size_t)peer < all->n)
        all->due |= bit(&all->subs[peer]);
}

static void look(struct sub *s)
{
    s->all->due &= ~bit(s);
    step_probe(s);
    if (s->socket && zn_socket_read(s->socket, take_frame, s))
        s->all->due |= bit(s);
}

void zn_subscribe_turn(struct zn_subscribe *all, uint64_t now_us)
{
    all->now_us = now_us;
    for (uint64_t due = all->due; due != 0; due &= due - 1)
        look(&all->subs[__builtin_ctzll(due)]);
    for (size_t i = 0; i < all->n; i++) {
        struct zn_timer *timer = zn_heap_pop_due(&all->timers, now_us);
        if (!timer)
            return;
        on_timer(&all->subs[timer->tag]);
    }
}

bool zn_subscribe_pending(const struct zn_subscribe *s) { return s->due != 0; }

uint64_t zn_subscribe_next_us(const struct zn_subscribe *s) { return zn_heap_next_us(&s->timers); }
