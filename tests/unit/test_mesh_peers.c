/* SPDX-License-Identifier: MIT */
/*
 * What is known of each peer: its state as the user sees it, the hellos of strangers and rivals,
 * and how much of that is logged. The mesh is stepped by hand; see mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define ROUTE_B 11u
#define STRANGER 666u

static struct driver *two_open(void)
{
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    return d;
}

static void assert_state(const struct driver *d, enum zmqnet_state state, enum zn_why why)
{
    assert_int_equal(d->m->peers[1].state, state);
    assert_string_equal(zn_why_text(d->m->peers[1].why), zn_why_text(why));
}

/* ---- states ---- */

static void link_and_hello_move_the_state(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    assert_state(d, ZMQNET_CONNECTING, ZN_WHY_CONNECTING);
    drive_link(d, ZN_EV_LINK_UP, 1);
    assert_state(d, ZMQNET_CONNECTING, ZN_WHY_CONNECTING);
    drive_hello_answer(d, 1, life_of(1));
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    assert_state(d, ZMQNET_CONNECTING, ZN_WHY_RESET);
    drive_link(d, ZN_EV_LINK_FAILED, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_REFUSED);
    drive_link(d, ZN_EV_LINK_UP, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_REFUSED);
    drive_hello_answer(d, 1, life_of(1));
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

static void hello_that_is_not_answered_costs_the_link(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_link(d, ZN_EV_LINK_UP, 1);
    drive_for(d, ZN_HELLO_US - 1);
    assert_int_equal(d->resets, 0);
    drive_for(d, 1);
    assert_int_equal(d->resets, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_NO_HELLO);
    drive_close(&d);
}

/* The answer came while our own loop did not run, or our hello left only then. It is read after the
 * timers have run, and is no measure of the peer. */
static void our_own_stall_costs_no_link(void **state)
{
    (void)state;
    static const uint64_t stalls_ms[] = {1985, 1995, 2005, 2100, 2300, 10000, 60000};
    for (size_t i = 0; i < sizeof stalls_ms / sizeof stalls_ms[0]; i++) {
        struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
        drive_tick(d);
        drive_link(d, ZN_EV_LINK_UP, 1);
        d->now_us += stalls_ms[i] * ZN_MS;
        drive_tick(d);
        assert_int_equal(d->resets, 0);
        drive_for(d, 5 * ZN_MS);
        assert_int_equal(d->resets, 0);
        drive_hello_answer(d, 1, life_of(1));
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
        assert_int_equal(d->m->peers[1].rtt.samples, stalls_ms[i] > 2090 ? 0 : 1);
        drive_close(&d);
    }
}

/* One that does not answer is found out all the same. */
static void our_own_stall_puts_off_no_hello_for_long(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_link(d, ZN_EV_LINK_UP, 1);
    d->now_us += 60 * ZN_SECOND;
    drive_for(d, ZN_PATIENCE_MAX_US);
    assert_int_equal(d->resets, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_NO_HELLO);
    drive_close(&d);
}

/* A ping when it was quiet for so long; down when it stays silent; up with the first byte. */
static void silence_takes_a_peer_down_and_a_byte_brings_it_back(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = 0;
    drive_for(d, ZN_PING_US - 1);
    assert_int_equal(d->sent[ZN_PING], 0);
    drive_for(d, 1);
    assert_int_equal(d->sent[ZN_PING], 1);
    drive_for(d, ZN_SILENT_US);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    drive_pong(d, 1);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* The larger the mesh, the more seldom is each link pinged; a peer that owes an answer is at once. */
static void idle_peers_are_pinged_seldom_and_busy_ones_soon(void **state)
{
    (void)state;
    struct driver *d = drive_open(64, 0, (struct zn_mesh_config){.calls_max = 8});
    uint64_t idle_us = 64 * 63 * ZN_SECOND / ZN_IDLE_PINGS_PER_SECOND;
    drive_greet_all(d);
    drive_for(d, 4 * idle_us);
    size_t pings = d->sent[ZN_PING];
    assert_in_range(pings, 3 * 63, 5 * 63);
    d->alive = 0;
    drive_ask(d, 1);
    drive_flush(d);
    drive_for(d, ZN_PING_US);
    assert_in_range(d->sent[ZN_PING], pings + 1, pings + 63 / 2);
    drive_for(d, ZN_SILENT_US);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    drive_for(d, idle_us + ZN_SILENT_US);
    assert_int_equal(d->m->peers[63].state, ZMQNET_DOWN);
    drive_close(&d);
}

/* It asks us on its own connection, and does not answer on ours: the link is made anew. */
static void silent_peer_that_talks_to_us_gets_a_new_link(void **state)
{
    (void)state;
    struct driver *d = drive_open(16, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_greet_all(d);
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    d->alive = 0;
    drive_ask(d, 1);
    drive_flush(d);
    drive_for(d, ZN_PING_US + ZN_SILENT_US);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    assert_int_equal(d->resets, 0);
    struct zn_msg ping = drive_msg(ZN_BOUNCE, ZN_PING, "r1");
    ping.life = life_of(1);
    drive_for(d, 1);
    drive_route_msg(d, ROUTE_B, ping);
    drive_for(d, ZN_SILENT_US);
    assert_int_equal(d->resets, 1);
    drive_close(&d);
}

/* The process was stopped for a minute: that is not the peer's silence. */
static void our_own_pause_is_nobody_elses_silence(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_for(d, ZN_SECOND);
    d->now_us += 60 * ZN_SECOND;
    drive_for(d, 0);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_for(d, ZN_SECOND);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

static void wrong_hello_answers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *sender, *pattern;
        uint64_t life;
        uint32_t version;
        int code;
        enum zn_why why;
    } cases[] = {
        {"r0", "router", 0x1000, 1, 0, ZN_WHY_OURSELVES},
        {"r2", "router", 0x1002, 1, 0, ZN_WHY_NAME},
        {"r1", "pubsub", 0x1001, 1, 0, ZN_WHY_PATTERN},
        {"r1", "router", 0x1001, 2, 0, ZN_WHY_VERSION},
        {"r1", "router", 0, 1, 0, ZN_WHY_VERSION},
        {"r1", "router", 0x1001, 1, ZMQNET_ECLASH, ZN_WHY_CLASH},
        {"r1", "router", 0x1001, 1, ZMQNET_ENOPEER, ZN_WHY_STRANGER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct driver *d = drive_open(3, 0, (struct zn_mesh_config){.calls_max = 8});
        struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_HELLO, cases[i].sender);
        msg.life = cases[i].life;
        msg.version = cases[i].version;
        msg.pattern = cases[i].pattern;
        msg.code = cases[i].code;
        drive_link(d, ZN_EV_LINK_UP, 1);
        drive_link_msg(d, 1, msg);
        assert_state(d, ZMQNET_DOWN, cases[i].why);
        assert_int_equal(d->resets, 1);
        assert_int_equal(d->m->counters[ZN_COUNT_hello_refused], 1);
        drive_close(&d);
    }
}

/* It says that it does not know us, and the hello that would help is not taken. */
static void hello_that_was_not_taken_is_said_again(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_ask(d, 1);
    drive_flush(d);
    drive_answer_from(d, 1, ZMQNET_EHELLO, NULL);
    assert_int_equal(d->sent[ZN_HELLO], 2);
    drive_link(d, ZN_EV_SEND_FAILED, 1);
    drive_link(d, ZN_EV_LINK_WRITABLE, 1);
    for (int i = 0; i < 4 && d->dones == 0; i++) {
        drive_for(d, ZN_SECOND);
        drive_answer_from(d, 1, ZMQNET_EHELLO, NULL);
    }
    assert_true(d->sent[ZN_HELLO] > 2 || d->resets > 0);
    drive_close(&d);
}

/* ---- bye ---- */

static void bye_takes_a_peer_down(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    drive_bye_from(d, ROUTE_B, "r1", life_of(1));
    assert_state(d, ZMQNET_DOWN, ZN_WHY_LEFT);
    d->alive = 0;
    drive_for(d, 10 * ZN_SECOND);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    drive_close(&d);
}

/* A life is no secret: anybody can say hello under it, and then bye. The pongs of the one that it
 * belongs to undo that. */
static void forged_bye_heals(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_hello_from(d, ROUTE_B, 1, life_of(1));
    drive_hello_from(d, STRANGER, 1, life_of(1));
    drive_bye_from(d, STRANGER, "r1", life_of(1));
    assert_state(d, ZMQNET_DOWN, ZN_WHY_LEFT);
    drive_for(d, 2 * ZN_PING_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_ask(d, 1);
    drive_flush(d);
    assert_int_equal(d->requests_to[1], 1);
    drive_close(&d);
}

static void bye_without_hello_is_counted(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_bye_from(d, STRANGER, "r1", life_of(1));
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_int_equal(d->m->counters[ZN_COUNT_no_hello], 1);
    drive_close(&d);
}

/* ---- rivals ---- */

static void rival_of_a_living_replica_is_refused(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_hello_from(d, STRANGER, 1, 0xEE);
    assert_int_equal(d->replies, 0);
    drive_pong(d, 1);
    assert_int_equal(d->replies, 1);
    assert_int_equal(d->reply.route, STRANGER);
    assert_int_equal(d->reply.status, ZMQNET_ECLASH);
    assert_int_equal(d->m->counters[ZN_COUNT_name_clash], 1);
    drive_close(&d);
}

/* The replica answered a ping, was killed and came back: its last pong is read after the new hello. */
static void pong_to_an_earlier_ping_is_no_proof_of_life(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = 0;
    drive_for(d, ZN_PING_US);
    assert_int_equal(d->sent[ZN_PING], 1);
    struct zn_msg pong = drive_msg(ZN_BOUNCE, ZN_PONG, "r1");
    pong.id.seq = d->m->peers[1].ping_seq;
    pong.life = life_of(1);
    drive_hello_from(d, STRANGER, 1, 0xEE);
    drive_link_msg(d, 1, pong);
    drive_link_msg(d, 1, pong);
    assert_int_equal(d->replies, 0);
    assert_int_equal(d->sent[ZN_PING], 2);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    assert_int_equal(d->replies, 1);
    assert_int_equal(d->reply.status, 0);
    assert_int_equal(d->m->counters[ZN_COUNT_name_clash], 0);
    drive_close(&d);
}

static void rival_that_comes_while_a_ping_is_out_is_refused_by_the_next(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = 0;
    drive_for(d, ZN_PING_US);
    drive_hello_from(d, STRANGER, 1, 0xEE);
    drive_pong(d, 1);
    assert_int_equal(d->replies, 0);
    drive_pong(d, 1);
    assert_int_equal(d->replies, 1);
    assert_int_equal(d->reply.status, ZMQNET_ECLASH);
    drive_close(&d);
}

static void rival_of_a_lost_replica_is_the_new_one(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_hello_from(d, ROUTE_B, 1, 0xEE);
    assert_int_equal(d->replies, 0);
    drive_link(d, ZN_EV_LINK_LOST, 1);
    assert_int_equal(d->replies, 1);
    assert_int_equal(d->reply.status, 0);
    drive_request(d, ROUTE_B, 1, (struct zmqnet_id){0xEE, 1});
    assert_int_equal(d->deliveries, 1);
    drive_close(&d);
}

/* It died without a word, and somebody says hello in its name again and again: each hello asks for
 * a proof of life, and none of them is one. */
static void rivals_do_not_keep_a_dead_replica_up(void **state)
{
    (void)state;
    struct driver *d = two_open();
    d->alive = 0;
    uint64_t start_us = d->now_us;
    for (uint64_t i = 0; d->m->peers[1].state == ZMQNET_UP; i++) {
        drive_hello_from(d, STRANGER + i, 1, 0xEE00 + i);
        drive_for(d, 100 * ZN_MS);
        assert_true(d->now_us - start_us <= ZN_PING_US + ZN_SILENT_US);
    }
    assert_true(d->sent[ZN_PING] <= 2);
    drive_close(&d);
}

/* ---- notes ---- */

#define STORM_SECONDS 5
#define STORM_PER_SECOND 1000

static void storm(struct driver *d, void (*once)(struct driver *d, int i))
{
    size_t before = d->notes;
    for (int s = 0; s < STORM_SECONDS; s++) {
        for (int i = 0; i < STORM_PER_SECOND; i++)
            once(d, i);
        drive_for(d, ZN_SECOND);
    }
    assert_int_equal(d->notes - before, STORM_SECONDS);
}

static void hello_of_nobody(struct driver *d, int i)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_HELLO, "nobody");
    msg.life = 0x55 + (uint64_t)i;
    msg.version = ZN_PROTOCOL_VERSION;
    drive_route_msg(d, STRANGER, msg);
    assert_int_equal(d->reply.status, ZMQNET_ENOPEER);
}

static void hello_with_a_changing_peers_file(struct driver *d, int i)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_HELLO, "r1");
    msg.life = life_of(1);
    msg.version = ZN_PROTOCOL_VERSION;
    msg.peers_hash = d->peers->hash + (uint64_t)(i & 1);
    drive_route_msg(d, STRANGER, msg);
}

static void garbage(struct driver *d, int i)
{
    (void)i;
    drive(d, (struct zn_event){.type = ZN_EV_BAD,
                               .peer = -1,
                               .route = STRANGER,
                               .counter = ZN_COUNT_bad_protobuf,
                               .code = ZMQNET_EPROTO});
}

static void request_without_hello(struct driver *d, int i)
{
    drive_request(d, STRANGER, 1, (struct zmqnet_id){life_of(1), 1 + (uint64_t)i});
}

static void storms_are_noted_once_a_second(void **state)
{
    (void)state;
    void (*const storms[])(struct driver *, int) = {
        hello_of_nobody, hello_with_a_changing_peers_file, garbage, request_without_hello};
    for (size_t i = 0; i < sizeof storms / sizeof storms[0]; i++) {
        struct driver *d = two_open();
        storm(d, storms[i]);
        assert_int_equal(d->deliveries, 0);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
        drive_close(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_and_hello_move_the_state),
        cmocka_unit_test(hello_that_is_not_answered_costs_the_link),
        cmocka_unit_test(our_own_stall_costs_no_link),
        cmocka_unit_test(our_own_stall_puts_off_no_hello_for_long),
        cmocka_unit_test(silence_takes_a_peer_down_and_a_byte_brings_it_back),
        cmocka_unit_test(idle_peers_are_pinged_seldom_and_busy_ones_soon),
        cmocka_unit_test(silent_peer_that_talks_to_us_gets_a_new_link),
        cmocka_unit_test(our_own_pause_is_nobody_elses_silence),
        cmocka_unit_test(wrong_hello_answers_are_refused),
        cmocka_unit_test(hello_that_was_not_taken_is_said_again),
        cmocka_unit_test(bye_takes_a_peer_down),
        cmocka_unit_test(forged_bye_heals),
        cmocka_unit_test(bye_without_hello_is_counted),
        cmocka_unit_test(rival_of_a_living_replica_is_refused),
        cmocka_unit_test(pong_to_an_earlier_ping_is_no_proof_of_life),
        cmocka_unit_test(rival_that_comes_while_a_ping_is_out_is_refused_by_the_next),
        cmocka_unit_test(rival_of_a_lost_replica_is_the_new_one),
        cmocka_unit_test(rivals_do_not_keep_a_dead_replica_up),
        cmocka_unit_test(storms_are_noted_once_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
