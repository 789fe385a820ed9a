-- garun.bigquery against the fixture server: what is read, exactly; accounts, tables, days. Faults: bigquery_fault_test.
local t <const> = require "garun.test"
local bigquery <const> = require "garun.bigquery"
local config <const> = require "garun.config"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local proc <const> = require "garun.proc"
local server <const> = dofile(config.path "tests/lua/bigquery_server.lua")

local function client(s, opts)
  local all <const> = { project = "shop", dataset = "analytics_1", credentials = false, endpoint = s.url,
    storage_endpoint = s.url, backoff = 0.01 }
  for k, v in pairs(opts or {}) do all[k] = v end
  local c <const> = bigquery.client(all)
  t.after(function() c:close() end)
  return c
end

local function drain(stream)
  local parts <const> = {}
  for chunk in stream do parts[#parts + 1] = chunk end
  return table.concat(parts)
end

local function lines(text)
  local list <const> = {}
  for line in text:gmatch("([^\n]*)\n") do list[#list + 1] = json.decode(line) end
  return list
end

-- Rows as they were given, with integers and floats as they arrive.
local function want(rows, wanted)
  local list <const> = {}
  for _, r in ipairs(rows) do
    if not wanted or wanted[r.event_name] then
      local copy <const> = json.decode(json.encode(r))
      for _, p in ipairs(copy.event_params) do
        if p.value.int_value then p.value.int_value = math.tointeger(tonumber(p.value.int_value)) end
      end
      list[#list + 1] = copy
    end
  end
  return list
end

local function floats(row)
  for _, p in ipairs(row.event_params) do
    if p.value.double_value then p.value.double_value = p.value.double_value + 0.0 end
  end
  for _, i in ipairs(row.items or {}) do i.price = i.price + 0.0 end
  if row.ecommerce then row.ecommerce.purchase_revenue = row.ecommerce.purchase_revenue + 0.0 end
  return row
end

local function same(got, rows)
  t.equal(#got, #rows)
  for i, row in ipairs(rows) do t.equal(floats(got[i]), floats(row), "row " .. i) end
end

---- queries ----

t.test("rows are decoded exactly: 64-bit integers, floats, nested and repeated records, NULL, bytes, timestamps", function()
  local s <const> = server.start()
  local function field(name, kind, mode, fields) return { name = name, type = kind, mode = mode or "NULLABLE", fields = fields } end
  s.table { table = "kinds", schema = { field("i", "INTEGER"), field("f", "FLOAT"), field("b", "BOOLEAN"), field("n", "NUMERIC"),
    field("y", "BYTES"), field("d", "DATE"), field("ts", "TIMESTAMP"), field("s", "STRING"),
    field("r", "RECORD", "NULLABLE", { field("x", "INTEGER"), field("l", "STRING", "REPEATED") }),
    field("rr", "RECORD", "REPEATED", { field("k", "STRING") }) },
    rows = json.array {
      { i = "9223372036854775807", f = 1e300, b = true, n = "123456789012345678901234567890.5", y = "AP8=", d = "2024-02-29",
        ts = 1704412800123456, s = "a\0\u{1f600}\n", r = { x = "-9223372036854775808", l = json.array { "a", "" } },
        rr = json.array { { k = "1" }, {} } },
      { f = 0.1, b = false }, { f = -12345678.5, r = {} } } }
  local c <const> = client(s)
  local rows <const> = c:query("SELECT * FROM `shop.analytics_1.kinds`"):all()
  t.equal(rows[1], { i = math.maxinteger, f = 1e300, b = true, n = "123456789012345678901234567890.5", y = "\0\xff",
    d = "2024-02-29", ts = 1704412800123456, s = "a\0\u{1f600}\n", r = { x = math.mininteger, l = { "a", "" } },
    rr = { { k = "1" }, {} } })
  t.equal(rows[2], { f = 0.1, b = false, rr = {} })
  t.equal(rows[3], { f = -12345678.5, r = { l = {} }, rr = {} })
  t.equal(c:rows("kinds"):all(), rows)
  t.equal(c:rows("kinds", { columns = { "f", "b" } }):all()[2], { f = 0.1, b = false })
  t.raises("no column nope", c.rows, c, "kinds", { columns = { "nope" } })
end)

t.test("parameters arrive as what they are", function()
  local c <const> = client(server.start())
  local sql <const> = "SELECT @s AS s, @i AS i, @f AS f, @b AS b, @d AS d, @n AS n, @a AS a"
  local r <const> = c:query(sql, { params = { s = "O'Neil \"`@x`", i = math.mininteger, f = 0.1, b = false,
    d = { type = "DATE", value = "2024-01-31" }, n = { type = "STRING" }, a = { 1, math.maxinteger } } })()
  t.equal(r, { s = "O'Neil \"`@x`", i = math.mininteger, f = 0.1, b = false, d = "2024-01-31", a = { 1, math.maxinteger } })
  t.equal(c:query("SELECT @a AS a", { params = { a = { type = "ARRAY<STRING>", value = {} } } })(), { a = {} })
  t.equal(c:query("SELECT ? AS a, ? AS b", { params = { "x", 2 } })(), { a = "x", b = 2 })
  t.raises("parameter a is an empty array", c.query, c, "SELECT @a", { params = { a = {} } })
  t.raises("parameter f is a function", c.query, c, "SELECT @f", { params = { f = print } })
  t.raises("unknown option 'parms'.*params", c.query, c, "SELECT 1", { parms = {} })
end)

t.test("a query of many pages gives each row once, and can be left early", function()
  local s <const> = server.start { page_rows = 7 }
  local spec <const> = s.table { day = "2024-01-05", rows = 100 }
  local c <const> = client(s)
  local sql <const> = "SELECT * FROM `shop.analytics_1.events_20240105`"
  local r <const> = c:query(sql)
  t.equal(r.total, 100)
  same(r:all(), want(spec.rows))
  t.equal(r(), nil)
  s.control "clear"
  local left <close> = c:query(sql)
  t.ok(left() and left())
  left:close()
  t.equal(left(), nil)
  t.ok(#s.log "/queries/" <= 3, "pages are fetched as they are read")
  t.equal(c:query("SELECT event_name FROM `shop.analytics_1.events_20240105` WHERE event_name = 'nothing'"):all(), {})
  t.equal(#c:query("SELECT event_name FROM events_20240105 WHERE event_name IN ('scroll', 'purchase')"):all(), 50)
end)

t.test("each call has location, labels, limits and an id of ours", function()
  local s <const> = server.start()
  s.table { day = "2024-01-05", rows = 20, location = "europe-west3" }
  local c <const> = client(s, { location = "europe-west3", labels = { team = "shop" }, maximum_bytes_billed = 1 << 30,
    user_project = "payer" })
  local sql <const> = "SELECT event_name FROM `shop.analytics_1.events_20240105`"
  t.equal(#c:query(sql, { labels = { run = "7" } }):all(), 20)
  local body <const> = s.log("/queries$")[1].body
  t.equal(body.labels, { team = "shop", run = "7" })
  t.equal({ body.location, body.useLegacySql, body.maximumBytesBilled }, { "europe-west3", false, "1073741824" })
  t.ok(#body.requestId == 36)
  t.ok(drain(c:events("2024-01-05").open()))
  for _, r in ipairs(s.log "/queries/garun_events_20240105_") do t.equal(r.query.location, "europe-west3") end
  local job <const> = s.log("/jobs$")[1]
  t.equal({ job.body.jobReference.location, job.body.configuration.labels, job.headers["x-goog-user-project"] },
    { "europe-west3", { team = "shop" }, "payer" })
  t.equal(job.body.configuration.query.maximumBytesBilled, "1073741824")
  t.match(job.headers["accept-encoding"], "gzip")
  t.match(job.headers["user-agent"], "%(gzip%)")
  t.raises({ code = "notFound" }, c.query, client(s, { location = "US" }), sql)
end)

t.test("a dry run tells bytes and cost and runs nothing; the limit refuses a dear query", function()
  local s <const> = server.start()
  s.table { day = "2024-01-05", rows = 50, }
  local c <const> = client(s, { price_per_tib = 5 })
  local sql <const> = "SELECT * FROM `shop.analytics_1.events_20240105`"
  local d <const> = c:query(sql, { dry_run = true })
  t.ok(d.bytes > 5000)
  t.equal(d.cost, (10 << 20) / (1 << 40) * 5)
  t.equal(d.schema.fields[1].name, "event_date")
  t.equal(#s.log "/jobs", 0)
  local source <const> = c:events("2024-01-05")
  t.equal(source.estimate().bytes, d.bytes)
  local poor <const> = client(s, { maximum_bytes_billed = 1000 })
  local e <const> = t.raises({ kind = "bigquery", code = "bytesBilledLimitExceeded", retryable = false }, poor.query, poor, sql)
  t.match(e.hint, "maximum_bytes_billed")
  t.raises({ code = "bytesBilledLimitExceeded" }, poor:events("2024-01-05").open)
  t.ok(poor:events("2024-01-05").estimate().bytes > 5000)
end)

t.test("errors are Google's, with reason, place and whether they pass", function()
  local s <const> = server.start()
  s.table { day = "2024-01-05", rows = 1 }
  local c <const> = client(s)
  local e <const> = t.raises({ kind = "bigquery", code = "invalidQuery", retryable = false }, c.query, c,
    "SELECT nope FROM `shop.analytics_1.events_20240105`")
  t.match(e.message, "Unrecognized name: nope at %[1:8%]")
  t.match(e.detail, "HTTP status 400, at query")
  t.raises({ code = "notFound" }, c.query, c, "SELECT * FROM `shop.analytics_1.events_20200101`")
  t.raises({ code = "invalidQuery" }, c.query, c, "DELETE FROM x")
end)

---- tables and days ----

t.test("tables are listed over all pages, and described", function()
  local s <const> = server.start()
  for d = 1, 9 do s.table { day = "2024-01-0" .. d, rows = d } end
  s.table { table = "events_intraday_20240110", rows = 3, streamingRows = 2, lastModifiedTime = 1704880000123 }
  local c <const> = client(s)
  local names <const> = {}
  for table in c:tables() do names[#names + 1] = table.name end
  t.equal(#names, 10)
  t.equal(names[1], "events_20240101")
  local intraday <const> = c:table "events_intraday_20240110"
  t.equal({ intraday.rows, intraday.last_modified, intraday.streaming, intraday.type }, { 1, 1704880000123, true, "TABLE" })
  t.equal(intraday.schema.fields[2], { name = "event_timestamp", type = "INTEGER", mode = "NULLABLE" })
  t.equal(c:table "events_20200101", nil)
  t.raises({ kind = "bigquery", code = "notFound" }, c.table, client(s, { dataset = "nope" }), "events_20240101")
  t.raises("no name of a table", c.table, c, "a`b")
end)

t.test("each day has its completest table, or is missing", function()
  local s <const> = server.start()
  s.table { day = "2024-01-01", rows = 1 }
  s.table { table = "events_intraday_20240101", rows = 9 }
  s.table { table = "events_intraday_20240102", rows = 2 }
  s.table { table = "events_fresh_20240103", rows = 3 }
  s.table { table = "events_intraday_20240103", rows = 9 }
  local function kinds(c, from, to, opts)
    local list <const> = {}
    for _, d in ipairs(c:days(from, to, opts)) do list[#list + 1] = d.day .. " " .. d.kind .. " " .. tostring(d.rows) end
    return list
  end
  local c <const> = client(s)
  t.equal(kinds(c, "2024-01-01", "2024-01-04"), { "2024-01-01 daily 1", "2024-01-02 intraday 2", "2024-01-03 fresh 3",
    "2024-01-04 missing nil" })
  t.equal(kinds(c, "2024-01-01", "2024-01-02", { intraday = false }), { "2024-01-01 daily 1", "2024-01-02 missing nil" })
  t.equal(kinds(c, "2024-01-01", "2024-01-02", { intraday = "only" }), { "2024-01-01 intraday 9", "2024-01-02 intraday 2" })
  s.control "clear"
  t.equal(#kinds(c, "2023-01-01", "2024-01-31"), 396)
  t.equal(#s.log "/tables$", 1)
  t.equal(#s.log "/tables/", 3)
  t.equal(c:days("2024-01-02", "2024-01-02")[1].table, "events_intraday_20240102")
  t.raises({ code = "notFound" }, c.days, client(s, { dataset = "nope" }), "2024-01-01", "2024-01-02")
end)

---- events ----

t.test("a day's events are a source of lines, without NULL members, whole and in order", function()
  local s <const> = server.start { page_rows = 30 }
  local spec <const> = s.table { day = "2024-01-05", rows = 500 }
  local source <const> = client(s):events("2024-01-05")
  t.equal({ source.uri, source.kind, source.day, source.table, source.rows }, { "bigquery://shop/analytics_1/events_20240105",
    "bigquery", "2024-01-05", "events_20240105", 500 })
  local stream <const> = source.open()
  local text <const> = drain(stream)
  same(lines(text), want(spec.rows))
  t.ok(not text:find("null", 1, true))
  t.equal({ stream.bytes, stream.rows }, { #text, 500 })
  t.equal(stream.digest, source.version)
  t.equal(stream(), nil)
end)

t.test("both ways of paging and any number of parallel pages give the same bytes", function()
  local s <const> = server.start { page_rows = 13 }
  s.table { day = "2024-01-05", rows = 200 }
  local first
  for _, paging in ipairs { "token", "range" } do
    for _, parallel in ipairs { 1, 4, 32 } do
      for _, page_rows in ipairs { 1000, 20, 5 } do
        local text <const> = drain(client(s, { paging = paging }):events("2024-01-05", { parallel = parallel,
          page_rows = page_rows }).open())
        first = first or text
        t.ok(text == first, paging .. " " .. parallel .. " " .. page_rows)
      end
    end
  end
  t.equal(#lines(first), 200)
end)

t.test("one query takes several types of events; an empty answer is no error when BigQuery says so", function()
  local s <const> = server.start()
  local spec <const> = s.table { day = "2024-01-05", rows = 100 }
  local c <const> = client(s)
  local source <const> = c:events("2024-01-05", { types = { "purchase", "view_item" } })
  same(lines(drain(source.open())), want(spec.rows, { purchase = true, view_item = true }))
  t.equal(#s.log "/jobs$", 1)
  local none <const> = c:events("2024-01-05", { types = { "no_such_event" } }).open()
  t.equal(drain(none), "")
  t.equal(none.rows, 0)
  t.raises("types is a list", c.events, c, "2024-01-05", { types = {} })
end)

t.test("NULL members stay when they are asked for, and integers beyond 2^53 are then text", function()
  local s <const> = server.start()
  s.table { day = "2024-01-05", rows = 4 }
  local row <const> = drain(client(s):events("2024-01-05", { nulls = "keep" }).open()):match("[^\n]+")
  t.match(row, '"string_value":null')
  t.match(row, '"int_value":"900719925474099%d"')
end)

t.test("older tables lack columns: what is there is read", function()
  local s <const> = server.start()
  local rows <const> = server.rows("2022-01-05", 10)
  for _, r in ipairs(rows) do r.is_active_user = nil end
  s.table { day = "2022-01-05", schema = server.old_schema, rows = rows }
  s.table { day = "2024-01-05", rows = 10 }
  local c <const> = client(s)
  same(lines(drain(c:events("2022-01-05").open())), want(rows))
  local columns <const> = { "event_name", "is_active_user" }
  t.equal(lines(drain(c:events("2022-01-05", { columns = columns }).open()))[1], { event_name = "purchase" })
  t.equal(lines(drain(c:events("2024-01-05", { columns = columns }).open()))[1], { event_name = "purchase", is_active_user = false })
  t.ok(c:events("2024-01-05", { columns = columns }).estimate().bytes < c:events("2024-01-05").estimate().bytes / 5)
end)

t.test("a day without a table is an error, intraday tables serve until the daily one is there", function()
  local s <const> = server.start()
  s.table { table = "events_intraday_20240106", rows = server.rows("2024-01-06", 5), streamingRows = 5 }
  local c <const> = client(s)
  local e <const> = t.raises({ kind = "bigquery", code = "notFound" }, c.events, c, "2024-01-05")
  t.match(e.message, "no table of events for 2024%-01%-05")
  local source <const> = c:events("2024-01-06")
  t.equal(source.table_kind, "intraday")
  t.equal(#lines(drain(source.open())), 5)
  t.raises({ code = "notFound" }, c.events, c, "2024-01-06", { intraday = false })
  s.table { day = "2024-01-06", rows = 6 }
  t.equal(c:events("2024-01-06").uri, "bigquery://shop/analytics_1/events_20240106")
end)

t.test("the digest is known before reading and changes with the table and with what is wanted of it", function()
  local s <const> = server.start()
  local spec <const> = s.table { day = "2024-01-05", rows = 10, lastModifiedTime = 1704880000000 }
  local c <const> = client(s)
  local before <const> = c:events("2024-01-05").version
  t.equal(c:events("2024-01-05").version, before)
  t.equal(c:events("2024-01-05").mtime_ns, 1704880000000000000)
  t.equal(c:events("2024-01-05", { types = { "b", "a" } }).version, c:events("2024-01-05", { types = { "a", "b" } }).version)
  t.ok(c:events("2024-01-05", { types = { "a" } }).version ~= before)
  local stale <const> = c:events("2024-01-05")
  spec.lastModifiedTime = 1704890000000
  s.control("tables", spec)
  t.ok(c:events("2024-01-05").version ~= before)
  -- A table that was replaced meanwhile has been read whole, but nobody knows as of when: it must be read again.
  local stream <const> = stale.open()
  t.equal(#lines(drain(stream)), 10)
  t.ok(stream.digest ~= before and stream.digest ~= c:events("2024-01-05").version)
end)

t.test("a slow reader makes the download wait", function()
  local s <const> = server.start { page_rows = 10, gzip = false }
  local rows <const> = server.rows("2024-01-05", 100)
  for _, r in ipairs(rows) do r.user_pseudo_id = ("x"):rep(20000) end
  s.table { day = "2024-01-05", rows = rows, ["repeat"] = 20 }
  local stream <close> = client(s):events("2024-01-05", { parallel = 2, page_rows = 500 }).open()
  t.ok(stream())
  require("garun.task").sleep(0.3)
  t.ok(#s.log "/queries/" <= 90, "of 200 pages, each of 200 kB")
end)

t.test("a load takes a day of BigQuery as it takes a file: rows with one line each, counted by the server", function()
  local s <const> = server.start { page_rows = 30 }
  local spec <const> = s.table { day = "2024-01-05", rows = 300 }
  local at <const> = t.postgres()
  local pg <const>, pipeline <const> = require "garun.pg", require "garun.pipeline"
  local db <close> = pg.connect(at)
  db:exec "create table event (day date, at bigint, name text, session bigint, title text, score float8, document jsonb)"
  local function param(key, field) return "event_params[key=" .. key .. "].value." .. field end
  local c <const> = client(s, { bucket = "transfer" })
  s.control("settings", { buckets = { "transfer" }, shard_rows = 70 })
  for _, via in ipairs { "query", "extract" } do
    local result <const> = pipeline.load { db = db, from = c:events("2024-01-05", { via = via }), mapping = pipeline.mapping {
      table = "event", columns = { day = "event_date", at = "event_timestamp:number", name = "event_name",
        session = param("ga_session_id", "int_value:number"), title = param("page_title", "string_value"),
        score = param("score", "double_value:number"), document = pipeline.record } } }
    t.equal({ result.lines, result.loaded, result.rejected }, { 300, 300, 0 })
    for i, r in ipairs(db:query "select *, document #>> '{items,0,price}' as price from event order by at") do
      local given <const> = spec.rows[i]
      t.equal({ tostring(r.day), r.at, r.name, tostring(r.session), r.title, r.score, tonumber(r.price) }, { "2024-01-05",
        given.event_timestamp, given.event_name, given.event_params[2].value.int_value, given.event_params[1].value.string_value,
        i / 4, given.items[1] and 12.5 }, via .. " " .. i)
    end
    db:exec "truncate event"
  end
end)

---- extract ----

t.test("an extract reads the same events by files of Cloud Storage and leaves none behind", function()
  local s <const> = server.start { shard_rows = 70, buckets = { "transfer" }, polls = 3 }
  local spec <const> = s.table { day = "2024-01-05", rows = 300 }
  local c <const> = client(s, { bucket = "gs://transfer/nightly/" })
  local source <const> = c:events("2024-01-05", { via = "extract" })
  t.equal(source.estimate(), { bytes = 0, cost = 0.0 })
  local stream <const> = source.open()
  local got <const> = lines(drain(stream))
  t.equal(#got, 300)
  for i, row in ipairs(got) do
    t.equal({ row.event_name, row.event_timestamp }, { spec.rows[i].event_name, tostring(spec.rows[i].event_timestamp) })
  end
  t.equal({ stream.rows, stream.digest }, { 300, c:events("2024-01-05").version })
  t.match(s.log("/jobs$")[1].body.configuration.extract.destinationUris[1], "^gs://transfer/nightly/garun_events_20240105_")
  t.equal(#s.log("/o/.*json", "DELETE"), 5)
  t.equal(s.control "objects", {})
  t.raises("needs the option bucket", client(s).events, client(s), "2024-01-05", { via = "extract" })
  t.raises("types and columns are for queries", c.events, c, "2024-01-05", { via = "extract", types = { "x" } })
  local wrong <const> = client(s, { bucket = "elsewhere" })
  t.raises({ code = "notFound" }, function() drain(wrong:events("2024-01-05", { via = "extract" }).open()) end)
end)

---- accounts ----

local function account(s, key_pem, public)
  s.control("accounts", { email = "garun@shop.iam.gserviceaccount.com", public_key = public })
  return { type = "service_account", project_id = "shop", private_key_id = "k1", private_key = key_pem,
    client_email = "garun@shop.iam.gserviceaccount.com", token_uri = s.url .. "/token" }
end

t.test("a service account's token is signed, kept for all clients, and renewed before it ends and once after a 401", function()
  local s <const> = server.start { auth = true }
  s.table { day = "2024-01-05", rows = 3 }
  local key <const>, public <const> = server.new_key()
  local credentials <const> = account(s, key, public)
  local a <const> = client(s, { credentials = credentials })
  local b <const> = bigquery.client { dataset = "analytics_1", credentials = json.encode(credentials), endpoint = s.url }
  local sql <const> = "SELECT event_name FROM `shop.analytics_1.events_20240105`"
  require("garun.task").map({ a, b, a, b }, function(c) t.equal(#c:query(sql):all(), 3) end)
  t.equal(#s.log "/token", 1)
  s.control "expire"
  t.equal(#a:query(sql):all(), 3)
  t.equal(#s.log "/token", 2)
  s.control("settings", { token_seconds = 1 })
  s.control "expire"
  t.equal(#a:query(sql):all(), 3)
  require("garun.task").sleep(0.6)
  t.equal(#a:query(sql):all(), 3)
  t.equal(#s.log "/token", 4)
  s.fault { path = "/queries$", kind = "status", status = 401, reason = "authError", n = 2 }
  local e <const> = t.raises({ kind = "bigquery", code = "authError", retryable = false }, a.query, a, sql)
  t.match(e.hint, "account and its key")
  t.equal(a:check().location, "US")
  b:close()
end)

t.test("a key that Google does not accept is an error without secrets", function()
  local s <const> = server.start { auth = true }
  local _ <const>, other <const> = server.new_key()
  local key <const> = server.new_key()
  local c <const> = client(s, { credentials = account(s, key, other) })
  local e <const> = t.raises({ kind = "bigquery", code = "invalid_grant", retryable = false }, c.table, c, "x")
  t.match(e.message, "token for garun@shop.*Invalid JWT Signature")
  t.match(e.hint, "clock")
  local line <const> = key:match("\n([%w+/]+)\n")
  t.ok(not tostring(e):find(line, 1, true))
  t.ok(not log.redact("x " .. key .. " y"):find(line, 1, true))
  for _, bad in ipairs { "{", "[]", '{"type":"service_account"}', '{"type":"external_account"}' } do
    t.raises({ kind = "bigquery", code = "credentials" }, bigquery.client, { project = "p", credentials = bad })
  end
  t.raises({ code = "credentials" }, bigquery.client, { project = "p", credentials = "/nowhere/key.json" })
  t.raises("https only", bigquery.client, { project = "p", endpoint = "http://example.com", credentials = {
    type = "authorized_user", client_id = "i", client_secret = "secret", refresh_token = "refresh" } })
end)

t.test("gcloud's user credentials and the metadata server give tokens; the environment names both, and the emulator", function()
  local s <const> = server.start { auth = true }
  s.table { day = "2024-01-05", rows = 3 }
  s.control("accounts", { client_id = "id", client_secret = "secret", refresh_token = "refresh" })
  local user <const> = { type = "authorized_user", client_id = "id", client_secret = "secret", refresh_token = "refresh",
    token_uri = s.url .. "/token", quota_project_id = "payer" }
  t.equal(client(s, { credentials = user }):table("events_20240105").rows, 3)
  t.equal(s.log("/tables/")[1].headers["x-goog-user-project"], "payer")
  user.refresh_token = "revoked"
  local c <const> = client(s, { credentials = user })
  t.raises({ code = "invalid_grant" }, c.table, c, "events_20240105")

  local script <const> = string.format('local c = require("garun.bigquery").client { project = "shop", dataset = "analytics_1", '
    .. 'endpoint = os.getenv("ENDPOINT") } print(c:table("events_20240105").rows, c.paging, c.nulls)')
  local function run(env)
    env.HOME = t.tmpdir()
    local r <const> = t.run { "garun", "--env", "/dev/null", "-e", script, env = env }
    return r.status == 0 and r.stdout or r.stderr
  end
  user.refresh_token = "refresh"
  local path <const> = t.tmpdir() .. "/adc.json"
  require("garun.fs").write(path, json.encode(user))
  t.equal(run { ENDPOINT = s.url, GOOGLE_APPLICATION_CREDENTIALS = path }, "3\trange\tstrip\n")
  t.equal(run { ENDPOINT = s.url, GCE_METADATA_HOST = s.authority }, "3\trange\tstrip\n")
  t.equal(#s.log "/computeMetadata/", 1)
  t.match(run { ENDPOINT = s.url }, "no credentials for BigQuery")
  s.control("settings", { auth = false })
  t.equal(run { BIGQUERY_EMULATOR_HOST = s.authority }, "3\ttoken\tkeep\n")
end)

t.test("options of a client are checked", function()
  for text, opts in pairs {
    ["unknown option 'projekt'"] = { projekt = "p" },
    ["project is the id"] = { credentials = false },
    ["dataset is a name"] = { project = "p", credentials = false, dataset = "a b" },
    ["endpoint is a URL"] = { project = "p", credentials = false, endpoint = "localhost" },
    ["label Team"] = { project = "p", credentials = false, labels = { Team = "x" } },
    ["maximum_bytes_billed"] = { project = "p", credentials = false, maximum_bytes_billed = 1.5 },
    ["retries is a number from 0"] = { project = "p", credentials = false, retries = -1 },
    ["bucket is the name"] = { project = "p", credentials = false, bucket = "gs://A B" },
    ["paging is"] = { project = "p", credentials = false, paging = "x" },
  } do t.raises(text, bigquery.client, opts) end
  local s <const> = server.start()
  s.table { day = "2024-01-05", rows = 3, project = "data-owner" }
  local c <const> = client(s, { dataset = "data-owner.analytics_1" })
  t.equal(tostring(c), "bigquery.client(data-owner.analytics_1)")
  t.equal(#lines(drain(c:events("2024-01-05").open())), 3)
  t.equal(s.log("/jobs$")[1].path, "/projects/shop/jobs")
end)

---- the server itself ----

t.test("Google's own Node client reads from the fixture server", function()
  local modules <const> = os.getenv "NODE_PATH"
  if not modules then t.skip "no NODE_PATH with @google-cloud/bigquery" end
  local found <const>, r = pcall(proc.run, { "node", "-e", "require.resolve('@google-cloud/bigquery')", env = { NODE_PATH = modules } })
  if not found or r.status ~= 0 then t.skip "node does not find @google-cloud/bigquery" end
  local s <const> = server.start()
  r = t.run { "node", config.path "tests/server/bigquery_node_check.js", s.url,
    env = { NODE_PATH = modules, METADATA_SERVER_DETECTION = "none" } }
  t.equal(r.stdout .. r.stderr, "ok\n")
end)
