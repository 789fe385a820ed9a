/* fs_work.c - the calls of garun.fs that run on a thread as a whole: read and write a file, list a directory, expand a
 * pattern, remove a tree.
 *
 * Each is one struct job: the arguments are copied in, the thread works on the job alone, the continuation turns its
 * result into Lua values. A job that finished is parked in a userdata while its result is pushed, for a push may raise.
 * Owns the jobs. Refuses to follow symbolic links when it removes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <lauxlib.h>
#include "bind/fs.h"
#include "core/buf.h"
#include "core/err.h"
#include "loop/loop.h"

#define READ_DEFAULT ((lua_Integer)64 << 20)    /* what fs.read takes in at most unless told otherwise */

struct job {
    struct work work;
    const char *fn;          /* static: the name the script knows */
    char       *path;        /* owned */
    char       *at;          /* owned: what failed when it is not path, or NULL */
    int         errnum;
    size_t      max;         /* read: bound of the result */
    bool        too_big, atomic, append, sync, recursive;
    mode_t      mode;
    bool        mode_given;
    struct buf  data;        /* bytes to write; bytes that were read; names, each with its NUL */
};

struct job_box {             /* a userdata that frees a finished job */
    struct job *job;
};

/* ---- removing ---- */

static char *join(const char *dir, const char *name)
{
    char *path = malloc(strlen(dir) + strlen(name) + 2);
    if (path)
        sprintf(path, "%s/%s", dir, name);
    return path;
}

/* Works on descriptors: a directory that somebody swaps for a symbolic link meanwhile cannot lead it elsewhere. path
 * is for the error only. Takes over fd. */
static int remove_inside(int fd, const char *path, char **at, int depth)
{
    int errnum = 0;
    DIR *dir = fdopendir(fd);
    if (!dir || depth > 200) {       /* one descriptor a level */
        errnum = dir ? ELOOP : errno;
        if (dir)
            closedir(dir);
        else
            close(fd);
        return errnum;
    }
    for (struct dirent *d; !errnum;) {
        errno = 0;
        d = readdir(dir);
        if (!d) {
            errnum = errno;
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, d->d_name, 0) == 0 || errno == ENOENT)
            continue;
        char *sub_path = NULL;
        errnum = errno;
        int sub = -1;
        if (errnum == EISDIR || errnum == EPERM)      /* POSIX says EPERM for a directory, Linux EISDIR */
            sub = openat(fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0 && errnum == EISDIR)
            errnum = errno;
        if (at)
            sub_path = join(path, d->d_name);
        if (sub >= 0) {
            errnum = remove_inside(sub, sub_path ? sub_path : path, at, depth + 1);
            if (!errnum && unlinkat(fd, d->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT)
                errnum = errno;
        }
        if (errnum && at && !*at) {
            *at = sub_path;
            sub_path = NULL;
        }
        free(sub_path);
    }
    closedir(dir);
    return errnum;
}

int fs_remove_tree(const char *path, char **at)
{
    if (at)
        *at = NULL;
    if (unlink(path) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    int errnum = errno;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errnum == EPERM ? EPERM : errno;
    errnum = remove_inside(fd, path, at, 0);
    if (!errnum && rmdir(path) != 0)
        errnum = errno;
    return errnum;
}

/* ---- on the thread ---- */

static void run_read(struct work *w)
{
    struct job *j = (struct job *)w;
    struct stat st;
    int fd = open(j->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        j->errnum = errno;
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        j->errnum = S_ISDIR(st.st_mode) ? EISDIR : ESPIPE;
        goto out;
    }
    for (;;) {
        /* Files of /proc say 0 bytes, and any file may grow: the size is only a first guess. */
        size_t left = (size_t)st.st_size > j->data.len ? (size_t)st.st_size - j->data.len : 0;
        size_t want = left + 1 < 65536 && j->data.len ? 65536 : left + 1;
        if (want > j->max + 1 - j->data.len)
            want = j->max + 1 - j->data.len;
        if (!buf_reserve(&j->data, want)) {
            j->errnum = ENOMEM;
            break;
        }
        ssize_t n = read(fd, j->data.data + j->data.len, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            j->errnum = errno;
        if (n <= 0)
            break;
        j->data.len += (size_t)n;
        if (j->data.len > j->max) {
            j->too_big = true;
            break;
        }
    }
out:
    if (fd >= 0)
        close(fd);
}

static int write_bytes(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Writes to a new file beside the target, then renames: readers see the old bytes or the new ones, after a power cut
 * too. An existing target keeps its mode; the caller's mode wins over it. */
static void write_atomic(struct job *j)
{
    struct stat st;
    uint64_t noise;
    int fd = -1;
    char *temp = malloc(strlen(j->path) + 32);
    /* A symbolic link stays one: what it points to is replaced. */
    char *target = lstat(j->path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(j->path, NULL) : strdup(j->path);
    if (target && strlen(target) > strlen(j->path)) {
        free(temp);
        temp = malloc(strlen(target) + 32);
    }
    if (!temp || !target || getrandom(&noise, sizeof noise, 0) != (ssize_t)sizeof noise) {
        j->errnum = errno ? errno : ENOMEM;
        goto out;
    }
    bool there = stat(target, &st) == 0;
    mode_t mode = j->mode_given ? j->mode : there ? st.st_mode & 07777 : 0666;
    if (there && !S_ISREG(st.st_mode)) {
        j->errnum = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        goto out;
    }
    const char *slash = strrchr(target, '/');
    int dir_len = slash ? (int)(slash - target) + 1 : 0;
    sprintf(temp, "%.*s.garun-%016llx", dir_len, target, (unsigned long long)noise);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode & 0777);
    if (fd < 0) {
        j->errnum = errno;
        goto out;
    }
    j->errnum = write_bytes(fd, j->data.data, j->data.len);
    if (!j->errnum && (there || j->mode_given) && fchmod(fd, mode) != 0)     /* past the umask */
        j->errnum = errno;
    if (!j->errnum && j->sync && fsync(fd) != 0)
        j->errnum = errno;
    if (close(fd) != 0 && !j->errnum)
        j->errnum = errno;
    fd = -1;
    if (!j->errnum && rename(temp, target) != 0)
        j->errnum = errno;
    if (j->errnum)
        unlink(temp);
    else if (j->sync)
        j->errnum = fs_sync_parent(target);
out:
    if (fd >= 0)
        close(fd);
    free(temp);
    free(target);
}

static void run_write(struct work *w)
{
    struct job *j = (struct job *)w;
    if (j->atomic) {
        write_atomic(j);
        return;
    }
    int fd = open(j->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (j->append ? O_APPEND : O_TRUNC),
                  j->mode_given ? j->mode & 0777 : 0666);
    if (fd < 0) {
        j->errnum = errno;
        return;
    }
    j->errnum = write_bytes(fd, j->data.data, j->data.len);
    if (!j->errnum && j->mode_given && !j->append && fchmod(fd, j->mode) != 0)
        j->errnum = errno;
    if (!j->errnum && j->sync && fsync(fd) != 0)
        j->errnum = errno;
    if (close(fd) != 0 && !j->errnum)
        j->errnum = errno;
}

static void run_list(struct work *w)
{
    struct job *j = (struct job *)w;
    DIR *dir = opendir(j->path);
    if (!dir) {
        j->errnum = errno;
        return;
    }
    for (struct dirent *d; !j->errnum;) {
        errno = 0;
        d = readdir(dir);
        if (!d) {
            j->errnum = errno;
            break;
        }
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !buf_put(&j->data, d->d_name, strlen(d->d_name) + 1))
            j->errnum = ENOMEM;
    }
    closedir(dir);
}

/* A directory that cannot be read must not look like an empty one; one that is not there is empty. */
static int glob_failed(const char *dir, int errnum)
{
    (void)dir;
    return errnum != ENOENT && errnum != ENOTDIR;
}

static void run_glob(struct work *w)
{
    struct job *j = (struct job *)w;
    glob_t g;
    errno = 0;
    int r = glob(j->path, GLOB_NOSORT | GLOB_BRACE, glob_failed, &g);
    if (r == GLOB_NOSPACE)
        j->errnum = ENOMEM;
    else if (r == GLOB_ABORTED)
        j->errnum = errno ? errno : EIO;
    if (r == 0) {
        for (size_t i = 0; i < g.gl_pathc && !j->errnum; i++) {
            if (!buf_put(&j->data, g.gl_pathv[i], strlen(g.gl_pathv[i]) + 1))
                j->errnum = ENOMEM;
        }
    }
    if (r == 0 || r == GLOB_ABORTED || r == GLOB_NOSPACE)
        globfree(&g);
}

static void run_remove(struct work *w)
{
    struct job *j = (struct job *)w;
    if (j->recursive)
        j->errnum = fs_remove_tree(j->path, &j->at);
    else if (remove(j->path) != 0)        /* unlink, or rmdir for an empty directory */
        j->errnum = errno;
}

/* ---- the Lua side ---- */

static void job_dispose(struct work *w)
{
    struct job *j = (struct job *)w;
    buf_free(&j->data);
    free(j->path);
    free(j->at);
    free(j);
}

static int l_job_gc(lua_State *L)
{
    struct job_box *box = lua_touserdata(L, 1);
    if (box->job)
        work_release(&box->job->work);
    box->job = NULL;
    return 0;
}

static struct job *l_job_new(lua_State *L, const char *fn, int path_arg, void (*run)(struct work *))
{
    const char *path = l_fs_path(L, path_arg, fn);
    l_wait_check(L, fn);
    struct job *j = calloc(1, sizeof *j);
    if (j)
        j->path = strdup(path);
    if (!j || !j->path) {
        free(j);
        l_fs_raise(L, fn, path, ENOMEM);
    }
    j->fn = fn;
    j->work.run = run;
    j->work.dispose = job_dispose;
    return j;
}

/* Boxes the finished job (for the pushes that follow) and raises its error, if any. */
static struct job *l_job_end(lua_State *L, lua_KContext ctx)
{
    struct job *j = (struct job *)ctx;
    struct job_box *box = lua_touserdata(L, 1);
    box->job = j;
    if (j->errnum)
        l_fs_raise(L, j->fn, j->at ? j->at : j->path, j->errnum);
    if (j->too_big)
        l_raisef(L, "fs", "EFBIG",
                 "%s: %s is larger than %I bytes; read it in chunks with fs.source, or give max_bytes", j->fn, j->path,
                 (lua_Integer)j->max);
    return j;
}

/* Every call leaves an empty box at index 1, made before the job, so that l_job_end needs no memory. */
static void l_box(lua_State *L)
{
    struct job_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->job = NULL;
    luaL_setmetatable(L, "garun.fs.job");
    lua_insert(L, 1);
}

static int l_done_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    l_job_end(L, ctx);
    lua_settop(L, 1);
    return l_job_gc(L);
}

static int l_read_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct job *j = l_job_end(L, ctx);
    lua_pushlstring(L, j->data.data ? j->data.data : "", j->data.len);
    l_job_gc(L);
    return 1;
}

static int l_names_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct job *j = l_job_end(L, ctx);
    lua_Integer n = 0;
    lua_newtable(L);
    for (size_t at = 0; at < j->data.len; at += strlen(j->data.data + at) + 1) {
        lua_pushstring(L, j->data.data + at);
        lua_rawseti(L, -2, ++n);
    }
    l_job_gc(L);
    return 1;
}

/* read(path, max_bytes) */
static int l_read(lua_State *L)
{
    l_box(L);
    lua_Integer max = luaL_optinteger(L, 3, READ_DEFAULT);
    struct job *j = l_job_new(L, "fs.read", 2, run_read);
    j->max = (size_t)max;
    return wait_work(L, &j->work, j->fn, l_read_k, (lua_KContext)j);
}

/* put(name, path, data, how, permissions): how is "atomic", "append" or "plain", with "+sync" behind */
static int l_put(lua_State *L)
{
    static const char *const hows[] = { "atomic+sync", "atomic", "plain+sync", "plain", "append+sync", "append", NULL };
    size_t len;
    l_box(L);
    bool append = strcmp(luaL_checkstring(L, 2), "fs.append") == 0;
    const char *fn = append ? "fs.append" : "fs.write";
    if (lua_type(L, 4) != LUA_TSTRING)
        return l_raisef(L, "usage", "argument", "%s: data (argument 2) is a string, not a %s", fn, luaL_typename(L, 4));
    const char *data = lua_tolstring(L, 4, &len);
    int how = luaL_checkoption(L, 5, NULL, hows);
    bool mode_given = !lua_isnoneornil(L, 6);
    lua_Integer mode = luaL_optinteger(L, 6, 0);
    struct job *j = l_job_new(L, fn, 3, run_write);
    j->atomic = how < 2;
    j->append = how >= 4;
    j->sync = how % 2 == 0;
    j->mode = (mode_t)mode;
    j->mode_given = mode_given;
    if (!buf_put(&j->data, data, len)) {
        j->errnum = ENOMEM;
        l_job_end(L, (lua_KContext)j);
    }
    return wait_work(L, &j->work, j->fn, l_done_k, (lua_KContext)j);
}

static int l_list(lua_State *L)
{
    l_box(L);
    struct job *j = l_job_new(L, "fs.list", 2, run_list);
    return wait_work(L, &j->work, j->fn, l_names_k, (lua_KContext)j);
}

static int l_glob(lua_State *L)
{
    l_box(L);
    struct job *j = l_job_new(L, "fs.glob", 2, run_glob);
    return wait_work(L, &j->work, j->fn, l_names_k, (lua_KContext)j);
}

/* remove(path, recursive) */
static int l_remove(lua_State *L)
{
    l_box(L);
    bool recursive = lua_toboolean(L, 3);
    struct job *j = l_job_new(L, "fs.remove", 2, run_remove);
    j->recursive = recursive;
    return wait_work(L, &j->work, j->fn, l_done_k, (lua_KContext)j);
}

static const luaL_Reg functions[] = {
    { "read", l_read },
    { "put", l_put },
    { "list", l_list },
    { "glob", l_glob },
    { "remove", l_remove },
    { NULL, NULL },
};

void fs_work_open(lua_State *L)
{
    luaL_newmetatable(L, "garun.fs.job");
    lua_pushcfunction(L, l_job_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
