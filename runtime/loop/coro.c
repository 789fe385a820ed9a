/* coro.c - coroutine.* that lets waits pass through.
 *
 * A wait inside a user coroutine yields the mark (task.h). The replaced resume and wrap hand it on to the loop and, when
 * the loop resumes the task, continue the inner coroutine where it waits; everything else is an ordinary yield. Owns the
 * weak table of coroutines that wait, so that nobody else resumes one. */
#include <lauxlib.h>
#include "loop/task.h"

static const char waiting_key = 'c';    /* registry: weak-keyed set of coroutines that wait inside */

static bool is_waiting(lua_State *L, lua_State *co)
{
    bool waiting;

    if (co == L)
        return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiting_key);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    waiting = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    return waiting;
}

static void set_waiting(lua_State *L, lua_State *co, bool waiting)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiting_key);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    if (waiting)
        lua_pushboolean(L, 1);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

enum { INNER_YIELDED, INNER_PARKED, INNER_FAILED };

/* Resumes co with the nargs values on its stack. YIELDED: *nres values are on co's stack; FAILED: the error is. */
static int resume_inner(lua_State *L, lua_State *co, int nargs, int *nres)
{
    struct loop *loop = garun_of(L)->loop;
    int status;

    loop->running = co;
    status = lua_resume(co, L, nargs, nres);
    loop->running = L;
    if (status == LUA_YIELD && *nres == 1 && lua_touserdata(co, -1) == (const void *)&task_wait_mark) {
        lua_pop(co, 1);
        return INNER_PARKED;
    }
    return status == LUA_OK || status == LUA_YIELD ? INNER_YIELDED : INNER_FAILED;
}

static int park_again(lua_State *L, lua_State *co, lua_KContext ctx, lua_KFunction k)
{
    set_waiting(L, co, true);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&task_wait_mark);
    return lua_yieldk(L, 1, ctx, k);
}

/* Why co cannot be resumed, or NULL. */
static const char *refusal(lua_State *L, lua_State *co)
{
    lua_Debug ar;

    if (co == L)
        return "cannot resume non-suspended coroutine";
    if (is_waiting(L, co))
        return "cannot resume waiting coroutine";
    switch (lua_status(co)) {
    case LUA_YIELD:
        return NULL;
    case LUA_OK:
        if (lua_getstack(co, 0, &ar))
            return "cannot resume non-suspended coroutine";
        return lua_gettop(co) == 0 ? "cannot resume dead coroutine" : NULL;
    default:
        return "cannot resume dead coroutine";
    }
}

static int resume_finish(lua_State *L, lua_State *co, int nargs);

static int l_resume_k(lua_State *L, int status, lua_KContext ctx)
{
    lua_State *co = lua_tothread(L, 1);

    (void)status, (void)ctx;
    set_waiting(L, co, false);
    return resume_finish(L, co, 0);
}

static int resume_finish(lua_State *L, lua_State *co, int nargs)
{
    int nres;

    switch (resume_inner(L, co, nargs, &nres)) {
    case INNER_PARKED:
        return park_again(L, co, 0, l_resume_k);
    case INNER_YIELDED:
        luaL_checkstack(L, nres + 1, "too many results to resume");
        lua_pushboolean(L, 1);
        lua_xmove(co, L, nres);
        return nres + 1;
    default:
        lua_pushboolean(L, 0);
        lua_xmove(co, L, 1);
        task_remember_traceback(L, co);
        return 2;
    }
}

static int l_resume(lua_State *L)       /* coroutine.resume(co, ...) */
{
    lua_State *co = lua_tothread(L, 1);
    int nargs = lua_gettop(L) - 1;
    const char *no;

    luaL_argexpected(L, co, 1, "coroutine");
    no = refusal(L, co);
    if (!no && !lua_checkstack(co, nargs))
        no = "too many arguments to resume";
    if (no) {
        lua_pushboolean(L, 0);
        lua_pushstring(L, no);
        return 2;
    }
    lua_xmove(L, co, nargs);
    return resume_finish(L, co, nargs);
}

static int wrap_finish(lua_State *L, lua_State *co, int nargs);

static int l_wrapped_k(lua_State *L, int status, lua_KContext ctx)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));

    (void)status, (void)ctx;
    set_waiting(L, co, false);
    return wrap_finish(L, co, 0);
}

static int wrap_finish(lua_State *L, lua_State *co, int nargs)
{
    int nres;

    switch (resume_inner(L, co, nargs, &nres)) {
    case INNER_PARKED:
        return park_again(L, co, 0, l_wrapped_k);
    case INNER_YIELDED:
        luaL_checkstack(L, nres, "too many results to resume");
        lua_xmove(co, L, nres);
        return nres;
    default:
        lua_xmove(co, L, 1);
        task_remember_traceback(L, co);
        if (lua_resetthread(co) != LUA_OK) {      /* a __close of its own failed: that error replaces it, as in Lua */
            lua_pop(L, 1);
            lua_xmove(co, L, 1);
        }
        return lua_error(L);
    }
}

static int l_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    const char *no = refusal(L, co);
    int nargs = lua_gettop(L);

    if (no)
        return luaL_error(L, "%s", no);
    if (!lua_checkstack(co, nargs))
        return luaL_error(L, "too many arguments to resume");
    lua_xmove(L, co, nargs);
    return wrap_finish(L, co, nargs);
}

static int l_wrap(lua_State *L)         /* coroutine.wrap(fn) */
{
    lua_State *co;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, l_wrapped, 1);
    return 1;
}

/* coroutine.yield at a task's own level has nobody to yield to. */
static int l_yield(lua_State *L)
{
    struct task *t = garun_of(L)->current;

    if (t && t->co == L)
        return luaL_error(L, "attempt to yield from outside a coroutine");
    return lua_yield(L, lua_gettop(L));
}

static int l_isyieldable(lua_State *L)
{
    lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    struct task *t = garun_of(L)->current;

    lua_pushboolean(L, lua_isyieldable(co) && !(t && t->co == co));
    return 1;
}

/* A coroutine that waits cannot be closed from outside: its wait belongs to the task. */
static int l_close(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);

    luaL_argexpected(L, co, 1, "coroutine");
    if (is_waiting(L, co))
        return luaL_error(L, "cannot close a waiting coroutine");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static const luaL_Reg functions[] = {
    { "resume", l_resume },
    { "wrap", l_wrap },
    { "yield", l_yield },
    { "isyieldable", l_isyieldable },
    { NULL, NULL }
};

void coro_open(lua_State *L)
{
    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &waiting_key);
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, -1, "close");
    lua_pushcclosure(L, l_close, 1);
    lua_setfield(L, -2, "close");
    lua_pop(L, 1);
}
