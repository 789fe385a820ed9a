/* encode_decode.h - a second reader of rows in COPY's binary format, for tests: each becomes a line of COPY text as the
 * server's output functions would write it (floats in their shortest form, times in UTC). It shares no code with the
 * encoder and refuses what the server's receive functions would refuse or change. Included, not linked. */
#ifndef GARUN_ENCODE_DECODE_H
#define GARUN_ENCODE_DECODE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/buf.h"
#include "encode/plan.h"

static inline uint64_t decode_uint(const char *p, size_t size)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static inline bool decode_text(const char *p, size_t len, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < len; i++) {
        const char *escape = p[i] == '\\' ? "\\\\" : p[i] == '\t' ? "\\t" : p[i] == '\n' ? "\\n" : p[i] == '\r' ? "\\r"
                             : NULL;
        ok = p[i] != '\0' && (escape ? buf_put(out, escape, 2) : buf_put(out, p + i, 1));
    }
    return ok;
}

/* As numeric_out. Refused: digits that numeric_recv would cut off, group and scale beyond their bounds. */
static inline bool decode_numeric(const char *p, size_t len, struct buf *out)
{
    if (len < 8 || len != 8 + 2 * (size_t)decode_uint(p, 2))
        return false;
    long n = (long)decode_uint(p, 2), weight = (int16_t)decode_uint(p + 2, 2), scale = (long)decode_uint(p + 6, 2);
    uint64_t sign = decode_uint(p + 4, 2);
    if (scale > 0x3FFF || (sign != 0 && sign != 0x4000) || (n == 0 && (sign || weight)))
        return false;
    if (n && (decode_uint(p + 8, 2) == 0 || decode_uint(p + len - 2, 2) == 0))      /* padded for nothing */
        return false;
    bool ok = !sign || buf_put(out, "-", 1), digit = false;
    for (long i = 0; ok && i <= weight; i++) {
        unsigned group = i < n ? (unsigned)decode_uint(p + 8 + 2 * i, 2) : 0;
        ok = group < 10000;
        for (unsigned ten = 1000; ok && ten; ten /= 10) {
            char c = (char)('0' + group / ten % 10);
            digit |= c != '0';
            ok = !digit || buf_put(out, &c, 1);
        }
    }
    ok = ok && (digit || buf_put(out, "0", 1)) && (scale == 0 || buf_put(out, ".", 1));
    long written = 0;
    for (long place = 0; ok && (place * 4 < scale || weight + 1 + place < n); place++) {
        long at = weight + 1 + place;      /* groups behind the point; those before the first digit are zero */
        unsigned group = at >= 0 && at < n ? (unsigned)decode_uint(p + 8 + 2 * at, 2) : 0;
        ok = group < 10000;
        for (unsigned ten = 1000; ok && ten; ten /= 10, written++) {
            char c = (char)('0' + group / ten % 10);
            ok = written < scale ? buf_put(out, &c, 1) : c == '0';
        }
    }
    return ok;
}

static inline bool decode_time(int64_t micros, bool clock, bool zone, struct buf *out)
{
    struct tm tm;
    char text[64];
    int64_t part = (micros % 1000000 + 1000000) % 1000000;
    time_t seconds = (time_t)((micros - part) / 1000000) + 946684800;
    if (!gmtime_r(&seconds, &tm) || tm.tm_year < 1 - 1900 || tm.tm_year > 9999 - 1900)
        return false;
    int n = snprintf(text, sizeof text, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    if (clock)
        n += snprintf(text + n, sizeof text - (size_t)n, " %02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (part)
        n += snprintf(text + n, sizeof text - (size_t)n, ".%06d", (int)part);
    return buf_put(out, text, (size_t)n) && (!zone || buf_put(out, "+00", 3));
}

static inline bool decode_float(double value, bool single, struct buf *out)
{
    char text[40];
    int n = 0;
    for (int digits = 1; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    return buf_put(out, text, (size_t)n);
}

static inline bool decode_value(enum plan_type type, const char *p, size_t len, struct buf *out)
{
    static const size_t sizes[PLAN_TYPES] = { [PLAN_INT2] = 2, [PLAN_INT4] = 4, [PLAN_INT8] = 8, [PLAN_FLOAT4] = 4,
        [PLAN_FLOAT8] = 8, [PLAN_BOOL] = 1, [PLAN_DATE] = 4, [PLAN_TIMESTAMP] = 8, [PLAN_TIMESTAMPTZ] = 8,
        [PLAN_UUID] = 16 };
    char text[64];
    int n = 0;
    if (sizes[type] && len != sizes[type])
        return false;
    uint64_t bits = sizes[type] <= 8 ? decode_uint(p, sizes[type]) : 0;
    switch (type) {
    case PLAN_INT2: case PLAN_INT4: case PLAN_INT8:
        bits <<= 64 - 8 * sizes[type];
        n = snprintf(text, sizeof text, "%lld", (long long)((int64_t)bits >> (64 - 8 * sizes[type])));
        return buf_put(out, text, (size_t)n);
    case PLAN_NUMERIC:
        return decode_numeric(p, len, out);
    case PLAN_FLOAT4: {
        uint32_t word = (uint32_t)bits;
        float value;
        memcpy(&value, &word, sizeof value);
        return decode_float((double)value, true, out);
    }
    case PLAN_FLOAT8: {
        double value;
        memcpy(&value, &bits, sizeof value);
        return decode_float(value, false, out);
    }
    case PLAN_BOOL:
        return *p >= 0 && *p <= 1 && buf_put(out, *p ? "t" : "f", 1);
    case PLAN_DATE:
        return decode_time((int32_t)bits * INT64_C(86400000000), false, false, out);
    case PLAN_TIMESTAMP: case PLAN_TIMESTAMPTZ:
        return decode_time((int64_t)bits, true, type == PLAN_TIMESTAMPTZ, out);
    case PLAN_UUID:
        for (size_t i = 0; i < 16; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                          (unsigned)(uint8_t)p[i]);
        return buf_put(out, text, (size_t)n);
    case PLAN_JSONB:
        return len > 1 && *p == 1 && decode_text(p + 1, len - 1, out);
    default:
        return decode_text(p, len, out);
    }
}

/* Appends the row at p[0 .. len) as a line; returns its length, 0 when it is malformed. */
static inline size_t decode_row(const struct plan_table *t, const char *p, size_t len, struct buf *out)
{
    size_t at = 2;
    if (len < 2 || decode_uint(p, 2) != t->ncolumns)
        return 0;
    for (uint32_t i = 0; i < t->ncolumns; i++) {
        if (len - at < 4 || (i && !buf_put(out, "\t", 1)))
            return 0;
        uint32_t size = (uint32_t)decode_uint(p + at, 4);
        at += 4;
        if (size == UINT32_MAX) {
            if (!buf_put(out, "\\N", 2))
                return 0;
            continue;
        }
        if (size > len - at || !decode_value(t->columns[i].type, p + at, size, out))
            return 0;
        at += size;
    }
    return buf_put(out, "\n", 1) ? at : 0;
}

#endif
