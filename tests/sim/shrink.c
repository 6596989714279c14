/* SPDX-License-Identifier: MIT */
/*
 * From a schedule that fails to the shortest part of it that still fails in the same way: commands are
 * left out, half of them at a time, then quarters, down to one, for as long as something can be spared
 * (delta debugging). What is left is written as a transcript, and `zmqnet-sim run` replays it.
 *
 * Each try runs in a process of its own, since it may abort or never end. "The same way" is the rule
 * that was broken, or the text of the assertion, whatever the numbers in it.
 */
#include "sim.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRY_S 20

/* How a try ended. */
struct verdict {
    bool failed;
    char rule[SIM_TEXT_MAX]; /* which rule was broken, without its numbers */
    char text[SIM_TEXT_MAX]; /* with them */
};

struct shrinking {
    const struct sim_lines *lines;
    size_t *keep, n; /* the commands that are still in */
    struct verdict want;
    time_t until;
    size_t *reached; /* shared with the try: the command that it is at */
    bool *obeyed;    /* likewise, by command */
};

/* ---- one try ---- */

static void obey_all(struct shrinking *k, struct sim *s, FILE *trace)
{
    for (size_t i = 0; i < k->n && !s->failed; i++) {
        *k->reached = i;
        s->out = trace;
        k->obeyed[i] = sim_obey(s, k->lines->at[k->keep[i]]) == NULL;
    }
}

static _Noreturn void try_alone(struct shrinking *k, int report, FILE *trace)
{
    struct sim *s = calloc(1, sizeof *s);
    assert(s);
    dup2(report, STDERR_FILENO);
    alarm(TRY_S);
    obey_all(k, s, trace);
    if (trace)
        fclose(trace);
    if (s->failed)
        dprintf(report, "%s\n%s\n", s->rule, s->failure);
    _exit(s->failed ? 1 : 0);
}

/* The rule is the first line, or the assertion; digits become #. */
static void verdict_read(struct verdict *v, char *text)
{
    char *assertion = strstr(text, "Assertion `"), *rule = assertion ? assertion : text;
    char *next = strchr(text, '\n');
    const char *second = next && next[1] && !assertion ? next + 1 : text;
    snprintf(v->text, sizeof v->text, "%.*s", (int)strcspn(second, "\n"), second);
    size_t end = 0;
    for (const char *c = rule; *c && *c != '\n' && end + 1 < sizeof v->rule; c++)
        v->rule[end++] = isdigit((unsigned char)*c) ? '#' : *c;
    v->rule[end] = '\0';
}

static void read_all(int fd, char *out, size_t max)
{
    char rest[256];
    size_t end = 0;
    for (ssize_t n; (n = read(fd, out + end, max - 1 - end)) > 0;)
        end += (size_t)n;
    while (read(fd, rest, sizeof rest) > 0) {
    }
    out[end] = '\0';
}

static struct verdict try(struct shrinking *k, FILE *trace)
{
    struct verdict v = {0};
    char text[4096];
    int ends[2], status;
    fflush(NULL);
    int rc = pipe(ends);
    assert(rc == 0);
    memset(k->obeyed, 0, k->lines->n * sizeof *k->obeyed);
    pid_t pid = fork();
    assert(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        try_alone(k, ends[1], trace);
    }
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    close(ends[0]);
    waitpid(pid, &status, 0);
    v.failed = status != 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, sizeof text, "it never ends");
    verdict_read(&v, text);
    return v;
}

/* ---- fewer and fewer ---- */

static bool still_fails(struct shrinking *k)
{
    struct verdict v = try(k, NULL);
    return v.failed && strcmp(v.rule, k->want.rule) == 0;
}

/* What stands behind the command that failed is not needed. */
static void cut_tail(struct shrinking *k) { k->n = *k->reached + 1; }

/* Leave out those from `at` to `at` + `n`, if they can be spared. */
static bool spare(struct shrinking *k, size_t at, size_t n)
{
    size_t *all = malloc(k->n * sizeof *all), all_n = k->n;
    assert(all);
    memcpy(all, k->keep, k->n * sizeof *all);
    n = at + n > k->n ? k->n - at : n;
    memmove(k->keep + at, k->keep + at + n, (k->n - at - n) * sizeof *k->keep);
    k->n -= n;
    bool spared = still_fails(k);
    if (spared) {
        cut_tail(k);
    } else {
        memcpy(k->keep, all, all_n * sizeof *all);
        k->n = all_n;
    }
    free(all);
    return spared;
}

/* From the end, where what is spared changes least. Returns whether anything was. */
static bool pass(struct shrinking *k, size_t size)
{
    bool any = false;
    for (size_t end = k->n; end > 0 && time(NULL) < k->until;) {
        size_t at = end > size ? end - size : 0;
        if (spare(k, at, end - at))
            any = true;
        end = at < k->n ? at : k->n;
    }
    return any;
}

static void shorten(struct shrinking *k)
{
    for (size_t size = k->n / 2 ? k->n / 2 : 1; time(NULL) < k->until;) {
        bool any = pass(k, size);
        if (size == 1 && !any)
            return;
        size = size > 1 ? size / 2 : 1;
    }
}

/* ---- the transcript ---- */

/* What came to nothing goes, and one pause follows no other. */
static struct sim_lines tidied(const struct shrinking *k)
{
    struct sim_lines lines = {0};
    uint64_t us = 0, more_us;
    char run[64];
    for (size_t i = 0; i < k->n; i++) {
        const char *line = k->lines->at[k->keep[i]];
        bool pause = sscanf(line, "run %" SCNu64 "us", &more_us) == 1, last = i + 1 == k->n;
        if (!k->obeyed[i] && !last)
            continue;
        us += pause ? more_us : 0;
        snprintf(run, sizeof run, "run %" PRIu64 "us", us);
        if (us && (!pause || last)) {
            sim_lines_add(&lines, run);
            us = 0;
        }
        if (!pause)
            sim_lines_add(&lines, line);
    }
    return lines;
}

/* All of `lines` are in. */
static void keep_all(struct shrinking *k, const struct sim_lines *lines)
{
    k->lines = lines;
    k->n = lines->n;
    for (size_t i = 0; i < lines->n; i++)
        k->keep[i] = i;
}

static bool transcript_write(struct shrinking *k, const char *title, const char *path)
{
    struct verdict v = try(k, NULL);
    struct sim_lines lines = tidied(k);
    FILE *out = fopen(path, "w");
    if (out) {
        setvbuf(out, NULL, _IOLBF, 0); /* the trace may end with an abort */
        fprintf(out, "# Found by %s: %s\n", title, v.text);
        for (size_t i = 0; i < lines.n; i++)
            fprintf(out, "%s\n", lines.at[i]);
        fputs("----\n", out);
        keep_all(k, &lines);
        try(k, out);
        fclose(out);
        printf("shrunk to %zu commands: %s\n", lines.n, path);
    }
    sim_lines_free(&lines);
    return out != NULL;
}

bool sim_shrink(const struct sim_lines *lines, const char *title, const char *path,
                unsigned seconds)
{
    size_t bytes = sizeof(size_t) + lines->n * sizeof(bool);
    struct shrinking k = {.until = time(NULL) + seconds};
    k.reached = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    k.keep = malloc(lines->n * sizeof *k.keep);
    assert(k.reached != MAP_FAILED && k.keep);
    k.obeyed = (bool *)(k.reached + 1);
    keep_all(&k, lines);
    k.want = try(&k, NULL);
    bool done = k.want.failed;
    if (done) {
        cut_tail(&k);
        shorten(&k);
        done = transcript_write(&k, title, path);
    }
    free(k.keep);
    munmap(k.reached, bytes);
    return done;
}
