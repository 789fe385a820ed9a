/* trie.h - the paths of a plan as one tree, which doc.c follows while it walks a record.
 *
 * Owns its nodes and look-up tables; the names stay in the packed plan, which must live as long. Nodes are numbered in
 * depth-first order, so a sub-tree is the range [node, end) and node 0 is the whole record. */
#ifndef GARUN_TRIE_H
#define GARUN_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/err.h"

#define TRIE_NONE     UINT32_MAX
#define TRIE_NODES    4096u      /* most nodes of a plan */
#define TRIE_SELECTS  8u         /* most different member names that one array is looked up by */

enum trie_kind { TRIE_MEMBER, TRIE_INDEX, TRIE_SELECT, TRIE_SELECT_FOLD };

/* One step of a path: a member's name, an array index, or the first element whose member `name` equals `value`. */
struct trie_step {
    enum trie_kind kind;
    uint32_t       index;
    uint32_t       name_len, value_len;
    const char    *name, *value;
};

struct trie_slot {
    uint64_t    head;      /* trie_head() of the name */
    const char *name;
    uint32_t    len, node; /* node TRIE_NONE: an empty place */
};

struct trie_table {        /* open addressing, at most half full; slots NULL: no names */
    struct trie_slot *slots;
    uint32_t          mask, count;
};

struct trie_select {
    uint64_t          head;
    const char       *name;
    uint32_t          len;
    uint32_t          nfold;
    struct trie_table exact;
    struct trie_slot *fold;   /* compared without case, one after the other; no two are the same without case */
};

struct trie_index { uint32_t index, node; };

struct trie_node {
    uint32_t            end;       /* the sub-tree is [this node, end) */
    uint32_t            nindex, nselect;
    struct trie_table   members;
    struct trie_index  *index;     /* ascending */
    struct trie_select *select;
};

struct trie {
    struct trie_node *nodes;
    uint32_t          count;
};

struct trie_build;

/* A tree under construction; NULL when memory is short. */
struct trie_build *trie_start(void);

/* Adds one path; *id is its number until trie_finish. */
bool trie_add(struct trie_build *b, const struct trie_step *steps, size_t count, uint32_t *id, struct err *e);

/* Ends the construction and frees b, whatever the result; node[id] is the node of each trie_add's id (nids of them).
 * b may be NULL to give a construction up. */
bool trie_finish(struct trie_build *b, struct trie *out, uint32_t *node, size_t nids, struct err *e);
void trie_abandon(struct trie_build *b);
void trie_free(struct trie *t);

/* The first eight bytes of a name, shorter names padded with zeros. Eight bytes are read. */
static inline uint64_t trie_head(const void *name, uint32_t len)
{
    uint64_t head;
    memcpy(&head, name, sizeof head);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    head = __builtin_bswap64(head);
#endif
    return len >= 8 ? head : head & ((UINT64_C(1) << (8 * len)) - 1);
}

static inline uint32_t trie_hash(uint64_t head, uint32_t len)
{
    uint64_t h = (head ^ len) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(h >> 40);
}

/* True when two names with the same first eight bytes and length are the same. Up to 16 bytes there are most names. */
static inline bool trie_same(const void *a, const void *b, uint32_t len)
{
    uint64_t x, y;
    if (len <= 8)
        return true;
    if (len > 16)
        return memcmp((const char *)a + 8, (const char *)b + 8, len - 8) == 0;
    memcpy(&x, (const char *)a + len - 8, sizeof x);
    memcpy(&y, (const char *)b + len - 8, sizeof y);
    return x == y;
}

/* The node of a name, TRIE_NONE without. Eight bytes at name must be readable. */
static inline uint32_t trie_find(const struct trie_table *t, const void *name, uint32_t len)
{
    if (!t->slots)
        return TRIE_NONE;
    uint64_t head = trie_head(name, len);
    for (uint32_t i = trie_hash(head, len);; i++) {
        const struct trie_slot *s = &t->slots[i & t->mask];
        if (s->node == TRIE_NONE)
            return TRIE_NONE;
        if (s->head == head && s->len == len && trie_same(s->name, name, len))
            return s->node;
    }
}

#endif
