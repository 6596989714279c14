/* SPDX-License-Identifier: MIT */
/*
 * The ROUTER socket that peers and clients connect to. The loop's thread.
 *
 * In: frames go through the envelope parser, one at a time. A good message gets its route and goes to
 * the sink; any other is counted and dropped. libzmq hands over a message only when its last frame is
 * there: one of endlessly many frames grows inside libzmq, and nothing here can see it.
 * Out: the kept envelope, then the answer. MANDATORY makes libzmq say at the first frame that a
 * connection is gone or full; once that is taken, the rest is too.
 *
 * libzmq's descriptor is an edge that any call on the socket may eat: after each send its events are
 * read anew before the loop sleeps (`touched`).
 */
#include "pattern/server.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "pattern/bind.h"
#include "pattern/envelope.h"
#include "pattern/routes.h"
#include "pattern/socket.h"
#include "pattern/watch.h"

struct zn_server {
    struct zn_server_config config;
    void *socket;
    struct zn_watch *watch;
    struct zn_routes *routes;
    size_t frame_max;
    bool due, watch_due;         /* there is something to read */
    uint64_t watch_us;           /* when the watch is due in any case; UINT64_MAX: never */
    bool touched;                /* sent on since its events were read */
    struct zn_envelope envelope; /* of the message that is being read */
};

static void count(const struct zn_server *s, enum zn_counter counter)
{
    s->config.sink->count(s->config.sink->arg, counter);
}

static void deliver(struct zn_server *s, const void *body, size_t n)
{
    if (n > s->frame_max) {
        count(s, ZN_COUNT_oversize);
        return;
    }
    const struct zn_envelope *e = &s->envelope;
    zn_route route = zn_routes_put(s->routes, e->data, e->bytes);
    uint64_t connection = zn_routes_connection(s->routes, e->data, e->bytes);
    if (route != 0)
        s->config.sink->route_bytes(s->config.sink->arg, route, connection, body, n);
}

static void take_frame(void *arg, zmq_msg_t *frame)
{
    struct zn_server *s = arg;
    const void *data = zmq_msg_data(frame);
    size_t n = zmq_msg_size(frame);
    bool more = zmq_msg_more(frame) != 0;
    enum zn_counter bad;
    enum zn_envelope_verdict verdict = zn_envelope_frame(&s->envelope, data, n, more, &bad);
    if (verdict == ZN_ENVELOPE_BODY)
        deliver(s, data, n);
    else if (verdict == ZN_ENVELOPE_BAD)
        count(s, bad);
    if (!more)
        zn_envelope_begin(&s->envelope);
}

static void read_watch(struct zn_server *s, uint64_t now_us)
{
    struct zn_watched seen = zn_watch_read(s->watch, now_us);
    s->watch_due = seen.more;
    s->watch_us = seen.next_us;
    for (; seen.bad > 0; seen.bad--)
        count(s, ZN_COUNT_bad_handshake);
    if (seen.shut)
        count(s, ZN_COUNT_connections_full);
}

/* ---- opening ---- */

/* libzmq numbers anonymous connections upwards from a random() that nobody has seeded, and asserts if a
 * client has already given itself the next number: any stranger could end the process. So that first
 * number is drawn from a secret seed, and the host program's own sequence is put back. */
static int make_router(struct zn_server *s, bool ipv6)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* random()'s state is the process's */
    const struct zn_server_config *c = &s->config;
    char state[64];
    pthread_mutex_lock(&lock);
    char *before = initstate((unsigned)c->seed, state, sizeof state);
    int rc = zn_socket_make(c->context, ZMQ_ROUTER, c->message_max, ipv6, &s->socket);
    setstate(before);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int open_sockets(struct zn_server *s, const struct zn_bind *at, struct zmqnet_diag *diag)
{
    const struct zn_server_config *c = &s->config;
    struct zn_address address;
    int rc = zn_bind_resolve(at, &address, diag);
    if (rc != 0)
        return rc;
    rc = make_router(s, zn_address_is_ipv6(&address));
    if (rc != 0)
        return zn_bind_explain(at, diag, rc, "no socket: ", zmqnet_error_text(rc));
    zn_socket_set_int(s->socket, ZMQ_ROUTER_MANDATORY, 1);
    rc = zn_watch_open(c->context, s->socket, c->connections_max, &s->watch);
    if (rc != 0)
        return zn_bind_explain(at, diag, rc, "no monitor: ", zmqnet_error_text(rc));
    rc = zn_bind_listen(at, &address, s->socket, c->epoll_fd, c->token, diag);
    if (rc != 0)
        return rc;
    rc = zn_bind_watch(c->epoll_fd, zn_watch_fd(s->watch), c->watch_token);
    if (rc != 0)
        return zn_bind_explain(at, diag, rc, "epoll takes no more descriptors", "");
    return 0;
}

int zn_server_open(const struct zn_server_config *config, struct zn_server **out,
                   struct zmqnet_diag *diag)
{
    const struct zn_bind at = {.self = config->self, .port = config->self->port};
    struct zn_server *s = calloc(1, sizeof *s);
    if (!s)
        return zn_bind_explain(&at, diag, ZMQNET_ENOMEM, "out of memory", "");
    s->config = *config;
    s->frame_max = zn_frame_max(config->message_max);
    zn_envelope_begin(&s->envelope);
    int rc = zn_routes_open(ZN_ROUTES_MAX, config->seed, &s->routes);
    if (rc != 0)
        zn_bind_explain(&at, diag, rc, "out of memory", "");
    else
        rc = open_sockets(s, &at, diag);
    if (rc != 0) {
        zn_server_close(&s, 0);
        return rc;
    }
    s->watch_us = UINT64_MAX;
    s->touched = s->watch_due = true; /* what came since bind and connect gave no edge */
    *out = s;
    return 0;
}

/* Also of one that was opened in part. */
void zn_server_close(struct zn_server **s, int linger_ms)
{
    struct zn_server *it = *s;
    if (!it)
        return;
    if (it->watch) {
        epoll_ctl(it->config.epoll_fd, EPOLL_CTL_DEL, zn_watch_fd(it->watch), NULL);
        zn_watch_close(&it->watch);
    }
    zn_bind_close(&it->socket, it->config.epoll_fd, linger_ms);
    zn_routes_close(&it->routes);
    free(it);
    *s = NULL;
}

/* ---- the loop's calls ---- */

static int send_envelope(struct zn_server *s, const uint8_t *envelope, size_t bytes)
{
    size_t at = 0, n;
    const uint8_t *frame;
    for (bool first = true; zn_envelope_next(envelope, bytes, &at, &frame, &n); first = false) {
        int error = zn_socket_send_bytes(s->socket, frame, n, ZMQ_SNDMORE);
        if (error != 0 && first)
            return error == EAGAIN ? ZMQNET_EFULL : ZMQNET_ENEVERSENT;
        assert(error == 0);
    }
    return 0;
}

/* The answer is wrapped first: nothing may fail between the first frame and the last. */
int zn_server_reply(struct zn_server *s, zn_route route, struct zn_blob *frame)
{
    size_t bytes;
    const uint8_t *envelope = zn_routes_get(s->routes, route, &bytes);
    if (!envelope)
        return ZMQNET_ENEVERSENT;
    zmq_msg_t msg;
    if (zn_socket_wrap(frame, &msg) != 0)
        return ZMQNET_EFULL;
    s->touched = true;
    int rc = send_envelope(s, envelope, bytes);
    if (rc != 0) {
        zmq_msg_close(&msg);
        return rc;
    }
    int error = zn_socket_send(s->socket, &msg, 0);
    assert(error == 0);
    (void)error;
    return 0;
}

void zn_server_ready(struct zn_server *s, uint32_t token)
{
    if (token == s->config.token)
        s->due = true;
    else
        s->watch_due = true;
}

void zn_server_turn(struct zn_server *s, uint64_t now_us)
{
    if (s->due || s->touched) {
        s->touched = false;
        s->due = zn_socket_read(s->socket, take_frame, s);
    }
    if (s->watch_due || now_us >= s->watch_us)
        read_watch(s, now_us);
}

uint64_t zn_server_next_us(const struct zn_server *s) { return s->watch_us; }

bool zn_server_pending(struct zn_server *s)
{
    if (s->touched) {
        s->touched = false;
        s->due = s->due || (zn_socket_events(s->socket) & ZMQ_POLLIN) != 0;
    }
    return s->due || s->watch_due;
}
