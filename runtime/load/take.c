/* take.c - the way out of a lane: the worker's records become rows waiting for COPY, rejects, counts.
 *
 * The worker may run a tenant's code, so nothing it says is trusted: every length and number is checked against its slot
 * and its table before use; what does not fit ends the lane with an error. Duplicates are dropped here and not in the
 * worker, in the order of the source, so that the first of two is the one that stays. */
#include <stdio.h>
#include <stdlib.h>
#include <lauxlib.h>
#include "load/lane.h"

static const size_t pad = 8;

static int l_lie(lua_State *L, const char *what)
{
    return l_raisef(L, "load", "worker", "the worker process sent %s: its code or its memory is damaged", what);
}

/* ---- records; the step table is on top of the stack ---- */

static void take_rows(lua_State *L, struct lane *lane, const struct proto_rec *rec, const char *bytes)
{
    if (rec->table >= lane->ntables || (rec->part != 0 && rec->part >= lane->nparts))
        l_lie(L, "rows of an unknown table or day");
    if (lane->torn && lane->torn != rec->table + 1)
        l_lie(L, "a row within another one");
    if (lane->dedup && (rec->key[0] | rec->key[1]) && !lane->dropping) {
        switch (seen_add(&lane->seen, rec->key)) {
        case SEEN_NEW:
            break;
        case SEEN_BEFORE:
            lane->dropping = true;
            break;
        default:
            l_raisef(L, "load", "ENOMEM", "not enough memory to find duplicates among %I rows",
                     (lua_Integer)lane->seen.used);
        }
    }
    lane->torn = rec->flags & PROTO_MORE ? rec->table + 1 : 0;
    if (lane->dropping) {
        if (!lane->torn) {
            lane->dropping = false;
            lane->duplicates += rec->rows;
        }
        return;
    }
    if (!buf_put(&lane->rows[rec->table], bytes, rec->size))
        l_raisef(L, "load", "ENOMEM", "not enough memory for %I bytes of rows", (lua_Integer)rec->size);
    lane->counts[rec->part * lane->ntables + rec->table] += rec->rows;
}

/* Appends the value on top of the stack (popped) to the list `name` of the step table below it. */
static void append(lua_State *L, const char *name)
{
    if (lua_getfield(L, -2, name) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, name);
    }                                           /* stack: step, value, list */
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

static void take_part(lua_State *L, struct lane *lane, const struct proto_rec *rec, const char *bytes)
{
    uint64_t *counts;
    uint32_t nparts = lane->nparts + 1;

    if (rec->part != lane->nparts || nparts > 100000)
        l_lie(L, "a day out of turn");
    counts = realloc(lane->counts, (size_t)nparts * lane->ntables * sizeof *counts);
    if (!counts)
        l_raisef(L, "load", "ENOMEM", "not enough memory for %d days", (int)nparts);
    memset(counts + (size_t)lane->nparts * lane->ntables, 0, lane->ntables * sizeof *counts);
    lane->counts = counts;
    lane->nparts = nparts;
    lua_getiuservalue(L, 1, LANE_UV_PARTS);
    lua_pushlstring(L, bytes, rec->size);
    lua_rawseti(L, -2, rec->part);
    lua_pop(L, 1);
    lua_pushlstring(L, bytes, rec->size);
    append(L, "parts");
}

static void set_integer(lua_State *L, const char *name, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, name);
}

static void take_reject(lua_State *L, struct lane *lane, unsigned slot, const struct proto_rec *rec, const char *bytes)
{
    struct proto_reject r;
    const struct lane_slot *in = &lane->in[slot];

    if (rec->size < sizeof r)
        l_lie(L, "a short reject");
    memcpy(&r, bytes, sizeof r);
    if ((uint64_t)r.column_len + r.reason_len != rec->size - sizeof r || (uint64_t)r.raw_at + r.raw_len > in->len)
        l_lie(L, "a reject beyond its batch");
    r.code[sizeof r.code - 1] = '\0';
    bytes += sizeof r;
    lua_createtable(L, 0, 8);
    lane_push_source(L, in->source);
    lua_setfield(L, -2, "source");
    set_integer(L, "line", r.line);
    set_integer(L, "offset", r.offset);
    lua_pushstring(L, r.code);
    lua_setfield(L, -2, "code");
    if (r.column_len) {
        lua_pushlstring(L, bytes, r.column_len);
        lua_setfield(L, -2, "column");
    }
    lua_pushlstring(L, bytes + r.column_len, r.reason_len);
    lua_setfield(L, -2, "reason");
    lua_pushlstring(L, peer_in(lane->peer, slot) + r.raw_at, r.raw_len);
    lua_setfield(L, -2, "raw");
    append(L, "rejects");
}

/* Names of what was routed nowhere come from strangers: a thousand different ones are enough to know. */
static void take_other(lua_State *L, const struct proto_rec *rec, const char *bytes)
{
    lua_Integer n;

    lua_getiuservalue(L, 1, LANE_UV_OTHER);
    lua_pushlstring(L, bytes, rec->size < 256 ? rec->size : 256);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {         /* stack: ..., others, name, nil */
        lua_getfield(L, -3, "");
        n = lua_tointeger(L, -1);                /* distinct names so far, under a name no event has */
        lua_pop(L, 1);
        if (n >= 1000) {
            lua_pop(L, 3);
            return;
        }
        lua_pushinteger(L, n + 1);
        lua_setfield(L, -4, "");
    }
    n = lua_tointeger(L, -1) + (lua_Integer)rec->rows;
    lua_pop(L, 1);
    lua_pushinteger(L, n);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* The batch that the worker works on: batches are answered in order, so it is the oldest. */
static unsigned oldest_slot(const struct lane *lane, lua_State *L)
{
    unsigned found = PROTO_IN_SLOTS;

    for (unsigned i = 0; i < PROTO_IN_SLOTS; i++)
        if (lane->in[i].busy && (found == PROTO_IN_SLOTS || lane->in[i].order < lane->in[found].order))
            found = i;
    if (found == PROTO_IN_SLOTS)
        l_lie(L, "rows without a batch");
    return found;
}

static void take_out(lua_State *L, struct lane *lane, const struct proto_msg *m)
{
    const char *p = peer_out(lane->peer, m->slot);
    unsigned in = oldest_slot(lane, L);
    struct proto_rec rec;

    for (size_t at = 0; at < m->len; at += (rec.size + pad - 1) / pad * pad) {
        if (m->len - at < sizeof rec)
            l_lie(L, "a record beyond its slot");
        memcpy(&rec, p + at, sizeof rec);       /* a copy: the worker could change it under our hands */
        at += sizeof rec;
        if (rec.size > m->len - at)
            l_lie(L, "a record beyond its slot");
        switch (rec.kind) {
        case REC_ROWS:
            take_rows(L, lane, &rec, p + at);
            break;
        case REC_PART:
            take_part(L, lane, &rec, p + at);
            break;
        case REC_REJECT:
            take_reject(L, lane, in, &rec, p + at);
            break;
        case REC_OTHER:
            take_other(L, &rec, p + at);
            break;
        default:
            l_lie(L, "an unknown record");
        }
    }
}

static void take_done(lua_State *L, struct lane *lane, const struct proto_msg *m)
{
    struct lane_slot *in = &lane->in[m->slot];

    if (m->slot != oldest_slot(lane, L))
        l_lie(L, "the end of another batch");
    if (lane->torn)
        l_lie(L, "a row without its end");
    for (int i = 0; i < COUNT_COUNTS; i++)
        lane->total[i] += m->count[i];
    if (in->len > 2 * LANE_BATCH)
        peer_trim(lane->peer, m->slot, LANE_BATCH);
    in->busy = false;
    lane->in_flight--;
    wait_done(&lane->room);
}

/* Lines that feed.c passed over because they are too long. */
static void take_long_lines(lua_State *L, struct lane *lane)
{
    static const char *const reason = "the line is longer than 16 MiB; raw holds its first 1024 bytes";
    uint64_t n = lane->long_lines;

    if (n == 0)
        return;
    lua_getiuservalue(L, 1, LANE_UV_LONG);
    for (uint64_t i = 1; i <= n; i++) {          /* stack: ..., step, long lines */
        lua_rawgeti(L, -1, (lua_Integer)i);
        lua_pushliteral(L, "too_long");
        lua_setfield(L, -2, "code");
        lua_pushstring(L, reason);
        lua_setfield(L, -2, "reason");
        lua_pushvalue(L, -3);
        lua_insert(L, -2);
        append(L, "rejects");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_newtable(L);
    lua_setiuservalue(L, 1, LANE_UV_LONG);
    lane->total[COUNT_LINES] += n;
    lane->total[COUNT_REJECTED] += n;
    lane->long_lines = 0;
}

/* ---- lane:next() ---- */

void lane_push_source(lua_State *L, uint32_t source)
{
    lua_getiuservalue(L, 1, LANE_UV_SOURCES);
    lua_rawgeti(L, -1, source);
    lua_remove(L, -2);
}

/* Adds to an error about the worker's end where in the source it was. */
static void add_where(lua_State *L, const struct lane *lane, struct err *e)
{
    const struct lane_slot *at = NULL;

    for (unsigned i = 0; i < PROTO_IN_SLOTS; i++)
        if (lane->in[i].busy && (!at || lane->in[i].order < at->order))
            at = &lane->in[i];
    if (!at)
        return;
    lane_push_source(L, at->source);
    snprintf(e->detail, sizeof e->detail, "it was at work on %s from line %llu",
             lua_isstring(L, -1) ? lua_tostring(L, -1) : "a batch", (unsigned long long)at->line);
    lua_pop(L, 1);
}

static int l_lane_next_k(lua_State *L, int status, lua_KContext ctx)
{
    struct lane *lane = l_lane_check(L);
    struct proto_msg m;
    struct err e;

    (void)status, (void)ctx;
    lua_settop(L, 1);
    if (lane->finished && lane->in_flight == 0 && lane->long_lines == 0)
        return 0;
    switch (peer_recv(lane->peer, &m, &e)) {
    case PEER_NONE:
        return wait_watch(L, peer_watch(lane->peer), UV_READABLE, 0, "lane:next", l_lane_next_k, 0);
    case PEER_ENDED:
        add_where(L, lane, &e);
        return l_raise(L, &e);
    default:
        break;
    }
    lua_createtable(L, 0, 2);                    /* stack: lane, step */
    take_long_lines(L, lane);
    switch (m.type) {
    case PROTO_OUT:
        if (m.slot >= PROTO_OUT_SLOTS || m.len > PROTO_OUT_BYTES)
            l_lie(L, "an output slot that does not exist");
        take_out(L, lane, &m);
        if (!peer_send(lane->peer, &(struct proto_msg){ .type = PROTO_FREE, .slot = m.slot }, &e))
            return l_raise(L, &e);
        break;
    case PROTO_DONE:
        if (m.slot >= PROTO_IN_SLOTS)
            l_lie(L, "an input slot that does not exist");
        take_done(L, lane, &m);
        lua_pushboolean(L, 1);
        lua_setfield(L, 2, "done");
        break;
    case PROTO_READY:
        lane->ready = true;
        wait_done(&lane->room);
        break;
    case PROTO_FATAL:
        m.text[sizeof m.text - 1] = '\0';
        err_set(&e, "load", "worker", "the worker process gave up: %s", m.text);
        add_where(L, lane, &e);
        return l_raise(L, &e);
    default:
        l_lie(L, "an unknown message");
    }
    /* A COPY may end at any step, so rows leave whole: fragments wait for their last one. */
    for (uint32_t t = 0; t < lane->ntables; t++)
        if (lane->rows[t].len >= LANE_FULL && lane->torn != t + 1) {
            lua_pushinteger(L, (lua_Integer)t + 1);
            append(L, "full");
        }
    return 1;
}

/* lane:next() -> step {parts=, rejects=, full=, done=}, or nil when the lane is finished and empty */
int l_lane_next(lua_State *L)
{
    l_wait_check(L, "lane:next");
    return l_lane_next_k(L, LUA_OK, 0);
}
