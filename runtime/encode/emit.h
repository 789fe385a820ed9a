/* emit.h - a walked record, or a part of it, as JSON text. Owns nothing. */
#ifndef GARUN_EMIT_H
#define GARUN_EMIT_H

#include "core/buf.h"
#include "encode/doc.h"

/* Appends what is kept of d's text in [at, end): null members left out, U+0000 and unpaired surrogates as \ufffd,
 * numbers that numeric cannot hold as strings. False when memory is short. */
bool emit_json(struct buf *out, const struct doc *d, uint32_t at, uint32_t end);

#endif
