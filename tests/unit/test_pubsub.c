/* SPDX-License-Identifier: MIT */
/*
 * The pubsub pattern over real sockets: its good path, what goes to all, and how it opens and closes.
 * How links fail, subscriptions that follow one another, and what strangers send, have programs of
 * their own. Who looks on, or plays a peer, is plain sockets of libzmq (pubsub_foe.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "carrier_driver.h"
#include "pubsub_foe.h"

const struct zn_pattern *const pattern = &zn_pattern_pubsub;

/* ---- parts ---- */

static void topics_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        size_t n;
    } bad[] = {
        {"", 0},
        {"A", 1},
        {"T", 1},
        {"Tx\0"
         "1234567",
         10},
        {"T\0"
         "12345678",
         10},
        {"Xx\0"
         "12345678",
         11},
        {"Tx\0"
         "\0\0\0\0\0\0\0\0",
         11},
        {"Tx\0"
         "123456789",
         12},
        {"Txx123456789", 12},
    };
    uint8_t topic[ZN_TOPIC_MAX + 1];
    char name[ZN_NAME_MAX + 1], longest[ZN_NAME_MAX + 1];
    uint64_t nonce;
    memset(longest, 'n', ZN_NAME_MAX);
    longest[ZN_NAME_MAX] = '\0';
    size_t n = zn_topic_write(topic, longest, 0x0100000000000002);
    assert_int_equal(n, ZN_TOPIC_MAX);
    assert_true(zn_topic_read(topic, n, name, &nonce));
    assert_string_equal(name, longest);
    assert_true(nonce == 0x0100000000000002);
    assert_int_equal(topic[n - 8], 2);
    assert_false(zn_topic_read(topic, n + 1, name, &nonce));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(zn_topic_read((const uint8_t *)bad[i].topic, bad[i].n, name, &nonce));
}

static void the_pattern_is_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(zn_pattern_find("pubsub"), pattern);
    assert_null(pattern->mixes_with);
    assert_false(pattern->lock_step);
}

/* ---- the good path ---- */

static void links_go_up_by_subscription_and_carry_bytes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    b.echo = true;
    assert_int_equal(send_text(&a, 1, "too early"), ZMQNET_ENEVERSENT);
    UNTIL(a.up == 1 && b.up == 1);
    assert_int_equal(send_text(&a, 1, "from a"), 0);
    UNTIL(a.link_n == 1);
    assert_string_equal(b.route_text, "from a");
    assert_string_equal(a.link_text, "from a");
    assert_int_equal(send_text(&b, 0, "from b"), 0);
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    assert_int_equal(send_text(&b, 0, "again"), 0);
    UNTIL(a.route_n == 2);
    assert_true(a.route == route);
    assert_int_equal(reply(&a, route, "late", 4), 0);
    UNTIL(b.link_n == 1);
    assert_string_equal(b.link_text, "late");
    assert_int_equal(a.failed + a.lost + b.lost, 0);
    assert_int_equal(counts_of(&a) + counts_of(&b), 0);
    close_side(&a);
    UNTIL(b.lost == 1);
    UNTIL(b.why == ZN_WHY_REFUSED);
    close_side(&b);
}

/* A large one is not copied: the reference must come back. */
static void a_large_frame_is_shared_and_released(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    open_linked_side(&c, peers, 2);
    b.echo = c.echo = true;
    UNTIL(a.up == 2);
    struct zn_blob *big;
    assert_int_equal(zn_blob_make(100000, &big), 0);
    memset(big->data, 'x', big->bytes);
    assert_int_equal(pattern->send(a.c, 1, big), 0);
    assert_int_equal(pattern->send(a.c, 2, big), 0);
    UNTIL(a.link_n == 2 && atomic_load(&big->refs) == 1);
    zn_blob_drop(&big);
    close_side(&a);
    close_side(&b);
    close_side(&c);
}

static void what_goes_to_all_is_published_once(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    struct foe f = {.context = zmq_ctx_new()};
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    open_linked_side(&c, peers, 2);
    UNTIL(a.up == 2);
    foe_connect(&f, &f.sub, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(f.sub, ZMQ_SUBSCRIBE, "", 0);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    assert_int_equal(send_to(&a, 1 << 1, "one"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "first"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "all"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "all"), 0); /* equal, but not the same */
    assert_int_equal(send_to(&a, 1 << 2, "two"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "one"));
    UNTIL(observed(f.sub, 'T', 0, 2, "first"));
    UNTIL(observed(f.sub, 'T', 0, 1, "first"));
    UNTIL(observed(f.sub, 'A', 1, 0, "all"));
    UNTIL(observed(f.sub, 'A', 2, 0, "all"));
    UNTIL(observed(f.sub, 'T', 2, 2, "two"));
    UNTIL(b.route_n == 4 && c.route_n == 4);
    close_side(&c);
    UNTIL(a.lost == 1);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "x"), ZMQNET_ENEVERSENT);
    UNTIL(observed(f.sub, 'T', 2, 3, "x"));
    UNTIL(b.route_n == 5);
    assert_int_equal(counts_of(&b), 0);
    close_side(&a);
    close_side(&b);
    zmq_close(f.sub);
    zmq_ctx_term(f.context);
}

/* The topic of the next publication that an observer sees; '\0': there is none. */
static char observed_topic(void *sub)
{
    uint8_t head[ZN_HEAD_MAX], body[64];
    if (zmq_recv(sub, head, sizeof head, ZMQ_DONTWAIT) < 0)
        return '\0';
    assert_true(zmq_recv(sub, body, sizeof body, ZMQ_DONTWAIT) >= 0);
    return (char)head[0];
}

/* Says something to all three. Returns on which topic it went out, and reads all that did. */
static char topic_of_what_goes_to_all(struct side *a, void *observer)
{
    char topic, again;
    assert_int_equal(send_to(a, 1 << 1 | 1 << 2 | 1 << 3, "x"), 0);
    UNTIL((topic = observed_topic(observer)) != '\0');
    for (int others = topic == 'T' ? 2 : 0; others > 0; others--) {
        UNTIL((again = observed_topic(observer)) != '\0');
        assert_int_equal(again, 'T');
    }
    return topic;
}

/* By its own topic a subscriber sees that it is known. */
static void each_hears_its_own_topic_now_and_then(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(4);
    struct side a, b, c;
    struct foe f;
    open_foe(&f, peers, 3);
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    open_linked_side(&c, peers, 2);
    foe_subscribe(&f, peers, 7);
    UNTIL(a.up == 3);
    void *observer = NULL;
    foe_connect(&f, &observer, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(observer, ZMQ_SUBSCRIBE, "", 0);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    unsigned sent = 0;
    uint64_t named_us[3] = {0};
    for (int named = 0; named < 3; sent++) {
        own_clock_put_ahead(5 * ZN_MS);
        if (topic_of_what_goes_to_all(&a, observer) == 'T')
            named_us[named++] = zn_clock_us();
    }
    assert_true(named_us[2] - named_us[1] >= 900 * ZN_MS);
    assert_true(named_us[2] - named_us[1] < 2 * ZN_SECOND);
    assert_true(sent > 100);
    UNTIL(b.route_n == sent && c.route_n == sent);
    assert_int_equal(counts_of(&b) + counts_of(&c), 0);
    close_side(&a);
    close_side(&b);
    close_side(&c);
    zmq_close(observer);
    close_foe(&f);
}

/* Who is held back after a reset still hears what goes to all: nothing does then. */
static void a_peer_that_is_reset_is_not_told_what_others_are(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    open_linked_side(&c, peers, 2);
    UNTIL(a.up == 2);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "taken back from c"), 0);
    pattern->reset(a.c, 2);
    UNTIL(b.route_n == 1);
    UNTIL(a.up == 3);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "x"), 0);
    UNTIL(b.route_n == 2 && c.route_n == 1);
    assert_string_equal(c.route_text, "x");
    assert_int_equal(counts_of(&b) + counts_of(&c), 0);
    close_side(&a);
    close_side(&b);
    close_side(&c);
}

static void what_was_sent_before_close_leaves(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_linked_side(&a, peers, 0);
    open_linked_side(&b, peers, 1);
    UNTIL(a.up == 1 && b.up == 1);
    assert_int_equal(send_text(&b, 0, "question"), 0);
    UNTIL(a.route_n == 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send_text(&a, 1, "bye"), 0);
    uint64_t before_us = zn_clock_us();
    pattern->pending(a.c);
    UNTIL(b.route_n == 100);
    assert_int_equal(send_text(&a, 1, "last"), 0);
    assert_int_equal(reply(&a, a.route, "answer", 6), 0);
    close_side(&a);
    assert_true(zn_clock_us() - before_us < ZN_SECOND);
    UNTIL(b.link_n == 1);
    close_side(&b);
}

static void clients_are_served_as_in_every_pattern(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    struct foe f = {.context = zmq_ctx_new()};
    open_linked_side(&a, peers, 0);
    a.echo = true;
    foe_connect(&f, &f.sub, ZMQ_REQ, peers->replicas[0].port);
    assert_int_equal(zmq_send(f.sub, "hello", 5, 0), 5);
    char text[8];
    UNTIL(zmq_recv(f.sub, text, sizeof text, ZMQ_DONTWAIT) == 5);
    zmq_close(f.sub);
    zmq_ctx_term(f.context);
    close_side(&a);
}

/* ---- opening and closing ---- */

static void a_taken_port_is_explained_by_its_name(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    struct zmqnet_diag diag;
    char text[64];
    peers->replicas[1].name = peers->replicas[0].name;
    open_linked_side(&a, peers, 0);
    assert_int_equal(try_open(&b, peers, 0, &diag), ZMQNET_EADDRINUSE);
    assert_int_equal(diag.code, ZMQNET_EADDRINUSE);
    struct zmqnet_replica *r = &peers->replicas[1];
    r->pub_port = peers->replicas[0].pub_port;
    peers->hosts[1][0] = '\0'; /* as if it were another host, so that the file is in order */
    r->host = "127.0.0.1";
    assert_int_equal(try_open(&b, peers, 1, &diag), ZMQNET_EADDRINUSE);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u (peer0's pub port): ", r->pub_port);
    assert_non_null(strstr(diag.text, text));
    r->pub_port = free_port();
    r->ack_port = peers->replicas[0].ack_port;
    assert_int_equal(try_open(&b, peers, 1, &diag), ZMQNET_EADDRINUSE);
    assert_non_null(strstr(diag.text, "(peer0's ack port): the port is taken: "));
    close_side(&a);
}

static void ports_that_meet_are_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct zmqnet_diag diag;
    peers->replicas[1].ack_port = peers->replicas[0].pub_port;
    assert_int_equal(try_open(&a, peers, 0, &diag), ZMQNET_ECONFIG);
    assert_int_not_equal(diag.text[0], '\0');
}

static void links_that_come_and_go_leak_no_descriptors(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_linked_side(&a, peers, 0);
    unsigned before = 0;
    for (unsigned round = 1; round <= 8; round++) {
        open_linked_side(&b, peers, 1);
        UNTIL(a.up == round && b.up == 1);
        if (round == 1)
            before = count_files();
        UNTIL(count_files() <= before); /* libzmq closes in its own time */
        close_side(&b);
        UNTIL(a.lost == round);
    }
    close_side(&a);
}

static void closing_at_any_state_does_not_hang(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b;
    open_linked_side(&b, peers, 1);
    for (int turns = 0; turns < 30; turns++) {
        open_linked_side(&a, peers, 0);
        for (int i = 0; i < turns; i++)
            drive();
        send_text(&a, 1, "x");
        send_text(&b, 0, "x");
        uint64_t before_us = zn_clock_us();
        close_side(&a);
        assert_true(zn_clock_us() - before_us < ZN_SECOND);
    }
    close_side(&b);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(topics_are_read_as_they_are_written),
        TEST(the_pattern_is_found_by_name),
        TEST(links_go_up_by_subscription_and_carry_bytes),
        TEST(a_large_frame_is_shared_and_released),
        TEST(what_goes_to_all_is_published_once),
        TEST(each_hears_its_own_topic_now_and_then),
        TEST(a_peer_that_is_reset_is_not_told_what_others_are),
        TEST(what_was_sent_before_close_leaves),
        TEST(clients_are_served_as_in_every_pattern),
        TEST(a_taken_port_is_explained_by_its_name),
        TEST(ports_that_meet_are_refused),
        TEST(links_that_come_and_go_leak_no_descriptors),
        TEST(closing_at_any_state_does_not_hang),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
