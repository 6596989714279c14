/* SPDX-License-Identifier: MIT */
/*
 * Notes of core become log records, and those about peers become events for the user. The ids and
 * levels stand in one list in core/mesh.h and in docs/events.md.
 */
#include "node/node.h"

static const struct {
    const char *id;
    enum zmqnet_level level;
} notes[ZN_NOTES_N] = {
#define ZN_NOTE_ROW(name, id, level) [ZN_NOTE_##name] = {id, level},
    ZN_NOTES(ZN_NOTE_ROW)
#undef ZN_NOTE_ROW
};

static void tell_user(zmqnet_node *node, const struct zn_note *n, const char *peer)
{
    static const enum zmqnet_state states[ZN_NOTES_N] = {
        [ZN_NOTE_PEER_UP] = ZMQNET_UP,     [ZN_NOTE_PEER_CONNECTING] = ZMQNET_CONNECTING,
        [ZN_NOTE_PEER_SLOW] = ZMQNET_SLOW, [ZN_NOTE_PEER_SUSPECT] = ZMQNET_SUSPECT,
        [ZN_NOTE_PEER_DOWN] = ZMQNET_DOWN, [ZN_NOTE_NAME_CLASH] = ZMQNET_DOWN,
    };
    if (!node->on_event || !states[n->id])
        return;
    const struct zmqnet_event event = {
        .code = n->id == ZN_NOTE_NAME_CLASH ? ZMQNET_ECLASH : 0,
        .peer = peer,
        .state = states[n->id],
        .cause = n->cause,
    };
    node->on_event(node, &event, node->event_arg);
}

void zn_node_note(zmqnet_node *node, const struct zn_note *n)
{
    const char *peer = n->peer >= 0 ? node->peers->replicas[n->peer].name : "";
    const char *id = notes[n->id].id;
    enum zmqnet_level level = notes[n->id].level;
    if (n->id == ZN_NOTE_PEER_UP)
        node->pattern->good(node->carrier, n->peer);
    if (n->id == ZN_NOTE_BAD_INPUT)
        zn_log_write(&node->log, level, id, "reason=%s count=%llu%s%s", zn_counter_name(n->counter),
                     (unsigned long long)n->count, n->peer >= 0 ? " peer=" : "", peer);
    else
        zn_log_write(&node->log, level, id, "peer=%s%s%s%s", peer[0] ? peer : "?",
                     n->why != ZN_WHY_NONE ? " cause=\"" : "", n->cause,
                     n->why != ZN_WHY_NONE ? "\"" : "");
    tell_user(node, n, peer);
}
