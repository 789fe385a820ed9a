/* uuid.c - the module garun.uuid: identifiers as the lower-case text of RFC 9562.
 *
 * Owns the state of version 7, one per Lua state, so that the identifiers of a process sort in the order of their
 * making. It makes versions 4 (random) and 7 (time and random); the others leak a host's address or are hashes. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <uuid/uuid.h>
#include <lauxlib.h>
#include "bind/bind.h"
#include "core/err.h"
#include "core/uuid7.h"

enum { TEXT = 36, BYTES = 16 };

static int push_text(lua_State *L, const uint8_t *bytes)
{
    char text[TEXT + 1];
    uuid_unparse_lower(bytes, text);
    lua_pushlstring(L, text, TEXT);
    return 1;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads the forms that PostgreSQL's uuid_in and others write: 8-4-4-4-12 or 32 hex digits, in any case, with braces or
 * the prefix urn:uuid:. */
static bool read_text(const char *s, size_t len, uint8_t *bytes)
{
    if (len > 9 && strncasecmp(s, "urn:uuid:", 9) == 0) {
        s += 9;
        len -= 9;
    } else if (len > 2 && s[0] == '{' && s[len - 1] == '}') {
        s++;
        len -= 2;
    }
    if (len == TEXT) {
        char text[TEXT + 1];
        memcpy(text, s, TEXT);
        text[TEXT] = '\0';
        return uuid_parse(text, bytes) == 0;
    }
    if (len != 2 * (size_t)BYTES)
        return false;
    for (int i = 0; i < BYTES; i++) {
        int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Reads the argument 1 of fn; raises when it is no UUID. */
static void l_bytes(lua_State *L, const char *fn, uint8_t *bytes)
{
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING)
        l_raisef(L, "usage", "argument", "%s: text must be a string, got %s", fn, luaL_typename(L, 1));
    const char *s = lua_tolstring(L, 1, &len);
    if (read_text(s, len, bytes))
        return;
    struct err e;
    char shown[41];
    size_t n = len < 40 ? len : 40;
    for (size_t i = 0; i < n; i++)      /* it may be anything, and a cut character is broken UTF-8 */
        shown[i] = s[i] >= 0x20 && s[i] < 0x7F ? s[i] : '.';
    shown[n] = '\0';
    err_set(&e, "uuid", "syntax", "\"%s\"%s is not a UUID", shown, len > n ? "..." : "");
    strcpy(e.hint, "a UUID has 32 hexadecimal digits, as in 0191e0b0-5a1c-7b5f-9c3a-0123456789ab");
    l_raise(L, &e);
}

static int l_uuid_v4(lua_State *L)
{
    uint8_t bytes[BYTES];
    uuid_generate_random(bytes);
    return push_text(L, bytes);
}

static int l_uuid_v7(lua_State *L)
{
    uint8_t bytes[BYTES];
    uuid7_make(lua_touserdata(L, lua_upvalueindex(1)), bytes);
    return push_text(L, bytes);
}

static int l_uuid_parse(lua_State *L)
{
    uint8_t bytes[BYTES];
    l_bytes(L, "uuid.parse", bytes);
    return push_text(L, bytes);
}

static int l_uuid_bytes(lua_State *L)
{
    uint8_t bytes[BYTES];
    l_bytes(L, "uuid.bytes", bytes);
    lua_pushlstring(L, (const char *)bytes, BYTES);
    return 1;
}

static int l_uuid_format(lua_State *L)
{
    size_t len = 0;
    const char *bytes = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (len != BYTES)
        return l_raisef(L, "usage", "argument", "uuid.format: bytes must be a string of 16 bytes, got %s%s",
                        luaL_typename(L, 1), bytes ? " of another length" : "");
    return push_text(L, (const uint8_t *)bytes);
}

static int l_uuid_is(lua_State *L)
{
    uint8_t bytes[BYTES];
    size_t len;
    luaL_checkany(L, 1);
    const char *s = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    lua_pushboolean(L, s && read_text(s, len, bytes));
    return 1;
}

static int l_uuid_version(lua_State *L)
{
    uint8_t bytes[BYTES];
    l_bytes(L, "uuid.version", bytes);
    lua_pushinteger(L, bytes[6] >> 4);
    return 1;
}

static int l_uuid_time(lua_State *L)
{
    uint8_t bytes[BYTES];
    l_bytes(L, "uuid.time", bytes);
    if (bytes[6] >> 4 != 7)
        return l_raisef(L, "uuid", "version", "this is version %d; only version 7 holds a time to be read",
                        bytes[6] >> 4);
    uint64_t ms = 0;        /* RFC 9562, 5.7: 48 bits of Unix milliseconds come first */
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | bytes[i];
    lua_pushnumber(L, (double)ms / 1000);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    { "v4", l_uuid_v4 },
    { "parse", l_uuid_parse },
    { "bytes", l_uuid_bytes },
    { "format", l_uuid_format },
    { "is", l_uuid_is },
    { "version", l_uuid_version },
    { "time", l_uuid_time },
    { NULL, NULL },
};

int luaopen_garun_uuid(lua_State *L)
{
    luaL_newlib(L, FUNCTIONS);
    struct uuid7 *state = lua_newuserdatauv(L, sizeof *state, 0);
    memset(state, 0, sizeof *state);
    lua_pushcclosure(L, l_uuid_v7, 1);
    lua_setfield(L, -2, "v7");
    lua_pushliteral(L, "00000000-0000-0000-0000-000000000000");
    lua_setfield(L, -2, "null");
    return 1;
}
