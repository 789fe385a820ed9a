/* sftp_key.c - what the Lua half needs to know of keys and cannot compute. Owns nothing. */
#include "bind/sftp.h"

#include <limits.h>
#include <string.h>
#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

/* hashed_name(salt, name) -> HMAC-SHA1, the form of names in a hashed known_hosts (sshd(8)) */
int l_sftp_hashed_name(lua_State *L)
{
    size_t salt_len, name_len;
    const char *salt = luaL_checklstring(L, 1, &salt_len), *name = luaL_checklstring(L, 2, &name_len);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (salt_len > INT_MAX || !HMAC(EVP_sha1(), salt, (int)salt_len, (const unsigned char *)name, name_len, out, &n))
        return l_raisef(L, "sftp", "openssl", "sftp.connect: OpenSSL cannot compute HMAC-SHA1");
    lua_pushlstring(L, (const char *)out, n);
    return 1;
}

static int on_passphrase(char *buf, int size, int rwflag, void *passphrase)
{
    (void)rwflag;
    size_t n = passphrase ? strlen(passphrase) : 0;
    if (n > (size_t)size)
        return -1;
    memcpy(buf, passphrase ? passphrase : "", n);
    return (int)n;
}

/* key_type(pem, passphrase or nil) -> "rsa", "ec", "ed25519", "other"; nil when OpenSSL cannot read it */
int l_sftp_key_type(lua_State *L)
{
    size_t len;
    const char *pem = luaL_checklstring(L, 1, &len);
    char *passphrase = (char *)(uintptr_t)luaL_optstring(L, 2, NULL);    /* on_passphrase only reads it */
    BIO *bio = BIO_new_mem_buf(pem, len > INT_MAX ? INT_MAX : (int)len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, passphrase) : NULL;
    const char *type = NULL;

    if (key) {
        int id = EVP_PKEY_get_base_id(key);
        type = id == EVP_PKEY_RSA ? "rsa" : id == EVP_PKEY_EC ? "ec" : id == EVP_PKEY_ED25519 ? "ed25519" : "other";
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    lua_pushstring(L, type);
    return 1;
}
