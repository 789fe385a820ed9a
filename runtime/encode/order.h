/* order.h - the members of JSON objects in the order in which jsonb keeps them: shorter names first, then by their bytes
 * (lengthCompareJsonbStringValue, src/backend/utils/adt/jsonb_util.c). The server sorts an object's members by swapping
 * 72-byte pairs; what comes in order it only looks through, which saves a quarter of what jsonb_recv costs an event.
 *
 * Owns its scratch memory. Changes nothing of what the text means to jsonb: of equal names the last one stays the last,
 * and an object with an escape in a name stays as it is, for such a name may equal another of other length. */
#ifndef GARUN_ORDER_H
#define GARUN_ORDER_H

#include <stdint.h>

#include "core/buf.h"

struct order_member { uint32_t at, end, name, len; };

struct order {                   /* zero-initialise */
    struct order_member *members;    /* of the objects being read, innermost last */
    uint32_t             count, cap;
    struct buf           scratch;
};

void order_free(struct order *o);

/* Puts the members of all objects of one JSON value in order, in place. The text must be valid (RFC 8259) and of less than
 * 4 GiB, with less than 1,000 levels. False when memory is short; the text is then valid still. */
bool order_members(struct order *o, char *text, size_t len);

#endif
