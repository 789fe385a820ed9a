/* pg_copy_in.c - COPY FROM STDIN: rows, ready text and whole buffers of the bulk path, with back-pressure.
 *
 * PQputCopyData queues without limit (fe-exec.c), so it is given PG_COPY_PIECE bytes at a time and never more before
 * PQflush has emptied libpq's buffer. A server that has refused a row goes on swallowing data in silence; libpq does
 * not parse its ErrorResponse before the end of the COPY, so a readable socket is looked at here, and an error in it
 * ends the COPY at once: gigabytes behind a bad first row are not sent.
 *
 * Owns the row buffer. Leaving without finish() aborts the COPY; protocol messages are always whole in libpq's buffer,
 * so a cancelled task leaves a connection that can be drained and used again. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/pg.h"
#include "bind/pg_value.h"

#define PG_COPY "garun.pg.copy"

/* Measured on a Unix socket with a server that only parses: 8 KiB pieces cost a quarter of the speed with 2 kB rows,
 * from 32 to 256 KiB nothing can be told apart, 1 MiB loses a tenth to the cache; a larger SO_SNDBUF changes
 * nothing. */
enum { PG_COPY_PIECE = 65536 };

enum copy_state { COPY_OPEN, COPY_ENDED, COPY_DONE, COPY_BROKEN };      /* ENDED: end sent, answer not read yet */

struct pg_copy {                /* user value: 1 the connection's box */
    struct pg_conn *c;          /* during a call only */
    enum copy_state state;
    unsigned        serial;
    int             columns;
    bool            text;       /* FORMAT text: row() can encode */
    bool            sending;    /* a send is under way; still set afterwards when it was cut off */
    struct buf      buf;        /* encoded rows not sent yet */
    size_t          buf_at;     /* of these, sent already */
    const char     *at;         /* a caller's data, after buf */
    size_t          left;
    uint64_t        rows, bytes;
    lua_KFunction   k;
    lua_KContext    ctx;
    lua_KFunction   after;      /* what follows finish */
    lua_KContext    after_ctx;
};

static struct pg_conn *copy_conn(lua_State *L, const struct pg_copy *cp, int idx)
{
    lua_getiuservalue(L, idx, 1);
    struct pg_box *box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box && box->c && box->c->state == PG_COPY_IN && box->c->serial == cp->serial ? box->c : NULL;
}

/* The open COPY at idx with its connection set; raises when it is over. */
static struct pg_copy *l_copy_check(lua_State *L, int idx, const char *what)
{
    struct pg_copy *cp = luaL_checkudata(L, idx, PG_COPY);

    if (cp->state == COPY_DONE)
        l_raisef(L, "pg", "closed", "%s: this COPY is finished", what);
    cp->c = cp->state == COPY_OPEN ? copy_conn(L, cp, idx) : NULL;
    if (!cp->c)
        l_raisef(L, "pg", "closed", "%s: this COPY is closed", what);
    if (cp->c->watch->wait.held)
        l_raisef(L, "pg", "busy", "%s: another task writes to this COPY; give each task its own connection", what);
    if (cp->sending)            /* part of those rows has gone: going on would garble what follows */
        l_raisef(L, "pg", "closed", "%s: an earlier write to this COPY was cut off; close it and begin again", what);
    return cp;
}

/* ---- sending ---- */

static int l_copy_failed_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    return l_pg_raise(L, c);
}

/* The server spoke, or the connection is lost: reads what it says and raises it. */
static int l_copy_fail(lua_State *L, struct pg_copy *cp)
{
    struct pg_conn *c = cp->c;

    cp->state = COPY_BROKEN;
    pg_clear(c);
    /* From here on it is a call that reads an answer; a cut-off call is found by its state (see l_copy_close). */
    PQputCopyEnd(c->pg, "given up because the server reported an error");      /* also lets libpq parse its error */
    pg_set_timeout(c, PG_GRACE);
    return l_pg_collect(L, c, l_copy_failed_k);
}

/* Takes what the server sent during the COPY; true when it is an ErrorResponse ('E'), or the end of the stream. */
static bool refused(struct pg_conn *c)
{
    int first = pg_peek(c);

    if (first == 0)
        return false;
    c->notice_seen = false;
    if (!pg_consume(c))
        return true;
    (void)PQisBusy(c->pg);              /* parses notices, and stops at an error */
    return first < 0 || (first == 'E' && !c->notice_seen);     /* else the byte was inside a notice */
}

/* Queues the next piece; false at the end. */
static bool put_piece(struct pg_copy *cp, bool *failed)
{
    const char *p = cp->at;
    size_t n = cp->left;

    if (cp->buf_at < cp->buf.len) {
        p = cp->buf.data + cp->buf_at;
        n = cp->buf.len - cp->buf_at;
    }
    if (n == 0)
        return false;
    if (n > PG_COPY_PIECE)
        n = PG_COPY_PIECE;
    if (PQputCopyData(cp->c->pg, p, (int)n) != 1) {     /* 0 is lack of memory: our pieces always fit otherwise */
        *failed = true;
        return true;
    }
    cp->bytes += n;
    if (cp->buf_at < cp->buf.len) {
        cp->buf_at += n;
    } else {
        cp->at += n;
        cp->left -= n;
    }
    return true;
}

static int l_pump_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_copy *cp = (struct pg_copy *)ctx;
    struct pg_conn *c = cp->c;
    bool failed = false;

    if (c->close_wanted) {
        pg_kill(c, "closed by another task during a COPY");
        return l_raisef(L, "pg", "closed", "db:copy_in: the connection was closed by another task during this call");
    }
    if (status == LUA_YIELD && c->watch->got == 0 && c->deadline > 0 && loop_now(c->g) >= c->deadline) {
        double limit = c->limit;
        pg_kill(c, "a COPY stood still");
        return l_raisef(L, "pg", "timeout", "db:copy_in: the server took no data for the timeout of %f s; the "
                        "connection was closed", limit);
    }
    for (;;) {
        if (pg_readable(c) && refused(c))
            return l_copy_fail(L, cp);
        int unsent = PQflush(c->pg);
        if (unsent < 0)
            return l_copy_fail(L, cp);
        if (unsent == 1)
            break;
        if (!put_piece(cp, &failed)) {
            cp->buf.len = cp->buf_at = 0;
            cp->sending = false;
            return cp->k(L, status, cp->ctx);
        }
        if (failed)
            return l_copy_fail(L, cp);
    }
    pg_set_timeout(c, c->limit);
    return wait_watch(L, c->watch, UV_READABLE | UV_WRITABLE, c->deadline, "db:copy_in", l_pump_k, ctx);
}

int l_pg_copy_send(lua_State *L, int copy_idx, const char *data, size_t n, lua_KFunction k, lua_KContext ctx)
{
    struct pg_copy *cp = l_copy_check(L, copy_idx, "copy:write");

    cp->sending = true;
    cp->at = data;
    cp->left = n;
    cp->k = k;
    cp->ctx = ctx;
    return l_pump_k(L, LUA_OK, (lua_KContext)cp);
}

/* ---- the end ---- */

static int l_answer_k(lua_State *L, int status, lua_KContext ctx);

static int l_ending_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_copy *cp = (struct pg_copy *)ctx;

    (void)status;
    cp->state = COPY_ENDED;
    pg_set_timeout(cp->c, cp->c->limit);
    if (PQputCopyEnd(cp->c->pg, NULL) != 1)
        return l_copy_fail(L, cp);
    /* The connection's collect continues with the connection; the copy is found through the stack's own object. */
    return l_pg_collect(L, cp->c, l_answer_k);
}

static int l_finish_at(lua_State *L, struct pg_copy *cp, lua_KFunction k, lua_KContext ctx)
{
    cp->c->copying = cp;
    cp->after = k;
    cp->after_ctx = ctx;
    cp->sending = true;
    cp->at = NULL;
    cp->left = 0;
    cp->k = l_ending_k;
    cp->ctx = (lua_KContext)cp;
    return l_pump_k(L, LUA_OK, (lua_KContext)cp);
}

static int l_answer_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct pg_copy *cp = c->copying;

    (void)status;
    if (c->fail || c->n_results == 0) {
        cp->state = COPY_BROKEN;
        return l_pg_raise(L, c);
    }
    cp->rows = strtoull(PQcmdTuples(c->results[c->n_results - 1]), NULL, 10);
    cp->state = COPY_DONE;
    buf_free(&cp->buf);
    pg_leave(c, PG_IDLE);
    return cp->after(L, LUA_OK, cp->after_ctx);
}

int l_pg_copy_finish(lua_State *L, int copy_idx, lua_KFunction k, lua_KContext ctx)
{
    return l_finish_at(L, l_copy_check(L, copy_idx, "copy:finish"), k, ctx);
}

uint64_t l_pg_copy_rows(lua_State *L, int copy_idx)
{
    struct pg_copy *cp = luaL_checkudata(L, copy_idx, PG_COPY);

    if (cp->state != COPY_DONE)
        l_raisef(L, "pg", "closed", "this COPY is not finished");
    return cp->rows;
}

static int l_copy_finish_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_pushinteger(L, (lua_Integer)l_pg_copy_rows(L, 1));
    return 1;
}

static int l_copy_finish(lua_State *L)
{
    lua_settop(L, 1);
    return l_pg_copy_finish(L, 1, l_copy_finish_k, 0);
}

/* close([reason]): aborts a COPY that is not finished. Never waits: the connection's next call reads the answer. */
static int l_copy_close(lua_State *L)
{
    struct pg_copy *cp = luaL_checkudata(L, 1, PG_COPY);
    bool open = cp->state == COPY_OPEN || cp->state == COPY_ENDED || cp->state == COPY_BROKEN;
    struct pg_conn *c = open ? copy_conn(L, cp, 1) : NULL;
    const char *why = lua_isstring(L, 2) ? lua_tostring(L, 2) : "left without finish()";
    char reason[256];

    buf_free(&cp->buf);
    if (c && !c->watch->wait.held) {
        if (cp->state == COPY_OPEN) {
            snprintf(reason, sizeof reason, "aborted by the script: %s", why);
            PQputCopyEnd(c->pg, reason);
        }
        PQflush(c->pg);
        /* The server would first store what lies in the socket, and behind a slow trigger that takes its time. The
         * statement fails in any case, so a cancel can spoil nothing, not even a transaction. */
        if (cp->bytes >= PG_COPY_PIECE)
            pg_cancel_start(c);
        pg_leave(c, PG_DRAIN);
    }
    if (open)
        cp->state = COPY_BROKEN;
    return 0;
}

/* __close(copy, error): the error that left the block is the reason the server is told */
static int l_copy_close_meta(lua_State *L)
{
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_tolstring(L, 2, NULL);
        lua_replace(L, 2);
    }
    return l_copy_close(L);
}

/* ---- rows ---- */

static int l_sent_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)L, (void)status, (void)ctx;
    return 0;
}

/* row(...): one value per column, nil is NULL */
static int l_copy_row(lua_State *L)
{
    struct pg_copy *cp = l_copy_check(L, 1, "copy:row");
    int n = lua_gettop(L) - 1;

    if (!cp->text)
        return l_raisef(L, "usage", "", "copy:row: this COPY is not in text format; use :write() with ready data");
    if (n != cp->columns)
        return l_raisef(L, "usage", "", "copy:row: %d values for %d columns; pass nil for NULL, trailing ones too", n,
                        cp->columns);
    l_pg_encode_row(L, &cp->buf, 2, n);
    if (cp->buf.len < PG_COPY_PIECE)
        return 0;
    lua_settop(L, 1);
    return l_pg_copy_send(L, 1, NULL, 0, l_sent_k, 0);
}

/* write(text): ready data in the COPY's format; may begin and end anywhere */
static int l_copy_write(lua_State *L)
{
    size_t n;

    l_copy_check(L, 1, "copy:write");
    if (lua_type(L, 2) != LUA_TSTRING)
        return l_raisef(L, "usage", "", "copy:write: a string is expected, got %s", luaL_typename(L, 2));
    lua_settop(L, 2);                   /* the string stays on the stack while it is sent */
    const char *s = lua_tolstring(L, 2, &n);
    return l_pg_copy_send(L, 1, s, n, l_sent_k, 0);
}

/* bytes() -> bytes handed over so far */
static int l_copy_bytes(lua_State *L)
{
    struct pg_copy *cp = luaL_checkudata(L, 1, PG_COPY);

    lua_pushinteger(L, (lua_Integer)(cp->bytes + cp->buf.len - cp->buf_at));
    return 1;
}

static int l_copy_tostring(lua_State *L)
{
    struct pg_copy *cp = luaL_checkudata(L, 1, PG_COPY);

    lua_pushfstring(L, "pg.copy_in(%s, %I bytes)", cp->state == COPY_OPEN ? "open" : cp->state == COPY_DONE ? "finished"
                    : "closed", (lua_Integer)cp->bytes);
    return 1;
}

/* ---- start ---- */

static int l_started_k(lua_State *L, int status, lua_KContext ctx)      /* stack: box, sql, copy */
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct pg_copy *cp = lua_touserdata(L, 3);
    const PGresult *res = c->n_results ? c->results[0] : NULL;
    struct err e;

    (void)status;
    if (c->fail || !res)
        return l_pg_raise(L, c);
    if (PQresultStatus(res) != PGRES_COPY_IN) {
        bool out = PQresultStatus(res) == PGRES_COPY_OUT;
        err_set(&e, "pg", "copy", "db:copy_in: the statement is not a COPY ... FROM STDIN");
        if (out)
            pg_kill(c, "db:copy_in ran a COPY ... TO STDOUT");
        pg_leave(c, PG_IDLE);
        return l_pg_raise_err(L, c, &e);
    }
    cp->columns = PQnfields(res);
    cp->text = cp->text && PQbinaryTuples(res) == 0;
    cp->serial = ++c->serial;
    cp->state = COPY_OPEN;
    c->stop_at_copy = false;
    pg_leave(c, PG_COPY_IN);
    return 1;
}

static int l_start_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    c->stop_at_copy = true;
    if (!PQsendQueryParams(c->pg, lua_tostring(L, 2), 0, NULL, NULL, NULL, NULL, 0))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_started_k);
}

/* copy_in_sql(sql, text): text says that the format is text, so that row() may be used */
static int l_copy_in_sql(lua_State *L)
{
    bool text = lua_toboolean(L, 3);
    struct pg_opts o;
    struct pg_conn *c;
    struct pg_copy *cp;

    l_pg_check(L, 1);
    l_pg_sql(L, 2, "db:copy_in", &o);
    lua_settop(L, 2);
    cp = lua_newuserdatauv(L, sizeof *cp, 1);
    *cp = (struct pg_copy){ .state = COPY_BROKEN, .text = text };
    luaL_setmetatable(L, PG_COPY);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, 1);
    c = l_pg_enter(L, 1, "db:copy_in");
    l_pg_apply(L, c, &o, 2);
    return l_pg_ready(L, c, l_start_k);
}

static const luaL_Reg methods[] = {
    { "copy_in_sql", l_copy_in_sql },
    { NULL, NULL }
};

static const luaL_Reg copy_methods[] = {
    { "row", l_copy_row },
    { "write", l_copy_write },
    { "finish", l_copy_finish },
    { "close", l_copy_close },
    { "bytes", l_copy_bytes },
    { NULL, NULL }
};

static const luaL_Reg copy_meta[] = {
    { "__close", l_copy_close_meta },
    { "__gc", l_copy_close },
    { "__tostring", l_copy_tostring },
    { NULL, NULL }
};

void l_pg_copy_in_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
    luaL_newmetatable(L, PG_COPY);
    luaL_setfuncs(L, copy_meta, 0);
    luaL_newlib(L, copy_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
