/* SPDX-License-Identifier: MIT */
/*
 * The XPUB of a replica. The loop's thread.
 *
 * Each peer subscribes to a topic of its own, which names it and this one subscription (a nonce), and
 * to the topic of all. What goes to one peer goes out on its topic; what goes to every subscriber at
 * once goes out on the topic of all, once: to find out, a frame is held until another one comes or
 * the turn ends. XPUB never says that it is full: it drops, and the sequence numbers of the next
 * publication tell the subscriber.
 *
 * Good path of a peer: its ack port is reached - AWAITED - its subscription comes - UP. A core that
 * resets the link while the subscription stands gets it back after a back-off (HELD).
 *
 * A second subscription under a name waits for the end of the first, whose connection may outlive its
 * peer by some seconds, and takes its place if that is silent. If the first goes on answering there are
 * two replicas of one name, and the second is not heard.
 *
 * Anybody may subscribe to anything. What is no topic of ours is counted and has no effect here.
 */
#include "pattern/publish.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pattern/backoff.h"
#include "pattern/bind.h"
#include "pattern/frames.h"
#include "pattern/socket.h"

/* libzmq reads on for as long as there is more, and a stranger's connection always has more: so it is
 * let in a little at a time. */
#define SUBSCRIPTIONS_AHEAD 4
/* How often each subscriber hears its own topic at least, if it is sent anything. */
#define NAMED_US ZN_SECOND
/* One that answers so long after another has subscribed under its name is not the one before it. */
#define CLASH_US ZN_SECOND
/* One that has not answered until then is silent: a core that hears nothing pings each half second. */
#define SILENT_US (5 * CLASH_US / 2)
/* A peer whose ack port is there should subscribe: it has to connect for that, perhaps twice. */
#define AWAITED_US (2 * ZN_HELLO_US)

enum reader_state {
    GONE,     /* neither a subscription nor its ack port is there */
    AWAITED,  /* its ack port is there; the timer tells that it does not subscribe */
    UNWANTED, /* subscribed, before core wants the link */
    HELD,     /* subscribed; the timer ends the back-off */
    UP,
    READER_STATES
};

#define TO(state) (1u << (state))
static const unsigned allowed[READER_STATES] = {
    [GONE] = TO(AWAITED) | TO(UNWANTED) | TO(UP),   [AWAITED] = TO(GONE) | TO(UNWANTED) | TO(UP),
    [UNWANTED] = TO(GONE) | TO(AWAITED) | TO(HELD), [HELD] = TO(GONE) | TO(AWAITED) | TO(UP),
    [UP] = TO(GONE) | TO(AWAITED) | TO(HELD),
};

struct reader {
    const char *name;
    enum reader_state state;
    uint64_t nonce;    /* of its subscription, 0: none */
    uint64_t since_us; /* when that came */
    uint64_t next;     /* the nonce of a second one, which waits; 0: none */
    uint64_t next_us;  /* when that came */
    uint64_t sent;     /* publications on its topic */
    struct zn_backoff backoff;
    struct zn_timer timer;
};

struct zn_publish {
    struct zn_carrier *carrier;
    const zmqnet_peers *peers;
    int self;
    void *socket;
    bool due;              /* there is something to read */
    bool touched;          /* sent on since its events were read */
    uint64_t sent_to_all;  /* publications on the topic of all */
    struct zn_blob *held;  /* not published yet, */
    uint64_t held_for;     /* and for whom. Bit i of a mask is peer i */
    uint64_t wanted;       /* core wants these links */
    uint64_t subscribed;   /* UNWANTED, HELD or UP */
    uint64_t begun;        /* something went out on the topic of this subscription, of late */
    uint64_t named_us;     /* when that was forgotten last */
    struct zn_heap timers; /* tag: the peer */
    struct reader readers[ZN_REPLICAS_MAX];
};

static uint64_t bit(int peer) { return (uint64_t)1 << peer; }

static const struct zn_sink *sink_of(const struct zn_publish *p) { return &p->carrier->sink; }

/* ---- what leaves ---- */

/* What cannot leave for want of memory was numbered all the same: the subscriber sees a gap. */
static void publish(struct zn_publish *p, const uint8_t *head, size_t head_bytes)
{
    zmq_msg_t body;
    if (zn_socket_wrap(p->held, &body) != 0)
        return;
    if (zn_socket_send_bytes(p->socket, head, head_bytes, ZMQ_SNDMORE) != 0) {
        zmq_msg_close(&body);
        return;
    }
    int error = zn_socket_send(p->socket, &body, 0);
    assert(error == 0);
    (void)error;
}

static void publish_to_all(struct zn_publish *p)
{
    uint8_t head[ZN_HEAD_MAX];
    p->sent_to_all++;
    memcpy(head, ZN_TOPIC_ALL, ZN_TOPIC_ALL_BYTES);
    zn_sequence_write(head + ZN_TOPIC_ALL_BYTES, (struct zn_sequence){.all = p->sent_to_all});
    publish(p, head, ZN_TOPIC_ALL_BYTES + ZN_SEQUENCE_BYTES);
}

static void publish_to(struct zn_publish *p, int peer)
{
    struct reader *r = &p->readers[peer];
    uint8_t head[ZN_HEAD_MAX];
    p->begun |= bit(peer);
    r->sent++;
    size_t n = zn_topic_write(head, r->name, r->nonce);
    zn_sequence_write(head + n, (struct zn_sequence){.all = p->sent_to_all, .own = r->sent});
    publish(p, head, n + ZN_SEQUENCE_BYTES);
}

/* Who is subscribed hears what goes to all, so that topic is only for what is meant for each, and not
 * for the first thing that a subscriber hears: it has to know the number of the last one to all. */
static void publish_held(struct zn_publish *p)
{
    uint64_t peers = p->held_for;
    bool several = (peers & (peers - 1)) != 0;
    if (peers != 0)
        p->touched = true;
    if (several && peers == p->subscribed && (peers & ~p->begun) == 0)
        publish_to_all(p);
    else
        for (; peers != 0; peers &= peers - 1)
            publish_to(p, __builtin_ctzll(peers));
    p->held_for = 0;
    zn_blob_drop(&p->held);
}

/* ---- who listens ---- */

static void move(struct zn_publish *p, int peer, enum reader_state to)
{
    struct reader *r = &p->readers[peer];
    assert(allowed[r->state] & TO(to));
    r->state = to;
    zn_timer_clear(&p->timers, &r->timer);
    if (to != UP)
        p->held_for &= ~bit(peer);
    if (to == UNWANTED || to == HELD || to == UP) {
        p->subscribed |= bit(peer);
        return;
    }
    p->subscribed &= ~bit(peer);
    r->nonce = r->next = 0;
}

static void take_nonce(struct zn_publish *p, int peer, uint64_t nonce)
{
    struct reader *r = &p->readers[peer];
    r->nonce = nonce;
    r->next = 0;
    r->since_us = zn_clock_us();
    r->sent = 0;
    p->begun &= ~bit(peer);
}

static void arm(struct zn_publish *p, int peer, uint64_t in_us)
{
    zn_timer_set(&p->timers, &p->readers[peer].timer, zn_clock_us() + in_us);
}

static void come_up(struct zn_publish *p, int peer)
{
    move(p, peer, UP);
    sink_of(p)->link_up(sink_of(p)->arg, peer);
}

static void on_subscribed(struct zn_publish *p, int peer, uint64_t nonce)
{
    struct reader *r = &p->readers[peer];
    zn_link_hurry(&p->carrier->link[peer]);
    if (r->nonce == nonce)
        return;
    if (r->state == UP) {
        if (r->next == 0) { /* whoever subscribes again and again does not put off the decision */
            r->next_us = zn_clock_us();
            arm(p, peer, SILENT_US);
        }
        r->next = nonce;
        return;
    }
    bool waits = r->state == UNWANTED || r->state == HELD;
    take_nonce(p, peer, nonce);
    if (waits)
        return;
    if (p->wanted & bit(peer))
        come_up(p, peer);
    else
        move(p, peer, UNWANTED);
}

/* Its subscription is over. */
static void leave(struct zn_publish *p, int peer)
{
    bool was_up = p->readers[peer].state == UP;
    uint64_t next = p->readers[peer].next;
    if (zn_link_is_up(&p->carrier->link[peer])) {
        move(p, peer, AWAITED);
        arm(p, peer, AWAITED_US);
    } else {
        move(p, peer, GONE);
    }
    if (was_up)
        sink_of(p)->link_lost(sink_of(p)->arg, peer);
    if (next != 0)
        on_subscribed(p, peer, next);
}

static void on_unsubscribed(struct zn_publish *p, int peer, uint64_t nonce)
{
    struct reader *r = &p->readers[peer];
    if (r->nonce == nonce)
        leave(p, peer);
    else if (r->next == nonce)
        r->next = 0;
}

/* ---- what arrives ---- */

static void on_subscription(struct zn_publish *p, bool on, const uint8_t *topic, size_t n)
{
    char name[ZN_NAME_MAX + 1];
    uint64_t nonce = 0;
    if (n == ZN_TOPIC_ALL_BYTES && memcmp(topic, ZN_TOPIC_ALL, n) == 0)
        return;
    int peer = zn_topic_read(topic, n, name, &nonce) ? zmqnet_peers_find(p->peers, name) : -1;
    if (peer < 0 || peer == p->self) {
        if (on)
            sink_of(p)->count(sink_of(p)->arg, ZN_COUNT_bad_topic);
        return;
    }
    if (on)
        on_subscribed(p, peer, nonce);
    else
        on_unsubscribed(p, peer, nonce);
}

/* A subscription is one frame: 1, or 0 when its last subscriber is gone, and the topic. Everything
 * else is what a peer has no business to say here. */
static void take_frame(void *arg, zmq_msg_t *frame)
{
    struct zn_publish *p = arg;
    const uint8_t *data = zmq_msg_data(frame);
    size_t n = zmq_msg_size(frame);
    if (!zmq_msg_more(frame) && n > 0 && data[0] <= 1)
        on_subscription(p, data[0] == 1, data + 1, n - 1);
    else
        sink_of(p)->count(sink_of(p)->arg, ZN_COUNT_bad_topic);
}

/* By its own topic a subscriber knows that it is known, so each hears it now and then. */
static void name_again(struct zn_publish *p, uint64_t now_us)
{
    if (now_us - p->named_us < NAMED_US)
        return;
    p->named_us = now_us;
    p->begun = 0;
}

static void on_timer(struct zn_publish *p, int peer)
{
    enum reader_state state = p->readers[peer].state;
    if (state == HELD)
        come_up(p, peer);
    else if (state == UP && p->readers[peer].next != 0)
        leave(p, peer); /* its second subscription takes the place of the silent one */
    else if (state == AWAITED)
        sink_of(p)->link_failed(sink_of(p)->arg, peer, ZN_WHY_NO_HELLO);
}

/* ---- opening ---- */

static int open_socket(struct zn_publish *p, const struct zn_pattern_config *config, uint32_t token,
                       struct zmqnet_diag *diag)
{
    const struct zmqnet_replica *self = &config->peers->replicas[config->self];
    const struct zn_bind at = {.self = self, .port = self->pub_port, .what = "pub port"};
    struct zn_address address;
    int rc = zn_bind_resolve(&at, &address, diag);
    if (rc != 0)
        return rc;
    rc = zn_socket_make(p->carrier->context, ZMQ_XPUB, config->message_max,
                        zn_address_is_ipv6(&address), &p->socket);
    if (rc != 0)
        return zn_bind_explain(&at, diag, rc, "no socket: ", zmqnet_error_text(rc));
    int64_t cut_bytes = ZN_SUBSCRIPTION_BYTES_MAX;
    zmq_setsockopt(p->socket, ZMQ_MAXMSGSIZE, &cut_bytes, sizeof cut_bytes);
    zn_socket_set_int(p->socket, ZMQ_RCVHWM, SUBSCRIPTIONS_AHEAD);
    zn_socket_set_int(p->socket, ZMQ_XPUB_VERBOSE, 1);
    return zn_bind_listen(&at, &address, p->socket, config->epoll_fd, token, diag);
}

int zn_publish_open(struct zn_carrier *carrier, const struct zn_pattern_config *config,
                    uint32_t token, struct zn_publish **out, struct zmqnet_diag *diag)
{
    struct zn_publish *p = calloc(1, sizeof *p);
    if (!p)
        return ZMQNET_ENOMEM;
    p->carrier = carrier;
    p->peers = config->peers;
    p->self = config->self;
    for (int i = 0; i < (int)p->peers->n; i++) {
        p->readers[i].name = p->peers->replicas[i].name;
        zn_timer_init(&p->readers[i].timer, (uint32_t)i);
    }
    int rc = zn_heap_init(&p->timers, (uint32_t)p->peers->n);
    if (rc == 0)
        rc = open_socket(p, config, token, diag);
    if (rc != 0) {
        zn_publish_close(&p, 0);
        return rc;
    }
    p->due = true; /* what came since it was bound gave no edge */
    *out = p;
    return 0;
}

/* Also of one that was opened in part. */
void zn_publish_close(struct zn_publish **publish, int linger_ms)
{
    struct zn_publish *p = *publish;
    if (!p)
        return;
    publish_held(p);
    zn_bind_close(&p->socket, p->carrier->links.epoll_fd, linger_ms);
    zn_heap_free(&p->timers);
    free(p);
    *publish = NULL;
}

/* ---- the loop's calls ---- */

void zn_publish_want(struct zn_publish *p, int peer)
{
    p->wanted |= bit(peer);
    if (p->readers[peer].state != UNWANTED)
        return;
    move(p, peer, HELD);
    arm(p, peer, 0);
}

void zn_publish_reset(struct zn_publish *p, int peer)
{
    struct reader *r = &p->readers[peer];
    if (r->state != UP)
        return;
    move(p, peer, HELD);
    if (r->next != 0)
        take_nonce(p, peer, r->next);
    zn_backoff_not_at_once(&r->backoff);
    arm(p, peer, zn_backoff_next_us(&r->backoff, &p->carrier->links.rand));
}

void zn_publish_good(struct zn_publish *p, int peer) { p->readers[peer].backoff.us = 0; }

int zn_publish_send(struct zn_publish *p, int peer, struct zn_blob *frame)
{
    if (p->readers[peer].state != UP)
        return ZMQNET_ENEVERSENT;
    if (p->held != frame || p->held_for & bit(peer))
        publish_held(p);
    if (p->held_for == 0) {
        zn_blob_drop(&p->held);
        p->held = zn_blob_ref(frame);
    }
    p->held_for |= bit(peer);
    return 0;
}

void zn_publish_reached(struct zn_publish *p, int peer)
{
    if (p->readers[peer].state != GONE)
        return;
    move(p, peer, AWAITED);
    arm(p, peer, AWAITED_US);
}

/* A peer that subscribes lives, whatever keeps us from its ack port. But where connections are refused
 * the process is gone, and its subscription with it, though that may take a while to show. */
void zn_publish_unreached(struct zn_publish *p, int peer, enum zn_why why)
{
    bool subscribed = (p->subscribed & bit(peer)) != 0;
    if (p->readers[peer].state == AWAITED)
        move(p, peer, GONE);
    else if (subscribed && why == ZN_WHY_REFUSED &&
             p->carrier->link[peer].tried_us > p->readers[peer].since_us)
        leave(p, peer);
    if (why != ZN_WHY_NONE && !(p->subscribed & bit(peer)))
        sink_of(p)->link_failed(sink_of(p)->arg, peer, why);
}

int zn_publish_peer_of(const struct zn_publish *p, uint64_t nonce)
{
    for (uint64_t peers = p->subscribed; peers != 0; peers &= peers - 1) {
        int peer = __builtin_ctzll(peers);
        if (p->readers[peer].nonce == nonce)
            return peer;
    }
    return -1;
}

void zn_publish_answered(struct zn_publish *p, int peer)
{
    struct reader *r = &p->readers[peer];
    if (r->next == 0 || zn_clock_us() - r->next_us < CLASH_US)
        return;
    r->next = 0;
    sink_of(p)->count(sink_of(p)->arg, ZN_COUNT_name_clash);
}

bool zn_publish_is_up(const struct zn_publish *p, int peer) { return p->readers[peer].state == UP; }

void zn_publish_ready(struct zn_publish *p) { p->due = true; }

bool zn_publish_is_due(const struct zn_publish *p) { return p->due || p->touched; }

void zn_publish_turn(struct zn_publish *p, uint64_t now_us)
{
    name_again(p, now_us);
    if (zn_publish_is_due(p)) {
        p->touched = false;
        p->due = zn_socket_read(p->socket, take_frame, p);
    }
    for (size_t i = 0; i < p->peers->n; i++) {
        struct zn_timer *timer = zn_heap_pop_due(&p->timers, now_us);
        if (!timer)
            return;
        on_timer(p, (int)timer->tag);
    }
}

bool zn_publish_pending(struct zn_publish *p)
{
    publish_held(p);
    if (p->touched) {
        p->touched = false;
        p->due = p->due || (zn_socket_events(p->socket) & ZMQ_POLLIN) != 0;
    }
    return p->due;
}

uint64_t zn_publish_next_us(const struct zn_publish *p) { return zn_heap_next_us(&p->timers); }
