/* fuzz_encode.c - libFuzzer target: packed plans, batches. The first byte of an input chooses: 'P' a packed plan
 * (then used on a fixed batch), 'C' a CSV batch, anything else an NDJSON batch, both with a plan that uses all
 * there is.
 *
 * Beyond crashes it checks what COPY relies on: each row has its columns in the form of their types, is UTF-8 without
 * NUL, the counts add up, raw places lie in the batch, and a stored record goes through the encoder unchanged a second
 * time. Rows are read by encode_decode.h, which makes lines of COPY text of them.
 *
 * It writes seed inputs into the corpus directory first. Run from the project's root or from build/fuzz. */
#include <sys/stat.h>

#include "../c/encode_fixture.h"
#include "encode/scan.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TYPED \
    "{ name = 'i2', type = 'int2', from = 'i' }, { name = 'i4', type = 'int4', from = { 'i', 'n' } },\n" \
    "{ name = 'i8', type = 'int8', from = 'i', bad = 'reject' }, { name = 'u', type = 'numeric', from = 'n' },\n" \
    "{ name = 'n', type = 'numeric(10,2)', from = 'n', trim = true, empty = 'null' },\n" \
    "{ name = 'm', type = 'numeric(3,-2)', from = 'n' }, { name = 'f4', type = 'float4', from = 'n' },\n" \
    "{ name = 'f8', type = 'float8', from = 'n' }, { name = 'b', type = 'bool', from = 'b', bad = 'null' },\n" \
    "{ name = 'ts', type = 'timestamp(3)', from = 't', bad = 'null', unit = 's' },\n" \
    "{ name = 'tz', type = 'timestamptz', from = 't', bad = 'null' },\n" \
    "{ name = 'uu', type = 'uuid', from = 's', bad = 'null' }, { name = 'id', type = 'uuid', uuid = true },\n" \
    "{ name = 'js', type = 'json', from = { { path = 's', as = 'text' } }, bad = 'null' },\n" \
    "{ name = 'v', type = 'varchar(5)', from = 's' }, { name = 'w', type = 'char(2)', from = { { path = 's', as = " \
    "'number' } } },\n" \
    "{ name = 'k', type = 'text', constant = 'a\\tb' }, { name = 'df', type = 'jsonb', from = 'j', default = '[]' },\n"

static const char ndjson_plan[] =
    "return { route = { from = 'k', values = { a = 1, b = 2 } },\n"
    "dedup = { seed = 7, key = { 's', { 'n', 'i' }, 'j' }, unless_null = { 'i' } }, range = { min = '2000-01-01', "
    "max = '2030-12-31' },\n"
    "tables = { { partition = 'd', columns = { { name = 'd', type = 'date', from = 'd', not_null = true },\n" TYPED
    "{ name = 'p1', type = 'text', from = { 'ps[key=x].value.s', { path = 'ps[key=x].value.i', as = 'number' } } },\n"
    "{ name = 'p2', type = 'jsonb', from = 'ps[key~X].value' }, { name = 'p3', type = 'text', from = 'ps[name=y]' },\n"
    "{ name = 'p4', type = 'text', from = 'ps[0].value' }, { name = 'p5', type = 'text', from = 'a.b.c' },\n"
    "{ name = 'p6', type = 'text', from = { { path = 'a.b', as = 'json' } } }, { name = 'raw', type = 'jsonb', from "
    "= '.' } } },\n"
    "{ partition = 1, columns = { { name = 'd', type = 'date', from = 'd' }, { name = 's', type = 'varchar(3)', "
    "from = 's', too_long = 'reject' },\n"
    "{ name = 'raw', type = 'jsonb', from = '.' } } } } }";

static const char csv_plan[] =
    "return { csv = { columns = { 'k', 'd', 's', 'n', 'i', 'j', 'b', 't' } }, route = { from = 'k', values = { a = "
    "1, b = 2 } },\n"
    "dedup = { key = { 's' }, unless_null = { 'i' } }, tables = { { partition = 'd', columns = { { name = 'd', type "
    "= 'date', from = 'd' },\n"
    TYPED "{ name = 'raw', type = 'jsonb', from = '.' } } }, { partition = 1, columns = { { name = 'd', type = "
          "'date', from = 'd' },\n"
    "{ name = 's', type = 'varchar(3)', from = 's', too_long = 'reject' }, { name = 'raw', type = 'jsonb', from = "
    "'.' } } } } }";

static const char again_plan[] = "return { tables = { { columns = { { name = 'raw', type = 'jsonb', from = '.' } } "
                                 "} } }";

static struct fixture ndjson, csv, again;

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

static void seed(const char *dir, const char *name, const void *data, size_t len)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *out = fopen(path, "wb");
    must(out && fwrite(data, 1, len, out) == len, "seeds can be written");
    fclose(out);
}

static const char json_seed[] =
    "J{\"k\":\"a\",\"d\":\"20240105\",\"s\":\"x\\u00e9\\ud83d\\ude00\\u0000\",\"n\":12.50,\"i\":\"7\","
    "\"j\":{\"x\":null,\"y\":[null,1e999999]},\"b\":true,"
    "\"t\":1604192073036492,\"ps\":[{\"key\":\"x\",\"value\":{\"s\":null,\"i\":5}},{\"value\":1,\"name\":\"y\","
    "\"key\":\"X\"}],\"a\":{\"b\":{\"c\":\"d\"}}}\n"
    "{\"k\":\"b\",\"d\":\"2024-01-06\",\"s\":\"abcd\",\"s\":null}\r\n{\"k\":\"z\"}\n\n{\"k\":\"a\","
    "\"d\":\"20240107\",\"t\":\"2024-01-05T10:20:30.5+02:00\",\"s\":\"{}\"}";
static const char csv_seed[] =
    "Ca,20240105,\"x\"\"y\",12.50,7,\"{\"\"a\"\":null}\",true,2024-01-05 10:20\nb,2024-01-06,abc,,,,,\r\nz,,,,,,,"
    "\na,2024-01-07,\"q\nr\",1,2,[],f,0\nx,\"open\n";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    must(fixture_open(&ndjson, ndjson_plan) && fixture_open(&csv, csv_plan) && fixture_open(&again, again_plan),
        "plans open");
    struct stat st;
    const char *dir = (*argv)[*argc - 1];      /* libFuzzer's last argument: the corpus, or a file to try */
    if (dir[0] != '-' && stat(dir, &st) == 0 && S_ISDIR(st.st_mode)) {
        const char *plans[] = { ndjson_plan, csv_plan, again_plan };
        seed(dir, "json", json_seed, sizeof json_seed - 1);
        seed(dir, "csv", csv_seed, sizeof csv_seed - 1);
        for (int i = 0; i < 3; i++) {
            size_t len = 0;
            char name[16];
            uint8_t *bytes = fixture_pack(plans[i], &len), *copy = malloc(len + 1);
            must(bytes && copy, "plans pack");
            copy[0] = 'P';
            memcpy(copy + 1, bytes, len);
            snprintf(name, sizeof name, "plan%d", i);
            seed(dir, name, copy, len + 1);
            free(bytes);
            free(copy);
        }
    }
    return 0;
}

/* Takes the escapes of COPY text out of a field. */
static size_t uncopy(char *to, const char *p, const char *end)
{
    char *from = to;
    for (; p < end; p++) {
        if (*p == '\\' && p + 1 < end) {
            p++;
            *to++ = *p == 't' ? '\t' : *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p;
        } else {
            *to++ = *p;
        }
    }
    return (size_t)(to - from);
}

static void check_counts(const struct fixture *f)
{
    const struct encode_counts *c = &f->counts;
    must(c->lines == c->rows + c->other + c->range + c->rejected, "the counts add up");
}

static void check_rows(struct fixture *f)
{
    check_counts(f);
    if (f->rows.len == 0) {
        must(f->counts.rows == 0, "the rows are counted");
        return;
    }
    const char *p = f->rows.data, *end = p + f->rows.len, *tag = f->tags.data;
    uint64_t rows = 0;
    must(scan_utf8((const uint8_t *)p, f->rows.len), "rows are UTF-8");
    must(!memchr(p, 0, f->rows.len), "rows hold no NUL");
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *last = p;
        must(stop != NULL, "each row ends with a line end");
        uint32_t tabs = 0, table = (uint32_t)(*tag - '0');
        for (const char *q = p; q < stop; q++) {
            must(*q != '\r', "a carriage return is escaped");
            if (*q == '\t') {
                tabs++;
                last = q + 1;
            }
        }
        must(tabs + 1 == f->plan.tables[table].ncolumns, "each row has its columns");
        struct buf record = { 0 };
        must(buf_reserve(&record, (size_t)(stop - last) + 1), "memory");
        record.len = uncopy(record.data, last, stop);
        buf_put(&record, "\n", 1);
        fixture_clear(&again);
        must(fixture_feed_at(&again, record.data, record.len, 1, 1), "memory");
        must(again.counts.rows == 1 && again.counts.repaired == 0, "a stored record is good");
        must(again.rows.len == (size_t)(stop + 1 - last) && memcmp(again.rows.data, last, again.rows.len) == 0,
             "a stored record stays as it is");
        buf_free(&record);
        tag = (const char *)memchr(tag, ' ', f->tags.len) + 1;
        p = stop + 1;
        rows++;
    }
    must(rows == f->counts.rows, "the rows are counted");
}

static void try_plan(const uint8_t *data, size_t len)
{
    struct fixture f = { .sink = { fixture_row, fixture_reject, fixture_other } };
    if (plan_decode(data, len, &f.plan, &f.err) && (f.enc = encode_open(&f.plan, &f.err))) {
        const char *text = f.plan.format == PLAN_CSV ? csv_seed + 1 : json_seed + 1;
        if (!fixture_feed_at(&f, text, strlen(text), 1, 0))
            must(strstr(f.err.message, "memory") != NULL, "only memory makes a batch fail");
        else
            check_counts(&f);
    } else {
        must(f.err.message[0] != 0, "a refusal says why");
    }
    fixture_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    if (data[0] == 'P') {
        try_plan(data + 1, len - 1);
        return 0;
    }
    struct fixture *f = data[0] == 'C' ? &csv : &ndjson;
    fixture_clear(f);
    must(fixture_feed_at(f, (const char *)data + 1, len - 1, 1, len & 1 ? 0 : 10), "rows are well-formed");
    check_rows(f);
    return 0;
}
