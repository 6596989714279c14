/* SPDX-License-Identifier: MIT */
/*
 * zmqnet-sim: replicas and clients in one thread, on a virtual clock and a virtual network.
 *
 *     queue.c       what happens next: one heap of due things, ties in the order of scheduling
 *     network.c     connections between processes: order, delay, loss, partition, a full pipe
 *     pattern.c     what each pattern adds to a connection: lock step, lost publications
 *     cluster.c     processes: start, kill, stop, turns of their mesh, model handlers, calls
 *     original.c    a process that is the original program
 *     invariants.c  the ghost: what really ran, and what each receipt, status and step must satisfy
 *     liveness.c    what each process says of the others: who is up, and what rows are told
 *     trace.c       the text of everything that happens
 *     commands.c    what transcripts and schedules are made of, a line each
 *     script.c      transcripts: commands in, trace lines out
 *     inject.c      messages that no honest process sends
 *     schedule.c    a seed becomes a list of commands
 *     shrink.c      a list that fails becomes the shortest that still does, as a transcript
 *     random.c      plays seeds, many of them or hours on end
 *
 * Nothing here reads a clock or an address: the same commands and seed give the same trace, byte for
 * byte. A process is a node; node i < replicas_n is the replica with index i in the peers file, the
 * others are clients and impostors.
 */
#ifndef ZN_TESTS_SIM_H
#define ZN_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/rand.h"
#include "core/mesh.h"
#include "model/wire.h"

#define SIM_REPLICAS_MAX 9
#define SIM_NODES_MAX 24
#define SIM_STRANGERS_MAX 8
#define SIM_LIVES_MAX 4096
#define SIM_LINE_MAX 1024
#define SIM_RULES_MAX 16
#define SIM_KEPT_MAX 16
#define SIM_TEXT_MAX 512
#define SIM_ROOMY_FRAMES_MIN 100     /* a pipe that holds so many is never full */
#define SIM_QUIET_US (4 * ZN_SECOND) /* after a fault, until everybody has found out */

struct sim;

/* ---- pattern.c ---- */

enum sim_pattern_id { SIM_ROUTER, SIM_REQREP, SIM_PUBSUB, SIM_PATTERNS_N };

struct sim_pattern {
    const char *name, *too; /* as in zn_mesh_config */
    bool lock_step;         /* of the answers on a link, only the one to the last question counts */
    bool numbered; /* what leaves on a link can be lost alone, and its reader sees the gap */
};

extern const struct sim_pattern sim_patterns[SIM_PATTERNS_N];

/* ---- queue.c ---- */

enum sim_what {
    SIM_TURN = 1, /* node */
    SIM_TIMER,    /* node; mark: which setting of its timer */
    SIM_ARRIVE,   /* frame */
    SIM_CONNECT,  /* node, peer: the try is decided; mark: the connection */
    SIM_GIVE_UP,  /* node, peer, why: the try failed */
    SIM_LOST,     /* node, peer, why (SILENT: only if a cut is still there) */
    SIM_RETRY,    /* node, peer: back-off is over */
    SIM_ANSWER,   /* node, token: the handler answers; mark: the life that was asked */
    SIM_EXIT,     /* node: the grace of a graceful end is over */
    SIM_DEADLINE, /* token: the call has to be complete */
    SIM_SOON,     /* token: likewise, if nothing has happened to those that it needs */
};

struct sim_frame {
    struct zn_blob *bytes;
    int from, to;        /* nodes */
    int owner, peer;     /* the link that carries it */
    bool back;           /* from the far end of the link to its owner */
    uint32_t connection; /* of the link */
    uint32_t to_life;    /* of the receiver, as a number */
    zn_route route;      /* where the receiver answers to, 0: it came back on its link */
    uint16_t question;   /* lock step: which one it is, or answers */
    uint64_t number;     /* numbered: of the publications on this connection, from 1 */
    bool gap;            /* a subscriber's report, without bytes */
    struct sim_frame *next;
};

struct sim_due {
    uint64_t at_us, order;
    enum sim_what what;
    int node, peer;
    uint32_t mark;
    enum zn_why why;
    uint64_t token;
    struct sim_frame *frame;
};

struct sim_queue {
    struct sim_due *at;
    size_t n, max;
    uint64_t order;
};

void sim_queue_put(struct sim_queue *q, const struct sim_due *due);
/* The earliest, if it is not later than until_us. */
bool sim_queue_take(struct sim_queue *q, uint64_t until_us, struct sim_due *out);
void sim_queue_free(struct sim_queue *q);

/* ---- what a process is ---- */

/* A thing that waits in a process for its next turn, or (consequences) for its next step. */
struct sim_item {
    struct sim_item *next;
    enum zn_event_type type;
    int peer;
    enum zn_why why;
    zn_route route;
    uint32_t epoch; /* link events: void after a RESET */
    struct sim_frame *frame;
    struct zn_call_spec call;
    uint64_t token;
    int code;
    struct zn_blob *body;
    enum zn_counter counter;
};

struct sim_inbox {
    struct sim_item *first, **end;
};

enum sim_link_state {
    SIM_LINK_IDLE,
    SIM_LINK_TRYING,
    SIM_LINK_SHAKING, /* the far process is stopped: connected, but no handshake */
    SIM_LINK_UP,
    SIM_LINK_WAITING, /* for the end of the back-off */
};

/* One direction of a connection. */
struct sim_pipe {
    uint64_t last_us;                   /* arrival of its newest frame: none overtakes it */
    uint32_t frames;                    /* sent and not read by the far process */
    struct sim_frame *held, **held_end; /* by a cut */
};

struct sim_link {
    enum sim_link_state state;
    int to; /* node at the far end */
    uint32_t to_life;
    uint32_t connection; /* goes up with each try and reset, never starts again */
    uint32_t epoch;      /* goes up with each RESET */
    uint64_t backoff_us;
    uint64_t up_us;
    bool blocked;
    uint16_t asked; /* lock step: the last question */
    bool answered;
    uint64_t published, seen; /* numbered: the last one sent, the last one read */
    uint32_t lose;            /* so many of the next publications */
    struct sim_pipe there, back;
};

enum sim_handler_kind { SIM_HANDLER_ACK, SIM_HANDLER_REFUSE, SIM_HANDLER_LATER, SIM_HANDLER_NEVER };

struct sim_handler {
    enum sim_handler_kind kind;
    int code;
    uint64_t delay_us;
    char text[SIM_TEXT_MAX];
};

/* A delivered message whose handler has not answered. */
struct sim_pending {
    struct sim_pending *next;
    uint64_t token;
    struct zmqnet_id id;
    int code;
    char text[SIM_TEXT_MAX];
};

struct sim_tables {
    uint32_t calls, served, origins, queue, window;
    size_t queue_bytes, call_bytes, served_bytes;
};

/* The message that an original program is at: it takes no other one meanwhile. */
struct sim_work {
    bool busy, done;
    uint32_t n; /* counts them */
    zn_route route;
    struct zmqnet_id id; /* 0: a hello */
};

struct sim_node {
    char name[ZN_NAME_MAX + 1];
    int self; /* index in the peers file, -1: a client */
    int via;
    bool alive, stopped, ending, closed, turn_due;
    bool midway;     /* stopped in its turn */
    bool frozen;     /* stopped, and its clock with it, as a virtual machine is */
    uint32_t life_n; /* 1 for the first life */
    uint64_t life;
    uint64_t resumed_us; /* when it was last started, continued or slowed */
    uint64_t changed_us; /* when it was last started, killed, stopped, continued or slowed */
    uint64_t asleep_us;  /* when it was last stopped */
    uint64_t woke_us;    /* when it was last continued */
    uint64_t before_us;  /* what changed_us was before it was stopped */
    uint64_t lost_us;    /* its clock is so much behind, having stood still */
    uint64_t frozen_us;  /* since when it does */
    uint64_t turn_us;    /* its last turn */
    uint64_t gap_us;     /* and so long it does nothing after each: a slow process */
    uint64_t exit_us;
    uint32_t timer_mark;
    uint64_t timer_us;
    struct zn_mesh *mesh; /* NULL while alive: the original program */
    struct sim_work work; /* of that */
    struct zn_actions out;
    struct sim_inbox inbox, soon;
    struct sim_pending *pending;
    struct sim_handler handler;
    struct sim_tables tables;
    enum sim_pattern_id pattern, next_pattern; /* next: from its next start */
    bool next_original;
    bool other_file;             /* its peers file differs from that of the others */
    int where[SIM_REPLICAS_MAX]; /* which node its address of each replica leads to */
    struct sim_link links[SIM_REPLICAS_MAX];

    /* what the ghost saw of this life (invariants.c) */
    uint64_t open_until_us; /* by its clock: until then something may be open */
    uint64_t asked_n;       /* requests that came */
    uint64_t begun_n;       /* calls of its own and of clients */
    uint64_t left_n[SIM_REPLICAS_MAX], acked_n[SIM_REPLICAS_MAX], refused_n[SIM_REPLICAS_MAX];
};

/* What happens to the next messages of one kind from one node to another. */
struct sim_rule {
    enum { SIM_RULE_DROP = 1, SIM_RULE_DUP, SIM_RULE_HOLD } what;
    int from, to;
    enum zn_kind kind;
    uint32_t left;
    uint64_t delay_us;
};

struct sim_call {
    struct zn_call_spec spec; /* without the body */
    int node;
    uint32_t life_n;
    bool begun, forgotten; /* its process died */
    bool calm;             /* enough peers were well when it began: it must succeed, and soon */
    bool hopeless;         /* too many were down: it must fail, and soon */
    uint64_t soon_us;      /* when that is */
    uint64_t faults;       /* sim.faults when it began */
    uint64_t begun_us;
    uint64_t deadline_us; /* by the clock of its process */
    uint64_t well;        /* peers that were free to take it when it began */
    struct zmqnet_id id;  /* once it is done */
    uint32_t done_n;
    int status;
    uint64_t progressed; /* replicas that PROGRESS named */
    enum zmqnet_outcome progress[SIM_REPLICAS_MAX];
};

/* What really became of one id at one replica. */
struct sim_truth {
    uint32_t runs, runs_in_life, life_n;
    uint32_t acked_life_n; /* the last that acked it */
    bool acked, refused;
    uint64_t acked_us;
    int code;
    bool never; /* a receipt said never_sent */
};

/* One process that sent one id, in one of its lives, and what it heard. */
struct sim_asker {
    struct sim_asker *next;
    int node;
    uint32_t life_n;
    uint32_t to_life_n[SIM_REPLICAS_MAX]; /* the life that it first left for; 0: it did not */
    uint64_t acked, refused;              /* replicas whose answer has come */
    uint64_t until_us;                    /* by its clock: answers count as long */
};

struct sim_ghost {
    struct sim_ghost *next;
    struct zmqnet_id id;
    bool idempotent;
    uint64_t says[2]; /* a hash of what each REQUEST, and each SUBMIT, has to say; 0: none yet */
    struct sim_asker *askers;
    struct sim_truth at[SIM_REPLICAS_MAX];
};

#define SIM_GHOST_BUCKETS 1024

struct sim_options {
    int replicas_n;
    uint64_t seed;
    uint64_t down;       /* replicas that are not started */
    uint64_t other_file; /* replicas with another peers file */
    enum sim_pattern_id pattern;
    uint64_t speaks[SIM_PATTERNS_N]; /* replicas that speak another one */
    uint64_t original;               /* replicas that are the original program */
    unsigned check_every;            /* so many steps; 0: each */
    struct sim_tables tables;
    uint32_t pipe_frames_max; /* 0: 1000 */
    size_t message_max;       /* 0: 1 MiB */
};

struct sim {
    uint64_t now_us, start_us; /* the trace's times are since start_us */
    struct zn_rand rand;
    struct sim_queue queue;
    struct sim_options options;
    const zmqnet_peers *peers, *peers_other;
    struct zn_decoder *decoder;
    struct zn_decoder *checker; /* of what leaves, while the other is at what came */
    int replicas_n, nodes_n;
    struct sim_node nodes[SIM_NODES_MAX];
    char strangers[SIM_STRANGERS_MAX][ZN_NAME_MAX + 1];
    int strangers_n;

    /* network */
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX];
    uint64_t cut_us[SIM_NODES_MAX][SIM_NODES_MAX]; /* when it was last cut or healed */
    uint64_t network_us;                           /* when what follows was last changed */
    uint64_t delay_min_us, delay_max_us;
    uint32_t loss_ppm, dup_ppm;
    uint32_t unread_ppm; /* publications that are lost */
    uint32_t replay_ppm; /* requests that come again, on a later connection if there is one */
    struct sim_frame *kept[SIM_KEPT_MAX];
    uint64_t kept_n;
    bool replayed; /* one of them has come again: perhaps a hello, as if of another process */
    uint64_t lag_us[SIM_NODES_MAX][SIM_NODES_MAX];    /* on top of the delay */
    uint64_t lagged_us[SIM_NODES_MAX][SIM_NODES_MAX]; /* when that was last changed */
    uint64_t lost_us[SIM_NODES_MAX][SIM_NODES_MAX];   /* when a frame was last lost or held back */
    bool reorder;
    struct sim_rule rules[SIM_RULES_MAX];
    uint64_t calm_from_us; /* what was lost before this is made good by then */

    /* calls and ghost */
    struct sim_call *calls; /* by tag, from 1 */
    uint64_t calls_n, calls_max;
    struct sim_ghost *ghosts[SIM_GHOST_BUCKETS];
    bool impostors;  /* two processes under one name: the ghost can't tell them apart */
    bool originals;  /* there is one */
    uint64_t faults; /* how many things were changed that may slow a request down */
    uint64_t steps;
    struct {
        uint64_t life;
        int node;
        uint32_t n;
    } lives[SIM_LIVES_MAX];
    size_t lives_n;

    /* trace */
    FILE *out; /* NULL: none */
    bool show_pings, show_hellos;
    bool failed;
    char failure[SIM_TEXT_MAX];
    const char *rule; /* the same for all breaches of a kind */
};

/* ---- network.c ---- */

void sim_link_want(struct sim *s, int node, int peer);
void sim_link_reset(struct sim *s, int node, int peer);
void sim_link_good(struct sim *s, int node, int peer);
/* As in pattern.h. The frame's reference is taken. */
int sim_link_send(struct sim *s, int node, int peer, struct zn_blob *frame, uint64_t extra_us);
int sim_link_reply(struct sim *s, int node, zn_route route, struct zn_blob *frame,
                   uint64_t extra_us);
/* Where a link or route leads now: a node, or -1. */
int sim_route_node(const struct sim *s, zn_route route);
int sim_route_stranger(zn_route route); /* -1: none */
zn_route sim_stranger_route(int stranger);
zn_route sim_link_route(const struct sim *s, int node, int peer);
bool sim_route_is_question(zn_route route);
/* The same for all that comes on one connection. */
uint64_t sim_route_connection(zn_route route);
/* A frame was read by its receiver. */
void sim_frame_read(struct sim *s, struct sim_frame *f);
void sim_frame_free(struct sim_frame *f);
void sim_network_died(struct sim *s, int node);
void sim_network_continued(struct sim *s, int node);
void sim_network_cut(struct sim *s, int from, int to);
/* The connection of its link is reset, by something in between. */
void sim_network_break(struct sim *s, int node, int peer);
void sim_network_heal(struct sim *s);
/* A request was taken by its link: it may come again some day. */
void sim_network_keep(struct sim *s, int node, int peer, struct zn_blob *bytes);
void sim_network_due(struct sim *s, const struct sim_due *due);
/* From the reader of a frame to its sender, behind what it has sent before; never lost alone. */
void sim_network_report_gap(struct sim *s, const struct sim_frame *missing);
/* The frame belongs to the connection that its link has now. */
bool sim_frame_is_current(struct sim *s, const struct sim_frame *f);
struct sim_link *sim_frame_link(struct sim *s, const struct sim_frame *f);

/* ---- pattern.c, on the way ---- */

/* False: the link does not lead to a process that could tell a lost frame from a late one. */
bool sim_pattern_may_lose(const struct sim *s, const struct sim_frame *f);
/* A frame is about to leave on its link. True: it is lost. */
bool sim_pattern_sends(struct sim *s, struct sim_frame *f);
/* A frame is about to be read. False: the pattern throws it away. */
bool sim_pattern_reads(struct sim *s, const struct sim_frame *f);
enum sim_pattern_id sim_pattern_find(const char *name); /* SIM_PATTERNS_N: none */

/* ---- cluster.c ---- */

void sim_open(struct sim *s, const struct sim_options *options, FILE *out);
void sim_close(struct sim *s);
void sim_at(struct sim *s, uint64_t at_us, const struct sim_due *due);
int sim_find(const struct sim *s, const char *name); /* a node, or -1 */
int sim_add_client(struct sim *s, const char *name, int via);
int sim_add_impostor(struct sim *s, const char *name, int self);
void sim_start(struct sim *s, int node);
void sim_kill(struct sim *s, int node);
void sim_end(struct sim *s, int node, uint64_t grace_us);
/* Midway: in a turn, between what it read and its timers. */
void sim_stop(struct sim *s, int node, bool midway);
/* As a stop, but its clock stands still as well. */
void sim_pause(struct sim *s, int node, bool midway);
void sim_continue(struct sim *s, int node);
void sim_slow(struct sim *s, int node, uint64_t gap_us);
/* What its clock says. */
uint64_t sim_clock(const struct sim *s, int node);
/* Returns the call's tag. The body is copied. */
uint64_t sim_ask(struct sim *s, int node, struct zn_call_spec spec, const char *body, size_t n);
void sim_run(struct sim *s, uint64_t until_us);
/* Until no call is open; false if that takes longer. */
bool sim_run_idle(struct sim *s, uint64_t until_us);
bool sim_idle(const struct sim *s);
void sim_settle(struct sim *s);
struct sim_item *sim_inbox_add(struct sim *s, int node, enum zn_event_type type);
void sim_inbox_clear(struct sim *s, struct sim_inbox *inbox);
/* Of a replica or client that runs ours, not the original program. */
bool sim_has_mesh(const struct sim *s, int node);
struct sim_frame *sim_inbox_frame(struct sim *s, int node);
void sim_turn_soon(struct sim *s, int node);
void sim_count(struct sim *s, int node, enum zn_counter counter);
/* One event of the sim's own making, at once. */
void sim_feed(struct sim *s, int node, const struct zn_event *event);

/* ---- original.c ---- */

void sim_original_turn(struct sim *s, int node);
void sim_original_due(struct sim *s, const struct sim_due *due);

/* ---- invariants.c ---- */

void sim_fail(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_ghost_sent(struct sim *s, const struct zn_msg *msg);
/* It was taken by the link. */
void sim_ghost_left(struct sim *s, int node, int peer, const struct zn_msg *msg);
/* It came on a link. True: it is the first answer, and in time. */
bool sim_ghost_heard(struct sim *s, int node, int peer, const struct zn_msg *msg);
/* It came on the port. */
void sim_ghost_asked(struct sim *s, int node, const struct zn_msg *msg);
/* Such an answer was counted as late; a row became unknown because of this one. */
void sim_ghost_late(struct sim *s, int node, int peer, const struct zn_msg *msg);
void sim_ghost_too_old(struct sim *s, int node, int peer, const struct zn_msg *msg);
void sim_ghost_begins(struct sim *s, struct sim_call *c);
void sim_ghost_deadline(struct sim *s, uint64_t tag);
void sim_ghost_soon(struct sim *s, uint64_t tag);
void sim_ghost_ran(struct sim *s, int node, struct zmqnet_id id);
void sim_ghost_answered(struct sim *s, int node, struct zmqnet_id id, int code);
void sim_ghost_progress(struct sim *s, int node, const struct zn_action *a);
void sim_ghost_done(struct sim *s, int node, const struct zn_action *a);
/* ---- liveness.c ---- */

/* What a process says of itself and of others. Whoever looks changes nothing. */
const zmqnet_status *sim_look(struct sim *s, int node);
/* It says something of a peer. */
void sim_ghost_note(struct sim *s, int node, const struct zn_note *note);
/* Nothing has come between the two since then, and the peer has run all the time. */
bool sim_is_quiet(const struct sim *s, int node, int peer, uint64_t since_us);
void sim_check_views(struct sim *s, int node, const zmqnet_status *view);
/* All is well again: so it must be for everybody. */
void sim_check_rest(struct sim *s);

/* ---- invariants.c, of the whole ---- */

/* Nothing is lost, doubled or overtaken. */
bool sim_is_whole(const struct sim *s);
/* The network was changed: what was lost or late before is made good only after a while. */
void sim_not_calm(struct sim *s, bool was_whole);
bool sim_calm(struct sim *s, int node, const struct zn_call_spec *spec);
void sim_check_node(struct sim *s, int node);
void sim_check_end(struct sim *s);
void sim_ghost_free(struct sim *s);

/* ---- trace.c ---- */

void sim_life_add(struct sim *s, uint64_t life, int node, uint32_t n);
const char *sim_life_text(const struct sim *s, uint64_t life, char *out, size_t n);
const char *sim_id_text(const struct sim *s, struct zmqnet_id id, char *out, size_t n);
uint64_t sim_life_of(const struct sim *s, int node, uint32_t n);
extern const char *const sim_kind_names[ZN_KINDS];
void sim_say(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_say_msg(struct sim *s, const char *from, const char *to, const struct zn_msg *msg,
                 const char *fate);
void sim_say_done(struct sim *s, int node, const struct zn_action *a);
void sim_say_status(struct sim *s, const zmqnet_status *status);
/* What it has heard of the links of others. */
void sim_say_rows(struct sim *s, const zmqnet_status *status);
void sim_say_counters(struct sim *s, const zmqnet_status *status, bool all);

/* ---- commands.c, inject.c ---- */

/* Splits a line into words; "a b" is one word. Returns how many, -1 if there are too many. */
int sim_words(char *line, char **words, int words_max);
/* The value behind "key=" among the words, NULL if there is none. */
const char *sim_option(char **words, int n, const char *key);
/* Each returns NULL, or what is wrong with the words. */
const char *sim_inject(struct sim *s, char **words, int n);
const char *sim_obey(struct sim *s, const char *line);

/* ---- script.c, schedule.c, shrink.c, random.c ---- */

struct sim_lines {
    char **at;
    size_t n, max;
};

void sim_lines_add(struct sim_lines *l, const char *text);
void sim_lines_free(struct sim_lines *l);

/* What a seed is made into. */
struct sim_schedule {
    uint64_t seed;
    int replicas;                /* 0: by the seed */
    enum sim_pattern_id pattern; /* SIM_PATTERNS_N: by the seed */
    bool hour;                   /* of virtual time, instead of some seconds */
    bool pings;                  /* in the trace, and hellos */
};

struct sim_lines sim_schedule_make(const struct sim_schedule *p);

/* Writes the shortest part of `lines` that fails as it does to a transcript at `path`. False: it does
 * not fail, or cannot be written. */
bool sim_shrink(const struct sim_lines *lines, const char *title, const char *path,
                unsigned seconds);

int sim_script_main(char **files, int n, bool regen);
/* `hours`: each seed is an hour. */
int sim_random_main(int argc, char **argv, bool hours);

#endif
