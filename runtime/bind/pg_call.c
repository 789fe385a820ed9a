/* pg_call.c - the course of every call: enter, ready, send, collect, leave; and what happens when it is cut off.
 *
 * A call that fails with a server's error leaves a usable connection, because its results have been read to the end. A
 * call that is cut off anywhere (cancelled task, lack of memory) closes it: "maybe usable" does not exist. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/pg_conn.h"

struct pg_conn *l_pg_check(lua_State *L, int idx)
{
    struct pg_box *box = luaL_checkudata(L, idx, PG_CONN);
    struct pg_conn *c = box->c;

    if (!c)
        l_raisef(L, "pg", "closed", "connection is closed");
    if (c->state == PG_DEAD || c->close_wanted)
        l_raisef(L, "pg", "closed", "connection is closed%s%s", c->gone[0] ? ": " : "", c->gone);
    return c;
}

static const char *occupation(enum pg_state state)
{
    switch (state) {
    case PG_LISTEN:   return "a task waits for notifications on it";
    case PG_ROWS:     return "the rows of a db:rows() are still being read; leave that loop first";
    case PG_COPY_IN:  return "a db:copy_in() is open on it; call :finish() or :close() of that first";
    case PG_COPY_OUT: return "a db:copy_out() is open on it; read it to its end or :close() it first";
    case PG_NEW:      return "it is not open yet";
    case PG_CALL: case PG_IDLE: case PG_DRAIN: case PG_DEAD:
    default:          return "another task's statement runs on it; use one connection per task, or a pool";
    }
}

struct pg_conn *l_pg_enter(lua_State *L, int idx, const char *what)
{
    struct pg_conn *c = l_pg_check(L, idx);

    if (c->state != PG_IDLE && c->state != PG_DRAIN)
        l_raisef(L, "pg", "busy", "%s: connection is busy: %s", what, occupation(c->state));
    l_wait_check(L, what);
    pg_clear(c);
    c->drain = c->state == PG_DRAIN;
    c->state = PG_CALL;
    c->caller = L;
    c->what = what;
    c->slot = -1;
    c->timed_out = c->copy_refused = c->stop_at_copy = c->discard = false;
    c->nulls = c->def_nulls;
    c->numbers = c->def_numbers;
    c->prepare = c->def_prepare;
    c->arrays = false;
    c->statement[0] = '\0';
    pg_set_timeout(c, c->def_timeout);
    return c;
}

void pg_set_timeout(struct pg_conn *c, double seconds)
{
    c->limit = seconds;
    c->deadline = seconds > 0 ? loop_now(c->g) + seconds : 0;
}

void pg_clear(struct pg_conn *c)
{
    for (size_t i = 0; i < c->n_results; i++)
        PQclear(c->results[i]);
    c->n_results = 0;
    PQclear(c->fail);
    c->fail = NULL;
}

void pg_leave(struct pg_conn *c, enum pg_state next)
{
    pg_clear(c);
    c->deadline = 0;
    c->caller = NULL;
    if (c->state == PG_DEAD)
        return;
    c->state = next;
    if (PQstatus(c->pg) == CONNECTION_BAD)
        pg_kill(c, "the server ended it or it was lost");
    else if (c->close_wanted)
        pg_kill(c, "closed by another task");
}

void pg_kill(struct pg_conn *c, const char *why)
{
    if (c->state == PG_DEAD)
        return;
    pg_clear(c);
    pg_cancel_detach(c);
    watch_close(c->watch);          /* first: its dup keeps the socket open after PQfinish */
    c->watch = NULL;
    PQfinish(c->pg);
    c->pg = NULL;
    c->state = PG_DEAD;
    snprintf(c->gone, sizeof c->gone, "%s", why);
}

/* ---- guard ---- */

static int l_guard_k(lua_State *L, int status, lua_KContext ctx)    /* stack: box, results... or error */
{
    struct pg_box *box = lua_touserdata(L, 1);
    struct pg_conn *c = box->c;

    (void)ctx;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1;
    if (c && c->caller == L) {
        if (c->state == PG_LISTEN && !c->close_wanted) {
            c->state = PG_IDLE;
        } else if (c->state == PG_LISTEN) {
            pg_kill(c, "closed by another task during a call");
        } else if (c->state == PG_CALL) {
            if (PQtransactionStatus(c->pg) == PQTRANS_ACTIVE)
                pg_cancel_start(c);         /* or the server would notice only when it writes */
            pg_kill(c, c->close_wanted ? "closed by another task during a call" : "a call on it was cut off");
        }
    }
    return lua_error(L);
}

int l_pg_guard(lua_State *L, lua_CFunction body)    /* stack: box, arguments... */
{
    int n = lua_gettop(L) - 1;

    lua_pushcfunction(L, body);
    lua_insert(L, 2);
    return l_guard_k(L, lua_pcallk(L, n, LUA_MULTRET, 0, 0, l_guard_k), 0);
}

static int l_guarded(lua_State *L)      /* upvalue: the body */
{
    luaL_checkudata(L, 1, PG_CONN);
    lua_pushvalue(L, 1);
    lua_insert(L, 1);
    return l_pg_guard(L, lua_tocfunction(L, lua_upvalueindex(1)));
}

void l_pg_methods(lua_State *L, const luaL_Reg *reg, bool guarded)
{
    for (; reg->name; reg++) {
        lua_pushcfunction(L, reg->func);
        if (guarded)
            lua_pushcclosure(L, l_guarded, 1);
        lua_setfield(L, -2, reg->name);
    }
}

/* ---- collect ---- */

void pg_keep(struct pg_conn *c, PGresult *res)
{
    PGresult **grown;

    switch (PQresultStatus(res)) {
    case PGRES_COPY_IN:
        if (c->stop_at_copy)
            break;
        c->copy_refused = true;
        PQputCopyEnd(c->pg, "this call cannot feed a COPY");
        PQclear(res);
        return;
    case PGRES_COPY_OUT:
        if (c->stop_at_copy)
            break;
        c->copy_refused = !c->discard;
        c->copy_out = true;
        if (c->copy_refused)
            pg_cancel_start(c);
        PQclear(res);
        return;
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
        if (c->fail || c->discard)
            PQclear(res);
        else
            c->fail = res;
        return;
    case PGRES_EMPTY_QUERY: case PGRES_COMMAND_OK: case PGRES_TUPLES_OK: case PGRES_COPY_BOTH: case PGRES_SINGLE_TUPLE:
    case PGRES_PIPELINE_SYNC: case PGRES_PIPELINE_ABORTED:
    default:
        break;
    }
    if (c->discard) {
        PQclear(res);
        return;
    }
    if (c->n_results == c->cap_results) {
        size_t cap = c->cap_results ? 2 * c->cap_results : 8;
        grown = realloc(c->results, cap * sizeof(PGresult *));
        if (!grown) {
            if (!c->fail)
                c->fail = PQmakeEmptyPGresult(c->pg, PGRES_FATAL_ERROR);
            PQclear(res);
            return;
        }
        c->results = grown;
        c->cap_results = cap;
    }
    c->results[c->n_results++] = res;
}

/* Throws COPY OUT data away; true when more may follow that has not come yet. */
static bool skip_copy_data(struct pg_conn *c)
{
    char *data;
    int n;

    while ((n = PQgetCopyData(c->pg, &data, 1)) > 0)
        PQfreemem(data);
    if (n == 0)
        return true;
    c->copy_out = false;
    return false;
}

bool pg_collect(struct pg_conn *c, bool woken, int *events)
{
    int unsent;

    /* When reading or writing fails, PQgetResult still gives the server's last words (a FATAL before it closed), then
     * an error of its own; so the results of these two calls need no look. */
    if (woken)
        pg_consume(c);
    unsent = PQflush(c->pg);
    for (;;) {
        if (c->copy_out && skip_copy_data(c))
            break;
        if (PQisBusy(c->pg))
            break;
        PGresult *res = PQgetResult(c->pg);
        if (!res)
            return true;
        ExecStatusType status = PQresultStatus(res);
        pg_keep(c, res);
        if (c->stop_at_copy && (status == PGRES_COPY_IN || status == PGRES_COPY_OUT))
            return true;
        if (PQstatus(c->pg) == CONNECTION_BAD && c->copy_out)
            return true;
    }
    *events = UV_READABLE | (unsent == 1 ? UV_WRITABLE : 0);
    return false;
}

bool pg_overdue(struct pg_conn *c)
{
    if (c->timed_out)
        return false;
    c->timed_out = true;
    c->deadline = loop_now(c->g) + PG_GRACE;
    return pg_cancel_start(c);
}

void l_pg_still_open(lua_State *L, struct pg_conn *c)
{
    if (c->close_wanted)
        l_raisef(L, "pg", "closed", "%s: the connection was closed by another task during this call", c->what);
}

static int l_give_up(lua_State *L, struct pg_conn *c)
{
    struct err e;

    if (c->drain)
        err_set(&e, "pg", "timeout", "%s: an earlier stream or COPY on this connection was left, and the server did "
                "not end it within %g s of the cancel request; the connection was closed", c->what, PG_GRACE);
    else
        err_set(&e, "pg", "timeout", "%s: the statement ran longer than its timeout of %g s and the server did not end "
                "it within %g s of the cancel request; the connection was closed", c->what, c->limit, PG_GRACE);
    e.retryable = true;
    pg_kill(c, "a statement could not be cancelled in time");
    return l_pg_raise_err(L, c, &e);
}

static int l_collect_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    int events = UV_READABLE;

    l_pg_still_open(L, c);
    /* A cancel request that is still under way could hit the next statement: it is waited for. */
    if (pg_collect(c, status == LUA_YIELD, &events) && (!c->cancel || PQstatus(c->pg) == CONNECTION_BAD))
        return c->k(L, LUA_OK, (lua_KContext)c);
    if (c->deadline > 0 && loop_now(c->g) >= c->deadline && !pg_overdue(c))
        return l_give_up(L, c);
    return wait_watch(L, c->watch, events, c->deadline, c->what, l_collect_k, (lua_KContext)c);
}

int l_pg_collect(lua_State *L, struct pg_conn *c, lua_KFunction k)
{
    c->k = k;
    return l_collect_k(L, LUA_OK, (lua_KContext)c);
}

/* ---- ready ---- */

static int l_tidied_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    c->discard = false;
    return c->after(L, status, ctx);
}

static int l_tidy(lua_State *L, struct pg_conn *c)
{
    char sql[2048];

    if (pg_stmt_deallocate(c, sql, sizeof sql) && PQsendQuery(c->pg, sql)) {
        c->discard = true;
        return l_pg_collect(L, c, l_tidied_k);
    }
    return c->after(L, LUA_OK, (lua_KContext)c);
}

static int l_drained_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    c->discard = c->drain = c->copy_out = c->timed_out = false;
    pg_set_timeout(c, c->limit);
    if (PQstatus(c->pg) == CONNECTION_BAD)
        return l_pg_raise(L, c);
    return l_tidy(L, c);
}

int l_pg_ready(lua_State *L, struct pg_conn *c, lua_KFunction k)
{
    c->after = k;
    if (!c->drain && !c->cancel)
        return l_tidy(L, c);
    c->discard = true;
    if (c->cancel) {                    /* the rest ends soon, or never */
        c->deadline = loop_now(c->g) + PG_GRACE;
        c->timed_out = true;
    }
    return l_pg_collect(L, c, l_drained_k);
}

void pg_break_off(struct pg_conn *c)
{
    int events;

    pg_clear(c);
    c->caller = NULL;
    c->discard = true;
    c->copy_out = c->state == PG_COPY_OUT;
    c->what = "pg";
    bool ended = pg_collect(c, true, &events);      /* what has come already costs nothing more */
    if (PQstatus(c->pg) == CONNECTION_BAD) {
        c->state = PG_IDLE;
        pg_leave(c, PG_IDLE);
        return;
    }
    if (!ended && !c->in_tx)
        pg_cancel_start(c);
    c->state = ended ? PG_IDLE : PG_DRAIN;
    if (c->close_wanted)
        pg_kill(c, "closed by another task");
}
