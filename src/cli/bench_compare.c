/* SPDX-License-Identifier: MIT */
/*
 * `bench --compare A B`: do two sets of runs differ?
 *
 * Runs of one case (same replicas, clients, size, inflight, rate, pattern and quorum) are two
 * samples, to be made in turns, so that a slow hour of the machine falls on both. Three figures are
 * compared: throughput, p50 and p99. Two samples differ if the two-sided rank test of Mann and
 * Whitney says so at 5 %, and B is worse (or better) if its median is too, by more than the
 * tolerance. That needs no assumption about the shape of the noise, and at least four runs of each.
 * Each figure is judged by itself: of twenty that are the same, one looks different.
 */
#include "cli/bench_compare.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_lines.h"
#include "cli/bench_rank.h"
#include "cli/output.h"

#define LEVEL 0.05

enum { THROUGHPUT, P50, P99, FIGURES };
static const char *const figure_names[FIGURES] = {"throughput", "p50_us", "p99_us"};

enum verdict { SAME, WITHIN, BETTER, WORSE, TOO_FEW, VERDICTS };
static const char *const verdict_names[VERDICTS] = {
    "no difference", "within the tolerance", "better", "worse", "too few runs",
};

struct run {
    size_t case_at;
    int of_b;
    double figure[FIGURES];
};

struct comparison {
    const struct zn_options *o;
    char **cases;
    size_t cases_n;
    struct run *runs;
    size_t runs_n, runs_max;
    int reading_b;
    double *sample[2]; /* room for one figure of all runs of one case, of A and of B */
    size_t verdicts[VERDICTS];
    size_t only[2]; /* cases that only A, or only B, has */
};

struct judged {
    size_t n[2];
    double median[2], ratio, p;
    enum verdict verdict;
};

/* ---- taking the runs ---------------------------------------------------------------------- */

static int no_memory(struct zn_problem *problem)
{
    return zn_problem_set(problem, ZN_PROBLEM_FAILED, "", "%s", zmqnet_error_text(ZMQNET_ENOMEM));
}

static void put_case(const struct zn_bench_line *line, struct zn_text *out)
{
    zn_text_escaped(out, line->name, strlen(line->name));
    zn_text_printf(out, " c=%.0f inflight=%.0f size=%.0f", line->clients, line->inflight,
                   line->size);
    if (line->rate > 0)
        zn_text_printf(out, " rate=%.0f", line->rate);
    if (line->replicas > 0)
        zn_text_printf(out, " of=%.0f", line->replicas);
    zn_text_add(out, line->pattern[0] != '\0' ? " " : "");
    zn_text_escaped(out, line->pattern, strlen(line->pattern));
    zn_text_add(out, line->quorum[0] != '\0' ? " quorum=" : "");
    zn_text_escaped(out, line->quorum, strlen(line->quorum));
}

/* The number of this case, a new one if there is none yet; SIZE_MAX: no memory. */
static size_t case_of(struct comparison *c, const struct zn_bench_line *line)
{
    struct zn_text text = {0};
    put_case(line, &text);
    size_t at = text.failed ? SIZE_MAX : 0;
    while (at < c->cases_n && strcmp(c->cases[at], text.bytes) != 0)
        at++;
    if (at == c->cases_n) {
        char **more = realloc(c->cases, (c->cases_n + 1) * sizeof *more);
        if (more != NULL) {
            c->cases = more;
            c->cases[c->cases_n++] = text.bytes;
            return at;
        }
        at = SIZE_MAX;
    }
    zn_text_free(&text);
    return at;
}

static int take_run(void *arg, const struct zn_bench_line *line, struct zn_problem *problem)
{
    struct comparison *c = arg;
    size_t case_at = case_of(c, line);
    if (c->runs_n == c->runs_max) {
        size_t max = c->runs_max * 2 + 64;
        struct run *more = realloc(c->runs, max * sizeof *more);
        if (more == NULL)
            return no_memory(problem);
        c->runs = more;
        c->runs_max = max;
    }
    if (case_at == SIZE_MAX)
        return no_memory(problem);
    c->runs[c->runs_n++] = (struct run){
        .case_at = case_at,
        .of_b = c->reading_b,
        .figure = {line->throughput, line->latency_us[0], line->latency_us[1]},
    };
    return 0;
}

static int read_both(struct comparison *c, const char *a, const char *b, struct zn_problem *problem)
{
    int rc = zn_bench_lines_read(a, take_run, c, problem);
    c->reading_b = 1;
    if (rc == 0)
        rc = zn_bench_lines_read(b, take_run, c, problem);
    for (int i = 0; i < 2 && rc == 0; i++) {
        c->sample[i] = calloc(c->runs_n + 1, sizeof *c->sample[i]);
        rc = c->sample[i] != NULL ? 0 : no_memory(problem);
    }
    return rc;
}

/* ---- judging ------------------------------------------------------------------------------ */

/* Gather one figure of one case. */
static void gather(struct comparison *c, size_t case_at, int figure, size_t n[2])
{
    n[0] = n[1] = 0;
    for (size_t i = 0; i < c->runs_n; i++) {
        const struct run *r = &c->runs[i];
        if (r->case_at == case_at)
            c->sample[r->of_b][n[r->of_b]++] = r->figure[figure];
    }
}

static double ratio_of(double b, double a)
{
    if (!(a < b) && !(b < a))
        return 1;
    return isinf(a) ? 0 : b / a;
}

static enum verdict verdict_of(const struct comparison *c, int figure, const struct judged *j)
{
    double tolerance = (double)c->o->tolerance / 100;
    bool more_is_better = figure == THROUGHPUT;
    if (zn_rank_smallest(j->n[0], j->n[1]) >= LEVEL)
        return TOO_FEW;
    if (j->p >= LEVEL)
        return SAME;
    if (j->ratio > 1 + tolerance)
        return more_is_better ? BETTER : WORSE;
    if (j->ratio < 1 - tolerance)
        return more_is_better ? WORSE : BETTER;
    return WITHIN;
}

/* The samples that were gathered. */
static struct judged judge(struct comparison *c, int figure, const size_t n[2])
{
    struct judged j = {.n = {n[0], n[1]}};
    j.p = zn_rank_test(c->sample[0], n[0], c->sample[1], n[1]);
    for (int i = 0; i < 2; i++)
        j.median[i] = zn_rank_median(c->sample[i], n[i]);
    j.ratio = ratio_of(j.median[1], j.median[0]);
    j.verdict = verdict_of(c, figure, &j);
    return j;
}

/* ---- telling ------------------------------------------------------------------------------ */

static void put_median(struct zn_table *table, double median)
{
    if (isfinite(median))
        zn_table_cell(table, "%.0f", median);
    else
        zn_table_cell(table, "-");
}

static void put_row(struct zn_table *table, const char *name, int figure, const struct judged *j)
{
    zn_table_cell(table, "%s", name);
    zn_table_cell(table, "%s", figure_names[figure]);
    for (int i = 0; i < 2; i++)
        put_median(table, j->median[i]);
    zn_table_cell(table, "%.3f", j->ratio);
    zn_table_cell(table, "p %.4f", j->p);
    zn_table_cell(table, "%zu, %zu runs", j->n[0], j->n[1]);
    zn_table_cell(table, "%s", verdict_names[j->verdict]);
    zn_table_end_row(table);
}

static void put_json(struct zn_text *out, const char *name, int figure, const struct judged *j)
{
    struct zn_json json = {.out = out};
    zn_json_open(&json, NULL, '{');
    zn_json_u64(&json, "v", 1);
    zn_json_string(&json, "case", name);
    zn_json_string(&json, "figure", figure_names[figure]);
    zn_json_u64(&json, "runs_a", j->n[0]);
    zn_json_u64(&json, "runs_b", j->n[1]);
    zn_json_decimal(&json, "median_a", j->median[0], 3);
    zn_json_decimal(&json, "median_b", j->median[1], 3);
    zn_json_decimal(&json, "ratio", j->ratio, 4);
    zn_json_decimal(&json, "p", j->p, 6);
    zn_json_string(&json, "verdict", verdict_names[j->verdict]);
    zn_json_close(&json, '}');
    zn_text_add(out, "\n");
}

static void compare_case(struct comparison *c, size_t case_at, struct zn_table *table,
                         struct zn_text *out)
{
    size_t n[2];
    for (int figure = 0; figure < FIGURES; figure++) {
        gather(c, case_at, figure, n);
        if (n[0] == 0 || n[1] == 0) {
            c->only[n[0] == 0]++;
            return;
        }
        struct judged j = judge(c, figure, n);
        c->verdicts[j.verdict]++;
        if (c->o->json)
            put_json(out, c->cases[case_at], figure, &j);
        else
            put_row(table, c->cases[case_at], figure, &j);
    }
}

static void put_summary(const struct comparison *c, struct zn_text *out)
{
    for (enum verdict v = 0; v < VERDICTS; v++)
        if (c->verdicts[v] > 0)
            zn_text_printf(out, "%zu %s, ", c->verdicts[v], verdict_names[v]);
    zn_text_printf(out,
                   "by a two-sided Mann-Whitney test of each at %.0f %% and a tolerance of %u %%\n",
                   LEVEL * 100, (unsigned)c->o->tolerance);
}

static void tell_lonely(const struct comparison *c, const char *a, const char *b)
{
    for (int i = 0; i < 2; i++)
        if (c->only[i] > 0)
            zn_output_complain("cases that only %s has: %zu", i == 0 ? a : b, c->only[i]);
}

static int conclude(const struct comparison *c, const char *a, const char *b,
                    struct zn_problem *problem)
{
    size_t judged = 0;
    for (enum verdict v = 0; v < VERDICTS; v++)
        judged += c->verdicts[v];
    if (judged == 0)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "run both with the same options",
                              "%s and %s have no case in common", a, b);
    if (judged == c->verdicts[TOO_FEW])
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "four of each in turns are enough",
                              "no case has enough runs to be judged");
    if (c->verdicts[WORSE] > 0)
        return zn_problem_set(problem, ZN_PROBLEM_JUDGEMENT, "",
                              "%s is worse than %s in %zu of %zu figures", b, a, c->verdicts[WORSE],
                              judged);
    return 0;
}

static void free_all(struct comparison *c)
{
    for (size_t i = 0; i < c->cases_n; i++)
        free(c->cases[i]);
    free(c->cases);
    free(c->runs);
    free(c->sample[0]);
    free(c->sample[1]);
}

int zn_bench_compare(const struct zn_options *o, const char *a, const char *b)
{
    struct comparison c = {.o = o};
    struct zn_table table = {0};
    struct zn_text out = {0};
    struct zn_problem problem;
    int rc = read_both(&c, a, b, &problem);
    if (rc == 0) {
        for (size_t i = 0; i < c.cases_n; i++)
            compare_case(&c, i, &table, &out);
        zn_table_print(&table, "", &out);
        if (!o->json)
            put_summary(&c, &out);
        zn_output_text(&out);
        tell_lonely(&c, a, b);
        rc = conclude(&c, a, b, &problem);
    }
    free_all(&c);
    return rc == 0 ? 0 : zn_problem_report(&problem, o->json);
}
