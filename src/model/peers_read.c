/* SPDX-License-Identifier: MIT */
/*
 * The values of a peers file, from JSON text, checked in full before anything uses them.
 *
 * Everything that is wrong is reported in one run: a value that cannot be used is reported and
 * skipped, and the checks go on with the next. Values that contradict each other but leave no doubt
 * what to do are warnings. Keys that are not known are left alone, because the file is shared with
 * other programs.
 *
 * Belongs to the thread that asks. Limits of the numbers in the file are checked before they are
 * narrowed; all strings are copied into the one block that the result is. Only memory can run out.
 */
#include "model/peers_read.h"

#include "base/limits.h"
#include "base/parse.h"
#include "model/json_text.h"
#include "model/peers.h"
#include "model/ports.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* The port under the key of an object in this entry; 0 if there is none that can be used. */
static uint16_t read_port(const struct reader *r, const json_t *object, const char *key,
                          const char *path)
{
    struct zn_cite c;
    const json_t *value = json_object_get(object, key);
    if (!value)
        return 0;
    json_int_t port = json_integer_value(value);
    if (!json_is_integer(value)) {
        add(r, ZMQNET_ECONFIG, path, "%s is not a port; write a number (1..%d) without quotes",
            cite(&c, value), PORT_MAX);
        return 0;
    }
    if (port < 1 || port > PORT_MAX) {
        add(r, ZMQNET_ECONFIG, path, "%s is not a port (1..%d)", cite(&c, value), PORT_MAX);
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
    uint16_t separate_port = read_port(r, r->entry, "port", "port");
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

static void read_ports(const struct reader *r)
{
    static const char key[] = "ports";
    struct zn_cite c;
    struct zmqnet_replica *replica = &r->peers->replicas[r->i];
    const json_t *ports = json_object_get(r->entry, key);
    if (ports && !json_is_object(ports)) {
        add(r, ZMQNET_ECONFIG, key,
            "%s is not an object; write {\"pub\": 4264, \"ack\": 5264} or remove it",
            cite(&c, ports));
        return;
    }
    replica->pub_port = read_port(r, ports, "pub", "ports.pub");
    replica->ack_port = read_port(r, ports, "ack", "ports.ack");
}

/* Only ports that the file gives are known yet: defaults are no matter of the file. */
static void check_ports_alone(const struct reader *r)
{
    static const char *const paths[] = {NULL, "ports.pub", "ports.ack"};
    struct zn_cite c;
    const char *host = r->peers->hosts[r->i];
    struct zn_port_at at = {r->i, ZN_PORT_CLIENTS};
    struct zn_port_at same;
    for (; at.which < ZN_PORTS; at.which++) {
        const char *path = paths[at.which] ? paths[at.which] : r->address_key;
        unsigned port = zn_ports_get(r->peers, at);
        if (!zn_ports_same(r->peers, at, &same))
            continue;
        if (at.which == ZN_PORT_CLIENTS && same.which == ZN_PORT_CLIENTS)
            add(r, ZMQNET_ECONFIG, path,
                "%s and port %u are those of replicas[%zu] too; give each its own",
                zn_cite(&c, '"', host, strlen(host)), port, same.replica);
        else
            add(r, ZMQNET_ECONFIG, path,
                "port %u is %s of replicas[%zu] too, on the same host; give each its own", port,
                paths[same.which] ? paths[same.which] : "the port", same.replica);
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
    read_ports(r);
    check_ports_alone(r);
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

int zn_peers_read(const char *text, size_t text_bytes, zmqnet_peers *peers, struct zn_diags *diags)
{
    json_t *root;
    int rc = zn_json_text_parse(text, text_bytes, diags, &root);
    if (root)
        read_root(diags, root, peers);
    json_decref(root);
    return rc == 0 && diags->errors_n > 0 ? ZMQNET_ECONFIG : rc;
}
