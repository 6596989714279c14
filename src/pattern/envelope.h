/* SPDX-License-Identifier: MIT */
/*
 * The envelope of a message that came on our port: its frames up to and including the first empty
 * one, the sender's routing id first. It is kept to stand in front of the answer.
 */
#ifndef ZN_PATTERN_ENVELOPE_H
#define ZN_PATTERN_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "core/counters.h"

/* Each frame stands behind its length, two bytes in the machine's order. */
#define ZN_ENVELOPE_ROOM (ZN_ENVELOPE_BYTES_MAX + 2 * ZN_ENVELOPE_FRAMES_MAX)

struct zn_envelope {
    size_t bytes;      /* used in `data` */
    size_t kept_bytes; /* of frames, without their lengths */
    uint32_t frames;   /* kept; the routing id and the delimiter count too */
    uint32_t seen;     /* frames of this message so far, up to 3: more makes no difference */
    uint32_t bodies;   /* frames behind the delimiter, up to 2 */
    bool delimited, overflow;
    uint8_t data[ZN_ENVELOPE_ROOM];
};

enum zn_envelope_verdict { ZN_ENVELOPE_MORE, ZN_ENVELOPE_BODY, ZN_ENVELOPE_BAD };

void zn_envelope_begin(struct zn_envelope *e);
/* One frame of the message; `more` follow. Returns MORE; or, for the last frame, BODY: this frame is
 * the body and the envelope is complete; or BAD: *bad says as what to count the message. */
enum zn_envelope_verdict zn_envelope_frame(struct zn_envelope *e, const void *data, size_t n,
                                           bool more, enum zn_counter *bad);

/* Walk a kept envelope: *at starts at 0. False: no more frames. */
bool zn_envelope_next(const uint8_t *data, size_t bytes, size_t *at, const uint8_t **frame,
                      size_t *n);

#endif
