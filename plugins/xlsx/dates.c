/* dates.c - serial numbers and ISO text.
 *
 * Day 1 is 1900-01-01, and 1900 is a leap year there, for Lotus 1-2-3 thought so: day 60 is the 29 February 1900 that never
 * was, and from day 61 on the count is one ahead. In the other system day 0 is 1904-01-01. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "xlsx.h"

enum { DAY_MS = 86400000, LAST_DAY_1900 = 2958465, EPOCH_1900 = -25569, EPOCH_1904 = -24107 };

/* Howard Hinnant, chrono-Compatible Low-Level Date Algorithms: days since 1970-01-01 and back, proleptic Gregorian. */
static long days_from_civil(long y, unsigned m, unsigned d)
{
    y -= m <= 2;
    long era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400), doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (long)doe - 719468;
}

static void civil_from_days(long z, long *y, unsigned *m, unsigned *d)
{
    z += 719468;
    long era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097), yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (long)yoe + era * 400 + (*m <= 2);
}

static int print_time(char *out, size_t size, long hours, long ms)
{
    long s = ms / 1000, f = ms % 1000;
    return f ? snprintf(out, size, "%02ld:%02ld:%02ld.%03ld", hours, s / 60 % 60, s % 60, f)
             : snprintf(out, size, "%02ld:%02ld:%02ld", hours, s / 60 % 60, s % 60);
}

size_t dates_print(double serial, uint8_t kind, bool base_1904, char *out)
{
    double last = base_1904 ? LAST_DAY_1900 - 1462 : LAST_DAY_1900;
    if (!(serial >= 0) || serial >= last + 1)
        return 0;
    long day = (long)floor(serial);
    long ms = lround((serial - (double)day) * DAY_MS);
    if (ms >= DAY_MS) {
        day++;
        ms = 0;
    }
    if (kind & STYLE_ELAPSED)
        return (size_t)print_time(out, 40, day * 24 + ms / 3600000, ms);
    if (day == 0 && (!base_1904 || !(kind & STYLE_DATE)))
        return kind & STYLE_TIME || ms ? (size_t)print_time(out, 40, ms / 3600000, ms) : 0;
    long y, unix_day = day + (base_1904 ? EPOCH_1904 : EPOCH_1900);
    unsigned m, d;
    if (!base_1904 && day == 60)
        return 0;
    if (!base_1904 && day < 60)
        unix_day++;
    civil_from_days(unix_day, &y, &m, &d);
    if (y > 9999)
        return 0;
    int n = snprintf(out, 40, "%04ld-%02u-%02u", y, m, d);
    if (ms || kind & STYLE_TIME) {
        out[n++] = 'T';
        n += print_time(out + n, (size_t)(40 - n), ms / 3600000, ms);
    }
    return (size_t)n;
}

static bool number(const char **p, const char *end, int digits, unsigned *v)
{
    *v = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (*p >= end || **p < '0' || **p > '9')
            return false;
        *v = *v * 10 + (unsigned)(**p - '0');
    }
    return true;
}

static bool literal(const char **p, const char *end, char c)
{
    if (*p >= end || **p != c)
        return false;
    (*p)++;
    return true;
}

/* "Z", "+01", "+0100", "+01:00" or nothing. */
static bool zone(const char *p, const char *end)
{
    unsigned v;
    if (p == end || (*p == 'Z' && p + 1 == end))
        return true;
    if (*p != '+' && *p != '-')
        return false;
    p++;
    if (!number(&p, end, 2, &v))
        return false;
    if (p == end)
        return true;
    literal(&p, end, ':');
    return number(&p, end, 2, &v) && p == end;
}

bool dates_parse(const char *s, size_t n, double *serial, bool *has_time)
{
    static const uint8_t lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const char *p = s, *end = s + n;
    unsigned y, m, d, hour = 0, minute = 0, second = 0;
    double fraction = 0, unit = 0.1;

    *has_time = false;
    if (!number(&p, end, 4, &y) || !literal(&p, end, '-') || !number(&p, end, 2, &m) || !literal(&p, end, '-') ||
        !number(&p, end, 2, &d) || y < 1900 || m < 1 || m > 12 || d < 1 || d > lengths[m - 1])
        return false;
    if (m == 2 && d == 29 && (y % 4 != 0 || (y % 100 == 0 && y % 400 != 0)))
        return false;
    if (p < end) {
        *has_time = true;
        if ((!literal(&p, end, 'T') && !literal(&p, end, ' ')) || !number(&p, end, 2, &hour) || !literal(&p, end, ':') ||
            !number(&p, end, 2, &minute))
            return false;
        if (literal(&p, end, ':')) {
            if (!number(&p, end, 2, &second))
                return false;
            if (literal(&p, end, '.')) {
                while (p < end && *p >= '0' && *p <= '9') {
                    fraction += unit * (*p++ - '0');
                    unit /= 10;
                }
            }
        }
        if (hour > 23 || minute > 59 || second > 59 || !zone(p, end))
            return false;
    }
    long day = days_from_civil((long)y, m, d) - EPOCH_1900;
    if (day <= 60)
        day--;
    *serial = (double)day + (hour * 3600.0 + minute * 60.0 + second + fraction) / 86400.0;
    return true;
}
