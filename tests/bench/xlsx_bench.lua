-- garun tests/bench/xlsx_bench.lua [--rows N] [--rounds N]: the xlsx plugin beside openpyxl's streaming modes on the same
-- workbooks in one run: seconds and peak memory of reading and writing N rows of five columns, medians of alternating rounds.
--
-- Two workbooks are read: one of openpyxl's, with shared strings as Excel writes them, and one of ours, with the strings in
-- the cells. Each measurement is a process of its own. With one million rows openpyxl takes minutes a round.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local options <const> = require "garun.options"
local proc <const> = require "garun.proc"
local time <const> = require "garun.time"

local function write(path, rows)
  local out <close> = require("xlsx").writer(path)
  local sheet <const> = out:sheet { name = "Users", columns = { "USER_ID", "CUSTOMER_NAME", "EMAIL", "CELL_PHONE", "VALUE" } }
  for i = 1, rows do
    sheet:row { string.format("%08d", i), string.format("Customer %d GmbH", i % 5000), string.format("user%d@example.com", i),
      string.format("+49170%07d", i), i * 0.25 }
  end
  return out:finish()
end

local function read(path)
  local book <close> = require("xlsx").open(path)
  local cells = 0
  for row in book:rows(1, { values = "typed" }) do cells = cells + row.n end
  return cells
end

if arg[1] == "--child" then
  local start <const> = time.monotonic()
  local done <const> = arg[2] == "read" and read(arg[3]) or write(arg[3], math.tointeger(tonumber(arg[4])))
  local seconds <const> = time.monotonic() - start
  local status <close> = io.open("/proc/self/status")
  print(done, seconds, status:read("a"):match("VmHWM:%s+(%d+)"))
  return
end

local opts <const> = options.parse("xlsx_bench.lua", arg, { rows = "integer", rounds = "count" })
local rows <const>, rounds <const> = opts.rows or 1000000, opts.rounds or 3

local function run(...)
  local r <const> = proc.run { ... }
  if r.status ~= 0 then error(table.concat({ ... }, " ") .. ": " .. r.stderr) end
  local done <const>, seconds <const>, peak <const> = r.stdout:match("^(%S+)%s+(%S+)%s+(%S+)")
  return { done = tonumber(done), seconds = tonumber(seconds), peak = tonumber(peak) / 1024 }
end

local function garun(...)
  return run(host.exe(), "--env", "/dev/null", config.path "tests/bench/xlsx_bench.lua", "--child", ...)
end

local function openpyxl(...)
  return run("/usr/bin/python3", config.path "tests/bench/rival_openpyxl.py", ...)
end

local function median(list, field)
  local values <const> = {}
  for i, r in ipairs(list) do values[i] = r[field] end
  table.sort(values)
  return values[(#values + 1) // 2]
end

local dir <close> = fs.tempdir()
local ours <const>, theirs <const> = dir.path .. "/ours.xlsx", dir.path .. "/theirs.xlsx"

local cases <const> = {
  { "write", function() return garun("write", ours, tostring(rows)) end, function() return openpyxl("write", theirs, tostring(rows)) end },
  { "read openpyxl's", function() return garun("read", theirs) end, function() return openpyxl("read", theirs) end },
  { "read ours", function() return garun("read", ours) end, function() return openpyxl("read", ours) end },
}

print(string.format("%d rows of 5 columns, %d rounds, medians", rows, rounds))
print(string.format("%-16s %20s %20s %8s", "", "garun", "openpyxl", "ratio"))
for _, case in ipairs(cases) do
  local a <const>, b <const> = {}, {}
  for i = 1, rounds do
    a[i], b[i] = case[2](), case[3]()
    if a[i].done ~= b[i].done then error(string.format("%s: %s cells, openpyxl has %s", case[1], a[i].done, b[i].done)) end
  end
  local sa <const>, sb <const> = median(a, "seconds"), median(b, "seconds")
  print(string.format("%-16s %9.2f s %6.0f MiB %9.2f s %6.0f MiB %7.1fx", case[1], sa, median(a, "peak"), sb, median(b, "peak"), sb / sa))
end
