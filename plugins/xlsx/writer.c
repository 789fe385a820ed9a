/* writer.c - the Lua side of writing: rows into a buffer, and the buffer through libxlsxwriter on a thread.
 *
 * Owns the workbook in the making, in constant-memory mode: each sheet's rows go to a temporary file of the library's, and
 * finish() puts them into the archive, beside the target, and renames. Options, titles and names of sheets are checked in
 * xlsx.lua. A string is a string cell, whatever it begins with. Refuses what a sheet cannot hold: more than 1,048,576
 * rows, texts above 32,767 characters, broken UTF-8, NaN. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xlsxwriter.h>
#include "xlsx.h"

#define WRITER "xlsx.core.writer"

enum { FLUSH_AT = 256 << 10, SHEETS_MAX = 1024, WIDTH_MAX = 60 };

enum value_kind { VALUE_ANY, VALUE_TEXT, VALUE_NUMBER, VALUE_DATE };

/* One cell in the buffer; text cells are followed by their bytes with a NUL. */
struct item {
    uint32_t sheet, row, text_len;
    uint16_t column;
    uint8_t  kind;            /* 's', 'n', 'b' */
    double   number;
    lxw_format *format;
};

struct column {
    uint8_t     kind;
    uint8_t     width;        /* widest text so far, in characters */
    double      fixed;        /* the width asked for, 0 = by the text */
    lxw_format *format;
};

struct out_sheet {
    lxw_worksheet *sheet;     /* the workbook's */
    struct column *columns;   /* owned */
    size_t         n, cap;
    uint32_t       rows;
    bool           freeze, autofilter, header;
    char           name[XLSX_NAME_MAX];
};

struct writer {
    const struct garun_plugin_api *api;
    unsigned      refs;       /* counted on garun's thread only */
    lxw_workbook *book;
    char         *path, *temp, *dir;      /* owned: the target, the file beside it, and their directory */
    struct out_sheet *sheets;
    size_t        n, cap;
    struct bytes  pending;
};

struct writer_box {
    struct writer *w;         /* NULL when closed */
    bool           busy;
};

struct job {
    struct garun_work  work;
    struct writer     *w;     /* a reference */
    bool               finish, ok;
    struct garun_error e;
};

/* ---- on the thread ---- */

static bool fail_lxw(struct writer *w, lxw_error code, struct garun_error *e)
{
    int errnum = errno;
    bool io = code == LXW_ERROR_CREATING_XLSX_FILE || code == LXW_ERROR_CREATING_TMPFILE ||
              code == LXW_ERROR_READING_TMPFILE || code == LXW_ERROR_ZIP_FILE_OPERATION || code == LXW_ERROR_ZIP_FILE_ADD;
    if (io && errnum)
        return w->api->set_errno(e, "xlsx", errnum, "xlsx.writer: cannot write %s", w->path);
    return w->api->set(e, "xlsx", code == LXW_ERROR_MEMORY_MALLOC_FAILED ? "ENOMEM" : "write",
                       "xlsx.writer: cannot write %s: %s", w->path, lxw_strerror(code));
}

static bool flush_pending(struct writer *w, struct garun_error *e)
{
    size_t at = 0;
    lxw_error r = LXW_NO_ERROR;

    while (at < w->pending.len && r == LXW_NO_ERROR) {
        struct item it;
        memcpy(&it, w->pending.data + at, sizeof it);
        at += sizeof it;
        lxw_worksheet *sheet = w->sheets[it.sheet].sheet;
        errno = 0;
        if (it.kind == 's') {
            r = worksheet_write_string(sheet, it.row, it.column, w->pending.data + at, it.format);
            at += it.text_len + 1;
        } else if (it.kind == 'b') {
            r = worksheet_write_boolean(sheet, it.row, it.column, it.number != 0, it.format);
        } else {
            r = worksheet_write_number(sheet, it.row, it.column, it.number, it.format);
        }
        /* The library does not look whether its temporary file took what it wrote. */
        if (r == LXW_NO_ERROR && sheet->optimize_tmpfile && ferror(sheet->optimize_tmpfile))
            r = LXW_ERROR_READING_TMPFILE;
    }
    w->pending.len = 0;
    return r == LXW_NO_ERROR || fail_lxw(w, r, e);
}

static void set_layout(struct out_sheet *s)
{
    for (size_t i = 0; i < s->n; i++) {
        double width = s->columns[i].fixed > 0 ? s->columns[i].fixed : s->columns[i].width + 2.0;
        if (width < 8.43 && s->columns[i].fixed <= 0)
            width = 8.43;
        worksheet_set_column(s->sheet, (lxw_col_t)i, (lxw_col_t)i, width, NULL);
    }
    if (s->freeze)
        worksheet_freeze_panes(s->sheet, 1, 0);
    if (s->autofilter && s->n && s->rows)
        worksheet_autofilter(s->sheet, 0, 0, s->rows - 1, (lxw_col_t)(s->n - 1));
}

/* Whether each sheet in the archive has all its rows: the library copies its temporary files without looking at errors,
 * so a full disk would make a workbook that is cut and valid. */
static bool check_archive(struct writer *w, const uint64_t *least, struct garun_error *e)
{
    int code;
    zip_t *zip = zip_open(w->temp, ZIP_RDONLY, &code);
    bool ok = zip != NULL;

    for (size_t i = 0; ok && i < w->n; i++) {
        char part[64];
        zip_stat_t st;
        snprintf(part, sizeof part, "xl/worksheets/sheet%zu.xml", i + 1);
        ok = zip_stat(zip, part, 0, &st) == 0 && (st.valid & ZIP_STAT_SIZE) && st.size >= least[i];
    }
    if (zip)
        zip_discard(zip);
    if (!ok) {
        w->api->set(e, "xlsx", "write", "xlsx.writer: cannot write %s: the workbook came out incomplete", w->path);
        snprintf(e->hint, sizeof e->hint, "is there space left for temporary files in its directory?");
    }
    return ok;
}

static bool sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    errno = errnum;
    return ok;
}

/* Makes the file beside the target: the library would tell on standard error why it cannot. */
static bool make_temp(struct writer *w, struct garun_error *e)
{
    int fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return w->api->set_errno(e, "xlsx", errno, "xlsx.writer: cannot write %s", w->path);
    close(fd);
    return true;
}

static void drop_book(struct writer *w)
{
    if (!w->book)
        return;
    for (size_t i = 0; i < w->n; i++) {
        if (w->sheets[i].sheet->optimize_tmpfile)        /* lxw_workbook_free leaves it open */
            fclose(w->sheets[i].sheet->optimize_tmpfile);
        w->sheets[i].sheet->optimize_tmpfile = NULL;
    }
    lxw_workbook_free(w->book);
    w->book = NULL;
}

static bool finish(struct writer *w, struct garun_error *e)
{
    uint64_t *least = NULL;
    struct stat st;
    bool ok = false, there = stat(w->path, &st) == 0;

    if (!flush_pending(w, e))
        return false;
    least = calloc(w->n + 1, sizeof *least);
    if (!least)
        return fail_lxw(w, LXW_ERROR_MEMORY_MALLOC_FAILED, e);
    for (size_t i = 0; i < w->n; i++) {
        FILE *rows = w->sheets[i].sheet->optimize_tmpfile;
        set_layout(&w->sheets[i]);
        if (rows && (fflush(rows) != 0 || ferror(rows))) {
            fail_lxw(w, LXW_ERROR_READING_TMPFILE, e);
            goto out;
        }
        long size = rows ? ftell(rows) : 0;
        least[i] = size > 0 ? (uint64_t)size : 0;
    }
    if (!make_temp(w, e))
        goto out;
    errno = 0;
    lxw_error r = workbook_close(w->book);       /* frees it in any case */
    w->book = NULL;
    if (r != LXW_NO_ERROR)
        fail_lxw(w, r, e);
    else if (!check_archive(w, least, e))
        ok = false;
    else if ((there && chmod(w->temp, st.st_mode & 07777) != 0) || !sync_path(w->temp) || rename(w->temp, w->path) != 0 ||
             !sync_path(w->dir))
        w->api->set_errno(e, "xlsx", errno, "xlsx.writer: cannot write %s", w->path);
    else
        ok = true;
    if (!ok)
        unlink(w->temp);
out:
    free(least);
    return ok;
}

static void writer_release(struct writer *w)
{
    if (!w || --w->refs > 0)
        return;
    drop_book(w);
    for (size_t i = 0; i < w->n; i++)
        free(w->sheets[i].columns);
    free(w->sheets);
    bytes_free(&w->pending);
    free(w->path);
    free(w->temp);
    free(w->dir);
    free(w);
}

static void job_run(struct garun_work *work)
{
    struct job *j = (struct job *)work;
    j->ok = j->finish ? finish(j->w, &j->e) : flush_pending(j->w, &j->e);
}

/* Cancelled: a file that was finished meanwhile is whole and stays. */
static void job_dispose(struct garun_work *work)
{
    struct job *j = (struct job *)work;
    writer_release(j->w);
    free(j);
}

/* ---- Lua ---- */

static struct writer *l_writer(lua_State *L, const char *fn)
{
    struct writer_box *box = luaL_checkudata(L, 1, WRITER);
    if (!box->w)
        l_api(L)->raisef(L, "xlsx", "closed", "%s: the writer is finished or closed", fn);
    if (box->busy)
        l_api(L)->raisef(L, "xlsx", "busy", "%s: another task uses this writer, or one that did was cancelled", fn);
    return box->w;
}

static struct out_sheet *l_sheet(lua_State *L, struct writer *w, int arg)
{
    lua_Integer n = luaL_checkinteger(L, arg);
    luaL_argcheck(L, n >= 1 && n <= (lua_Integer)w->n, arg, "no such sheet");
    return &w->sheets[n - 1];
}

static int l_job_k(lua_State *L, int status, lua_KContext ctx)
{
    struct job *j = (struct job *)ctx;
    struct writer_box *box = lua_touserdata(L, 1);
    struct garun_error e = j->e;
    bool ok = j->ok, done = j->finish;

    (void)status;
    box->busy = false;
    job_dispose(&j->work);
    if (!ok || done) {                   /* after an error nothing of it is of use */
        struct writer *w = box->w;
        box->w = NULL;
        writer_release(w);
    }
    if (!ok)
        l_api(L)->raise(L, &e);
    lua_settop(L, 1);
    return 1;
}

static int l_job(lua_State *L, struct writer_box *box, bool done, const char *fn)
{
    struct job *j;

    l_api(L)->wait_check(L, fn);
    j = calloc(1, sizeof *j);
    if (!j)
        return l_api(L)->raisef(L, "xlsx", "ENOMEM", "%s: not enough memory", fn);
    j->work.run = job_run;
    j->work.dispose = job_dispose;
    j->finish = done;
    j->w = box->w;
    j->w->refs++;
    box->busy = true;
    return l_api(L)->work(L, &j->work, fn, l_job_k, (lua_KContext)j);
}

/* NULL when memory is short. */
static struct writer *writer_new(const struct garun_plugin_api *api, const char *path)
{
    struct writer *w = calloc(1, sizeof *w);
    uint64_t noise = 0;
    struct stat st;

    if (!w)
        return NULL;
    w->refs = 1;
    w->api = api;
    /* A symbolic link stays one: what it points to is replaced. */
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        w->path = realpath(path, NULL);
    if (!w->path)
        w->path = strdup(path);
    if (!w->path)
        goto failed;
    const char *slash = strrchr(w->path, '/');
    int dir = slash ? (int)(slash - w->path) + 1 : 0;
    w->dir = dir ? strndup(w->path, (size_t)dir) : strdup(".");
    if (!w->dir || getrandom(&noise, sizeof noise, 0) != (ssize_t)sizeof noise)
        goto failed;
    if (asprintf(&w->temp, "%.*s.garun-%016llx.xlsx", dir, w->path, (unsigned long long)noise) < 0)
        w->temp = NULL;
    if (!w->temp)
        goto failed;
    lxw_workbook_options options = { .constant_memory = LXW_TRUE, .tmpdir = w->dir };
    w->book = workbook_new_opt(w->temp, &options);      /* copies tmpdir */
    if (w->book)
        return w;
failed:
    writer_release(w);
    return NULL;
}

/* writer(path) -> core writer */
static int l_new(lua_State *L)
{
    const struct garun_plugin_api *api = l_api(L);
    const char *path = luaL_checkstring(L, 1);
    struct garun_error e;
    struct stat st;
    struct writer_box *box = lua_newuserdatauv(L, sizeof *box, 0);

    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, WRITER);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return api->raisef(L, "xlsx", "EISDIR", "xlsx.writer: %s is no file that could be replaced", path);
    struct writer *w = box->w = writer_new(api, path);
    if (!w)
        return api->raisef(L, "xlsx", "ENOMEM", "xlsx.writer: not enough memory");
    if (!make_temp(w, &e))               /* now, rather than when all rows are there */
        api->raise(L, &e);
    unlink(w->temp);
    return 1;
}

/* format(number format or nil, bold) -> light userdata */
static int l_format(lua_State *L)
{
    struct writer *w = l_writer(L, "xlsx.writer");
    const char *code = luaL_optstring(L, 2, NULL);
    lxw_format *f = workbook_add_format(w->book);

    if (!f)
        return l_api(L)->raisef(L, "xlsx", "ENOMEM", "xlsx.writer: not enough memory");
    if (code)
        format_set_num_format(f, code);
    if (lua_toboolean(L, 3)) {
        format_set_bold(f);
        format_set_bottom(f, LXW_BORDER_THIN);
        format_set_bg_color(f, 0xEEEEEE);
    }
    lua_pushlightuserdata(L, f);
    return 1;
}

/* sheet(name, freeze, autofilter) -> its number */
static int l_add_sheet(lua_State *L)
{
    struct writer *w = l_writer(L, "xlsx.writer");
    const char *name = luaL_checkstring(L, 2);
    struct garun_error e;

    if (w->n >= SHEETS_MAX || !list_reserve((void **)&w->sheets, &w->cap, w->n, sizeof *w->sheets))
        return l_api(L)->raisef(L, "xlsx", "sheets", "xlsx.writer: more than %d sheets, or no memory", SHEETS_MAX);
    lxw_error r = workbook_validate_sheet_name(w->book, name);
    if (r != LXW_NO_ERROR)
        return l_api(L)->raisef(L, "xlsx", "sheet_name", "xlsx.writer: '%s' cannot be a sheet's name: %s", name,
                                lxw_strerror(r));
    struct out_sheet *s = &w->sheets[w->n];
    memset(s, 0, sizeof *s);
    errno = 0;
    s->sheet = workbook_add_worksheet(w->book, name);
    if (!s->sheet || !s->sheet->optimize_tmpfile) {
        w->n += s->sheet != NULL;
        fail_lxw(w, LXW_ERROR_CREATING_TMPFILE, &e);
        l_api(L)->raise(L, &e);
    }
    s->freeze = lua_toboolean(L, 3);
    s->autofilter = lua_toboolean(L, 4);
    snprintf(s->name, sizeof s->name, "%s", name);
    lua_pushinteger(L, (lua_Integer)++w->n);
    return 1;
}

/* column(sheet, kind, format, width) adds a column: kind is "any", "text", "number" or "date" */
static int l_column(lua_State *L)
{
    static const char *const kinds[] = { "any", "text", "number", "date", NULL };
    struct writer *w = l_writer(L, "xlsx.writer");
    struct out_sheet *s = l_sheet(L, w, 2);
    int kind = luaL_checkoption(L, 3, NULL, kinds);

    if (s->n >= XLSX_COLUMNS || !list_reserve((void **)&s->columns, &s->cap, s->n, sizeof *s->columns))
        return l_api(L)->raisef(L, "xlsx", "columns", "xlsx.writer: sheet '%s' has more than %d columns, or no memory",
                                s->name, XLSX_COLUMNS);
    s->columns[s->n++] = (struct column){ .kind = (uint8_t)kind, .format = lua_touserdata(L, 4),
                                          .fixed = luaL_optnumber(L, 5, 0) };
    return 0;
}

/* ---- rows ---- */

/* Characters and UTF-16 units of the text; false when it is no UTF-8. */
static bool measure(const char *s, size_t n, size_t *characters, size_t *units)
{
    const unsigned char *p = (const unsigned char *)s, *end = p + n;
    *characters = *units = 0;
    while (p < end) {
        size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
        if (len == 0 || (size_t)(end - p) < len)
            return false;
        for (size_t i = 1; i < len; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
        }
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) || (*p == 0xf0 && p[1] < 0x90) ||
            (*p == 0xf4 && p[1] >= 0x90))
            return false;
        p += len;
        (*characters)++;
        *units += len == 4 ? 2 : 1;
    }
    return true;
}

struct place {                    /* for messages */
    const struct out_sheet *sheet;
    uint32_t row;
    size_t   column;
};

static int l_bad(lua_State *L, const struct place *at, const char *code, const char *what)
{
    return l_api(L)->raisef(L, "xlsx", code, "xlsx.writer: sheet '%s', row %d, column %d: %s", at->sheet->name,
                            (int)at->row + 1, (int)at->column + 1, what);
}

static bool put_item(struct writer *w, const struct item *it, const char *text)
{
    size_t mark = w->pending.len;
    if (bytes_put(&w->pending, it, sizeof *it) && (!text || bytes_put(&w->pending, text, (size_t)it->text_len + 1)))
        return true;
    w->pending.len = mark;
    return false;
}

/* Text as the library shall see it: NUL ends a C string, U+FFFE and U+FFFF are no XML, and "_x0041_" would be read as "A".
 * Other control characters the library escapes itself. NULL when the text may stay as it is; else pushed on the stack. */
static const char *l_escape(lua_State *L, const char *s, size_t n, size_t *len)
{
    static const char noncharacter[] = "\xef\xbf";
    if (!memchr(s, 0, n) && !memmem(s, n, "_x", 2) && !memmem(s, n, noncharacter, 2))
        return NULL;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n; i++) {
        const char *rest = s + i;
        if (*rest == '\0') {
            luaL_addstring(&b, "_x0000_");
        } else if (n - i >= 3 && memcmp(rest, noncharacter, 2) == 0 && (unsigned char)rest[2] >= 0xbe) {
            luaL_addstring(&b, (unsigned char)rest[2] == 0xbe ? "_xFFFE_" : "_xFFFF_");
            i += 2;
        } else if (n - i >= 7 && rest[0] == '_' && rest[1] == 'x' && rest[6] == '_' &&
                   strspn(rest + 2, "0123456789abcdefABCDEF") >= 4) {
            luaL_addstring(&b, "_x005F_");
        } else {
            luaL_addchar(&b, *rest);
        }
    }
    luaL_pushresult(&b);
    return lua_tolstring(L, -1, len);
}

static void l_put_text(lua_State *L, struct writer *w, struct column *c, struct item *it, const struct place *at, int idx)
{
    size_t len, characters, units;
    const char *s = lua_tolstring(L, idx, &len);

    if (!measure(s, len, &characters, &units))
        l_bad(L, at, "utf8", "the text is not valid UTF-8");
    if (units > XLSX_TEXT_MAX)
        l_bad(L, at, "size", "the text is longer than 32767 characters, which is all that a cell can hold");
    const char *escaped = l_escape(L, s, len, &len);
    if (c && characters > c->width)
        c->width = characters > WIDTH_MAX ? WIDTH_MAX : (uint8_t)characters;
    it->kind = 's';
    it->text_len = (uint32_t)len;
    if (!put_item(w, it, escaped ? escaped : s))
        l_bad(L, at, "ENOMEM", "not enough memory");
}

static void l_put_number(lua_State *L, struct writer *w, struct column *c, struct item *it, const struct place *at, int idx)
{
    it->number = lua_tonumber(L, idx);
    if (!isfinite(it->number))
        l_bad(L, at, "number", "a sheet cannot hold NaN or an infinite number");
    it->kind = 'n';
    if (c && c->width < 12)
        c->width = 12;
    if (!put_item(w, it, NULL))
        l_bad(L, at, "ENOMEM", "not enough memory");
}

static void l_put_date(lua_State *L, struct writer *w, struct column *c, struct item *it, const struct place *at, int idx)
{
    size_t len;
    bool has_time;
    const char *s = lua_tolstring(L, idx, &len);

    if (!dates_parse(s, len, &it->number, &has_time))
        l_bad(L, at, "date", "not a date from 1900 as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS");
    it->kind = 'n';
    uint8_t width = has_time ? 19 : 10;
    if (c && c->width < width)
        c->width = width;
    if (!put_item(w, it, NULL))
        l_bad(L, at, "ENOMEM", "not enough memory");
}

/* The value on top of the stack. */
static void l_put_value(lua_State *L, struct writer *w, struct column *c, struct item *it, const struct place *at)
{
    int kind = c ? c->kind : VALUE_ANY, type = lua_type(L, -1), idx = lua_gettop(L);

    if (type == LUA_TNIL || (type == LUA_TLIGHTUSERDATA && !lua_touserdata(L, -1)))
        return;
    if (type == LUA_TBOOLEAN && kind != VALUE_TEXT) {
        it->kind = 'b';
        it->number = lua_toboolean(L, -1);
        if (!put_item(w, it, NULL))
            l_bad(L, at, "ENOMEM", "not enough memory");
    } else if (type == LUA_TNUMBER && kind != VALUE_TEXT) {
        /* Beyond 2^53 a double, which is all that a sheet has, would show other digits. */
        if (lua_isinteger(L, -1) && (lua_tointeger(L, -1) > (1LL << 53) || lua_tointeger(L, -1) < -(1LL << 53)))
            l_put_text(L, w, c, it, at, idx);
        else
            l_put_number(L, w, c, it, at, idx);
    } else if (type == LUA_TNUMBER || type == LUA_TBOOLEAN) {
        luaL_tolstring(L, idx, NULL);
        l_put_text(L, w, c, it, at, -1);
    } else if (type == LUA_TSTRING && kind == VALUE_DATE) {
        l_put_date(L, w, c, it, at, idx);
    } else if (type == LUA_TSTRING && kind == VALUE_NUMBER) {
        size_t n = lua_rawlen(L, idx);
        if (lua_stringtonumber(L, lua_tostring(L, idx)) != n + 1)
            l_bad(L, at, "number", "the text in a number column is no number");
        l_put_number(L, w, c, it, at, -1);
    } else if (type == LUA_TSTRING) {
        l_put_text(L, w, c, it, at, idx);
    } else {
        l_bad(L, at, "type", lua_pushfstring(L, "a %s cannot be a cell", luaL_typename(L, idx)));
    }
    lua_settop(L, idx);
}

struct row_call {
    struct writer    *w;
    struct out_sheet *s;
    size_t            index;
};

/* row(box, sheet, values, n, header format): protected, so that a row that fails leaves nothing behind */
static int l_row_protected(lua_State *L)
{
    struct row_call *call = lua_touserdata(L, lua_gettop(L));
    struct out_sheet *s = call->s;
    lua_Integer n = luaL_checkinteger(L, 4);
    lxw_format *header = lua_touserdata(L, 5);

    lua_pop(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        struct column *c = (size_t)i <= s->n ? &s->columns[i - 1] : NULL;
        struct place at = { s, s->rows, (size_t)i - 1 };
        struct item it = { .sheet = (uint32_t)call->index, .row = s->rows, .column = (uint16_t)(i - 1),
                           .format = header ? header : c ? c->format : NULL };
        lua_rawgeti(L, 3, i);
        if (header) {
            if (lua_type(L, -1) == LUA_TSTRING)
                l_put_text(L, call->w, c, &it, &at, -1);
        } else {
            l_put_value(L, call->w, c, &it, &at);
        }
        lua_settop(L, 5);
    }
    return 0;
}

/* row(sheet, values, n, header format or nil) */
static int l_row(lua_State *L)
{
    struct writer *w = l_writer(L, "xlsx.writer");
    struct out_sheet *s = l_sheet(L, w, 2);
    struct row_call call = { w, s, (size_t)(s - w->sheets) };
    size_t mark = w->pending.len;

    luaL_checktype(L, 3, LUA_TTABLE);
    lua_Integer n = luaL_checkinteger(L, 4);
    lua_settop(L, 5);
    if (n > XLSX_COLUMNS)
        return l_api(L)->raisef(L, "xlsx", "columns", "xlsx.writer: sheet '%s', row %d has %I columns, a sheet has %d",
                                s->name, (int)s->rows + 1, (LUAI_UACINT)n, XLSX_COLUMNS);
    if (s->rows >= XLSX_ROWS)
        return l_api(L)->raisef(L, "xlsx", "rows", "xlsx.writer: sheet '%s' is full: it has %d rows, header included; "
                                                   "go on in another sheet or write CSV", s->name, XLSX_ROWS);
    lua_pushlightuserdata(L, (void *)(uintptr_t)l_api(L));
    lua_pushcclosure(L, l_row_protected, 1);
    for (int i = 1; i <= 5; i++)
        lua_pushvalue(L, i);
    lua_pushlightuserdata(L, &call);
    if (lua_pcall(L, 6, 0, 0) != LUA_OK) {
        w->pending.len = mark;
        return lua_error(L);
    }
    s->rows++;
    if (w->pending.len < FLUSH_AT)
        return 0;
    return l_job(L, lua_touserdata(L, 1), false, "sheet:row");
}

static int l_finish(lua_State *L)
{
    l_writer(L, "writer:finish");
    return l_job(L, lua_touserdata(L, 1), true, "writer:finish");
}

static int l_close(lua_State *L)
{
    struct writer_box *box = luaL_checkudata(L, 1, WRITER);
    struct writer *w = box->w;
    box->w = NULL;
    writer_release(w);
    return 0;
}

void writer_open(lua_State *L, const struct garun_plugin_api *api)
{
    static const luaL_Reg methods[] = {
        { "format", l_format },
        { "sheet", l_add_sheet },
        { "column", l_column },
        { "row", l_row },
        { "finish", l_finish },
        { "close", l_close },
        { NULL, NULL },
    };
    void *up = (void *)(uintptr_t)api;
    luaL_newmetatable(L, WRITER);
    lua_newtable(L);
    lua_pushlightuserdata(L, up);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pushlightuserdata(L, up);
    lua_pushcclosure(L, l_close, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__close");
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushlightuserdata(L, up);
    lua_pushcclosure(L, l_new, 1);
    lua_setfield(L, -2, "writer");
}
