/* http_sink.c - the file that a download goes to: libcurl's bytes are gathered in two large slots, and while one is
 * filled the other is written on a thread. No Lua runs between the first byte and the last, and the loop never waits
 * for the disk; when the disk is slower than the network, the call is paused.
 *
 * Owns the descriptor and an exclusive flock(2) on it, so that two downloads never write to one file. Refuses to follow
 * a symbolic link. The file's name is a temporary one; finish() makes it the real one. */
#include "bind/http_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <lauxlib.h>
#include "bind/fs.h"
#include "bind/http.h"
#include "core/err.h"

#define TYPE  "garun.http.sink"
#define SLOT  (1u << 20)
#define TRIES 10

struct slot {
    char  *data;
    size_t len;
};

struct http_sink {
    int               refs;
    struct garun     *g;
    int               fd;           /* -1 once closed */
    char             *path;
    off_t             at;           /* where the next slot goes */
    struct slot       slots[2];
    int               filling;      /* which of them */
    uv_work_t         req;
    bool              busy;         /* the other one is on a thread */
    bool              closed;       /* by the script; fd goes with the last write */
    bool              refused;      /* the call is paused until there is room */
    bool              ending;       /* no more comes: the rest is written */
    int               errnum;
    struct http_call *call;         /* that fills it; not owned, the call goes first */
};

struct finish {                     /* fsync and rename, on a thread */
    struct work       work;
    struct http_sink *s;
    char             *target;
    bool              sync;
    int               errnum;
};

static void sink_shut(struct http_sink *s)
{
    s->closed = true;
    if (!s->busy && s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

static void sink_unref(struct http_sink *s)
{
    if (--s->refs)
        return;
    sink_shut(s);
    free(s->slots[0].data);
    free(s->slots[1].data);
    free(s->path);
    free(s);
}

/* ---- writing ---- */

/* On a thread: the slot that is not being filled. */
static void write_slot(uv_work_t *req)
{
    struct http_sink *s = req->data;
    struct slot *slot = &s->slots[!s->filling];
    size_t done = 0;

    while (done < slot->len) {
        ssize_t n = pwrite(s->fd, slot->data + done, slot->len - done, s->at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->errnum = n < 0 ? errno : EIO;
            return;
        }
        done += (size_t)n;
    }
    /* The kernel may begin to write it out now: then the fsync at the end has little to wait for. */
    sync_file_range(s->fd, s->at, (off_t)done, SYNC_FILE_RANGE_WRITE);
}

static void written(uv_work_t *req, int status);

/* Hands the slot that was filled to a thread and turns to the other one. */
static void write_start(struct http_sink *s)
{
    s->filling = !s->filling;
    s->busy = true;
    s->refs++;
    s->g->loop->works++;
    uv_queue_work(loop_uv(s->g), &s->req, write_slot, written);
}

static void written(uv_work_t *req, int status)
{
    struct http_sink *s = req->data;
    struct slot *slot = &s->slots[!s->filling];

    (void)status;
    s->g->loop->works--;
    s->busy = false;
    s->at += (off_t)slot->len;
    slot->len = 0;
    if (s->closed)
        sink_shut(s);
    if (s->call && s->errnum && s->call->failure == HTTP_FINE) {
        s->call->disk_errno = s->errnum;
        if (s->call->state == HTTP_ENDED)
            s->call->failure = HTTP_DISK;
        else
            http_call_fail(s->call, HTTP_DISK);
    }
    if (s->ending && !s->errnum && !s->closed && s->slots[s->filling].len)
        write_start(s);
    if (s->call && s->ending && !s->busy)
        wait_done(&s->call->wait);
    if (s->call && s->refused) {
        s->refused = false;
        http_call_resume(s->call);
    }
    sink_unref(s);
}

bool http_sink_put(struct http_sink *s, const char *bytes, size_t n)
{
    struct slot *slot = &s->slots[s->filling];

    if (slot->len + n > SLOT) {
        if (s->busy) {
            s->refused = true;
            return false;
        }
        write_start(s);
        slot = &s->slots[s->filling];
    }
    memcpy(slot->data + slot->len, bytes, n);
    slot->len += n;
    return true;
}

void http_sink_begin(struct http_sink *s, struct http_call *c)
{
    s->refs++;
    s->call = c;
    s->ending = s->refused = false;
}

void http_sink_end(struct http_sink *s, bool flush)
{
    s->ending = true;
    s->refused = false;
    if (!flush)
        s->slots[s->filling].len = 0;
    else if (!s->busy && !s->errnum && s->slots[s->filling].len)
        write_start(s);
}

void http_sink_leave(struct http_sink *s)
{
    s->call = NULL;
    s->slots[s->filling].len = 0;
    sink_unref(s);
}

bool http_sink_idle(const struct http_sink *s)
{
    return !s->busy;
}

/* ---- Lua ---- */

static struct http_sink *sink_at(lua_State *L, int idx)
{
    return *(struct http_sink **)luaL_checkudata(L, idx, TYPE);
}

struct http_sink *l_http_sink(lua_State *L, int idx)
{
    struct http_sink *s = sink_at(L, idx);

    if (!s || s->closed)
        l_raisef(L, "http", "closed", "the download's file is closed");
    if (s->call || s->busy)
        l_raisef(L, "http", "busy", "%s is being written to", s->path);
    return s;
}

/* Opens and locks the file; the lock is worth something only while the name still leads to what was locked. 0 or errno;
 * EWOULDBLOCK: another download has it. */
static int open_locked(const char *path, int *fd)
{
    struct stat here, there;

    for (int i = 0; i < TRIES; i++) {
        *fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0666);
        if (*fd < 0)
            return errno;
        if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
            return errno;
        if (fstat(*fd, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino && here.st_dev == there.st_dev)
            return S_ISREG(here.st_mode) ? 0 : EINVAL;
        close(*fd);
    }
    return EWOULDBLOCK;
}

/* sink(path) -> sink, bytes in the file: opens it for a download, as it is */
static int l_sink(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "http.download");
    struct http_sink **box = lua_newuserdatauv(L, sizeof *box, 0);
    struct stat st;
    int errnum;

    *box = NULL;
    luaL_setmetatable(L, TYPE);
    struct http_sink *s = calloc(1, sizeof *s);
    if (!s)
        return l_fs_raise(L, "http.download", path, ENOMEM);
    s->refs = 1;
    s->fd = -1;
    s->g = garun_of(L);
    s->req.data = s;
    *box = s;
    s->path = strdup(path);
    s->slots[0].data = malloc(SLOT);
    s->slots[1].data = malloc(SLOT);
    if (!s->path || !s->slots[0].data || !s->slots[1].data)
        return l_fs_raise(L, "http.download", path, ENOMEM);
    errnum = open_locked(path, &s->fd);
    if (errnum == EWOULDBLOCK)
        return l_raisef(L, "http", "locked", "http.download: another download writes to %s", path);
    if (errnum || fstat(s->fd, &st) != 0)
        return l_fs_raise(L, "http.download", path, errnum ? errnum : errno);
    s->at = st.st_size;
    lua_pushinteger(L, (lua_Integer)st.st_size);
    return 2;
}

/* sink:reset(bytes): cuts the file off there; the next byte goes behind it */
static int l_reset(lua_State *L)
{
    struct http_sink *s = l_http_sink(L, 1);
    lua_Integer at = luaL_checkinteger(L, 2);

    if (ftruncate(s->fd, at) != 0)
        return l_fs_raise(L, "http.download", s->path, errno);
    s->at = at;
    s->errnum = 0;
    s->slots[0].len = s->slots[1].len = 0;
    return 0;
}

/* sink:size() -> bytes that are in the file, without those on their way */
static int l_size(lua_State *L)
{
    const struct http_sink *s = sink_at(L, 1);
    lua_pushinteger(L, s ? (lua_Integer)s->at : 0);
    return 1;
}

static void finish_run(struct work *w)
{
    struct finish *f = (struct finish *)w;

    if ((f->sync && fsync(f->s->fd) != 0) || rename(f->s->path, f->target) != 0)
        f->errnum = errno;
    else if (f->sync)
        f->errnum = fs_sync_parent(f->target);
}

static void finish_dispose(struct work *w)
{
    struct finish *f = (struct finish *)w;

    f->s->busy = false;
    if (f->s->closed)
        sink_shut(f->s);
    sink_unref(f->s);
    free(f->target);
    free(f);
}

static int l_finish_k(lua_State *L, int status, lua_KContext ctx)
{
    struct finish *f = (struct finish *)ctx;
    int errnum = f->errnum;

    (void)status;
    work_release(&f->work);
    if (errnum)
        return l_fs_raise(L, "http.download", lua_tostring(L, 2), errnum);
    return 0;
}

/* sink:finish(path, sync): gives the file its name; with sync it is on the disk before */
static int l_finish(lua_State *L)
{
    struct http_sink *s = l_http_sink(L, 1);
    const char *path = l_fs_path(L, 2, "http.download");
    bool sync = lua_toboolean(L, 3);

    l_wait_check(L, "http.download");
    struct finish *f = calloc(1, sizeof *f);
    if (f)
        f->target = strdup(path);
    if (!f || !f->target) {
        free(f);
        return l_fs_raise(L, "http.download", path, ENOMEM);
    }
    f->work.run = finish_run;
    f->work.dispose = finish_dispose;
    f->s = s;
    f->sync = sync;
    s->refs++;
    s->busy = true;
    lua_settop(L, 2);
    return wait_work(L, &f->work, "http.download", l_finish_k, (lua_KContext)f);
}

static int l_close(lua_State *L)
{
    struct http_sink *s = sink_at(L, 1);
    if (s)
        sink_shut(s);
    return 0;
}

static int l_gc(lua_State *L)
{
    struct http_sink **box = luaL_checkudata(L, 1, TYPE);
    if (*box) {
        sink_shut(*box);
        sink_unref(*box);
    }
    *box = NULL;
    return 0;
}

void http_sink_functions(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "reset", l_reset },
        { "size", l_size },
        { "finish", l_finish },
        { "close", l_close },
        { NULL, NULL },
    };
    luaL_newmetatable(L, TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_sink);
    lua_setfield(L, -2, "sink");
}
