/* SPDX-License-Identifier: MIT */
/*
 * Reads a results file: one JSON object on each line, of which the keys in one table are wanted.
 *
 * The whole line must be JSON, whatever it holds beside these keys. Values are taken as they are
 * spelled: escapes in a text stay escapes, which is enough to see whether two are the same. A line
 * that is not understood ends the reading with its number; a figure that is left out is an error, one
 * that is null says that nothing was answered, and is worse than any number.
 */
#include "cli/bench_lines.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 65536
#define LINES_MAX 10000
#define DEPTH_MAX 16

enum need { OPTIONAL, REQUIRED };

static const struct field {
    const char *key;
    enum need need;
    size_t offset;
    size_t text_max; /* 0: a number */
    double if_null;  /* numbers only; NAN: null is an error */
} fields[] = {
#define TEXT_FIELD(key, need, member)                                                              \
    {                                                                                              \
        key, need, offsetof(struct zn_bench_line, member),                                         \
            sizeof(((struct zn_bench_line *)0)->member), NAN                                       \
    }
#define NUMBER_FIELD(key, need, member, if_null)                                                   \
    {                                                                                              \
        key, need, offsetof(struct zn_bench_line, member), 0, if_null                              \
    }
    TEXT_FIELD("name", REQUIRED, name),
    TEXT_FIELD("pattern", OPTIONAL, pattern),
    TEXT_FIELD("quorum", OPTIONAL, quorum),
    NUMBER_FIELD("n_clients", REQUIRED, clients, NAN),
    NUMBER_FIELD("inflight", REQUIRED, inflight, NAN),
    NUMBER_FIELD("size", REQUIRED, size, NAN),
    NUMBER_FIELD("rate", OPTIONAL, rate, 0),
    NUMBER_FIELD("replicas", OPTIONAL, replicas, 0),
    NUMBER_FIELD("throughput (msg/sec)", REQUIRED, throughput, NAN),
    NUMBER_FIELD("p50_us", REQUIRED, latency_us[0], INFINITY),
    NUMBER_FIELD("p99_us", REQUIRED, latency_us[1], INFINITY),
#undef TEXT_FIELD
#undef NUMBER_FIELD
};
#define FIELDS (sizeof fields / sizeof fields[0])

/* ---- JSON --------------------------------------------------------------------------------- */

static void skip_blanks(const char **p) { *p += strspn(*p, " \t\r"); }

static bool take(const char **p, char c)
{
    skip_blanks(p);
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static bool take_word(const char **p, const char *word)
{
    skip_blanks(p);
    if (strncmp(*p, word, strlen(word)) != 0)
        return false;
    *p += strlen(word);
    return true;
}

/* A text, without its quotes: start[0..n). */
static bool take_text(const char **p, const char **start, size_t *n)
{
    if (!take(p, '"'))
        return false;
    *start = *p;
    for (; **p != '"'; ++*p) {
        if (**p == '\\')
            ++*p;
        if ((unsigned char)**p < 0x20)
            return false;
    }
    *n = (size_t)(*p - *start);
    ++*p;
    return true;
}

static bool take_number(const char **p, double *out)
{
    skip_blanks(p);
    size_t n = strspn(*p, "0123456789+-.eE");
    char *end;
    if (n == 0 || **p == '+' || **p == '.')
        return false;
    *out = strtod(*p, &end);
    bool whole = end == *p + n && isfinite(*out);
    *p = end;
    return whole;
}

static bool skip_value(const char **p, int depth);

/* The members of an object, or the elements of an array, behind its bracket. */
static bool skip_rest(const char **p, char end, int depth)
{
    const char *text;
    size_t n;
    if (take(p, end))
        return true;
    do {
        if (end == '}' && !(take_text(p, &text, &n) && take(p, ':')))
            return false;
        if (!skip_value(p, depth + 1))
            return false;
    } while (take(p, ','));
    return take(p, end);
}

static bool skip_value(const char **p, int depth)
{
    const char *text;
    size_t n;
    double number;
    skip_blanks(p);
    if (depth > DEPTH_MAX)
        return false;
    switch (**p) {
    case '{': ++*p; return skip_rest(p, '}', depth);
    case '[': ++*p; return skip_rest(p, ']', depth);
    case '"': return take_text(p, &text, &n);
    case 't': return take_word(p, "true");
    case 'f': return take_word(p, "false");
    case 'n': return take_word(p, "null");
    default: return take_number(p, &number);
    }
}

/* ---- one line ----------------------------------------------------------------------------- */

static int bad(struct zn_problem *problem, const char *key, const char *what)
{
    return zn_problem_set(problem, ZN_PROBLEM_CONFIG, "", "%s%s%s%s", key[0] != '\0' ? "\"" : "",
                          key, key[0] != '\0' ? "\" " : "", what);
}

static bool store_text(const char **p, const struct field *f, char *out)
{
    const char *text;
    size_t n;
    if (!take_text(p, &text, &n) || n >= f->text_max)
        return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

static bool store(const char **p, const struct field *f, struct zn_bench_line *line)
{
    char *at = (char *)line + f->offset;
    if (f->text_max > 0)
        return store_text(p, f, at);
    if (!isnan(f->if_null) && take_word(p, "null")) {
        memcpy(at, &f->if_null, sizeof f->if_null);
        return true;
    }
    double number;
    if (!take_number(p, &number) || number < 0)
        return false;
    memcpy(at, &number, sizeof number);
    return true;
}

static const struct field *find_field(const char *key, size_t n)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (strlen(fields[i].key) == n && memcmp(fields[i].key, key, n) == 0)
            return &fields[i];
    return NULL;
}

/* One member; `seen` gets the bit of its field. */
static int take_member(const char **p, struct zn_bench_line *line, unsigned *seen,
                       struct zn_problem *problem)
{
    const char *key;
    size_t n;
    if (!take_text(p, &key, &n) || !take(p, ':'))
        return bad(problem, "", "this is no line of JSON");
    const struct field *f = find_field(key, n);
    if (f == NULL)
        return skip_value(p, 0) ? 0 : bad(problem, "", "this is no line of JSON");
    if (!store(p, f, line))
        return bad(problem, f->key, f->text_max > 0 ? "is not a text" : "is not a number");
    *seen |= 1u << (f - fields);
    return 0;
}

int zn_bench_line_parse(const char *text, struct zn_bench_line *line, struct zn_problem *problem)
{
    const char *p = text;
    unsigned seen = 0;
    int rc = 0;
    *line = (struct zn_bench_line){0};
    if (!take(&p, '{'))
        return bad(problem, "", "this is no line of JSON");
    do
        rc = take_member(&p, line, &seen, problem);
    while (rc == 0 && take(&p, ','));
    if (rc != 0)
        return rc;
    if (!take(&p, '}') || (skip_blanks(&p), *p != '\0'))
        return bad(problem, "", "this is no line of JSON");
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].need == REQUIRED && !(seen & 1u << i))
            return bad(problem, fields[i].key, "is missing");
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------- */

static int cannot_read(const char *path, int error, struct zn_problem *problem)
{
    return zn_problem_set(problem, ZN_PROBLEM_USAGE, "", "%s cannot be read: %s", path,
                          strerror(error));
}

/* Put the place in front of what the problem says. */
static int at_line(const char *path, unsigned long number, struct zn_problem *problem)
{
    char what[256];
    snprintf(what, sizeof what, "%s", problem->message);
    return zn_problem_set(problem, ZN_PROBLEM_CONFIG, problem->hint, "%s:%lu: %s", path, number,
                          what);
}

/* Whole lines only: what does not fit is no line of ours. False: it did not. */
static bool strip_end(char *text, FILE *file)
{
    size_t n = strlen(text);
    if (n > 0 && text[n - 1] == '\n') {
        text[n - 1] = '\0';
        return true;
    }
    return feof(file);
}

int zn_bench_lines_read(const char *path,
                        int (*take_line)(void *arg, const struct zn_bench_line *line,
                                         struct zn_problem *problem),
                        void *arg, struct zn_problem *problem)
{
    struct zn_bench_line line;
    FILE *file = fopen(path, "re");
    char *text = malloc(LINE_BYTES_MAX);
    int rc = 0;
    if (file == NULL || text == NULL)
        rc = cannot_read(path, errno, problem);
    for (unsigned long number = 1; rc == 0 && fgets(text, LINE_BYTES_MAX, file); number++) {
        if (number > LINES_MAX)
            rc = bad(problem, "", "there are more lines than can be compared");
        else if (!strip_end(text, file))
            rc = bad(problem, "", "the line is too long, or holds a NUL");
        else if (text[strspn(text, " \t\r")] != '\0')
            rc = zn_bench_line_parse(text, &line, problem);
        else
            continue;
        if (rc == 0)
            rc = take_line(arg, &line, problem);
        if (rc != 0)
            at_line(path, number, problem);
    }
    if (rc == 0 && ferror(file))
        rc = cannot_read(path, errno, problem);
    if (file != NULL)
        fclose(file);
    free(text);
    return rc;
}
