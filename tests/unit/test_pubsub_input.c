/* SPDX-License-Identifier: MIT */
/*
 * What comes to a pubsub replica out of sequence or from strangers: publications that are missing are
 * counted and told, and bad acks, publications and topics are counted under a name and harm nobody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "carrier_driver.h"
#include "pattern/socket.h"
#include "pubsub_foe.h"

const struct zn_pattern *const pattern = &zn_pattern_pubsub;

/* ---- gaps ---- */

struct step {
    bool to_all;
    uint64_t all, own;
    unsigned gaps, backs; /* so far, once it was read */
};

static void gaps_are_counted_and_told(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {false, 5, 1, 0, 0}, /* the first one says how many went to all before */
        {false, 5, 2, 0, 0},   {true, 6, 0, 0, 0},   {false, 6, 3, 0, 0},
        {false, 6, 5, 1, 0},                         /* 4 on our topic is missing */
        {true, 8, 0, 2, 0},                          /* 7 to all */
        {false, 9, 6, 3, 0},                         /* 9 to all */
        {false, 11, 9, 4, 0},  {false, 11, 9, 4, 1}, /* back */
        {false, 11, 10, 4, 1}, {true, 3, 0, 4, 2},   {true, 4, 0, 4, 2},
        {false, 4, 11, 4, 2},  {false, 4, 0, 4, 3},  {false, 4, 1, 4, 3},
    };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, true, 5, 0, "not for us");
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        foe_publish(&f, steps[i].to_all, steps[i].all, steps[i].own, "x");
        UNTIL(a.route_n == i + 1);
        assert_int_equal(a.counts[ZN_COUNT_gap], steps[i].gaps);
        assert_int_equal(a.counts[ZN_COUNT_sequence_back], steps[i].backs);
        UNTIL(f.reports == steps[i].gaps || (foe_heard(&f), false));
    }
    assert_int_equal(f.answers, 0);
    close_pair(&a, &f);
}

static void a_first_publication_that_is_missing_is_a_gap(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 2, "x");
    UNTIL(foe_heard(&f));
    assert_int_equal(f.reports, 1);
    assert_int_equal(a.counts[ZN_COUNT_gap], 1);
    close_pair(&a, &f);
}

/* Not one report for each, but one after the last. */
static void many_gaps_are_told_together(void **state)
{
    (void)state;
    enum { GAPS = 200 };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (uint64_t own = 2; own <= 2 * GAPS; own += 2)
        foe_publish(&f, false, 0, own, "x");
    UNTIL(a.counts[ZN_COUNT_gap] == GAPS);
    while (foe_heard(&f))
        continue;
    unsigned before = f.reports;
    UNTIL(f.reports > before || (foe_heard(&f), false));
    assert_true(f.reports < GAPS / 4);
    close_pair(&a, &f);
}

static void a_gap_that_a_subscriber_tells_reaches_core(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_acks(&f, ZN_ACK_GAP, 7, NULL);
    UNTIL(a.gap == 1);
    assert_int_equal(a.link_n + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* ---- bad input ---- */

struct bad {
    const char *bytes;
    size_t n;
    const char *body; /* NULL: there is none */
    enum zn_counter counter;
};

#define BYTES(text) text, sizeof text - 1
#define SEVEN "\7\0\0\0\0\0\0\0"

static void send_pair(void *s, const struct bad *b)
{
    assert_int_equal(zmq_send(s, b->bytes, b->n, b->body ? ZMQ_SNDMORE : 0), (int)b->n);
    if (b->body)
        assert_int_equal(zmq_send(s, b->body, strlen(b->body), 0), (int)strlen(b->body));
}

static void bad_acks_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES(""), NULL, ZN_COUNT_bad_ack},
        {BYTES(""), "x", ZN_COUNT_bad_ack},
        {BYTES("\0" SEVEN), NULL, ZN_COUNT_bad_ack},
        {BYTES("\0" SEVEN), "", ZN_COUNT_empty_message},
        {BYTES("\0" SEVEN "\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\7\0\0\0\0\0\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\1" SEVEN), "x", ZN_COUNT_bad_ack},
        {BYTES("\2" SEVEN), NULL, ZN_COUNT_bad_ack},
        {BYTES("\2" SEVEN), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\0\0\0\0\0\0\0\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\7\0\0\0\0\0\0\1"), "x", ZN_COUNT_bad_ack},
        {BYTES("\1\6\0\0\0\0\0\0\0"), NULL, ZN_COUNT_bad_ack},
    };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(a.counts, 0, sizeof a.counts);
        send_pair(f.push, &bad[i]);
        foe_acks(&f, ZN_ACK_BODY, 7, "good");
        UNTIL(a.link_n == i + 1);
        assert_int_equal(a.counts[bad[i].counter], 1);
        assert_int_equal(counts_of(&a), 1);
    }
    memset(a.counts, 0, sizeof a.counts);
    for (int i = 0; i < 10 * ZN_TURN_FRAMES_MAX; i++)
        assert_int_equal(zmq_send(f.push, "\0" SEVEN, 9, ZMQ_SNDMORE), 9);
    assert_int_equal(zmq_send(f.push, "x", 1, 0), 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "good");
    UNTIL(a.link_n == 1 + sizeof bad / sizeof bad[0]);
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(a.gap + a.lost, 0);
    close_pair(&a, &f);
}

static void bad_publications_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES("A"), NULL, ZN_COUNT_bad_envelope},
        {BYTES("A"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcde"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcdef"), NULL, ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcdef0"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A"
               "a head that is longer than any that there is: "
               "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789"),
         "x", ZN_COUNT_bad_envelope},
    };
    static char big[1 << 19];
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    uint64_t own = 0;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(a.counts, 0, sizeof a.counts);
        send_pair(f.pub, &bad[i]);
        foe_publish(&f, false, 0, ++own, "good");
        UNTIL(a.route_n == own);
        assert_int_equal(a.counts[bad[i].counter], 1);
        assert_int_equal(counts_of(&a), 1);
    }
    memset(a.counts, 0, sizeof a.counts);
    foe_publish(&f, false, 0, ++own, "");
    UNTIL(a.counts[ZN_COUNT_empty_message] == 1);
    memset(big, 'x', zn_frame_max(MESSAGE_MAX) + 1);
    foe_publish(&f, false, 0, ++own, big);
    UNTIL(a.counts[ZN_COUNT_oversize] == 1);
    assert_int_equal(zmq_send(f.pub, "A0123456789abcdef", 17, ZMQ_SNDMORE), 17);
    assert_int_equal(zmq_send(f.pub, "x", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(f.pub, "y", 1, 0), 1);
    UNTIL(a.counts[ZN_COUNT_extra_frames] == 1);
    foe_publish(&f, false, 0, ++own, "good");
    UNTIL(a.route_n == own - 2);
    assert_int_equal(counts_of(&a), 3);
    close_pair(&a, &f);
}

static void bad_topics_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES(""), NULL, 0},
        {BYTES("B"), NULL, 0},
        {BYTES("AA"), NULL, 0},
        {BYTES("T"), NULL, 0},
        {BYTES("Tpeer1"), NULL, 0},
        {BYTES("Tpeer1\0"), NULL, 0},
        {BYTES("Tpeer1\0"
               "1234567"),
         NULL, 0},
        {BYTES("Tpeer1\0"
               "123456789"),
         NULL, 0},
        {BYTES("Tpeer1\0\0\0\0\0\0\0\0\0"), NULL, 0},
        {BYTES("Tpeer0\0"
               "12345678"),
         NULL, 0}, /* ourselves */
        {BYTES("Tpeer2\0"
               "12345678"),
         NULL, 0}, /* nobody */
        {BYTES("Tpeer\0"
               "12345678"),
         NULL, 0},
        {BYTES("tpeer1\0"
               "12345678"),
         NULL, 0},
    };
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *stranger = NULL;
    foe_connect(&f, &stranger, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, "A", 1);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, bad[i].bytes, bad[i].n);
        UNTIL(a.counts[ZN_COUNT_bad_topic] == i + 1);
    }
    zmq_close(stranger);
    foe_connect(&f, &stranger, ZMQ_XSUB, peers->replicas[0].pub_port);
    unsigned n = a.counts[ZN_COUNT_bad_topic];
    static const struct bad words[] = {
        {BYTES("just words"), NULL, 0},
        {BYTES(""), NULL, 0},
        {BYTES("two"), "frames", 0},
        {BYTES("\1Tpeer2\0"
               "87654321"),
         "and more", 0},
    };
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        send_pair(stranger, &words[i]);
        UNTIL(a.counts[ZN_COUNT_bad_topic] > n);
        n = a.counts[ZN_COUNT_bad_topic];
    }
    zmq_close(stranger);
    foe_acks(&f, ZN_ACK_BODY, 7, "still there");
    UNTIL(a.link_n == 1);
    assert_int_equal(a.lost, 0);
    close_pair(&a, &f);
}

/* The cancellation in the second frame is the last that is left of the stranger's message: others are
 * subscribed to that. */
static void a_subscription_behind_a_strangers_two_frames_is_read(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    uint8_t topic[ZN_TOPIC_MAX];
    void *other = NULL, *stranger = NULL;
    open_foe(&f, peers, 1);
    open_linked_side(&a, peers, 0);
    foe_connect(&f, &other, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(other, ZMQ_SUBSCRIBE, "A", 1);
    foe_connect(&f, &stranger, ZMQ_XSUB, peers->replicas[0].pub_port);
    assert_int_equal(zmq_send(stranger, "\1A", 2, 0), 2);
    assert_int_equal(zmq_send(stranger, "x", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(stranger, "\0A", 2, 0), 2);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    foe_connect(&f, &f.sub, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(f.sub, ZMQ_SUBSCRIBE, topic, zn_topic_write(topic, f.name, 7));
    UNTIL(a.up == 1);
    zmq_close(other);
    zmq_close(stranger);
    close_pair(&a, &f);
}

/* libzmq keeps a tree of topics; a long one must not take much of anything. */
static void a_long_topic_costs_only_its_connection(void **state)
{
    (void)state;
    static char topic[1 << 16]; /* a far longer one ends its own sender, in libzmq */
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *stranger = NULL;
    memset(topic, 't', sizeof topic);
    foe_connect(&f, &stranger, ZMQ_SUB, peers->replicas[0].pub_port);
    zn_socket_set_int(stranger, ZMQ_RECONNECT_IVL, -1);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, topic, 700);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, topic, sizeof topic);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, "more", 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_text(&a, 1, "x"), 0);
        foe_acks(&f, ZN_ACK_BODY, 7, "still there");
        UNTIL(a.link_n == (unsigned)i + 1);
    }
    assert_int_equal(a.counts[ZN_COUNT_bad_topic], 1);
    zmq_close(stranger);
    close_pair(&a, &f);
}

static void strangers_without_zeromq_harm_nobody(void **state)
{
    (void)state;
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n",
                                        "\xff zmtp? no, not at all, far from it",
                                        "\x01\x02\x03\x04 noise", ""};
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    const uint16_t ports[] = {peers->replicas[0].pub_port, peers->replicas[0].ack_port};
    for (unsigned i = 0; i < 2 * sizeof words / sizeof words[0]; i++) {
        int fd = connect_plain(ports[i % 2]);
        assert_true(send(fd, words[i / 2], strlen(words[i / 2]), MSG_NOSIGNAL) >= 0);
        close(fd);
        foe_acks(&f, ZN_ACK_BODY, 7, "x");
        UNTIL(a.link_n == i + 1);
    }
    unsigned counted = a.counts[ZN_COUNT_bad_topic] + a.counts[ZN_COUNT_bad_ack];
    assert_int_equal(counted, counts_of(&a)); /* libzmq takes some of it for ZMTP 1.0 */
    assert_int_equal(a.lost, 0);
    close_pair(&a, &f);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(gaps_are_counted_and_told),
        TEST(a_first_publication_that_is_missing_is_a_gap),
        TEST(many_gaps_are_told_together),
        TEST(a_gap_that_a_subscriber_tells_reaches_core),
        TEST(bad_acks_are_counted_and_harm_nobody),
        TEST(bad_publications_are_counted_and_harm_nobody),
        TEST(bad_topics_are_counted_and_harm_nobody),
        TEST(a_subscription_behind_a_strangers_two_frames_is_read),
        TEST(a_long_topic_costs_only_its_connection),
        TEST(strangers_without_zeromq_harm_nobody),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
