/* http.c - garun.core.http: clients, each with its own connections and its own queue of calls.
 *
 * Owns the curl_loop, the shared TLS sessions and the calls that are over and kept. At most max calls of a client run at
 * a time, per_host of them to one server; the others wait here, for libcurl would count the wait as connecting. The Lua
 * half is runtime/lua/garun/http.lua; it checks the options. */
#include "bind/bind.h"
#include "bind/http.h"

#include <stdlib.h>
#include <lauxlib.h>
#include "bind/http_sink.h"
#include "core/err.h"
#include "core/opt.h"

void http_client_unref(struct http_client *c)
{
    if (--c->refs)
        return;
    curl_share_cleanup(c->share);
    free(c);
}

/* Ends all its calls and closes its connections. */
static void client_close(struct http_client *c)
{
    struct curl_loop *loop = c->loop;

    if (!loop)
        return;
    while (c->first)
        http_call_fail(c->first, HTTP_CLOSED);
    while (c->running)
        http_call_fail(c->running, HTTP_CLOSED);
    c->loop = NULL;
    curl_loop_close(loop);
    while (c->idle) {
        struct http_call *call = c->idle;
        c->idle = call->next;
        http_call_free(call);
    }
}

/* client{ max =, per_host = } */
static int l_client(lua_State *L)
{
    static const char *const names[] = { "max", "per_host", NULL };
    struct err e;

    l_opt_check(L, 1, "http.client", names);
    lua_Integer max = l_opt_integer(L, 1, "http.client", "max", 100, 1, 10000);
    lua_Integer per_host = l_opt_integer(L, 1, "http.client", "per_host", 0, 0, 10000);
    struct http_client **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, HTTP_CLIENT);
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        return l_raisef(L, "http", "ENOMEM", "http.client: not enough memory");
    c->refs = 1;
    c->g = garun_of(L);
    c->max = (unsigned)max;
    c->per_host = (unsigned)per_host;
    *box = c;
    c->loop = curl_loop_open(c->g, &e);
    if (!c->loop)
        return l_raise(L, &e);
    c->share = curl_share_init();
    if (!c->share || curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
        return l_raisef(L, "http", "ENOMEM", "http.client: not enough memory");
    curl_multi_setopt(curl_loop_multi(c->loop), CURLMOPT_MAXCONNECTS, (long)max);
    return 1;
}

static int l_close(lua_State *L)
{
    struct http_client *c = *(struct http_client **)luaL_checkudata(L, 1, HTTP_CLIENT);
    if (c)
        client_close(c);
    return 0;
}

static int l_gc(lua_State *L)
{
    struct http_client **box = luaL_checkudata(L, 1, HTTP_CLIENT);
    if (*box) {
        client_close(*box);
        http_client_unref(*box);
    }
    *box = NULL;
    return 0;
}

int luaopen_garun_core_http(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "start", l_http_start },
        { "close", l_close },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "client", l_client },
        { NULL, NULL },
    };
    luaL_newmetatable(L, HTTP_CLIENT);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    http_call_type(L);
    luaL_newlib(L, functions);
    http_sink_functions(L);
    http_url_function(L);
    return 1;
}
