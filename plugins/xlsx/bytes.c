/* bytes.c - growable bytes and lists; a failed growth leaves the content as it was. */
#include <stdlib.h>
#include <string.h>
#include "xlsx.h"

bool bytes_reserve(struct bytes *b, size_t n)
{
    if (n <= b->cap - b->len)
        return true;
    if (n > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
        return false;
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < n)
        cap += cap / 2 + 64;
    char *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

bool bytes_put(struct bytes *b, const void *p, size_t n)
{
    if (!bytes_reserve(b, n))
        return false;
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    return true;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

bool list_reserve(void **list, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return true;
    size_t wanted = *cap ? *cap : 16;
    while (wanted <= n)
        wanted += wanted / 2;
    void *grown = reallocarray(*list, wanted, size);
    if (!grown)
        return false;
    *list = grown;
    *cap = wanted;
    return true;
}
