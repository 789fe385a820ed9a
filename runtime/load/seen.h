/* seen.h - a set of 128-bit row identities, for finding duplicates of one load.
 *
 * Costs 16 bytes a slot and is at most three quarters full, so 21 to 43 bytes a distinct row (a growing step needs the
 * old table beside the new one for a moment). Owns its memory; zero-initialise to use. */
#ifndef GARUN_SEEN_H
#define GARUN_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen {
    uint64_t (*slots)[2];   /* {0,0} is an empty slot */
    size_t size, used;      /* size is a power of two */
};

enum seen_answer { SEEN_NEW, SEEN_BEFORE, SEEN_NO_MEMORY };

/* Adds the key and says whether it was there. */
enum seen_answer seen_add(struct seen *s, const uint64_t key[2]);

void seen_free(struct seen *s);

#endif
