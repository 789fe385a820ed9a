/* row.h - one record into one row: its table, its partition, its columns, its identity. Internal to encode/.
 *
 * Owns the row's bytes and all scratch room, reused from record to record. Knows nothing of batches, lines and
 * slots. */
#ifndef GARUN_ROW_H
#define GARUN_ROW_H

#include "core/buf.h"
#include "core/uuid7.h"
#include "encode/cell.h"
#include "encode/csv.h"
#include "encode/plan.h"

enum row_verdict { ROW_READY, ROW_OTHER, ROW_RANGE, ROW_REJECT, ROW_MEMORY };

struct row_fixed { uint32_t at, len; };     /* a field in row.fixed_bytes; len UINT32_MAX: there is none */

struct row {
    const struct plan *plan;
    struct cell        cell;
    struct uuid7       uuid;

    /* the present record: a walked document, or CSV fields */
    const struct doc       *doc;
    const uint8_t          *buf;
    const struct csv_field *field;

    /* what became of it */
    uint32_t           table;
    struct buf         out;           /* ROW_READY: the row in COPY's binary format */
    struct buf         part;          /* the partition's text, when the table has one */
    uint64_t           key[2];        /* with dedup */
    struct buf         other;         /* ROW_OTHER: the route's value */
    struct plan_text   column;        /* ROW_REJECT: where (empty: the record as a whole), cell.code, cell.reason */
    uint64_t           cut, nulled;

    struct buf         text, record, identity;
    struct buf         fixed_bytes;
    struct buf         day, known;            /* the partition's field; the one that part is the text of */
    const struct plan_column *known_column;   /* and its column, NULL when part is the text of none */
    struct row_fixed  *constant, *fallback;   /* one a column of the plan, in plan->columns' order */
};

/* Encodes the plan's constants; they may not fit their columns, which *e then tells. */
bool row_init(struct row *r, const struct plan *plan, struct err *e);
void row_free(struct row *r);

/* Gives back what a giant record needed. */
void row_trim(struct row *r);

/* Makes the row of r->doc, or of r->buf and r->field. */
enum row_verdict row_make(struct row *r);

#endif
