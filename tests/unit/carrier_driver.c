/* SPDX-License-Identifier: MIT */
/*
 * Opens carriers, notes what their sinks are told, and drives them together; see carrier_driver.h.
 *
 * A turn is the node's: what epoll says is ready, then the pattern's own turn. Nothing here waits longer
 * than 10 ms for an event, so that a condition which holds without one is seen soon.
 */
#include "carrier_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
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

#include "base/rand.h"

#define PEERS_MAX 8 /* that new_peers() makes, and that a child knows */
#define PORTS_EACH 3

extern char **environ;

static struct side *sides[SIDES_MAX];

/* ---- what the sink is told ---- */

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

/* Only a publisher's link loses what it would know of. */
static void on_gap(void *arg, int peer)
{
    if (pattern != &zn_pattern_pubsub)
        fail_msg("a gap on the link to %d", peer);
    ((struct side *)arg)->gap++;
}

void keep_text(char text[64], const void *bytes, size_t n)
{
    n = n < 63 ? n : 63;
    memmove(text, bytes, n);
    text[n] = '\0';
}

static void on_link_bytes(void *arg, int peer, const void *bytes, size_t n)
{
    struct side *s = arg;
    s->link_n++;
    for (uint64_t until_us = zn_clock_us() + s->busy_us; zn_clock_us() < until_us;)
        continue;
    if (s->reset_in)
        pattern->reset(s->c, peer);
    keep_text(s->link_text, bytes, n);
}

int reply(struct side *s, zn_route route, const void *bytes, size_t n)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(bytes, n, &b), 0);
    int rc = pattern->reply(s->c, route, b);
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

unsigned counts_of(const struct side *s)
{
    unsigned all = 0;
    for (int i = 0; i < ZN_COUNTERS_N; i++)
        all += s->counts[i];
    return all;
}

/* ---- opening and closing ---- */

int try_open(struct side *s, const zmqnet_peers *peers, int self, struct zmqnet_diag *diag)
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
    int rc = pattern->open(&config, &s->c, diag);
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

void open_side(struct side *s, const zmqnet_peers *peers, int self)
{
    struct zmqnet_diag diag;
    int rc = try_open(s, peers, self, &diag);
    if (rc != 0)
        fail_msg("%s: %s", zmqnet_error_name(rc), diag.text);
}

void open_linked_side(struct side *s, const zmqnet_peers *peers, int self)
{
    open_side(s, peers, self);
    for (int i = 0; i < (int)peers->n; i++)
        if (i != self)
            pattern->want(s->c, i);
}

void close_side(struct side *s)
{
    for (int i = 0; i < SIDES_MAX; i++)
        if (sides[i] == s)
            sides[i] = NULL;
    pattern->close(&s->c);
    assert_null(s->c);
    close(s->epoll_fd);
}

int forget_sides(void **state)
{
    (void)state;
    memset(sides, 0, sizeof sides);
    return 0;
}

/* ---- driving ---- */

static int wait_ms(const struct side *s, uint64_t now_us, int most_ms)
{
    if (pattern->pending(s->c))
        return 0;
    uint64_t at_us = pattern->next_us(s->c);
    if (at_us > now_us + (unsigned)most_ms * ZN_MS)
        return most_ms;
    return at_us <= now_us ? 0 : (int)((at_us - now_us) / ZN_MS) + 1;
}

void turn_without(struct side *s, uint64_t token)
{
    struct epoll_event events[16];
    int n = epoll_wait(s->epoll_fd, events, 16, 0);
    for (int i = 0; i < n; i++)
        if (events[i].data.u64 != token)
            pattern->ready(s->c, (uint32_t)events[i].data.u64);
    pattern->turn(s->c, zn_clock_us());
}

static void drive_for(int most_ms)
{
    struct pollfd fds[SIDES_MAX];
    nfds_t n = 0;
    int timeout_ms = most_ms;
    for (int i = 0; i < SIDES_MAX; i++) {
        if (!sides[i])
            continue;
        int ms = wait_ms(sides[i], zn_clock_us(), most_ms);
        timeout_ms = ms < timeout_ms ? ms : timeout_ms;
        fds[n++] = (struct pollfd){.fd = sides[i]->epoll_fd, .events = POLLIN};
    }
    poll(fds, n, timeout_ms);
    for (int i = 0; i < SIDES_MAX; i++)
        if (sides[i])
            turn_without(sides[i], UINT64_MAX);
}

void drive(void) { drive_for(10); }

void pass_time(uint64_t us)
{
    for (uint64_t step_us; us > 0; us -= step_us) {
        step_us = us < PASS_STEP_US ? us : PASS_STEP_US;
        own_clock_put_ahead(step_us);
        drive_for(1);
    }
}

int send_to(struct side *s, uint64_t peers, const char *text)
{
    struct zn_blob *b = NULL;
    assert_int_equal(zn_blob_copy(text, strlen(text), &b), 0);
    int rc = 0;
    for (; peers != 0 && rc == 0; peers &= peers - 1)
        rc = pattern->send(s->c, __builtin_ctzll(peers), b);
    zn_blob_drop(&b);
    return rc;
}

int send_text(struct side *s, int peer, const char *text)
{
    return send_to(s, (uint64_t)1 << peer, text);
}

/* ---- peers and ports ---- */

int plain_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* Below the ephemeral range, where a connect could meet itself. */
uint16_t free_port(void)
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

struct zmqnet_replica *add_peer(zmqnet_peers *p, const char *host, uint16_t port)
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
    return &p->replicas[i];
}

static void add_peers(zmqnet_peers *p, const uint16_t *ports, unsigned n)
{
    memset(p, 0, sizeof *p);
    for (unsigned i = 0; i < n; i++) {
        struct zmqnet_replica *r = add_peer(p, "127.0.0.1", ports[PORTS_EACH * i]);
        r->pub_port = ports[PORTS_EACH * i + 1];
        r->ack_port = ports[PORTS_EACH * i + 2];
    }
}

zmqnet_peers *new_peers(unsigned n)
{
    static zmqnet_peers peers;
    uint16_t ports[PORTS_EACH * PEERS_MAX];
    assert_true(n <= PEERS_MAX);
    for (unsigned i = 0; i < PORTS_EACH * n; i++) {
        ports[i] = free_port();
        for (unsigned k = 0; k < i; k++)
            if (ports[k] == ports[i])
                return new_peers(n);
    }
    add_peers(&peers, ports, n);
    return &peers;
}

/* ---- other processes, and what is not of ZeroMQ ---- */

pid_t spawn_child(const zmqnet_peers *peers)
{
    static char program[] = "/proc/self/exe", word[] = "child";
    char texts[PORTS_EACH * PEERS_MAX][8];
    char *argv[2 + PORTS_EACH * PEERS_MAX + 1] = {program, word};
    for (size_t i = 0; i < PORTS_EACH * peers->n; i++) {
        const struct zmqnet_replica *r = &peers->replicas[i / PORTS_EACH];
        const uint16_t ports[PORTS_EACH] = {r->port, r->pub_port, r->ack_port};
        snprintf(texts[i], sizeof texts[i], "%u", ports[i % PORTS_EACH]);
        argv[2 + i] = texts[i];
    }
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, argv, environ), 0);
    return pid;
}

void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

bool is_child(int argc, char **argv) { return argc > 2 && strcmp(argv[1], "child") == 0; }

int child_main(int argc, char **argv)
{
    static zmqnet_peers peers;
    static struct side s;
    uint16_t ports[PORTS_EACH * PEERS_MAX];
    unsigned n = (unsigned)argc - 2, greeted = 0;
    assert_true(n <= PORTS_EACH * PEERS_MAX);
    for (unsigned i = 0; i < n; i++)
        ports[i] = (uint16_t)strtoul(argv[2 + i], NULL, 10);
    add_peers(&peers, ports, n / PORTS_EACH);
    open_linked_side(&s, &peers, (int)peers.n - 1);
    s.echo = true;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also ends one that is stopped */
    for (pid_t parent = getppid(); getppid() == parent; drive())
        if (s.up > greeted) {
            greeted = s.up;
            send_text(&s, 0, "hello");
        }
    return 0;
}

int connect_plain(uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = plain_socket();
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

void tcp_endpoint(char endpoint[32], uint16_t port)
{
    snprintf(endpoint, 32, "tcp://127.0.0.1:%u", port);
}

unsigned count_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}
