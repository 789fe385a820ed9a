/* proc_pipe.c - the pipes to a child: reading with back-pressure, collecting up to a bound, writing.
 *
 * Owns the bytes that were read ahead. A reader that is slow stops libuv from reading, the pipe fills, the child waits.
 * Refuses to be read or written by two tasks at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/proc.h"
#include "core/err.h"

enum { READ_ROOM = 64 << 10 };

struct write_req {
    uv_write_t        uv;
    struct proc_pipe *pipe;
    char              bytes[];
};

static void closed(uv_handle_t *h)
{
    proc_unref(h->data);
}

bool proc_pipe_open(struct proc *p, int number, int fd, uv_loop_t *loop, struct err *e)
{
    struct proc_pipe *pipe = &p->pipes[number];
    pipe->proc = p;
    pipe->wait.lasting = true;
    uv_pipe_init(loop, &pipe->uv, 0);
    pipe->uv.data = p;
    p->refs++;
    pipe->open = true;
    int r = uv_pipe_open(&pipe->uv, fd);
    if (r < 0)
        return err_errno(e, "proc", -r, "proc.spawn: %s: cannot use the pipe to the child", p->name);
    return true;
}

void proc_pipe_close(struct proc_pipe *pipe)
{
    if (!pipe->open)
        return;
    pipe->open = pipe->reading = false;
    pipe->ended = true;
    uv_close((uv_handle_t *)&pipe->uv, closed);
    wait_done(&pipe->wait);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *room)
{
    struct proc *p = h->data;
    struct proc_pipe *pipe = (uv_pipe_t *)h == &p->pipes[1].uv ? &p->pipes[1] : &p->pipes[2];
    (void)suggested;
    *room = uv_buf_init(NULL, 0);       /* libuv reports UV_ENOBUFS then */
    if (buf_reserve(&pipe->buf, READ_ROOM))
        *room = uv_buf_init(pipe->buf.data + pipe->buf.len, READ_ROOM);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *room)
{
    struct proc *p = s->data;
    struct proc_pipe *pipe = (uv_pipe_t *)s == &p->pipes[1].uv ? &p->pipes[1] : &p->pipes[2];
    (void)room;
    if (n == 0)
        return;
    if (n < 0) {
        if (n != UV_EOF)
            pipe->errnum = n == UV_ENOBUFS ? ENOMEM : (int)-n;
        pipe->ended = true;
    } else {
        pipe->buf.len += (size_t)n;
    }
    if (pipe->max && pipe->buf.len > pipe->max) {
        pipe->buf.len = pipe->max;
        pipe->overflow = pipe->ended = true;
        proc_terminate(p);
    }
    if (pipe->ended || (!pipe->max && pipe->buf.len >= PROC_HIGH)) {
        uv_read_stop(s);
        pipe->reading = false;
    }
    /* One that collects is woken at the end only. */
    if (pipe->ended || !pipe->max)
        wait_done(&pipe->wait);
}

bool proc_pipe_read(struct proc_pipe *pipe)
{
    if (!pipe->open || pipe->ended || pipe->reading || (!pipe->max && pipe->buf.len >= PROC_HIGH))
        return false;
    pipe->reading = uv_read_start((uv_stream_t *)&pipe->uv, on_alloc, on_read) == 0;
    return pipe->reading;
}

static void read_cancel(struct wait *w)
{
    uv_timer_stop(&((struct proc_pipe *)w)->proc->alarm);
}

static struct proc_pipe *l_reader(lua_State *L, struct proc *p, const char *fn)
{
    lua_Integer number = luaL_checkinteger(L, 2);
    struct proc_pipe *pipe = &p->pipes[number == 2 ? 2 : 1];
    if (!pipe->proc)
        l_raisef(L, "usage", "argument", "%s: %s of %s is no pipe; pass %s = \"pipe\" to proc.spawn", fn,
                 number == 2 ? "stderr" : "stdout", p->name, number == 2 ? "stderr" : "stdout");
    if (pipe->wait.held)
        l_raisef(L, "proc", "busy", "%s: another task reads from %s", fn, p->name);
    return pipe;
}

static int l_read_k(lua_State *L, int status, lua_KContext ctx)
{
    struct proc_pipe *pipe = (struct proc_pipe *)ctx;
    struct proc *p = pipe->proc;
    (void)status;
    if (p->closed)
        return l_raisef(L, "proc", "closed", "process:read: the handle of %s is closed", p->name);
    if (!pipe->buf.len && pipe->errnum) {
        struct err e;
        err_errno(&e, "proc", pipe->errnum, "process:read: %s", p->name);
        return l_raise(L, &e);
    }
    if (!pipe->buf.len && !pipe->ended) {
        proc_pipe_read(pipe);
        return wait_park(L, &pipe->wait, "process:read", read_cancel, l_read_k, ctx);
    }
    if (!pipe->buf.len) {
        lua_pushnil(L);
        return 1;
    }
    size_t n = pipe->buf.len < PROC_HIGH ? pipe->buf.len : PROC_HIGH;
    lua_pushlstring(L, pipe->buf.data, n);
    buf_drop(&pipe->buf, n);
    proc_pipe_read(pipe);
    return 1;
}

/* read(number) -> the next chunk, nil at the end */
static int l_read(lua_State *L)
{
    struct proc *p = l_proc(L, "process:read");
    struct proc_pipe *pipe = l_reader(L, p, "process:read");
    l_wait_check(L, "process:read");
    return l_read_k(L, LUA_OK, (lua_KContext)pipe);
}

/* collect(number, max): reads on by itself; beyond max bytes the child is ended */
static int l_collect(lua_State *L)
{
    struct proc *p = l_proc(L, "process:collect");
    struct proc_pipe *pipe = l_reader(L, p, "process:collect");
    lua_Integer max = luaL_checkinteger(L, 3);
    pipe->max = (size_t)(max < 1 ? 1 : max);
    proc_pipe_read(pipe);
    return 0;
}

static void on_rest_due(uv_timer_t *t)
{
    struct proc *p = t->data;
    for (int i = 1; i <= 2; i++) {
        p->pipes[i].timed = true;
        if (p->pipes[i].max)
            wait_done(&p->pipes[i].wait);
    }
}

static int l_rest_k(lua_State *L, int status, lua_KContext ctx)
{
    struct proc_pipe *pipe = (struct proc_pipe *)ctx;
    struct proc *p = pipe->proc;
    (void)status;
    if (p->closed)
        return l_raisef(L, "proc", "closed", "process:rest: the handle of %s is closed", p->name);
    uv_timer_stop(&p->alarm);
    lua_pushlstring(L, pipe->buf.data ? pipe->buf.data : "", pipe->buf.len);
    lua_pushboolean(L, pipe->overflow);
    return 2;
}

/* rest(number, seconds) -> what was collected, whether it was too much
 *
 * Waits for the pipe's end, but not longer than that: a grandchild that went into the background keeps the pipe
 * open. */
static int l_rest(lua_State *L)
{
    struct proc *p = l_proc(L, "process:rest");
    struct proc_pipe *pipe = l_reader(L, p, "process:rest");
    double seconds = luaL_checknumber(L, 3);
    l_wait_check(L, "process:rest");
    if (pipe->ended)
        return l_rest_k(L, LUA_OK, (lua_KContext)pipe);
    pipe->timed = false;
    proc_alarm(p, seconds, on_rest_due);
    return wait_park(L, &pipe->wait, "process:rest", read_cancel, l_rest_k, (lua_KContext)pipe);
}

/* ---- writing ---- */

static void on_written(uv_write_t *req, int status)
{
    struct write_req *w = (struct write_req *)req;
    struct proc_pipe *pipe = w->pipe;
    pipe->writing = false;
    if (status < 0)
        pipe->errnum = -status;
    free(w);
    wait_done(&pipe->wait);
}

/* The write goes on by itself: what was handed to the kernel cannot be taken back. */
static void write_cancel(struct wait *w)
{
    (void)w;
}

static int l_write_k(lua_State *L, int status, lua_KContext ctx)
{
    struct proc_pipe *pipe = (struct proc_pipe *)ctx;
    struct proc *p = pipe->proc;
    (void)status;
    if (p->closed)
        return l_raisef(L, "proc", "closed", "process:write: the handle of %s is closed", p->name);
    if (pipe->errnum) {
        struct err e;
        err_errno(&e, "proc", pipe->errnum, "process:write: standard input of %s", p->name);
        e.retryable = false;
        return l_raise(L, &e);
    }
    lua_settop(L, 1);
    return 1;
}

static int l_write(lua_State *L)
{
    struct proc *p = l_proc(L, "process:write");
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    struct proc_pipe *pipe = &p->pipes[0];
    if (!pipe->open)
        return l_raisef(L, "proc", "closed", "process:write: standard input of %s is %s", p->name,
                        pipe->proc ? "closed" : "no pipe; pass stdin = \"pipe\" to proc.spawn");
    l_wait_check(L, "process:write");
    if (pipe->writing || pipe->wait.held)
        return l_raisef(L, "proc", "busy", "process:write: another write to %s has not ended yet", p->name);
    lua_settop(L, 2);
    if (len == 0 || pipe->errnum)
        return l_write_k(L, LUA_OK, (lua_KContext)pipe);
    struct write_req *w = malloc(sizeof *w + len);
    if (!w)
        return l_raisef(L, "proc", "ENOMEM", "process:write: not enough memory for %I bytes", (lua_Integer)len);
    w->pipe = pipe;
    memcpy(w->bytes, bytes, len);
    uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)len);
    int r = len > UINT32_MAX ? UV_E2BIG : uv_write(&w->uv, (uv_stream_t *)&pipe->uv, &buf, 1, on_written);
    if (r < 0) {
        free(w);
        pipe->errnum = -r;
        return l_write_k(L, LUA_OK, (lua_KContext)pipe);
    }
    pipe->writing = true;
    return wait_park(L, &pipe->wait, "process:write", write_cancel, l_write_k, (lua_KContext)pipe);
}

static int l_close_stdin(lua_State *L)
{
    struct proc *p = l_proc(L, "process:close_stdin");
    if (p->pipes[0].wait.held)
        return l_raisef(L, "proc", "busy", "process:close_stdin: a write to %s has not ended yet", p->name);
    proc_pipe_close(&p->pipes[0]);
    return 0;
}

static const luaL_Reg methods[] = {
    { "read", l_read },
    { "collect", l_collect },
    { "rest", l_rest },
    { "write", l_write },
    { "close_stdin", l_close_stdin },
    { NULL, NULL },
};

void l_proc_pipe_methods(lua_State *L)
{
    luaL_setfuncs(L, methods, 0);
}
