/* encode_fixture.h - an encoder for tests, benches and fuzzers: plans written in Lua and packed by garun.plan itself,
 * results collected as text, rows decoded to lines of COPY text. Included, not linked: every function is static inline.
 * Run from the project's root. */
#ifndef GARUN_ENCODE_FIXTURE_H
#define GARUN_ENCODE_FIXTURE_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/err.h"
#include "encode/encode.h"
#include "encode_decode.h"

struct fixture {
    struct encode_sink   sink;       /* first: the sink's functions get a pointer to it */
    struct plan          plan;
    struct encode       *enc;
    struct encode_counts counts;
    struct buf           rows;       /* decoded to COPY lines, one after the other */
    struct buf           binary;     /* as they came */
    struct buf           tags;       /* "table/part " of each row */
    struct buf           rejects;    /* "line@offset code column: reason\n" */
    struct buf           raw;        /* the raw lines of rejects, '\n' behind each */
    struct buf           others;     /* "name=count " */
    uint64_t             key[2];     /* of the last row */
    const char          *data;       /* the batch, for raw */
    struct err           err;
};

/* Packs the plan that the Lua text returns; the bytes are malloc'ed. NULL and a text on stderr on failure. */
static inline uint8_t *fixture_pack(const char *lua, size_t *len)
{
    uint8_t *bytes = NULL;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_garun_error);
    lua_setfield(L, -2, "garun.error");
    lua_settop(L, 0);
    /* from the project's root, or from build/NAME, where fuzzers run */
    const char *path = access("runtime", F_OK) == 0 ? "runtime/lua/garun/plan.lua" : "../../runtime/lua/garun/plan.lua";
    if (luaL_loadfile(L, path) || lua_pcall(L, 0, 1, 0))
        goto fail;
    lua_getfield(L, 1, "pack");
    if (luaL_loadstring(L, lua) || lua_pcall(L, 0, 1, 0) || lua_pcall(L, 1, 1, 0))
        goto fail;
    const char *s = lua_tolstring(L, -1, len);
    bytes = malloc(*len + 1);
    if (bytes)
        memcpy(bytes, s, *len);
    lua_close(L);
    return bytes;
fail:
    fprintf(stderr, "plan: %s\n", luaL_tolstring(L, -1, NULL));
    lua_close(L);
    return NULL;
}

static inline bool fixture_row(struct encode_sink *s, const struct encode_row *row)
{
    struct fixture *f = (struct fixture *)s;
    char tag[32];
    int n = snprintf(tag, sizeof tag, "%u/", row->table);
    f->key[0] = row->key[0];
    f->key[1] = row->key[1];
    if (decode_row(&f->plan.tables[row->table], row->data, row->len, &f->rows) != row->len) {
        fprintf(stderr, "a malformed row of %zu bytes\n", row->len);
        return false;
    }
    return buf_put(&f->binary, row->data, row->len) && buf_put(&f->tags, tag, (size_t)n) &&
           buf_put(&f->tags, row->part.data, row->part.data ? row->part.len : 0) && buf_put(&f->tags, " ", 1);
}

static inline bool fixture_reject(struct encode_sink *s, const struct encode_reject *r)
{
    struct fixture *f = (struct fixture *)s;
    char text[600];
    int n = snprintf(text, sizeof text, "%llu@%llu %s %.*s: %s\n", (unsigned long long)r->line,
                     (unsigned long long)r->offset, r->code, (int)r->column.len, r->column.data, r->reason);
    return buf_put(&f->rejects, text, (size_t)n) && buf_put(&f->raw, f->data + r->raw_at, r->raw_len) &&
           buf_put(&f->raw, "\n", 1);
}

static inline bool fixture_other(struct encode_sink *s, struct plan_text name, uint64_t count)
{
    struct fixture *f = (struct fixture *)s;
    char text[300];
    int n = snprintf(text, sizeof text, "%.*s=%llu ", (int)name.len, name.data, (unsigned long long)count);
    return buf_put(&f->others, text, (size_t)n);
}

static inline bool fixture_open(struct fixture *f, const char *lua)
{
    *f = (struct fixture){ .sink = { fixture_row, fixture_reject, fixture_other } };
    size_t len = 0;
    uint8_t *bytes = fixture_pack(lua, &len);
    bool ok = bytes && plan_decode(bytes, len, &f->plan, &f->err);
    free(bytes);
    f->enc = ok ? encode_open(&f->plan, &f->err) : NULL;
    if (bytes && !f->enc)
        fprintf(stderr, "plan: %s\n", f->err.message);
    return f->enc != NULL;
}

static inline void fixture_clear(struct fixture *f)
{
    f->rows.len = f->binary.len = f->tags.len = f->rejects.len = f->raw.len = f->others.len = 0;
    f->counts = (struct encode_counts){ 0 };
}

static inline void fixture_close(struct fixture *f)
{
    encode_close(f->enc);
    plan_free(&f->plan);
    struct buf *all[] = { &f->rows, &f->binary, &f->tags, &f->rejects, &f->raw, &f->others };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
}

/* Encodes text[0 .. len) from a block that is no longer than it may be; results are appended. */
static inline bool fixture_feed_at(struct fixture *f, const char *text, size_t len, uint64_t line, uint64_t offset)
{
    uint8_t *copy = malloc(len + ENCODE_PAD);
    memcpy(copy, text, len);
    memset(copy + len, '"', ENCODE_PAD);      /* what lies behind a batch must not matter */
    struct encode_batch batch = { .data = copy, .len = len, .line = line, .offset = offset };
    f->data = (const char *)copy;
    bool ok = encode_batch(f->enc, &batch, &f->sink, &f->counts, &f->err);
    free(copy);
    return ok;
}

#endif
