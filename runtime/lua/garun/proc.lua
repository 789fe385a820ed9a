-- garun.proc: child processes. No shell is ever between: arguments arrive as they are.
--
-- garun.core.proc starts and ends them; here are the options, and running a program to its end.

local core <const> = require "garun.core.proc"
local clock <const> = require "garun.core.time"
local host <const> = require "garun.core.host"
local tasks <const> = require "garun.core.task"
local errors <const> = require "garun.error"

local proc <const> = {}

local GRACE <const> = 5.0                -- seconds between SIGTERM and SIGKILL
local MAX_OUTPUT <const> = 16 << 20
local DRAIN <const> = 1.0                -- seconds for output after the end, when a grandchild holds the pipe

local spawn_options <const> = { "env", "clear_env", "cwd", "stdin", "input", "stdout", "stderr", "uid", "gid", "user",
  "detach", "new_group", "grace" }
local run_options <const> = { "timeout", "max_output" }
table.move(spawn_options, 1, #spawn_options, #run_options + 1, run_options)

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 4)
end

-- Splits { "prog", "arg", ..., option = } into the array of arguments and the checked options.
local function split(fn, spec, names)
  if type(spec) ~= "table" then
    misuse("%s: takes a table like { \"ls\", \"-l\", cwd = \"/\" }, not a %s", fn, type(spec))
  end
  local argv <const>, opts <const> = {}, {}
  for k, v in pairs(spec) do
    if math.type(k) ~= "integer" then opts[k] = v end
  end
  for i = 1, #spec do
    local a <const> = spec[i]
    if type(a) ~= "string" and math.type(a) ~= "integer" then
      misuse("%s: argument %d of the program is a string, not a %s", fn, i, type(a))
    end
    argv[i] = tostring(a)
    if argv[i]:find("\0", 1, true) then misuse("%s: argument %d of the program contains a NUL byte", fn, i) end
  end
  if not argv[1] then misuse("%s: the program's name is missing", fn) end
  return argv, errors.check_options(fn, opts, names)
end

-- The child's environment as "NAME=value" strings; nil when it is ours unchanged.
local function environment(fn, opts)
  if opts.env == nil and not opts.clear_env then return nil end
  local merged <const> = opts.clear_env and {} or host.environ()
  for name, value in pairs(opts.env or {}) do
    if type(name) ~= "string" or name == "" or name:find("[=%z]") then
      misuse("%s: env: '%s' is no name of a variable", fn, tostring(name))
    end
    if value == false then
      merged[name] = nil
    elseif type(value) == "string" or type(value) == "number" then
      merged[name] = tostring(value)
      if merged[name]:find("\0", 1, true) then misuse("%s: env: the value of %s contains a NUL byte", fn, name) end
    else
      misuse("%s: env: the value of %s is a string, or false to remove it, not a %s", fn, name, type(value))
    end
  end
  local list <const> = {}
  for name, value in pairs(merged) do list[#list + 1] = name .. "=" .. value end
  return list
end

local keywords <const> = { pipe = true, null = true, inherit = true }

-- What the child's standard input is, and what is to be written there (a string, a source or nil).
local function input_of(fn, opts)
  if opts.input ~= nil and opts.stdin ~= nil then misuse("%s: give stdin or input, not both", fn) end
  local data <const> = opts.input
  if data == nil and (opts.stdin == nil or keywords[opts.stdin]) then return opts.stdin or "null" end
  local from <const> = data == nil and opts.stdin or data
  if type(from) ~= "string" and type(from) ~= "function" then
    misuse("%s: stdin is a string, a source, \"pipe\", \"null\" or \"inherit\", not a %s", fn, type(from))
  end
  return "pipe", from
end

local function output_of(fn, name, value, default)
  value = value or default
  if keywords[value] then return value end
  if type(value) ~= "string" or value == "" then misuse("%s: %s is pipe, inherit, null or a path", fn, name) end
  if name == "stderr" and value == "stdout" then return "merge" end
  return ">" .. value
end

local function user_of(fn, opts)
  local uid, gid = opts.uid, opts.gid
  if opts.user then
    local found <const> = core.user(opts.user)
    if not found then misuse("%s: there is no user '%s'", fn, opts.user) end
    return found.uid, gid or found.gid
  end
  -- Another user with our group would keep our rights by the group.
  if uid and not gid then gid = (core.user(uid) or {}).gid or uid end
  return uid, gid
end

-- A child that ends or closes its input before it has read everything is nothing unusual (head, grep -q).
local function feed(p, from)
  local ok, err = true, nil
  if type(from) == "string" then
    for at = 1, #from, 1 << 20 do
      if ok then ok, err = pcall(p.write, p, from:sub(at, at + (1 << 20) - 1)) end
    end
  else
    for chunk in from do
      ok, err = pcall(p.write, p, chunk)
      if not ok then break end
    end
  end
  if ok then
    p:close_stdin()
  elseif not (errors.is(err, "proc") and (err.code == "EPIPE" or err.code == "closed" or err.code == "ECANCELED")) then
    error(err, 0)
  end
end

local function start(fn, argv, opts, out)
  local stdin <const>, from <const> = input_of(fn, opts)
  local uid <const>, gid <const> = user_of(fn, opts)
  local grace <const> = opts.grace or GRACE
  if type(grace) ~= "number" or not (grace >= 0 and grace <= 3600) then
    misuse("%s: grace is a number of seconds from 0 to 3600", fn)
  end
  local p <const> = core.spawn(argv, environment(fn, opts), stdin, output_of(fn, "stdout", opts.stdout, out),
    output_of(fn, "stderr", opts.stderr, out == "pipe" and "pipe" or "inherit"),
    { cwd = opts.cwd, uid = uid, gid = gid, group = opts.new_group, detach = opts.detach, grace = grace })
  return p, from
end

function proc.spawn(spec)
  local argv <const>, opts <const> = split("proc.spawn", spec, spawn_options)
  local p <const>, from <const> = start("proc.spawn", argv, opts, "inherit")
  if from then tasks.spawn(true, feed, p, from) end
  return p
end

function proc.run(spec)
  local argv <const>, opts <const> = split("proc.run", spec, run_options)
  local timeout <const>, max <const> = opts.timeout, opts.max_output or MAX_OUTPUT
  if timeout ~= nil and (type(timeout) ~= "number" or not (timeout > 0)) then
    misuse("proc.run: timeout is a number of seconds above 0")
  end
  if math.type(max) ~= "integer" or max < 1 then misuse("proc.run: max_output is a number of bytes from 1") end
  local p <close>, from <const> = start("proc.run", argv, opts, "pipe")
  local piped <const> = { (opts.stdout or "pipe") == "pipe", (opts.stderr or "pipe") == "pipe" }
  for number = 1, 2 do
    if piped[number] then p:collect(number, max) end
  end
  local feeder <const> = from and tasks.spawn(true, feed, p, from)
  local result = p:wait(timeout)
  local timed_out <const> = result == nil
  if timed_out then
    p:terminate()
    result = p:wait()
  end
  result.timed_out = timed_out or nil
  local deadline <const> = clock.monotonic() + DRAIN
  for number, name in ipairs { "stdout", "stderr" } do
    if piped[number] then
      local text <const>, cut <const> = p:rest(number, math.max(deadline - clock.monotonic(), 0.01))
      result[name] = text
      result.truncated = result.truncated or cut or nil
    end
  end
  if feeder then feeder:cancel() end
  return result
end

---- what a process handle can do beyond the C part ----

local methods <const> = core.methods

function methods:stdout()
  return function() return self:read(1) end
end

function methods:stderr()
  return function() return self:read(2) end
end

function methods:lines(opts)
  return require("garun.fs").lines(self:stdout(), opts)
end

proc.pid = core.pid
proc.uid = core.uid
proc.user = core.user
proc.exists = core.exists
proc.hostname = core.hostname

return proc
