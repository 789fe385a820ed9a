-- Shared by the load tests: databases with the schema and a tenant, garun run against them, events.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local t <const> = require "garun.test"

local support <const> = {}

support.tables = { "add_to_cart", "no_search_results", "page_view", "purchase", "view_item", "view_search_results" }

local template

local function admin(at, sql)
  local db <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = "postgres" }
  db:exec(sql)
end

-- The schema is made once a test file; each test gets a copy.
local function make_template()
  local at <const> = config.postgres()
  local name <const> = "template_" .. require("garun.uuid").v7():gsub("-", "")
  admin(at, "create database " .. name .. " template template0")
  local env <const> = { POSTGRES_HOST = at.host, POSTGRES_PORT = at.port, POSTGRES_USER = at.user, POSTGRES_DATABASE = name }
  local r <const> = t.run { "garun", "--env", "/dev/null", "init_db.lua", env = env }
  if r.status ~= 0 then error("init_db failed: " .. r.stderr) end
  local db <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = name }
  db:exec "insert into tenant_config (name, postgres_config) values ('acme', '{}')"
  return name
end

-- A database of its own for the running test, with one tenant: { at, env, connect(), garun{...}, ingest{...} }
function support.tenant()
  template = template or make_template()
  local at <const> = config.postgres()
  local name <const> = "t_" .. require("garun.uuid").v7():gsub("-", "")
  admin(at, "create database " .. name .. " template " .. template)
  t.after(function() admin(at, "drop database if exists " .. name .. " with (force)") end)
  local self <const> = { at = { host = at.host, port = at.port, user = at.user, database = name } }
  self.env = { POSTGRES_HOST = at.host, POSTGRES_PORT = tostring(at.port), POSTGRES_USER = at.user,
    POSTGRES_DATABASE = name }
  function self.connect() return pg.connect(self.at) end
  function self.value(sql, ...)
    local db <close> = pg.connect(self.at)
    return db:value(sql, ...)
  end
  -- Runs garun with these arguments against the database.
  function self.garun(args)
    local cmd <const> = { "garun", "--env", "/dev/null" }
    for _, a in ipairs(args) do cmd[#cmd + 1] = a end
    for k, v in pairs(args) do
      if type(k) == "string" then cmd[k] = v end
    end
    local env <const> = {}
    for k, v in pairs(self.env) do env[k] = v end
    for k, v in pairs(args.env or {}) do env[k] = v end
    cmd.env = env
    return t.run(cmd)
  end
  -- Runs ingest.lua --json and gives its object; raises when it fails.
  function self.ingest(args)
    table.insert(args, 1, "ingest.lua")
    args[#args + 1] = "--json"
    local r <const> = self.garun(args)
    if r.status ~= 0 then error(string.format("ingest ended with %s: %s", tostring(r.status or r.signal), r.stderr), 2) end
    return json.decode(r.stdout)
  end
  return self
end

-- One number for what a day holds, whatever the ids: rows and a hash over all columns but id.
function support.fingerprint(db, day)
  local parts <const> = {}
  for _, name in ipairs(support.tables) do
    parts[#parts + 1] = string.format("select '%s' as tab, count(*) as n, coalesce(sum(hashtextextended("
      .. "(to_jsonb(t) - 'id')::text, 0)), 0)::text as h from %s t where ($1::date is null or event_date = $1)", name, name)
  end
  local out <const> = {}
  for _, r in ipairs(db:query(table.concat(parts, " union all ") .. " order by 1", day)) do
    out[#out + 1] = string.format("%s %d %s", r.tab, r.n, r.h)
  end
  return table.concat(out, "\n")
end

-- The directory of real sample rows beside the checkout; skips the test where it is not there.
function support.samples()
  local dir <const> = config.root() .. "/../shared/samples"
  if not fs.exists(dir .. "/README.md") then t.skip "no ../shared/samples here" end
  return dir
end

-- Runs the sample generator into a directory; gives the directory and its manifest.
function support.events(opts)
  local dir <const> = t.tmpdir()
  local r <const> = t.run { "garun", "--env", "/dev/null", config.path "scripts/demo/generate.lua", "--out", dir, "--from",
    opts.from or "2024-01-01", "--days", tostring(opts.days or 2), "--events-per-day", tostring(opts.events or 600),
    "--seed", tostring(opts.seed or 1), "--dirt", tostring(opts.dirt or 20), opts.gzip and "--gzip" or nil }
  if r.status ~= 0 then error("the generator failed: " .. r.stderr) end
  return dir, json.decode(fs.read(dir .. "/manifest.json"))
end

-- A minimal event as one line of JSON; fields override.
function support.event(fields)
  local e <const> = { event_date = "20240101", event_timestamp = 1704067200000000, event_name = "page_view",
    user_pseudo_id = "u1" }
  for k, v in pairs(fields or {}) do e[k] = v ~= false and v or nil end
  return json.encode(e)
end

-- Writes lines to a file of the running test and gives its path.
function support.file(lines, name)
  local path <const> = t.tmpdir() .. "/" .. (name or "events.ndjson")
  fs.write(path, type(lines) == "table" and table.concat(lines, "\n") .. "\n" or lines)
  return path
end

return support
