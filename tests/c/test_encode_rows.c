/* test_encode_rows.c - tables, partitions, ranges, identities; CSV; the export's encodings of one event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encode_fixture.h"

static struct fixture f;

static void feed(const char *text)
{
    fixture_clear(&f);
    assert_true(fixture_feed_at(&f, text, strlen(text), 1, 0));
    struct buf *all[] = { &f.rows, &f.rejects, &f.raw, &f.tags, &f.others };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_put(all[i], "", 1);
}

static void open_plan(const char *lua)
{
    assert_true(fixture_open(&f, lua));
}

/* ---- routes, partitions ---- */

static const char routed[] =
    "return { route = { from = 'name', values = { buy = 'b', look = 'l', peek = 'l', ['7'] = 'b' } },\n"
    " range = { min = '2024-01-02', max = '2024-01-04' }, tables = {\n"
    " { name = 'l', partition = 'd', columns = { { name = 'n', type = 'text', from = 'n' },\n"
    "   { name = 'd', type = 'date', from = 'd' } } },\n"
    " { name = 'b', partition = 1, columns = { { name = 'd', type = 'date', from = 'd' } } } } }";

static void records_go_to_their_tables_and_partitions(void **state)
{
    (void)state;
    open_plan(routed);
    feed("{\"name\":\"look\",\"d\":\"20240102\",\"n\":\"x\"}\n{\"name\":\"buy\",\"d\":\"20240103\"}\n"
         "{\"name\":\"peek\",\"d\":\"20240104\"}\n{\"name\":7,\"d\":\"20240103\"}\n{\"name\":\"b\\u0075y\","
         "\"d\":\"20240104\"}\n");
    assert_string_equal(f.rows.data, "x\t2024-01-02\n2024-01-03\n\\N\t2024-01-04\n2024-01-03\n2024-01-04\n");
    assert_string_equal(f.tags.data, "0/2024-01-02 1/2024-01-03 0/2024-01-04 1/2024-01-03 1/2024-01-04 ");
    fixture_close(&f);
}

static void unknown_names_are_counted_by_name(void **state)
{
    (void)state;
    open_plan(routed);
    feed("{\"name\":\"scroll\"}\n{\"name\":\"click\"}\n{\"name\":\"scroll\",\"d\":\"x\"}\n{\"name\":\"\"}\n");
    assert_int_equal(f.counts.other, 4);
    assert_string_equal(f.others.data, "scroll=2 click=1 =1 ");
    feed("{\"name\":\"click\"}\n");                     /* each batch tells its own */
    assert_string_equal(f.others.data, "click=1 ");
    struct buf many = { 0 };
    char line[400];
    for (int i = 0; i < 200; i++)
        buf_put(&many, line, (size_t)snprintf(line, sizeof line, "{\"name\":\"e%d\"}\n", i % 100));
    buf_put(&many, "", 1);
    feed(many.data);
    assert_int_equal(f.counts.other, 200);
    int names = 0;
    for (const char *p = f.others.data; (p = strchr(p, '=')); p++)
        names++;
    assert_int_equal(names, 64);
    many.len = 0;                                       /* a long name is cut between characters */
    buf_put(&many, "{\"name\":\"x", 10);
    for (int i = 0; i < 150; i++)
        buf_put(&many, "\xC3\xA4", 2);
    buf_put(&many, "\"}\n", 4);
    feed(many.data);
    assert_int_equal(strlen(f.others.data), 199 + strlen("=1 "));
    assert_string_equal(f.others.data + 197, "\xC3\xA4=1 ");
    buf_free(&many);
    fixture_close(&f);
}

static void a_record_without_its_name_is_rejected(void **state)
{
    (void)state;
    open_plan(routed);
    feed("{\"d\":\"20240102\"}\n{\"name\":null}\n{\"name\":{}}\n");
    assert_int_equal(f.counts.rejected, 3);
    assert_non_null(strstr(f.rejects.data, "1@0 route : the record does not say what it is"));
    fixture_close(&f);
}

static void partitions_outside_the_range_are_counted(void **state)
{
    (void)state;
    open_plan(routed);
    feed("{\"name\":\"buy\",\"d\":\"20240101\"}\n{\"name\":\"buy\",\"d\":\"20240102\"}\n{\"name\":\"buy\","
         "\"d\":\"20240104\"}\n"
         "{\"name\":\"buy\",\"d\":\"20240105\"}\n{\"name\":\"buy\",\"d\":\"20240230\"}\n{\"name\":\"buy\"}\n");
    assert_int_equal(f.counts.range, 2);
    assert_int_equal(f.counts.rows, 2);
    assert_non_null(strstr(f.rejects.data, "date d: \"20240230\""));
    assert_non_null(strstr(f.rejects.data, "null d: "));
    assert_int_equal(f.counts.lines, f.counts.rows + f.counts.range + f.counts.rejected + f.counts.other);
    fixture_close(&f);
}

static void every_row_gets_a_new_uuid(void **state)
{
    (void)state;
    open_plan("return { tables = { { columns = { { name = 'id', type = 'uuid', uuid = true }, { name = 'a', type = "
              "'int4', from = 'a' } } } } }");
    feed("{\"a\":1}\n{\"a\":2}\n");
    assert_int_equal(f.rows.len, 2 * (36 + 3) + 1);
    assert_true(memcmp(f.rows.data, f.rows.data + 39, 36) < 0);
    fixture_close(&f);
}

/* ---- identity ---- */

static void key_of(const char *line, uint64_t key[2])
{
    feed(line);
    assert_string_equal(f.rejects.data, "");
    key[0] = f.key[0];
    key[1] = f.key[1];
}

static bool same_key(const char *a, const char *b)
{
    uint64_t x[2], y[2];
    key_of(a, x);
    key_of(b, y);
    return x[0] == y[0] && x[1] == y[1];
}

static void identity_is_the_key_or_the_whole_record(void **state)
{
    (void)state;
    static const char plan[] = "return { dedup = { seed = %d, key = { 'u', 't' }, unless_null = { 'b' } }, tables = "
                               "{ { partition = 'd', columns = {"
                               " { name = 'd', type = 'date', from = 'd' }, { name = 'x', type = 'text', from = 'x' "
                               "} } } } }";
    char text[400];
    snprintf(text, sizeof text, plan, 1);
    open_plan(text);
    /* with b the key alone counts, however its numbers are written; null and absent are one */
    assert_true(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":5,\"t\":\"7\",\"x\":1}", "{\"x\":2,\"t\":7.0,\"u\":\"5\""
        ",\"b\":0,\"d\":\"2024-01-01\"}"));
    assert_true(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":5}", "{\"d\":\"20240101\",\"b\":1,\"u\":5,\"t\":null}"));
    assert_false(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":5}", "{\"d\":\"20240101\",\"b\":1,\"u\":6}"));
    assert_false(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":5}", "{\"d\":\"20240102\",\"b\":1,\"u\":5}"));
    assert_false(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":\"\"}", "{\"d\":\"20240101\",\"b\":1}"));
    /* values do not run into each other */
    assert_false(same_key("{\"d\":\"20240101\",\"b\":1,\"u\":\"ab\",\"t\":\"c\"}", "{\"d\":\"20240101\",\"b\":1,\"u"
        "\":\"a\",\"t\":\"bc\"}"));
    assert_false(same_key("{\"d\":\"20240101\",\"b\":1,\"t\":\"a\"}", "{\"d\":\"20240101\",\"b\":1,\"u\":\"a\"}"));
    /* without b the whole record counts, null members aside */
    assert_true(same_key("{\"d\":\"20240101\",\"u\":5,\"n\":null}", "{\"d\":\"20240101\",\"b\":null,\"u\":5}"));
    assert_false(same_key("{\"d\":\"20240101\",\"u\":5,\"x\":1}", "{\"d\":\"20240101\",\"u\":5,\"x\":2}"));
    uint64_t one[2], two[2];
    key_of("{\"d\":\"20240101\",\"b\":1,\"u\":5}", one);
    fixture_close(&f);
    snprintf(text, sizeof text, plan, 2);
    open_plan(text);
    key_of("{\"d\":\"20240101\",\"b\":1,\"u\":5}", two);
    assert_true(one[0] != two[0] && one[1] != two[1]);       /* the seed counts */
    fixture_close(&f);
}

/* ---- the encodings of the export ---- */

static void one_event_in_all_its_encodings(void **state)
{
    (void)state;
    open_plan("local v = 'event_params[key=ga_session_id].value.'\n"
              "return { tables = { { columns = {\n"
              " { name = 'ts', type = 'varchar(50)', from = { { path = 'event_timestamp', as = 'number' } } },\n"
              " { name = 's', type = 'varchar(100)', from = { { path = v .. 'int_value', as = 'number' }, v .. "
              "'string_value',\n"
              "   { path = v .. 'double_value', as = 'number' } } },\n"
              " { name = 'rev', type = 'numeric(15,2)', from = { 'ecommerce.purchase_revenue', "
              "'event_params[key=value].value.double_value' } },\n"
              " { name = 'items', type = 'jsonb', from = 'items', default = '[]' },\n"
              " { name = 'q', type = 'int4', from = 'items[0].quantity' }, { name = 'w', type = 'jsonb', from = '.' "
              "} } } } }");
    static const char *const events[] = {
        /* TO_JSON_STRING: explicit nulls, numbers */
        "{\"event_timestamp\":1604192073036492,\"event_params\":[{\"key\":\"ga_session_id\","
        "\"value\":{\"string_value\":null,\"int_value\":4863244888,"
        "\"float_value\":null,\"double_value\":null}}],\"ecommerce\":{\"purchase_revenue\":16.5},"
        "\"items\":[{\"quantity\":2,\"price\":null}]}",
        /* extract: integers as strings, nulls absent */
        "{\"event_timestamp\":\"1604192073036492\",\"event_params\":[{\"key\":\"ga_session_id\","
        "\"value\":{\"int_value\":\"4863244888\"}}],"
        "\"ecommerce\":{\"purchase_revenue\":16.5},\"items\":[{\"quantity\":\"2\"}]}",
        /* console: every scalar a string */
        "{\"event_timestamp\":\"1604192073036492\",\"event_params\":[{\"key\":\"ga_session_id\","
        "\"value\":{\"string_value\":null,\"int_value\":\"4863244888\"}}],"
        "\"ecommerce\":{\"purchase_revenue\":\"16.5\"},\"items\":[{\"quantity\":\"2.0\"}]}",
        /* as a double, and the value parameter for the revenue */
        "{\"event_timestamp\":1.604192073036492E15,\"event_params\":[{\"key\":\"value\","
        "\"value\":{\"double_value\":16.5}},"
        "{\"value\":{\"double_value\":4863244888.0},\"key\":\"ga_session_id\"}],"
        "\"ecommerce\":{\"purchase_revenue\":null},\"items\":[{\"quantity\":2}]}",
    };
    static const char start[] = "1604192073036492\t4863244888\t16.5\t[{\"quantity\":";
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        feed(events[i]);
        assert_string_equal(f.rejects.data, "");
        assert_memory_equal(f.rows.data, start, sizeof start - 1);
        assert_non_null(strstr(f.rows.data, "}]\t2\t{"));
        assert_null(strstr(f.rows.data, "null"));
    }
    feed("{\"event_timestamp\":1,\"items\":null,\"ecommerce\":{\"purchase_revenue\":\"NaN\"}}");
    assert_string_equal(f.rows.data, "1\t\\N\t\\N\t[]\t\\N\t{\"ecommerce\":{\"purchase_revenue\":\"NaN\"},"
                                     "\"event_timestamp\":1}\n");
    assert_int_equal(f.counts.nulled, 1);
    fixture_close(&f);
}

/* ---- CSV ---- */

static const char three[] = "return { csv = { columns = { 'a', 'b.c [x]', 'd' } }, tables = { { columns = {"
    " { name = 'a', type = 'text', from = 'a' }, { name = 'b', type = 'text', from = 'b.c [x]' }, { name = 'd', "
    "type = 'text', from = 'd' } } } } }";

static void csv_gives(const char *plan, const char *text, const char *rows)
{
    open_plan(plan);
    feed(text);
    assert_string_equal(f.rejects.data, "");
    assert_string_equal(f.rows.data, rows);
    fixture_close(&f);
}

static void csv_fields_quoted_or_not(void **state)
{
    (void)state;
    csv_gives(three, "1,2,3\n", "1\t2\t3\n");
    csv_gives(three, "1,2,3", "1\t2\t3\n");
    csv_gives(three, "1,2,3\r\n4,5,6\r\n", "1\t2\t3\n4\t5\t6\n");
    csv_gives(three, "\"1\",\"2\",\"3\"\r\n\"4\",5,\"6\"", "1\t2\t3\n4\t5\t6\n");
    csv_gives(three, ",,\n", "\\N\t\\N\t\\N\n");                          /* an unquoted nothing is NULL */
    csv_gives(three, "\"\",\"\",\"\"\n", "\t\t\n");                       /* a quoted nothing is '' */
    csv_gives(three, "\"a,b\",\"c\"\"d\",\"e\nf\"\n", "a,b\tc\"d\te\\nf\n");
    csv_gives(three, "\"\"\"\",\"\"\"\"\"\",\"a\"\"\"\n", "\"\t\"\"\ta\"\n");
    csv_gives(three, "a\"b,c\td,\\N\n", "a\"b\tc\\td\t\\\\N\n");
    csv_gives(three, " 1 , \"2\",3\n", " 1 \t \"2\"\t3\n");
    csv_gives(three, "\n1,2,3\n\n\r\n4,5,6\n\n", "1\t2\t3\n4\t5\t6\n");
    csv_gives(three, "\xEF\xBB\xBF" "1,2,3\n", "1\t2\t3\n");
    csv_gives(three, "0123456789abcdef,0123456789abcde,0123456789abcdef0\n", "0123456789abcdef\t0123456789abcde\t012"
        "3456789abcdef0\n");
}

static void csv_delimiters_and_quotes_may_differ(void **state)
{
    (void)state;
    csv_gives("return { csv = { columns = { 'a', 'b' }, delimiter = '\\t' }, tables = { { columns = {"
              " { name = 'a', type = 'text', from = 'a' }, { name = 'b', type = 'int4', from = 'b' } } } } }",
                  "x,y\t5\n", "x,y\t5\n");
    csv_gives("return { csv = { columns = { 'a', 'b' }, delimiter = ';', quote = \"'\" }, tables = { { columns = {"
              " { name = 'a', type = 'text', from = 'a' }, { name = 'b', type = 'int4', from = 'b' } } } } }",
                  "'x;''y';5\n", "x;'y\t5\n");
    csv_gives("return { csv = { columns = { 'a', 'b' }, quote = '' }, tables = { { columns = {"
              " { name = 'a', type = 'text', from = 'a' }, { name = 'b', type = 'text', from = 'b' } } } } }",
                  "\"x,y\"\n", "\"x\ty\"\n");
}

static void malformed_csv_costs_the_record(void **state)
{
    (void)state;
    open_plan(three);
    feed("1,2\n1,2,3,4\n\"a\"b,2,3\n4,5,6\n\"m\nn\",8,9\nx,\"open,3\n7,8,9\n");
    assert_string_equal(f.rows.data, "4\t5\t6\nm\\nn\t8\t9\n7\t8\t9\n");
    assert_non_null(strstr(f.rejects.data, "1@0 fields : the record has 2 fields, the file has 3 columns"));
    assert_non_null(strstr(f.rejects.data, "2@4 fields : the record has 4 fields"));
    assert_non_null(strstr(f.rejects.data, "3@12 csv : more text follows the closing quote"));
    assert_non_null(strstr(f.rejects.data, "7@37 csv : a quoted field is not closed"));
    assert_string_equal(f.raw.data, "1,2\n1,2,3,4\n\"a\"b,2,3\nx,\"open,3\n");
    assert_int_equal(f.counts.lines, 7);
    fixture_close(&f);
}

static void broken_text_in_csv_is_repaired(void **state)
{
    (void)state;
    open_plan(three);
    fixture_clear(&f);
    static const char text[] = "a\0b,\xFFz,\"\xC3\"\nok,ok,ok\n";
    assert_true(fixture_feed_at(&f, text, sizeof text - 1, 1, 0));
    buf_put(&f.rows, "", 1);
    assert_string_equal(f.rows.data, "a\xEF\xBF\xBD" "b\t\xEF\xBF\xBDz\t\xEF\xBF\xBD\nok\tok\tok\n");
    assert_int_equal(f.counts.repaired, 1);
    fixture_close(&f);
}

static void csv_values_are_typed_routed_and_recorded(void **state)
{
    (void)state;
    open_plan("return { csv = { columns = { 'kind', 'day', 'n', 'j' } }, route = { from = 'kind', values = { x = 1 "
              "} },\n"
              " dedup = { key = { 'n' } }, tables = { { partition = 'day', columns = { { name = 'day', type = "
              "'date', from = 'day' },\n"
              " { name = 'n', type = 'numeric(6,2)', from = 'n' }, { name = 'j', type = 'jsonb', from = 'j' },\n"
              " { name = 'w', type = 'jsonb', from = '.' } } } } }");
    feed("x,20240105, 12.50 ,\"{\"\"a\"\": null}\"\ny,,,\nx,2024-01-06,abc,\nx,2024-01-06,1,{\nx,x,,\n");
    assert_string_equal(f.rows.data,
        "2024-01-05\t12.50\t{\"a\": null}\t{\"kind\":\"x\",\"day\":\"20240105\",\"n\":\" 12.50 \","
        "\"j\":\"{\\\\\"a\\\\\": null}\"}\n"
        "2024-01-06\t\\N\t\\N\t{\"kind\":\"x\",\"day\":\"2024-01-06\",\"n\":\"abc\"}\n");
    assert_string_equal(f.tags.data, "0/2024-01-05 0/2024-01-06 ");
    assert_string_equal(f.others.data, "y=1 ");
    assert_non_null(strstr(f.rejects.data, "json j: \"{\" is not JSON"));
    assert_non_null(strstr(f.rejects.data, "date day: \"x\""));
    assert_int_equal(f.counts.nulled, 1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_go_to_their_tables_and_partitions),
        cmocka_unit_test(unknown_names_are_counted_by_name),
        cmocka_unit_test(a_record_without_its_name_is_rejected),
        cmocka_unit_test(partitions_outside_the_range_are_counted),
        cmocka_unit_test(every_row_gets_a_new_uuid),
        cmocka_unit_test(identity_is_the_key_or_the_whole_record),
        cmocka_unit_test(one_event_in_all_its_encodings),
        cmocka_unit_test(csv_fields_quoted_or_not),
        cmocka_unit_test(csv_delimiters_and_quotes_may_differ),
        cmocka_unit_test(malformed_csv_costs_the_record),
        cmocka_unit_test(broken_text_in_csv_is_repaired),
        cmocka_unit_test(csv_values_are_typed_routed_and_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
