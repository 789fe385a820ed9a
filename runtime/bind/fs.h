/* fs.h - what the files of garun.core.fs share. Everything here is called from Lua functions and may raise. */
#ifndef GARUN_FS_H
#define GARUN_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

/* The path at arg; raises when it is no string, empty or holds a NUL. fn is the name the script knows ("fs.open"). */
const char *l_fs_path(lua_State *L, int arg, const char *fn);

/* Raises "fn: path: text of errnum"; for ENOENT the detail says which part of the path is missing. */
int l_fs_raise(lua_State *L, const char *fn, const char *path, int errnum) __attribute__((noreturn));

/* Removes a file, or a directory with all that is in it, without following symbolic links. 0, or an errno value; then
 * *at (when not NULL) is the malloc'ed path that could not be removed, or NULL. Blocks: for threads and for
 * clean-up. */
int fs_remove_tree(const char *path, char **at);

/* fsync of the directory that holds path, so that a rename survives a power cut. 0 or an errno value. Blocks. */
int fs_sync_parent(const char *path);

/* Each adds its functions to the table on top of the stack. */
void fs_file_open(lua_State *L);    /* fs_file.c, fs_open.c: open, stdin, stdout, tempfile */
void fs_work_open(lua_State *L);    /* fs_work.c: read, write, append, list, glob, remove, move */

#endif
