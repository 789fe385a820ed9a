/* loop.h - the libuv loop, the ready queue and the ways to wait.
 *
 * One wait is a struct wait inside an object that stays alive while it is parked: a userdata on the waiting function's
 * stack, or memory that its owner keeps. Nothing travels through resume arguments: the event's callback fills the
 * object and calls wait_done(); the continuation reads the object. Callbacks never run Lua and never raise; Lua runs
 * from the top of the loop only.
 *
 * The pattern of a binding:
 *
 *   static int l_thing_read_k(lua_State *L, int status, lua_KContext ctx) { ... push results; return n; }
 *   static int l_thing_read(lua_State *L) {
 *       struct thing *t = luaL_checkudata(L, 1, "garun.thing");
 *       ... start ...
 *       return wait_watch(L, t->watch, UV_READABLE, 0, "thing:read", l_thing_read_k, (lua_KContext)t);
 *   }
 */
#ifndef GARUN_LOOP_H
#define GARUN_LOOP_H

#include <stdbool.h>
#include <uv.h>
#include "core/err.h"
#include "core/garun.h"

struct wait {
    struct task *task;                /* who is parked; NULL when nobody is */
    bool         held;                /* a task is parked, or was woken or cancelled and has not run again yet: until it
                                         has, what it holds must not be freed */
    bool         lasting;             /* its memory outlives cancel(); without this, held says nothing after one */
    void (*cancel)(struct wait *w);   /* stops what would call wait_done(); never raises, runs at most once a park */
    lua_KFunction k;
    lua_KContext  ctx;
};

/* Parks the running task until wait_done(w), then continues in k(L, LUA_YIELD, ctx) with the stack as it is now. Use as
 * `return wait_park(...)`. Raises when waiting is impossible here (what is named in the text: "pg:query"), and the
 * cancellation error when the task is cancelled; in both cases cancel(w) has run before. An event that came first wins:
 * its result is delivered and the cancellation is raised at the next wait. */
int wait_park(lua_State *L, struct wait *w, const char *what, void (*cancel)(struct wait *), lua_KFunction k,
              lua_KContext ctx);

/* Makes the task that waits on w runnable; nothing happens when none does. Safe from any loop callback. */
void wait_done(struct wait *w);

/* Raises now what wait_park would raise because of the place (sort comparator, __gc ...), before work is started. */
void l_wait_check(lua_State *L, const char *what);

/* ---- descriptors: a uv_poll on a dup() of the descriptor, for libuv aborts when a library closes one it watches ---- */

struct watch {
    struct wait wait;
    int         got;        /* events that came (UV_READABLE | UV_WRITABLE), 0 when the deadline passed */
    int         fd;         /* our dup */
    bool        closing;
    int         handles;    /* uv handles not yet closed; the last one frees the watch */
    uv_poll_t   poll;
    uv_timer_t  timer;
};

/* The watch owns a dup of fd; fd stays the caller's. NULL and *e on failure. */
struct watch *watch_open(struct garun *g, int fd, struct err *e);

/* Gives it up; the memory goes when libuv lets go. NULL is allowed. Never while a task holds its wait. */
void watch_close(struct watch *w);

/* Ends the park of whoever waits on it, as if an event had come. */
void watch_wake(struct watch *w);

/* Parks until an event of the mask or until deadline (loop_now() seconds; 0 = none); w->got says which. */
int wait_watch(lua_State *L, struct watch *w, int events, double deadline, const char *what, lua_KFunction k,
               lua_KContext ctx);

/* ---- blocking work on libuv's threads (files, fsync, getaddrinfo) ---- */

struct work {
    struct wait wait;
    uv_work_t   req;
    struct garun *g;
    void (*run)(struct work *w);      /* on a thread: no Lua, no loop, only its own memory */
    void (*dispose)(struct work *w);  /* frees w; called by work_release, or when an abandoned run ends */
    bool        running, abandoned;
};

/* Starts run(w) on a thread and parks. w is malloc'ed by the caller, embeds struct work first and has run and dispose
 * set. In k the result is read and work_release(w) called. When the task is cancelled while the thread is busy the
 * work is abandoned and disposed of at its end. */
int  wait_work(lua_State *L, struct work *w, const char *what, lua_KFunction k, lua_KContext ctx);
void work_release(struct work *w);

/* ---- the loop ---- */

struct loop {
    uv_loop_t    uv;
    struct task *ready_head, *ready_tail;   /* runnable tasks, first come first served */
    uv_async_t   wake;                      /* lets a signal handler end a blocking uv_run */
    uv_idle_t    idle;                      /* active while a task is ready: keeps uv_run from blocking then */
    int          signal;                    /* the first SIGINT or SIGTERM seen, 0 when none; scripts end by it */
    bool         told;                      /* the script has been interrupted for it, once */
    unsigned     works;                     /* thread works under way, abandoned ones too */
    struct task *main;
    lua_State   *running;                   /* innermost coroutine that runs now, for the signal hook */
};

bool   loop_init(struct garun *g, struct err *e);

/* False when a thread is still inside an abandoned work (a read that nobody will answer): then libuv would wait for it
 * at exit, and the process must end by _exit. */
bool   loop_free(struct garun *g);

/* Seconds of the monotonic clock, as the deadlines of wait_watch. */
double loop_now(struct garun *g);

/* Runs until the task has ended and its children with it. The first SIGINT or SIGTERM meanwhile cancels the task, the
 * second one ends the process at once. */
void   loop_run(struct garun *g, struct task *main);

/* Puts a task at the end of the ready queue; nothing when it is there. */
void   loop_ready(struct garun *g, struct task *t);

static inline uv_loop_t *loop_uv(struct garun *g) { return &g->loop->uv; }

#endif
