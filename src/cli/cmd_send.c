/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet send`: hand each message to one replica and print what became of it.
 *
 * One thread: the client node is driven here with zmqnet_process(), so that SIGINT and SIGTERM are
 * just another descriptor. Messages go one after the other, whether or not anybody reads the
 * receipts; the worst exit code wins. A signal stops the node, which completes the open request with
 * what is known; that receipt is printed, each message that was not sent is named, and the exit code
 * is 130 or 143. A message that the library does not take (too large, no memory) ends with a problem
 * and no receipt.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/receipt.h"
#include "cli/session.h"

struct body {
    const void *bytes;
    size_t n;
};

struct sender {
    const struct zn_options *o;
    zmqnet_peers *peers;
    zmqnet_node *node;
    int signal_fd;
    int signal;      /* that ends us; 0: none came */
    char cause[128]; /* why the replica was last not reached */
    struct zmqnet_call call;
    zmqnet_receipt *receipt; /* of the request that is open, once it is complete */
    struct zn_text input;    /* standard input */
};

/* ---- input -------------------------------------------------------------------------------- */

static int bad_input(const struct sender *s, const char *hint, const char *text)
{
    struct zn_problem problem;
    zn_problem_set(&problem, ZN_PROBLEM_USAGE, hint, "%s", text);
    return zn_problem_report(&problem, s->o->json);
}

/* All of standard input, byte for byte: a trailing newline belongs to the message. */
static int read_input(struct sender *s)
{
    char chunk[65536], text[128];
    ssize_t n;
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            snprintf(text, sizeof text, "standard input cannot be read: %s", strerror(errno));
            return bad_input(s, "", text);
        }
        zn_text_bytes(&s->input, chunk, (size_t)n);
        if (s->input.n > ZMQNET_MESSAGE_MAX || s->input.failed) {
            snprintf(text, sizeof text, "standard input is above the limit of %u bytes",
                     ZMQNET_MESSAGE_MAX);
            return bad_input(s, "send it in pieces", text);
        }
    }
    return 0;
}

static int check_input(struct sender *s)
{
    int from_stdin = s->o->args_n == 0;
    for (int i = 0; i < s->o->args_n; i++)
        from_stdin += strcmp(s->o->args[i], "-") == 0;
    if (s->o->args_n == 0 && isatty(STDIN_FILENO))
        return bad_input(s, "give it as an argument, or - to read standard input",
                         "send needs a message");
    if (from_stdin > 1)
        return bad_input(s, "give it once", "standard input (-) can be only one message");
    return from_stdin > 0 ? read_input(s) : 0;
}

static struct body body_of(const struct sender *s, int i)
{
    const char *arg = i < s->o->args_n ? s->o->args[i] : "-";
    if (strcmp(arg, "-") == 0)
        return (struct body){s->input.bytes, s->input.n};
    return (struct body){arg, strlen(arg)};
}

/* ---- one message -------------------------------------------------------------------------- */

static void on_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    struct sender *s = arg;
    (void)node;
    s->receipt = receipt;
}

/* Drive the node until the request is complete, or, if none is open, until until_us. A signal stops
 * the node, which completes what is open. */
static void drive(struct sender *s, bool open, uint64_t until_us)
{
    struct pollfd fds[] = {{zmqnet_fd(s->node), POLLIN, 0}, {s->signal_fd, POLLIN, 0}};
    struct signalfd_siginfo info;
    for (;;) {
        if (zmqnet_process(s->node) != 0 || (open && s->receipt != NULL))
            return;
        uint64_t now = zn_clock_us();
        uint64_t left_ms = until_us > now ? (until_us - now + 999) / 1000 : 0;
        if (!open && (left_ms == 0 || s->signal != 0))
            return;
        poll(fds, 2, open ? -1 : (int)(left_ms < 60000 ? left_ms : 60000));
        if (fds[1].revents == 0 || read(s->signal_fd, &info, sizeof info) != sizeof info)
            continue;
        s->signal = (int)info.ssi_signo;
        zmqnet_stop(s->node, 0);
    }
}

static void on_event(zmqnet_node *node, const struct zmqnet_event *event, void *arg)
{
    struct sender *s = arg;
    (void)node;
    if (event->cause[0] != '\0')
        snprintf(s->cause, sizeof s->cause, "%s", event->cause);
}

/* Rows that the library settled because the signal stopped the node say what was wrong before. */
static zmqnet_receipt interrupted_receipt(const struct sender *s,
                                          struct zmqnet_row rows[ZN_REPLICAS_MAX])
{
    zmqnet_receipt copy = *s->receipt;
    for (size_t i = 0; i < copy.rows_n && i < ZN_REPLICAS_MAX; i++) {
        rows[i] = copy.rows[i];
        if (strcmp(rows[i].why, "closing") == 0)
            rows[i].why = s->cause[0] != '\0' ? s->cause : "interrupted";
    }
    copy.rows = rows;
    return copy;
}

/* The problem of a request that the signal ended: what is known of it, and no remedy, because
 * nothing is wrong. */
static int interrupted_problem(const struct sender *s, struct zn_problem *problem)
{
    struct zn_text why = {0};
    int status = s->receipt->status;
    zn_text_add(&why, status == ZMQNET_EUNKNOWN ? "sent: it may have happened"
                                                : zmqnet_error_text(status));
    if (status == ZMQNET_ENEVERSENT && s->cause[0] != '\0') {
        zn_text_add(&why, ": ");
        zn_session_cause(s->peers, s->o->name, s->cause, &why);
    }
    zn_problem_set(problem, zn_problem_kind_of(status), "", "%s: interrupted (%s)", s->o->name,
                   why.failed ? "" : why.bytes);
    problem->exit = zn_session_signal_exit(s->signal);
    zn_text_free(&why);
    return zn_problem_exit(problem);
}

static int report_receipt(struct sender *s)
{
    struct zn_problem problem;
    struct zn_text out = {0};
    int code = zn_receipt_problem(s->receipt, s->o->name, s->peers, &problem);
    zmqnet_receipt receipt = *s->receipt;
    struct zmqnet_row rows[ZN_REPLICAS_MAX];
    if (code != 0 && s->signal != 0) {
        code = interrupted_problem(s, &problem);
        receipt = interrupted_receipt(s, rows);
    }
    if (s->o->json)
        zn_receipt_json(&receipt, s->o->name, &problem, &out);
    else
        zn_receipt_text(&receipt, s->o->name, s->peers, &out);
    zn_output_text(&out);
    if (code != 0)
        zn_problem_complain(&problem);
    zmqnet_receipt_free(&s->receipt);
    return code;
}

static int report_not_taken(struct sender *s, int rc)
{
    struct zn_problem problem;
    zn_problem_set(&problem, zn_problem_kind_of(rc), "", "%s: %s", s->o->name,
                   zmqnet_error_text(rc));
    if (s->signal != 0)
        problem.exit = zn_session_signal_exit(s->signal);
    return zn_problem_report(&problem, s->o->json);
}

static int report_not_sent(struct sender *s, int number)
{
    struct zn_problem problem;
    zn_problem_set(&problem, ZN_PROBLEM_NEVER_SENT, "", "%s: message %d not sent: interrupted",
                   s->o->name, number);
    problem.exit = zn_session_signal_exit(s->signal);
    return zn_problem_report(&problem, s->o->json);
}

static int send_one(struct sender *s, int number, struct body body)
{
    int rc;
    if (s->signal == 0)
        drive(s, false, zn_clock_us() + s->o->delay_us);
    if (s->signal != 0)
        return report_not_sent(s, number);
    if (s->o->to == NULL)
        rc = zmqnet_broadcast_async(s->node, body.bytes, body.n, &s->call, on_done, s);
    else
        rc = zmqnet_request_async(s->node, s->o->to, body.bytes, body.n, &s->call, on_done, s);
    if (rc != 0)
        return report_not_taken(s, rc);
    drive(s, true, 0);
    return s->receipt != NULL ? report_receipt(s) : report_not_taken(s, ZMQNET_ECLOSED);
}

/* ---- the command -------------------------------------------------------------------------- */

static int check_call(struct sender *s)
{
    const struct zn_options *o = s->o;
    char text[160];
    uint64_t try_ms = (o->timeout_us + 999) / 1000;
    size_t replicas = zmqnet_peers_count(s->peers);
    if (o->to != NULL && o->quorum_given)
        return bad_input(s, "leave one of them out",
                         "--quorum does not go with --to: one replica is asked");
    if (try_ms > ZMQNET_TIMEOUT_MAX_MS / o->retries) {
        snprintf(text, sizeof text, "--timeout times --retries is above %u s",
                 ZMQNET_TIMEOUT_MAX_MS / 1000);
        return bad_input(s, "make one of them smaller", text);
    }
    if (o->quorum > 0 && (size_t)o->quorum > replicas) {
        snprintf(text, sizeof text, "--quorum: %d of %zu replicas cannot be reached", o->quorum,
                 replicas);
        return bad_input(s, "give all, majority or a smaller number", text);
    }
    s->call.timeout_ms = (uint32_t)(try_ms * o->retries);
    s->call.attempts = (uint32_t)o->retries;
    s->call.quorum = o->quorum;
    return 0;
}

static int check(struct sender *s)
{
    int rc = zn_session_peers(s->o, false, &s->peers);
    if (rc == 0)
        rc = zn_session_check_name(s->o, s->peers, s->o->name);
    if (rc == 0 && s->o->to != NULL)
        rc = zn_session_check_name(s->o, s->peers, s->o->to);
    if (rc == 0)
        rc = check_call(s);
    if (rc == 0)
        rc = check_input(s);
    return rc;
}

static int open_client(struct sender *s)
{
    struct zn_problem problem;
    sigset_t set = zn_output_ending_signals();
    zn_session_block_signals();
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0) {
        zn_session_no_descriptor(&problem);
        return zn_problem_report(&problem, s->o->json);
    }
    if (zn_session_client_watched(s->o, s->peers, s->o->name, on_event, s, &s->node, &problem) != 0)
        return zn_problem_report(&problem, s->o->json);
    return 0;
}

int zn_cmd_send(const struct zn_options *o)
{
    struct sender s = {.o = o, .signal_fd = -1};
    int worst = check(&s);
    if (worst == 0)
        worst = open_client(&s);
    int messages = o->args_n > 0 ? o->args_n : 1;
    for (int i = 0; s.node != NULL && i < messages; i++) {
        int code = send_one(&s, i + 1, body_of(&s, i));
        if (code > worst)
            worst = code;
    }
    if (s.signal != 0)
        worst = zn_session_signal_exit(s.signal);
    zmqnet_close(&s.node);
    if (s.signal_fd >= 0)
        close(s.signal_fd);
    zmqnet_peers_free(&s.peers);
    zn_text_free(&s.input);
    return worst;
}
