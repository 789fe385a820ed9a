/* book.c - the workbook: which part is which sheet, where the shared strings and styles are, which calendar it has.
 *
 * Owns the archive, the list of sheets and what all sheets share. Finds parts by relationships, as the format demands, not
 * by their usual names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "xlsx.h"

enum { RELATIONS_MAX = 65536, SHEETS_MAX = 16384 };

struct relation {
    char *id, *type, *target;      /* owned; type is its last path segment, target a part's name */
};

struct relations {
    struct relation *list;
    size_t           n, cap;
    const char      *dir;          /* of the part they belong to, "xl/" */
};

/* ---- names of parts ---- */

/* A relationship's target as a part's name: relative to dir, "." and ".." resolved. malloc'ed, NULL without memory. */
static char *resolve(const char *dir, const char *target)
{
    bool absolute = *target == '/' || *target == '\\';
    size_t size = strlen(dir) + strlen(target) + 2, n = 0;
    char *joined = malloc(size), *out = malloc(size), *save = NULL;

    if (!joined || !out) {
        free(joined);
        free(out);
        return NULL;
    }
    snprintf(joined, size, "%s%s", absolute ? "" : dir, target);
    for (char *c = joined; *c; c++) {
        if (*c == '\\')                /* some writers do not know better */
            *c = '/';
    }
    out[0] = '\0';
    for (char *s = strtok_r(joined, "/", &save); s; s = strtok_r(NULL, "/", &save)) {
        if (strcmp(s, ".") == 0)
            continue;
        if (strcmp(s, "..") == 0) {
            char *slash = strrchr(out, '/');
            n = slash ? (size_t)(slash - out) : 0;
            out[n] = '\0';
            continue;
        }
        n += (size_t)snprintf(out + n, size - n, "%s%s", n ? "/" : "", s);
    }
    free(joined);
    return out;
}

/* "xl/workbook.xml" -> "xl/_rels/workbook.xml.rels" */
static void relations_of(const char *part, char *out, size_t size)
{
    const char *slash = strrchr(part, '/');
    int dir = slash ? (int)(slash - part) + 1 : 0;
    snprintf(out, size, "%.*s_rels/%s.rels", dir, part, part + dir);
}

/* ---- relationships ---- */

static void relations_free(struct relations *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->list[i].id);
        free(r->list[i].type);
        free(r->list[i].target);
    }
    free(r->list);
    memset(r, 0, sizeof *r);
}

static bool on_relation(struct xml *x, const char *name, const char **atts)
{
    struct relations *r = x->owner;

    if (strcmp(name, "Relationships") == 0)
        return true;
    if (strcmp(name, "Relationship") != 0)
        return false;
    const char *id = xml_att(atts, "Id", false), *type = xml_att(atts, "Type", false);
    const char *target = xml_att(atts, "Target", false), *mode = xml_att(atts, "TargetMode", false);
    if (!id || !type || !target || (mode && strcmp(mode, "External") == 0))
        return true;
    if (r->n >= RELATIONS_MAX) {
        xml_fail(x, "bomb", "there are more than %d relationships", RELATIONS_MAX);
        return false;
    }
    const char *slash = strrchr(type, '/');
    struct relation one = { strdup(id), strdup(slash ? slash + 1 : type), resolve(r->dir, target) };
    if (!one.id || !one.type || !one.target || !list_reserve((void **)&r->list, &r->cap, r->n, sizeof *r->list)) {
        free(one.id);
        free(one.type);
        free(one.target);
        xml_fail(x, "ENOMEM", "not enough memory to read the workbook");
        return false;
    }
    r->list[r->n++] = one;
    return true;
}

static bool relations_load(struct relations *r, struct box *b, const char *part, const char *dir, struct garun_error *e)
{
    struct xml x = { .start = on_relation, .owner = r };

    r->dir = dir;
    bool ok = xml_open(&x, b, part, b->name, e) && xml_all(&x, NULL, e);
    xml_close(&x);
    return ok;
}

static const struct relation *by_type(const struct relations *r, const char *type)
{
    for (size_t i = 0; i < r->n; i++) {
        if (strcmp(r->list[i].type, type) == 0)
            return &r->list[i];
    }
    return NULL;
}

static const struct relation *by_id(const struct relations *r, const char *id)
{
    for (size_t i = 0; i < r->n; i++) {
        if (strcmp(r->list[i].id, id) == 0)
            return &r->list[i];
    }
    return NULL;
}

/* ---- the workbook ---- */

struct loader {
    struct book     *book;
    struct relations relations;
};

static bool is_true(const char *v)
{
    return v && (strcmp(v, "1") == 0 || strcmp(v, "true") == 0 || strcmp(v, "on") == 0);
}

static bool on_workbook(struct xml *x, const char *name, const char **atts)
{
    struct loader *l = x->owner;
    struct book *b = l->book;

    if (strcmp(name, "workbookPr") == 0)
        b->base_1904 = is_true(xml_att(atts, "date1904", false));
    if (strcmp(name, "workbook") == 0 || strcmp(name, "workbookPr") == 0 || strcmp(name, "sheets") == 0)
        return true;
    if (strcmp(name, "sheet") != 0)
        return false;
    const char *title = xml_att(atts, "name", false), *id = xml_att(atts, "id", true);
    const char *state = xml_att(atts, "state", false);
    const struct relation *r = id ? by_id(&l->relations, id) : NULL;
    if (!title || !r) {
        xml_fail(x, "damaged", "the workbook lists a sheet%s%s%s without saying where it is", title ? " '" : "",
                 title ? title : "", title ? "'" : "");
        return false;
    }
    if (b->n >= SHEETS_MAX) {
        xml_fail(x, "bomb", "there are more than %d sheets", SHEETS_MAX);
        return false;
    }
    bool cells = strcmp(r->type, "worksheet") == 0;
    struct sheet_entry s = { .name = strdup(title), .part = cells ? strdup(r->target) : NULL };
    s.hidden = !state || strcmp(state, "visible") == 0 ? 0 : strcmp(state, "veryHidden") == 0 ? 2 : 1;
    if (!s.name || (cells && !s.part) || !list_reserve((void **)&b->sheets, &b->cap, b->n, sizeof *b->sheets)) {
        free(s.name);
        free(s.part);
        xml_fail(x, "ENOMEM", "not enough memory to read the workbook");
        return false;
    }
    b->sheets[b->n++] = s;
    return true;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcasecmp(s + n - m, tail) == 0;
}

/* The name of the workbook's part into out. */
static bool find_workbook(struct book *b, char *out, size_t size, struct garun_error *e)
{
    struct relations r = { 0 };

    if (!box_has(&b->box, "_rels/.rels"))
        return box_no_workbook(&b->box, e);
    if (!relations_load(&r, &b->box, "_rels/.rels", "", e)) {
        relations_free(&r);
        return false;
    }
    const struct relation *main = by_type(&r, "officeDocument");
    snprintf(out, size, "%s", main ? main->target : "");
    relations_free(&r);
    if (!main)
        return box_no_workbook(&b->box, e);
    if (ends_with(out, ".bin")) {
        b->api->set(e, "xlsx", "xlsb", "%s: this is a binary workbook (.xlsb), no .xlsx", b->box.name);
        snprintf(e->hint, sizeof e->hint, "save it as .xlsx or as CSV");
        return false;
    }
    if (strncasecmp(out, "word/", 5) == 0 || strncasecmp(out, "ppt/", 4) == 0) {
        bool word = strncasecmp(out, "word/", 5) == 0;
        return b->api->set(e, "xlsx", "not_xlsx", "%s: this is a %s, no workbook", b->box.name,
                           word ? "Word document" : "PowerPoint presentation");
    }
    return true;
}

bool book_load(struct book *b, struct garun_error *e)
{
    char part[XLSX_NAME_MAX], relations[XLSX_NAME_MAX + 16], dir[XLSX_NAME_MAX];
    struct loader l = { .book = b };
    void *data = b->data;
    bool ok = false;

    b->data = NULL;
    if (!box_open(&b->box, b->path, data, b->data_len, e) || !find_workbook(b, part, sizeof part, e))
        return false;
    const char *slash = strrchr(part, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - part) + 1 : 0, part);
    relations_of(part, relations, sizeof relations);
    struct xml x = { .start = on_workbook, .owner = &l };
    if (!relations_load(&l.relations, &b->box, relations, dir, e) || !xml_open(&x, &b->box, part, b->box.name, e) ||
        !xml_all(&x, NULL, e))
        goto out;
    const struct relation *strings = by_type(&l.relations, "sharedStrings"), *styles = by_type(&l.relations, "styles");
    b->strings_part = strings ? strdup(strings->target) : NULL;
    b->styles_part = styles ? strdup(styles->target) : NULL;
    if ((strings && !b->strings_part) || (styles && !b->styles_part))
        b->api->set(e, "xlsx", "ENOMEM", "%s: not enough memory to open the workbook", b->box.name);
    else if (b->n == 0)
        b->api->set(e, "xlsx", "damaged", "%s: the workbook has no sheets", b->box.name);
    else
        ok = true;
out:
    xml_close(&x);
    relations_free(&l.relations);
    return ok;
}

void book_release(struct book *b)
{
    if (!b || --b->refs > 0)
        return;
    box_close(&b->box);
    pthread_mutex_destroy(&b->box.lock);
    pthread_mutex_destroy(&b->lock);
    for (size_t i = 0; i < b->n; i++) {
        free(b->sheets[i].name);
        free(b->sheets[i].part);
    }
    free(b->sheets);
    free(b->strings_part);
    free(b->styles_part);
    strings_free(&b->strings);
    styles_free(&b->styles);
    free(b->path);
    free(b->data);
    free(b);
}
