/* SPDX-License-Identifier: MIT */
/*
 * The load of `bench`: clients, each a node with one connection, driven by one thread in one epoll.
 *
 * Closed loop: each answer is followed by the next message of that client at once, which starts with
 * all that it may have open. Open loop: message k is due at k / rate after the beginning, whatever
 * became of those before; its latency counts from when it was due, so that a stall shows in every
 * message that it held up, and one whose client has no room is failed.
 *
 * Time is cut in three: warm-up, measuring, and waiting for the last answers. What is due while
 * measuring is counted, and only that. Every message has a deadline, so the wait ends; what is open
 * after a signal is given a second (a second signal: none) and then settled by closing the nodes,
 * as failed. So in the end everything sent is either ok or failed. All memory is taken at the start.
 */
#include "cli/bench_load.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/session.h"

#define EVENTS_MAX 64
#define TURN_MESSAGES_MAX 256 /* begun in one turn, so that answers are read in between */
#define AGAIN_US ZN_MS        /* until a client whose message was not taken tries again */
#define LATE_US ZN_SECOND     /* more than a deadline can be exceeded by */
#define SIGNAL_GRACE_US ZN_SECOND

enum phase {
    WARMING_UP,
    MEASURING,
    WAITING, /* for the last answers */
    ENDED,
    PHASES
};

static const bool moves[PHASES][PHASES] = {
    [WARMING_UP] = {[MEASURING] = true, [WAITING] = true},
    [MEASURING] = {[WAITING] = true},
    [WAITING] = {[ENDED] = true},
};

/* Descriptors in epoll that are no client's. */
enum { TIMER = ZN_BENCH_CLIENTS_MAX, SIGNALS };

/* One message that is open, or free. */
struct message {
    struct client *client;
    struct message *next; /* of the free ones of its client */
    uint64_t due_us;
    bool measured;
};

struct client {
    struct load *load;
    const char *via;
    zmqnet_node *node;
    struct message *free;
};

struct load {
    const struct zn_bench_plan *plan;
    struct zn_bench_result *result;
    struct zn_bench_tally second; /* since the last call of on_second */
    zn_bench_second on_second;
    void *arg;

    struct client *clients;
    struct message *messages;
    char *body;
    int epoll_fd, timer_fd, signal_fd;
    uint64_t armed_us; /* when timer_fd will be readable; UINT64_MAX: never */

    enum phase phase;
    uint64_t open; /* messages */
    uint64_t start_us, measure_us, end_us;
    uint64_t give_up_us; /* WAITING: until then */
    uint64_t seconds;    /* told so far */
    uint64_t last_ok_us;
    uint64_t cpu_us; /* of this process when measuring began */

    uint64_t base_us, due_n; /* open loop: message due_n is due at base_us + due_n / rate */
    bool refill;             /* closed loop: some client has fewer open than it may */
};

static void move(struct load *l, enum phase to)
{
    assert(moves[l->phase][to]);
    l->phase = to;
}

static uint64_t own_cpu_us(void)
{
    struct rusage use;
    int rc = getrusage(RUSAGE_SELF, &use);
    assert(rc == 0);
    return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * ZN_SECOND +
           (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

/* ---- one message -------------------------------------------------------------------------- */

static void give_back(struct message *m)
{
    m->next = m->client->free;
    m->client->free = m;
    m->client->load->open--;
}

static void begin(struct client *c, uint64_t due_us);

static bool is_closed_loop(const struct load *l) { return l->plan->rate == 0; }

static void on_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct message *m = arg;
    struct client *c = m->client;
    struct load *l = c->load;
    uint64_t now = zn_clock_us();
    (void)node;
    if (receipt->status == 0) {
        zn_histogram_record(&l->second.latency_us, now - m->due_us);
        l->second.ok++;
    } else {
        l->second.failed++;
    }
    if (m->measured)
        zn_bench_record(l->result, l->plan, c->via, receipt, now - m->due_us);
    if (m->measured && receipt->status == 0)
        l->last_ok_us = now;
    zmqnet_receipt_free(&receipt);
    give_back(m);
    if (is_closed_loop(l) && now < l->end_us)
        begin(c, now);
}

static void not_taken(struct load *l, const char *via, bool measured, int code)
{
    l->second.failed++;
    if (measured)
        zn_bench_record_not_taken(l->result, via, code);
}

/* The next message of this client, if it may have another one open. */
static void begin(struct client *c, uint64_t due_us)
{
    struct load *l = c->load;
    struct message *m = c->free;
    bool measured = due_us >= l->measure_us;
    l->result->sent += measured;
    if (m == NULL) {
        not_taken(l, c->via, measured, ZMQNET_EFULL);
        return;
    }
    c->free = m->next;
    m->due_us = due_us;
    m->measured = measured;
    l->open++;
    int rc = zmqnet_broadcast_async(c->node, l->body, l->plan->size, &l->plan->call, on_done, m);
    if (rc == 0)
        return;
    give_back(m);
    not_taken(l, c->via, measured, rc);
    l->refill = true;
}

/* Closed loop: at the start, and for clients whose message was not taken. */
static void refill(struct load *l, uint64_t now)
{
    l->refill = false;
    for (size_t i = 0; i < l->plan->clients; i++)
        while (l->clients[i].free != NULL && !l->refill)
            begin(&l->clients[i], now);
}

static uint64_t next_due_us(const struct load *l)
{
    return l->base_us + l->due_n * ZN_SECOND / l->plan->rate;
}

/* Open loop: what is due by now. The count starts anew with the time of measuring, which so has the
 * same messages whatever the warm-up was. Returns whether more is due. */
static bool begin_due(struct load *l, uint64_t now)
{
    for (int i = 0; i < TURN_MESSAGES_MAX; i++) {
        if (l->base_us < l->measure_us && next_due_us(l) >= l->measure_us) {
            l->base_us = l->measure_us;
            l->due_n = 0;
        }
        uint64_t due_us = next_due_us(l);
        if (due_us > now || due_us >= l->end_us)
            return false;
        begin(&l->clients[l->due_n % l->plan->clients], due_us);
        l->due_n++;
    }
    return true;
}

/* ---- time --------------------------------------------------------------------------------- */

static void tell_second(struct load *l, uint64_t now)
{
    if (now < l->start_us + (l->seconds + 1) * ZN_SECOND)
        return;
    l->seconds = (now - l->start_us) / ZN_SECOND;
    l->on_second(l->arg, l->seconds, l->phase == WARMING_UP, &l->second);
    l->second.ok = l->second.failed = 0;
    zn_histogram_clear(&l->second.latency_us);
}

/* `more`: messages of before the end have not begun yet. */
static void advance(struct load *l, uint64_t now, bool more)
{
    if (l->phase == WARMING_UP && now >= l->measure_us) {
        move(l, MEASURING);
        l->cpu_us = own_cpu_us();
    }
    if (l->phase == MEASURING && now >= l->end_us && !more) {
        move(l, WAITING);
        l->give_up_us = now + l->plan->call.timeout_ms * ZN_MS + LATE_US;
    }
    if (l->phase == WAITING && (l->open == 0 || now >= l->give_up_us))
        move(l, ENDED);
    else
        tell_second(l, now);
}

/* The first signal ends the load, the second the waiting. */
static void on_signal(struct load *l)
{
    struct signalfd_siginfo info;
    uint64_t now = zn_clock_us();
    if (read(l->signal_fd, &info, sizeof info) != sizeof info)
        return;
    bool again = l->result->signal != 0;
    l->result->signal = (int)info.ssi_signo;
    if (now < l->end_us)
        l->end_us = now;
    if (l->measure_us > l->end_us)
        l->measure_us = l->end_us;
    if (l->phase != WAITING)
        move(l, WAITING);
    l->give_up_us = again ? now : now + SIGNAL_GRACE_US;
}

static void smaller(uint64_t *a, uint64_t b)
{
    if (b < *a)
        *a = b;
}

static uint64_t next_us(const struct load *l, uint64_t now)
{
    uint64_t next = l->start_us + (l->seconds + 1) * ZN_SECOND;
    if (l->phase == WARMING_UP)
        smaller(&next, l->measure_us);
    if (l->phase == MEASURING)
        smaller(&next, l->end_us);
    if (l->phase == WAITING)
        smaller(&next, l->give_up_us);
    else if (!is_closed_loop(l))
        smaller(&next, next_due_us(l));
    else if (l->refill)
        smaller(&next, now + AGAIN_US);
    return next;
}

/* One that fires early costs an idle turn, setting it anew each turn a system call. */
static void arm_timer(struct load *l, uint64_t at_us)
{
    if (at_us >= l->armed_us)
        return;
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(at_us / ZN_SECOND),
                     .tv_nsec = (long)(at_us % ZN_SECOND * 1000)},
    };
    int rc = timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    assert(rc == 0);
    l->armed_us = at_us;
}

static void on_timer(struct load *l)
{
    uint64_t times;
    (void)!read(l->timer_fd, &times, sizeof times);
    l->armed_us = UINT64_MAX;
}

/* ---- the loop ----------------------------------------------------------------------------- */

static void handle(struct load *l, uint32_t token)
{
    if (token < l->plan->clients)
        (void)!zmqnet_process(l->clients[token].node);
    else if (token == SIGNALS)
        on_signal(l);
    else
        on_timer(l);
}

static void turn(struct load *l)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = zn_clock_us();
    bool more = false;
    if (!is_closed_loop(l) && l->phase < WAITING)
        more = begin_due(l, now);
    else if (l->refill && now < l->end_us)
        refill(l, now);
    advance(l, now, more);
    if (l->phase == ENDED)
        return;
    if (!more)
        arm_timer(l, next_us(l, now));
    int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, more ? 0 : -1);
    assert(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++)
        handle(l, events[i].data.u32);
}

static void run(struct load *l)
{
    l->start_us = l->base_us = zn_clock_us();
    l->measure_us = l->start_us + l->plan->warmup_us;
    l->end_us = l->measure_us + l->plan->duration_us;
    l->refill = is_closed_loop(l);
    while (l->phase != ENDED)
        turn(l);
}

static void finish(struct load *l)
{
    uint64_t until_us = l->last_ok_us > l->end_us ? l->last_ok_us : l->end_us;
    l->result->duration_us = until_us - l->measure_us;
    l->result->cpu_us = own_cpu_us() - l->cpu_us;
}

/* ---- opening and closing ------------------------------------------------------------------ */

static int watch(struct load *l, int fd, uint32_t token)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = token};
    return fd < 0 ? -1 : epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int open_descriptors(struct load *l, struct zn_problem *problem)
{
    sigset_t signals = zn_output_ending_signals();
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    l->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (l->epoll_fd < 0 || watch(l, l->timer_fd, TIMER) < 0 || watch(l, l->signal_fd, SIGNALS) < 0)
        return zn_session_no_descriptor(problem);
    return 0;
}

static int allocate(struct load *l, struct zn_problem *problem)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz012345";
    size_t inflight = l->plan->inflight, size = l->plan->size;
    l->clients = calloc(l->plan->clients, sizeof *l->clients);
    l->messages = calloc(l->plan->clients * inflight, sizeof *l->messages);
    l->body = malloc(size + 1);
    if (l->clients == NULL || l->messages == NULL || l->body == NULL)
        return zn_problem_set(problem, ZN_PROBLEM_FAILED, "a smaller load takes less", "%s",
                              zmqnet_error_text(ZMQNET_ENOMEM));
    for (size_t i = 0; i < size; i++)
        l->body[i] = text[i % (sizeof text - 1)];
    for (size_t i = 0; i < l->plan->clients * inflight; i++) {
        struct message *m = &l->messages[i];
        m->client = &l->clients[i / inflight];
        m->next = m->client->free;
        m->client->free = m;
    }
    return 0;
}

static int open_clients(struct load *l, const struct zn_options *o, struct zn_problem *problem)
{
    int rc = 0;
    for (size_t i = 0; i < l->plan->clients && rc == 0; i++) {
        struct client *c = &l->clients[i];
        c->load = l;
        c->via = l->plan->targets[i % l->plan->targets_n];
        rc = zn_session_client(o, l->plan->peers, c->via, &c->node, problem);
        if (rc == 0 && watch(l, zmqnet_fd(c->node), (uint32_t)i) < 0)
            rc = zn_session_no_descriptor(problem);
    }
    return rc;
}

/* Closing a node settles what it has open. */
static void close_clients(struct load *l)
{
    for (size_t i = 0; l->clients != NULL && i < l->plan->clients; i++)
        zmqnet_close(&l->clients[i].node);
}

static void free_load(struct load *l)
{
    close_clients(l);
    free(l->clients);
    free(l->messages);
    free(l->body);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->timer_fd >= 0)
        close(l->timer_fd);
    if (l->signal_fd >= 0)
        close(l->signal_fd);
    free(l);
}

int zn_bench_load(const struct zn_options *o, const struct zn_bench_plan *plan,
                  zn_bench_second on_second, void *arg, struct zn_bench_result *result,
                  struct zn_problem *problem)
{
    struct load *l = calloc(1, sizeof *l);
    if (l == NULL)
        return zn_problem_set(problem, ZN_PROBLEM_FAILED, "", "%s",
                              zmqnet_error_text(ZMQNET_ENOMEM));
    l->plan = plan;
    l->result = result;
    l->on_second = on_second;
    l->arg = arg;
    l->armed_us = UINT64_MAX;
    l->epoll_fd = l->timer_fd = l->signal_fd = -1;
    int rc = open_descriptors(l, problem);
    if (rc == 0)
        rc = allocate(l, problem);
    if (rc == 0)
        rc = open_clients(l, o, problem);
    if (rc == 0) {
        run(l);
        finish(l);
        close_clients(l);
        assert(result->sent == result->total.ok + result->total.failed);
    }
    free_load(l);
    return rc;
}
