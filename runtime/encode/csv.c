/* csv.c - see csv.h. */
#include "encode/csv.h"

#include <string.h>

#include "encode/text.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* First delimiter or line feed at or behind p, end when there is none. */
static inline const uint8_t *find_end(const uint8_t *p, const uint8_t *end, uint8_t delimiter)
{
#ifdef __SSE2__
    const __m128i d = _mm_set1_epi8((char)delimiter), lf = _mm_set1_epi8('\n');
    for (; p < end; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        int mask = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, d), _mm_cmpeq_epi8(v, lf)));
        if (mask) {
            p += __builtin_ctz((unsigned)mask);
            break;
        }
    }
    return p < end ? p : end;
#else
    while (p < end && *p != delimiter && *p != '\n')
        p++;
    return p;
#endif
}

static uint32_t behind_line(const uint8_t *buf, uint32_t at, uint32_t len)
{
    const uint8_t *p = memchr(buf + at, '\n', len - at);
    return p ? (uint32_t)(p - buf) + 1 : len;
}

/* The closing quote of a field whose text begins at p, NULL without; sets *doubled. */
static const uint8_t *find_close(const uint8_t *p, const uint8_t *end, uint8_t quote, bool *doubled)
{
    while ((p = memchr(p, quote, (size_t)(end - p)))) {
        if (p + 1 == end || p[1] != quote)
            return p;
        *doubled = true;
        p += 2;
    }
    return NULL;
}

enum csv_status csv_record(const struct csv *csv, const uint8_t *buf, uint32_t at, uint32_t len,
                           struct csv_field *field, uint32_t *n, uint32_t *next)
{
    const uint8_t *p = buf + at, *end = buf + len;
    uint32_t count = 0;
    for (;;) {
        struct csv_field f = { 0 };
        if (p < end && *p == csv->quote && csv->quote) {
            const uint8_t *close = find_close(p + 1, end, csv->quote, &f.doubled);
            if (!close) {
                *next = behind_line(buf, at, len);
                return CSV_UNCLOSED;
            }
            f.quoted = true;
            f.at = (uint32_t)(p + 1 - buf);
            f.end = (uint32_t)(close - buf);
            p = close + 1;
            if (p < end && *p == '\r' && (p + 1 == end || p[1] == '\n'))
                p++;
            if (p < end && *p != csv->delimiter && *p != '\n') {
                *next = behind_line(buf, at, len);
                return CSV_BEHIND_QUOTE;
            }
        } else {
            f.at = (uint32_t)(p - buf);
            p = find_end(p, end, csv->delimiter);
            f.end = (uint32_t)(p - buf);
            if ((p == end || *p == '\n') && f.end > f.at && p[-1] == '\r')
                f.end--;
        }
        if (count < csv->max)
            field[count] = f;
        count++;
        if (p == end || *p == '\n')
            break;
        p++;
    }
    *n = count;
    *next = (uint32_t)(p - buf) + (p < end);
    return CSV_OK;
}

bool csv_text(struct buf *out, const uint8_t *buf, const struct csv_field *f, uint8_t quote)
{
    if (!text_room(out, f->end - f->at))
        return false;
    const uint8_t *p = buf + f->at, *end = buf + f->end;
    while (p < end) {
        const uint8_t *q = f->doubled ? memchr(p, quote, (size_t)(end - p)) : NULL;
        size_t run = (size_t)((q ? q + 1 : end) - p);
        memcpy(out->data + out->len, p, run);
        out->len += run;
        p += run + (q ? 1 : 0);
    }
    return true;
}
