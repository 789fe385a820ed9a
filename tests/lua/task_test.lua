local errors <const> = require "garun.error"
local t <const> = require "garun.test"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

t.test("join gives the results of the task's function, nils included", function()
  local a <const> = task.spawn(function(x) task.sleep(0.001) return x, nil, 3 end, 1)
  t.equal(table.pack(a:join()), { 1, nil, 3, n = 3 })
  t.equal(a:status(), "done")
  t.equal(table.pack(a:join()), { 1, nil, 3, n = 3 }, "a second join")
end)

t.test("join raises the task's error", function()
  local a <const> = task.spawn(function() task.sleep(0) error { code = 7 } end)
  local ok <const>, err <const> = pcall(a.join, a)
  t.equal(ok, false)
  t.equal(err.code, 7)
end)

t.test("a failure that nobody joins is raised in the parent's wait", function()
  t.raises("boom", function()
    task.scope(function()
      task.spawn(function() task.sleep(0.001) error("boom") end)
      task.sleep(30)
    end)
  end)
end)

t.test("a scope waits for its children", function()
  local done = 0
  task.scope(function()
    for i = 1, 3 do task.spawn(function() task.sleep(0.002 * i) done = done + 1 end) end
  end)
  t.equal(done, 3)
end)

t.test("a failed scope cancels its children, and their <close> blocks run, waiting if they must", function()
  local log <const> = {}
  pcall(task.scope, function()
    task.spawn(function()
      local c <close> = setmetatable({}, { __close = function() task.sleep(0.001) log[#log + 1] = "closed" end })
      task.sleep(30)
    end)
    task.sleep(0.002)
    error("enough")
  end)
  t.equal(log, { "closed" })
end)

t.test("cancel raises in the task's wait and is no failure of the parent", function()
  local seen
  local a <const> = task.spawn(function()
    local ok <const>, err <const> = pcall(task.sleep, 30)
    seen = not ok and errors.is(err, "cancelled")
    error(err, 0)
  end)
  task.sleep(0)
  a:cancel()
  task.sleep(0.001)
  t.equal(seen, true)
  t.equal(a:status(), "failed")
  t.raises({ kind = "cancelled" }, a.join, a)
end)

t.test("a background task ends with the function that started it", function()
  local ended
  task.scope(function()
    task.background(function()
      local c <close> = setmetatable({}, { __close = function() ended = true end })
      task.sleep(30)
    end)
    task.sleep(0.001)
  end)
  t.equal(ended, true)
end)

t.test("leaving a block ends a task that is held by <close>", function()
  local ended
  task.scope(function()
    local a <close> = task.spawn(function()
      local c <close> = setmetatable({}, { __close = function() ended = true end })
      task.sleep(30)
    end)
    task.sleep(0.001)
  end)
  t.equal(ended, true)
end)

t.test("a block waits for the clean-up of the task that it held before it closes what comes next", function()
  local log <const> = {}
  do
    local resource <close> = setmetatable({}, { __close = function() log[#log + 1] = "resource" end })
    local a <close> = task.spawn(function()
      local c <close> = setmetatable({}, { __close = function() task.sleep(0.01) log[#log + 1] = "task" end })
      task.sleep(30)
    end)
    task.sleep(0.001)
    t.ok(resource and a)
  end
  t.equal(log, { "task", "resource" })
end)

t.test("an error of a held task's clean-up is raised where its block is left", function()
  local function leave(how)
    local a <close> = task.spawn(function()
      local c <close> = setmetatable({}, { __close = function() error("unclean", 0) end })
      task.sleep(30)
    end)
    task.sleep(0.001)
    if how == "error" then error("first", 0) end
    return a and "left"
  end
  local ok, err = pcall(leave)
  t.equal({ ok, err }, { false, "unclean" })
  ok, err = pcall(leave, "error")
  t.equal({ ok, err }, { false, "first" }, "the error that left the block stays")
end)

t.test("a background task whose clean-up fails is not silent", function()
  local ok <const>, err <const> = pcall(task.scope, function()
    task.background(function()
      local c <close> = setmetatable({}, { __close = function() error("unclean", 0) end })
      task.sleep(30)
    end)
    task.sleep(0.001)
  end)
  t.equal({ ok, err }, { false, "unclean" })
end)

t.test("timeout gives the results in time and raises kind timeout otherwise", function()
  t.equal(table.pack(task.timeout(5, function(...) task.sleep(0) return ... end, 1, 2)), { 1, 2, n = 2 })
  local err <const> = t.raises({ kind = "timeout", retryable = true }, task.timeout, 0.01, task.sleep, 30)
  t.match(err.message, "0.01 seconds")
end)

t.test("a timeout that comes too late to matter is forgotten", function()
  task.timeout(0.001, function()
    local until_ <const> = time.monotonic() + 0.01
    while time.monotonic() < until_ do end      -- due now, but nothing waits
  end)
  task.sleep(0.005)
end)

t.test("nested timeouts: the outer one is not taken for the inner one", function()
  local err <const> = t.raises({ kind = "timeout" }, task.timeout, 0.01, task.timeout, 30, task.sleep, 30)
  t.match(err.message, "0.01 seconds")
end)

t.test("a cancelled task cleans up with waits of its own", function()
  local cleaned
  local a <const> = task.spawn(function()
    local ok <const>, err <const> = pcall(task.sleep, 30)
    t.equal(ok, false)
    task.sleep(0.001)
    cleaned = true
    error(err, 0)
  end)
  task.sleep(0)
  a:cancel()
  pcall(a.join, a)
  t.equal(cleaned, true)
end)

t.test("map keeps the order and the bound", function()
  local now, most = 0, 0
  local got <const> = task.map({ 5, 4, 3, 2, 1 }, function(x, i)
    now = now + 1
    most = math.max(most, now)
    task.sleep(0.001 * x)
    now = now - 1
    return x * 10 + i
  end, { concurrency = 2 })
  t.equal(got, { 51, 42, 33, 24, 15 })
  t.equal(most, 2)
  t.raises("concurrency must be an integer", task.map, {}, print, { concurrency = 0 })
  t.raises("unknown option 'concurency'", task.map, {}, print, { concurency = 1 })
end)

t.test("map raises the first failure and stops the rest", function()
  local started = 0
  t.raises("third", task.map, { 1, 2, 3, 4, 5, 6, 7, 8 }, function(x)
    started = started + 1
    task.sleep(0.001)
    if x == 3 then error("third") end
  end, { concurrency = 2 })
  t.ok(started < 8, "started " .. started)
end)

t.test("a channel holds back its sender and ends its receiver", function()
  local ch <const>, sent = task.channel(2), 0
  local got <const> = {}
  task.scope(function()
    task.spawn(function()
      for i = 1, 10 do
        ch:send(i)
        sent = i
      end
      ch:close()
    end)
    task.sleep(0.002)
    t.equal(sent, 2, "sent before anyone received")
    for v in ch do got[#got + 1] = v end
  end)
  t.equal(got, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
  t.raises({ code = "closed" }, ch.send, ch, 1)
end)

t.test("a cancelled receiver does not swallow a value", function()
  local ch <const>, got = task.channel(), nil
  task.scope(function()
    local a <const> = task.spawn(function() ch:recv() end)
    task.spawn(function() got = ch:recv() end)
    task.sleep(0)
    ch:send("x")
    a:cancel()
    task.sleep(0.001)
    if got == nil then ch:send("y") end
    task.sleep(0.001)
  end)
  t.ok(got == "x" or got == "y", "the second receiver got something")
end)

t.test("waits pass through user coroutines, iterators and pcall", function()
  local function numbers()
    return coroutine.wrap(function()
      for i = 1, 3 do
        task.sleep(0.0005)
        coroutine.yield(i)
      end
    end)
  end
  local got <const> = {}
  for a in numbers() do
    for b in numbers() do got[#got + 1] = select(2, pcall(function() task.sleep(0) return a * b end)) end
  end
  t.equal(got, { 1, 2, 3, 2, 4, 6, 3, 6, 9 })
end)

t.test("coroutine.resume passes values, errors and waits", function()
  local co <const> = coroutine.create(function(a)
    task.sleep(0)
    local b <const> = coroutine.yield(a + 1)
    task.sleep(0)
    error("end " .. b, 0)
  end)
  t.equal(table.pack(coroutine.resume(co, 1)), { true, 2, n = 2 })
  t.equal(coroutine.status(co), "suspended")
  t.equal(table.pack(coroutine.resume(co, 5)), { false, "end 5", n = 2 })
  t.equal(table.pack(coroutine.resume(co)), { false, "cannot resume dead coroutine", n = 2 })
end)

t.test("nobody else resumes or closes a coroutine that waits", function()
  local co <const> = coroutine.create(function() task.sleep(0.002) end)
  task.scope(function()
    task.spawn(function() coroutine.resume(co) end)
    task.sleep(0)
    t.equal(table.pack(coroutine.resume(co)), { false, "cannot resume waiting coroutine", n = 2 })
    t.raises("cannot close a waiting coroutine", coroutine.close, co)
  end)
end)

t.test("a cancelled task that waits inside a coroutine unwinds both", function()
  local log <const> = {}
  local a <const> = task.spawn(function()
    local o <close> = setmetatable({}, { __close = function() log[#log + 1] = "outer" end })
    for _ in coroutine.wrap(function()
      local i <close> = setmetatable({}, { __close = function() log[#log + 1] = "inner" end })
      task.sleep(30)
    end) do end
  end)
  task.sleep(0)
  a:cancel()
  pcall(a.join, a)
  t.equal(log, { "inner", "outer" })
end)

t.test("where waiting is impossible the error says so", function()
  t.raises({ kind = "task", code = "cannot_wait" }, table.sort, { 3, 2, 1 }, function() task.sleep(0) end)
  t.raises("gsub callback", string.gsub, "a", "a", function() task.sleep(0) end)
  t.raises("cannot wait here", tostring, setmetatable({}, { __tostring = function() task.sleep(0) end }))
end)

t.test("yielding outside a coroutine is an error, not a lost task", function()
  t.raises("attempt to yield from outside a coroutine", coroutine.yield, 1)
end)

t.test("a deadlock is told", function()
  t.raises({ code = "deadlock" }, function() task.channel():recv() end)
  local a
  a = task.spawn(function() a:join() end)
  task.sleep(0)
  t.raises({ code = "deadlock" }, a.join, a)
end)

t.test("require may wait, once, also for two tasks at a time", function()
  _G.loads = 0
  package.preload.slow_module = function()
    _G.loads = _G.loads + 1
    task.sleep(0.002)
    return { ready = true }
  end
  local got <const> = task.map({ 1, 2 }, function() return require("slow_module").ready end)
  t.equal(got, { true, true })
  t.equal(_G.loads, 1)
  package.preload.selfish = function() return require "selfish" end
  t.raises("requires itself", require, "selfish")
  t.raises("module 'not.there' not found", require, "not.there")
end)

t.test("ten thousand tasks", function()
  local n = 0
  task.scope(function()
    for _ = 1, 10000 do task.spawn(function() task.sleep(0) n = n + 1 end) end
  end)
  t.equal(n, 10000)
end)

t.test("a timer that became due while a task computed is not held up by other events", function()
  local started <const>, woke = time.monotonic(), nil
  task.scope(function()
    task.spawn(function() task.sleep(0.01) woke = time.monotonic() end)
    task.background(task.sleep, 20)                       -- keeps the loop waiting for something
    task.spawn(function()
      task.sleep(0)
      while time.monotonic() < started + 0.05 do end      -- the timer is overdue now
    end)
  end)
  t.ok(woke - started < 10, "it woke after " .. woke - started)
end)
