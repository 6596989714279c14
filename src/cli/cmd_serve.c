/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet serve`: one replica in the foreground.
 *
 * One thread and one epoll: the node's descriptor, a signalfd (signals are blocked before the node
 * is opened, so its threads do not take them), a timerfd for --uptime, and standard output and
 * error, for room when they have something left to write, and always for the reader's end. Output
 * goes through spools: a reader that does not read costs dropped lines, which are counted and told,
 * and never stops the replica.
 *
 * Good path: ready line, a line per message, SIGTERM, SIGINT or the end of --uptime, a second to
 * finish what is open, exit 0. Failures: the port is taken or descriptors are too few (1), a name
 * or pattern that does not exist or a second replica of this name (2), output that cannot be
 * written (1). A reader that went away ends the replica quietly. A second signal ends it at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/notify.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/spool.h"

#define GRACE_MS 1000
#define LINGER_MS 200

enum source { SOURCE_NODE, SOURCE_SIGNAL, SOURCE_UPTIME, SOURCE_OUT, SOURCE_ERR, SOURCES_N };

enum phase { PHASE_SERVING, PHASE_STOPPING, PHASE_ENDED };

struct sink {
    struct zn_spool spool;
    enum source source;
    bool watched;    /* by the epoll */
    uint32_t events; /* for these, besides errors */
    bool no_poll;    /* a file, which never makes us wait */
};

struct server {
    const struct zn_options *o;
    zmqnet_peers *peers;
    zmqnet_node *node;
    int epoll_fd, signal_fd, uptime_fd;
    enum phase phase;
    uint64_t stop_us; /* when stopping began */
    int code;         /* to exit with */
    struct sink out, err;
    bool colour;
    bool clash;
};

/* ---- what is written ---------------------------------------------------------------------- */

static void on_log(enum zmqnet_level level, const char *id, const char *text, void *arg)
{
    struct server *s = arg;
    struct zn_text line = {0};
    zn_session_log_line(&line, level, id, text, s->colour);
    zn_spool_put(&s->err.spool, &line);
}

static int on_message(zmqnet_node *node, const struct zmqnet_message *m, void *arg)
{
    struct server *s = arg;
    struct zn_text line = {0};
    struct zn_json j = {.out = &line};
    char id[ZN_ID_TEXT_MAX];
    (void)node;
    if (s->o->quiet)
        return 0;
    zn_id_format(m->id, id);
    if (s->o->json) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "v", 1);
        zn_json_string(&j, "event", "deliver");
        zn_json_string(&j, "from", m->from);
        zn_json_string(&j, "id", id);
        zn_json_u64(&j, "bytes", m->body_bytes);
        zn_json_body(&j, "message", m->body, m->body_bytes);
        zn_json_close(&j, '}');
    } else {
        zn_text_printf(&line, "deliver %s %s ", m->from, id);
        zn_text_escaped(&line, m->body, m->body_bytes);
    }
    zn_text_add(&line, "\n");
    zn_spool_put(&s->out.spool, &line);
    return 0;
}

static void on_event(zmqnet_node *node, const struct zmqnet_event *event, void *arg)
{
    struct server *s = arg;
    (void)node;
    if (event->code == ZMQNET_ECLASH)
        s->clash = true;
}

static void put_ready(struct server *s)
{
    int i = zmqnet_peers_find(s->peers, s->o->name);
    const struct zmqnet_replica *self = zmqnet_peers_get(s->peers, (size_t)i);
    size_t others = zmqnet_peers_count(s->peers) - 1;
    struct zn_text line = {0};
    struct zn_json j = {.out = &line};
    if (s->o->json) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "v", 1);
        zn_json_string(&j, "event", "ready");
        zn_json_string(&j, "name", self->name);
        zn_json_string(&j, "endpoint", self->endpoint);
        zn_json_string(&j, "pattern", s->o->pattern);
        zn_json_u64(&j, "peers", others);
        zn_json_i64(&j, "pid", getpid());
        zn_json_close(&j, '}');
    } else {
        zn_text_printf(&line, "ready %s %s %s %zu peers", self->name, self->endpoint, s->o->pattern,
                       others);
    }
    zn_text_add(&line, "\n");
    zn_spool_put(&s->out.spool, &line);
}

/* ---- opening ------------------------------------------------------------------------------ */

static bool watch(struct server *s, int fd, enum source source, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u32 = source};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0;
}

static int no_descriptor(struct server *s)
{
    struct zn_problem problem;
    zn_session_no_descriptor(&problem);
    return zn_problem_report(&problem, s->o->json);
}

static int open_descriptors(struct server *s)
{
    sigset_t set = zn_output_ending_signals();
    struct itimerspec uptime = {0};
    zn_session_block_signals();
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->uptime_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->epoll_fd < 0 || s->signal_fd < 0 || s->uptime_fd < 0)
        return no_descriptor(s);
    uptime.it_value.tv_sec = (time_t)(s->o->uptime_us / 1000000);
    uptime.it_value.tv_nsec = (long)(s->o->uptime_us % 1000000) * 1000;
    timerfd_settime(s->uptime_fd, 0, &uptime, NULL);
    if (!watch(s, s->signal_fd, SOURCE_SIGNAL, EPOLLIN) ||
        !watch(s, s->uptime_fd, SOURCE_UPTIME, EPOLLIN))
        return no_descriptor(s);
    s->out.source = SOURCE_OUT;
    s->err.source = SOURCE_ERR;
    zn_spool_open(&s->out.spool, STDOUT_FILENO);
    zn_spool_open(&s->err.spool, STDERR_FILENO);
    s->colour = zn_output_colour(STDERR_FILENO, s->o->no_color);
    return 0;
}

static int open_node(struct server *s)
{
    struct zmqnet_options options = {
        .name = s->o->name,
        .pattern = s->o->pattern,
        .handler = on_message,
        .handler_arg = s,
        .log = on_log,
        .log_arg = s,
        .log_level = zn_session_level(s->o, true),
        .on_event = on_event,
        .event_arg = s,
    };
    struct zmqnet_diag diag = {0};
    struct zn_problem problem;
    int rc = zmqnet_open(&s->node, s->peers, &options, &diag);
    if (rc == 0)
        return watch(s, zmqnet_fd(s->node), SOURCE_NODE, EPOLLIN) ? 0 : no_descriptor(s);
    zn_problem_set(&problem, zn_problem_kind_of(rc), "", "%s: %s", s->o->name,
                   diag.text[0] != '\0' ? diag.text : zmqnet_error_text(rc));
    return zn_problem_report(&problem, s->o->json);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static void stop(struct server *s, int code)
{
    if (s->phase != PHASE_SERVING)
        return;
    s->phase = PHASE_STOPPING;
    s->stop_us = zn_clock_us();
    s->code = code;
    zn_notify("STOPPING=1");
    zmqnet_stop(s->node, GRACE_MS);
}

static void on_signal(struct server *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == sizeof info) {
        if (s->phase == PHASE_SERVING) {
            stop(s, 0);
            continue;
        }
        if (zn_clock_us() - s->stop_us < ZN_SAME_SIGNAL_US)
            continue;
        s->code = zn_session_signal_exit((int)info.ssi_signo);
        s->phase = PHASE_ENDED;
    }
}

static void on_clash(struct server *s)
{
    struct zn_problem problem;
    struct zn_text object = {0};
    s->clash = false;
    if (s->phase != PHASE_SERVING)
        return;
    zn_problem_set(&problem, ZN_PROBLEM_CONFIG, "stop it, or give this one its own name",
                   "another replica runs under the name %s", s->o->name);
    zn_problem_complain(&problem);
    if (s->o->json)
        zn_problem_object(&problem, &object);
    zn_spool_put(&s->out.spool, &object);
    stop(s, ZN_EXIT_USAGE);
}

/* Write what is there. Be woken when there is room for what is left, and, by an event that epoll
 * always gives, when the reader has left. */
static void flush(struct server *s, struct sink *k)
{
    zn_spool_flush(&k->spool);
    struct epoll_event e = {
        .events = zn_spool_pending(&k->spool) ? EPOLLOUT : 0,
        .data.u32 = k->source,
    };
    bool useless = k->spool.error != 0 || k->no_poll;
    if (k->watched && useless)
        k->watched = epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, k->spool.fd, NULL) != 0;
    if (useless || (k->watched && k->events == e.events))
        return;
    int op = k->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(s->epoll_fd, op, k->spool.fd, &e) == 0) {
        k->watched = true;
        k->events = e.events;
    } else if (errno == EPERM) {
        k->no_poll = true;
    }
}

static void on_sink(struct sink *k, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        zn_spool_hang_up(&k->spool);
}

static void turn(struct server *s)
{
    struct epoll_event events[SOURCES_N];
    if (s->out.spool.error != 0)
        stop(s, 0);
    int n = epoll_wait(s->epoll_fd, events, SOURCES_N, -1);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == SOURCE_NODE && zmqnet_process(s->node) == ZMQNET_ECLOSED)
            s->phase = PHASE_ENDED;
        if (events[i].data.u32 == SOURCE_UPTIME) {
            epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->uptime_fd, NULL);
            stop(s, 0);
        }
        if (events[i].data.u32 == SOURCE_SIGNAL)
            on_signal(s);
        if (events[i].data.u32 == SOURCE_OUT)
            on_sink(&s->out, events[i].events);
        if (events[i].data.u32 == SOURCE_ERR)
            on_sink(&s->err, events[i].events);
    }
    if (s->clash)
        on_clash(s);
    zn_spool_tell_dropped(&s->out.spool, &s->err.spool, s->o->name, false);
    flush(s, &s->out);
    flush(s, &s->err);
}

static void run(struct server *s)
{
    put_ready(s);
    flush(s, &s->out);
    flush(s, &s->err);
    if (s->out.spool.error == 0)
        zn_notify("READY=1");
    while (s->phase != PHASE_ENDED)
        turn(s);
}

static void close_all(struct server *s)
{
    const int fds[] = {s->uptime_fd, s->signal_fd, s->epoll_fd};
    zmqnet_close(&s->node);
    if (s->out.spool.fd >= 0) {
        zn_spool_close(&s->out.spool, LINGER_MS);
        zn_spool_tell_dropped(&s->out.spool, &s->err.spool, s->o->name, true);
        zn_spool_close(&s->err.spool, LINGER_MS);
        zn_output_failed(s->out.spool.error);
    }
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    zmqnet_peers_free(&s->peers);
}

int zn_cmd_serve(const struct zn_options *o)
{
    struct server s = {.o = o, .epoll_fd = -1, .signal_fd = -1, .uptime_fd = -1};
    s.out.spool.fd = s.err.spool.fd = -1;
    int rc = zn_session_peers(o, true, &s.peers);
    if (rc == 0)
        rc = zn_session_check_name(o, s.peers, o->name);
    if (rc == 0)
        rc = open_descriptors(&s);
    if (rc == 0 && s.out.spool.error == 0)
        rc = open_node(&s);
    if (rc == 0 && s.node != NULL) {
        run(&s);
        rc = s.code;
    }
    close_all(&s);
    return rc;
}
