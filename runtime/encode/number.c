/* number.c - see number.h. */
#include "encode/number.h"

#include <string.h>

static inline bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

bool number_read(const uint8_t *text, size_t len, struct number *out)
{
    const uint8_t *p = text, *end = text + len;
    *out = (struct number){ .simple = true };
    if (p < end && (*p == '-' || *p == '+')) {
        out->minus = *p == '-';
        out->simple = out->minus;
        p++;
    }
    out->whole = p;
    while (p < end && is_digit(*p))
        p++;
    out->nwhole = (uint32_t)(p - out->whole);
    out->part = p;
    bool dot = p < end && *p == '.';
    if (dot) {
        out->part = ++p;
        while (p < end && is_digit(*p))
            p++;
        out->npart = (uint32_t)(p - out->part);
    }
    uint32_t all = out->nwhole + out->npart;
    if (all == 0)
        return false;
    if (out->nwhole == 0 || (dot && out->npart == 0))
        out->simple = false;
    int64_t power = 0;
    if (p < end && (*p | 0x20) == 'e') {
        bool minus = ++p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        if (p == end || !is_digit(*p))
            return false;
        for (; p < end && is_digit(*p); p++) {
            if (power < 1000000000)
                power = power * 10 + (*p - '0');
        }
        if (minus)
            power = -power;
        out->simple = false;
    }
    if (p != end)
        return false;
    uint32_t lead = 0, tail = 0;
    while (lead < out->nwhole && out->whole[lead] == '0')
        lead++;
    if (lead == out->nwhole) {
        while (lead < all && out->part[lead - out->nwhole] == '0')
            lead++;
    }
    if (lead < all) {
        while (tail < out->npart && out->part[out->npart - 1 - tail] == '0')
            tail++;
        if (tail == out->npart) {
            while (out->whole[all - 1 - tail] == '0')
                tail++;
        }
        out->n = all - lead - tail;
        out->point = (int64_t)out->nwhole - lead + power;
    }
    out->lead = lead;
    return true;
}

/* Copies digits d[from .. to) of 1-less numbering: digit 0 is d1. */
static char *digits(const struct number *v, uint32_t from, uint32_t to, char *out)
{
    from += v->lead;
    to += v->lead;
    if (from < v->nwhole) {
        uint32_t stop = to < v->nwhole ? to : v->nwhole;
        memcpy(out, v->whole + from, stop - from);
        out += stop - from;
        from = stop;
    }
    if (from < to) {
        memcpy(out, v->part + (from - v->nwhole), to - from);
        out += to - from;
    }
    return out;
}

static uint8_t digit_at(const struct number *v, uint32_t i)
{
    i += v->lead;
    return i < v->nwhole ? v->whole[i] : v->part[i - v->nwhole];
}

char *number_plain(const struct number *v, char *to)
{
    if (v->n == 0) {
        *to++ = '0';
        return to;
    }
    int64_t n = v->n;
    /* zeros that have to be added in front of or behind the digits; those of a text without exponent are all there */
    int64_t zeros = v->point <= 0 ? -v->point : v->point > n ? v->point - n : 0;
    int64_t there = (int64_t)v->nwhole + v->npart - n;
    if (zeros > 40 && zeros > there)
        return NULL;
    if (v->minus)
        *to++ = '-';
    if (v->point >= n) {
        to = digits(v, 0, v->n, to);
        memset(to, '0', (size_t)zeros);
        return to + zeros;
    }
    if (v->point > 0) {
        to = digits(v, 0, (uint32_t)v->point, to);
        *to++ = '.';
        return digits(v, (uint32_t)v->point, v->n, to);
    }
    *to++ = '0';
    *to++ = '.';
    memset(to, '0', (size_t)zeros);
    return digits(v, 0, v->n, to + zeros);
}

bool number_whole(const struct number *v, int64_t min, int64_t max, int64_t *out)
{
    if (v->n == 0) {
        *out = 0;
        return true;
    }
    if (v->point < v->n || v->point > 19)
        return false;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < (uint32_t)v->point; i++)    /* 19 digits fit into 64 bits */
        sum = sum * 10 + (i < v->n ? (uint64_t)(digit_at(v, i) - '0') : 0);
    if (v->minus ? sum > (uint64_t)INT64_MAX + 1 : sum > INT64_MAX)
        return false;
    int64_t value = v->minus ? (int64_t)(0 - sum) : (int64_t)sum;
    *out = value;
    return value >= min && value <= max;
}

char *number_fit(const struct number *v, int precision, int scale, char *to)
{
    int64_t keep = v->point + scale;      /* digits that are left of the rounding place */
    if (v->n == 0 || keep < 0) {
        *to++ = '0';
        return to;
    }
    if (v->point > precision - scale)
        return NULL;
    /* now keep <= precision <= 1000 */
    char kept[1002] = { 0 };
    uint32_t n = keep < v->n ? (uint32_t)keep : v->n;
    digits(v, 0, n, kept + 1);
    int64_t point = v->point;
    char *first = kept + 1;
    if (n < v->n && digit_at(v, n) >= '5') {
        uint32_t i = n;
        while (i > 0 && first[i - 1] == '9')
            first[--i] = '0';
        if (i > 0) {
            first[i - 1]++;
        } else {
            *--first = '1';
            n++;
            point++;
            if (point > precision - scale)
                return NULL;
        }
    }
    while (n > 0 && first[n - 1] == '0')
        n--;
    if (n == 0) {
        *to++ = '0';
        return to;
    }
    struct number r = { .whole = (const uint8_t *)first, .part = (const uint8_t *)first + n, .nwhole = n, .n = n,
                        .point = point, .minus = v->minus };
    if (r.minus)
        *to++ = '-';
    if (point >= (int64_t)n) {
        to = digits(&r, 0, n, to);
        memset(to, '0', (size_t)(point - n));
        return to + (point - n);
    }
    if (point > 0) {
        to = digits(&r, 0, (uint32_t)point, to);
        *to++ = '.';
        return digits(&r, (uint32_t)point, n, to);
    }
    *to++ = '0';
    *to++ = '.';
    memset(to, '0', (size_t)-point);
    return digits(&r, 0, n, to - point);
}

bool number_unbounded(const struct number *v)
{
    if (v->n == 0)
        return v->simple && v->npart <= 16383;
    int64_t power = v->point - ((int64_t)v->nwhole - v->lead);
    return v->point <= 131072 && (int64_t)v->npart - power <= 16383;
}

char *number_print(char *to, int64_t value)
{
    char digits_back[20];
    int n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits_back[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *to++ = '-';
    while (n)
        *to++ = digits_back[--n];
    return to;
}
