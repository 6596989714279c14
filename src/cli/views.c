/* SPDX-License-Identifier: MIT */
/*
 * Asking replicas for their view of the mesh, all at the same time.
 *
 * The main thread owns the views; during zn_views_ask() one thread per replica owns its view,
 * because zmqnet_status_get() blocks, and a stopped replica must not delay the answers of the
 * others. Each replica has a client of its own: what is asked is whether *this* one answers, not
 * any that is reached. A replica that does not answer has a code and a cause instead of a status.
 */
#include "cli/views.h"

#include <stdlib.h>
#include <string.h>

static int open_view(struct zn_views *v, struct zn_view *view, const struct zmqnet_replica *replica)
{
    struct zn_problem problem;
    view->replica = replica;
    view->why = "";
    int rc = zn_session_client(v->o, v->peers, replica->name, &view->node, &problem);
    if (rc != 0)
        return zn_problem_report(&problem, v->o->json);
    rc = zmqnet_start(view->node);
    if (rc == 0)
        return 0;
    zn_problem_set(&problem, ZN_PROBLEM_FAILED, "", "%s: %s", replica->name, zmqnet_error_text(rc));
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
    size_t all = zmqnet_peers_count(v->peers);
    v->views = calloc(all, sizeof *v->views);
    for (size_t i = 0; i < all && v->views != NULL && rc == 0; i++) {
        const struct zmqnet_replica *replica = zmqnet_peers_get(v->peers, i);
        if (o->name == NULL || strcmp(o->name, replica->name) == 0)
            rc = open_view(v, &v->views[v->n++], replica);
    }
    return v->views != NULL ? rc : ZN_EXIT_FAILED;
}

static void *ask(void *arg)
{
    struct zn_view *view = arg;
    zmqnet_status_free(&view->status);
    view->why = "";
    view->code = zmqnet_status_get(view->node, view->replica->name, view->timeout_ms, &view->status,
                                   &view->why);
    if (view->code != 0 && (view->why == NULL || view->why[0] == '\0'))
        view->why = zmqnet_error_text(view->code);
    return NULL;
}

void zn_views_ask(struct zn_views *v, uint32_t timeout_ms)
{
    for (size_t i = 0; i < v->n; i++) {
        struct zn_view *view = &v->views[i];
        view->timeout_ms = timeout_ms;
        view->threaded = v->n > 1 && pthread_create(&view->thread, NULL, ask, view) == 0;
    }
    for (size_t i = 0; i < v->n; i++) {
        if (v->views[i].threaded)
            pthread_join(v->views[i].thread, NULL);
        else
            ask(&v->views[i]);
    }
}

void zn_views_close(struct zn_views *v)
{
    for (size_t i = 0; i < v->n; i++) {
        zmqnet_status_free(&v->views[i].status);
        zmqnet_close(&v->views[i].node);
    }
    free(v->views);
    zmqnet_peers_free(&v->peers);
    *v = (struct zn_views){0};
}

size_t zn_view_up(const struct zn_view *view)
{
    size_t up = 0;
    for (size_t i = 0; view->status != NULL && i < view->status->peers_n; i++) {
        enum zmqnet_state state = view->status->peers[i].state;
        up += state == ZMQNET_UP || state == ZMQNET_LOCAL;
    }
    return up;
}

const char *zn_view_state(const struct zn_view *view)
{
    if (view->code == 0)
        return "up";
    return view->code == ZMQNET_EUNKNOWN ? "unknown" : "down";
}
