/* SPDX-License-Identifier: MIT */
/*
 * A receipt as `send` prints it: lines for people, one object for programs, and the sentence and
 * exit code of one that failed. Pure: text in, text out.
 */
#include "cli/receipt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/session.h"

/* ---- what went wrong ---------------------------------------------------------------------- */

/* "alpha refused with code 3: text, charlie never sent (connection refused, localhost:3266)".
 * When the request was refused, the rows that were not tried for that reason are left out. */
static void describe_rows(const zmqnet_receipt *r, const zmqnet_peers *peers, struct zn_text *out)
{
    const char *separator = "";
    for (size_t i = 0; i < r->rows_n; i++) {
        const struct zmqnet_row *row = &r->rows[i];
        bool answered = row->outcome == ZMQNET_SELF || row->outcome == ZMQNET_ACKED;
        bool follows = r->status == ZMQNET_EREFUSED && row->outcome != ZMQNET_REFUSED;
        if (answered || follows)
            continue;
        zn_text_add(out, separator);
        zn_text_escaped(out, row->name, strlen(row->name));
        zn_text_add(out, " ");
        separator = ", ";
        if (row->outcome == ZMQNET_REFUSED) {
            zn_text_printf(out, "refused with code %" PRId32 "%s", row->code,
                           row->reply_bytes > 0 ? ": " : "");
            zn_text_escaped(out, row->reply, row->reply_bytes);
            continue;
        }
        zn_text_add(out, row->outcome == ZMQNET_UNACKED ? "unknown" : "never sent");
        if (row->why[0] == '\0')
            continue;
        zn_text_add(out, " (");
        zn_session_cause(peers, row->name, row->why, out);
        zn_text_add(out, ")");
    }
}

/* The row that says why a request to one replica failed; NULL if it did not get that far. */
static const struct zmqnet_row *failing_row(const zmqnet_receipt *r, const char *via)
{
    bool one = r->rows_n == 1 && r->via[0] != '\0' && strcmp(r->rows[0].name, via) != 0;
    return one && r->rows[0].why[0] != '\0' ? &r->rows[0] : NULL;
}

static void hint_never_sent(const zmqnet_receipt *r, const char *via, const zmqnet_peers *peers,
                            char *hint, size_t n)
{
    const struct zmqnet_row *row = failing_row(r, via);
    char remedy[ZN_REMEDY_MAX];
    if (row != NULL)
        zn_session_remedy(peers, row->name, row->why, remedy);
    else
        zn_session_remedy(peers, via, r->why, remedy);
    if (remedy[0] == '\0')
        snprintf(hint, n, "nothing happened: send again later");
    else
        snprintf(hint, n, "nothing happened: %s", remedy);
}

static void choose_hint(const zmqnet_receipt *r, const char *via, const zmqnet_peers *peers,
                        char *hint, size_t n)
{
    hint[0] = '\0';
    if (r->status == ZMQNET_ENOQUORUM && r->need > r->have && r->have * 2 > r->of)
        snprintf(hint, n,
                 "those that said yes have run it: --quorum majority would be content; sent again, "
                 "it is a new message with a new id");
    else if (r->status == ZMQNET_ENOQUORUM)
        snprintf(
            hint, n,
            "zmqnet status shows who is up; those that said yes have run it: sent again, it is "
            "a new message with a new id");
    else if (r->status == ZMQNET_EUNKNOWN)
        snprintf(hint, n, "look whether it did before you send it anew");
    else if (r->status == ZMQNET_ENEVERSENT)
        hint_never_sent(r, via, peers, hint, n);
    else if (r->status == ZMQNET_EFULL)
        snprintf(hint, n, "nothing happened: send again later");
}

int zn_receipt_problem(const zmqnet_receipt *r, const char *via, const zmqnet_peers *peers,
                       struct zn_problem *problem)
{
    struct zn_text rows = {0}, why = {0};
    char hint[256];
    if (r->status == 0)
        return 0;
    choose_hint(r, via, peers, hint, sizeof hint);
    describe_rows(r, peers, &rows);
    zn_session_cause(peers, via, r->why[0] != '\0' ? r->why : zmqnet_error_text(r->status), &why);
    const char *why_text = why.n > 0 && !why.failed ? why.bytes : "";
    const char *rows_text = rows.n > 0 && !rows.failed ? rows.bytes : why_text;
    enum zn_problem_kind kind = zn_problem_kind_of(r->status);
    if (r->status == ZMQNET_ENOQUORUM)
        zn_problem_set(problem, kind, hint,
                       "%s: no quorum, %u/%u said yes and %u were asked for: %s", via, r->have,
                       r->of, r->need, rows_text);
    else if (r->status == ZMQNET_EREFUSED)
        zn_problem_set(problem, kind, hint, "%s", rows_text);
    else if (failing_row(r, via) != NULL)
        zn_problem_set(problem, kind, hint, "%s: %s", via, rows_text);
    else
        zn_problem_set(problem, kind, hint, "%s: %s (%s)", via, zmqnet_error_text(r->status),
                       why_text);
    zn_text_free(&rows);
    zn_text_free(&why);
    return zn_problem_exit(problem);
}

/* ---- for people --------------------------------------------------------------------------- */

static void row_text(const struct zmqnet_row *row, const zmqnet_peers *peers,
                     struct zn_table *table)
{
    struct zn_text rest = {0};
    bool answered = row->outcome != ZMQNET_UNACKED && row->outcome != ZMQNET_NEVER_SENT;
    const char *outcome = zmqnet_outcome_name(row->outcome);
    zn_table_cell(table, "%s", row->name);
    zn_table_cell(table, "%s", row->outcome == ZMQNET_NEVER_SENT ? "never sent" : outcome);
    if (answered)
        zn_text_duration(&rest, row->rtt_us);
    else
        zn_session_cause(peers, row->name, row->why, &rest);
    if (row->outcome == ZMQNET_REFUSED)
        zn_text_printf(&rest, "  code %" PRId32, row->code);
    if (row->reply_bytes > 0)
        zn_text_add(&rest, "  ");
    zn_text_escaped(&rest, row->reply, row->reply_bytes);
    if (rest.n > 0 && !rest.failed)
        zn_table_cell(table, "%s", rest.bytes);
    zn_table_end_row(table);
    zn_text_free(&rest);
}

void zn_receipt_text(const zmqnet_receipt *r, const char *via, const zmqnet_peers *peers,
                     struct zn_text *out)
{
    struct zn_table table = {0};
    char id[ZN_ID_TEXT_MAX];
    zn_id_format(r->id, id);
    zn_text_printf(out, "%s  %s  quorum %u/%u in ", via, id, r->have, r->of);
    zn_text_duration(out, r->elapsed_us);
    zn_text_add(out, "\n");
    /* The coordinator stands in the first line; its row is told only if there is more to say. */
    for (size_t i = 0; i < r->rows_n; i++)
        if (r->rows_n == 1 || r->rows[i].outcome != ZMQNET_SELF || r->rows[i].reply_bytes > 0)
            row_text(&r->rows[i], peers, &table);
    zn_table_print(&table, "  ", out);
}

/* ---- for programs ------------------------------------------------------------------------- */

static void row_json(const struct zmqnet_row *row, struct zn_json *j)
{
    zn_json_open(j, NULL, '{');
    zn_json_string(j, "name", row->name);
    zn_json_string(j, "outcome", zmqnet_outcome_name(row->outcome));
    if (row->outcome == ZMQNET_ACKED || row->outcome == ZMQNET_REFUSED)
        zn_json_u64(j, "rtt_us", row->rtt_us);
    if (row->outcome == ZMQNET_REFUSED)
        zn_json_i64(j, "code", row->code);
    if (row->reply_bytes > 0)
        zn_json_body(j, "reply", row->reply, row->reply_bytes);
    if (row->outcome == ZMQNET_UNACKED || row->outcome == ZMQNET_NEVER_SENT)
        zn_json_string(j, "why", row->why);
    zn_json_close(j, '}');
}

void zn_receipt_json(const zmqnet_receipt *r, const char *via, const struct zn_problem *problem,
                     struct zn_text *out)
{
    struct zn_json j = {.out = out};
    char id[ZN_ID_TEXT_MAX];
    zn_id_format(r->id, id);
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_bool(&j, "ok", r->status == 0);
    zn_json_string(&j, "id", id);
    zn_json_string(&j, "via", via);
    zn_json_open(&j, "quorum", '{');
    zn_json_u64(&j, "need", r->need);
    zn_json_u64(&j, "have", r->have);
    zn_json_u64(&j, "of", r->of);
    zn_json_close(&j, '}');
    zn_json_u64(&j, "elapsed_us", r->elapsed_us);
    zn_json_u64(&j, "attempts", r->attempts);
    zn_json_open(&j, "peers", '[');
    for (size_t i = 0; i < r->rows_n; i++)
        row_json(&r->rows[i], &j);
    zn_json_close(&j, ']');
    if (r->status != 0)
        zn_problem_json(problem, &j);
    zn_json_close(&j, '}');
    zn_text_add(out, "\n");
}
