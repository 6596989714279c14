/* SPDX-License-Identifier: MIT */
/* What the bound socket and the links' sockets have in common: options, events, sending a blob. */
#ifndef ZN_PATTERN_SOCKET_H
#define ZN_PATTERN_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "model/blob.h"

/* A body's frame, or a batch, is at most this long; what is longer is counted and dropped. */
size_t zn_frame_max(size_t message_max);

/* A socket with every option of ours that must be set before it binds or connects. Returns 0,
 * ZMQNET_ENOFILE, ZMQNET_ENOMEM. */
int zn_socket_make(void *context, int type, size_t message_max, bool ipv6, void **out);
void zn_socket_set_int(void *s, int option, int value);

/* ZMQ_POLLIN and ZMQ_POLLOUT as they are now. This also has the socket do its own work, and clears
 * its descriptor: whoever reads the events must act on them. */
int zn_socket_events(void *s);
int zn_socket_fd(void *s);

/* Receive what is there, frame by frame, within the budget of one socket in one turn. `take` has each
 * frame until it returns, and must not close the socket. Returns whether there is more to read. */
bool zn_socket_read(void *s, void (*take)(void *arg, zmq_msg_t *frame), void *arg);

/* Make a blob a message to be sent. A large one is not copied: the message holds a reference until it
 * has left. Returns 0 or ZMQNET_ENOMEM. */
int zn_socket_wrap(struct zn_blob *frame, zmq_msg_t *msg);
/* Send one frame without blocking; flags: 0 or ZMQ_SNDMORE. Return 0 or an errno value: EAGAIN,
 * EHOSTUNREACH. The message is closed in any case. */
int zn_socket_send(void *s, zmq_msg_t *msg, int flags);
int zn_socket_send_bytes(void *s, const void *data, size_t n, int flags);

/* What was sent just before still leaves, for at most `linger_ms`; does not block (ending the
 * context does, for as long). */
void zn_socket_close(void **s, int linger_ms);

#endif
