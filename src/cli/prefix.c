/* SPDX-License-Identifier: MIT */
/*
 * Lines of several children on one output: each whole, each with its name in front.
 *
 * Pure: bytes in, text out. A part of a line waits for the rest, so that two children never share a
 * line. What a child can make this keep is bounded by ZN_PREFIX_LINE_MAX.
 */
#include "cli/prefix.h"

#include <string.h>

static void end_line(struct zn_prefix *p, struct zn_text *out)
{
    zn_text_add(out, p->prefix);
    zn_text_bytes(out, p->part.bytes, p->part.n);
    zn_text_add(out, "\n");
    zn_text_free(&p->part);
    p->lines++;
}

void zn_prefix_feed(struct zn_prefix *p, const char *bytes, size_t n, struct zn_text *out)
{
    while (n > 0) {
        const char *newline = memchr(bytes, '\n', n);
        size_t piece = newline != NULL ? (size_t)(newline - bytes) : n;
        size_t room = ZN_PREFIX_LINE_MAX - p->part.n;
        bool too_long = piece > room;
        if (too_long)
            piece = room;
        zn_text_bytes(&p->part, bytes, piece);
        if (newline != NULL || too_long)
            end_line(p, out);
        piece += newline != NULL && !too_long;
        bytes += piece;
        n -= piece;
    }
}

void zn_prefix_end(struct zn_prefix *p, struct zn_text *out)
{
    if (p->part.n > 0)
        end_line(p, out);
    p->lines = 0;
}
