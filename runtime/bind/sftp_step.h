/* sftp_step.h - one libssh2 call while a session is being opened, as sftp_auth.c makes and sftp_step.c runs it.
 *
 * The session owns its step, of which there is one at a time; it is freed when the call has ended or the session has. */
#ifndef GARUN_SFTP_STEP_H
#define GARUN_SFTP_STEP_H

#include "bind/sftp.h"

struct sftp_step {
    struct work  work;
    struct sftp *s;
    int        (*fn)(struct sftp_step *st);      /* on a thread; LIBSSH2_ERROR_EAGAIN: call it again */
    int        (*push)(lua_State *L, struct sftp_step *st);   /* pushes results after `true`; may be NULL */
    const char  *what;
    int          rc;
    int          stage;                          /* for fn */
    char        *user, *secret, *pass;           /* owned, wiped */
    size_t       user_len, secret_len, pass_len;
    const char  *list;                           /* libssh2's */
    void        *own;                            /* fn's, freed by drop(own) */
    void       (*drop)(void *own);
};

/* Runs fn with the strings at the stack's 2, 3 and 4 (nil: none) to its end. Use as `return`. The call's results are true
 * and what push pushes; or nil, our name of the error and libssh2's text. */
int l_sftp_step(lua_State *L, const char *what, int (*fn)(struct sftp_step *),
                int (*push)(lua_State *, struct sftp_step *));

/* Pushes nil, name, text for an error number of libssh2; the step, if any, is over. */
int l_sftp_step_failed(lua_State *L, struct sftp *s, int rc);

#endif
