/* show.h - a column's bytes as text, for people and for partitions' names. Owns nothing. */
#ifndef GARUN_SHOW_H
#define GARUN_SHOW_H

#include "core/buf.h"
#include "encode/plan.h"

/* Appends what cell_put made for the column as text that PostgreSQL reads as the same value, one text for one value:
 * ISO dates and times (UTC), numbers without superfluous zeros, texts and JSON as they are. False when memory is
 * short. */
bool show_value(const struct plan_column *col, const char *bytes, size_t len, struct buf *out);

#endif
