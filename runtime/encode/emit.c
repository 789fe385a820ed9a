/* emit.c - see emit.h. */
#include "encode/emit.h"

#include "encode/text.h"

/* First span that ends behind `at`. */
static uint32_t first_span(const struct doc *d, uint32_t at)
{
    uint32_t low = 0, high = d->nspans;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (d->spans[mid].end > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* A stretch without huge numbers. An escape that stands for nothing PostgreSQL can store is replaced by one of the same
 * length. */
static char *emit_stretch(char *to, const struct doc *d, uint32_t at, uint32_t end)
{
    const uint8_t *p = d->buf + at, *stop = d->buf + end;
    while (p < stop) {
        const uint8_t *back = memchr(p, '\\', (size_t)(stop - p));
        size_t run = (size_t)((back ? back : stop) - p);
        memcpy(to, p, run);
        to += run;
        p += run;
        if (p == stop)
            break;
        uint32_t code = TEXT_BROKEN, len = text_escape(p, stop, &code);
        if (len == 0)              /* the walk has refused such */
            len = 1;
        memcpy(to, code == TEXT_BROKEN && len == 6 ? (const void *)"\\ufffd" : p, len);
        to += len;
        p += len;
    }
    return to;
}

static bool emit_careful(struct buf *out, const struct doc *d, uint32_t at, uint32_t end)
{
    uint32_t huge = 0;
    if (!buf_reserve(out, (size_t)(end - at) + 2 * (size_t)d->nhuge + TEXT_SLACK))
        return false;
    char *to = out->data + out->len;
    for (uint32_t i = first_span(d, at); i < d->nspans && d->spans[i].at < end; i++) {
        uint32_t from = d->spans[i].at > at ? d->spans[i].at : at;
        uint32_t stop = d->spans[i].end < end ? d->spans[i].end : end;
        while (huge < d->nhuge && d->huge[huge].end <= stop) {
            struct doc_span number = d->huge[huge++];
            if (number.at < from)
                continue;
            to = emit_stretch(to, d, from, number.at);
            *to++ = '"';
            to = emit_stretch(to, d, number.at, number.end);
            *to++ = '"';
            from = number.end;
        }
        to = emit_stretch(to, d, from, stop);
    }
    out->len = (size_t)(to - out->data);
    return true;
}

bool emit_json(struct buf *out, const struct doc *d, uint32_t at, uint32_t end)
{
    if (__builtin_expect(d->broken || d->nhuge > 0, 0))
        return emit_careful(out, d, at, end);
    if (!buf_reserve(out, (size_t)(end - at) + TEXT_SLACK))
        return false;
    char *to = out->data + out->len;
    uint32_t i = at == d->spans[0].at ? 0 : first_span(d, at);
    for (; i < d->nspans && d->spans[i].at < end; i++) {
        uint32_t from = d->spans[i].at > at ? d->spans[i].at : at;
        uint32_t stop = d->spans[i].end < end ? d->spans[i].end : end;
        to = text_stride(to, d->buf + from, stop - from);
    }
    out->len = (size_t)(to - out->data);
    return true;
}
