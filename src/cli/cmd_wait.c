/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet wait`: return when a replica sees its quorum of replicas up; without -n, when a quorum of
 * them does.
 *
 * Each is asked for its view again and again, at a short interval, by one client that stays. A
 * replica gets its line when it has the quorum. At the timeout those that have not get theirs, and
 * the exit code says whether any sees a majority (3) or none does (4). A signal ends it in the same
 * way with 130 or 143.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/views.h"

#define INTERVAL_MS 20
#define ASK_MS 250       /* a stopped replica delays the others' next question by this much */
#define ASK_LEAST_MS 100 /* a shorter last question would lose what the one before it learned */

struct waiting {
    struct zn_views views;
    size_t of, need;
    bool *reached; /* per view: its line is printed */
};

static size_t need_of(int quorum, size_t of)
{
    if (quorum == ZMQNET_QUORUM_ALL)
        return of;
    return quorum == ZMQNET_QUORUM_MAJORITY ? of / 2 + 1 : (size_t)quorum;
}

static void print_view(const struct waiting *w, const struct zn_view *view, bool ok)
{
    struct zn_text out = {0};
    struct zn_json j = {.out = &out};
    if (w->views.o->json) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "v", 1);
        zn_json_bool(&j, "ok", ok);
        zn_json_string(&j, "name", view->replica->name);
        zn_json_u64(&j, "have", zn_view_up(view));
        zn_json_u64(&j, "of", w->of);
        if (view->code != 0)
            zn_json_string(&j, "cause", view->why);
        zn_json_close(&j, '}');
    } else {
        zn_text_printf(&out, "%s %zu/%zu", view->replica->name, zn_view_up(view), w->of);
        zn_text_add(&out, view->code != 0 ? "  " : "");
        if (view->code != 0)
            zn_session_cause(w->views.peers, view->replica->name, view->why, &out);
    }
    zn_text_add(&out, "\n");
    zn_output_text(&out);
}

/* How many must reach the quorum: of all replicas, as many as the quorum itself, so that one that is
 * down does not keep a majority waiting. */
static size_t wanted(const struct waiting *w) { return w->views.o->name != NULL ? 1 : w->need; }

/* Print those that have reached their quorum for the first time. Returns how many have it now. */
static size_t look(struct waiting *w)
{
    size_t have = 0;
    for (size_t i = 0; i < w->views.n; i++) {
        const struct zn_view *view = &w->views.views[i];
        if (view->code != 0 || zn_view_up(view) < w->need)
            continue;
        if (!w->reached[i])
            print_view(w, view, true);
        w->reached[i] = true;
        have++;
    }
    return have;
}

/* Print those that have not reached it. Returns the most replicas that any of all sees up. */
static size_t print_rest(struct waiting *w)
{
    size_t best = 0;
    for (size_t i = 0; i < w->views.n; i++) {
        size_t up = zn_view_up(&w->views.views[i]);
        best = up > best ? up : best;
        if (!w->reached[i])
            print_view(w, &w->views.views[i], false);
    }
    return best;
}

static int give_up(struct waiting *w, size_t reached)
{
    struct zn_problem problem;
    struct zn_text after = {0};
    size_t best = print_rest(w);
    zn_text_duration(&after, w->views.o->timeout_us);
    zn_problem_set(&problem, best * 2 > w->of ? ZN_PROBLEM_DEGRADED : ZN_PROBLEM_NO_QUORUM,
                   "zmqnet status shows who is missing; --timeout waits longer",
                   "after %s, %zu of the %zu wanted replicas see %zu/%zu up",
                   after.failed ? "" : after.bytes, reached, wanted(w), w->need, w->of);
    zn_text_free(&after);
    return zn_problem_report(&problem, w->views.o->json);
}

static uint32_t left_ms(uint64_t end_us, uint32_t at_most_ms)
{
    uint64_t now = zn_clock_us();
    uint64_t left = now < end_us ? (end_us - now) / 1000 + 1 : 1;
    return left < at_most_ms ? (uint32_t)left : at_most_ms;
}

static int poll_until(struct waiting *w, uint64_t end_us)
{
    for (;;) {
        zn_views_ask(&w->views, left_ms(end_us, ASK_MS));
        size_t reached = look(w);
        if (reached >= wanted(w) || zn_output_gone())
            return 0;
        uint32_t pause_ms = left_ms(end_us, INTERVAL_MS + ASK_LEAST_MS);
        bool last = pause_ms < INTERVAL_MS + ASK_LEAST_MS;
        int signal = w->views.signal;
        if (signal == 0)
            signal = zn_session_wait_signal(last ? pause_ms : INTERVAL_MS);
        if (signal == 0 && last)
            return give_up(w, reached);
        if (signal != 0) {
            print_rest(w);
            return zn_session_signal_exit(signal);
        }
    }
}

static int check_quorum(const struct waiting *w)
{
    struct zn_problem problem;
    if (w->need <= w->of)
        return 0;
    zn_problem_set(&problem, ZN_PROBLEM_USAGE, "give all, majority or a smaller number",
                   "--quorum: %zu of %zu replicas cannot be up", w->need, w->of);
    return zn_problem_report(&problem, w->views.o->json);
}

int zn_cmd_wait(const struct zn_options *o)
{
    struct waiting w = {0};
    uint64_t end_us = zn_clock_us() + o->timeout_us;
    int rc = zn_views_open(&w.views, o);
    if (rc == 0) {
        w.of = zmqnet_peers_count(w.views.peers);
        w.need = need_of(o->quorum, w.of);
        w.reached = calloc(w.views.n, sizeof *w.reached);
        rc = check_quorum(&w);
    }
    if (rc == 0)
        rc = w.reached != NULL ? poll_until(&w, end_us) : ZN_EXIT_FAILED;
    free(w.reached);
    zn_views_close(&w.views);
    return rc;
}
