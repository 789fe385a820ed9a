/* pg.h - what the rest of the program may use of the PostgreSQL binding: the COPY that a script opened.
 *
 * A script opens a COPY with db:copy_in(...); C code of another file (the bulk path) takes that object from the Lua
 * stack and sends large buffers through it without making Lua strings of them:
 *
 *   static int l_lane_sent_k(lua_State *L, int status, lua_KContext ctx)
 *   {
 *       ... return l_lane_next(L, (struct lane *)ctx);
 *   }
 *   static int l_lane_send(lua_State *L, struct lane *lane, int copy_idx) {
 *       return l_pg_copy_send(L, copy_idx, lane->data, lane->len, l_lane_sent_k, (lua_KContext)lane);
 *   }
 *
 * Everything else of the binding is in pg_conn.h and is private to the pg_*.c files. */
#ifndef GARUN_PG_H
#define GARUN_PG_H

#include <stddef.h>
#include <stdint.h>
#include <lua.h>

/* Sends n bytes of rows in the format that the COPY has through the copy_in object at copy_idx and continues in
 * k(L, LUA_OK or LUA_YIELD, ctx) with the stack as it is now, when libpq's buffer is empty again: that is the
 * back-pressure, at most PG_COPY_PIECE bytes are ever queued. Use as `return l_pg_copy_send(...)`. The n bytes must
 * stay valid and unchanged until k runs or an error is raised; pieces may cut rows anywhere. Rows that the script wrote
 * before with :row() go first. Raises the server's error as soon as the server has sent one, the error of a lost
 * connection, and the cancellation of the task; after any of them the COPY is over and close() of the object cleans
 * up. */
int l_pg_copy_send(lua_State *L, int copy_idx, const char *data, size_t n, lua_KFunction k, lua_KContext ctx);

/* Ends the COPY in good order and continues in k when the server has answered; l_pg_copy_rows() then gives its count.
 * Raises as l_pg_copy_send does. */
int l_pg_copy_finish(lua_State *L, int copy_idx, lua_KFunction k, lua_KContext ctx);

/* Rows of the finished COPY by the server's command tag. Raises when the object at copy_idx is not a finished one. */
uint64_t l_pg_copy_rows(lua_State *L, int copy_idx);

#endif
