/* SPDX-License-Identifier: MIT */
/*
 * Holds what `status` makes of the answers of several replicas: whose word counts, the largest
 * connected set (against a search that tries everything), the majority, what to mend, and the text
 * and the objects that are printed.
 *
 * A row is a text with a letter for each replica: s itself, u up, l slow, q suspect, d down,
 * c connecting, ? not said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "cli/matrix_show.h"

#define MINUTE_US 60000000ull
#define REFUSED 2 /* as docs/wire.md numbers the causes */

/* What one replica answers. */
struct answer {
    zmqnet_status status;
    struct zmqnet_peer_status peers[ZN_REPLICAS_MAX];
    struct zmqnet_heard rows[ZN_REPLICAS_MAX];
    struct zmqnet_link links[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX];
};

struct mesh {
    zmqnet_peers *peers;
    struct zn_matrix m;
    struct answer answers[ZN_REPLICAS_MAX];
    struct zn_text out;
};

static struct mesh mesh; /* of the test that runs */

static void open_mesh(size_t n)
{
    static const char *const few[] = {"alpha", "bravo", "charlie", "delta", "echo"};
    struct zn_text text = {0};
    zn_text_add(&text, "{\"replicas\":[");
    for (size_t i = 0; i < n; i++) {
        zn_text_printf(&text, "%s{\"pid\":%zu,", i > 0 ? "," : "", i + 1);
        if (n <= 5)
            zn_text_printf(&text, "\"name\":\"%s\",", few[i]);
        else
            zn_text_printf(&text, "\"name\":\"r%zu\",", i);
        zn_text_printf(&text, "\"address\":\"localhost:%zu\"}", 3264 + i);
    }
    zn_text_add(&text, "]}");
    mesh.peers = NULL;
    assert_int_equal(zmqnet_peers_parse(text.bytes, text.n, &mesh.peers, NULL, 0, NULL), 0);
    zn_text_free(&text);
    zn_matrix_init(&mesh.m, mesh.peers);
    memset(mesh.answers, 0, sizeof mesh.answers);
}

static void close_mesh(void)
{
    zn_text_free(&mesh.out);
    zmqnet_peers_free(&mesh.peers);
}

static enum zmqnet_state state_of(char c)
{
    switch (c) {
    case 's': return ZMQNET_LOCAL;
    case 'u': return ZMQNET_UP;
    case 'd': return ZMQNET_DOWN;
    case 'c': return ZMQNET_CONNECTING;
    case 'l': return ZMQNET_SLOW;
    case 'q': return ZMQNET_SUSPECT;
    default: return 0;
    }
}

/* The answer of replica `at`. All its states have lasted since_us. */
static struct answer *answer_of(size_t at, const char *row, uint64_t since_us)
{
    struct answer *a = &mesh.answers[at];
    for (size_t i = 0; i < strlen(row); i++)
        a->peers[i] = (struct zmqnet_peer_status){
            .name = mesh.m.names[i],
            .state = state_of(row[i]),
            .cause = row[i] == 'd' ? "connection refused" : "",
            .since_us = since_us,
        };
    a->status.peers = a->peers;
    a->status.peers_n = mesh.m.n;
    a->status.rows = a->rows;
    return a;
}

/* In the answer of replica `at`: what another one told it. */
static void told(size_t at, size_t who, const char *row, uint64_t age_us)
{
    struct answer *a = &mesh.answers[at];
    for (size_t i = 0; i < mesh.m.n; i++)
        a->links[who][i] =
            (struct zmqnet_link){(uint8_t)state_of(row[i]), row[i] == 'd' ? REFUSED : 0};
    a->rows[a->status.rows_n++] = (struct zmqnet_heard){mesh.m.names[who], age_us, a->links[who]};
}

static void answered(size_t at, const char *row)
{
    zn_matrix_answer(&mesh.m, at, &answer_of(at, row, MINUTE_US)->status);
}

/* Everybody answers so. */
static void judge(const char *const rows[])
{
    open_mesh(strlen(rows[0]));
    for (size_t i = 0; i < mesh.m.n; i++)
        answered(i, rows[i]);
    zn_matrix_judge(&mesh.m);
}

static void prints(const char *want)
{
    zn_text_free(&mesh.out);
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_false(mesh.out.failed);
    assert_string_equal(mesh.out.bytes, want);
}

static void prints_json(const char *want)
{
    zn_text_free(&mesh.out);
    struct zn_json j = {.out = &mesh.out};
    zn_json_open(&j, NULL, '{');
    zn_matrix_json(&mesh.m, &j);
    zn_json_close(&j, '}');
    assert_string_equal(mesh.out.bytes, want);
}

static void mends(enum zn_mend_kind kind, size_t from, size_t to, bool both, size_t more)
{
    assert_int_equal(mesh.m.mend.kind, kind);
    assert_int_equal(mesh.m.mend.from, from);
    assert_int_equal(mesh.m.mend.to, to);
    assert_int_equal(mesh.m.mend.both, both);
    assert_int_equal(mesh.m.mend.more, more);
}

/* ---- shapes ---- */

static void all_reach_all(void **state)
{
    (void)state;
    judge((const char *[]){"suu", "usu", "uus"});
    assert_true(zn_matrix_whole(&mesh.m));
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      up     up\n"
           "  bravo    up     -      up\n"
           "  charlie  up     up     -\n"
           "largest set in which all reach all: 3/3\n"
           "a majority, 2/3, is reached by all\n");
    close_mesh();
}

static void a_link_cut_in_one_direction(void **state)
{
    (void)state;
    judge((const char *[]){"sdu", "usu", "uus"});
    assert_false(zn_matrix_whole(&mesh.m));
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      down   up\n"
           "  bravo    up     -      up\n"
           "  charlie  up     up     -\n"
           "alpha cannot reach bravo (connection refused, localhost:3265); bravo reaches alpha\n"
           "largest set in which all reach all: 2/3, alpha, charlie\n"
           "a majority, 2/3, is reached by all\n"
           "mend first: alpha -> bravo (connection refused, localhost:3265)\n");
    prints_json("{\"matrix\":["
                "{\"from\":\"alpha\",\"source\":\"itself\",\"to\":"
                "{\"alpha\":\"self\",\"bravo\":\"down\",\"charlie\":\"up\"}},"
                "{\"from\":\"bravo\",\"source\":\"itself\",\"to\":"
                "{\"alpha\":\"up\",\"bravo\":\"self\",\"charlie\":\"up\"}},"
                "{\"from\":\"charlie\",\"source\":\"itself\",\"to\":"
                "{\"alpha\":\"up\",\"bravo\":\"up\",\"charlie\":\"self\"}}],"
                "\"cuts\":[{\"from\":\"alpha\",\"to\":\"bravo\",\"cause\":\"connection refused\","
                "\"back\":\"up\"}],"
                "\"connected\":{\"n\":2,\"of\":3,\"exact\":true,\"names\":[\"alpha\",\"charlie\"]},"
                "\"majority\":[\"alpha\",\"bravo\",\"charlie\"],"
                "\"mend\":{\"from\":\"alpha\",\"to\":\"bravo\",\"both\":false,\"more\":0}}");
    close_mesh();
}

static void two_and_two(void **state)
{
    (void)state;
    judge((const char *[]){"sudd", "usdd", "ddsu", "ddus"});
    assert_int_equal(mesh.m.majority, 0);
    mends(ZN_MEND_LINK, 0, 2, true, 1);
    prints("  from     alpha  bravo  charlie  delta\n"
           "  alpha    -      up     down     down\n"
           "  bravo    up     -      down     down\n"
           "  charlie  down   down   -        up\n"
           "  delta    down   down   up       -\n"
           "alpha, bravo cannot reach charlie, delta (connection refused); "
           "charlie, delta cannot reach alpha, bravo\n"
           "largest set in which all reach all: 2/4, alpha, bravo\n"
           "a majority, 3/4, is reached by nobody\n"
           "mend first: alpha <-> charlie (connection refused, localhost:3266), "
           "one of 2 links that keep a replica out of that set\n");
    close_mesh();
}

static void all_alone(void **state)
{
    (void)state;
    judge((const char *[]){"sdc", "dsd", "dds"});
    assert_int_equal(mesh.m.connected, 1);
    assert_int_equal(mesh.m.majority, 0);
    mends(ZN_MEND_LINK, 0, 1, true, 0);
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      down   connecting\n"
           "  bravo    down   -      down\n"
           "  charlie  down   down   -\n"
           "alpha, charlie cannot reach bravo (connection refused); "
           "bravo cannot reach alpha, charlie\n"
           "alpha cannot reach charlie; charlie cannot reach alpha "
           "(connection refused, localhost:3264)\n"
           "largest set in which all reach all: 1/3, alpha\n"
           "a majority, 2/3, is reached by nobody\n"
           "mend first: alpha <-> bravo (connection refused, localhost:3265)\n");
    close_mesh();
}

/* Broadcasts through the hub reach everybody, though no three reach each other. */
static void a_star_has_a_majority_in_its_hub(void **state)
{
    (void)state;
    judge((const char *[]){"suuuu", "usddd", "udsdd", "uddsd", "uddds"});
    assert_int_equal(mesh.m.majority, 1);
    assert_int_equal(mesh.m.connected, 3);
    mends(ZN_MEND_LINK, 1, 2, true, 0);
    close_mesh();
}

/* Who is slow is reached; of a suspect one nothing is known yet. */
static void slow_and_suspect(void **state)
{
    (void)state;
    judge((const char *[]){"sluq", "lsuu", "lusu", "uuus"});
    assert_int_equal(mesh.m.reaches[0], 7);
    assert_false(zn_matrix_cut(&mesh.m, 0, 3));
    assert_int_equal(mesh.m.connected, 7);
    prints("  from     alpha  bravo  charlie  delta\n"
           "  alpha    -      slow   up       suspect\n"
           "  bravo    slow   -      up       up\n"
           "  charlie  slow   up     -        up\n"
           "  delta    up     up     up       -\n"
           "largest set in which all reach all: 3/4, alpha, bravo, charlie\n"
           "a majority, 3/4, is reached by all\n"
           "look first: at delta, of whose links not all are known\n");
    close_mesh();
}

static void the_outsider_that_lacks_least_is_mended_first(void **state)
{
    (void)state;
    judge((const char *[]){"suudu", "usudu", "uusuu", "dddsu", "uudus"});
    assert_int_equal(mesh.m.connected, 7); /* alpha, bravo, charlie */
    mends(ZN_MEND_LINK, 4, 2, false, 0);   /* of echo, which reaches two of three */
    close_mesh();
}

/* A suspect link tells of itself within seconds; what is known to be cut is mended. */
static void a_known_cut_is_mended_before_a_suspect_link(void **state)
{
    (void)state;
    judge((const char *[]){"suq", "usd", "uds"});
    mends(ZN_MEND_LINK, 1, 2, true, 1); /* the second of the links that charlie lacks */
    close_mesh();
    judge((const char *[]){"suuqu", "usuud", "uusuu", "uuusu", "uuuus"});
    mends(ZN_MEND_LINK, 1, 4, false, 0); /* of the second replica that lacks one */
    close_mesh();
}

/* ---- whose word counts ---- */

static void a_replica_that_nobody_reaches(void **state)
{
    (void)state;
    open_mesh(3);
    answered(0, "sud");
    answered(1, "usd");
    zn_matrix_judge(&mesh.m);
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      up     down\n"
           "  bravo    up     -      down\n"
           "  charlie  ?      ?      -\n"
           "nobody reaches charlie (connection refused, localhost:3266)\n"
           "largest set in which all reach all: 2/3, alpha, bravo\n"
           "a majority, 2/3, is reached by alpha 2/3, bravo 2/3\n"
           "mend first: charlie: start it with zmqnet serve -n charlie\n");
    prints_json("{\"matrix\":["
                "{\"from\":\"alpha\",\"source\":\"itself\",\"to\":"
                "{\"alpha\":\"self\",\"bravo\":\"up\",\"charlie\":\"down\"}},"
                "{\"from\":\"bravo\",\"source\":\"itself\",\"to\":"
                "{\"alpha\":\"up\",\"bravo\":\"self\",\"charlie\":\"down\"}},"
                "{\"from\":\"charlie\",\"source\":\"none\",\"to\":{}}],"
                "\"cuts\":[{\"from\":\"alpha\",\"to\":\"charlie\",\"cause\":\"connection refused\","
                "\"back\":\"unknown\"},"
                "{\"from\":\"bravo\",\"to\":\"charlie\",\"cause\":\"connection refused\","
                "\"back\":\"unknown\"}],"
                "\"connected\":{\"n\":2,\"of\":3,\"exact\":true,\"names\":[\"alpha\",\"bravo\"]},"
                "\"majority\":[\"alpha\",\"bravo\"],"
                "\"mend\":{\"replica\":\"charlie\",\"reached\":false}}");
    close_mesh();
}

static void nobody_answers(void **state)
{
    (void)state;
    open_mesh(3);
    zn_matrix_judge(&mesh.m);
    assert_int_equal(mesh.m.connected, 0);
    prints("largest set in which all reach all: 0/3\n"
           "a majority, 2/3, is reached by nobody\n");
    close_mesh();
}

/* Only charlie answers, and has heard the others. */
static void one_answer_shows_the_cut_of_others(void **state)
{
    (void)state;
    open_mesh(3);
    struct answer *a = answer_of(2, "uus", MINUTE_US);
    told(2, 0, "sdu", 400000);
    told(2, 1, "usu", 500000);
    zn_matrix_answer(&mesh.m, 2, &a->status);
    zn_matrix_judge(&mesh.m);
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      down   up  told 400.0 ms ago\n"
           "  bravo    up     -      up  told 500.0 ms ago\n"
           "  charlie  up     up     -\n"
           "alpha cannot reach bravo (connection refused, localhost:3265); bravo reaches alpha\n"
           "largest set in which all reach all: 2/3, alpha, charlie; "
           "alpha by what it told last\n"
           "a majority, 2/3, is reached by all\n"
           "mend first: alpha -> bravo (connection refused, localhost:3265)\n");
    assert_false(zn_matrix_whole(&mesh.m));
    close_mesh();
}

/* All reach all, but not all say so themselves: this is not the whole mesh as seen from here. */
static void whole_means_that_all_answer(void **state)
{
    (void)state;
    open_mesh(3);
    struct answer *a = answer_of(0, "suu", MINUTE_US);
    told(0, 1, "usu", 0);
    told(0, 2, "uus", 0);
    zn_matrix_answer(&mesh.m, 0, &a->status);
    zn_matrix_judge(&mesh.m);
    assert_int_equal(mesh.m.connected, 7);
    assert_false(zn_matrix_whole(&mesh.m));
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_non_null(strstr(mesh.out.bytes, ": 3/3; bravo, charlie by what they told last\n"));
    mends(ZN_MEND_NOTHING, 0, 0, false, 0);
    close_mesh();
}

/* In both orders of the answers. */
static void the_own_answer_and_then_the_youngest_counts(void **state)
{
    (void)state;
    for (size_t first = 0; first < 2; first++) {
        open_mesh(4);
        struct answer *a[] = {answer_of(0, "suuu", MINUTE_US), answer_of(1, "usuu", MINUTE_US)};
        told(0, 1, "dddd", 0);
        told(0, 2, "uusu", 100);
        told(0, 3, "ddds", 300);
        told(1, 2, "ddsd", 200);
        told(1, 3, "uuus", 200);
        zn_matrix_answer(&mesh.m, first, &a[first]->status);
        zn_matrix_answer(&mesh.m, 1 - first, &a[1 - first]->status);
        zn_matrix_judge(&mesh.m);
        assert_int_equal(mesh.m.connected, 15);
        assert_int_equal(mesh.m.age_us[2], 100);
        assert_int_equal(mesh.m.age_us[3], 200);
        close_mesh();
    }
}

/* charlie told bravo that all is well, and was killed; alpha has seen that. */
static void what_was_told_before_a_death_is_no_news(void **state)
{
    (void)state;
    static const struct {
        uint64_t age_us, since_us;
        bool counts;
    } t[] = {
        {2000000, 1000000, false}, {1000000, 1000000, false}, {900000, 1000000, false},
        {100000, 1000000, true},   {0, 100000, false},        {0, 300000, true},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        open_mesh(3);
        struct answer *bravo = answer_of(1, "usu", MINUTE_US);
        told(1, 2, "uus", t[i].age_us);
        zn_matrix_answer(&mesh.m, 0, &answer_of(0, "sud", t[i].since_us)->status);
        zn_matrix_answer(&mesh.m, 1, &bravo->status);
        zn_matrix_judge(&mesh.m);
        assert_int_equal(zn_matrix_has(mesh.m.known, 2), t[i].counts);
        assert_int_equal(mesh.m.connected, 3);
        close_mesh();
    }
}

/* Lost, refused, silent or only suspected: since then it reached nobody that is known. */
static void no_loss_of_any_kind_is_older_than_what_counts(void **state)
{
    (void)state;
    static const char *const rows[] = {"sdc", "sdd", "sdq"};
    for (size_t i = 0; i < 3; i++) {
        open_mesh(3);
        struct answer *alpha = answer_of(0, rows[i], 3000000);
        told(0, 2, "uus", 3500000);
        zn_matrix_answer(&mesh.m, 0, &alpha->status);
        zn_matrix_judge(&mesh.m);
        assert_false(zn_matrix_has(mesh.m.known, 2));
        assert_int_equal(mesh.m.majority, 0);
        close_mesh();
    }
}

/* Silent for a second: neither reached nor lost. */
static void who_is_suspect_is_not_lost(void **state)
{
    (void)state;
    open_mesh(3);
    answered(0, "suq");
    answered(1, "usq");
    zn_matrix_judge(&mesh.m);
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      up     suspect\n"
           "  bravo    up     -      suspect\n"
           "  charlie  ?      ?      -\n"
           "not known: whom charlie reaches\n"
           "largest set in which all reach all: 2/3, alpha, bravo\n"
           "a majority, 2/3, is reached by alpha 2/3, bravo 2/3\n"
           "look first: at charlie, of whose links not all are known\n");
    mends(ZN_MEND_SILENCE, 0, 2, false, 1);
    close_mesh();
}

static void a_replica_that_is_reached_and_says_nothing(void **state)
{
    (void)state;
    open_mesh(3);
    answered(0, "suu");
    answered(1, "usd");
    zn_matrix_judge(&mesh.m);
    prints("  from     alpha  bravo  charlie\n"
           "  alpha    -      up     up\n"
           "  bravo    up     -      down\n"
           "  charlie  ?      ?      -\n"
           "not known: whom charlie reaches\n"
           "bravo cannot reach charlie (connection refused, localhost:3266); "
           "not known: whether charlie reaches bravo\n"
           "largest set in which all reach all: 2/3, alpha, bravo\n"
           "a majority, 2/3, is reached by alpha 3/3, bravo 2/3\n"
           "look first: at charlie, of whose links not all are known\n");
    close_mesh();
    open_mesh(3); /* about to be down everywhere: it is not the link that is to be mended */
    answered(0, "suq");
    answered(1, "usd");
    zn_matrix_judge(&mesh.m);
    mends(ZN_MEND_SILENCE, 1, 2, false, 1);
    close_mesh();
}

/* Files in another order, with other replicas, or fewer; states and causes of a later version. */
static void rows_are_read_by_name(void **state)
{
    (void)state;
    open_mesh(3);
    struct zmqnet_peer_status peers[] = {
        {.name = "zulu", .state = ZMQNET_DOWN, .cause = ""},
        {.name = "charlie", .state = ZMQNET_DOWN, .cause = "silent"},
        {.name = "alpha", .state = ZMQNET_LOCAL, .cause = ""},
    };
    struct zmqnet_link links[] = {{ZMQNET_UP, 0}, {ZMQNET_LOCAL, 0}, {77, 99}};
    struct zmqnet_heard rows[] = {{"charlie", 5, links}, {"zulu", 5, links}};
    zmqnet_status s = {.peers = peers, .peers_n = 3, .rows = rows, .rows_n = 2};
    peers[1].since_us = MINUTE_US;
    zn_matrix_answer(&mesh.m, 0, &s);
    zn_matrix_judge(&mesh.m);
    assert_int_equal(mesh.m.known, 5);
    assert_string_equal(mesh.m.cells[0][2].cause, "silent");
    assert_int_equal(mesh.m.cells[0][1].state, 0);
    assert_int_equal(mesh.m.cells[2][0].state, 77);
    assert_string_equal(mesh.m.cells[2][0].cause, "another cause");
    assert_false(zn_matrix_cut(&mesh.m, 2, 0));
    assert_int_equal(mesh.m.connected, 1);
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_false(mesh.out.failed);
    close_mesh();
}

/* Peers files that have fewer replicas than ours: those do not reach the others, and it says why. */
static void who_is_not_in_a_peers_file_is_not_reached_there(void **state)
{
    (void)state;
    for (size_t answers = 2; answers <= 3; answers++) {
        open_mesh(3);
        for (size_t i = 0; i < 2; i++) {
            struct answer *a = answer_of(i, "uu", MINUTE_US);
            a->peers[i].state = ZMQNET_LOCAL;
            a->status.peers_n = 2;
            zn_matrix_answer(&mesh.m, i, &a->status);
        }
        if (answers == 3)
            answered(2, "dds");
        zn_matrix_judge(&mesh.m);
        assert_true(zn_matrix_cut(&mesh.m, 0, 2));
        zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
        assert_non_null(strstr(mesh.out.bytes, "  alpha    -      up     absent\n"));
        assert_non_null(strstr(
            mesh.out.bytes,
            answers == 2 ? "\nnobody reaches charlie (not in the peers file there)\n"
                         : "\nalpha, bravo cannot reach charlie (not in the peers file there); "
                           "charlie cannot reach alpha, bravo (connection refused)\n"));
        assert_non_null(strstr(
            mesh.out.bytes,
            answers == 2 ? "\nmend first: charlie: give all replicas the same peers file\n"
                         : "\nmend first: alpha <-> charlie (not in the peers file there), "));
        close_mesh();
    }
}

/* ---- the search ---- */

/* Each pair is connected with this chance. */
static void judge_random(size_t n, unsigned percent, struct zn_rand *rand)
{
    static char rows[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX + 1];
    const char *at[ZN_REPLICAS_MAX];
    memset(rows, 0, sizeof rows);
    for (size_t i = 0; i < n; i++) {
        at[i] = rows[i];
        rows[i][i] = 's';
        for (size_t j = 0; j < i; j++) {
            bool up = zn_rand_u64(rand) % 100 < percent;
            rows[i][j] = rows[j][i] = up ? 'u' : 'd';
            if (!up && zn_rand_u64(rand) % 2 == 0)
                rows[j][i] = 'u'; /* in one direction only */
        }
    }
    judge(at);
}

static bool is_connected(uint64_t set)
{
    for (size_t i = 0; i < mesh.m.n; i++)
        if (zn_matrix_has(set, i) && (set & ~mesh.m.reaches[i]) != 0)
            return false;
    return true;
}

static void the_set_is_the_largest(void **state)
{
    (void)state;
    struct zn_rand rand;
    zn_rand_seed(&rand, 5);
    for (unsigned round = 0; round < 400; round++) {
        size_t n = 1 + round % 12, most = 0;
        judge_random(n, round % 11 * 10, &rand);
        for (uint64_t set = 1; set < 1ull << n; set++)
            if (zn_matrix_count(set) > most && is_connected(set))
                most = zn_matrix_count(set);
        assert_true(is_connected(mesh.m.connected));
        assert_int_equal(zn_matrix_count(mesh.m.connected), most);
        assert_true(mesh.m.exact);
        close_mesh();
    }
}

/* With 64 replicas too, for whatever chance a link is up. */
static void the_search_ends(void **state)
{
    (void)state;
    struct zn_rand rand;
    zn_rand_seed(&rand, 6);
    for (unsigned percent = 0; percent <= 100; percent += 5) {
        judge_random(ZN_REPLICAS_MAX, percent, &rand);
        assert_true(is_connected(mesh.m.connected));
        assert_true(mesh.m.exact);
        close_mesh();
    }
}

/* Rings of five, each of which lacks the links of the ring: no colouring tells how few of it fit
 * together, so that everything would have to be tried. */
static void a_search_that_takes_too_long_says_so(void **state)
{
    (void)state;
    static char rows[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX + 1];
    const char *at[ZN_REPLICAS_MAX];
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++) {
        for (size_t j = 0; j < ZN_REPLICAS_MAX; j++) {
            size_t apart = (i + 5 - j % 5) % 5;
            bool ring = i / 5 == j / 5 && (apart == 1 || apart == 4);
            rows[i][j] = i == j ? 's' : ring ? 'd' : 'u';
        }
        at[i] = rows[i];
    }
    judge(at);
    assert_false(mesh.m.exact);
    assert_true(is_connected(mesh.m.connected));
    assert_in_range(zn_matrix_count(mesh.m.connected), 20, 26);
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_non_null(strstr(mesh.out.bytes, "\nlargest set in which all reach all: at least 2"));
    close_mesh();
}

/* ---- many ---- */

static void many_replicas_take_a_character_each(void **state)
{
    (void)state;
    static char rows[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX + 1];
    const char *at[ZN_REPLICAS_MAX];
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++) {
        for (size_t j = 0; j < ZN_REPLICAS_MAX; j++)
            rows[i][j] = i == j ? 's' : i / 32 == j / 32 ? 'u' : 'd';
        at[i] = rows[i];
    }
    judge(at);
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_non_null(
        strstr(mesh.out.bytes, "\n   1 r0  -...............................xxxxxxxxxx"));
    assert_non_null(strstr(mesh.out.bytes, "\n  64 r63 xxxxxxxxxxxx"));
    assert_non_null(strstr(mesh.out.bytes, "\nlargest set in which all reach all: 32/64, r0, r1"));
    size_t lines = 0, cuts = 0;
    for (const char *p = mesh.out.bytes; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    for (const char *p = mesh.out.bytes; (p = strstr(p, "; r")) != NULL; p++)
        cuts++;
    assert_int_equal(lines,
                     1 + 64 + 1 + 1 + 3); /* heads, rows, what marks mean, one cut, the end */
    assert_int_equal(cuts, 1);
    close_mesh();
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++)
        for (size_t j = 0; j < ZN_REPLICAS_MAX; j++)
            rows[i][j] = i == j ? 's' : j == 7 ? 'd' : 'u';
    judge(at);
    zn_matrix_text(&mesh.m, mesh.peers, &mesh.out);
    assert_non_null(strstr(mesh.out.bytes,
                           "\nlargest set in which all reach all: 63/64, all but r7\n"
                           "a majority, 33/64, is reached by all\n"));
    close_mesh();
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++)
        rows[i][7] = i == 7 ? 's' : 'u';
    judge(at);
    prints("largest set in which all reach all: 64/64\n"
           "a majority, 33/64, is reached by all\n");
    close_mesh();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_reach_all),
        cmocka_unit_test(a_link_cut_in_one_direction),
        cmocka_unit_test(two_and_two),
        cmocka_unit_test(all_alone),
        cmocka_unit_test(a_star_has_a_majority_in_its_hub),
        cmocka_unit_test(slow_and_suspect),
        cmocka_unit_test(the_outsider_that_lacks_least_is_mended_first),
        cmocka_unit_test(a_known_cut_is_mended_before_a_suspect_link),
        cmocka_unit_test(a_replica_that_nobody_reaches),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(one_answer_shows_the_cut_of_others),
        cmocka_unit_test(whole_means_that_all_answer),
        cmocka_unit_test(the_own_answer_and_then_the_youngest_counts),
        cmocka_unit_test(what_was_told_before_a_death_is_no_news),
        cmocka_unit_test(no_loss_of_any_kind_is_older_than_what_counts),
        cmocka_unit_test(who_is_suspect_is_not_lost),
        cmocka_unit_test(a_replica_that_is_reached_and_says_nothing),
        cmocka_unit_test(rows_are_read_by_name),
        cmocka_unit_test(who_is_not_in_a_peers_file_is_not_reached_there),
        cmocka_unit_test(the_set_is_the_largest),
        cmocka_unit_test(the_search_ends),
        cmocka_unit_test(a_search_that_takes_too_long_says_so),
        cmocka_unit_test(many_replicas_take_a_character_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
