/* err.h - the one way to fail.
 *
 * C code below the Lua line fills a struct err and returns false/-1; a function called from Lua (l_...) turns it into an
 * error object and raises it. In Lua an error object is a table with the fields below, __tostring and __concat; scripts
 * make their own with require("garun.error").new{...}. Texts are sentences for the operator: what failed, on what,
 * why, what to do. No secret ever goes into one. */
#ifndef GARUN_ERR_H
#define GARUN_ERR_H

#include <stdbool.h>
#include <lua.h>

struct err {
    const char *kind;         /* static string, the module that failed: "pg", "fs", "json", "task", "bulk", "usage" ... */
    char        code[32];     /* for programs: SQLSTATE, errno name, ...; "" when there is none */
    bool        retryable;    /* true when the same call may succeed later */
    char        message[1024];
    char        detail[1024]; /* "" or more about this case, as a server's DETAIL */
    char        hint[512];    /* "" or what to do */
};

/* Fills *e from a printf format; detail and hint are emptied, retryable is set to false. Returns false, so that a
 * function can say `return err_set(e, ...)`. kind must be a static string. */
bool err_set(struct err *e, const char *kind, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a failed system call: code is errno's name ("ENOENT"), the message ends with its text. */
bool err_errno(struct err *e, const char *kind, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* "ENOENT" for ENOENT; "E123" for numbers without a name. */
const char *err_errno_name(int errnum);

/* Pushes *e as an error object. May raise on lack of memory only. */
void l_err_push(lua_State *L, const struct err *e);

/* Pushes and raises *e; never returns. */
int l_raise(lua_State *L, const struct err *e) __attribute__((noreturn));

/* Raises kind/code with a formatted message in one call (lua_pushfstring's format). */
int l_raisef(lua_State *L, const char *kind, const char *code, const char *fmt, ...) __attribute__((noreturn));

/* True when the value at idx is an error object (made here or by garun.error). */
bool l_err_is(lua_State *L, int idx);

int luaopen_garun_error(lua_State *L);

#endif
