-- pg.pool: lending, limits, waiting, replacing.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"

local function backend(db) return db:value("select pg_backend_pid()") end

t.test("a connection is lent, given back and lent again under a new handle", function()
  local pool <close> = pg.pool(t.postgres(), { size = 2, max_overflow = 0 })
  local first <const> = pool:connect()
  local pid <const> = backend(first)
  t.equal(pool:status().in_use, 1)
  first:close()
  first:close()
  t.equal(pool:status().in_use, 0)
  t.equal(pool:status().idle, 1)
  local second <close> = pool:connect()
  t.equal(backend(second), pid)
  t.raises("connection is closed", first.query, first, "select 1")      -- the old handle cannot reach it
end)

t.test("with gives results, gives back on error, and rolls back what was left open", function()
  local at <const> = t.postgres()
  local pool <close> = pg.pool(at, { size = 1, max_overflow = 0, timeout = 1 })
  t.equal({ pool:with(function(db, a) return db:value("select $1::int", a), nil, 3 end, 5) }, { 5, nil, 3 })
  t.raises("mine", pool.with, pool, function(db)
    db:exec "create table k (i int)"
    db:exec "begin"
    db:exec "insert into k values (1)"
    error("mine")
  end)
  t.equal(pool:status().idle, 1)
  t.equal(pool:with(function(db) return db:value("select count(*) from k") end), 0)
end)

t.test("a handle closed inside a transaction is not lent again", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, timeout = 1 })
  local db <const> = pool:connect()
  local pid <const> = backend(db)
  db:exec "begin"
  db:close()
  t.equal(pool:status().total, 0)
  t.ok(pool:with(backend) ~= pid)
end)

t.test("overflow connections are opened on demand and closed on return", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 2, timeout = 0.1 })
  local a <const>, b <const>, c <const> = pool:connect(), pool:connect(), pool:connect()
  t.equal(pool:status().total, 3)
  local e <const> = t.raises({ kind = "pg", code = "pool_timeout", retryable = true }, pool.connect, pool)
  t.match(e.message, "within 0.1 s; 3 of 3 are in use %(size 1, max_overflow 2%)")
  t.match(e.hint, "DATABASE_POOL_SIZE")
  a:close() b:close() c:close()
  t.equal(pool:status().total, 1)
  t.equal(pool:status().idle, 1)
end)

t.test("waiters are served first come first served", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, timeout = 20 })
  local order <const> = {}
  local held <const> = pool:connect()
  local tasks <const> = {}
  for i = 1, 5 do
    tasks[i] = task.spawn(function()
      pool:with(function(db)
        order[#order + 1] = i
        db:exec "select pg_sleep(0.01)"
      end)
    end)
    task.sleep(0)
  end
  t.equal(pool:status().waiting, 5)
  held:close()
  for _, w in ipairs(tasks) do w:join() end
  t.equal(order, { 1, 2, 3, 4, 5 })
  t.equal(pool:status().total, 1)
end)

t.test("a waiter that is cancelled or times out does not lose a connection for the others", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, timeout = 20 })
  local held <const> = pool:connect()
  t.raises({ kind = "timeout" }, task.timeout, 0.05, pool.connect, pool)
  t.raises({ code = "pool_timeout" }, pool.connect, pool, 0.05)
  local waiter <const> = task.spawn(function() return pool:with(backend) end)
  task.sleep(0.02)
  held:close()
  t.ok(waiter:join())
  t.equal(pool:status().in_use, 0)
  t.equal(pool:status().waiting, 0)
end)

t.test("an idle connection that died is replaced without a trace", function()
  local at <const> = t.postgres()
  local pool <close> = pg.pool(at, { size = 1, max_overflow = 0, timeout = 5 })
  local pid <const> = pool:with(backend)
  local admin <close> = pg.connect(at)
  t.equal(admin:value("select pg_terminate_backend($1, 5000)", pid), true)
  t.ok(pool:with(backend) ~= pid)
  t.equal(pool:status().total, 1)
end)

t.test("a connection older than recycle is replaced at checkout", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, recycle = 0.1 })
  local pid <const> = pool:with(backend)
  t.equal(pool:with(backend), pid)
  task.sleep(0.15)
  t.ok(pool:with(backend) ~= pid)
end)

t.test("reset = discard clears the session and keeps its settings", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, reset = "discard" })
  local pid <const> = pool:with(function(db)
    db:exec "create temp table tt (i int)"
    db:exec "set time zone 'Asia/Tokyo'"
    for _ = 1, 3 do db:value("select 1") end
    return backend(db)
  end)
  pool:with(function(db)
    t.equal(backend(db), pid)
    t.equal(db:value("select to_regclass('pg_temp.tt') is null"), true)
    t.equal(db:value("show time zone"), "UTC")
    for _ = 1, 3 do t.equal(db:value("select 1"), 1) end
  end)
end)

t.test("a server that cannot be reached raises the same error each time and keeps no place", function()
  local pool <close> = pg.pool({ host = t.tmpdir(), database = "x" }, { size = 1, max_overflow = 0, timeout = 1 })
  for _ = 1, 3 do t.raises({ kind = "pg", code = "08001" }, pool.connect, pool) end
  t.equal(pool:status().total, 0)
end)

t.test("closing the pool closes what is idle now and what is lent when it comes back", function()
  local pool <const> = pg.pool(t.postgres(), { size = 2, max_overflow = 0, timeout = 5 })
  local held <const> = pool:connect()
  pool:with(backend)
  local waiter <const> = task.spawn(function()
    local a <close> = pool:connect()
    local b <close> = pool:connect()
    return a and b
  end)
  task.sleep(0.05)
  pool:close()
  pool:close()
  t.raises("the pool is closed", waiter.join, waiter)
  t.equal(held:value("select 1"), 1)
  held:close()
  t.equal(pool:status().total, 0)
  t.raises("the pool is closed", pool.connect, pool)
end)

t.test("a leaked handle goes back when it is collected", function()
  local pool <close> = pg.pool(t.postgres(), { size = 1, max_overflow = 0, timeout = 1 })
  do pool:connect():value("select 1") end
  collectgarbage()
  collectgarbage()
  t.equal(pool:status().in_use, 0)
  t.ok(pool:with(backend))
end)

t.test("options are checked", function()
  t.raises("max_overflw.*max_overflow", pg.pool, nil, { max_overflw = 1 })
  t.raises("size", pg.pool, nil, { size = 0 })
  t.raises("reset", pg.pool, nil, { reset = "all" })
end)
