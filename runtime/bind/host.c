/* host.c - garun.core.host: facts about this binary and process that the Lua part of the runtime asks for.
 *
 * Owns nothing. */
#include <errno.h>
#include <lauxlib.h>
#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <zlib.h>
#include "bind/bind.h"
#include "core/err.h"
#include "core/garun.h"

/* text(name) -> an embedded file's text ("garun.pg", "meta/garun.pg"), or nil */
static int l_text(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (const struct bind_file *f = bind_files; f->name; f++)
        if (strcmp(f->name, name) == 0) {
            lua_pushlstring(L, f->text, (size_t)(f->end - f->text));
            return 1;
        }
    return 0;
}

/* files() -> names of all embedded files */
static int l_files(lua_State *L)
{
    lua_Integer n = 0;

    lua_newtable(L);
    for (const struct bind_file *f = bind_files; f->name; f++) {
        lua_pushstring(L, f->name);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int l_environ(lua_State *L)
{
    lua_newtable(L);
    for (char **e = environ; *e; e++) {
        const char *eq = strchr(*e, '=');
        if (!eq)
            continue;
        lua_pushlstring(L, *e, (size_t)(eq - *e));
        lua_pushstring(L, eq + 1);
        lua_rawset(L, -3);
    }
    return 1;
}

static int l_getenv(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static int l_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* Directory of the executable, into out[PATH_MAX]. */
static bool exe_dir(char *out)
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    char *slash;

    if (n <= 0)
        return false;
    out[n] = '\0';
    slash = strrchr(out, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return true;
}

/* The first of the candidates, relative to the executable's directory, that exists; pushed without "..". */
static bool push_beside(lua_State *L, const char *const *candidates)
{
    char dir[PATH_MAX], path[PATH_MAX * 2], real[PATH_MAX];

    if (!exe_dir(dir))
        return false;
    for (; *candidates; candidates++) {
        snprintf(path, sizeof path, "%s/%s", dir, *candidates);
        if (realpath(path, real)) {
            lua_pushstring(L, real);
            return true;
        }
    }
    return false;
}

/* root() -> the directory with scripts/ and sql/: a checkout (build/garun) or PREFIX/share/garun (PREFIX/bin/garun) */
static int l_root(lua_State *L)
{
    static const char *const marks[] = { "../sql/tables", "../share/garun/sql/tables", "../../sql/tables", NULL };
    const char *path, *end;

    if (!push_beside(L, marks)) {
        lua_pushliteral(L, ".");
        return 1;
    }
    path = lua_tostring(L, -1);
    end = path + strlen(path) - strlen("/sql/tables");
    lua_pushlstring(L, path, (size_t)(end - path));
    return 1;
}

/* worker() -> path of garun-worker, beside the executable or in PREFIX/lib/garun */
static int l_worker(lua_State *L)
{
    static const char *const places[] = { "garun-worker", "../lib/garun/garun-worker", NULL };

    if (!push_beside(L, places))
        return l_raisef(L, "config", "ENOENT", "garun-worker is not installed beside garun: run make");
    return 1;
}

/* plugins() -> the directory of the plugins, beside the executable or PREFIX/lib/garun/plugins; nil without one */
static int l_plugins(lua_State *L)
{
    static const char *const places[] = { "plugins", "../lib/garun/plugins", NULL };

    return push_beside(L, places) ? 1 : 0;
}

static int l_exe(lua_State *L)
{
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir);

    if (n <= 0)
        return l_raisef(L, "config", err_errno_name(errno), "cannot read /proc/self/exe");
    lua_pushlstring(L, dir, (size_t)n);
    return 1;
}

static int l_libraries(lua_State *L)
{
    lua_pushfstring(L, "(%s)  libpq %d.%d  libuv %s  zlib %s", LUA_RELEASE, PQlibVersion() / 10000,
                    PQlibVersion() % 10000, uv_version_string(), zlibVersion());
    return 1;
}

/* kill(pid, number): for fault tests; scripts end the processes they started by their handle */
static int l_kill(lua_State *L)
{
    struct err e;

    if (kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)) == 0)
        return 0;
    err_errno(&e, "proc", errno, "cannot signal process %lld", (long long)lua_tointeger(L, 1));
    return l_raise(L, &e);
}

static int l_cores(lua_State *L)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    lua_pushinteger(L, n > 0 ? n : 1);
    return 1;
}

static const luaL_Reg functions[] = {
    { "text", l_text },
    { "files", l_files },
    { "environ", l_environ },
    { "getenv", l_getenv },
    { "isatty", l_isatty },
    { "root", l_root },
    { "exe", l_exe },
    { "worker", l_worker },
    { "plugins", l_plugins },
    { "kill", l_kill },
    { "cores", l_cores },
    { "libraries", l_libraries },
    { NULL, NULL }
};

int luaopen_garun_core_host(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_pushliteral(L, GARUN_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
