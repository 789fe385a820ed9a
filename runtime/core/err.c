/* err.c - filling a struct err, below the Lua line: linked into the worker too, which has no Lua state to raise in.
 *
 * Owns nothing. What Lua sees of it is err_lua.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/err.h"

/* A text cut at its end may end within a UTF-8 sequence, which terminals, JSON and PostgreSQL all refuse. */
static void trim_partial(char *s)
{
    size_t n = strlen(s), i = n;
    while (i > 0 && n - i < 3 && ((unsigned char)s[i - 1] & 0xC0) == 0x80)
        i--;
    if (i == 0)
        return;
    unsigned char lead = (unsigned char)s[i - 1];
    size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (n - (i - 1) < want)
        s[i - 1] = '\0';
}

static void set(struct err *e, const char *kind, const char *code, const char *fmt, va_list ap)
{
    e->kind = kind;
    e->retryable = false;
    e->detail[0] = e->hint[0] = '\0';
    snprintf(e->code, sizeof e->code, "%s", code ? code : "");
    /* The arguments may point into *e itself ("%s: ...", e->message), so the text is made beside it. */
    char text[sizeof e->message];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n >= (int)sizeof text)
        trim_partial(text);
    memcpy(e->message, n < 0 ? "" : text, n < 0 ? 1 : strlen(text) + 1);
}

bool err_set(struct err *e, const char *kind, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(e, kind, code, fmt, ap);
    va_end(ap);
    return false;
}

/* Failures of the moment: the same call may go through when the peer, the network or the machine has recovered. */
static bool passes_by_itself(int errnum)
{
    switch (errnum) {
    case EAGAIN: case EINTR: case EBUSY: case ENOMEM: case ENOBUFS: case EMFILE: case ENFILE: case ETIMEDOUT:
    case ECONNREFUSED: case ECONNRESET: case ECONNABORTED: case EPIPE: case ENETDOWN: case ENETUNREACH: case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

bool err_errno(struct err *e, const char *kind, int errnum, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(e, kind, err_errno_name(errnum), fmt, ap);
    va_end(ap);

    char reason[128];
    const char *text = strerror_r(errnum, reason, sizeof reason);      /* GNU: may answer with a static string */
    size_t tail = strlen(text) + 2, n = strlen(e->message);
    if (n + tail >= sizeof e->message) {       /* the reason is worth more than the end of a long path */
        n = sizeof e->message - 1 - tail;
        e->message[n] = '\0';
        trim_partial(e->message);
        n = strlen(e->message);
    }
    snprintf(e->message + n, sizeof e->message - n, ": %s", text);
    e->retryable = passes_by_itself(errnum);
    return false;
}

const char *err_errno_name(int errnum)
{
    const char *name = strerrorname_np(errnum);
    if (name && errnum != 0)
        return name;
    static _Thread_local char number[16];
    snprintf(number, sizeof number, "E%d", errnum);
    return number;
}
