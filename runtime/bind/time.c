/* time.c - garun.core.time: clocks, day numbers and time zones for runtime/lua/garun/time.lua.
 *
 * Owns the zones that were used so far, one userdata each, in a table that the functions share as upvalue; zone files
 * are read once, on the spot (they have 1-3 KiB). Refuses to set TZ or call tzset. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "clock/civil.h"
#include "clock/zone.h"
#include "core/err.h"
#include "core/opt.h"

#define ZONE_TYPE "garun.time.zone"

struct zone_box {       /* the userdata */
    struct zone *z;
};

static int l_zone_gc(lua_State *L)
{
    struct zone_box *box = lua_touserdata(L, 1);
    zone_free(box->z);
    box->z = NULL;
    return 0;
}

static const char *zone_dir(void)
{
    const char *dir = getenv("TZDIR");       /* as libc; for systems that keep them elsewhere, and for tests */
    return dir && *dir ? dir : ZONE_DIR;
}

/* zones() -> array of all names, not sorted; empty without tzdata */
static void l_add_zones(lua_State *L, const char *dir, const char *prefix, lua_Integer *n, int depth)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *item; (item = readdir(d));) {
        char path[4096], name[512];
        struct stat st;
        bool hidden = item->d_name[0] == '.' || strcmp(item->d_name, "posix") == 0 ||
                      strcmp(item->d_name, "right") == 0 || strcmp(item->d_name, "localtime") == 0 ||
                      strcmp(item->d_name, "posixrules") == 0 || strcmp(item->d_name, "Factory") == 0;
        int path_len = snprintf(path, sizeof path, "%s/%s", dir, item->d_name);
        int name_len = snprintf(name, sizeof name, "%s%s", prefix, item->d_name);
        if (hidden || path_len < 0 || (size_t)path_len >= sizeof path || name_len < 0 || name_len > ZONE_NAME_MAX ||
            stat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < 3) {
            snprintf(name + name_len, sizeof name - (size_t)name_len, "/");
            l_add_zones(L, path, name, n, depth + 1);
        } else if (S_ISREG(st.st_mode)) {
            char magic[4] = "";
            FILE *f = fopen(path, "rbe");
            if (f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "TZif", 4) == 0) {
                lua_pushstring(L, name);     /* without memory this leaks d and f; the process is at its end then */
                lua_rawseti(L, -2, ++*n);
            }
            if (f)
                fclose(f);
        }
    }
    closedir(d);
}

static int l_zones(lua_State *L)
{
    lua_Integer n = 0;
    lua_newtable(L);
    l_add_zones(L, zone_dir(), "", &n, 0);
    return 1;
}

/* Pushes the known zone that the name was probably meant to be, or nil: "Berlin" is Europe/Berlin, too. */
static void l_push_nearest(lua_State *L, const char *name)
{
    l_zones(L);
    lua_Integer n = luaL_len(L, -1);
    const char **names = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *names, 0);     /* stack: zones, names */
    const char *last = strrchr(name, '/'), *found = NULL;
    last = last ? last + 1 : name;
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, -2, i + 1);
        names[i] = lua_tostring(L, -1);      /* the table keeps it */
        lua_pop(L, 1);
        const char *known = strrchr(names[i], '/');
        known = known ? known + 1 : names[i];
        if (strcasecmp(names[i], name) == 0 || (!found && strcasecmp(known, last) == 0))
            found = names[i];
    }
    names[n] = NULL;
    if (!found)
        found = opt_nearest(name, names);
    lua_pushstring(L, found);
    lua_insert(L, -3);
    lua_pop(L, 2);
}

/* Pushes the zone named at arg; raises when there is none. */
static struct zone *l_zone(lua_State *L, int arg)
{
    const char *name = luaL_checkstring(L, arg);
    if (lua_getfield(L, lua_upvalueindex(1), name) == LUA_TUSERDATA)
        return ((struct zone_box *)lua_touserdata(L, -1))->z;
    lua_pop(L, 1);
    struct err e;
    struct zone_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->z = NULL;
    luaL_setmetatable(L, ZONE_TYPE);
    box->z = zone_load(zone_dir(), name, &e);
    if (!box->z) {
        if (strcmp(e.code, "unknown") == 0) {
            l_push_nearest(L, name);
            if (lua_isstring(L, -1))
                snprintf(e.hint, sizeof e.hint, "did you mean '%s'?", lua_tostring(L, -1));
            else
                snprintf(e.hint, sizeof e.hint, "zones have names like Europe/Berlin, America/New_York or UTC");
        }
        l_raise(L, &e);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(1), name);
    return box->z;
}

/* zone_exists(name) -> true, or false and a suggestion (or nil) */
static int l_zone_exists(lua_State *L)
{
    struct err e;
    const char *name = luaL_checkstring(L, 1);
    struct zone *z = zone_load(zone_dir(), name, &e);
    zone_free(z);
    lua_pushboolean(L, z != NULL);
    if (z)
        return 1;
    if (strcmp(e.code, "unknown") != 0)
        return l_raise(L, &e);
    l_push_nearest(L, name);
    return 2;
}

/* offset(zone, instant) -> offset, abbreviation, dst */
static int l_offset(lua_State *L)
{
    struct zone_local local;
    lua_Integer instant = luaL_checkinteger(L, 2);
    zone_at(l_zone(L, 1), instant, &local);
    lua_pushinteger(L, local.offset);
    lua_pushstring(L, local.abbrev);
    lua_pushboolean(L, local.dst);
    return 3;
}

/* instant(zone, local seconds) -> instant, nil or "gap" or "overlap" */
static int l_instant(lua_State *L)
{
    int64_t instant;
    lua_Integer local = luaL_checkinteger(L, 2);
    enum zone_fit fit = zone_instant(l_zone(L, 1), local, &instant);
    lua_pushinteger(L, instant);
    if (fit == ZONE_UNIQUE)
        lua_pushnil(L);
    else
        lua_pushstring(L, fit == ZONE_GAP ? "gap" : "overlap");
    return 2;
}

/* next_change(zone, instant) -> instant or nil */
static int l_next_change(lua_State *L)
{
    lua_Integer instant = luaL_checkinteger(L, 2);
    int64_t next = zone_next(l_zone(L, 1), instant);
    if (next == INT64_MAX)
        lua_pushnil(L);
    else
        lua_pushinteger(L, next);
    return 1;
}

/* ---- calendar and clocks ---- */

/* days(year, month, day) -> day number, or nil when there is no such day */
static int l_days(lua_State *L)
{
    lua_Integer y = luaL_checkinteger(L, 1), m = luaL_checkinteger(L, 2), d = luaL_checkinteger(L, 3);
    bool small = y >= 1 && y <= 9999 && m >= 1 && m <= 12 && d >= 1 && d <= 31;
    if (small && civil_valid((int)y, (int)m, (int)d))
        lua_pushinteger(L, civil_days((int)y, (int)m, (int)d));
    else
        lua_pushnil(L);
    return 1;
}

/* civil(day number) -> year, month, day, weekday; nil outside the years 1 to 9999 */
static int l_civil(lua_State *L)
{
    lua_Integer days = luaL_checkinteger(L, 1);
    if (days < civil_days(1, 1, 1) || days > civil_days(9999, 12, 31))
        return 0;
    struct civil c = civil_date(days);
    lua_pushinteger(L, c.year);
    lua_pushinteger(L, c.month);
    lua_pushinteger(L, c.day);
    lua_pushinteger(L, civil_weekday(days));
    return 4;
}

static struct timespec read_clock(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);        /* cannot fail for these two clocks */
    return t;
}

static int l_now(lua_State *L)
{
    struct timespec t = read_clock(CLOCK_REALTIME);
    lua_pushnumber(L, (double)t.tv_sec + (double)t.tv_nsec / 1e9);
    return 1;
}

static int l_monotonic(lua_State *L)
{
    struct timespec t = read_clock(CLOCK_MONOTONIC);
    lua_pushnumber(L, (double)t.tv_sec + (double)t.tv_nsec / 1e9);
    return 1;
}

static int l_micros(lua_State *L)
{
    struct timespec t = read_clock(CLOCK_REALTIME);
    lua_pushinteger(L, (lua_Integer)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    return 1;
}

static const luaL_Reg functions[] = {
    { "now", l_now },
    { "monotonic", l_monotonic },
    { "micros", l_micros },
    { "days", l_days },
    { "civil", l_civil },
    { "zones", l_zones },
    { "zone_exists", l_zone_exists },
    { "offset", l_offset },
    { "instant", l_instant },
    { "next_change", l_next_change },
    { NULL, NULL },
};

int luaopen_garun_core_time(lua_State *L)
{
    luaL_newmetatable(L, ZONE_TYPE);
    lua_pushcfunction(L, l_zone_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlibtable(L, functions);
    lua_newtable(L);                  /* zones by name */
    luaL_setfuncs(L, functions, 1);
    return 1;
}
