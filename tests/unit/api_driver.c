/* SPDX-License-Identifier: MIT */
/*
 * Opens and closes the mesh of a test and notes what its callbacks see; see api_driver.h.
 *
 * One lock guards all that callbacks write. They run in the loops' threads, where cmocka's assertions
 * must not be used: what they find wrong is noted, and the test judges.
 */
#include "api_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *const names[SEATS] = {"alpha", "bravo", "charlie"};

uint16_t ports[SEATS];
size_t message_max;
zmqnet_peers *peers;
struct seat seats[SEATS], outsider;

struct result done, none;
struct progress progress;
struct burst burst;

/* ---- waiting ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;

int begin_tests(void **state)
{
    pthread_condattr_t attr;
    (void)state;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

void enter(void) { pthread_mutex_lock(&lock); }

void leave(void)
{
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

bool wait_change(const struct timespec *until)
{
    return pthread_cond_timedwait(&changed, &lock, until) == 0;
}

struct timespec deadline(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += DEADLINE_S;
    return t;
}

uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- a mesh of three ---- */

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
    zmqnet_handler handler = s->on_message;
    leave();
    return handler ? handler(node, message, arg) : 0;
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

struct zmqnet_options options_of(struct seat *s, const char *name)
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

void seat_open(int i)
{
    struct zmqnet_diag diag;
    struct zmqnet_options o = options_of(&seats[i], names[i]);
    memset(&seats[i], 0, sizeof seats[i]);
    int rc = zmqnet_open(&seats[i].node, peers, &o, &diag);
    if (rc != 0)
        fail_msg("%s: %s", names[i], diag.text);
}

void seat_start(int i)
{
    seat_open(i);
    assert_int_equal(zmqnet_start(seats[i].node), 0);
}

void client_start(const char *via)
{
    struct zmqnet_options o = options_of(&outsider, NULL);
    o.via = via;
    assert_null(outsider.node);
    memset(&outsider, 0, sizeof outsider);
    assert_int_equal(zmqnet_open(&outsider.node, peers, &o, NULL), 0);
    assert_int_equal(zmqnet_start(outsider.node), 0);
}

bool sees(const struct seat *s, int peer, enum zmqnet_state state)
{
    return s->states[peer] == state;
}

bool all_up(void)
{
    for (int i = 0; i < SEATS; i++)
        for (int p = 0; p < SEATS; p++)
            if (p != i && !sees(&seats[i], p, ZMQNET_UP))
                return false;
    return true;
}

void on_message(int i, zmqnet_handler handler)
{
    enter();
    seats[i].on_message = handler;
    leave();
}

void on_message_all(zmqnet_handler handler)
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

size_t peers_text(char *text, size_t max)
{
    for (int i = 0; i < SEATS; i++)
        ports[i] = free_port();
    return (size_t)snprintf(text, max,
                            "{\"replicas\": [{\"name\": \"alpha\", \"address\": \"127.0.0.1:%u\"},"
                            "{\"name\": \"bravo\", \"address\": \"127.0.0.1:%u\"},"
                            "{\"name\": \"charlie\", \"address\": \"127.0.0.1:%u\"}]}",
                            ports[ALPHA], ports[BRAVO], ports[CHARLIE]);
}

int with_peers(void **state)
{
    char text[1024];
    (void)state;
    memset(&burst, 0, sizeof burst);
    memset(&progress, 0, sizeof progress);
    done = none = (struct result){0};
    message_max = 0;
    size_t n = peers_text(text, sizeof text);
    return zmqnet_peers_parse(text, n, &peers, NULL, 0, NULL);
}

int with_mesh(void **state)
{
    if (with_peers(state) != 0)
        return -1;
    for (int i = 0; i < SEATS; i++)
        seat_open(i);
    /* All listen by now, so that nobody is refused and comes back later. */
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(zmqnet_start(seats[i].node), 0);
    AWAIT(all_up());
    return 0;
}

static void *close_seat(void *arg)
{
    zmqnet_close(&((struct seat *)arg)->node);
    return NULL;
}

/* Each node takes its time to end, so they do it side by side. */
int close_all(void **state)
{
    pthread_t threads[SEATS];
    (void)state;
    zmqnet_close(&outsider.node);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, close_seat, &seats[i]), 0);
    for (int i = 0; i < SEATS; i++)
        pthread_join(threads[i], NULL);
    zmqnet_peers_free(&peers);
    zmqnet_receipt_free(&done.receipt);
    zmqnet_receipt_free(&none.receipt);
    zmqnet_receipt_free(&burst.done.receipt);
    return 0;
}

/* ---- completions ---- */

void collect(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
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

const struct zmqnet_row *row_of(const zmqnet_receipt *r, const char *name)
{
    for (size_t i = 0; i < r->rows_n; i++)
        if (strcmp(r->rows[i].name, name) == 0)
            return &r->rows[i];
    fail_msg("no row of %s", name);
    return NULL;
}

enum zmqnet_outcome outcome_of(const zmqnet_receipt *r, int i)
{
    return row_of(r, names[i])->outcome;
}

void assert_reply(const struct zmqnet_row *row, const char *text)
{
    assert_int_equal(row->reply_bytes, strlen(text));
    if (text[0])
        assert_memory_equal(row->reply, text, strlen(text));
    else
        assert_null(row->reply);
}

uint64_t counter(zmqnet_node *node, const char *name)
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

/* ---- progress ---- */

void see_progress(zmqnet_node *node, struct zmqnet_id id, const struct zmqnet_row *row, void *arg)
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

void progress_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct progress *p = arg;
    (void)node;
    enter();
    p->bad = p->bad || (p->n > 0 && receipt->id.seq != p->id.seq);
    p->done++;
    leave();
    zmqnet_receipt_free(&receipt);
}

/* ---- handlers ---- */

int answer_name(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    const char *name = names[(struct seat *)arg - seats];
    int rc = zmqnet_answer(node, message->token, 0, name, strlen(name));
    assert(rc == 0);
    return ZMQNET_LATER;
}

int refuse(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)arg;
    int rc = zmqnet_answer(node, message->token, REFUSAL, "no room", 7);
    assert(rc == 0);
    return ZMQNET_LATER;
}

int refuse_at_once(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return REFUSAL;
}

int refuse_out_of_range(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return ZMQNET_CODE_MAX + 1;
}

int never_answer(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)message, (void)arg;
    return ZMQNET_LATER;
}

int answer_large(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    size_t bytes = 10u << 20;
    char *reply = calloc(1, bytes);
    (void)arg;
    int rc = zmqnet_answer(node, message->token, 0, reply, bytes);
    assert(rc == 0);
    free(reply);
    return ZMQNET_LATER;
}
