/* fuzz_csv.c - libFuzzer on the CSV reader and writer: the cut into chunks changes nothing, and what was read can be
 * written and read again as the same rows.
 *
 * Build: clang -fsanitize=fuzzer,address,undefined -Iruntime tests/fuzz/fuzz_csv.c runtime/bind/csv*.c
 *        runtime/bind/json*.c runtime/core/{buf,err,err_lua,opt}.c $(pkg-config --cflags --libs lua5.4) -lm
 * The first two bytes of the input choose options and the size of the chunks. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include <lualib.h>
#include "bind/csv.h"
#include "bind/csv_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends the rows of the text, read in chunks of n bytes, to *out in a form without ambiguity. */
static enum csv_result read_all(struct csv_parser p, const char *text, size_t size, size_t n, struct buf *out,
                                struct err *e)
{
    size_t at = 0;
    char *chunk = NULL;
    enum csv_result r;

    while ((r = csv_next(&p, e)) == CSV_ROW || r == CSV_MORE) {
        if (r == CSV_MORE) {
            size_t len = size - at < n ? size - at : n;
            free(chunk);
            chunk = malloc(len ? len : 1);      /* exactly as long, so that ASan sees what is read behind its end */
            if (!chunk)
                abort();
            memcpy(chunk, text + at, len);
            csv_feed(&p, chunk, len);
            at += len;
            continue;
        }
        for (size_t i = 0; i < p.nfields; i++) {
            buf_put(out, &p.fields[i].len, sizeof p.fields[i].len);
            if (p.fields[i].len > 0)        /* row.data is NULL while all fields are empty */
                buf_put(out, p.row.data + p.fields[i].start, p.fields[i].len);
        }
        buf_put(out, "\n", 1);
        buf_put(out, &p.row_line, sizeof p.row_line);
    }
    free(chunk);
    csv_free(&p);
    return r;
}

static const char SCRIPT[] =
    "local csv, text = ...\n"
    "local ok, rows = pcall(csv.decode, text, { ragged = true, encoding = 'bytes' })\n"
    "if not ok then return end\n"
    "for width = 1, 8 do\n"
    "  local list = {}\n"
    "  for _, row in ipairs(rows) do if #row == width then list[#list + 1] = row end end\n"
    "  local written = csv.encode(list)\n"
    "  local again = csv.decode(written, { encoding = 'bytes' })\n"
    "  assert(#again == #list, 'rows')\n"
    "  for i, row in ipairs(list) do\n"
    "    for k, field in ipairs(row) do assert(again[i][k] == field, 'field') end\n"
    "    assert(#again[i] == #row, 'width')\n"
    "  end\n"
    "  local safe = csv.decode(csv.encode(list, { formulas = 'neutralise' }), { encoding = 'bytes' })\n"
    "  assert(#safe == #list, 'safe rows')\n"
    "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 2;
    struct csv_parser p = {
        .delimiter = data[0] & 1 ? ';' : ',', .quote = data[0] & 2 ? '\'' : data[0] & 64 ? '\0' : '"',
        .trim = data[0] & 4, .lax = data[0] & 8, .keep_blank = data[0] & 16, .max_row = data[0] & 32 ? 64 : 1 << 20,
    };
    struct buf whole = {0}, cut = {0};
    struct err a = {0}, b = {0};
    enum csv_result ra = read_all(p, text, size - 2, size, &whole, &a);
    enum csv_result rb = read_all(p, text, size - 2, (size_t)data[1] % 16 + 1, &cut, &b);
    if (ra != rb || whole.len != cut.len || (whole.len && memcmp(whole.data, cut.data, whole.len) != 0)
        || (ra == CSV_FAILED && strcmp(a.code, "size") != 0 && strcmp(a.message, b.message) != 0)) {
        fprintf(stderr, "chunks matter: %d \"%s\" and %d \"%s\"\n", (int)ra, a.message, (int)rb, b.message);
        abort();
    }
    buf_free(&whole);
    buf_free(&cut);

    lua_State *L = luaL_newstate();
    if (!L)
        return 0;
    luaL_openlibs(L);
    if (luaL_loadbuffer(L, SCRIPT, sizeof SCRIPT - 1, "=script") != LUA_OK)
        abort();
    luaopen_garun_csv(L);
    lua_pushlstring(L, text, size - 2);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
        abort();
    }
    lua_close(L);
    return 0;
}
