/* gzip.c - garun.core.gzip: streams of deflate data, in both directions, in any of their three wrappings.
 *
 * zlib does the work; what is here is insisting. A gzip file may have several members (RFC 1952, 2.2: "simply appear
 * one after another") and zero bytes behind the last one (tapes, block devices); everything else behind it, an end
 * inside a member, and a checksum or length that does not fit are errors that name the byte. libcurl and many gzip
 * readers let all of these pass.
 *
 * Owns the z_stream and one output buffer. Refuses to pull its input: runtime/lua/garun/gzip.lua does, for that may
 * wait. 256 KiB of JSON take 0.1 to 0.5 ms to inflate, so it is done on the spot, slice by slice. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include <zlib.h>
#include "bind/bind.h"
#include "core/err.h"

#define INFLATER "garun.gzip.inflater"
#define DEFLATER "garun.gzip.deflater"

enum {
    OUT_SIZE = 256 << 10,
    HEAD_SIZE = 48,             /* of the input's first bytes, to say what it is when it is not gzip */
    RATIO_FROM = 1 << 20,       /* output below this is never a bomb */
};

enum format { FORMAT_GZIP, FORMAT_ZLIB, FORMAT_RAW, FORMAT_AUTO };

static const char *const format_names[] = { "gzip", "zlib", "raw", "auto", NULL };
static const int window_bits[] = { 15 + 16, 15, -15 };       /* zlib.h, inflateInit2 */

enum state {
    STATE_START,                /* before the first byte */
    STATE_MEMBER,
    STATE_BETWEEN,              /* behind a member: another one, zeros, or the end */
    STATE_OVER,                 /* finished or failed */
};

struct inflater {
    z_stream      z;
    bool          open;         /* z is initialised */
    bool          failed;
    enum format   format;
    enum state    state;
    unsigned char head[HEAD_SIZE];
    size_t        head_len;
    uint64_t      taken;        /* input bytes before those of z's current run */
    uint64_t      made;         /* output bytes, all members */
    uint64_t      member_at;    /* offset of the current member */
    uint64_t      max_bytes;    /* 0: no bound */
    double        max_ratio;    /* 0: no bound */
    unsigned      members;
    char          name[256];
    unsigned char out[OUT_SIZE];
};

/* ---- what went wrong ---- */

static uint64_t offset_of(const struct inflater *f)
{
    return f->taken + (f->open ? f->z.total_in : 0);
}

static bool begins(const struct inflater *f, const char *magic, size_t len)
{
    return f->head_len >= len && memcmp(f->head, magic, len) == 0;
}

/* Says into e->detail what the input's first bytes look like. */
static void describe_head(const struct inflater *f, struct err *e)
{
    static const struct { const char *magic; size_t len; const char *what; } kinds[] = {
        { "PK\003\004", 4, "a zip archive" },
        { "BZh", 3, "bzip2 data" },
        { "\375" "7zXZ", 5, "xz data" },
        { "\050\265\057\375", 4, "Zstandard data" },
        { "7z\274\257", 4, "a 7z archive" },
        { "%PDF", 4, "a PDF document" },
        { "PAR1", 4, "a Parquet file" },
        { "Obj\001", 4, "an Avro file" },
        { "\x1f\x9d", 2, "data of the old compress program (.Z)" },
        { "\x78\x01", 2, "a bare zlib stream" },
        { "\x78\x9c", 2, "a bare zlib stream" },
        { "\x78\xda", 2, "a bare zlib stream" },
        { "<?xml", 5, "an XML document" },
        { "{", 1, "JSON that is not compressed" },
        { "[", 1, "JSON that is not compressed" },
    };
    char text[4 * HEAD_SIZE + 1];
    size_t n = 0;
    for (size_t i = 0; i < f->head_len; i++) {
        unsigned char c = f->head[i];
        n += (size_t)snprintf(text + n, sizeof text - n, c >= ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
    }
    text[n] = '\0';
    const char *what = strcasestr(text, "<!doctype html") || strcasestr(text, "<html") ? "an HTML page" : NULL;
    for (size_t i = 0; !what && i < sizeof kinds / sizeof *kinds; i++) {
        if (begins(f, kinds[i].magic, kinds[i].len))
            what = kinds[i].what;
    }
    if (what)
        snprintf(e->detail, sizeof e->detail, "it looks like %s; its first bytes are: %s", what, text);
    else
        snprintf(e->detail, sizeof e->detail, "its first bytes are: %s", text);
}

static bool fail(struct inflater *f, struct err *e, const char *code, const char *fmt, const char *arg)
{
    char text[400];
    snprintf(text, sizeof text, "%s", fmt);
    err_set(e, "gzip", code, "%s: %s%s", f->name, text, arg);
    f->state = STATE_OVER;
    return false;
}

static bool fail_at(struct inflater *f, struct err *e, const char *code, uint64_t at, const char *what, const char *why)
{
    err_set(e, "gzip", code, "%s: %s at byte %llu%s%s", f->name, what, (unsigned long long)at,
            why ? ": " : "", why ? why : "");
    snprintf(e->detail, sizeof e->detail, "%llu bytes had been decompressed", (unsigned long long)f->made);
    f->state = STATE_OVER;
    return false;
}

static bool fail_data(struct inflater *f, struct err *e)
{
    const char *msg = f->z.msg ? f->z.msg : "";
    bool header = strcmp(msg, "incorrect header check") == 0 || strcmp(msg, "unknown compression method") == 0 ||
                  strcmp(msg, "unknown header flags set") == 0 || strcmp(msg, "invalid window size") == 0;
    if (header && f->members > 0)
        return fail_at(f, e, "trailing", f->member_at, "garbage behind the end of the compressed data", NULL);
    if (header) {
        fail(f, e, "not_gzip", f->format == FORMAT_GZIP ? "this is not gzip data" : "this is not zlib data", "");
        describe_head(f, e);
        return false;
    }
    if (strcmp(msg, "incorrect data check") == 0)
        return fail_at(f, e, "checksum", offset_of(f), "the checksum is wrong", "the data were damaged on the way");
    if (strcmp(msg, "incorrect length check") == 0)
        return fail_at(f, e, "length", offset_of(f), "the length is wrong", "the data were damaged on the way");
    return fail_at(f, e, "data", offset_of(f), "damaged data", *msg ? msg : NULL);
}

/* ---- inflating ---- */

/* The next input; in must stay until the inflater has asked for more. Only when inflater_next has asked for it. */
static void inflater_feed(struct inflater *f, const unsigned char *in, size_t len)
{
    if (f->head_len < HEAD_SIZE) {
        size_t n = HEAD_SIZE - f->head_len < len ? HEAD_SIZE - f->head_len : len;
        memcpy(f->head + f->head_len, in, n);
        f->head_len += n;
    }
    union { const unsigned char *from; unsigned char *to; } bytes = { .from = in };     /* zlib only reads there */
    f->z.next_in = bytes.to;
    f->z.avail_in = (uInt)len;
}

static bool start_member(struct inflater *f, struct err *e)
{
    int r;
    f->taken = offset_of(f);
    f->member_at = f->taken;
    if (f->format == FORMAT_AUTO) {
        unsigned two = (unsigned)f->head[0] << 8 | (f->head_len > 1 ? f->head[1] : 0);
        f->format = two == 0x1f8b ? FORMAT_GZIP
                  : (two >> 8 & 15) == Z_DEFLATED && (two >> 12) <= 7 && two % 31 == 0 ? FORMAT_ZLIB : FORMAT_RAW;
    }
    if (f->open) {
        r = inflateReset(&f->z);
    } else {
        r = inflateInit2(&f->z, window_bits[f->format]);
        f->open = r == Z_OK;
    }
    if (r != Z_OK)
        return fail(f, e, "ENOMEM", "not enough memory to decompress", "");
    f->state = STATE_MEMBER;
    return true;
}

static bool check_bounds(struct inflater *f, struct err *e)
{
    char text[96];
    if (f->max_bytes && f->made > f->max_bytes) {
        snprintf(text, sizeof text, "it decompresses to more than max_bytes = %llu", (unsigned long long)f->max_bytes);
        return fail(f, e, "max_bytes", text, "");
    }
    uint64_t in = offset_of(f);
    if (f->max_ratio > 0 && f->made > RATIO_FROM && (double)f->made > f->max_ratio * (double)(in ? in : 1)) {
        snprintf(text, sizeof text, "%llu bytes decompress to %llu, which is beyond max_ratio = %g",
                 (unsigned long long)in, (unsigned long long)f->made, f->max_ratio);
        return fail(f, e, "max_ratio", text, "");
    }
    return true;
}

/* Fills f->out; *n bytes of it are good. *n == 0: more input is needed, or (last: there is none) all is done. */
static bool inflater_next(struct inflater *f, bool last, size_t *n, struct err *e)
{
    *n = 0;
    while (f->state != STATE_OVER) {
        if (f->state != STATE_MEMBER && f->z.avail_in == 0)
            break;
        if (f->state == STATE_START && f->format == FORMAT_AUTO && f->head_len < 2 && !last)
            break;
        if (f->state == STATE_BETWEEN && *f->z.next_in == 0 && f->format == FORMAT_GZIP) {
            f->z.next_in++;
            f->z.avail_in--;
            f->taken++;
            continue;
        }
        if (f->state == STATE_BETWEEN && (f->format != FORMAT_GZIP || *f->z.next_in != 0x1f))
            return fail_at(f, e, "trailing", offset_of(f), "garbage behind the end of the compressed data", NULL);
        if (f->state != STATE_MEMBER && !start_member(f, e))
            return false;

        uInt room = (uInt)(OUT_SIZE - *n);
        f->z.next_out = f->out + *n;
        f->z.avail_out = room;
        int r = inflate(&f->z, Z_NO_FLUSH);
        *n += room - f->z.avail_out;
        f->made += room - f->z.avail_out;
        if (r == Z_MEM_ERROR)
            return fail(f, e, "ENOMEM", "not enough memory to decompress", "");
        if (r == Z_NEED_DICT)
            return fail(f, e, "dictionary", "the data need a preset dictionary, which nobody has", "");
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return fail_data(f, e);
        if (!check_bounds(f, e))
            return false;
        if (r == Z_STREAM_END) {
            f->state = STATE_BETWEEN;
            f->members++;
        } else if (f->z.avail_out == 0 || f->z.avail_in == 0) {
            break;
        }
        if (*n == OUT_SIZE)
            break;
    }
    if (*n || !last || f->state == STATE_BETWEEN || f->state == STATE_OVER)
        return true;
    if (f->state == STATE_START)
        return fail(f, e, "truncated", "truncated at byte 0: the input is empty", "");
    return fail_at(f, e, "truncated", offset_of(f), "truncated", "the input ends inside the compressed data");
}

/* ---- Lua: inflater ---- */

static void inflater_end(struct inflater *f)
{
    if (f->open)
        inflateEnd(&f->z);
    f->open = false;
    f->state = STATE_OVER;
}

/* inflater(format, max_bytes, max_ratio, name) */
static int l_inflater(lua_State *L)
{
    int format = luaL_checkoption(L, 1, "gzip", format_names);
    lua_Integer max_bytes = luaL_optinteger(L, 2, 0);
    double max_ratio = luaL_optnumber(L, 3, 0);
    const char *name = luaL_optstring(L, 4, "the input");
    struct inflater *f = lua_newuserdatauv(L, sizeof *f, 1);
    memset(f, 0, offsetof(struct inflater, out));
    luaL_setmetatable(L, INFLATER);
    f->format = (enum format)format;
    f->max_bytes = (uint64_t)max_bytes;
    f->max_ratio = max_ratio;
    snprintf(f->name, sizeof f->name, "%s", name);
    return 1;
}

/* next(chunk, last) -> output, or nil when more input is needed
 *
 * chunk is given when the last call returned nil (and the script has one), last when there is none any more. */
static int l_inflater_next(lua_State *L)
{
    struct inflater *f = luaL_checkudata(L, 1, INFLATER);
    bool last = lua_toboolean(L, 3);
    struct err e;
    size_t n;
    if (f->failed)
        return l_raisef(L, "gzip", "closed", "%s: reading on after an error or the end", f->name);
    if (!lua_isnoneornil(L, 2)) {
        size_t len;
        const char *chunk = luaL_checklstring(L, 2, &len);
        if (f->z.avail_in) {                         /* FORMAT_AUTO has one byte and waits for the second */
            lua_pushlstring(L, (const char *)f->z.next_in, f->z.avail_in);
            lua_pushvalue(L, 2);
            lua_concat(L, 2);
            lua_replace(L, 2);
            chunk = lua_tolstring(L, 2, &len);
            f->head_len = 0;
        }
        if (len > UINT32_MAX)
            return l_raisef(L, "gzip", "EFBIG", "%s: a chunk of the source is larger than 4 GiB", f->name);
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, 1, 1);                  /* keeps the bytes where they are */
        inflater_feed(f, (const unsigned char *)chunk, len);
    }
    if (!inflater_next(f, last, &n, &e)) {
        f->failed = true;                            /* a caught error must not be followed by a clean end */
        inflater_end(f);
        return l_raise(L, &e);
    }
    if (n == 0) {
        if (last)
            inflater_end(f);
        lua_pushnil(L);
        return 1;
    }
    lua_pushlstring(L, (const char *)f->out, n);
    return 1;
}

static int l_inflater_end(lua_State *L)
{
    inflater_end(luaL_checkudata(L, 1, INFLATER));
    return 0;
}

/* ---- Lua: deflater ---- */

struct deflater {
    z_stream z;
    bool     open;
};

static int l_deflater_end(lua_State *L)
{
    struct deflater *d = luaL_checkudata(L, 1, DEFLATER);
    if (d->open)
        deflateEnd(&d->z);
    d->open = false;
    return 0;
}

/* deflater(format, level) */
static int l_deflater(lua_State *L)
{
    int format = luaL_checkoption(L, 1, "gzip", format_names);
    lua_Integer level = luaL_optinteger(L, 2, 6);
    if (format == FORMAT_AUTO || level < 0 || level > 9)
        return l_raisef(L, "usage", "argument",
                        "gzip.writer: level is from 0 (stored) to 9 (smallest), format gzip, zlib or raw");
    struct deflater *d = lua_newuserdatauv(L, sizeof *d, 0);
    memset(d, 0, sizeof *d);
    luaL_setmetatable(L, DEFLATER);
    /* No name and no time in the header: the same bytes give the same file. */
    if (deflateInit2(&d->z, (int)level, Z_DEFLATED, window_bits[format], 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return l_raisef(L, "gzip", "ENOMEM", "gzip.writer: not enough memory to compress");
    d->open = true;
    return 1;
}

/* put(chunk, last) -> compressed bytes, "" when there are none yet */
static int l_deflater_put(lua_State *L)
{
    struct deflater *d = luaL_checkudata(L, 1, DEFLATER);
    size_t len;
    const char *chunk = luaL_checklstring(L, 2, &len);
    bool last = lua_toboolean(L, 3);
    if (!d->open)
        return l_raisef(L, "gzip", "closed", "gzip.writer: the writer is finished already");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    union { const char *from; unsigned char *to; } bytes = { .from = chunk };
    d->z.next_in = bytes.to;
    do {
        uInt slice = len > 1u << 30 ? 1u << 30 : (uInt)len;
        len -= slice;
        d->z.avail_in = slice;
        do {
            d->z.next_out = (unsigned char *)luaL_prepbuffsize(&b, 64 << 10);
            d->z.avail_out = 64 << 10;
            deflate(&d->z, last && len == 0 ? Z_FINISH : Z_NO_FLUSH);
            luaL_addsize(&b, (64 << 10) - d->z.avail_out);
        } while (d->z.avail_out == 0);
    } while (len);
    if (last) {
        deflateEnd(&d->z);
        d->open = false;
    }
    luaL_pushresult(&b);
    return 1;
}

static void l_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction end)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, end);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, end);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

int luaopen_garun_core_gzip(lua_State *L)
{
    static const luaL_Reg inflater_methods[] = {
        { "next", l_inflater_next },
        { "close", l_inflater_end },
        { NULL, NULL },
    };
    static const luaL_Reg deflater_methods[] = {
        { "put", l_deflater_put },
        { "close", l_deflater_end },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "inflater", l_inflater },
        { "deflater", l_deflater },
        { NULL, NULL },
    };
    l_class(L, INFLATER, inflater_methods, l_inflater_end);
    l_class(L, DEFLATER, deflater_methods, l_deflater_end);
    luaL_newlib(L, functions);
    return 1;
}
