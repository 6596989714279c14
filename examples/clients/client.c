/* SPDX-License-Identifier: MIT */
/*
 * Hands a message to a replica and prints what became of it at each; README.md says how to run it.
 *
 * The replica has 2 s, and we wait a little longer, so that a receipt that took all of that still
 * comes. Exit codes: 0 all of them did it, 4 not all, 1 another error; 5 unknown.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "zmqnet.pb-c.h"

int main(int argc, char **argv)
{
    Zmqnet__Wire__Body ask = ZMQNET__WIRE__BODY__INIT, *receipt;
    if (argc != 4 || getentropy(&ask.origin, sizeof ask.origin) != 0)
        return fprintf(stderr, "use: client req|dealer ENDPOINT MESSAGE\n"), 2;
    ask.kind = ZMQNET__WIRE__KIND__SUBMIT, ask.seq = 1, ask.budget_ms = 2000, ask.attempt = 1;
    ask.message = (ProtobufCBinaryData){strlen(argv[3]), (uint8_t *)argv[3]};
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, zmqnet__wire__body__get_packed_size(&ask));
    zmqnet__wire__body__pack(&ask, zmq_msg_data(&frame));
    void *socket = zmq_socket(zmq_ctx_new(), strcmp(argv[1], "req") == 0 ? ZMQ_REQ : ZMQ_DEALER);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &(int){2500}, sizeof(int));
    if (zmq_connect(socket, argv[2]) != 0 || zmq_msg_send(&frame, socket, 0) < 0 ||
        zmq_msg_recv(&frame, socket, 0) < 0)
        return fprintf(stderr, "unknown, it may have happened: %s\n", zmq_strerror(zmq_errno())), 5;
    receipt = zmqnet__wire__body__unpack(NULL, zmq_msg_size(&frame), zmq_msg_data(&frame));
    static const char *const names[] = {"?", "SELF", "ACKED", "REFUSED", "UNKNOWN", "NEVER_SENT"};
    for (size_t i = 0; receipt && i < receipt->n_rows; i++)
        printf("%-10s %-10s %s\n", receipt->rows[i]->name, names[receipt->rows[i]->outcome % 6u],
               receipt->rows[i]->why);
    return !receipt ? 1 : receipt->code == 0 ? 0 : receipt->code == -14 ? 4 : 1;
}
