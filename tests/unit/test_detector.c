/* SPDX-License-Identifier: MIT */
/*
 * The failure detector: when a peer is slow, suspect or down, and when it is not. The test is the
 * clock, the network and the peer; docs/failure-detector.md states what is held here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mesh_driver.h"

#define PEER 1
#define USUAL_US (2 * ZN_MS)
#define ROUTE_B 11u

/* Peer 1 of so many replicas, of which none answers pings by itself. */
static struct driver *mesh_open(int n, struct zn_mesh_config config)
{
    config.calls_max = 8;
    struct driver *d = drive_open(n, 0, config);
    drive_greet_all(d);
    d->alive = 0;
    return d;
}

static struct driver *two_open(void) { return mesh_open(2, (struct zn_mesh_config){0}); }

static struct zn_peer *peer_of(struct driver *d) { return &d->m->peers[PEER]; }

static void assert_state(struct driver *d, enum zmqnet_state state, enum zn_why why)
{
    assert_string_equal(zmqnet_state_name(peer_of(d)->state), zmqnet_state_name(state));
    assert_string_equal(zn_why_text(peer_of(d)->why), zn_why_text(why));
}

static void pong(struct driver *d, uint64_t seq)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_PONG, "r1");
    msg.id.seq = seq;
    msg.life = peer_of(d)->life;
    drive_link_msg(d, PEER, msg);
}

/* Until the next ping is out. Returns its number. */
static uint64_t next_ping(struct driver *d)
{
    uint64_t seq = peer_of(d)->ping_seq;
    while (peer_of(d)->ping_seq == seq)
        drive_for(d, ZN_MS);
    return seq + 1;
}

/* The peer takes so long for each of n pings. */
static void answers(struct driver *d, int n, uint64_t us)
{
    for (; n > 0; n--) {
        uint64_t seq = next_ping(d);
        drive_for(d, us);
        while (seq <= peer_of(d)->ping_seq)
            pong(d, seq++);
    }
}

/* From now until it is in this state. */
static uint64_t time_until(struct driver *d, enum zmqnet_state state)
{
    uint64_t start_us = d->now_us;
    while (peer_of(d)->state != state) {
        assert_true(d->now_us - start_us < 60 * ZN_SECOND);
        drive_for(d, ZN_MS);
    }
    return d->now_us - start_us;
}

/* ---- slow ---- */

static void answers_as_usual_keep_it_up(void **state)
{
    (void)state;
    struct driver *d = two_open();
    size_t notes = d->notes;
    for (int i = 0; i < 300; i++)
        answers(d, 1, USUAL_US + (i % 10 ? 5 : 0) * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_int_equal(d->notes, notes);
    drive_close(&d);
}

/* For as long as it likes: slow is not on the way to down. */
static void late_answers_make_it_slow_and_never_down(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    size_t notes = d->notes;
    answers(d, 1, 200 * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    answers(d, 4, 200 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 10, 450 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 30, USUAL_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_int_equal(d->notes - notes, 2);
    drive_close(&d);
}

/* Ten times later than its history, but nobody would call that slow. */
static void late_by_little_is_not_slow(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 40, ZN_SLOW_MIN_US - ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* It is judged by its own history, not by that of others. */
static void far_away_is_not_slow(void **state)
{
    (void)state;
    struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 8});
    drive_link(d, ZN_EV_LINK_UP, PEER);
    drive_for(d, 110 * ZN_MS);
    drive_hello_answer(d, PEER, life_of(PEER));
    answers(d, 30, 110 * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    answers(d, 10, 300 * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

static void slow_for_long_is_its_history(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 10, 120 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 250, 120 * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* Between the limits up to slow and back to up nothing moves. */
static void between_the_limits_it_stays_what_it_is(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 30, 40 * ZN_MS);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    answers(d, 3, 200 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    size_t notes = d->notes;
    for (int i = 0; i < 20; i++)
        answers(d, 1, (i % 2 ? 30 : 60) * ZN_MS);
    assert_true(d->notes - notes <= 1);
    drive_close(&d);
}

/* What would not have made it slow does not make it up: that takes half of it. */
static void up_again_takes_half_of_the_limit(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 5, 200 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 10, 45 * ZN_MS);
    assert_true(peer_of(d)->rtt.smooth_us < 65 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 10, USUAL_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* ---- suspect and down ---- */

static void silence_makes_it_suspect_and_then_down(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    next_ping(d);
    drive_for(d, ZN_PATIENCE_MIN_US - 1);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_for(d, 1);
    assert_state(d, ZMQNET_SUSPECT, ZN_WHY_SILENT);
    drive_for(d, ZN_SILENT_US - ZN_PATIENCE_MIN_US - 1);
    assert_state(d, ZMQNET_SUSPECT, ZN_WHY_SILENT);
    drive_for(d, 1);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_SILENT);
    drive_close(&d);
}

/* The ping is not taken, and so it stays: each time that the link is said to take more, it does not. */
static void a_ping_that_does_not_leave_puts_nothing_off(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    next_ping(d);
    uint64_t start_us = d->now_us, suspect_us = 0;
    size_t pings = d->sent[ZN_PING];
    for (int tries = 1; peer_of(d)->state != ZMQNET_DOWN; tries++) {
        assert_true(d->now_us - start_us < 60 * ZN_SECOND);
        drive_link(d, ZN_EV_SEND_FAILED, PEER);
        drive_for(d, 50 * ZN_MS);
        if (suspect_us == 0 && peer_of(d)->state == ZMQNET_SUSPECT)
            suspect_us = d->now_us - start_us;
        if (peer_of(d)->state == ZMQNET_DOWN)
            break;
        drive_link(d, ZN_EV_LINK_WRITABLE, PEER);
        assert_int_equal(d->sent[ZN_PING] - pings, tries);
    }
    assert_int_equal(suspect_us, ZN_PATIENCE_MIN_US);
    assert_int_equal(d->now_us - start_us, ZN_SILENT_US);
    drive_close(&d);
}

/* One that left late in the end says nothing about how long it takes to answer. */
static void a_ping_that_left_late_is_not_measured(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    for (int i = 0; i < 10; i++) {
        uint64_t seq = next_ping(d) - 1;
        drive_link(d, ZN_EV_SEND_FAILED, PEER);
        drive_for(d, 400 * ZN_MS);
        drive_link(d, ZN_EV_LINK_WRITABLE, PEER);
        drive_for(d, USUAL_US);
        while (seq <= peer_of(d)->ping_seq)
            pong(d, seq++);
        assert_false(peer_of(d)->pinging);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    }
    drive_close(&d);
}

/* A busy peer too: a ping every half second, and three patiences. */
static void worst_case_until_down(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        struct driver *d = two_open();
        answers(d, 20, USUAL_US);
        if (busy)
            drive_ask(d, PEER);
        drive_flush(d);
        assert_true(time_until(d, ZMQNET_DOWN) <= ZN_PING_US + ZN_SILENT_US);
        drive_close(&d);
    }
}

/* One ping is lost, or its pong: it is asked once more before it is given up. */
static void a_lost_ping_is_not_down(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    uint64_t lost = next_ping(d);
    time_until(d, ZMQNET_SUSPECT);
    assert_int_equal(peer_of(d)->ping_seq, lost + 1);
    drive_for(d, USUAL_US);
    pong(d, lost + 1);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

static void one_that_was_suspect_is_up_by_its_answers_only(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 1, 1200 * ZN_MS);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 1, USUAL_US);
    assert_state(d, ZMQNET_SLOW, ZN_WHY_LATE);
    answers(d, 20, USUAL_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* ---- time-outs adapt ---- */

/* Its answers take longer than the least patience: it is suspect at first, and then no more. */
static void patience_follows_the_answers(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 6, 800 * ZN_MS);
    for (int i = 0; i < 20; i++) {
        uint64_t seq = next_ping(d);
        drive_for(d, 800 * ZN_MS);
        assert_int_equal(peer_of(d)->ping_seq, seq);
        assert_int_not_equal(peer_of(d)->state, ZMQNET_SUSPECT);
        pong(d, seq);
    }
    drive_close(&d);
}

static void patience_has_bounds(void **state)
{
    (void)state;
    struct driver *d = two_open();
    for (int i = 0; i < 50; i++)
        answers(d, 1, (i % 2 ? 1400 : 100) * ZN_MS);
    uint64_t us = time_until(d, ZMQNET_DOWN);
    assert_in_range(us, ZN_SILENT_US + ZN_MS, ZN_PING_US + ZN_DOWN_PATIENCES * ZN_PATIENCE_MAX_US);
    drive_close(&d);
}

/* One stall does not put off much that the next one is seen. */
static void a_single_late_answer_weighs_little(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    answers(d, 1, 1400 * ZN_MS);
    assert_true(time_until(d, ZMQNET_DOWN) <= ZN_PING_US + ZN_SILENT_US + ZN_SILENT_US / 4);
    drive_close(&d);
}

/* It comes back after a silence and is silent again: it gets more time, for a minute. */
static void one_that_came_back_has_more_patience(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    time_until(d, ZMQNET_DOWN);
    pong(d, peer_of(d)->ping_seq);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    answers(d, 5, USUAL_US);
    assert_true(time_until(d, ZMQNET_DOWN) >= ZN_RELAPSE_FACTOR * ZN_SILENT_US);
    pong(d, peer_of(d)->ping_seq);
    answers(d, 1 + ZN_RELAPSE_US / ZN_PING_US, USUAL_US);
    assert_true(time_until(d, ZMQNET_DOWN) <= ZN_PING_US + ZN_SILENT_US);
    drive_close(&d);
}

/* Silent on our link though it asks on its own: the link is made anew, and the next silence gets as
 * much more time as if it had come back on the old one. */
static void one_with_a_new_link_has_more_patience(void **state)
{
    (void)state;
    struct driver *d = two_open();
    drive_hello_from(d, ROUTE_B, PEER, life_of(PEER));
    struct zn_msg ping = drive_msg(ZN_BOUNCE, ZN_PING, "r1");
    ping.life = life_of(PEER);
    next_ping(d);
    drive_for(d, ZN_MS);
    drive_route_msg(d, ROUTE_B, ping);
    time_until(d, ZMQNET_DOWN);
    assert_int_equal(d->resets, 1);
    drive_greet(d, PEER, life_of(PEER));
    d->alive = 0;
    assert_true(time_until(d, ZMQNET_DOWN) >= ZN_RELAPSE_FACTOR * ZN_SILENT_US);
    drive_close(&d);
}

static void ask_with_body(struct driver *d, size_t bytes)
{
    struct zn_blob *body = drive_blob(bytes);
    drive_call(d,
               (struct zn_call_spec){
                   .ask = ZN_ASK_ONE, .target = PEER, .timeout_us = 60 * ZN_SECOND, .body = body});
    zn_blob_drop(&body);
    drive_flush(d);
}

/* A ping behind a large body leaves when that has left. Once it was read, silence is silence again,
 * answered or not. */
static void what_is_on_its_way_has_time(void **state)
{
    (void)state;
    uint64_t most_us = ZN_PING_US + ZN_SILENT_US;
    for (int was_read = 0; was_read < 2; was_read++) {
        struct driver *d = two_open();
        answers(d, 20, USUAL_US);
        ask_with_body(d, 16u << 20);
        if (was_read)
            answers(d, 1, 10 * ZN_SECOND);
        uint64_t us = time_until(d, ZMQNET_DOWN), more_us = was_read ? 0 : 16 * ZN_SECOND;
        assert_in_range(us, ZN_SILENT_US + more_us, (was_read ? 2 : 1) * most_us + more_us);
        drive_close(&d);
    }
}

/* What was asked before it was down is answered when it goes on: that is no measure of its speed. */
static void back_from_silence_is_not_slow(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    uint64_t first = next_ping(d);
    time_until(d, ZMQNET_DOWN);
    drive_for(d, 100 * ZN_MS);
    for (uint64_t seq = first; seq <= peer_of(d)->ping_seq; seq++)
        pong(d, seq);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    answers(d, 2, USUAL_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* ---- our own health ---- */

/* Every tick comes so late, as on a machine with far more to do than it can, and every pong of the
 * peer after so long; 0: none comes. */
static void late_loop_until(struct driver *d, uint64_t us, uint64_t late_us, uint64_t answer_us)
{
    uint64_t end_us = d->now_us + us;
    while (d->now_us < end_us) {
        const struct zn_peer *p = peer_of(d);
        uint64_t tick_us = zn_mesh_next_us(d->m) + late_us;
        uint64_t pong_us = p->pings[p->ping_seq % ZN_PINGS_KEPT].at_us + answer_us;
        bool answers_first = p->pinging && answer_us != 0 && pong_us < tick_us;
        d->now_us = !answers_first ? tick_us : pong_us > d->now_us ? pong_us : d->now_us;
        if (answers_first)
            pong(d, p->ping_seq);
        else
            drive_tick(d);
        drive_flush(d);
    }
}

/* A minute of it: a peer on the same machine answers after 1.8 s, and is not down for that. */
static void an_overloaded_machine_accuses_nobody(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    size_t notes = d->notes;
    for (int i = 0; i < 60; i++) {
        late_loop_until(d, ZN_SECOND, 300 * ZN_MS, 1800 * ZN_MS);
        assert_int_not_equal(peer_of(d)->state, ZMQNET_DOWN);
    }
    assert_true(d->notes - notes <= 20);
    assert_true(d->m->counters[ZN_COUNT_loop_late] > 50);
    answers(d, 60, USUAL_US);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    drive_close(&d);
}

/* Silence is still seen then: it is counted in the time in which we ran. */
static void an_overloaded_machine_sees_who_is_dead(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    uint64_t late_us = 300 * ZN_MS, start_us = d->now_us;
    while (peer_of(d)->state != ZMQNET_DOWN)
        late_loop_until(d, ZN_MS, late_us, 0);
    assert_in_range(d->now_us - start_us, ZN_SILENT_US + late_us,
                    ZN_PING_US + 4 * late_us + ZN_DOWN_PATIENCES * ZN_PATIENCE_MAX_US);
    drive_close(&d);
}

/* Silence is silence while we are busy: with many calls open some timer is due at the start of every
 * turn, so that all of a long turn is time that our own loop was late. */
static void a_busy_loop_sees_who_is_dead(void **state)
{
    (void)state;
    static const struct {
        uint64_t turn_us, down_us;
    } cases[] = {{5 * ZN_MS, 3 * ZN_SECOND},
                 {40 * ZN_MS, 4 * ZN_SECOND},
                 {200 * ZN_MS, 8 * ZN_SECOND},
                 {ZN_SECOND, 30 * ZN_SECOND}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct driver *d = drive_open(2, 0, (struct zn_mesh_config){.calls_max = 1024});
        drive_greet_all(d);
        for (int c = 0; c < 500; c++) {
            drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE,
                                                .target = PEER,
                                                .timeout_us = 300 * ZN_SECOND,
                                                .attempts = 100});
            drive_for(d, 6 * ZN_MS);
        }
        uint64_t start_us = d->now_us;
        while (peer_of(d)->state != ZMQNET_DOWN) {
            d->now_us += cases[i].turn_us;
            assert_true(d->now_us - start_us < cases[i].down_us);
            drive_tick(d);
            drive_flush(d);
        }
        drive_close(&d);
    }
}

/* That our own turns are long is no reason to call somebody slow. */
static void our_own_lateness_is_not_measured(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    size_t notes = d->notes;
    for (int i = 0; i < 100; i++) {
        uint64_t seq = next_ping(d);
        drive_call(d,
                   (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = PEER, .timeout_us = ZN_MS});
        d->now_us += 90 * ZN_MS;
        pong(d, seq);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    }
    assert_int_equal(d->notes, notes);
    drive_close(&d);
}

/* The pongs have waited for us. They are read before the timers run, and say nothing. */
static void our_own_stall_is_not_measured(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    for (int i = 0; i < 5; i++) {
        uint64_t seq = next_ping(d);
        d->now_us += 30 * ZN_SECOND;
        pong(d, seq);
        drive_tick(d);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    }
    assert_int_equal(d->m->counters[ZN_COUNT_loop_late], 5);
    drive_close(&d);
}

/* Whether it is noticed or not: the pong that came meanwhile is read after the timers have run. */
static void a_stall_of_any_length_accuses_nobody(void **state)
{
    (void)state;
    for (uint64_t us = 480 * ZN_MS; us < 1600 * ZN_MS; us += us < 520 * ZN_MS ? 500 : 100 * ZN_MS) {
        struct driver *d = two_open();
        answers(d, 20, USUAL_US);
        uint64_t seq = next_ping(d);
        d->now_us += us;
        drive_tick(d);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
        drive_for(d, 5 * ZN_MS);
        assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
        pong(d, seq);
        drive_for(d, 100 * ZN_MS);
        assert_int_equal(d->m->peers[PEER].ping_seq, seq);
        drive_close(&d);
    }
}

/* A thread that asks for the status gets its turn before the timers do. */
static void a_look_at_the_status_forgives_nothing_less(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    next_ping(d);
    uint64_t opened_us = d->now_us - zn_mesh_status(d->m, d->now_us)->uptime_us;
    d->now_us += 3 * ZN_SECOND;
    assert_int_equal(zn_mesh_status(d->m, d->now_us)->uptime_us, d->now_us - opened_us);
    drive_tick(d);
    assert_state(d, ZMQNET_UP, ZN_WHY_NONE);
    assert_int_equal(d->m->counters[ZN_COUNT_loop_late], 1);
    drive_close(&d);
}

/* ---- what it means for requests ---- */

static void make(struct driver *d, enum zmqnet_state state)
{
    answers(d, 20, USUAL_US);
    if (state == ZMQNET_SLOW)
        answers(d, 8, 200 * ZN_MS);
    time_until(d, state);
}

/* Sent to and counted as if it were up; only one that is down is not. */
static void only_down_changes_what_becomes_of_a_request(void **state)
{
    (void)state;
    static const enum zmqnet_state states[] = {ZMQNET_UP, ZMQNET_SLOW, ZMQNET_SUSPECT, ZMQNET_DOWN};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct driver *d = two_open();
        make(d, states[i]);
        bool up = states[i] != ZMQNET_DOWN;
        drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ALL});
        drive_answer(d, 0, NULL);
        drive_flush(d);
        assert_int_equal(d->requests_to[PEER], up ? 1 : 0);
        assert_int_equal(d->dones, up ? 0 : 1);
        if (up)
            drive_answer_from(d, PEER, 0, NULL);
        assert_int_equal(d->done.have, up ? 2 : 1);
        assert_int_equal(d->done.status, up ? 0 : ZMQNET_ENOQUORUM);
        drive_close(&d);
    }
}

/* A quorum that is out of reach: who is suspect may still answer, and is waited for, a moment. */
static void the_last_look_counts_who_is_suspect(void **state)
{
    (void)state;
    struct driver *d = mesh_open(3, (struct zn_mesh_config){0});
    drive_link(d, ZN_EV_LINK_FAILED, 2);
    make(d, ZMQNET_SUSPECT);
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ALL});
    drive_answer(d, 0, NULL);
    drive_flush(d);
    assert_int_equal(d->dones, 0);
    drive_for(d, ZN_LAST_LOOK_US);
    assert_int_equal(d->dones, 1);
    assert_int_equal(d->done.status, ZMQNET_ENOQUORUM);
    drive_close(&d);
}

/* A client that may choose takes another one; if there is none, it is asked all the same. */
static void a_client_takes_one_that_is_up(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct driver *d = drive_open(3, -1, (struct zn_mesh_config){.calls_max = 8, .via = -1});
        drive_greet(d, PEER, life_of(PEER));
        if (others)
            drive_greet(d, 2, life_of(2));
        d->alive &= ~zn_bit(PEER);
        make(d, ZMQNET_SUSPECT);
        for (int i = 0; i < 3; i++)
            drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ALL});
        drive_flush(d);
        assert_int_equal(d->requests_to[others ? 2 : PEER], 3);
        drive_close(&d);
    }
}

/* ---- what is pinged ---- */

/* It answers requests all the time, which says nothing about how fast its loop is. */
static void a_busy_peer_is_measured_too(void **state)
{
    (void)state;
    for (int lock_step = 0; lock_step < 2; lock_step++) {
        struct driver *d = mesh_open(2, (struct zn_mesh_config){.lock_step = lock_step});
        d->alive = zn_bit(PEER);
        size_t pings = d->sent[ZN_PING];
        drive_ask(d, PEER);
        drive_flush(d);
        for (int i = 0; i < 100; i++) {
            drive_for(d, 100 * ZN_MS);
            drive_answer_from(d, PEER, 0, NULL);
            drive_ask(d, PEER);
            drive_flush(d);
        }
        pings = d->sent[ZN_PING] - pings;
        assert_in_range(pings, lock_step ? 0 : 19, lock_step ? 0 : 21);
        drive_close(&d);
    }
}

/* ---- causes ---- */

static void the_status_says_why(void **state)
{
    (void)state;
    struct driver *d = two_open();
    const struct zmqnet_peer_status *p = &zn_mesh_status(d->m, d->now_us)->peers[PEER];
    assert_string_equal(p->cause, "");
    make(d, ZMQNET_SLOW);
    p = &zn_mesh_status(d->m, d->now_us)->peers[PEER];
    assert_int_equal(p->state, ZMQNET_SLOW);
    assert_string_equal(p->cause, "answers late");
    assert_true(p->rtt_us > ZN_SLOW_MIN_US);
    time_until(d, ZMQNET_SUSPECT);
    p = &zn_mesh_status(d->m, d->now_us)->peers[PEER];
    assert_string_equal(p->cause, "silent");
    assert_true(p->since_us < ZN_MS);
    drive_link(d, ZN_EV_LINK_LOST, PEER);
    assert_state(d, ZMQNET_CONNECTING, ZN_WHY_RESET);
    drive_link(d, ZN_EV_LINK_FAILED, PEER);
    assert_state(d, ZMQNET_DOWN, ZN_WHY_REFUSED);
    drive_greet(d, PEER, life_of(PEER) + 100);
    assert_state(d, ZMQNET_UP, ZN_WHY_RESTARTED);
    assert_string_equal(zn_mesh_status(d->m, d->now_us)->peers[0].cause, "");
    drive_close(&d);
}

/* A new life has a history of its own to make good: the old one's silence is not held against it. */
static void a_new_life_has_the_least_patience(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    time_until(d, ZMQNET_DOWN);
    pong(d, peer_of(d)->ping_seq);
    drive_link(d, ZN_EV_LINK_LOST, PEER);
    drive_greet(d, PEER, life_of(PEER) + 100);
    d->alive = 0;
    answers(d, 3, USUAL_US);
    assert_true(time_until(d, ZMQNET_DOWN) <= ZN_PING_US + ZN_SILENT_US);
    drive_close(&d);
}

/* The pong of another life, or one that was never asked for, proves nothing. */
static void stray_pongs_change_nothing(void **state)
{
    (void)state;
    struct driver *d = two_open();
    answers(d, 20, USUAL_US);
    struct zn_rtt before = peer_of(d)->rtt;
    uint64_t seq = peer_of(d)->ping_seq;
    pong(d, seq);
    next_ping(d);
    pong(d, 0);
    pong(d, seq + 2);
    pong(d, UINT64_MAX);
    pong(d, seq - ZN_PINGS_KEPT);
    assert_memory_equal(&before, &peer_of(d)->rtt, sizeof before);
    assert_true(peer_of(d)->pinging);
    drive_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_usual_keep_it_up),
        cmocka_unit_test(late_answers_make_it_slow_and_never_down),
        cmocka_unit_test(late_by_little_is_not_slow),
        cmocka_unit_test(far_away_is_not_slow),
        cmocka_unit_test(slow_for_long_is_its_history),
        cmocka_unit_test(between_the_limits_it_stays_what_it_is),
        cmocka_unit_test(up_again_takes_half_of_the_limit),
        cmocka_unit_test(silence_makes_it_suspect_and_then_down),
        cmocka_unit_test(a_ping_that_does_not_leave_puts_nothing_off),
        cmocka_unit_test(a_ping_that_left_late_is_not_measured),
        cmocka_unit_test(worst_case_until_down),
        cmocka_unit_test(a_lost_ping_is_not_down),
        cmocka_unit_test(one_that_was_suspect_is_up_by_its_answers_only),
        cmocka_unit_test(patience_follows_the_answers),
        cmocka_unit_test(patience_has_bounds),
        cmocka_unit_test(a_single_late_answer_weighs_little),
        cmocka_unit_test(one_that_came_back_has_more_patience),
        cmocka_unit_test(one_with_a_new_link_has_more_patience),
        cmocka_unit_test(what_is_on_its_way_has_time),
        cmocka_unit_test(back_from_silence_is_not_slow),
        cmocka_unit_test(an_overloaded_machine_accuses_nobody),
        cmocka_unit_test(an_overloaded_machine_sees_who_is_dead),
        cmocka_unit_test(a_busy_loop_sees_who_is_dead),
        cmocka_unit_test(our_own_lateness_is_not_measured),
        cmocka_unit_test(our_own_stall_is_not_measured),
        cmocka_unit_test(a_stall_of_any_length_accuses_nobody),
        cmocka_unit_test(a_look_at_the_status_forgives_nothing_less),
        cmocka_unit_test(only_down_changes_what_becomes_of_a_request),
        cmocka_unit_test(the_last_look_counts_who_is_suspect),
        cmocka_unit_test(a_client_takes_one_that_is_up),
        cmocka_unit_test(a_busy_peer_is_measured_too),
        cmocka_unit_test(the_status_says_why),
        cmocka_unit_test(a_new_life_has_the_least_patience),
        cmocka_unit_test(stray_pongs_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
