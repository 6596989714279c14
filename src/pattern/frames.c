/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing pubsub's own frames. No state but what the caller holds; any thread.
 *
 * What is read comes from strangers: a reader says false, or BAD, and nothing else happens. A name is
 * looked at no further than that it is one: whose it is, the caller knows.
 */
#include "pattern/frames.h"

#include <string.h>

static void put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

/* ---- topics ---- */

size_t zn_topic_write(uint8_t *out, const char *name, uint64_t nonce)
{
    size_t n = strlen(name);
    out[0] = 'T';
    memcpy(out + 1, name, n + 1);
    put_u64(out + 1 + n + 1, nonce);
    return 1 + n + 1 + ZN_NONCE_BYTES;
}

bool zn_topic_read(const uint8_t *topic, size_t n, char *name, uint64_t *nonce)
{
    if (n < 1 + 1 + 1 + ZN_NONCE_BYTES || n > ZN_TOPIC_MAX || topic[0] != 'T')
        return false;
    size_t name_bytes = n - 1 - 1 - ZN_NONCE_BYTES;
    const uint8_t *end = memchr(topic + 1, '\0', name_bytes + 1);
    if (end != topic + 1 + name_bytes)
        return false;
    memcpy(name, topic + 1, name_bytes + 1);
    *nonce = get_u64(end + 1);
    return *nonce != 0;
}

/* ---- heads ---- */

void zn_sequence_write(uint8_t *out, struct zn_sequence sequence)
{
    put_u64(out, sequence.all);
    put_u64(out + 8, sequence.own);
}

struct zn_sequence zn_sequence_read(const uint8_t *at)
{
    return (struct zn_sequence){.all = get_u64(at), .own = get_u64(at + 8)};
}

void zn_ack_head_write(uint8_t *out, struct zn_ack_head head)
{
    out[0] = (uint8_t)head.kind;
    put_u64(out + 1, head.nonce);
}

bool zn_ack_head_read(const uint8_t *at, size_t n, struct zn_ack_head *head)
{
    if (n != ZN_ACK_HEAD_BYTES || at[0] > ZN_ACK_GAP)
        return false;
    *head = (struct zn_ack_head){at[0], get_u64(at + 1)};
    return true;
}

/* ---- pairs ---- */

enum zn_pair_verdict zn_pair_frame(struct zn_pair *p, zmq_msg_t *frame)
{
    size_t n = zmq_msg_size(frame);
    if (p->frames < 3)
        p->frames++;
    if (p->frames == 1) {
        p->head_bytes = n;
        memcpy(p->head, zmq_msg_data(frame), n < ZN_HEAD_MAX ? n : ZN_HEAD_MAX);
    }
    if (zmq_msg_more(frame))
        return ZN_PAIR_MORE;
    uint32_t frames = p->frames;
    p->frames = 0;
    if (frames > 2)
        return ZN_PAIR_BAD;
    return frames == 1 ? ZN_PAIR_HEAD : ZN_PAIR_BODY;
}
