/* text.h - UTF-8 and JSON escapes, on plain bytes. Owns nothing. */
#ifndef GARUN_TEXT_H
#define GARUN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/buf.h"

#define TEXT_SLACK  64u          /* writers below may overwrite so many bytes behind what they return */
#define TEXT_BROKEN UINT32_MAX   /* a code point that PostgreSQL cannot store: U+0000, an unpaired surrogate */

/* The value of a hexadecimal digit, -1 when it is none. */
static inline int text_hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The JSON escape at p (a backslash): its length (2, 6, or 12 for a surrogate pair), 0 when it is none. *code is
 * its code point or TEXT_BROKEN. Reads nothing at or behind end. */
uint32_t text_escape(const uint8_t *p, const uint8_t *end, uint32_t *code);

/* True when all backslashes in p[0 .. len) begin escapes. */
bool text_check(const uint8_t *p, size_t len);

/* Decodes a JSON string's inside with good escapes; what is broken becomes U+FFFD. The result is never longer. Returns
 * its end. */
uint8_t *text_unescape(uint8_t *dst, const uint8_t *src, size_t len);

/* Length of a number or literal that begins at p and is followed by something that ends it. */
uint32_t text_token(const uint8_t *p);

/* Appends src with U+0000 and what is not UTF-8 replaced by U+FFFD, one for each maximal subpart of an ill-formed
 * sequence (Unicode 15, 3.9, as the WHATWG decoder does it). *changed tells whether anything was. False when memory
 * is short. */
bool text_repair(struct buf *out, const uint8_t *src, size_t len, bool *changed);

/* Length in bytes of the first n characters, len when there are no more than n. */
size_t text_prefix(const uint8_t *p, size_t len, size_t n);

/* Makes room for n more bytes and TEXT_SLACK; false when memory is short. */
static inline bool text_room(struct buf *b, size_t n)
{
    return __builtin_expect(b->cap - b->len >= n + TEXT_SLACK, 1) || buf_reserve(b, n + TEXT_SLACK);
}

/* Copies len bytes in strides of 32: reads and writes up to 31 bytes more than asked. */
static inline char *text_stride(char *dst, const uint8_t *src, size_t len)
{
    char *end = dst + len;
    do {
        memcpy(dst, src, 32);
        dst += 32;
        src += 32;
    } while (dst < end);
    return end;
}

#endif
