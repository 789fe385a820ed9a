/* opt.h - option tables of Lua calls, checked: an unknown key is an error that names the nearest known one.
 *
 * All functions raise; fn is the name the script knows ("gzip.reader"). An absent or nil option gives the default. */
#ifndef GARUN_OPT_H
#define GARUN_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

/* Accepts nil/none or a table whose keys are all in the NULL-terminated list. Leaves a table at idx (an empty one for
 * nil), so that the getters below need no test. */
void l_opt_check(lua_State *L, int idx, const char *fn, const char *const *names);

double      l_opt_number(lua_State *L, int idx, const char *fn, const char *name, double def, double min, double max);
lua_Integer l_opt_integer(lua_State *L, int idx, const char *fn, const char *name, lua_Integer def, lua_Integer min,
                          lua_Integer max);
bool        l_opt_boolean(lua_State *L, int idx, const char *fn, const char *name, bool def);

/* The string stays valid while the table holds it; def may be NULL. */
const char *l_opt_string(lua_State *L, int idx, const char *fn, const char *name, const char *def, size_t *len);

/* The name of the NULL-terminated list that `name` was probably meant to be, or NULL: at most a third of it (and three
 * letters) wrong. Never raises. For "unknown command 'ingets', did you mean 'ingest'?". */
const char *opt_nearest(const char *name, const char *const *names);

#endif
