-- The analytics functions against the oracle: every function, filter, page and granularity over hostile events, after
-- reloads in any order, and after changes by plain SQL.

local fs <const> = require "garun.fs"
local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local oracle <const> = require "oracle"
local s <const> = require "support"
local t <const> = require "garun.test"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local zone <const> = "Europe/Vienna"
local spring <const>, autumn <const> = "2024-03-25", "2024-10-21"     -- the clocks change on their seventh day

-- Comparing ---------------------------------------------------------------------------------------------------------

-- Where got and want differ first: a path and both values; nil when they are equal. 1 and 1.0 are equal, {} and [] not.
local function difference(got, want, path)
  local function differ()
    return string.format("%s: the database says %s, the oracle %s", path, json.encode(got), json.encode(want))
  end
  if type(got) ~= "table" or type(want) ~= "table" then return got ~= want and differ() or nil end
  if json.is_array(got) ~= json.is_array(want) then return differ() end
  local keys <const> = {}
  for k in pairs(want) do keys[#keys + 1] = k end
  for k in pairs(got) do
    if want[k] == nil then keys[#keys + 1] = k end
  end
  table.sort(keys)
  for _, k in ipairs(keys) do
    local d <const> = difference(got[k], want[k], path .. (math.type(k) and "[" .. k .. "]" or "." .. k))
    if d then return d end
  end
  return nil
end

local function same(got, want, label)
  local d <const> = difference(got, want, "answer")
  if d then error(label .. "\n" .. d, 0) end
end

-- The functions, and the order of their parameters after p_tenant_id.
local calls <const> = {
  purchase_tasks = { "page", "limit", "query", "location", "from", "to" },
  cart_abandonment_tasks = { "page", "limit", "query", "location", "from", "to" },
  search_analysis_tasks = { "page", "limit", "query", "location", "from", "to", "include_converted" },
  repeat_visit_tasks = { "page", "limit", "query", "location", "from", "to" },
  performance_tasks = { "page", "limit", "location", "from", "to" },
  dashboard = { "from", "to", "granularity", "location", name = "get_complete_dashboard_data" },
  session_history = { "session" },
  user_history = { "user" },
  locations = {},
  data_availability = {},
}

local paged <const> = { "purchase_tasks", "cart_abandonment_tasks", "search_analysis_tasks", "repeat_visit_tasks",
  "performance_tasks" }
local granularities <const> = { "hourly", "4hours", "12hours", "daily", "weekly", "monthly" }

local function ask(shop, method, f, tenant)
  local marks <const>, values <const> = { "$1" }, { tenant or shop.tenant }
  for i, name in ipairs(calls[method]) do
    marks[i + 1] = "$" .. i + 1
    values[i + 1] = f[name]
    if f[name] == nil and name == "include_converted" then values[i + 1] = false end
  end
  local sql <const> = string.format("select %s(%s)", calls[method].name or "get_" .. method, table.concat(marks, ", "))
  return shop.conn:value(sql, table.unpack(values, 1, #marks))
end

-- Compares one call with the oracle and gives the answer.
local function check(shop, o, method, f)
  f = f or {}
  local full <const> = { page = f.page or 1, limit = f.limit or 1000, granularity = f.granularity or "daily" }
  for k, v in pairs(f) do full[k] = v end
  local got <const> = ask(shop, method, full)
  local want <const> = o[method](o, full.session or full.user or full)
  same(got, want, string.format("%s %s", method, json.encode(f, { sort_keys = true })))
  return got
end

-- Databases -----------------------------------------------------------------------------------------------------------

local function add_masters(shop, data)
  for _, u in ipairs(data.users or {}) do
    shop.conn:exec("insert into users (tenant_id, user_id, buying_company_name, email, cell_phone, office_phone) "
      .. "values ($1, $2, $3, $4, $5, $6)", shop.tenant, u.user_id, u.buying_company_name, u.email, u.cell_phone,
      u.office_phone)
  end
  for _, l in ipairs(data.locations or {}) do
    shop.conn:exec("insert into locations (tenant_id, location_id, location_name, city, state) values ($1, $2, $3, $4, $5)",
      shop.tenant, l.location_id, l.location_name, l.city, l.state)
  end
end

-- A database with a tenant, its time zone and its master data: { db, conn, tenant, data }
local function open_shop(data)
  local shop <const> = { db = s.tenant(), data = data or {} }
  shop.conn = shop.db.connect()
  t.after(function() shop.conn:close() end)
  shop.conn:exec("update tenant_config set time_zone = $1", zone)
  shop.tenant = shop.conn:value "select id from tenant_config"
  add_masters(shop, shop.data)
  return shop
end

local function lines_of(events)
  local lines <const> = {}
  for i, e in ipairs(events) do lines[i] = json.encode(e) end
  return lines
end

local function oracle_of(shop, events)
  return oracle.new(hostile.decoded(events), { users = shop.data.users, locations = shop.data.locations, time_zone = zone })
end

-- A shop whose events came as one file, and the oracle for it.
local function loaded(seed, from, count)
  local data <const> = hostile.make { seed = seed, from = from, days = 12, events = count or 1500, zone = zone }
  local shop <const> = open_shop(data)
  local r <const> = shop.db.ingest { "--source", s.file(lines_of(data.events)) }
  local o <const> = oracle_of(shop, data.events)
  t.equal({ r.rejected, r.nulled, r.cut, r.repaired }, { 0, 0, 0, 0 })
  t.ok(r.duplicates > 5 and r.other_events > 20)
  t.equal(r.purchase + r.add_to_cart + r.page_view + r.view_item + r.view_search_results + r.no_search_results, #o.rows)
  return shop, o
end

local function day(from, n) return time.add_days(from, n) end

-- The filters that every function is asked with.
local function filters(from)
  local a <const>, b <const> = day(from, 3), day(from, 8)
  return {
    {}, { location = "D01" }, { location = "7" }, { location = "00123" }, { location = "X99" }, { location = "nowhere" },
    { location = "D09" }, { location = "(not set)" }, { location = "d01" }, { location = "%" },
    { from = a, to = b }, { from = b }, { to = a }, { from = a, to = a }, { from = day(from, 6), to = day(from, 6) },
    { from = a, to = b, location = "D01" }, { from = b, location = "D02" }, { to = b, location = "X99" },
    { from = "2020-01-01", to = "2020-01-03" }, { from = "2030-01-01", to = "2030-01-02" },
    { from = "2020-01-01", to = "2030-01-01" },
  }
end

local queries <const> = { "", "acme", "ACME", "%", "_", "\\", "\\\\", "100%", "b\\1", "buyer_1@", "t%", "case1",
  "T00", "bolt", "M10 BOLT", "example.com", "A_3", "\"", "4711", "m\u{fc}ller", "nothing has this", "'", "(not set)", "." }

-- A few calls of each function: what must hold after any change.
local function check_briefly(shop, o, from)
  local range <const> = { from = day(from, 3), to = day(from, 8) }
  for _, f in ipairs { {}, range, { from = range.from, to = range.to, location = "D01" } } do
    for _, method in ipairs(paged) do check(shop, o, method, f) end
    check(shop, o, "dashboard", f)
  end
  check(shop, o, "search_analysis_tasks", { include_converted = true })
  check(shop, o, "dashboard", { from = range.from, to = range.to, granularity = "hourly" })
  check(shop, o, "data_availability")
  check(shop, o, "locations")
  for _, user in ipairs { "1001", "1002", "1003", "dev05", "col" } do check(shop, o, "user_history", { user = user }) end
  for _, id in ipairs { "1711000001", "1711000002", "5001" } do check(shop, o, "session_history", { session = id }) end
end

-- Tests: answers ------------------------------------------------------------------------------------------------------

for _, case in ipairs { { 1, spring }, { 2, autumn } } do
  local seed <const>, from <const> = case[1], case[2]

  t.test("every function agrees with the oracle under every filter, from " .. from, function()
    local shop <const>, o <const> = loaded(seed, from)
    for _, f in ipairs(filters(from)) do
      for _, method in ipairs(paged) do check(shop, o, method, f) end
      check(shop, o, "search_analysis_tasks", { from = f.from, to = f.to, location = f.location, include_converted = true })
      check(shop, o, "dashboard", f)
    end
    check(shop, o, "locations")
    check(shop, o, "data_availability")
  end)

  t.test("every query finds what the oracle finds, from " .. from, function()
    local shop <const>, o <const> = loaded(seed, from)
    for _, query in ipairs(queries) do
      for _, method in ipairs { "purchase_tasks", "cart_abandonment_tasks", "search_analysis_tasks", "repeat_visit_tasks" } do
        check(shop, o, method, { query = query, include_converted = true })
        check(shop, o, method, { query = query, from = day(from, 3), to = day(from, 8), location = "D01", limit = 7 })
      end
    end
  end)

  t.test("pages in order are the whole, from " .. from, function()
    local shop <const>, o <const> = loaded(seed, from)
    local function rows_of(answer) return answer.data.bounced_sessions or answer.data end
    for _, method in ipairs(paged) do
      local whole <const> = check(shop, o, method, { limit = 1000 })
      t.ok(whole.total == #rows_of(whole) and whole.total > 5, method)
      for _, limit in ipairs { 7, 1 } do
        local joined <const> = json.array {}
        local page = 0
        repeat
          page = page + 1
          local answer <const> = check(shop, o, method, { limit = limit, page = page })
          for _, row in ipairs(rows_of(answer)) do joined[#joined + 1] = row end
          t.equal(answer.total, whole.total)
        until not answer.has_more
        t.equal(page, (whole.total + limit - 1) // limit)
        same(joined, rows_of(whole), method .. " by pages of " .. limit)
        t.equal(check(shop, o, method, { limit = limit, page = page + 1 }).total, whole.total)
        t.equal(check(shop, o, method, { limit = limit, page = 2147483647 }).total, whole.total)
      end
    end
  end)

  t.test("the dashboard in every granularity, its parts adding up, from " .. from, function()
    local shop <const>, o <const> = loaded(seed, from)
    local function sum(list, name)
      local total = 0
      for _, row in ipairs(list) do total = total + row[name] end
      return total
    end
    for _, granularity in ipairs(granularities) do
      for _, f in ipairs(filters(from)) do
        local ask_for <const> = { from = f.from, to = f.to, location = f.location, granularity = granularity }
        if not (f.from == "2020-01-01" and f.to == "2030-01-01" and granularity:find "hour") then
          local a <const> = check(shop, o, "dashboard", ask_for)
          local m <const> = a.metrics
          local label <const> = json.encode(ask_for)
          t.ok(math.abs(sum(a.chartData, "revenue") - m.totalRevenue) < 0.005, label)
          t.equal(sum(a.chartData, "purchases"), m.totalPurchases, label)
          t.equal(sum(a.chartData, "searches"), m.totalSearches, label)
          t.equal(sum(a.chartData, "carts"), m.abandonedCarts, label)
          t.ok(math.abs(sum(a.locationStats, "totalRevenue") - m.totalRevenue) < 0.005, label)
          t.equal(sum(a.locationStats, "totalPurchases"), m.totalPurchases, label)
          t.equal(sum(a.locationStats, "failedSearches"), m.failedSearches, label)
          t.ok(sum(a.chartData, "visitors") >= m.totalVisitors, label)
          t.equal(#a.locationStats, f.location and 1 or #shop.data.locations + 1, label)
        end
      end
    end
  end)

  t.test("the history of every session and user, from " .. from, function()
    local shop <const>, o <const> = loaded(seed, from)
    local ids <const>, users <const> = { ["no such session"] = true, [""] = true }, { nobody = true, [""] = true }
    for _, session in ipairs(o.sessions) do
      ids[session.id] = true
      users[session.pseudo] = true
      if session.webuser then users[session.webuser] = true end
    end
    for id in pairs(ids) do check(shop, o, "session_history", { session = id }) end
    for user in pairs(users) do check(shop, o, "user_history", { user = user }) end
  end)
end

t.test("of a long history the newest 1000 events, of many days the last 90", function()
  local shop <const> = open_shop()
  local list <const> = {}
  for i = 1, 1100 do
    local at <const> = i <= 100 and time.add_days("2024-01-01", i) or "2024-06-01"
    list[i] = hostile.event { name = i % 3 == 0 and "view_item" or "page_view", day = at, user = "u", web = 7, ga = 1,
      ts = time.from_local(at, "12:00", zone) * 1000000 + i }
  end
  shop.db.ingest { "--source", s.file(lines_of(list)) }
  local o <const> = oracle_of(shop, list)
  t.equal(#check(shop, o, "session_history", { session = "1" }), 1000)
  t.equal(#check(shop, o, "user_history", { user = "7" }), 1000)
  t.equal(#check(shop, o, "data_availability").days, 90)
end)

t.test("hours are those of the tenant's time zone, also after it was changed", function()
  local shop <const> = open_shop()
  local days <const> = { "2024-01-15", "2024-03-10", "2024-03-31", "2024-07-01", "2024-10-27" }
  local list <const> = {}
  for _, at in ipairs(days) do
    for hour = -30, 54 do
      list[#list + 1] = hostile.event { name = hour % 2 == 0 and "view_search_results" or "page_view", day = at, user = "u",
        ga = hour, ts = math.floor(time.from_local(at, "00:20", "UTC") + hour * 3600) * 1000000 + #list }
    end
  end
  shop.db.ingest { "--source", s.file(lines_of(list)) }
  for _, name in ipairs { "UTC", zone, "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati" } do
    shop.conn:exec("update tenant_config set time_zone = $1", name)
    local o <const> = oracle.new(hostile.decoded(list), { time_zone = name })
    for _, at in ipairs(days) do
      for _, granularity in ipairs { "hourly", "4hours", "12hours", "daily" } do
        check(shop, o, "dashboard", { from = at, to = at, granularity = granularity })
      end
    end
  end
end)

t.test("a database without events answers with empty envelopes and zeros", function()
  local shop <const> = open_shop()
  local empty <const> = { data = json.array {}, total = 0, page = 1, limit = 50, has_more = false }
  for _, method in ipairs { "purchase_tasks", "cart_abandonment_tasks", "repeat_visit_tasks" } do
    same(ask(shop, method, { page = 1, limit = 50 }), empty, method)
  end
  local o <const> = oracle_of(shop, {})
  for _, method in ipairs(paged) do
    check(shop, o, method, { limit = 50 })
    check(shop, o, method, { limit = 7, page = 3, location = "D01", from = spring, to = spring })
  end
  t.equal(#check(shop, o, "dashboard").chartData, 0)
  t.equal(#check(shop, o, "dashboard", { from = spring, to = day(spring, 2) }).chartData, 3)
  t.equal(#check(shop, o, "dashboard", { from = spring, to = spring, granularity = "hourly", location = "D01" }).chartData, 24)
  check(shop, o, "locations")
  check(shop, o, "data_availability")
  check(shop, o, "session_history", { session = "1" })
  check(shop, o, "user_history", { user = "1" })
end)

t.test("a bad argument is an error that names the parameter", function()
  local shop <const> = open_shop()
  local function refused(name, method, f, tenant)
    local full <const> = { page = 1, limit = 50, granularity = "daily" }
    for k, v in pairs(f) do
      if v == json.null then full[k] = nil else full[k] = v end
    end
    t.raises(name, ask, shop, method, full, tenant)
  end
  for _, method in ipairs(paged) do
    for _, page in ipairs { 0, -1, json.null } do refused("p_page", method, { page = page }) end
    for _, limit in ipairs { 0, -5, 1001, 5000, json.null } do refused("p_limit", method, { limit = limit }) end
    refused("p_end_date", method, { from = "2024-01-02", to = "2024-01-01" })
  end
  refused("p_end_date", "dashboard", { from = "2024-01-02", to = "2024-01-01" })
  for _, granularity in ipairs { "", "Daily", "minutely", "hour", json.null } do
    refused("p_granularity", "dashboard", { granularity = granularity })
  end
  for method in pairs(calls) do
    t.raises("p_tenant_id", ask, shop, method, { page = 1, limit = 50, granularity = "daily", session = "1", user = "1" },
      json.null)
  end
end)

t.test("a tenant sees nothing of another one's, though the ids are the same", function()
  local data <const> = hostile.make { seed = 3, from = spring, days = 12, events = 700, zone = zone }
  local other <const> = hostile.make { seed = 5, from = spring, days = 12, events = 700, zone = zone }
  other.users = { { user_id = "1001", buying_company_name = "The other's" } }
  other.locations = { { location_id = "D02", location_name = "The other's branch" } }
  local shop <const> = open_shop(data)
  local theirs <const> = { db = shop.db, conn = shop.conn, data = other }
  theirs.tenant = shop.conn:value("insert into tenant_config (name, postgres_config, time_zone) "
    .. "values ('zenith', '{}', $1) returning id", zone)
  add_masters(theirs, other)
  shop.db.ingest { "--source", s.file(lines_of(data.events)), "--tenant", "acme" }
  theirs.db.ingest { "--source", s.file(lines_of(other.events)), "--tenant", "zenith" }
  check_briefly(shop, oracle_of(shop, data.events), spring)
  check_briefly(theirs, oracle_of(theirs, other.events), spring)
  local nobody <const> = { db = shop.db, conn = shop.conn, data = {}, tenant = "00000000-0000-0000-0000-000000000001" }
  check_briefly(nobody, oracle_of(nobody, {}), spring)
end)

-- Tests: changes ------------------------------------------------------------------------------------------------------

-- The events of each day: { ["20240325"] = {...}, ... } and the days in order.
local function by_day(events)
  local days <const>, order <const> = {}, {}
  for _, e in ipairs(events) do
    if not days[e.event_date] then
      days[e.event_date] = {}
      order[#order + 1] = e.event_date
    end
    table.insert(days[e.event_date], e)
  end
  table.sort(order)
  return days, order
end

-- Loads one day from a file that is named for it.
local function load_day(shop, name, events)
  local path <const> = t.tmpdir() .. "/events_" .. name .. ".ndjson"
  fs.write(path, table.concat(lines_of(events), "\n") .. "\n")
  shop.db.ingest { "--source", path, "--max-shrink", "100" }
end

local function joined(days, order)
  local all <const> = {}
  for _, name in ipairs(order) do
    for _, e in ipairs(days[name]) do all[#all + 1] = e end
  end
  return all
end

t.test("a reloaded day changes the answers to those of its new events, across sessions and orders of other days", function()
  local data <const> = hostile.make { seed = 7, from = spring, days = 12, events = 900, zone = zone }
  local other <const> = hostile.make { seed = 8, from = spring, days = 12, events = 900, zone = zone }
  local days <const>, order <const> = by_day(data.events)
  local new <const> = by_day(other.events)
  local shop <const> = open_shop(data)
  for _, name in ipairs(order) do load_day(shop, name, days[name]) end
  check_briefly(shop, oracle_of(shop, data.events), spring)
  for _, n in ipairs { 4, 6, 1, #order } do
    local name <const> = order[n]
    if new[name] then
      days[name] = new[name]
      load_day(shop, name, days[name])
      check_briefly(shop, oracle_of(shop, joined(days, order)), spring)
    end
  end
  local name <const> = order[5]
  days[name] = { days[name][1] }
  load_day(shop, name, days[name])
  check_briefly(shop, oracle_of(shop, joined(days, order)), spring)
end)

t.test("the order in which days are loaded, and loading several at once, changes nothing", function()
  local data <const> = hostile.make { seed = 9, from = autumn, days = 12, events = 900, zone = zone }
  local days <const>, order <const> = by_day(data.events)
  local backwards <const> = open_shop(data)
  for i = #order, 1, -1 do load_day(backwards, order[i], days[order[i]]) end
  local o <const> = oracle_of(backwards, data.events)
  check_briefly(backwards, o, autumn)
  local at_once <const> = open_shop(data)
  local dir <const> = t.tmpdir()
  for _, name in ipairs(order) do
    fs.write(dir .. "/events_" .. name .. ".ndjson", table.concat(lines_of(days[name]), "\n") .. "\n")
  end
  at_once.db.ingest { "--source", dir .. "/events_*.ndjson", "--jobs", "4" }
  check_briefly(at_once, o, autumn)
  at_once.db.ingest { "--source", dir .. "/events_*.ndjson", "--jobs", "4", "--force" }
  check_briefly(at_once, o, autumn)
end)

-- The place of the first event that the function accepts; raises when there is none.
local function place_of(events, accepts)
  for i, e in ipairs(events) do
    if accepts(e) then return i end
  end
  error("the generator makes no such event", 2)
end

local function value_of(list, key)
  for _, x in ipairs(list or {}) do
    if x.key:lower() == key then return x.value.string_value or x.value.int_value or x.value.double_value end
  end
  return nil
end

-- Puts a property or parameter in the place of the one that is there.
local function set_value(list, key, value)
  for i = #list, 1, -1 do
    if list[i].key:lower() == key then table.remove(list, i) end
  end
  list[#list + 1] = { key = key, value = { string_value = value } }
end

-- Events of one each: without what a load would drop, so that one event is one row.
local function distinct(events)
  local out <const>, seen <const> = {}, {}
  for _, e in ipairs(hostile.decoded(events)) do
    local key <const> = tostring(e.event_timestamp)
    if not seen[key] and e.event_name ~= "scroll" and e.event_name ~= "login" then out[#out + 1] = e end
    seen[key] = true
  end
  return out
end

local changes <const> = {}

local function change(name, fn) changes[#changes + 1] = { name = name, fn = fn } end

change("a login is written into a session", function(conn, events)
  local i <const> = place_of(events, function(e)
    return e.event_name == "page_view" and value_of(e.event_params, "ga_session_id") and e.user_pseudo_id == "dev20"
  end)
  set_value(events[i].user_properties, "webuserid", "1002")
  return conn:exec("update page_view set user_prop_webuserid = '1002' where event_timestamp = $1",
    tostring(events[i].event_timestamp))
end)

change("the login goes again", function(conn, events)
  local i <const> = place_of(events, function(e)
    return value_of(e.user_properties, "webuserid") == "1002" and e.user_pseudo_id == "dev20"
  end)
  events[i].user_properties = {}
  return conn:exec("update page_view set user_prop_webuserid = null, user_prop_default_branch_id = null "
    .. "where event_timestamp = $1", tostring(events[i].event_timestamp))
end)

change("a session moves to another device", function(conn, events)
  local i <const> = place_of(events, function(e) return e.event_name == "add_to_cart" and e.user_pseudo_id == "c1" end)
  events[i].user_pseudo_id = "f1"
  return conn:exec "update add_to_cart set user_pseudo_id = 'f1' where user_pseudo_id = 'c1'"
end)

change("a session loses its id", function(conn, events)
  local i <const> = place_of(events, function(e) return e.event_name == "purchase" and e.user_pseudo_id == "e3" end)
  events[i].event_params = {}
  return conn:exec("update purchase set param_ga_session_id = null, param_transaction_id = null, param_page_location = null, "
    .. "param_page_title = null where user_pseudo_id = 'e3'")
end)

change("the first event of an order goes, the next becomes the order", function(conn, events)
  local first, at
  for i, e in ipairs(events) do     -- case1 comes twice
    if value_of(e.event_params, "transaction_id") == "case1" and (not at or e.event_timestamp < at) then
      first, at = i, e.event_timestamp
    end
  end
  table.remove(events, first)
  return conn:exec("delete from purchase where event_timestamp = $1", tostring(at))
end)

change("an order moves to another day and time, branch and value", function(conn, events)
  local i <const> = place_of(events, function(e) return value_of(e.event_params, "transaction_id") == "case3" end)
  local e <const> = events[i]
  local old <const> = tostring(e.event_timestamp)
  e.event_date = day(spring, 7):gsub("-", "")
  e.event_timestamp = math.tointeger(tonumber(old)) + 2 * 86400000000
  set_value(e.user_properties, "default_branch_id", "D03")
  e.ecommerce = { purchase_revenue = 1234.56 }
  return conn:exec("update purchase set event_date = event_date + 2, event_timestamp = $1, "
    .. "user_prop_default_branch_id = 'D03', ecommerce_purchase_revenue = 1234.56 where event_timestamp = $2",
    tostring(e.event_timestamp), old)
end)

change("a purchase is inserted after a cart", function(conn, events, tenant)
  local i <const> = place_of(events, function(e) return e.event_name == "add_to_cart" and e.user_pseudo_id == "g3" end)
  local ts <const> = events[i].event_timestamp + 77
  local items <const> = json.array { { item_id = "A1", quantity = 2, price = 5 } }
  events[#events + 1] = hostile.event { name = "purchase", day = day(spring, 5), ts = ts, user = "g3", ga = 123, web = 1001,
    branch = "D02", transaction = "by hand", revenue = 10, items = items }
  return conn:exec("insert into purchase (tenant_id, event_date, event_timestamp, user_pseudo_id, param_ga_session_id, "
    .. "user_prop_webuserid, user_prop_default_branch_id, param_transaction_id, ecommerce_purchase_revenue, items_json) "
    .. "values ($1, $2, $3, 'g3', '123', '1001', 'D02', 'by hand', 10, $4)", tenant, day(spring, 5), tostring(ts),
    require("garun.pg").json(items))
end)

change("terms and pages are written over", function(conn, events)
  local n = 0
  for _, e in ipairs(events) do
    if e.event_name == "view_search_results" then
      set_value(e.event_params, "search_term", "  NEW term")
      n = n + 1
    end
  end
  local changed <const> = conn:exec "update view_search_results set param_search_term = '  NEW term'"
  t.equal(changed, n)
  return 1
end)

change("items are written over", function(conn, events)
  local i <const> = place_of(events, function(e) return e.event_name == "add_to_cart" and e.user_pseudo_id == "g5" end)
  events[i].items = json.array { { item_id = "NEW", item_name = "Bolt of old", price = "99.9", quantity = "3" } }
  return conn:exec("update add_to_cart set items_json = $1, first_item_item_id = 'NEW', first_item_item_name = 'Bolt of old', "
    .. "first_item_item_category = null, first_item_price = 99.9, first_item_quantity = 3 where user_pseudo_id = 'g5'",
    require("garun.pg").json(events[i].items))
end)

change("a day's page views are deleted", function(conn, events)
  local gone <const> = day(spring, 6)
  local n = 0
  for i = #events, 1, -1 do
    if events[i].event_name == "page_view" and events[i].event_date == gone:gsub("-", "") then
      table.remove(events, i)
      n = n + 1
    end
  end
  t.equal(conn:exec("delete from page_view where event_date = $1", gone), n)
  return 1
end)

change("a row changes its tenant", function(conn, events)
  local i <const> = place_of(events, function(e) return e.event_name == "purchase" and e.user_pseudo_id == "g3" end)
  local gone <const> = table.remove(events, i)
  return conn:exec("update purchase set tenant_id = gen_random_uuid() where event_timestamp = $1",
    tostring(gone.event_timestamp))
end)

change("what is rolled back did not happen", function(conn)
  pcall(conn.transaction, conn, function(tx)
    tx:exec "delete from purchase"
    tx:exec "update page_view set user_prop_webuserid = 'nobody'"
    error "no"
  end)
  return 1
end)

change("the last day's rows go", function(conn, events)
  local last = ""
  for _, e in ipairs(events) do last = e.event_date > last and e.event_date or last end
  for i = #events, 1, -1 do
    if events[i].event_date == last then table.remove(events, i) end
  end
  for _, name in ipairs(s.tables) do conn:exec("delete from " .. name .. " where event_date = $1", time.parse_date(last)) end
  return 1
end)

change("failed searches are truncated", function(conn, events)
  for i = #events, 1, -1 do
    if events[i].event_name:find "no_" then table.remove(events, i) end
  end
  conn:exec "truncate no_search_results"
  return 1
end)

change("everything goes", function(conn, events)
  for i = #events, 1, -1 do events[i] = nil end
  for _, name in ipairs(s.tables) do conn:exec("delete from " .. name) end
  return 1
end)

t.test("rows inserted, updated and deleted by plain SQL count at once", function()
  local data <const> = hostile.make { seed = 10, from = spring, days = 12, events = 900, zone = zone }
  local shop <const> = open_shop(data)
  local events <const> = distinct(data.events)
  shop.db.ingest { "--source", s.file(lines_of(events)) }
  check_briefly(shop, oracle_of(shop, events), spring)
  for _, c in ipairs(changes) do
    local touched <const> = c.fn(shop.conn, events, shop.tenant)
    t.equal(touched, 1, c.name)
    local ok <const>, why <const> = pcall(check_briefly, shop, oracle_of(shop, events), spring)
    if not ok then error("after: " .. c.name .. "\n" .. tostring(why), 0) end
  end
end)

t.test("a transaction of many statements derives its days once, before it commits", function()
  local shop <const> = open_shop(hostile.make { seed = 11, from = spring, days = 1, events = 50, zone = zone })
  local conn <const>, tenant <const> = shop.conn, shop.tenant
  local function views() return conn:value "select coalesce(sum(page_views), 0) from garun.session_days" end
  conn:transaction(function(tx)
    for i = 1, 200 do
      tx:exec("insert into page_view (tenant_id, event_date, event_timestamp, user_pseudo_id, param_ga_session_id) "
        .. "values ($1, $2, $3, 'one by one', '5')", tenant, day(spring, i % 2), tostring(1711500000000000 + i))
    end
    t.equal(tx:value "select count(*) from garun.changed_days", 2, "days are noted, whatever the number of rows")
    t.equal(views(), 0, "and not derived yet")
    tx:exec "set constraints garun.garun_derive immediate"
    t.equal(views(), 200, "unless they are asked for")
    tx:exec("delete from page_view where event_timestamp = $1", tostring(1711500000000001))
    tx:exec "set constraints garun.garun_derive deferred"
    tx:exec("delete from page_view where event_timestamp = $1", tostring(1711500000000002))
  end)
  t.equal(views(), 198)
  t.equal(conn:value "select count(*) from garun.changed_days", 0)
end)

-- Puts an event into its table by SQL.
local function insert_event(conn, tenant, e)
  local columns <const> = { "tenant_id", "event_date", "event_timestamp", "user_pseudo_id", "param_ga_session_id",
    "user_prop_webuserid", e.event_name == "purchase" and "param_transaction_id" or "param_page_title" }
  local marks <const> = {}
  for i = 1, #columns do marks[i] = "$" .. i end
  local sql <const> = string.format("insert into %s (%s) values (%s)", e.event_name, table.concat(columns, ", "),
    table.concat(marks, ", "))
  conn:exec(sql, tenant, e.event_date, tostring(e.event_timestamp), e.user_pseudo_id,
    value_of(e.event_params, "ga_session_id"), value_of(e.user_properties, "webuserid"),
    value_of(e.event_params, e.event_name == "purchase" and "transaction_id" or "page_title"))
end

t.test("writers at once, on the same sessions and orders, leave what their events say", function()
  local shop <const> = open_shop(hostile)
  local all <const> = {}
  local function writer(n)
    local conn <close> = shop.db.connect()
    local at <const> = math.floor(time.from_local(day(spring, n), "12:00", zone)) * 1000000
    for round = 1, 8 do
      local mine <const> = {}
      for i, name in ipairs { "page_view", "add_to_cart", "purchase" } do
        local ts <const> = at + (n % 2 == 0 and round or 100 - round) * 10 + i
        mine[i] = hostile.event { name = name, day = day(spring, n), ts = ts, user = "u", ga = round % 3,
          web = "w" .. (n + round) % 4, transaction = name == "purchase" and "T" .. round or nil }
      end
      conn:transaction(function(tx)
        for _, e in ipairs(mine) do
          insert_event(tx, shop.tenant, e)
          task.sleep(0.005)
        end
      end, { isolation = "read committed", retries = 20 })
      for _, e in ipairs(mine) do all[#all + 1] = e end
    end
  end
  task.map({ 1, 2, 3 }, writer, { concurrency = 3 })
  t.equal(#all, 72)
  local o <const> = oracle_of(shop, all)
  check_briefly(shop, o, spring)
  for i = 0, 3 do check(shop, o, "user_history", { user = "w" .. i }) end
end)

t.test("users and locations that come, change and go count at once", function()
  local data <const> = hostile.make { seed = 11, from = spring, days = 12, events = 600, zone = zone }
  local shop <const> = open_shop { users = {}, locations = {} }
  shop.db.ingest { "--source", s.file(lines_of(data.events)) }
  check_briefly(shop, oracle_of(shop, data.events), spring)
  shop.data = { users = hostile.users, locations = hostile.locations }
  add_masters(shop, shop.data)
  check_briefly(shop, oracle_of(shop, data.events), spring)
  shop.conn:exec "update users set buying_company_name = 'Renamed', email = null"
  shop.conn:exec "delete from locations where location_id = 'D01'"
  shop.data = { users = {}, locations = {} }
  for i, u in ipairs(hostile.users) do
    shop.data.users[i] = { user_id = u.user_id, buying_company_name = "Renamed", cell_phone = u.cell_phone,
      office_phone = u.office_phone }
  end
  for _, l in ipairs(hostile.locations) do
    if l.location_id ~= "D01" then table.insert(shop.data.locations, l) end
  end
  check_briefly(shop, oracle_of(shop, data.events), spring)
  check(shop, oracle_of(shop, data.events), "purchase_tasks", { query = "RENAMED" })
end)
