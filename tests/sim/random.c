/* SPDX-License-Identifier: MIT */
/*
 * Plays random schedules, each seed one of some seconds, or an hour, of virtual time.
 *
 * They are played in processes of their own, side by side, since a seed that fails may also abort, by
 * an assertion of core, or never end. It is then shrunk and written as a transcript, and the others
 * go on with the next seed. A seed replays bit for bit.
 */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parse.h"

#define WORKERS_MAX 64
#define HANG_S 60 /* a schedule takes milliseconds, an hour of one some seconds: core loops */
#define SHRINK_S 30
#define SHRUNK_MAX 3 /* more show the same bug */
#define PATH_MAX_BYTES 4096

struct options {
    struct sim_schedule schedule;
    uint64_t first, seeds, workers;
    bool trace, only_first;
    const char *out; /* folder of the transcripts */
};

/* What a worker leaves for its parent, in memory of both. */
struct report {
    uint64_t seed, passed;
    uint64_t calls_n, lives_n;
    char failure[SIM_TEXT_MAX];
};

struct worker {
    pid_t pid;
    uint64_t next; /* seed */
    struct report *report;
};

static void play(struct sim *s, const struct sim_lines *lines, FILE *trace)
{
    for (size_t i = 0; i < lines->n && !s->failed; i++) {
        if (trace)
            fprintf(trace, "> %s\n", lines->at[i]);
        s->out = trace;
        (void)sim_obey(s, lines->at[i]);
    }
}

static bool play_seed(const struct sim_schedule *p, struct report *r, FILE *trace)
{
    struct sim *s = calloc(1, sizeof *s);
    assert(s);
    struct sim_lines lines = sim_schedule_make(p);
    play(s, &lines, trace);
    bool passed = !s->failed;
    r->calls_n += s->calls_n;
    r->lives_n += s->lives_n;
    memcpy(r->failure, s->failure, sizeof r->failure);
    sim_close(s);
    free(s);
    sim_lines_free(&lines);
    return passed;
}

/* Ends with the first seed that fails. */
static _Noreturn void work(const struct options *o, struct worker *w)
{
    struct sim_schedule p = o->schedule;
    for (uint64_t seed = w->next; seed < o->first + o->seeds; seed += o->workers) {
        w->report->seed = p.seed = seed;
        alarm(HANG_S);
        if (!play_seed(&p, w->report, NULL))
            _exit(1);
        w->report->passed++;
        if (p.hour) {
            printf("hour %" PRIu64 " passed\n", seed);
            fflush(stdout);
        }
    }
    exit(0); /* where a sanitizer looks for leaks */
}

static void begin(const struct options *o, struct worker *w)
{
    fflush(NULL);
    w->report->failure[0] = '\0';
    w->pid = fork();
    assert(w->pid >= 0);
    if (w->pid == 0)
        work(o, w);
}

static void say_failure(const struct report *r, int status)
{
    const char *text = r->failure;
    if (WIFSIGNALED(status))
        text = WTERMSIG(status) == SIGALRM ? "it never ends" : strsignal(WTERMSIG(status));
    else if (!text[0])
        text = "see above";
    printf("seed %" PRIu64 " FAILED: %s\n", r->seed, text);
}

static void say_replay(const struct options *o, uint64_t seed)
{
    printf("replay: zmqnet-sim %s %" PRIu64, o->schedule.hour ? "hours 1 --start" : "random --seed",
           seed);
    if (o->schedule.replicas)
        printf(" --nodes %d", o->schedule.replicas);
    if (o->schedule.pattern != SIM_PATTERNS_N)
        printf(" --pattern %s", sim_patterns[o->schedule.pattern].name);
    puts(" --trace");
}

static void shrink(const struct options *o, uint64_t seed)
{
    char path[PATH_MAX_BYTES], title[64];
    struct sim_schedule p = o->schedule;
    p.seed = seed;
    snprintf(path, sizeof path, "%s/%s-%" PRIu64 ".txt", o->out, p.hour ? "hour" : "random", seed);
    snprintf(title, sizeof title, "%s %" PRIu64, p.hour ? "hour" : "seed", seed);
    struct sim_lines lines = sim_schedule_make(&p);
    if (!sim_shrink(&lines, title, path, SHRINK_S))
        printf("it could not be shrunk\n");
    sim_lines_free(&lines);
}

/* The worker that ends next, and how; NULL: none runs. */
static struct worker *wait_for(struct worker *workers, uint64_t n, int *status)
{
    pid_t pid = wait(status);
    for (uint64_t i = 0; pid > 0 && i < n; i++)
        if (workers[i].pid == pid)
            return &workers[i];
    return NULL;
}

static void stop_all(struct worker *workers, uint64_t n)
{
    int status;
    for (uint64_t i = 0; i < n; i++)
        if (workers[i].pid > 0)
            kill(workers[i].pid, SIGKILL);
    while (wait(&status) > 0) {
    }
}

/* Returns how many failed. */
static uint64_t watch(const struct options *o, struct worker *workers)
{
    uint64_t failed = 0;
    int status;
    for (struct worker *w; (w = wait_for(workers, o->workers, &status)) != NULL;) {
        w->pid = 0;
        if (status == 0)
            continue;
        say_failure(w->report, status);
        say_replay(o, w->report->seed);
        failed++;
        if (o->only_first) {
            stop_all(workers, o->workers);
            return failed;
        }
        if (failed <= SHRUNK_MAX)
            shrink(o, w->report->seed);
        w->next = w->report->seed + o->workers;
        begin(o, w);
    }
    return failed;
}

static int play_all(const struct options *o)
{
    struct worker workers[WORKERS_MAX] = {{0}};
    struct report *reports = mmap(NULL, sizeof *reports * WORKERS_MAX, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t passed = 0, calls_n = 0, lives_n = 0;
    assert(reports != MAP_FAILED);
    for (uint64_t i = 0; i < o->workers; i++) {
        workers[i].next = o->first + i;
        workers[i].report = &reports[i];
        begin(o, &workers[i]);
    }
    uint64_t failed = watch(o, workers);
    for (uint64_t i = 0; i < o->workers; i++) {
        passed += reports[i].passed;
        calls_n += reports[i].calls_n;
        lives_n += reports[i].lives_n;
    }
    printf("%" PRIu64 " calls, %" PRIu64 " lives of processes\n", calls_n, lives_n);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    munmap(reports, sizeof *reports * WORKERS_MAX);
    return failed ? 1 : 0;
}

/* ---- the command ---- */

static bool number_of(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    return text && zn_parse_u64(text, min, max, out) == 0;
}

static bool take_flag(struct options *o, const char *word)
{
    bool *flag = strcmp(word, "--trace") == 0   ? &o->trace
                 : strcmp(word, "--pings") == 0 ? &o->schedule.pings
                 : strcmp(word, "--first") == 0 ? &o->only_first
                                                : NULL;
    if (flag)
        *flag = true;
    return flag != NULL;
}

static bool take_option(struct options *o, const char *word, const char *value)
{
    uint64_t nodes;
    if (!value)
        return false;
    if (strcmp(word, "--seeds") == 0)
        return number_of(value, 1, UINT32_MAX, &o->seeds);
    if (strcmp(word, "--start") == 0 || strcmp(word, "--seed") == 0)
        return number_of(value, 0, UINT64_MAX / 2, &o->first);
    if (strcmp(word, "--jobs") == 0)
        return number_of(value, 1, WORKERS_MAX, &o->workers);
    if (strcmp(word, "--nodes") == 0 && number_of(value, 3, SIM_REPLICAS_MAX, &nodes)) {
        o->schedule.replicas = (int)nodes;
        return true;
    }
    if (strcmp(word, "--pattern") == 0) {
        o->schedule.pattern = sim_pattern_find(value);
        return o->schedule.pattern != SIM_PATTERNS_N;
    }
    if (strcmp(word, "--out") == 0)
        o->out = value;
    return strcmp(word, "--out") == 0;
}

int sim_random_main(int argc, char **argv, bool hours)
{
    struct options o = {.schedule = {.pattern = SIM_PATTERNS_N, .hour = hours},
                        .first = 1,
                        .seeds = 1,
                        .workers = 1,
                        .out = "."};
    int i = 0;
    if (hours && (argc == 0 || !number_of(argv[i++], 1, UINT32_MAX, &o.seeds)))
        return 2;
    for (; i < argc; i++)
        if (!take_flag(&o, argv[i])) {
            if (!take_option(&o, argv[i], i + 1 < argc ? argv[i + 1] : NULL))
                return 2;
            i++;
        }
    if (!o.trace)
        return play_all(&o);
    struct report r = {0};
    o.schedule.seed = o.first;
    bool passed = play_seed(&o.schedule, &r, stdout);
    puts(passed ? "1 passed, 0 failed" : "0 passed, 1 failed");
    return passed ? 0 : 1;
}
