/* SPDX-License-Identifier: MIT */
/*
 * Links of the router pattern that are refused, lost, reset or full, and come back; a child that must
 * not share its parent's sockets; and closing in the middle of all that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "carrier_driver.h"
#include "pattern/socket.h"

const struct zn_pattern *const pattern = &zn_pattern_router;

/* ---- peers that are not there ---- */

static void a_refused_link_is_reported_and_comes_up_later(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    uint64_t before_us = zn_clock_us();
    pattern->want(a.c, 1);
    UNTIL(a.failed == 1);
    assert_true(zn_clock_us() - before_us < ZN_SECOND);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    PASS_UNTIL(a.failed == 3);
    open_side(&b, peers, 1);
    UNTIL(a.up == 1);
    assert_int_equal(a.lost, 0);
    close_side(&a);
    close_side(&b);
}

static void an_unknown_name_is_reported(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(0);
    add_peer(peers, "no-such-host.invalid", 20000);
    struct side a;
    open_side(&a, peers, -1);
    pattern->want(a.c, 0);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_UNRESOLVED);
    close_side(&a);
}

/* What other listeners than ours do: nothing, here; the kernel accepts for it. */
static int listen_plain(uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = plain_socket(), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void a_peer_that_is_no_zeromq_is_reported(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    int listener = listen_plain(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    pattern->want(a.c, 0);
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    UNTIL(poll(&ready, 1, 0) == 1);
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(send(fd, "220 mail.example\r\n", 18, MSG_NOSIGNAL), 18);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_HANDSHAKE);
    uint64_t before_us = zn_clock_us();
    PASS_UNTIL(a.failed == 2); /* This one connects and hears nothing. */
    assert_int_equal(a.why, ZN_WHY_HANDSHAKE);
    assert_true(zn_clock_us() - before_us < 3 * ZN_SECOND);
    close(fd);
    close(listener);
    close_side(&a);
}

/* ---- peers that are killed or stopped ---- */

/* A side and its link, which is up, to another process. Returns the peers: that one alone. */
static zmqnet_peers *open_link_to_child(struct side *a, pid_t *pid)
{
    zmqnet_peers *peers = new_peers(1);
    *pid = spawn_child(peers);
    open_linked_side(a, peers, -1);
    UNTIL(a->up == 1);
    return peers;
}

static void a_killed_peer_is_lost_then_refused(void **state)
{
    (void)state;
    struct side a;
    pid_t pid;
    zmqnet_peers *peers = open_link_to_child(&a, &pid);
    pattern->good(a.c, 0);
    a.failed = 0;
    end_child(pid);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.lost == 1);
    assert_true(pattern->next_us(a.c) <= zn_clock_us()); /* it was good: the next try is at once */
    UNTIL(a.failed == 1);
    assert_true(zn_clock_us() - before_us < ZN_SECOND);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    assert_int_equal(send_text(&a, 0, "x"), ZMQNET_ENEVERSENT);
    pid = spawn_child(peers);
    UNTIL(a.up == 2);
    assert_int_equal(send_text(&a, 0, "again"), 0);
    UNTIL(a.link_n == 1);
    close_side(&a);
    end_child(pid);
}

/* The same while the link is busy and more was sent than a pipe holds, when "gone" looks like "full". */
static void a_peer_killed_under_load_is_lost(void **state)
{
    (void)state;
    struct side a;
    pid_t pid;
    open_link_to_child(&a, &pid);
    unsigned sent = 0;
    for (; sent < 2 * ZN_SOCKET_SEND_FRAMES; sent++) {
        UNTIL(sent - a.link_n < 256);
        assert_int_equal(send_text(&a, 0, "load"), 0);
    }
    a.failed = 0;
    kill(pid, SIGKILL);
    int rc;
    UNTIL((rc = send_text(&a, 0, "load")) == ZMQNET_ENEVERSENT);
    assert_int_equal(a.lost, 1);
    UNTIL(a.failed > 0);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    end_child(pid);
    close_side(&a);
}

static unsigned fill(struct side *a)
{
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    unsigned sent = 0;
    int rc = 0;
    while (rc == 0) {
        rc = send_text(a, 0, text);
        sent += rc == 0;
        if (sent % 64 == 0)
            drive();
    }
    assert_int_equal(rc, ZMQNET_EFULL);
    return sent;
}

static void a_stopped_peer_keeps_its_connection(void **state)
{
    (void)state;
    struct side a;
    pid_t pid;
    open_link_to_child(&a, &pid);
    a.failed = 0;
    kill(pid, SIGSTOP);
    unsigned sent = fill(&a);
    assert_true(sent >= ZN_SOCKET_SEND_FRAMES);
    assert_int_equal(send_text(&a, 0, "x"), ZMQNET_EFULL);
    uint64_t look_us = zn_clock_us() + 700 * ZN_MS; /* longer than from one probe to the next */
    UNTIL(zn_clock_us() > look_us);
    assert_int_equal(a.lost + a.failed + a.link_n + a.writable, 0);
    kill(pid, SIGCONT);
    UNTIL(a.link_n == sent);
    assert_true(a.writable >= 1);
    assert_int_equal(a.lost + a.failed, 0);
    assert_int_equal(send_text(&a, 0, "on"), 0);
    UNTIL(a.link_n == sent + 1);
    close_side(&a);
    end_child(pid);
}

static void a_full_link_whose_peer_is_killed_is_lost(void **state)
{
    (void)state;
    struct side a;
    pid_t pid;
    open_link_to_child(&a, &pid);
    a.failed = 0;
    kill(pid, SIGSTOP);
    fill(&a);
    end_child(pid);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.lost == 1);
    UNTIL(a.failed == 1);
    assert_true(zn_clock_us() - before_us < 2 * ZN_SECOND);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    close_side(&a);
}

/* ---- resets ---- */

static void a_link_may_be_reset_from_within_the_sink(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    b.echo = true;
    pattern->want(a.c, 1);
    UNTIL(a.up == 1);
    a.reset_in = true;
    for (int i = 0; i < 10; i++)
        assert_int_equal(send_text(&a, 1, "x"), 0);
    UNTIL(a.up == 2);
    assert_int_equal(a.link_n, 1);
    assert_int_equal(a.lost, 0);
    close_side(&a);
    close_side(&b);
}

static void resets_leak_no_descriptors(void **state)
{
    (void)state;
    enum { LINKS = 16, ROUNDS = 13 };
    zmqnet_peers *peers = new_peers(1);
    for (int i = 1; i <= LINKS; i++)
        add_peer(peers, "127.0.0.1", peers->replicas[0].port);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 0);
    for (int i = 1; i <= LINKS; i++)
        pattern->want(a.c, i);
    UNTIL(a.up == LINKS);
    UNTIL(count_files() > 0);
    unsigned before = count_files();
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (int i = 1; i <= LINKS; i++) {
            pattern->good(a.c, i);
            pattern->reset(a.c, i);
        }
        own_clock_put_ahead(2 * ZN_SECOND); /* the longest back-off */
        UNTIL(a.up == LINKS * (round + 1));
    }
    UNTIL(count_files() <= before); /* libzmq closes in its own time. */
    assert_int_equal(a.failed + a.lost, 0);
    assert_int_equal(b.counts[ZN_COUNT_bad_handshake], 0);
    close_side(&a);
    close_side(&b);
}

/* ---- children, closing ---- */

/* 0: all went well. The parent's client is not touched. */
static int client_of_a_child(const zmqnet_peers *peers)
{
    struct side b;
    struct zmqnet_diag diag;
    forget_sides(NULL);
    alarm(5); /* libzmq would wait for threads that only the parent has */
    if (try_open(&b, peers, -1, &diag) != 0)
        return 1;
    pattern->want(b.c, 0);
    for (uint64_t until_us = zn_clock_us() + 2 * ZN_SECOND; b.up == 0; drive())
        if (zn_clock_us() > until_us)
            return 2;
    pattern->close(&b.c);
    return 0;
}

static void a_client_is_not_shared_with_a_child(void **state)
{
    (void)state;
    struct side a;
    pid_t server;
    zmqnet_peers *peers = open_link_to_child(&a, &server);
    pid_t pid = fork();
    if (pid == 0)
        _exit(client_of_a_child(peers));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(send_text(&a, 0, "x"), 0);
    UNTIL(a.link_n == 1);
    assert_int_equal(a.lost, 0);
    close_side(&a);
    end_child(server);
}

static void closing_at_any_state_does_not_hang(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    add_peer(peers, "no-such-host.invalid", 20000);
    struct side a, b;
    open_side(&b, peers, 1);
    for (int turns = 0; turns < 30; turns++) {
        open_side(&a, peers, 0);
        for (int i = 1; i < 3; i++)
            pattern->want(a.c, i);
        pattern->want(b.c, 0);
        for (int i = 0; i < turns; i++)
            drive();
        uint64_t before_us = zn_clock_us();
        close_side(&a);
        assert_true(zn_clock_us() - before_us < ZN_SECOND);
    }
    close_side(&b);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    if (is_child(argc, argv))
        return child_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(a_refused_link_is_reported_and_comes_up_later),
        TEST(an_unknown_name_is_reported),
        TEST(a_peer_that_is_no_zeromq_is_reported),
        TEST(a_killed_peer_is_lost_then_refused),
        TEST(a_peer_killed_under_load_is_lost),
        TEST(a_stopped_peer_keeps_its_connection),
        TEST(a_full_link_whose_peer_is_killed_is_lost),
        TEST(a_link_may_be_reset_from_within_the_sink),
        TEST(resets_leak_no_descriptors),
        TEST(a_client_is_not_shared_with_a_child),
        TEST(closing_at_any_state_does_not_hang),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
