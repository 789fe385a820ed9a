/* fs_open.c - opening the files of garun.fs: by path, standard input and output, temporary ones.
 *
 * Decides how the bytes of a file will be moved (see fs_file.c). The handle is made first and owns the descriptor from
 * the moment there is one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <lauxlib.h>
#include "bind/fs.h"
#include "bind/fs_file.h"
#include "core/err.h"

static struct fs_box *l_box_new(lua_State *L)
{
    struct fs_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->f = NULL;
    luaL_setmetatable(L, FS_FILE);
    return box;
}

/* Fills the box; the handle owns fd from here on, even when this raises. */
static struct fs_file *l_file_adopt(lua_State *L, struct fs_box *box, int fd, const char *fn, const char *path,
                                    int flags)
{
    struct fs_file *f = calloc(1, sizeof *f);
    if (f)
        f->path = strdup(path);
    if (!f || !f->path) {
        free(f);
        close(fd);
        l_fs_raise(L, fn, path, ENOMEM);
    }
    f->refs = 1;
    f->fd = fd;
    box->f = f;
    if (fstat(fd, &f->was) != 0)
        l_fs_raise(L, fn, path, errno);
    if (S_ISDIR(f->was.st_mode))
        l_fs_raise(L, fn, path, EISDIR);
    f->readable = (flags & O_ACCMODE) != O_WRONLY;
    f->writable = (flags & O_ACCMODE) != O_RDONLY;
    f->append = (flags & O_APPEND) != 0;
    if (S_ISREG(f->was.st_mode)) {
        f->kind = KIND_REGULAR;
        /* Doubles the kernel's read-ahead. An explicit POSIX_FADV_WILLNEED for each chunk was measured too: it looks every
         * page up although it is there, a tenth of the CPU of a load. */
        if (f->readable)
            posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    } else {
        f->kind = KIND_POLLED;
    }
    return f;
}

/* "r", "w", "a" with "+" and "x" (fail when it exists) behind, "b" is ignored; -1 for anything else. */
static int parse_mode(const char *mode)
{
    bool plus = false, excl = false;
    char first = mode[0];
    if (first != 'r' && first != 'w' && first != 'a')
        return -1;
    for (const char *m = mode + 1; *m; m++) {
        if (*m == '+')
            plus = true;
        else if (*m == 'x' && first != 'r')
            excl = true;
        else if (*m != 'b')
            return -1;
    }
    int flags = plus ? O_RDWR : first == 'r' ? O_RDONLY : O_WRONLY;
    if (first != 'r')
        flags |= O_CREAT | (excl ? O_EXCL : 0) | (first == 'w' ? O_TRUNC : O_APPEND);
    return flags;
}

/* open(path, mode, permissions) */
static int l_open(lua_State *L)
{
    const char *path = l_fs_path(L, 1, "fs.open");
    const char *mode = luaL_optstring(L, 2, "r");
    lua_Integer permissions = luaL_optinteger(L, 3, 0666);
    int flags = parse_mode(mode);
    if (flags < 0)
        return l_raisef(L, "usage", "argument", "fs.open: unknown mode '%s'; it is r, w or a, then + and x as needed",
                        mode);
    struct fs_box *box = l_box_new(L);
    /* O_NONBLOCK: opening a FIFO must not wait for its other end. Regular files do not mind. */
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, (mode_t)permissions);
    if (fd < 0 && errno == ENXIO)
        return l_raisef(L, "fs", "ENXIO", "fs.open: %s: nobody reads from the other end of this FIFO or socket", path);
    if (fd < 0)
        return l_fs_raise(L, "fs.open", path, errno);
    struct fs_file *f = l_file_adopt(L, box, fd, "fs.open", path, flags);
    if (f->kind == KIND_REGULAR && (flags & O_ACCMODE) != O_RDONLY && f->append)
        f->at = f->was.st_size;
    return 1;
}

static int l_standard(lua_State *L, int number, const char *fn, int flags)
{
    struct fs_box *box = l_box_new(L);
    int fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
    const char *name = number == STDIN_FILENO ? "standard input" : "standard output";
    if (fd < 0)
        return l_fs_raise(L, fn, name, errno);
    struct fs_file *f = l_file_adopt(L, box, fd, fn, name, flags);
    int now = fcntl(fd, F_GETFL);
    f->inherited = true;
    f->append = flags != O_RDONLY && now >= 0 && (now & O_APPEND) != 0;
    if (f->kind == KIND_REGULAR) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        f->at = at > 0 ? at : 0;
        /* A shell's `{ a; b; } > file` shares the offset: write(2) moves it, pwrite would not. */
        if (flags != O_RDONLY)
            f->kind = KIND_BLOCKING;
    }
    return 1;
}

static int l_stdin(lua_State *L)
{
    return l_standard(L, STDIN_FILENO, "fs.stdin", O_RDONLY);
}

static int l_stdout(lua_State *L)
{
    return l_standard(L, STDOUT_FILENO, "fs.stdout", O_WRONLY);
}

/* tempfile(stem, permissions): creates stem with eight random letters behind; closing removes it. */
static int l_tempfile(lua_State *L)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    const char *stem = l_fs_path(L, 1, "fs.tempfile");
    lua_Integer permissions = luaL_optinteger(L, 2, 0600);
    struct fs_box *box = l_box_new(L);
    for (int tries = 0; tries < 100; tries++) {
        unsigned char noise[8];
        char name[sizeof noise + 1] = "";
        if (getrandom(noise, sizeof noise, 0) != (ssize_t)sizeof noise)
            return l_fs_raise(L, "fs.tempfile", stem, errno);
        for (size_t i = 0; i < sizeof noise; i++)
            name[i] = letters[noise[i] & 31];
        const char *path = lua_pushfstring(L, "%s%s", stem, name);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)permissions);
        if (fd >= 0) {
            struct fs_file *f = l_file_adopt(L, box, fd, "fs.tempfile", path, O_RDWR);
            f->temporary = true;
            lua_settop(L, -2);
            return 1;
        }
        if (errno != EEXIST)
            return l_fs_raise(L, "fs.tempfile", path, errno);
        lua_pop(L, 1);
    }
    return l_fs_raise(L, "fs.tempfile", stem, EEXIST);
}

static const luaL_Reg functions[] = {
    { "open", l_open },
    { "stdin", l_stdin },
    { "stdout", l_stdout },
    { "tempfile", l_tempfile },
    { NULL, NULL },
};

void fs_open_functions(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
