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
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "pattern/address.h"
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

/* False: there is none now. The frame is ours until it is closed, whatever the sink does. */
static bool read_frame(struct zn_server *s)
{
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    if (zmq_msg_recv(&msg, s->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&msg);
        return false;
    }
    const void *data = zmq_msg_data(&msg);
    size_t n = zmq_msg_size(&msg);
    bool more = zmq_msg_more(&msg) != 0;
    enum zn_counter bad;
    enum zn_envelope_verdict verdict = zn_envelope_frame(&s->envelope, data, n, more, &bad);
    if (verdict == ZN_ENVELOPE_BODY)
        deliver(s, data, n);
    else if (verdict == ZN_ENVELOPE_BAD)
        count(s, bad);
    if (!more)
        zn_envelope_begin(&s->envelope);
    zmq_msg_close(&msg);
    return true;
}

static void read_frames(struct zn_server *s)
{
    uint64_t until_us = zn_clock_us() + ZN_TURN_READ_US;
    for (int left = ZN_TURN_FRAMES_MAX; left > 0 && read_frame(s); left--)
        if (zn_clock_us() >= until_us)
            break;
    s->touched = false;
    s->due = (zn_socket_events(s->socket) & ZMQ_POLLIN) != 0;
}

static void read_watch(struct zn_server *s)
{
    for (unsigned bad = zn_watch_read(s->watch, &s->watch_due); bad > 0; bad--)
        count(s, ZN_COUNT_bad_handshake);
}

/* ---- opening ---- */

static int explain(struct zmqnet_diag *diag, int code, const char *endpoint, const char *text,
                   const char *hint)
{
    diag->code = code;
    snprintf(diag->text, sizeof diag->text, "%.80s: %.115s%.55s", endpoint, text, hint);
    return code;
}

/* A host that is ours under another address (a public one behind a translation) is no error: then
 * every address of this machine is listened on. */
static int bind_any(void *socket, const struct zn_address *at, uint16_t port)
{
    char endpoint[ZN_ADDRESS_TEXT_MAX];
    zn_address_endpoint(at, endpoint);
    if (zmq_bind(socket, endpoint) == 0)
        return 0;
    if (errno != EADDRNOTAVAIL && errno != ENODEV)
        return errno;
    snprintf(endpoint, sizeof endpoint, "tcp://*:%u", (unsigned)port);
    return zmq_bind(socket, endpoint) == 0 ? 0 : errno;
}

static int bind_port(struct zn_server *s, const struct zn_address *at, struct zmqnet_diag *diag)
{
    const struct zmqnet_replica *self = s->config.self;
    int error = bind_any(s->socket, at, self->port);
    if (error == 0)
        return 0;
    if (error == EADDRINUSE) {
        char text[160];
        snprintf(text, sizeof text, "the port is taken: is another replica %s running? ",
                 self->name);
        return explain(diag, ZMQNET_EADDRINUSE, self->endpoint, text, "(ss -ltnp shows who)");
    }
    if (error == EMFILE || error == ENFILE)
        return explain(diag, ZMQNET_ENOFILE, self->endpoint, "no file descriptors left", "");
    return explain(diag, ZMQNET_EADDR, self->endpoint, "cannot be bound: ", zmq_strerror(error));
}

static int add(const struct zn_server *s, int fd, uint32_t token)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
    return epoll_ctl(s->config.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : ZMQNET_ESYSTEM;
}

static void del(const struct zn_server *s, int fd)
{
    epoll_ctl(s->config.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* libzmq numbers anonymous connections upwards from a random() that nobody has seeded, and asserts if a
 * client has already given itself the next number: any stranger could end the process. So that first
 * number is drawn from a secret seed, and the host program's own sequence is put back. */
static int make_router(struct zn_server *s, bool ipv6)
{
    const struct zn_server_config *c = &s->config;
    char state[64];
    char *before = initstate((unsigned)c->seed, state, sizeof state);
    int rc = zn_socket_make(c->context, ZMQ_ROUTER, c->message_max, ipv6, &s->socket);
    setstate(before);
    return rc;
}

static int open_sockets(struct zn_server *s, const struct zn_address *at, struct zmqnet_diag *diag)
{
    const struct zn_server_config *c = &s->config;
    int rc = make_router(s, zn_address_is_ipv6(at));
    if (rc != 0)
        return explain(diag, rc, c->self->endpoint, "no socket: ", zmqnet_error_text(rc));
    zn_socket_set_int(s->socket, ZMQ_ROUTER_MANDATORY, 1);
    rc = zn_watch_open(c->context, s->socket, &s->watch);
    if (rc != 0)
        return explain(diag, rc, c->self->endpoint, "no monitor: ", zmqnet_error_text(rc));
    rc = bind_port(s, at, diag);
    if (rc != 0)
        return rc;
    rc = add(s, zn_socket_fd(s->socket), c->token);
    if (rc == 0)
        rc = add(s, zn_watch_fd(s->watch), c->watch_token);
    if (rc != 0)
        return explain(diag, rc, c->self->endpoint, "epoll takes no more descriptors", "");
    return 0;
}

int zn_server_open(const struct zn_server_config *config, struct zn_server **out,
                   struct zmqnet_diag *diag)
{
    const struct zmqnet_replica *self = config->self;
    struct zn_address at;
    int rc = zn_address_resolve(self->host, self->port, &at);
    if (rc != 0)
        return explain(diag, rc, self->endpoint, "the host cannot be resolved", "");
    struct zn_server *s = calloc(1, sizeof *s);
    if (!s)
        return explain(diag, ZMQNET_ENOMEM, self->endpoint, "out of memory", "");
    s->config = *config;
    s->frame_max = zn_frame_max(config->message_max);
    zn_envelope_begin(&s->envelope);
    rc = zn_routes_open(ZN_ROUTES_MAX, config->seed, &s->routes);
    if (rc != 0) {
        explain(diag, rc, self->endpoint, "out of memory", "");
        goto close;
    }
    rc = open_sockets(s, &at, diag);
    if (rc != 0)
        goto close;
    s->touched = s->watch_due = true; /* what came since bind and connect gave no edge */
    *out = s;
    return 0;

close:
    zn_server_close(&s, 0);
    return rc;
}

/* Also of one that was opened in part: what epoll does not know, it fails to forget. */
void zn_server_close(struct zn_server **s, int linger_ms)
{
    struct zn_server *it = *s;
    if (!it)
        return;
    if (it->watch) {
        del(it, zn_watch_fd(it->watch));
        zn_watch_close(&it->watch);
    }
    if (it->socket) {
        del(it, zn_socket_fd(it->socket));
        zn_socket_close(&it->socket, linger_ms);
    }
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

void zn_server_turn(struct zn_server *s)
{
    if (s->due || s->touched)
        read_frames(s);
    if (s->watch_due)
        read_watch(s);
}

bool zn_server_pending(struct zn_server *s)
{
    if (s->touched) {
        s->touched = false;
        s->due = s->due || (zn_socket_events(s->socket) & ZMQ_POLLIN) != 0;
    }
    return s->due || s->watch_due;
}
