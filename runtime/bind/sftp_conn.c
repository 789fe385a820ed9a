/* sftp_conn.c - garun.core.sftp: a session's life. Made, connected to one address, closed; how it fails.
 *
 * Owns the descriptor and the libssh2 session. Which address, which keys and what is said about failures is policy and
 * lives in runtime/lua/garun/sftp/connect.lua. Closing never waits: libssh2 may ask for the peer's answer even when it
 * frees things, so it is first cut off from the socket (s->broken), which it takes for a dead connection. */
#include "bind/sftp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include "bind/bind.h"
#include "core/log.h"

#define HELLO_MAX   (16u << 10)      /* banner and KEXINIT of a server are 1 to 2 KiB */
#define FREE_TRIES  16               /* a cut-off libssh2 never says EAGAIN; should it, this must not hang */

/* ---- libssh2's way to the socket ---- */

static LIBSSH2_RECV_FUNC(on_recv)
{
    struct sftp *s = *abstract;

    if (atomic_load(&s->broken))
        return -ECONNRESET;
    if (s->budget <= 0)
        return -EAGAIN;
    ssize_t n = recv(socket, buffer, length, flags);
    if (n < 0)
        return -errno;
    s->budget -= n;
    if (!s->trusted && s->hello.len < HELLO_MAX)
        (void)buf_put(&s->hello, buffer, (size_t)n);
    return n;
}

static LIBSSH2_SEND_FUNC(on_send)
{
    struct sftp *s = *abstract;

    if (atomic_load(&s->broken))
        return -EPIPE;
    ssize_t n = send(socket, buffer, length, flags | MSG_NOSIGNAL);
    if (n < 0)
        return -errno;
    s->budget -= n;
    return n;
}

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

static int l_label(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    lua_pushstring(L, s ? s->label : "");
    return 1;
}

/* ---- host names ---- */

struct resolve {
    struct work      work;
    struct addrinfo *found;
    int              error;
    char             host[256];
};

static void resolve_run(struct work *w)
{
    struct resolve *r = (struct resolve *)w;
    const struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };

    r->error = getaddrinfo(r->host, NULL, &want, &r->found);
}

static void resolve_dispose(struct work *w)
{
    struct resolve *r = (struct resolve *)w;

    if (r->found)
        freeaddrinfo(r->found);
    free(r);
}

static int l_resolve_k(lua_State *L, int status, lua_KContext ctx)
{
    struct resolve *r = (struct resolve *)ctx;
    char text[NI_MAXHOST];
    struct err e;
    lua_Integer n = 0;

    (void)status;
    if (r->error) {
        err_set(&e, "sftp", "HOST_NOT_FOUND", "sftp.connect: cannot look up the host \"%s\": %s", r->host,
                gai_strerror(r->error));
        snprintf(e.hint, sizeof e.hint, "check the name and this machine's DNS");
        e.retryable = r->error == EAI_AGAIN;
        work_release(&r->work);
        return l_raise(L, &e);
    }
    lua_newtable(L);
    for (const struct addrinfo *a = r->found; a; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0) {
            lua_pushstring(L, text);
            lua_rawseti(L, -2, ++n);
        }
    }
    work_release(&r->work);
    return 1;
}

/* resolve(host) -> its addresses as text, in the order of RFC 6724 */
static int l_resolve(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);

    l_wait_check(L, "sftp.connect");
    struct resolve *r = calloc(1, sizeof *r);
    if (!r)
        return l_raisef(L, "sftp", "ENOMEM", "sftp.connect: not enough memory");
    snprintf(r->host, sizeof r->host, "%s", host);
    r->work.run = resolve_run;
    r->work.dispose = resolve_dispose;
    return wait_work(L, &r->work, "sftp.connect", l_resolve_k, (lua_KContext)r);
}

/* ---- connecting ---- */

static int l_dial_failed(lua_State *L, struct sftp *s, int errnum)
{
    struct err e;

    watch_close(s->watch);
    s->watch = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    if (errnum == ETIMEDOUT) {
        err_set(&e, "sftp", "TIMEOUT", "sftp.connect: %s does not answer", s->label);
        snprintf(e.hint, sizeof e.hint, "check host, port and the firewalls between");
        e.retryable = true;
    } else {
        err_errno(&e, "sftp", errnum, "sftp.connect: cannot connect to %s", s->label);
        if (errnum == ECONNREFUSED)
            snprintf(e.hint, sizeof e.hint, "nothing listens there: is the port right, does the server run?");
    }
    return l_raise(L, &e);
}

static int l_dial_k(lua_State *L, int status, lua_KContext ctx)
{
    struct sftp *s = (struct sftp *)ctx;
    int errnum = 0;
    socklen_t len = sizeof errnum;

    (void)status;
    l_sftp(L, "sftp.connect");
    if (s->watch->got == 0)
        errnum = ETIMEDOUT;
    else if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
        errnum = errno;
    if (errnum)
        return l_dial_failed(L, s, errnum);
    s->ssh = libssh2_session_init_ex(sftp_alloc, sftp_free, sftp_realloc, s);
    if (!s->ssh)
        return l_dial_failed(L, s, ENOMEM);
    libssh2_session_set_blocking(s->ssh, 0);
    /* The type that libssh2 wants for its callbacks is void *; POSIX allows the conversion. */
    LIBSSH2_RECV_FUNC((*recv_fn)) = on_recv;
    LIBSSH2_SEND_FUNC((*send_fn)) = on_send;
    void *fn;
    memcpy(&fn, &recv_fn, sizeof fn);
    libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_RECV, fn);
    memcpy(&fn, &send_fn, sizeof fn);
    libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_SEND, fn);
    return 0;
}

/* dial(address, port, seconds for this address, seconds for connecting as a whole) */
static int l_dial(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp.connect");
    char port[16];
    struct addrinfo *a = NULL;
    const struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct err e;

    l_wait_check(L, "sftp.connect");
    snprintf(port, sizeof port, "%d", (int)luaL_checkinteger(L, 3));
    double now = loop_now(s->g), seconds = luaL_checknumber(L, 4);
    s->deadline = now + luaL_checknumber(L, 5);
    if (s->fd >= 0)
        return l_raisef(L, "usage", "argument", "sftp.connect: this session is connected already");
    int r = getaddrinfo(luaL_checkstring(L, 2), port, &want, &a);
    if (r != 0)
        return l_raisef(L, "sftp", "HOST_NOT_FOUND", "sftp.connect: %s: %s", lua_tostring(L, 2), gai_strerror(r));
    int errnum = 0, on = 1;
    s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || (connect(s->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS))
        errnum = errno;
    freeaddrinfo(a);
    if (errnum)
        return l_dial_failed(L, s, errnum);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);     /* requests are small and wait for answers */
    setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    s->watch = watch_open(s->g, s->fd, &e);
    if (!s->watch) {
        close(s->fd);
        s->fd = -1;
        return l_raise(L, &e);
    }
    lua_settop(L, 1);
    return wait_watch(L, s->watch, UV_WRITABLE, now + seconds, "sftp.connect", l_dial_k, (lua_KContext)s);
}

/* ---- keys, for the Lua half ---- */

/* hashed_name(salt, name) -> HMAC-SHA1, the form of names in a hashed known_hosts (sshd(8)) */
static int l_hashed_name(lua_State *L)
{
    size_t salt_len, name_len;
    const char *salt = luaL_checklstring(L, 1, &salt_len), *name = luaL_checklstring(L, 2, &name_len);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (salt_len > INT_MAX || !HMAC(EVP_sha1(), salt, (int)salt_len, (const unsigned char *)name, name_len, out, &n))
        return l_raisef(L, "sftp", "openssl", "sftp.connect: OpenSSL cannot compute HMAC-SHA1");
    lua_pushlstring(L, (const char *)out, n);
    return 1;
}

static int on_passphrase(char *buf, int size, int rwflag, void *passphrase)
{
    (void)rwflag;
    size_t n = passphrase ? strlen(passphrase) : 0;
    if (n > (size_t)size)
        return -1;
    memcpy(buf, passphrase ? passphrase : "", n);
    return (int)n;
}

/* key_type(pem, passphrase or nil) -> "rsa", "ec", "ed25519", "other"; nil when OpenSSL cannot read it */
static int l_key_type(lua_State *L)
{
    size_t len;
    const char *pem = luaL_checklstring(L, 1, &len);
    char *passphrase = (char *)(uintptr_t)luaL_optstring(L, 2, NULL);    /* on_passphrase only reads it */
    BIO *bio = BIO_new_mem_buf(pem, len > INT_MAX ? INT_MAX : (int)len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, passphrase) : NULL;
    const char *type = NULL;

    if (key) {
        int id = EVP_PKEY_get_base_id(key);
        type = id == EVP_PKEY_RSA ? "rsa" : id == EVP_PKEY_EC ? "ec" : id == EVP_PKEY_ED25519 ? "ed25519" : "other";
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    lua_pushstring(L, type);
    return 1;
}

static const luaL_Reg functions[] = {
    { "new", l_new },
    { "resolve", l_resolve },
    { "hashed_name", l_hashed_name },
    { "key_type", l_key_type },
    { "set_mtime", l_sftp_set_mtime },
    { NULL, NULL }
};

static const luaL_Reg methods[] = {
    { "dial", l_dial },
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
