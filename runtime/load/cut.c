/* cut.c - see cut.h. Pure; touches nothing but its argument. */
#include "load/cut.h"

#include <string.h>

static inline enum cut_state step(const struct cut *c, enum cut_state s, char b)
{
    switch (s) {
    case CUT_START:
        return b == c->quote ? CUT_QUOTED : b == c->delimiter || b == '\n' ? CUT_START : CUT_PLAIN;
    case CUT_PLAIN:
        return b == c->delimiter || b == '\n' ? CUT_START : CUT_PLAIN;
    case CUT_QUOTED:
        return b == c->quote ? CUT_QUOTE : CUT_QUOTED;
    default:            /* after a quote inside a quoted field: a second one is data, anything else ends the field */
        return b == c->quote ? CUT_QUOTED : b == c->delimiter || b == '\n' ? CUT_START : CUT_PLAIN;
    }
}

static size_t scan(struct cut *c, const char *p, size_t n, bool first)
{
    enum cut_state s = c->state;
    size_t end = 0;

    for (size_t i = 0; i < n; i++) {
        bool data = s == CUT_QUOTED;
        s = step(c, s, p[i]);
        if (p[i] == '\n' && !data) {
            end = i + 1;
            if (first)
                break;
        }
    }
    c->state = s;
    return end;
}

size_t cut_scan(struct cut *c, const char *p, size_t n)
{
    const char *nl;

    if (n == 0)
        return 0;
    /* Most CSV has no quotes at all: then a line feed is a record end and only the end of the block matters. */
    if (c->csv && (c->state == CUT_QUOTED || c->state == CUT_QUOTE || memchr(p, c->quote, n)))
        return scan(c, p, n, false);
    nl = memrchr(p, '\n', n);
    if (c->csv)
        c->state = p[n - 1] == '\n' || p[n - 1] == c->delimiter ? CUT_START : CUT_PLAIN;
    return nl ? (size_t)(nl - p) + 1 : 0;
}

size_t cut_first(struct cut *c, const char *p, size_t n)
{
    const char *nl;

    if (c->csv)
        return scan(c, p, n, true);
    nl = memchr(p, '\n', n);
    return nl ? (size_t)(nl - p) + 1 : 0;
}
