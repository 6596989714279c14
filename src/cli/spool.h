/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_SPOOL_H
#define ZN_CLI_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "cli/text.h"

/* Lines on their way to a descriptor, which is never waited for. */
struct zn_spool {
    int fd;       /* to write to and to poll */
    bool own_fd;  /* fd is a description of our own, non-blocking */
    bool careful; /* fd is shared and may block: ask poll before each short write */
    char *bytes;  /* kept: bytes[start..start+n) */
    size_t start, n, max;
    bool mid_line;    /* what was written last was not the end of a line */
    uint64_t dropped; /* lines, since zn_spool_take_dropped() */
    uint64_t told_us; /* when zn_spool_tell_dropped() last did */
    int error;        /* an errno: nothing can be written any more */
};

/* A descriptor that is not open for writing gives the error EBADF at once. */
void zn_spool_open(struct zn_spool *s, int fd);
/* Take one line, or several, whole or not at all: beyond ZN_SPOOL_MAX it is dropped and counted.
 * One that is larger is taken if nothing else is kept. Empties `line`. */
void zn_spool_put(struct zn_spool *s, struct zn_text *line);
/* Write what can be written without waiting. */
void zn_spool_flush(struct zn_spool *s);
static inline bool zn_spool_pending(const struct zn_spool *s) { return s->n > 0; }
/* How many lines were dropped since the last call. */
uint64_t zn_spool_take_dropped(struct zn_spool *s);
/* Tell on `to` how many lines `from`, the standard output of `who`, has dropped: at most once a
 * second, and with `last` at once. */
void zn_spool_tell_dropped(struct zn_spool *from, struct zn_spool *to, const char *who, bool last);
/* poll or epoll says that the descriptor is in error: its reader has left. */
void zn_spool_hang_up(struct zn_spool *s);
/* Write what is kept, waiting at most linger_ms, or a second for the rest of a line of which a part
 * is written, and free. `error` and the count of dropped
 * lines, to which those are added that could not be written, stay to be read. */
void zn_spool_close(struct zn_spool *s, unsigned linger_ms);

#endif
