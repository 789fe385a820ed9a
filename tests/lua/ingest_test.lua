local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local json <const> = require "garun.json"
local s <const> = require "support"
local t <const> = require "garun.test"

local event <const> = s.event

-- Sums a manifest over its files.
local function expected(manifest)
  local sum <const> = { rows = {} }
  for _, f in pairs(manifest.files) do
    for _, k in ipairs { "lines", "other_events", "duplicates", "rejected", "repaired", "cut", "nulled", "out_of_range" } do
      sum[k] = (sum[k] or 0) + f[k]
    end
    for name, n in pairs(f.rows) do sum.rows[name] = (sum.rows[name] or 0) + n end
  end
  return sum
end

local function check(got, want)
  for _, k in ipairs { "lines", "other_events", "duplicates", "rejected", "repaired", "cut", "nulled", "out_of_range" } do
    t.equal(got[k], want[k], k)
  end
  for _, name in ipairs(s.tables) do t.equal(got[name], want.rows[name] or 0, name) end
end

t.test("dirty days load to exactly the numbers that their generator counted, twice the same", function()
  local db <const> = s.tenant()
  local dir <const>, manifest <const> = s.events { days = 3, gzip = true }
  local files <const> = dir .. "/events_*.ndjson.gz"
  check(db.ingest { "--source", files }, expected(manifest))
  local conn <close> = db.connect()
  local before <const> = s.fingerprint(conn)
  local again <const> = db.ingest { "--source", files }
  t.equal(again.unchanged, 3)
  check(again, expected(manifest))
  check(db.ingest { "--source", files, "--force" }, expected(manifest))
  t.equal(s.fingerprint(conn), before)
  for _, name in ipairs(s.tables) do
    t.equal(db.value("select count(*) from " .. name), expected(manifest).rows[name] or 0, name)
  end
end)

t.test("the same events through one pipe give the same rows", function()
  local db <const> = s.tenant()
  local dir <const>, manifest <const> = s.events { days = 2 }
  db.ingest { "--source", dir .. "/events_*.ndjson" }
  local conn <close> = db.connect()
  local before <const> = s.fingerprint(conn)
  local all <const> = {}
  for _, path in ipairs(fs.glob(dir .. "/events_*.ndjson")) do all[#all + 1] = fs.read(path) end
  check(db.ingest { "--source", "-", stdin = table.concat(all) }, expected(manifest))
  t.equal(s.fingerprint(conn), before)
end)

t.test("the real samples are accounted for line by line, integers exact", function()
  local dir <const> = s.samples()
  local db <const> = s.tenant()
  for name, lines in pairs { ["ga4-web-2020"] = 471, ["ga4-app-2018a"] = 380 } do
    local r <const> = db.ingest { "--source", dir .. "/" .. name .. ".ndjson.gz" }
    t.equal(r.lines, lines, name)
    local loaded = 0
    for _, tab in ipairs(s.tables) do loaded = loaded + r[tab] end
    t.equal(loaded + r.other_events + r.duplicates + r.rejected + r.out_of_range, lines, name)
    t.equal(r.rejected, 0, name)
  end
  -- every integer of every stored event is as it stands in the file
  local conn <close> = db.connect()
  local want <const>, got <const> = {}, {}
  for line in fs.lines(gzip.reader(fs.source(dir .. "/ga4-web-2020.ndjson.gz"))) do
    local e <const> = json.decode(line)
    if e.event_name == "page_view" then want[#want + 1] = e.event_bundle_sequence_id .. " " .. e.event_timestamp end
  end
  for row in conn:rows "select raw_data->>'event_bundle_sequence_id' || ' ' || event_timestamp as v from page_view" do
    got[#got + 1] = row.v
  end
  table.sort(want)
  table.sort(got)
  t.equal(got, want)
end)

t.test("columns hold what domain.md says, in every encoding of the export", function()
  local db <const> = s.tenant()
  local path <const> = s.file {
    [[{"event_date":"20240105","event_timestamp":"1704412800000001","event_name":"purchase","user_pseudo_id":"1.2",]]
      .. [["user_properties":[{"key":"WebUserId","value":{"string_value":null,"int_value":"4711"}},{"key":"DEFAULT_BRANCH_ID","value":{"string_value":"D01"}}],]]
      .. [["event_params":[{"value":{"int_value":"1704412000"},"key":"ga_session_id"},{"key":"page_title","value":{"string_value":"a\u003cb \"q\" \\ \ud83d\ude00"}},{"key":"value","value":{"double_value":"16.0"}}],]]
      .. [["ecommerce":{"transaction_id":"T1","purchase_revenue":null},"items":[{"item_id":"00123","price":"1.5","quantity":"2"}],]]
      .. [["device":{"category":"desktop","operating_system":"Web"},"geo":{"country":"US","city":""},"big":9007199254740993,"nothing":null}]],
    [[{"event_date":"20240105","event_timestamp":1704412800000002,"event_name":"view_item","event_params":[{"key":"ga_session_id","value":{"double_value":123.0}}]}]],
    [[{"event_date":"20240105","event_timestamp":1704412800000003,"event_name":"view_search_results_no_results","event_params":[{"key":"search_term","value":{"string_value":"bolt"}}]}]],
  }
  db.ingest { "--source", path }
  local conn <close> = db.connect()
  local p <const> = conn:one "select *, event_date::text as event_date_text from purchase"
  t.equal(p.event_timestamp, "1704412800000001")
  t.equal(p.user_prop_webuserid, "4711")
  t.equal(p.user_prop_default_branch_id, "D01")
  t.equal(p.param_ga_session_id, "1704412000")
  t.equal(p.param_transaction_id, "T1")
  t.equal(p.param_page_title, "a<b \"q\" \\ \u{1F600}")
  t.equal(p.ecommerce_purchase_revenue, "16.00")
  t.equal(p.geo_city, "")
  t.equal(p.items_json, json.array { { item_id = "00123", price = "1.5", quantity = "2" } })
  t.equal(conn:value "select raw_data->>'big' from purchase", "9007199254740993")
  t.equal(conn:value "select raw_data ? 'nothing' from purchase", false, "null members are left out")
  local v <const> = conn:one "select * from view_item"
  t.equal(v.param_ga_session_id, "123", "a whole double has no .0")
  t.equal(v.items_json, json.array {})
  t.equal(v.user_pseudo_id, nil)
  t.equal(conn:value "select param_no_search_results_term from no_search_results", "bolt")
end)

t.test("every line that cannot be stored is a reject with its place and reason, and the rest loads", function()
  local db <const> = s.tenant()
  local bad <const> = {
    event(), "{broken", "[1]", event { event_date = false }, event { event_date = "20240230" }, event { event_name = false },
    event { user_pseudo_id = ("x"):rep(256) }, "", "   ", event { event_timestamp = 2 },
    '{"event_date":"20240101","event_name":"page_view","x":"\\q"}', '{"event_date":"20240101"}\r',
  }
  local r <const> = db.ingest { "--source", s.file(bad) }
  t.equal(r.lines, 10)
  t.equal(r.page_view, 2)
  t.equal(r.rejected, 8)
  local conn <close> = db.connect()
  local rows <const> = conn:query "select line, byte_offset, code, reason, raw from garun.rejects order by line"
  local at <const> = {}
  for i, row in ipairs(rows) do
    at[i] = row.line
    t.equal(row.raw, (bad[row.line]:gsub("\r$", "")), "raw of line " .. row.line)
    t.ok(#row.reason > 5)
  end
  t.equal(at, { 2, 3, 4, 5, 6, 7, 11, 12 })
  t.equal(rows[1].byte_offset, #bad[1] + 1)
  -- and in the file of rejects
  local list <const> = db.garun { "rejects", "list" }
  t.match(list.stdout, "events.ndjson:2  ")
  t.match(db.garun({ "rejects", "show", tostring(conn:value "select min(id) from garun.rejects") }).stdout, "{broken")
end)

t.test("the reject file holds what the table holds", function()
  local db <const> = s.tenant()
  local var <const> = t.tmpdir()
  local path <const> = s.file { event(), "{broken \xff", "[1]" }
  db.ingest { "--source", path, env = { GARUN_VAR = var } }
  local files <const> = fs.glob(var .. "/rejects/*.ndjson")
  t.equal(#files, 1)
  local lines <const> = {}
  for line in fs.read(files[1]):gmatch("[^\n]+") do lines[#lines + 1] = json.decode(line) end
  t.equal(#lines, 2)
  t.equal(lines[1].line, 2)
  t.equal(lines[1].source, path)
  t.equal(lines[2].raw, "[1]")
end)

t.test("a load of the same source replaces its rejects, it does not add to them", function()
  local db <const> = s.tenant()
  local path <const> = s.file { event(), "{broken" }
  db.ingest { "--source", path }
  db.ingest { "--source", path, "--force" }
  t.equal(db.value "select count(*) from garun.rejects", 1)
end)

t.test("rejects are replayed once what was wrong is mended, and nothing is stored twice", function()
  local db <const> = s.tenant()
  local long <const> = event { user_pseudo_id = ("x"):rep(300) }
  db.ingest { "--source", s.file { event(), long, "{broken" } }
  t.match(db.garun({ "rejects", "replay" }).stdout, "2 lines: 0 stored, 0 there already, 0 of other events, 2 rejected again")
  local conn <close> = db.connect()
  conn:exec "alter table page_view alter user_pseudo_id type varchar(400)"
  t.match(db.garun({ "rejects", "replay" }).stdout, "2 lines: 1 stored, 0 there already, 0 of other events, 1 rejected again")
  t.equal(conn:value "select count(*) from page_view", 2)
  t.match(db.garun({ "rejects", "replay" }).stdout, "1 lines: 0 stored")
  t.equal(conn:value "select count(*) from page_view", 2)
  t.equal(conn:value "select replayed from garun.days", 1)
end)

t.test("a load that is mostly rejects stops, changes nothing and says so with exit code 3", function()
  local db <const> = s.tenant()
  local lines <const> = { event() }
  for i = 2, 1200 do lines[i] = "{broken " .. i end
  local r <const> = db.garun { "ingest.lua", "--source", s.file(lines) }
  t.equal(r.status, 3)
  t.match(r.stderr, "1199 of 1200 lines were rejected.*nothing was committed.*the first one: .*events.ndjson line 2")
  t.equal(db.value "select count(*) from page_view", 0)
  t.equal(db.value "select status from processing_jobs", "failed")
  t.equal(db.ingest({ "--source", s.file(lines), "--max-rejects", "5000" }).page_view, 1)
  local only <const> = db.garun { "ingest.lua", "--source", s.file { "nonsense" } }
  t.equal(only.status, 3, "nothing but rejects")
end)

t.test("a day keeps the first of two equal events; without batch ids only identical ones are equal", function()
  local db <const> = s.tenant()
  local r <const> = db.ingest { "--source", s.file {
    event { batch_page_id = 1, batch_ordering_id = 1, batch_event_index = 1, device = { category = "first" } },
    event { batch_page_id = 1, batch_ordering_id = 1, batch_event_index = 1, device = { category = "second" } },
    event { batch_page_id = 1, batch_ordering_id = 1, batch_event_index = 2 },
    event { event_date = "20240102", batch_page_id = 1, batch_ordering_id = 1, batch_event_index = 1 },
    event { event_timestamp = 5 }, event { event_timestamp = 5 }, event { event_timestamp = 5, x = 1 },
  } }
  t.equal(r.duplicates, 2)
  t.equal(r.page_view, 5)
  t.equal(db.value "select count(*) from page_view where device_category = 'second'", 0)
end)

t.test("--from and --to bound what is read, counted and replaced", function()
  local db <const> = s.tenant()
  local path <const> = s.file { event { event_date = "20240101" }, event { event_date = "20240102" }, event { event_date = "20240103" } }
  db.ingest { "--source", path }
  local r <const> = db.ingest { "--source", path, "--from", "2024-01-02", "--to", "2024-01-02", "--force" }
  t.equal(r.page_view, 1)
  t.equal(r.out_of_range, 2)
  t.equal(db.value "select count(*) from page_view", 3)
end)

t.test("a wider range makes a reload due although the file is the same", function()
  local db <const> = s.tenant()
  local path <const> = s.file { event { event_date = "20240101" }, event { event_date = "20240102" } }
  db.ingest { "--source", path, "--from", "2024-01-02", "--to", "2024-01-02" }
  t.equal(db.ingest({ "--source", path }).unchanged, 0)
  t.equal(db.value "select count(*) from page_view", 2)
end)

t.test("a day without events becomes empty only when the source is said to be complete", function()
  local db <const> = s.tenant()
  db.ingest { "--source", s.file { event { event_date = "20240101" }, event { event_date = "20240102" } } }
  local path <const> = s.file { event { event_date = "20240102" } }
  db.ingest { "--source", path, "--from", "2024-01-01", "--to", "2024-01-02" }
  t.equal(db.value "select count(*) from page_view", 2)
  db.ingest { "--source", path, "--from", "2024-01-01", "--to", "2024-01-02", "--allow-empty", "--force" }
  t.equal(db.value "select count(*) from page_view", 1)
  t.equal(db.value "select total from garun.days where day = '2024-01-01'", 0)
end)

t.test("a type that a new load of the day does not bring is gone", function()
  local db <const> = s.tenant()
  db.ingest { "--source", s.file { event(), event { event_name = "view_item", event_timestamp = 3 } } }
  db.ingest { "--source", s.file { event() } }
  t.equal(db.value "select count(*) from view_item", 0)
  t.equal(db.value "select count(*) from page_view", 1)
end)

t.test("far fewer rows than before stop the load until a person allows it", function()
  local db <const> = s.tenant()
  local many <const>, few <const> = {}, {}
  for i = 1, 200 do many[i] = event { event_timestamp = i } end
  for i = 1, 40 do few[i] = many[i] end
  db.ingest { "--source", s.file(many) }
  local path <const> = s.file(few)
  local r <const> = db.garun { "ingest.lua", "--source", path }
  t.equal(r.status, 3)
  t.match(r.stderr, "2024%-01%-01 would have 40 rows instead of 200; nothing was committed.*%-%-max%-shrink 80")
  t.equal(db.value "select count(*) from page_view", 200)
  db.ingest { "--source", path, "--max-shrink", "80" }
  t.equal(db.value "select count(*) from page_view", 40)
end)

t.test("a file named for one day that holds another loads all the same, in one transaction", function()
  local db <const> = s.tenant()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/events_20240101.ndjson", event { event_date = "20240101" } .. "\n" .. event { event_date = "20240102" } .. "\n")
  fs.write(dir .. "/events_20240102.ndjson", event { event_date = "20240102", event_timestamp = 9 } .. "\n")
  local r <const> = db.ingest { "--source", dir .. "/events_*.ndjson" }
  t.equal(r.page_view, 3)
  t.equal(db.value "select count(*) from page_view where event_date = '2024-01-02'", 2)
end)

t.test("shards of one day are one load", function()
  local db <const> = s.tenant()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/events_20240101-000000000000.json.gz", gzip.compress(event { event_timestamp = 1 } .. "\n"))
  fs.write(dir .. "/events_20240101-000000000001.json.gz", gzip.compress(event { event_timestamp = 2 } .. "\n"))
  local r <const> = db.ingest { "--source", dir .. "/*" }
  t.equal(r.loads, 1)
  t.equal(db.value "select count(*) from page_view", 2)
end)

t.test("encodings: BOM, CRLF, empty lines, NUL, surrogates, broken UTF-8, no line end at the end", function()
  local db <const> = s.tenant()
  local function titled(ts, title)
    return '{"event_date":"20240101","event_timestamp":' .. ts .. ',"event_name":"page_view","event_params":[{"key":"page_title","value":{"string_value":"' .. title .. '"}}]}'
  end
  local r <const> = db.ingest { "--source", s.file("\xEF\xBB\xBF" .. titled(1, "bom") .. "\r\n\r\n\n" .. titled(2, "a\\u0000b")
    .. "\n" .. titled(3, "c\\ud800d") .. "\n" .. titled(4, "e\xff\xfef") .. "\n" .. titled(5, "last")) }
  t.equal(r.lines, 5)
  t.equal(r.page_view, 5)
  t.equal(r.repaired, 3)
  local conn <close> = db.connect()
  local titles <const> = {}
  for row in conn:rows "select param_page_title as v from page_view order by event_timestamp" do titles[#titles + 1] = row.v end
  t.equal(titles, { "bom", "a\u{FFFD}b", "c\u{FFFD}d", "e\u{FFFD}\u{FFFD}f", "last" })
end)

t.test("a line of 16 MiB loads; a longer one is a reject and its neighbours load", function()
  local db <const> = s.tenant()
  local function big(n)
    local head <const> = '{"event_date":"20240101","event_timestamp":7,"event_name":"page_view","x":"'
    return head .. ("y"):rep(n - #head - 2) .. '"}'
  end
  local r <const> = db.ingest { "--source", s.file { event(), big(16 << 20), event { event_timestamp = 8 }, big((16 << 20) + 4096),
    event { event_timestamp = 9 } } }
  t.equal(r.page_view, 4)
  t.equal(r.rejected, 1)
  t.equal(db.value "select line from garun.rejects", 4)
  t.equal(db.value "select length(raw_data->>'x') from page_view where event_timestamp = '7'", (16 << 20) - 77)
end)

t.test("several members in one gzip file are all read", function()
  local db <const> = s.tenant()
  local path <const> = s.file(gzip.compress(event { event_timestamp = 1 } .. "\n") .. gzip.compress(event { event_timestamp = 2 } .. "\n"), "e.gz")
  t.equal(db.ingest({ "--source", path }).page_view, 2)
end)

t.test("the job's row tells what happened, in the keys of database.md", function()
  local db <const> = s.tenant()
  local r <const> = db.ingest { "--source", s.file { event(), event { event_name = "purchase" } }, "--from", "2024-01-01", "--to", "2024-01-02" }
  local conn <close> = db.connect()
  local j <const> = conn:one "select *, start_date::text as s, end_date::text as e from processing_jobs"
  t.equal(j.job_id, r.job_id)
  t.equal(j.status, "completed")
  t.equal(j.data_types, json.array { "events" })
  t.equal({ j.s, j.e }, { "2024-01-01", "2024-01-02" })
  t.equal(j.records_processed.page_view, 1)
  t.equal(j.records_processed.purchase, 1)
  t.equal(j.records_processed.view_item, 0)
  t.ok(j.started_at and j.completed_at)
  t.equal(j.progress.lines, 2)
  local l <const> = conn:one "select source_kind, lines, rows_loaded, first_day::text as d, job_id from garun.loads"
  t.equal(l, { source_kind = "file", lines = 2, rows_loaded = 2, d = "2024-01-01", job_id = j.id })
end)

t.test("a dry run counts and changes nothing", function()
  local db <const> = s.tenant()
  local r <const> = db.ingest { "--source", s.file { event(), "{broken", event { event_name = "scroll" } }, "--dry-run" }
  t.equal({ r.page_view, r.rejected, r.other_events, r.lines }, { 1, 1, 1, 3 })
  for _, name in ipairs { "page_view", "processing_jobs", "garun.loads", "garun.rejects", "garun.days" } do
    t.equal(db.value("select count(*) from " .. name), 0, name)
  end
end)

t.test("the tenant: the only active one, by name, or an error that lists them", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local path <const> = s.file { event() }
  conn:exec "insert into tenant_config (name, postgres_config) values ('zenith', '{}')"
  local r = db.garun { "ingest.lua", "--source", path }
  t.equal(r.status, 2)
  t.match(r.stderr, "which tenant.*active tenants: acme, zenith")
  r = db.garun { "ingest.lua", "--source", path, "--tenant", "nobody" }
  t.match(r.stderr, "no tenant is called 'nobody'")
  db.ingest { "--source", path, "--tenant", "zenith" }
  t.equal(conn:value "select t.name from page_view p join tenant_config t on t.id = p.tenant_id", "zenith")
  conn:exec "update tenant_config set is_active = false where name = 'acme'"
  db.ingest { "--source", path, "--force" }
end)

t.test("usage errors are told with exit code 2", function()
  local db <const> = s.tenant()
  for args, pattern in pairs {
    [{}] = "neither BigQuery nor SFTP is configured",
    [{ "--sources", "x" }] = "unknown option %-%-sources; did you mean %-%-source",
    [{ "--source", "x", "--from", "20240101" }] = "%-%-from takes a date, YYYY%-MM%-DD, got '20240101'",
    [{ "--source", "x", "--from", "2024-02-02", "--to", "2024-01-01" }] = "%-%-to is before %-%-from",
    [{ "--source", "x", "--types", "evnts" }] = "there is no 'evnts'",
    [{ "--source", "x", "--jobs", "0" }] = "%-%-jobs takes a number",
  } do
    table.insert(args, 1, "ingest.lua")
    local r <const> = db.garun(args)
    t.equal(r.status, 2, pattern)
    t.match(r.stderr, pattern)
  end
end)

t.test("replay derives the columns again, and gives the same rows when nothing changed", function()
  local db <const> = s.tenant()
  local dir <const> = s.events { days = 2 }
  db.ingest { "--source", dir .. "/events_*.ndjson" }
  local conn <close> = db.connect()
  local before <const> = s.fingerprint(conn)
  conn:exec "update page_view set param_page_title = 'spoilt', geo_city = null"
  conn:exec "update purchase set items_json = '[]', ecommerce_purchase_revenue = 0"
  t.ok(s.fingerprint(conn) ~= before)
  local r <const> = db.garun { "replay" }
  t.equal(r.status, 0, r.stderr)
  t.equal(s.fingerprint(conn), before)
  t.equal(db.ingest({ "--source", dir .. "/events_*.ndjson" }).unchanged, 2, "and the ledger knows that it is the same load")
end)

t.test("replay with another mapping moves events between tables, or refuses to lose them", function()
  local db <const> = s.tenant()
  db.ingest { "--source", s.file { event(), event { event_name = "no_search_results", event_timestamp = 2 } } }
  local text <const> = fs.read(require("garun.config").path "scripts/mappings/ga4.lua")
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/moved.lua", (text:gsub('\n    no_search_results = "no_search_results"', '\n    no_search_results = "view_search_results"')))
  fs.write(dir .. "/lost.lua", (text:gsub('\n    no_search_results = "no_search_results",', "")))
  local r = db.garun { "replay", "--mapping", dir .. "/lost.lua" }
  t.equal(r.status, 3)
  t.match(r.stderr, "leaves 1 of them out; nothing was committed")
  r = db.garun { "replay", "--mapping", dir .. "/moved.lua" }
  t.equal(r.status, 0, r.stderr)
  t.equal(db.value "select count(*) from view_search_results", 1)
  t.equal(db.value "select count(*) from no_search_results", 0)
end)
