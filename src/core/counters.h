/* SPDX-License-Identifier: MIT */
/*
 * Everything that is counted for a replica as a whole: name, unit, help. `status --json` shows each
 * under its name and docs/events.md lists them; a test holds the two lists against each other.
 */
#ifndef ZN_CORE_COUNTERS_H
#define ZN_CORE_COUNTERS_H

/* clang-format off */
#define ZN_COUNTERS(X)                                                                             \
    X(frames_in, "frames", "frames that arrived, bad ones included")                               \
    X(frames_out, "frames", "frames handed to the transport")                                      \
    X(messages_in, "messages", "messages understood")                                              \
    X(messages_out, "messages", "messages sent, those in batches each")                            \
    X(delivered, "messages", "messages handed to the handler")                                     \
    X(broadcasts, "requests", "broadcasts coordinated here")                                       \
    X(requests, "requests", "requests to one replica begun here")                                  \
    X(bad_handshake, "connections", "connections that closed before they spoke ZMTP, at least")    \
    X(connections_full, "times", "times that the port took no new connections for a while")        \
    X(bad_envelope, "frames", "messages with too many or too long envelope frames")                \
    X(extra_frames, "messages", "messages with more than one body frame")                          \
    X(empty_message, "frames", "frames without a byte")                                            \
    X(bad_protobuf, "messages", "bytes that are not a protobuf Body")                              \
    X(oversize, "messages", "messages above the size limit")                                       \
    X(over_limit, "messages", "well-formed messages with a field above its limit")                 \
    X(unknown_type, "messages", "messages of a type that does not exist")                          \
    X(unknown_kind, "messages", "messages of a kind that does not exist or does not belong there") \
    X(no_hello, "requests", "requests on a connection that has not said hello")                    \
    X(forged_sender, "requests", "requests that name another sender than their connection's hello") \
    X(hello_refused, "hellos", "hellos refused: name, version, pattern, or ourselves")             \
    X(name_clash, "hellos", "hellos of a second replica under a name that is alive")               \
    X(config_differs, "hellos", "hellos of a replica with another peers file")                     \
    X(unasked_reply, "replies", "replies to nothing that was asked")                               \
    X(stale_reply, "replies", "replies meant for, or sent by, an earlier life")                    \
    X(late_reply, "replies", "replies that came after their row was settled")                      \
    X(duplicate, "requests", "repeats of a request, answered from the dedup window")               \
    X(too_old, "requests", "requests older than the dedup window, refused")                        \
    X(wrong_life, "requests", "requests meant for another life of this replica, refused")          \
    X(served_full, "requests", "requests refused because the dedup window was full")               \
    X(calls_full, "requests", "requests refused because the request table was full")               \
    X(queue_full, "rows", "rows never sent because the peer's queue was full")                     \
    X(gap, "gaps", "gaps in the sequence numbers of a publisher, reported to it")                  \
    X(gap_reported, "gaps", "gaps that a subscriber of ours has reported: what is open is resent") \
    X(sequence_back, "messages", "publications whose sequence number jumped back")                 \
    X(bad_topic, "messages", "subscriptions, or messages to the publisher, that are none of ours") \
    X(bad_ack, "messages", "messages on the ack port that are malformed or of no subscriber")      \
    X(closing, "requests", "requests refused because the replica is closing")                      \
    X(retries, "messages", "requests sent again to a replica")                                     \
    X(answers_lost, "answers", "answers that could not be handed to their connection")             \
    X(answer_unasked, "answers", "handler answers with a token that is not open")                  \
    X(loop_late, "turns", "turns of our own loop that were late: no peer is blamed for that")
/* clang-format on */

enum zn_counter {
#define ZN_COUNTER_ENUM(name, unit, help) ZN_COUNT_##name,
    ZN_COUNTERS(ZN_COUNTER_ENUM)
#undef ZN_COUNTER_ENUM
        ZN_COUNTERS_N
};

#endif
