/* order.c - see order.h. */
#include "encode/order.h"

#include <stdlib.h>
#include <string.h>

#define FEW 32u      /* members up to which they are sorted by insertion */

void order_free(struct order *o)
{
    free(o->members);
    buf_free(&o->scratch);
    *o = (struct order){ 0 };
}

static bool push(struct order *o, struct order_member m)
{
    if (o->count == o->cap) {
        uint32_t cap = o->cap ? o->cap * 2 : 128;
        struct order_member *p = realloc(o->members, cap * sizeof *p);
        if (!p)
            return false;
        o->members = p;
        o->cap = cap;
    }
    o->members[o->count++] = m;
    return true;
}

/* p is behind an opening quote; returns the closing one. */
static inline const char *string_end(const char *p, const char *end)
{
    for (;; p++) {
        p = memchr(p, '"', (size_t)(end - p));
        const char *back = p;
        while (back[-1] == '\\')
            back--;
        if (((p - back) & 1) == 0)
            return p;
    }
}

static inline const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

static inline bool in_order(const char *text, const struct order_member *a, const struct order_member *b)
{
    return a->len != b->len ? a->len < b->len : memcmp(text + a->name, text + b->name, a->len) <= 0;
}

/* Stable: merges halves into o's own list behind count, where there is room for n. */
static void merge_sort(const char *text, struct order_member *m, struct order_member *spare, uint32_t n)
{
    if (n <= FEW) {
        for (uint32_t i = 1; i < n; i++) {
            struct order_member moved = m[i];
            uint32_t j = i;
            for (; j > 0 && !in_order(text, &m[j - 1], &moved); j--)
                m[j] = m[j - 1];
            m[j] = moved;
        }
        return;
    }
    uint32_t half = n / 2, left = 0, right = half, to = 0;
    merge_sort(text, m, spare, half);
    merge_sort(text, m + half, spare + half, n - half);
    memcpy(spare, m, n * sizeof *m);
    while (left < half && right < n)
        m[to++] = in_order(text, &spare[left], &spare[right]) ? spare[left++] : spare[right++];
    memcpy(m + to, left < half ? spare + left : spare + right, ((left < half ? half - left : n - right)) * sizeof *m);
}

/* The object's members from `first` on, which are not in order: text[from .. to) is its inside. */
static bool rearrange(struct order *o, uint32_t first, char *text, uint32_t from, uint32_t to)
{
    uint32_t n = o->count - first;
    if (n > FEW) {
        if (o->cap - o->count < n) {
            struct order_member *p = realloc(o->members, (o->count + (size_t)n) * sizeof *p);
            if (!p)
                return false;
            o->members = p;
            o->cap = o->count + n;
        }
    }
    o->scratch.len = 0;
    if (!buf_reserve(&o->scratch, to - from))
        return false;
    merge_sort(text, o->members + first, o->members + o->count, n);
    char *out = o->scratch.data;
    for (uint32_t i = first; i < o->count; i++) {
        const struct order_member *m = &o->members[i];
        memcpy(out, text + m->at, m->end - m->at);
        out += m->end - m->at;
        *out++ = ',';
    }
    memcpy(text + from, o->scratch.data, to - from);
    return true;
}

/* One value at p, whose text ends at end; returns what is behind it, NULL when memory is short. */
static const char *value(struct order *o, char *text, const char *p, const char *end)
{
    if (*p == '"')
        return string_end(p + 1, end) + 1;
    if (*p == '[') {
        p = skip_space(p + 1);
        if (*p == ']')
            return p + 1;
        for (;; p = skip_space(p + 1)) {
            p = value(o, text, p, end);
            if (!p)
                return NULL;
            p = skip_space(p);
            if (*p == ']')
                return p + 1;
        }
    }
    if (*p != '{') {
        while (p < end && *p != ',' && *p != '}' && *p != ']' && *p > ' ')
            p++;
        return p;
    }
    const char *inside = ++p;
    if (*skip_space(p) == '}')
        return skip_space(p) + 1;
    uint32_t first = o->count;
    bool sorted = true, odd = false;
    for (;; p++) {
        struct order_member m = { .at = (uint32_t)(p - text) };
        p = skip_space(p) + 1;
        const char *name = p;
        p = string_end(p, end);
        m.name = (uint32_t)(name - text);
        m.len = (uint32_t)(p - name);
        odd |= memchr(name, '\\', m.len) != NULL;
        p = skip_space(skip_space(p + 1) + 1);
        p = value(o, text, p, end);
        if (!p)
            return NULL;
        p = skip_space(p);
        m.end = (uint32_t)(p - text);
        sorted &= o->count == first || in_order(text, &o->members[o->count - 1], &m);
        if (!push(o, m))
            return NULL;
        if (*p == '}')
            break;
    }
    /* The last member's comma goes where the brace stands: it is put back. */
    if (!sorted && !odd) {
        uint32_t from = (uint32_t)(inside - text), to = (uint32_t)(p - text) + 1;
        if (!rearrange(o, first, text, from, to))
            return NULL;
        text[to - 1] = '}';
    }
    o->count = first;
    return p + 1;
}

bool order_members(struct order *o, char *text, size_t len)
{
    o->count = 0;
    return len == 0 || value(o, text, skip_space(text), text + len) != NULL;
}
