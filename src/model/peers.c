/* SPDX-License-Identifier: MIT */
/*
 * The peers file: JSON text to who there is and where, checked in full before anything uses it.
 *
 * Reading happens in the thread that asks; the result never changes after, so any thread may read
 * it, and its reference count is atomic. Everything that is wrong is reported in one run: a value
 * that cannot be used is reported and skipped, and the checks go on with the next. Values that
 * contradict each other but leave no doubt what to do are warnings. Keys that are not known are
 * left alone, because the file is shared with other programs.
 *
 * Limits of the numbers in the file are checked before they are narrowed; all strings are copied
 * into the one block that the result is. Only memory can run out.
 */
#include "model/peers.h"

#include "base/parse.h"
#include "model/diag.h"
#include "model/json_text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PORT_MAX 65535

/* The entry of the list that is being read. */
struct reader {
    struct zn_diags *diags;
    zmqnet_peers *peers;
    size_t i;
    const json_t *entry;
    const char *address_key; /* where its host came from */
};

/* ---- sentences ---- */

static void add(const struct reader *r, int code, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add(const struct reader *r, int code, const char *key, const char *format, ...)
{
    char text[sizeof((struct zmqnet_diag *)0)->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    zn_diags_add(r->diags, code, 0, 0, "replicas[%zu]%s%s: %s", r->i, *key ? "." : "", key, text);
}

/* A JSON value as it stands in a sentence. */
static const char *cite(struct zn_cite *c, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return zn_cite(c, '"', json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        snprintf(c->text, sizeof c->text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return c->text;
    case JSON_REAL: snprintf(c->text, sizeof c->text, "%g", json_real_value(value)); return c->text;
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    default: return "null";
    }
}

/* The text under a key; NULL, and a sentence if it is there at all, if it is not a text. */
static const char *text_of(const struct reader *r, const char *key, const char *what)
{
    struct zn_cite c;
    const json_t *value = json_object_get(r->entry, key);
    if (value && !json_is_string(value))
        add(r, ZMQNET_ECONFIG, key, "%s is not %s; write text in double quotes", cite(&c, value),
            what);
    return json_string_value(value);
}

/* ---- the values of one replica ---- */

static bool only_of(const char *text, const char *more)
{
    for (; *text; text++)
        if (!(*text >= 'a' && *text <= 'z') && !(*text >= 'A' && *text <= 'Z') &&
            !(*text >= '0' && *text <= '9') && !strchr(more, *text))
            return false;
    return true;
}

static void read_name(const struct reader *r)
{
    static const char key[] = "name";
    struct zn_cite c;
    const char *name = text_of(r, key, "a name");
    if (!json_object_get(r->entry, key))
        add(r, ZMQNET_ECONFIG, key, "missing; give the replica a name of its own");
    if (!name)
        return;
    size_t n = strlen(name);
    zn_cite(&c, '"', name, n);
    if (n == 0) {
        add(r, ZMQNET_ECONFIG, key, "empty; write 1 to %d of A-Z a-z 0-9 . _ -", ZN_NAME_MAX);
    } else if (!only_of(name, "._-")) {
        add(r, ZMQNET_ECONFIG, key, "%s is not a name; use only A-Z a-z 0-9 . _ -", c.text);
    } else if (n > ZN_NAME_MAX) {
        add(r, ZMQNET_ECONFIG, key, "%s has %zu characters; use at most %d", c.text, n,
            ZN_NAME_MAX);
    } else {
        memcpy(r->peers->names[r->i], name, n + 1);
        for (size_t k = 0; k < r->i; k++)
            if (strcmp(name, r->peers->names[k]) == 0) {
                add(r, ZMQNET_ECONFIG, key,
                    "%s is the name of replicas[%zu] too; give each its own", c.text, k);
                break;
            }
    }
}

static void read_pid(const struct reader *r)
{
    static const char key[] = "pid";
    struct zn_cite c;
    int64_t *pid = &r->peers->replicas[r->i].pid;
    const json_t *value = json_object_get(r->entry, key);
    *pid = -1;
    if (!value) {
        add(r, 0, key, "missing; give each replica a number of its own");
        return;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        add(r, ZMQNET_ECONFIG, key, "%s is not a pid; write a whole number from 0, without quotes",
            cite(&c, value));
        return;
    }
    *pid = json_integer_value(value);
    for (size_t k = 0; k < r->i; k++)
        if (r->peers->replicas[k].pid == *pid) {
            add(r, ZMQNET_ECONFIG, key, "%s is the pid of replicas[%zu] too; give each its own",
                cite(&c, value), k);
            break;
        }
}

/* The port under "port"; 0 if there is none that can be used. */
static uint16_t read_port(const struct reader *r)
{
    static const char key[] = "port";
    struct zn_cite c;
    const json_t *value = json_object_get(r->entry, key);
    if (!value)
        return 0;
    json_int_t port = json_integer_value(value);
    if (!json_is_integer(value)) {
        add(r, ZMQNET_ECONFIG, key, "%s is not a port; write a number (1..%d) without quotes",
            cite(&c, value), PORT_MAX);
        return 0;
    }
    if (port < 1 || port > PORT_MAX) {
        add(r, ZMQNET_ECONFIG, key, "%s is not a port (1..%d)", cite(&c, value), PORT_MAX);
        return 0;
    }
    return (uint16_t)port;
}

/* A name, an IPv4 address, or, with colons, an IPv6 address with or without a zone. Whether it
 * exists is known only when it is resolved. */
static bool host_valid(const char *host)
{
    if (!strchr(host, ':'))
        return only_of(host, "._-");
    return only_of(host, "._-:%");
}

/* host is not terminated. Returns what is wrong with it, NULL: nothing. */
static const char *keep_host(const struct reader *r, const char *host, size_t n)
{
    char *kept = r->peers->hosts[r->i];
    if (n == 0)
        return "has no host; write \"host:port\"";
    if (n > ZN_HOST_MAX)
        return "has a host of more than 253 bytes; shorten it";
    memcpy(kept, host, n);
    kept[n] = '\0';
    if (host_valid(kept))
        return NULL;
    kept[0] = '\0';
    return "has a host that is neither a name nor a numeric address; correct it";
}

/* "host:port" or "[v6]:port" into the replica. Returns what is wrong with it, NULL: nothing. */
static const char *split_address(const struct reader *r, const char *address)
{
    const char *host = address;
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (strstr(address, "://"))
        return "is not an address; write \"host:port\" without \"tcp://\"";
    if (address[0] == '[') {
        const char *end = strchr(address, ']');
        if (!end)
            return "has no closing bracket; write \"[host]:port\"";
        if (end[1] != ':')
            return "has no port; write \"[host]:port\"";
        host = address + 1;
        colon = end + 1;
    } else if (!colon) {
        return "has no port; write \"host:port\"";
    } else if (strchr(address, ':') != colon) {
        return "has more than one colon; write an IPv6 address as \"[::1]:3264\"";
    }
    if (colon[1] == '\0')
        return "has no port; write \"host:port\"";
    if (zn_parse_u64(colon + 1, 1, PORT_MAX, &port) != 0)
        return "has a bad port; write 1..65535 behind the colon";
    r->peers->replicas[r->i].port = (uint16_t)port;
    return keep_host(r, host, (size_t)(colon - host) - (address[0] == '['));
}

static void read_address(struct reader *r)
{
    struct zn_cite c;
    uint16_t *port = &r->peers->replicas[r->i].port;
    const char *address = text_of(r, "address", "an address");
    const char *ipaddr = text_of(r, "ipaddr", "an address");
    uint16_t separate_port = read_port(r);
    const char *wrong = NULL;
    if (address) {
        r->address_key = "address";
        wrong = split_address(r, address);
    } else if (ipaddr && !json_object_get(r->entry, "address")) {
        r->address_key = "ipaddr";
        *port = separate_port;
        if (!json_object_get(r->entry, "port"))
            add(r, ZMQNET_ECONFIG, "port", "missing; write a port (1..%d), or \"address\"",
                PORT_MAX);
        address = ipaddr;
        wrong = keep_host(r, ipaddr, strlen(ipaddr));
    } else if (!json_object_get(r->entry, "address") && !json_object_get(r->entry, "ipaddr")) {
        add(r, ZMQNET_ECONFIG, "address", "missing; write \"host:port\", or ipaddr and port");
    }
    if (wrong)
        add(r, ZMQNET_ECONFIG, r->address_key, "%s %s", zn_cite(&c, '"', address, strlen(address)),
            wrong);
    else if (address && *port && separate_port && *port != separate_port)
        add(r, 0, "port", "%u differs from the port in \"address\"; %u is used",
            (unsigned)separate_port, (unsigned)*port);
}

static void check_address_alone(const struct reader *r)
{
    struct zn_cite c;
    const char *host = r->peers->hosts[r->i];
    uint16_t port = r->peers->replicas[r->i].port;
    if (!*host || !port)
        return;
    for (size_t k = 0; k < r->i; k++)
        if (port == r->peers->replicas[k].port && strcasecmp(host, r->peers->hosts[k]) == 0) {
            add(r, ZMQNET_ECONFIG, r->address_key,
                "%s and port %u are those of replicas[%zu] too; give each its own",
                zn_cite(&c, '"', host, strlen(host)), (unsigned)port, k);
            break;
        }
}

static void read_replica(struct reader *r)
{
    struct zn_cite c;
    if (!json_is_object(r->entry)) {
        add(r, ZMQNET_ECONFIG, "",
            "%s is not a replica; write {\"pid\": 1, \"name\": \"alpha\", \"address\": "
            "\"host:port\"}",
            cite(&c, r->entry));
        r->peers->replicas[r->i].pid = -1;
        return;
    }
    read_pid(r);
    read_name(r);
    (void)text_of(r, "host", "the name of a machine");
    read_address(r);
    check_address_alone(r);
}

/* ---- the whole ---- */

static void read_info(struct zn_diags *diags, const json_t *info, const json_t *list)
{
    struct zn_cite c;
    if (!info)
        return;
    if (!json_is_object(info)) {
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "info: %s is not an object; write {...} or "
                     "remove it",
                     cite(&c, info));
        return;
    }
    const json_t *n = json_object_get(info, "num_replicas");
    if (n && !json_is_integer(n))
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "info.num_replicas: %s is not a count; write a whole number or remove it",
                     cite(&c, n));
    else if (n && json_is_array(list) && json_integer_value(n) != (json_int_t)json_array_size(list))
        zn_diags_add(diags, 0, 0, 0,
                     "info.num_replicas: %s, but the list has %zu; the list is used, correct the "
                     "number",
                     cite(&c, n), json_array_size(list));
    const json_t *updated = json_object_get(info, "updated");
    if (updated && !json_is_string(updated))
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "info.updated: %s is not a time; write text in double quotes or remove it",
                     cite(&c, updated));
}

static void read_list(struct zn_diags *diags, const json_t *list, zmqnet_peers *peers)
{
    struct zn_cite c;
    size_t n = json_array_size(list);
    if (!list)
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0, "replicas: missing; list the replicas in it");
    else if (!json_is_array(list))
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "replicas: %s is not a list; write [...] with a replica in it",
                     cite(&c, list));
    else if (n == 0)
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0, "replicas: empty; add at least one replica");
    else if (n > ZN_REPLICAS_MAX)
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0, "replicas: the list has %zu; remove all above %d",
                     n, ZN_REPLICAS_MAX);
    peers->n = n < ZN_REPLICAS_MAX ? n : ZN_REPLICAS_MAX;
    for (size_t i = 0; i < peers->n; i++) {
        struct reader r = {diags, peers, i, json_array_get(list, i), "address"};
        read_replica(&r);
    }
}

static void read_root(struct zn_diags *diags, const json_t *root, zmqnet_peers *peers)
{
    struct zn_cite c;
    if (!json_is_object(root)) {
        zn_diags_add(diags, ZMQNET_ECONFIG, 0, 0,
                     "%s is not a peers file; write {\"replicas\": [...]}", cite(&c, root));
        return;
    }
    const json_t *list = json_object_get(root, "replicas");
    read_info(diags, json_object_get(root, "info"), list);
    read_list(diags, list, peers);
}

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

/* Sorted first, so that files which list the same replicas in another order are the same mesh. */
static uint64_t hash_of(const zmqnet_peers *peers)
{
    const struct zmqnet_replica *sorted[ZN_REPLICAS_MAX];
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < peers->n; i++)
        sorted[i] = &peers->replicas[i];
    qsort(sorted, peers->n, sizeof *sorted, by_name);
    for (size_t i = 0; i < peers->n; i++) {
        char port[8];
        int port_n = snprintf(port, sizeof port, "%u\n", (unsigned)sorted[i]->port);
        h = hash_bytes(h, sorted[i]->name, strlen(sorted[i]->name) + 1);
        h = hash_bytes(h, sorted[i]->host, strlen(sorted[i]->host) + 1);
        h = hash_bytes(h, port, (size_t)port_n);
    }
    return h;
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
    }
    peers->hash = hash_of(peers);
}

static int parse(const char *text, size_t n, zmqnet_peers **out, struct zn_diags *diags)
{
    json_t *root;
    zmqnet_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return ZMQNET_ENOMEM;
    int rc = zn_json_text_parse(text, n, diags, &root);
    if (root)
        read_root(diags, root, peers);
    json_decref(root);
    if (rc == 0 && diags->errors_n > 0)
        rc = ZMQNET_ECONFIG;
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
