/* SPDX-License-Identifier: MIT */
/*
 * Subscriptions of pubsub that take the place of others. At the publisher: a second one under a name
 * that is up waits until the first ends, falls silent, or proves to be another replica. At the
 * subscriber: one that hears nothing of its own for 3 s is made anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <zmq.h>

#include "carrier_driver.h"
#include "pubsub_foe.h"

const struct zn_pattern *const pattern = &zn_pattern_pubsub;

/* ---- a second subscription ---- */

/* What waits takes the place of what does not answer, which may end later than its peer. */
static void a_second_subscription_replaces_a_silent_one(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    uint64_t before_us = zn_clock_us();
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    foe_acks(&f, ZN_ACK_BODY, 7, "the last word");
    UNTIL(a.link_n == 1);
    PASS_UNTIL(a.up == 2);
    assert_true(zn_clock_us() - before_us >= 2400 * ZN_MS);
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "old");
    foe_acks(&f, ZN_ACK_BODY, 8, "new");
    UNTIL(a.link_n == 2);
    assert_string_equal(a.link_text, "new");
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(send_text(&a, 1, "x"), 0);
    UNTIL(observed(second, 'T', 0, 1, "x"));
    zmq_close(f.sub);
    f.sub = NULL;
    zmq_close(foe_subscribe_again(&f, &a, peers, 9)); /* what came before was read, too */
    assert_int_equal(a.lost, 1);
    zmq_close(second);
    UNTIL(a.lost == 2);
    assert_int_equal(a.counts[ZN_COUNT_name_clash], 0);
    close_pair(&a, &f);
}

static void a_second_subscription_follows_the_first_at_once(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.lost, 0);
    assert_int_equal(send_text(&a, 1, "to the first"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "to the first"));
    uint64_t before_us = zn_clock_us();
    zmq_close(f.sub);
    f.sub = second;
    UNTIL(a.up == 2);
    assert_true(zn_clock_us() - before_us < 2 * ZN_SECOND); /* silence takes 2.5 s */
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

/* Always false. */
static bool foe_answers_now_and_then(struct foe *f, uint64_t nonce, uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    *at_us = zn_clock_us() + 50 * ZN_MS;
    foe_acks(f, ZN_ACK_BODY, nonce, "answer");
    return false;
}

/* Two replicas of one name: the second is not heard, also when the first has ended. */
static void a_second_subscription_clashes_with_one_that_answers(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    uint64_t before_us = zn_clock_us(), answer_us = 0;
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    UNTIL(a.counts[ZN_COUNT_name_clash] == 1 || foe_answers_now_and_then(&f, 7, &answer_us));
    assert_true(zn_clock_us() - before_us >= ZN_SECOND);
    assert_int_equal(send_text(&a, 1, "to the first"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "to the first"));
    unsigned heard = a.link_n;
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    foe_acks(&f, ZN_ACK_BODY, 7, "the first's");
    UNTIL(strcmp(a.link_text, "the first's") == 0);
    assert_true(a.link_n > heard);
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(a.lost, 0);
    zmq_close(f.sub);
    f.sub = second;
    UNTIL(a.lost == 1);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.counts[ZN_COUNT_name_clash], 1);
    close_pair(&a, &f);
}

/* ---- a silent one ---- */

/* Always false. */
static bool answers_now_and_then(struct side *a, zn_route route, uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    *at_us = zn_clock_us() + 300 * ZN_MS;
    assert_int_equal(reply(a, route, "part", 4), 0);
    return false;
}

/* Always false. It says something to all, and is answered. */
static bool talks_to_all_now_and_then(struct foe *f, struct side *a, zn_route route,
                                      uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    foe_publish(f, true, ++f->to_all, 0, "to all");
    return answers_now_and_then(a, route, at_us);
}

/* Two that run and say nothing: of one we hear nothing at all, the other is heard by our answers. */
static void a_silent_subscription_is_made_anew(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a;
    struct foe f, busy;
    open_foe(&f, peers, 1);
    open_foe(&busy, peers, 2);
    open_linked_side(&a, peers, 0);
    UNTIL(foe_heard_subscription(&busy));
    foe_publish(&busy, false, 0, 1, "a long question");
    UNTIL(a.route_n == 1);
    UNTIL(foe_heard_subscription(&f));
    zn_route route = a.route;
    uint64_t before_us = zn_clock_us(), first = f.nonce, answer_us = 0;
    PASS_UNTIL(foe_heard_subscription(&f) || answers_now_and_then(&a, route, &answer_us));
    assert_true(zn_clock_us() - before_us >= 3 * ZN_SECOND);
    assert_true(f.nonce != first);
    foe_publish(&f, false, 9, 1, "new");
    UNTIL(a.route_n == 2);
    assert_string_equal(a.route_text, "new");
    foe_publish(&busy, false, 0, 2, "old");
    UNTIL(a.route_n == 3);
    assert_true(a.route == route);
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
    close_foe(&f);
    close_foe(&busy);
}

/* Nobody answers it, and nobody asks it: what goes to all does not show that it is known. */
static void a_subscription_that_hears_only_what_goes_to_all_is_made_anew(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "known");
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    uint64_t before_us = zn_clock_us(), first = f.nonce, talk_us = 0;
    PASS_UNTIL(foe_heard_subscription(&f) || talks_to_all_now_and_then(&f, &a, route, &talk_us));
    assert_true(zn_clock_us() - before_us >= 3 * ZN_SECOND);
    assert_true(f.nonce != first);
    close_pair(&a, &f);
}

static void a_peer_that_is_heard_is_not_made_anew(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "first");
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    for (uint64_t own = 2; own <= 3; own++) { /* each pause is one that is borne */
        pass_time(1900 * ZN_MS);
        foe_publish(&f, false, 0, own, "ping");
        UNTIL(a.route_n == own);
        assert_true(a.route == route);
    }
    assert_false(foe_heard_subscription(&f));
    assert_int_equal(counts_of(&a), 0);
    close_pair(&a, &f);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_subscription_replaces_a_silent_one),
        TEST(a_second_subscription_follows_the_first_at_once),
        TEST(a_second_subscription_clashes_with_one_that_answers),
        TEST(a_silent_subscription_is_made_anew),
        TEST(a_subscription_that_hears_only_what_goes_to_all_is_made_anew),
        TEST(a_peer_that_is_heard_is_not_made_anew),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
