/* wire.h - the worker's end of the socket: one struct proto_msg a packet, kept in order.
 *
 * Owns nothing but the messages that came while another one was waited for. */
#ifndef GARUN_WIRE_H
#define GARUN_WIRE_H

#include <stdbool.h>

#include "worker/proto.h"

#define WIRE_QUEUE (PROTO_IN_SLOTS + PROTO_OUT_SLOTS + 1u)

struct wire {
    int              fd;
    struct proto_msg queue[WIRE_QUEUE];
    unsigned         first, count;
};

/* Sends; ends the process when the host is gone. */
void wire_send(const struct wire *w, const struct proto_msg *m);

/* The next message in order. Ends the process, quietly, when the host is gone. */
void wire_next(struct wire *w, struct proto_msg *m);

/* Waits for a message of this type; others are kept for wire_next. */
void wire_wait(struct wire *w, uint32_t type, struct proto_msg *m);

/* Tells the host why and ends the process. */
void wire_fatal(const struct wire *w, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

#endif
