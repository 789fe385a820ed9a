/* pg_query.c - db:query, one, value, exec and script: statements whose whole result is wanted at once.
 *
 * The stack of a call is the same in all continuations: 1 connection, 2 SQL text, 3 parameter arrays, 4... the
 * parameters' texts, to which those arrays point. */
#include <lauxlib.h>
#include <stdlib.h>
#include "bind/pg_value.h"
#include "core/opt.h"

static const char *const sql_options[] = { "timeout", "nulls", "numbers", "arrays", "prepare", NULL };

static int l_flag(lua_State *L, int idx, const char *what, const char *name)
{
    int given;

    lua_pushstring(L, name);
    given = lua_rawget(L, idx) != LUA_TNIL;
    lua_pop(L, 1);
    return given ? l_opt_boolean(L, idx, what, name, false) : -1;
}

void l_pg_sql(lua_State *L, int idx, const char *what, struct pg_opts *o)
{
    *o = (struct pg_opts){ -1, -1, -1, -1, -1 };
    if (lua_istable(L, idx)) {
        if (lua_rawgeti(L, idx, 1) != LUA_TSTRING)      /* stack: ..., sql */
            l_raisef(L, "usage", "", "%s: the table's first element must be the SQL text: { \"select ...\", "
                     "timeout = 5 }", what);
        lua_newtable(L);                                /* the options alone, for the check */
        for (lua_pushnil(L); lua_next(L, idx); ) {
            if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) {
                lua_pop(L, 1);
                continue;
            }
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
        int opts = lua_gettop(L);
        l_opt_check(L, opts, what, sql_options);
        o->timeout = l_opt_number(L, opts, what, "timeout", -1, 0, 1e7);
        o->nulls = l_flag(L, opts, what, "nulls");
        o->numbers = l_flag(L, opts, what, "numbers");
        o->arrays = l_flag(L, opts, what, "arrays");
        o->prepare = l_flag(L, opts, what, "prepare");
        lua_pop(L, 1);
        lua_replace(L, idx);
    }
    if (lua_type(L, idx) != LUA_TSTRING)
        l_raisef(L, "usage", "", "%s: the SQL text must be a string, got %s", what, luaL_typename(L, idx));
    size_t n, at = 0;
    const char *sql = lua_tolstring(L, idx, &n);
    if (pg_text_check(sql, n, &at) != PG_TEXT_FINE)
        l_raisef(L, "usage", "", "%s: the SQL text has a NUL byte or broken UTF-8 at byte offset %I; pass data as "
                 "parameters ($1, $2 ...)", what, (lua_Integer)at);
}

void pg_set_statement(struct pg_conn *c, const char *sql, size_t n)
{
    const size_t max = sizeof c->statement - 4;
    size_t len = 0;

    for (size_t i = 0; i < n && len < max; i++) {       /* white space runs become one space: it is for one line */
        bool space = sql[i] == ' ' || sql[i] == '\n' || sql[i] == '\t' || sql[i] == '\r';
        if (space && (len == 0 || c->statement[len - 1] == ' '))
            continue;
        c->statement[len++] = space ? ' ' : sql[i];
    }
    if (len == max) {
        while (len > 0 && ((unsigned char)c->statement[len - 1] & 0xc0) == 0x80)    /* not inside a character */
            len--;
        if (len > 0 && (unsigned char)c->statement[len - 1] >= 0xc0)
            len--;
        memcpy(c->statement + len, "...", 3);
        len += 3;
    }
    c->statement[len] = '\0';
}

void l_pg_apply(lua_State *L, struct pg_conn *c, const struct pg_opts *o, int sql_idx)
{
    size_t n;
    const char *sql = lua_tolstring(L, sql_idx, &n);

    pg_set_statement(c, sql, n);
    if (o->timeout >= 0)
        pg_set_timeout(c, o->timeout);
    if (o->nulls >= 0)
        c->nulls = o->nulls;
    if (o->numbers >= 0)
        c->numbers = o->numbers;
    if (o->arrays >= 0)
        c->arrays = o->arrays;
    if (o->prepare >= 0)
        c->prepare = o->prepare;
}

void pg_settle(struct pg_conn *c)
{
    c->state = PG_IDLE;
    c->caller = NULL;
    c->deadline = 0;
}

bool pg_stale(const struct pg_conn *c)
{
    const char *state = PQresultErrorField(c->fail, PG_DIAG_SQLSTATE);
    const char *where = PQresultErrorField(c->fail, PG_DIAG_SOURCE_FUNCTION);

    if (!state || c->slot < 0)
        return false;
    if (strcmp(state, "26000") == 0)            /* DISCARD ALL, or a pooler in between */
        return true;
    /* "cached plan must not change result type"; its text depends on lc_messages, the function does not */
    return strcmp(state, "0A000") == 0 && where && strcmp(where, "RevalidateCachedQuery") == 0;
}

/* ---- types that are not built in ---- */

static int l_types_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->fail)
        return l_pg_raise(L, c);
    PGresult *res = c->results[--c->n_results];
    bool ok = pg_types_add(c, res);
    PQclear(res);
    if (!ok) {
        pg_leave(c, PG_IDLE);
        return l_raisef(L, "pg", "ENOMEM", "%s: not enough memory", c->what);
    }
    return c->after(L, LUA_OK, ctx);
}

int l_pg_types(lua_State *L, struct pg_conn *c, lua_KFunction k)
{
    struct buf list = { 0 };
    bool known = true;

    for (size_t i = 0; i < c->n_results; i++)
        known = pg_types_known(c, c->results[i], &list) && known;
    if (known || !buf_put(&list, "}", 2)) {
        buf_free(&list);
        return k(L, LUA_OK, (lua_KContext)c);
    }
    const char *value = list.data;
    int sent = PQsendQueryParams(c->pg, pg_types_sql, 1, NULL, &value, NULL, NULL, 0);
    buf_free(&list);
    if (!sent)
        return l_pg_raise(L, c);
    c->after = k;
    return l_pg_collect(L, c, l_types_k);
}

/* ---- results ---- */

static int l_refused(lua_State *L, struct pg_conn *c)
{
    struct err e;

    err_set(&e, "pg", "copy", "%s cannot run a COPY that reads from or writes to the client", c->what);
    snprintf(e.hint, sizeof e.hint, "use db:copy_in(...) or db:copy_out(...)");
    pg_leave(c, PG_IDLE);
    return l_pg_raise_err(L, c, &e);
}

static int l_too_many(lua_State *L, struct pg_conn *c, const char *of, int n)
{
    struct err e;

    err_set(&e, "pg", "too_many", "%s: the statement gave %d %s, at most one is allowed", c->what, n, of);
    pg_clear(c);
    return l_pg_raise_err(L, c, &e);
}

static int l_results_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    const PGresult *res = c->n_results ? c->results[c->n_results - 1] : NULL;
    struct pg_codec codec;

    (void)status;
    pg_settle(c);
    switch ((enum pg_want)c->want) {
    case PG_WANT_COUNT:
        lua_pushinteger(L, res ? (lua_Integer)strtoll(PQcmdTuples(c->results[c->n_results - 1]), NULL, 10) : 0);
        break;
    case PG_WANT_ONE:
        if (PQntuples(res) > 1)
            return l_too_many(L, c, "rows", PQntuples(res));
        if (PQntuples(res) == 0) {
            lua_pushnil(L);
            break;
        }
        l_pg_push_columns(L, c, res);
        l_pg_push_row(L, c, res, 0, lua_gettop(L));
        break;
    case PG_WANT_VALUE:
        if (PQntuples(res) > 1)
            return l_too_many(L, c, "rows", PQntuples(res));
        if (PQnfields(res) > 1)
            return l_too_many(L, c, "columns", PQnfields(res));
        if (PQntuples(res) == 0 || PQnfields(res) == 0) {
            lua_pushnil(L);
        } else if (PQgetisnull(res, 0, 0)) {
            if (c->nulls)
                l_pg_push_null(L);
            else
                lua_pushnil(L);
        } else {
            pg_type_codec(c, PQftype(res, 0), &codec);
            l_pg_push(L, codec, PQgetvalue(res, 0, 0), (size_t)PQgetlength(res, 0, 0));
        }
        break;
    case PG_WANT_SCRIPT:
        lua_createtable(L, (int)c->n_results, 1);
        lua_pushinteger(L, (lua_Integer)c->n_results);
        lua_setfield(L, -2, "n");
        for (size_t i = 0; i < c->n_results; i++) {
            l_pg_push_rows(L, c, c->results[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case PG_WANT_ROWS:
    default:
        l_pg_push_rows(L, c, res);
    }
    pg_clear(c);
    return 1;
}

/* ---- one statement ---- */

static int l_execute(lua_State *L, struct pg_conn *c);

static int l_done_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->copy_refused)
        return l_refused(L, c);
    if (c->fail || c->n_results == 0) {
        if (c->fail && pg_stale(c)) {
            l_pg_stmt_forget(L, 1, c, c->slot);
            c->slot = -1;
            if (PQtransactionStatus(c->pg) == PQTRANS_IDLE) {       /* it has not run: once more, unprepared */
                pg_clear(c);
                return l_execute(L, c);
            }
        }
        return l_pg_raise(L, c);
    }
    if (c->want == PG_WANT_COUNT)
        return l_results_k(L, LUA_OK, ctx);
    return l_pg_types(L, c, l_results_k);
}

static int l_execute(lua_State *L, struct pg_conn *c)
{
    const struct pg_params *p = lua_touserdata(L, 3);
    char name[24];
    int sent;

    if (c->slot >= 0 && c->stmts[c->slot].name) {
        pg_stmt_name(c->stmts[c->slot].name, name);
        sent = PQsendQueryPrepared(c->pg, name, p->n, p->values, p->lengths, p->formats, 0);
    } else {
        sent = PQsendQueryParams(c->pg, lua_tostring(L, 2), p->n, p->types, p->values, p->lengths, p->formats, 0);
    }
    if (!sent)
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_done_k);
}

static int l_prepared_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->fail || c->n_results == 0)
        return l_pg_raise(L, c);
    pg_clear(c);
    c->stmts[c->slot].name = c->new_name;
    return l_execute(L, c);
}

static int l_send_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;
    const struct pg_params *p = lua_touserdata(L, 3);
    int slot = l_pg_stmt_slot(L, 1, 2, c);
    char name[24];

    (void)status;
    c->slot = slot >= PG_STMTS ? slot - PG_STMTS : slot;
    if (slot < 0 || slot >= PG_STMTS || c->stmts[slot].name)
        return l_execute(L, c);
    c->new_name = ++c->stmt_names;              /* its second time: from now on prepared */
    pg_stmt_name(c->new_name, name);
    if (!PQsendPrepare(c->pg, name, lua_tostring(L, 2), p->n, p->types))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_prepared_k);
}

static int l_statement(lua_State *L, enum pg_want want, const char *what)
{
    struct pg_opts o;
    struct pg_conn *c;

    l_pg_check(L, 1);
    l_pg_sql(L, 2, what, &o);
    lua_pushnil(L);
    lua_insert(L, 3);
    l_pg_params(L, 3, 4, what);
    c = l_pg_enter(L, 1, what);
    l_pg_apply(L, c, &o, 2);
    c->want = want;
    return l_pg_ready(L, c, l_send_k);
}

static int l_query(lua_State *L) { return l_statement(L, PG_WANT_ROWS, "db:query"); }
static int l_one(lua_State *L)   { return l_statement(L, PG_WANT_ONE, "db:one"); }
static int l_value(lua_State *L) { return l_statement(L, PG_WANT_VALUE, "db:value"); }
static int l_exec(lua_State *L)  { return l_statement(L, PG_WANT_COUNT, "db:exec"); }

/* ---- several statements ---- */

/* Makes the errors' statement the place in the script: its line, or the number of the statement that failed. */
static void place_in_script(lua_State *L, struct pg_conn *c)
{
    const char *position = c->fail ? PQresultErrorField(c->fail, PG_DIAG_STATEMENT_POSITION) : NULL;
    const char *sql = lua_tostring(L, 2), *p = sql, *line = sql;
    char text[sizeof c->statement];
    long left = position ? strtol(position, NULL, 10) - 1 : -1;
    int number = 1;

    if (left < 0) {
        snprintf(text, sizeof text, "statement %zu of the script", c->n_results + 1);
    } else {
        for (; *p && left > 0; p++) {           /* the position counts characters, not bytes */
            if (*p == '\n') {
                number++;
                line = p + 1;
            }
            if (((unsigned char)p[1] & 0xc0) != 0x80)
                left--;
        }
        snprintf(text, sizeof text, "line %d of the script: %.*s", number, (int)strcspn(line, "\n"), line);
    }
    pg_set_statement(c, text, strlen(text));
}

static int l_script_done_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (c->copy_refused)
        return l_refused(L, c);
    if (c->fail || PQstatus(c->pg) == CONNECTION_BAD) {
        place_in_script(L, c);
        return l_pg_raise(L, c);
    }
    return l_pg_types(L, c, l_results_k);
}

static int l_script_k(lua_State *L, int status, lua_KContext ctx)
{
    struct pg_conn *c = (struct pg_conn *)ctx;

    (void)status;
    if (!PQsendQuery(c->pg, lua_tostring(L, 2)))
        return l_pg_raise(L, c);
    return l_pg_collect(L, c, l_script_done_k);
}

static int l_script(lua_State *L)
{
    struct pg_opts o;
    struct pg_conn *c;

    l_pg_check(L, 1);
    l_pg_sql(L, 2, "db:script", &o);
    if (lua_gettop(L) > 2)
        return l_raisef(L, "usage", "", "db:script takes no parameters; use db:query or db:exec for one statement with "
                        "parameters");
    c = l_pg_enter(L, 1, "db:script");
    l_pg_apply(L, c, &o, 2);
    c->want = PG_WANT_SCRIPT;
    return l_pg_ready(L, c, l_script_k);
}

static const luaL_Reg methods[] = {
    { "query", l_query },
    { "one", l_one },
    { "value", l_value },
    { "exec", l_exec },
    { "script", l_script },
    { NULL, NULL }
};

void l_pg_query_methods(lua_State *L)
{
    l_pg_methods(L, methods, true);
}
