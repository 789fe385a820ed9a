/* civil.c - see civil.h. The two conversions are Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms"):
 * years begin in March, so that the leap day is the last one, in eras of 400 years = 146097 days. */
#include "clock/civil.h"

bool civil_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int civil_month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return month == 2 && civil_is_leap(year) ? 29 : days[month - 1];
}

bool civil_valid(int year, int month, int day)
{
    return year >= -9999 && year <= 9999 && month >= 1 && month <= 12 && day >= 1 &&
           day <= civil_month_days(year, month);
}

int64_t civil_days(int year, int month, int day)
{
    int64_t y = month <= 2 ? (int64_t)year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct civil civil_date(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    struct civil c = { .month = (int)(m < 10 ? m + 3 : m - 9), .day = (int)(day_of_year - (153 * m + 2) / 5 + 1) };
    c.year = (int)(year_of_era + era * 400 + (c.month <= 2));
    return c;
}

int civil_weekday(int64_t days)
{
    int64_t w = (days + 3) % 7;       /* 1970-01-01 was a Thursday */
    return (int)(w < 0 ? w + 7 : w) + 1;
}
