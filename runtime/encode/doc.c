/* doc.c - see doc.h.
 *
 * The index of the whole window lies before us and nothing tells where a line's part of it ends; an unclosed record
 * would run on into the next line. Rather than compare at each token we compare where a container opens and at the
 * end of the record: a run-away stops at the next line's first bracket, and what it found is thrown away with the
 * record. */
#include "encode/doc.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "encode/text.h"

/* What may follow a number or a literal. Anything else would have joined it into one token. */
static const bool delimiter[256] = {
    [' '] = true, ['\t'] = true, ['\n'] = true, ['\r'] = true, [','] = true, [']'] = true, ['}'] = true,
    [':'] = true, ['['] = true, ['{'] = true,
};

bool doc_init(struct doc *d, const struct trie *trie)
{
    *d = (struct doc){ .trie = trie, .strip = true };
    d->values = calloc(trie->count, sizeof *d->values);
    return d->values != NULL;
}

void doc_trim(struct doc *d)
{
    free(d->spans);
    free(d->names);
    free(d->huge);
    d->spans = d->huge = NULL;
    d->names = NULL;
    d->spans_cap = d->names_cap = d->huge_cap = 0;
}

void doc_free(struct doc *d)
{
    doc_trim(d);
    free(d->values);
    *d = (struct doc){ 0 };
}

/* A dropped member is at least `"":null,`, a kept one `"":1,`, and no member begins behind the line's end: the length
 * bounds both lists, so the walk need not check. */
static bool reserve(struct doc *d, uint32_t len)
{
    uint32_t spans = len / 8 + 2, names = len / 5 + 2;
    if (spans > d->spans_cap) {
        free(d->spans);
        d->spans = malloc(spans * sizeof *d->spans);
        d->spans_cap = d->spans ? spans : 0;
    }
    if (names > d->names_cap) {
        free(d->names);
        d->names = malloc(names * sizeof *d->names);
        d->names_cap = d->names ? names : 0;
    }
    return d->spans && d->names;
}

static const uint32_t *fail(struct doc *d, uint32_t at, const char *what)
{
    d->error = what;
    d->error_at = at;
    return NULL;
}

/* ---- scalars ---- */

/* The closing quote of a string, found from the token behind it: between the two there is white space only. */
static inline uint32_t string_end(const uint8_t *buf, uint32_t next)
{
    do
        next--;
    while (buf[next] != '"');
    return next;
}

/* Moves next_escape to the first backslash at or behind `from`. */
static void find_escape(struct doc *d, uint32_t from)
{
    const uint8_t *p = from < d->line_end ? memchr(d->buf + from, '\\', d->line_end - from) : NULL;
    d->next_escape = p ? (uint32_t)(p - d->buf) : UINT32_MAX;
}

/* Checks the escapes of a string that ends at end; next_escape lies in it. */
static bool check_escapes(struct doc *d, uint32_t end)
{
    uint32_t p = d->next_escape;
    while (p < end) {
        uint32_t code;
        uint32_t len = text_escape(d->buf + p, d->buf + end, &code);
        if (len == 0) {
            fail(d, p, "a backslash is not followed by a known escape");
            return false;
        }
        d->broken |= code == TEXT_BROKEN;
        p += len;
        const uint8_t *q = memchr(d->buf + p, '\\', end - p);
        if (!q)
            break;
        p = (uint32_t)(q - d->buf);
    }
    find_escape(d, end);
    return true;
}

static bool note_huge(struct doc *d, uint32_t at, uint32_t end)
{
    if (d->nhuge == d->huge_cap) {
        uint32_t cap = d->huge_cap ? d->huge_cap * 2 : 16;
        struct doc_span *p = realloc(d->huge, cap * sizeof *p);
        if (!p) {
            fail(d, at, NULL);
            return false;
        }
        d->huge = p;
        d->huge_cap = cap;
    }
    d->huge[d->nhuge++] = (struct doc_span){ at, end };
    return true;
}

static inline bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* Checks a number; returns its end, 0 when it is none. jsonb keeps numbers as numeric: at most 131072 digits before the
 * point and 16383 behind it (PostgreSQL manual, 8.1 Numeric Types). */
static inline uint32_t number_end(struct doc *d, uint32_t at)
{
    const uint8_t *buf = d->buf;
    uint32_t p = at + (buf[at] == '-');
    uint32_t whole = p;
    if (buf[p] == '0')
        p++;
    else if (is_digit(buf[p]))
        do
            p++;
        while (is_digit(buf[p]));
    else
        return 0;
    whole = p - whole;
    uint32_t part = 0;
    if (buf[p] == '.') {
        uint32_t from = ++p;
        while (is_digit(buf[p]))
            p++;
        part = p - from;
        if (part == 0)
            return 0;
    }
    int32_t power = 0;
    if ((buf[p] | 0x20) == 'e') {
        p++;
        bool minus = buf[p] == '-';
        if (minus || buf[p] == '+')
            p++;
        if (!is_digit(buf[p]))
            return 0;
        for (; is_digit(buf[p]); p++) {
            if (power < 1000000)
                power = power * 10 + (buf[p] - '0');
        }
        if (minus)
            power = -power;
    }
    if (!delimiter[buf[p]])
        return 0;
    if (__builtin_expect(power != 0 || p - at > 16000, 0)) {
        if ((int64_t)whole + power > 131072 || (int64_t)part - power > 16383) {
            if (!note_huge(d, at, p))
                return 0;
        }
    }
    return p;
}

static inline bool literal(const uint8_t *p, const char *word, size_t len)
{
    return memcmp(p, word, len) == 0 && delimiter[p[len]];
}

/* ---- found values ---- */

static void forget(struct doc *d, uint32_t node)
{
    for (uint32_t i = node, end = d->trie->nodes[node].end; i < end; i++)
        d->values[i].round = 0;
}

static inline void found(struct doc *d, uint32_t node, uint8_t type, uint32_t at, uint32_t end, bool escaped)
{
    struct doc_value *v = &d->values[node];
    if (__builtin_expect(v->round == d->round, 0))   /* a duplicate member: nothing of the earlier one counts */
        forget(d, node);
    *v = (struct doc_value){ .round = d->round, .at = at, .end = end, .type = type, .escaped = escaped };
}

/* ---- names ---- */

/* The node of a name in a table; names with escapes are compared as what they mean. Such names of more than 1024 bytes
 * are not looked for. */
static __attribute__((noinline)) uint32_t find_escaped(const struct doc *d, const struct trie_table *t, uint32_t at,
                                                       uint32_t end)
{
    uint8_t plain[1024 + 8];
    if (end - at > 1024)
        return TRIE_NONE;
    uint32_t len = (uint32_t)(text_unescape(plain, d->buf + at, end - at) - plain);
    return trie_find(t, plain, len);
}

static bool same_name(const struct doc *d, uint32_t a, uint32_t alen, uint32_t b, uint32_t blen)
{
    const uint8_t *x = d->buf + a, *y = d->buf + b;
    bool odd = memchr(x, '\\', alen) || memchr(y, '\\', blen);
    if (!odd)
        return alen == blen && memcmp(x, y, alen) == 0;
    /* What is longer than this as escapes is taken for equal: then a null stays, which is never wrong. */
    uint8_t left[1024], right[1024];
    if (alen > sizeof left || blen > sizeof right)
        return true;
    size_t llen = (size_t)(text_unescape(left, x, alen) - left), rlen = (size_t)(text_unescape(right, y, blen) - right);
    return llen == rlen && memcmp(left, right, llen) == 0;
}

/* The closing quote of a name that is known to be closed. */
static uint32_t name_end(const struct doc *d, uint32_t at)
{
    for (;; at++) {
        const uint8_t *q = memchr(d->buf + at, '"', d->line_end - at);
        if (!q)
            return d->line_end;
        uint32_t back = at = (uint32_t)(q - d->buf);
        while (d->buf[back - 1] == '\\')
            back--;
        if (((at - back) & 1) == 0)
            return at;
    }
}

static __attribute__((noinline)) bool repeated_slowly(const struct doc *d, uint32_t first, uint32_t at, uint32_t len)
{
    for (uint32_t i = first; i < d->nnames; i++) {
        uint32_t other = d->names[i] + 1;
        if (same_name(d, at, len, other, name_end(d, other) - other))
            return true;
    }
    return false;
}

/* True when the object whose kept members are names[first ..) has one of the name in buf[at .. end). As long as no name
 * of the record had escapes eight bytes tell most of them apart; a short one takes its closing quote along. */
static inline bool repeated(const struct doc *d, uint32_t first, uint32_t at, uint32_t end)
{
    uint32_t len = end - at;
    if (d->nnames - first > (d->odd_names ? DOC_ODD_NAMES : DOC_NAMES))
        return true;
    if (__builtin_expect(d->odd_names, 0))
        return repeated_slowly(d, first, at, len);
    uint64_t mask = len >= 7 ? UINT64_MAX : (UINT64_C(1) << (8 * (len + 1))) - 1;
    uint64_t head = trie_head(d->buf + at, 8) & mask;
    for (uint32_t i = first; i < d->nnames; i++) {
        uint32_t other = d->names[i] + 1;
        if ((trie_head(d->buf + other, 8) & mask) == head && memcmp(d->buf + other, d->buf + at, len + 1) == 0)
            return true;
    }
    return false;
}

/* Leaves buf[from .. to) out of what is kept. */
static inline void leave_out(struct doc *d, uint32_t from, uint32_t to)
{
    if (from > d->run) {
        d->spans[d->nspans] = (struct doc_span){ d->run, from };
        d->nspans += d->keep;
    }
    d->run = to;
}

/* ---- containers: each takes the index behind the opening bracket, returns the one behind the closing one ---- */

static const uint32_t *object_unwanted(struct doc *d, const uint32_t *ix, unsigned depth);
static const uint32_t *object_wanted(struct doc *d, const uint32_t *ix, uint32_t node, unsigned depth);
static const uint32_t *array_unwanted(struct doc *d, const uint32_t *ix, unsigned depth);
static const uint32_t *array_wanted(struct doc *d, const uint32_t *ix, uint32_t node, unsigned depth);

static const uint32_t *fail_nested(struct doc *d, uint32_t at, unsigned depth)
{
    d->deep = depth >= DOC_DEPTH;
    if (d->deep)
        return fail(d, at, "objects and arrays nest too deeply");
    return fail(d, d->line_end, "the line ends inside of an object or array");
}

/* One value at ix[0]; returns the index behind it. */
static inline __attribute__((always_inline)) const uint32_t *value(struct doc *d, const uint32_t *ix, uint32_t node,
                                                                   unsigned depth)
{
    const uint8_t *buf = d->buf;
    uint32_t at = ix[0], end;
    switch (buf[at]) {
    case '"': {
        end = string_end(buf, ix[1]);
        bool escaped = d->next_escape < end;
        if (__builtin_expect(escaped, 0) && !check_escapes(d, end))
            return NULL;
        if (node != TRIE_NONE)
            found(d, node, '"', at + 1, end, escaped);
        return ix + 1;
    }
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        end = number_end(d, at);
        if (end == 0)
            return d->error ? fail(d, at, "a number is malformed") : NULL;
        if (node != TRIE_NONE)
            found(d, node, '0', at, end, false);
        return ix + 1;
    case '{':
    case '[':
        if (__builtin_expect(depth >= DOC_DEPTH || at >= d->line_end, 0))
            return fail_nested(d, at, depth);
        if (node == TRIE_NONE)
            return buf[at] == '{' ? object_unwanted(d, ix + 1, depth + 1) : array_unwanted(d, ix + 1, depth + 1);
        found(d, node, buf[at], at, at, false);
        ix = buf[at] == '{' ? object_wanted(d, ix + 1, node, depth + 1) : array_wanted(d, ix + 1, node, depth + 1);
        if (ix)
            d->values[node].end = ix[-1] + 1;
        return ix;
    case 't':
        if (!literal(buf + at, "true", 4))
            break;
        if (node != TRIE_NONE)
            found(d, node, 't', at, at + 4, false);
        return ix + 1;
    case 'f':
        if (!literal(buf + at, "false", 5))
            break;
        if (node != TRIE_NONE)
            found(d, node, 'f', at, at + 5, false);
        return ix + 1;
    case 'n':
        if (!literal(buf + at, "null", 4))
            break;
        if (node != TRIE_NONE)
            found(d, node, 'n', at, at + 4, false);
        return ix + 1;
    default:
        break;
    }
    if (at >= d->line_end)
        return fail(d, d->line_end, "the line ends where a value is expected");
    return fail(d, at, "a value is expected");
}

/* What an element of an array that is looked up by members turned out to be. */
struct lookup {
    const struct trie_node *array;
    uint32_t start;                          /* position of the element's bracket */
    uint32_t here;                           /* the selected node whose members are followed in this same walk */
    uint32_t picked[2 * TRIE_SELECTS];       /* nodes that this element was selected for */
    uint32_t later[2 * TRIE_SELECTS];        /* those for which it is walked again: it was selected too late */
    uint32_t npicked, nlater;
    bool     twice;                          /* a member that it is looked up by came twice: the last one counts */
    const uint32_t *value[TRIE_SELECTS];     /* index of each such member's last value, NULL before the first */
};

static inline bool is_name(const struct trie_select *s, const uint8_t *name, uint32_t len)
{
    return s->len == len && s->head == trie_head(name, len) && trie_same(s->name, name, len);
}

static __attribute__((noinline)) bool is_name_escaped(const struct doc *d, const struct trie_select *s, uint32_t at,
                                                      uint32_t end)
{
    uint8_t plain[1024 + 8];
    return end - at <= 1024 && is_name(s, plain, (uint32_t)(text_unescape(plain, d->buf + at, end - at) - plain));
}

static void select_node(struct doc *d, struct lookup *look, uint32_t *node, uint32_t target, bool first)
{
    if (target == TRIE_NONE || d->values[target].round == d->round)
        return;     /* the first element of that name counts */
    found(d, target, '{', look->start, look->start, false);
    look->picked[look->npicked++] = target;
    if (first && *node == TRIE_NONE) {
        *node = target;
        look->here = target;
    } else {
        look->later[look->nlater++] = target;
    }
}

/* Follows a member that elements are looked up by; its value is at ix[0]. Selects at most two nodes. */
static __attribute__((noinline)) void select_member(struct doc *d, struct lookup *look, uint32_t *node,
                                                    const struct trie_select *s, const uint32_t *ix, bool first)
{
    uint8_t plain[1024 + 8];
    uint32_t at = ix[0], end;
    const uint8_t *text = d->buf + at;
    if (*text == '"') {
        end = string_end(d->buf, ix[1]);
        text++;
        at++;
        if (d->next_escape < end || (look->twice && memchr(text, '\\', end - at))) {
            if (end - at > 1024 || !text_check(text, end - at))
                return;
            end = at + (uint32_t)(text_unescape(plain, text, end - at) - plain);
            text = plain;
        }
    } else if (*text == '{' || *text == '[' || *text == 'n' || (end = at + text_token(text)) == at) {
        return;
    }
    uint32_t len = end - at;
    select_node(d, look, node, trie_find(&s->exact, text, len), first);
    for (uint32_t i = 0; i < s->nfold; i++) {
        if (s->fold[i].len == len && strncasecmp(s->fold[i].name, (const char *)text, len) == 0)
            select_node(d, look, node, s->fold[i].node, first);
    }
}

/* The walk of an object in three shapes, chosen by constants: unwanted, wanted, element of a looked-up array. */
static inline __attribute__((always_inline)) const uint32_t *object(struct doc *d, const uint32_t *ix, uint32_t node,
                                                                    struct lookup *look, unsigned depth)
{
    const uint8_t *buf = d->buf;
    uint32_t first = d->nnames, comma = 0;
    bool any = false, start = true;
    if (buf[ix[0]] == '}')
        return ix + 1;
    for (;; ix++) {
        uint32_t key = ix[0];
        if (__builtin_expect(buf[key] != '"' || key >= d->line_end, 0)) {
            return key >= d->line_end ? fail(d, d->line_end, "the line ends inside of an object or array")
                                      : fail(d, key, "a member's name is expected");
        }
        if (__builtin_expect(buf[ix[1]] != ':', 0))
            return fail(d, ix[1], "a colon is expected behind a member's name");
        uint32_t end = string_end(buf, ix[1]);
        bool escaped = d->next_escape < end;
        if (__builtin_expect(escaped, 0)) {
            if (!check_escapes(d, end))
                return NULL;
            d->odd_names = true;
        }
        uint32_t at = ix[2], child = TRIE_NONE;
        if (look) {
            for (uint32_t i = 0; i < look->array->nselect; i++) {
                const struct trie_select *s = &look->array->select[i];
                if (!(__builtin_expect(escaped, 0) ? is_name_escaped(d, s, key + 1, end)
                                                   : is_name(s, buf + key + 1, end - key - 1)))
                    continue;
                look->twice |= look->value[i] != NULL;
                look->value[i] = ix + 2;
                if (!look->twice)
                    select_member(d, look, &node, s, ix + 2, start);
            }
            start = false;
        }
        if (node != TRIE_NONE)
            child = __builtin_expect(escaped, 0)
                        ? find_escaped(d, &d->trie->nodes[node].members, key + 1, end)
                        : trie_find(&d->trie->nodes[node].members, buf + key + 1, end - key - 1);
        if (buf[at] == 'n' && literal(buf + at, "null", 4)) {
            uint32_t next = ix[3];
            ix += 3;
            if (child != TRIE_NONE)
                found(d, child, 'n', at, at + 4, false);
            if (!d->strip || (d->nnames != first && repeated(d, first, key + 1, end))) {
                any = true;
            } else if (buf[next] == ',') {
                leave_out(d, any ? comma : key, any ? next : ix[1]);
            } else {
                leave_out(d, any ? comma : key, next);
            }
        } else {
            d->names[d->nnames++] = key;
            any = true;
            ix = value(d, ix + 2, child, depth);
            if (__builtin_expect(!ix, 0))
                return NULL;
        }
        comma = ix[0];
        if (buf[comma] != ',')
            break;
    }
    d->nnames = first;
    if (__builtin_expect(buf[ix[0]] == '}', 1))
        return ix + 1;
    return ix[0] >= d->line_end ? fail(d, d->line_end, "the line ends inside of an object or array")
                                : fail(d, ix[0], "a comma or a closing brace is expected");
}

static const uint32_t *object_unwanted(struct doc *d, const uint32_t *ix, unsigned depth)
{
    return object(d, ix, TRIE_NONE, NULL, depth);
}

static const uint32_t *object_wanted(struct doc *d, const uint32_t *ix, uint32_t node, unsigned depth)
{
    return object(d, ix, node, NULL, depth);
}

/* Walks the element once more for a node that was selected when members had already passed; only its values count. */
static bool walk_again(struct doc *d, const uint32_t *ix, uint32_t node, unsigned depth)
{
    uint32_t run = d->run, keep = d->keep, nhuge = d->nhuge, escape = d->next_escape;
    d->keep = 0;
    if (escape != UINT32_MAX || d->dirty)
        find_escape(d, ix[-1]);
    bool ok = object_wanted(d, ix, node, depth) != NULL;
    d->run = run;
    d->keep = keep;
    d->nhuge = nhuge;
    d->next_escape = escape;
    return ok;
}

/* Judges an element by the last ones of its members of equal names. */
static void select_anew(struct doc *d, struct lookup *look)
{
    uint32_t none = TRIE_NONE;
    for (uint32_t i = 0; i < look->npicked; i++)
        forget(d, look->picked[i]);
    look->npicked = look->nlater = 0;
    look->here = TRIE_NONE;
    for (uint32_t i = 0; i < look->array->nselect; i++) {
        if (look->value[i])
            select_member(d, look, &none, &look->array->select[i], look->value[i], false);
    }
}

static const uint32_t *element(struct doc *d, const uint32_t *ix, uint32_t node, const struct trie_node *array,
                               unsigned depth)
{
    struct lookup look;        /* set by hand: most of it is not used */
    look.array = array;
    look.start = ix[-1];
    look.here = TRIE_NONE;
    look.npicked = look.nlater = 0;
    look.twice = false;
    for (uint32_t i = 0; i < array->nselect; i++)
        look.value[i] = NULL;
    const uint32_t *next = object(d, ix, node, &look, depth);
    if (!next)
        return NULL;
    if (__builtin_expect(look.twice, 0))
        select_anew(d, &look);
    if (look.here != TRIE_NONE)
        d->values[look.here].end = next[-1] + 1;
    for (uint32_t i = 0; i < look.nlater; i++) {
        if (!walk_again(d, ix, look.later[i], depth))
            return NULL;
        d->values[look.later[i]].end = next[-1] + 1;
    }
    return next;
}

static inline __attribute__((always_inline)) const uint32_t *array(struct doc *d, const uint32_t *ix,
                                                                   const struct trie_node *n, unsigned depth)
{
    const uint8_t *buf = d->buf;
    uint32_t wanted = 0;
    if (buf[ix[0]] == ']')
        return ix + 1;
    for (uint32_t i = 0;; i++) {
        uint32_t child = TRIE_NONE, at = ix[0];
        if (n && wanted < n->nindex && n->index[wanted].index == i)
            child = n->index[wanted++].node;
        if (n && n->nselect && buf[at] == '{') {
            if (depth >= DOC_DEPTH || at >= d->line_end)
                return fail_nested(d, at, depth);
            if (child != TRIE_NONE)
                found(d, child, '{', at, at, false);
            ix = element(d, ix + 1, child, n, depth + 1);
            if (ix && child != TRIE_NONE)
                d->values[child].end = ix[-1] + 1;
        } else {
            ix = value(d, ix, child, depth);
        }
        if (__builtin_expect(!ix, 0))
            return NULL;
        if (buf[ix[0]] != ',')
            break;
        ix++;
    }
    if (__builtin_expect(buf[ix[0]] == ']', 1))
        return ix + 1;
    return ix[0] >= d->line_end ? fail(d, d->line_end, "the line ends inside of an object or array")
                                : fail(d, ix[0], "a comma or a closing bracket is expected");
}

static const uint32_t *array_unwanted(struct doc *d, const uint32_t *ix, unsigned depth)
{
    return array(d, ix, NULL, depth);
}

static const uint32_t *array_wanted(struct doc *d, const uint32_t *ix, uint32_t node, unsigned depth)
{
    return array(d, ix, &d->trie->nodes[node], depth);
}

enum doc_status doc_walk(struct doc *d, const uint8_t *buf, const uint32_t *index, uint32_t at, uint32_t end,
                         bool dirty, bool whole_object)
{
    if (!reserve(d, end - at))
        return DOC_MEMORY;
    if (++d->round == 0) {           /* after 2^32 records old values must not look new */
        memset(d->values, 0, d->trie->count * sizeof *d->values);
        d->round = 1;
    }
    d->buf = buf;
    d->line_end = end;
    d->nspans = d->nnames = d->nhuge = 0;
    d->run = index[0];
    d->dirty = dirty;
    d->broken = d->deep = d->odd_names = false;
    d->keep = 1;
    d->error = "";
    d->next_escape = UINT32_MAX;
    d->next = index;
    if (dirty)
        find_escape(d, at);
    if (whole_object && buf[index[0]] != '{') {
        fail(d, index[0], "the line is not a JSON object");
        return DOC_SYNTAX;
    }
    const uint32_t *ix = value(d, index, 0, 0);
    if (ix && ix[-1] >= end)
        ix = fail(d, end, "the line ends inside of an object or array");
    if (ix && ix[0] < end)
        ix = fail(d, ix[0], "more text follows the JSON value");
    if (!ix)
        return !d->error ? DOC_MEMORY : d->deep ? DOC_TOO_DEEP : DOC_SYNTAX;
    d->next = ix;
    d->spans[d->nspans++] = (struct doc_span){ d->run, d->values[0].end };
    return DOC_OK;
}
