/* csv_writer.c - csv.writer and csv.encode: Lua tables as CSV text; and the table of the module garun.csv.
 *
 * A writer owns a buffer of whole rows; its user values keep the sink and the columns. Rows are handed to the sink in
 * chunks of about 64 KiB, by a call that may wait. finish() hands over the rest; a writer that is closed without it
 * drops what it holds, for closing never waits. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/csv.h"
#include "bind/json.h"
#include "core/opt.h"

enum { SINK = 1, COLUMNS, USER_VALUES = COLUMNS };
enum { FLUSH_AT = 64 << 10, OPTS = 3 };

struct writer {
    struct buf buf;
    size_t whole;               /* bytes of complete rows in buf; what is behind them is a row that failed */
    bool   closed, finished, has_null;
    bool   quote_all, neutralise;
    bool   named;               /* columns are known: rows may be tables by name */
    char   delimiter, quote;
    char   newline[3];
    char   null[64];            /* written for nil and json.null */
    size_t null_len;
    size_t width;               /* fields of a row; 0 before the first */
    uint64_t rows;
};

static const char TYPE[] = "garun.csv.writer";
static const char FN[] = "csv.writer";

static const char *const OPTIONS[] = {
    "columns", "header", "delimiter", "quote", "quote_all", "newline", "null", "formulas", "bom", NULL,
};

static struct writer *l_writer(lua_State *L)
{
    struct writer *w = luaL_checkudata(L, 1, TYPE);
    if (w->closed)
        l_raisef(L, "usage", "closed", "csv.writer is closed");
    if (w->finished)
        l_raisef(L, "usage", "closed", "csv.writer is finished");
    return w;
}

/* ---- fields ---- */

static void l_put(lua_State *L, struct writer *w, const char *s, size_t n)
{
    if (!buf_put(&w->buf, s, n))
        l_raisef(L, "csv", "memory", "not enough memory for row %I", (LUAI_UACINT)w->rows + 1);
}

/* True for [+-]digits[.digits]: what a spreadsheet may well calculate. */
static bool is_plain_number(const char *s, size_t len)
{
    size_t i = len > 0 && (s[0] == '-' || s[0] == '+'), digits = 0, points = 0;
    for (; i < len; i++) {
        if (s[i] == '.')
            points++;
        else if (s[i] >= '0' && s[i] <= '9')
            digits++;
        else
            return false;
    }
    return digits > 0 && points <= 1;
}

/* OWASP, "CSV Injection": what makes a spreadsheet take a cell for a formula, with the full-width forms that some take
 * for the same. */
static bool is_formula(const char *s, size_t len)
{
    static const char *const wide[] = { "\xEF\xBC\x9D", "\xEF\xBC\x8B", "\xEF\xBC\x8D", "\xEF\xBC\xA0" };
    if (len == 0 || is_plain_number(s, len))
        return false;
    if (memchr("=+-@\t\r\n", s[0], 7))
        return true;
    for (size_t i = 0; len >= 3 && i < sizeof wide / sizeof *wide; i++) {
        if (memcmp(s, wide[i], 3) == 0)
            return true;
    }
    return false;
}

static bool needs_quotes(const struct writer *w, const char *s, size_t len)
{
    /* Outer spaces, which readers that trim would drop, and a mark that a reader would take off, are kept by quotes. */
    if (len == 0)
        return w->width == 1 && !w->has_null;      /* a row of one empty field would be a blank line */
    if (s[0] == ' ' || s[0] == '\t' || s[len - 1] == ' ' || s[len - 1] == '\t' || (unsigned char)s[0] == 0xEF)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == w->delimiter || s[i] == w->quote || s[i] == '\n' || s[i] == '\r')
            return true;
    }
    return false;
}

static void l_put_text(lua_State *L, struct writer *w, const char *s, size_t len, bool text)
{
    bool formula = text && w->neutralise && is_formula(s, len);
    bool like_null = w->has_null && len == w->null_len && memcmp(s, w->null, len) == 0;
    if (!formula && !like_null && !(w->quote_all && text) && !needs_quotes(w, s, len)) {
        l_put(L, w, s, len);
        return;
    }
    l_put(L, w, &w->quote, 1);
    if (formula)
        l_put(L, w, "'", 1);
    while (len > 0) {
        const char *quote = memchr(s, w->quote, len);
        size_t n = quote ? (size_t)(quote - s) + 1 : len;
        l_put(L, w, s, n);
        if (quote)
            l_put(L, w, quote, 1);
        s += n;
        len -= n;
    }
    l_put(L, w, &w->quote, 1);
}

/* Writes the value at the top of the stack as field i (from 1). */
static void l_put_field(lua_State *L, struct writer *w, size_t i)
{
    char number[JSON_DOUBLE_MAX];
    size_t len;
    const char *s;
    if (i > 1)
        l_put(L, w, &w->delimiter, 1);
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        s = lua_tolstring(L, -1, &len);
        l_put_text(L, w, s, len, true);
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1))
            len = json_integer_write(number, lua_tointeger(L, -1));
        else if (isfinite(lua_tonumber(L, -1)))
            len = json_number_write(number, lua_tonumber(L, -1));
        else
            l_raisef(L, "csv", "number", "row %I, field %I is not a finite number; write \"\" or a text instead",
                     (LUAI_UACINT)w->rows + 1, (LUAI_UACINT)i);
        l_put_text(L, w, number, len, false);
        return;
    case LUA_TBOOLEAN:
        l_put_text(L, w, lua_toboolean(L, -1) ? "true" : "false", lua_toboolean(L, -1) ? 4 : 5, false);
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1) != NULL)
            break;
        /* json.null */
        /* fallthrough */
    case LUA_TNIL:
        if (w->null_len > 0)
            l_put(L, w, w->null, w->null_len);
        else if (w->width == 1 && !w->has_null)
            l_put_text(L, w, "", 0, false);
        return;
    default:
        break;
    }
    l_raisef(L, "csv", "type", "row %I, field %I is a %s; fields are strings, numbers, booleans or nil",
             (LUAI_UACINT)w->rows + 1, (LUAI_UACINT)i, luaL_typename(L, -1));
}

/* ---- rows ---- */

/* Writes the table at 2 as a row; the writer and its user values are at 1. A raise leaves bytes of half a row behind
 * w->whole, which the next row overwrites. */
static void l_put_row(lua_State *L, struct writer *w)
{
    size_t given = lua_rawlen(L, 2);
    bool by_name = w->named && given == 0;

    w->buf.len = w->whole;
    if (w->width == 0)
        w->width = given;
    if (given > w->width)
        l_raisef(L, "csv", "fields", "row %I has %I fields, but %s %I", (LUAI_UACINT)w->rows + 1,
                 (LUAI_UACINT)given, w->named ? "the columns are" : "the first row has", (LUAI_UACINT)w->width);
    if (w->width == 0)
        l_raisef(L, "csv", "fields", "row %I has no fields; rows by name need option columns = {...}",
                 (LUAI_UACINT)w->rows + 1);
    lua_settop(L, 2);
    if (by_name)
        lua_getiuservalue(L, 1, COLUMNS);
    for (size_t i = 1; i <= w->width; i++) {        /* stack: writer, row, columns if by name, value */
        if (by_name) {
            lua_rawgeti(L, 3, (lua_Integer)i);
            lua_gettable(L, 2);
        } else {
            lua_geti(L, 2, (lua_Integer)i);
        }
        l_put_field(L, w, i);
        lua_pop(L, 1);
    }
    l_put(L, w, w->newline, strlen(w->newline));
    w->whole = w->buf.len;
}

/* ---- options ---- */

static char l_byte_option(lua_State *L, const char *name, const char *def)
{
    size_t len;
    const char *s = l_opt_string(L, OPTS, FN, name, def, &len);
    if (len != 1 || *s == '\n' || *s == '\r' || *s == '\0' || *s & 0x80)
        l_raisef(L, "usage", "option", "%s: option '%s' must be one ASCII character", FN, name);
    return *s;
}

/* Keeps a copy of option columns, or of the table at the top of the stack when there is no such option. */
static void l_columns_option(lua_State *L, struct writer *w)
{
    lua_pushliteral(L, "columns");
    int type = lua_rawget(L, OPTS);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        type = lua_type(L, -1);
    }
    if (type == LUA_TNIL)
        return;
    size_t n = type == LUA_TTABLE ? lua_rawlen(L, -1) : 0;
    if (n == 0)
        l_raisef(L, "usage", "option", "%s: option 'columns' must be a list of names", FN);
    lua_createtable(L, (int)n, 0);      /* stack: ..., columns, copy */
    for (size_t i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -2, (lua_Integer)i) != LUA_TSTRING)
            l_raisef(L, "usage", "option", "%s: option 'columns' must be a list of names", FN);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    lua_setiuservalue(L, 1, COLUMNS);
    w->width = n;
    w->named = true;
}

/* Reads the options at OPTS into the writer at 1; the default of columns (or nil) is at the top of the stack. */
static void l_options(lua_State *L, struct writer *w)
{
    l_columns_option(L, w);
    w->delimiter = l_byte_option(L, "delimiter", ",");
    w->quote = l_byte_option(L, "quote", "\"");
    if (w->delimiter == w->quote)
        l_raisef(L, "usage", "option", "%s: options 'delimiter' and 'quote' must differ", FN);
    w->quote_all = l_opt_boolean(L, OPTS, FN, "quote_all", false);

    const char *newline = l_opt_string(L, OPTS, FN, "newline", "\r\n", NULL);
    if (strcmp(newline, "\r\n") != 0 && strcmp(newline, "\n") != 0)
        l_raisef(L, "usage", "option", "%s: option 'newline' must be \"\\r\\n\" or \"\\n\"", FN);
    memcpy(w->newline, newline, strlen(newline) + 1);

    const char *formulas = l_opt_string(L, OPTS, FN, "formulas", "keep", NULL);
    w->neutralise = strcmp(formulas, "neutralise") == 0;
    if (!w->neutralise && strcmp(formulas, "keep") != 0)
        l_raisef(L, "usage", "option", "%s: option 'formulas' must be \"keep\" or \"neutralise\", got \"%s\"", FN,
                 formulas);

    const char *null = l_opt_string(L, OPTS, FN, "null", NULL, &w->null_len);
    w->has_null = null != NULL;
    if (null && w->null_len > sizeof w->null)
        l_raisef(L, "usage", "option", "%s: option 'null' is longer than %d bytes", FN, (int)sizeof w->null);
    if (null)
        memcpy(w->null, null, w->null_len);
    for (size_t i = 0; i < w->null_len; i++) {      /* it is written without quotes */
        if (w->null[i] == w->delimiter || w->null[i] == w->quote || w->null[i] == '\n' || w->null[i] == '\r')
            l_raisef(L, "usage", "option", "%s: option 'null' must not hold delimiters, quotes or line ends", FN);
    }

    if (l_opt_boolean(L, OPTS, FN, "bom", false))
        l_put(L, w, "\xEF\xBB\xBF", 3);
    if (l_opt_boolean(L, OPTS, FN, "header", w->named)) {
        if (!w->named)
            l_raisef(L, "usage", "option", "%s: option 'header' needs option 'columns'", FN);
        lua_getiuservalue(L, 1, COLUMNS);
        for (size_t i = 1; i <= w->width; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            l_put_field(L, w, i);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        l_put(L, w, w->newline, strlen(w->newline));
    }
    w->whole = w->buf.len;
}

/* ---- the writer ---- */

/* Pushes the call that hands the complete rows to the sink; returns the number of its arguments. */
static int push_delivery(lua_State *L, struct writer *w)
{
    int args = 1;
    if (lua_getiuservalue(L, 1, SINK) != LUA_TFUNCTION) {       /* sink:write(chunk) */
        lua_getfield(L, -1, "write");
        lua_insert(L, -2);
        args = 2;
    }
    lua_pushlstring(L, w->buf.data, w->whole);
    w->buf.len = w->whole = 0;      /* before the call: another task may add rows while the sink waits */
    return args;
}

static int l_delivered_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 1);
    return 1;
}

static int l_deliver(lua_State *L, struct writer *w)
{
    if (w->whole > 0)
        lua_callk(L, push_delivery(L, w), 0, 0, l_delivered_k);
    return l_delivered_k(L, LUA_OK, 0);
}

static int l_writer_row(lua_State *L)
{
    struct writer *w = l_writer(L);
    if (lua_type(L, 2) != LUA_TTABLE)
        return l_raisef(L, "usage", "argument", "csv.writer:row: row must be a table, got %s", luaL_typename(L, 2));
    l_put_row(L, w);
    w->rows++;
    lua_settop(L, 1);
    return w->whole < FLUSH_AT ? 1 : l_deliver(L, w);
}

static int l_writer_flush(lua_State *L)
{
    struct writer *w = l_writer(L);
    lua_settop(L, 1);
    return l_deliver(L, w);
}

static int l_finished_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct writer *w = (struct writer *)ctx;
    buf_free(&w->buf);
    lua_pushinteger(L, (lua_Integer)w->rows);
    return 1;
}

static int l_writer_finish(lua_State *L)
{
    struct writer *w = l_writer(L);
    lua_settop(L, 1);
    w->finished = true;
    if (w->whole > 0)
        lua_callk(L, push_delivery(L, w), 0, (lua_KContext)w, l_finished_k);
    return l_finished_k(L, LUA_OK, (lua_KContext)w);
}

static int l_writer_close(lua_State *L)
{
    struct writer *w = luaL_checkudata(L, 1, TYPE);
    w->closed = true;
    w->whole = 0;
    buf_free(&w->buf);
    return 0;
}

static int l_writer_tostring(lua_State *L)
{
    struct writer *w = luaL_checkudata(L, 1, TYPE);
    lua_pushfstring(L, "csv.writer(%I rows%s)", (LUAI_UACINT)w->rows,
                    w->closed ? ", closed" : w->finished ? ", finished" : "");
    return 1;
}

static const luaL_Reg METHODS[] = {
    { "row", l_writer_row },
    { "flush", l_writer_flush },
    { "finish", l_writer_finish },
    { "close", l_writer_close },
    { NULL, NULL },
};

static const luaL_Reg METAMETHODS[] = {
    { "__close", l_writer_close },
    { "__gc", l_writer_close },
    { "__tostring", l_writer_tostring },
    { NULL, NULL },
};

static struct writer *push_writer(lua_State *L)
{
    struct writer *w = lua_newuserdatauv(L, sizeof *w, USER_VALUES);
    *w = (struct writer){ .closed = false };
    if (luaL_newmetatable(L, TYPE)) {
        luaL_setfuncs(L, METAMETHODS, 0);
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return w;
}

static int l_csv_writer(lua_State *L)
{
    lua_settop(L, 2);
    int type = lua_type(L, 1);
    bool object = type == LUA_TUSERDATA || type == LUA_TTABLE;
    if (object && lua_getfield(L, 1, "write") != LUA_TFUNCTION)
        object = false;
    if (type != LUA_TFUNCTION && !object)
        return l_raisef(L, "usage", "argument",
                        "csv.writer: sink must be a function that takes chunks or have a method write, got %s",
                        luaL_typename(L, 1));
    lua_settop(L, 2);
    l_opt_check(L, 2, FN, OPTIONS);
    struct writer *w = push_writer(L);
    lua_insert(L, 1);       /* stack: writer, sink, options */
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, SINK);
    lua_pushnil(L);
    l_options(L, w);
    lua_settop(L, 1);
    return 1;
}

/* Pushes the columns of rows (at index rows) when rows are tables by name: its field `columns`, as results of pg have
 * it, or the sorted names of the first row; else nil. */
static void l_push_columns_of(lua_State *L, int rows)
{
    lua_pushliteral(L, "columns");
    if (lua_rawget(L, rows) == LUA_TTABLE) {
        bool names = lua_rawgeti(L, -1, 1) == LUA_TSTRING;
        lua_pop(L, 1);
        if (names)
            return;
    }
    lua_pop(L, 1);
    if (lua_rawgeti(L, rows, 1) != LUA_TTABLE || lua_rawlen(L, -1) > 0) {
        lua_pushnil(L);
        return;
    }
    int first = lua_gettop(L);
    lua_Integer n = 0;
    lua_newtable(L);        /* stack: ..., first row, names */
    lua_pushnil(L);
    while (lua_next(L, first)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            lua_pushvalue(L, -1);
            lua_rawseti(L, first + 1, ++n);
        }
    }
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, first + 1);
    lua_call(L, 1, 0);
    lua_settop(L, first + 1);
    if (n == 0) {
        lua_pushnil(L);
        lua_replace(L, -2);
    }
}

static int l_csv_encode(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TTABLE)
        return l_raisef(L, "usage", "argument", "csv.encode: rows must be a list of tables, got %s",
                        luaL_typename(L, 1));
    l_opt_check(L, 2, FN, OPTIONS);
    struct writer *w = push_writer(L);
    lua_insert(L, 1);       /* stack: writer, rows, options */
    l_push_columns_of(L, 2);
    l_options(L, w);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, SINK);      /* the list stays alive here while its rows take stack index 2 */
    for (lua_Integer i = 1;; i++) {
        lua_getiuservalue(L, 1, SINK);
        int type = lua_rawgeti(L, -1, i);
        if (type == LUA_TNIL)
            break;
        if (type != LUA_TTABLE)
            return l_raisef(L, "usage", "argument", "csv.encode: row %I must be a table, got %s", (LUAI_UACINT)i,
                            luaL_typename(L, -1));
        lua_replace(L, 2);
        l_put_row(L, w);
        w->rows++;
        lua_settop(L, 2);
    }
    lua_pushlstring(L, w->buf.data ? w->buf.data : "", w->whole);
    return 1;
}

/* ---- the module ---- */

static const luaL_Reg FUNCTIONS[] = {
    { "reader", l_csv_reader },
    { "decode", l_csv_decode },
    { "writer", l_csv_writer },
    { "encode", l_csv_encode },
    { NULL, NULL },
};

int luaopen_garun_csv(lua_State *L)
{
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
