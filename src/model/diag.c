/* SPDX-License-Identifier: MIT */
/*
 * The list of what is wrong with an input. Owned by the reader of that input; no locks.
 *
 * A sentence cites values that a person wrote, of any length: they are cut here, never in the
 * middle of a UTF-8 character, and control characters become '?', so that a sentence is one line.
 * The input is checked to be UTF-8 before anything of it is cited. Nothing fails: what finds no
 * room in the caller's array is counted.
 */
#include "model/diag.h"

#include "base/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CITE_BYTES_MAX 40

void zn_diags_add(struct zn_diags *d, int code, int line, int column, const char *format, ...)
{
    if (code != 0)
        d->errors_n++;
    if (d->n++ >= d->max)
        return;
    struct zmqnet_diag *out = &d->out[d->n - 1];
    *out = (struct zmqnet_diag){.code = code, .line = line, .column = column};
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out->text, sizeof out->text, format, args);
    va_end(args);
    if (n >= (int)sizeof out->text)
        out->text[zn_utf8_prefix(out->text, sizeof out->text - 1)] = '\0';
}

const char *zn_cite(struct zn_cite *c, char quote, const char *bytes, size_t n)
{
    size_t kept = n <= CITE_BYTES_MAX ? n : zn_utf8_prefix(bytes, CITE_BYTES_MAX);
    const char end[] = {quote, '\0'};
    snprintf(c->text, sizeof c->text, "%s%.*s%s%s", end, (int)kept, bytes, kept < n ? "..." : "",
             end);
    for (char *p = c->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return c->text;
}
