/* SPDX-License-Identifier: MIT */
/*
 * What a route finds, and whose route is forgotten when there are too many: a connection above its
 * share loses its own, and a random schedule agrees with a table that is searched from end to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/rand.h"
#include "pattern/envelope.h"
#include "pattern/routes.h"

#define SEED 7

struct envelope {
    uint8_t data[ZN_ENVELOPE_ROOM];
    size_t bytes;
};

static void add_frame(struct envelope *e, const void *data, uint16_t n)
{
    memcpy(e->data + e->bytes, &n, sizeof n);
    memcpy(e->data + e->bytes + sizeof n, data, n);
    e->bytes += sizeof n + n;
}

/* As a correlated REQ makes them: routing id, request id, delimiter. Each 16th is a long one. */
static struct envelope envelope_of(uint32_t connection, uint32_t request)
{
    static const uint8_t longer[100];
    struct envelope e = {.bytes = 0};
    uint8_t id[5] = {0};
    memcpy(id + 1, &connection, sizeof connection);
    add_frame(&e, id, sizeof id);
    add_frame(&e, &request, sizeof request);
    if (request % 16 == 15)
        add_frame(&e, longer, sizeof longer);
    add_frame(&e, "", 0);
    return e;
}

static zn_route put(struct zn_routes *r, uint32_t connection, uint32_t request)
{
    struct envelope e = envelope_of(connection, request);
    return zn_routes_put(r, e.data, e.bytes);
}

/* A route finds its own envelope or none, never another's. */
static bool knows(struct zn_routes *r, zn_route route, uint32_t connection, uint32_t request)
{
    struct envelope e = envelope_of(connection, request);
    size_t n;
    const uint8_t *data = zn_routes_get(r, route, &n);
    if (!data)
        return false;
    assert_int_equal(n, e.bytes);
    assert_memory_equal(data, e.data, n);
    return true;
}

static struct zn_routes *open_routes(uint32_t routes_max)
{
    struct zn_routes *r;
    assert_int_equal(zn_routes_open(routes_max, SEED, &r), 0);
    return r;
}

/* ---- what a route finds ---- */

static void an_equal_envelope_has_an_equal_route(void **state)
{
    (void)state;
    struct zn_routes *r = open_routes(100);
    zn_route a = put(r, 1, 1), b = put(r, 1, 2), c = put(r, 2, 1), d = put(r, 1, 15);
    assert_true(a != 0 && b != 0 && c != 0 && d != 0);
    assert_true(a != b && a != c && a != d && b != c && b != d && c != d);
    assert_int_equal(put(r, 1, 1), a);
    assert_int_equal(put(r, 1, 2), b);
    assert_int_equal(put(r, 2, 1), c);
    assert_int_equal(put(r, 1, 15), d);
    assert_true(knows(r, a, 1, 1) && knows(r, b, 1, 2) && knows(r, c, 2, 1) && knows(r, d, 1, 15));
    zn_routes_close(&r);
}

static void the_route_of_a_reused_slot_finds_nothing(void **state)
{
    (void)state;
    struct zn_routes *r = open_routes(1);
    zn_route before = put(r, 1, 0);
    for (uint32_t i = 1; i < 100; i++) {
        zn_route now = put(r, 1 + i / 10, i);
        assert_int_not_equal(now, before);
        assert_false(knows(r, before, 1, i - 1));
        assert_true(knows(r, now, 1 + i / 10, i));
        before = now;
    }
    assert_false(knows(r, 0, 0, 0));
    assert_false(knows(r, UINT64_MAX, 0, 0));
    zn_routes_close(&r);
}

/* Words that undo each other in a hash that multiplies and folds: under each seed they collide. */
static void envelopes_made_to_collide_keep_their_routes(void **state)
{
    (void)state;
    struct envelope a = {.bytes = 0};
    uint8_t id[30] = {1};
    add_frame(&a, id, sizeof id);
    struct envelope b = a;
    b.data[15] ^= 0x80;
    b.data[19] ^= 0x80;
    b.data[23] ^= 0x80;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct zn_routes *r;
        assert_int_equal(zn_routes_open(10, seed, &r), 0);
        zn_route first = zn_routes_put(r, a.data, a.bytes);
        zn_route second = zn_routes_put(r, b.data, b.bytes);
        assert_int_not_equal(first, second);
        assert_int_equal(zn_routes_put(r, a.data, a.bytes), first);
        assert_int_equal(zn_routes_put(r, b.data, b.bytes), second);
        zn_routes_close(&r);
    }
}

/* Values of other implementations; and that each bit and each length counts. */
static void the_hash_is_siphash_1_3(void **state)
{
    (void)state;
    const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    uint8_t in[24];
    uint64_t seen[25];
    for (uint8_t i = 0; i < sizeof in; i++)
        in[i] = i;
    const uint64_t zero[2] = {0, 0};
    assert_int_equal(zn_hash_bytes(key, in, 0), 0xabac0158050fc4dcu);
    assert_int_equal(zn_hash_bytes(zero, in, 7), 0x2f098ab0c751325au);
    assert_int_equal(zn_hash_bytes(zero, in, 8), 0xead411e67ebe2eeau);
    assert_int_equal(zn_hash_bytes(zero, in, 23), 0x37332b1389daa4ffu);
    const uint64_t pair[2] = {0x0123456789abcdefu, 42};
    assert_int_equal(zn_hash_pair(key, pair[0], pair[1]), zn_hash_bytes(key, pair, sizeof pair));
    for (size_t n = 0; n <= sizeof in; n++) {
        seen[n] = zn_hash_bytes(key, in, n);
        for (size_t i = 0; i < n; i++)
            assert_int_not_equal(seen[i], seen[n]);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(zn_hash_bytes(key, in, n), seen[n]);
            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* ---- whose route is forgotten ---- */

static void a_flood_of_one_connection_evicts_no_other(void **state)
{
    (void)state;
    struct zn_routes *r = open_routes(ZN_ROUTES_MAX);
    zn_route a = put(r, 1, 1), b = put(r, 2, 1);
    for (uint32_t i = 0; i < 20000; i++)
        assert_true(knows(r, put(r, 3, i), 3, i));
    assert_true(knows(r, a, 1, 1) && knows(r, b, 2, 1));
    assert_int_equal(put(r, 1, 1), a);
    zn_routes_close(&r);
}

static void above_its_share_a_connection_loses_its_own_oldest(void **state)
{
    (void)state;
    static zn_route route[ZN_ROUTES_SHARE];
    struct zn_routes *r = open_routes(ZN_ROUTES_MAX);
    for (uint32_t i = 0; i < ZN_ROUTES_SHARE; i++)
        route[i] = put(r, 1, i);
    assert_true(knows(r, route[0], 1, 0)); /* used: now the second is the oldest */
    put(r, 1, ZN_ROUTES_SHARE);
    assert_true(knows(r, route[0], 1, 0));
    assert_false(knows(r, route[1], 1, 1));
    for (uint32_t i = 2; i < ZN_ROUTES_SHARE; i++)
        assert_true(knows(r, route[i], 1, i));
    zn_routes_close(&r);
}

static void of_many_connections_the_least_recently_used_is_forgotten(void **state)
{
    (void)state;
    static zn_route route[ZN_ROUTES_MAX];
    struct zn_routes *r = open_routes(ZN_ROUTES_MAX);
    for (uint32_t i = 0; i < ZN_ROUTES_MAX; i++)
        route[i] = put(r, i, 1);
    assert_int_equal(put(r, 0, 1), route[0]);
    assert_true(knows(r, route[1], 1, 1));
    put(r, ZN_ROUTES_MAX, 1);
    put(r, ZN_ROUTES_MAX + 1, 1);
    assert_false(knows(r, route[2], 2, 1) || knows(r, route[3], 3, 1));
    for (uint32_t i = 0; i < ZN_ROUTES_MAX; i++)
        assert_int_equal(knows(r, route[i], i, 1), i != 2 && i != 3);
    zn_routes_close(&r);
}

static void short_envelopes_allocate_nothing(void **state)
{
    (void)state;
    struct zn_routes *r = open_routes(100);
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < 1000; i++)
        put(r, i / 3, 16 * i);
    assert_int_equal(mallinfo2().uordblks, before);
    zn_routes_close(&r);
}

/* ---- against a search ---- */

enum { CONNECTIONS = 18, REQUESTS = 1100 };

static struct {
    zn_route route[CONNECTIONS][REQUESTS];   /* 0: never put */
    uint32_t used_at[CONNECTIONS][REQUESTS]; /* 0: forgotten */
    uint32_t held[CONNECTIONS], held_by_all, now;
    uint32_t own_forgotten, any_forgotten;
} model;

/* The least recently used in these connections. */
static void model_forget(uint32_t from, uint32_t to)
{
    uint32_t oldest_c = from, oldest_i = 0, oldest_at = UINT32_MAX;
    for (uint32_t c = from; c < to; c++)
        for (uint32_t i = 0; i < REQUESTS; i++)
            if (model.used_at[c][i] - 1 < oldest_at - 1) {
                oldest_at = model.used_at[c][i];
                oldest_c = c;
                oldest_i = i;
            }
    model.used_at[oldest_c][oldest_i] = 0;
    model.held[oldest_c]--;
    model.held_by_all--;
}

static void check_put(struct zn_routes *r, uint32_t c, uint32_t i)
{
    zn_route route = put(r, c, i);
    assert_int_not_equal(route, 0);
    if (model.used_at[c][i] != 0) {
        assert_int_equal(route, model.route[c][i]);
    } else {
        assert_int_not_equal(route, model.route[c][i]);
        if (model.held[c] == ZN_ROUTES_SHARE) {
            model.own_forgotten++;
            model_forget(c, c + 1);
        } else if (model.held_by_all == ZN_ROUTES_MAX) {
            model.any_forgotten++;
            model_forget(0, CONNECTIONS);
        }
        model.held[c]++;
        model.held_by_all++;
    }
    model.route[c][i] = route;
    model.used_at[c][i] = ++model.now;
}

static void check_get(struct zn_routes *r, uint32_t c, uint32_t i)
{
    assert_int_equal(knows(r, model.route[c][i], c, i), model.used_at[c][i] != 0);
    if (model.used_at[c][i] != 0)
        model.used_at[c][i] = ++model.now;
}

static void a_random_schedule_agrees_with_a_search(void **state)
{
    (void)state;
    struct zn_routes *r = open_routes(ZN_ROUTES_MAX);
    struct zn_rand rand;
    zn_rand_seed(&rand, 1);
    for (uint32_t c = 0; c < CONNECTIONS; c++)
        for (uint32_t i = 0; i < REQUESTS; i++)
            check_put(r, c, i);
    for (int step = 0; step < 20000; step++) {
        uint32_t c = (uint32_t)zn_rand_below(&rand, 1 + zn_rand_below(&rand, CONNECTIONS));
        uint32_t i = (uint32_t)zn_rand_below(&rand, REQUESTS);
        if (zn_rand_below(&rand, 3) == 0)
            check_put(r, c, i);
        else
            check_get(r, c, i);
    }
    assert_true(model.own_forgotten > 1000 && model.any_forgotten > 1000);
    for (uint32_t c = 0; c < CONNECTIONS; c++)
        for (uint32_t i = 0; i < REQUESTS; i++)
            check_get(r, c, i);
    zn_routes_close(&r);
}

static void an_envelope_may_be_as_long_as_its_limit(void **state)
{
    (void)state;
    static const char bytes[ZN_ENVELOPE_BYTES_MAX + 1];
    struct zn_envelope e;
    enum zn_counter bad = ZN_COUNTERS_N;
    for (size_t n = ZN_ENVELOPE_BYTES_MAX; n <= ZN_ENVELOPE_BYTES_MAX + 1; n++) {
        zn_envelope_begin(&e);
        assert_int_equal(zn_envelope_frame(&e, bytes, 5, true, &bad), ZN_ENVELOPE_MORE);
        assert_int_equal(zn_envelope_frame(&e, bytes, n - 5, true, &bad), ZN_ENVELOPE_MORE);
        assert_int_equal(zn_envelope_frame(&e, bytes, 0, true, &bad), ZN_ENVELOPE_MORE);
        assert_int_equal(zn_envelope_frame(&e, bytes, 9, false, &bad),
                         n <= ZN_ENVELOPE_BYTES_MAX ? ZN_ENVELOPE_BODY : ZN_ENVELOPE_BAD);
    }
    assert_int_equal(bad, ZN_COUNT_bad_envelope);
}

static zn_route put_text(struct zn_routes *r, const char *text)
{
    return zn_routes_put(r, (const uint8_t *)text, strlen(text));
}

static bool knows_text(struct zn_routes *r, zn_route route, const char *text)
{
    size_t n;
    const uint8_t *data = zn_routes_get(r, route, &n);
    return data && n == strlen(text) && memcmp(data, text, n) == 0;
}

static void the_least_recently_used_route_is_forgotten(void **state)
{
    (void)state;
    const char *longer = "an envelope that does not fit into its slot";
    struct zn_routes *r;
    assert_int_equal(zn_routes_open(3, 7, &r), 0);
    zn_route a = put_text(r, "a"), b = put_text(r, longer), c = put_text(r, "c");
    assert_true(a != 0 && a != b && b != c);
    assert_int_equal(put_text(r, longer), b);
    assert_true(knows_text(r, a, "a"));
    zn_route d = put_text(r, "d");
    assert_false(knows_text(r, c, "c"));
    zn_route e = put_text(r, "e");
    assert_false(knows_text(r, b, longer));
    assert_true(knows_text(r, a, "a") && knows_text(r, d, "d") && knows_text(r, e, "e"));
    assert_int_not_equal(put_text(r, longer), b);
    assert_false(knows_text(r, UINT64_MAX, ""));
    zn_routes_close(&r);
    assert_null(r);
}

static void the_route_table_bears_more_than_it_holds(void **state)
{
    (void)state;
    struct zn_routes *r;
    assert_int_equal(zn_routes_open(ZN_ROUTES_MAX, 7, &r), 0);
    char text[ZN_ENVELOPE_ROOM];
    zn_route last = 0;
    for (unsigned i = 0; i < 3 * ZN_ROUTES_MAX; i++) {
        snprintf(text, sizeof text, "%u%*s", i, i % 5 == 0 ? 400 : 1, "");
        zn_route route = put_text(r, text);
        assert_true(route != 0 && route != last);
        assert_true(knows_text(r, route, text));
        last = route;
    }
    zn_routes_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_envelope_may_be_as_long_as_its_limit),
        cmocka_unit_test(the_least_recently_used_route_is_forgotten),
        cmocka_unit_test(the_route_table_bears_more_than_it_holds),
        cmocka_unit_test(an_equal_envelope_has_an_equal_route),
        cmocka_unit_test(the_route_of_a_reused_slot_finds_nothing),
        cmocka_unit_test(envelopes_made_to_collide_keep_their_routes),
        cmocka_unit_test(the_hash_is_siphash_1_3),
        cmocka_unit_test(a_flood_of_one_connection_evicts_no_other),
        cmocka_unit_test(above_its_share_a_connection_loses_its_own_oldest),
        cmocka_unit_test(of_many_connections_the_least_recently_used_is_forgotten),
        cmocka_unit_test(short_envelopes_allocate_nothing),
        cmocka_unit_test(a_random_schedule_agrees_with_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
