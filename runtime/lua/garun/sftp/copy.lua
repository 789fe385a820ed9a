-- garun.sftp.copy: whole files, between the server and this machine. The bytes move in garun.core.sftp; here is what
-- makes a copy whole: written aside and renamed, of the size it should have, from a file that did not change meanwhile.
--
-- A copy that may be resumed is kept aside under a name that holds the size and time of its original, so that it goes on
-- only from a beginning of the very same file.

local core_fs <const> = require "garun.core.fs"
local core <const> = require "garun.core.sftp"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local printable <const> = require "garun.printable"
local wire <const> = require "garun.sftp.wire"

local copy <const> = {}

local function fail(s, code, retryable, hint, fmt, ...)
  error(errors.new { kind = "sftp", code = code, retryable = retryable, hint = hint,
    message = string.format(fmt, ...) .. " (" .. s.label .. ")" }, 0)
end

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

-- Runs a copy of garun.core.sftp to its end.
local function run(s, what, kind, remote, file, from, size, digest, progress)
  local most <const> = kind == "get" and s.read_max or s.write_max
  local c <close> = s.core:copy(kind, remote.handle, file, from, size, most, digest, progress ~= nil, what)
  while true do
    local done <const>, at <const>, text <const> = c:wait()
    if done == nil then error(wire.refusal(s.label, what, at, text), 0) end
    if progress then progress(at, size) end
    if done then break end
  end
  return digest and c:digest() or nil
end

local function check_progress(fn, progress)
  if progress ~= nil and type(progress) ~= "function" then misuse("%s: progress is a function(bytes, size)", fn) end
  return progress
end

-- SHA-256 as 64 hexadecimal digits, or true to have it computed.
local function check_digest(fn, want)
  if want == nil or want == false or want == true then return want == true end
  if type(want) ~= "string" or not want:match("^%x+$") or #want ~= 64 then
    misuse("%s: sha256 is true, or the 64 hexadecimal digits that are expected", fn)
  end
  return true, want:lower()
end

local function part_name(base, stat)
  return string.format(".%s.%d-%d.part", base, stat.mtime or 0, stat.size)
end

-- Beginnings of other versions of that file are of no use any more.
local function drop_parts(dir, base, keep)
  local head <const> = "." .. base .. "."
  for _, name in ipairs(core_fs.list(dir)) do
    if name ~= keep and name:sub(1, #head) == head and name:sub(#head + 1):match("^%d+%-%d+%.part$") then
      core_fs.remove(fs.join(dir, name), false)
    end
  end
end

local function file_digest(path)
  local hash <close> = crypto.sha256()
  for chunk in fs.source(path) do hash:update(chunk) end
  return hash:final("raw")
end

---- get ----

-- What is to be fetched: the stat of a regular file. A symbolic link may lead anywhere on the server.
function copy.regular(s, what, remote, follow)
  local stat = s:lstat(remote)
  if stat and stat.type == "link" then
    if not follow then
      fail(s, "SYMLINK", false, "pass { follow = true } when that is meant", "%s: is a symbolic link", what)
    end
    stat = s:stat(remote)
  end
  if not stat then error(wire.refusal(s.label, what, wire.NO_SUCH_FILE), 0) end
  if stat.type == "directory" then
    fail(s, "IS_DIRECTORY", false, "session:get_all gets the files of a directory", "%s: is a directory", what)
  end
  if stat.type ~= "file" and stat.type ~= "unknown" or not stat.size then
    fail(s, "NOT_A_FILE", false, nil, "%s: is no regular file but a %s", what, stat.type)
  end
  return stat
end

function copy.unchanged(s, what, file, before)
  local now <const> = file:stat()
  if now.size ~= before.size or now.mtime ~= before.mtime then
    fail(s, "CHANGED", true, "get it when whoever writes it has finished", "%s: the file changed while it was read: "
      .. "%d bytes, then %d", what, before.size, now.size or -1)
  end
end

-- Of a file that was read to its end: the bytes that came are all it had, and it is the same file still.
function copy.whole(s, what, file, before, bytes)
  copy.unchanged(s, what, file, before)
  if before.size and bytes ~= before.size then
    fail(s, "SHORT", true, nil, "%s: %d bytes came of %d", what, bytes, before.size)
  end
end

local GET <const> = { "resume", "progress", "preserve_mtime", "sha256", "follow", "mode", "sync" }

function copy.get(s, remote, to, opts, permissions)
  opts = errors.check_options("session:get", opts, GET)
  if type(to) ~= "string" or to == "" then misuse("session:get: local is the path of a file") end
  local what <const> = "session:get: " .. printable(remote)
  local progress <const> = check_progress("session:get", opts.progress)
  local digest <const>, expected <const> = check_digest("session:get", opts.sha256)
  local mode = permissions("session:get", opts.mode)
  local there <const> = core_fs.stat(to, false)
  if there and there.type == "directory" then misuse("session:get: %s is a directory; name the file in it", to) end
  copy.regular(s, what, remote, opts.follow)
  local dir <const>, base <const> = fs.dirname(to), fs.basename(to)

  local from <close> = s:open(remote, "r")
  local before <const> = from:stat()
  if not before.size then fail(s, "NOT_A_FILE", false, nil, "%s: the server does not tell its size", what) end
  local start, part = 0, nil
  local file
  if opts.resume then
    part = fs.join(dir, part_name(base, before))
    drop_parts(dir, base, fs.basename(part))
    local old <const> = core_fs.stat(part, false)
    if old and old.type ~= "file" then misuse("session:get: %s is in the way and is no regular file", part) end
    start = old and old.size <= before.size and old.size or 0
    if old and start == 0 then core_fs.remove(part, false) end
    file = core_fs.open(part, start > 0 and "r+" or "wx+", mode)
  else
    file = core_fs.tempfile(fs.join(dir, "." .. base .. "."), mode or 438)
  end
  local guard <close> = file
  local sum = run(s, what, "get", from, file, start, before.size, digest and start == 0, progress)
  copy.unchanged(s, what, from, before)
  if digest and not sum then sum = file_digest(part) end
  if expected and crypto.hex_encode(sum) ~= expected then
    if part then core_fs.remove(part, false) end
    fail(s, "DIGEST", false, nil, "%s: its SHA-256 is %s, expected was %s", what, crypto.hex_encode(sum), expected)
  end
  mode = mode or there and there.type == "file" and there.mode
  if mode then core_fs.chmod(file.path, mode) end      -- past the umask, as of the file that is replaced
  if opts.preserve_mtime and before.mtime then core.set_mtime(file, before.mtime) end
  if part then
    if opts.sync ~= false then file:sync() end
    core_fs.rename(part, to)
  elseif opts.sync ~= false then
    file:persist(to)
  else
    core_fs.rename(file.path, to)
  end
  file:close()
  return { bytes = before.size, mtime = before.mtime, resumed = start > 0 and start or nil,
           sha256 = sum and crypto.hex_encode(sum) or nil }
end

---- put ----

local function split(remote)
  local dir <const>, base <const> = remote:match("^(.*/)([^/]+)$")
  return dir or "", base or remote
end

-- Gives the name `to` to what is at `from`, in place of what is there.
function copy.replace(s, what, from, to)
  if s.extensions["posix-rename@openssh.com"] then
    wire.must(s, what, wire.type.EXTENDED, string.pack(">s4s4s4", "posix-rename@openssh.com", from, to))
    return
  end
  local body <const> = string.pack(">s4s4", from, to)
  local ok <const>, status <const>, text <const> = wire.try(s, what, wire.type.RENAME, body)
  if ok then return end
  -- Version 3's rename refuses to replace. There is no other way, and no file for a moment.
  local there <const> = s:lstat(to)
  if not there or there.type == "directory" then error(wire.refusal(s.label, what, status, text), 0) end
  wire.must(s, what, wire.type.REMOVE, string.pack(">s4", to))
  wire.must(s, what, wire.type.RENAME, body)
end

-- Opens the file that is written: beside its place under a name of its own, or in place. Gives it, its name, and whether
-- that is another one than remote.
local function aside(s, what, remote, opts, mode, part)
  if opts.atomic == false then return s:open(remote, "w", { mode = mode }), remote, false end
  local dir <const>, base <const> = split(remote)
  local old <const> = part and s:lstat(dir .. part)
  if old and old.type ~= "file" then
    fail(s, "NOT_A_FILE", false, "remove it", "%s: %s is in the way and is a %s", what, printable(dir .. part), old.type)
  end
  local name <const> = dir .. (part or string.format(".%s.%s.part", base, crypto.hex_encode(crypto.random(6))))
  return s:open(name, part and "r+c" or "wx", { mode = mode }), name, true
end

-- Syncs, closes, looks whether all arrived, renames.
local function settle(s, what, file, name, remote, size, opts, mode, mtime)
  if mode or mtime then file:set(mode, mtime) end
  if opts.sync ~= false then file:sync() end
  local stat <const> = file:stat()
  file:close()
  if stat.size and stat.size ~= size then
    fail(s, "SHORT", true, nil, "%s: %d bytes were sent and the server has %d", what, size, stat.size)
  end
  if name ~= remote then copy.replace(s, what, name, remote) end
end

local PUT <const> = { "atomic", "resume", "mode", "progress", "preserve_mtime", "sync" }

-- Calls fn(); when it raises the temporary name goes, if the server still listens.
local function cleaning(s, name, temporary, fn)
  local ok <const>, err = pcall(fn)
  if ok then return end
  if temporary and s.core:status() == "open" then
    pcall(s.core.start, s.core, wire.type.REMOVE, string.pack(">s4", name))
  end
  error(err, 0)
end

function copy.put(s, from, remote, opts, permissions)
  opts = errors.check_options("session:put", opts, PUT)
  if type(from) ~= "string" or from == "" then misuse("session:put: local is the path of a file") end
  if opts.resume and opts.atomic == false then
    misuse("session:put: resume needs the temporary name: not with atomic = false")
  end
  local what <const> = "session:put: " .. printable(remote)
  local progress <const> = check_progress("session:put", opts.progress)
  local mode <const> = permissions("session:put", opts.mode)
  local file <close> = core_fs.open(from, "r")
  local before <const> = core_fs.stat(from)
  if not before or before.type ~= "file" then misuse("session:put: %s is no regular file", from) end
  local mtime <const> = math.floor(before.mtime)

  local part <const> = opts.resume and part_name(select(2, split(remote)), { mtime = mtime, size = before.size }) or nil
  local to <close>, name <const>, temporary <const> =
    aside(s, what, remote, opts, mode or before.mode & 511, part)
  local start = 0
  if part then
    start = to:stat().size or 0
    if start > before.size then
      fail(s, "CHANGED", false, "remove it", "%s: %s is longer than the file", what, printable(name))
    end
  end
  cleaning(s, name, temporary and not part, function()
    run(s, what, "put", to, file, start, before.size, false, progress)
    local same <const>, why <const> = file:unchanged()
    if not same then
      fail(s, "CHANGED", true, "put it when whoever writes it has finished", "%s: %s", what, why)
    end
    settle(s, what, to, name, remote, before.size, opts, mode, opts.preserve_mtime and mtime or nil)
  end)
  return { bytes = before.size, mtime = mtime, resumed = start > 0 and start or nil }
end

local PUT_STRING <const> = { "atomic", "mode", "sync" }

function copy.put_string(s, data, remote, opts, permissions)
  opts = errors.check_options("session:put_string", opts, PUT_STRING)
  if type(data) ~= "string" then misuse("session:put_string: data is a string, not a %s", type(data)) end
  local what <const> = "session:put_string: " .. printable(remote)
  local mode <const> = permissions("session:put_string", opts.mode)
  local to <close>, name <const>, temporary <const> = aside(s, what, remote, opts, mode or 420)
  cleaning(s, name, temporary, function()
    to:write(data)
    settle(s, what, to, name, remote, #data, opts, mode)
  end)
end

return copy
