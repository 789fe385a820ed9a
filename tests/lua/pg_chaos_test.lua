-- Everything at once: tasks with a connection each do what comes, half of it cut off by timeouts at random moments.
-- After each call the connection must answer a question of its own rightly, or be closed; the server must be left
-- without backends.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local SECONDS <const>, TASKS <const>, SEED <const> = 5, 6, 20240105

local random <const> = math.random

local actions <const> = {
  function(db) db:query("select pg_sleep($1::float8)", random() * 0.02) end,
  function(db)
    local n = 0
    for _ in db:rows("select g from generate_series(1, $1::int) g", random(20000)) do
      n = n + 1
      if n > 5000 then break end
    end
  end,
  function(db)
    db:transaction(function()
      db:exec("insert into chaos values ($1)", random(1000000))
      if random() < 0.3 then error("the script's own") end
      local c <close> = db:copy_in("chaos")
      for i = 1, random(30000) do c:row(i) end
      if random() < 0.5 then c:finish() end
    end)
  end,
  function(db)
    for _ in db:copy_out("select generate_series(1, 100000)"):source() do
      if random() < 0.05 then break end
    end
  end,
  function(db)
    db:pipeline(function(p)
      for i = 1, random(400) do p:query("select $1::int", i) end
      if random() < 0.2 then p:query("select 1 / 0") end
    end)
  end,
  function(db) db:query { "select pg_sleep(0.03)", timeout = 0.005 } end,
  function(db) db:notification(random() * 0.01) end,
  function(db) db:query("select 1 / 0") end,
  function(db) db:script("select 1; select pg_sleep(0.002); select 2") end,
}

t.test("a connection answers its own question after any call, finished, failed or cut off", function()
  local at <const> = t.postgres()
  math.randomseed(SEED)
  do
    local db <close> = pg.connect(at)
    db:exec "create unlogged table chaos (i int)"
  end
  local stop <const> = time.monotonic() + SECONDS
  local calls, cut, reopened = 0, 0, 0
  local function run()
    local db = pg.connect(at)
    while time.monotonic() < stop do
      local action <const> = actions[random(#actions)]
      if random() < 0.5 then
        local ok <const>, err <const> = pcall(task.timeout, random() * 0.02, action, db)
        if not ok and type(err) == "table" and err.kind == "timeout" then cut = cut + 1 end
      else
        pcall(action, db)
      end
      calls = calls + 1
      if db:status() == "closed" then
        reopened = reopened + 1
        db = pg.connect(at)
      end
      local token <const> = random(1 << 40)
      t.equal(db:value("select $1::int8", token), token)
      t.equal(db:status(), "idle")
    end
    db:close()
  end
  task.scope(function()
    for _ = 1, TASKS do task.spawn(run) end
  end)
  t.ok(calls > 100 and cut > 10 and reopened > 0,
    string.format("%d calls, %d cut off, %d reopened", calls, cut, reopened))
  local db <close> = pg.connect(at)
  for _ = 1, 100 do
    local left <const> = db:value([[select count(*) from pg_stat_activity
      where datname = $1 and pid <> pg_backend_pid()]], at.database)
    if left == 0 then return end
    task.sleep(0.05)
  end
  t.ok(false, "backends are left over")
end)
