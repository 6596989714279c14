/* SPDX-License-Identifier: MIT */
/*
 * What `bench` says: a line per second, a table for people, and the line of the results file. Pure:
 * text in, text out.
 *
 * The first five keys of that line, and what they mean, are those of the original program; all keys
 * always stand there, in this order, and null is for what is not known because nothing was answered.
 */
#include "cli/bench_report.h"

#include <inttypes.h>
#include <math.h>

#include "cli/json.h"

#define P50 500000u
#define P90 900000u
#define P99 990000u
#define P999 999000u

static double per_second(const struct zn_bench_result *r)
{
    if (r->duration_us == 0)
        return 0;
    return (double)r->total.ok * (double)ZN_SECOND / (double)r->duration_us;
}

static void put_targets(const struct zn_bench_plan *plan, struct zn_text *out)
{
    for (size_t i = 0; i < plan->targets_n; i++)
        zn_text_printf(out, "%s%s", i > 0 ? "," : "", plan->targets[i]);
}

static void put_quorum(const struct zn_bench_plan *plan, struct zn_text *out)
{
    if (plan->call.quorum > 0)
        zn_text_printf(out, "%d", plan->call.quorum);
    else
        zn_text_add(out, plan->call.quorum == ZMQNET_QUORUM_ALL ? "all" : "majority");
}

/* ---- for people --------------------------------------------------------------------------- */

void zn_bench_second_text(uint64_t second, bool warming_up, const struct zn_bench_tally *tally,
                          struct zn_text *out)
{
    const struct zn_histogram *h = &tally->latency_us;
    zn_text_printf(out, "%4" PRIu64 " s  %8" PRIu64 " ok  %6" PRIu64 " failed", second, tally->ok,
                   tally->failed);
    if (h->count > 0)
        zn_text_printf(out, "  p50 %" PRIu64 " us  p99 %" PRIu64 " us  max %" PRIu64 " us",
                       zn_histogram_quantile(h, P50), zn_histogram_quantile(h, P99), h->max);
    zn_text_add(out, warming_up ? "  (warm-up)\n" : "\n");
}

static void times_row(struct zn_table *table, const char *what, const struct zn_histogram *h)
{
    static const uint32_t quantiles[] = {P50, P90, P99, P999, 1000000};
    zn_table_cell(table, "%s", what);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        if (h->count > 0)
            zn_table_cell(table, "%" PRIu64, zn_histogram_quantile(h, quantiles[i]));
        else
            zn_table_cell(table, "-");
    }
    zn_table_end_row(table);
}

static void put_times(const struct zn_bench_result *r, struct zn_text *out)
{
    static const char *const heads[] = {"microseconds", "p50", "p90", "p99", "p99.9", "max"};
    struct zn_table table = {0};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        zn_table_cell(&table, "%s", heads[i]);
    zn_table_end_row(&table);
    times_row(&table, "answered", &r->total.latency_us);
    times_row(&table, "first ack", &r->first_ack_us);
    times_row(&table, "majority", &r->majority_us);
    times_row(&table, "all", &r->all_us);
    zn_table_print(&table, "  ", out);
}

static void put_failed(const struct zn_bench_result *r, struct zn_text *out)
{
    const char *separator = ": ";
    zn_text_printf(out, "  failed    %" PRIu64, r->total.failed);
    for (enum zn_problem_kind kind = 0; kind < ZN_PROBLEMS_N; kind++) {
        if (r->failed_as[kind] == 0)
            continue;
        zn_text_printf(out, "%s%" PRIu64 " %s", separator, r->failed_as[kind],
                       zn_problem_code(kind));
        separator = ", ";
    }
    zn_text_add(out, "\n");
}

void zn_bench_text(const struct zn_bench_plan *plan, const struct zn_bench_result *r,
                   struct zn_text *out)
{
    put_targets(plan, out);
    zn_text_printf(out, "  clients %zu, inflight %zu, ", plan->clients, plan->inflight);
    if (plan->rate > 0)
        zn_text_printf(out, "rate %" PRIu64 "/s, ", plan->rate);
    zn_text_printf(out, "size %zu, %s, quorum ", plan->size, plan->pattern);
    put_quorum(plan, out);
    zn_text_printf(out, "\n  sent      %" PRIu64 " in ", r->sent);
    zn_text_duration(out, r->duration_us);
    zn_text_printf(out, "\n  answered  %" PRIu64 ", %.1f per second\n", r->total.ok, per_second(r));
    put_failed(r, out);
    put_times(r, out);
}

/* ---- for programs ------------------------------------------------------------------------- */

static void quantile(struct zn_json *j, const char *key, const struct zn_histogram *h,
                     uint32_t millionths)
{
    if (h->count > 0)
        zn_json_u64(j, key, zn_histogram_quantile(h, millionths));
    else
        zn_json_null(j, key);
}

static void quantiles(struct zn_json *j, const char *key, const struct zn_histogram *h)
{
    zn_json_open(j, key, '{');
    quantile(j, "p50", h, P50);
    quantile(j, "p99", h, P99);
    zn_json_close(j, '}');
}

static void text(struct zn_json *j, const char *key, const struct zn_bench_plan *plan,
                 void (*put)(const struct zn_bench_plan *, struct zn_text *))
{
    struct zn_text value = {0};
    put(plan, &value);
    j->out->failed |= value.failed;
    zn_json_string(j, key, value.n > 0 ? value.bytes : "");
    zn_text_free(&value);
}

static void put_original_keys(const struct zn_bench_plan *plan, const struct zn_bench_result *r,
                              struct zn_json *j)
{
    text(j, "name", plan, put_targets);
    zn_json_u64(j, "n_clients", plan->clients);
    zn_json_u64(j, "messages", r->total.ok);
    if (r->total.ok > 0)
        zn_json_u64(j, "latency (nsec)", zn_histogram_mean(&r->total.latency_us, 1000));
    else
        zn_json_null(j, "latency (nsec)");
    zn_json_decimal(j, "throughput (msg/sec)", per_second(r), 3);
}

void zn_bench_json(const struct zn_bench_plan *plan, const struct zn_bench_result *r,
                   struct zn_text *out)
{
    const struct zn_histogram *latency = &r->total.latency_us;
    struct zn_json j = {.out = out};
    double cpu_us = r->total.ok > 0 ? (double)r->cpu_us / (double)r->total.ok : NAN;
    zn_json_open(&j, NULL, '{');
    put_original_keys(plan, r, &j);
    zn_json_string(&j, "pattern", plan->pattern);
    zn_json_u64(&j, "size", plan->size);
    zn_json_u64(&j, "inflight", plan->inflight);
    zn_json_u64(&j, "duration_us", r->duration_us);
    zn_json_u64(&j, "ok", r->total.ok);
    zn_json_u64(&j, "failed", r->total.failed);
    quantile(&j, "p50_us", latency, P50);
    quantile(&j, "p90_us", latency, P90);
    quantile(&j, "p99_us", latency, P99);
    quantile(&j, "p999_us", latency, P999);
    quantile(&j, "max_us", latency, 1000000);
    quantiles(&j, "first_ack_us", &r->first_ack_us);
    quantiles(&j, "majority_us", &r->majority_us);
    quantiles(&j, "all_us", &r->all_us);
    zn_json_decimal(&j, "cpu_us_per_op", cpu_us, 2);
    if (plan->rate > 0)
        zn_json_u64(&j, "rate", plan->rate);
    else
        zn_json_null(&j, "rate");
    text(&j, "quorum", plan, put_quorum);
    zn_json_u64(&j, "replicas", zmqnet_peers_count(plan->peers));
    zn_json_close(&j, '}');
    zn_text_add(out, "\n");
}
