/* SPDX-License-Identifier: MIT */
/*
 * Nodes in a loop of the caller's own beside those with a thread, and how nodes of both kinds end: what
 * is open is finished within the grace, failed after it, and never left without a completion.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "api_driver.h"

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

enum { THREADS = 4 };

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
    close_all(state);
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ALONE(test_own_loop_beside_threads),      ALONE(test_idle_mesh_is_quiet),
        MESH(test_stop_finishes_open_requests),   MESH(test_stop_fails_what_is_open_after_grace),
        MESH(test_second_stop_waits_too),         MESH(test_close_completes_open_calls),
        MESH(test_stop_releases_blocked_callers), MESH(test_results_outlive_the_node),
    };
    if (argc > 1) /* one test, or those of a pattern */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin_tests, NULL);
}
