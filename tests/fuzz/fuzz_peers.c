/* SPDX-License-Identifier: MIT */
/*
 * The peers file. The input is its text: good or bad, but never both, and bad with a sentence for
 * every error. What was read is written as a file of the plainest form, which must be read as the same
 * mesh.
 */
#include "fuzz.h"

#include <stdio.h>

#include "base/limits.h"
#include "model/peers.h"

#define DIAGS_MAX 8

static void diags_check(int rc, const struct zmqnet_diag *diags, size_t n)
{
    size_t errors = 0;
    for (size_t i = 0; i < n && i < DIAGS_MAX; i++) {
        const struct zmqnet_diag *d = &diags[i];
        size_t bytes = strnlen(d->text, sizeof d->text);
        assert(bytes > 0 && bytes < sizeof d->text && zn_utf8_valid(d->text, bytes));
        assert(!strchr(d->text, '\n') && d->line >= 0 && d->column >= 0);
        assert((d->line == 0) == (d->column == 0));
        assert(d->code == 0 || d->code == ZMQNET_ECONFIG);
        errors += d->code != 0;
    }
    assert(rc == 0 || rc == ZMQNET_ECONFIG);
    assert(rc == 0 ? errors == 0 : errors > 0 || n > DIAGS_MAX);
}

static void replica_check(const zmqnet_peers *peers, size_t i)
{
    const struct zmqnet_replica *r = zmqnet_peers_get(peers, i);
    char endpoint[ZN_HOST_MAX + 16];
    bool brackets = strchr(r->host, ':') != NULL;
    snprintf(endpoint, sizeof endpoint, "tcp://%s%s%s:%u", brackets ? "[" : "", r->host,
             brackets ? "]" : "", (unsigned)r->port);
    assert(strcmp(endpoint, r->endpoint) == 0);
    assert(r->name[0] && strlen(r->name) <= ZN_NAME_MAX && strlen(r->host) <= ZN_HOST_MAX);
    assert(zmqnet_peers_find(peers, r->name) == (int)i);
    assert(r->port > 0 && r->pub_port > 0 && r->ack_port > 0);
}

/* The same replicas in another order and in other words. */
static size_t write_plain(const zmqnet_peers *peers, char *out, size_t room)
{
    size_t n = zmqnet_peers_count(peers), at = (size_t)snprintf(out, room, "{\"replicas\":[");
    for (size_t i = n; i-- > 0;) {
        const struct zmqnet_replica *r = zmqnet_peers_get(peers, i);
        at += (size_t)snprintf(out + at, room - at, "{\"name\":\"%s\",\"address\":\"%s\"", r->name,
                               r->endpoint + strlen("tcp://"));
        at += (size_t)snprintf(out + at, room - at, ",\"ports\":{\"pub\":%u,\"ack\":%u}}%s",
                               (unsigned)r->pub_port, (unsigned)r->ack_port, i > 0 ? "," : "");
    }
    return at + (size_t)snprintf(out + at, room - at, "]}");
}

static void read_back(const zmqnet_peers *peers)
{
    static char text[ZN_REPLICAS_MAX * (ZN_NAME_MAX + ZN_HOST_MAX + 120)];
    struct zmqnet_diag diag;
    zmqnet_peers *same;
    size_t n = write_plain(peers, text, sizeof text);
    int rc = zmqnet_peers_parse(text, n, &same, &diag, 1, NULL);
    /* Default ports that meet are no error until they are given. */
    if (rc != 0) {
        rc = zmqnet_peers_check_ports(peers, &diag);
        assert(rc == ZMQNET_ECONFIG && diag.text[0]);
        return;
    }
    assert(same->hash == peers->hash && same->n == peers->n);
    zmqnet_peers_free(&same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct zmqnet_diag diags[DIAGS_MAX], ports;
    zmqnet_peers *peers, *again;
    size_t found, found_again;
    const char *text = n > 0 ? (const char *)data : "";
    int rc = zmqnet_peers_parse(text, n, &peers, diags, DIAGS_MAX, &found);
    int rc_again = zmqnet_peers_parse(text, n, &again, NULL, 0, &found_again);
    assert(rc == rc_again && found == found_again && !peers == !again && (rc == 0) == (peers != 0));
    diags_check(rc, diags, found);
    if (rc != 0)
        return 0;
    for (size_t i = 0; i < zmqnet_peers_count(peers); i++)
        replica_check(peers, i);
    rc = zmqnet_peers_check_ports(peers, &ports);
    assert(rc == 0 || (rc == ZMQNET_ECONFIG && ports.text[0]));
    read_back(peers);
    zmqnet_peers_free(&peers);
    zmqnet_peers_free(&again);
    return 0;
}
