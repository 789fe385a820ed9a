/* crypto_text.c - hex, base64 and base64url (RFC 4648), strict in what they read.
 *
 * A decoder that skips what it does not know, or accepts several texts for the same bytes, hides damage and makes
 * signatures ambiguous: white space, wrong padding and non-zero spare bits are errors. Error texts never quote the
 * input, which may be a key. */
#include <stdbool.h>
#include <string.h>
#include <lauxlib.h>
#include "bind/crypto_text.h"
#include "core/err.h"

static const char STANDARD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const char *l_crypto_string(lua_State *L, int i, const char *fn, const char *name, size_t *len)
{
    if (lua_type(L, i) != LUA_TSTRING)      /* a number would be hashed as its text, which one is seldom clear */
        l_raisef(L, "usage", "argument", "%s: %s must be a string, got %s", fn, name, luaL_typename(L, i));
    return lua_tolstring(L, i, len);
}

/* ---- hex ---- */

void l_push_hex(lua_State *L, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, 2 * n);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    luaL_pushresultsize(&b, 2 * n);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int l_crypto_hex_encode(lua_State *L)
{
    size_t n;
    const char *s = l_crypto_string(L, 1, "crypto.hex_encode", "bytes", &n);
    l_push_hex(L, (const unsigned char *)s, n);
    return 1;
}

int l_crypto_hex_decode(lua_State *L)
{
    size_t n;
    const char *s = l_crypto_string(L, 1, "crypto.hex_decode", "text", &n);
    if (n % 2)
        return l_raisef(L, "crypto", "hex", "crypto.hex_decode: an odd number of digits (%I)", (LUAI_UACINT)n);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, n / 2);
    for (size_t i = 0; i < n; i += 2) {
        int high = hex_value(s[i]), low = hex_value(s[i + 1]);
        if (high < 0 || low < 0)
            return l_raisef(L, "crypto", "hex", "crypto.hex_decode: byte %I is not a hexadecimal digit",
                            (LUAI_UACINT)(high < 0 ? i + 1 : i + 2));
        out[i / 2] = (char)(high << 4 | low);
    }
    luaL_pushresultsize(&b, n / 2);
    return 1;
}

/* ---- base64 ---- */

static void push_base64(lua_State *L, const unsigned char *s, size_t n, const char *alphabet, bool padded)
{
    size_t len = 0;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (n + 2) / 3 * 4);
    for (; n >= 3; s += 3, n -= 3) {
        unsigned v = (unsigned)s[0] << 16 | (unsigned)s[1] << 8 | s[2];
        out[len++] = alphabet[v >> 18];
        out[len++] = alphabet[v >> 12 & 63];
        out[len++] = alphabet[v >> 6 & 63];
        out[len++] = alphabet[v & 63];
    }
    if (n > 0) {
        unsigned v = (unsigned)s[0] << 16 | (n > 1 ? (unsigned)s[1] << 8 : 0);
        out[len++] = alphabet[v >> 18];
        out[len++] = alphabet[v >> 12 & 63];
        if (n > 1)
            out[len++] = alphabet[v >> 6 & 63];
        while (padded && len % 4)
            out[len++] = '=';
    }
    luaL_pushresultsize(&b, len);
}

void l_push_base64(lua_State *L, const unsigned char *bytes, size_t n) { push_base64(L, bytes, n, STANDARD, true); }

static int base64_value(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == (url ? '-' : '+') ? 62 : c == (url ? '_' : '/') ? 63 : -1;
}

static int l_decode(lua_State *L, const char *fn, bool url)
{
    size_t n;
    const char *s = l_crypto_string(L, 1, fn, "text", &n);
    size_t whole = n;
    while (n > 0 && whole - n < 2 && s[n - 1] == '=')
        n--;
    bool padded = n < whole;
    /* base64url comes without padding (RFC 7515); what has some must have it right */
    if (n % 4 == 1 || ((padded || !url) && whole % 4 != 0))
        return l_raisef(L, "crypto", "base64", "%s: the text is cut or its padding is wrong (%I bytes)", fn,
                        (LUAI_UACINT)whole);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, n / 4 * 3 + 3);
    size_t len = 0;
    unsigned v = 0, bits = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = base64_value(s[i], url);
        if (digit < 0)
            return l_raisef(L, "crypto", "base64", "%s: byte %I of the text is not a %s digit", fn, (LUAI_UACINT)i + 1,
                            url ? "base64url" : "base64");
        v = (v << 6 | (unsigned)digit) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (char)(v >> bits);
        }
    }
    if (v & ((1u << bits) - 1))
        return l_raisef(L, "crypto", "base64",
                        "%s: the last digit holds bits that belong to no byte; the text is damaged", fn);
    luaL_pushresultsize(&b, len);
    return 1;
}

int l_crypto_base64_encode(lua_State *L)
{
    size_t n;
    const char *s = l_crypto_string(L, 1, "crypto.base64_encode", "bytes", &n);
    push_base64(L, (const unsigned char *)s, n, STANDARD, true);
    return 1;
}

int l_crypto_base64url_encode(lua_State *L)
{
    size_t n;
    const char *s = l_crypto_string(L, 1, "crypto.base64url_encode", "bytes", &n);
    push_base64(L, (const unsigned char *)s, n, URL, false);
    return 1;
}

int l_crypto_base64_decode(lua_State *L) { return l_decode(L, "crypto.base64_decode", false); }
int l_crypto_base64url_decode(lua_State *L) { return l_decode(L, "crypto.base64url_decode", true); }
