-- ingest_bench: `make bench`. Loads the same events in several ways into the same server, round by round, and prints
-- medians, ratios and where the time went. The server is a private one made for this run with the settings operators
-- get; autovacuum is off in it, so that no run pays for the one before.
--
--   A  psql \copy of ready-made rows (same columns, ids and raw_data as garun's), one connection
--   B  the same on two connections
--   C  psql \copy of ready-made rows as database.md has them: raw_data with its nulls, no LZ4, ids by the server
--   D  tests/bench/rival_psycopg.py: Python 3, psycopg 3, the same mapping
--   E  garun, everything on, one connection          F  the same, two days at once on two connections
--   P  psql \copy of narrow rows (CSV)               N  garun, the same rows as NDJSON     V  garun, the same CSV

local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local private_pg <const> = require "garun.private_pg"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local ROOT <const> = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/../.."
local PYTHON <const> = os.getenv "PYTHON" or "/usr/bin/python3"
local TENANT <const> = "0b5e5a3c-6f0e-4c51-8d8e-2f5a1c0de001"
local FROM <const>, TO <const>, DAYS <const> = "2024-01-08", "2024-01-09", 2

-- How garun is called; everything else in this file takes the commands as they are.
local COMMANDS <const> = {
  ingest = function(files, jobs)
    local cmd <const> = { host.exe(), ROOT .. "/scripts/ingest.lua", "--from", FROM, "--to", TO, "--types", "events",
      "--jobs", tostring(jobs), "--json" }
    for _, file in ipairs(files) do
      cmd[#cmd + 1] = "--source"
      cmd[#cmd + 1] = file
    end
    return cmd
  end,
  narrow = function(file)
    return { host.exe(), ROOT .. "/scripts/examples/narrow.lua", file }
  end,
  narrow_table = "CREATE TABLE IF NOT EXISTS narrow (id bigint NOT NULL, day date NOT NULL, kind text, "
    .. "amount numeric(10, 2), ok boolean)",
}

-- Ratio of the throughputs of two ways, and what it has to be.
local TARGETS <const> = {
  { "E", "A", 0.9, "garun against \\copy of ready-made rows, one connection" },
  { "F", "B", 0.9, "the same, two connections" },
  { "F", "C", 2.0, "garun, everything on, against \\copy into database.md's tables" },
  { "E", "D", 1.8, "garun against psycopg, one connection" },
  { "N", "P", 0.8, "narrow NDJSON against \\copy" },
  { "V", "P", 0.8, "narrow CSV against \\copy" },
}

local usage <const> = [[
usage: garun tests/bench/ingest_bench.lua [--quick] [--rounds N] [--events N] [--narrow N] [--only A,E,...]
         [--dir DIR] [--json FILE] [--keep] [--strict]

  --quick    60,000 events, 500,000 narrow rows, 3 rounds (else 300,000, 5,000,000 and 5)
  --dir      data and server (default build/bench); the data is kept for the next run
  --keep     leave the server running at the end
  --strict   exit code 1 when a target is missed
]]

local function fail(fmt, ...)
  error(errors.new { kind = "bench", message = fmt:format(...) }, 0)
end

-- ---- options ----

local function options(args)
  local o <const>, i = {}, 1
  local FLAGS <const>, VALUES <const> = { quick = 1, keep = 1, strict = 1, help = 1 },
    { rounds = 1, events = 1, narrow = 1, only = 1, dir = 1, json = 1 }
  while args[i] do
    local name <const> = args[i]:match("^%-%-(%l+)$")
    if FLAGS[name] then
      o[name] = true
    elseif VALUES[name] and args[i + 1] then
      i = i + 1
      o[name] = args[i]
    else
      error(errors.new { kind = "usage", message = ("bench: unknown argument '%s'"):format(args[i]), hint = usage }, 0)
    end
    i = i + 1
  end
  local function number(name, quick, full)
    local n <const> = math.tointeger(tonumber(o[name] or (o.quick and quick or full)))
    if not n or n < 1 then
      error(errors.new { kind = "usage", message = "bench: --" .. name .. " takes a number from 1", hint = usage }, 0)
    end
    return n
  end
  local only
  if o.only then
    only = {}
    for letter in o.only:upper():gmatch("%a") do
      only[letter] = true
    end
  end
  return { rounds = number("rounds", 3, 5), events = number("events", 60000, 300000),
    narrow = number("narrow", 500000, 5000000), only = only, dir = o.dir or ROOT .. "/build/bench", json = o.json,
    keep = o.keep, strict = o.strict, help = o.help }
end

-- ---- running and measuring ----

-- Runs a command and returns what it printed; a failure ends the bench with what it said.
local function run(cmd, var)
  local r <const> = proc.run { env = { GARUN_VAR = var }, timeout = 3600, stdin = "null", table.unpack(cmd) }
  if r.status ~= 0 then
    fail("%s failed (%s):\n%s", table.concat(cmd, " "),
      r.signal and "signal " .. r.signal or "exit status " .. r.status, r.stderr)
  end
  return r.stdout
end

-- User and system seconds of a process and of the children it has waited for (proc(5), stat); a backend that has ended
-- is in its postmaster's account. Clock ticks are 1/100 s on Linux.
local function ticks(pid, with_children)
  local file <close> = io.open(("/proc/%d/stat"):format(pid))
  local fields <const> = {}
  for field in ((file and file:read "a" or ""):match("%)%s+(.*)") or ""):gmatch("%S+") do
    fields[#fields + 1] = field
  end
  if not fields[15] then
    return 0
  end
  return fields[12] + fields[13] + (with_children and fields[14] + fields[15] or 0)
end

-- CPU seconds of the whole server until now.
local function server_cpu(postmaster)
  local sum = ticks(postmaster, true)
  for _, path in ipairs(fs.glob "/proc/[0-9]*/stat") do
    local file <close> = io.open(path)
    local pid <const>, parent <const> = (file and file:read "a" or ""):match("^(%d+) %(.*%) %a (%d+)")
    if pid and tonumber(parent) == postmaster then
      sum = sum + ticks(tonumber(pid))
    end
  end
  return sum / 100
end

-- Runs a command under a shell that tells what it and its children used: `times` is in every POSIX shell, and its
-- second line is "0m1.230s 0m0.450s". Returns what was printed, and CPU seconds.
local function timed(bench, cmd, n)
  local account <const> = ("%s/times.%d"):format(bench.dir, n)
  local printed <const> = run({ "sh", "-c", 'out=$1; shift; "$@"; code=$?; times >"$out"; exit $code', "sh", account,
    table.unpack(cmd) }, bench.var)
  local cpu = 0
  for minutes, seconds in fs.read(account):match("\n(.*)"):gmatch("(%d+)m([%d.]+)s") do
    cpu = cpu + tonumber(minutes) * 60 + tonumber(seconds)
  end
  return printed, cpu
end

local OTHERS <const> = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
  .. "AND pid <> pg_backend_pid()"

local function empty(bench, narrow)
  if narrow then
    bench.db:exec "TRUNCATE narrow"
  else
    bench.db:exec [[TRUNCATE page_view, purchase, add_to_cart, view_item, view_search_results, no_search_results,
      bench_plain.page_view]]
    bench.db:exec "TRUNCATE garun.loads, garun.days, garun.rejects CASCADE"
    bench.db:exec "DELETE FROM processing_jobs"
  end
  bench.db:exec "CHECKPOINT"
end

-- One run of one way: wall seconds, CPU seconds of the clients and of the server. A load that did not store what it
-- should is no result.
local function measure(bench, way)
  empty(bench, way.narrow)
  local commands <const> = way.commands(bench)
  local cpu, printed = 0, ""
  local server <const>, started <const> = server_cpu(bench.postmaster), time.monotonic()
  local tasks <const> = {}
  for n, cmd in ipairs(commands) do
    tasks[n] = task.spawn(function()
      local text <const>, used <const> = timed(bench, cmd, n)
      cpu, printed = cpu + used, printed .. text
    end)
  end
  for _, t in ipairs(tasks) do
    t:join()
  end
  local seconds <const> = time.monotonic() - started
  -- A backend ends after its client; only then its CPU time is in the postmaster's account.
  while bench.db:value(OTHERS) > 0 do
    task.sleep(0.02)
  end
  task.sleep(0.05)
  local used <const> = server_cpu(bench.postmaster) - server
  local target <const> = way.target or way.narrow and "narrow" or "page_view"
  local want <const> = way.narrow and bench.narrow or bench.events
  local rows <const> = bench.db:value("SELECT count(*) FROM " .. target)
  if rows ~= want then
    fail("%s: %s holds %d rows, expected %d; the command printed: %s", way.name, target, rows, want, printed)
  end
  return { seconds = seconds, client = cpu, server = used }
end

local function median(list)
  local sorted <const> = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local n <const> = #sorted
  return n % 2 == 1 and sorted[n // 2 + 1] or (sorted[n // 2] + sorted[n // 2 + 1]) / 2
end

-- ---- the ways ----

local function psql(bench, ...)
  -- Plain COPY: without the triggers that derive rows for whoever writes to the tables by hand.
  local cmd <const> = { "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-1", "-d", bench.dsn, "-c", "SET garun.rollup = manual" }
  for _, c in ipairs { ... } do
    cmd[#cmd + 1] = "-c"
    cmd[#cmd + 1] = c
  end
  return cmd
end

local function copy(target, dir)
  return ("\\copy %s (%s) from '%s/page_view.copy'"):format(target, fs.read(dir .. "/page_view.columns"),
    (dir:gsub("'", "''")))
end

local WAYS <const> = {
  { name = "A", label = "\\copy of ready-made rows, 1 connection", commands = function(b)
    return { psql(b, copy("page_view", b.data .. "/rows1"), copy("page_view", b.data .. "/rows2")) }
  end },
  { name = "B", label = "\\copy of ready-made rows, 2 connections", commands = function(b)
    return { psql(b, copy("page_view", b.data .. "/rows1")), psql(b, copy("page_view", b.data .. "/rows2")) }
  end },
  { name = "C", label = "\\copy, database.md as it stands", target = "bench_plain.page_view", commands = function(b)
    return { psql(b, copy("bench_plain.page_view", b.data .. "/full1"),
      copy("bench_plain.page_view", b.data .. "/full2")) }
  end },
  { name = "D", label = "Python + psycopg", commands = function(b)
    return { { PYTHON, ROOT .. "/tests/bench/rival_psycopg.py", "load", "--dsn", b.dsn, "--tenant", TENANT,
      table.unpack(b.files) } }
  end },
  { name = "E", label = "garun, 1 connection", commands = function(b) return { COMMANDS.ingest(b.files, 1) } end },
  { name = "F", label = "garun, 2 connections", backends = 2, commands = function(b)
    return { COMMANDS.ingest(b.files, 2) }
  end },
  { name = "P", label = "\\copy of narrow rows, CSV", narrow = true, commands = function(b)
    return { psql(b, ("\\copy narrow from '%s/narrow.csv' with (format csv, header)"):format(b.narrow_data)) }
  end },
  { name = "N", label = "garun, narrow rows, NDJSON", narrow = true, commands = function(b)
    return { COMMANDS.narrow(b.narrow_data .. "/narrow.ndjson") }
  end },
  { name = "V", label = "garun, narrow rows, CSV", narrow = true, commands = function(b)
    return { COMMANDS.narrow(b.narrow_data .. "/narrow.csv") }
  end },
}

-- ---- setting up ----

-- Makes data once and keeps it: the directory's name says what is in it, and it has that name only when it is complete.
local function prepared(dir, make)
  if not fs.exists(dir) then
    local part <const> = dir .. ".part"
    fs.remove(part, { recursive = true, missing_ok = true })
    fs.mkdir(part, { parents = true })
    make(part)
    fs.rename(part, dir)
  end
  return dir
end

local function say(...)
  io.stderr:write("bench: ", string.format(...), "\n")
end

local function make_data(bench)
  bench.data = prepared(("%s/events-%d"):format(bench.dir, bench.events), function(dir)
    say("making %d events", bench.events)
    run({ host.exe(), ROOT .. "/tests/bench/events.lua", "events", bench.events, FROM, DAYS, dir }, bench.var)
    for i, file in ipairs(fs.glob(dir .. "/events_*.ndjson")) do
      for kind, extra in pairs { rows = "--ids", full = "--raw=full" } do
        local out <const> = dir .. "/" .. kind .. i
        fs.mkdir(out)
        run({ PYTHON, ROOT .. "/tests/bench/rival_psycopg.py", "rows", "--tenant", TENANT, "--out", out, extra, file },
          bench.var)
      end
    end
  end)
  bench.files = fs.glob(bench.data .. "/events_*.ndjson")
  bench.narrow_data = prepared(("%s/narrow-%d"):format(bench.dir, bench.narrow), function(dir)
    say("making %d narrow rows", bench.narrow)
    run({ host.exe(), ROOT .. "/tests/bench/events.lua", "narrow", bench.narrow, dir }, bench.var)
  end)
  bench.bytes = 0
  for _, file in ipairs(bench.files) do
    bench.bytes = bench.bytes + fs.stat(file).size
  end
end

-- The schema, a tenant, and for C the table as database.md has it: the same but for LZ4.
local function make_server(bench)
  local _, at <const> = private_pg.start { var = bench.var, log = function(text) say("%s", text) end }
  bench.dsn = ("host=%s port=%d user=%s dbname=%s"):format(at.host, at.port, at.user, at.database)
  bench.postmaster = private_pg.status({ var = bench.var }).pid
  run({ host.exe(), ROOT .. "/scripts/init_db.lua" }, bench.var)
  local db <const> = pg.connect(at)
  db:exec "ALTER SYSTEM SET autovacuum = off"
  db:exec "SELECT pg_reload_conf()"
  db:exec("INSERT INTO tenant_config (id, name, postgres_config) VALUES ($1, 'Bench', '{}') ON CONFLICT DO NOTHING",
    TENANT)
  if not db:value "SELECT to_regclass('bench_plain.page_view') IS NOT NULL" then
    db:exec "CREATE SCHEMA bench_plain"
    db:exec "CREATE TABLE bench_plain.page_view (LIKE page_view INCLUDING ALL)"
  end
  db:exec "ALTER TABLE bench_plain.page_view ALTER COLUMN raw_data SET COMPRESSION pglz"
  db:exec(COMMANDS.narrow_table)
  bench.db = db
end

-- ---- telling ----

-- Others on the machine make every number here worthless; better to hear of it first.
local function warn_if_busy()
  local load <const> = tonumber(fs.read("/proc/loadavg"):match("^[%d.]+"))
  if load > 0.5 then
    say("this machine is busy (load average %.1f): do not believe what follows", load)
  end
end

local function thousands(n)
  local text = ("%d"):format(n)
  repeat
    local more
    text, more = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  until more == 0
  return text
end

-- Where the time went: a connection's backend is one process, so is each client.
local function limit(m, backends)
  local server <const>, client <const> = m.server / m.seconds / backends, m.client / m.seconds / backends
  if server >= 0.85 then
    return "server CPU"
  elseif client >= 0.85 then
    return "client CPU"
  end
  return server + client >= 0.85 and "both CPUs, by turns" or "waiting (disk, locks, other work)"
end

local function summary(bench, way, results)
  local function pick(key)
    local list <const> = {}
    for i, r in ipairs(results) do
      list[i] = r[key]
    end
    return list
  end
  local all <const> = pick "seconds"
  local m <const> = { name = way.name, label = way.label, runs = all, seconds = median(all),
    client = median(pick "client"), server = median(pick "server"),
    rows = way.narrow and bench.narrow or bench.events }
  m.fastest, m.slowest = math.min(table.unpack(all)), math.max(table.unpack(all))
  m.rows_per_second = m.rows / m.seconds
  m.limit = limit(m, #way.commands(bench) == 2 and 2 or way.backends or 1)
  return m
end

local function print_results(bench, measured, rounds)
  print(("%d rounds, medians; %s events of %d bytes, %s narrow rows; %s"):format(rounds, thousands(bench.events),
    bench.bytes // bench.events, thousands(bench.narrow), bench.version))
  print(("%-42s %8s %17s %10s %7s %7s  %s"):format("", "seconds", "fastest..slowest", "rows/s", "client", "server",
    "limited by"))
  for _, m in ipairs(measured) do
    print(("%s  %-39s %8.2f %8.2f %8.2f %10s %6.1fs %6.1fs  %s"):format(m.name, m.label, m.seconds, m.fastest,
      m.slowest, thousands(m.rows_per_second // 1), m.client, m.server, m.limit))
  end
end

-- Prints the ratios that can be told; the number of targets missed.
local function print_ratios(measured)
  local speed <const>, missed, ratios = {}, 0, {}
  for _, m in ipairs(measured) do
    speed[m.name] = m.rows_per_second
  end
  print()
  for _, target in ipairs(TARGETS) do
    local above <const>, below <const>, want <const>, meaning <const> = table.unpack(target)
    if speed[above] and speed[below] then
      local got <const> = speed[above] / speed[below]
      local met <const> = got >= want
      missed = missed + (met and 0 or 1)
      ratios[#ratios + 1] = { ratio = above .. "/" .. below, got = got, target = want, met = met }
      print(("%s/%s  %5.2f  target %.1f  %-6s  %s"):format(above, below, got, want, met and "met" or "MISSED", meaning))
    end
  end
  return missed, ratios
end

-- ---- main ----

local o <const> = options { ... }
if o.help then
  io.write(usage)
  return 0
end
warn_if_busy()
fs.mkdir(o.dir, { parents = true })
local bench <const> = { dir = fs.realpath(o.dir), events = o.events, narrow = o.narrow }
bench.var = bench.dir .. "/var"
-- No server is left behind, also when something fails or Ctrl-C ends it. A cancelled task cannot wait, so that a child
-- of its own does it, after this process if need be.
local _ <close> = setmetatable({}, { __close = function()
  if bench.db then
    bench.db:close()
  end
  if not o.keep then
    proc.spawn { host.exe(), "db", "destroy", "--yes", env = { GARUN_VAR = bench.var }, detach = true, stdout = "null" }
  end
end })
make_server(bench)
make_data(bench)
bench.version = bench.db:value "SELECT split_part(version(), ' on ', 1)"

local results <const>, ways <const> = {}, {}
for _, way in ipairs(WAYS) do
  if not o.only or o.only[way.name] then
    ways[#ways + 1], results[way.name] = way, {}
  end
end
for round = 1, o.rounds do
  for i = 1, #ways do
    local way <const> = ways[(i + round - 2) % #ways + 1]   -- another one first in each round
    local m <const> = measure(bench, way)
    table.insert(results[way.name], m)
    say("round %d of %d: %s %.2f s", round, o.rounds, way.name, m.seconds)
  end
end

local measured <const> = {}
for i, way in ipairs(ways) do
  measured[i] = summary(bench, way, results[way.name])
end
print_results(bench, measured, o.rounds)
local missed <const>, ratios <const> = print_ratios(measured)
if o.json then
  local report <const> = { version = bench.version, events = bench.events, narrow = bench.narrow, rounds = o.rounds,
    ways = json.array(measured), ratios = json.array(ratios) }
  fs.write(o.json, json.encode(report, { indent = 2, sort_keys = true }) .. "\n")
end
return o.strict and missed > 0 and 1 or 0
