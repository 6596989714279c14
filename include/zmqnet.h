/* SPDX-License-Identifier: MIT */
/*
 * zmqnet: every replica of a replicated system asks, and answers, every other one, over ZeroMQ,
 * with no broker in between.
 *
 * The shape of a program:
 *
 *     zmqnet_peers_load("peers.json", &peers, ...);    who there is
 *     zmqnet_open(&node, peers, &options, ...);        one replica (options.name) or a client (no name)
 *     zmqnet_start(node);                              a thread of its own ...
 *         or zmqnet_fd() + zmqnet_process();           ... or the caller's own event loop
 *     zmqnet_broadcast(node, body, n, NULL, &receipt); what became of it at each replica
 *     zmqnet_close(&node);
 *
 * Threads. A node is driven by exactly one thread, "the loop": the one that zmqnet_start() makes, or
 * the one that calls zmqnet_process(). Callbacks (handler, completion, progress, log, event) run in
 * the loop and must not block. Every other function may be called from any thread unless its comment
 * says otherwise.
 *
 * Results. Functions that can fail return 0 or a negative ZMQNET_E... code. Times are microseconds
 * in names ending in _us, milliseconds in names ending in _ms; sizes are bytes.
 *
 * Text. Every `const char *` is UTF-8 and NUL-terminated.
 */
#ifndef ZMQNET_H
#define ZMQNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ZMQNET_API __attribute__((visibility("default")))
#define ZMQNET_CHECKED __attribute__((warn_unused_result))
#else
#define ZMQNET_API
#define ZMQNET_CHECKED
#endif

#define ZMQNET_VERSION "0.1.0"

/* ---- errors ------------------------------------------------------------------------------- */

/* One list: name, fixed value, text. The values are part of the wire format: never renumber. */
#define ZMQNET_ERRORS(X)                                                                           \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(ECONFIG, -3, "the peers file has errors")                                                    \
    X(ENOPEER, -4, "no such replica in the peers file")                                            \
    X(EADDRINUSE, -5, "the port is taken")                                                         \
    X(EADDR, -6, "the address cannot be resolved or bound")                                        \
    X(ENOFILE, -7, "too few file descriptors")                                                     \
    X(ESYSTEM, -8, "a system call failed")                                                         \
    X(ESTATE, -9, "not possible in this state")                                                    \
    X(EDEADLK, -10, "a blocking call from the loop's own thread")                                  \
    X(ECLOSED, -11, "the node is closing")                                                         \
    X(EFULL, -12, "a queue or table is full")                                                      \
    X(ETOOBIG, -13, "the message is above the size limit")                                         \
    X(ENOQUORUM, -14, "the quorum was not reached")                                                \
    X(EUNKNOWN, -15, "sent, but not answered in time: it may have happened")                       \
    X(ENEVERSENT, -16, "never sent")                                                               \
    X(EREFUSED, -17, "the handler refused")                                                        \
    X(ELIFE, -18, "meant for another life of this replica")                                        \
    X(ETOOOLD, -19, "older than the dedup window: not run")                                        \
    X(EHELLO, -20, "no hello on this link yet")                                                    \
    X(EVERSION, -21, "protocol versions do not fit")                                               \
    X(EPATTERN, -22, "patterns do not fit")                                                        \
    X(ENAME, -23, "another replica answers at this address")                                       \
    X(ECLASH, -24, "another replica runs under this name")                                         \
    X(EPROTO, -25, "the message cannot be understood")                                             \
    X(ESECURITY, -26, "refused for security")

enum zmqnet_error {
    ZMQNET_OK = 0,
#define ZMQNET_ERROR_ENUM(name, value, text) ZMQNET_##name = value,
    ZMQNET_ERRORS(ZMQNET_ERROR_ENUM)
#undef ZMQNET_ERROR_ENUM
};

/* The short name ("ENOPEER") and the sentence of a code; "OK" and "success" for 0, "EUNLISTED" and
 * "not a zmqnet error" for a number that is none. Static text. Any thread. Does not block. */
ZMQNET_API const char *zmqnet_error_name(int code);
ZMQNET_API const char *zmqnet_error_text(int code);

/* The version of the library that runs, to compare with ZMQNET_VERSION of the header. Static text. */
ZMQNET_API const char *zmqnet_version(void);

/* One thing that is wrong with the input. `text` is a whole sentence without a full stop that names
 * the thing and the remedy; it already holds the path of the value where there is one
 * ("replicas[1].port: 70000 is not a port (1..65535)"). */
struct zmqnet_diag {
    int code;         /* ZMQNET_E...; 0: a warning only */
    int line, column; /* from 1; 0: not known */
    char text[256];
};

/* ---- the peers file ----------------------------------------------------------------------- */

typedef struct zmqnet_peers zmqnet_peers; /* immutable once made */

struct zmqnet_replica {
    const char *name;     /* at most 64 bytes of [A-Za-z0-9._-] */
    const char *endpoint; /* "tcp://HOST:PORT", where the others reach it */
    const char *host;     /* name or numeric address, without brackets */
    uint16_t port;
    int64_t pid;       /* the file's precedence id, -1: none */
    uint16_t pub_port; /* pubsub publishes here; default: port + 1000; above 65535: port - 1000 */
    uint16_t ack_port; /* pubsub takes acks here; default: port + 2000; above 65535: port - 2000 */
};

/* Read a peers file.
 * path       the file.     peers  set on success; free with zmqnet_peers_free().
 * diags      room for diags_max entries, filled with everything that is wrong (errors and warnings),
 *            in the order of the file; may be NULL if diags_max is 0.
 * diags_n    set to how many there are in all, which may be more than diags_max; may be NULL.
 * Returns 0 (warnings possible), ZMQNET_ECONFIG, ZMQNET_EINVAL, ZMQNET_ENOMEM.
 * Any thread. Blocks for as long as the file system does. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_peers_load(const char *path, zmqnet_peers **peers,
                                                struct zmqnet_diag *diags, size_t diags_max,
                                                size_t *diags_n);

/* The same from memory: `text` of `text_bytes` bytes holds the JSON. Copied before return. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_peers_parse(const char *text, size_t text_bytes,
                                                 zmqnet_peers **peers, struct zmqnet_diag *diags,
                                                 size_t diags_max, size_t *diags_n);

/* How many replicas; the i-th in the file's order (owned by peers), NULL if there is none; the index
 * of a name, -1 if there is none. Any thread. Do not block. */
ZMQNET_API size_t zmqnet_peers_count(const zmqnet_peers *peers);
ZMQNET_API const struct zmqnet_replica *zmqnet_peers_get(const zmqnet_peers *peers, size_t i);
ZMQNET_API int zmqnet_peers_find(const zmqnet_peers *peers, const char *name);

/* Whether pubsub can use the file: a pub_port or ack_port that has its default may be another port
 * of the same host. Ports that the file itself gives twice are an error when it is read.
 * diag       which two ports, and the remedy, if the result is ZMQNET_ECONFIG; may be NULL.
 * Returns 0, ZMQNET_ECONFIG, ZMQNET_EINVAL. Any thread. Does not block. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_peers_check_ports(const zmqnet_peers *peers,
                                                       struct zmqnet_diag *diag);

/* Frees *peers and leaves NULL; *peers may be NULL. Nodes opened with it keep their own reference. */
ZMQNET_API void zmqnet_peers_free(zmqnet_peers **peers);

/* ---- what became of a request ------------------------------------------------------------- */

typedef struct zmqnet_node zmqnet_node;

struct zmqnet_id {
    uint64_t origin; /* random, new for every life of the caller; 0: the message had no id */
    uint64_t seq;    /* counts up from 1 */
};

enum zmqnet_outcome {
    ZMQNET_SELF = 1,   /* the coordinator's own handler returned success */
    ZMQNET_ACKED,      /* its handler returned success */
    ZMQNET_REFUSED,    /* its handler said no; `code` and `reply` say why */
    ZMQNET_UNACKED,    /* sent, no answer: it may have happened ("unknown" in text) */
    ZMQNET_NEVER_SENT, /* it has not happened and will not: safe to ask anew */
};

/* "self", "acked", "refused", "unknown", "never_sent"; "?" for anything else. Static text. */
ZMQNET_API const char *zmqnet_outcome_name(enum zmqnet_outcome outcome);

struct zmqnet_row {
    const char *name; /* of the replica */
    enum zmqnet_outcome outcome;
    uint32_t rtt_us;   /* SELF, ACKED, REFUSED: from first sending to the answer; else 0 */
    int32_t code;      /* REFUSED: the handler's own, > 0; else 0 */
    const char *why;   /* UNACKED, NEVER_SENT: the cause in words; else "" */
    const void *reply; /* what the handler answered; NULL if reply_bytes is 0 */
    size_t reply_bytes;
};

/* The receipt of one request or broadcast. Read only; its pointers live as long as it does. */
typedef struct zmqnet_receipt {
    int status; /* 0: quorum reached (broadcast), acked (request). Else ENOQUORUM, EREFUSED,
                          * EUNKNOWN, ENEVERSENT, or another code if nothing was tried */
    struct zmqnet_id id;
    const char *via; /* the coordinator's name; "" if none was reached */
    uint32_t need, have,
        of;              /* quorum wanted; acks counted, the coordinator's own included; replicas */
    uint64_t elapsed_us; /* from the call to its completion, seen by the caller */
    uint32_t attempts;   /* tries that were begun */
    size_t rows_n; /* broadcast: every replica of the peers file, in its order; request: one */
    const struct zmqnet_row *rows;
    const char *why; /* status != 0: one clause that says why; else "" */
} zmqnet_receipt;

/* Frees *receipt and leaves NULL; *receipt may be NULL. Any thread. */
ZMQNET_API void zmqnet_receipt_free(zmqnet_receipt **receipt);

/* ---- handlers ----------------------------------------------------------------------------- */

/* A message for this replica's handler. Valid until the handler returns. */
struct zmqnet_message {
    const char *from; /* the replica it came through; this replica's own name for its own clients */
    struct zmqnet_id id;
    const void *body; /* NULL if body_bytes is 0 */
    size_t body_bytes;
    uint64_t token; /* for zmqnet_answer() */
};

#define ZMQNET_LATER (-1000)  /* the handler has called, or will call, zmqnet_answer() */
#define ZMQNET_CODE_MAX 65535 /* largest code of a refusal */

/* Runs in the loop, at most once for one request id. Returns 0: success. 1..ZMQNET_CODE_MAX:
 * refused, with that code. ZMQNET_LATER: see there. Anything else counts as refused with code 1.
 * It may start requests with the _async functions. */
typedef int (*zmqnet_handler)(zmqnet_node *node, const struct zmqnet_message *message, void *arg);

/* Answer a message whose handler returned, or is going to return, ZMQNET_LATER.
 * token      from the message.     code  0: success; 1..ZMQNET_CODE_MAX: refused.
 * reply      reply_bytes bytes for the caller (of a refusal: UTF-8 text); copied; may be NULL if 0.
 * Returns 0, ZMQNET_EINVAL, ZMQNET_ETOOBIG, ZMQNET_EFULL, ZMQNET_ECLOSED, ZMQNET_ENOMEM. A token
 * that is not open any more is counted (answer_unasked) and otherwise ignored.
 * Any thread, the handler included. Does not block. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_answer(zmqnet_node *node, uint64_t token, int code,
                                            const void *reply, size_t reply_bytes);

/* ---- log and events ----------------------------------------------------------------------- */

enum zmqnet_level { ZMQNET_DEBUG, ZMQNET_INFO, ZMQNET_WARN, ZMQNET_ERROR };

/* One log record: `id` is listed in docs/events.md ("peer.down"), `text` is "key=value ...". */
typedef void (*zmqnet_log)(enum zmqnet_level level, const char *id, const char *text, void *arg);

/* What a replica knows of another one. Requests are sent to one that is up, slow or suspect alike; to
 * one that is down they are not. */
enum zmqnet_state {
    ZMQNET_CONNECTING = 1, /* no connection, or nobody has said hello on it yet */
    ZMQNET_UP,
    ZMQNET_DOWN,
    ZMQNET_LOCAL,   /* the replica itself */
    ZMQNET_SLOW,    /* it answers, but later than it used to */
    ZMQNET_SUSPECT, /* its answer is overdue: it turns out slow, or down */
};

/* "connecting", "up", "down", "self", "slow", "suspect"; "?" for anything else. Static text. */
ZMQNET_API const char *zmqnet_state_name(enum zmqnet_state state);

/* A thing that happened to the mesh. */
struct zmqnet_event {
    int code;         /* 0: `peer` moved to `state`; ZMQNET_ECLASH: another replica runs under
                              * this node's name, and this one should end */
    const char *peer; /* name of the replica that it is about */
    enum zmqnet_state state;
    const char *cause; /* in words; "" if there is none */
};
typedef void (*zmqnet_on_event)(zmqnet_node *node, const struct zmqnet_event *event, void *arg);

/* ---- a node ------------------------------------------------------------------------------- */

#define ZMQNET_MESSAGE_MAX (16u << 20) /* default limit of one message body, bytes */

struct zmqnet_options {
    const char *name;    /* the replica to be; NULL: a client */
    const char *via;     /* client: the only replica to talk to; NULL: any that is reached */
    const char *pattern; /* "router" (the default, also if NULL), "reqrep", "pubsub"; clients of
                          * all are the same, and ignore it */
    size_t message_max;  /* largest body sent or taken, bytes, 1..64 MiB; 0: ZMQNET_MESSAGE_MAX */
    zmqnet_handler handler; /* NULL: every message is acked */
    void *handler_arg;
    zmqnet_log log; /* NULL: no log */
    void *log_arg;
    enum zmqnet_level log_level; /* records below it are not made */
    zmqnet_on_event on_event;    /* NULL: none */
    void *event_arg;
};

/* All zero is a valid zmqnet_options: a client with every default. */

/* Open a node: a replica binds its port here; links to the others are made once it is driven.
 * node       set on success; end with zmqnet_close().
 * peers      not NULL; the node keeps a reference of its own.
 * options    NULL: a client. Strings are copied.
 * diag       on failure: what and the remedy; may be NULL.
 * Raises RLIMIT_NOFILE as far as needed and allowed. Blocks SIGPIPE in no thread; needs no signal.
 * Returns 0, ZMQNET_EINVAL, ZMQNET_ENOPEER (options.name or .via is not in the file),
 * ZMQNET_EADDRINUSE, ZMQNET_EADDR, ZMQNET_ENOFILE, ZMQNET_ESYSTEM, ZMQNET_ENOMEM.
 * Any thread. A replica blocks while its own address is resolved. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_open(zmqnet_node **node, const zmqnet_peers *peers,
                                          const struct zmqnet_options *options,
                                          struct zmqnet_diag *diag);

/* Give the node a thread that drives it. All signals are blocked in that thread.
 * Returns 0, ZMQNET_ESTATE (started or stopped already), ZMQNET_ESYSTEM. Any thread. Does not block. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_start(zmqnet_node *node);

/* A descriptor that is readable (poll, epoll) whenever zmqnet_process() has something to do, timers
 * included. Owned by the node. -1 if the node has a thread of its own. */
ZMQNET_API int zmqnet_fd(zmqnet_node *node);

/* Do what is due now: one turn of the loop, bounded work; the descriptor stays readable if more is
 * left. Always from the same thread. Does not block.
 * Returns 0, ZMQNET_ESTATE (the node has a thread of its own), ZMQNET_ECLOSED (zmqnet_stop() is
 * done). */
ZMQNET_API ZMQNET_CHECKED int zmqnet_process(zmqnet_node *node);

/* Take no new requests, then finish what is open or fail it after grace_ms, tell the peers, and end
 * the loop. Calls made from now on return ZMQNET_ECLOSED; those open complete before it ends.
 * grace_ms   0..60000.
 * Returns 0, ZMQNET_EINVAL, ZMQNET_EDEADLK (from the loop's own thread). With a thread of its own
 * this blocks until the loop has ended, at most grace_ms, 50 ms and one turn; else it returns at once
 * and zmqnet_process() returns ZMQNET_ECLOSED when it is done. A second call changes nothing. */
ZMQNET_API int zmqnet_stop(zmqnet_node *node, uint32_t grace_ms);

/* Stop with a grace of 0 if that was not done, free everything, and leave NULL. Every completion
 * callback has run when it returns. *node may be NULL. Not from a callback. */
ZMQNET_API void zmqnet_close(zmqnet_node **node);

/* ---- asking ------------------------------------------------------------------------------- */

#define ZMQNET_TIMEOUT_MS 6000u /* default, all attempts together */
#define ZMQNET_TIMEOUT_MAX_MS 300000u
#define ZMQNET_ATTEMPTS 3u /* default */
#define ZMQNET_ATTEMPTS_MAX 100u
#define ZMQNET_QUORUM_ALL 0 /* default */
#define ZMQNET_QUORUM_MAJORITY (-1)

/* One row of an open broadcast was settled. The row is valid until the callback returns. */
typedef void (*zmqnet_progress)(zmqnet_node *node, struct zmqnet_id id,
                                const struct zmqnet_row *row, void *arg);

/* The request is complete. Runs exactly once for each accepted call, in the loop. The callee owns
 * the receipt and frees it with zmqnet_receipt_free(). */
typedef void (*zmqnet_done)(zmqnet_node *node, zmqnet_receipt *receipt, void *arg);

struct zmqnet_call {
    uint32_t timeout_ms; /* all attempts together, 1..ZMQNET_TIMEOUT_MAX_MS; 0: the default */
    uint32_t attempts; /* 1..ZMQNET_ATTEMPTS_MAX; 0: the default. Attempts share the time equally */
    int quorum;        /* broadcast: ZMQNET_QUORUM_..., or how many of the replicas, from 1 */
    bool idempotent; /* running it twice does no harm: a retry may go to a later life of a replica */
    zmqnet_progress progress; /* broadcast by a replica: per settled peer; NULL: none */
    void *progress_arg;
};

/* Hand a message to every replica and learn what became of it at each. On a replica this node
 * coordinates: its own handler runs first and if that refuses nothing is sent. A client has its
 * replica (options.via, or any that is reached) coordinate.
 * body       body_bytes bytes, at most message_max; copied before return; may be NULL if 0.
 * call       NULL: every default.
 * receipt    set to the receipt whenever the call was accepted, whatever its status; free with
 *            zmqnet_receipt_free().
 * Returns the receipt's status, or, with *receipt left NULL, ZMQNET_EINVAL, ZMQNET_ETOOBIG,
 * ZMQNET_EFULL, ZMQNET_ECLOSED, ZMQNET_EDEADLK (from a callback), ZMQNET_ESTATE (the node has no
 * thread of its own), ZMQNET_ENOMEM.
 * Any thread but the loop's. Blocks at most timeout_ms and one turn of the loop. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_broadcast(zmqnet_node *node, const void *body,
                                               size_t body_bytes, const struct zmqnet_call *call,
                                               zmqnet_receipt **receipt);

/* Ask one replica. On a replica: `peer` is asked directly (itself: its own handler). On a client:
 * the replica that it talks to asks `peer`; NULL: that replica's own handler. Otherwise as
 * zmqnet_broadcast(), and ZMQNET_ENOPEER. `quorum` is ignored. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_request(zmqnet_node *node, const char *peer, const void *body,
                                             size_t body_bytes, const struct zmqnet_call *call,
                                             zmqnet_receipt **receipt);

/* The same without blocking: `done` runs in the loop if, and only if, 0 is returned. Any thread,
 * callbacks included. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_broadcast_async(zmqnet_node *node, const void *body,
                                                     size_t body_bytes,
                                                     const struct zmqnet_call *call,
                                                     zmqnet_done done, void *arg);
ZMQNET_API ZMQNET_CHECKED int zmqnet_request_async(zmqnet_node *node, const char *peer,
                                                   const void *body, size_t body_bytes,
                                                   const struct zmqnet_call *call, zmqnet_done done,
                                                   void *arg);

/* ---- status ------------------------------------------------------------------------------- */

struct zmqnet_counter {
    const char *name; /* listed in docs/events.md */
    uint64_t value;
};

struct zmqnet_peer_status {
    const char *name, *endpoint;
    enum zmqnet_state state;
    uint64_t since_us; /* for how long it has been in this state */
    const char *cause; /* why it is in this state; "" if there is no more to say */
    uint32_t rtt_us;   /* of pings, smoothed; 0: not known */
    uint64_t queue_messages, queue_bytes; /* waiting here, not sent yet */
    uint64_t inflight;                    /* sent, not answered yet */
    uint64_t sent, acked, refused, unknown,
        never_sent;         /* rows by outcome; sent counts first sends */
    uint64_t retries, late; /* sends after the first; answers after completion */
    bool config_differs;    /* its peers file is not the same as ours */
};

/* What a replica told of its link to another one. */
struct zmqnet_link {
    uint8_t state; /* enum zmqnet_state; 0, or a number that this version does not know: not known */
    uint8_t cause; /* zmqnet_cause_text() has the words; 0: none */
};

/* What another replica told of its links when it was last heard. It proves nothing: a replica that
 * lies can mislead whoever looks at it, and nothing else. */
struct zmqnet_heard {
    const char *name;
    uint64_t age_us;                 /* since then; one that is too old is left out */
    const struct zmqnet_link *links; /* peers_n of them, in the order of the peers */
};

/* A snapshot of one replica's view. Read only; its pointers live as long as it does. */
typedef struct zmqnet_status {
    const char *name; /* "" for a client */
    const char *pattern;
    uint64_t life; /* random, new for every life of the replica */
    uint64_t uptime_us;
    size_t peers_n; /* every replica of the peers file, in its order */
    const struct zmqnet_peer_status *peers;
    size_t counters_n;
    const struct zmqnet_counter *counters;
    size_t rows_n; /* of those replicas that were heard of late, this one not among them */
    const struct zmqnet_heard *rows;
} zmqnet_status;

/* Take a snapshot: of this node (peer NULL), or, on a client, the view of replica `peer`, asked over
 * the mesh.
 * timeout_ms  for a remote one, 1..ZMQNET_TIMEOUT_MAX_MS; 0: the default.
 * status      set on success; free with zmqnet_status_free().
 * why         on failure: "" or the cause in words, static text; may be NULL.
 * Returns 0, ZMQNET_EINVAL, ZMQNET_ENOPEER, ZMQNET_ENEVERSENT, ZMQNET_EUNKNOWN, ZMQNET_ECLOSED,
 * ZMQNET_EDEADLK, ZMQNET_ESTATE, ZMQNET_EFULL, ZMQNET_ENOMEM.
 * Any thread but the loop's. Blocks at most timeout_ms and one turn of the loop. */
ZMQNET_API ZMQNET_CHECKED int zmqnet_status_get(zmqnet_node *node, const char *peer,
                                                uint32_t timeout_ms, zmqnet_status **status,
                                                const char **why);

/* The cause of a link in words: "connection refused"; "" for 0, "another cause" for what this version
 * does not know. Static text. */
ZMQNET_API const char *zmqnet_cause_text(unsigned cause);

/* Frees *status and leaves NULL; *status may be NULL. Any thread. */
ZMQNET_API void zmqnet_status_free(zmqnet_status **status);

#ifdef __cplusplus
}
#endif
#endif
