/* pg_decode.c - results as Lua values: one value, one row, all rows.
 *
 * Text format only: it is what psql shows, and parsing an integer costs less than the row around it. Owns nothing; the
 * PGresult belongs to the connection, so that an error raised in here (memory) leaks none. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/json.h"
#include "bind/pg_value.h"

void l_pg_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);     /* json.null */
}

bool l_pg_is_null(lua_State *L, int idx)
{
    return lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == NULL;
}

static unsigned hex_digit(char c)
{
    unsigned u = (unsigned char)c;

    return (u <= '9' ? u - '0' : (u | 0x20) - 'a' + 10) & 15;
}

static void l_push_bytea(lua_State *L, const char *text, size_t n)
{
    luaL_Buffer b;

    if (n < 2 || text[0] != '\\' || text[1] != 'x') {      /* the session's bytea_output was set to escape */
        luaL_buffinitsize(L, &b, n);
        for (size_t i = 0; i < n; i++) {
            if (text[i] == '\\' && i + 3 < n && text[i + 1] != '\\') {
                luaL_addchar(&b, (char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0')));
                i += 3;
            } else {
                i += text[i] == '\\';
                luaL_addchar(&b, text[i]);
            }
        }
        luaL_pushresult(&b);
        return;
    }
    char *out = luaL_buffinitsize(L, &b, n / 2);
    size_t len = 0;
    for (size_t i = 2; i + 1 < n; i += 2)
        out[len++] = (char)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));
    luaL_pushresultsize(&b, len);
}

static void l_push_json(lua_State *L, bool nulls, const char *text, size_t n)
{
    const struct json_decode_options o = { .nulls = nulls };
    struct err e;

    if (!json_decode(L, text, n, &o, &e))
        l_raise(L, &e);
}

static lua_Integer integer_of(const char *text)
{
    return (lua_Integer)strtoll(text, NULL, 10);
}

void l_pg_push(lua_State *L, struct pg_codec codec, const char *text, size_t n)
{
    switch (codec.kind) {
    case PG_BOOL:
        lua_pushboolean(L, text[0] == 't');
        return;
    case PG_INT:
        lua_pushinteger(L, integer_of(text));
        return;
    case PG_FLOAT:
        lua_pushnumber(L, strtod(text, NULL));
        return;
    case PG_NUMERIC:
        if (!codec.numbers)
            break;
        if (lua_stringtonumber(L, text) == 0)       /* NaN, Infinity */
            lua_pushnumber(L, strtod(text, NULL));
        return;
    case PG_JSON:
        l_push_json(L, codec.nulls, text, n);
        return;
    case PG_BYTEA:
        l_push_bytea(L, text, n);
        return;
    case PG_ARRAY:
        l_pg_push_array(L, codec, text, n);
        return;
    case PG_TEXT:
    default:
        break;
    }
    lua_pushlstring(L, text, n);
}

void l_pg_push_columns(lua_State *L, struct pg_conn *c, const PGresult *res)
{
    int n = PQnfields(res);

    luaL_checkstack(L, 4, "columns");
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushstring(L, PQfname(res, i));
        lua_rawseti(L, -2, i + 1);
    }
    if (c->arrays)
        return;
    /* A second column of the same name would silently hide the first one. Few columns: compare; many: a table. */
    lua_createtable(L, 0, n);
    for (int i = 0; i < n; i++) {           /* stack: names, seen */
        lua_rawgeti(L, -2, i + 1);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL) {
            struct err e;
            err_set(&e, "pg", "duplicate_column", "the result has two columns named \"%s\": rows are tables by column "
                    "name, so one would be lost", PQfname(res, i));
            snprintf(e.hint, sizeof e.hint, "give one an alias (... AS other_name), or ask for rows as arrays: "
                     "db:query({ sql, arrays = true }, ...)");
            pg_leave(c, c->state == PG_CALL ? PG_IDLE : c->state);
            l_pg_raise_err(L, c, &e);
        }
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

void l_pg_push_row(lua_State *L, const struct pg_conn *c, const PGresult *res, int row, int names)
{
    int n = PQnfields(res);

    if (c->arrays) {
        lua_createtable(L, n, 1);
        lua_pushinteger(L, n);
        lua_setfield(L, -2, "n");
    } else {
        lua_createtable(L, 0, n);
    }
    for (int i = 0; i < n; i++) {
        struct pg_codec codec;
        if (!c->arrays)
            lua_rawgeti(L, names, i + 1);
        if (!PQgetisnull(res, row, i)) {
            pg_type_codec(c, PQftype(res, i), &codec);
            l_pg_push(L, codec, PQgetvalue(res, row, i), (size_t)PQgetlength(res, row, i));
        } else if (c->nulls) {
            l_pg_push_null(L);
        } else {
            if (!c->arrays)
                lua_pop(L, 1);
            continue;
        }
        if (c->arrays)
            lua_rawseti(L, -2, i + 1);
        else
            lua_rawset(L, -3);
    }
}

static void l_push_types(lua_State *L, const struct pg_conn *c, const PGresult *res)
{
    int n = PQnfields(res);

    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        const char *name = pg_type_name(c, PQftype(res, i));
        lua_pushstring(L, name ? name : "unknown");
        lua_rawseti(L, -2, i + 1);
    }
}

void l_pg_push_rows(lua_State *L, struct pg_conn *c, const PGresult *res)
{
    int rows = PQntuples(res), base;

    luaL_checkstack(L, 8, "rows");
    lua_createtable(L, rows, 5);
    base = lua_gettop(L);
    lua_pushinteger(L, rows);
    lua_setfield(L, base, "n");
    l_pg_push_columns(L, c, res);
    lua_pushvalue(L, -1);
    lua_setfield(L, base, "columns");       /* stack: ..., rows, names */
    l_push_types(L, c, res);
    lua_setfield(L, base, "types");
    lua_pushinteger(L, (lua_Integer)strtoll(PQcmdTuples((PGresult *)(uintptr_t)res), NULL, 10));
    lua_setfield(L, base, "affected");
    lua_pushstring(L, PQcmdStatus((PGresult *)(uintptr_t)res));
    lua_setfield(L, base, "command");
    for (int i = 0; i < rows; i++) {
        l_pg_push_row(L, c, res, i, base + 1);
        lua_rawseti(L, base, i + 1);
    }
    lua_settop(L, base);
}
