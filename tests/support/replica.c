/* SPDX-License-Identifier: MIT */
/*
 * A replica whose handler does what the message says, for the tests:
 *
 *     refuse CODE TEXT   refuses with that code and text
 *     hold               answers when a line comes on stdin, not before
 *     hold all           the same, and so do all that follow until then
 *     anything else      succeeds, and answers with the text "got " and the message
 *
 * use: replica PEERS NAME [PATTERN]
 * It prints the same ready and deliver lines as `zmqnet serve`, and ends with 0 on SIGTERM. The
 * main thread waits for signals and input; the node has a thread of its own, where the handler runs.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "zmqnet.h"

#define HELD_MAX 4096
#define STOP_MS 1000

/* Filled by the handler before it prints the deliver line, read by main after a line on stdin: who
 * writes that line has read the deliver line. */
static _Atomic int held_n;
static _Atomic bool holds_all;
static uint64_t held[HELD_MAX];

static int refuse(zmqnet_node *node, const struct zmqnet_message *m, const char *rest)
{
    char *text;
    long code = strtol(rest, &text, 10);
    if (*text == ' ')
        text++;
    if (zmqnet_answer(node, m->token, (int)code, text, strlen(text)) != 0)
        abort();
    return ZMQNET_LATER;
}

static int handle(zmqnet_node *node, const struct zmqnet_message *m, void *arg)
{
    (void)arg;
    char text[256];
    int bytes = snprintf(text, sizeof text, "got %.*s", (int)m->body_bytes,
                         m->body ? (const char *)m->body : "");
    const char *body = text + 4;
    if (strcmp(body, "hold all") == 0)
        holds_all = true;
    bool hold = (holds_all || strcmp(body, "hold") == 0) && held_n < HELD_MAX;
    if (hold)
        held[held_n++] = m->token;
    printf("deliver %s %016llx-%llu %s\n", m->from, (unsigned long long)m->id.origin,
           (unsigned long long)m->id.seq, body);
    if (hold)
        return ZMQNET_LATER;
    if (strncmp(body, "refuse ", 7) == 0)
        return refuse(node, m, body + 7);
    if (bytes < 0 || zmqnet_answer(node, m->token, 0, text, strlen(text)) != 0)
        abort();
    return ZMQNET_LATER;
}

static int answer_held(zmqnet_node *node)
{
    char line[16];
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        return -1;
    holds_all = false;
    for (int i = 0; i < held_n; i++)
        if (zmqnet_answer(node, held[i], 0, "at last", 7) != 0)
            return -1;
    held_n = 0;
    return 0;
}

static void wait_for_the_end(zmqnet_node *node, int signals)
{
    struct pollfd ready[] = {{.fd = signals, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(ready, 2, -1) > 0 && !ready[0].revents)
        if (ready[1].revents && answer_held(node) != 0)
            ready[1].fd = -1;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4)
        return fprintf(stderr, "use: replica PEERS NAME [PATTERN]\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);

    struct zmqnet_diag diag = {0};
    zmqnet_peers *peers = NULL;
    zmqnet_node *node = NULL;
    struct zmqnet_options options = {.name = argv[2], .pattern = argv[3], .handler = handle};
    int rc = zmqnet_peers_load(argv[1], &peers, &diag, 1, NULL);
    if (rc == 0)
        rc = zmqnet_open(&node, peers, &options, &diag);
    if (rc == 0)
        rc = zmqnet_start(node);
    if (rc != 0)
        return fprintf(stderr, "%s: %s\n", zmqnet_error_text(rc), diag.text), 1;
    printf("ready %s\n", argv[2]);

    wait_for_the_end(node, signals);
    rc = zmqnet_stop(node, STOP_MS);
    zmqnet_close(&node);
    zmqnet_peers_free(&peers);
    return rc == 0 ? 0 : 1;
}
