/* SPDX-License-Identifier: MIT */
/*
 * The resolver, with a getaddrinfo() of our own: names that begin with "hang" are not answered until
 * the test lets them go, the others at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "pattern/resolve.h"

#define DEADLINE_MS 5000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool let_go;
static int hanging, looked_up, old_looked_up_at;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)service, (void)hints;
    pthread_mutex_lock(&lock);
    looked_up++;
    if (strcmp(host, "hangs.for.long") == 0)
        old_looked_up_at = looked_up;
    bool hang = strncmp(host, "hang", 4) == 0;
    hanging += hang;
    pthread_cond_broadcast(&moved);
    while (hang && !let_go)
        pthread_cond_wait(&moved, &lock);
    hanging -= hang;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
    struct {
        struct addrinfo info;
        struct sockaddr_in at;
    } *answer = calloc(1, sizeof *answer);
    answer->at.sin_family = AF_INET;
    answer->info = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_addr = (struct sockaddr *)&answer->at,
                                     .ai_addrlen = sizeof answer->at};
    *out = &answer->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info) { free(info); }

static void wait_hanging(int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    int rc = 0;
    pthread_mutex_lock(&lock);
    while (hanging != n && rc == 0)
        rc = pthread_cond_timedwait(&moved, &lock, &until);
    pthread_mutex_unlock(&lock);
    assert_int_equal(rc, 0);
}

static void set_let_go(bool to)
{
    pthread_mutex_lock(&lock);
    let_go = to;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

/* The peer of the next answer; -1: none in time. */
static int next_peer(struct zn_resolver *r)
{
    struct zn_resolved answer;
    struct pollfd ready = {.fd = zn_resolver_fd(r), .events = POLLIN};
    do {
        if (zn_resolver_take(r, &answer)) {
            assert_true(answer.found);
            return answer.peer;
        }
    } while (poll(&ready, 1, DEADLINE_MS) > 0);
    return -1;
}

static void a_name_that_hangs_delays_no_other(void **state)
{
    (void)state;
    struct zn_resolver *r;
    assert_int_equal(zn_resolver_open(&r), 0);
    for (int peer = 0; peer < ZN_RESOLVERS_MAX - 1; peer++)
        zn_resolver_ask(r, peer, "hangs.example", 1);
    wait_hanging(ZN_RESOLVERS_MAX - 1);
    for (int i = 0; i < 3; i++) {
        zn_resolver_ask(r, 60 + i, "quick.example", 1);
        assert_int_equal(next_peer(r), 60 + i);
    }
    set_let_go(true);
    for (int peer = 0; peer < ZN_RESOLVERS_MAX - 1; peer++)
        assert_in_range(next_peer(r), 0, ZN_RESOLVERS_MAX - 2);
    zn_resolver_close(&r);
    set_let_go(false);
}

static void more_than_there_are_threads_wait_their_turn(void **state)
{
    (void)state;
    struct zn_resolver *r;
    assert_int_equal(zn_resolver_open(&r), 0);
    uint64_t seen = 0;
    for (int peer = 0; peer < ZN_REPLICAS_MAX; peer++)
        zn_resolver_ask(r, peer, "hangs.example", 1);
    wait_hanging(ZN_RESOLVERS_MAX);
    set_let_go(true);
    for (int i = 0; i < ZN_REPLICAS_MAX; i++)
        seen |= (uint64_t)1 << next_peer(r);
    assert_true(seen == UINT64_MAX);
    zn_resolver_close(&r);
    set_let_go(false);
}

/* Those that hang are asked again and again: they do not pass one that has waited for longer. All
 * threads begin at once, so it may be one of as many. */
static void who_was_asked_first_is_looked_up_first(void **state)
{
    (void)state;
    struct zn_resolver *r;
    assert_int_equal(zn_resolver_open(&r), 0);
    for (int peer = 0; peer < ZN_RESOLVERS_MAX; peer++)
        zn_resolver_ask(r, peer, "hangs.example", 1);
    wait_hanging(ZN_RESOLVERS_MAX);
    int before = looked_up;
    zn_resolver_ask(r, 60, "hangs.for.long", 1);
    for (int peer = ZN_RESOLVERS_MAX; peer < 60; peer++)
        zn_resolver_ask(r, peer, "hangs.example", 1);
    set_let_go(true);
    for (int peer = 0; peer <= 60; peer++)
        assert_int_not_equal(next_peer(r), -1);
    assert_in_range(old_looked_up_at, before + 1, before + ZN_RESOLVERS_MAX);
    zn_resolver_close(&r);
    set_let_go(false);
}

static void a_question_that_is_open_is_not_asked_again(void **state)
{
    (void)state;
    struct zn_resolver *r;
    assert_int_equal(zn_resolver_open(&r), 0);
    int before = looked_up;
    zn_resolver_ask(r, 5, "hangs.example", 1);
    wait_hanging(1);
    zn_resolver_ask(r, 5, "hangs.example", 1);
    set_let_go(true);
    assert_int_equal(next_peer(r), 5);
    assert_int_equal(looked_up, before + 1);
    zn_resolver_close(&r);
    set_let_go(false);
}

/* The threads outlive it, and clean up when they are let go. */
static void closing_waits_for_no_look_up(void **state)
{
    (void)state;
    struct zn_resolver *r;
    assert_int_equal(zn_resolver_open(&r), 0);
    zn_resolver_ask(r, 0, "hangs.example", 1);
    zn_resolver_ask(r, 1, "hangs.example", 1);
    wait_hanging(2);
    zn_resolver_close(&r);
    assert_null(r);
    set_let_go(true);
    wait_hanging(0);
    set_let_go(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_hangs_delays_no_other),
        cmocka_unit_test(more_than_there_are_threads_wait_their_turn),
        cmocka_unit_test(who_was_asked_first_is_looked_up_first),
        cmocka_unit_test(a_question_that_is_open_is_not_asked_again),
        cmocka_unit_test(closing_waits_for_no_look_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
