/* SPDX-License-Identifier: MIT */
/*
 * Asking replicas for their view of the mesh, all at the same time, through one client.
 *
 * The client links to every replica by itself, and its own view says how far it got: the main thread
 * looks at that every few milliseconds, and asks each replica as soon as it is linked. One that is
 * known to be down is not waited for; its cause is the answer. zmqnet_status_get() blocks, so each
 * question has a thread, which owns its view until it is joined: a stopped replica does not delay
 * the others. At the timeout what is left is asked with the least patience, which gives its cause.
 * What the others said is as old as that wait by then: zn_views_refresh() asks them again.
 */
#include "cli/views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/matrix.h"

#define LOOK_MS 2
#define LAST_ASK_MS 1

static int open_client(struct zn_views *v)
{
    struct zn_problem problem;
    int rc = zn_session_client(v->o, v->peers, NULL, &v->node, &problem);
    if (rc != 0)
        return zn_problem_report(&problem, v->o->json);
    rc = zmqnet_start(v->node);
    if (rc == 0)
        return 0;
    zn_problem_set(&problem, ZN_PROBLEM_FAILED, "", "%s", zmqnet_error_text(rc));
    return zn_problem_report(&problem, v->o->json);
}

int zn_views_open(struct zn_views *v, const struct zn_options *o)
{
    *v = (struct zn_views){.o = o};
    int rc = zn_session_peers(o, false, &v->peers);
    if (rc == 0 && o->name != NULL)
        rc = zn_session_check_name(o, v->peers, o->name);
    if (rc != 0)
        return rc;
    zn_session_block_signals();
    rc = open_client(v);
    size_t all = zmqnet_peers_count(v->peers);
    v->views = calloc(all, sizeof *v->views);
    for (size_t i = 0; i < all && v->views != NULL; i++) {
        const struct zmqnet_replica *replica = zmqnet_peers_get(v->peers, i);
        if (o->name == NULL || strcmp(o->name, replica->name) == 0)
            v->views[v->n++] = (struct zn_view){.replica = replica, .node = v->node, .why = ""};
    }
    return v->views != NULL ? rc : ZN_EXIT_FAILED;
}

static void *ask(void *arg)
{
    struct zn_view *view = arg;
    view->code = zmqnet_status_get(view->node, view->replica->name, view->timeout_ms, &view->status,
                                   &view->why);
    if (view->code != 0 && (view->why == NULL || view->why[0] == '\0'))
        view->why = zmqnet_error_text(view->code);
    return NULL;
}

static uint32_t left_ms(uint64_t end_us)
{
    uint64_t now = zn_clock_us();
    return now + 1000 < end_us ? (uint32_t)((end_us - now) / 1000) : LAST_ASK_MS;
}

static void start_asking(struct zn_view *view, uint64_t end_us)
{
    view->asked = true;
    view->timeout_ms = left_ms(end_us);
    view->threaded = pthread_create(&view->thread, NULL, ask, view) == 0;
    if (!view->threaded)
        ask(view);
}

static void know_down(struct zn_view *view, const char *cause)
{
    view->asked = true;
    view->code = ZMQNET_ENEVERSENT;
    snprintf(view->cause, sizeof view->cause, "%s", cause);
    view->why = view->cause;
}

static bool is_linked(enum zmqnet_state state)
{
    return state == ZMQNET_UP || state == ZMQNET_SLOW || state == ZMQNET_SUSPECT;
}

/* Look at the client's links. Returns whether all replicas have been asked. */
static bool look(struct zn_views *v, uint64_t end_us)
{
    zmqnet_status *own = NULL;
    bool all = true;
    if (zmqnet_status_get(v->node, NULL, 0, &own, NULL) != 0)
        return true;
    for (size_t i = 0; i < v->n; i++) {
        struct zn_view *view = &v->views[i];
        int at = zmqnet_peers_find(v->peers, view->replica->name);
        const struct zmqnet_peer_status *link = &own->peers[at];
        if (!view->asked && is_linked(link->state))
            start_asking(view, end_us);
        else if (!view->asked && link->state == ZMQNET_DOWN && link->cause[0] != '\0')
            know_down(view, link->cause);
        all = all && view->asked;
    }
    zmqnet_status_free(&own);
    return all;
}

/* Those whose hello told the client of another peers file. */
static void look_at_files(struct zn_views *v)
{
    zmqnet_status *own = NULL;
    if (zmqnet_status_get(v->node, NULL, 0, &own, NULL) != 0)
        return;
    for (size_t i = 0; i < v->n; i++) {
        int at = zmqnet_peers_find(v->peers, v->views[i].replica->name);
        v->views[i].differs = own->peers[at].config_differs;
    }
    zmqnet_status_free(&own);
}

void zn_views_ask(struct zn_views *v, uint32_t timeout_ms)
{
    uint64_t end_us = zn_clock_us() + 1000ull * timeout_ms;
    for (size_t i = 0; i < v->n; i++) {
        zmqnet_status_free(&v->views[i].status);
        v->views[i].asked = v->views[i].threaded = v->views[i].late = false;
    }
    while (!look(v, end_us) && zn_clock_us() < end_us && v->signal == 0)
        v->signal = zn_session_wait_signal(LOOK_MS);
    for (size_t i = 0; i < v->n; i++) {
        v->views[i].late = !v->views[i].asked;
        if (v->views[i].late)
            start_asking(&v->views[i], 0);
    }
    for (size_t i = 0; i < v->n; i++)
        if (v->views[i].threaded)
            pthread_join(v->views[i].thread, NULL);
    look_at_files(v);
}

void zn_views_refresh(struct zn_views *v, uint32_t timeout_ms)
{
    uint64_t end_us = zn_clock_us() + 1000ull * timeout_ms;
    struct zn_view *again = calloc(v->n, sizeof *again);
    for (size_t i = 0; i < v->n && again != NULL; i++) {
        if (v->views[i].status == NULL)
            continue;
        again[i] = v->views[i];
        again[i].status = NULL;
        start_asking(&again[i], end_us);
    }
    for (size_t i = 0; i < v->n && again != NULL; i++) {
        if (again[i].asked && again[i].threaded)
            pthread_join(again[i].thread, NULL);
        if (again[i].status == NULL)
            continue;
        zmqnet_status_free(&v->views[i].status);
        v->views[i].status = again[i].status;
    }
    free(again);
}

void zn_views_close(struct zn_views *v)
{
    for (size_t i = 0; i < v->n; i++)
        zmqnet_status_free(&v->views[i].status);
    zmqnet_close(&v->node);
    free(v->views);
    zmqnet_peers_free(&v->peers);
    *v = (struct zn_views){0};
}

bool zn_view_is_whole(const struct zn_views *v, const struct zn_view *view)
{
    return view->status != NULL && zn_view_up(view) == view->status->peers_n &&
           view->status->peers_n >= zmqnet_peers_count(v->peers);
}

bool zn_view_has_majority(const struct zn_view *view)
{
    return view->status != NULL && zn_view_up(view) * 2 > view->status->peers_n;
}

size_t zn_view_up(const struct zn_view *view)
{
    size_t up = 0;
    for (size_t i = 0; view->status != NULL && i < view->status->peers_n; i++)
        up += zn_state_reaches(view->status->peers[i].state);
    return up;
}

const char *zn_view_state(const struct zn_view *view)
{
    if (view->code == 0)
        return "up";
    return view->code == ZMQNET_EUNKNOWN || view->late ? "unknown" : "down";
}
