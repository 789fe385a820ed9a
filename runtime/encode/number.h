/* number.h - decimal numbers: read exactly from text, written exactly as text and as PostgreSQL's numeric. Owns
 * nothing. */
#ifndef GARUN_NUMBER_H
#define GARUN_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_DIGITS 1002u                  /* room for the digits of number_round */
#define NUMBER_NUMERIC(n) (8u + 2u * ((n) / 4u + 2u))  /* room for number_numeric of n digits */

/* A number as it stands in its text: [sign] whole [. part] [e exponent]. Its value is 0.d1 d2 .. dn x 10^point, where
 * d1 and dn are not zero; n = 0 is zero. */
struct number {
    const uint8_t *whole, *part;
    uint32_t       nwhole, npart;
    uint32_t       lead;            /* zeros before d1 */
    uint32_t       n;
    int64_t        point;
    bool           minus;
    bool           simple;          /* neither exponent nor superfluous '+': the text is a plain decimal */
};

/* Reads all of text[0 .. len): an optional sign, digits with or without a point (".5" and "5." too), an optional
 * exponent. False when it is no number. The text must outlive *out. */
bool number_read(const uint8_t *text, size_t len, struct number *out);

/* Writes the shortest plain decimal form: "16" for 16.0, "12.5" for 12.50, "15000000" for 1.5E7, "0" for -0.
 * Returns the end, NULL when that form has more than 40 zeros that the text did not have. At most n + 44 bytes. */
char *number_plain(const struct number *v, char *to);

/* The value as an integer within [min, max]; false when it is not whole or outside. */
bool number_whole(const struct number *v, int64_t min, int64_t max, int64_t *out);

/* *out is the value rounded to scale places, half away from zero, as PostgreSQL rounds numeric(precision, scale); its
 * digits are in digits[NUMBER_DIGITS]. False when more than precision - scale digits stand before the point then.
 * precision 1 .. 1000, scale -1000 .. 1000. */
bool number_round(const struct number *v, int precision, int scale, uint8_t *digits, struct number *out);

/* The value as a double when that is exact to the last bit by one operation; false when it takes strtod. */
bool number_double(const struct number *v, double *out);

/* True when numeric without a precision takes the text as it is: 131072 digits before the point, 16383 behind it. It
 * refuses a zero with a great exponent, too; the caller stores 0 for those. */
bool number_unbounded(const struct number *v);

/* Digits behind the point that numeric keeps of the text ("2.50": 2, "1.5e3": 0); of a zero, those written. */
uint32_t number_scale(const struct number *v);

/* Writes what numeric_recv reads: number of digits, weight, sign, scale, digits to base 10000. The value must be one
 * that number_unbounded takes, scale at most 16383. Returns the end. */
char *number_numeric(const struct number *v, uint32_t scale, char *to);

/* Writes an integer; at most 20 bytes. */
char *number_print(char *to, int64_t value);

#endif
