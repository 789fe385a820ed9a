/* Members of JSON objects in jsonb's order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encode/order.h"

static void gives(const char *text, const char *want)
{
    struct order o = { 0 };
    size_t len = strlen(text);
    char *copy = malloc(len);      /* of the exact length, so that ASan sees a look behind the end */
    memcpy(copy, text, len);
    assert_true(order_members(&o, copy, len));
    assert_int_equal(strlen(want), len);
    assert_memory_equal(copy, want, len);
    free(copy);
    order_free(&o);
}

static void shorter_names_come_first_then_bytes_count(void **state)
{
    (void)state;
    gives("{\"ccc\":1,\"bb\":2,\"a\":3}", "{\"a\":3,\"bb\":2,\"ccc\":1}");
    gives("{\"b\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"b\":1}");
    gives("{\"\xc3\xa4\":1,\"zz\":2,\"z\":3}", "{\"z\":3,\"zz\":2,\"\xc3\xa4\":1}");
}

static void all_levels_are_put_in_order(void **state)
{
    (void)state;
    gives("{\"bb\":[{\"d\":{\"f\":1,\"e\":2},\"c\":[]}],\"a\":{}}", "{\"a\":{},\"bb\":[{\"c\":[],\"d\":{\"e\":2,\"f\":1}}]}");
    gives("[[{\"b\":true,\"a\":null}],1,\"x\"]", "[[{\"a\":null,\"b\":true}],1,\"x\"]");
    gives("{\"a\":{\"c\":1,\"b\":2},\"d\":3}", "{\"a\":{\"b\":2,\"c\":1},\"d\":3}");
}

static void scalars_and_what_is_in_order_stay(void **state)
{
    (void)state;
    const char *same[] = { "{}", "[]", "{ }", "[ ]", "1", "-1.5e3", "\"{\\\"b\\\":1}\"", "null", "{\"a\":1}", "{\"a\":1,\"b\":2}",
                           "[1,2]", "{\"key\":\"k\",\"value\":{\"int_value\":1}}" };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        gives(same[i], same[i]);
}

static void white_space_goes_with_its_member(void **state)
{
    (void)state;
    gives("{ \"b\" : 1 ,\n\t\"a\" : [ 1 , 2 ] }", "{\n\t\"a\" : [ 1 , 2 ] , \"b\" : 1 }");
}

static void of_equal_names_the_last_stays_the_last(void **state)
{
    (void)state;
    gives("{\"b\":1,\"a\":1,\"b\":2,\"a\":2}", "{\"a\":1,\"a\":2,\"b\":1,\"b\":2}");
}

/* "a" and its escape are one name to jsonb: sorted by length, the first would come last and win. */
static void an_object_with_an_escaped_name_stays_as_it_is(void **state)
{
    (void)state;
    gives("{\"\\u0061\":1,\"a\":2}", "{\"\\u0061\":1,\"a\":2}");
    gives("{\"b\\\"\":{\"d\":1,\"c\":2},\"a\":2}", "{\"b\\\"\":{\"c\":2,\"d\":1},\"a\":2}");
}

static void strings_hide_what_looks_like_structure(void **state)
{
    (void)state;
    gives("{\"b\":\"}\\\\\",\"a\":\"\\\"],\\\\\\\"{\"}", "{\"a\":\"\\\"],\\\\\\\"{\",\"b\":\"}\\\\\"}");
}

static int by_rule(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    size_t m = strlen(x), n = strlen(y);
    return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static void many_members_are_sorted_too(void **state)
{
    (void)state;
    enum { MOST = 3000 };
    static char names[MOST][12];
    static const char *list[MOST];
    static char text[MOST * 20], want[MOST * 20];
    unsigned seed = 7;
    for (unsigned n = 2; n < MOST; n = n * 3 / 2 + 1) {
        char *to = text;
        for (unsigned i = 0; i < n; i++) {
            seed = seed * 1103515245u + 12345u;
            snprintf(names[i], sizeof names[i], "%x", (seed >> 8) % (1u << (4 + seed % 20)));
            list[i] = names[i];
            to += snprintf(to, 20, "%c\"%s\":0", i ? ',' : '{', names[i]);
        }
        memcpy(to, "}", 2);
        qsort(list, n, sizeof *list, by_rule);
        to = want;
        for (unsigned i = 0; i < n; i++)
            to += snprintf(to, 20, "%c\"%s\":0", i ? ',' : '{', list[i]);
        memcpy(to, "}", 2);
        gives(text, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shorter_names_come_first_then_bytes_count),
        cmocka_unit_test(all_levels_are_put_in_order),
        cmocka_unit_test(scalars_and_what_is_in_order_stay),
        cmocka_unit_test(white_space_goes_with_its_member),
        cmocka_unit_test(of_equal_names_the_last_stays_the_last),
        cmocka_unit_test(an_object_with_an_escaped_name_stays_as_it_is),
        cmocka_unit_test(strings_hide_what_looks_like_structure),
        cmocka_unit_test(many_members_are_sorted_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
