/* civil.h - the proleptic Gregorian calendar as day numbers; day 0 is 1970-01-01. Pure arithmetic, years
 * -9999 to 9999. */
#ifndef GARUN_CIVIL_H
#define GARUN_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

struct civil {
    int year, month, day;     /* month 1..12, day 1..31 */
};

bool civil_is_leap(int year);
int  civil_month_days(int year, int month);

/* True when such a day exists. */
bool civil_valid(int year, int month, int day);

int64_t      civil_days(int year, int month, int day);
struct civil civil_date(int64_t days);

/* 1 = Monday .. 7 = Sunday (ISO 8601) */
int civil_weekday(int64_t days);

/* The day number and the second of the day of a count of seconds, rounding down for negative ones too. */
static inline int64_t civil_floor_day(int64_t seconds)
{
    return seconds / 86400 - (seconds % 86400 < 0);
}

#endif
