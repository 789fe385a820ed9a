/* sftp.h - one SFTP session, as the sftp_*.c files share it.
 *
 * libssh2 does SSH: key exchange, authentication, one channel. The SFTP protocol (version 3, draft-ietf-secsh-filexfer-02)
 * on that channel is spoken here and not by libssh2_sftp_*, whose calls allow one operation at a time, lose the session
 * when one is cut off (a call that returned EAGAIN must be repeated before any other), spin for ever when the server's
 * sftp process dies within a packet (sftp_packet_read, 1.10), hide the server's texts and extensions, know no
 * posix-rename@openssh.com, and ask for 30,000 bytes at a time.
 *
 * struct sftp is malloc'ed and counted: one reference of the Lua handle, one of each libuv handle that is not closed yet,
 * one of the step on a thread, one of each copy. It owns the descriptor, the libssh2 session and its channel. */
#ifndef GARUN_SFTP_H
#define GARUN_SFTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lua.h>
#include <libssh2.h>
#include <uv.h>
#include "core/buf.h"
#include "core/err.h"
#include "loop/loop.h"

#define SFTP_TYPE  "garun.sftp"          /* name of the metatable */
#define SFTP_LABEL 320                   /* user@host:port */

enum sftp_state { SFTP_OPENING, SFTP_OPEN, SFTP_DEAD };

enum sftp_packet {                       /* of the draft, section 3 */
    FXP_INIT = 1, FXP_VERSION = 2, FXP_OPEN = 3, FXP_CLOSE = 4, FXP_READ = 5, FXP_WRITE = 6,
    FXP_STATUS = 101, FXP_HANDLE = 102, FXP_DATA = 103,
};

enum { FX_OK = 0, FX_EOF = 1 };

struct sftp;

/* A request. The submitter owns it and its memory until done() is called, which happens once: for the reply, or for the
 * session's end (failed). done() runs on the loop, may submit others, never touches Lua. */
struct sftp_req {
    struct sftp_req *next;
    uint32_t         id;
    unsigned char   *head;               /* the packet from its length on; sftp_submit fills in length and id */
    const unsigned char *body;           /* what follows it, or NULL */
    size_t           head_len, body_len, sent;
    unsigned char   *sink;               /* where the bytes of a DATA reply go; NULL: into reply */
    size_t           sink_len;
    /* the reply */
    bool             failed;             /* the session ended; why it did is in sftp->why */
    uint8_t          type;
    uint32_t         status;             /* of a STATUS */
    size_t           got;                /* bytes in the sink, or in reply */
    unsigned char   *reply;              /* what follows the id; malloc'ed, done() frees it */
    void (*done)(struct sftp_req *r);
};

struct sftp_step;
struct piece;

struct sftp {
    int              refs;
    struct garun    *g;
    int              fd;
    enum sftp_state  state;
    struct err       why;                /* why it is dead */
    LIBSSH2_SESSION *ssh;
    LIBSSH2_CHANNEL *channel;
    char             label[SFTP_LABEL];
    double           timeout;            /* seconds without a byte after which an operation has stalled */
    struct piece    *pieces;             /* what libssh2 has allocated; sftp_alloc.c */
    size_t           memory;
    bool             final;              /* the Lua state is being closed: tasks may be gone */

    /* opening: one blocking-free libssh2 call at a time, on a thread */
    struct watch     *watch;
    struct sftp_step *step;
    bool              on_thread, trusted;
    atomic_bool       broken;            /* no byte goes in or out any more: makes libssh2 give up whatever it does */
    struct buf        hello;             /* what the server sent first, for explanations */
    double            deadline;          /* of connecting */

    /* open: requests in and out */
    uv_poll_t        poll;
    uv_timer_t       timer;
    int              armed;              /* events the poll waits for now */
    bool             polling, pumping;
    bool             must_read, must_write;   /* a packet of that call is half sent: it must be repeated first */
    bool             look;               /* sending has perhaps taken answers off the socket: look without waiting for it */
    long             budget;             /* bytes left for this turn of the loop */
    double           moved_at;           /* when a byte of the channel moved last, or a request found it idle */
    uint32_t         next_id;
    struct sftp_req *out_head, *out_tail;     /* not wholly sent */
    struct sftp_req *wait_head, *wait_tail;   /* sent, not answered */
    struct sftp_req *reading;            /* whose reply is being read */
    unsigned char    in[13];
    size_t           in_len;             /* of the header */
    size_t           frame;              /* bytes of the reply's rest; read so far is reading->got */
};

struct sftp_box {                        /* the userdata */
    struct sftp *s;
};

/* sftp_conn.c */
void sftp_ref(struct sftp *s);
void sftp_unref(struct sftp *s);
struct sftp *l_sftp(lua_State *L, const char *fn);       /* the session at index 1, alive; raises why it is not */
/* Ends the session: everybody who waits hears *e. Safe from any callback of the loop. */
void sftp_fail(struct sftp *s, const struct err *e);
/* Our name of an error number of libssh2: "CUT", "TIMEOUT", "KEX_FAILURE" ... */
const char *sftp_ssh_name(int rc);
/* *e for an error number of libssh2 while the session is used; its last text is taken along. */
void sftp_ssh_error(struct err *e, struct sftp *s, int rc);
int  sftp_events(const struct sftp *s);                  /* what libssh2 waits for, as UV_READABLE | UV_WRITABLE */
void sftp_release(struct sftp *s);                       /* frees libssh2's part of a dead session, as soon as it may */

/* sftp_alloc.c: libssh2's memory, with a struct sftp as the session's abstract */
LIBSSH2_ALLOC_FUNC(sftp_alloc);
LIBSSH2_REALLOC_FUNC(sftp_realloc);
LIBSSH2_FREE_FUNC(sftp_free);
void sftp_free_all(struct sftp *s);                      /* after the session has been freed */

/* sftp_dial.c, sftp_key.c */
int l_sftp_resolve(lua_State *L);
int l_sftp_dial(lua_State *L);
int l_sftp_hashed_name(lua_State *L);
int l_sftp_key_type(lua_State *L);

/* sftp_auth.c */
void l_sftp_auth_methods(lua_State *L);                  /* adds handshake ... to the table on top */

/* sftp_step.c */
void sftp_step_forget(struct sftp *s);                   /* frees the step that was cut off; not while on_thread */

/* sftp_wire.c */
bool sftp_wire_open(struct sftp *s, struct err *e);      /* starts the engine on an open channel */
void sftp_wire_close(struct sftp *s);                    /* ends all requests as failed; gives the handles back */
void sftp_submit(struct sftp *s, struct sftp_req *r);    /* queues; sftp_kick sends, the loop receives */
void sftp_kick(struct sftp *s);
bool sftp_withdraw(struct sftp *s, struct sftp_req *r);  /* true: no byte of it was sent, it is out of the queue */

/* sftp_call.c */
void l_sftp_call_methods(lua_State *L);
void sftp_close_handle(struct sftp *s, const unsigned char *handle, size_t len);    /* asks, does not wait */

/* sftp_copy.c */
void l_sftp_copy_methods(lua_State *L);
int  l_sftp_set_mtime(lua_State *L);

#endif
