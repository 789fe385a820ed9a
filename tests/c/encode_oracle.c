/* encode_oracle.c - the encoder as a filter, for encode_oracle.py: encode_oracle PLAN.lua [ROWS] < lines. Writes what
 * it makes of standard input: rows, decoded, as "+ROW", rejects as "-LINE@OFFSET CODE ...", then "=" and the counts.
 * The file ROWS gets the rows as they are, with what makes them a COPY in binary format. */
#include "encode_fixture.h"

static void print_lines(char mark, const struct buf *b)
{
    const char *p = b->data, *end = p + b->len;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        printf("%c%.*s\n", mark, (int)(stop - p), p);
        p = stop + 1;
    }
}

static char *read_all(FILE *in, size_t *len)
{
    struct buf b = { 0 };
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, in)) > 0)
        buf_put(&b, part, n);
    buf_put(&b, "", 1);
    *len = b.len - 1;
    return b.data;
}

/* PostgreSQL manual, COPY, Binary Format */
static bool write_copy(const char *path, const struct buf *rows)
{
    static const char header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0", trailer[] = "\377\377";
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(header, 19, 1, out) == 1 && fwrite(rows->data, 1, rows->len, out) == rows->len &&
              fwrite(trailer, 2, 1, out) == 1;
    return out && fclose(out) == 0 && ok;
}

int main(int argc, char **argv)
{
    struct fixture f;
    size_t len;
    FILE *in = argc == 2 || argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!in) {
        fputs("usage: encode_oracle PLAN.lua [ROWS] < lines\n", stderr);
        return 2;
    }
    char *plan = read_all(in, &len);
    fclose(in);
    if (!fixture_open(&f, plan))
        return 1;
    free(plan);
    char *text = read_all(stdin, &len);
    if (!fixture_feed_at(&f, text, len, 1, 0)) {
        fprintf(stderr, "%s\n", f.err.message);
        return 1;
    }
    if (argc == 3 && !write_copy(argv[2], &f.binary)) {
        perror(argv[2]);
        return 1;
    }
    print_lines('+', &f.rows);
    print_lines('-', &f.rejects);
    printf("= lines %llu rows %llu other %llu range %llu rejected %llu repaired %llu cut %llu nulled %llu\n",
           (unsigned long long)f.counts.lines, (unsigned long long)f.counts.rows, (unsigned long long)f.counts.other,
           (unsigned long long)f.counts.range, (unsigned long long)f.counts.rejected,
           (unsigned long long)f.counts.repaired, (unsigned long long)f.counts.cut,
           (unsigned long long)f.counts.nulled);
    free(text);
    fixture_close(&f);
    return 0;
}
