/* sftp_conn.c - garun.core.sftp: a session's life. Made, closed; how it fails.
 *
 * Owns the descriptor and the libssh2 session. Which address, which keys and what is said about failures is policy and
 * lives in runtime/lua/garun/sftp/connect.lua. Closing never waits: libssh2 may ask for the peer's answer even when it
 * frees things, so it is first cut off from the socket (s->broken), which it takes for a dead connection. */
#include "bind/sftp.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "core/log.h"

#define FREE_TRIES  16               /* a cut-off libssh2 never says EAGAIN; should it, this must not hang */

int sftp_events(const struct sftp *s)
{
    int dirs = libssh2_session_block_directions(s->ssh);
    int events = (dirs & LIBSSH2_SESSION_BLOCK_INBOUND ? UV_READABLE : 0) |
                 (dirs & LIBSSH2_SESSION_BLOCK_OUTBOUND ? UV_WRITABLE : 0);

    return events ? events : UV_READABLE;
}

/* ---- errors ---- */

const char *sftp_ssh_name(int rc)
{
    switch (rc) {
    case LIBSSH2_ERROR_SOCKET_NONE: case LIBSSH2_ERROR_SOCKET_SEND: case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT: case LIBSSH2_ERROR_BAD_SOCKET: case LIBSSH2_ERROR_CHANNEL_CLOSED:
    case LIBSSH2_ERROR_CHANNEL_EOF_SENT: case LIBSSH2_ERROR_BANNER_SEND:
        return "CUT";
    case LIBSSH2_ERROR_TIMEOUT: case LIBSSH2_ERROR_SOCKET_TIMEOUT:
        return "TIMEOUT";
    case LIBSSH2_ERROR_BANNER_RECV:           return "BANNER_RECV";
    case LIBSSH2_ERROR_INVALID_MAC:           return "INVALID_MAC";
    case LIBSSH2_ERROR_KEX_FAILURE: case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
        return "KEX_FAILURE";
    case LIBSSH2_ERROR_ALLOC:                 return "ENOMEM";
    case LIBSSH2_ERROR_HOSTKEY_INIT: case LIBSSH2_ERROR_HOSTKEY_SIGN:
        return "HOST_KEY_SIGNATURE";
    case LIBSSH2_ERROR_DECRYPT:               return "DECRYPT";
    case LIBSSH2_ERROR_PASSWORD_EXPIRED:      return "PASSWORD_EXPIRED";
    case LIBSSH2_ERROR_FILE: case LIBSSH2_ERROR_KEYFILE_AUTH_FAILED:
        return "KEY_FILE";
    case LIBSSH2_ERROR_METHOD_NONE: case LIBSSH2_ERROR_METHOD_NOT_SUPPORTED:
        return "METHOD_NOT_SUPPORTED";
    case LIBSSH2_ERROR_AUTHENTICATION_FAILED: case LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
        return "AUTH_FAILED";
    case LIBSSH2_ERROR_CHANNEL_FAILURE:       return "CHANNEL_FAILURE";
    case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED: case LIBSSH2_ERROR_REQUEST_DENIED:
        return "REQUEST_DENIED";
    case LIBSSH2_ERROR_AGENT_PROTOCOL:        return "AGENT";
    default:                                  return "PROTOCOL";
    }
}

void sftp_ssh_error(struct err *e, struct sftp *s, int rc)
{
    const char *name = sftp_ssh_name(rc);
    char *text = NULL;

    if (s->ssh && libssh2_session_last_errno(s->ssh) == rc)
        libssh2_session_last_error(s->ssh, &text, NULL, 0);
    if (strcmp(name, "CUT") == 0) {
        err_set(e, "sftp", name, "the connection to %s was cut", s->label);
        snprintf(e->hint, sizeof e->hint, "see the log of the server (sshd), then try again");
        e->retryable = true;
    } else {
        err_set(e, "sftp", name, "%s: SSH failed (libssh2 error %d)", s->label, rc);
        e->retryable = strcmp(name, "TIMEOUT") == 0;
    }
    if (text && *text)
        snprintf(e->detail, sizeof e->detail, "libssh2: %s", text);
}

/* ---- life ---- */

void sftp_ref(struct sftp *s)
{
    s->refs++;
}

void sftp_release(struct sftp *s)
{
    if (s->state != SFTP_DEAD || s->on_thread || s->pumping)
        return;
    sftp_step_forget(s);
    if (s->ssh) {
        for (int i = 0; s->channel && i < FREE_TRIES; i++)
            if (libssh2_channel_free(s->channel) != LIBSSH2_ERROR_EAGAIN)
                s->channel = NULL;
        for (int i = 0; i < FREE_TRIES; i++)
            if (libssh2_session_free(s->ssh) != LIBSSH2_ERROR_EAGAIN)
                break;
        s->ssh = NULL;
        s->channel = NULL;
        sftp_free_all(s);
    }
    if (s->watch && !s->watch->wait.held) {
        watch_close(s->watch);
        s->watch = NULL;
    }
    buf_free(&s->hello);
}

void sftp_unref(struct sftp *s)
{
    if (--s->refs)
        return;
    sftp_release(s);
    watch_close(s->watch);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

void sftp_fail(struct sftp *s, const struct err *e)
{
    if (s->state == SFTP_DEAD)
        return;
    s->state = SFTP_DEAD;
    s->why = *e;
    atomic_store(&s->broken, true);
    sftp_ref(s);
    if (s->fd >= 0)
        shutdown(s->fd, SHUT_RDWR);      /* the server hears of it now; a thread in poll() too */
    sftp_wire_close(s);
    if (s->watch)
        wait_done(&s->watch->wait);
    sftp_release(s);
    sftp_unref(s);
}

struct sftp *l_sftp(lua_State *L, const char *fn)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    if (!s)
        l_raisef(L, "sftp", "closed", "%s: the session is closed", fn);
    if (s->state == SFTP_DEAD) {
        struct err e = s->why;
        err_set(&e, s->why.kind, s->why.code, "%s: %s", fn, s->why.message);
        memcpy(e.detail, s->why.detail, sizeof e.detail);
        memcpy(e.hint, s->why.hint, sizeof e.hint);
        e.retryable = s->why.retryable;
        l_raise(L, &e);
    }
    return s;
}

/* new(label, timeout) -> session */
static int l_new(lua_State *L)
{
    const char *label = luaL_checkstring(L, 1);
    double timeout = luaL_checknumber(L, 2);
    struct sftp_box *box = lua_newuserdatauv(L, sizeof *box, 0);

    box->s = NULL;
    luaL_setmetatable(L, SFTP_TYPE);
    struct sftp *s = calloc(1, sizeof *s);
    if (!s)
        return l_raisef(L, "sftp", "ENOMEM", "sftp.connect: not enough memory");
    s->refs = 1;
    s->g = garun_of(L);
    s->fd = -1;
    s->budget = LONG_MAX;
    s->timeout = timeout;
    snprintf(s->label, sizeof s->label, "%s", label);
    box->s = s;
    return 1;
}

static int l_close(lua_State *L)
{
    struct sftp_box *box = luaL_checkudata(L, 1, SFTP_TYPE);
    struct sftp *s = box->s;
    struct err e;

    if (!s || s->state == SFTP_DEAD)
        return 0;
    /* A courtesy: the server logs "disconnected by user". Not while a packet is half sent. */
    if (s->state == SFTP_OPEN && !s->pumping && !s->must_read && !s->must_write)
        libssh2_session_disconnect(s->ssh, "closed");
    err_set(&e, "sftp", "closed", "the session with %s is closed", s->label);
    sftp_fail(s, &e);
    return 0;
}

static int l_gc(lua_State *L)
{
    struct sftp_box *box = luaL_checkudata(L, 1, SFTP_TYPE);
    struct sftp *s = box->s;

    if (!s)
        return 0;
    /* Nobody can wait on it any more; at the end of the process tasks may be gone before their waits. */
    s->final = true;
    if (s->watch)
        s->watch->wait.task = NULL, s->watch->wait.held = false;
    if (s->state == SFTP_OPEN)
        log_write(LOG_LEVEL_DEBUG, "an SFTP session was left open and closed by the garbage collector", "server",
                  s->label, (char *)NULL);
    l_close(L);
    box->s = NULL;
    sftp_unref(s);
    return 0;
}

static int l_tostring(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    lua_pushfstring(L, "sftp.session(%s, %s)", s ? s->label : "", !s || s->state == SFTP_DEAD ? "closed" :
                    s->state == SFTP_OPEN ? "open" : "opening");
    return 1;
}

/* status() -> "opening" | "open" | "closed" */
static int l_status(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    lua_pushstring(L, !s || s->state == SFTP_DEAD ? "closed" : s->state == SFTP_OPEN ? "open" : "opening");
    return 1;
}

/* timeout(seconds): of the requests from now on; when none is under way */
static int l_timeout(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp.connect");

    s->timeout = luaL_checknumber(L, 2);
    if (s->polling)
        uv_timer_stop(&s->timer);        /* it runs for the old one; the next request starts it */
    return 0;
}

static int l_label(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    lua_pushstring(L, s ? s->label : "");
    return 1;
}

static const luaL_Reg functions[] = {
    { "new", l_new },
    { "resolve", l_sftp_resolve },
    { "hashed_name", l_sftp_hashed_name },
    { "key_type", l_sftp_key_type },
    { "set_mtime", l_sftp_set_mtime },
    { NULL, NULL }
};

static const luaL_Reg methods[] = {
    { "dial", l_sftp_dial },
    { "timeout", l_timeout },
    { "close", l_close },
    { "status", l_status },
    { "label", l_label },
    { NULL, NULL }
};

static const luaL_Reg metamethods[] = {
    { "__close", l_close },
    { "__gc", l_gc },
    { "__tostring", l_tostring },
    { NULL, NULL }
};

/* The sessions of this module are an inner part of those that scripts see (runtime/lua/garun/sftp.lua). */
int luaopen_garun_core_sftp(lua_State *L)
{
    luaL_newmetatable(L, SFTP_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    l_sftp_auth_methods(L);
    l_sftp_call_methods(L);
    l_sftp_copy_methods(L);
    lua_setfield(L, -2, "__index");                  /* stack: metatable */
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, functions);
    return 1;
}
