/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_PROBLEM_H
#define ZN_CLI_PROBLEM_H

#include <stdbool.h>

#include "cli/exit.h"
#include "cli/json.h"

/* Why a command did not do what was asked: the code in the JSON, and the exit code. */
#define ZN_PROBLEMS(X)                                                                             \
    X(USAGE, "usage", ZN_EXIT_USAGE)                                                               \
    X(CONFIG, "config", ZN_EXIT_USAGE)                                                             \
    X(DEGRADED, "degraded", ZN_EXIT_DEGRADED)                                                      \
    X(NO_QUORUM, "no_quorum", ZN_EXIT_NO_QUORUM)                                                   \
    X(UNKNOWN, "unknown", ZN_EXIT_UNKNOWN)                                                         \
    X(NEVER_SENT, "never_sent", ZN_EXIT_NEVER_SENT)                                                \
    X(FULL, "full", ZN_EXIT_NEVER_SENT)                                                            \
    X(SECURITY, "security", ZN_EXIT_SECURITY)                                                      \
    X(REFUSED, "refused", ZN_EXIT_REFUSED)                                                         \
    X(JUDGEMENT, "judgement", ZN_EXIT_JUDGEMENT)                                                   \
    X(FAILED, "failed", ZN_EXIT_FAILED)

enum zn_problem_kind {
#define ZN_PROBLEM_ENUM(name, code, exit) ZN_PROBLEM_##name,
    ZN_PROBLEMS(ZN_PROBLEM_ENUM)
#undef ZN_PROBLEM_ENUM
        ZN_PROBLEMS_N
};

struct zn_problem {
    enum zn_problem_kind kind;
    int exit;           /* what the process is to return; that of the kind, unless changed */
    char message[4096]; /* names the thing; longer ones are cut */
    char hint[256];     /* names the remedy; "" if the message does */
};

/* Fill in; returns the exit code. What is too long is cut between characters. */
int zn_problem_set(struct zn_problem *p, enum zn_problem_kind kind, const char *hint,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The problem that a code of the library is. */
enum zn_problem_kind zn_problem_kind_of(int zmqnet_code);
int zn_problem_exit(const struct zn_problem *p);
/* "no_quorum" */
const char *zn_problem_code(enum zn_problem_kind kind);
/* Add the member "error". */
void zn_problem_json(const struct zn_problem *p, struct zn_json *j);
/* A line with an object that is nothing but the problem. */
void zn_problem_object(const struct zn_problem *p, struct zn_text *out);
/* One plain line on stderr. */
void zn_problem_complain(const struct zn_problem *p);
/* That line, and with `json` an object of its own on stdout. Returns the exit code. */
int zn_problem_report(const struct zn_problem *p, bool json);

#endif
