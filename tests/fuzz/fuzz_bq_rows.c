/* fuzz_bq_rows.c - the page scanner of garun.bigquery against hostile and damaged answers.
 *
 * The first byte says in which steps the input is fed, the rest is the page. Held to: the steps change nothing (lines,
 * other members, rows, or the error and its place); lines and members never outgrow the page; each row is one line that
 * begins with { and ends with }. Includes the C file, for its functions below the Lua line are what is tested. */
#include "../../runtime/bind/bq_rows.c"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    bool       ok;
    char       message[1024];
    struct buf lines;
    struct scanner s;
};

static void feed(struct outcome *o, const char *page, size_t len, size_t step)
{
    struct err e;
    memset(o, 0, sizeof *o);
    o->ok = true;
    for (size_t at = 0; at < len && o->ok; at += step) {
        size_t n = len - at < step ? len - at : step;
        char *piece = malloc(n);            /* its own block, so that a read behind it is seen */
        if (!piece)
            abort();
        memcpy(piece, page + at, n);
        o->ok = scan(&o->s, piece, n, &e);
        free(piece);
        if (!o->ok)
            snprintf(o->message, sizeof o->message, "%s", e.message);
        if (!buf_put(&o->lines, o->s.out.data, o->s.row_start))
            abort();
        buf_drop(&o->s.out, o->s.row_start);
        o->s.row_start = 0;
    }
}

static void check(const struct outcome *o, size_t len)
{
    uint64_t rows = 0;
    const char *line = o->lines.data ? o->lines.data : "", *end = line + o->lines.len;
    if (o->lines.len > len || o->s.members.len > len + 2 || o->s.offset > len)
        abort();
    while (line < end) {
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        if (!nl || nl - line < 2 || *line != '{' || nl[-1] != '}')
            abort();
        line = nl + 1;
        rows++;
    }
    if (rows != o->s.rows)
        abort();
}

static void release(struct outcome *o)
{
    buf_free(&o->lines);
    buf_free(&o->s.out);
    buf_free(&o->s.members);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, parts;
    if (size < 2)
        return 0;
    const char *page = (const char *)data + 1;
    size_t len = size - 1;
    feed(&whole, page, len, len);
    feed(&parts, page, len, 1u + data[0] % 64);
    check(&whole, len);
    check(&parts, len);
    if (whole.ok != parts.ok || strcmp(whole.message, parts.message) != 0 || whole.s.rows != parts.s.rows ||
        whole.s.state != parts.s.state || whole.lines.len != parts.lines.len || whole.s.members.len != parts.s.members.len)
        abort();
    if (whole.lines.len && memcmp(whole.lines.data, parts.lines.data, whole.lines.len) != 0)
        abort();
    if (whole.s.members.len && memcmp(whole.s.members.data, parts.s.members.data, whole.s.members.len) != 0)
        abort();
    release(&whole);
    release(&parts);
    return 0;
}
