/* pg_notify.c - waiting for NOTIFY. Owns nothing.
 *
 * Nothing is in flight during this wait, so a task that is cancelled in it leaves a usable connection. */
#include <lauxlib.h>
#include "bind/pg_conn.h"

static int l_wait_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    PGnotify *n;

    l_pg_still_open(L, c);
    if (status == LUA_YIELD)
        pg_consume(c);
    n = PQnotifies(c->pg);
    if (n) {
        char channel[64 * 4];
        int pid = n->be_pid;
        snprintf(channel, sizeof channel, "%s", n->relname);
        pg_settle(c);
        lua_createtable(L, 0, 3);
        /* The payload (at most 8000 bytes) is the one copy that could fail for lack of memory; then it leaks once. */
        lua_pushstring(L, n->extra);
        PQfreemem(n);
        lua_setfield(L, -2, "payload");
        lua_pushstring(L, channel);
        lua_setfield(L, -2, "channel");
        lua_pushinteger(L, pid);
        lua_setfield(L, -2, "pid");
        return 1;
    }
    if (PQstatus(c->pg) == CONNECTION_BAD)
        return l_pg_raise(L, c);
    if (status == LUA_YIELD && c->deadline > 0 && loop_now(c->g) >= c->deadline) {
        pg_leave(c, PG_IDLE);
        lua_pushnil(L);
        return 1;
    }
    return wait_watch(L, c->watch, UV_READABLE, c->deadline, "db:notification", l_wait_k, ctx);
}

static int l_ready_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
        pg_leave(c, PG_IDLE);
        return l_raisef(L, "pg", "25001", "db:notification: none arrives inside a transaction; end it first");
    }
    c->state = PG_LISTEN;
    c->deadline = lua_isnumber(L, 2) ? loop_now(c->g) + lua_tonumber(L, 2) : 0;
    return l_wait_k(L, LUA_OK, ctx);
}

/* notification([timeout]) -> { channel=, payload=, pid= }, or nil when none came within timeout seconds */
static int l_notification(lua_State *L)
{
    struct pg_conn *c;

    l_pg_check(L, 1);
    if (!lua_isnoneornil(L, 2) && (lua_type(L, 2) != LUA_TNUMBER || !(lua_tonumber(L, 2) >= 0)))
        return l_raisef(L, "usage", "", "db:notification: timeout must be a number of seconds, 0 or more");
    lua_settop(L, 2);
    c = l_pg_enter(L, 1, "db:notification");
    return l_pg_ready(L, c, l_ready_k);
}

static const luaL_Reg methods[] = {
    { "notification", l_notification },
    { NULL, NULL }
};

void l_pg_notify_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
}
