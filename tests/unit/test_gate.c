/* SPDX-License-Identifier: MIT */
/*
 * The gate before a port: the test is libzmq, that takes connections and tells of them, and sometimes
 * does not. accept4() is our own, so that it can fail in every way; what connects is real.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "pattern/gate.h"

#define MAX 8
#define WAITING 5
#define DEADLINE_MS 5000
#define START_US (1000 * ZN_SECOND)

static struct zn_gate gate;
static int listener, clients[MAX + WAITING], inside[MAX];
static struct sockaddr_in address;
static const int *failures; /* errno of the next calls of accept4(), 0 behind the last; NULL: none */

int accept4(int fd, struct sockaddr *restrict at, socklen_t *restrict bytes, int flags)
{
    if (failures && *failures != 0) {
        errno = *failures++;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, at, bytes, flags);
}

static int connect_one(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* As many as may be are inside, and some wait. */
static int with_a_full_port(void **state)
{
    (void)state;
    socklen_t bytes = sizeof address;
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    failures = NULL;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &bytes) != 0)
        return -1;
    zn_gate_init(&gate, MAX);
    zn_gate_watch(&gate, listener);
    for (int i = 0; i < MAX + WAITING; i++)
        clients[i] = connect_one();
    for (int i = 0; i < MAX; i++) {
        inside[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        zn_gate_enter(&gate, (uint32_t)inside[i]);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    zn_gate_end(&gate);
    for (int i = 0; i < MAX + WAITING; i++)
        close(clients[i]);
    for (int i = 0; i < MAX; i++)
        if (inside[i] >= 0)
            close(inside[i]);
    close(listener);
    return 0;
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void shut(void)
{
    assert_true(zn_gate_next_us(&gate) == UINT64_MAX);
    assert_true(zn_gate_update(&gate, START_US));
    assert_true(gate.shut);
}

static void assert_turned_away(void)
{
    for (int i = MAX; i < MAX + WAITING; i++)
        assert_true(is_readable(clients[i], DEADLINE_MS));
    for (int i = 0; i < MAX; i++)
        assert_false(is_readable(clients[i], 0));
}

/* Its descriptor is free, or something else has it, a socket perhaps. */
static void end_in_silence(int i)
{
    int other = i % 3 == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                           : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (i % 3 < 2)
        assert_int_equal(dup2(other, inside[i]), inside[i]);
    else
        assert_int_equal(close(inside[i]), 0);
    close(other);
    inside[i] = i % 3 < 2 ? inside[i] : -1;
}

static void who_waits_is_turned_away(void **state)
{
    (void)state;
    shut();
    assert_turned_away();
}

static void one_that_is_gone_hides_no_other(void **state)
{
    (void)state;
    static const int errors[] = {ECONNABORTED, EINTR, EPROTO, ENFILE, ECONNABORTED, 0};
    failures = errors;
    shut();
    assert_turned_away();
}

static void without_descriptors_it_is_tried_again(void **state)
{
    (void)state;
    static const int errors[] = {EMFILE, EMFILE, 0};
    failures = errors;
    shut();
    for (int i = MAX; i < MAX + WAITING; i++)
        assert_false(is_readable(clients[i], 0));
    assert_false(zn_gate_update(&gate, zn_gate_next_us(&gate)));
    assert_turned_away();
}

static void an_end_that_is_told_opens_it(void **state)
{
    (void)state;
    shut();
    zn_gate_leave(&gate, (uint32_t)inside[0]);
    zn_gate_leave(&gate, (uint32_t)inside[0]);
    assert_false(zn_gate_update(&gate, START_US));
    assert_true(gate.shut);
    zn_gate_leave(&gate, (uint32_t)inside[1]);
    assert_false(zn_gate_update(&gate, START_US));
    assert_false(gate.shut);
}

/* libzmq has not told of the end of any. */
static void an_end_that_is_not_told_opens_it(void **state)
{
    (void)state;
    shut();
    for (int i = MAX - 1; i >= MAX / 2; i--)
        end_in_silence(i);
    uint64_t next_us = zn_gate_next_us(&gate);
    assert_false(zn_gate_update(&gate, next_us - 1));
    assert_true(gate.shut);
    assert_false(zn_gate_update(&gate, next_us));
    assert_false(gate.shut);
    assert_int_equal(gate.inside_n, MAX / 2);
    close(connect_one()); /* nothing drops it any more */
}

static void who_is_inside_stays_counted(void **state)
{
    (void)state;
    shut();
    for (int i = 0; i < 3; i++) {
        assert_false(zn_gate_update(&gate, zn_gate_next_us(&gate)));
        assert_true(gate.shut);
        assert_int_equal(gate.inside_n, MAX);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, with_a_full_port, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(who_waits_is_turned_away),
        CASE(one_that_is_gone_hides_no_other),
        CASE(without_descriptors_it_is_tried_again),
        CASE(an_end_that_is_told_opens_it),
        CASE(an_end_that_is_not_told_opens_it),
        CASE(who_is_inside_stays_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
