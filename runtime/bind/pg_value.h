/* pg_value.h - values on their way between Lua and PostgreSQL's text format. Private to the pg_*.c files. */
#ifndef GARUN_PG_VALUE_H
#define GARUN_PG_VALUE_H

#include "bind/pg_conn.h"
#include "core/buf.h"

enum pg_kind { PG_TEXT, PG_BOOL, PG_INT, PG_FLOAT, PG_NUMERIC, PG_JSON, PG_BYTEA, PG_ARRAY };

/* How a column is decoded, with the options of the running call. */
struct pg_codec {
    enum pg_kind kind, elem;
    bool         numbers, nulls;    /* numeric as a number; null members of JSON as json.null */
};

#define PG_VALUE "garun.pg.value"   /* userdata made by pg.json, pg.array and pg.bytea; its user value 1 is the text */

struct pg_value { bool bytea; };

/* ---- pg_type.c ---- */

/* What a column of that type becomes; false when the type is neither built in nor read from the catalogue yet. */
bool pg_type_codec(const struct pg_conn *c, Oid oid, struct pg_codec *out);
/* Its name, NULL when unknown. */
const char *pg_type_name(const struct pg_conn *c, Oid oid);
/* True when all columns of res are known; else appends the unknown type numbers to list as {1,2,3}. */
bool pg_types_known(const struct pg_conn *c, const PGresult *res, struct buf *list);
/* Takes the answer of pg_types_sql. False when memory is short. */
bool pg_types_add(struct pg_conn *c, const PGresult *res);
extern const char *const pg_types_sql;   /* one parameter: the list */

/* ---- pg_decode.c ---- */

/* Pushes one value; the text is NUL-terminated as PQgetvalue's. */
void l_pg_push(lua_State *L, struct pg_codec codec, const char *text, size_t n);
/* Pushes an array of the columns' names and raises when one appears twice (not with c->arrays). */
void l_pg_push_columns(lua_State *L, struct pg_conn *c, const PGresult *res);
/* Pushes row `row` as a table; names is the index of the table pushed by l_pg_push_columns. */
void l_pg_push_row(lua_State *L, const struct pg_conn *c, const PGresult *res, int row, int names);
/* Pushes the whole result as db:query gives it. */
void l_pg_push_rows(lua_State *L, struct pg_conn *c, const PGresult *res);
/* The sentinel json.null. */
void l_pg_push_null(lua_State *L);
bool l_pg_is_null(lua_State *L, int idx);

/* ---- pg_array.c ---- */

/* Pushes the Lua form of an array's text. */
void l_pg_push_array(lua_State *L, struct pg_codec codec, const char *text, size_t n);
/* pg.array(t) */
int  l_pg_array(lua_State *L);

/* ---- pg_param.c ---- */

struct pg_params {                  /* points into the strings above it on the Lua stack */
    int          n;
    const char **values;
    int         *lengths, *formats;
    Oid         *types;
};

/* Turns the values from index `first` to the top into strings and pushes nothing; *p is filled with what
 * PQsendQueryParams wants, in a userdata that replaces the value at `box` on the stack. Raises for what cannot be
 * sent. */
struct pg_params *l_pg_params(lua_State *L, int box, int first, const char *what);
/* Leaves the text of the value at idx on the stack in its place, nil for NULL; true when it is bytea. */
bool l_pg_to_text(lua_State *L, int idx, const char *what, int number);
int  l_pg_texts(lua_State *L);
int  l_pg_json(lua_State *L);
int  l_pg_bytea(lua_State *L);
void l_pg_value_register(lua_State *L);
/* Pushes a pg.value with the string at the top as its text (replaces it). */
void l_pg_push_value(lua_State *L, bool bytea);

/* ---- pg_encode.c ---- */

/* Appends the n values from index first as one row of COPY text. Raises for a value that cannot be stored; the buffer
 * is then as it was. */
void l_pg_encode_row(lua_State *L, struct buf *b, int first, int n);

/* ---- pg_text.c ---- */

enum pg_text_fault { PG_TEXT_FINE, PG_TEXT_NUL, PG_TEXT_UTF8 };

/* Looks for what PostgreSQL's UTF8 encoding refuses; *at is the byte offset of the first fault. */
enum pg_text_fault pg_text_check(const char *s, size_t n, size_t *at);
/* Appends s as a COPY TEXT field, checked as above. Sets *oom and returns PG_TEXT_FINE when memory is short. */
enum pg_text_fault pg_text_copy(struct buf *b, const char *s, size_t n, size_t *at, bool *oom);
/* Shortest text that reads back as the same double; PostgreSQL's spelling for what is not finite. Returns its
 * length. */
size_t pg_text_double(double d, char out[40]);

#endif
