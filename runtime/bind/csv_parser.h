/* csv_parser.h - CSV text, in chunks, to rows of fields (RFC 4180). No Lua.
 *
 * Owns the bytes of one row. A chunk stays the caller's and must live until the parser asks for more. Memory is bounded
 * by max_row, so that an unclosed quote cannot swallow a file. */
#ifndef GARUN_CSV_PARSER_H
#define GARUN_CSV_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/err.h"

enum csv_state {
    CSV_AT_START, CSV_AT_ROW, CSV_AT_FIELD, CSV_IN_PLAIN, CSV_IN_QUOTES, CSV_AFTER_QUOTE, CSV_AFTER_CR,
};

enum csv_result { CSV_ROW, CSV_MORE, CSV_END, CSV_FAILED };

struct csv_field {
    size_t start, len;      /* in row.data */
    bool   quoted;
};

struct csv_parser {
    /* set by the owner before the first chunk */
    char   delimiter;
    char   quote;           /* '\0' = no quoting at all */
    bool   trim;            /* spaces and tabs around fields that are not quoted, and around quotes, are dropped */
    bool   lax;             /* quotes within plain fields and text after a closing quote are taken as they are */
    bool   keep_blank;      /* a blank line is a row of one empty field instead of nothing */
    bool   text;            /* the bytes are to be UTF-8: a byte order mark of UTF-16 is an error with advice */
    size_t max_row;         /* bytes */

    /* the row that csv_next has found */
    struct csv_field *fields;
    size_t      nfields;
    struct buf  row;
    uint64_t    row_line;   /* where it began */

    /* the parser's own */
    const char *in, *end;
    bool        ended;
    enum csv_state state;
    size_t      cap;        /* of fields */
    size_t      field_start;
    bool        quoted;
    int         bom;        /* bytes of a byte order mark seen */
    uint64_t    offset;     /* of in, from the beginning of the text */
    uint64_t    line, line_offset;
    uint64_t    quote_line, quote_column;
};

/* Hands over the next chunk; len 0 ends the text. Only after CSV_MORE or at the beginning. */
void csv_feed(struct csv_parser *p, const char *chunk, size_t len);

/* Finds the next row. CSV_FAILED fills *e with line and byte column; the parser is then of no further use. */
enum csv_result csv_next(struct csv_parser *p, struct err *e);

void csv_free(struct csv_parser *p);

#endif
