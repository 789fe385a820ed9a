/* garun.h - the one context of a garun process.
 *
 * Owns nothing by itself: main.c makes it, loop/ runs it, every binding finds it through garun_of(). There are no other
 * globals. Lua copies the extra space of the main thread into each new coroutine (lstate.c, lua_newthread), so the
 * look-up is O(1) from any of them. */
#ifndef GARUN_H
#define GARUN_H

#include <stdbool.h>
#include <lua.h>

#define GARUN_VERSION "0.1.0"

struct loop;
struct task;

struct garun {
    lua_State   *L;        /* the main Lua thread; no script code runs on it */
    struct loop *loop;     /* owned; see loop/loop.h */
    struct task *current;  /* the task whose Lua code runs now, NULL between tasks; not owned */
    const char  *self;     /* path of this executable, for workers and commands; owned by main.c */
};

static inline struct garun *garun_of(lua_State *L)
{
    return *(struct garun **)lua_getextraspace(L);
}

#endif
