/* sftp_alloc.c - the memory of one libssh2 session.
 *
 * libssh2 1.10 forgets pieces of memory on many of its ways (a few bytes at each login by key, more when something is cut
 * off), and believes lengths that a peer sends. So each session allocates here: what is left at its end is freed with it,
 * all together is bounded, and small pieces, which may hold a password or a key, are wiped when they are freed.
 *
 * Used by one thread at a time, as the session is. Owns the pieces. */
#include "bind/sftp.h"

#include <stdlib.h>
#include <string.h>

#define SESSION_MAX ((size_t)64 << 20)       /* a window of 16 MiB and what is in the making */
#define WIPE_MAX    16384u                   /* larger ones hold a file's bytes */

struct piece {
    struct piece *next, *prev;
    size_t        size;
    size_t        pad;                       /* keeps the bytes behind aligned for everything */
};

LIBSSH2_ALLOC_FUNC(sftp_alloc)
{
    struct sftp *s = *abstract;

    if (count > SESSION_MAX - s->memory)
        return NULL;
    struct piece *p = malloc(sizeof *p + count);
    if (!p)
        return NULL;
    p->size = count;
    p->prev = NULL;
    p->next = s->pieces;
    if (p->next)
        p->next->prev = p;
    s->pieces = p;
    s->memory += count;
    return p + 1;
}

LIBSSH2_FREE_FUNC(sftp_free)
{
    struct sftp *s = *abstract;

    if (!ptr)
        return;
    struct piece *p = (struct piece *)ptr - 1;
    if (p->prev)
        p->prev->next = p->next;
    else
        s->pieces = p->next;
    if (p->next)
        p->next->prev = p->prev;
    s->memory -= p->size;
    if (p->size <= WIPE_MAX)
        explicit_bzero(ptr, p->size);
    free(p);
}

LIBSSH2_REALLOC_FUNC(sftp_realloc)
{
    void *to = sftp_alloc(count, abstract);

    if (to && ptr) {
        size_t size = ((struct piece *)ptr - 1)->size;
        memcpy(to, ptr, size < count ? size : count);
        sftp_free(ptr, abstract);
    }
    return to;
}

void sftp_free_all(struct sftp *s)
{
    struct piece *p = s->pieces;

    s->pieces = NULL;
    s->memory = 0;
    while (p) {
        struct piece *next = p->next;
        if (p->size <= WIPE_MAX)
            explicit_bzero(p + 1, p->size);
        free(p);
        p = next;
    }
}
