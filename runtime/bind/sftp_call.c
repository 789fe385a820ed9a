/* sftp_call.c - requests for the Lua half: any packet and its reply, and reads and writes cut into parts that are under
 * way at the same time.
 *
 * An operation is a userdata that owns a struct op. Dropping it before its end gives up the answer, not the session: what
 * still comes for it is thrown away, and a handle that still comes is closed on the server. Owns copies of all bytes, for
 * a string of a script may be collected meanwhile. */
#include "bind/sftp.h"

#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>

#define OP_TYPE    "garun.sftp.op"
#define HANDLE_MAX 256u                      /* draft, 6.3: handles are at most this long */
#define OP_BYTES   (64 << 20)                /* of one read or write */
#define PART_HEAD (4 + 1 + 4 + 4 + HANDLE_MAX + 8 + 4)

enum op_kind { OP_CALL, OP_READ, OP_WRITE };

struct op;

struct part {
    struct sftp_req req;
    struct op      *op;
    uint64_t        offset;                  /* in the file */
    size_t          at, want;                /* in op->bytes, and still to come */
    size_t          handle_len;
    unsigned char   head[PART_HEAD];
};

struct op {
    struct wait   wait;
    struct sftp  *s;
    enum op_kind  kind;
    bool          boxed;                     /* the userdata is still there */
    bool          failed;
    bool          taken;                     /* the results were asked for */
    unsigned      left, count;               /* parts */
    uint32_t      status;                    /* the first that was not OK */
    unsigned char *text;                     /* what that status says, after its number; owned */
    size_t        text_len;
    size_t        end;                       /* a read: bytes up to the end of the file */
    unsigned char *bytes;                    /* owned: of a read or write; the packet of a call */
    size_t        n;
    struct part  parts[];
};

struct op_box {
    struct op *op;
};

static void put32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static void op_free(struct op *op)
{
    for (unsigned i = 0; i < op->count; i++)
        free(op->parts[i].req.reply);
    sftp_unref(op->s);
    free(op->text);
    free(op->bytes);
    free(op);
}

static void op_end(struct op *op)
{
    if (--op->left)
        return;
    if (op->boxed) {
        if (!op->s->final)
            wait_done(&op->wait);
        return;
    }
    /* Nobody asks any more; what the server opened for us must not stay open. */
    struct sftp_req *r = &op->parts[0].req;
    if (op->kind == OP_CALL && !r->failed && r->type == FXP_HANDLE && r->got >= 4)
        sftp_close_handle(op->s, r->reply + 4, r->got - 4);
    op_free(op);
}

/* ---- closing a handle without waiting ---- */

struct closer {
    struct sftp_req req;
    unsigned char   head[4 + 1 + 4 + 4 + HANDLE_MAX];
};

static void closer_done(struct sftp_req *r)
{
    free(r->reply);
    free(r);
}

void sftp_close_handle(struct sftp *s, const unsigned char *handle, size_t len)
{
    struct closer *c = len <= HANDLE_MAX && s->state == SFTP_OPEN ? calloc(1, sizeof *c) : NULL;

    if (!c)
        return;
    c->req.head = c->head;
    c->req.head_len = 13 + len;
    c->req.done = closer_done;
    c->head[4] = FXP_CLOSE;
    put32(c->head + 9, (uint32_t)len);
    memcpy(c->head + 13, handle, len);
    sftp_submit(s, &c->req);
    sftp_kick(s);
}

/* forget(handle): closes it on the server and does not wait for the answer */
static int l_forget(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;
    size_t len;
    const char *handle = luaL_checklstring(L, 2, &len);

    if (s)
        sftp_close_handle(s, (const unsigned char *)handle, len);
    return 0;
}

/* ---- starting ---- */

/* Pushes the userdata. bytes (of length n) are copied when given, else room is made. */
static struct op *l_op_new(lua_State *L, struct sftp *s, enum op_kind kind, unsigned count, const void *bytes, size_t n)
{
    struct op_box *box = lua_newuserdatauv(L, sizeof *box, 0);

    box->op = NULL;
    luaL_setmetatable(L, OP_TYPE);
    struct op *op = calloc(1, sizeof *op + count * sizeof op->parts[0]);
    if (op)
        op->bytes = malloc(n + 1);
    if (!op || !op->bytes) {
        free(op);
        l_raisef(L, "sftp", "ENOMEM", "sftp: not enough memory for %I bytes", (lua_Integer)n);
    }
    if (bytes)
        memcpy(op->bytes, bytes, n);
    op->wait.lasting = true;
    op->s = s;
    sftp_ref(s);
    op->kind = kind;
    op->boxed = true;
    op->n = op->end = n;
    op->left = op->count = count;
    for (unsigned i = 0; i < count; i++)
        op->parts[i].op = op;
    box->op = op;
    return op;
}

static void call_done(struct sftp_req *r)
{
    struct op *op = ((struct part *)r)->op;

    op->failed = r->failed;
    op_end(op);
}

/* start(type, body) -> operation: a packet and, at wait, its reply's type and what follows the id */
static int l_start(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp");
    lua_Integer type = luaL_checkinteger(L, 2);
    size_t len;
    const char *body = luaL_checklstring(L, 3, &len);

    if (len > (256u << 10))
        return l_raisef(L, "usage", "argument", "sftp: a request of %I bytes is too long", (lua_Integer)len);
    struct op *op = l_op_new(L, s, OP_CALL, 1, NULL, len + 9);
    struct sftp_req *r = &op->parts[0].req;
    op->bytes[4] = (unsigned char)type;
    memcpy(op->bytes + 9, body, len);
    r->head = op->bytes;
    r->head_len = 9 + len;
    r->done = call_done;
    sftp_submit(s, r);
    sftp_kick(s);
    return 1;
}

static void part_submit(struct part *p)
{
    struct op *op = p->op;
    unsigned char *at = p->head + 13 + p->handle_len;

    put32(at, (uint32_t)(p->offset >> 32));
    put32(at + 4, (uint32_t)p->offset);
    put32(at + 8, (uint32_t)p->want);
    p->req.head = p->head;
    p->req.head_len = 13 + p->handle_len + 12;
    if (op->kind == OP_WRITE) {
        p->req.body = op->bytes + p->at;
        p->req.body_len = p->want;
    } else {
        p->req.sink = op->bytes + p->at;
        p->req.sink_len = p->want;
    }
    sftp_submit(op->s, &p->req);
}

static void part_done(struct sftp_req *r)
{
    struct part *p = (struct part *)r;
    struct op *op = p->op;

    if (r->failed) {
        op->failed = true;
    } else if (r->type == FXP_DATA && r->got) {
        p->at += r->got;
        p->offset += r->got;
        p->want -= r->got;
        /* Fewer bytes than asked for are no end of the file (draft, 6.4). */
        if (p->want && op->boxed) {
            part_submit(p);
            return;
        }
    } else if (r->type == FXP_STATUS && op->kind == OP_READ && r->status == FX_EOF) {
        if (p->at < op->end)
            op->end = p->at;
    } else if ((r->type != FXP_STATUS || r->status != FX_OK || op->kind == OP_READ) && !op->text) {
        op->status = r->type == FXP_STATUS ? r->status : 5;      /* SSH_FX_BAD_MESSAGE */
        op->text = r->reply;
        op->text_len = r->got;
        r->reply = NULL;
        if (!op->text)
            op->text = calloc(1, 1);
    }
    free(r->reply);
    r->reply = NULL;
    op_end(op);
}

/* Cuts op->bytes into parts of at most `most` and sends them. */
static int l_parts(lua_State *L, enum op_kind kind, const char *data, size_t n)
{
    struct sftp *s = l_sftp(L, "sftp");
    size_t len;
    const char *handle = luaL_checklstring(L, 2, &len);
    lua_Integer offset = luaL_checkinteger(L, 3), most = luaL_checkinteger(L, 5);

    if (len > HANDLE_MAX || offset < 0 || most < 1 || most > (256 << 10) || n > OP_BYTES)
        return l_raisef(L, "usage", "argument", "sftp: at most %d bytes at a time", OP_BYTES);
    size_t size = (size_t)most;
    struct op *op = l_op_new(L, s, kind, n ? (unsigned)((n - 1) / size + 1) : 0, data, n);
    for (unsigned i = 0; i < op->count; i++) {
        struct part *p = &op->parts[i];
        p->at = i * size;
        p->offset = (uint64_t)offset + p->at;
        p->want = n - p->at < size ? n - p->at : size;
        p->handle_len = len;
        p->head[4] = kind == OP_READ ? FXP_READ : FXP_WRITE;
        put32(p->head + 9, (uint32_t)len);
        memcpy(p->head + 13, handle, len);
        p->req.done = part_done;
    }
    for (unsigned i = 0, count = op->count; i < count; i++)
        part_submit(&op->parts[i]);
    sftp_kick(s);
    return 1;
}

/* read(handle, offset, n, most) -> operation; wait gives the bytes, fewer than n at the end of the file only */
static int l_read(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 4);

    if (n < 1 || n > OP_BYTES)
        return l_raisef(L, "usage", "argument", "sftp: n must be from 1 to %d bytes", OP_BYTES);
    return l_parts(L, OP_READ, NULL, (size_t)n);
}

/* write(handle, offset, data, most) -> operation; wait gives true */
static int l_write(lua_State *L)
{
    size_t n;
    const char *data = luaL_checklstring(L, 4, &n);

    return l_parts(L, OP_WRITE, data, n);
}

/* ---- waiting ---- */

static void op_cancel(struct wait *w)
{
    (void)w;                                 /* the operation goes on until its userdata is dropped */
}

static int l_wait_k(lua_State *L, int status, lua_KContext ctx)
{
    struct op *op = (struct op *)ctx;

    (void)status;
    op->taken = true;
    if (op->failed) {
        struct err e;
        const char *what = lua_tostring(L, 2);
        err_set(&e, op->s->why.kind, op->s->why.code, "%s: %s", what, op->s->why.message);
        memcpy(e.detail, op->s->why.detail, sizeof e.detail);
        memcpy(e.hint, op->s->why.hint, sizeof e.hint);
        e.retryable = op->s->why.retryable;
        return l_raise(L, &e);
    }
    if (op->kind == OP_CALL) {
        struct sftp_req *r = &op->parts[0].req;
        lua_pushinteger(L, r->type);
        lua_pushlstring(L, r->reply ? (const char *)r->reply : "", r->got);
        return 2;
    }
    if (op->text) {
        lua_pushnil(L);
        lua_pushinteger(L, op->status);
        lua_pushlstring(L, (const char *)op->text, op->text_len);
        return 3;
    }
    if (op->kind == OP_READ)
        lua_pushlstring(L, (const char *)op->bytes, op->end);
    else
        lua_pushboolean(L, 1);
    free(op->bytes);                         /* now, for Lua's collector does not know how large it is */
    op->bytes = NULL;
    return 1;
}

/* op:wait(what) -> the results; nil, status and its text when the server refused a read or write. Raises, with `what`
 * in front, when the session ended. */
static int l_wait(lua_State *L)
{
    struct op *op = ((struct op_box *)luaL_checkudata(L, 1, OP_TYPE))->op;

    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    if (op->taken)
        return l_raisef(L, "sftp", "closed", "%s: this was waited for already", lua_tostring(L, 2));
    if (!op->left)
        return l_wait_k(L, LUA_OK, (lua_KContext)op);
    l_wait_check(L, lua_tostring(L, 2));
    if (op->wait.held)
        return l_raisef(L, "sftp", "busy", "%s: another task waits for this already", lua_tostring(L, 2));
    return wait_park(L, &op->wait, lua_tostring(L, 2), op_cancel, l_wait_k, (lua_KContext)op);
}

static int l_op_gc(lua_State *L)
{
    struct op_box *box = luaL_checkudata(L, 1, OP_TYPE);
    struct op *op = box->op;

    box->op = NULL;
    if (!op)
        return 0;
    op->boxed = false;
    if (!op->left) {
        /* Its answer came and was never asked for. */
        struct sftp_req *r = &op->parts[0].req;
        if (op->kind == OP_CALL && !op->failed && r->type == FXP_HANDLE && r->got >= 4 && !op->taken)
            sftp_close_handle(op->s, r->reply + 4, r->got - 4);
        op_free(op);
        return 0;
    }
    for (unsigned i = 0, count = op->count; i < count && op->left > 1; i++) {
        struct sftp_req *r = &op->parts[i].req;
        if (sftp_withdraw(op->s, r))
            op->left--;
    }
    return 0;
}

static const luaL_Reg methods[] = {
    { "start", l_start },
    { "read", l_read },
    { "write", l_write },
    { "forget", l_forget },
    { NULL, NULL }
};

void l_sftp_call_methods(lua_State *L)
{
    static const luaL_Reg op_methods[] = { { "wait", l_wait }, { NULL, NULL } };
    static const luaL_Reg op_meta[] = { { "__gc", l_op_gc }, { NULL, NULL } };

    luaL_newmetatable(L, OP_TYPE);
    luaL_setfuncs(L, op_meta, 0);
    luaL_newlib(L, op_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_setfuncs(L, methods, 0);
}
