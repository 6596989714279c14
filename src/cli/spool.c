/* SPDX-License-Identifier: MIT */
/*
 * Output of a loop that must never wait for its reader: a bounded buffer in front of a descriptor.
 *
 * Used by the loop's thread. Making standard output itself non-blocking would change it for the
 * shell and every other process that shares it, so a pipe or terminal is opened anew through /proc
 * and that description is made non-blocking. A regular file does not block for a reader. What
 * cannot be opened anew (a socket, somebody else's terminal, no /proc) is asked with poll before
 * each write of at most PIPE_BUF bytes, which a pipe that polls writable takes whole.
 *
 * Good path: put, flush. Reader too slow: lines beyond ZN_SPOOL_MAX are dropped, whole, and
 * counted; only at the end can a line be cut whose first part was written and whose rest nobody took
 * for a second. Write error: `error` is set and all that follows is dropped.
 */
#include "cli/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/output.h"

#define LINE_LINGER_MS 1000
#define TELL_US 1000000ull
#define KEEP_BYTES 65536 /* an empty buffer larger than this is given back */

void zn_spool_open(struct zn_spool *s, int fd)
{
    char path[32];
    struct stat st;
    *s = (struct zn_spool){.fd = fd};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        s->error = EBADF;
    if (s->error != 0 || fstat(fd, &st) != 0 || S_ISREG(st.st_mode))
        return;
    s->careful = true;
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0)
        return;
    s->fd = own;
    s->own_fd = true;
    s->careful = false;
}

static bool reserve(struct zn_spool *s, size_t n)
{
    if (s->max - s->start - s->n >= n)
        return true;
    if (s->n > 0)
        memmove(s->bytes, s->bytes + s->start, s->n);
    s->start = 0;
    if (s->max - s->n >= n)
        return true;
    size_t max = (s->n + n) * 3 / 2;
    char *bytes = realloc(s->bytes, max);
    if (bytes == NULL)
        return false;
    s->bytes = bytes;
    s->max = max;
    return true;
}

static uint64_t lines_in(const char *bytes, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    return lines;
}

void zn_spool_put(struct zn_spool *s, struct zn_text *line)
{
    bool fits = s->n == 0 || s->n + line->n <= ZN_SPOOL_MAX;
    if (line->failed || s->error != 0 || !fits || !reserve(s, line->n)) {
        uint64_t lines = lines_in(line->bytes, line->failed ? 0 : line->n);
        s->dropped += lines > 0 ? lines : 1;
    } else if (line->n > 0) {
        memcpy(s->bytes + s->start + s->n, line->bytes, line->n);
        s->n += line->n;
    }
    zn_text_free(line);
}

static void give_back(struct zn_spool *s)
{
    s->start = 0;
    if (s->max <= KEEP_BYTES)
        return;
    free(s->bytes);
    s->bytes = NULL;
    s->max = 0;
}

/* How much may be written now without waiting; 0: nothing. */
static size_t allowed(const struct zn_spool *s)
{
    struct pollfd p = {s->fd, POLLOUT, 0};
    if (!s->careful)
        return s->n;
    if (poll(&p, 1, 0) != 1 || p.revents == 0)
        return 0;
    return s->n < PIPE_BUF ? s->n : PIPE_BUF;
}

void zn_spool_flush(struct zn_spool *s)
{
    size_t n;
    while (s->n > 0 && (n = allowed(s)) > 0) {
        ssize_t done = write(s->fd, s->bytes + s->start, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN)
            return;
        if (done < 0) {
            s->error = errno;
            done = (ssize_t)s->n;
        }
        assert((size_t)done <= s->n);
        if (done > 0)
            s->mid_line = s->error == 0 && s->bytes[s->start + (size_t)done - 1] != '\n';
        s->start += (size_t)done;
        s->n -= (size_t)done;
    }
    if (s->n == 0)
        give_back(s);
}

uint64_t zn_spool_take_dropped(struct zn_spool *s)
{
    uint64_t n = s->dropped;
    s->dropped = 0;
    return n;
}

static void talk(struct zn_spool *to, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void talk(struct zn_spool *to, const char *format, ...)
{
    struct zn_text line = {0};
    va_list args;
    va_start(args, format);
    zn_output_line(&line, format, args);
    va_end(args);
    zn_spool_put(to, &line);
}

void zn_spool_tell_dropped(struct zn_spool *from, struct zn_spool *to, const char *who, bool last)
{
    if (from->dropped == 0 || from->error != 0)
        return;
    uint64_t now = zn_clock_us();
    if (now - from->told_us < TELL_US && !last)
        return;
    talk(to, "%s: nobody reads standard output: %llu lines dropped", who,
         (unsigned long long)zn_spool_take_dropped(from));
    from->told_us = now;
}

void zn_spool_hang_up(struct zn_spool *s)
{
    if (s->error == 0)
        s->error = EPIPE;
    s->n = 0;
}

/* Write until nothing is left, or, with `line`, no line is half written; or until end_us. */
static void linger(struct zn_spool *s, uint64_t end_us, bool line)
{
    uint64_t now = zn_clock_us();
    for (zn_spool_flush(s); s->n > 0 && (!line || s->mid_line) && now < end_us;) {
        struct pollfd p = {s->fd, POLLOUT, 0};
        poll(&p, 1, (int)((end_us - now) / 1000) + 1);
        zn_spool_flush(s);
        now = zn_clock_us();
    }
}

void zn_spool_close(struct zn_spool *s, unsigned linger_ms)
{
    uint64_t now = zn_clock_us();
    linger(s, now + 1000ull * linger_ms, false);
    linger(s, now + 1000ull * LINE_LINGER_MS, true);
    if (s->n > 0)
        s->dropped += lines_in(s->bytes + s->start, s->n);
    if (s->own_fd)
        close(s->fd);
    free(s->bytes);
    *s = (struct zn_spool){.fd = -1, .error = s->error, .dropped = s->dropped};
}
