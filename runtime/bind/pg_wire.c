/* pg_wire.c - reading the socket in step with libpq, with TLS in between or not. Owns nothing.
 *
 * Two things libpq 15 does not offer are needed below it. OpenSSL may hold bytes that the socket no longer shows: libpq
 * reads one record at a time, a PostgreSQL 17 server sends records larger than libpq's buffer, and an event loop would
 * wait for ever for a socket that stays silent. And during COPY IN nobody says that the server has sent an error. Both
 * are answered by the SSL object that PQgetssl() gives; its two functions are looked up in the libssl that libpq itself
 * has loaded, so that garun need not be linked with it. */
#include <dlfcn.h>
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include "bind/pg_conn.h"

void pg_wire_secure(struct pg_conn *c)
{
    if (!PQsslInUse(c->pg))
        return;
    c->ssl = PQgetssl(c->pg);
    *(void **)&c->ssl_pending = dlsym(RTLD_DEFAULT, "SSL_pending");
    *(void **)&c->ssl_peek = dlsym(RTLD_DEFAULT, "SSL_peek");
    if (!c->ssl_pending || !c->ssl_peek)
        c->ssl = NULL;
}

bool pg_consume(struct pg_conn *c)
{
    bool ok = PQconsumeInput(c->pg) != 0;

    while (ok && c->ssl && c->ssl_pending(c->ssl) > 0)
        ok = PQconsumeInput(c->pg) != 0;
    return ok;
}

bool pg_readable(const struct pg_conn *c)
{
    struct pollfd p = { .fd = PQsocket(c->pg), .events = POLLIN };

    return p.fd < 0 || poll(&p, 1, 0) > 0;
}

int pg_peek(struct pg_conn *c)
{
    unsigned char first;
    ssize_t n;

    if (PQstatus(c->pg) == CONNECTION_BAD)
        return -1;
    if (PQsslInUse(c->pg)) {
        if (!c->ssl)
            return 0;
        ERR_clear_error();
        n = c->ssl_peek(c->ssl, &first, 1);
        ERR_clear_error();
        return n == 1 ? first : 0;      /* an end of the stream is found by the next write or read */
    }
    n = recv(PQsocket(c->pg), &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 1)
        return first;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}
