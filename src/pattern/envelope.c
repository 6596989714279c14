/* SPDX-License-Identifier: MIT */
/*
 * Parses messages frame by frame, without a socket, and keeps no more of a frame than the envelope
 * may hold, however many frames come. All input is a stranger's.
 *
 * Good path: routing id, envelope frames, one empty frame, one body frame; or routing id and one body
 * frame (a bare DEALER). Else, in this order: no delimiter, or several frames behind it: extra_frames;
 * an envelope above its limits: bad_envelope; no body, or one of no bytes: empty_message.
 */
#include "pattern/envelope.h"

#include <string.h>

void zn_envelope_begin(struct zn_envelope *e)
{
    e->bytes = e->kept_bytes = 0;
    e->frames = e->seen = e->bodies = 0;
    e->delimited = e->overflow = false;
}

static void keep(struct zn_envelope *e, const void *data, size_t n)
{
    if (e->frames == ZN_ENVELOPE_FRAMES_MAX || n > ZN_ENVELOPE_BYTES_MAX - e->kept_bytes) {
        e->overflow = true;
        return;
    }
    uint16_t length = (uint16_t)n;
    memcpy(e->data + e->bytes, &length, sizeof length);
    if (n > 0)
        memcpy(e->data + e->bytes + sizeof length, data, n);
    e->bytes += sizeof length + n;
    e->kept_bytes += n;
    e->frames++;
}

static enum zn_envelope_verdict judge(const struct zn_envelope *e, size_t n, enum zn_counter *bad)
{
    bool bare = !e->delimited && e->seen == 2;
    if (bare || (e->bodies == 1 && !e->overflow && n > 0))
        return ZN_ENVELOPE_BODY;
    if (!e->delimited || e->bodies > 1)
        *bad = ZN_COUNT_extra_frames;
    else if (e->overflow)
        *bad = ZN_COUNT_bad_envelope;
    else
        *bad = ZN_COUNT_empty_message;
    return ZN_ENVELOPE_BAD;
}

/* Whether a frame before any delimiter belongs to the envelope or is a bare body is known by `more`. */
enum zn_envelope_verdict zn_envelope_frame(struct zn_envelope *e, const void *data, size_t n,
                                           bool more, enum zn_counter *bad)
{
    e->seen += e->seen < 3;
    if (e->delimited) {
        e->bodies += e->bodies < 2;
    } else if (e->seen > 1 && n == 0) {
        e->delimited = true;
        keep(e, data, n);
    } else if (more) {
        keep(e, data, n);
    }
    return more ? ZN_ENVELOPE_MORE : judge(e, n, bad);
}

bool zn_envelope_next(const uint8_t *data, size_t bytes, size_t *at, const uint8_t **frame,
                      size_t *n)
{
    uint16_t length;
    if (*at + sizeof length > bytes)
        return false;
    memcpy(&length, data + *at, sizeof length);
    *frame = data + *at + sizeof length;
    *n = length;
    *at += sizeof length + length;
    return true;
}
