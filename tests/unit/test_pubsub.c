/* SPDX-License-Identifier: MIT */
/*
 * The pubsub pattern over real sockets on loopback. Up to three carriers run in this process, each
 * with an epoll of its own as in the node; one poll() over these drives them all. A peer whose every
 * frame matters is played by four plain sockets of libzmq (struct foe), which share no code with the
 * pattern. What has to be killed or stopped is this program again, started as `test_pubsub child`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/rand.h"
#include "pattern/frames.h"
#include "pattern/pattern.h"
#include "pattern/socket.h"

#define SIDES_MAX 3
#define DEADLINE_US (10 * ZN_SECOND)
#define MESSAGE_MAX 1000

extern char **environ;
static const struct zn_pattern *const pubsub = &zn_pattern_pubsub;

/* ---- carriers ---- */

struct side {
    struct zn_carrier *c;
    int epoll_fd;
    bool echo;                                /* answer what comes on a route at once, likewise */
    unsigned up, lost, failed, writable, gap; /* calls of the sink */
    int failed_peer;
    enum zn_why why;
    unsigned link_n, route_n; /* messages that came, and the last one */
    char link_text[64], route_text[64];
    zn_route route;
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
    struct side *s = arg;
    s->failed++;
    s->failed_peer = peer;
    s->why = why;
}

static void on_writable(void *arg, int peer)
{
    (void)peer;
    ((struct side *)arg)->writable++;
}

static void on_gap(void *arg, int peer)
{
    (void)peer;
    ((struct side *)arg)->gap++;
}

static void keep_text(char *text, const void *bytes, size_t n)
{
    n = n < 63 ? n : 63;
    memcpy(text, bytes, n);
    text[n] = '\0';
}

static void on_link_bytes(void *arg, int peer, const void *bytes, size_t n)
{
    (void)peer;
    struct side *s = arg;
    s->link_n++;
    keep_text(s->link_text, bytes, n);
}

static int reply(struct side *s, zn_route route, const void *bytes, size_t n)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(bytes, n, &b), 0);
    int rc = pubsub->reply(s->c, route, b);
    zn_blob_drop(&b);
    return rc;
}

static void on_route_bytes(void *arg, zn_route route, uint64_t connection, const void *bytes,
                           size_t n)
{
    struct side *s = arg;
    assert_int_not_equal(connection, 0);
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

static unsigned counts_of(const struct side *s)
{
    unsigned all = 0;
    for (int i = 0; i < ZN_COUNTERS_N; i++)
        all += s->counts[i];
    return all;
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
    int rc = pubsub->open(&config, &s->c, diag);
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
    for (int i = 0; i < (int)peers->n; i++)
        if (i != self)
            pubsub->want(s->c, i);
}

static void close_side(struct side *s)
{
    for (int i = 0; i < SIDES_MAX; i++)
        if (sides[i] == s)
            sides[i] = NULL;
    pubsub->close(&s->c);
    assert_null(s->c);
    close(s->epoll_fd);
}

static int wait_ms(const struct side *s, uint64_t now_us)
{
    if (pubsub->pending(s->c))
        return 0;
    uint64_t at_us = pubsub->next_us(s->c);
    if (at_us > now_us + 10 * ZN_MS)
        return 10;
    return at_us <= now_us ? 0 : (int)((at_us - now_us) / ZN_MS) + 1;
}

static void turn(struct side *s)
{
    struct epoll_event events[16];
    int n = epoll_wait(s->epoll_fd, events, 16, 0);
    for (int i = 0; i < n; i++)
        pubsub->ready(s->c, (uint32_t)events[i].data.u64);
    pubsub->turn(s->c, zn_clock_us());
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

static struct zn_blob *blob(const char *text)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(text, strlen(text), &b), 0);
    return b;
}

static int send_text(struct side *s, int peer, const char *text)
{
    struct zn_blob *b = blob(text);
    int rc = pubsub->send(s->c, peer, b);
    zn_blob_drop(&b);
    return rc;
}

static int send_to(struct side *s, uint64_t peers, const char *text)
{
    struct zn_blob *b = blob(text);
    int rc = 0;
    for (; peers != 0 && rc == 0; peers &= peers - 1)
        rc = pubsub->send(s->c, __builtin_ctzll(peers), b);
    zn_blob_drop(&b);
    return rc;
}

/* ---- peers and ports ---- */

/* Below the ephemeral range, where a connect could meet itself. */
static uint16_t free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t)(20000 + zn_rand_life() % 12000);
        struct sockaddr_in at = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = bind(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no free port");
    return 0;
}

static void add_peer(zmqnet_peers *p, uint16_t port, uint16_t pub, uint16_t ack)
{
    size_t i = p->n++;
    snprintf(p->names[i], sizeof p->names[i], "peer%zu", i);
    snprintf(p->hosts[i], sizeof p->hosts[i], "127.0.0.1");
    snprintf(p->endpoints[i], sizeof p->endpoints[i], "tcp://127.0.0.1:%u", port);
    p->replicas[i] = (struct zmqnet_replica){.name = p->names[i],
                                             .endpoint = p->endpoints[i],
                                             .host = p->hosts[i],
                                             .port = port,
                                             .pid = -1,
                                             .pub_port = pub,
                                             .ack_port = ack};
}

static zmqnet_peers *new_peers(unsigned n)
{
    static zmqnet_peers peers;
    uint16_t ports[3 * 8];
    assert_true(n <= 8);
    for (unsigned i = 0; i < 3 * n; i++) {
        ports[i] = free_port();
        for (unsigned k = 0; k < i; k++)
            if (ports[k] == ports[i])
                return new_peers(n);
    }
    memset(&peers, 0, sizeof peers);
    for (unsigned i = 0; i < n; i++)
        add_peer(&peers, ports[3 * i], ports[3 * i + 1], ports[3 * i + 2]);
    return &peers;
}

/* ---- a peer by libzmq ---- */

struct foe {
    void *context;
    void *pub, *pull; /* what it listens with */
    void *sub, *push; /* what it says to us */
    char name[16];    /* whom it plays */
    uint64_t nonce;   /* of our subscription there */
    uint64_t to_all;  /* publications to all, of who counts them */
    unsigned subscribed, reports, answers;
    char answer[64];
};

static void *foe_socket(struct foe *f, int type)
{
    void *s = zmq_socket(f->context, type);
    assert_non_null(s);
    zn_socket_set_int(s, ZMQ_LINGER, 0);
    return s;
}

static void at_port(char *endpoint, uint16_t port)
{
    snprintf(endpoint, 32, "tcp://127.0.0.1:%u", port);
}

static void foe_connect(struct foe *f, void **s, int type, uint16_t port)
{
    char endpoint[32];
    at_port(endpoint, port);
    *s = foe_socket(f, type);
    assert_int_equal(zmq_connect(*s, endpoint), 0);
}

static void foe_bind(struct foe *f, void **s, int type, uint16_t port)
{
    char endpoint[32];
    at_port(endpoint, port);
    *s = foe_socket(f, type);
    assert_int_equal(zmq_bind(*s, endpoint), 0);
}

/* Plays peer `i` towards peer 0. */
static void open_foe(struct foe *f, const zmqnet_peers *peers, int i)
{
    memset(f, 0, sizeof *f);
    f->context = zmq_ctx_new();
    snprintf(f->name, sizeof f->name, "%s", peers->replicas[i].name);
    foe_bind(f, &f->pub, ZMQ_XPUB, peers->replicas[i].pub_port);
    zn_socket_set_int(f->pub, ZMQ_XPUB_VERBOSE, 1);
    foe_bind(f, &f->pull, ZMQ_PULL, peers->replicas[i].ack_port);
    foe_connect(f, &f->push, ZMQ_PUSH, peers->replicas[0].ack_port);
}

static void close_foe(struct foe *f)
{
    void *all[] = {f->pub, f->pull, f->sub, f->push};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i])
            zmq_close(all[i]);
    zmq_ctx_term(f->context);
}

static void foe_subscribe(struct foe *f, const zmqnet_peers *peers, uint64_t nonce)
{
    uint8_t topic[ZN_TOPIC_MAX];
    size_t n = zn_topic_write(topic, f->name, nonce);
    if (!f->sub)
        foe_connect(f, &f->sub, ZMQ_SUB, peers->replicas[0].pub_port);
    assert_int_equal(zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, "A", 1), 0);
    assert_int_equal(zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, topic, n), 0);
}

static bool foe_heard_subscription(struct foe *f)
{
    uint8_t frame[256];
    char name[ZN_NAME_MAX + 1];
    int n;
    while ((n = zmq_recv(f->pub, frame, sizeof frame, ZMQ_DONTWAIT)) > 0) {
        if (frame[0] != 1 || !zn_topic_read(frame + 1, (size_t)n - 1, name, &f->nonce))
            continue;
        assert_string_equal(name, "peer0");
        f->subscribed++;
        return true;
    }
    return false;
}

static void foe_publish(struct foe *f, bool to_all, uint64_t all, uint64_t own, const char *body)
{
    uint8_t head[ZN_HEAD_MAX] = "A";
    size_t n = to_all ? 1 : zn_topic_write(head, "peer0", f->nonce);
    zn_sequence_write(head + n, (struct zn_sequence){all, own});
    n += ZN_SEQUENCE_BYTES;
    assert_int_equal(zmq_send(f->pub, head, n, ZMQ_SNDMORE), (int)n);
    assert_int_equal(zmq_send(f->pub, body, strlen(body), 0), (int)strlen(body));
}

/* Takes one thing that we have said to its ack port. */
static bool foe_heard(struct foe *f)
{
    uint8_t head[64], body[64];
    struct zn_ack_head ack;
    int n = zmq_recv(f->pull, head, sizeof head, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    assert_true(zn_ack_head_read(head, (size_t)n, &ack));
    assert_true(ack.nonce == f->nonce);
    int more = 0;
    size_t more_bytes = sizeof more;
    zmq_getsockopt(f->pull, ZMQ_RCVMORE, &more, &more_bytes);
    assert_int_equal(more, ack.kind == ZN_ACK_BODY);
    if (ack.kind == ZN_ACK_GAP) {
        f->reports++;
        return true;
    }
    n = zmq_recv(f->pull, body, sizeof body, ZMQ_DONTWAIT);
    assert_true(n >= 0);
    keep_text(f->answer, body, (size_t)n);
    f->answers++;
    return true;
}

static void foe_acks(struct foe *f, int kind, uint64_t nonce, const char *body)
{
    uint8_t head[ZN_ACK_HEAD_BYTES];
    zn_ack_head_write(head, (struct zn_ack_head){(enum zn_ack_kind)kind, nonce});
    assert_int_equal(zmq_send(f->push, head, sizeof head, body ? ZMQ_SNDMORE : 0), sizeof head);
    if (body)
        assert_int_equal(zmq_send(f->push, body, strlen(body), 0), (int)strlen(body));
}

/* A socket that subscribes to the foe's own topic beside f->sub. When this returns it was read. */
static void *foe_subscribe_again(struct foe *f, struct side *a, const zmqnet_peers *peers,
                                 uint64_t nonce)
{
    void *before = f->sub;
    unsigned bad = a->counts[ZN_COUNT_bad_topic];
    f->sub = NULL;
    foe_subscribe(f, peers, nonce);
    zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, "no topic", 8);
    UNTIL(a->counts[ZN_COUNT_bad_topic] == bad + 1);
    void *second = f->sub;
    f->sub = before;
    return second;
}

/* One replica, peer 0, and one foe, peer 1; they are subscribed to each other. */
static zmqnet_peers *open_pair(struct side *a, struct foe *f, uint64_t nonce)
{
    zmqnet_peers *peers = new_peers(2);
    open_foe(f, peers, 1);
    open_side(a, peers, 0);
    foe_subscribe(f, peers, nonce);
    UNTIL(a->up == 1);
    UNTIL(foe_heard_subscription(f));
    return peers;
}

static void close_pair(struct side *a, struct foe *f)
{
    close_side(a);
    close_foe(f);
}

/* ---- a child ---- */

static pid_t spawn_child(const zmqnet_peers *peers)
{
    char text[6][8];
    char *argv[9] = {"test_pubsub", "child"};
    for (int i = 0; i < 6; i++) {
        const struct zmqnet_replica *r = &peers->replicas[i / 3];
        const uint16_t ports[] = {r->port, r->pub_port, r->ack_port};
        snprintf(text[i], sizeof text[i], "%u", ports[i % 3]);
        argv[2 + i] = text[i];
    }
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Echoes, and says something each time that its link comes up. */
static int child_main(char **ports)
{
    static zmqnet_peers peers;
    static struct side s;
    uint16_t port[6];
    for (int i = 0; i < 6; i++)
        port[i] = (uint16_t)strtoul(ports[i], NULL, 10);
    add_peer(&peers, port[0], port[1], port[2]);
    add_peer(&peers, port[3], port[4], port[5]);
    open_side(&s, &peers, 1);
    s.echo = true;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also ends one that is stopped */
    unsigned greeted = 0;
    for (pid_t parent = getppid(); getppid() == parent; drive())
        if (s.up > greeted) {
            greeted = s.up;
            send_text(&s, 0, "hello");
        }
    return 0;
}

/* ---- tests: parts ---- */

static void topics_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        size_t n;
    } bad[] = {
        {"", 0},
        {"A", 1},
        {"T", 1},
        {"Tx\0"
         "1234567",
         10},
        {"T\0"
         "12345678",
         10},
        {"Xx\0"
         "12345678",
         11},
        {"Tx\0"
         "\0\0\0\0\0\0\0\0",
         11},
        {"Tx\0"
         "123456789",
         12},
        {"Txx123456789", 12},
    };
    uint8_t topic[ZN_TOPIC_MAX + 1];
    char name[ZN_NAME_MAX + 1], longest[ZN_NAME_MAX + 1];
    uint64_t nonce;
    memset(longest, 'n', ZN_NAME_MAX);
    longest[ZN_NAME_MAX] = '\0';
    size_t n = zn_topic_write(topic, longest, 0x0100000000000002);
    assert_int_equal(n, ZN_TOPIC_MAX);
    assert_true(zn_topic_read(topic, n, name, &nonce));
    assert_string_equal(name, longest);
    assert_true(nonce == 0x0100000000000002);
    assert_int_equal(topic[n - 8], 2);
    assert_false(zn_topic_read(topic, n + 1, name, &nonce));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(zn_topic_read((const uint8_t *)bad[i].topic, bad[i].n, name, &nonce));
}

static void the_pattern_is_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(zn_pattern_find("pubsub"), pubsub);
    assert_null(pubsub->mixes_with);
    assert_false(pubsub->lock_step);
}

/* ---- tests: the good path ---- */

static void links_go_up_by_subscription_and_carry_bytes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    b.echo = true;
    assert_int_equal(send_text(&a, 1, "too early"), ZMQNET_ENEVERSENT);
    UNTIL(a.up == 1 && b.up == 1);
    assert_int_equal(send_text(&a, 1, "from a"), 0);
    UNTIL(a.link_n == 1);
    assert_string_equal(b.route_text, "from a");
    assert_string_equal(a.link_text, "from a");
    assert_int_equal(send_text(&b, 0, "from b"), 0);
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    assert_int_equal(send_text(&b, 0, "again"), 0);
    UNTIL(a.route_n == 2);
    assert_true(a.route == route);
    assert_int_equal(reply(&a, route, "late", 4), 0);
    UNTIL(b.link_n == 1);
    assert_string_equal(b.link_text, "late");
    assert_int_equal(a.failed + a.lost + b.lost, 0);
    assert_int_equal(counts_of(&a) + counts_of(&b), 0);
    close_side(&a);
    UNTIL(b.lost == 1);
    UNTIL(b.why == ZN_WHY_REFUSED);
    close_side(&b);
}

/* A large one is not copied: the reference must come back. */
static void a_large_frame_is_shared_and_released(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    open_side(&c, peers, 2);
    b.echo = c.echo = true;
    UNTIL(a.up == 2);
    struct zn_blob *big;
    assert_int_equal(zn_blob_make(100000, &big), 0);
    memset(big->data, 'x', big->bytes);
    assert_int_equal(pubsub->send(a.c, 1, big), 0);
    assert_int_equal(pubsub->send(a.c, 2, big), 0);
    UNTIL(a.link_n == 2 && atomic_load(&big->refs) == 1);
    zn_blob_drop(&big);
    close_side(&a);
    close_side(&b);
    close_side(&c);
}

static bool observed(void *sub, char topic, uint64_t all, uint64_t own, const char *body)
{
    uint8_t head[ZN_HEAD_MAX];
    char text[64];
    int n = zmq_recv(sub, head, sizeof head, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    assert_int_equal(head[0], topic);
    assert_int_equal(n, topic == 'A' ? 17 : 1 + 5 + 1 + 8 + 16);
    struct zn_sequence sequence = zn_sequence_read(head + n - ZN_SEQUENCE_BYTES);
    n = zmq_recv(sub, text, sizeof text, ZMQ_DONTWAIT);
    keep_text(text, text, (size_t)n);
    assert_string_equal(text, body);
    assert_true(sequence.all == all && sequence.own == own);
    return true;
}

static void what_goes_to_all_is_published_once(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    struct foe f = {.context = zmq_ctx_new()};
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    open_side(&c, peers, 2);
    UNTIL(a.up == 2);
    foe_connect(&f, &f.sub, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(f.sub, ZMQ_SUBSCRIBE, "", 0);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    assert_int_equal(send_to(&a, 1 << 1, "one"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "first"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "all"), 0);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "all"), 0); /* equal, but not the same */
    assert_int_equal(send_to(&a, 1 << 2, "two"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "one"));
    UNTIL(observed(f.sub, 'T', 0, 2, "first"));
    UNTIL(observed(f.sub, 'T', 0, 1, "first"));
    UNTIL(observed(f.sub, 'A', 1, 0, "all"));
    UNTIL(observed(f.sub, 'A', 2, 0, "all"));
    UNTIL(observed(f.sub, 'T', 2, 2, "two"));
    UNTIL(b.route_n == 4 && c.route_n == 4);
    close_side(&c);
    UNTIL(a.lost == 1);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "x"), ZMQNET_ENEVERSENT);
    UNTIL(observed(f.sub, 'T', 2, 3, "x"));
    UNTIL(b.route_n == 5);
    assert_int_equal(counts_of(&b), 0);
    close_side(&a);
    close_side(&b);
    zmq_close(f.sub);
    zmq_ctx_term(f.context);
}

/* The topic of the next publication that an observer sees; '\0': there is none. */
static char observed_topic(void *sub)
{
    uint8_t head[ZN_HEAD_MAX], body[64];
    if (zmq_recv(sub, head, sizeof head, ZMQ_DONTWAIT) < 0)
        return '\0';
    assert_true(zmq_recv(sub, body, sizeof body, ZMQ_DONTWAIT) >= 0);
    return (char)head[0];
}

/* Says something to all three. Returns on which topic it went out, and reads all that did. */
static char topic_of_what_goes_to_all(struct side *a, void *observer)
{
    char topic, again;
    assert_int_equal(send_to(a, 1 << 1 | 1 << 2 | 1 << 3, "x"), 0);
    UNTIL((topic = observed_topic(observer)) != '\0');
    for (int others = topic == 'T' ? 2 : 0; others > 0; others--) {
        UNTIL((again = observed_topic(observer)) != '\0');
        assert_int_equal(again, 'T');
    }
    return topic;
}

/* By its own topic a subscriber sees that it is known. */
static void each_hears_its_own_topic_now_and_then(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(4);
    struct side a, b, c;
    struct foe f;
    open_foe(&f, peers, 3);
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    open_side(&c, peers, 2);
    foe_subscribe(&f, peers, 7);
    UNTIL(a.up == 3);
    void *observer = NULL;
    foe_connect(&f, &observer, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(observer, ZMQ_SUBSCRIBE, "", 0);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    unsigned sent = 0;
    uint64_t named_us[3] = {0};
    for (int named = 0; named < 3; sent++)
        if (topic_of_what_goes_to_all(&a, observer) == 'T')
            named_us[named++] = zn_clock_us();
    assert_true(named_us[2] - named_us[1] >= 900 * ZN_MS);
    assert_true(named_us[2] - named_us[1] < 2 * ZN_SECOND);
    assert_true(sent > 100);
    UNTIL(b.route_n == sent && c.route_n == sent);
    assert_int_equal(counts_of(&b) + counts_of(&c), 0);
    close_side(&a);
    close_side(&b);
    close_side(&c);
    zmq_close(observer);
    close_foe(&f);
}

/* Who is held back after a reset still hears what goes to all: nothing does then. */
static void a_peer_that_is_reset_is_not_told_what_others_are(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b, c;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    open_side(&c, peers, 2);
    UNTIL(a.up == 2);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "taken back from c"), 0);
    pubsub->reset(a.c, 2);
    UNTIL(b.route_n == 1);
    UNTIL(a.up == 3);
    assert_int_equal(send_to(&a, 1 << 1 | 1 << 2, "x"), 0);
    UNTIL(b.route_n == 2 && c.route_n == 1);
    assert_string_equal(c.route_text, "x");
    assert_int_equal(counts_of(&b) + counts_of(&c), 0);
    close_side(&a);
    close_side(&b);
    close_side(&c);
}

static void what_was_sent_before_close_leaves(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    open_side(&b, peers, 1);
    UNTIL(a.up == 1 && b.up == 1);
    assert_int_equal(send_text(&b, 0, "question"), 0);
    UNTIL(a.route_n == 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send_text(&a, 1, "bye"), 0);
    uint64_t before_us = zn_clock_us();
    pubsub->pending(a.c);
    UNTIL(b.route_n == 100);
    assert_int_equal(send_text(&a, 1, "last"), 0);
    assert_int_equal(reply(&a, a.route, "answer", 6), 0);
    close_side(&a);
    assert_true(zn_clock_us() - before_us < ZN_SECOND);
    UNTIL(b.link_n == 1);
    close_side(&b);
}

static void clients_are_served_as_in_every_pattern(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(1);
    struct side a;
    struct foe f = {.context = zmq_ctx_new()};
    open_side(&a, peers, 0);
    a.echo = true;
    foe_connect(&f, &f.sub, ZMQ_REQ, peers->replicas[0].port);
    assert_int_equal(zmq_send(f.sub, "hello", 5, 0), 5);
    char text[8];
    UNTIL(zmq_recv(f.sub, text, sizeof text, ZMQ_DONTWAIT) == 5);
    zmq_close(f.sub);
    zmq_ctx_term(f.context);
    close_side(&a);
}

/* ---- tests: links that fail ---- */

static void a_refused_peer_is_reported_and_found_at_once_when_it_starts(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    UNTIL(a.failed == 6); /* the next try is 1.2 s away, at least */
    open_side(&b, peers, 1);
    uint64_t before_us = zn_clock_us();
    UNTIL(a.up == 1 && b.up == 1);
    assert_true(zn_clock_us() - before_us < 900 * ZN_MS);
    assert_int_equal(a.lost, 0);
    close_side(&a);
    close_side(&b);
}

static void a_peer_that_does_not_subscribe_is_reported_once(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    open_foe(&f, peers, 1);
    open_side(&a, peers, 0);
    UNTIL(a.failed == 1);
    assert_int_equal(a.why, ZN_WHY_NO_HELLO);
    assert_int_equal(a.up, 0);
    foe_subscribe(&f, peers, 7);
    UNTIL(a.up == 1);
    assert_int_equal(a.failed, 1);
    close_pair(&a, &f);
}

static void a_peer_that_unsubscribes_is_lost(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    zmq_close(f.sub);
    f.sub = NULL;
    UNTIL(a.lost == 1);
    assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    assert_int_equal(a.failed + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* What waits takes the place of what does not answer, which may end later than its peer. */
static void a_second_subscription_replaces_a_silent_one(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    uint64_t before_us = zn_clock_us();
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    foe_acks(&f, ZN_ACK_BODY, 7, "the last word");
    UNTIL(a.link_n == 1);
    UNTIL(a.up == 2);
    assert_true(zn_clock_us() - before_us >= 2400 * ZN_MS);
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "old");
    foe_acks(&f, ZN_ACK_BODY, 8, "new");
    UNTIL(a.link_n == 2);
    assert_string_equal(a.link_text, "new");
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(send_text(&a, 1, "x"), 0);
    UNTIL(observed(second, 'T', 0, 1, "x"));
    zmq_close(f.sub);
    f.sub = NULL;
    zmq_close(foe_subscribe_again(&f, &a, peers, 9)); /* what came before was read, too */
    assert_int_equal(a.lost, 1);
    zmq_close(second);
    UNTIL(a.lost == 2);
    assert_int_equal(a.counts[ZN_COUNT_name_clash], 0);
    close_pair(&a, &f);
}

static void a_second_subscription_follows_the_first_at_once(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.lost, 0);
    assert_int_equal(send_text(&a, 1, "to the first"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "to the first"));
    uint64_t before_us = zn_clock_us();
    zmq_close(f.sub);
    f.sub = second;
    UNTIL(a.up == 2);
    assert_true(zn_clock_us() - before_us < 500 * ZN_MS);
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

/* Always false. */
static bool foe_answers_now_and_then(struct foe *f, uint64_t nonce, uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    *at_us = zn_clock_us() + 50 * ZN_MS;
    foe_acks(f, ZN_ACK_BODY, nonce, "answer");
    return false;
}

/* Two replicas of one name: the second is not heard, also when the first has ended. */
static void a_second_subscription_clashes_with_one_that_answers(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    uint64_t before_us = zn_clock_us(), answer_us = 0;
    void *second = foe_subscribe_again(&f, &a, peers, 8);
    UNTIL(a.counts[ZN_COUNT_name_clash] == 1 || foe_answers_now_and_then(&f, 7, &answer_us));
    assert_true(zn_clock_us() - before_us >= ZN_SECOND);
    assert_int_equal(send_text(&a, 1, "to the first"), 0);
    UNTIL(observed(f.sub, 'T', 0, 1, "to the first"));
    unsigned heard = a.link_n;
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    foe_acks(&f, ZN_ACK_BODY, 7, "the first's");
    UNTIL(strcmp(a.link_text, "the first's") == 0);
    assert_true(a.link_n > heard);
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(a.lost, 0);
    zmq_close(f.sub);
    f.sub = second;
    UNTIL(a.lost == 1);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.counts[ZN_COUNT_name_clash], 1);
    close_pair(&a, &f);
}

/* libzmq at this port has been round once more since this was called. */
static void wait_for_a_round(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    close(fd);
}

/* It is all there in one turn: as many answers as may be open, and the end of who has answered. */
static void answers_are_read_before_the_end_is_believed(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    uint8_t topic[ZN_TOPIC_MAX];
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    for (int i = 0; i < ZN_WINDOW_MESSAGES_MAX; i++)
        foe_acks(&f, ZN_ACK_BODY, 7, "answer");
    zmq_setsockopt(f.sub, ZMQ_UNSUBSCRIBE, topic, zn_topic_write(topic, f.name, 7));
    zn_socket_set_int(f.sub, ZMQ_LINGER, -1);
    zn_socket_set_int(f.push, ZMQ_LINGER, -1);
    close_foe(&f);
    for (int round = 0; round < 20; round++)
        wait_for_a_round(peers->replicas[0].ack_port);
    UNTIL(a.lost == 1);
    assert_int_equal(a.link_n, ZN_WINDOW_MESSAGES_MAX);
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
}

/* As turn(), but what epoll says of one descriptor comes late. */
static void turn_without(struct side *s, uint64_t token)
{
    struct epoll_event events[16];
    int n = epoll_wait(s->epoll_fd, events, 16, 0);
    for (int i = 0; i < n; i++)
        if (events[i].data.u64 != token)
            pubsub->ready(s->c, (uint32_t)events[i].data.u64);
    pubsub->turn(s->c, zn_clock_us());
}

/* A connection is refused, the peer starts and subscribes, and only then is the refusal seen. */
static void a_late_refusal_is_not_the_new_lifes(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    open_side(&a, peers, 0);
    UNTIL(a.failed == 1);
    while (pubsub->next_us(a.c) > zn_clock_us())
        continue;
    turn_without(&a, 1);
    open_foe(&f, peers, 1);
    foe_subscribe(&f, peers, 7);
    for (uint64_t end_us = zn_clock_us() + DEADLINE_US; a.up == 0 && zn_clock_us() < end_us;)
        turn_without(&a, 1);
    assert_int_equal(a.up, 1);
    assert_int_equal(a.failed, 1);
    UNTIL(foe_heard_subscription(&f));
    assert_int_equal(a.lost, 0);
    foe_acks(&f, ZN_ACK_BODY, 7, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

/* Its ack port refuses: that process is gone, and its subscription only not yet. */
static void a_refused_peer_is_gone_though_its_subscription_stands(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    zmq_close(f.pull);
    f.pull = NULL;
    UNTIL(a.failed >= 1);
    assert_int_equal(a.why, ZN_WHY_REFUSED);
    assert_int_equal(a.lost, 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "x");
    UNTIL(a.counts[ZN_COUNT_bad_ack] == 1);
    foe_bind(&f, &f.pull, ZMQ_PULL, peers->replicas[1].ack_port);
    UNTIL(foe_heard_subscription(&f));
    assert_int_equal(a.up, 1);
    zmq_close(f.sub);
    f.sub = NULL;
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    close_pair(&a, &f);
}

static void a_reset_link_comes_back_after_a_backoff(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (unsigned i = 1; i <= 3; i++) { /* 50, 100, 200 ms, less a quarter */
        uint64_t before_us = zn_clock_us();
        pubsub->reset(a.c, 1);
        pubsub->reset(a.c, 1);
        assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
        foe_acks(&f, ZN_ACK_BODY, 7, "dropped");
        UNTIL(a.up == 1 + i);
        assert_true(zn_clock_us() - before_us >= (50 * ZN_MS << (i - 1)) * 3 / 4);
    }
    pubsub->good(a.c, 1);
    uint64_t before_us = zn_clock_us();
    pubsub->reset(a.c, 1);
    UNTIL(a.up == 5);
    assert_true(zn_clock_us() - before_us < 200 * ZN_MS);
    foe_acks(&f, ZN_ACK_BODY, 7, "heard");
    UNTIL(a.link_n >= 1);
    assert_string_equal(a.link_text, "heard");
    assert_int_equal(a.lost + a.failed + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* A new subscription does not cut the back-off short. */
static void a_reset_link_takes_the_newest_subscription(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    pubsub->reset(a.c, 1);
    foe_subscribe(&f, peers, 8);
    UNTIL(a.up == 2);
    assert_int_equal(a.lost, 0);
    foe_acks(&f, ZN_ACK_BODY, 8, "x");
    UNTIL(a.link_n == 1);
    close_pair(&a, &f);
}

static void a_killed_peer_is_lost_then_refused_and_comes_back(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_side(&a, peers, 0);
    for (unsigned life = 1; life <= 3; life++) {
        UNTIL(a.up == life && a.route_n == life);
        zn_route route = a.route;
        assert_int_equal(reply(&a, route, "x", 1), 0);
        assert_int_equal(send_text(&a, 1, "again"), 0);
        UNTIL(a.link_n == life);
        a.failed = 0;
        pubsub->good(a.c, 1);
        end_child(pid);
        uint64_t before_us = zn_clock_us();
        UNTIL(a.lost == life && a.failed > 0);
        assert_true(zn_clock_us() - before_us < 500 * ZN_MS);
        assert_int_equal(a.why, ZN_WHY_REFUSED);
        assert_int_equal(send_text(&a, 1, "x"), ZMQNET_ENEVERSENT);
        assert_int_equal(reply(&a, route, "x", 1), ZMQNET_ENEVERSENT);
        pid = spawn_child(peers);
    }
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
    end_child(pid);
}

/* Its silence is not taken for the end of our subscription: what it sends later finds its route. */
static void a_stopped_peer_keeps_its_connection(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_side(&a, peers, 0);
    UNTIL(a.up == 1 && a.route_n == 1);
    kill(pid, SIGSTOP);
    assert_int_equal(send_text(&a, 1, "to one that is stopped"), 0);
    uint64_t look_us = zn_clock_us() + 3500 * ZN_MS; /* longer than silence is borne */
    UNTIL(zn_clock_us() > look_us);
    assert_int_equal(a.lost + a.link_n, 0);
    assert_int_equal(reply(&a, a.route, "x", 1), 0);
    kill(pid, SIGCONT);
    UNTIL(a.link_n == 1);
    assert_int_equal(a.lost, 0);
    assert_int_equal(reply(&a, a.route, "x", 1), 0);
    close_side(&a);
    end_child(pid);
}

/* Always false. */
static bool answers_now_and_then(struct side *a, zn_route route, uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    *at_us = zn_clock_us() + 300 * ZN_MS;
    assert_int_equal(reply(a, route, "part", 4), 0);
    return false;
}

/* Always false. It says something to all, and is answered. */
static bool talks_to_all_now_and_then(struct foe *f, struct side *a, zn_route route,
                                      uint64_t *at_us)
{
    if (zn_clock_us() < *at_us)
        return false;
    foe_publish(f, true, ++f->to_all, 0, "to all");
    return answers_now_and_then(a, route, at_us);
}

/* Nobody answers it, and nobody asks it: what goes to all does not show that it is known. */
static void a_subscription_that_hears_only_what_goes_to_all_is_made_anew(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "known");
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    uint64_t before_us = zn_clock_us(), first = f.nonce, talk_us = 0;
    UNTIL(foe_heard_subscription(&f) || talks_to_all_now_and_then(&f, &a, route, &talk_us));
    assert_true(zn_clock_us() - before_us >= 3 * ZN_SECOND);
    assert_true(f.nonce != first);
    close_pair(&a, &f);
}

/* Two that run and say nothing: of one we hear nothing at all, the other is heard by our answers. */
static void a_silent_subscription_is_made_anew(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a;
    struct foe f, busy;
    open_foe(&f, peers, 1);
    open_foe(&busy, peers, 2);
    open_side(&a, peers, 0);
    UNTIL(foe_heard_subscription(&busy));
    foe_publish(&busy, false, 0, 1, "a long question");
    UNTIL(a.route_n == 1);
    UNTIL(foe_heard_subscription(&f));
    zn_route route = a.route;
    uint64_t before_us = zn_clock_us(), first = f.nonce, answer_us = 0;
    UNTIL(foe_heard_subscription(&f) || answers_now_and_then(&a, route, &answer_us));
    assert_true(zn_clock_us() - before_us >= 3 * ZN_SECOND);
    assert_true(f.nonce != first);
    foe_publish(&f, false, 9, 1, "new");
    UNTIL(a.route_n == 2);
    assert_string_equal(a.route_text, "new");
    foe_publish(&busy, false, 0, 2, "old");
    UNTIL(a.route_n == 3);
    assert_true(a.route == route);
    assert_int_equal(counts_of(&a), 0);
    close_side(&a);
    close_foe(&f);
    close_foe(&busy);
}

static void a_peer_that_is_heard_is_not_made_anew(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "first");
    UNTIL(a.route_n == 1);
    zn_route route = a.route;
    for (uint64_t own = 2; own <= 3; own++) { /* each pause is one that is borne */
        uint64_t look_us = zn_clock_us() + 1900 * ZN_MS;
        UNTIL(zn_clock_us() > look_us);
        foe_publish(&f, false, 0, own, "ping");
        UNTIL(a.route_n == own);
        assert_true(a.route == route);
    }
    assert_false(foe_heard_subscription(&f));
    assert_int_equal(counts_of(&a), 0);
    close_pair(&a, &f);
}

static void the_old_route_ends_with_its_connection(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 1, "question");
    UNTIL(a.route_n == 1);
    zn_route old = a.route;
    assert_int_equal(reply(&a, old, "answer", 6), 0);
    UNTIL(foe_heard(&f));
    assert_string_equal(f.answer, "answer");
    zmq_close(f.pull);
    f.pull = NULL;
    UNTIL(reply(&a, old, "x", 1) == ZMQNET_ENEVERSENT && a.failed > 0);
    foe_bind(&f, &f.pull, ZMQ_PULL, peers->replicas[1].ack_port);
    UNTIL(foe_heard_subscription(&f));
    foe_publish(&f, false, 3, 1, "new");
    UNTIL(a.route_n == 2);
    assert_true(a.route != old);
    assert_int_equal(reply(&a, old, "x", 1), ZMQNET_ENEVERSENT);
    assert_int_equal(reply(&a, a.route, "y", 1), 0);
    assert_int_equal(reply(&a, a.route | 63, "y", 1), ZMQNET_ENEVERSENT);
    UNTIL(f.answers == 2 || (foe_heard(&f), false));
    assert_string_equal(f.answer, "y");
    close_pair(&a, &f);
}

static void answers_to_a_peer_that_does_not_read_are_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    pid_t pid = spawn_child(peers);
    struct side a;
    open_side(&a, peers, 0);
    UNTIL(a.route_n == 1);
    a.failed = 0;
    kill(pid, SIGSTOP);
    char text[1000];
    memset(text, 'x', sizeof text);
    int rc = 0;
    for (unsigned n = 0; rc == 0; n++) {
        rc = reply(&a, a.route, text, sizeof text);
        if (n % 64 == 0)
            drive();
    }
    assert_int_equal(rc, ZMQNET_EFULL);
    kill(pid, SIGCONT);
    UNTIL(reply(&a, a.route, "x", 1) == 0);
    assert_int_equal(a.lost + a.failed + a.writable, 0);
    close_side(&a);
    end_child(pid);
}

/* ---- tests: gaps ---- */

struct step {
    bool to_all;
    uint64_t all, own;
    unsigned gaps, backs; /* so far, once it was read */
};

static void gaps_are_counted_and_told(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {false, 5, 1, 0, 0}, /* the first one says how many went to all before */
        {false, 5, 2, 0, 0},   {true, 6, 0, 0, 0},   {false, 6, 3, 0, 0},
        {false, 6, 5, 1, 0},                         /* 4 on our topic is missing */
        {true, 8, 0, 2, 0},                          /* 7 to all */
        {false, 9, 6, 3, 0},                         /* 9 to all */
        {false, 11, 9, 4, 0},  {false, 11, 9, 4, 1}, /* back */
        {false, 11, 10, 4, 1}, {true, 3, 0, 4, 2},   {true, 4, 0, 4, 2},
        {false, 4, 11, 4, 2},  {false, 4, 0, 4, 3},  {false, 4, 1, 4, 3},
    };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, true, 5, 0, "not for us");
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        foe_publish(&f, steps[i].to_all, steps[i].all, steps[i].own, "x");
        UNTIL(a.route_n == i + 1);
        assert_int_equal(a.counts[ZN_COUNT_gap], steps[i].gaps);
        assert_int_equal(a.counts[ZN_COUNT_sequence_back], steps[i].backs);
        UNTIL(f.reports == steps[i].gaps || (foe_heard(&f), false));
    }
    assert_int_equal(f.answers, 0);
    close_pair(&a, &f);
}

static void a_first_publication_that_is_missing_is_a_gap(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_publish(&f, false, 0, 2, "x");
    UNTIL(foe_heard(&f));
    assert_int_equal(f.reports, 1);
    assert_int_equal(a.counts[ZN_COUNT_gap], 1);
    close_pair(&a, &f);
}

/* Not one report for each, but one after the last. */
static void many_gaps_are_told_together(void **state)
{
    (void)state;
    enum { GAPS = 200 };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (uint64_t own = 2; own <= 2 * GAPS; own += 2)
        foe_publish(&f, false, 0, own, "x");
    UNTIL(a.counts[ZN_COUNT_gap] == GAPS);
    while (foe_heard(&f))
        continue;
    unsigned before = f.reports;
    UNTIL(f.reports > before || (foe_heard(&f), false));
    assert_true(f.reports < GAPS / 4);
    close_pair(&a, &f);
}

static void a_gap_that_a_subscriber_tells_reaches_core(void **state)
{
    (void)state;
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    foe_acks(&f, ZN_ACK_GAP, 7, NULL);
    UNTIL(a.gap == 1);
    assert_int_equal(a.link_n + counts_of(&a), 0);
    close_pair(&a, &f);
}

/* ---- tests: bad input ---- */

struct bad {
    const char *bytes;
    size_t n;
    const char *body; /* NULL: there is none */
    enum zn_counter counter;
};

#define BYTES(text) text, sizeof text - 1
#define SEVEN "\7\0\0\0\0\0\0\0"

static void send_pair(void *s, const struct bad *b)
{
    assert_int_equal(zmq_send(s, b->bytes, b->n, b->body ? ZMQ_SNDMORE : 0), (int)b->n);
    if (b->body)
        assert_int_equal(zmq_send(s, b->body, strlen(b->body), 0), (int)strlen(b->body));
}

static void bad_acks_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES(""), NULL, ZN_COUNT_bad_ack},
        {BYTES(""), "x", ZN_COUNT_bad_ack},
        {BYTES("\0" SEVEN), NULL, ZN_COUNT_bad_ack},
        {BYTES("\0" SEVEN), "", ZN_COUNT_empty_message},
        {BYTES("\0" SEVEN "\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\7\0\0\0\0\0\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\1" SEVEN), "x", ZN_COUNT_bad_ack},
        {BYTES("\2" SEVEN), NULL, ZN_COUNT_bad_ack},
        {BYTES("\2" SEVEN), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\0\0\0\0\0\0\0\0"), "x", ZN_COUNT_bad_ack},
        {BYTES("\0\7\0\0\0\0\0\0\1"), "x", ZN_COUNT_bad_ack},
        {BYTES("\1\6\0\0\0\0\0\0\0"), NULL, ZN_COUNT_bad_ack},
    };
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(a.counts, 0, sizeof a.counts);
        send_pair(f.push, &bad[i]);
        foe_acks(&f, ZN_ACK_BODY, 7, "good");
        UNTIL(a.link_n == i + 1);
        assert_int_equal(a.counts[bad[i].counter], 1);
        assert_int_equal(counts_of(&a), 1);
    }
    memset(a.counts, 0, sizeof a.counts);
    for (int i = 0; i < 10 * ZN_TURN_FRAMES_MAX; i++)
        assert_int_equal(zmq_send(f.push, "\0" SEVEN, 9, ZMQ_SNDMORE), 9);
    assert_int_equal(zmq_send(f.push, "x", 1, 0), 1);
    foe_acks(&f, ZN_ACK_BODY, 7, "good");
    UNTIL(a.link_n == 1 + sizeof bad / sizeof bad[0]);
    assert_int_equal(a.counts[ZN_COUNT_bad_ack], 1);
    assert_int_equal(a.gap + a.lost, 0);
    close_pair(&a, &f);
}

static void bad_publications_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES("A"), NULL, ZN_COUNT_bad_envelope},
        {BYTES("A"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcde"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcdef"), NULL, ZN_COUNT_bad_envelope},
        {BYTES("A0123456789abcdef0"), "x", ZN_COUNT_bad_envelope},
        {BYTES("A"
               "a head that is longer than any that there is: "
               "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789"),
         "x", ZN_COUNT_bad_envelope},
    };
    static char big[1 << 19];
    struct side a;
    struct foe f;
    open_pair(&a, &f, 7);
    uint64_t own = 0;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(a.counts, 0, sizeof a.counts);
        send_pair(f.pub, &bad[i]);
        foe_publish(&f, false, 0, ++own, "good");
        UNTIL(a.route_n == own);
        assert_int_equal(a.counts[bad[i].counter], 1);
        assert_int_equal(counts_of(&a), 1);
    }
    memset(a.counts, 0, sizeof a.counts);
    foe_publish(&f, false, 0, ++own, "");
    UNTIL(a.counts[ZN_COUNT_empty_message] == 1);
    memset(big, 'x', zn_frame_max(MESSAGE_MAX) + 1);
    foe_publish(&f, false, 0, ++own, big);
    UNTIL(a.counts[ZN_COUNT_oversize] == 1);
    assert_int_equal(zmq_send(f.pub, "A0123456789abcdef", 17, ZMQ_SNDMORE), 17);
    assert_int_equal(zmq_send(f.pub, "x", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(f.pub, "y", 1, 0), 1);
    UNTIL(a.counts[ZN_COUNT_extra_frames] == 1);
    foe_publish(&f, false, 0, ++own, "good");
    UNTIL(a.route_n == own - 2);
    assert_int_equal(counts_of(&a), 3);
    close_pair(&a, &f);
}

static void bad_topics_are_counted_and_harm_nobody(void **state)
{
    (void)state;
    static const struct bad bad[] = {
        {BYTES(""), NULL, 0},
        {BYTES("B"), NULL, 0},
        {BYTES("AA"), NULL, 0},
        {BYTES("T"), NULL, 0},
        {BYTES("Tpeer1"), NULL, 0},
        {BYTES("Tpeer1\0"), NULL, 0},
        {BYTES("Tpeer1\0"
               "1234567"),
         NULL, 0},
        {BYTES("Tpeer1\0"
               "123456789"),
         NULL, 0},
        {BYTES("Tpeer1\0\0\0\0\0\0\0\0\0"), NULL, 0},
        {BYTES("Tpeer0\0"
               "12345678"),
         NULL, 0}, /* ourselves */
        {BYTES("Tpeer2\0"
               "12345678"),
         NULL, 0}, /* nobody */
        {BYTES("Tpeer\0"
               "12345678"),
         NULL, 0},
        {BYTES("tpeer1\0"
               "12345678"),
         NULL, 0},
    };
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *stranger = NULL;
    foe_connect(&f, &stranger, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, "A", 1);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, bad[i].bytes, bad[i].n);
        UNTIL(a.counts[ZN_COUNT_bad_topic] == i + 1);
    }
    zmq_close(stranger);
    foe_connect(&f, &stranger, ZMQ_XSUB, peers->replicas[0].pub_port);
    unsigned n = a.counts[ZN_COUNT_bad_topic];
    static const struct bad words[] = {
        {BYTES("just words"), NULL, 0},
        {BYTES(""), NULL, 0},
        {BYTES("two"), "frames", 0},
        {BYTES("\1Tpeer2\0"
               "87654321"),
         "and more", 0},
    };
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        send_pair(stranger, &words[i]);
        UNTIL(a.counts[ZN_COUNT_bad_topic] > n);
        n = a.counts[ZN_COUNT_bad_topic];
    }
    zmq_close(stranger);
    foe_acks(&f, ZN_ACK_BODY, 7, "still there");
    UNTIL(a.link_n == 1);
    assert_int_equal(a.lost, 0);
    close_pair(&a, &f);
}

/* The cancellation in the second frame is the last that is left of the stranger's message: others are
 * subscribed to that. */
static void a_subscription_behind_a_strangers_two_frames_is_read(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct foe f;
    uint8_t topic[ZN_TOPIC_MAX];
    void *other = NULL, *stranger = NULL;
    open_foe(&f, peers, 1);
    open_side(&a, peers, 0);
    foe_connect(&f, &other, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(other, ZMQ_SUBSCRIBE, "A", 1);
    foe_connect(&f, &stranger, ZMQ_XSUB, peers->replicas[0].pub_port);
    assert_int_equal(zmq_send(stranger, "\1A", 2, 0), 2);
    assert_int_equal(zmq_send(stranger, "x", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(stranger, "\0A", 2, 0), 2);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    foe_connect(&f, &f.sub, ZMQ_SUB, peers->replicas[0].pub_port);
    zmq_setsockopt(f.sub, ZMQ_SUBSCRIBE, topic, zn_topic_write(topic, f.name, 7));
    UNTIL(a.up == 1);
    zmq_close(other);
    zmq_close(stranger);
    close_pair(&a, &f);
}

/* libzmq keeps a tree of topics; a long one must not take much of anything. */
static void a_long_topic_costs_only_its_connection(void **state)
{
    (void)state;
    static char topic[1 << 16]; /* a far longer one ends its own sender, in libzmq */
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    void *stranger = NULL;
    memset(topic, 't', sizeof topic);
    foe_connect(&f, &stranger, ZMQ_SUB, peers->replicas[0].pub_port);
    zn_socket_set_int(stranger, ZMQ_RECONNECT_IVL, -1);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, topic, 700);
    UNTIL(a.counts[ZN_COUNT_bad_topic] == 1);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, topic, sizeof topic);
    zmq_setsockopt(stranger, ZMQ_SUBSCRIBE, "more", 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_text(&a, 1, "x"), 0);
        foe_acks(&f, ZN_ACK_BODY, 7, "still there");
        UNTIL(a.link_n == (unsigned)i + 1);
    }
    assert_int_equal(a.counts[ZN_COUNT_bad_topic], 1);
    zmq_close(stranger);
    close_pair(&a, &f);
}

static void strangers_without_zeromq_harm_nobody(void **state)
{
    (void)state;
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n",
                                        "\xff zmtp? no, not at all, far from it",
                                        "\x01\x02\x03\x04 noise", ""};
    struct side a;
    struct foe f;
    zmqnet_peers *peers = open_pair(&a, &f, 7);
    const uint16_t ports[] = {peers->replicas[0].pub_port, peers->replicas[0].ack_port};
    for (unsigned i = 0; i < 2 * sizeof words / sizeof words[0]; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons(ports[i % 2]),
                                 .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
        assert_true(send(fd, words[i / 2], strlen(words[i / 2]), MSG_NOSIGNAL) >= 0);
        close(fd);
        foe_acks(&f, ZN_ACK_BODY, 7, "x");
        UNTIL(a.link_n == i + 1);
    }
    unsigned counted = a.counts[ZN_COUNT_bad_topic] + a.counts[ZN_COUNT_bad_ack];
    assert_int_equal(counted, counts_of(&a)); /* libzmq takes some of it for ZMTP 1.0 */
    assert_int_equal(a.lost, 0);
    close_pair(&a, &f);
}

/* ---- tests: opening and closing ---- */

static void a_taken_port_is_explained_by_its_name(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    struct zmqnet_diag diag;
    char text[64];
    peers->replicas[1].name = peers->replicas[0].name;
    open_side(&a, peers, 0);
    assert_int_equal(try_open(&b, peers, 0, &diag), ZMQNET_EADDRINUSE);
    assert_int_equal(diag.code, ZMQNET_EADDRINUSE);
    struct zmqnet_replica *r = &peers->replicas[1];
    r->pub_port = peers->replicas[0].pub_port;
    peers->hosts[1][0] = '\0'; /* as if it were another host, so that the file is in order */
    r->host = "127.0.0.1";
    assert_int_equal(try_open(&b, peers, 1, &diag), ZMQNET_EADDRINUSE);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u (peer0's pub port): ", r->pub_port);
    assert_non_null(strstr(diag.text, text));
    r->pub_port = free_port();
    r->ack_port = peers->replicas[0].ack_port;
    assert_int_equal(try_open(&b, peers, 1, &diag), ZMQNET_EADDRINUSE);
    assert_non_null(strstr(diag.text, "(peer0's ack port): the port is taken: "));
    close_side(&a);
}

static void ports_that_meet_are_refused(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a;
    struct zmqnet_diag diag;
    peers->replicas[1].ack_port = peers->replicas[0].pub_port;
    assert_int_equal(try_open(&a, peers, 0, &diag), ZMQNET_ECONFIG);
    assert_int_not_equal(diag.text[0], '\0');
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

static void links_that_come_and_go_leak_no_descriptors(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(2);
    struct side a, b;
    open_side(&a, peers, 0);
    unsigned before = 0;
    for (unsigned round = 1; round <= 8; round++) {
        open_side(&b, peers, 1);
        UNTIL(a.up == round && b.up == 1);
        if (round == 1)
            before = count_files();
        UNTIL(count_files() <= before); /* libzmq closes in its own time */
        close_side(&b);
        UNTIL(a.lost == round);
    }
    close_side(&a);
}

static void closing_at_any_state_does_not_hang(void **state)
{
    (void)state;
    zmqnet_peers *peers = new_peers(3);
    struct side a, b;
    open_side(&b, peers, 1);
    for (int turns = 0; turns < 30; turns++) {
        open_side(&a, peers, 0);
        for (int i = 0; i < turns; i++)
            drive();
        send_text(&a, 1, "x");
        send_text(&b, 0, "x");
        uint64_t before_us = zn_clock_us();
        close_side(&a);
        assert_true(zn_clock_us() - before_us < ZN_SECOND);
    }
    close_side(&b);
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
    if (argc == 8 && strcmp(argv[1], "child") == 0)
        return child_main(argv + 2);
    const struct CMUnitTest tests[] = {
        TEST(topics_are_read_as_they_are_written),
        TEST(the_pattern_is_found_by_name),
        TEST(links_go_up_by_subscription_and_carry_bytes),
        TEST(a_large_frame_is_shared_and_released),
        TEST(what_goes_to_all_is_published_once),
        TEST(each_hears_its_own_topic_now_and_then),
        TEST(a_peer_that_is_reset_is_not_told_what_others_are),
        TEST(what_was_sent_before_close_leaves),
        TEST(clients_are_served_as_in_every_pattern),
        TEST(a_refused_peer_is_reported_and_found_at_once_when_it_starts),
        TEST(a_peer_that_does_not_subscribe_is_reported_once),
        TEST(a_peer_that_unsubscribes_is_lost),
        TEST(a_second_subscription_replaces_a_silent_one),
        TEST(a_second_subscription_follows_the_first_at_once),
        TEST(a_second_subscription_clashes_with_one_that_answers),
        TEST(answers_are_read_before_the_end_is_believed),
        TEST(a_late_refusal_is_not_the_new_lifes),
        TEST(a_refused_peer_is_gone_though_its_subscription_stands),
        TEST(a_reset_link_comes_back_after_a_backoff),
        TEST(a_reset_link_takes_the_newest_subscription),
        TEST(a_killed_peer_is_lost_then_refused_and_comes_back),
        TEST(a_stopped_peer_keeps_its_connection),
        TEST(a_silent_subscription_is_made_anew),
        TEST(a_subscription_that_hears_only_what_goes_to_all_is_made_anew),
        TEST(a_peer_that_is_heard_is_not_made_anew),
        TEST(the_old_route_ends_with_its_connection),
        TEST(answers_to_a_peer_that_does_not_read_are_refused),
        TEST(gaps_are_counted_and_told),
        TEST(a_first_publication_that_is_missing_is_a_gap),
        TEST(many_gaps_are_told_together),
        TEST(a_gap_that_a_subscriber_tells_reaches_core),
        TEST(bad_acks_are_counted_and_harm_nobody),
        TEST(bad_publications_are_counted_and_harm_nobody),
        TEST(bad_topics_are_counted_and_harm_nobody),
        TEST(a_subscription_behind_a_strangers_two_frames_is_read),
        TEST(a_long_topic_costs_only_its_connection),
        TEST(strangers_without_zeromq_harm_nobody),
        TEST(a_taken_port_is_explained_by_its_name),
        TEST(ports_that_meet_are_refused),
        TEST(links_that_come_and_go_leak_no_descriptors),
        TEST(closing_at_any_state_does_not_hang),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
