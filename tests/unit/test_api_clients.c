/* SPDX-License-Identifier: MIT */
/*
 * What is seen through the public interface: by a client that is no replica, and in status, log and
 * events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api_driver.h"

/* ---- clients ---- */

static void client_asks(const char *via)
{
    zmqnet_receipt *r = NULL;
    client_start(via);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, NULL, &r), 0);
    assert_int_equal(r->rows_n, SEATS);
    assert_int_equal(r->have, SEATS);
    if (via)
        assert_string_equal(r->via, via);
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(outcome_of(r, i),
                         strcmp(r->via, names[i]) == 0 ? ZMQNET_SELF : ZMQNET_ACKED);
        assert_reply(&r->rows[i], names[i]);
    }
    zmqnet_receipt_free(&r);
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(zmqnet_request(outsider.node, names[i], "x", 1, NULL, &r), 0);
        assert_int_equal(r->rows_n, 1);
        assert_reply(&r->rows[0], names[i]);
        zmqnet_receipt_free(&r);
    }
    assert_int_equal(zmqnet_request(outsider.node, NULL, "x", 1, NULL, &r), 0);
    assert_int_equal(r->rows_n, 1);
    assert_string_equal(r->rows[0].name, r->via);
    zmqnet_receipt_free(&r);
    zmqnet_close(&outsider.node);
}

static void test_client(void **state)
{
    (void)state;
    on_message_all(answer_name);
    client_asks(NULL);
    client_asks("charlie");
}

static void test_client_progress(void **state)
{
    (void)state;
    const struct zmqnet_call call = {.progress = see_progress, .progress_arg = &progress};
    client_start(NULL);
    assert_int_equal(zmqnet_broadcast_async(outsider.node, "x", 1, &call, progress_done, &progress),
                     0);
    AWAIT(progress.done == 1);
    zmqnet_close(&outsider.node);
    assert_int_equal(progress.n, 0);
}

static void test_client_large_receipt(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    const struct zmqnet_call patient = {.timeout_ms = 15000, .attempts = 1};
    client_start("alpha");
    on_message_all(answer_large);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, &patient, &r), 0);
    zmqnet_receipt_free(&r);
}

static void test_client_without_replicas(void **state)
{
    (void)state;
    const struct zmqnet_call hasty = {.timeout_ms = 50};
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    const char *why = NULL;
    client_start(NULL);
    assert_int_equal(zmqnet_broadcast(outsider.node, "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    assert_int_equal(r->rows_n, SEATS);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(r->rows[i].outcome, ZMQNET_NEVER_SENT);
    assert_string_equal(r->via, "");
    assert_true(strlen(r->why) > 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(outsider.node, "bravo", "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(outsider.node, NULL, "x", 1, &hasty, &r), ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_status_get(outsider.node, "bravo", 50, &s, &why), ZMQNET_ENEVERSENT);
    assert_null(s);
    assert_true(why && strlen(why) > 0);
}

/* ---- status, log, events ---- */

static void test_status(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    zmqnet_status *s = NULL;
    const char *why = NULL;
    char endpoint[64];
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_status_get(seats[ALPHA].node, NULL, 0, &s, &why), 0);
    assert_string_equal(why, "");
    assert_string_equal(s->name, "alpha");
    assert_string_equal(s->pattern, "router");
    assert_true(s->life != 0 && s->uptime_us > 0);
    assert_int_equal(s->peers_n, SEATS);
    assert_int_equal(s->peers[ALPHA].state, ZMQNET_LOCAL);
    for (int i = BRAVO; i <= CHARLIE; i++) {
        const struct zmqnet_peer_status *p = &s->peers[i];
        snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", ports[i]);
        assert_string_equal(p->name, names[i]);
        assert_string_equal(p->endpoint, endpoint);
        assert_int_equal(p->state, ZMQNET_UP);
        assert_string_equal(p->cause, "");
        assert_true(p->since_us <= s->uptime_us);
        assert_int_equal(p->sent, 1);
        assert_int_equal(p->acked, 1);
        assert_int_equal(p->queue_messages + p->queue_bytes + p->inflight, 0);
        assert_int_equal(p->refused + p->unknown + p->never_sent + p->retries + p->late, 0);
        assert_false(p->config_differs);
    }
    assert_true(s->counters_n > 10);
    zmqnet_status_free(&s);
    assert_null(s);
}

static void test_status_of_a_replica(void **state)
{
    (void)state;
    zmqnet_status *s = NULL;
    client_start("alpha");
    for (int i = 0; i < SEATS; i++) {
        assert_int_equal(zmqnet_status_get(outsider.node, names[i], 3000, &s, NULL), 0);
        assert_string_equal(s->name, names[i]);
        assert_int_equal(s->peers_n, SEATS);
        assert_int_equal(s->peers[i].state, ZMQNET_LOCAL);
        assert_int_equal(s->peers[(i + 1) % SEATS].state, ZMQNET_UP);
        assert_true(s->counters_n > 10);
        zmqnet_status_free(&s);
    }
    assert_int_equal(zmqnet_status_get(outsider.node, NULL, 0, &s, NULL), 0);
    assert_string_equal(s->name, "");
    zmqnet_status_free(&s);
    assert_int_equal(zmqnet_status_get(outsider.node, "nobody", 0, &s, NULL), ZMQNET_ENOPEER);
}

static void test_events(void **state)
{
    (void)state;
    zmqnet_close(&seats[CHARLIE].node);
    AWAIT(sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN) && sees(&seats[BRAVO], CHARLIE, ZMQNET_DOWN));
    assert_string_equal(seats[ALPHA].causes[CHARLIE], "ended");
    AWAIT(strstr(seats[ALPHA].log, "peer.up peer=charlie\n") &&
          strstr(seats[ALPHA].log, "peer.down peer=charlie cause=\"ended\"\n"));
    seat_start(CHARLIE);
    AWAIT(all_up());
    AWAIT(strstr(seats[ALPHA].log, "peer.restarted peer=charlie"));
}

static void test_event_of_a_peer_that_never_was(void **state)
{
    (void)state;
    seat_start(ALPHA);
    seat_start(BRAVO);
    AWAIT(sees(&seats[ALPHA], BRAVO, ZMQNET_UP) && sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN));
    assert_string_equal(seats[ALPHA].causes[CHARLIE], "connection refused");
    assert_non_null(
        strstr(seats[ALPHA].log, "peer.down peer=charlie cause=\"connection refused\"\n"));
}

static void test_down_peer_is_never_sent_to(void **state)
{
    (void)state;
    zmqnet_receipt *r = NULL;
    zmqnet_close(&seats[CHARLIE].node);
    AWAIT(sees(&seats[ALPHA], CHARLIE, ZMQNET_DOWN));
    uint64_t start_ms = now_ms();
    assert_int_equal(zmqnet_broadcast(seats[ALPHA].node, "x", 1, NULL, &r), ZMQNET_ENOQUORUM);
    assert_true(now_ms() - start_ms < 1000);
    assert_int_equal(outcome_of(r, CHARLIE), ZMQNET_NEVER_SENT);
    assert_true(strlen(r->rows[CHARLIE].why) > 0);
    zmqnet_receipt_free(&r);
    assert_int_equal(zmqnet_request(seats[ALPHA].node, "charlie", "x", 1, NULL, &r),
                     ZMQNET_ENEVERSENT);
    zmqnet_receipt_free(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ALONE(test_client_without_replicas),
        ALONE(test_event_of_a_peer_that_never_was),
        MESH(test_client),
        MESH(test_client_progress),
        MESH(test_client_large_receipt),
        MESH(test_status),
        MESH(test_status_of_a_replica),
        MESH(test_events),
        MESH(test_down_peer_is_never_sent_to),
    };
    if (argc > 1) /* one test, or those of a pattern */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin_tests, NULL);
}
