/* zone.h - one IANA time zone: what the local clock shows at an instant, and which instant a local clock means.
 *
 * Reads compiled zone files (TZif version 2 and later, RFC 8536) as the tzdata package installs them, with the rule at
 * their end for the years after the table. Pure: no environment, no TZ, nothing global. Instants are seconds since
 * 1970-01-01T00:00:00Z; local seconds are the same count made from what a local clock and calendar show. */
#ifndef GARUN_ZONE_H
#define GARUN_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/err.h"

#define ZONE_DIR      "/usr/share/zoneinfo"
#define ZONE_NAME_MAX 64

struct zone;

struct zone_local {
    int32_t     offset;       /* local seconds minus instant */
    bool        dst;
    const char *abbrev;       /* "CEST"; lives as long as the zone */
};

enum zone_fit {
    ZONE_UNIQUE,
    ZONE_GAP,                 /* the clock is set forward over it: the instant is the first one after the gap */
    ZONE_OVERLAP,             /* the clock shows it twice: the instant is the first of the two */
};

/* The zone of that name under dir (ZONE_DIR). The caller frees it. NULL and *e on failure; e->code is "unknown" when
 * there is no such zone, "tzdata" when there are no zones at all. "UTC" needs no file. */
struct zone *zone_load(const char *dir, const char *name, struct err *e);

/* The same from the bytes of a TZif file. name is for error texts. */
struct zone *zone_parse(const void *bytes, size_t len, const char *name, struct err *e);

void zone_free(struct zone *z);

void zone_at(const struct zone *z, int64_t instant, struct zone_local *out);

/* The instant of a local time; see enum zone_fit for the times that have none or two. */
enum zone_fit zone_instant(const struct zone *z, int64_t local, int64_t *instant);

/* The first instant after the given one at which the zone's rules change what zone_at says; INT64_MAX: never again. */
int64_t zone_next(const struct zone *z, int64_t instant);

/* True for what can be the name of a zone file: nothing that leads out of the directory. */
bool zone_name_valid(const char *name);

#endif
