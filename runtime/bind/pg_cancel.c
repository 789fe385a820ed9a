/* pg_cancel.c - what libpq 15 can only do blocking, on libuv's threads: cancel requests and name look-ups.
 *
 * PQcancel opens a second connection and waits for its end (manual 34.7). A request that is under way when the next
 * command is sent could hit that one, so a connection stays in its call until its request has been delivered. */
#include <arpa/inet.h>
#include <lauxlib.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include "bind/pg_conn.h"

struct pg_cancel {
    uv_work_t       req;
    PGcancel       *handle;
    struct garun   *g;
    struct pg_conn *c;          /* NULL when the connection is gone */
};

static void cancel_thread(uv_work_t *req)
{
    struct pg_cancel *p = req->data;
    char why[256];

    /* A refusal needs no report: the statement then runs into PG_GRACE and its connection is closed. */
    PQcancel(p->handle, why, sizeof why);
}

static void cancel_after(uv_work_t *req, int status)
{
    struct pg_cancel *p = req->data;

    (void)status;
    p->g->loop->works--;
    if (p->c) {
        p->c->cancel = NULL;
        if (p->c->watch)
            wait_done(&p->c->watch->wait);
    }
    PQfreeCancel(p->handle);
    free(p);
}

bool pg_cancel_start(struct pg_conn *c)
{
    struct pg_cancel *p;

    if (c->cancel)
        return true;
    p = calloc(1, sizeof *p);
    if (!p)
        return false;
    p->handle = PQgetCancel(c->pg);
    if (!p->handle) {
        free(p);
        return false;
    }
    p->req.data = p;
    p->g = c->g;
    p->c = c;
    c->cancel = p;
    c->g->loop->works++;        /* so that the end of the process does not wait for a server that does not answer */
    uv_queue_work(loop_uv(c->g), &p->req, cancel_thread, cancel_after);
    return true;
}

void pg_cancel_detach(struct pg_conn *c)
{
    if (c->cancel)
        c->cancel->c = NULL;
    c->cancel = NULL;
}

/* ---- db:cancel(), from another task than the one whose statement runs ---- */

struct cancel_work {
    struct work work;
    PGcancel   *handle;
    bool        ok;
    char        why[256];
};

static void cancel_work_run(struct work *w)
{
    struct cancel_work *cw = (struct cancel_work *)w;

    cw->ok = PQcancel(cw->handle, cw->why, sizeof cw->why) == 1;
}

static void cancel_work_dispose(struct work *w)
{
    struct cancel_work *cw = (struct cancel_work *)w;

    PQfreeCancel(cw->handle);
    free(cw);
}

static int l_cancel_k(lua_State *L, int status, lua_KContext ctx)
{
    struct cancel_work *cw = (struct cancel_work *)ctx;
    bool ok = cw->ok;
    struct err e;

    (void)status;
    if (!ok) {
        err_set(&e, "pg", "08006", "db:cancel: the cancel request did not get through: %.200s", cw->why);
        e.retryable = true;
    }
    work_release(&cw->work);
    if (!ok)
        l_raise(L, &e);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_cancel(lua_State *L)
{
    struct pg_conn *c = l_pg_check(L, 1);
    struct cancel_work *cw;

    if (c->state == PG_IDLE || c->state == PG_LISTEN || c->state == PG_DEAD || c->state == PG_NEW) {
        lua_pushboolean(L, 0);
        return 1;
    }
    l_wait_check(L, "db:cancel");
    cw = calloc(1, sizeof *cw);
    if (!cw)
        return l_raisef(L, "pg", "ENOMEM", "db:cancel: not enough memory");
    cw->handle = PQgetCancel(c->pg);
    cw->work.run = cancel_work_run;
    cw->work.dispose = cancel_work_dispose;
    if (!cw->handle) {
        free(cw);
        return l_raisef(L, "pg", "closed", "db:cancel: the connection is closed");
    }
    return wait_work(L, &cw->work, "db:cancel", l_cancel_k, (lua_KContext)cw);
}

static const luaL_Reg methods[] = {
    { "cancel", l_cancel },
    { NULL, NULL }
};

void l_pg_cancel_methods(lua_State *L)
{
    l_pg_methods(L, methods, false);
}

/* ---- host names ---- */

struct resolve_work {
    struct work      work;
    struct addrinfo *found;
    int              error;
    char             host[256];
};

static void resolve_run(struct work *w)
{
    struct resolve_work *r = (struct resolve_work *)w;
    const struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };

    r->error = getaddrinfo(r->host, NULL, &want, &r->found);
}

static void resolve_dispose(struct work *w)
{
    struct resolve_work *r = (struct resolve_work *)w;

    if (r->found)
        freeaddrinfo(r->found);
    free(r);
}

static int l_resolve_k(lua_State *L, int status, lua_KContext ctx)
{
    struct resolve_work *r = (struct resolve_work *)ctx;
    lua_Integer n = 0;
    struct err e;

    (void)status;
    if (r->error) {
        err_set(&e, "pg", "08001", "cannot look up the database's host \"%s\": %s", r->host, gai_strerror(r->error));
        snprintf(e.hint, sizeof e.hint, "check the name (POSTGRES_HOST) and this machine's DNS");
        e.retryable = r->error == EAI_AGAIN;
        work_release(&r->work);
        l_raise(L, &e);
    }
    lua_newtable(L);
    for (const struct addrinfo *a = r->found; a; a = a->ai_next) {
        char text[NI_MAXHOST];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0) {
            lua_pushstring(L, text);
            lua_rawseti(L, -2, ++n);
        }
    }
    work_release(&r->work);
    return 1;
}

/* resolve(host) -> its addresses as text, in the order of RFC 6724; raises when there is none. libpq's own look-up
 * would block the loop; it does none when it is given hostaddr. */
int l_pg_resolve(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);
    struct resolve_work *r;

    l_wait_check(L, "pg.connect");
    r = calloc(1, sizeof *r);
    if (!r)
        return l_raisef(L, "pg", "ENOMEM", "pg.connect: not enough memory");
    snprintf(r->host, sizeof r->host, "%s", host);
    r->work.run = resolve_run;
    r->work.dispose = resolve_dispose;
    return wait_work(L, &r->work, "pg.connect", l_resolve_k, (lua_KContext)r);
}
