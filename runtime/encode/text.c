/* text.c - see text.h. */
#include "encode/text.h"

/* ---- JSON escapes ---- */

/* The four digits of \uXXXX at p (its backslash), -1 when it is none. */
static int32_t hex_escape(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int32_t code = 0;
    for (int i = 2; i < 6; i++) {
        int digit = text_hex(p[i]);
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

uint32_t text_escape(const uint8_t *p, const uint8_t *end, uint32_t *code)
{
    if (end - p < 2)
        return 0;
    switch (p[1]) {
    case '"': case '\\': case '/': *code = p[1]; return 2;
    case 'b': *code = '\b'; return 2;
    case 'f': *code = '\f'; return 2;
    case 'n': *code = '\n'; return 2;
    case 'r': *code = '\r'; return 2;
    case 't': *code = '\t'; return 2;
    case 'u': break;
    default: return 0;
    }
    int32_t high = hex_escape(p, end);
    if (high < 0)
        return 0;
    *code = (uint32_t)high;
    if (high == 0 || (high >= 0xDC00 && high < 0xE000)) {
        *code = TEXT_BROKEN;
    } else if (high >= 0xD800 && high < 0xDC00) {
        int32_t low = hex_escape(p + 6, end);
        if (low >= 0xDC00 && low < 0xE000) {
            *code = 0x10000 + (((uint32_t)high - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
            return 12;
        }
        *code = TEXT_BROKEN;
    }
    return 6;
}

bool text_check(const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;
    while (p < end && (p = memchr(p, '\\', (size_t)(end - p)))) {
        uint32_t code, n = text_escape(p, end, &code);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

static uint8_t *put_code(uint8_t *dst, uint32_t code)
{
    if (code == TEXT_BROKEN)
        code = 0xFFFD;
    if (code < 0x80) {
        *dst++ = (uint8_t)code;
    } else if (code < 0x800) {
        *dst++ = (uint8_t)(0xC0 | code >> 6);
        *dst++ = (uint8_t)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *dst++ = (uint8_t)(0xE0 | code >> 12);
        *dst++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *dst++ = (uint8_t)(0x80 | (code & 0x3F));
    } else {
        *dst++ = (uint8_t)(0xF0 | code >> 18);
        *dst++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        *dst++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *dst++ = (uint8_t)(0x80 | (code & 0x3F));
    }
    return dst;
}

uint8_t *text_unescape(uint8_t *dst, const uint8_t *src, size_t len)
{
    const uint8_t *end = src + len;
    while (src < end) {
        const uint8_t *p = memchr(src, '\\', (size_t)(end - src));
        size_t run = (size_t)((p ? p : end) - src);
        memcpy(dst, src, run);
        dst += run;
        src += run;
        if (src < end) {
            uint32_t code = TEXT_BROKEN, n = text_escape(src, end, &code);
            dst = put_code(dst, code);
            src += n ? n : 1;
        }
    }
    return dst;
}

uint32_t text_token(const uint8_t *p)
{
    const uint8_t *from = p;
    while ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || *p == 'E' || *p == '-' || *p == '+' || *p == '.')
        p++;
    return (uint32_t)(p - from);
}

/* ---- UTF-8 ---- */

/* Length of the well-formed character at p; 0 for an ill-formed one, whose maximal subpart has *bad bytes
 * (Unicode 15, table 3-7). */
static size_t utf8_char(const uint8_t *p, size_t len, size_t *bad)
{
    uint8_t c = p[0], low = 0x80, high = 0xBF;
    size_t need;
    *bad = 1;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF) {
        need = 1;
    } else if (c >= 0xE0 && c <= 0xEF) {
        need = 2;
        if (c == 0xE0)
            low = 0xA0;
        if (c == 0xED)
            high = 0x9F;
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 3;
        if (c == 0xF0)
            low = 0x90;
        if (c == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    for (size_t i = 1; i <= need; i++) {
        if (i >= len || p[i] < low || p[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return need + 1;
}

bool text_repair(struct buf *out, const uint8_t *src, size_t len, bool *changed)
{
    size_t good = 0, i = 0, bad;
    *changed = false;
    while (i < len) {
        size_t n = src[i] ? utf8_char(src + i, len - i, &bad) : 0;
        if (n) {
            i += n;
            continue;
        }
        if (!src[i])
            bad = 1;
        if (!buf_put(out, src + good, i - good) || !buf_put(out, "\xEF\xBF\xBD", 3))
            return false;
        i += bad;
        good = i;
        *changed = true;
    }
    return buf_put(out, src + good, len - good);
}

size_t text_prefix(const uint8_t *p, size_t len, size_t n)
{
    if (len <= n)
        return len;
    size_t i = 0;
    for (; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80 && n-- == 0)
            return i;
    }
    return len;
}
