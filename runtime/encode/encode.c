/* encode.c - see encode.h. Cuts a batch into records, judges each, counts.
 *
 * NDJSON goes through the scan in windows of about 64 KiB, so that text and index stay in the cache. A window that
 * the scan refuses (broken UTF-8, a control character in a string) is scanned line by line: a bad line costs itself
 * only. */
#include "encode/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode/csv.h"
#include "encode/doc.h"
#include "encode/row.h"
#include "encode/scan.h"
#include "encode/text.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define WINDOW     (64u << 10)
#define OTHERS     64u
#define NAME_BYTES 200u
#define USUAL      (1u << 20)      /* a longer record makes the encoder give memory back */

struct other { char name[NAME_BYTES]; uint32_t len; uint64_t count; };

struct encode {
    const struct plan *plan;
    struct row         row;
    struct scan       *scan;
    struct doc         doc;
    struct csv_field  *fields;
    struct buf         line;            /* a line that had to be copied: repaired, or without line end */
    struct buf         record;          /* a CSV record that had to be repaired */
    struct other       others[OTHERS];
    uint32_t           nothers, last_other;

    /* the present batch */
    const struct encode_batch *batch;
    struct encode_sink        *sink;
    struct encode_counts      *counts;
    struct err                *e;
    uint64_t                   number;  /* of the present line */
    bool                       giant;
};

struct encode *encode_open(const struct plan *plan, struct err *e)
{
    struct encode *enc = calloc(1, sizeof *enc);
    if (!enc)
        goto memory;
    enc->plan = plan;
    if (!row_init(&enc->row, plan, e)) {
        encode_close(enc);
        return NULL;
    }
    if (plan->format == PLAN_CSV) {
        enc->fields = malloc((plan->nfields + 1) * sizeof *enc->fields);
        if (!enc->fields)
            goto memory;
    } else {
        enc->scan = scan_open();
        if (!enc->scan || !doc_init(&enc->doc, &plan->trie))
            goto memory;
    }
    return enc;
memory:
    encode_close(enc);
    err_set(e, "plan", "ENOMEM", "out of memory while preparing the encoder");
    return NULL;
}

void encode_close(struct encode *enc)
{
    if (!enc)
        return;
    row_free(&enc->row);
    scan_close(enc->scan);
    if (enc->doc.values)
        doc_free(&enc->doc);
    free(enc->fields);
    buf_free(&enc->line);
    buf_free(&enc->record);
    free(enc);
}

static bool no_memory(struct encode *enc)
{
    return err_set(enc->e, "encode", "ENOMEM", "out of memory while encoding line %llu",
                   (unsigned long long)enc->number);
}

/* ---- results ---- */

/* The place of a record in the batch. */
struct place { uint32_t at, len; };

static bool give_reject(struct encode *enc, struct place raw, const char *code, struct plan_text column,
                        const char *reason)
{
    struct encode_reject r = {
        .line = enc->number, .offset = enc->batch->offset + raw.at, .raw_at = raw.at, .raw_len = raw.len,
        .code = code, .column = column, .reason = reason };
    enc->counts->rejected++;
    return enc->sink->reject(enc->sink, &r);
}

static bool reject_line(struct encode *enc, struct place raw, const char *code, const char *reason)
{
    return give_reject(enc, raw, code, (struct plan_text){ "", 0 }, reason);
}

static void count_other(struct encode *enc)
{
    const struct buf *name = &enc->row.other;
    uint32_t len = name->len < NAME_BYTES ? (uint32_t)name->len : NAME_BYTES;
    while (len < name->len && len > 0 && ((uint8_t)name->data[len] & 0xC0) == 0x80)   /* cut between characters */
        len--;
    enc->counts->other++;
    for (uint32_t i = 0; i < enc->nothers; i++) {
        struct other *o = &enc->others[(enc->last_other + i) % enc->nothers];
        if (o->len == len && memcmp(o->name, name->data, len) == 0) {
            o->count++;
            enc->last_other = (uint32_t)(o - enc->others);
            return;
        }
    }
    if (enc->nothers == OTHERS)
        return;
    struct other *o = &enc->others[enc->nothers++];
    memcpy(o->name, name->data, len);
    o->len = len;
    o->count = 1;
}

/* Makes the row of the record that enc->row looks at and hands it on. */
static bool give_row(struct encode *enc, struct place raw, bool repaired)
{
    struct row *r = &enc->row;
    switch (row_make(r)) {
    case ROW_READY: {
        bool part = enc->plan->tables[r->table].partition != TRIE_NONE;
        struct encode_row out = {
            .table = r->table, .part = { part ? r->part.data : NULL, (uint32_t)r->part.len },
            .key = { r->key[0], r->key[1] }, .data = r->out.data, .len = r->out.len };
        enc->counts->rows++;
        enc->counts->repaired += repaired || r->cell.repaired;
        enc->counts->cut += r->cut;
        enc->counts->nulled += r->nulled;
        return enc->sink->row(enc->sink, &out);
    }
    case ROW_OTHER:
        count_other(enc);
        return true;
    case ROW_RANGE:
        enc->counts->range++;
        return true;
    case ROW_REJECT:
        return give_reject(enc, raw, r->cell.code, r->column, r->cell.reason);
    case ROW_MEMORY:
        break;
    }
    return no_memory(enc);
}

/* ---- NDJSON ---- */

/* Finds the end of the line at p (one is there) and tells whether it holds a backslash. */
static inline const uint8_t *line_end(const uint8_t *p, bool *dirty)
{
#ifdef __SSE2__
    const __m128i lf = _mm_set1_epi8('\n'), back = _mm_set1_epi8('\\');
    __m128i seen = _mm_setzero_si128();
    for (;; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i odd = _mm_cmpeq_epi8(v, back);
        unsigned end = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, lf));
        if (end) {
            unsigned below = (end & (0 - end)) - 1;
            *dirty = (_mm_movemask_epi8(seen) | ((int)below & _mm_movemask_epi8(odd))) != 0;
            return p + __builtin_ctz(end);
        }
        seen = _mm_or_si128(seen, odd);
    }
#else
    bool odd = false;
    for (; *p != '\n'; p++)
        odd |= *p == '\\';
    *dirty = odd;
    return p;
#endif
}

static bool reject_doc(struct encode *enc, struct place raw, uint32_t from, enum doc_status status)
{
    char reason[200];
    const struct doc *d = &enc->doc;
    snprintf(reason, sizeof reason, "%s (byte %u of the line)", d->error, d->error_at - from + 1);
    return reject_line(enc, raw, status == DOC_TOO_DEEP ? "depth" : "json", reason);
}

/* Walks one line of an indexed window and makes its row. *index moves behind it. */
static bool take_doc(struct encode *enc, const uint8_t *buf, const uint32_t **index, uint32_t at, uint32_t end,
                     bool dirty, struct place raw, bool repaired)
{
    struct doc *d = &enc->doc;
    const uint32_t *ix = *index;
    if (*ix >= end)
        return true;                           /* a blank line */
    enc->counts->lines++;
    enum doc_status status = raw.len > enc->plan->max_line ? DOC_OK : doc_walk(d, buf, ix, at, end, dirty, true);
    if (raw.len > enc->plan->max_line || status != DOC_OK) {
        while (*ix < end)
            ix++;
        *index = ix;
        if (status == DOC_MEMORY)
            return no_memory(enc);
        if (status != DOC_OK)
            return reject_doc(enc, raw, at, status);
        return reject_line(enc, raw, "line", "the line is longer than the plan allows");
    }
    *index = d->next;
    return give_row(enc, raw, repaired || d->broken || d->nhuge > 0);
}

/* One line by itself: text[0 .. len) with '\n' behind it. */
static bool take_line(struct encode *enc, const uint8_t *text, uint32_t len, struct place raw)
{
    const uint32_t *index;
    uint32_t count;
    bool dirty, repaired = false;
    enc->giant |= len > USUAL;
    enum scan_status status = scan_run(enc->scan, text, (size_t)len + 1, &index, &count);
    if (status == SCAN_UTF8 || status == SCAN_CONTROL) {
        struct buf *b = &enc->record;
        b->len = 0;
        if (!text_repair(b, text, len, &repaired) || !text_room(b, 1))
            return no_memory(enc);
        if (repaired) {
            b->data[b->len] = '\n';
            text = (const uint8_t *)b->data;
            len = (uint32_t)b->len;
            status = scan_run(enc->scan, text, (size_t)len + 1, &index, &count);
        }
    }
    if (status == SCAN_MEMORY)
        return no_memory(enc);
    if (status != SCAN_OK) {
        enc->counts->lines++;
        return reject_line(enc, raw, "json", "a string is not closed or holds a raw control character");
    }
    line_end(text, &dirty);
    return take_doc(enc, text, &index, 0, len, dirty, raw, repaired);
}

static struct place raw_line(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end > at && data[end - 1] == '\r')
        end--;
    return (struct place){ at, end - at };
}

/* Whole lines in data[at .. end), the last byte being a line end. */
static bool take_window(struct encode *enc, uint32_t at, uint32_t end)
{
    const uint8_t *data = enc->batch->data, *buf = data + at;
    const uint32_t *index;
    uint32_t count, len = end - at, line = 0;
    enc->giant |= len > USUAL;
    enum scan_status status = scan_run(enc->scan, buf, len, &index, &count);
    if (status == SCAN_MEMORY)
        return no_memory(enc);
    while (line < len) {
        bool dirty, ok;
        uint32_t stop = (uint32_t)(line_end(buf + line, &dirty) - buf);
        struct place raw = raw_line(data, at + line, at + stop);
        if (__builtin_expect(status == SCAN_OK, 1))
            ok = take_doc(enc, buf, &index, line, stop, dirty, raw, false);
        else
            ok = take_line(enc, buf + line, stop - line, raw);
        if (!ok)
            return false;
        enc->number++;
        line = stop + 1;
    }
    return true;
}

static bool take_ndjson(struct encode *enc, uint32_t at, uint32_t len)
{
    const uint8_t *data = enc->batch->data;
    while (at < len) {
        uint32_t end = len - at < WINDOW ? len : at + WINDOW;
        const uint8_t *p = memrchr(data + at, '\n', end - at);
        if (!p)
            p = memchr(data + end, '\n', len - end);
        if (p) {
            end = (uint32_t)(p - data) + 1;
            if (!take_window(enc, at, end))
                return false;
            at = end;
            continue;
        }
        /* the last line has no line end: what lies behind it is nobody's, so it moves to where one can be put */
        enc->line.len = 0;
        if (!text_room(&enc->line, (size_t)(len - at) + 1))
            return no_memory(enc);
        memcpy(enc->line.data, data + at, len - at);
        enc->line.data[len - at] = '\n';
        bool ok = take_line(enc, (const uint8_t *)enc->line.data, len - at, raw_line(data, at, len));
        enc->number++;
        return ok;
    }
    return true;
}

/* ---- CSV ---- */

static uint64_t count_lines(const uint8_t *p, const uint8_t *end)
{
    uint64_t n = 0;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        n++;
        p++;
    }
    return n;
}

static bool take_record(struct encode *enc, const uint8_t *buf, uint32_t fields, struct place raw, bool repaired)
{
    char reason[120];
    enc->row.buf = buf;
    if (fields == enc->plan->nfields)
        return give_row(enc, raw, repaired);
    snprintf(reason, sizeof reason, "the record has %u fields, the file has %u columns", fields, enc->plan->nfields);
    return reject_line(enc, raw, "fields", reason);
}

static bool take_csv(struct encode *enc, uint32_t at, uint32_t len)
{
    const uint8_t *data = enc->batch->data;
    struct csv csv = { .delimiter = enc->plan->delimiter, .quote = enc->plan->quote, .max = enc->plan->nfields };
    bool clean = len == at || (scan_utf8(data + at, len - at) && !memchr(data + at, 0, len - at));
    enc->row.field = enc->fields;
    while (at < len) {
        uint32_t n = 0, next = 0;
        enum csv_status status = csv_record(&csv, data, at, len, enc->fields, &n, &next);
        uint32_t end = next > at && data[next - 1] == '\n' ? next - 1 : next;
        struct place raw = raw_line(data, at, end);
        bool ok = true, repaired = false, blank = raw.len == 0;
        if (!blank) {
            enc->counts->lines++;
            enc->giant |= raw.len > USUAL;
        }
        if (blank) {
            ok = true;
        } else if (status == CSV_UNCLOSED) {
            ok = reject_line(enc, raw, "csv", "a quoted field is not closed");
        } else if (status == CSV_BEHIND_QUOTE) {
            ok = reject_line(enc, raw, "csv", "more text follows the closing quote of a field");
        } else if (raw.len > enc->plan->max_line) {
            ok = reject_line(enc, raw, "line", "the record is longer than the plan allows");
        } else if (__builtin_expect(clean, 1)) {
            ok = take_record(enc, data, n, raw, false);
        } else {
            enc->record.len = 0;
            if (!text_repair(&enc->record, data + at, raw.len, &repaired) || !text_room(&enc->record, 0))
                return no_memory(enc);
            const uint8_t *text = (const uint8_t *)enc->record.data;
            uint32_t behind;
            csv_record(&csv, text, 0, (uint32_t)enc->record.len, enc->fields, &n, &behind);
            ok = take_record(enc, text, n, raw, repaired);
        }
        if (!ok)
            return false;
        /* most records are one line */
        enc->number += next - at > 1 ? 1 + count_lines(data + at, data + end) : 1;
        at = next;
    }
    return true;
}

/* ---- batches ---- */

static bool give_others(struct encode *enc)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < enc->nothers; i++) {
        struct other *o = &enc->others[i];
        ok = enc->sink->other(enc->sink, (struct plan_text){ o->name, o->len }, o->count);
    }
    enc->nothers = enc->last_other = 0;
    return ok;
}

static void give_back(struct encode *enc)
{
    if (enc->scan) {
        scan_trim(enc->scan);
        doc_trim(&enc->doc);
    }
    row_trim(&enc->row);
    buf_free(&enc->line);
    buf_free(&enc->record);
    enc->giant = false;
}

bool encode_batch(struct encode *enc, const struct encode_batch *batch, struct encode_sink *sink,
                  struct encode_counts *counts, struct err *e)
{
    if (batch->len >= (UINT32_C(1) << 31))
        return err_set(e, "encode", "batch", "a batch of %zu bytes is too long", batch->len);
    uint32_t at = 0, len = (uint32_t)batch->len;
    enc->batch = batch;
    enc->sink = sink;
    enc->counts = counts;
    enc->e = e;
    enc->number = batch->line;
    if (batch->offset == 0 && len >= 3 && memcmp(batch->data, "\xEF\xBB\xBF", 3) == 0)
        at = 3;
    enc->row.doc = enc->plan->format == PLAN_NDJSON ? &enc->doc : NULL;
    bool ok = enc->plan->format == PLAN_CSV ? take_csv(enc, at, len) : take_ndjson(enc, at, len);
    ok = ok && give_others(enc);
    if (enc->giant)
        give_back(enc);
    return ok;
}
