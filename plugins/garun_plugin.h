/* garun_plugin.h - all that a plugin of garun may rely on: one table of functions, handed out by garun under a version.
 *
 * A plugin is a Lua C module (luaopen_NAME) in NAME.so that `require "NAME"` loads. It links with Lua's symbols only;
 * what it needs of garun it calls through the table, so a plugin and a garun that do not fit say so when the plugin is
 * loaded, instead of failing later. plugins/README.md shows a whole plugin. */
#ifndef GARUN_PLUGIN_H
#define GARUN_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <lauxlib.h>
#include <lua.h>

/* The version of this header's table. It changes when a plugin that was built with the older header would break. */
#define GARUN_PLUGIN_ABI 1u

/* Where garun keeps the table: a light userdata in the registry. */
#define GARUN_PLUGIN_KEY "garun.plugin"

/* The one symbol that a plugin's .so needs to show (garun's own are built with -fvisibility=hidden). */
#define GARUN_PLUGIN_EXPORT __attribute__((visibility("default")))

/* What went wrong, for the operator: what failed, on what, why, what to do. No secret ever goes into one. */
struct garun_error {
    const char *kind;         /* static string: the module's name */
    char        code[32];     /* for programs; "" when there is none */
    bool        retryable;    /* true when the same call may succeed later */
    char        message[1024];
    char        detail[1024]; /* "" or more about this case */
    char        hint[512];    /* "" or what to do */
};

/* Blocking work for a thread; embedded as the first member of what it works on. */
struct garun_work {
    void (*run)(struct garun_work *w);       /* on a thread: no Lua, no garun but the error functions */
    void (*dispose)(struct garun_work *w);   /* on garun's thread: frees w when the task was cancelled meanwhile */
};

/* Fills *e from a printf format and returns false; the second adds the text of errno ("message: No such file ..."). */
typedef bool (*garun_set_function)(struct garun_error *e, const char *kind, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
typedef bool (*garun_set_errno_function)(struct garun_error *e, const char *kind, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Makes an error object and raises it. raisef takes the format of lua_pushfstring. */
typedef __attribute__((noreturn)) int (*garun_raise_function)(lua_State *L, const struct garun_error *e);
typedef __attribute__((noreturn)) int (*garun_raisef_function)(lua_State *L, const char *kind, const char *code,
                                                               const char *fmt, ...);

struct garun_plugin_api {
    unsigned    abi;           /* GARUN_PLUGIN_ABI of this garun; always the first member */
    const char *version;       /* of garun, "0.1.0" */

    /* Errors. set and set_errno may be called on any thread. */
    garun_set_function       set;
    garun_set_errno_function set_errno;
    garun_raise_function     raise;
    garun_raisef_function    raisef;

    /* Option tables: check accepts nil or a table whose keys are all in the NULL-terminated list and leaves a table at
     * idx; the others read one field of it. All raise kind "usage"; fn is the function's name for the message. */
    void (*opt_check)(lua_State *L, int idx, const char *fn, const char *const *names);
    double (*opt_number)(lua_State *L, int idx, const char *fn, const char *name, double def, double min, double max);
    lua_Integer (*opt_integer)(lua_State *L, int idx, const char *fn, const char *name, lua_Integer def,
                               lua_Integer min, lua_Integer max);
    bool (*opt_boolean)(lua_State *L, int idx, const char *fn, const char *name, bool def);
    const char *(*opt_string)(lua_State *L, int idx, const char *fn, const char *name, const char *def, size_t *len);

    /* Waiting. wait_check raises when the caller cannot wait where it is (a sort comparator, __gc ...). work parks the
     * running task, calls w->run on a thread and continues in k(L, LUA_YIELD, ctx), to which w belongs again; use it as
     * `return api->work(...)`. When the task is cancelled, and when work itself raises, w->dispose is called instead, as
     * soon as run has ended. what is the function's name for messages. */
    void (*wait_check)(lua_State *L, const char *what);
    int (*work)(lua_State *L, struct garun_work *w, const char *what, lua_KFunction k, lua_KContext ctx);
};

/* For luaopen_NAME: the table, or a clear error when this is no garun or one of another ABI. */
static inline const struct garun_plugin_api *garun_plugin_open(lua_State *L, const char *name)
{
    luaL_checkversion(L);
    lua_getfield(L, LUA_REGISTRYINDEX, GARUN_PLUGIN_KEY);
    const struct garun_plugin_api *api = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!api)
        luaL_error(L, "the plugin '%s' needs garun: run the script with garun, not with another Lua program", name);
    else if (api->abi != GARUN_PLUGIN_ABI)
        luaL_error(L, "the plugin '%s' was built for plugin ABI %d, this garun (%s) has %d: rebuild the plugin with the "
                      "garun_plugin.h of this garun", name, (int)GARUN_PLUGIN_ABI, api->version, (int)api->abi);
    return api;
}

#endif
