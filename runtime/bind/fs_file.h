/* fs_file.h - the file handle of garun.fs, as fs_open.c makes and fs_file.c uses it. Who owns what: fs_file.c. */
#ifndef GARUN_FS_FILE_H
#define GARUN_FS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <lua.h>
#include "loop/loop.h"

#define FS_FILE "garun.fs.file"      /* name of the metatable */

enum fs_kind { KIND_REGULAR, KIND_POLLED, KIND_BLOCKING };

struct fs_io;

struct fs_file {
    int           refs;       /* the userdata and the operations on threads */
    int           fd;         /* -1 once closed */
    enum fs_kind  kind;
    bool          closed;     /* by the script; fd goes with the last operation */
    bool          busy;       /* an operation is on a thread */
    bool          inherited;  /* standard input or output: the description is shared with other processes */
    bool          readable, writable, append;
    bool          temporary;  /* close removes it */
    off_t         at;
    size_t        want, done; /* the polled operation that waits */
    struct watch *watch;      /* made by the first wait */
    struct fs_io *finished;   /* its result is being pushed, which may raise for lack of memory */
    struct stat   was;        /* at opening */
    char         *path;       /* as the script gave it */
};

struct fs_box {                  /* the userdata */
    struct fs_file *f;
};

/* Adds open, stdin, stdout and tempfile to the table on top of the stack (fs_open.c). */
void fs_open_functions(lua_State *L);

#endif
