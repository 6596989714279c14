/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_COMPARE_H
#define ZN_CLI_BENCH_COMPARE_H

#include "cli/options.h"

/* `bench --compare A B`: is B worse than A? Prints a line for each case and figure, and reports.
 * Returns the exit code: ZN_EXIT_JUDGEMENT if anything is worse by more than the tolerance. */
int zn_bench_compare(const struct zn_options *o, const char *a, const char *b);

#endif
