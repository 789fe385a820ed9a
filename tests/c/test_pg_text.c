/* test_pg_text.c - runtime/bind/pg_text.c held against slow and obvious versions of itself, on random and hostile
 * bytes; and array texts read into Lua. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <lualib.h>
#include "bind/pg_value.h"

/* xorshift: the same bytes in every run */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* RFC 3629 by decoding: the code point decides, not the byte ranges. */
static size_t decode(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t len = s[0] < 0x80 ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t point;

    if (len == 1)
        return s[0] != 0;
    if (len == 0 || len > n)
        return 0;
    point = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s[i] & 0x3fu);
    }
    return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff) ? 0 : len;
}

static enum pg_text_fault slow_check(const char *s, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; ) {
        size_t len = decode((const unsigned char *)s + i, n - i);
        if (len == 0) {
            *at = i;
            return s[i] == 0 ? PG_TEXT_NUL : PG_TEXT_UTF8;
        }
        i += len;
    }
    return PG_TEXT_FINE;
}

/* COPY's own reading of a field (manual, COPY, Text Format): the inverse of what pg_text_copy writes. */
static size_t unescape(const char *s, size_t n, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        assert_true(c != '\t' && c != '\n' && c != '\r');
        if (c == '\\') {
            assert_true(i + 1 < n);
            c = s[++i];
            c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        out[len++] = c;
    }
    return len;
}

static void compare(const char *s, size_t n)
{
    size_t at = SIZE_MAX, want_at = SIZE_MAX, copy_at = SIZE_MAX;
    enum pg_text_fault want = slow_check(s, n, &want_at);
    struct buf b = { 0 };
    bool oom = false;
    char *back = malloc(2 * n + 1);

    assert_non_null(back);
    assert_true(buf_put(&b, "before", 6));
    assert_int_equal(pg_text_check(s, n, &at), want);
    assert_int_equal(at, want_at);
    assert_int_equal(pg_text_copy(&b, s, n, &copy_at, &oom), want);
    assert_int_equal(copy_at, want_at);
    assert_false(oom);
    if (want == PG_TEXT_FINE) {
        assert_int_equal(unescape(b.data + 6, b.len - 6, back), n);
        assert_memory_equal(back, s, n);
    }
    assert_memory_equal(b.data, "before", 6);
    buf_free(&b);
    free(back);
}

static void random_bytes_are_judged_as_rfc_3629_says(void **state)
{
    static const unsigned char odd[] = { 0, 9, 10, 13, '\\', 'a', 0x7f, 0x80, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xa0, 0x9f,
                                         0xed, 0xef, 0xf0, 0x90, 0x8f, 0xf4, 0xf5, 0xff };
    uint32_t seed = 20240105;
    char s[64];

    (void)state;
    for (int round = 0; round < 400000; round++) {
        size_t n = next_random(&seed) % sizeof s;
        bool plain = next_random(&seed) % 2;
        for (size_t i = 0; i < n; i++) {
            uint32_t r = next_random(&seed);
            s[i] = plain && r % 16 ? (char)('a' + r % 26) : (char)odd[(r >> 8) % sizeof odd];
        }
        compare(s, n);
    }
}

static void every_sequence_of_up_to_three_bytes(void **state)
{
    char s[11];

    (void)state;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (unsigned c = 0; c < 256; c += c < 0x7f ? 0x7f : 1) {
                memset(s, 'x', sizeof s);
                s[8] = (char)a;             /* behind a word of eight plain bytes, so that both loops meet */
                s[9] = (char)b;
                s[10] = (char)c;
                compare(s, sizeof s);
            }
}

static void every_code_point_is_accepted_and_no_surrogate(void **state)
{
    (void)state;
    for (uint32_t p = 1; p < 0x110000; p++) {
        unsigned char s[4];
        size_t n, at;
        if (p < 0x80) {
            s[0] = (unsigned char)p;
            n = 1;
        } else if (p < 0x800) {
            s[0] = (unsigned char)(0xc0 | p >> 6);
            n = 2;
        } else if (p < 0x10000) {
            s[0] = (unsigned char)(0xe0 | p >> 12);
            n = 3;
        } else {
            s[0] = (unsigned char)(0xf0 | p >> 18);
            n = 4;
        }
        for (size_t i = 1; i < n; i++)
            s[i] = (unsigned char)(0x80 | (p >> 6 * (n - 1 - i) & 0x3f));
        bool fine = pg_text_check((const char *)s, n, &at) == PG_TEXT_FINE;
        assert_int_equal(fine, p < 0xd800 || p > 0xdfff);
    }
}

static void doubles_read_back_bit_for_bit(void **state)
{
    uint32_t seed = 7;
    char text[40];

    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = (uint64_t)next_random(&seed) << 32 | next_random(&seed);
        double d, back;
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(d))
            continue;
        size_t n = pg_text_double(d, text);
        assert_int_equal(n, strlen(text));
        back = strtod(text, NULL);
        assert_memory_equal(&back, &d, sizeof d);
    }
    assert_int_equal(pg_text_double(0.1, text), 3);
    assert_string_equal(text, "0.1");
    pg_text_double(-0.0, text);
    assert_string_equal(text, "-0");
    pg_text_double(INFINITY, text);
    assert_string_equal(text, "Infinity");
    pg_text_double(-INFINITY, text);
    assert_string_equal(text, "-Infinity");
    pg_text_double(NAN, text);
    assert_string_equal(text, "NaN");
}

/* ---- arrays ---- */

static int l_read(lua_State *L)
{
    size_t n;
    const char *text = lua_tolstring(L, 1, &n);
    struct pg_codec codec = { .kind = PG_ARRAY, .elem = (enum pg_kind)lua_tointeger(L, 2) };

    l_pg_push_array(L, codec, text, n);
    return 1;
}

/* Any text of these bytes gives a table or an error object, and never reads past its end (run under ASan). */
static void hostile_array_texts_end_in_an_error_or_a_table(void **state)
{
    static const char bytes[] = "{}\",\\NUL[]=: 1a";
    lua_State *L = luaL_newstate();
    uint32_t seed = 99;
    int tables = 0, errors = 0;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t n = next_random(&seed) % 24;
        char *text = malloc(n + 1);
        assert_non_null(text);
        for (size_t i = 0; i < n; i++)
            text[i] = bytes[next_random(&seed) % (sizeof bytes - 1)];
        if (n > 1 && round % 2) {
            text[0] = '{';
            text[n - 1] = '}';
        }
        text[n] = '\0';
        lua_settop(L, 0);
        lua_pushcfunction(L, l_read);
        lua_pushlstring(L, text, n);
        lua_pushinteger(L, PG_TEXT);
        free(text);
        if (lua_pcall(L, 2, 1, 0) == LUA_OK) {
            assert_true(lua_istable(L, -1));
            tables++;
        } else {
            assert_true(l_err_is(L, -1));
            errors++;
        }
    }
    assert_true(tables > 10000 && errors > 10000);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes_are_judged_as_rfc_3629_says),
        cmocka_unit_test(every_sequence_of_up_to_three_bytes),
        cmocka_unit_test(every_code_point_is_accepted_and_no_surrogate),
        cmocka_unit_test(doubles_read_back_bit_for_bit),
        cmocka_unit_test(hostile_array_texts_end_in_an_error_or_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
