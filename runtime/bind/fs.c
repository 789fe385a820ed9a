/* fs.c - garun.core.fs: names and what the file system knows about them.
 *
 * These calls only touch directories and inodes, which the kernel nearly always has in memory, so they are made on the
 * spot and work where waiting is impossible (in __close, in a sort). What reads or writes contents, or walks trees,
 * is in fs_work.c and fs_file.c and waits. Owns nothing but the lock handles. The Lua half is
 * runtime/lua/garun/fs.lua. */
#include "bind/bind.h"
#include "bind/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <lauxlib.h>
#include "core/err.h"

#define LOCK_TYPE "garun.fs.lock"

const char *l_fs_path(lua_State *L, int arg, const char *fn)
{
    size_t len;
    if (lua_type(L, arg) != LUA_TSTRING)
        l_raisef(L, "usage", "argument", "%s: path (argument %d) is a string, not a %s", fn, arg,
                 luaL_typename(L, arg));
    const char *path = lua_tolstring(L, arg, &len);
    if (len == 0 || strlen(path) != len)
        l_raisef(L, "usage", "argument", "%s: path (argument %d) is %s", fn, arg,
                 len ? "no path: it contains a NUL byte" : "empty");
    return path;
}

/* Says in e->detail where a missing path breaks off. */
static void find_missing(struct err *e, const char *path)
{
    char part[4096];
    struct stat st;
    size_t len = strlen(path);
    if (len >= sizeof part)
        return;
    memcpy(part, path, len + 1);
    for (char *slash = part + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (stat(part, &st) != 0) {
            snprintf(e->detail, sizeof e->detail, "the directory %.900s does not exist", part);
            return;
        }
        if (!S_ISDIR(st.st_mode)) {
            snprintf(e->detail, sizeof e->detail, "%.900s is not a directory", part);
            return;
        }
        *slash = '/';
    }
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        snprintf(e->detail, sizeof e->detail, "it is a symbolic link whose target does not exist");
}

int l_fs_raise(lua_State *L, const char *fn, const char *path, int errnum)
{
    struct err e;
    err_errno(&e, "fs", errnum, "%s: %s", fn, path);
    if (errnum == ENOENT || errnum == ENOTDIR)
        find_missing(&e, path);
    if (errnum == EACCES || errnum == EPERM)
        snprintf(e.hint, sizeof e.hint, "garun runs as uid %u; look at the owner and mode of the file and of the "
                 "directories above it", (unsigned)geteuid());
    if (errnum == ENOSPC || errnum == EDQUOT)
        snprintf(e.hint, sizeof e.hint, "free space on that file system (df), or point the path somewhere else");
    if (errnum == EMFILE)
        snprintf(e.hint, sizeof e.hint, "too many files are open at once: close handles, or raise `ulimit -n`");
    l_raise(L, &e);
}

int fs_sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!dir)
        return ENOMEM;
    int errnum = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A directory that may be written but not listed cannot be opened; some file systems refuse with EINVAL. Then there
     * is no way to sync it, and the rename has happened. */
    if (fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        errnum = errno;
    if (fd >= 0)
        close(fd);
    free(dir);
    return errnum;
}

/* ---- stat ---- */

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:  return "file";
    case S_IFDIR:  return "directory";
    case S_IFLNK:  return "link";
    case S_IFIFO:  return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR:  return "character device";
    case S_IFBLK:  return "block device";
    default:       return "unknown";
    }
}

static void l_set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* stat(path, follow) -> table, or nil when there is nothing */
static int l_stat(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.stat");
    bool follow = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
    struct stat st;
    if ((follow ? stat(path, &st) : lstat(path, &st)) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return l_fs_raise(L, "fs.stat", path, errno);
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 10);
    lua_pushstring(L, type_name(st.st_mode));
    lua_setfield(L, -2, "type");
    lua_pushnumber(L, (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec / 1e9);
    lua_setfield(L, -2, "mtime");
    l_set_integer(L, "mtime_ns", (lua_Integer)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    l_set_integer(L, "size", st.st_size);
    l_set_integer(L, "inode", (lua_Integer)st.st_ino);
    l_set_integer(L, "device", (lua_Integer)st.st_dev);
    l_set_integer(L, "links", (lua_Integer)st.st_nlink);
    l_set_integer(L, "mode", st.st_mode & 07777);
    l_set_integer(L, "uid", st.st_uid);
    l_set_integer(L, "gid", st.st_gid);
    return 1;
}

/* ---- one system call each ---- */

/* mkdir(path, permissions) -> true when it was made, false when a directory is there already */
static int l_mkdir(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.mkdir");
    struct stat st;
    bool made = mkdir(path, (mode_t)luaL_optinteger(L, 2, 0777)) == 0;
    if (!made && !(errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return l_fs_raise(L, "fs.mkdir", path, errno);
    lua_pushboolean(L, made);
    return 1;
}

static int l_rename(lua_State *L)
{
    const char *from = l_fs_path(L, 1, "fs.rename"), *to = l_fs_path(L, 2, "fs.rename");
    struct err e;
    struct stat st;
    if (rename(from, to) == 0)
        return 0;
    int errnum = errno;
    err_errno(&e, "fs", errnum, "fs.rename: %s to %s", from, to);
    if (errnum == EXDEV)
        snprintf(e.hint, sizeof e.hint,
                 "the two are on different file systems: copy the file, then remove the old one");
    if (errnum == ENOENT)
        find_missing(&e, lstat(from, &st) == 0 ? to : from);
    return l_raise(L, &e);
}

static int l_realpath(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.realpath");
    char real[4096];      /* PATH_MAX, which realpath never exceeds */
    if (!realpath(path, real))
        return l_fs_raise(L, "fs.realpath", path, errno);
    lua_pushstring(L, real);
    return 1;
}

static int l_chmod(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.chmod");
    if (chmod(path, (mode_t)luaL_checkinteger(L, 2)) != 0)
        return l_fs_raise(L, "fs.chmod", path, errno);
    return 0;
}

static int l_symlink(lua_State *L)
{
    const char *target = l_fs_path(L, 1, "fs.symlink"), *path = l_fs_path(L, 2, "fs.symlink");
    if (symlink(target, path) != 0)
        return l_fs_raise(L, "fs.symlink", path, errno);
    return 0;
}

static int l_readlink(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.readlink");
    char target[4096];
    ssize_t n = readlink(path, target, sizeof target);
    if (n < 0)
        return l_fs_raise(L, "fs.readlink", path, errno);
    lua_pushlstring(L, target, (size_t)n);
    return 1;
}

static int l_mkdtemp(lua_State *L)
{
    const char *stem = l_fs_path(L, 1, "fs.tempdir");
    lua_pushfstring(L, "%sXXXXXX", stem);
    char path[4096];
    int n = snprintf(path, sizeof path, "%s", lua_tostring(L, -1));
    if (n < 0 || (size_t)n >= sizeof path)
        return l_fs_raise(L, "fs.tempdir", stem, ENAMETOOLONG);
    if (!mkdtemp(path))
        return l_fs_raise(L, "fs.tempdir", path, errno);
    lua_pushstring(L, path);
    return 1;
}

/* remove_now(path) removes a whole tree without waiting: for __close of a temporary directory. Never raises. */
static int l_remove_now(lua_State *L)
{
    lua_pushinteger(L, fs_remove_tree(l_fs_path(L, 1, "fs.remove"), NULL));
    return 1;
}

static int l_space(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.space");
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return l_fs_raise(L, "fs.space", path, errno);
    lua_createtable(L, 0, 3);
    l_set_integer(L, "total", (lua_Integer)(v.f_blocks * v.f_frsize));
    l_set_integer(L, "free", (lua_Integer)(v.f_bfree * v.f_frsize));
    l_set_integer(L, "available", (lua_Integer)(v.f_bavail * v.f_frsize));
    return 1;
}

static int l_cwd(lua_State *L)
{
    char path[4096];
    if (!getcwd(path, sizeof path))
        return l_fs_raise(L, "fs.cwd", ".", errno);
    lua_pushstring(L, path);
    return 1;
}

/* ---- locks ---- */

struct lock {          /* the userdata */
    int fd;            /* -1 once released */
};

/* lock_try(path, shared) -> lock, or nil and the pid that its holder has written (nil when unknown)
 *
 * flock(2): the lock belongs to the open file, so it goes with the process however that ends. The file stays: removing
 * it would let two processes hold a lock each, on two files of the same name. */
static int l_lock_try(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.lock");
    bool shared = lua_toboolean(L, 2);
    char text[24];
    struct lock *lock = lua_newuserdatauv(L, sizeof *lock, 0);
    lock->fd = -1;
    luaL_setmetatable(L, LOCK_TYPE);
    lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (lock->fd < 0)
        return l_fs_raise(L, "fs.lock", path, errno);
    while (flock(lock->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return l_fs_raise(L, "fs.lock", path, errno);
        ssize_t n = pread(lock->fd, text, sizeof text - 1, 0);
        close(lock->fd);
        lock->fd = -1;
        lua_pushnil(L);
        text[n > 0 ? n : 0] = '\0';
        char *end;
        long pid = strtol(text, &end, 10);
        if (end == text || pid <= 0)
            return 1;
        lua_pushinteger(L, pid);
        return 2;
    }
    /* For the one who has to wait; not needed to hold the lock, so a full disk is no failure here. */
    if (!shared) {
        int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(lock->fd, 0) != 0 || pwrite(lock->fd, text, (size_t)n, 0) != n)
            errno = 0;
    }
    return 1;
}

static int l_lock_close(lua_State *L)
{
    struct lock *lock = luaL_checkudata(L, 1, LOCK_TYPE);
    if (lock->fd >= 0) {
        if (ftruncate(lock->fd, 0) != 0)
            errno = 0;         /* a stale pid is only shown to people */
        close(lock->fd);
        lock->fd = -1;
    }
    return 0;
}

static int l_lock_tostring(lua_State *L)
{
    struct lock *lock = luaL_checkudata(L, 1, LOCK_TYPE);
    lua_pushfstring(L, "fs.lock(%s)", lock->fd >= 0 ? "held" : "released");
    return 1;
}

static const luaL_Reg lock_methods[] = {
    { "close", l_lock_close },
    { NULL, NULL },
};

static const luaL_Reg lock_metamethods[] = {
    { "__close", l_lock_close },
    { "__gc", l_lock_close },
    { "__tostring", l_lock_tostring },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "stat", l_stat },
    { "mkdir", l_mkdir },
    { "rename", l_rename },
    { "realpath", l_realpath },
    { "chmod", l_chmod },
    { "symlink", l_symlink },
    { "readlink", l_readlink },
    { "mkdtemp", l_mkdtemp },
    { "remove_now", l_remove_now },
    { "space", l_space },
    { "cwd", l_cwd },
    { "lock_try", l_lock_try },
    { NULL, NULL },
};

int luaopen_garun_core_fs(lua_State *L)
{
    luaL_newmetatable(L, LOCK_TYPE);
    luaL_setfuncs(L, lock_metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, lock_methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, functions);
    fs_file_open(L);
    fs_work_open(L);
    return 1;
}
