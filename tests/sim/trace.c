/* SPDX-License-Identifier: MIT */
/*
 * The text of a run. One line for each thing that happens, with the virtual time since the cluster was
 * settled; what core sends is shown when it is sent, and marked if it will not arrive.
 *
 * Lives are random numbers, so they are shown as NAME.N, the Nth life of that process, and a request id
 * as NAME.N-SEQ. Pings and hellos are left out unless asked for: they hide everything else.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "sim.h"

const char *const sim_kind_names[ZN_KINDS] = {
    [ZN_LEGACY] = "LEGACY", [ZN_HELLO] = "HELLO",     [ZN_PING] = "PING",
    [ZN_PONG] = "PONG",     [ZN_REQUEST] = "REQUEST", [ZN_SUBMIT] = "SUBMIT",
    [ZN_REPLY] = "REPLY",   [ZN_STATUS] = "STATUS",   [ZN_BYE] = "BYE",
};

#define TEXT_SHOWN 40

/* ---- names ---- */

void sim_life_add(struct sim *s, uint64_t life, int node, uint32_t n)
{
    assert(s->lives_n < SIM_LIVES_MAX);
    s->lives[s->lives_n].life = life;
    s->lives[s->lives_n].node = node;
    s->lives[s->lives_n].n = n;
    s->lives_n++;
}

const char *sim_life_text(const struct sim *s, uint64_t life, char *out, size_t n)
{
    for (size_t i = 0; i < s->lives_n; i++)
        if (s->lives[i].life == life) {
            snprintf(out, n, "%s.%" PRIu32, s->nodes[s->lives[i].node].name, s->lives[i].n);
            return out;
        }
    if (s->originals) /* has no life of its own: core makes one up for each connection */
        snprintf(out, n, "original");
    else
        snprintf(out, n, "%" PRIx64, life);
    return out;
}

uint64_t sim_life_of(const struct sim *s, int node, uint32_t n)
{
    for (size_t i = 0; i < s->lives_n; i++)
        if (s->lives[i].node == node && s->lives[i].n == n)
            return s->lives[i].life;
    return 0;
}

const char *sim_id_text(const struct sim *s, struct zmqnet_id id, char *out, size_t n)
{
    char life[96];
    if (id.origin == 0)
        snprintf(out, n, "none");
    else
        snprintf(out, n, "%s-%" PRIu64, sim_life_text(s, id.origin, life, sizeof life), id.seq);
    return out;
}

/* ---- lines ---- */

static void say_time(struct sim *s)
{
    uint64_t us = s->now_us - s->start_us;
    fprintf(s->out, "%6" PRIu64 ".%03" PRIu64 "ms ", us / 1000, us % 1000);
}

void sim_say(struct sim *s, const char *format, ...)
{
    if (!s->out)
        return;
    va_list args;
    va_start(args, format);
    say_time(s);
    vfprintf(s->out, format, args);
    va_end(args);
    fputc('\n', s->out);
}

static void say_bytes(FILE *out, const char *head, const struct zn_blob *b)
{
    size_t n = zn_blob_bytes(b);
    if (!n)
        return;
    fprintf(out, "%s\"", head);
    for (size_t i = 0; i < n && i < TEXT_SHOWN; i++) {
        uint8_t c = zn_blob_data(b)[i];
        fputc(c >= ' ' && c < 127 ? c : '.', out);
    }
    fputs(n > TEXT_SHOWN ? "...\"" : "\"", out);
    if (n > TEXT_SHOWN)
        fprintf(out, " (%zu bytes)", n);
}

/* ---- messages ---- */

static void say_lives(const struct sim *s, const struct zn_msg *msg)
{
    char text[96];
    for (size_t i = 0; i < msg->lives_n; i++)
        fprintf(s->out, "%s%s",
                i ? "," : " for=", sim_life_text(s, msg->to_life[i], text, sizeof text));
}

static void say_quorum(FILE *out, int32_t quorum)
{
    if (quorum == ZMQNET_QUORUM_ALL)
        fputs(" quorum=all", out);
    else if (quorum == ZMQNET_QUORUM_MAJORITY)
        fputs(" quorum=majority", out);
    else
        fprintf(out, " quorum=%" PRId32, quorum);
}

static void say_question(const struct sim *s, const struct zn_msg *msg)
{
    fprintf(s->out, " attempt=%" PRIu32, msg->attempt);
    say_lives(s, msg);
    if (msg->kind == ZN_SUBMIT) {
        if (msg->target[0])
            fprintf(s->out, " target=%s", msg->target);
        else
            say_quorum(s->out, msg->quorum);
    }
    fprintf(s->out, " budget=%" PRIu32 "ms", msg->budget_ms);
    if (msg->floor)
        fprintf(s->out, " floor=%" PRIu64, msg->floor);
    if (msg->idempotent)
        fputs(" idempotent", s->out);
    say_bytes(s->out, " ", msg->body);
}

static void say_code(FILE *out, int32_t code)
{
    if (code < 0)
        fprintf(out, " %s", zmqnet_error_name(code));
    else if (code > 0)
        fprintf(out, " refused=%" PRId32, code);
    else
        fputs(" ok", out);
}

static void say_reply(const struct sim *s, const struct zn_msg *msg)
{
    say_code(s->out, msg->code);
    say_lives(s, msg);
    if (msg->rows_n)
        fprintf(s->out, " have=%" PRIu32 "/%" PRIu32, msg->have, msg->need);
    for (size_t i = 0; i < msg->rows_n; i++)
        fprintf(s->out, " %s=%s", msg->rows[i].name, zmqnet_outcome_name(msg->rows[i].outcome));
    if (msg->status)
        fprintf(s->out, " view of %s", msg->status->name);
    say_bytes(s->out, " ", msg->body);
}

static void say_hello(const struct sim *s, const struct zn_msg *msg)
{
    char life[96];
    fprintf(s->out, " %s", msg->sender[0] ? msg->sender : "(client)");
    if (msg->life)
        fprintf(s->out, " life=%s", sim_life_text(s, msg->life, life, sizeof life));
    if (msg->target[0])
        fprintf(s->out, " to=%s", msg->target);
    if (msg->code)
        say_code(s->out, msg->code);
}

static bool hidden(const struct sim *s, const struct zn_msg *msg)
{
    if (!s->out)
        return true;
    if (msg->kind == ZN_PING || msg->kind == ZN_PONG)
        return !s->show_pings;
    return msg->kind == ZN_HELLO && !s->show_hellos && msg->code == 0;
}

void sim_say_msg(struct sim *s, const char *from, const char *to, const struct zn_msg *msg,
                 const char *fate)
{
    char id[128];
    if (hidden(s, msg))
        return;
    say_time(s);
    fprintf(s->out, "%s -> %s %s", from, to, sim_kind_names[msg->kind]);
    if (msg->id.origin)
        fprintf(s->out, " id=%s", sim_id_text(s, msg->id, id, sizeof id));
    switch (msg->kind) {
    case ZN_REQUEST:
    case ZN_SUBMIT: say_question(s, msg); break;
    case ZN_REPLY: say_reply(s, msg); break;
    case ZN_HELLO:
    case ZN_BYE:
    case ZN_PING:
    case ZN_PONG: say_hello(s, msg); break;
    default: say_bytes(s->out, " ", msg->body);
    }
    fprintf(s->out, "%s%s\n", fate[0] ? "  " : "", fate);
}

/* ---- completions ---- */

static void say_ms(FILE *out, uint64_t us)
{
    fprintf(out, "%" PRIu64 ".%03" PRIu64 "ms", us / 1000, us % 1000);
}

static void say_row(struct sim *s, const struct zn_row *r)
{
    fprintf(s->out, "%13s%-8s %s", "", r->name, zmqnet_outcome_name(r->outcome));
    if (r->outcome == ZMQNET_ACKED || r->outcome == ZMQNET_REFUSED) {
        fputc(' ', s->out);
        say_ms(s->out, r->rtt_us);
    }
    if (r->code)
        fprintf(s->out, " code=%" PRId32, r->code);
    if (r->why && r->why[0])
        fprintf(s->out, " (%s)", r->why);
    say_bytes(s->out, " ", r->reply);
    fputc('\n', s->out);
}

void sim_say_done(struct sim *s, int node, const struct zn_action *a)
{
    const struct zn_done *d = &a->done;
    char id[128];
    if (!s->out)
        return;
    say_time(s);
    fprintf(s->out, "%s done call=%" PRIu64 " %s", s->nodes[node].name, a->tag,
            zmqnet_error_name(d->status));
    fprintf(s->out, " %" PRIu32 " of %" PRIu32 ", need %" PRIu32 ", in ", d->have, d->of, d->need);
    say_ms(s->out, d->elapsed_us);
    fprintf(s->out, " attempts=%" PRIu32 " id=%s", d->attempts,
            sim_id_text(s, d->id, id, sizeof id));
    if (d->via >= 0 && d->via != s->nodes[node].self)
        fprintf(s->out, " via=%s", s->nodes[d->via].name);
    if (d->status != 0)
        fprintf(s->out, " (%s)", d->why);
    fputc('\n', s->out);
    for (size_t i = 0; i < d->rows_n; i++)
        say_row(s, &d->rows[i]);
    if (d->status_view)
        sim_say_status(s, d->status_view);
}

/* ---- snapshots ---- */

void sim_say_status(struct sim *s, const zmqnet_status *status)
{
    if (!s->out)
        return;
    for (size_t i = 0; i < status->peers_n; i++) {
        const struct zmqnet_peer_status *p = &status->peers[i];
        fprintf(s->out, "%13s%-8s %-10s sent=%" PRIu64 " acked=%" PRIu64 " refused=%" PRIu64, "",
                p->name, zmqnet_state_name(p->state), p->sent, p->acked, p->refused);
        fprintf(s->out, " unknown=%" PRIu64 " never_sent=%" PRIu64, p->unknown, p->never_sent);
        fprintf(s->out, " retries=%" PRIu64 " late=%" PRIu64 " queue=%" PRIu64, p->retries, p->late,
                p->queue_messages);
        fprintf(s->out, " inflight=%" PRIu64 "%s", p->inflight,
                p->config_differs ? " config_differs" : "");
        if (p->cause && p->cause[0])
            fprintf(s->out, " (%s)", p->cause);
        fputc('\n', s->out);
    }
}

void sim_say_rows(struct sim *s, const zmqnet_status *status)
{
    if (!s->out)
        return;
    for (size_t i = 0; i < status->rows_n; i++) {
        const struct zmqnet_heard *row = &status->rows[i];
        fprintf(s->out, "%13s%-8s said", "", row->name);
        for (size_t p = 0; p < status->peers_n; p++) {
            const struct zmqnet_link *link = &row->links[p];
            const char *cause = zn_reach_cause_text(link->cause);
            fprintf(s->out, " %s=%s", status->peers[p].name, zmqnet_state_name(link->state));
            if (cause[0])
                fprintf(s->out, " (%s)", cause);
        }
        fputs(", ", s->out);
        say_ms(s->out, row->age_us);
        fputs(" ago\n", s->out);
    }
}

/* Traffic is left out unless all is wanted: it changes with every ping. */
void sim_say_counters(struct sim *s, const zmqnet_status *status, bool all)
{
    static const char *const traffic[] = {"frames_in", "frames_out", "messages_in", "messages_out"};
    if (!s->out)
        return;
    for (size_t i = 0; i < status->counters_n; i++) {
        const struct zmqnet_counter *c = &status->counters[i];
        bool shown = c->value != 0;
        for (size_t t = 0; t < sizeof traffic / sizeof *traffic; t++)
            if (!all && strcmp(c->name, traffic[t]) == 0)
                shown = false;
        if (shown)
            fprintf(s->out, "%13s%s=%" PRIu64 "\n", "", c->name, c->value);
    }
}
