/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_SPOOL_H
#define ZN_CLI_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/text.h"

#define ZN_SPOOL_MAX (1u << 20) /* bytes kept for a reader that does not read */

/* Lines on their way to a descriptor, which is never waited for. */
struct zn_spool {
    int fd;       /* to write to and to poll */
    bool own_fd;  /* fd is a description of our own, non-blocking */
    bool careful; /* fd is shared and may block: ask poll before each short write */
    char *bytes;  /* kept: bytes[start..start+n) */
    size_t start, n, max;
    uint64_t dropped; /* lines, since zn_spool_take_dropped() */
    int error;        /* an errno: nothing can be written any more */
};

void zn_spool_open(struct zn_spool *s, int fd);
/* Take one line, or several, whole or not at all: beyond ZN_SPOOL_MAX it is dropped and counted.
 * One that is larger is taken if nothing else is kept. Empties `line`. */
void zn_spool_put(struct zn_spool *s, struct zn_text *line);
/* Write what can be written without waiting. */
void zn_spool_flush(struct zn_spool *s);
static inline bool zn_spool_pending(const struct zn_spool *s) { return s->n > 0; }
/* How many lines were dropped since the last call. */
uint64_t zn_spool_take_dropped(struct zn_spool *s);
/* Write what is kept, waiting at most linger_ms, and free. `error` and the count of dropped
 * lines, to which those are added that could not be written, stay to be read. */
void zn_spool_close(struct zn_spool *s, unsigned linger_ms);

#endif
