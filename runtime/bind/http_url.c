/* http_url.c - URLs by libcurl's own parser, so that what is checked is what is connected to.
 *
 * Owns nothing. Knows http and https only; the Lua half has refused control characters before. */
#include "bind/http.h"

#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>

/* Pushes a part, nil when there is none. */
static void l_part(lua_State *L, CURLU *u, CURLUPart part, unsigned flags)
{
    char *text = NULL;

    if (curl_url_get(u, part, &text, flags) == CURLUE_OK && text)
        lua_pushstring(L, text);     /* short: memory that runs out here loses text with the process */
    else
        lua_pushnil(L);
    curl_free(text);
}

struct parsed {
    CURLU *u;
};

static void parsed_end(struct parsed *p)
{
    curl_url_cleanup(p->u);
    p->u = NULL;
}

static int l_parsed_gc(lua_State *L)
{
    parsed_end(lua_touserdata(L, 1));
    return 0;
}

/* url(text [, base]) -> url without user and fragment, scheme, host, port, user, password; or nil and what is wrong */
int l_http_url(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1);
    const char *base = luaL_optstring(L, 2, NULL);
    CURLUcode r = CURLUE_OK;
    struct parsed *p;

    lua_settop(L, 2);
    p = lua_newuserdatauv(L, sizeof *p, 0);
    p->u = NULL;
    if (luaL_newmetatable(L, "garun.http.url")) {
        lua_pushcfunction(L, l_parsed_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    p->u = curl_url();
    if (!p->u)
        return luaL_error(L, "not enough memory");
    if (base)
        r = curl_url_set(p->u, CURLUPART_URL, base, 0);
    if (r == CURLUE_OK)
        r = curl_url_set(p->u, CURLUPART_URL, text, 0);
    if (r != CURLUE_OK) {
        lua_pushnil(L);
        lua_pushstring(L, r == CURLUE_UNSUPPORTED_SCHEME ? "its scheme is not http or https" : curl_url_strerror(r));
        return 2;
    }
    l_part(L, p->u, CURLUPART_USER, CURLU_URLDECODE);
    l_part(L, p->u, CURLUPART_PASSWORD, CURLU_URLDECODE);
    curl_url_set(p->u, CURLUPART_USER, NULL, 0);
    curl_url_set(p->u, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(p->u, CURLUPART_FRAGMENT, NULL, 0);       /* stack: text, base, parsed, user, password */
    l_part(L, p->u, CURLUPART_URL, 0);
    l_part(L, p->u, CURLUPART_SCHEME, 0);
    l_part(L, p->u, CURLUPART_HOST, 0);
    l_part(L, p->u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    lua_pushinteger(L, luaL_optinteger(L, -1, 0));
    lua_replace(L, -2);                                    /* stack: ..., user, password, url, scheme, host, port */
    lua_pushvalue(L, 4);
    lua_pushvalue(L, 5);
    parsed_end(p);
    return 6;
}
