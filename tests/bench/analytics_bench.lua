-- analytics_bench: times every analytics function on a month of events (analytics_data.lua) in a private server with the
-- settings operators get. Prints medians against the targets; --explain NAME shows where a function's time goes.

local pg <const> = require "garun.pg"
local data <const> = require "analytics_data"
local time <const> = require "garun.time"

local ROOT <const> = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/../.."

local usage <const> = [[
usage: garun tests/bench/analytics_bench.lua [--scale N] [--rounds N] [--dir DIR] [--only NAME] [--rebuild]

  --scale N    1: 1 M page views (default), 10: ten times as much of everything
  --rounds N   each function is timed so often, the median counts (default 7)
  --dir DIR    where server and data are kept for the next run (default build/bench)
  --only TEXT  only questions whose name contains it
  --rebuild    derive garun's rows anew first, and time that]]

-- What is asked: name, SQL with $1 the tenant, limits in ms for scale 1 and 10.
local MONTH <const> = "'2024-01-01', '2024-01-31'"
local DAY <const> = "'2024-01-15', '2024-01-15'"

local QUESTIONS <const> = {
  { "purchases, month", "get_purchase_tasks($1, 1, 50, null, null, " .. MONTH .. ")", 300, 2000 },
  { "carts, month", "get_cart_abandonment_tasks($1, 1, 50, null, null, " .. MONTH .. ")", 300, 2000 },
  { "searches, month", "get_search_analysis_tasks($1, 1, 50, null, null, " .. MONTH .. ")", 300, 2000 },
  { "repeat visits, month", "get_repeat_visit_tasks($1, 1, 50, null, null, " .. MONTH .. ")", 300, 2000 },
  { "performance, month", "get_performance_tasks($1, 1, 50, null, " .. MONTH .. ")", 300, 2000 },
  { "dashboard, month, daily", "get_complete_dashboard_data($1, " .. MONTH .. ", 'daily')", 300, 2000 },
  { "dashboard, month, hourly", "get_complete_dashboard_data($1, " .. MONTH .. ", 'hourly')", 300, 2000 },
  { "purchases, month, query", "get_purchase_tasks($1, 1, 50, 'buyer12', null, " .. MONTH .. ")", 300, 2000 },
  { "carts, month, query", "get_cart_abandonment_tasks($1, 1, 50, 'widget 77', null, " .. MONTH .. ")", 300, 2000 },
  { "repeat visits, month, query", "get_repeat_visit_tasks($1, 1, 50, 'company 12', null, " .. MONTH .. ")", 300, 2000 },
  { "purchases, branch-day", "get_purchase_tasks($1, 1, 50, null, 'D010', " .. DAY .. ")", 10, 10 },
  { "carts, branch-day", "get_cart_abandonment_tasks($1, 1, 50, null, 'D010', " .. DAY .. ")", 10, 10 },
  { "searches, branch-day", "get_search_analysis_tasks($1, 1, 50, null, 'D010', " .. DAY .. ")", 10, 10 },
  { "repeat visits, branch-day", "get_repeat_visit_tasks($1, 1, 50, null, 'D010', " .. DAY .. ")", 10, 10 },
  { "performance, branch-day", "get_performance_tasks($1, 1, 50, 'D010', " .. DAY .. ")", 10, 10 },
  { "dashboard, branch-day", "get_complete_dashboard_data($1, " .. DAY .. ", 'daily', 'D010')", 10, 10 },
  { "session history", "get_session_history($1, (select ga_session_id from garun.session_days where tenant_id = $1 "
    .. "and event_date = '2024-01-15' and events > 10 limit 1))", 5, 5 },
  { "user history", "get_user_history($1, (select webuserid from garun.session_days where tenant_id = $1 "
    .. "and event_date = '2024-01-15' and webuserid is not null limit 1))", 5, 5 },
  { "data availability", "get_data_availability($1)", 10, 10 },
}

local function options()
  local o <const>, i = { scale = 1, rounds = 7, dir = ROOT .. "/build/bench" }, 1
  while arg[i] do
    local name <const> = arg[i]:match("^%-%-(%a+)$")
    if name == "rebuild" then
      o.rebuild = true
    elseif name == "scale" or name == "rounds" then
      i = i + 1
      o[name] = math.tointeger(tonumber(arg[i])) or error(usage, 0)
    elseif name == "dir" or name == "only" then
      i = i + 1
      o[name] = arg[i] or error(usage, 0)
    else
      error(usage, 0)
    end
    i = i + 1
  end
  return o
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local o <const> = options()
local where <const>, made <const> = data.database(o.dir, o.scale, print)
local db <close> = pg.connect(where)
if o.rebuild or made then
  local started <const> = time.monotonic()
  local days <const> = db:value("select garun.rebuild($1)", data.TENANT)
  print(string.format("rebuild: %d days in %.1f s", days, time.monotonic() - started))
  for _, name in ipairs(data.tables) do db:exec("vacuum analyze " .. name) end
  for _, name in ipairs { "session_days", "visitor_days", "cart_days", "purchases", "search_days", "hour_stats", "day_stats",
    "event_days" } do
    db:exec("vacuum analyze garun." .. name)
  end
end
for _, r in ipairs(db:query [[
    select c.relname as name, c.reltuples::bigint as n, pg_size_pretty(pg_total_relation_size(c.oid)) as size from pg_class c
      join pg_namespace s on s.oid = c.relnamespace where s.nspname in ('public', 'garun') and c.relkind = 'r'
       and c.reltuples > 1000 order by 1]]) do
  print(string.format("  %-22s %10d rows %10s", r.name, r.n, r.size))
end
local missed = 0
print(string.format("%-30s %9s %9s", "question", "median ms", "limit ms"))
for _, q in ipairs(QUESTIONS) do
  local name <const>, sql <const>, limit <const> = q[1], q[2], o.scale >= 10 and q[4] or q[3]
  if not o.only or name:find(o.only, 1, true) then
    local times <const> = {}
    for i = 0, o.rounds do
      local started <const> = time.monotonic()
      db:exec("select " .. sql, data.TENANT)
      if i > 0 then times[i] = (time.monotonic() - started) * 1000 end
    end
    local ms <const> = median(times)
    if ms > limit then missed = missed + 1 end
    print(string.format("%-30s %9.1f %9d%s", name, ms, limit, ms > limit and "  MISSED" or ""))
  end
end
print(missed == 0 and "all within their limits" or missed .. " over their limit")
