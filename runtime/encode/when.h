/* when.h - dates and times in the forms that exports use, checked against the calendar. Owns nothing.
 *
 * Years 0001 to 9999, the proleptic Gregorian calendar that PostgreSQL uses. */
#ifndef GARUN_WHEN_H
#define GARUN_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/number.h"

#define WHEN_TEXT 40u                                  /* room for what is printed below */
#define WHEN_2000 10957                                /* days from 1970 to PostgreSQL's epoch */

/* YYYY-MM-DD or YYYYMMDD, in days since 1970. False when it is no date. */
bool when_date(const uint8_t *text, size_t len, int32_t *days);

/* An ISO 8601 date, or date and time: 'T' or a space between, seconds and a fraction optional, then nothing, Z, UTC
 * or an offset +HH[[:]MM]. Microseconds since 1970 UTC; without an offset the time is taken for UTC. */
bool when_instant(const uint8_t *text, size_t len, int64_t *micros);

/* A count of units (1, 1000 or 1000000 a second) since 1970, fractions allowed. False when it is out of range. */
bool when_epoch(const struct number *v, int64_t units, int64_t *micros);

/* YYYY-MM-DD of days since 1970. */
char *when_print_date(char *to, int64_t days);

/* YYYY-MM-DD HH:MM:SS[.ffffff], in UTC, with "+00" when zone is set. */
char *when_print(char *to, int64_t micros, bool zone);

#endif
