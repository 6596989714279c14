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
 * Good path: put, flush. Reader too slow: lines beyond ZN_SPOOL_MAX are dropped and counted, never
 * cut. Write error: `error` is set and all that follows is dropped.
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

#define KEEP_BYTES 65536 /* an empty buffer larger than this is given back */

void zn_spool_open(struct zn_spool *s, int fd)
{
    char path[32];
    struct stat st;
    *s = (struct zn_spool){.fd = fd};
    if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode))
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

void zn_spool_put(struct zn_spool *s, struct zn_text *line)
{
    bool fits = s->n == 0 || s->n + line->n <= ZN_SPOOL_MAX;
    if (line->failed || s->error != 0 || !fits || !reserve(s, line->n)) {
        s->dropped++;
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

void zn_spool_close(struct zn_spool *s, unsigned linger_ms)
{
    uint64_t end = zn_clock_us() + 1000ull * linger_ms;
    zn_spool_flush(s);
    for (uint64_t now = zn_clock_us(); s->n > 0 && now < end; now = zn_clock_us()) {
        struct pollfd p = {s->fd, POLLOUT, 0};
        poll(&p, 1, (int)((end - now) / 1000) + 1);
        zn_spool_flush(s);
    }
    for (size_t i = 0; i < s->n; i++)
        s->dropped += s->bytes[s->start + i] == '\n';
    if (s->own_fd)
        close(s->fd);
    free(s->bytes);
    *s = (struct zn_spool){.fd = -1, .error = s->error, .dropped = s->dropped};
}
