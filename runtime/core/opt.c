/* opt.c - option tables of Lua calls, see opt.h; also the "did you mean" that every unknown name deserves.
 *
 * Options are read raw: a metatable could answer for keys that the check never saw. Values are strict about their type
 * ("5" is not a number), and error texts show numbers that are out of range but never strings, which may be secrets. */
#include <math.h>
#include <string.h>
#include <lauxlib.h>
#include "core/err.h"
#include "core/opt.h"

enum { NEAREST_MAX = 48 };     /* longer names get no suggestion */

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == '-' ? '_' : c;
}

/* Edit distance in which two neighbours swapped count as one edit (optimal string alignment); case and '-' for '_' cost
 * nothing, so that "Time-Out" finds "time_out". Both lengths are at most NEAREST_MAX. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    int rows[3][NEAREST_MAX + 1];
    int *before = rows[0], *prev = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        prev[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int ca = lower(a[i - 1]), cb = lower(b[j - 1]);
            row[j] = min3(prev[j] + 1, row[j - 1] + 1, prev[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == lower(b[j - 2]) && lower(a[i - 2]) == cb && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        int *unused = before;
        before = prev;
        prev = row;
        row = unused;
    }
    return prev[nb];
}

const char *opt_nearest(const char *name, const char *const *names)
{
    size_t len = strlen(name);
    const char *best = NULL;
    int best_distance = 0;

    if (len == 0 || len > NEAREST_MAX)
        return NULL;
    for (; *names; names++) {
        size_t n = strlen(*names);
        if (n == 0 || n > NEAREST_MAX)
            continue;
        size_t longer = n > len ? n : len;
        int limit = longer <= 3 ? 1 : (int)(longer / 3);      /* a third of it wrong is another word */
        if (limit > 3)
            limit = 3;
        int d = distance(name, len, *names, n);
        if (d <= limit && d < (int)longer && (!best || d < best_distance)) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}

/* Raises for the key at the top of the stack, which is not in names. */
static int l_unknown(lua_State *L, const char *fn, const char *const *names)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        return l_raisef(L, "usage", "option", "%s: option names are strings, but the table has a key that is a %s", fn,
                        luaL_typename(L, -1));
    const char *key = lua_tostring(L, -1);
    const char *near = opt_nearest(key, names);
    if (near)
        return l_raisef(L, "usage", "option", "%s: unknown option '%s', did you mean '%s'?", fn, key, near);
    if (!names[0])
        return l_raisef(L, "usage", "option", "%s: unknown option '%s', it takes none", fn, key);

    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (const char *const *n = names; *n; n++) {
        if (n != names)
            luaL_addstring(&list, ", ");
        luaL_addstring(&list, *n);
    }
    luaL_pushresult(&list);
    return l_raisef(L, "usage", "option", "%s: unknown option '%s', known are: %s", fn, key, lua_tostring(L, -1));
}

void l_opt_check(lua_State *L, int idx, const char *fn, const char *const *names)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 4, fn);
    if (lua_isnoneornil(L, idx)) {
        if (lua_gettop(L) < idx)
            lua_settop(L, idx);
        lua_newtable(L);
        lua_replace(L, idx);
        return;
    }
    if (!lua_istable(L, idx))
        l_raisef(L, "usage", "option", "%s: options must be a table, got %s", fn, luaL_typename(L, idx));

    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        bool known = false;
        if (lua_type(L, -1) == LUA_TSTRING) {
            const char *key = lua_tostring(L, -1);
            for (const char *const *n = names; *n && !known; n++)
                known = strcmp(key, *n) == 0;
        }
        if (!known)
            l_unknown(L, fn, names);
    }
}

/* Pushes the option's value; false and nothing pushed when it is absent. */
static bool l_get(lua_State *L, int idx, const char *name)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 4, "too many values on the stack");
    lua_pushstring(L, name);
    if (lua_rawget(L, idx) != LUA_TNIL)
        return true;
    lua_pop(L, 1);
    return false;
}

static int l_wrong_type(lua_State *L, const char *fn, const char *name, const char *what)
{
    return l_raisef(L, "usage", "option", "%s: option '%s' must be %s, got %s", fn, name, what, luaL_typename(L, -1));
}

double l_opt_number(lua_State *L, int idx, const char *fn, const char *name, double def, double min, double max)
{
    if (!l_get(L, idx, name))
        return def;
    if (lua_type(L, -1) != LUA_TNUMBER)
        l_wrong_type(L, fn, name, "a number");
    double v = lua_tonumber(L, -1);
    if (!(v >= min && v <= max)) {      /* written so that NaN fails */
        if (isfinite(min) && isfinite(max) && max < 1e300)
            l_raisef(L, "usage", "option", "%s: option '%s' must be a number from %f to %f, got %f", fn, name, min, max,
                     v);
        l_raisef(L, "usage", "option", "%s: option '%s' must be a number of at least %f, got %f", fn, name, min, v);
    }
    lua_pop(L, 1);
    return v;
}

lua_Integer l_opt_integer(lua_State *L, int idx, const char *fn, const char *name, lua_Integer def, lua_Integer min,
                          lua_Integer max)
{
    if (!l_get(L, idx, name))
        return def;
    if (lua_type(L, -1) != LUA_TNUMBER)
        l_wrong_type(L, fn, name, "an integer");
    int exact;
    lua_Integer v = lua_tointegerx(L, -1, &exact);
    if (!exact)
        l_raisef(L, "usage", "option", "%s: option '%s' must be an integer, got %f", fn, name, lua_tonumber(L, -1));
    if (v < min || v > max) {
        if (max == LUA_MAXINTEGER)
            l_raisef(L, "usage", "option", "%s: option '%s' must be an integer of at least %I, got %I", fn, name,
                     (LUAI_UACINT)min, (LUAI_UACINT)v);
        l_raisef(L, "usage", "option", "%s: option '%s' must be an integer from %I to %I, got %I", fn, name,
                 (LUAI_UACINT)min, (LUAI_UACINT)max, (LUAI_UACINT)v);
    }
    lua_pop(L, 1);
    return v;
}

bool l_opt_boolean(lua_State *L, int idx, const char *fn, const char *name, bool def)
{
    if (!l_get(L, idx, name))
        return def;
    if (lua_type(L, -1) != LUA_TBOOLEAN)
        l_wrong_type(L, fn, name, "true or false");
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

const char *l_opt_string(lua_State *L, int idx, const char *fn, const char *name, const char *def, size_t *len)
{
    if (!l_get(L, idx, name)) {
        if (len)
            *len = def ? strlen(def) : 0;
        return def;
    }
    if (lua_type(L, -1) != LUA_TSTRING)
        l_wrong_type(L, fn, name, "a string");
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    if (len)
        *len = n;
    else if (strlen(s) != n)    /* the caller reads a C string: what follows a zero byte would be lost silently */
        l_raisef(L, "usage", "option", "%s: option '%s' must not contain a zero byte", fn, name);
    lua_pop(L, 1);
    return s;
}
