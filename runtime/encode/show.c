/* show.c - see show.h. The bytes are our own: their form is not checked. */
#include "encode/show.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/uuid7.h"
#include "encode/be.h"
#include "encode/number.h"
#include "encode/text.h"
#include "encode/when.h"

static char *print_group(char *to, unsigned group)
{
    for (unsigned ten = 1000; ten; ten /= 10)
        *to++ = (char)('0' + group / ten % 10);
    return to;
}

/* The form of number.h's number_numeric. */
static bool show_numeric(const char *p, struct buf *out)
{
    int n = be_get16(p), weight = (int16_t)be_get16(p + 2);
    size_t whole = weight < 0 ? 1 : ((size_t)weight + 1) * 4;
    size_t part = n > weight + 1 ? (size_t)(n - weight - 1) * 4 : 0;
    if (!text_room(out, whole + part + 2))
        return false;
    char *from = out->data + out->len, *to = from;
    if (be_get16(p + 4))
        *to++ = '-';
    char *first = to;
    for (int i = 0; i <= weight; i++)
        to = print_group(to, i < n ? be_get16(p + 8 + 2 * i) : 0);
    size_t zeros = 0;
    while (first + zeros + 1 < to && first[zeros] == '0')
        zeros++;
    memmove(first, first + zeros, (size_t)(to - first) - zeros);
    to -= zeros;
    if (to == first)
        *to++ = '0';
    if (part) {
        *to++ = '.';
        for (int i = weight + 1; i < n; i++)
            to = print_group(to, i < 0 ? 0 : be_get16(p + 8 + 2 * i));
        while (to[-1] == '0')
            to--;
    }
    out->len = (size_t)(to - out->data);
    return true;
}

/* The shortest text that reads back as the same double or float. */
static int print_float(char *to, size_t size, double value, bool single)
{
    int n = 0;
    for (int digits = single ? 6 : 15; digits <= (single ? 9 : 17); digits++) {
        n = snprintf(to, size, "%.*g", digits, value);
        if ((single ? (double)strtof(to, NULL) : strtod(to, NULL)) == value)
            break;
    }
    return n;
}

bool show_value(const struct plan_column *col, const char *bytes, size_t len, struct buf *out)
{
    char text[64], *end = text;
    uint32_t bits;
    float single;
    double value;
    switch (col->type) {
    case PLAN_INT2:
        end = number_print(text, (int16_t)be_get16(bytes));
        break;
    case PLAN_INT4:
        end = number_print(text, (int32_t)be_get32(bytes));
        break;
    case PLAN_INT8:
        end = number_print(text, (int64_t)be_get64(bytes));
        break;
    case PLAN_NUMERIC:
        return show_numeric(bytes, out);
    case PLAN_FLOAT4:
        bits = be_get32(bytes);
        memcpy(&single, &bits, sizeof single);
        end += print_float(text, sizeof text, (double)single, true);
        break;
    case PLAN_FLOAT8: {
        uint64_t wide = be_get64(bytes);
        memcpy(&value, &wide, sizeof value);
        end += print_float(text, sizeof text, value, false);
        break;
    }
    case PLAN_BOOL:
        *end++ = *bytes ? 't' : 'f';
        break;
    case PLAN_DATE:
        end = when_print_date(text, (int32_t)be_get32(bytes) + (int64_t)WHEN_2000);
        break;
    case PLAN_TIMESTAMP: case PLAN_TIMESTAMPTZ:
        end = when_print(text, (int64_t)be_get64(bytes) + WHEN_2000 * INT64_C(86400000000),
                         col->type == PLAN_TIMESTAMPTZ);
        break;
    case PLAN_UUID:
        uuid7_print((const uint8_t *)bytes, text);
        end += UUID7_TEXT;
        break;
    case PLAN_JSONB:
        return buf_put(out, bytes + 1, len - 1);
    default:
        return buf_put(out, bytes, len);
    }
    return buf_put(out, text, (size_t)(end - text));
}
