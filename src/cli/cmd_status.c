/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet status`: who reaches whom.
 *
 * With -n: the view of one replica, a row for each of its peers file, itself included. Without:
 * every replica of the peers file is asked at once, one row for each, reached or not, and then what
 * their answers show together (matrix.c). Exit 0 if all answer and each sees all up, 3 if any
 * replica is known to reach a majority, else 4; with -n and no answer, 6 if the replica was not
 * reached and 5 if it was but said nothing; with -n the majority is that of its own peers file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/matrix_show.h"
#include "cli/output.h"
#include "cli/views.h"

#define ASK_MS 1000
/* Who waited longer than this for some asks the others again, and gives them as long. */
#define FRESH_MS 250

/* ---- one view ----------------------------------------------------------------------------- */

static void put_duration(struct zn_table *table, uint64_t us, bool known)
{
    struct zn_text text = {0};
    if (known)
        zn_text_duration(&text, us);
    zn_table_cell(table, "%s", text.n > 0 && !text.failed ? text.bytes : "-");
    zn_text_free(&text);
}

static void peer_text(const zmqnet_peers *peers, const struct zmqnet_peer_status *p,
                      struct zn_table *t)
{
    struct zn_text cause = {0};
    zn_table_cell(t, "%s", p->name);
    zn_table_cell(t, "%s", zmqnet_state_name(p->state));
    put_duration(t, p->since_us, true);
    put_duration(t, p->rtt_us, p->rtt_us != 0);
    zn_table_cell(t, "%" PRIu64, p->queue_messages);
    zn_table_cell(t, "%" PRIu64, p->inflight);
    zn_table_cell(t, "%" PRIu64, p->sent);
    zn_table_cell(t, "%" PRIu64, p->acked);
    zn_table_cell(t, "%" PRIu64, p->refused);
    zn_table_cell(t, "%" PRIu64, p->unknown);
    zn_table_cell(t, "%" PRIu64, p->never_sent);
    zn_table_cell(t, "%" PRIu64, p->retries);
    zn_table_cell(t, "%" PRIu64, p->late);
    zn_session_cause(peers, p->name, p->cause, &cause);
    if (p->config_differs)
        zn_text_printf(&cause, "%sits peers file differs", cause.n > 0 ? "; " : "");
    if (cause.n > 0 && !cause.failed)
        zn_table_cell(t, "%s", cause.bytes);
    zn_table_end_row(t);
    zn_text_free(&cause);
}

static void view_text(const struct zn_views *v, const struct zn_view *view, struct zn_text *out)
{
    static const char *const heads[] = {"name",  "state",   "since", "rtt",     "queue",
                                        "open",  "sent",    "acked", "refused", "unknown",
                                        "never", "retries", "late"};
    const zmqnet_status *s = view->status;
    struct zn_table table = {0};
    zn_text_escaped(out, s->name, strlen(s->name));
    zn_text_add(out, "  ");
    zn_text_escaped(out, s->pattern, strlen(s->pattern));
    zn_text_printf(out, "  life %016" PRIx64 "  up ", s->life);
    zn_text_duration(out, s->uptime_us);
    zn_text_add(out, view->differs ? "; its peers file differs\n" : "\n");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        zn_table_cell(&table, "%s", heads[i]);
    zn_table_end_row(&table);
    for (size_t i = 0; i < s->peers_n; i++)
        peer_text(v->peers, &s->peers[i], &table);
    zn_table_print(&table, "  ", out);
    zn_text_printf(out, "%zu/%zu replicas up\n", zn_view_up(view), s->peers_n);
}

static void peer_json(const struct zmqnet_peer_status *p, struct zn_json *j)
{
    zn_json_open(j, NULL, '{');
    zn_json_string(j, "name", p->name);
    zn_json_string(j, "endpoint", p->endpoint);
    zn_json_string(j, "state", zmqnet_state_name(p->state));
    zn_json_u64(j, "since_us", p->since_us);
    if (p->cause[0] != '\0')
        zn_json_string(j, "cause", p->cause);
    zn_json_u64(j, "rtt_us", p->rtt_us);
    zn_json_u64(j, "queue_messages", p->queue_messages);
    zn_json_u64(j, "queue_bytes", p->queue_bytes);
    zn_json_u64(j, "inflight", p->inflight);
    zn_json_u64(j, "sent", p->sent);
    zn_json_u64(j, "acked", p->acked);
    zn_json_u64(j, "refused", p->refused);
    zn_json_u64(j, "unknown", p->unknown);
    zn_json_u64(j, "never_sent", p->never_sent);
    zn_json_u64(j, "retries", p->retries);
    zn_json_u64(j, "late", p->late);
    zn_json_bool(j, "config_differs", p->config_differs);
    zn_json_close(j, '}');
}

/* The members of a view, for an object that the caller opened. */
static void view_json(const zmqnet_status *s, struct zn_json *j)
{
    zn_json_string(j, "pattern", s->pattern);
    zn_json_hex(j, "life", s->life);
    zn_json_u64(j, "uptime_us", s->uptime_us);
    zn_json_open(j, "peers", '[');
    for (size_t i = 0; i < s->peers_n; i++)
        peer_json(&s->peers[i], j);
    zn_json_close(j, ']');
    zn_json_open(j, "counters", '{');
    for (size_t i = 0; i < s->counters_n; i++)
        zn_json_u64(j, s->counters[i].name, s->counters[i].value);
    zn_json_close(j, '}');
}

static int no_answer(const struct zn_views *v, const struct zn_view *view)
{
    struct zn_problem problem;
    struct zn_text cause = {0};
    char hint[ZN_REMEDY_MAX];
    if (view->code == ZMQNET_EUNKNOWN)
        snprintf(hint, sizeof hint, "it was reached but said nothing: is it stopped (kill -CONT)?");
    else
        zn_session_remedy(v->peers, view->replica->name, view->why, hint);
    zn_session_cause(v->peers, view->replica->name, view->why, &cause);
    zn_problem_set(&problem, zn_problem_kind_of(view->code), hint, "%s: no status: %s",
                   view->replica->name, cause.failed || cause.n == 0 ? "" : cause.bytes);
    zn_text_free(&cause);
    return zn_problem_report(&problem, v->o->json);
}

static int exit_of_one(const struct zn_view *view)
{
    if (zn_view_up(view) == view->status->peers_n)
        return 0;
    return zn_view_has_majority(view) ? ZN_EXIT_DEGRADED : ZN_EXIT_NO_QUORUM;
}

static int status_of_one(const struct zn_views *v)
{
    const struct zn_view *view = &v->views[0];
    struct zn_text out = {0};
    struct zn_json j = {.out = &out};
    if (view->code != 0)
        return no_answer(v, view);
    if (v->o->json) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "v", 1);
        zn_json_string(&j, "name", view->status->name);
        view_json(view->status, &j);
        zn_json_close(&j, '}');
        zn_text_add(&out, "\n");
    } else {
        view_text(v, view, &out);
    }
    zn_output_text(&out);
    return exit_of_one(view);
}

/* ---- all views ---------------------------------------------------------------------------- */

/* All reach all of ours: who does not see all has more in its own file, and that is why the exit code
 * is not 0. */
static void put_files(const struct zn_views *v, struct zn_text *out)
{
    for (size_t i = 0; i < v->n; i++)
        if (!zn_view_is_whole(v, &v->views[i]))
            zn_text_printf(out,
                           "mend first: the peers file of %s, which has replicas that ours does "
                           "not have\n",
                           v->views[i].replica->name);
}

static void all_text(const struct zn_views *v, size_t answer, const struct zn_matrix *m,
                     struct zn_text *out)
{
    struct zn_table table = {0};
    for (size_t i = 0; i < v->n; i++) {
        const struct zn_view *view = &v->views[i];
        struct zn_text last = {0};
        zn_table_cell(&table, "%s", view->replica->name);
        zn_table_cell(&table, "%s", zn_view_state(view));
        if (view->code == 0) {
            zn_table_cell(&table, "sees %zu/%zu", zn_view_up(view), view->status->peers_n);
            zn_table_cell(&table, "%s", view->status->pattern);
            zn_text_add(&last, "up for ");
            zn_text_duration(&last, view->status->uptime_us);
            zn_text_add(&last, view->differs ? "; its peers file differs" : "");
        } else {
            zn_session_cause(v->peers, view->replica->name, view->why, &last);
        }
        zn_table_cell(&table, "%s", last.n > 0 && !last.failed ? last.bytes : "-");
        zn_table_end_row(&table);
        zn_text_free(&last);
    }
    zn_table_print(&table, "", out);
    zn_text_printf(out, "%zu/%zu replicas answer\n", answer, v->n);
    zn_matrix_text(m, v->peers, out);
    if (zn_matrix_whole(m))
        put_files(v, out);
}

static void all_json(const struct zn_views *v, size_t answer, const struct zn_matrix *m,
                     struct zn_text *out)
{
    struct zn_json j = {.out = out};
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_u64(&j, "answer", answer);
    zn_json_u64(&j, "of", v->n);
    zn_json_open(&j, "replicas", '[');
    for (size_t i = 0; i < v->n; i++) {
        const struct zn_view *view = &v->views[i];
        zn_json_open(&j, NULL, '{');
        zn_json_string(&j, "name", view->replica->name);
        zn_json_string(&j, "endpoint", view->replica->endpoint);
        zn_json_string(&j, "state", zn_view_state(view));
        zn_json_u64(&j, "sees", zn_view_up(view));
        if (view->code == 0)
            view_json(view->status, &j);
        else
            zn_json_string(&j, "cause", view->why);
        if (view->code == 0)
            zn_json_bool(&j, "config_differs", view->differs);
        zn_json_close(&j, '}');
    }
    zn_json_close(&j, ']');
    zn_matrix_json(m, &j);
    zn_json_close(&j, '}');
    zn_text_add(out, "\n");
}

static int exit_of_all(const struct zn_views *v, const struct zn_matrix *m)
{
    bool whole = zn_matrix_whole(m);
    for (size_t i = 0; i < v->n; i++)
        whole = whole && zn_view_is_whole(v, &v->views[i]);
    if (whole)
        return 0;
    return m->majority != 0 ? ZN_EXIT_DEGRADED : ZN_EXIT_NO_QUORUM;
}

static int status_of_all(const struct zn_views *v)
{
    struct zn_text out = {0};
    struct zn_matrix *m = malloc(sizeof *m);
    size_t answer = 0;
    if (m == NULL)
        return ZN_EXIT_FAILED;
    zn_matrix_init(m, v->peers);
    for (size_t i = 0; i < v->n; i++) {
        answer += v->views[i].code == 0;
        if (v->views[i].code == 0)
            zn_matrix_answer(m, i, v->views[i].status);
    }
    zn_matrix_judge(m);
    if (v->o->json)
        all_json(v, answer, m, &out);
    else
        all_text(v, answer, m, &out);
    int rc = exit_of_all(v, m);
    free(m);
    zn_output_text(&out);
    return rc;
}

int zn_cmd_status(const struct zn_options *o)
{
    struct zn_views v;
    int rc = zn_views_open(&v, o);
    if (rc == 0) {
        uint64_t asked_us = zn_clock_us();
        zn_views_ask(&v, ASK_MS);
        if (v.signal == 0 && zn_clock_us() - asked_us > 1000 * FRESH_MS)
            zn_views_refresh(&v, FRESH_MS);
        int signal = v.signal != 0 ? v.signal : zn_session_wait_signal(0);
        rc = o->name != NULL ? status_of_one(&v) : status_of_all(&v);
        if (signal != 0)
            rc = zn_session_signal_exit(signal);
    }
    zn_views_close(&v);
    return rc;
}
