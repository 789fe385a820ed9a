/* json.h - the exact JSON codec below the module garun.json, for json_*.c and for bindings that carry JSON (pg).
 *
 * Nothing here waits or calls Lua code. Functions that fill a struct err raise on lack of memory only. */
#ifndef GARUN_JSON_H
#define GARUN_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>
#include "core/buf.h"
#include "core/err.h"

enum { JSON_DEPTH = 512, JSON_DOUBLE_MAX = 40 };

/* What becomes of a number that neither a Lua integer nor a float holds. */
enum json_big { JSON_BIG_STRING, JSON_BIG_FLOAT, JSON_BIG_ERROR };

/* All zero is the default of json.decode, except for excerpt. */
struct json_decode_options {
    enum json_big big;
    bool nulls;             /* null members become json.null instead of being absent */
    bool unique;            /* a key that comes twice in an object is an error */
    bool replace;           /* U+FFFD for broken UTF-8 and unpaired surrogates instead of an error */
    bool excerpt;           /* error texts quote the place; off for documents that hold secrets */
};

/* All zero is the default of json.encode. indent NULL writes one line. */
struct json_encode_options {
    const char *indent;     /* white space of one level; the caller's */
    size_t      indent_len;
    bool sort_keys;         /* bytewise; stable output */
    bool html;              /* < > & U+2028 U+2029 as \u escapes: safe inside a <script> element */
    bool replace;           /* U+FFFD for broken UTF-8 instead of an error */
};

/* Pushes the value of the document; false and nothing pushed with *e filled. text[len] must be readable and '\0', as
 * it is in Lua strings and in PGresult fields. */
bool json_decode(lua_State *L, const char *text, size_t len, const struct json_decode_options *o, struct err *e);

/* Appends the value at idx to *out; false with *e filled (*out then holds part of it). May raise on lack of memory:
 * *out must be owned by something that the collector frees. */
bool json_encode(lua_State *L, int idx, const struct json_encode_options *o, struct buf *out, struct err *e);

/* Pushes the value at idx as JSON text with the default options; raises. */
void l_json_push_text(lua_State *L, int idx);

/* Pushes the metatable that marks arrays (objects). */
void json_push_array_mark(lua_State *L);
void json_push_object_mark(lua_State *L);

/* ---- json_number.c: text and numbers, no Lua ---- */

enum json_number_kind { JSON_NUMBER_BAD, JSON_NUMBER_INTEGER, JSON_NUMBER_FLOAT, JSON_NUMBER_BIG };

/* Reads the number at *p (a digit or '-') and moves *p behind it, or to the offending byte for JSON_NUMBER_BAD. The
 * text must end with a byte that belongs to no number ('\0'). For BIG *f is the nearest float, perhaps infinite. */
enum json_number_kind json_number_read(const char **p, lua_Integer *i, double *f);

/* Writes the shortest text that reads back as the finite f and is a float in JSON ("1.0", "1e+300"); returns its
 * length. out has JSON_DOUBLE_MAX bytes; no '\0' is promised. */
size_t json_number_write(char *out, double f);

/* The same for an integer; at most 20 bytes. */
size_t json_integer_write(char *out, lua_Integer i);

/* Length (2-4) of the well-formed UTF-8 sequence of a non-ASCII character, 0 when it is malformed (RFC 3629). */
size_t json_utf8_length(const char *at, const char *end);

#endif
