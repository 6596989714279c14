/* SPDX-License-Identifier: MIT */
/*
 * A JSON writer into a text buffer.
 *
 * Used by one thread. It keeps no tree: the order of the calls is the order of the fields, which
 * scripts may rely on. The caller closes what it opens; the writer only knows whether a comma is
 * due. Bytes that JSON must escape are escaped, '/' and everything above 0x7f of valid UTF-8 is
 * not.
 */
#include "cli/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

static void quoted(struct zn_text *out, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    bool utf8 = zn_utf8_valid(bytes, n);
    size_t plain = 0;
    zn_text_add(out, "\"");
    for (size_t i = 0; i < n; i++) {
        if (b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' && (utf8 || b[i] < 0x80))
            continue;
        zn_text_bytes(out, b + plain, i - plain);
        plain = i + 1;
        if (b[i] == '"' || b[i] == '\\')
            zn_text_printf(out, "\\%c", b[i]);
        else if (b[i] == '\n' || b[i] == '\r' || b[i] == '\t')
            zn_text_add(out, b[i] == '\n' ? "\\n" : b[i] == '\r' ? "\\r" : "\\t");
        else
            zn_text_printf(out, "\\u%04x", b[i] < 0x20 ? b[i] : 0xfffdu);
    }
    if (n > plain)
        zn_text_bytes(out, b + plain, n - plain);
    zn_text_add(out, "\"");
}

static void base64(struct zn_text *out, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    zn_text_add(out, "\"");
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)b[i] << 16;
        v |= left > 1 ? (uint32_t)b[i + 1] << 8 : 0;
        v |= left > 2 ? b[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        zn_text_bytes(out, four, sizeof four);
    }
    zn_text_add(out, "\"");
}

static void begin(struct zn_json *j, const char *key)
{
    if (j->comma)
        zn_text_add(j->out, ",");
    j->comma = true;
    if (key == NULL)
        return;
    quoted(j->out, key, strlen(key));
    zn_text_add(j->out, ":");
}

void zn_json_open(struct zn_json *j, const char *key, char bracket)
{
    begin(j, key);
    zn_text_bytes(j->out, &bracket, 1);
    j->comma = false;
}

void zn_json_close(struct zn_json *j, char bracket)
{
    zn_text_bytes(j->out, &bracket, 1);
    j->comma = true;
}

void zn_json_string(struct zn_json *j, const char *key, const char *value)
{
    begin(j, key);
    quoted(j->out, value, strlen(value));
}

void zn_json_u64(struct zn_json *j, const char *key, uint64_t value)
{
    begin(j, key);
    zn_text_printf(j->out, "%" PRIu64, value);
}

void zn_json_i64(struct zn_json *j, const char *key, int64_t value)
{
    begin(j, key);
    zn_text_printf(j->out, "%" PRId64, value);
}

void zn_json_decimal(struct zn_json *j, const char *key, double value, int digits)
{
    begin(j, key);
    if (isfinite(value))
        zn_text_printf(j->out, "%.*f", digits, value);
    else
        zn_text_add(j->out, "null");
}

void zn_json_null(struct zn_json *j, const char *key)
{
    begin(j, key);
    zn_text_add(j->out, "null");
}

void zn_json_bool(struct zn_json *j, const char *key, bool value)
{
    begin(j, key);
    zn_text_add(j->out, value ? "true" : "false");
}

void zn_json_hex(struct zn_json *j, const char *key, uint64_t value)
{
    begin(j, key);
    zn_text_printf(j->out, "\"%016" PRIx64 "\"", value);
}

void zn_json_body(struct zn_json *j, const char *key, const void *bytes, size_t n)
{
    if (zn_utf8_valid(bytes, n)) {
        begin(j, key);
        quoted(j->out, bytes, n);
        return;
    }
    char renamed[64];
    snprintf(renamed, sizeof renamed, "%s_base64", key);
    begin(j, renamed);
    base64(j->out, bytes, n);
}
