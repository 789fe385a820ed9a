/* sftp_copy.c - a file's bytes from the server to a local file, or the other way, without Lua.
 *
 * A copy has a ring of blocks. A get asks for blocks in order, several megabytes ahead, and a thread writes those that are
 * whole to the file, in order too, so that a copy that was cut off has left a beginning without holes. A put has a
 * thread read ahead and sends blocks in order. One thread's work at a time; it also digests what it moves. The loop, the
 * network and the disk work at the same time.
 *
 * Counted: one reference of the userdata, one of each request under way, one of the work. Owns the ring and a dup of the
 * descriptor; the remote handle stays the caller's. Refuses to go on after the first error. */
#include "bind/sftp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <lauxlib.h>
#include <openssl/evp.h>
#include "bind/fs_file.h"

#define COPY_TYPE    "garun.sftp.copy"
#define HANDLE_MAX   256u
#define HEAD_MAX     (4 + 1 + 4 + 4 + HANDLE_MAX + 8 + 4)
#define FLIGHT_BYTES (4u << 20)          /* asked for or sent, and not answered */
#define RING_BYTES   (2 * FLIGHT_BYTES)  /* with what waits for the disk */
#define REPORT_MS    100                 /* between two wakes for the progress callback */

enum block_state { BLOCK_FREE, BLOCK_WIRE, BLOCK_FULL, BLOCK_DISK };

struct copy;

struct block {
    struct sftp_req  req;
    struct copy     *c;
    enum block_state state;
    uint64_t         offset;             /* in the file */
    size_t           size, got;
    unsigned char   *data;               /* owned; made when first used */
    unsigned char    head[HEAD_MAX];
};

struct copy {
    int           refs;
    struct wait   wait;
    struct sftp  *s;
    struct garun *g;
    bool          put, stopped, working, report, closed;
    int           fd;
    unsigned char handle[HANDLE_MAX];
    size_t        handle_len, chunk;
    uint64_t      start, end;
    uint64_t      next;                  /* offset of the next block that is asked for (get) or read (put) */
    uint64_t      done;                  /* offset up to which all is written (get) or acknowledged (put) */
    uint64_t      acked;                 /* put: bytes, in any order */
    unsigned      n, flight, flight_max;
    uint64_t      wire_seq, disk_seq;    /* of the next block for the wire, and for the disk */
    uint64_t      last_report;
    uv_work_t     work;
    uint64_t      work_seq;
    unsigned      work_count;
    int           errnum;
    bool          cut_short;             /* the local file ended before its size */
    EVP_MD_CTX   *md;
    bool          failed;
    struct err    e;
    char         *name;                  /* what is copied, for texts */
    struct block  ring[];
};

struct copy_box {
    struct copy *c;
};

static void put32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static void copy_unref(struct copy *c)
{
    if (--c->refs)
        return;
    for (unsigned i = 0; i < c->n; i++)
        free(c->ring[i].data);
    EVP_MD_CTX_free(c->md);
    if (c->fd >= 0)
        close(c->fd);
    sftp_unref(c->s);
    free(c->name);
    free(c);
}

static bool finished(const struct copy *c)
{
    return c->failed || c->stopped || (c->done == c->end && !c->working);
}

static void tell(struct copy *c)
{
    uint64_t now = uv_now(loop_uv(c->g));

    if (c->s->final || c->stopped)
        return;
    if (finished(c) || (c->report && now - c->last_report >= REPORT_MS)) {
        c->last_report = now;
        wait_done(&c->wait);
    }
}

static void copy_fail(struct copy *c)      /* c->e is set */
{
    c->failed = true;
    tell(c);
}

static struct block *block_of(struct copy *c, uint64_t seq)
{
    return &c->ring[seq % c->n];
}

static void advance(struct copy *c);

/* ---- the wire ---- */

static void block_send(struct copy *c, struct block *b)
{
    unsigned char *at = b->head + 13 + c->handle_len;
    uint64_t offset = b->offset + (c->put ? 0 : b->got);
    size_t size = c->put ? b->size : b->size - b->got;

    put32(at, (uint32_t)(offset >> 32));
    put32(at + 4, (uint32_t)offset);
    put32(at + 8, (uint32_t)size);
    if (c->put) {
        b->req.body = b->data;
        b->req.body_len = size;
    } else {
        b->req.sink = b->data + b->got;
        b->req.sink_len = size;
    }
    b->state = BLOCK_WIRE;
    c->refs++;
    c->flight++;
    sftp_submit(c->s, &b->req);
}

/* What the server says is data: it goes to the error's detail, where it is escaped when shown. */
static void refused(struct copy *c, struct sftp_req *r)
{
    size_t len = r->got >= 8 ? (size_t)r->reply[4] << 24 | (size_t)r->reply[5] << 16 | (size_t)r->reply[6] << 8 | r->reply[7]
                             : 0;

    err_set(&c->e, "sftp", "", "%s", c->name);
    if (len && len <= r->got - 8)
        snprintf(c->e.detail, sizeof c->e.detail, "%.*s", (int)(len < 500 ? len : 500), (const char *)r->reply + 8);
    snprintf(c->e.code, sizeof c->e.code, "%u", r->type == FXP_STATUS ? (unsigned)r->status : 5u);
}

static void block_done(struct sftp_req *r)
{
    struct block *b = (struct block *)r;
    struct copy *c = b->c;

    c->flight--;
    if (c->failed || c->stopped) {
        b->state = BLOCK_FREE;
    } else if (r->failed) {
        c->e = c->s->why;
        copy_fail(c);
    } else if (!c->put && r->type == FXP_DATA && r->got) {
        b->got += r->got;
        if (b->got < b->size)
            block_send(c, b);               /* fewer bytes than asked for are no end of the file (draft, 6.4) */
        else
            b->state = BLOCK_FULL;
    } else if (!c->put && r->type == FXP_STATUS && r->status == FX_EOF) {
        err_set(&c->e, "sftp", "SHORT", "%s: the file ends after %llu bytes, it had %llu", c->name,
                (unsigned long long)(b->offset + b->got), (unsigned long long)c->end);
        c->e.retryable = true;
        copy_fail(c);
    } else if (c->put && r->type == FXP_STATUS && r->status == FX_OK) {
        b->state = BLOCK_FREE;
        c->acked += b->size;
        c->done = c->start + c->acked;
    } else {
        refused(c, r);
        copy_fail(c);
    }
    free(r->reply);
    r->reply = NULL;
    advance(c);
    copy_unref(c);
}

/* ---- the disk, on a thread ---- */

static void disk_run(uv_work_t *req)
{
    struct copy *c = req->data;

    for (unsigned i = 0; i < c->work_count && !c->errnum; i++) {
        struct block *b = block_of(c, c->work_seq + i);
        for (size_t at = 0; at < b->size;) {
            ssize_t n = c->put ? pread(c->fd, b->data + at, b->size - at, (off_t)(b->offset + at))
                               : pwrite(c->fd, b->data + at, b->size - at, (off_t)(b->offset + at));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                c->errnum = n < 0 ? errno : EIO;
                c->cut_short = n == 0;
                return;
            }
            at += (size_t)n;
        }
        if (c->md)
            EVP_DigestUpdate(c->md, b->data, b->size);
    }
}

static void disk_after(uv_work_t *req, int status)
{
    struct copy *c = req->data;

    (void)status;
    c->working = false;
    c->g->loop->works--;
    for (unsigned i = 0; i < c->work_count; i++) {
        struct block *b = block_of(c, c->work_seq + i);
        b->state = c->put && !c->errnum ? BLOCK_FULL : BLOCK_FREE;
        if (!c->put && !c->errnum)
            c->done = b->offset + b->size;
    }
    if (c->failed || c->stopped) {
        copy_unref(c);
        return;
    }
    if (c->errnum) {
        if (c->cut_short)
            err_set(&c->e, "sftp", "CHANGED", "%s: the local file became shorter while it was read", c->name);
        else
            err_errno(&c->e, "sftp", c->errnum, "%s: the local file", c->name);
        copy_fail(c);
    } else {
        c->disk_seq += c->work_count;
        sftp_ref(c->s);                  /* kick may end the session and with it everything else */
        struct sftp *s = c->s;
        advance(c);
        sftp_kick(s);
        sftp_unref(s);
    }
    copy_unref(c);
}

static void disk_start(struct copy *c, unsigned count)
{
    if (!count)
        return;
    for (unsigned i = 0; i < count; i++)
        block_of(c, c->disk_seq + i)->state = BLOCK_DISK;
    c->work_seq = c->disk_seq;
    c->work_count = count;
    c->working = true;
    c->refs++;
    c->g->loop->works++;
    c->work.data = c;
    uv_queue_work(loop_uv(c->g), &c->work, disk_run, disk_after);
}

/* ---- what comes next ---- */

/* Makes the free block of that number the one for the next bytes; false when memory is short. */
static bool block_next(struct copy *c, uint64_t seq)
{
    struct block *b = block_of(c, seq);

    if (!b->data && !(b->data = malloc(c->chunk))) {
        err_set(&c->e, "sftp", "ENOMEM", "%s: not enough memory", c->name);
        copy_fail(c);
        return false;
    }
    b->offset = c->next;
    b->size = c->end - c->next < c->chunk ? (size_t)(c->end - c->next) : c->chunk;
    b->got = 0;
    c->next += b->size;
    return true;
}

static void advance_get(struct copy *c)
{
    while (c->next < c->end && c->flight < c->flight_max && c->wire_seq < c->disk_seq + c->n && !c->failed &&
           block_of(c, c->wire_seq)->state == BLOCK_FREE && block_next(c, c->wire_seq))
        block_send(c, block_of(c, c->wire_seq++));
    unsigned count = 0;
    while (!c->working && count < c->n / 4 + 1 && c->disk_seq + count < c->wire_seq &&
           block_of(c, c->disk_seq + count)->state == BLOCK_FULL)
        count++;
    disk_start(c, count);
}

static void advance_put(struct copy *c)
{
    while (c->wire_seq < c->disk_seq && c->flight < c->flight_max && !c->failed &&
           block_of(c, c->wire_seq)->state == BLOCK_FULL)
        block_send(c, block_of(c, c->wire_seq++));
    unsigned count = 0;
    while (!c->working && c->next < c->end && count < c->n / 4 + 1 &&
           block_of(c, c->disk_seq + count)->state == BLOCK_FREE && block_next(c, c->disk_seq + count))
        count++;
    disk_start(c, count);
}

static void advance(struct copy *c)
{
    if (c->failed || c->stopped)
        return;
    if (c->put)
        advance_put(c);
    else
        advance_get(c);
    tell(c);
}

/* ---- Lua ---- */

static struct copy *l_copy(lua_State *L)
{
    return ((struct copy_box *)luaL_checkudata(L, 1, COPY_TYPE))->c;
}

/* copy("get" or "put", handle, file, start, end, most, digest, report, name) -> copy */
static int l_copy_new(lua_State *L)
{
    static const char *const kinds[] = { "get", "put", NULL };
    struct sftp *s = l_sftp(L, "sftp");
    bool put = luaL_checkoption(L, 2, NULL, kinds) == 1;
    size_t len;
    const char *handle = luaL_checklstring(L, 3, &len);
    struct fs_box *file = luaL_checkudata(L, 4, FS_FILE);
    lua_Integer start = luaL_checkinteger(L, 5), end = luaL_checkinteger(L, 6), most = luaL_checkinteger(L, 7);
    const char *name = luaL_checkstring(L, 10);

    if (len > HANDLE_MAX || start < 0 || end < start || most < 1 || most > (256 << 10) || !file->f || file->f->closed)
        return l_raisef(L, "usage", "argument", "sftp: this cannot be copied");
    unsigned n = RING_BYTES / (unsigned)most;
    lua_Integer blocks = (end - start) / most + 1;
    if (blocks < n)
        n = (unsigned)blocks;
    if (n < 1)
        n = 1;
    struct copy_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->c = NULL;
    luaL_setmetatable(L, COPY_TYPE);
    struct copy *c = calloc(1, sizeof *c + n * sizeof c->ring[0]);
    if (!c)
        return l_raisef(L, "sftp", "ENOMEM", "%s: not enough memory", name);
    c->refs = 1;
    c->fd = -1;
    c->s = s;
    sftp_ref(s);
    c->g = s->g;
    box->c = c;
    c->name = strdup(name);
    c->fd = fcntl(file->f->fd, F_DUPFD_CLOEXEC, 3);
    c->md = lua_toboolean(L, 8) ? EVP_MD_CTX_new() : NULL;
    if (!c->name || c->fd < 0 || (lua_toboolean(L, 8) && (!c->md || EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1)))
        return l_raisef(L, "sftp", "ENOMEM", "%s: not enough memory or descriptors", name);
    c->wait.lasting = true;
    c->put = put;
    c->report = lua_toboolean(L, 9);
    memcpy(c->handle, handle, len);
    c->handle_len = len;
    c->chunk = (size_t)most;
    c->start = c->next = c->done = (uint64_t)start;
    c->end = (uint64_t)end;
    c->n = n;
    c->flight_max = FLIGHT_BYTES / (unsigned)most + 1;
    for (unsigned i = 0; i < n; i++) {
        struct block *b = &c->ring[i];
        b->c = c;
        b->req.done = block_done;
        b->req.head = b->head;
        b->req.head_len = 13 + len + 12;
        b->head[4] = put ? FXP_WRITE : FXP_READ;
        put32(b->head + 9, (uint32_t)len);
        memcpy(b->head + 13, handle, len);
    }
    advance(c);
    sftp_kick(s);
    return 1;
}

static void copy_stop(struct copy *c)
{
    if (c->stopped)
        return;
    c->stopped = true;
    for (unsigned i = 0; i < c->n; i++) {
        struct block *b = &c->ring[i];
        if (b->state == BLOCK_WIRE && sftp_withdraw(c->s, &b->req)) {
            b->state = BLOCK_FREE;
            c->flight--;
            c->refs--;
        }
    }
}

static void wait_cancel(struct wait *w)
{
    (void)w;                             /* the script's <close> stops the copy */
}

static int l_copy_wait_k(lua_State *L, int status, lua_KContext ctx)
{
    struct copy *c = (struct copy *)ctx;

    (void)status;
    if (c->closed)
        return l_raisef(L, "sftp", "closed", "%s: stopped", c->name);
    if (c->failed) {
        if (c->e.code[0] >= '0' && c->e.code[0] <= '9') {       /* a status of the server */
            lua_pushnil(L);
            lua_pushinteger(L, strtol(c->e.code, NULL, 10));
            lua_pushstring(L, c->e.detail);
            return 3;
        }
        struct err e = c->e;
        if (c->e.message[0] && strncmp(c->e.message, c->name, strlen(c->name)) != 0)
            err_set(&e, c->e.kind, c->e.code, "%s: %s", c->name, c->e.message);
        memcpy(e.detail, c->e.detail, sizeof e.detail);
        memcpy(e.hint, c->e.hint, sizeof e.hint);
        e.retryable = c->e.retryable;
        return l_raise(L, &e);
    }
    lua_pushboolean(L, finished(c));
    lua_pushinteger(L, (lua_Integer)c->done);
    return 2;
}

/* wait() -> whether it is finished, offset reached; nil, status, text when the server refused. Comes back before the end
 * from time to time when progress is to be reported. */
static int l_copy_wait(lua_State *L)
{
    struct copy *c = l_copy(L);

    lua_settop(L, 1);
    if (finished(c) || c->closed)
        return l_copy_wait_k(L, LUA_OK, (lua_KContext)c);
    l_wait_check(L, "sftp");
    if (c->wait.held)
        return l_raisef(L, "sftp", "busy", "%s: another task waits for it", c->name);
    return wait_park(L, &c->wait, "sftp", wait_cancel, l_copy_wait_k, (lua_KContext)c);
}

/* digest() -> SHA-256 of what was copied, raw */
static int l_copy_digest(lua_State *L)
{
    struct copy *c = l_copy(L);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!c->md || c->working || EVP_DigestFinal_ex(c->md, out, &n) != 1)
        return l_raisef(L, "sftp", "openssl", "%s: no digest", c->name);
    lua_pushlstring(L, (const char *)out, n);
    return 1;
}

static int l_copy_close(lua_State *L)
{
    struct copy *c = l_copy(L);

    if (!c || c->closed)
        return 0;
    c->closed = true;
    copy_stop(c);
    wait_done(&c->wait);
    return 0;
}

static int l_copy_gc(lua_State *L)
{
    struct copy_box *box = luaL_checkudata(L, 1, COPY_TYPE);
    struct copy *c = box->c;

    box->c = NULL;
    if (!c)
        return 0;
    c->closed = true;
    c->wait.task = NULL;                 /* nobody can wait on it any more */
    copy_stop(c);
    copy_unref(c);
    return 0;
}

/* set_mtime(file, seconds since 1970): of a local file that is open */
int l_sftp_set_mtime(lua_State *L)
{
    struct fs_box *file = luaL_checkudata(L, 1, FS_FILE);
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = (time_t)luaL_checkinteger(L, 2) } };
    struct err e;

    if (!file->f || file->f->closed)
        return l_raisef(L, "sftp", "closed", "session:get: the local file is closed");
    if (futimens(file->f->fd, times) != 0) {
        err_errno(&e, "sftp", errno, "session:get: %s: cannot set its time", file->f->path);
        return l_raise(L, &e);
    }
    return 0;
}

void l_sftp_copy_methods(lua_State *L)
{
    static const luaL_Reg copy_methods[] = {
        { "wait", l_copy_wait }, { "digest", l_copy_digest }, { "close", l_copy_close }, { NULL, NULL }
    };
    static const luaL_Reg copy_meta[] = { { "__close", l_copy_close }, { "__gc", l_copy_gc }, { NULL, NULL } };

    luaL_newmetatable(L, COPY_TYPE);
    luaL_setfuncs(L, copy_meta, 0);
    luaL_newlib(L, copy_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_copy_new);
    lua_setfield(L, -2, "copy");
}
