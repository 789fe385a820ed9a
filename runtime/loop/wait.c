/* wait.c - parking a task, and the three things it can park on: an event, a descriptor, a thread's work.
 *
 * Owns the uv handles of a watch and the abandoned works. Never runs Lua from a callback. */
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <lauxlib.h>
#include "loop/task.h"

const char task_wait_mark = 'w';

void l_wait_check(lua_State *L, const char *what)
{
    if (!garun_of(L)->current || !lua_isyieldable(L))
        l_raisef(L, "task", "cannot_wait",
                 "%s: cannot wait here: inside a table.sort comparator, a string.gsub callback, a __gc or __tostring "
                 "method, a message handler or another C call that Lua cannot leave", what);
}

static int wait_k(lua_State *L, int status, lua_KContext ctx)
{
    struct task *t = garun_of(L)->current;
    struct wait *w = (struct wait *)ctx;

    if (!t->interrupted || t->lasting)
        w->held = false;
    if (t->interrupted) {      /* w may be gone: its cancel() has run */
        t->interrupted = false;
        if (task_take_cancel(L, t))
            return lua_error(L);
    }
    return w->k(L, status, w->ctx);
}

int wait_park(lua_State *L, struct wait *w, const char *what, void (*cancel)(struct wait *), lua_KFunction k,
              lua_KContext ctx)
{
    struct task *t = garun_of(L)->current;

    if (!t || !lua_isyieldable(L)) {
        cancel(w);
        l_wait_check(L, what);
    }
    if (task_take_cancel(L, t)) {
        cancel(w);
        return lua_error(L);
    }
    w->task = t;
    w->held = true;
    w->cancel = cancel;
    w->k = k;
    w->ctx = ctx;
    t->interrupted = false;
    t->wait = w;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&task_wait_mark);
    return lua_yieldk(L, 1, (lua_KContext)w, wait_k);
}

void wait_done(struct wait *w)
{
    struct task *t = w->task;

    if (!t)
        return;
    w->task = NULL;
    t->wait = NULL;
    loop_ready(t->g, t);
}

/* ---- watch ---- */

static void watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;

    if (--w->handles == 0) {
        close(w->fd);
        free(w);
    }
}

struct watch *watch_open(struct garun *g, int fd, struct err *e)
{
    struct watch *w = calloc(1, sizeof *w);
    int r;

    if (!w) {
        err_set(e, "task", "ENOMEM", "not enough memory to watch a descriptor");
        return NULL;
    }
    w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (w->fd < 0) {
        err_errno(e, "task", errno, "cannot watch descriptor %d", fd);
        free(w);
        return NULL;
    }
    r = uv_poll_init(loop_uv(g), &w->poll, w->fd);
    if (r < 0) {
        /* EPERM: a regular file; epoll takes none. */
        err_errno(e, "task", -r, "cannot watch descriptor %d", fd);
        close(w->fd);
        free(w);
        return NULL;
    }
    uv_timer_init(loop_uv(g), &w->timer);
    w->poll.data = w->timer.data = w;
    w->handles = 2;
    w->wait.lasting = true;
    return w;
}

void watch_close(struct watch *w)
{
    if (!w || w->closing)
        return;
    w->closing = true;
    uv_close((uv_handle_t *)&w->poll, watch_closed);
    uv_close((uv_handle_t *)&w->timer, watch_closed);
}

static void watch_stop(struct watch *w)
{
    if (w->closing)
        return;
    uv_poll_stop(&w->poll);
    uv_timer_stop(&w->timer);
}

void watch_wake(struct watch *w)
{
    w->got = UV_READABLE;
    watch_stop(w);
    wait_done(&w->wait);
}

static void watch_event(uv_poll_t *h, int status, int events)
{
    struct watch *w = h->data;

    /* On an error (POLLERR, EBADF) both sides are reported: the owner's next call finds out what it is. */
    w->got = status < 0 ? UV_READABLE | UV_WRITABLE : events & (UV_READABLE | UV_WRITABLE);
    if (w->got == 0)
        w->got = UV_READABLE;      /* UV_DISCONNECT alone: a read tells */
    watch_stop(w);
    wait_done(&w->wait);
}

static void watch_timeout(uv_timer_t *h)
{
    struct watch *w = h->data;

    w->got = 0;
    watch_stop(w);
    wait_done(&w->wait);
}

static void watch_cancel(struct wait *wait)
{
    watch_stop((struct watch *)wait);
}

int wait_watch(lua_State *L, struct watch *w, int events, double deadline, const char *what, lua_KFunction k,
               lua_KContext ctx)
{
    struct garun *g = garun_of(L);

    l_wait_check(L, what);
    if (w->wait.held)
        return l_raisef(L, "task", "busy", "%s: another task already waits on this", what);
    w->got = 0;
    uv_poll_start(&w->poll, events, watch_event);
    if (deadline > 0) {
        double left = deadline - loop_now(g);
        uv_timer_start(&w->timer, watch_timeout, left > 0 ? (uint64_t)(left * 1000.0) + 1 : 0, 0);
    }
    return wait_park(L, &w->wait, what, watch_cancel, k, ctx);
}

/* ---- work ---- */

static void work_thread(uv_work_t *req)
{
    struct work *w = req->data;

    w->run(w);
}

static void work_after(uv_work_t *req, int status)
{
    struct work *w = req->data;

    (void)status;      /* UV_ECANCELED comes only for abandoned work */
    w->running = false;
    w->g->loop->works--;
    if (w->abandoned)
        w->dispose(w);
    else
        wait_done(&w->wait);
}

static void work_cancel(struct wait *wait)
{
    struct work *w = (struct work *)wait;

    if (w->running) {
        uv_cancel((uv_req_t *)&w->req);     /* refused once it runs: then it ends by itself */
        w->abandoned = true;
    } else {
        w->dispose(w);
    }
}

int wait_work(lua_State *L, struct work *w, const char *what, lua_KFunction k, lua_KContext ctx)
{
    struct garun *g = garun_of(L);

    if (!g->current || !lua_isyieldable(L)) {
        w->dispose(w);
        l_wait_check(L, what);
    }
    w->g = g;
    w->req.data = w;
    w->abandoned = false;
    w->running = true;
    g->loop->works++;
    uv_queue_work(loop_uv(g), &w->req, work_thread, work_after);
    return wait_park(L, &w->wait, what, work_cancel, k, ctx);
}

void work_release(struct work *w)
{
    w->dispose(w);
}
