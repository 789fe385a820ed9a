-- garun.proc: children, their pipes and their ends.
local t <const> = require "garun.test"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local exe <const> = host.exe()

local function gone(pid)
  for _ = 1, 300 do
    if not proc.exists(pid) then return true end
    task.sleep(0.01)
  end
  return false
end

t.test("a program's output and status come back", function()
  t.equal(proc.run { "sh", "-c", "echo out; echo err >&2; exit 3" }, { status = 3, stdout = "out\n", stderr = "err\n" })
  t.equal(proc.run { "printf", "%s|", "a b", "$HOME", "'", 7 }, { status = 0, stdout = "a b|$HOME|'|7|", stderr = "" })
  t.equal(proc.run { "sh", "-c", "kill -9 $$" }, { signal = "SIGKILL", stdout = "", stderr = "" })
  t.equal(proc.run { "sh", "-c", "echo a; echo b >&2; echo c", stderr = "stdout" }, { status = 0,
    stdout = "a\nb\nc\n" })
end)

t.test("input is fed while output is read, whatever their sizes", function()
  local data <const> = ("0123456789abcdef"):rep(300000)
  t.equal(proc.run({ "cat", input = data }).stdout == data, true)
  local n = 0
  local r <const> = proc.run { "cat", input = function()
    n = n + 1
    if n <= 20 then
      task.sleep(0.001)
      return data:sub(1, 100000)
    end
  end }
  t.equal(r.stdout == data:sub(1, 100000):rep(20), true)
  t.equal(proc.run({ "cat", stdin = "hello" }).stdout, "hello")
  t.equal(proc.run({ "cat", input = "null" }).stdout, "null")
  t.equal(proc.run({ "cat", input = "" }).stdout, "")
  t.equal(proc.run({ "cat" }).stdout, "", "standard input is empty by default")
end)

t.test("a child that does not read its input to the end is no error", function()
  local r <const> = proc.run { "head", "-c", "5", input = ("x"):rep(10 << 20) }
  t.equal({ r.status, r.stdout }, { 0, "xxxxx" })
  t.equal(proc.run({ "true", input = function() return ("x"):rep(100000) end }).status, 0)
end)

t.test("an error of the input source ends the child and comes through", function()
  local pid_file <const> = t.tmpdir() .. "/pid"
  local e <const> = t.raises("the source broke", proc.run, { "sh", "-c", "echo $$ > " .. pid_file .. "; cat",
    input = function()
    while not (fs.exists(pid_file) and #fs.read(pid_file) > 1) do task.sleep(0.01) end
    error "the source broke"
  end })
  t.ok(e)
  t.ok(gone(tonumber(fs.read(pid_file))))
end)

t.test("the environment is inherited, changed or empty", function()
  t.equal(proc.run({ "sh", "-c", "echo $A-$HOME", env = { A = 1, HOME = false } }).stdout, "1-\n")
  t.equal(proc.run({ "/usr/bin/env", env = { B = "x=y z" }, clear_env = true }).stdout, "B=x=y z\n")
  t.equal(proc.run({ "/usr/bin/env", clear_env = true }).stdout, "")
  t.raises("no name of a variable", proc.run, { "true", env = { ["A=B"] = "x" } })
  t.raises("is a string, or false", proc.run, { "true", env = { A = {} } })
  t.equal(proc.run({ "pwd", cwd = "/" }).stdout, "/\n")
end)

t.test("output goes to files, which are appended to, and input comes from nowhere else", function()
  local path <const> = t.tmpdir() .. "/log"
  proc.run { "echo", "one", stdout = path }
  local r <const> = proc.run { "sh", "-c", "echo two; echo three >&2", stdout = path, stderr = path }
  t.equal({ r.status, r.stdout, r.stderr }, { 0, nil, nil })
  local got <const> = fs.read(path)
  t.match(got, "^one\n")
  t.match(got, "two\n")
  t.match(got, "three\n")
  t.equal(proc.run({ "sh", "-c", "echo x > /dev/fd/1; cat /dev/fd/0", input = "y" }).stdout, "x\ny",
    "pipes, not sockets")
end)

t.test("what cannot be started is told with a reason", function()
  local e = t.raises({ kind = "proc", code = "ENOENT" }, proc.run, { "no-such-program-xyz" })
  t.match(e.message, "cannot start no%-such%-program%-xyz")
  t.match(e.hint, "PATH")
  e = t.raises({ code = "ENOENT" }, proc.run, { "true", cwd = "/nope" })
  t.match(e.hint, "/nope does not exist")
  t.raises({ code = "EACCES" }, proc.run, { "/etc/passwd" })
  t.raises({ code = "ENOENT" }, proc.spawn, { "true", stdout = "/nope/log" })
  t.raises("the program's name is missing", proc.run, {})
  t.raises("did you mean 'timeout'", proc.run, { "true", timout = 1 })
  t.raises("contains a NUL", proc.run, { "echo", "a\0b" })
  t.raises("is a string, not a table", proc.run, { "echo", {} })
  t.raises("no user 'nobody%-there'", proc.run, { "true", user = "nobody-there" })
end)

t.test("a timeout ends the child, first politely", function()
  local started = time.monotonic()
  t.equal(proc.run { "sleep", "60", timeout = 0.05 }, { signal = "SIGTERM", stdout = "", stderr = "",
    timed_out = true })
  local r <const> = proc.run { "sh", "-c", "trap 'echo bye; exit 7' TERM; echo hi; while :; do sleep 0.01; done",
    timeout = 0.2 }
  t.equal({ r.status, r.stdout, r.timed_out }, { 7, "hi\nbye\n", true })
  local stubborn <const> = proc.run { "sh", "-c", "trap '' TERM; while :; do sleep 0.01; done", timeout = 0.1,
    grace = 0.1 }
  t.equal({ stubborn.signal, stubborn.timed_out }, { "SIGKILL", true })
  t.ok(time.monotonic() - started < 10)
end)

t.test("too much output ends the child", function()
  local r <const> = proc.run { "yes", max_output = 100000 }
  t.equal({ r.signal, #r.stdout, r.truncated }, { "SIGTERM", 100000, true })
end)

t.test("output from the background does not hold up the result", function()
  local started <const> = time.monotonic()
  local r <const> = proc.run { "sh", "-c", "sleep 30 & echo $!" }
  t.equal(r.status, 0)
  local pid <const> = tonumber(r.stdout)
  t.ok(time.monotonic() - started < 10)
  host.kill(pid, 15)
end)

t.test("lines come while the child runs, and a slow reader makes it wait", function()
  local p <close> = proc.spawn { "sh", "-c", "for i in 1 2 3; do echo line $i; done; cat", stdin = "pipe",
    stdout = "pipe" }
  local next_line <const> = p:lines()
  t.equal({ next_line(), next_line(), next_line() }, { "line 1", "line 2", "line 3" })
  p:write("from us\n")
  t.equal(next_line(), "from us")
  p:close_stdin()
  t.equal(next_line(), nil)
  t.equal(p:wait(), { status = 0 })
  t.raises("is closed", p.write, p, "x")

  local yes <close> = proc.spawn { "yes", stdout = "pipe" }
  local function written() return tonumber(fs.read("/proc/" .. yes.pid .. "/io"):match("wchar: (%d+)")) end
  local source <const> = yes:stdout()
  local got = #source()
  while got < 20 << 20 do got = got + #source() end
  task.sleep(0.1)
  t.ok(written() - got < 1 << 20, "the child is ahead by " .. written() - got .. " bytes")
end)

t.test("waiting has its time, and killing its signals", function()
  local p <close> = proc.spawn { "sleep", "60" }
  t.ok(proc.exists(p.pid))
  t.equal(p:wait(0.02), nil)
  t.raises("unknown signal 'NOPE'", p.kill, p, "NOPE")
  t.equal(p:kill("SIGINT"), true)
  t.equal(p:wait(), { signal = "SIGINT" })
  t.equal(p:wait(), { signal = "SIGINT" })
  t.equal(p:kill(), false)
  t.match(tostring(p), "ended")
  p:close()
  p:close()
  t.raises("is closed", p.wait, p)
end)

t.test("a child ends with its handle", function()
  local pid
  do
    local p <close> = proc.spawn { "sleep", "60" }
    pid = p.pid
  end
  t.ok(gone(pid))
  do
    local p <close> = proc.spawn { "sh", "-c", "trap '' TERM; while :; do sleep 0.01; done", grace = 0.1 }
    pid = p.pid
    task.sleep(0.05)
  end
  t.ok(gone(pid), "SIGKILL after the grace, though the handle is closed")
end)

t.test("after a read and a wait that were cut off by a timeout another task may read and wait", function()
  local p <close> = proc.spawn { "sh", "-c", "sleep 0.1; echo here", stdout = "pipe" }
  t.raises({ kind = "timeout" }, task.timeout, 0.01, p:stdout())
  t.raises({ kind = "timeout" }, task.timeout, 0.01, p.wait, p)
  t.equal(task.scope(function() return p:stdout()() end), "here\n")
  t.equal(task.scope(function() return p:wait() end).status, 0)
end)

t.test("a cancelled task's child is ended and nobody waits for it", function()
  local pid
  local job <const> = task.spawn(function()
    local p <close> = proc.spawn { "sh", "-c", "trap '' TERM; while :; do sleep 0.01; done", grace = 0.3 }
    pid = p.pid
    p:wait()
  end)
  task.sleep(0.05)
  local started <const> = time.monotonic()
  job:cancel()
  pcall(job.join, job)
  t.ok(time.monotonic() - started < 0.2, "the canceller does not wait")
  t.ok(proc.exists(pid))
  t.ok(gone(pid))
  t.raises({ kind = "timeout" }, task.timeout, 0.05, proc.run, { "sleep", "60" })
end)

t.test("closing the handle wakes whoever waits", function()
  local p <close> = proc.spawn { "sleep", "60", stdout = "pipe" }
  local outcomes <const> = {}
  local a <const> = task.spawn(function() outcomes[1] = select(2, pcall(p.wait, p)) end)
  local b <const> = task.spawn(function() outcomes[2] = select(2, pcall(p:stdout())) end)
  task.sleep(0.02)
  t.raises("another task waits", p.wait, p)
  t.raises("another task reads", p:stdout())
  p:close()
  a:join()
  b:join()
  t.match(tostring(outcomes[1]), "is closed")
  t.match(tostring(outcomes[2]), "is closed")
end)

t.test("a group is signalled as a whole", function()
  local path <const> = t.tmpdir() .. "/pid"
  local p <close> = proc.spawn { "sh", "-c", "sleep 60 & echo $! > " .. path .. "; wait", new_group = true }
  while not (fs.exists(path) and #fs.read(path) > 1) do task.sleep(0.01) end
  local child <const> = tonumber(fs.read(path))
  t.ok(proc.exists(child))
  p:kill()
  p:wait()
  t.ok(gone(child))
end)

t.test("when garun ends, children go with it and detached ones stay", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/s.lua", [[
    local proc = require "garun.proc"
    local a = proc.spawn { "sleep", "60" }
    local b = proc.spawn { "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done" }
    local c = proc.spawn { "sleep", "60", detach = true, stdout = "null", stderr = "null" }
    require("garun.task").sleep(0.1)
    print(a.pid, b.pid, c.pid)
    c:close()
    if arg[1] == "fail" then error "oops" end]])
  for _, how in ipairs { "end", "fail" } do
    local r <const> = t.run { exe, dir .. "/s.lua", how }
    local a <const>, b <const>, c <const> = r.stdout:match("(%d+)%s+(%d+)%s+(%d+)")
    t.ok(gone(tonumber(a)), "a polite one")
    t.ok(gone(tonumber(b)), "a stubborn one")
    t.ok(proc.exists(tonumber(c)), "a detached one")
    host.kill(tonumber(c), 15)
  end
end)

t.test("another user is another user", function()
  if proc.uid() ~= 0 then
    t.raises({ code = "EPERM" }, proc.run, { "id", "-u", uid = 65534 })
    t.skip "not root"
  end
  t.equal(proc.run({ "id", "-u", user = "nobody" }).stdout, proc.user("nobody").uid .. "\n")
  local nobody <const> = proc.user("nobody")
  t.equal(proc.run({ "sh", "-c", "id -u; id -g; id -G", uid = nobody.uid }).stdout,
    string.format("%d\n%d\n%d\n", nobody.uid, nobody.gid, nobody.gid), "no group of ours is left")
end)

t.test("facts about users, processes and the machine", function()
  t.equal(proc.user("root").uid, 0)
  t.equal(proc.user(0).name, "root")
  t.equal(proc.user("nobody-there"), nil)
  t.equal(proc.exists(proc.pid()), true)
  t.equal(proc.exists(-1), false)
  t.equal(proc.run({ "hostname" }).stdout or "", proc.hostname() .. "\n")
end)

t.test("many children at once", function()
  local list <const> = {}
  for i = 1, 60 do list[i] = i end
  local got <const> = task.map(list, function(i) return tonumber(proc.run({ "echo", i }).stdout) end,
    { concurrency = 20 })
  t.equal(got, list)
  local fds <const> = #fs.list("/proc/self/fd")
  task.map(list, function(i) return proc.run { "true", i } end, { concurrency = 20 })
  t.ok(#fs.list("/proc/self/fd") <= fds + 2, "no descriptor is left")
end)
