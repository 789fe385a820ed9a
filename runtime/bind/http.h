/* http.h - what the files of garun.core.http share: clients and calls.
 *
 * A client is malloc'ed and counted: one reference of its userdata, one of each call in use. A call is one transfer: its
 * easy handle, its timer and its buffers. Calls that are over are kept by their client for the next ones; the userdata
 * of a call points to it as long as it is in use. libcurl's callbacks fill the call and wake who waits; they never
 * touch Lua. */
#ifndef GARUN_HTTP_H
#define GARUN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <curl/curl.h>
#include <lua.h>
#include <uv.h>
#include "bind/curl_loop.h"
#include "core/buf.h"
#include "loop/loop.h"

#define HTTP_CLIENT "garun.http.client"
#define HTTP_CALL   "garun.http.call"

struct http_call;
struct http_sink;

struct http_client {
    int               refs;
    struct garun     *g;
    struct curl_loop *loop;            /* NULL once closed */
    CURLSH           *share;           /* TLS sessions, so that a new connection needs no full handshake */
    struct http_call *running;         /* started and not over */
    struct http_call *first, *last;    /* wait for their turn */
    struct http_call *idle;            /* kept for the next calls, linked by next */
    unsigned          count, max;      /* of running */
    unsigned          per_host;        /* 0: as many as max */
};

enum http_state { HTTP_IDLE, HTTP_QUEUED, HTTP_RUNNING, HTTP_ENDED };

/* Why we ended it ourselves. */
enum http_failure {
    HTTP_FINE, HTTP_TIMEOUT, HTTP_STALL, HTTP_TOO_LARGE, HTTP_NO_MEMORY, HTTP_REPLAY, HTTP_BAD_HEAD, HTTP_CLOSED, HTTP_DISK,
};

/* What the task that waits on a call waits for; it is woken for nothing else, but always at the end and when the
 * request's body is wanted. */
enum http_want { HTTP_WANT_NOTHING, HTTP_WANT_HEAD, HTTP_WANT_BYTES, HTTP_WANT_END };

struct http_call {
    struct curl_job     job;            /* these stay with the call from one transfer to the next */
    uv_timer_t          timer;
    struct buf          out;            /* request body that came in pieces and is not sent yet */
    struct buf          head;           /* lines of the final response's head, NUL after each */
    struct buf          body;           /* what came and was not read yet */
    lua_Integer         settings;       /* serial of the settings that the easy handle has; 0: none yet, -1: unknown */

    struct wait         wait;           /* from here on a transfer begins with zeros */
    struct http_client *client;
    struct http_call   *next, *prev;
    enum http_state     state;
    enum http_want      want;
    enum http_failure   failure;
    CURLcode            result;
    int                 disk_errno;     /* HTTP_DISK */
    bool                launched;       /* had its turn */
    bool                closed;         /* by the script while a task waits; goes with the userdata */

    char               *what;           /* "GET https://host/path", for errors; owned */
    char               *host;           /* "https://host:443"; owned */
    struct curl_slist  *lines;          /* request headers; owned */
    bool                idempotent;     /* libcurl may send it again on a new connection */
    unsigned            sent;           /* how often it began to send the request */
    double              deadline;       /* loop_now() seconds; 0: none */
    double              connect, stall, timeout;
    uint64_t            stirred;        /* uv_now() of the last byte */
    size_t              out_at;
    bool                out_ended, out_wanted;

    int                 status;
    char                version[8];     /* "1.1" */
    bool                head_done;
    size_t              body_at;
    bool                collect;        /* all of the body stays here: no back-pressure, but max */
    bool                paused;
    uint64_t            got, max;       /* bytes of the body so far, and the most there may be */
    struct http_sink   *sink;           /* takes the body instead; its own reference */
    char                text[CURL_ERROR_SIZE];
};

/* http.c */
void http_client_unref(struct http_client *c);

/* http_call.c */
int  l_http_start(lua_State *L);                      /* client:start */
void http_call_callbacks(struct http_call *c);        /* tells the easy handle of them */
void http_call_type(lua_State *L);                    /* makes the metatable */
void http_call_free(struct http_call *c);             /* an idle one */
void http_call_fail(struct http_call *c, enum http_failure why);      /* ends it; not from libcurl's callbacks */
void http_call_resume(struct http_call *c);           /* goes on with the body; not from libcurl's callbacks */
void http_call_next(struct http_client *client);      /* starts who waits and may */

/* http_setup.c: sets what the tables request (at idx) and settings (at idx + 1) say. Field serial of the settings is a
 * number of their own: a handle that has them is spared the setting. false and *e on failure. */
bool http_setup(lua_State *L, int idx, struct http_call *c, struct err *e);

/* http_head.c */
size_t http_head_line(char *line, size_t one, size_t len, void *call);    /* CURLOPT_HEADERFUNCTION */
int    l_http_head(lua_State *L, const struct http_call *c);              /* pushes status, version, headers */

/* http_error.c */
void http_error(const struct http_call *c, struct err *e);

/* http_url.c: adds `url` to the table on top of the stack */
void http_url_function(lua_State *L);

#endif
