-- Statements whose whole result is wanted: query, one, value, exec, script; parameters, errors, the statement cache.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local json <const> = require "garun.json"

local function connect(options)
  local at <const> = t.postgres()
  for k, v in pairs(options or {}) do at[k] = v end
  return pg.connect(at)
end

t.test("query gives rows as tables by column name with n, columns and types", function()
  local db <close> = connect()
  local rows <const> = db:query("select g as id, 'r' || g as name from generate_series(1, 3) g")
  t.equal(rows.n, 3)
  t.equal(rows.columns, { "id", "name" })
  t.equal(rows.types, { "int4", "text" })
  t.equal(rows[2], { id = 2, name = "r2" })
  t.equal(rows.command, "SELECT 3")
  t.equal(db:query("select 1 as a where false").n, 0)
end)

t.test("NULL is absent by default and json.null with nulls = true", function()
  local db <close> = connect()
  t.equal(db:query("select 1 as a, null as b")[1], { a = 1 })
  t.equal(db:query({ "select 1 as a, null as b", nulls = true })[1], { a = 1, b = json.null })
  t.equal(db:query({ "select null, 2", arrays = true })[1], { [2] = 2, n = 2 })
  t.equal(pg.null, json.null)
end)

t.test("one gives a row or nil and refuses two rows, value the first column", function()
  local db <close> = connect()
  t.equal(db:one("select 1 as a"), { a = 1 })
  t.equal(db:one("select 1 as a where false"), nil)
  t.raises({ kind = "pg", code = "too_many" }, db.one, db, "select generate_series(1, 2)")
  t.equal(db:value("select 'x'"), "x")
  t.equal(db:value("select 1 where false"), nil)
  t.equal(db:value("select null"), nil)
  t.raises("2 columns", db.value, db, "select 1, 2")
  t.raises({ code = "too_many" }, db.value, db, "select generate_series(1, 2)")
  t.equal(db:status(), "idle")
end)

t.test("exec gives the number of affected rows as an integer", function()
  local db <close> = connect()
  t.equal(db:exec("create table a (i int)"), 0)
  t.equal(db:exec("insert into a select generate_series(1, 7)"), 7)
  t.equal(db:exec("update a set i = i + 1 where i > $1", 4), 3)
  t.equal(db:query("delete from a returning i").affected, 7)
end)

t.test("parameters keep their Lua type and trailing nils count", function()
  local db <close> = connect()
  t.equal(db:value("select $1::text", "12E10"), "12E10")
  t.equal(db:value("select $1::int8", math.maxinteger), math.maxinteger)
  t.equal(db:value("select $1::int8", math.mininteger), math.mininteger)
  t.equal(db:value("select $1::float8", 0.1), 0.1)
  t.equal(db:value("select $1::float8", -math.huge), -math.huge)
  t.equal(db:value("select $1::bool", false), false)
  t.equal(db:value("select $1::text is null and $2::int is null and $3::text is null", nil, json.null, nil), true)
  t.equal(db:value("select $1::jsonb ->> 'a'", pg.json { a = "ä\"\\" }), "ä\"\\")
  t.equal(db:value("select array_length($1::text[], 1)", pg.array { "a,b", 'q"\\', "NULL", "" }), 4)
  t.equal(db:value("select $1::text[]", pg.array { "a,b", 'q"\\', "NULL", "", "{}" }),
    json.array { "a,b", 'q"\\', "NULL", "", "{}" })
  t.equal(db:value("select $1::bytea", pg.bytea "\0\1\255"), "\0\1\255")
  t.equal(db:value("select $1::int[]", pg.array { 1, nil, 3, n = 3 }), json.array { 1, json.null, 3 })
  t.equal(db:value("select $1::int[][]", pg.array { { 1, 2 }, { 3, 4 } }),
    json.array { json.array { 1, 2 }, json.array { 3, 4 } })
  t.equal(db:value("select $1::bytea[]", pg.array { pg.bytea "\0\\" }), json.array { "\0\\" })
end)

t.test("what PostgreSQL cannot store raises before anything is sent, with the value's number", function()
  local db <close> = connect()
  t.raises("value 2 has a NUL byte at offset 1", db.query, db, "select $1::text, $2::text", "a", "b\0c")
  t.raises("value 1 is not valid UTF%-8 at byte offset 2", db.query, db, "select $1::text", "ab\xff")
  t.raises("not valid UTF%-8", db.query, db, "select $1::text", "a surrogate: \xed\xa0\x80")
  t.raises("value 1 is a table: say what it is with pg.json", db.query, db, "select $1::jsonb", {})
  t.raises("value 1 is a function", db.query, db, "select $1::text", print)
  t.raises("NUL byte or broken UTF%-8", db.query, db, "select '\0'")
  t.raises("SQL text must be a string", db.query, db, 5)
  t.equal(db:value("select 1"), 1)
end)

t.test("a failed statement raises an error object with SQLSTATE and the server's fields", function()
  local db <close> = connect()
  db:exec "create table u (id int constraint u_key primary key, v text not null)"
  db:exec("insert into u values (1, 'a')")
  local e <const> = t.raises({ kind = "pg", code = "23505", retryable = false, constraint = "u_key", table = "u",
    detail = "Key (id)=(1) already exists." }, db.exec, db, "insert into u values ($1, $2)", 1, "secret value")
  t.match(e.message, "^duplicate key value")
  t.equal(e.statement, "insert into u values ($1, $2)")
  t.ok(not tostring(e):find("secret value", 1, true))
  t.raises({ code = "42703", position = 8 }, db.query, db, "select nothing")
  t.raises({ code = "23502", column = "v" }, db.exec, db, "insert into u values (2, null)")
  t.raises({ code = "42P01" }, db.query, db, "select * from nowhere")
  t.equal(db:value("select count(*) from u"), 1)
end)

t.test("errors that may pass are marked retryable", function()
  local db <close> = connect()
  for _, code in ipairs { "40001", "40P01", "55P03", "53300", "08006", "57P03" } do
    t.raises({ code = code, retryable = true }, db.script, db,
      string.format("do $$ begin raise 'x' using errcode = '%s'; end $$", code))
  end
  t.raises({ code = "23505", retryable = false }, db.script, db,
    "do $$ begin raise 'x' using errcode = '23505'; end $$")
end)

t.test("several statements in one call are refused with a hint, script runs them", function()
  local db <close> = connect()
  local e <const> = t.raises({ code = "42601" }, db.query, db, "select 1; select 2")
  t.match(e.hint, "db:script")
  local results <const> = db:script [[
    create table s (i int);
    insert into s values (1), (2);
    select sum(i) as sum from s]]
  t.equal(results.n, 3)
  t.equal(results[2].affected, 2)
  t.equal(results[3][1].sum, 3)
  local e2 <const> = t.raises({ code = "42703" }, db.script, db, "select 1;\n-- ä ö\nselect nothing;\n")
  t.match(e2.statement, "^line 3 of the script: select nothing;")
  t.raises({ code = "22012", statement = "statement 2 of the script" }, db.script, db,
    "select 1; do $$ begin perform 1 / 0; end $$;")
  t.equal(db:script("").n, 1)
end)

t.test("two columns of one name raise unless rows are arrays", function()
  local db <close> = connect()
  t.raises({ code = "duplicate_column" }, db.query, db, "select 1 as a, 2 as a")
  t.equal(db:query({ "select 1 as a, 2 as a", arrays = true })[1], { 1, 2, n = 2 })
end)

t.test("options are checked, with the nearest name", function()
  local db <close> = connect()
  t.raises("timeuot.*timeout", db.query, db, { "select 1", timeuot = 1 })
  t.raises("first element must be the SQL", db.query, db, { timeout = 1 })
end)

t.test("a statement that comes again is prepared, and survives what invalidates it", function()
  local db <close> = connect()
  local function prepared()
    return db:value { "select count(*) from pg_prepared_statements where statement like '%marker%'", prepare = false }
  end
  for i = 1, 3 do t.equal(db:value("select $1::int -- marker", i), i) end
  t.equal(prepared(), 1)
  db:exec "create table p (a int)"
  db:exec "insert into p values (1)"
  for _ = 1, 3 do t.equal(db:query("select * from p")[1], { a = 1 }) end
  db:exec "alter table p add b text default 'x'"
  t.equal(db:query("select * from p")[1], { a = 1, b = "x" })      -- cached plan must not change result type
  for _ = 1, 3 do t.equal(db:query("select * from p").n, 1) end
  db:script "deallocate all"                                       -- prepared statement does not exist
  t.equal(db:query("select * from p").n, 1)
  db:transaction(function()
    for _ = 1, 3 do db:query("select * from p") end
    db:exec "alter table p add c text"
    t.raises({ code = "0A000" }, db.transaction, db, function() db:query("select * from p") end)
    t.equal(db:query("select * from p").n, 1)
  end)
  db:script "deallocate all"
  for i = 1, 400 do                                               -- more texts than the cache holds
    local sql <const> = "select " .. i .. " -- marker"
    for _ = 1, 2 do t.equal(db:value(sql), i) end
  end
  t.ok(prepared() <= 150, "prepared statements are given back")
end)

t.test("prepare = false leaves no statement on the server", function()
  local db <close> = connect { prepare = false }
  for i = 1, 5 do t.equal(db:value("select $1::int", i), i) end
  t.equal(db:value("select count(*) from pg_prepared_statements"), 0)
end)

t.test("a COPY in query is refused with a hint and the connection goes on", function()
  local db <close> = connect()
  db:exec "create table c (i int)"
  t.match(t.raises({ code = "copy" }, db.query, db, "copy c from stdin").hint, "copy_in")
  t.equal(db:value("select 1"), 1)
  t.raises({ code = "copy" }, db.query, db, "copy c to stdout")
  t.equal(db:value("select 2"), 2)
  t.raises({ code = "copy" }, db.script, db, "select 1; copy c from stdin")
  t.equal(db:value("select 3"), 3)
end)

t.test("values of 60 MB go in and out", function()
  local db <close> = connect()
  local big <const> = ("0123456789abcdef"):rep(60 * 65536)
  t.ok(db:value("select $1::text", big) == big)
  t.equal(db:value("select length($1::bytea)", pg.bytea(big)), #big)
end)

t.test("ident and literal quote what would end them", function()
  local db <close> = connect()
  t.equal(pg.ident("a"), '"a"')
  t.equal(pg.ident("s", 'we"ird'), '"s"."we""ird"')
  t.raises("a name is empty", pg.ident, "")
  t.raises("NUL", pg.ident, "a\0b")
  for _, v in ipairs { "", "it's", "back\\slash", "'; drop table x --", "\\'", "ä€𝄞", "new\nline" } do
    t.equal(db:value("select " .. pg.literal(v)), v)
  end
  t.equal(db:value("select " .. pg.literal(42)), 42)
  t.equal(db:value("select " .. pg.literal(true)), true)
  t.equal(db:value("select " .. pg.literal(nil) .. " is null"), true)
  t.equal(db:value("select " .. pg.literal(0.1) .. "::float8"), 0.1)
end)
