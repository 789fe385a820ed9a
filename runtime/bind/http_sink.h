/* http_sink.h - the file that a download goes to. A sink is counted: its userdata, the call that fills it, and the write
 * that is on a thread. */
#ifndef GARUN_HTTP_SINK_H
#define GARUN_HTTP_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

struct http_call;
struct http_sink;

/* The open sink at idx; raises. */
struct http_sink *l_http_sink(lua_State *L, int idx);

/* The call fills it from now on; takes a reference for it. */
void http_sink_begin(struct http_sink *s, struct http_call *c);

/* Takes all n bytes or none: then the disk is slower than the network, and the call is resumed when it has caught up. */
bool http_sink_put(struct http_sink *s, const char *bytes, size_t n);

/* The call has ended: the rest goes to the disk, or is dropped. The call's waiter is woken when that is done. */
void http_sink_end(struct http_sink *s, bool flush);

/* The call is given back: what it has not written is dropped, and its reference. */
void http_sink_leave(struct http_sink *s);

/* Nothing of it is on its way to the disk. */
bool http_sink_idle(const struct http_sink *s);

/* Adds `sink` to the table on top of the stack. */
void http_sink_functions(lua_State *L);

#endif
