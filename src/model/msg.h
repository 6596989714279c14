/* SPDX-License-Identifier: MIT */
/*
 * A message in memory: what core reads and writes, and what model/wire.h turns into bytes and back.
 * Everything that it points to is borrowed: from the decoder, from core's tables, or from a blob.
 */
#ifndef ZN_MODEL_MSG_H
#define ZN_MODEL_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "model/blob.h"
#include "zmqnet.h"

#define ZN_PROTOCOL_VERSION 1

/* Values are those of proto/zmqnet.proto. */
enum zn_type { ZN_SINGLE = 0, ZN_BOUNCE = 1, ZN_ERROR = 2 };

enum zn_kind {
    ZN_LEGACY = 0,
    ZN_HELLO,
    ZN_PING,
    ZN_PONG,
    ZN_REQUEST,
    ZN_SUBMIT,
    ZN_REPLY,
    ZN_STATUS,
    ZN_BYE,
    ZN_KINDS, /* how many; not a kind */
};

struct zn_row {
    const char *name;
    enum zmqnet_outcome outcome;
    uint32_t rtt_us;
    int32_t code;
    const char *why;
    struct zn_blob *reply;
};

struct zn_msg {
    enum zn_type type;
    enum zn_kind kind;
    const char *sender; /* "" if absent */
    struct zmqnet_id id;
    struct zn_blob *body;    /* decoded: owned by the caller of zn_decoder_next() */
    const uint64_t *to_life; /* lives_n of them */
    size_t lives_n;
    uint32_t budget_ms;
    uint32_t attempt;
    int32_t quorum;
    uint64_t floor;
    bool idempotent;
    int32_t code;
    struct zn_row *rows; /* rows_n of them */
    size_t rows_n;
    uint32_t need, have;
    const char *target; /* "" if absent */
    uint64_t life;
    uint32_t version;
    uint64_t peers_hash;
    const char *pattern;             /* "" if absent */
    const zmqnet_status *status;     /* NULL if absent */
    const struct zmqnet_link *links; /* links_n of them, by the names that names_hash is of */
    size_t links_n;
    uint64_t names_hash;
};

#endif
