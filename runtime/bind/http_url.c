/* http_url.c - URLs by libcurl's own parser, so that what is checked is what is connected to.
 *
 * Owns one URL handle. Knows http and https only; the Lua half has refused control characters before. */
#include "bind/http.h"

#include <lauxlib.h>
#include "core/err.h"

#define TYPE "garun.http.urls"

/* One for all calls, an upvalue of url(): what libcurl has allocated belongs to it until the next call. */
struct urls {
    CURLU *u;
    char  *text;
};

/* Pushes a part, nil when there is none. */
static void l_part(lua_State *L, struct urls *p, CURLUPart part, unsigned flags)
{
    curl_free(p->text);
    p->text = NULL;
    if (curl_url_get(p->u, part, &p->text, flags) == CURLUE_OK && p->text)
        lua_pushstring(L, p->text);
    else
        lua_pushnil(L);
}

static int l_urls_gc(lua_State *L)
{
    struct urls *p = luaL_checkudata(L, 1, TYPE);

    curl_free(p->text);
    curl_url_cleanup(p->u);
    *p = (struct urls){ 0 };
    return 0;
}

/* url(text [, base]) -> url without user and fragment, scheme, host, port, user, password; or nil and what is wrong */
static int l_url(lua_State *L)
{
    struct urls *p = lua_touserdata(L, lua_upvalueindex(1));
    const char *text = luaL_checkstring(L, 1), *base = luaL_optstring(L, 2, NULL);
    CURLUcode r;

    lua_settop(L, 2);
    if (!p->u)
        p->u = curl_url();
    if (!p->u)
        return l_raisef(L, "http", "ENOMEM", "not enough memory");
    r = curl_url_set(p->u, CURLUPART_URL, NULL, 0);         /* forgets the last one */
    if (r == CURLUE_OK && base)
        r = curl_url_set(p->u, CURLUPART_URL, base, 0);
    if (r == CURLUE_OK)
        r = curl_url_set(p->u, CURLUPART_URL, text, 0);
    if (r != CURLUE_OK) {
        lua_pushnil(L);
        lua_pushstring(L, r == CURLUE_UNSUPPORTED_SCHEME ? "its scheme is not http or https" : curl_url_strerror(r));
        return 2;
    }
    l_part(L, p, CURLUPART_USER, CURLU_URLDECODE);
    l_part(L, p, CURLUPART_PASSWORD, CURLU_URLDECODE);
    curl_url_set(p->u, CURLUPART_USER, NULL, 0);
    curl_url_set(p->u, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(p->u, CURLUPART_FRAGMENT, NULL, 0);
    l_part(L, p, CURLUPART_URL, 0);
    l_part(L, p, CURLUPART_SCHEME, 0);
    l_part(L, p, CURLUPART_HOST, 0);
    l_part(L, p, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    /* stack: text, base, user, password, url, scheme, host, "port", then port */
    lua_pushinteger(L, luaL_optinteger(L, -1, 0));
    lua_replace(L, -2);
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    return 6;
}

void http_url_function(lua_State *L)
{
    struct urls *p = lua_newuserdatauv(L, sizeof *p, 0);

    *p = (struct urls){ 0 };
    luaL_newmetatable(L, TYPE);
    lua_pushcfunction(L, l_urls_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, l_url, 1);
    lua_setfield(L, -2, "url");
}
