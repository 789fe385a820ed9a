/* log.c - garun.log: the records of core/log.h for scripts.
 *
 * A logger is a table of closures; each holds its level and the fields that every record of this logger carries (nil
 * for the module itself). Owns nothing else. A log call refuses to fail: whatever value a field has, something is
 * printed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "core/err.h"
#include "core/log.h"
#include "core/opt.h"

enum {
    FIELDS_MAX = 64,      /* fields of one record; the field more_fields counts the rest */
    ITEMS_MAX = 20,       /* items of a table value that are shown */
    UP_LEVEL = 1, UP_BASE = 2,
};

struct record {
    struct log_field fields[FIELDS_MAX];
    size_t           n, dropped;
};

static void l_push_text(lua_State *L, int idx, int depth);

/* Pushes a table value as {1, 2, a=three}: "table: 0x55..." helps nobody. */
static void l_push_items(lua_State *L, int idx, int depth)
{
    lua_pushliteral(L, "{");
    int text = lua_gettop(L), n = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {                                 /* text, key, value */
        int value = lua_gettop(L);
        lua_pushvalue(L, text);
        lua_pushstring(L, n ? ", " : "");
        if (n == ITEMS_MAX)
            lua_pushliteral(L, "...");
        else
            l_push_text(L, value, depth + 1);
        if (n < ITEMS_MAX && !(lua_isinteger(L, value - 1) && lua_tointeger(L, value - 1) == n + 1)) {
            l_push_text(L, value - 1, depth + 1);
            lua_pushliteral(L, "=");
            lua_rotate(L, -3, 2);                              /* text, key, value, text, comma, key, "=", value */
        }
        lua_concat(L, lua_gettop(L) - value);
        lua_replace(L, text);
        lua_pop(L, n++ == ITEMS_MAX ? 2 : 1);
        if (n > ITEMS_MAX)
            break;
    }
    lua_pushliteral(L, "}");
    lua_concat(L, 2);
}

/* Pushes what a record shows of the value at idx (absolute). */
static void l_push_text(lua_State *L, int idx, int depth)
{
    luaL_checkstack(L, 12, "log field");
    if (!lua_istable(L, idx) || luaL_getmetafield(L, idx, "__tostring") != LUA_TNIL) {
        luaL_tolstring(L, idx, NULL);
        if (lua_istable(L, idx))
            lua_remove(L, -2);                                 /* the metafield */
    } else if (depth >= 3) {
        lua_pushliteral(L, "{...}");
    } else {
        l_push_items(L, idx, depth);
    }
}

/* Adds a field; its text stays on the stack as long as the record is built. */
static void l_add_value(lua_State *L, struct record *r, const char *key, size_t key_len, int idx)
{
    if (r->n == FIELDS_MAX) {
        r->dropped++;
        return;
    }
    struct log_field *f = &r->fields[r->n++];
    *f = (struct log_field){ .key = key, .key_len = key_len };
    f->bare = lua_isboolean(L, idx) || lua_isinteger(L, idx) ||
              (lua_type(L, idx) == LUA_TNUMBER && isfinite(lua_tonumber(L, idx)));
    l_push_text(L, idx, 0);
    f->value = lua_tolstring(L, -1, &f->value_len);
}

static int compare_fields(const void *a, const void *b)
{
    const struct log_field *x = a, *y = b;
    size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
    int c = memcmp(x->key, y->key, n);
    return c ? c : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

/* Adds the fields of the table at idx in the order of their names, without those that the table at over has too. */
static void l_add_fields(lua_State *L, struct record *r, int idx, int over)
{
    size_t first = r->n;
    luaL_checkstack(L, 3 * FIELDS_MAX, "log fields");
    lua_pushnil(L);
    while (lua_next(L, idx)) {                                 /* ..., key, value */
        int key = lua_gettop(L) - 1;
        if (over) {
            lua_pushvalue(L, key);
            bool hidden = lua_rawget(L, over) != LUA_TNIL;
            lua_pop(L, 1);
            if (hidden) {
                lua_pop(L, 1);
                continue;
            }
        }
        if (r->n == FIELDS_MAX) {
            r->dropped++;
            lua_pop(L, 1);
            continue;
        }
        size_t len;
        luaL_tolstring(L, key, &len);                          /* key, value, name */
        const char *name = lua_tostring(L, -1);
        l_add_value(L, r, name, len, key + 1);                 /* key, value, name, text */
        lua_remove(L, key + 1);
        lua_pushvalue(L, key);
        lua_remove(L, key);                                    /* name, text, key */
    }
    qsort(r->fields + first, r->n - first, sizeof r->fields[0], compare_fields);
}

/* An error object as message: its parts become fields, for a record is one line. */
static void l_add_error(lua_State *L, struct record *r, int idx)
{
    static const char *const parts[] = { "kind", "code", "detail", "hint", "at" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        lua_pushstring(L, parts[i]);
        if (lua_rawget(L, idx) != LUA_TNIL)
            l_add_value(L, r, parts[i], strlen(parts[i]), lua_gettop(L));
    }
}

static int l_log_write(lua_State *L)
{
    enum log_level level = (enum log_level)lua_tointeger(L, lua_upvalueindex(UP_LEVEL));
    if (!log_enabled(level))
        return 0;
    luaL_checkany(L, 1);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2) && !lua_istable(L, 2))
        return l_raisef(L, "usage", "argument", "log.%s: fields (argument 2) is a table like {rows = 12}, not a %s",
                        log_level_name(level), luaL_typename(L, 2));

    struct record r;
    r.n = r.dropped = 0;
    size_t len;
    const char *message;
    if (l_err_is(L, 1)) {
        lua_pushliteral(L, "message");
        lua_rawget(L, 1);
        message = luaL_tolstring(L, -1, &len);
        l_add_error(L, &r, 1);
    } else {
        l_push_text(L, 1, 0);
        message = lua_tolstring(L, -1, &len);
    }
    if (lua_istable(L, lua_upvalueindex(UP_BASE))) {
        lua_pushvalue(L, lua_upvalueindex(UP_BASE));
        l_add_fields(L, &r, lua_gettop(L), lua_istable(L, 2) ? 2 : 0);
    }
    if (lua_istable(L, 2))
        l_add_fields(L, &r, 2, 0);
    if (r.dropped && r.n == FIELDS_MAX) {
        lua_pushfstring(L, "%I", (lua_Integer)r.dropped + 1);
        struct log_field *f = &r.fields[FIELDS_MAX - 1];
        *f = (struct log_field){ .key = "more_fields", .key_len = 11, .bare = true };
        f->value = lua_tolstring(L, -1, &f->value_len);
    }
    log_emit(level, message, len, r.fields, r.n);
    return 0;
}

static int l_log_with(lua_State *L);

/* Fills the table on top of the stack with the functions of a logger whose fields are at base (0 for none). */
static void l_fill(lua_State *L, int base)
{
    for (int level = 0; level < LOG_LEVELS; level++) {
        lua_pushinteger(L, level);
        if (base)
            lua_pushvalue(L, base);
        else
            lua_pushnil(L);
        lua_pushcclosure(L, l_log_write, 2);
        lua_setfield(L, -2, log_level_name((enum log_level)level));
    }
    lua_pushinteger(L, 0);
    if (base)
        lua_pushvalue(L, base);
    else
        lua_pushnil(L);
    lua_pushcclosure(L, l_log_with, 2);
    lua_setfield(L, -2, "with");
}

static int l_log_with(lua_State *L)
{
    if (!lua_istable(L, 1))
        return l_raisef(L, "usage", "argument",
                        "log.with: fields (argument 1) is a table like {tenant = \"a\"}, not a %s",
                        luaL_typename(L, 1));
    lua_settop(L, 1);
    lua_newtable(L);                                           /* fields, merged */
    for (int i = 0; i < 2; i++) {
        lua_pushvalue(L, i == 0 ? lua_upvalueindex(UP_BASE) : 1);
        if (lua_istable(L, 3)) {
            lua_pushnil(L);
            while (lua_next(L, 3)) {                           /* fields, merged, from, key, value */
                lua_pushvalue(L, -2);
                lua_insert(L, -2);
                lua_rawset(L, 2);
            }
        }
        lua_settop(L, 2);
    }
    lua_newtable(L);
    l_fill(L, 2);
    return 1;
}

static int l_log_enabled(lua_State *L)
{
    int level = log_level_find(luaL_checkstring(L, 1));
    if (level < 0)
        return l_raisef(L, "usage", "argument", "log.enabled: unknown level; it is debug, info, warn or error");
    lua_pushboolean(L, log_enabled((enum log_level)level));
    return 1;
}

static int l_log_configure(lua_State *L)
{
    static const char *const names[] = { "level", "format", NULL };
    struct err e;
    l_opt_check(L, 1, "log.configure", names);
    const char *level = l_opt_string(L, 1, "log.configure", "level", NULL, NULL);
    const char *format = l_opt_string(L, 1, "log.configure", "format", NULL, NULL);
    if (!log_configure(level, format, &e))
        return l_raise(L, &e);
    return 0;
}

static int l_log_level(lua_State *L)
{
    lua_pushstring(L, log_level_name(log_level_now()));
    return 1;
}

static int l_log_secret(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    if (len < LOG_SECRET_MIN)
        return l_raisef(L, "log", "short",
                        "log.secret: the value has %d bytes; fewer than %d cannot be redacted without shredding every "
                        "line, use a longer secret", (int)len, (int)LOG_SECRET_MIN);
    if (!log_secret_add(bytes, len))
        return l_raisef(L, "log", "ENOMEM", "log.secret: memory is short, the value is not registered");
    lua_settop(L, 1);
    return 1;
}

static int l_log_redact(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct buf out = {0};
    if (!log_redact(&out, text, len))
        return l_raisef(L, "log", "ENOMEM", "log.redact: memory is short");
    if (out.len == len && (len == 0 || memcmp(out.data, text, len) == 0)) {
        buf_free(&out);
        lua_settop(L, 1);
        return 1;
    }
    /* The copy may raise for lack of memory, which must not leak the buffer: the box frees it. */
    luaL_Buffer b;
    size_t n = out.len;
    char *room = lua_newuserdatauv(L, n ? n : 1, 0);
    memcpy(room, out.data, n);
    buf_free(&out);
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, room, n);
    luaL_pushresult(&b);
    return 1;
}

static const luaL_Reg functions[] = {
    { "configure", l_log_configure },
    { "level", l_log_level },
    { "enabled", l_log_enabled },
    { "secret", l_log_secret },
    { "redact", l_log_redact },
    { NULL, NULL },
};

int luaopen_garun_log(lua_State *L)
{
    lua_newtable(L);
    l_fill(L, 0);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
