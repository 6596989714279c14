/* SPDX-License-Identifier: MIT */
/*
 * Holds the spool: lines arrive whole and in order, a reader that does not read costs counted lines
 * and never a wait, and a reader that went away is an error that is kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/spool.h"

#define LINE_BYTES 1000 /* the newline included */

static void put_line(struct zn_spool *s, uint64_t number)
{
    struct zn_text line = {0};
    zn_text_printf(&line, "%0*llu\n", LINE_BYTES - 1, (unsigned long long)number);
    zn_spool_put(s, &line);
    assert_int_equal(line.n, 0);
}

struct reader {
    int fd;
    char line[LINE_BYTES]; /* the part that was read so far */
    size_t have;
    uint64_t next; /* number of the line that must come */
};

/* Read what is there; each line must be the next number. */
static void read_lines(struct reader *r)
{
    char want[LINE_BYTES + 1];
    ssize_t n;
    while ((n = read(r->fd, r->line + r->have, sizeof r->line - r->have)) > 0) {
        r->have += (size_t)n;
        if (r->have < sizeof r->line)
            continue;
        snprintf(want, sizeof want, "%0*llu\n", LINE_BYTES - 1, (unsigned long long)r->next++);
        assert_memory_equal(r->line, want, sizeof r->line);
        r->have = 0;
    }
}

static void slow_reader(int fds[2])
{
    struct zn_spool s;
    struct reader reader = {.fd = fds[0]};
    uint64_t written = 0;
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    zn_spool_open(&s, fds[1]);
    /* More than the spool and the kernel's buffer hold: the rest is dropped, and nothing waits. */
    for (; s.dropped < 3; written++) {
        put_line(&s, written);
        zn_spool_flush(&s);
    }
    assert_int_equal(zn_spool_take_dropped(&s), 3);
    assert_int_equal(zn_spool_take_dropped(&s), 0);
    assert_true(zn_spool_pending(&s));
    assert_true(s.n <= ZN_SPOOL_MAX);
    while (zn_spool_pending(&s)) {
        read_lines(&reader);
        zn_spool_flush(&s);
    }
    read_lines(&reader);
    assert_int_equal(reader.next, written - 3);
    put_line(&s, reader.next);
    zn_spool_close(&s, 0);
    read_lines(&reader);
    assert_int_equal(reader.next, written - 2);
    assert_int_equal(s.error, 0);
    /* What we were given is as we got it. */
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
    close(fds[0]);
    close(fds[1]);
}

static void slow_pipe(void **state)
{
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    slow_reader(fds);
}

static void slow_socket(void **state)
{
    int fds[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    slow_reader(fds);
}

static void large_line(void **state)
{
    struct zn_spool s;
    struct zn_text line = {0};
    int fds[2];
    char *big = test_malloc(2 * ZN_SPOOL_MAX);
    (void)state;
    memset(big, 'x', 2 * ZN_SPOOL_MAX);
    assert_int_equal(pipe(fds), 0);
    zn_spool_open(&s, fds[1]);
    zn_text_bytes(&line, big, 2 * ZN_SPOOL_MAX);
    zn_spool_put(&s, &line);
    assert_int_equal(s.n, 2 * ZN_SPOOL_MAX);
    put_line(&s, 1);
    assert_int_equal(s.dropped, 1);
    zn_text_add(&line, "one\ntwo\nthree\n");
    zn_spool_put(&s, &line);
    assert_int_equal(s.dropped, 4);
    zn_spool_close(&s, 0);
    test_free(big);
    close(fds[0]);
    close(fds[1]);
}

static void reader_is_gone(void **state)
{
    struct zn_spool s;
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    zn_spool_open(&s, fds[1]);
    close(fds[0]);
    put_line(&s, 1);
    zn_spool_flush(&s);
    assert_int_equal(s.error, EPIPE);
    assert_false(zn_spool_pending(&s));
    put_line(&s, 2);
    assert_false(zn_spool_pending(&s));
    zn_spool_close(&s, 0);
    assert_int_equal(s.error, EPIPE);
    close(fds[1]);
}

static void lost_at_the_end_is_counted(void **state)
{
    struct zn_spool s;
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    zn_spool_open(&s, fds[1]);
    for (uint64_t i = 0; i < 500; i++)
        put_line(&s, i);
    zn_spool_close(&s, 0);
    assert_in_range(s.dropped, 400, 499);
    close(fds[0]);
    close(fds[1]);
}

/* A descriptor that is there but not open for writing, as standard output is when it was closed. */
static void not_writable(void **state)
{
    struct zn_spool s;
    int fd = open("/dev/null", O_RDONLY);
    (void)state;
    zn_spool_open(&s, fd);
    assert_int_equal(s.error, EBADF);
    put_line(&s, 1);
    assert_false(zn_spool_pending(&s));
    zn_spool_close(&s, 0);
    assert_int_equal(s.error, EBADF);
    close(fd);
}

static void hang_up(void **state)
{
    struct zn_spool s;
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    zn_spool_open(&s, fds[1]);
    put_line(&s, 1);
    zn_spool_hang_up(&s);
    assert_int_equal(s.error, EPIPE);
    assert_false(zn_spool_pending(&s));
    zn_spool_close(&s, 0);
    close(fds[0]);
    close(fds[1]);
}

static void *read_all(void *arg)
{
    char buffer[65536];
    char last = 0;
    ssize_t n;
    while ((n = read(*(int *)arg, buffer, sizeof buffer)) > 0)
        last = buffer[n - 1];
    return (void *)(intptr_t)last;
}

/* A line of which a part is written is finished, however short the linger. */
static void begun_line_is_finished(void **state)
{
    struct zn_spool s;
    struct zn_text line = {0};
    int fds[2];
    pthread_t thread;
    void *last;
    char *big = test_malloc(ZN_SPOOL_MAX);
    (void)state;
    memset(big, 'x', ZN_SPOOL_MAX);
    big[ZN_SPOOL_MAX - 1] = '\n';
    assert_int_equal(pipe(fds), 0);
    zn_spool_open(&s, fds[1]);
    zn_text_bytes(&line, big, ZN_SPOOL_MAX);
    zn_spool_put(&s, &line);
    zn_spool_flush(&s);
    assert_true(s.mid_line);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &fds[0]), 0);
    zn_spool_close(&s, 0);
    close(fds[1]);
    pthread_join(thread, &last);
    assert_int_equal((intptr_t)last, '\n');
    assert_int_equal(s.dropped, 0);
    test_free(big);
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_pipe),
        cmocka_unit_test(slow_socket),
        cmocka_unit_test(large_line),
        cmocka_unit_test(reader_is_gone),
        cmocka_unit_test(not_writable),
        cmocka_unit_test(hang_up),
        cmocka_unit_test(begun_line_is_finished),
        cmocka_unit_test(lost_at_the_end_is_counted),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
