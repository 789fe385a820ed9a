/* crypto.c - the module garun.crypto: digests, message authentication, random bytes.
 *
 * A digest object owns one OpenSSL or xxHash context. Everything cryptographic is OpenSSL's EVP; xxh128 is not
 * cryptographic: it detects change, not forgery. Signatures: crypto_sign.c. Bytes as text: crypto_text.c. */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <lauxlib.h>
#include <xxhash.h>
#include "bind/bind.h"
#include "bind/crypto_sign.h"
#include "bind/crypto_text.h"
#include "core/err.h"

enum { RANDOM_MAX = 1 << 20 };

struct digest {
    const char *name;           /* "crypto.sha256" */
    EVP_MD_CTX  *md;            /* one of the three is set */
    EVP_MAC_CTX *mac;
    XXH3_state_t *xxh;
    bool closed, finished;
};

static const char TYPE[] = "garun.crypto.digest";

static int l_openssl(lua_State *L, const char *fn)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return l_raisef(L, "crypto", "openssl", "%s: OpenSSL failed: %s", fn, reason ? reason : "no reason given");
}

/* Pushes the bytes as argument `form` asks: "hex" (default), "raw" or "base64". */
static int l_push_form(lua_State *L, const char *fn, int form, const unsigned char *bytes, size_t n)
{
    const char *name = "hex";
    if (!lua_isnoneornil(L, form)) {
        size_t len;
        name = l_crypto_string(L, form, fn, "form", &len);
    }
    if (strcmp(name, "hex") == 0)
        l_push_hex(L, bytes, n);
    else if (strcmp(name, "raw") == 0)
        lua_pushlstring(L, (const char *)bytes, n);
    else if (strcmp(name, "base64") == 0)
        l_push_base64(L, bytes, n);
    else
        return l_raisef(L, "usage", "argument", "%s: form must be \"hex\", \"raw\" or \"base64\", got \"%s\"", fn,
                        name);
    return 1;
}

/* ---- digest objects ---- */

static struct digest *push_digest(lua_State *L, const char *name)
{
    struct digest *d = lua_newuserdatauv(L, sizeof *d, 0);
    *d = (struct digest){ .name = name };
    luaL_setmetatable(L, TYPE);
    return d;
}

static void release(struct digest *d)
{
    EVP_MD_CTX_free(d->md);         /* all three accept NULL */
    EVP_MAC_CTX_free(d->mac);
    XXH3_freeState(d->xxh);
    d->md = NULL;
    d->mac = NULL;
    d->xxh = NULL;
}

static struct digest *l_digest(lua_State *L)
{
    struct digest *d = luaL_checkudata(L, 1, TYPE);
    if (d->closed)
        l_raisef(L, "usage", "closed", "%s: the digest is closed", d->name);
    if (d->finished)
        l_raisef(L, "usage", "closed", "%s: the digest is finished; make a new one", d->name);
    return d;
}

static int l_digest_update(lua_State *L)
{
    struct digest *d = l_digest(L);
    size_t n;
    const char *s = l_crypto_string(L, 2, d->name, "data", &n);
    bool ok = d->md ? EVP_DigestUpdate(d->md, s, n) == 1
            : d->mac ? EVP_MAC_update(d->mac, (const unsigned char *)s, n) == 1
            : XXH3_128bits_update(d->xxh, s, n) == XXH_OK;
    if (!ok)
        return l_openssl(L, d->name);
    lua_settop(L, 1);
    return 1;
}

static int l_digest_final(lua_State *L)
{
    struct digest *d = l_digest(L);
    unsigned char out[EVP_MAX_MD_SIZE];
    size_t len = sizeof out;
    bool ok = true;

    if (d->md) {
        unsigned n = 0;
        ok = EVP_DigestFinal_ex(d->md, out, &n) == 1;
        len = n;
    } else if (d->mac) {
        ok = EVP_MAC_final(d->mac, out, &len, sizeof out) == 1;
    } else {
        XXH128_canonicalFromHash((XXH128_canonical_t *)out, XXH3_128bits_digest(d->xxh));
        len = sizeof(XXH128_canonical_t);
    }
    d->finished = true;
    release(d);
    if (!ok)
        return l_openssl(L, d->name);
    return l_push_form(L, d->name, 2, out, len);
}

static int l_digest_close(lua_State *L)
{
    struct digest *d = luaL_checkudata(L, 1, TYPE);
    release(d);
    d->closed = true;
    return 0;
}

static int l_digest_tostring(lua_State *L)
{
    struct digest *d = luaL_checkudata(L, 1, TYPE);
    lua_pushfstring(L, "%s(%s)", d->name, d->closed ? "closed" : d->finished ? "finished" : "open");
    return 1;
}

/* ---- functions ---- */

/* name(data [, form]) gives the digest of data, name() a digest object. nil is not "no data": it is a mistake. */
static int l_hash(lua_State *L, const char *name, const EVP_MD *md)
{
    if (lua_isnone(L, 1)) {
        struct digest *d = push_digest(L, name);
        d->md = EVP_MD_CTX_new();
        if (!d->md || EVP_DigestInit_ex(d->md, md, NULL) != 1)
            return l_openssl(L, name);
        return 1;
    }
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    size_t n;
    const char *s = l_crypto_string(L, 1, name, "data", &n);
    if (EVP_Digest(s, n, out, &len, md, NULL) != 1)
        return l_openssl(L, name);
    return l_push_form(L, name, 2, out, len);
}

static int l_crypto_sha256(lua_State *L) { return l_hash(L, "crypto.sha256", EVP_sha256()); }
static int l_crypto_sha512(lua_State *L) { return l_hash(L, "crypto.sha512", EVP_sha512()); }
static int l_crypto_sha1(lua_State *L) { return l_hash(L, "crypto.sha1", EVP_sha1()); }

static int l_crypto_hmac_sha256(lua_State *L)
{
    static const char name[] = "crypto.hmac_sha256";
    char hash[] = "SHA256";
    size_t key_len, n = 0;
    const char *key = l_crypto_string(L, 1, name, "key", &key_len);
    const char *data = lua_isnone(L, 2) ? NULL : l_crypto_string(L, 2, name, "data", &n);

    lua_settop(L, 3);       /* key, data, form; the object comes behind them */
    struct digest *d = push_digest(L, name);
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    d->mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac);         /* the context holds it */
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0), OSSL_PARAM_construct_end(),
    };
    /* An empty key is a key: a NULL one would mean "the one from before". A Lua string is never NULL. */
    if (!d->mac || EVP_MAC_init(d->mac, (const unsigned char *)key, key_len, params) != 1)
        return l_openssl(L, name);
    if (!data)
        return 1;

    unsigned char out[EVP_MAX_MD_SIZE];
    size_t len = 0;
    bool ok = EVP_MAC_update(d->mac, (const unsigned char *)data, n) == 1
              && EVP_MAC_final(d->mac, out, &len, sizeof out) == 1;
    release(d);
    d->finished = true;
    return ok ? l_push_form(L, name, 3, out, len) : l_openssl(L, name);
}

static int l_crypto_xxh128(lua_State *L)
{
    static const char name[] = "crypto.xxh128";
    if (lua_isnone(L, 1)) {
        struct digest *d = push_digest(L, name);
        d->xxh = XXH3_createState();
        if (!d->xxh || XXH3_128bits_reset(d->xxh) != XXH_OK)
            return l_raisef(L, "crypto", "memory", "%s: not enough memory", name);
        return 1;
    }
    size_t n;
    const char *s = l_crypto_string(L, 1, name, "data", &n);
    XXH128_canonical_t out;     /* big endian, as xxhsum prints it */
    XXH128_canonicalFromHash(&out, XXH3_128bits(s, n));
    return l_push_form(L, name, 2, out.digest, sizeof out.digest);
}

static int l_crypto_random(lua_State *L)
{
    int exact = 0;
    lua_Integer n = lua_type(L, 1) == LUA_TNUMBER ? lua_tointegerx(L, 1, &exact) : 0;
    if (!exact || n < 1 || n > RANDOM_MAX)
        return l_raisef(L, "usage", "argument", "crypto.random: n must be an integer from 1 to %d", (int)RANDOM_MAX);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (size_t)n);
    if (RAND_bytes((unsigned char *)out, (int)n) != 1)
        return l_openssl(L, "crypto.random");
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int l_crypto_equal(lua_State *L)
{
    size_t na, nb;
    const char *a = l_crypto_string(L, 1, "crypto.equal", "a", &na);
    const char *b = l_crypto_string(L, 2, "crypto.equal", "b", &nb);
    lua_pushboolean(L, na == nb && CRYPTO_memcmp(a, b, na) == 0);
    return 1;
}

/* ---- the module ---- */

static const luaL_Reg METHODS[] = {
    { "update", l_digest_update },
    { "final", l_digest_final },
    { "close", l_digest_close },
    { NULL, NULL },
};

static const luaL_Reg METAMETHODS[] = {
    { "__close", l_digest_close },
    { "__gc", l_digest_close },
    { "__tostring", l_digest_tostring },
    { NULL, NULL },
};

static const luaL_Reg FUNCTIONS[] = {
    { "sha256", l_crypto_sha256 },
    { "sha512", l_crypto_sha512 },
    { "sha1", l_crypto_sha1 },
    { "hmac_sha256", l_crypto_hmac_sha256 },
    { "xxh128", l_crypto_xxh128 },
    { "random", l_crypto_random },
    { "equal", l_crypto_equal },
    { "sign", l_crypto_sign },
    { "base64_encode", l_crypto_base64_encode },
    { "base64_decode", l_crypto_base64_decode },
    { "base64url_encode", l_crypto_base64url_encode },
    { "base64url_decode", l_crypto_base64url_decode },
    { "hex_encode", l_crypto_hex_encode },
    { "hex_decode", l_crypto_hex_decode },
    { NULL, NULL },
};

int luaopen_garun_crypto(lua_State *L)
{
    if (luaL_newmetatable(L, TYPE)) {
        luaL_setfuncs(L, METAMETHODS, 0);
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
