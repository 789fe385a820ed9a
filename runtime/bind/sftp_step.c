/* sftp_step.c - the libssh2 calls that open a session, one at a time.
 *
 * Each runs on a thread of libuv, for a key that is locked by a passphrase costs tenths of a second (bcrypt_pbkdf) and an
 * agent's socket blocks; whenever it would wait for the network it comes back and the task waits on the loop. Owns the
 * step and the secrets copied into it, which are wiped. A task that is cancelled while its step is on the thread leaves
 * it to step_dispose, which ends the session. */
#include "bind/sftp_step.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <lauxlib.h>

#define IDLE_MS  2           /* how long a step on its thread waits for the peer before it goes back to the loop */
#define SLICE_MS 50          /* how long it stays there at most */

static char *copy_text(const char *text, size_t len)
{
    char *p = malloc(len + 1);

    if (p) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

static void wipe(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

void sftp_step_forget(struct sftp *s)
{
    struct sftp_step *st = s->step;

    if (!st)
        return;
    s->step = NULL;
    if (st->own)
        st->drop(st->own);
    wipe(st->user, st->user_len);
    wipe(st->secret, st->secret_len);
    wipe(st->pass, st->pass_len);
    free(st);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void step_run(struct work *w)
{
    struct sftp_step *st = (struct sftp_step *)w;
    struct sftp *s = st->s;
    double until = now_ms() + SLICE_MS;

    for (;;) {
        st->rc = st->fn(st);
        if (st->rc != LIBSSH2_ERROR_EAGAIN || atomic_load(&s->broken) || now_ms() >= until)
            return;
        int events = sftp_events(s);
        struct pollfd p = { .fd = s->fd, .events = (short)((events & UV_READABLE ? POLLIN : 0) |
                                                           (events & UV_WRITABLE ? POLLOUT : 0)) };
        if (poll(&p, 1, IDLE_MS) <= 0)
            return;
    }
}

/* The task was cancelled while the step was on its thread, which has come back now. */
static void step_dispose(struct work *w)
{
    struct sftp *s = ((struct sftp_step *)w)->s;
    struct err e;

    s->on_thread = false;
    err_set(&e, "sftp", "closed", "the session with %s is closed: connecting was cut off", s->label);
    if (s->state == SFTP_DEAD)
        sftp_release(s);
    else
        sftp_fail(s, &e);
    sftp_unref(s);
}

static int l_step_go(lua_State *L, struct sftp *s);

int l_sftp_step_failed(lua_State *L, struct sftp *s, int rc)
{
    char *text = NULL;

    lua_pushnil(L);
    lua_pushstring(L, sftp_ssh_name(rc));
    if (libssh2_session_last_errno(s->ssh) == rc)
        libssh2_session_last_error(s->ssh, &text, NULL, 0);
    lua_pushstring(L, text ? text : "");
    sftp_step_forget(s);
    return 3;
}

static int l_step_timeout(lua_State *L, struct sftp *s)
{
    lua_pushnil(L);
    lua_pushliteral(L, "TIMEOUT");
    lua_pushfstring(L, "no answer while it was waited for: %s", s->step->what);
    sftp_step_forget(s);
    return 3;
}

static int l_step_ready_k(lua_State *L, int status, lua_KContext ctx)
{
    struct sftp *s = (struct sftp *)ctx;

    (void)status;
    l_sftp(L, "sftp.connect");
    if (s->watch->got == 0)
        return l_step_timeout(L, s);
    return l_step_go(L, s);
}

static int l_step_k(lua_State *L, int status, lua_KContext ctx)
{
    struct sftp *s = (struct sftp *)ctx;

    (void)status;
    s->on_thread = false;
    sftp_unref(s);                       /* the userdata is on the stack and keeps it */
    if (s->state == SFTP_DEAD) {
        sftp_release(s);
        l_sftp(L, "sftp.connect");
    }
    struct sftp_step *st = s->step;
    if (st->rc == LIBSSH2_ERROR_EAGAIN) {
        if (loop_now(s->g) >= s->deadline)
            return l_step_timeout(L, s);
        return wait_watch(L, s->watch, sftp_events(s), s->deadline, "sftp.connect", l_step_ready_k, ctx);
    }
    if (st->rc < 0)
        return l_sftp_step_failed(L, s, st->rc);
    lua_pushboolean(L, 1);
    int n = st->push ? st->push(L, st) : 0;
    sftp_step_forget(s);
    return 1 + n;
}

static int l_step_go(lua_State *L, struct sftp *s)
{
    l_wait_check(L, "sftp.connect");
    s->on_thread = true;
    sftp_ref(s);
    return wait_work(L, &s->step->work, "sftp.connect", l_step_k, (lua_KContext)s);
}

int l_sftp_step(lua_State *L, const char *what, int (*fn)(struct sftp_step *),
                int (*push)(lua_State *, struct sftp_step *))
{
    struct sftp *s = l_sftp(L, "sftp.connect");

    if (!s->ssh || s->step || s->state != SFTP_OPENING)
        return l_raisef(L, "usage", "argument", "sftp.connect: %s: not now", what);
    lua_settop(L, 4);
    l_wait_check(L, "sftp.connect");
    struct sftp_step *st = calloc(1, sizeof *st);
    if (!st)
        return l_raisef(L, "sftp", "ENOMEM", "sftp.connect: not enough memory");
    s->step = st;
    st->s = s;
    st->fn = fn;
    st->push = push;
    st->what = what;
    st->work.run = step_run;
    st->work.dispose = step_dispose;
    char **to[3] = { &st->user, &st->secret, &st->pass };
    size_t *len[3] = { &st->user_len, &st->secret_len, &st->pass_len };
    for (int i = 0; i < 3; i++) {
        const char *text = lua_tolstring(L, 2 + i, len[i]);
        if (text && (*len[i] > INT_MAX || !(*to[i] = copy_text(text, *len[i])))) {
            *len[i] = 0;
            sftp_step_forget(s);
            return l_raisef(L, "sftp", "ENOMEM", "sftp.connect: not enough memory");
        }
    }
    lua_settop(L, 1);
    return l_step_go(L, s);
}
