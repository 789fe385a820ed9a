-- db:rows: results of any size in constant memory, and leaving them early.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"
local json <const> = require "garun.json"

local function rss_kib()
  for line in io.lines("/proc/self/status") do
    local n <const> = line:match("^VmRSS:%s+(%d+) kB")
    if n then return tonumber(n) end
  end
end

t.test("100,000 rows of 1 kB stream through flat memory", function()
  for line in io.lines("/proc/self/maps") do
    if line:find("libasan", 1, true) then t.skip("AddressSanitizer keeps freed memory") end
  end
  local db <close> = pg.connect(t.postgres())
  local n, sum, low, high = 0, 0, nil, 0
  for row in db:rows("select g as id, repeat(md5(g::text), 32) as payload from generate_series(1, $1) g", 100000) do
    n, sum = n + 1, sum + row.id
    if n == 5000 then low = rss_kib() end
    if n % 5000 == 0 then high = math.max(high, rss_kib()) end
  end
  t.equal(n, 100000)
  t.equal(sum, 5000050000)
  t.ok(high - low < 16 * 1024, string.format("grew from %d to %d KiB", low, high))
  t.equal(db:status(), "idle")
end)

t.test("a stream has no rows, or fails at its start, or in its middle", function()
  local db <close> = pg.connect(t.postgres())
  for _ in db:rows("select 1 where false") do t.ok(false) end
  t.raises({ code = "42P01" }, function() for _ in db:rows("select * from nowhere") do t.ok(false) end end)
  local n = 0
  t.raises({ code = "22012", statement = "select 1 / (5 - g) as x from generate_series(1, 9) g" }, function()
    for _ in db:rows("select 1 / (5 - g) as x from generate_series(1, 9) g") do n = n + 1 end
  end)
  t.equal(n, 4)
  t.equal(db:status(), "idle")
  t.equal(db:value("select 1"), 1)
end)

t.test("leaving the loop early cancels the statement and the connection goes on at once", function()
  local db <close> = pg.connect(t.postgres())
  local started <const> = os.time()
  for _ = 1, 3 do
    for row in db:rows("select generate_series(1, 2000000000) as id, repeat('x', 1000) as pad") do
      if row.id == 10 then break end
    end
    t.equal(db:value("select 7"), 7)
  end
  for row in db:rows("select generate_series(1, 3) as i") do t.equal(row.i, 1) break end
  t.equal(db:status(), "idle")    -- all of it had come already: nothing to cancel
  t.ok(os.time() - started < 20)
end)

t.test("an error in the loop's body leaves a usable connection", function()
  local db <close> = pg.connect(t.postgres())
  t.raises("mine", function()
    for _ in db:rows("select generate_series(1, 10000000) as i") do error("mine") end
  end)
  t.equal(db:value("select 1"), 1)
end)

t.test("inside a transaction leaving early does not spoil the transaction", function()
  local db <close> = pg.connect(t.postgres())
  db:exec "create table k (i int)"
  db:transaction(function()
    db:exec "insert into k values (1)"
    for _ in db:rows("select generate_series(1, 300000) as i") do break end
    db:exec "insert into k values (2)"
  end)
  t.equal(db:value("select count(*) from k"), 2)
end)

t.test("the connection is busy while a stream is read", function()
  local db <close> = pg.connect(t.postgres())
  for _ in db:rows("select generate_series(1, 2)") do
    local e <const> = t.raises({ kind = "pg", code = "busy" }, db.query, db, "select 1")
    t.match(e.message, "rows of a db:rows%(%) are still being read")
    t.equal(db:status(), "rows")
  end
  t.equal(db:value("select 1"), 1)
end)

t.test("a closed connection ends the stream with an error, an old iterator cannot reach a new stream", function()
  local db <close> = pg.connect(t.postgres())
  local next_row <const>, _, _, stream <const> = db:rows("select generate_series(1, 100000) as i")
  t.equal(next_row().i, 1)
  t.equal(stream:columns(), { "i" })
  stream:close()
  stream:close()
  t.equal(next_row(), nil)
  local other <const> = db:rows("select generate_series(1, 100000) as i")
  t.equal(next_row(), nil)
  t.equal(other().i, 1)
  db:close()
  t.raises("connection is closed", other)
end)

t.test("options, parameters and types hold for streams too", function()
  local db <close> = pg.connect(t.postgres())
  db:script "create type mood as enum ('a', 'b')"
  for row in db:rows({ "select $1::int, null, array['a','b']::mood[]", arrays = true, nulls = true }, 4) do
    t.equal(row, { 4, json.null, json.array { "a", "b" }, n = 3 })
  end
  for row in db:rows({ "select 1.5::numeric as n", numbers = true, prepare = false }) do t.equal(row.n, 1.5) end
end)

t.test("a stream survives DEALLOCATE ALL", function()
  local db <close> = pg.connect(t.postgres())
  for _ = 1, 2 do
    for row in db:rows("select 5 as v") do t.equal(row.v, 5) end
    db:script "deallocate all"
  end
end)

t.test("a task cancelled between rows leaves the connection usable", function()
  local db <close> = pg.connect(t.postgres())
  t.raises({ kind = "timeout" }, task.timeout, 0.3, function()
    for _ in db:rows("select g, pg_sleep(0.05) from generate_series(1, 1000) g") do end
  end)
  t.equal(db:value("select 1"), 1)
end)

t.test("a stream's timeout counts the server's time for a row, not the script's", function()
  local db <close> = pg.connect(t.postgres())
  local n = 0
  for _ in db:rows { "select generate_series(1, 3)", timeout = 0.2 } do
    task.sleep(0.15)
    n = n + 1
  end
  t.equal(n, 3)
  t.raises({ code = "timeout" }, function()
    for _ in db:rows { "select g, pg_sleep(g) from generate_series(0, 5) g", timeout = 0.3 } do end
  end)
  t.equal(db:value("select 1"), 1)
end)
