/* SPDX-License-Identifier: MIT */
/*
 * Standard output and standard error of a command.
 *
 * Used by the main thread only, but zn_output_complain(), which makes one write. Output is written
 * at once and a failure is kept until the process ends: then one line on stderr says so and the
 * exit code is 1, whatever else happened, because what was to be read is not there. A reader that
 * has seen enough (`| head -1`) is not an error: the rest is dropped quietly.
 *
 * Commands that block SIGINT and SIGTERM could hang in a write to a pipe that nobody reads; these
 * signals are let through for the time of the write.
 */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit.h"
#include "cli/json.h"

static int output_error; /* an errno; 0: everything was written */

void zn_output_init(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    signal(SIGPIPE, SIG_IGN);
}

void zn_output_failed(int error)
{
    if (output_error == 0)
        output_error = error;
}

bool zn_output_gone(void) { return output_error != 0; }

sigset_t zn_output_ending_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

static void write_all(int fd, const char *bytes, size_t n)
{
    sigset_t ending = zn_output_ending_signals(), before;
    pthread_sigmask(SIG_UNBLOCK, &ending, &before);
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno != EINTR) {
            zn_output_failed(errno);
            break;
        }
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void zn_output_text(struct zn_text *t)
{
    if (t->failed)
        zn_output_failed(ENOMEM);
    if (!zn_output_gone())
        write_all(STDOUT_FILENO, t->bytes, t->n);
    zn_text_free(t);
}

void zn_output_page(struct zn_text *t, bool json)
{
    struct zn_text out = {0};
    struct zn_json j = {.out = &out};
    if (!json) {
        zn_output_text(t);
        return;
    }
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_string(&j, "text", t->n > 0 ? t->bytes : "");
    zn_json_close(&j, '}');
    zn_text_add(&out, "\n");
    out.failed |= t->failed;
    zn_text_free(t);
    zn_output_text(&out);
}

int zn_output_end(int code)
{
    if (output_error == 0 || output_error == EPIPE)
        return code;
    zn_output_complain("standard output cannot be written: %s", strerror(output_error));
    return ZN_EXIT_FAILED;
}

void zn_output_line(struct zn_text *out, const char *format, va_list args)
{
    struct zn_text said = {0};
    zn_text_vprintf(&said, format, args);
    zn_text_add(out, "zmqnet: ");
    zn_text_escaped(out, said.bytes, said.n);
    zn_text_add(out, "\n");
    out->failed |= said.failed;
    zn_text_free(&said);
}

void zn_output_complain(const char *format, ...)
{
    struct zn_text line = {0};
    va_list args;
    va_start(args, format);
    zn_output_line(&line, format, args);
    va_end(args);
    if (line.n > 0)
        (void)!write(STDERR_FILENO, line.bytes, line.n);
    zn_text_free(&line);
}

bool zn_output_colour(int fd, bool no_color)
{
    const char *env = getenv("NO_COLOR");
    return !no_color && (env == NULL || env[0] == '\0') && isatty(fd);
}
