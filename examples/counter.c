/* SPDX-License-Identifier: MIT */
/*
 * A counter that is kept equal on all replicas.
 *
 *     cc counter.c $(pkg-config --cflags --libs zmqnet) -o counter
 *     ./counter peers.json alpha          one terminal for each replica of the file
 *
 * Each line of input is a number that is added everywhere; an empty line only shows the value. Adding
 * commutes, so the order in which the replicas see the numbers does not matter, and a handler runs at
 * most once for one request, so a retry adds nothing twice. What a replica misses while it is down
 * it does not learn later: the receipt says so, and a real service would repair it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmqnet.h>

static atomic_long value; /* changed by the node's thread, read by ours */

/* Runs in the node's thread, here and on every other replica. */
static int add(zmqnet_node *node, const struct zmqnet_message *message, void *arg)
{
    (void)node, (void)arg;
    char text[32] = "", *end;
    if (message->body_bytes == 0 || message->body_bytes >= sizeof text)
        return 1;
    memcpy(text, message->body, message->body_bytes);
    long delta = strtol(text, &end, 10);
    if (*end != '\0')
        return 1; /* refused: not a number */
    atomic_fetch_add(&value, delta);
    return 0;
}

static void add_everywhere(zmqnet_node *node, const char *line)
{
    zmqnet_receipt *receipt = NULL;
    int rc = zmqnet_broadcast(node, line, strlen(line), NULL, &receipt);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", line, zmqnet_error_text(rc));
    for (size_t i = 0; rc != 0 && receipt && i < receipt->rows_n; i++) {
        const struct zmqnet_row *row = &receipt->rows[i];
        fprintf(stderr, "  %s: %s %s\n", row->name, zmqnet_outcome_name(row->outcome), row->why);
    }
    zmqnet_receipt_free(&receipt);
}

int main(int argc, char **argv)
{
    struct zmqnet_diag diag = {0};
    zmqnet_peers *peers = NULL;
    zmqnet_node *node = NULL;
    if (argc != 3)
        return fprintf(stderr, "use: counter PEERS NAME\n"), 2;
    struct zmqnet_options options = {.name = argv[2], .handler = add};
    int rc = zmqnet_peers_load(argv[1], &peers, &diag, 1, NULL);
    if (rc == 0)
        rc = zmqnet_open(&node, peers, &options, &diag);
    if (rc == 0)
        rc = zmqnet_start(node);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", zmqnet_error_text(rc), diag.text);

    char line[32];
    while (rc == 0 && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            add_everywhere(node, line);
        printf("%ld\n", atomic_load(&value));
        fflush(stdout);
    }
    if (rc == 0)
        rc = zmqnet_stop(node, 1000); /* what the others still wait for is answered */
    zmqnet_close(&node);
    zmqnet_peers_free(&peers);
    return rc == 0 ? 0 : 1;
}
