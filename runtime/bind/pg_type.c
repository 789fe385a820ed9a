/* pg_type.c - which Lua value a column type becomes: the built-in types by number, others from the catalogue.
 *
 * Type numbers below 10000 never change (src/include/catalog/pg_type.dat). A domain comes as its base type (printtup.c
 * sends it so), an enum, range or composite as its text. Types that are not in the table are read from pg_type once per
 * connection, because an array of an enum cannot be told from other text by its number. Owns the connection's list. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "bind/pg_value.h"

struct builtin {
    Oid          oid;
    enum pg_kind kind, elem;
    const char  *name;
};

static const struct builtin builtins[] = {     /* by number */
    { 16, PG_BOOL, 0, "bool" },
    { 17, PG_BYTEA, 0, "bytea" },
    { 18, PG_TEXT, 0, "char" },
    { 19, PG_TEXT, 0, "name" },
    { 20, PG_INT, 0, "int8" },
    { 21, PG_INT, 0, "int2" },
    { 22, PG_TEXT, 0, "int2vector" },
    { 23, PG_INT, 0, "int4" },
    { 24, PG_TEXT, 0, "regproc" },
    { 25, PG_TEXT, 0, "text" },
    { 26, PG_INT, 0, "oid" },
    { 27, PG_TEXT, 0, "tid" },
    { 28, PG_INT, 0, "xid" },
    { 29, PG_INT, 0, "cid" },
    { 30, PG_TEXT, 0, "oidvector" },
    { 114, PG_JSON, 0, "json" },
    { 142, PG_TEXT, 0, "xml" },
    { 143, PG_ARRAY, PG_TEXT, "xml[]" },
    { 199, PG_ARRAY, PG_JSON, "json[]" },
    { 650, PG_TEXT, 0, "cidr" },
    { 651, PG_ARRAY, PG_TEXT, "cidr[]" },
    { 700, PG_FLOAT, 0, "float4" },
    { 701, PG_FLOAT, 0, "float8" },
    { 705, PG_TEXT, 0, "unknown" },
    { 790, PG_TEXT, 0, "money" },
    { 791, PG_ARRAY, PG_TEXT, "money[]" },
    { 829, PG_TEXT, 0, "macaddr" },
    { 869, PG_TEXT, 0, "inet" },
    { 1000, PG_ARRAY, PG_BOOL, "bool[]" },
    { 1001, PG_ARRAY, PG_BYTEA, "bytea[]" },
    { 1002, PG_ARRAY, PG_TEXT, "char[]" },
    { 1003, PG_ARRAY, PG_TEXT, "name[]" },
    { 1005, PG_ARRAY, PG_INT, "int2[]" },
    { 1007, PG_ARRAY, PG_INT, "int4[]" },
    { 1009, PG_ARRAY, PG_TEXT, "text[]" },
    { 1014, PG_ARRAY, PG_TEXT, "bpchar[]" },
    { 1015, PG_ARRAY, PG_TEXT, "varchar[]" },
    { 1016, PG_ARRAY, PG_INT, "int8[]" },
    { 1021, PG_ARRAY, PG_FLOAT, "float4[]" },
    { 1022, PG_ARRAY, PG_FLOAT, "float8[]" },
    { 1028, PG_ARRAY, PG_INT, "oid[]" },
    { 1040, PG_ARRAY, PG_TEXT, "macaddr[]" },
    { 1041, PG_ARRAY, PG_TEXT, "inet[]" },
    { 1042, PG_TEXT, 0, "bpchar" },
    { 1043, PG_TEXT, 0, "varchar" },
    { 1082, PG_TEXT, 0, "date" },
    { 1083, PG_TEXT, 0, "time" },
    { 1114, PG_TEXT, 0, "timestamp" },
    { 1115, PG_ARRAY, PG_TEXT, "timestamp[]" },
    { 1182, PG_ARRAY, PG_TEXT, "date[]" },
    { 1183, PG_ARRAY, PG_TEXT, "time[]" },
    { 1184, PG_TEXT, 0, "timestamptz" },
    { 1185, PG_ARRAY, PG_TEXT, "timestamptz[]" },
    { 1186, PG_TEXT, 0, "interval" },
    { 1187, PG_ARRAY, PG_TEXT, "interval[]" },
    { 1231, PG_ARRAY, PG_NUMERIC, "numeric[]" },
    { 1263, PG_ARRAY, PG_TEXT, "cstring[]" },
    { 1266, PG_TEXT, 0, "timetz" },
    { 1270, PG_ARRAY, PG_TEXT, "timetz[]" },
    { 1560, PG_TEXT, 0, "bit" },
    { 1561, PG_ARRAY, PG_TEXT, "bit[]" },
    { 1562, PG_TEXT, 0, "varbit" },
    { 1563, PG_ARRAY, PG_TEXT, "varbit[]" },
    { 1700, PG_NUMERIC, 0, "numeric" },
    { 2205, PG_TEXT, 0, "regclass" },
    { 2206, PG_TEXT, 0, "regtype" },
    { 2249, PG_TEXT, 0, "record" },
    { 2275, PG_TEXT, 0, "cstring" },
    { 2278, PG_TEXT, 0, "void" },
    { 2950, PG_TEXT, 0, "uuid" },
    { 2951, PG_ARRAY, PG_TEXT, "uuid[]" },
    { 3220, PG_TEXT, 0, "pg_lsn" },
    { 3802, PG_JSON, 0, "jsonb" },
    { 3807, PG_ARRAY, PG_JSON, "jsonb[]" },
    { 4072, PG_TEXT, 0, "jsonpath" },
};

static int by_oid(const void *key, const void *item)
{
    Oid a = *(const Oid *)key, b = ((const struct builtin *)item)->oid;

    return a < b ? -1 : a > b;
}

static const struct builtin *find_builtin(Oid oid)
{
    return bsearch(&oid, builtins, sizeof builtins / sizeof *builtins, sizeof *builtins, by_oid);
}

static const struct pg_type *find_known(const struct pg_conn *c, Oid oid)
{
    for (size_t i = 0; i < c->n_types; i++)
        if (c->types[i].oid == oid)
            return &c->types[i];
    return NULL;
}

bool pg_type_codec(const struct pg_conn *c, Oid oid, struct pg_codec *out)
{
    const struct builtin *b = find_builtin(oid);
    const struct pg_type *t;

    if (b) {
        *out = (struct pg_codec){ .kind = b->kind, .elem = b->elem, .numbers = c->numbers, .nulls = c->nulls };
        return true;
    }
    *out = (struct pg_codec){ .kind = PG_TEXT, .numbers = c->numbers, .nulls = c->nulls };
    t = find_known(c, oid);
    if (!t)
        return false;
    if (t->elem) {
        b = find_builtin(t->elem);
        out->kind = PG_ARRAY;
        out->elem = b && b->kind != PG_ARRAY ? b->kind : PG_TEXT;
    }
    return true;
}

const char *pg_type_name(const struct pg_conn *c, Oid oid)
{
    const struct builtin *b = find_builtin(oid);
    const struct pg_type *t;

    if (b)
        return b->name;
    t = find_known(c, oid);
    return t ? t->name : NULL;
}

bool pg_types_known(const struct pg_conn *c, const PGresult *res, struct buf *list)
{
    bool known = true;

    for (int i = 0; i < PQnfields(res); i++) {
        struct pg_codec codec;
        char number[16];
        Oid oid = PQftype(res, i);
        if (pg_type_codec(c, oid, &codec))
            continue;
        int n = snprintf(number, sizeof number, "%s%u", list->len ? "," : "{", oid);
        if (!buf_put(list, number, (size_t)n))
            return known;
        known = false;
    }
    return known;
}

/* True arrays are what their element type names as its array (int2vector is none); one level of domain below is
 * followed, and a delimiter other than a comma (box) makes it text. */
const char *const pg_types_sql =
    "SELECT t.oid, t.typname, CASE WHEN e.typarray = t.oid AND e.typdelim = ',' "
    "THEN coalesce(nullif(e.typbasetype, 0), e.oid) ELSE 0 END "
    "FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem "
    "WHERE t.oid = ANY ($1::pg_catalog.oid[])";

bool pg_types_add(struct pg_conn *c, const PGresult *res)
{
    int rows = PQntuples(res);
    struct pg_type *grown;

    if (rows == 0)
        return true;
    grown = realloc(c->types, (c->n_types + (size_t)rows) * sizeof *grown);
    if (!grown)
        return false;
    c->types = grown;
    for (int i = 0; i < rows; i++) {
        struct pg_type *t = &grown[c->n_types++];
        *t = (struct pg_type){
            .oid = (Oid)strtoul(PQgetvalue(res, i, 0), NULL, 10),
            .elem = (Oid)strtoul(PQgetvalue(res, i, 2), NULL, 10),
        };
        snprintf(t->name, sizeof t->name, "%s", PQgetvalue(res, i, 1));
    }
    return true;
}
