/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_SESSION_H
#define ZN_CLI_SESSION_H

#include "cli/options.h"
#include "zmqnet.h"

/* What the commands that talk to a mesh share: the peers file, names, a client, its log,
 * signals. */

#define ZN_DIAGS_MAX 256

/* Load options->peers. Errors are reported (all of them); warnings are told if `warnings`.
 * Returns 0 with *peers set, or an exit code. */
int zn_session_peers(const struct zn_options *o, bool warnings, zmqnet_peers **peers);
/* The findings as the member "findings", a list of objects. */
void zn_session_findings(const struct zmqnet_diag *diags, size_t n, struct zn_json *j);
/* "peers.json:12:7: text", without what is not known, and on one line. */
void zn_session_diag(const char *path, const struct zmqnet_diag *diag, struct zn_text *out);
/* "alpha, bravo, charlie" */
void zn_session_names(const zmqnet_peers *peers, struct zn_text *out);
/* Is `name` in the peers file? NULL: it was not given, which is an error too. Reports, and returns an
 * exit code; or 0. */
int zn_session_check_name(const struct zn_options *o, const zmqnet_peers *peers, const char *name);

/* A client of replica `via`, neither started nor driven. Returns 0 or an exit code, with *problem
 * filled in. */
int zn_session_client(const struct zn_options *o, const zmqnet_peers *peers, const char *via,
                      zmqnet_node **node, struct zn_problem *problem);
/* The same, which tells `on_event` of its links. */
int zn_session_client_watched(const struct zn_options *o, const zmqnet_peers *peers,
                              const char *via, zmqnet_on_event on_event, void *event_arg,
                              zmqnet_node **node, struct zn_problem *problem);
/* Fill in that a descriptor could not be had, for the reason in errno. Returns the exit code. */
int zn_session_no_descriptor(struct zn_problem *problem);

/* The lowest level to log: of a command that stays (info, unless told otherwise), or of one that
 * answers one question (errors only). */
enum zmqnet_level zn_session_level(const struct zn_options *o, bool stays);
/* One record as a line: time, level, id, text. */
void zn_session_log_line(struct zn_text *out, enum zmqnet_level level, const char *id,
                         const char *text, bool colour);

/* Block SIGINT and SIGTERM in this thread and those that it starts; before a node is opened. */
void zn_session_block_signals(void);
/* Wait for one of them. Returns it, or 0 after timeout_ms. */
int zn_session_wait_signal(unsigned timeout_ms);
/* timeout(1) and service managers send their one SIGTERM to the process and then to its whole group:
 * a second signal this soon after the first is the same one. */
#define ZN_SAME_SIGNAL_US 100000ull
/* 130 or 143 */
int zn_session_signal_exit(int signal);

/* "localhost:3266", "[::1]:3266" */
void zn_session_address(const struct zmqnet_replica *replica, struct zn_text *out);
/* Add the cause, and the address of the replica if it helps: "connection refused,
 * localhost:3266". */
void zn_session_cause(const zmqnet_peers *peers, const char *name, const char *cause,
                      struct zn_text *out);
/* What helps against a replica that is not reached for this cause, for a hint; "" if nothing is
 * known. */
#define ZN_REMEDY_MAX 256
void zn_session_remedy(const zmqnet_peers *peers, const char *name, const char *cause,
                       char out[ZN_REMEDY_MAX]);

#endif
