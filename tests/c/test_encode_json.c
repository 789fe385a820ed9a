/* test_encode_json.c - JSON records: what is kept, what is found, what is repaired, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encode_fixture.h"

/* ---- helpers: one record in, its columns out ---- */

static const char whole[] = "return { tables = { { columns = { { name = 'w', type = 'jsonb', from = '.' } } } } }";

static struct fixture f;

static void open_plan(const char *lua)
{
    assert_true(fixture_open(&f, lua));
}

static void feed(const char *text, size_t len)
{
    fixture_clear(&f);
    assert_true(fixture_feed_at(&f, text, len, 1, 0));
    buf_put(&f.rows, "", 1);
    buf_put(&f.rejects, "", 1);
    buf_put(&f.raw, "", 1);
    buf_put(&f.tags, "", 1);
    buf_put(&f.others, "", 1);
}

/* The text gives these rows (and nothing else). */
static void gives_rows(const char *text, const char *rows)
{
    feed(text, strlen(text));
    assert_string_equal(f.rejects.data, "");
    assert_string_equal(f.rows.data, rows);
}

static void whole_gives(const char *text, const char *rows)
{
    open_plan(whole);
    gives_rows(text, rows);
    fixture_close(&f);
}

static void path_gives(const char *from, const char *text, const char *row)
{
    char plan[600];
    snprintf(plan, sizeof plan, "return { tables = { { columns = { { name = 'c', type = 'text', from = %s } } } } }",
        from);
    open_plan(plan);
    gives_rows(text, row);
    fixture_close(&f);
}

static void refused(const char *text, size_t len, const char *code)
{
    open_plan(whole);
    feed(text, len);
    if (f.rows.len > 1 || !strstr(f.rejects.data, code) || f.counts.rejected != 1)
        fail_msg("%.*s\n  gave %s and %s", (int)len, text, f.rows.data, f.rejects.data);
    fixture_close(&f);
}

/* ---- what is kept ---- */

static void null_members_are_left_out(void **state)
{
    (void)state;
    whole_gives("{\"a\":null,\"b\":1,\"c\":null,\"d\":null,\"e\":2,\"f\":null}\n", "{\"b\":1,\"e\":2}\n");
    whole_gives("{\"a\":null}\n", "{}\n");
    whole_gives("{\"a\":null,\"b\":null}\n", "{}\n");
    whole_gives("{\"a\":{\"b\":null},\"c\":{\"d\":{\"e\":null,\"f\":[]}}}\n", "{\"a\":{},\"c\":{\"d\":{\"f\":[]}}}\n");
    whole_gives("{\"a\":1,\"b\":null}\n", "{\"a\":1}\n");
    whole_gives("{ \"a\" : null , \"b\" : 1 , \"c\" : null }\n", "{ \"b\" : 1 }\n");
}

static void nulls_in_arrays_stay(void **state)
{
    (void)state;
    whole_gives("{\"a\":[null,1,null,{\"b\":null}]}\n", "{\"a\":[null,1,null,{}]}\n");
}

static void a_null_that_overrides_an_equal_name_stays(void **state)
{
    (void)state;
    whole_gives("{\"a\":1,\"a\":null}\n", "{\"a\":1,\"a\":null}\n");
    whole_gives("{\"a\":null,\"a\":1}\n", "{\"a\":1}\n");
    whole_gives("{\"abcdefgh1\":1,\"abcdefgh2\":null}\n", "{\"abcdefgh1\":1}\n");
    whole_gives("{\"abcdefgh1\":1,\"abcdefgh1\":null}\n", "{\"abcdefgh1\":1,\"abcdefgh1\":null}\n");
    whole_gives("{\"abcdefg\":1,\"abcdefg\":null}\n", "{\"abcdefg\":1,\"abcdefg\":null}\n");
    whole_gives("{\"\":1,\"\":null}\n", "{\"\":1,\"\":null}\n");
    whole_gives("{\"a\":1,\"ab\":null}\n", "{\"a\":1}\n");
    /* names are what they mean, not how they are written */
    whole_gives("{\"a\":1,\"\\u0061\":null}\n", "{\"a\":1,\"\\\\u0061\":null}\n");
    whole_gives("{\"x\\\"\":1,\"x\\\"\":null,\"y\":null}\n", "{\"x\\\\\"\":1,\"x\\\\\"\":null}\n");
}

static void nulls_behind_a_thousand_names_stay(void **state)
{
    (void)state;
    struct buf line = { 0 };
    char member[32];
    buf_put(&line, "{", 1);
    for (int i = 0; i < 1100; i++)
        buf_put(&line, member, (size_t)snprintf(member, sizeof member, "\"n%d\":%d,\"z%d\":null,", i, i, i));
    buf_put(&line, "\"end\":1}\n", 9);
    open_plan(whole);
    feed(line.data, line.len);
    assert_null(strstr(f.rows.data, "\"z1023\""));
    assert_non_null(strstr(f.rows.data, "\"z1024\":null"));
    buf_free(&line);
    fixture_close(&f);
}

static void a_subtree_is_cut_out_of_the_same_kept_text(void **state)
{
    (void)state;
    open_plan("return { tables = { { columns = { { name = 'a', type = 'jsonb', from = 'a' },"
              " { name = 'b', type = 'jsonb', from = 'a.b' }, { name = 'w', type = 'jsonb', from = '.' } } } } }");
    gives_rows("{\"x\":null,\"a\":{\"n\":null,\"b\":{\"m\":null,\"k\":[1,{\"l\":null}]},\"o\":null},\"y\":null}\n",
               "{\"b\":{\"k\":[1,{}]}}\t{\"k\":[1,{}]}\t{\"a\":{\"b\":{\"k\":[1,{}]}}}\n");
    gives_rows("{\"a\":{\"b\":null}}\n", "{}\t\\N\t{\"a\":{}}\n");
    gives_rows("{\"a\":\"s\\\"\"}\n", "\"s\\\\\"\"\t\\N\t{\"a\":\"s\\\\\"\"}\n");
    fixture_close(&f);
}

static void white_space_between_tokens_stays(void **state)
{
    (void)state;
    whole_gives("\t{\"a\"\t:\r1}\r\n", "{\"a\"\\t:\\r1}\n");
}

/* ---- lines ---- */

static void line_ends_and_blank_lines(void **state)
{
    (void)state;
    whole_gives("{\"a\":1}\r\n\r\n\n  \t\n{\"b\":2} \n{\"c\":3}", "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    open_plan(whole);
    feed("\n\r\n \n", 5);
    assert_int_equal(f.counts.lines, 0);
    feed("", 0);
    assert_int_equal(f.counts.lines, 0);
    fixture_close(&f);
}

static void a_byte_order_mark_at_the_start_is_skipped(void **state)
{
    (void)state;
    whole_gives("\xEF\xBB\xBF{\"a\":1}\n", "{\"a\":1}\n");
    open_plan(whole);
    assert_true(fixture_feed_at(&f, "\xEF\xBB\xBF{\"a\":1}\n", 11, 1, 100));    /* elsewhere it is a bad character */
    assert_int_equal(f.counts.rejected, 1);
    fixture_close(&f);
}

static void a_bad_line_costs_only_itself(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1}\n{\"b\":\"unclosed}\n{\"c\":3}\n{\"d\":tru}\n{\"e\":5\n[1]\n\"s\"\n{}}\n{"
                               "\"f\":6}";
    open_plan(whole);
    feed(text, sizeof text - 1);
    assert_string_equal(f.rows.data, "{\"a\":1}\n{\"c\":3}\n{\"f\":6}\n");
    assert_int_equal(f.counts.lines, 9);
    assert_int_equal(f.counts.rejected, 6);
    assert_string_equal(f.raw.data, "{\"b\":\"unclosed}\n{\"d\":tru}\n{\"e\":5\n[1]\n\"s\"\n{}}\n");
    assert_non_null(strstr(f.rejects.data, "2@8 json : a string is not closed"));
    assert_non_null(strstr(f.rejects.data, "5@42 json : the line ends inside of an object or array (byte 7"));
    fixture_close(&f);
}

static void positions_count_from_the_batch(void **state)
{
    (void)state;
    open_plan(whole);
    assert_true(fixture_feed_at(&f, "{}\nx\n", 5, 1001, 5000));
    buf_put(&f.rejects, "", 1);
    assert_non_null(strstr(f.rejects.data, "1002@5003 json"));
    fixture_close(&f);
}

static void a_record_does_not_run_into_the_next_line(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,\n2]}\n{\"a\":\n1}\n{\"a\":{\n\"b\":null,\"c\":null,\"d\":1}}\n{\"a\":1\n,"
                               "\"b\":2}\n{\"z\":0}\n";
    open_plan(whole);
    feed(text, sizeof text - 1);
    assert_string_equal(f.rows.data, "{\"z\":0}\n");
    assert_int_equal(f.counts.rejected, 8);
    fixture_close(&f);
}

static void many_windows_give_all_their_lines(void **state)
{
    (void)state;
    struct buf text = { 0 };
    char line[3000];
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(line, sizeof line, "{\"n\":%d,\"pad\":\"%0*d\"%s}\n", i, i * 7 % 1999 + 1, i,
                         i % 100 == 7 ? ",\"s\":\"\x01\"" : "");
        buf_put(&text, line, (size_t)n);
    }
    open_plan("return { tables = { { columns = { { name = 'n', type = 'int4', from = 'n' } } } } }");
    feed(text.data, text.len);
    assert_int_equal(f.counts.rows, 4950);
    assert_int_equal(f.counts.rejected, 50);
    char *p = f.rows.data;
    for (int i = 0; i < 5000; i++) {
        if (i % 100 != 7)
            assert_int_equal(strtol(p, &p, 10), i);
    }
    buf_free(&text);
    fixture_close(&f);
}

static void a_giant_line_works_and_its_memory_is_given_back(void **state)
{
    (void)state;
    struct buf text = { 0 };
    buf_put(&text, "{\"a\":[", 6);
    for (int i = 0; i < (8 << 20) - 16; i++)
        buf_put(&text, i ? ",1" : "1", i ? 2 : 1);
    buf_put(&text, "],\"b\":null}\n{\"c\":1}\n", 20);
    open_plan(whole);
    feed(text.data, text.len);
    assert_string_equal(f.rejects.data, "");
    assert_int_equal(f.counts.rows, 2);
    assert_string_equal(f.rows.data + f.rows.len - 1 - 16, "1,1,1]}\n{\"c\":1}\n");
    buf_free(&text);
    gives_rows("{\"d\":1}", "{\"d\":1}\n");
    fixture_close(&f);
}

static void lines_beyond_the_plan_are_rejected(void **state)
{
    (void)state;
    open_plan("return { max_line = 10, tables = { { columns = { { name = 'w', type = 'jsonb', from = '.' } } } } }");
    feed("{\"abc\":1}\n{\"abcd\":10}\r\n{\"a\":1}\r\n", 33);
    assert_string_equal(f.rows.data, "{\"abc\":1}\n{\"a\":1}\n");
    assert_non_null(strstr(f.rejects.data, "2@10 line"));
    fixture_close(&f);
}

/* ---- grammar ---- */

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{'a':1}",
        "{\"a\":01}", "{\"a\":-}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}", "{\"a\":1e+}", "{\"a\":0x1}",
        "{\"a\":1.2.3}", "{\"a\":--1}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":nul}", "{\"a\":nullx}",
            "{\"a\":True}",
        "{\"a\":tru e}", "{\"a\":\"b\"c}", "{\"a\":1\"b\"}", "{\"a\":[1 2]}", "{\"a\":[1,]}", "{\"a\":[,1]}",
            "{\"a\":[}",
        "{\"a\":[1}", "{\"a\":{]}", "{\"a\":1}]", "{\"a\":1} x", "{\"a\":1}{\"b\":2}", "null", "1", "\"a\"", "[]",
            "[{}]",
        "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12G4\"}", "{\"a\":\"\\", "{\"a\":\"\\\"}", "{\"\\q\":1}",
        "{\"a\":\"\\ud8\"}", "{\"a\":1/*c*/}", "{\"a\":\"x\ty\"}", "{\"a\":\"x\x01\"}", "{\"a\":\x0C" "1}",
        "{\"a\"::1}", "{\"a\":1,,\"b\":2}", "{\"a\":\"b\":1}", "{:1}", "{1:2}", "{null:1}", "{[]:1}", "{\"a\":\\n}",
        "{\"a\":1\\}", "{\"a\":null null}", "{\"a\":null\"b\"}", "{\"a\" null}", "{\"a\":n}", "{\"a\":-a}",
            "{\"a\":1a}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i], strlen(bad[i]), " json ");
}

static void all_json_numbers_and_escapes_pass(void **state)
{
    (void)state;
    whole_gives("{\"a\":[0,-0,1,-1,0.5,-0.25,1e5,1E+5,1e-5,123456789012345678901234567890,true,false,\"\",{},[]]}\n",
                "{\"a\":[0,-0,1,-1,0.5,-0.25,1e5,1E+5,1e-5,123456789012345678901234567890,true,false,\"\",{},[]]}\n");
    whole_gives("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"}\n",
                "{\"a\":\"\\\\\"\\\\\\\\\\\\/\\\\b\\\\f\\\\n\\\\r\\\\t\\\\u00e9\\\\uD83D\\\\uDE00\"}\n");
}

static void nesting_is_limited(void **state)
{
    (void)state;
    char deep[3 * 600];
    for (int kind = 0; kind < 2; kind++) {
        for (int depth = 511; depth <= 513; depth++) {
            size_t n = 0;
            n += (size_t)sprintf(deep, "{\"a\":");
            for (int i = 1; i < depth; i++)
                deep[n++] = '[';
            for (int i = 1; i < depth; i++)
                deep[n++] = ']';
            deep[n++] = '}';
            if (depth == 513) {
                refused(deep, n, " depth ");
                continue;
            }
            open_plan(whole);
            feed(deep, n);
            assert_int_equal(f.counts.rows, 1);
            fixture_close(&f);
        }
    }
}

/* ---- repairs ---- */

static void what_postgresql_cannot_store_is_replaced_and_counted_once(void **state)
{
    (void)state;
    open_plan("return { tables = { { columns = { { name = 'a', type = 'text', from = 'a' },"
              " { name = 'w', type = 'jsonb', from = '.' } } } } }");
    gives_rows("{\"a\":\"x\\u0000y\\ud800\"}\n",
               "x\xEF\xBF\xBDy\xEF\xBF\xBD\t{\"a\":\"x\\\\ufffdy\\\\ufffd\"}\n");
    assert_int_equal(f.counts.repaired, 1);
    gives_rows("{\"a\":\"\\udc00\\ud83d\\ude00\\ud800x\"}\n",
               "\xEF\xBF\xBD\xF0\x9F\x98\x80\xEF\xBF\xBDx\t{\"a\":\"\\\\ufffd\\\\ud83d\\\\ude00\\\\ufffdx\"}\n");
    gives_rows("{\"a\":\"\\ud800\\ud83d\\ude00\"}\n",
               "\xEF\xBF\xBD\xF0\x9F\x98\x80\t{\"a\":\"\\\\ufffd\\\\ud83d\\\\ude00\"}\n");
    gives_rows("{\"a\":\"\\u003cb\\u0026\\ud83d\\ude00\"}\n", "<b&\xF0\x9F\x98\x80\t{\"a\":\"\\\\u003cb\\\\u0026\\\\"
        "ud83d\\\\ude00\"}\n");
    assert_int_equal(f.counts.repaired, 0);
    fixture_close(&f);
    /* a broken name */
    open_plan(whole);
    gives_rows("{\"\\u0000\":1}\n", "{\"\\\\ufffd\":1}\n");
    assert_int_equal(f.counts.repaired, 1);
    fixture_close(&f);
}

static void broken_utf8_and_nul_bytes_are_replaced(void **state)
{
    (void)state;
    open_plan("return { tables = { { columns = { { name = 'a', type = 'text', from = 'a' } } } } }");
    static const char text[] = "{\"a\":\"x\0y\"}\n{\"a\":\"\xFF\"}\n{\"a\":\"ok\"}\n";
    feed(text, sizeof text - 1);
    assert_string_equal(f.rows.data, "x\xEF\xBF\xBDy\n\xEF\xBF\xBD\nok\n");
    assert_int_equal(f.counts.repaired, 2);
    /* one replacement for each maximal subpart: the example of Unicode 15, table 3-8 */
    gives_rows("{\"a\":\"a\xF1\x80\x80\xE1\x80\xC2" "b\x80" "c\x80\xBF" "d\"}\n",
               "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" "b\xEF\xBF\xBD" "c\xEF\xBF\xBD\xEF\xBF\xBD" "d\n");
    gives_rows("{\"a\":\"\xC0\x80\xED\xA0\x80\xF4\x90\x80\x80\"}\n",
               "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF"
               "\xBF\xBD\n");
    fixture_close(&f);
    refused("{\"a\":1\0}", 8, " json ");
    refused("{\"a\":\xFF}", 7, " json ");
}

static void numbers_that_jsonb_cannot_hold_become_strings(void **state)
{
    (void)state;
    open_plan(whole);
    gives_rows("{\"a\":1e131072,\"n\":null,\"b\":[1e131071,-1E-16384,1e-16383,1e999999999999],\"c\":null}\n",
               "{\"a\":\"1e131072\",\"b\":[1e131071,\"-1E-16384\",1e-16383,\"1e999999999999\"]}\n");
    assert_int_equal(f.counts.repaired, 1);
    struct buf big = { 0 };
    buf_put(&big, "{\"a\":", 5);
    for (int i = 0; i < 131073; i++)
        buf_put(&big, "9", 1);
    buf_put(&big, "}\n", 2);
    feed(big.data, big.len);
    assert_int_equal(f.counts.repaired, 1);
    assert_memory_equal(f.rows.data, "{\"a\":\"9999", 10);
    assert_int_equal(f.rows.len, big.len + 3);
    buf_free(&big);
    fixture_close(&f);
}

/* ---- paths ---- */

static void paths_lead_through_members_and_indices(void **state)
{
    (void)state;
    path_gives("'a.b.c'", "{\"a\":{\"b\":{\"c\":\"x\"}}}\n", "x\n");
    path_gives("'a.b.c'", "{\"a\":{\"b\":\"x\"}}\n", "\\N\n");
    path_gives("'a.b.c'", "{\"a\":[{\"b\":1}]}\n", "\\N\n");
    path_gives("'items[0]'", "{\"items\":[\"x\",\"y\"]}\n", "x\n");
    path_gives("'items[2].id'", "{\"items\":[\"x\",\"y\",{\"id\":\"z\"}]}\n", "z\n");
    path_gives("'items[2].id'", "{\"items\":[\"x\",\"y\"]}\n", "\\N\n");
    path_gives("'m[1][0]'", "{\"m\":[[1],[2]]}\n", "2\n");
    path_gives("'a.\"x.y\"'", "{\"a\":{\"x.y\":5}}\n", "5\n");
    path_gives("'\"q\\\\\"r\"'", "{\"q\\\"r\":5}\n", "5\n");
    path_gives("'a'", "{\"\\u0061\":7}\n", "7\n");
    path_gives("'a_rather_long_member_name'", "{\"a_rather_long_member_nam\":1,\"a_rather_long_member_name\":2}\n",
        "2\n");
    path_gives("'.'", "{\"a\":null,\"b\":1}\n", "{\"b\":1}\n");
    path_gives("'a'", "{\"a\":{\"b\":null,\"c\":1}}\n", "{\"c\":1}\n");
    path_gives("{ 'a', 'b', 'c' }", "{\"c\":3,\"b\":2,\"a\":null}\n", "2\n");
}

static void elements_are_looked_up_by_a_member(void **state)
{
    (void)state;
    static const char from[] = "'ps[key=k].value.s'";
    path_gives(from, "{\"ps\":[{\"key\":\"j\",\"value\":{\"s\":1}},{\"key\":\"k\",\"value\":{\"s\":2}}]}\n", "2\n");
    path_gives(from, "{\"ps\":[{\"value\":{\"s\":2},\"key\":\"k\"}]}\n", "2\n");          /* the key comes last */
    path_gives(from, "{\"ps\":[{\"n\":null,\"value\":{\"n\":null,\"s\":2},\"key\":\"k\"}]}\n", "2\n");
    path_gives(from, "{\"ps\":[{\"key\":\"k\"},{\"key\":\"k\",\"value\":{\"s\":2}}]}\n",
        "\\N\n");   /* the first counts */
    path_gives(from, "{\"ps\":[{\"key\":\"k\",\"value\":{\"s\":1}},{\"key\":\"k\",\"value\":{\"s\":2}}]}\n", "1\n");
    path_gives(from, "{\"ps\":[{\"key\":\"K\",\"value\":{\"s\":1}}]}\n", "\\N\n");
    path_gives(from, "{\"ps\":[1,null,\"k\",[],{},{\"key\":null},{\"key\":\"\\u006b\",\"value\":{\"s\":\"e\"}}]}\n",
        "e\n");
    path_gives("'ps[key~WebUserId].value'", "{\"ps\":[{\"key\":\"webUSERid\",\"value\":5}]}\n", "5\n");
    path_gives("'ps[key~webuserid].value'", "{\"ps\":[{\"value\":5,\"key\":\"WebUserId\"}]}\n", "5\n");
    path_gives("'ps[id=7].v'", "{\"ps\":[{\"id\":7,\"v\":\"num\"}]}\n", "num\n");
    path_gives("'ps[key=k]'", "{\"ps\":[{\"key\":\"k\",\"n\":null,\"v\":1}]}\n", "{\"key\":\"k\",\"v\":1}\n");
    path_gives("'ps[key=\"a]b\"].v'", "{\"ps\":[{\"key\":\"a]b\",\"v\":1}]}\n", "1\n");
    path_gives(from, "{\"ps\":{\"key\":\"k\",\"value\":{\"s\":1}}}\n", "\\N\n");
}

static void one_element_may_serve_several_paths(void **state)
{
    (void)state;
    open_plan("return { tables = { { columns = { { name = 'a', type = 'text', from = 'ps[0].v' },"
              " { name = 'b', type = 'text', from = 'ps[key=k].v' }, { name = 'c', type = 'text', from = "
              "'ps[key~K].v' },"
              " { name = 'd', type = 'text', from = 'ps[name=n].v' }, { name = 'w', type = 'jsonb', from = '.' } } "
              "} } }");
    gives_rows("{\"ps\":[{\"x\":null,\"key\":\"k\",\"v\":1,\"y\":null,\"name\":\"n\"}]}\n",
               "1\t1\t1\t1\t{\"ps\":[{\"v\":1,\"key\":\"k\",\"name\":\"n\"}]}\n");
    gives_rows("{\"ps\":[{\"v\":0,\"e\":\"\\n\"},{\"v\":1,\"key\":\"K\",\"e\":\"\\n\"},{\"name\":\"n\","
               "\"key\":\"k\",\"v\":\"\\t\"}]}\n",
               "0\t\\t\t1\t\\t\t{\"ps\":[{\"e\":\"\\\\n\",\"v\":0},{\"e\":\"\\\\n\",\"v\":1,\"key\":\"K\"},"
               "{\"v\":\"\\\\t\",\"key\":\"k\",\"name\":\"n\"}]}\n");
    fixture_close(&f);
}

static void the_last_of_equal_names_wins(void **state)
{
    (void)state;
    path_gives("'a'", "{\"a\":1,\"a\":2}\n", "2\n");
    path_gives("'a'", "{\"a\":1,\"a\":null}\n", "\\N\n");
    path_gives("'a.b'", "{\"a\":{\"b\":1},\"a\":{\"c\":2}}\n", "\\N\n");
    path_gives("'a.b'", "{\"a\":{\"b\":1},\"a\":5}\n", "\\N\n");
    path_gives("'a.b'", "{\"a\":{\"b\":1},\"a\":null}\n", "\\N\n");
    path_gives("'ps[key=k].v'", "{\"ps\":[{\"key\":\"k\",\"v\":1}],\"ps\":[{\"key\":\"k\",\"v\":2}]}\n", "2\n");
    path_gives("'ps[key=k].v'", "{\"ps\":[{\"key\":\"k\",\"v\":1}],\"ps\":[]}\n", "\\N\n");
    path_gives("'ps[key=k].v'", "{\"ps\":[{\"key\":\"k\",\"v\":1,\"key\":\"j\"}]}\n", "\\N\n");
    path_gives("'ps[key=k].v'", "{\"ps\":[{\"key\":\"j\",\"v\":1,\"key\":\"\\u006b\"}]}\n", "1\n");
    path_gives("'ps[key=k].v'", "{\"ps\":[{\"key\":\"k\",\"key\":null,\"v\":1},{\"key\":\"k\",\"v\":2}]}\n", "2\n");
    path_gives("'ps[key=null].v'", "{\"ps\":[{\"key\":null,\"v\":1},{\"key\":\"null\",\"v\":2}]}\n", "2\n");
    path_gives("'ps[0].v'", "{\"ps\":[{\"v\":1}],\"ps\":[{\"w\":2}]}\n", "\\N\n");
}

static void values_do_not_leak_into_the_next_record(void **state)
{
    (void)state;
    path_gives("{ 'a', 'ps[key=k].v' }", "{\"a\":1}\n{\"ps\":[{\"key\":\"k\",\"v\":2}]}\n{}\n", "1\n2\n\\N\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_members_are_left_out),
        cmocka_unit_test(nulls_in_arrays_stay),
        cmocka_unit_test(a_null_that_overrides_an_equal_name_stays),
        cmocka_unit_test(nulls_behind_a_thousand_names_stay),
        cmocka_unit_test(a_subtree_is_cut_out_of_the_same_kept_text),
        cmocka_unit_test(white_space_between_tokens_stays),
        cmocka_unit_test(line_ends_and_blank_lines),
        cmocka_unit_test(a_byte_order_mark_at_the_start_is_skipped),
        cmocka_unit_test(a_bad_line_costs_only_itself),
        cmocka_unit_test(positions_count_from_the_batch),
        cmocka_unit_test(a_record_does_not_run_into_the_next_line),
        cmocka_unit_test(many_windows_give_all_their_lines),
        cmocka_unit_test(a_giant_line_works_and_its_memory_is_given_back),
        cmocka_unit_test(lines_beyond_the_plan_are_rejected),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(all_json_numbers_and_escapes_pass),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(what_postgresql_cannot_store_is_replaced_and_counted_once),
        cmocka_unit_test(broken_utf8_and_nul_bytes_are_replaced),
        cmocka_unit_test(numbers_that_jsonb_cannot_hold_become_strings),
        cmocka_unit_test(paths_lead_through_members_and_indices),
        cmocka_unit_test(elements_are_looked_up_by_a_member),
        cmocka_unit_test(one_element_may_serve_several_paths),
        cmocka_unit_test(the_last_of_equal_names_wins),
        cmocka_unit_test(values_do_not_leak_into_the_next_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
