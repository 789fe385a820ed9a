/* plan.h - what becomes of a record: which tables there are, where each column comes from, what makes two rows the
 * same.
 *
 * garun.plan packs it (lua/garun/plan.lua), the host hands it to the worker, plan_decode checks and unpacks it. The
 * plan owns a copy of the packed bytes; all its texts point into that. No name of any source appears in C.
 *
 * Packed form, little-endian, a text is u32 length and bytes, a list is u16 count and its elements:
 *   "GPLN" u8 version=1 | u8 format, u8 delimiter, u8 quote | u32 max_line | list of text: CSV columns
 *   list of paths: u8 steps, each u8 kind and (member) text | (index) u32 | (select, select without case) text text
 *   route alternatives | list of (text value, u16 table)
 *   u8 dedup? | u64 seed, list of alternatives: key, list of alternatives: unless null
 *   u8 has_min, text | u8 has_max, text
 *   list of tables: text name, u16 partition column + 1, list of columns:
 *     text name, u8 source, u8 type, i32 a, i32 b, u16 flags, u32 units, text constant, text default, alternatives
 *   alternatives: u8 count, each u16 path, u8 kind */
#ifndef GARUN_PLAN_H
#define GARUN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "encode/trie.h"

#define PLAN_WHOLE    UINT32_MAX   /* plan_alt.node of a CSV plan: the whole record as a JSON object */
#define PLAN_TABLES   1024u
#define PLAN_COLUMNS  1600u        /* PostgreSQL's own limit a table */
#define PLAN_FIELDS   1664u        /* fields of a CSV record */

enum plan_format { PLAN_NDJSON, PLAN_CSV };
enum plan_kind   { PLAN_AS_TEXT, PLAN_AS_NUMBER, PLAN_AS_JSON };
enum plan_source { PLAN_PATH, PLAN_CONSTANT, PLAN_NEW_UUID };

enum plan_type {
    PLAN_TEXT, PLAN_VARCHAR, PLAN_BPCHAR, PLAN_INT2, PLAN_INT4, PLAN_INT8, PLAN_NUMERIC, PLAN_FLOAT4, PLAN_FLOAT8,
    PLAN_BOOL, PLAN_DATE, PLAN_TIMESTAMP, PLAN_TIMESTAMPTZ, PLAN_UUID, PLAN_JSON, PLAN_JSONB, PLAN_TYPES
};

enum plan_flag {
    PLAN_NOT_NULL        = 1,
    PLAN_TOO_LONG_REJECT = 2,    /* else cut */
    PLAN_BAD_REJECT      = 4,    /* else NULL, counted */
    PLAN_TRIM            = 8,    /* white space at both ends goes */
    PLAN_EMPTY_NULL      = 16,   /* '' is NULL */
    PLAN_DEFAULT         = 32,   /* `fallback` takes the place of NULL */
};

struct plan_text { const char *data; uint32_t len; };

struct plan_alt  { uint32_t node; enum plan_kind kind; };     /* a trie node; with CSV a field's number or PLAN_WHOLE */
struct plan_alts { const struct plan_alt *alt; uint32_t count; };   /* the first one that is not null counts */

struct plan_column {
    struct plan_text name, constant, fallback;
    struct plan_alts from;
    enum plan_source source;
    enum plan_type   type;
    int32_t          a, b;       /* varchar, bpchar: a = length, 0 unbounded; numeric: precision (0 unbounded), scale */
    uint32_t         flags;
    uint32_t         units;      /* timestamps given as numbers: units a second, 1, 1000 or 1000000 */
};

struct plan_table {
    struct plan_text          name;
    uint32_t                  partition;    /* column, TRIE_NONE without */
    uint32_t                  ncolumns;
    const struct plan_column *columns;      /* in the order of the COPY */
};

struct plan {
    enum plan_format   format;
    uint8_t            delimiter, quote;
    uint32_t           max_line;
    struct plan_text  *fields;              /* CSV columns in the order of the file */
    uint32_t           nfields;
    struct trie        trie;
    struct plan_alts   route;               /* count 0: all records go to table 0 */
    struct trie_table  routes;              /* value -> table */
    bool               dedup;
    uint64_t           seed;
    struct plan_alts  *key, *unless;
    uint32_t           nkey, nunless;
    bool               has_min, has_max;
    struct plan_text   min, max;            /* of the partition's text, inclusive */
    struct plan_table *tables;
    uint32_t           ntables;

    char               *bytes;              /* owned: the packed plan */
    struct plan_alt    *alts;               /* owned: all alternatives */
    struct plan_column *columns;            /* owned: all columns */
};

/* Unpacks and checks; the bytes are copied. On failure *e says what is wrong and *out is empty. */
bool plan_decode(const uint8_t *bytes, size_t len, struct plan *out, struct err *e);

/* Frees what the plan owns; an empty plan is allowed. */
void plan_free(struct plan *p);

#endif
