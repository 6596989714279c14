/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_RESULT_H
#define ZN_CLI_BENCH_RESULT_H

#include "base/histogram.h"
#include "base/limits.h"
#include "cli/problem.h"
#include "zmqnet.h"

/* What is to be done. */
struct zn_bench_plan {
    const zmqnet_peers *peers;
    const char *targets[ZN_REPLICAS_MAX]; /* client i talks to target i modulo targets_n */
    size_t targets_n;
    size_t clients, size;
    size_t inflight;     /* most messages that a client has open at once */
    uint64_t rate;       /* messages per second of all clients, by the clock; 0: closed loop */
    const char *pattern; /* of the targets */
    uint64_t warmup_us, duration_us;
    struct zmqnet_call call;
};

/* Messages that were settled, and how long the answered ones took. */
struct zn_bench_tally {
    uint64_t ok, failed;
    struct zn_histogram latency_us;
};

/* What was measured. Every message that was due in the time of measuring is in `sent`, and after the
 * run in either total.ok or total.failed. */
struct zn_bench_result {
    uint64_t sent;
    struct zn_bench_tally total;
    uint64_t failed_as[ZN_PROBLEMS_N];
    /* Of each answered message, by the rtt_us of its receipt's rows; see zn_bench_acks(). */
    struct zn_histogram first_ack_us, majority_us, all_us;
    uint64_t duration_us;    /* of measuring, to the last answer */
    uint64_t cpu_us;         /* of this process in that time, user and system */
    int signal;              /* that ended it; 0: none */
    struct zn_problem worst; /* of the failed ones; exit 0: none failed */
};

#define ZN_BENCH_NONE UINT64_MAX
struct zn_bench_acks {
    uint64_t first_us, majority_us, all_us; /* ZN_BENCH_NONE: not known */
};

/* When the acks came, from the rtt_us that the coordinator saw: the first of another replica; that
 * which made a majority, the coordinator itself counted from the start; the last, if all have acked
 * (a receipt of a smaller quorum does not wait for them). */
struct zn_bench_acks zn_bench_acks(const zmqnet_receipt *receipt);

/* The message that client `via` sent is settled. `latency_us` counts if it was answered with the
 * quorum that was asked for. */
void zn_bench_record(struct zn_bench_result *result, const struct zn_bench_plan *plan,
                     const char *via, const zmqnet_receipt *receipt, uint64_t latency_us);
/* A message was not taken, and is failed. */
void zn_bench_record_not_taken(struct zn_bench_result *result, const char *via, int code);

/* 0 if any message was answered with its quorum; else the exit code of the worst failure. */
int zn_bench_exit(const struct zn_bench_result *result);

#endif
