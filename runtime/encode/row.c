/* row.c - see row.h. Order of judgement: route (other), partition (out of range), columns (reject), identity. */
#include "encode/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "encode/be.h"
#include "encode/emit.h"
#include "encode/show.h"
#include "encode/text.h"

#define ABSENT     UINT32_MAX
#define ROW_USUAL  ((size_t)256 << 10)     /* scratch room that is kept */
#define FIELD_HEAD 4u                      /* a field's length stands before its bytes, -1 for NULL */
#define FIELD_NULL UINT32_MAX

/* ---- values ---- */

enum fetched { FETCH_NULL, FETCH_VALUE, FETCH_MEMORY };

static enum fetched fetch_doc(struct row *r, const struct plan_alts *from, struct cell_value *v)
{
    const struct doc *d = r->doc;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct doc_value *found = doc_get(d, from->alt[i].node);
        if (!found)
            continue;
        *v = (struct cell_value){
            .p = d->buf + found->at, .len = found->end - found->at, .type = found->type, .kind = from->alt[i].kind,
            .doc = d, .at = found->at - (found->type == '"'), .end = found->end + (found->type == '"') };
        if (__builtin_expect(found->escaped, 0) && v->kind != PLAN_AS_JSON) {
            r->text.len = 0;
            if (!text_room(&r->text, v->len))
                return FETCH_MEMORY;
            uint8_t *to = (uint8_t *)r->text.data;
            v->len = (uint32_t)(text_unescape(to, v->p, v->len) - to);
            v->p = to;
        }
        return FETCH_VALUE;
    }
    return FETCH_NULL;
}

/* A text as a JSON string. */
static bool put_quoted(struct buf *out, const uint8_t *p, size_t len)
{
    if (!text_room(out, 6 * len + 2))
        return false;
    char *to = out->data + out->len;
    *to++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"' || p[i] == '\\')
            *to++ = '\\';
        if (p[i] >= 0x20)
            *to++ = (char)p[i];
        else
            to += snprintf(to, 7, "\\u%04x", p[i]);
    }
    *to++ = '"';
    out->len = (size_t)(to - out->data);
    return true;
}

/* The record as an object, null members left out. */
static bool csv_object(struct row *r)
{
    const struct plan *p = r->plan;
    bool any = false, ok = true;
    r->record.len = 0;
    ok = buf_put(&r->record, "{", 1);
    for (uint32_t i = 0; ok && i < p->nfields; i++) {
        const struct csv_field *f = &r->field[i];
        if (f->at == f->end && !f->quoted)
            continue;
        r->text.len = 0;
        ok = (!any || buf_put(&r->record, ",", 1)) &&
             put_quoted(&r->record, (const uint8_t *)p->fields[i].data, p->fields[i].len) &&
             buf_put(&r->record, ":", 1) && csv_text(&r->text, r->buf, f, p->quote) &&
             put_quoted(&r->record, (const uint8_t *)r->text.data, r->text.len);
        any = true;
    }
    return ok && buf_put(&r->record, "}", 1) && text_room(&r->record, 0);
}

static enum fetched fetch_csv(struct row *r, const struct plan_alts *from, struct cell_value *v)
{
    for (uint32_t i = 0; i < from->count; i++) {
        uint32_t node = from->alt[i].node;
        *v = (struct cell_value){ .type = '"', .kind = from->alt[i].kind };
        if (node == PLAN_WHOLE) {
            if (!csv_object(r))
                return FETCH_MEMORY;
            v->p = (const uint8_t *)r->record.data;
            v->len = (uint32_t)r->record.len;
            v->type = CELL_JSON_TEXT;
            return FETCH_VALUE;
        }
        const struct csv_field *f = &r->field[node];
        if (f->at == f->end && !f->quoted)
            continue;
        v->p = r->buf + f->at;
        v->len = f->end - f->at;
        if (__builtin_expect(f->doubled, 0)) {
            r->text.len = 0;
            if (!csv_text(&r->text, r->buf, f, r->plan->quote))
                return FETCH_MEMORY;
            v->p = (const uint8_t *)r->text.data;
            v->len = (uint32_t)r->text.len;
        }
        if (v->kind == PLAN_AS_JSON)      /* a text is no document: what json means here is the column's business */
            v->kind = PLAN_AS_TEXT;
        return FETCH_VALUE;
    }
    return FETCH_NULL;
}

static inline enum fetched fetch(struct row *r, const struct plan_alts *from, struct cell_value *v)
{
    return r->doc ? fetch_doc(r, from, v) : fetch_csv(r, from, v);
}

/* ---- constants ---- */

static bool fix(struct row *r, const struct plan_column *c, const struct plan_text *t, struct row_fixed *out,
                struct err *e)
{
    struct buf copy = { 0 }, cell = { 0 };
    bool ok = false, repaired = false;
    struct cell_value v = { .type = '"', .kind = PLAN_AS_TEXT };
    if (!text_repair(&copy, (const uint8_t *)t->data, t->len, &repaired) || !text_room(&copy, 0) ||
        !text_room(&cell, FIELD_HEAD))
        goto memory;
    cell.len = FIELD_HEAD;
    v.p = (const uint8_t *)copy.data;
    v.len = (uint32_t)copy.len;
    switch (cell_put(&r->cell, c, &v, &cell)) {
    case CELL_OK:
        break;
    case CELL_MEMORY:
        goto memory;
    case CELL_REJECT:
        err_set(e, "plan", "constant", "column \"%.*s\" cannot take its constant: %s", (int)c->name.len, c->name.data,
                r->cell.reason);
        goto out;
    case CELL_NULL:
        err_set(e, "plan", "constant", "column \"%.*s\" cannot take its constant \"%.*s\"", (int)c->name.len,
                c->name.data, t->len > 60 ? 60 : (int)t->len, t->data);
        goto out;
    }
    be_put32(cell.data, (uint32_t)cell.len - FIELD_HEAD);
    *out = (struct row_fixed){ .at = (uint32_t)r->fixed_bytes.len, .len = (uint32_t)cell.len };
    ok = buf_put(&r->fixed_bytes, cell.data, cell.len);
memory:
    if (!ok)
        err_set(e, "plan", "ENOMEM", "out of memory while encoding the plan's constants");
out:
    buf_free(&copy);
    buf_free(&cell);
    return ok;
}

bool row_init(struct row *r, const struct plan *plan, struct err *e)
{
    *r = (struct row){ .plan = plan };
    size_t columns = 0;
    for (uint32_t i = 0; i < plan->ntables; i++)
        columns += plan->tables[i].ncolumns;
    r->constant = calloc(columns + 1, sizeof *r->constant);
    r->fallback = calloc(columns + 1, sizeof *r->fallback);
    if (!r->constant || !r->fallback || !cell_init(&r->cell) || !text_room(&r->out, ROW_USUAL / 8) ||
        !text_room(&r->text, 1024) || !text_room(&r->part, 64) || !text_room(&r->fixed_bytes, 64))
        return err_set(e, "plan", "ENOMEM", "out of memory while preparing the encoder");
    for (size_t i = 0; i < columns; i++) {
        const struct plan_column *c = &plan->columns[i];
        r->constant[i].len = r->fallback[i].len = ABSENT;
        if (c->source == PLAN_CONSTANT && !fix(r, c, &c->constant, &r->constant[i], e))
            return false;
        if ((c->flags & PLAN_DEFAULT) && !fix(r, c, &c->fallback, &r->fallback[i], e))
            return false;
    }
    r->cell.cut = r->cell.nulled = 0;
    return text_room(&r->fixed_bytes, 0) || err_set(e, "plan", "ENOMEM", "out of memory while preparing the encoder");
}

void row_free(struct row *r)
{
    cell_free(&r->cell);
    struct buf *all[] = { &r->out, &r->part, &r->other, &r->text, &r->record, &r->identity, &r->fixed_bytes,
                          &r->day, &r->known };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    free(r->constant);
    free(r->fallback);
    *r = (struct row){ 0 };
}

void row_trim(struct row *r)
{
    struct buf *all[] = { &r->out, &r->part, &r->other, &r->text, &r->record, &r->identity, &r->cell.text,
                          &r->day, &r->known };
    r->known_column = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->cap > ROW_USUAL)
            buf_free(all[i]);
    }
    if (r->cell.scan)
        scan_trim(r->cell.scan);
    doc_trim(&r->cell.doc);
}

/* ---- rows ---- */

static enum row_verdict reject(struct row *r, const struct plan_column *c, const char *code, const char *reason)
{
    r->column = c ? c->name : (struct plan_text){ "", 0 };
    r->cell.code = code;
    if (reason != r->cell.reason)
        snprintf(r->cell.reason, sizeof r->cell.reason, "%s", reason);
    return ROW_REJECT;
}

/* Appends one column's field: its length and its bytes. */
static inline enum row_verdict put_column(struct row *r, const struct plan_column *c, struct buf *out)
{
    size_t number = (size_t)(c - r->plan->columns), at = out->len;
    struct cell_value v;
    const struct row_fixed *fixed = &r->fallback[number];
    if (!text_room(out, FIELD_HEAD))
        return ROW_MEMORY;
    out->len += FIELD_HEAD;
    if (__builtin_expect(c->source == PLAN_PATH, 1)) {
        switch (fetch(r, &c->from, &v)) {
        case FETCH_MEMORY:
            return ROW_MEMORY;
        case FETCH_VALUE:
            switch (cell_put(&r->cell, c, &v, out)) {
            case CELL_OK:
                be_put32(out->data + at, (uint32_t)(out->len - at) - FIELD_HEAD);
                return ROW_READY;
            case CELL_REJECT:
                return reject(r, c, r->cell.code, r->cell.reason);
            case CELL_MEMORY:
                return ROW_MEMORY;
            case CELL_NULL:
                break;
            }
            break;
        case FETCH_NULL:
            break;
        }
    } else if (c->source == PLAN_CONSTANT) {
        fixed = &r->constant[number];
    } else {
        uint8_t id[16];
        uuid7_make(&r->uuid, id);
        if (c->type == PLAN_UUID) {
            memcpy(out->data + out->len, id, sizeof id);
            out->len += sizeof id;
        } else {
            uuid7_print(id, out->data + out->len);
            out->len += UUID7_TEXT;
        }
        be_put32(out->data + at, (uint32_t)(out->len - at) - FIELD_HEAD);
        return ROW_READY;
    }
    out->len = at;
    if (fixed->len != ABSENT) {
        if (!text_room(out, fixed->len))
            return ROW_MEMORY;
        memcpy(out->data + at, r->fixed_bytes.data + fixed->at, fixed->len);
        out->len += fixed->len;
        return ROW_READY;
    }
    if (__builtin_expect(c->flags & PLAN_NOT_NULL, 0))
        return reject(r, c, "null", "is null, but the column is NOT NULL");
    be_put32(out->data + at, FIELD_NULL);
    out->len += FIELD_HEAD;
    return ROW_READY;
}

/* The partition's field into r->day and its text into r->part. Neighbours are mostly of one day: the text stays. */
static enum row_verdict find_part(struct row *r, const struct plan_column *c)
{
    r->day.len = 0;
    enum row_verdict verdict = put_column(r, c, &r->day);
    if (verdict != ROW_READY)
        return verdict;
    if (be_get32(r->day.data) == FIELD_NULL)
        return reject(r, c, "null", "is null, but the rows are told apart by it");
    if (r->known_column != c || r->known.len != r->day.len || memcmp(r->known.data, r->day.data, r->day.len) != 0) {
        r->known_column = NULL;
        r->known.len = r->part.len = 0;
        if (!buf_put(&r->known, r->day.data, r->day.len) || !text_room(&r->part, 0) ||
            !show_value(c, r->day.data + FIELD_HEAD, r->day.len - FIELD_HEAD, &r->part))
            return ROW_MEMORY;
        r->known_column = c;
    }
    return ROW_READY;
}

/* The value that decides about the table, as plain text in r->other. */
static enum row_verdict find_table(struct row *r)
{
    const struct plan *p = r->plan;
    struct cell_value v;
    if (p->route.count == 0) {
        r->table = 0;
        return ROW_READY;
    }
    switch (fetch(r, &p->route, &v)) {
    case FETCH_MEMORY:
        return ROW_MEMORY;
    case FETCH_NULL:
        return reject(r, NULL, "route", "the record does not say what it is: the value that decides about its table "
                                        "is absent or null");
    case FETCH_VALUE:
        break;
    }
    if (v.type == '{' || v.type == '[')
        return reject(r, NULL, "route", "the value that decides about the record's table is an object or array");
    if (v.kind == PLAN_AS_TEXT && v.type == '"') {
        r->table = trie_find(&p->routes, v.p, v.len);
        if (r->table != TRIE_NONE)
            return ROW_READY;
    }
    r->other.len = 0;
    if (!cell_plain(&v, &r->other) || !text_room(&r->other, 8))
        return ROW_MEMORY;
    r->table = trie_find(&p->routes, r->other.data, (uint32_t)r->other.len);
    return r->table == TRIE_NONE ? ROW_OTHER : ROW_READY;
}

/* Byte order: what partitions are named by (ISO dates) sorts so. */
static int compare(const struct buf *a, const struct plan_text *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = n ? memcmp(a->data, b->data, n) : 0;
    return c ? c : a->len < b->len ? -1 : a->len > b->len;
}

static bool put_part(struct buf *out, const struct cell_value *v)
{
    size_t at = out->len;
    uint32_t len = 0;
    if (!buf_put(out, "V", 1) || !buf_put(out, &len, sizeof len))
        return false;
    if (!cell_plain(v, out))
        return false;
    len = (uint32_t)(out->len - at - 1 - sizeof len);
    memcpy(out->data + at + 1, &len, sizeof len);
    return true;
}

/* The identity of the record: XXH3 (128 bits, seeded, for strangers write the data) over the partition and the key's
 * values, each with its length; over the partition and the whole record where an `unless` value is null. */
static bool identify(struct row *r)
{
    const struct plan *p = r->plan;
    struct cell_value v;
    bool whole = p->nkey == 0;
    r->identity.len = 0;
    for (uint32_t i = 0; !whole && i < p->nunless; i++) {
        enum fetched f = fetch(r, &p->unless[i], &v);
        if (f == FETCH_MEMORY)
            return false;
        whole = f == FETCH_NULL;
    }
    v = (struct cell_value){ .p = (const uint8_t *)r->part.data, .len = (uint32_t)r->part.len, .type = '"' };
    if (!buf_put(&r->identity, whole ? "R" : "K", 1) || !put_part(&r->identity, &v))
        return false;
    if (whole && r->doc) {
        if (!emit_json(&r->identity, r->doc, r->doc->values[0].at, r->doc->values[0].end))
            return false;
    } else if (whole) {
        if (!csv_object(r) || !buf_put(&r->identity, r->record.data, r->record.len))
            return false;
    }
    for (uint32_t i = 0; !whole && i < p->nkey; i++) {
        enum fetched f = fetch(r, &p->key[i], &v);
        if (f == FETCH_MEMORY || !(f == FETCH_VALUE ? put_part(&r->identity, &v) : buf_put(&r->identity, "N", 1)))
            return false;
    }
    XXH128_hash_t h = XXH3_128bits_withSeed(r->identity.data, r->identity.len, p->seed);
    r->key[0] = h.low64;
    r->key[1] = h.high64;
    return true;
}

enum row_verdict row_make(struct row *r)
{
    const struct plan *p = r->plan;
    uint64_t cut = r->cell.cut, nulled = r->cell.nulled;
    r->cell.repaired = false;
    r->cell.code = "";
    r->key[0] = r->key[1] = 0;
    enum row_verdict verdict = find_table(r);
    if (verdict != ROW_READY)
        return verdict;
    const struct plan_table *t = &p->tables[r->table];
    r->out.len = 0;
    if (t->partition != TRIE_NONE) {
        verdict = find_part(r, &t->columns[t->partition]);
        if (verdict != ROW_READY)
            return verdict;
        if ((p->has_min && compare(&r->part, &p->min) < 0) || (p->has_max && compare(&r->part, &p->max) > 0))
            return ROW_RANGE;
    } else {
        r->part.len = 0;
        r->known_column = NULL;
    }
    if (!text_room(&r->out, 2))
        return ROW_MEMORY;
    be_put16(r->out.data, (uint16_t)t->ncolumns);
    r->out.len = 2;
    for (uint32_t i = 0; i < t->ncolumns; i++) {
        if (i == t->partition) {
            if (!text_room(&r->out, r->day.len))
                return ROW_MEMORY;
            memcpy(r->out.data + r->out.len, r->day.data, r->day.len);
            r->out.len += r->day.len;
            continue;
        }
        verdict = put_column(r, &t->columns[i], &r->out);
        if (verdict != ROW_READY)
            return verdict;
    }
    r->cut = r->cell.cut - cut;
    r->nulled = r->cell.nulled - nulled;
    if (p->dedup && !identify(r))
        return ROW_MEMORY;
    return ROW_READY;
}
