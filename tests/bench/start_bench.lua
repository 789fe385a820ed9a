-- start_bench: how fast garun starts against `curl --version` (about the same libraries to link), and how soon a worker
-- is ready after it was asked for. Medians of interleaved runs.
--
--   garun tests/bench/start_bench.lua [RUNS]

local core <const> = require "garun.core.load"
local host <const> = require "garun.core.host"
local plan <const> = require "garun.plan"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local runs <const> = math.tointeger(tonumber(arg[1] or "50"))

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2] * 1000
end

local function timed(fn)
  local started <const> = time.monotonic()
  fn()
  return time.monotonic() - started
end

local columns <const> = { { name = "a", type = "text", from = "a" } }
local packed <const> = plan.pack { format = "ndjson", tables = { { name = "t", columns = columns } } }

local function worker_ready()
  local lane <close> = core.lane { worker = host.worker(), tables = 1 }
  local ask <const> = task.spawn(function() lane:plan(packed) end)
  lane:next()
  ask:join()
end

local garun <const>, curl <const>, worker <const> = {}, {}, {}
for i = 1, runs do
  garun[i] = timed(function() proc.run { host.exe(), "-e", "" } end)
  curl[i] = timed(function() proc.run { "curl", "--version" } end)
  worker[i] = timed(worker_ready)
end
local g <const>, c <const>, w <const> = median(garun), median(curl), median(worker)
print(string.format("garun -e ''      %6.2f ms\ncurl --version   %6.2f ms", g, c))
print(string.format("ratio            %6.2f  (target 1.3 or less)", g / c))
print(string.format("worker ready     %6.2f ms  (target 20 or less)", w))
