/* SPDX-License-Identifier: MIT */
/*
 * Random schedules. A seed makes the size of the cluster, its tables, its network, and a sequence of
 * calls and faults, each a command of commands.c; then all is healed, and after a while nothing may
 * be open, and a broadcast from each process must reach all. The invariants are held all along.
 *
 * A schedule is made before it is played, so that any part of it is a schedule too. What it knows of
 * the processes is what its own commands must have done; a command that comes to nothing does no harm.
 */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define STEPS 120
#define HOUR_US (3600 * ZN_SECOND)
#define REST_EVERY_US (600 * ZN_SECOND) /* of an hour: what is wrong by then is shown by a rest */
#define CLIENTS 3
#define MORE_MAX 300 /* bytes of a body */
#define CHECK_EVERY 4
#define ORIGINS 512 /* callers are remembered for longer than a schedule lasts */

static const char *const names[] = {"alpha",   "bravo", "charlie", "delta", "echo",
                                    "foxtrot", "golf",  "hotel",   "india"};
static const char *const clients[CLIENTS] = {"c1", "c2", "c3"};

struct maker {
    struct zn_rand rand;
    struct sim_lines *lines;
    uint64_t replicas_n, at_us;
    uint64_t down, still; /* processes: those that were ended, those that were stopped */
    uint64_t original;    /* replicas */
    uint64_t reqrep;      /* replicas of a mesh that mixes */
    enum sim_pattern_id pattern;
    bool mixes, tiny, hour;
};

static uint64_t below(struct maker *k, uint64_t n) { return zn_rand_below(&k->rand, n); }
static bool chance(struct maker *k, unsigned percent) { return below(k, 100) < percent; }
static uint64_t any_replica(struct maker *k) { return below(k, k->replicas_n); }
static uint64_t any_node(struct maker *k) { return below(k, k->replicas_n + CLIENTS); }

static const char *name_of(const struct maker *k, uint64_t node)
{
    return node < k->replicas_n ? names[node] : clients[node - k->replicas_n];
}

static void add(struct maker *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct maker *k, const char *format, ...)
{
    char line[SIM_LINE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert(n > 0 && (size_t)n < sizeof line);
    sim_lines_add(k->lines, line);
}

static void pass(struct maker *k, uint64_t us)
{
    k->at_us += us;
    add(k, "run %" PRIu64 "us", us);
}

/* ---- what can happen ---- */

static const char *quorum_any(struct maker *k, char *out, size_t n)
{
    if (chance(k, 10))
        snprintf(out, n, "%" PRIu64, 1 + any_replica(k));
    else
        snprintf(out, n, "%s", chance(k, 60) ? "majority" : "all");
    return out;
}

/* `verb` is call or flood; what a flood adds stands in `tail`. */
static void one_call(struct maker *k, const char *verb, const char *tail)
{
    uint64_t node = any_node(k), target = any_replica(k);
    bool client = node >= k->replicas_n;
    char quorum[16];
    if (client && chance(k, 5)) {
        add(k, "view %s %s", name_of(k, node), names[target]);
        return;
    }
    const char *whom = chance(k, 75) ? "all" : client && chance(k, 10) ? "self" : names[target];
    bool text = !k->original || chance(k, 90);
    uint64_t timeout_ms = chance(k, 50) ? 20 + below(k, 500) : 500 + below(k, 3500);
    timeout_ms += chance(k, 10) ? below(k, 8000) : 0;
    uint64_t more = below(k, chance(k, 80) ? 12 : MORE_MAX);
    add(k,
        "%s %s %s \"%s%c\" more=%" PRIu64 " quorum=%s timeout=%" PRIu64 "ms attempts=%" PRIu64
        "%s%s%s",
        verb, name_of(k, node), whom, text ? "" : "\\xff", (char)('a' + below(k, 26)), more,
        quorum_any(k, quorum, sizeof quorum), timeout_ms, 1 + below(k, 5),
        chance(k, 20) ? " idempotent" : "", !client && chance(k, 30) ? " progress" : "", tail);
}

static void calls(struct maker *k)
{
    for (uint64_t n = chance(k, 70) ? 1 : 1 + below(k, 8); n; n--)
        one_call(k, "call", "");
}

/* More at once than the queue of a peer holds. */
static void flood(struct maker *k)
{
    char tail[32];
    snprintf(tail, sizeof tail, " count=%" PRIu64, 2 + below(k, k->tiny ? 12 : 120));
    one_call(k, "flood", tail);
}

/* So many one after the other, each in a frame of its own, perhaps while one of those asked is stopped. */
static void burst(struct maker *k)
{
    uint64_t victim = any_replica(k), node = any_replica(k);
    if (chance(k, 60) && victim != node) {
        k->still |= 1ull << victim;
        add(k, "stop %s", names[victim]);
    }
    for (uint64_t n = 8 + below(k, 24); n; n--) {
        add(k, "call %s all \"%c\" quorum=majority timeout=800ms", names[node],
            (char)('a' + below(k, 26)));
        pass(k, 1 + below(k, 4 * ZN_MS));
    }
}

/* The answer to what left before is on its way, and is lost. */
static void lose_answer(struct maker *k)
{
    uint64_t a = any_replica(k), b = any_replica(k);
    if (a == b)
        return;
    add(k, "handler %s later %" PRIu64 "ms", names[b], 1 + below(k, 200));
    add(k, "call %s %s \"x\" quorum=all timeout=%" PRIu64 "ms attempts=%" PRIu64, names[a],
        chance(k, 50) ? names[b] : "all", 3000 + below(k, 4000), 1 + below(k, 2));
    pass(k, ZN_MS + below(k, 100 * ZN_MS));
    add(k, "break %s %s", names[a], names[b]);
}

static void crash(struct maker *k)
{
    uint64_t node = any_node(k);
    k->down |= 1ull << node;
    k->still &= ~(1ull << node);
    add(k, "kill %s", name_of(k, node));
}

static void start_one(struct maker *k, uint64_t node)
{
    k->down &= ~(1ull << node);
    add(k, "start %s", name_of(k, node));
}

static void start(struct maker *k)
{
    uint64_t node = any_node(k);
    if (k->down >> node & 1)
        start_one(k, node);
}

/* A replica of a mesh that mixes comes back with the other of the two patterns. */
static void change_pattern(struct maker *k, uint64_t node)
{
    if (node >= k->replicas_n || !k->mixes || chance(k, 60))
        return;
    k->reqrep ^= 1ull << node;
    add(k, "pattern %s %s", names[node], k->reqrep >> node & 1 ? "reqrep" : "router");
}

static void restart(struct maker *k)
{
    uint64_t node = any_node(k);
    change_pattern(k, node);
    k->still &= ~(1ull << node);
    if (k->down >> node & 1)
        start_one(k, node);
    else
        add(k, "restart %s", name_of(k, node));
}

static void end(struct maker *k)
{
    uint64_t node = any_node(k);
    if (k->still >> node & 1)
        return;
    k->down |= 1ull << node;
    add(k, "end %s grace=%" PRIu64 "ms", name_of(k, node), below(k, 500));
}

static void stop(struct maker *k)
{
    uint64_t node = any_node(k), die = below(k, 100);
    k->still |= 1ull << node;
    add(k, "%s %s%s", die < 30 ? "pause" : "stop", name_of(k, node), die % 2 ? " midway" : "");
}

static void cont(struct maker *k)
{
    uint64_t node = any_node(k);
    if (!(k->still >> node & 1))
        return;
    k->still &= ~(1ull << node);
    add(k, "cont %s", name_of(k, node));
}

static void slow(struct maker *k)
{
    uint64_t gap_us = chance(k, 30) ? 0 : below(k, chance(k, 60) ? 5 * ZN_MS : 100 * ZN_MS);
    add(k, "slow %s %" PRIu64 "us", name_of(k, any_node(k)), gap_us);
}

static void cut(struct maker *k)
{
    uint64_t a = any_node(k), b = any_replica(k);
    if (a != b)
        add(k, "cut %s %s%s", name_of(k, a), names[b], chance(k, 30) ? " oneway" : "");
}

static void break_link(struct maker *k)
{
    uint64_t a = any_node(k), b = any_replica(k);
    if (a != b)
        add(k, "break %s %s", name_of(k, a), names[b]);
}

static void split(struct maker *k)
{
    char some[SIM_LINE_MAX];
    uint64_t n = chance(k, 50) ? 1 : 1 + below(k, k->replicas_n - 1), first = any_replica(k);
    size_t end = 0;
    for (uint64_t i = 0; i < n; i++)
        end += (size_t)snprintf(some + end, sizeof some - end, " %s",
                                names[(first + i) % k->replicas_n]);
    add(k, "split%s", some);
}

static void heal(struct maker *k) { add(k, "heal"); }

static void lag(struct maker *k)
{
    uint64_t from = any_node(k), to = any_node(k);
    uint64_t us = chance(k, 40) ? 0 : below(k, chance(k, 60) ? 20 * ZN_MS : 400 * ZN_MS);
    if (from != to)
        add(k, "lag %s %s %" PRIu64 "us", name_of(k, from), name_of(k, to), us);
}

/* To the original program nothing may be said twice, so it never stays silent for good. */
static void handler(struct maker *k)
{
    uint64_t node = any_replica(k), delay_ms;
    const char *text = chance(k, 50) ? " done" : "";
    switch (below(k, 4)) {
    case 0: add(k, "handler %s ack%s", names[node], text); return;
    case 1: add(k, "handler %s refuse %" PRIu64 "%s", names[node], 1 + below(k, 99), text); return;
    case 2:
        if (!(k->original >> node & 1)) {
            add(k, "handler %s never", names[node]);
            return;
        }
        break;
    default: break;
    }
    delay_ms = below(k, chance(k, 45) ? 20 : chance(k, 70) ? 800 : 4000);
    add(k, "handler %s later %" PRIu64 "ms%s%s", names[node], delay_ms, text,
        chance(k, 20) ? " code=7" : "");
}

static void network(struct maker *k, bool hostile)
{
    bool unread = k->pattern == SIM_PUBSUB && chance(k, 40);
    uint64_t jitter_us = below(k, chance(k, 80) ? 2000 : 40000);
    char faults[SIM_TEXT_MAX] = "";
    if (hostile)
        snprintf(faults, sizeof faults, " loss=%" PRIu64 " dup=%" PRIu64 " replay=%" PRIu64 "%s",
                 below(k, 150000), below(k, 150000), chance(k, 50) ? below(k, 300000) : 0,
                 chance(k, 50) ? " reorder" : "");
    add(k, "network delay=%" PRIu64 "us jitter=%" PRIu64 "us unread=%" PRIu64 "%s",
        50 + below(k, 500), jitter_us, unread ? below(k, 200000) : 0, faults);
}

static void change_network(struct maker *k) { network(k, chance(k, 40)); }

static void lose_publications(struct maker *k)
{
    uint64_t from = any_replica(k), to = any_replica(k);
    if (k->pattern == SIM_PUBSUB && from != to)
        add(k, "drop %s %s %" PRIu64, names[from], names[to], 1 + below(k, 3));
}

static const struct {
    unsigned weight;
    void (*make)(struct maker *k);
} things[] = {
    {50, calls},
    {1, flood},
    {2, burst},
    {1, lose_answer},
    {2, break_link},
    {3, crash},
    {2, end},
    {6, start},
    {4, restart},
    {4, stop},
    {6, cont},
    {2, cut},
    {1, split},
    {3, heal},
    {6, handler},
    {2, slow},
    {2, lag},
    {2, change_network},
    {3, lose_publications},
};

static void one_thing(struct maker *k)
{
    unsigned sum = 0;
    size_t i = 0;
    for (size_t t = 0; t < sizeof things / sizeof *things; t++)
        sum += things[t].weight;
    for (uint64_t at = below(k, sum); at >= things[i].weight; i++)
        at -= things[i].weight;
    things[i].make(k);
}

/* ---- how it begins ---- */

/* One pattern for all, two that mix, or reqrep with one replica that is the original program. */
static void patterns_make(struct maker *k, const struct sim_schedule *p)
{
    uint64_t die = below(k, 100);
    k->pattern = die < 35 ? SIM_ROUTER : die < 75 ? SIM_REQREP : SIM_PUBSUB;
    if (p->pattern != SIM_PATTERNS_N)
        k->pattern = p->pattern;
    k->mixes = k->pattern == SIM_REQREP && die % 4 == 0;
    k->reqrep = k->mixes ? zn_rand_u64(&k->rand) : ~0ull;
    if (k->pattern == SIM_REQREP && die % 4 == 1)
        k->original = 1ull << any_replica(k);
    add(k, "pattern %s", sim_patterns[k->pattern].name);
}

static void tables_make(struct maker *k, char *out, size_t n)
{
    k->tiny = below(k, 3) == 0;
    if (k->tiny)
        snprintf(out, n,
                 " calls=%" PRIu64 " served=%" PRIu64 " origins=%d queue=%" PRIu64
                 " window=%" PRIu64 " queue_bytes=400 served_bytes=200 call_bytes=1000",
                 2 + below(k, 8), 4 + below(k, 16), ORIGINS, 1 + below(k, 6), 1 + below(k, 4));
    else
        snprintf(out, n, " calls=256 served=%d origins=2048 queue=64 window=32",
                 k->hour ? 8192 : 1024);
}

/* " key=name,name" */
static void set_names(char *out, size_t n, const char *key, uint64_t set, uint64_t of)
{
    size_t end = (size_t)snprintf(out, n, " %s", key);
    const char *between = "=";
    for (uint64_t i = 0; i < of; i++) {
        if (!(set >> i & 1))
            continue;
        end += (size_t)snprintf(out + end, n - end, "%s%s", between, names[i]);
        between = ",";
    }
}

static void cluster_make(struct maker *k, const char *tables)
{
    char others[SIM_TEXT_MAX] = "", original[64] = "", pipe[32] = "";
    if (k->mixes)
        set_names(others, sizeof others, "router", ~k->reqrep, k->replicas_n);
    if (k->original)
        set_names(original, sizeof original, "original", k->original, k->replicas_n);
    if (below(k, 3) == 0)
        snprintf(pipe, sizeof pipe, " pipe=%" PRIu64, 4 + below(k, 20));
    add(k, "cluster %" PRIu64 " cold seed=%" PRIu64 "%s%s%s%s message_max=65536 check_every=%d",
        k->replicas_n, below(k, UINT32_MAX), others, original, tables, pipe,
        k->tiny ? 0 : CHECK_EVERY);
}

static void clients_make(struct maker *k, const char *tables)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        uint64_t via = any_replica(k);
        bool fixed = chance(k, 50) && !(k->original >> via & 1);
        add(k, "client %s%s%s%s", clients[i], fixed ? " via=" : "", fixed ? names[via] : "",
            tables);
    }
}

/* ---- the whole ---- */

static uint64_t pause_us(struct maker *k)
{
    if (!k->hour)
        return below(k, chance(k, 90) ? 60 * ZN_MS : 2 * ZN_SECOND);
    return below(k, chance(k, 60) ? 60 * ZN_MS : chance(k, 75) ? 2 * ZN_SECOND : 10 * ZN_SECOND);
}

static void things_make(struct maker *k)
{
    uint64_t rest_us = REST_EVERY_US;
    for (int i = 0; k->hour ? k->at_us < HOUR_US : i < STEPS; i++) {
        one_thing(k);
        pass(k, pause_us(k));
        if (k->at_us < rest_us)
            continue;
        add(k, "rest");
        k->down = k->still = 0;
        rest_us += REST_EVERY_US;
    }
    add(k, "rest");
}

struct sim_lines sim_schedule_make(const struct sim_schedule *p)
{
    struct sim_lines lines = {0};
    struct maker k = {.lines = &lines, .hour = p->hour};
    char tables[SIM_TEXT_MAX];
    zn_rand_seed(&k.rand, p->seed);
    k.replicas_n = 3 + below(&k, SIM_REPLICAS_MAX - 2);
    if (p->replicas)
        k.replicas_n = (uint64_t)p->replicas;
    patterns_make(&k, p);
    tables_make(&k, tables, sizeof tables);
    cluster_make(&k, tables);
    if (p->pings)
        add(&k, "show pings hellos");
    network(&k, chance(&k, 20));
    clients_make(&k, tables);
    pass(&k, 50 * ZN_MS);
    things_make(&k);
    return lines;
}
