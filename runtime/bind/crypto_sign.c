/* crypto_sign.c - crypto.sign: signatures with a private key in PEM, for tokens (JWT).
 *
 * Owns nothing between calls: the key is parsed, used and freed in one, and what OpenSSL held of it is wiped by its
 * free functions. RS256 is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3), which is what Google and OAuth servers take.
 * Error texts never quote the key; keys under a passphrase are refused, for there is nobody to ask. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <lauxlib.h>
#include "bind/crypto_sign.h"
#include "bind/crypto_text.h"
#include "core/err.h"

/* RFC 7518, 3.3: "A key of size 2048 bits or larger MUST be used"; OpenSSL verifies up to 16384. */
enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 16384, PEM_MAX = 1 << 20 };

static const char FN[] = "crypto.sign";

/* Without this OpenSSL asks for the passphrase on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool fail_openssl(struct err *e, const char *code, const char *what)
{
    unsigned long first = ERR_get_error();
    const char *reason = first ? ERR_reason_error_string(first) : NULL;
    ERR_clear_error();
    return err_set(e, "crypto", code, "%s: %s%s%s", FN, what, reason ? ": " : "", reason ? reason : "");
}

static EVP_PKEY *read_key(const char *pem, size_t len, struct err *e)
{
    bool asked = false;
    if (len > PEM_MAX) {
        err_set(e, "crypto", "key", "%s: the key is larger than %d bytes: it is no private key", FN, PEM_MAX);
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)len);      /* reads from pem, no copy */
    if (!bio) {
        fail_openssl(e, "ENOMEM", "not enough memory");
        return NULL;
    }
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    BIO_free(bio);
    if (key)
        return key;
    if (asked) {
        ERR_clear_error();
        err_set(e, "crypto", "key", "%s: the private key is protected by a passphrase", FN);
        snprintf(e->hint, sizeof e->hint, "give the key itself: openssl pkey -in key.pem -out plain.pem");
        return NULL;
    }
    fail_openssl(e, "key", "the key is no private key in PEM");
    snprintf(e->hint, sizeof e->hint, "it begins with -----BEGIN PRIVATE KEY----- and has line breaks; in JSON these are \\n");
    return NULL;
}

/* *sig_len: the room at sig before, the signature's length after. */
static bool sign_rs256(const char *pem, size_t pem_len, const char *data, size_t len, unsigned char *sig, size_t *sig_len,
                       struct err *e)
{
    bool ok = false;
    EVP_MD_CTX *md = NULL;
    EVP_PKEY *key = read_key(pem, pem_len, e);
    if (!key)
        goto out;
    int bits = EVP_PKEY_get_bits(key);
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        const char *name = EVP_PKEY_get0_type_name(key);
        err_set(e, "crypto", "key", "%s: RS256 needs an RSA key, this one is %s", FN, name ? name : "of another kind");
        goto out;
    }
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) {
        err_set(e, "crypto", "key", "%s: RS256 needs an RSA key of %d to %d bits, this one has %d", FN, RSA_BITS_MIN,
                RSA_BITS_MAX, bits);
        goto out;
    }
    md = EVP_MD_CTX_new();
    ok = md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
         EVP_DigestSign(md, sig, sig_len, (const unsigned char *)data, len) == 1;
    if (!ok)
        fail_openssl(e, "openssl", "OpenSSL cannot sign");
out:
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);         /* clears the numbers (BN_clear_free) */
    return ok;
}

/* sign(algorithm, key, data) -> raw signature */
int l_crypto_sign(lua_State *L)
{
    size_t n, pem_len, len;
    const char *algorithm = l_crypto_string(L, 1, FN, "algorithm", &n);
    const char *pem = l_crypto_string(L, 2, FN, "key", &pem_len);
    const char *data = l_crypto_string(L, 3, FN, "data", &len);
    unsigned char sig[RSA_BITS_MAX / 8];
    size_t sig_len = sizeof sig;
    struct err e;
    if (strcmp(algorithm, "RS256") != 0)
        return l_raisef(L, "usage", "argument", "%s: algorithm must be \"RS256\"", FN);
    if (!sign_rs256(pem, pem_len, data, len, sig, &sig_len, &e))
        return l_raise(L, &e);
    lua_pushlstring(L, (const char *)sig, sig_len);
    return 1;
}
