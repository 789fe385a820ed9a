/* loop.c - the libuv loop, the ready queue and the two signals that end a script.
 *
 * Owns the uv_loop_t. Lua runs only from loop_run's own frame, never from a libuv callback. */
#include "loop/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <lauxlib.h>
#include "loop/task.h"

/* A signal handler has no argument to find its context by; this is the one static pointer, set while loop_run runs. */
static struct garun *interruptible;

static void push_interrupt(lua_State *L, int sig)
{
    struct err e;

    err_set(&e, "cancelled", sig == SIGINT ? "SIGINT" : "SIGTERM", "interrupted by %s",
            sig == SIGINT ? "SIGINT (Ctrl-C)" : "SIGTERM");
    l_err_push(L, &e);
}

/* Runs in a script that computes without waiting, as lua.c's lstop. */
static void interrupt_hook(lua_State *L, lua_Debug *ar)
{
    struct loop *loop = garun_of(L)->loop;

    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    if (loop->told)
        return;                 /* the loop was faster: this code is cleaning up already */
    loop->told = true;
    push_interrupt(L, loop->signal);
    lua_error(L);
}

static void on_signal(int sig)
{
    struct garun *g = interruptible;

    if (!g || g->loop->signal) {       /* the second one, or nobody left to tell: die of it, as the shell expects */
        signal(sig, SIG_DFL);
        raise(sig);
        return;
    }
    g->loop->signal = sig;
    if (g->loop->running)
        lua_sethook(g->loop->running, interrupt_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    uv_async_send(&g->loop->wake);
}

static void on_wake(uv_async_t *h)
{
    (void)h;
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

bool loop_init(struct garun *g, struct err *e)
{
    struct loop *loop = calloc(1, sizeof *loop);
    struct sigaction sa = { .sa_handler = SIG_IGN };
    int r;

    if (!loop)
        return err_set(e, "task", "ENOMEM", "not enough memory for the event loop");
    r = uv_loop_init(&loop->uv);
    if (r < 0) {
        free(loop);
        return err_errno(e, "task", -r, "cannot make the event loop");
    }
    g->loop = loop;
    uv_async_init(&loop->uv, &loop->wake, on_wake);
    uv_unref((uv_handle_t *)&loop->wake);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_unref((uv_handle_t *)&loop->idle);
    sigaction(SIGPIPE, &sa, NULL);      /* EPIPE is an error like any other */
    return true;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

bool loop_free(struct garun *g)
{
    bool idle;

    /* Objects whose __gc has run may still wait for libuv's word: a killed child for its end. A moment is enough. */
    for (int i = 0; i < 100 && uv_loop_alive(&g->loop->uv); i++) {
        if (i > 0)
            usleep(1000);
        uv_run(&g->loop->uv, UV_RUN_NOWAIT);
    }
    uv_walk(&g->loop->uv, close_handle, NULL);
    uv_run(&g->loop->uv, UV_RUN_NOWAIT);
    idle = g->loop->works == 0;
    if (idle) {
        uv_loop_close(&g->loop->uv);
        free(g->loop);
        g->loop = NULL;
    }
    return idle;
}

double loop_now(struct garun *g)
{
    (void)g;
    return (double)uv_hrtime() / 1e9;
}

void loop_ready(struct garun *g, struct task *t)
{
    struct loop *loop = g->loop;

    if (t->queued)
        return;
    /* uv_run runs due timers first and then blocks for other events, though a timer has just made a task ready. */
    uv_idle_start(&loop->idle, on_idle);
    t->queued = true;
    t->state = TASK_READY;
    t->next_ready = NULL;
    if (loop->ready_tail)
        loop->ready_tail->next_ready = t;
    else
        loop->ready_head = t;
    loop->ready_tail = t;
}

/* Runs what is ready now; what becomes ready meanwhile waits for the next round, so that events get their turn. */
static void run_ready(struct garun *g)
{
    struct loop *loop = g->loop;
    struct task *last = loop->ready_tail, *t;

    while ((t = loop->ready_head)) {
        loop->ready_head = t->next_ready;
        if (!loop->ready_head)
            loop->ready_tail = NULL;
        t->queued = false;
        task_step(g, t);
        if (t == last)
            break;
    }
}

static void fail_deadlock(struct garun *g)
{
    struct err e;

    err_set(&e, "task", "deadlock", "deadlock: every task waits for another one and no event can come");
    l_err_push(g->L, &e);
    task_cancel(g->L, g->loop->main);
}

void loop_run(struct garun *g, struct task *main)
{
    struct loop *loop = g->loop;
    struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    loop->main = main;
    interruptible = g;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    while (main->state != TASK_DONE && main->state != TASK_FAILED) {
        run_ready(g);
        if (main->state == TASK_DONE || main->state == TASK_FAILED)
            break;
        if (loop->signal && !loop->told) {
            loop->told = true;
            push_interrupt(g->L, loop->signal);
            task_cancel(g->L, main);
            continue;
        }
        if (loop->ready_head) {
            uv_run(&loop->uv, UV_RUN_NOWAIT);
        } else {
            fflush(stdout);
            uv_idle_stop(&loop->idle);
            /* A signal between the test above and uv_run is not lost: wake makes uv_run return. */
            if (!uv_run(&loop->uv, UV_RUN_ONCE) && !loop->ready_head && !(loop->signal && !loop->told))
                fail_deadlock(g);
        }
    }
    interruptible = NULL;
    loop->main = NULL;
}
