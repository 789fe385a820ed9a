/* encode.h - batches of lines in, rows in COPY's binary format out (PostgreSQL manual, COPY).
 *
 * The encoder owns its scratch memory; the plan and the batch stay the caller's. It waits for nothing and knows no
 * process: what it finds it hands to a sink. */
#ifndef GARUN_ENCODE_H
#define GARUN_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "encode/plan.h"

#define ENCODE_PAD 64u     /* readable bytes that the caller guarantees behind a batch */

struct encode;

struct encode_batch {
    const uint8_t *data;       /* whole lines (CSV: records); the last one may lack its line end */
    size_t         len;        /* below 2^31 */
    uint64_t       line;       /* number of the first line, from 1 */
    uint64_t       offset;     /* of data[0] in its source; a byte order mark at 0 is skipped */
};

struct encode_counts {
    uint64_t lines;            /* that are not blank (CSV: records) */
    uint64_t rows, other, range, rejected;    /* add up to lines */
    uint64_t repaired;         /* rows in which something was replaced by U+FFFD or a huge number quoted */
    uint64_t cut, nulled;      /* texts cut, numbers made NULL */
};

struct encode_row {
    uint32_t          table;
    struct plan_text  part;    /* the partition's text; data NULL without */
    uint64_t          key[2];
    const char       *data;    /* the row: number of fields, then each field's length and bytes */
    size_t            len;
};

struct encode_reject {
    uint64_t         line, offset;      /* in the source */
    uint32_t         raw_at, raw_len;   /* in the batch, without the line end */
    const char      *code;              /* at most 15 characters */
    struct plan_text column;            /* empty: the line as a whole */
    const char      *reason;
};

/* Where results go, in order. Pointers are valid during the call. A sink that cannot take more returns false, which
 * ends the batch with encode_batch returning false; *e is then what it was. */
struct encode_sink {
    bool (*row)(struct encode_sink *s, const struct encode_row *row);
    bool (*reject)(struct encode_sink *s, const struct encode_reject *reject);
    bool (*other)(struct encode_sink *s, struct plan_text name, uint64_t count);   /* at the batch's end, at most 64 */
};

/* The plan must outlive the encoder. NULL and *e when a constant does not fit its column or memory is short. */
struct encode *encode_open(const struct plan *plan, struct err *e);
void           encode_close(struct encode *enc);      /* NULL is allowed */

/* Encodes one batch and adds to *counts. False when memory is short (*e says so) or the sink gave up. */
bool encode_batch(struct encode *enc, const struct encode_batch *batch, struct encode_sink *sink,
                  struct encode_counts *counts, struct err *e);

#endif
