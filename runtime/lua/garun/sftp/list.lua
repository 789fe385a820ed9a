-- garun.sftp.list: the names in a directory of the server, and getting the files of one. Names that a server sends are
-- data: none becomes part of a local path before it is known to be a plain name.

local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local printable <const> = require "garun.printable"
local task <const> = require "garun.task"
local wire <const> = require "garun.sftp.wire"

local T <const> = wire.type

local M <const> = {}

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

function M.open_handle(self, what, kind, body)
  local got <const>, reply <const> = wire.ask(self, what, kind, body, T.HANDLE)
  if got == T.STATUS then error(wire.refusal(self.label, what, wire.read(self, what, wire.status, reply)), 0) end
  local handle <const> = wire.read(self, what, string.unpack, ">s4", reply)
  if #handle > 256 then
    error(errors.new { kind = "sftp", code = "PROTOCOL", message = what .. ": the server's handle is too long" }, 0)
  end
  return handle
end

-- The entries of one READDIR, nil at the end.
local function read_names(self, what, handle)
  local got <const>, reply <const> = wire.ask(self, what, T.READDIR, string.pack(">s4", handle), T.NAME)
  if got == T.STATUS then
    local status <const>, text <const> = wire.read(self, what, wire.status, reply)
    if status == wire.EOF then return nil end
    error(wire.refusal(self.label, what, status, text), 0)
  end
  return wire.read(self, what, function()
    local list <const> = {}
    local count, at = string.unpack(">I4", reply)
    for _ = 1, count do
      local name, entry
      name, at = string.unpack(">s4", reply, at)
      at = select(2, string.unpack(">s4", reply, at))      -- the line of an `ls -l`, for people
      entry, at = wire.attrs(reply, at)
      if name ~= "." and name ~= ".." then
        entry.name = name
        list[#list + 1] = entry
      end
    end
    return list
  end)
end

local SORT_MAX <const> = 1000000

-- The directory is the fourth value, so that a `for` that is left early closes it.
function M.list(self, path, what, opts)
  opts = errors.check_options("session:list", opts, { "sort" })
  local handle = M.open_handle(self, what, T.OPENDIR, string.pack(">s4", path))
  local core_session <const> = self.core
  local function close()
    if handle then core_session:forget(handle) end
    handle = nil
  end
  local closer <const> = setmetatable({}, { __close = close, __gc = close })
  local batch, at = {}, 0
  local function next_entry()
    while handle and at >= #batch do
      batch, at = read_names(self, what, handle), 0
      if not batch then
        batch = {}
        close()
      end
    end
    at = at + 1
    return batch[at]
  end
  if not opts.sort then return function() return next_entry(closer) end, nil, nil, closer end     -- closer: kept alive
  local all <const> = {}
  local _guard <close> = closer
  for entry in next_entry do
    all[#all + 1] = entry
    if #all > SORT_MAX then
      error(errors.new { kind = "sftp", code = "TOO_MANY",
        message = string.format("%s: more than %d names; list them without sort (%s)", what, SORT_MAX, self.label) }, 0)
    end
  end
  table.sort(all, function(a, b) return a.name < b.name end)
  local i = 0
  return function()
    i = i + 1
    return all[i]
  end
end

---- several files ----

-- Why a name of a listing cannot be the name of a local file, or nil. A server may send what it likes.
local function unsafe(name)
  if name == "" or name == "." or name == ".." then return "no name of a file" end
  if name:find("/", 1, true) then return "it has a /" end
  if name:find("%c") then return "it has control characters" end
  if #name > 255 then return "it is longer than 255 bytes" end
  return nil
end

-- A shell pattern of * ? and [a-z] or [!a-z] as a Lua pattern.
local function glob(fn, pattern)
  if type(pattern) ~= "string" or pattern == "" or pattern:find("/", 1, true) then
    misuse("%s: pattern is a shell pattern for names, like \"*.csv\"", fn)
  end
  local out, i <const> = { "^" }, 1
  local at = i
  while at <= #pattern do
    local c <const> = pattern:sub(at, at)
    local negated <const>, set <const>, stop <const> = pattern:match("^%[(!?)([^%]]+)%]()", at)
    if c == "*" then
      out[#out + 1] = ".*"
    elseif c == "?" then
      out[#out + 1] = "."
    elseif set then
      out[#out + 1] = "[" .. (negated == "!" and "^" or "") .. set:gsub("[%%%^%]]", "%%%0") .. "]"
      at = stop - 1
    else
      out[#out + 1] = c:gsub("%W", "%%%0")
    end
    at = at + 1
  end
  out[#out + 1] = "$"
  return table.concat(out)
end

function M.get_all(self, dir, to, opts)
  local fn <const> = "session:get_all"
  opts = errors.check_options(fn, opts, { "pattern", "concurrency", "follow", "resume", "preserve_mtime", "mode", "sync",
    "progress" })
  if type(to) ~= "string" or to == "" then misuse("%s: local is the path of a directory", fn) end
  local here <const> = fs.stat(to)
  if not here or here.type ~= "directory" then misuse("%s: %s is no directory", fn, to) end
  local match <const> = opts.pattern and glob(fn, opts.pattern)
  local wanted <const> = {}
  for entry in self:list(dir, { sort = true }) do
    local why <const> = unsafe(entry.name)
    if why then
      error(errors.new { kind = "sftp", code = "UNSAFE_NAME", message = string.format(
        "%s: %s: the server lists the name '%s', which is not followed: %s (%s)", fn, printable(dir), printable(entry.name),
        why, self.label) }, 0)
    end
    local fits <const> = entry.type == "file" or entry.type == "unknown" or entry.type == "link" and opts.follow
    if fits and (not match or entry.name:find(match)) then wanted[#wanted + 1] = entry.name end
  end
  return task.map(wanted, function(name)
    local remote <const> = dir:sub(-1) == "/" and dir .. name or dir .. "/" .. name
    if opts.follow and self:stat(remote).type ~= "file" then return false end
    local progress <const> = opts.progress and function(bytes, size) opts.progress(name, bytes, size) end
    local got <const> = self:get(remote, fs.join(to, name), { follow = opts.follow, resume = opts.resume, mode = opts.mode,
      preserve_mtime = opts.preserve_mtime, sync = opts.sync, progress = progress })
    got.name = name
    return got
  end, { concurrency = opts.concurrency or 4 })
end

return M
