/* number.h - decimal numbers as text: read exactly, written exactly, never by way of a double. Owns nothing. */
#ifndef GARUN_NUMBER_H
#define GARUN_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_TEXT 2200u    /* room for what number_fit writes: 1000 digits and a scale of up to 1000 */

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

/* Writes the value rounded to scale places, half away from zero, as PostgreSQL rounds numeric(precision, scale).
 * Returns the end, NULL when more than precision - scale digits stand before the point then. precision 1 .. 1000,
 * scale -1000 .. 1000; at most NUMBER_TEXT bytes. */
char *number_fit(const struct number *v, int precision, int scale, char *to);

/* True when numeric without a precision takes the text as it is: 131072 digits before the point, 16383 behind it. It
 * refuses a zero with a great exponent, too; the caller writes "0" for those. */
bool number_unbounded(const struct number *v);

/* Writes an integer; at most 20 bytes. */
char *number_print(char *to, int64_t value);

#endif
