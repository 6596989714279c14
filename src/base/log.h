/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_LOG_H
#define ZN_BASE_LOG_H

#include <stddef.h>

#include "zmqnet.h"

/* Where records go. All zero: nowhere. Any thread that the user's callback allows. */
struct zn_log {
    zmqnet_log write;
    void *arg;
    enum zmqnet_level level; /* records below are not made */
};

/* Make one record: text is "key=value ...", at most 511 bytes, cut with "..." if longer. */
void zn_log_write(const struct zn_log *log, enum zmqnet_level level, const char *id,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
