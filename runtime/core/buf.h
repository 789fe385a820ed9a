/* buf.h - a growable byte buffer with a bound.
 *
 * Owns its bytes. Zero-initialise to use ({0} is empty). A failed growth leaves the content as it was. */
#ifndef GARUN_BUF_H
#define GARUN_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buf {
    char  *data;
    size_t len, cap;
};

/* Makes room for n more bytes; false when memory is short. */
bool buf_reserve(struct buf *b, size_t n);

/* Appends; false when memory is short. */
bool buf_put(struct buf *b, const void *p, size_t n);

/* Drops the first n bytes (n <= len); what follows moves to the front. */
void buf_drop(struct buf *b, size_t n);

/* Frees the bytes and empties the buffer. */
void buf_free(struct buf *b);

static inline void buf_putc_unchecked(struct buf *b, char c) { b->data[b->len++] = c; }

#endif
