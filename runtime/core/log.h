/* log.h - log records on standard error, and the one place where secrets are taken out of text.
 *
 * A record is one line and one write(2): `time=2024-01-05T06:00:00.123Z level=info msg="loaded" rows=12` (logfmt) or
 * the same as a JSON object. Whatever could end the line, move the cursor or reorder the text is escaped; every
 * registered secret is replaced by ***. A log that cannot be written (full disk, closed pipe) is never a reason to
 * fail: such lines are counted and the next one that gets through carries the number.
 *
 * The state (level, format, secrets) is one per process, as standard error is, and belongs to log.c; call from the
 * loop's thread only. Nothing here raises or touches Lua. */
#ifndef GARUN_LOG_H
#define GARUN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include "core/buf.h"
#include "core/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVELS };

/* level: "debug", "info", "warn" or "error"; format: "logfmt" or "json". NULL or "" leaves what is set (info, logfmt at
 * start). false and *e when a name is unknown; the text names the environment variable, for that is where it came
 * from. */
bool log_configure(const char *level, const char *format, struct err *e);

bool           log_enabled(enum log_level level);
enum log_level log_level_now(void);
const char    *log_level_name(enum log_level level);

/* The level of that name, -1 for an unknown one. */
int log_level_find(const char *name);

/* Writes one record; then follow pairs of const char *key, const char *value, closed by one NULL key:
 *     log_write(LOG_LEVEL_WARN, "worker ended", "signal", "SIGKILL", "lane", lane, NULL);
 * A pair whose value is NULL is left out. */
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

/* The same with typed values and lengths. The caller keeps everything. */
struct log_field {
    const char *key;
    size_t      key_len;
    const char *value;    /* text, or the number as it shall appear */
    size_t      value_len;
    bool        bare;     /* a number, true or false: JSON without quotes */
};
void log_emit(enum log_level level, const char *message, size_t len, const struct log_field *fields, size_t n);

/* Registers a value that must never be printed: itself, its percent-encoded form and, when it has several lines (a PEM
 * key), each long line of it. Keeps a copy. false when it is shorter than LOG_SECRET_MIN (replacing it would shred
 * every line) or memory is short. The same value twice costs nothing. */
#define LOG_SECRET_MIN 4u
bool log_secret_add(const char *bytes, size_t len);

/* Wipes and forgets all of them, and everything else log.c holds. For the end of the process and for tests. */
void log_free(void);

/* Appends text to *out with all secrets replaced by ***. false when memory is short; then *out is as it was. */
bool log_redact(struct buf *out, const char *text, size_t len);

/* Prints text on standard error for a person: redacted, control and bidi characters other than newline and tab escaped,
 * in one write(2), with a newline at the end when text has none. For main.c's last words and tracebacks. */
void log_print(const char *text, size_t len);

#endif
