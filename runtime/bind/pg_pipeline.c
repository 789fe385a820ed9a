/* pg_pipeline.c - many small statements in few round trips (libpq's pipeline mode, manual 34.5).
 *
 * The statements are collected in Lua first (pg.lua) and come here as a list. Up to WINDOW of them are under way at a
 * time: results are read while more is sent, so neither side can block the other. One Sync ends the pipeline, which
 * makes it one implicit transaction: all or nothing, unless the script is in a transaction already.
 *
 * COPY is not possible in this mode; libpq 15 would answer PGRES_COPY_IN for ever, so the connection is closed. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/pg_value.h"

enum { WINDOW = 128, FLUSH_EVERY = 32 };

struct command { int slot; unsigned name; bool prepare; };      /* what a coming result belongs to */

struct pg_pipe {
    lua_Integer n, next;            /* statements; the next one to send, from 1 */
    lua_Integer answered;           /* statements whose results are in */
    lua_Integer failed;             /* the one that failed, 0 = none */
    unsigned    sent, under_way;    /* commands: PREPAREs count too */
    unsigned    head;
    bool        got;                /* a result of the oldest command has come */
    bool        synced, ended, copy;
    struct command queue[2 * WINDOW];
};

/* stack of the whole call: 1 box, 2 list of { sql, want, n, parameters... }, 3 struct pg_pipe */

static void push_command(struct pg_pipe *p, struct command cmd)
{
    p->queue[(p->head + p->under_way) % (2 * WINDOW)] = cmd;
    p->under_way++;
    p->sent++;
}

/* Queues statement number p->next in libpq's buffer; false when libpq refuses. */
static bool l_send_one(lua_State *L, struct pg_conn *c, struct pg_pipe *p)
{
    int top = lua_gettop(L), sql, slot, ok = 1;
    char name[24];

    lua_rawgeti(L, 2, p->next);
    int item = top + 1;
    lua_rawgeti(L, item, 1);
    sql = top + 2;
    lua_rawgeti(L, item, 3);
    int n = (int)lua_tointeger(L, -1);          /* stack: ..., item, sql, n -> the parameters' box */
    luaL_checkstack(L, n + 8, "parameters");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, item, 3 + i);
    const struct pg_params *q = l_pg_params(L, top + 3, top + 4, "pipeline");
    slot = l_pg_stmt_slot(L, 1, sql, c);
    bool seen = slot >= 0 && slot < PG_STMTS;
    slot = slot >= PG_STMTS ? slot - PG_STMTS : slot;
    if (seen && !c->stmts[slot].name) {
        c->stmts[slot].name = ++c->stmt_names;  /* taken back when the PREPARE fails */
        pg_stmt_name(c->stmts[slot].name, name);
        ok = PQsendPrepare(c->pg, name, lua_tostring(L, sql), q->n, q->types);
        push_command(p, (struct command){ .slot = slot, .name = c->stmts[slot].name, .prepare = true });
    }
    if (ok && slot >= 0 && c->stmts[slot].name) {
        pg_stmt_name(c->stmts[slot].name, name);
        ok = PQsendQueryPrepared(c->pg, name, q->n, q->values, q->lengths, q->formats, 0);
        push_command(p, (struct command){ .slot = slot, .name = c->stmts[slot].name });
    } else if (ok) {
        ok = PQsendQueryParams(c->pg, lua_tostring(L, sql), q->n, q->types, q->values, q->lengths, q->formats, 0);
        push_command(p, (struct command){ .slot = -1 });
    }
    lua_settop(L, top);
    p->next++;
    return ok != 0;
}

/* Drops the cache's belief in a statement whose PREPARE did not happen or is out of date. */
static void forget_failed(lua_State *L, struct pg_conn *c, const struct command *cmd)
{
    if (cmd->slot >= 0 && c->stmts[cmd->slot].name == cmd->name)
        l_pg_stmt_forget(L, 1, c, cmd->slot);
}

static void l_take_result(lua_State *L, struct pg_conn *c, struct pg_pipe *p, PGresult *res)
{
    const struct command *cmd = &p->queue[p->head];

    switch (PQresultStatus(res)) {
    case PGRES_PIPELINE_SYNC:
        p->ended = true;
        PQclear(res);
        return;
    case PGRES_PIPELINE_ABORTED:
        if (cmd->prepare)
            forget_failed(L, c, cmd);
        PQclear(res);
        break;
    case PGRES_COPY_IN: case PGRES_COPY_OUT: case PGRES_COPY_BOTH:
        p->copy = true;
        PQclear(res);
        break;
    case PGRES_FATAL_ERROR: case PGRES_BAD_RESPONSE: case PGRES_NONFATAL_ERROR:
        if (!p->failed && !p->ended)
            p->failed = p->answered + 1;
        pg_keep(c, res);
        c->slot = cmd->slot;
        if (cmd->prepare || pg_stale(c))
            forget_failed(L, c, cmd);
        break;
    case PGRES_EMPTY_QUERY: case PGRES_COMMAND_OK: case PGRES_TUPLES_OK: case PGRES_SINGLE_TUPLE:
    default:
        if (cmd->prepare)
            PQclear(res);
        else
            pg_keep(c, res);
    }
    p->got = true;
}

/* Reads all results that have come. */
static void l_read_results(lua_State *L, struct pg_conn *c, struct pg_pipe *p)
{
    while (!p->ended && !p->copy && (p->under_way > 0 || p->synced) && !PQisBusy(c->pg)) {
        PGresult *res = PQgetResult(c->pg);
        if (res) {
            l_take_result(L, c, p, res);
        } else if (p->got && p->under_way > 0) {
            p->answered += !p->queue[p->head].prepare;
            p->head = (p->head + 1) % (2 * WINDOW);
            p->under_way--;
            p->got = false;
        } else {
            return;             /* the connection is lost, and has said so */
        }
    }
}

static int l_pipe_results_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    lua_Integer n = (lua_Integer)c->n_results;

    (void)status;
    pg_settle(c);
    lua_createtable(L, (int)n, 1);
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 2, i);
        lua_rawgeti(L, -1, 2);
        bool rows = strcmp(lua_tostring(L, -1), "rows") == 0;
        lua_pop(L, 2);
        if (rows)
            l_pg_push_rows(L, c, c->results[i - 1]);
        else
            lua_pushinteger(L, (lua_Integer)strtoll(PQcmdTuples(c->results[i - 1]), NULL, 10));
        lua_rawseti(L, -2, i);
    }
    pg_clear(c);
    return 1;
}

static int l_pipe_failed(lua_State *L, struct pg_conn *c, const struct pg_pipe *p)
{
    if (p->failed > 0 && lua_rawgeti(L, 2, p->failed) == LUA_TTABLE) {
        char text[sizeof c->statement];
        lua_rawgeti(L, -1, 1);
        snprintf(text, sizeof text, "number %lld of the pipeline: %s", (long long)p->failed, lua_tostring(L, -1));
        pg_set_statement(c, text, strlen(text));
    }
    return l_pg_raise(L, c);
}

static int l_pipe_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct pg_pipe *p = lua_touserdata(L, 3);
    bool ok = true;
    int unsent;

    l_pg_still_open(L, c);
    if (status == LUA_YIELD)
        pg_consume(c);
    l_read_results(L, c, p);
    if (p->copy) {
        pg_kill(c, "a COPY was sent in a pipeline");
        return l_raisef(L, "pg", "copy", "pipeline: COPY is not possible in a pipeline; the connection was closed. Use "
                        "db:copy_in or db:copy_out outside of it");
    }
    if (p->ended || PQstatus(c->pg) == CONNECTION_BAD) {
        PQexitPipelineMode(c->pg);
        if (c->fail || PQstatus(c->pg) == CONNECTION_BAD)
            return l_pipe_failed(L, c, p);
        return l_pg_types(L, c, l_pipe_results_k);
    }
    while (ok && !p->failed && p->next <= p->n && p->under_way + 2 <= WINDOW) {
        ok = l_send_one(L, c, p);
        if (p->sent % FLUSH_EVERY == 0)
            PQsendFlushRequest(c->pg);
    }
    if (!ok)
        return l_pg_raise(L, c);
    if (!p->synced && (p->failed || p->next > p->n)) {
        p->synced = PQpipelineSync(c->pg) == 1;
        if (!p->synced)
            return l_pg_raise(L, c);
    } else if (!p->synced) {
        PQsendFlushRequest(c->pg);      /* or the server would keep the answers that make room in the window */
    }
    unsent = PQflush(c->pg);
    if (c->deadline > 0 && loop_now(c->g) >= c->deadline && !pg_overdue(c)) {
        double limit = c->limit;
        pg_kill(c, "a pipeline could not be cancelled in time");
        return l_raisef(L, "pg", "timeout", "pipeline: not done within its timeout of %f s; the connection was closed",
                        limit);
    }
    return wait_watch(L, c->watch, UV_READABLE | (unsent == 1 ? UV_WRITABLE : 0), c->deadline, "db:pipeline", l_pipe_k,
                      ctx);
}

static int l_pipe_start_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (!PQenterPipelineMode(c->pg))
        return l_pg_raise(L, c);
    return l_pipe_k(L, LUA_OK, ctx);
}

/* pipeline_run(list, timeout) -> results in the list's order: rows tables or counts */
static int l_pipeline_run(lua_State *L)
{
    struct pg_conn *c;
    struct pg_pipe *p;
    double timeout = luaL_optnumber(L, 3, -1);

    l_pg_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct pg_pipe){ .n = (lua_Integer)lua_rawlen(L, 2), .next = 1 };
    c = l_pg_enter(L, 1, "db:pipeline");
    if (timeout >= 0)
        pg_set_timeout(c, timeout);
    return l_pg_ready(L, c, l_pipe_start_k);
}

static const luaL_Reg methods[] = {
    { "pipeline_run", l_pipeline_run },
    { NULL, NULL }
};

void l_pg_pipeline_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
}
