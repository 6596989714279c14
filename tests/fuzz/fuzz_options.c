/* SPDX-License-Identifier: MIT */
/*
 * The argument parser. Each line of the input is a word of the command line; a line "$NAME=VALUE" is a
 * variable of the environment instead.
 *
 * A command line is refused with a sentence and the exit code of wrong usage, or every value lies
 * within the limits of its row of the option table, and every text is one of those that were given.
 */
#include "fuzz.h"

#include "base/limits.h"
#include "cli/options.h"

#define WORDS_MAX 64

static char program[] = "zmqnet", peers_default[] = "peers.json";
static char *words[WORDS_MAX + 2], *variables[WORDS_MAX];
static const char *given[WORDS_MAX + 2]; /* the words before the parser moves them */
static int words_n, variables_n;

static void read_lines(char *text)
{
    char *rest = text, *line;
    words[0] = program;
    words_n = 1;
    variables_n = 0;
    while ((line = strsep(&rest, "\n")) != NULL && words_n <= WORDS_MAX && variables_n < WORDS_MAX) {
        if (line[0] == '$')
            variables[variables_n++] = line + 1;
        else
            words[words_n++] = line;
    }
    words[words_n] = NULL;
    memcpy(given, words, sizeof given);
}

static char *variable(const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < variables_n; i++)
        if (strncmp(variables[i], name, n) == 0 && variables[i][n] == '=')
            return variables[i] + n + 1;
    return NULL;
}

/* ---- what came out ---- */

static bool lies_in(const char *value, const char *text)
{
    size_t n = strlen(text);
    return value >= text && value <= text + n;
}

/* It is the table's, or a piece of what was given. */
static bool is_given(const char *value, const struct zn_option *row)
{
    if (strcmp(value, row->initial ? row->initial : peers_default) == 0)
        return true;
    for (int i = 1; i < words_n; i++)
        if (lies_in(value, given[i]))
            return true;
    for (int i = 0; i < variables_n; i++)
        if (lies_in(value, variables[i]))
            return true;
    return false;
}

static void list_check(const struct zn_option_list *list, const struct zn_option *row)
{
    assert(list->n <= ZN_REPLICAS_MAX);
    for (size_t i = 0; i < list->n; i++)
        assert(list->at[i][0] && is_given(list->at[i], row));
}

static void value_check(const struct zn_options *o, const struct zn_option *row)
{
    const void *at = (const char *)o + row->offset;
    const char *text = row->values && row->kind <= ZN_OPTION_CHOICE ? *(const char *const *)at : "";
    uint64_t number = row->kind >= ZN_OPTION_NUMBER ? *(const uint64_t *)at : 0;
    switch (row->kind) {
    case ZN_OPTION_FLAG: assert(*(const uint8_t *)at <= 1); return;
    case ZN_OPTION_COUNT: return;
    case ZN_OPTION_TEXT:
    case ZN_OPTION_CHOICE: assert(!text || (text[0] && is_given(text, row))); return;
    case ZN_OPTION_NUMBER:
    case ZN_OPTION_DURATION:
    case ZN_OPTION_SIZE:
    case ZN_OPTION_PERCENT:
        assert((number >= row->min && number <= row->max) || (!row->initial && number == 0));
        return;
    case ZN_OPTION_QUORUM: assert(*(const int *)at >= ZMQNET_QUORUM_MAJORITY); return;
    case ZN_OPTION_LIST: list_check(at, row); return;
    }
    assert(false);
}

static void options_check(const struct zn_options *o)
{
    const struct zn_verb_row *verb = &zn_verbs[o->verb];
    assert(o->verb < ZN_VERBS_N);
    assert(o->args_n >= verb->args_min && o->args_n <= verb->args_max);
    for (int i = 0; i < o->args_n; i++)
        assert(o->args[i] && o->args[i] != program);
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if (zn_option_rows[i].verbs & 1u << o->verb)
            value_check(o, &zn_option_rows[i]);
}

static void problem_check(const struct zn_problem *p, int rc)
{
    size_t n = strnlen(p->message, sizeof p->message);
    assert(rc == ZN_EXIT_USAGE && p->kind == ZN_PROBLEM_USAGE);
    assert(n > 0 && n < sizeof p->message && strnlen(p->hint, sizeof p->hint) < sizeof p->hint);
    struct zn_text out = {0};
    zn_problem_object(p, &out);
    assert(out.failed || (out.n > 0 && zn_utf8_valid(out.bytes, out.n)));
    zn_text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct zn_options options;
    struct zn_problem problem = {.message = ""};
    struct fuzz_in in = {data, data + n};
    char *text = calloc(1, n + 1);
    assert(text);
    if (n > 0)
        memcpy(text, in.at, n);
    read_lines(text);
    int rc = zn_options_parse(words_n, words, variable, &options, &problem);
    if (rc == 0)
        options_check(&options);
    else
        problem_check(&problem, rc);
    free(text);
    return 0;
}
