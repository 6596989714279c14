/* SPDX-License-Identifier: MIT */
/*
 * What a run of `bench` has measured: counts and histograms. Pure; one thread.
 *
 * Failed is failed: a message is ok only if its receipt says that the asked quorum was reached, and
 * only then do its times count. Everything else is counted under the code that `send` would have
 * ended with; the first of each kind is kept as a sentence if it is the worst so far.
 */
#include "cli/bench_result.h"

#include "cli/receipt.h"

static bool has_acked(const struct zmqnet_row *row)
{
    return row->outcome == ZMQNET_SELF || row->outcome == ZMQNET_ACKED;
}

/* The times of all acks, rising; ourselves at 0. Returns how many. */
static size_t sorted_acks(const zmqnet_receipt *receipt, uint64_t times_us[ZN_REPLICAS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < receipt->rows_n && n < ZN_REPLICAS_MAX; i++) {
        const struct zmqnet_row *row = &receipt->rows[i];
        if (!has_acked(row))
            continue;
        uint64_t us = row->outcome == ZMQNET_SELF ? 0 : row->rtt_us;
        size_t at = n++;
        for (; at > 0 && times_us[at - 1] > us; at--)
            times_us[at] = times_us[at - 1];
        times_us[at] = us;
    }
    return n;
}

struct zn_bench_acks zn_bench_acks(const zmqnet_receipt *receipt)
{
    struct zn_bench_acks acks = {ZN_BENCH_NONE, ZN_BENCH_NONE, ZN_BENCH_NONE};
    uint64_t times_us[ZN_REPLICAS_MAX];
    size_t n = sorted_acks(receipt, times_us), majority = receipt->of / 2 + 1;
    for (size_t i = 0; i < receipt->rows_n; i++) {
        const struct zmqnet_row *row = &receipt->rows[i];
        if (row->outcome == ZMQNET_ACKED && row->rtt_us < acks.first_us)
            acks.first_us = row->rtt_us;
    }
    if (n >= majority)
        acks.majority_us = times_us[majority - 1];
    if (n > 0 && n == receipt->rows_n)
        acks.all_us = times_us[n - 1];
    return acks;
}

static void record_known(struct zn_histogram *h, uint64_t us)
{
    if (us != ZN_BENCH_NONE)
        zn_histogram_record(h, us);
}

/* Count a failure; true if its sentence is worth making. */
static bool count_failed(struct zn_bench_result *result, enum zn_problem_kind kind)
{
    result->total.failed++;
    return result->failed_as[kind]++ == 0;
}

static void keep_worst(struct zn_bench_result *result, const struct zn_problem *problem)
{
    if (problem->exit > result->worst.exit)
        result->worst = *problem;
}

void zn_bench_record(struct zn_bench_result *result, const struct zn_bench_plan *plan,
                     const char *via, const zmqnet_receipt *receipt, uint64_t latency_us)
{
    struct zn_problem problem;
    if (receipt->status != 0) {
        if (!count_failed(result, zn_problem_kind_of(receipt->status)))
            return;
        zn_receipt_problem(receipt, via, plan->peers, &problem);
        keep_worst(result, &problem);
        return;
    }
    struct zn_bench_acks acks = zn_bench_acks(receipt);
    result->total.ok++;
    zn_histogram_record(&result->total.latency_us, latency_us);
    record_known(&result->first_ack_us, acks.first_us);
    record_known(&result->majority_us, acks.majority_us);
    record_known(&result->all_us, acks.all_us);
}

void zn_bench_record_not_taken(struct zn_bench_result *result, const char *via, int code)
{
    struct zn_problem problem;
    enum zn_problem_kind kind = zn_problem_kind_of(code);
    if (!count_failed(result, kind))
        return;
    if (code == ZMQNET_EFULL)
        zn_problem_set(&problem, kind, "a lower --rate, or a higher --inflight",
                       "%s: a client had all of --inflight open when its next message was due",
                       via);
    else
        zn_problem_set(&problem, kind, "", "%s: %s", via, zmqnet_error_text(code));
    keep_worst(result, &problem);
}

int zn_bench_exit(const struct zn_bench_result *result)
{
    return result->total.ok > 0 ? 0 : zn_problem_exit(&result->worst);
}
