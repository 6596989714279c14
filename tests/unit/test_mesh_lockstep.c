/* SPDX-License-Identifier: MIT */
/*
 * A link that carries one question at a time, and a peer on it that is the original program. What the
 * pattern would drop (an answer to a question that was given up) is not put in. The mesh is stepped by
 * hand; see mesh_driver.h, which also holds that no step allocates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define CALLS 8

static struct driver *lock_step_open(void)
{
    return drive_open(2, 0, (struct zn_mesh_config){.calls_max = CALLS, .lock_step = true});
}

/* It answers no ping unless the test says so. */
static struct driver *two_open(void)
{
    struct driver *d = lock_step_open();
    drive_greet_all(d);
    d->alive = 0;
    return d;
}

static struct driver *with_original_open(void)
{
    struct driver *d = lock_step_open();
    drive_greet_original(d, 1);
    return d;
}

static void ask(struct driver *d)
{
    drive_ask(d, 1);
    drive_flush(d);
}

static void ask_idempotent(struct driver *d)
{
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .idempotent = true});
    drive_flush(d);
}

static void ask_bytes(struct driver *d, uint8_t first)
{
    struct zn_blob *body = drive_blob(3);
    body->data[0] = first;
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .body = body});
    zn_blob_drop(&body);
    drive_flush(d);
}

static void answer(struct driver *d, int code)
{
    drive_answer_from(d, 1, code, NULL);
    drive_flush(d);
}

static void ack(struct driver *d)
{
    drive_original_answer(d, 1, ZN_SINGLE, NULL);
    drive_flush(d);
}

static void pong(struct driver *d)
{
    drive_pong(d, 1);
    drive_flush(d);
}

static const struct zn_peer *peer(const struct driver *d) { return &d->m->peers[1]; }

static void assert_state(const struct driver *d, enum zmqnet_state state, enum zn_why why)
{
    assert_int_equal(peer(d)->state, state);
    assert_string_equal(zn_why_text(peer(d)->why), zn_why_text(why));
}

/* So many requests have left in all, the last one with this number. */
static void assert_asked(const struct driver *d, size_t n, uint64_t seq)
{
    assert_int_equal(d->requests_to[1], n);
    assert_int_equal(d->to[1].id.seq, seq);
}

static void assert_done(const struct driver *d, size_t n, enum zmqnet_outcome outcome)
{
    assert_int_equal(d->dones, n);
    assert_int_equal(d->done.rows[0].outcome, outcome);
}

/* ---- one question at a time ---- */

static void requests_leave_one_by_one(void **state)
{
    (void)state;
    struct driver *d = two_open();
    for (uint64_t i = 1; i <= 3; i++)
        ask(d);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_asked(d, i, i);
        answer(d, 0);
        assert_done(d, i, ZMQNET_ACKED);
    }
    drive_close(&d);
}

static void nothing_leaves_while_a_ping_is_out(void **state)
{
    (void)state;
    struct driver *d = two_open();
    ask(d);
    drive_for(d, ZN_PING_US);
    assert_int_equal(d->sent[ZN_PING], 1);
    ask(d);
    assert_asked(d, 1, 1);
    pong(d);
    assert_asked(d, 2, 1); /* what the ping has interrupted goes first */
    assert_int_equal(peer(d)->retries, 1);
    answer(d, 0);
    assert_asked(d, 3, 2);
    answer(d, 0);
    assert_done(d, 2, ZMQNET_ACKED);
    drive_close(&d);
}

/* The next attempt is due, and has to wait too. */
static void no_retry_leaves_while_a_ping_is_out(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_call(d, (struct zn_call_spec){
                      .ask = ZN_ASK_ONE, .target = 1, .timeout_us = ZN_SECOND, .attempts = 2});
    drive_flush(d);
    drive_for(d, 700 * ZN_MS);
    assert_int_equal(d->sent[ZN_PING], 1);
    assert_asked(d, 1, 1);
    pong(d);
    assert_asked(d, 2, 1);
    assert_int_equal(d->to[1].attempt, 2);
    drive_close(&d);
}

static void a_pong_with_nothing_in_flight_asks_nothing(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_for(d, ZN_PING_US);
    pong(d);
    assert_int_equal(d->requests_to[1], 0);
    assert_int_equal(d->sent[ZN_PING], 1);
    assert_int_equal(d->sent[ZN_HELLO], 1);
    ask(d);
    assert_asked(d, 1, 1);
    drive_close(&d);
}

/* Its handler needs ten seconds; the loop answers pings. */
static void who_answers_pings_is_up_and_acks_in_the_end(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = zn_bit(1);
    drive_call(d,
               (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .timeout_us = 12 * ZN_SECOND});
    for (int i = 0; i < 100; i++) {
        drive_for(d, 100 * ZN_MS);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    }
    drive_flush(d);
    answer(d, 0);
    assert_done(d, 1, ZMQNET_ACKED);
    drive_close(&d);
}

static void the_deadline_of_one_lets_the_next_leave(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .timeout_us = 100 * ZN_MS});
    ask(d);
    drive_for(d, 100 * ZN_MS);
    assert_done(d, 1, ZMQNET_UNACKED);
    assert_asked(d, 2, 2);
    drive_close(&d);
}

/* ---- a second hello ---- */

static void nothing_leaves_while_a_second_hello_is_out(void **state)
{
    (void)state;
    struct driver *d = two_open();
    ask(d);
    answer(d, ZMQNET_EHELLO);
    assert_int_equal(d->sent[ZN_HELLO], 2);
    ask(d);
    drive_for(d, 400 * ZN_MS); /* when it would be asked again for want of room */
    assert_asked(d, 1, 1);
    drive_hello_answer(d, 1, life_of(1));
    drive_flush(d);
    assert_asked(d, 2, 1);
    answer(d, 0);
    assert_asked(d, 3, 2);
    drive_close(&d);
}

static void a_ping_gives_up_the_second_hello_and_its_pong_repeats_it(void **state)
{
    (void)state;
    struct driver *d = two_open();
    ask(d);
    answer(d, ZMQNET_EHELLO);
    drive_for(d, ZN_PING_US);
    assert_int_equal(d->sent[ZN_PING], 1);
    pong(d);
    assert_int_equal(d->sent[ZN_HELLO], 3);
    assert_asked(d, 1, 1);
    drive_hello_answer(d, 1, life_of(1));
    drive_flush(d);
    assert_asked(d, 2, 1);
    drive_close(&d);
}

/* ---- frames that were not taken ---- */

static void a_ping_that_was_not_taken_is_said_again(void **state)
{
    (void)state;
    struct driver *d = two_open();
    ask(d);
    drive_for(d, ZN_PING_US);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    ask(d);
    drive_link(d, ZN_EV_LINK_WRITABLE, 1);
    drive_flush(d);
    assert_int_equal(d->sent[ZN_PING], 2);
    assert_asked(d, 1, 1);
    pong(d);
    assert_asked(d, 2, 1);
    drive_close(&d);
}

static void a_request_that_was_not_taken_was_never_sent(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = zn_bit(1);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = 1, .timeout_us = 100 * ZN_MS});
    drive_flush(d);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    assert_int_equal(peer(d)->sent, 0);
    drive_for(d, 100 * ZN_MS);
    assert_done(d, 1, ZMQNET_NEVER_SENT);
    drive_close(&d);
}

/* The ping is lost, its answer or what was asked by it: what is heard since shows as much. */
static void who_is_heard_is_pinged_anew_before_it_is_silent(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = CALLS});
    drive_greet_all(d);
    d->alive = 0;
    drive_for(d, ZN_PING_US);
    ask(d);
    drive_for(d, ZN_MS);
    answer(d, 0);
    drive_for(d, ZN_PING_US);
    assert_int_equal(d->sent[ZN_PING], 2);
    drive_for(d, ZN_SILENT_US - 1);
    assert_state(d, ZMQNET_SUSPECT, ZN_WHY_SILENT);
    drive_for(d, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    drive_close(&d);
}

/* ---- a gap ---- */

static void a_gap_asks_again_for_what_is_open(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = CALLS});
    drive_greet_all(d);
    ask(d);
    ask(d);
    ask(d);
    drive_reply_from(d, 1, (struct zmqnet_id){life_of(0), 1}, ZMQNET_EFULL, NULL);
    drive_reply_from(d, 1, (struct zmqnet_id){life_of(0), 2}, 0, NULL);
    drive_link(d, ZN_EV_LINK_GAP, 1);
    drive_flush(d);
    assert_asked(d, 4, 3); /* the first was answered, and waits for its time */
    assert_int_equal(d->m->counters[ZN_COUNT_gap_reported], 1);
    drive_link(d, ZN_EV_LINK_GAP, 1);
    drive_flush(d);
    assert_asked(d, 5, 3);
    drive_close(&d);
}

static void a_gap_repeats_the_second_hello(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = CALLS});
    drive_greet_all(d);
    ask(d);
    answer(d, ZMQNET_EHELLO);
    drive_link(d, ZN_EV_LINK_GAP, 1);
    assert_int_equal(d->sent[ZN_HELLO], 3);
    drive_hello_answer(d, 1, life_of(1));
    drive_link(d, ZN_EV_LINK_GAP, 1);
    assert_int_equal(d->sent[ZN_HELLO], 3);
    drive_close(&d);
}

/* ---- the original program ---- */

static void an_original_is_up_and_has_no_timer(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_tick(d);
    assert_int_equal(zn_mesh_next_us(d->m), UINT64_MAX);
    ask(d);
    ack(d);
    assert_done(d, 1, ZMQNET_ACKED);
    drive_tick(d);
    assert_int_equal(zn_mesh_next_us(d->m), UINT64_MAX);
    drive_for(d, 100 * ZN_SECOND);
    assert_int_equal(d->sent[ZN_PING], 0);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

static void an_original_without_lock_step_is_refused(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = CALLS});
    drive_greet_original(d, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_ORIGINAL);
    assert_int_equal(d->resets, 1);
    assert_int_equal(d->m->counters[ZN_COUNT_hello_refused], 1);
    drive_close(&d);
}

static void an_error_of_an_original_is_a_refusal(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    struct zn_blob *text = drive_blob(5);
    ask(d);
    drive_original_answer(d, 1, ZN_ERROR, text);
    zn_blob_drop(&text);
    assert_done(d, 1, ZMQNET_REFUSED);
    assert_int_equal(d->done.rows[0].code, 1);
    assert_int_equal(d->done.reply_bytes, 5);
    drive_close(&d);
}

static void an_ack_that_nobody_asked_for_is_counted(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ack(d);
    assert_int_equal(d->m->counters[ZN_COUNT_unasked_reply], 1);
    ask(d);
    ack(d);
    ack(d);
    assert_done(d, 1, ZMQNET_ACKED);
    assert_int_equal(d->m->counters[ZN_COUNT_unasked_reply], 2);
    drive_close(&d);
}

/* A frame that was not taken asks nobody: nothing is waited for, and it can leave again. */
static void an_original_that_did_not_get_it_is_not_asked(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask(d);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    drive_for(d, 2 * ZN_SILENT_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_int_equal(peer(d)->sent, 0);
    drive_link(d, ZN_EV_LINK_WRITABLE, 1);
    drive_flush(d);
    assert_asked(d, 2, 1);
    ack(d);
    assert_done(d, 1, ZMQNET_ACKED);
    assert_int_equal(peer(d)->sent, 1);
    drive_close(&d);
}

/* Its answer is waited for beyond the deadline: it would be taken for that of the next. */
static void an_original_is_not_asked_again_before_it_has_answered(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    drive_call(d, (struct zn_call_spec){
                      .ask = ZN_ASK_ONE, .target = 1, .timeout_us = ZN_SECOND, .attempts = 3});
    ask(d);
    drive_for(d, ZN_SECOND);
    assert_done(d, 1, ZMQNET_UNACKED);
    assert_asked(d, 1, 1);
    ack(d);
    assert_int_equal(peer(d)->late, 1);
    assert_asked(d, 2, 2);
    ack(d);
    assert_done(d, 2, ZMQNET_ACKED);
    drive_close(&d);
}

static void a_slow_original_is_asked_once_even_if_twice_does_no_harm(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE,
                                        .target = 1,
                                        .timeout_us = ZN_SECOND,
                                        .attempts = 3,
                                        .idempotent = true});
    drive_for(d, 900 * ZN_MS);
    assert_asked(d, 1, 1);
    ack(d);
    assert_done(d, 1, ZMQNET_ACKED);
    assert_asked(d, 1, 1);
    drive_close(&d);
}

static void a_silent_original_comes_back_with_its_answer(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask(d);
    ask(d);
    drive_for(d, ZN_SILENT_US);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    assert_done(d, 1, ZMQNET_NEVER_SENT); /* the second */
    drive_for(d, 2 * ZN_SILENT_US);
    ack(d);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_done(d, 2, ZMQNET_ACKED);
    assert_int_equal(d->sent[ZN_PING], 0);
    drive_close(&d);
}

static void what_is_not_text_never_goes_to_an_original(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask_bytes(d, 0xff);
    assert_done(d, 1, ZMQNET_NEVER_SENT);
    assert_string_equal(d->done.why, zn_why_text(ZN_WHY_NOT_TEXT));
    assert_int_equal(d->requests_to[1], 0);
    ask_bytes(d, 'a');
    assert_asked(d, 1, 2);
    drive_close(&d);
}

/* All that is queued is given up in one turn. */
static void a_queue_without_text_is_given_up_at_once(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask(d);
    for (int i = 1; i < CALLS; i++)
        ask_bytes(d, 0xff);
    assert_int_equal(d->dones, 0);
    ack(d);
    assert_int_equal(d->dones, CALLS);
    assert_int_equal(peer(d)->never_sent, CALLS - 1);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    drive_close(&d);
}

static void an_original_gets_no_bye(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    drive(d, (struct zn_event){.type = ZN_EV_BYE, .peer = -1});
    assert_int_equal(d->sent[ZN_BYE], 0);
    drive_close(&d);
}

/* Whoever calls himself by its name: an original has no life to defend, and is asked nothing. */
static void a_rival_of_an_original_does_it_no_harm(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    drive_hello_from(d, 11, 1, 0x666);
    drive_for(d, 3 * ZN_SILENT_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    ask(d);
    assert_asked(d, 1, 1);
    drive_close(&d);
}

/* ---- over a reconnect ---- */

static void reconnect_to_original(struct driver *d)
{
    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet_original(d, 1);
    drive_flush(d);
}

static void what_an_original_had_is_unknown_after_a_reconnect(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask(d);
    reconnect_to_original(d);
    assert_done(d, 1, ZMQNET_UNACKED);
    assert_string_equal(d->done.why, zn_why_text(ZN_WHY_RESET));
    assert_asked(d, 1, 1);
    drive_close(&d);
}

/* Then it is asked as before: it has a timer, and its answer counts. */
static void what_does_no_harm_is_asked_again_after_a_reconnect(void **state)
{
    (void)state;
    struct driver *d = with_original_open();
    ask_idempotent(d);
    reconnect_to_original(d);
    assert_asked(d, 2, 1);
    drive_for(d, ZN_SILENT_US);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    ack(d);
    assert_done(d, 1, ZMQNET_ACKED);
    assert_int_equal(d->m->counters[ZN_COUNT_unasked_reply], 0);
    drive_close(&d);
}

static void a_replica_becomes_an_original_and_back(void **state)
{
    (void)state;
    struct driver *d = two_open();
    ask(d);
    ask_bytes(d, 0xff);
    reconnect_to_original(d);
    assert_int_equal(d->dones, 2); /* one was sent to the life before, one is no text */
    assert_int_equal(peer(d)->unknown, 1);
    assert_int_equal(peer(d)->never_sent, 1);
    ask(d);
    ack(d);
    assert_done(d, 3, ZMQNET_ACKED);

    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet(d, 1, life_of(1));
    d->alive = 0;
    ask_bytes(d, 0xff);
    assert_asked(d, 3, 4);
    ack(d); /* of the original that is no more */
    assert_int_equal(d->m->counters[ZN_COUNT_unknown_kind], 1);
    answer(d, 0);
    assert_done(d, 4, ZMQNET_ACKED);
    drive_for(d, ZN_PING_US);
    assert_int_equal(d->sent[ZN_PING], 1);
    drive_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_leave_one_by_one),
        cmocka_unit_test(nothing_leaves_while_a_ping_is_out),
        cmocka_unit_test(no_retry_leaves_while_a_ping_is_out),
        cmocka_unit_test(a_pong_with_nothing_in_flight_asks_nothing),
        cmocka_unit_test(who_answers_pings_is_up_and_acks_in_the_end),
        cmocka_unit_test(the_deadline_of_one_lets_the_next_leave),
        cmocka_unit_test(nothing_leaves_while_a_second_hello_is_out),
        cmocka_unit_test(a_ping_gives_up_the_second_hello_and_its_pong_repeats_it),
        cmocka_unit_test(a_ping_that_was_not_taken_is_said_again),
        cmocka_unit_test(a_request_that_was_not_taken_was_never_sent),
        cmocka_unit_test(who_is_heard_is_pinged_anew_before_it_is_silent),
        cmocka_unit_test(a_gap_asks_again_for_what_is_open),
        cmocka_unit_test(a_gap_repeats_the_second_hello),
        cmocka_unit_test(an_original_is_up_and_has_no_timer),
        cmocka_unit_test(an_original_without_lock_step_is_refused),
        cmocka_unit_test(an_error_of_an_original_is_a_refusal),
        cmocka_unit_test(an_ack_that_nobody_asked_for_is_counted),
        cmocka_unit_test(an_original_that_did_not_get_it_is_not_asked),
        cmocka_unit_test(an_original_is_not_asked_again_before_it_has_answered),
        cmocka_unit_test(a_slow_original_is_asked_once_even_if_twice_does_no_harm),
        cmocka_unit_test(a_silent_original_comes_back_with_its_answer),
        cmocka_unit_test(what_is_not_text_never_goes_to_an_original),
        cmocka_unit_test(a_queue_without_text_is_given_up_at_once),
        cmocka_unit_test(an_original_gets_no_bye),
        cmocka_unit_test(a_rival_of_an_original_does_it_no_harm),
        cmocka_unit_test(what_an_original_had_is_unknown_after_a_reconnect),
        cmocka_unit_test(what_does_no_harm_is_asked_again_after_a_reconnect),
        cmocka_unit_test(a_replica_becomes_an_original_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
