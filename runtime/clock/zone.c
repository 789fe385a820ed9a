/* zone.c - see zone.h. Owns the tables of a zone. Every offset and count of the file is checked against its size, for a
 * damaged or hostile zone file must be an error and no more. */
#include "clock/zone.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "clock/civil.h"

enum {
    FILE_MAX = 1 << 20,
    HEADER_SIZE = 44,
    ABBREV_MAX = 16,
    RULE_TIME_MAX = 167 * 3600,    /* RFC 8536, 3.3.1 */
};

struct type {
    int32_t offset;
    bool    dst;
    uint8_t abbrev;               /* index into chars */
};

enum rule_form { RULE_NONE, RULE_JULIAN, RULE_DAY, RULE_MONTH };

struct rule {                     /* when in a year the clock is set */
    enum rule_form form;
    int            month, week, day;
    int32_t        time;          /* seconds of the local clock that is then left */
};

struct side {                     /* one half of a POSIX TZ rule */
    int32_t     offset;
    char        abbrev[ABBREV_MAX];
    struct rule start;            /* when it begins */
};

struct zone {
    size_t      count, types;
    int64_t    *at;               /* ascending; each begins the type in kind[] */
    uint8_t    *kind;
    struct type *type;
    char       *chars;            /* NUL-terminated behind its end */
    bool        has_rule, has_dst;
    struct side standard, summer; /* the rule for what is after the table */
};


/* ---- the rule at the end: POSIX TZ, "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool parse_number(const char **s, int max, int *out)
{
    int n = 0;
    if (!isdigit((unsigned char)**s))
        return false;
    while (isdigit((unsigned char)**s)) {
        n = n * 10 + (*(*s)++ - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool parse_clock(const char **s, int max_hours, int32_t *out)
{
    int sign = 1, h, m = 0, sec = 0;
    if (**s == '+' || **s == '-')
        sign = *(*s)++ == '-' ? -1 : 1;
    if (!parse_number(s, max_hours, &h))
        return false;
    if (**s == ':' && ((*s)++, !parse_number(s, 59, &m)))
        return false;
    if (**s == ':' && ((*s)++, !parse_number(s, 59, &sec)))
        return false;
    *out = sign * (h * 3600 + m * 60 + sec);
    return true;
}

static bool parse_abbrev(const char **s, char out[ABBREV_MAX])
{
    size_t n = 0;
    bool quoted = **s == '<';
    if (quoted)
        (*s)++;
    while (isalpha((unsigned char)**s) || (quoted && (isdigit((unsigned char)**s) || **s == '+' || **s == '-'))) {
        if (n == ABBREV_MAX - 1)
            return false;
        out[n++] = *(*s)++;
    }
    out[n] = '\0';
    return n >= 3 && (!quoted || *(*s)++ == '>');
}

/* Mm.w.d, Jn or n, then /time */
static bool parse_rule(const char **s, struct rule *r)
{
    r->time = 2 * 3600;
    if (*(*s)++ != ',')
        return false;
    if (**s == 'M') {
        (*s)++;
        r->form = RULE_MONTH;
        if (!parse_number(s, 12, &r->month) || r->month < 1 || *(*s)++ != '.' || !parse_number(s, 5, &r->week) ||
            r->week < 1 || *(*s)++ != '.' || !parse_number(s, 6, &r->day))
            return false;
    } else {
        r->form = **s == 'J' ? RULE_JULIAN : RULE_DAY;
        if (**s == 'J')
            (*s)++;
        if (!parse_number(s, 365, &r->day) || (r->form == RULE_JULIAN && r->day < 1))
            return false;
    }
    return **s != '/' || ((*s)++, parse_clock(s, RULE_TIME_MAX / 3600, &r->time));
}

static bool parse_footer(struct zone *z, const char *s)
{
    int32_t west;
    if (!*s)
        return true;                 /* no rule: the last type goes on */
    if (!parse_abbrev(&s, z->standard.abbrev) || !parse_clock(&s, 24, &west))
        return false;
    z->standard.offset = -west;      /* POSIX counts west of Greenwich */
    z->has_rule = true;
    if (!*s)
        return true;
    z->has_dst = true;
    if (!parse_abbrev(&s, z->summer.abbrev))
        return false;
    z->summer.offset = z->standard.offset + 3600;
    if (*s != ',') {
        if (!parse_clock(&s, 24, &west))
            return false;
        z->summer.offset = -west;
    }
    return parse_rule(&s, &z->summer.start) && parse_rule(&s, &z->standard.start) && !*s;
}

/* Local seconds at which the rule sets the clock in that year. */
static int64_t rule_local(const struct rule *r, int year)
{
    int64_t day;
    if (r->form == RULE_MONTH) {
        int64_t first = civil_days(year, r->month, 1);
        int weekday = civil_weekday(first) % 7;                /* 0 = Sunday, as the rule counts */
        int date = 1 + (r->day - weekday + 7) % 7 + (r->week - 1) * 7;
        if (date > civil_month_days(year, r->month))
            date -= 7;                                         /* week 5 is the last one */
        day = first + date - 1;
    } else if (r->form == RULE_JULIAN) {                       /* 1..365, 29 February is never counted */
        day = civil_days(year, 1, 1) + r->day - 1 + (civil_is_leap(year) && r->day >= 60);
    } else {
        day = civil_days(year, 1, 1) + r->day;
    }
    return day * 86400 + r->time;
}

static int year_of(int64_t seconds)
{
    return civil_date(civil_floor_day(seconds)).year;
}

/* Among the rule's settings around the instant: the last one at or before it (which side it begins), and the first one
 * after it. Rule times reach a week beyond their day, so the neighbouring years count. */
static const struct side *rule_around(const struct zone *z, int64_t instant, int64_t *next)
{
    const struct side *now = &z->standard;
    int64_t since = INT64_MIN;
    int year = year_of(instant);
    *next = INT64_MAX;
    if (!z->has_dst)
        return now;
    for (int y = year - 1; y <= year + 1; y++) {
        int64_t to_summer = rule_local(&z->summer.start, y) - z->standard.offset;
        int64_t to_standard = rule_local(&z->standard.start, y) - z->summer.offset;
        /* Where both fall together (summer time all year round) the summer side wins. */
        if (to_standard <= instant && to_standard > since) {
            since = to_standard;
            now = &z->standard;
        }
        if (to_summer <= instant && to_summer >= since) {
            since = to_summer;
            now = &z->summer;
        }
        if (to_standard > instant && to_standard < *next)
            *next = to_standard;
        if (to_summer > instant && to_summer < *next)
            *next = to_summer;
    }
    return now;
}


/* ---- the file ---- */

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const unsigned char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct header {
    uint32_t isut, isstd, leap, time, type, chars;
};

static struct header read_header(const unsigned char *p)
{
    return (struct header){ be32(p + 20), be32(p + 24), be32(p + 28), be32(p + 32), be32(p + 36), be32(p + 40) };
}

static uint64_t body_size(const struct header *h, unsigned time_size)
{
    return (uint64_t)h->time * (time_size + 1) + (uint64_t)h->type * 6 + h->chars +
           (uint64_t)h->leap * (time_size + 4) + h->isstd + h->isut;
}

static struct zone *damaged(struct zone *z, struct err *e, const char *name, const char *what)
{
    err_set(e, "time", "zone", "time zone %s: its file is damaged: %s", name, what);
    snprintf(e->hint, sizeof e->hint, "reinstall the package tzdata");
    zone_free(z);
    return NULL;
}

struct zone *zone_parse(const void *bytes, size_t len, const char *name, struct err *e)
{
    const unsigned char *p = bytes, *end = p + len;
    if (len < HEADER_SIZE || memcmp(p, "TZif", 4) != 0)
        return damaged(NULL, e, name, "it does not begin with TZif");
    if (p[4] < '2')
        return damaged(NULL, e, name, "it is of version 1, whose times end in 2038");
    struct header h = read_header(p);
    uint64_t first = HEADER_SIZE + body_size(&h, 4);       /* the 32-bit copy, for old readers */
    if (first > len || len - first < HEADER_SIZE)
        return damaged(NULL, e, name, "it is cut short");
    p += first;
    if (memcmp(p, "TZif", 4) != 0)
        return damaged(NULL, e, name, "its second header is missing");
    h = read_header(p);
    p += HEADER_SIZE;
    if (body_size(&h, 8) > (uint64_t)(end - p))
        return damaged(NULL, e, name, "it is cut short");
    if (h.type == 0 || h.type > 256 || h.chars == 0 || h.chars > 256)
        return damaged(NULL, e, name, "it has an impossible number of types");
    if (h.leap)
        return damaged(NULL, e, name, "it counts leap seconds (right/...), which no clock of a computer shows");

    struct zone *z = calloc(1, sizeof *z);
    if (z) {
        z->at = malloc((h.time + 1) * sizeof *z->at);
        z->kind = malloc(h.time + 1);
        z->type = malloc(h.type * sizeof *z->type);
        z->chars = calloc(1, h.chars + 1);
    }
    if (!z || !z->at || !z->kind || !z->type || !z->chars) {
        zone_free(z);
        err_set(e, "time", "ENOMEM", "time zone %s: not enough memory", name);
        return NULL;
    }
    z->count = h.time;
    z->types = h.type;
    for (size_t i = 0; i < h.time; i++, p += 8) {
        z->at[i] = be64(p);
        if (i && z->at[i] <= z->at[i - 1])
            return damaged(z, e, name, "its times are not ascending");
    }
    for (size_t i = 0; i < h.time; i++) {
        z->kind[i] = *p++;
        if (z->kind[i] >= h.type)
            return damaged(z, e, name, "a time has an unknown type");
    }
    for (size_t i = 0; i < h.type; i++, p += 6) {
        z->type[i] = (struct type){ .offset = (int32_t)be32(p), .dst = p[4] != 0, .abbrev = p[5] };
        if (p[5] >= h.chars || p[4] > 1 || z->type[i].offset < -90000 || z->type[i].offset > 93600)
            return damaged(z, e, name, "a type is out of range");
    }
    memcpy(z->chars, p, h.chars);
    p += (size_t)h.chars + h.isstd + h.isut;

    const unsigned char *stop = end - p >= 2 && *p == '\n' ? memchr(p + 1, '\n', (size_t)(end - p - 1)) : NULL;
    if (!stop)
        return damaged(z, e, name, "the rule at its end is missing");
    char footer[128];
    size_t n = (size_t)(stop - p - 1);
    if (n >= sizeof footer)
        return damaged(z, e, name, "the rule at its end is too long");
    memcpy(footer, p + 1, n);
    footer[n] = '\0';
    if (strlen(footer) != n || !parse_footer(z, footer))
        return damaged(z, e, name, "the rule at its end is malformed");
    return z;
}

static struct zone *make_utc(struct err *e)
{
    struct zone *z = calloc(1, sizeof *z);
    if (!z) {
        err_set(e, "time", "ENOMEM", "time zone UTC: not enough memory");
        return NULL;
    }
    z->has_rule = true;
    memcpy(z->standard.abbrev, "UTC", 4);
    return z;
}

bool zone_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > ZONE_NAME_MAX || name[0] == '/' || name[0] == '.' || strstr(name, "..") || strstr(name, "//"))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") == len;
}

struct zone *zone_load(const char *dir, const char *name, struct err *e)
{
    char path[4096];
    struct stat st;
    struct zone *z = NULL;
    unsigned char *bytes = NULL;
    ssize_t n = 0;
    if (strcmp(name, "UTC") == 0)
        return make_utc(e);
    int len = zone_name_valid(name) ? snprintf(path, sizeof path, "%s/%s", dir, name) : -1;
    int fd = len > 0 && (size_t)len < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (stat(dir, &st) != 0) {
            err_set(e, "time", "tzdata", "time zone %.64s: there are no time zones on this machine (%s is missing)",
                    name, dir);
            snprintf(e->hint, sizeof e->hint, "install the package tzdata (apt-get install tzdata)");
        } else {
            err_set(e, "time", "unknown", "unknown time zone '%.64s'", name);
        }
        goto out;
    }
    if (st.st_size < HEADER_SIZE || st.st_size > FILE_MAX) {
        err_set(e, "time", "unknown", "unknown time zone '%.64s': %s is no zone file", name, path);
        goto out;
    }
    bytes = malloc((size_t)st.st_size);
    if (!bytes) {
        err_set(e, "time", "ENOMEM", "time zone %s: not enough memory", name);
        goto out;
    }
    while (n < st.st_size) {
        ssize_t got = read(fd, bytes + n, (size_t)(st.st_size - n));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_errno(e, "time", errno, "time zone %s: cannot read %s", name, path);
            goto out;
        }
        if (got == 0)
            break;
        n += got;
    }
    if (n < 4 || memcmp(bytes, "TZif", 4) != 0)
        err_set(e, "time", "unknown", "unknown time zone '%.64s': %s is no zone file", name, path);
    else
        z = zone_parse(bytes, (size_t)n, name, e);
out:
    free(bytes);
    if (fd >= 0)
        close(fd);
    return z;
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    free(z->at);
    free(z->kind);
    free(z->type);
    free(z->chars);
    free(z);
}


/* ---- questions ---- */

/* The number of table entries at or before the instant. */
static size_t entries_until(const struct zone *z, int64_t instant)
{
    size_t low = 0, high = z->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (z->at[middle] <= instant)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Years beyond this have no calendar here; the rule says the same for all of them. */
static int64_t clamp(int64_t instant)
{
    const int64_t limit = (int64_t)253402300799;      /* the end of 9999 */
    return instant > limit ? limit : instant < -limit ? -limit : instant;
}

void zone_at(const struct zone *z, int64_t instant, struct zone_local *out)
{
    size_t n = entries_until(z, instant);
    if (n == z->count && z->has_rule) {
        int64_t next;
        const struct side *side = rule_around(z, clamp(instant), &next);
        *out = (struct zone_local){ .offset = side->offset, .dst = side == &z->summer, .abbrev = side->abbrev };
        return;
    }
    /* Before the first entry type 0 applies (RFC 8536, 3.2). */
    const struct type *t = &z->type[n ? z->kind[n - 1] : 0];
    *out = (struct zone_local){ .offset = t->offset, .dst = t->dst, .abbrev = z->chars + t->abbrev };
}

int64_t zone_next(const struct zone *z, int64_t instant)
{
    size_t n = entries_until(z, instant);
    if (n < z->count)
        return z->at[n];
    int64_t next = INT64_MAX;
    if (z->has_rule && instant == clamp(instant))
        rule_around(z, instant, &next);
    return next;
}

enum zone_fit zone_instant(const struct zone *z, int64_t local, int64_t *instant)
{
    /* Offsets lie between -25 and 26 hours, so the instant is in the two days around; walk through what the clock does
     * there. from .. next is a stretch with one offset. */
    struct zone_local now;
    int64_t from = clamp(local) - 2 * 86400;
    for (;;) {
        int64_t next = zone_next(z, from);
        zone_at(z, from, &now);
        int64_t candidate = local - now.offset;
        if (candidate < from) {                  /* the clock jumped over it when this stretch began */
            *instant = from;
            return ZONE_GAP;
        }
        if (candidate < next) {
            *instant = candidate;
            if (next == INT64_MAX)
                return ZONE_UNIQUE;
            /* Set back behind it, the clock shows it again. Two settings within a day occur, so look at all of them. */
            while (next <= local + 2 * 86400) {
                zone_at(z, next, &now);
                int64_t again = local - now.offset, after = zone_next(z, next);
                if (again >= next && again < after)
                    return ZONE_OVERLAP;
                if (after == INT64_MAX)
                    break;
                next = after;
            }
            return ZONE_UNIQUE;
        }
        from = next;
    }
}
