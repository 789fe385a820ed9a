-- sql/ and what brings a database to it: garun.schema, init_db.lua, migrations, and the example configuration.

local catalog <const> = require "garun.schema.catalog"
local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local pg <const> = require "garun.pg"
local schema <const> = require "garun.schema"
local split <const> = require "garun.schema.split"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local QUIET <const> = { log = false }
local TENANT <const> = "00000000-0000-4000-8000-000000000001"
local LOAD <const> = "00000000-0000-4000-8000-000000000002"

-- How many files make a table or an index: all but that of the schema garun.
local FILES <const> = #fs.glob(config.path("sql") .. "/tables/*.sql") + #fs.glob(config.path("sql") .. "/runtime/*.sql")
  + #fs.glob(config.path("sql") .. "/indexes/*.sql") - 1

local function with(options)
  options.log = false
  return options
end

-- A copy of sql/ that a test may spoil.
local function copy_of_sql()
  local dir <const> = t.tmpdir() .. "/sql"
  local copied <const> = t.run { "cp", "-r", config.path("sql"), dir }
  t.equal(copied.status, 0, copied.stderr)
  return dir
end

local function texts(differences)
  local list <const> = {}
  for i, d in ipairs(differences) do list[i] = d.text end
  return table.concat(list, "\n")
end

-- The tables of public as tests/lua/schema_tables.lua writes them.
local function describe(db)
  local lines <const> = {}
  for _, row in ipairs(db:query [[
    WITH t AS (SELECT c.oid, relname::text AS tab FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               WHERE nspname = 'public' AND relkind = 'r')
    SELECT line FROM (
      SELECT tab, 0 AS part, 0 AS n, '' AS name, tab AS line FROM t
      UNION ALL
      SELECT tab, 1, attnum, '', '  ' || attname || ' ' || format_type(atttypid, atttypmod)
             || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
             || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '')
      FROM t JOIN pg_attribute ON attrelid = t.oid AND attnum > 0
      LEFT JOIN pg_attrdef ON adrelid = t.oid AND adnum = attnum
      UNION ALL
      SELECT tab, 2, 0, conname, '  ' || conname || ': ' || pg_get_constraintdef(k.oid)
      FROM t JOIN pg_constraint k ON conrelid = t.oid AND contype <> 'n'
      UNION ALL
      SELECT tab, 3, 0, c.relname, '  ' || c.relname || ': '
             || regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX \S+ ON public\.\S+ USING ', '\1')
      FROM t JOIN pg_index ON indrelid = t.oid JOIN pg_class c ON c.oid = indexrelid) AS lines
    ORDER BY tab COLLATE "C", part, n, name COLLATE "C"]]) do
    lines[#lines + 1] = row.line
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Equal texts, or the first line where they differ.
local function same_lines(got, want, label)
  local function lines(text)
    local list <const> = {}
    for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
    return list
  end
  local a <const>, b <const> = lines(got), lines(want)
  for i = 1, math.max(#a, #b) do t.equal(a[i], b[i], string.format("%s, line %d", label, i)) end
end

t.test("tables, columns, types, defaults, constraints and indexes are those of the contract, in its order", function()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, QUIET)
  local got = describe(db)
  -- The one additive column, the migration's.
  local found
  got, found = got:gsub("  time_zone text NOT NULL DEFAULT 'UTC'::text\n", "")
  t.equal(found, 1, "tenant_config.time_zone")
  same_lines(got, require "schema_tables", "catalog")
end)

t.test("the DDL of database.md makes the very same tables", function()
  local path <const> = config.root() .. "/../shared/design/database.md"
  if not fs.exists(path) then t.skip("no ../shared/design/database.md here") end
  local document <const> = fs.read(path):match("\n## Tables(.-)\n## Functions")
  local ours <close> = pg.connect(t.postgres())
  local theirs <close> = pg.connect(t.postgres())
  for block in document:gmatch("```sql\n(.-)```") do theirs:script(block) end
  schema.apply(ours, QUIET)
  local got = describe(ours):gsub("  time_zone [^\n]*\n", "")
  for _, path_of in ipairs(fs.glob(config.path("sql") .. "/indexes/*.sql")) do       -- the document's later list
    local found
    got, found = got:gsub("  " .. path_of:match("([^/]*)%.sql$") .. ": [^\n]*\n", "")
    t.equal(found, 1, path_of)
  end
  same_lines(got, describe(theirs), "catalog")
end)

t.test("every event table has an index by date, branch, user and session, none twice", function()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, QUIET)
  for _, name in ipairs { "purchase", "add_to_cart", "page_view", "view_item", "view_search_results", "no_search_results" } do
    local seen <const> = {}
    for _, row in ipairs(db:query([[
        select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) ~ 'INCLUDE' as more,
               (select string_agg(attname, ',' order by k.n) from unnest(indkey[0:indnkeyatts - 1]) with ordinality k(a, n)
                  join pg_attribute on attrelid = indrelid and attnum = k.a) as columns
          from pg_index where indrelid = $1::regclass]], name)) do
      if not row.more then
        t.equal(seen[row.columns], nil, name .. ": " .. row.name)
        seen[row.columns] = row.name
      end
    end
    for _, column in ipairs { "event_date", "user_prop_default_branch_id", "user_prop_webuserid", "param_ga_session_id" } do
      t.ok(seen["tenant_id," .. column], name .. " has no index by " .. column)
    end
  end
end)

t.test("JSON columns of the event tables are compressed with LZ4", function()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, QUIET)
  t.equal(db:value [[
    SELECT string_agg(attrelid::regclass || '.' || attname, ', ' ORDER BY attrelid::regclass::text, attname)
    FROM pg_attribute WHERE attname IN ('raw_data', 'items_json') AND attcompression = 'l']],
    "add_to_cart.items_json, add_to_cart.raw_data, no_search_results.raw_data, page_view.raw_data, "
    .. "purchase.items_json, purchase.raw_data, view_item.items_json, view_item.raw_data, view_search_results.raw_data")
end)

t.test("a second run changes nothing, reports nothing and waits for no load", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  local load <close> = pg.connect(at)
  local first <const> = schema.apply(db, QUIET)
  t.equal(#first.created, FILES)
  t.equal(#first.migrations, #fs.glob(config.path("sql") .. "/migrations/*.sql"))
  t.equal(first.differences, {})
  -- A load in the middle of its transaction; CREATE INDEX IF NOT EXISTS would wait for it.
  load:script("BEGIN; DELETE FROM page_view; INSERT INTO page_view (tenant_id, event_date) "
    .. "VALUES ('" .. TENANT .. "', '2024-01-01'); INSERT INTO garun.loads (load_id, tenant_id, source, source_kind, "
    .. "started_at) VALUES ('" .. LOAD .. "', '" .. TENANT .. "', 'x', 'file', now())")
  local second <const> = schema.apply(db, with { lock_timeout = 0.2 })
  t.equal(second.created, {})
  t.equal(second.mended, {})
  t.equal(second.migrations, {})
  t.equal(second.unchanged, FILES)
  t.equal(schema.check(db, QUIET), {})
  load:script("ROLLBACK")
end)

t.test("what is missing or stale is made again, what is of another type is told and left alone", function()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, QUIET)
  db:script [[
    DROP INDEX idx_page_view_session;
    DROP TABLE garun.leases;
    COMMENT ON TABLE users IS 'something else';
    ALTER TABLE purchase ALTER COLUMN raw_data SET COMPRESSION pglz;
    ALTER TABLE users ALTER COLUMN email TYPE text;
    ALTER TABLE locations DROP COLUMN city;
    ALTER TABLE locations ADD COLUMN region text]]
  local before <const> = texts(schema.check(db, QUIET))
  t.match(before, "table page_view: index idx_page_view_session is missing")
  t.match(before, "table garun.leases is missing")
  t.match(before, "table users has another comment")
  t.match(before, "table purchase: column raw_data is compressed with pglz, the files say lz4")
  t.match(before, "table users: column email is text, the files say character varying%(255%)")
  t.match(before, "table locations: column city is missing")
  t.ok(not before:find("region"), "an additional column is no difference")

  local done <const> = schema.apply(db, QUIET)
  t.equal(done.created, { "garun.leases" })
  t.equal(done.mended, { "page_view", "purchase", "users" })
  local after <const> = texts(done.differences)
  t.match(after, "column email is text")
  t.match(after, "column city is missing")
  t.equal(#done.differences, 2)
  t.equal(db:value [[SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                     WHERE attrelid = 'users'::regclass AND attname = 'email']], "text", "no type was changed")
end)

t.test("a check of an empty database lists everything and makes nothing", function()
  local db <close> = pg.connect(t.postgres())
  local list <const> = schema.check(db, QUIET)
  local said <const> = texts(list)
  t.match(said, "table page_view is missing")
  t.match(said, "table garun.loads is missing")
  t.match(said, "0001_tenant_time_zone.sql is not applied yet")
  t.ok(not said:find("column"), "a missing table is told once")
  t.equal(db:value [[SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                     WHERE nspname !~ '^(pg_|information_schema)']], 0)
  t.equal(db:value "SELECT count(*) FROM pg_namespace WHERE nspname ~ 'garun'", 0)
end)

t.test("runs at the same time come one after the other and apply each migration once", function()
  local at <const> = t.postgres()
  local reports <const> = task.map({ 1, 2, 3, 4 }, function()
    local db <close> = pg.connect(at)
    return schema.apply(db, QUIET)
  end, { concurrency = 4 })
  local made, migrated = 0, 0
  for _, r in ipairs(reports) do made, migrated = made + #r.created, migrated + #r.migrations end
  t.equal(made, FILES)
  t.equal(migrated, #fs.glob(config.path("sql") .. "/migrations/*.sql"))
  task.map({ 1, 2, 3, 4 }, function(i)
    local db <close> = pg.connect(at)
    if i % 2 == 0 then t.equal(schema.check(db, QUIET), {}) else t.equal(schema.apply(db, QUIET).unchanged, FILES) end
  end, { concurrency = 4 })
end)

t.test("a role that may not is told what it needs", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  schema.apply(db, QUIET)
  db:script "SET ROLE pg_read_all_data"
  local e <const> = t.raises({ kind = "schema", code = "42501" }, schema.check, db, QUIET)
  t.match(e.message, "permission denied")
  t.match(e.hint, "GRANT CREATE ON DATABASE")
end)

t.test("a table in use that has to be changed ends in an error that names who holds it, and changes nothing", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  schema.apply(db, QUIET)
  db:script "DROP INDEX idx_page_view_session; DROP TABLE garun.leases"
  at.application_name = "nightly load"
  local load <close> = pg.connect(at)
  load:script("BEGIN; DELETE FROM page_view")
  local e <const> = t.raises({ kind = "schema", code = "55P03" }, schema.apply, db, with { lock_timeout = 0.2 })
  t.match(e.message, "sql/tables/page_view.sql:%d+: .*nothing was changed")
  t.match(e.detail, "pid %d+ %(nightly load, role .*%) holds .*page_view")
  t.equal(db:value "SELECT to_regclass('garun.leases')::text", nil, "nothing of it was done")
  load:script "ROLLBACK"
  schema.apply(db, QUIET)
  t.equal(schema.check(db, QUIET), {})
end)

t.test("an error in a file names the file and the line, and leaves nothing behind", function()
  local dir <const> = copy_of_sql()
  local db <close> = pg.connect(t.postgres())
  fs.append(dir .. "/tables/users.sql", "\n\n-- ü\nCREATE INDEX ON users\n  (no_such_column);\n")
  local _, lines <const> = fs.read(dir .. "/tables/users.sql"):gsub("\n", "")
  local e <const> = t.raises({ code = "42703" }, schema.apply, db, with { dir = dir })
  t.match(e.message, string.format("sql/tables/users.sql:%d: ", lines - 1), "no position: the statement's line")
  t.equal(db:value "SELECT to_regclass('tenant_config')::text", nil)

  fs.write(dir .. "/tables/users.sql", "CREATE TABLE users (\n  id integer,\n  'ü' wrong\n);\n")
  t.match(t.raises({ code = "42601" }, schema.apply, db, with { dir = dir }).message, "users.sql:3: syntax error")
  fs.write(dir .. "/tables/users.sql", "CREATE TABLE users (id integer);\nCOMMENT ON TABLE users IS 'open;\n")
  t.match(t.raises({ kind = "schema" }, schema.apply, db, with { dir = dir }).message, "users.sql:2: the string")
  fs.write(dir .. "/tables/users.sql", "CREATE TABLE users (id integer);\n\nCOMMIT;\n")
  t.match(t.raises({ code = "transaction" }, schema.apply, db, with { dir = dir }).message, "users.sql:3: COMMIT")
end)

local LATEST <const> = #fs.glob(copy_of_sql() .. "/migrations/*.sql")
local NEXT <const>, AFTER <const> = string.format("%04d", LATEST + 1), string.format("%04d", LATEST + 2)

t.test("migrations run once each, in order, together with all else", function()
  local dir <const> = copy_of_sql()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, with { dir = dir })
  t.equal(schema.version(db), LATEST)
  fs.write(dir .. "/migrations/" .. NEXT .. "_first.sql", "CREATE TABLE one (x int);\n")
  fs.write(dir .. "/migrations/" .. AFTER .. "_second.sql", "ALTER TABLE one ADD COLUMN y int;\nSELECT 1 / 0;\n")
  local e <const> = t.raises({ code = "22012" }, schema.apply, db, with { dir = dir })
  t.match(e.message, AFTER .. "_second.sql:2: division by zero")
  t.equal(schema.version(db), LATEST, "all of it or nothing")
  t.equal(db:value "SELECT to_regclass('one')::text", nil)

  fs.write(dir .. "/migrations/" .. AFTER .. "_second.sql", "ALTER TABLE one ADD COLUMN y int;\n")
  t.match(texts(schema.check(db, with { dir = dir })), NEXT .. "_first.sql is not applied yet")
  local done <const> = schema.apply(db, with { dir = dir })
  t.equal({ done.migrations[1].name, done.migrations[2].name }, { "first", "second" })
  t.equal(schema.version(db), LATEST + 2)
  t.equal(schema.apply(db, with { dir = dir }).migrations, {})
  t.equal(schema.check(db, with { dir = dir }), {})
  t.equal(db:value "SELECT count(*) FROM garun.migrations WHERE checksum ~ '^[0-9a-f]{64}$' AND duration >= '0'", LATEST + 2)
end)

t.test("a migration with CRLF line ends is the same migration", function()
  local dir <const> = copy_of_sql()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, with { dir = dir })
  local path <const> = dir .. "/migrations/0001_tenant_time_zone.sql"
  fs.write(path, (fs.read(path):gsub("\n", "\r\n")))
  t.equal(schema.apply(db, with { dir = dir }).migrations, {})
end)

t.test("a changed migration, a gap and a database that is newer are refused and told by check", function()
  local dir <const> = copy_of_sql()
  local db <close> = pg.connect(t.postgres())
  fs.write(dir .. "/migrations/" .. NEXT .. "_next.sql", "CREATE TABLE one (x int);\n")
  schema.apply(db, with { dir = dir })
  local function refused(pattern)
    t.match(t.raises({ kind = "schema", code = "migration" }, schema.apply, db, with { dir = dir }).message, pattern)
  end
  fs.append(dir .. "/migrations/" .. NEXT .. "_next.sql", "-- changed\n")
  refused(NEXT .. "_next.sql was changed after it was applied")
  t.match(texts(schema.check(db, with { dir = dir })), "was changed after it was applied")

  fs.remove(dir .. "/migrations/" .. NEXT .. "_next.sql")
  refused("has had migration " .. NEXT .. " %(next%).*newer garun")
  t.match(texts(schema.check(db, with { dir = dir })), "newer garun")
  t.equal(schema.version(db), LATEST + 1, "nothing was changed")

  fs.write(dir .. "/migrations/" .. AFTER .. "_gap.sql", "SELECT 1;\n")
  refused(AFTER .. "_gap.sql: migration " .. NEXT .. " is missing before it")
  fs.rename(dir .. "/migrations/" .. AFTER .. "_gap.sql", dir .. "/migrations/0001_twice.sql")
  refused "the number 0001 is taken"
  fs.rename(dir .. "/migrations/0001_twice.sql", dir .. "/migrations/twice.sql")
  refused "is called NNNN_what_it_does"
end)

t.test("TABLE_CREATION_ORDER and the files must name each other", function()
  local dir <const> = copy_of_sql()
  local db <close> = pg.connect(t.postgres())
  fs.write(dir .. "/tables/extra.sql", "CREATE TABLE IF NOT EXISTS extra (x int);\n")
  local order <const> = { "tenant_config", "users" }
  t.match(t.raises({ code = "order" }, schema.apply, db, with { dir = dir, tables = order }).message,
    "is not in TABLE_CREATION_ORDER")
  t.match(t.raises({ code = "order" }, schema.apply, db, with { dir = dir, tables = { "nothing" } }).message,
    "there is no file sql/tables/nothing.sql")
  t.match(t.raises({ code = "missing" }, schema.apply, db, with { dir = dir .. "/none" }).message, "tables/")
end)

t.test("a role called like garun's schema does not get the tables into it", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  db:exec "SET search_path = garun, public"          -- what \"$user\" is for the role garun
  schema.apply(db, QUIET)
  schema.apply(db, QUIET)
  t.equal(db:value "SELECT count(*) FROM pg_class WHERE relname = 'page_view'", 1)
  t.equal(db:value "SELECT to_regclass('garun.page_view')::text", nil)
  t.equal(db:value "SHOW search_path", "garun, public", "the session's own is as it was")
end)

t.test("the ledger takes no load whose lines do not add up, and days need their load", function()
  local db <close> = pg.connect(t.postgres())
  schema.apply(db, QUIET)
  local insert <const> = "INSERT INTO garun.loads (load_id, tenant_id, source, source_kind, started_at, lines, "
    .. "rows_loaded, other_events, duplicates, rejected, out_of_range) "
    .. "VALUES ($1, $2, 'x', 'file', now(), $3, 5, 4, 3, 2, 1)"
  t.raises({ code = "23514" }, db.exec, db, insert, LOAD, TENANT, 14)
  t.raises({ code = "23503" }, db.exec, db,
    "INSERT INTO garun.days (tenant_id, day, load_id) VALUES ($1, '2024-01-01', $2)", TENANT, LOAD)
  t.equal(db:exec(insert, LOAD, TENANT, 15), 1)
  t.equal(db:exec("INSERT INTO garun.days (tenant_id, day, load_id) VALUES ($1, '2024-01-01', $2)", TENANT, LOAD), 1)
  t.raises({ code = "23505" }, db.exec, db,
    "INSERT INTO garun.days (tenant_id, day, load_id) VALUES ($1, '2024-01-01', $2)", TENANT, LOAD)
end)

-- init_db.lua as a process, against the database `at`.
local function script(at, ...)
  local command <const> = { "garun", config.path("scripts/init_db.lua"), ... }
  command.cwd = "/"
  command.env = { POSTGRES_HOST = at.host, POSTGRES_PORT = tostring(at.port or 5432), POSTGRES_USER = at.user,
    POSTGRES_DATABASE = at.database }
  return t.run(command)
end

t.test("init_db.lua makes the schema, says what it did, and --check tells differences with its exit code", function()
  local at <const> = t.postgres()
  local checked = script(at, "--check")
  t.equal(checked.status, 1, checked.stderr)
  t.match(checked.stdout, "table purchase is missing")
  local done = script(at)
  t.equal(done.status, 0, done.stderr)
  t.match(done.stdout, "sql/tables/purchase.sql: created")
  t.match(done.stdout, FILES .. " created, 0 brought up to date, 0 unchanged")
  done = script(at)
  t.equal(done.stdout:gsub("%d+%.%d+ s", "N s"):gsub("%d+ functions", "N functions"), "0 created, 0 brought up to date, "
    .. FILES .. " unchanged, N functions, 0 migrations, N s\n")
  checked = script(at, "--check")
  t.equal(checked.status, 0, checked.stdout)
  t.match(checked.stdout, "is what the files say")
end)

t.test("init_db.lua --create makes the database, without it the error says so", function()
  local at <const> = t.postgres()
  local name <const> = at.database .. "_new"
  local new <const> = { host = at.host, port = at.port, user = at.user, database = name }
  t.after(function()
    local db <close> = pg.connect(at)
    db:exec("DROP DATABASE IF EXISTS " .. pg.ident(name))
  end)
  local failed <const> = script(new)
  t.equal(failed.status, 1)
  t.match(failed.stderr, "%-%-create")
  local created <const> = script(new, "--create")
  t.equal(created.status, 0, created.stderr)
  t.match(created.stdout, "database .*_new: created")
  t.equal(script(new, "--create").status, 0, "again")
end)

t.test("init_db.lua refuses unknown options before it connects", function()
  local nowhere <const> = { host = "/nonexistent", user = "nobody", database = "none" }
  local refused <const> = script(nowhere, "--chek")
  t.equal(refused.status, 2)
  t.match(refused.stderr, "did you mean %-%-check")
  t.equal(script(nowhere, "--check", "--create").status, 2)
  t.match(script(nowhere, "--help").stdout, "usage: garun init_db.lua")
  t.match(t.run { "garun", "init", "--help", cwd = "/" }.stdout, "usage: garun init_db.lua", "garun init is the same")
end)

t.test("SQL text is cut into statements where PostgreSQL cuts it", function()
  local function cut(text)
    local list <const> = {}
    for i, s in ipairs(split(text, "f.sql")) do list[i] = s.line .. ":" .. s.text:gsub("%s+", " "):gsub(" $", "") end
    return list
  end
  t.equal(cut "select 1; select 2", { "1:select 1", "1:select 2" })
  t.equal(cut "-- a; b\n/* ; /* ; */ ; */\nselect ';', \";\" -- c;\n;", { "3:select ';', \";\" -- c;" })
  t.equal(cut "select 'it''s;';\nselect E'\\';';", { "1:select 'it''s;'", "2:select E'\\';'" })
  t.equal(cut "do $$ a; $x$ b; $$;\nselect $1;", { "1:do $$ a; $x$ b; $$", "2:select $1" })
  t.equal(cut "do $f$ a; $$ ; $f$", { "1:do $f$ a; $$ ; $f$" })
  local body <const> = "create function f() returns int begin atomic select case when true then 1 end; select 2; end"
  t.equal(cut(body .. ";\nselect 3"), { "1:" .. body, "2:select 3" })
  t.equal(cut "create rule r as on insert to t do (select 1; select 2); select 3",
    { "1:create rule r as on insert to t do (select 1; select 2)", "1:select 3" })
  t.equal(cut ";;\n-- nothing\n;", {})
  t.match(t.raises({ code = "syntax" }, split, "select 1;\nselect $a$ x", "f.sql").message, "f.sql:2: the dollar")
end)

t.test("the comparison of catalogs tells an invalid index and a changed definition", function()
  local function thing(kind, value, valid)
    return { kind = kind, table = "t", name = "i", value = value, valid = valid }
  end
  local table_row <const> = { kind = "table", table = "t", name = "t", valid = true }
  local function compare(want, have)
    return texts(catalog.compare({ ["table t t"] = table_row, x = want }, { ["table t t"] = table_row, x = have }))
  end
  t.match(compare(thing("index", "btree (a)", true), thing("index", "btree (a)", false)), "is invalid")
  local other <const> = compare(thing("index", "btree (a)", true), thing("index", "btree (b)", true))
  t.match(other, "is btree %(b%), the files say btree %(a%)")
  t.equal(compare(thing("index", "btree (a)", true), thing("index", "btree (a)", true)), "")
end)

t.test("etc/postgresql.conf.example is what the private server of such a machine gets", function()
  local path <const> = config.path("etc/postgresql.conf.example")
  if not fs.exists(path) then t.skip("etc/ is not installed") end
  local settings <const> = require "garun.private_pg.settings"
  local machine <const> = { memory = 8 << 30, cores = 4, disk_free = 400 << 30, wal_lz4 = true, toast_lz4 = true }
  local text <const> = fs.read(path)
  t.equal(text:match("\n(# Memory\n.*)$"), settings.tuning(machine))
  for _, line in ipairs { "shared_buffers = 2GB", "effective_cache_size = 6GB", "work_mem = 64MB",
    "maintenance_work_mem = 512MB", "random_page_cost = 1.1", "effective_io_concurrency = 200",
    "log_min_duration_statement = 1000" } do
    t.ok(text:find("\n" .. line, 1, true), line)
  end
  t.ok(not text:find("\nfsync", 1, true))
  -- A small and a large machine stay within what PostgreSQL takes.
  local small <const> = settings.tuning { memory = 200 << 20, cores = 1, disk_free = 1 << 30 }
  t.match(small, "shared_buffers = 50MB")
  t.match(small, "work_mem = 4MB")
  t.match(small, "max_wal_size = 1GB")
  t.match(small, "wal_compression = on")
  local large <const> = settings.tuning { memory = 512 << 30, cores = 96 }
  t.match(large, "shared_buffers = 2GB")
  t.match(large, "effective_cache_size = 384GB")
  t.match(large, "max_parallel_workers_per_gather = 4")
end)

t.test("init_db derives the days of a database that was filled before there were derived rows", function()
  local support <const> = require "support"
  local db <const> = support.tenant()
  local dir <const> = support.events { days = 2, events = 200 }
  db.ingest { "--source", dir .. "/*.ndjson" }
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id::text from tenant_config"
  local want <const> = conn:value("select get_complete_dashboard_data($1, null, null)", tenant)
  for _, name in ipairs { "session_days", "visitor_days", "cart_days", "purchases", "search_days", "hour_stats", "day_stats",
    "event_days" } do
    conn:exec("truncate garun." .. name)
  end
  local r <const> = db.garun { "init_db.lua" }
  t.equal(r.status, 0, r.stderr)
  t.match(r.stdout, "tenant acme: 2 days derived")
  t.equal(conn:value("select get_complete_dashboard_data($1, null, null)", tenant), want)
  t.equal(db.garun({ "init_db.lua" }).stdout:find("derived", 1, true), nil, "and once is enough")
end)

t.test("init_db brings a database from before migration 0002 up to date, its derived rows too", function()
  local support <const> = require "support"
  local db <const> = support.tenant()
  db.ingest { "--source", support.events { days = 3, events = 300 } .. "/*.ndjson" }
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id::text from tenant_config"
  local want <const> = conn:value("select get_complete_dashboard_data($1, null, null)", tenant)
  t.ok(want.metrics.uniqueUsers > 0)
  conn:script [[
    ALTER TABLE garun.session_days DROP COLUMN session_before, DROP COLUMN here_session_before;
    DROP INDEX garun.idx_session_days_visitor_day, garun.idx_session_days_shared_branch;
    CREATE INDEX idx_session_days_visitor ON garun.session_days(visitor_a);
    CREATE INDEX idx_session_days_shared ON garun.session_days(tenant_id, event_date) WHERE NOT alone;
    ALTER TABLE garun.hour_stats ADD COLUMN visits_day INTEGER NOT NULL DEFAULT 0;
    DROP TABLE garun.visitor_days, garun.day_stats;
    DROP TRIGGER garun_derive ON garun.changed_days;
    CREATE FUNCTION garun.derive_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''old trigger''; END';
    CREATE TRIGGER garun_derive AFTER INSERT OR UPDATE OR DELETE ON page_view FOR EACH STATEMENT
      EXECUTE FUNCTION garun.derive_changes();
    DELETE FROM garun.migrations WHERE version > 1;
  ]]
  local r <const> = db.garun { "init_db.lua" }
  t.equal(r.status, 0, r.stderr)
  t.match(r.stdout, "0002_session_before.sql: applied")
  t.match(r.stdout, "tenant acme: 3 days derived")
  t.equal(schema.check(conn, QUIET), {})
  t.equal(conn:value("select get_complete_dashboard_data($1, null, null)", tenant), want)
  conn:exec("delete from page_view where event_date = $1", want.chartData[1].date)
  t.ok(conn:value("select get_complete_dashboard_data($1, null, null)", tenant).metrics.totalVisitors < want.metrics.totalVisitors,
    "the triggers are the new ones")
end)
