/* lane.c - garun.core.load: lanes as Lua sees them. Owns the userdata and everything that hangs on it. */
#include <stdlib.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "bind/pg.h"
#include "core/opt.h"
#include "load/lane.h"

struct lane *l_lane_check(lua_State *L)
{
    struct lane *lane = luaL_checkudata(L, 1, "garun.lane");

    if (!lane->peer)
        l_raisef(L, "load", "closed", "lane is closed");
    return lane;
}

static int l_lane_gc(lua_State *L)
{
    struct lane *lane = luaL_checkudata(L, 1, "garun.lane");

    peer_close(lane->peer);
    lane->peer = NULL;
    for (uint32_t t = 0; lane->rows && t < lane->ntables; t++)
        buf_free(&lane->rows[t]);
    free(lane->rows);
    lane->rows = NULL;
    free(lane->counts);
    lane->counts = NULL;
    buf_free(&lane->carry);
    seen_free(&lane->seen);
    return 0;
}

/* ---- start ---- */

static char one_char(lua_State *L, int idx, const char *name, const char *def)
{
    size_t n;
    const char *s = l_opt_string(L, idx, "load.lane", name, def, &n);

    if (n != 1 || *s == '\n' || *s == '\r' || (unsigned char)*s >= 0x80)
        l_raisef(L, "usage", "option", "load.lane: option '%s' must be one ASCII character", name);
    return *s;
}

/* lane{ worker = path, tables = n, dedup = bool, csv = bool, delimiter =, quote = } -> lane
 * The feeding task gives it its plan. */
static int l_load_lane(lua_State *L)
{
    static const char *const names[] = { "worker", "tables", "dedup", "csv", "delimiter", "quote", NULL };
    const char *worker;
    struct lane *lane;
    struct err e;

    lua_settop(L, 1);
    l_opt_check(L, 1, "load.lane", names);
    worker = l_opt_string(L, 1, "load.lane", "worker", NULL, NULL);
    if (!worker)
        return l_raisef(L, "usage", "option", "load.lane: option 'worker' is missing");
    lane = lua_newuserdatauv(L, sizeof *lane, LANE_UV_COUNT);
    *lane = (struct lane){
        .g = garun_of(L), .slot = -1, .line = 1, .nparts = 1, .room.lasting = true,
        .ntables = (uint32_t)l_opt_integer(L, 1, "load.lane", "tables", 1, 1, 1000),
        .dedup = l_opt_boolean(L, 1, "load.lane", "dedup", false),
        .cut = {
            .csv = l_opt_boolean(L, 1, "load.lane", "csv", false),
            .delimiter = one_char(L, 1, "delimiter", ","), .quote = one_char(L, 1, "quote", "\""),
        },
    };
    luaL_setmetatable(L, "garun.lane");          /* stack: options, lane */
    for (int uv = LANE_UV_PARTS; uv <= LANE_UV_COUNT; uv++) {
        lua_newtable(L);
        lua_setiuservalue(L, 2, uv);
    }
    lane->rows = calloc(lane->ntables, sizeof *lane->rows);
    lane->counts = calloc(lane->ntables, sizeof *lane->counts);
    if (!lane->rows || !lane->counts)
        return l_raisef(L, "load", "ENOMEM", "not enough memory for a lane");
    lane->peer = peer_start(lane->g, worker, &e);
    if (!lane->peer)
        return l_raise(L, &e);
    return 1;
}

/* ---- rows to COPY ---- */

static uint32_t check_table(lua_State *L, const struct lane *lane, int arg)
{
    lua_Integer t = luaL_checkinteger(L, arg);

    luaL_argcheck(L, t >= 1 && t <= (lua_Integer)lane->ntables, arg, "no such table of the plan");
    return (uint32_t)(t - 1);
}

/* lane:bytes(table) -> bytes of rows that wait for flush */
static int l_lane_bytes(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    lua_pushinteger(L, (lua_Integer)lane->rows[check_table(L, lane, 2)].len);
    return 1;
}

static int l_lane_flush_k(lua_State *L, int status, lua_KContext ctx)
{
    struct lane *lane = l_lane_check(L);
    struct buf *rows = &lane->rows[check_table(L, lane, 2)];

    (void)status, (void)ctx;
    lua_pushinteger(L, (lua_Integer)rows->len);
    rows->len = 0;
    if (rows->cap > 4 * LANE_FULL)
        buf_free(rows);
    return 1;
}

/* lane:flush(table, copy) -> bytes: sends the waiting rows of the table through the open COPY */
static int l_lane_flush(lua_State *L)
{
    struct lane *lane = l_lane_check(L);
    struct buf *rows = &lane->rows[check_table(L, lane, 2)];

    lua_settop(L, 3);
    return l_pg_copy_send(L, 3, rows->data, rows->len, l_lane_flush_k, 0);
}

/* lane:discard(table): drops the waiting rows; a dry run only counts */
static int l_lane_discard(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    lua_settop(L, 2);
    return l_lane_flush_k(L, LUA_OK, (lua_KContext)check_table(L, lane, 2));
}

/* ---- numbers ---- */

/* lane:totals() -> { lines, rows, other, out_of_range, rejected, repaired, cut, nulled, duplicates } */
static int l_lane_totals(lua_State *L)
{
    static const char *const names[COUNT_COUNTS] = {
        [COUNT_LINES] = "lines", [COUNT_ROWS] = "rows", [COUNT_OTHER] = "other", [COUNT_RANGE] = "out_of_range",
        [COUNT_REJECTED] = "rejected", [COUNT_REPAIRED] = "repaired", [COUNT_CUT] = "cut", [COUNT_NULLED] = "nulled",
    };
    struct lane *lane = l_lane_check(L);

    lua_createtable(L, 0, COUNT_COUNTS + 1);
    for (int i = 0; i < COUNT_COUNTS; i++) {
        lua_pushinteger(L, (lua_Integer)lane->total[i]);
        lua_setfield(L, -2, names[i]);
    }
    lua_pushinteger(L, (lua_Integer)lane->duplicates);
    lua_setfield(L, -2, "duplicates");
    return 1;
}

/* lane:counts() -> { [part] = { [table] = rows kept } }; without a partition the part is "" */
static int l_lane_counts(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    lua_newtable(L);
    lua_getiuservalue(L, 1, LANE_UV_PARTS);      /* stack: lane, counts, parts */
    for (uint32_t p = lane->nparts > 1 ? 1 : 0; p < lane->nparts; p++) {
        if (lua_rawgeti(L, 3, p) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_pushliteral(L, "");
        }
        lua_createtable(L, (int)lane->ntables, 0);
        for (uint32_t t = 0; t < lane->ntables; t++) {
            lua_pushinteger(L, (lua_Integer)lane->counts[p * lane->ntables + t]);
            lua_rawseti(L, -2, (lua_Integer)t + 1);
        }
        lua_rawset(L, 2);
    }
    lua_pop(L, 1);
    return 1;
}

/* lane:others() -> { [name] = how often }, at most a thousand names */
static int l_lane_others(lua_State *L)
{
    l_lane_check(L);
    lua_newtable(L);
    lua_getiuservalue(L, 1, LANE_UV_OTHER);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {   /* stack: lane, copy, others, name, count */
        size_t n;
        lua_tolstring(L, -2, &n);
        if (n == 0)
            continue;                            /* take.c's own counter */
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 2);
    }
    lua_pop(L, 1);
    return 1;
}

/* lane:memory() -> bytes that duplicate detection holds */
static int l_lane_memory(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    lua_pushinteger(L, (lua_Integer)(lane->seen.size * sizeof *lane->seen.slots));
    return 1;
}

static int l_lane_pid(lua_State *L)
{
    lua_pushinteger(L, peer_pid(l_lane_check(L)->peer));
    return 1;
}

static int l_lane_tostring(lua_State *L)
{
    struct lane *lane = luaL_checkudata(L, 1, "garun.lane");

    if (lane->peer)
        lua_pushfstring(L, "lane (worker %d)", peer_pid(lane->peer));
    else
        lua_pushliteral(L, "lane (closed)");
    return 1;
}

/* first_record(text [, csv, delimiter, quote]) -> record with its end, rest; nil when text has no record end */
static int l_load_first_record(lua_State *L)
{
    size_t len, end;
    const char *text = luaL_checklstring(L, 1, &len);
    struct cut cut = {
        .csv = lua_toboolean(L, 2), .delimiter = *luaL_optstring(L, 3, ","), .quote = *luaL_optstring(L, 4, "\""),
    };

    end = cut_first(&cut, text, len);
    if (end == 0)
        return 0;
    lua_pushlstring(L, text, end);
    lua_pushlstring(L, text + end, len - end);
    return 2;
}

static const luaL_Reg methods[] = {
    { "plan", l_lane_plan },
    { "source", l_lane_source },
    { "write", l_lane_write },
    { "end_source", l_lane_end_source },
    { "finish", l_lane_finish },
    { "next", l_lane_next },
    { "bytes", l_lane_bytes },
    { "flush", l_lane_flush },
    { "discard", l_lane_discard },
    { "totals", l_lane_totals },
    { "counts", l_lane_counts },
    { "others", l_lane_others },
    { "memory", l_lane_memory },
    { "pid", l_lane_pid },
    { "close", l_lane_gc },
    { "__close", l_lane_gc },
    { "__gc", l_lane_gc },
    { "__tostring", l_lane_tostring },
    { NULL, NULL }
};

static const luaL_Reg functions[] = {
    { "lane", l_load_lane },
    { "first_record", l_load_first_record },
    { NULL, NULL }
};

int luaopen_garun_core_load(lua_State *L)
{
    luaL_newmetatable(L, "garun.lane");
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, functions);
    return 1;
}
