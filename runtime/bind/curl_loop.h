/* curl_loop.h - libcurl's multi interface, driven by the libuv loop.
 *
 * A curl_loop has its own connections; jobs of one share them. Callbacks of libcurl (read, write, header, progress) run
 * from loop callbacks and from the functions below: they never touch Lua, they fill their object and call wait_done().
 * A job is a member of the object that owns the easy handle; both belong to the caller, and a job that runs must be
 * stopped before either is freed. */
#ifndef GARUN_CURL_LOOP_H
#define GARUN_CURL_LOOP_H

#include <stdbool.h>
#include <curl/curl.h>
#include "core/err.h"
#include "core/garun.h"

struct curl_loop;

struct curl_job {
    CURL *easy;                                           /* the caller's; CURLOPT_PRIVATE is taken by curl_loop */
    void (*done)(struct curl_job *j, CURLcode result);    /* the transfer has ended; from the loop only, once a start */
    struct curl_loop *loop;                               /* set while it runs, else NULL */
    bool keep;                                            /* stays in the multi handle after done(), until it is stopped:
                                                             curl_easy_send and _recv of CURLOPT_CONNECT_ONLY need that */
};

/* NULL and *e on failure. */
struct curl_loop *curl_loop_open(struct garun *g, struct err *e);

/* Closes all its connections now. No job may run. NULL is allowed. */
void curl_loop_close(struct curl_loop *c);

/* For curl_multi_setopt; the socket and timer callbacks are curl_loop's. */
CURLM *curl_loop_multi(struct curl_loop *c);

/* Starts the transfer; nothing of it happens before the next round of the loop. */
bool curl_loop_start(struct curl_loop *c, struct curl_job *j, struct err *e);

/* Ends it without done(); its connection is closed when the transfer had begun, or was kept. Nothing when it does not
 * run. */
void curl_loop_stop(struct curl_job *j);

/* Goes on after a callback has returned CURL_READFUNC_PAUSE or CURL_WRITEFUNC_PAUSE. May call callbacks before it
 * returns. Nothing when it does not run. */
void curl_loop_resume(struct curl_job *j);

#endif
