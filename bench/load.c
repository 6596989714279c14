/* SPDX-License-Identifier: MIT */
/*
 * The clients of a baseline: a closed loop, `inflight` broadcasts of each client open at any
 * time.
 *
 * One thread and one epoll drive all clients, each with a connection of its own. The clients take
 * the chosen replicas in turn. What is asked between the warm-up and the end is counted, and how
 * long its answer took; then nothing more is asked, and what is still open has a second. The rate
 * is over the time until the last answer. All this is as `zmqnet bench` does it.
 *
 * Failures: an answer without votes, a replica that is gone, and what has no answer after that
 * second, count as failed. Bad arguments: exit code 2; no connection, or no answer at all: 1.
 */
#include "load.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/histogram.h"
#include "base/parse.h"

#define CLIENTS_MAX 1024
#define INFLIGHT_MAX RAW_OPEN_MAX
#define EVENTS_MAX 64
#define NS_PER_US 1000ull
#define DRAIN_NS (1000000ull * NS_PER_US)

#define USAGE 2

struct options {
    uint64_t clients, inflight, size, duration_us, warmup_us;
    uint8_t quorum;
    unsigned targets[RAW_REPLICAS_MAX], targets_n; /* indices of addresses */
    bool targets_named;
    char **addresses;
    unsigned addresses_n;
};

struct client {
    void *link;
    int fd;
    uint64_t *asked_ns; /* when each of the inflight broadcasts was asked; 0: not open */
    uint64_t open_n;
};

struct load {
    const struct load_transport *transport;
    struct options o;
    struct client *clients;
    void *payload;
    int epoll_fd;
    uint64_t open_n;           /* of all clients */
    uint64_t begin_ns, end_ns; /* of what is counted */
    uint64_t last_ok_ns;
    uint64_t ok, failed;
    uint64_t cpu_ns;
    struct zn_histogram latency_ns;
};

/* ---- arguments ---------------------------------------------------------------------------- */

static const char use[] =
    "use: %s bench [-c CLIENTS] [--inflight N] [-s SIZE] [-d DURATION] [--warmup DURATION]\n"
    "       [-q all|majority|N] [-n INDEX]... HOST:PORT...\n";

static bool wrong(const char *option, const char *value)
{
    fprintf(stderr, "bench: %s: %s is not possible\n", option, value);
    return false;
}

static bool read_quorum(const char *text, uint8_t *out)
{
    uint64_t n = RAW_ALL;
    if (strcmp(text, "majority") == 0)
        n = RAW_MAJORITY;
    else if (strcmp(text, "all") != 0 && zn_parse_u64(text, 1, RAW_REPLICAS_MAX, &n) != 0)
        return wrong("-q", text);
    *out = (uint8_t)n;
    return true;
}

static bool read_target(const char *text, struct options *o)
{
    uint64_t index;
    if (o->targets_n == RAW_REPLICAS_MAX ||
        zn_parse_u64(text, 0, RAW_REPLICAS_MAX - 1, &index) != 0)
        return wrong("-n", text);
    o->targets[o->targets_n++] = (unsigned)index;
    o->targets_named = true;
    return true;
}

static bool read_option(int letter, const char *value, struct options *o)
{
    switch (letter) {
    case 'c': return zn_parse_u64(value, 1, CLIENTS_MAX, &o->clients) == 0 || wrong("-c", value);
    case 'i':
        return zn_parse_u64(value, 1, INFLIGHT_MAX, &o->inflight) == 0 ||
               wrong("--inflight", value);
    case 's':
        return (zn_parse_size(value, &o->size) == 0 && o->size <= RAW_WORK_MAX) ||
               wrong("-s", value);
    case 'd':
        return (zn_parse_duration_us(value, &o->duration_us) == 0 && o->duration_us > 0) ||
               wrong("-d", value);
    case 'w': return zn_parse_duration_us(value, &o->warmup_us) == 0 || wrong("--warmup", value);
    case 'q': return read_quorum(value, &o->quorum);
    case 'n': return read_target(value, o);
    default: return false; /* getopt has said what is wrong */
    }
}

/* The addresses that are left, and the targets among them: all, if none was named. */
static bool read_addresses(int argc, char **argv, struct options *o)
{
    char host[256], port[8];
    if (argc < 1 || argc > RAW_REPLICAS_MAX)
        return wrong("HOST:PORT...", argc < 1 ? "none" : "more than 64");
    o->addresses = argv;
    o->addresses_n = (unsigned)argc;
    for (unsigned i = 0; i < o->addresses_n; i++)
        if (!raw_address(argv[i], host, port))
            return wrong("HOST:PORT", argv[i]);
    for (unsigned i = 0; i < o->targets_n; i++)
        if (o->targets[i] >= o->addresses_n)
            return wrong("-n", "an index behind the last address");
    for (unsigned i = 0; !o->targets_named && i < o->addresses_n; i++)
        o->targets[o->targets_n++] = i;
    return true;
}

static bool read_arguments(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"clients", required_argument, NULL, 'c'}, {"inflight", required_argument, NULL, 'i'},
        {"size", required_argument, NULL, 's'},    {"duration", required_argument, NULL, 'd'},
        {"warmup", required_argument, NULL, 'w'},  {"quorum", required_argument, NULL, 'q'},
        {"name", required_argument, NULL, 'n'},    {NULL, 0, NULL, 0},
    };
    *o = (struct options){
        .clients = 1, .inflight = 1, .size = 32, .duration_us = 30000000, .warmup_us = 1000000};
    int letter;
    while ((letter = getopt_long(argc, argv, "c:s:d:q:n:", names, NULL)) != -1)
        if (!read_option(letter, optarg, o))
            return false;
    return read_addresses(argc - optind, argv + optind, o);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void ask(struct load *l, struct client *c, uint64_t slot, uint64_t now_ns)
{
    struct raw_head head = {.kind = RAW_ASK, .votes = l->o.quorum, .seq = slot};
    c->asked_ns[slot] = now_ns;
    c->open_n++;
    l->open_n++;
    l->transport->send(c->link, &head, l->payload, l->o.size);
}

static void count(struct load *l, const struct raw_head *head, uint64_t asked_ns, uint64_t now_ns)
{
    if (asked_ns < l->begin_ns)
        return;
    if (head->votes == 0) {
        l->failed++;
        return;
    }
    l->ok++;
    l->last_ok_ns = now_ns;
    zn_histogram_record(&l->latency_ns, now_ns - asked_ns);
}

static void lose(struct load *l, struct client *c)
{
    l->open_n -= c->open_n;
    c->open_n = 0;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
}

static void take_answers(struct load *l, struct client *c)
{
    struct raw_head head;
    int got;
    while ((got = l->transport->recv(c->link, &head)) == 1) {
        uint64_t slot = head.seq, now_ns = clock_ns(CLOCK_MONOTONIC);
        if (slot >= l->o.inflight || c->asked_ns[slot] == 0)
            continue;
        count(l, &head, c->asked_ns[slot], now_ns);
        c->asked_ns[slot] = 0;
        c->open_n--;
        l->open_n--;
        if (now_ns < l->end_ns)
            ask(l, c, slot, now_ns);
    }
    if (got < 0)
        lose(l, c);
    else
        l->transport->flush(c->link);
}

/* Or until nothing is open, after which nothing can happen. */
static void run_until(struct load *l, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now_ns;
    while ((now_ns = clock_ns(CLOCK_MONOTONIC)) < until_ns && l->open_n > 0) {
        int wait_ms = (int)((until_ns - now_ns) / (1000 * NS_PER_US)) + 1;
        int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, wait_ms);
        for (int i = 0; i < n; i++)
            take_answers(l, &l->clients[events[i].data.u32]);
    }
}

/* What was asked while measuring and has no answer. */
static void fail_open(struct load *l)
{
    for (uint64_t i = 0; i < l->o.clients; i++)
        for (uint64_t slot = 0; slot < l->o.inflight; slot++)
            l->failed += l->clients[i].asked_ns[slot] >= l->begin_ns;
}

static void run(struct load *l)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), cpu_ns;
    l->begin_ns = now_ns + l->o.warmup_us * NS_PER_US;
    l->end_ns = l->begin_ns + l->o.duration_us * NS_PER_US;
    for (uint64_t i = 0; i < l->o.clients; i++) {
        for (uint64_t slot = 0; slot < l->o.inflight; slot++)
            ask(l, &l->clients[i], slot, now_ns);
        take_answers(l, &l->clients[i]);
    }
    run_until(l, l->begin_ns);
    cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    run_until(l, l->end_ns);
    run_until(l, l->end_ns + DRAIN_NS);
    l->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    fail_open(l);
}

/* ---- the result --------------------------------------------------------------------------- */

static uint64_t quantile_us(const struct load *l, uint32_t millionths)
{
    return (zn_histogram_quantile(&l->latency_ns, millionths) + NS_PER_US / 2) / NS_PER_US;
}

static void print_result(const struct load *l)
{
    const struct options *o = &l->o;
    double ok = l->ok > 0 ? (double)l->ok : 1;
    uint64_t until_ns = l->last_ok_ns > l->end_ns ? l->last_ok_ns : l->end_ns;
    uint64_t duration_us = (until_ns - l->begin_ns) / NS_PER_US;
    printf("{\"name\":\"");
    for (unsigned i = 0; i < o->targets_n; i++)
        printf("%s%u", i > 0 ? "," : "", o->targets[i]);
    printf("\",\"n_clients\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"latency (nsec)\":%" PRIu64
           ",\"throughput (msg/sec)\":%.1f,\"pattern\":\"%s\"",
           o->clients, l->ok, zn_histogram_mean(&l->latency_ns, 1),
           (double)l->ok * 1e6 / (double)duration_us, l->transport->name);
    printf(",\"size\":%" PRIu64 ",\"inflight\":%" PRIu64 ",\"duration_us\":%" PRIu64
           ",\"ok\":%" PRIu64 ",\"failed\":%" PRIu64,
           o->size, o->inflight, duration_us, l->ok, l->failed);
    printf(",\"p50_us\":%" PRIu64 ",\"p90_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
           ",\"p999_us\":%" PRIu64 ",\"max_us\":%" PRIu64 ",\"cpu_us_per_op\":%.2f}\n",
           quantile_us(l, 500000), quantile_us(l, 900000), quantile_us(l, 990000),
           quantile_us(l, 999000), quantile_us(l, 1000000), (double)l->cpu_ns / 1e3 / ok);
}

/* ---- opening ------------------------------------------------------------------------------ */

static bool open_client(struct load *l, uint64_t i)
{
    struct client *c = &l->clients[i];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    unsigned target = l->o.targets[i % l->o.targets_n];
    c->asked_ns = calloc(l->o.inflight, sizeof *c->asked_ns);
    c->link = c->asked_ns ? l->transport->open(l->o.addresses[target], &c->fd) : NULL;
    return c->link != NULL && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) == 0;
}

static bool open_load(struct load *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->clients = calloc(l->o.clients, sizeof *l->clients);
    l->payload = malloc(l->o.size + 1);
    if (l->epoll_fd < 0 || l->clients == NULL || l->payload == NULL)
        return false;
    memset(l->payload, 'x', l->o.size + 1);
    for (uint64_t i = 0; i < l->o.clients; i++)
        if (!open_client(l, i))
            return false;
    return true;
}

static void close_load(struct load *l)
{
    for (uint64_t i = 0; l->clients != NULL && i < l->o.clients; i++) {
        if (l->clients[i].link != NULL)
            l->transport->close(l->clients[i].link);
        free(l->clients[i].asked_ns);
    }
    free(l->clients);
    free(l->payload);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
}

int load_main(const struct load_transport *transport, int argc, char **argv)
{
    static struct load l;
    l.transport = transport;
    if (!read_arguments(argc, argv, &l.o)) {
        fprintf(stderr, use, transport->name);
        return USAGE;
    }
    bool opened = open_load(&l);
    if (opened) {
        run(&l);
        print_result(&l);
    }
    close_load(&l);
    return l.ok > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
