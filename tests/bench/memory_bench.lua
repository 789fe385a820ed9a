-- memory_bench: the highest resident memory of garun and its worker while a large load comes through a pipe.
--
--   garun tests/bench/memory_bench.lua FILE ...      NDJSON files that are fed through one pipe (tests/bench/events.lua
--                                                    makes them); the configured database must have the schema
--
-- VmHWM counts pages shared between host and worker in both. Duplicate detection holds 16 bytes a slot at most three
-- quarters full beside it (load/seen.h).

local host <const> = require "garun.core.host"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"

local function high_water(pid)
  local file <close> = io.open("/proc/" .. pid .. "/status")
  local text <const> = file and file:read("a") or ""
  return tonumber(text:match("VmHWM:%s+(%d+) kB")) or 0
end

local function workers(pid)
  local file <close> = io.open(string.format("/proc/%d/task/%d/children", pid, pid))
  local list <const> = {}
  for child in (file and file:read("a") or ""):gmatch("%d+") do list[#list + 1] = child end
  return list
end

local files <const> = { ... }
local quoted <const> = {}
for i, path in ipairs(files) do quoted[i] = "'" .. path:gsub("'", "'\\''") .. "'" end
local p <close> = proc.spawn { "sh", "-c", "cat " .. table.concat(quoted, " ") .. ' | exec "$0" ingest.lua --source - --force --json',
  host.exe(), stdout = "pipe" }

-- The shell's children are cat and garun; garun's is the worker.
local most <const> = { garun = 0, worker = 0 }
local watch <const> = task.background(function()
  while true do
    for _, pid in ipairs(workers(p.pid)) do
      local file <close> = io.open("/proc/" .. pid .. "/comm")
      if file and file:read("l") == "garun" then
        most.garun = math.max(most.garun, high_water(pid))
        for _, w in ipairs(workers(tonumber(pid))) do most.worker = math.max(most.worker, high_water(w)) end
      end
    end
    task.sleep(0.2)
  end
end)

local out = ""
for chunk in p:stdout() do out = out .. chunk end
local r <const> = p:wait()
watch:cancel()
print(out)
print(string.format("exit %s; highest resident memory: garun %.1f MiB, worker %.1f MiB", tostring(r.status), most.garun / 1024,
  most.worker / 1024))
