-- ingest.lua: loads events, users and locations into a tenant's database. `garun ingest.lua --help` tells the options.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local host <const> = require "garun.core.host"
local ingest <const> = require "garun.ingest"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local options <const> = require "garun.options"
local printable <const> = require "garun.printable"
local terminal <const> = require "garun.terminal"

local help <const> = [[
usage: garun ingest.lua [--tenant T] [--source URI ...] [options]

Loads GA4 events into the six event tables, each day in one transaction: replaced wholly or not at all; and users and
locations, each file in one transaction. Without --source it does the night's work: events of the last 4 complete days from
the tenant's BigQuery, users and locations from its SFTP server, whatever of it is configured.

  --source URI               a path, a glob ('events_*.ndjson.gz'), https://..., sftp://... or - ; may be repeated; .gz is
                             seen by its content. It holds the events, or what --types names when that is one thing
  --tenant T                 name or id; default: the only active tenant
  --from DATE, --to DATE     days to replace, inclusive; default: the days that the sources hold; of BigQuery the last 4
                             complete ones in the tenant's time zone
  --types LIST               what to load, of events,users,locations; default: events of a --source, else all that is
                             configured
  --intraday                 BigQuery: take a day that has no daily table yet from its intraday table
  --via WAY                  BigQuery: query (default), or extract (through Cloud Storage, for big days; --bucket)
  --bucket NAME              Cloud Storage bucket for --via extract
  --jobs N                   days loaded at once, each on its own connection; default: 2
  --force                    load again what the ledger says is loaded
  --allow-empty              the sources are complete: days of the range without events become empty
  --max-shrink PERCENT       stop when a day would lose more of its rows than this; default: 50
  --max-rejects N            stop beyond so many rejected lines ...; default: 1000
  --max-reject-percent P     ... that are also more than this share of all; default: 1
  --mapping FILE             default: scripts/mappings/ga4.lua
  --dry-run                  read, check and count; change nothing. BigQuery: tell bytes and cost of the queries, read nothing
  --json                     one JSON object on standard output

Exit status: 0 done, 1 failed (what other parts brought is committed), 2 usage, 3 stopped by a guard, 75 try again later.
]]

local opts <const> = options.parse("ingest.lua", { ... }, {
  source = "list", tenant = "text", from = "date", to = "date", types = "text", intraday = "flag", via = "text",
  bucket = "text", jobs = "count", force = "flag", allow_empty = "flag", max_shrink = "percent", max_rejects = "integer",
  max_reject_percent = "percent", mapping = "text", dry_run = "flag", json = "flag", help = "flag",
})
if opts.help then
  io.write(help)
  return
end
if opts.from and opts.to and opts.to < opts.from then options.fail("ingest.lua", "--to is before --from") end
if opts.via and opts.via ~= "query" and opts.via ~= "extract" then
  options.fail("ingest.lua", "--via: there is no way '" .. opts.via .. "'; these are: query, extract")
end
local types
if opts.types then
  types = {}
  local known <const> = {}
  for _, kind in ipairs(ingest.types) do known[kind] = true end
  for kind in opts.types:gmatch("[^,]+") do
    if not known[kind] then
      options.fail("ingest.lua", "--types: there is no '" .. kind .. "'; these are: " .. table.concat(ingest.types, ", "))
    end
    types[#types + 1] = kind
    known[kind] = nil
  end
  if #types == 0 then options.fail("ingest.lua", "--types names nothing") end
end

-- The line on the terminal while it runs: rows, MB/s of the sources as text, time left.
local function progress_line()
  if opts.json or not host.isatty(2) or log.level() == "error" then return nil end
  return function(state)
    local p <const> = state:progress()
    local left = ""
    if p.percent and p.percent > 0 and p.percent < 100 then
      left = string.format(", %d %%, %d s left", p.percent, math.ceil(p.seconds * (100 - p.percent) / p.percent))
    end
    io.stderr:write(string.format("\r\27[K%s rows, %.1f MB/s, %d days done%s", terminal.count(p.rows),
      p.bytes / 1e6 / math.max(p.seconds, 0.001), p.days_done, left))
  end
end

local function clear_line()
  if not opts.json and host.isatty(2) then io.stderr:write("\r\27[K") end
end

local function summary(r)
  local function line(name, n, note)
    if n > 0 then print(string.format("  %-26s %12s%s", name, terminal.count(n), note and "  " .. note or "")) end
  end
  if r.unchanged == r.loads then
    print("nothing to do: these sources are loaded already (--force loads them again). They brought:")
  else
    print(string.format("%s%s%s in %.1f s (%s lines/s)", opts.dry_run and "dry run, nothing changed: " or "",
      r.first_day or "no days", r.last_day ~= r.first_day and " to " .. r.last_day or "", r.seconds,
      terminal.count(math.floor(r.lines / math.max(r.seconds, 0.001)))))
    if r.unchanged > 0 then print(string.format("  %d of %d loads were unchanged and not repeated", r.unchanged, r.loads)) end
  end
  line("lines", r.lines)
  local names <const> = {}
  for name in pairs(r.tables) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do line(name, r.tables[name]) end
  line("other events", r.other)
  line("duplicates", r.duplicates)
  line("out of range", r.out_of_range)
  line("rejected", r.rejected, "garun rejects list")
  line("repaired", r.repaired, "NUL, broken text -> U+FFFD")
  line("cut", r.cut, "text longer than its column")
  line("nulled", r.nulled, "numbers that their column cannot hold")
  line("files outside the range", r.outside)
end

local function master_summary(name, r)
  print(string.format("%s: %s rows of %s: %s new, %s changed, %s as they were", name, terminal.count(r.read),
    printable(r.files[1].source), terminal.count(r.inserted), terminal.count(r.updated), terminal.count(r.unchanged)))
  if r.rejected > 0 then print(string.format("  %s rejected, garun rejects list", terminal.count(r.rejected))) end
  for _, file in ipairs(r.files) do
    for _, text in ipairs(file.warnings or {}) do print("  " .. printable(text)) end
  end
end

-- What was loaded, type by type.
local function tell(r)
  if r.loads > 0 then summary(r) end
  if r.estimate then
    print(string.format("dry run: the queries would read %s bytes, about %.4f USD", terminal.count(r.estimate.bytes),
      r.estimate.cost))
  end
  for _, day in ipairs(r.missing or {}) do print("  " .. day .. ": BigQuery has no table of this day yet") end
  for _, kind in ipairs(ingest.types) do
    if r.master[kind] then master_summary(kind, r.master[kind]) end
  end
end

local function as_json(r)
  local out <const> = {
    lines = r.lines, rejected = r.rejected, other_events = r.other, duplicates = r.duplicates,
    out_of_range = r.out_of_range, repaired = r.repaired, cut = r.cut, nulled = r.nulled, days = r.days,
    first_day = r.first_day, last_day = r.last_day, seconds = r.seconds, loads = r.loads, unchanged = r.unchanged,
    estimate = r.estimate, job_id = r.job_id, dry_run = opts.dry_run or nil,
    missing_days = r.missing and #r.missing > 0 and r.missing or nil,
  }
  for name, n in pairs(r.records) do out[name] = n end
  for kind, m in pairs(r.master) do
    out[kind] = { read = m.read, inserted = m.inserted, updated = m.updated, unchanged = m.unchanged,
      rejected = m.rejected }
  end
  return json.encode(out)
end

local mapping <const> = dofile(opts.mapping or config.path "scripts/mappings/ga4.lua")
local stamp <const> = os.date("!%Y%m%dT%H%M%S")
local ok <const>, result <const> = pcall(ingest.run, {
  tenant = opts.tenant, sources = opts.source, from = opts.from, to = opts.to, jobs = opts.jobs, force = opts.force,
  allow_empty = opts.allow_empty, dry_run = opts.dry_run, max_rejects = opts.max_rejects,
  max_reject_percent = opts.max_reject_percent, max_shrink = opts.max_shrink, mapping = mapping, types = types,
  intraday = opts.intraday, via = opts.via, bucket = opts.bucket,
  on_progress = progress_line(),
  reject_file = function(chunk)
    return string.format("%s/rejects/%s-%s.ndjson", config.var(), stamp, chunk.day or "all")
  end,
})
clear_line()
if not ok then
  if errors.is(result) and result.retryable then result.exit_code = 75 end
  error(result, 0)
end
if opts.json then
  print(as_json(result))
else
  tell(result)
end
