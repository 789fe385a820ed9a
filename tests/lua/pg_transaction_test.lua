-- Transactions: commit, rollback on every kind of leaving, savepoints, options.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"

local function database()
  local at <const> = t.postgres()
  local db <const> = pg.connect(at)
  db:exec "create table k (i int primary key deferrable initially deferred)"
  return db, at
end

local function count(db)
  return db:value("select count(*) from k")
end

t.test("a transaction commits and gives what its function gives", function()
  local db <close> = database()
  local a, b, c = db:transaction(function(tx)
    tx:exec "insert into k values (1)"
    t.ok(tx:in_transaction())
    t.equal(tx:status(), "transaction")
    return 1, nil, "x"
  end)
  t.equal({ a, b, c }, { 1, nil, "x" })
  t.equal(count(db), 1)
  t.equal(db:status(), "idle")
end)

t.test("any error rolls back and comes out as it was", function()
  local db <close> = database()
  local mark <const> = { "an error value" }
  local ok <const>, err <const> = pcall(db.transaction, db, function()
    db:exec "insert into k values (1)"
    error(mark)
  end)
  t.ok(not ok and rawequal(err, mark))
  t.raises({ code = "22012" }, db.transaction, db, function()
    db:exec "insert into k values (2)"
    db:query "select 1 / 0"
  end)
  t.equal(count(db), 0)
  t.equal(db:status(), "idle")
end)

t.test("a cancelled task rolls back, waiting in a statement or elsewhere", function()
  local db <close>, at = database()
  t.raises({ kind = "timeout" }, task.timeout, 0.2, db.transaction, db, function()
    db:exec "insert into k values (1)"
    task.sleep(30)
  end)
  t.equal(db:status(), "idle")
  t.equal(count(db), 0)
  t.raises({ kind = "timeout" }, task.timeout, 0.2, db.transaction, db, function()
    db:exec "insert into k values (1)"
    db:exec "select pg_sleep(30)"
  end)
  t.equal(db:status(), "closed")
  t.raises("connection is closed", db.query, db, "select 1")
  local other <close> = pg.connect(at)
  t.equal(count(other), 0)
  for _ = 1, 50 do       -- the cut-off backend is gone too: it was cancelled, it did not sleep on
    local n <const> = other:value
      "select count(*) from pg_stat_activity where query like '%pg_sleep(30)' and state = 'active'"
    if n == 0 then return end
    task.sleep(0.1)
  end
  t.ok(false, "the backend still sleeps")
end)

t.test("a nested transaction is a savepoint", function()
  local db <close> = database()
  db:transaction(function()
    db:exec "insert into k values (1)"
    t.raises({ code = "22012" }, db.transaction, db, function()
      db:exec "insert into k values (2)"
      db:query "select 1 / 0"
    end)
    db:transaction(function()
      db:exec "insert into k values (3)"
      t.raises("inner", db.transaction, db, function()
        db:exec "insert into k values (4)"
        error("inner")
      end)
    end)
    t.raises("no options", db.transaction, db, print, { read_only = true })
  end)
  t.equal(db:value("select array_agg(i order by i)::text from k"), "{1,3}")
end)

t.test("a caught error inside does not pass for a commit", function()
  local db <close> = database()
  local e <const> = t.raises({ kind = "pg", code = "25P02" }, db.transaction, db, function()
    db:exec "insert into k values (1)"
    pcall(db.query, db, "select 1 / 0")
  end)
  t.match(e.message, "nothing was committed")
  t.equal(count(db), 0)
  t.equal(db:status(), "idle")
end)

t.test("a COMMIT or ROLLBACK of the script's own is noticed", function()
  local db <close> = database()
  t.raises({ code = "25P01" }, db.transaction, db, function() db:exec "rollback" end)
  t.equal(db:status(), "idle")
end)

t.test("an error of COMMIT itself comes out", function()
  local db <close> = database()
  t.raises({ code = "23505" }, db.transaction, db, function()
    db:exec "insert into k values (1), (1)"      -- the constraint is deferred
  end)
  t.equal(db:status(), "idle")
  t.equal(count(db), 0)
end)

t.test("options reach the server and wrong ones raise", function()
  local db <close> = database()
  t.raises({ code = "25006" }, db.transaction, db, function() db:exec "insert into k values (1)" end,
    { read_only = true })
  local level <const> = db:transaction(function() return db:value "show transaction_isolation" end,
    { isolation = "serializable", read_only = true, deferrable = true })
  t.equal(level, "serializable")
  t.raises("unknown isolation", db.transaction, db, print, { isolation = "snapshot" })
  t.raises("isolaton.*isolation", db.transaction, db, print, { isolaton = "serializable" })
  t.raises("a function is expected", db.transaction, db, "begin")
end)

t.test("retries run the function again after a serialization failure only", function()
  local db <close> = database()
  local runs = 0
  local result <const> = db:transaction(function()
    runs = runs + 1
    if runs < 3 then db:script "do $$ begin raise 'x' using errcode = '40001'; end $$" end
    return "done"
  end, { retries = 5 })
  t.equal({ runs, result }, { 3, "done" })
  runs = 0
  t.raises({ code = "22012" }, db.transaction, db, function()
    runs = runs + 1
    db:query "select 1 / 0"
  end, { retries = 5 })
  t.equal(runs, 1)
end)

t.test("a connection lost during COMMIT says that the outcome is unknown", function()
  local db <close>, at = database()
  db:script [[
    create function die() returns trigger language plpgsql as
      $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5); return null; end $$;
    create constraint trigger die after insert on k deferrable initially deferred for each row execute function die();
  ]]
  local e <const> = t.raises({ kind = "pg", code = "57P01", retryable = false }, db.transaction, db, function()
    db:exec "insert into k values (1)"
  end)
  t.match(e.hint, "whether it took place is unknown")
  t.equal(db:status(), "closed")
  local other <close> = pg.connect(at)
  t.equal(count(other), 0)
end)

t.test("a COPY left open by an error is aborted with the transaction", function()
  local db <close> = database()
  t.raises("stop", db.transaction, db, function(tx)
    local c <close> = tx:copy_in("k", { "i" })
    for i = 1, 50000 do c:row(i) end
    error("stop")
  end)
  t.equal(db:status(), "idle")
  t.equal(count(db), 0)
end)
