/* SPDX-License-Identifier: MIT */
/*
 * Links of pubsub that are refused, lost, reset or stuck, and come back: each is reported once, with its
 * cause, and what belongs to a lost connection is not taken for a word of the next one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "base/limits.h"
#include "carrier_driver.h"
#include "pattern/socket.h"
#include "pubsub_foe.h"

const struct zn_pattern *const pattern = &zn_pattern_pubsub;

/* ---- peers that are not there ---- */

static void a_refused_peer_is_reported_and_found_at_once_when_it_starts(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_linked_side(&a, peers, 0);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    PASS_UNTIL(a.failed == 6); /* the next try is 1.2 s away, at least */
    open_linked_side(&b, peers, 1);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.up == 1 && b.up == 1);
    assert_true(zn_clock_us() - before_us < 900 * ZN_MS);
    assert_int_equal(a.lost, 0);
    close_side(&a);
    close_side(&b);
}

static void a_peer_that_does_not_subscribe_is_reported_once(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    open_foe(&f, peers, 1);
    open_linked_side(&a, peers, 0);
    UNTIL(foe_heard_subscription(&f));
    foe_publish(&f, false, 0, 1, "question");
    UNTIL(a.route_n == 1);
    UNTIL(reply(&a, a.route, "answer", 6) == 0);
    UNTIL(foe_heard(&f)); /* its ack port is there, so it should subscribe */
    PASS_UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_NO_HELLO);
    assert_int_equal(a.up, 0);
    foe_subscribe(&f, peers, 7);
    UNTIL(a.up == 1);
    assert_int_equal(a.failed, 1);
    close_pair(&a, &f);
}

static void a_peer_that_unsubscribes_is_lost(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    zmq_close(f.sub);
    f.sub = NULL;
    UNTIL(a.lost == 1);
    assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    assert_int_equal(a.failed + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* libzmq at this port has been round once more since this was called. */
static void wait_for_a_round(uint16_t port)
{
    char byte;
    int fd = connect_plain(port);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    close(fd);
}

/* It is all there in one turn: as many answers as may be open, and the end of who has answered. */
static void answers_are_read_before_the_end_is_believed(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    uint8_t topic[ZN_TOPIC_MAX];
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    for (int i = 0; i < ZN_WINDOW_MESSAGES_MAX; i++)
        foe_acks(&f, ZN_ACK_BODY, 7, "answer");
    zmq_setsockopt(f.sub, ZMQ_UNSUBSCRIBE, topic, zn_topic_write(topic, f.name, 7));
    zn_socket_set_int(f.sub, ZMQ_LINGER, -1);
    zn_socket_set_int(f.push, ZMQ_LINGER, -1);
    close_foe(&f);
    for (int round = 0; round < 20; round++)
        wait_for_a_round(peers->replicas[0].ack_port);
    UNTIL(a.lost == 1);
    assert_int_equal(a.link_n, ZN_WINDOW_MESSAGES_MAX);
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
}

/* A connection is refused, the peer starts and subscribes, and only then is the refusal seen. */
static void a_late_refusal_is_not_the_new_lifes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    open_linked_side(&a, peers, 0);
    UNTIL(a.failed == 1);
    while (pattern->next_us(a.c) > zn_clock_us())
        continue;
    turn_without(&a, 1);
    open_foe(&f, peers, 1);
    foe_subscribe(&f, peers, 7);
    for (uint64_t end_us = zn_clock_us() + DEADLINE_US; a.up == 0 && zn_clock_us() < end_us;)
        turn_without(&a, 1);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.failed, 1);
    UNTIL(foe_heard_subscription(&f));
    assert_int_equal(a.lost, 0);
    foe_acks(&f, ZN_ACK_BODY, 7, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

/* Its ack port refuses: that process is gone, and its subscription only not yet. */
static void a_refused_peer_is_gone_though_its_subscription_stands(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    zmq_close(f.pull);
    f.pull = NULL;
    UNTIL(a.failed >= 1);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "x");
    UNTIL(a.counts[ZN_COUNT_bad_ack] == 1);
    foe_bind(&f, &f.pull, ZMQ_PULL, peers->replicas[1].ack_port);
    UNTIL(foe_heard_subscription(&f));
    assert_int_equal(a.up, 1);
    zmq_close(f.sub);
    f.sub = NULL;
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    close_pair(&a, &f);
}

/* ---- resets ---- */

static void a_reset_link_comes_back_after_a_backoff(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (unsigned i = 1; i <= 3; i++) { /* 50, 100, 200 ms, less a quarter */
        uint64_t before_us = zn_clock_us();
        pattern->reset(a.c, 1);
        pattern->reset(a.c, 1);
        assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
        foe_acks(&f, ZN_ACK_BODY, 7, "dropped");
        UNTIL(a.up == 1 + i);
        assert_true(zn_clock_us() - before_us >= (50 * ZN_MS << (i - 1)) * 3 / 4);
    }
    pattern->good(a.c, 1);
    uint64_t before_us = zn_clock_us();
    pattern->reset(a.c, 1);
    UNTIL(a.up == 5);
    assert_true(zn_clock_us() - before_us < 200 * ZN_MS);
    foe_acks(&f, ZN_ACK_BODY, 7, "heard");
    UNTIL(a.link_n >= 1);
    assert_string_equal(a.link_text, "heard");
    assert_int_equal(a.lost + a.failed + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* A new subscription does not cut the back-off short. */
static void a_reset_link_takes_the_newest_subscription(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    pattern->reset(a.c, 1);
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    assert_int_equal(a.lost, 0);
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

/* ---- peers that are killed or stopped ---- */

static void a_killed_peer_is_lost_then_refused_and_comes_back(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_linked_side(&a, peers, 0);
    for (unsigned life = 1; life <= 3; life++) {
        UNTIL(a.up == life && a.route_n == life);
        zn_route route = a.route;
        assert_int_equal(reply(&a, route, "x", 1), 0);
        assert_int_equal(send_text(&a, 1, "again"), 0);
        UNTIL(a.link_n == life);
        a.failed = 0;
        pattern->good(a.c, 1);
        end_child(pid);
        uint64_t before_us = zn_clock_us();
        UNTIL(a.lost == life && a.failed > 0);
        assert_true(zn_clock_us() - before_us < ZN_SECOND); /* heartbeats take 1.5 s */
        assert_int_equal(a.why, ZN_WHY_REFUSED);
        assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
        assert_int_equal(reply(&a, route, "x", 1), ZMQNET_ENEVERSENT);
        pid = spawn_child(peers);
    }
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
    end_child(pid);
}

/* Its silence is not taken for the end of our subscription: what it sends later finds its route. */
static void a_stopped_peer_keeps_its_connection(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_linked_side(&a, peers, 0);
    UNTIL(a.up == 1 && a.route_n == 1);
    kill(pid, SIGSTOP);
    assert_int_equal(send_text(&a, 1, "to one that is stopped"), 0);
    uint64_t look_us = zn_clock_us() + 3500 * ZN_MS; /* longer than silence is borne */
    UNTIL(zn_clock_us() > look_us);
    assert_int_equal(a.lost + a.link_n, 0);
    assert_int_equal(reply(&a, a.route, "x", 1), 0);
    kill(pid, SIGCONT);
    UNTIL(a.link_n == 1);
    assert_int_equal(a.lost, 0);
    assert_int_equal(reply(&a, a.route, "x", 1), 0);
    close_side(&a);
    end_child(pid);
}

static void the_old_route_ends_with_its_connection(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "question");
    UNTIL(a.route_n == 1);
    zn_route old = a.route;
    assert_int_equal(reply(&a, old, "answer", 6), 0);
    UNTIL(foe_heard(&f));
    assert_string_equal(f.answer, "answer");
    zmq_close(f.pull);
    f.pull = NULL;
    UNTIL(reply(&a, old, "x", 1) == ZMQNET_ENEVERSENT && a.failed > 0);
    foe_bind(&f, &f.pull, ZMQ_PULL, peers->replicas[1].ack_port);
    UNTIL(foe_heard_subscription(&f));
    foe_publish(&f, false, 3, 1, "new");
    UNTIL(a.route_n == 2);
    assert_true(a.route != old);
    assert_int_equal(reply(&a, old, "x", 1), ZMQNET_ENEVERSENT);
    assert_int_equal(reply(&a, a.route, "y", 1), 0);
    assert_int_equal(reply(&a, a.route | 63, "y", 1), ZMQNET_ENEVERSENT);
    UNTIL(f.answers == 2 || (foe_heard(&f), false));
    assert_string_equal(f.answer, "y");
    close_pair(&a, &f);
}

static void answers_to_a_peer_that_does_not_read_are_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_linked_side(&a, peers, 0);
    UNTIL(a.route_n == 1);
    a.failed = 0;
    kill(pid, SIGSTOP);
    char text[1000];
    memset(text, 'x', sizeof text);
    int rc = 0;
    for (unsigned n = 0; rc == 0; n++) {
        rc = reply(&a, a.route, text, sizeof text);
        if (n % 64 == 0)
            drive();
    }
    assert_int_equal(rc, ZMQNET_EFULL);
    kill(pid, SIGCONT);
    UNTIL(reply(&a, a.route, "x", 1) == 0);
    assert_int_equal(a.lost + a.failed + a.writable, 0);
    close_side(&a);
    end_child(pid);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    if (is_child(argc, argv))
        return child_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(a_refused_peer_is_reported_and_found_at_once_when_it_starts),
        TEST(a_peer_that_does_not_subscribe_is_reported_once),
        TEST(a_peer_that_unsubscribes_is_lost),
        TEST(answers_are_read_before_the_end_is_believed),
        TEST(a_late_refusal_is_not_the_new_lifes),
        TEST(a_refused_peer_is_gone_though_its_subscription_stands),
        TEST(a_reset_link_comes_back_after_a_backoff),
        TEST(a_reset_link_takes_the_newest_subscription),
        TEST(a_killed_peer_is_lost_then_refused_and_comes_back),
        TEST(a_stopped_peer_keeps_its_connection),
        TEST(the_old_route_ends_with_its_connection),
        TEST(answers_to_a_peer_that_does_not_read_are_refused),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
