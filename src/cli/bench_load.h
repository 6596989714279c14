/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_LOAD_H
#define ZN_CLI_BENCH_LOAD_H

#include "cli/bench_result.h"
#include "cli/options.h"

/* Called once a second with what was settled since the last call, warm-up included. */
typedef void (*zn_bench_second)(void *arg, uint64_t second, bool warming_up,
                                const struct zn_bench_tally *tally);

/* Put the load of the plan on its targets, from this thread alone. SIGINT and SIGTERM, which must be
 * blocked, end it early. Blocks for warm-up, duration, and the time that the last answers may take.
 * Returns 0 with *result filled in, or an exit code with *problem if it could not begin. */
int zn_bench_load(const struct zn_options *o, const struct zn_bench_plan *plan,
                  zn_bench_second on_second, void *arg, struct zn_bench_result *result,
                  struct zn_problem *problem);

#endif
