#!/usr/bin/env garun
-- init_db.lua: brings the configured database to what sql/ says: tables, functions, indexes, migrations.
--
--   garun init_db.lua             make what is missing; may be run again at any time, also while loads run
--   garun init_db.lua --check     tell where the database differs, change nothing; exit code 1 when it does
--   garun init_db.lua --create    make the database POSTGRES_DATABASE first when there is none
--
-- To add a table: put its file into sql/tables/ and its name here, after the tables it refers to, and run this again.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local ledger <const> = require "garun.ledger"
local pg <const> = require "garun.pg"
local printable <const> = require "garun.printable"
local schema <const> = require "garun.schema"

local TABLE_CREATION_ORDER <const> = {
  "tenant_config",
  "users",
  "locations",
  "purchase",
  "add_to_cart",
  "page_view",
  "view_search_results",
  "no_search_results",
  "view_item",
  "processing_jobs",
  "branch_email_mappings",
  "email_sending_jobs",
  "email_send_history",
}

local USAGE <const> = "usage: garun init_db.lua [--check | --create]"

local function options(...)
  local found <const> = {}
  for _, word in ipairs { ... } do
    if word ~= "--check" and word ~= "--create" and word ~= "--help" and word ~= "-h" then
      local near <const> = errors.nearest(word, { "--check", "--create", "--help" })
      error(errors.new { kind = "usage", message = "init_db: unknown option '" .. word .. "'"
        .. (near and "; did you mean " .. near .. "?" or ""), hint = USAGE }, 0)
    end
    found[word:match("%a+")] = true
  end
  if found.check and found.create then
    error(errors.new { kind = "usage", message = "init_db: --check changes nothing, --create does", hint = USAGE }, 0)
  end
  return found
end

local function create_database(settings)
  local name <const> = settings.database
  if not name then
    error(errors.new { kind = "usage", message = "init_db: --create needs POSTGRES_DATABASE" }, 0)
  end
  local at <const> = {}
  for k, v in pairs(settings) do at[k] = v end
  at.database = "postgres"
  local db <close> = pg.connect(at)
  if db:value("SELECT count(*) FROM pg_database WHERE datname = $1", name) > 0 then return end
  local ok <const>, e <const> = pcall(db.exec, db, "CREATE DATABASE " .. pg.ident(name))
  if ok then
    print("database " .. name .. ": created")
  elseif not (errors.is(e, "pg") and e.code == "42P04") then     -- duplicate_database: somebody else was quicker
    error(e, 0)
  end
end

local function connect(settings)
  local ok <const>, db <const> = pcall(pg.connect, settings)
  if ok then return db end
  if errors.is(db, "pg") and db.code == "3D000" then             -- invalid_catalog_name: no such database
    error(errors.new { kind = "pg", code = db.code, message = db.message, hint = "garun init_db.lua --create makes it",
      cause = db }, 0)
  end
  error(db, 0)
end

local function check(db)
  local differences <const> = schema.check(db, { tables = TABLE_CREATION_ORDER })
  for _, d in ipairs(differences) do print(d.text) end
  if #differences == 0 then
    print("the database is what the files say")
    return 0
  end
  print(string.format("%d differences; nothing was changed", #differences))
  return 1
end

-- A database that was set up before there were derived rows has events without them; a run that was stopped half-way too.
local function derive_missing(db)
  local derived = 0
  for _, tenant in ipairs(db:query "select id::text, name from tenant_config order by name") do
    local days <const> = db:query([[
      select d::text as day from garun.days_with_events($1, null, null) d
       where not exists (select from garun.event_days e where e.tenant_id = $1 and e.event_date = d) order by d]], tenant.id)
    for _, row in ipairs(days) do
      db:transaction(function(tx) ledger.derive(tx, tenant.id, { [row.day] = true }) end, { isolation = "read committed" })
    end
    derived = derived + #days
    if #days > 0 then print(string.format("tenant %s: %d days derived for the analytics functions",
      printable(tenant.name), #days)) end
  end
  if derived > 0 then ledger.analyze(db) end
end

local function apply(db)
  local done <const> = schema.apply(db, { tables = TABLE_CREATION_ORDER, log = print })
  print(string.format("%d created, %d brought up to date, %d unchanged, %d functions, %d migrations, %.2f s",
    #done.created, #done.mended, done.unchanged, done.functions, #done.migrations, done.seconds))
  for _, d in ipairs(done.differences) do print("differs: " .. d.text) end
  derive_missing(db)
  return 0
end

local found <const> = options(...)
if found.help or found.h then
  print(USAGE)
  return 0
end
local settings <const> = config.postgres()
if found.create then create_database(settings) end
local db <close> = connect(settings)
return (found.check and check or apply)(db)
