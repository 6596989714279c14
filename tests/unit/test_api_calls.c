/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts and requests through the public interface: what their receipts say, progress, a replica
 * that comes back in a later life, and many calls at once, from threads and from callbacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api_driver.h"

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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
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
    };
    if (argc > 1) /* one test, or those of a pattern */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin_tests, NULL);
}
