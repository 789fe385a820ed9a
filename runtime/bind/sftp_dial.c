/* sftp_dial.c - from a host's name to a connected socket, and how libssh2 reads and writes it.
 *
 * One address at a time; which one comes next is the Lua half's business. Nothing blocks: names are looked up on a thread.
 * The reads and writes obey two things that libssh2 does not know: the session may be cut off (broken), and a turn of the
 * loop has a budget of bytes. */
#include "bind/sftp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <lauxlib.h>

#define HELLO_MAX (16u << 10)        /* banner and KEXINIT of a server are 1 to 2 KiB */

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
int l_sftp_resolve(lua_State *L)
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
int l_sftp_dial(lua_State *L)
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
