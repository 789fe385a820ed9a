/* pg_stream.c - db:rows: a result of any size, row by row, in constant memory.
 *
 * libpq's single-row mode gives one PGresult per row as it comes; what the script does not take stays in the socket and
 * slows the server down. Leaving the loop early cancels the statement, or, inside a transaction, leaves the rest to be
 * read by the next call: a cancel would make the whole transaction fail.
 *
 * Types: a row must be decoded before the catalogue can be asked, so the statement is prepared and described first. */
#include <lauxlib.h>
#include "bind/pg_value.h"

#define PG_STREAM "garun.pg.rows"

struct pg_stream {              /* user values: 1 the connection's box, 2 column names once known */
    unsigned serial;
    bool     ended;
};

/* ---- start ---- */

static int l_next(lua_State *L);

static int l_start(lua_State *L, struct pg_conn *c)     /* stack: box, sql, params, texts... */
{
    const struct pg_params *p = lua_touserdata(L, 3);
    struct pg_stream *s;
    char name[24];
    int sent;

    pg_clear(c);
    s = lua_newuserdatauv(L, sizeof *s, 2);
    *s = (struct pg_stream){ .serial = ++c->serial };
    luaL_setmetatable(L, PG_STREAM);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    c->in_tx = PQtransactionStatus(c->pg) != PQTRANS_IDLE;
    if (c->slot >= 0) {
        pg_stmt_name(c->stmts[c->slot].name, name);
        sent = PQsendQueryPrepared(c->pg, name, p->n, p->values, p->lengths, p->formats, 0);
    } else {
        sent = PQsendQueryParams(c->pg, lua_tostring(L, 2), p->n, p->types, p->values, p->lengths, p->formats, 0);
    }
    if (!sent)
        return l_pg_raise(L, c);
    PQsetSingleRowMode(c->pg);
    c->state = PG_ROWS;
    c->caller = NULL;
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_next, 1);
    lua_insert(L, -2);                  /* stack: ..., next, stream */
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 4;                           /* next, nil, nil, stream: the 4th is closed when the loop is left */
}

static int l_known_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    c->stmts[c->slot].described = true;
    return l_start(L, c);
}

static int l_described_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->fail || c->n_results == 0) {
        if (c->fail && pg_stale(c)) {           /* the name is gone from the server: without it, then */
            l_pg_stmt_forget(L, 1, c, c->slot);
            c->slot = -1;
            if (PQtransactionStatus(c->pg) == PQTRANS_IDLE)
                return l_start(L, c);
        }
        return l_pg_raise(L, c);
    }
    return l_pg_types(L, c, l_known_k);
}

static int l_describe(lua_State *L, struct pg_conn *c)
{
    char name[24];

    pg_clear(c);
    pg_stmt_name(c->stmts[c->slot].name, name);
    if (!PQsendDescribePrepared(c->pg, name))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_described_k);
}

static int l_prepared_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->fail || c->n_results == 0)
        return l_pg_raise(L, c);
    c->stmts[c->slot].name = c->new_name;
    return l_describe(L, c);
}

static int l_rows_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    const struct pg_params *p = lua_touserdata(L, 3);
    int slot = l_pg_stmt_slot(L, 1, 2, c);
    char name[24];

    (void)status;
    c->slot = slot >= PG_STMTS ? slot - PG_STMTS : slot;
    if (c->slot < 0)
        return l_start(L, c);
    /* Described anew each time: a type may have been made or changed since, and one round trip is nothing here. */
    if (c->stmts[c->slot].name)
        return l_describe(L, c);
    c->new_name = ++c->stmt_names;
    pg_stmt_name(c->new_name, name);
    if (!PQsendPrepare(c->pg, name, lua_tostring(L, 2), p->n, p->types))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_prepared_k);
}

static int l_rows(lua_State *L)
{
    struct pg_opts o;
    struct pg_conn *c;

    l_pg_check(L, 1);
    l_pg_sql(L, 2, "db:rows", &o);
    lua_pushnil(L);
    lua_insert(L, 3);
    l_pg_params(L, 3, 4, "db:rows");
    c = l_pg_enter(L, 1, "db:rows");
    l_pg_apply(L, c, &o, 2);
    return l_pg_ready(L, c, l_rows_k);
}

/* ---- next ---- */

/* The connection that still runs this stream, NULL when it does not. */
static struct pg_conn *l_stream_conn(lua_State *L, const struct pg_stream *s, int idx)
{
    lua_getiuservalue(L, idx, 1);
    struct pg_box *box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box && box->c && box->c->state == PG_ROWS && box->c->serial == s->serial ? box->c : NULL;
}

static int l_finished(lua_State *L, struct pg_conn *c, struct pg_stream *s)
{
    s->ended = true;
    if (c->fail || PQstatus(c->pg) == CONNECTION_BAD)
        return l_pg_raise(L, c);
    pg_leave(c, c->cancel ? PG_DRAIN : PG_IDLE);
    lua_pushnil(L);
    return 1;
}

static int l_push_next(lua_State *L, struct pg_conn *c)     /* stack: stream */
{
    const PGresult *res = c->results[0];

    if (lua_getiuservalue(L, 1, 2) != LUA_TTABLE) {
        lua_pop(L, 1);
        l_pg_push_columns(L, c, res);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 2);
    }
    l_pg_push_row(L, c, res, 0, 2);
    pg_clear(c);
    return 1;
}

static int l_stuck(lua_State *L, struct pg_conn *c)
{
    struct err e;

    err_set(&e, "pg", "timeout", "db:rows: no row came within the timeout of %g s, nor within %g s of the cancel "
            "request; the connection was closed", c->limit, PG_GRACE);
    e.retryable = true;
    pg_kill(c, "a stream of rows stood still");
    return l_pg_raise_err(L, c, &e);
}

static int l_next_k(lua_State *L, int status, lua_KContext ctx)     /* stack: stream */
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct pg_stream *s = lua_touserdata(L, 1);

    if (c->close_wanted) {
        pg_kill(c, "closed by another task during a call");
        return l_raisef(L, "pg", "closed", "db:rows: the connection was closed by another task during this call");
    }
    if (status == LUA_YIELD)
        pg_consume(c);          /* an error shows up again in PQgetResult, after the server's last words */
    int unsent = PQflush(c->pg);
    while (!PQisBusy(c->pg)) {
        PGresult *res = PQgetResult(c->pg);
        if (!res)
            return l_finished(L, c, s);
        switch (PQresultStatus(res)) {
        case PGRES_SINGLE_TUPLE:
            pg_keep(c, res);
            return l_push_next(L, c);
        case PGRES_COPY_IN: case PGRES_COPY_OUT: case PGRES_COPY_BOTH:
            PQclear(res);
            pg_kill(c, "db:rows ran a COPY");
            return l_raisef(L, "pg", "copy", "db:rows cannot run a COPY; use db:copy_in(...) or db:copy_out(...)");
        case PGRES_FATAL_ERROR: case PGRES_BAD_RESPONSE: case PGRES_NONFATAL_ERROR:
            pg_keep(c, res);
            break;
        case PGRES_EMPTY_QUERY: case PGRES_COMMAND_OK: case PGRES_TUPLES_OK: case PGRES_PIPELINE_SYNC:
        case PGRES_PIPELINE_ABORTED:
        default:
            PQclear(res);
        }
    }
    if (status == LUA_OK && !c->timed_out)
        pg_set_timeout(c, c->limit);    /* the time the script takes for a row is not the server's */
    else if (c->deadline > 0 && loop_now(c->g) >= c->deadline && !pg_overdue(c))
        return l_stuck(L, c);
    return wait_watch(L, c->watch, UV_READABLE | (unsent == 1 ? UV_WRITABLE : 0), c->deadline, "db:rows", l_next_k,
                      ctx);
}

static int l_next(lua_State *L)         /* upvalue: the stream */
{
    struct pg_stream *s = lua_touserdata(L, lua_upvalueindex(1));
    struct pg_conn *c;

    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    if (s->ended) {
        lua_pushnil(L);
        return 1;
    }
    c = l_stream_conn(L, s, 1);
    if (!c)
        return l_raisef(L, "pg", "closed", "db:rows: connection is closed");
    return l_next_k(L, LUA_OK, (lua_KContext)c);
}

/* ---- the stream object ---- */

static int l_stream_close(lua_State *L)
{
    struct pg_stream *s = luaL_checkudata(L, 1, PG_STREAM);

    if (!s->ended) {
        struct pg_conn *c = l_stream_conn(L, s, 1);
        s->ended = true;
        if (c)
            pg_break_off(c);
    }
    return 0;
}

/* columns() -> names in order, nil before the first row */
static int l_stream_columns(lua_State *L)
{
    luaL_checkudata(L, 1, PG_STREAM);
    lua_getiuservalue(L, 1, 2);
    return 1;
}

static int l_stream_tostring(lua_State *L)
{
    struct pg_stream *s = luaL_checkudata(L, 1, PG_STREAM);

    lua_pushfstring(L, "pg.rows(%s)", s->ended ? "ended" : "open");
    return 1;
}

static const luaL_Reg methods[] = {
    { "rows", l_rows },
    { NULL, NULL }
};

static const luaL_Reg stream_methods[] = {
    { "close", l_stream_close },
    { "columns", l_stream_columns },
    { NULL, NULL }
};

static const luaL_Reg stream_meta[] = {
    { "__close", l_stream_close },
    { "__gc", l_stream_close },
    { "__tostring", l_stream_tostring },
    { NULL, NULL }
};

void l_pg_stream_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
    luaL_newmetatable(L, PG_STREAM);
    luaL_setfuncs(L, stream_meta, 0);
    luaL_newlib(L, stream_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
