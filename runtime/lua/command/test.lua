-- garun test: runs tests. `garun test [-j N] [-k TEXT] [-v] [FILE.lua | PROGRAM | DIR ...]`
--
-- Each Lua file is run by a garun of its own with a time limit; its PostgreSQL is a private server made for this run, in
-- a directory that is removed at the end. Other files are programs of cmocka tests. The last line is `N passed, N failed`.

local host <const> = require "garun.core.host"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local usage <const> = "usage: garun test [-j N] [-k TEXT] [-v] [FILE.lua | PROGRAM | DIR ...]"
local file_limit <const> = 300     -- seconds for one file

local function options(args)
  local opts <const> = { jobs = host.cores(), paths = {} }
  local i = 1
  while args[i] do
    local a <const> = args[i]
    if a == "-j" or a == "-k" then
      i = i + 1
      if not args[i] then
        error(errors.new { kind = "usage", message = "option " .. a .. " needs an operand", hint = usage })
      end
      if a == "-j" then opts.jobs = math.tointeger(args[i]) else opts.filter = args[i] end
    elseif a == "-v" then
      opts.verbose = true
    elseif a:sub(1, 1) == "-" then
      error(errors.new { kind = "usage", message = "garun test: unknown option " .. a, hint = usage })
    else
      opts.paths[#opts.paths + 1] = a
    end
    i = i + 1
  end
  if not opts.jobs or opts.jobs < 1 then
    error(errors.new { kind = "usage", message = "garun test: -j takes a number from 1", hint = usage })
  end
  return opts
end

local function find_files(paths)
  local files <const> = {}
  if #paths == 0 then paths = { fs.exists("tests/lua") and "tests/lua" or host.root() .. "/tests/lua" } end
  for _, path in ipairs(paths) do
    local stat <const> = fs.stat(path)
    if stat and stat.type == "directory" then
      for _, name in ipairs(fs.list(path)) do
        if name:match("_test%.lua$") then files[#files + 1] = path .. "/" .. name end
      end
    else
      files[#files + 1] = path
    end
  end
  table.sort(files)
  return files
end

local runner <const> = [[
local test <const> = require "garun.test"
local file <const> = arg[1]
_G.arg = { [0] = file, filter = arg[2] ~= "" and arg[2] or nil }
package.path = file:match("^(.*)/[^/]*$") .. "/?.lua;" .. package.path
dofile(file)
local r <const> = test.results()
print(string.format("RESULT %d %d %d", r.passed, r.failed, r.skipped))
]]

-- A cmocka program tells each test and, at its end, how many passed.
local function run_program(file)
  local started <const> = time.monotonic()
  local r <const> = proc.run { fs.realpath(file), timeout = file_limit, max_output = 16 << 20, stderr = "stdout" }
  local passed <const> = tonumber(r.stdout:match("%[  PASSED  %] (%d+) test"))
  local failed = tonumber(r.stdout:match("%[  FAILED  %] (%d+) test")) or 0
  local out = r.stdout
  if r.status ~= 0 or not passed then
    failed = math.max(failed, 1)
    out = out .. string.format("FAIL  %s ended with %s\n", file,
      r.signal and "signal " .. r.signal or "exit status " .. tostring(r.status))
  end
  return { file = file, out = out, passed = passed or 0, failed = failed, skipped = 0, seconds = time.monotonic() - started }
end

local function run_file(file, opts, var)
  if not file:match("%.lua$") then return run_program(file) end
  local started <const> = time.monotonic()
  local r <const> = proc.run {
    host.exe(), "-", file, opts.filter or "",
    stdin = runner, env = { GARUN_VAR = var, GARUN_TEST = "1" }, timeout = file_limit, max_output = 16 << 20,
  }
  local passed, failed, skipped = r.stdout:match("RESULT (%d+) (%d+) (%d+)\n$")
  local out = r.stdout:gsub("RESULT %d+ %d+ %d+\n$", "")
  if not passed or r.status ~= 0 then
    -- It ended before its own count: that is one failure more, whatever it had counted.
    local _, oks <const> = out:gsub("ok    ", "")
    passed, failed, skipped = oks, 1, 0
    out = out .. string.format("FAIL  %s ended with %s\n%s", file,
      r.signal and "signal " .. r.signal or "exit status " .. tostring(r.status), r.stderr)
  elseif opts.verbose or tonumber(failed) > 0 then
    out = out .. r.stderr
  end
  return { file = file, out = out, passed = tonumber(passed), failed = tonumber(failed), skipped = tonumber(skipped),
    seconds = time.monotonic() - started }
end

return function(...)
  local opts <const> = options { ... }
  local files <const> = find_files(opts.paths)
  if #files == 0 then error(errors.new { kind = "usage", message = "garun test: no *_test.lua found", hint = usage }) end
  local total <const> = { passed = 0, failed = 0, skipped = 0 }
  local dir <close> = fs.tempdir()
  local var <const> = dir.path .. "/var"
  fs.chmod(dir.path, "0711")        -- a root's tests run their server as another user, who must get through
  local private <const> = require "garun.private_pg"
  local server <close> = setmetatable({}, { __close = function() private.destroy { var = var, log = false } end })
  task.map(files, function(file)
    local r <const> = run_file(file, opts, var)
    total.passed = total.passed + r.passed
    total.failed = total.failed + r.failed
    total.skipped = total.skipped + r.skipped
    print(string.format("%s %s: %d passed, %d failed, %d skipped (%.1f s)", r.failed > 0 and "FAILED" or "passed",
      r.file, r.passed, r.failed, r.skipped, r.seconds))
    for line in r.out:gmatch("[^\n]*\n") do
      if opts.verbose or r.failed > 0 and not line:match("^ok ") or line:match("^skip ") then io.write("    ", line) end
    end
    io.flush()
  end, { concurrency = opts.jobs })
  print(string.format("%d passed, %d failed, %d skipped", total.passed, total.failed, total.skipped))
  if server and total.failed > 0 then return 1 end
  return 0
end
