/* pg_param.c - Lua values as parameters: what becomes of each type, and the wrappers pg.json, pg.array, pg.bytea.
 *
 * The Lua type decides, never the look of a string. All parameters travel as text with type 0, so that the server
 * infers their types from the statement; only pg.bytea travels as binary. A table is refused: it could be JSON, an
 * array or a row, and a guess would be wrong one day. Owns nothing. */
#include <lauxlib.h>
#include <stdio.h>
#include "bind/json.h"
#include "bind/pg_value.h"

/* Raises for a string that the server would refuse, before anything is sent. */
static void l_check_text(lua_State *L, const char *s, size_t n, const char *what, int number)
{
    size_t at = 0;

    switch (pg_text_check(s, n, &at)) {
    case PG_TEXT_FINE:
        return;
    case PG_TEXT_NUL:
        l_raisef(L, "pg", "22021", "%s: value %d has a NUL byte at offset %I, which PostgreSQL's text cannot hold; "
                 "wrap binary data in pg.bytea()", what, number, (lua_Integer)at);
    case PG_TEXT_UTF8:
    default:
        l_raisef(L, "pg", "22021", "%s: value %d is not valid UTF-8 at byte offset %I; convert the text, or wrap "
                 "binary data in pg.bytea()", what, number, (lua_Integer)at);
    }
}

bool l_pg_to_text(lua_State *L, int idx, const char *what, int number)
{
    struct pg_value *v;
    char text[40];
    size_t n;

    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        return false;
    case LUA_TSTRING: {
        const char *s = lua_tolstring(L, idx, &n);
        l_check_text(L, s, n, what, number);
        return false;
    }
    case LUA_TNUMBER:
        if (lua_isinteger(L, idx)) {
            lua_pushfstring(L, "%I", lua_tointeger(L, idx));
        } else {
            n = pg_text_double(lua_tonumber(L, idx), text);
            lua_pushlstring(L, text, n);
        }
        lua_replace(L, idx);
        return false;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false");
        lua_replace(L, idx);
        return false;
    case LUA_TLIGHTUSERDATA:
        if (l_pg_is_null(L, idx)) {
            lua_pushnil(L);
            lua_replace(L, idx);
            return false;
        }
        break;
    case LUA_TUSERDATA:
        v = luaL_testudata(L, idx, PG_VALUE);
        if (v) {
            bool bytea = v->bytea;      /* read before the wrapper leaves the stack */
            lua_getiuservalue(L, idx, 1);
            lua_replace(L, idx);
            return bytea;
        }
        break;
    case LUA_TTABLE:
        l_raisef(L, "usage", "", "%s: value %d is a table: say what it is with pg.json(t) or pg.array(t)", what,
                 number);
    default:
        break;
    }
    l_raisef(L, "usage", "", "%s: value %d is a %s, which PostgreSQL has no type for", what, number,
             luaL_typename(L, idx));
}

struct pg_params *l_pg_params(lua_State *L, int box, int first, const char *what)
{
    int n = lua_gettop(L) - first + 1;
    size_t count = n > 0 ? (size_t)n : 0;
    struct pg_params *p;

    if (count > 65535)
        l_raisef(L, "usage", "", "%s: %d parameters; PostgreSQL takes at most 65535 in one statement", what, n);
    p = lua_newuserdatauv(L, sizeof *p + count * (sizeof *p->values + 2 * sizeof *p->lengths + sizeof *p->types), 0);
    *p = (struct pg_params){ .n = (int)count };
    lua_replace(L, box);
    if (count == 0)
        return p;
    p->values = (const char **)(p + 1);
    p->lengths = (int *)(p->values + count);
    p->formats = p->lengths + count;
    p->types = (Oid *)(p->formats + count);
    for (int i = 0; i < p->n; i++) {
        bool bytea = l_pg_to_text(L, first + i, what, i + 1);
        size_t len = 0;
        p->values[i] = lua_tolstring(L, first + i, &len);
        if (len > INT32_MAX / 2)
            l_raisef(L, "usage", "", "%s: value %d has %I bytes; PostgreSQL takes less than 1 GB in one value", what,
                     i + 1, (lua_Integer)len);
        p->lengths[i] = (int)len;
        p->formats[i] = bytea;
        p->types[i] = bytea ? 17 : 0;
    }
    return p;
}

/* texts(what, ...) -> the values as they will be sent; what cannot be sent raises here and not in mid-pipeline */
int l_pg_texts(lua_State *L)
{
    const char *what = luaL_checkstring(L, 1);
    int n = lua_gettop(L);

    for (int i = 2; i <= n; i++) {
        const struct pg_value *v = luaL_testudata(L, i, PG_VALUE);
        if (!v || !v->bytea)
            l_pg_to_text(L, i, what, i - 1);
    }
    return n - 1;
}

void l_pg_push_value(lua_State *L, bool bytea)
{
    struct pg_value *v = lua_newuserdatauv(L, sizeof *v, 1);

    v->bytea = bytea;
    luaL_setmetatable(L, PG_VALUE);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
}

/* pg.json(v): v as JSON text, for json and jsonb parameters. nil is SQL NULL's business, json.null the JSON null. */
int l_pg_json(lua_State *L)
{
    luaL_checkany(L, 1);
    l_json_push_text(L, 1);
    l_pg_push_value(L, false);
    return 1;
}

int l_pg_bytea(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING)
        l_raisef(L, "usage", "", "pg.bytea: a string is expected, got %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    l_pg_push_value(L, true);
    return 1;
}

static int l_value_tostring(lua_State *L)
{
    struct pg_value *v = luaL_checkudata(L, 1, PG_VALUE);
    size_t n;

    lua_getiuservalue(L, 1, 1);
    const char *s = lua_tolstring(L, -1, &n);
    if (v->bytea)
        lua_pushfstring(L, "pg.bytea(%I bytes)", (lua_Integer)n);
    else
        lua_pushlstring(L, s, n);
    return 1;
}

void l_pg_value_register(lua_State *L)
{
    luaL_newmetatable(L, PG_VALUE);
    lua_pushcfunction(L, l_value_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
