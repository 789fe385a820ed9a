/* proc.h - a child process and its pipes, as proc.c and proc_pipe.c share them.
 *
 * struct proc is malloc'ed and counted: one reference of the Lua handle, one of each libuv handle that is not
 * closed yet. The Lua handle may go while the child still has to be ended; the callbacks see that through. */
#ifndef GARUN_PROC_H
#define GARUN_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>
#include <uv.h>
#include "core/buf.h"
#include "loop/loop.h"

struct proc;

struct proc_pipe {
    struct wait  wait;       /* the task that reads from it or writes to it */
    uv_pipe_t    uv;
    struct proc *proc;
    struct buf   buf;        /* what the child wrote and nobody has read yet */
    size_t       max;        /* collecting: how much may pile up; 0: back-pressure at PROC_HIGH */
    int          errnum;
    bool         open, reading, ended, overflow, writing, timed;
};

struct proc {
    int              refs;
    uv_process_t     process;
    uv_timer_t       alarm;      /* of the task that waits with a timeout */
    uv_timer_t       grace;      /* from SIGTERM to SIGKILL */
    struct wait      wait;       /* the task that waits for the end */
    struct proc_pipe pipes[3];   /* 0 we write to, 1 and 2 we read from */
    struct proc    **list, *prev, *next;   /* all that live, for the end of garun; list is NULL after it */
    int              pid;
    bool             group, detach, exited, closed, timed, process_open, timers_open;
    int              status, signal;
    double           grace_seconds;
    char            *name;
};

#define PROC_HIGH (256u << 10)

/* proc.c */
void proc_unref(struct proc *p);
struct proc *l_proc(lua_State *L, const char *fn);   /* the open process at index 1 */
void proc_terminate(struct proc *p);                 /* SIGTERM now, SIGKILL after the grace; once */
void proc_alarm(struct proc *p, double seconds, uv_timer_cb cb);

/* proc_pipe.c */
bool proc_pipe_open(struct proc *p, int number, int fd, uv_loop_t *loop, struct err *e);   /* owns fd when true */
void proc_pipe_close(struct proc_pipe *pipe);
bool proc_pipe_read(struct proc_pipe *pipe);         /* starts reading unless it is full or at its end */
void l_proc_pipe_methods(lua_State *L);              /* adds read, write ... to the table on top */

#endif
