/* SPDX-License-Identifier: MIT */
/*
 * The pattern "router": one ROUTER bound for requests in and their answers out, and one DEALER per
 * peer for requests out and their answers in. This file is the table, and the carrier that holds the
 * server (server.c) and the links (link.c). The loop's thread; it may be another one than opened.
 *
 * A turn costs what is ready: epoll's tokens set bits, and only links with a bit or a due timer are
 * visited. What the sink does meanwhile (send, reply, reset) sets bits again, and pending() finds
 * them before the loop sleeps.
 *
 * libzmq ends the process when it runs out of descriptors, so there must be enough before it starts.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "base/limits.h"
#include "pattern/link.h"
#include "pattern/pattern.h"
#include "pattern/server.h"
#include "pattern/socket.h"

/* Tokens: a link's is its peer's index; these stand behind them. */
enum { TOKEN_SERVER = ZN_REPLICAS_MAX, TOKEN_WATCH, TOKEN_RESOLVER };

#define CLOSE_LINGER_MS 100
#define FILES_WISHED 65536
#define CONTEXT_FILES 24 /* what libzmq opens before the first connection, and some */
#define CLIENTS_MIN 256  /* a replica that cannot take so many does not start */

struct zn_carrier {
    struct zn_sink sink;
    void *context;
    struct zn_server *server; /* NULL: a client */
    struct zn_links links;
    struct zn_link *link; /* links_n of them, one per replica; our own stays idle */
    size_t links_n;
    bool resolver_due;
};

/* ---- opening ---- */

/* The limit may allow many, and all of them be in use: libzmq aborts if it finds none. */
static int spare_files(int any_fd, struct zmqnet_diag *diag)
{
    int fds[CONTEXT_FILES], n = 0;
    while (n < CONTEXT_FILES && (fds[n] = dup(any_fd)) >= 0)
        n++;
    bool enough = n == CONTEXT_FILES;
    while (n > 0)
        close(fds[--n]);
    if (enough)
        return 0;
    snprintf(diag->text, sizeof diag->text,
             "fewer than %d file descriptors are free: close some, or raise the limit (ulimit -n)",
             CONTEXT_FILES);
    return ZMQNET_ENOFILE;
}

/* Per peer: its DEALER, a probe, the connection; ourselves: epoll, threads, the port; then clients. */
static int check_files(const struct zn_pattern_config *config, struct zmqnet_diag *diag)
{
    rlim_t needed = 16 + 3 * (rlim_t)config->peers->n + (config->self >= 0 ? CLIENTS_MIN : 0);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return ZMQNET_ESYSTEM;
    rlim_t wished = files.rlim_max < FILES_WISHED ? files.rlim_max : FILES_WISHED;
    if (files.rlim_cur < wished) {
        rlim_t before = files.rlim_cur;
        files.rlim_cur = wished;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0)
            files.rlim_cur = before;
    }
    if (files.rlim_cur >= needed)
        return spare_files(config->epoll_fd, diag);
    snprintf(diag->text, sizeof diag->text,
             "%llu file descriptors are allowed and %llu are needed: raise the limit (ulimit -n)",
             (unsigned long long)files.rlim_cur, (unsigned long long)needed);
    return ZMQNET_ENOFILE;
}

/* libzmq's threads start with the first socket and inherit the signal mask: they take no signal. */
static int open_context(size_t peers_n, void **out)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = ZMQNET_ENOMEM;
    void *context = zmq_ctx_new();
    if (context) {
        zmq_ctx_set(context, ZMQ_MAX_SOCKETS, (int)(64 + 4 * peers_n));
        zmq_ctx_set(context, ZMQ_BLOCKY, 0);
        void *first = zmq_socket(context, ZMQ_PAIR);
        rc = first ? 0 : ZMQNET_ENOFILE;
        zn_socket_close(&first, 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *out = context;
    return rc;
}

static int open_server(struct zn_carrier *c, const struct zn_pattern_config *config,
                       struct zmqnet_diag *diag)
{
    if (config->self < 0)
        return 0;
    struct zn_server_config server = {
        .context = c->context,
        .self = &config->peers->replicas[config->self],
        .message_max = config->message_max,
        .epoll_fd = config->epoll_fd,
        .token = TOKEN_SERVER,
        .watch_token = TOKEN_WATCH,
        .seed = zn_rand_u64(&c->links.rand),
        .sink = &c->sink,
    };
    return zn_server_open(&server, &c->server, diag);
}

static int open_links(struct zn_carrier *c, const struct zn_pattern_config *config)
{
    struct zn_links *ls = &c->links;
    ls->context = c->context;
    ls->message_max = config->message_max;
    ls->sink = &c->sink;
    int rc = zn_heap_init(&ls->timers, (uint32_t)config->peers->n);
    if (rc != 0)
        return rc;
    rc = zn_resolver_open(&ls->resolver);
    if (rc != 0)
        return rc;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = TOKEN_RESOLVER};
    if (epoll_ctl(ls->epoll_fd, EPOLL_CTL_ADD, zn_resolver_fd(ls->resolver), &event) != 0)
        return ZMQNET_ESYSTEM;
    c->link = calloc(config->peers->n, sizeof *c->link);
    if (!c->link)
        return ZMQNET_ENOMEM;
    c->links_n = config->peers->n;
    for (size_t i = 0; i < c->links_n; i++)
        zn_link_init(&c->link[i], ls, (int)i, &config->peers->replicas[i]);
    return 0;
}

/* Also of a carrier that was opened in part. Everything lingers at the same time. */
static void router_close(struct zn_carrier **carrier)
{
    struct zn_carrier *c = *carrier;
    if (!c)
        return;
    for (size_t i = 0; i < c->links_n; i++)
        zn_link_end(&c->link[i], CLOSE_LINGER_MS);
    free(c->link);
    if (c->links.resolver)
        epoll_ctl(c->links.epoll_fd, EPOLL_CTL_DEL, zn_resolver_fd(c->links.resolver), NULL);
    zn_resolver_close(&c->links.resolver);
    zn_heap_free(&c->links.timers);
    zn_server_close(&c->server, CLOSE_LINGER_MS);
    while (c->context && zmq_ctx_term(c->context) != 0 && errno == EINTR)
        continue;
    free(c);
    *carrier = NULL;
}

static int router_open(const struct zn_pattern_config *config, struct zn_carrier **out,
                       struct zmqnet_diag *diag)
{
    assert(config->peers->n <= ZN_REPLICAS_MAX && config->self < (int)config->peers->n);
    diag->text[0] = '\0';
    struct zn_carrier *c = calloc(1, sizeof *c);
    int rc = c ? check_files(config, diag) : ZMQNET_ENOMEM;
    if (rc == 0) {
        c->sink = config->sink;
        c->links.epoll_fd = config->epoll_fd;
        zn_rand_seed(&c->links.rand, config->seed);
        rc = open_context(config->peers->n, &c->context);
    }
    if (rc == 0)
        rc = open_links(c, config);
    if (rc == 0)
        rc = open_server(c, config, diag);
    if (rc == 0) {
        *out = c;
        return 0;
    }
    diag->code = rc;
    if (diag->text[0] == '\0')
        snprintf(diag->text, sizeof diag->text, "router: %s", zmqnet_error_text(rc));
    router_close(&c);
    return rc;
}

/* ---- the loop's calls ---- */

static struct zn_link *link_of(struct zn_carrier *c, int peer)
{
    assert(peer >= 0 && (size_t)peer < c->links_n);
    return &c->link[peer];
}

static void router_want(struct zn_carrier *c, int peer) { zn_link_want(link_of(c, peer)); }
static void router_reset(struct zn_carrier *c, int peer) { zn_link_reset(link_of(c, peer)); }
static void router_good(struct zn_carrier *c, int peer) { zn_link_good(link_of(c, peer)); }

static int router_send(struct zn_carrier *c, int peer, struct zn_blob *frame)
{
    return zn_link_send(link_of(c, peer), frame);
}

static int router_reply(struct zn_carrier *c, zn_route route, struct zn_blob *frame)
{
    return c->server ? zn_server_reply(c->server, route, frame) : ZMQNET_ENEVERSENT;
}

static void router_ready(struct zn_carrier *c, uint32_t token)
{
    if (token < c->links_n)
        c->links.due |= (uint64_t)1 << token;
    else if (token == TOKEN_RESOLVER)
        c->resolver_due = true;
    else if (c->server && (token == TOKEN_SERVER || token == TOKEN_WATCH))
        zn_server_ready(c->server, token);
}

static void run_timers(struct zn_carrier *c, uint64_t now_us)
{
    /* No more than one timer per link: one that is set again at once waits for the next turn. */
    for (size_t i = 0; i < c->links_n; i++) {
        struct zn_timer *timer = zn_heap_pop_due(&c->links.timers, now_us);
        if (!timer)
            return;
        zn_link_timer(&c->link[timer->tag]);
    }
}

static void take_resolved(struct zn_carrier *c)
{
    if (!c->resolver_due)
        return;
    c->resolver_due = false;
    struct zn_resolved answer;
    while (zn_resolver_take(c->links.resolver, &answer))
        zn_link_resolved(&c->link[answer.peer], &answer);
}

static bool router_pending(struct zn_carrier *c)
{
    uint64_t touched = c->links.touched;
    for (; touched != 0; touched &= touched - 1)
        zn_link_look(&c->link[__builtin_ctzll(touched)]);
    bool server = c->server && zn_server_pending(c->server);
    return server || c->links.due != 0 || c->resolver_due;
}

static void router_turn(struct zn_carrier *c, uint64_t now_us)
{
    if (c->server)
        zn_server_turn(c->server);
    take_resolved(c);
    for (uint64_t due = c->links.due; due != 0; due &= due - 1)
        zn_link_turn(&c->link[__builtin_ctzll(due)]);
    run_timers(c, now_us);
}

static uint64_t router_next_us(const struct zn_carrier *c)
{
    return zn_heap_next_us(&c->links.timers);
}

const struct zn_pattern zn_pattern_router = {
    .name = "router",
    .open = router_open,
    .close = router_close,
    .want = router_want,
    .reset = router_reset,
    .good = router_good,
    .send = router_send,
    .reply = router_reply,
    .ready = router_ready,
    .turn = router_turn,
    .pending = router_pending,
    .next_us = router_next_us,
};
