/* styles.c - which cell formats show a number as a date or time: the workbook's cellXfs, each with the kind of its number
 * format. Owns the list of kinds. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "xlsx.h"

enum { FORMATS_MAX = 1 << 20, CODE_MAX = 1024 };

struct format {
    long    id;
    uint8_t kind;
};

struct loader {
    struct styles *styles;
    struct format *formats;        /* the workbook's own number formats */
    size_t         n, cap;
    bool           in_cells;       /* inside cellXfs */
};

/* ECMA-376, 18.8.30: the ids that have no code in the file; 27-36, 50-58 and 71-81 are dates of Asian locales. */
static uint8_t builtin(long id)
{
    if ((id >= 14 && id <= 17) || (id >= 27 && id <= 31) || id == 36 || (id >= 50 && id <= 54) || id == 57 || id == 58 ||
        (id >= 71 && id <= 74))
        return STYLE_DATE;
    if ((id >= 18 && id <= 21) || (id >= 32 && id <= 35) || id == 45 || id == 47 || id == 55 || id == 56 ||
        (id >= 75 && id <= 78) || id == 80)
        return STYLE_TIME;
    if (id == 22 || id == 81)
        return STYLE_DATE | STYLE_TIME;
    return id == 46 || id == 79 ? STYLE_TIME | STYLE_ELAPSED : 0;
}

uint8_t styles_kind_of(const char *format)
{
    uint8_t kind = 0;
    bool months = false, before_time = false, ambiguous = false;     /* m: a month, or minutes beside h or s */

    for (const char *p = format; *p && *p != ';'; p++) {
        switch (*p) {
        case '"':
            p = strchr(p + 1, '"');
            if (!p)
                return kind;
            break;
        case '\\': case '_': case '*':
            if (!p[1])
                return kind;
            p++;
            break;
        case '[': {
            const char *end = strchr(p, ']');
            if (!end)
                return kind;
            size_t same = strspn(p + 1, "hHmMsS");
            if (same > 0 && p + 1 + same == end)
                kind |= STYLE_TIME | STYLE_ELAPSED;
            p = end;
            break;
        }
        case 'y': case 'Y': case 'd': case 'D':
            kind |= STYLE_DATE;
            before_time = false;
            break;
        case 'h': case 'H':
            kind |= STYLE_TIME;
            before_time = true;
            break;
        case 's': case 'S':
            kind |= STYLE_TIME;
            ambiguous = false;         /* "mm:ss" */
            break;
        case 'm': case 'M':
            if (!before_time && !(kind & STYLE_ELAPSED)) {
                months = months || ambiguous;
                ambiguous = true;
            }
            while (p[1] == *p)
                p++;
            before_time = false;
            break;
        case 'a': case 'A':
            if (strncasecmp(p, "AM/PM", 5) == 0) {
                kind |= STYLE_TIME;
                p += 4;
            } else if (strncasecmp(p, "A/P", 3) == 0) {
                kind |= STYLE_TIME;
                p += 2;
            }
            break;
        case 'G': case 'g':
            if (strncasecmp(p, "General", 7) == 0)
                p += 6;
            break;
        case '0': case '#': case '?':
            /* Digits are numbers, but for fractions of seconds. */
            if (!(kind & STYLE_TIME))
                return 0;
            break;
        default:
            break;
        }
    }
    if (months || ambiguous)
        kind |= STYLE_DATE;
    return kind;
}

static uint8_t kind_of_id(const struct loader *l, long id)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->formats[i].id == id)
            return l->formats[i].kind;
    }
    return builtin(id);
}

static bool on_start(struct xml *x, const char *name, const char **atts)
{
    struct loader *l = x->owner;
    const char *id = xml_att(atts, "numFmtId", false);

    if (strcmp(name, "numFmt") == 0) {
        const char *code = xml_att(atts, "formatCode", false);
        if (!id || !code || strlen(code) > CODE_MAX)
            return true;
        if (l->n >= FORMATS_MAX || !list_reserve((void **)&l->formats, &l->cap, l->n, sizeof *l->formats)) {
            xml_fail(x, "styles", "there are more number formats than a workbook can have");
            return false;
        }
        l->formats[l->n++] = (struct format){ strtol(id, NULL, 10), styles_kind_of(code) };
    } else if (strcmp(name, "cellXfs") == 0) {
        l->in_cells = true;
    } else if (strcmp(name, "xf") == 0 && l->in_cells) {
        struct styles *s = l->styles;
        if (s->n >= FORMATS_MAX || !list_reserve((void **)&s->kinds, &s->cap, s->n, sizeof *s->kinds)) {
            xml_fail(x, "styles", "there are more cell formats than a workbook can have");
            return false;
        }
        s->kinds[s->n++] = id ? kind_of_id(l, strtol(id, NULL, 10)) : 0;
    } else if (strcmp(name, "styleSheet") != 0 && strcmp(name, "numFmts") != 0) {
        return false;
    }
    return true;
}

static void on_end(struct xml *x, const char *name)
{
    struct loader *l = x->owner;
    if (strcmp(name, "cellXfs") == 0)
        l->in_cells = false;
}

bool styles_load(struct styles *s, struct box *b, const char *part, struct garun_error *e)
{
    struct loader l = { .styles = s };
    struct xml x = { .start = on_start, .end = on_end, .owner = &l };
    bool ok = xml_open(&x, b, part, b->name, e) && xml_all(&x, NULL, e);

    xml_close(&x);
    free(l.formats);
    s->loaded = ok;
    if (!ok)
        styles_free(s);
    return ok;
}

void styles_free(struct styles *s)
{
    free(s->kinds);
    memset(s, 0, sizeof *s);
}
