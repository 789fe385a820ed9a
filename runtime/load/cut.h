/* cut.h - finding the last record end in a growing block of NDJSON or CSV.
 *
 * A batch for a worker must end between two records. In NDJSON that is any line feed; in CSV a line feed inside a quoted
 * field is data, so quotes are followed (RFC 4180: a quote opens a field only at its start, "" inside is a quote). */
#ifndef GARUN_CUT_H
#define GARUN_CUT_H

#include <stdbool.h>
#include <stddef.h>

enum cut_state { CUT_START, CUT_PLAIN, CUT_QUOTED, CUT_QUOTE };

struct cut {
    bool           csv;
    char           delimiter, quote;
    enum cut_state state;       /* of the byte after the last one scanned */
};

/* Scans n bytes that follow those scanned before; the number of them up to and including the last record end, 0 when
 * there is none. */
size_t cut_scan(struct cut *c, const char *p, size_t n);

/* Up to and including the first record end; 0 when there is none. The state is that of a fresh record afterwards. */
size_t cut_first(struct cut *c, const char *p, size_t n);

#endif
