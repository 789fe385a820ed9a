/* scan.h - simdjson's first stage behind a C face: where the tokens of a stretch of JSON begin.
 *
 * Owns the index of the last run. It finds tokens and nothing else: escapes, numbers, literals and the grammar are
 * doc.c's work. A stretch may hold any number of lines; a line break inside a string is an error of the whole
 * stretch. */
#ifndef GARUN_SCAN_H
#define GARUN_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum scan_status {
    SCAN_OK,
    SCAN_UTF8,      /* a byte sequence that is not UTF-8 */
    SCAN_CONTROL,   /* a raw control character in a string; an unclosed string looks the same: the line end is one */
    SCAN_MEMORY,
};

struct scan;

struct scan *scan_open(void);              /* NULL when memory is short; the caller owns it */
void         scan_close(struct scan *s);   /* NULL is allowed */

/* Indexes buf[0 .. len). len is at least 1 and buf[len - 1] is '\n'. On SCAN_OK *index points to *count ascending
 * positions of tokens (brackets, colons, commas, opening quotes, first bytes of other scalars), followed by four
 * positions of that last line end, which is no token: who walks the index needs no count. The index belongs to s and
 * lives until the next run. Bytes behind len are not read. */
enum scan_status scan_run(struct scan *s, const uint8_t *buf, size_t len, const uint32_t **index, uint32_t *count);

/* Gives back what a giant stretch needed. */
void scan_trim(struct scan *s);

/* True when buf[0 .. len) is UTF-8. */
bool scan_utf8(const uint8_t *buf, size_t len);

#ifdef __cplusplus
}
#endif

#endif
