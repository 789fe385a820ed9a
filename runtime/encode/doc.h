/* doc.h - one walk over one JSON record: validates it, finds the values a plan wants, marks the bytes to keep.
 *
 * Owns the list of kept spans and the found values, both overwritten by the next record; the text stays the
 * caller's. Nothing is copied and nothing is decoded here: emit.c does that, for the rows that are wanted.
 *
 * What passes is JSON as RFC 8259 has it, so PostgreSQL's json and jsonb accept what emit.c makes of it. The last one
 * of duplicate members wins, as in jsonb. Null members of objects are left out of the kept spans (in arrays they stay:
 * there the position counts). One exception: a null that follows an equal name in its object stays, for jsonb must see
 * that it wins; so does any null behind DOC_NAMES kept members of one object (DOC_ODD_NAMES once a name had escapes),
 * where looking for equal names gets dear. */
#ifndef GARUN_DOC_H
#define GARUN_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/trie.h"

#define DOC_DEPTH 512u     /* deepest nesting; PostgreSQL's own limit is its stack's size */
#define DOC_NAMES 1024u
#define DOC_ODD_NAMES 64u

enum doc_status { DOC_OK, DOC_SYNTAX, DOC_TOO_DEEP, DOC_MEMORY };

struct doc_span { uint32_t at, end; };

struct doc_value {
    uint32_t round;      /* the value is of the present record when this equals doc.round */
    uint32_t at, end;    /* containers with their brackets, strings without their quotes */
    uint8_t  type;       /* '"', '0' (number), 't' 'f' 'n', '{' '[' */
    bool     escaped;    /* a string with at least one backslash */
};

struct doc {
    const uint8_t     *buf;
    const struct trie *trie;
    struct doc_value  *values;       /* one a trie node */
    uint32_t           round;
    uint32_t           line_end;
    uint32_t           next_escape;  /* position of the next backslash not yet passed, UINT32_MAX when none is left */
    uint32_t           run;          /* where the span being collected began */
    uint32_t           keep;         /* 1; 0 while an element is walked again, when spans are not collected */
    struct doc_span   *spans;
    uint32_t          *names;        /* kept members of the objects being walked, innermost last */
    struct doc_span   *huge;         /* numbers that numeric cannot hold */
    uint32_t           nspans, nnames, nhuge;
    uint32_t           spans_cap, names_cap, huge_cap;
    bool               strip;        /* leave null members out (doc_init sets it) */
    bool               dirty;        /* holds a backslash */
    bool               deep;
    bool               odd_names;    /* a name with escapes has been seen in the record */
    bool               broken;       /* holds U+0000 or an unpaired surrogate, as an escape */
    const uint32_t    *next;         /* first index behind the record */
    const char        *error;        /* what is wrong, after DOC_SYNTAX */
    uint32_t           error_at;
};

bool doc_init(struct doc *d, const struct trie *trie);
void doc_free(struct doc *d);

/* Gives back what a giant record needed. */
void doc_trim(struct doc *d);

/* Walks the record in buf[at .. end) whose tokens begin at *index (see scan_run; buf[end] is '\n'). dirty: the
 * record holds a backslash. object: the record must be an object; otherwise any JSON value will do. */
enum doc_status doc_walk(struct doc *d, const uint8_t *buf, const uint32_t *index, uint32_t at, uint32_t end,
                         bool dirty, bool object);

/* The value found for a node, NULL when it is absent or null. */
static inline const struct doc_value *doc_get(const struct doc *d, uint32_t node)
{
    const struct doc_value *v = &d->values[node];
    return v->round == d->round && v->type != 'n' ? v : NULL;
}

#endif
