/* SPDX-License-Identifier: MIT */
/*
 * The tables of the mesh, shared by the files of core/ and by nobody else.
 *
 *   mesh.c     open, close, the dispatcher of events
 *   peer.c     the state of each peer, and what its link does to it
 *   hello.c    hello and bye: who is there, in which life
 *   detector.c the failure detector: pings, how fast it answers, silence
 *   table.c    the request table: slots, and what gives way when it is full
 *   call.c     how a call begins, and whom it goes to
 *   reply.c    what comes back
 *   original.c a peer that is the original program
 *   complete.c quorum, receipts, the one completion
 *   deadline.c attempts, deadlines, the end
 *   rows.c     what becomes of a call at one peer; the queue and the flight of each peer
 *   serve.c    requests that arrive: who may ask, handler, answers
 *   window.c   the dedup window: which ids are known, what was answered, what is too old
 *   flush.c    what leaves, and what leaves together
 *   reach.c    what each peer tells of its own links
 *   status.c   counters and snapshots
 *   check.c    what must hold between two steps
 *
 * Slots are numbers into tables that are allocated once; ZN_NONE is no slot. Memory of a table is
 * first touched when a slot is first used, so that a small mesh stays small.
 */
#ifndef ZN_CORE_CORE_H
#define ZN_CORE_CORE_H

#include "base/heap.h"
#include "base/index.h"
#include "base/list.h"
#include "base/rand.h"
#include "core/mesh.h"

#define ZN_NONE UINT32_MAX
static_assert(ZN_NONE == ZN_LIST_NONE && ZN_NONE == ZN_INDEX_NONE, "one word for no slot");

/* The last of the error codes: what is below is none. */
#define ZN_ERROR_LAST ZMQNET_ESECURITY

/* ---- rows: one for each call and peer ---- */

enum zn_row_state {
    ZN_ROW_IDLE,    /* not begun */
    ZN_ROW_QUEUED,  /* in the peer's queue, never sent */
    ZN_ROW_SENT,    /* in the peer's flight: sent, not answered */
    ZN_ROW_AGAIN,   /* sent before, in the peer's queue to be sent again */
    ZN_ROW_SETTLED, /* has its outcome */
    ZN_ROW_STATES
};

struct zn_track {
    enum zn_row_state state;
    enum zn_why why;
    uint16_t sends;        /* times that it left */
    bool not_run;          /* the last answer was such: ask again soon */
    bool crossed;          /* sent to more than one life: the caller said that this does no harm */
    uint64_t life;         /* pinned: the life that it was first sent to; 0: not sent */
    uint64_t sent_us;      /* first sending; before that, and for ourselves, the beginning */
    struct zn_links links; /* in the peer's queue or flight, by row number */
};

struct zn_row_list {
    struct zn_list rows;
    uint32_t n;
    size_t bytes; /* of their bodies */
};

/* ---- calls ---- */

enum zn_call_state {
    ZN_CALL_FREE,
    ZN_CALL_SELF,     /* our own handler has it; nothing was sent */
    ZN_CALL_OPEN,     /* rows are under way */
    ZN_CALL_REPORTED, /* complete; stragglers go on, or the receipt is kept for repeats */
    ZN_CALL_STATES
};

struct zn_call {
    enum zn_call_state state;
    enum zn_ask ask;
    uint32_t slot, generation;
    uint32_t served; /* whose answer it makes; ZN_NONE: a call of our own user */
    uint64_t tag;    /* of our own user */
    int target;      /* ASK_ONE, ASK_STATUS; -1: the coordinator itself */
    int via;         /* client: the coordinator chosen, -1: not yet */
    struct zmqnet_id id;
    uint64_t floor; /* of a client's id: what the client has finished */
    struct zn_blob *body, *wire;
    size_t reply_bytes; /* of all rows */
    size_t lives_n;     /* of lives in m->lives: whom the encoding in wire is meant for */
    uint64_t start_us, deadline_us;
    uint64_t retry_us; /* when the next attempt begins; UINT64_MAX: there is none */
    uint64_t look_us; /* quorum is impossible: how long those that can still answer are waited for */
    uint64_t again_us; /* when rows that were not run for want of room are sent again */
    uint32_t attempts, attempt, backoffs;
    int32_t quorum;
    uint32_t of, need, have, pending;
    int status;
    bool idempotent, progress, refused_by_self;
    bool held; /* rows are being begun or settled together: look when it is done */
    struct zn_timer timer;
    struct zn_list *in;    /* the list that it is in, NULL: none */
    struct zn_links links; /* there; or in the free list, by next */
};

/* ---- served requests, the dedup window ---- */

enum zn_handler_state { ZN_HANDLER_NONE, ZN_HANDLER_RUNS, ZN_HANDLER_DONE };

/* What is known of one request id: the handler's result, and the receipt if we coordinate it. */
struct zn_served {
    bool used;
    enum zn_handler_state handler;
    enum zn_kind kind; /* of the message that came first; LEGACY has no id */
    enum zn_type type;
    uint32_t generation;
    uint32_t origin; /* slot of its caller; ZN_NONE: no id, freed when answered */
    struct zmqnet_id id;
    int from;               /* the peer that it came through, -1: a client of ours */
    zn_route request_route; /* who waits for the handler's result; 0: nobody */
    uint64_t request_life;  /* the asker's, goes into the answer's to_life */
    zn_route submit_route;  /* who waits for the receipt */
    uint32_t call;          /* the receipt; ZN_NONE: we do not coordinate it */
    int32_t code;
    struct zn_blob *reply;
    uint64_t expires_us;       /* nobody waits any more after this */
    struct zn_links in_origin; /* of the same origin */
    struct zn_links in_window; /* of all; or in the free list, by next */
    uint32_t answer_next;      /* waiting to be answered at the next flush */
    uint8_t answers;           /* ZN_ANSWER_... due */
};

#define ZN_ANSWER_REQUEST 1u
#define ZN_ANSWER_SUBMIT 2u

struct zn_origin {
    uint64_t origin, floor; /* ids up to floor are finished or forgotten: never run */
    uint64_t heard_us;
    struct zn_list served;  /* in order of arrival */
    struct zn_links in_lru; /* the one heard of last at the tail */
};

/* Served requests whose answers leave together. */
struct zn_answers {
    uint32_t head, tail;
};

/* ---- peers ---- */

/* Where a message on our port came from. */
struct zn_from {
    zn_route route; /* of its answer */
    uint64_t connection;
};

enum zn_greeting {
    ZN_GREET_NO_LINK,
    ZN_GREET_ASKED, /* our hello is out */
    ZN_GREET_DONE,  /* they answered: requests may leave */
    ZN_GREETINGS
};

/* How long a peer takes to answer a ping, or the first hello. */
struct zn_rtt {
    uint32_t smooth_us, vary_us;
    uint32_t samples;     /* at most ZN_RTT_HISTORY */
    int64_t usual_sum_us; /* of ZN_RTT_HISTORY samples, each as long as the mean of its history */
};

struct zn_ping {
    uint64_t at_us;
    uint64_t late_us; /* m->late_sum_us then */
    uint64_t bytes;   /* what was sent before it */
};

struct zn_peer {
    const char *name;
    enum zmqnet_state state;
    enum zn_greeting greeting;
    enum zn_why why; /* of the last move */
    bool wanted, blocked, config_differs;
    uint64_t since_us;
    uint64_t life;      /* learned from its hello on our link; 0: never */
    uint64_t heard_us;  /* last traffic on our link */
    uint64_t asked_us;  /* our hello, or the ping since which nothing was heard */
    uint64_t hello_us;  /* our last hello */
    uint64_t looked_us; /* when our own loop last ran in view of its silence */
    uint64_t ping_seq;
    struct zn_ping pings[ZN_PINGS_KEPT]; /* by ping_seq */
    bool pinging;
    uint64_t measured_us;            /* the last pong */
    uint64_t measured_from;          /* pings before this one are no samples */
    uint64_t sent_bytes, read_bytes; /* bodies handed to its links; those known to be through */
    uint64_t asked_bytes;            /* that were on their way before the ping that is out */
    uint64_t returned_us; /* heard again after it was down by silence; 0: never in this life */
    struct zn_rtt rtt;
    bool asked_again; /* our hello is out once more, on a link that was greeted before */
    struct zn_timer timer;

    uint64_t noted_us;      /* when a hello of it was last logged */
    uint64_t in_connection; /* on which it said hello to us; 0: none */
    uint64_t in_life, in_heard_us;
    struct zn_from rival; /* a hello of another life that waits for proof that ours is dead */
    uint64_t rival_life;
    uint64_t rival_seq; /* of the first ping that was sent after it */

    bool original;             /* on this link it is the original program */
    char patterns[ZN_WHY_MAX]; /* which one it speaks and which one we do, if they do not fit */
    uint64_t misfit_us;        /* when its hello on our port said so; 0: never */

    struct zn_row_list queue, flight;
    uint32_t frame[ZN_BATCH_MESSAGES_MAX]; /* rows of the frame that was emitted last */
    uint32_t frame_n;
    struct zn_answers answers;

    uint64_t sent, acked, refused, unknown, never_sent, retries, late;
};

/* What a peer said of its links, in the order of our peers file. */
struct zn_heard {
    uint64_t at_us; /* 0: nothing */
    struct zmqnet_link links[ZN_REPLICAS_MAX];
};

/* ---- the mesh ---- */

/* It goes through these in order, and never back. */
enum zn_phase {
    ZN_PHASE_OPENED, /* no event yet */
    ZN_PHASE_RUNNING,
    ZN_PHASE_DRAINING, /* takes nothing new */
    ZN_PHASE_CLOSING,  /* what was open is settled */
};

struct zn_mesh {
    const zmqnet_peers *peer_file;
    const char *self_name, *pattern, *pattern_too;
    uint32_t n;
    int self, via_only;
    uint64_t life, opened_us, now_us, seq;
    uint64_t late_us, late_at_us; /* by how much, and when, our own loop was late */
    uint64_t late_sum_us;         /* all of it that was not forgiven to the peers */
    struct zn_rand rand;
    struct zn_actions *out;
    size_t out_max;
    struct zn_mesh_config limits;
    enum zn_phase phase;

    struct zn_peer peers[ZN_REPLICAS_MAX];
    uint64_t sendable; /* peers with something in their queue that could leave */

    struct zn_call *calls;
    struct zn_row *rows;     /* n for each call */
    struct zn_track *tracks; /* n for each call */
    uint64_t *lives;         /* n for each call */
    uint32_t calls_fresh, calls_free, calls_open;
    /* Calls in the order of their age: the oldest is the head. */
    struct zn_list own;       /* of our own origin: the oldest is the floor */
    struct zn_list lingering; /* complete calls of others whose stragglers go on */
    struct zn_list kept;      /* receipts of others' calls that may still be asked for */
    struct zn_list ended;     /* freed in the next step: the actions of this one point to them */
    uint32_t answered;        /* served requests without an id, freed likewise; by answer_next */
    size_t call_bytes;
    struct zn_index calls_by_id;

    struct zn_served *served;
    uint32_t served_fresh, served_free, served_n;
    struct zn_list window; /* of those in use, in order of arrival */
    size_t served_bytes;
    struct zn_index served_by_id;
    struct zn_origin *origins;
    uint32_t origins_fresh;
    struct zn_list origins_lru;
    struct zn_index origins_by_id;
    struct zn_answers client_answers;

    struct zn_heap heap;
    uint64_t counters[ZN_COUNTERS_N];
    uint64_t noted[ZN_COUNTERS_N]; /* value when it was last logged */
    uint64_t noted_us[ZN_COUNTERS_N];
    uint64_t stranger_noted_us;
    zmqnet_status view;
    struct zmqnet_peer_status view_peers[ZN_REPLICAS_MAX];
    struct zmqnet_counter view_counters[ZN_COUNTERS_N];

    struct zmqnet_link links[ZN_REPLICAS_MAX]; /* our own row as we tell it, by name */
    struct zn_heard heard[ZN_REPLICAS_MAX];
    struct zmqnet_heard view_rows[ZN_REPLICAS_MAX];
};

#define ZN_TAG_PEER 0x80000000u /* timers of peers; those of calls carry the slot */

static inline bool zn_is_client(const struct zn_mesh *m) { return m->self < 0; }

/* Can requests be sent to it? Slow and suspect ones are treated as if they were up. */
static inline bool zn_peer_is_up(const struct zn_peer *p)
{
    return p->state == ZMQNET_UP || p->state == ZMQNET_SLOW || p->state == ZMQNET_SUSPECT;
}

static inline uint64_t zn_bit(int peer) { return 1ull << (unsigned)peer; }

static inline uint32_t zn_row_number(const struct zn_mesh *m, const struct zn_call *c, int peer)
{
    return c->slot * m->n + (uint32_t)peer;
}

static inline struct zn_row *zn_call_row(struct zn_mesh *m, const struct zn_call *c, int peer)
{
    return &m->rows[zn_row_number(m, c, peer)];
}

static inline struct zn_track *zn_call_track(struct zn_mesh *m, const struct zn_call *c, int peer)
{
    return &m->tracks[zn_row_number(m, c, peer)];
}

static inline bool zn_call_is_own(const struct zn_mesh *m, const struct zn_call *c)
{
    return c->id.origin == m->life;
}

static inline struct zn_call *zn_row_call(struct zn_mesh *m, uint32_t row)
{
    return &m->calls[row / m->n];
}

/* Is a message meant for this life? One that names none is meant for any. */
static inline bool zn_meant_for(const struct zn_msg *msg, uint64_t life)
{
    for (size_t i = 0; i < msg->lives_n; i++)
        if (msg->to_life[i] == life)
            return true;
    return msg->lives_n == 0;
}

/* mesh.c */
/* Be in this phase, if it is not past. */
void zn_mesh_enter(struct zn_mesh *m, enum zn_phase phase);
struct zn_action *zn_emit(struct zn_mesh *m, enum zn_action_type type);
/* Of what a hello brought, which strangers can send at will: at most once a second for each peer. */
void zn_note_hello(struct zn_mesh *m, enum zn_note_id id, int peer, enum zn_why why);
void zn_note_peer(struct zn_mesh *m, enum zn_note_id id, int peer, enum zn_why why);
/* A message of ours with type, kind and sender set. */
struct zn_msg zn_message(const struct zn_mesh *m, enum zn_type type, enum zn_kind kind);
/* Emit a control message on the link to a peer, or on a route; never queued. */
void zn_send_now(struct zn_mesh *m, int peer, const struct zn_msg *msg);
void zn_reply_now(struct zn_mesh *m, zn_route route, const struct zn_msg *msg);

/* status.c */
void zn_count(struct zn_mesh *m, enum zn_counter c);
/* Count something bad that arrived, and note it at most once a second. */
void zn_count_bad(struct zn_mesh *m, enum zn_counter c, int peer);

/* peer.c */
void zn_peer_open(struct zn_mesh *m, int peer);
void zn_peer_want(struct zn_mesh *m, int peer);
void zn_peer_move(struct zn_mesh *m, int peer, enum zmqnet_state to, enum zn_why why);
void zn_peer_down(struct zn_mesh *m, int peer, enum zn_why why);
/* The text of a cause that is about a peer; -1: about none that is known. */
const char *zn_peer_cause(const struct zn_mesh *m, int peer, enum zn_why why);
/* In lock step: is a hello or ping out that a request would make us lose the answer of? */
bool zn_peer_is_asked(const struct zn_mesh *m, int peer);
void zn_peer_link_up(struct zn_mesh *m, int peer);
void zn_peer_link_lost(struct zn_mesh *m, int peer);
void zn_peer_link_failed(struct zn_mesh *m, int peer, enum zn_why why);
void zn_peer_link_gap(struct zn_mesh *m, int peer);
void zn_peer_writable(struct zn_mesh *m, int peer);
/* Give up this link: what it is worth has been seen. */
void zn_peer_reset_link(struct zn_mesh *m, int peer, enum zn_why why);
/* What answers our hello there is none that we can work with. */
void zn_peer_refuse_link(struct zn_mesh *m, int peer, enum zn_why fault);
/* Its hello, of whatever kind, has come. */
void zn_peer_greeted(struct zn_mesh *m, int peer, uint64_t life);

/* hello.c */
void zn_peer_say_hello(struct zn_mesh *m, int peer);
/* It has lost our hello. */
void zn_peer_hello_again(struct zn_mesh *m, int peer);
void zn_peer_hello_answer(struct zn_mesh *m, int peer, const struct zn_msg *msg);
/* A hello or bye that came on our port. */
void zn_peer_hello_asked(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg);
void zn_peer_bye(struct zn_mesh *m, const struct zn_from *from, const struct zn_msg *msg);
void zn_peers_say_bye(struct zn_mesh *m);
/* The rival that waits, if there is one, is the peer, or is not. */
void zn_peer_rival_accept(struct zn_mesh *m, int peer);
void zn_peer_rival_refuse(struct zn_mesh *m, int peer);

/* detector.c */
void zn_peer_update_timer(struct zn_mesh *m, int peer);
/* How often a peer is pinged at least; in lock step, unless it owes an answer. */
uint64_t zn_peer_idle_us(const struct zn_mesh *m);
void zn_peer_tick(struct zn_mesh *m, int peer);
void zn_peer_ping(struct zn_mesh *m, int peer);
/* The ping that is out may not have been taken: the same one once more. */
void zn_peer_ping_again(struct zn_mesh *m, int peer);
void zn_peer_pong(struct zn_mesh *m, int peer, const struct zn_msg *msg);
/* This ping was answered just now. */
void zn_peer_measure(struct zn_mesh *m, int peer, uint64_t ping_seq);
/* Its hello has come. */
void zn_peer_measure_hello(struct zn_mesh *m, int peer);
void zn_peer_heard(struct zn_mesh *m, int peer);
/* A request left for it: it is pinged soon if it stays silent. */
void zn_peer_asked(struct zn_mesh *m, int peer);
/* The step before this one was then. If a timer has been due since, our own loop is late: that makes
 * it patient, and nobody else is to blame for more of it than that makes up for. */
void zn_peers_forgive(struct zn_mesh *m, uint64_t before_us);

/* reach.c */
/* Put our row into a message that leaves, if it is one that carries it. */
void zn_reach_tell(struct zn_mesh *m, struct zn_msg *msg);
/* A message of a peer, on its own connection, may hold its row. */
void zn_reach_hear(struct zn_mesh *m, int peer, const struct zn_msg *msg);
/* Write what is known of others into m->view_rows. Returns of how many. */
size_t zn_reach_view(struct zn_mesh *m, uint64_t now_us);

/* original.c */
/* A message without a kind on our link. */
void zn_original_answer(struct zn_mesh *m, int peer, struct zn_msg *msg);
void zn_original_asked(struct zn_mesh *m, int peer);
void zn_original_not_asked(struct zn_mesh *m, int peer);
/* May this be sent to it? If not, the row is settled. */
bool zn_original_takes(struct zn_mesh *m, struct zn_call *c, int peer);

/* rows.c */
void zn_row_list_init(struct zn_row_list *list);
void zn_row_begin(struct zn_mesh *m, struct zn_call *c, int peer);
void zn_row_sent(struct zn_mesh *m, struct zn_call *c, int peer);
void zn_row_unsend(struct zn_mesh *m, uint32_t row);
void zn_row_again(struct zn_mesh *m, struct zn_call *c, int peer);
/* Out of the queue, as if it had not begun. */
void zn_row_unqueue(struct zn_mesh *m, struct zn_call *c, int peer);
void zn_row_settle(struct zn_mesh *m, struct zn_call *c, int peer, enum zmqnet_outcome outcome,
                   enum zn_why why);
/* Nothing more will come of it: NEVER_SENT if that is certain, else UNACKED. */
void zn_row_give_up(struct zn_mesh *m, struct zn_call *c, int peer, enum zn_why why);
/* What a change of the peer means for the rows that wait for it. */
void zn_rows_peer_knows_us(struct zn_mesh *m, int peer);
void zn_rows_peer_greeted(struct zn_mesh *m, int peer);
/* Send all that is in flight once more: some of it, or its answers, are lost. */
void zn_rows_resend(struct zn_mesh *m, int peer);
void zn_rows_link_lost(struct zn_mesh *m, int peer);
void zn_rows_peer_down(struct zn_mesh *m, int peer, enum zn_why why);
bool zn_row_may_leave(struct zn_mesh *m, int peer);
void zn_rows_update_sendable(struct zn_mesh *m, int peer);

/* table.c */
int zn_call_open(struct zn_mesh *m, const struct zn_call_spec *spec, struct zmqnet_id id,
                 struct zn_call **out);
void zn_call_free(struct zn_mesh *m, struct zn_call *c);
void zn_call_move(struct zn_call *c, enum zn_call_state to);
/* Out of the list that it is in, to the end of another; NULL: into none. */
void zn_call_list(struct zn_mesh *m, struct zn_call *c, struct zn_list *to);
/* Every row of a complete call is settled. */
void zn_call_finish(struct zn_mesh *m, struct zn_call *c);
bool zn_calls_give_up_kept(struct zn_mesh *m);
void zn_calls_free_ended(struct zn_mesh *m);
/* Its receipt was answered and nobody can ask for it again: its stragglers go on alone. */
void zn_call_detach(struct zn_call *c);
uint64_t zn_call_token(const struct zn_call *c);
struct zn_call *zn_call_by_token(struct zn_mesh *m, uint64_t token);
/* All ids of our own origin up to here are finished. */
uint64_t zn_own_floor(const struct zn_mesh *m);
uint32_t zn_quorum_need(int32_t quorum, uint32_t of);

/* call.c */
/* Our own user's. */
void zn_call_begin(struct zn_mesh *m, const struct zn_call_spec *spec);
void zn_call_run(struct zn_mesh *m, struct zn_call *c);
/* Is our own handler among those asked? */
bool zn_call_asks_self(const struct zn_mesh *m, const struct zn_call *c);
void zn_call_self_done(struct zn_mesh *m, struct zn_call *c, int code, struct zn_blob *reply);
/* Keep what a handler answered, if there is room; returns why not. */
enum zn_why zn_call_keep_reply(struct zn_mesh *m, struct zn_call *c, struct zn_row *r,
                               struct zn_blob *reply);
/* Client without a fixed coordinator: what was not sent may go elsewhere. True: it does. */
bool zn_call_unassign(struct zn_mesh *m, struct zn_call *c, int peer);
/* Give a client's calls that have no coordinator yet one, if there is any. */
void zn_calls_assign(struct zn_mesh *m);

/* reply.c */
void zn_call_reply(struct zn_mesh *m, int peer, struct zn_msg *msg);

/* complete.c */
/* `receipt`: the coordinator's answer to a client, NULL: what we know ourselves. */
void zn_call_complete(struct zn_mesh *m, struct zn_call *c, int status,
                      const struct zn_msg *receipt);
/* Complete or finish it, if that can be said now. */
void zn_call_evaluate(struct zn_mesh *m, struct zn_call *c);
/* A row was settled: count, report, free as is due. */
void zn_call_row_settled(struct zn_mesh *m, struct zn_call *c, int peer);
/* The rows that its receipt shows. */
struct zn_row *zn_call_receipt(struct zn_mesh *m, const struct zn_call *c, size_t *rows_n);

/* deadline.c */
void zn_call_arm(struct zn_mesh *m, struct zn_call *c);
void zn_call_next_retry(struct zn_mesh *m, struct zn_call *c);
void zn_call_tick(struct zn_mesh *m, struct zn_call *c);
/* Give every row that is not settled its last outcome. The call may be gone afterwards. */
void zn_call_settle_all(struct zn_mesh *m, struct zn_call *c, enum zn_why why);
/* The encoding is out of date: whom it is meant for, or the attempt, has changed. */
void zn_call_drop_wire(struct zn_call *c);
void zn_calls_close(struct zn_mesh *m);

/* serve.c */
void zn_serve(struct zn_mesh *m, const struct zn_from *from, struct zn_msg *msg);
void zn_serve_answer(struct zn_mesh *m, uint64_t token, int code, struct zn_blob *reply);
bool zn_is_replica_origin(const struct zn_mesh *m, uint64_t origin);
/* Its call is complete: the receipt is due. */
void zn_serve_receipt(struct zn_mesh *m, struct zn_call *c);
void zn_serve_refuse(struct zn_mesh *m, zn_route route, const struct zn_msg *msg, int code);
/* Queue an answer for the next flush. */
void zn_answer_due(struct zn_mesh *m, struct zn_served *s, uint8_t which);

/* window.c */
enum zn_lookup { ZN_LOOKUP_NEW, ZN_LOOKUP_KNOWN, ZN_LOOKUP_TOO_OLD, ZN_LOOKUP_FULL };
enum zn_lookup zn_window_find(struct zn_mesh *m, struct zmqnet_id id, uint64_t floor,
                              struct zn_served **out);
/* For a request without an id. NULL: full. */
struct zn_served *zn_window_add_anonymous(struct zn_mesh *m);
/* True if this id was served here once, as far as that is still known. */
bool zn_window_was_here(const struct zn_mesh *m, struct zmqnet_id id);
bool zn_served_is_done(const struct zn_mesh *m, const struct zn_served *s);
/* Give back the slot: this id, if it had one, is too old from now on. */
void zn_window_free(struct zn_mesh *m, struct zn_served *s);
/* Give back the slot of an id that has not begun: it may come again. */
void zn_window_forget(struct zn_mesh *m, struct zn_served *s);
void zn_window_keep_reply(struct zn_mesh *m, struct zn_served *s, struct zn_blob *reply);
void zn_window_bye(struct zn_mesh *m, uint64_t origin);
/* What a coordinator may tell the others of a client's floor. */
uint64_t zn_window_floor(const struct zn_mesh *m, const struct zn_served *s, uint64_t floor);

/* flush.c */
void zn_flush_free_answered(struct zn_mesh *m);
int zn_flush(struct zn_mesh *m);
void zn_flush_failed(struct zn_mesh *m, int peer);

#endif
