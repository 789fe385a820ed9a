/* cell.c - see cell.h. Each put_ function appends to out, for which at least the value's length is reserved. */
#include "encode/cell.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode/emit.h"
#include "encode/number.h"
#include "encode/text.h"
#include "encode/when.h"

bool cell_init(struct cell *c)
{
    struct err e;
    struct trie_build *build = trie_start();
    uint32_t none;
    if (!build || !trie_finish(build, &c->trie, &none, 0, &e))
        return false;
    if (!doc_init(&c->doc, &c->trie))
        return false;
    c->doc.strip = false;
    return true;
}

void cell_free(struct cell *c)
{
    scan_close(c->scan);
    if (c->doc.values)
        doc_free(&c->doc);
    trie_free(&c->trie);
    buf_free(&c->text);
    *c = (struct cell){ 0 };
}

/* ---- failures ---- */

static enum cell_status reject(struct cell *c, const char *code, const struct cell_value *v, const char *what)
{
    char shown[64];
    size_t len = text_prefix(v->p, v->len, 40), n = 0;
    if (v->type == '{' || v->type == '[') {
        n = (size_t)snprintf(shown, sizeof shown, "%s", v->type == '{' ? "an object" : "an array");
    } else {
        shown[n++] = '"';
        size_t i = 0;
        for (; i < len; i++) {
            uint8_t b = v->p[i];
            if ((b & 0xC0) != 0x80 && n + 4 >= sizeof shown - 5)     /* whole characters only */
                break;
            shown[n++] = b < 0x20 || b == 0x7F ? '?' : (char)b;
        }
        if (i < v->len) {
            memcpy(shown + n, "...", 3);
            n += 3;
        }
        shown[n++] = '"';
    }
    c->code = code;
    snprintf(c->reason, sizeof c->reason, "%.*s %s", (int)n, shown, what);
    return CELL_REJECT;
}

static enum cell_status misfit(struct cell *c, const struct plan_column *col, const char *code,
                               const struct cell_value *v, const char *what)
{
    if (col->flags & PLAN_BAD_REJECT)
        return reject(c, code, v, what);
    c->nulled++;
    return CELL_NULL;
}

static enum cell_status put_bytes(struct buf *out, const void *p, size_t len)
{
    if (!text_room(out, len))
        return CELL_MEMORY;
    memcpy(out->data + out->len, p, len);
    out->len += len;
    return CELL_OK;
}

/* ---- text ---- */

static inline bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void trim(struct cell_value *v)
{
    while (v->len && is_space(v->p[0])) {
        v->p++;
        v->len--;
    }
    while (v->len && is_space(v->p[v->len - 1]))
        v->len--;
}

/* Digits only, without a leading zero: such a number is its own normal form. */
static inline bool plain_digits(const uint8_t *p, uint32_t len, uint32_t most)
{
    if (len == 0 || len > most || (*p == '0' && len > 1))
        return false;
    for (uint32_t i = 0; i < len; i++) {
        if ((uint8_t)(p[i] - '0') >= 10)
            return false;
    }
    return true;
}

/* Length of the text that fits into n characters. What is beyond may be spaces: those varchar and char drop without a
 * word (PostgreSQL manual, 8.3 Character Types). */
static enum cell_status fit_length(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                   uint32_t *len)
{
    uint32_t n = (uint32_t)col->a, keep;
    if (n == 0 || *len <= n)
        return CELL_OK;
    keep = (uint32_t)text_prefix(v->p, *len, n);
    if (keep == *len)
        return CELL_OK;
    for (uint32_t i = keep; i < *len; i++) {
        if (v->p[i] != ' ') {
            if (col->flags & PLAN_TOO_LONG_REJECT) {
                char what[60];
                snprintf(what, sizeof what, "is longer than %u characters", n);
                return reject(c, "too_long", v, what);
            }
            c->cut++;
            break;
        }
    }
    *len = keep;
    return CELL_OK;
}

static enum cell_status put_string(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                   struct buf *out)
{
    uint32_t len = v->len;
    if (__builtin_expect(col->type != PLAN_TEXT, 1)) {
        enum cell_status status = fit_length(c, col, v, &len);
        if (status != CELL_OK)
            return status;
    }
    if (!text_room(out, 2 * (size_t)len))
        return CELL_MEMORY;
    if (v->special)
        out->len = (size_t)(text_copy(out->data + out->len, v->p, len) - out->data);
    else
        out->len = (size_t)(text_stride(out->data + out->len, v->p, len) - out->data);
    return CELL_OK;
}

/* JSON text in a text column, cut if need be. It comes escaped for COPY, where one character may be two bytes. */
static enum cell_status put_json_as_text(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                         struct buf *out)
{
    if (!v->doc)
        return put_string(c, col, v, out);
    size_t from = out->len;
    if (!emit_json(out, v->doc, v->at, v->end))
        return CELL_MEMORY;
    if (col->type == PLAN_TEXT || col->a == 0)
        return CELL_OK;
    int32_t left = col->a;
    for (size_t i = from; i < out->len; i++) {
        if (((uint8_t)out->data[i] & 0xC0) == 0x80)
            continue;
        if (left-- == 0) {
            out->len = i;
            if (col->flags & PLAN_TOO_LONG_REJECT)
                return reject(c, "too_long", v, "is too long for the column");
            c->cut++;
            break;
        }
        i += out->data[i] == '\\';
    }
    return CELL_OK;
}

static enum cell_status put_text(struct cell *c, const struct plan_column *col, const struct cell_value *value,
                                 struct buf *out)
{
    if (value->kind == PLAN_AS_JSON || value->type == '{' || value->type == '[' || value->type == CELL_JSON_TEXT)
        return put_json_as_text(c, col, value, out);
    if (value->kind == PLAN_AS_TEXT && !(col->flags & (PLAN_TRIM | PLAN_EMPTY_NULL)))
        return put_string(c, col, value, out);
    struct cell_value v = *value;
    if (col->flags & PLAN_TRIM)
        trim(&v);
    if (v.len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    if (v.kind == PLAN_AS_NUMBER && !plain_digits(v.p, v.len, 100)) {
        struct number number;
        if (number_read(v.p, v.len, &number)) {
            if (!buf_reserve(&c->text, v.len + 64 + TEXT_SLACK))
                return CELL_MEMORY;
            char *end = number_plain(&number, c->text.data);
            if (end) {
                v.p = (const uint8_t *)c->text.data;
                v.len = (uint32_t)(end - c->text.data);
                v.special = false;
            }
        }
    }
    return put_string(c, col, &v, out);
}

/* ---- numbers ---- */

static enum cell_status put_integer(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                    struct buf *out)
{
    uint32_t safe = col->type == PLAN_INT2 ? 4 : col->type == PLAN_INT4 ? 9 : 18;
    if (plain_digits(v->p, v->len, safe))
        return put_bytes(out, v->p, v->len);
    int64_t max = col->type == PLAN_INT2 ? INT16_MAX : col->type == PLAN_INT4 ? INT32_MAX : INT64_MAX, whole;
    struct number number;
    if (!number_read(v->p, v->len, &number))
        return misfit(c, col, "number", v, "is not a number");
    if (!number_whole(&number, -max - 1, max, &whole))
        return misfit(c, col, "number", v, "is not a whole number that the column can hold");
    if (!text_room(out, 24))
        return CELL_MEMORY;
    out->len = (size_t)(number_print(out->data + out->len, whole) - out->data);
    return CELL_OK;
}

static enum cell_status put_numeric(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                    struct buf *out)
{
    struct number number;
    if (!number_read(v->p, v->len, &number))
        return misfit(c, col, "number", v, "is not a number");
    if (col->a == 0) {
        if (!number_unbounded(&number) && number.n == 0)
            return put_bytes(out, "0", 1);
        if (!number_unbounded(&number))
            return misfit(c, col, "number", v, "is beyond what numeric can hold");
        return put_bytes(out, v->p, v->len);
    }
    if (number.simple && number.point <= col->a - col->b && (int64_t)number.npart <= col->b)
        return put_bytes(out, v->p, v->len);
    if (!text_room(out, NUMBER_TEXT))
        return CELL_MEMORY;
    char *end = number_fit(&number, col->a, col->b, out->data + out->len);
    if (!end)
        return misfit(c, col, "number", v, "has too many digits before the point for the column");
    out->len = (size_t)(end - out->data);
    return CELL_OK;
}

/* float4in and float8in refuse what overflows and what underflows to zero. strtod sees the first 40 digits: rounded up
 * for the one question, cut for the other. */
static enum cell_status put_float(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                  struct buf *out)
{
    struct number number;
    if (!number_read(v->p, v->len, &number))
        return misfit(c, col, "number", v, "is not a number");
    int64_t limit = col->type == PLAN_FLOAT4 ? 38 : 308;
    if (number.n == 0 || (number.point <= limit && number.point > 2 - limit))
        return put_bytes(out, v->p, v->len);
    if (number.point > limit + 1)
        return misfit(c, col, "number", v, "is too big for the column");
    char text[64];
    uint32_t n = number.n < 40 ? number.n : 40, at = 0;
    text[at++] = '.';
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = number.lead + i;
        text[at++] = (char)(place < number.nwhole ? number.whole[place] : number.part[place - number.nwhole]);
    }
    bool big = number.point > 0;
    if (big && n < number.n) {
        memset(text + at - 1, '9', 1);      /* an upper bound will do */
        text[at++] = '9';
    }
    int64_t power = number.point < -1000 ? -1000 : number.point;
    snprintf(text + at, sizeof text - at, "e%d", (int)power);
    double value = col->type == PLAN_FLOAT4 ? (double)strtof(text, NULL) : strtod(text, NULL);
    if (isinf(value))
        return misfit(c, col, "number", v, "is too big for the column");
    if (value == 0)
        return put_bytes(out, "0", 1);
    return put_bytes(out, v->p, v->len);
}

/* ---- others ---- */

static enum cell_status put_bool(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    static const struct { char word[6]; char letter; } words[] = {
        { "true", 't' }, { "false", 'f' }, { "t", 't' }, { "f", 'f' }, { "yes", 't' }, { "no", 'f' },
        { "y", 't' }, { "n", 'f' }, { "on", 't' }, { "off", 'f' }, { "1", 't' }, { "0", 'f' },
    };
    if (v->type == 't' || v->type == 'f')
        return put_bytes(out, v->type == 't' ? "t" : "f", 1);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (n == v->len && strncasecmp(words[i].word, (const char *)v->p, n) == 0)
            return put_bytes(out, &words[i].letter, 1);
    }
    return misfit(c, col, "bool", v, "is neither true nor false");
}

static enum cell_status put_date(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    if (!text_room(out, WHEN_TEXT))
        return CELL_MEMORY;
    char *end = when_date(v->p, v->len, out->data + out->len);
    if (!end)
        return misfit(c, col, "date", v, "is not a date (YYYY-MM-DD or YYYYMMDD)");
    out->len = (size_t)(end - out->data);
    return CELL_OK;
}

static enum cell_status put_instant(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                    struct buf *out)
{
    int64_t micros;
    struct number number;
    bool ok;
    /* eight digits are a date here as in date columns only when they cannot be a count: as text */
    if (v->type == '"' && when_instant(v->p, v->len, &micros))
        ok = true;
    else
        ok = number_read(v->p, v->len, &number) && when_epoch(&number, col->units, &micros);
    if (!ok)
        return misfit(c, col, "timestamp", v, "is not a date and time");
    if (!text_room(out, WHEN_TEXT))
        return CELL_MEMORY;
    out->len = (size_t)(when_print(out->data + out->len, micros, col->type == PLAN_TIMESTAMPTZ) - out->data);
    return CELL_OK;
}

static enum cell_status put_uuid(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = v->p, *end = p + v->len;
    char text[36];
    size_t n = 0;
    bool hyphens = false, good = true;
    if (v->len > 2 && *p == '{' && end[-1] == '}') {
        p++;
        end--;
    }
    hyphens = end - p == 36;
    good = hyphens || end - p == 32;
    while (good && n < 36) {
        if (n == 8 || n == 13 || n == 18 || n == 23) {
            text[n++] = '-';
            good = !hyphens || *p++ == '-';
            continue;
        }
        uint8_t b = *p++;
        const char *digit = b ? strchr(hex, b < 'A' ? b : b | 0x20) : NULL;
        good = digit != NULL;
        text[n++] = good ? *digit : '?';
    }
    if (!good)
        return misfit(c, col, "uuid", v, "is not a UUID");
    return put_bytes(out, text, sizeof text);
}

/* A text that is to be JSON: walked like a record, null members and all. */
static enum cell_status put_json_text(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                      struct buf *out)
{
    const uint32_t *index;
    uint32_t count;
    c->text.len = 0;
    if (!text_room(&c->text, (size_t)v->len + 1))
        return CELL_MEMORY;
    if (!c->scan && !(c->scan = scan_open()))      /* most plans need none */
        return CELL_MEMORY;
    memcpy(c->text.data, v->p, v->len);
    c->text.data[v->len] = '\n';
    const uint8_t *text = (const uint8_t *)c->text.data;
    enum scan_status status = scan_run(c->scan, text, (size_t)v->len + 1, &index, &count);
    if (status == SCAN_MEMORY)
        return CELL_MEMORY;
    if (status != SCAN_OK || count == 0)
        return misfit(c, col, "json", v, "is not JSON");
    bool dirty = text_special(text, v->len) < v->len;
    switch (doc_walk(&c->doc, text, index, 0, v->len, dirty, false)) {
    case DOC_OK:
        break;
    case DOC_MEMORY:
        return CELL_MEMORY;
    case DOC_TOO_DEEP:
        return misfit(c, col, "depth", v, "nests too deeply");
    case DOC_SYNTAX:
        return misfit(c, col, "json", v, "is not JSON");
    }
    c->repaired |= c->doc.broken || c->doc.nhuge > 0;
    /* A scalar's place in values[0] is without its quotes; the one span has all of it. */
    struct doc_span all = { index[0], c->doc.values[0].end + (c->doc.values[0].type == '"') };
    c->doc.spans[0] = all;
    c->doc.nspans = 1;
    return emit_json(out, &c->doc, all.at, all.end) ? CELL_OK : CELL_MEMORY;
}

static enum cell_status put_json(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    if (v->doc && (v->kind == PLAN_AS_JSON || v->type != '"'))
        return emit_json(out, v->doc, v->at, v->end) ? CELL_OK : CELL_MEMORY;
    if (v->type == CELL_JSON_TEXT)
        return put_string(c, col, v, out);
    if (v->len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    return put_json_text(c, col, v, out);
}

enum cell_status cell_put(struct cell *c, const struct plan_column *col, const struct cell_value *value,
                          struct buf *out)
{
    if (col->type <= PLAN_BPCHAR)
        return put_text(c, col, value, out);
    if (col->type >= PLAN_JSON)
        return put_json(c, col, value, out);
    struct cell_value v = *value;
    if (v.len && (is_space(v.p[0]) || is_space(v.p[v.len - 1])))
        trim(&v);
    if (v.len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    switch (col->type) {
    case PLAN_INT2: case PLAN_INT4: case PLAN_INT8:
        return put_integer(c, col, &v, out);
    case PLAN_NUMERIC:
        return put_numeric(c, col, &v, out);
    case PLAN_FLOAT4: case PLAN_FLOAT8:
        return put_float(c, col, &v, out);
    case PLAN_BOOL:
        return put_bool(c, col, &v, out);
    case PLAN_DATE:
        return put_date(c, col, &v, out);
    case PLAN_TIMESTAMP: case PLAN_TIMESTAMPTZ:
        return put_instant(c, col, &v, out);
    default:
        return put_uuid(c, col, &v, out);
    }
}

bool cell_plain(const struct cell_value *v, struct buf *out)
{
    if (v->doc && (v->kind == PLAN_AS_JSON || v->type == '{' || v->type == '['))
        return emit_json(out, v->doc, v->at, v->end);
    struct number number;
    if (v->kind == PLAN_AS_NUMBER && number_read(v->p, v->len, &number)) {
        if (!text_room(out, (size_t)v->len + 64))
            return false;
        char *end = number_plain(&number, out->data + out->len);
        if (end) {
            out->len = (size_t)(end - out->data);
            return true;
        }
    }
    return buf_put(out, v->p, v->len);
}
