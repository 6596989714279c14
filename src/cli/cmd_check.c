/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet check`: read the peers file and say what is wrong with it, without opening a socket.
 *
 * What the library finds comes first, in the order of the file; then, once, what would keep only
 * pubsub from using it; then what only this machine knows: a port from which the kernel also takes
 * outgoing connections may be taken when a replica starts, and a connection to a replica that is
 * down may even connect to itself there. Warnings do not change the exit code; errors make it 2.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"

#define PORT_RANGE "/proc/sys/net/ipv4/ip_local_port_range"

struct checked {
    const struct zn_options *o;
    zmqnet_peers *peers; /* NULL: the file has errors */
    struct zmqnet_diag *diags;
    size_t n, more; /* entries; how many there was no room for */
};

/* The ports from which the kernel takes outgoing connections. */
struct range {
    unsigned low, high;
};

static void warn(struct checked *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(struct checked *c, const char *format, ...)
{
    va_list args;
    if (c->n == ZN_DIAGS_MAX)
        return;
    struct zmqnet_diag *diag = &c->diags[c->n++];
    *diag = (struct zmqnet_diag){0};
    va_start(args, format);
    vsnprintf(diag->text, sizeof diag->text, format, args);
    va_end(args);
}

static void warn_of_pubsub(struct checked *c)
{
    struct zmqnet_diag diag;
    if (zmqnet_peers_check_ports(c->peers, &diag) != 0)
        warn(c, "with --pattern pubsub %s", diag.text);
}

static bool is_inside(const struct range *range, unsigned port)
{
    return port >= range->low && port <= range->high;
}

struct port {
    const char *what;
    unsigned number;
    bool is_default; /* also if the file says the same */
};

/* The ports that only pubsub opens. */
static void ports_of(const struct zmqnet_replica *r, struct port ports[2])
{
    unsigned pub = r->port + 1000u <= UINT16_MAX ? r->port + 1000u : r->port - 1000u;
    unsigned ack = r->port + 2000u <= UINT16_MAX ? r->port + 2000u : r->port - 2000u;
    ports[0] = (struct port){"pub port", r->pub_port, r->pub_port == pub};
    ports[1] = (struct port){"ack port", r->ack_port, r->ack_port == ack};
}

static void warn_of_port(struct checked *c, const struct range *range, const char *name,
                         const struct port *port)
{
    if (is_inside(range, port->number))
        warn(c,
             "replica %s: %s %u is in the range of outgoing connections (%u..%u), where it may be "
             "taken by one; choose a port below",
             name, port->what, port->number, range->low, range->high);
}

static void warn_of_given(struct checked *c, const struct range *range,
                          const struct zmqnet_replica *r)
{
    struct port ports[2];
    ports_of(r, ports);
    warn_of_port(c, range, r->name, &(struct port){"port", r->port, false});
    for (size_t i = 0; i < 2; i++)
        if (!ports[i].is_default)
            warn_of_port(c, range, r->name, &ports[i]);
}

/* Returns true if it had something to say. A replica whose port is warned of needs no more: its
 * defaults move with it. */
static bool warn_of_default(struct checked *c, const struct range *range,
                            const struct zmqnet_replica *r)
{
    struct port ports[2];
    ports_of(r, ports);
    for (size_t i = 0; i < 2 && !is_inside(range, r->port); i++)
        if (ports[i].is_default && is_inside(range, ports[i].number)) {
            warn(c,
                 "replica %s: with --pattern pubsub its %s %u (default) is in the range of "
                 "outgoing connections (%u..%u); give \"ports\" below it",
                 r->name, ports[i].what, ports[i].number, range->low, range->high);
            return true;
        }
    return false;
}

/* Of the defaults one is told, for all: many users of the file never open them. */
static void warn_of_range(struct checked *c)
{
    struct range range = {0};
    bool told = false;
    FILE *f = fopen(PORT_RANGE, "re");
    if (f == NULL)
        return;
    int got = fscanf(f, "%u %u", &range.low, &range.high);
    fclose(f);
    for (size_t i = 0; got == 2 && i < zmqnet_peers_count(c->peers); i++) {
        const struct zmqnet_replica *r = zmqnet_peers_get(c->peers, i);
        warn_of_given(c, &range, r);
        told = told || warn_of_default(c, &range, r);
    }
}

static size_t count_errors(const struct checked *c)
{
    size_t errors = c->more;
    for (size_t i = 0; i < c->n; i++)
        errors += c->diags[i].code != 0;
    return errors;
}

static void put_text(const struct checked *c, struct zn_text *out)
{
    for (size_t i = 0; i < c->n; i++) {
        zn_session_diag(c->o->peers, &c->diags[i], out);
        zn_text_add(out, "\n");
    }
    if (c->more > 0) {
        zn_text_escaped(out, c->o->peers, strlen(c->o->peers));
        zn_text_printf(out, ": and %zu more\n", c->more);
    }
    if (c->peers == NULL)
        return;
    zn_text_escaped(out, c->o->peers, strlen(c->o->peers));
    zn_text_printf(out, ": %zu replicas:", zmqnet_peers_count(c->peers));
    for (size_t i = 0; i < zmqnet_peers_count(c->peers); i++) {
        const struct zmqnet_replica *r = zmqnet_peers_get(c->peers, i);
        zn_text_printf(out, "%s %s ", i > 0 ? "," : "", r->name);
        zn_session_address(r, out);
    }
    zn_text_add(out, "\n");
}

static void put_json(const struct checked *c, const struct zn_problem *problem, struct zn_text *out)
{
    struct zn_json j = {.out = out};
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "v", 1);
    zn_json_bool(&j, "ok", c->peers != NULL);
    zn_json_string(&j, "file", c->o->peers);
    zn_json_open(&j, "replicas", '[');
    for (size_t i = 0; c->peers != NULL && i < zmqnet_peers_count(c->peers); i++) {
        const struct zmqnet_replica *r = zmqnet_peers_get(c->peers, i);
        zn_json_open(&j, NULL, '{');
        zn_json_string(&j, "name", r->name);
        zn_json_string(&j, "endpoint", r->endpoint);
        if (r->pid >= 0)
            zn_json_i64(&j, "pid", r->pid);
        zn_json_close(&j, '}');
    }
    zn_json_close(&j, ']');
    zn_session_findings(c->diags, c->n, &j);
    if (c->peers == NULL)
        zn_problem_json(problem, &j);
    zn_json_close(&j, '}');
    zn_text_add(out, "\n");
}

static int report(const struct checked *c)
{
    struct zn_problem problem;
    struct zn_text out = {0};
    size_t errors = count_errors(c);
    int code = 0;
    if (c->peers == NULL)
        code = zn_problem_set(&problem, ZN_PROBLEM_CONFIG, "correct the file and check it again",
                              "%s: %zu error%s", c->o->peers, errors, errors == 1 ? "" : "s");
    if (c->o->json)
        put_json(c, &problem, &out);
    else
        put_text(c, &out);
    zn_output_text(&out);
    if (code != 0)
        zn_problem_complain(&problem);
    return code;
}

int zn_cmd_check(const struct zn_options *o)
{
    struct checked c = {.o = o, .diags = calloc(ZN_DIAGS_MAX, sizeof *c.diags)};
    size_t found = 0;
    struct zn_problem problem;
    int rc = ZMQNET_ENOMEM;
    if (c.diags != NULL)
        rc = zmqnet_peers_load(o->peers, &c.peers, c.diags, ZN_DIAGS_MAX, &found);
    c.n = found < ZN_DIAGS_MAX ? found : ZN_DIAGS_MAX;
    c.more = found - c.n;
    if (rc == 0) {
        warn_of_pubsub(&c);
        warn_of_range(&c);
    }
    if (rc == 0 || rc == ZMQNET_ECONFIG) {
        rc = report(&c);
    } else {
        zn_problem_set(&problem, zn_problem_kind_of(rc), "", "%s: %s", o->peers,
                       zmqnet_error_text(rc));
        rc = zn_problem_report(&problem, o->json);
    }
    zmqnet_peers_free(&c.peers);
    free(c.diags);
    return rc;
}
