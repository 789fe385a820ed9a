/* pg_conn.c - a connection's life: made, opened, asked about, moved to another handle, closed.
 *
 * Owns the PGconn and the watch. It opens one address only; which one, with which settings, and what the session is set
 * to afterwards, is policy and lives in runtime/lua/garun/pg.lua. */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "bind/pg_conn.h"
#include "core/log.h"
#include "core/opt.h"

/* NOTICE and the like, to the log; called from inside libpq, so neither Lua nor the connection may be touched. */
static void on_notice(void *arg, const PGresult *res)
{
    struct pg_conn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    enum log_level level = LOG_LEVEL_INFO;

    c->notice_seen = true;
    if (!severity)
        severity = "NOTICE";
    if (strcmp(severity, "DEBUG") == 0)
        level = LOG_LEVEL_DEBUG;
    else if (strcmp(severity, "WARNING") == 0 || strcmp(severity, "ERROR") == 0 || strcmp(severity, "FATAL") == 0)
        level = LOG_LEVEL_WARN;
    if (strcmp(severity, "FATAL") == 0) {
        const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        snprintf(c->fatal_code, sizeof c->fatal_code, "%s", state ? state : "");
        snprintf(c->fatal, sizeof c->fatal, "%s", text ? text : "");
    }
    log_write(level, text ? text : PQresultErrorMessage(res), "from", "postgres", "severity", severity, "code",
              PQresultErrorField(res, PG_DIAG_SQLSTATE), "detail", PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL),
              "database", c->label, (char *)NULL);
}

int l_pg_new(lua_State *L)
{
    struct pg_box *box = lua_newuserdatauv(L, sizeof *box, PG_UV_COUNT);

    box->c = NULL;
    luaL_setmetatable(L, PG_CONN);
    box->c = calloc(1, sizeof *box->c);
    if (!box->c)
        return l_raisef(L, "pg", "ENOMEM", "pg.connect: not enough memory");
    box->c->g = garun_of(L);
    box->c->def_prepare = true;
    return 1;
}

/* ---- open ---- */

/* Makes the watch belong to libpq's present socket. libpq opens a new one when it tries again without TLS, often under
 * the same number; our dup would go on watching the old one. */
static bool follow_socket(struct pg_conn *c, struct err *e)
{
    struct stat st;
    int fd = PQsocket(c->pg);

    if (fd < 0 || fstat(fd, &st) != 0)
        return err_set(e, "pg", "08001", "cannot connect to %s: libpq has no socket", c->label);
    if (c->watch && st.st_ino == c->ino)
        return true;
    watch_close(c->watch);
    c->watch = watch_open(c->g, fd, e);
    c->ino = st.st_ino;
    return c->watch != NULL;
}

static int l_open_failed(lua_State *L, struct pg_conn *c, const struct err *e)
{
    pg_kill(c, "it could not be opened");
    return l_raise(L, e);
}

static int l_open_wait(lua_State *L, struct pg_conn *c, int events);

static int l_open_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    struct err e;

    (void)status;
    l_pg_still_open(L, c);
    if (c->deadline > 0 && loop_now(c->g) >= c->deadline) {
        err_set(&e, "pg", "timeout", "cannot connect to %s: no answer within connect_timeout = %g s", c->label,
                c->limit);
        snprintf(e.hint, sizeof e.hint, "check host, port and firewall (POSTGRES_HOST, POSTGRES_PORT)");
        e.retryable = true;
        return l_open_failed(L, c, &e);
    }
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        return l_open_wait(L, c, UV_READABLE);
    case PGRES_POLLING_WRITING:
        return l_open_wait(L, c, UV_WRITABLE);
    case PGRES_POLLING_OK:
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default:
        pg_connect_error(&e, c, PQerrorMessage(c->pg));
        return l_open_failed(L, c, &e);
    }
    if (!follow_socket(c, &e))
        return l_open_failed(L, c, &e);
    PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
    pg_wire_secure(c);
    PQsetnonblocking(c->pg, 1);
    pg_leave(c, PG_IDLE);
    return 0;
}

static int l_open_wait(lua_State *L, struct pg_conn *c, int events)
{
    struct err e;

    if (!follow_socket(c, &e))
        return l_open_failed(L, c, &e);
    return wait_watch(L, c->watch, events, c->deadline, "pg.connect", l_open_k, (lua_KContext)c);
}

/* open(keywords, label, connect_timeout): keywords is a table of libpq's connection keywords, host names resolved */
static int l_open(lua_State *L)
{
    enum { MAX_KEYWORDS = 64 };
    const char *keys[MAX_KEYWORDS + 1], *values[MAX_KEYWORDS + 1];
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);
    struct pg_conn *c = box->c;
    struct err e;
    int n = 0;

    luaL_checktype(L, 2, LUA_TTABLE);
    if (!c || c->state != PG_NEW)
        return l_raisef(L, "pg", "closed", "pg.connect: this connection was opened before");
    l_wait_check(L, "pg.connect");
    snprintf(c->label, sizeof c->label, "%s", luaL_checkstring(L, 3));
    for (lua_pushnil(L); lua_next(L, 2) && n < MAX_KEYWORDS; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            return l_raisef(L, "usage", "", "pg.connect: settings are strings");
        keys[n] = lua_tostring(L, -2);          /* both stay in the table while libpq copies them */
        values[n++] = lua_tostring(L, -1);
    }
    keys[n] = values[n] = NULL;
    c->state = PG_CALL;
    c->caller = L;
    c->what = "pg.connect";
    pg_set_timeout(c, luaL_optnumber(L, 4, 0));
    c->pg = PQconnectStartParams(keys, values, 0);
    if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
        pg_connect_error(&e, c, c->pg ? PQerrorMessage(c->pg) : "not enough memory");
        return l_open_failed(L, c, &e);
    }
    PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE);       /* so that a refusal carries its SQLSTATE */
    PQsetNoticeReceiver(c->pg, on_notice, c);
    return l_open_wait(L, c, UV_WRITABLE);              /* "as if PQconnectPoll had returned WRITING", manual 34.1 */
}

/* ---- close ---- */

static void destroy(struct pg_box *box)
{
    struct pg_conn *c = box->c;

    box->c = NULL;
    pg_kill(c, "closed");
    free(c->results);
    free(c->types);
    free(c);
}

/* Gives a leased connection back to its pool by the function it was leased with; false when there is none. */
static bool l_release(lua_State *L)
{
    if (lua_getiuservalue(L, 1, PG_UV_RELEASE) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushnil(L);
    lua_setiuservalue(L, 1, PG_UV_RELEASE);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
    return true;
}

static int l_close(lua_State *L)
{
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);

    if (!box->c || (l_release(L) && !box->c))
        return 0;
    if (box->c->watch && box->c->watch->wait.held) {    /* another task is in a call: it closes, we wake it */
        box->c->close_wanted = true;
        wait_done(&box->c->watch->wait);
        return 0;
    }
    destroy(box);
    return 0;
}

/* As close, but nobody can wait on it any more; at the end of the process tasks may be gone before their waits. */
static int l_gc(lua_State *L)
{
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);

    if (!box->c)
        return 0;
    if (box->c->watch)
        box->c->watch->wait.task = NULL, box->c->watch->wait.held = false;
    if (l_release(L) && !box->c)
        return 0;
    if (box->c->state != PG_DEAD && box->c->state != PG_NEW)
        log_write(LOG_LEVEL_DEBUG, "a connection was left open and closed by the garbage collector", "database",
                  box->c->label, (char *)NULL);
    destroy(box);
    return 0;
}

/* move(conn) -> conn: the connection under a new handle; the old one is closed for good */
int l_pg_move(lua_State *L)
{
    struct pg_box *old = luaL_checkudata(L, 1, PG_CONN), *box;

    l_pg_check(L, 1);
    if (old->c->state != PG_IDLE && old->c->state != PG_DRAIN)
        return l_raisef(L, "pg", "busy", "a connection in use cannot change hands");
    box = lua_newuserdatauv(L, sizeof *box, PG_UV_COUNT);
    box->c = NULL;
    luaL_setmetatable(L, PG_CONN);
    lua_getiuservalue(L, 1, PG_UV_STMTS);
    lua_setiuservalue(L, -2, PG_UV_STMTS);
    box->c = old->c;
    old->c = NULL;
    return 1;
}

/* on_close(conn, function): called once with the connection in place of closing it; must not wait */
int l_pg_on_close(lua_State *L)
{
    luaL_checkudata(L, 1, PG_CONN);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, PG_UV_RELEASE);
    return 0;
}

/* ---- questions ---- */

static const char *state_name(const struct pg_conn *c)
{
    switch (c->state) {
    case PG_NEW:      return "new";
    case PG_IDLE:     return PQtransactionStatus(c->pg) == PQTRANS_IDLE ? "idle" : "transaction";
    case PG_CALL:     return "busy";
    case PG_LISTEN:   return "listening";
    case PG_ROWS:     return "rows";
    case PG_COPY_IN:  return "copy_in";
    case PG_COPY_OUT: return "copy_out";
    case PG_DRAIN:    return "draining";
    case PG_DEAD:
    default:          return "closed";
    }
}

static int l_status(lua_State *L)
{
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);

    lua_pushstring(L, box->c ? state_name(box->c) : "closed");
    return 1;
}

static int l_tostring(lua_State *L)
{
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);

    lua_pushfstring(L, "pg.conn(%s%s%s)", box->c ? box->c->label : "", box->c ? ", " : "",
                    box->c ? state_name(box->c) : "closed");
    return 1;
}

/* transaction_status() -> "idle" | "open" | "failed" | "active": libpq's view, true without asking the server */
static int l_transaction_status(lua_State *L)
{
    struct pg_conn *c = l_pg_check(L, 1);

    switch (PQtransactionStatus(c->pg)) {
    case PQTRANS_IDLE:    lua_pushliteral(L, "idle"); break;
    case PQTRANS_INTRANS: lua_pushliteral(L, "open"); break;
    case PQTRANS_INERROR: lua_pushliteral(L, "failed"); break;
    case PQTRANS_ACTIVE: case PQTRANS_UNKNOWN:
    default:              lua_pushliteral(L, "active"); break;
    }
    return 1;
}

static int l_in_transaction(lua_State *L)
{
    struct pg_conn *c = l_pg_check(L, 1);

    lua_pushboolean(L, PQtransactionStatus(c->pg) != PQTRANS_IDLE);
    return 1;
}

/* alive() -> false when the server has closed an idle connection meanwhile. Reads what lies in the socket, never
 * waits. */
static int l_alive(lua_State *L)
{
    struct pg_box *box = luaL_checkudata(L, 1, PG_CONN);
    struct pg_conn *c = box->c;

    if (!c || (c->state != PG_IDLE && c->state != PG_DRAIN)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    for (int i = 0; i < 4 && PQstatus(c->pg) == CONNECTION_OK; i++) {
        if (!pg_readable(c))
            break;
        pg_consume(c);      /* a FATAL first, the end of the stream at the next read */
        if (c->state == PG_IDLE)
            (void)PQisBusy(c->pg);  /* parses: a FATAL of an idle connection goes to the notice receiver */
    }
    if (PQstatus(c->pg) != CONNECTION_OK)
        pg_kill(c, "the server ended it");
    lua_pushboolean(L, c->state != PG_DEAD);
    return 1;
}

static int l_parameter(lua_State *L)
{
    struct pg_conn *c = l_pg_check(L, 1);

    lua_pushstring(L, PQparameterStatus(c->pg, luaL_checkstring(L, 2)));
    return 1;
}

static int l_server_version(lua_State *L)
{
    lua_pushinteger(L, PQserverVersion(l_pg_check(L, 1)->pg));
    return 1;
}

static int l_backend_pid(lua_State *L)
{
    lua_pushinteger(L, PQbackendPID(l_pg_check(L, 1)->pg));
    return 1;
}

static int l_database(lua_State *L)
{
    lua_pushstring(L, PQdb(l_pg_check(L, 1)->pg));
    return 1;
}

static int l_user(lua_State *L)
{
    lua_pushstring(L, PQuser(l_pg_check(L, 1)->pg));
    return 1;
}

/* tls() -> "TLSv1.3", or nil on a connection in clear text or a Unix socket */
static int l_tls(lua_State *L)
{
    struct pg_conn *c = l_pg_check(L, 1);

    if (PQsslInUse(c->pg))
        lua_pushstring(L, PQsslAttribute(c->pg, "protocol"));
    else
        lua_pushnil(L);
    return 1;
}

/* defaults{ timeout=, nulls=, numbers=, prepare= }: for the calls that say nothing else */
static int l_defaults(lua_State *L)
{
    static const char *const names[] = { "timeout", "nulls", "numbers", "prepare", NULL };
    static const char *const fn = "db:defaults";
    struct pg_conn *c = l_pg_check(L, 1);

    l_opt_check(L, 2, fn, names);
    c->def_timeout = l_opt_number(L, 2, fn, "timeout", c->def_timeout, 0, 1e7);
    c->def_nulls = l_opt_boolean(L, 2, fn, "nulls", c->def_nulls);
    c->def_numbers = l_opt_boolean(L, 2, fn, "numbers", c->def_numbers);
    c->def_prepare = l_opt_boolean(L, 2, fn, "prepare", c->def_prepare);
    return 0;
}

/* forget_statements(): after DISCARD ALL the server has none of our prepared statements */
static int l_forget_statements(lua_State *L)
{
    l_pg_stmt_forget_all(L, 1, l_pg_check(L, 1));
    return 0;
}

/* parse_dsn(text) -> { host = ..., dbname = ... }: libpq's own reading of "host=db1 ..." and "postgresql://..." */
int l_pg_parse_dsn(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1);
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(text, &why);
    struct err e;

    if (!options) {
        /* libpq's text may quote the DSN with its password; only what cannot hold it is shown. */
        err_set(&e, "usage", "", "pg.connect: the connection string is not valid%s",
                why && strstr(why, "missing \"=\"") ? ": an \"=\" is missing" : "");
        snprintf(e.hint, sizeof e.hint, "use \"host=... dbname=...\" or \"postgresql://user@host:port/database\"");
        PQfreemem(why);
        return l_raise(L, &e);
    }
    /* Lack of memory in here would leak the list; it is tiny and the process is at its end then. */
    lua_newtable(L);
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (o->val) {
            lua_pushstring(L, o->val);
            lua_setfield(L, -2, o->keyword);
        }
    PQconninfoFree(options);
    return 1;
}

static const luaL_Reg guarded[] = {
    { "open", l_open },
    { NULL, NULL }
};

static const luaL_Reg methods[] = {
    { "close", l_close },
    { "status", l_status },
    { "transaction_status", l_transaction_status },
    { "in_transaction", l_in_transaction },
    { "alive", l_alive },
    { "parameter", l_parameter },
    { "server_version", l_server_version },
    { "backend_pid", l_backend_pid },
    { "database", l_database },
    { "user", l_user },
    { "tls", l_tls },
    { "defaults", l_defaults },
    { "forget_statements", l_forget_statements },
    { NULL, NULL }
};

static const luaL_Reg metamethods[] = {
    { "__close", l_close },
    { "__gc", l_gc },
    { "__tostring", l_tostring },
    { NULL, NULL }
};

void l_pg_conn_methods(lua_State *L)        /* stack: ..., method table */
{
    l_pg_methods(L, guarded, true);
    l_pg_methods(L, methods, false);
    luaL_newmetatable(L, PG_CONN);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
