/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet check`: read the peers file and say what is wrong with it, without opening a socket.
 *
 * What the library finds comes first, in the order of the file; then what only this machine knows:
 * a port from which the kernel also takes outgoing connections may be taken when a replica starts,
 * and a connection to a replica that is down may even connect to itself there. Warnings do not
 * change the exit code; errors make it 2.
 */
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

static void add_port_warnings(struct checked *c)
{
    unsigned low = 0, high = 0;
    FILE *f = fopen(PORT_RANGE, "re");
    if (f == NULL)
        return;
    int got = fscanf(f, "%u %u", &low, &high);
    fclose(f);
    for (size_t i = 0; got == 2 && i < zmqnet_peers_count(c->peers) && c->n < ZN_DIAGS_MAX; i++) {
        const struct zmqnet_replica *r = zmqnet_peers_get(c->peers, i);
        if (r->port < low || r->port > high)
            continue;
        struct zmqnet_diag *diag = &c->diags[c->n++];
        *diag = (struct zmqnet_diag){0};
        snprintf(diag->text, sizeof diag->text,
                 "replica %s: port %u is in the range of outgoing connections (%u..%u), where it "
                 "may be taken by one; choose a port below",
                 r->name, r->port, low, high);
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
    if (rc == 0)
        add_port_warnings(&c);
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
