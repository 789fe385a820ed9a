/* main.c - the garun command: makes the one context, runs garun.main (Lua) as the first task, and turns how it ended
 * into an exit code.
 *
 * The command line itself is read in runtime/lua/garun/main.lua. Owns struct garun and its Lua state. */
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "bind/bind.h"
#include "core/err.h"
#include "core/garun.h"
#include "core/log.h"
#include "loop/loop.h"
#include "loop/task.h"

enum { EXIT_NO_MEMORY = 1, EXIT_CANNOT_START = 1 };

static int l_panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);

    fprintf(stderr, "garun: %s\n", text ? text : "error outside any task");
    _exit(EXIT_NO_MEMORY);
}

/* A script's warn("...") goes to the log; "@on" and "@off" switch it, as in lua.c. */
static void on_warning(void *ud, const char *text, int to_be_continued)
{
    static const char *const off = "@off", *const on = "@on";
    bool *enabled = ud;

    if (!to_be_continued && strcmp(text, off) == 0)
        *enabled = false;
    else if (!to_be_continued && strcmp(text, on) == 0)
        *enabled = true;
    else if (*enabled)
        fprintf(stderr, "%s%s", text, to_be_continued ? "" : "\n");
}

/* Opens what every script has; runs protected, so that lack of memory is an error like any other. */
static int l_open(lua_State *L)
{
    char **argv = lua_touserdata(L, 1);

    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");   /* a job runner loads no code that its caller's LUA_PATH names */
    luaL_openlibs(L);
    coro_open(L);
    task_open(L);
    bind_preload(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "garun.main");
    lua_call(L, 1, 1);                       /* stack: argv, main function */
    lua_createtable(L, 0, 0);
    for (int i = 0; argv[i]; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    task_spawn(L, 1, NULL, false);           /* stack: argv, task */
    return 1;
}

/* Tells the outcome of the main task; the exit code. */
static int finish(struct garun *g, struct task *t)
{
    lua_State *L = g->L;
    int code = 0;

    task_outcome(L, t);                      /* stack: ok, results or error */
    if (lua_toboolean(L, -2)) {
        lua_rawgeti(L, -1, 1);
        code = lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 0;
        return code;
    }
    fflush(stdout);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "garun.report");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -2);                    /* stack: false, error, report function, error */
    if (!task_traceback(L, -1))
        lua_pushnil(L);
    lua_call(L, 2, 1);
    code = (int)lua_tointeger(L, -1);
    return g->loop->signal ? 128 + g->loop->signal : code;
}

/* The end runs protected too: an error's own __tostring may fail. */
static int l_finish(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);

    lua_pushinteger(L, finish(garun_of(L), t));
    return 1;
}

/* Descriptors 0 to 2 that the caller closed would be given to sockets and files, which print() would then write to. */
static void fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

int main(int argc, char **argv)
{
    struct garun g = { .self = "/proc/self/exe" };
    struct err e;
    bool warnings = true;
    int code = EXIT_CANNOT_START;

    (void)argc;
    fill_standard_descriptors();
    prctl(PR_SET_DUMPABLE, getenv("GARUN_DEBUG") != NULL, 0, 0, 0);   /* core dumps would hold passwords */
    g.L = luaL_newstate();
    if (!g.L || !loop_init(&g, &e)) {
        fprintf(stderr, "garun: cannot start: %s\n", g.L ? e.message : "not enough memory");
        return EXIT_CANNOT_START;
    }
    *(struct garun **)lua_getextraspace(g.L) = &g;
    lua_atpanic(g.L, l_panic);
    lua_setwarnf(g.L, on_warning, &warnings);
    /* Chunks of half a megabyte pass through; with the defaults each of them would start a collection of everything. */
    lua_gc(g.L, LUA_GCINC, 400, 200, 0);

    lua_pushcfunction(g.L, l_open);
    lua_pushlightuserdata(g.L, argv);
    if (lua_pcall(g.L, 1, 1, 0) != LUA_OK) {
        fprintf(stderr, "garun: cannot start: %s\n", lua_tostring(g.L, -1));
    } else {
        struct task *t = lua_touserdata(g.L, -1);     /* stays on the stack until the end */

        loop_run(&g, t);
        lua_pushcfunction(g.L, l_finish);
        lua_pushvalue(g.L, -2);
        if (lua_pcall(g.L, 1, 1, 0) == LUA_OK)
            code = (int)lua_tointeger(g.L, -1);
        else
            fprintf(stderr, "garun: %s\n", lua_tostring(g.L, -1));
    }
    fflush(stdout);
    lua_close(g.L);
    log_free();
    if (!loop_free(&g))
        _exit(code);
    return code;
}
