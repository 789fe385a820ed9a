/* crypto_text.h - bytes as text (hex, base64), for crypto.c. Functions called from Lua; they raise. */
#ifndef GARUN_CRYPTO_TEXT_H
#define GARUN_CRYPTO_TEXT_H

#include <stddef.h>
#include <lua.h>

int l_crypto_base64_encode(lua_State *L);
int l_crypto_base64_decode(lua_State *L);
int l_crypto_base64url_encode(lua_State *L);
int l_crypto_base64url_decode(lua_State *L);
int l_crypto_hex_encode(lua_State *L);
int l_crypto_hex_decode(lua_State *L);

/* Push the text of the bytes. */
void l_push_hex(lua_State *L, const unsigned char *bytes, size_t n);
void l_push_base64(lua_State *L, const unsigned char *bytes, size_t n);

/* The string argument i of fn; raises with the argument's name when it is none. */
const char *l_crypto_string(lua_State *L, int i, const char *fn, const char *name, size_t *len);

#endif
