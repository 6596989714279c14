/* SPDX-License-Identifier: MIT */
/*
 * Holds what `send` prints: the lines for people, the object for programs with its order of fields,
 * and the problem and exit code of each status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/receipt.h"

static const char peers_file[] =
    "{\"replicas\":["
    "{\"name\":\"alpha\",\"address\":\"localhost:3264\",\"pid\":1},"
    "{\"name\":\"bravo\",\"address\":\"localhost:3265\",\"pid\":2},"
    "{\"name\":\"charlie\",\"address\":\"localhost:3266\",\"pid\":3}]}";

static const struct zmqnet_row rows[] = {
    {"alpha", ZMQNET_ACKED, 812, 0, "", NULL, 0},
    {"bravo", ZMQNET_SELF, 3, 0, "", NULL, 0},
    {"charlie", ZMQNET_NEVER_SENT, 0, 0, "connection refused", NULL, 0},
};

static zmqnet_receipt receipt(void)
{
    return (zmqnet_receipt){
        .id = {0x8f3c21d09ab4e671, 1},
        .via = "bravo",
        .need = 2,
        .have = 2,
        .of = 3,
        .elapsed_us = 1904,
        .attempts = 1,
        .rows_n = 3,
        .rows = rows,
        .why = "",
    };
}

static int open_peers(void **state)
{
    zmqnet_peers *peers = NULL;
    int rc = zmqnet_peers_parse(peers_file, sizeof peers_file - 1, &peers, NULL, 0, NULL);
    *state = peers;
    return rc;
}

static int close_peers(void **state)
{
    zmqnet_peers *peers = *state;
    zmqnet_peers_free(&peers);
    return 0;
}

static void gives(struct zn_text *text, const char *want)
{
    assert_string_equal(text->bytes, want);
    zn_text_free(text);
}

static void success(void **state)
{
    struct zn_text t = {0};
    struct zn_problem problem;
    zmqnet_receipt r = receipt();
    assert_int_equal(zn_receipt_problem(&r, "bravo", *state, &problem), 0);
    zn_receipt_text(&r, "bravo", *state, &t);
    gives(&t, "bravo  8f3c21d09ab4e671-1  quorum 2/3 in 1.9 ms\n"
              "  alpha    acked       0.8 ms\n"
              "  charlie  never sent  connection refused, localhost:3266\n");
    zn_receipt_json(&r, "bravo", &problem, &t);
    gives(&t,
          "{\"v\":1,\"ok\":true,\"id\":\"8f3c21d09ab4e671-1\",\"via\":\"bravo\","
          "\"quorum\":{\"need\":2,\"have\":2,\"of\":3},\"elapsed_us\":1904,\"attempts\":1,"
          "\"peers\":[{\"name\":\"alpha\",\"outcome\":\"acked\",\"rtt_us\":812},"
          "{\"name\":\"bravo\",\"outcome\":\"self\"},"
          "{\"name\":\"charlie\",\"outcome\":\"never_sent\",\"why\":\"connection refused\"}]}\n");
}

static void replies(void **state)
{
    const struct zmqnet_row refused[] = {
        {"charlie", ZMQNET_REFUSED, 500, 42, "", "not\ntoday", 9},
        {"alpha", ZMQNET_ACKED, 700, 0, "", "\xff\x00", 2},
        {"bravo", ZMQNET_UNACKED, 0, 0, "queue full", NULL, 0},
    };
    struct zn_text t = {0};
    struct zn_problem problem;
    zmqnet_receipt r = receipt();
    r.status = ZMQNET_EREFUSED;
    r.rows = refused;
    assert_int_equal(zn_receipt_problem(&r, "charlie", *state, &problem), ZN_EXIT_REFUSED);
    assert_string_equal(problem.message, "charlie refused with code 42: not\\ntoday");
    zn_receipt_text(&r, "charlie", *state, &t);
    gives(&t, "charlie  8f3c21d09ab4e671-1  quorum 2/3 in 1.9 ms\n"
              "  charlie  refused  0.5 ms  code 42  not\\ntoday\n"
              "  alpha    acked    0.7 ms  \\xff\\x00\n"
              "  bravo    unknown  queue full\n");
    zn_receipt_json(&r, "charlie", &problem, &t);
    assert_non_null(strstr(t.bytes, "\"outcome\":\"refused\",\"rtt_us\":500,\"code\":42,"
                                    "\"reply\":\"not\\ntoday\"}"));
    assert_non_null(strstr(t.bytes, "\"rtt_us\":700,\"reply_base64\":\"/wA=\"}"));
    assert_non_null(strstr(t.bytes, "\"outcome\":\"unknown\",\"why\":\"queue full\"}"));
    assert_non_null(strstr(t.bytes, "],\"error\":{\"code\":\"refused\",\"exit\":8,\"message\":"));
    zn_text_free(&t);
}

static void one_row_is_always_shown(void **state)
{
    struct zn_text t = {0};
    zmqnet_receipt r = receipt();
    r.rows = &rows[1];
    r.rows_n = 1;
    r.have = r.need = r.of = 1;
    zn_receipt_text(&r, "bravo", *state, &t);
    gives(&t, "bravo  8f3c21d09ab4e671-1  quorum 1/1 in 1.9 ms\n"
              "  bravo  self  0.0 ms\n");
}

static void exit_codes(void **state)
{
    static const struct {
        int status, exit;
    } codes[] = {
        {ZMQNET_ENOQUORUM, 4}, {ZMQNET_EREFUSED, 8}, {ZMQNET_EUNKNOWN, 5}, {ZMQNET_ENEVERSENT, 6},
        {ZMQNET_ESECURITY, 7}, {ZMQNET_EFULL, 6},    {ZMQNET_ECLOSED, 1},  {ZMQNET_EPROTO, 1},
        {ZMQNET_ETOOBIG, 2},   {ZMQNET_ENOPEER, 2},
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct zn_problem problem;
        zmqnet_receipt r = receipt();
        r.status = codes[i].status;
        assert_int_equal(zn_receipt_problem(&r, "bravo", *state, &problem), codes[i].exit);
        assert_int_equal(zn_problem_exit(&problem), codes[i].exit);
    }
}

static void no_quorum_names_who_is_missing(void **state)
{
    struct zn_problem problem;
    zmqnet_receipt r = receipt();
    r.status = ZMQNET_ENOQUORUM;
    r.need = 3;
    zn_receipt_problem(&r, "bravo", *state, &problem);
    assert_non_null(strstr(problem.message, "2/3"));
    assert_non_null(
        strstr(problem.message, "charlie never sent (connection refused, localhost:3266)"));
    assert_non_null(strstr(problem.hint, "--quorum majority"));
}

/* A request to one replica: that one is named, and what helps against its cause. */
static void request_names_the_failing_replica(void **state)
{
    static const struct {
        const char *why, *hint;
    } causes[] = {
        {"connection refused", "start it with zmqnet serve -n charlie"},
        {"not connected yet", "nothing answers at localhost:3266"},
        {"silent", "kill -CONT"},
        {"its peers file does not have us, or ours not it", "the same peers file"},
        {"no ZeroMQ handshake", "kill -CONT"},
        {"the host cannot be resolved", "check the address in the peers file"},
    };
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        const struct zmqnet_row row = {"charlie", ZMQNET_NEVER_SENT, 0, 0, causes[i].why, NULL, 0};
        struct zn_problem problem;
        zmqnet_receipt r = receipt();
        r.status = ZMQNET_ENEVERSENT;
        r.why = "never sent";
        r.rows = &row;
        r.rows_n = 1;
        zn_receipt_problem(&r, "bravo", *state, &problem);
        assert_non_null(strstr(problem.message, "bravo: charlie never sent ("));
        assert_non_null(strstr(problem.message, causes[i].why));
        assert_non_null(strstr(problem.hint, causes[i].hint));
    }
}

static void long_texts_are_cut_between_characters(void **state)
{
    struct zn_problem problem;
    char text[6001];
    (void)state;
    for (size_t shift = 0; shift < 2; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 2 < sizeof text; i += 2)
            memcpy(text + i, "\xc3\xbc", 3);
        zn_problem_set(&problem, ZN_PROBLEM_FAILED, text, "%s", text);
        size_t message = strlen(problem.message), hint = strlen(problem.hint);
        assert_in_range(message, sizeof problem.message - 2, sizeof problem.message - 1);
        assert_int_equal(message % 2, shift);
        assert_int_equal(hint % 2, shift);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success),
        cmocka_unit_test(replies),
        cmocka_unit_test(one_row_is_always_shown),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(no_quorum_names_who_is_missing),
        cmocka_unit_test(request_names_the_failing_replica),
        cmocka_unit_test(long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, open_peers, close_peers);
}
