/* SPDX-License-Identifier: MIT */
/*
 * A replica that lives in the caller's own epoll loop: no thread is made, nothing blocks.
 *
 *     cc embed.c $(pkg-config --cflags --libs zmqnet) -o embed
 *     ./embed peers.json alpha            one terminal for each replica of the file
 *
 * The loop below watches two descriptors, the standard input and the node. Each line is broadcast; its
 * receipt is printed when it is complete, while others may already be under way. At the end of
 * the input the node finishes what is open and the program ends.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <zmqnet.h>

static int deliver(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)arg;
    const char *text = message->body ? message->body : "";
    printf("deliver %s %.*s\n", message->from, (int)message->body_bytes, text);
    return 0;
}

static void complete(zmqnet_node *node, zmqnet_receipt *receipt, void *arg)
{
    (void)node, (void)arg;
    printf("receipt %u/%u %s\n", receipt->have, receipt->of, zmqnet_error_text(receipt->status));
    zmqnet_receipt_free(&receipt);
}

/* Broadcast what can be read now: on a terminal, one line. False at the end of the input. */
static bool read_and_send(zmqnet_node *node)
{
    char text[4096];
    ssize_t n = read(STDIN_FILENO, text, sizeof text);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return false;
    if (text[n - 1] == '\n')
        n--;
    int rc = zmqnet_broadcast_async(node, text, (size_t)n, NULL, complete, NULL);
    if (rc != 0)
        fprintf(stderr, "%s\n", zmqnet_error_text(rc));
    return true;
}

static int watch(int loop, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

/* Returns 0 when the node has ended, or a negative code. */
static int run(zmqnet_node *node, int loop)
{
    int node_fd = zmqnet_fd(node), rc = 0;
    if (watch(loop, node_fd) != 0 || watch(loop, STDIN_FILENO) != 0)
        return ZMQNET_ESYSTEM;
    while (rc == 0) {
        struct epoll_event ready[2];
        int n = epoll_wait(loop, ready, 2, -1);
        if (n < 0 && errno != EINTR)
            return ZMQNET_ESYSTEM;
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == node_fd) {
                rc = zmqnet_process(node);
            } else if (!read_and_send(node)) {
                epoll_ctl(loop, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
                zmqnet_stop(node, 1000);
            }
        }
    }
    return rc == ZMQNET_ECLOSED ? 0 : rc;
}

int main(int argc, char **argv)
{
    struct zmqnet_diag diag = {0};
    zmqnet_peers *peers = NULL;
    zmqnet_node *node = NULL;
    if (argc != 3)
        return fprintf(stderr, "use: embed PEERS NAME\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct zmqnet_options options = {.name = argv[2], .handler = deliver};
    int rc = loop < 0 ? ZMQNET_ESYSTEM : zmqnet_peers_load(argv[1], &peers, &diag, 1, NULL);
    if (rc == 0)
        rc = zmqnet_open(&node, peers, &options, &diag);
    if (rc == 0)
        rc = run(node, loop);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", zmqnet_error_text(rc), diag.text);
    zmqnet_close(&node);
    zmqnet_peers_free(&peers);
    if (loop >= 0)
        close(loop);
    return rc == 0 ? 0 : 1;
}
