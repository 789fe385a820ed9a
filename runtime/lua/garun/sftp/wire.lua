-- garun.sftp.wire: the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02), as packets of bytes: what is asked, what
-- is answered, and which error a refusal is. What a server sends is checked by string.unpack, which reads no byte beyond.

local errors <const> = require "garun.error"
local printable <const> = require "garun.printable"

local wire <const> = {}

wire.type = { INIT = 1, VERSION = 2, OPEN = 3, CLOSE = 4, LSTAT = 7, FSTAT = 8, SETSTAT = 9, FSETSTAT = 10, OPENDIR = 11,
  READDIR = 12, REMOVE = 13, MKDIR = 14, RMDIR = 15, REALPATH = 16, STAT = 17, RENAME = 18, READLINK = 19, STATUS = 101,
  HANDLE = 102, NAME = 104, ATTRS = 105, EXTENDED = 200, EXTENDED_REPLY = 201 }

local T <const> = wire.type

wire.flag = { READ = 1, WRITE = 2, APPEND = 4, CREAT = 8, TRUNC = 16, EXCL = 32 }

wire.EOF, wire.NO_SUCH_FILE, wire.FAILURE = 1, 2, 4

local STATUS <const> = { [0] = "OK", "EOF", "NO_SUCH_FILE", "PERMISSION_DENIED", "FAILURE", "BAD_MESSAGE", "NO_CONNECTION",
  "CONNECTION_LOST", "OP_UNSUPPORTED", "INVALID_HANDLE", "NO_SUCH_PATH", "FILE_ALREADY_EXISTS", "WRITE_PROTECT", "NO_MEDIA",
  "NO_SPACE_ON_FILESYSTEM", "QUOTA_EXCEEDED", "UNKNOWN_PRINCIPAL", "LOCK_CONFLICT", "DIR_NOT_EMPTY", "NOT_A_DIRECTORY",
  "INVALID_FILENAME", "LINK_LOOP" }

local TEXT <const> = { [1] = "the file has ended", [2] = "no such file or directory", [3] = "permission denied",
  [4] = "the server could not do it", [5] = "the server found the request malformed", [8] = "the server cannot do that" }

-- The error of a refusal. what: "session:stat: /in/users.xlsx"; said: the server's own words.
function wire.refusal(label, what, status, said)
  local name <const> = STATUS[status] or tostring(status)
  local text <const> = TEXT[status] or name:lower():gsub("_", " ")
  if said and (said == "" or said:lower() == text or said:lower() == name:lower():gsub("_", " ")) then said = nil end
  return errors.new {
    kind = "sftp", code = "SFTP_" .. name, retryable = status == 6 or status == 7,
    message = string.format("%s: %s (%s)", what, text, label),
    detail = said and "the server says: " .. printable(said:sub(1, 500)) or nil,
  }
end

-- number, text of a STATUS
function wire.status(body)
  local status, at = string.unpack(">I4", body)
  local ok <const>, text = pcall(string.unpack, ">s4", body, at)
  return status, ok and text or ""
end

local MODES <const> = { [0x1000] = "fifo", [0x2000] = "character device", [0x4000] = "directory", [0x6000] = "block device",
  [0x8000] = "file", [0xA000] = "link", [0xC000] = "socket" }

-- A stat from the ATTRS at that position, and the position behind.
function wire.attrs(body, at)
  local flags
  local stat <const> = { type = "unknown" }
  flags, at = string.unpack(">I4", body, at)
  if flags & 1 ~= 0 then stat.size, at = string.unpack(">i8", body, at) end
  if flags & 2 ~= 0 then stat.uid, stat.gid, at = string.unpack(">I4I4", body, at) end
  if flags & 4 ~= 0 then
    local mode
    mode, at = string.unpack(">I4", body, at)
    stat.type, stat.mode = MODES[mode & 0xF000] or "unknown", mode & 4095
  end
  if flags & 8 ~= 0 then stat.atime, stat.mtime, at = string.unpack(">I4I4", body, at) end
  if flags & 0x80000000 ~= 0 then
    local count
    count, at = string.unpack(">I4", body, at)
    for _ = 1, count do
      at = select(3, string.unpack(">s4s4", body, at))
    end
  end
  return stat, at
end

-- ATTRS of the mode and the times that are given.
function wire.pack_attrs(mode, mtime)
  local flags <const> = (mode and 4 or 0) | (mtime and 8 or 0)
  return string.pack(">I4", flags) .. (mode and string.pack(">I4", mode) or "")
    .. (mtime and string.pack(">I4I4", mtime, mtime) or "")
end

-- Asks and gives the reply's type and body; raises for a dead session, and for anything but the wanted type or a STATUS.
function wire.ask(s, what, kind, body, want)
  local got <const>, reply <const> = s.core:start(kind, body):wait(what)
  if got ~= want and got ~= T.STATUS then
    error(errors.new { kind = "sftp", code = "PROTOCOL",
      message = string.format("%s: the server answered with packet type %d (%s)", what, got, s.label) }, 0)
  end
  return got, reply
end

-- Unpacks a reply; what cannot be unpacked is the server's fault.
function wire.read(s, what, fn, ...)
  local r <const> = table.pack(pcall(fn, ...))
  if not r[1] then
    error(errors.new { kind = "sftp", code = "PROTOCOL",
      message = string.format("%s: the server's answer is malformed (%s)", what, s.label) }, 0)
  end
  return table.unpack(r, 2, r.n)
end

-- A request whose answer is a STATUS: true, or nil, number and text.
function wire.try(s, what, kind, body)
  local _, reply <const> = wire.ask(s, what, kind, body, T.STATUS)
  local status <const>, text <const> = wire.read(s, what, wire.status, reply)
  if status == 0 then return true end
  return nil, status, text
end

function wire.must(s, what, kind, body)
  local ok <const>, status <const>, text <const> = wire.try(s, what, kind, body)
  if not ok then error(wire.refusal(s.label, what, status, text), 0) end
end

return wire
