-- garun.fs: files, directories, temporary files and locks.
--
-- garun.core.fs has the system calls; this file has the names that scripts use, the options and what is better said in
-- Lua: paths, sources and sinks. A source is a function that returns the next chunk and nil at the end, a sink a
-- function that takes a chunk and, called with nil, finishes.

local core <const> = require "garun.core.fs"
local tasks <const> = require "garun.core.task"
local errors <const> = require "garun.error"

local fs <const> = {}

local options <const> = errors.check_options

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 3)
end

-- File modes read as octal text ("0640"), the way chmod and ls write them, or come as a number.
local function permissions(name, mode)
  if mode == nil then return nil end
  local n = mode
  if type(mode) == "string" then
    n = mode:match("^[0-7]+$") and tonumber(mode, 8)
  end
  if math.type(n) ~= "integer" or n < 0 or n > 4095 then
    misuse("%s: mode is octal text like \"0640\", not '%s'", name, tostring(mode))
  end
  return n
end

---- paths ----

function fs.join(...)
  local path
  for i = 1, select("#", ...) do
    local part <const> = select(i, ...)
    if type(part) ~= "string" then misuse("fs.join: argument %d is a string, not a %s", i, type(part)) end
    if path == nil or path == "" or part:sub(1, 1) == "/" then
      path = part
    elseif part ~= "" then
      path = path:sub(-1) == "/" and path .. part or path .. "/" .. part
    end
  end
  return path or ""
end

function fs.basename(path)
  if path:match("^/+$") then return "/" end
  return path:gsub("/+$", ""):match("[^/]*$")
end

function fs.dirname(path)
  local dir <const> = path:gsub("/+$", ""):match("^(.*)/[^/]*$")
  if not dir then return path:sub(1, 1) == "/" and "/" or "." end
  local trimmed <const> = dir:gsub("/+$", "")
  return trimmed == "" and "/" or trimmed
end

fs.realpath = core.realpath
fs.cwd = core.cwd

---- what is there ----

function fs.stat(path, opts)
  return core.stat(path, options("fs.stat", opts, { "follow" }).follow)
end

function fs.exists(path)
  return core.stat(path) ~= nil
end

function fs.list(dir)
  local names <const> = core.list(dir)
  table.sort(names)
  return names
end

function fs.glob(pattern)
  local paths <const> = core.glob(pattern)
  table.sort(paths)
  return paths
end

fs.space = core.space

---- changing it ----

function fs.mkdir(path, opts)
  opts = options("fs.mkdir", opts, { "parents", "mode" })
  local mode <const> = permissions("fs.mkdir", opts.mode)
  if not opts.parents then
    if not core.mkdir(path, mode) then
      error(errors.new { kind = "fs", code = "EEXIST", hint = "pass { parents = true } when that is fine",
                         message = "fs.mkdir: " .. path .. ": the directory exists already" }, 2)
    end
    return path
  end
  for stop in path:gmatch("()/") do
    local part <const> = path:sub(1, stop - 1)
    if part ~= "" then core.mkdir(part) end
  end
  core.mkdir(path, mode)
  return path
end

function fs.remove(path, opts)
  opts = options("fs.remove", opts, { "recursive", "missing_ok" })
  if opts.missing_ok and not core.stat(path, false) then return false end
  core.remove(path, opts.recursive)
  return true
end

fs.rename = core.rename
fs.symlink = core.symlink
fs.readlink = core.readlink

function fs.chmod(path, mode)
  if mode == nil then misuse("fs.chmod: mode (argument 2) is missing") end
  core.chmod(path, permissions("fs.chmod", mode))
end

---- whole files ----

function fs.read(path, opts)
  local max <const> = options("fs.read", opts, { "max_bytes" }).max_bytes
  if max ~= nil and (math.type(max) ~= "integer" or max < 0 or max > 1 << 40) then
    misuse("fs.read: max_bytes is a number of bytes, not '%s'", tostring(max))
  end
  return core.read(path, max)
end

function fs.write(path, data, opts)
  opts = options("fs.write", opts, { "atomic", "sync", "mode" })
  local how = opts.atomic == false and "plain" or "atomic"
  if opts.sync ~= false and (how == "atomic" or opts.sync) then how = how .. "+sync" end
  core.put("fs.write", path, data, how, permissions("fs.write", opts.mode))
end

function fs.append(path, data, opts)
  opts = options("fs.append", opts, { "sync", "mode" })
  core.put("fs.append", path, data, opts.sync and "append+sync" or "append", permissions("fs.append", opts.mode))
end

---- handles, sources and sinks ----

function fs.open(path, mode, opts)
  return core.open(path, mode, permissions("fs.open", options("fs.open", opts, { "mode" }).mode))
end

-- The file is the fourth value, so that a `for` that is left early closes it.
function fs.source(path, opts)
  opts = options("fs.source", opts, { "chunk", "stable" })
  local size <const> = opts.chunk
  local file <const> = path == "-" and core.stdin() or core.open(path, "r")
  local read <const> = file:chunks(size)
  local ended = false
  return function()
    if ended then return nil end
    local chunk <const> = read()
    if chunk then return chunk end
    ended = true
    local same, why
    if opts.stable then same, why = file:unchanged() end
    file:close()
    if same == false then
      error(errors.new { kind = "fs", code = "changed", retryable = true, message = "fs.source: " .. why,
                         hint = "load it when whoever writes it has finished" }, 2)
    end
    return nil
  end, nil, nil, file
end

-- With atomic (the default) the bytes go to a temporary file beside path, which takes its place when the sink finishes;
-- until then, and for ever when it never does, path is what it was. The file is the fourth value, as of fs.source, so
-- that gzip.writer(fs.sink(path)) works.
function fs.sink(path, opts)
  opts = options("fs.sink", opts, { "atomic", "mode" })
  local mode = permissions("fs.sink", opts.mode)
  local file
  local atomic = path ~= "-" and opts.atomic ~= false
  if path == "-" then
    file = core.stdout()
  elseif atomic then
    local old <const> = core.stat(path)
    if old and old.type ~= "file" then       -- a FIFO or a device is written to, not replaced
      atomic, file = false, core.open(path, "w")
    else
      if old then path = core.realpath(path) end
      file = core.tempfile(fs.join(fs.dirname(path), "." .. fs.basename(path) .. "."), mode or 438)
      mode = mode or old and old.mode
    end
  else
    file = core.open(path, "w", mode)
  end
  local ended = false
  return function(chunk)
    if ended then
      if chunk == nil then return end
      error(errors.new { kind = "fs", code = "closed", message = "fs.sink: " .. path .. " is finished already" }, 2)
    end
    if chunk ~= nil then
      file:write(chunk)
      return
    end
    ended = true
    if atomic then
      if mode then core.chmod(file.path, mode) end
      file:persist(path)
    end
    file:close()
  end, nil, nil, file
end

-- Lines of a path or of any source, without their "\n".
function fs.lines(source, opts)
  opts = options("fs.lines", opts, { "max_bytes" })
  local max <const> = opts.max_bytes or 16 << 20
  local name, file = "the source", nil
  if type(source) == "string" then
    name = source
    local _
    source, _, _, file = fs.source(source)
  end
  local chunk, at, number = "", 1, 0
  local function next_line()
    local parts, length
    while true do
      local stop <const> = chunk and chunk:find("\n", at, true)
      if stop then
        local line = chunk:sub(at, stop - 1)
        at = stop + 1
        if parts then
          parts[#parts + 1] = line
          line = table.concat(parts)
        end
        number = number + 1
        return line
      end
      if chunk and at <= #chunk then
        parts, length = parts or {}, (length or 0) + #chunk - at + 1
        parts[#parts + 1] = chunk:sub(at)
        if length > max then
          error(errors.new { kind = "fs", code = "line", message = string.format(
            "fs.lines: line %d of %s is longer than %d bytes", number + 1, name, max) }, 2)
        end
      end
      if not chunk then return nil end
      chunk, at = source(), 1
      if not chunk and parts then
        number = number + 1
        return table.concat(parts)
      end
    end
  end
  return next_line, nil, nil, file
end

---- temporary files and directories ----

local function temp_stem(name, opts)
  opts = options(name, opts, { "dir", "prefix" })
  return fs.join(opts.dir or os.getenv("TMPDIR") or "/tmp", opts.prefix or "garun-")
end

function fs.tempfile(opts)
  return core.tempfile(temp_stem("fs.tempfile", opts))
end

local tempdir <const> = { __name = "garun.fs.tempdir", __metatable = false }
tempdir.__index = tempdir

-- Does not wait, as no clean-up does. What cannot be removed is left behind: an error may be on its way already.
function tempdir:close()
  if self.path then core.remove_now(self.path) end
  self.path = nil
end

-- The handle may be gone while the script still uses the path, so collecting it removes nothing; only close does.
tempdir.__close = tempdir.close

function tempdir:__tostring()
  return "fs.tempdir(" .. (self.path or "removed") .. ")"
end

function fs.tempdir(opts)
  return setmetatable({ path = core.mkdtemp(temp_stem("fs.tempdir", opts)) }, tempdir)
end

---- locks ----

local LOCK_PAUSE_MAX <const> = 0.25

function fs.lock(path, opts)
  opts = options("fs.lock", opts, { "timeout", "shared" })
  local timeout <const> = opts.timeout
  if timeout ~= nil and (type(timeout) ~= "number" or not (timeout >= 0)) then
    misuse("fs.lock: timeout is a number of seconds from 0, not '%s'", tostring(timeout))
  end
  local pause, waited = 0.005, 0.0
  while true do
    local lock <const>, pid <const> = core.lock_try(path, opts.shared)
    if lock then return lock end
    if timeout and waited >= timeout then
      error(errors.new {
        kind = "fs", code = "locked", retryable = true,
        message = string.format("fs.lock: %s: another process holds the lock%s%s", path,
                                pid and string.format(" (pid %d)", pid) or "",
                                timeout > 0 and string.format("; waited %g seconds", timeout) or ""),
        hint = pid and string.format("see what it does with `ps -fp %d`", pid) or nil,
      }, 2)
    end
    local nap <const> = timeout and math.min(pause, timeout - waited) or pause
    tasks.sleep(nap)
    waited, pause = waited + nap, math.min(pause * 2, LOCK_PAUSE_MAX)
  end
end

return fs
