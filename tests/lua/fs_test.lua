-- garun.fs: files, directories, locks, sources and sinks.
local t <const> = require "garun.test"
local fs <const> = require "garun.fs"
local task <const> = require "garun.task"
local proc <const> = require "garun.proc"

local exe <const> = require("garun.core.host").exe()

local function drain(source)
  local parts <const> = {}
  for chunk in source do parts[#parts + 1] = chunk end
  return table.concat(parts), #parts
end

t.test("what is written is what is read", function()
  local dir <const> = t.tmpdir()
  local path <const> = fs.join(dir, "a")
  for _, size in ipairs { 0, 1, 65535, 65536, 262144, 3000001 } do
    local data <const> = ("0123456789\0\xff\n"):rep(size // 13 + 1):sub(1, size)
    fs.write(path, data)
    t.equal(fs.read(path), data)
    t.equal(drain(fs.source(path)), data)
    t.equal(drain(fs.source(path, { chunk = 1000 })), data)
    t.equal(fs.stat(path).size, size)
  end
end)

t.test("an atomic write leaves no other file behind and keeps the mode", function()
  local dir <const> = t.tmpdir()
  local path <const> = fs.join(dir, "a")
  fs.write(path, "one", { mode = "0640" })
  t.equal(fs.stat(path).mode, 416)
  local inode <const> = fs.stat(path).inode
  fs.write(path, "two")
  t.equal(fs.stat(path).mode, 416, "mode of the replaced file")
  t.ok(fs.stat(path).inode ~= inode, "a new file took its place")
  fs.write(path, "three", { atomic = false })
  t.equal(fs.read(path), "three")
  fs.append(path, " four")
  t.equal(fs.read(path), "three four")
  t.equal(fs.list(dir), { "a" })
  fs.symlink("a", fs.join(dir, "link"))
  fs.write(fs.join(dir, "link"), "five")
  t.equal(fs.readlink(fs.join(dir, "link")), "a")
  t.equal(fs.read(path), "five")
end)

t.test("a failed write leaves the old bytes", function()
  if not fs.exists("/dev/full") then t.skip("no /dev/full") end
  t.raises({ kind = "fs", code = "ENOSPC" }, fs.write, "/dev/full", "x", { atomic = false })
  local dir <const> = t.tmpdir()
  local path <const> = fs.join(dir, "a")
  fs.write(path, "old")
  -- A limit on the size of files fails the write half way.
  local script <const> = fs.join(dir, "s.lua")
  fs.write(script, [[
    local fs = require "garun.fs"
    local ok, err = pcall(fs.write, arg[1], ("x"):rep(100000))
    print(ok, err.code)]])
  local out <const> = t.run { "sh", "-c", 'trap "" XFSZ; ulimit -f 8; exec "$0" "$@"', exe, script, path }
  t.match(out.stdout, "false\tEFBIG")
  t.equal(fs.read(path), "old")
  t.equal(fs.list(dir), { "a", "s.lua" })
end)

t.test("errors name the call, the path and where it breaks off", function()
  local dir <const> = t.tmpdir()
  local e = t.raises({ kind = "fs", code = "ENOENT" }, fs.open, dir .. "/x/y/z.gz")
  t.match(e.message, "^fs%.open: " .. dir:gsub("%p", "%%%0") .. "/x/y/z%.gz: ")
  t.equal(e.detail, "the directory " .. dir .. "/x does not exist")
  fs.write(dir .. "/file", "")
  e = t.raises({ code = "ENOTDIR" }, fs.read, dir .. "/file/x")
  t.equal(e.detail, dir .. "/file is not a directory")
  t.raises({ code = "EISDIR" }, fs.open, dir)
  t.raises({ code = "EISDIR" }, fs.read, dir)
  t.raises({ code = "EISDIR" }, fs.write, dir, "x")
  t.raises("unknown mode 'rw'", fs.open, dir .. "/file", "rw")
  t.raises("contains a NUL byte", fs.stat, "a\0b")
  t.raises("is empty", fs.stat, "")
  t.raises("a string, not a nil", fs.read)
  t.raises("did you mean 'atomic'", fs.write, dir .. "/file", "x", { atomc = true })
  t.raises("octal", fs.write, dir .. "/file", "x", { mode = "rwx" })
  t.raises({ code = "EFBIG" }, fs.read, "/proc/self/maps", { max_bytes = 10 })
end)

t.test("a handle reads, writes and seeks at its own position", function()
  local dir <const> = t.tmpdir()
  local f <close> = fs.open(dir .. "/a", "w+")
  t.equal(f:write("hello world"):seek(), 11)
  t.equal(f:read(), nil)
  t.equal(f:seek("set", 6), 6)
  t.equal(f:read(3), "wor")
  t.equal(f:seek("cur", -1), 8)
  f:write("RLD")
  t.equal(f:seek("end", -5), 6)
  t.equal(f:read(), "woRLD")
  t.equal(f:size(), 11)
  t.raises("before the start", f.seek, f, "set", -1)
  t.raises("from 1 to", f.read, f, 0)
  f:sync()
  f:close()
  f:close()
  t.raises("is closed", f.read, f)
  t.match(tostring(f), "closed")
  local a <close> = fs.open(dir .. "/a", "a")
  a:write("!")
  t.raises("writing only", a.read, a)
  t.equal(fs.read(dir .. "/a"), "hello woRLD!")
  t.raises({ code = "EEXIST" }, fs.open, dir .. "/a", "wx")
  local r <close> = fs.open(dir .. "/a")
  t.raises("reading only", r.write, r, "x")
  t.equal(r.path, dir .. "/a")
  t.equal(getmetatable(r), false)
end)

t.test("a file of /proc, which says it has no bytes, is read whole", function()
  t.match(fs.read("/proc/self/status"), "^Name:.*VmRSS")
  t.match(drain(fs.source("/proc/self/status")), "^Name:.*VmRSS")
end)

t.test("a file that changes while it is read is noticed", function()
  local dir <const> = t.tmpdir()
  local path <const> = dir .. "/a"
  fs.write(path, ("x"):rep(100))
  local f <close> = fs.open(path)
  f:read(10)
  t.equal(f:unchanged(), true)
  fs.append(path, "y")
  local same <const>, why <const> = f:unchanged()
  t.equal(same, false)
  t.match(why, "had 100 bytes, now it has 101")
  local source <const> = fs.source(path, { stable = true, chunk = 50 })
  source()
  fs.append(path, "z")
  t.raises({ kind = "fs", code = "changed", retryable = true }, function() drain(source) end)
  t.equal(#drain(fs.source(path, { stable = true })), 102)
end)

t.test("reading a FIFO waits for its writer while other tasks run", function()
  local dir <const> = t.tmpdir()
  t.equal(proc.run({ "mkfifo", dir .. "/p" }).status, 0)
  local ticks, got = 0, nil
  local ticker <const> = task.background(function()
    while true do
      task.sleep(0.005)
      ticks = ticks + 1
    end
  end)
  local reader <const> = task.spawn(function() got = drain(fs.source(dir .. "/p")) end)
  local writer <const> = proc.spawn { "sh", "-c", "sleep 0.1; printf abc > " .. dir .. "/p" }
  reader:join()
  t.equal(writer:wait().status, 0)
  ticker:cancel()
  t.equal(got, "abc")
  t.ok(ticks >= 5, "others ran: " .. ticks)
  t.raises({ code = "ENXIO" }, fs.open, dir .. "/p", "w")
end)

t.test("closing a handle wakes the task that reads from it, and cancelling a read leaves it usable", function()
  local dir <const> = t.tmpdir()
  t.equal(proc.run({ "mkfifo", dir .. "/p" }).status, 0)
  local f <close> = fs.open(dir .. "/p", "r+")
  local outcome
  local reader <const> = task.spawn(function() outcome = select(2, pcall(f.read, f)) end)
  task.sleep(0.02)
  t.raises("already waits", f.read, f)
  f:close()
  reader:join()
  t.match(tostring(outcome), "closed meanwhile")
  local g <close> = fs.open(dir .. "/p", "r+")
  t.raises({ kind = "timeout" }, task.timeout, 0.02, g.read, g)
  g:write("later")
  t.equal(g:read(), "later")
end)

t.test("a big write to a pipe waits for a slow reader and loses nothing", function()
  local dir <const> = t.tmpdir()
  t.equal(proc.run({ "mkfifo", dir .. "/p" }).status, 0)
  local f <close> = fs.open(dir .. "/p", "r+")
  local data <const> = ("0123456789abcdef"):rep(65536)
  local writer <const> = task.spawn(function() f:write(data) end)
  local r <close> = fs.open(dir .. "/p", "r")
  local got, parts = 0, {}
  while got < #data do
    local chunk <const> = r:read(30000)
    got, parts[#parts + 1] = got + #chunk, chunk
  end
  writer:join()
  t.equal(table.concat(parts) == data, true)
end)

t.test("standard input is read without changing its flags", function()
  local script <const> = t.tmpdir() .. "/s.lua"
  fs.write(script, [[
    local fs = require "garun.fs"
    local n = 0
    for chunk in fs.source("-") do n = n + #chunk end
    local info = fs.read("/proc/self/fdinfo/0")
    local flags = tonumber(info:match("flags:%s*(%d+)"), 8)
    print(n, flags & 2048)]])
  local r = t.run { "sh", "-c", '(sleep 0.05; printf abc; sleep 0.05; printf def) | "$0" "$1"', exe, script }
  t.equal(r.stdout, "6\t0\n")
  r = t.run { "sh", "-c", '"$0" "$1" < "$1"', exe, script }
  t.equal(r.stdout, fs.stat(script).size .. "\t0\n")
  r = t.run { "sh", "-c", '"$0" "$1" < /dev/null', exe, script }
  t.equal(r.stdout, "0\t0\n")
  -- The shared offset follows: the second reader gets what the first one left, which is nothing.
  r = t.run { "sh", "-c", '("$0" "$1"; wc -c) < "$1"', exe, script }
  t.match(r.stdout, "\n0\n$")
end)

t.test("a sink to standard output keeps what others wrote before and after", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/s.lua", [[
    local put = require("garun.fs").sink("-")
    for i = 1, 200 do put(("x"):rep(1000)) end
    put(nil)]])
  local r <const> = t.run { "sh", "-c", '(echo a; "$0" "$1"; echo b) > "$2"; "$0" "$1" | wc -c', exe,
    dir .. "/s.lua", dir .. "/out" }
  t.equal(fs.read(dir .. "/out"), "a\n" .. ("x"):rep(200000) .. "b\n")
  t.match(r.stdout, "200000")
end)

t.test("lines come whole whatever the chunks", function()
  local text <const> = "a\n\nbcd\r\n" .. ("x"):rep(1000) .. "\nlast"
  for _, size in ipairs { 1, 2, 3, 7, 5000 } do
    local at, lines <const> = 1, {}
    for line in fs.lines(function()
      if at > #text then return nil end
      at = at + size
      return text:sub(at - size, at - 1)
    end) do lines[#lines + 1] = line end
    t.equal(lines, { "a", "", "bcd\r", ("x"):rep(1000), "last" })
  end
  t.raises({ kind = "fs", code = "line" }, function()
    local n = 0
    for _ in fs.lines(function()
      n = n + 1
      return n < 100 and ("x"):rep(100) or nil
    end, { max_bytes = 5000 }) do end
  end)
  local path <const> = t.tmpdir() .. "/a"
  fs.write(path, "1\n2\n3\n")
  for line in fs.lines(path) do
    if line == "2" then break end
  end
end)

t.test("an atomic sink shows nothing before it is finished", function()
  local dir <const> = t.tmpdir()
  local path <const> = dir .. "/out"
  fs.write(path, "old", { mode = "0600" })
  local put = fs.sink(path)
  put("new ")
  put("bytes")
  t.equal(fs.read(path), "old")
  put(nil)
  t.equal(fs.read(path), "new bytes")
  t.equal(fs.stat(path).mode, 384)
  t.raises("finished already", put, "more")
  local file, _
  put, _, _, file = fs.sink(path)
  put("given up")
  file:close()
  t.equal(fs.read(path), "new bytes")
  t.equal(fs.list(dir), { "out" })
end)

t.test("temporary files and directories go when they are closed", function()
  local path, kept
  do
    local dir <close> = fs.tempdir { prefix = "garun-test-" }
    path = dir.path
    t.match(path, "garun%-test%-")
    t.equal(fs.stat(path).mode, 448)
    fs.mkdir(path .. "/a/b", { parents = true })
    fs.symlink("/etc", path .. "/a/link")
    fs.write(path .. "/a/b/c", "x")
    local f <close> = fs.tempfile { dir = path }
    t.equal(fs.stat(f.path).mode, 384)
    f:write("kept"):persist(path .. "/kept")
    t.equal(f.path, path .. "/kept")
    f:close()
    kept = fs.read(path .. "/kept")
    local g <const> = fs.tempfile { dir = path }
    local name <const> = g.path
    g:close()
    t.ok(not fs.exists(name))
  end
  t.equal(kept, "kept")
  t.ok(not fs.exists(path))
  t.ok(fs.exists("/etc/passwd"), "a link is not followed")
end)

t.test("directories are made, listed, matched and removed", function()
  local dir <const> = t.tmpdir()
  fs.mkdir(dir .. "/x/y/z", { parents = true })
  fs.mkdir(dir .. "/x/y/z", { parents = true })
  t.raises({ code = "EEXIST" }, fs.mkdir, dir .. "/x")
  for _, name in ipairs { "b.gz", "a.gz", "c.txt", "d [1].gz" } do fs.write(dir .. "/x/" .. name, "") end
  t.equal(fs.list(dir .. "/x"), { "a.gz", "b.gz", "c.txt", "d [1].gz", "y" })
  t.equal(fs.glob(dir .. "/x/[ab]*.gz"), { dir .. "/x/a.gz", dir .. "/x/b.gz" })
  t.equal(fs.glob(dir .. "/{x,nope}/*.txt"), { dir .. "/x/c.txt" })
  t.equal(fs.glob(dir .. "/nope/*"), {})
  t.raises({ code = "ENOTEMPTY" }, fs.remove, dir .. "/x")
  t.equal(fs.remove(dir .. "/x", { recursive = true }), true)
  t.raises({ code = "ENOENT" }, fs.remove, dir .. "/x")
  t.equal(fs.remove(dir .. "/x", { missing_ok = true }), false)
  fs.write(dir .. "/1", "1")
  fs.rename(dir .. "/1", dir .. "/2")
  t.equal(fs.list(dir), { "2" })
  local e <const> = t.raises({ code = "ENOENT" }, fs.rename, dir .. "/1", dir .. "/3")
  t.match(e.message, "/1 to .*/3")
  fs.chmod(dir .. "/2", "0400")
  t.equal(fs.stat(dir .. "/2").mode, 256)
  t.equal(fs.realpath(dir .. "/./2"), fs.realpath(dir) .. "/2")
end)

t.test("stat tells type, times and links", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/a", "abc")
  fs.symlink("nowhere", dir .. "/l")
  local s <const> = fs.stat(dir .. "/a")
  t.equal({ s.type, s.size, s.uid }, { "file", 3, proc.uid() })
  t.ok(math.abs(s.mtime - os.time()) < 60)
  t.equal(math.type(s.mtime_ns), "integer")
  t.equal(s.mtime_ns // 1000000000, math.floor(s.mtime))
  t.equal(fs.stat(dir .. "/l"), nil)
  t.equal(fs.stat(dir .. "/l", { follow = false }).type, "link")
  t.equal(fs.stat(dir).type, "directory")
  t.equal(fs.stat("/dev/null").type, "character device")
  t.ok(fs.space(dir).available <= fs.space(dir).total)
end)

t.test("paths are taken apart and put together", function()
  for path, want in pairs { ["/a/b.gz"] = { "/a", "b.gz" }, ["/a/b/"] = { "/a", "b" }, ["b"] = { ".", "b" },
    ["/"] = { "/", "/" },
    ["/b"] = { "/", "b" }, ["a//b"] = { "a", "b" }, ["//"] = { "/", "/" }, ["./x"] = { ".", "x" } } do
    t.equal({ fs.dirname(path), fs.basename(path) }, want, path)
  end
  t.equal(fs.join("a", "b", "c"), "a/b/c")
  t.equal(fs.join("a/", "b"), "a/b")
  t.equal(fs.join("a", "/b"), "/b")
  t.equal(fs.join("", "b"), "b")
  t.equal(fs.join("a", ""), "a")
end)

t.test("a lock excludes others until it is released", function()
  local dir <const> = t.tmpdir()
  local path <const> = dir .. "/lock"
  local lock <const> = fs.lock(path)
  local e <const> = t.raises({ kind = "fs", code = "locked", retryable = true }, fs.lock, path, { timeout = 0 })
  t.match(e.message, "pid " .. proc.pid())
  local started <const> = os.time()
  local waiter <const> = task.spawn(function()
    local mine <close> = fs.lock(path, { timeout = 10 })
    return tostring(mine)
  end)
  task.sleep(0.05)
  lock:close()
  lock:close()
  t.equal(waiter:join(), "fs.lock(held)")
  t.ok(os.time() - started < 5)
  local a <close> = fs.lock(path, { shared = true })
  local b <close> = fs.lock(path, { shared = true, timeout = 0 })
  t.raises({ code = "locked" }, fs.lock, path, { timeout = 0.02 })
  t.equal({ tostring(a), tostring(b) }, { "fs.lock(held)", "fs.lock(held)" })
end)

t.test("a lock goes with its process, even a killed one", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/s.lua", [[
    local lock = require("garun.fs").lock(arg[1])
    print "held" io.stdout:flush()
    require("garun.task").sleep(60)]])
  local p <close> = proc.spawn { exe, dir .. "/s.lua", dir .. "/lock", stdout = "pipe" }
  t.equal(p:stdout()(), "held\n")
  t.raises("pid " .. p.pid, fs.lock, dir .. "/lock", { timeout = 0 })
  p:kill("KILL")
  local lock <close> = fs.lock(dir .. "/lock", { timeout = 5 })
  t.equal(p:wait().signal, "SIGKILL")
  t.equal(tostring(lock), "fs.lock(held)")
end)

t.test("a cancelled read or write does not touch a file that was opened after it", function()
  local dir <const> = t.tmpdir()
  for i = 1, 200 do
    local path <const> = dir .. "/" .. i
    local job <const> = task.spawn(function()
      local f <close> = fs.open(path, "w")
      f:write(("x"):rep(300000))
    end)
    if i % 2 == 0 then task.sleep(0) end
    job:cancel()
    pcall(job.join, job)
    local g <close> = fs.open(path .. ".other", "w+")
    g:write("mine")
    g:seek("set", 0)
    t.equal(g:read(), "mine")
    t.equal(g:size(), 4)
  end
end)
