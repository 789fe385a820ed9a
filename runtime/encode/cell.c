/* cell.c - see cell.h. Values of a fixed size go into the room that cell_put's caller has made. */
#include "encode/cell.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode/be.h"
#include "encode/emit.h"
#include "encode/number.h"
#include "encode/text.h"
#include "encode/when.h"

/* A longer text's members are left to the server to sort: this bounds what order.c needs. */
#define ORDER_MOST 262144u

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
    order_free(&c->order);
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
    if (!text_room(out, len))
        return CELL_MEMORY;
    out->len = (size_t)(text_stride(out->data + out->len, v->p, len) - out->data);
    return CELL_OK;
}

/* JSON text in a text column, cut if need be. */
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
    size_t len = out->len - from, keep = text_prefix((const uint8_t *)out->data + from, len, (uint32_t)col->a);
    if (keep == len)
        return CELL_OK;
    if (col->flags & PLAN_TOO_LONG_REJECT)
        return reject(c, "too_long", v, "is too long for the column");
    out->len = from + keep;
    c->cut++;
    return CELL_OK;
}

static enum cell_status put_text(struct cell *c, const struct plan_column *col, struct cell_value *v,
                                 struct buf *out)
{
    if (v->kind == PLAN_AS_JSON || v->type == '{' || v->type == '[' || v->type == CELL_JSON_TEXT)
        return put_json_as_text(c, col, v, out);
    if (v->kind == PLAN_AS_TEXT && !(col->flags & (PLAN_TRIM | PLAN_EMPTY_NULL)))
        return put_string(c, col, v, out);
    if (col->flags & PLAN_TRIM)
        trim(v);
    if (v->len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    if (v->kind == PLAN_AS_NUMBER && !plain_digits(v->p, v->len, 100)) {
        struct number number;
        if (number_read(v->p, v->len, &number)) {
            if (!buf_reserve(&c->text, v->len + 64 + TEXT_SLACK))
                return CELL_MEMORY;
            char *end = number_plain(&number, c->text.data);
            if (end) {
                v->p = (const uint8_t *)c->text.data;
                v->len = (uint32_t)(end - c->text.data);
            }
        }
    }
    return put_string(c, col, v, out);
}

/* ---- numbers ---- */

static void put_whole(struct buf *out, enum plan_type type, int64_t whole)
{
    char *to = out->data + out->len;
    if (type == PLAN_INT4)
        to = be_put32(to, (uint32_t)whole);
    else if (type == PLAN_INT8)
        to = be_put64(to, (uint64_t)whole);
    else
        to = be_put16(to, (uint16_t)whole);
    out->len = (size_t)(to - out->data);
}

static enum cell_status put_integer(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                    struct buf *out)
{
    uint32_t safe = col->type == PLAN_INT2 ? 4 : col->type == PLAN_INT4 ? 9 : 18;
    int64_t max = col->type == PLAN_INT2 ? INT16_MAX : col->type == PLAN_INT4 ? INT32_MAX : INT64_MAX, whole = 0;
    if (plain_digits(v->p, v->len, safe)) {
        for (uint32_t i = 0; i < v->len; i++)
            whole = whole * 10 + (v->p[i] - '0');
    } else {
        struct number number;
        if (!number_read(v->p, v->len, &number))
            return misfit(c, col, "number", v, "is not a number");
        if (!number_whole(&number, -max - 1, max, &whole))
            return misfit(c, col, "number", v, "is not a whole number that the column can hold");
    }
    put_whole(out, col->type, whole);
    return CELL_OK;
}

static enum cell_status put_digits(struct buf *out, const struct number *number, uint32_t scale)
{
    if (!text_room(out, NUMBER_NUMERIC((size_t)number->n)))
        return CELL_MEMORY;
    out->len = (size_t)(number_numeric(number, scale, out->data + out->len) - out->data);
    return CELL_OK;
}

/* For a number that the column's scale rounds. Apart, so that others do without its large frame. */
static __attribute__((noinline)) enum cell_status put_rounded(struct cell *c, const struct plan_column *col,
                                                              const struct cell_value *v,
                                                              const struct number *number, struct buf *out)
{
    uint8_t digits[NUMBER_DIGITS];
    struct number rounded;
    if (!number_round(number, col->a, col->b, digits, &rounded))
        return misfit(c, col, "number", v, "has too many digits before the point for the column");
    return put_digits(out, &rounded, rounded.n > rounded.point ? (uint32_t)(rounded.n - rounded.point) : 0);
}

/* The scale is the one that the text has: numeric_recv then rounds and pads to the column's, as numeric_in does. */
static enum cell_status put_numeric(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                    struct buf *out)
{
    struct number number;
    if (!number_read(v->p, v->len, &number))
        return misfit(c, col, "number", v, "is not a number");
    if (col->a > 0) {
        if (number.simple && number.point <= col->a - col->b && (int64_t)number.npart <= col->b)
            return put_digits(out, &number, number.npart);
        return put_rounded(c, col, v, &number, out);
    }
    if (number_unbounded(&number))
        return put_digits(out, &number, number_scale(&number));
    if (number.n == 0)
        return put_digits(out, &number, 0);
    return misfit(c, col, "number", v, "is beyond what numeric can hold");
}

/* As float4in and float8in read: strtof and strtod, which round right; they refuse what overflows. They refuse what
 * underflows to zero, too: that is 0 here. */
static enum cell_status put_float(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                  struct buf *out)
{
    struct number number;
    double value;
    if (!number_read(v->p, v->len, &number))
        return misfit(c, col, "number", v, "is not a number");
    if (col->type == PLAN_FLOAT4 || !number_double(&number, &value)) {
        c->text.len = 0;
        if (!text_room(&c->text, v->len))
            return CELL_MEMORY;
        memcpy(c->text.data, v->p, v->len);
        c->text.data[v->len] = '\0';
        value = col->type == PLAN_FLOAT4 ? (double)strtof(c->text.data, NULL) : strtod(c->text.data, NULL);
    }
    if (isinf(value))
        return misfit(c, col, "number", v, "is too big for the column");
    if (value == 0 && number.n > 0)
        value = 0;                         /* without a sign */
    char *to = out->data + out->len;
    if (col->type == PLAN_FLOAT4) {
        float single = (float)value;       /* it is one already */
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        to = be_put32(to, bits);
    } else {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        to = be_put64(to, bits);
    }
    out->len = (size_t)(to - out->data);
    return CELL_OK;
}

/* ---- others ---- */

static enum cell_status put_bool(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    static const struct { char word[6]; char value; } words[] = {
        { "true", 1 }, { "false", 0 }, { "t", 1 }, { "f", 0 }, { "yes", 1 }, { "no", 0 },
        { "y", 1 }, { "n", 0 }, { "on", 1 }, { "off", 0 }, { "1", 1 }, { "0", 0 },
    };
    if (v->type == 't' || v->type == 'f') {
        out->data[out->len++] = v->type == 't';
        return CELL_OK;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (v->len == strlen(words[i].word) && strncasecmp(words[i].word, (const char *)v->p, v->len) == 0) {
            out->data[out->len++] = words[i].value;
            return CELL_OK;
        }
    }
    return misfit(c, col, "bool", v, "is neither true nor false");
}

static enum cell_status put_date(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    int32_t days;
    if (!when_date(v->p, v->len, &days))
        return misfit(c, col, "date", v, "is not a date (YYYY-MM-DD or YYYYMMDD)");
    out->len = (size_t)(be_put32(out->data + out->len, (uint32_t)(days - WHEN_2000)) - out->data);
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
    micros -= WHEN_2000 * INT64_C(86400000000);
    out->len = (size_t)(be_put64(out->data + out->len, (uint64_t)micros) - out->data);
    return CELL_OK;
}

static enum cell_status put_uuid(struct cell *c, const struct plan_column *col, const struct cell_value *v,
                                 struct buf *out)
{
    const uint8_t *p = v->p, *end = p + v->len;
    if (v->len > 2 && *p == '{' && end[-1] == '}') {
        p++;
        end--;
    }
    bool hyphens = end - p == 36, good = hyphens || end - p == 32;
    for (uint32_t i = 0; good && i < 16; i++) {
        if (hyphens && (i == 4 || i == 6 || i == 8 || i == 10))
            good = *p++ == '-';
        int high = text_hex(p[0]), low = text_hex(p[1]);
        good = good && high >= 0 && low >= 0;
        out->data[out->len + i] = (char)(uint8_t)((unsigned)high << 4 | (unsigned)low);
        p += 2;
    }
    if (!good)
        return misfit(c, col, "uuid", v, "is not a UUID");
    out->len += 16;
    return CELL_OK;
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
    bool dirty = memchr(text, '\\', v->len) != NULL;
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
    if (col->type == PLAN_JSONB)
        out->data[out->len++] = 1;         /* the version that jsonb_recv knows; JSON text follows */
    if (v->doc && (v->kind == PLAN_AS_JSON || v->type != '"')) {
        size_t from = out->len;
        if (!emit_json(out, v->doc, v->at, v->end))
            return CELL_MEMORY;
        size_t len = out->len - from;
        bool known = col->type == PLAN_JSONB && (v->type == '{' || v->type == '[') && len <= ORDER_MOST;
        return !known || order_members(&c->order, out->data + from, len) ? CELL_OK : CELL_MEMORY;
    }
    if (v->type == CELL_JSON_TEXT)
        return put_string(c, col, v, out);
    if (v->len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    return put_json_text(c, col, v, out);
}

enum cell_status cell_put(struct cell *c, const struct plan_column *col, struct cell_value *v, struct buf *out)
{
    if (col->type <= PLAN_BPCHAR)
        return put_text(c, col, v, out);
    if (col->type >= PLAN_JSON)
        return put_json(c, col, v, out);
    if (v->len && (is_space(v->p[0]) || is_space(v->p[v->len - 1])))
        trim(v);
    if (v->len == 0 && (col->flags & PLAN_EMPTY_NULL))
        return CELL_NULL;
    switch (col->type) {
    case PLAN_INT2: case PLAN_INT4: case PLAN_INT8:
        return put_integer(c, col, v, out);
    case PLAN_NUMERIC:
        return put_numeric(c, col, v, out);
    case PLAN_FLOAT4: case PLAN_FLOAT8:
        return put_float(c, col, v, out);
    case PLAN_BOOL:
        return put_bool(c, col, v, out);
    case PLAN_DATE:
        return put_date(c, col, v, out);
    case PLAN_TIMESTAMP: case PLAN_TIMESTAMPTZ:
        return put_instant(c, col, v, out);
    default:
        return put_uuid(c, col, v, out);
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
