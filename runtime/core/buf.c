/* buf.c - the growable byte buffer of buf.h. It grows by doubling and never shrinks by itself; the bound of what may go
 * into it is its owner's business. */
#include <stdint.h>
#include <stdlib.h>
#include "core/buf.h"

enum { BUF_FIRST = 256 };

bool buf_reserve(struct buf *b, size_t n)
{
    if (n <= b->cap - b->len)
        return true;
    /* PTRDIFF_MAX is malloc's own limit; staying below it keeps the doubling from wrapping. */
    if (n > (size_t)PTRDIFF_MAX - b->len)
        return false;
    size_t need = b->len + n;
    size_t cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;
    while (cap < need)
        cap = cap > (size_t)PTRDIFF_MAX / 2 ? need : cap * 2;
    char *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0)     /* memcpy from or to NULL is undefined even for no bytes */
        return true;
    if (!buf_reserve(b, n))
        return false;
    memcpy(b->data + b->len, p, n);
    b->len += n;
    return true;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n < b->len)
        memmove(b->data, b->data + n, b->len - n);
    b->len = n < b->len ? b->len - n : 0;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
