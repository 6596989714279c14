/* SPDX-License-Identifier: MIT */
/*
 * Random schedules. A seed makes the size of the cluster, its tables, its network, and a sequence of
 * calls and faults; then everything is healed, and after a while nothing may be open, and a broadcast
 * from each replica must reach all. The invariants are held all along.
 *
 * A seed replays bit for bit. One that fails is played again with its trace, of which the end is
 * shown. An assertion of core, or a loop without end, ends the program; the seed and its command are
 * printed then too.
 */
#include "sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"

#define STEPS 120
#define TAIL_LINES 50
#define BODY_MAX 300
#define CHECK_EVERY 4
#define HANG_S 60   /* a schedule takes milliseconds: core loops */
#define ORIGINS 512 /* callers are remembered for longer than a schedule lasts */
#define REST_US (10 * ZN_SECOND)
#define CALM_AFTER_US (6 * ZN_SECOND)

struct schedule {
    uint64_t seed;
    int replicas;                /* 0: by the seed */
    enum sim_pattern_id pattern; /* SIM_PATTERNS_N: by the seed */
    bool pings;                  /* in the trace, and hellos */
};

static uint64_t below(struct sim *s, uint64_t n) { return zn_rand_below(&s->rand, n); }
static bool chance(struct sim *s, unsigned percent) { return below(s, 100) < percent; }
static int any_replica(struct sim *s) { return (int)below(s, (uint64_t)s->replicas_n); }
static int any_node(struct sim *s) { return (int)below(s, (uint64_t)s->nodes_n); }

/* ---- what can happen ---- */

static void one_call(struct sim *s)
{
    int node = any_node(s);
    bool client = s->nodes[node].self < 0;
    char body[BODY_MAX];
    size_t bytes = below(s, chance(s, 80) ? 12 : sizeof body);
    memset(body, 'a' + (int)(s->calls_n % 26), bytes);
    if (s->originals && chance(s, 10))
        body[0] = (char)0xff; /* no text */
    struct zn_call_spec spec = {
        .ask = chance(s, 75) ? ZN_ASK_ALL : ZN_ASK_ONE,
        .target = any_replica(s),
        .timeout_us = (chance(s, 50) ? 20 + below(s, 500) : 500 + below(s, 3500)) * ZN_MS,
        .attempts = 1 + (uint32_t)below(s, 5),
        .quorum = chance(s, 60) ? ZMQNET_QUORUM_MAJORITY : ZMQNET_QUORUM_ALL,
        .idempotent = chance(s, 20),
        .progress = !client && chance(s, 30),
    };
    if (chance(s, 10))
        spec.quorum = 1 + any_replica(s);
    if (client && chance(s, 5))
        spec.ask = ZN_ASK_STATUS;
    else if (client && chance(s, 10))
        spec.target = -1;
    uint64_t tag = sim_ask(s, node, spec, body, bytes);
    sim_say(s, "> call %s %s quorum=%d timeout=%" PRIu64 "ms attempts=%u%s call=%" PRIu64,
            s->nodes[node].name,
            spec.ask == ZN_ASK_ALL      ? "all"
            : spec.ask == ZN_ASK_STATUS ? "status"
            : spec.target < 0           ? "self"
                                        : s->nodes[spec.target].name,
            spec.quorum, spec.timeout_us / 1000, spec.attempts,
            spec.idempotent ? " idempotent" : "", tag);
}

static void calls(struct sim *s)
{
    for (uint64_t n = chance(s, 70) ? 1 : 1 + below(s, 8); n; n--)
        one_call(s);
}

static void crash(struct sim *s)
{
    int node = any_node(s);
    sim_say(s, "> kill %s", s->nodes[node].name);
    sim_kill(s, node);
}

/* A replica of a mesh that mixes comes back with the other of the two. */
static void change_pattern(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->self < 0 || !s->options.mixes || chance(s, 60))
        return;
    n->next_pattern = n->pattern == SIM_ROUTER ? SIM_REQREP : SIM_ROUTER;
    sim_say(s, "> pattern %s %s", n->name, sim_patterns[n->next_pattern].name);
}

static void end(struct sim *s)
{
    int node = any_node(s);
    uint64_t grace_us = below(s, 500) * ZN_MS;
    if (s->nodes[node].stopped)
        return;
    sim_say(s, "> end %s grace=%" PRIu64 "ms", s->nodes[node].name, grace_us / 1000);
    sim_end(s, node, grace_us);
}

static void start(struct sim *s)
{
    int node = any_node(s);
    if (s->nodes[node].alive)
        return;
    sim_say(s, "> start %s", s->nodes[node].name);
    sim_start(s, node);
}

static void restart(struct sim *s)
{
    int node = any_node(s);
    sim_say(s, "> restart %s", s->nodes[node].name);
    change_pattern(s, node);
    sim_kill(s, node);
    sim_start(s, node);
}

static void stop(struct sim *s)
{
    int node = any_node(s);
    sim_say(s, "> stop %s", s->nodes[node].name);
    sim_stop(s, node);
}

static void cont(struct sim *s)
{
    int node = any_node(s);
    if (!s->nodes[node].stopped)
        return;
    sim_say(s, "> cont %s", s->nodes[node].name);
    sim_continue(s, node);
}

static void cut(struct sim *s)
{
    int a = any_node(s), b = any_replica(s);
    bool oneway = chance(s, 30);
    if (a == b)
        return;
    sim_say(s, "> cut %s %s%s", s->nodes[a].name, s->nodes[b].name, oneway ? " oneway" : "");
    s->faults++;
    sim_network_cut(s, a, b);
    if (!oneway)
        sim_network_cut(s, b, a);
}

static void isolate(struct sim *s)
{
    int a = any_replica(s);
    sim_say(s, "> cut %s off", s->nodes[a].name);
    s->faults++;
    for (int b = 0; b < s->nodes_n; b++)
        if (b != a) {
            sim_network_cut(s, a, b);
            sim_network_cut(s, b, a);
        }
}

static void heal(struct sim *s)
{
    sim_say(s, "> heal");
    s->faults++;
    sim_network_heal(s);
}

static void handler(struct sim *s)
{
    static const char *const names[] = {"ack", "refuse", "later", "never"};
    int node = any_replica(s);
    struct sim_handler h = {.kind = chance(s, 50) ? SIM_HANDLER_ACK : SIM_HANDLER_REFUSE};
    if (chance(s, 50))
        h.kind = chance(s, 70) ? SIM_HANDLER_LATER : SIM_HANDLER_NEVER;
    if (h.kind == SIM_HANDLER_REFUSE || (h.kind == SIM_HANDLER_LATER && chance(s, 20)))
        h.code = 1 + (int)below(s, 99);
    if (h.kind == SIM_HANDLER_NEVER && s->nodes[node].next_original)
        h.kind = SIM_HANDLER_LATER; /* it would never do anything again */
    if (h.kind == SIM_HANDLER_LATER)
        h.delay_us = below(s, chance(s, 45) ? 20 : chance(s, 70) ? 800 : 4000) * ZN_MS;
    snprintf(h.text, sizeof h.text, "%s", chance(s, 50) ? "" : names[h.kind]);
    sim_say(s, "> handler %s %s", s->nodes[node].name, names[h.kind]);
    s->faults++;
    s->nodes[node].handler = h;
}

static void network(struct sim *s, bool hostile)
{
    bool unread = s->options.pattern == SIM_PUBSUB && chance(s, 40);
    s->faults++;
    s->network_us = s->now_us;
    s->calm_from_us = hostile || unread ? UINT64_MAX : s->now_us + CALM_AFTER_US;
    s->delay_min_us = 50 + below(s, 500);
    s->delay_max_us = s->delay_min_us + below(s, chance(s, 80) ? 2000 : 40000);
    s->loss_ppm = s->dup_ppm = 0;
    s->unread_ppm = unread ? (uint32_t)below(s, 200000) : 0;
    s->reorder = false;
    if (hostile) {
        s->loss_ppm = (uint32_t)below(s, 150000);
        s->dup_ppm = (uint32_t)below(s, 150000);
        s->reorder = chance(s, 50);
    }
    sim_say(s, "> network loss=%u dup=%u unread=%u delay=%" PRIu64 "..%" PRIu64 "us%s", s->loss_ppm,
            s->dup_ppm, s->unread_ppm, s->delay_min_us, s->delay_max_us,
            s->reorder ? " reorder" : "");
}

static void change_network(struct sim *s) { network(s, chance(s, 40)); }

static void lose_publications(struct sim *s)
{
    int from = any_replica(s), to = any_replica(s);
    if (!sim_patterns[s->nodes[from].pattern].numbered || from == to)
        return;
    uint32_t n = 1 + (uint32_t)below(s, 3);
    sim_say(s, "> drop %s %s %u", s->nodes[from].name, s->nodes[to].name, n);
    s->faults++;
    s->network_us = s->now_us;
    s->nodes[from].links[to].lose += n;
}

static const struct {
    unsigned weight;
    void (*run)(struct sim *s);
} things[] = {
    {50, calls},
    {3, crash},
    {2, end},
    {6, start},
    {4, restart},
    {3, stop},
    {6, cont},
    {2, cut},
    {1, isolate},
    {3, heal},
    {6, handler},
    {2, change_network},
    {3, lose_publications},
};

static void one_thing(struct sim *s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof things / sizeof *things; i++)
        sum += things[i].weight;
    uint64_t at = below(s, sum);
    for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
        if (at < things[i].weight) {
            things[i].run(s);
            return;
        }
        at -= things[i].weight;
    }
}

/* ---- a schedule ---- */

static void rest(struct sim *s)
{
    sim_say(s, "> everything is healed");
    network(s, false);
    s->unread_ppm = 0;
    sim_network_heal(s);
    for (int i = 0; i < s->nodes_n; i++) {
        for (int p = 0; p < s->replicas_n; p++)
            s->nodes[i].links[p].lose = 0;
        s->nodes[i].handler = (struct sim_handler){.kind = SIM_HANDLER_ACK};
        if (s->nodes[i].stopped)
            sim_continue(s, i);
    }
    sim_run(s, s->now_us + REST_US); /* those that were ending end */
    for (int i = 0; i < s->nodes_n; i++)
        sim_start(s, i);
    sim_run(s, s->now_us + REST_US);
    sim_check_end(s);
}

/* One by one: the smallest tables hold no more. */
static void prove_health(struct sim *s)
{
    struct zn_call_spec spec = {.ask = ZN_ASK_ALL, .timeout_us = 2 * ZN_SECOND, .attempts = 1};
    for (int i = 0; i < s->nodes_n && !s->failed; i++) {
        if (!sim_has_mesh(s, i))
            continue;
        uint64_t tag = sim_ask(s, i, spec, "all", 3);
        sim_run(s, s->now_us + ZN_SECOND);
        if (s->calls[tag].status != 0 || !s->calls[tag].done_n)
            sim_fail(s, "all is well again, but call %" PRIu64 " ended %s", tag,
                     s->calls[tag].done_n ? zmqnet_error_name(s->calls[tag].status) : "not at all");
    }
    sim_run(s, s->now_us + 4 * ZN_SECOND);
    sim_check_end(s);
}

/* One pattern for all, two that mix, or reqrep with one replica that is the original program. */
static void patterns_of(const struct schedule *p, struct sim_options *o, struct zn_rand *r)
{
    uint64_t die = zn_rand_below(r, 100), some = zn_rand_u64(r);
    o->pattern = die < 35 ? SIM_ROUTER : die < 75 ? SIM_REQREP : SIM_PUBSUB;
    if (p->pattern != SIM_PATTERNS_N)
        o->pattern = p->pattern;
    o->mixes = o->pattern == SIM_REQREP && die % 4 == 0;
    if (o->mixes)
        o->speaks[SIM_ROUTER] = some;
    else if (o->pattern == SIM_REQREP && die % 4 == 1)
        o->original = 1ull << some % (uint64_t)o->replicas_n;
}

static struct sim_options options_of(const struct schedule *p)
{
    struct zn_rand r;
    zn_rand_seed(&r, p->seed);
    struct sim_options o = {
        .seed = p->seed,
        .replicas_n = p->replicas ? p->replicas : 3 + (int)zn_rand_below(&r, 7),
        .message_max = 64 << 10,
    };
    bool tiny = zn_rand_below(&r, 3) == 0;
    o.tables = (struct sim_tables){
        .calls = 256, .served = 1024, .origins = 2048, .queue = 64, .window = 32};
    if (tiny)
        o.tables = (struct sim_tables){
            .calls = 2 + (uint32_t)zn_rand_below(&r, 8),
            .served = 4 + (uint32_t)zn_rand_below(&r, 16),
            .origins = ORIGINS,
            .queue = 1 + (uint32_t)zn_rand_below(&r, 6),
            .window = 1 + (uint32_t)zn_rand_below(&r, 4),
            .queue_bytes = 400,
            .served_bytes = 200,
            .call_bytes = 1000,
        };
    o.pipe_frames_max = zn_rand_below(&r, 3) ? 0 : 4 + (uint32_t)zn_rand_below(&r, 20);
    o.check_every = tiny ? 0 : CHECK_EVERY;
    patterns_of(p, &o, &r);
    return o;
}

static void play(struct sim *s, const struct schedule *p, FILE *out)
{
    static const char *const clients[] = {"c1", "c2", "c3"};
    struct sim_options options = options_of(p);
    sim_open(s, &options, out);
    s->show_pings = s->show_hellos = p->pings;
    network(s, chance(s, 20));
    for (size_t i = 0; i < 3; i++) {
        int via = chance(s, 50) ? any_replica(s) : -1;
        bool asks_original = via >= 0 && options.original >> via & 1;
        sim_start(s, sim_add_client(s, clients[i], asks_original ? -1 : via));
    }
    sim_run(s, s->now_us + 50 * ZN_MS);
    for (int i = 0; i < STEPS && !s->failed; i++) {
        one_thing(s);
        sim_run(s, s->now_us + below(s, chance(s, 90) ? 60 * ZN_MS : 2 * ZN_SECOND));
    }
    if (!s->failed)
        rest(s);
    if (!s->failed)
        prove_health(s);
}

/* ---- the command ---- */

static char last_words[256];

static void say_last_words(int signal_number)
{
    if (write(STDOUT_FILENO, last_words, strlen(last_words)) < 0 || signal_number == SIGALRM)
        _exit(3);
}

static const char *replay(const struct schedule *p, char *out, size_t n)
{
    char nodes[32] = "", pattern[32] = "";
    if (p->replicas)
        snprintf(nodes, sizeof nodes, " --nodes %d", p->replicas);
    if (p->pattern != SIM_PATTERNS_N)
        snprintf(pattern, sizeof pattern, " --pattern %s", sim_patterns[p->pattern].name);
    snprintf(out, n, "zmqnet-sim random --seed %" PRIu64 "%s%s --trace", p->seed, nodes, pattern);
    return out;
}

static void print_tail(const char *text, size_t bytes)
{
    size_t lines = 0, at = bytes;
    while (at > 0 && lines <= TAIL_LINES)
        lines += text[--at] == '\n';
    fwrite(text + at, 1, bytes - at, stdout);
}

static void show_failure(struct sim *s, const struct schedule *p)
{
    char *text = NULL, command[128];
    size_t bytes = 0;
    printf("seed %" PRIu64 " FAILED: %s\n", p->seed, s->failure);
    FILE *out = open_memstream(&text, &bytes);
    play(s, p, out);
    sim_close(s);
    fclose(out);
    print_tail(text, bytes);
    free(text);
    printf("replay: %s\n", replay(p, command, sizeof command));
}

static bool schedule_main(struct sim *s, const struct schedule *p, bool trace)
{
    char command[128];
    snprintf(last_words, sizeof last_words, "seed %" PRIu64 " ABORTED OR HANGS\nreplay: %s\n",
             p->seed, replay(p, command, sizeof command));
    alarm(HANG_S);
    play(s, p, trace ? stdout : NULL);
    bool passed = !s->failed;
    sim_close(s);
    if (!passed && !trace)
        show_failure(s, p);
    return passed;
}

static bool number_of(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    return text && zn_parse_u64(text, min, max, out) == 0;
}

int sim_random_main(int argc, char **argv)
{
    uint64_t first = 1, seeds = 1, replicas = 0, passed = 0;
    enum sim_pattern_id pattern = SIM_PATTERNS_N;
    bool trace = false, pings = false;
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
            continue;
        }
        if (strcmp(argv[i], "--pings") == 0) {
            pings = true;
            continue;
        }
        bool ok =
            (strcmp(argv[i], "--seeds") == 0 && number_of(next, 1, UINT32_MAX, &seeds)) ||
            (strcmp(argv[i], "--start") == 0 && number_of(next, 0, UINT64_MAX / 2, &first)) ||
            (strcmp(argv[i], "--seed") == 0 && number_of(next, 0, UINT64_MAX / 2, &first)) ||
            (strcmp(argv[i], "--nodes") == 0 && number_of(next, 3, SIM_REPLICAS_MAX, &replicas));
        if (!ok && next && strcmp(argv[i], "--pattern") == 0) {
            pattern = sim_pattern_find(next);
            ok = pattern != SIM_PATTERNS_N;
        }
        if (!ok)
            return 2;
        i++;
    }
    struct sim *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, say_last_words);
    signal(SIGALRM, say_last_words);
    for (uint64_t k = 0; k < seeds; k++)
        passed += schedule_main(
            s,
            &(struct schedule){
                .seed = first + k, .replicas = (int)replicas, .pattern = pattern, .pings = pings},
            trace);
    free(s);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, seeds - passed);
    return passed == seeds ? 0 : 1;
}
