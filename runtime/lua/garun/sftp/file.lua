-- garun.sftp.file: an open file on the server: reading ahead, writing behind.
--
-- Several requests are under way at a time, else each would cost a round trip. A write that fails late is raised by the
-- next write or by close, so a file that is written must be closed by close(), as everywhere.

local errors <const> = require "garun.error"
local wire <const> = require "garun.sftp.wire"

local T <const> = wire.type

local READ <const> = 256 << 10           -- of a read without a size
local CHUNK <const> = 512 << 10          -- of chunks()
local AHEAD <const> = 6                  -- chunks under way
local BEHIND <const> = 4 << 20           -- bytes written and not acknowledged

local file <const> = { __name = "garun.sftp.file", __metatable = false }
file.__index = file

local function open_one(self, what)
  if not self.handle then
    error(errors.new { kind = "sftp", code = "closed", message = what .. ": the file is closed" }, 0)
  end
  return what .. ": " .. self.shown
end

-- Waits until at most `left` bytes are not acknowledged.
local function settle(self, what, left)
  while self.behind > left do
    local op <const> = table.remove(self.writes, 1)
    self.behind = self.behind - op.bytes
    local ok <const>, status <const>, text <const> = op.op:wait(what)
    if not ok then
      self.writes, self.behind = {}, 0
      self.broken = wire.refusal(self.session.label, what, status, text)
    end
  end
  if self.broken then error(self.broken, 0) end
end

local function fetch(self, at, n)
  return self.session.core:read(self.handle, at, n, self.session.read_max)
end

local function take(self, what, op)
  local data <const>, status <const>, text <const> = op:wait(what)
  if not data then error(wire.refusal(self.session.label, what, status, text), 0) end
  return data
end

function file:read(n)
  local what <const> = open_one(self, "file:read")
  n = n == nil and READ or n
  if math.type(n) ~= "integer" or n < 1 or n > 64 << 20 then
    error(errors.new { kind = "usage", code = "argument", message = "file:read: n must be from 1 to 67108864 bytes" }, 2)
  end
  settle(self, what, 0)
  local data <const> = take(self, what, fetch(self, self.at, n))
  self.at = self.at + #data
  if data == "" then return nil end
  return data
end

function file:chunks(n)
  open_one(self, "file:chunks")
  n = n == nil and CHUNK or n
  if math.type(n) ~= "integer" or n < 1 or n > 64 << 20 then
    error(errors.new { kind = "usage", code = "argument", message = "file:chunks: n must be from 1 to 67108864 bytes" }, 2)
  end
  local ahead, next_at = {}, self.at
  return function()
    local what <const> = open_one(self, "file:chunks")
    settle(self, what, 0)
    if #ahead == 0 or ahead[1].at ~= self.at then ahead, next_at = {}, self.at end      -- it was read or moved meanwhile
    while #ahead < AHEAD do
      ahead[#ahead + 1] = { at = next_at, op = fetch(self, next_at, n) }
      next_at = next_at + n
    end
    local data <const> = take(self, what, table.remove(ahead, 1).op)
    self.at = self.at + #data
    if data == "" then return nil end
    return data
  end
end

function file:write(data)
  local what <const> = open_one(self, "file:write")
  if type(data) ~= "string" then
    error(errors.new { kind = "usage", code = "argument", message = "file:write: data is a string, not a " .. type(data) }, 2)
  end
  if self.broken then error(self.broken, 0) end
  for from = 1, #data, BEHIND do
    local part <const> = (from > 1 or #data > BEHIND) and data:sub(from, from + BEHIND - 1) or data
    self.writes[#self.writes + 1] = { bytes = #part,
      op = self.session.core:write(self.handle, self.at, part, self.session.write_max) }
    self.behind, self.at = self.behind + #part, self.at + #part
    settle(self, what, BEHIND)
  end
  return self
end

function file:stat()
  local what <const> = open_one(self, "file:stat")
  settle(self, what, 0)
  local s <const> = self.session
  local kind <const>, reply <const> = wire.ask(s, what, T.FSTAT, string.pack(">s4", self.handle), T.ATTRS)
  if kind == T.STATUS then error(wire.refusal(s.label, what, wire.read(s, what, wire.status, reply)), 0) end
  return (wire.read(s, what, wire.attrs, reply))
end

function file:seek(whence, offset)
  local what <const> = open_one(self, "file:seek")
  whence, offset = whence or "cur", offset or 0
  if (whence ~= "set" and whence ~= "cur" and whence ~= "end") or math.type(offset) ~= "integer" then
    error(errors.new { kind = "usage", code = "argument",
      message = "file:seek: whence is \"set\", \"cur\" or \"end\", offset an integer" }, 2)
  end
  settle(self, what, 0)
  local base <const> = whence == "set" and 0 or whence == "cur" and self.at or self:stat().size or 0
  if base + offset < 0 then
    error(errors.new { kind = "usage", code = "argument", message = "file:seek: before the start of the file" }, 2)
  end
  self.at = base + offset
  return self.at
end

-- Whether the bytes are on the server's disk now; false where it has no fsync@openssh.com.
function file:sync()
  local what <const> = open_one(self, "file:sync")
  settle(self, what, 0)
  if not self.session.extensions["fsync@openssh.com"] then return false end
  wire.must(self.session, what, T.EXTENDED, string.pack(">s4s4", "fsync@openssh.com", self.handle))
  return true
end

-- mode or mtime, nil: as they are.
function file:set(mode, mtime)
  local what <const> = open_one(self, "file:set")
  wire.must(self.session, what, T.FSETSTAT, string.pack(">s4", self.handle) .. wire.pack_attrs(mode, mtime))
end

function file:close()
  if not self.handle then return end
  local what <const> = "file:close: " .. self.shown
  local handle <const> = self.handle
  local ok <const>, err = pcall(settle, self, what, 0)
  if not ok then
    self.handle = nil
    self.session.core:forget(handle)
    error(err, 0)
  end
  self.handle = nil
  wire.must(self.session, what, T.CLOSE, string.pack(">s4", handle))
end

-- Of a block that is left by an error, and of the collector: asks for the close and does not wait.
local function forget(self)
  local handle <const> = self.handle
  if not handle then return end
  self.handle = nil
  self.session.core:forget(handle)
end

function file:__close(err)
  if err ~= nil or not (self.behind > 0 or self.broken) then return forget(self) end
  self:close()
end

file.__gc = forget

function file:__tostring()
  return string.format("sftp.file(%s, %s)", self.shown, self.handle and "open" or "closed")
end

local M <const> = {}

function M.new(session, handle, shown, at)
  return setmetatable({ session = session, handle = handle, shown = shown, at = at or 0, writes = {}, behind = 0 }, file)
end

M.CHUNK = CHUNK

return M
