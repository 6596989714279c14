/* SPDX-License-Identifier: MIT */
/*
 * Messages that no honest process sends, put straight into a mesh:
 *
 *     inject NODE on PEER KIND [key=value ...]     it came on NODE's link to PEER
 *     inject NODE from WHO KIND [key=value ...]    it came on NODE's port: on the present connection
 *                                                  of the process WHO, or from a stranger of that name
 *
 * Keys: type= sender= id=NAME.LIFE-SEQ for=NAME.LIFE life=NAME.LIFE body= code= target= version=
 * pattern= attempt= budget= quorum= floor= file=other. A life may also be a plain hex number. What is
 * not given is what an honest sender would say, as far as there is such a thing.
 */
#include "sim.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint64_t life_value(const struct sim *s, const char *text, size_t n)
{
    char name[ZN_NAME_MAX + 1];
    const char *dot = memchr(text, '.', n);
    if (!dot || dot == text || (size_t)(dot - text) >= sizeof name)
        return strtoull(text, NULL, 16);
    memcpy(name, text, (size_t)(dot - text));
    name[dot - text] = '\0';
    int node = sim_find(s, name);
    return node < 0 ? 0 : sim_life_of(s, node, (uint32_t)strtoul(dot + 1, NULL, 10));
}

static struct zmqnet_id id_value(const struct sim *s, const char *text)
{
    const char *dash = strrchr(text, '-');
    if (!dash)
        return (struct zmqnet_id){0, 0};
    return (struct zmqnet_id){life_value(s, text, (size_t)(dash - text)),
                              strtoull(dash + 1, NULL, 10)};
}

static int kind_value(const char *text)
{
    for (int k = 0; k < ZN_KINDS; k++)
        if (strcmp(sim_kind_names[k], text) == 0)
            return k;
    return -1;
}

static long number(char **words, int n, const char *key, long otherwise)
{
    const char *text = sim_option(words, n, key);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static const char *string(char **words, int n, const char *key, const char *otherwise)
{
    const char *text = sim_option(words, n, key);
    return text ? text : otherwise;
}

static struct zn_msg message_of(struct sim *s, enum zn_kind kind, char **w, int n)
{
    static uint64_t for_life;
    const char *id = sim_option(w, n, "id"), *life = sim_option(w, n, "life");
    const char *for_text = sim_option(w, n, "for"), *body = sim_option(w, n, "body");
    const zmqnet_peers *peers = sim_option(w, n, "file") ? s->peers_other : s->peers;
    struct zn_msg msg = {
        .type = (enum zn_type)number(w, n, "type", kind == ZN_SUBMIT ? ZN_SINGLE : ZN_BOUNCE),
        .kind = kind,
        .sender = string(w, n, "sender", ""),
        .target = string(w, n, "target", ""),
        .pattern = string(w, n, "pattern", kind == ZN_HELLO ? "router" : ""),
        .code = (int32_t)number(w, n, "code", 0),
        .attempt = (uint32_t)number(w, n, "attempt", 1),
        .budget_ms = (uint32_t)number(w, n, "budget", 1000),
        .quorum = (int32_t)number(w, n, "quorum", 0),
        .floor = (uint64_t)number(w, n, "floor", 0),
        .version = (uint32_t)number(w, n, "version", kind == ZN_HELLO ? ZN_PROTOCOL_VERSION : 0),
        .peers_hash = kind == ZN_HELLO ? peers->hash : 0,
        .id = id ? id_value(s, id) : (struct zmqnet_id){0, 0},
        .life = life ? life_value(s, life, strlen(life)) : 0,
    };
    if (for_text) {
        for_life = life_value(s, for_text, strlen(for_text));
        msg.to_life = &for_life;
        msg.lives_n = 1;
    }
    int rc = zn_blob_copy(body ? body : "", body ? strlen(body) : 0, &msg.body);
    assert(rc == 0);
    return msg;
}

static int stranger_of(struct sim *s, const char *name)
{
    for (int i = 0; i < s->strangers_n; i++)
        if (strcmp(s->strangers[i], name) == 0)
            return i;
    if (s->strangers_n == SIM_STRANGERS_MAX)
        return -1;
    snprintf(s->strangers[s->strangers_n], sizeof s->strangers[0], "%s", name);
    return s->strangers_n++;
}

static zn_route route_of(struct sim *s, int node, const char *who)
{
    int from = sim_find(s, who);
    if (from >= 0)
        return sim_link_route(s, from, s->nodes[node].self);
    int stranger = stranger_of(s, who);
    return stranger < 0 ? 0 : sim_stranger_route(stranger);
}

const char *sim_inject(struct sim *s, char **w, int n)
{
    int node = sim_find(s, w[1]), kind = kind_value(w[4]);
    bool on_link = strcmp(w[2], "on") == 0;
    int peer = on_link ? sim_find(s, w[3]) : -1;
    if (node < 0 || !sim_has_mesh(s, node) || kind < 0 || (!on_link && strcmp(w[2], "from") != 0))
        return "inject NODE on PEER | from WHO KIND [key=value ...]";
    if (on_link && (peer < 0 || peer >= s->replicas_n))
        return "no such peer";
    if (!on_link && s->nodes[node].self < 0)
        return "a client has no port";
    zn_route route = on_link ? 0 : route_of(s, node, w[3]);
    struct zn_msg msg = message_of(s, (enum zn_kind)kind, w, n);
    bool pings = s->show_pings, hellos = s->show_hellos;
    s->show_pings = s->show_hellos = true;
    sim_say_msg(s, w[3], w[1], &msg, "(injected)");
    s->show_pings = pings;
    s->show_hellos = hellos;
    sim_feed(s, node,
             &(struct zn_event){.type = on_link ? ZN_EV_LINK_MSG : ZN_EV_ROUTE_MSG,
                                .peer = peer,
                                .route = route,
                                .connection = sim_route_connection(route),
                                .msg = &msg});
    zn_blob_drop(&msg.body);
    sim_run(s, s->now_us);
    return NULL;
}
