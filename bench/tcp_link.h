/* SPDX-License-Identifier: MIT */
#ifndef BENCH_TCP_LINK_H
#define BENCH_TCP_LINK_H

#include "load.h"

#define TCP_PREFIX_BYTES (sizeof(uint32_t) + sizeof(struct raw_head))

/* Bytes from begin to end are waiting. All zero is empty; free(bytes) when done. */
struct tcp_buffer {
    char *bytes;
    size_t begin, end, room;
};

void tcp_append(struct tcp_buffer *b, const void *bytes, size_t n);
/* Read what there is: 1 if there was something, 0 if not now, -1 if the other side is gone. */
int tcp_fill(int fd, struct tcp_buffer *b);
/* The next whole frame, which stays where it is: 1, 0 if there is none yet, -1 if it is none. */
int tcp_take(struct tcp_buffer *b, struct raw_head *head, const char **payload, size_t *bytes);
/* What stands in front of a payload of so many bytes. */
void tcp_put_prefix(char prefix[TCP_PREFIX_BYTES], const struct raw_head *head, size_t bytes);
/* A socket that listens at an address, or is connected to it; -1: errno says why not. */
int tcp_open_socket(const char *address, bool listens);

extern const struct load_transport tcp_transport;

#endif
