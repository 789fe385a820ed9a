/* proto.h - what a host and its worker process say to each other.
 *
 * A lane is one source, one worker, one connection. Host and worker share one memfd, mapped by both, that holds the
 * bytes; a SOCK_SEQPACKET pair (the worker's descriptor 0) carries fixed-size messages about it, one struct proto_msg a
 * packet. The memfd arrives as descriptor 3 and is closed once mapped. Layout of the mapping, all areas page-aligned:
 *
 *   input slot 0 | input slot 1 | output slot 0 .. PROTO_OUT_SLOTS-1
 *
 * Input slots have room for the longest line and PROTO_PAD readable bytes behind it (simdjson reads past the end). The
 * memfd is sparse: what is not touched costs nothing. The host trusts nothing that it reads here: every length is
 * checked against its slot before use.
 *
 * Order: the worker answers batches in the order they came, sends all PROTO_OUT of a batch and then its PROTO_DONE.
 * An input slot belongs to the worker from BATCH to DONE, an output slot to the host from OUT to FREE. */
#ifndef GARUN_PROTO_H
#define GARUN_PROTO_H

#include <stdint.h>

#define PROTO_IN_SLOTS   2u
#define PROTO_OUT_SLOTS  4u
#define PROTO_MAX_LINE   (16u << 20)                            /* longest line in bytes, without its line end */
#define PROTO_PAD        4096u
#define PROTO_IN_BYTES   ((size_t)PROTO_MAX_LINE + (1u << 20) + PROTO_PAD)
#define PROTO_OUT_BYTES  ((size_t)1 << 20)
#define PROTO_SHM_BYTES  (PROTO_IN_SLOTS * PROTO_IN_BYTES + PROTO_OUT_SLOTS * PROTO_OUT_BYTES)

enum proto_type {
    /* host -> worker */
    PROTO_PLAN  = 1,  /* slot, len: a packed plan (encode/plan.h) lies in that input slot; answered by READY or FATAL */
    PROTO_BATCH = 2,  /* slot, len, line, offset: whole lines; the last one may lack its line end */
    PROTO_FREE  = 3,  /* slot: that output slot may be written again */
    /* worker -> host */
    PROTO_READY = 4,  /* the plan is accepted, the slot is free again */
    PROTO_OUT   = 5,  /* slot, len: struct proto_rec records */
    PROTO_DONE  = 6,  /* slot: that input slot is free; count[]: this batch's numbers */
    PROTO_FATAL = 7,  /* text: why the worker ends */
};

enum proto_count {    /* indices of proto_msg.count */
    COUNT_LINES,      /* lines that are not empty (CSV: records) */
    COUNT_ROWS,       /* rows encoded (before the host drops duplicates) */
    COUNT_OTHER,      /* routed to no table */
    COUNT_RANGE,      /* outside the plan's range */
    COUNT_REJECTED,
    COUNT_REPAIRED,   /* NUL, unpaired surrogates, broken UTF-8 replaced by U+FFFD; numbers too big for JSONB quoted */
    COUNT_CUT,        /* texts cut at their column's length */
    COUNT_NULLED,     /* numbers that their column cannot hold */
    COUNT_COUNTS
};

struct proto_msg {
    uint32_t type, slot;
    uint64_t len;
    uint64_t line;                  /* BATCH: number of the first line, from 1 */
    uint64_t offset;                /* BATCH: byte offset of the slot's first byte in its source */
    uint64_t count[COUNT_COUNTS];   /* DONE */
    char     text[160];             /* FATAL: NUL-terminated */
};

/* Records in an output slot, each padded to 8 bytes; a record never crosses the slot's end, so a row that is larger than
 * what is left is split into fragments (rows = 0 on all but the last one, PROTO_MORE set on all but the last one). */
enum proto_kind {
    REC_ROWS   = 1,  /* table, part, rows, key (with dedup: rows = 1): rows of COPY's binary format, headerless */
    REC_PART   = 2,  /* part: declares number -> text (e.g. "2024-01-05") before its first use */
    REC_REJECT = 3,  /* struct proto_reject, then column name, then reason text (neither NUL-terminated) */
    REC_OTHER  = 4,  /* rows = how often, bytes = the route value; sent at a batch's end, at most 64 names */
};

#define PROTO_MORE 1u

struct proto_rec {
    uint32_t size;       /* of the bytes that follow, without padding */
    uint16_t kind;
    uint16_t flags;
    uint32_t table;      /* index into the plan's tables */
    uint32_t part;       /* partition number, 0 when the plan has no partition */
    uint64_t rows;
    uint64_t key[2];     /* 128-bit identity for duplicate detection, {0,0} without */
};

struct proto_reject {
    uint64_t line;                /* number in the source, from 1 */
    uint64_t offset;              /* byte offset of the line in the source */
    uint32_t raw_at, raw_len;     /* the line inside the batch's input slot */
    uint32_t column_len, reason_len;
    char     code[16];            /* NUL-terminated: "json", "date", "too_long", "null", "type", "depth", ... */
};

#endif
