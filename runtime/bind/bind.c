/* bind.c - package.preload for everything in the binary. Owns nothing. The one place where a C module gets its Lua name. */
#include "bind/bind.h"

#include <lauxlib.h>
#include <string.h>
#include "core/err.h"
#include "core/garun.h"
#include "loop/task.h"

static const char *const meta_prefix = "meta/";

static int l_load_embedded(lua_State *L)     /* upvalue: the file; arguments: name, ":preload:" */
{
    const struct bind_file *f = lua_touserdata(L, lua_upvalueindex(1));

    lua_pushfstring(L, "=%s", f->name);
    if (luaL_loadbufferx(L, f->text, (size_t)(f->end - f->text), lua_tostring(L, -1), "t") != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static const luaL_Reg modules[] = {
    { "garun.core.bq_rows", luaopen_garun_core_bq_rows },
    { "garun.core.host", luaopen_garun_core_host },
    { "garun.core.task", luaopen_garun_core_task },
    { "garun.core.fs", luaopen_garun_core_fs },
    { "garun.core.gzip", luaopen_garun_core_gzip },
    { "garun.core.http", luaopen_garun_core_http },
    { "garun.core.load", luaopen_garun_core_load },
    { "garun.core.mime", luaopen_garun_core_mime },
    { "garun.core.pg", luaopen_garun_core_pg },
    { "garun.core.proc", luaopen_garun_core_proc },
    { "garun.core.smtp", luaopen_garun_core_smtp },
    { "garun.core.sftp", luaopen_garun_core_sftp },
    { "garun.core.time", luaopen_garun_core_time },
    { "garun.error", luaopen_garun_error },
    { "garun.json", luaopen_garun_json },
    { "garun.csv", luaopen_garun_csv },
    { "garun.uuid", luaopen_garun_uuid },
    { "garun.crypto", luaopen_garun_crypto },
    { "garun.log", luaopen_garun_log },
    { NULL, NULL }
};

void bind_preload(lua_State *L)
{
    plugin_open(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const luaL_Reg *m = modules; m->name; m++) {
        lua_pushcfunction(L, m->func);
        lua_setfield(L, -2, m->name);
    }
    for (const struct bind_file *f = bind_files; f->name; f++) {
        if (strncmp(f->name, meta_prefix, strlen(meta_prefix)) == 0)
            continue;
        lua_pushlightuserdata(L, (void *)(uintptr_t)f);
        lua_pushcclosure(L, l_load_embedded, 1);
        lua_setfield(L, -2, f->name);
    }
    lua_pop(L, 1);
}
