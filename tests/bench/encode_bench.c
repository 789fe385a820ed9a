/* encode_bench.c - how long a row takes in the encoder: GA4 page views of about 3 kB, narrow NDJSON, narrow CSV.
 *
 * Everything but the process boundary is in: scan, walk, columns, duplicate key, the row's bytes copied out. Prints the
 * median of the runs, in CPU time. Usage: encode_bench [runs [case]]; run from the project's root. */
#include <time.h>

#include "../c/encode_fixture.h"

#define COPY_ROOM ((size_t)1 << 20)

struct bench_case {
    const char *name, *plan;
    void (*make)(struct buf *out, unsigned n);
    unsigned rows;
};

/* ---- made-up data ---- */

static unsigned pick(unsigned n, unsigned salt,
    unsigned limit) { return (n * 2654435761u + salt * 40503u) / 7u % limit; }

static void put(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }

static void param(struct buf *b, bool first, const char *key, const char *text, long long number)
{
    char s[1024];
    if (text)
        snprintf(s, sizeof s, "%s{\"key\":\"%s\",\"value\":{\"string_value\":\"%s\",\"int_value\":null,"
                              "\"float_value\":null,"
                 "\"double_value\":null}}", first ? "" : ",", key, text);
    else
        snprintf(s, sizeof s, "%s{\"key\":\"%s\",\"value\":{\"string_value\":null,\"int_value\":%lld,"
                              "\"float_value\":null,"
                 "\"double_value\":null}}", first ? "" : ",", key, number);
    put(b, s);
}

static void make_event_with(struct buf *b, unsigned n, const char *query)
{
    char s[1400], url[200], title[120];
    static const char *const cities[] = { "Delhi", "Berlin", "S\xC3\xA3o Paulo", "Seattle", "(not set)" };
    snprintf(url, sizeof url, "https://shop.example.com/Catalogue/Category-%u/Product-%u%s", pick(n, 1, 50),
             pick(n, 2, 9999), query);
    snprintf(title, sizeof title, "Pressure valve DN%u | Industrial supplies | Example Store", pick(n, 3, 500));
    snprintf(s, sizeof s, "{\"event_date\":\"202401%02u\",\"event_timestamp\":%llu,\"event_name\":\"page_view\","
                          "\"event_params\":[",
             1 + pick(n, 4, 28), 1704067200000000ull + n * 1371ull);
    put(b, s);
    param(b, true, "page_title", title, 0);
    param(b, false, "page_location", url, 0);
    param(b, false, "ga_session_number", NULL, 1 + pick(n, 5, 30));
    param(b, false, "clean_event", "gtm.js", 0);
    param(b, false, "engaged_session_event", NULL, 1);
    param(b, false, "session_engaged", "1", 0);
    param(b, false, "page_referrer", url, 0);
    param(b, false, "ga_session_id", NULL, 1704067200ll + n / 7);
    param(b, false, "debug_mode", NULL, 1);
    param(b, false, "entrances", NULL, 1);
    snprintf(s, sizeof s, "],\"event_previous_timestamp\":null,\"event_value_in_usd\":null,"
                          "\"event_bundle_sequence_id\":%u,"
             "\"event_server_timestamp_offset\":null,\"user_id\":null,\"user_pseudo_id\":\"%u.%u\",\"privacy_info\":"
             "{\"analytics_storage\":null,\"ads_storage\":null,\"uses_transient_token\":\"No\"},\"user_properties\":[",
             n, 1000000 + pick(n, 6, 90000), pick(n, 7, 999999999));
    put(b, s);
    param(b, true, "WebUserId", "U-10442", 0);
    param(b, false, "default_branch_id", "D01", 0);
    snprintf(s, sizeof s, "],\"user_first_touch_timestamp\":%llu,\"user_ltv\":{\"revenue\":0.0,\"currency\":\"USD\"},"
             "\"device\":{\"category\":\"desktop\",\"mobile_brand_name\":\"Google\",\"mobile_model_name\":\"Chrome\","
             "\"mobile_marketing_name\":\"<Other>\",\"mobile_os_hardware_model\":null,\"operating_system\":\"Web\","
             "\"operating_system_version\":\"10\",\"vendor_id\":null,\"advertising_id\":null,\"language\":\"en-us\","
             "\"is_limited_ad_tracking\":\"No\",\"time_zone_offset_seconds\":null,\"web_info\":{\"browser\":\"Chrome\","
             "\"browser_version\":\"86.0\"}},\"geo\":{\"continent\":\"Asia\",\"sub_continent\":\"Southern Asia\","
             "\"country\":\"India\",\"region\":\"Delhi\",\"city\":\"%s\",\"metro\":\"(not set)\"},\"app_info\":null,"
             "\"traffic_source\":{\"medium\":\"organic\",\"name\":\"(organic)\",\"source\":\"google\"},"
             "\"stream_id\":2100450278,\"platform\":\"WEB\",\"event_dimensions\":null,\"ecommerce\":"
             "{\"total_item_quantity\":null,\"purchase_revenue_in_usd\":null,\"purchase_revenue\":null,"
             "\"refund_value_in_usd\":null,\"refund_value\":null,\"shipping_value_in_usd\":null,"
             "\"shipping_value\":null,"
             "\"tax_value_in_usd\":null,\"tax_value\":null,\"unique_items\":null,\"transaction_id\":null},\"items\":[],"
             "\"batch_page_id\":%llu,\"batch_ordering_id\":%u,\"batch_event_index\":%u}\n",
             1704067200000000ull + n, cities[pick(n, 8, 5)], 1704067200000ull + n / 5, n % 5 + 1, n % 9 + 1);
    put(b, s);
}

static void make_event(struct buf *b, unsigned n) { make_event_with(b, n, ""); }

/* As an extract job writes them: with escapes in the addresses. */
static void make_escaped(struct buf *b, unsigned n) { make_event_with(b, n, "?a\\u003d1\\u0026b\\u003d2"); }

static void make_narrow(struct buf *b, unsigned n)
{
    char s[160];
    snprintf(s, sizeof s, "{\"id\":%u,\"day\":\"2024-01-%02u\",\"name\":\"customer %u\",\"amount\":%u.%02u,"
                          "\"active\":true}\n",
             100000 + n, 1 + pick(n, 1, 28), 10000 + pick(n, 2, 89999), pick(n, 3, 9999), pick(n, 4, 100));
    put(b, s);
}

static void make_csv(struct buf *b, unsigned n)
{
    char s[160];
    snprintf(s, sizeof s, "%u,2024-01-%02u,customer %u of a longer name than usual,%u.%02u,true\n", 100000 + n,
             1 + pick(n, 1, 28), 10000 + pick(n, 2, 89999), pick(n, 3, 9999), pick(n, 4, 100));
    put(b, s);
}

/* ---- plans ---- */

static const char ga4_plan[] =
    "local function p(name) local b = 'event_params[key=' .. name .. '].value.'\n"
    "  return { b .. 'string_value', { path = b .. 'int_value', as = 'number' },\n"
    "    { path = b .. 'double_value', as = 'number' }, { path = b .. 'float_value', as = 'number' } } end\n"
    "local function pi(name) local b = 'event_params[key=' .. name .. '].value.'\n"
    "  return { { path = b .. 'int_value', as = 'number' }, b .. 'string_value' } end\n"
    "local function u(name) local b = 'user_properties[key~' .. name .. '].value.'\n"
    "  return { b .. 'string_value', { path = b .. 'int_value', as = 'number' } } end\n"
    "return { route = { from = 'event_name', values = { page_view = 1 } },\n"
    "  dedup = { seed = 42, key = { 'user_pseudo_id', 'event_timestamp', 'event_name', 'batch_page_id',\n"
    "    'batch_ordering_id', 'batch_event_index' }, unless_null = { 'batch_page_id' } },\n"
    "  range = { min = '2024-01-01', max = '2024-01-31' },\n"
    "  tables = { { name = 'page_view', partition = 'event_date', columns = {\n"
    "    { name = 'id', type = 'uuid', uuid = true },\n"
    "    { name = 'tenant_id', type = 'uuid', constant = '0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77', not_null = true },\n"
    "    { name = 'event_date', type = 'date', from = 'event_date', not_null = true },\n"
    "    { name = 'event_timestamp', type = 'character varying(50)', from = { { path = 'event_timestamp', as = "
    "'number' } } },\n"
    "    { name = 'user_pseudo_id', type = 'varchar(255)', from = 'user_pseudo_id', too_long = 'reject' },\n"
    "    { name = 'user_prop_webuserid', type = 'varchar(100)', from = u 'webuserid' },\n"
    "    { name = 'user_prop_default_branch_id', type = 'varchar(100)', from = u 'default_branch_id' },\n"
    "    { name = 'param_ga_session_id', type = 'varchar(100)', from = pi 'ga_session_id' },\n"
    "    { name = 'param_page_title', type = 'varchar(500)', from = p 'page_title' },\n"
    "    { name = 'param_page_location', type = 'text', from = p 'page_location' },\n"
    "    { name = 'param_page_referrer', type = 'text', from = p 'page_referrer' },\n"
    "    { name = 'first_item_item_id', type = 'varchar(255)', from = 'items[0].item_id' },\n"
    "    { name = 'first_item_price', type = 'numeric(10,2)', from = 'items[0].price' },\n"
    "    { name = 'first_item_quantity', type = 'integer', from = 'items[0].quantity' },\n"
    "    { name = 'items_json', type = 'jsonb', from = 'items', default = '[]' },\n"
    "    { name = 'device_category', type = 'varchar(50)', from = 'device.category' },\n"
    "    { name = 'device_operating_system', type = 'varchar(50)', from = 'device.operating_system' },\n"
    "    { name = 'geo_country', type = 'varchar(100)', from = 'geo.country' },\n"
    "    { name = 'geo_city', type = 'varchar(100)', from = 'geo.city' },\n"
    "    { name = 'raw_data', type = 'jsonb', from = '.' } } } } }";

#define NARROW_COLUMNS \
    "{ name = 'id', type = 'bigint', from = 'id', not_null = true },\n" \
    "{ name = 'day', type = 'date', from = 'day' },\n" \
    "{ name = 'name', type = 'varchar(100)', from = 'name' },\n" \
    "{ name = 'amount', type = 'numeric(12,2)', from = 'amount' },\n" \
    "{ name = 'active', type = 'boolean', from = 'active' } } } } }"

static const char narrow_plan[] = "return { tables = { { name = 'narrow', columns = {\n" NARROW_COLUMNS;
static const char csv_plan[] = "return { csv = { columns = { 'id', 'day', 'name', 'amount', 'active' } },\n"
    "tables = { { name = 'narrow', columns = {\n" NARROW_COLUMNS;

static const struct bench_case cases[] = {
    { "ga4", ga4_plan, make_event, 4000 },
    { "escaped", ga4_plan, make_escaped, 4000 },
    { "ndjson", narrow_plan, make_narrow, 100000 },
    { "csv", csv_plan, make_csv, 100000 },
};

/* ---- runs ---- */

struct bench_sink {
    struct encode_sink sink;
    char  *room;
    size_t at, bytes;
};

/* What the worker does with a row: one copy into an output slot. */
static bool copy_row(struct encode_sink *s, const struct encode_row *row)
{
    struct bench_sink *b = (struct bench_sink *)s;
    if (b->at + row->len > COPY_ROOM)
        b->at = 0;
    memcpy(b->room + b->at, row->data, row->len);
    b->at += row->len;
    b->bytes += row->len;
    return true;
}

static bool print_reject(struct encode_sink *s, const struct encode_reject *r)
{
    (void)s;
    fprintf(stderr, "line %llu: %s %s\n", (unsigned long long)r->line, r->code, r->reason);
    return false;
}

static bool no_other(struct encode_sink *s, struct plan_text name, uint64_t count)
{
    (void)s;
    (void)name;
    (void)count;
    return true;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);      /* other work on the machine is not ours */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int run_case(const struct bench_case *c, int runs)
{
    struct fixture f;
    struct buf data = { 0 };
    struct bench_sink sink = { .sink = { copy_row, print_reject, no_other }, .room = malloc(COPY_ROOM) };
    double *times = malloc((size_t)runs * sizeof *times);
    if (!fixture_open(&f, c->plan) || !sink.room || !times)
        return 1;
    for (unsigned n = 0; n < c->rows; n++)
        c->make(&data, n);
    buf_reserve(&data, ENCODE_PAD);
    for (int i = -2; i < runs; i++) {      /* two for the warmth of it */
        struct encode_counts counts = { 0 };
        double start = now();
        size_t at = 0;
        uint64_t line = 1;
        sink.bytes = 0;
        while (at < data.len) {            /* batches of 1 MiB, cut at line ends, as the host makes them */
            size_t len = data.len - at < COPY_ROOM ? data.len - at : COPY_ROOM;
            const char *last = memrchr(data.data + at, '\n', len);
            len = (size_t)(last + 1 - data.data) - at;
            struct encode_batch batch = { .data = (const uint8_t *)data.data + at, .len = len, .line = line,
                                          .offset = at };
            if (!encode_batch(f.enc, &batch, &sink.sink, &counts, &f.err))
                return 1;
            at += len;
        }
        if (i >= 0)
            times[i] = now() - start;
        if (counts.rows != c->rows) {
            fprintf(stderr, "%s: %llu rows of %u\n", c->name, (unsigned long long)counts.rows, c->rows);
            return 1;
        }
    }
    qsort(times, (size_t)runs, sizeof *times, by_value);
    double t = times[runs / 2];
    printf("%-7s %5zu B/row in %5zu out  median %.3f us/row  best %.3f  %6.0f MB/s  %.2f M rows/s\n", c->name,
           data.len / c->rows, sink.bytes / c->rows, t * 1e6 / c->rows, times[0] * 1e6 / c->rows,
           (double)data.len / t / 1e6, c->rows / t / 1e6);
    free(times);
    free(sink.room);
    buf_free(&data);
    fixture_close(&f);
    return 0;
}

int main(int argc, char **argv)
{
    int runs = argc > 1 ? atoi(argv[1]) : 15, failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (argc < 3 || strcmp(argv[2], cases[i].name) == 0)
            failed |= run_case(&cases[i], runs < 1 ? 1 : runs);
    }
    return failed;
}
