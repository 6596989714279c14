/* SPDX-License-Identifier: MIT */
/*
 * Listening: the loop's sockets that others connect to, each at one port of our own. Called while the
 * pattern opens and closes.
 *
 * Whoever starts a replica reads what fails here, so each failure names the port and the remedy.
 * libzmq may abort when it runs out of descriptors in zmq_bind(): there are enough (carrier.c).
 */
#include "pattern/bind.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <zmq.h>

#include "pattern/socket.h"

int zn_bind_explain(const struct zn_bind *b, struct zmqnet_diag *diag, int code, const char *text,
                    const char *more)
{
    const char *host = b->self->host;
    const char *left = strchr(host, ':') ? "[" : "", *right = *left ? "]" : "";
    char where[128];
    if (b->what)
        snprintf(where, sizeof where, "tcp://%s%.50s%s:%u (%.40s's %s)", left, host, right,
                 (unsigned)b->port, b->self->name, b->what);
    else
        snprintf(where, sizeof where, "%.80s", b->self->endpoint);
    diag->code = code;
    snprintf(diag->text, sizeof diag->text, "%s: %.115s%.55s", where, text, more);
    return code;
}

int zn_bind_resolve(const struct zn_bind *b, struct zn_address *out, struct zmqnet_diag *diag)
{
    int rc = zn_address_resolve(b->self->host, b->port, out);
    return rc == 0 ? 0 : zn_bind_explain(b, diag, rc, "the host cannot be resolved", "");
}

/* A host that is ours under another address (a public one behind a translation) is no error: then
 * every address of this machine is listened on. */
static int bind_any(void *socket, const struct zn_address *at, uint16_t port)
{
    char endpoint[ZN_ADDRESS_TEXT_MAX];
    zn_address_endpoint(at, endpoint);
    if (zmq_bind(socket, endpoint) == 0)
        return 0;
    if (errno != EADDRNOTAVAIL && errno != ENODEV)
        return errno;
    snprintf(endpoint, sizeof endpoint, "tcp://*:%u", (unsigned)port);
    return zmq_bind(socket, endpoint) == 0 ? 0 : errno;
}

int zn_bind_listen(const struct zn_bind *b, const struct zn_address *at, void *socket, int epoll_fd,
                   uint32_t token, struct zmqnet_diag *diag)
{
    int error = bind_any(socket, at, b->port);
    if (error == EADDRINUSE) {
        char text[160];
        snprintf(text, sizeof text, "the port is taken: is another replica %s running? ",
                 b->self->name);
        return zn_bind_explain(b, diag, ZMQNET_EADDRINUSE, text, "(ss -ltnp shows who)");
    }
    if (error == EMFILE || error == ENFILE)
        return zn_bind_explain(b, diag, ZMQNET_ENOFILE, "no file descriptors left", "");
    if (error != 0)
        return zn_bind_explain(b, diag, ZMQNET_EADDR, "cannot be bound: ", zmq_strerror(error));
    if (zn_bind_watch(epoll_fd, zn_socket_fd(socket), token) != 0)
        return zn_bind_explain(b, diag, ZMQNET_ESYSTEM, "epoll takes no more descriptors", "");
    return 0;
}

int zn_bind_watch(int epoll_fd, int fd, uint32_t token)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : ZMQNET_ESYSTEM;
}

/* What epoll does not know, it fails to forget. */
void zn_bind_close(void **socket, int epoll_fd, int linger_ms)
{
    if (!*socket)
        return;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, zn_socket_fd(*socket), NULL);
    zn_socket_close(socket, linger_ms);
}
