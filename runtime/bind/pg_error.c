/* pg_error.c - what went wrong in PostgreSQL, as error objects.
 *
 * code is the SQLSTATE (manual, appendix A), or a word where the server had none to give: "busy", "closed", "timeout".
 * The statement's head is in the error, its parameters never are: they may be people's data. Owns nothing. */
#include <lauxlib.h>
#include <stdio.h>
#include "bind/pg_conn.h"
#include <string.h>

/* Copies text without the line end that libpq's messages have. */
static void put_text(char *out, size_t size, const char *text)
{
    size_t n = text ? strlen(text) : 0;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    snprintf(out, size, "%.*s", (int)n, text ? text : "");
}

/* The first line of libpq's own texts; the rest is advice for people at a psql prompt. */
static void put_line(char *out, size_t size, const char *text)
{
    size_t n = strcspn(text, "\n");

    snprintf(out, size, "%.*s", (int)n, text);
}

static bool in_class(const char *sqlstate, const char *prefix)
{
    return strncmp(sqlstate, prefix, strlen(prefix)) == 0;
}

bool pg_retryable(const char *sqlstate)
{
    static const char *const again[] = {
        "08",                           /* connection exceptions */
        "53",                           /* insufficient resources */
        "40001", "40P01", "55P03",      /* serialization failure, deadlock, lock not available */
        "57P01", "57P02", "57P03",      /* shutdown, crash, starting up */
        NULL
    };

    for (const char *const *p = again; *p; p++)
        if (in_class(sqlstate, *p))
            return true;
    return false;
}

static const char *hint_for(const char *sqlstate, const char *message)
{
    if (strcmp(sqlstate, "42601") == 0 && strstr(message, "multiple commands"))
        return "one statement per call: use db:script(sql) for several";
    if (strcmp(sqlstate, "57P01") == 0)
        return "an administrator ended this connection or stopped the server; connect again";
    if (strcmp(sqlstate, "53300") == 0)
        return "the server has no free connection: lower DATABASE_POOL_SIZE or --jobs, or raise max_connections";
    if (strcmp(sqlstate, "25P02") == 0)
        return "an earlier statement of this transaction failed; its error is the one to look at";
    if (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0)
        return "another transaction was in the way; running this one again may succeed";
    return NULL;
}

static void from_result(struct err *e, const struct pg_conn *c, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
    const char *context = PQresultErrorField(res, PG_DIAG_CONTEXT);
    const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
    char text[sizeof e->message];

    if (!state || !state[0])
        state = "08006";                /* no answer of the server: libpq lost the connection */
    if (primary) {
        put_text(text, sizeof text, primary);
        err_set(e, "pg", state, "%s", text);
    } else {
        put_line(text, sizeof text, PQresultErrorMessage(res));
        err_set(e, "pg", state, "the connection to %s was lost: %s", c->label, text);
    }
    put_text(e->detail, sizeof e->detail, detail);
    if (context && (c->what && strstr(c->what, "copy"))) {     /* COPY says line and column there */
        size_t at = strlen(e->detail);
        snprintf(e->detail + at, sizeof e->detail - at, "%s%s", at ? "\n" : "", context);
    }
    put_text(e->hint, sizeof e->hint, hint ? hint : hint_for(state, text));
    e->retryable = pg_retryable(state);
}

/* Adds a field of the server's report to the error object at the top. */
static void l_add_field(lua_State *L, const PGresult *res, int field, const char *name)
{
    const char *text = PQresultErrorField(res, field);

    if (!text)
        return;
    if (field == PG_DIAG_STATEMENT_POSITION && lua_stringtonumber(L, text) != 0) {
        lua_setfield(L, -2, name);
        return;
    }
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void l_push_error(lua_State *L, const struct pg_conn *c, const struct err *e)
{
    luaL_checkstack(L, 4, "error");
    l_err_push(L, e);
    lua_pushstring(L, c->label);
    lua_setfield(L, -2, "connection");
    if (c->statement[0]) {
        lua_pushstring(L, c->statement);
        lua_setfield(L, -2, "statement");
    }
}

int l_pg_raise_err(lua_State *L, const struct pg_conn *c, const struct err *e)
{
    l_push_error(L, c, e);
    lua_error(L);
    __builtin_unreachable();
}

int l_pg_raise(lua_State *L, struct pg_conn *c)
{
    struct err e;

    if (!c->fail) {
        char text[512];
        put_line(text, sizeof text, PQerrorMessage(c->pg));
        if (PQstatus(c->pg) != CONNECTION_BAD)
            err_set(&e, "pg", "XX000", "%s: %s", c->what, text);
        else if (c->fatal[0])
            err_set(&e, "pg", c->fatal_code, "%s", c->fatal);
        else
            err_set(&e, "pg", "08006", "the connection to %s was lost: %s", c->label, text);
        e.retryable = pg_retryable(e.code);
        pg_leave(c, PG_IDLE);
        l_pg_raise_err(L, c, &e);
    }
    from_result(&e, c, c->fail);
    if (c->timed_out && strcmp(e.code, "57014") == 0) {
        err_set(&e, "pg", "timeout", "%s was cancelled: the statement ran longer than its timeout of %g s", c->what,
                c->limit);
        snprintf(e.hint, sizeof e.hint, "the connection is usable; give the call a longer timeout, or look at the "
                 "statement with EXPLAIN");
    }
    l_push_error(L, c, &e);
    l_add_field(L, c->fail, PG_DIAG_CONTEXT, "where");
    l_add_field(L, c->fail, PG_DIAG_SCHEMA_NAME, "schema");
    l_add_field(L, c->fail, PG_DIAG_TABLE_NAME, "table");
    l_add_field(L, c->fail, PG_DIAG_COLUMN_NAME, "column");
    l_add_field(L, c->fail, PG_DIAG_DATATYPE_NAME, "datatype");
    l_add_field(L, c->fail, PG_DIAG_CONSTRAINT_NAME, "constraint");
    l_add_field(L, c->fail, PG_DIAG_STATEMENT_POSITION, "position");
    pg_leave(c, PG_IDLE);
    lua_error(L);
    __builtin_unreachable();
}

/* A failed connection has no PGresult. With PQERRORS_VERBOSE the SQLSTATE is in the text:
 * "FATAL:  28P01: password ...", with two spaces. */
static bool find_sqlstate(const char *text, char out[6], const char **message)
{
    for (const char *p = strstr(text, ":  "); p; p = strstr(p + 1, ":  ")) {
        const char *s = p + 3;
        if (strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && s[5] == ':' && s[6] == ' ') {
            memcpy(out, s, 5);
            out[5] = '\0';
            *message = s + 7;
            return true;
        }
    }
    return false;
}

static const char *connect_hint(const char *state, const char *text)
{
    if (in_class(state, "28"))
        return "check user and password (POSTGRES_USER, POSTGRES_PASSWORD) and the server's pg_hba.conf";
    if (strcmp(state, "3D000") == 0)
        return "check the database's name (POSTGRES_DATABASE) or create it with createdb";
    if (strcmp(state, "53300") == 0)
        return hint_for(state, "");
    if (strcmp(state, "57P03") == 0)
        return "the server is starting up or shutting down; try again in a moment";
    if (strstr(text, "does not support SSL"))
        return "connections to other hosts are encrypted and verified by default: turn on ssl in the server's "
               "postgresql.conf, or accept clear text in a trusted network with sslmode = \"disable\" "
               "(POSTGRES_SSLMODE)";
    if (strstr(text, "certificate") || strstr(text, "root.crt"))
        return "connections to other hosts are verified by default: name the server's CA with sslrootcert "
               "(PGSSLROOTCERT), or give up verification with sslmode = \"require\" (POSTGRES_SSLMODE)";
    if (strstr(text, "Connection refused") || strstr(text, "No such file"))
        return "check that the server runs and listens there (POSTGRES_HOST, POSTGRES_PORT)";
    return "check host, port and network (POSTGRES_HOST, POSTGRES_PORT)";
}

void pg_connect_error(struct err *e, const struct pg_conn *c, const char *text)
{
    char state[6] = "08001", clean[800];
    const char *message = text, *failed;

    if (!find_sqlstate(text, state, &message)) {
        failed = strstr(text, "failed: ");      /* "connection to server at ... failed: reason": the label says where */
        message = failed ? failed + strlen("failed: ") : text;
    }
    put_line(clean, sizeof clean, message);
    err_set(e, "pg", state, "cannot connect to %s: ", c->label);
    put_text(e->message + strlen(e->message), sizeof e->message - strlen(e->message), clean);
    put_text(e->hint, sizeof e->hint, connect_hint(state, text));
    e->retryable = pg_retryable(state);
}
