-- garun.sftp: files on an SFTP server.
--
-- garun.core.sftp (C) moves bytes and waits; here is the session that scripts see. connect.lua decides which host and key
-- are the right ones, file.lua has open files, copy.lua whole files, list.lua directories, wire.lua the protocol.

local connect <const> = require "garun.sftp.connect"
local copy <const> = require "garun.sftp.copy"
local errors <const> = require "garun.error"
local files <const> = require "garun.sftp.file"
local list <const> = require "garun.sftp.list"
local printable <const> = require "garun.printable"
local wire <const> = require "garun.sftp.wire"

local sftp <const> = {}

local T <const>, F <const> = wire.type, wire.flag

local PLAIN <const> = 32768              -- every server takes requests of that size (draft, 3)
local MOST <const> = 255 << 10           -- and ours are not longer, whatever it allows

local session <const> = { __name = "garun.sftp.session", __metatable = false }
session.__index = session

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 3)
end

local function path_of(fn, path)
  if type(path) ~= "string" or path == "" then misuse("%s: the remote path is a string that is not empty", fn) end
  if path:find("\0", 1, true) then misuse("%s: the remote path contains a NUL byte", fn) end
  if #path > 4096 then misuse("%s: the remote path is longer than 4096 bytes", fn) end
  return path, fn .. ": " .. printable(path)
end

local function permissions(fn, mode)
  if mode == nil then return nil end
  local n <const> = type(mode) == "string" and mode:match("^[0-7]+$") and tonumber(mode, 8) or mode
  if math.type(n) ~= "integer" or n < 0 or n > 4095 then misuse("%s: mode is octal text like \"0640\"", fn) end
  return n
end

---- connecting ----

-- Greets, and asks for the server's limits where it tells them (OpenSSH from 8.5 on).
local function greet(s)
  local kind <const>, body <const> = s.core:start(T.INIT, ""):wait("sftp.connect")
  if kind ~= T.VERSION then
    error(errors.new { kind = "sftp", code = "PROTOCOL", message = "sftp.connect: " .. s.label .. ": no SFTP speaks there" }, 0)
  end
  wire.read(s, "sftp.connect", function()
    local at = 1
    while at <= #body do
      local name, value
      name, value, at = string.unpack(">s4s4", body, at)
      s.extensions[name] = value
    end
  end)
  if s.extensions["limits@openssh.com"] then
    local got <const>, reply <const> = wire.ask(s, "sftp.connect", T.EXTENDED, string.pack(">s4", "limits@openssh.com"),
      T.EXTENDED_REPLY)
    if got == T.EXTENDED_REPLY then
      local _, read <const>, write <const> = wire.read(s, "sftp.connect", string.unpack, ">I8I8I8", reply)
      local function limit(n) return n < 0 and MOST or n < 1024 and PLAIN or math.min(n, MOST) end
      s.read_max, s.write_max = limit(read), limit(write)
    end
  end
end

function sftp.connect(opts)
  local inner <const>, timeout <const> = connect.open(opts)
  local s <const> = setmetatable({ core = inner, label = inner:label(), extensions = {}, read_max = PLAIN,
    write_max = PLAIN }, session)
  local ok <const>, err = pcall(greet, s)
  if not ok then
    inner:close()
    error(err, 0)
  end
  inner:timeout(timeout)
  return s
end

function session:close()
  self.core:close()
end

session.__close = session.close

function session:status()
  return self.core:status()
end

function session:methods()
  return self.core:methods()
end

function session:__tostring()
  return string.format("sftp.session(%s, %s)", self.label, self.core:status())
end

---- what is there ----

local function stat(self, fn, kind, path)
  local what
  path, what = path_of(fn, path)
  local got <const>, reply <const> = wire.ask(self, what, kind, string.pack(">s4", path), T.ATTRS)
  if got == T.ATTRS then return (wire.read(self, what, wire.attrs, reply)) end
  local status <const>, text <const> = wire.read(self, what, wire.status, reply)
  if status == wire.NO_SUCH_FILE or status == 10 then return nil end
  error(wire.refusal(self.label, what, status, text), 0)
end

function session:stat(path)
  return stat(self, "session:stat", T.STAT, path)
end

function session:lstat(path)
  return stat(self, "session:lstat", T.LSTAT, path)
end

function session:exists(path)
  return stat(self, "session:exists", T.STAT, path) ~= nil
end

-- Gives the one name of a NAME reply.
local function one_name(self, fn, kind, path)
  local what
  path, what = path_of(fn, path)
  local got <const>, reply <const> = wire.ask(self, what, kind, string.pack(">s4", path), T.NAME)
  if got == T.STATUS then error(wire.refusal(self.label, what, wire.read(self, what, wire.status, reply)), 0) end
  local _, name <const> = wire.read(self, what, string.unpack, ">I4s4", reply)
  return name
end

function session:realpath(path)
  return one_name(self, "session:realpath", T.REALPATH, path)
end

function session:readlink(path)
  return one_name(self, "session:readlink", T.READLINK, path)
end

function session:list(path, opts)
  local what
  path, what = path_of("session:list", path)
  return list.list(self, path, what, opts)
end

---- changing it ----

function session:mkdir(path, opts)
  local what
  path, what = path_of("session:mkdir", path)
  opts = errors.check_options("session:mkdir", opts, { "parents", "mode" })
  local mode <const> = permissions("session:mkdir", opts.mode)
  local function make(dir)
    return wire.try(self, what, T.MKDIR, string.pack(">s4", dir) .. wire.pack_attrs(mode or 511))
  end
  if opts.parents then
    for stop in path:gmatch("()/") do
      local part <const> = path:sub(1, stop - 1)
      if part ~= "" then make(part) end
    end
  end
  local ok <const>, status <const>, text <const> = make(path)
  if ok then return end
  if opts.parents then
    local there <const> = self:stat(path)
    if there and there.type == "directory" then return end
  end
  error(wire.refusal(self.label, what, status, text), 0)
end

local function simple(fn, kind)
  return function(self, path, opts)
    local what
    path, what = path_of(fn, path)
    opts = errors.check_options(fn, opts, { "missing_ok" })
    local ok <const>, status <const>, text <const> = wire.try(self, what, kind, string.pack(">s4", path))
    if ok then return true end
    if opts.missing_ok and status == wire.NO_SUCH_FILE then return false end
    error(wire.refusal(self.label, what, status, text), 0)
  end
end

session.remove = simple("session:remove", T.REMOVE)
session.rmdir = simple("session:rmdir", T.RMDIR)

function session:rename(from, to, opts)
  local what
  from, what = path_of("session:rename", from)
  to = path_of("session:rename", to)
  what = what .. " to " .. printable(to)
  opts = errors.check_options("session:rename", opts, { "overwrite" })
  if opts.overwrite then
    copy.replace(self, what, from, to)
  else
    wire.must(self, what, T.RENAME, string.pack(">s4s4", from, to))
  end
end

function session:chmod(path, mode)
  local what
  path, what = path_of("session:chmod", path)
  if mode == nil then misuse("session:chmod: mode (argument 2) is missing") end
  wire.must(self, what, T.SETSTAT, string.pack(">s4", path) .. wire.pack_attrs(permissions("session:chmod", mode)))
end

---- files ----

-- As fs.open; "c" (ours): "r+" that creates. FXF_APPEND alone does not tell where the file ends, so "a" asks.
local function flags_of(mode)
  local kind <const>, rest <const> = mode:match("^([rwa])([+xbc]*)$")
  if not kind then return nil end
  local function has(c) return rest:find(c, 1, true) ~= nil end
  if kind == "r" then return F.READ | (has "+" and F.WRITE or 0) | (has "c" and F.CREAT or 0) end
  return F.WRITE | F.CREAT | (has "+" and F.READ or 0) | (has "x" and F.EXCL or 0)
    | (kind == "w" and (has "x" and 0 or F.TRUNC) or F.APPEND)
end

function session:open(path, mode, opts)
  local what
  path, what = path_of("session:open", path)
  opts = errors.check_options("session:open", opts, { "mode" })
  mode = mode or "r"
  local flags <const> = type(mode) == "string" and flags_of(mode)
  if not flags then misuse("session:open: unknown mode '%s'; it is r, w or a, then + and x as needed", tostring(mode)) end
  local body <const> = string.pack(">s4I4", path, flags)
    .. wire.pack_attrs(flags & F.CREAT ~= 0 and (permissions("session:open", opts.mode) or 438) or nil)
  local file <const> = files.new(self, list.open_handle(self, what, T.OPEN, body), printable(path))
  if flags & F.APPEND ~= 0 then file:seek("end") end
  return file
end

function session:get(remote, to, opts)
  return copy.get(self, path_of("session:get", remote), to, opts, permissions)
end

function session:put(from, remote, opts)
  return copy.put(self, from, path_of("session:put", remote), opts, permissions)
end

function session:put_string(data, remote, opts)
  return copy.put_string(self, data, path_of("session:put_string", remote), opts, permissions)
end

local STRING_MAX <const> = 64 << 20

function session:get_string(path, opts)
  local what
  path, what = path_of("session:get_string", path)
  opts = errors.check_options("session:get_string", opts, { "max_bytes", "follow" })
  local max <const> = opts.max_bytes or STRING_MAX
  if math.type(max) ~= "integer" or max < 0 then misuse("session:get_string: max_bytes is a number of bytes") end
  local function too_long()
    error(errors.new { kind = "sftp", code = "EFBIG", hint = "get it to a file, or pass a larger max_bytes",
      message = string.format("%s: longer than %d bytes (%s)", what, max, self.label) }, 0)
  end
  if copy.regular(self, what, path, opts.follow).size > max then too_long() end
  local file <close> = self:open(path, "r")
  local before <const> = file:stat()
  local parts, n <const> = {}, 0
  local length = n
  for chunk in file:chunks() do
    length = length + #chunk
    if length > max then too_long() end
    parts[#parts + 1] = chunk
  end
  copy.whole(self, what, file, before, length)
  return table.concat(parts)
end

-- As fs.source: the next chunk, nil at the end; the fourth value closes. Raises at the end when the file changed meanwhile.
function session:source(path, opts)
  local what
  path, what = path_of("session:source", path)
  opts = errors.check_options("session:source", opts, { "chunk", "follow" })
  copy.regular(self, what, path, opts.follow)
  local file <const> = self:open(path, "r")
  local before <const> = file:stat()
  local read <const> = file:chunks(opts.chunk)
  local bytes, ended = 0, false
  return function()
    if ended then return nil end
    local chunk <const> = read()
    if chunk then
      bytes = bytes + #chunk
      return chunk
    end
    ended = true
    copy.whole(self, what, file, before, bytes)
    file:close()
    return nil
  end, nil, nil, file
end

function session:get_all(dir, to, opts)
  return list.get_all(self, path_of("session:get_all", dir), to, opts)
end

sftp.fingerprint = function(public_key)
  local blob <const> = require("garun.sftp.keys").pins(public_key)[1].blob
  if not blob then misuse("sftp.fingerprint: takes a public key line, \"ssh-ed25519 AAAA...\"") end
  return require("garun.sftp.keys").fingerprint(blob)
end

return sftp
