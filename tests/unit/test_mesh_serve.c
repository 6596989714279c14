/* SPDX-License-Identifier: MIT */
/*
 * Requests that arrive: what strangers may say, what a full window or table costs, which answers
 * travel together, and what is remembered of whom. The mesh is stepped by hand; see mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define KIB 1024u
#define ROUTE_B 11u   /* on which r1 says hello */
#define STRANGER 666u /* on which nobody does */
#define LIFE_B 0x1001u
#define CLIENTS 0x100000u /* origins of clients count up from here */
#define ORIGINS_MAX 128u

static uint64_t counted(const struct driver *d, enum zn_counter c) { return d->m->counters[c]; }

/* Replica 0 of three, greeted by all and r1 by us. */
static struct driver *server_open(struct zn_mesh_config config)
{
    struct driver *d = drive_open(3, 0, config);
    drive_greet_all(d);
    drive_hello_from(d, ROUTE_B, 1, LIFE_B);
    return d;
}

static void request_of_b(struct driver *d, uint64_t seq)
{
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){LIFE_B, seq});
}

/* A request of r1 is run, and answered with success. */
static void request_runs(struct driver *d, uint64_t seq)
{
    size_t deliveries = d->deliveries, replies = d->replies;
    request_of_b(d, seq);
    assert_int_equal(d->deliveries, deliveries + 1);
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->replies, replies + 1);
    assert_int_equal(d->reply.route, ROUTE_B);
    assert_int_equal(d->reply.status, 0);
}

/* A client's request is run by us, whatever becomes of it elsewhere. */
static bool submit_runs(struct driver *d, uint64_t origin, uint64_t seq)
{
    size_t before = d->deliveries;
    drive_submit(d, 5, (struct zmqnet_id){origin, seq});
    if (d->deliveries == before)
        return false;
    drive_answer(d, 1, NULL);
    drive_flush(d);
    return true;
}

/* ---- forged origins ---- */

static void bye_of_a_stranger_forgets_no_replica(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    request_runs(d, 1);
    drive_bye_from(d, STRANGER, "", LIFE_B);
    request_runs(d, 2);
    drive_close(&d);
}

static void replica_ids_are_not_for_clients(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    drive_submit(d, STRANGER, (struct zmqnet_id){LIFE_B, 1});
    assert_int_equal(d->deliveries, 0);
    assert_int_equal(d->reply.status, ZMQNET_EHELLO);
    assert_int_equal(counted(d, ZN_COUNT_forged_sender), 1);
    request_runs(d, 1);
    drive_close(&d);
}

static void replica_ids_are_not_for_other_replicas(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){life_of(2), 1});
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){life_of(0), 1});
    assert_int_equal(d->deliveries, 0);
    assert_int_equal(d->reply.status, ZMQNET_EHELLO);
    assert_int_equal(counted(d, ZN_COUNT_forged_sender), 2);
    drive_close(&d);
}

static void our_own_ids_are_for_nobody_else(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    drive_submit(d, STRANGER, (struct zmqnet_id){life_of(0), UINT64_MAX});
    assert_int_equal(d->deliveries, 0);
    assert_int_equal(d->reply.status, ZMQNET_EHELLO);
    drive_ask(d, 1);
    drive_flush(d);
    assert_int_equal(d->to[1].id.seq, 1);
    assert_int_equal(d->to[1].floor, 0);
    drive_close(&d);
}

/* What has no kind is the original program's and has no id, whatever it says. */
static void message_without_a_kind_has_no_id(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_LEGACY, "whoever");
    msg.id = (struct zmqnet_id){LIFE_B, 1};
    drive_route_msg(d, STRANGER, msg);
    assert_int_equal(d->deliveries, 1);
    drive_answer(d, 0, NULL);
    drive_flush(d);
    request_runs(d, 1);
    drive_close(&d);
}

/* ---- callers that are remembered ---- */

/* The first client's handler never answers; then others come until the table is full. */
static void full_table_of_callers_recovers(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.origins_max = ORIGINS_MAX});
    drive_greet_all(d);
    drive_submit(d, 5, (struct zmqnet_id){CLIENTS, 1});
    uint64_t next = CLIENTS + 1;
    while (submit_runs(d, next, 1))
        next++;
    assert_int_equal(next - CLIENTS, ORIGINS_MAX - 3);
    assert_int_equal(d->reply.status, ZMQNET_EFULL);
    assert_int_equal(counted(d, ZN_COUNT_served_full), 1);

    /* The replicas' own places are still free. */
    drive_hello_from(d, ROUTE_B, 1, LIFE_B);
    request_runs(d, 1);

    drive_for(d, ZN_ORIGIN_KEEP_US - 1);
    assert_false(submit_runs(d, next, 1));
    drive_for(d, 1);
    assert_true(submit_runs(d, next, 1));
    drive_close(&d);
}

/* One client was killed and never said bye. A thousand come after it, one at a time. */
static void caller_that_vanished_keeps_nobody_out(void **state)
{
    (void)state;
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){.origins_max = ORIGINS_MAX});
    assert_true(submit_runs(d, LIFE_OF_CLIENT, 1));
    for (uint64_t i = 0; i < 1000; i++) {
        drive_for(d, 10 * ZN_SECOND);
        assert_true(submit_runs(d, CLIENTS + i, 1));
        drive_bye_from(d, 5, "", CLIENTS + i);
    }
    assert_true(d->m->served_n <= 2);
    drive_close(&d);
}

static void id_zero_takes_no_place(void **state)
{
    (void)state;
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){.origins_max = ORIGINS_MAX});
    for (uint64_t i = 0; i < 2 * ORIGINS_MAX; i++)
        drive_submit(d, 5, (struct zmqnet_id){CLIENTS + i, 0});
    assert_int_equal(d->reply.status, ZMQNET_ETOOOLD);
    assert_int_equal(d->deliveries, 0);
    assert_true(submit_runs(d, CLIENTS, 1));
    drive_close(&d);
}

/* ---- the dedup window ---- */

static void repeat_gets_the_stored_answer(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(10);
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 8});
    request_of_b(d, 1);
    request_of_b(d, 1);
    drive_answer(d, 0, reply);
    drive_flush(d);
    request_of_b(d, 1);
    drive_flush(d);
    assert_int_equal(d->deliveries, 1);
    assert_int_equal(d->reply.status, 0);
    assert_int_equal(d->reply.reply_bytes, 10);
    assert_int_equal(counted(d, ZN_COUNT_duplicate), 2);
    drive_close(&d);
    assert_int_equal(reply->refs, 1);
    zn_blob_drop(&reply);
}

/* A window of eight. What it gives up is too old from then on, and so is all before it: neither is
 * known to have run, nor not to have. */
static void pressure_raises_the_floor(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 4, .served_max = 8});
    for (uint64_t seq = 3; seq <= 10; seq++)
        request_runs(d, seq);
    request_runs(d, 11);
    size_t deliveries = d->deliveries;
    for (uint64_t seq = 1; seq <= 3; seq++) {
        request_of_b(d, seq);
        assert_int_equal(d->reply.status, ZMQNET_ETOOOLD);
        assert_int_equal(counted(d, ZN_COUNT_too_old), seq);
    }
    request_of_b(d, 4);
    drive_flush(d);
    assert_int_equal(d->reply.status, 0);
    assert_int_equal(d->deliveries, deliveries);
    drive_close(&d);
}

static void stored_answers_are_bounded_in_bytes(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(400);
    struct driver *d =
        server_open((struct zn_mesh_config){.calls_max = 4, .served_bytes_max = 1000});
    for (uint64_t seq = 1; seq <= 10; seq++) {
        request_of_b(d, seq);
        drive_answer(d, 0, reply);
        drive_flush(d);
        assert_true(d->m->served_bytes <= 1000);
    }
    request_of_b(d, 8);
    assert_int_equal(d->reply.status, ZMQNET_ETOOOLD);
    request_of_b(d, 9);
    drive_flush(d);
    assert_int_equal(d->reply.reply_bytes, 400);
    assert_int_equal(d->deliveries, 10);
    drive_close(&d);
    zn_blob_drop(&reply);
}

static void floor_gives_back_what_is_finished(void **state)
{
    (void)state;
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 4});
    for (uint64_t seq = 1; seq <= 5; seq++)
        request_runs(d, seq);
    assert_int_equal(d->m->served_n, 5);
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_REQUEST, "r1");
    msg.id = (struct zmqnet_id){LIFE_B, 6};
    msg.floor = 4;
    drive_route_msg(d, ROUTE_B, msg);
    assert_int_equal(d->m->served_n, 2);
    request_of_b(d, 4);
    assert_int_equal(d->reply.status, ZMQNET_ETOOOLD);
    drive_close(&d);
}

/* A repeat waits for the flush with its answer when a new request needs room. */
static void answer_that_is_due_is_not_given_up(void **state)
{
    (void)state;
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){.calls_max = 4});
    for (uint64_t seq = 1; seq <= 4; seq++)
        assert_true(submit_runs(d, LIFE_OF_CLIENT, seq));
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 1});
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 5});
    assert_int_equal(d->deliveries, 5);
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->replies, 6);
    assert_int_equal(d->reply.status, 0);
    drive_close(&d);
}

/* ---- handlers that never answer ---- */

/* As many as are searched for one to give back stand in front of every list. */
static struct driver *open_with_hung_handlers(void)
{
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 256, .served_max = 512});
    for (uint64_t i = 0; i < ZN_SEARCH_MAX; i++)
        drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT + i, 1});
    drive_for(d, 10 * ZN_SECOND);
    assert_int_equal(d->deliveries, ZN_SEARCH_MAX);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    return d;
}

static void hung_handlers_do_not_shut_the_request_table(void **state)
{
    (void)state;
    struct driver *d = open_with_hung_handlers();
    for (uint64_t i = 0; i < 2000; i++)
        assert_true(submit_runs(d, CLIENTS + i, 1));
    drive_ask(d, 0);
    drive_answer(d, 0, NULL);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, 0);
    drive_close(&d);
}

static void hung_handlers_do_not_shut_the_window(void **state)
{
    (void)state;
    struct driver *d = open_with_hung_handlers();
    for (uint64_t seq = 1; seq <= 2000; seq++)
        request_runs(d, seq);
    drive_close(&d);
}

/* Slow handlers stand in front; the answers of those behind them are stored all the same. */
static void stored_answers_are_bounded_behind_hung_handlers(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(400);
    struct driver *d = server_open((struct zn_mesh_config){.served_bytes_max = 1000});
    for (uint64_t i = 0; i < ZN_SEARCH_MAX; i++)
        drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT + i, 1});
    for (uint64_t seq = 1; seq <= 100; seq++) {
        request_of_b(d, seq);
        drive_answer(d, 0, reply);
        drive_flush(d);
        assert_int_equal(d->reply.status, 0);
    }
    assert_true(d->m->served_bytes <= 1000);
    drive_close(&d);
    zn_blob_drop(&reply);
}

/* While a peer does not answer nothing is given up: who comes then is refused before it runs. */
static void stored_answers_of_open_broadcasts_are_bounded(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(500);
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.served_bytes_max = 1000});
    drive_greet_all(d);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        uint64_t deliveries = d->deliveries;
        drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, seq});
        if (d->deliveries > deliveries)
            drive_answer(d, 0, reply);
        drive_flush(d);
    }
    assert_int_equal(d->deliveries, 3);
    assert_int_equal(d->m->served_bytes, 1500);
    assert_int_equal(d->reply.status, ZMQNET_EFULL);
    assert_int_equal(counted(d, ZN_COUNT_served_full), 17);
    drive_for(d, 10 * ZN_SECOND);
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 21});
    assert_int_equal(d->deliveries, 4);
    drive_close(&d);
    zn_blob_drop(&reply);
}

/* A body that no table can hold costs only its own caller. */
static void body_without_any_room_pushes_nothing_out(void **state)
{
    (void)state;
    struct zn_blob *body = drive_blob(2000);
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){.call_bytes_max = 1000});
    assert_true(submit_runs(d, LIFE_OF_CLIENT, 1));
    drive_call(d, (struct zn_call_spec){.body = body});
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_EFULL);
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 1});
    drive_flush(d);
    assert_int_not_equal(d->reply.status, ZMQNET_ETOOOLD);
    drive_close(&d);
    zn_blob_drop(&body);
}

/* Receipts for clients of the original program wait for the flush and fill the table till then. */
static void receipts_that_are_due_can_fill_the_table(void **state)
{
    (void)state;
    struct driver *d = drive_open(1, 0, (struct zn_mesh_config){.calls_max = 4});
    for (int i = 0; i < 4; i++) {
        drive_route_msg(d, 5, drive_msg(ZN_SINGLE, ZN_LEGACY, ""));
        drive_answer(d, 0, NULL);
    }
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_EFULL);
    drive_flush(d);
    assert_int_equal(d->replies, 4);
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    drive_answer(d, 0, NULL);
    assert_int_equal(d->done.status, 0);
    drive_close(&d);
}

/* ---- answers ---- */

static void answers_travel_together_within_the_limits(void **state)
{
    (void)state;
    struct zn_blob *large = drive_blob(100 * KIB), *larger = drive_blob(9216 * KIB);
    struct driver *d = server_open((struct zn_mesh_config){.calls_max = 4});
    for (uint64_t seq = 1; seq <= 6; seq++) {
        request_of_b(d, seq);
        drive_answer(d, 0, large);
    }
    drive_flush(d);
    assert_int_equal(d->joined_answers_max, 2);
    assert_true(d->joined_bytes_max <= ZN_BATCH_BYTES_MAX);
    for (uint64_t seq = 7; seq <= 9; seq++) {
        request_of_b(d, seq);
        drive_answer(d, 0, larger);
    }
    drive_flush(d);
    assert_true(d->joined_bytes_max <= ZN_BATCH_BYTES_MAX);
    for (uint64_t seq = 10; seq < 400; seq++) {
        request_of_b(d, seq);
        drive_answer(d, 0, NULL);
    }
    drive_flush(d);
    assert_int_equal(d->joined_answers_max, ZN_BATCH_MESSAGES_MAX);
    assert_int_equal(d->replies, 1 + 399);
    drive_close(&d);
    zn_blob_drop(&large);
    zn_blob_drop(&larger);
}

/* The one who asks again while we drain has asked before: it gets its receipt, where it is now. */
static void drain_answers_repeats(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 4});
    drive_greet_all(d);
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 1});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive(d, (struct zn_event){.type = ZN_EV_DRAIN, .peer = -1});
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, 2});
    assert_int_equal(d->reply.status, ZMQNET_ECLOSED);
    drive_submit(d, 6, (struct zmqnet_id){LIFE_OF_CLIENT, 1});
    assert_int_equal(d->replies, 1);
    drive_answer_from(d, 1, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->replies, 2);
    assert_int_equal(d->reply.route, 6);
    assert_int_equal(d->reply.status, 0);
    assert_int_equal(d->deliveries, 1);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    drive_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bye_of_a_stranger_forgets_no_replica),
        cmocka_unit_test(replica_ids_are_not_for_clients),
        cmocka_unit_test(replica_ids_are_not_for_other_replicas),
        cmocka_unit_test(our_own_ids_are_for_nobody_else),
        cmocka_unit_test(message_without_a_kind_has_no_id),
        cmocka_unit_test(full_table_of_callers_recovers),
        cmocka_unit_test(caller_that_vanished_keeps_nobody_out),
        cmocka_unit_test(id_zero_takes_no_place),
        cmocka_unit_test(repeat_gets_the_stored_answer),
        cmocka_unit_test(pressure_raises_the_floor),
        cmocka_unit_test(stored_answers_are_bounded_in_bytes),
        cmocka_unit_test(floor_gives_back_what_is_finished),
        cmocka_unit_test(answer_that_is_due_is_not_given_up),
        cmocka_unit_test(hung_handlers_do_not_shut_the_request_table),
        cmocka_unit_test(hung_handlers_do_not_shut_the_window),
        cmocka_unit_test(stored_answers_are_bounded_behind_hung_handlers),
        cmocka_unit_test(stored_answers_of_open_broadcasts_are_bounded),
        cmocka_unit_test(body_without_any_room_pushes_nothing_out),
        cmocka_unit_test(answers_travel_together_within_the_limits),
        cmocka_unit_test(drain_answers_repeats),
        cmocka_unit_test(receipts_that_are_due_can_fill_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
