/* peer.h - the host's end of one worker process: its start, the shared memory, the messages, its death.
 *
 * Owns the process, the socket and the mapping. What the bytes mean is not known here; see worker/proto.h. */
#ifndef GARUN_PEER_H
#define GARUN_PEER_H

#include "loop/loop.h"
#include "worker/proto.h"

struct peer;

/* Starts the worker executable with an empty environment and no descriptors but its socket and the memory. */
struct peer *peer_start(struct garun *g, const char *path, struct err *e);

/* Kills the worker when it still runs and lets go of everything; NULL is allowed. Never waits. */
void peer_close(struct peer *p);

char *peer_in(struct peer *p, unsigned slot);           /* PROTO_IN_BYTES writable bytes */
const char *peer_out(struct peer *p, unsigned slot);    /* PROTO_OUT_BYTES readable bytes */

/* Gives the pages of an input slot beyond the first keep bytes back to the system (after a giant line). */
void peer_trim(struct peer *p, unsigned slot, size_t keep);

/* Sends one message; the socket's buffer always has room for the few that may be under way. */
bool peer_send(struct peer *p, const struct proto_msg *m, struct err *e);

enum peer_answer { PEER_MESSAGE, PEER_NONE, PEER_ENDED };

/* Receives one message without waiting. ENDED: *e says how the worker ended. */
enum peer_answer peer_recv(struct peer *p, struct proto_msg *m, struct err *e);

struct watch *peer_watch(struct peer *p);               /* readable when peer_recv has something; not the caller's */
int peer_pid(const struct peer *p);                     /* 0 after its end was seen */

#endif
