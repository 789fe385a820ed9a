/* trie.c - see trie.h. Paths come in one by one into a plain first-child tree; trie_finish numbers it depth-first and
 * builds the look-up tables. */
#include "encode/trie.h"

#include <stdlib.h>
#include <strings.h>

struct draft {
    struct trie_step step;
    uint32_t         first, next;    /* child, sibling; TRIE_NONE at the end */
    uint32_t         number;         /* in depth-first order */
};

struct trie_build {
    struct draft *draft;
    uint32_t      count, cap;
};

static bool draft_new(struct trie_build *b, const struct trie_step *step, uint32_t *id)
{
    if (b->count == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : 32;
        struct draft *p = realloc(b->draft, cap * sizeof *p);
        if (!p)
            return false;
        b->draft = p;
        b->cap = cap;
    }
    b->draft[b->count] = (struct draft){ .first = TRIE_NONE, .next = TRIE_NONE };
    if (step)
        b->draft[b->count].step = *step;
    *id = b->count++;
    return true;
}

struct trie_build *trie_start(void)
{
    struct trie_build *b = calloc(1, sizeof *b);
    uint32_t root;
    if (b && !draft_new(b, NULL, &root)) {
        free(b);
        return NULL;
    }
    return b;
}

void trie_abandon(struct trie_build *b)
{
    if (b) {
        free(b->draft);
        free(b);
    }
}

static bool same_text(const char *a, uint32_t alen, const char *b, uint32_t blen)
{
    return alen == blen && (alen == 0 || memcmp(a, b, alen) == 0);
}

static bool same_step(const struct trie_step *a, const struct trie_step *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == TRIE_INDEX)
        return a->index == b->index;
    if (!same_text(a->name, a->name_len, b->name, b->name_len))
        return false;
    if (a->kind == TRIE_SELECT_FOLD)
        return a->value_len == b->value_len && strncasecmp(a->value, b->value, a->value_len) == 0;
    return a->kind == TRIE_MEMBER || same_text(a->value, a->value_len, b->value, b->value_len);
}

bool trie_add(struct trie_build *b, const struct trie_step *steps, size_t count, uint32_t *id, struct err *e)
{
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t child = b->draft[at].first;
        while (child != TRIE_NONE && !same_step(&b->draft[child].step, &steps[i]))
            child = b->draft[child].next;
        if (child == TRIE_NONE) {
            if (b->count >= TRIE_NODES)
                return err_set(e, "plan", "paths", "the paths of the plan have more than %u steps in all", TRIE_NODES);
            if (!draft_new(b, &steps[i], &child))
                return err_set(e, "plan", "ENOMEM", "out of memory while building the plan's paths");
            b->draft[child].next = b->draft[at].first;
            b->draft[at].first = child;
        }
        at = child;
    }
    *id = at;
    return true;
}

/* ---- tables ---- */

/* A name may end right at the packed plan's end, so its head is read from a copy. */
static uint64_t safe_head(const char *name, uint32_t len)
{
    char eight[8] = { 0 };
    if (len)
        memcpy(eight, name, len < 8 ? len : 8);
    return trie_head(eight, len);
}

static bool table_room(struct trie_table *t, uint32_t names)
{
    uint32_t size = 2;
    while (size < names * 2)
        size *= 2;
    t->slots = malloc(size * sizeof *t->slots);
    if (!t->slots)
        return false;
    for (uint32_t i = 0; i < size; i++)
        t->slots[i] = (struct trie_slot){ .node = TRIE_NONE };
    t->mask = size - 1;
    return true;
}

static void table_put(struct trie_table *t, const char *name, uint32_t len, uint32_t node)
{
    uint64_t head = safe_head(name, len);
    uint32_t i = trie_hash(head, len) & t->mask;
    while (t->slots[i].node != TRIE_NONE)
        i = (i + 1) & t->mask;
    t->slots[i] = (struct trie_slot){ .head = head, .name = name, .len = len, .node = node };
    t->count++;
}

static int by_index(const void *a, const void *b)
{
    const struct trie_index *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

static struct trie_select *select_of(struct trie_node *n, const struct trie_step *step)
{
    for (uint32_t i = 0; i < n->nselect; i++) {
        if (same_text(n->select[i].name, n->select[i].len, step->name, step->name_len))
            return &n->select[i];
    }
    n->select[n->nselect] = (struct trie_select){
        .name = step->name, .len = step->name_len, .head = safe_head(step->name, step->name_len) };
    return &n->select[n->nselect++];
}

/* Depth-first numbers without recursion: paths may be long. */
static bool number_nodes(struct trie_build *b, struct trie *out)
{
    uint32_t *stack = malloc(b->count * sizeof *stack);
    if (!stack)
        return false;
    uint32_t depth = 0, number = 0;
    uint32_t *parent = malloc(b->count * sizeof *parent);
    if (!parent) {
        free(stack);
        return false;
    }
    stack[depth++] = 0;
    parent[0] = TRIE_NONE;
    while (depth) {
        uint32_t at = stack[--depth];
        b->draft[at].number = number;
        out->nodes[number++].end = 1;
        for (uint32_t c = b->draft[at].first; c != TRIE_NONE; c = b->draft[c].next) {
            parent[c] = at;
            stack[depth++] = c;
        }
    }
    /* a draft is younger than its parent, so sizes add up from the youngest */
    for (uint32_t i = b->count; i-- > 1;)
        out->nodes[b->draft[parent[i]].number].end += out->nodes[b->draft[i].number].end;
    for (uint32_t i = 0; i < out->count; i++)
        out->nodes[i].end += i;
    free(parent);
    free(stack);
    return true;
}

static bool fill_node(const struct trie_build *b, const struct draft *d, struct trie_node *n, struct err *e)
{
    uint32_t members = 0, indices = 0, selects = 0;
    for (uint32_t c = d->first; c != TRIE_NONE; c = b->draft[c].next) {
        members += b->draft[c].step.kind == TRIE_MEMBER;
        indices += b->draft[c].step.kind == TRIE_INDEX;
        selects += b->draft[c].step.kind >= TRIE_SELECT;
    }
    if (members && !table_room(&n->members, members))
        goto memory;
    if (indices && !(n->index = calloc(indices, sizeof *n->index)))
        goto memory;
    if (selects && !(n->select = calloc(selects, sizeof *n->select)))
        goto memory;
    for (uint32_t c = d->first; c != TRIE_NONE; c = b->draft[c].next) {
        const struct draft *k = &b->draft[c];
        if (k->step.kind == TRIE_MEMBER) {
            table_put(&n->members, k->step.name, k->step.name_len, k->number);
        } else if (k->step.kind == TRIE_INDEX) {
            n->index[n->nindex++] = (struct trie_index){ .index = k->step.index, .node = k->number };
        } else {
            struct trie_select *s = select_of(n, &k->step);
            if (k->step.kind == TRIE_SELECT)
                s->exact.count++;
            else
                s->nfold++;
        }
    }
    if (n->nindex)
        qsort(n->index, n->nindex, sizeof *n->index, by_index);
    if (n->nselect > TRIE_SELECTS)
        return err_set(e, "plan", "paths", "an array is looked up by more than %u different members", TRIE_SELECTS);
    for (uint32_t i = 0; i < n->nselect; i++) {
        struct trie_select *s = &n->select[i];
        uint32_t exact = s->exact.count, fold = s->nfold;
        s->exact.count = s->nfold = 0;
        if ((exact && !table_room(&s->exact, exact)) || (fold && !(s->fold = calloc(fold, sizeof *s->fold))))
            goto memory;
    }
    for (uint32_t c = d->first; c != TRIE_NONE; c = b->draft[c].next) {
        const struct draft *k = &b->draft[c];
        if (k->step.kind < TRIE_SELECT)
            continue;
        struct trie_select *s = select_of(n, &k->step);
        if (k->step.kind == TRIE_SELECT)
            table_put(&s->exact, k->step.value, k->step.value_len, k->number);
        else
            s->fold[s->nfold++] = (struct trie_slot){ .name = k->step.value, .len = k->step.value_len,
                                                      .node = k->number };
    }
    return true;
memory:
    return err_set(e, "plan", "ENOMEM", "out of memory while building the plan's paths");
}

bool trie_finish(struct trie_build *b, struct trie *out, uint32_t *node, size_t nids, struct err *e)
{
    bool ok = false;
    out->count = b->count;
    out->nodes = calloc(b->count, sizeof *out->nodes);
    if (!out->nodes || !number_nodes(b, out)) {
        err_set(e, "plan", "ENOMEM", "out of memory while building the plan's paths");
        goto out;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        if (!fill_node(b, &b->draft[i], &out->nodes[b->draft[i].number], e))
            goto out;
    }
    for (size_t i = 0; i < nids; i++)
        node[i] = b->draft[node[i]].number;
    ok = true;
out:
    if (!ok)
        trie_free(out);
    trie_abandon(b);
    return ok;
}

void trie_free(struct trie *t)
{
    for (uint32_t i = 0; t->nodes && i < t->count; i++) {
        struct trie_node *n = &t->nodes[i];
        for (uint32_t j = 0; n->select && j < n->nselect; j++) {
            free(n->select[j].exact.slots);
            free(n->select[j].fold);
        }
        free(n->select);
        free(n->index);
        free(n->members.slots);
    }
    free(t->nodes);
    *t = (struct trie){ 0 };
}
