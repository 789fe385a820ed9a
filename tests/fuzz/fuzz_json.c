/* fuzz_json.c - libFuzzer on garun.json: whatever decodes must encode, and decode to the same again.
 *
 * Build: clang -fsanitize=fuzzer,address,undefined -Iruntime tests/fuzz/fuzz_json.c runtime/bind/json*.c
 *        runtime/core/{buf,err,err_lua,opt}.c $(pkg-config --cflags --libs lua5.4) -lm
 * The first byte of the input chooses the options, the rest is the document. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include <lualib.h>
#include "bind/json.h"
#include "core/opt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct box { struct buf buf; };

static int l_box_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    buf_free(&b->buf);
    return 0;
}

static struct box *push_box(lua_State *L)
{
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct box){ .buf = { .data = NULL } };
    if (luaL_newmetatable(L, "box")) {
        lua_pushcfunction(L, l_box_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", what, e->message);
    abort();
}

/* Encodes the value at the top of the stack; leaves the value and the text above it. */
static void encode(lua_State *L, const struct json_encode_options *o, const char *what)
{
    struct err e;
    struct box *b = push_box(L);
    if (!json_encode(L, -2, o, &b->buf, &e))
        die(what, &e);
    lua_pushlstring(L, b->buf.data, b->buf.len);
    lua_remove(L, -2);
}

static int l_one(lua_State *L)
{
    size_t size, len;
    const char *data = lua_tolstring(L, 1, &size);
    unsigned flags = (unsigned char)data[0];
    struct err e;
    struct json_decode_options in = {
        .big = flags % 3 == 2 ? JSON_BIG_FLOAT : flags % 3 == 1 ? JSON_BIG_ERROR : JSON_BIG_STRING,
        .nulls = flags & 4, .unique = flags & 8, .replace = flags & 16, .excerpt = true,
    };
    struct json_decode_options strict = { .nulls = true, .unique = true };
    struct json_encode_options sorted = { .sort_keys = true }, other = {
        .sort_keys = true, .html = flags & 32, .indent = flags & 64 ? "  " : NULL, .indent_len = 2,
    };

    lua_pushlstring(L, data + 1, size - 1);     /* a copy of its own, so that ASan sees what is read behind its end */
    const char *text = lua_tolstring(L, -1, &len);
    if (!json_decode(L, text, len, &in, &e)) {
        if (strlen(e.message) == 0)
            abort();
        return 0;
    }
    encode(L, &sorted, "what was decoded does not encode");
    encode(L, &(struct json_encode_options){ .indent = NULL }, "encoded text does not encode");
    lua_pop(L, 1);
    int first = lua_gettop(L);
    text = lua_tolstring(L, first, &len);
    if (!json_decode(L, text, len, &strict, &e))
        die("our text does not decode", &e);
    encode(L, &sorted, "the second value does not encode");
    if (!lua_rawequal(L, first, -1))
        abort();

    lua_pushvalue(L, first + 1);
    encode(L, &other, "the options make it fail");
    text = lua_tolstring(L, -1, &len);
    if (other.html && memchr(text, '<', len))
        abort();
    if (!json_decode(L, text, len, &strict, &e))
        die("our text with options does not decode", &e);
    encode(L, &sorted, "the third value does not encode");
    if (!lua_rawequal(L, first, -1))
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    lua_State *L = luaL_newstate();
    if (!L)
        return 0;
    lua_pushcfunction(L, l_one);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {      /* the codec raises on lack of memory only */
        fprintf(stderr, "raised: %s\n", lua_tostring(L, -1));
        abort();
    }
    lua_close(L);
    return 0;
}
