/* SPDX-License-Identifier: MIT */
/*
 * The floor of this machine: the same broadcasts over plain TCP, without ZeroMQ.
 *
 * Each replica listens, and connects to every other one; acks and answers go back on the
 * connection that the frame came on. One thread, one epoll, nothing blocks, TCP_NODELAY. What a
 * turn has to say to one connection goes out in one write at its end; a large payload is written
 * from where it was read, at once.
 *
 * Good path: listen, connect, ready line, SIGTERM, counters, exit 0. Failures: bad arguments (2),
 * a port that is taken (1). A connection that ends or sends nonsense is closed; a replica that is
 * gone is not bounced to and not connected to again. One that takes nothing has OUT_MAX bytes
 * waiting.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "raw.h"
#include "tcp_link.h"

#define CONNECTIONS_MAX 2048
#define EVENTS_MAX 256
#define DIRECT_BYTES (16u << 10) /* from here on a payload is worth a write of its own */
#define OUT_MAX (128u << 20)
#define CONNECT_EVERY_MS 10

/* What epoll says of the two descriptors that are no connection. */
#define KEY_LISTENER UINT64_MAX
#define KEY_SIGNAL (UINT64_MAX - 1)

struct connection {
    int fd; /* -1: free */
    uint32_t index, life;
    bool dirty, waits; /* in the list of those to flush; epoll tells when there is room */
    struct tcp_buffer in, out;
};

struct server {
    struct raw_replica r;
    int epoll_fd, listener;
    struct connection connections[CONNECTIONS_MAX];
    uint32_t used;                              /* connections below this have been used */
    struct connection *peers[RAW_REPLICAS_MAX]; /* NULL: ourselves, or gone */
    unsigned peers_n;
    struct connection *dirty[CONNECTIONS_MAX];
    unsigned dirty_n;
};

/* ---- connections of a replica ------------------------------------------------------------- */

static uint64_t key_of(const struct connection *c) { return (uint64_t)c->life << 32 | c->index; }

static struct connection *connection_of(struct server *s, uint64_t key)
{
    struct connection *c = &s->connections[(uint32_t)key];
    return c->fd >= 0 && c->life == key >> 32 ? c : NULL;
}

static void watch(struct server *s, struct connection *c, int op, bool waits)
{
    struct epoll_event e = {.events = EPOLLIN | (waits ? EPOLLOUT : 0u), .data.u64 = key_of(c)};
    c->waits = waits;
    epoll_ctl(s->epoll_fd, op, c->fd, &e);
}

static struct connection *add_connection(struct server *s, int fd)
{
    int on = 1;
    uint32_t i = 0;
    while (i < s->used && s->connections[i].fd >= 0)
        i++;
    if (i == CONNECTIONS_MAX) {
        close(fd);
        return NULL;
    }
    if (i == s->used)
        s->used++;
    struct connection *c = &s->connections[i];
    *c = (struct connection){.fd = fd, .index = i, .life = c->life + 1, .dirty = c->dirty};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(s, c, EPOLL_CTL_ADD, false);
    return c;
}

static void close_connection(struct server *s, struct connection *c)
{
    for (unsigned i = 0; i < s->r.count; i++)
        if (s->peers[i] == c) {
            s->peers[i] = NULL;
            s->peers_n--;
        }
    close(c->fd);
    c->fd = -1;
    free(c->in.bytes);
    free(c->out.bytes);
    c->in = c->out = (struct tcp_buffer){0};
}

/* Returns how many bytes went out. An error shows again, as the end, when the socket is read. */
static size_t write_some(int fd, const struct iovec *parts, size_t parts_n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = parts_n};
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

static void flush(struct server *s, struct connection *c)
{
    c->dirty = false;
    if (c->fd < 0)
        return;
    struct iovec all = {c->out.bytes + c->out.begin, c->out.end - c->out.begin};
    if (all.iov_len > 0)
        c->out.begin += write_some(c->fd, &all, 1);
    bool waits = c->out.begin < c->out.end;
    if (waits != c->waits)
        watch(s, c, EPOLL_CTL_MOD, waits);
}

static bool say(struct server *s, struct connection *c, const struct raw_head *head,
                const char *payload, size_t bytes)
{
    char prefix[TCP_PREFIX_BYTES];
    size_t gone = 0, left;
    if (c->out.end - c->out.begin + bytes > OUT_MAX)
        return false;
    tcp_put_prefix(prefix, head, bytes);
    if (bytes >= DIRECT_BYTES && c->out.begin == c->out.end) {
        struct iovec parts[] = {{prefix, TCP_PREFIX_BYTES}, {(void *)payload, bytes}};
        gone = write_some(c->fd, parts, 2);
    }
    if (gone < TCP_PREFIX_BYTES)
        tcp_append(&c->out, prefix + gone, TCP_PREFIX_BYTES - gone);
    left = TCP_PREFIX_BYTES + bytes - gone;
    left = left < bytes ? left : bytes;
    tcp_append(&c->out, payload + (bytes - left), left);
    if (!c->dirty)
        s->dirty[s->dirty_n++] = c;
    c->dirty = true;
    return true;
}

/* ---- what frames mean --------------------------------------------------------------------- */

static void answer(struct server *s, const struct raw_answer *a)
{
    struct connection *c = a->head.kind == RAW_ANSWER ? connection_of(s, a->client) : NULL;
    if (c != NULL)
        say(s, c, &a->head, NULL, 0);
}

static void broadcast(struct server *s, struct connection *c, const struct raw_head *ask,
                      const char *payload, size_t bytes)
{
    struct raw_begun begun = raw_begin(&s->r, ask, key_of(c), s->peers_n);
    for (unsigned i = 0; begun.bounce.kind == RAW_BOUNCE && i < s->r.count; i++) {
        if (s->peers[i] == NULL)
            continue;
        if (say(s, s->peers[i], &begun.bounce, payload, bytes))
            s->r.sent++;
        else
            s->r.dropped++;
    }
    answer(s, &begun.answer);
}

static void on_frame(struct server *s, struct connection *c, const struct raw_head *head,
                     const char *payload, size_t bytes)
{
    if (head->kind == RAW_ASK) {
        broadcast(s, c, head, payload, bytes);
    } else if (head->kind == RAW_BOUNCE) {
        struct raw_head ack = raw_serve(&s->r, head, bytes);
        say(s, c, &ack, NULL, 0);
    } else if (head->kind == RAW_ACK) {
        struct raw_answer a = raw_ack(&s->r, head);
        answer(s, &a);
    }
}

static void on_readable(struct server *s, struct connection *c)
{
    struct raw_head head;
    const char *payload;
    size_t bytes;
    int got = tcp_fill(c->fd, &c->in);
    if (got > 0)
        while ((got = tcp_take(&c->in, &head, &payload, &bytes)) > 0)
            on_frame(s, c, &head, payload, bytes);
    if (got < 0)
        close_connection(s, c);
}

/* ---- a replica ---------------------------------------------------------------------------- */

static void on_listener(struct server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        add_connection(s, fd);
}

/* False: it is to end. */
static bool turn(struct server *s)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, -1);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == KEY_SIGNAL)
            return false;
        if (events[i].data.u64 == KEY_LISTENER) {
            on_listener(s);
            continue;
        }
        struct connection *c = connection_of(s, events[i].data.u64);
        if (c != NULL && (events[i].events & EPOLLOUT))
            flush(s, c);
        if (c != NULL && (events[i].events & ~(unsigned)EPOLLOUT))
            on_readable(s, c);
    }
    for (unsigned i = 0; i < s->dirty_n; i++)
        flush(s, s->dirty[i]);
    s->dirty_n = 0;
    return true;
}

/* Connects to all others, and tries again while they do not listen yet. False: it is to end. */
static bool connect_all(struct server *s)
{
    for (unsigned i = 0; i < s->r.count; i++) {
        int fd = -1;
        if (i == s->r.self)
            continue;
        while ((fd = tcp_open_socket(s->r.addresses[i], false)) < 0) {
            struct pollfd ending = {.fd = s->r.signal_fd, .events = POLLIN};
            if (poll(&ending, 1, CONNECT_EVERY_MS) > 0)
                return false;
        }
        s->peers[i] = add_connection(s, fd);
        s->peers_n++;
    }
    return true;
}

static int serve(int argc, char **argv)
{
    static struct server s;
    struct epoll_event listener = {.events = EPOLLIN, .data.u64 = KEY_LISTENER};
    struct epoll_event ending = {.events = EPOLLIN, .data.u64 = KEY_SIGNAL};
    if (!raw_replica_open(&s.r, argc, argv))
        return 2;
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s.listener = tcp_open_socket(s.r.addresses[s.r.self], true);
    if (s.listener < 0) {
        fprintf(stderr, "serve: %s: %s\n", s.r.addresses[s.r.self], strerror(errno));
        return 1;
    }
    epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, s.listener, &listener);
    epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, s.r.signal_fd, &ending);
    if (connect_all(&s)) {
        raw_replica_ready(&s.r);
        while (turn(&s))
            ;
    }
    for (uint32_t i = 0; i < s.used; i++)
        if (s.connections[i].fd >= 0)
            close_connection(&s, &s.connections[i]);
    raw_replica_close(&s.r);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "bench") == 0)
        return load_main(&tcp_transport, argc - 1, argv + 1);
    fprintf(stderr, "use: raw_tcp serve INDEX HOST:PORT...\n     raw_tcp bench --help\n");
    return 2;
}
