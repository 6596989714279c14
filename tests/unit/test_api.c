/* SPDX-License-Identifier: MIT */
/*
 * The public interface: opening and starting, arguments and states that it refuses, what must not be
 * called where, and limits of size. Calls, clients and ending have programs of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_driver.h"

/* What every blocking function returns here. */
struct blocking {
    int broadcast, request, status, stop;
    unsigned times;
};

static struct blocking blocked;

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
    const struct zmqnet_call patient = {.timeout_ms = 15000, .attempts = 1};
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

/* Answers that leave in one turn stay within what the other side takes as one frame. */
static void test_large_replies_together(void **state)
{
    (void)state;
    const struct zmqnet_call patient = {.timeout_ms = 15000, .attempts = 1};
    on_message(BRAVO, answer_large);
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            zmqnet_request_async(seats[ALPHA].node, "bravo", "x", 1, &patient, collect, &done), 0);
    AWAIT(done.times == 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(done.statuses[i], 0);
    assert_int_equal(done.receipt->rows[0].reply_bytes, 10u << 20);
}

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
        ALONE(test_full_batches_of_a_small_limit),
        MESH(test_closed_after_stop),
        MESH(test_message_sizes),
        MESH(test_large_replies_together),
        ALONE(test_close_from_another_thread),
    };
    if (argc > 1) /* one test, or those of a pattern */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin_tests, NULL);
}
