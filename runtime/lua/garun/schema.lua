-- garun.schema: brings a database to what the files of sql/ say, and tells where it differs.
--
-- Everything is done in one transaction under an advisory lock: all of it or nothing, one run at a time. What the
-- database has already is left alone: even CREATE INDEX IF NOT EXISTS and COMMENT wait for the loads that are running,
-- and make the next loads wait, before they find that there is nothing to do. So the files are first run in a scratch
-- schema, the catalogs compared, and only the files whose objects differ are run in earnest.
--
-- It never drops, never narrows, never converts: a column of another type is told, and is a migration's work.

local catalog <const> = require "garun.schema.catalog"
local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local files <const> = require "garun.schema.files"
local log <const> = require "garun.log"

local schema <const> = {}

local LOCK <const> = string.unpack(">i8", "garunsql")    -- the advisory lock of all schema runs of a database
local LOCK_PATIENCE <const> = 60                         -- seconds
local SCRATCH <const> = "garun_check"
local OLDEST <const> = 140000                            -- SET COMPRESSION and BEGIN ATOMIC are PostgreSQL 14's

local function fail(code, message, hint)
  error(errors.new { kind = "schema", code = code, message = message, hint = hint }, 0)
end

-- ---- running files ----

-- The line of the file where PostgreSQL's error position (characters from 1, in the statement's text) is.
local function line_at(statement, position)
  local at <const> = tonumber(position) and utf8.len(statement.text) and utf8.offset(statement.text, tonumber(position))
  if not at then return statement.line end
  local _, newlines <const> = statement.text:sub(1, at - 1):gsub("\n", "")
  return statement.line + newlines
end

local function run_file(tx, file)
  for _, statement in ipairs(file.statements) do
    local ok <const>, e <const> = pcall(tx.script, tx, statement.text)
    if not ok then
      if not errors.is(e, "pg") then error(e, 0) end
      error(errors.wrap(e, string.format("%s:%d", file.shown, line_at(statement, e.position))), 0)
    end
  end
end

local function set_path(tx, name)
  tx:exec("SELECT set_config('search_path', $1, true)", name)
end

-- ---- migrations ----

-- What the database says it has had; empty before the first run.
local function applied_migrations(tx)
  if not tx:value("SELECT to_regclass('garun.migrations') IS NOT NULL") then return {} end
  return tx:query("SELECT version, name, checksum FROM garun.migrations ORDER BY version")
end

-- Compares what was applied with the files: the files still to apply, and a list of problems like catalog.compare's.
local function compare_migrations(applied, list)
  local problems <const>, done <const> = {}, {}
  local function problem(what, name, text, hint)
    problems[#problems + 1] = { kind = "migration", table = "garun.migrations", name = name, what = what, text = text,
      hint = hint, mended = false }
  end
  for _, row in ipairs(applied) do
    local file <const> = list[row.version]
    done[row.version] = true
    if not file then
      problem("unknown", row.name, string.format(
        "the database has had migration %04d (%s), which is not among the files: it was set up by a newer garun",
        row.version, row.name), "install that garun here, or restore the file; nothing is changed until then")
    elseif row.checksum ~= file.checksum then
      problem("changed", row.name, string.format(
        "%s was changed after it was applied: SHA-256 %s... then, %s... now", file.shown, row.checksum:sub(1, 12),
        file.checksum:sub(1, 12)), "restore the file as it was and write the change into a new migration")
    end
  end
  local pending <const> = {}
  for version, file in ipairs(list) do
    if not done[version] then
      pending[#pending + 1] = file
      if #applied > 0 and version < applied[#applied].version then
        problem("gap", file.title, string.format("%s was never applied, but migration %04d was", file.shown,
          applied[#applied].version), "apply it by hand if it is wanted, then add its row to garun.migrations")
      end
    end
  end
  return pending, problems
end

local function apply_migration(tx, file)
  local started <const> = tx:value("SELECT clock_timestamp()::text")
  run_file(tx, file)
  return tx:value([[
    INSERT INTO garun.migrations (version, name, checksum, duration)
    VALUES ($1, $2, $3, clock_timestamp() - $4::timestamptz)
    RETURNING extract(epoch FROM duration)::float8]], file.version, file.title, file.checksum, started)
end

-- ---- the wanted and the live schema ----

-- Notes which file has made which relation: all that are there and not in `seen` yet are its own.
local function relations(tx, seen, owner)
  for _, row in ipairs(tx:query([[
      SELECT CASE WHEN n.nspname = 'garun' THEN 'garun.' ELSE '' END || c.relname AS name
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname IN ($1, 'garun') AND c.relkind IN ('r', 'p', 'i', 'I')]], SCRATCH)) do
    if not seen[row.name] then seen[row.name] = owner end
  end
end

-- Runs all files in a scratch schema, reads the catalogs and rolls the scratch back. Returns the things, and which file
-- makes which relation. Nobody else sees any of it: DDL is transactional, and so is the new name of the schema garun.
local function wanted(tx, plan)
  local things <const>, makers <const> = {}, {}
  tx:script("SAVEPOINT garun_scratch")
  tx:script("CREATE SCHEMA " .. SCRATCH)
  if tx:value("SELECT to_regnamespace('garun') IS NOT NULL") then
    tx:script("ALTER SCHEMA garun RENAME TO garun_live")
  end
  set_path(tx, SCRATCH)
  for _, room in ipairs { "tables", "runtime", "migrations", "indexes" } do
    for _, file in ipairs(plan[room]) do
      run_file(tx, file)
      relations(tx, makers, file)
    end
  end
  catalog.read(tx, SCRATCH, "", things)
  catalog.read(tx, "garun", "garun.", things)
  tx:script("ROLLBACK TO SAVEPOINT garun_scratch; RELEASE SAVEPOINT garun_scratch")
  return things, makers
end

local function live(tx, name)
  set_path(tx, name)
  return catalog.read(tx, "garun", "garun.", catalog.read(tx, name, "", {}))
end

-- ---- one run ----

local function say(options, format, ...)
  local text <const> = string.format(format, ...)
  if type(options.log) == "function" then
    options.log(text)
  elseif options.log ~= false then
    (options.log or log).info(text)
  end
end

local function check_server(tx)
  local version <const> = tx:value("SELECT current_setting('server_version_num')::int")
  if version < OLDEST then
    fail("version", string.format("the server is PostgreSQL %s, garun needs 14 or newer",
      tx:value("SELECT current_setting('server_version')")), "connect to a newer server, or upgrade this one")
  end
end

local function lock(tx, options)
  if tx:value("SELECT pg_try_advisory_xact_lock($1::bigint)", LOCK) then return end
  say(options, "another run sets up this database, waiting for it")
  tx:exec("SELECT set_config('lock_timeout', $1, true)", LOCK_PATIENCE .. "s")
  local ok <const>, e <const> = pcall(tx.exec, tx, "SELECT pg_advisory_xact_lock($1::bigint)", LOCK)
  if ok then return end
  if not (errors.is(e, "pg") and e.code == "55P03") then error(e, 0) end
  fail("locked", string.format("another run has been setting up this database for more than %d seconds; nothing was "
    .. "changed", LOCK_PATIENCE), "see pg_stat_activity for what it does; end it (pg_terminate_backend) or run again")
end

-- The files that have to run for these differences, as a set.
local function files_for(differences, makers)
  local wanted_files <const> = {}
  for _, d in ipairs(differences) do
    if d.mended then
      local maker <const> = makers[d.kind == "index" and d.what == "missing"
        and (d.table:match("^garun%.") or "") .. d.name or d.table]
      if maker and maker.room ~= "migrations" then wanted_files[maker] = true end
    end
  end
  return wanted_files
end

local function apply(tx, plan, options)
  local started <const> = tx:value("SELECT clock_timestamp()::text")
  local target <const> = options.schema or "public"
  check_server(tx)
  tx:exec("SELECT set_config('client_min_messages', 'warning', true)")
  lock(tx, options)
  local patience <const> = math.max(1, (options.lock_timeout or 10) * 1000 // 1)
  tx:exec("SELECT set_config('lock_timeout', $1, true)", string.format("%dms", patience))

  local pending <const>, problems <const> = compare_migrations(applied_migrations(tx), plan.migrations)
  if problems[1] then fail("migration", problems[1].text, problems[1].hint) end

  local want, makers, to_run
  local before <const> = live(tx, target)
  local fresh <const> = next(before) == nil
  if not fresh then
    want, makers = wanted(tx, plan)
    to_run = files_for(catalog.compare(want, before), makers)
  end
  local report <const> = { created = {}, mended = {}, unchanged = 0, functions = #plan.functions, migrations = {} }
  set_path(tx, target)
  local function run_room(room)
    for _, file in ipairs(plan[room]) do
      -- What makes no table and no index (functions, the schema garun itself) is run every time.
      local needed <const> = fresh or not file.makes or to_run[file]
      if needed then run_file(tx, file) end
      if not file.makes then goto continue end
      local own <const> = (room == "runtime" and "garun." or "") .. file.name
      if not needed then
        report.unchanged = report.unchanged + 1
      elseif before["table " .. own .. " " .. own] then
        report.mended[#report.mended + 1] = own
        say(options, "%s: brought up to date", file.shown)
      else
        report.created[#report.created + 1] = own
        say(options, "%s: created", file.shown)
      end
      ::continue::
    end
  end
  run_room "tables"
  run_room "runtime"
  for _, file in ipairs(pending) do
    local seconds <const> = apply_migration(tx, file)
    report.migrations[#report.migrations + 1] = { version = file.version, name = file.title, seconds = seconds }
    say(options, "%s: applied in %.2f s", file.shown, seconds)
  end
  run_room "functions"
  run_room "indexes"

  report.differences = fresh and {} or catalog.compare(want, live(tx, target))
  report.seconds = tx:value("SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)::float8", started)
  return report
end

-- Who holds the tables that could not be locked, oldest first; asked after the rollback, so some may be gone.
local function holders(db, target)
  local list <const> = {}
  for _, row in ipairs(db:query([[
      SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type) AS program, a.usename AS role,
             to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since,
             string_agg(DISTINCT c.relname, ', ') AS tables
      FROM pg_locks l
      JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ($1, 'garun')
      JOIN pg_stat_activity a USING (pid)
      WHERE l.granted AND l.mode <> 'AccessShareLock' AND a.pid <> pg_backend_pid()
      GROUP BY 1, 2, 3, 4, a.xact_start ORDER BY a.xact_start LIMIT 5]], target)) do
    list[#list + 1] = string.format("pid %d (%s, role %s) holds %s, its transaction began %s UTC", row.pid,
      row.program, row.role or "none", row.tables, row.since or "before")
  end
  return #list > 0 and table.concat(list, "\n") or nil
end

-- Adds to a server's error what the operator does not know at three in the morning.
local function explain(db, e, target)
  if not errors.is(e, "pg") then return e end
  local detail, hint = e.detail, e.hint
  if e.code == "55P03" then
    local ok <const>, who <const> = pcall(holders, db, target)
    detail = ok and who or detail
    hint = "nothing was changed: run it again when the load or session that holds the table has ended"
  elseif e.code == "42501" then
    hint = hint or string.format("run it as the owner of the database, or let the owner GRANT CREATE ON DATABASE and "
      .. "GRANT CREATE ON SCHEMA %s to this role", target)
  end
  return errors.new { kind = "schema", code = e.code, message = e.message .. "; nothing was changed", detail = detail,
    hint = hint, retryable = e.retryable, cause = e }
end

-- READ COMMITTED whatever the database's default is: what another run has done must be seen once the lock is ours.
local function transaction(db, fn)
  return db:transaction(fn, not db:in_transaction() and { isolation = "read committed" } or nil)
end

local function prepare(name, options)
  options = options or {}
  errors.check_options(name, options, { "log", "dir", "tables", "schema", "lock_timeout" })
  return options, files.read(options.dir or config.path("sql"), options.tables)
end

--- Tables in order, garun's own tables, functions, indexes, migrations. See runtime/meta/garun.schema.lua.
function schema.apply(db, options)
  local plan
  options, plan = prepare("schema.apply", options)
  local ok <const>, result <const> = pcall(transaction, db, function(tx) return apply(tx, plan, options) end)
  if not ok then error(explain(db, result, options.schema or "public"), 0) end
  for _, d in ipairs(result.differences) do
    log.warn("the schema differs from the files: " .. d.text)
  end
  return result
end

--- Where the live schema differs from the files; changes nothing. See runtime/meta/garun.schema.lua.
function schema.check(db, options)
  local plan
  options, plan = prepare("schema.check", options)
  local rolled_back <const> = {}
  local list
  local ok <const>, e <const> = pcall(transaction, db, function(tx)
    check_server(tx)
    tx:exec("SELECT set_config('client_min_messages', 'error', true)")
    lock(tx, options)
    local pending <const>, problems <const> = compare_migrations(applied_migrations(tx), plan.migrations)
    list = catalog.compare(wanted(tx, plan), live(tx, options.schema or "public"))
    for _, file in ipairs(pending) do
      list[#list + 1] = { kind = "migration", table = "garun.migrations", name = file.title, what = "pending",
        mended = true, text = file.shown .. " is not applied yet" }
    end
    table.move(problems, 1, #problems, #list + 1, list)
    error(rolled_back, 0)
  end)
  if not ok and e ~= rolled_back then error(explain(db, e, options.schema or "public"), 0) end
  return list
end

--- The number of the newest migration the database has had; nil when it was never set up.
function schema.version(db)
  if not db:value("SELECT to_regclass('garun.migrations') IS NOT NULL") then return nil end
  return db:value("SELECT max(version) FROM garun.migrations")
end

return schema
