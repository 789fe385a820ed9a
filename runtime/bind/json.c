/* json.c - the module garun.json: option tables, marks of arrays and objects, and the output buffer.
 *
 * Owns one output buffer per Lua state, kept in the registry so that encoding many small values allocates nothing but
 * their strings. The codec itself is in json_decode.c and json_encode.c. */
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/json.h"
#include "core/opt.h"

enum { KEEP_BYTES = 1 << 20 };     /* a larger output buffer is given back after the call */

/* Only the addresses are used, as registry keys. */
static const char ARRAY_KEY = 0, OBJECT_KEY = 0, BUFFER_KEY = 0;

struct output {
    struct buf buf;
    bool       busy;    /* a finalizer may call json.encode while an outer call is at work; it then takes another one */
};

/* ---- marks ---- */

static void push_mark(lua_State *L, const char *registry_key, const char *name)
{
    luaL_checkstack(L, 3, name);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, registry_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);      /* shared by all arrays: a script that changed it would change them all */
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, registry_key);
}

void json_push_array_mark(lua_State *L) { push_mark(L, &ARRAY_KEY, "json.array"); }
void json_push_object_mark(lua_State *L) { push_mark(L, &OBJECT_KEY, "json.object"); }

/* Marks the table at 1 (a new one for nil) and returns it. A table of another class keeps its metatable. */
static int l_mark(lua_State *L, const char *fn, void (*push)(lua_State *), void (*push_other)(lua_State *))
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    if (!lua_istable(L, 1))
        return l_raisef(L, "usage", "argument", "%s: t must be a table, got %s", fn, luaL_typename(L, 1));
    push(L);
    push_other(L);      /* stack: t, mark, other mark */
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, 2) && !lua_rawequal(L, -1, 3))
        return l_raisef(L, "usage", "argument", "%s: t has a metatable already; give that one a field __jsontype = "
                        "\"array\" or \"object\"", fn);
    lua_pushvalue(L, 2);
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int l_json_array(lua_State *L)
{
    return l_mark(L, "json.array", json_push_array_mark, json_push_object_mark);
}

static int l_json_object(lua_State *L)
{
    return l_mark(L, "json.object", json_push_object_mark, json_push_array_mark);
}

static int l_json_is_array(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    bool is = false;
    if (lua_istable(L, 1)) {
        is = lua_rawlen(L, 1) > 0;
        if (lua_getmetatable(L, 1)) {       /* stack: t, its metatable, mark */
            json_push_array_mark(L);
            bool array = lua_rawequal(L, 2, 3);
            json_push_object_mark(L);
            is = array || (is && !lua_rawequal(L, 2, 4));
            lua_pushliteral(L, "__jsontype");
            if (lua_rawget(L, 2) == LUA_TSTRING)
                is = strcmp(lua_tostring(L, -1), "array") == 0;
        }
    }
    lua_pushboolean(L, is);
    return 1;
}

/* ---- decode ---- */

/* The index of the option's string among names, def when absent; raises for another value. */
static int l_choice(lua_State *L, int idx, const char *fn, const char *option, const char *const *names)
{
    const char *value = l_opt_string(L, idx, fn, option, names[0], NULL);
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0)
            return i;
    }
    return l_raisef(L, "usage", "option", "%s: option '%s' must be \"%s\", \"%s\"%s%s%s, got \"%s\"", fn, option,
                    names[0], names[1], names[2] ? " or \"" : "", names[2] ? names[2] : "", names[2] ? "\"" : "",
                    value);
}

static const char *const UTF8_CHOICES[] = { "error", "replace", NULL };

static int l_json_decode(lua_State *L)
{
    static const char *const options[] = { "nulls", "big", "duplicates", "utf8", "excerpt", NULL };
    static const char *const big[] = { "string", "float", "error", NULL };
    static const char *const duplicates[] = { "last", "error", NULL };
    static const char fn[] = "json.decode";
    struct json_decode_options o = { .excerpt = true };
    struct err e;
    size_t len;

    if (lua_type(L, 1) != LUA_TSTRING)
        return l_raisef(L, "usage", "argument", "json.decode: text must be a string, got %s", luaL_typename(L, 1));
    if (!lua_isnoneornil(L, 2)) {
        l_opt_check(L, 2, fn, options);
        o.nulls = l_opt_boolean(L, 2, fn, "nulls", false);
        o.big = (enum json_big)l_choice(L, 2, fn, "big", big);
        o.unique = l_choice(L, 2, fn, "duplicates", duplicates) == 1;
        o.replace = l_choice(L, 2, fn, "utf8", UTF8_CHOICES) == 1;
        o.excerpt = l_opt_boolean(L, 2, fn, "excerpt", true);
    }
    const char *text = lua_tolstring(L, 1, &len);
    if (!json_decode(L, text, len, &o, &e))
        return l_raise(L, &e);
    if (!o.nulls && lua_islightuserdata(L, -1))     /* the document "null" */
        lua_pushnil(L);
    return 1;
}

/* ---- encode ---- */

static int l_output_gc(lua_State *L)
{
    struct output *out = luaL_checkudata(L, 1, "garun.json.output");
    buf_free(&out->buf);
    return 0;
}

static struct output *push_new_output(lua_State *L)
{
    struct output *out = lua_newuserdatauv(L, sizeof *out, 0);
    *out = (struct output){ .busy = false };
    if (luaL_newmetatable(L, "garun.json.output")) {
        lua_pushcfunction(L, l_output_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return out;
}

/* Pushes the state's output buffer, or a fresh one while that is at work. */
static struct output *push_output(lua_State *L)
{
    struct output *out;
    luaL_checkstack(L, 4, "JSON output");
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &BUFFER_KEY) == LUA_TUSERDATA) {
        out = lua_touserdata(L, -1);
        if (!out->busy)
            return out;
        lua_pop(L, 1);
        return push_new_output(L);
    }
    lua_pop(L, 1);
    out = push_new_output(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &BUFFER_KEY);
    return out;
}

/* Pushes the text of the value at idx; raises. A raise on lack of memory leaves the buffer busy, and later calls do
 * without it: correct, a little slower. */
static void l_push_text(lua_State *L, int idx, const struct json_encode_options *o)
{
    struct err e;
    idx = lua_absindex(L, idx);
    struct output *out = push_output(L);
    out->busy = true;
    out->buf.len = 0;
    bool ok = json_encode(L, idx, o, &out->buf, &e);
    if (ok)
        lua_pushlstring(L, out->buf.data, out->buf.len);
    if (out->buf.cap > KEEP_BYTES)
        buf_free(&out->buf);
    out->busy = false;
    if (!ok)
        l_raise(L, &e);
    lua_remove(L, -2);
}

void l_json_push_text(lua_State *L, int idx)
{
    l_push_text(L, idx, &(struct json_encode_options){ .indent = NULL });
}

/* Reads option indent (a number of spaces or a string of white space) and pretty into *o. */
static void l_indent(lua_State *L, const char *fn, struct json_encode_options *o)
{
    static const char spaces[] = "                ";
    if (l_opt_boolean(L, 2, fn, "pretty", false)) {
        o->indent = spaces;
        o->indent_len = 2;
    }
    lua_pushliteral(L, "indent");
    if (lua_rawget(L, 2) == LUA_TSTRING) {
        o->indent = l_opt_string(L, 2, fn, "indent", NULL, &o->indent_len);
        if (strspn(o->indent, " \t") != o->indent_len)
            l_raisef(L, "usage", "option", "%s: option 'indent' must consist of spaces and tabs", fn);
    } else if (!lua_isnil(L, -1)) {
        o->indent = spaces;
        o->indent_len = (size_t)l_opt_integer(L, 2, fn, "indent", 0, 0, (lua_Integer)sizeof spaces - 1);
    }
    lua_pop(L, 1);
}

static int l_json_encode(lua_State *L)
{
    static const char *const options[] = { "pretty", "indent", "sort_keys", "html", "utf8", NULL };
    static const char fn[] = "json.encode";
    struct json_encode_options o = { .indent = NULL };

    luaL_checkany(L, 1);
    if (!lua_isnoneornil(L, 2)) {
        l_opt_check(L, 2, fn, options);
        l_indent(L, fn, &o);
        o.sort_keys = l_opt_boolean(L, 2, fn, "sort_keys", o.indent != NULL);
        o.html = l_opt_boolean(L, 2, fn, "html", false);
        o.replace = l_choice(L, 2, fn, "utf8", UTF8_CHOICES) == 1;
    }
    l_push_text(L, 1, &o);
    return 1;
}

/* ---- the module ---- */

static const luaL_Reg FUNCTIONS[] = {
    { "decode", l_json_decode },
    { "encode", l_json_encode },
    { "array", l_json_array },
    { "object", l_json_object },
    { "is_array", l_json_is_array },
    { NULL, NULL },
};

int luaopen_garun_json(lua_State *L)
{
    luaL_newlib(L, FUNCTIONS);
    lua_pushlightuserdata(L, NULL);     /* the same value as cjson.null */
    lua_setfield(L, -2, "null");
    return 1;
}
