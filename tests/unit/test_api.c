/* SPDX-License-Identifier: MIT */
/*
 * The public interface over real sockets on loopback: whole meshes in this process, with threads of
 * their own unless a test drives a node itself. Only include/zmqnet.h is used.
 *
 * What callbacks see is written under one lock, and AWAIT() waits for it with a deadline. Callbacks
 * run in the loops' threads, where cmocka's assertions must not be used: they record, the test judges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "zmqnet.h"

#define SEATS 3
#define DEADLINE_S 20
#define REFUSAL 42

enum { ALPHA, BRAVO, CHARLIE };
static const char *const names[SEATS] = {"alpha", "bravo", "charlie"};

/* ---- waiting ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;

static void changed_init(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attr);
    pthread_condattr_destroy(&attr);
}

static void enter(void) { pthread_mutex_lock(&lock); }

static void leave(void)
{
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* With the lock held: false once the deadline has passed. */
static bool wait_change(const struct timespec *until)
{
    return pthread_cond_timedwait(&changed, &lock, until) == 0;
}

static struct timespec deadline(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += DEADLINE_S;
    return t;
}

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        const struct timespec until = deadline();                                                  \
        enter();                                                                                   \
        while (!(condition) && wait_change(&until)) {                                              \
        }                                                                                          \
        bool met = (condition);                                                                    \
        leave();                                                                                   \
        if (!met)                                                                                  \
            fail_msg("in vain: %s", #condition);                                                   \
    } while (0)

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what became of calls ---- */

struct result {
    zmqnet_receipt *receipt; /* the last one */
    unsigned times;
    unsigned failed; /* how many had a status other than 0 */
    int statuses[8]; /* of the first ones */
};

/* Static, so that a call that is still open when its test has failed completes into something. */
static struct result done, none;

struct progress {
    unsigned n, per_seat[SEATS];
    bool bad, after_done;
    unsigned done;
    struct zmqnet_id id;
};

static struct progress progress;

static struct {
    struct result done;
    int rc;
} burst;

/* What every blocking function returns here. */
struct blocking {
    int broadcast, request, status, stop;
    unsigned times;
};

static struct blocking blocked;

/* ---- a mesh of three ---- */

struct seat {
    zmqnet_node *node;
    zmqnet_handler on_message; /* NULL: acks */
    enum zmqnet_state states[SEATS];
    char causes[SEATS][64];
    unsigned handled;
    uint64_t token;  /* of the last message */
    char log[16384]; /* "id text" lines */
};

static uint16_t ports[SEATS];
static size_t message_max; /* of nodes that are opened; 0: the default */
static zmqnet_peers *peers;
static struct seat seats[SEATS], outsider; /* outsider: a client */

static int name_index(const char *name)
{
    for (int i = 0; i < SEATS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static int handle(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    struct seat *s = arg;
    enter();
    s->handled++;
    s->token = message->token;
    zmqnet_handler on_message = s->on_message;
    leave();
    return on_message ? on_message(node, message, arg) : 0;
}

static void see_event(zmqnet_node *node, const struct zmqnet_event *event, void *arg)
{
    struct seat *s = arg;
    int peer = name_index(event->peer);
    (void)node;
    if (event->code != 0 || peer < 0)
        return;
    enter();
    s->states[peer] = event->state;
    snprintf(s->causes[peer], sizeof s->causes[peer], "%s", event->cause);
    leave();
}

static void see_log(enum zmqnet_level level, const char *id, const char *text, void *arg)
{
    struct seat *s = arg;
    (void)level;
    enter();
    size_t n = strlen(s->log);
    snprintf(s->log + n, sizeof s->log - n, "%s %s\n", id, text);
    leave();
}

static struct zmqnet_options options_of(struct seat *s, const char *name)
{
    return (struct zmqnet_options){
        .name = name,
        .message_max = message_max,
        .handler = handle,
        .handler_arg = s,
        .log = see_log,
        .log_arg = s,
        .on_event = see_event,
        .event_arg = s,
    };
}

static void seat_open(int i)
{
    struct zmqnet_diag diag;
    struct zmqnet_options o = options_of(&seats[i], names[i]);
    memset(&seats[i], 0, sizeof seats[i]);
    int rc = zmqnet_open(&seats[i].node, peers, &o, &diag);
    if (rc != 0)
        fail_msg("%s: %s", names[i], diag.text);
}

static void seat_start(int i)
{
    seat_open(i);
    assert_int_equal(zmqnet_start(seats[i].node), 0);
}

static void client_start(const char *via)
{
    struct zmqnet_options o = options_of(&outsider, NULL);
    o.via = via;
    assert_null(outsider.node);
    memset(&outsider, 0, sizeof outsider);
    assert_int_equal(zmqnet_open(&outsider.node, peers, &o, NULL), 0);
    assert_int_equal(zmqnet_start(outsider.node), 0);
}

static bool sees(const struct seat *s, int peer, enum zmqnet_state state)
{
    return s->states[peer] == state;
}

static bool all_up(void)
{
    for (int i = 0; i < SEATS; i++)
        for (int p = 0; p < SEATS; p++)
            if (p != i && !sees(&seats[i], p, ZMQNET_UP))
                return false;
    return true;
}

static void on_message(int i, zmqnet_handler handler)
{
    enter();
    seats[i].on_message = handler;
    leave();
}

static void on_message_all(zmqnet_handler handler)
{
    for (int i = 0; i < SEATS; i++)
        on_message(i, handler);
}

/* Below the ephemeral range, where no connecting socket can take it. */
static uint16_t free_port(void)
{
    static unsigned seed;
    if (seed == 0)
        seed = (unsigned)getpid() * 2654435761u ^ (unsigned)now_ms();
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        uint16_t port = (uint16_t)(20000 + rand_r(&seed) % 12000);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        a.sin_port = htons(port);
        bool ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
        close(fd);
        for (int i = 0; i < SEATS; i++)
            ok = ok && ports[i] != port;
        if (ok)
            return port;
    }
}

static size_t peers_text(char *text, size_t max)
{
    for (int i = 0; i < SEATS; i++)
        ports[i] = free_port();
    return (size_t)snprintf(text, max,
                            "{\"replicas\": [{\"name\": \"alpha\", \"address\": \"127.0.0.1:%u\"},"
                            "{\"name\": \"bravo\", \"address\": \"127.0.0.1:%u\"},"
                            "{\"name\": \"charlie\", \"address\": \"127.0.0.1:%u\"}]}",
                            ports[ALPHA], ports[BRAVO], ports[CHARLIE]);
}

static int with_peers(void **state)
{
    char text[1024];
    (void)state;
    memset(&blocked, 0, sizeof blocked);
    memset(&burst, 0, sizeof burst);
    memset(&progress, 0, sizeof progress);
    done = none = (struct result){0};
    message_max = 0;
    size_t n = peers_text(text, sizeof text);
    return zmqnet_peers_parse(text, n, &peers, NULL, 0, NULL);
}

static int with_mesh(void **state)
{
    if (with_peers(state) != 0)
        return -1;
    for (int i = 0; i < SEATS; i++)
        seat_start(i);
    AWAIT(all_up());
    return 0;
}

static int end(void **state)
{
    (void)state;
    zmqnet_close(&outsider.node);
    for (int i = 0; i < SEATS; i++)
        zmqnet_close(&seats[i].node);
    zmqnet_peers_free(&peers);
    zmqnet_receipt_free(&done.receipt);
    zmqnet_receipt_free(&none.receipt);
    zmqnet_receipt_free(&burst.done.receipt);
    return 0;
}

/* ---- completions ---- */

static void collect(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct result *r = arg;
    (void)node;
    enter();
    if (r->times < 8)
        r->statuses[r->times] = receipt->status;
    r->times++;
    r->failed += receipt->status != 0;
    zmqnet_receipt_free(&r->receipt);
    r->receipt = receipt;
    leave();
}

static const struct zmqnet_row *row_of(const zmqnet_receipt *r, const char *name)
{
    for (size_t i = 0; i < r->rows_n; i++)
        if (strcmp(r->rows[i].name, name) == 0)
            return &r->rows[i];
    fail_msg("no row of %s", name);
    return NULL;
}

static enum zmqnet_outcome outcome_of(const zmqnet_receipt *r, int i)
{
    return row_of(r, names[i])->outcome;
}

static void assert_reply(const struct zmqnet_row *row, const char *text)
{
    assert_int_equal(row->reply_bytes, strlen(text));
    if (text[0])
        assert_memory_equal(row->reply, text, strlen(text));
    else
        assert_null(row->reply);
}

static uint64_t counter(zmqnet_node *node, const char *name)
{
    zmqnet_status *s = NULL;
    uint64_t value = UINT64_MAX;
    assert_int_equal(zmqnet_status_get(node, NULL, 0, &s, NULL), 0);
    for (size_t i = 0; i < s->counters_n; i++)
        if (strcmp(s->counters[i].name, name) == 0)
            value = s->counters[i].value;
    zmqnet_status_free(&s);
    assert_true(value != UINT64_MAX);
    return value;
}

/* ---- handlers ---- */

static int answer_name(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    const char *name = names[(struct seat *)arg - seats];
    int rc = zmqnet_answer(node, message->token, 0, name, strlen(name));
    assert(rc == 0);
    return ZMQNET_LATER;
}

static int refuse(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)arg;
    int rc = zmqnet_answer(node, message->token, REFUSAL, "no room", 7);
    assert(rc == 0);
    return ZMQNET_LATER;
}

static int refuse_at_once(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return REFUSAL;
}

static int refuse_out_of_range(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return ZMQNET_CODE_MAX + 1;
}

static int never_answer(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return ZMQNET_LATER;
}

/* ---- opening ---- */

static void test_open_from_memory_and_file(void **state)
{
    (void)state;
    char text[1024], path[] = "/tmp/zmqnet-test-XXXXXX";
    zmqnet_peers *from_file = NULL, *from_memory = NULL;
    zmqnet_node *node = NULL;
    const struct zmqnet_options o = {.name = "bravo"};
    size_t n = peers_text(text, sizeof text), diags_n = 7;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    int rc = zmqnet_peers_load(path, &from_file, NULL, 0, &diags_n);
    unlink(path);
    assert_int_equal(rc, 0);
    assert_int_equal(zmqnet_peers_parse(text, n, &from_memory, NULL, 0, NULL), 0);
    memset(text, 'x', n);
    assert_int_equal(zmqnet_peers_count(from_file), SEATS);
    assert_int_equal(zmqnet_peers_get(from_memory, CHARLIE)->port, ports[CHARLIE]);
    assert_int_equal(zmqnet_open(&node, from_file, &o, NULL), 0);
    zmqnet_peers_free(&from_file); /* the node has a reference of its own */
    assert_null(from_file);
    zmqnet_close(&node);
    assert_null(node);
    assert_int_equal(zmqnet_open(&node, from_memory, NULL, NULL), 0);
    zmqnet_peers_free(&from_memory);
    zmqnet_close(&node);
    zmqnet_close(&node);
}

static void open_fails(const zmqnet_peers *with, struct zmqnet_options o, int code)
{
    struct zmqnet_diag diag = {.code = 1};
    zmqnet_node *node = NULL;
    assert_int_equal(zmqnet_open(&node, with, &o, &diag), code);
    assert_null(node);
    assert_int_equal(diag.code, code);
    assert_true(strlen(diag.text) > 0);
    assert_int_equal(zmqnet_open(&node, with, &o, NULL), code);
}

static void test_open_errors(void **state)
{
    (void)state;
    zmqnet_node *node = NULL;
    const char *far = "{\"replicas\": [{\"name\": \"alpha\", \"address\": \"x.invalid:20001\"}]}";
    zmqnet_peers *far_peers = NULL;
    assert_int_equal(zmqnet_open(NULL, peers, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_open(&node, NULL, NULL, NULL), ZMQNET_EINVAL);
    open_fails(NULL, (struct zmqnet_options){.name = "alpha"}, ZMQNET_EINVAL);
    open_fails(peers, (struct zmqnet_options){.name = "nobody"}, ZMQNET_ENOPEER);
    open_fails(peers, (struct zmqnet_options){.via = "nobody"}, ZMQNET_ENOPEER);
    open_fails(peers, (struct zmqnet_options){.name = "alpha", .via = "bravo"}, ZMQNET_EINVAL);
    open_fails(peers, (struct zmqnet_options){.pattern = "nothing"}, ZMQNET_EINVAL);
    open_fails(peers, (struct zmqnet_options){.message_max = (1u << 30) + 1u}, ZMQNET_EINVAL);
    seat_open(ALPHA);
    open_fails(peers, (struct zmqnet_options){.name = "alpha"}, ZMQNET_EADDRINUSE);
    assert_int_equal(zmqnet_peers_parse(far, strlen(far), &far_peers, NULL, 0, NULL), 0);
    open_fails(far_peers, (struct zmqnet_options){.name = "alpha"}, ZMQNET_EADDR);
    zmqnet_peers_free(&far_peers);
}

/* In a child, since a hard limit cannot be raised again by everybody. */
static int open_with_few_files(rlim_t files)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit few = {files, files};
        const struct zmqnet_options o = {.name = "alpha"};
        zmqnet_node *node = NULL;
        int rc = setrlimit(RLIMIT_NOFILE, &few) == 0 ? zmqnet_open(&node, peers, &o, NULL) : -99;
        _exit(-rc);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void test_open_too_few_files(void **state)
{
    (void)state;
    assert_int_equal(open_with_few_files(12), ZMQNET_ENOFILE);
    assert_int_equal(open_with_few_files(3), ZMQNET_ENOFILE);
}

static void test_close_right_after_open(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        seat_open(ALPHA);
        zmqnet_close(&seats[ALPHA].node);
        seat_start(ALPHA);
        zmqnet_close(&seats[ALPHA].node);
        client_start(NULL);
        zmqnet_close(&outsider.node);
    }
}

static void test_start_states(void **state)
{
    (void)state;
    seat_open(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    assert_true(zmqnet_fd(node) >= 0);
    assert_int_equal(zmqnet_start(node), 0);
    assert_int_equal(zmqnet_start(node), ZMQNET_ESTATE);
    assert_int_equal(zmqnet_fd(node), -1);
    assert_int_equal(zmqnet_process(node), ZMQNET_ESTATE);
    assert_int_equal(zmqnet_stop(node, 60001), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_stop(node, 0), 0);
    assert_int_equal(zmqnet_start(node), ZMQNET_ESTATE);
}

static void test_start_after_stop(void **state)
{
    (void)state;
    seat_open(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    assert_int_equal(zmqnet_stop(node, 0), 0);
    assert_int_equal(zmqnet_start(node), ZMQNET_ESTATE);
    while (zmqnet_process(node) == 0) {
    }
    assert_int_equal(zmqnet_start(node), ZMQNET_ESTATE);
    assert_int_equal(zmqnet_process(node), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_stop(node, 0), 0);
}

static void *drive_to_up(void *arg)
{
    const struct timespec until = deadline();
    struct pollfd fd = {.fd = zmqnet_fd(seats[ALPHA].node), .events = POLLIN};
    struct timespec now = {0};
    bool up = false;
    while (!up && now.tv_sec < until.tv_sec && poll(&fd, 1, 1000) >= 0) {
        if (zmqnet_process(seats[ALPHA].node) != 0)
            break;
        clock_gettime(CLOCK_MONOTONIC, &now);
        enter();
        up = seats[ALPHA].states[BRAVO] == ZMQNET_UP;
        leave();
    }
    return up ? arg : NULL;
}

/* Opened here, driven there, and closed here when the driving thread has ended. */
static void test_close_from_another_thread(void **state)
{
    (void)state;
    pthread_t driver;
    void *up = NULL;
    seat_open(ALPHA);
    seat_start(BRAVO);
    assert_int_equal(pthread_create(&driver, NULL, drive_to_up, state), 0);
    pthread_join(driver, &up);
    assert_non_null(up);
    zmqnet_close(&seats[ALPHA].node);
}

/* ---- bad arguments and states of calls ---- */

static void broadcast_fails(zmqnet_node *node, const struct zmqnet_call *call, int code)
{
    zmqnet_receipt *receipt = (zmqnet_receipt *)(uintptr_t)1;
    assert_int_equal(zmqnet_broadcast(node, "x", 1, call, &receipt), code);
    assert_null(receipt);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, call, collect, &none), code);
}

static void test_call_arguments(void **state)
{
    (void)state;
    seat_start(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    broadcast_fails(node, &(struct zmqnet_call){.timeout_ms = 300001}, ZMQNET_EINVAL);
    broadcast_fails(node, &(struct zmqnet_call){.attempts = 101}, ZMQNET_EINVAL);
    broadcast_fails(node, &(struct zmqnet_call){.quorum = -2}, ZMQNET_EINVAL);
    broadcast_fails(node, &(struct zmqnet_call){.quorum = SEATS + 1}, ZMQNET_EINVAL);
    assert_int_equal(zmqnet_broadcast(node, NULL, 1, NULL, &r), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_broadcast(node, "x", 1, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, NULL, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_request(node, "nobody", "x", 1, NULL, &r), ZMQNET_ENOPEER);
    assert_int_equal(zmqnet_request(node, NULL, "x", 1, NULL, &r), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_request(node, "alpha", NULL, 1, NULL, &r), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_request(node, "alpha", "x", 1, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_request_async(node, "nobody", "x", 1, NULL, collect, &none),
                     ZMQNET_ENOPEER);
    assert_int_equal(zmqnet_request_async(node, "alpha", "x", 1, NULL, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_status_get(node, NULL, 0, NULL, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_status_get(node, NULL, 300001, &s, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_status_get(node, "nobody", 0, &s, NULL), ZMQNET_ENOPEER);
    assert_int_equal(zmqnet_status_get(node, "bravo", 0, &s, NULL), ZMQNET_EINVAL);
    assert_null(r);
    assert_null(s);
    assert_int_equal(none.times, 0);
}

static void test_request_ignores_quorum(void **state)
{
    (void)state;
    seat_start(ALPHA);
    zmqnet_receipt *r = NULL;
    const struct zmqnet_call call = {.quorum = SEATS + 1};
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "alpha", "x", 1, &call, &r), 0);
    zmqnet_receipt_free(&r);
}

static void test_answer_arguments(void **state)
{
    (void)state;
    struct zmqnet_options o = {.name = "alpha", .message_max = 100};
    char big[101] = {0};
    assert_int_equal(zmqnet_open(&seats[ALPHA].node, peers, &o, NULL), 0);
    zmqnet_node *node = seats[ALPHA].node;
    assert_int_equal(zmqnet_start(node), 0);
    assert_int_equal(zmqnet_answer(node, 1, -1, NULL, 0), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_answer(node, 1, ZMQNET_CODE_MAX + 1, NULL, 0), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_answer(node, 1, 0, NULL, 1), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_answer(node, 1, 0, big, sizeof big), ZMQNET_ETOOBIG);
    assert_int_equal(zmqnet_answer(node, 1, 0, big, 100), 0);
    assert_int_equal(zmqnet_answer(node, UINT64_MAX, ZMQNET_CODE_MAX, NULL, 0), 0);
    assert_int_equal(counter(node, "answer_unasked"), 2);
}

static void test_blocking_needs_a_thread(void **state)
{
    (void)state;
    zmqnet_status *s = NULL;
    zmqnet_receipt *r = NULL;
    seat_open(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    assert_int_equal(zmqnet_broadcast(node, "x", 1, NULL, &r), ZMQNET_ESTATE);
    assert_int_equal(zmqnet_request(node, "bravo", "x", 1, NULL, &r), ZMQNET_ESTATE);
    assert_int_equal(zmqnet_status_get(node, NULL, 0, &s, NULL), ZMQNET_ESTATE);
    assert_null(r);
    assert_null(s);
}

static void try_blocking(zmqnet_node *node)
{
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    struct blocking b;
    b.broadcast = zmqnet_broadcast(node, "x", 1, NULL, &r);
    b.request = zmqnet_request(node, "alpha", "x", 1, NULL, &r);
    b.status = zmqnet_status_get(node, NULL, 0, &s, NULL);
    b.stop = zmqnet_stop(node, 0);
    enter();
    b.times = blocked.times + 1;
    blocked = b;
    leave();
}

static int block_in_handler(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)message, (void)arg;
    try_blocking(node);
    return 0;
}

static void block_in_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    (void)arg;
    zmqnet_receipt_free(&receipt);
    try_blocking(node);
}

static void block_in_progress(zmqnet_node *node, struct zmqnet_id id, const struct zmqnet_row *row,
                              void *arg)
{
    (void)id, (void)row, (void)arg;
    try_blocking(node);
}

static void assert_blocked(unsigned times)
{
    AWAIT(blocked.times >= times);
    assert_int_equal(blocked.broadcast, ZMQNET_EDEADLK);
    assert_int_equal(blocked.request, ZMQNET_EDEADLK);
    assert_int_equal(blocked.status, ZMQNET_EDEADLK);
    assert_int_equal(blocked.stop, ZMQNET_EDEADLK);
}

static void test_blocking_in_callbacks(void **state)
{
    (void)state;
    const struct zmqnet_call watched = {.progress = block_in_progress, .quorum = 1};
    seat_start(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    on_message(ALPHA, block_in_handler);
    assert_int_equal(zmqnet_request_async(node, "alpha", "x", 1, NULL, collect, &done), 0);
    assert_blocked(1);
    AWAIT(done.times == 1);
    on_message(ALPHA, NULL);
    assert_int_equal(zmqnet_request_async(node, "alpha", "x", 1, NULL, block_in_done, NULL), 0);
    assert_blocked(2);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, &watched, collect, &done), 0);
    assert_blocked(3);
    AWAIT(done.times == 2);
}

static void assert_closed(zmqnet_node *node)
{
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    assert_int_equal(zmqnet_broadcast(node, "x", 1, NULL, &r), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_request(node, "bravo", "x", 1, NULL, &r), ZMQNET_ECLOSED);
    assert_null(r);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, NULL, collect, &none), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_request_async(node, "bravo", "x", 1, NULL, collect, &none),
                     ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_status_get(node, NULL, 0, &s, NULL), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_answer(node, 1, 0, NULL, 0), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_stop(node, 0), 0);
    assert_null(s);
    assert_int_equal(none.times, 0);
}

static void test_closed_after_stop(void **state)
{
    (void)state;
    assert_int_equal(zmqnet_stop(seats[BRAVO].node, 1000), 0);
    assert_closed(seats[BRAVO].node);
    client_start(NULL);
    assert_int_equal(zmqnet_stop(outsider.node, 0), 0);
    assert_closed(outsider.node);
}

/* The calls made "from now on" are those after zmqnet_stop(), not those after its end. */
static void test_closed_while_stopping(void **state)
{
    (void)state;
    seat_open(ALPHA);
    zmqnet_node *node = seats[ALPHA].node;
    on_message(ALPHA, never_answer);
    assert_int_equal(zmqnet_request_async(node, "alpha", "x", 1, NULL, collect, &done), 0);
    assert_int_equal(zmqnet_process(node), 0);
    assert_int_equal(zmqnet_stop(node, 1000), 0);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, NULL, collect, &none), ZMQNET_ECLOSED);
    assert_int_equal(zmqnet_process(node), 0);
    assert_int_equal(zmqnet_broadcast_async(node, "x", 1, NULL, collect, &none), ZMQNET_ECLOSED);
    assert_int_equal(done.times, 0);
    assert_int_equal(zmqnet_answer(node, seats[ALPHA].token, 0, NULL, 0), 0);
    while (zmqnet_process(node) == 0) {
    }
    assert_int_equal(done.times, 1);
    assert_int_equal(done.statuses[0], 0);
    assert_int_equal(none.times, 0);
}

/* Nobody takes from the queue of a node that is not driven. */
static void test_full_queue(void **state)
{
    (void)state;
    unsigned accepted = 0;
    int rc;
    client_start(NULL);
    zmqnet_close(&outsider.node);
    assert_int_equal(zmqnet_open(&outsider.node, peers, NULL, NULL), 0);
    while ((rc = zmqnet_broadcast_async(outsider.node, "x", 1, NULL, collect, &done)) == 0)
        accepted++;
    assert_int_equal(rc, ZMQNET_EFULL);
    assert_in_range(accepted, 1000, 100000);
    assert_int_equal(zmqnet_answer(outsider.node, 1, 0, NULL, 0), ZMQNET_EFULL);
    assert_int_equal(zmqnet_stop(outsider.node, 0), 0);
    zmqnet_close(&outsider.node);
    assert_int_equal(done.times, accepted);
}

static void test_message_sizes(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    size_t max = ZMQNET_MESSAGE_MAX;
    char *big = calloc(1, max + 1);
    assert_non_null(big);
    zmqnet_node *node = seats[ALPHA].node;
    assert_int_equal(zmqnet_broadcast(node, big, max + 1, NULL, &r), ZMQNET_ETOOBIG);
    assert_int_equal(zmqnet_request(node, "bravo", big, max + 1, NULL, &r), ZMQNET_ETOOBIG);
    assert_int_equal(zmqnet_broadcast_async(node, big, max + 1, NULL, collect, &none),
                     ZMQNET_ETOOBIG);
    assert_null(r);
    const struct zmqnet_call patient = {.timeout_ms = 15000, .attempts = 1};
    assert_int_equal(zmqnet_broadcast(node, big, max, &patient, &r), 0);
    assert_int_equal(r->have, SEATS);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_broadcast(node, NULL, 0, NULL, &r), 0);
    assert_int_equal(r->have, SEATS);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(node, "charlie", "", 0, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    free(big);
}

static int echo(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)arg;
    int rc = zmqnet_answer(node, message->token, 0, message->body, message->body_bytes);
    assert(rc == 0);
    return ZMQNET_LATER;
}

static void ask_often(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    static char body[1000];
    const struct zmqnet_call patient = {.timeout_ms = 4000, .attempts = 1};
    (void)arg;
    zmqnet_receipt_free(&receipt);
    for (int i = 0; i < 1000; i++) {
        int rc =
            zmqnet_request_async(node, "bravo", body, sizeof body, &patient, collect, &burst.done);
        enter();
        burst.rc = burst.rc ? burst.rc : rc;
        leave();
    }
}

/* Many messages of the largest size, requests and answers, that leave in one turn: however they are
 * put together, the other side takes the frames. */
static void test_full_batches_of_a_small_limit(void **state)
{
    (void)state;
    message_max = 1000;
    for (int i = 0; i < SEATS; i++)
        seat_start(i);
    AWAIT(all_up());
    on_message(BRAVO, echo);
    assert_int_equal(
        zmqnet_request_async(seats[ALPHA].node, "alpha", "x", 1, NULL, ask_often, NULL), 0);
    AWAIT(burst.rc != 0 || burst.done.times == 1000);
    assert_int_equal(burst.rc, 0);
    assert_int_equal(burst.done.failed, 0);
    assert_int_equal(counter(seats[BRAVO].node, "oversize"), 0);
    assert_int_equal(counter(seats[ALPHA].node, "oversize"), 0);
}

static int answer_large(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    size_t bytes = 10u << 20;
    char *reply = calloc(1, bytes);
    (void)arg;
    int rc = zmqnet_answer(node, message->token, 0, reply, bytes);
    assert(rc == 0);
    free(reply);
    return ZMQNET_LATER;
}

/* Answers that leave in one turn stay within what the other side takes as one frame. */
static void test_large_replies_together(void **state)
{
    (void)state;
    const struct zmqnet_call patient = {.timeout_ms = 4000, .attempts = 1};
    on_message(BRAVO, answer_large);
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, &patient, collect, &done), 0);
    AWAIT(done.times == 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(done.statuses[i], 0);
    assert_int_equal(done.receipt->rows[0].reply_bytes, 10u << 20);
}

/* ---- broadcasts and requests ---- */

static void test_broadcast_quorums(void **state)
{
    (void)state;
    static const struct {
        int quorum;
        uint32_t need;
    } cases[] = {{ZMQNET_QUORUM_ALL, 3}, {ZMQNET_QUORUM_MAJORITY, 2}, {1, 1}, {2, 2}, {3, 3}};
    zmqnet_receipt *r = NULL;
    on_message_all(answer_name);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct zmqnet_call call = {.quorum = cases[i].quorum};
        assert_int_equal(zmqnet_broadcast(seats[BRAVO].node, "hello", 5, &call, &r), 0);
        assert_int_equal(r->need, cases[i].need);
        assert_true(r->have >= r->need);
        assert_int_equal(r->of, SEATS);
        assert_int_equal(r->rows_n, SEATS);
        assert_string_equal(r->via, "bravo");
        assert_string_equal(r->why, "");
        assert_true(r->id.origin != 0 && r->id.seq == i + 1);
        assert_int_equal(outcome_of(r, BRAVO), ZMQNET_SELF);
        assert_reply(row_of(r, "bravo"), "bravo");
        zmqnet_receipt_free(&r);
        assert_null(r);
    }
}

static void test_broadcast_receipt(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    on_message_all(answer_name);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "hello", 5, NULL, &r), 0);
    for (int i = 0; i < SEATS; i++) {
        assert_string_equal(r->rows[i].name, names[i]);
        assert_int_equal(r->rows[i].outcome, i == ALPHA ? ZMQNET_SELF : ZMQNET_ACKED);
        assert_int_equal(r->rows[i].code, 0);
        assert_string_equal(r->rows[i].why, "");
        assert_reply(&r->rows[i], names[i]);
    }
    assert_true(r->rows[BRAVO].rtt_us > 0);
    assert_true(r->elapsed_us >= r->rows[BRAVO].rtt_us);
    assert_int_equal(r->attempts, 1);
    zmqnet_receipt_free(&r);
}

static void test_request_one(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    on_message_all(answer_name);
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(zmqnet_request(seats[ALPHA].node, names[i], "hello", 5, NULL, &r), 0);
        assert_int_equal(r->rows_n, 1);
        assert_int_equal(r->of, 1);
        assert_string_equal(r->rows[0].name, names[i]);
        assert_int_equal(r->rows[0].outcome, i == ALPHA ? ZMQNET_SELF : ZMQNET_ACKED);
        assert_reply(&r->rows[0], names[i]);
        zmqnet_receipt_free(&r);
    }
    AWAIT(seats[ALPHA].handled + seats[BRAVO].handled + seats[CHARLIE].handled == SEATS);
}

static void test_coordinator_refuses(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    on_message(ALPHA, refuse);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), ZMQNET_EREFUSED);
    assert_int_equal(r->status, ZMQNET_EREFUSED);
    assert_true(strlen(r->why) > 0);
    assert_int_equal(outcome_of(r, ALPHA), ZMQNET_REFUSED);
    assert_int_equal(r->rows[ALPHA].code, REFUSAL);
    assert_reply(&r->rows[ALPHA], "no room");
    assert_int_equal(outcome_of(r, BRAVO), ZMQNET_NEVER_SENT);
    assert_int_equal(outcome_of(r, CHARLIE), ZMQNET_NEVER_SENT);
    zmqnet_receipt_free(&r);
    /* What had been bounced would be served before this. */
    on_message(ALPHA, NULL);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    AWAIT(seats[BRAVO].handled == 1 && seats[CHARLIE].handled == 1);
}

static void test_peer_refuses(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    const struct zmqnet_call majority = {.quorum = ZMQNET_QUORUM_MAJORITY};
    on_message(CHARLIE, refuse);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), ZMQNET_ENOQUORUM);
    assert_int_equal(outcome_of(r, CHARLIE), ZMQNET_REFUSED);
    assert_int_equal(r->rows[CHARLIE].code, REFUSAL);
    assert_reply(&r->rows[CHARLIE], "no room");
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, &majority, &r), 0);
    zmqnet_receipt_free(&r);
    on_message(CHARLIE, refuse_at_once);
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "charlie", "x", 1, NULL, &r),
                     ZMQNET_EREFUSED);
    assert_int_equal(r->rows[0].code, REFUSAL);
    zmqnet_receipt_free(&r);
    on_message(CHARLIE, refuse_out_of_range);
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "charlie", "x", 1, NULL, &r),
                     ZMQNET_EREFUSED);
    assert_int_equal(r->rows[0].code, 1);
    zmqnet_receipt_free(&r);
}

static void test_answer_from_another_thread(void **state)
{
    (void)state;
    on_message(BRAVO, never_answer);
    assert_int_equal(zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, NULL, collect, &done),
                     0);
    AWAIT(seats[BRAVO].handled == 1);
    assert_int_equal(zmqnet_answer(seats[BRAVO].node, seats[BRAVO].token, 0, "late", 4), 0);
    AWAIT(done.times == 1);
    assert_int_equal(done.receipt->status, 0);
    assert_reply(&done.receipt->rows[0], "late");
    /* A second answer finds nothing open. */
    assert_int_equal(zmqnet_answer(seats[BRAVO].node, seats[BRAVO].token, 0, "late", 4), 0);
    assert_int_equal(counter(seats[BRAVO].node, "answer_unasked"), 1);
}

static void pass_on(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    uint64_t token = *(uint64_t *)arg;
    free(arg);
    int rc = zmqnet_answer(node, token, receipt->status == 0 ? 0 : 1, receipt->rows[0].reply,
                           receipt->rows[0].reply_bytes);
    assert(rc == 0);
    zmqnet_receipt_free(&receipt);
}

static int ask_charlie(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    uint64_t *token = malloc(sizeof *token);
    (void)arg;
    assert(token);
    *token = message->token;
    int rc = zmqnet_request_async(node, "charlie", message->body, message->body_bytes, NULL,
                                  pass_on, token);
    assert(rc == 0);
    return ZMQNET_LATER;
}

static void test_handler_asks_on(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    on_message(BRAVO, ask_charlie);
    on_message(CHARLIE, answer_name);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(zmqnet_request(seats[ALPHA].node, "bravo", "x", 1, NULL, &r), 0);
        assert_reply(&r->rows[0], "charlie");
        zmqnet_receipt_free(&r);
    }
    AWAIT(seats[CHARLIE].handled == 20);
}

/* ---- progress ---- */

static void see_progress(zmqnet_node *node, struct zmqnet_id id, const struct zmqnet_row *row,
                         void *arg)
{
    struct progress *p = arg;
    int i = name_index(row->name);
    (void)node;
    enter();
    p->n++;
    p->id = id;
    p->after_done = p->after_done || p->done > 0;
    if (i < 0 || row->outcome < ZMQNET_SELF || row->outcome > ZMQNET_NEVER_SENT)
        p->bad = true;
    else
        p->per_seat[i]++;
    leave();
}

static void progress_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct progress *p = arg;
    (void)node;
    enter();
    p->bad = p->bad || (p->n > 0 && receipt->id.seq != p->id.seq);
    p->done++;
    leave();
    zmqnet_receipt_free(&receipt);
}

static void test_progress(void **state)
{
    (void)state;
    const struct zmqnet_call call = {.progress = see_progress, .progress_arg = &progress};
    assert_int_equal(
        zmqnet_broadcast_async(seats[ALPHA].node, "x", 1, &call, progress_done, &progress), 0);
    AWAIT(progress.done == 1);
    assert_int_equal(progress.n, SEATS);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(progress.per_seat[i], 1);
    assert_false(progress.bad);
}

/* Only an open broadcast has progress: a straggler comes when its receipt has been given away. */
static void test_no_progress_after_completion(void **state)
{
    (void)state;
    struct zmqnet_call call = {.progress = see_progress, .progress_arg = &progress, .quorum = 2};
    zmqnet_receipt *r = NULL;
    on_message(CHARLIE, never_answer);
    assert_int_equal(
        zmqnet_broadcast_async(seats[ALPHA].node, "x", 1, &call, progress_done, &progress), 0);
    AWAIT(progress.done == 1 && seats[CHARLIE].handled == 1);
    assert_int_equal(zmqnet_answer(seats[CHARLIE].node, seats[CHARLIE].token, 0, NULL, 0), 0);
    on_message(CHARLIE, NULL);
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "charlie", "x", 1, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(progress.n, 2);
    assert_false(progress.after_done);
}

/* ---- a later life ---- */

/* Charlie takes the message, ends without an answer, and comes back. */
static void restart_charlie(bool idempotent)
{
    const struct zmqnet_call call = {.timeout_ms = 10000, .attempts = 20, .idempotent = idempotent};
    on_message(CHARLIE, never_answer);
    assert_int_equal(
        zmqnet_request_async(seats[ALPHA].node, "charlie", "x", 1, &call, collect, &done), 0);
    AWAIT(seats[CHARLIE].handled == 1);
    zmqnet_close(&seats[CHARLIE].node);
    seat_start(CHARLIE);
    AWAIT(done.times == 1);
}

static void test_not_idempotent_is_pinned_to_a_life(void **state)
{
    (void)state;
    restart_charlie(false);
    assert_int_equal(done.receipt->status, ZMQNET_EUNKNOWN);
    assert_int_equal(outcome_of(done.receipt, CHARLIE), ZMQNET_UNACKED);
    assert_true(strlen(done.receipt->why) > 0);
    assert_int_equal(seats[CHARLIE].handled, 0);
}

static void test_idempotent_goes_to_the_next_life(void **state)
{
    (void)state;
    restart_charlie(true);
    assert_int_equal(done.receipt->status, 0);
    assert_int_equal(outcome_of(done.receipt, CHARLIE), ZMQNET_ACKED);
    AWAIT(seats[CHARLIE].handled == 1);
}

/* ---- many at once ---- */

#define THREADS 4
#define EACH 200

struct load {
    zmqnet_node *node;
    unsigned done[THREADS][EACH];
    unsigned completed, acked;
    int refused;
};

struct load_call {
    struct load *load;
    unsigned *done;
};

static struct load load;
static struct load_call load_calls[THREADS][EACH];

static void load_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct load_call *c = arg;
    (void)node;
    enter();
    ++*c->done;
    c->load->completed++;
    if (receipt->status == 0 && receipt->have == SEATS)
        c->load->acked++;
    leave();
    zmqnet_receipt_free(&receipt);
}

static void *load_thread(void *arg)
{
    size_t t = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < EACH; i++) {
        load_calls[t][i] = (struct load_call){&load, &load.done[t][i]};
        int rc =
            zmqnet_broadcast_async(load.node, &i, sizeof i, NULL, load_done, &load_calls[t][i]);
        if (rc != 0)
            load.refused = rc;
    }
    return NULL;
}

static void load_run(zmqnet_node *node)
{
    pthread_t threads[THREADS];
    unsigned before[SEATS];
    memset(&load, 0, sizeof load);
    load.node = node;
    enter();
    for (int i = 0; i < SEATS; i++)
        before[i] = seats[i].handled;
    leave();
    for (uintptr_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, load_thread, (void *)t), 0);
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    assert_int_equal(load.refused, 0);
    AWAIT(load.completed == THREADS * EACH);
    assert_int_equal(load.acked, THREADS * EACH);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < EACH; i++)
            assert_int_equal(load.done[t][i], 1);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(seats[i].handled - before[i], THREADS * EACH);
}

static void test_many_threads(void **state)
{
    (void)state;
    load_run(seats[ALPHA].node);
    assert_int_equal(counter(seats[ALPHA].node, "broadcasts"), THREADS * EACH);
    assert_int_equal(counter(seats[ALPHA].node, "delivered"), THREADS * EACH);
    client_start(NULL);
    load_run(outsider.node);
}

static void burst_start(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    (void)arg;
    zmqnet_receipt_free(&receipt);
    for (int i = 0; i < 300; i++) {
        int rc = zmqnet_broadcast_async(node, "x", 1, NULL, collect, &burst.done);
        enter();
        burst.rc = burst.rc ? burst.rc : rc;
        leave();
    }
}

static void test_burst_from_a_callback(void **state)
{
    (void)state;
    assert_int_equal(
        zmqnet_request_async(seats[ALPHA].node, "alpha", "x", 1, NULL, burst_start, NULL), 0);
    AWAIT(burst.rc != 0 || burst.done.times == 300);
    assert_int_equal(burst.rc, 0);
    assert_int_equal(burst.done.failed, 0);
    assert_int_equal(counter(seats[ALPHA].node, "broadcasts"), 300);
}

static void start_after_a_while(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    const struct zmqnet_call call = {.timeout_ms = 400};
    uint64_t until_ms = now_ms() + 500;
    (void)arg;
    zmqnet_receipt_free(&receipt);
    while (now_ms() < until_ms) {
    }
    int rc = zmqnet_broadcast_async(node, "x", 1, &call, collect, &burst.done);
    enter();
    burst.rc = rc;
    leave();
}

/* A call's time begins when it is made, however long the callback took until then. */
static void test_call_of_a_slow_callback(void **state)
{
    (void)state;
    assert_int_equal(
        zmqnet_request_async(seats[ALPHA].node, "alpha", "x", 1, NULL, start_after_a_while, NULL),
        0);
    AWAIT(burst.rc != 0 || burst.done.times == 1);
    assert_int_equal(burst.rc, 0);
    assert_int_equal(burst.done.failed, 0);
}

/* ---- clients ---- */

static void client_asks(const char *via)
{
    zmqnet_receipt *r = NULL;
    client_start(via);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, NULL, &r), 0);
    assert_int_equal(r->rows_n, SEATS);
    assert_int_equal(r->have, SEATS);
    if (via)
        assert_string_equal(r->via, via);
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(outcome_of(r, i),
                         strcmp(r->via, names[i]) == 0 ? ZMQNET_SELF : ZMQNET_ACKED);
        assert_reply(&r->rows[i], names[i]);
    }
    zmqnet_receipt_free(&r);
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(zmqnet_request(outsider.node, names[i], "x", 1, NULL, &r), 0);
        assert_int_equal(r->rows_n, 1);
        assert_reply(&r->rows[0], names[i]);
        zmqnet_receipt_free(&r);
    }
    assert_int_equal(zmqnet_request(outsider.node, NULL, "x", 1, NULL, &r), 0);
    assert_int_equal(r->rows_n, 1);
    assert_string_equal(r->rows[0].name, r->via);
    zmqnet_receipt_free(&r);
    zmqnet_close(&outsider.node);
}

static void test_client(void **state)
{
    (void)state;
    on_message_all(answer_name);
    client_asks(NULL);
    client_asks("charlie");
}

static void test_client_progress(void **state)
{
    (void)state;
    const struct zmqnet_call call = {.progress = see_progress, .progress_arg = &progress};
    client_start(NULL);
    assert_int_equal(zmqnet_broadcast_async(outsider.node, "x", 1, &call, progress_done, &progress),
                     0);
    AWAIT(progress.done == 1);
    zmqnet_close(&outsider.node);
    assert_int_equal(progress.n, 0);
}

static void test_client_large_receipt(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    const struct zmqnet_call patient = {.timeout_ms = 4000, .attempts = 1};
    client_start("alpha");
    on_message_all(answer_large);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, &patient, &r), 0);
    zmqnet_receipt_free(&r);
}

static void test_client_without_replicas(void **state)
{
    (void)state;
    const struct zmqnet_call hasty = {.timeout_ms = 50};
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    const char *why = NULL;
    client_start(NULL);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    assert_int_equal(r->rows_n, SEATS);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(r->rows[i].outcome, ZMQNET_NEVER_SENT);
    assert_string_equal(r->via, "");
    assert_true(strlen(r->why) > 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(outsider.node, "bravo", "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(outsider.node, NULL, "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_status_get(outsider.node, "bravo", 50, &s, &why), ZMQNET_ENEVERSENT);
    assert_null(s);
    assert_true(why && strlen(why) > 0);
}

/* ---- status, log, events ---- */

static void test_status(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    const char *why = NULL;
    char endpoint[64];
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_status_get(seats[ALPHA].node, NULL, 0, &s, &why), 0);
    assert_string_equal(why, "");
    assert_string_equal(s->name, "alpha");
    assert_string_equal(s->pattern, "router");
    assert_true(s->life != 0 && s->uptime_us > 0);
    assert_int_equal(s->peers_n, SEATS);
    assert_int_equal(s->peers[ALPHA].state, ZMQNET_LOCAL);
    for (int i = BRAVO; i <= CHARLIE; i++) {
        const struct zmqnet_peer_status *p = &s->peers[i];
        snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", ports[i]);
        assert_string_equal(p->name, names[i]);
        assert_string_equal(p->endpoint, endpoint);
        assert_int_equal(p->state, ZMQNET_UP);
        assert_string_equal(p->cause, "");
        assert_true(p->since_us <= s->uptime_us);
        assert_int_equal(p->sent, 1);
        assert_int_equal(p->acked, 1);
        assert_int_equal(p->queue_messages + p->queue_bytes + p->inflight, 0);
        assert_int_equal(p->refused + p->unknown + p->never_sent + p->retries + p->late, 0);
        assert_false(p->config_differs);
    }
    assert_true(s->counters_n > 10);
    zmqnet_status_free(&s);
    assert_null(s);
}

static void test_status_of_a_replica(void **state)
{
    (void)state;
    zmqnet_status *s = NULL;
    client_start("alpha");
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(zmqnet_status_get(outsider.node, names[i], 3000, &s, NULL), 0);
        assert_string_equal(s->name, names[i]);
        assert_int_equal(s->peers_n, SEATS);
        assert_int_equal(s->peers[i].state, ZMQNET_LOCAL);
        assert_int_equal(s->peers[(i + 1) % SEATS].state, ZMQNET_UP);
        assert_true(s->counters_n > 10);
        zmqnet_status_free(&s);
    }
    assert_int_equal(zmqnet_status_get(outsider.node, NULL, 0, &s, NULL), 0);
    assert_string_equal(s->name, "");
    zmqnet_status_free(&s);
    assert_int_equal(zmqnet_status_get(outsider.node, "nobody", 0, &s, NULL), ZMQNET_ENOPEER);
}

static void test_events(void **state)
{
    (void)state;
    zmqnet_close(&seats[CHARLIE].node);
    AWAIT(sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN) && sees(&seats[BRAVO], CHARLIE, ZMQNET_DOWN));
    assert_string_equal(seats[ALPHA].causes[CHARLIE], "ended");
    AWAIT(strstr(seats[ALPHA].log, "peer.up peer=charlie\n") &&
          strstr(seats[ALPHA].log, "peer.down peer=charlie cause=\"ended\"\n"));
    seat_start(CHARLIE);
    AWAIT(all_up());
    AWAIT(strstr(seats[ALPHA].log, "peer.restarted peer=charlie"));
}

static void test_event_of_a_peer_that_never_was(void **state)
{
    (void)state;
    seat_start(ALPHA);
    seat_start(BRAVO);
    AWAIT(sees(&seats[ALPHA], BRAVO, ZMQNET_UP) && sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN));
    assert_string_equal(seats[ALPHA].causes[CHARLIE], "connection refused");
    assert_non_null(
        strstr(seats[ALPHA].log, "peer.down peer=charlie cause=\"connection refused\"\n"));
}

static void test_down_peer_is_never_sent_to(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    zmqnet_close(&seats[CHARLIE].node);
    AWAIT(sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN));
    uint64_t start_ms = now_ms();
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), ZMQNET_ENOQUORUM);
    assert_true(now_ms() - start_ms < 1000);
    assert_int_equal(outcome_of(r, CHARLIE), ZMQNET_NEVER_SENT);
    assert_true(strlen(r->rows[CHARLIE].why) > 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "charlie", "x", 1, NULL, &r),
                     ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
}

/* ---- the caller's own loop ---- */

static void watch(int epoll_fd, int i)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, zmqnet_fd(seats[i].node), &e), 0);
}

/* Returns how many turns ran, at the first time that `until` holds or until_ms has come. */
static unsigned drive(int epoll_fd, bool (*until)(void), uint64_t until_ms)
{
    unsigned turns = 0;
    for (;;) {
        struct epoll_event e;
        uint64_t ms = now_ms();
        enter();
        bool met = until && until();
        leave();
        if (met || ms >= until_ms)
            return turns;
        int n = epoll_wait(epoll_fd, &e, 1, (int)(until_ms - ms));
        if (n == 1) {
            assert_int_equal(zmqnet_process(seats[e.data.u32].node), 0);
            turns++;
        }
    }
}

static bool driven_all_up(void) { return all_up(); }
static bool driven_done(void) { return done.times == 2; }

static void test_own_loop_beside_threads(void **state)
{
    (void)state;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    zmqnet_receipt *r = NULL;
    seat_open(ALPHA);
    seat_start(BRAVO);
    seat_start(CHARLIE);
    on_message(ALPHA, answer_name);
    watch(epoll_fd, ALPHA);
    drive(epoll_fd, driven_all_up, now_ms() + DEADLINE_S * 1000);
    assert_true(all_up());
    assert_int_equal(zmqnet_broadcast_async(seats[ALPHA].node, "x", 1, NULL, collect, &done), 0);
    assert_int_equal(zmqnet_request_async(seats[BRAVO].node, "alpha", "x", 1, NULL, collect, &done),
                     0);
    drive(epoll_fd, driven_done, now_ms() + DEADLINE_S * 1000);
    assert_int_equal(done.times, 2);
    assert_int_equal(done.statuses[0], 0);
    assert_int_equal(done.statuses[1], 0);
    assert_int_equal(zmqnet_request(seats[BRAVO].node, "charlie", "x", 1, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_stop(seats[ALPHA].node, 1000), 0);
    while (zmqnet_process(seats[ALPHA].node) == 0) {
    }
    assert_int_equal(zmqnet_process(seats[ALPHA].node), ZMQNET_ECLOSED);
    close(epoll_fd);
}

/* Two pings a second to each peer and their answers, and those of the peers: not a busy loop. */
static void test_idle_mesh_is_quiet(void **state)
{
    (void)state;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    seat_open(ALPHA);
    seat_start(BRAVO);
    seat_start(CHARLIE);
    watch(epoll_fd, ALPHA);
    drive(epoll_fd, driven_all_up, now_ms() + DEADLINE_S * 1000);
    assert_true(all_up());
    unsigned turns = drive(epoll_fd, NULL, now_ms() + 1000);
    print_message("             %u turns in an idle second\n", turns);
    assert_in_range(turns, 1, 20);
    close(epoll_fd);
}

/* ---- stopping ---- */

/* The stop of another thread has begun once nothing new is taken. */
static void await_draining(zmqnet_node *node)
{
    struct result r = {0};
    int status = 0;
    while (status != ZMQNET_ECLOSED) {
        const struct timespec until = deadline();
        r.times = 0;
        status = zmqnet_request_async(node, "alpha", "x", 1, NULL, collect, &r);
        enter();
        while (status == 0 && r.times == 0 && wait_change(&until)) {
        }
        status = status ? status : r.statuses[0];
        leave();
    }
    zmqnet_receipt_free(&r.receipt);
}

static void *answer_when_draining(void *arg)
{
    (void)arg;
    await_draining(seats[ALPHA].node);
    return (void *)(intptr_t)zmqnet_answer(seats[BRAVO].node, seats[BRAVO].token, 0, "in time", 7);
}

static void test_stop_finishes_open_requests(void **state)
{
    (void)state;
    pthread_t thread;
    void *rc = NULL;
    on_message(BRAVO, never_answer);
    assert_int_equal(zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, NULL, collect, &done),
                     0);
    AWAIT(seats[BRAVO].handled == 1);
    assert_int_equal(pthread_create(&thread, NULL, answer_when_draining, NULL), 0);
    uint64_t start_ms = now_ms();
    assert_int_equal(zmqnet_stop(seats[ALPHA].node, 10000), 0);
    assert_true(now_ms() - start_ms < 5000);
    pthread_join(thread, &rc);
    assert_int_equal((intptr_t)rc, 0);
    assert_int_equal(done.times, 1);
    assert_int_equal(done.receipt->status, 0);
    assert_reply(&done.receipt->rows[0], "in time");
}

static void test_stop_fails_what_is_open_after_grace(void **state)
{
    (void)state;
    on_message(BRAVO, never_answer);
    assert_int_equal(zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, NULL, collect, &done),
                     0);
    AWAIT(seats[BRAVO].handled == 1);
    uint64_t start_ms = now_ms();
    assert_int_equal(zmqnet_stop(seats[ALPHA].node, 100), 0);
    assert_in_range(now_ms() - start_ms, 90, 2000);
    assert_int_equal(done.times, 1);
    assert_int_equal(done.receipt->status, ZMQNET_EUNKNOWN);
    assert_int_equal(done.receipt->rows[0].outcome, ZMQNET_UNACKED);
}

static void *stop_thread(void *arg)
{
    zmqnet_stop(seats[ALPHA].node, 10000);
    return arg;
}

/* Whoever stops a node may rely on its end, the second one too. */
static void test_second_stop_waits_too(void **state)
{
    (void)state;
    pthread_t first, answering;
    on_message(BRAVO, never_answer);
    assert_int_equal(zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, NULL, collect, &done),
                     0);
    AWAIT(seats[BRAVO].handled == 1);
    assert_int_equal(pthread_create(&first, NULL, stop_thread, NULL), 0);
    await_draining(seats[ALPHA].node);
    assert_int_equal(pthread_create(&answering, NULL, answer_when_draining, NULL), 0);
    zmqnet_stop(seats[ALPHA].node, 0);
    enter();
    unsigned times = done.times;
    leave();
    pthread_join(first, NULL);
    pthread_join(answering, NULL);
    assert_int_equal(times, 1);
}

static void test_close_completes_open_calls(void **state)
{
    (void)state;
    on_message(BRAVO, never_answer);
    on_message(CHARLIE, never_answer);
    for (int i = 0; i < 100; i++) {
        int rc =
            i % 2 ? zmqnet_broadcast_async(seats[ALPHA].node, "x", 1, NULL, collect, &done)
                  : zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, NULL, collect, &done);
        assert_int_equal(rc, 0);
    }
    zmqnet_close(&seats[ALPHA].node);
    assert_int_equal(done.times, 100);
    assert_non_null(done.receipt);
}

static void *blocking_thread(void *arg)
{
    zmqnet_receipt *r = NULL;
    intptr_t rc = zmqnet_broadcast(arg, "x", 1, NULL, &r);
    zmqnet_receipt_free(&r);
    return (void *)rc;
}

static void test_stop_releases_blocked_callers(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    on_message(BRAVO, never_answer);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, blocking_thread, seats[ALPHA].node), 0);
    AWAIT(seats[BRAVO].handled == THREADS);
    assert_int_equal(zmqnet_stop(seats[ALPHA].node, 0), 0);
    for (int t = 0; t < THREADS; t++) {
        void *rc = NULL;
        pthread_join(threads[t], &rc);
        assert_int_equal((intptr_t)rc, ZMQNET_ENOQUORUM);
    }
}

static void test_results_outlive_the_node(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    on_message_all(answer_name);
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), 0);
    assert_int_equal(zmqnet_status_get(seats[ALPHA].node, NULL, 0, &s, NULL), 0);
    end(state);
    for (int i = 0; i < SEATS; i++) {
        assert_string_equal(r->rows[i].name, names[i]);
        assert_reply(&r->rows[i], names[i]);
        assert_string_equal(s->peers[i].name, names[i]);
        assert_true(strncmp(s->peers[i].endpoint, "tcp://", 6) == 0);
    }
    assert_string_equal(r->via, "alpha");
    assert_string_equal(s->pattern, "router");
    zmqnet_receipt_free(&r);
    zmqnet_status_free(&s);
    zmqnet_receipt_free(&r);
    zmqnet_status_free(&s);
}

#define ALONE(f) cmocka_unit_test_setup_teardown(f, with_peers, end)
#define MESH(f) cmocka_unit_test_setup_teardown(f, with_mesh, end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ALONE(test_open_too_few_files),
        ALONE(test_open_from_memory_and_file),
        ALONE(test_open_errors),
        ALONE(test_close_right_after_open),
        ALONE(test_start_states),
        ALONE(test_start_after_stop),
        ALONE(test_call_arguments),
        ALONE(test_request_ignores_quorum),
        ALONE(test_answer_arguments),
        ALONE(test_blocking_needs_a_thread),
        ALONE(test_blocking_in_callbacks),
        ALONE(test_closed_while_stopping),
        ALONE(test_full_queue),
        ALONE(test_client_without_replicas),
        ALONE(test_full_batches_of_a_small_limit),
        ALONE(test_event_of_a_peer_that_never_was),
        ALONE(test_own_loop_beside_threads),
        ALONE(test_idle_mesh_is_quiet),
        MESH(test_closed_after_stop),
        MESH(test_message_sizes),
        MESH(test_large_replies_together),
        MESH(test_broadcast_quorums),
        MESH(test_broadcast_receipt),
        MESH(test_request_one),
        MESH(test_coordinator_refuses),
        MESH(test_peer_refuses),
        MESH(test_answer_from_another_thread),
        MESH(test_handler_asks_on),
        MESH(test_progress),
        MESH(test_no_progress_after_completion),
        MESH(test_not_idempotent_is_pinned_to_a_life),
        MESH(test_idempotent_goes_to_the_next_life),
        MESH(test_many_threads),
        MESH(test_burst_from_a_callback),
        MESH(test_call_of_a_slow_callback),
        MESH(test_client),
        MESH(test_client_progress),
        MESH(test_client_large_receipt),
        MESH(test_status),
        MESH(test_status_of_a_replica),
        MESH(test_events),
        MESH(test_down_peer_is_never_sent_to),
        MESH(test_stop_finishes_open_requests),
        MESH(test_stop_fails_what_is_open_after_grace),
        MESH(test_second_stop_waits_too),
        MESH(test_close_completes_open_calls),
        MESH(test_stop_releases_blocked_callers),
        MESH(test_results_outlive_the_node),
        ALONE(test_close_from_another_thread),
    };
    if (argc > 1) /* one test, or those of a pattern */
        cmocka_set_test_filter(argv[1]);
    changed_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
