-- demo.lua: `make demo`. The whole road once: a database, sample events, a load, the same load again, a dashboard.
--
-- It uses the private PostgreSQL and a database of its own, garun_demo, whatever else is configured.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local pg <const> = require "garun.pg"
local pipeline <const> = require "garun.pipeline"
local proc <const> = require "garun.proc"
local time <const> = require "garun.time"

local database <const> = "garun_demo"
local events <const> = config.var() .. "/demo"
local first_day <const>, days <const>, events_per_day <const> = "2026-03-02", 5, 8000

local function say(text) print("\n\27[1m" .. text .. "\27[0m") end
if os.getenv("NO_COLOR") or not host.isatty(1) then say = function(text) print("\n" .. text) end end

-- Runs garun as a user would and shows the command.
local function garun(...)
  print("$ garun " .. table.concat({ ... }, " "))
  io.flush()
  local env <const> = { POSTGRES_DATABASE = database }
  for name in pairs(host.environ()) do
    if name:match("^POSTGRES_") and name ~= "POSTGRES_DATABASE" then env[name] = false end
  end
  local command <const> = { host.exe(), "--env", "/dev/null" }
  for _, arg in ipairs { ... } do command[#command + 1] = arg end
  command.env, command.stdout, command.stderr, command.timeout = env, "inherit", "inherit", 600
  local r <const> = proc.run(command)
  if r.status ~= 0 then os.exit(r.status or 1) end
end

local function prepare()
  local own <const> = require("garun.private_pg").ensure()
  do
    local db <close> = pg.connect { host = own.host, port = own.port, user = own.user, database = "postgres" }
    if not db:value("select 1 from pg_database where datname = $1", database) then
      db:exec("create database " .. pg.ident(database) .. " template template0")
    end
  end
  return { host = own.host, port = own.port, user = own.user, database = database }
end

local function add_tenant(at)
  local db <close> = pg.connect(at)
  db:exec("insert into tenant_config (name, postgres_config) select 'demo', $1 where not exists "
    .. "(select 1 from tenant_config)", pg.json { host = at.host, database = at.database, user = at.user })
end

-- The branches, from the file that an ERP sends; events name them by their ids.
local function add_locations(at)
  local db <close> = pg.connect(at)
  local mapping <const> = pipeline.mapping {
    format = "csv",
    table = "locations",
    columns = {
      tenant_id = pipeline.const(db:value "select id from tenant_config"),
      location_id = { "Warehouse Code", id = true, empty = "null" },
      location_name = "Warehouse Name",
      city = "City",
      state = "State",
    },
  }
  local r <const> = pipeline.load { db = db, from = events .. "/locations.csv", mapping = mapping, mode = "merge",
    key = { "tenant_id", "location_id" } }
  print(string.format("%d branches of locations.csv, %d rejected", r.loaded, r.rejected))
end

local started <const> = time.monotonic()
say "1. A private PostgreSQL: on a Unix socket under var/, started when something needs it"
garun("db", "start")
local at <const> = prepare()
say "2. The schema: tables, indexes, the ledger"
garun("init_db.lua")
add_tenant(at)
say "3. Sample events: a distributor's web shop, in the form of the GA4 export, with the dirt of real ones"
fs.mkdir(events, { parents = true })
garun("demo/generate.lua", "--out", events, "--from", first_day, "--days", tostring(days), "--events-per-day",
  tostring(events_per_day), "--gzip")
say "4. The load: each day in one transaction"
add_locations(at)
garun("ingest.lua", "--source", events .. "/events_*.ndjson.gz", "--force")
say "5. The same again: the ledger knows these files"
garun("ingest.lua", "--source", events .. "/events_*.ndjson.gz")
say "6. What is in it"
garun("dashboard.lua", "--from", first_day)
say(string.format("Done in %.0f s. What to try next:", time.monotonic() - started))
print(([[
  export POSTGRES_DATABASE=%s          # the demo's database on the private server
  build/garun db psql -d %s            # look at the tables
  build/garun rejects list                     # the malformed lines, and why
  build/garun ingest.lua --source '%s/events_*.gz' --force
  build/garun help                             # commands and modules
  build/garun db stop]]):format(database, database, events))
