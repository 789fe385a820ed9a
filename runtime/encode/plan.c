/* plan.c - see plan.h. It refuses whatever it does not understand: a plan that is half understood loads wrong rows. */
#include "encode/plan.h"

#include <stdlib.h>
#include <string.h>

#include "core/uuid7.h"

#define PLAN_BYTES (8u << 20)
#define PATHS      4096u
#define STEPS      32u
#define ALTS       32u

/* Reads the packed bytes in order; once something is missing all that follows is zero. */
struct reader {
    const uint8_t *p, *end;
    bool           short_of;
};

static uint64_t take(struct reader *r, size_t n)
{
    uint64_t v = 0;
    if ((size_t)(r->end - r->p) < n) {
        r->short_of = true;
        r->p = r->end;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)r->p[i] << (8 * i);
    r->p += n;
    return v;
}

static uint8_t  take8(struct reader *r) { return (uint8_t)take(r, 1); }
static uint16_t take16(struct reader *r) { return (uint16_t)take(r, 2); }
static uint32_t take32(struct reader *r) { return (uint32_t)take(r, 4); }

static struct plan_text take_text(struct reader *r)
{
    uint32_t len = take32(r);
    if ((size_t)(r->end - r->p) < len) {
        r->short_of = true;
        r->p = r->end;
        len = 0;
    }
    struct plan_text t = { (const char *)r->p, len };
    r->p += len;
    return t;
}

static bool bad(struct err *e, const char *what)
{
    return err_set(e, "plan", "malformed", "the packed plan is malformed: %s", what);
}

static bool no_memory(struct err *e)
{
    return err_set(e, "plan", "ENOMEM", "out of memory while reading the plan");
}

/* What the packed plan is read into before all nodes have their final numbers. */
struct decode {
    struct reader r;
    struct plan  *plan;
    struct err   *e;
    uint32_t     *node;       /* node (CSV: field) of each path */
    uint32_t      npaths;
    size_t        nalts, calts, ncolumns, ccolumns;
};

/* ---- paths ---- */

static bool take_step(struct decode *d, struct trie_step *s)
{
    uint8_t kind = take8(&d->r);
    *s = (struct trie_step){ .kind = (enum trie_kind)kind };
    if (kind > TRIE_SELECT_FOLD)
        return bad(d->e, "a path has a step of an unknown kind");
    if (kind == TRIE_INDEX) {
        s->index = take32(&d->r);
        return true;
    }
    struct plan_text name = take_text(&d->r);
    s->name = name.data;
    s->name_len = name.len;
    if (kind != TRIE_MEMBER) {
        struct plan_text value = take_text(&d->r);
        s->value = value.data;
        s->value_len = value.len;
    }
    return true;
}

/* A CSV path is one member that is a column of the file, or the whole record. */
static bool csv_field(struct decode *d, const struct trie_step *steps, uint32_t count, uint32_t *field)
{
    if (count == 0) {
        *field = PLAN_WHOLE;
        return true;
    }
    if (count == 1 && steps[0].kind == TRIE_MEMBER) {
        for (uint32_t i = 0; i < d->plan->nfields; i++) {
            const struct plan_text *f = &d->plan->fields[i];
            if (f->len == steps[0].name_len && memcmp(f->data, steps[0].name, f->len) == 0) {
                *field = i;
                return true;
            }
        }
        return err_set(d->e, "plan", "column", "the file has no column \"%.*s\"", (int)steps[0].name_len,
                       steps[0].name);
    }
    return err_set(d->e, "plan", "paths", "a path of a CSV source is the name of one of its columns");
}

static bool take_paths(struct decode *d)
{
    struct plan *p = d->plan;
    bool csv = p->format == PLAN_CSV;
    struct trie_build *build = trie_start();
    if (!build)
        return no_memory(d->e);
    uint32_t count = take16(&d->r);
    if (count > PATHS || !(d->node = calloc(count + 1, sizeof *d->node))) {
        trie_abandon(build);
        return count > PATHS ? bad(d->e, "it has too many paths") : no_memory(d->e);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct trie_step steps[STEPS];
        uint32_t n = take8(&d->r);
        bool ok = n <= STEPS || bad(d->e, "a path has too many steps");
        for (uint32_t j = 0; ok && j < n; j++)
            ok = take_step(d, &steps[j]);
        ok = ok && (!d->r.short_of || bad(d->e, "it ends too early"));
        ok = ok && (csv ? csv_field(d, steps, n, &d->node[i]) : trie_add(build, steps, n, &d->node[i], d->e));
        if (!ok) {
            trie_abandon(build);
            return false;
        }
    }
    d->npaths = count;
    return trie_finish(build, &p->trie, d->node, csv ? 0 : count, d->e);
}

/* ---- alternatives: all in one array, which may move while it grows; users keep an offset until plan_fix ---- */

static bool take_alts(struct decode *d, struct plan_alts *out)
{
    uint32_t count = take8(&d->r);
    if (count > ALTS)
        return bad(d->e, "a value has too many alternatives");
    if (d->nalts + count > d->calts) {
        size_t cap = d->calts * 2 + 64;
        struct plan_alt *p = realloc(d->plan->alts, cap * sizeof *p);
        if (!p)
            return no_memory(d->e);
        d->plan->alts = p;
        d->calts = cap;
    }
    *out = (struct plan_alts){ .alt = NULL, .count = count };
    for (uint32_t i = 0; i < count; i++) {
        uint32_t path = take16(&d->r);
        uint8_t kind = take8(&d->r);
        if (d->r.short_of)
            return bad(d->e, "it ends too early");
        if (path >= d->npaths || kind > PLAN_AS_JSON)
            return bad(d->e, "an alternative is of an unknown path or kind");
        d->plan->alts[d->nalts++] = (struct plan_alt){ .node = d->node[path], .kind = (enum plan_kind)kind };
    }
    return true;
}

/* The users of alternatives stand in the order in which take_alts met them: offsets are sums of counts. */
static void fix_alts(struct plan *p, struct plan_alts *a, size_t *at)
{
    a->alt = p->alts + *at;
    *at += a->count;
}

static bool take_alts_list(struct decode *d, struct plan_alts **out, uint32_t *count)
{
    *count = take16(&d->r);
    if (*count > 256)
        return bad(d->e, "the duplicate key has too many parts");
    *out = calloc(*count + 1, sizeof **out);
    if (!*out)
        return no_memory(d->e);
    for (uint32_t i = 0; i < *count; i++) {
        if (!take_alts(d, &(*out)[i]))
            return false;
    }
    return true;
}

/* ---- the parts of the plan ---- */

static bool take_format(struct decode *d)
{
    struct plan *p = d->plan;
    uint8_t format = take8(&d->r);
    p->format = (enum plan_format)format;
    p->delimiter = take8(&d->r);
    p->quote = take8(&d->r);
    p->max_line = take32(&d->r);
    p->nfields = take16(&d->r);
    if (format > PLAN_CSV)
        return bad(d->e, "its format is unknown");
    if (p->nfields > PLAN_FIELDS)
        return bad(d->e, "it has too many CSV columns");
    p->fields = calloc(p->nfields + 1, sizeof *p->fields);
    if (!p->fields)
        return no_memory(d->e);
    for (uint32_t i = 0; i < p->nfields; i++)
        p->fields[i] = take_text(&d->r);
    if (p->format != PLAN_CSV)
        return true;
    if (p->nfields == 0)
        return bad(d->e, "a CSV plan has no columns");
    if (p->delimiter == p->quote || p->delimiter == '\n' || p->delimiter == '\r' || p->quote == '\n' ||
        p->quote == '\r' || p->delimiter == 0 || p->delimiter >= 0x80 || p->quote >= 0x80)
        return bad(d->e, "its CSV delimiter or quote cannot be used");
    return true;
}

static bool take_route(struct decode *d)
{
    struct plan *p = d->plan;
    if (!take_alts(d, &p->route))
        return false;
    uint32_t count = take16(&d->r);
    if (d->r.short_of)
        return bad(d->e, "it ends too early");
    if (p->route.count == 0)
        return count == 0 || bad(d->e, "it has route values without a route");
    uint32_t size = 2;
    while (size < count * 2)
        size *= 2;
    p->routes = (struct trie_table){ .slots = malloc(size * sizeof *p->routes.slots), .mask = size - 1 };
    if (!p->routes.slots)
        return no_memory(d->e);
    for (uint32_t i = 0; i < size; i++)
        p->routes.slots[i] = (struct trie_slot){ .node = TRIE_NONE };
    for (uint32_t i = 0; i < count; i++) {
        struct plan_text value = take_text(&d->r);
        uint32_t table = take16(&d->r);
        char eight[8] = { 0 };
        if (d->r.short_of)
            return bad(d->e, "it ends too early");
        if (value.len)
            memcpy(eight, value.data, value.len < 8 ? value.len : 8);
        uint64_t head = trie_head(eight, value.len);
        uint32_t at = trie_hash(head, value.len) & p->routes.mask;
        for (; p->routes.slots[at].node != TRIE_NONE; at = (at + 1) & p->routes.mask) {
            const struct trie_slot *other = &p->routes.slots[at];
            if (other->head == head && other->len == value.len &&
                (value.len <= 8 || memcmp(other->name, value.data, value.len) == 0))
                return bad(d->e, "a route value is there twice");
        }
        p->routes.slots[at] = (struct trie_slot){ .head = head, .name = value.data, .len = value.len, .node = table };
        p->routes.count++;
    }
    return true;
}

static bool take_dedup(struct decode *d)
{
    struct plan *p = d->plan;
    p->dedup = take8(&d->r) != 0;
    if (!p->dedup)
        return true;
    p->seed = take(&d->r, 8);
    return take_alts_list(d, &p->key, &p->nkey) && take_alts_list(d, &p->unless, &p->nunless);
}

static void take_range(struct decode *d)
{
    d->plan->has_min = take8(&d->r) != 0;
    d->plan->min = take_text(&d->r);
    d->plan->has_max = take8(&d->r) != 0;
    d->plan->max = take_text(&d->r);
}

static bool check_column(struct decode *d, const struct plan_column *c, uint8_t source, uint8_t type)
{
    if (source > PLAN_NEW_UUID || type >= PLAN_TYPES || c->flags > 63)
        return bad(d->e, "a column is of an unknown kind");
    if ((c->type == PLAN_VARCHAR || c->type == PLAN_BPCHAR) && (c->a < 0 || c->a > 10485760))
        return bad(d->e, "a column's length is out of range");
    if (c->type == PLAN_NUMERIC && (c->a < 0 || c->a > 1000 || c->b < -1000 || c->b > 1000))
        return bad(d->e, "a column's precision or scale is out of range");
    if (c->units != 1 && c->units != 1000 && c->units != 1000000)
        return bad(d->e, "a column's unit of time is unknown");
    if (c->source == PLAN_NEW_UUID && c->type != PLAN_UUID && c->type != PLAN_TEXT &&
        (c->type != PLAN_VARCHAR || (c->a > 0 && c->a < (int32_t)UUID7_TEXT)))
        return bad(d->e, "a column cannot hold a UUID");
    if (c->source == PLAN_PATH && c->from.count == 0 && !(c->flags & PLAN_DEFAULT))
        return err_set(d->e, "plan", "column", "column \"%.*s\" has no source", (int)c->name.len, c->name.data);
    return true;
}

static bool take_columns(struct decode *d, struct plan_table *t)
{
    t->ncolumns = take16(&d->r);
    if (t->ncolumns == 0 || t->ncolumns > PLAN_COLUMNS)
        return bad(d->e, "a table has no columns or too many");
    if (d->ncolumns + t->ncolumns > d->ccolumns) {
        size_t cap = d->ccolumns * 2 + t->ncolumns;
        struct plan_column *p = realloc(d->plan->columns, cap * sizeof *p);
        if (!p)
            return no_memory(d->e);
        d->plan->columns = p;
        d->ccolumns = cap;
    }
    for (uint32_t i = 0; i < t->ncolumns; i++) {
        struct plan_column *c = &d->plan->columns[d->ncolumns++];
        *c = (struct plan_column){ .name = take_text(&d->r) };
        uint8_t source = take8(&d->r), type = take8(&d->r);
        c->source = (enum plan_source)source;
        c->type = (enum plan_type)type;
        c->a = (int32_t)take32(&d->r);
        c->b = (int32_t)take32(&d->r);
        c->flags = take16(&d->r);
        c->units = take32(&d->r);
        c->constant = take_text(&d->r);
        c->fallback = take_text(&d->r);
        if (!take_alts(d, &c->from))
            return false;
        if (d->r.short_of)
            return bad(d->e, "it ends too early");
        if (!check_column(d, c, source, type))
            return false;
    }
    return true;
}

static bool take_tables(struct decode *d)
{
    struct plan *p = d->plan;
    uint32_t count = take16(&d->r);
    if (count == 0 || count > PLAN_TABLES)
        return bad(d->e, "it has no tables or too many");
    p->tables = calloc(count, sizeof *p->tables);
    if (!p->tables)
        return no_memory(d->e);
    for (; p->ntables < count; p->ntables++) {
        struct plan_table *t = &p->tables[p->ntables];
        t->name = take_text(&d->r);
        t->partition = (uint32_t)take16(&d->r) - 1;
        if (!take_columns(d, t))
            return false;
        if (t->partition != TRIE_NONE && t->partition >= t->ncolumns)
            return bad(d->e, "a table's partition is none of its columns");
        if (t->partition == TRIE_NONE && (p->has_min || p->has_max))
            return bad(d->e, "it has a range but a table without a partition");
    }
    for (uint32_t i = 0; p->routes.slots && i <= p->routes.mask; i++) {
        if (p->routes.slots[i].node != TRIE_NONE && p->routes.slots[i].node >= count)
            return bad(d->e, "a route leads to no table");
    }
    return true;
}

bool plan_decode(const uint8_t *bytes, size_t len, struct plan *out, struct err *e)
{
    bool ok = false;
    *out = (struct plan){ 0 };
    struct decode d = { .plan = out, .e = e };
    if (len < 5 || len > PLAN_BYTES || memcmp(bytes, "GPLN\1", 5) != 0)
        return bad(e, "it does not begin like one of this version");
    out->bytes = malloc(len);
    if (!out->bytes)
        return no_memory(e);
    memcpy(out->bytes, bytes, len);
    d.r = (struct reader){ .p = (const uint8_t *)out->bytes + 5, .end = (const uint8_t *)out->bytes + len };
    if (!take_format(&d) || !take_paths(&d) || !take_route(&d) || !take_dedup(&d))
        goto out;
    take_range(&d);
    if (!take_tables(&d))
        goto out;
    if (d.r.short_of || d.r.p != d.r.end) {
        bad(e, d.r.short_of ? "it ends too early" : "it goes on behind its end");
        goto out;
    }
    size_t at = 0, column = 0;
    fix_alts(out, &out->route, &at);
    for (uint32_t i = 0; i < out->nkey; i++)
        fix_alts(out, &out->key[i], &at);
    for (uint32_t i = 0; i < out->nunless; i++)
        fix_alts(out, &out->unless[i], &at);
    for (uint32_t i = 0; i < out->ntables; i++) {
        out->tables[i].columns = out->columns + column;
        column += out->tables[i].ncolumns;
    }
    for (size_t i = 0; i < column; i++)
        fix_alts(out, &out->columns[i].from, &at);
    ok = true;
out:
    free(d.node);
    if (!ok)
        plan_free(out);
    return ok;
}

void plan_free(struct plan *p)
{
    trie_free(&p->trie);
    free(p->routes.slots);
    free(p->fields);
    free(p->key);
    free(p->unless);
    free(p->tables);
    free(p->columns);
    free(p->alts);
    free(p->bytes);
    *p = (struct plan){ 0 };
}
