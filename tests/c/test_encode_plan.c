/* test_encode_plan.c - packed plans: what garun.plan packs is what plan_decode reads; what is damaged is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encode_fixture.h"

static const char rich[] =
    "return { max_line = 1000, route = { from = { 'a', { path = 'b', as = 'number' } }, values = { x = 'one', y = 2 } },\n"
    "dedup = { key = { 'u', { 'v', 'w' } }, unless_null = { 'u' }, seed = -5 }, range = { min = '2024', max = '2025' },\n"
    "tables = { { name = 'one', partition = 'p', columns = { { name = 'p', type = 'date', from = 'd' },\n"
    "  { name = 'n', type = 'numeric(15,2)', from = 'ps[key=k].value', not_null = true, bad = 'reject' } } },\n"
    "  { partition = 1, columns = { { name = 'v', type = 'character varying(7)', from = { 'a', 'b' }, too_long = 'reject',\n"
    "    trim = true, empty = 'null', default = 'd' } } } } }";

static void a_plan_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct plan p;
    struct err e;
    size_t len = 0;
    uint8_t *bytes = fixture_pack(rich, &len);
    assert_non_null(bytes);
    assert_true(plan_decode(bytes, len, &p, &e));
    memset(bytes, 0xAA, len);                     /* the plan has its own copy */
    free(bytes);
    assert_int_equal(p.format, PLAN_NDJSON);
    assert_int_equal(p.max_line, 1000);
    assert_int_equal(p.route.count, 2);
    assert_int_equal(p.route.alt[1].kind, PLAN_AS_NUMBER);
    assert_int_equal(trie_find(&p.routes, "x\0\0\0\0\0\0\0", 1), 0);
    assert_int_equal(trie_find(&p.routes, "y\0\0\0\0\0\0\0", 1), 1);
    assert_int_equal(trie_find(&p.routes, "z\0\0\0\0\0\0\0", 1), TRIE_NONE);
    assert_true(p.dedup && p.nkey == 2 && p.nunless == 1 && p.seed == (uint64_t)-5);
    assert_int_equal(p.key[1].count, 2);
    assert_true(p.has_min && p.has_max);
    assert_memory_equal(p.max.data, "2025", 4);
    assert_int_equal(p.ntables, 2);
    assert_int_equal(p.tables[0].partition, 0);
    const struct plan_column *n = &p.tables[0].columns[1], *v = &p.tables[1].columns[0];
    assert_int_equal(n->type, PLAN_NUMERIC);
    assert_int_equal(n->a, 15);
    assert_int_equal(n->b, 2);
    assert_int_equal(n->flags, PLAN_NOT_NULL | PLAN_BAD_REJECT);
    assert_int_equal(n->from.alt[0].kind, PLAN_AS_NUMBER);
    assert_int_equal(v->type, PLAN_VARCHAR);
    assert_int_equal(v->a, 7);
    assert_int_equal(v->flags, PLAN_TOO_LONG_REJECT | PLAN_BAD_REJECT | PLAN_TRIM | PLAN_EMPTY_NULL | PLAN_DEFAULT);
    assert_memory_equal(v->fallback.data, "d", 1);
    /* the same paths are the same nodes, and a sub-tree is a range of them */
    assert_int_equal(v->from.alt[0].node, p.route.alt[0].node);
    uint32_t ps = trie_find(&p.trie.nodes[0].members, "ps\0\0\0\0\0\0", 2);
    assert_int_not_equal(ps, TRIE_NONE);
    assert_true(n->from.alt[0].node > ps && n->from.alt[0].node < p.trie.nodes[ps].end);
    plan_free(&p);
}

static void the_same_plan_gives_the_same_bytes(void **state)
{
    (void)state;
    size_t a = 0, b = 0;
    uint8_t *one = fixture_pack(rich, &a), *two = fixture_pack(rich, &b);
    assert_int_equal(a, b);
    assert_memory_equal(one, two, a);
    free(one);
    free(two);
}

static void a_generated_uuid_needs_a_column_that_holds_one(void **state)
{
    (void)state;
    static const char column[] = "\2\0\0\0id\2";      /* name, source PLAN_NEW_UUID; its type follows */
    struct plan p;
    struct err e;
    size_t len = 0;
    uint8_t *bytes = fixture_pack("return { tables = { { columns = { { name = 'id', type = 'uuid', uuid = true } } } "
                                  "} }", &len);
    uint8_t *found = memmem(bytes, len, column, sizeof column - 1), *type = found + sizeof column - 1;
    assert_non_null(found);
    assert_int_equal(*type, PLAN_UUID);
    for (uint8_t t = 0; t < PLAN_TYPES; t++) {
        *type = t;
        bool fits = t == PLAN_UUID || t == PLAN_TEXT || t == PLAN_VARCHAR;
        assert_int_equal(plan_decode(bytes, len, &p, &e), fits);
        plan_free(&p);
    }
    *type = PLAN_VARCHAR;
    for (uint8_t length = 35; length <= 36; length++) {
        type[1] = length;
        assert_int_equal(plan_decode(bytes, len, &p, &e), length == 36);
        plan_free(&p);
    }
    free(bytes);
}

static void a_plan_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct plan p;
    struct err e;
    size_t len = 0;
    uint8_t *bytes = fixture_pack(rich, &len);
    for (size_t n = 0; n < len; n++) {
        uint8_t *part = malloc(n ? n : 1);        /* so that a sanitizer sees what is read behind it */
        memcpy(part, bytes, n);
        assert_false(plan_decode(part, n, &p, &e));
        assert_non_null(strstr(e.message, "malformed"));
        free(part);
    }
    uint8_t *more = malloc(len + 1);
    memcpy(more, bytes, len);
    more[len] = 0;
    assert_false(plan_decode(more, len + 1, &p, &e));
    assert_non_null(strstr(e.message, "goes on behind its end"));
    free(more);
    free(bytes);
}

static void a_damaged_byte_is_refused_or_harmless(void **state)
{
    (void)state;
    struct err e;
    size_t len = 0;
    static const char text[] = "{\"a\":\"x\",\"d\":\"20240105\",\"ps\":[{\"key\":\"k\",\"value\":5}]}\n{\"a\":\"y\",\"u\":1}\n";
    uint8_t *bytes = fixture_pack(rich, &len);
    for (size_t at = 0; at < len; at++) {
        static const uint8_t change[] = { 0x01, 0x80, 0xFF };
        for (size_t c = 0; c < sizeof change; c++) {
            struct fixture f = { .sink = { fixture_row, fixture_reject, fixture_other } };
            bytes[at] ^= change[c];
            if (plan_decode(bytes, len, &f.plan, &e) && (f.enc = encode_open(&f.plan, &e))) {
                assert_true(fixture_feed_at(&f, text, sizeof text - 1, 1, 0));
                assert_int_equal(f.counts.lines, f.counts.rows + f.counts.other + f.counts.range + f.counts.rejected);
            }
            bytes[at] ^= change[c];
            fixture_close(&f);
        }
    }
    free(bytes);
}

static void a_csv_path_must_be_a_column(void **state)
{
    (void)state;
    struct plan p;
    struct err e;
    size_t len = 0;
    uint8_t *bytes = fixture_pack("return { csv = { columns = { 'alpha' } }, tables = { { columns = {"
                                  " { name = 'x', type = 'text', from = 'alpha' } } } } }", &len);
    assert_true(plan_decode(bytes, len, &p, &e));
    plan_free(&p);
    memcpy(memmem(bytes, len, "alpha", 5), "omega", 5);      /* the file's column has another name now */
    assert_false(plan_decode(bytes, len, &p, &e));
    assert_string_equal(e.message, "the file has no column \"alpha\"");
    free(bytes);
}

static void many_paths_find_their_values(void **state)
{
    (void)state;
    struct fixture f;
    struct buf lua = { 0 }, line = { 0 }, want = { 0 };
    char s[200];
    buf_put(&lua, "return { tables = { { columns = {", 33);
    buf_put(&line, "{", 1);
    for (int i = 0; i < 1000; i++) {
        buf_put(&lua, s, (size_t)snprintf(s, sizeof s, "{ name = 'c%d', type = 'text', from = 'group%d.member_number_%d' },", i,
                                          i % 10, i));
        buf_put(&want, s, (size_t)snprintf(s, sizeof s, i == 999 ? "%d\n" : "%d\t", i));
    }
    for (int g = 0; g < 10; g++) {
        buf_put(&line, s, (size_t)snprintf(s, sizeof s, "%s\"group%d\":{\"x\":0", g ? "," : "", g));
        for (int i = g; i < 1000; i += 10)
            buf_put(&line, s, (size_t)snprintf(s, sizeof s, ",\"member_number_%d\":%d,\"member_number_%dx\":0", i, i, i));
        buf_put(&line, "}", 1);
    }
    buf_put(&line, "}", 1);
    buf_put(&lua, "} } } }", 8);
    assert_true(fixture_open(&f, lua.data));
    assert_true(fixture_feed_at(&f, line.data, line.len, 1, 0));
    assert_int_equal(f.rows.len, want.len);
    assert_memory_equal(f.rows.data, want.data, want.len);
    fixture_close(&f);
    buf_free(&lua);
    buf_free(&line);
    buf_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_comes_out_as_it_went_in),
        cmocka_unit_test(the_same_plan_gives_the_same_bytes),
        cmocka_unit_test(a_generated_uuid_needs_a_column_that_holds_one),
        cmocka_unit_test(a_plan_cut_anywhere_is_refused),
        cmocka_unit_test(a_damaged_byte_is_refused_or_harmless),
        cmocka_unit_test(a_csv_path_must_be_a_column),
        cmocka_unit_test(many_paths_find_their_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
