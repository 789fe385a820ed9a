/* bq_rows.c - garun.core.bq_rows: a page of a BigQuery answer, as it comes off the wire, to NDJSON.
 *
 * A page is {"kind":..,"schema":{..},"totalRows":"..","pageToken":"..","rows":[{"f":[{"v":"<text>"}]},..],..}, and the
 * rows that are read here have one column, the event as JSON text (TO_JSON_STRING). A scanner takes the body in whatever
 * pieces it comes, unescapes each text into a line, and hands out whole rows only, so that a page whose body is cut can
 * be asked for again and the rows that were handed out skipped. All other members are kept as they are, without the
 * rows, as a small JSON object for garun.json to read: nothing of a page becomes a Lua value but lines and that.
 *
 * Owns two buffers: output (a piece of the body and one row at most) and the other members (MEMBERS_MAX). It is strict:
 * what Google would not write is an error with its byte. It does not look into the lines beyond their first and last
 * byte, nor at their UTF-8: the worker does, and there a bad row costs only itself. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/json_scan.h"
#include "core/buf.h"
#include "core/err.h"

#define SCANNER "garun.bq_rows"

enum {
    ROW_MAX = 100 << 20,        /* BigQuery's own limit of a row in an answer */
    MEMBERS_MAX = 4 << 20,
    KEY_MAX = 128,
    SLACK = 16,                 /* copy_plain() writes eight bytes at a time */
};

enum state {
    ST_START,                   /* before the page's { */
    ST_MEMBER_OR_END, ST_MEMBER, ST_KEY, ST_COLON, ST_VALUE, ST_BEHIND,
    ST_NESTED, ST_TEXT, ST_SCALAR,                  /* within the value of another member than rows */
    ST_ROWS, ST_ROW_OR_END, ST_ROW, ST_OPEN, ST_LINE, ST_CLOSE, ST_ROW_BEHIND,
    ST_OVER,                    /* behind the page's } */
    ST_FAILED,
};

/* What stands around a row's text. White space may come before the characters marked in the line below. */
static const char OPEN[] =        "{\"f\":[{\"v\":\"";
static const char OPEN_SPACE[] =  "xx  xxxx  xx";
static const char CLOSE[] =       "}]}";
static const char BETWEEN[] =     "}]},{\"f\":[{\"v\":\"";     /* CLOSE, a comma, OPEN: as it is nearly always */

struct scanner {
    enum state state;
    bool       rows_seen, head_given;
    size_t     head_len;        /* members before the rows */
    bool       escape, text;    /* within a member's value: behind a backslash, in a string */
    unsigned   depth;
    size_t     at;              /* in OPEN or CLOSE */
    unsigned   unicode;         /* in a line's escape: 1 behind the backslash, 2..5 before that hexadecimal digit */
    unsigned   unit, high;      /* the \u escape's value so far, the first half of a pair that waits for its second */
    uint64_t   offset;          /* of the next byte of the page */
    uint64_t   rows, skip;      /* rows that have ended; the first ones are not handed out */
    size_t     row_start;       /* in out: the row under way */
    size_t     key_len;
    char       key[KEY_MAX];
    struct buf out, members;
};

/* ---- what went wrong ---- */

static const char *expected(const struct scanner *s)
{
    switch (s->state) {
    case ST_START:         return "'{'";
    case ST_MEMBER_OR_END: return "a member's name or '}'";
    case ST_MEMBER:
    case ST_KEY:           return "a member's name";
    case ST_COLON:         return "':'";
    case ST_VALUE:
    case ST_NESTED:
    case ST_TEXT:
    case ST_SCALAR:        return "a member's value";
    case ST_BEHIND:        return "',' or '}'";
    case ST_ROWS:          return "'[' of the rows";
    case ST_ROW_OR_END:    return "a row or ']'";
    case ST_ROW:           return "a row";
    case ST_OPEN:          return s->at + 1 == sizeof OPEN - 1 ? "the text of the row's one column" : "{\"f\":[{\"v\":";
    case ST_LINE:          return "the rest of a row's text";
    case ST_CLOSE:         return "the row's end: rows of one column are read";
    case ST_ROW_BEHIND:    return "',' or ']' behind a row";
    default:               return "nothing more";
    }
}

static bool fail(struct scanner *s, struct err *e, const char *code, const char *what)
{
    err_set(e, "bigquery", code, "a page of BigQuery's answer is damaged at byte %llu, behind %llu rows: %s",
            (unsigned long long)s->offset, (unsigned long long)s->rows, what);
    e->retryable = true;
    s->state = ST_FAILED;
    return false;
}

static bool fail_byte(struct scanner *s, struct err *e, char c)
{
    char what[160];
    unsigned char u = (unsigned char)c;
    if (s->state == ST_OPEN && s->at + 1 == sizeof OPEN - 1 && c == 'n')
        return fail(s, e, "page", "the row is NULL, but each row is an event");
    snprintf(what, sizeof what, u > 0x20 && u < 0x7f ? "expected %s, got '%c'" : "expected %s, got byte 0x%02x",
             expected(s), u);
    return fail(s, e, "page", what);
}

static bool fail_memory(struct scanner *s, struct err *e)
{
    s->state = ST_FAILED;
    return err_set(e, "bigquery", "ENOMEM", "not enough memory for a page of BigQuery's answer");
}

/* ---- lines ---- */

/* Copies until a quote, a backslash or a control character, eight bytes at a time: an event's text has an escaped quote
 * every ten bytes or so. Writes up to seven bytes behind what it copies. */
static const char *copy_plain(char **out, const char *p, const char *end)
{
    char *o = *out;
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        memcpy(o, &v, sizeof v);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        /* As in json_scan.h, but bytes from 0x80 pass: a borrow can only mark bytes above the first hit. */
        uint64_t hit = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v)) & tops;
        if (hit) {
            int n = __builtin_ctzll(hit) >> 3;
            *out = o + n;
            return p + n;
        }
        p += 8;
        o += 8;
    }
#endif
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        *o++ = *p++;
    *out = o;
    return p;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = (char)(0xE0 | c >> 12);
        } else {
            *out++ = (char)(0xF0 | c >> 18);
            *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        }
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (c & 0x3F));
    return out;
}

static const char CONTROL[] = "a row's text holds a control character, which TO_JSON_STRING never writes";
static const char SURROGATE[] = "half of a surrogate pair in a row's text";

/* The escape's value is complete in s->unit. Returns what is wrong with it, or NULL. */
static const char *end_unicode(struct scanner *s, char **out)
{
    unsigned c = s->unit;
    s->unicode = 0;
    if (s->high) {
        if (c < 0xDC00 || c > 0xDFFF)
            return SURROGATE;
        c = 0x10000 + ((s->high - 0xD800) << 10) + (c - 0xDC00);
        s->high = 0;
    } else if (c >= 0xD800 && c <= 0xDBFF) {
        s->high = c;
        return NULL;
    } else if (c >= 0xDC00 && c <= 0xDFFF) {
        return SURROGATE;
    }
    if (c < 0x20)
        return CONTROL;
    *out = put_utf8(*out, c);
    return NULL;
}

/* One byte of an escape; s->unicode says how far it is. */
static const char *escape_byte(struct scanner *s, char c, char **out)
{
    if (s->unicode >= 2) {
        int digit = hex_value(c);
        if (digit < 0)
            return "\\u needs four hexadecimal digits";
        s->unit = s->unit << 4 | (unsigned)digit;
        return s->unicode++ < 5 ? NULL : end_unicode(s, out);
    }
    if (c == 'u') {
        s->unicode = 2;
        s->unit = 0;
        return NULL;
    }
    s->unicode = 0;
    if (s->high)
        return SURROGATE;
    if (c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't')
        return CONTROL;
    if (c != '"' && c != '\\' && c != '/')
        return "an escape that JSON does not have";
    *(*out)++ = c;
    return NULL;
}

/* The text ends at out. */
static const char *end_line(struct scanner *s, char *out)
{
    size_t len = (size_t)(out - s->out.data) - s->row_start;
    const char *line = s->out.data + s->row_start;
    if (len < 2 || line[0] != '{' || line[len - 1] != '}')
        return "a row's text is no JSON object";
    s->rows++;
    s->state = ST_CLOSE;
    s->at = 0;
    if (s->rows <= s->skip) {
        s->out.len = s->row_start;
        return NULL;
    }
    *out++ = '\n';
    s->out.len = s->row_start = (size_t)(out - s->out.data);
    return NULL;
}

/* One escape, a control character or the text's end, at *p; moves *p behind it. */
static const char *scan_special(struct scanner *s, const char **p, const char *end, char **out)
{
    const char *what = NULL;
    char c = **p;
    if (s->unicode)
        what = escape_byte(s, c, out);
    else if (c == '\\')
        s->unicode = 1;
    else if (s->high)
        what = SURROGATE;
    else if (c == '"')
        what = end_line(s, *out);
    else if ((unsigned char)c < 0x20)
        what = "a raw control character within a string";
    else
        return NULL;
    if (what)
        return what;
    ++*p;
    if (s->state == ST_CLOSE && (size_t)(end - *p) >= sizeof BETWEEN - 1 && memcmp(*p, BETWEEN, sizeof BETWEEN - 1) == 0) {
        *p += sizeof BETWEEN - 1;
        s->state = ST_LINE;
        *out = s->out.data + s->out.len;
    }
    return NULL;
}

/* From within a row's text, through as many rows as follow each other without white space. s->out has room for more
 * bytes than [p, end) holds. Returns where it stopped, NULL for an error. */
static const char *scan_lines(struct scanner *s, const char *p, const char *end, struct err *e)
{
    char *out = s->out.data + s->out.len;
    const char *start = p, *what = NULL;
    while (p < end && !what && s->state == ST_LINE) {
        if (!s->unicode && !s->high) {
            p = copy_plain(&out, p, end);
            if (end - p > 1 && p[0] == '\\' && p[1] == '"') {
                *out++ = '"';
                p += 2;
                continue;
            }
            if (p == end)
                break;
        }
        what = scan_special(s, &p, end, &out);
    }
    s->offset += (uint64_t)(p - start);
    if (what) {
        fail(s, e, "page", what);
        return NULL;
    }
    if (s->state == ST_LINE)
        s->out.len = (size_t)(out - s->out.data);
    if (s->out.len - s->row_start > ROW_MAX) {
        fail(s, e, "row_size", "the row is larger than 100 MiB");
        e->retryable = false;
        return NULL;
    }
    return p;
}

/* ---- the other members ---- */

static bool keep(struct scanner *s, const char *p, size_t n, struct err *e)
{
    if (s->members.len + n > MEMBERS_MAX)
        return fail(s, e, "page", "more than 4 MiB beside the rows");
    return buf_put(&s->members, p, n) || fail_memory(s, e);
}

/* Keeps the bytes of a member's value; whether they are well-formed is said by garun.json at the end. */
static const char *scan_value(struct scanner *s, const char *p, const char *end, struct err *e)
{
    const char *start = p;
    bool done = false;
    while (p < end && !done) {
        char c = *p;
        if (s->state == ST_SCALAR) {
            if (c == ',' || c == '}' || c == ' ' || c == '\n' || c == '\r' || c == '\t')
                break;
            p++;
            continue;
        }
        p++;
        if (s->text) {
            if (s->escape)
                s->escape = false;
            else if (c == '\\')
                s->escape = true;
            else if (c == '"')
                s->text = false;
            done = !s->text && s->state == ST_TEXT;
        } else if (c == '"') {
            s->text = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if (c == '}' || c == ']') {
            done = --s->depth == 0;
        }
    }
    s->offset += (uint64_t)(p - start);
    if (!keep(s, start, (size_t)(p - start), e))
        return NULL;
    if (done || (p < end && s->state == ST_SCALAR))
        s->state = ST_BEHIND;
    return p;
}

static bool begin_value(struct scanner *s, char c, struct err *e)
{
    if (!keep(s, s->members.len > 1 ? ",\"" : "\"", s->members.len > 1 ? 2 : 1, e) ||
        !keep(s, s->key, s->key_len, e) || !keep(s, "\":", 2, e))
        return false;
    s->depth = 0;
    s->text = s->escape = false;
    s->state = c == '{' || c == '[' ? ST_NESTED : c == '"' ? ST_TEXT : ST_SCALAR;
    return true;
}

static bool end_key(struct scanner *s, struct err *e)
{
    s->state = ST_COLON;
    if (s->key_len == 4 && memcmp(s->key, "rows", 4) == 0) {
        if (s->rows_seen)
            return fail(s, e, "page", "a second member \"rows\"");
        s->rows_seen = true;
        s->head_len = s->members.len;
    }
    return true;
}

/* ---- the page ---- */

static bool is_rows(const struct scanner *s) { return s->key_len == 4 && memcmp(s->key, "rows", 4) == 0; }

/* One byte between the values. *again: the byte belongs to what comes next and must be looked at once more. */
static bool step(struct scanner *s, char c, bool *again, struct err *e)
{
    bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    *again = false;
    switch (s->state) {
    case ST_KEY:
        if (c == '"')
            return end_key(s, e);
        if ((unsigned char)c < 0x20 || c == '\\' || s->key_len == KEY_MAX)
            return fail_byte(s, e, c);
        s->key[s->key_len++] = c;
        return true;
    case ST_OPEN:
        if (space && OPEN_SPACE[s->at] == 'x')
            return true;
        if (c != OPEN[s->at])
            return fail_byte(s, e, c);
        if (++s->at == sizeof OPEN - 1)
            s->state = ST_LINE;
        return true;
    default:
        break;
    }
    if (space)
        return true;
    switch (s->state) {
    case ST_START:
        if (c != '{')
            break;
        s->state = ST_MEMBER_OR_END;
        return keep(s, "{", 1, e);
    case ST_MEMBER_OR_END:
    case ST_BEHIND:
        if (c == '}') {
            s->state = ST_OVER;
            return keep(s, "}", 1, e);
        }
        if (c == ',' && s->state == ST_BEHIND) {
            s->state = ST_MEMBER;
            return true;
        }
        if (s->state == ST_BEHIND)
            break;
        /* fall through */
    case ST_MEMBER:
        if (c != '"')
            break;
        s->key_len = 0;
        s->state = ST_KEY;
        return true;
    case ST_COLON:
        if (c != ':')
            break;
        s->state = is_rows(s) ? ST_ROWS : ST_VALUE;
        return true;
    case ST_VALUE:
        *again = true;
        return begin_value(s, c, e);
    case ST_ROWS:
        if (c != '[')
            break;
        s->state = ST_ROW_OR_END;
        return true;
    case ST_ROW_OR_END:
    case ST_ROW:
        if (c == ']' && s->state == ST_ROW_OR_END) {
            s->state = ST_BEHIND;
            return true;
        }
        if (c != '{')
            break;
        s->state = ST_OPEN;
        s->at = 1;
        return true;
    case ST_CLOSE:
        if (c != CLOSE[s->at])
            break;
        if (++s->at == sizeof CLOSE - 1)
            s->state = ST_ROW_BEHIND;
        return true;
    case ST_ROW_BEHIND:
        if (c != ',' && c != ']')
            break;
        s->state = c == ',' ? ST_ROW : ST_BEHIND;
        return true;
    default:
        break;
    }
    return fail_byte(s, e, c);
}

static bool scan(struct scanner *s, const char *p, size_t len, struct err *e)
{
    const char *end = p + len;
    /* A line is never longer than its text in the page, and its newline takes the place of the closing quote. */
    if (!buf_reserve(&s->out, len + SLACK))
        return fail_memory(s, e);
    while (p < end) {
        if (s->state == ST_LINE) {
            p = scan_lines(s, p, end, e);
        } else if (s->state == ST_NESTED || s->state == ST_TEXT || s->state == ST_SCALAR) {
            if (s->state == ST_TEXT && !s->text && !s->escape) {
                s->text = true;             /* its opening quote */
                if (!keep(s, p, 1, e))
                    return false;
                s->offset++;
                p++;
            }
            p = scan_value(s, p, end, e);
        } else {
            bool again;
            if (!step(s, *p, &again, e))
                return false;
            if (!again) {
                p++;
                s->offset++;
            }
        }
        if (!p)
            return false;
    }
    return true;
}

/* ---- Lua ---- */

static int l_end(lua_State *L)
{
    struct scanner *s = luaL_checkudata(L, 1, SCANNER);
    buf_free(&s->out);
    buf_free(&s->members);
    s->state = ST_FAILED;
    return 0;
}

/* scanner(skip): the first `skip` rows are checked and counted, but not handed out */
static int l_new(lua_State *L)
{
    lua_Integer skip = luaL_optinteger(L, 1, 0);
    luaL_argcheck(L, skip >= 0, 1, "a number of rows");
    struct scanner *s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    s->skip = (uint64_t)skip;
    luaL_setmetatable(L, SCANNER);
    return 1;
}

static struct scanner *l_scanner(lua_State *L)
{
    struct scanner *s = luaL_checkudata(L, 1, SCANNER);
    if (s->state == ST_FAILED)
        l_raisef(L, "bigquery", "closed", "reading on in a page after an error or its end");
    return s;
}

/* feed(bytes) -> lines or nil, head or nil: whole lines that have ended in these bytes; once, when the rows begin, the
 * members before them as a JSON object */
static int l_feed(lua_State *L)
{
    struct scanner *s = l_scanner(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    struct err e;
    if (!scan(s, bytes, len, &e))
        return l_raise(L, &e);
    if (s->row_start > 0)
        lua_pushlstring(L, s->out.data, s->row_start);
    else
        lua_pushnil(L);
    if (s->rows_seen && !s->head_given) {
        s->head_given = true;
        lua_pushlstring(L, s->members.data, s->head_len);
        lua_pushliteral(L, "}");
        lua_concat(L, 2);
    } else {
        lua_pushnil(L);
    }
    if (s->row_start > 0) {
        buf_drop(&s->out, s->row_start);
        s->row_start = 0;
    }
    return 2;
}

/* finish() -> the members beside the rows, as a JSON object; raises when the page is not whole */
static int l_finish(lua_State *L)
{
    struct scanner *s = l_scanner(L);
    if (s->state != ST_OVER) {
        struct err e;
        err_set(&e, "bigquery", "truncated", "a page of BigQuery's answer is cut at byte %llu, behind %llu rows",
                (unsigned long long)s->offset, (unsigned long long)s->rows);
        snprintf(e.detail, sizeof e.detail, "missing: %s", expected(s));
        e.retryable = true;
        s->state = ST_FAILED;
        return l_raise(L, &e);
    }
    lua_pushlstring(L, s->members.data, s->members.len);
    l_end(L);
    return 1;
}

/* rows() -> rows that have ended, those skipped too */
static int l_rows(lua_State *L)
{
    struct scanner *s = luaL_checkudata(L, 1, SCANNER);
    lua_pushinteger(L, (lua_Integer)s->rows);
    return 1;
}

/* count(text) -> its newlines: rows of an extract's files */
static int l_count(lua_State *L)
{
    size_t len;
    const char *p = luaL_checklstring(L, 1, &len), *end = p + len;
    lua_Integer n = 0;
    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        n++;
        p++;
    }
    lua_pushinteger(L, n);
    return 1;
}

int luaopen_garun_core_bq_rows(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "scanner", l_new },
        { "count", l_count },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "feed", l_feed },
        { "finish", l_finish },
        { "rows", l_rows },
        { "close", l_end },
        { NULL, NULL },
    };
    if (luaL_newmetatable(L, SCANNER)) {
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_end);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, l_end);
        lua_setfield(L, -2, "__close");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
