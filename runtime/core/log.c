/* log.c - see log.h. Owns the process's log state: level, format, the registered secrets and two reused line buffers.
 *
 * Every text goes through three steps in this order: redact (on the bytes as they came, for escaping would hide a
 * secret that holds a quote), cut, escape. Refuses to open files, rotate or buffer: that is what the supervisor does
 * with standard error. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "core/log.h"

#define VALUE_MAX      8192u           /* bytes of one message or value; what is longer is cut */
#define SECRET_LINE    16u             /* shortest line of a secret of several lines that counts as one itself */
#define KEEP_MAX       (64u << 10)     /* a line buffer that grew beyond this is given back */
#define WRITE_WAIT_MS  1000            /* how long a full pipe may hold a record up before it is dropped */
#define SLICE          4096u           /* PIPE_BUF */

enum style { STYLE_PLAIN, STYLE_LOGFMT, STYLE_JSON };

struct secret {
    char  *bytes;
    size_t len;
};

struct log_state {
    enum log_level level;
    bool           json;
    struct secret *secrets;            /* longest first */
    size_t         nsecrets, cap;
    bool           first[256];         /* bytes that begin a secret */
    unsigned long  lost;               /* records that could not be written */
    bool           partial;            /* the last of them was cut short */
    struct buf     line, clean;
};

static struct log_state state = { .level = LOG_LEVEL_INFO };

static const char *const level_names[LOG_LEVELS] = { "debug", "info", "warn", "error" };


/* ---- levels and format ---- */

int log_level_find(const char *name)
{
    for (int i = 0; i < LOG_LEVELS; i++) {
        if (strcmp(name, level_names[i]) == 0)
            return i;
    }
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_enabled(enum log_level level)
{
    return level >= state.level;
}

enum log_level log_level_now(void)
{
    return state.level;
}

bool log_configure(const char *level, const char *format, struct err *e)
{
    enum log_level new_level = state.level;
    bool new_json = state.json;
    if (level && *level) {
        int found = log_level_find(level);
        if (found < 0)
            return err_set(e, "log", "level",
                           "GARUN_LOG_LEVEL: unknown level '%.40s'; it is debug, info, warn or error", level);
        new_level = (enum log_level)found;
    }
    if (format && *format) {
        new_json = strcmp(format, "json") == 0;
        if (!new_json && strcmp(format, "logfmt") != 0)
            return err_set(e, "log", "format", "GARUN_LOG_FORMAT: unknown format '%.40s'; it is logfmt or json",
                           format);
    }
    state.level = new_level;
    state.json = new_json;
    return true;
}


/* ---- secrets ---- */

static bool secret_keep(const char *bytes, size_t len)
{
    if (len < LOG_SECRET_MIN)
        return false;
    size_t at = 0;
    for (; at < state.nsecrets && state.secrets[at].len >= len; at++) {
        if (state.secrets[at].len == len && memcmp(state.secrets[at].bytes, bytes, len) == 0)
            return true;
    }
    if (state.nsecrets == state.cap) {
        size_t cap = state.cap ? state.cap * 2 : 16;
        struct secret *grown = realloc(state.secrets, cap * sizeof *grown);
        if (!grown)
            return false;
        state.secrets = grown;
        state.cap = cap;
    }
    char *copy = malloc(len);
    if (!copy)
        return false;
    memcpy(copy, bytes, len);
    memmove(state.secrets + at + 1, state.secrets + at, (state.nsecrets - at) * sizeof *state.secrets);
    state.secrets[at] = (struct secret){ .bytes = copy, .len = len };
    state.nsecrets++;
    state.first[(unsigned char)bytes[0]] = true;
    return true;
}

/* A secret that travels in a URL or a form turns up percent-encoded in what libcurl and servers say about it. */
static bool secret_keep_encoded(const char *bytes, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    char *encoded = malloc(3 * len);
    if (!encoded)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
                     c == '.' || c == '_' || c == '~';                              /* RFC 3986, unreserved */
        if (plain) {
            encoded[n++] = (char)c;
        } else {
            encoded[n++] = '%';
            encoded[n++] = hex[c >> 4];
            encoded[n++] = hex[c & 15];
        }
    }
    bool ok = n == len || secret_keep(encoded, n);
    explicit_bzero(encoded, n);
    free(encoded);
    return ok;
}

bool log_secret_add(const char *bytes, size_t len)
{
    if (!secret_keep(bytes, len) || !secret_keep_encoded(bytes, len))
        return false;
    if (!memchr(bytes, '\n', len))
        return true;
    bool ok = true;
    for (const char *at = bytes, *end = bytes + len; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        if (n >= SECRET_LINE && memcmp(at, "-----", 5) != 0)
            ok = secret_keep(at, n) && ok;
        at += n + 1;
    }
    return ok;
}

/* Length of the longest secret that text begins with, 0 for none. */
static size_t secret_at(const char *text, size_t len)
{
    if (!state.first[(unsigned char)*text])
        return 0;
    for (size_t i = 0; i < state.nsecrets; i++) {
        const struct secret *s = &state.secrets[i];
        if (s->len <= len && memcmp(text, s->bytes, s->len) == 0)
            return s->len;
    }
    return 0;
}

bool log_redact(struct buf *out, const char *text, size_t len)
{
    size_t before = out->len;
    size_t kept = 0;        /* text[0 .. kept) is dealt with */
    if (!state.nsecrets)
        return buf_put(out, text, len);
    for (size_t i = 0; i < len; i++) {
        size_t n = secret_at(text + i, len - i);
        if (!n)
            continue;
        /* Two secrets may overlap: the run ends where no secret that begins inside it reaches further. */
        size_t end = i + n;
        for (size_t j = i + 1; j < end; j++) {
            size_t more = secret_at(text + j, len - j);
            if (j + more > end)
                end = j + more;
        }
        if (!buf_put(out, text + kept, i - kept) || !buf_put(out, "***", 3)) {
            out->len = before;
            return false;
        }
        kept = end;
        i = end - 1;
    }
    if (!buf_put(out, text + kept, len - kept)) {
        out->len = before;
        return false;
    }
    return true;
}


/* ---- escaping ---- */

/* Decodes one well-formed UTF-8 sequence (RFC 3629); 0 when text does not begin with one. */
static size_t utf8_decode(const unsigned char *s, size_t len, uint32_t *cp)
{
    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len < n)
        return 0;
    uint32_t c = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
        return 0;
    *cp = c;
    return n;
}

/* Characters that move a terminal's cursor, reorder what is read, or cannot be seen. */
static bool is_hostile(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

static bool put_code(struct buf *out, uint32_t c, enum style style)
{
    char text[16];
    int n;
    if (c == '\n' || c == '\r' || c == '\t')
        n = snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (c < 0x100 && style != STYLE_JSON)
        n = snprintf(text, sizeof text, "\\x%02x", c);
    else if (c < 0x10000)
        n = snprintf(text, sizeof text, "\\u%04x", c);
    else if (style == STYLE_JSON)
        n = snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
    else
        n = snprintf(text, sizeof text, "\\U%08x", c);
    return buf_put(out, text, (size_t)n);
}

static bool put_escaped(struct buf *out, const char *text, size_t len, enum style style)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t kept = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t n = utf8_decode(s + i, len - i, &c);
        bool as_is = n && !is_hostile(c) && (style == STYLE_PLAIN || (c != '"' && c != '\\'));
        if (style == STYLE_PLAIN && (c == '\n' || c == '\t') && n)
            as_is = true;
        if (as_is) {
            i += n;
            continue;
        }
        bool ok = buf_put(out, text + kept, i - kept);
        if (n && (c == '"' || c == '\\'))
            ok = ok && buf_put(out, "\\", 1) && buf_put(out, text + i, 1);
        else if (n)
            ok = ok && put_code(out, c, style);
        else if (style == STYLE_JSON)
            ok = ok && buf_put(out, "\\ufffd", 6);
        else
            ok = ok && put_code(out, s[i], style);
        if (!ok)
            return false;
        i += n ? n : 1;
        kept = i;
    }
    return buf_put(out, text + kept, len - kept);
}

/* logfmt needs no quotes around what has no space, quote, = or escape. */
static bool is_bare(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '=' || text[i] == '\\')
            return false;
    }
    return len > 0;
}


/* ---- records ---- */

/* Redacts and cuts into state.clean. *changed tells whether a secret was in it. */
static bool clean(const char *text, size_t len, bool *changed)
{
    state.clean.len = 0;
    if (!log_redact(&state.clean, text, len))
        return false;
    *changed = state.clean.len != len || memcmp(state.clean.data ? state.clean.data : "", text, len) != 0;
    if (state.clean.len <= VALUE_MAX || !state.clean.data)
        return true;
    size_t cut = VALUE_MAX;
    while (cut > VALUE_MAX - 4 && ((unsigned char)state.clean.data[cut] & 0xc0) == 0x80)
        cut--;
    char note[48];
    int n = snprintf(note, sizeof note, "... (%zu bytes more)", state.clean.len - cut);
    state.clean.len = cut;
    return buf_put(&state.clean, note, (size_t)n);
}

static bool put_key(const char *key, size_t len)
{
    struct buf *line = &state.line;
    bool changed;
    if (!clean(key, len, &changed) || !buf_put(line, state.json ? "," : " ", 1))
        return false;
    const char *text = state.clean.data ? state.clean.data : "";
    size_t n = state.clean.len;
    /* A field cannot pose as what the record says itself. */
    bool ours = (n == 4 && memcmp(text, "time", 4) == 0) || (n == 5 && memcmp(text, "level", 5) == 0) ||
                (n == 3 && memcmp(text, "msg", 3) == 0);
    if (state.json)
        return buf_put(line, "\"", 1) && put_escaped(line, text, n, STYLE_JSON) && buf_put(line, ours ? "_\":" : "\":",
                                                                                           ours ? 3 : 2);
    if (!buf_reserve(line, n + 3))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool fine = c > ' ' && c <= '~' && c != '=' && c != '"' && c != '\\';
        buf_putc_unchecked(line, fine ? c : '_');
    }
    if (ours || n == 0)
        buf_putc_unchecked(line, '_');
    buf_putc_unchecked(line, '=');
    return true;
}

static bool put_value(const char *text, size_t len, bool bare)
{
    bool changed;
    if (!clean(text, len, &changed))
        return false;
    struct buf *line = &state.line;
    const char *bytes = state.clean.data ? state.clean.data : "";
    size_t n = state.clean.len;
    if (bare && !changed)
        return buf_put(line, bytes, n);
    if (!state.json && is_bare(bytes, n))
        return buf_put(line, bytes, n);
    return buf_put(line, "\"", 1) && put_escaped(line, bytes, n, state.json ? STYLE_JSON : STYLE_LOGFMT) &&
           buf_put(line, "\"", 1);
}

static bool put_head(enum log_level level)
{
    struct timespec now;
    struct tm tm;
    char text[96];
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || !gmtime_r(&now.tv_sec, &tm))
        return false;
    int n = snprintf(text, sizeof text,
                     state.json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\""
                                : "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     now.tv_nsec / 1000000, level_names[level]);
    return buf_put(&state.line, text, (size_t)n) && buf_put(&state.line, state.json ? ",\"msg\":" : " msg=",
                                                            state.json ? 7 : 5);
}

/* Standard error may be a pipe. A reader that is slow for a moment loses nothing; one that has stopped must not stop us,
 * and holds only the first record up. A pipe that is ready takes PIPE_BUF bytes without blocking (pipe(7)), and longer
 * writes are not atomic anyway; a file gets its record in one piece. */
static bool write_all(const char *bytes, size_t len)
{
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
    struct stat st;
    bool pipe = len > SLICE && fstat(STDERR_FILENO, &st) == 0 && !S_ISREG(st.st_mode);
    while (len) {
        int r = poll(&p, 1, state.lost ? 0 : WRITE_WAIT_MS);
        if (r == 0)
            return false;
        ssize_t n = r < 0 ? -1 : write(STDERR_FILENO, bytes, pipe && len > SLICE ? SLICE : len);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
            state.partial = len > 0;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            return false;
        }
    }
    return true;
}

static void shrink(struct buf *b)
{
    if (b->cap > KEEP_MAX)
        buf_free(b);
}

void log_emit(enum log_level level, const char *message, size_t len, const struct log_field *fields, size_t n)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    char lost[24];
    state.line.len = 0;
    bool ok = (!state.partial || buf_put(&state.line, "\n", 1)) && put_head(level) && put_value(message, len, false);
    for (size_t i = 0; ok && i < n; i++) {
        const struct log_field *f = &fields[i];
        if (f->value)
            ok = put_key(f->key, f->key_len) && put_value(f->value, f->value_len, f->bare);
    }
    if (ok && state.lost) {
        int digits = snprintf(lost, sizeof lost, "%lu", state.lost);
        ok = put_key("lost_lines", 10) && put_value(lost, (size_t)digits, true);
    }
    ok = ok && buf_put(&state.line, state.json ? "}\n" : "\n", state.json ? 2 : 1);
    if (ok && write_all(state.line.data, state.line.len))
        state.lost = 0;
    else
        state.lost++;
    shrink(&state.line);
    shrink(&state.clean);
    errno = saved;
}

void log_write(enum log_level level, const char *message, ...)
{
    struct log_field fields[32];
    size_t n = 0;
    va_list ap;
    va_start(ap, message);
    for (const char *key; n < sizeof fields / sizeof *fields && (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        if (value)
            fields[n++] = (struct log_field){ .key = key, .key_len = strlen(key), .value = value,
                                              .value_len = strlen(value) };
    }
    va_end(ap);
    log_emit(level, message, strlen(message), fields, n);
}

void log_print(const char *text, size_t len)
{
    struct buf *line = &state.line;
    line->len = state.clean.len = 0;
    bool ok = log_redact(&state.clean, text, len) &&
              put_escaped(line, state.clean.data ? state.clean.data : "", state.clean.len, STYLE_PLAIN);
    if (ok && (!line->len || line->data[line->len - 1] != '\n'))
        ok = buf_put(line, "\n", 1);
    static const char sorry[] = "garun: memory is too short to print an error\n";
    if (ok)
        write_all(line->data, line->len);
    else
        write_all(sorry, sizeof sorry - 1);
    shrink(line);
    shrink(&state.clean);
}

void log_free(void)
{
    for (size_t i = 0; i < state.nsecrets; i++) {
        explicit_bzero(state.secrets[i].bytes, state.secrets[i].len);
        free(state.secrets[i].bytes);
    }
    free(state.secrets);
    buf_free(&state.line);
    buf_free(&state.clean);
    state = (struct log_state){ .level = LOG_LEVEL_INFO };
}
