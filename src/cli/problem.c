/* SPDX-License-Identifier: MIT */
/*
 * A problem of a command: one message and one remedy, told twice: as a plain line on stderr, and
 * with --json as an object on stdout. Filled in by the pure parts (the option parser prints
 * nothing) and reported by the command.
 */
#include "cli/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "cli/output.h"

static const struct {
    const char *code;
    int exit;
} kinds[] = {
#define ZN_PROBLEM_ROW(name, code, exit) {code, exit},
    ZN_PROBLEMS(ZN_PROBLEM_ROW)
#undef ZN_PROBLEM_ROW
};

/* A text that filled its buffer may have lost the end of its last character. */
static void drop_half_character(char *text, size_t size)
{
    size_t n = strlen(text), whole = zn_utf8_prefix(text, n);
    if (n + 1 == size && n - whole < 4)
        text[whole] = '\0';
}

int zn_problem_set(struct zn_problem *p, enum zn_problem_kind kind, const char *hint,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p->kind = kind;
    p->exit = kinds[kind].exit;
    vsnprintf(p->message, sizeof p->message, format, args);
    snprintf(p->hint, sizeof p->hint, "%s", hint);
    va_end(args);
    drop_half_character(p->message, sizeof p->message);
    drop_half_character(p->hint, sizeof p->hint);
    return p->exit;
}

enum zn_problem_kind zn_problem_kind_of(int zmqnet_code)
{
    switch (zmqnet_code) {
    case ZMQNET_EINVAL:
    case ZMQNET_ENOPEER:
    case ZMQNET_ETOOBIG: return ZN_PROBLEM_USAGE;
    case ZMQNET_ECONFIG:
    case ZMQNET_ECLASH: return ZN_PROBLEM_CONFIG;
    case ZMQNET_ENOQUORUM: return ZN_PROBLEM_NO_QUORUM;
    case ZMQNET_EREFUSED: return ZN_PROBLEM_REFUSED;
    case ZMQNET_EUNKNOWN: return ZN_PROBLEM_UNKNOWN;
    case ZMQNET_ENEVERSENT: return ZN_PROBLEM_NEVER_SENT;
    case ZMQNET_EFULL: return ZN_PROBLEM_FULL;
    case ZMQNET_ESECURITY: return ZN_PROBLEM_SECURITY;
    default: return ZN_PROBLEM_FAILED;
    }
}

int zn_problem_exit(const struct zn_problem *p) { return p->exit; }

const char *zn_problem_code(enum zn_problem_kind kind) { return kinds[kind].code; }

void zn_problem_json(const struct zn_problem *p, struct zn_json *j)
{
    zn_json_open(j, "error", '{');
    zn_json_string(j, "code", kinds[p->kind].code);
    zn_json_i64(j, "exit", p->exit);
    zn_json_string(j, "message", p->message);
    zn_json_string(j, "hint", p->hint);
    zn_json_close(j, '}');
}

void zn_problem_complain(const struct zn_problem *p)
{
    zn_output_complain("%s%s%s", p->message, p->hint[0] != '\0' ? "; " : "", p->hint);
}

void zn_problem_object(const struct zn_problem *p, struct zn_text *out)
{
    struct zn_json j = {.out = out};
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_bool(&j, "ok", false);
    zn_problem_json(p, &j);
    zn_json_close(&j, '}');
    zn_text_add(out, "\n");
}

int zn_problem_report(const struct zn_problem *p, bool json)
{
    struct zn_text text = {0};
    if (json) {
        zn_problem_object(p, &text);
        zn_output_text(&text);
    }
    zn_problem_complain(p);
    return zn_problem_exit(p);
}
