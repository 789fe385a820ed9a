/* out.h - what the encoder finds, as records in the shared output slots.
 *
 * An encode_sink. Owns the numbering of partitions, which lasts as long as the process: the host counts along.
 * Waits for the host when all slots are taken. */
#ifndef GARUN_OUT_H
#define GARUN_OUT_H

#include "encode/encode.h"
#include "worker/wire.h"

#define OUT_PARTS 65536u      /* most partitions of a worker's life */

struct out_part { char *text; uint32_t len, number; };

struct out {
    struct encode_sink sink;             /* first: the sink's functions get a pointer to it */
    struct wire       *wire;
    char              *slots;            /* PROTO_OUT_SLOTS of PROTO_OUT_BYTES, not owned */
    bool               dedup;            /* rows are told apart: one record each */
    bool               taken[PROTO_OUT_SLOTS];
    unsigned           slot;             /* the one being written, PROTO_OUT_SLOTS when none is */
    size_t             at;               /* end of its records */
    struct proto_rec  *open;             /* the last record when it may grow, else NULL */
    struct out_part   *parts;            /* hash table by text */
    uint32_t           nparts, mask;
    uint32_t           last;             /* place of the last one looked up */
};

void out_init(struct out *o, struct wire *wire, char *slots);

/* Sends what is written, if anything: a batch's results leave before its end is told. */
void out_flush(struct out *o);

#endif
