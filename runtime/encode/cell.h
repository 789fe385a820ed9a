/* cell.h - one value into one column, in the form that its type's receive function reads (PostgreSQL manual, COPY,
 * Binary Format; src/backend/utils/adt), so that PostgreSQL can never refuse it.
 *
 * Owns a small JSON reader for texts that go into json columns and what jsonb's order takes, nothing else. A value that
 * does not fit is cut, made NULL or rejected, as its column says. */
#ifndef GARUN_CELL_H
#define GARUN_CELL_H

#include "core/buf.h"
#include "encode/doc.h"
#include "encode/order.h"
#include "encode/plan.h"
#include "encode/scan.h"

#define CELL_JSON_TEXT 'J'     /* type of a value that is JSON text already, not part of a document */

struct cell_value {
    const uint8_t    *p;       /* text: decoded; other scalars: their token. TEXT_SLACK bytes behind it are readable */
    uint32_t          len;
    uint8_t           type;    /* as doc_value.type, or CELL_JSON_TEXT */
    enum plan_kind    kind;
    const struct doc *doc;     /* the document it is from, NULL for none; at, end: its place there, with quotes */
    uint32_t          at, end;
};

enum cell_status { CELL_OK, CELL_NULL, CELL_REJECT, CELL_MEMORY };

struct cell {                  /* zero-initialise, then cell_init */
    uint64_t     cut, nulled;      /* counts, only ever added to */
    const char  *code;             /* after CELL_REJECT: static, for programs */
    char         reason[200];      /* and a sentence */
    bool         repaired;         /* set when something was replaced by U+FFFD */
    struct trie  trie;
    struct doc   doc;
    struct scan *scan;             /* NULL before the first text that is to be JSON */
    struct buf   text;
    struct order order;
};

bool cell_init(struct cell *c);
void cell_free(struct cell *c);

/* Appends v as column col's bytes, without their length; there must be TEXT_SLACK bytes of room. CELL_NULL: the value
 * is NULL for this column. After that and CELL_REJECT the caller takes out->len back to what it was. *v may be
 * trimmed. */
enum cell_status cell_put(struct cell *c, const struct plan_column *col, struct cell_value *v, struct buf *out);

/* Appends v in its one normal form, for comparisons: numbers plain, containers as kept JSON. False when memory is
 * short. */
bool cell_plain(const struct cell_value *v, struct buf *out);

#endif
