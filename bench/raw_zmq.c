/* SPDX-License-Identifier: MIT */
/*
 * The floor of libzmq: the same broadcasts over the smallest mesh of ROUTER and DEALER sockets.
 *
 * Each replica binds one ROUTER, for clients and for what others bounce, and connects one DEALER to
 * each other replica; an ack comes back on the DEALER, an answer on the client's own socket. A
 * message is one frame: a head and the payload. The head is rewritten in place and the message is
 * shared by all sends, so that no payload is copied. One thread beside the one of libzmq.
 *
 * Good path: bind, a first bounce to each other replica that is no broadcast, ready line when all
 * have acked it, SIGTERM, counters, exit 0. Failures: bad arguments (2), a port that is taken (1).
 * A replica that takes nothing has QUEUE_MAX messages waiting; what is above is dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "load.h"
#include "raw.h"

#define QUEUE_MAX 16384 /* above what all clients of a load have open */
#define TURN_MAX 256    /* messages from one socket in one turn */
#define HELLO_SLOT UINT32_MAX
#define ID_BYTES 5 /* of an anonymous ROUTER connection */

struct server {
    struct raw_replica r;
    void *context, *router;
    void *peers[RAW_REPLICAS_MAX]; /* DEALERs; NULL: ourselves */
    unsigned linked;               /* of them, so many have acked the hello */
};

/* A socket of either side that forgets what is unsent when it is closed. */
static void *open_socket(void *context, int type, int queue_max)
{
    void *socket = zmq_socket(context, type);
    int linger = 0;
    if (socket != NULL) {
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
        zmq_setsockopt(socket, ZMQ_SNDHWM, &queue_max, sizeof queue_max);
        zmq_setsockopt(socket, ZMQ_RCVHWM, &queue_max, sizeof queue_max);
    }
    return socket;
}

static bool take_head(zmq_msg_t *m, struct raw_head *head)
{
    if (zmq_msg_size(m) < sizeof *head)
        return false;
    memcpy(head, zmq_msg_data(m), sizeof *head);
    return true;
}

/* ---- what messages mean ------------------------------------------------------------------- */

/* To one connection of the ROUTER; one that is gone gets nothing. */
static void reply(struct server *s, const void *id, const struct raw_head *head)
{
    if (zmq_send(s->router, id, ID_BYTES, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(s->router, head, sizeof *head, ZMQ_DONTWAIT);
}

static void answer(struct server *s, const struct raw_answer *a)
{
    if (a->head.kind == RAW_ANSWER)
        reply(s, &a->client, &a->head);
}

static void bounce(struct server *s, const struct raw_head *head, zmq_msg_t *m)
{
    memcpy(zmq_msg_data(m), head, sizeof *head);
    for (unsigned i = 0; i < s->r.count; i++) {
        zmq_msg_t shared;
        if (s->peers[i] == NULL)
            continue;
        zmq_msg_init(&shared);
        zmq_msg_copy(&shared, m);
        if (zmq_msg_send(&shared, s->peers[i], ZMQ_DONTWAIT) >= 0) {
            s->r.sent++;
            continue;
        }
        s->r.dropped++;
        zmq_msg_close(&shared);
    }
}

static void on_request(struct server *s, const void *id, zmq_msg_t *m)
{
    struct raw_head head;
    if (!take_head(m, &head))
        return;
    if (head.kind == RAW_ASK) {
        uint64_t client = 0;
        memcpy(&client, id, ID_BYTES);
        struct raw_begun begun = raw_begin(&s->r, &head, client, s->r.count - 1);
        if (begun.bounce.kind == RAW_BOUNCE)
            bounce(s, &begun.bounce, m);
        answer(s, &begun.answer);
    } else if (head.kind == RAW_BOUNCE && head.slot == HELLO_SLOT) {
        head.kind = RAW_ACK;
        reply(s, id, &head);
    } else if (head.kind == RAW_BOUNCE) {
        struct raw_head ack = raw_serve(&s->r, &head, zmq_msg_size(m) - sizeof head);
        reply(s, id, &ack);
    }
}

static void on_ack(struct server *s, zmq_msg_t *m)
{
    struct raw_head head;
    if (!take_head(m, &head) || head.kind != RAW_ACK)
        return;
    if (head.slot == HELLO_SLOT) {
        if (++s->linked == s->r.count - 1)
            raw_replica_ready(&s->r);
        return;
    }
    struct raw_answer a = raw_ack(&s->r, &head);
    answer(s, &a);
}

static void take_requests(struct server *s)
{
    char id[ID_BYTES];
    zmq_msg_t m;
    zmq_msg_init(&m);
    for (int i = 0; i < TURN_MAX; i++) {
        int n = zmq_recv(s->router, id, sizeof id, ZMQ_DONTWAIT);
        if (n < 0)
            break;
        if (zmq_msg_recv(&m, s->router, ZMQ_DONTWAIT) < 0)
            break;
        if (n == ID_BYTES && !zmq_msg_more(&m))
            on_request(s, id, &m);
    }
    zmq_msg_close(&m);
}

static void take_acks(struct server *s, void *dealer)
{
    zmq_msg_t m;
    zmq_msg_init(&m);
    for (int i = 0; i < TURN_MAX && zmq_msg_recv(&m, dealer, ZMQ_DONTWAIT) >= 0; i++)
        on_ack(s, &m);
    zmq_msg_close(&m);
}

/* ---- a replica ---------------------------------------------------------------------------- */

static bool open_sockets(struct server *s)
{
    struct raw_head hello = {.kind = RAW_BOUNCE, .slot = HELLO_SLOT};
    char endpoint[300];
    s->context = zmq_ctx_new();
    s->router = open_socket(s->context, ZMQ_ROUTER, QUEUE_MAX);
    snprintf(endpoint, sizeof endpoint, "tcp://%s", s->r.addresses[s->r.self]);
    if (s->router == NULL || zmq_bind(s->router, endpoint) != 0)
        return false;
    for (unsigned i = 0; i < s->r.count; i++) {
        if (i == s->r.self)
            continue;
        s->peers[i] = open_socket(s->context, ZMQ_DEALER, QUEUE_MAX);
        snprintf(endpoint, sizeof endpoint, "tcp://%s", s->r.addresses[i]);
        if (s->peers[i] == NULL || zmq_connect(s->peers[i], endpoint) != 0)
            return false;
        zmq_send(s->peers[i], &hello, sizeof hello, ZMQ_DONTWAIT);
    }
    if (s->r.count == 1)
        raw_replica_ready(&s->r);
    return true;
}

static void run(struct server *s)
{
    zmq_pollitem_t items[RAW_REPLICAS_MAX + 1];
    int n = 0;
    items[n++] = (zmq_pollitem_t){.fd = s->r.signal_fd, .events = ZMQ_POLLIN};
    items[n++] = (zmq_pollitem_t){.socket = s->router, .events = ZMQ_POLLIN};
    for (unsigned i = 0; i < s->r.count; i++)
        if (s->peers[i] != NULL)
            items[n++] = (zmq_pollitem_t){.socket = s->peers[i], .events = ZMQ_POLLIN};
    while (zmq_poll(items, n, -1) >= 0 || errno == EINTR) {
        if (items[0].revents != 0)
            return;
        if (items[1].revents != 0)
            take_requests(s);
        for (int i = 2; i < n; i++)
            if (items[i].revents != 0)
                take_acks(s, items[i].socket);
    }
}

static int serve(int argc, char **argv)
{
    static struct server s;
    int code = 0;
    if (!raw_replica_open(&s.r, argc, argv))
        return 2;
    if (open_sockets(&s)) {
        run(&s);
    } else {
        fprintf(stderr, "serve: %s: %s\n", s.r.addresses[s.r.self], zmq_strerror(errno));
        code = 1;
    }
    for (unsigned i = 0; i < s.r.count; i++)
        if (s.peers[i] != NULL)
            zmq_close(s.peers[i]);
    zmq_close(s.router);
    zmq_ctx_term(s.context);
    raw_replica_close(&s.r);
    return code;
}

/* ---- a client ----------------------------------------------------------------------------- */

static void *link_context; /* of all clients */

static void *link_open(const char *address, int *fd)
{
    char endpoint[300];
    size_t fd_bytes = sizeof *fd;
    if (link_context == NULL)
        link_context = zmq_ctx_new();
    void *socket = open_socket(link_context, ZMQ_DEALER, 0);
    snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
    if (socket != NULL && zmq_connect(socket, endpoint) == 0 &&
        zmq_getsockopt(socket, ZMQ_FD, fd, &fd_bytes) == 0)
        return socket;
    fprintf(stderr, "bench: %s: %s\n", address, zmq_strerror(errno));
    if (socket != NULL)
        zmq_close(socket);
    return NULL;
}

static void link_send(void *socket, const struct raw_head *head, const void *payload, size_t bytes)
{
    zmq_msg_t m;
    zmq_msg_init_size(&m, sizeof *head + bytes);
    memcpy(zmq_msg_data(&m), head, sizeof *head);
    memcpy((char *)zmq_msg_data(&m) + sizeof *head, payload, bytes);
    zmq_msg_send(&m, socket, 0);
}

static void link_flush(void *socket) { (void)socket; }

static int link_recv(void *socket, struct raw_head *head)
{
    return zmq_recv(socket, head, sizeof *head, ZMQ_DONTWAIT) == sizeof *head;
}

static void link_close(void *socket) { zmq_close(socket); }

int main(int argc, char **argv)
{
    static const struct load_transport zmq = {
        "raw_zmq", link_open, link_send, link_flush, link_recv, link_close,
    };
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "bench") == 0) {
        int code = load_main(&zmq, argc - 1, argv + 1);
        if (link_context != NULL)
            zmq_ctx_term(link_context);
        return code;
    }
    fprintf(stderr, "use: raw_zmq serve INDEX HOST:PORT...\n     raw_zmq bench --help\n");
    return 2;
}
