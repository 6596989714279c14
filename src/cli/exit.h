/* SPDX-License-Identifier: MIT */
/*
 * What the command returns. Scripts read these numbers: they are never renumbered.
 */
#ifndef ZN_CLI_EXIT_H
#define ZN_CLI_EXIT_H

#define ZN_EXITS(X)                                                                                \
    X(OK, 0, "what was asked for happened")                                                        \
    X(FAILED, 1, "another failure at run time")                                                    \
    X(USAGE, 2, "usage or configuration; nothing was sent")                                        \
    X(DEGRADED, 3, "degraded: the mesh has a majority, but not every replica")                     \
    X(NO_QUORUM, 4, "no quorum, or quorum impossible")                                             \
    X(UNKNOWN, 5, "unknown: sent, no answer in time; it may have happened")                        \
    X(NEVER_SENT, 6, "never sent: no replica reached, or its queue is full")                       \
    X(SECURITY, 7, "refused for security")                                                         \
    X(REFUSED, 8, "the handler refused")                                                           \
    X(JUDGEMENT, 9, "a judgement failed: bench --compare found B worse")                           \
    X(SIGINT, 130, "ended by SIGINT")                                                              \
    X(SIGTERM, 143, "ended by SIGTERM")

enum zn_exit {
#define ZN_EXIT_ENUM(name, value, text) ZN_EXIT_##name = value,
    ZN_EXITS(ZN_EXIT_ENUM)
#undef ZN_EXIT_ENUM
};

#endif
