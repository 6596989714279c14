/* SPDX-License-Identifier: MIT */
/*
 * Holds what `bench` computes: the rank test against values known by counting, when acks came, what
 * counts as failed, and how a line of a results file is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/rand.h"
#include "cli/bench_lines.h"
#include "cli/bench_rank.h"
#include "cli/bench_result.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- the rank test ------------------------------------------------------------------------ */

static void near(double got, double expected, double within)
{
    if (!(fabs(got - expected) <= within))
        fail_msg("%g is not %g", got, expected);
}

/* All of one sample below the other: 2 of the ways to choose. */
static void separate_samples(void **state)
{
    static const double a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, c[] = {9, 10, 11, INFINITY};
    (void)state;
    near(zn_rank_test(a, 4, b, 4), 2.0 / 70, 1e-12);
    near(zn_rank_test(b, 4, a, 4), 2.0 / 70, 1e-12);
    near(zn_rank_test(a, 3, b, 3), 2.0 / 20, 1e-12);
    near(zn_rank_test(a, 4, c, 4), 2.0 / 70, 1e-12);
    near(zn_rank_smallest(4, 4), 2.0 / 70, 1e-12);
    near(zn_rank_smallest(3, 3), 0.1, 1e-12);
    near(zn_rank_smallest(1, 1), 1, 1e-12);
    near(zn_rank_smallest(0, 5), 1, 1e-12);
}

/* Of the 10 ways to choose 2 of 5 ranks the sums 3 4 5 5 6 6 7 7 8 9 come out. */
static void counted_by_hand(void **state)
{
    static const double low[] = {1, 2}, next[] = {1, 3}, middle[] = {2, 4};
    static const double with_low[] = {3, 4, 5}, with_next[] = {2, 4, 5}, with_middle[] = {1, 3, 5};
    (void)state;
    near(zn_rank_test(low, 2, with_low, 3), 0.2, 1e-12);
    near(zn_rank_test(next, 2, with_next, 3), 0.4, 1e-12);
    near(zn_rank_test(middle, 2, with_middle, 3), 1, 1e-12);
}

/* Ranks 1, 2.5, 2.5, 4: of the 6 pairs the sums are 3.5 3.5 5 5 6.5 6.5. */
static void ties_are_counted(void **state)
{
    static const double a[] = {1, 2}, b[] = {2, 3}, same[] = {7, 7, 7, 7, 7};
    (void)state;
    near(zn_rank_test(a, 2, b, 2), 4.0 / 6, 1e-12);
    near(zn_rank_test(same, 5, same, 5), 1, 1e-12);
    near(zn_rank_test(a, 2, NULL, 0), 1, 0);
}

/* Above the limit; counting all ways, which a larger table could, gives 0.018409. */
static void large_samples_are_approximated(void **state)
{
    double a[21], b[20];
    (void)state;
    assert_true(COUNT(a) + COUNT(b) > ZN_RANK_EXACT_MAX);
    for (int i = 0; i < 21; i++)
        a[i] = i;
    for (int i = 0; i < 20; i++)
        b[i] = i + 5.5;
    near(zn_rank_test(a, 21, b, 20), 0.018409, 0.0015);
    near(zn_rank_test(b, 20, a, 21), 0.018409, 0.0015);
    for (int i = 0; i < 20; i++)
        a[i] = b[i] = 7;
    a[20] = 7;
    near(zn_rank_test(a, 21, b, 20), 1, 0);
}

/* Of samples of one distribution one in twenty is called different at 5 %, not more. */
static void false_alarms_are_rare(void **state)
{
    enum { TRIALS = 2000 };
    struct zn_rand r;
    int alarms = 0;
    (void)state;
    zn_rand_seed(&r, 5);
    for (int t = 0; t < TRIALS; t++) {
        double a[6], b[6];
        for (int i = 0; i < 6; i++) {
            a[i] = (double)zn_rand_below(&r, 1000);
            b[i] = (double)zn_rand_below(&r, 1000);
        }
        alarms += zn_rank_test(a, 6, b, 6) < 0.05;
    }
    assert_in_range(alarms, TRIALS / 50, TRIALS / 17);
}

static void medians(void **state)
{
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, endless[] = {INFINITY, INFINITY};
    (void)state;
    near(zn_rank_median(odd, 3), 2, 0);
    near(zn_rank_median(even, 4), 2.5, 0);
    assert_true(isinf(zn_rank_median(endless, 2)));
    near(zn_rank_median(NULL, 0), 0, 0);
}

/* ---- receipts ----------------------------------------------------------------------------- */

static zmqnet_receipt receipt_of(const struct zmqnet_row *rows, size_t n, int status)
{
    return (zmqnet_receipt){.status = status,
                            .via = "a",
                            .need = 2,
                            .of = (uint32_t)n,
                            .rows = rows,
                            .rows_n = n,
                            .why = ""};
}

static void acks_of_all(void **state)
{
    static const struct zmqnet_row rows[] = {
        {.name = "a", .outcome = ZMQNET_ACKED, .rtt_us = 500},
        {.name = "b", .outcome = ZMQNET_SELF, .rtt_us = 70},
        {.name = "c", .outcome = ZMQNET_ACKED, .rtt_us = 200},
        {.name = "d", .outcome = ZMQNET_ACKED, .rtt_us = 900},
        {.name = "e", .outcome = ZMQNET_ACKED, .rtt_us = 300},
    };
    (void)state;
    zmqnet_receipt receipt = receipt_of(rows, COUNT(rows), 0);
    struct zn_bench_acks acks = zn_bench_acks(&receipt);
    assert_int_equal(acks.first_us, 200);
    assert_int_equal(acks.majority_us, 300);
    assert_int_equal(acks.all_us, 900);
}

static void acks_of_a_majority(void **state)
{
    static const struct zmqnet_row rows[] = {
        {.name = "a", .outcome = ZMQNET_SELF},
        {.name = "b", .outcome = ZMQNET_UNACKED},
        {.name = "c", .outcome = ZMQNET_ACKED, .rtt_us = 200},
    };
    (void)state;
    zmqnet_receipt receipt = receipt_of(rows, COUNT(rows), 0);
    struct zn_bench_acks acks = zn_bench_acks(&receipt);
    assert_int_equal(acks.first_us, 200);
    assert_int_equal(acks.majority_us, 200);
    assert_true(acks.all_us == ZN_BENCH_NONE);
}

static void acks_of_one_alone(void **state)
{
    static const struct zmqnet_row rows[] = {{.name = "a", .outcome = ZMQNET_SELF, .rtt_us = 9}};
    (void)state;
    zmqnet_receipt receipt = receipt_of(rows, 1, 0);
    struct zn_bench_acks acks = zn_bench_acks(&receipt);
    assert_true(acks.first_us == ZN_BENCH_NONE);
    assert_int_equal(acks.majority_us, 0);
    assert_int_equal(acks.all_us, 0);
}

static void failed_is_failed(void **state)
{
    static struct zn_bench_result result;
    static const struct zmqnet_row rows[] = {
        {.name = "a", .outcome = ZMQNET_SELF, .why = ""},
        {.name = "b", .outcome = ZMQNET_ACKED, .rtt_us = 5, .why = ""},
        {.name = "c", .outcome = ZMQNET_NEVER_SENT, .why = "connection refused"},
    };
    static const char text[] = "{\"replicas\":[{\"name\":\"a\",\"address\":\"127.0.0.1:3000\"}]}";
    zmqnet_peers *peers = NULL;
    (void)state;
    assert_int_equal(zmqnet_peers_parse(text, strlen(text), &peers, NULL, 0, NULL), 0);
    const struct zn_bench_plan plan = {.peers = peers, .targets_n = 1};
    zmqnet_receipt bad = receipt_of(rows, 3, ZMQNET_ENOQUORUM);
    zmqnet_receipt good = receipt_of(rows, 3, 0);
    zn_bench_record(&result, &plan, "a", &bad, 1000);
    zn_bench_record(&result, &plan, "a", &bad, 1000);
    assert_int_equal(zn_bench_exit(&result), ZN_EXIT_NO_QUORUM);
    assert_int_equal(result.total.latency_us.count, 0);
    assert_int_equal(result.first_ack_us.count, 0);
    zn_bench_record_not_taken(&result, "a", ZMQNET_EFULL);
    assert_int_equal(zn_bench_exit(&result), ZN_EXIT_NEVER_SENT);
    assert_non_null(strstr(result.worst.message, "--inflight"));
    zn_bench_record(&result, &plan, "a", &good, 1000);
    assert_int_equal(zn_bench_exit(&result), 0);
    assert_int_equal(result.total.ok, 1);
    assert_int_equal(result.total.failed, 3);
    assert_int_equal(result.failed_as[ZN_PROBLEM_NO_QUORUM], 2);
    assert_int_equal(result.failed_as[ZN_PROBLEM_FULL], 1);
    assert_int_equal(result.total.latency_us.max, 1000);
    assert_int_equal(result.all_us.count, 0);
    zmqnet_peers_free(&peers);
}

/* ---- lines of a results file -------------------------------------------------------------- */

#define GOOD                                                                                       \
    "{\"name\":\"alpha,bravo\",\"n_clients\":27,\"messages\":5,\"throughput (msg/sec)\":1.5e2,"    \
    "\"size\":32,\"inflight\":1,\"p50_us\":210,\"p99_us\":null,\"first_ack_us\":{\"p50\":[1,{}]}"

static void a_good_line(void **state)
{
    struct zn_bench_line line;
    struct zn_problem problem;
    (void)state;
    assert_int_equal(zn_bench_line_parse(GOOD "}", &line, &problem), 0);
    assert_string_equal(line.name, "alpha,bravo");
    assert_string_equal(line.pattern, "");
    near(line.clients, 27, 0);
    near(line.throughput, 150, 0);
    near(line.latency_us[0], 210, 0);
    assert_true(isinf(line.latency_us[1]));
    near(line.rate, 0, 0);
    assert_int_equal(zn_bench_line_parse(" " GOOD " , \"rate\" : null, \"quorum\":\"all\" } \r",
                                         &line, &problem),
                     0);
    assert_string_equal(line.quorum, "all");
}

static void bad_lines(void **state)
{
    static const struct {
        const char *text, *said;
    } lines[] = {
        {"", "no line of JSON"},
        {"{}", "no line of JSON"},
        {"[1]", "no line of JSON"},
        {GOOD, "no line of JSON"},
        {GOOD "}}", "no line of JSON"},
        {GOOD ",}", "no line of JSON"},
        {GOOD ",\"x\":}", "no line of JSON"},
        {GOOD ",\"x\":nul}", "no line of JSON"},
        {GOOD ",\"x\":\"open}", "no line of JSON"},
        {GOOD ",\"x\":\"\\", "no line of JSON"},
        {GOOD ",\"x\":[1,2}}", "no line of JSON"},
        {GOOD ",\"x\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", "no line of JSON"},
        {GOOD ",\"size\":\"32\"}", "\"size\" is not a number"},
        {GOOD ",\"size\":-1}", "\"size\" is not a number"},
        {GOOD ",\"size\":null}", "\"size\" is not a number"},
        {GOOD ",\"size\":1e999}", "\"size\" is not a number"},
        {GOOD ",\"size\":0x10}", "\"size\" is not a number"},
        {GOOD ",\"pattern\":3}", "\"pattern\" is not a text"},
        {"{\"name\":\"alpha\"}", "\"n_clients\" is missing"},
    };
    struct zn_bench_line line;
    struct zn_problem problem;
    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        if (zn_bench_line_parse(lines[i].text, &line, &problem) != ZN_EXIT_USAGE)
            fail_msg("taken: %s", lines[i].text);
        if (strstr(problem.message, lines[i].said) == NULL)
            fail_msg("%s: said \"%s\"", lines[i].text, problem.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(separate_samples),      cmocka_unit_test(counted_by_hand),
        cmocka_unit_test(ties_are_counted),      cmocka_unit_test(large_samples_are_approximated),
        cmocka_unit_test(false_alarms_are_rare), cmocka_unit_test(medians),
        cmocka_unit_test(acks_of_all),           cmocka_unit_test(acks_of_a_majority),
        cmocka_unit_test(acks_of_one_alone),     cmocka_unit_test(failed_is_failed),
        cmocka_unit_test(a_good_line),           cmocka_unit_test(bad_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
