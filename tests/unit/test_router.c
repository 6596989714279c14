/* SPDX-License-Identifier: MIT */
/*
 * The router pattern over real sockets on loopback. Up to three carriers run in this process, each
 * with an epoll of its own as in the node; one poll() over these drives them all. What has to be killed
 * or stopped is this program again, started as `test_router child PORT` before any socket is made,
 * which answers everything with the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/rand.h"
#include "pattern/envelope.h"
#include "pattern/pattern.h"
#include "pattern/routes.h"
#include "pattern/socket.h"

#define SIDES_MAX 3
#define DEADLINE_US (10 * ZN_SECOND)
#define MESSAGE_MAX 1000

extern char **environ;
static const struct zn_pattern *const router = &zn_pattern_router;

/* ---- signals ---- */

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

/* ---- carriers ---- */

struct side {
    struct zn_carrier *c;
    int epoll_fd;
    bool echo;        /* answer what comes on a route with the same bytes, at once */
    bool reset_in;    /* reset the link from within link_bytes */
    uint64_t busy_us; /* how long each link_bytes takes */
    unsigned up, lost, failed, writable; /* calls of the sink */
    enum zn_why why;
    unsigned link_n, route_n; /* messages that came, and the last one */
    char link_text[64], route_text[64];
    zn_route route;
    uint64_t connection;
    unsigned counts[ZN_COUNTERS_N];
};

static struct side *sides[SIDES_MAX];

static void on_up(void *arg, int peer)
{
    (void)peer;
    ((struct side *)arg)->up++;
}

static void on_lost(void *arg, int peer)
{
    (void)peer;
    ((struct side *)arg)->lost++;
}

static void on_failed(void *arg, int peer, enum zn_why why)
{
    (void)peer;
    struct side *s = arg;
    s->failed++;
    s->why = why;
}

static void on_writable(void *arg, int peer)
{
    (void)peer;
    ((struct side *)arg)->writable++;
}

/* A link of this pattern loses nothing that it would know of. */
static void on_gap(void *arg, int peer)
{
    (void)arg;
    fail_msg("a gap on the link to %d", peer);
}

static void keep_text(char *text, const void *bytes, size_t n)
{
    n = n < 63 ? n : 63;
    memcpy(text, bytes, n);
    text[n] = '\0';
}

static void on_link_bytes(void *arg, int peer, const void *bytes, size_t n)
{
    struct side *s = arg;
    s->link_n++;
    for (uint64_t until_us = zn_clock_us() + s->busy_us; zn_clock_us() < until_us;)
        continue;
    if (s->reset_in)
        router->reset(s->c, peer);
    keep_text(s->link_text, bytes, n);
}

static int reply(struct side *s, zn_route route, const void *bytes, size_t n)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(bytes, n, &b), 0);
    int rc = router->reply(s->c, route, b);
    zn_blob_drop(&b);
    return rc;
}

static void on_route_bytes(void *arg, zn_route route, uint64_t connection, const void *bytes,
                           size_t n)
{
    struct side *s = arg;
    assert_int_not_equal(connection, 0);
    s->connection = connection;
    s->route_n++;
    s->route = route;
    keep_text(s->route_text, bytes, n);
    if (s->echo)
        assert_int_equal(reply(s, route, bytes, n), 0);
}

static void on_count(void *arg, enum zn_counter counter)
{
    ((struct side *)arg)->counts[counter]++;
}

static int try_open(struct side *s, const zmqnet_peers *peers, int self, struct zmqnet_diag *diag)
{
    memset(s, 0, sizeof *s);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct zn_pattern_config config = {
        .peers = peers,
        .self = self,
        .message_max = MESSAGE_MAX,
        .epoll_fd = s->epoll_fd,
        .seed = 1,
        .sink = {s, on_up, on_lost, on_failed, on_writable, on_gap, on_link_bytes, on_route_bytes,
                 on_count},
    };
    int rc = router->open(&config, &s->c, diag);
    if (rc != 0) {
        close(s->epoll_fd);
        return rc;
    }
    for (int i = 0; i < SIDES_MAX; i++)
        if (!sides[i]) {
            sides[i] = s;
            return 0;
        }
    fail();
    return 0;
}

static void open_side(struct side *s, const zmqnet_peers *peers, int self)
{
    struct zmqnet_diag diag;
    int rc = try_open(s, peers, self, &diag);
    if (rc != 0)
        fail_msg("%s: %s", zmqnet_error_name(rc), diag.text);
}

static void close_side(struct side *s)
{
    for (int i = 0; i < SIDES_MAX; i++)
        if (sides[i] == s)
            sides[i] = NULL;
    router->close(&s->c);
    assert_null(s->c);
    close(s->epoll_fd);
}

static int wait_ms(const struct side *s, uint64_t now_us)
{
    if (router->pending(s->c))
        return 0;
    uint64_t at_us = router->next_us(s->c);
    if (at_us > now_us + 10 * ZN_MS)
        return 10;
    return at_us <= now_us ? 0 : (int)((at_us - now_us) / ZN_MS) + 1;
}

static void turn(struct side *s)
{
    struct epoll_event events[16];
    int n = epoll_wait(s->epoll_fd, events, 16, 0);
    for (int i = 0; i < n; i++)
        router->ready(s->c, (uint32_t)events[i].data.u64);
    router->turn(s->c, zn_clock_us());
}

static void drive(void)
{
    struct pollfd fds[SIDES_MAX];
    nfds_t n = 0;
    int timeout_ms = 10;
    for (int i = 0; i < SIDES_MAX; i++) {
        if (!sides[i])
            continue;
        int ms = wait_ms(sides[i], zn_clock_us());
        timeout_ms = ms < timeout_ms ? ms : timeout_ms;
        fds[n++] = (struct pollfd){.fd = sides[i]->epoll_fd, .events = POLLIN};
    }
    poll(fds, n, timeout_ms);
    for (int i = 0; i < SIDES_MAX; i++)
        if (sides[i])
            turn(sides[i]);
}

/* Drives until the condition holds; fails after the deadline. */
#define UNTIL(condition)                                                                           \
    for (uint64_t until_us = zn_clock_us() + DEADLINE_US; !(condition); drive())                   \
        if (zn_clock_us() > until_us)                                                              \
    fail_msg("line %d: not in time: %s", __LINE__, #condition)

static int send_text(struct side *s, int peer, const char *text)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(text, strlen(text), &b), 0);
    int rc = router->send(s->c, peer, b);
    zn_blob_drop(&b);
    return rc;
}

/* ---- peers, ports, children, plain connections ---- */

static int plain_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* Below the ephemeral range, where a connect could meet itself. */
static uint16_t free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t)(20000 + zn_rand_life() % 12000);
        struct sockaddr_in at = loopback(port);
        int fd = plain_socket();
        int rc = bind(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no free port");
    return 0;
}

static zmqnet_peers *add_peer(zmqnet_peers *p, const char *host, uint16_t port)
{
    size_t i = p->n++;
    snprintf(p->names[i], sizeof p->names[i], "peer%zu", i);
    snprintf(p->hosts[i], sizeof p->hosts[i], "%s", host);
    snprintf(p->endpoints[i], sizeof p->endpoints[i], "tcp://%s:%u", host, port);
    p->replicas[i] = (struct zmqnet_replica){.name = p->names[i],
                                             .endpoint = p->endpoints[i],
                                             .host = p->hosts[i],
                                             .port = port,
                                             .pid = -1};
    return p;
}

static zmqnet_peers *new_peers(unsigned n)
{
    static zmqnet_peers peers;
    memset(&peers, 0, sizeof peers);
    for (unsigned i = 0; i < n; i++)
        add_peer(&peers, "127.0.0.1", free_port());
    return &peers;
}

static pid_t spawn_child(uint16_t port)
{
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    char *argv[] = {"test_router", "child", text, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int child_main(const char *port)
{
    static zmqnet_peers peers;
    static struct side s;
    add_peer(&peers, "127.0.0.1", (uint16_t)strtoul(port, NULL, 10));
    open_side(&s, &peers, 0);
    s.echo = true;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also ends one that is stopped */
    for (pid_t parent = getppid(); getppid() == parent;)
        drive();
    return 0;
}

static int connect_plain(uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = plain_socket();
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
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

/* ---- tests: the good path ---- */

static void links_go_up_both_ways_and_carry_bytes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    a.echo = b.echo = true;
    router->want(a.c, 1);
    router->want(a.c, 1);
    router->want(b.c, 0);
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
    router->want(a.c, 1);
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
    router->want(a.c, 1);
    UNTIL(a.up == 1);
    struct zn_blob *big;
    assert_int_equal(zn_blob_make(100000, &big), 0);
    memset(big->data, 'x', big->bytes);
    assert_int_equal(router->send(a.c, 1, big), 0);
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
    router->want(a.c, 1);
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
    router->want(a.c, 1);
    UNTIL(a.up == 1);
    assert_int_equal(a.failed, 0);
    close_side(&a);
    close_side(&b);
}

/* ---- tests: bad input ---- */

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
    router->want(b.c, 0);
    UNTIL(b.up == 1);
    router->reset(b.c, 0);
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
    router->want(a->c, 0);
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

/* ---- tests: what is left over for the next turn ---- */

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

/* ---- tests: opening ---- */

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
    router->want(b.c, 1);
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

/* ---- tests: links that fail ---- */

static void a_refused_link_is_reported_and_comes_up_later(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    uint64_t before_us = zn_clock_us();
    router->want(a.c, 1);
    UNTIL(a.failed == 1);
    assert_true(zn_clock_us() - before_us < 200 * ZN_MS);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    UNTIL(a.failed == 3);
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
    router->want(a.c, 0);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_UNRESOLVED);
    close_side(&a);
}

static void a_peer_that_is_no_zeromq_is_reported(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    int listener = listen_plain(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    UNTIL(poll(&ready, 1, 0) == 1);
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(send(fd, "220 mail.example\r\n", 18, MSG_NOSIGNAL), 18);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_HANDSHAKE);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.failed == 2); /* This one connects and hears nothing. */
    assert_int_equal(a.why, ZN_WHY_HANDSHAKE);
    assert_true(zn_clock_us() - before_us < 3 * ZN_SECOND);
    close(fd);
    close(listener);
    close_side(&a);
}

static void a_killed_peer_is_lost_then_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    pid_t pid = spawn_child(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    UNTIL(a.up == 1);
    router->good(a.c, 0);
    a.failed = 0;
    end_child(pid);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.lost == 1);
    UNTIL(a.failed == 1);
    uint64_t took_us = zn_clock_us() - before_us;
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    if (took_us > 200 * ZN_MS)
        fail_msg("took %llu us", (unsigned long long)took_us);
    assert_int_equal(send_text(&a, 0, "x"), ZMQNET_ENEVERSENT);
    pid = spawn_child(peers->replicas[0].port);
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
    zmqnet_peers *peers = new_peers(1);
    pid_t pid = spawn_child(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    UNTIL(a.up == 1);
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
    zmqnet_peers *peers = new_peers(1);
    pid_t pid = spawn_child(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    UNTIL(a.up == 1);
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
    zmqnet_peers *peers = new_peers(1);
    pid_t pid = spawn_child(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    UNTIL(a.up == 1);
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

static void a_link_may_be_reset_from_within_the_sink(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, -1);
    open_side(&b, peers, 1);
    b.echo = true;
    router->want(a.c, 1);
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

static unsigned count_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
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
        router->want(a.c, i);
    UNTIL(a.up == LINKS);
    UNTIL(count_files() > 0);
    unsigned before = count_files();
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (int i = 1; i <= LINKS; i++) {
            router->good(a.c, i);
            router->reset(a.c, i);
        }
        UNTIL(a.up == LINKS * (round + 1));
    }
    UNTIL(count_files() <= before); /* libzmq closes in its own time. */
    assert_int_equal(a.failed + a.lost, 0);
    assert_int_equal(b.counts[ZN_COUNT_bad_handshake], 0);
    close_side(&a);
    close_side(&b);
}

/* 0: all went well. The parent's client is not touched. */
static int client_of_a_child(const zmqnet_peers *peers)
{
    struct side b;
    struct zmqnet_diag diag;
    memset(sides, 0, sizeof sides);
    alarm(5); /* libzmq would wait for threads that only the parent has */
    if (try_open(&b, peers, -1, &diag) != 0)
        return 1;
    router->want(b.c, 0);
    for (uint64_t until_us = zn_clock_us() + 2 * ZN_SECOND; b.up == 0; drive())
        if (zn_clock_us() > until_us)
            return 2;
    router->close(&b.c);
    return 0;
}

static void a_client_is_not_shared_with_a_child(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    pid_t server = spawn_child(peers->replicas[0].port);
    struct side a;
    open_side(&a, peers, -1);
    router->want(a.c, 0);
    UNTIL(a.up == 1);
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
            router->want(a.c, i);
        router->want(b.c, 0);
        for (int i = 0; i < turns; i++)
            drive();
        uint64_t before_us = zn_clock_us();
        close_side(&a);
        assert_true(zn_clock_us() - before_us < ZN_SECOND);
    }
    close_side(&b);
}

/* ---- tests: parts ---- */

static zn_route put(struct zn_routes *r, const char *text)
{
    return zn_routes_put(r, (const uint8_t *)text, strlen(text));
}

static bool knows(struct zn_routes *r, zn_route route, const char *text)
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
    zn_route a = put(r, "a"), b = put(r, longer), c = put(r, "c");
    assert_true(a != 0 && a != b && b != c);
    assert_int_equal(put(r, longer), b);
    assert_true(knows(r, a, "a"));
    zn_route d = put(r, "d");
    assert_false(knows(r, c, "c"));
    zn_route e = put(r, "e");
    assert_false(knows(r, b, longer));
    assert_true(knows(r, a, "a") && knows(r, d, "d") && knows(r, e, "e"));
    assert_int_not_equal(put(r, longer), b);
    assert_false(knows(r, UINT64_MAX, ""));
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
        zn_route route = put(r, text);
        assert_true(route != 0 && route != last);
        assert_true(knows(r, route, text));
        last = route;
    }
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

static void patterns_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(zn_pattern_find("router"), &zn_pattern_router);
    assert_ptr_equal(zn_pattern_find(NULL), &zn_pattern_router);
    assert_null(zn_pattern_find("rooter"));
}

/* After a test that failed: the next one must not drive what this one left. */
static int forget_sides(void **state)
{
    (void)state;
    memset(sides, 0, sizeof sides);
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_sides)

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        TEST(patterns_are_found_by_name),
        TEST(an_envelope_may_be_as_long_as_its_limit),
        TEST(the_least_recently_used_route_is_forgotten),
        TEST(the_route_table_bears_more_than_it_holds),
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
