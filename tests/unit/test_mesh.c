/* SPDX-License-Identifier: MIT */
/*
 * What the mesh promises to whoever calls: one completion in time, the quorum that was asked for,
 * attempts at their times, one encoding, no allocation. The mesh is stepped by hand; see
 * mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocs.h"
#include "mesh_driver.h"

#define SMALL .calls_max = 8, .served_max = 16, .origins_max = 128

static enum zn_row_state row_state(const struct driver *d, int peer)
{
    return zn_call_track(d->m, &d->m->calls[0], peer)->state;
}

/* ---- quorum ---- */

static void quorum_is_all_a_majority_or_a_number(void **state)
{
    (void)state;
    static const uint32_t majorities[] = {0, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    for (uint32_t n = 1; n <= 9; n++) {
        assert_int_equal(zn_quorum_need(ZMQNET_QUORUM_ALL, n), n);
        assert_int_equal(zn_quorum_need(ZMQNET_QUORUM_MAJORITY, n), majorities[n]);
        for (int32_t q = 1; q <= (int32_t)n; q++)
            assert_int_equal(zn_quorum_need(q, n), q);
    }
}

/* With every quorum of n replicas, the ack that completes it is the one that was missing. */
static void broadcast_completes_with_the_ack_that_reaches_its_quorum(void **state)
{
    (void)state;
    for (int n = 1; n <= 9; n++) {
        for (int32_t q = ZMQNET_QUORUM_MAJORITY; q <= n; q++) {
            struct driver *d = drive_open(n, 0, (struct zn_mesh_config){SMALL});
            uint32_t need = zn_quorum_need(q, (uint32_t)n);
            drive_greet_all(d);
            drive_call(d, (struct zn_call_spec){.quorum = q});
            drive_answer(d, 0, NULL);
            drive_flush(d);
            for (uint32_t have = 1; have < need; have++) {
                assert_int_equal(d->dones, 0);
                drive_answer_from(d, (int)have, 0, NULL);
            }
            assert_int_equal(d->dones, 1);
            assert_int_equal(d->done.status, 0);
            assert_int_equal(d->done.need, need);
            assert_int_equal(d->done.have, need);
            drive_close(&d);
        }
    }
}

static void refusals_that_leave_too_few_fail_the_broadcast(void **state)
{
    (void)state;
    struct driver *d = drive_open(5, 0, (struct zn_mesh_config){SMALL});
    drive_greet_all(d);
    drive_call(d, (struct zn_call_spec){.quorum = 4});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive_answer_from(d, 1, 7, NULL);
    drive_for(d, 2 * ZN_LAST_LOOK_US);
    assert_int_equal(d->dones, 0);
    drive_answer_from(d, 2, 7, NULL);
    drive_for(d, 2 * ZN_LAST_LOOK_US);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_ENOQUORUM);
    drive_close(&d);
}

/* ---- sizes of a mesh ---- */

static void one_replica_completes_at_once(void **state)
{
    (void)state;
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){SMALL});
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    assert_int_equal(d->deliveries, 1);
    drive_answer(d, 0, NULL);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, 0);
    assert_int_equal(d->done.rows_n, 1);
    assert_int_equal(d->done.rows[0].outcome, ZMQNET_SELF);
    drive_flush(d);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    drive_close(&d);
}

static void sixty_four_replicas_share_one_encoding(void **state)
{
    (void)state;
    struct driver *d = drive_open(ZN_REPLICAS_MAX, 63, (struct zn_mesh_config){SMALL});
    drive_greet_all(d);
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->sent[ZN_REQUEST], 63);
    assert_int_equal(d->encodings, 1);
    for (int p = 0; p < 63; p++) {
        assert_int_equal(d->to[p].lives_n, 63);
        drive_answer_from(d, p, 0, NULL);
    }
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, 0);
    assert_int_equal(d->done.have, 64);
    assert_int_equal(d->done.rows_n, 64);
    drive_close(&d);
}

/* One peer says hello again and another one for the first time, before the same flush: the driver
 * holds that each copy names the life that it goes to. */
static void encoding_is_made_anew_for_a_late_hello(void **state)
{
    (void)state;
    struct driver *d = drive_open(4, 0, (struct zn_mesh_config){SMALL});
    drive_greet(d, 1, life_of(1));
    drive_greet(d, 2, life_of(2));
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->to[1].lives_n, 2);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet(d, 1, life_of(1));
    drive_greet(d, 3, life_of(3));
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 2);
    assert_int_equal(d->requests_to[3], 1);
    assert_int_equal(d->to[3].lives_n, 3);
    assert_int_equal(d->encodings, 2);
    drive_close(&d);
}

/* ---- states ---- */

static void row_and_call_go_their_way(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){SMALL});
    drive_greet_all(d);
    drive_call(d, (struct zn_call_spec){.attempts = 2, .timeout_us = 400 * ZN_MS, .quorum = 2});
    assert_int_equal(row_state(d, 1), ZN_ROW_IDLE);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_SELF);
    drive_answer(d, 0, NULL);
    assert_int_equal(row_state(d, 0), ZN_ROW_SETTLED);
    assert_int_equal(row_state(d, 1), ZN_ROW_QUEUED);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_OPEN);
    drive_flush(d);
    assert_int_equal(row_state(d, 1), ZN_ROW_SENT);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    assert_int_equal(row_state(d, 1), ZN_ROW_QUEUED);
    drive_link(d, ZN_EV_LINK_WRITABLE, 1);
    drive_flush(d);
    assert_int_equal(row_state(d, 1), ZN_ROW_SENT);
    d->now_us = zn_mesh_next_us(d->m);
    drive_tick(d);
    assert_int_equal(row_state(d, 1), ZN_ROW_AGAIN);
    drive_flush(d);
    assert_int_equal(row_state(d, 1), ZN_ROW_SENT);
    drive_answer_from(d, 1, 0, NULL);
    assert_int_equal(row_state(d, 1), ZN_ROW_SETTLED);
    assert_int_equal(row_state(d, 2), ZN_ROW_SENT);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_REPORTED);
    drive_answer_from(d, 2, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_FREE);
    drive_close(&d);
}

/* ---- time ---- */

struct jitter {
    uint64_t least_us, most_us;
};

/* Nobody answers. Attempt k + 1 begins k shares of the time after the first, and half to one whole
 * back-off later; the deadline does not move. */
static void retry_times_check(uint64_t seed, uint32_t attempts, struct jitter *seen)
{
    const uint64_t timeout_us = 6 * ZN_SECOND, share_us = timeout_us / attempts;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){SMALL, .seed = seed});
    drive_greet_all(d);
    uint64_t start_us = d->now_us;
    drive_call(d,
               (struct zn_call_spec){
                   .ask = ZN_ASK_ONE, .target = 1, .timeout_us = timeout_us, .attempts = attempts});
    drive_flush(d);
    assert_int_equal(d->to[1].at_us, start_us);
    for (uint32_t k = 1; k < attempts; k++) {
        uint64_t backoff_us = (share_us / 16) << (k <= 4 ? k - 1 : 3);
        uint64_t share_end_us = start_us + k * share_us;
        drive_for(d, share_end_us + backoff_us - d->now_us);
        assert_int_equal(d->requests_to[1], k + 1);
        assert_int_equal(d->to[1].attempt, k + 1);
        assert_in_range(d->to[1].at_us, share_end_us + backoff_us / 2, share_end_us + backoff_us);
        uint64_t jitter_us = d->to[1].at_us - share_end_us - backoff_us / 2;
        if (k == 1 && jitter_us < seen->least_us)
            seen->least_us = jitter_us;
        if (k == 1 && jitter_us > seen->most_us)
            seen->most_us = jitter_us;
    }
    drive_for(d, start_us + timeout_us - d->now_us);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.at_us, start_us + timeout_us);
    assert_int_equal(d->done.status, ZMQNET_EUNKNOWN);
    drive_for(d, timeout_us);
    assert_int_equal(d->requests_to[1], attempts);
    assert_int_equal(d->dones, 1);
    drive_close(&d);
}

static void attempts_share_the_time_with_backoff_and_jitter(void **state)
{
    (void)state;
    for (uint32_t attempts = 1; attempts <= 8; attempts++) {
        struct jitter seen = {UINT64_MAX, 0};
        uint64_t width_us = 6 * ZN_SECOND / attempts / 32;
        for (uint64_t seed = 1; seed <= 20; seed++)
            retry_times_check(seed, attempts, &seen);
        if (attempts > 1)
            assert_true(seen.most_us - seen.least_us > width_us / 2);
    }
}

/* Whoever drives is late: each completion comes with the first tick at or after its deadline. */
static void deadline_is_at_most_one_step_late(void **state)
{
    (void)state;
    static const struct zn_call_spec specs[] = {
        {.ask = ZN_ASK_ALL, .timeout_us = 1000 * ZN_MS, .attempts = 3},
        {.ask = ZN_ASK_ONE, .target = 1, .timeout_us = 1000 * ZN_MS, .attempts = 3},
        {.ask = ZN_ASK_ONE, .target = 0, .timeout_us = 1000 * ZN_MS, .attempts = 3},
    };
    for (int self = -1; self <= 0; self++) {
        for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
            struct driver *d = drive_open(3, self, (struct zn_mesh_config){SMALL, .via = -1});
            drive_call(d, specs[i]);
            uint64_t deadline_us = d->now_us + specs[i].timeout_us;
            while (d->now_us < deadline_us) {
                assert_int_equal(d->dones, 0);
                d->now_us += 70 * ZN_MS;
                drive_tick(d);
                drive_flush(d);
            }
            assert_int_equal(d->dones, 1);
            assert_true(d->done.status != 0);
            drive_close(&d);
        }
    }
}

/* ---- memory ---- */

/* Everything that a replica does with messages, often enough for every table to be used over again.
 * The driver fails the test in the step that allocates. */
static void no_step_allocates(void **state)
{
    (void)state;
    size_t before = allocs_calls();
    struct zn_blob *body = drive_blob(100), *answer = drive_blob(50);
    assert_true(allocs_calls() >= before + 2);
    struct driver *d = drive_open(
        5, 0, (struct zn_mesh_config){.calls_max = 64, .served_max = 128, .origins_max = 32});
    drive_greet_all(d);
    for (int p = 1; p < 5; p++)
        drive_hello_from(d, 10 + (zn_route)p, p, life_of(p));
    for (uint64_t i = 1; i <= 1000; i++) {
        drive_call(d, (struct zn_call_spec){.body = body, .progress = true, .attempts = 3});
        drive_answer(d, 0, answer);
        drive_flush(d);
        for (int p = 1; p < 5; p++)
            drive_answer_from(d, p, 0, answer);
        drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, i});
        drive_answer(d, 0, answer);
        drive_flush(d);
        for (int p = 1; p < 5; p++)
            drive_answer_from(d, p, 0, answer);
        drive_request(d, 12, 2, (struct zmqnet_id){life_of(2), i});
        drive_answer(d, 0, answer);
        drive_ask(d, 1 + (int)(i % 4));
        drive_flush(d);
        drive_answer_from(d, 1 + (int)(i % 4), 0, answer);
        drive_for(d, 10 * ZN_MS);
    }
    assert_int_equal(d->dones, 2000);
    assert_int_equal(d->deliveries, 3000);
    assert_int_equal(d->replies, 2000 + 4);
    assert_int_equal(d->progresses, 5000);
    assert_int_equal(d->encodings, 3000);
    assert_int_equal(d->sent[ZN_REQUEST], 9000);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    drive_close(&d);
    assert_int_equal(answer->refs, 1);
    zn_blob_drop(&body);
    zn_blob_drop(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quorum_is_all_a_majority_or_a_number),
        cmocka_unit_test(broadcast_completes_with_the_ack_that_reaches_its_quorum),
        cmocka_unit_test(refusals_that_leave_too_few_fail_the_broadcast),
        cmocka_unit_test(one_replica_completes_at_once),
        cmocka_unit_test(sixty_four_replicas_share_one_encoding),
        cmocka_unit_test(encoding_is_made_anew_for_a_late_hello),
        cmocka_unit_test(row_and_call_go_their_way),
        cmocka_unit_test(attempts_share_the_time_with_backoff_and_jitter),
        cmocka_unit_test(deadline_is_at_most_one_step_late),
        cmocka_unit_test(no_step_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
