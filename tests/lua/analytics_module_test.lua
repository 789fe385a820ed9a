-- garun.analytics: each call is its SQL function, option by option; what is wrong is told before anything is sent. Whether
-- the functions are right is analytics_test.lua's affair.

local analytics <const> = require "garun.analytics"
local errors <const> = require "garun.error"
local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local s <const> = require "support"
local t <const> = require "garun.test"

local from <const>, to <const> = "2024-03-27", "2024-04-02"

-- The call, its options beside tenant, and what SQL it must be.
local calls <const> = {
  { "purchase_tasks", {}, "get_purchase_tasks($1, 1, 50)" },
  { "purchase_tasks", { page = 2, limit = 3, query = "o", location = "D01", from = from, to = to },
    "get_purchase_tasks($1, 2, 3, 'o', 'D01', '2024-03-27', '2024-04-02')" },
  { "purchase_tasks", { page = 2.0, to = to }, "get_purchase_tasks($1, 2, 50, null, null, null, '2024-04-02')" },
  { "cart_abandonment_tasks", {}, "get_cart_abandonment_tasks($1, 1, 50)" },
  { "cart_abandonment_tasks", { page = 2, limit = 3, query = "p", location = "D01", from = from, to = to },
    "get_cart_abandonment_tasks($1, 2, 3, 'p', 'D01', '2024-03-27', '2024-04-02')" },
  { "search_analysis_tasks", {}, "get_search_analysis_tasks($1, 1, 50)" },
  { "search_analysis_tasks", { limit = 7, query = "o", location = "D01", from = from, to = to, include_converted = true },
    "get_search_analysis_tasks($1, 1, 7, 'o', 'D01', '2024-03-27', '2024-04-02', true)" },
  { "search_analysis_tasks", { limit = 1000, include_converted = true },
    "get_search_analysis_tasks($1, 1, 1000, null, null, null, null, true)" },
  { "search_analysis_tasks", { limit = 1000, include_converted = false }, "get_search_analysis_tasks($1, 1, 1000)" },
  { "repeat_visit_tasks", {}, "get_repeat_visit_tasks($1, 1, 50)" },
  { "repeat_visit_tasks", { page = 2, limit = 1, query = "e", location = "D01", from = from, to = to },
    "get_repeat_visit_tasks($1, 2, 1, 'e', 'D01', '2024-03-27', '2024-04-02')" },
  { "performance_tasks", {}, "get_performance_tasks($1, 1, 50)" },
  { "performance_tasks", { page = 2, limit = 3, location = "D01", from = from, to = to },
    "get_performance_tasks($1, 2, 3, 'D01', '2024-03-27', '2024-04-02')" },
  { "dashboard", {}, "get_complete_dashboard_data($1, null, null)" },
  { "dashboard", { from = from, to = to, granularity = "4hours", location = "D01" },
    "get_complete_dashboard_data($1, '2024-03-27', '2024-04-02', '4hours', 'D01')" },
  { "locations", {}, "get_locations($1)" },
  { "data_availability", {}, "get_data_availability($1)" },
  { "session_history", { session = "33" }, "get_session_history($1, '33')" },
  { "session_history", { session = "no such" }, "get_session_history($1, 'no such')" },
  { "user_history", { user = "col" }, "get_user_history($1, 'col')" },
  { "processing_jobs", {}, "get_processing_jobs($1, 1, 50)" },
  { "processing_jobs", { page = 1, limit = 1, status = "failed" }, "get_processing_jobs($1, 1, 1, 'failed')" },
  { "email_jobs", {}, "get_email_jobs($1, 1, 50)" },
  { "email_jobs", { page = 2, limit = 1, status = "queued" }, "get_email_jobs($1, 2, 1, 'queued')" },
  { "email_send_history", {}, "get_email_send_history($1, 1, 50)" },
  { "email_send_history", { page = 1, limit = 2, status = "sent", branch = "D01", from = "2024-01-02", to = "2024-01-03" },
    "get_email_send_history($1, 1, 2, 'sent', 'D01', '2024-01-02', '2024-01-03')" },
}

local function shop()
  local data <const> = hostile.make { seed = 41, from = "2024-03-25", days = 12, events = 1200, zone = "UTC" }
  local db <const> = s.tenant()
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  local tenant <const> = conn:value "select id from tenant_config"
  for _, l in ipairs(data.locations) do
    conn:exec("insert into locations (tenant_id, location_id, location_name, city, state) values ($1, $2, $3, $4, $5)", tenant,
      l.location_id, l.location_name, l.city, l.state)
  end
  for _, u in ipairs(data.users) do
    conn:exec("insert into users (tenant_id, user_id, buying_company_name, email) values ($1, $2, $3, $4)", tenant, u.user_id,
      u.buying_company_name, u.email)
  end
  local lines <const> = {}
  for i, e in ipairs(data.events) do lines[i] = json.encode(e) end
  db.ingest { "--source", s.file(lines) }
  for i = 1, 4 do
    conn:exec([[insert into purchase (tenant_id, event_date, event_timestamp, param_transaction_id, user_prop_default_branch_id)
      values ($1, '2024-03-28', '1711584000000000', $2, 'D01')]], tenant, "order " .. i)
    conn:exec([[insert into page_view (tenant_id, event_date, event_timestamp, user_pseudo_id, param_ga_session_id,
        user_prop_webuserid, user_prop_default_branch_id)
      values ($1, '2024-03-28', '1711584000000000', 'again', $2, $3, 'D01')]], tenant, "again" .. i, i <= 2 and "again1" or "again2")
    conn:exec("insert into users (tenant_id, user_id, email) values ($1, $2, 'e@again.example')", tenant, "again" .. i)
    conn:exec("insert into email_sending_jobs (tenant_id, job_id, status, report_date) values ($1, $2, $3, '2024-01-01')", tenant, "job" .. i,
      i % 2 == 0 and "queued" or "failed")
    conn:exec("insert into processing_jobs (tenant_id, job_id, status, data_types) values ($1, $2, 'failed', $3)", tenant,
      "p" .. i, require("garun.pg").json { "events" })
    conn:exec("insert into email_send_history (tenant_id, branch_code, status, report_date) values ($1, $2, 'sent', $3)", tenant,
      i < 4 and "D01" or "D02", "2024-01-0" .. i)
  end
  return conn, tenant
end

t.test("every call gives what its SQL function says", function()
  local conn <const>, tenant <const> = shop()
  local seen <const> = {}
  for _, call in ipairs(calls) do
    local name <const>, opts <const>, sql <const> = table.unpack(call)
    opts.tenant = tenant
    local want <const> = conn:value("select " .. sql .. "::text", tenant)
    t.equal(analytics[name](conn, opts), json.decode(want), sql)
    opts.nulls = true
    t.equal(analytics[name](conn, opts), json.decode(want, { nulls = true }), sql)
    seen[name] = true
    local rows <const> = json.decode(want)
    if rows.total then t.ok(rows.total > 0, sql .. " has rows, else the test says nothing") end
  end
  for name in pairs(analytics) do t.ok(seen[name] or name == "pages", name .. " is tested") end
  t.ok(json.is_array(analytics.session_history(conn, { tenant = tenant, session = "no such" })))
  t.ok(json.is_array(analytics.purchase_tasks(conn, { tenant = tenant, page = 1000 }).data))
  t.equal(analytics.purchase_tasks(conn, { tenant = "00000000-0000-0000-0000-000000000000" }).total, 0)
end)

t.test("numbers: counts are integers, money is what the database wrote", function()
  local conn <const>, tenant <const> = shop()
  conn:exec "delete from purchase"
  conn:exec([[insert into purchase (tenant_id, event_date, event_timestamp, param_transaction_id, ecommerce_purchase_revenue)
    values ($1, '2024-03-25', '1711324800000000', 'A', 12.50), ($1, '2024-03-26', '1711411200000000', 'B', 4999999999999.99)]], tenant)
  local page <const> = analytics.purchase_tasks(conn, { tenant = tenant })
  t.equal(math.type(page.total), "integer")
  t.equal(page.data[1].order_value, 4999999999999.99)
  t.equal(page.data[2].order_value, 12.5)
  local m <const> = analytics.dashboard(conn, { tenant = tenant }).metrics
  t.equal(m.totalRevenue, 5000000000012.49)
  t.equal({ math.type(m.totalPurchases), math.type(m.totalVisitors), math.type(m.failedSearches) }, { "integer", "integer", "integer" })
end)

t.test("pages gives every row once, in order, a thousand at a time", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id from tenant_config"
  conn:exec([[insert into purchase (tenant_id, event_date, event_timestamp, param_transaction_id, ecommerce_purchase_revenue)
    select $1, '2024-01-01', (1704067200000000 + n)::text, 'T' || n, n from generate_series(1, 2345) n]], tenant)
  local asked <const> = {}
  local spy <const> = analytics.purchase_tasks
  local n = 0
  for row in analytics.pages(spy, conn, { tenant = tenant, from = "2024-01-01" }) do
    t.equal(row.transaction_id, "T" .. 2345 - n)
    n = n + 1
  end
  t.equal(n, 2345)
  n = 0
  for row in analytics.pages(spy, conn, { tenant = tenant, query = "t234" }) do
    asked[#asked + 1] = row.transaction_id
    n = n + 1
    if n == 3 then break end
  end
  t.equal(asked, { "T2345", "T2344", "T2343" })
  conn:exec "delete from purchase where ecommerce_purchase_revenue > 2000"
  n = 0
  local next_row <const> = analytics.pages(spy, conn, { tenant = tenant })
  while next_row() do n = n + 1 end
  t.equal(n, 2000)
  t.equal(next_row(), nil)
  t.equal(analytics.pages(spy, conn, { tenant = tenant, to = "2023-12-31" })(), nil)
end)

t.test("pages goes through the bounced sessions, and all its functions", function()
  local conn <const>, tenant <const> = shop()
  local ids <const> = {}
  for row in analytics.pages(analytics.performance_tasks, conn, { tenant = tenant }) do ids[#ids + 1] = row.session_id or "" end
  local page <const> = analytics.performance_tasks(conn, { tenant = tenant, limit = 1000 })
  t.ok(page.total > 20 and #ids == page.total)
  for i, row in ipairs(page.data.bounced_sessions) do t.equal(ids[i], row.session_id) end
  for _, name in ipairs { "cart_abandonment_tasks", "search_analysis_tasks", "repeat_visit_tasks", "processing_jobs", "email_jobs",
    "email_send_history" } do
    local n = 0
    for _ in analytics.pages(analytics[name], conn, { tenant = tenant }) do n = n + 1 end
    t.equal(n, analytics[name](conn, { tenant = tenant }).total, name)
  end
end)

t.test("wrong options raise kind usage, name the option, and nothing is sent", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id from tenant_config"
  local function refused(pattern, name, opts)
    if opts.tenant == nil then opts.tenant = tenant end
    local e <const> = t.raises({ kind = "usage" }, analytics[name], conn, opts)
    t.match(e.message, pattern)
    t.ok(not e.message:find "p_%l", e.message)
    return e
  end
  conn:exec "begin"
  refused("purchase_tasks.*unknown option.*limitt", "purchase_tasks", { limitt = 5 })
  refused("option tenant is a tenant's id .*, not \"acme\"", "purchase_tasks", { tenant = "acme" })
  refused("option tenant is", "locations", { tenant = 5 })
  for _, page in ipairs { 0, -1, 1.5, "1", 2147483648, 0 / 0, math.huge } do
    refused("option page is a whole number from 1, not", "purchase_tasks", { page = page })
  end
  for _, limit in ipairs { 0, 1001, 0.5, "50", true } do
    refused("option limit is a whole number from 1 to 1000", "email_jobs", { limit = limit })
  end
  for _, date in ipairs { "2024-02-30", "2024-1-1", "yesterday", 20240101, "" } do
    refused("option from is a date", "purchase_tasks", { from = date })
    refused("option to is a date", "dashboard", { to = date })
  end
  refused("option to %(2024%-01%-01%) is before option from %(2024%-01%-02%)", "dashboard", { from = "2024-01-02", to = "2024-01-01" })
  t.match(refused("option granularity is hourly, .* or monthly, not \"dayly\"", "dashboard", { granularity = "dayly" }).hint, "daily")
  refused("option granularity is", "dashboard", { granularity = 4 })
  refused("option include_converted is true or false", "search_analysis_tasks", { include_converted = "yes" })
  refused("option include_converted", "search_analysis_tasks", { include_converted = 1 })
  refused("unknown option", "purchase_tasks", { include_converted = true })
  refused("option status is queued, processing, completed or failed, not \"done\"", "processing_jobs", { status = "done" })
  refused("option branch is text", "email_send_history", { branch = 7 })
  refused("option query is text", "purchase_tasks", { query = "a\0b" })
  refused("option query is text", "purchase_tasks", { query = "\xff" })
  refused("option location is text", "dashboard", { location = 7 })
  refused("option session is missing", "session_history", {})
  refused("option user is missing", "user_history", {})
  t.raises("option tenant is missing", analytics.locations, conn)
  t.raises("argument db is a connection of garun.pg, not a table", analytics.locations, { tenant = tenant })
  t.raises("option page is chosen by it", analytics.pages, analytics.purchase_tasks, conn, { tenant = tenant, page = 2 })
  t.raises("option limit is chosen by it", analytics.pages, analytics.purchase_tasks, conn, { tenant = tenant, limit = 2 })
  t.raises("argument fn is a function that gives pages", analytics.pages, analytics.dashboard, conn, { tenant = tenant })
  t.raises("argument fn", analytics.pages, nil, conn, {})
  t.raises("argument opts is a table, not a nil", analytics.pages, analytics.purchase_tasks, conn)
  t.equal(conn:status(), "transaction", "no statement failed in it")
  conn:exec "rollback"
end)

t.test("what only the server can refuse names the options too", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local e <const> = t.raises({ kind = "usage", code = "22023" }, analytics.dashboard, conn,
    { tenant = conn:value "select id from tenant_config", from = "1990-01-01", to = "2024-01-01", granularity = "hourly" })
  t.match(e.message, "analytics.dashboard: granularity hourly makes a chart of more than 100000 buckets from 1990%-01%-01 to 2024")
  t.match(e.hint, "coarser")
  t.ok(errors.is(e.cause, "pg"))
  conn:exec "drop function get_locations"
  local other <const> = t.raises({ kind = "pg", code = "42883" }, analytics.locations, conn,
    { tenant = "00000000-0000-0000-0000-000000000000" })
  t.match(other.message, "get_locations")
end)
