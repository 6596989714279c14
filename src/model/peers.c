/* SPDX-License-Identifier: MIT */
/*
 * The peers file in memory: made from a file or a text, looked things up in, counted, freed.
 *
 * Reading happens in the thread that asks (peers_read.c says what is wrong with the values); what
 * stands beside them, defaults, endpoints and the hash, is worked out here. The result never
 * changes after, so any thread may read it, and its reference count is atomic. A file that has
 * errors, cannot be read or is too large gives sentences and no result. Only memory can run out.
 */
#include "model/peers.h"

#include "model/diag.h"
#include "model/peers_read.h"
#include "model/ports.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what follows from the values ---- */

static uint64_t hash_bytes(uint64_t h, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    return h;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct zmqnet_replica *const *)a)->name,
                  (*(const struct zmqnet_replica *const *)b)->name);
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    return hash_bytes(h, text, strlen(text));
}

/* A byte 00 stands between any two values, so that no two lists of values are the same bytes. */
static uint64_t hash_port(uint64_t h, uint16_t port)
{
    char digits[8];
    snprintf(digits, sizeof digits, "%u", (unsigned)port);
    return hash_text(hash_bytes(h, "", 1), digits);
}

/* Ports that are as by default follow from what is hashed, whether the file says them or not. */
static uint64_t hash_replica(uint64_t h, const zmqnet_peers *peers, size_t i)
{
    const struct zmqnet_replica *replica = &peers->replicas[i];
    h = hash_text(h, replica->name);
    h = hash_text(hash_bytes(h, "", 1), replica->host);
    h = hash_port(h, replica->port);
    if (!zn_ports_are_default(replica))
        h = hash_port(hash_port(h, replica->pub_port), replica->ack_port);
    return hash_text(h, "\n");
}

/* Sorted first, so that files which list the same replicas in another order are the same mesh. */
static void hash_all(zmqnet_peers *peers)
{
    const struct zmqnet_replica *sorted[ZN_REPLICAS_MAX];
    peers->hash = peers->names_hash = 14695981039346656037u;
    for (size_t i = 0; i < peers->n; i++)
        sorted[i] = &peers->replicas[i];
    qsort(sorted, peers->n, sizeof *sorted, by_name);
    for (size_t i = 0; i < peers->n; i++) {
        peers->sorted[i] = (uint8_t)(sorted[i] - peers->replicas);
        peers->hash = hash_replica(peers->hash, peers, peers->sorted[i]);
        peers->names_hash = hash_text(hash_text(peers->names_hash, sorted[i]->name), "\n");
    }
}

static void finish(zmqnet_peers *peers)
{
    for (size_t i = 0; i < peers->n; i++) {
        struct zmqnet_replica *replica = &peers->replicas[i];
        bool brackets = strchr(peers->hosts[i], ':') != NULL;
        snprintf(peers->endpoints[i], sizeof peers->endpoints[i], "tcp://%s%s%s:%u",
                 brackets ? "[" : "", peers->hosts[i], brackets ? "]" : "",
                 (unsigned)replica->port);
        replica->name = peers->names[i];
        replica->host = peers->hosts[i];
        replica->endpoint = peers->endpoints[i];
        zn_ports_complete(peers, i);
    }
    hash_all(peers);
}

static int parse(const char *text, size_t n, zmqnet_peers **out, struct zn_diags *diags)
{
    zmqnet_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return ZMQNET_ENOMEM;
    int rc = zn_peers_read(text, n, peers, diags);
    if (rc != 0) {
        free(peers);
        return rc;
    }
    atomic_init(&peers->refs, 1);
    finish(peers);
    *out = peers;
    return 0;
}

/* ---- the file ---- */

static void add_file_error(struct zn_diags *diags, int error)
{
    const char *remedy = "check the file and its file system";
    if (error == ENOENT || error == ENOTDIR)
        remedy = "create it, or give the path of a peers file";
    if (error == EACCES || error == EPERM)
        remedy = "make it readable for this user";
    if (error == EISDIR)
        remedy = "give the path of a file in it";
    char text[128];
    zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0, "%s; %s", strerror_r(error, text, sizeof text),
                 remedy);
}

/* At most `room` bytes of the file into `text`. Returns how many, or -1 with errno. */
static ssize_t read_all(int fd, char *text, size_t room)
{
    size_t n = 0;
    while (n < room) {
        ssize_t got = read(fd, text + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static int load(const char *path, char *text, zmqnet_peers **peers, struct zn_diags *diags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n = fd < 0 ? -1 : read_all(fd, text, ZN_PEERS_FILE_MAX + 1);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n >= 0 && n <= (ssize_t)ZN_PEERS_FILE_MAX)
        return parse(text, (size_t)n, peers, diags);
    if (n < 0)
        add_file_error(diags, error);
    else
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "the file is larger than %u bytes; give the path of a peers file",
                     ZN_PEERS_FILE_MAX);
    return ZMQNET_ECONFIG;
}

/* ---- ports that meet ---- */

static int report_same(const zmqnet_peers *peers, struct zn_port_at one, struct zn_port_at other,
                       struct zmqnet_diag *diag)
{
    static const char *const words[] = {"port", "pub port", "ack port"};
    struct zn_diags diags = {.out = diag, .max = diag != NULL};
    zn_diags_add(&diags, ZMQNET_ECONFIG, 0, 0,
                 "the %s of %s%s and the %s of %s%s are both %u; give \"ports\" in the peers file",
                 words[one.which], peers->names[one.replica],
                 zn_ports_given(peers, one) ? "" : " (default)", words[other.which],
                 peers->names[other.replica], zn_ports_given(peers, other) ? "" : " (default)",
                 (unsigned)zn_ports_get(peers, one));
    return ZMQNET_ECONFIG;
}

/* ---- public ---- */

static bool arguments_valid(const void *input, zmqnet_peers **peers,
                            const struct zmqnet_diag *diags, size_t diags_max, size_t *diags_n)
{
    if (diags_n)
        *diags_n = 0;
    if (peers)
        *peers = NULL;
    return input && peers && (diags || diags_max == 0);
}

int zmqnet_peers_parse(const char *text, size_t text_bytes, zmqnet_peers **peers,
                       struct zmqnet_diag *diags, size_t diags_max, size_t *diags_n)
{
    if (!arguments_valid(text, peers, diags, diags_max, diags_n))
        return ZMQNET_EINVAL;
    struct zn_diags found = {.out = diags, .max = diags_max};
    int rc = ZMQNET_ECONFIG;
    if (text_bytes > ZN_PEERS_FILE_MAX)
        zn_diags_add(&found, ZMQNET_ECONFIG, 0, 0, "the text is larger than %u bytes; shorten it",
                     ZN_PEERS_FILE_MAX);
    else
        rc = parse(text, text_bytes, peers, &found);
    if (diags_n)
        *diags_n = found.n;
    return rc;
}

int zmqnet_peers_load(const char *path, zmqnet_peers **peers, struct zmqnet_diag *diags,
                      size_t diags_max, size_t *diags_n)
{
    if (!arguments_valid(path, peers, diags, diags_max, diags_n))
        return ZMQNET_EINVAL;
    struct zn_diags found = {.out = diags, .max = diags_max};
    char *text = malloc(ZN_PEERS_FILE_MAX + 1);
    int rc = text ? load(path, text, peers, &found) : ZMQNET_ENOMEM;
    free(text);
    if (diags_n)
        *diags_n = found.n;
    return rc;
}

size_t zmqnet_peers_count(const zmqnet_peers *peers) { return peers->n; }

const struct zmqnet_replica *zmqnet_peers_get(const zmqnet_peers *peers, size_t i)
{
    return i < peers->n ? &peers->replicas[i] : NULL;
}

int zmqnet_peers_find(const zmqnet_peers *peers, const char *name)
{
    for (size_t i = 0; name && i < peers->n; i++)
        if (strcmp(peers->names[i], name) == 0)
            return (int)i;
    return -1;
}

int zmqnet_peers_check_ports(const zmqnet_peers *peers, struct zmqnet_diag *diag)
{
    struct zn_port_at at, same;
    if (!peers)
        return ZMQNET_EINVAL;
    for (at.replica = 0; at.replica < peers->n; at.replica++)
        for (at.which = 0; at.which < ZN_PORTS; at.which++)
            if (zn_ports_same(peers, at, &same))
                return report_same(peers, same, at, diag);
    return 0;
}

void zmqnet_peers_free(zmqnet_peers **peers)
{
    const zmqnet_peers *constant = *peers;
    *peers = NULL;
    zn_peers_drop(&constant);
}

/* The count is the one thing in it that changes, so the casts are sound: the memory is calloc's. */
const zmqnet_peers *zn_peers_ref(const zmqnet_peers *peers)
{
    zmqnet_peers *counted = (zmqnet_peers *)peers;
    unsigned before = atomic_fetch_add_explicit(&counted->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return peers;
}

void zn_peers_drop(const zmqnet_peers **peers)
{
    zmqnet_peers *counted = (zmqnet_peers *)*peers;
    *peers = NULL;
    if (!counted)
        return;
    unsigned before = atomic_fetch_sub_explicit(&counted->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(counted);
}
