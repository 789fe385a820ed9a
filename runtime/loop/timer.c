/* timer.c - sleeping, parking and alarms: what garun.task makes sleeps, channels and timeouts of.
 *
 * Owns its uv timers. A timer's memory belongs to libuv until its close callback has run, so it is malloc'ed and the
 * userdata only points to it. */
#include <math.h>
#include <stdlib.h>
#include <lauxlib.h>
#include "loop/task.h"

/* ---- park: one task waits until another one wakes it ---- */

struct park {
    struct wait wait;
    bool        woken;
};

static void park_cancel(struct wait *w)
{
    (void)w;
}

static int l_park_wait_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)L, (void)status;
    ((struct park *)ctx)->woken = false;
    return 0;
}

/* park:wait(): until park:wake(); returns at once when that came first. One task at a time. */
static int l_park_wait(lua_State *L)
{
    struct park *p = luaL_checkudata(L, 1, "garun.park");

    l_wait_check(L, "task");
    if (p->wait.held)
        return l_raisef(L, "task", "busy", "two tasks wait in the same place");
    if (p->woken) {
        p->woken = false;
        return 0;
    }
    lua_settop(L, 1);       /* the park stays alive on this stack */
    return wait_park(L, &p->wait, "task", park_cancel, l_park_wait_k, (lua_KContext)p);
}

static int l_park_wake(lua_State *L)
{
    struct park *p = luaL_checkudata(L, 1, "garun.park");

    p->woken = true;
    wait_done(&p->wait);
    return 0;
}

static int l_park_new(lua_State *L)
{
    struct park *p = lua_newuserdatauv(L, sizeof *p, 0);

    *p = (struct park){ .wait.lasting = true };
    luaL_setmetatable(L, "garun.park");
    return 1;
}

/* ---- timers ---- */

struct timer {
    struct wait  wait;
    uv_timer_t   uv;
    struct garun *g;
    struct task *task;      /* alarm: whom to cancel when it is due; NULL for a sleep */
    int          reason;    /* alarm: registry reference of the error value */
    int          self;      /* alarm: registry reference that keeps the task's userdata */
};

struct timer_box {          /* the userdata "garun.alarm" */
    struct timer *t;
};

static void timer_freed(uv_handle_t *h)
{
    free(h->data);
}

static struct timer *timer_new(lua_State *L, struct timer_box *box)
{
    struct timer *t = calloc(1, sizeof *t);

    if (!t)
        l_raisef(L, "task", "ENOMEM", "not enough memory for a timer");
    t->g = garun_of(L);
    t->reason = t->self = LUA_NOREF;
    uv_timer_init(loop_uv(t->g), &t->uv);
    t->uv.data = t;
    box->t = t;
    return t;
}

static int l_timer_gc(lua_State *L)
{
    struct timer_box *box = lua_touserdata(L, 1);
    struct timer *t = box->t;

    if (!t)
        return 0;
    box->t = NULL;
    if (t->task) {      /* due, but not yet delivered: the block that it guarded is over */
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->reason);
        task_retract(L, t->task);
        lua_pop(L, 1);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, t->reason);
    luaL_unref(L, LUA_REGISTRYINDEX, t->self);
    uv_close((uv_handle_t *)&t->uv, timer_freed);
    return 0;
}

static uint64_t milliseconds(lua_State *L, int arg, const char *what)
{
    double s = luaL_checknumber(L, arg);

    if (!(s >= 0) || s > 1e9)
        l_raisef(L, "usage", "", "%s: seconds must be a number from 0 to 1e9, got %f", what, s);
    return (uint64_t)ceil(s * 1000.0);
}

static void sleep_due(uv_timer_t *h)
{
    wait_done(&((struct timer *)h->data)->wait);
}

static void sleep_cancel(struct wait *w)
{
    uv_timer_stop(&((struct timer *)w)->uv);
}

static int l_sleep_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_remove(L, 1);       /* stack: timer box, closed at once so that many sleeps leave nothing behind */
    return l_timer_gc(L);
}

/* sleep(seconds): 0 lets the other tasks run */
static int l_sleep(lua_State *L)
{
    uint64_t ms = milliseconds(L, 1, "task.sleep");
    struct timer_box *box;
    struct timer *t;

    l_wait_check(L, "task.sleep");
    lua_settop(L, 1);
    box = lua_newuserdatauv(L, sizeof *box, 0);
    box->t = NULL;
    luaL_setmetatable(L, "garun.alarm");
    t = timer_new(L, box);
    uv_update_time(loop_uv(t->g));
    uv_timer_start(&t->uv, sleep_due, ms, 0);
    return wait_park(L, &t->wait, "task.sleep", sleep_cancel, l_sleep_k, 0);
}

static void alarm_due(uv_timer_t *h)
{
    struct timer *t = h->data;
    lua_State *L = t->g->L;

    lua_rawgeti(L, LUA_REGISTRYINDEX, t->reason);    /* allocates nothing, so it cannot raise in a callback */
    task_cancel(L, t->task);
}

/* alarm(seconds, error) -> alarm: cancels the running task with the error when due, unless closed before */
static int l_alarm(lua_State *L)
{
    uint64_t ms = milliseconds(L, 1, "task.timeout");
    struct task *current = garun_of(L)->current;
    struct timer_box *box;
    struct timer *t;

    luaL_checkany(L, 2);
    lua_settop(L, 2);
    l_wait_check(L, "task.timeout");
    box = lua_newuserdatauv(L, sizeof *box, 0);
    box->t = NULL;
    luaL_setmetatable(L, "garun.alarm");             /* stack: seconds, error, alarm */
    t = timer_new(L, box);
    lua_pushvalue(L, 2);
    t->reason = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, current->ref);
    t->self = luaL_ref(L, LUA_REGISTRYINDEX);
    t->task = current;
    uv_update_time(loop_uv(t->g));
    uv_timer_start(&t->uv, alarm_due, ms, 0);
    return 1;
}

static const luaL_Reg functions[] = {
    { "sleep", l_sleep },
    { "park", l_park_new },
    { "alarm", l_alarm },
    { NULL, NULL }
};

void timer_open(lua_State *L)       /* stack: ..., module table */
{
    luaL_newmetatable(L, "garun.alarm");
    lua_pushcfunction(L, l_timer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_timer_gc);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newmetatable(L, "garun.park");
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_park_wait);
    lua_setfield(L, -2, "wait");
    lua_pushcfunction(L, l_park_wake);
    lua_setfield(L, -2, "wake");
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
