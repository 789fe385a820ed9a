/* pg_array.c - PostgreSQL's array text ('{1,NULL,"a b"}') to and from Lua tables.
 *
 * Grammar: manual 8.15.6. NULL elements are json.null in Lua, so that positions and # stay right. An array read here
 * carries json's array mark, so that an empty one is [] when it is encoded as JSON. Owns nothing. */
#include <lauxlib.h>
#include "bind/json.h"
#include "bind/pg_value.h"

enum { MAX_DEPTH = 6 };        /* MAXDIM of the server */

struct reader {
    const char     *p, *end;
    struct pg_codec codec;      /* of the elements */
};

static void l_broken(lua_State *L)
{
    l_raisef(L, "pg", "22P02", "the server sent an array that is not in PostgreSQL's array syntax");
}

/* A quoted element: backslash escapes one character. */
static void l_read_quoted(lua_State *L, struct reader *r)
{
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (r->p++; r->p < r->end && *r->p != '"'; r->p++) {
        if (*r->p == '\\' && r->p + 1 < r->end)
            r->p++;
        luaL_addchar(&b, *r->p);
    }
    if (r->p == r->end)
        l_broken(L);
    r->p++;
    luaL_pushresult(&b);
}

static void l_read_array(lua_State *L, struct reader *r, int depth);

static void l_read_element(lua_State *L, struct reader *r, int depth)
{
    size_t n;

    if (*r->p == '{') {
        l_read_array(L, r, depth + 1);
        return;
    }
    if (*r->p == '"') {
        l_read_quoted(L, r);
    } else {
        const char *start = r->p;
        while (r->p < r->end && *r->p != ',' && *r->p != '}')
            r->p++;
        n = (size_t)(r->p - start);
        if (n == 4 && memcmp(start, "NULL", 4) == 0) {
            l_pg_push_null(L);
            return;
        }
        lua_pushlstring(L, start, n);
    }
    if (r->codec.kind == PG_TEXT || (r->codec.kind == PG_NUMERIC && !r->codec.numbers))
        return;
    const char *text = lua_tolstring(L, -1, &n);
    l_pg_push(L, r->codec, text, n);
    lua_remove(L, -2);
}

static void l_read_array(lua_State *L, struct reader *r, int depth)
{
    lua_Integer i = 0;

    luaL_checkstack(L, 6, "array");
    if (depth > MAX_DEPTH || r->p >= r->end || *r->p != '{')
        l_broken(L);
    r->p++;
    lua_newtable(L);
    json_push_array_mark(L);
    lua_setmetatable(L, -2);
    while (r->p < r->end && *r->p != '}') {
        l_read_element(L, r, depth);
        lua_rawseti(L, -2, ++i);
        if (r->p < r->end && *r->p == ',')
            r->p++;
    }
    if (r->p >= r->end)
        l_broken(L);
    r->p++;
}

void l_pg_push_array(lua_State *L, struct pg_codec codec, const char *text, size_t n)
{
    struct reader r = { .p = text, .end = text + n, .codec = codec };

    r.codec.kind = codec.elem;
    if (n > 0 && *text == '[') {        /* bounds that do not start at 1, "[0:2]={...}": Lua tables start at 1 */
        r.p = memchr(text, '=', n);
        if (!r.p)
            l_broken(L);
        r.p++;
    }
    l_read_array(L, &r, 1);
}

/* ---- Lua -> text ---- */

/* Adds the string at the top of the stack quoted; it stays below the buffer's own slot. */
static void l_add_quoted(luaL_Buffer *b, const char *s, size_t n)
{
    luaL_addchar(b, '"');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\')
            luaL_addchar(b, '\\');
        luaL_addchar(b, s[i]);
    }
    luaL_addchar(b, '"');
}

static lua_Integer l_length(lua_State *L, int idx)
{
    lua_Integer n;

    lua_pushliteral(L, "n");
    if (lua_rawget(L, idx) == LUA_TNUMBER && lua_isinteger(L, -1))     /* table.pack's: holes are NULL */
        n = lua_tointeger(L, -1);
    else
        n = (lua_Integer)lua_rawlen(L, idx);
    lua_pop(L, 1);
    if (n < 0 || n > 134217727)         /* MaxArraySize of the server */
        l_raisef(L, "usage", "", "pg.array: %I elements; PostgreSQL's arrays hold at most 134217727", n);
    return n;
}

/* Replaces the element at the top by its array text. */
static void l_element_text(lua_State *L, int depth, lua_Integer i);

/* Pushes the text of the table at idx: its elements' texts in a scratch table, joined once. */
static void l_table_text(lua_State *L, int idx, int depth)
{
    luaL_Buffer b;
    lua_Integer n = l_length(L, idx);
    int parts;

    luaL_checkstack(L, 8, "pg.array");
    if (depth > MAX_DEPTH)
        l_raisef(L, "usage", "", "pg.array: tables nested more than 6 deep; PostgreSQL's arrays have at most 6 "
                 "dimensions");
    lua_createtable(L, n < 1000000 ? (int)n : 1000000, 0);
    parts = lua_gettop(L);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        l_element_text(L, depth, i);
        lua_rawseti(L, parts, i);
    }
    luaL_buffinit(L, &b);
    luaL_addchar(&b, '{');
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, ',');
        lua_rawgeti(L, parts, i);
        luaL_addvalue(&b);
    }
    luaL_addchar(&b, '}');
    luaL_pushresult(&b);
    lua_remove(L, parts);
}

static void l_element_text(lua_State *L, int depth, lua_Integer i)
{
    int idx = lua_gettop(L);
    size_t n;

    if (lua_isnil(L, idx) || l_pg_is_null(L, idx)) {
        lua_pushliteral(L, "NULL");
    } else if (lua_istable(L, idx)) {
        l_table_text(L, idx, depth + 1);
    } else if (lua_type(L, idx) == LUA_TNUMBER || lua_type(L, idx) == LUA_TBOOLEAN) {
        l_pg_to_text(L, idx, "pg.array", (int)i);
        return;
    } else {
        bool bytea = l_pg_to_text(L, idx, "pg.array", (int)i);
        luaL_Buffer b;
        const char *s = lua_tolstring(L, idx, &n);
        luaL_buffinit(L, &b);
        if (bytea) {
            luaL_addstring(&b, "\"\\\\x");
            for (size_t k = 0; k < n; k++) {
                luaL_addchar(&b, "0123456789abcdef"[(unsigned char)s[k] >> 4]);
                luaL_addchar(&b, "0123456789abcdef"[s[k] & 15]);
            }
            luaL_addchar(&b, '"');
        } else {
            l_add_quoted(&b, s, n);
        }
        luaL_pushresult(&b);
    }
    lua_replace(L, idx);
}

int l_pg_array(lua_State *L)
{
    if (!lua_istable(L, 1))
        l_raisef(L, "usage", "", "pg.array: a table is expected, got %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    l_table_text(L, 1, 1);
    l_pg_push_value(L, false);
    return 1;
}
