/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet up`: every replica of the peers file as a child process, their output on ours.
 *
 * One thread, one poll. Children are this program again (fork and exec; no ZeroMQ context lives in
 * the parent), each in a process group of its own so that Ctrl-C reaches only the parent, and told
 * by the kernel to end if the parent dies. Their standard output and error are pipes; lines get the
 * name in front, JSON lines do not, they hold it. While our reader is slow the pipes are not read:
 * then the children drop lines, not we. What a dead child left in them is kept for the reader.
 *
 * Good path: all ready, SIGINT or SIGTERM, each child ends by itself, exit 0. A child that dies is
 * told and, with --restart, started again at most once a second, unless it ended with 2: wrong use
 * would be wrong again. One that died and stays so makes the exit code 1, and when none is left that
 * is the end. A child that crashes or fails when told to stop is a failure too, and so is one that has
 * to be killed because it does not end within three seconds, or at a second signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/notify.h"
#include "cli/output.h"
#include "cli/prefix.h"
#include "cli/session.h"
#include "cli/spool.h"

#define STOP_US (3 * ZN_SECOND)
#define RESTART_US (1 * ZN_SECOND)
#define LINGER_MS 200
#define ARGS_MAX 24

struct stream {
    int fd; /* -1: ended */
    struct zn_prefix prefix;
};

struct child {
    const char *name;
    pid_t pid;           /* 0: not running */
    bool ready;          /* its ready line was seen in this life */
    uint64_t started_us; /* its last start */
    uint64_t restart_us; /* when to start it again; 0: not planned */
    char label[ZN_NAME_MAX + 4];
    struct stream out, err;
};

struct up {
    const struct zn_options *o;
    zmqnet_peers *peers;
    struct child children[ZN_REPLICAS_MAX];
    size_t n;
    struct zn_spool out, err;
    int signal_fd;
    sigset_t signals_before;
    char program[PATH_MAX]; /* to exec */
    uint64_t stop_us;       /* when stopping began */
    uint64_t kill_us;       /* stopping: when to kill what is left; 0: not stopping */
    bool told_ready;
    int code;
};

static void say(struct up *u, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct up *u, const char *format, ...)
{
    struct zn_text line = {0};
    va_list args;
    va_start(args, format);
    zn_output_line(&line, format, args);
    va_end(args);
    zn_spool_put(&u->err, &line);
}

/* ---- output ------------------------------------------------------------------------------- */

static void tell_ready(struct up *u)
{
    size_t ready = 0;
    for (size_t i = 0; i < u->n; i++)
        ready += u->children[i].ready;
    if (ready < u->n || u->told_ready)
        return;
    u->told_ready = true;
    zn_notify("READY=1");
    if (!u->o->quiet)
        say(u, "%zu/%zu replicas ready", ready, u->n);
}

static bool is_ready_line(const struct up *u, const struct stream *from,
                          const struct zn_text *lines)
{
    const char *want = u->o->json ? "{\"v\":1,\"event\":\"ready\"" : "ready ";
    size_t skip = strlen(from->prefix.prefix);
    return lines->n > skip && strncmp(lines->bytes + skip, want, strlen(want)) == 0;
}

static void end_stream(struct stream *from, struct zn_spool *to)
{
    struct zn_text last = {0};
    zn_prefix_end(&from->prefix, &last);
    zn_spool_put(to, &last);
    close(from->fd);
    from->fd = -1;
}

/* Read at most one buffer of what is there. Returns whether anything was read. */
static bool pass_on(struct up *u, struct child *c, struct stream *from, struct zn_spool *to)
{
    char chunk[65536];
    struct zn_text lines = {0};
    if (from->fd < 0)
        return false;
    ssize_t n = read(from->fd, chunk, sizeof chunk);
    if (n > 0)
        zn_prefix_feed(&from->prefix, chunk, (size_t)n, &lines);
    bool ready = from == &c->out && !c->ready && is_ready_line(u, from, &lines);
    zn_spool_put(to, &lines);
    if (ready) {
        c->ready = true;
        tell_ready(u);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end_stream(from, to);
    return n > 0;
}

/* Unless our own reader is behind: then the pipe keeps it. */
static void pass_on_in_time(struct up *u, struct child *c, struct stream *from, struct zn_spool *to)
{
    zn_spool_flush(to);
    if (!zn_spool_pending(to))
        pass_on(u, c, from, to);
}

/* What a dead child left in its pipes, whoever is behind: it is no more than they hold. */
static void drain(struct up *u, struct child *c)
{
    while (pass_on(u, c, &c->out, &u->out))
        ;
    while (pass_on(u, c, &c->err, &u->err))
        ;
}

/* ---- starting ----------------------------------------------------------------------------- */

/* argv of a child: what was given to us, under the name of the replica. */
static void child_args(const struct up *u, const char *name, char verbosity[24],
                       char *args[ARGS_MAX])
{
    const struct zn_options *o = u->o;
    uint64_t level = o->verbose < o->verbosity ? o->verbosity - o->verbose : 0;
    snprintf(verbosity, 24, "%llu", (unsigned long long)level);
    const char *fixed[] = {"zmqnet", "serve",     "--name",   name,          "--peers",
                           o->peers, "--pattern", o->pattern, "--verbosity", verbosity};
    size_t n = sizeof fixed / sizeof fixed[0];
    for (size_t i = 0; i < n; i++)
        args[i] = (char *)fixed[i];
    if (o->json)
        args[n++] = "--json";
    if (o->quiet)
        args[n++] = "--quiet";
    if (o->no_color)
        args[n++] = "--no-color";
    args[n] = NULL;
}

/* What the options say is in the child's arguments already, and the variables of `serve` are not
 * meant for all of them. Readiness of the whole is ours to tell. */
static void clear_environment(void)
{
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        char name[ZN_OPTION_VARIABLE_MAX];
        zn_option_variable(&zn_option_rows[i], name);
        unsetenv(name);
    }
    unsetenv("NOTIFY_SOCKET");
}

/* In the child, between fork and exec. The parent has one thread, so every call is safe here. */
static void become(const struct up *u, char *args[], const int out[2], const int err[2],
                   pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(ZN_EXIT_FAILED);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0 ||
        dup2(err[1], STDERR_FILENO) < 0)
        _exit(ZN_EXIT_FAILED);
    if (null > STDERR_FILENO)
        close(null);
    clear_environment();
    sigprocmask(SIG_SETMASK, &u->signals_before, NULL);
    execv(u->program, args);
    zn_output_complain("%s cannot be run: %s", u->program, strerror(errno));
    _exit(ZN_EXIT_FAILED);
}

static void close_pair(const int pair[2])
{
    if (pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
}

static bool start(struct up *u, struct child *c)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    char verbosity[24], *args[ARGS_MAX];
    pid_t parent = getpid(), pid = -1;
    if (c->out.fd >= 0)
        end_stream(&c->out, &u->out);
    if (c->err.fd >= 0)
        end_stream(&c->err, &u->err);
    child_args(u, c->name, verbosity, args);
    if (pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0)
        become(u, args, out, err, parent);
    if (pid < 0) {
        say(u, "%s cannot be started: %s", c->name, strerror(errno));
        close_pair(out);
        close_pair(err);
        return false;
    }
    close(out[1]);
    close(err[1]);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    c->pid = pid;
    c->ready = false;
    c->started_us = zn_clock_us();
    c->restart_us = 0;
    c->out = (struct stream){out[0], {.prefix = u->o->json ? "" : c->label}};
    c->err = (struct stream){err[0], {.prefix = c->label}};
    return true;
}

/* A child that is not running should be. */
static void plan_restart(struct up *u, struct child *c)
{
    if (u->kill_us != 0)
        return;
    if (!u->o->restart) {
        u->code = ZN_EXIT_FAILED;
        return;
    }
    uint64_t now = zn_clock_us(), earliest = c->started_us + RESTART_US;
    c->restart_us = now > earliest ? now : earliest;
}

static void restart_due(struct up *u)
{
    uint64_t now = zn_clock_us();
    for (size_t i = 0; i < u->n; i++) {
        struct child *c = &u->children[i];
        if (c->restart_us == 0 || c->restart_us > now)
            continue;
        c->started_us = now;
        if (!start(u, c))
            plan_restart(u, c);
    }
}

/* ---- ending ------------------------------------------------------------------------------- */

static void tell_end(struct up *u, const struct child *c, int status)
{
    if (WIFSIGNALED(status))
        say(u, "%s ended: killed by signal %d", c->name, WTERMSIG(status));
    else
        say(u, "%s ended: exit code %d", c->name, WEXITSTATUS(status));
}

static size_t running(const struct up *u)
{
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++)
        n += u->children[i].pid != 0;
    return n;
}

/* One that was told to stop before it could listen to signals ends by ours; it had nothing open. */
static bool has_obeyed(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGTERM;
}

static void reap(struct up *u)
{
    int status;
    for (size_t i = 0; i < u->n; i++) {
        struct child *c = &u->children[i];
        if (c->pid == 0 || waitpid(c->pid, &status, WNOHANG) != c->pid)
            continue;
        bool had_begun = c->ready;
        c->pid = 0;
        c->ready = false;
        drain(u, c);
        if (u->kill_us != 0 && has_obeyed(status))
            continue;
        tell_end(u, c, status);
        if (u->kill_us != 0) {
            if (had_begun && u->code == 0) /* one that never was ready had nothing to finish */
                u->code = ZN_EXIT_FAILED;
            continue;
        }
        say(u, "%zu/%zu replicas are running", running(u), u->n);
        if (WIFEXITED(status) && WEXITSTATUS(status) == ZN_EXIT_USAGE)
            u->code = ZN_EXIT_FAILED;
        else
            plan_restart(u, c);
    }
}

static void signal_children(struct up *u, int signal)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->children[i].pid > 0)
            kill(u->children[i].pid, signal);
}

static void stop(struct up *u)
{
    if (u->kill_us != 0)
        return;
    u->stop_us = zn_clock_us();
    u->kill_us = u->stop_us + STOP_US;
    zn_notify("STOPPING=1");
    signal_children(u, SIGTERM);
    for (size_t i = 0; i < u->n; i++)
        u->children[i].restart_us = 0;
}

static void on_signal(struct up *u)
{
    struct signalfd_siginfo info;
    while (read(u->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(u);
        } else if (u->kill_us == 0) {
            stop(u);
        } else if (zn_clock_us() - u->stop_us >= ZN_SAME_SIGNAL_US) {
            u->code = zn_session_signal_exit((int)info.ssi_signo);
            signal_children(u, SIGKILL);
        }
    }
}

/* ---- the loop ----------------------------------------------------------------------------- */

static bool anything_left(const struct up *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->children[i].pid != 0 || u->children[i].restart_us != 0)
            return true;
    return false;
}

static int next_ms(const struct up *u)
{
    uint64_t now = zn_clock_us(), at = u->kill_us != 0 ? u->kill_us : UINT64_MAX;
    for (size_t i = 0; i < u->n; i++)
        if (u->children[i].restart_us != 0 && u->children[i].restart_us < at)
            at = u->children[i].restart_us;
    if (at == UINT64_MAX)
        return -1;
    return at > now ? (int)((at - now) / 1000) + 1 : 0;
}

/* For room, if something is left to write, and always for the end of its reader. */
static struct pollfd watched(const struct zn_spool *s)
{
    return (struct pollfd){s->error == 0 ? s->fd : -1, zn_spool_pending(s) ? POLLOUT : 0, 0};
}

static void turn(struct up *u)
{
    struct pollfd fds[3 + 2 * ZN_REPLICAS_MAX];
    bool out_full = zn_spool_pending(&u->out), err_full = zn_spool_pending(&u->err);
    fds[0] = (struct pollfd){u->signal_fd, POLLIN, 0};
    fds[1] = watched(&u->out);
    fds[2] = watched(&u->err);
    for (size_t i = 0; i < u->n; i++) {
        fds[3 + 2 * i] = (struct pollfd){out_full ? -1 : u->children[i].out.fd, POLLIN, 0};
        fds[4 + 2 * i] = (struct pollfd){err_full ? -1 : u->children[i].err.fd, POLLIN, 0};
    }
    if (poll(fds, 3 + 2 * u->n, next_ms(u)) < 0)
        return;
    for (size_t i = 0; i < u->n; i++) {
        struct child *c = &u->children[i];
        if (fds[3 + 2 * i].revents != 0)
            pass_on_in_time(u, c, &c->out, &u->out);
        if (fds[4 + 2 * i].revents != 0)
            pass_on_in_time(u, c, &c->err, &u->err);
    }
    if (fds[0].revents != 0)
        on_signal(u);
    if (fds[1].revents & (POLLERR | POLLHUP))
        zn_spool_hang_up(&u->out);
    if (fds[2].revents & (POLLERR | POLLHUP))
        zn_spool_hang_up(&u->err);
    restart_due(u);
    if (u->kill_us != 0 && zn_clock_us() >= u->kill_us) {
        signal_children(u, SIGKILL);
        u->kill_us = UINT64_MAX;
    }
    zn_spool_tell_dropped(&u->out, &u->err, "up", false);
    zn_spool_flush(&u->out);
    zn_spool_flush(&u->err);
    if (u->out.error != 0)
        stop(u);
}

static void run(struct up *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (!start(u, &u->children[i]))
            plan_restart(u, &u->children[i]);
    while (anything_left(u))
        turn(u);
    if (u->kill_us != 0)
        return;
    say(u, "no replica is left; their own lines say why");
    u->code = ZN_EXIT_FAILED;
}

static void prepare_children(struct up *u)
{
    size_t widest = 0;
    u->n = zmqnet_peers_count(u->peers);
    for (size_t i = 0; i < u->n; i++) {
        struct child *c = &u->children[i];
        c->name = zmqnet_peers_get(u->peers, i)->name;
        c->out.fd = c->err.fd = -1;
        widest = strlen(c->name) > widest ? strlen(c->name) : widest;
    }
    for (size_t i = 0; i < u->n; i++)
        snprintf(u->children[i].label, sizeof u->children[i].label, "%-*s | ", (int)widest,
                 u->children[i].name);
}

/* The name of this program for exec. /proc/self/exe itself always works, but the children would be
 * called "exe" in ps. */
static void find_program(struct up *u)
{
    ssize_t n = readlink("/proc/self/exe", u->program, sizeof u->program - 1);
    u->program[n > 0 ? n : 0] = '\0';
    if (n <= 0 || access(u->program, X_OK) != 0)
        snprintf(u->program, sizeof u->program, "/proc/self/exe");
}

static int prepare(struct up *u)
{
    struct zn_problem problem;
    sigset_t set = zn_output_ending_signals();
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &u->signals_before);
    u->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (u->signal_fd < 0) {
        zn_session_no_descriptor(&problem);
        return zn_problem_report(&problem, u->o->json);
    }
    zn_spool_open(&u->out, STDOUT_FILENO);
    zn_spool_open(&u->err, STDERR_FILENO);
    prepare_children(u);
    find_program(u);
    return 0;
}

int zn_cmd_up(const struct zn_options *o)
{
    struct up u = {.o = o};
    int rc = zn_session_peers(o, true, &u.peers);
    if (rc != 0)
        return rc;
    rc = prepare(&u);
    if (rc != 0) {
        zmqnet_peers_free(&u.peers);
        return rc;
    }
    if (u.out.error == 0)
        run(&u);
    zn_spool_close(&u.out, LINGER_MS);
    zn_spool_tell_dropped(&u.out, &u.err, "up", true);
    zn_spool_close(&u.err, LINGER_MS);
    zn_output_failed(u.out.error);
    close(u.signal_fd);
    zmqnet_peers_free(&u.peers);
    return u.code;
}
