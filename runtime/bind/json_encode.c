/* json_encode.c - Lua values to JSON text that reads back as the same values.
 *
 * Owns nothing: the caller's buffer takes the bytes. Tables are read raw and no Lua code is called. It refuses whatever
 * JSON cannot say (NaN, holes, mixed keys, functions, bytes that are no text) and names the place by its path. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/json.h"
#include "bind/json_scan.h"

/* One table being written; the chain leads to the root and gives the path of an error. */
struct frame {
    const struct frame *up;
    lua_Integer index;      /* of the element being written; 0 = the member whose key is at stack index key */
    int         key;
};

struct encoder {
    lua_State  *L;
    const struct json_encode_options *o;
    struct buf *out;
    struct err *e;
    int         depth;
    const void *array_mark, *object_mark;       /* the metatables; the registry keeps them */
};

struct key {
    const char *text;       /* NULL for an integer key, whose text is in digits */
    size_t      len;
    lua_Integer i;
    char        digits[20];
};

static bool write_value(struct encoder *w, int idx, const struct frame *f);

/* ---- errors ---- */

/* Appends the path of frame f ("items[3].price") within the size of out. */
static size_t put_path(lua_State *L, const struct frame *f, char *out, size_t size)
{
    size_t n = f->up ? put_path(L, f->up, out, size) : 0;
    if (n + 1 >= size)
        return n;
    int more;
    if (f->index)
        more = snprintf(out + n, size - n, "[" LUA_INTEGER_FMT "]", f->index);
    else if (lua_type(L, f->key) == LUA_TNUMBER)
        more = snprintf(out + n, size - n, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, f->key));
    else
        more = snprintf(out + n, size - n, "%s%s", n ? "." : "", lua_tostring(L, f->key));
    n += more < 0 ? 0 : (size_t)more;
    return n < size ? n : size - 1;
}

/* Fills *e for the value that frame f is writing; f is NULL for the root. */
static bool fail(struct encoder *w, const struct frame *f, const char *code, const char *what)
{
    char path[256] = "";
    size_t n = f ? put_path(w->L, f, path, sizeof path) : 0;
    for (size_t i = 0; i < n; i++) {        /* a name may hold anything; the text goes to logs and terminals */
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7F)
            path[i] = '.';
    }
    const char *dots = n + 1 >= sizeof path ? "..." : "";
    return err_set(w->e, "json", code, "%s%s%s%s", path, dots, n ? ": " : "", what);
}

static bool fail_memory(struct encoder *w)
{
    return err_set(w->e, "json", "memory", "not enough memory for the text (%zu bytes so far)",
                   w->out->len);
}

/* ---- scalars ---- */

/* Makes room for n more bytes. */
static inline bool room(struct encoder *w, size_t n)
{
    return n <= w->out->cap - w->out->len || buf_reserve(w->out, n) || fail_memory(w);
}

static inline bool put(struct encoder *w, const char *p, size_t n)
{
    if (!room(w, n))
        return false;
    memcpy(w->out->data + w->out->len, p, n);
    w->out->len += n;
    return true;
}

static inline bool put_char(struct encoder *w, char c)
{
    if (!room(w, 1))
        return false;
    buf_putc_unchecked(w->out, c);
    return true;
}

/* Writes the escape of one control character, quote, backslash or, for HTML, ASCII character. */
static bool put_escape(struct encoder *w, char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = { '\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15] };
    switch (c) {
    case '"': case '\\': text[1] = c; return put(w, text, 2);
    case '\b': text[1] = 'b'; return put(w, text, 2);
    case '\f': text[1] = 'f'; return put(w, text, 2);
    case '\n': text[1] = 'n'; return put(w, text, 2);
    case '\r': text[1] = 'r'; return put(w, text, 2);
    case '\t': text[1] = 't'; return put(w, text, 2);
    default: return put(w, text, sizeof text);
    }
}

/* Writes [p, end), which holds nothing that every string must escape, with the escapes of the html option. */
static bool put_html(struct encoder *w, const char *p, const char *end)
{
    while (p < end) {
        const char *q = p;
        while (q < end && *q != '<' && *q != '>' && *q != '&')
            q++;
        if (!put(w, p, (size_t)(q - p)))
            return false;
        if (q < end && !put_escape(w, *q++))
            return false;
        p = q;
    }
    return true;
}

/* The rest of write_string from p, which is not plain; [run, p) is checked and not yet written. */
static bool write_rest(struct encoder *w, const char *s, const char *run, const char *p, const char *end,
                       const struct frame *f)
{
    while (p < end) {
        if (json_is_plain(*p)) {
            const char *plain = json_plain_end(p, end);
            if (w->o->html) {
                if (!put(w, run, (size_t)(p - run)) || !put_html(w, p, plain))
                    return false;
                run = plain;
            }
            p = plain;
            continue;
        }
        const char *written = NULL;     /* instead of the next n bytes */
        size_t n = 1;
        if ((unsigned char)*p >= 0x80) {
            n = json_utf8_length(p, end);
            if (n == 0 && !w->o->replace) {
                char what[160];
                snprintf(what, sizeof what, "broken UTF-8 at byte %zu of a string; encode bytes with "
                         "crypto.base64_encode or ask for utf8 = \"replace\"", (size_t)(p - s) + 1);
                return fail(w, f, "utf8", what);
            }
            if (n == 0)
                written = "\xEF\xBF\xBD";
            else if (w->o->html && n == 3 && memcmp(p, "\xE2\x80", 2) == 0 && ((unsigned char)p[2] & 0xFE) == 0xA8)
                written = (unsigned char)p[2] == 0xA8 ? "\\u2028" : "\\u2029";
            if (!written) {
                p += n;
                continue;
            }
            n = n ? n : 1;
        }
        if (!put(w, run, (size_t)(p - run)) || !(written ? put(w, written, strlen(written)) : put_escape(w, *p)))
            return false;
        p += n;
        run = p;
    }
    return put(w, run, (size_t)(end - run)) && put_char(w, '"');
}

static bool write_string(struct encoder *w, const char *s, size_t len, const struct frame *f)
{
    const char *end = s + len, *p = w->o->html ? s : json_plain_end(s, end);

    if (!room(w, len + 2))
        return false;
    buf_putc_unchecked(w->out, '"');
    if (p != end || w->o->html)
        return write_rest(w, s, s, p, end, f);
    memcpy(w->out->data + w->out->len, s, len);
    w->out->len += len;
    buf_putc_unchecked(w->out, '"');
    return true;
}

static bool write_number(struct encoder *w, int idx, const struct frame *f)
{
    char *at;
    if (!room(w, JSON_DOUBLE_MAX))
        return false;
    at = w->out->data + w->out->len;
    if (lua_isinteger(w->L, idx)) {
        w->out->len += json_integer_write(at, lua_tointeger(w->L, idx));
        return true;
    }
    double v = lua_tonumber(w->L, idx);
    if (!isfinite(v))
        return fail(w, f, "number", isnan(v) ? "NaN cannot be written in JSON; use json.null"
                                             : "infinity cannot be written in JSON; use json.null");
    w->out->len += json_number_write(at, v);
    return true;
}

/* ---- tables ---- */

/* A new line and the indentation of the current depth, when the text is indented. */
static bool put_line(struct encoder *w)
{
    if (!w->o->indent)
        return true;
    if (!put_char(w, '\n'))
        return false;
    for (int i = 0; i < w->depth; i++) {
        if (!put(w, w->o->indent, w->o->indent_len))
            return false;
    }
    return true;
}

/* Writes elements 1..n; the caller knows that all are there, or they are written as null. */
static bool write_elements(struct encoder *w, int idx, lua_Integer n, struct frame *f)
{
    lua_State *L = w->L;
    for (f->index = 1; f->index <= n; f->index++) {
        if (f->index > 1 && !put_char(w, ','))
            return false;
        lua_rawgeti(L, idx, f->index);
        if (!put_line(w) || !write_value(w, lua_gettop(L), f))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

/* The number of elements of a table that must be an array: its keys are 1..n in any order. -1 with *e filled if not. */
static lua_Integer count_elements(struct encoder *w, int idx, const struct frame *up)
{
    lua_State *L = w->L;
    lua_Integer count = 0, highest = 0;
    char what[200];

    lua_pushnil(L);
    while (lua_next(L, idx)) {      /* stack: key, value */
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1) {
            if (lua_type(L, -1) == LUA_TSTRING)
                snprintf(what, sizeof what, "an array with the key \"%.60s\"; JSON has either elements or members",
                         lua_tostring(L, -1));
            else if (lua_isinteger(L, -1))
                snprintf(what, sizeof what, "an array with the key " LUA_INTEGER_FMT "; elements are numbered from 1",
                         lua_tointeger(L, -1));
            else
                snprintf(what, sizeof what, "an array with a key that is a %s", lua_isnumber(L, -1) ? "float"
                         : luaL_typename(L, -1));
            fail(w, up, "keys", what);
            return -1;
        }
        lua_Integer i = lua_tointeger(L, -1);
        highest = i > highest ? i : highest;
        count++;
    }
    if (count == highest)
        return count;
    lua_Integer hole = 1;
    while (lua_rawgeti(L, idx, hole) != LUA_TNIL) {
        lua_pop(L, 1);
        hole++;
    }
    snprintf(what, sizeof what, "an array with element " LUA_INTEGER_FMT " but without element " LUA_INTEGER_FMT
             "; fill holes with json.null, or mark the table with json.object", highest, hole);
    fail(w, up, "sparse", what);
    return -1;
}

static bool fail_key(struct encoder *w, int key, const struct frame *f)
{
    char what[120];
    bool number = lua_type(w->L, key) == LUA_TNUMBER;
    snprintf(what, sizeof what, "an object with a key that is a %s%s", luaL_typename(w->L, key),
             number ? "; JSON has either elements or members, json.object makes names of integers" : "");
    return fail(w, f->up, "keys", what);
}

/* Writes the name of a member whose key is the integer at f->key, unless the object at idx has that name already. */
static bool write_integer_name(struct encoder *w, int idx, const struct frame *f)
{
    lua_State *L = w->L;
    char name[24] = "\"";
    size_t len = 1 + json_integer_write(name + 1, lua_tointeger(L, f->key));
    lua_pushlstring(L, name + 1, len - 1);
    bool clash = lua_rawget(L, idx) != LUA_TNIL;
    lua_pop(L, 1);
    if (clash)
        return fail(w, f->up, "keys", "an object with an integer key and the same key as a string");
    name[len++] = '"';
    return put(w, name, len);
}

/* Writes the members of a table in its own order. The first pair of lua_next is on the stack at f->key. */
static bool write_members(struct encoder *w, int idx, struct frame *f, bool integers)
{
    lua_State *L = w->L;
    bool first = true;
    do {
        if (!first && !put_char(w, ','))
            return false;
        first = false;
        if (w->o->indent && !put_line(w))
            return false;
        if (lua_type(L, f->key) == LUA_TSTRING) {
            size_t len;
            const char *key = lua_tolstring(L, f->key, &len);
            if (!write_string(w, key, len, f))
                return false;
        } else if (!integers || !lua_isinteger(L, f->key)) {
            return fail_key(w, f->key, f);
        } else if (!write_integer_name(w, idx, f)) {
            return false;
        }
        if (!put(w, ": ", w->o->indent ? 2 : 1) || !write_value(w, f->key + 1, f))
            return false;
        lua_settop(L, f->key);
    } while (lua_next(L, idx));
    return true;
}

static const char *key_text(const struct key *k) { return k->text ? k->text : k->digits; }

static int compare_keys(const void *va, const void *vb)
{
    const struct key *a = va, *b = vb;
    int c = memcmp(key_text(a), key_text(b), a->len < b->len ? a->len : b->len);
    return c ? c : (a->len > b->len) - (a->len < b->len);
}

/* The same in the order of the keys' bytes; f->key is the first free stack index. */
static bool write_sorted(struct encoder *w, int idx, struct frame *f, bool integers)
{
    lua_State *L = w->L;
    size_t n = 0, count = 0;

    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        count++;
    }
    struct key *keys = lua_newuserdatauv(L, (count ? count : 1) * sizeof *keys, 0);
    f->key = lua_gettop(L) + 1;
    lua_pushnil(L);
    while (n < count && lua_next(L, idx)) {     /* n < count: the allocation may have run a finalizer that added one */
        struct key *k = &keys[n++];
        lua_pop(L, 1);
        k->text = NULL;
        if (lua_type(L, f->key) == LUA_TSTRING)
            k->text = lua_tolstring(L, f->key, &k->len);
        else if (!integers || !lua_isinteger(L, f->key))
            return fail_key(w, f->key, f);
        else
            k->len = json_integer_write(k->digits, k->i = lua_tointeger(L, f->key));
    }
    lua_settop(L, f->key - 1);
    qsort(keys, n, sizeof *keys, compare_keys);

    for (size_t i = 0; i < n; i++) {       /* stack: keys, key, value */
        const struct key *k = &keys[i];
        if (i > 0 && compare_keys(k - 1, k) == 0)
            return fail(w, f->up, "keys", "an object with an integer key and the same key as a string");
        if (k->text)
            lua_pushlstring(L, k->text, k->len);
        else
            lua_pushinteger(L, k->i);
        lua_pushvalue(L, -1);
        lua_rawget(L, idx);
        if ((i > 0 && !put_char(w, ',')) || !put_line(w) || !write_string(w, key_text(k), k->len, f)
            || !put(w, ": ", w->o->indent ? 2 : 1) || !write_value(w, f->key + 1, f))
            return false;
        lua_settop(L, f->key - 1);
    }
    return true;
}

enum shape { SHAPE_PLAIN, SHAPE_ARRAY, SHAPE_OBJECT, SHAPE_SEQUENCE };

/* What a table's metatable says about it: our marks, or a string field __jsontype ("array", "object") of any other, by
 * which classes declare themselves; such an array is its sequence 1..#t whatever other fields it has. */
static enum shape shape_of(struct encoder *w, int idx)
{
    lua_State *L = w->L;
    enum shape shape = SHAPE_PLAIN;
    if (!lua_getmetatable(L, idx))
        return shape;
    const void *mark = lua_topointer(L, -1);
    if (mark == w->array_mark) {
        shape = SHAPE_ARRAY;
    } else if (mark == w->object_mark) {
        shape = SHAPE_OBJECT;
    } else {
        lua_pushliteral(L, "__jsontype");
        if (lua_rawget(L, -2) == LUA_TSTRING) {
            const char *type = lua_tostring(L, -1);
            shape = strcmp(type, "array") == 0 ? SHAPE_SEQUENCE : strcmp(type, "object") == 0 ? SHAPE_OBJECT : shape;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return shape;
}

/* Writes an array of which nothing is known yet. lua_next walks the array part in order, so that one pass both checks
 * and writes nearly all of them; when a key is not the expected one the pass is undone and the table looked at whole.
 * The first pair of lua_next is on the stack at f->key. */
static bool write_array(struct encoder *w, int idx, struct frame *f)
{
    lua_State *L = w->L;
    size_t before = w->out->len;
    int key = f->key;
    f->index = 1;
    do {
        if (lua_type(L, key) != LUA_TNUMBER || lua_tointeger(L, key) != f->index || !lua_isinteger(L, key)) {
            lua_settop(L, key - 1);
            w->out->len = before;
            lua_Integer n = count_elements(w, idx, f->up);
            return n >= 0 && write_elements(w, idx, n, f);
        }
        if ((f->index > 1 && !put_char(w, ',')) || (w->o->indent && !put_line(w)) || !write_value(w, key + 1, f))
            return false;
        lua_settop(L, key);
        f->index++;
    } while (lua_next(L, idx));
    return true;
}

static bool write_table(struct encoder *w, int idx, const struct frame *up)
{
    lua_State *L = w->L;
    struct frame f = { .up = up };

    if (w->depth >= JSON_DEPTH) {
        char what[80];
        snprintf(what, sizeof what, "nested deeper than %d levels; does the table contain itself?", JSON_DEPTH);
        return fail(w, up, "depth", what);
    }
    luaL_checkstack(L, 8, "JSON table");
    enum shape shape = shape_of(w, idx);
    f.key = lua_gettop(L) + 1;
    lua_pushnil(L);
    if (shape == SHAPE_SEQUENCE || !lua_next(L, idx)) {
        lua_settop(L, f.key - 1);
        lua_Integer n = shape == SHAPE_SEQUENCE ? (lua_Integer)lua_rawlen(L, idx) : 0;
        if (n == 0)
            return shape == SHAPE_ARRAY || shape == SHAPE_SEQUENCE ? put(w, "[]", 2) : put(w, "{}", 2);
        w->depth++;
        bool ok = put_char(w, '[') && write_elements(w, idx, n, &f);
        w->depth--;
        return ok && put_line(w) && put_char(w, ']');
    }

    /* An unmarked table is what its first key says; the walk refuses the other kind where it meets one. */
    bool array = shape == SHAPE_ARRAY || (shape == SHAPE_PLAIN && lua_type(L, f.key) == LUA_TNUMBER);
    if (!put_char(w, array ? '[' : '{'))
        return false;
    bool ok;
    w->depth++;
    if (array) {
        ok = write_array(w, idx, &f);
    } else if (w->o->sort_keys) {
        lua_settop(L, f.key - 1);
        ok = write_sorted(w, idx, &f, shape == SHAPE_OBJECT);
    } else {
        ok = write_members(w, idx, &f, shape == SHAPE_OBJECT);
    }
    w->depth--;
    return ok && put_line(w) && put_char(w, array ? ']' : '}');
}

static bool write_value(struct encoder *w, int idx, const struct frame *f)
{
    lua_State *L = w->L;
    size_t len;
    const char *s;
    char what[80];

    switch (lua_type(L, idx)) {
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &len);
        return write_string(w, s, len, f);
    case LUA_TNUMBER:
        return write_number(w, idx, f);
    case LUA_TTABLE:
        return write_table(w, idx, f);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, idx) ? put(w, "true", 4) : put(w, "false", 5);
    case LUA_TNIL:
        return put(w, "null", 4);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, idx) == NULL)
            return put(w, "null", 4);
        break;
    default:
        break;
    }
    snprintf(what, sizeof what, "a %s cannot be written in JSON", luaL_typename(L, idx));
    return fail(w, f, "type", what);
}

bool json_encode(lua_State *L, int idx, const struct json_encode_options *o, struct buf *out, struct err *e)
{
    luaL_checkstack(L, 8, "JSON value");
    idx = lua_absindex(L, idx);
    int top = lua_gettop(L);
    json_push_array_mark(L);
    json_push_object_mark(L);
    struct encoder w = {
        .L = L, .o = o, .out = out, .e = e,
        .array_mark = lua_topointer(L, top + 1), .object_mark = lua_topointer(L, top + 2),
    };
    bool ok = write_value(&w, idx, NULL);
    lua_settop(L, top);
    return ok;
}
