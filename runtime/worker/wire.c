/* wire.c - see wire.h. */
#include "worker/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void wire_send(const struct wire *w, const struct proto_msg *m)
{
    ssize_t n;
    do
        n = send(w->fd, m, sizeof *m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *m)
        _exit(errno == EPIPE || errno == ECONNRESET ? 0 : 1);
}

static void receive(struct wire *w, struct proto_msg *m)
{
    ssize_t n;
    do
        n = recv(w->fd, m, sizeof *m, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        _exit(0);                                 /* the host has closed its end: there is nothing left to do */
    if (n != (ssize_t)sizeof *m)
        wire_fatal(w, "the worker got a message of %zd bytes", n);
}

void wire_next(struct wire *w, struct proto_msg *m)
{
    if (w->count == 0) {
        receive(w, m);
        return;
    }
    *m = w->queue[w->first];
    w->first = (w->first + 1) % WIRE_QUEUE;
    w->count--;
}

void wire_wait(struct wire *w, uint32_t type, struct proto_msg *m)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct proto_msg *kept = &w->queue[(w->first + i) % WIRE_QUEUE];
        if (kept->type != type)
            continue;
        *m = *kept;
        for (; i + 1 < w->count; i++)
            w->queue[(w->first + i) % WIRE_QUEUE] = w->queue[(w->first + i + 1) % WIRE_QUEUE];
        w->count--;
        return;
    }
    for (;;) {
        receive(w, m);
        if (m->type == type)
            return;
        if (w->count == WIRE_QUEUE)
            wire_fatal(w, "the worker got more messages than there are slots");
        w->queue[(w->first + w->count++) % WIRE_QUEUE] = *m;
    }
}

void wire_fatal(const struct wire *w, const char *fmt, ...)
{
    struct proto_msg m = { .type = PROTO_FATAL };
    va_list args;
    va_start(args, fmt);
    vsnprintf(m.text, sizeof m.text, fmt, args);
    va_end(args);
    wire_send(w, &m);
    _exit(1);
}
