/* plugin.c - the host's side of plugins/garun_plugin.h: the table of functions that plugins call garun through.
 *
 * Owns nothing but the adapters of works under way. A plugin that has ever started a work stays mapped until the process
 * ends: lua_close unloads modules while an abandoned work's thread may still be inside one. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "core/err.h"
#include "core/garun.h"
#include "core/opt.h"
#include "garun_plugin.h"
#include "loop/loop.h"

/* The plugin's error is ours under another name: whoever changes one changes the ABI. */
_Static_assert(sizeof(struct garun_error) == sizeof(struct err), "struct garun_error is struct err");
_Static_assert(offsetof(struct garun_error, message) == offsetof(struct err, message), "struct garun_error");
_Static_assert(offsetof(struct garun_error, detail) == offsetof(struct err, detail), "struct garun_error");
_Static_assert(offsetof(struct garun_error, hint) == offsetof(struct err, hint), "struct garun_error");
_Static_assert(offsetof(struct garun_error, retryable) == offsetof(struct err, retryable), "struct garun_error");

struct plugin_work {
    struct work        work;
    struct garun_work *theirs;    /* NULL when it is the plugin's again */
    lua_KFunction      k;
    lua_KContext       ctx;
};

static int l_plugin_raise(lua_State *L, const struct garun_error *e) __attribute__((noreturn));
static int l_plugin_raise(lua_State *L, const struct garun_error *e)
{
    struct err ours;

    memcpy(&ours, e, sizeof ours);
    l_raise(L, &ours);
}

static void work_run(struct work *w)
{
    struct garun_work *theirs = ((struct plugin_work *)w)->theirs;

    theirs->run(theirs);
}

static void work_dispose(struct work *w)
{
    struct plugin_work *pw = (struct plugin_work *)w;

    if (pw->theirs)
        pw->theirs->dispose(pw->theirs);
    free(pw);
}

static int l_work_k(lua_State *L, int status, lua_KContext ctx)
{
    struct plugin_work *pw = (struct plugin_work *)ctx;
    lua_KFunction k = pw->k;
    lua_KContext their_ctx = pw->ctx;

    pw->theirs = NULL;
    work_release(&pw->work);
    return k(L, status, their_ctx);
}

/* Keeps the object that holds the function mapped for good, once per function. May raise on lack of memory. */
static void l_pin(lua_State *L, void (*run)(struct garun_work *))
{
    union { void (*function)(struct garun_work *); const void *address; } at = { .function = run };
    Dl_info info;

    luaL_getsubtable(L, LUA_REGISTRYINDEX, "garun.plugin.pinned");
    if (lua_rawgetp(L, -1, at.address) == LUA_TNIL) {
        if (dladdr(at.address, &info) && info.dli_fname)
            dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        lua_pushboolean(L, 1);
        lua_rawsetp(L, -3, at.address);
    }
    lua_pop(L, 2);
}

struct pin {
    void (*run)(struct garun_work *);
};

static int l_pin_protected(lua_State *L)
{
    l_pin(L, ((struct pin *)lua_touserdata(L, 1))->run);
    return 0;
}

static int l_plugin_work(lua_State *L, struct garun_work *w, const char *what, lua_KFunction k, lua_KContext ctx)
{
    struct plugin_work *pw = calloc(1, sizeof *pw);
    struct pin pin = { w->run };

    bool ready = pw && lua_checkstack(L, 4);
    if (ready) {
        lua_pushcfunction(L, l_pin_protected);
        lua_pushlightuserdata(L, &pin);
        ready = lua_pcall(L, 1, 0, 0) == LUA_OK;
    }
    if (!ready) {
        free(pw);
        w->dispose(w);
        return l_raisef(L, "task", "ENOMEM", "%s: not enough memory", what);
    }
    pw->work.run = work_run;
    pw->work.dispose = work_dispose;
    pw->theirs = w;
    pw->k = k;
    pw->ctx = ctx;
    return wait_work(L, &pw->work, what, l_work_k, (lua_KContext)pw);
}

/* Behind the "...": the text is made here and handed on, for a function is only called through its own type. */
static bool plugin_set(struct garun_error *e, const char *kind, const char *code, const char *fmt, ...)
{
    char text[sizeof e->message];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err ours;
    err_set(&ours, kind, code, "%s", text);
    memcpy(e, &ours, sizeof ours);
    return false;
}

static bool plugin_set_errno(struct garun_error *e, const char *kind, int errnum, const char *fmt, ...)
{
    char text[sizeof e->message];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err ours;
    err_errno(&ours, kind, errnum, "%s", text);
    memcpy(e, &ours, sizeof ours);
    return false;
}

void plugin_open(lua_State *L)
{
    static const struct garun_plugin_api api = {
        .abi = GARUN_PLUGIN_ABI,
        .version = GARUN_VERSION,
        .set = plugin_set,
        .set_errno = plugin_set_errno,
        .raise = l_plugin_raise,
        .raisef = l_raisef,
        .opt_check = l_opt_check,
        .opt_number = l_opt_number,
        .opt_integer = l_opt_integer,
        .opt_boolean = l_opt_boolean,
        .opt_string = l_opt_string,
        .wait_check = l_wait_check,
        .work = l_plugin_work,
    };

    lua_pushlightuserdata(L, (void *)(uintptr_t)&api);
    lua_setfield(L, LUA_REGISTRYINDEX, GARUN_PLUGIN_KEY);
}
