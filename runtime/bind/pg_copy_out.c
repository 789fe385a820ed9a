/* pg_copy_out.c - COPY TO STDOUT: chunks as a source, or rows of a text COPY as arrays of strings.
 *
 * Owns the chunk buffer. What is not read stays in the socket and slows the server down. Leaving early is as for rows:
 * the statement is cancelled, or inside a transaction its rest is read by the next call. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/pg_value.h"

#define PG_OUT "garun.pg.copy_out"

enum { PG_OUT_CHUNK = 65536 };

struct pg_out {                 /* user value: 1 the connection's box */
    struct pg_conn *c;          /* during a call only */
    unsigned        serial;
    bool            open, text;
    bool            rows;       /* this call wants one row, not a chunk */
    int             columns;
    struct buf      buf;
    uint64_t        count;
};

static struct pg_conn *out_conn(lua_State *L, const struct pg_out *o, int idx)
{
    lua_getiuservalue(L, idx, 1);
    struct pg_box *box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box && box->c && box->c->state == PG_COPY_OUT && box->c->serial == o->serial ? box->c : NULL;
}

/* One field of a COPY text row, from *p to its tab or the row's end, unescaped onto the stack; NULL is nil. */
static void l_push_field(lua_State *L, const char **p, const char *end)
{
    luaL_Buffer b;
    const char *s = *p, *stop;

    stop = memchr(s, '\t', (size_t)(end - s));
    if (!stop)
        stop = end;
    *p = stop < end ? stop + 1 : end;
    if (stop - s == 2 && s[0] == '\\' && s[1] == 'N') {
        lua_pushnil(L);
        return;
    }
    if (!memchr(s, '\\', (size_t)(stop - s))) {
        lua_pushlstring(L, s, (size_t)(stop - s));
        return;
    }
    luaL_buffinit(L, &b);
    for (; s < stop; s++) {
        char c = *s;
        if (c == '\\' && s + 1 < stop) {
            switch (c = *++s) {
            case 'b': c = '\b'; break;
            case 'f': c = '\f'; break;
            case 'n': c = '\n'; break;
            case 'r': c = '\r'; break;
            case 't': c = '\t'; break;
            case 'v': c = '\v'; break;
            default: break;
            }
        }
        luaL_addchar(&b, c);
    }
    luaL_pushresult(&b);
}

static int l_push_row(lua_State *L, const struct pg_out *o)
{
    const char *p = o->buf.data, *end = p + o->buf.len;

    if (end > p && end[-1] == '\n')
        end--;
    lua_createtable(L, o->columns, 1);
    lua_pushinteger(L, o->columns);
    lua_setfield(L, -2, "n");
    for (int i = 1; i <= o->columns; i++) {
        l_push_field(L, &p, end);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* Gives what lies in the buffer to the script. */
static int l_give(lua_State *L, struct pg_out *o)
{
    if (o->rows)
        l_push_row(L, o);
    else
        lua_pushlstring(L, o->buf.data, o->buf.len);
    o->buf.len = 0;
    return 1;
}

static int l_out_ended_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->fail || c->n_results == 0)
        return l_pg_raise(L, c);
    pg_leave(c, PG_IDLE);
    lua_pushnil(L);
    return 1;
}

static int l_read_k(lua_State *L, int status, lua_KContext ctx)     /* stack: out */
{
    struct pg_out *o = (struct pg_out *)ctx;
    struct pg_conn *c = o->c;
    char *data;
    int n, unsent;

    if (c->close_wanted) {
        pg_kill(c, "closed by another task during a COPY");
        return l_raisef(L, "pg", "closed", "db:copy_out: the connection was closed by another task during this call");
    }
    if (status == LUA_YIELD)
        pg_consume(c);          /* PQgetCopyData reports what is wrong */
    unsent = PQflush(c->pg);
    while ((n = PQgetCopyData(c->pg, &data, 1)) > 0) {
        bool ok = buf_put(&o->buf, data, (size_t)n);
        PQfreemem(data);
        if (!ok) {
            pg_break_off(c);
            return l_raisef(L, "pg", "ENOMEM", "db:copy_out: not enough memory for a row of %d bytes", n);
        }
        o->count++;
        if (o->rows || o->buf.len >= PG_OUT_CHUNK)
            return l_give(L, o);
    }
    if (o->buf.len > 0)
        return l_give(L, o);            /* also before the end or an error, which the next call reports */
    if (n < 0) {
        o->open = false;
        pg_set_timeout(c, c->limit);
        return l_pg_collect(L, c, l_out_ended_k);
    }
    if (status == LUA_OK && !c->timed_out)
        pg_set_timeout(c, c->limit);
    else if (c->deadline > 0 && loop_now(c->g) >= c->deadline && !pg_overdue(c)) {
        double limit = c->limit;
        pg_kill(c, "a COPY stood still");
        return l_raisef(L, "pg", "timeout", "db:copy_out: the server sent nothing for the timeout of %f s and did not "
                        "end after a cancel request; the connection was closed", limit);
    }
    return wait_watch(L, c->watch, UV_READABLE | (unsent == 1 ? UV_WRITABLE : 0), c->deadline, "db:copy_out", l_read_k,
                      ctx);
}

static int l_read(lua_State *L, bool rows)
{
    struct pg_out *o = luaL_checkudata(L, 1, PG_OUT);

    lua_settop(L, 1);
    o->c = out_conn(L, o, 1);
    if (!o->open) {
        lua_pushnil(L);
        return 1;
    }
    if (!o->c)
        return l_raisef(L, "pg", "closed", "db:copy_out: connection is closed");
    if (rows && !o->text)
        return l_raisef(L, "usage", "", "copy:rows: this COPY is not in text format; read its chunks");
    o->rows = rows;
    return l_read_k(L, LUA_OK, (lua_KContext)o);
}

static int l_out_read(lua_State *L) { return l_read(L, false); }
static int l_out_row(lua_State *L)  { return l_read(L, true); }

static int l_out_close(lua_State *L)
{
    struct pg_out *o = luaL_checkudata(L, 1, PG_OUT);
    struct pg_conn *c = out_conn(L, o, 1);

    buf_free(&o->buf);
    if (c && !c->watch->wait.held) {
        if (o->open)
            pg_break_off(c);
        else
            pg_leave(c, PG_DRAIN);      /* cut off while its last answer was read */
    }
    o->open = false;
    return 0;
}

static int l_out_count(lua_State *L)
{
    struct pg_out *o = luaL_checkudata(L, 1, PG_OUT);

    lua_pushinteger(L, (lua_Integer)o->count);
    return 1;
}

static int l_source(lua_State *L)       /* upvalue: the object */
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    return l_read(L, false);
}

static int l_row_source(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    return l_read(L, true);
}

static int l_iterator(lua_State *L, lua_CFunction next)
{
    luaL_checkudata(L, 1, PG_OUT);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, next, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 1);
    return 4;                           /* next, nil, nil, object: closed when a for loop is left */
}

static int l_out_source(lua_State *L) { return l_iterator(L, l_source); }
static int l_out_rows(lua_State *L)   { return l_iterator(L, l_row_source); }

static int l_out_tostring(lua_State *L)
{
    struct pg_out *o = luaL_checkudata(L, 1, PG_OUT);

    lua_pushfstring(L, "pg.copy_out(%s)", o->open ? "open" : "ended");
    return 1;
}

/* ---- start ---- */

static int l_started_k(lua_State *L, int status, lua_KContext ctx)      /* stack: box, sql, out */
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct pg_out *o = lua_touserdata(L, 3);
    const PGresult *res = c->n_results ? c->results[0] : NULL;
    struct err e;

    (void)status;
    if (c->fail || !res)
        return l_pg_raise(L, c);
    if (PQresultStatus(res) != PGRES_COPY_OUT) {
        err_set(&e, "pg", "copy", "db:copy_out: the statement is not a COPY ... TO STDOUT");
        if (PQresultStatus(res) == PGRES_COPY_IN)
            pg_kill(c, "db:copy_out ran a COPY ... FROM STDIN");
        pg_leave(c, PG_IDLE);
        return l_pg_raise_err(L, c, &e);
    }
    o->columns = PQnfields(res);
    o->text = o->text && PQbinaryTuples(res) == 0;
    o->serial = ++c->serial;
    o->open = true;
    c->stop_at_copy = false;
    pg_leave(c, PG_COPY_OUT);
    return 1;
}

static int l_start_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    c->in_tx = PQtransactionStatus(c->pg) != PQTRANS_IDLE;
    c->stop_at_copy = true;
    if (!PQsendQueryParams(c->pg, lua_tostring(L, 2), 0, NULL, NULL, NULL, NULL, 0))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_started_k);
}

/* copy_out_sql(sql, text): text says that the format is text, so that rows() may be used */
static int l_copy_out_sql(lua_State *L)
{
    bool text = lua_toboolean(L, 3);
    struct pg_opts opts;
    struct pg_conn *c;
    struct pg_out *o;

    l_pg_check(L, 1);
    l_pg_sql(L, 2, "db:copy_out", &opts);
    lua_settop(L, 2);
    o = lua_newuserdatauv(L, sizeof *o, 1);
    *o = (struct pg_out){ .text = text };
    luaL_setmetatable(L, PG_OUT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, 1);
    c = l_pg_enter(L, 1, "db:copy_out");
    l_pg_apply(L, c, &opts, 2);
    return l_pg_ready(L, c, l_start_k);
}

static const luaL_Reg methods[] = {
    { "copy_out_sql", l_copy_out_sql },
    { NULL, NULL }
};

static const luaL_Reg out_methods[] = {
    { "read", l_out_read },
    { "row", l_out_row },
    { "source", l_out_source },
    { "rows", l_out_rows },
    { "count", l_out_count },
    { "close", l_out_close },
    { NULL, NULL }
};

static const luaL_Reg out_meta[] = {
    { "__close", l_out_close },
    { "__gc", l_out_close },
    { "__tostring", l_out_tostring },
    { NULL, NULL }
};

void l_pg_copy_out_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
    luaL_newmetatable(L, PG_OUT);
    luaL_setfuncs(L, out_meta, 0);
    luaL_newlib(L, out_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
