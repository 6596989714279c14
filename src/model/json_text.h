/* SPDX-License-Identifier: MIT */
#ifndef ZN_MODEL_JSON_TEXT_H
#define ZN_MODEL_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "model/diag.h"

/* Read one JSON value. What is wrong with the text is added to diags, with line and column: bytes
 * that are not text, the first breach of the syntax, each key that stands twice in its object. *out
 * is NULL if there is nothing to go on with, else the caller's to json_decref(). Returns 0 or
 * ZMQNET_ENOMEM. */
int zn_json_text_parse(const char *text, size_t text_bytes, struct zn_diags *diags, json_t **out);

#endif
