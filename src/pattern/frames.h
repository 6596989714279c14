/* SPDX-License-Identifier: MIT */
/*
 * The bytes of pubsub's own frames, as docs/wire.md has them: topics, the head of a publication, the
 * head of an ack. Numbers are 64 bits, little-endian.
 */
#ifndef ZN_PATTERN_FRAMES_H
#define ZN_PATTERN_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "base/limits.h"

#define ZN_TOPIC_ALL "A"
#define ZN_TOPIC_ALL_BYTES 1
#define ZN_NONCE_BYTES 8
#define ZN_TOPIC_MAX (1 + ZN_NAME_MAX + 1 + ZN_NONCE_BYTES) /* 'T', name, NUL, nonce */
#define ZN_SEQUENCE_BYTES 16
#define ZN_ACK_HEAD_BYTES (1 + ZN_NONCE_BYTES)
#define ZN_HEAD_MAX (ZN_TOPIC_MAX + ZN_SEQUENCE_BYTES)

/* ---- topics ---- */

/* The topic of one subscriber; `out` has room for ZN_TOPIC_MAX. Returns its length. */
size_t zn_topic_write(uint8_t *out, const char *name, uint64_t nonce);
/* `name` has room for ZN_NAME_MAX + 1. False: it is no topic of a subscriber. */
bool zn_topic_read(const uint8_t *topic, size_t n, char *name, uint64_t *nonce);

/* ---- what follows the topic of a publication ---- */

struct zn_sequence {
    uint64_t all; /* publications to all so far */
    uint64_t own; /* publications on this topic so far; 0 on the topic of all */
};

void zn_sequence_write(uint8_t *out, struct zn_sequence sequence);
struct zn_sequence zn_sequence_read(const uint8_t *at);

/* ---- acks ---- */

enum zn_ack_kind { ZN_ACK_BODY, ZN_ACK_GAP };

struct zn_ack_head {
    enum zn_ack_kind kind;
    uint64_t nonce; /* of the sender's subscription at the receiver */
};

void zn_ack_head_write(uint8_t *out, struct zn_ack_head head);
bool zn_ack_head_read(const uint8_t *at, size_t n, struct zn_ack_head *head);

/* ---- a message of a head and a body, which arrives frame by frame ---- */

struct zn_pair {
    uint32_t frames;           /* of this message so far, up to 3: more makes no difference */
    size_t head_bytes;         /* as it came; */
    uint8_t head[ZN_HEAD_MAX]; /* cut to what a head may have */
};

enum zn_pair_verdict {
    ZN_PAIR_MORE, /* frames follow */
    ZN_PAIR_HEAD, /* it was one frame: the head */
    ZN_PAIR_BODY, /* it was two frames, and this one is the body */
    ZN_PAIR_BAD,  /* it was more frames */
};

/* All zero is the beginning, and after anything but MORE the next message begins by itself. */
enum zn_pair_verdict zn_pair_frame(struct zn_pair *p, zmq_msg_t *frame);

#endif
