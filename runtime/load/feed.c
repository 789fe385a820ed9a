/* feed.c - the way into a lane: chunks of a source are put into the worker's input slots and sent as batches that end at
 * a record end.
 *
 * The one copy is from the chunk into the shared memory; what follows the last record end waits in `carry` for the next
 * slot. Back-pressure: with both slots at the worker, lane:write waits. A line beyond PROTO_MAX_LINE is skipped, counted
 * and told to take.c as a reject, for no worker could hold it. */
#include <lauxlib.h>
#include "load/lane.h"

static void room_cancel(struct wait *w)
{
    (void)w;
}

/* Takes a free slot and puts the carry into it; false when both are at the worker. */
static bool take_slot(struct lane *lane)
{
    if (lane->slot >= 0)
        return true;
    for (int i = 0; i < (int)PROTO_IN_SLOTS; i++) {
        if (lane->in[i].busy)
            continue;
        lane->slot = i;
        if (lane->carry.len)
            memcpy(peer_in(lane->peer, (unsigned)i), lane->carry.data, lane->carry.len);
        lane->fill = lane->carry.len;
        lane->end = 0;              /* the carry was scanned before: no record end is in it */
        lane->carry.len = 0;
        return true;
    }
    return false;
}

static uint64_t count_lines(const char *p, size_t n)
{
    const char *end = p + n;
    uint64_t lines = 0;

    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        lines++;
    return lines;
}

/* Sends the first n bytes of the slot; what follows becomes the carry. */
static void send_batch(lua_State *L, struct lane *lane, size_t n)
{
    unsigned slot = (unsigned)lane->slot;
    char *p = peer_in(lane->peer, slot);
    struct proto_msg m = {
        .type = PROTO_BATCH, .slot = slot, .len = n, .line = lane->line, .offset = lane->offset,
    };
    struct err e;

    if (lane->fill > n && !buf_put(&lane->carry, p + n, lane->fill - n))
        l_raisef(L, "load", "ENOMEM", "not enough memory for a line of %I bytes", (lua_Integer)(lane->fill - n));
    lane->in[slot] = (struct lane_slot){
        .busy = true, .order = lane->sent++, .source = lane->source, .len = n, .line = lane->line, .offset = lane->offset,
    };
    lane->line += count_lines(p, n);
    lane->offset += n;
    lane->slot = -1;
    lane->fill = lane->end = 0;
    lane->in_flight++;
    if (!peer_send(lane->peer, &m, &e))
        l_raise(L, &e);
}

/* Notes the line that is too long, for take.c to hand out, and drops what is there of it. */
static void start_skipping(lua_State *L, struct lane *lane)
{
    lua_getiuservalue(L, 1, LANE_UV_LONG);
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, (lua_Integer)lane->line);
    lua_setfield(L, -2, "line");
    lua_pushinteger(L, (lua_Integer)lane->offset);
    lua_setfield(L, -2, "offset");
    lua_pushlstring(L, peer_in(lane->peer, (unsigned)lane->slot), 1024);
    lua_setfield(L, -2, "raw");
    lane_push_source(L, lane->source);
    lua_setfield(L, -2, "source");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    lane->long_lines++;
    lane->offset += lane->fill;
    lane->fill = lane->end = 0;
    lane->skipping = true;
}

/* Passes over the rest of a line that is too long; the bytes of p that belong to it. */
static size_t skip(struct lane *lane, const char *p, size_t n)
{
    size_t end = cut_first(&lane->cut, p, n), done = end ? end : n;

    lane->offset += done;
    if (end) {
        lane->line++;
        lane->skipping = false;
    }
    return done;
}

/* ---- plans and sources ---- */

static int l_lane_plan_k(lua_State *L, int status, lua_KContext sent)
{
    struct lane *lane = l_lane_check(L);
    struct proto_msg m = { .type = PROTO_PLAN, .slot = 0 };
    const char *plan;
    struct err e;

    (void)status;
    if (!sent && lane->in_flight == 0) {
        plan = lua_tolstring(L, 2, NULL);
        m.len = lua_rawlen(L, 2);
        memcpy(peer_in(lane->peer, 0), plan, m.len);
        lane->ready = false;
        if (!peer_send(lane->peer, &m, &e))
            return l_raise(L, &e);
        sent = 1;
    }
    if (sent && lane->ready)
        return 0;
    return wait_park(L, &lane->room, "lane:plan", room_cancel, l_lane_plan_k, sent);
}

/* lane:plan(bytes): the packed plan for the batches that follow; waits for those under way and for the worker's answer,
 * which the reading task takes (a refusal is raised there). Between sources only. */
int l_lane_plan(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    luaL_checktype(L, 2, LUA_TSTRING);
    if (lua_rawlen(L, 2) > PROTO_MAX_LINE)
        return l_raisef(L, "load", "plan", "the plan has %I bytes", (lua_Integer)lua_rawlen(L, 2));
    if (lane->slot >= 0 || lane->carry.len > 0)
        return l_raisef(L, "load", "busy", "lane:plan: a source has not ended yet");
    l_wait_check(L, "lane:plan");
    lua_settop(L, 2);
    return l_lane_plan_k(L, LUA_OK, 0);
}

/* lane:source(name): what is written next comes from there; errors and rejects say so */
int l_lane_source(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lane->source++;
    lua_getiuservalue(L, 1, LANE_UV_SOURCES);
    lua_insert(L, 2);
    lua_rawseti(L, 2, lane->source);
    return 0;
}

/* ---- bytes ---- */

static int l_lane_write_k(lua_State *L, int status, lua_KContext ctx)
{
    struct lane *lane = l_lane_check(L);
    size_t len, n;
    const char *chunk = lua_tolstring(L, 2, &len);

    (void)status, (void)ctx;
    while (lane->at < len) {
        const char *p = chunk + lane->at;

        if (lane->skipping) {
            lane->at += skip(lane, p, len - lane->at);
            continue;
        }
        if (!take_slot(lane))
            return wait_park(L, &lane->room, "lane:write", room_cancel, l_lane_write_k, 0);
        n = len - lane->at;
        if (n > LANE_BATCH)
            n = LANE_BATCH;
        if (lane->fill < LANE_BATCH && n > LANE_BATCH - lane->fill)
            n = LANE_BATCH - lane->fill;
        memcpy(peer_in(lane->peer, (unsigned)lane->slot) + lane->fill, p, n);
        size_t end = cut_scan(&lane->cut, p, n);
        if (end)
            lane->end = lane->fill + end;
        lane->fill += n;
        lane->at += n;
        if (lane->fill >= LANE_BATCH && lane->end > 0)
            send_batch(L, lane, lane->end);
        else if (lane->fill > PROTO_MAX_LINE && lane->end == 0)
            start_skipping(L, lane);
    }
    return 0;
}

/* lane:write(chunk): waits while the worker has its hands full */
int l_lane_write(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 2);
    if (lane->room.held || lane->finished)
        return l_raisef(L, "load", "busy", lane->finished ? "lane:write: the lane is finished"
                                                          : "lane:write: another task writes");
    l_wait_check(L, "lane:write");
    lane->at = 0;
    return l_lane_write_k(L, LUA_OK, 0);
}

static int l_lane_end_source_k(lua_State *L, int status, lua_KContext ctx)
{
    struct lane *lane = l_lane_check(L);

    (void)status, (void)ctx;
    /* A batch that was sent at its last line may have left a line without an end in the carry. */
    if (lane->slot >= 0 || lane->carry.len > 0) {
        if (!take_slot(lane))
            return wait_park(L, &lane->room, "lane:end_source", room_cancel, l_lane_end_source_k, 0);
        if (lane->fill > 0)
            send_batch(L, lane, lane->fill);
    }
    lane->line = 1;
    lane->offset = 0;
    lane->skipping = false;
    lane->cut.state = CUT_START;
    return 0;
}

/* lane:end_source(): what was written since the last call is one source; line numbers start anew */
int l_lane_end_source(lua_State *L)
{
    lua_settop(L, 1);
    l_wait_check(L, "lane:end_source");
    return l_lane_end_source_k(L, LUA_OK, 0);
}

/* lane:finish(): no further source comes; lane:next() ends after the last row */
int l_lane_finish(lua_State *L)
{
    struct lane *lane = l_lane_check(L);

    lane->finished = true;
    watch_wake(peer_watch(lane->peer));     /* the reading task may have nothing left to wait for */
    return 0;
}
