/* http_head.c - the head of a response: its lines as they come, and as a Lua table.
 *
 * Owns nothing; fills call->head. Refuses heads beyond HEAD_MAX, drops fields with a
 * name beyond NAME_MAX_LEN. Interim responses (1xx) are passed over, trailers are
 * ignored. */
#include "bind/http.h"

#include <ctype.h>
#include <string.h>
#include <lauxlib.h>

#define HEAD_MAX     (256u << 10)
#define NAME_MAX_LEN 256u

/* "HTTP/1.1 200 OK": begins a head. */
static bool begin(struct http_call *c, const char *line, size_t len)
{
    size_t at = 5, n = 0;

    c->head.len = 0;
    c->status = 0;
    while (at < len && n < sizeof c->version - 1 && (isdigit((unsigned char)line[at]) || line[at] == '.'))
        c->version[n++] = line[at++];
    c->version[n] = '\0';
    while (at < len && line[at] == ' ')
        at++;
    for (int i = 0; i < 3 && at < len && isdigit((unsigned char)line[at]); i++)
        c->status = c->status * 10 + (line[at++] - '0');
    return n > 0 && c->status >= 100;
}

size_t http_head_line(char *line, size_t one, size_t len, void *call)
{
    struct http_call *c = call;
    size_t n = len * one;

    c->stirred = uv_now(c->timer.loop);
    if (c->head_done)
        return n;                            /* a trailer */
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        if (begin(c, line, len))
            return n;
    } else if (len == 0) {
        if (c->status / 100 != 1) {
            c->head_done = true;
            if (c->want == HTTP_WANT_HEAD)
                wait_done(&c->wait);
        }
        return n;
    } else if (c->head.len + len < HEAD_MAX && !memchr(line, '\0', len)) {
        /* A line that begins with white space goes on with the one before it (obs-fold, RFC 9112, 5.2). */
        if ((*line == ' ' || *line == '\t') && c->head.len)
            c->head.data[c->head.len - 1] = ' ';
        if (buf_reserve(&c->head, len + 1)) {
            buf_put(&c->head, line, len);
            buf_put(&c->head, "", 1);
            return n;
        }
    }
    c->failure = HTTP_BAD_HEAD;
    return 0;
}

/* Adds a value to the table on top: repeated fields are joined, but for set-cookie, whose values hold commas. */
static void l_add(lua_State *L, const char *name, size_t name_len, const char *value, size_t len)
{
    char lower[NAME_MAX_LEN];
    bool cookie;
    int had;

    if (name_len > sizeof lower)
        return;                                     /* nobody's header */
    for (size_t i = 0; i < name_len; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    lua_pushlstring(L, lower, name_len);            /* stack: headers, name */
    cookie = name_len == strlen("set-cookie") && memcmp(lower, "set-cookie", name_len) == 0;
    lua_pushvalue(L, -1);
    had = lua_rawget(L, -3);                        /* stack: headers, name, value or nil */
    if (cookie) {
        if (had == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
        }
        lua_pushlstring(L, value, len);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    } else if (had == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushlstring(L, value, len);
    } else {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value, len);
        lua_concat(L, 3);
    }
    lua_rawset(L, -3);
}

int l_http_head(lua_State *L, const struct http_call *c)
{
    lua_pushinteger(L, c->status);
    lua_pushstring(L, c->version);
    lua_createtable(L, 0, 8);
    for (size_t at = 0; at < c->head.len;) {
        const char *line = c->head.data + at, *end = line + strlen(line);
        const char *colon = memchr(line, ':', (size_t)(end - line));
        at += (size_t)(end - line) + 1;
        if (!colon)
            continue;
        const char *value = colon + 1, *name_end = colon;
        while (name_end > line && (name_end[-1] == ' ' || name_end[-1] == '\t'))
            name_end--;
        while (*value == ' ' || *value == '\t')
            value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        l_add(L, line, (size_t)(name_end - line), value, (size_t)(end - value));
    }
    return 3;
}
