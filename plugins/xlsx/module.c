/* module.c - luaopen_xlsx: the C half (open, writer) handed to xlsx.lua, which makes the module of it.
 *
 * xlsx.lua is in the .so as it is, so that a traceback's line is a line of the file. */
#include <stdint.h>
#include "xlsx.h"

__asm__(".section .rodata\n"
        ".balign 8\n"
        "xlsx_lua_size: .quad 1f - xlsx_lua\n"
        "xlsx_lua: .incbin \"plugins/xlsx/xlsx.lua\"\n"
        "1: .previous\n");
extern const uint64_t xlsx_lua_size __attribute__((visibility("hidden")));
extern const char xlsx_lua[] __attribute__((visibility("hidden")));

GARUN_PLUGIN_EXPORT int luaopen_xlsx(lua_State *L);

int luaopen_xlsx(lua_State *L)
{
    const struct garun_plugin_api *api = garun_plugin_open(L, "xlsx");

    if (luaL_loadbufferx(L, xlsx_lua, xlsx_lua_size, "=xlsx", "t") != LUA_OK)
        return lua_error(L);
    lua_newtable(L);                 /* stack: chunk, core */
    reader_open(L, api);
    writer_open(L, api);
    lua_call(L, 1, 1);
    return 1;
}
