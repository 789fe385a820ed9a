/* seen.c - open addressing with linear probing. The keys are hashes already (encode/key.c), so their low bits are the
 * place. Refuses to delete: a load only adds. */
#include "load/seen.h"

#include <stdlib.h>

enum { FIRST_SIZE = 1 << 12 };

static bool grow(struct seen *s)
{
    size_t size = s->size ? s->size * 2 : FIRST_SIZE;
    uint64_t (*slots)[2] = calloc(size, sizeof *slots);

    if (!slots)
        return false;
    for (size_t i = 0; i < s->size; i++) {
        size_t at;
        if (!(s->slots[i][0] | s->slots[i][1]))
            continue;
        for (at = s->slots[i][0] & (size - 1); slots[at][0] | slots[at][1]; at = (at + 1) & (size - 1))
            ;
        slots[at][0] = s->slots[i][0];
        slots[at][1] = s->slots[i][1];
    }
    free(s->slots);
    s->slots = slots;
    s->size = size;
    return true;
}

enum seen_answer seen_add(struct seen *s, const uint64_t key[2])
{
    uint64_t lo = key[0], hi = key[1];
    size_t at;

    if (!(lo | hi))
        hi = 1;                     /* {0,0} marks an empty slot */
    if (s->used >= s->size / 4 * 3 && !grow(s))
        return SEEN_NO_MEMORY;
    for (at = lo & (s->size - 1); s->slots[at][0] | s->slots[at][1]; at = (at + 1) & (s->size - 1))
        if (s->slots[at][0] == lo && s->slots[at][1] == hi)
            return SEEN_BEFORE;
    s->slots[at][0] = lo;
    s->slots[at][1] = hi;
    s->used++;
    return SEEN_NEW;
}

void seen_free(struct seen *s)
{
    free(s->slots);
    *s = (struct seen){ 0 };
}
