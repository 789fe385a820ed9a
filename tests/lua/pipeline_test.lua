local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local pg <const> = require "garun.pg"
local pipeline <const> = require "garun.pipeline"
local t <const> = require "garun.test"

local function database(ddl)
  local db <const> = pg.connect(t.postgres())
  t.after(function() db:close() end)
  db:script(ddl)
  return db
end

local function file(text, name)
  local path <const> = t.tmpdir() .. "/" .. (name or "in.csv")
  fs.write(path, text)
  return path
end

local orders <const> = "create table orders (id bigint primary key, day date not null, kind varchar(5), amount numeric(6,2), "
  .. "note text default 'none', paid boolean, at timestamptz)"

local mapping <const> = pipeline.mapping {
  format = "csv", table = "orders", partition = "day",
  columns = { id = "Order No", day = "Date", kind = "Kind", amount = { "Total", "Sum" }, paid = "Paid", at = "At" },
}
local head <const> = "Order No,Date,Kind,Total,Sum,Paid,At\n"

local function rows(db, sql)
  local out <const> = {}
  for _, r in ipairs(db:query { sql or "select * from orders order by id", arrays = true, nulls = true }) do
    for i = 1, #r do r[i] = r[i] == require("garun.json").null and "NULL" or tostring(r[i]) end
    out[#out + 1] = table.concat(r, "|", 1, #r)
  end
  return out
end

t.test("CSV with a header loads by name, types checked, defaults kept", function()
  local db <const> = database(orders)
  local r <const> = pipeline.load { db = db, mapping = mapping, from = file(head
    .. '1,2024-01-05,"a,b",1.5,,t,2024-01-05T10:00:00Z\r\n2,20240106,,,"2.25",no,\n3,2024-01-06,toolong,x,,,\n') }
  t.equal(r.loaded, 3)
  t.equal(r.cut, 1)
  t.equal(r.nulled, 1)
  t.equal(rows(db), {
    "1|2024-01-05|a,b|1.50|none|true|2024-01-05 10:00:00+00", "2|2024-01-06|NULL|2.25|none|false|NULL",
    "3|2024-01-06|toolo|NULL|none|NULL|NULL" })
end)

t.test("two CSV files with their columns in another order load together", function()
  local db <const> = database(orders)
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/1.csv", head .. "1,2024-01-05,,,,,\n")
  fs.write(dir .. "/2.csv", "Date,Sum,At,Paid,Kind,Total,Order No\n2024-01-07,7,,,k,,2\n")
  fs.write(dir .. "/3.csv", "")
  t.equal(pipeline.load({ db = db, mapping = mapping, from = dir .. "/*.csv" }).loaded, 2)
  t.equal(rows(db)[2], "2|2024-01-07|k|7.00|none|NULL|NULL")
end)

t.test("quoted line ends are data wherever a batch is cut", function()
  local db <const> = database "create table notes (id int, note text)"
  local parts <const> = { "id,note\n" }
  for i = 1, 60000 do parts[#parts + 1] = string.format('%d,"line one\nline ""%d""\n, and three"\n', i, i) end
  local r <const> = pipeline.load { db = db, from = file(table.concat(parts)), mapping = pipeline.mapping { format = "csv",
    table = "notes", columns = { id = "id", note = "note" } } }
  t.equal(r.loaded, 60000)
  t.equal(db:value "select count(*) from notes where note = format(E'line one\\nline \"%s\"\\n, and three', id)", 60000)
end)

t.test("rows larger than an output slot reach their table whole while another table's COPY takes turns", function()
  local db <const> = database "create table big (v text); create table small (v text, n int)"
  local pad <const> = ("x"):rep(100)
  local n = 0
  local r <const> = pipeline.load { db = db, mapping = pipeline.mapping { tables = { big = { v = "v" },
      small = { v = "v", n = "n" } }, route = { from = "k", big = "big", small = "small" } },
    from = function()
      n = n + 1
      if n > 8 then return nil end
      local lines <const> = { string.format('{"k":"big","v":"%d%s"}\n', n, pad:rep(26000)) }
      for i = 1, 4000 + 1000 * n do lines[i + 1] = string.format('{"k":"small","v":"%s","n":%d}\n', pad, i) end
      return table.concat(lines)
    end }
  t.equal(r.tables, { big = 8, small = 68000 })
  t.equal(db:value("select count(*) from big where length(v) = 2600001 and v ~ '^[1-8]x+$'"), 8)
end)

t.test("NDJSON of another shape: paths, look-ups, defaults, constants", function()
  local db <const> = database "create table things (id uuid, name text, n int, price numeric, tags jsonb, src text, doc jsonb)"
  pipeline.load { db = db, from = function()
      local once = not _G.given
      _G.given = true
      return once and '{"a":{"b":"x"},"list":[{"n":5},{"n":6}],"props":[{"k":"Price","v":"1.10"}],"tags":["t"],"z":null}\n{"c":"y"}\n' or nil
    end,
    mapping = pipeline.mapping { table = "things", columns = { id = pipeline.uuid, name = { "a.b", "c" }, n = "list[1].n",
      price = "props[k~price].v:number", tags = { "tags:json", default = "[]" }, src = pipeline.const "test",
      doc = pipeline.record } } }
  _G.given = nil
  t.equal(rows(db, "select name, n, price, tags::text, src, doc::text from things order by name"), {
    'x|6|1.10|["t"]|test|{"a": {"b": "x"}, "list": [{"n": 5}, {"n": 6}], "tags": ["t"], "props": [{"k": "Price", "v": "1.10"}]}',
    'y|NULL|NULL|[]|test|{"c": "y"}' })
  t.equal(db:value "select count(distinct id) from things", 2)
end)

t.test("replace takes whole partitions, and only those that occur", function()
  local db <const> = database(orders)
  pipeline.load { db = db, mapping = mapping, from = file(head .. "1,2024-01-05,,,,,\n2,2024-01-06,,,,,\n3,2024-01-06,,,,,\n") }
  local r <const> = pipeline.load { db = db, mapping = mapping, mode = "replace", from = file(head .. "9,2024-01-06,,,,,\n") }
  t.equal(r.deleted, 2)
  t.equal(db:value "select string_agg(id::text, ',' order by id) from orders", "1,9")
end)

t.test("a range bounds what is loaded", function()
  local db <const> = database(orders)
  local r <const> = pipeline.load { db = db, mapping = mapping, range = { from = "2024-01-06", to = "2024-01-06" },
    from = file(head .. "1,2024-01-05,,,,,\n2,2024-01-06,,,,,\n3,2024-01-07,,,,,\n") }
  t.equal({ r.loaded, r.out_of_range }, { 1, 2 })
end)

t.test("merge by key inserts, updates what differs, and the last of equal keys wins", function()
  local db <const> = database(orders)
  pipeline.load { db = db, mapping = mapping, from = file(head .. "1,2024-01-05,a,1,,,\n2,2024-01-05,b,2,,,\n") }
  local r <const> = pipeline.load { db = db, mapping = mapping, mode = "merge", key = { "id" },
    from = file(head .. "1,2024-01-05,a,1,,,\n2,2024-01-05,b,3,,,\n3,2024-01-05,x,1,,,\n3,2024-01-05,y,2,,,\n") }
  t.equal(r.changed, 2)
  t.equal(db:value "select string_agg(id || kind || amount, ' ' order by id) from orders", "1a1.00 2b3.00 3y2.00")
end)

t.test("a failure leaves nothing behind", function()
  local db <const> = database(orders)
  local good <const> = head .. "1,2024-01-05,,,,,\n"
  local whole <const> = gzip.compress(good:rep(1) .. ("2,2024-01-05,,,,,\n"):rep(1))
  t.raises("gzip.*truncated", pipeline.load, { db = db, mapping = mapping, from = file(whole:sub(1, #whole - 6), "cut.csv.gz") })
  t.raises({ kind = "pg", code = "23505" }, pipeline.load, { db = db, mapping = mapping, from = file(good .. "1,2024-01-05,,,,,\n") })
  t.raises("no such file", pipeline.load, { db = db, mapping = mapping, from = "/nowhere/x.csv" })
  t.equal(db:value "select count(*) from orders", 0)
end)

t.test("rejects of a CSV name line, field and reason", function()
  local db <const> = database(orders)
  local path <const> = t.tmpdir() .. "/rejects.ndjson"
  local r <const> = pipeline.load { db = db, mapping = mapping, reject_file = path, from = file(head
    .. "1,2024-01-05,,,,,\n2,2024-13-05,,,,,\n3,2024-01-05\n4,,,,,,\n5,2024-01-05,,,,maybe,\n") }
  t.equal({ r.loaded, r.rejected }, { 1, 4 })
  local text <const> = fs.read(path)
  t.match(text, '"line":3')
  t.match(text, '"column":"day"')
  t.match(text, '"column":"paid"')
end)

t.test("a mapping is checked against the tables before anything is read", function()
  local db <const> = database(orders .. "; create table strange (a int, b point)")
  local function load(m) return pipeline.load { db = db, mapping = pipeline.mapping(m), from = "/dev/null" } end
  t.raises("there is no table nowhere", load, { format = "ndjson", table = "nowhere", columns = { a = "a" } })
  t.raises("table orders has no column amuont; did you mean amount", load, { table = "orders", columns = { amuont = "x" } })
  t.raises("column orders.day is NOT NULL without a default", load, { table = "orders", columns = { id = "id" } })
  t.raises("type point cannot be loaded", load, { table = "strange", columns = { b = "b" } })
  t.raises("unknown option 'trimm'; did you mean 'trim'", pipeline.mapping, { table = "t", columns = { a = { "a", trimm = true } } })
  t.raises("unknown option 'colums'", pipeline.mapping, { table = "t", colums = {} })
  t.raises("path .* is malformed", load, { table = "strange", columns = { a = "a..b" } })
end)

t.test("a header that lacks a field is told with the file's name", function()
  local db <const> = database(orders)
  local path <const> = file("Order No,Dat\n1,2024-01-05\n")
  t.raises("in.csv.*has no column \"Date\"; the nearest is Dat", pipeline.load, { db = db, mapping = mapping, from = path })
end)

t.test("TSV, other quotes, and files without a header", function()
  local db <const> = database "create table pairs (a text, b int)"
  pipeline.load { db = db, from = file("x 'y'\t1\n'q\tr'\t2\n"), mapping = pipeline.mapping { format = "csv", table = "pairs",
    delimiter = "\t", quote = "'", header = false, fields = { "A", "B" }, columns = { a = "A", b = "B" } } }
  t.equal(rows(db, "select * from pairs order by b"), { "x 'y'|1", "q\tr|2" })
end)
