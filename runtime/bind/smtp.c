/* smtp.c - garun.core.smtp: a connection to a mail relay, up to the login by libcurl, from then on as plain bytes.
 *
 * libcurl resolves, connects, does TLS or STARTTLS and AUTH (CURLOPT_CONNECT_ONLY); what was said meanwhile is kept as
 * a transcript, for libcurl tells apart only some of the ways to be refused. The mails themselves are not libcurl's:
 * its multi interface blocks inside one call until the message is answered (tests/c/test_curl_smtp.c). So commands and
 * replies go through curl_easy_send and curl_easy_recv, and waiting is a watch on the socket.
 *
 * Owns the easy handle, its curl_loop (one each: libcurl must not think of pruning or reusing these connections) and
 * the bytes received. Knows nothing of mail: what is said, and what an answer means, is runtime/lua/garun/smtp.lua.
 * Refuses to be used by two tasks at a time. */
#include <stdio.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/curl_loop.h"
#include "core/buf.h"
#include "core/err.h"
#include "loop/loop.h"

#define TYPE "garun.smtp.connection"

enum {
    TRANSCRIPT_MAX = 64 << 10,
    LINE_MAX_BYTES = 8 << 10,     /* RFC 5321 4.5.3.1.5 says 512; some relays add a URL or two */
    PIECE = 64 << 10,             /* one curl_easy_send */
    TURN = 1 << 20,               /* then others get theirs, however fast the peer reads */
    RECEIVE = 4 << 10,
};

enum state { STATE_NEW, STATE_CONNECTING, STATE_OPEN, STATE_CLOSED };

struct conn {                     /* the userdata */
    struct wait       wait;       /* the task that connects */
    struct curl_job   job;
    struct curl_loop *loop;
    CURL             *easy;
    struct watch     *watch;      /* of the open connection's socket */
    enum state        state;
    bool              cut;        /* a task was cancelled in the middle: what is on the wire is unknown */
    CURLcode          result;
    struct buf        said;       /* transcript: "C:VERB\n" and "S:reply\n" */
    struct buf        in;         /* received and not yet taken */
    double            deadline;   /* of the line that is waited for */
    double            patience;   /* seconds that the peer may take no byte of a write */
    size_t            sent;       /* of the string at 2 that is being written */
    char              error[CURL_ERROR_SIZE];
};

/* ---- closing ---- */

static void release(struct conn *c)
{
    c->state = STATE_CLOSED;
    if (c->watch && c->watch->wait.held)
        return;                   /* who waits is woken and releases */
    watch_close(c->watch);
    c->watch = NULL;
    curl_loop_stop(&c->job);
    if (c->easy)
        curl_easy_cleanup(c->easy);
    c->easy = NULL;
    curl_loop_close(c->loop);
    c->loop = NULL;
    buf_free(&c->in);
    buf_free(&c->said);
}

static void shut(struct conn *c)
{
    if (c->state == STATE_CONNECTING) {
        curl_loop_stop(&c->job);
        c->state = STATE_CLOSED;
        wait_done(&c->wait);      /* its continuation releases */
        return;
    }
    c->state = STATE_CLOSED;
    if (c->watch && c->watch->wait.held)
        watch_wake(c->watch);
    release(c);
}

/* close(parting): sends these last words when the socket takes them at once; never waits. */
static int l_close(lua_State *L)
{
    struct conn *c = luaL_checkudata(L, 1, TYPE);
    size_t len, n;
    const char *parting = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : NULL;

    if (parting && c->state == STATE_OPEN && !c->cut && !c->watch->wait.held)
        curl_easy_send(c->easy, parting, len, &n);
    shut(c);
    return 0;
}

static int l_scope_end(lua_State *L)      /* its second argument is the error that ends the scope */
{
    shut(luaL_checkudata(L, 1, TYPE));
    return 0;
}

static int l_gc(lua_State *L)
{
    release(luaL_checkudata(L, 1, TYPE));
    return 0;
}

/* ---- connecting ---- */

static bool note(struct conn *c, const char *who, const char *text, size_t len)
{
    if (c->said.len + len + 3 > TRANSCRIPT_MAX)
        return false;
    return buf_put(&c->said, who, 2) && buf_put(&c->said, text, len) && buf_put(&c->said, "\n", 1);
}

static size_t on_reply(char *line, size_t size, size_t count, void *arg)
{
    size_t len = size * count, n = len;

    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    return note(arg, "S:", line, n) ? len : 0;
}

/* Of what we say only the verb is kept, and of the steps of AUTH nothing: they are the password. */
static int on_debug(CURL *easy, curl_infotype type, char *text, size_t len, void *arg)
{
    static const char *const verbs[] = { "EHLO", "HELO", "STARTTLS", "AUTH" };

    (void)easy;
    for (size_t i = 0; type == CURLINFO_HEADER_OUT && i < sizeof verbs / sizeof *verbs; i++) {
        size_t n = strlen(verbs[i]);
        if (len > n && memcmp(text, verbs[i], n) == 0 && (text[n] == ' ' || text[n] == '\r'))
            note(arg, "C:", verbs[i], n);
    }
    return 0;
}

static void on_done(struct curl_job *j, CURLcode result)
{
    struct conn *c = (struct conn *)((char *)j - offsetof(struct conn, job));

    c->result = result;
    wait_done(&c->wait);
}

static void connect_cancel(struct wait *w)
{
    struct conn *c = (struct conn *)((char *)w - offsetof(struct conn, wait));

    curl_loop_stop(&c->job);
    c->state = STATE_CLOSED;
}

static int l_open_k(lua_State *L, int status, lua_KContext ctx)
{
    struct conn *c = (struct conn *)ctx;
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_off_t connected = 0, secured = 0;
    long errnum = 0, verify = 0;
    struct err e;

    (void)status;
    if (c->state == STATE_CLOSED) {
        release(c);
        return l_raisef(L, "smtp", "closed", "smtp.connect: the connection was closed meanwhile");
    }
    lua_createtable(L, 0, 7);                /* stack: connection, result */
    lua_pushinteger(L, (lua_Integer)c->result);
    lua_setfield(L, -2, "result");
    lua_pushlstring(L, c->said.data ? c->said.data : "", c->said.len);
    lua_setfield(L, -2, "said");
    if (c->result == CURLE_OK) {
        curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
        c->watch = fd == CURL_SOCKET_BAD ? NULL : watch_open(garun_of(L), fd, &e);
        if (c->watch) {
            c->state = STATE_OPEN;
            buf_free(&c->said);
            return 2;
        }
        c->result = CURLE_RECV_ERROR;
        lua_pushinteger(L, (lua_Integer)c->result);
        lua_setfield(L, -2, "result");
    }
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &errnum);
    curl_easy_getinfo(c->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
    lua_pushstring(L, c->error[0] ? c->error : curl_easy_strerror(c->result));
    lua_setfield(L, -2, "text");
    if (errnum) {
        lua_pushstring(L, strerror((int)errnum));
        lua_setfield(L, -2, "errno");
    }
    lua_pushboolean(L, verify != 0);
    lua_setfield(L, -2, "unverified");
    curl_easy_getinfo(c->easy, CURLINFO_CONNECT_TIME_T, &connected);
    curl_easy_getinfo(c->easy, CURLINFO_APPCONNECT_TIME_T, &secured);
    lua_pushboolean(L, connected > 0);
    lua_setfield(L, -2, "connected");
    lua_pushboolean(L, secured > 0);
    lua_setfield(L, -2, "secured");
    release(c);
    return 2;
}

/* Sets a string option from field name of the table at 1, when it is there; libcurl copies it. */
static void set_text(lua_State *L, struct conn *c, CURLoption option, const char *name)
{
    if (lua_getfield(L, 1, name) == LUA_TSTRING)
        curl_easy_setopt(c->easy, option, lua_tostring(L, -1));
    lua_pop(L, 1);
}

static void set_options(lua_State *L, struct conn *c, long timeout_ms, bool encrypted)
{
    CURL *h = c->easy;

    curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);      /* else a cancelled look-up blocks until the resolver gives up */
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(h, CURLOPT_PROXY, "");           /* not even from the environment */
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_reply);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(h, CURLOPT_VERBOSE, 1L);         /* for on_debug; nothing is printed */
    curl_easy_setopt(h, CURLOPT_DEBUGFUNCTION, on_debug);
    curl_easy_setopt(h, CURLOPT_DEBUGDATA, c);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, timeout_ms);
    /* CURLUSESSL_TRY would go on in clear text where STARTTLS is missing. */
    curl_easy_setopt(h, CURLOPT_USE_SSL, (long)(encrypted ? CURLUSESSL_ALL : CURLUSESSL_NONE));
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    set_text(L, c, CURLOPT_URL, "url");
    set_text(L, c, CURLOPT_UNIX_SOCKET_PATH, "socket");
    set_text(L, c, CURLOPT_USERNAME, "username");
    set_text(L, c, CURLOPT_PASSWORD, "password");
    set_text(L, c, CURLOPT_XOAUTH2_BEARER, "token");
    set_text(L, c, CURLOPT_LOGIN_OPTIONS, "login");
    set_text(L, c, CURLOPT_CAINFO, "ca");
    set_text(L, c, CURLOPT_SSLCERT, "cert");
    set_text(L, c, CURLOPT_SSLKEY, "key");
    set_text(L, c, CURLOPT_KEYPASSWD, "key_password");
    set_text(L, c, CURLOPT_PINNEDPUBLICKEY, "pin");
}

/* open({ url, socket, username, password, token, login, ca, cert, key, key_password, pin }, seconds, encrypted)
 *     -> connection, { result = CURLcode, said = transcript, text, errno, unverified, connected, secured } */
static int l_open(lua_State *L)
{
    struct err e;
    double seconds = luaL_checknumber(L, 2);
    bool encrypted = lua_toboolean(L, 3);

    luaL_checktype(L, 1, LUA_TTABLE);
    l_wait_check(L, "smtp.connect");
    struct conn *c = lua_newuserdatauv(L, sizeof *c, 0);
    *c = (struct conn){ .wait.lasting = true, .job = { .done = on_done, .keep = true } };
    luaL_setmetatable(L, TYPE);
    c->loop = curl_loop_open(garun_of(L), &e);
    c->easy = c->job.easy = c->loop ? curl_easy_init() : NULL;
    if (!c->easy)
        return l_raisef(L, "smtp", "ENOMEM", "smtp.connect: not enough memory");
    set_options(L, c, (long)(seconds * 1000), encrypted);
    if (!curl_loop_start(c->loop, &c->job, &e)) {
        e.kind = "smtp";
        return l_raise(L, &e);
    }
    c->state = STATE_CONNECTING;
    lua_replace(L, 1);
    lua_settop(L, 1);
    return wait_park(L, &c->wait, "smtp.connect", connect_cancel, l_open_k, (lua_KContext)c);
}

/* ---- an open connection ---- */

static struct conn *l_conn(lua_State *L, const char *fn)
{
    struct conn *c = luaL_checkudata(L, 1, TYPE);

    if (c->state != STATE_OPEN)
        l_raisef(L, "smtp", "closed", "%s: the connection is closed", fn);
    if (c->watch->wait.held)
        l_raisef(L, "smtp", "busy", "%s: another task uses this connection", fn);
    if (c->cut)
        l_raisef(L, "smtp", "closed", "%s: a call on this connection was cut off", fn);
    c->cut = true;                /* until the call has come to its end */
    return c;
}

/* Pushes nil, why, text. */
static int l_fail(lua_State *L, struct conn *c, const char *why, const char *text)
{
    c->cut = strcmp(why, "closed") != 0;      /* a closed one may still hold a last reply */
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, text);
    return 3;
}

/* True and c->error when there is nothing more to read; *blocked when there is nothing yet. */
static bool receive(struct conn *c, bool *blocked)
{
    size_t n = 0;
    CURLcode r = CURLE_OUT_OF_MEMORY;

    *blocked = false;
    c->error[0] = '\0';
    if (buf_reserve(&c->in, RECEIVE))
        r = curl_easy_recv(c->easy, c->in.data + c->in.len, RECEIVE, &n);
    if (r == CURLE_AGAIN) {
        *blocked = true;
        return false;
    }
    if (r == CURLE_OK && n > 0) {
        c->in.len += n;
        return false;
    }
    if (!c->error[0])
        snprintf(c->error, sizeof c->error, "%s",
                 r == CURLE_OK ? "the relay closed the connection" : curl_easy_strerror(r));
    return true;
}

static int l_line_k(lua_State *L, int status, lua_KContext ctx)
{
    struct conn *c = (struct conn *)ctx;
    bool blocked = false, ended = false;
    const char *end;

    (void)status;
    for (;;) {
        if (c->state == STATE_CLOSED) {
            release(c);
            return l_raisef(L, "smtp", "closed", "smtp: the connection was closed meanwhile");
        }
        end = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
        if (end || ended || blocked)
            break;
        if (c->in.len > LINE_MAX_BYTES)
            return l_fail(L, c, "syntax", "the reply is longer than 8 KiB");
        ended = receive(c, &blocked);
    }
    if (end) {
        size_t n = (size_t)(end - c->in.data), text = n && end[-1] == '\r' ? n - 1 : n;
        lua_pushlstring(L, c->in.data, text);
        buf_drop(&c->in, n + 1);
        c->cut = false;
        return 1;
    }
    if (ended)
        return l_fail(L, c, "closed", c->error);
    if (loop_now(garun_of(L)) >= c->deadline)
        return l_fail(L, c, "timeout", "no reply came in time");
    return wait_watch(L, c->watch, UV_READABLE, c->deadline, "smtp", l_line_k, ctx);
}

/* line(seconds) -> a line without its end; nil, "timeout" | "closed" | "syntax", text */
static int l_line(lua_State *L)
{
    struct conn *c = l_conn(L, "smtp");

    c->deadline = loop_now(garun_of(L)) + luaL_checknumber(L, 2);
    lua_settop(L, 1);
    return l_line_k(L, LUA_OK, (lua_KContext)c);
}

static int l_write_k(lua_State *L, int status, lua_KContext ctx)
{
    struct conn *c = (struct conn *)ctx;
    size_t len, n, turn = 0;
    const char *bytes = lua_tolstring(L, 2, &len);

    (void)status;
    if (c->state == STATE_CLOSED) {
        release(c);
        return l_raisef(L, "smtp", "closed", "smtp: the connection was closed meanwhile");
    }
    if (status == LUA_YIELD && c->watch->got == 0) {
        l_fail(L, c, "timeout", "the relay took no byte in time");
        lua_pushinteger(L, (lua_Integer)c->sent);
        return 4;
    }
    c->error[0] = '\0';
    while (c->sent < len && turn < TURN) {
        size_t piece = len - c->sent < PIECE ? len - c->sent : PIECE;
        /* The same bytes again after CURLE_AGAIN: OpenSSL insists on it. */
        CURLcode r = curl_easy_send(c->easy, bytes + c->sent, piece, &n);
        if (r == CURLE_AGAIN)
            break;
        if (r != CURLE_OK) {
            l_fail(L, c, "closed", c->error[0] ? c->error : curl_easy_strerror(r));
            lua_pushinteger(L, (lua_Integer)c->sent);
            return 4;
        }
        c->sent += n;
        turn += n;
    }
    if (c->sent == len) {
        c->cut = false;
        lua_pushboolean(L, 1);
        return 1;
    }
    return wait_watch(L, c->watch, UV_WRITABLE, loop_now(garun_of(L)) + c->patience, "smtp", l_write_k, ctx);
}

/* write(bytes, seconds) -> true when the kernel has them all; nil, "timeout" | "closed", text, how many it has taken
 *
 * The time is what may pass without a byte taken. With TLS only whole records count, for half a one says nothing. */
static int l_write(lua_State *L)
{
    struct conn *c = l_conn(L, "smtp");

    luaL_checktype(L, 2, LUA_TSTRING);
    c->patience = luaL_checknumber(L, 3);
    c->sent = 0;
    lua_settop(L, 2);
    return l_write_k(L, LUA_OK, (lua_KContext)c);
}

/* pending() -> nil when the peer has said nothing that was not read, else "data" or "closed"; never waits */
static int l_pending(lua_State *L)
{
    struct conn *c = l_conn(L, "smtp");
    bool blocked, ended = false;

    c->cut = false;
    if (!c->in.len)
        ended = receive(c, &blocked);
    if (c->in.len)
        lua_pushliteral(L, "data");
    else if (ended)
        lua_pushliteral(L, "closed");
    else
        lua_pushnil(L);
    return 1;
}

static const luaL_Reg methods[] = {
    { "line", l_line },
    { "write", l_write },
    { "pending", l_pending },
    { "close", l_close },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "open", l_open },
    { NULL, NULL },
};

int luaopen_garun_core_smtp(lua_State *L)
{
    luaL_newmetatable(L, TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_scope_end);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, functions);
    return 1;
}
