/* pg_encode.c - Lua values as a row of COPY text (manual, COPY, Text Format). Owns nothing; the buffer is the
 * caller's. */
#include <lauxlib.h>
#include "bind/pg_value.h"

/* Raises for value number i of a row; the row is taken back, so that a script may catch this and go on. */
static int l_bad_value(lua_State *L, struct buf *b, size_t start, int i, const char *why)
{
    b->len = start;
    return l_raisef(L, "pg", "22021", "copy:row: value %d %s", i, why);
}

static bool put_null(struct buf *b)
{
    return buf_put(b, "\\N", 2);
}

static bool put_bytea(struct buf *b, const char *s, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    if (!buf_reserve(b, 2 * n + 3))
        return false;
    buf_put(b, "\\\\x", 3);             /* the backslash is escaped: the field is \x... */
    for (size_t i = 0; i < n; i++) {
        buf_putc_unchecked(b, digits[(unsigned char)s[i] >> 4]);
        buf_putc_unchecked(b, digits[s[i] & 15]);
    }
    return true;
}

static void l_put_string(lua_State *L, struct buf *b, size_t start, int i, const char *s, size_t n)
{
    bool oom = false;
    size_t at = 0;

    switch (pg_text_copy(b, s, n, &at, &oom)) {
    case PG_TEXT_NUL:
        l_bad_value(L, b, start, i, "has a NUL byte, which PostgreSQL's text cannot hold; wrap binary data in "
                    "pg.bytea()");
        break;
    case PG_TEXT_UTF8:
        l_bad_value(L, b, start, i, "is not valid UTF-8; convert the text, or wrap binary data in pg.bytea()");
        break;
    case PG_TEXT_FINE:
    default:
        if (oom)
            l_bad_value(L, b, start, i, "does not fit into memory");
    }
}

static void l_put_value(lua_State *L, struct buf *b, size_t start, int idx, int i)
{
    struct pg_value *v;
    const char *s;
    char text[40];
    bool ok = true;
    size_t n;

    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        ok = put_null(b);
        break;
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &n);
        l_put_string(L, b, start, i, s, n);
        return;
    case LUA_TNUMBER:
        n = lua_isinteger(L, idx) ? (size_t)snprintf(text, sizeof text, LUA_INTEGER_FMT, lua_tointeger(L, idx))
                                  : pg_text_double(lua_tonumber(L, idx), text);
        ok = buf_put(b, text, n);
        break;
    case LUA_TBOOLEAN:
        ok = buf_put(b, lua_toboolean(L, idx) ? "t" : "f", 1);
        break;
    case LUA_TUSERDATA:
        v = luaL_testudata(L, idx, PG_VALUE);
        if (!v)
            l_bad_value(L, b, start, i, "is an object that PostgreSQL has no type for");
        lua_getiuservalue(L, idx, 1);
        s = lua_tolstring(L, -1, &n);
        if (v && v->bytea)
            ok = put_bytea(b, s, n);
        else
            l_put_string(L, b, start, i, s, n);
        lua_pop(L, 1);
        break;
    case LUA_TLIGHTUSERDATA:
        if (l_pg_is_null(L, idx)) {
            ok = put_null(b);
            break;
        }
        l_bad_value(L, b, start, i, "is a light userdata, which PostgreSQL has no type for");
        return;
    case LUA_TTABLE:
        l_bad_value(L, b, start, i, "is a table: say what it is with pg.json(t) or pg.array(t)");
        return;
    default:
        l_bad_value(L, b, start, i, "is of a type that PostgreSQL has none for");
        return;
    }
    if (!ok)
        l_bad_value(L, b, start, i, "does not fit into memory");
}

void l_pg_encode_row(lua_State *L, struct buf *b, int first, int n)
{
    size_t start = b->len;

    for (int i = 1; i <= n; i++) {
        l_put_value(L, b, start, first + i - 1, i);
        if (!buf_put(b, i < n ? "\t" : "\n", 1))
            l_bad_value(L, b, start, i, "does not fit into memory");
    }
    if (n == 0 && !buf_put(b, "\n", 1))
        l_bad_value(L, b, start, 0, "does not fit into memory");
}
