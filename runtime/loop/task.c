/* task.c - the life of a task: spawn, step, cancel, end; and the Lua primitives that garun.task is built on.
 *
 * Owns the tree of tasks and their anchors in the registry. What a user sees (join, map, timeout, channels) is Lua on
 * top of this: runtime/lua/garun/task.lua. */
#include "loop/task.h"

#include <string.h>
#include <lauxlib.h>

static const char traceback_key = 't';     /* registry: {value, traceback} of the last remembered error */

struct join {
    struct wait  wait;
    struct task *target;
    struct join *next;
};

static void push_task(lua_State *L, struct task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);
}

/* ---- tracebacks, stitched over coroutines and joins ---- */

static void remember(lua_State *L, int value, int traceback)
{
    value = lua_absindex(L, value);
    traceback = lua_absindex(L, traceback);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, value);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, traceback);
    lua_rawseti(L, -2, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
}

bool task_traceback(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &traceback_key) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        if (lua_rawequal(L, -1, idx)) {
            lua_pop(L, 1);
            lua_rawgeti(L, -1, 2);
            lua_remove(L, -2);
            return true;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return false;
}

void task_remember_traceback(lua_State *L, lua_State *co)
{
    int value = lua_gettop(L);
    bool known = task_traceback(L, value);       /* stack: value [, older] */

    luaL_traceback(L, co, NULL, 0);      /* stack: value [, older], traceback */
    if (known) {
        lua_pushvalue(L, -2);
        lua_pushliteral(L, "\n");
        lua_pushvalue(L, -3);
        lua_concat(L, 3);
    }
    remember(L, value, -1);
    lua_settop(L, value);
}

static int message_handler(lua_State *L)
{
    lua_settop(L, 1);
    task_remember_traceback(L, L);
    return 1;
}

/* ---- tree ---- */

static void link_child(struct task *parent, struct task *t)
{
    t->parent = parent;
    t->next = parent->child;
    if (t->next)
        t->next->prev = t;
    parent->child = t;
}

static void unlink_child(struct task *t)
{
    if (!t->parent)
        return;
    if (t->prev)
        t->prev->next = t->next;
    else
        t->parent->child = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->parent = t->prev = t->next = NULL;
}

/* The function runs under lua_pcallk inside its coroutine, so that an error closes its <close> variables there, where
 * they may wait, and not in lua_resetthread, where they may not. */
static int body_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
    lua_replace(L, 1);                   /* message handler -> success */
    return lua_gettop(L);
}

static int body(lua_State *L)            /* stack: function, arguments... */
{
    int nargs = lua_gettop(L) - 1;

    lua_pushcfunction(L, message_handler);
    lua_insert(L, 1);
    return body_k(L, lua_pcallk(L, nargs, LUA_MULTRET, 1, 0, body_k), 0);
}

struct task *task_spawn(lua_State *L, int nargs, struct task *parent, bool daemon)
{
    struct garun *g = garun_of(L);
    struct task *t = lua_newuserdatauv(L, sizeof *t, TASK_UV_COUNT);

    *t = (struct task){ .g = g, .ref = LUA_NOREF, .nargs = nargs + 1, .daemon = daemon };
    luaL_setmetatable(L, "garun.task");
    t->co = lua_newthread(L);
    lua_setiuservalue(L, -2, TASK_UV_THREAD);    /* stack: function, arguments..., task */
    lua_pushvalue(L, -1);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_insert(L, -(nargs + 2));                 /* stack: task, function, arguments... */
    luaL_checkstack(t->co, nargs + 3, "too many arguments to a task");
    lua_pushcfunction(t->co, body);
    lua_xmove(L, t->co, nargs + 1);
    if (parent)
        link_child(parent, t);
    loop_ready(g, t);
    return t;
}

void task_cancel(lua_State *L, struct task *t)      /* stack: ..., error */
{
    struct wait *w = t->wait;

    if (t->ref == LUA_NOREF || t->state == TASK_CLOSING) {
        /* Its function has ended: what is left to cancel are the children it waits for. */
        for (struct task *c = t->child; c; c = c->next) {
            c->purpose = true;
            lua_pushvalue(L, -1);
            task_cancel(L, c);
        }
        lua_pop(L, 1);
        return;
    }
    if (!t->cancel) {                    /* the first reason stays */
        push_task(L, t);
        lua_insert(L, -2);               /* stack: ..., task, error */
        lua_setiuservalue(L, -2, TASK_UV_CANCEL);
        t->cancel = true;
    }
    lua_pop(L, 1);
    if (w) {
        t->wait = NULL;
        w->task = NULL;
        t->interrupted = true;
        t->lasting = w->lasting;
        w->cancel(w);
        loop_ready(t->g, t);
    }
}

bool task_take_cancel(lua_State *L, struct task *t)
{
    if (!t->cancel)
        return false;
    t->cancel = false;
    push_task(L, t);
    lua_getiuservalue(L, -1, TASK_UV_CANCEL);    /* and leaves it there, for ended_by_cancel */
    lua_remove(L, -2);
    return true;
}

void task_retract(lua_State *L, struct task *t)     /* stack: ..., error */
{
    if (!t->cancel || t->ref == LUA_NOREF)
        return;
    push_task(L, t);
    lua_getiuservalue(L, -1, TASK_UV_CANCEL);
    if (lua_rawequal(L, -1, -3))
        t->cancel = false;
    lua_pop(L, 2);
}

static void push_cancelled(lua_State *L, const char *why)
{
    struct err e;

    err_set(&e, "cancelled", "", "%s", why);
    l_err_push(L, &e);
}

static void cancel_children(struct garun *g, struct task *t, bool daemons_only)
{
    for (struct task *c = t->child, *next; c; c = next) {
        next = c->next;
        if (daemons_only && !c->daemon)
            continue;
        c->purpose = true;
        push_cancelled(g->L, daemons_only ? "cancelled: the task that started this one has ended"
                                          : "cancelled: the task that started this one has failed");
        task_cancel(g->L, c);
    }
}

/* Sets the outcome (on top of g->L, popped). */
static void set_outcome(struct garun *g, struct task *t, bool failed)
{
    push_task(g->L, t);
    lua_insert(g->L, -2);
    lua_setiuservalue(g->L, -2, TASK_UV_OUTCOME);
    lua_pop(g->L, 1);
    t->failed = failed;
}

/* Did the failed task end by the cancellation that it was sent, as it is or told on as kind "cancelled"? */
static bool ended_by_cancel(lua_State *L, struct task *t)
{
    bool yes;

    lua_pushvalue(L, -1);
    task_outcome(L, t);
    lua_getiuservalue(L, -3, TASK_UV_CANCEL);       /* stack: task, false, error, reason */
    yes = !lua_isnil(L, -1) && lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    if (!yes && l_err_is(L, -1)) {
        lua_getfield(L, -1, "kind");
        yes = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "cancelled") == 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return yes;
}

static void child_failed(struct garun *g, struct task *parent);
static void finalize(struct garun *g, struct task *t);

/* The function of t has ended; its outcome is set. */
static void close_task(struct garun *g, struct task *t)
{
    t->state = TASK_CLOSING;
    cancel_children(g, t, !t->failed);
    if (!t->child)
        finalize(g, t);
}

static void finalize(struct garun *g, struct task *t)
{
    lua_State *L = g->L;
    struct task *parent = t->parent;
    bool told = t->joins != NULL;

    for (struct join *j = t->joins, *next; j; j = next) {
        next = j->next;
        j->target = NULL;
        wait_done(&j->wait);
    }
    t->joins = NULL;
    t->state = t->failed ? TASK_FAILED : TASK_DONE;
    unlink_child(t);
    push_task(L, t);
    luaL_unref(L, LUA_REGISTRYINDEX, t->ref);
    t->ref = LUA_NOREF;                          /* stack: task, which keeps it until the end of this function */
    lua_pushnil(L);
    lua_setiuservalue(L, -2, TASK_UV_THREAD);
    t->co = NULL;
    if (parent) {
        if (t->failed && !told && !(t->purpose && ended_by_cancel(L, t))) {
            lua_getiuservalue(L, -1, TASK_UV_OUTCOME);
            child_failed(g, parent);
        } else if (parent->state == TASK_CLOSING && !parent->child) {
            finalize(g, parent);
        }
    }
    lua_pop(L, 1);
}

/* A child failed and nobody joins it; its error is on top of g->L (popped). */
static void child_failed(struct garun *g, struct task *parent)
{
    if (parent->state != TASK_CLOSING) {
        task_cancel(g->L, parent);
        return;
    }
    if (parent->failed) {
        lua_pop(g->L, 1);                        /* the first failure stays */
    } else {
        set_outcome(g, parent, true);
        cancel_children(g, parent, false);
    }
    if (!parent->child)
        finalize(g, parent);
}

void task_step(struct garun *g, struct task *t)
{
    lua_State *L = g->L, *co = t->co, *outer = g->loop->running;
    int nres, status, nargs = t->nargs;

    t->state = TASK_RUNNING;
    t->nargs = 0;
    g->current = t;
    g->loop->running = co;
    status = lua_resume(co, L, nargs, &nres);
    g->loop->running = outer;
    g->current = NULL;
    if (status == LUA_YIELD) {                   /* only the mark comes here: coroutine.yield is refused at this level */
        lua_pop(co, nres);
        t->state = t->wait ? TASK_WAITING : TASK_READY;
        return;
    }
    if (status != LUA_OK) {                      /* outside body's lua_pcallk: no memory, or an error in the handler */
        lua_xmove(co, L, 1);
        lua_resetthread(co);
        set_outcome(g, t, true);
    } else if (lua_toboolean(co, -nres)) {
        lua_createtable(L, nres - 1, 1);
        for (int i = 1; i < nres; i++) {
            lua_pushvalue(co, -nres + i);
            lua_xmove(co, L, 1);
            lua_rawseti(L, -2, i);
        }
        lua_pushinteger(L, nres - 1);
        lua_setfield(L, -2, "n");
        set_outcome(g, t, false);
    } else {
        lua_xmove(co, L, 1);
        set_outcome(g, t, true);
    }
    close_task(g, t);
}

void task_outcome(lua_State *L, struct task *t)     /* stack: task userdata on top -> replaced by ok, value */
{
    lua_pushboolean(L, !t->failed);
    lua_getiuservalue(L, -2, TASK_UV_OUTCOME);
    lua_remove(L, -3);
}

/* ---- Lua primitives: garun.core.task ---- */

static struct task *check_task(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, "garun.task");
}

/* spawn(daemon, fn, ...) -> task */
static int l_task_spawn(lua_State *L)
{
    struct task *parent = garun_of(L)->current;
    bool daemon = lua_toboolean(L, 1);

    luaL_checkany(L, 2);
    lua_remove(L, 1);
    if (!parent)
        return l_raisef(L, "task", "no_task", "task.spawn: no task runs here");
    if (parent->state == TASK_CLOSING)
        return l_raisef(L, "task", "closing", "task.spawn: the task is ending");
    task_spawn(L, lua_gettop(L) - 1, parent, daemon);
    return 1;
}

static void join_cancel(struct wait *w)
{
    struct join *j = (struct join *)w;

    if (!j->target)
        return;
    for (struct join **p = &j->target->joins; *p; p = &(*p)->next)
        if (*p == j) {
            *p = j->next;
            break;
        }
    j->target = NULL;
}

static int l_task_join_k(lua_State *L, int status, lua_KContext ctx)
{
    struct task *t = lua_touserdata(L, 1);

    (void)status, (void)ctx;
    lua_settop(L, 1);
    task_outcome(L, t);                          /* stack: ok, results or error */
    if (!lua_toboolean(L, 1)) {
        task_retract(L, garun_of(L)->current);   /* it may be on its way to us as an unjoined failure too */
        return lua_error(L);
    }
    lua_getfield(L, 2, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n, "too many results of a task");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, 2, i);
    return n;
}

/* task:join() -> the function's results; raises its error */
static int l_task_join(lua_State *L)
{
    struct garun *g = garun_of(L);
    struct task *t = check_task(L, 1);
    struct join *j;

    lua_settop(L, 1);
    if (t->state == TASK_DONE || t->state == TASK_FAILED)
        return l_task_join_k(L, LUA_OK, 0);
    for (struct task *p = g->current; p; p = p->parent)
        if (p == t)
            return l_raisef(L, "task", "deadlock", "task:join: a task cannot wait for itself or for one it runs under");
    l_wait_check(L, "task:join");
    j = lua_newuserdatauv(L, sizeof *j, 0);      /* stack: task, join: alive as long as the park */
    *j = (struct join){ .target = t, .next = t->joins };
    t->joins = j;
    return wait_park(L, &j->wait, "task:join", join_cancel, l_task_join_k, 0);
}

/* task:cancel([reason]): reason is any error value */
static int l_task_cancel(lua_State *L)
{
    struct task *t = check_task(L, 1);

    lua_settop(L, 2);
    if (t->state == TASK_DONE || t->state == TASK_FAILED)
        return 0;
    t->purpose = true;
    if (lua_isnil(L, 2))
        push_cancelled(L, "the task was cancelled");
    task_cancel(L, t);
    if (t == garun_of(L)->current && task_take_cancel(L, t))
        return lua_error(L);                     /* cancelling oneself takes effect here */
    return 0;
}

/* A failure of another kind than the cancellation is told, unless the block was left by an error: the first one stays. */
static int l_task_close_k(lua_State *L, int status, lua_KContext ctx)   /* stack: task, the block's error or nil, ... */
{
    struct task *t = lua_touserdata(L, 1);

    (void)status, (void)ctx;
    lua_settop(L, 2);
    if (!t->failed || !lua_isnil(L, 2))
        return 0;
    lua_pushvalue(L, 1);
    if (ended_by_cancel(L, t))
        return 0;
    task_outcome(L, t);                          /* stack: task, nil, false, error */
    return lua_error(L);
}

/* `local t <close> = task.spawn(...)`: leaving the block cancels the task and waits for its end, so that nothing of it
 * goes on using what the block closes next. One that was joined has ended already. */
static int l_task_close(lua_State *L)
{
    struct garun *g = garun_of(L);
    struct task *t = check_task(L, 1);
    struct join *j;

    lua_settop(L, 2);
    if (t->state == TASK_DONE || t->state == TASK_FAILED)
        return 0;
    for (struct task *p = g->current; p; p = p->parent)
        if (p == t)
            return l_raisef(L, "task", "deadlock", "a task cannot close itself or one it runs under");
    t->purpose = true;
    push_cancelled(L, "cancelled: the block that held this task was left");
    task_cancel(L, t);
    if (!g->current || !lua_isyieldable(L))
        return 0;                                /* the end of the process: nobody waits any more */
    j = lua_newuserdatauv(L, sizeof *j, 0);
    *j = (struct join){ .target = t, .next = t->joins };
    t->joins = j;
    return wait_park(L, &j->wait, "task:close", join_cancel, l_task_close_k, 0);
}

static const char *const state_names[] = { "ready", "running", "waiting", "closing", "done", "failed" };

static int l_task_status(lua_State *L)
{
    lua_pushstring(L, state_names[check_task(L, 1)->state]);
    return 1;
}

static int l_task_current(lua_State *L)
{
    struct task *t = garun_of(L)->current;

    if (t)
        push_task(L, t);
    else
        lua_pushnil(L);          /* the end of the process: main.c tells how it went */
    return 1;
}

static int l_task_tostring(lua_State *L)
{
    lua_pushfstring(L, "task (%s)", state_names[check_task(L, 1)->state]);
    return 1;
}

static const luaL_Reg task_methods[] = {
    { "join", l_task_join },
    { "cancel", l_task_cancel },
    { "status", l_task_status },
    { "__close", l_task_close },
    { "__tostring", l_task_tostring },
    { NULL, NULL }
};

static const luaL_Reg functions[] = {
    { "spawn", l_task_spawn },
    { "current", l_task_current },
    { NULL, NULL }
};

void task_open(lua_State *L)
{
    luaL_newmetatable(L, "garun.task");
    luaL_setfuncs(L, task_methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

int luaopen_garun_core_task(lua_State *L)
{
    luaL_newlib(L, functions);
    timer_open(L);
    return 1;
}
