/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet bench`: put load on the mesh and measure it, or compare two sets of such runs.
 *
 * What cannot work is told before the first message is sent: names, a load that takes too much
 * memory, targets of which none answers, a results file that cannot be written. Then one thread does
 * all, see bench_load.c; stderr is a spool, so that a reader that does not read holds up no client.
 * The exit code is 0 if any message reached its quorum (the line says how many failed), otherwise
 * that of the worst outcome, as `send` would have had it, and 130 or 143 after a signal; the line is
 * written all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench_compare.h"
#include "cli/bench_load.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/spool.h"
#include "cli/views.h"

#define ASK_MS 1000          /* for the replicas to say who they are */
#define LINGER_MS 1000       /* for stderr, at the end */
#define MESSAGE_OVERHEAD 512 /* bytes that an open message takes beside its body */

struct bench {
    const struct zn_options *o;
    struct zn_views views;
    struct zn_bench_plan plan;
    struct zn_bench_result *result;
    int results_fd;
    struct zn_spool talk;
};

/* ---- what is asked for -------------------------------------------------------------------- */

static int choose_targets(struct bench *b, struct zn_problem *problem)
{
    struct zn_bench_plan *plan = &b->plan;
    const struct zn_option_list *names = &b->o->names;
    for (size_t i = 0; i < names->n; i++) {
        for (size_t k = 0; k < i; k++)
            if (strcmp(names->at[i], names->at[k]) == 0)
                return zn_problem_set(problem, ZN_PROBLEM_USAGE, "give each replica once",
                                      "--name: %s is there twice", names->at[i]);
        plan->targets[plan->targets_n++] = names->at[i];
    }
    if (names->n > plan->clients)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "raise --clients, or name fewer",
                              "--name: %zu replicas, but no more than %zu of them get a client",
                              names->n, plan->clients);
    for (size_t i = 0; names->n == 0 && i < zmqnet_peers_count(plan->peers); i++)
        plan->targets[plan->targets_n++] = zmqnet_peers_get(plan->peers, i)->name;
    /* Those that get no client are not part of the case. */
    if (plan->targets_n > plan->clients)
        plan->targets_n = plan->clients;
    return 0;
}

static int fill_call(struct bench *b, struct zn_problem *problem)
{
    const struct zn_options *o = b->o;
    size_t replicas = zmqnet_peers_count(b->plan.peers);
    uint64_t try_ms = (o->timeout_us + 999) / 1000;
    if (try_ms > ZMQNET_TIMEOUT_MAX_MS / o->retries)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "make one of them smaller",
                              "--timeout times --retries is above %u s",
                              ZMQNET_TIMEOUT_MAX_MS / 1000);
    if (o->quorum > 0 && (size_t)o->quorum > replicas)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "give all, majority or a smaller number",
                              "--quorum: %d of %zu replicas cannot be reached", o->quorum,
                              replicas);
    b->plan.call = (struct zmqnet_call){
        .timeout_ms = (uint32_t)(try_ms * o->retries),
        .attempts = (uint32_t)o->retries,
        .quorum = o->quorum,
    };
    return 0;
}

/* How many messages a client may have open, so that all together stay in bounds. */
static int choose_inflight(struct bench *b, struct zn_problem *problem)
{
    struct zn_bench_plan *plan = &b->plan;
    size_t most = ZN_BENCH_BYTES_MAX / (plan->clients * (plan->size + MESSAGE_OVERHEAD));
    if (most > ZN_BENCH_INFLIGHT_MAX)
        most = ZN_BENCH_INFLIGHT_MAX;
    plan->inflight = b->o->inflight;
    if (plan->inflight == 0)
        plan->inflight = plan->rate > 0 && most > 0 ? most : 1;
    if (plan->inflight <= most)
        return 0;
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, "make one of them smaller",
                          "--clients times --inflight times --size is above %u MiB",
                          ZN_BENCH_BYTES_MAX >> 20);
}

static int make_plan(struct bench *b)
{
    const struct zn_options *o = b->o;
    struct zn_problem problem;
    b->plan = (struct zn_bench_plan){
        .peers = b->views.peers,
        .clients = o->clients,
        .size = o->size,
        .rate = o->rate,
        .warmup_us = o->warmup_us,
        .duration_us = o->duration_us,
    };
    for (size_t i = 0; i < o->names.n; i++) {
        int rc = zn_session_check_name(o, b->plan.peers, o->names.at[i]);
        if (rc != 0)
            return rc;
    }
    int rc = choose_targets(b, &problem);
    if (rc == 0)
        rc = fill_call(b, &problem);
    if (rc == 0)
        rc = choose_inflight(b, &problem);
    return rc == 0 ? 0 : zn_problem_report(&problem, o->json);
}

/* ---- the targets -------------------------------------------------------------------------- */

static bool is_target(const struct bench *b, const struct zn_view *view)
{
    for (size_t i = 0; i < b->plan.targets_n; i++)
        if (strcmp(b->plan.targets[i], view->replica->name) == 0)
            return true;
    return false;
}

static void tell_silent(const struct bench *b, const struct zn_view *view)
{
    struct zn_text cause = {0};
    zn_session_cause(b->plan.peers, view->replica->name, view->why, &cause);
    if (!b->o->quiet)
        zn_output_complain("%s does not answer (%s): messages to it may fail", view->replica->name,
                           cause.failed || cause.n == 0 ? "" : cause.bytes);
    zn_text_free(&cause);
}

static int none_answers(const struct bench *b, const struct zn_view *view)
{
    struct zn_problem problem;
    struct zn_text cause = {0};
    char remedy[ZN_REMEDY_MAX];
    const char *name = view->replica->name;
    zn_session_cause(b->plan.peers, name, view->why, &cause);
    zn_session_remedy(b->plan.peers, name, view->why, remedy);
    zn_problem_set(&problem, ZN_PROBLEM_NEVER_SENT, remedy, "%s: nothing to measure (%s)", name,
                   cause.failed || cause.n == 0 ? "" : cause.bytes);
    zn_text_free(&cause);
    return zn_problem_report(&problem, b->o->json);
}

/* Ask who is there, and which pattern they speak. */
static int look_at_targets(struct bench *b)
{
    const struct zn_view *silent = NULL;
    zn_views_ask(&b->views, ASK_MS);
    for (size_t i = 0; i < b->views.n; i++) {
        const struct zn_view *view = &b->views.views[i];
        const char *pattern = view->status != NULL ? view->status->pattern : NULL;
        if (!is_target(b, view))
            continue;
        if (pattern == NULL)
            silent = silent != NULL ? silent : view;
        else if (b->plan.pattern == NULL)
            b->plan.pattern = pattern;
        else if (strcmp(b->plan.pattern, pattern) != 0)
            b->plan.pattern = "mixed";
    }
    if (b->views.signal != 0)
        return zn_session_signal_exit(b->views.signal);
    if (b->plan.pattern == NULL)
        return none_answers(b, silent);
    for (size_t i = 0; i < b->views.n; i++)
        if (b->views.views[i].status == NULL && is_target(b, &b->views.views[i]))
            tell_silent(b, &b->views.views[i]);
    /* Its pings would be a load of their own. */
    zmqnet_close(&b->views.node);
    return 0;
}

/* ---- the results file --------------------------------------------------------------------- */

static int cannot_write(const struct bench *b, enum zn_problem_kind kind, int error)
{
    struct zn_problem problem;
    zn_problem_set(&problem, kind, "--results names another file, -X writes none",
                   "%s cannot be written: %s", b->o->results, strerror(error));
    return zn_problem_report(&problem, b->o->json);
}

static int open_results(struct bench *b)
{
    if (b->o->disabled)
        return 0;
    b->results_fd = open(b->o->results, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return b->results_fd >= 0 ? 0 : cannot_write(b, ZN_PROBLEM_USAGE, errno);
}

/* One write: lines of runs that end at the same time do not mix. */
static int append_result(const struct bench *b, const struct zn_text *line)
{
    ssize_t n = line->failed ? -1 : write(b->results_fd, line->bytes, line->n);
    if (n == (ssize_t)line->n)
        return 0;
    return cannot_write(b, ZN_PROBLEM_FAILED, line->failed ? ENOMEM : n < 0 ? errno : ENOSPC);
}

/* ---- the run ------------------------------------------------------------------------------ */

static void on_second(void *arg, uint64_t second, bool warming_up,
                      const struct zn_bench_tally *tally)
{
    struct bench *b = arg;
    struct zn_text line = {0};
    if (b->o->quiet)
        return;
    zn_bench_second_text(second, warming_up, tally, &line);
    zn_spool_put(&b->talk, &line);
    zn_spool_flush(&b->talk);
    zn_text_free(&line);
}

static int report(struct bench *b)
{
    const struct zn_bench_result *result = b->result;
    struct zn_text table = {0}, line = {0};
    int rc = 0, code = zn_bench_exit(result);
    zn_bench_text(&b->plan, result, &table);
    zn_bench_json(&b->plan, result, &line);
    if (!b->o->quiet || !b->o->json)
        zn_spool_put(&b->talk, &table);
    zn_spool_close(&b->talk, LINGER_MS);
    if (result->sent > 0 && b->results_fd >= 0)
        rc = append_result(b, &line);
    if (b->o->json)
        zn_output_text(&line);
    if (code != 0)
        zn_problem_complain(&result->worst);
    zn_text_free(&table);
    zn_text_free(&line);
    if (result->signal != 0)
        return zn_session_signal_exit(result->signal);
    return code > rc ? code : rc;
}

static int run(struct bench *b)
{
    struct zn_problem problem;
    b->result = calloc(1, sizeof *b->result);
    if (b->result == NULL)
        return ZN_EXIT_FAILED;
    zn_spool_open(&b->talk, STDERR_FILENO);
    int rc = zn_bench_load(b->o, &b->plan, on_second, b, b->result, &problem);
    if (rc == 0)
        return report(b);
    zn_spool_close(&b->talk, 0);
    return zn_problem_report(&problem, b->o->json);
}

static int measure(const struct zn_options *o)
{
    struct bench b = {.o = o, .results_fd = -1};
    int rc = zn_views_open(&b.views, o);
    if (rc == 0)
        rc = make_plan(&b);
    if (rc == 0)
        rc = look_at_targets(&b);
    if (rc == 0)
        rc = open_results(&b);
    if (rc == 0)
        rc = run(&b);
    if (b.results_fd >= 0)
        close(b.results_fd);
    free(b.result);
    zn_views_close(&b.views);
    return rc;
}

int zn_cmd_bench(const struct zn_options *o)
{
    struct zn_problem problem;
    if (o->compare && o->args_n == 2)
        return zn_bench_compare(o, o->args[0], o->args[1]);
    if (!o->compare && o->args_n == 0)
        return measure(o);
    if (o->compare)
        zn_problem_set(&problem, ZN_PROBLEM_USAGE, "zmqnet bench --compare A.json B.json",
                       "--compare needs two results files");
    else
        zn_problem_set(&problem, ZN_PROBLEM_USAGE, "with --compare it would be a results file",
                       "bench takes no argument like \"%s\"", o->args[0]);
    return zn_problem_report(&problem, o->json);
}
