/* SPDX-License-Identifier: MIT */
/*
 * The router pattern over real sockets: its good path, clients of every kind, what strangers send, and
 * how it opens. How links fail is test_router_links.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "carrier_driver.h"
#include "pattern/socket.h"

const struct zn_pattern *const pattern = &zn_pattern_router;

static void patterns_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(zn_pattern_find("router"), &zn_pattern_router);
    assert_ptr_equal(zn_pattern_find(NULL), &zn_pattern_router);
    assert_null(zn_pattern_find("rooter"));
}

/* ---- clients by libzmq ---- */

struct client {
    void *context, *socket;
};

static struct client open_client(int type, uint16_t port)
{
    struct client k = {zmq_ctx_new(), NULL};
    k.socket = zmq_socket(k.context, type);
    zn_socket_set_int(k.socket, ZMQ_LINGER, 0);
    if (type == ZMQ_REQ) {
        zn_socket_set_int(k.socket, ZMQ_REQ_RELAXED, 1);
        zn_socket_set_int(k.socket, ZMQ_REQ_CORRELATE, 1);
    }
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", port);
    assert_int_equal(zmq_connect(k.socket, endpoint), 0);
    return k;
}

static void close_client(struct client *k)
{
    zmq_close(k->socket);
    zmq_ctx_term(k->context);
}

/* Not a client, but what peers listen with. */
static struct client open_listener(uint16_t port)
{
    struct client k = {zmq_ctx_new(), NULL};
    k.socket = zmq_socket(k.context, ZMQ_ROUTER);
    zn_socket_set_int(k.socket, ZMQ_LINGER, 0);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", port);
    assert_int_equal(zmq_bind(k.socket, endpoint), 0);
    return k;
}

/* Frames as text, separated by '|'. */
static void client_send(struct client *k, const char *frames)
{
    const char *end = strchr(frames, '|');
    if (!end) {
        assert_true(zmq_send(k->socket, frames, strlen(frames), 0) >= 0);
        return;
    }
    assert_true(zmq_send(k->socket, frames, (size_t)(end - frames), ZMQ_SNDMORE) >= 0);
    client_send(k, end + 1);
}

static bool client_receives(struct client *k, const char *frames)
{
    char got[256] = "";
    size_t n = 0;
    int more = 1;
    size_t more_bytes = sizeof more;
    while (more) {
        int bytes = zmq_recv(k->socket, got + n, sizeof got - n - 2, ZMQ_DONTWAIT);
        if (bytes < 0)
            return false;
        n += (size_t)bytes;
        zmq_getsockopt(k->socket, ZMQ_RCVMORE, &more, &more_bytes);
        if (more)
            got[n++] = '|';
    }
    got[n] = '\0';
    assert_string_equal(got, frames);
    return true;
}

static void expect_echo(int type, const char *frames, const char *body)
{
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    open_side(&a, peers, 0);
    a.echo = true;
    struct client k = open_client(type, peers->replicas[0].port);
    for (unsigned i = 1; i <= 3; i++) {
        client_send(&k, frames);
        UNTIL(client_receives(&k, frames));
        assert_int_equal(a.route_n, i);
        assert_string_equal(a.route_text, body);
    }
    close_client(&k);
    close_side(&a);
}

/* ---- the good path ---- */

static void links_go_up_both_ways_and_carry_bytes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    a.echo = b.echo = true;
    pattern->want(a.c, 1);
    pattern->want(a.c, 1);
    pattern->want(b.c, 0);
    assert_int_equal(send_text(&a, 1, "too early"), ZMQNET_ENEVERSENT);
    UNTIL(a.up == 1 && b.up == 1);
    assert_int_equal(send_text(&a, 1, "from a"), 0);
    assert_int_equal(send_text(&b, 0, "from b"), 0);
    UNTIL(a.link_n == 1 && b.link_n == 1);
    assert_string_equal(a.link_text, "from a");
    assert_string_equal(b.route_text, "from a");
    assert_string_equal(b.link_text, "from b");
    assert_int_equal(a.failed + b.failed + a.lost + b.lost, 0);
    close_side(&a);
    UNTIL(b.lost == 1);
    UNTIL(b.failed >= 1 && b.why == ZN_WHY_REFUSED);
    assert_int_equal(b.counts[ZN_COUNT_bad_handshake], 0);
    close_side(&b);
}

static void a_later_answer_finds_its_route(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    pattern->want(a.c, 1);
    UNTIL(a.up == 1);
    assert_int_equal(send_text(&a, 1, "hello"), 0);
    UNTIL(b.route_n == 1);
    uint64_t connection = b.connection;
    assert_int_equal(send_text(&a, 1, "one"), 0);
    UNTIL(b.route_n == 2);
    zn_route first = b.route;
    assert_int_equal(send_text(&a, 1, "two"), 0);
    UNTIL(b.route_n == 3);
    assert_int_equal(first, b.route);
    assert_int_equal(connection, b.connection);
    assert_int_equal(reply(&b, first, "late", 4), 0);
    UNTIL(a.link_n == 1);
    assert_string_equal(a.link_text, "late");
    assert_int_equal(reply(&b, first + (1ull << 32), "x", 1), ZMQNET_ENEVERSENT);
    assert_int_equal(reply(&b, 0, "x", 1), ZMQNET_ENEVERSENT);
    assert_int_equal(reply(&a, first, "x", 1), ZMQNET_ENEVERSENT);
    close_side(&a);
    UNTIL(reply(&b, first, "x", 1) == ZMQNET_ENEVERSENT);
    close_side(&b);
}

/* Large frames are not copied: the reference must come back. */
static void a_large_frame_is_shared_and_released(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    b.echo = true;
    pattern->want(a.c, 1);
    UNTIL(a.up == 1);
    struct zn_blob *big;
    assert_int_equal(zn_blob_make(100000, &big), 0);
    memset(big->data, 'x', big->bytes);
    assert_int_equal(pattern->send(a.c, 1, big), 0);
    UNTIL(a.link_n == 1 && atomic_load(&big->refs) == 1);
    zn_blob_drop(&big);
    close_side(&a);
    close_side(&b);
}

static void what_was_sent_before_close_leaves(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    pattern->want(a.c, 1);
    UNTIL(a.up == 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send_text(&a, 1, "bye"), 0);
    uint64_t before_us = zn_clock_us();
    close_side(&a);
    assert_true(zn_clock_us() - before_us < ZN_SECOND);
    UNTIL(b.route_n == 100);
    close_side(&b);
}

static void req_with_correlation_is_echoed(void **state)
{
    (void)state;
    expect_echo(ZMQ_REQ, "hello", "hello");
}

static void dealer_with_delimiter_is_echoed(void **state)
{
    (void)state;
    expect_echo(ZMQ_DEALER, "|hello", "hello");
}

static void bare_dealer_is_echoed(void **state)
{
    (void)state;
    expect_echo(ZMQ_DEALER, "hello", "hello");
}

static void proxies_in_between_are_echoed(void **state)
{
    (void)state;
    expect_echo(ZMQ_DEALER, "one|two|three||hello", "hello");
    expect_echo(ZMQ_DEALER, "1|2|3|4|5|6||hello", "hello");
    expect_echo(ZMQ_DEALER, "an id that is longer than what fits in place||hello", "hello");
}

static void a_name_is_resolved_off_the_loop(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    add_peer(peers, "localhost", peers->replicas[0].port);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    pattern->want(a.c, 1);
    UNTIL(a.up == 1);
    assert_int_equal(a.failed, 0);
    close_side(&a);
    close_side(&b);
}

/* ---- bad input ---- */

struct bad {
    const char *frames;
    enum zn_counter counter;
};

static void bad_messages_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {"", ZN_COUNT_empty_message},
        {"|", ZN_COUNT_empty_message},
        {"a||", ZN_COUNT_empty_message},
        {"a|b", ZN_COUNT_extra_frames},
        {"|a|b", ZN_COUNT_extra_frames},
        {"|a|", ZN_COUNT_extra_frames},
        {"||a", ZN_COUNT_extra_frames},
        {"1|2|3|4|5|6|7|8|9|10", ZN_COUNT_extra_frames},
        {"1|2|3|4|5|6|7||a", ZN_COUNT_bad_envelope},
        {"1|2|3|4|5|6|7|8|9|10|", ZN_COUNT_bad_envelope},
    };
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    open_side(&a, peers, 0);
    a.echo = true;
    struct client k = open_client(ZMQ_DEALER, peers->replicas[0].port);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(a.counts, 0, sizeof a.counts);
        client_send(&k, bad[i].frames);
        UNTIL(a.counts[bad[i].counter] == 1);
        client_send(&k, "still there");
        UNTIL(client_receives(&k, "still there"));
        assert_int_equal(a.counts[bad[i].counter], 1);
        assert_int_equal(a.route_n, i + 1);
    }
    close_client(&k);
    close_side(&a);
}

static void a_message_of_endless_frames_is_one_bad_message(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    open_side(&a, peers, 0);
    struct client k = open_client(ZMQ_DEALER, peers->replicas[0].port);
    for (int i = 0; i < 10 * ZN_TURN_FRAMES_MAX; i++)
        assert_int_equal(zmq_send(k.socket, "frame", 5, ZMQ_SNDMORE), 5);
    client_send(&k, "end");
    client_send(&k, "next");
    UNTIL(a.route_n == 1);
    assert_string_equal(a.route_text, "next");
    assert_int_equal(a.counts[ZN_COUNT_extra_frames], 1);
    close_client(&k);
    close_side(&a);
}

static void oversize_is_counted_up_to_where_libzmq_cuts(void **state)
{
    (void)state;
    static char big[1 << 20]; /* above twice what a frame may hold */
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    open_side(&a, peers, 0);
    struct client k = open_client(ZMQ_DEALER, peers->replicas[0].port);
    size_t most = zn_frame_max(MESSAGE_MAX);
    assert_int_equal(zmq_send(k.socket, big, most, 0), (int)most);
    UNTIL(a.route_n == 1);
    assert_int_equal(zmq_send(k.socket, big, most + 1, 0), (int)most + 1);
    UNTIL(a.counts[ZN_COUNT_oversize] == 1);
    assert_int_equal(zmq_send(k.socket, big, sizeof big, 0), (int)sizeof big);
    client_send(&k, "on a connection that is cut");
    close_client(&k);
    k = open_client(ZMQ_DEALER, peers->replicas[0].port);
    client_send(&k, "another");
    UNTIL(strcmp(a.route_text, "another") == 0);
    assert_int_equal(a.counts[ZN_COUNT_oversize], 1);
    close_client(&k);
    close_side(&a);
}

static void strangers_are_counted_as_bad_handshakes(void **state)
{
    (void)state;
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n",
                                        "\xff zmtp? no, not at all, far from it",
                                        "\x01\x02\x03\x04 noise", ""};
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        int fd = connect_plain(peers->replicas[0].port);
        assert_int_equal(send(fd, words[i], strlen(words[i]), MSG_NOSIGNAL), strlen(words[i]));
        close(fd);
        UNTIL(a.counts[ZN_COUNT_bad_handshake] == i + 1);
    }
    open_side(&b, peers, -1);
    pattern->want(b.c, 0);
    UNTIL(b.up == 1);
    pattern->reset(b.c, 0);
    UNTIL(b.up == 2);
    assert_int_equal(a.counts[ZN_COUNT_bad_handshake], sizeof words / sizeof words[0]);
    close_side(&b);
    close_side(&a);
}

/* A side whose link is up to a listener of libzmq, which knows where to answer to. */
static void open_linked(struct side *a, struct client *k, uint8_t *id, size_t *id_bytes)
{
    zmqnet_peers *peers = new_peers(1);
    *k = open_listener(peers->replicas[0].port);
    open_side(a, peers, -1);
    pattern->want(a->c, 0);
    UNTIL(a->up == 1);
    assert_int_equal(send_text(a, 0, "hello"), 0);
    int n;
    UNTIL((n = zmq_recv(k->socket, id, 16, ZMQ_DONTWAIT)) > 0);
    *id_bytes = (size_t)n;
    assert_true(client_receives(k, "|hello"));
}

static void answer(struct client *k, const uint8_t *id, size_t id_bytes, const char *frames)
{
    assert_int_equal(zmq_send(k->socket, id, id_bytes, ZMQ_SNDMORE), (int)id_bytes);
    client_send(k, frames);
}

/* What a peer answers is a stranger's too. */
static void bad_answers_on_a_link_are_counted(void **state)
{
    (void)state;
    static const char *const answers[] = {"a|b|c", "|b|c", "", "|", "|behind a delimiter", "good"};
    struct side a;
    struct client k;
    uint8_t id[16];
    size_t id_bytes;
    open_linked(&a, &k, id, &id_bytes);
    for (int i = 0; i < 6; i++)
        answer(&k, id, id_bytes, answers[i]);
    UNTIL(a.link_n == 2);
    assert_string_equal(a.link_text, "good");
    assert_int_equal(a.counts[ZN_COUNT_extra_frames], 2);
    assert_int_equal(a.counts[ZN_COUNT_empty_message], 2);
    close_side(&a);
    close_client(&k);
}

/* ---- what is left over for the next turn ---- */

/* No edge tells that there is more. */
static void answers_are_read_on_when_the_time_of_the_turn_is_over(void **state)
{
    (void)state;
    enum { ANSWERS = 300, BUSY_US = ZN_TURN_READ_US / 25 };
    struct side a;
    struct client k;
    uint8_t id[16];
    size_t id_bytes;
    open_linked(&a, &k, id, &id_bytes);
    a.busy_us = BUSY_US;
    for (int i = 0; i < ANSWERS; i++)
        answer(&k, id, id_bytes, "answer");
    UNTIL(a.link_n == ANSWERS);
    close_side(&a);
    close_client(&k);
}

static bool interrupt_next;

/* In the place of libzmq's. A signal may come when it has taken the edge and not looked yet. */
int zmq_msg_recv(zmq_msg_t *msg, void *s, int flags)
{
    static int (*real)(zmq_msg_t *, void *, int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "zmq_msg_recv");
    if (!interrupt_next)
        return real(msg, s, flags);
    interrupt_next = false;
    zn_socket_events(s);
    errno = EINTR;
    return -1;
}

static void signals_leave_nothing_unread(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    open_side(&a, peers, 0);
    struct client k = open_client(ZMQ_DEALER, peers->replicas[0].port);
    client_send(&k, "first");
    UNTIL(a.route_n == 1);
    for (unsigned n = 2; n <= 10; n++) {
        interrupt_next = true;
        client_send(&k, "question");
        UNTIL(a.route_n == n);
        assert_false(interrupt_next);
    }
    close_client(&k);
    close_side(&a);
}

/* ---- opening ---- */

static void a_taken_port_is_explained(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct side a, b;
    open_side(&a, peers, 0);
    struct zmqnet_diag diag;
    assert_int_equal(try_open(&b, peers, 0, &diag), ZMQNET_EADDRINUSE);
    assert_int_equal(diag.code, ZMQNET_EADDRINUSE);
    assert_non_null(strstr(diag.text, "the port is taken: is another replica peer0 running?"));
    close_side(&a);
}

static void a_host_that_is_no_host_is_explained(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(0);
    add_peer(peers, "256.256.256.256", free_port());
    struct side a;
    struct zmqnet_diag diag;
    assert_int_equal(try_open(&a, peers, 0, &diag), ZMQNET_EADDR);
    assert_non_null(strstr(diag.text, "the host cannot be resolved"));
}

/* 192.0.2.1 is for documentation: nobody's, so not ours. */
static void a_foreign_address_is_listened_for_everywhere(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(0);
    uint16_t port = free_port();
    add_peer(peers, "192.0.2.1", port);
    add_peer(peers, "127.0.0.1", port);
    struct side a, b;
    open_side(&a, peers, 0);
    open_side(&b, peers, -1);
    pattern->want(b.c, 1);
    UNTIL(b.up == 1);
    close_side(&b);
    close_side(&a);
}

static void too_few_descriptors_are_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct rlimit before, low;
    getrlimit(RLIMIT_NOFILE, &before);
    pid_t pid = fork(); /* no context is open; the hard limit cannot be raised again */
    if (pid == 0) {
        low = (struct rlimit){100, 100};
        setrlimit(RLIMIT_NOFILE, &low);
        struct side a;
        struct zmqnet_diag diag;
        int rc = try_open(&a, peers, 0, &diag);
        _exit(rc == ZMQNET_ENOFILE && strstr(diag.text, "100 file descriptors are allowed") ? 0
                                                                                            : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(patterns_are_found_by_name),
        TEST(links_go_up_both_ways_and_carry_bytes),
        TEST(a_later_answer_finds_its_route),
        TEST(a_large_frame_is_shared_and_released),
        TEST(what_was_sent_before_close_leaves),
        TEST(req_with_correlation_is_echoed),
        TEST(dealer_with_delimiter_is_echoed),
        TEST(bare_dealer_is_echoed),
        TEST(proxies_in_between_are_echoed),
        TEST(a_name_is_resolved_off_the_loop),
        TEST(bad_messages_are_counted_and_harm_nobody),
        TEST(a_message_of_endless_frames_is_one_bad_message),
        TEST(oversize_is_counted_up_to_where_libzmq_cuts),
        TEST(strangers_are_counted_as_bad_handshakes),
        TEST(bad_answers_on_a_link_are_counted),
        TEST(answers_are_read_on_when_the_time_of_the_turn_is_over),
        TEST(signals_leave_nothing_unread),
        TEST(a_taken_port_is_explained),
        TEST(a_host_that_is_no_host_is_explained),
        TEST(a_foreign_address_is_listened_for_everywhere),
        TEST(too_few_descriptors_are_refused),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
