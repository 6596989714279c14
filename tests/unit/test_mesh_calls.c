/* SPDX-License-Identifier: MIT */
/*
 * Calls whose peers are slow, silent, full, stopped or confused: what is sent, what is said of it,
 * and what it may cost. The mesh is stepped by hand; see mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define KIB 1024u

static uint64_t counted(const struct driver *d, enum zn_counter c) { return d->m->counters[c]; }

/* ---- silence ---- */

static void progress_ends_with_the_completion(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_MAJORITY, .progress = true});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive_answer_from(d, 1, 0, NULL);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->progresses, 2);
    drive_answer_from(d, 2, 0, NULL);
    assert_int_equal(d->progresses, 2);
    assert_int_equal(d->m->peers[2].acked, 1);
    drive_close(&d);
}

/* All peers go silent in one tick, under a full table of broadcasts that ask each of them; later
 * all deadlines come in one tick. What one step cannot say, the next one does. */
static void full_table_of_broadcasts_check(int n, struct zn_mesh_config config)
{
    size_t calls = config.calls_max, in_flight = config.window_messages_max;
    config.queue_messages_max = config.calls_max;
    struct driver *d = drive_open(n, 0, config);
    drive_greet_all(d);
    d->alive = 0;
    for (size_t i = 0; i < calls; i++) {
        drive_call(d, (struct zn_call_spec){.timeout_us = 60 * ZN_SECOND, .progress = true});
        drive_answer(d, 0, NULL);
    }
    drive_flush(d);
    drive_for(d, 2 * ZN_SILENT_US);
    for (int p = 1; p < n; p++)
        assert_int_equal(d->m->peers[p].state, ZMQNET_DOWN);
    assert_int_equal(d->dones, calls - in_flight);
    drive_for(d, 60 * ZN_SECOND);
    assert_int_equal(d->dones, calls);
    assert_int_equal(d->progresses, (size_t)n * calls);
    assert_int_equal(zn_mesh_open_count(d->m), 0);
    drive_close(&d);
}

static void tick_holds_what_4096_broadcasts_have_to_say(void **state)
{
    (void)state;
    full_table_of_broadcasts_check(
        3, (struct zn_mesh_config){.calls_max = 4096, .window_messages_max = 1024});
}

static void tick_holds_what_many_peers_have_to_say(void **state)
{
    (void)state;
    full_table_of_broadcasts_check(
        20, (struct zn_mesh_config){.calls_max = 256, .window_messages_max = 64});
    full_table_of_broadcasts_check(
        20, (struct zn_mesh_config){.calls_max = 256, .window_messages_max = 255});
}

/* Majorities need r1 only; r2 answers pings and nothing else. */
static void stragglers_do_not_fill_the_table(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){0});
    drive_greet_all(d);
    for (size_t i = 1; i <= 10000; i++) {
        drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_MAJORITY,
                                            .timeout_us = 6 * ZN_SECOND});
        drive_answer(d, 0, NULL);
        drive_flush(d);
        drive_answer_from(d, 1, 0, NULL);
        assert_int_equal(d->dones, i);
        assert_int_equal(d->done.status, 0);
        drive_for(d, 100);
    }
    assert_int_equal(d->m->peers[2].state, ZMQNET_UP);
    assert_int_equal(counted(d, ZN_COUNT_calls_full), 0);
    drive_close(&d);
}

/* A table that is smaller than what the slow peer may hold gives up its oldest stragglers. */
static void stragglers_give_way_in_a_small_table(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.calls_max = 64});
    drive_greet_all(d);
    for (size_t i = 1; i <= 500; i++) {
        drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_MAJORITY});
        drive_answer(d, 0, NULL);
        drive_flush(d);
        drive_answer_from(d, 1, 0, NULL);
        assert_int_equal(d->done.status, 0);
    }
    assert_int_equal(d->dones, 500);
    assert_int_equal(d->m->peers[2].unknown, 500 - 64);
    drive_close(&d);
}

/* So do those of clients, whose receipts would else be kept. */
static void stragglers_of_clients_give_way_in_a_small_table(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.calls_max = 64});
    drive_greet_all(d);
    for (uint64_t seq = 1; seq <= 500; seq++) {
        struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_SUBMIT, "");
        msg.id = (struct zmqnet_id){LIFE_OF_CLIENT, seq};
        msg.quorum = ZMQNET_QUORUM_MAJORITY;
        drive_route_msg(d, 5, msg);
        drive_answer(d, 0, NULL);
        drive_flush(d);
        drive_answer_from(d, 1, 0, NULL);
        drive_flush(d);
        assert_int_equal(d->replies, seq);
        assert_int_equal(d->reply.status, 0);
    }
    drive_close(&d);
}

/* ---- what left, and what did not ---- */

/* The request was taken; the ping after it was not. Then the peer comes back in another life. */
static void failed_ping_unsends_nothing(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_ask(d, 1);
    drive_flush(d);
    d->now_us += ZN_PING_US;
    drive_tick(d);
    assert_int_equal(d->sent[ZN_PING], 1);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    drive_flush(d);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    drive_greet(d, 1, 0xB2);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.rows[0].outcome, ZMQNET_UNACKED);
    assert_string_equal(d->done.rows[0].why, zn_why_text(ZN_WHY_RESTARTED));
    drive_close(&d);
}

/* It has lost our hello, and the next one is not taken either. Then nobody listens there. */
static void failed_hello_unsends_nothing(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_ask(d, 1);
    drive_flush(d);
    drive_answer_from(d, 1, ZMQNET_EHELLO, NULL);
    assert_int_equal(d->sent[ZN_HELLO], 2);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_EUNKNOWN);
    drive_close(&d);
}

static void close_settles_and_bye_leaves_last(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_ask(d, 1);
    drive_flush(d);
    drive_ask(d, 1);
    drive(d, (struct zn_event){.type = ZN_EV_CLOSE, .peer = -1});
    assert_int_equal(d->dones, 2);
    assert_int_equal(d->m->peers[1].unknown, 1);
    assert_int_equal(d->m->peers[1].never_sent, 1);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1);
    assert_int_equal(d->sent[ZN_BYE], 0);
    drive(d, (struct zn_event){.type = ZN_EV_BYE, .peer = -1});
    assert_int_equal(d->sent[ZN_BYE], 1);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    assert_int_equal(d->m->peers[1].sent, 1);
    drive_close(&d);
}

/* A whole frame was not taken, nor was it ever: all of it is safe to retry. */
static void failed_frame_was_never_sent(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    for (int i = 0; i < 3; i++)
        drive_ask(d, 1);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 3);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_int_equal(d->dones, 3);
    assert_int_equal(d->done.status, ZMQNET_ENEVERSENT);
    assert_int_equal(d->m->peers[1].never_sent, 3);
    drive_close(&d);
}

/* One refusal arrives twice; the sending after it may run, and nothing more is heard of it. */
static void repeated_refusal_is_not_never_sent(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_ask(d, 1);
    drive_flush(d);
    drive_answer_from(d, 1, ZMQNET_EFULL, NULL);
    drive_answer_from(d, 1, ZMQNET_EFULL, NULL);
    drive_for(d, 10 * ZN_MS);
    assert_int_equal(d->requests_to[1], 2);
    drive_for(d, 5 * ZN_SECOND);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_EUNKNOWN);
    drive_close(&d);
}

/* Each of 500 requests is refused for want of a hello: one hello, and each is sent once more. */
static void hello_storm_asks_once_and_sends_once(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){0});
    drive_greet_all(d);
    for (int i = 0; i < 500; i++)
        drive_ask(d, 1);
    drive_flush(d);
    for (uint64_t i = 1; i <= 500; i++)
        drive_reply_from(d, 1, (struct zmqnet_id){life_of(0), i}, ZMQNET_EHELLO, NULL);
    assert_int_equal(d->sent[ZN_HELLO], 2);
    drive_hello_answer(d, 1, life_of(1));
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1000);
    drive_hello_answer(d, 1, life_of(1));
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1000);
    drive_close(&d);
}

/* ---- replies and receipts ---- */

static void submit_with_replies(struct driver *d, uint64_t seq, struct zn_blob *reply)
{
    drive_submit(d, 5, (struct zmqnet_id){LIFE_OF_CLIENT, seq});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    drive_answer_from(d, 1, 0, reply);
    drive_answer_from(d, 2, 0, reply);
    drive_flush(d);
}

static void replies_are_counted_and_bounded(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(4 * KIB);
    struct driver *d = drive_open(
        3, 0, (struct zn_mesh_config){.call_bytes_max = 64 * KIB, .served_bytes_max = 64 * KIB});
    drive_greet_all(d);
    for (uint64_t i = 1; i <= 300; i++) {
        submit_with_replies(d, i, reply);
        assert_int_equal(d->replies, i);
        assert_int_equal(d->reply.status, 0);
        assert_true(d->m->call_bytes <= 64 * KIB);
        assert_true(reply->refs <= 1 + 64 / 4);
    }
    drive_close(&d);
    assert_int_equal(reply->refs, 1);
    zn_blob_drop(&reply);
}

/* Receipts that are kept for repeats give way to replies that come now. */
static void kept_receipts_make_room_for_new_replies(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(4 * KIB);
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.call_bytes_max = 64 * KIB});
    drive_greet_all(d);
    for (uint64_t i = 1; i <= 30; i++)
        submit_with_replies(d, i, reply);
    assert_int_equal(d->reply.reply_bytes, 8 * KIB);
    drive_close(&d);
    zn_blob_drop(&reply);
}

static void receipt_fits_one_message(void **state)
{
    (void)state;
    struct zn_blob *reply = drive_blob(40 * KIB);
    struct driver *d =
        drive_open(3, 0, (struct zn_mesh_config){.calls_max = 8, .message_max = 64 * KIB});
    drive_greet_all(d);
    submit_with_replies(d, 1, reply);
    assert_int_equal(d->reply.rows_n, 3);
    assert_int_equal(d->reply.reply_bytes, 40 * KIB);
    assert_int_equal(d->reply.rows[2].outcome, ZMQNET_ACKED);
    assert_string_equal(d->reply.rows[2].why, zn_why_text(ZN_WHY_REPLY_DROPPED));
    drive_close(&d);
    zn_blob_drop(&reply);
}

/* ---- clients ---- */

static struct driver *client_open(int n, struct zn_mesh_config config)
{
    struct driver *d = drive_open(n, -1, config);
    if (config.via < 0)
        drive_greet_all(d);
    else
        drive_greet(d, config.via, life_of(config.via));
    return d;
}

/* What a coordinator says when all went well. */
static struct zn_msg receipt_for(const struct driver *d, int via, struct zn_row *rows)
{
    struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_REPLY, "");
    for (uint32_t p = 0; p < d->m->n; p++)
        rows[p] = (struct zn_row){.name = zmqnet_peers_get(d->peers, p)->name,
                                  .outcome = (int)p == via ? ZMQNET_SELF : ZMQNET_ACKED,
                                  .why = ""};
    msg.id = d->to[via].id;
    msg.rows = rows;
    msg.rows_n = d->m->n;
    msg.need = msg.have = d->m->n;
    return msg;
}

static int coordinator_of_last(const struct driver *d)
{
    int last = 0;
    for (int p = 1; p < (int)d->m->n; p++)
        if (d->to[p].id.seq > d->to[last].id.seq)
            last = p;
    return last;
}

static void client_progress_is_its_receipt(void **state)
{
    (void)state;
    struct zn_row rows[2];
    struct driver *d = client_open(2, (struct zn_mesh_config){.via = 0, .calls_max = 8});
    drive_call(d, (struct zn_call_spec){.progress = true});
    drive_flush(d);
    drive_link_msg(d, 0, receipt_for(d, 0, rows));
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->progresses, 0);
    assert_int_equal(d->done.rows[1].outcome, ZMQNET_ACKED);
    drive_close(&d);
}

/* With one coordinator the floor travels. With several it does not: the next one would tell the
 * others to refuse what the last one is still sending them. */
static void client_tells_its_floor_to_its_only_coordinator(void **state)
{
    (void)state;
    for (int via = -1; via <= 0; via++) {
        struct zn_row rows[3];
        struct driver *d = client_open(3, (struct zn_mesh_config){.via = via, .calls_max = 8});
        drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_MAJORITY});
        drive_flush(d);
        int chosen = coordinator_of_last(d);
        drive_link_msg(d, chosen, receipt_for(d, chosen, rows));
        assert_int_equal(d->dones, 1);
        drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_MAJORITY});
        drive_flush(d);
        chosen = coordinator_of_last(d);
        assert_int_equal(d->to[chosen].id.seq, 2);
        assert_int_equal(d->to[chosen].floor, via < 0 ? 0 : 1);
        drive_close(&d);
    }
}

/* Nor does the coordinator itself tell a floor that is above what it is still sending. */
static void coordinator_keeps_the_floor_below_its_stragglers(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_SUBMIT, "");
        msg.id = (struct zmqnet_id){LIFE_OF_CLIENT, seq};
        msg.quorum = ZMQNET_QUORUM_MAJORITY;
        msg.floor = seq - 1;
        drive_route_msg(d, 5, msg);
        drive_answer(d, 0, NULL);
        drive_flush(d);
        drive_answer_from(d, 1, 0, NULL);
        drive_flush(d);
        assert_int_equal(d->replies, seq);
    }
    assert_int_equal(d->to[2].id.seq, 2);
    assert_int_equal(d->to[2].floor, 0);
    drive_close(&d);
}

/* Three calls wait for a coordinator; the first is too large for any queue and completes while they
 * are given one. */
static void assignment_goes_on_after_a_call_that_completes(void **state)
{
    (void)state;
    struct zn_blob *large = drive_blob(2000), *small = drive_blob(10);
    struct driver *d = drive_open(
        2, -1, (struct zn_mesh_config){.via = -1, .calls_max = 8, .queue_bytes_max = 1000});
    drive_call(d, (struct zn_call_spec){.body = large});
    drive_call(d, (struct zn_call_spec){.body = small});
    drive_call(d, (struct zn_call_spec){.body = small});
    drive_greet(d, 0, life_of(0));
    drive_flush(d);
    assert_int_equal(d->sent[ZN_SUBMIT], 2);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_ENEVERSENT);
    drive_close(&d);
    zn_blob_drop(&large);
    zn_blob_drop(&small);
}

/* The coordinator that was chosen loses its link before anything was sent there. */
static void client_moves_on_from_a_lost_link(void **state)
{
    (void)state;
    struct zn_row rows[3];
    struct driver *d = client_open(3, (struct zn_mesh_config){.via = -1, .calls_max = 8});
    drive_call(d, (struct zn_call_spec){.attempts = 3});
    int first = d->m->calls[0].via;
    drive_link(d, ZN_EV_LINK_LOST, first);
    drive_flush(d);
    int second = coordinator_of_last(d);
    assert_int_not_equal(second, first);
    assert_int_equal(d->sent[ZN_SUBMIT], 1);
    drive_link_msg(d, second, receipt_for(d, second, rows));
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, 0);
    drive_close(&d);
}

static void nonsense_is_no_receipt(void **state)
{
    (void)state;
    zmqnet_status view = {.name = "", .pattern = ""};
    struct zn_row rows[3];
    struct driver *d = client_open(3, (struct zn_mesh_config){.via = 0, .calls_max = 8});
    drive_call(d, (struct zn_call_spec){.quorum = ZMQNET_QUORUM_ALL});
    drive_flush(d);
    struct zn_msg good = receipt_for(d, 0, rows);
    struct zn_row nobody[3] = {rows[0], rows[1], rows[2]}, swapped[3] = {rows[0], rows[2], rows[1]};
    nobody[1].name = "nobody";
    struct zn_msg bad[] = {good, good, good, good, good};
    bad[0].rows_n = 0;
    bad[0].status = &view;
    bad[1].rows_n = 2;
    bad[2].rows = nobody;
    bad[3].rows = swapped;
    bad[4].code = 12345;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        drive_link_msg(d, 0, bad[i]);
        assert_int_equal(d->dones, 0);
        assert_int_equal(counted(d, ZN_COUNT_bad_protobuf), i + 1);
    }
    drive_link_msg(d, 0, good);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, 0);
    drive_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_ends_with_the_completion),
        cmocka_unit_test(tick_holds_what_4096_broadcasts_have_to_say),
        cmocka_unit_test(tick_holds_what_many_peers_have_to_say),
        cmocka_unit_test(stragglers_do_not_fill_the_table),
        cmocka_unit_test(stragglers_give_way_in_a_small_table),
        cmocka_unit_test(stragglers_of_clients_give_way_in_a_small_table),
        cmocka_unit_test(failed_ping_unsends_nothing),
        cmocka_unit_test(failed_hello_unsends_nothing),
        cmocka_unit_test(close_settles_and_bye_leaves_last),
        cmocka_unit_test(failed_frame_was_never_sent),
        cmocka_unit_test(repeated_refusal_is_not_never_sent),
        cmocka_unit_test(hello_storm_asks_once_and_sends_once),
        cmocka_unit_test(replies_are_counted_and_bounded),
        cmocka_unit_test(kept_receipts_make_room_for_new_replies),
        cmocka_unit_test(receipt_fits_one_message),
        cmocka_unit_test(client_progress_is_its_receipt),
        cmocka_unit_test(client_tells_its_floor_to_its_only_coordinator),
        cmocka_unit_test(coordinator_keeps_the_floor_below_its_stragglers),
        cmocka_unit_test(assignment_goes_on_after_a_call_that_completes),
        cmocka_unit_test(client_moves_on_from_a_lost_link),
        cmocka_unit_test(nonsense_is_no_receipt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
