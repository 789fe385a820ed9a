/* reader.c - the Lua side of reading: open, the workbook's methods, and the iterator over a sheet's rows.
 *
 * Owns the two userdata, each a counted reference. All work is done on threads (struct job), which hold references of
 * their own: whatever is closed or collected meanwhile stays alive until its thread is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "xlsx.h"

#define BOOK "xlsx.book"
#define ROWS "xlsx.rows"

#define MAX_BYTES_DEFAULT   ((lua_Integer)4 << 30)
#define MAX_STRINGS_DEFAULT ((lua_Integer)512 << 20)
#define MAX_STRINGS_LIMIT   (((lua_Integer)1 << 32) - 1)      /* where a string ends is 32 bits */

struct book_box {
    struct book *book;           /* NULL when closed */
};

struct rows_box {
    struct sheet *sheet;         /* NULL when closed */
    bool          busy, failed;
};

/* One call on a thread: opens a book, or fills a sheet's batch. */
struct job {
    struct garun_work  work;
    struct book       *book;     /* a reference, or NULL */
    struct sheet      *sheet;    /* a reference, or NULL */
    bool               ok;
    struct garun_error e;
};

static void job_run(struct garun_work *w)
{
    struct job *j = (struct job *)w;
    j->ok = j->sheet ? sheet_fill(j->sheet, &j->e) : book_load(j->book, &j->e);
}

static void job_free(struct job *j)
{
    book_release(j->book);
    sheet_release(j->sheet);
    free(j);
}

/* The task was cancelled: what was read is half of something. */
static void job_dispose(struct garun_work *w)
{
    job_free((struct job *)w);
}

static struct job *job_new(void)
{
    struct job *j = calloc(1, sizeof *j);
    if (j) {
        j->work.run = job_run;
        j->work.dispose = job_dispose;
    }
    return j;
}

/* Ends a job that has run; raises its error. */
static void l_job_end(lua_State *L, struct job *j)
{
    if (j->ok) {
        job_free(j);
        return;
    }
    struct garun_error e = j->e;
    job_free(j);
    l_api(L)->raise(L, &e);
}

/* ---- open ---- */

static int l_open_k(lua_State *L, int status, lua_KContext ctx)
{
    struct job *j = (struct job *)ctx;
    struct book_box *box = lua_touserdata(L, 1);
    (void)status;
    if (j->ok) {
        box->book = j->book;         /* the reference moves */
        j->book = NULL;
    }
    l_job_end(L, j);
    lua_settop(L, 1);
    return 1;
}

/* A path, or { data = "..." } */
static struct book *l_book_new(lua_State *L, int source, const char *name)
{
    const struct garun_plugin_api *api = l_api(L);
    size_t len = 0;
    const char *bytes = NULL, *path = NULL;

    if (lua_type(L, source) == LUA_TSTRING) {
        path = lua_tolstring(L, source, &len);
        if (len == 0 || strlen(path) != len)
            api->raisef(L, "usage", "argument", "xlsx.open: the path is empty or has a zero byte in it");
    } else if (lua_istable(L, source)) {
        static const char *const fields[] = { "data", NULL };
        api->opt_check(L, source, "xlsx.open", fields);
        bytes = api->opt_string(L, source, "xlsx.open", "data", NULL, &len);
    }
    if (!path && !bytes)
        api->raisef(L, "usage", "argument", "xlsx.open: takes a path or { data = bytes }, not a %s",
                    luaL_typename(L, source));
    struct book *b = calloc(1, sizeof *b);
    if (b) {
        b->refs = 1;
        b->api = b->box.api = api;
        pthread_mutex_init(&b->lock, NULL);
        pthread_mutex_init(&b->box.lock, NULL);
        snprintf(b->box.name, sizeof b->box.name, "%s", name ? name : path ? path : "the workbook");
        b->path = path ? strdup(path) : NULL;
        b->data = bytes ? malloc(len ? len : 1) : NULL;
        b->data_len = len;
        if (b->data)
            memcpy(b->data, bytes, len);
    }
    if (!b || (!b->path && !b->data)) {
        book_release(b);
        api->raisef(L, "xlsx", "ENOMEM", "xlsx.open: not enough memory");
    }
    return b;
}

static int l_open(lua_State *L)
{
    static const char *const options[] = { "name", "max_bytes", "max_ratio", "max_strings", NULL };
    const char *fn = "xlsx.open";
    const struct garun_plugin_api *api = l_api(L);

    lua_settop(L, 2);
    api->opt_check(L, 2, fn, options);
    const char *name = api->opt_string(L, 2, fn, "name", NULL, NULL);
    lua_Integer max_bytes = api->opt_integer(L, 2, fn, "max_bytes", MAX_BYTES_DEFAULT, 1, LUA_MAXINTEGER);
    lua_Integer max_strings = api->opt_integer(L, 2, fn, "max_strings", MAX_STRINGS_DEFAULT, 1, MAX_STRINGS_LIMIT);
    double max_ratio = api->opt_number(L, 2, fn, "max_ratio", 400, 1, 1e9);
    api->wait_check(L, fn);
    struct book_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->book = NULL;
    luaL_setmetatable(L, BOOK);
    lua_insert(L, 1);                            /* stack: box, source, options */
    struct book *b = l_book_new(L, 2, name);
    b->box.max_bytes = (uint64_t)max_bytes;
    b->box.max_ratio = max_ratio;
    b->strings.max = (size_t)max_strings;
    struct job *j = job_new();
    if (!j) {
        book_release(b);
        return api->raisef(L, "xlsx", "ENOMEM", "xlsx.open: not enough memory");
    }
    j->book = b;
    return api->work(L, &j->work, fn, l_open_k, (lua_KContext)j);
}

/* ---- the workbook ---- */

static struct book *l_book(lua_State *L, const char *fn)
{
    struct book_box *box = luaL_checkudata(L, 1, BOOK);
    if (!box->book)
        l_api(L)->raisef(L, "xlsx", "closed", "%s: the workbook is closed", fn);
    return box->book;
}

static int l_book_close(lua_State *L)
{
    struct book_box *box = luaL_checkudata(L, 1, BOOK);
    struct book *b = box->book;
    box->book = NULL;
    book_release(b);
    return 0;
}

static int l_book_sheets(lua_State *L)
{
    static const char *const states[] = { "visible", "hidden", "very hidden" };
    struct book *b = l_book(L, "book:sheets");

    lua_createtable(L, (int)b->n, 0);
    for (size_t i = 0; i < b->n; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, b->sheets[i].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, states[b->sheets[i].hidden]);
        lua_setfield(L, -2, "state");
        lua_pushboolean(L, b->sheets[i].part != NULL);
        lua_setfield(L, -2, "cells");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* Raises with the names there are. */
static int l_no_sheet(lua_State *L, const struct book *b, const char *wanted)
{
    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (size_t i = 0; i < b->n && i < 20; i++) {
        luaL_addstring(&list, i ? ", '" : "'");
        luaL_addstring(&list, b->sheets[i].name);
        luaL_addchar(&list, '\'');
    }
    if (b->n > 20)
        luaL_addstring(&list, " ...");
    luaL_pushresult(&list);
    return l_api(L)->raisef(L, "xlsx", "no_sheet", "%s: there is no sheet %s; there are: %s", b->box.name, wanted,
                            lua_tostring(L, -1));
}

/* The sheet's index: of a name (exactly, else without case, as Excel compares), a number from 1, or the first with cells. */
static size_t l_sheet_index(lua_State *L, const struct book *b, int arg)
{
    size_t at = SIZE_MAX;

    if (lua_isnoneornil(L, arg)) {
        for (size_t i = 0; i < b->n && at == SIZE_MAX; i++)
            at = b->sheets[i].part ? i : SIZE_MAX;
        return at == SIZE_MAX ? (size_t)l_no_sheet(L, b, "with cells") : at;
    }
    if (lua_isinteger(L, arg)) {
        lua_Integer n = lua_tointeger(L, arg);
        if (n < 1 || n > (lua_Integer)b->n)
            l_no_sheet(L, b, lua_pushfstring(L, "number %I", (LUAI_UACINT)n));
        at = (size_t)n - 1;
    } else if (lua_type(L, arg) == LUA_TSTRING) {
        const char *name = lua_tostring(L, arg);
        for (size_t i = 0; i < b->n && at == SIZE_MAX; i++)
            at = strcmp(b->sheets[i].name, name) == 0 ? i : SIZE_MAX;
        for (size_t i = 0; i < b->n && at == SIZE_MAX; i++)
            at = strcasecmp(b->sheets[i].name, name) == 0 ? i : SIZE_MAX;
        if (at == SIZE_MAX)
            l_no_sheet(L, b, lua_pushfstring(L, "'%s'", name));
    } else {
        l_api(L)->raisef(L, "usage", "argument", "book:rows: the sheet is a name or a number, not a %s",
                         luaL_typename(L, arg));
    }
    if (!b->sheets[at].part)
        l_api(L)->raisef(L, "xlsx", "no_cells", "%s: sheet '%s' has no cells, it is a chart or dialog", b->box.name,
                         b->sheets[at].name);
    return at;
}

/* One word of a list, as an option. */
static bool l_choice(lua_State *L, int idx, const char *name, const char *other, const char *def)
{
    const char *v = l_api(L)->opt_string(L, idx, "book:rows", name, def, NULL);
    if (strcmp(v, other) == 0)
        return true;
    if (strcmp(v, def) != 0)
        l_api(L)->raisef(L, "usage", "option", "book:rows: option '%s' is \"%s\" or \"%s\"", name, def, other);
    return false;
}

/* rows(sheet, options) -> iterator, nil, nil, iterator (for `for` to close) */
static int l_book_rows(lua_State *L)
{
    static const char *const options[] = { "values", "errors", NULL };
    struct book *b = l_book(L, "book:rows");

    lua_settop(L, 3);
    l_api(L)->opt_check(L, 3, "book:rows", options);
    size_t index = l_sheet_index(L, b, 2);
    bool typed = l_choice(L, 3, "values", "typed", "text"), drop = l_choice(L, 3, "errors", "nil", "text");
    struct rows_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, ROWS);
    struct sheet *s = calloc(1, sizeof *s);
    if (!s)
        return l_api(L)->raisef(L, "xlsx", "ENOMEM", "book:rows: not enough memory");
    s->refs = 1;
    s->book = b;
    b->refs++;
    s->index = index;
    s->typed = typed;
    s->drop_errors = drop;
    atomic_init(&s->stop, false);
    box->sheet = s;
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

/* ---- rows ---- */

static void l_push_cell(lua_State *L, const struct sheet *s, const struct cell *c)
{
    const struct strings *strings = &s->book->strings;

    switch ((enum cell_kind)c->kind) {
    case CELL_SHARED: {
        uint32_t begin = c->at ? strings->ends[c->at - 1] : 0, end = strings->ends[c->at];
        lua_pushlstring(L, end > begin ? strings->bytes.data + begin : "", end - begin);
        break;
    }
    case CELL_TRUE:
    case CELL_FALSE:
        if (s->typed)
            lua_pushboolean(L, c->kind == CELL_TRUE);
        else
            lua_pushstring(L, c->kind == CELL_TRUE ? "TRUE" : "FALSE");
        break;
    case CELL_NUMBER:
        lua_pushlstring(L, s->bytes.data + c->at, c->len);
        if (s->typed && lua_stringtonumber(L, lua_tostring(L, -1)))
            lua_remove(L, -2);
        break;
    case CELL_TEXT:
        lua_pushlstring(L, c->len ? s->bytes.data + c->at : "", c->len);
        break;
    }
}

static int l_push_row(lua_State *L, struct sheet *s)
{
    const struct row *r = &s->rows[s->taken];
    bool dense = r->width <= 2 * r->cells + 8;       /* else a row with one cell at XFD1 would take 256 KiB */

    lua_createtable(L, dense ? (int)r->width : (int)r->cells, 1);
    for (uint32_t i = 0; i < r->cells; i++) {
        const struct cell *c = &s->cells[r->first + i];
        l_push_cell(L, s, c);
        lua_rawseti(L, -2, (lua_Integer)c->column + 1);
    }
    lua_pushinteger(L, r->width);
    lua_setfield(L, -2, "n");
    lua_pushinteger(L, r->number);
    s->taken++;
    return 2;
}

static int l_rows_k(lua_State *L, int status, lua_KContext ctx);

static int l_rows_step(lua_State *L, struct rows_box *box)
{
    struct sheet *s = box->sheet;

    if (s->taken < s->n)
        return l_push_row(L, s);
    if (s->done) {
        lua_pushnil(L);
        return 1;
    }
    struct job *j = job_new();
    if (!j)
        return l_api(L)->raisef(L, "xlsx", "ENOMEM", "rows:next: not enough memory");
    j->sheet = s;
    s->refs++;
    box->busy = true;
    return l_api(L)->work(L, &j->work, "rows:next", l_rows_k, (lua_KContext)j);
}

static int l_rows_k(lua_State *L, int status, lua_KContext ctx)
{
    struct job *j = (struct job *)ctx;
    struct rows_box *box = lua_touserdata(L, 1);

    (void)status;
    box->busy = false;
    box->failed = !j->ok;            /* a caught error must not be followed by a clean end */
    l_job_end(L, j);
    if (!box->sheet)
        return l_api(L)->raisef(L, "xlsx", "closed", "rows:next: the iterator was closed meanwhile");
    return l_rows_step(L, box);
}

/* busy without a task that waits: it was cancelled, and its thread may still be at work. */
static int l_rows_next(lua_State *L)
{
    struct rows_box *box = luaL_checkudata(L, 1, ROWS);

    lua_settop(L, 1);
    if (!box->sheet || box->failed)
        return l_api(L)->raisef(L, "xlsx", "closed", "rows:next: reading on after an error or close");
    if (box->busy)
        return l_api(L)->raisef(L, "xlsx", "busy", "rows:next: another task reads from this iterator, or one that did "
                                                   "was cancelled");
    return l_rows_step(L, box);
}

static int l_rows_uncalculated(lua_State *L)
{
    struct rows_box *box = luaL_checkudata(L, 1, ROWS);
    if (!box->sheet || box->busy)
        return l_api(L)->raisef(L, "xlsx", "closed", "rows:uncalculated: the iterator is closed or at work");
    lua_pushinteger(L, (lua_Integer)box->sheet->uncalculated);
    return 1;
}

static int l_rows_close(lua_State *L)
{
    struct rows_box *box = luaL_checkudata(L, 1, ROWS);
    struct sheet *s = box->sheet;
    box->sheet = NULL;
    if (s) {
        atomic_store(&s->stop, true);
        sheet_release(s);
    }
    return 0;
}

/* ---- classes ---- */

static void l_class(lua_State *L, const struct garun_plugin_api *api, const char *name, const luaL_Reg *methods,
                    const luaL_Reg *meta)
{
    void *up = (void *)(uintptr_t)api;
    luaL_newmetatable(L, name);
    lua_pushlightuserdata(L, up);
    luaL_setfuncs(L, meta, 1);
    lua_newtable(L);
    lua_pushlightuserdata(L, up);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void reader_open(lua_State *L, const struct garun_plugin_api *api)
{
    static const luaL_Reg book_methods[] = {
        { "sheets", l_book_sheets },
        { "rows", l_book_rows },
        { "close", l_book_close },
        { NULL, NULL },
    };
    static const luaL_Reg book_meta[] = {
        { "__gc", l_book_close },
        { "__close", l_book_close },
        { NULL, NULL },
    };
    static const luaL_Reg rows_methods[] = {
        { "next", l_rows_next },
        { "uncalculated", l_rows_uncalculated },
        { "close", l_rows_close },
        { NULL, NULL },
    };
    static const luaL_Reg rows_meta[] = {
        { "__call", l_rows_next },
        { "__gc", l_rows_close },
        { "__close", l_rows_close },
        { NULL, NULL },
    };
    l_class(L, api, BOOK, book_methods, book_meta);
    l_class(L, api, ROWS, rows_methods, rows_meta);
    lua_pushlightuserdata(L, (void *)(uintptr_t)api);
    lua_pushcclosure(L, l_open, 1);
    lua_setfield(L, -2, "open");
}
