/* pg_stmt.c - the statement cache: a text that comes a second time is prepared on the server, the least recently used
 * of PG_STMTS gives way.
 *
 * The connection's user value 1 maps text to slot and slot to text; C keeps the rest. Names are never used twice, so a
 * name that could not be given back yet (failed transaction) does no harm; used-up ones are deallocated in batches. */
#include <lauxlib.h>
#include <stdio.h>
#include "bind/pg_conn.h"

enum { MAX_SQL = 16384, DEALLOC_BATCH = 16 };      /* longer texts are generated ones and seldom come twice */

void pg_stmt_name(unsigned name, char out[24])
{
    snprintf(out, 24, "garun_%u", name);
}

/* Frees the slot's name on the server, some time. */
static void give_back(struct pg_conn *c, struct pg_stmt *s)
{
    if (s->name && c->n_dealloc < PG_STMTS)
        c->dealloc[c->n_dealloc++] = s->name;
    *s = (struct pg_stmt){ .used = 0 };
}

static int victim(const struct pg_conn *c)
{
    int best = 0;

    for (int i = 0; i < PG_STMTS; i++) {
        if (c->stmts[i].used == 0)
            return i;
        if (c->stmts[i].used < c->stmts[best].used)
            best = i;
    }
    return best;
}

/* Removes the slot's text from the table at the top. */
static void forget_text(lua_State *L, int slot)
{
    if (lua_rawgeti(L, -1, slot + 1) == LUA_TSTRING) {
        lua_pushnil(L);
        lua_rawset(L, -3);
        lua_pushnil(L);
        lua_rawseti(L, -2, slot + 1);
    } else {
        lua_pop(L, 1);
    }
}

int l_pg_stmt_slot(lua_State *L, int box_idx, int sql_idx, struct pg_conn *c)
{
    int slot;

    if (!c->prepare || lua_rawlen(L, sql_idx) > MAX_SQL)
        return -1;
    sql_idx = lua_absindex(L, sql_idx);
    if (lua_getiuservalue(L, box_idx, PG_UV_STMTS) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, PG_STMTS, PG_STMTS);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, box_idx, PG_UV_STMTS);
    }
    lua_pushvalue(L, sql_idx);          /* stack: ..., cache, sql */
    if (lua_rawget(L, -2) == LUA_TNUMBER) {
        slot = (int)lua_tointeger(L, -1);
        lua_pop(L, 2);
        c->stmts[slot].used = ++c->calls;
        return slot;
    }
    lua_pop(L, 1);
    slot = victim(c);
    forget_text(L, slot);
    give_back(c, &c->stmts[slot]);
    lua_pushvalue(L, sql_idx);
    lua_pushinteger(L, slot);
    lua_rawset(L, -3);
    lua_pushvalue(L, sql_idx);
    lua_rawseti(L, -2, slot + 1);
    lua_pop(L, 1);
    c->stmts[slot].used = ++c->calls;
    return slot + PG_STMTS;
}

void l_pg_stmt_forget(lua_State *L, int box_idx, struct pg_conn *c, int slot)
{
    if (lua_getiuservalue(L, box_idx, PG_UV_STMTS) == LUA_TTABLE)
        forget_text(L, slot);
    lua_pop(L, 1);
    give_back(c, &c->stmts[slot]);
}

void l_pg_stmt_forget_all(lua_State *L, int box_idx, struct pg_conn *c)
{
    lua_pushnil(L);
    lua_setiuservalue(L, box_idx, PG_UV_STMTS);
    memset(c->stmts, 0, sizeof c->stmts);
    c->n_dealloc = 0;
}

bool pg_stmt_deallocate(struct pg_conn *c, char *sql, size_t size)
{
    size_t at = 0;

    /* Only between transactions: an error of this (DISCARD ALL took the names) must not spoil one. */
    if (c->n_dealloc < DEALLOC_BATCH || PQtransactionStatus(c->pg) != PQTRANS_IDLE)
        return false;
    sql[0] = '\0';
    while (c->n_dealloc > 0 && at + 64 < size)
        at += (size_t)snprintf(sql + at, size - at, "DEALLOCATE garun_%u;", c->dealloc[--c->n_dealloc]);
    return true;
}
