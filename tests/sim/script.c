/* SPDX-License-Identifier: MIT */
/*
 * Transcripts: a block of commands, a line of four dashes, the trace that they make, an empty line. A
 * `#` begins a comment line. `run` compares, `regen` writes the trace anew and keeps all else; a
 * breach of an invariant or a wrong command fails a transcript either way.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- transcripts ---- */

void sim_lines_add(struct sim_lines *l, const char *text)
{
    if (l->n == l->max) {
        l->max = l->max ? 2 * l->max : 64;
        l->at = realloc(l->at, l->max * sizeof *l->at);
        assert(l->at);
    }
    l->at[l->n] = strdup(text);
    assert(l->at[l->n]);
    l->n++;
}

void sim_lines_free(struct sim_lines *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
    *l = (struct sim_lines){0};
}

static struct sim_lines lines_read(const char *path)
{
    struct sim_lines l = {0};
    FILE *f = fopen(path, "r");
    if (!f)
        return l;
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, f)) >= 0;) {
        if (n && line[n - 1] == '\n')
            line[n - 1] = '\0';
        sim_lines_add(&l, line);
    }
    free(line);
    fclose(f);
    return l;
}

static struct sim_lines lines_split(char *text)
{
    struct sim_lines l = {0};
    for (char *p = text, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        assert(end);
        *end = '\0';
        sim_lines_add(&l, p);
    }
    return l;
}

struct transcript {
    const char *path;
    FILE *out; /* regen: the new text */
    struct sim *sim;
    bool failed;
};

static bool is_dashes(const char *line) { return strcmp(line, "----") == 0; }

/* What differs, without what is the same before and after it. */
static void print_difference(const struct sim_lines *want, size_t want_at, size_t want_n,
                             const struct sim_lines *got)
{
    size_t head = 0, tail = 0, n = want_n < got->n ? want_n : got->n;
    while (head < n && strcmp(want->at[want_at + head], got->at[head]) == 0)
        head++;
    while (tail < n - head &&
           strcmp(want->at[want_at + want_n - 1 - tail], got->at[got->n - 1 - tail]) == 0)
        tail++;
    if (head)
        printf("  %s\n", got->at[head - 1]);
    for (size_t i = head; i < want_n - tail; i++)
        printf("- %s\n", want->at[want_at + i]);
    for (size_t i = head; i < got->n - tail; i++)
        printf("+ %s\n", got->at[i]);
}

/* The trace of the block whose commands are lines[from..to). */
static struct sim_lines run_block(struct transcript *t, const struct sim_lines *l, size_t from,
                                  size_t to)
{
    char *text = NULL;
    size_t bytes = 0;
    t->sim->out = open_memstream(&text, &bytes);
    assert(t->sim->out);
    for (size_t i = from; i < to && !t->sim->failed; i++) {
        const char *wrong = l->at[i][0] == '#' ? NULL : sim_obey(t->sim, l->at[i]);
        if (!wrong)
            continue;
        printf("%s:%zu: %s: %s\n", t->path, i + 1, l->at[i], wrong);
        t->failed = true;
    }
    if (t->sim->failed) {
        printf("%s:%zu: BROKEN: %s\n", t->path, from + 1, t->sim->failure);
        t->failed = true;
    }
    fclose(t->sim->out);
    t->sim->out = NULL;
    struct sim_lines got = lines_split(text);
    free(text);
    return got;
}

static size_t block_end(const struct sim_lines *l, size_t i)
{
    while (i < l->n && l->at[i][0])
        i++;
    return i;
}

static void settle_block(struct transcript *t, const struct sim_lines *l, size_t from,
                         size_t dashes)
{
    size_t end = block_end(l, dashes + 1), n = end - dashes - 1;
    struct sim_lines got = run_block(t, l, from, dashes);
    bool same = got.n == n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(l->at[dashes + 1 + i], got.at[i]) == 0;
    if (t->out)
        for (size_t i = 0; i < got.n; i++)
            fprintf(t->out, "%s\n", got.at[i]);
    if (!same && !t->out) {
        printf("%s:%zu: the trace differs\n", t->path, dashes + 1);
        print_difference(l, dashes + 1, n, &got);
        t->failed = true;
    }
    sim_lines_free(&got);
}

static void play(struct transcript *t, const struct sim_lines *l)
{
    size_t from = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (t->out)
            fprintf(t->out, "%s\n", l->at[i]);
        if (!is_dashes(l->at[i]))
            continue;
        settle_block(t, l, from, i);
        from = block_end(l, i + 1);
        i = from - 1;
    }
}

static bool transcript_main(const char *path, bool regen)
{
    struct sim_lines l = lines_read(path);
    struct transcript t = {.path = path, .sim = calloc(1, sizeof(struct sim))};
    char *text = NULL;
    size_t bytes = 0;
    assert(t.sim);
    if (!l.n) {
        printf("%s: %s\n", path, errno ? strerror(errno) : "empty");
        t.failed = true;
    }
    if (regen)
        t.out = open_memstream(&text, &bytes);
    play(&t, &l);
    if (t.sim->nodes_n)
        sim_close(t.sim);
    free(t.sim);
    sim_lines_free(&l);
    if (regen) {
        fclose(t.out);
        FILE *f = bytes ? fopen(path, "w") : NULL;
        if (f && (fwrite(text, 1, bytes, f) != bytes || fclose(f) != 0))
            t.failed = true;
        free(text);
    }
    printf("%s %s\n", t.failed ? "FAILED" : "ok    ", path);
    return !t.failed;
}

int sim_script_main(char **files, int n, bool regen)
{
    int passed = 0;
    for (int i = 0; i < n; i++)
        passed += transcript_main(files[i], regen);
    printf("%d passed, %d failed\n", passed, n - passed);
    return passed == n ? 0 : 1;
}
