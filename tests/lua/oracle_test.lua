-- The oracle itself: small cases whose answers were worked out by hand from domain.md section 4, and that the hostile
-- events hold what they promise.

local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local oracle <const> = require "oracle"
local t <const> = require "garun.test"

local second <const> = 1000000
local noon <const> = 1704110400 * second     -- 2024-01-01 12:00 UTC

-- Events of 2024-01-01: { name, seconds after noon, fields }
local function given(list, opts)
  local out <const> = {}
  for i, e in ipairs(list) do
    local fields <const> = { name = e[1], ts = noon + e[2] * second, day = "2024-01-01" }
    for k, v in pairs(e[3] or {}) do fields[k] = v end
    out[i] = hostile.event(fields)
  end
  return oracle.new(hostile.decoded(out), opts)
end

local function field(list, name)
  local out <const> = {}
  for i, r in ipairs(list) do out[i] = r[name] end
  return out
end

t.test("columns come from the fields in the order of section 2", function()
  local row <const> = require("oracle_events").row(json.decode [[{"event_name":"view_search_results_no_results",
    "event_date":"20240105","event_timestamp":"1704412800000001","user_pseudo_id":null,
    "user_properties":[{"key":"WebUserID","value":{"string_value":"x","int_value":"4711"}},
      {"key":"DEFAULT_BRANCH_ID","value":{"string_value":null,"int_value":7}}],
    "event_params":[{"key":"ga_session_id","value":{"double_value":123.0}},{"key":"search_term","value":{"string_value":"b"}},
      {"key":"no_search_results_term","value":{"string_value":"a"}}]}]])
  t.equal(row, { tab = "no_search_results", day = "2024-01-05", ts = 1704412800000001, webuser = "4711", branch = "7",
    ga = "123", term = "a", items = json.array {} })
end)

t.test("a repeated event is one by its batch ids, and without them only when it is wholly the same", function()
  local function view(user, batch)
    local e <const> = hostile.event { name = "page_view", day = "2024-01-01", ts = 5, user = "u", title = user }
    e.batch_page_id, e.batch_ordering_id, e.batch_event_index = batch, batch, batch
    return e
  end
  t.equal(#oracle.new({ view("a", 1), view("b", 1), view("a", 2) }).rows, 2)
  t.equal(#oracle.new({ view("a"), view("b"), view("a") }).rows, 2)
end)

t.test("a login in mid-session names the whole session; the last one counts", function()
  local o <const> = given {
    { "page_view", 0, { user = "u", ga = 1 } },
    { "page_view", 1, { user = "u", ga = 1, web = "B" } },
    { "page_view", 2, { user = "u", ga = 1, web = "A" } },
    { "page_view", 3, { user = "u", ga = 1 } },
    { "page_view", 4, { user = "u", ga = 2 } },
    { "page_view", 5, { user = "v", ga = 1 } },
  }
  t.equal(#o.sessions, 3, "a session is user and session id")
  t.equal(#o:user_history "A", 4)
  t.equal(#o:user_history "B", 0)
  t.equal(field(o:user_history "u", "session_id"), { "2" }, "the device's own anonymous session")
  t.equal(field(o:session_history "1", "user_pseudo_id"), { "u", "u", "u", "u", "v" })
end)

t.test("an order is a transaction id, on the day and at the branch of its first event", function()
  local o <const> = given {
    { "purchase", 0, { user = "u", ga = 1, transaction = "T", revenue = 10.5, branch = "D01" } },
    { "purchase", 86400, { day = "2024-01-02", user = "u", ga = 2, transaction = "T", revenue = 99, branch = "D02" } },
    { "purchase", 2, { transaction = "" } },
    { "purchase", 3, { transaction = "" } },
    { "purchase", 4, { revenue = 0.25 } },
  }
  local all <const> = o:purchase_tasks {}
  t.equal(all.total, 4)
  t.equal(field(all.data, "event_date"), { "2024-01-01", "2024-01-01", "2024-01-01", "2024-01-01" })
  t.equal(all.data[1].order_value, 0.25)
  t.equal(all.data[2].order_value, nil)
  t.equal(all.data[4], { transaction_id = "T", event_date = "2024-01-01", order_value = 10.5, ga_session_id = "1",
    products = json.array {} })
  t.equal(o:purchase_tasks({ from = "2024-01-02" }).total, 0)
  t.equal(o:purchase_tasks({ location = "D02" }).total, 0)
  t.equal(o:dashboard({}).metrics.totalRevenue, 10.75)
end)

t.test("queries are substrings without case, and wildcards are letters", function()
  local users <const> = { { user_id = "7", buying_company_name = "100% Bolts", email = "A_b@x" } }
  local o <const> = given({
    { "purchase", 0, { user = "u", ga = 1, web = 7, transaction = "T-1" } },
    { "purchase", 1, { user = "v", ga = 1, items = json.array { { item_id = "axb", item_name = "Nut" } } } },
  }, { users = users })
  local function count(q) return o:purchase_tasks({ query = q }).total end
  t.equal({ count "", count "0% b", count "_", count "A_B", count "AXB", count "nut", count "t-1", count "%", count "x%" },
    { 2, 1, 1, 1, 1, 1, 1, 1, 0 })
end)

t.test("a page past the end keeps the total", function()
  local list <const> = {}
  for i = 1, 5 do list[i] = { "purchase", i, {} } end
  local o <const> = given(list)
  local e <const> = o:purchase_tasks { page = 2, limit = 2 }
  t.equal({ #e.data, e.total, e.page, e.limit, e.has_more }, { 2, 5, 2, 2, true })
  t.equal(o:purchase_tasks({ page = 3, limit = 2 }).has_more, false)
  t.equal(o:purchase_tasks { page = 9, limit = 2 }, { data = json.array {}, total = 5, page = 9, limit = 2, has_more = false })
end)

t.test("a cart is given up unless its session or its user bought after it", function()
  local function abandoned(purchase, f)
    local list <const> = { { "add_to_cart", 10, { user = "u", ga = 1, web = "w" } } }
    if purchase then list[2] = purchase end
    return given(list):cart_abandonment_tasks(f or {}).total
  end
  t.equal(abandoned(), 1)
  t.equal(abandoned { "purchase", 5, { user = "u", ga = 1 } }, 0, "in the session, before it")
  t.equal(abandoned { "purchase", 5, { user = "u", ga = 2 } }, 1, "in another session, before it")
  t.equal(abandoned { "purchase", 10, { user = "u", ga = 2 } }, 1, "at the same moment")
  t.equal(abandoned { "purchase", 11, { user = "u", ga = 2 } }, 0, "after it, on the device")
  t.equal(abandoned { "purchase", 11, { user = "v", ga = 2, web = "w" } }, 0, "after it, on another device")
  t.equal(abandoned { "purchase", 11, { user = "v", ga = 1 } }, 1, "somebody else with that session id")
  t.equal(abandoned { "purchase", 11, { user = "u" } }, 1, "without a session")
  local tomorrow <const> = { "purchase", 90000, { day = "2024-01-02", user = "u", ga = 1 } }
  t.equal(abandoned(tomorrow, { to = "2024-01-01" }), 1, "later than asked")
  t.equal(abandoned(tomorrow), 0)
end)

t.test("a cart's products: the same item once, its last price, the exact value", function()
  local function add(at, items) return { "add_to_cart", at, { user = "u", ga = 1, items = items and json.array(items) } } end
  local o <const> = given {
    add(1, { { item_id = "A", item_name = "old", price = 0.1, quantity = 3 }, { item_name = "N", price = "2.50" } }),
    add(2, { { item_id = "A", item_name = "new", price = "0.2", quantity = "2" }, { price = "abc", quantity = "many" } }),
    add(3, { { item_id = "A", item_category = "C" } }),
    add(4),
  }
  local row <const> = o:cart_abandonment_tasks({}).data[1]
  t.equal(row.products, json.array {
    { item_id = "A", item_name = "new", item_category = "C", price = 0.2, quantity = 6.0 },
    { item_name = "N", price = 2.5, quantity = 1.0 },
    { quantity = 1.0 },
  })
  t.equal({ row.items_count, row.total_value }, { 8.0, 3.2 })
  t.equal(row.last_activity, "2024-01-01T12:00:04.000000Z")
end)

t.test("searches: failed ones always, the others where three found nothing to buy", function()
  local function search(at, ga, term, name)
    return { name or "view_search_results", at, { user = "u", ga = ga, term = term } }
  end
  local list <const> = {
    search(1, 1, " Nut "), search(2, 1, "nut\t"), search(3, 1, " "),
    search(4, 2, "nut"), search(5, 2, "bolt"),
    search(6, 3, "a"), search(7, 3, "a"), search(8, 3, "a"), { "purchase", 9, { user = "u", ga = 3 } },
    search(10, nil, "NUT", "no_search_results"), search(11, nil, "nut", "view_search_results_no_results"),
    search(12, 1, "", "no_search_results"),
  }
  local o <const> = given(list)
  local r <const> = o:search_analysis_tasks {}
  t.equal(field(r.data, "search_type"), { "no_results", "no_conversion" })
  t.equal(field(r.data, "search_term"), { "nut", "nut" })
  t.equal(field(r.data, "search_count"), { 2, 2 })
  t.equal(r.data[1].session_id, nil)
  t.equal(r.top_terms, json.array {
    { search_term = "nut", search_count = 5, sessions = 2, zero_results = 2 },
    { search_term = "a", search_count = 3, sessions = 1, zero_results = 0 },
    { search_term = "bolt", search_count = 1, sessions = 1, zero_results = 0 },
  })
  local with <const> = o:search_analysis_tasks { include_converted = true, query = "A" }
  t.equal(field(with.data, "search_type"), { "converted" })
  t.equal(#with.top_terms, 3)
  local m <const> = o:dashboard({}).metrics
  t.equal({ m.totalSearches, m.failedSearches }, { 11, 3 })
end)

t.test("repeat visits: two sessions with a page view, no purchase under any id", function()
  local list <const> = {
    { "page_view", 1, { user = "u", ga = 1, web = "w" } }, { "page_view", 2, { user = "v", ga = 1, web = "w" } },
    { "view_item", 3, { user = "v", ga = 1, url = "/a",
      items = json.array { { item_id = "A", price = "1.5" }, { price = 1 } } } },
    { "view_item", 4, { user = "v", ga = 1, url = "/b", items = json.array { { item_id = "A", item_name = "a" } } } },
    { "page_view", 5, { user = "z", ga = 1 } }, { "page_view", 6, { user = "z", ga = 1 } },
    { "add_to_cart", 7, { user = "z", ga = 2 } },
  }
  local o = given(list)
  t.equal(o:repeat_visit_tasks({}).data, json.array { { visitor_id = "w", user_id = "w", visits = 2, page_views_count = 2,
    products_viewed = 1, products_details = json.array { { title = "a", url = "/b" } },
    last_activity = "2024-01-01T12:00:04.000000Z", event_date = "2024-01-01" } })
  t.equal(o:dashboard({}).metrics.repeatVisits, 1)
  t.equal(o:dashboard({}).metrics.uniqueUsers, 2)
  list[#list + 1] = { "purchase", 0, { user = "v", ga = 9 } }
  o = given(list)
  t.equal(o:repeat_visit_tasks({}).total, 0, "bought on a device of the user's, before logging in")
  t.equal(o:dashboard({}).metrics.repeatVisits, 1, "still a repeat visit")
end)

t.test("buckets: local hours of event_date, every one of them there", function()
  local o <const> = given({
    { "page_view", 0, { user = "u", ga = 1 } },                                           -- 13:00 in Vienna
    { "page_view", 3600, { user = "u", ga = 1 } },                                        -- 14:00
    { "view_search_results", 11 * 3600, { user = "u", ga = 1 } },                         -- 00:00 of the next day
    { "purchase", -14 * 3600, { user = "u", ga = 1, revenue = 5 } },                      -- 23:00 of the day before
    { "add_to_cart", 4 * 3600, { user = "v", ga = 1 } },
  }, { time_zone = "Europe/Vienna" })
  local hourly <const> = o:dashboard({ granularity = "hourly" }).chartData
  t.equal(#hourly, 24)
  t.equal(hourly[1], { date = "2024-01-01T00:00", revenue = 5.0, purchases = 1, visitors = 0, carts = 0, searches = 0 })
  t.equal({ hourly[14].visitors, hourly[15].visitors, hourly[24].searches, hourly[18].carts }, { 1, 1, 1, 1 })
  local half <const> = o:dashboard({ granularity = "12hours" }).chartData
  t.equal(field(half, "visitors"), { 0, 1 })
  t.equal(field(o:dashboard({ granularity = "4hours" }).chartData, "date")[6], "2024-01-01T20:00")
  local f <const> = { from = "2023-12-30", to = "2024-01-09" }
  local function dates(g) return field(o:dashboard({ from = f.from, to = f.to, granularity = g }).chartData, "date") end
  t.equal(dates "weekly", { "2023-12-25", "2024-01-01", "2024-01-08" })
  t.equal(dates "monthly", { "2023-12-01", "2024-01-01" })
  t.equal(#dates "daily", 11)
end)

t.test("location rows: each branch as a filter would see it, and those of no known branch together", function()
  local places <const> = { { location_id = "D01", location_name = "Graz" }, { location_id = "D02" } }
  local o <const> = given({
    { "page_view", 1, { user = "u", ga = 1, branch = "D01" } }, { "page_view", 2, { user = "u", ga = 1, branch = "X" } },
    { "page_view", 3, { user = "u", ga = 2 } }, { "purchase", 4, { revenue = 3, branch = "X" } },
    { "purchase", 5, { revenue = 2, branch = "D02" } }, { "no_search_results", 6, { branch = "D02" } },
  }, { locations = places })
  local function stats(f) return o:dashboard(f).locationStats end
  local all <const> = stats {}
  t.equal({ all[1].locationId, all[2].locationId, all[3].locationId }, { "D02", "D01", nil })
  t.equal(field(all, "totalRevenue"), { 2.0, 0.0, 3.0 })
  t.equal(field(all, "totalVisitors"), { 0, 1, 2 })
  t.equal(field(all, "repeatVisits"), { 0, 0, 1 })
  t.equal(field(all, "failedSearches"), { 1, 0, 0 })
  t.equal(stats { location = "X" }, json.array { { totalRevenue = 3.0, totalPurchases = 1, totalVisitors = 1,
    abandonedCarts = 0, repeatVisits = 0, failedSearches = 0 } })
  t.equal(o:dashboard({}).metrics.conversionRate, 1.0)
end)

t.test("bounces: one distinct page, whatever the query and the fragment", function()
  local function view(at, user, url) return { "page_view", at, { user = user, ga = 1, url = url } } end
  local o <const> = given {
    view(1, "a", "/p?x=1#y"), view(2, "a", "/p#z?"), view(3, "a"), view(4, "b", "/p"), view(5, "b", "/q"), view(6, "c"),
    view(7, "d", "/q"), view(8, "e", "/p"),
  }
  local r <const> = o:performance_tasks {}
  t.equal(r.total, 3)
  t.equal(field(r.data.bounced_sessions, "entry_page"), { "/p", "/q", "/p" })
  t.equal(r.data.frequently_bounced_pages, json.array { { entry_page = "/p", bounce_count = 2 },
    { entry_page = "/q", bounce_count = 1 } })
end)

t.test("history tells the details of each type", function()
  local item <const> = json.array { { item_id = "A", item_name = "a", item_category = "c", price = "1.5", quantity = "2" } }
  local o <const> = given {
    { "add_to_cart", 2, { user = "u", ga = 1, items = item } }, { "view_item", 1, { user = "u", ga = 1, items = item } },
    { "no_search_results", 3, { user = "u", ga = 1, term = " X " } },
    { "purchase", 4, { user = "u", ga = 1, transaction = 5, revenue = 1.5 } }, { "page_view", 0, { ga = 1 } },
  }
  local h <const> = o:session_history "1"
  t.equal(field(h, "event_type"), { "view_item", "add_to_cart", "no_search_results", "purchase" })
  t.equal(h[1].details, { item_id = "A", item_name = "a", category = "c", price = 1.5 })
  t.equal(h[2].details.quantity, 2.0)
  t.equal(h[3].details, { search_term = " X " })
  t.equal(h[4].details, { transaction_id = "5", revenue = 1.5, items = json.array {} })
  t.equal(h[1].event_timestamp, "2024-01-01T12:00:01.000000Z")
end)

t.test("days with data, and none", function()
  local o <const> = given {
    { "page_view", 1, { day = "2024-01-03" } }, { "purchase", 2, { day = "2024-01-01" } },
    { "scroll", 3, { day = "2024-02-01" } },
  }
  local a <const> = o:data_availability()
  t.equal({ a.first_day, a.last_day, a.total_events, #a.days }, { "2024-01-01", "2024-01-03", 2, 2 })
  t.equal(a.tables.purchase, { events = 1, first_day = "2024-01-01", last_day = "2024-01-01" })
  t.equal(field(a.days, "page_view"), { 0, 1 })
  local none <const> = given {}
  t.equal(none:data_availability().total_events, 0)
  t.equal(none:dashboard({}).chartData, json.array {})
  t.equal(#none:dashboard({}).locationStats, 1)
end)

t.test("the hostile events are the same for the same seed, and hold what is hard", function()
  for _, from in ipairs { "2024-03-25", "2024-10-21" } do
    local opts <const> = { seed = 1, from = from, days = 12, events = 1500, zone = "Europe/Vienna" }
    local data <const> = hostile.make(opts)
    local function text(list) return json.encode(list, { sort_keys = true }) end
    t.equal(text(hostile.make(opts).events), text(data.events))
    local o <const> = oracle.new(hostile.decoded(data.events), { users = data.users, locations = data.locations,
      time_zone = opts.zone })
    t.ok(#o.rows > 1200 and #o.rows < #data.events, #o.rows)
    local people <const>, branches <const>, days <const>, logins <const> = {}, {}, {}, {}
    for _, s in ipairs(o.sessions) do
      people[s.id] = (people[s.id] or 0) + 1
      for _, r in ipairs(s.rows) do
        if r.branch ~= s.rows[1].branch then branches[s] = true end
        if r.day ~= s.rows[1].day then days[s] = true end
        if r.webuser ~= s.rows[1].webuser then logins[s] = true end
      end
    end
    local function size(set)
      local n = 0
      for _, v in pairs(set) do n = n + (v and 1 or 0) end
      return n
    end
    local shared = 0
    for _, n in pairs(people) do shared = shared + (n > 1 and 1 or 0) end
    t.ok(shared >= 10 and size(branches) > 30 and size(days) > 30 and size(logins) > 20)
    local with <const> = o:search_analysis_tasks { include_converted = true, limit = 1000 }
    local kinds <const> = {}
    for _, r in ipairs(with.data) do kinds[r.search_type] = true end
    t.equal(kinds, { no_results = true, no_conversion = true, converted = true })
    t.equal(#with.top_terms, 20)
    t.ok(#o:performance_tasks({}).data.frequently_bounced_pages == 10)
    t.ok(o:repeat_visit_tasks({}).total >= 5)
    t.ok(o:cart_abandonment_tasks({}).total >= 30)
    local most = 0
    for _, r in ipairs(o:repeat_visit_tasks({}).data) do most = math.max(most, r.products_viewed) end
    t.ok(most > 20, "more products than are shown")
  end
end)
