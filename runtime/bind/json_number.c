/* json_number.c - numbers and characters of JSON text, exact in both directions and blind to the process's locale.
 *
 * The common numbers take a short way that needs no library call: a decimal with a mantissa of at most 53 bits and a
 * power of ten of at most 10^22 is one correctly rounded multiplication or division away from its double (Clinger, "How
 * to read floating point numbers accurately", 1990). All others go through the C library. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "bind/json.h"

#if FLT_EVAL_METHOD != 0
#error "json_number.c needs doubles that are rounded to double after each operation"
#endif

static const double POWERS[] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
};

enum { EXACT_POWER = 22, EXPONENT_CLAMP = 100000 };
static const uint64_t EXACT_MANTISSA = UINT64_C(1) << 53;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* strtod in the C locale. newlocale of the complete "C" locale hands out glibc's static object: it allocates nothing
 * and freelocale leaves it alone; elsewhere this is merely slower. */
static double read_double(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0)
        return strtod(text, NULL);
    double f = strtod_l(text, NULL, c);
    freelocale(c);
    return f;
}

enum json_number_kind json_number_read(const char **pp, lua_Integer *i, double *f)
{
    const char *start = *pp, *p = start;
    bool negative = *p == '-';
    uint64_t mantissa = 0;
    int digits = 0, exponent = 0;

    if (negative)
        p++;
    if (*p == '0') {
        p++;
        if (is_digit(*p)) {         /* 007 */
            *pp = p;
            return JSON_NUMBER_BAD;
        }
    } else {
        const char *first = p;
        for (; is_digit(*p); p++) {
            if (digits < 19) {      /* 19 digits always fit 64 bits */
                mantissa = mantissa * 10 + (uint64_t)(*p - '0');
                digits++;
            } else if (exponent < EXPONENT_CLAMP) {
                exponent++;
            }
        }
        if (p == first) {
            *pp = p;
            return JSON_NUMBER_BAD;
        }
    }

    if (*p != '.' && *p != 'e' && *p != 'E') {
        *pp = p;
        bool zero = mantissa == 0 && negative;      /* -0 is no integer: its sign lives in floats only */
        if (exponent == 0 && !zero && mantissa <= (uint64_t)LUA_MAXINTEGER + negative) {
            /* unsigned negation: -2^63 has no positive counterpart */
            *i = (lua_Integer)(negative ? 0 - mantissa : mantissa);
            return JSON_NUMBER_INTEGER;
        }
        *f = zero ? -0.0 : read_double(start);
        return zero ? JSON_NUMBER_FLOAT : JSON_NUMBER_BIG;
    }

    bool exact = exponent == 0;     /* no digit was left out of the mantissa */
    if (*p == '.') {
        p++;
        if (!is_digit(*p)) {
            *pp = p;
            return JSON_NUMBER_BAD;
        }
        for (; is_digit(*p); p++) {
            if (digits < 19) {
                mantissa = mantissa * 10 + (uint64_t)(*p - '0');
                digits += mantissa != 0;
                if (exponent > -EXPONENT_CLAMP)
                    exponent--;
            } else {
                exact = exact && *p == '0';
            }
        }
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        bool down = *p == '-';
        if (down || *p == '+')
            p++;
        if (!is_digit(*p)) {
            *pp = p;
            return JSON_NUMBER_BAD;
        }
        int n = 0;
        for (; is_digit(*p); p++) {
            if (n < EXPONENT_CLAMP)
                n = n * 10 + (*p - '0');
        }
        exponent += down ? -n : n;
    }
    *pp = p;
    if (exact && mantissa <= EXACT_MANTISSA && exponent >= -EXACT_POWER && exponent <= EXACT_POWER) {
        double m = (double)mantissa;
        m = exponent < 0 ? m / POWERS[-exponent] : m * POWERS[exponent];
        *f = negative ? -m : m;
        return JSON_NUMBER_FLOAT;
    }
    *f = read_double(start);
    return isinf(*f) ? JSON_NUMBER_BIG : JSON_NUMBER_FLOAT;
}

size_t json_integer_write(char *out, lua_Integer i)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
        "555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    char text[20];
    size_t at = sizeof text, n = 0;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;

    while (u >= 100) {
        memcpy(text + (at -= 2), pairs + u % 100 * 2, 2);
        u /= 100;
    }
    if (u >= 10)
        memcpy(text + (at -= 2), pairs + u * 2, 2);
    else
        text[--at] = (char)('0' + u);
    if (i < 0)
        out[n++] = '-';
    memcpy(out + n, text + at, sizeof text - at);
    return n + sizeof text - at;
}

/* Prices, rates, seconds: finds the fewest decimals that give |f| back. m / 10^k is correctly rounded, so what reads
 * back here reads back everywhere; k grows, so the text is the shortest. 0 when f is not of that kind. */
static size_t write_short(char *out, double f)
{
    enum { DECIMALS = 10 };
    double a = fabs(f);
    if (a >= 1e15 || (a < 1e-4 && a != 0))
        return 0;
    for (int k = 0; k <= DECIMALS; k++) {
        double m = a * POWERS[k];
        if (m >= 4503599627370496.0)        /* 2^52: the rounding below must stay exact */
            return 0;
        uint64_t whole = (uint64_t)(m + 0.5);
        if ((double)whole / POWERS[k] != a)
            continue;

        char digits[20];
        size_t n = json_integer_write(digits, (lua_Integer)whole), len = 0, decimals = (size_t)k;
        if (signbit(f))
            out[len++] = '-';
        if (n > decimals) {
            memcpy(out + len, digits, n - decimals);
            len += n - decimals;
        } else {
            out[len++] = '0';
        }
        out[len++] = '.';
        if (decimals == 0) {
            out[len++] = '0';
            return len;
        }
        size_t zeros = n < decimals ? decimals - n : 0;
        memset(out + len, '0', zeros);
        memcpy(out + len + zeros, digits + n - (decimals - zeros), decimals - zeros);
        return len + decimals;
    }
    return 0;
}

size_t json_number_write(char *out, double f)
{
    size_t len = write_short(out, f);
    if (len)
        return len;

    /* Every decimal of at most 15 digits survives a normal double, so %.15g is the shortest when it reads back; the
     * subnormal ones have fewer digits. */
    for (int precision = fabs(f) < DBL_MIN ? 1 : DBL_DIG; precision <= DBL_DECIMAL_DIG; precision++) {
        char text[64];
        int n = snprintf(text, sizeof text, "%.*g", precision, f);
        bool is_float = false;
        len = 0;
        for (int i = 0; i < n; i++) {
            if (is_digit(text[i]) || text[i] == '-' || text[i] == '+' || text[i] == 'e') {
                is_float = is_float || text[i] == 'e';
                out[len++] = text[i];
            } else if (!is_float) {         /* the locale's decimal point, of one or more bytes */
                is_float = true;
                out[len++] = '.';
            }
        }
        if (!is_float) {
            memcpy(out + len, ".0", 2);
            len += 2;
        }
        out[len] = '\0';
        if (read_double(out) == f)
            break;
    }
    return len;
}

size_t json_utf8_length(const char *at, const char *end)
{
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at), n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    /* Unicode 15, table 3-7: only the second byte's range depends on the first, which keeps out overlong forms,
     * surrogates and what is beyond U+10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;

    if (p[0] < 0xC2 || p[0] > 0xF4 || left < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}
