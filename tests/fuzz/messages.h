/* SPDX-License-Identifier: MIT */
/* Messages that went over the wire and back: asserted to be the same. */
#ifndef ZN_TESTS_FUZZ_MESSAGES_H
#define ZN_TESTS_FUZZ_MESSAGES_H

#include "model/wire.h"

/* Field by field; a NULL text is an empty one. */
void same_msg(const struct zn_msg *a, const struct zn_msg *b);
/* Encodes the message and decodes it with `d`, which must not be the one that `msg` points into: it
 * must come back as it was, and be encoded to the same bytes again. Returns the encoding, to be
 * freed, and its length; NULL for the one message that has no bytes at all. */
uint8_t *there_and_back(const struct zn_msg *msg, struct zn_decoder *d, size_t *n);

#endif
