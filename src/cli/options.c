/* SPDX-License-Identifier: MIT */
/*
 * The command line: one table of verbs, one of options, and the parser over them.
 *
 * Pure: it reads argv and the environment (through a function) and prints nothing; what is wrong
 * comes back as a problem for main() to report. Help, completion and the man page walk the same
 * tables.
 *
 * argv is walked twice, because options may stand before the verb that they belong to: first to
 * find the verb, then to apply the options of that verb. Which words are values must be known
 * before the verb is, so all rows of one name or letter agree in taking a value (a test holds
 * that). Each error names the option and the nearest one that exists.
 */
#include "cli/options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "zmqnet.h"

#define ON(verb) (1u << ZN_VERB_##verb)
#define AT(field) offsetof(struct zn_options, field)
#define SECOND_US 1000000ull
#define DAY_US (24ull * 3600 * SECOND_US)
#define YEAR_US (365 * DAY_US)

#define EVERY ZN_EVERY_VERB
#define FLAG ZN_OPTION_FLAG
#define COUNT ZN_OPTION_COUNT
#define TEXT ZN_OPTION_TEXT
#define CHOICE ZN_OPTION_CHOICE
#define NUMBER ZN_OPTION_NUMBER
#define DURATION ZN_OPTION_DURATION
#define QUORUM ZN_OPTION_QUORUM
#define SIZE ZN_OPTION_SIZE
#define PERCENT ZN_OPTION_PERCENT
#define LIST ZN_OPTION_LIST

const struct zn_verb_row zn_verbs[ZN_VERBS_N] = {
#define ZN_VERB_ROW(name, args, min, max, help) {#name, args, min, max, help},
    ZN_VERBS(ZN_VERB_ROW)
#undef ZN_VERB_ROW
};

/* clang-format off */
const struct zn_option zn_option_rows[] = {
    {"name", 'n', TEXT, ON(serve), AT(name), "NAME", NULL, "the replica to be", 0, 0},
    {"name", 'n', TEXT, ON(send), AT(name), "NAME", NULL, "the replica to hand it to", 0, 0},
    {"name", 'n', TEXT, ON(wait), AT(name), "NAME", NULL, "only this one (default: each)", 0, 0},
    {"name", 'n', TEXT, ON(status), AT(name), "NAME", NULL,
     "its view: a row per peer (default: ask each replica)", 0, 0},
    {"name", 'n', LIST, ON(bench), AT(names), "NAME", NULL,
     "a replica to load; repeatable (default: each)", 0, 0},
    {"uptime", 'u', DURATION, ON(serve), AT(uptime_us), "DUR", NULL, "end after this time",
     1, YEAR_US},
    {"pattern", 0, CHOICE, ON(serve) | ON(up), AT(pattern), "router|reqrep|pubsub", "router",
     "the ZeroMQ pattern between replicas", 0, 0},
    {"restart", 0, FLAG, ON(up), AT(restart), NULL, NULL,
     "start a replica that died again", 0, 0},
    {"timeout", 't', DURATION, ON(send) | ON(bench), AT(timeout_us), "DUR", "2s", "time for one try",
     1, YEAR_US},
    {"timeout", 't', DURATION, ON(wait), AT(timeout_us), "DUR", "10s", "give up after this time",
     1, YEAR_US},
    {"retries", 'r', NUMBER, ON(send) | ON(bench), AT(retries), "N", "3", "tries in all",
     1, ZMQNET_ATTEMPTS_MAX},
    {"delay", 'd', DURATION, ON(send), AT(delay_us), "DUR", "0s", "wait before each message",
     0, YEAR_US},
    {"quorum", 'q', QUORUM, ON(send) | ON(bench), AT(quorum), "all|majority|N", "all",
     "how many replicas must say yes", 0, 0},
    {"quorum", 'q', QUORUM, ON(wait), AT(quorum), "all|majority|N", "all",
     "how many must be up, itself counted", 0, 0},
    {"to", 0, TEXT, ON(send), AT(to), "PEER", NULL, "ask this one replica instead of all", 0, 0},
    {"duration", 'd', DURATION, ON(bench), AT(duration_us), "DUR", "30s", "how long to measure",
     1, DAY_US},
    {"warmup", 0, DURATION, ON(bench), AT(warmup_us), "DUR", "1s", "load before that, not counted",
     0, DAY_US},
    {"clients", 'c', NUMBER, ON(bench), AT(clients), "N", "1",
     "clients, spread over the replicas in turn", 1, ZN_BENCH_CLIENTS_MAX},
    {"inflight", 0, NUMBER, ON(bench), AT(inflight), "N", NULL,
     "open at once per client (1; with --rate 1024)", 1, ZN_BENCH_INFLIGHT_MAX},
    {"rate", 0, NUMBER, ON(bench), AT(rate), "R", NULL,
     "messages per second in all, by the clock", 1, ZN_BENCH_RATE_MAX},
    {"size", 's', SIZE, ON(bench), AT(size), "BYTES", "32", "of a message: 32, 64K, 1M",
     0, ZMQNET_MESSAGE_MAX},
    {"results", 'o', TEXT, ON(bench), AT(results), "FILE", "results.json",
     "where a line of JSON is appended", 0, 0},
    {"disabled", 'X', FLAG, ON(bench), AT(disabled), NULL, NULL, "do not write that file", 0, 0},
    {"compare", 0, FLAG, ON(bench), AT(compare), NULL, NULL,
     "compare two such files, A and B, instead", 0, 0},
    {"tolerance", 0, PERCENT, ON(bench), AT(tolerance), "N%", "5%", "B may be worse by this much",
     0, 100},
    {"man", 0, FLAG, ON(help), AT(man), NULL, NULL, NULL, 0, 0},
    {"peers", 'p', TEXT, EVERY, AT(peers), "FILE", NULL,
     "the peers file ($PEERS_PATH, or peers.json)", 0, 0},
    {"json", 0, FLAG, EVERY, AT(json), NULL, NULL, "results as JSON, one object per line", 0, 0},
    {"verbose", 'v', COUNT, EVERY, AT(verbose), NULL, NULL, "say more; may be repeated", 0, 0},
    {"verbosity", 0, NUMBER, EVERY, AT(verbosity), "0-4", "2", "as a level: lower says more",
     0, 4},
    {"quiet", 0, FLAG, EVERY, AT(quiet), NULL, NULL, "results and errors only", 0, 0},
    {"no-color", 0, FLAG, EVERY, AT(no_color), NULL, NULL, "no colour on a terminal", 0, 0},
    {"help", 'h', FLAG, EVERY, AT(help), NULL, NULL, "print help and end", 0, 0},
    {"version", 'V', FLAG, EVERY, AT(version), NULL, NULL, "print the version and end", 0, 0},
};
/* clang-format on */
const size_t zn_option_rows_n = sizeof zn_option_rows / sizeof zn_option_rows[0];
_Static_assert(sizeof zn_option_rows / sizeof zn_option_rows[0] <= 64,
               "a set of rows is a 64-bit mask");

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_OPTION, TOKEN_BAD };

struct walk {
    char **argv;
    int argc, at;
    const char *cluster; /* letters left of "-vvn"; NULL: between words */
    bool words_only;     /* "--" was seen */
};

struct token {
    enum token_kind kind;
    const char *name;  /* option: long name, any row's; word: the word */
    char letter;       /* option given by its letter, else 0 */
    const char *value; /* NULL: none */
    char spelled[64];  /* as the user wrote it, for errors */
};

/* ---- looking up --------------------------------------------------------------------------- */

static bool is_option(const struct zn_option *row, const char *name, size_t n, char letter)
{
    if (letter != 0)
        return row->letter == letter;
    return strlen(row->name) == n && memcmp(row->name, name, n) == 0;
}

/* The row for one of these verbs; NULL: none. */
static const struct zn_option *find_row(uint32_t verbs, const char *name, size_t n, char letter)
{
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if ((zn_option_rows[i].verbs & verbs) && is_option(&zn_option_rows[i], name, n, letter))
            return &zn_option_rows[i];
    return NULL;
}

enum zn_verb zn_verb_find(const char *name)
{
    enum zn_verb v = 0;
    while (v < ZN_VERBS_N && strcmp(zn_verbs[v].name, name) != 0)
        v++;
    return v;
}

bool zn_option_has_variable(const struct zn_option *row)
{
    return row->help != NULL && row->offset != AT(help) && row->offset != AT(version);
}

void zn_option_variable(const struct zn_option *row, char out[ZN_OPTION_VARIABLE_MAX])
{
    int n = snprintf(out, ZN_OPTION_VARIABLE_MAX, "ZMQNET_%s", row->name);
    for (int i = 0; i < n && i < ZN_OPTION_VARIABLE_MAX - 1; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* ---- the nearest name --------------------------------------------------------------------- */

#define WORD_MAX 24 /* longer than every name; a longer word has no nearest one */

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* How many letters must be added, removed or changed to make one word the other. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[WORD_MAX + 1];
    for (size_t k = 0; k <= n; k++)
        row[k] = k;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 1; k <= n; k++) {
            size_t change = diagonal + (a[i] != b[k - 1]);
            diagonal = row[k];
            row[k] = smallest(change, row[k] + 1, row[k - 1] + 1);
        }
    }
    return row[n];
}

/* Keep the nearer of *best and `name`; a name that begins with the word is as near as one typo. */
static void nearer(const char *word, const char *name, const char **best, size_t *best_distance)
{
    size_t n = strlen(word);
    if (n == 0 || n > WORD_MAX || strlen(name) > WORD_MAX)
        return;
    size_t d = strncmp(word, name, n) == 0 ? 1 : distance(word, name);
    if (d < *best_distance && d <= 2 && d < strlen(name)) {
        *best = name;
        *best_distance = d;
    }
}

int zn_verb_unknown(const char *name, struct zn_problem *problem)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    char hint[128] = "zmqnet help lists the commands";
    for (size_t v = 0; v < ZN_VERBS_N; v++)
        nearer(name, zn_verbs[v].name, &best, &best_distance);
    if (best != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", best);
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint, "unknown command %s", name);
}

static int unknown_option(const struct token *t, enum zn_verb verb, struct zn_problem *problem)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    uint32_t verbs = verb < ZN_VERBS_N ? 1u << verb : ZN_EVERY_VERB;
    char word[64], hint[128];
    snprintf(word, sizeof word, "%s", t->spelled + strspn(t->spelled, "-"));
    for (size_t i = 0; i < zn_option_rows_n && t->letter == 0; i++)
        if ((zn_option_rows[i].verbs & verbs) && zn_option_rows[i].help != NULL)
            nearer(word, zn_option_rows[i].name, &best, &best_distance);
    if (zn_verb_find(word) < ZN_VERBS_N)
        snprintf(hint, sizeof hint, "it is a command: zmqnet %s", word);
    else if (best != NULL)
        snprintf(hint, sizeof hint, "did you mean --%s?", best);
    else
        snprintf(hint, sizeof hint, "zmqnet help%s%s lists the options",
                 verb < ZN_VERBS_N ? " " : "", verb < ZN_VERBS_N ? zn_verbs[verb].name : "");
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint, "unknown option %s", t->spelled);
}

static int foreign_option(const struct token *t, enum zn_verb verb, struct zn_problem *problem)
{
    char owners[128] = "";
    size_t n = 0;
    for (enum zn_verb v = 0; v < ZN_VERBS_N; v++)
        if (find_row(1u << v, t->name, strlen(t->name), t->letter) && n < sizeof owners)
            n += (size_t)snprintf(owners + n, sizeof owners - n, "%s%s", n > 0 ? ", " : "",
                                  zn_verbs[v].name);
    char hint[256];
    snprintf(hint, sizeof hint, "zmqnet help %s lists those that do; this one is for %s",
             zn_verbs[verb].name, owners);
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint, "option %s does not belong to %s",
                          t->spelled, zn_verbs[verb].name);
}

/* ---- walking ------------------------------------------------------------------------------ */

/* The value of an option: what is joined to it, else the next word. False: there is none. */
static bool take_value(struct walk *w, struct token *t, const char *joined)
{
    t->value = joined;
    if (joined == NULL && w->at < w->argc)
        t->value = w->argv[w->at++];
    return t->value != NULL;
}

static struct token next_letter(struct walk *w)
{
    struct token t = {.kind = TOKEN_OPTION, .letter = *w->cluster++};
    const struct zn_option *row = find_row(ZN_EVERY_VERB, NULL, 0, t.letter);
    snprintf(t.spelled, sizeof t.spelled, "-%c", t.letter);
    const char *rest = *w->cluster != '\0' ? w->cluster : NULL;
    if (row == NULL) {
        /* What follows an unknown letter may be its value: it is not looked at. */
        w->cluster = NULL;
        t.kind = TOKEN_BAD;
        return t;
    }
    t.name = row->name;
    snprintf(t.spelled, sizeof t.spelled, "-%c/--%s", t.letter, row->name);
    if (zn_option_takes_value(row)) {
        /* "-n=alpha" is read as "-n alpha": no value begins with '='. */
        if (rest != NULL && rest[0] == '=')
            rest++;
        take_value(w, &t, rest);
        rest = NULL;
    }
    w->cluster = rest;
    return t;
}

static struct token next_long(struct walk *w, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    struct token t = {.kind = TOKEN_OPTION};
    const struct zn_option *row = find_row(ZN_EVERY_VERB, word, n, 0);
    snprintf(t.spelled, sizeof t.spelled, "--%.*s", (int)(n < 60 ? n : 60), word);
    if (row == NULL) {
        t.kind = TOKEN_BAD;
        return t;
    }
    t.name = row->name;
    if (zn_option_takes_value(row))
        take_value(w, &t, equals != NULL ? equals + 1 : NULL);
    else if (equals != NULL)
        t.value = equals + 1;
    return t;
}

static struct token next_token(struct walk *w)
{
    if (w->cluster != NULL)
        return next_letter(w);
    if (w->at >= w->argc)
        return (struct token){.kind = TOKEN_END};
    const char *word = w->argv[w->at++];
    if (w->words_only || word[0] != '-' || word[1] == '\0')
        return (struct token){.kind = TOKEN_WORD, .name = word};
    if (word[1] != '-') {
        w->cluster = word + 1;
        return next_letter(w);
    }
    if (word[2] == '\0') {
        w->words_only = true;
        return next_token(w);
    }
    return next_long(w, word + 2);
}

/* ---- values ------------------------------------------------------------------------------- */

static bool parse_flag(const char *value, bool *out)
{
    static const char *const words[] = {"0", "no", "false", "off", "1", "yes", "true", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(value, words[i]) == 0) {
            *out = i >= 4;
            return true;
        }
    return false;
}

static bool parse_choice(const char *values, const char *value, const char **out)
{
    size_t n = strlen(value);
    for (const char *p = values; n > 0; p += strcspn(p, "|") + 1) {
        if (strcspn(p, "|") == n && memcmp(p, value, n) == 0) {
            *out = value;
            return true;
        }
        if (p[strcspn(p, "|")] == '\0')
            break;
    }
    return false;
}

static bool parse_quorum(const char *value, int *out)
{
    uint64_t n = 0;
    if (strcmp(value, "all") == 0)
        *out = ZMQNET_QUORUM_ALL;
    else if (strcmp(value, "majority") == 0)
        *out = ZMQNET_QUORUM_MAJORITY;
    else if (zn_parse_u64(value, 1, INT_MAX, &n) == 0)
        *out = (int)n;
    else
        return false;
    return true;
}

static bool parse_duration(const struct zn_option *row, const char *value, uint64_t *out)
{
    uint64_t us = 0;
    if (zn_parse_duration_us(value, &us) != 0 || us < row->min || us > row->max)
        return false;
    *out = us;
    return true;
}

static bool parse_bytes(const struct zn_option *row, const char *value, uint64_t *out)
{
    uint64_t bytes = 0;
    if (zn_parse_size(value, &bytes) != 0 || bytes < row->min || bytes > row->max)
        return false;
    *out = bytes;
    return true;
}

static bool parse_percent(const struct zn_option *row, const char *value, uint64_t *out)
{
    char digits[8];
    size_t n = strcspn(value, "%");
    if (n >= sizeof digits || (value[n] == '%' && value[n + 1] != '\0'))
        return false;
    memcpy(digits, value, n);
    digits[n] = '\0';
    return zn_parse_u64(digits, row->min, row->max, out) == 0;
}

static bool append(const char *value, struct zn_option_list *list)
{
    if (value[0] == '\0' || list->n == sizeof list->at / sizeof list->at[0])
        return false;
    list->at[list->n++] = value;
    return true;
}

/* Store a value (NULL: given without one) where the row says. False: it is not one of its kind. */
static bool store(const struct zn_option *row, const char *value, struct zn_options *o)
{
    void *at = (char *)o + row->offset;
    switch (row->kind) {
    case ZN_OPTION_FLAG: return parse_flag(value != NULL ? value : "1", at);
    case ZN_OPTION_COUNT:
        if (value != NULL)
            return zn_parse_u64(value, 0, 1000, at) == 0;
        ++*(uint64_t *)at;
        return true;
    case ZN_OPTION_TEXT: *(const char **)at = value; return value[0] != '\0';
    case ZN_OPTION_CHOICE: return parse_choice(row->values, value, at);
    case ZN_OPTION_NUMBER: return zn_parse_u64(value, row->min, row->max, at) == 0;
    case ZN_OPTION_DURATION: return parse_duration(row, value, at);
    case ZN_OPTION_QUORUM: return parse_quorum(value, at);
    case ZN_OPTION_SIZE: return parse_bytes(row, value, at);
    case ZN_OPTION_PERCENT: return parse_percent(row, value, at);
    case ZN_OPTION_LIST: return append(value, at);
    }
    return false;
}

static int bad_value(const struct zn_option *row, const char *spelled, const char *value,
                     struct zn_problem *problem)
{
    char hint[256] = "";
    switch (row->kind) {
    case ZN_OPTION_NUMBER:
        snprintf(hint, sizeof hint, "give a number from %llu to %llu", (unsigned long long)row->min,
                 (unsigned long long)row->max);
        break;
    case ZN_OPTION_DURATION:
        snprintf(hint, sizeof hint, "give a time like 250us, 400ms, 2s or 1m30s%s",
                 row->min > 0 ? ", above 0" : "");
        break;
    case ZN_OPTION_CHOICE: snprintf(hint, sizeof hint, "give one of %s", row->values); break;
    case ZN_OPTION_QUORUM:
        snprintf(hint, sizeof hint, "give all, majority or a number from 1 to N replicas");
        break;
    case ZN_OPTION_SIZE:
        snprintf(hint, sizeof hint, "give bytes like 32, 64K or 1M, from %llu to %llu",
                 (unsigned long long)row->min, (unsigned long long)row->max);
        break;
    case ZN_OPTION_PERCENT:
        snprintf(hint, sizeof hint, "give per cent, from %llu%% to %llu%%",
                 (unsigned long long)row->min, (unsigned long long)row->max);
        break;
    case ZN_OPTION_LIST:
    case ZN_OPTION_TEXT: snprintf(hint, sizeof hint, "give a %s", row->values); break;
    case ZN_OPTION_FLAG: snprintf(hint, sizeof hint, "give 1 or 0"); break;
    case ZN_OPTION_COUNT: snprintf(hint, sizeof hint, "give a number, how many times"); break;
    }
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint, "%s: \"%s\" is not allowed", spelled,
                          value);
}

/* ---- parsing ------------------------------------------------------------------------------ */

static void set_defaults(struct zn_options *o)
{
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if ((zn_option_rows[i].verbs & 1u << o->verb) && zn_option_rows[i].initial != NULL)
            store(&zn_option_rows[i], zn_option_rows[i].initial, o);
}

static uint64_t bit_of(const struct zn_option *row) { return 1ull << (row - zn_option_rows); }

/* Of the rows that the command line has not `given`. An empty variable counts as unset. */
static int apply_environment(char *(*variable)(const char *), uint64_t given, struct zn_options *o,
                             struct zn_problem *problem)
{
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        char name[ZN_OPTION_VARIABLE_MAX];
        zn_option_variable(row, name);
        const char *value = variable(name);
        if (!(row->verbs & 1u << o->verb) || !zn_option_has_variable(row) || value == NULL ||
            value[0] == '\0' || (given & bit_of(row)))
            continue;
        if (!store(row, value, o))
            return bad_value(row, name, value, problem);
    }
    return 0;
}

/* A letter may be short for another word with another verb. */
static void spell(const struct token *t, const struct zn_option *row, char out[sizeof t->spelled])
{
    if (t->letter != 0)
        snprintf(out, sizeof t->spelled, "-%c/--%s", t->letter, row->name);
    else
        memcpy(out, t->spelled, sizeof t->spelled);
}

static int apply_option(const struct token *t, struct zn_options *o, uint64_t *given,
                        struct zn_problem *problem)
{
    char spelled[sizeof t->spelled];
    const struct zn_option *row = find_row(1u << o->verb, t->name, strlen(t->name), t->letter);
    if (row == NULL)
        return foreign_option(t, o->verb, problem);
    spell(t, row, spelled);
    if (zn_option_takes_value(row) && t->value == NULL)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "", "option %s needs a value: --%s %s",
                              spelled, row->name, row->values);
    *given |= bit_of(row);
    return store(row, t->value, o) ? 0 : bad_value(row, spelled, t->value, problem);
}

/* A flag that is looked at before its verb is known; what is wrong with it is told later. */
static void peek_flag(const struct token *t, const char *name, bool *flag)
{
    if (t->kind == TOKEN_OPTION && strcmp(t->name, name) == 0)
        parse_flag(t->value != NULL ? t->value : "1", flag);
}

/* Find the verb; on the way, learn how errors are to be told and whether help is wanted. */
static int find_verb(struct walk w, struct zn_options *o, struct zn_problem *problem)
{
    struct token bad = {.kind = TOKEN_END}, t;
    const char *verb = NULL;
    while ((t = next_token(&w)).kind != TOKEN_END) {
        if (t.kind == TOKEN_BAD && bad.kind == TOKEN_END)
            bad = t;
        else if (t.kind == TOKEN_WORD && verb == NULL)
            verb = t.name;
        peek_flag(&t, "json", &o->json);
        peek_flag(&t, "help", &o->help);
        peek_flag(&t, "version", &o->version);
    }
    o->verb = verb != NULL ? zn_verb_find(verb) : ZN_VERBS_N;
    if (verb == NULL && (o->help || o->version))
        o->verb = o->help ? ZN_VERB_help : ZN_VERB_version;
    if (o->verb == ZN_VERBS_N && verb != NULL)
        return zn_verb_unknown(verb, problem);
    if (bad.kind == TOKEN_BAD)
        return unknown_option(&bad, o->verb, problem);
    if (o->verb == ZN_VERBS_N)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, "zmqnet help lists the commands",
                              "a command is missing");
    return 0;
}

static int check_args(const struct zn_options *o, struct zn_problem *problem)
{
    const struct zn_verb_row *verb = &zn_verbs[o->verb];
    char hint[128];
    snprintf(hint, sizeof hint, "use: zmqnet %s [options]%s%s", verb->name,
             verb->args[0] != '\0' ? " " : "", verb->args);
    if (o->args_n > verb->args_max)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint,
                              "%s: \"%s\" is one argument too many", verb->name,
                              o->args[verb->args_max]);
    if (o->args_n < verb->args_min)
        return zn_problem_set(problem, ZN_PROBLEM_USAGE, hint, "%s needs an argument: %s",
                              verb->name, verb->args);
    return 0;
}

/* The words and options in their order; the variables last, where no option was given. */
static int apply_all(struct walk w, char *(*variable)(const char *), struct zn_options *o,
                     struct zn_problem *problem)
{
    struct token t;
    bool verb_seen = false;
    uint64_t given = 0;
    int rc = 0;
    while (rc == 0 && (t = next_token(&w)).kind != TOKEN_END) {
        if (t.kind == TOKEN_OPTION)
            rc = apply_option(&t, o, &given, problem);
        else if (verb_seen)
            o->args[o->args_n++] = w.argv[w.at - 1];
        else
            verb_seen = true;
    }
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if (zn_option_rows[i].offset == AT(quorum) && (given & bit_of(&zn_option_rows[i])))
            o->quorum_given = true;
    return rc == 0 ? apply_environment(variable, given, o, problem) : rc;
}

/* --help and --version turn the command into another one. */
static void divert(struct zn_options *o)
{
    if (o->help && o->verb != ZN_VERB_help) {
        o->args[0] = (char *)zn_verbs[o->verb].name;
        o->args_n = 1;
        o->verb = ZN_VERB_help;
    } else if (o->version && !o->help) {
        o->args_n = 0;
        o->verb = ZN_VERB_version;
    }
}

int zn_options_parse(int argc, char **argv, char *(*variable)(const char *), struct zn_options *o,
                     struct zn_problem *problem)
{
    struct walk w = {.argv = argv, .argc = argc, .at = 1};
    *o = (struct zn_options){.args = argv};
    const char *json = variable("ZMQNET_JSON");
    if (json != NULL)
        parse_flag(json, &o->json);
    int rc = find_verb(w, o, problem);
    if (rc != 0)
        return rc;
    set_defaults(o);
    rc = apply_all(w, variable, o, problem);
    if (rc == 0)
        divert(o);
    if (rc == 0)
        rc = check_args(o, problem);
    if (o->peers == NULL)
        o->peers = variable("PEERS_PATH");
    if (o->peers == NULL || o->peers[0] == '\0')
        o->peers = "peers.json";
    return rc;
}
