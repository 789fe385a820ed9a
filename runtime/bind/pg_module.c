/* pg_module.c - garun.core.pg: the C half of garun.pg, put together from the other pg_*.c files. Owns nothing. */
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/pg.h"
#include "bind/pg_value.h"
#include "loop/task.h"

static int l_remember(lua_State *L)
{
    lua_settop(L, 1);
    if (task_traceback(L, 1))
        lua_pop(L, 1);          /* raised again: the first traceback has these frames too */
    else
        task_remember_traceback(L, L);
    return 1;
}

static int l_call_k(lua_State *L, int status, lua_KContext ctx)     /* stack: handler, results or error */
{
    (void)ctx;
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* call(fn, ...): pcall for code that raises the error again after a rollback; the traceback of where it was raised
 * first is kept for whoever prints it. */
static int l_call(lua_State *L)
{
    int n = lua_gettop(L) - 1;

    luaL_checkany(L, 1);
    lua_pushcfunction(L, l_remember);
    lua_insert(L, 1);
    return l_call_k(L, lua_pcallk(L, n, LUA_MULTRET, 1, 0, l_call_k), 0);
}

static const luaL_Reg functions[] = {
    { "call", l_call },
    { "new", l_pg_new },
    { "move", l_pg_move },
    { "on_close", l_pg_on_close },
    { "resolve", l_pg_resolve },
    { "parse_dsn", l_pg_parse_dsn },
    { "texts", l_pg_texts },
    { "json", l_pg_json },
    { "array", l_pg_array },
    { "bytea", l_pg_bytea },
    { NULL, NULL }
};

/* Guarded like methods, but for the Lua half only. */
static const char *const internal[] = {
    "open", "copy_in_sql", "copy_out_sql", "pipeline_run", "forget_statements", NULL
};

/* The module table has the connection's method table as `conn`, to which session.lua adds what is better said in
 * Lua. */
int luaopen_garun_core_pg(lua_State *L)
{
    luaL_newlib(L, functions);
    l_pg_value_register(L);
    lua_newtable(L);
    l_pg_conn_methods(L);
    l_pg_query_methods(L);
    l_pg_stream_methods(L);
    l_pg_copy_in_methods(L);
    l_pg_copy_out_methods(L);
    l_pg_pipeline_methods(L);
    l_pg_notify_methods(L);
    l_pg_cancel_methods(L);
    for (const char *const *name = internal; *name; name++) {       /* stack: module, methods */
        lua_getfield(L, -1, *name);
        lua_setfield(L, -3, *name);
        lua_pushnil(L);
        lua_setfield(L, -2, *name);
    }
    lua_setfield(L, -2, "conn");
    return 1;
}
