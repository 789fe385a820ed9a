/* http_call.c - one transfer, from its start to its end: libcurl's callbacks, back-pressure, time limits, and what Lua
 * reads from it.
 *
 * Owns the easy handle, the timer and the buffers. A body that is read by the script waits in at most BODY_HIGH bytes,
 * then libcurl is paused and TCP makes the server wait; one that is collected is bounded by call->max. Redirects,
 * retries and decompression are the Lua half's. Refuses to be read by two tasks at a time. */
#include "bind/http.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/http_sink.h"
#include "core/err.h"
#include "core/opt.h"

#define BODY_HIGH (1u << 20)
#define READ_MAX  (256u << 10)      /* bytes of a read without a size */
#define PIECE     (64u << 10)
#define KEEP      (64u << 10)       /* a buffer that grew beyond it is not kept for the next call */

struct box {                        /* the userdata; its uservalues: the request's table, the client */
    struct http_call *c;
};

/* ---- libcurl's callbacks ---- */

static size_t on_write(char *bytes, size_t one, size_t len, void *call)
{
    struct http_call *c = call;
    size_t n = one * len;

    c->stirred = uv_now(c->timer.loop);
    if (c->max && c->got + n > c->max) {
        c->failure = HTTP_TOO_LARGE;
        return 0;
    }
    if (c->sink) {
        if (!http_sink_put(c->sink, bytes, n)) {
            c->paused = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        c->got += n;
        return n;
    }
    if (!c->collect && c->body.len - c->body_at >= BODY_HIGH) {
        c->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (c->body_at) {
        buf_drop(&c->body, c->body_at);
        c->body_at = 0;
    }
    if (c->collect && c->got == 0) {
        curl_off_t length = 0;
        curl_easy_getinfo(c->job.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (length > (curl_off_t)n && (uint64_t)length <= c->max)
            buf_reserve(&c->body, (size_t)length);
    }
    if (!buf_put(&c->body, bytes, n)) {
        c->failure = HTTP_NO_MEMORY;
        return 0;
    }
    c->got += n;
    if (c->want == HTTP_WANT_BYTES)
        wait_done(&c->wait);
    return n;
}

static size_t on_read(char *to, size_t one, size_t len, void *call)
{
    struct http_call *c = call;
    size_t n = c->out.len - c->out_at;

    c->stirred = uv_now(c->timer.loop);
    if (n == 0) {
        if (c->out_ended)
            return 0;
        c->out_wanted = true;
        wait_done(&c->wait);
        return CURL_READFUNC_PAUSE;
    }
    if (n > one * len)
        n = one * len;
    memcpy(to, c->out.data + c->out_at, n);
    c->out_at += n;
    return n;
}

/* Just before the request is sent, again when libcurl sends it a second time because the kept connection had died. */
static int on_send(void *call, char *ip, char *local_ip, int port, int local_port)
{
    struct http_call *c = call;

    (void)ip, (void)local_ip, (void)port, (void)local_port;
    c->stirred = uv_now(c->timer.loop);
    if (c->sent && !c->idempotent) {
        c->failure = HTTP_REPLAY;
        return CURL_PREREQFUNC_ABORT;
    }
    c->sent++;
    return CURL_PREREQFUNC_OK;
}

/* ---- queue and end ---- */

static void unlink_running(struct http_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->client->running = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = c->prev = NULL;
    c->client->count--;
}

static void unlink_queued(struct http_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->client->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        c->client->last = c->prev;
    c->next = c->prev = NULL;
}

static void ended(struct http_call *c)
{
    c->state = HTTP_ENDED;
    uv_timer_stop(&c->timer);
    if (c->sink)
        http_sink_end(c->sink, c->failure != HTTP_DISK);      /* what came is good, a resumed download wants it */
    wait_done(&c->wait);
    http_call_next(c->client);
}

static void on_done(struct curl_job *j, CURLcode result)
{
    struct http_call *c = (struct http_call *)j;

    c->result = result;
    unlink_running(c);
    ended(c);
}

void http_call_fail(struct http_call *c, enum http_failure why)
{
    if (c->state != HTTP_QUEUED && c->state != HTTP_RUNNING)
        return;
    if (c->failure == HTTP_FINE)
        c->failure = why;
    if (c->state == HTTP_QUEUED) {
        unlink_queued(c);
    } else {
        curl_loop_stop(&c->job);
        unlink_running(c);
    }
    ended(c);
}

void http_call_resume(struct http_call *c)
{
    if (c->state != HTTP_RUNNING)
        return;
    c->paused = false;
    c->stirred = uv_now(c->timer.loop);
    curl_loop_resume(&c->job);
    /* What came while it was paused goes through on_write now, and its failure is told to nobody. */
    if (c->failure != HTTP_FINE)
        http_call_fail(c, c->failure);
}

static unsigned count_host(const struct http_client *client, const char *host)
{
    unsigned n = 0;

    for (const struct http_call *c = client->running; c; c = c->next)
        n += strcmp(c->host, host) == 0;
    return n;
}

void http_call_next(struct http_client *client)
{
    struct err e;

    for (struct http_call *c = client->first, *next; c && client->loop && client->count < client->max; c = next) {
        next = c->next;
        if (client->per_host && count_host(client, c->host) >= client->per_host)
            continue;
        unlink_queued(c);
        c->next = client->running;
        if (c->next)
            c->next->prev = c;
        client->running = c;
        client->count++;
        c->state = HTTP_RUNNING;
        c->launched = true;
        if (!curl_loop_start(client->loop, &c->job, &e)) {
            http_call_fail(c, HTTP_NO_MEMORY);      /* the only reason there is for a handle that runs nowhere else */
            return;                                 /* which has gone through the queue */
        }
    }
}

/* ---- time ---- */

static void arm(struct http_call *c);

static void on_timer(uv_timer_t *t)
{
    struct http_call *c = t->data;
    uint64_t now = uv_now(t->loop);

    if (c->deadline > 0 && loop_now(c->client->g) >= c->deadline) {
        http_call_fail(c, HTTP_TIMEOUT);
        return;
    }
    /* Before the connection stands connect_timeout counts; a script that is slow is not the server's fault. */
    if (!c->sent || c->paused || c->out_wanted)
        c->stirred = now;
    else if (c->stall > 0 && (double)(now - c->stirred) >= c->stall * 1000) {
        http_call_fail(c, HTTP_STALL);
        return;
    }
    arm(c);
}

static void arm(struct http_call *c)
{
    double due = INFINITY;

    if (c->stall > 0)
        due = (double)c->stirred + c->stall * 1000 - (double)uv_now(c->timer.loop);
    if (c->deadline > 0)
        due = fmin(due, (c->deadline - loop_now(c->client->g)) * 1000);
    if (isfinite(due))
        uv_timer_start(&c->timer, on_timer, due > 0 ? (uint64_t)due + 1 : 1, 0);
}

/* ---- lifetime ---- */

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void http_call_free(struct http_call *c)
{
    curl_easy_cleanup(c->job.easy);
    buf_free(&c->out);
    buf_free(&c->head);
    buf_free(&c->body);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static struct http_call *call_new(struct http_client *client)
{
    struct http_call *c = client->idle;

    if (c) {
        client->idle = c->next;
        c->next = NULL;
    } else {
        c = calloc(1, sizeof *c);
        if (!c || !(c->job.easy = curl_easy_init())) {
            free(c);
            return NULL;
        }
        uv_timer_init(loop_uv(client->g), &c->timer);
        c->timer.data = c;
    }
    c->client = client;
    client->refs++;
    return c;
}

static void keep_buf(struct buf *b)
{
    if (b->cap > KEEP)
        buf_free(b);
    b->len = 0;
}

/* Gives it back to its client. Not while a task waits on it. */
static void call_release(struct http_call *c)
{
    struct http_client *client = c->client;
    /* libcurl 7.88 does not free the receive buffer of a transfer that ends while others use its connection, and then
     * refuses another size: such a handle is not used again. */
    bool keep = client->loop && c->version[0] != '2';

    if (c->state == HTTP_QUEUED || c->state == HTTP_RUNNING)
        http_call_fail(c, HTTP_CLOSED);
    if (c->sink)
        http_sink_leave(c->sink);
    free(c->what);
    free(c->host);
    curl_easy_setopt(c->job.easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(c->job.easy, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(c->lines);
    keep_buf(&c->out);
    keep_buf(&c->head);
    keep_buf(&c->body);
    memset((char *)c + offsetof(struct http_call, wait), 0, sizeof *c - offsetof(struct http_call, wait));
    if (keep) {
        c->next = client->idle;
        client->idle = c;
    } else {
        http_call_free(c);
    }
    http_client_unref(client);
}

/* ---- Lua: start ---- */

static double l_seconds(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    double seconds = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return seconds;
}

static char *l_copy(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    char *copy = strdup(luaL_optstring(L, -1, "?"));
    lua_pop(L, 1);
    return copy;
}

void http_call_callbacks(struct http_call *c)
{
    CURL *h = c->job.easy;

    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->text);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(h, CURLOPT_READDATA, c);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, http_head_line);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_send);
    curl_easy_setopt(h, CURLOPT_PREREQDATA, c);
    curl_easy_setopt(h, CURLOPT_SHARE, c->client->share);
}

/* client:start(request, settings) -> call
 *
 * request: method, url, what, host, headers (lines), body (nil, a string, or true: it comes by put), length (of a body
 * by put, nil: unknown), timeout (all of it, for texts), left (of it), connect_timeout, stall_timeout, max_body,
 * collect, stream, idempotent.
 * settings: serial, ca, ca_pem, cert, cert_pem, key, key_pem, key_password, proxy, proxy_user, proxy_password, no_proxy,
 * proxy_env, http2. */
int l_http_start(lua_State *L)
{
    struct http_client *client = *(struct http_client **)luaL_checkudata(L, 1, HTTP_CLIENT);
    struct err e;

    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    if (!client || !client->loop)
        return l_raisef(L, "http", "closed", "the HTTP client is closed");
    l_wait_check(L, "http");
    lua_settop(L, 3);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 2);
    box->c = NULL;
    luaL_setmetatable(L, HTTP_CALL);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 2);

    struct http_call *c = box->c = call_new(client);
    if (!c)
        return l_raisef(L, "http", "ENOMEM", "not enough memory for a request");
    c->wait.lasting = true;
    c->what = l_copy(L, 2, "what");
    c->host = l_copy(L, 2, "host");
    if (!c->what || !c->host)
        return l_raisef(L, "http", "ENOMEM", "not enough memory for a request");      /* __gc gives the call back */
    c->timeout = l_seconds(L, 2, "timeout");
    c->connect = l_seconds(L, 2, "connect_timeout");
    c->stall = l_seconds(L, 2, "stall_timeout");
    c->max = (uint64_t)l_seconds(L, 2, "max_body");
    lua_getfield(L, 2, "collect");
    lua_getfield(L, 2, "idempotent");
    c->collect = lua_toboolean(L, -2);
    c->idempotent = lua_toboolean(L, -1);
    lua_pop(L, 2);
    double left = l_seconds(L, 2, "left");
    if (left > 0)
        c->deadline = loop_now(client->g) + left;
    c->job.done = on_done;
    if (!http_setup(L, 2, c, &e))
        return l_raise(L, &e);
    uv_update_time(c->timer.loop);
    c->stirred = uv_now(c->timer.loop);
    c->state = HTTP_QUEUED;
    c->prev = client->last;
    if (c->prev)
        c->prev->next = c;
    else
        client->first = c;
    client->last = c;
    arm(c);
    http_call_next(client);
    return 1;
}

/* ---- Lua: a call ---- */

static struct http_call *l_call(lua_State *L, const char *fn)
{
    struct http_call *c = ((struct box *)luaL_checkudata(L, 1, HTTP_CALL))->c;

    if (!c || c->closed)
        l_raisef(L, "http", "closed", "%s: the response is closed", fn);
    if (c->wait.held)
        l_raisef(L, "http", "busy", "%s: another task reads this response", fn);
    return c;
}

static int l_failed(lua_State *L, const struct http_call *c)
{
    struct err e;

    http_error(c, &e);
    return l_raise(L, &e);
}

static bool is_over(const struct http_call *c)
{
    return c->state == HTTP_ENDED && (!c->sink || http_sink_idle(c->sink));
}

static bool is_bad(const struct http_call *c)
{
    return c->failure != HTTP_FINE || c->result != CURLE_OK;
}

static void on_cancel(struct wait *w)
{
    (void)w;      /* the error on its way closes the call */
}

static int l_park(lua_State *L, struct http_call *c, enum http_want want, lua_KFunction k)
{
    c->want = want;
    return wait_park(L, &c->wait, "http", on_cancel, k, (lua_KContext)c);
}

/* Pushes false when the request's body is wanted. */
static bool l_wanted(lua_State *L, const struct http_call *c)
{
    if (!c->out_wanted || c->state == HTTP_ENDED)
        return false;
    lua_pushboolean(L, 0);
    return true;
}

static int l_head_k(lua_State *L, int status, lua_KContext ctx)
{
    struct http_call *c = (struct http_call *)ctx;

    (void)status;
    c->want = HTTP_WANT_NOTHING;
    if (c->closed)
        return l_raisef(L, "http", "closed", "%s: the response was closed meanwhile", c->what);
    if (c->head_done)
        return l_http_head(L, c);
    if (c->state == HTTP_ENDED)
        return l_failed(L, c);
    if (l_wanted(L, c))
        return 1;
    return l_park(L, c, HTTP_WANT_HEAD, l_head_k);
}

/* call:head() -> status, version, headers; or false: put more of the request's body first */
static int l_call_head(lua_State *L)
{
    struct http_call *c = l_call(L, "response");
    lua_settop(L, 1);
    return l_head_k(L, LUA_OK, (lua_KContext)c);
}

static int l_read_k(lua_State *L, int status, lua_KContext ctx)
{
    struct http_call *c = (struct http_call *)ctx;
    size_t n = c->body.len - c->body_at, limit = (size_t)lua_tointeger(L, 2);

    (void)status;
    c->want = HTTP_WANT_NOTHING;
    if (c->closed)
        return l_raisef(L, "http", "closed", "%s: the response was closed meanwhile", c->what);
    if (n) {
        if (n > limit)
            n = limit;
        lua_pushlstring(L, c->body.data + c->body_at, n);
        c->body_at += n;
        if (c->body_at == c->body.len) {
            c->body.len = c->body_at = 0;
            if (c->paused)
                http_call_resume(c);
        }
        return 1;
    }
    if (c->state == HTTP_ENDED && is_bad(c))
        return l_failed(L, c);
    if (c->state == HTTP_ENDED) {
        lua_pushnil(L);
        return 1;
    }
    if (l_wanted(L, c))
        return 1;
    return l_park(L, c, HTTP_WANT_BYTES, l_read_k);
}

/* call:read([n]) -> at most n bytes, nil at the end; or false: put more of the request's body first */
static int l_call_read(lua_State *L)
{
    struct http_call *c = l_call(L, "response:read");
    lua_Integer n = luaL_optinteger(L, 2, READ_MAX);
    if (n < 1)
        return l_raisef(L, "usage", "argument", "response:read: n is a number of bytes from 1");
    lua_settop(L, 1);
    lua_pushinteger(L, n);
    return l_read_k(L, LUA_OK, (lua_KContext)c);
}

static int l_finish_k(lua_State *L, int status, lua_KContext ctx)
{
    struct http_call *c = (struct http_call *)ctx;

    (void)status;
    c->want = HTTP_WANT_NOTHING;
    if (c->closed)
        return l_raisef(L, "http", "closed", "%s: the response was closed meanwhile", c->what);
    if (!is_over(c)) {
        if (l_wanted(L, c))
            return 1;
        return l_park(L, c, HTTP_WANT_END, l_finish_k);
    }
    if (is_bad(c))
        return l_failed(L, c);
    int n = l_http_head(L, c);
    lua_pushlstring(L, c->body.data ? c->body.data + c->body_at : "", c->body.len - c->body_at);
    ((struct box *)lua_touserdata(L, 1))->c = NULL;
    call_release(c);
    return n + 1;
}

/* call:finish() -> status, version, headers, the rest of the body; the call is closed then. Or false: put more of the
 * request's body first. For calls with collect or a sink. */
static int l_call_finish(lua_State *L)
{
    struct http_call *c = l_call(L, "response");
    lua_settop(L, 1);
    return l_finish_k(L, LUA_OK, (lua_KContext)c);
}

/* call:save(sink [, max]): the body goes there from now on, max bytes of it at most; then finish() */
static int l_call_save(lua_State *L)
{
    struct http_call *c = l_call(L, "http.download");
    struct http_sink *s = l_http_sink(L, 2);

    c->max = (uint64_t)luaL_optinteger(L, 3, 0);
    if (c->sink || c->collect)
        return l_raisef(L, "http", "busy", "http.download: the body goes elsewhere already");
    http_sink_begin(s, c);
    c->sink = s;
    for (size_t n; (n = c->body.len - c->body_at) > 0; c->body_at += n) {      /* its slots hold more than BODY_HIGH */
        if (n > PIECE)
            n = PIECE;
        http_sink_put(s, c->body.data + c->body_at, n);
    }
    c->body.len = c->body_at = 0;
    if (c->state == HTTP_ENDED)
        http_sink_end(s, true);
    else if (c->paused)
        http_call_resume(c);
    return 0;
}

/* call:put(bytes or nil): more of the request's body, nil: that was all. Only when it was wanted. */
static int l_call_put(lua_State *L)
{
    struct http_call *c = l_call(L, "response");
    size_t len = 0;
    const char *bytes = luaL_optlstring(L, 2, NULL, &len);

    if (c->state != HTTP_RUNNING)
        return 0;                            /* it has ended meanwhile; who waits next is told */
    if (c->out_at == c->out.len)
        c->out.len = c->out_at = 0;
    if (!bytes)
        c->out_ended = true;
    else if (!buf_put(&c->out, bytes, len))
        return l_raisef(L, "http", "ENOMEM", "%s: not enough memory for the body", c->what);
    if (bytes && len == 0)
        return 0;
    c->out_wanted = false;
    http_call_resume(c);
    return 0;
}

/* call:count() -> bytes of the body that came */
static int l_call_count(lua_State *L)
{
    struct http_call *c = ((struct box *)luaL_checkudata(L, 1, HTTP_CALL))->c;
    lua_pushinteger(L, c ? (lua_Integer)c->got : 0);
    return 1;
}

static int l_call_close(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, HTTP_CALL);
    struct http_call *c = box->c;

    if (!c)
        return 0;
    if (c->wait.held) {
        c->closed = true;
        http_call_fail(c, HTTP_CLOSED);
        wait_done(&c->wait);
        return 0;
    }
    box->c = NULL;
    call_release(c);
    return 0;
}

static int l_call_gc(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, HTTP_CALL);

    if (box->c)
        call_release(box->c);
    box->c = NULL;
    return 0;
}

void http_call_type(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "head", l_call_head },
        { "read", l_call_read },
        { "finish", l_call_finish },
        { "save", l_call_save },
        { "put", l_call_put },
        { "count", l_call_count },
        { "close", l_call_close },
        { NULL, NULL },
    };
    luaL_newmetatable(L, HTTP_CALL);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_call_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, l_call_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
