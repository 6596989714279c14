/* SPDX-License-Identifier: MIT */
/*
 * The commands of transcripts and of random schedules, each a line of words. They stand in the table
 * below with their use. NODE is a replica (alpha, bravo, ...) or a client; durations are 5ms, 2s.
 *
 * A command that cannot be obeyed changes nothing and says why: a transcript that holds one is wrong,
 * a random schedule goes on, since it does not know who is alive by then.
 */
#include "sim.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

#define WORDS_MAX 32
#define FOREVER_US (3600 * ZN_SECOND)
#define REST_US (10 * ZN_SECOND)

/* ---- words ---- */

int sim_words(char *line, char **words, int words_max)
{
    int n = 0;
    for (char *p = line; *p;) {
        while (isspace((unsigned char)*p))
            *p++ = '\0';
        if (!*p)
            break;
        if (n == words_max)
            return -1;
        bool quoted = *p == '"';
        words[n++] = quoted ? ++p : p;
        while (*p && (quoted ? *p != '"' : !isspace((unsigned char)*p))) {
            bool opens = !quoted && *p == '=' && p[1] == '"';
            p++;
            if (opens) { /* key="a b": the quotes go, the word stays one */
                memmove(p, p + 1, strlen(p));
                quoted = true;
            }
        }
        if (*p)
            *p++ = '\0';
    }
    return n;
}

const char *sim_option(char **words, int n, const char *key)
{
    size_t length = strlen(key);
    for (int i = 1; i < n; i++)
        if (strncmp(words[i], key, length) == 0 && words[i][length] == '=')
            return words[i] + length + 1;
    return NULL;
}

static bool has_word(char **words, int n, const char *word)
{
    for (int i = 1; i < n; i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

static uint32_t number(char **w, int n, const char *key, uint32_t otherwise)
{
    const char *text = sim_option(w, n, key);
    return text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

/* False if it is there and wrong. */
static bool duration(char **w, int n, const char *key, uint64_t *us)
{
    const char *text = sim_option(w, n, key);
    return !text || zn_parse_duration_us(text, us) == 0;
}

static uint64_t replicas_named(const char *list)
{
    static const char *const names[] = {"alpha",   "bravo", "charlie", "delta", "echo",
                                        "foxtrot", "golf",  "hotel",   "india"};
    uint64_t set = 0;
    for (size_t i = 0; list && i < sizeof names / sizeof *names; i++)
        if (strstr(list, names[i]))
            set |= 1ull << i;
    return set;
}

/* ---- commands ---- */

static struct sim_tables tables_of(char **w, int n)
{
    return (struct sim_tables){
        .calls = number(w, n, "calls", 0),
        .served = number(w, n, "served", 0),
        .origins = number(w, n, "origins", 0),
        .queue = number(w, n, "queue", 0),
        .window = number(w, n, "window", 0),
        .queue_bytes = number(w, n, "queue_bytes", 0),
        .call_bytes = number(w, n, "call_bytes", 0),
        .served_bytes = number(w, n, "served_bytes", 0),
    };
}

static const char *do_cluster(struct sim *s, char **w, int n)
{
    FILE *out = s->out;
    int replicas = (int)strtol(w[1], NULL, 10);
    if (replicas < 1 || replicas > SIM_REPLICAS_MAX)
        return "1 to 9 replicas";
    if (s->nodes_n)
        sim_close(s);
    sim_open(s,
             &(struct sim_options){
                 .replicas_n = replicas,
                 .seed = number(w, n, "seed", 1),
                 .down = replicas_named(sim_option(w, n, "down")),
                 .other_file = replicas_named(sim_option(w, n, "other_file")),
                 .pattern = s->options.pattern,
                 .speaks = {replicas_named(sim_option(w, n, "router")),
                            replicas_named(sim_option(w, n, "reqrep")),
                            replicas_named(sim_option(w, n, "pubsub"))},
                 .original = replicas_named(sim_option(w, n, "original")),
                 .tables = tables_of(w, n),
                 .pipe_frames_max = number(w, n, "pipe", 0),
                 .message_max = number(w, n, "message_max", 0),
                 .check_every = number(w, n, "check_every", 0),
             },
             out);
    if (has_word(w, n, "cold"))
        s->start_us = s->now_us;
    else
        sim_settle(s);
    return NULL;
}

static const char *do_show(struct sim *s, char **w, int n)
{
    s->show_pings = has_word(w, n, "pings");
    s->show_hellos = has_word(w, n, "hellos");
    return NULL;
}

static const char *do_run(struct sim *s, char **w, int n)
{
    uint64_t us;
    (void)n;
    if (zn_parse_duration_us(w[1], &us) != 0)
        return "run DURATION";
    sim_run(s, s->now_us + us);
    return NULL;
}

static const char *do_wait(struct sim *s, char **w, int n)
{
    (void)w;
    (void)n;
    return sim_run_idle(s, s->now_us + FOREVER_US) || s->failed ? NULL : "nothing more happens";
}

static bool quorum_of(const char *text, int32_t *quorum)
{
    if (!text)
        return true;
    if (strcmp(text, "all") == 0)
        *quorum = ZMQNET_QUORUM_ALL;
    else if (strcmp(text, "majority") == 0)
        *quorum = ZMQNET_QUORUM_MAJORITY;
    else
        *quorum = (int32_t)strtol(text, NULL, 10);
    return *quorum != 0 || strcmp(text, "all") == 0;
}

/* \xff is one byte. Returns how many there are. */
static size_t unescape(char *text)
{
    char *to = text, hex[3] = "";
    for (const char *from = text; *from; to++) {
        bool escaped = from[0] == '\\' && from[1] == 'x' && from[2] && from[3];
        if (escaped)
            memcpy(hex, from + 2, 2);
        *to = escaped ? (char)strtoul(hex, NULL, 16) : *from;
        from += escaped ? 4 : 1;
    }
    return (size_t)(to - text);
}

static const char *do_call(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    struct zn_call_spec spec = {
        .ask = strcmp(w[2], "all") == 0 ? ZN_ASK_ALL : ZN_ASK_ONE,
        .target = sim_find(s, w[2]),
        .timeout_us = ZMQNET_TIMEOUT_MS * ZN_MS,
        .attempts = number(w, n, "attempts", ZMQNET_ATTEMPTS),
        .idempotent = has_word(w, n, "idempotent"),
        .progress = has_word(w, n, "progress"),
    };
    if (spec.ask == ZN_ASK_ONE && spec.target < 0 && strcmp(w[2], "self") != 0)
        return "no such replica";
    if (!duration(w, n, "timeout", &spec.timeout_us) ||
        !quorum_of(sim_option(w, n, "quorum"), &spec.quorum))
        return "timeout=DURATION quorum=all|majority|N";
    char body[SIM_LINE_MAX];
    snprintf(body, sizeof body, "%s", w[3]);
    size_t bytes = unescape(body), more = number(w, n, "more", 0);
    if (bytes + more > sizeof body)
        return "the body is too long";
    memset(body + bytes, '.', more);
    if (node < 0 || sim_ask(s, node, spec, body, bytes + more) == 0)
        return "no such process runs";
    return NULL;
}

/* So many calls at once: how tables fill up. */
static const char *do_flood(struct sim *s, char **w, int n)
{
    for (uint32_t i = number(w, n, "count", 1); i > 0; i--) {
        const char *wrong = do_call(s, w, n);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *do_view(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    struct zn_call_spec spec = {.ask = ZN_ASK_STATUS,
                                .target = sim_find(s, w[2]),
                                .timeout_us = 2 * ZN_SECOND,
                                .attempts = 1};
    (void)n;
    if (node < 0 || spec.target < 0 || sim_ask(s, node, spec, "", 0) == 0)
        return "view CLIENT REPLICA";
    return NULL;
}

static const char *do_client(struct sim *s, char **w, int n)
{
    const char *via = sim_option(w, n, "via");
    int index = via ? sim_find(s, via) : -1;
    if (via && index < 0)
        return "no such replica";
    int node = sim_add_client(s, w[1], index);
    s->nodes[node].tables = tables_of(w, n);
    sim_start(s, node);
    return NULL;
}

static const char *do_impostor(struct sim *s, char **w, int n)
{
    const char *as = sim_option(w, n, "as");
    int index = as ? sim_find(s, as) : -1;
    if (index < 0 || index >= s->replicas_n)
        return "impostor NAME as=REPLICA";
    sim_start(s, sim_add_impostor(s, w[1], index));
    return NULL;
}

static const char *do_start(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || s->nodes[node].alive)
        return "no such process, or it runs";
    sim_start(s, node);
    return NULL;
}

static const char *do_kill(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || !s->nodes[node].alive)
        return "no such process runs";
    sim_kill(s, node);
    return NULL;
}

static const char *do_restart(struct sim *s, char **w, int n)
{
    const char *wrong = do_kill(s, w, n);
    return wrong ? wrong : do_start(s, w, n);
}

static const char *do_end(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    uint64_t grace_us = ZN_SECOND;
    if (node < 0 || !s->nodes[node].alive || !duration(w, n, "grace", &grace_us))
        return "end NODE [grace=DURATION]";
    sim_end(s, node, grace_us);
    return NULL;
}

static const char *do_stop(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    if (node < 0 || !s->nodes[node].alive)
        return "no such process runs";
    sim_stop(s, node, has_word(w, n, "midway"));
    return NULL;
}

static const char *do_pause(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    if (node < 0 || !s->nodes[node].alive || s->nodes[node].stopped)
        return "no such process runs";
    sim_pause(s, node, has_word(w, n, "midway"));
    return NULL;
}

static const char *do_slow(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    uint64_t gap_us;
    (void)n;
    if (node < 0 || zn_parse_duration_us(w[2], &gap_us) != 0)
        return "slow NODE DURATION";
    sim_slow(s, node, gap_us);
    return NULL;
}

static const char *do_cont(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || !s->nodes[node].stopped)
        return "no such process is stopped";
    sim_continue(s, node);
    return NULL;
}

static const char *do_cut(struct sim *s, char **w, int n)
{
    int a = sim_find(s, w[1]), b = sim_find(s, w[2]);
    if (a < 0 || b < 0)
        return "no such process";
    s->faults++;
    sim_network_cut(s, a, b);
    if (!has_word(w, n, "oneway"))
        sim_network_cut(s, b, a);
    return NULL;
}

static const char *do_break(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]), peer = sim_find(s, w[2]);
    (void)n;
    if (node < 0 || peer < 0 || peer >= s->replicas_n ||
        s->nodes[node].links[peer].state != SIM_LINK_UP)
        return "no such link is up";
    s->faults++;
    sim_network_break(s, node, peer);
    return NULL;
}

/* Those named from all others. */
static const char *do_split(struct sim *s, char **w, int n)
{
    for (int i = 1; i < n; i++)
        if (sim_find(s, w[i]) < 0)
            return "no such process";
    s->faults++;
    for (int a = 0; a < s->nodes_n; a++)
        for (int b = 0; b < s->nodes_n; b++)
            if (has_word(w, n, s->nodes[a].name) != has_word(w, n, s->nodes[b].name))
                sim_network_cut(s, a, b);
    return NULL;
}

static const char *do_heal(struct sim *s, char **w, int n)
{
    (void)w;
    (void)n;
    s->faults++;
    sim_network_heal(s);
    return NULL;
}

static int kind_of(const char *text)
{
    for (int k = 0; k < ZN_KINDS; k++)
        if (strcmp(sim_kind_names[k], text) == 0)
            return k;
    return -1;
}

/* So many of the next publications, whatever they hold. */
static const char *drop_publications(struct sim *s, int from, int to, uint32_t n)
{
    if (from < 0 || to < 0 || to >= s->replicas_n || !sim_patterns[s->nodes[from].pattern].numbered)
        return "no such publisher and subscriber";
    s->nodes[from].links[to].lose += n;
    return NULL;
}

static const char *do_rule(struct sim *s, char **w, int n)
{
    struct sim_rule r = {.from = sim_find(s, w[1]), .to = sim_find(s, w[2])};
    int kind = kind_of(w[3]);
    s->faults++;
    s->network_us = s->now_us;
    if (w[0][1] == 'r' && isdigit((unsigned char)w[3][0]))
        return drop_publications(s, r.from, r.to, (uint32_t)strtoul(w[3], NULL, 10));
    r.what = w[0][0] == 'h' ? SIM_RULE_HOLD : w[0][1] == 'u' ? SIM_RULE_DUP : SIM_RULE_DROP;
    r.left = number(w, n, "count", 1);
    if (r.from < 0 || r.to < 0 || kind < 0 || !duration(w, n, "for", &r.delay_us))
        return "FROM TO KIND [count=N] [for=DURATION]";
    r.kind = (enum zn_kind)kind;
    for (size_t i = 0; i < SIM_RULES_MAX; i++)
        if (!s->rules[i].left) {
            s->rules[i] = r;
            return NULL;
        }
    return "too many rules";
}

static const char *do_delay(struct sim *s, char **w, int n)
{
    uint64_t us;
    (void)n;
    if (zn_parse_duration_us(w[1], &us) != 0)
        return "delay DURATION";
    s->faults++;
    s->network_us = s->now_us;
    s->delay_min_us = s->delay_max_us = us;
    return NULL;
}

static const char *do_lag(struct sim *s, char **w, int n)
{
    int from = sim_find(s, w[1]), to = sim_find(s, w[2]);
    uint64_t us;
    (void)n;
    if (from < 0 || to < 0 || zn_parse_duration_us(w[3], &us) != 0)
        return "lag FROM TO DURATION";
    s->faults++;
    s->lagged_us[from][to] = s->now_us;
    s->lag_us[from][to] = us;
    return NULL;
}

static const char *do_network(struct sim *s, char **w, int n)
{
    uint64_t delay_us = s->delay_min_us, jitter_us = 0;
    if (!duration(w, n, "delay", &delay_us) || !duration(w, n, "jitter", &jitter_us))
        return "delay=DURATION jitter=DURATION";
    bool was_whole = sim_is_whole(s);
    s->faults++;
    s->network_us = s->now_us;
    s->delay_min_us = delay_us;
    s->delay_max_us = delay_us + jitter_us;
    s->loss_ppm = number(w, n, "loss", 0);
    s->dup_ppm = number(w, n, "dup", 0);
    s->unread_ppm = number(w, n, "unread", 0);
    s->replay_ppm = number(w, n, "replay", 0);
    s->reorder = has_word(w, n, "reorder");
    sim_not_calm(s, was_whole);
    return NULL;
}

static void heal_all(struct sim *s)
{
    bool was_whole = sim_is_whole(s);
    s->faults++;
    s->network_us = s->now_us;
    s->loss_ppm = s->dup_ppm = s->unread_ppm = s->replay_ppm = 0;
    s->reorder = false;
    for (int a = 0; a < s->nodes_n; a++)
        for (int b = 0; b < s->nodes_n; b++)
            s->lagged_us[a][b] = s->lag_us[a][b] ? s->now_us : s->lagged_us[a][b];
    memset(s->lag_us, 0, sizeof s->lag_us);
    memset(s->rules, 0, sizeof s->rules);
    sim_network_heal(s);
    for (int i = 0; i < s->nodes_n; i++) {
        for (int p = 0; p < s->replicas_n; p++)
            s->nodes[i].links[p].lose = 0;
        s->nodes[i].handler = (struct sim_handler){.kind = SIM_HANDLER_ACK};
        sim_slow(s, i, 0);
        sim_continue(s, i);
    }
    sim_not_calm(s, was_whole);
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
    sim_check_rest(s);
}

/* Nothing may be left of what was, and everybody reaches everybody. */
static const char *do_rest(struct sim *s, char **w, int n)
{
    (void)w, (void)n;
    heal_all(s);
    sim_run(s, s->now_us + REST_US); /* those that were ending end */
    for (int i = 0; i < s->nodes_n; i++)
        sim_start(s, i);
    sim_run(s, s->now_us + REST_US);
    sim_check_end(s);
    prove_health(s);
    return NULL;
}

static const char *do_misroute(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]), peer = sim_find(s, w[2]), to = sim_find(s, w[3]);
    (void)n;
    if (node < 0 || peer < 0 || peer >= s->replicas_n || to < 0)
        return "misroute NODE REPLICA PROCESS";
    s->nodes[node].where[peer] = to;
    return NULL;
}

/* Of all replicas of the clusters that follow, or of one from its next start. */
static const char *do_pattern(struct sim *s, char **w, int n)
{
    enum sim_pattern_id pattern = sim_pattern_find(w[n - 1]);
    int node = n == 3 ? sim_find(s, w[1]) : -1;
    if (pattern == SIM_PATTERNS_N || n > 3 || (n == 3 && (node < 0 || node >= s->replicas_n)))
        return "pattern [REPLICA] router|reqrep|pubsub";
    if (node < 0) {
        s->options.pattern = pattern;
        return NULL;
    }
    s->nodes[node].next_pattern = pattern;
    s->nodes[node].next_original = false;
    return NULL;
}

static const char *do_original(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || node >= s->replicas_n)
        return "original REPLICA";
    s->nodes[node].next_original = true;
    return NULL;
}

static const char *do_tables(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    if (node < 0)
        return "no such process";
    s->nodes[node].tables = tables_of(w, n);
    return NULL;
}

static const char *do_handler(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]), next = 3;
    struct sim_handler h = {.kind = SIM_HANDLER_ACK};
    if (node < 0)
        return "no such process";
    if (strcmp(w[2], "never") == 0) {
        h.kind = SIM_HANDLER_NEVER;
    } else if (strcmp(w[2], "refuse") == 0 && n > 3) {
        h.kind = SIM_HANDLER_REFUSE;
        h.code = (int)strtol(w[next++], NULL, 10);
    } else if (strcmp(w[2], "later") == 0 && n > 3) {
        h.kind = SIM_HANDLER_LATER;
        if (zn_parse_duration_us(w[next++], &h.delay_us) != 0)
            return "handler NODE later DURATION";
        h.code = (int)number(w, n, "code", 0);
    } else if (strcmp(w[2], "ack") != 0) {
        return "handler NODE ack | refuse CODE | later DURATION [code=N] | never [TEXT]";
    }
    if (next < n && strncmp(w[next], "code=", 5) != 0)
        snprintf(h.text, sizeof h.text, "%s", w[next]);
    s->faults++;
    s->nodes[node].handler = h;
    return NULL;
}

static const char *do_status(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || !sim_has_mesh(s, node))
        return "no such process runs";
    sim_say_status(s, sim_look(s, node));
    return NULL;
}

static const char *do_counters(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    if (node < 0 || !sim_has_mesh(s, node))
        return "no such process runs";
    sim_say_counters(s, sim_look(s, node), has_word(w, n, "all"));
    return NULL;
}

static const char *do_rows(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]);
    (void)n;
    if (node < 0 || !sim_has_mesh(s, node))
        return "no such process runs";
    sim_say_rows(s, sim_look(s, node));
    return NULL;
}

struct command {
    const char *name;
    int words_min; /* the name included */
    const char *(*run)(struct sim *s, char **w, int n);
    const char *use;
};

static const struct command commands[] = {
    {"cluster", 2, do_cluster,
     "cluster N [down=NAMES] [other_file=NAMES] [PATTERN=NAMES] [original=NAMES] [cold] "
     "[TABLE=N ...]"},
    {"show", 1, do_show, "show [pings] [hellos]"},
    {"run", 2, do_run, "run DURATION"},
    {"wait", 1, do_wait, "wait, until no call is open"},
    {"call", 4, do_call,
     "call NODE all|REPLICA|self BODY [quorum= timeout= attempts= more=BYTES] [idempotent] "
     "[progress]"},
    {"ask", 4, do_call, "ask NODE REPLICA BODY ..., as call"},
    {"submit", 4, do_call, "submit CLIENT all|REPLICA|self BODY ..., as call"},
    {"flood", 4, do_flood, "flood NODE all|REPLICA BODY count=N ..., as call"},
    {"view", 3, do_view, "view CLIENT REPLICA"},
    {"client", 2, do_client, "client NAME [via=REPLICA] [TABLE=N ...]"},
    {"impostor", 2, do_impostor, "impostor NAME as=REPLICA"},
    {"start", 2, do_start, "start NODE"},
    {"kill", 2, do_kill, "kill NODE"},
    {"restart", 2, do_restart, "restart NODE, after a crash"},
    {"end", 2, do_end, "end NODE [grace=DURATION], as SIGTERM does"},
    {"stop", 2, do_stop, "stop NODE [midway], as SIGSTOP does"},
    {"cont", 2, do_cont, "cont NODE, as SIGCONT does"},
    {"pause", 2, do_pause, "pause NODE [midway], and its clock with it; cont ends it"},
    {"slow", 3, do_slow, "slow NODE DURATION, after each of its turns"},
    {"break", 3, do_break, "break NODE REPLICA, its connection"},
    {"cut", 3, do_cut, "cut A B [oneway]"},
    {"split", 2, do_split, "split NODE ..., from all others"},
    {"heal", 1, do_heal, "heal, all cuts"},
    {"drop", 4, do_rule, "drop FROM TO KIND [count=N], or N, of the next publications"},
    {"dup", 4, do_rule, "dup FROM TO KIND [count=N] [for=DURATION]"},
    {"hold", 4, do_rule, "hold FROM TO KIND [count=N] for=DURATION"},
    {"delay", 2, do_delay, "delay DURATION, one way"},
    {"lag", 4, do_lag, "lag FROM TO DURATION, on top of the delay"},
    {"network", 1, do_network,
     "network [delay= jitter=] [loss=PPM dup=PPM replay=PPM unread=PPM] [reorder]"},
    {"rest", 1, do_rest, "rest: all is healed and started, comes to rest, and works"},
    {"misroute", 4, do_misroute, "misroute NODE REPLICA PROCESS"},
    {"pattern", 2, do_pattern,
     "pattern router|reqrep|pubsub, of the clusters that follow; pattern REPLICA ..., from its "
     "next "
     "start"},
    {"original", 2, do_original, "original REPLICA, the original program from its next start"},
    {"tables", 2, do_tables, "tables NODE [TABLE=N ...], from its next start"},
    {"handler", 3, do_handler, "handler NODE ack|refuse CODE|later DURATION|never [TEXT]"},
    {"inject", 5, sim_inject, "inject NODE on PEER|from WHO KIND [key=value ...]"},
    {"status", 2, do_status, "status NODE"},
    {"rows", 2, do_rows, "rows NODE, what it has heard of the links of others"},
    {"counters", 2, do_counters, "counters NODE [all]"},
};

const char *sim_obey(struct sim *s, const char *text)
{
    char line[SIM_LINE_MAX], *words[WORDS_MAX];
    if (strlen(text) >= sizeof line)
        return "the line is too long";
    memcpy(line, text, strlen(text) + 1);
    int n = sim_words(line, words, WORDS_MAX);
    if (n <= 0)
        return n < 0 ? "too many words" : NULL;
    if (!s->nodes_n && strcmp(words[0], "cluster") != 0 && strcmp(words[0], "pattern") != 0)
        return "begin with `cluster N`";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, words[0]) == 0)
            return n < commands[i].words_min ? commands[i].use : commands[i].run(s, words, n);
    return "no such command";
}
