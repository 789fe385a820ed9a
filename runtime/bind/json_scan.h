/* json_scan.h - the inner loop of both directions of the JSON codec. Owns nothing. */
#ifndef GARUN_JSON_SCAN_H
#define GARUN_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* True for what stands for itself in a JSON string without a closer look: ASCII but controls, quote and backslash. */
static inline bool json_is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* The first byte in [p, end) that is not plain, or end. Eight bytes at a time. */
static inline const char *json_plain_end(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;

    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        /* (x - ones) has its top bit set where a byte of x is 0, (v - 0x20...) where one is a control; a borrow may
         * mark a byte above such a one too, never a block without any. */
        uint64_t hit = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v) | v;
        if (hit & tops)
            break;
        p += 8;
    }
    while (p < end && json_is_plain(*p))
        p++;
    return p;
}

#endif
