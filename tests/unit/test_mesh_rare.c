/* SPDX-License-Identifier: MIT */
/*
 * What seldom comes: refusals of every kind, replies that fit nothing, one id that comes on two ways,
 * messages without an id, tokens of nobody, times of nothing. The mesh is stepped by hand; see
 * mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define ROUTE_B 11u     /* on which r1 says hello */
#define ROUTE_CLIENT 5u /* of a client, which says none */
#define ROUTE_LEGACY 6u
#define CLIENT 0xc1u
#define NEXT_LIFE 0x2001u /* of r1 */

static uint64_t counted(const struct driver *d, enum zn_counter c) { return d->m->counters[c]; }

static struct driver *open_greeted(int n)
{
    struct driver *d = drive_open(n, 0, (struct zn_mesh_config){.calls_max = 8, .served_max = 16});
    drive_greet_all(d);
    return d;
}

static void assert_done(const struct driver *d, size_t dones, int status)
{
    assert_int_equal(d->dones, dones);
    assert_int_equal(d->done.status, status);
}

/* ---- replies ---- */

/* What a peer, not its handler, says of the only copy that was sent. */
static void refusals_say_what_is_known(void **state)
{
    (void)state;
    static const struct {
        int code, status;
    } cases[] = {
        {ZMQNET_ELIFE, ZMQNET_EUNKNOWN},
        {ZMQNET_ETOOOLD, ZMQNET_EUNKNOWN},
        {ZMQNET_EPROTO, ZMQNET_ENEVERSENT},
        {ZMQNET_ETOOBIG, ZMQNET_ENEVERSENT},
    };
    struct driver *d = open_greeted(2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        drive_ask(d, 1);
        drive_flush(d);
        drive_answer_from(d, 1, cases[i].code, NULL);
        assert_done(d, i + 1, cases[i].status);
    }
    drive_close(&d);
}

/* The life before may have run it, whatever this one says. */
static void rejection_by_a_second_life_is_no_proof(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .idempotent = true});
    drive_flush(d);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet(d, 1, NEXT_LIFE);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 2);
    drive_answer_from(d, 1, ZMQNET_EPROTO, NULL);
    assert_done(d, 1, ZMQNET_EUNKNOWN);
    drive_close(&d);
}

/* The row was settled when the life that it was pinned to ended; no ack may change that. */
static void reply_after_the_end_of_a_life_counts_for_nothing(void **state)
{
    (void)state;
    struct driver *d = open_greeted(3);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ALL, .quorum = ZMQNET_QUORUM_ALL});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    struct zmqnet_id id = d->to[1].id;
    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet(d, 1, NEXT_LIFE);
    drive_reply_from(d, 1, id, 0, NULL);
    assert_int_equal(counted(d, ZN_COUNT_stale_reply), 1);
    drive_answer_from(d, 2, 0, NULL);
    assert_done(d, 1, ZMQNET_ENOQUORUM);
    assert_int_equal(d->done.have, 2);
    assert_int_equal(d->done.rows[1].outcome, ZMQNET_UNACKED);
    drive_close(&d);
}

static void replies_to_ids_that_never_were(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_ask(d, 1);
    drive_flush(d);
    drive_reply_from(d, 1, (struct zmqnet_id){life_of(0), 2}, 0, NULL);
    drive_reply_from(d, 1, (struct zmqnet_id){life_of(0), 0}, 0, NULL);
    drive_reply_from(d, 1, (struct zmqnet_id){CLIENT, 1}, 0, NULL);
    assert_int_equal(counted(d, ZN_COUNT_unasked_reply), 3);
    assert_int_equal(d->dones, 0);
    drive_close(&d);
}

/* A STATUS is answered by a status, and by nothing else. */
static void status_of_nothing_is_no_status(void **state)
{
    (void)state;
    zmqnet_status view = {.name = "r0", .pattern = "router"};
    struct driver *d = drive_open(2, -1, (struct zn_mesh_config){.via = 0, .calls_max = 8});
    drive_greet(d, 0, life_of(0));
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_STATUS, .target = 0});
    drive_flush(d);
    struct zn_msg reply = drive_msg(ZN_SINGLE, ZN_REPLY, "r0");
    reply.id = d->to[0].id;
    drive_link_msg(d, 0, reply);
    assert_int_equal(counted(d, ZN_COUNT_bad_protobuf), 1);
    reply.status = &view;
    drive_link_msg(d, 0, reply);
    assert_done(d, 1, 0);
    drive_close(&d);
}

/* Its rows are those of its own peers file, and shown as they are. */
static void receipt_of_another_peers_file_is_taken(void **state)
{
    (void)state;
    struct zn_row rows[] = {{.name = "x", .outcome = ZMQNET_SELF, .why = ""}};
    struct driver *d = drive_open(2, -1, (struct zn_mesh_config){.via = 0, .calls_max = 8});
    struct zn_msg hello = drive_msg(ZN_BOUNCE, ZN_HELLO, "r0");
    hello.life = life_of(0);
    hello.version = ZN_PROTOCOL_VERSION;
    hello.peers_hash = d->peers->hash + 1;
    drive_link(d, ZN_EV_LINK_UP, 0);
    drive_link_msg(d, 0, hello);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ALL, .quorum = ZMQNET_QUORUM_ALL});
    drive_flush(d);
    struct zn_msg reply = drive_msg(ZN_SINGLE, ZN_REPLY, "r0");
    reply.id = d->to[0].id;
    drive_link_msg(d, 0, reply);
    assert_int_equal(counted(d, ZN_COUNT_bad_protobuf), 1);
    reply.rows = rows;
    reply.rows_n = 1;
    drive_link_msg(d, 0, reply);
    assert_done(d, 1, 0);
    assert_int_equal(d->done.rows_n, 1);
    drive_close(&d);
}

/* ---- one id on two ways ---- */

/* Another coordinator asked us first; the handler runs once, for both. */
static void submit_waits_for_what_runs_already(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){CLIENT, 1});
    drive_submit(d, ROUTE_CLIENT, (struct zmqnet_id){CLIENT, 1});
    assert_int_equal(d->deliveries, 1);
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1);
    drive_answer_from(d, 1, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->reply.route, ROUTE_CLIENT);
    assert_int_equal(d->reply.have, 2);
    assert_int_equal(d->deliveries, 1);
    drive_close(&d);
}

static void submit_takes_what_has_run_already(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){CLIENT, 1});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive_submit(d, ROUTE_CLIENT, (struct zmqnet_id){CLIENT, 1});
    drive_flush(d);
    assert_int_equal(d->deliveries, 1);
    assert_int_equal(d->requests_to[1], 1);
    drive_close(&d);
}

/* It has run, so no room for its receipt must not make it run again. */
static void full_request_table_forgets_nothing_that_ran(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 1, .served_max = 16});
    drive_greet_all(d);
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){CLIENT, 1});
    drive_answer(d, 0, NULL);
    drive_ask(d, 1);
    drive_submit(d, ROUTE_CLIENT, (struct zmqnet_id){CLIENT, 1});
    assert_int_equal(d->reply.status, ZMQNET_EFULL);
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){CLIENT, 1});
    drive_flush(d);
    assert_int_equal(d->deliveries, 1);
    assert_int_equal(counted(d, ZN_COUNT_duplicate), 2);
    drive_close(&d);
}

/* ---- requests ---- */

static void original_error_is_no_question(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_route_msg(d, ROUTE_LEGACY, drive_msg(ZN_ERROR, ZN_LEGACY, "whoever"));
    assert_int_equal(counted(d, ZN_COUNT_unknown_type), 1);
    assert_int_equal(d->reply.status, ZMQNET_EPROTO);
    assert_int_equal(d->deliveries, 0);
    drive_close(&d);
}

static void original_is_refused_by_a_full_window_and_by_a_handler(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 1, .served_max = 2});
    drive_route_msg(d, ROUTE_LEGACY, drive_msg(ZN_BOUNCE, ZN_LEGACY, "whoever"));
    drive_answer(d, 3, NULL);
    drive_flush(d);
    assert_int_equal(d->replies, 1);
    for (int i = 0; i < 2; i++)
        drive_route_msg(d, ROUTE_LEGACY, drive_msg(ZN_BOUNCE, ZN_LEGACY, "whoever"));
    assert_int_equal(d->deliveries, 3);
    drive_route_msg(d, ROUTE_LEGACY, drive_msg(ZN_BOUNCE, ZN_LEGACY, "whoever"));
    assert_int_equal(d->deliveries, 3);
    assert_int_equal(d->reply.status, ZMQNET_EFULL);
    drive_close(&d);
}

/* Nobody can ask for its receipt again, so the request is forgotten; who has not answered yet may
 * still do so. */
static void stragglers_of_an_answered_original_go_on_alone(void **state)
{
    (void)state;
    struct driver *d = open_greeted(3);
    drive_route_msg(d, ROUTE_LEGACY, drive_msg(ZN_SINGLE, ZN_LEGACY, ""));
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive_answer_from(d, 1, 3, NULL);
    drive_for(d, ZN_LAST_LOOK_US);
    assert_int_equal(d->replies, 1);
    assert_int_equal(d->reply.status, ZMQNET_ENOQUORUM);
    drive_tick(d);
    assert_int_equal(d->m->served_n, 0);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_REPORTED);
    drive_answer_from(d, 2, 0, NULL);
    drive_tick(d);
    assert_int_equal(d->m->peers[2].acked, 1);
    assert_int_equal(d->m->calls[0].state, ZN_CALL_FREE);
    assert_int_equal(d->replies, 1);
    drive_close(&d);
}

/* Without a budget it is the default; more than the maximum is the maximum. */
static void budgets_have_bounds(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_SUBMIT, "");
    for (uint64_t i = 1; i <= 2; i++) {
        msg.id = (struct zmqnet_id){CLIENT, i};
        msg.budget_ms = i == 1 ? 0 : UINT32_MAX;
        drive_route_msg(d, ROUTE_CLIENT, msg);
    }
    assert_int_equal(d->m->calls[0].deadline_us, d->now_us + ZMQNET_TIMEOUT_MS * ZN_MS);
    assert_int_equal(d->m->calls[1].deadline_us, d->now_us + ZMQNET_TIMEOUT_MAX_MS * ZN_MS);
    drive_close(&d);
}

static void quorum_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_SUBMIT, "");
    for (int i = 0; i < 2; i++) {
        msg.id = (struct zmqnet_id){CLIENT, 1};
        msg.quorum = i == 0 ? 3 : ZMQNET_QUORUM_MAJORITY - 1;
        drive_route_msg(d, ROUTE_CLIENT, msg);
        assert_int_equal(d->reply.status, ZMQNET_EINVAL);
    }
    assert_int_equal(d->deliveries, 0);
    drive_close(&d);
}

/* ---- our handler and our user ---- */

static void tokens_of_nobody_are_counted(void **state)
{
    (void)state;
    static const uint64_t tokens[] = {0, 15, 1ull << 63, 1ull << 63 | 7, UINT64_MAX};
    struct driver *d = open_greeted(2);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        d->token = tokens[i];
        drive_answer(d, 0, NULL);
    }
    assert_int_equal(counted(d, ZN_COUNT_answer_unasked), sizeof tokens / sizeof tokens[0]);
    drive_close(&d);
}

/* A share of the time too short for any back-off. */
static void shortest_time_has_all_its_attempts(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_call(
        d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .timeout_us = 20, .attempts = 2});
    drive_flush(d);
    drive_for(d, 30);
    assert_int_equal(d->requests_to[1], 2);
    assert_done(d, 1, ZMQNET_EUNKNOWN);
    drive_close(&d);
}

static void nothing_is_due_later_before_the_first_step(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    assert_int_equal(zn_mesh_next_us(d->m), 0);
    drive_tick(d);
    assert_int_equal(zn_mesh_next_us(d->m), UINT64_MAX);
    drive_close(&d);
}

/* ---- hello ---- */

/* That it speaks another pattern explains for a while why our own link fails. */
static void hello_of_another_pattern_explains_a_failed_link(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    struct zn_msg hello = drive_msg(ZN_BOUNCE, ZN_HELLO, "r1");
    hello.life = life_of(1);
    hello.version = ZN_PROTOCOL_VERSION;
    hello.peers_hash = d->peers->hash;
    hello.pattern = "";
    drive_route_msg(d, ROUTE_B, hello);
    assert_int_equal(d->reply.status, ZMQNET_EPATTERN);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_int_equal(d->m->peers[1].why, ZN_WHY_PATTERN);
    drive_for(d, 6 * ZN_SECOND);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_int_equal(d->m->peers[1].why, ZN_WHY_REFUSED);
    drive_close(&d);
}

/* Who reads the cause, in a log or at a terminal, is not steered by a stranger. */
static void what_a_hello_says_is_quoted_as_a_word(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    struct zn_msg hello = drive_msg(ZN_BOUNCE, ZN_HELLO, "r1");
    hello.life = life_of(1);
    hello.version = ZN_PROTOCOL_VERSION;
    hello.pattern = "x\" y=\"\n\x1b[m\xc2\x9b\\_-9";
    drive_route_msg(d, ROUTE_B, hello);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_string_equal(zn_mesh_status(d->m, d->now_us)->peers[1].cause,
                        "r1 speaks x? y=???[m???_-9, r0 speaks router");
    drive_close(&d);
}

/* What zmqnet_status_get() says of it must outlive the mesh. And a client speaks no pattern of its own. */
static void the_cause_of_a_client_is_static_text(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, -1, (struct zn_mesh_config){.calls_max = 8, .via = 1});
    struct zn_msg refusal = drive_msg(ZN_ERROR, ZN_HELLO, "r1");
    refusal.life = life_of(1);
    refusal.version = ZN_PROTOCOL_VERSION;
    refusal.code = ZMQNET_EPATTERN;
    drive_link(d, ZN_EV_LINK_UP, 1);
    drive_link_msg(d, 1, refusal);
    assert_int_equal(d->m->peers[1].why, ZN_WHY_PATTERN);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_STATUS, .target = 1});
    drive_for(d, 5 * ZN_SECOND);
    assert_int_equal(d->done.status, ZMQNET_ENEVERSENT);
    assert_string_equal(d->done.why, zn_why_text(ZN_WHY_PATTERN));
    assert_ptr_equal(d->done.why, zn_why_text(ZN_WHY_PATTERN));
    drive_close(&d);
}

static void hello_under_our_own_name_is_a_clash(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_hello_from(d, ROUTE_B, 0, NEXT_LIFE);
    assert_int_equal(d->reply.status, ZMQNET_ECLASH);
    assert_int_equal(counted(d, ZN_COUNT_name_clash), 1);
    drive_close(&d);
}

/* Nobody asked, so it changes nothing; and nothing was held up that could go on now. */
static void hello_and_writable_that_nobody_waits_for(void **state)
{
    (void)state;
    struct driver *d = open_greeted(2);
    drive_hello_answer(d, 1, NEXT_LIFE);
    assert_int_equal(counted(d, ZN_COUNT_unasked_reply), 1);
    assert_int_equal(d->m->peers[1].life, life_of(1));
    size_t hellos = d->sent[ZN_HELLO];
    drive_link(d, ZN_EV_LINK_WRITABLE, 1);
    assert_int_equal(d->sent[ZN_HELLO] + d->sent[ZN_PING], hellos);
    drive_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_say_what_is_known),
        cmocka_unit_test(rejection_by_a_second_life_is_no_proof),
        cmocka_unit_test(reply_after_the_end_of_a_life_counts_for_nothing),
        cmocka_unit_test(replies_to_ids_that_never_were),
        cmocka_unit_test(status_of_nothing_is_no_status),
        cmocka_unit_test(receipt_of_another_peers_file_is_taken),
        cmocka_unit_test(submit_waits_for_what_runs_already),
        cmocka_unit_test(submit_takes_what_has_run_already),
        cmocka_unit_test(full_request_table_forgets_nothing_that_ran),
        cmocka_unit_test(original_error_is_no_question),
        cmocka_unit_test(original_is_refused_by_a_full_window_and_by_a_handler),
        cmocka_unit_test(stragglers_of_an_answered_original_go_on_alone),
        cmocka_unit_test(budgets_have_bounds),
        cmocka_unit_test(quorum_that_cannot_be_is_refused),
        cmocka_unit_test(tokens_of_nobody_are_counted),
        cmocka_unit_test(shortest_time_has_all_its_attempts),
        cmocka_unit_test(nothing_is_due_later_before_the_first_step),
        cmocka_unit_test(hello_of_another_pattern_explains_a_failed_link),
        cmocka_unit_test(what_a_hello_says_is_quoted_as_a_word),
        cmocka_unit_test(the_cause_of_a_client_is_static_text),
        cmocka_unit_test(hello_under_our_own_name_is_a_clash),
        cmocka_unit_test(hello_and_writable_that_nobody_waits_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
