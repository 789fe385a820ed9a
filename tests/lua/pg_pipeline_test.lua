-- db:pipeline: many statements in few round trips.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local json <const> = require "garun.json"

local function database()
  local db <const> = pg.connect(t.postgres())
  db:exec "create table k (i int primary key, s text)"
  return db
end

t.test("results come in the order of the statements, rows and counts", function()
  local db <close> = database()
  local results <const> = db:pipeline(function(p)
    t.equal(p:exec("insert into k values ($1, $2)", 1, "a"), 1)
    t.equal(p:exec("insert into k values ($1, $2)", 2, nil), 2)
    t.equal(p:query("select * from k order by i"), 3)
    p:query("select $1::jsonb as j", pg.json { x = 1 })
    p:exec("delete from k where i > $1", 0)
  end)
  t.equal(results.n, 5)
  t.equal({ results[1], results[2], results[5] }, { 1, 1, 2 })
  t.equal(results[3][1], { i = 1, s = "a" })
  t.equal(results[3][2], { i = 2 })
  t.equal(results[4][1], { j = { x = 1 } })
  t.equal(db:status(), "idle")
  t.equal(db:pipeline(function() end), { n = 0 })
end)

t.test("10,000 statements of one text and of many texts", function()
  local db <close> = database()
  local results <const> = db:pipeline(function(p)
    for i = 1, 10000 do p:exec("insert into k values ($1, $2)", i, ("v"):rep(100)) end
  end)
  t.equal(results.n, 10000)
  t.equal(db:value("select count(*) from k"), 10000)
  local sums <const> = db:pipeline(function(p)
    for i = 1, 1000 do p:query(string.format("select %d + $1::int as v", i), i) end
  end)
  t.equal(sums[1000][1].v, 2000)
  t.equal(db:value("select 1"), 1)
end)

t.test("large answers and large statements do not block each other", function()
  local db <close> = database()
  local big <const> = ("z"):rep(1 << 20)
  local results <const> = db:pipeline(function(p)
    for _ = 1, 40 do p:query("select $1::text || repeat('y', 1000000) as v", big) end
  end)
  t.equal(#results[40][1].v, 1000000 + (1 << 20))
end)

t.test("the first error names its statement and undoes all of them", function()
  local db <close> = database()
  local e <const> = t.raises({ kind = "pg", code = "23505" }, db.pipeline, db, function(p)
    for i = 1, 300 do p:exec("insert into k values ($1)", i) end
    p:exec("insert into k values ($1)", 7)
    for i = 301, 2000 do p:exec("insert into k values ($1)", i) end
  end)
  t.match(e.statement, "^number 301 of the pipeline: insert into k")
  t.equal(db:value("select count(*) from k"), 0)
  t.raises({ code = "42601" }, db.pipeline, db, function(p)
    for _ = 1, 3 do p:query("selct") end
  end)
  for i = 1, 3 do t.equal(db:value("select $1::int", i), i) end
end)

t.test("inside a transaction it is part of it", function()
  local db <close> = database()
  db:transaction(function()
    db:pipeline(function(p) p:exec("insert into k values (1)") end)
    t.raises({ code = "22012" }, db.transaction, db, function()
      db:pipeline(function(p)
        p:exec("insert into k values (2)")
        p:query("select 1 / 0")
      end)
    end)
  end)
  t.equal(db:value("select array_agg(i)::text from k"), "{1}")
end)

t.test("COPY is refused before it is sent, and closes the connection when hidden", function()
  local db <close> = database()
  t.raises("COPY is not possible in a pipeline", db.pipeline, db, function(p) p:exec("copy k from stdin") end)
  t.equal(db:status(), "idle")
  t.raises({ code = "copy" }, db.pipeline, db, function(p)
    p:exec("select 1")
    p:exec("/* hidden */ copy k from stdin")
    p:exec("select 2")
  end)
  t.equal(db:status(), "closed")
end)

t.test("a parameter that cannot be sent raises while the list is made", function()
  local db <close> = database()
  t.raises("value 1 is a table", db.pipeline, db, function(p) p:exec("select $1", {}) end)
  t.raises("value 2 has a NUL", db.pipeline, db, function(p) p:exec("select $1, $2", 1, "\0") end)
  t.equal(db:value("select 1"), 1)
end)

t.test("a statement that lost its plan is forgotten, the next pipeline works", function()
  local db <close> = database()
  local function run()
    return db:pipeline(function(p)
      for _ = 1, 3 do p:query("select * from k where i = $1", 1) end
    end)
  end
  db:exec "insert into k values (1, 'a')"
  t.equal(run()[3][1], { i = 1, s = "a" })
  db:exec "alter table k add n int default 5"
  t.raises({ code = "0A000" }, run)
  t.equal(run()[3][1], { i = 1, s = "a", n = 5 })
  db:script "deallocate all"
  t.raises({ code = "26000" }, run)
  t.equal(run()[3][1], { i = 1, s = "a", n = 5 })
end)

t.test("a pipeline has a timeout, and arrays of user types are decoded", function()
  local db <close> = database()
  t.raises({ code = "timeout" }, db.pipeline, db, function(p)
    p:query("select pg_sleep(20)")
    p:query("select 1")
  end, { timeout = 0.2 })
  db:script "create type mood as enum ('a')"
  local r <const> = db:pipeline(function(p) p:query("select '{a}'::mood[] as m") end)
  t.equal(r[1][1].m, json.array { "a" })
end)
