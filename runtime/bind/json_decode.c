/* json_decode.c - JSON text to Lua values: RFC 8259 to the letter, in one pass, nothing buffered but one string.
 *
 * Owns nothing: scratch memory is a Lua userdata, so that a raise on lack of memory leaks nothing. It refuses to guess:
 * what is not JSON is an error with line and column, and no number loses a digit without being asked to. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/json.h"
#include "bind/json_scan.h"

enum {
    HELD_PAIRS = 64,        /* members held on the stack, so that a table is made once with its final size */
    HELD_ELEMENTS = 1024,
    EXCERPT = 20,           /* bytes quoted on each side of an error */
    SCRATCH_MIN = 1024,
};

struct decoder {
    lua_State  *L;
    const char *text, *p, *end;     /* *end is '\0', which is no character of any token */
    const struct json_decode_options *o;
    struct err *e;
    int         depth;
    int         mark;               /* stack index of the array metatable */
    int         scratch;            /* stack index of the userdata for strings with escapes, nil before the first */
    size_t      scratch_size, used;
    char       *bytes;              /* of the scratch userdata */
};

static bool read_value(struct decoder *d);

/* ---- errors ---- */

/* Copies [from, to) for an error text: control characters, which a terminal could obey, and broken UTF-8, which a
 * database would refuse, become dots. */
static size_t quote(char *out, const char *from, const char *to)
{
    size_t n = 0;
    while (from < to) {
        unsigned char c = (unsigned char)*from;
        size_t len = c < 0x80 ? 1 : json_utf8_length(from, to);
        if (len == 0 || c < 0x20 || c == 0x7F) {
            out[n++] = '.';
            from++;
        } else {
            memcpy(out + n, from, len);
            n += len;
            from += len;
        }
    }
    return n;
}

/* Fills *e for the place at. Columns count characters, as editors do: bytes that continue a UTF-8 sequence are passed
 * over. */
static bool fail(struct decoder *d, const char *at, const char *code, const char *what)
{
    size_t line = 1, column = 1;
    const char *start = d->text;
    for (const char *p = d->text; p < at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
            start = p + 1;
        } else if (((unsigned char)*p & 0xC0) != 0x80) {
            column++;
        }
    }
    err_set(d->e, "json", code, "line %zu, column %zu: %s", line, column, what);
    if (!d->o->excerpt || d->end == d->text)
        return false;

    const char *from = at - start > EXCERPT ? at - EXCERPT : start;
    const char *to = d->end - at > EXCERPT ? at + EXCERPT : d->end;
    while (from < at && ((unsigned char)*from & 0xC0) == 0x80)      /* not from within a character */
        from++;
    const char *newline = memchr(at, '\n', (size_t)(to - at));
    if (newline)
        to = newline;
    while (to > at && to < d->end && ((unsigned char)*to & 0xC0) == 0x80)
        to--;
    char near[3 * EXCERPT];
    size_t n = quote(near, from, at);
    memcpy(near + n, " >>> ", 5);
    n += 5;
    n += quote(near + n, at, to);
    snprintf(d->e->detail, sizeof d->e->detail, "%s%.*s%s", from > start ? "..." : "", (int)n, near,
             to < d->end && to != newline ? "..." : "");
    return false;
}

/* "expected X, got Y" at the current place. */
static bool fail_expected(struct decoder *d, const char *expected)
{
    char what[160], got[40];
    unsigned char c = (unsigned char)*d->p;
    if (d->p >= d->end)
        snprintf(got, sizeof got, "the end of the text");
    else if (c > 0x20 && c < 0x7F)
        snprintf(got, sizeof got, "'%c'", c);
    else
        snprintf(got, sizeof got, "byte 0x%02x", c);
    snprintf(what, sizeof what, "expected %s, got %s", expected, got);
    return fail(d, d->p, "syntax", what);
}

/* ---- tokens ---- */

static char skip_space(struct decoder *d)
{
    const char *p = d->p;
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
        p++;
    d->p = p;
    return *p;
}

/* Four hex digits at p, -1 when they are not there. */
static int read_hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;      /* before the next byte is read: the text may end here */
        v = v * 16 + digit;
    }
    return v;
}

static char *put_utf8(char *out, int32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    }
    return out;
}

/* Reads the \uXXXX at *p (and the second half of a pair) into *c. */
static bool read_unicode(struct decoder *d, const char **p, int32_t *c)
{
    const char *start = *p;
    int unit = read_hex4(start + 2);
    if (unit < 0)
        return fail(d, start, "syntax", "\\u needs four hexadecimal digits");
    *p = start + 6;
    *c = unit;
    if (unit < 0xD800 || unit > 0xDFFF)
        return true;
    if (unit < 0xDC00 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        int low = read_hex4(*p + 2);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *p += 6;
            *c = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return true;
        }
    }
    *c = 0xFFFD;
    return d->o->replace || fail(d, start, "utf8", "unpaired surrogate: it is half a character and stands for nothing");
}

/* Appends to the string being rewritten. The scratch userdata grows by replacement; the collector takes the old one. */
static void keep(struct decoder *d, const char *s, size_t n)
{
    if (n > d->scratch_size - d->used) {
        size_t size = d->used + n < SCRATCH_MIN ? SCRATCH_MIN : 2 * (d->used + n);
        char *bytes = lua_newuserdatauv(d->L, size, 0);
        if (d->used > 0)
            memcpy(bytes, d->bytes, d->used);
        lua_replace(d->L, d->scratch);
        d->bytes = bytes;
        d->scratch_size = size;
    }
    if (n > 0)
        memcpy(d->bytes + d->used, s, n);
    d->used += n;
}

static void keep_character(struct decoder *d, int32_t c)
{
    char text[4] = "";
    const char *end = put_utf8(text, c);
    keep(d, text, (size_t)(end - text));
}

/* Takes the escape at *p. */
static bool read_escape(struct decoder *d, const char **p)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char letter = (*p)[1];
    if (letter == 'u') {
        int32_t c = 0;
        if (!read_unicode(d, p, &c))
            return false;
        keep_character(d, c);
        return true;
    }
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found)
        return fail(d, *p, "syntax",
                    "unknown escape in a string; JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
    keep(d, meanings + (found - letters), 1);
    *p += 2;
    return true;
}

/* Pushes the string whose opening quote is at the current place. Most are pushed as they stand; from the first escape
 * (or broken sequence, with the replace option) on the text is put together in the scratch memory. */
static bool read_string(struct decoder *d)
{
    const char *p = d->p + 1, *run = p;     /* [run, p) is checked and stands for itself */

    d->used = 0;
    for (;;) {
        p = json_plain_end(p, d->end);
        if (p >= d->end || (*p == '\\' && p + 1 == d->end))
            return fail(d, d->p, "syntax", "this string has no closing quote");
        if (*p == '"')
            break;
        if ((unsigned char)*p >= 0x80) {
            size_t n = json_utf8_length(p, d->end);
            if (n == 0 && !d->o->replace)
                return fail(d, p, "utf8", "broken UTF-8 in a string; JSON text is UTF-8");
            if (n == 0) {
                keep(d, run, (size_t)(p - run));
                keep_character(d, 0xFFFD);
                run = p + 1;
            }
            p += n ? n : 1;
        } else if (*p == '\\') {
            keep(d, run, (size_t)(p - run));
            if (!read_escape(d, &p))
                return false;
            run = p;
        } else {
            char what[96];
            snprintf(what, sizeof what, "control character 0x%02x in a string; write it as \\u%04x", *p, *p);
            return fail(d, p, "syntax", what);
        }
    }
    d->p = p + 1;
    if (d->used > 0) {      /* what is rewritten is never empty */
        keep(d, run, (size_t)(p - run));
        run = d->bytes;
        p = run + d->used;
    }
    lua_pushlstring(d->L, run, (size_t)(p - run));
    return true;
}

static bool read_number(struct decoder *d)
{
    const char *from = d->p;
    lua_Integer i = 0;
    double f = 0;
    switch (json_number_read(&d->p, &i, &f)) {
    case JSON_NUMBER_INTEGER:
        lua_pushinteger(d->L, i);
        return true;
    case JSON_NUMBER_FLOAT:
        lua_pushnumber(d->L, f);
        return true;
    case JSON_NUMBER_BIG:
        if (d->o->big == JSON_BIG_STRING) {
            lua_pushlstring(d->L, from, (size_t)(d->p - from));
            return true;
        }
        if (d->o->big == JSON_BIG_FLOAT && f - f == 0) {    /* finite */
            lua_pushnumber(d->L, f);
            return true;
        }
        return fail(d, from, "number", d->o->big == JSON_BIG_FLOAT
                    ? "this number is beyond what a float holds"
                    : "this number fits no 64-bit integer and no float; big = \"string\" keeps its digits");
    case JSON_NUMBER_BAD:
    default:
        return fail_expected(d, *from == '-' && d->p == from + 1 ? "a digit after the minus"
                             : d->p[-1] == '0' && *d->p >= '0' && *d->p <= '9' ? "a number without leading zeros"
                             : "a digit");
    }
}

static bool read_literal(struct decoder *d, const char *word, size_t len)
{
    if ((size_t)(d->end - d->p) < len || memcmp(d->p, word, len) != 0)
        return fail_expected(d, "a JSON value (true, false, null, number, string, array or object)");
    d->p += len;
    return true;
}

/* ---- containers ---- */

static bool enter(struct decoder *d)
{
    if (++d->depth > JSON_DEPTH) {
        char what[64];
        snprintf(what, sizeof what, "nested deeper than %d levels", JSON_DEPTH);
        return fail(d, d->p, "depth", what);
    }
    return true;
}

/* Puts the `held` elements above slot into the table at slot, which begins to exist with the first batch. */
static void store_elements(struct decoder *d, int slot, lua_Integer stored, int held)
{
    lua_State *L = d->L;
    if (stored == 0) {
        lua_createtable(L, held, 0);
        lua_replace(L, slot);
        for (int i = held; i > 0; i--)      /* from the last: each set pops one */
            lua_rawseti(L, slot, i);
        return;
    }
    for (int i = 1; i <= held; i++) {       /* in order, so that the array part grows and not the hash */
        lua_pushvalue(L, slot + i);
        lua_rawseti(L, slot, stored + i);
    }
    lua_settop(L, slot);
}

static bool read_array(struct decoder *d)
{
    lua_State *L = d->L;
    lua_Integer stored = 0;
    int held = 0;

    if (!enter(d))
        return false;
    luaL_checkstack(L, HELD_ELEMENTS + 8, "JSON array");
    lua_pushnil(L);     /* stack: slot of the table, held elements */
    int slot = lua_gettop(L);
    d->p++;
    if (skip_space(d) == ']') {
        d->p++;
    } else {
        for (;;) {
            if (!read_value(d))
                return false;
            if (++held == HELD_ELEMENTS) {
                store_elements(d, slot, stored, held);
                stored += held;
                held = 0;
            }
            char c = skip_space(d);
            if (c == ',') {
                d->p++;
                if (skip_space(d) == ']')
                    return fail(d, d->p, "syntax", "a comma before ']' is not JSON");
                continue;
            }
            if (c != ']')
                return fail_expected(d, "',' or ']' after an element");
            d->p++;
            break;
        }
    }
    if (stored == 0 || held > 0)
        store_elements(d, slot, stored, held);
    lua_pushvalue(L, d->mark);
    lua_setmetatable(L, slot);
    d->depth--;
    return true;
}

/* The same for `held` pairs of key and value. In order, so that the last of equal keys wins. */
static void store_members(struct decoder *d, int slot, bool first, int held)
{
    lua_State *L = d->L;
    if (first) {
        lua_createtable(L, 0, held);
        lua_replace(L, slot);
    }
    for (int i = 0; i < held; i++) {
        lua_pushvalue(L, slot + 2 * i + 1);
        lua_pushvalue(L, slot + 2 * i + 2);
        lua_rawset(L, slot);
    }
    lua_settop(L, slot);
}

/* True when the key at the top is new in the object. Keys are looked for among the held pairs as well. */
static bool is_new_key(struct decoder *d, int slot, bool stored, int held)
{
    lua_State *L = d->L;
    for (int i = 0; i < held; i++) {
        if (lua_rawequal(L, -1, slot + 2 * i + 1))
            return false;
    }
    if (!stored)
        return true;
    lua_pushvalue(L, -1);
    bool is_new = lua_rawget(L, slot) == LUA_TNIL;
    lua_pop(L, 1);
    return is_new;
}

/* Takes the null members out of the object at slot (assigning nil to a present key is allowed during lua_next). */
static void drop_nulls(struct decoder *d, int slot)
{
    lua_State *L = d->L;
    lua_pushnil(L);
    while (lua_next(L, slot)) {
        bool null = lua_islightuserdata(L, -1);
        lua_pop(L, 1);
        if (null) {
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, slot);
        }
    }
}

static bool read_object(struct decoder *d)
{
    lua_State *L = d->L;
    bool stored = false, nulls = false;
    int held = 0;

    if (!enter(d))
        return false;
    luaL_checkstack(L, 2 * HELD_PAIRS + 8, "JSON object");
    lua_pushnil(L);     /* stack: slot of the table, held pairs of key and value */
    int slot = lua_gettop(L);
    d->p++;
    if (skip_space(d) == '}') {
        d->p++;
    } else {
        for (;;) {
            const char *key = d->p;
            if (*key != '"')
                return fail_expected(d, held || stored ? "a member's name in double quotes"
                                                       : "a member's name in double quotes or '}'");
            if (!read_string(d))
                return false;
            if (d->o->unique && !is_new_key(d, slot, stored, held))
                return fail(d, key, "duplicate", "this member's name comes twice in its object");
            if (skip_space(d) != ':')
                return fail_expected(d, "':' after a member's name");
            d->p++;
            skip_space(d);
            if (!read_value(d))
                return false;
            nulls = nulls || lua_islightuserdata(L, -1);
            if (++held == HELD_PAIRS) {
                store_members(d, slot, !stored, held);
                stored = true;
                held = 0;
            }
            char c = skip_space(d);
            if (c == ',') {
                d->p++;
                if (skip_space(d) == '}')
                    return fail(d, d->p, "syntax", "a comma before '}' is not JSON");
                continue;
            }
            if (c != '}')
                return fail_expected(d, "',' or '}' after a member");
            d->p++;
            break;
        }
    }
    if (!stored || held > 0)
        store_members(d, slot, !stored, held);
    /* Only now: a null must first override an earlier member of the same name. */
    if (nulls && !d->o->nulls)
        drop_nulls(d, slot);
    d->depth--;
    return true;
}

/* Pushes the value at the current place, which is not white space. */
static bool read_value(struct decoder *d)
{
    switch (*d->p) {
    case '"':
        return read_string(d);
    case '{':
        return read_object(d);
    case '[':
        return read_array(d);
    case '-':
    case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        return read_number(d);
    case 't':
        if (!read_literal(d, "true", 4))
            return false;
        lua_pushboolean(d->L, 1);
        return true;
    case 'f':
        if (!read_literal(d, "false", 5))
            return false;
        lua_pushboolean(d->L, 0);
        return true;
    case 'n':
        if (!read_literal(d, "null", 4))
            return false;
        lua_pushlightuserdata(d->L, NULL);
        return true;
    default:
        return fail_expected(d, "a JSON value (true, false, null, number, string, array or object)");
    }
}

bool json_decode(lua_State *L, const char *text, size_t len, const struct json_decode_options *o, struct err *e)
{
    luaL_checkstack(L, 4, "JSON text");
    int top = lua_gettop(L);
    json_push_array_mark(L);
    lua_pushnil(L);
    struct decoder d = {
        .L = L, .text = text, .p = text, .end = text + len, .o = o, .e = e, .mark = top + 1, .scratch = top + 2,
    };
    /* RFC 8259, 8.1: parsers may ignore a byte order mark; Windows tools still write it. */
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        d.p += 3;
    skip_space(&d);
    bool ok = d.p < d.end ? read_value(&d) : fail(&d, d.p, "syntax", "the text is empty, a JSON value was expected");
    if (ok) {
        skip_space(&d);
        if (d.p < d.end)
            ok = fail_expected(&d, "the end of the text after the value");
    }
    if (!ok) {
        lua_settop(L, top);
        return false;
    }
    lua_copy(L, -1, top + 1);
    lua_settop(L, top + 1);
    return true;
}
