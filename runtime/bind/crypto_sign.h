/* crypto_sign.h - signatures, for crypto.c. */
#ifndef GARUN_CRYPTO_SIGN_H
#define GARUN_CRYPTO_SIGN_H

#include <lua.h>

/* sign(algorithm, key, data) -> raw signature. Called from Lua; raises. */
int l_crypto_sign(lua_State *L);

#endif
