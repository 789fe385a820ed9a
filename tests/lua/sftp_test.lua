-- garun.sftp against a real OpenSSH server: sessions, files, directories, copies.

local crypto <const> = require "garun.crypto"
local fs <const> = require "garun.fs"
local sftp <const> = require "garun.sftp"
local sshd <const> = require "sshd"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local MB <const> = 1 << 20

-- Bytes that do not repeat, so that a block in the wrong place shows.
local function noise(n)
  local parts <const> = {}
  for i = 1, n // MB do parts[i] = crypto.random(MB) end
  parts[#parts + 1] = n % MB > 0 and crypto.random(n % MB) or nil
  return table.concat(parts)
end

t.test("connect with a key; stat, lstat, exists, realpath, readlink", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  t.equal(s:status(), "open")
  t.match(tostring(s), "open")
  t.equal(s:methods().kex, "curve25519-sha256")
  t.match(s:methods().mac, "^hmac%-sha2")
  local path <const> = srv.file("a.txt", "hello")
  fs.chmod(path, "0640")
  fs.symlink("a.txt", srv.files .. "/link")
  local st <const> = s:stat(path)
  t.equal({ st.type, st.size, st.mode }, { "file", 5, 416 })
  t.equal(st.mtime, math.floor(fs.stat(path).mtime))
  t.equal(s:lstat(srv.files .. "/link").type, "link")
  t.equal(s:stat(srv.files .. "/link").type, "file")
  t.equal(s:stat(srv.files).type, "directory")
  t.equal(s:stat(srv.files .. "/nope"), nil)
  t.equal({ s:exists(path), s:exists(srv.files .. "/nope") }, { true, false })
  t.equal(s:realpath(srv.files .. "/../files/."), fs.realpath(srv.files))
  t.equal(s:readlink(srv.files .. "/link"), "a.txt")
  s:close()
  s:close()
  t.equal(s:status(), "closed")
  t.raises({ kind = "sftp", code = "closed" }, s.stat, s, path)
end)

t.test("list: every name, sorted on request, may be left early", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local want <const> = {}
  for i = 1, 1200 do
    want[i] = string.format("f%04d", i)
    io.open(srv.files .. "/" .. want[i], "w"):close()
  end
  fs.mkdir(srv.files .. "/sub")
  want[#want + 1] = "sub"
  local got <const> = {}
  for e in s:list(srv.files, { sort = true }) do got[#got + 1] = e.name end
  t.equal(got, want)
  local raw <const> = {}
  for e in s:list(srv.files) do
    raw[#raw + 1] = e.name
    if e.name == "sub" then t.equal(e.type, "directory") end
  end
  table.sort(raw)
  t.equal(raw, want)
  for _ = 1, 300 do                          -- more than the server's handles, were they not closed
    for _ in s:list(srv.files) do break end
  end
  t.raises({ code = "SFTP_NO_SUCH_FILE" }, s.list, s, srv.files .. "/nope")
end)

t.test("mkdir, parents, rmdir, remove, rename, chmod", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local d <const> = srv.files
  s:mkdir(d .. "/x")
  t.raises({ kind = "sftp", code = "SFTP_FAILURE" }, s.mkdir, s, d .. "/x")
  s:mkdir(d .. "/x/y/z", { parents = true })
  s:mkdir(d .. "/x/y/z", { parents = true })
  t.equal(fs.stat(d .. "/x/y/z").type, "directory")
  s:rmdir(d .. "/x/y/z")
  t.equal(fs.exists(d .. "/x/y/z"), false)
  t.raises({ code = "SFTP_FAILURE" }, s.rmdir, s, d .. "/x")
  srv.file("a", "1")
  srv.file("b", "2")
  t.raises({ code = "SFTP_FAILURE" }, s.rename, s, d .. "/a", d .. "/b")
  s:rename(d .. "/a", d .. "/b", { overwrite = true })
  t.equal(fs.read(d .. "/b"), "1")
  s:chmod(d .. "/b", "0600")
  t.equal(fs.stat(d .. "/b").mode, 384)
  s:remove(d .. "/b")
  t.raises({ code = "SFTP_NO_SUCH_FILE" }, s.remove, s, d .. "/b")
  t.equal(s:remove(d .. "/b", { missing_ok = true }), false)
end)

t.test("files: read, chunks, write, seek, append, exclusive", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local path <const>, data <const> = srv.files .. "/f", noise(5 * MB + 12345)
  do
    local f <close> = s:open(path, "w")
    for at = 1, #data, 70001 do f:write(data:sub(at, at + 70000)) end
    f:close()
  end
  t.ok(fs.read(path) == data, "what was written is there")
  local f <close> = s:open(path)
  t.ok(f:read(3 * MB) == data:sub(1, 3 * MB), "read")
  t.equal(f:seek("cur"), 3 * MB)
  t.equal(f:seek("end", -5), #data - 5)
  t.equal(f:read(100), data:sub(-5))
  t.equal(f:read(100), nil)
  f:seek("set", 0)
  local parts <const> = {}
  for chunk in f:chunks(100003) do parts[#parts + 1] = chunk end
  t.ok(table.concat(parts) == data, "chunks")
  t.equal(f:stat().size, #data)
  f:close()
  f:close()
  t.raises({ code = "closed" }, f.read, f)
  local a <close> = s:open(path, "a")
  a:write("tail")
  a:close()
  t.equal(fs.read(path):sub(-4), "tail")
  t.raises({ kind = "sftp" }, s.open, s, path, "wx")
  t.raises({ kind = "usage" }, s.open, s, path, "q")
  t.raises({ code = "SFTP_NO_SUCH_FILE" }, s.open, s, srv.files .. "/no/such", "w")
end)

t.test("an error names the call, the path, the user and the server; unknown options are errors", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local e <const> = t.raises({ code = "SFTP_NO_SUCH_FILE", retryable = false }, s.get, s, "/no/such", t.tmpdir() .. "/x")
  t.match(e.message, "session:get: /no/such: .*" .. srv.user .. "@127%.0%.0%.1:" .. srv.port)
  t.raises("did you mean 'resume'", s.get, s, "/x", "/y", { resum = true })
  t.raises("did you mean 'host_key'", sftp.connect, { hostkey = "x" })
  t.raises({ kind = "usage" }, s.stat, s, "a\0b")
  t.raises({ kind = "usage" }, s.stat, s, "")
  t.raises({ kind = "usage" }, s.get, s, "/x", "/y", { sha256 = "12" })
end)

t.test("get and put of sizes around the blocks give the same bytes", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local dir <const> = t.tmpdir()
  for _, size in ipairs { 0, 1, 255 << 10, (255 << 10) + 1, 8 * MB, 8 * MB + 1, 20 * MB + 77 } do
    local data <const> = noise(size)
    local remote <const> = srv.file("in", data)
    local r <const> = s:get(remote, dir .. "/got", { sha256 = true })
    t.equal(r.bytes, size)
    t.equal(r.sha256, crypto.sha256(data))
    t.ok(fs.read(dir .. "/got") == data, "get of " .. size)
    t.equal(s:put(dir .. "/got", srv.files .. "/out").bytes, size)
    t.ok(fs.read(srv.files .. "/out") == data, "put of " .. size)
    t.ok(s:get_string(remote) == data, "get_string of " .. size)
  end
  t.equal(fs.list(dir), { "got" })
  t.equal(fs.list(srv.files), { "in", "out" })
end)

t.test("a server that gives short reads and takes 32 KiB only", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local data <const> = noise(3 * MB + 5)
  local remote <const> = srv.file("in", data)
  s.read_max, s.write_max = 32768, 32768           -- as of servers without limits@openssh.com
  s:get(remote, srv.dir .. "/got")
  t.ok(fs.read(srv.dir .. "/got") == data, "small requests")
  s:put(srv.dir .. "/got", srv.files .. "/out")
  t.ok(fs.read(srv.files .. "/out") == data, "small writes")
  s.read_max = 256 << 10                           -- more than sshd's 261,120: it answers with fewer bytes
  s:get(remote, srv.dir .. "/got2")
  t.ok(fs.read(srv.dir .. "/got2") == data, "short reads")
  t.ok(s:get_string(remote) == data, "short reads of a string")
end)

t.test("key exchange again and again while bytes flow both ways", function()
  local srv <const> = sshd.start { config = { "RekeyLimit 1M" } }
  local s <close> = srv.connect()
  local data <const> = noise(24 * MB)
  local remote <const> = srv.file("in", data)
  s:get(remote, srv.dir .. "/got")
  t.ok(fs.read(srv.dir .. "/got") == data, "get")
  s:put(srv.dir .. "/got", srv.files .. "/out")
  t.ok(fs.read(srv.files .. "/out") == data, "put")
end)

t.test("compression", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect { compression = true }
  t.equal(s:methods().compression, "zlib@openssh.com")
  local data <const> = ("0123456789abcdef"):rep(MB // 4) .. noise(MB)
  local remote <const> = srv.file("in", data)
  s:get(remote, srv.dir .. "/got")
  s:put(srv.dir .. "/got", srv.files .. "/out")
  t.ok(fs.read(srv.files .. "/out") == data, "the bytes")
end)

t.test("several tasks share a session", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local data <const> = noise(16 * MB)
  local remote <const> = srv.file("in", data)
  local order <const> = {}
  task.scope(function()
    for i = 1, 3 do
      task.spawn(function()
        s:get(remote, srv.dir .. "/got" .. i)
        order[#order + 1] = "get"
      end)
    end
    task.spawn(function()
      for _ = 1, 20 do t.equal(s:stat(remote).size, #data) end
      order[#order + 1] = "stat"
    end)
  end)
  for i = 1, 3 do t.ok(fs.read(srv.dir .. "/got" .. i) == data, "copy " .. i) end
  t.equal(#order, 4)
end)

t.test("progress is told, up to the end", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local remote <const> = srv.file("in", noise(6 * MB))
  local last, size
  s:get(remote, srv.dir .. "/got", { progress = function(n, of) last, size = n, of end })
  t.equal({ last, size }, { 6 * MB, 6 * MB })
  last = nil
  s:put(srv.dir .. "/got", srv.files .. "/out", { progress = function(n, of) last, size = n, of end })
  t.equal({ last, size }, { 6 * MB, 6 * MB })
  t.raises("enough", s.get, s, remote, srv.dir .. "/other", { progress = function() error("enough") end })
  t.equal(fs.exists(srv.dir .. "/other"), false)
end)

t.test("put is atomic, keeps modes and times, and replaces", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local from <const> = srv.dir .. "/from"
  fs.write(from, "new")
  srv.file("out", "old")
  s:put(from, srv.files .. "/out", { mode = "0604", preserve_mtime = true })
  t.equal(fs.read(srv.files .. "/out"), "new")
  t.equal(fs.stat(srv.files .. "/out").mode, 388)
  t.equal(s:stat(srv.files .. "/out").mtime, math.floor(fs.stat(from).mtime))
  s:put_string("text", srv.files .. "/out")
  t.equal(fs.read(srv.files .. "/out"), "text")
  s:put(from, srv.files .. "/out", { atomic = false })
  t.equal(fs.read(srv.files .. "/out"), "new")
  t.equal(fs.list(srv.files), { "out" })
  -- a server without posix-rename@openssh.com
  s.extensions["posix-rename@openssh.com"] = nil
  s:put_string("again", srv.files .. "/out")
  t.equal(fs.read(srv.files .. "/out"), "again")
  t.equal(fs.list(srv.files), { "out" })
end)

t.test("get keeps the time on request, the mode of what it replaces, and never writes through a symbolic link", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local remote <const> = srv.file("in", "data")
  t.run { "touch", "-d", "2020-02-03 04:05:06 UTC", remote }
  local victim <const> = srv.dir .. "/victim"
  fs.write(victim, "precious")
  fs.symlink(victim, srv.dir .. "/to")
  s:get(remote, srv.dir .. "/to", { preserve_mtime = true })
  t.equal(fs.read(victim), "precious")
  t.equal(fs.stat(srv.dir .. "/to", { follow = false }).type, "file")
  t.equal(math.floor(fs.stat(srv.dir .. "/to").mtime), 1580702706)
  fs.chmod(srv.dir .. "/to", "0600")
  s:get(remote, srv.dir .. "/to")
  t.equal(fs.stat(srv.dir .. "/to").mode, 384)
end)

t.test("get follows no symbolic link of the server unless asked, and takes no directory", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  srv.file("in", "data")
  fs.symlink("in", srv.files .. "/link")
  t.raises({ code = "SYMLINK" }, s.get, s, srv.files .. "/link", srv.dir .. "/to")
  t.raises({ code = "SYMLINK" }, s.source, s, srv.files .. "/link")
  s:get(srv.files .. "/link", srv.dir .. "/to", { follow = true })
  t.equal(fs.read(srv.dir .. "/to"), "data")
  t.raises({ code = "IS_DIRECTORY" }, s.get, s, srv.files, srv.dir .. "/dir")
  t.raises({ kind = "usage" }, s.get, s, srv.files .. "/in", srv.dir)
  t.raises({ code = "EFBIG" }, s.get_string, s, srv.files .. "/in", { max_bytes = 3 })
end)

t.test("sha256: what differs from the expected digest never gets its name", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local remote <const> = srv.file("in", "data")
  s:get(remote, srv.dir .. "/to", { sha256 = crypto.sha256("data") })
  t.raises({ code = "DIGEST" }, s.get, s, remote, srv.dir .. "/to2", { sha256 = crypto.sha256("other") })
  t.equal(fs.exists(srv.dir .. "/to2"), false)
end)

t.test("source feeds chunks, and tells when the file changed meanwhile", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local data <const> = noise(7 * MB)
  local remote <const> = srv.file("in", data)
  local parts <const> = {}
  for chunk in s:source(remote) do parts[#parts + 1] = chunk end
  t.ok(table.concat(parts) == data, "the bytes")
  local read <const> = s:source(remote, { chunk = 65536 })
  read()
  fs.append(remote, "more")
  local e <const> = t.raises({ code = "CHANGED", retryable = true }, function() while read() do end end)
  t.match(e.message, "changed while it was read")
end)

t.test("get_all: by pattern, refuses names that lead elsewhere", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  for i = 1, 9 do srv.file("day" .. i .. ".csv", "n" .. i) end
  srv.file("readme.txt", "x")
  fs.mkdir(srv.files .. "/dir.csv")
  fs.symlink("/etc/passwd", srv.files .. "/evil.csv")
  local to <const> = t.tmpdir()
  local got <const> = s:get_all(srv.files, to, { pattern = "day[1-5].c?v" })
  t.equal(#got, 5)
  t.equal(got[2].name, "day2.csv")
  t.equal(fs.list(to), { "day1.csv", "day2.csv", "day3.csv", "day4.csv", "day5.csv" })
  s:get_all(srv.files, to, { pattern = "*.csv" })
  t.equal(#fs.list(to), 9)
  -- what a hostile server would list
  for _, name in ipairs { "../up", "..", "a/b", "bell\a", "", ("x"):rep(300) } do
    local real <const> = s.list
    rawset(s, "list", function()
      local done = false
      return function()
        if done then return nil end
        done = true
        return { name = name, type = "file", size = 1 }
      end
    end)
    t.raises({ code = "UNSAFE_NAME" }, s.get_all, s, srv.files, to)
    rawset(s, "list", nil)
    t.ok(s.list == real, "the listing is the real one again")
  end
  local odd <const> = "line\nfeed"
  srv.file(odd, "1")
  t.raises({ code = "UNSAFE_NAME" }, s.get_all, s, srv.files, to)
end)

t.test("every handle is closed: a thousand files through one session", function()
  local srv <const> = sshd.start()
  local s <close> = srv.connect()
  local remote <const> = srv.file("in", "data")
  for i = 1, 300 do
    local f <close> = s:open(remote)
    if i % 2 == 0 then f:read(10) end
  end
  for _ = 1, 300 do s:open(remote) end       -- left to the collector
  collectgarbage()
  collectgarbage()
  for _ = 1, 300 do pcall(function()
    local _f <close> = s:open(remote)
    error "x"
  end) end
  t.equal(s:get_string(remote), "data")
end)
