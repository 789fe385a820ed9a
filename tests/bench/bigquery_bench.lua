-- bigquery_bench: pages of BigQuery answers to lines, and to committed rows. Rounds alternate; medians and ratios.
--
--   garun tests/bench/bigquery_bench.lua [--events N] [--rounds N] [--dir DIR] [--load] [--json FILE]
--
--   scan      garun.core.bq_rows on one page in memory, against garun.json with a loop in Lua and Python's json module
--   download  client:events from the fixture server, against curl fetching the same pages (to /dev/null)
--   --load    that source against the file source with the same lines, by the GA4 mapping into a private PostgreSQL
--
-- Default 20,000 events of 3 kB and 5 rounds; data is kept in DIR (default build/bench). The fixture server is Python and
-- shares the machine's cores: what is measured with it is a lower bound.

local config <const> = require "garun.config"
local core <const> = require "garun.core.bq_rows"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local pipeline <const> = require "garun.pipeline"
local private_pg <const> = require "garun.private_pg"
local proc <const> = require "garun.proc"
local source <const> = require "garun.source"
local time <const> = require "garun.time"

local DAY <const>, TABLE <const> = "2024-01-08", "events_20240108"
local PAGE_BYTES <const>, PIECE <const> = 8 << 20, 64 << 10
local TENANT <const> = "0b5e5a3c-6f0e-4c51-8d8e-2f5a1c0de001"

local o <const>, flags <const> = { events = 20000, rounds = 5, dir = config.path "build/bench" }, { load = true }
do
  local i = 1
  while arg[i] do
    local name <const> = arg[i]:match("^%-%-(%l+)$")
    if flags[name] then
      o[name] = true
    elseif (o[name] or name == "json") and arg[i + 1] then
      i = i + 1
      o[name] = tonumber(arg[i]) or arg[i]
    else
      error(errors.new { kind = "usage", message = "bigquery_bench: unknown option " .. arg[i] }, 0)
    end
    i = i + 1
  end
end

local function say(...) io.stderr:write("bench: ", string.format(...), "\n") end

local function run(cmd)
  local r <const> = proc.run(cmd)
  if r.status ~= 0 then error(errors.new { kind = "bench", message = cmd[1] .. " failed", detail = r.stderr }, 0) end
  return r.stdout
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Runs the ways in turns; each gives what it has handled, in units. Prints and returns units a second.
local function race(title, unit, ways)
  local rates <const> = {}
  for round = 1, o.rounds do
    for i, way in ipairs(ways) do
      collectgarbage()
      local from <const> = time.monotonic()
      local done, seconds = way.run()
      rates[i] = rates[i] or {}
      rates[i][round] = done / (seconds or time.monotonic() - from)
    end
  end
  local out <const> = {}
  for i, way in ipairs(ways) do
    out[way.name] = median(rates[i])
    print(("%-9s %-34s %10.1f %s  %5.2fx"):format(title, way.name, out[way.name], unit, out[ways[1].name] / out[way.name]))
  end
  return out
end

---- data ----

-- The schema of values that garun.json has decoded, for a server that wants one.
local function infer(field, value)
  if value == nil then return field end
  if type(value) == "table" and json.is_array(value) then
    field.mode = "REPEATED"
    for _, e in ipairs(value) do infer(field, e) end
  elseif type(value) == "table" then
    field.type, field.fields = "RECORD", field.fields or {}
    for name, v in pairs(value) do
      local found
      for _, f in ipairs(field.fields) do found = found or f.name == name and f end
      if not found then
        found = { name = name, mode = "NULLABLE" }
        table.insert(field.fields, found)
      end
      infer(found, v)
    end
  else
    local kind <const> = type(value) == "boolean" and "BOOLEAN" or math.type(value) == "integer" and "INTEGER"
      or type(value) == "number" and "FLOAT" or "STRING"
    if not field.type or field.type == "INTEGER" and kind == "FLOAT" then field.type = kind end
    if field.type ~= kind and kind == "STRING" then field.type = kind end
  end
  return field
end

-- Members that were never set have no type, which no answer needs either.
local function typed(fields)
  local list <const> = json.array {}
  for _, f in ipairs(fields) do
    if f.type then
      if f.fields then f.fields = typed(f.fields) end
      list[#list + 1] = f
    end
  end
  return list
end

local function events_file()
  local dir <const> = string.format("%s/bigquery-%d", o.dir, o.events)
  if not fs.exists(dir) then
    say("making %d events", o.events)
    fs.mkdir(dir .. ".part", { parents = true })
    run { host.exe(), config.path "tests/bench/events.lua", "events", o.events, DAY, 1, dir .. ".part" }
    fs.rename(dir .. ".part", dir)
  end
  return fs.glob(dir .. "/events_*.ndjson")[1]
end

---- scan ----

local function scan(file)
  local rows <const>, size = {}, 0
  for line in fs.lines(fs.source(file)) do
    rows[#rows + 1] = '{"f":[{"v":' .. json.encode(line) .. "}]}"
    size = size + #rows[#rows]
    if size > PAGE_BYTES then break end
  end
  local page <const> = '{"kind":"bigquery#getQueryResultsResponse","totalRows":"' .. #rows .. '","rows":['
    .. table.concat(rows, ",") .. '],"jobComplete":true}'
  local path <const> = o.dir .. "/bigquery_page.json"
  fs.write(path, page)
  local pieces <const> = {}
  for i = 1, #page, PIECE do pieces[#pieces + 1] = page:sub(i, i + PIECE - 1) end
  local megabytes <const> = #page / 1e6
  return race("scan", "MB/s", {
    { name = "garun.core.bq_rows", run = function()
      local out <const>, s <close> = {}, core.scanner()
      for i, piece in ipairs(pieces) do out[i] = s:feed(piece) or "" end
      s:finish()
      return #table.concat(out) > 0 and megabytes
    end },
    { name = "garun.json and a loop", run = function()
      local out <const> = {}
      for i, r in ipairs(json.decode(page).rows) do out[i] = r.f[1].v .. "\n" end
      return #table.concat(out) > 0 and megabytes
    end },
    { name = "Python's json module", run = function()
      return megabytes, tonumber(run { "/usr/bin/python3", "-c", [[
import json, sys, time
text = open(sys.argv[1], "rb").read()
start = time.perf_counter()
out = "\n".join(r["f"][0]["v"] for r in json.loads(text)["rows"]).encode()
print(time.perf_counter() - start)]], path })
    end },
  })
end

---- the fixture server ----

local function start_server(file)
  local p <const> = proc.spawn { "/usr/bin/python3", config.path "tests/server/bigquery.py", stdin = "pipe", stdout = "pipe" }
  local url <const> = "http://127.0.0.1:" .. p:lines()():match("^port (%d+)$")
  local function control(what, body)
    http.request { url = url .. "/control/" .. what, method = "POST", json = body, retry = false, stall_timeout = 3600 }:check()
  end
  local schema <const>, n = { fields = {} }, 0
  for line in fs.lines(fs.source(file)) do
    infer(schema, json.decode(line))
    n = n + 1
    if n == 300 then break end
  end
  say("the fixture server reads %s", file)
  control("settings", { page_bytes = 10 << 20, gzip = false })
  control("tables", { project = "shop", dataset = "analytics_1", table = TABLE, schema = typed(schema.fields), file = file })
  return p, url
end

local function download(client, url)
  local first <const> = client:events(DAY).open()
  local bytes = 0
  for chunk in first do bytes = bytes + #chunk end
  local urls <const> = { "curl", "-s", "-o", "/dev/null" }
  local base <const> = string.format("%s/bigquery/v2/projects/shop/queries/%s?location=US&maxResults=2500&startIndex=", url,
    first.job_id)
  for at = 0, first.rows - 1, 2500 do
    urls[#urls + 1] = base .. at
    if at > 0 then table.insert(urls, #urls, "-o") table.insert(urls, #urls, "/dev/null") end
  end
  return race("download", "MB/s of lines", {
    { name = "client:events", run = function()
      local n = 0
      for chunk in client:events(DAY).open() do n = n + #chunk end
      return n / 1e6
    end },
    { name = "curl, the same pages, not read", run = function()
      run(urls)
      return bytes / 1e6
    end },
  })
end

---- load ----

local function load(client)
  local var <const> = o.dir .. "/bigquery-pg"
  local _, at <const> = private_pg.start { var = var, log = false }
  local _ <close> = setmetatable({}, { __close = function() private_pg.stop { var = var } end })
  run { host.exe(), "--env", "/dev/null", "init_db.lua", env = { POSTGRES_HOST = at.host, POSTGRES_PORT = tostring(at.port),
    POSTGRES_USER = at.user, POSTGRES_DATABASE = at.database } }
  local db <close> = pg.connect(at)
  db:exec("insert into tenant_config (id, name, postgres_config) values ($1, 'bench', '{}') on conflict do nothing", TENANT)
  local lines <const> = o.dir .. "/bigquery_lines.ndjson"
  local sink <const> = fs.sink(lines)
  for chunk in client:events(DAY).open() do sink(chunk) end
  sink(nil)
  local mapping <const> = dofile(config.path "scripts/mappings/ga4.lua")
  local function committed(sources)
    db:exec "truncate page_view, purchase, add_to_cart, view_item, view_search_results, no_search_results"
    db:exec "checkpoint"
    local from <const> = time.monotonic()
    local result
    db:transaction(function(tx)
      result = pipeline.pump(tx, mapping:bind(tx, { params = { tenant_id = TENANT } }), sources())
    end)
    return result.loaded, time.monotonic() - from
  end
  return race("load", "rows/s", {
    { name = "BigQuery's pages", run = function() return committed(function() return { client:events(DAY) } end) end },
    { name = "a file of the same lines", run = function() return committed(function() return source.list { lines } end) end },
  })
end

local file <const> = events_file()
local results <const> = { scan = scan(file) }
local server <close>, url <const> = start_server(file)
local client <close> = require("garun.bigquery").client { project = "shop", dataset = "analytics_1", credentials = false,
  endpoint = url }
results.download = download(client, url)
if o.load then results.load = load(client) end
if o.json then fs.write(o.json, json.encode(results, { pretty = true }) .. "\n") end
server:close()
