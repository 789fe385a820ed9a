/* http_setup.c - what a request and its client's settings mean for libcurl.
 *
 * Owns nothing; what libcurl does not copy (header lines, a body that is one string) is kept by the call and by its
 * userdata. The Lua half has checked every value. Refuses what would weaken a transfer: redirects, decompression,
 * cookies, .netrc and the environment's proxies are never libcurl's, and certificates are always verified. */
#include "bind/http.h"

#include <string.h>
#include <lauxlib.h>
#include "core/err.h"

#define BUFFER_SMALL (64 << 10)
#define BUFFER_BIG   (512 << 10)      /* CURL_MAX_READ_SIZE is 512 KiB in libcurl 7.88 */

/* Each easy_setopt's result passes through here; the first failure stays. */
static void keep(CURLcode r, CURLcode *first)
{
    if (*first == CURLE_OK)
        *first = r;
}

/* The string field of the table at idx; it stays valid while the table holds it. */
static const char *l_text(lua_State *L, int idx, const char *name, size_t *len)
{
    const char *text = NULL;

    if (lua_getfield(L, idx, name) == LUA_TSTRING)
        text = lua_tolstring(L, -1, len);
    lua_pop(L, 1);
    return text;
}

static bool l_flag(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    bool yes = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return yes;
}

static void set_text(lua_State *L, int idx, const char *name, CURL *h, CURLoption o, CURLcode *r)
{
    const char *text = l_text(L, idx, name, NULL);
    if (text)
        keep(curl_easy_setopt(h, o, text), r);
}

/* libcurl copies it. */
static void set_blob(lua_State *L, int idx, const char *name, CURL *h, CURLoption o, CURLcode *r)
{
    size_t len = 0;
    const char *text = l_text(L, idx, name, &len);
    union { const char *from; void *to; } bytes = { .from = text };      /* libcurl only reads there */
    struct curl_blob blob = { .data = bytes.to, .len = len, .flags = CURL_BLOB_COPY };
    if (text)
        keep(curl_easy_setopt(h, o, &blob), r);
}

static void set_tls(lua_State *L, int settings, CURL *h, CURLcode *r)
{
    keep(curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L), r);
    keep(curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L), r);
    keep(curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2), r);
    keep(curl_easy_setopt(h, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2), r);
    if (l_text(L, settings, "ca", NULL) || l_text(L, settings, "ca_pem", NULL)) {
        /* Instead of the system's, not besides. */
        keep(curl_easy_setopt(h, CURLOPT_CAPATH, NULL), r);
        keep(curl_easy_setopt(h, CURLOPT_CAINFO, NULL), r);
        keep(curl_easy_setopt(h, CURLOPT_PROXY_CAPATH, NULL), r);
        keep(curl_easy_setopt(h, CURLOPT_PROXY_CAINFO, NULL), r);
        set_text(L, settings, "ca", h, CURLOPT_CAINFO, r);
        set_text(L, settings, "ca", h, CURLOPT_PROXY_CAINFO, r);
        set_blob(L, settings, "ca_pem", h, CURLOPT_CAINFO_BLOB, r);
        set_blob(L, settings, "ca_pem", h, CURLOPT_PROXY_CAINFO_BLOB, r);
    }
    set_text(L, settings, "cert", h, CURLOPT_SSLCERT, r);
    set_text(L, settings, "key", h, CURLOPT_SSLKEY, r);
    set_blob(L, settings, "cert_pem", h, CURLOPT_SSLCERT_BLOB, r);
    set_blob(L, settings, "key_pem", h, CURLOPT_SSLKEY_BLOB, r);
    set_text(L, settings, "key_password", h, CURLOPT_KEYPASSWD, r);
}

static void set_proxy(lua_State *L, int settings, CURL *h, CURLcode *r)
{
    if (l_flag(L, settings, "proxy_env"))
        return;                                    /* libcurl's own reading of http_proxy and its kin */
    keep(curl_easy_setopt(h, CURLOPT_PROXY, ""), r);      /* "": the environment is not looked at */
    set_text(L, settings, "proxy", h, CURLOPT_PROXY, r);
    set_text(L, settings, "proxy_user", h, CURLOPT_PROXYUSERNAME, r);
    set_text(L, settings, "proxy_password", h, CURLOPT_PROXYPASSWORD, r);
    set_text(L, settings, "no_proxy", h, CURLOPT_NOPROXY, r);
}

static bool set_lines(lua_State *L, int request, struct http_call *c, CURLcode *r)
{
    lua_getfield(L, request, "headers");
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
        struct curl_slist *longer = curl_slist_append(c->lines, lua_tostring(L, -1));
        lua_pop(L, 1);
        if (!longer) {
            lua_pop(L, 1);
            return false;
        }
        c->lines = longer;
    }
    lua_pop(L, 2);
    keep(curl_easy_setopt(c->job.easy, CURLOPT_HTTPHEADER, c->lines), r);
    return true;
}

/* HTTPGET takes back what a transfer before has left of an upload, a HEAD or a POST. */
static void set_body(lua_State *L, int request, struct http_call *c, const char *method, CURLcode *r)
{
    CURL *h = c->job.easy;
    bool head = strcmp(method, "HEAD") == 0;
    int type = lua_getfield(L, request, "body");

    keep(curl_easy_setopt(h, CURLOPT_POSTFIELDS, NULL), r);
    keep(curl_easy_setopt(h, CURLOPT_HTTPGET, 1L), r);
    keep(curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 0L), r);
    keep(curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, head ? NULL : method), r);
    if (head) {
        keep(curl_easy_setopt(h, CURLOPT_NOBODY, 1L), r);
    } else if (type == LUA_TSTRING) {
        size_t len;
        const char *bytes = lua_tolstring(L, -1, &len);        /* the call's userdata holds the request's table */
        keep(curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len), r);
        keep(curl_easy_setopt(h, CURLOPT_POSTFIELDS, bytes), r);
    } else if (type != LUA_TNIL) {
        lua_getfield(L, request, "length");
        keep(curl_easy_setopt(h, CURLOPT_UPLOAD, 1L), r);
        keep(curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)luaL_optinteger(L, -1, -1)), r);
        keep(curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BIG), r);
        /* A kept connection that dies while it is taken up again would need the body from its beginning. */
        keep(curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L), r);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* What every transfer of a handle has in common with every other. */
static void set_always(CURL *h, CURLcode *r)
{
    keep(curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https"), r);
    keep(curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L), r);
    keep(curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L), r);
    keep(curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED), r);
    keep(curl_easy_setopt(h, CURLOPT_HTTP09_ALLOWED, 0L), r);
    keep(curl_easy_setopt(h, CURLOPT_HTTP_CONTENT_DECODING, 0L), r);
    keep(curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L), r);
    keep(curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L), r);
}

bool http_setup(lua_State *L, int idx, struct http_call *c, struct err *e)
{
    CURL *h = c->job.easy;
    CURLcode r = CURLE_OK;
    const char *method = l_text(L, idx, "method", NULL), *url = l_text(L, idx, "url", NULL);
    bool stream = l_flag(L, idx, "stream"), tls = url && strncmp(url, "https:", 6) == 0;
    bool http2 = tls && !stream && l_flag(L, idx + 1, "http2");

    if (!method || !url)
        return err_set(e, "usage", "argument", "client:start: method and url are strings");
    lua_getfield(L, idx + 1, "serial");
    lua_Integer serial = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    if (!serial || serial != c->settings) {
        if (c->settings)
            curl_easy_reset(h);
        http_call_callbacks(c);
        set_always(h, &r);
        set_tls(L, idx + 1, h, &r);
        set_proxy(L, idx + 1, h, &r);
        c->settings = r == CURLE_OK && serial ? serial : -1;
    }
    keep(curl_easy_setopt(h, CURLOPT_URL, url), &r);
    keep(curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1)), &r);
    keep(curl_easy_setopt(h, CURLOPT_PIPEWAIT, http2 ? 1L : 0L), &r);
    keep(curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->connect * 1000) + 1), &r);
    /* Refused while the handle has a buffer of an earlier transfer; that one does as well. */
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)(stream ? BUFFER_BIG : BUFFER_SMALL));
    keep(curl_easy_setopt(h, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)(c->collect ? c->max : 0)), &r);
    set_body(L, idx, c, method, &r);
    if (!set_lines(L, idx, c, &r))
        r = CURLE_OUT_OF_MEMORY;
    if (r != CURLE_OK) {
        c->settings = -1;
        return err_set(e, "http", r == CURLE_OUT_OF_MEMORY ? "ENOMEM" : "setup", "%s: cannot prepare the request: %s",
                       c->what, curl_easy_strerror(r));
    }
    return true;
}
