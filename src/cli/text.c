/* SPDX-License-Identifier: MIT */
/*
 * Text for people: a growing buffer, escaping for terminals, durations, ids and aligned columns.
 *
 * Used by one thread at a time. A buffer that cannot grow keeps what it has, sets `failed` and
 * ignores what follows: nothing half-built is printed, because zn_output_text() and the spool
 * refuse a failed buffer.
 */
#include "cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

void zn_text_free(struct zn_text *t)
{
    free(t->bytes);
    *t = (struct zn_text){0};
}

/* Room for n more bytes and a NUL. */
static bool grow(struct zn_text *t, size_t n)
{
    if (t->failed)
        return false;
    if (n < t->max - t->n)
        return true;
    size_t max = (t->n + n + 1) * 3 / 2 + 64;
    char *bytes = max > n ? realloc(t->bytes, max) : NULL;
    if (bytes == NULL) {
        t->failed = true;
        return false;
    }
    t->bytes = bytes;
    t->max = max;
    return true;
}

void zn_text_bytes(struct zn_text *t, const void *bytes, size_t n)
{
    if (!grow(t, n))
        return;
    if (n > 0)
        memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    t->bytes[t->n] = '\0';
}

void zn_text_add(struct zn_text *t, const char *s) { zn_text_bytes(t, s, strlen(s)); }

void zn_text_vprintf(struct zn_text *t, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n >= 0 && grow(t, (size_t)n)) {
        vsnprintf(t->bytes + t->n, (size_t)n + 1, format, again);
        t->n += (size_t)n;
    }
    va_end(again);
}

void zn_text_printf(struct zn_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    zn_text_vprintf(t, format, args);
    va_end(args);
}

/* U+0080..U+009F are terminal controls too; in UTF-8 they are 0xc2 and one byte below 0xa0. */
static bool is_c1(const unsigned char *b, size_t i, size_t n)
{
    return b[i] == 0xc2 && i + 1 < n && b[i + 1] < 0xa0;
}

/* By hand: a body of many megabytes may be nothing but these, and the loop waits meanwhile. */
static void add_hex(struct zn_text *t, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    const char hex[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    zn_text_bytes(t, hex, sizeof hex);
}

void zn_text_escaped(struct zn_text *t, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    bool utf8 = zn_utf8_valid(bytes, n);
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < n; i++) {
        bool control = b[i] < 0x20 || b[i] == 0x7f;
        bool c1 = utf8 && is_c1(b, i, n);
        if (!control && !c1 && (utf8 || b[i] < 0x80))
            continue;
        zn_text_bytes(t, b + plain, i - plain);
        if (b[i] == '\n' || b[i] == '\r' || b[i] == '\t')
            zn_text_add(t, b[i] == '\n' ? "\\n" : b[i] == '\r' ? "\\r" : "\\t");
        else
            add_hex(t, b[i]);
        if (c1)
            add_hex(t, b[++i]);
        plain = i + 1;
    }
    if (n > plain)
        zn_text_bytes(t, b + plain, n - plain);
}

void zn_text_duration(struct zn_text *t, uint64_t us)
{
    uint64_t s = us / 1000000;
    if (us < 1000000)
        zn_text_printf(t, "%.1f ms", (double)us / 1e3);
    else if (s < 60)
        zn_text_printf(t, "%.1f s", (double)us / 1e6);
    else if (s < 3600)
        zn_text_printf(t, "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    else
        zn_text_printf(t, "%" PRIu64 " h %" PRIu64 " m", s / 3600, s / 60 % 60);
}

void zn_id_format(struct zmqnet_id id, char out[ZN_ID_TEXT_MAX])
{
    snprintf(out, ZN_ID_TEXT_MAX, "%016" PRIx64 "-%" PRIu64, id.origin, id.seq);
}

void zn_table_cell(struct zn_table *t, const char *format, ...)
{
    struct zn_text cell = {0};
    va_list args;
    va_start(args, format);
    zn_text_vprintf(&cell, format, args);
    va_end(args);
    zn_text_escaped(&t->cells, cell.bytes, cell.n);
    zn_text_add(&t->cells, "\t");
    t->cells.failed |= cell.failed;
    zn_text_free(&cell);
}

void zn_table_end_row(struct zn_table *t) { zn_text_add(&t->cells, "\n"); }

/* The next cell of the row at *p, NULL at its end, with *p moved behind it. */
static const char *next_cell(const char **p, size_t *n)
{
    if (**p == '\n' || **p == '\0')
        return NULL;
    const char *cell = *p;
    *n = strcspn(cell, "\t");
    *p = cell + *n + 1;
    return cell;
}

static void measure(const char *p, size_t widths[ZN_TABLE_COLUMNS_MAX])
{
    for (; *p != '\0'; p++) {
        size_t n;
        for (size_t i = 0; i < ZN_TABLE_COLUMNS_MAX && next_cell(&p, &n) != NULL; i++)
            if (*p != '\n' && n > widths[i])
                widths[i] = n;
    }
}

void zn_table_print(struct zn_table *t, const char *indent, struct zn_text *out)
{
    size_t widths[ZN_TABLE_COLUMNS_MAX] = {0};
    const char *p = t->cells.n > 0 && !t->cells.failed ? t->cells.bytes : "";
    measure(p, widths);
    for (; *p != '\0'; p++) {
        zn_text_add(out, indent);
        const char *cell;
        size_t n;
        for (size_t i = 0; i < ZN_TABLE_COLUMNS_MAX && (cell = next_cell(&p, &n)) != NULL; i++) {
            zn_text_bytes(out, cell, n);
            if (*p != '\n')
                zn_text_printf(out, "%*s", (int)(widths[i] > n ? widths[i] - n : 0) + 2, "");
        }
        zn_text_add(out, "\n");
    }
    out->failed |= t->cells.failed;
    zn_text_free(&t->cells);
}
