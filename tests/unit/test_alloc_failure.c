/* SPDX-License-Identifier: MIT */
/*
 * Out of memory, at every single allocation: each function of include/zmqnet.h is called again and
 * again, with its first allocation failing, then its second, until none is left. Each call must return
 * the error that it documents, change and leak nothing (a sanitizer says), and work the next time.
 *
 * Only allocations of our own code fail. libzmq ends the process at some of its own; jansson 2.14 calls
 * most failures of its own a syntax error, and at one goes on with a character less. Nodes are driven by hand, in this thread, so that what fails is the same each time; only the
 * blocking calls need nodes with a thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "allocs.h"
#include "zmqnet.h"

#define DEADLINE_MS 20000u
#define POLL_MS 20
#define BODY_BYTES                                                                                 \
    20000u /* more than libzmq is given a copy of, more than the decoder's arena takes */
#define REPLY_BYTES 3000u
#define ATTEMPTS_MAX                                                                               \
    1000           /* allocations in a few seconds without memory: some pings and their pongs */
#define NO_REPLY 9 /* the handler refuses with it if it cannot answer */

enum { ALPHA, BRAVO, CLIENT, FIRST_PAIR };

#define PATTERNS 3
#define HELLO_ALLOCS 4 /* of two nodes that make links to each other; more do not fail */
#define SEATS (FIRST_PAIR + 2 * PATTERNS * HELLO_ALLOCS)

struct seat {
    zmqnet_node *node;
    unsigned up;     /* peers that it sees up */
    unsigned ran;    /* messages that its handler got */
    unsigned lasted; /* calls of it that are complete */
    zmqnet_receipt *receipt;
};

static struct seat seats[SEATS];
static zmqnet_peers *peers;
static const char *const patterns[PATTERNS] = {"router", "reqrep", "pubsub"};
static char body[BODY_BYTES], reply[REPLY_BYTES];

static const struct zmqnet_call patient = {.timeout_ms = 10000, .attempts = 100};
/* Whatever was lost for want of memory is asked for again soon. */
static const struct zmqnet_call hasty = {.timeout_ms = 200, .attempts = 4};

/* ---- the mesh: two replicas, and a client of the first ---- */

static bool port_is_free(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return is_free;
}

/* Below the ephemeral range, where no connecting socket can take it. */
static unsigned free_port(void)
{
    static unsigned next;
    if (next == 0)
        next = (unsigned)getpid();
    do {
        next++;
    } while (!port_is_free((uint16_t)(20000 + next % 12000)));
    return 20000 + next % 12000;
}

static size_t peers_text(char *text, size_t max)
{
    size_t n = (size_t)snprintf(text, max, "{\"replicas\": [");
    for (int i = 0; i < 2; i++)
        n += (size_t)snprintf(text + n, max - n,
                              "%s{\"name\": \"%s\", \"address\": \"127.0.0.1:%u\", \"pid\": %d,"
                              "\"ports\": {\"pub\": %u, \"ack\": %u}}",
                              i ? "," : "", i ? "bravo" : "alpha", free_port(), i, free_port(),
                              free_port());
    return n + (size_t)snprintf(text + n, max - n, "]}");
}

static int peers_make(void)
{
    char text[1024];
    return zmqnet_peers_parse(text, peers_text(text, sizeof text), &peers, NULL, 0, NULL);
}

static int with_peers(void **state)
{
    (void)state;
    memset(body, 'b', sizeof body);
    memset(reply, 'r', sizeof reply);
    return peers_make();
}

static void see_event(zmqnet_node *node, const struct zmqnet_event *event, void *arg)
{
    struct seat *s = arg;
    unsigned bit = 1u << zmqnet_peers_find(peers, event->peer);
    (void)node;
    s->up = event->state == ZMQNET_UP ? s->up | bit : s->up & ~bit;
}

/* It answers by itself, which takes memory. */
static int handle(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    ((struct seat *)arg)->ran++;
    int rc = zmqnet_answer(node, message->token, 0, reply, sizeof reply);
    return rc == 0 ? ZMQNET_LATER : NO_REPLY;
}

/* The seats of a pair are an alpha and a bravo. */
static struct zmqnet_options options_of(int seat, const char *pattern)
{
    static const char *const names[] = {"alpha", "bravo", NULL};
    int role = seat < FIRST_PAIR ? seat : (seat - FIRST_PAIR) % 2;
    return (struct zmqnet_options){
        .name = names[role],
        .via = seat == CLIENT ? "alpha" : NULL,
        .pattern = pattern,
        .handler = handle,
        .handler_arg = &seats[seat],
        .on_event = see_event,
        .event_arg = &seats[seat],
    };
}

static void seat_open(int seat, const char *pattern)
{
    struct zmqnet_options o = options_of(seat, pattern);
    struct zmqnet_diag diag;
    if (zmqnet_open(&seats[seat].node, peers, &o, &diag) != 0)
        fail_msg("%s", diag.text);
}

static void *close_seat(void *arg)
{
    zmqnet_close(&((struct seat *)arg)->node);
    return NULL;
}

/* Each node takes its time to end, so they do it side by side. */
static void close_nodes(void)
{
    pthread_t threads[SEATS];
    size_t n = 0;
    for (int i = 0; i < SEATS; i++)
        if (seats[i].node)
            assert_int_equal(pthread_create(&threads[n++], NULL, close_seat, &seats[i]), 0);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

static int end(void **state)
{
    (void)state;
    allocs_end();
    close_nodes();
    for (int i = 0; i < SEATS; i++)
        zmqnet_receipt_free(&seats[i].receipt);
    memset(seats, 0, sizeof seats);
    zmqnet_peers_free(&peers);
    return 0;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One turn of each node that has something to do. */
static void turn(void)
{
    struct pollfd fds[SEATS];
    for (int i = 0; i < SEATS; i++)
        fds[i] = (struct pollfd){seats[i].node ? zmqnet_fd(seats[i].node) : -1, POLLIN, 0};
    poll(fds, SEATS, POLL_MS);
    for (int i = 0; i < SEATS; i++)
        if (fds[i].revents)
            assert_int_equal(zmqnet_process(seats[i].node), 0);
}

#define DRIVE_UNTIL(condition)                                                                     \
    for (uint64_t until_ms = now_ms() + DEADLINE_MS; !(condition);) {                              \
        turn();                                                                                    \
        if (now_ms() > until_ms)                                                                   \
            fail_msg("in vain: %s", #condition);                                                   \
    }

static void mesh_open(const char *pattern)
{
    for (int i = 0; i < FIRST_PAIR; i++)
        seat_open(i, pattern);
    DRIVE_UNTIL(seats[ALPHA].up == 2 && seats[BRAVO].up == 1 && seats[CLIENT].up & 1);
}

/* ---- calls ---- */

static void complete(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct seat *s = arg;
    (void)node;
    s->lasted++;
    zmqnet_receipt_free(&s->receipt);
    s->receipt = receipt;
}

static int begin(struct seat *s, const struct zmqnet_call *call)
{
    return zmqnet_broadcast_async(s->node, body, sizeof body, call, complete, s);
}

/* Everything is as if nothing had ever failed. */
static void broadcast_works(struct seat *s)
{
    unsigned before = s->lasted;
    assert_int_equal(begin(s, &patient), 0);
    DRIVE_UNTIL(s->lasted > before);
    assert_int_equal(s->lasted, before + 1);
    if (s->receipt->status != 0)
        fail_msg("%s: %s, %s", zmqnet_error_name(s->receipt->status), s->receipt->why,
                 s->receipt->rows_n > 1 ? s->receipt->rows[1].why : "");
    assert_int_equal(s->receipt->have, 2);
    assert_int_equal(s->receipt->rows[BRAVO].reply_bytes, sizeof reply);
}

/* ---- what allocates nothing ---- */

static void looking_up_allocates_nothing(void **state)
{
    (void)state;
    size_t before = allocs_calls();
    struct zmqnet_diag diag;
    assert_non_null(zmqnet_error_name(ZMQNET_ENOMEM));
    assert_non_null(zmqnet_error_text(ZMQNET_ENOMEM));
    assert_non_null(zmqnet_version());
    assert_non_null(zmqnet_outcome_name(ZMQNET_SELF));
    assert_non_null(zmqnet_state_name(ZMQNET_UP));
    assert_int_equal(zmqnet_peers_count(peers), 2);
    assert_string_equal(zmqnet_peers_get(peers, 1)->name, "bravo");
    assert_int_equal(zmqnet_peers_find(peers, "bravo"), 1);
    assert_int_equal(zmqnet_peers_check_ports(peers, &diag), 0);
    assert_int_equal(allocs_calls(), before);
}

/* ---- the peers file ---- */

/* Reads the text with each allocation failing in turn; at last it gives `wanted`. Returns how many. */
static size_t reading_fails_cleanly(const char *text, int wanted)
{
    struct zmqnet_diag diags[4];
    size_t diags_n, n = 0;
    for (bool failed = true; failed; n++) {
        zmqnet_peers *read = peers;
        allocs_fail(n, ALLOCS_OF_THIS_THREAD);
        int rc = zmqnet_peers_parse(text, strlen(text), &read, diags, 4, &diags_n);
        failed = allocs_end();
        assert_int_equal(rc, failed ? ZMQNET_ENOMEM : wanted);
        assert_true((rc == 0) == (read != NULL));
        zmqnet_peers_free(&read);
    }
    return n - 1;
}

static void peers_text_is_read_or_enomem(void **state)
{
    static const char repeated[] = "{\"replicas\": [{\"name\": \"a\", \"name\": \"b\"}]}";
    char text[1024];
    (void)state;
    size_t n = peers_text(text, sizeof text);
    assert_true(n < sizeof text);
    assert_int_equal(reading_fails_cleanly(text, 0), 1);
    assert_int_equal(reading_fails_cleanly(repeated, ZMQNET_ECONFIG), 3);
    assert_int_equal(reading_fails_cleanly("[\"unfinished", ZMQNET_ECONFIG), 1);
}

/* Of jansson's own allocations, the first ones: it fails at some of them without a word. */
static void no_memory_for_json_is_no_syntax_error(void **state)
{
    json_malloc_t make;
    json_free_t give_back;
    (void)state;
    json_get_alloc_funcs(&make, &give_back);
    for (size_t n = 1; n <= 3; n++) {
        zmqnet_peers *read;
        json_set_alloc_funcs(malloc, free); /* those of this program */
        allocs_fail(n, ALLOCS_OF_THIS_THREAD);
        int rc = zmqnet_peers_parse("{\"a\": 1}", 8, &read, NULL, 0, NULL);
        bool failed = allocs_end();
        json_set_alloc_funcs(make, give_back);
        assert_true(failed);
        assert_int_equal(rc, ZMQNET_ENOMEM);
    }
}

static void peers_file_is_read_or_enomem(void **state)
{
    char path[] = "/tmp/zmqnet-alloc-XXXXXX", text[1024];
    (void)state;
    int fd = mkstemp(path);
    size_t n = peers_text(text, sizeof text), turns = 0;
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    for (bool failed = true; failed; turns++) {
        zmqnet_peers *read;
        allocs_fail(turns, ALLOCS_OF_THIS_THREAD);
        int rc = zmqnet_peers_load(path, &read, NULL, 0, NULL);
        failed = allocs_end();
        assert_int_equal(rc, failed ? ZMQNET_ENOMEM : 0);
        assert_int_equal(read == NULL, failed);
        zmqnet_peers_free(&read);
    }
    unlink(path);
    assert_true(turns > 2);
}

/* ---- opening ---- */

/* A replica's ports are free again after each failure: or else the next try would say so. */
static void opening_fails_cleanly(int seat, const char *pattern)
{
    struct zmqnet_options o = options_of(seat, pattern);
    struct zmqnet_diag diag;
    size_t n = 0;
    for (bool failed = true; failed; n++) {
        zmqnet_node *node = NULL;
        allocs_fail(n, ALLOCS_OF_THIS_THREAD);
        int rc = zmqnet_open(&node, peers, &o, &diag);
        failed = allocs_end();
        if (rc != (failed ? ZMQNET_ENOMEM : 0))
            fail_msg("allocation %zu: %s, %s", n, zmqnet_error_name(rc), diag.text);
        assert_int_equal(node == NULL, failed);
        assert_int_equal(diag.code, rc);
        assert_int_equal(diag.text[0] != '\0', failed);
        zmqnet_close(&node);
    }
    assert_true(n > 10);
}

static void open_is_done_or_enomem(void **state)
{
    (void)state;
    opening_fails_cleanly(CLIENT, NULL);
    for (size_t i = 0; i < PATTERNS; i++)
        opening_fails_cleanly(ALPHA, patterns[i]);
}

/* ---- what returns at once ---- */

static int by_request(void)
{
    return zmqnet_request_async(seats[ALPHA].node, "bravo", body, sizeof body, &patient, complete,
                                &seats[ALPHA]);
}

static int by_broadcast(void) { return begin(&seats[ALPHA], &patient); }

static int by_client(void) { return begin(&seats[CLIENT], &patient); }

/* The token is none, which is found out later. */
static int by_answer(void) { return zmqnet_answer(seats[ALPHA].node, 1, 0, reply, sizeof reply); }

/* What is not accepted completes nothing and runs nowhere. */
static void calls_are_accepted_or_enomem(void **state)
{
    static int (*const calls[])(void) = {by_request, by_broadcast, by_client, by_answer};
    (void)state;
    mesh_open("router");
    broadcast_works(&seats[ALPHA]);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        unsigned lasted = seats[ALPHA].lasted + seats[CLIENT].lasted, ran = seats[BRAVO].ran;
        size_t n = 0;
        for (bool failed = true; failed; n++) {
            allocs_fail(n, ALLOCS_OF_THIS_THREAD);
            int rc = calls[i]();
            failed = allocs_end();
            assert_int_equal(rc, failed ? ZMQNET_ENOMEM : 0);
        }
        assert_true(n > 1);
        if (calls[i] != by_answer) {
            DRIVE_UNTIL(seats[ALPHA].lasted + seats[CLIENT].lasted > lasted);
            assert_int_equal(seats[ALPHA].lasted + seats[CLIENT].lasted, lasted + 1);
            assert_int_equal(seats[BRAVO].ran, ran + 1);
        }
        broadcast_works(&seats[ALPHA]);
    }
}

/* ---- the loop ---- */

/* A receipt that was made without memory says so; any other tells the truth about bravo. */
static void receipt_is_true(const zmqnet_receipt *r, unsigned ran)
{
    assert_true(ran <= 1);
    if (r->status == ZMQNET_ENOMEM) {
        assert_int_equal(r->rows_n, 0);
        return;
    }
    const struct zmqnet_row *row = &r->rows[BRAVO];
    assert_int_equal(r->rows_n, 2);
    assert_int_equal(r->status == 0, r->have == 2);
    assert_true(row->outcome != ZMQNET_ACKED || ran == 1);
    assert_true(row->outcome != ZMQNET_NEVER_SENT || ran == 0);
    assert_true(row->outcome != ZMQNET_REFUSED || row->code == NO_REPLY);
}

/* A broadcast with each allocation failing that its call, its loops and its handlers make: it
 * completes once, and the next one is none the worse for it. */
static void broadcast_survives(const char *pattern, int from)
{
    struct seat *s = &seats[from];
    size_t n = 0, told = 0;
    mesh_open(pattern);
    broadcast_works(s);
    for (bool failed = true; failed; n++) {
        unsigned lasted = s->lasted, ran = seats[BRAVO].ran;
        allocs_fail(n, ALLOCS_OF_THIS_THREAD);
        int rc = begin(s, &hasty);
        if (rc == 0)
            DRIVE_UNTIL(s->lasted > lasted);
        failed = allocs_end();
        if (rc == 0)
            receipt_is_true(s->receipt, seats[BRAVO].ran - ran);
        else
            assert_int_equal(rc, ZMQNET_ENOMEM);
        told += rc != 0 || s->receipt->status == ZMQNET_ENOMEM;
        broadcast_works(s);
        assert_int_equal(s->lasted, lasted + (rc == 0) + 1);
    }
    assert_true(n > 5);
    assert_true(told > 1);
}

static void router_loses_nothing(void **state)
{
    (void)state;
    broadcast_survives("router", ALPHA);
}

static void reqrep_loses_nothing(void **state)
{
    (void)state;
    broadcast_survives("reqrep", ALPHA);
}

static void pubsub_loses_nothing(void **state)
{
    (void)state;
    broadcast_survives("pubsub", ALPHA);
}

static void a_client_loses_nothing(void **state)
{
    (void)state;
    broadcast_survives("router", CLIENT);
}

static bool is_linked(int alpha) { return seats[alpha].up == 2 && seats[alpha + 1].up == 1; }

static bool are_linked(int first)
{
    for (int i = first; i < SEATS; i += 2)
        if (!is_linked(i))
            return false;
    return true;
}

/* Two nodes make links to each other while one allocation fails: each pair is there in the end, with a
 * hello that was lost said again after a while, for which all wait together. */
static void links_are_made_in_the_end(void **state)
{
    (void)state;
    for (int pair = 0; pair < PATTERNS * HELLO_ALLOCS; pair++) {
        int alpha = FIRST_PAIR + 2 * pair;
        zmqnet_peers_free(&peers);
        assert_int_equal(peers_make(), 0);
        seat_open(alpha, patterns[pair / HELLO_ALLOCS]);
        seat_open(alpha + 1, patterns[pair / HELLO_ALLOCS]);
        allocs_fail((size_t)(pair % HELLO_ALLOCS), ALLOCS_OF_THIS_THREAD);
        DRIVE_UNTIL(is_linked(alpha) || allocs_failed());
        assert_true(allocs_end());
    }
    DRIVE_UNTIL(are_linked(FIRST_PAIR));
}

/* There is no memory for anything any more: the peer is not heard and so goes down, in its time, and
 * what fails is not tried as fast as it fails. When there is memory again all is well by itself. */
static void no_memory_at_all_is_silence(void **state)
{
    (void)state;
    mesh_open("router");
    broadcast_works(&seats[ALPHA]);
    size_t before = allocs_calls();
    allocs_fail_all();
    DRIVE_UNTIL(!(seats[ALPHA].up & 2) && !(seats[BRAVO].up & 1));
    assert_true(allocs_end());
    assert_true(allocs_calls() - before < ATTEMPTS_MAX);
    DRIVE_UNTIL(seats[ALPHA].up & 2 && seats[BRAVO].up & 1);
    broadcast_works(&seats[ALPHA]);
}

/* A node ends, and completes what is open, without any memory for saying so. */
static void ending_needs_no_memory(void **state)
{
    (void)state;
    for (size_t n = 0; n < 6; n++) {
        unsigned lasted = seats[ALPHA].lasted;
        mesh_open("router");
        assert_int_equal(begin(&seats[ALPHA], &patient), 0);
        allocs_fail(n, ALLOCS_OF_THIS_THREAD);
        assert_int_equal(zmqnet_stop(seats[ALPHA].node, 0), 0);
        zmqnet_close(&seats[ALPHA].node);
        assert_true(allocs_end() || n > 0);
        assert_int_equal(seats[ALPHA].lasted, lasted + 1);
        close_nodes();
        for (int i = 0; i < FIRST_PAIR; i++)
            seats[i].up = 0;
    }
}

/* ---- what blocks ---- */

static int block_broadcast(void)
{
    zmqnet_receipt *receipt = NULL;
    int rc = zmqnet_broadcast(seats[ALPHA].node, body, sizeof body, &hasty, &receipt);
    assert_true(rc == ZMQNET_ENOMEM || receipt);
    zmqnet_receipt_free(&receipt);
    return rc;
}

static int block_request(void)
{
    zmqnet_receipt *receipt = NULL;
    int rc = zmqnet_request(seats[CLIENT].node, "bravo", body, sizeof body, &hasty, &receipt);
    assert_true(rc == ZMQNET_ENOMEM || receipt);
    zmqnet_receipt_free(&receipt);
    return rc;
}

static int block_status(const struct seat *s, const char *peer)
{
    zmqnet_status *status;
    const char *why;
    int rc = zmqnet_status_get(s->node, peer, 400, &status, &why);
    assert_true((rc == 0) == (status != NULL) && why);
    zmqnet_status_free(&status);
    return rc;
}

static int block_own_status(void) { return block_status(&seats[ALPHA], NULL); }

static int block_status_of_bravo(void) { return block_status(&seats[CLIENT], "bravo"); }

static const struct blocking {
    int (*call)(void);
    int lost; /* what it may return too if the loops lose a message of it */
} blocking[] = {
    {block_broadcast, ZMQNET_ENOQUORUM},
    {block_request, ZMQNET_EUNKNOWN},
    {block_own_status, 0},
    {block_status_of_bravo, ZMQNET_EUNKNOWN},
};

/* Those of the loops are in no fixed order: they are tried as often as there are some at all. */
static void blocking_fails_cleanly(const struct blocking *b, enum allocs_thread whose)
{
    int rc = 0;
    size_t n = 0;
    for (bool failed = true; failed && n < 40; n++) {
        allocs_fail(n, whose);
        rc = b->call();
        failed = allocs_end();
        if (failed && whose == ALLOCS_OF_THIS_THREAD)
            assert_int_equal(rc, ZMQNET_ENOMEM);
        else if (rc != 0 && rc != ZMQNET_ENOMEM && rc != ZMQNET_EREFUSED && rc != b->lost)
            fail_msg("allocation %zu of the loops: %s", n, zmqnet_error_name(rc));
    }
    assert_int_equal(rc, 0);
}

static void blocking_calls_return_or_enomem(void **state)
{
    (void)state;
    mesh_open("router");
    for (int i = 0; i < FIRST_PAIR; i++) {
        allocs_fail(0, ALLOCS_OF_THIS_THREAD);
        assert_int_equal(zmqnet_start(seats[i].node), 0);
        assert_false(allocs_end()); /* it asks for none */
    }
    for (size_t i = 0; i < sizeof blocking / sizeof blocking[0]; i++) {
        blocking_fails_cleanly(&blocking[i], ALLOCS_OF_THIS_THREAD);
        blocking_fails_cleanly(&blocking[i], ALLOCS_OF_THE_OTHERS);
        assert_int_equal(block_broadcast(), 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, with_peers, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(looking_up_allocates_nothing),
        CASE(peers_text_is_read_or_enomem),
        CASE(no_memory_for_json_is_no_syntax_error),
        CASE(peers_file_is_read_or_enomem),
        CASE(open_is_done_or_enomem),
        CASE(calls_are_accepted_or_enomem),
        CASE(router_loses_nothing),
        CASE(reqrep_loses_nothing),
        CASE(pubsub_loses_nothing),
        CASE(a_client_loses_nothing),
        CASE(links_are_made_in_the_end),
        CASE(no_memory_at_all_is_silence),
        CASE(ending_needs_no_memory),
        CASE(blocking_calls_return_or_enomem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
