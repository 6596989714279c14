/* SPDX-License-Identifier: MIT */
/*
 * The public interface over real sockets on loopback: a mesh of three in this process, with threads of
 * their own unless a test drives a node itself, and a client. Only include/zmqnet.h is used.
 *
 * What callbacks see is written under one lock, and AWAIT() waits for it with a deadline.
 */
#ifndef ZN_TESTS_API_DRIVER_H
#define ZN_TESTS_API_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "zmqnet.h"

#define SEATS 3
#define DEADLINE_S 20
#define REFUSAL 42

enum { ALPHA, BRAVO, CHARLIE };
extern const char *const names[SEATS];

/* ---- waiting ---- */

void enter(void);
void leave(void);
/* With the lock held: false once the deadline has passed. */
bool wait_change(const struct timespec *until);
struct timespec deadline(void);
uint64_t now_ms(void);

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        const struct timespec until = deadline();                                                  \
        enter();                                                                                   \
        while (!(condition) && wait_change(&until)) {                                              \
        }                                                                                          \
        bool met = (condition);                                                                    \
        leave();                                                                                   \
        if (!met)                                                                                  \
            fail_msg("in vain: %s", #condition);                                                   \
    } while (0)

/* ---- what became of calls ---- */

struct result {
    zmqnet_receipt *receipt; /* the last one */
    unsigned times;
    unsigned failed; /* how many had a status other than 0 */
    int statuses[8]; /* of the first ones */
};

struct progress {
    unsigned n, per_seat[SEATS];
    bool bad, after_done;
    unsigned done;
    struct zmqnet_id id;
};

/* Of calls that a callback makes. */
struct burst {
    struct result done;
    int rc;
};

/* Static, so that a call that is still open when its test has failed completes into something. */
extern struct result done, none;
extern struct progress progress;
extern struct burst burst;

/* A completion; arg is a struct result. */
void collect(zmqnet_node *node, zmqnet_receipt *receipt, void *arg);
/* Of a broadcast, and its completion; arg is a struct progress. */
void see_progress(zmqnet_node *node, struct zmqnet_id id, const struct zmqnet_row *row, void *arg);
void progress_done(zmqnet_node *node, zmqnet_receipt *receipt, void *arg);

const struct zmqnet_row *row_of(const zmqnet_receipt *r, const char *name);
enum zmqnet_outcome outcome_of(const zmqnet_receipt *r, int i);
void assert_reply(const struct zmqnet_row *row, const char *text);
uint64_t counter(zmqnet_node *node, const char *name);

/* ---- a mesh of three ---- */

struct seat {
    zmqnet_node *node;
    zmqnet_handler on_message; /* NULL: acks */
    enum zmqnet_state states[SEATS];
    char causes[SEATS][64];
    unsigned handled;
    uint64_t token;  /* of the last message */
    char log[16384]; /* "id text" lines */
};

extern uint16_t ports[SEATS];
extern size_t message_max; /* of nodes that are opened; 0: the default */
extern zmqnet_peers *peers;
extern struct seat seats[SEATS], outsider; /* outsider: a client */

size_t peers_text(char *text, size_t max);
struct zmqnet_options options_of(struct seat *s, const char *name);
void seat_open(int i);
void seat_start(int i);
void client_start(const char *via);
bool sees(const struct seat *s, int peer, enum zmqnet_state state);
bool all_up(void);
void on_message(int i, zmqnet_handler handler);
void on_message_all(zmqnet_handler handler);

/* ---- handlers ---- */

int answer_name(zmqnet_node *node, const struct zmqnet_message *message, void *arg);
int answer_large(zmqnet_node *node, const struct zmqnet_message *message, void *arg);
int refuse(zmqnet_node *node, const struct zmqnet_message *message, void *arg);
int refuse_at_once(zmqnet_node *node, const struct zmqnet_message *message, void *arg);
int refuse_out_of_range(zmqnet_node *node, const struct zmqnet_message *message, void *arg);
int never_answer(zmqnet_node *node, const struct zmqnet_message *message, void *arg);

/* ---- cases ---- */

int begin_tests(void **state);
int with_peers(void **state);
int with_mesh(void **state);
int close_all(void **state);

#define ALONE(f) cmocka_unit_test_setup_teardown(f, with_peers, close_all)
#define MESH(f) cmocka_unit_test_setup_teardown(f, with_mesh, close_all)

#endif
