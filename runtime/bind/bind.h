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

/* The modules written in C; bind.c gives them their names. Those of core/ and loop/ are declared there. */
int luaopen_garun_core_bq_rows(lua_State *L);
int luaopen_garun_core_host(lua_State *L);
int luaopen_garun_core_fs(lua_State *L);
int luaopen_garun_core_gzip(lua_State *L);
int luaopen_garun_core_http(lua_State *L);
int luaopen_garun_core_load(lua_State *L);
int luaopen_garun_core_mime(lua_State *L);
int luaopen_garun_core_pg(lua_State *L);
int luaopen_garun_core_proc(lua_State *L);
int luaopen_garun_core_smtp(lua_State *L);
int luaopen_garun_core_sftp(lua_State *L);
int luaopen_garun_core_time(lua_State *L);
int luaopen_garun_json(lua_State *L);
int luaopen_garun_csv(lua_State *L);
int luaopen_garun_uuid(lua_State *L);
int luaopen_garun_crypto(lua_State *L);
int luaopen_garun_log(lua_State *L);

/* Puts the table that plugins call garun through (plugins/garun_plugin.h) into the registry. */
void plugin_open(lua_State *L);

/* Puts every module into package.preload; none is loaded. */
void bind_preload(lua_State *L);

#endif
