/* uuid7.h - time-ordered UUIDs, version 7 of RFC 9562.
 *
 * Each is greater than the one before it from the same state. They are unique, not secret: the random part comes from a
 * generator that getrandom() seeds once. A state must not be carried across fork(). */
#ifndef GARUN_UUID7_H
#define GARUN_UUID7_H

#include <stdint.h>

#define UUID7_TEXT 36u    /* characters of the text form, without a NUL */

struct uuid7 {            /* zero-initialise; it seeds itself */
    uint64_t last;        /* time of the last one: milliseconds << 12 | fraction */
    uint64_t random[4];
};

/* The next UUID, 16 bytes in network order. */
void uuid7_make(struct uuid7 *state, uint8_t out[16]);

/* Writes the 36 characters of the text form, lower case, no NUL. */
void uuid7_print(const uint8_t id[16], char out[UUID7_TEXT]);

#endif
