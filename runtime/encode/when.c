/* when.c - see when.h. */
#include "encode/when.h"

#include <string.h>

#define SECOND INT64_C(1000000)
#define DAY    (86400 * SECOND)

/* Microseconds since 1970 of 0001-01-01 and of 10000-01-01. */
#define FIRST  (INT64_C(-719162) * DAY)
#define BEHIND (INT64_C(2932897) * DAY)

static inline bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* The n digits at p as a number, -1 when one of them is no digit. */
static int number_of(const uint8_t *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (!is_digit(p[i]))
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static bool real_day(int y, int m, int d)
{
    static const uint8_t days[13] = { 0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (y < 1 || m < 1 || m > 12 || d < 1)
        return false;
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    return d <= days[m] + (m == 2 && leap);
}

static char *two(char *to, int v)
{
    to[0] = (char)('0' + v / 10);
    to[1] = (char)('0' + v % 10);
    return to + 2;
}

/* Reads a date of the first 8 or 10 bytes; returns how many, 0 for none. */
static size_t read_day(const uint8_t *p, size_t len, int *y, int *m, int *d)
{
    if (len >= 10 && p[4] == '-' && p[7] == '-') {
        *y = number_of(p, 4);
        *m = number_of(p + 5, 2);
        *d = number_of(p + 8, 2);
        return real_day(*y, *m, *d) ? 10 : 0;
    }
    if (len >= 8) {
        *y = number_of(p, 4);
        *m = number_of(p + 4, 2);
        *d = number_of(p + 6, 2);
        return real_day(*y, *m, *d) ? 8 : 0;
    }
    return 0;
}

/* Days since 1970-01-01; H. Hinnant, chrono-Compatible Low-Level Date Algorithms, days_from_civil. */
static int64_t days_of(int y, int m, int d)
{
    y -= m <= 2;
    int era = y / 400, yoe = y - era * 400;
    int doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return (int64_t)era * 146097 + doe - 719468;
}

bool when_date(const uint8_t *text, size_t len, int32_t *days)
{
    int y, m, d;
    if ((len != 8 && len != 10) || read_day(text, len, &y, &m, &d) != len)
        return false;
    *days = (int32_t)days_of(y, m, d);
    return true;
}

/* +HH, +HHMM, +HH:MM, Z, UTC at the text's end. */
static bool read_zone(const uint8_t *p, size_t len, int64_t *seconds)
{
    *seconds = 0;
    if (len > 0 && *p == ' ') {
        p++;
        len--;
    }
    if (len == 0 || (len == 1 && (*p | 0x20) == 'z') || (len == 3 && memcmp(p, "UTC", 3) == 0))
        return true;
    if ((*p != '+' && *p != '-') || (len != 3 && len != 5 && len != 6) || (len == 6 && p[3] != ':'))
        return false;
    int h = number_of(p + 1, 2), m = len == 3 ? 0 : number_of(p + len - 2, 2);
    if (h < 0 || h > 15 || m < 0 || m > 59)     /* as far as PostgreSQL goes */
        return false;
    *seconds = (h * 60 + m) * 60;
    if (*p == '-')
        *seconds = -*seconds;
    return true;
}

bool when_instant(const uint8_t *text, size_t len, int64_t *micros)
{
    int y, m, d, hour = 0, minute = 0, second = 0;
    int64_t part = 0, zone = 0;
    size_t i = read_day(text, len, &y, &m, &d);
    if (i == 0)
        return false;
    if (i < len) {
        if ((text[i] != ' ' && (text[i] | 0x20) != 't') || len - i < 6 || text[i + 3] != ':')
            return false;
        hour = number_of(text + i + 1, 2);
        minute = number_of(text + i + 4, 2);
        i += 6;
        if (i < len && text[i] == ':') {
            if (len - i < 3)
                return false;
            second = number_of(text + i + 1, 2);
            i += 3;
            if (i < len && (text[i] == '.' || text[i] == ',')) {
                int64_t unit = SECOND;
                size_t from = ++i;
                for (; i < len && is_digit(text[i]); i++) {
                    if (unit > 1)
                        part += (unit /= 10) * (text[i] - '0');
                    else if (i - from == 6)
                        part += text[i] >= '5';
                }
                if (i == from)
                    return false;
            }
        }
        /* second 60 is a leap second, hour 24 the day's end: both are the next minute's start, as for PostgreSQL */
        if (hour == 24 && (minute || second || part))
            return false;
        if (hour < 0 || hour > 24 || minute < 0 || minute > 59 || second < 0 || second > 60)
            return false;
        if (!read_zone(text + i, len - i, &zone))
            return false;
    }
    int64_t t = days_of(y, m, d) * DAY + (((int64_t)hour * 60 + minute) * 60 + second - zone) * SECOND + part;
    *micros = t;
    return t >= FIRST && t < BEHIND;
}

bool when_epoch(const struct number *v, int64_t units, int64_t *micros)
{
    /* The value times 10^k is a change of its point only. */
    struct number scaled = *v;
    scaled.point += units == 1 ? 6 : units == 1000 ? 3 : 0;
    if (scaled.n > 0 && scaled.point < (int64_t)scaled.n)      /* finer than a microsecond: cut */
        scaled.n = scaled.point < 0 ? 0 : (uint32_t)scaled.point;
    int64_t t;
    if (!number_whole(&scaled, FIRST, BEHIND - 1, &t))
        return false;
    *micros = t;
    return true;
}

char *when_print_date(char *to, int64_t days)
{
    /* civil_from_days of the same source */
    int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int d = (int)(doy - (153 * mp + 2) / 5 + 1), m = (int)(mp < 10 ? mp + 3 : mp - 9);
    int y = (int)(yoe + era * 400 + (m <= 2));
    to = two(two(to, y / 100), y % 100);
    *to++ = '-';
    to = two(to, m);
    *to++ = '-';
    return two(to, d);
}

char *when_print(char *to, int64_t micros, bool zone)
{
    int64_t days = micros / DAY, rest = micros % DAY;
    if (rest < 0) {
        rest += DAY;
        days--;
    }
    to = when_print_date(to, days);
    int second = (int)(rest / SECOND), part = (int)(rest % SECOND);
    *to++ = ' ';
    to = two(to, second / 3600);
    *to++ = ':';
    to = two(to, second / 60 % 60);
    *to++ = ':';
    to = two(to, second % 60);
    if (part) {
        *to++ = '.';
        to = two(two(two(to, part / 10000), part / 100 % 100), part % 100);
    }
    if (zone) {
        memcpy(to, "+00", 3);
        to += 3;
    }
    return to;
}
