-- COPY in and out, and the garun.copy helpers.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local copy <const> = require "garun.copy"
local json <const> = require "garun.json"
local task <const> = require "garun.task"

local function database(ddl)
  local at <const> = t.postgres()
  local db <const> = pg.connect(at)
  db:script(ddl or "create table c (i int8, s text, f float8, b bool, j jsonb, a int[], y bytea)")
  return db, at
end

t.test("rows of every Lua type arrive as they are", function()
  local db <close> = database()
  local c <close> = db:copy_in("c")
  c:row(1, "tab\tnewline\nreturn\rback\\slash \\N \b\v", 0.1, true, pg.json { a = "x\ny\\z" }, pg.array { 1, 2 },
    pg.bytea "\0\\\255")
  c:row(math.mininteger, "", -math.huge, false, pg.json(json.null), pg.array {}, pg.bytea "")
  c:row(nil, nil, nil, nil, json.null, nil, nil)
  t.equal(c:finish(), 3)
  t.equal(db:status(), "idle")
  local rows <const> = db:query("select * from c")
  t.equal(rows[1], { i = 1, s = "tab\tnewline\nreturn\rback\\slash \\N \b\v", f = 0.1, b = true, j = { a = "x\ny\\z" },
    a = json.array { 1, 2 }, y = "\0\\\255" })
  t.equal(rows[2], { i = math.mininteger, s = "", f = -math.huge, b = false, j = json.null, a = json.array {}, y = "" })
  t.equal(rows[3], {})
end)

t.test("a bad row raises, is taken back, and the COPY goes on", function()
  local db <close> = database()
  local c <close> = db:copy_in("c", { "i", "s" })
  c:row(1, "a")
  t.raises("value 2 has a NUL byte", c.row, c, 2, "x\0")
  t.raises("value 2 is not valid UTF%-8", c.row, c, 2, "x\xc3")
  t.raises("value 1 is a table: say what it is with pg.json", c.row, c, {}, "x")
  t.raises("1 values for 2 columns", c.row, c, 1)
  c:row(3, nil)
  t.equal(c:finish(), 2)
  t.equal(db:value("select array_agg(i order by i)::text from c"), "{1,3}")
end)

t.test("ready text may be cut anywhere, and a COPY statement names its own options", function()
  local db <close> = database()
  local c <close> = db:copy_in("copy c (i, s) from stdin")
  for ch in ("1\tone\n2\ttwo\n"):gmatch(".") do c:write(ch) end
  c:row(3, "three")
  t.equal(c:finish(), 3)
  local csv <close> = db:copy_in("c", { "i", "s" }, { format = "csv", header = true })
  t.raises("not in text format", csv.row, csv, 1, "x")
  csv:write("i,s\n4,\"a,b\"\n")
  t.equal(csv:finish(), 1)
  t.equal(db:value("select s from c where i = 4"), "a,b")
  t.equal(db:value("select sum(i)::int from c"), 10)
end)

t.test("leaving without finish stores nothing and the connection goes on", function()
  local db <close> = database()
  do
    local c <close> = db:copy_in("c", { "i" })
    for i = 1, 100000 do c:row(i) end
  end
  t.equal(db:value("select count(*) from c"), 0)
  local c <const> = db:copy_in("c", { "i" })
  c:row(1)
  c:close("changed my mind")
  c:close()
  t.raises("this COPY is closed", c.row, c, 2)
  t.raises("this COPY is closed", c.finish, c)
  t.equal(db:value("select count(*) from c"), 0)
  local d <const> = db:copy_in("c", { "i" })
  t.equal(d:finish(), 0)
  t.raises("this COPY is finished", d.finish, d)
end)

t.test("the server's error names table, line and column, and arrives while there is still much to send", function()
  local db <close> = database()
  local sent = 0
  local e <const> = t.raises({ kind = "pg", code = "22P02" }, function()
    local c <close> = db:copy_in("c", { "i", "s" })
    c:write("1\ta\nnonsense\tb\n")
    local block <const> = ("5\t" .. ("x"):rep(1000) .. "\n"):rep(64)
    for _ = 1, 5000 do       -- 320 MB, were they all taken
      c:write(block)
      sent = sent + #block
    end
    c:finish()
  end)
  t.match(e.detail, "COPY c, line 2, column i: \"nonsense\"")
  t.match(e.where, "COPY c, line 2")
  t.ok(sent < 64 << 20, string.format("%d bytes were sent after the bad row", sent))
  t.equal(db:status(), "idle")
  t.equal(db:value("select count(*) from c"), 0)
end)

t.test("an error in the last row comes out of finish", function()
  local db <close> = database("create table c (i int primary key)")
  local c <close> = db:copy_in("c", { "i" })
  c:row(1)
  c:row(1)
  local e <const> = t.raises({ code = "23505", constraint = "c_pkey" }, c.finish, c)
  t.match(e.detail, "Key %(i%)=%(1%) already exists.*COPY c, line 2")
  t.equal(db:value("select 1"), 1)
end)

t.test("what cannot be copied into raises at once", function()
  local db <close> = database()
  t.raises({ code = "42P01" }, db.copy_in, db, "nowhere")
  t.raises({ code = "42703" }, db.copy_in, db, "c", { "nothing" })
  t.raises({ code = "3F000" }, db.copy_in, db, "no_schema.c")
  t.raises("unknown format", db.copy_in, db, "c", nil, { format = "xml" })
  t.raises("formt", db.copy_in, db, "c", nil, { formt = "csv" })
  t.raises("not a COPY ... FROM STDIN", db.copy_in, db, "copy (select 1) to stdout")
  t.raises("connection is closed", db.query, db, "select 1")       -- that one had begun to send
end)

t.test("the connection is busy while a COPY is open", function()
  local db <close> = database()
  local c <close> = db:copy_in("c", { "i" })
  t.raises({ code = "busy" }, db.query, db, "select 1")
  t.equal(db:status(), "copy_in")
  c:row(1)
  t.equal(c:finish(), 1)
end)

t.test("a slow server slows the writer: memory stays flat", function()
  local db <close> = database [[
    create table c (s text);
    create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.002); return new; end $$;
    create trigger slow before insert on c for each row execute function slow();
  ]]
  local function rss()
    for line in io.lines("/proc/self/status") do
      local n <const> = line:match("^VmRSS:%s+(%d+) kB")
      if n then return tonumber(n) end
    end
  end
  local c <close> = db:copy_in("c")
  local block <const> = (("y"):rep(100000) .. "\n")
  for _ = 1, 20 do c:write(block) end
  local before <const> = rss()
  for _ = 1, 480 do c:write(block) end
  t.ok(rss() - before < 8192, string.format("grew by %d KiB", rss() - before))
  t.equal(c:finish(), 500)
end)

t.test("a cancelled writer leaves a connection that can be used", function()
  local db <close> = database()
  t.raises({ kind = "timeout" }, task.timeout, 0.2, function()
    local c <close> = db:copy_in("c", { "i" })
    while true do
      c:row(1)
      task.sleep(0)
    end
  end)
  t.equal(db:value("select count(*) from c"), 0)
end)

t.test("a write that was cut off ends the COPY: nothing can be stored after half a row", function()
  local db <close> = database [[
    create table c (s text);
    create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return new; end $$;
    create trigger slow before insert on c for each row execute function slow();
  ]]
  local c <close> = db:copy_in("c")
  t.raises({ kind = "timeout" }, task.timeout, 0.3, c.write, c, (("z"):rep(1000) .. "\n"):rep(20000))
  t.raises("was cut off", c.write, c, "more\n")
  t.raises("was cut off", c.row, c, "more")
  t.raises("was cut off", c.finish, c)
  c:close()
  t.equal(db:value("select count(*) from c"), 0)
end)

t.test("copy_out gives chunks or rows, from a table or a query", function()
  local db <close> = database()
  db:exec("insert into c (i, s) select g, repeat('x', 100) from generate_series(1, 20000) g")
  local bytes, chunks = 0, 0
  for chunk in db:copy_out("c", { "i", "s" }):source() do
    bytes, chunks = bytes + #chunk, chunks + 1
  end
  t.ok(chunks > 1 and chunks < 2000, chunks .. " chunks")
  t.equal(bytes, db:value("select sum(length(i::text) + 102)::int8 from c"))
  local out <const> = db:copy_out("select 1, null, E'a\\tb\\\\c', ''")
  t.equal(out:row(), { 1 and "1", nil, "a\tb\\c", "", n = 4 })
  t.equal(out:row(), nil)
  t.equal(out:row(), nil)
  t.equal(out:count(), 1)
  t.equal(db:status(), "idle")
  local csv <const> = db:copy_out("select 1 as a, 'x,y' as b", nil, { format = "csv", header = true })
  t.equal(csv:read(), 'a,b\n1,"x,y"\n')
  t.equal(csv:read(), nil)
end)

t.test("copy_out left early goes on, inside a transaction too, and its error comes out", function()
  local db <close> = database()
  for _ in db:copy_out("select generate_series(1, 10000000)"):source() do break end
  t.equal(db:value("select 1"), 1)
  db:transaction(function()
    for row in db:copy_out("select generate_series(1, 200000)"):rows() do
      t.equal(row[1], "1")
      break
    end
    t.equal(db:value("select 2"), 2)
  end)
  t.raises({ code = "22012" }, function()
    for _ in db:copy_out("select 1 / (3 - g) from generate_series(1, 5) g"):rows() do end
  end)
  t.equal(db:value("select 3"), 3)
end)

t.test("garun.copy moves rows from an iterator, a source and another connection", function()
  local db <close>, at = database()
  local i = 0
  local n <const> = copy.rows(db, "c", { "i", "s" }, function()
    i = i + 1
    if i <= 3 then return { i, i ~= 2 and "row " .. i or nil } end
  end)
  t.equal(n, 3)
  t.equal(db:value("select count(*) from c where s is null"), 1)
  local chunks <const>, at_chunk = { "10\ta\n1", "1\tb\n" }, 0
  t.equal(copy.text(db, "c", { "i", "s" }, function()
    at_chunk = at_chunk + 1
    return chunks[at_chunk]
  end), 2)
  local other <close> = pg.connect(at)
  other:exec "create table d (like c)"
  t.equal(copy.between(db, "select i, s from c order by i", other, "d", { "i", "s" }), 5)
  t.equal(other:value("select string_agg(coalesce(s, '-'), ',' order by i) from d"), "row 1,-,row 3,a,b")
  t.raises("mine", copy.rows, db, "c", { "i" }, function() error("mine") end)
  t.equal(db:value("select count(*) from c"), 5)
end)
