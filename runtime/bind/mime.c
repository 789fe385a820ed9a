/* mime.c - garun.core.mime: the bytes of mails: quoted-printable, base64, dot-stuffing, domains in ASCII.
 *
 * Everything that reads a mail byte by byte is here; what a mail consists of is runtime/lua/garun/mail.lua. Pure but
 * for the strings it makes. Refuses to guess: a mail with a bare CR or LF is an error, for relays disagree on what such
 * a line end means, and that is how mails are smuggled into others (CVE-2023-51764). */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <lauxlib.h>
#include <idn2.h>
#include <openssl/evp.h>
#include "bind/bind.h"

enum {
    QP_LINE = 75,               /* and the "=" of a soft line break: 76 (RFC 2045, 6.7) */
    BASE64_LINE = 57,           /* bytes, 76 characters */
    WIRE_LINE = 998,            /* RFC 5321, 4.5.3.1.6, without CRLF */
};

/* ---- quoted-printable ---- */

static bool plain(unsigned char c)
{
    return (c > ' ' && c < 0x7f && c != '=') || c == ' ' || c == '\t';
}

/* Length of the line end at p, 0 when there is none: CRLF, LF and CR all are one. */
static size_t line_end(const char *p, const char *end)
{
    if (*p == '\r')
        return p + 1 < end && p[1] == '\n' ? 2 : 1;
    return *p == '\n' ? 1 : 0;
}

struct qp {
    char  *out;
    size_t len, column;
};

static void qp_put(struct qp *q, unsigned char c, bool escape)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t width = escape ? 3 : 1;

    if (q->column + width > QP_LINE) {
        memcpy(q->out + q->len, "=\r\n", 3);
        q->len += 3;
        q->column = 0;
    }
    if (escape) {
        q->out[q->len++] = '=';
        q->out[q->len++] = digits[c >> 4];
        q->out[q->len++] = digits[c & 15];
    } else {
        q->out[q->len++] = (char)c;
    }
    q->column += width;
}

/* Every third byte may be followed by a soft break: at most 3 + 3 * 3 / 75 characters a byte, taken as 4. */
static void l_push_qp(lua_State *L, const char *text, size_t len)
{
    const char *end = text + len;
    luaL_Buffer b;
    struct qp q = { .out = luaL_buffinitsize(L, &b, len * 4 + 16) };

    for (const char *p = text; p < end; p++) {
        size_t n = line_end(p, end);
        if (n) {
            q.out[q.len++] = '\r';
            q.out[q.len++] = '\n';
            q.column = 0;
            p += n - 1;
            continue;
        }
        bool escape = !plain((unsigned char)*p);
        if (*p == ' ' || *p == '\t')        /* relays may cut blanks at line ends */
            escape = p + 1 == end || line_end(p + 1, end);
        /* A line that begins with a dot or "From " is changed by those who stuff dots badly or keep mails in an mbox. */
        if (q.column == 0 && (*p == '.' || (*p == 'F' && end - p >= 5 && memcmp(p, "From ", 5) == 0)))
            escape = true;
        qp_put(&q, (unsigned char)*p, escape);
    }
    luaL_pushresultsize(&b, q.len);
}

/* ---- base64 ---- */

static void l_push_base64_lines(lua_State *L, const unsigned char *bytes, size_t len)
{
    size_t lines = (len + BASE64_LINE - 1) / BASE64_LINE, at = 0;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, lines * 78 + 4);

    for (size_t i = 0; i < len; i += BASE64_LINE) {
        size_t n = len - i < BASE64_LINE ? len - i : BASE64_LINE;
        if (i) {
            out[at++] = '\r';
            out[at++] = '\n';
        }
        at += (size_t)EVP_EncodeBlock((unsigned char *)out + at, bytes + i, (int)n);      /* writes a NUL behind it */
    }
    luaL_pushresultsize(&b, at);
}

/* base64(bytes) -> lines of 76 characters, without a line end behind the last one */
static int l_base64(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);

    l_push_base64_lines(L, (const unsigned char *)bytes, len);
    return 1;
}

/* text(text) -> "quoted-printable" or "base64", whichever is shorter, and the text in it; line ends become CRLF */
static int l_text(lua_State *L)
{
    size_t len, escapes = 0;
    const char *text = luaL_checklstring(L, 1, &len);

    for (size_t i = 0; i < len; i++)
        escapes += !plain((unsigned char)text[i]) && text[i] != '\n' && text[i] != '\r';
    if (escapes * 6 <= len) {                /* 2 characters more for each against a third more for all */
        lua_pushliteral(L, "quoted-printable");
        l_push_qp(L, text, len);
        return 2;
    }
    luaL_Buffer b;                           /* base64 keeps line ends as they are, and those of a mail are CRLF */
    char *out = luaL_buffinitsize(L, &b, len * 2);
    size_t at = 0;
    for (const char *p = text; p < text + len; p++) {
        size_t n = line_end(p, text + len);
        if (n) {
            out[at++] = '\r';
            out[at++] = '\n';
            p += n - 1;
        } else {
            out[at++] = *p;
        }
    }
    luaL_pushresultsize(&b, at);
    const char *canonical = lua_tolstring(L, -1, &len);
    lua_pushliteral(L, "base64");
    l_push_base64_lines(L, (const unsigned char *)canonical, len);
    return 2;
}

/* ---- for the wire ---- */

static bool eight_bit(const char *bytes, size_t len)
{
    uint64_t any = 0, word;
    size_t i = 0;

    for (; i + sizeof word <= len; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        any |= word;
    }
    for (; i < len; i++)
        any |= (uint64_t)(unsigned char)bytes[i] << 56;
    return (any & UINT64_C(0x8080808080808080)) != 0;
}

/* Looks at each line. NULL when all is well; *dots counts lines that begin with a dot. */
static const char *look(const char *bytes, size_t len, size_t *dots, size_t *at)
{
    const char *p = bytes, *end = bytes + len;

    *dots = 0;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf ? lf : end, *cr = memchr(p, '\r', (size_t)(stop - p));
        *at = (size_t)((cr ? cr : stop) - bytes) + 1;
        if (cr && cr + 1 != stop)
            return "a CR without LF";
        if (lf && !cr)
            return "an LF without CR";
        if (cr && !lf)
            return "a CR without LF";
        if ((cr ? cr : stop) - p > WIRE_LINE)
            return "a line of more than 998 bytes that ends";
        *dots += *p == '.';
        p = stop + 1;
    }
    const char *nul = len ? memchr(bytes, '\0', len) : NULL;
    *at = nul ? (size_t)(nul - bytes) + 1 : 0;
    return nul ? "a NUL" : NULL;
}

/* wire(mail) -> the mail with dots stuffed and CRLF at its end, whether it has bytes from 0x80;
 *            nil, what is wrong, at which byte */
static int l_wire(lua_State *L)
{
    size_t len, dots, at;
    const char *bytes = luaL_checklstring(L, 1, &len);
    const char *wrong = look(bytes, len, &dots, &at);
    bool ends = len >= 2 && bytes[len - 2] == '\r';      /* look() has seen to the LF */

    if (wrong) {
        lua_pushnil(L);
        lua_pushstring(L, wrong);
        lua_pushinteger(L, (lua_Integer)at);
        return 3;
    }
    if (dots == 0 && ends) {
        lua_pushvalue(L, 1);
    } else {
        luaL_Buffer b;
        char *out = luaL_buffinitsize(L, &b, len + dots + 2);
        size_t n = 0;
        for (const char *p = bytes, *end = bytes + len; p < end;) {
            const char *lf = memchr(p, '\n', (size_t)(end - p));
            size_t line = (size_t)((lf ? lf + 1 : end) - p);
            if (*p == '.')
                out[n++] = '.';
            memcpy(out + n, p, line);
            n += line;
            p += line;
        }
        if (!ends) {
            out[n++] = '\r';
            out[n++] = '\n';
        }
        luaL_pushresultsize(&b, n);
    }
    lua_pushboolean(L, eight_bit(bytes, len));
    return 2;
}

/* ---- domains ---- */

/* domain(name) -> its ASCII form (IDNA 2008, UTS 46); nil and why there is none */
static int l_domain(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    char *ascii = NULL;
    int r = len == strlen(name) ? idn2_to_ascii_8z(name, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL)
                                : IDN2_ENCODING_ERROR;

    if (r != IDN2_OK) {
        lua_pushnil(L);
        lua_pushstring(L, idn2_strerror(r));
        return 2;
    }
    lua_pushstring(L, ascii);
    idn2_free(ascii);
    return 1;
}

int luaopen_garun_core_mime(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "text", l_text },
        { "base64", l_base64 },
        { "wire", l_wire },
        { "domain", l_domain },
        { NULL, NULL },
    };

    luaL_newlib(L, functions);
    return 1;
}
