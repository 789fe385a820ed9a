/* strings.c - the shared strings of a workbook: all their bytes in one run and where each ends, nothing else per string.
 *
 * Owns both. Rich text is its runs put together; phonetic runs (rPh) are left out. Refuses more than `max` bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "xlsx.h"

struct loader {
    struct strings *strings;
    size_t          begin;         /* of the string that is being read */
    bool            in_text;
};

static void fail_max(struct xml *x, const struct strings *s)
{
    xml_fail(x, "max_strings", "the shared strings take more memory than max_strings = %zu bytes", s->max);
    snprintf(x->e->hint, sizeof x->e->hint, "raise option max_strings, or save the sheet as CSV");
}

static bool on_start(struct xml *x, const char *name, const char **atts)
{
    struct loader *l = x->owner;
    (void)atts;
    if (strcmp(name, "si") == 0)
        l->begin = l->strings->bytes.len;
    else if (strcmp(name, "t") == 0)
        l->in_text = true;
    else if (strcmp(name, "sst") != 0 && strcmp(name, "r") != 0)
        return false;
    return true;
}

static void on_text(struct xml *x, const char *text, int n)
{
    struct loader *l = x->owner;
    struct strings *s = l->strings;
    if (!l->in_text)
        return;
    if (s->bytes.len + (size_t)n + s->n * sizeof *s->ends > s->max)
        fail_max(x, s);
    else if (!bytes_put(&s->bytes, text, (size_t)n))
        xml_fail(x, "ENOMEM", "not enough memory for the shared strings");
}

static void on_end(struct xml *x, const char *name)
{
    struct loader *l = x->owner;
    struct strings *s = l->strings;
    if (strcmp(name, "t") == 0) {
        l->in_text = false;
    } else if (strcmp(name, "si") == 0) {
        char *text = s->bytes.data ? s->bytes.data + l->begin : NULL;
        if (text)
            s->bytes.len = l->begin + text_unescape(text, s->bytes.len - l->begin);
        if (s->bytes.len + (s->n + 1) * sizeof *s->ends > s->max)
            fail_max(x, s);
        else if (!list_reserve((void **)&s->ends, &s->cap, s->n, sizeof *s->ends))
            xml_fail(x, "ENOMEM", "not enough memory for the shared strings");
        else
            s->ends[s->n++] = (uint32_t)s->bytes.len;
    }
}

bool strings_load(struct strings *s, struct box *b, const char *part, const atomic_bool *stop, struct garun_error *e)
{
    struct loader l = { .strings = s };
    struct xml x = { .start = on_start, .end = on_end, .text = on_text, .owner = &l };
    char where[XLSX_NAME_MAX + 32];

    snprintf(where, sizeof where, "%s: shared strings", b->name);
    bool ok = xml_open(&x, b, part, where, e) && xml_all(&x, stop, e);
    xml_close(&x);
    s->loaded = ok;
    if (!ok)
        strings_free(s);
    return ok;
}

void strings_free(struct strings *s)
{
    size_t max = s->max;
    bytes_free(&s->bytes);
    free(s->ends);
    memset(s, 0, sizeof *s);
    s->max = max;
}
