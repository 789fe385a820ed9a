/* lane.h - one lane of a load: source bytes in, rows in COPY's binary format out, one worker process in between.
 *
 * feed.c is the way in (batches cut at record ends), take.c the way out (records of the worker sorted to tables,
 * duplicates dropped), lane.c what Lua sees of both. A lane is fed by one task and read by another; what is in flight is
 * bounded by the slots of the shared memory. */
#ifndef GARUN_LANE_H
#define GARUN_LANE_H

#include "core/buf.h"
#include "load/cut.h"
#include "load/peer.h"
#include "load/seen.h"

enum {
    LANE_BATCH = 1 << 20,       /* a batch is sent when it has this many bytes and a record end */
    LANE_FULL  = 1 << 20,       /* a table's rows are worth a COPY from here */
};

struct lane_slot {              /* an input slot of the shared memory */
    bool     busy;              /* at the worker */
    uint64_t order;             /* batches are answered in the order they were sent */
    uint32_t source;            /* which of the sources it is from */
    size_t   len;
    uint64_t line, offset;
};

struct lane {                   /* the userdata "garun.lane" */
    struct garun *g;
    struct peer  *peer;         /* owned; NULL when closed */

    /* the way in */
    struct cut       cut;
    struct lane_slot in[PROTO_IN_SLOTS];
    int              slot;      /* the one that is being filled, -1: none */
    size_t           fill;      /* bytes in it */
    size_t           end;       /* up to its last record end */
    struct buf       carry;     /* what followed the last record end of the batch before */
    uint64_t         line, offset;  /* of the next batch's first byte in its source */
    bool             skipping;  /* inside a line that is too long, up to its end */
    uint64_t         long_lines;
    size_t           at;        /* bytes of the chunk being written that are done */
    uint32_t         source;    /* which source is being written, from 1; their names are in LANE_UV_SOURCES */
    bool             ready;     /* the worker has accepted the last plan */
    struct wait      room;      /* the feeding task, waiting for a slot or for the answer to a plan */
    bool             finished;  /* the feeding side has said that nothing more comes */
    unsigned         in_flight; /* batches at the worker */
    uint64_t         sent;      /* batches so far */

    /* the way out */
    bool         dedup;
    uint32_t     ntables;
    struct buf  *rows;          /* owned; a table's rows that wait for lane:flush */
    struct seen  seen;
    uint64_t    *counts;        /* owned; [part * ntables + table], rows kept */
    uint32_t     nparts;
    bool         dropping;      /* the fragments of a duplicate are being dropped */
    uint32_t     torn;          /* the table, from 1, whose last row's fragments have not all come; 0: none */
    uint64_t     total[COUNT_COUNTS], duplicates;
};

enum { LANE_UV_PARTS = 1, LANE_UV_OTHER, LANE_UV_SOURCES, LANE_UV_LONG, LANE_UV_COUNT = LANE_UV_LONG };

/* feed.c: lane:plan(bytes), lane:source(name), lane:write(chunk), lane:end_source(), lane:finish() */
int l_lane_plan(lua_State *L);
int l_lane_source(lua_State *L);
int l_lane_write(lua_State *L);
int l_lane_end_source(lua_State *L);
int l_lane_finish(lua_State *L);

/* take.c: lane:next() */
int l_lane_next(lua_State *L);

/* Raises when the lane is closed. */
struct lane *l_lane_check(lua_State *L);

/* Pushes the name of the source with that number. */
void lane_push_source(lua_State *L, uint32_t source);

#endif
