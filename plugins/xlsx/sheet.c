/* sheet.c - the rows of one sheet: XML chunks in, batches of rows out.
 *
 * A batch is what one or a few chunks of XML hold; its memory is used again for the next one, so a sheet of a million rows
 * takes no more than one of a thousand. Owns the batch and the parser. Cells without a value are no cells, rows without
 * cells no rows. Accepts rows and cells without an r attribute: they follow the one before. Refuses references beyond
 * Excel's limits, texts above CELL_MAX and rows above ROW_MAX. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "xlsx.h"

enum {
    CELL_MAX = 1 << 20,              /* Excel's own limit is 32767 characters */
    ROW_MAX = 64 << 20,
    ROW_CELLS_MAX = 2 * XLSX_COLUMNS,
    BATCH_KEEP = 4 << 20,            /* bytes of a batch that are kept for the next one */
};

static void no_memory(struct xml *x)
{
    xml_fail(x, "ENOMEM", "not enough memory");
}

/* ---- rows ---- */

static void begin_row(struct sheet *s, struct xml *x, const char **atts)
{
    const char *r = xml_att(atts, "r", false);
    unsigned long number = (unsigned long)s->last_row + 1;

    if (r) {
        char *end;
        errno = 0;
        number = strtoul(r, &end, 10);
        if (*r < '0' || *r > '9' || *end || errno)
            number = 0;
    }
    if (number < 1 || number > XLSX_ROWS) {
        xml_fail(x, "reference", "a row number '%.40s' behind row %u is not from 1 to %d", r ? r : "(none)", s->last_row,
                 XLSX_ROWS);
        return;
    }
    s->last_row = (uint32_t)number;
    x->row = s->last_row;
    s->in_row = true;
    s->column = 0;
    s->row_first = (uint32_t)s->cells_n;
    s->row_bytes = s->bytes.len;
}

static void end_row(struct sheet *s, struct xml *x)
{
    uint32_t width = 0;

    s->in_row = false;
    if (s->cells_n == s->row_first)
        return;
    for (size_t i = s->row_first; i < s->cells_n; i++) {
        if (s->cells[i].column >= width)
            width = s->cells[i].column + 1;
    }
    if (!list_reserve((void **)&s->rows, &s->cap, s->n, sizeof *s->rows)) {
        no_memory(x);
        return;
    }
    s->rows[s->n++] = (struct row){ s->last_row, s->row_first, (uint32_t)(s->cells_n - s->row_first), width };
}

/* ---- cells ---- */

/* The column of "AB12", from 0; -1 when it is none. */
static int column_of(const char *r)
{
    int column = 0;
    for (; (*r >= 'A' && *r <= 'Z') || (*r >= 'a' && *r <= 'z'); r++) {
        column = column * 26 + (*r | 0x20) - 'a' + 1;
        if (column > XLSX_COLUMNS)
            return -1;
    }
    return column > 0 && *r >= '0' && *r <= '9' ? column - 1 : -1;
}

static char type_of(const char *t)
{
    if (!t || strcmp(t, "n") == 0)
        return 'n';
    if (strcmp(t, "inlineStr") == 0)
        return 'i';
    if (strcmp(t, "str") == 0)
        return 't';
    return strlen(t) == 1 && strchr("sbed", *t) ? *t : '?';
}

static void begin_cell(struct sheet *s, struct xml *x, const char **atts)
{
    const char *r = xml_att(atts, "r", false), *style = s->typed ? xml_att(atts, "s", false) : NULL;

    if (r) {
        int column = column_of(r);
        if (column < 0) {
            xml_fail(x, "reference", "the cell reference '%.40s' is none, or beyond column XFD", r);
            return;
        }
        s->column = (uint32_t)column;
    } else if (s->column >= XLSX_COLUMNS) {
        xml_fail(x, "reference", "there are more than %d cells in the row", XLSX_COLUMNS);
        return;
    }
    const char *t = xml_att(atts, "t", false);
    s->type = type_of(t);
    if (s->type == '?') {
        xml_fail(x, "cell", "column %u has a cell of unknown type '%.40s'", s->column + 1, t);
        return;
    }
    s->style = style ? (uint32_t)strtoul(style, NULL, 10) : 0;
    s->in_cell = true;
    s->has_value = s->has_formula = false;
    s->value.len = 0;
}

static struct cell *new_cell(struct sheet *s, struct xml *x, enum cell_kind kind)
{
    if (s->cells_n - s->row_first >= ROW_CELLS_MAX || s->bytes.len - s->row_bytes > ROW_MAX) {
        xml_fail(x, "row", "the row has more than %d cells or %d bytes", ROW_CELLS_MAX, ROW_MAX);
        return NULL;
    }
    if (!list_reserve((void **)&s->cells, &s->cells_cap, s->cells_n, sizeof *s->cells)) {
        no_memory(x);
        return NULL;
    }
    struct cell *c = &s->cells[s->cells_n++];
    *c = (struct cell){ .column = s->column, .at = (uint32_t)s->bytes.len, .kind = (uint8_t)kind };
    return c;
}

static void put_text(struct sheet *s, struct xml *x, enum cell_kind kind, const char *text, size_t n)
{
    struct cell *c = new_cell(s, x, kind);
    if (!c)
        return;
    if (!bytes_put(&s->bytes, text, n))
        no_memory(x);
    c->len = (uint32_t)n;
}

static void put_number(struct sheet *s, struct xml *x)
{
    char fixed[256], iso[40], *out = fixed, *large = NULL;
    size_t n;
    uint8_t kind = s->typed && s->style < s->book->styles.n ? s->book->styles.kinds[s->style] : 0;

    if (!bytes_put(&s->value, "", 1)) {          /* a NUL for strtod */
        no_memory(x);
        return;
    }
    s->value.len--;
    if (s->value.len + 40 > sizeof fixed) {
        out = large = malloc(s->value.len + 40);
        if (!out) {
            no_memory(x);
            return;
        }
    }
    n = text_number(s->value.data, s->value.len, out);
    if (n == 0) {                                /* not a number after all: nothing is lost when it is text */
        put_text(s, x, CELL_TEXT, s->value.data, s->value.len);
    } else {
        size_t iso_n = kind ? dates_print(strtod(s->value.data, NULL), kind, s->book->base_1904, iso) : 0;
        if (iso_n)
            put_text(s, x, CELL_TEXT, iso, iso_n);
        else
            put_text(s, x, CELL_NUMBER, out, n);
    }
    free(large);
}

static void put_shared(struct sheet *s, struct xml *x)
{
    const struct strings *strings = &s->book->strings;
    size_t number = 0, i = 0;

    for (; i < s->value.len && s->value.data[i] >= '0' && s->value.data[i] <= '9' && number <= UINT32_MAX; i++)
        number = number * 10 + (size_t)(s->value.data[i] - '0');
    if (i == 0 || i < s->value.len || number >= strings->n) {
        xml_fail(x, "shared_string", "column %u refers to shared string '%.*s', and there are %zu of them", s->column + 1,
                 s->value.len < 20 ? (int)s->value.len : 20, s->value.data ? s->value.data : "", strings->n);
        return;
    }
    struct cell *c = new_cell(s, x, CELL_SHARED);
    if (c)
        c->at = (uint32_t)number;
}

/* White space around the value of anything but a string is the writer's own indentation. */
static void trim_value(struct sheet *s)
{
    size_t blank = 0;
    while (s->value.len && strchr(" \t\r\n", s->value.data[s->value.len - 1]))
        s->value.len--;
    while (blank < s->value.len && strchr(" \t\r\n", s->value.data[blank]))
        blank++;
    if (blank) {
        s->value.len -= blank;
        memmove(s->value.data, s->value.data + blank, s->value.len);
    }
}

static void end_cell(struct sheet *s, struct xml *x)
{
    bool text = s->type == 'i' || s->type == 't';

    s->in_cell = false;
    if (s->has_formula && (!s->has_value || (s->value.len == 0 && s->type != 't')))
        s->uncalculated++;
    if (s->has_value && !text)
        trim_value(s);
    if (s->has_value && (text || s->value.len > 0)) {
        char *v = s->value.data;
        switch (s->type) {
        case 'n':
            put_number(s, x);
            break;
        case 's':
            put_shared(s, x);
            break;
        case 'b':
            new_cell(s, x, *v == '1' || *v == 't' ? CELL_TRUE : CELL_FALSE);
            break;
        case 'e':
            if (!s->drop_errors)
                put_text(s, x, CELL_TEXT, v, s->value.len);
            break;
        case 'd':
            put_text(s, x, CELL_TEXT, v, s->value.len);
            break;
        default:
            put_text(s, x, CELL_TEXT, v, v ? text_unescape(v, s->value.len) : 0);
            break;
        }
    }
    s->column++;
}

/* ---- XML ---- */

static bool on_start(struct xml *x, const char *name, const char **atts)
{
    struct sheet *s = x->owner;

    if (s->in_cell) {
        if (strcmp(name, "v") == 0)
            s->in_value = s->has_value = true;
        else if (strcmp(name, "f") == 0)
            s->has_formula = true;           /* its text is of no interest, but a start handler's false would skip it */
        else if (strcmp(name, "is") == 0)
            s->in_inline = s->has_value = true;
        else if (s->in_inline && strcmp(name, "t") == 0)
            s->in_text = true;
        else if (!s->in_inline || strcmp(name, "r") != 0)
            return false;                    /* phonetic runs, run properties, extensions */
        return true;
    }
    if (s->in_row) {
        if (strcmp(name, "c") != 0)
            return false;
        begin_cell(s, x, atts);
        return true;
    }
    if (strcmp(name, "row") == 0) {
        begin_row(s, x, atts);
        return true;
    }
    return strcmp(name, "sheetData") == 0 || strcmp(name, "worksheet") == 0;
}

static void on_end(struct xml *x, const char *name)
{
    struct sheet *s = x->owner;

    if (s->in_cell) {
        if (strcmp(name, "c") == 0)
            end_cell(s, x);
        else if (strcmp(name, "v") == 0)
            s->in_value = false;
        else if (strcmp(name, "t") == 0)
            s->in_text = false;
        else if (strcmp(name, "is") == 0)
            s->in_inline = false;
    } else if (s->in_row) {
        end_row(s, x);
        x->row = 0;
    }
}

static void on_text(struct xml *x, const char *text, int n)
{
    struct sheet *s = x->owner;

    if (!s->in_value && !s->in_text)
        return;
    if (s->value.len + (size_t)n > CELL_MAX)
        xml_fail(x, "cell", "column %u has more than %d bytes of text", s->column + 1, CELL_MAX);
    else if (!bytes_put(&s->value, text, (size_t)n))
        no_memory(x);
}

/* ---- batches ---- */

/* What all sheets share, loaded by whoever reads first. */
static bool load_shared(struct sheet *s, struct garun_error *e)
{
    struct book *b = s->book;
    bool ok = true;

    pthread_mutex_lock(&b->lock);
    if (b->strings_part && !b->strings.loaded)
        ok = strings_load(&b->strings, &b->box, b->strings_part, &s->stop, e);
    if (ok && s->typed && b->styles_part && !b->styles.loaded)
        ok = styles_load(&b->styles, &b->box, b->styles_part, e);
    pthread_mutex_unlock(&b->lock);
    return ok;
}

static bool open_sheet(struct sheet *s, struct garun_error *e)
{
    const struct sheet_entry *entry = &s->book->sheets[s->index];
    char where[XLSX_NAME_MAX * 2];

    snprintf(where, sizeof where, "%s: sheet '%.*s'", s->book->box.name, XLSX_NAME_MAX - 20, entry->name);
    s->open = true;
    s->xml.start = on_start;
    s->xml.end = on_end;
    s->xml.text = on_text;
    s->xml.owner = s;
    return load_shared(s, e) && xml_open(&s->xml, &s->book->box, entry->part, where, e);
}

/* Empties the batch; what belongs to an unfinished row moves to its front. */
static void next_batch(struct sheet *s)
{
    if (!s->in_row) {
        s->row_first = (uint32_t)s->cells_n;
        s->row_bytes = s->bytes.len;
    }
    size_t cells = s->cells_n - s->row_first, bytes = s->bytes.len - s->row_bytes;
    if (cells && s->row_first)
        memmove(s->cells, s->cells + s->row_first, cells * sizeof *s->cells);
    for (size_t i = 0; i < cells; i++) {
        if (s->cells[i].kind != CELL_SHARED)
            s->cells[i].at -= (uint32_t)s->row_bytes;
    }
    if (bytes && s->row_bytes)
        memmove(s->bytes.data, s->bytes.data + s->row_bytes, bytes);
    s->cells_n = cells;
    s->bytes.len = bytes;
    s->row_first = 0;
    s->row_bytes = 0;
    s->n = s->taken = 0;
    if (bytes == 0 && s->bytes.cap > BATCH_KEEP)
        bytes_free(&s->bytes);
}

bool sheet_fill(struct sheet *s, struct garun_error *e)
{
    if (!s->open && !open_sheet(s, e))
        return false;
    next_batch(s);
    while (s->n == 0 && !s->done) {
        if (atomic_load(&s->stop))
            return s->book->api->set(e, "xlsx", "closed", "%s: given up", s->xml.where);
        int r = xml_step(&s->xml, e);
        if (r < 0)
            return false;
        s->done = r == 0;
    }
    if (s->done)
        xml_close(&s->xml);
    return true;
}

void sheet_release(struct sheet *s)
{
    if (!s || --s->refs > 0)
        return;
    xml_close(&s->xml);
    book_release(s->book);
    free(s->rows);
    free(s->cells);
    bytes_free(&s->bytes);
    bytes_free(&s->value);
    free(s);
}
