/* SPDX-License-Identifier: MIT */
/*
 * The carrier that every pattern is built on: libzmq's context, the bound server (server.c), and one
 * supervised link per peer (link.c). The loop's thread; it may be another one than opened.
 *
 * A turn costs what is ready: epoll's tokens set bits, and only links with a bit or a due timer are
 * visited. What the sink does meanwhile (send, reply, reset) sets bits again, and pending() finds
 * them before the loop sleeps.
 *
 * libzmq ends the process when it runs out of descriptors, so there must be enough before it starts.
 */
#include "pattern/carrier.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "pattern/context.h"
#include "pattern/socket.h"

#define CONTEXT_FILES 24 /* what libzmq opens before the first connection, and some */
#define CLIENTS_MIN 256  /* a replica that cannot take so many does not start */

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

/* Per peer: its socket, a probe, the connection; ourselves: epoll, threads, the port. */
static rlim_t own_files(const struct zn_pattern_config *config, unsigned files_per_peer)
{
    return 16 + (rlim_t)files_per_peer * config->peers->n;
}

/* Connections are counted later than they come: half of the descriptors are for those that come while
 * the loop is not run. */
static uint32_t connections_max(const struct zn_pattern_config *config, unsigned files_per_peer)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t own = own_files(config, files_per_peer);
    rlim_t left = files.rlim_cur > own ? files.rlim_cur - own : 0;
    left /= 2;
    return left < ZN_CONNECTIONS_MAX ? (uint32_t)left : ZN_CONNECTIONS_MAX;
}

static int check_files(const struct zn_pattern_config *config, unsigned files_per_peer,
                       struct zmqnet_diag *diag)
{
    rlim_t needed = own_files(config, files_per_peer);
    if (config->self >= 0)
        needed += CLIENTS_MIN;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return ZMQNET_ESYSTEM;
    rlim_t wished = files.rlim_max < ZN_FILES_MAX ? files.rlim_max : ZN_FILES_MAX;
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

static int open_server(struct zn_carrier *c, const struct zn_pattern_config *config,
                       unsigned files_per_peer, struct zmqnet_diag *diag)
{
    if (config->self < 0)
        return 0;
    struct zn_server_config server = {
        .context = c->context,
        .self = &config->peers->replicas[config->self],
        .message_max = config->message_max,
        .connections_max = connections_max(config, files_per_peer),
        .epoll_fd = config->epoll_fd,
        .token = ZN_TOKEN_SERVER,
        .watch_token = ZN_TOKEN_WATCH,
        .seed = zn_rand_u64(&c->links.rand),
        .sink = &c->sink,
    };
    return zn_server_open(&server, &c->server, diag);
}

static int open_links(struct zn_carrier *c, const struct zn_pattern_config *config,
                      const struct zn_carrier_kind *kind)
{
    struct zn_links *ls = &c->links;
    ls->context = c->context;
    ls->socket_type = kind->link_socket;
    ls->message_max = config->message_max;
    ls->sink = &c->sink;
    int rc = zn_heap_init(&ls->timers, (uint32_t)config->peers->n);
    if (rc != 0)
        return rc;
    rc = zn_resolver_open(&ls->resolver);
    if (rc != 0)
        return rc;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ZN_TOKEN_RESOLVER};
    if (epoll_ctl(ls->epoll_fd, EPOLL_CTL_ADD, zn_resolver_fd(ls->resolver), &event) != 0)
        return ZMQNET_ESYSTEM;
    c->link = calloc(config->peers->n, sizeof *c->link);
    if (!c->link)
        return ZMQNET_ENOMEM;
    c->links_n = config->peers->n;
    for (size_t i = 0; i < c->links_n; i++) {
        const struct zmqnet_replica *replica = &config->peers->replicas[i];
        zn_link_init(&c->link[i], ls, (int)i, replica->host, kind->link_port(replica));
    }
    return 0;
}

/* Also of a carrier that was opened in part. Everything lingers at the same time. */
void zn_carrier_close(struct zn_carrier **carrier)
{
    struct zn_carrier *c = *carrier;
    if (!c)
        return;
    for (size_t i = 0; i < c->links_n; i++)
        zn_link_end(&c->link[i], ZN_CLOSE_LINGER_MS);
    free(c->link);
    if (c->links.resolver)
        epoll_ctl(c->links.epoll_fd, EPOLL_CTL_DEL, zn_resolver_fd(c->links.resolver), NULL);
    zn_resolver_close(&c->links.resolver);
    zn_heap_free(&c->links.timers);
    zn_server_close(&c->server, ZN_CLOSE_LINGER_MS);
    zn_context_close(c->is_client, &c->context);
    free(c);
    *carrier = NULL;
}

void zn_carrier_explain(int code, struct zmqnet_diag *diag)
{
    diag->code = code;
    if (diag->text[0] == '\0')
        snprintf(diag->text, sizeof diag->text, "opening the sockets: %s", zmqnet_error_text(code));
}

int zn_carrier_open(const struct zn_pattern_config *config, const struct zn_carrier_kind *kind,
                    struct zn_carrier **out, struct zmqnet_diag *diag)
{
    assert(config->peers->n <= ZN_REPLICAS_MAX && config->self < (int)config->peers->n);
    assert(kind->bytes >= sizeof(struct zn_carrier));
    diag->text[0] = '\0';
    struct zn_carrier *c = calloc(1, kind->bytes);
    int rc = c ? check_files(config, kind->files_per_peer, diag) : ZMQNET_ENOMEM;
    if (rc == 0) {
        c->sink = config->sink;
        c->is_client = config->self < 0;
        c->links.epoll_fd = config->epoll_fd;
        zn_rand_seed(&c->links.rand, config->seed);
        rc = zn_context_open(c->is_client, 64 + 4 * config->peers->n, &c->context);
    }
    if (rc == 0)
        rc = open_links(c, config, kind);
    if (rc == 0)
        rc = open_server(c, config, kind->files_per_peer, diag);
    if (rc == 0) {
        *out = c;
        return 0;
    }
    zn_carrier_explain(rc, diag);
    zn_carrier_close(&c);
    return rc;
}

uint16_t zn_carrier_main_port(const struct zmqnet_replica *replica) { return replica->port; }

/* ---- the loop's calls ---- */

static struct zn_link *link_of(struct zn_carrier *c, int peer)
{
    assert(peer >= 0 && (size_t)peer < c->links_n);
    return &c->link[peer];
}

void zn_carrier_want(struct zn_carrier *c, int peer) { zn_link_want(link_of(c, peer)); }
void zn_carrier_reset(struct zn_carrier *c, int peer) { zn_link_reset(link_of(c, peer)); }
void zn_carrier_good(struct zn_carrier *c, int peer) { zn_link_good(link_of(c, peer)); }

int zn_carrier_send(struct zn_carrier *c, int peer, struct zn_blob *frame)
{
    return zn_link_send(link_of(c, peer), frame);
}

int zn_carrier_reply(struct zn_carrier *c, zn_route route, struct zn_blob *frame)
{
    return c->server ? zn_server_reply(c->server, route, frame) : ZMQNET_ENEVERSENT;
}

void zn_carrier_ready(struct zn_carrier *c, uint32_t token)
{
    if (token < c->links_n)
        c->links.due |= (uint64_t)1 << token;
    else if (token == ZN_TOKEN_RESOLVER)
        c->resolver_due = true;
    else if (c->server && (token == ZN_TOKEN_SERVER || token == ZN_TOKEN_WATCH))
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

bool zn_carrier_pending(struct zn_carrier *c)
{
    uint64_t touched = c->links.touched;
    for (; touched != 0; touched &= touched - 1)
        zn_link_look(&c->link[__builtin_ctzll(touched)]);
    bool server = c->server && zn_server_pending(c->server);
    return server || c->links.due != 0 || c->resolver_due;
}

void zn_carrier_turn(struct zn_carrier *c, uint64_t now_us)
{
    if (c->server)
        zn_server_turn(c->server, now_us);
    take_resolved(c);
    for (uint64_t due = c->links.due; due != 0; due &= due - 1)
        zn_link_turn(&c->link[__builtin_ctzll(due)]);
    run_timers(c, now_us);
}

uint64_t zn_carrier_next_us(const struct zn_carrier *c)
{
    uint64_t links_us = zn_heap_next_us(&c->links.timers);
    uint64_t server_us = c->server ? zn_server_next_us(c->server) : UINT64_MAX;
    return links_us < server_us ? links_us : server_us;
}
