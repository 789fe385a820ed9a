/* bind.h - the modules that are in the binary: C modules, and the Lua files that the build embeds. */
#ifndef GARUN_BIND_H
#define GARUN_BIND_H

#include <stddef.h>
#include <lua.h>

/* A file of runtime/lua or runtime/meta in the binary; the table of them is written by the Makefile. */
struct bind_file {
    const char *name;        /* module name ("garun.pg"), or "meta/garun.pg" */
    const char *text, *end;
};

extern const struct bind_file bind_files[];   /* ends with a NULL name */

/* The modules written in C; bind.c gives them their names. */
__attribute__((weak)) int luaopen_garun_copy(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_crypto(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_csv(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_fs(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_gzip(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_json(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_load(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_log(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_pg(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_proc(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_time(lua_State *L);
__attribute__((weak)) int luaopen_garun_core_uuid(lua_State *L);
__attribute__((weak)) int luaopen_garun_crypto(lua_State *L);
__attribute__((weak)) int luaopen_garun_csv(lua_State *L);
__attribute__((weak)) int luaopen_garun_fs(lua_State *L);
__attribute__((weak)) int luaopen_garun_gzip(lua_State *L);
__attribute__((weak)) int luaopen_garun_json(lua_State *L);
__attribute__((weak)) int luaopen_garun_log(lua_State *L);
__attribute__((weak)) int luaopen_garun_proc(lua_State *L);
__attribute__((weak)) int luaopen_garun_time(lua_State *L);
__attribute__((weak)) int luaopen_garun_uuid(lua_State *L);
int luaopen_garun_core_host(lua_State *L);

/* Puts every module into package.preload; none is loaded. */
void bind_preload(lua_State *L);

#endif
