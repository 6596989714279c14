/* SPDX-License-Identifier: MIT */
/*
 * JSON text to a jansson tree, with an exact place and a remedy for everything that is wrong with
 * it. No state; any thread.
 *
 * Jansson knows only where the bad token ends, in a column that is of little use to a person. A
 * small scanner of our own finds the token again and so its beginning; up to there the text was
 * good, so the scanner does not have to judge it. Jansson stops at the first key that stands twice;
 * the same scanner finds them all, and the text is then read once more with the last of each pair,
 * so that one run shows whatever else is wrong.
 */
#include "model/json_text.h"

#include "base/index.h"
#include "base/parse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A piece of the text: [start, end). Empty, at the end of the last one: there are no more. */
struct token {
    size_t start, end;
};

/* What jansson says, and what we say behind the citation of the token. */
static const struct {
    const char *jansson, *sentence;
} sentences[] = {
    {"string or '}' expected", "cannot stand here; write a key in double quotes, or '}' without a "
                               "comma before it"},
    {"'}' expected", "cannot stand here; write ',' or '}' before it"},
    {"']' expected", "cannot stand here; write ',' or ']' before it"},
    {"':' expected", "cannot stand here; write ':' between key and value"},
    {"unexpected token", "cannot stand here; write a value, or ']' without a comma before it"},
    {"end of file expected", "follows the end of the JSON; remove it"},
    {"unexpected newline", "has no closing quote; add it on the same line"},
    {"premature end of input", "has no closing quote; the file may be truncated"},
    {"control character", "holds a control character; write it as \\n, \\t or \\u00XX"},
    {"invalid escape", "holds an unknown escape; write a backslash as \\\\"},
    {"invalid Unicode", "holds a \\u escape that is no character; correct it"},
    {"\\u0000", "holds \\u0000; remove it"},
    {"NUL byte", "holds \\u0000; remove it"},
    {"too big", "is out of range; write a number that fits 64 bits"},
    {"real number overflow", "is out of range; write a smaller number"},
    {"maximum parsing depth", "is nested too deeply; remove some levels"},
};

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool is_mark(char c) { return c != '\0' && strchr("{}[]:,", c) != NULL; }

static size_t string_end(const char *text, size_t n, size_t i)
{
    for (i++; i < n && text[i] != '\n'; i++) {
        if (text[i] == '"')
            return i + 1;
        if (text[i] == '\\' && i + 1 < n && text[i + 1] != '\n')
            i++;
    }
    return i;
}

/* The token behind *t; false if there is none. */
static bool next_token(const char *text, size_t n, struct token *t)
{
    size_t i = t->end;
    while (i < n && is_space(text[i]))
        i++;
    if (i == n) {
        t->start = t->end;
        return false;
    }
    t->start = i;
    if (text[i] == '"')
        i = string_end(text, n, i);
    else if (is_mark(text[i]))
        i++;
    else
        while (i < n && !is_space(text[i]) && !is_mark(text[i]) && text[i] != '"')
            i++;
    t->end = i;
    return true;
}

/* The token that holds the byte before `position`. */
static struct token token_before(const char *text, size_t n, size_t position)
{
    struct token t = {0, 0};
    while (next_token(text, n, &t) && t.end < position)
        ;
    return t;
}

/* A line and a column in characters, from 1. */
static void place_of(const char *text, size_t at, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static void add_at(struct zn_diags *diags, const char *text, struct token t, const char *sentence)
{
    int line, column;
    struct zn_cite cite;
    place_of(text, t.start, &line, &column);
    bool quoted = text[t.start] == '"' || text[t.start] == '\'';
    zn_cite(&cite, quoted ? '\0' : '\'', text + t.start, t.end - t.start);
    zn_diags_add(diags, ZMQNET_ECONFIG, line, column, "%s %s", cite.text, sentence);
}

static void add_end(struct zn_diags *diags, const char *text, size_t at)
{
    int line, column;
    place_of(text, at, &line, &column);
    zn_diags_add(diags, ZMQNET_ECONFIG, line, column,
                 at ? "the JSON ends here, before it is complete; the file may be truncated, "
                      "restore the rest"
                    : "the file is empty; write {\"replicas\": [...]}");
}

/* A word that is not true, false, null or a number. */
static bool is_bad_word(const char *text, struct token t)
{
    if (text[t.start] == '"' || is_mark(text[t.start]))
        return false;
    json_error_t error;
    json_t *value = json_loadb(text + t.start, t.end - t.start, JSON_DECODE_ANY, &error);
    json_decref(value);
    return !value && json_error_code(&error) != json_error_numeric_overflow;
}

/* The citation that jansson ends with stands in quotes, so it cannot be mistaken for this. */
static bool is_at_end(const json_error_t *error)
{
    static const char end[] = "near end of file";
    size_t n = strlen(error->text);
    return n >= sizeof end - 1 && strcmp(error->text + n - (sizeof end - 1), end) == 0;
}

static const char *sentence_of(const char *text, struct token t, const json_error_t *error)
{
    if (is_bad_word(text, t) && (text[t.start] == '/' || text[t.start] == '#'))
        return "cannot stand here; JSON has no comments, remove it";
    if (is_bad_word(text, t) && strncmp(error->text, "end of file", 11) != 0)
        return "is no JSON value; write text in double quotes";
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (strncmp(error->text, sentences[i].jansson, strlen(sentences[i].jansson)) == 0)
            return sentences[i].sentence;
    return "is not JSON; correct it";
}

static void add_syntax_error(struct zn_diags *diags, const char *text, size_t n,
                             const json_error_t *error)
{
    struct token t = token_before(text, n, (size_t)error->position);
    if (t.start == t.end || is_at_end(error))
        add_end(diags, text, t.end);
    else
        add_at(diags, text, t, sentence_of(text, t, error));
}

/* NUL is checked here too: jansson would say no more than that a token is bad. */
static bool check_bytes(const char *text, size_t n, struct zn_diags *diags)
{
    const char *nul = memchr(text, '\0', n);
    size_t valid = zn_utf8_prefix(text, n);
    size_t at = nul && (size_t)(nul - text) < valid ? (size_t)(nul - text) : valid;
    if (at == n)
        return true;
    int line, column;
    place_of(text, at, &line, &column);
    zn_diags_add(diags, ZMQNET_ECONFIG, line, column, "byte 0x%02x at offset %zu is %s",
                 (unsigned)(unsigned char)text[at], at,
                 text[at] ? "not UTF-8; save the file as UTF-8, or restore it if it is truncated"
                          : "NUL; a peers file is text, restore or retype it");
    return false;
}

static uint64_t hash_of(const char *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    return h;
}

/* A string before ':' is a key of the innermost object. Objects are numbered; `seen` holds each
 * (object, hash of key). The text is compared as it stands; other escapes make another key. */
static void add_repeated_keys(struct zn_diags *diags, const char *text, size_t n,
                              struct zn_index *seen)
{
    uint32_t inside[JSON_PARSER_MAX_DEPTH + 1] = {0};
    uint32_t objects_n = 0;
    uint32_t keys_n = 0;
    size_t depth = 0;
    struct token previous = {0, 0};
    for (struct token t = {0, 0}; next_token(text, n, &t); previous = t) {
        char c = text[t.start];
        if ((c == '{' || c == '[') && depth < JSON_PARSER_MAX_DEPTH)
            inside[++depth] = ++objects_n;
        if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (c != ':')
            continue;
        uint64_t key = hash_of(text + previous.start, previous.end - previous.start);
        if (zn_index_find(seen, inside[depth], key) != ZN_INDEX_NONE)
            add_at(diags, text, previous, "stands twice in one object; keep one of them");
        else
            zn_index_put(seen, keys_n++, inside[depth], key);
    }
}

/* Each key has a ':'. */
static int report_repeated_keys(struct zn_diags *diags, const char *text, size_t n,
                                const json_error_t *error)
{
    uint32_t colons_n = 0;
    for (size_t i = 0; i < n; i++)
        colons_n += text[i] == ':';
    struct zn_index seen;
    int rc = zn_index_init(&seen, colons_n + 1, 0);
    if (rc != 0)
        return rc;
    size_t before_n = diags->n;
    add_repeated_keys(diags, text, n, &seen);
    zn_index_free(&seen);
    if (diags->n == before_n)
        add_at(diags, text, token_before(text, n, (size_t)error->position),
               "stands twice in one object; keep one of them");
    return 0;
}

int zn_json_text_parse(const char *text, size_t n, struct zn_diags *diags, json_t **out)
{
    *out = NULL;
    if (!check_bytes(text, n, diags))
        return 0;
    json_error_t repeated;
    json_error_t error;
    *out = json_loadb(text, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &repeated);
    if (*out)
        return 0;
    error = repeated;
    if (json_error_code(&repeated) == json_error_duplicate_key)
        *out = json_loadb(text, n, JSON_DECODE_ANY, &error);
    /* It says nothing at all about most allocations that fail. */
    if (!*out && (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory))
        return ZMQNET_ENOMEM;
    if (!*out) {
        add_syntax_error(diags, text, n, &error);
        return 0;
    }
    int rc = report_repeated_keys(diags, text, n, &repeated);
    if (rc != 0) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}
