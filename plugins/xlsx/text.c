/* text.c - the text forms of cells: escapes of strings, whole numbers. Pure. */
#include <stdlib.h>
#include <string.h>
#include "xlsx.h"

enum { WHOLE_DIGITS = 36 };      /* a whole number longer than this keeps its exponent */

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* The code unit of "_xHHHH_" at s, -1 when there is none. */
static int escape_at(const char *s, const char *end)
{
    return end - s >= 7 && s[0] == '_' && s[1] == 'x' && s[6] == '_' ? hex4(s + 2) : -1;
}

static size_t put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

size_t text_unescape(char *s, size_t n)
{
    char *end = s + n, *in = n ? memmem(s, n, "_x", 2) : NULL, *out = in;

    if (!in)
        return n;
    while (in < end) {
        int unit = escape_at(in, end);
        if (unit < 0) {
            *out++ = *in++;
            continue;
        }
        in += 7;
        unsigned c = (unsigned)unit;
        if (c >= 0xd800 && c < 0xdc00) {
            int low = escape_at(in, end);
            if (low >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00);
                in += 7;
            } else {
                c = 0xfffd;
            }
        } else if (c >= 0xdc00 && c < 0xe000) {
            c = 0xfffd;
        }
        out += put_utf8(out, c);       /* 7 or 14 bytes make at most 4 */
    }
    return (size_t)(out - s);
}

size_t text_number(const char *s, size_t n, char *out)
{
    const char *p = s, *end = s + n;
    char digits[WHOLE_DIGITS + 8];
    size_t whole = 0, len = 0, fraction;
    bool negative = false, fits = true;
    long exponent = 0;

    if (p < end && (*p == '-' || *p == '+'))
        negative = *p++ == '-';
    const char *first = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        whole++;
    fraction = 0;
    if (p < end && *p == '.') {
        for (p++; p < end && *p >= '0' && *p <= '9'; p++)
            fraction++;
    }
    if (whole + fraction == 0)
        return 0;
    bool plain = p == end && fraction == 0 && p[-1] != '.';
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *sign = ++p;
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        if (p == end)
            return 0;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (exponent < 10000)
                exponent = exponent * 10 + (*p - '0');
        }
        if (*sign == '-')
            exponent = -exponent;
    }
    if (p != end)
        return 0;
    if (!plain && whole + fraction <= sizeof digits) {
        /* digits * 10^(exponent - fraction): whole when what lies behind the point is zeros only. */
        for (p = first; len < whole + fraction; p++) {
            if (*p != '.')
                digits[len++] = *p;
        }
        long scale = exponent - (long)fraction;
        while (scale < 0 && len > 0 && digits[len - 1] == '0') {
            len--;
            scale++;
        }
        size_t zeros = 0;
        while (zeros < len && digits[zeros] == '0')
            zeros++;
        if (zeros == len) {            /* 0.00, -0, 0E5 */
            out[0] = '0';
            return 1;
        }
        fits = scale >= 0 && (long)(len - zeros) + scale <= WHOLE_DIGITS;
        if (fits) {
            size_t at = 0;
            if (negative)
                out[at++] = '-';
            memcpy(out + at, digits + zeros, len - zeros);
            at += len - zeros;
            memset(out + at, '0', (size_t)scale);
            return at + (size_t)scale;
        }
    }
    memcpy(out, s, n);
    return n;
}
