/* pg_text.c - text that PostgreSQL accepts: UTF-8 without NUL, COPY TEXT fields, doubles that read back.
 *
 * Owns nothing and knows no Lua. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "bind/pg_value.h"

/* Length of the sequence that starts at s, 0 when it is not valid UTF-8 (RFC 3629: no surrogates, nothing overlong, at
 * most U+10FFFF), which is what pg_utf8_islegal() of the server accepts. */
static size_t sequence(const unsigned char *s, size_t n)
{
    if (s[0] < 0xc2)
        return 0;
    if (s[0] < 0xe0)
        return n >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if (s[0] < 0xf0) {
        unsigned char low = s[0] == 0xe0 ? 0xa0 : 0x80, high = s[0] == 0xed ? 0x9f : 0xbf;
        return n >= 3 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (s[0] < 0xf5) {
        unsigned char low = s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xf4 ? 0x8f : 0xbf;
        return n >= 4 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80 ? 4 : 0;
    }
    return 0;
}

/* True when all eight bytes are in 0x01..0x7f. */
static bool plain8(const char *s)
{
    uint64_t w;

    memcpy(&w, s, sizeof w);
    return (((w - 0x0101010101010101u) | w) & 0x8080808080808080u) == 0;
}

enum pg_text_fault pg_text_check(const char *s, size_t n, size_t *at)
{
    size_t i = 0;

    while (i < n) {
        if (n - i >= 8 && plain8(s + i)) {
            i += 8;
            continue;
        }
        unsigned char c = (unsigned char)s[i];
        size_t len = c == 0 ? 0 : c < 0x80 ? 1 : sequence((const unsigned char *)s + i, n - i);
        if (len == 0) {
            *at = i;
            return c == 0 ? PG_TEXT_NUL : PG_TEXT_UTF8;
        }
        i += len;
    }
    return PG_TEXT_FINE;
}

/* The letter after the backslash (manual, "COPY", Text Format), 0 when c stands for itself. */
static char escape_of(char c)
{
    switch (c) {
    case '\\': return '\\';
    case '\t': return 't';
    case '\n': return 'n';
    case '\r': return 'r';
    default:   return 0;
    }
}

enum pg_text_fault pg_text_copy(struct buf *b, const char *s, size_t n, size_t *at, bool *oom)
{
    size_t i = 0, run = 0;      /* s[run..i) is still to be copied as it is */

    if (!buf_reserve(b, 2 * n)) {
        *oom = true;
        return PG_TEXT_FINE;
    }
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80 || c == 0) {
            size_t len = c == 0 ? 0 : sequence((const unsigned char *)s + i, n - i);
            if (len == 0) {
                *at = i;
                return c == 0 ? PG_TEXT_NUL : PG_TEXT_UTF8;
            }
            i += len;
            continue;
        }
        char e = c > '\r' && c != '\\' ? 0 : escape_of(s[i]);
        if (e) {
            memcpy(b->data + b->len, s + run, i - run);
            b->len += i - run;
            buf_putc_unchecked(b, '\\');
            buf_putc_unchecked(b, e);
            run = i + 1;
        }
        i++;
    }
    memcpy(b->data + b->len, s + run, n - run);
    b->len += n - run;
    return PG_TEXT_FINE;
}

size_t pg_text_double(double d, char out[40])
{
    if (isnan(d))
        return (size_t)snprintf(out, 40, "NaN");
    if (isinf(d))
        return (size_t)snprintf(out, 40, d < 0 ? "-Infinity" : "Infinity");
    for (int digits = 15; digits < 17; digits++) {
        snprintf(out, 40, "%.*g", digits, d);
        if (strtod(out, NULL) == d)
            return strlen(out);
    }
    return (size_t)snprintf(out, 40, "%.17g", d);
}
