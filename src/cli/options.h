/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_OPTIONS_H
#define ZN_CLI_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "cli/problem.h"

/* Every command: name, its arguments (text, fewest, most), and what it does. A new one is a row
 * here, a file cmd_NAME.c with zn_cmd_NAME(), and the rows of its options in options.c. */
#define ZN_VERBS(X)                                                                                \
    X(serve, "", 0, 0, "run one replica until SIGTERM or SIGINT")                                  \
    X(up, "", 0, 0, "run every replica of the peers file here; Ctrl-C stops all")                  \
    X(send, "[MESSAGE...]", 0, INT_MAX, "hand messages to a replica, which bounces them to all")   \
    X(wait, "", 0, 0, "return when the replicas reach their quorum")                               \
    X(status, "", 0, 0, "who reaches whom; with -n the view of one, with its counters")            \
    X(bench, "[--compare A B]", 0, 2, "put load on the mesh and measure it")                       \
    X(check, "", 0, 0, "say what is wrong with the peers file")                                    \
    X(completion, "bash|zsh|fish", 1, 1, "print a completion script for a shell")                  \
    X(version, "", 0, 0, "print the version")                                                      \
    X(help, "[VERB]", 0, 1, "print this, or the options of a verb")

enum zn_verb {
#define ZN_VERB_ENUM(name, args, min, max, help) ZN_VERB_##name,
    ZN_VERBS(ZN_VERB_ENUM)
#undef ZN_VERB_ENUM
        ZN_VERBS_N
};

struct zn_verb_row {
    const char *name, *args;
    int args_min, args_max;
    const char *help;
};
extern const struct zn_verb_row zn_verbs[ZN_VERBS_N];

enum zn_option_kind {
    ZN_OPTION_FLAG,     /* bool */
    ZN_OPTION_COUNT,    /* uint64_t, one more each time */
    ZN_OPTION_TEXT,     /* const char * */
    ZN_OPTION_CHOICE,   /* const char *, one of `values`, separated by '|' */
    ZN_OPTION_NUMBER,   /* uint64_t, min..max */
    ZN_OPTION_DURATION, /* uint64_t microseconds, min..max */
    ZN_OPTION_QUORUM,   /* int, as in struct zmqnet_call */
    ZN_OPTION_SIZE,     /* uint64_t bytes, min..max */
    ZN_OPTION_PERCENT,  /* uint64_t, min..max; the sign may be left out */
    ZN_OPTION_LIST,     /* struct zn_option_list, one more each time */
};

struct zn_option {
    const char *name; /* without "--"; its variable is ZMQNET_NAME with '_' for '-' */
    char letter;      /* 0: none */
    enum zn_option_kind kind;
    uint32_t verbs;      /* bit (1 << verb) */
    size_t offset;       /* of the result in struct zn_options */
    const char *values;  /* name of the value in help, or the choices; NULL: takes none */
    const char *initial; /* default, as the user would write it; NULL: none */
    const char *help;    /* NULL: not shown */
    uint64_t min, max;
};

#define ZN_EVERY_VERB ((1u << ZN_VERBS_N) - 1)
_Static_assert(ZN_VERBS_N < 32, "a set of verbs is a 32-bit mask");

/* The option table, in the order of help. Rows of one name, or one letter, agree in taking a
 * value. */
extern const struct zn_option zn_option_rows[];
extern const size_t zn_option_rows_n;

static inline bool zn_option_takes_value(const struct zn_option *row)
{
    return row->values != NULL;
}
/* Options that turn the command into another one, or are hidden, are not read from the environment:
 * a ZMQNET_HELP would leave no command usable. */
bool zn_option_has_variable(const struct zn_option *row);
/* "ZMQNET_SOME_FLAG" */
#define ZN_OPTION_VARIABLE_MAX 40
void zn_option_variable(const struct zn_option *row, char out[ZN_OPTION_VARIABLE_MAX]);

struct zn_option_list {
    const char *at[ZN_REPLICAS_MAX];
    size_t n;
};

/* A parsed command line. Strings belong to argv, the environment or the table. */
struct zn_options {
    enum zn_verb verb;
    char **args; /* the words after the verb */
    int args_n;
    const char *peers, *name, *to, *pattern;
    bool json, quiet, no_color, help, version, restart, man;
    bool quorum_given;           /* on the command line */
    uint64_t verbose, verbosity; /* of -v; 0..4, lower says more */
    uint64_t timeout_us, delay_us, uptime_us;
    uint64_t retries;
    int quorum;

    /* Of bench. */
    struct zn_option_list names;
    const char *results;
    bool disabled, compare;
    uint64_t duration_us, warmup_us;
    uint64_t clients, size;
    uint64_t inflight, rate; /* 0: not given */
    uint64_t tolerance;      /* per cent */
};

/* Parse argv[1..argc), with getenv's contract for `variable`. argv is reordered: the words after
 * the verb are moved to its front. Options come from, the later the stronger: the table's
 * default, the environment, the command line. --help turns the command into `help VERB`. --version
 * likewise. A bad variable is no error if the command line has the option. Prints nothing.
 * Returns 0, or an exit code with *problem filled in; options->json is right even then. */
int zn_options_parse(int argc, char **argv, char *(*variable)(const char *),
                     struct zn_options *options, struct zn_problem *problem);

/* The verb of that name, ZN_VERBS_N if there is none. */
enum zn_verb zn_verb_find(const char *name);
/* Fill in "unknown command ...; did you mean ...". Returns the exit code. */
int zn_verb_unknown(const char *name, struct zn_problem *problem);

#endif
