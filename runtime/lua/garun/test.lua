-- garun.test: tests written in Lua. A file calls test.test(name, fn) for each behaviour; `garun test` runs the files in
-- parallel, each in a process of its own, and adds up.

local core <const> = require "garun.core.host"
local errors <const> = require "garun.error"

local test <const> = {}

local results <const> = { passed = 0, failed = 0, skipped = 0 }
local cleanups = {}
local skip_mark <const> = {}

local function show(v, depth)
  depth = depth or 0
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) ~= "table" or depth > 4 or errors.is(v) then return tostring(v) end
  local keys <const>, out <const> = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do
    local name <const> = type(k) == "string" and k or "[" .. show(k, depth + 1) .. "]"
    out[#out + 1] = name .. " = " .. show(v[k], depth + 1)
  end
  return "{ " .. table.concat(out, ", ") .. " }"
end

-- Where the two differ first, as a path; nil when they are equal. 1 and 1.0 differ: types are part of a value.
local function difference(got, want, path)
  if type(got) ~= "table" or type(want) ~= "table" then
    if rawequal(got, want) or got == want and math.type(got) == math.type(want) or got ~= got and want ~= want then
      return nil
    end
    return string.format("%s: got %s, want %s", path, show(got), show(want))
  end
  for k, v in pairs(want) do
    local d <const> = difference(got[k], v, path .. "." .. tostring(k))
    if d then return d end
  end
  for k, v in pairs(got) do
    if want[k] == nil then return string.format("%s.%s: got %s, want nothing", path, tostring(k), show(v)) end
  end
  return nil
end

local function fail(message)
  error(errors.new { kind = "test", message = message }, 0)
end

local function labelled(label, text)
  return label and label .. ": " .. text or text
end

function test.equal(got, want, label)
  local d <const> = difference(got, want, "value")
  if d then fail(labelled(label, d)) end
end

function test.ok(value, label)
  if not value then fail(labelled(label, "got " .. show(value) .. ", want a true value")) end
  return value
end

function test.match(text, pattern, label)
  if type(text) ~= "string" or not text:find(pattern) then
    fail(labelled(label, string.format("%s does not match %q", show(text), pattern)))
  end
end

-- want: a pattern for the error's text, or a table of fields that an error object must have.
function test.raises(want, fn, ...)
  local ok <const>, err <const> = pcall(fn, ...)
  if ok then fail("no error was raised; wanted " .. show(want)) end
  if type(want) == "table" then
    for k, v in pairs(want) do
      if not (errors.is(err) and err[k] == v) then
        fail(string.format("the error has %s = %s, want %s; it is: %s", k, show(errors.is(err) and err[k] or nil),
          show(v), tostring(err)))
      end
    end
  else
    test.match(tostring(err), want)
  end
  return err
end

function test.skip(reason)
  error({ skip_mark, reason }, 0)
end

-- Runs fn when the running test has ended, in reverse order; also when it failed.
function test.after(fn)
  cleanups[#cleanups + 1] = fn
end

function test.tmpdir()
  local fs <const> = require "garun.fs"
  local dir <const> = os.tmpname()
  os.remove(dir)
  fs.mkdir(dir)
  test.after(function() fs.remove(dir, { recursive = true }) end)
  return dir
end

-- Runs a program to its end: { status, signal, stdout, stderr }. "garun" as its name is this very binary.
function test.run(cmd)
  local args <const> = {}
  for k, v in pairs(cmd) do args[k] = v end
  if args[1] == "garun" then args[1] = core.exe() end
  args.timeout = args.timeout or 120
  return require("garun.proc").run(args)
end

-- A fresh, empty database on the suite's private server: { host, port, user, database }. The server is the one that
-- `garun test` started; a file that is run by hand gets the checkout's own.
function test.postgres()
  local pg <const> = require "garun.pg"
  local at <const> = require("garun.config").postgres()
  local name <const> = string.format("t_%s", require("garun.uuid").v7():gsub("-", ""))
  do
    local admin <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = "postgres" }
    admin:exec("create database " .. pg.ident(name) .. " template template0")
  end
  test.after(function()
    local admin <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = "postgres" }
    admin:exec("drop database if exists " .. pg.ident(name) .. " with (force)")
  end)
  return { host = at.host, port = at.port, user = at.user, database = name }
end

function test.test(name, fn)
  local filter <const> = _G.arg and _G.arg.filter
  if filter and not name:find(filter, 1, true) then return end
  local started <const> = os.clock()
  cleanups = {}
  local ok, err = xpcall(fn, function(e)
    if type(e) == "table" and e[1] == skip_mark then return e end
    return { e, debug.traceback("", 2) }
  end)
  for i = #cleanups, 1, -1 do
    local clean <const>, why <const> = pcall(cleanups[i])
    if not clean and ok then ok, err = false, { why, "\nin a clean-up" } end
  end
  if ok then
    results.passed = results.passed + 1
    print(string.format("ok    %s (%.2f s cpu)", name, os.clock() - started))
  elseif err[1] == skip_mark then
    results.skipped = results.skipped + 1
    print(string.format("skip  %s: %s", name, err[2]))
  else
    results.failed = results.failed + 1
    print(string.format("FAIL  %s\n      %s%s", name, tostring(err[1]):gsub("\n", "\n      "),
      tostring(err[2]):gsub("\n", "\n      ")))
  end
  io.stdout:flush()
end

-- The numbers of this process; `garun test` reads them from the last line.
function test.results()
  return results
end

return test
