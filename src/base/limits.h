/* SPDX-License-Identifier: MIT */
/*
 * Every maximum of the library, in one place. What is bounded here bounds the memory of a replica.
 * Sizes are bytes, times are microseconds.
 */
#ifndef ZN_BASE_LIMITS_H
#define ZN_BASE_LIMITS_H

#include <assert.h>

#define ZN_MS 1000ull
#define ZN_SECOND (1000ull * ZN_MS)

/* Who there is. A set of replicas is one 64-bit mask. */
#define ZN_REPLICAS_MAX 64
#define ZN_NAME_MAX 64
#define ZN_HOST_MAX 253
#define ZN_PEERS_FILE_MAX (1u << 20)

/* One message. */
#define ZN_MESSAGE_MAX_MAX (64u << 20)
#define ZN_WHY_MAX 200 /* text of a cause, as it crosses the wire */
#define ZN_PATTERN_NAME_MAX 16
#define ZN_ENDPOINT_MAX (ZN_HOST_MAX + 15) /* "tcp://[" host "]:65535" */
#define ZN_STATUS_COUNTERS_MAX 256
#define ZN_MESSAGE_FIELDS_MAX 8192 /* read of one message, those inside of others counted */
/* What a message takes beside its bodies, at most: two names, a text, the lives of all replicas. */
#define ZN_MESSAGE_HEAD_MAX 1024
#define ZN_ROW_HEAD_MAX 320
#define ZN_BODY_OVERHEAD (ZN_MESSAGE_HEAD_MAX + ZN_REPLICAS_MAX * ZN_ROW_HEAD_MAX)
#define ZN_ENVELOPE_FRAMES_MAX 8
#define ZN_ENVELOPE_BYTES_MAX 512

/* Batches: messages for one link that are ready together travel in one frame up to these. */
#define ZN_BATCH_MESSAGES_MAX 256
#define ZN_BATCH_BYTES_MAX (256u << 10)

/* Core's tables. */
#define ZN_CALLS_MAX 4096 /* open requests and receipts kept for repeats */
#define ZN_CALL_BYTES_MAX (256u << 20)
#define ZN_SERVED_MAX 16384 /* dedup window: requests being served, and stored answers */
#define ZN_SERVED_BYTES_MAX (64u << 20)
#define ZN_ORIGINS_MAX 65536 /* callers remembered by the dedup window */
#define ZN_SEARCH_MAX 64     /* slots looked at for one to give back: the old ones stand in front */
#define ZN_QUEUE_MESSAGES_MAX 2048 /* per peer: waiting to be sent */
#define ZN_QUEUE_BYTES_MAX (64u << 20)
#define ZN_WINDOW_MESSAGES_MAX 1024 /* per peer: sent and not answered */
#define ZN_WINDOW_BYTES_MAX (64u << 20)

/* Liveness and links. */
#define ZN_PING_US (500 * ZN_MS)
#define ZN_IDLE_PINGS_PER_SECOND 400 /* of all replicas of a mesh that has nothing else to say */
/* A peer that was pinged may be silent for its patience, as long as its answers let expect between
 * these two, before it is suspect, and so many times that long before it is down. */
#define ZN_PATIENCE_MIN_US (500 * ZN_MS)
#define ZN_PATIENCE_MAX_US (2 * ZN_SECOND)
#define ZN_DOWN_PATIENCES 3
#define ZN_LINK_BYTES_PER_S (1u << 20) /* a ping behind a large body has time for it at this rate */
#define ZN_SILENT_US (ZN_DOWN_PATIENCES * ZN_PATIENCE_MIN_US) /* the soonest that it is down */
/* One that was down by silence and is heard again has at least so many times the least patience,
 * for so long. */
#define ZN_RELAPSE_FACTOR 2
#define ZN_RELAPSE_US (60 * ZN_SECOND)
/* A peer is slow when it takes so many times its usual time to answer, and at least so long; usual is
 * the mean of so many answers. */
#define ZN_SLOW_FACTOR 4
#define ZN_SLOW_MIN_US (50 * ZN_MS)
#define ZN_RTT_HISTORY 256
#define ZN_RTT_FEW 64
#define ZN_PINGS_KEPT 4 /* whose pongs still tell how long they took */
/* When our own loop is late by so much it strains everybody's patience, by so much, nothing is
 * measured, and what is above so much is forgiven to the peers: more strain they cannot be given. */
#define ZN_LATE_US (10 * ZN_MS)
#define ZN_STALL_US (100 * ZN_MS)
#define ZN_FORGIVE_US (250 * ZN_MS)
/* So many times what our own loop was late, within so long, is added to everybody's patience. */
#define ZN_STRAIN_FACTOR 8
#define ZN_STRAIN_US (10 * ZN_SECOND)
/* Before somebody is accused of silence our own loop has to have run so long before. */
#define ZN_LOOK_US (10 * ZN_MS)
#define ZN_HELLO_US (2 * ZN_SECOND) /* a link whose hello is not answered by then is made anew */
#define ZN_REACH_US (4 * ZN_SECOND) /* so long after it was due twice, a peer's row is forgotten */
#define ZN_ORIGIN_KEEP_US (330 * ZN_SECOND)
#define ZN_LAST_LOOK_US                                                                            \
    (20 * ZN_MS) /* a failed broadcast waits this long for those who may answer */
#define ZN_RETRY_BACKOFF_MAX_US (ZN_SECOND)

/* Sockets. */
#define ZN_FILES_MAX 65536 /* descriptors that a replica asks for and counts connections by */
#define ZN_SHARED_SOCKETS_MAX 16384 /* of all clients of a process */
/* Frames that a pipe takes: one that is full is one whose peer has stopped reading. */
#define ZN_SOCKET_SEND_FRAMES 4096
#define ZN_SOCKET_RECEIVE_FRAMES 1024
#define ZN_RESOLVERS_MAX 4        /* threads: look-ups of names that go on at once */
#define ZN_WATCH_EVENTS_MAX 65536 /* comings and goings on a port that the loop has not read */
/* Subscriptions are short. What is longer costs a stranger the connection, and us no memory. */
#define ZN_SUBSCRIPTION_BYTES_MAX 1024

/* The loop. */
#define ZN_TURNS_MAX 4 /* without looking at the descriptors again */
#define ZN_LEAVE_US                                                                                \
    (50 * ZN_MS)             /* an ending replica keeps its connections until the last was read */
#define ZN_COMMANDS_MAX 8192 /* calls of other threads that the loop has not taken yet */
#define ZN_COMMAND_BYTES_MAX (256u << 20)
#define ZN_TURN_READ_US (5 * ZN_MS) /* and for at most so long, from one socket */
#define ZN_TURN_FRAMES_MAX 256      /* frames read from one socket in one turn */
#define ZN_STARVED_US (50 * ZN_MS)  /* what had no memory to leave is tried again after so long */
#define ZN_ROUTES_MAX 16384         /* connections and envelopes that answers may go to */
#define ZN_CONNECTIONS_MAX 16384    /* to the port that clients use; fewer if descriptors are few */
#define ZN_ROUTES_SHARE 1024        /* of them, for the envelopes of one connection */

/* The command. */
#define ZN_SPOOL_MAX (1u << 20) /* bytes of output kept for a reader that does not read */

/* The load of `zmqnet bench`. */
#define ZN_BENCH_CLIENTS_MAX 1000
#define ZN_BENCH_INFLIGHT_MAX 1024      /* per client */
#define ZN_BENCH_BYTES_MAX (256u << 20) /* bodies of all clients that are open at once */
#define ZN_BENCH_RATE_MAX 10000000      /* messages per second */

static_assert(ZN_REPLICAS_MAX <= 64, "a set of replicas is a 64-bit mask");
static_assert(ZN_SERVED_MAX >= 2 * ZN_CALLS_MAX, "every open call may serve a request");
static_assert(ZN_ORIGINS_MAX >= ZN_SERVED_MAX, "each served request has an origin");
static_assert(ZN_ORIGIN_KEEP_US > 300 * ZN_SECOND, "longer than the longest request");
static_assert(ZN_MESSAGE_MAX_MAX <= ZN_QUEUE_BYTES_MAX, "any message fits an empty queue");
static_assert(ZN_QUEUE_MESSAGES_MAX + ZN_WINDOW_MESSAGES_MAX < ZN_CALLS_MAX,
              "one stuck peer does not fill the request table");
static_assert(ZN_MESSAGE_HEAD_MAX > 8 * ZN_REPLICAS_MAX + 3 * ZN_NAME_MAX + ZN_WHY_MAX, "head");
static_assert(ZN_MESSAGE_FIELDS_MAX >
                  2 * (32 + ZN_REPLICAS_MAX * (7 + 18 + 4) + ZN_STATUS_COUNTERS_MAX * 3),
              "twice what a message has if it has everything");
static_assert(ZN_ROW_HEAD_MAX > ZN_NAME_MAX + ZN_WHY_MAX, "row");
static_assert(ZN_ROUTES_MAX >= 16 * ZN_ROUTES_SHARE, "no few connections take all routes");
static_assert(ZN_SOCKET_SEND_FRAMES > ZN_WINDOW_MESSAGES_MAX, "a window fits the pipe");
static_assert(ZN_FILES_MAX > 2 * ZN_CONNECTIONS_MAX, "half of them are for connections");
static_assert(ZN_RELAPSE_FACTOR * ZN_PATIENCE_MIN_US <= ZN_PATIENCE_MAX_US, "within the bounds");
static_assert(ZN_LOOK_US >= ZN_LATE_US, "a stall that passes a deadline is seen");
static_assert(ZN_STRAIN_FACTOR * ZN_FORGIVE_US >= ZN_PATIENCE_MAX_US, "strained to the bound");
static_assert(ZN_BATCH_BYTES_MAX <= ZN_WINDOW_BYTES_MAX, "a batch fits the window");
static_assert(ZN_BENCH_INFLIGHT_MAX <= ZN_WINDOW_MESSAGES_MAX, "an open message has been sent");

#endif
