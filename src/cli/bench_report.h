/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_REPORT_H
#define ZN_CLI_BENCH_REPORT_H

#include "cli/bench_result.h"
#include "cli/text.h"

/* One line about one second of the load. */
void zn_bench_second_text(uint64_t second, bool warming_up, const struct zn_bench_tally *tally,
                          struct zn_text *out);
/* The table at the end. */
void zn_bench_text(const struct zn_bench_plan *plan, const struct zn_bench_result *result,
                   struct zn_text *out);
/* The line of the results file. */
void zn_bench_json(const struct zn_bench_plan *plan, const struct zn_bench_result *result,
                   struct zn_text *out);

#endif
