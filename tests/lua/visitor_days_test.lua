-- Users, visits and repeat visits of every range come out of garun.day_stats by addition: here they are counted from
-- garun.session_days by grouping, for each range there is, whatever locations are known and in whatever order days came.

local analytics <const> = require "garun.analytics"
local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local s <const> = require "support"
local t <const> = require "garun.test"
local time <const> = require "garun.time"

local FROM <const>, DAYS <const> = "2024-03-25", 12

-- Hostile events as one file a day: { conn, tenant, files = { [day] = path }, load(day) }
local function shop(seed, count)
  local data <const> = hostile.make { seed = seed, from = FROM, days = DAYS, events = count, zone = "UTC" }
  local db <const> = s.tenant()
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  local lines <const>, days <const> = {}, {}
  for _, e in ipairs(data.events) do
    local day <const> = type(e) == "table" and type(e.event_date) == "string" and e.event_date or "20240325"
    if not lines[day] then
      lines[day] = {}
      days[#days + 1] = day
    end
    table.insert(lines[day], json.encode(e))
  end
  table.sort(days)
  return { conn = conn, tenant = conn:value "select id from tenant_config", days = days,
    load = function(...)
      local args <const> = { "--force" }
      for _, day in ipairs { ... } do
        table.insert(args, "--source")
        table.insert(args, s.file(lines[day]))
      end
      db.ingest(args)
    end }
end

local GROUPED <const> = [[
with places as (
  select s.*, case when exists (select from locations l where l.tenant_id = s.tenant_id and l.location_id = s.branch_id)
              then s.branch_id end as place
    from garun.session_days s
   where s.tenant_id = $1 and s.page_views > 0 and s.event_date between $2 and $3 and ($4::text is null or s.branch_id = $4)
), visitors as (
  select place, grouping(place) as whole, visitor_a, visitor_b, count(distinct (user_pseudo_id, ga_session_id)) as n
    from places group by grouping sets ((visitor_a, visitor_b), (visitor_a, visitor_b, place)))
select case when whole = 1 then '*' else coalesce(place, 'unknown') end as place, sum(n)::int as visits, count(*)::int as users,
       (count(*) filter (where n >= 2))::int as repeats
  from visitors group by 1]]

-- Compares the dashboard of one range with what grouping gives.
local function check(sh, from, to, location)
  local want <const> = {}
  for _, r in ipairs(sh.conn:query(GROUPED, sh.tenant, from, to, location)) do want[r.place] = r end
  local label <const> = string.format("%s to %s at %s", from, to, location or "all")
  local got <const> = analytics.dashboard(sh.conn, { tenant = sh.tenant, from = from, to = to, location = location })
  local all <const> = want["*"] or { visits = 0, users = 0, repeats = 0 }
  t.equal({ got.metrics.totalVisitors, got.metrics.uniqueUsers, got.metrics.repeatVisits },
    { all.visits, all.users, all.repeats }, label)
  for _, l in ipairs(got.locationStats) do
    local here <const> = want[l.locationId or "unknown"] or { visits = 0, repeats = 0 }
    t.equal({ l.totalVisitors, l.repeatVisits }, { here.visits, here.repeats }, label .. ", " .. (l.locationId or "no location"))
  end
  if not location then
    local tasks <const> = sh.conn:value("select (get_repeat_visit_tasks($1, 1, 1, null, null, $2, $3) ->> 'total')::int", sh.tenant,
      from, to)
    t.ok(tasks <= all.repeats, label .. ": not more tasks than who came twice")
  end
end

-- Long ranges take the first pages from those who come most: they must be what grouping everybody gives.
local PLAIN <const> = [[
select (count(*) over ())::int as total, row_number() over (order by visits desc, page_views desc, last_at desc nulls last,
       visitor_a, visitor_b)::int as place, visitor_a, visitor_b, visits::int, page_views::int, last_at
  from garun.repeat_visitors($1, null, null, $2, $3) order by 2 limit $4]]
local PAGE <const> = [[
select total::int, place::int, visitor_a, visitor_b, visits::int, page_views::int, last_at
  from garun.repeat_page($1, null, null, $2, $3, 0, $4) where place is not null order by 2]]
local BOUNDS <const> = [[
select count(*) filter (where r.visits > 2 and f.at_most is null)::int as missing,
       count(*) filter (where r.visits > f.at_most)::int as too_low, count(*) filter (where r.visits > 2)::int as frequent,
       (count(*) = coalesce(max(f.total), count(*))) as counted
  from garun.repeat_visitors($1, null, null, $2, $3) r
  left join garun.frequent_visitors($1, $2, $3, 1000000) f using (visitor_a, visitor_b)]]
local quick = 0

local function check_pages(sh, from, to)
  local label <const> = from .. " to " .. to
  local bounds <const> = sh.conn:query(BOUNDS, sh.tenant, from, to)[1]
  t.equal({ bounds.missing, bounds.too_low, bounds.counted }, { 0, 0, true }, label)
  quick = quick + bounds.frequent
  for _, limit in ipairs { 1, 4, 25 } do
    t.equal(sh.conn:query(PAGE, sh.tenant, from, to, limit), sh.conn:query(PLAIN, sh.tenant, from, to, limit),
      label .. ", the first " .. limit)
  end
end

local function check_all(sh, ...)
  for a = 0, DAYS - 1 do
    for b = a, DAYS - 1 do
      check(sh, time.add_days(FROM, a), time.add_days(FROM, b))
      if b - a >= 7 then check_pages(sh, time.add_days(FROM, a), time.add_days(FROM, b)) end
    end
  end
  for _, location in ipairs { ... } do
    for a = 0, DAYS - 1, 3 do check(sh, time.add_days(FROM, a), time.add_days(FROM, a + 4), location) end
  end
end

local function know(sh, sql)
  sh.conn:exec("delete from locations")
  sh.conn:exec("insert into locations (tenant_id, location_id) select distinct $1::uuid, branch_id from garun.session_days where "
    .. "branch_id is not null and " .. sql, sh.tenant)
end

t.test("every range of days, with all, some, one or no location unknown", function()
  local sh <const> = shop(71, 1500)
  sh.load(table.unpack(sh.days))
  t.ok(sh.conn:value "select count(distinct branch_id) from garun.session_days" > 4)
  t.ok(sh.conn:value "select count(*) from garun.session_days where branch_id is null" > 10)
  quick = 0
  know(sh, "true")                                    -- null is the only unknown one
  check_all(sh, "D01", "D02")
  know(sh, "branch_id in ('D01', 'D02')")
  check_all(sh, "D01", "X99")
  know(sh, "false")
  check_all(sh)
  t.ok(quick > 20, "visitors of more than two visits without a purchase: " .. quick)
end)

t.test("days loaded backwards and again leave the same counts", function()
  local sh <const> = shop(72, 900)
  for i = #sh.days, 1, -1 do sh.load(sh.days[i]) end
  know(sh, "branch_id <> 'D02'")
  check_all(sh, "D01")
  for _, i in ipairs { 4, 9, 4, 1, #sh.days } do
    if sh.days[i] then sh.load(sh.days[i]) end
  end
  check_all(sh)
end)

t.test("visits that go and visitors that change by plain SQL are counted anew on all days", function()
  local sh <const> = shop(73, 700)
  sh.load(table.unpack(sh.days))
  know(sh, "true")
  sh.conn:exec("delete from page_view where event_date = $1", time.add_days(FROM, 4))
  check_all(sh)
  -- A login late in a session gives all its rows, on whatever days, to another visitor.
  sh.conn:exec [[
    update page_view set user_prop_webuserid = 'late'
     where id in (select id from page_view where user_pseudo_id is not null and param_ga_session_id is not null
                   order by event_timestamp desc limit 25)]]
  check_all(sh, "D01")
  sh.conn:exec "update page_view set user_prop_webuserid = null where user_prop_webuserid = 'late'"
  check_all(sh)
  sh.conn:exec "delete from page_view"
  check_all(sh)
end)
