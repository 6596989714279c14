/* SPDX-License-Identifier: MIT */
/*
 * The rows that replicas tell of their links: in which messages they leave, from whom they are taken,
 * in which order they are read, when they are forgotten, and that nothing else depends on them. The
 * mesh is stepped by hand; see mesh_driver.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "mesh_driver.h"

#define ROUTE 21u
#define CAUSE_REFUSED 2
#define KEEP_US (2 * ZN_PING_US + ZN_REACH_US) /* in a small mesh */

static struct driver *open_of(int n) { return drive_open(n, 0, (struct zn_mesh_config){0}); }

static const struct zmqnet_heard *heard(struct driver *d, const char *name)
{
    const zmqnet_status *s = zn_mesh_status(d->m, d->now_us);
    for (size_t i = 0; i < s->rows_n; i++)
        if (strcmp(s->rows[i].name, name) == 0)
            return &s->rows[i];
    return NULL;
}

/* A message of r`peer` with a row in which all links have this state. */
static struct zn_msg telling(const struct driver *d, enum zn_kind kind, const char *sender,
                             uint8_t state)
{
    static struct zmqnet_link links[ZN_REPLICAS_MAX];
    struct zn_msg msg = drive_msg(ZN_BOUNCE, kind, sender);
    for (size_t i = 0; i < d->peers->n; i++)
        links[i] = (struct zmqnet_link){state, CAUSE_REFUSED};
    msg.links = links;
    msg.links_n = d->peers->n;
    msg.names_hash = d->peers->names_hash;
    return msg;
}

/* The row in the last step's first message of this kind. */
static const struct zn_msg *told(const struct driver *d, enum zn_action_type type,
                                 enum zn_kind kind)
{
    for (size_t i = 0; i < d->out.n; i++)
        if (d->out.at[i].type == type && d->out.at[i].msg.kind == kind)
            return &d->out.at[i].msg;
    fail();
    return NULL;
}

static void assert_row(const struct driver *d, const struct zn_msg *msg, const char *states)
{
    static const uint8_t values[] = {
        ['c'] = ZMQNET_CONNECTING, ['u'] = ZMQNET_UP, ['d'] = ZMQNET_DOWN, ['s'] = ZMQNET_LOCAL};
    assert_int_equal(msg->links_n, d->peers->n);
    assert_int_equal(msg->names_hash, d->peers->names_hash);
    for (size_t i = 0; i < msg->links_n; i++) {
        assert_int_equal(msg->links[i].state, values[(unsigned char)states[i]]);
        assert_int_equal(msg->links[i].cause, states[i] == 'd'   ? CAUSE_REFUSED
                                              : states[i] == 'c' ? 1
                                                                 : 0);
    }
}

/* ---- telling ---- */

static void our_row_leaves_with_hello_and_ping(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_link(d, ZN_EV_LINK_UP, 1);
    assert_row(d, told(d, ZN_ACT_SEND, ZN_HELLO), "scc");
    drive_hello_answer(d, 1, life_of(1));
    drive_link(d, ZN_EV_LINK_FAILED, 2);
    d->now_us += ZN_PING_US;
    drive_tick(d);
    assert_row(d, told(d, ZN_ACT_SEND, ZN_PING), "sud");
    drive_close(&d);
}

/* A peer that is heard all the time needs no ping, but is told of our links. */
static void our_row_leaves_to_a_busy_peer_too(void **state)
{
    (void)state;
    struct driver *d = open_of(2);
    drive_greet_all(d);
    for (uint64_t us = 0; us < 20 * ZN_PING_US; us += ZN_PING_US / 5) {
        drive_ask(d, 1);
        drive_flush(d);
        drive_answer_from(d, 1, 0, NULL);
        drive_for(d, ZN_PING_US / 5);
    }
    assert_in_range(d->sent[ZN_PING], 15, 20);
    drive_close(&d);
}

static void our_row_leaves_with_the_answers_to_a_replica(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_greet(d, 2, life_of(2));
    drive_hello_from(d, ROUTE, 1, life_of(1));
    assert_row(d, told(d, ZN_ACT_REPLY, ZN_HELLO), "scu");
    drive_route_msg(d, ROUTE, drive_msg(ZN_BOUNCE, ZN_PING, "r1"));
    assert_row(d, told(d, ZN_ACT_REPLY, ZN_PONG), "scu");
    drive_close(&d);
}

static void a_stranger_is_told_nothing(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_route_msg(d, ROUTE, drive_msg(ZN_BOUNCE, ZN_PING, "r1"));
    assert_int_equal(told(d, ZN_ACT_REPLY, ZN_PONG)->links_n, 0);
    struct zn_msg hello = drive_msg(ZN_BOUNCE, ZN_HELLO, "");
    hello.life = LIFE_OF_CLIENT;
    hello.version = ZN_PROTOCOL_VERSION;
    drive_route_msg(d, ROUTE, hello);
    assert_int_equal(told(d, ZN_ACT_REPLY, ZN_HELLO)->links_n, 0);
    drive_close(&d);
}

static void a_client_has_no_row(void **state)
{
    (void)state;
    struct driver *d = drive_open(3, -1, (struct zn_mesh_config){.via = -1});
    drive_tick(d);
    drive_link(d, ZN_EV_LINK_UP, 1);
    assert_int_equal(told(d, ZN_ACT_SEND, ZN_HELLO)->links_n, 0);
    drive_close(&d);
}

/* By name r10 and r11 stand before r2, in the file behind it. */
static void rows_are_in_the_order_of_the_names(void **state)
{
    (void)state;
    struct driver *d = open_of(12);
    drive_greet(d, 2, life_of(2));
    drive_link(d, ZN_EV_LINK_UP, 1);
    assert_row(d, told(d, ZN_ACT_SEND, ZN_HELLO), "scccuccccccc");
    struct zn_msg msg = telling(d, ZN_PONG, "r2", ZMQNET_UP);
    struct zmqnet_link links[12];
    memcpy(links, msg.links, sizeof links);
    links[2].state = ZMQNET_DOWN; /* r10 */
    msg.links = links;
    drive_link_msg(d, 2, msg);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(heard(d, "r2")->links[i].state, i == 10 ? ZMQNET_DOWN : ZMQNET_UP);
    drive_close(&d);
}

/* ---- hearing ---- */

static void rows_are_heard_on_both_connections(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_greet(d, 1, life_of(1));
    assert_null(heard(d, "r1"));
    drive_link_msg(d, 1, telling(d, ZN_PONG, "r1", ZMQNET_UP));
    assert_int_equal(heard(d, "r1")->links[0].state, ZMQNET_UP);
    assert_int_equal(heard(d, "r1")->links[0].cause, CAUSE_REFUSED);
    drive_hello_from(d, ROUTE, 1, life_of(1));
    drive_route_msg(d, ROUTE, telling(d, ZN_PING, "r1", ZMQNET_DOWN));
    assert_int_equal(heard(d, "r1")->links[0].state, ZMQNET_DOWN);
    assert_null(heard(d, "r2"));
    drive_close(&d);
}

static void a_hello_holds_a_row_in_both_directions(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    struct zn_msg hello = telling(d, ZN_HELLO, "r1", ZMQNET_UP);
    hello.life = life_of(1);
    hello.version = ZN_PROTOCOL_VERSION;
    drive_route_msg(d, ROUTE, hello);
    assert_int_equal(heard(d, "r1")->links[2].state, ZMQNET_UP);
    drive_link(d, ZN_EV_LINK_UP, 2);
    hello = telling(d, ZN_HELLO, "r2", ZMQNET_CONNECTING);
    hello.life = life_of(2);
    hello.version = ZN_PROTOCOL_VERSION;
    drive_link_msg(d, 2, hello);
    assert_int_equal(heard(d, "r2")->links[1].state, ZMQNET_CONNECTING);
    drive_close(&d);
}

/* Only of itself, and only after its hello. */
static void a_row_is_taken_from_its_replica_only(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_route_msg(d, ROUTE, telling(d, ZN_PING, "r1", ZMQNET_UP));
    assert_null(heard(d, "r1"));
    drive_link(d, ZN_EV_LINK_UP, 1);
    drive_link_msg(d, 1, telling(d, ZN_PONG, "r1", ZMQNET_UP));
    assert_null(heard(d, "r1"));
    struct zn_msg refused = telling(d, ZN_HELLO, "r1", ZMQNET_UP);
    refused.code = ZMQNET_EPATTERN;
    drive_link_msg(d, 1, refused);
    assert_null(heard(d, "r1"));
    drive_hello_from(d, ROUTE, 2, life_of(2));
    drive_route_msg(d, ROUTE, telling(d, ZN_PING, "r1", ZMQNET_UP));
    assert_null(heard(d, "r1"));
    assert_non_null(heard(d, "r2"));
    drive_close(&d);
}

static void a_row_of_other_names_is_left_out(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_greet(d, 1, life_of(1));
    struct zn_msg msg = telling(d, ZN_PONG, "r1", ZMQNET_UP);
    msg.names_hash++;
    drive_link_msg(d, 1, msg);
    assert_null(heard(d, "r1"));
    for (size_t n = 0; n <= ZN_REPLICAS_MAX; n += n == 2 ? 2 : 1) {
        msg = telling(d, ZN_PONG, "r1", ZMQNET_UP);
        msg.links_n = n;
        drive_link_msg(d, 1, msg);
        assert_null(heard(d, "r1"));
    }
    drive_close(&d);
}

static void a_row_ages_and_is_forgotten(void **state)
{
    (void)state;
    struct driver *d = open_of(2);
    drive_greet(d, 1, life_of(1));
    drive_link_msg(d, 1, telling(d, ZN_PONG, "r1", ZMQNET_UP));
    assert_int_equal(heard(d, "r1")->age_us, 0);
    d->now_us += KEEP_US;
    assert_int_equal(heard(d, "r1")->age_us, KEEP_US);
    d->now_us++;
    assert_null(heard(d, "r1"));
    drive_link_msg(d, 1, telling(d, ZN_PONG, "r1", ZMQNET_DOWN));
    assert_int_equal(heard(d, "r1")->age_us, 0);
    drive_close(&d);
}

/* Whatever it says, of us and of others: our view, our links and what becomes of a request stay. */
static void a_row_changes_nothing(void **state)
{
    (void)state;
    struct driver *d = open_of(3);
    drive_greet_all(d);
    size_t resets = d->resets, notes = d->notes;
    for (unsigned value = 0; value <= UINT8_MAX; value++)
        drive_link_msg(d, 1, telling(d, ZN_PONG, "r1", (uint8_t)value));
    assert_int_equal(d->m->peers[1].state, ZMQNET_UP);
    assert_int_equal(d->m->peers[2].state, ZMQNET_UP);
    assert_int_equal(d->resets, resets);
    assert_int_equal(d->notes, notes);
    drive_ask(d, 2);
    drive_flush(d);
    assert_int_equal(d->requests_to[2], 1);
    drive_answer_from(d, 2, 0, NULL);
    assert_int_equal(d->done.status, 0);
    drive_close(&d);
}

static void causes_have_words(void **state)
{
    (void)state;
    assert_string_equal(zn_reach_cause_text(0), "");
    assert_string_equal(zn_reach_cause_text(1), "not connected yet");
    assert_string_equal(zn_reach_cause_text(CAUSE_REFUSED), "connection refused");
    assert_string_equal(zn_reach_cause_text(9), "silent");
    assert_string_equal(zn_reach_cause_text(19), "rejected before its handler");
    assert_string_equal(zn_reach_cause_text(20), "answers late");
    assert_string_equal(zn_reach_cause_text(21), "another cause");
    assert_string_equal(zn_reach_cause_text(UINT32_MAX), "another cause");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_row_leaves_with_hello_and_ping),
        cmocka_unit_test(our_row_leaves_to_a_busy_peer_too),
        cmocka_unit_test(our_row_leaves_with_the_answers_to_a_replica),
        cmocka_unit_test(a_stranger_is_told_nothing),
        cmocka_unit_test(a_client_has_no_row),
        cmocka_unit_test(rows_are_in_the_order_of_the_names),
        cmocka_unit_test(rows_are_heard_on_both_connections),
        cmocka_unit_test(a_hello_holds_a_row_in_both_directions),
        cmocka_unit_test(a_row_is_taken_from_its_replica_only),
        cmocka_unit_test(a_row_of_other_names_is_left_out),
        cmocka_unit_test(a_row_ages_and_is_forgotten),
        cmocka_unit_test(a_row_changes_nothing),
        cmocka_unit_test(causes_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
