/* csv.c - csv.reader and csv.decode: rows of CSV text as Lua tables.
 *
 * A reader is a userdata that a generic for calls. It owns a parser; its user values keep the source, the chunk being
 * parsed and the names of the columns. The source may be a function that waits: it is called with a continuation, with
 * nothing of the parser on the C stack. */
#include <stdio.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/csv.h"
#include "bind/csv_parser.h"
#include "bind/json.h"
#include "core/opt.h"

enum { SOURCE = 1, CHUNK, COLUMNS, USER_VALUES = COLUMNS };

enum encoding { ENCODING_UTF8, ENCODING_1252, ENCODING_BYTES };

struct reader {
    struct csv_parser parser;
    enum encoding encoding;
    bool        closed, pulling;    /* pulling: the source is at work */
    bool        want_header;        /* the next row names the columns */
    bool        named;              /* rows are tables by name */
    bool        ragged;             /* rows may have any number of fields */
    bool        has_null;
    char        null[64];           /* a plain field of this text is absent */
    size_t      null_len;
    size_t      width;              /* fields of a row, 0 = not known yet */
    uint64_t    rows;
};

static const char TYPE[] = "garun.csv.reader";

static const char *const OPTIONS[] = {
    "header", "delimiter", "quote", "trim", "lax", "ragged", "null", "keep_blank", "encoding", "max_row", NULL,
};

static struct reader *l_reader(lua_State *L)
{
    struct reader *r = luaL_checkudata(L, 1, TYPE);
    if (r->closed)
        l_raisef(L, "usage", "closed", "csv.reader is closed");
    return r;
}

/* ---- fields ---- */

/* Windows-1252's 0x80-0x9F; the rest is Latin-1, whose code points are its bytes. 0 = undefined. */
static const unsigned short CP1252[32] = {
    0x20AC, 0, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017D, 0,
    0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0, 0x017E,
    0x0178,
};

/* The first byte in [s, end) beyond ASCII, or end. */
static const char *ascii_end(const char *s, const char *end)
{
    while (end - s >= 8) {
        uint64_t v;
        memcpy(&v, s, sizeof v);
        if (v & UINT64_C(0x8080808080808080))
            break;
        s += 8;
    }
    while (s < end && (unsigned char)*s < 0x80)
        s++;
    return s;
}

static int l_bad_text(lua_State *L, const struct reader *r, size_t i, size_t at, unsigned char byte)
{
    const char *name = NULL;
    if (r->named && !r->want_header) {
        lua_getiuservalue(L, 1, COLUMNS);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        name = lua_tostring(L, -1);
    }
    struct err e;
    err_set(&e, "csv", "utf8", "line %llu, field %zu%s%s%s: byte %zu of the field (0x%02x) is not %s",
            (unsigned long long)r->parser.row_line, i + 1, name ? " (" : "", name ? name : "", name ? ")" : "", at + 1,
            byte, r->encoding == ENCODING_1252 ? "a character of windows-1252" : "well-formed UTF-8");
    if (r->encoding == ENCODING_UTF8)
        strcpy(e.hint, "option encoding = \"windows-1252\" converts, \"bytes\" takes fields unchecked");
    return l_raise(L, &e);
}

static void l_push_1252(lua_State *L, const struct reader *r, size_t i, const char *s, size_t len)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t k = 0; k < len; k++) {
        unsigned char c = (unsigned char)s[k];
        unsigned u = c >= 0x80 && c < 0xA0 ? CP1252[c - 0x80] : c;
        if (u < 0x80 && (u || c == 0)) {
            luaL_addchar(&b, (char)u);
        } else if (u == 0) {
            l_bad_text(L, r, i, k, c);
        } else if (u < 0x800) {
            luaL_addchar(&b, (char)(0xC0 | u >> 6));
            luaL_addchar(&b, (char)(0x80 | (u & 0x3F)));
        } else {
            luaL_addchar(&b, (char)(0xE0 | u >> 12));
            luaL_addchar(&b, (char)(0x80 | (u >> 6 & 0x3F)));
            luaL_addchar(&b, (char)(0x80 | (u & 0x3F)));
        }
    }
    luaL_pushresult(&b);
}

/* Pushes field i (from 0) as text, or nil when it is the null text. */
static void l_push_field(lua_State *L, const struct reader *r, size_t i)
{
    const struct csv_field *f = &r->parser.fields[i];
    const char *s = f->len ? r->parser.row.data + f->start : "";
    const char *end = s + f->len;

    if (r->has_null && !f->quoted && f->len == r->null_len && memcmp(s, r->null, f->len) == 0) {
        lua_pushnil(L);
        return;
    }
    const char *p = r->encoding == ENCODING_BYTES ? end : ascii_end(s, end);
    if (p < end && r->encoding == ENCODING_1252) {
        l_push_1252(L, r, i, s, f->len);
        return;
    }
    while (p < end) {
        size_t n = json_utf8_length(p, end);
        if (n == 0)
            l_bad_text(L, r, i, (size_t)(p - s), (unsigned char)*p);
        p = ascii_end(p + n, end);
    }
    lua_pushlstring(L, s, f->len);
}

/* ---- rows ---- */

/* Checks the list of names at the top of the stack (unique strings) and keeps it as the columns. */
static void l_keep_columns(lua_State *L, struct reader *r, const char *where)
{
    lua_Unsigned n = lua_rawlen(L, -1);
    lua_newtable(L);        /* stack: names, seen */
    for (lua_Unsigned i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -2, (lua_Integer)i) != LUA_TSTRING)
            l_raisef(L, "usage", "option", "csv.reader: option 'header' must be true, false or a list of names");
        if (lua_rawlen(L, -1) == 0)
            l_raisef(L, "csv", "header", "%s: column %I has no name; give names with option header = {...}", where,
                     (LUAI_UACINT)i);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL)
            l_raisef(L, "csv", "header", "%s: two columns are named '%s'; give names with option header = {...}", where,
                     lua_tostring(L, -2));
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
    lua_setiuservalue(L, 1, COLUMNS);
    r->width = (size_t)n;
    r->named = true;
}

static void l_read_header(lua_State *L, struct reader *r)
{
    size_t n = r->parser.nfields;
    char where[48];
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        l_push_field(L, r, i);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushliteral(L, "");
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    snprintf(where, sizeof where, "line %llu", (unsigned long long)r->parser.row_line);
    l_keep_columns(L, r, where);
    r->want_header = false;
}

/* Pushes the parser's row as a table. */
static void l_push_row(lua_State *L, struct reader *r)
{
    size_t n = r->parser.nfields;
    if (r->width == 0)
        r->width = n;
    if (n != r->width && !r->ragged) {
        struct err e;
        err_set(&e, "csv", "fields", "line %llu: %zu field%s, but %s %zu", (unsigned long long)r->parser.row_line, n,
                n == 1 ? "" : "s", r->named ? "there are names for" : "the first row has", r->width);
        strcpy(e.hint, "is the delimiter right, is a delimiter missing quotes? Option ragged = true accepts such rows");
        l_raise(L, &e);
    }
    if (!r->named) {
        lua_createtable(L, (int)n, 0);
        for (size_t i = 0; i < n; i++) {
            l_push_field(L, r, i);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    }
    lua_createtable(L, 0, (int)n);
    lua_getiuservalue(L, 1, COLUMNS);       /* stack: row, columns */
    for (size_t i = 0; i < n; i++) {
        if (i < r->width)
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
        else
            lua_pushinteger(L, (lua_Integer)(i + 1 - r->width));    /* beyond the names: [1], [2] ... */
        l_push_field(L, r, i);
        lua_rawset(L, -4);
    }
    lua_pop(L, 1);
}

/* Parses what there is. 0 = another chunk is wanted; else the number of results that are pushed. */
static int l_advance(lua_State *L, struct reader *r)
{
    struct err e;
    for (;;) {
        switch (csv_next(&r->parser, &e)) {
        case CSV_MORE:
            return 0;
        case CSV_END:
            lua_pushnil(L);
            return 1;
        case CSV_FAILED:
            r->closed = true;
            l_raise(L, &e);
        case CSV_ROW:
            if (r->want_header) {
                l_read_header(L, r);
                continue;
            }
            r->rows++;
            l_push_row(L, r);
            lua_pushinteger(L, (lua_Integer)r->parser.row_line);
            return 2;
        }
    }
}

/* Hands the chunk at the top of the stack (a string, or nil at the end) to the parser. */
static void l_take_chunk(lua_State *L, struct reader *r)
{
    size_t len = 0;
    const char *chunk = "";
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TSTRING)
            l_raisef(L, "usage", "argument", "csv.reader: the source must return strings and nil at the end, got %s",
                     luaL_typename(L, -1));
        chunk = lua_tolstring(L, -1, &len);
    }
    bool end = lua_isnil(L, -1);
    lua_setiuservalue(L, 1, CHUNK);
    if (end || len > 0)     /* an empty chunk is not the end: the source is asked again */
        csv_feed(&r->parser, chunk, len);
}

/* Calls the source until there is a row. Stack: reader, and nothing else. */
static int l_pull_k(lua_State *L, int status, lua_KContext ctx)
{
    struct reader *r = (struct reader *)ctx;
    for (;;) {
        if (status == LUA_YIELD) {      /* the source has answered; stack: reader, chunk */
            r->pulling = false;
            if (r->closed)
                return l_raisef(L, "usage", "closed", "csv.reader was closed while its source was being read");
            l_take_chunk(L, r);
        }
        lua_settop(L, 1);
        int n = l_advance(L, r);
        if (n)
            return n;
        if (lua_getiuservalue(L, 1, SOURCE) == LUA_TFUNCTION) {
            r->pulling = true;
            lua_callk(L, 0, 1, ctx, l_pull_k);
        } else {                        /* a string: taken once, then nil is the end */
            lua_pushnil(L);
            lua_setiuservalue(L, 1, SOURCE);
        }
        status = LUA_YIELD;     /* the same way on whether the source has waited or not */
    }
}

static int l_reader_next(lua_State *L)
{
    struct reader *r = l_reader(L);
    lua_settop(L, 1);
    if (r->pulling)
        return l_raisef(L, "usage", "busy", "csv.reader: the source has failed, or another task is reading from it");
    return l_pull_k(L, LUA_OK, (lua_KContext)r);
}

/* ---- options ---- */

/* The options are at stack index 3: reader, source, options. */
enum { OPTS = 3 };
static const char FN[] = "csv.reader";

/* A one-byte option; "" is allowed when none is. */
static char l_byte_option(lua_State *L, const char *name, const char *def, bool none)
{
    size_t len;
    const char *s = l_opt_string(L, OPTS, FN, name, def, &len);
    if (len > 1 || (len == 0 && !none) || (len == 1 && (*s == '\n' || *s == '\r' || *s == '\0' || *s & 0x80)))
        l_raisef(L, "usage", "option", "%s: option '%s' must be one ASCII character%s", FN, name,
                 none ? " or \"\"" : "");
    return len ? *s : '\0';
}

static enum encoding l_encoding_option(lua_State *L)
{
    static const char *const names[] = { "utf-8", "windows-1252", "bytes" };
    const char *encoding = l_opt_string(L, OPTS, FN, "encoding", names[0], NULL);
    for (int i = 0; i < 3; i++) {
        if (strcmp(encoding, names[i]) == 0)
            return (enum encoding)i;
    }
    l_raisef(L, "usage", "option", "%s: option 'encoding' must be \"utf-8\", \"windows-1252\" or \"bytes\", got \"%s\"",
             FN, encoding);
}

static void l_header_option(lua_State *L, struct reader *r)
{
    lua_pushliteral(L, "header");
    int type = lua_rawget(L, OPTS);
    if (type == LUA_TBOOLEAN) {
        r->want_header = r->named = lua_toboolean(L, -1);
    } else if (type == LUA_TTABLE) {
        size_t n = lua_rawlen(L, -1);
        if (n == 0)
            l_raisef(L, "usage", "option", "%s: option 'header' has no names", FN);
        lua_createtable(L, (int)n, 0);      /* a copy: the script may change its own; stack: ..., names, copy */
        for (size_t i = 1; i <= n; i++) {
            lua_rawgeti(L, -2, (lua_Integer)i);
            lua_rawseti(L, -2, (lua_Integer)i);
        }
        l_keep_columns(L, r, FN);
    } else if (type != LUA_TNIL) {
        l_raisef(L, "usage", "option", "%s: option 'header' must be true, false or a list of names", FN);
    }
}

static void l_options(lua_State *L, struct reader *r)
{
    struct csv_parser *p = &r->parser;

    l_opt_check(L, OPTS, FN, OPTIONS);
    p->delimiter = l_byte_option(L, "delimiter", ",", false);
    p->quote = l_byte_option(L, "quote", "\"", true);
    if (p->delimiter == p->quote)
        l_raisef(L, "usage", "option", "%s: options 'delimiter' and 'quote' must differ", FN);
    p->trim = l_opt_boolean(L, OPTS, FN, "trim", false);
    p->lax = l_opt_boolean(L, OPTS, FN, "lax", false);
    p->keep_blank = l_opt_boolean(L, OPTS, FN, "keep_blank", false);
    p->max_row = (size_t)l_opt_integer(L, OPTS, FN, "max_row", 16 << 20, 1, (lua_Integer)1 << 30);
    r->ragged = l_opt_boolean(L, OPTS, FN, "ragged", false);
    r->encoding = l_encoding_option(L);
    p->text = r->encoding == ENCODING_UTF8;

    const char *null = l_opt_string(L, OPTS, FN, "null", NULL, &r->null_len);
    r->has_null = null != NULL;
    if (null && r->null_len > sizeof r->null)
        l_raisef(L, "usage", "option", "%s: option 'null' is longer than %d bytes", FN, (int)sizeof r->null);
    if (null)
        memcpy(r->null, null, r->null_len);
    l_header_option(L, r);
}

/* ---- the reader ---- */

static int l_reader_columns(lua_State *L)
{
    struct reader *r = luaL_checkudata(L, 1, TYPE);
    if (lua_getiuservalue(L, 1, COLUMNS) != LUA_TTABLE)
        return 1;
    lua_createtable(L, (int)r->width, 0);       /* a copy: ours decides where fields go */
    for (size_t i = 1; i <= r->width; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    return 1;
}

static int l_reader_close(lua_State *L)
{
    struct reader *r = luaL_checkudata(L, 1, TYPE);
    r->closed = true;
    csv_free(&r->parser);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, CHUNK);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, SOURCE);
    return 0;
}

static int l_reader_tostring(lua_State *L)
{
    struct reader *r = luaL_checkudata(L, 1, TYPE);
    if (r->closed)
        lua_pushliteral(L, "csv.reader(closed)");
    else
        lua_pushfstring(L, "csv.reader(line %I, %I rows)", (LUAI_UACINT)r->parser.row_line, (LUAI_UACINT)r->rows);
    return 1;
}

static const luaL_Reg METHODS[] = {
    { "next", l_reader_next },
    { "columns", l_reader_columns },
    { "close", l_reader_close },
    { NULL, NULL },
};

static const luaL_Reg METAMETHODS[] = {
    { "__call", l_reader_next },
    { "__close", l_reader_close },
    { "__gc", l_reader_close },
    { "__tostring", l_reader_tostring },
    { NULL, NULL },
};

int l_csv_reader(lua_State *L)
{
    lua_settop(L, 2);
    int type = lua_type(L, 1);
    if (type != LUA_TSTRING && type != LUA_TFUNCTION)
        return l_raisef(L, "usage", "argument",
                        "csv.reader: source must be a string or a function that returns chunks, got %s",
                        luaL_typename(L, 1));

    struct reader *r = lua_newuserdatauv(L, sizeof *r, USER_VALUES);
    *r = (struct reader){ .closed = false };
    if (luaL_newmetatable(L, TYPE)) {
        luaL_setfuncs(L, METAMETHODS, 0);
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    lua_insert(L, 1);       /* stack: reader, source, options */
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, SOURCE);
    l_options(L, r);
    lua_settop(L, 1);
    return 1;
}

int l_csv_decode(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING)
        return l_raisef(L, "usage", "argument", "csv.decode: text must be a string, got %s", luaL_typename(L, 1));
    l_csv_reader(L);        /* stack: reader */
    lua_newtable(L);
    lua_insert(L, 1);       /* stack: rows, reader */
    lua_pushcfunction(L, l_reader_next);
    for (lua_Integer i = 1;; i++) {
        lua_pushvalue(L, 3);
        lua_pushvalue(L, 2);
        lua_call(L, 1, 1);
        if (lua_isnil(L, -1))
            break;
        lua_rawseti(L, 1, i);
    }
    lua_settop(L, 2);
    lua_pushcfunction(L, l_reader_close);
    lua_insert(L, 2);
    lua_call(L, 1, 0);
    return 1;
}
