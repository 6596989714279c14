/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_LINES_H
#define ZN_CLI_BENCH_LINES_H

#include <stdint.h>

#include "base/limits.h"
#include "cli/problem.h"

/* What is read of one line of a results file; other keys are ignored. */
struct zn_bench_line {
    char name[ZN_REPLICAS_MAX * (ZN_NAME_MAX + 1)];
    char pattern[64], quorum[32]; /* "" if the line has none */
    double clients, inflight, size;
    double rate, replicas; /* 0: none */
    double throughput;     /* per second */
    double latency_us[2];  /* p50, p99; INFINITY: nothing was answered */
};

/* Parse a line, without its end. Returns 0, or an exit code with a problem that names what is wrong
 * but not where. */
int zn_bench_line_parse(const char *text, struct zn_bench_line *line, struct zn_problem *problem);

/* Give each line of the file to `take`, until that returns an exit code. Empty lines are passed
 * over. Returns 0, that code, or another with a problem that names file and line. */
int zn_bench_lines_read(const char *path,
                        int (*take)(void *arg, const struct zn_bench_line *line,
                                    struct zn_problem *problem),
                        void *arg, struct zn_problem *problem);

#endif
