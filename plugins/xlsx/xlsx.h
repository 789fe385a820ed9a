/* xlsx.h - what the files of the xlsx plugin know of each other.
 *
 * Below the Lua line nothing here touches Lua or waits: it runs on a thread, on memory of its own. */
#ifndef XLSX_H
#define XLSX_H

#include <expat.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include <zip.h>
#include "garun_plugin.h"

enum {
    XLSX_ROWS = 1048576,          /* of a sheet, and its columns (ECMA-376; Excel's limits) */
    XLSX_COLUMNS = 16384,
    XLSX_TEXT_MAX = 32767,        /* UTF-16 units of a cell's text */
    XLSX_NAME_MAX = 256,          /* bytes of a name in messages */
};

/* ---- bytes.c: growable bytes ---- */

struct bytes {
    char  *data;
    size_t len, cap;
};

bool bytes_reserve(struct bytes *b, size_t n);
bool bytes_put(struct bytes *b, const void *p, size_t n);
void bytes_free(struct bytes *b);

/* Doubles *list (elements of `size` bytes) until index n fits. false when memory is short. */
bool list_reserve(void **list, size_t *cap, size_t n, size_t size);

/* ---- box.c: the zip archive, its bounds, and what to say when it is none ---- */

struct box {
    const struct garun_plugin_api *api;
    zip_t          *zip;
    void           *data;              /* owned: the archive's bytes when it is no file */
    char            name[XLSX_NAME_MAX];
    pthread_mutex_t lock;              /* libzip's: two sheets may be read on two threads */
    uint64_t        max_bytes;         /* what a part may inflate to */
    double          max_ratio;
};

/* Opens the file, or the malloc'ed data (taken over). name is for messages. lock must be initialised. */
bool box_open(struct box *b, const char *path, void *data, size_t len, struct garun_error *e);
void box_close(struct box *b);
bool box_has(struct box *b, const char *part);

/* Says into *e what an archive is that has no workbook in it. Returns false. */
bool box_no_workbook(struct box *b, struct garun_error *e);

struct part {
    struct box *box;
    zip_file_t *file;
    uint64_t    packed, made;          /* compressed size; bytes inflated so far */
    char        name[XLSX_NAME_MAX];
};

bool    part_open(struct part *p, struct box *b, const char *name, struct garun_error *e);
ssize_t part_read(struct part *p, void *out, size_t n, struct garun_error *e);     /* 0 at the end, -1 on failure */
void    part_close(struct part *p);

/* ---- xml.c: one part as XML, chunk by chunk ---- */

struct xml {
    const struct garun_plugin_api *api;
    XML_Parser  parser;
    struct part part;
    char        where[XLSX_NAME_MAX * 2];  /* "book.xlsx: sheet 'Users'": begins every message */
    unsigned    row;                       /* for messages; 0 = not in a row */
    unsigned    depth, skip;               /* skip: depth of the element whose inside is passed over, 0 = none */
    uint64_t    fed;
    bool        failed, ended;
    const char *ns;                        /* the namespace of the last element, one of the known ones */
    size_t      ns_len;
    struct garun_error *e;                 /* of the step under way */

    /* Names are local ones, of SpreadsheetML or package relationships; elements of other namespaces are passed over
     * with all that is in them. A handler fails by xml_fail. start returns false to have the element passed over. */
    bool (*start)(struct xml *x, const char *name, const char **atts);
    void (*end)(struct xml *x, const char *name);
    void (*text)(struct xml *x, const char *s, int n);
    void *owner;
};

bool xml_open(struct xml *x, struct box *b, const char *part, const char *where, struct garun_error *e);
void xml_close(struct xml *x);

/* Parses the next chunk: 1 = there is more, 0 = the end, -1 = *e. After -1 only xml_close is allowed. */
int  xml_step(struct xml *x, struct garun_error *e);

/* Parses to the end; gives up (code "closed") when *stop becomes true. */
bool xml_all(struct xml *x, const atomic_bool *stop, struct garun_error *e);

/* From a handler: the part is refused. The message is the text behind "where[, row N]: ". */
void xml_fail(struct xml *x, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The attribute's value or NULL; name without namespace finds those without, and with `qualified` those of any. */
const char *xml_att(const char **atts, const char *name, bool qualified);

/* ---- text.c ---- */

/* Undoes _xHHHH_ in place (ST_Xstring); the new length. */
size_t text_unescape(char *s, size_t n);

/* A number as text: digits only when it is whole ("123.0", "1.23E+5"), else as it is. out takes at most n + 40 bytes.
 * The length written, 0 when s is no number. */
size_t text_number(const char *s, size_t n, char *out);

/* ---- styles.c: which cells are dates ---- */

enum { STYLE_DATE = 1, STYLE_TIME = 2, STYLE_ELAPSED = 4 };

struct styles {
    uint8_t *kinds;               /* of each cell format */
    size_t   n, cap;
    bool     loaded;
};

bool    styles_load(struct styles *s, struct box *b, const char *part, struct garun_error *e);
void    styles_free(struct styles *s);
uint8_t styles_kind_of(const char *format);      /* of a number format's code */

/* ---- dates.c ---- */

/* The ISO text of a serial number into out[40]; 0 when there is no such day. */
size_t dates_print(double serial, uint8_t kind, bool base_1904, char *out);

/* The serial number of "YYYY-MM-DD", "YYYY-MM-DD HH:MM[:SS[.fff]]" (or with T, and a Z or offset that is dropped: a
 * sheet knows no zones). false when s is none of them. */
bool dates_parse(const char *s, size_t n, double *serial, bool *has_time);

/* ---- strings.c: the shared strings, in one run of bytes ---- */

struct strings {
    struct bytes bytes;
    uint32_t    *ends;            /* of each string, in bytes */
    size_t       n, cap, max;     /* max: bytes of both together */
    bool         loaded;
};

bool strings_load(struct strings *s, struct box *b, const char *part, const atomic_bool *stop, struct garun_error *e);
void strings_free(struct strings *s);

/* ---- book.c: the workbook and its sheets ---- */

struct sheet_entry {
    char   *name, *part;          /* owned; part is NULL for a sheet without cells (a chart) */
    uint8_t hidden;               /* 0 visible, 1 hidden, 2 veryHidden */
};

struct book {
    const struct garun_plugin_api *api;
    unsigned        refs;         /* counted on garun's thread only */
    struct box      box;
    char           *path;         /* owned; NULL when box.data is the archive */
    void           *data;         /* owned until book_load hands it to the box */
    size_t          data_len;
    struct sheet_entry *sheets;
    size_t          n, cap;
    char           *strings_part, *styles_part;      /* owned, or NULL */
    bool            base_1904;
    pthread_mutex_t lock;         /* of what is loaded when the first sheet is read */
    struct strings  strings;
    struct styles   styles;
};

bool book_load(struct book *b, struct garun_error *e);
void book_release(struct book *b);

/* ---- sheet.c: rows of one sheet, in batches ---- */

enum cell_kind { CELL_TEXT, CELL_NUMBER, CELL_SHARED, CELL_TRUE, CELL_FALSE };

struct cell {
    uint32_t column;              /* from 0 */
    uint32_t at, len;             /* in the batch's bytes; CELL_SHARED: at is the string's number */
    uint8_t  kind;
};

struct row {
    uint32_t number;              /* from 1 */
    uint32_t first, cells;        /* in the batch's cells */
    uint32_t width;               /* the last column + 1 */
};

struct sheet {
    struct book *book;            /* a reference */
    unsigned     refs;            /* counted on garun's thread only */
    size_t       index;
    bool         typed, drop_errors;
    atomic_bool  stop;            /* set by garun's thread: nobody wants more */
    bool         open, done;
    struct xml   xml;
    /* The batch: rows[taken .. n) are complete and not yet given out. */
    struct row  *rows;
    size_t       n, cap, taken;
    struct cell *cells;
    size_t       cells_n, cells_cap;
    struct bytes bytes;
    uint64_t     uncalculated;    /* formulas without a value so far */
    /* The row and cell that are being read. */
    uint32_t     last_row, column, row_first;
    size_t       row_bytes;
    bool         in_row, in_cell, in_value, in_inline, in_text, has_value, has_formula;
    char         type;            /* of the cell: n s b e d i (inlineStr) t (str) */
    uint32_t     style;
    struct bytes value;
};

/* Fills the batch with at least one row, or sets done. */
bool sheet_fill(struct sheet *s, struct garun_error *e);
void sheet_release(struct sheet *s);

/* ---- the Lua side ---- */

static inline const struct garun_plugin_api *l_api(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

void reader_open(lua_State *L, const struct garun_plugin_api *api);     /* adds open to the table on top */
void writer_open(lua_State *L, const struct garun_plugin_api *api);     /* adds writer */

#endif
