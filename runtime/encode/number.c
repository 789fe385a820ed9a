/* number.c - see number.h. */
#include "encode/number.h"

#include <float.h>
#include <string.h>

#include "encode/be.h"

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

bool number_round(const struct number *v, int precision, int scale, uint8_t *digits_out, struct number *out)
{
    int64_t keep = v->point + scale;      /* digits that are left of the rounding place */
    *out = (struct number){ .whole = digits_out, .part = digits_out, .minus = v->minus };
    if (v->n == 0 || keep < 0)
        return true;
    if (v->point > precision - scale)
        return false;
    /* now keep <= precision <= 1000 */
    uint8_t *first = digits_out + 1;      /* one place for a carry */
    uint32_t n = keep < v->n ? (uint32_t)keep : v->n;
    digits(v, 0, n, (char *)first);
    out->point = v->point;
    if (n < v->n && digit_at(v, n) >= '5') {
        uint32_t i = n;
        while (i > 0 && first[i - 1] == '9')
            first[--i] = '0';
        if (i > 0) {
            first[i - 1]++;
        } else {
            *--first = '1';
            n++;
            out->point++;
            if (out->point > precision - scale)
                return false;
        }
    }
    while (n > 0 && first[n - 1] == '0')
        n--;
    if (n == 0)
        out->point = 0;
    out->whole = first;
    out->part = first + n;
    out->nwhole = out->n = n;
    return true;
}

bool number_double(const struct number *v, double *out)
{
    static const double tens[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    int64_t power = v->point - v->n;
    /* both operands are doubles without error, so the one rounding is the right one (Clinger, How to Read Floating
     * Point Numbers Accurately) */
    if (FLT_EVAL_METHOD != 0 || v->n > 15 || power < -22 || power > 22)
        return false;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->n; i++)
        sum = sum * 10 + (uint64_t)(digit_at(v, i) - '0');
    double value = power < 0 ? (double)sum / tens[-power] : (double)sum * tens[power];
    *out = v->minus ? -value : value;
    return true;
}

/* The exponent of the text. */
static int64_t power_of(const struct number *v)
{
    return v->point - ((int64_t)v->nwhole - v->lead);
}

bool number_unbounded(const struct number *v)
{
    if (v->n == 0)
        return v->simple && v->npart <= 16383;
    return v->point <= 131072 && (int64_t)v->npart - power_of(v) <= 16383;
}

uint32_t number_scale(const struct number *v)
{
    int64_t scale = v->n == 0 ? v->npart : (int64_t)v->npart - power_of(v);
    return scale > 0 ? (uint32_t)scale : 0;
}

char *number_numeric(const struct number *v, uint32_t scale, char *to)
{
    char *head = to;
    to += 8;
    int64_t weight = 0;
    if (v->n) {
        /* the first group ends at a multiple of four digits from the point */
        weight = v->point > 0 ? (v->point - 1) / 4 : -(-v->point / 4) - 1;
        int64_t left = v->point - 4 * weight;
        uint32_t group = 0;
        for (uint32_t i = 0; i < v->n; i++) {
            group = group * 10 + (uint32_t)(digit_at(v, i) - '0');
            if (--left == 0) {
                to = be_put16(to, (uint16_t)group);
                group = 0;
                left = 4;
            }
        }
        if (left < 4) {
            for (; left; left--)
                group *= 10;
            to = be_put16(to, (uint16_t)group);
        }
    }
    be_put16(head, (uint16_t)((to - head - 8) / 2));
    be_put16(head + 2, (uint16_t)(int16_t)weight);
    be_put16(head + 4, v->minus && v->n ? 0x4000 : 0);
    be_put16(head + 6, (uint16_t)scale);
    return to;
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
