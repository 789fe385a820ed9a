/* csv.h - cuts CSV records into fields (RFC 4180, any delimiter and quote). Owns nothing.
 *
 * A quote inside of an unquoted field is a character like others; a quoted field may hold delimiters, doubled
 * quotes and line ends. Lines end in LF or CRLF. */
#ifndef GARUN_CSV_H
#define GARUN_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

struct csv_field {
    uint32_t at, end;      /* without quotes */
    bool     quoted;
    bool     doubled;      /* holds doubled quotes */
};

enum csv_status {
    CSV_OK,
    CSV_UNCLOSED,          /* a quoted field does not end */
    CSV_BEHIND_QUOTE,      /* something else than a delimiter or line end follows a closing quote */
};

struct csv {
    uint8_t  delimiter, quote;     /* quote 0: there are no quotes */
    uint32_t max;                  /* places in the array of fields */
};

/* Cuts the record at buf[at .. len); 64 bytes behind len must be readable. *n is the number of its fields, which may be
 * more than csv->max: those beyond are counted only. *next is the first byte behind the record's line end; for a
 * malformed record, behind its first line. */
enum csv_status csv_record(const struct csv *csv, const uint8_t *buf, uint32_t at, uint32_t len,
                           struct csv_field *field, uint32_t *n, uint32_t *next);

/* Appends a field's text with doubled quotes made single; false when memory is short. */
bool csv_text(struct buf *out, const uint8_t *buf, const struct csv_field *f, uint8_t quote);

#endif
