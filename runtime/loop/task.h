/* task.h - tasks: coroutines that the loop schedules, in a tree.
 *
 * A task is a userdata "garun.task", anchored in the registry from its start to its end. A parent ends after its
 * children: a task whose function returned waits for them, a task that failed cancels them first. A child's failure
 * goes to whoever joins it, else to its parent, whose current (or next) wait raises it; a task that was cancelled on
 * purpose and ends by that fails silently. Cancellation is delivered once, at a wait: cleaning up after it may wait again. */
#ifndef GARUN_TASK_H
#define GARUN_TASK_H

#include "loop/loop.h"

enum task_state {
    TASK_READY,     /* in the ready queue, or about to run */
    TASK_RUNNING,
    TASK_WAITING,   /* parked in a wait */
    TASK_CLOSING,   /* its function has ended, its children have not */
    TASK_DONE,
    TASK_FAILED,
};

struct join;

struct task {
    struct garun   *g;
    lua_State      *co;
    enum task_state state;
    int             ref;           /* registry anchor of this userdata; LUA_NOREF after the end */
    int             nargs;         /* arguments on co's stack before the first resume */
    struct wait    *wait;          /* what it is parked in */
    struct task    *next_ready;
    struct task    *parent, *child, *prev, *next;   /* tree: first child, siblings */
    struct join    *joins;         /* who waits for its end */
    bool            queued, failed, daemon;
    bool            purpose;       /* cancelled on purpose: its failure is nobody's error */
    bool            cancel;        /* a cancellation waits in uservalue TASK_UV_CANCEL */
    bool            interrupted;   /* the last park ended by cancellation: its wait may be gone */
    bool            lasting;       /* it is not: see struct wait */
};

enum { TASK_UV_THREAD = 1, TASK_UV_OUTCOME, TASK_UV_CANCEL, TASK_UV_COUNT = TASK_UV_CANCEL };

/* Makes a task of the function and its nargs arguments on top of L's stack, replaces them by the task's userdata and
 * queues it. parent may be NULL (the main task). A daemon is cancelled when its parent's function ends. */
struct task *task_spawn(lua_State *L, int nargs, struct task *parent, bool daemon);

/* Cancels t with the error value on top of L's stack (popped). A task that ended is left alone. */
void task_cancel(lua_State *L, struct task *t);

/* Called by the loop: runs t until it parks or ends. */
void task_step(struct garun *g, struct task *t);

/* Pushes the outcome of an ended task on L: true and its results in a table with n, or false and the error value. */
void task_outcome(lua_State *L, struct task *t);

/* Replaces coroutine.* so that waits pass through user coroutines (coro.c). */
void coro_open(lua_State *L);

/* Remembers the traceback of co for the error value on top of L, to be stitched by the next task_traceback. */
void task_remember_traceback(lua_State *L, lua_State *co);

/* Pushes the remembered traceback of the error value at idx; false and nothing when there is none. */
bool task_traceback(lua_State *L, int idx);

/* The value yielded by a parked coroutine, its address is the mark. */
extern const char task_wait_mark;

/* Takes a cancellation that waits in t and pushes it; false when none does. */
bool task_take_cancel(lua_State *L, struct task *t);

/* Makes the metatable of tasks; main.c calls it before the first task_spawn. */
void task_open(lua_State *L);

/* Adds sleep, park and alarm to the table on top of the stack (timer.c). */
void timer_open(lua_State *L);

/* Takes back a cancellation that waits in t when it is the error value on top of L's stack, which stays. */
void task_retract(lua_State *L, struct task *t);

int luaopen_garun_core_task(lua_State *L);

#endif
