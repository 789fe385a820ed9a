/* csv_parser.c - the state machine of csv_parser.h.
 *
 * RFC 4180 with what files really hold: LF and CR line ends, a byte order mark, no line end after the last row. Stray
 * quotes are errors unless asked for: they are how a shifted quote turns ten rows into one. Columns are counted in
 * bytes from 1, as `cut -b` and `head -c` do, for the characters of an earlier chunk are gone. */
#include <stdio.h>
#include <stdlib.h>
#include "bind/csv_parser.h"

enum { FIRST_FIELDS = 32, MAX_FIELDS = 100000 };

void csv_feed(struct csv_parser *p, const char *chunk, size_t len)
{
    p->in = chunk;
    p->end = chunk + len;
    p->ended = len == 0;
    if (p->line == 0)
        p->line = 1;
}

void csv_free(struct csv_parser *p)
{
    buf_free(&p->row);
    free(p->fields);
    p->fields = NULL;
    p->nfields = p->cap = 0;
    p->in = p->end = NULL;
}

static uint64_t column(const struct csv_parser *p) { return p->offset - p->line_offset + 1; }

static enum csv_result fail(const struct csv_parser *p, struct err *e, const char *code, const char *what)
{
    err_set(e, "csv", code, "line %llu, byte %llu, field %zu: %s", (unsigned long long)p->line,
            (unsigned long long)column(p), p->nfields + 1, what);
    return CSV_FAILED;
}

/* What kept end_field from taking one more field. */
static enum csv_result fail_field(const struct csv_parser *p, struct err *e)
{
    if (p->nfields >= MAX_FIELDS)
        return fail(p, e, "size", "a row with more fields than this reader takes (100000)");
    return fail(p, e, "memory", "not enough memory for this row");
}

static enum csv_result fail_memory(const struct csv_parser *p, struct err *e)
{
    return fail(p, e, "memory", "not enough memory for this row");
}

static enum csv_result fail_size(const struct csv_parser *p, struct err *e)
{
    fail(p, e, "size", "the row is longer than option max_row allows");
    if (p->state == CSV_IN_QUOTES)
        snprintf(e->hint, sizeof e->hint, "the quote that opens at line %llu, byte %llu may never have been closed",
                 (unsigned long long)p->quote_line, (unsigned long long)p->quote_column);
    return CSV_FAILED;
}

static enum csv_result fail_unclosed(const struct csv_parser *p, struct err *e)
{
    err_set(e, "csv", "quote",
            "line %llu, byte %llu, field %zu: the quote that opens here is never closed; the text ends at line %llu",
            (unsigned long long)p->quote_line, (unsigned long long)p->quote_column, p->nfields + 1,
            (unsigned long long)p->line);
    return CSV_FAILED;
}

/* Moves n bytes on; none of them is a line end. */
static void skip(struct csv_parser *p, size_t n)
{
    p->in += n;
    p->offset += n;
}

/* Moves behind the line end at the current place. */
static void skip_line(struct csv_parser *p)
{
    skip(p, 1);
    p->line++;
    p->line_offset = p->offset;
}

static bool is_space(const struct csv_parser *p, char c)
{
    return (c == ' ' || c == '\t') && c != p->delimiter;
}

/* Closes the field that ends where the row's bytes end; false: see fail_field. */
static bool end_field(struct csv_parser *p)
{
    if (p->nfields >= MAX_FIELDS)
        return false;
    if (p->nfields == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : FIRST_FIELDS;
        struct csv_field *fields = realloc(p->fields, cap * sizeof *fields);
        if (!fields)
            return false;
        p->fields = fields;
        p->cap = cap;
    }
    size_t len = p->row.len - p->field_start;
    if (p->trim && !p->quoted) {
        while (len > 0 && is_space(p, p->row.data[p->field_start + len - 1]))
            len--;
    }
    p->fields[p->nfields++] = (struct csv_field){ .start = p->field_start, .len = len, .quoted = p->quoted };
    return true;
}

static void begin_field(struct csv_parser *p)
{
    p->field_start = p->row.len;
    p->quoted = false;
    p->state = CSV_AT_FIELD;
}

/* Appends n bytes to the field. */
static bool put(struct csv_parser *p, struct err *e, const char *s, size_t n)
{
    if (n > p->max_row || p->row.len > p->max_row - n) {
        fail_size(p, e);
        return false;
    }
    if (!buf_put(&p->row, s, n)) {
        fail_memory(p, e);
        return false;
    }
    return true;
}

/* Whether the row just closed counts: it is not a blank line. */
static bool is_row(const struct csv_parser *p)
{
    return p->keep_blank || p->nfields > 1 || p->fields[0].len > 0 || p->fields[0].quoted;
}

/* The byte order mark: skipped when it is UTF-8's, refused when it is UTF-16's. */
static enum csv_result read_start(struct csv_parser *p, struct err *e)
{
    static const char mark[] = "\xEF\xBB\xBF";

    if (p->text && p->bom == 0 && p->end - p->in >= 2
        && (memcmp(p->in, "\xFF\xFE", 2) == 0 || memcmp(p->in, "\xFE\xFF", 2) == 0)) {
        fail(p, e, "utf8", "the text is UTF-16");
        snprintf(e->hint, sizeof e->hint, "convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)");
        return CSV_FAILED;
    }
    while (p->bom < 3 && p->in < p->end && *p->in == mark[p->bom]) {
        p->bom++;
        skip(p, 1);
    }
    if (p->bom > 0 && p->bom < 3 && p->in == p->end && !p->ended)
        return CSV_MORE;
    p->state = CSV_AT_ROW;
    if (p->bom == 3) {
        p->line_offset = p->offset;     /* the first column is behind the mark */
    } else if (p->bom > 0) {            /* no mark after all: its beginning is text */
        p->row_line = p->line;
        p->field_start = 0;
        p->state = CSV_IN_PLAIN;
        if (!put(p, e, mark, (size_t)p->bom))
            return CSV_FAILED;
    }
    return CSV_ROW;
}

/* Takes bytes of a field without quotes; the byte that ends them stays. */
static bool read_plain(struct csv_parser *p, struct err *e)
{
    const char *s = p->in;
    while (s < p->end && *s != p->delimiter && *s != '\n' && *s != '\r'
           && (*s != p->quote || p->lax || p->quote == '\0'))
        s++;
    size_t n = (size_t)(s - p->in);
    if (!put(p, e, p->in, n))
        return false;
    skip(p, n);
    if (s < p->end && *s == p->quote && p->quote && !p->lax) {
        fail(p, e, "quote", "a quote within a field that does not begin with one");
        snprintf(e->hint, sizeof e->hint, "fields that hold quotes are quoted and their quotes doubled; option "
                 "lax = true takes such text as it is");
        return false;
    }
    return true;
}

/* Takes bytes between quotes up to and with the next quote. Line ends belong to the field and count as lines. */
static bool read_quoted(struct csv_parser *p, struct err *e)
{
    size_t left = (size_t)(p->end - p->in);
    const char *stop = memchr(p->in, p->quote, left);
    size_t n = stop ? (size_t)(stop - p->in) : left;
    if (!put(p, e, p->in, n))
        return false;
    for (const char *s = p->in, *end = s + n; (s = memchr(s, '\n', (size_t)(end - s))) != NULL; s++) {
        p->line++;
        p->line_offset = p->offset + (uint64_t)(s - p->in) + 1;
    }
    skip(p, n);
    if (stop) {
        skip(p, 1);
        p->state = CSV_AFTER_QUOTE;
    }
    return true;
}

/* The byte after a quote that may have closed the field. */
static bool read_after_quote(struct csv_parser *p, struct err *e)
{
    char c = *p->in;
    if (c == p->quote) {        /* doubled: a quote of the text */
        skip(p, 1);
        p->state = CSV_IN_QUOTES;
        return put(p, e, &c, 1);
    }
    if (p->trim && is_space(p, c)) {
        skip(p, 1);
        return true;
    }
    if (!p->lax) {
        fail(p, e, "quote", "text after the closing quote; expected the delimiter or the end of the line");
        snprintf(e->hint, sizeof e->hint, "the quote opens at line %llu, byte %llu; quotes within a field are doubled",
                 (unsigned long long)p->quote_line, (unsigned long long)p->quote_column);
        return false;
    }
    p->state = CSV_IN_PLAIN;
    return true;
}

/* What closes a field in any state but within quotes. True when the byte was one of them; *row when it ends the row. */
static bool read_end(struct csv_parser *p, bool *ok, bool *row)
{
    char c = *p->in;
    *row = c == '\n' || c == '\r';
    *ok = true;
    if (c != p->delimiter && !*row)
        return false;
    *ok = end_field(p);
    if (!*row) {
        skip(p, 1);
        begin_field(p);
    } else if (c == '\n') {
        skip_line(p);
        p->state = CSV_AT_ROW;
    } else {
        skip(p, 1);
        p->state = CSV_AFTER_CR;
    }
    return true;
}

/* The end of the text: the last row needs no line end. */
static enum csv_result read_eof(struct csv_parser *p, struct err *e)
{
    if (p->state == CSV_IN_QUOTES)
        return fail_unclosed(p, e);
    bool open = p->state == CSV_AT_FIELD || p->state == CSV_IN_PLAIN || p->state == CSV_AFTER_QUOTE;
    if (!open)
        return CSV_END;
    if (!end_field(p))
        return fail_field(p, e);
    p->state = CSV_AT_ROW;
    return is_row(p) ? CSV_ROW : CSV_END;
}

enum csv_result csv_next(struct csv_parser *p, struct err *e)
{
    for (;;) {
        if (p->state == CSV_AT_START && (p->in < p->end || p->ended)) {
            enum csv_result r = read_start(p, e);
            if (r != CSV_ROW)
                return r;
        }
        if (p->in == p->end)
            return p->ended ? read_eof(p, e) : CSV_MORE;

        bool ok = true, row = false;
        switch (p->state) {
        case CSV_AFTER_CR:      /* CR LF is one line end, CR alone another */
            if (*p->in == '\n')
                skip(p, 1);
            p->line++;
            p->line_offset = p->offset;
            p->state = CSV_AT_ROW;
            break;
        case CSV_AT_START:
        case CSV_AT_ROW:
            p->nfields = 0;
            p->row.len = 0;
            p->row_line = p->line;
            begin_field(p);
            break;
        case CSV_AT_FIELD:
            if (read_end(p, &ok, &row))
                break;
            if (p->trim && is_space(p, *p->in)) {
                skip(p, 1);
            } else if (p->quote && *p->in == p->quote) {
                p->quote_line = p->line;
                p->quote_column = column(p);
                p->quoted = true;
                p->state = CSV_IN_QUOTES;
                skip(p, 1);
            } else {
                p->state = CSV_IN_PLAIN;
            }
            break;
        case CSV_IN_PLAIN:
            if (!read_plain(p, e))
                return CSV_FAILED;
            if (p->in < p->end)
                read_end(p, &ok, &row);
            break;
        case CSV_IN_QUOTES:
            if (!read_quoted(p, e))
                return CSV_FAILED;
            break;
        case CSV_AFTER_QUOTE:
            if (!read_end(p, &ok, &row) && !read_after_quote(p, e))
                return CSV_FAILED;
            break;
        }
        if (!ok)
            return fail_field(p, e);
        if (row && is_row(p))
            return CSV_ROW;
    }
}
