-- garun rebuild: the derived rows come out of the event tables as they were, all of them, whatever was done to them.

local analytics <const> = require "garun.analytics"
local hostile <const> = require "hostile"
local json <const> = require "garun.json"
local s <const> = require "support"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local derived <const> = { "session_days", "visitor_days", "cart_days", "purchases", "search_days", "hour_stats", "day_stats",
  "event_days" }

-- Hostile events of 12 days from 2024-03-25 in a database of their own; its tenant.
local function shop(seed, count)
  local data <const> = hostile.make { seed = seed, from = "2024-03-25", days = 12, events = count, zone = "Europe/Vienna" }
  local db <const> = s.tenant()
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  conn:exec "update tenant_config set time_zone = 'Europe/Vienna'"
  local lines <const> = {}
  for i, e in ipairs(data.events) do lines[i] = json.encode(e) end
  db.ingest { "--source", s.file(lines) }
  return db, conn, conn:value "select id from tenant_config"
end

-- Every derived row as text, but for when it was derived: { table = sorted rows }
local function rows_of(conn, tenant)
  local all <const> = {}
  for _, name in ipairs(derived) do
    local rows <const> = {}
    for _, r in ipairs(conn:query("select (to_jsonb(d) - 'derived_at')::text as row from garun." .. name
      .. " d where $1::uuid is null or tenant_id = $1 order by 1", tenant)) do
      rows[#rows + 1] = r.row
    end
    all[name] = rows
  end
  return all
end

local function same_rows(got, want)
  for _, name in ipairs(derived) do
    t.ok(#want[name] > 0, "there are rows in " .. name)
    t.equal(#got[name], #want[name], "rows of " .. name)
    for i, row in ipairs(want[name]) do
      if got[name][i] ~= row then t.equal(got[name][i], row, name) end
    end
  end
end

local function rebuild(db, ...)
  local r <const> = db.garun { "rebuild", ... }
  t.equal(r.status, 0, r.stderr)
  t.equal(r.stderr, "")
  return r.stdout
end

local function days_of(text)
  local days <const> = {}
  for day in text:gmatch "(%d+%-%d+%-%d+)  [%d.]+ s\n" do days[#days + 1] = day end
  return days
end

local function refused(db, pattern, ...)
  local r <const> = db.garun { "rebuild", ... }
  t.equal(r.status, 2, r.stderr)
  t.match(r.stderr, pattern)
end

for _, seed in ipairs { 31, 32 } do
  t.test("rows that nobody touched come out the same, in every column (seed " .. seed .. ")", function()
    local db <const>, conn <const> = shop(seed, 1500)
    local before <const> = rows_of(conn)
    local marked <const> = conn:value "select max(derived_at)::text from garun.event_days"
    local text <const> = rebuild(db)
    same_rows(rows_of(conn), before)
    t.equal(days_of(text), (function()
      local days <const> = {}
      for _, r in ipairs(conn:query "select event_date as day from garun.event_days order by 1") do days[#days + 1] = r.day end
      return days
    end)())
    t.match(text, "\n" .. #days_of(text) .. " days derived again in [%d.]+ s\n$")
    t.ok(conn:value("select min(derived_at) > $1 from garun.event_days", marked), "they were derived anew")
  end)
end

t.test("a dashboard made wrong by hand is right again", function()
  local db <const>, conn <const>, tenant <const> = shop(33, 900)
  local before <const> = rows_of(conn)
  local right <const> = analytics.dashboard(conn, { tenant = tenant })
  conn:exec "delete from garun.session_days where event_date between '2024-03-27' and '2024-03-30'"
  conn:exec "delete from garun.purchases where event_date >= '2024-03-29'"
  conn:exec "update garun.search_days set alone = not alone, failed = 100"
  conn:exec "update garun.cart_days set value = -1"
  conn:exec "delete from garun.hour_stats"
  conn:exec "update garun.day_stats set visits = visits + 1, gaps = '{0}', gap_users = '{1}', searches = 0"
  conn:exec "update garun.visitor_days set day_before = event_date - 1, here_twice_since = null"
  local wrong <const> = analytics.dashboard(conn, { tenant = tenant }).metrics
  for _, name in ipairs { "totalRevenue", "totalPurchases", "totalVisitors", "totalSearches" } do
    t.ok(wrong[name] ~= right.metrics[name], name .. " is wrong now")
  end
  rebuild(db)
  t.equal(analytics.dashboard(conn, { tenant = tenant }), right)
  same_rows(rows_of(conn), before)
end)

t.test("--from and --to bound what is derived again", function()
  local db <const>, conn <const> = shop(34, 600)
  local before <const> = rows_of(conn)
  local function counts()
    local n <const> = {}
    for _, r in ipairs(conn:query "select event_date as day, count(*) as n from garun.hour_stats group by 1") do n[r.day] = r.n end
    return n
  end
  local all <const> = counts()
  conn:exec "delete from garun.hour_stats"
  t.equal(days_of(rebuild(db, "--from", "2024-03-27", "--to", "2024-03-28")), { "2024-03-27", "2024-03-28" })
  t.equal(counts(), { ["2024-03-27"] = all["2024-03-27"], ["2024-03-28"] = all["2024-03-28"] })
  local early <const> = days_of(rebuild(db, "--to", "2024-03-25"))
  t.equal(early[#early], "2024-03-25")
  for _, d in ipairs(early) do t.equal(counts()[d], all[d], d) end
  t.match(rebuild(db, "--from", "2024-03-26", "--to", "2024-03-26"), "\n1 day derived again in ")
  t.equal(counts()["2024-03-25"], all["2024-03-25"])
  t.match(rebuild(db, "--from", "2030-01-01"), "^0 days derived again in ")
  rebuild(db, "--from", "2024-03-29")
  same_rows(rows_of(conn), before)
end)

t.test("a tenant at a time, or with --all every one", function()
  local db <const>, conn <const>, tenant <const> = shop(35, 300)
  local other <const> = conn:value "insert into tenant_config (name, postgres_config, is_active) values ('off', '{}', false) returning id"
  conn:exec "insert into tenant_config (name, postgres_config) values ('zeta', '{}')"
  for _, name in ipairs(s.tables) do
    local columns <const> = conn:value([[select string_agg(quote_ident(attname), ', ') from pg_attribute
      where attrelid = $1::regclass and attnum > 0 and not attisdropped and attname not in ('id', 'tenant_id')]], name)
    conn:exec(string.format("insert into %s (tenant_id, %s) select $1, %s from %s", name, columns, columns, name), other)
  end
  local before <const>, before_other <const> = rows_of(conn, tenant), rows_of(conn, other)
  conn:exec "delete from garun.cart_days"
  refused(db, "which tenant%?.*acme, zeta")
  rebuild(db, "--tenant", tenant)
  same_rows(rows_of(conn, tenant), before)
  t.equal(#rows_of(conn, other).cart_days, 0)
  local text <const> = rebuild(db, "--all")
  t.match(text, "^acme\n2024.*\noff\n2024.*\nzeta\n%d+ days derived again")
  same_rows(rows_of(conn, tenant), before)
  same_rows(rows_of(conn, other), before_other)
end)

t.test("each day is a transaction: what fails leaves the days before it done and its own as it was", function()
  local db <const>, conn <const> = shop(36, 300)
  conn:exec "delete from garun.hour_stats"
  conn:exec "alter table garun.hour_stats add check (event_date <> '2024-03-27')"
  local before <const> = rows_of(conn)
  local r <const> = db.garun { "rebuild" }
  t.equal(r.status, 1)
  t.match(r.stderr, "rebuild of 2024%-03%-27: ")
  local done <const> = days_of(r.stdout)
  t.equal(done[#done], "2024-03-26")
  t.equal(rows_of(conn).session_days, before.session_days)
  t.equal(conn:value "select string_agg(distinct event_date::text, ' ') from garun.hour_stats", table.concat(done, " "))
end)

t.test("a rebuild beside loads of the same days leaves what their events say", function()
  local data <const> = hostile.make { seed = 37, from = "2024-03-25", days = 6, events = 700, zone = "UTC" }
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id from tenant_config"
  local lines <const> = {}
  for i, e in ipairs(data.events) do lines[i] = json.encode(e) end
  local file <const> = s.file(lines)
  db.ingest { "--source", file }
  local right <const> = analytics.dashboard(conn, { tenant = tenant })
  local loading = true
  local loads <const> = task.spawn(function()
    for _ = 1, 3 do db.ingest { "--source", file, "--force" } end
    loading = false
  end)
  local rounds = 0
  repeat
    rebuild(db)
    rounds = rounds + 1
  until not loading
  loads:join()
  t.ok(rounds >= 2, "there was something beside the loads")
  t.equal(analytics.dashboard(conn, { tenant = tenant }), right)
  local before <const> = rows_of(conn)
  rebuild(db)
  same_rows(rows_of(conn), before)
end)

t.test("mistakes are usage errors", function()
  local db <const> = s.tenant()
  refused(db, "%-%-tenant: no tenant is called 'nobody'.*active tenants: acme", "--tenant", "nobody")
  refused(db, "%-%-all and %-%-tenant exclude each other", "--all", "--tenant", "acme")
  refused(db, "%-%-to is before %-%-from", "--from", "2024-01-02", "--to", "2024-01-01")
  refused(db, "%-%-from takes a date", "--from", "x")
  refused(db, "unknown option %-%-al", "--al")
  t.match(rebuild(db), "^0 days derived again")
  t.match(rebuild(db, "--help"), "usage: garun rebuild")
end)
