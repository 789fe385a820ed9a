/* text.h - UTF-8, JSON escapes and COPY's text format, on plain bytes. Owns nothing. */
#ifndef GARUN_TEXT_H
#define GARUN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/buf.h"

#define TEXT_SLACK  64u          /* writers below may overwrite so many bytes behind what they return */
#define TEXT_BROKEN UINT32_MAX   /* a code point that PostgreSQL cannot store: U+0000, an unpaired surrogate */

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

/* Writes src as COPY text: backslash, tab, line feed, carriage return escaped (PostgreSQL manual, COPY, Text
 * Format). At most 2 * len bytes and TEXT_SLACK are written, TEXT_SLACK bytes behind src are readable; returns the
 * end. */
char *text_copy(char *dst, const uint8_t *src, size_t len);

/* Position of the first byte in p[0 .. len) that is a backslash or below 0x20, len when there is none. */
size_t text_special(const uint8_t *p, size_t len);

/* Copies up to the first such byte and returns how many; the same rules of slack as for text_copy. */
size_t text_run(char *dst, const uint8_t *src, size_t len);

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
