/* test_encode_types.c - one value into one column: every type's edges, what is cut, made NULL, rejected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/uuid7.h"
#include "encode_fixture.h"

static struct fixture f;

/* Encodes {"v": json} with a plan of one column; the options are Lua, like "type = 'int4', bad = 'reject'". */
static void encode(const char *options, const char *json)
{
    char plan[500];
    static char line[200000];
    snprintf(plan, sizeof plan, "return { tables = { { columns = { { name = 'v', from = 'v', %s } } } } }", options);
    int n = snprintf(line, sizeof line, "{\"v\":%s}\n", json);
    assert_true(fixture_open(&f, plan));
    assert_true(fixture_feed_at(&f, line, (size_t)n, 1, 0));
    buf_put(&f.rows, "", 1);
    buf_put(&f.rejects, "", 1);
}

/* The column's text; counts nothing. */
static void gives(const char *options, const char *json, const char *text)
{
    char want[600];
    snprintf(want, sizeof want, "%s\n", text);
    encode(options, json);
    if (strcmp(f.rows.data, want) != 0 || f.counts.cut || f.counts.nulled)
        fail_msg("%s of %s: %s%s, not %s", options, json, f.rows.data, f.rejects.data, text);
    fixture_close(&f);
}

static void gives_cut(const char *options, const char *json, const char *text)
{
    char want[600];
    snprintf(want, sizeof want, "%s\n", text);
    encode(options, json);
    assert_string_equal(f.rows.data, want);
    assert_int_equal(f.counts.cut, 1);
    fixture_close(&f);
}

static void gives_null_counted(const char *options, const char *json)
{
    encode(options, json);
    if (strcmp(f.rows.data, "\\N\n") != 0 || f.counts.nulled != 1)
        fail_msg("%s of %s: %s%s, not a counted NULL", options, json, f.rows.data, f.rejects.data);
    fixture_close(&f);
}

static void rejects(const char *options, const char *json, const char *what)
{
    encode(options, json);
    if (f.counts.rejected != 1 || f.counts.nulled || f.counts.cut || !strstr(f.rejects.data, what))
        fail_msg("%s of %s: %s%s, not %s", options, json, f.rows.data, f.rejects.data, what);
    fixture_close(&f);
}

/* The column's bytes as the server gets them, as hexadecimal digits in lower case, "null" for NULL. */
static void sends(const char *options, const char *json, const char *hex)
{
    char got[400] = "null";
    size_t n = 0;
    encode(options, json);
    assert_true(f.binary.len >= 6);
    assert_memory_equal(f.binary.data, "\0\1", 2);        /* one field */
    uint32_t len = (uint32_t)decode_uint(f.binary.data + 2, 4);
    if (len != UINT32_MAX) {
        assert_int_equal(f.binary.len, 6 + (size_t)len);
        got[0] = '\0';
        for (uint32_t i = 0; i < len; i++)
            n += (size_t)snprintf(got + n, sizeof got - n, "%02x", (unsigned)(uint8_t)f.binary.data[6 + i]);
    }
    if (strcmp(got, hex) != 0)
        fail_msg("%s of %s: %s, not %s", options, json, got, hex);
    fixture_close(&f);
}

/* Expectations as PostgreSQL 15 itself sends these values: select int2send(..), numeric_send(..) and so on. */
static void values_have_the_form_that_the_server_receives(void **state)
{
    (void)state;
    sends("type = 'text'", "\"a\\tb\\\\\"", "6109625c");
    sends("type = 'text'", "\"\"", "");
    sends("type = 'text'", "null", "null");
    sends("type = 'char(3)'", "\"ab\"", "6162");
    sends("type = 'json'", "{\"a\":1}", "7b2261223a317d");
    sends("type = 'jsonb'", "{\"a\":1}", "017b2261223a317d");
    sends("type = 'int2'", "-2", "fffe");
    sends("type = 'int4'", "-2.0", "fffffffe");
    sends("type = 'int4'", "305419896", "12345678");
    sends("type = 'int8'", "81985529216486895", "0123456789abcdef");
    sends("type = 'int8'", "-9223372036854775808", "8000000000000000");
    sends("type = 'float4'", "1.5", "3fc00000");
    sends("type = 'float8'", "-0.1", "bfb999999999999a");
    sends("type = 'float8'", "5e-324", "0000000000000001");
    sends("type = 'bool'", "true", "01");
    sends("type = 'bool'", "\"no\"", "00");
    sends("type = 'date'", "\"2000-01-01\"", "00000000");
    sends("type = 'date'", "\"19991231\"", "ffffffff");
    sends("type = 'date'", "\"2024-02-29\"", "00002279");
    sends("type = 'timestamptz'", "\"2000-01-01T00:00:01Z\"", "00000000000f4240");
    sends("type = 'timestamp'", "\"1999-12-31T23:59:59.999999\"", "ffffffffffffffff");
    sends("type = 'uuid'", "\"0B3C1A52-6a1e-4e0b-9d54-8f2f5a1b9c77\"", "0b3c1a526a1e4e0b9d548f2f5a1b9c77");
    static const struct { const char *type, *json, *hex; } numerics[] = {
        { "numeric", "0", "0000000000000000" }, { "numeric", "-0", "0000000000000000" },
        { "numeric", "0.00", "0000000000000002" }, { "numeric", "1", "00010000000000000001" },
        { "numeric", "-1.50", "00020000400000020001" "1388" }, { "numeric", "10000", "00010001000000000001" },
        { "numeric", "12345.678", "0003000100000003" "0001" "0929" "1a7c" },
        { "numeric", "0.0001", "0001ffff000000040001" }, { "numeric", "0.00001", "0001fffe0000000503e8" },
        { "numeric", "1e8", "00010002000000000001" }, { "numeric", "1.5e-3", "0001ffff00000004000f" },
        { "numeric", "1e131071", "00017fff0000000003e8" }, { "numeric", "1e-16383", "0001f00000003fff000a" },
        { "numeric(10,2)", "12.5", "0002000000000001000c" "1388" },
        { "numeric(10,2)", "\"16.00\"", "00010000000000020010" },
        { "numeric(10,2)", "12.995", "0001000000000000000d" },
        { "numeric(2,-3)", "98765", "00020001000000000009" "2328" },
        { "numeric(10,2)", "-0.004", "0000000000000000" },
    };
    for (size_t i = 0; i < sizeof numerics / sizeof *numerics; i++) {
        char options[60];
        snprintf(options, sizeof options, "type = '%s'", numerics[i].type);
        sends(options, numerics[i].json, numerics[i].hex);
    }
}

/* Partitions are named by text, one text for one value. */
static void a_partition_of_any_type_has_a_text(void **state)
{
    (void)state;
    static const struct { const char *type, *json, *text; } cases[] = {
        { "date", "\"20240105\"", "2024-01-05" }, { "date", "\"00010101\"", "0001-01-01" },
        { "text", "\"a\\tb\\\\ \"", "a\tb\\ " }, { "text", "\"\"", "" }, { "char(2)", "\"x\"", "x" },
        { "int2", "-5", "-5" },
        { "int4", "-2147483648", "-2147483648" }, { "int8", "9223372036854775807", "9223372036854775807" },
        { "numeric", "1.50", "1.5" }, { "numeric", "-0.00", "0" }, { "numeric", "1000000", "1000000" },
        { "numeric", "-0.00001", "-0.00001" }, { "numeric", "12345678.000900", "12345678.0009" },
        { "numeric(6,2)", "7.999", "8" }, { "float8", "0.10", "0.1" }, { "float8", "1e300", "1e+300" },
        { "float4", "0.1", "0.1" }, { "bool", "\"yes\"", "t" }, { "bool", "0", "f" },
        { "timestamp", "\"2024-01-05T10:20:30.5\"", "2024-01-05 10:20:30.500000" },
        { "timestamptz", "\"1969-12-31T23:59:59Z\"", "1969-12-31 23:59:59+00" },
        { "uuid", "\"0B3C1A526a1e4e0b9d548f2f5a1b9c77\"", "0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77" },
        { "json", "[1, 2]", "[1, 2]" }, { "jsonb", "[1, 2]", "[1, 2]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char plan[300], line[300], want[100];
        snprintf(plan, sizeof plan, "return { tables = { { partition = 2, columns = { { name = 'x', type = 'int4', "
                 "from = 'x' }, { name = 'v', type = '%s', from = 'v' } } } } }", cases[i].type);
        int n = snprintf(line, sizeof line, "{\"v\":%s}\n{\"v\":%s,\"x\":1}\n", cases[i].json, cases[i].json);
        snprintf(want, sizeof want, "0/%s 0/%s ", cases[i].text, cases[i].text);
        assert_true(fixture_open(&f, plan));
        assert_true(fixture_feed_at(&f, line, (size_t)n, 1, 0));
        assert_int_equal(f.counts.rows, 2);
        buf_put(&f.tags, "", 1);
        assert_string_equal(f.tags.data, want);
        fixture_close(&f);
    }
}

/* ---- text ---- */

static void text_is_taken_as_it_is(void **state)
{
    (void)state;
    gives("type = 'text'", "\"plain\"", "plain");
    gives("type = 'text'", "\"\"", "");
    gives("type = 'text'", "\"(not set)\"", "(not set)");
    gives("type = 'text'", "null", "\\N");
    gives("type = 'text'", "\"\\\\N\"", "\\\\N");
    gives("type = 'text'", "\"a\\tb\\nc\\rd\\\\e\\bf\\fg\\\"h\\/\"", "a\\tb\\nc\\rd\\\\e\bf\fg\"h/");
    gives("type = 'text'", "\"\\u003ca\\u003d1\\u0026\"", "<a=1&");
    gives("type = 'text'", "16.0", "16.0");
    gives("type = 'text'", "true", "true");
    gives("type = 'text'", "{\"a\":\"\\t\"}", "{\"a\":\"\\\\t\"}");
    gives("type = 'text'", "\" x \"", " x ");
    gives("type = 'text', trim = true", "\" x\\t\"", "x");
    gives("type = 'text', trim = true, empty = 'null'", "\"  \"", "\\N");
    gives("type = 'text', empty = 'null', default = 'none'", "\"\"", "none");
    gives("type = 'text', default = 'a\\tb'", "null", "a\\tb");
}

static void numbers_in_text_columns_are_plain(void **state)
{
    (void)state;
    static const char text[] = "type = 'text', from = { { path = 'v', as = 'number' } }";
    static const struct { const char *json, *text; } cases[] = {
        { "16.0", "16" }, { "\"16.0\"", "16" }, { "16", "16" }, { "\"16\"", "16" }, { "1.5E7", "15000000" },
        { "\"1.5E7\"", "15000000" }, { "12.50", "12.5" }, { "0.0", "0" }, { "-0.0", "0" }, { "-0", "0" }, { "-1.50",
            "-1.5" },
        { "9007199254740993", "9007199254740993" }, { "\"-4985163292119210307\"", "-4985163292119210307" },
        { "1.604192073036492E15", "1604192073036492" }, { "0.00012", "0.00012" }, { "1.2e-4", "0.00012" },
        { "100", "100" }, { "1e2", "100" }, { "1e300", "1e300" }, { "\"1e-300\"", "1e-300" }, { "\"007\"", "7" },
        { "\"abc\"", "abc" }, { "\"\"", "" }, { "\"NaN\"", "NaN" }, { "\"1,5\"", "1,5" }, { "\"+5\"", "5" },
        { "\"12 \"", "12 " }, { "\"1e\"", "1e" }, { "\".5\"", "0.5" }, { "\"5.\"", "5" }, { "\".\"", "." },
        { "123456789012345678901234567890.10", "123456789012345678901234567890.1" }, { "true", "true" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        gives(text, cases[i].json, cases[i].text);
}

static void over_long_text_is_cut_at_characters(void **state)
{
    (void)state;
    gives("type = 'varchar(5)'", "\"12345\"", "12345");
    gives_cut("type = 'varchar(5)'", "\"123456\"", "12345");
    gives("type = 'varchar(3)'", "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
    gives_cut("type = 'varchar(2)'", "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"", "\xC3\xA4\xE2\x82\xAC");
    gives_cut("type = 'varchar(1)'", "\"\\ud83d\\ude00\\ud83d\\ude00\"", "\xF0\x9F\x98\x80");
    gives_cut("type = 'character varying(3)'", "\"a\\tbc\"", "a\\tb");
    gives("type = 'varchar(3)'", "\"abc   \"", "abc");          /* as PostgreSQL: spaces beyond the length go */
    gives("type = 'varchar(3)', too_long = 'reject'", "\"abc\"", "abc");
    gives_cut("type = 'varchar(3)'", "\"abc  x\"", "abc");
    gives("type = 'char(3)'", "\"abc \"", "abc");
    gives_cut("type = 'character'", "\"ab\"", "a");
    gives("type = 'varchar'", "\"any length\"", "any length");
    gives_cut("type = 'varchar(4)', from = { { path = 'v', as = 'number' } }", "123456.0", "1234");
    gives_cut("type = 'varchar(4)'", "{\"a\":\"b\"}", "{\"a\"");
}

static void an_over_long_id_rejects_the_row(void **state)
{
    (void)state;
    rejects("type = 'varchar(3)', too_long = 'reject'", "\"abcd\"", "too_long v: \"abcd\" is longer than 3 characters");
    gives("type = 'varchar(3)', too_long = 'reject'", "\"abc \"", "abc");
    rejects("type = 'varchar(3)', too_long = 'reject'", "[1,2,3]", "too_long v: an array is too long");
    rejects("type = 'varchar(40)', too_long = 'reject'",
            "\"1234567890123456789012345678901234567890x\"", "\"1234567890123456789012345678901234567890...\"");
}

static void null_in_a_not_null_column_rejects(void **state)
{
    (void)state;
    rejects("type = 'text', not_null = true", "null", "1@0 null v: is null, but the column is NOT NULL");
    rejects("type = 'int4', not_null = true", "\"x\"", "null v");
    gives("type = 'int4', not_null = true, default = 7", "null", "7");
}

/* ---- numbers ---- */

static void integers_are_exact(void **state)
{
    (void)state;
    static const struct { const char *type, *json, *text; } good[] = {
        { "int2", "32767", "32767" }, { "int2", "-32768", "-32768" }, { "int4", "2147483647", "2147483647" },
        { "int4", "-2147483648", "-2147483648" }, { "int8", "9223372036854775807", "9223372036854775807" },
        { "int8", "-9223372036854775808", "-9223372036854775808" }, { "int4", "2.0", "2" }, { "int4", "\"2.0\"", "2" },
        { "int4", "1.5e3", "1500" }, { "int4", "\" 12 \"", "12" }, { "int4", "-0.0", "0" }, { "int4", "\"007\"", "7" },
        { "int4", "\"+5\"", "5" }, { "int8", "1e18", "1000000000000000000" }, { "smallint", "0e999999", "0" },
        { "bigint", "10000000000000000000e-1", "1000000000000000000" }, { "integer", "12e-1e", NULL },
    };
    for (size_t i = 0; i + 1 < sizeof good / sizeof *good; i++) {
        char options[60];
        snprintf(options, sizeof options, "type = '%s'", good[i].type);
        gives(options, good[i].json, good[i].text);
    }
    static const struct { const char *type, *json; } bad[] = {
        { "int2", "32768" }, { "int2", "-32769" }, { "int4", "2147483648" }, { "int4", "-2147483649" },
        { "int8", "9223372036854775808" }, { "int8", "-9223372036854775809" }, { "int4", "2.5" }, { "int4", "1e10" },
        { "int4", "1e-1" }, { "int8", "1e999999999999" }, { "int4", "\"NaN\"" }, { "int4", "\"\"" }, { "int4",
            "\"0x10\"" },
        { "int4", "true" }, { "int4", "[1]" }, { "int4", "{}" }, { "int4", "\"1 2\"" }, { "int4", "\"--1\"" },
        { "int8", "99999999999999999999" }, { "int8", "18446744073709551617" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char options[60];
        snprintf(options, sizeof options, "type = '%s'", bad[i].type);
        gives_null_counted(options, bad[i].json);
        snprintf(options, sizeof options, "type = '%s', bad = 'reject'", bad[i].type);
        rejects(options, bad[i].json, "number v: ");
    }
    gives("type = 'int4', empty = 'null'", "\"\"", "\\N");
    gives("type = 'int4', empty = 'null'", "\"  \"", "\\N");
}

static void numerics_are_rounded_as_postgresql_does(void **state)
{
    (void)state;
    static const struct { const char *type, *json, *text; } good[] = {
        { "numeric(10,2)", "12.5", "12.5" }, { "numeric(10,2)", "12.995", "13" }, { "numeric(10,2)", "12.994",
            "12.99" },
        { "numeric(15,2)", "9999999999999.994", "9999999999999.99" }, { "numeric(15,2)", "9999999999999.99",
            "9999999999999.99" },
        { "numeric(10,2)", "-0.005", "-0.01" }, { "numeric(10,2)", "-0.004", "0" }, { "numeric(10,2)", "1e-300", "0" },
        { "numeric(10,2)", "1e-99999999999", "0" }, { "numeric(10,2)", "0e99999999999", "0" },
        { "numeric(10,2)", "1.5E7", "15000000" }, { "numeric(10,2)", "\"16.0\"", "16.0" }, { "numeric(10,2)",
            "\" 16 \"", "16" },
        { "numeric(3,3)", "0.9994", "0.999" }, { "numeric(2,-3)", "98765", "99000" }, { "numeric(2,-3)", "499", "0" },
        { "numeric(2,-3)", "500", "1000" }, { "numeric(2,5)", "0.00012", "0.00012" }, { "numeric(4)", "12.5", "13" },
        { "decimal(4,0)", "-9999.4", "-9999" }, { "numeric(10,2)", "\"+5\"", "5" }, { "numeric(10,2)", "\".5\"",
            "0.5" },
        { "numeric(10,2)", "00", NULL },
        { "numeric", "123456789012345678901234567890.5", "123456789012345678901234567890.5" },
        { "numeric", "0e99999999999", "0" }, { "numeric", "-0.00e-99999", "0" }, { "numeric", "1.50e1", "15.0" },
        { "numeric", "-12.3400e+3", "-12340.0" }, { "numeric", "1e-9", "0.000000001" },
        { "numeric", "\"+.50\"", "0.50" },
        { "numeric", "5e7", "50000000" }, { "numeric", "00012.5", NULL }, { "numeric", "\"00012.5\"", "12.5" },
        { "numeric", "0.00", "0.00" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char options[60];
        snprintf(options, sizeof options, "type = '%s'", good[i].type);
        if (good[i].text)
            gives(options, good[i].json, good[i].text);
    }
    static const struct { const char *type, *json; } bad[] = {
        { "numeric(15,2)", "9999999999999.995" }, { "numeric(10,2)", "100000000" }, { "numeric(10,2)", "99999999.999" },
        { "numeric(3,3)", "1" }, { "numeric(3,3)", "0.9995" }, { "numeric(2,-3)", "99500" }, { "numeric(2,5)",
            "0.001" },
        { "numeric(10,2)", "1e400" }, { "numeric(10,2)", "\"NaN\"" }, { "numeric(10,2)", "\"Infinity\"" },
        { "numeric(10,2)", "\"12,50\"" }, { "numeric", "1e131072" }, { "numeric", "1e-16384" }, { "numeric",
            "\"nan\"" },
        { "numeric(10,2)", "1e99999999999" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char options[60];
        snprintf(options, sizeof options, "type = '%s'", bad[i].type);
        gives_null_counted(options, bad[i].json);
    }
}

static void floats_stay_in_range(void **state)
{
    (void)state;
    gives("type = 'float8'", "1.7976931348623157e308", "1.7976931348623157e+308");
    gives("type = 'float8'", "1e-400", "0");
    gives("type = 'float8'", "5e-324", "5e-324");
    gives("type = 'double precision'", "0e999", "0");
    gives("type = 'float8'", "-1.5", "-1.5");
    gives("type = 'real'", "3.4028234e38", "3.4028235e+38");
    gives("type = 'float4'", "1e-50", "0");
    gives("type = 'float4'", "1e-45", "1e-45");
    gives_null_counted("type = 'float8'", "1e309");
    gives_null_counted("type = 'float8'", "1.7976931348623159e308");
    gives_null_counted("type = 'float8'", "-1e400");
    gives_null_counted("type = 'float4'", "3.5e38");
    gives_null_counted("type = 'float4'", "1e39");
    gives_null_counted("type = 'float8'", "\"NaN\"");
    gives_null_counted("type = 'float8'", "\"-Infinity\"");
    char big[400] = "1";
    for (int i = 1; i < 310; i++)
        strcat(big, "0");
    gives_null_counted("type = 'float8'", big);
    big[309] = 0;
    gives("type = 'float8'", big, "1e+308");
    /* rounded once, as the server rounds: between two floats, near the halfway point between two doubles */
    gives("type = 'float4'", "16777217", "16777216");
    gives("type = 'float4'", "1.00000017881393432617187499", "1.0000001");
    gives("type = 'float4'", "1.00000017881393432617187501", "1.0000002");
    gives("type = 'float8'", "9007199254740993", "9007199254740992");
    gives("type = 'float8'", "9007199254740993.00000000000000000000000000000000000000001", "9007199254740994");
    gives("type = 'float8'", "123456789012345e22", "1.23456789012345e+36");
    gives("type = 'float8'", "123456789012345e-22", "1.23456789012345e-08");
    gives("type = 'float8'", "-0.0", "-0");
    gives("type = 'float8'", "-1e-400", "0");
    gives("type = 'float8'", "\"+.5\"", "0.5");
}

/* ---- times ---- */

static void dates_are_real_ones(void **state)
{
    (void)state;
    gives("type = 'date'", "\"20240105\"", "2024-01-05");
    gives("type = 'date'", "\"2024-01-05\"", "2024-01-05");
    gives("type = 'date'", "20240105", "2024-01-05");
    gives("type = 'date'", "\"20240229\"", "2024-02-29");
    gives("type = 'date'", "\"20000229\"", "2000-02-29");
    gives("type = 'date'", "\"00010101\"", "0001-01-01");
    gives("type = 'date'", "\"99991231\"", "9999-12-31");
    gives("type = 'date'", "\" 2024-01-05 \"", "2024-01-05");
    static const char *const bad[] = { "\"20230229\"", "\"19000229\"", "\"20241301\"", "\"20240001\"", "\"20240132\"",
        "\"20240100\"",
        "\"00000101\"", "\"2024-1-5\"", "\"2024/01/05\"", "\"2024-01-05T00:00:00\"", "\"\"", "\"today\"", "\"2024010\"",
        "\"202401055\"", "\"2024-01-0x\"", "\"-2024-01-0\"", "true", "[]", "2024.0105" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        rejects("type = 'date'", bad[i], "date v: ");
    gives_null_counted("type = 'date', bad = 'null'", "\"x\"");
}

static void timestamps_take_iso_forms_and_epochs(void **state)
{
    (void)state;
    static const struct { const char *json, *text; } iso[] = {
        { "\"2024-01-05T10:20:30Z\"", "2024-01-05 10:20:30+00" }, { "\"2024-01-05 10:20:30.123456\"", "2024-01-05 10"
            ":20:30.123456+00" },
        { "\"2024-01-05T10:20:30+02:00\"", "2024-01-05 08:20:30+00" }, { "\"2024-01-05T00:30-0130\"", "2024-01-05 02"
            ":00:00+00" },
        { "\"2024-01-01T00:30+01\"", "2023-12-31 23:30:00+00" }, { "\"2024-01-05\"", "2024-01-05 00:00:00+00" },
        { "\"20240105\"", "2024-01-05 00:00:00+00" }, { "\"2020-11-01 00:54:33.036492 UTC\"", "2020-11-01 00:54:33.0"
            "36492+00" },
        { "\"2024-01-05T10:20:30.1234567z\"", "2024-01-05 10:20:30.123457+00" }, { "\"2024-02-29T23:59:60Z\"",
            "2024-03-01 00:00:00+00" },
        { "\"2024-12-31T23:59:59.9999999Z\"", "2025-01-01 00:00:00+00" }, { "\"0001-01-01T00:00:00Z\"", "0001-01-01 "
            "00:00:00+00" },
        { "\"9999-12-31T23:59:59.999999Z\"", "9999-12-31 23:59:59.999999+00" },
        { "\"2023-12-31T24:00\"", "2024-01-01 00:00:00+00" },
        { "1604192073036492", "2020-11-01 00:54:33.036492+00" }, { "\"1604192073036492\"", "2020-11-01 00:54:33.0364"
            "92+00" },
        { "1.604192073036492E15", "2020-11-01 00:54:33.036492+00" }, { "-1", "1969-12-31 23:59:59.999999+00" }, { "0",
            "1970-01-01 00:00:00+00" },
    };
    for (size_t i = 0; i < sizeof iso / sizeof *iso; i++)
        gives("type = 'timestamptz'", iso[i].json, iso[i].text);
    gives("type = 'timestamp with time zone', unit = 's'", "\"1.604192073036492E9\"", "2020-11-01 00:54:33.036492+00");
    gives("type = 'timestamp without time zone', unit = 'ms'", "1604192073036", "2020-11-01 00:54:33.036000");
    gives("type = 'timestamp(3) with time zone', unit = 's'", "951782400", "2000-02-29 00:00:00+00");
    gives("type = 'timestamp'", "\"2024-01-05T10:20:30+02:00\"", "2024-01-05 08:20:30");
    static const char *const bad[] = { "\"2024-01-05T25:00\"", "\"2024-01-05T24:01\"", "\"2024-01-05T24:00:00.1\"", "\"2024-01-05T10\"", "\"2024-01-05T10:60\"",
        "\"2024-01-05T10:20:61\"",
        "\"2024-01-05T10:20:30+99:00\"", "\"2024-01-05T10:20:30x\"", "\"2024-01-05T10:20:30.\"", "\"2024-01-05 \\u00"
            "31\"", "\"2024-02-30T00:00\"",
        "\"0001-01-01T00:00+01\"", "9e30", "1e400", "\"now\"", "\"infinity\"", "\"\"", "{}", "253402300800000000" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        rejects("type = 'timestamptz'", bad[i], "timestamp v: ");
}

/* ---- others ---- */

static void booleans(void **state)
{
    (void)state;
    static const char *const yes[] = { "true", "\"true\"", "\"TRUE\"", "\"t\"", "\"yes\"", "\"Y\"", "\"on\"", "1",
        "\"1\"", "\" true \"" };
    static const char *const no[] = { "false", "\"false\"", "\"f\"", "\"No\"", "\"n\"", "\"off\"", "0", "\"0\"" };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        gives("type = 'bool'", yes[i], "t");
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        gives("type = 'boolean'", no[i], "f");
    rejects("type = 'bool'", "2", "bool v: \"2\" is neither true nor false");
    rejects("type = 'bool'", "\"\"", "bool v");
}

static void uuids(void **state)
{
    (void)state;
    gives("type = 'uuid'", "\"0B3C1A52-6A1E-4E0B-9D54-8F2F5A1B9C77\"", "0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77");
    gives("type = 'uuid'", "\"0b3c1a526a1e4e0b9d548f2f5a1b9c77\"", "0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77");
    gives("type = 'uuid'", "\"{0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77}\"", "0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77");
    rejects("type = 'uuid'", "\"0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c7\"", "uuid v: ");
    rejects("type = 'uuid'", "\"0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c7g\"", "uuid v: ");
    rejects("type = 'uuid'", "\"0b3c1a526-a1e-4e0b-9d54-8f2f5a1b9c77\"", "uuid v: ");
    rejects("type = 'uuid'", "\"{}\"", "uuid v: ");
}

static void generated_uuids_are_ordered_and_of_version_7(void **state)
{
    (void)state;
    struct uuid7 ids = { 0 }, others = { 0 };
    uint8_t last[16] = { 0 }, id[16], other[16];
    char text[UUID7_TEXT];
    for (int i = 0; i < 100000; i++) {
        uuid7_make(&ids, id);
        assert_true(memcmp(last, id, 16) < 0);
        assert_int_equal(id[6] >> 4, 7);
        assert_int_equal(id[8] >> 6, 2);
        memcpy(last, id, 16);
    }
    uuid7_make(&others, other);
    assert_memory_not_equal(other + 8, id + 8, 8);
    uuid7_print(id, text);
    assert_int_equal(text[14], '7');
    assert_int_equal(text[8], '-');
}

static void json_columns_take_subtrees_or_texts_that_are_json(void **state)
{
    (void)state;
    static const char text[] = "type = 'jsonb', from = { { path = 'v', as = 'text' } }";
    gives("type = 'jsonb'", "{\"a\":null,\"b\":[null]}", "{\"b\":[null]}");
    gives("type = 'json'", "\"s\"", "\"s\"");
    gives("type = 'jsonb'", "12.50", "12.50");
    gives("type = 'jsonb'", "true", "true");
    gives("type = 'jsonb', default = '[]'", "null", "[]");
    gives(text, "\"{\\\"a\\\": [1, null], \\\"b\\\":null}\"", "{\"a\": [1, null], \"b\":null}");
    gives(text, "\" \\\"x\\\\ty\\\" \"", "\"x\\\\ty\"");
    gives(text, "\"null\"", "null");
    gives(text, "\"1e200000\"", "\"1e200000\"");
    gives(text, "[1]", "[1]");
    rejects(text, "\"{a:1}\"", "json v: ");
    rejects(text, "\"\"", "json v: ");
    rejects(text, "\"1 2\"", "json v: ");
    rejects(text, "\"{\"", "json v: ");
    rejects(text, "\"\\\"\"", "json v: ");
    gives("type = 'jsonb', empty = 'null', from = { { path = 'v', as = 'text' } }", "\"\"", "\\N");
    gives("type = 'text', from = { { path = 'v', as = 'json' } }", "\"a\\nb\"", "\"a\\\\nb\"");
}

static void a_constant_must_fit_its_column(void **state)
{
    (void)state;
    gives("type = 'text', from = false or nil, constant = 'a\\\\b'", "1", "a\\\\b");
    gives("type = 'date', from = false or nil, constant = '20240105'", "1", "2024-01-05");
    gives("type = 'jsonb', from = false or nil, constant = '{\"a\":null}'", "1", "{\"a\":null}");
    assert_false(fixture_open(&f, "return { tables = { { columns = { { name = 'n', type = 'int2', constant = 70000 "
                                  "} } } } }"));
    assert_non_null(strstr(f.err.message, "column \"n\" cannot take its constant \"70000\""));
    fixture_close(&f);
    assert_false(fixture_open(&f, "return { tables = { { columns = { { name = 'd', type = 'date', constant = 'x' } "
                                  "} } } }"));
    assert_non_null(strstr(f.err.message, "\"x\" is not a date"));
    fixture_close(&f);
}

static void counts_of_rejected_rows_do_not_count(void **state)
{
    (void)state;
    assert_true(fixture_open(&f, "return { tables = { { columns = { { name = 'n', type = 'int2', from = 'n' },"
                                 " { name = 's', type = 'varchar(1)', from = 's' },"
                                 " { name = 'd', type = 'date', from = 'd' } } } } }"));
    static const char text[] = "{\"n\":99999,\"s\":\"ab\",\"d\":\"x\"}\n{\"n\":99999,\"s\":\"ab\","
                               "\"d\":\"20240101\"}\n";
    assert_true(fixture_feed_at(&f, text, sizeof text - 1, 1, 0));
    assert_int_equal(f.counts.nulled, 1);
    assert_int_equal(f.counts.cut, 1);
    assert_int_equal(f.counts.rejected, 1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_the_form_that_the_server_receives),
        cmocka_unit_test(a_partition_of_any_type_has_a_text),
        cmocka_unit_test(text_is_taken_as_it_is),
        cmocka_unit_test(numbers_in_text_columns_are_plain),
        cmocka_unit_test(over_long_text_is_cut_at_characters),
        cmocka_unit_test(an_over_long_id_rejects_the_row),
        cmocka_unit_test(null_in_a_not_null_column_rejects),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(numerics_are_rounded_as_postgresql_does),
        cmocka_unit_test(floats_stay_in_range),
        cmocka_unit_test(dates_are_real_ones),
        cmocka_unit_test(timestamps_take_iso_forms_and_epochs),
        cmocka_unit_test(booleans),
        cmocka_unit_test(uuids),
        cmocka_unit_test(generated_uuids_are_ordered_and_of_version_7),
        cmocka_unit_test(json_columns_take_subtrees_or_texts_that_are_json),
        cmocka_unit_test(a_constant_must_fit_its_column),
        cmocka_unit_test(counts_of_rejected_rows_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
