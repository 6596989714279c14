/* SPDX-License-Identifier: MIT */
/*
 * Makes log records and hands them to the user's callback. No state; any thread that the callback
 * allows. A record below the wanted level is not even formatted.
 *
 * The text is bounded: one that does not fit ends with "..." behind a whole UTF-8 character. What a
 * peer sent may stand in it, so control characters become '?': one record stays one line.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_ROOM 512

/* A cut must not leave the first bytes of a UTF-8 character behind. */
static size_t cut_before(const char *text, size_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void zn_log_write(const struct zn_log *log, enum zmqnet_level level, const char *id,
                  const char *format, ...)
{
    if (!log->write || level < log->level)
        return;
    char text[TEXT_ROOM];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0)
        text[0] = '\0';
    if (n >= (int)sizeof text)
        memcpy(text + cut_before(text, sizeof text - sizeof "..."), "...", sizeof "...");
    make_printable(text);
    log->write(level, id, text, log->arg);
}
