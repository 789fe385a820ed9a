/* err_lua.c - raising and printing of error objects; the module garun.error.
 *
 * An error object is a plain table, so that scripts read and extend it, with a metatable that is kept in the registry
 * under this file's key and hidden from scripts. Owns nothing else. It refuses to know what any kind means. */
#include <stdarg.h>
#include <string.h>
#include <lauxlib.h>
#include "core/err.h"
#include "core/opt.h"

/* Only its address is used: a registry key that needs no string, so that looking it up cannot raise. */
static const char METATABLE_KEY = 0;

/* ---- error objects ---- */

static int l_tostring(lua_State *L);
static int l_concat(lua_State *L);

static void push_metatable(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &METATABLE_KEY) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 4);
    lua_pushliteral(L, "garun.error");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, l_concat);
    lua_setfield(L, -2, "__concat");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &METATABLE_KEY);
}

bool l_err_is(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_checkstack(L, 2) || !lua_getmetatable(L, idx))
        return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &METATABLE_KEY);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* Sets field `at` of the object at the top to "file.lua:12", the nearest line of a script; lines of the embedded
 * modules (chunk names without '@') are passed over, for the operator cannot edit them. */
static void set_position(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; level < 16 && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && ar.source[0] == '@') {
            lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
            lua_setfield(L, -2, "at");
            return;
        }
    }
}

static void set_text(lua_State *L, const char *field, const char *text)
{
    if (text && text[0]) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, field);
    }
}

/* Pushes a new object without fields but kind, code and retryable. */
static void push_object(lua_State *L, const char *kind, const char *code, bool retryable)
{
    luaL_checkstack(L, 5, "error object");
    lua_createtable(L, 0, 7);
    set_text(L, "kind", kind);
    set_text(L, "code", code);
    lua_pushboolean(L, retryable);
    lua_setfield(L, -2, "retryable");
    push_metatable(L);
    lua_setmetatable(L, -2);
}

void l_err_push(lua_State *L, const struct err *e)
{
    push_object(L, e->kind ? e->kind : "error", e->code, e->retryable);
    lua_pushstring(L, e->message);      /* always there, even when empty */
    lua_setfield(L, -2, "message");
    set_text(L, "detail", e->detail);
    set_text(L, "hint", e->hint);
    set_position(L);
}

int l_raise(lua_State *L, const struct err *e)
{
    l_err_push(L, e);
    lua_error(L);
    __builtin_unreachable();    /* lua_error is declared as returning int */
}

int l_raisef(lua_State *L, const char *kind, const char *code, const char *fmt, ...)
{
    va_list ap;
    push_object(L, kind, code, false);
    va_start(ap, fmt);
    lua_pushvfstring(L, fmt, ap);
    va_end(ap);
    lua_setfield(L, -2, "message");
    set_position(L);
    lua_error(L);
    __builtin_unreachable();
}

/* Adds the string at idx after "\n  name: "; its later lines are indented to stay below the first. */
static void add_lines(lua_State *L, luaL_Buffer *out, const char *name, int idx)
{
    size_t len;
    const char *text = lua_tolstring(L, idx, &len);
    if (!text || len == 0)
        return;
    luaL_addstring(out, "\n  ");
    luaL_addstring(out, name);
    luaL_addstring(out, ": ");
    for (size_t i = 0; i < len; i++) {
        luaL_addchar(out, text[i]);
        if (text[i] == '\n' && i + 1 < len)
            luaL_addstring(out, "    ");
    }
}

/* "kind: message", then detail, statement (of pg errors) and hint on lines of their own. Reads the fields raw: printing
 * must not fail. */
static int l_tostring(lua_State *L)
{
    static const char *const fields[] = { "kind", "message", "detail", "statement", "hint" };

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (int i = 0; i < 5; i++) {       /* stack: error, kind, message, detail, statement, hint */
        lua_pushstring(L, fields[i]);
        lua_rawget(L, 1);
    }
    size_t len;
    const char *kind = lua_tostring(L, 2), *message = lua_tolstring(L, 3, &len);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addstring(&out, kind ? kind : "error");
    luaL_addstring(&out, ": ");
    if (message && len > 0)
        luaL_addlstring(&out, message, len);
    else
        luaL_addstring(&out, "(no message)");
    add_lines(L, &out, "detail", 4);
    add_lines(L, &out, "statement", 5);
    add_lines(L, &out, "hint", 6);
    luaL_pushresult(&out);
    return 1;
}

static int l_concat(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

/* ---- the module ---- */

static const char *const NEW_OPTIONS[] = { "kind", "code", "message", "detail", "hint", "retryable", "cause", NULL };

/* Copies option name (a string) from the table at 1 into the object at the top. */
static void copy_text(lua_State *L, const char *name, const char *def)
{
    size_t len;
    const char *text = l_opt_string(L, 1, "error.new", name, def, &len);
    if (text) {
        lua_pushlstring(L, text, len);
        lua_setfield(L, -2, name);
    }
}

static int l_error_new(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {        /* error.new "text" */
        lua_settop(L, 1);
        lua_createtable(L, 0, 1);
        lua_insert(L, 1);
        lua_setfield(L, 1, "message");
    }
    l_opt_check(L, 1, "error.new", NEW_OPTIONS);
    lua_settop(L, 1);
    size_t len;
    if (!l_opt_string(L, 1, "error.new", "message", NULL, &len))
        return l_raisef(L, "usage", "option", "error.new: option 'message' is missing; say what failed and why");

    push_object(L, NULL, NULL, l_opt_boolean(L, 1, "error.new", "retryable", false));
    copy_text(L, "kind", "error");
    copy_text(L, "message", NULL);
    copy_text(L, "detail", NULL);
    copy_text(L, "hint", NULL);
    if (lua_getfield(L, 1, "code") == LUA_TNUMBER)     /* an HTTP status; e.code is a string in every error */
        lua_tostring(L, -1);
    else if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        return l_raisef(L, "usage", "option", "error.new: option 'code' must be a string or an integer, got %s",
                        luaL_typename(L, -1));
    lua_setfield(L, -2, "code");
    lua_getfield(L, 1, "cause");
    lua_setfield(L, -2, "cause");
    set_position(L);
    return 1;
}

static int l_error_is(lua_State *L)
{
    luaL_checkany(L, 1);
    const char *kind = luaL_optstring(L, 2, NULL);
    bool is = l_err_is(L, 1);
    if (is && kind) {
        lua_pushliteral(L, "kind");
        lua_rawget(L, 1);
        lua_pushvalue(L, 2);
        is = lua_rawequal(L, -1, -2);
    }
    lua_pushboolean(L, is);
    return 1;
}

/* A new object with the context in front of the message; the old value stays reachable as `cause`. */
static int l_error_wrap(lua_State *L)
{
    static const char *const kept[] = { "kind", "code", "detail", "hint", "retryable", "at", NULL };

    luaL_checkany(L, 1);
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 2);
    bool is = l_err_is(L, 1);
    push_object(L, is ? NULL : "error", NULL, false);      /* stack: value, context, new */
    if (is) {
        for (const char *const *name = kept; *name; name++) {
            lua_pushstring(L, *name);
            lua_pushvalue(L, -1);
            lua_rawget(L, 1);
            lua_rawset(L, 3);
        }
        lua_pushliteral(L, "message");
        lua_rawget(L, 1);
    } else {
        set_position(L);
        lua_pushvalue(L, 1);
    }
    lua_pushvalue(L, 2);
    lua_pushliteral(L, ": ");
    luaL_tolstring(L, -3, NULL);
    lua_concat(L, 3);
    lua_setfield(L, 3, "message");
    lua_pushvalue(L, 1);
    lua_setfield(L, 3, "cause");
    lua_settop(L, 3);
    return 1;
}

/* Reads the list of strings at idx into a NULL-terminated array that is left on the stack as a userdata. */
static const char *const *l_names(lua_State *L, int idx)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    lua_Unsigned n = lua_rawlen(L, idx);
    luaL_argcheck(L, n < 10000, idx, "at most 9999 names");
    const char **names = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *names, 0);
    for (lua_Unsigned i = 0; i < n; i++) {
        if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_argerror(L, idx, "list of strings expected");
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);      /* the list keeps it */
    }
    names[n] = NULL;
    return names;
}

static int l_error_nearest(lua_State *L)
{
    const char *word = luaL_checkstring(L, 1);
    const char *near = opt_nearest(word, l_names(L, 2));
    if (near)
        lua_pushstring(L, near);
    else
        lua_pushnil(L);
    return 1;
}

static int l_error_check_options(lua_State *L)
{
    const char *fn = luaL_checkstring(L, 1);
    lua_settop(L, 3);
    const char *const *names = l_names(L, 3);
    l_opt_check(L, 2, fn, names);
    lua_pushvalue(L, 2);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    { "new", l_error_new },
    { "is", l_error_is },
    { "wrap", l_error_wrap },
    { "nearest", l_error_nearest },
    { "check_options", l_error_check_options },
    { NULL, NULL },
};

int luaopen_garun_error(lua_State *L)
{
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
