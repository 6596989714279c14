/* SPDX-License-Identifier: MIT */
/*
 * What the commands that talk to a mesh share.
 *
 * The main thread owns everything here but the log callback, which runs in the loop of its node and
 * makes one write to stderr for each record. The peers file's errors are all shown, one line each;
 * with --json they are the "findings" of the error object, whose message joins them.
 */
#include "cli/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/output.h"

/* ---- the peers file ----------------------------------------------------------------------- */

void zn_session_diag(const char *path, const struct zmqnet_diag *diag, struct zn_text *out)
{
    zn_text_escaped(out, path, strlen(path));
    if (diag->line > 0)
        zn_text_printf(out, ":%d", diag->line);
    if (diag->line > 0 && diag->column > 0)
        zn_text_printf(out, ":%d", diag->column);
    zn_text_add(out, diag->code == 0 ? ": warning: " : ": ");
    zn_text_escaped(out, diag->text, strlen(diag->text));
}

void zn_session_findings(const struct zmqnet_diag *diags, size_t n, struct zn_json *j)
{
    zn_json_open(j, "findings", '[');
    for (size_t i = 0; i < n; i++) {
        zn_json_open(j, NULL, '{');
        zn_json_string(j, "level", diags[i].code != 0 ? "error" : "warning");
        if (diags[i].line > 0)
            zn_json_i64(j, "line", diags[i].line);
        if (diags[i].column > 0)
            zn_json_i64(j, "column", diags[i].column);
        zn_json_string(j, "text", diags[i].text);
        zn_json_close(j, '}');
    }
    zn_json_close(j, ']');
}

static void tell_warnings(const struct zn_options *o, const struct zmqnet_diag *diags, size_t n)
{
    for (size_t i = 0; i < n && !o->quiet; i++) {
        struct zn_text line = {0};
        zn_session_diag(o->peers, &diags[i], &line);
        zn_output_complain("%s", line.failed ? "out of memory" : line.bytes);
        zn_text_free(&line);
    }
}

static int report_findings(const struct zn_problem *problem, const struct zmqnet_diag *diags,
                           size_t n)
{
    struct zn_text out = {0};
    struct zn_json j = {.out = &out};
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_bool(&j, "ok", false);
    zn_session_findings(diags, n, &j);
    zn_problem_json(problem, &j);
    zn_json_close(&j, '}');
    zn_text_add(&out, "\n");
    zn_output_text(&out);
    zn_problem_complain(problem);
    return zn_problem_exit(problem);
}

static int report_peers(const struct zn_options *o, int code, const struct zmqnet_diag *diags,
                        size_t n)
{
    struct zn_problem problem;
    struct zn_text all = {0};
    char hint[256];
    if (code != ZMQNET_ECONFIG || n == 0) {
        zn_problem_set(&problem, zn_problem_kind_of(code), "", "%s: %s", o->peers,
                       zmqnet_error_text(code));
        return zn_problem_report(&problem, o->json);
    }
    if (!o->json) {
        tell_warnings(&(struct zn_options){.peers = o->peers}, diags, n);
        return ZN_EXIT_USAGE;
    }
    for (size_t i = 0; i < n; i++) {
        if (diags[i].code == 0)
            continue;
        zn_text_add(&all, all.n > 0 ? "; " : "");
        zn_session_diag(o->peers, &diags[i], &all);
    }
    snprintf(hint, sizeof hint, "zmqnet check -p %s reads it again", o->peers);
    zn_problem_set(&problem, ZN_PROBLEM_CONFIG, hint, "%s",
                   all.failed || all.n == 0 ? "" : all.bytes);
    zn_text_free(&all);
    return report_findings(&problem, diags, n);
}

int zn_session_peers(const struct zn_options *o, bool warnings, zmqnet_peers **peers)
{
    struct zmqnet_diag *diags = calloc(ZN_DIAGS_MAX, sizeof *diags);
    size_t n = 0;
    int code = 0;
    int rc = zmqnet_peers_load(o->peers, peers, diags, diags != NULL ? ZN_DIAGS_MAX : 0, &n);
    if (diags == NULL || n > ZN_DIAGS_MAX)
        n = diags == NULL ? 0 : ZN_DIAGS_MAX;
    if (rc != 0)
        code = report_peers(o, rc, diags, n);
    else if (warnings)
        tell_warnings(o, diags, n);
    free(diags);
    return code;
}

void zn_session_names(const zmqnet_peers *peers, struct zn_text *out)
{
    for (size_t i = 0; i < zmqnet_peers_count(peers); i++)
        zn_text_printf(out, "%s%s", i > 0 ? ", " : "", zmqnet_peers_get(peers, i)->name);
}

int zn_session_check_name(const struct zn_options *o, const zmqnet_peers *peers, const char *name)
{
    struct zn_problem problem;
    struct zn_text names = {0};
    if (name != NULL && zmqnet_peers_find(peers, name) >= 0)
        return 0;
    zn_session_names(peers, &names);
    const char *list = names.failed || names.n == 0 ? "no replica" : names.bytes;
    if (name == NULL)
        zn_problem_set(&problem, ZN_PROBLEM_USAGE, "",
                       "%s needs a replica: -n NAME, or ZMQNET_NAME; the peers file has %s",
                       zn_verbs[o->verb].name, list);
    else
        zn_problem_set(&problem, ZN_PROBLEM_USAGE, "", "%s has no replica %s; it has %s", o->peers,
                       name, list);
    zn_text_free(&names);
    return zn_problem_report(&problem, o->json);
}

/* ---- client and log ----------------------------------------------------------------------- */

enum zmqnet_level zn_session_level(const struct zn_options *o, bool stays)
{
    /* Nothing is said per message, so the scale's trace and debug are one for a command that stays.
     * One that answers a question tells what went wrong in its answer: a warning from its own link
     * would say it twice. */
    static const enum zmqnet_level levels[2][5] = {
        {ZMQNET_DEBUG, ZMQNET_INFO, ZMQNET_ERROR, ZMQNET_ERROR, ZMQNET_ERROR},
        {ZMQNET_DEBUG, ZMQNET_DEBUG, ZMQNET_INFO, ZMQNET_WARN, ZMQNET_ERROR},
    };
    uint64_t v = o->verbose < o->verbosity ? o->verbosity - o->verbose : 0;
    return o->quiet ? ZMQNET_ERROR : levels[stays][v];
}

void zn_session_log_line(struct zn_text *out, enum zmqnet_level level, const char *id,
                         const char *text, bool colour)
{
    static const char *const names[] = {"debug", "info ", "warn ", "error"};
    static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    zn_text_printf(out, "%s%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s ",
                   colour ? colours[level] : "", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                   utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, names[level], id);
    zn_text_escaped(out, text, strlen(text));
    zn_text_add(out, colour ? "\033[0m\n" : "\n");
}

static void log_to_stderr(enum zmqnet_level level, const char *id, const char *text, void *arg)
{
    const struct zn_options *o = arg;
    struct zn_text line = {0};
    zn_session_log_line(&line, level, id, text, zn_output_colour(STDERR_FILENO, o->no_color));
    if (!line.failed)
        (void)!write(STDERR_FILENO, line.bytes, line.n);
    zn_text_free(&line);
}

int zn_session_no_descriptor(struct zn_problem *problem)
{
    return zn_problem_set(problem, ZN_PROBLEM_FAILED, "raise the limit of open files: ulimit -n",
                          "no descriptor: %s", strerror(errno));
}

int zn_session_client(const struct zn_options *o, const zmqnet_peers *peers, const char *via,
                      zmqnet_node **node, struct zn_problem *problem)
{
    return zn_session_client_watched(o, peers, via, NULL, NULL, node, problem);
}

int zn_session_client_watched(const struct zn_options *o, const zmqnet_peers *peers,
                              const char *via, zmqnet_on_event on_event, void *event_arg,
                              zmqnet_node **node, struct zn_problem *problem)
{
    struct zmqnet_options options = {
        .via = via,
        .log = log_to_stderr,
        .log_arg = (void *)o,
        .log_level = zn_session_level(o, false),
        .on_event = on_event,
        .event_arg = event_arg,
    };
    struct zmqnet_diag diag = {0};
    int rc = zmqnet_open(node, peers, &options, &diag);
    if (rc == 0)
        return 0;
    return zn_problem_set(problem, zn_problem_kind_of(rc), "", "%s",
                          diag.text[0] != '\0' ? diag.text : zmqnet_error_text(rc));
}

/* ---- signals ------------------------------------------------------------------------------ */

void zn_session_block_signals(void)
{
    sigset_t set = zn_output_ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int zn_session_wait_signal(unsigned timeout_ms)
{
    sigset_t set = zn_output_ending_signals();
    struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    int signal = sigtimedwait(&set, NULL, &timeout);
    return signal > 0 ? signal : 0;
}

int zn_session_signal_exit(int signal)
{
    return signal == SIGINT ? ZN_EXIT_SIGINT : ZN_EXIT_SIGTERM;
}

/* ---- causes ------------------------------------------------------------------------------- */

/* Is this cause one of a connection, so that the address helps the reader? */
static bool is_connection(const char *cause)
{
    static const char *const words[] = {"connect",       "unreachable", "no route",
                                        "resolve",       "handshake",   "silent",
                                        "answers there", "answer there"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(cause, words[i]) != NULL)
            return true;
    return false;
}

void zn_session_address(const struct zmqnet_replica *r, struct zn_text *out)
{
    bool v6 = strchr(r->host, ':') != NULL;
    zn_text_printf(out, "%s%s%s:%u", v6 ? "[" : "", r->host, v6 ? "]" : "", r->port);
}

void zn_session_cause(const zmqnet_peers *peers, const char *name, const char *cause,
                      struct zn_text *out)
{
    int i = zmqnet_peers_find(peers, name);
    zn_text_escaped(out, cause, strlen(cause));
    if (i < 0 || !is_connection(cause))
        return;
    zn_text_add(out, ", ");
    zn_session_address(zmqnet_peers_get(peers, (size_t)i), out);
}

/* Nothing comes from there, and nothing refuses: a stopped process takes connections too, and behind
 * a firewall that drops packets it looks the same. */
static bool is_mute(const char *cause)
{
    return strcmp(cause, "not connected yet") == 0 || strcmp(cause, "silent") == 0 ||
           strstr(cause, "handshake") != NULL;
}

void zn_session_remedy(const zmqnet_peers *peers, const char *name, const char *cause,
                       char out[ZN_REMEDY_MAX])
{
    struct zn_text where = {0};
    int i = zmqnet_peers_find(peers, name);
    out[0] = '\0';
    if (i >= 0)
        zn_session_address(zmqnet_peers_get(peers, (size_t)i), &where);
    if (strstr(cause, "connection refused") != NULL)
        snprintf(out, ZN_REMEDY_MAX, "start it with zmqnet serve -n %s", name);
    else if (strstr(cause, "resolve") != NULL)
        snprintf(out, ZN_REMEDY_MAX, "check the address in the peers file");
    else if (strstr(cause, "peers file") != NULL)
        snprintf(out, ZN_REMEDY_MAX, "give all replicas the same peers file");
    else if (is_mute(cause) && where.n > 0 && !where.failed)
        snprintf(
            out, ZN_REMEDY_MAX,
            "nothing answers at %s: is it stopped (kill -CONT), another program (ss -ltnp), or "
            "cut off (a firewall)?",
            where.bytes);
    zn_text_free(&where);
}
