/* fs_file.c - the file handle of garun.fs.
 *
 * Three ways to move bytes, chosen when a file is opened. A regular file is read and written with pread/pwrite on
 * libuv's threads, for a cold disk may take its time and epoll takes no files. Pipes, sockets and terminals wait for
 * readiness on the loop. Devices without poll (/dev/zero) are read on a thread too.
 *
 * Owns its descriptor. The userdata points to a struct fs_file that it shares with the reads and writes on threads:
 * after a cancellation they go on for a moment, so the descriptor is closed when the handle is closed and the last of
 * them has ended; a number that is reused too early would send one file's bytes into another. The position is the
 * handle's own and moves only when the result has reached the script. Refuses two operations at a time on one handle.
 * Opening is in fs_open.c. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <lauxlib.h>
#include "bind/fs.h"
#include "bind/fs_file.h"
#include "core/err.h"
#include "loop/loop.h"

#define CHUNK      (256u << 10)      /* bytes of a read without a size */
#define READ_MAX   (64 << 20)
#define SLICE      4096u             /* PIPE_BUF: what a writable pipe takes without blocking (pipe(7)) */

enum op { OP_READ, OP_WRITE, OP_SYNC, OP_PERSIST };

struct fs_io {
    struct work  work;
    struct fs_file *f;
    enum op      op;
    off_t        at;
    size_t       n, got;
    int          errnum;
    char        *bytes;       /* owned: a string of the script may be collected while an abandoned write still runs */
    char        *target;      /* OP_PERSIST, owned */
};

/* ---- lifetime ---- */

static void file_unref(struct fs_file *f)
{
    if (--f->refs)
        return;
    if (f->fd >= 0)
        close(f->fd);
    watch_close(f->watch);
    free(f->path);
    free(f);
}

/* 0 or the errno of close(2), which tells of lost writes on network file systems. */
static int file_close(struct fs_file *f)
{
    int errnum = 0;
    if (f->closed)
        return 0;
    f->closed = true;
    if (f->temporary)
        unlink(f->path);
    if (!f->busy) {
        if (close(f->fd) != 0 && errno != EINTR)
            errnum = errno;
        f->fd = -1;
    }
    if (f->watch && f->watch->wait.held) {
        wait_done(&f->watch->wait);     /* that task finds the handle closed; the watch goes with the userdata */
    } else {
        watch_close(f->watch);
        f->watch = NULL;
    }
    return errnum;
}

static struct fs_file *l_file(lua_State *L, int arg, const char *fn)
{
    struct fs_file *f = ((struct fs_box *)luaL_checkudata(L, arg, FS_FILE))->f;
    if (!f || f->closed)
        l_raisef(L, "fs", "closed", "%s: the file %s is closed", fn, f ? f->path : "");
    return f;
}

/* ---- operations on threads ---- */

static void io_dispose(struct work *w)
{
    struct fs_io *io = (struct fs_io *)w;
    struct fs_file *f = io->f;
    f->busy = false;
    if (f->closed && f->fd >= 0) {
        close(f->fd);
        f->fd = -1;
    }
    file_unref(f);
    free(io->bytes);
    free(io->target);
    free(io);
}

static void io_read(struct fs_io *io)
{
    struct fs_file *f = io->f;
    while (io->got < io->n) {
        char *to = io->bytes + io->got;
        size_t left = io->n - io->got;
        ssize_t n = f->kind == KIND_REGULAR ? pread(f->fd, to, left, io->at + (off_t)io->got) : read(f->fd, to, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            io->errnum = errno;
        if (n <= 0)
            break;
        io->got += (size_t)n;
        if (f->kind != KIND_REGULAR)
            break;
    }
}

static void io_write(struct fs_io *io)
{
    struct fs_file *f = io->f;
    while (io->got < io->n) {
        const char *from = io->bytes + io->got;
        size_t left = io->n - io->got;
        ssize_t n = f->kind == KIND_REGULAR && !f->append ? pwrite(f->fd, from, left, io->at + (off_t)io->got)
                                                          : write(f->fd, from, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            io->errnum = n < 0 ? errno : EIO;
            break;
        }
        io->got += (size_t)n;
    }
}

static void io_run(struct work *w)
{
    struct fs_io *io = (struct fs_io *)w;
    switch (io->op) {
    case OP_READ:
        io_read(io);
        break;
    case OP_WRITE:
        io_write(io);
        break;
    case OP_SYNC:
        io->errnum = fsync(io->f->fd) == 0 ? 0 : errno;
        break;
    case OP_PERSIST:
        /* The order that keeps a name from ever pointing at half a file: bytes, rename, directory. */
        if (fsync(io->f->fd) != 0 || rename(io->f->path, io->target) != 0)
            io->errnum = errno;
        else
            io->errnum = fs_sync_parent(io->target);
        break;
    }
}

static void io_forget(struct fs_file *f)
{
    struct fs_io *io = f->finished;
    f->finished = NULL;
    if (io)
        work_release(&io->work);
}

static struct fs_io *l_io_new(lua_State *L, struct fs_file *f, enum op op, const char *fn, size_t room)
{
    io_forget(f);
    if (f->busy)
        l_raisef(L, "fs", "busy", "%s: another operation on %s has not ended yet", fn, f->path);
    struct fs_io *io = calloc(1, sizeof *io);
    if (io)
        io->bytes = malloc(room + 1);
    if (!io || !io->bytes) {
        free(io);
        l_fs_raise(L, fn, f->path, ENOMEM);
    }
    io->work.run = io_run;
    io->work.dispose = io_dispose;
    io->f = f;
    io->op = op;
    io->at = f->at;
    f->refs++;
    f->busy = true;
    return io;
}

/* Takes the outcome, releases the io and raises when it failed or the handle was closed meanwhile. Returns the file. */
static struct fs_file *l_io_end(lua_State *L, struct fs_io *io, const char *fn)
{
    struct fs_file *f = io->f;      /* the userdata is on the stack and keeps it */
    int errnum = io->errnum;
    work_release(&io->work);
    if (f->closed)
        l_raisef(L, "fs", "closed", "%s: the file %s was closed meanwhile", fn, f->path);
    if (errnum)
        l_fs_raise(L, fn, f->path, errnum);
    return f;
}

/* ---- polled descriptors ---- */

static bool is_ready(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };
    return poll(&p, 1, 0) > 0;
}

/* Parks until the descriptor is ready; use as `return`. A device that epoll refuses becomes KIND_BLOCKING: then this
 * returns -1 and the caller goes the other way. */
static int l_polled_wait(lua_State *L, struct fs_file *f, int events, const char *fn, lua_KFunction k)
{
    if (!f->watch) {
        struct err e;
        int flags = fcntl(f->fd, F_GETFL);
        f->watch = watch_open(garun_of(L), f->fd, &e);
        if (!f->watch && strcmp(e.code, "EPERM") == 0) {
            f->kind = KIND_BLOCKING;
            return -1;
        }
        if (!f->watch)
            return l_raise(L, &e);
        /* libuv has set O_NONBLOCK, on the description that we share with the shell and our neighbours in the pipe. */
        if (f->inherited && flags >= 0)
            fcntl(f->fd, F_SETFL, flags);
    }
    return wait_watch(L, f->watch, events, 0, fn, k, (lua_KContext)f);
}

/* ---- read ---- */

static int l_read_work_k(lua_State *L, int status, lua_KContext ctx)
{
    struct fs_io *io = (struct fs_io *)ctx;
    (void)status;
    if (io->got && !io->f->closed) {
        io->f->at += (off_t)io->got;
        /* The shared offset of standard input follows, for whoever reads it after us. */
        if (io->f->inherited && io->f->kind == KIND_REGULAR)
            lseek(io->f->fd, io->f->at, SEEK_SET);
        /* An error behind bytes that came comes up again at the next read. */
        struct fs_file *f = io->f;
        f->finished = io;
        lua_pushlstring(L, io->bytes, io->got);
        io_forget(f);
        return 1;
    }
    l_io_end(L, io, "file:read");
    lua_pushnil(L);
    return 1;
}

static int l_read_work(lua_State *L, struct fs_file *f, size_t n)
{
    struct stat st;
    l_wait_check(L, "file:read");
    if (f->kind == KIND_REGULAR && fstat(f->fd, &st) == 0 && st.st_size > 0) {
        off_t left = st.st_size > f->at ? st.st_size - f->at : 0;
        if ((off_t)n > left)
            n = left ? (size_t)left : 1;
    }
    struct fs_io *io = l_io_new(L, f, OP_READ, "file:read", n);
    io->n = n;
    return wait_work(L, &io->work, "file:read", l_read_work_k, (lua_KContext)io);
}

static int l_read_polled(lua_State *L, struct fs_file *f);

static int l_read_polled_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return l_read_polled(L, (struct fs_file *)ctx);
}

static int l_read_polled(lua_State *L, struct fs_file *f)
{
    for (;;) {
        if (f->closed)
            return l_raisef(L, "fs", "closed", "file:read: the file %s was closed meanwhile", f->path);
        /* A FIFO that nobody has opened for writing yet is not ready, though a read would say "end". */
        if (!is_ready(f->fd, POLLIN)) {
            int r = l_polled_wait(L, f, UV_READABLE, "file:read", l_read_polled_k);
            return r >= 0 ? r : l_read_work(L, f, f->want);
        }
        luaL_Buffer b;
        char *room = luaL_buffinitsize(L, &b, f->want);
        ssize_t n = read(f->fd, room, f->want);
        int errnum = errno;
        if (n > 0) {
            luaL_pushresultsize(&b, (size_t)n);
            return 1;
        }
        luaL_pushresultsize(&b, 0);
        lua_pop(L, 1);
        if (n == 0) {
            lua_pushnil(L);
            return 1;
        }
        if (errnum != EAGAIN && errnum != EINTR)
            return l_fs_raise(L, "file:read", f->path, errnum);
    }
}

static int l_read(lua_State *L, struct fs_file *f, lua_Integer n)
{
    if (!f->readable)
        return l_raisef(L, "fs", "EBADF", "file:read: %s is open for writing only", f->path);
    f->want = (size_t)n;
    if (f->kind == KIND_POLLED)
        return l_read_polled(L, f);
    return l_read_work(L, f, (size_t)n);
}

static lua_Integer l_size_arg(lua_State *L, int arg, const char *fn)
{
    lua_Integer n = luaL_optinteger(L, arg, CHUNK);
    if (n < 1 || n > READ_MAX)
        l_raisef(L, "usage", "argument", "%s: n (argument %d) must be from 1 to %d bytes", fn, arg - 1, READ_MAX);
    return n;
}

static int l_file_read(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:read");
    lua_Integer n = l_size_arg(L, 2, "file:read");
    lua_settop(L, 1);
    return l_read(L, f, n);
}

static int l_file_next(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    return l_read(L, l_file(L, 1, "file:chunks"), lua_tointeger(L, lua_upvalueindex(2)));
}

static int l_file_chunks(lua_State *L)
{
    l_file(L, 1, "file:chunks");
    lua_Integer n = l_size_arg(L, 2, "file:chunks");
    lua_settop(L, 1);
    lua_pushinteger(L, n);
    lua_pushcclosure(L, l_file_next, 2);
    return 1;
}

/* ---- write ---- */

static int l_write_work_k(lua_State *L, int status, lua_KContext ctx)
{
    struct fs_io *io = (struct fs_io *)ctx;
    (void)status;
    io->f->at += (off_t)io->got;
    if (!io->f->closed && fstat(io->f->fd, &io->f->was) != 0)     /* our own writes are no surprise */
        io->errnum = errno;
    l_io_end(L, io, "file:write");
    lua_settop(L, 1);
    return 1;
}

static int l_write_work(lua_State *L, struct fs_file *f, const char *bytes, size_t n)
{
    l_wait_check(L, "file:write");
    struct fs_io *io = l_io_new(L, f, OP_WRITE, "file:write", n);
    memcpy(io->bytes, bytes, n);
    io->n = n;
    return wait_work(L, &io->work, "file:write", l_write_work_k, (lua_KContext)io);
}

static int l_write_polled(lua_State *L, struct fs_file *f);

static int l_write_polled_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return l_write_polled(L, (struct fs_file *)ctx);
}

static int l_write_polled(lua_State *L, struct fs_file *f)
{
    size_t len;
    const char *bytes = lua_tolstring(L, 2, &len);
    for (;;) {
        if (f->closed)
            return l_raisef(L, "fs", "closed", "file:write: the file %s was closed meanwhile", f->path);
        if (f->done == len) {
            lua_settop(L, 1);
            return 1;
        }
        if (!is_ready(f->fd, POLLOUT)) {
            int r = l_polled_wait(L, f, UV_WRITABLE, "file:write", l_write_polled_k);
            return r >= 0 ? r : l_write_work(L, f, bytes + f->done, len - f->done);
        }
        size_t slice = len - f->done;
        if (f->inherited && slice > SLICE)
            slice = SLICE;
        ssize_t n = write(f->fd, bytes + f->done, slice);
        if (n > 0)
            f->done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return l_fs_raise(L, "file:write", f->path, errno);
    }
}

static int l_file_write(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:write");
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_settop(L, 2);
    if (!f->writable)
        return l_raisef(L, "fs", "EBADF", "file:write: %s is open for reading only", f->path);
    if (len == 0) {
        lua_settop(L, 1);
        return 1;
    }
    if (f->kind != KIND_POLLED)
        return l_write_work(L, f, bytes, len);
    if (f->watch && f->watch->wait.held)
        return l_raisef(L, "fs", "busy", "file:write: another operation on %s has not ended yet", f->path);
    f->done = 0;
    return l_write_polled(L, f);
}

/* ---- the rest ---- */

static int l_sync_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    l_io_end(L, (struct fs_io *)ctx, "file:sync");
    lua_settop(L, 1);
    return 1;
}

static int l_file_sync(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:sync");
    lua_settop(L, 1);
    if (f->kind != KIND_REGULAR)
        return 1;
    l_wait_check(L, "file:sync");
    struct fs_io *io = l_io_new(L, f, OP_SYNC, "file:sync", 0);
    return wait_work(L, &io->work, "file:sync", l_sync_k, (lua_KContext)io);
}

static int l_persist_k(lua_State *L, int status, lua_KContext ctx)
{
    struct fs_io *io = (struct fs_io *)ctx;
    (void)status;
    if (!io->errnum)
        io->f->temporary = false;
    struct fs_file *f = l_io_end(L, io, "file:persist");
    const char *name = lua_tostring(L, 2);
    char *path = name ? strdup(name) : NULL;
    if (path) {
        free(f->path);
        f->path = path;
    }
    lua_settop(L, 1);
    return 1;
}

static int l_file_persist(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:persist");
    const char *path = l_fs_path(L, 2, "file:persist");
    lua_settop(L, 2);
    if (!f->temporary)
        return l_raisef(L, "usage", "argument", "file:persist: %s is not a temporary file", f->path);
    l_wait_check(L, "file:persist");
    struct fs_io *io = l_io_new(L, f, OP_PERSIST, "file:persist", 0);
    io->target = strdup(path);
    if (!io->target) {
        work_release(&io->work);
        return l_fs_raise(L, "file:persist", path, ENOMEM);
    }
    return wait_work(L, &io->work, "file:persist", l_persist_k, (lua_KContext)io);
}

static int l_file_seek(lua_State *L)
{
    static const char *const names[] = { "set", "cur", "end", NULL };
    struct fs_file *f = l_file(L, 1, "file:seek");
    int whence = luaL_checkoption(L, 2, "cur", names);
    lua_Integer offset = luaL_optinteger(L, 3, 0), base = 0, to;
    struct stat st;
    if (f->kind != KIND_REGULAR)
        return l_fs_raise(L, "file:seek", f->path, ESPIPE);
    if (whence == 1)
        base = f->at;
    if (whence == 2) {
        if (fstat(f->fd, &st) != 0)
            return l_fs_raise(L, "file:seek", f->path, errno);
        base = st.st_size;
    }
    if (__builtin_add_overflow(base, offset, &to) || to < 0)
        return l_raisef(L, "usage", "argument", "file:seek: the position would be before the start of %s", f->path);
    f->at = to;
    lua_pushinteger(L, to);
    return 1;
}

static int l_file_size(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:size");
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return l_fs_raise(L, "file:size", f->path, errno);
    lua_pushinteger(L, st.st_size);
    return 1;
}

static int l_file_unchanged(lua_State *L)
{
    struct fs_file *f = l_file(L, 1, "file:unchanged");
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return l_fs_raise(L, "file:unchanged", f->path, errno);
    bool resized = st.st_size != f->was.st_size && f->kind == KIND_REGULAR;
    bool touched = f->kind == KIND_REGULAR && (st.st_mtim.tv_sec != f->was.st_mtim.tv_sec ||
                                               st.st_mtim.tv_nsec != f->was.st_mtim.tv_nsec);
    lua_pushboolean(L, !resized && !touched);
    if (resized)
        lua_pushfstring(L, "%s changed while it was read: it had %I bytes, now it has %I", f->path,
                        (lua_Integer)f->was.st_size, (lua_Integer)st.st_size);
    else if (touched)
        lua_pushfstring(L, "%s changed while it was read: it was written to again", f->path);
    else
        lua_pushnil(L);
    return 2;
}

static int l_file_close(lua_State *L)
{
    struct fs_file *f = ((struct fs_box *)luaL_checkudata(L, 1, FS_FILE))->f;
    int errnum = f ? file_close(f) : 0;
    if (errnum && f->writable)
        return l_fs_raise(L, "file:close", f->path, errnum);
    return 0;
}

static int l_file_release(lua_State *L)     /* __close: says nothing, an error may be on its way already */
{
    struct fs_file *f = ((struct fs_box *)luaL_checkudata(L, 1, FS_FILE))->f;
    if (f)
        file_close(f);
    return 0;
}

static int l_file_gc(lua_State *L)
{
    struct fs_box *box = luaL_checkudata(L, 1, FS_FILE);
    struct fs_file *f = box->f;
    box->f = NULL;
    if (f) {
        io_forget(f);
        file_close(f);
        file_unref(f);
    }
    return 0;
}

static int l_file_tostring(lua_State *L)
{
    struct fs_file *f = ((struct fs_box *)luaL_checkudata(L, 1, FS_FILE))->f;
    lua_pushfstring(L, "fs.file(%s, %s)", f ? f->path : "", !f || f->closed ? "closed" : "open");
    return 1;
}

static int l_file_index(lua_State *L)
{
    struct fs_file *f = ((struct fs_box *)luaL_checkudata(L, 1, FS_FILE))->f;
    const char *key = lua_tostring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL && key && f && strcmp(key, "path") == 0)
        lua_pushstring(L, f->path);
    return 1;
}

static const luaL_Reg methods[] = {
    { "read", l_file_read },
    { "write", l_file_write },
    { "seek", l_file_seek },
    { "size", l_file_size },
    { "sync", l_file_sync },
    { "chunks", l_file_chunks },
    { "unchanged", l_file_unchanged },
    { "persist", l_file_persist },
    { "close", l_file_close },
    { NULL, NULL },
};

static const luaL_Reg metamethods[] = {
    { "__close", l_file_release },
    { "__gc", l_file_gc },
    { "__tostring", l_file_tostring },
    { NULL, NULL },
};

void fs_file_open(lua_State *L)
{
    luaL_newmetatable(L, FS_FILE);
    luaL_setfuncs(L, metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, l_file_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    fs_open_functions(L);
}
