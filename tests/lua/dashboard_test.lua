-- scripts/dashboard.lua and garun.terminal: the numbers are the function's and the generator's, changes are right, lines
-- fit, and strangers' text does nothing to the terminal.

local analytics <const> = require "garun.analytics"
local fs <const> = require "garun.fs"
local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local printable <const> = require "garun.printable"
local s <const> = require "support"
local t <const> = require "garun.test"
local terminal <const> = require "garun.terminal"
local time <const> = require "garun.time"

-- Runs the dashboard; args may have env. Its text, or its JSON with json = true.
local function dashboard(db, args)
  args = args or {}
  local command <const> = { "dashboard.lua", env = args.env or { COLUMNS = "100" } }
  for _, a in ipairs(args) do command[#command + 1] = a end
  if args.json then command[#command + 1] = "--json" end
  local r <const> = db.garun(command)
  t.equal(r.status, 0, r.stderr)
  t.equal(r.stderr, "")
  t.ok(utf8.len(r.stdout), "the output is UTF-8")
  t.ok(not r.stdout:find "[\1-\9\11-\31\127]", "the output holds no control character")
  if args.json then return json.decode(r.stdout, { nulls = true }), r.stdout end
  return r.stdout
end

local function refused(db, pattern, ...)
  local r <const> = db.garun { "dashboard.lua", ... }
  t.equal(r.status, 2, r.stderr)
  t.equal(r.stdout, "")
  t.match(r.stderr, pattern)
end

-- A shop with hostile events; also what hostile.make made.
local function hostile_shop(seed, count)
  local data <const> = hostile.make { seed = seed, from = "2024-03-25", days = 12, events = count or 900, zone = "UTC" }
  local db <const> = s.tenant()
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  for _, l in ipairs(data.locations) do
    conn:exec("insert into locations (tenant_id, location_id, location_name, city, state) select id, $1, $2, $3, $4 from tenant_config",
      l.location_id, l.location_name, l.city, l.state)
  end
  local lines <const> = {}
  for i, e in ipairs(data.events) do lines[i] = json.encode(e) end
  db.ingest { "--source", s.file(lines) }
  return db, conn, conn:value "select id from tenant_config"
end

local function add_orders(conn, rows)
  for _, r in ipairs(rows) do
    conn:exec([[insert into purchase (tenant_id, event_date, event_timestamp, param_transaction_id, ecommerce_purchase_revenue,
        items_json) select id, $1::date, extract(epoch from $1::timestamp)::bigint::text || '000000', $2, $3, $4
        from tenant_config]], r[1], r[2], r[3], pg.json(json.array(r[4] or {})))
  end
end

---- garun.terminal ----

t.test("text is shown without what could act on the terminal", function()
  t.equal(printable "a\27[2Jb", "a\\x1B[2Jb")
  t.equal(printable "x\u{202E}y\u{200B}\r\n\t\0\u{9b}", "x\\u{202E}y\\u{200B}\\x0D\\x0A\\x09\\x00\\u{009B}")
  t.equal(printable "R\xe9g\xc3", "R\\xE9g\\xC3")
  t.equal(printable "\u{AD}\u{206F}\u{FFF9}\u{E0041}", "\\u{00AD}\\u{206F}\\u{FFF9}\\u{E0041}")
  t.equal(printable "Größe 3/4\" 日本 😀", "Größe 3/4\" 日本 😀")
  t.equal(printable "", "")
end)

t.test("text is measured and cut in columns, not in bytes", function()
  t.equal(terminal.width("日本"), 4)
  t.equal(terminal.width("e\u{301}"), 1)
  t.equal(terminal.width("\u{FF01}\u{FF61}"), 3)
  t.equal(terminal.fit("Größe", 8), "Größe   ")
  t.equal(terminal.fit("12", 4, true), "  12")
  t.equal(terminal.fit("abcdef", 4), "abc…")
  t.equal(terminal.fit("日本語", 4), "日… ")
  t.equal(terminal.fit("日本", 4), "日本")
end)

t.test("bars grow by eighths and never vanish while there is something", function()
  t.equal(terminal.bar(10, 10, 3), "███")
  t.equal(terminal.bar(5, 10, 3), "█▌")
  t.equal(terminal.bar(1, 1000000, 3), "▏")
  t.equal(terminal.bar(0, 10, 3), "")
  t.equal(terminal.bar(0, 0, 3), "")
  t.equal(terminal.bar(5, 10, 0), "")
end)

t.test("numbers have separators and keep their digits", function()
  t.equal(terminal.count(0), "0")
  t.equal(terminal.count(999), "999")
  t.equal(terminal.count(-1234567), "-1,234,567")
  t.equal(terminal.count(9007199254740993), "9,007,199,254,740,993")
  t.equal(terminal.count(1234.0), "1,234")
  t.equal(terminal.count "123456.75", "123,456.75")
  t.equal(terminal.money "1234567.5", "1,234,567.50")
  t.equal(terminal.money "0", "0.00")
  t.equal(terminal.money "-12.34", "-12.34")
  t.equal(terminal.money(-123456.5), "-123,456.50")
  t.equal(terminal.money(1e15), "1,000,000,000,000,000.00")
  t.equal(terminal.money(12), "12.00")
  t.equal(terminal.money "9007199254740993.01", "9,007,199,254,740,993.01")
  t.equal(terminal.money "NaN", "NaN")
end)

---- the numbers ----

t.test("the dashboard of a load shows the orders and revenue of the manifest", function()
  local db <const> = s.tenant()
  local dir <const>, manifest <const> = s.events { from = "2024-01-08", days = 3, events = 3000, dirt = 0 }
  db.ingest { "--source", dir .. "/events_*.ndjson" }
  local total <const> = manifest.total
  local text <const> = dashboard(db)
  t.ok(text:find("acme  2023-12-12 to 2024-01-10", 1, true), text)
  t.ok(text:find("against 2023-11-12 to 2023-12-11", 1, true), text)
  t.ok(text:find("27 of 30 days have no events: 2023-12-12 to 2024-01-07", 1, true), text)
  t.match(text, "\nRevenue +" .. terminal.money(total.order_revenue):gsub("%p", "%%%0") .. "  new")
  t.match(text, "\nOrders +" .. terminal.count(total.orders) .. " ")
  t.match(text, "\nFailed searches +" .. terminal.count(total.rows.no_search_results) .. " ")
  t.match(text, "Mon 2024%-01%-08 .*█")
  t.match(text, "\nProducts\n.*\nSearches in vain\n")
  local whole <const> = dashboard(db, { "--from", "2024-01-08" })
  t.ok(not whole:find("3 days have no events", 1, true), whole)
  t.match(whole, "3 of 3 days before have no events: 2024%-01%-05 to 2024%-01%-07")
end)

t.test("--json is what the function says, with the metrics of as many days before", function()
  local db <const>, conn <const>, tenant <const> = hostile_shop(21)
  local function check(args, from, to, granularity, location)
    local got <const> = dashboard(db, args)
    local function ask(a, b, g)
      return json.decode(conn:value("select get_complete_dashboard_data($1, $2, $3, $4, $5)::text", tenant, a, b, g, location),
        { nulls = true })
    end
    t.equal(got.tenant, { id = tenant, name = "acme" })
    t.equal({ got.from, got.to, got.granularity, got.location }, { from, to, granularity, location or json.null })
    t.equal(got.current, ask(from, to, granularity))
    local days <const> = time.diff_days(from, to) + 1
    local before <const> = ask(time.add_days(from, -days), time.add_days(from, -1), "daily").metrics
    t.equal(got.previous, before)
    for name, now in pairs(got.current.metrics) do
      local change <const> = got.change[name]
      if before[name] ~= 0 then
        t.ok(math.abs(change - (now / before[name] - 1) * 100) < 1e-6, name)
      else
        t.equal(change, now == 0 and 0 or json.null, name)
      end
    end
    return got
  end
  local got <const> = check({ json = true, "--from", "2024-04-01" , "--to", "2024-04-03" }, "2024-04-01", "2024-04-03", "daily")
  t.ok(got.previous.totalRevenue > 0 and got.change.totalRevenue ~= 0, "there is something to compare")
  t.equal(got.days_without_events, { current = 0, previous = 0 })
  check({ json = true, "--from", "2024-03-31", "--to", "2024-04-02", "--granularity", "4hours" }, "2024-03-31", "2024-04-02", "4hours")
  check({ json = true, "--from", "2024-03-31", "--to", "2024-04-02", "--location", "D01" }, "2024-03-31", "2024-04-02", "daily", "D01")
  local last <const> = analytics.data_availability(conn, { tenant = tenant }).last_day
  check({ json = true }, time.add_days(last, -29), last, "daily")
  check({ json = true, "--to", "2024-03-28", "--granularity=weekly" }, "2024-02-28", "2024-03-28", "weekly")
end)

t.test("the searches in vain are those of the search tasks", function()
  local db <const>, conn <const>, tenant <const> = hostile_shop(22)
  local sums <const>, terms <const> = {}, {}
  for row in analytics.pages(analytics.search_analysis_tasks, conn, { tenant = tenant, from = "2024-03-25", to = "2024-04-05" }) do
    if row.search_type == "no_results" then
      if not sums[row.search_term] then terms[#terms + 1] = row.search_term end
      sums[row.search_term] = (sums[row.search_term] or 0) + row.search_count
    end
  end
  table.sort(terms, function(a, b) return sums[a] > sums[b] or sums[a] == sums[b] and a < b end)
  t.ok(#terms > 10)
  local text <const> = dashboard(db, { "--from", "2024-03-25", "--to", "2024-04-05" }):match "Searches in vain\n[^\n]+\n(.*)"
  local i = 0
  for line in text:gmatch "[^\n]+" do
    i = i + 1
    local shown <const> = printable(terms[i])
    t.equal(line:sub(1, #shown), shown)
    t.match(line:sub(#shown + 1), "^ +" .. sums[terms[i]] .. " ")
  end
  t.equal(i, 10)
end)

t.test("changes: more, less, the same, from nothing, to nothing, to a loss", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local function headline(name)
    local line <const> = dashboard(db, { "--from", "2024-01-02", "--to", "2024-01-02" }):match("\n" .. name .. " +([^\n]+)")
    return (line:gsub(" +", " "))
  end
  add_orders(conn, { { "2024-01-02", "A", 100 } })
  t.equal(headline "Revenue", "100.00 new 0.00")
  t.equal(headline "Orders", "1 new 0")
  t.equal(headline "Visitors", "0 = 0")
  add_orders(conn, { { "2024-01-01", "B", 50 }, { "2024-01-01", "C", 30 } })
  t.equal(headline "Revenue", "100.00 ▲ 25.0 % 80.00")
  t.equal(headline "Orders", "1 ▼ 50.0 % 2")
  conn:exec "update purchase set ecommerce_purchase_revenue = 1.04 where param_transaction_id = 'A'"
  t.equal(headline "Revenue", "1.04 ▼ 98.7 % 80.00")
  conn:exec "update purchase set ecommerce_purchase_revenue = -80 where param_transaction_id = 'A'"
  t.equal(headline "Revenue", "-80.00 ▼ 200.0 % 80.00")
  t.equal(dashboard(db, { "--from", "2024-01-02", "--to", "2024-01-02", json = true }).change.totalRevenue, -200.0)
  conn:exec "delete from purchase where param_transaction_id = 'A'"
  t.equal(headline "Revenue", "0.00 ▼ 100.0 % 80.00")
  conn:exec "update purchase set event_date = '2024-01-02'"
  add_orders(conn, { { "2024-01-01", "D", -40 } })
  t.equal(headline "Revenue", "80.00 ▲ 300.0 % -40.00")
end)

t.test("an order of before the range is no order of the range, whatever is loaded again in it", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  add_orders(conn, { { "2024-01-01", "W1", 10 }, { "2024-01-02", "W1", 10 }, { "2024-01-02", "W2", 10 },
    { "2024-01-02", "W2", 10 }, { "2024-01-02", "(not set)", 10 }, { "2024-01-02", "(not set)", 10 }, { "2024-01-02", nil, 10 } })
  t.match(dashboard(db), "\nRevenue +50%.00 .*\nOrders +5 ")
  t.match(dashboard(db, { "--from", "2024-01-02", "--to", "2024-01-02" }), "\nRevenue +40%.00 .*\nOrders +4 ")
end)

t.test("best and worst branches are told apart when there are many", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  for i = 1, 12 do
    local id <const> = string.format("B%02d", i)
    conn:exec("insert into locations (tenant_id, location_id, location_name) select id, $1, $2 from tenant_config", id, "Town " .. i)
    add_orders(conn, { { "2024-01-02", "T" .. i, i * 100 } })
    conn:exec("update purchase set user_prop_default_branch_id = $1 where param_transaction_id = $2", id, "T" .. i)
  end
  add_orders(conn, { { "2024-01-02", "nowhere", 5 } })
  local text <const> = dashboard(db)
  local best <const>, worst <const> = text:match "\nBest branches\n(.-)\n\nWorst branches\n(.*)"
  t.ok(best, text)
  local function branches(part)
    local ids <const> = {}
    for id in part:gmatch "(B%d%d)  Town" do ids[#ids + 1] = id end
    return table.concat(ids, " ")
  end
  t.equal(branches(best), "B12 B11 B10 B09 B08")
  t.match(best, "%(no known branch%) +5%.00")
  t.ok(not worst:find "known branch")
  t.equal(branches(worst), "B01 B02 B03 B04 B05")
  conn:exec "delete from locations where location_id > 'B03'"
  local few <const> = dashboard(db)
  t.match(few, "\nBranches\n.*B03  Town 3 +300%.00.*%(no known branch%) +7,205%.00")
  t.ok(not few:find "Best branches")
end)

---- the page ----

t.test("no line is wider than asked for, from 40 to 200 columns, whatever strangers wrote", function()
  local db <const>, conn <const> = hostile_shop(23, 600)
  conn:exec("update tenant_config set name = $1", "Acme \27[2J 日本語日本語日本語日本語 " .. ("x"):rep(100))
  add_orders(conn, { { "2024-03-26", "big", 9999999999999.99, { { item_id = ("日本"):rep(80), price = 1e11, quantity = 123456789 } } },
    { "2024-03-27", "loss", -9999999999999.99 } })
  for _, range in ipairs { { "--from", "2024-03-20", "--to", "2024-04-05" }, { "--location", "D01" },
    { "--from", "2024-03-25", "--to", "2024-03-26", "--granularity", "hourly" } } do
    for _, width in ipairs { 40, 41, 47, 55, 63, 72, 80, 99, 120, 200 } do
      local text <const> = dashboard(db, { "--width", tostring(width), table.unpack(range) })
      for line in text:gmatch "[^\n]+" do
        t.ok(terminal.width(line) <= width, string.format("%d columns: %s", width, line))
      end
      t.match(text, "Revenue +%-?[%d,.]+")
    end
  end
  for line in dashboard(db, { env = { COLUMNS = "40" } }):gmatch "[^\n]+" do t.ok(terminal.width(line) <= 40, line) end
end)

t.test("bars fill what is left of the width, and no more is cut than must be", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  add_orders(conn, { { "2024-01-01", "A", 50 }, { "2024-01-02", "B", 100 } })
  local function line(width)
    return dashboard(db, { "--from", "2024-01-01", "--width", tostring(width) }):match "\n([^\n]*2024%-01%-02 [^\n]+█)"
  end
  t.equal(terminal.width(line(41)), 41)
  t.match(line(41), "^2024%-01%-02   100%.00         0  [\u{2588}]+$")
  t.match(line(100), "^Tue 2024%-01%-02   100%.00         0       1      0         0  [\u{2588}]+$")
  t.match(line(80), "^Tue 2024%-01%-02   100%.00         0       1      0  [\u{2588}]+$")
end)

t.test("without a terminal there are no escape codes, with or without NO_COLOR", function()
  local db <const> = hostile_shop(24, 300)
  local plain <const> = dashboard(db, { env = { NO_COLOR = "1" } })
  t.equal(dashboard(db, { env = { NO_COLOR = false, TERM = "xterm-256color" } }), plain)
  t.ok(not plain:find "\27")
end)

t.test("on a terminal there are colours, unless NO_COLOR says no", function()
  if not fs.exists "/usr/bin/script" then t.skip "no script(1) to make a terminal" end
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  add_orders(conn, { { "2024-01-01", "A", 50 } })
  local host <const> = require "garun.core.host"
  local function on_terminal(no_color)
    local env <const> = { NO_COLOR = no_color, TERM = "xterm", COLUMNS = "80" }
    for k, v in pairs(db.env) do env[k] = v end
    local r <const> = t.run { "/usr/bin/script", "-qec", host.exe() .. " --env /dev/null dashboard.lua", "/dev/null", env = env }
    t.equal(r.status, 0, r.stdout .. r.stderr)
    return r.stdout
  end
  t.match(on_terminal(false), "\27%[1macme  2023%-12%-03 to 2024%-01%-01\27%[0m")
  t.ok(not on_terminal("1"):find "\27")
end)

t.test("hostile terms, names and prices are shown and summed without harm", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  conn:exec([[insert into no_search_results (tenant_id, event_date, param_no_search_results_term)
    select id, '2024-01-02', $1 from tenant_config]], "\27]0;owned\7pump\u{202E}")
  add_orders(conn, { { "2024-01-02", nil, nil, {
    { item_id = "A", item_name = "\27[31mred", price = "NaN", quantity = 2 },
    { item_id = "B", item_name = "b", price = "12.5", quantity = "2" },
    { item_id = "C", item_name = "c", price = 1e300, quantity = 99999999999 },
  } } })
  local text <const> = dashboard(db)
  t.ok(text:find("\\x1B]0;owned\\x07pump\\u{202E}", 1, true), text)
  t.ok(text:find("\\x1B[31mred", 1, true), text)
  t.match(text, "\nb +25%.00 +2 +1 ")
  t.match(text, "\nc +0%.00 +0 +1\n")
end)

---- mistakes ----

t.test("without events it says so, in words and in JSON", function()
  local db <const> = s.tenant()
  t.equal(dashboard(db), "acme: no events yet; garun ingest.lua loads them\n")
  local got <const>, raw <const> = dashboard(db, { json = true })
  t.equal({ got.from, got.to, got.previous, got.change }, { json.null, json.null, json.null, json.null })
  t.equal(got.current.metrics.totalRevenue, 0)
  t.match(raw, '"chartData":%[%]')
  t.match(dashboard(db, { "--from", "2024-01-01", "--to", "2024-01-02" }), "2 of 2 days have no events")
  t.match(dashboard(db, { "--from", "0001-01-01", "--to", "0001-01-02" }), "\nRevenue +0%.00\n")
end)

t.test("errors name the option and say what there is", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  refused(db, "%-%-tenant: no tenant is called 'acm'.*active tenants: acme", "--tenant", "acm")
  refused(db, "%-%-granularity is one of hourly, .*, not 'dayly'; did you mean daily", "--granularity", "dayly")
  refused(db, "%-%-location: acme has no branch 'D1'", "--location", "D1")
  conn:exec "insert into locations (tenant_id, location_id, location_name) select id, 'D01', 'Dallas' from tenant_config"
  refused(db, "%-%-location: acme has no branch 'D02'; did you mean 'D01'", "--location", "D02")
  refused(db, "%-%-location takes a branch's id: that of 'Dallas' is 'D01'", "--location", "dallas")
  refused(db, "%-%-from takes a date", "--from", "yesterday")
  refused(db, "%-%-to is before %-%-from", "--from", "2024-01-02", "--to", "2024-01-01")
  refused(db, "%-%-from 2024%-01%-01 is after the last day with events; name the last day with %-%-to", "--from", "2024-01-01")
  refused(db, "%-%-width takes a number from 40 to 1000", "--width", "39")
  refused(db, "%-%-granularity: .*hourly makes a chart of more than 100000 buckets from 1990%-01%-01 to 2024%-01%-01",
    "--granularity", "hourly", "--from", "1990-01-01", "--to", "2024-01-01")
  refused(db, "unknown option %-%-granuarity; did you mean %-%-granularity", "--granuarity", "daily")
  conn:exec "insert into tenant_config (name, postgres_config) values ('Other', '{}')"
  refused(db, "%-%-tenant.*Other, acme", "--json")
  conn:exec "update tenant_config set is_active = false"
  refused(db, "no active tenant")
end)
