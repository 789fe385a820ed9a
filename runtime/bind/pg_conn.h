/* pg_conn.h - one PostgreSQL connection as the pg_*.c files share it. Private to them.
 *
 * The userdata a script holds is a struct pg_box; it owns the struct pg_conn, which owns the PGconn, the watch and all
 * results. A pool moves the pg_conn to a new box with every lease, so that an old handle cannot reach it any more.
 *
 * A call (db:query ...) runs inside l_pg_guard: enter -> ready -> send -> collect -> leave. Whatever leaves the call
 * without pg_leave(), a cancelled task above all, closes the connection: libpq's protocol state is then unknown to
 * us. */
#ifndef GARUN_PG_CONN_H
#define GARUN_PG_CONN_H

#include <lauxlib.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include "loop/loop.h"

#define PG_CONN  "garun.pg.conn"
#define PG_GRACE 5.0                /* seconds a cancelled statement has to end before its connection is closed */
#define PG_STMTS 128                /* prepared statements kept per connection */

enum pg_state {
    PG_NEW,                         /* not opened yet */
    PG_IDLE,                        /* ready for a command */
    PG_CALL,                        /* a call of `caller` is under way */
    PG_LISTEN,                      /* `caller` waits for a notification, nothing is in flight */
    PG_ROWS, PG_COPY_IN, PG_COPY_OUT,
    PG_DRAIN,                       /* a stream or COPY was left early: its results come before the next command's */
    PG_DEAD,                        /* closed or lost, `gone` says why */
};

enum pg_user_value { PG_UV_STMTS = 1, PG_UV_RELEASE = 2, PG_UV_COUNT = 2 };

struct pg_type {                    /* a type that is not built in, as read from pg_type */
    Oid  oid, elem;                 /* elem: base type of an array's elements, else 0 */
    char name[64];
};

struct pg_stmt {
    uint64_t used;                  /* time of last use by the connection's call counter, 0 = free slot */
    unsigned name;                  /* garun_<name> on the server, 0 while not prepared */
    bool     described;             /* its result types are known */
};

struct pg_cancel;
struct pg_copy;

struct pg_conn {
    struct garun    *g;
    PGconn          *pg;
    void            *ssl;           /* libpq's SSL object, NULL in clear text; not owned */
    int            (*ssl_pending)(const void *ssl);
    int            (*ssl_peek)(void *ssl, void *out, int n);
    struct watch    *watch;         /* on a dup of libpq's socket */
    ino_t            ino;           /* identity of that socket: libpq may open another one under the same number */
    enum pg_state    state;
    lua_State       *caller;        /* the coroutine whose call is under way */
    const char      *what;          /* "pg:query", for errors */
    bool             close_wanted;  /* closed by another task while a call waits */
    bool             drain;         /* set by enter: results of a left stream are to be read first */
    bool             discard;       /* results are thrown away as they come */
    bool             stop_at_copy;  /* collecting ends where a COPY begins */
    bool             copy_out;      /* inside COPY OUT data that is thrown away */
    bool             copy_refused;  /* a COPY began in a call that cannot run one */
    bool             in_tx;         /* the stream or COPY began inside a transaction */
    bool             notice_seen;   /* set by the notice receiver */
    unsigned         serial;        /* number of the latest stream or COPY: older objects are stale */

    double           deadline;      /* of the running call, loop_now() seconds, 0 = none */
    double           limit;         /* the timeout it came from, for the error text */
    bool             timed_out;
    struct pg_cancel *cancel;       /* a cancel request under way, NULL when none */

    lua_KFunction    k;             /* what follows the running collect */
    lua_KFunction    after;         /* what follows l_pg_ready */
    PGresult       **results;       /* of the running call, without errors */
    size_t           n_results, cap_results;
    PGresult        *fail;          /* its first error */
    int              want;          /* enum pg_want: what the call returns */
    unsigned         new_name;      /* of the statement that is being prepared */
    struct pg_copy  *copying;       /* during copy:finish, which keeps it on its stack */
    int              slot;          /* its statement's slot, -1 when it has none */

    bool             nulls, numbers, arrays, prepare;           /* of the running call */
    bool             def_nulls, def_numbers, def_prepare;       /* of the connection */
    double           def_timeout;

    struct pg_stmt   stmts[PG_STMTS];
    uint64_t         calls;
    unsigned         stmt_names;
    unsigned         dealloc[PG_STMTS];  /* names to give back to the server */
    unsigned         n_dealloc;
    struct pg_type  *types;
    size_t           n_types;

    char             label[256];    /* user@host:port/database */
    char             statement[204];/* head of the running statement, for errors */
    char             gone[256];
    char             fatal_code[8]; /* a FATAL that came while nothing ran: libpq takes it for a notice */
    char             fatal[200];
};

struct pg_box { struct pg_conn *c; };

/* ---- pg_call.c ---- */

/* The open connection at idx; raises "connection is closed". */
struct pg_conn *l_pg_check(lua_State *L, int idx);
/* Begins a call; raises when the connection is closed or busy or when waiting is impossible here. */
struct pg_conn *l_pg_enter(lua_State *L, int idx, const char *what);
/* Ends it: results are freed, the state becomes `next`, or PG_DEAD when the connection is lost. */
void pg_leave(struct pg_conn *c, enum pg_state next);
/* Calls body with the arguments above the box at index 1 and closes the connection when it fails in mid-call. */
int  l_pg_guard(lua_State *L, lua_CFunction body);
/* Adds methods to the table at the top; the guarded ones run inside l_pg_guard. */
void l_pg_methods(lua_State *L, const luaL_Reg *reg, bool guarded);

/* Reads what an abandoned stream left behind, then continues in k. */
int  l_pg_ready(lua_State *L, struct pg_conn *c, lua_KFunction k);
/* Flushes what was sent, reads results to the end of the command, then continues in k(L, .., c). */
int  l_pg_collect(lua_State *L, struct pg_conn *c, lua_KFunction k);
/* One round of the above without waiting: true at the end, else *events is what to wait for. */
bool pg_collect(struct pg_conn *c, bool woken, int *events);
void pg_clear(struct pg_conn *c);
/* Takes a result (never NULL) into c->results or c->fail. */
void pg_keep(struct pg_conn *c, PGresult *res);
/* Closes for good; why is shown by later calls. */
void pg_kill(struct pg_conn *c, const char *why);
/* Leaves a stream or COPY OUT early: cancels outside a transaction, else leaves the rest to be read. Never waits. */
void pg_break_off(struct pg_conn *c);
/* The deadline passed: sends the cancel request, later gives up. False = given up, the connection is closed. */
bool pg_overdue(struct pg_conn *c);
/* Raises when another task closed the connection during this wait. */
void l_pg_still_open(lua_State *L, struct pg_conn *c);
/* Sets the running call's deadline; 0 = none. */
void pg_set_timeout(struct pg_conn *c, double seconds);
void pg_set_statement(struct pg_conn *c, const char *sql, size_t n);

/* ---- pg_conn.c ---- */

void l_pg_conn_methods(lua_State *L);
/* new() -> a connection that is not opened yet; move(conn) -> another handle, the old one is closed */
int  l_pg_new(lua_State *L);
int  l_pg_move(lua_State *L);
int  l_pg_on_close(lua_State *L);
int  l_pg_parse_dsn(lua_State *L);

/* ---- pg_query.c ---- */

enum pg_want { PG_WANT_ROWS, PG_WANT_ONE, PG_WANT_VALUE, PG_WANT_COUNT, PG_WANT_SCRIPT };

struct pg_opts { double timeout; int nulls, numbers, arrays, prepare; };    /* negative: the connection's default */

/* Reads the statement at idx, "sql" or { "sql", timeout = ... }, into *o; leaves the text there. Raises. */
void l_pg_sql(lua_State *L, int idx, const char *what, struct pg_opts *o);
/* Applies *o to the call that was entered; the text at sql_idx becomes the errors' statement. */
void l_pg_apply(lua_State *L, struct pg_conn *c, const struct pg_opts *o, int sql_idx);
/* Makes sure that the types of all results are known, then continues in k; what it reads for that is taken out
 * again. */
int  l_pg_types(lua_State *L, struct pg_conn *c, lua_KFunction k);
/* The call is over, its results stay until pg_clear: turning them into Lua values may raise without harm. */
void pg_settle(struct pg_conn *c);
/* True when the failure says that a prepared statement is out of date; it has not run then. */
bool pg_stale(const struct pg_conn *c);

/* ---- pg_error.c ---- */

/* Raises the error of a command (c->fail, or the lost connection) after leaving the call. */
int  l_pg_raise(lua_State *L, struct pg_conn *c) __attribute__((noreturn));
/* Raises *e with the statement added. */
int  l_pg_raise_err(lua_State *L, const struct pg_conn *c, const struct err *e) __attribute__((noreturn));
/* Fills *e from a failed connection attempt. */
void pg_connect_error(struct err *e, const struct pg_conn *c, const char *text);
/* "53300" and the like: may the same call succeed later? */
bool pg_retryable(const char *sqlstate);

/* ---- pg_wire.c ---- */

/* Notes what the next two need on a connection with TLS. */
void pg_wire_secure(struct pg_conn *c);
/* PQconsumeInput, and what OpenSSL holds back behind it. */
bool pg_consume(struct pg_conn *c);
/* True when the socket has something to read, or is closed. Does not wait. */
bool pg_readable(const struct pg_conn *c);
/* The first byte that libpq has not read yet, 0 when there is none, -1 at the end of the stream. */
int  pg_peek(struct pg_conn *c);

/* ---- pg_cancel.c ---- */

/* Asks the server from a thread to cancel the running statement; c->cancel is NULL again when that is done. */
bool pg_cancel_start(struct pg_conn *c);
/* Lets a running request go on without the connection. */
void pg_cancel_detach(struct pg_conn *c);
void l_pg_cancel_methods(lua_State *L);
int  l_pg_resolve(lua_State *L);

/* ---- pg_stmt.c ---- */

/* Finds or makes the slot of the SQL text at sql_idx; -1 when it is not cached, PG_STMTS added when it is new. */
int  l_pg_stmt_slot(lua_State *L, int box_idx, int sql_idx, struct pg_conn *c);
void l_pg_stmt_forget(lua_State *L, int box_idx, struct pg_conn *c, int slot);
void l_pg_stmt_forget_all(lua_State *L, int box_idx, struct pg_conn *c);
void pg_stmt_name(unsigned name, char out[24]);
/* True when unused names should be given back now; fills sql with the statements that do it. */
bool pg_stmt_deallocate(struct pg_conn *c, char *sql, size_t size);

/* ---- the method tables of the other files ---- */
void l_pg_query_methods(lua_State *L);
void l_pg_stream_methods(lua_State *L);
void l_pg_copy_in_methods(lua_State *L);
void l_pg_copy_out_methods(lua_State *L);
void l_pg_pipeline_methods(lua_State *L);
void l_pg_notify_methods(lua_State *L);

#endif
