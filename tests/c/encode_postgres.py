#!/usr/bin/python3
"""encode_postgres.py - the encoder against PostgreSQL's own input functions.

Random numbers, dates, texts and JSON go through the encode_oracle program into a table with a column of each type. COPY
in binary format must take every row, and where a value is what SQL would read, what is stored must be what the cast
gives.
Usage: encode_postgres.py PROGRAM [rounds [seed]], from the project's root, with psql's PG* variables set; it makes and
drops the schema encode_test.
"""
import json
import random
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import encode_oracle  # noqa: E402  the file beside this one

COLUMNS = [("i2", "int2"), ("i4", "int4"), ("i8", "int8"), ("n", "numeric"), ("n102", "numeric(10,2)"),
           ("n33", "numeric(3,3)"), ("nneg", "numeric(2,-3)"), ("f4", "float4"), ("f8", "float8"), ("b", "bool"),
           ("d", "date"), ("t", "timestamp"), ("t3", "timestamp(3)"), ("tz", "timestamptz"), ("u", "uuid"),
           ("j", "json"), ("jb", "jsonb"), ("v5", "varchar(5)"), ("c3", "char(3)"), ("raw", "text"), ("w", "jsonb")]
EDGES = ["32767", "32768", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "99999999",
         "99999999.994", "99999999.995", "0.9994", "0.9995", "99499", "99500", "17976931348623157", "34028234663852885"]
POWERS = [131071, 131072, -16383, -16384, 99999999999, -99999999999, 37, 38, 39, 307, 308, 309, -45, -46, -323, -324]
TIMES = ["%04d%02d%02d", "%04d-%02d-%02d", "%04d-%02d-%02dT23:59:60Z", "%04d-%02d-%02d 10:20:30.9999995+14:59",
         "%04d-%02d-%02dT00:00:00-15:59", "%04d-%02d-%02dT24:00"]
OTHERS = ["true", "f", "ON", "{0b3c1a52-6a1e-4e0b-9d54-8f2f5a1b9c77}", "0b3c1a526a1e4e0b9d548f2f5a1b9c77", "{}",
          "[1,null]", '"\\ud800"', '{"a":"\\u0000"}', "1e200000", "\u00e4\u00f6\u00fc\u00df\u20ac\U0001D11E", "abc   ",
          "abcde   x", "NaN", "Infinity", "-inf", "\\.", "\\N", ""]


def number(r):
    def digits(n):
        return "".join(r.choice("0123456789") for _ in range(n))
    whole = r.choice(EDGES) if r.random() < 0.2 else digits(r.choice([0, 1, 1, 2, 3, 5, 9, 10, 19, 20, 40, 309, 310]))
    part = r.choice(["", ".", "." + digits(r.choice([1, 2, 3, 5, 30, 330]))])
    power = r.choice(["", "", "", "e%d" % r.randint(-3, 6), "E+%d" % r.randint(0, 400), "e-%d" % r.randint(0, 420),
                      "e%d" % r.choice(POWERS)])
    return r.choice(["", "", "-", "+"]) + whole + part + power


def value(r):
    k = r.random()
    if k < 0.55:
        n = number(r)
        bare = re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", n) and r.random() < 0.5
        return n if bare else json.dumps(n)
    if k < 0.7:
        day = (r.choice([0, 1, 1900, 2000, 2023, 2024, 9999]), r.randint(0, 13), r.randint(0, 32))
        return json.dumps(r.choice(TIMES) % day)
    if k < 0.75:
        return r.choice(["253402300799999999", "-62135596800000000", "253402300800000000", "1e15", "-1.5e16"])
    if k < 0.9:
        return encode_oracle.write(r, encode_oracle.value(r, 2), False)
    return json.dumps(r.choice(OTHERS))


def plan():
    def source(name):
        return {"w": "'.'", "j": "{ { path = 'v', as = 'text' } }"}.get(name, "'v'")
    columns = ("{ name = '%s', type = '%s', from = %s, bad = 'null' }" % (n, t, source(n)) for n, t in COLUMNS)
    return "return { tables = { { columns = { %s } } } }" % ", ".join(columns)


SETUP = """\\set QUIET on
set client_min_messages = warning; set timezone = utc;
drop schema if exists encode_test cascade; create schema encode_test; set search_path = encode_test;
create table t (%s);
create function cast_or_null(v text, type text) returns text language plpgsql as $$
declare r text;
begin execute format('select %%L::%%s::text', v, type) into r; return r;
exception when others then return null; end $$;
""" % ", ".join("%s %s" % c for c in COLUMNS)

# A zero with a great exponent, which numeric refuses, and a tiny number, which float refuses, are stored as 0.
NUMBER = """select '{c}', raw, {c}, cast_or_null(raw, '{t}') from t where raw ~ '^[-+0-9.eE]+$'
 and {c} is distinct from cast_or_null(raw, '{t}')::{b}
 and not coalesce({c} = 0 and cast_or_null(raw, '{t}') is null, false);
select '{c} as text', raw, {c} from t where raw ~ '^[-+0-9.eE]+$' and {c} <> 0
 and {c}::text is distinct from cast_or_null(raw, '{t}');
"""
WHOLE = """select '{c}', raw, {c} from t, lateral (select cast_or_null(raw, 'numeric')::numeric as x) s
 where raw ~ '^[-+0-9.eE]+$' and x is not null and {c} is distinct from
 case when x = trunc(x) then cast_or_null(trunc(x)::text, '{c2}')::{c2} end;
"""
DAY = """select 'd', raw, d from t where raw ~ '^\\d{4}-?\\d\\d-?\\d\\d$'
 and d is distinct from cast_or_null(raw, 'date')::date;
select 'tz', raw, tz from t where raw ~ '^\\d{4}-\\d\\d-\\d\\d' and tz is distinct from
 case when cast_or_null(raw, 'timestamptz')::timestamptz between '0001-01-01' and '9999-12-31 23:59:59.999999'
 then cast_or_null(raw, 'timestamptz')::timestamptz end;
"""
OTHER = """select 't', raw, t from t where t is distinct from tz at time zone 'UTC';
select 't3', raw, t3 from t where t3 is distinct from t::timestamp(3);
select 'u', raw, u from t where u is distinct from cast_or_null(raw, 'uuid')::uuid;
select 'b', raw, b from t where raw <> '' and b is distinct from cast_or_null(raw, 'bool')::bool
 and raw !~ '^(tr|tru|fa|fal|fals|ye|of)$';
select 'jb', raw, jb from t where jb is distinct from w->'v';
select 'j', raw, j from t where jsonb_typeof(jb) <> 'string' and j::jsonb is distinct from jb;
select 'v5', raw, v5 from t where v5 is distinct from left(raw, 5);
select 'c3', raw, c3 from t where c3 is distinct from left(raw, 3)::char(3);
"""


def main():
    program = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rows = 0
    with tempfile.TemporaryDirectory() as tmp:
        with open(tmp + "/plan.lua", "w") as out:
            out.write(plan())
        for n in range(rounds):
            r = random.Random(seed * 7919 + n)
            lines = [('{"v":%s}' % value(r)).encode("utf-8", "surrogatepass") for _ in range(10000)]
            good, rejects, _ = encode_oracle.run(program, tmp + "/plan.lua", lines, tmp + "/rows")
            if rejects:
                sys.exit("rejected: %s" % rejects[:3])
            sql = SETUP + "\\copy t from '%s/rows' (format binary)\n" % tmp
            sql += "".join(NUMBER.format(c=c, t=t, b=t.split("(")[0]) for c, t in COLUMNS[3:9])
            sql += "".join(WHOLE.format(c=c, c2=t) for c, t in COLUMNS[:3]) + DAY + OTHER
            sql += "drop schema encode_test cascade;\n"
            p = subprocess.run(["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-f", "-"], input=sql.encode(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            if p.returncode or p.stdout:
                sys.exit("round %d: PostgreSQL differs:\n%.2000s%.2000s" % (n, p.stdout.decode(), p.stderr.decode()))
            rows += len(good)
    print("%d rows stored, %d columns each, values as PostgreSQL reads them" % (rows, len(COLUMNS)))


if __name__ == "__main__":
    main()
