-- dashboard.lua: the dashboard of one tenant on a terminal. `garun dashboard.lua --help` tells the options.
--
-- All numbers are those of get_complete_dashboard_data; products and searches in vain come from the same derived rows.
-- Names, products and search terms are strangers' text: they are made printable. No line is wider than the terminal.

local analytics <const> = require "garun.analytics"
local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local options <const> = require "garun.options"
local pg <const> = require "garun.pg"
local printable <const> = require "garun.printable"
local terminal <const> = require "garun.terminal"
local time <const> = require "garun.time"

local count <const>, money <const> = terminal.count, terminal.money

local help <const> = [[
usage: garun dashboard.lua [options]

Shows what a tenant's shop did in a range of days, and how that compares with as many days right before.

  --tenant T                 name or id; default: the only active tenant
  --from DATE, --to DATE     first and last day; default: the 30 days that end with the last one that has data
  --granularity G            of the chart: hourly, 4hours, 12hours, daily (default), weekly or monthly
  --location L               only what happened at the branch with this id
  --json                     one JSON object on standard output: tenant { id, name }, from, to, granularity, location,
                             current (get_complete_dashboard_data's answer), previous (metrics of the days before),
                             change (percent per metric; null: it was 0), days_without_events { current, previous }
  --width N                  columns, 40 to 1000; default: the terminal's

Exit status: 0 done, 1 failed, 2 usage.
]]

local opts <const> = options.parse("dashboard.lua", { ... }, { tenant = "text", from = "date", to = "date",
  granularity = "text", location = "text", json = "flag", width = "integer", help = "flag" })
if opts.help then
  io.write(help)
  return
end

local default_days <const> = 30
local granularities <const> = { "hourly", "4hours", "12hours", "daily", "weekly", "monthly" }

local function fail(...) options.fail("dashboard.lua", string.format(...)) end

local function check_granularity(given)
  for _, known in ipairs(granularities) do
    if given == known then return given end
  end
  local near <const> = errors.nearest(given, granularities)
  fail("--granularity is one of %s, not '%s'%s", table.concat(granularities, ", "), given,
    near and "; did you mean " .. near .. "?" or "")
end

local granularity <const> = check_granularity(opts.granularity or "daily")
if opts.from and opts.to and opts.to < opts.from then fail "--to is before --from" end
if opts.width and (opts.width < 40 or opts.width > 1000) then
  fail("--width takes a number from 40 to 1000, got '%d'", opts.width)
end
local width <const> = opts.width or math.max(40, math.min(terminal.columns(), 160))

---- what is shown ----

-- The branch, { location_id, location_name }; branches that only events name are branches too.
local function find_location(db, tenant, id)
  local near <const> = {}
  for _, l in ipairs(analytics.locations(db, { tenant = tenant.id })) do
    if l.location_id == id then return l end
    if l.location_name and l.location_name:lower() == id:lower() then
      fail("--location takes a branch's id: that of '%s' is '%s'", l.location_name, l.location_id)
    end
    near[#near + 1] = l.location_id
  end
  local seen <const> = db:value([[
    select exists (select from garun.session_days where tenant_id = $1 and branch_id = $2)
        or exists (select from garun.purchases where tenant_id = $1 and branch_id = $2)
        or exists (select from garun.hour_stats where tenant_id = $1 and branch_id = $2)]], tenant.id, id)
  if seen then return { location_id = id } end
  local best <const> = errors.nearest(id, near)
  fail("--location: %s has no branch '%s'%s", tenant.name, id, best and "; did you mean '" .. best .. "'?" or "")
end

-- First and last day; nothing when none is asked for and there are no events.
local function find_range(db, tenant)
  local from, to = opts.from, opts.to
  if not to then
    local last <const> = analytics.data_availability(db, { tenant = tenant.id }).last_day
    if not last and not from then return nil end
    if not last or from and last < from then
      fail("--from %s is after the last day with events%s; name the last day with --to", from, last and ", " .. last or "")
    end
    to = last
  end
  if not from then
    from = time.diff_days("0001-01-01", to) < default_days and "0001-01-01" or time.add_days(to, 1 - default_days)
  end
  return from, to
end

-- As many days right before; nothing where the calendar ends.
local function range_before(from, to)
  local days <const> = time.diff_days(from, to) + 1
  if time.diff_days("0001-01-01", from) < days then return nil end
  return time.add_days(from, -days), time.add_days(from, -1)
end

-- Percent, 0 when nothing was and is, nil when there was nothing before.
local function change_of(now, before)
  now, before = tonumber(now), tonumber(before)
  if before == 0 then return now == 0 and 0 or nil end
  return (now - before) / math.abs(before) * 100
end

-- The days of the range without any event, as { first, last } of each gap, and how many these are.
local function gaps_of(db, tenant, from, to)
  local gaps <const>, missing, expected = {}, 0, from
  local function gap(last)
    if expected > last then return end
    gaps[#gaps + 1] = { first = expected, last = last }
    missing = missing + time.diff_days(expected, last) + 1
  end
  for _, row in ipairs(db:query([[select event_date as day from garun.event_days
                                   where tenant_id = $1 and event_date between $2 and $3 order by 1]], tenant.id, from, to)) do
    if row.day > from then gap(time.add_days(row.day, -1)) end
    if row.day == to then return gaps, missing end
    expected = time.add_days(row.day, 1)
  end
  gap(to)
  return gaps, missing
end

local failed_terms <const> = [[
  select term, sum(failed) as times,
         count(distinct (user_pseudo_id, ga_session_id)) filter (where user_pseudo_id is not null) as sessions
    from garun.search_days
   where tenant_id = $1 and event_date between $2 and $3 and ($4::text is null or branch_id = $4) and failed > 0 and term <> ''
   group by term order by times desc, term collate "C" limit 10]]

-- Prices and quantities are what the site sent; those that no shop has are not counted.
local products <const> = [[
  select max(i.item_name) as name, i.identity, count(distinct p.id) as orders,
         trim_scale(coalesce(sum(i.quantity) filter (where abs(i.quantity) < 1e9), 0))::text as quantity,
         round(coalesce(sum(i.price * i.quantity) filter (where abs(i.quantity) < 1e9 and abs(i.price) < 1e12), 0), 2)::text
           as revenue
    from garun.purchases o
    join purchase p on p.id = o.purchase_id
   cross join lateral garun.items(p.items_json) i
   where o.tenant_id = $1 and o.event_date between $2 and $3 and ($4::text is null or o.branch_id = $4) and o.is_order
   group by i.identity
   order by coalesce(sum(i.price * i.quantity) filter (where abs(i.quantity) < 1e9 and abs(i.price) < 1e12), 0) desc,
            i.identity collate "C" nulls last limit 10]]

local function dashboard(db, tenant, from, to, of)
  local ok <const>, r <const> = pcall(analytics.dashboard, db, { tenant = tenant.id, from = from, to = to, granularity = of,
    location = opts.location, nulls = opts.json })
  if ok then return r end
  error(errors.is(r, "usage") and errors.wrap(r, "--granularity") or r, 0)
end

-- Everything, as of one moment: a load that commits in between must not split the page.
local function gather(db)
  local tenant <const> = options.tenant(db, opts.tenant)
  local d <const> = { tenant = tenant, location = opts.location and find_location(db, tenant, opts.location) }
  d.from, d.to = find_range(db, tenant)
  d.current = dashboard(db, tenant, d.from, d.to, granularity)
  if not d.from then return d end
  d.gaps, d.missing = gaps_of(db, tenant, d.from, d.to)
  d.before_from, d.before_to = range_before(d.from, d.to)
  if d.before_from then
    d.previous = dashboard(db, tenant, d.before_from, d.before_to, "monthly").metrics
    d.before_gaps, d.before_missing = gaps_of(db, tenant, d.before_from, d.before_to)
  end
  if not opts.json then
    d.terms = db:query(failed_terms, tenant.id, d.from, d.to, opts.location)
    d.products = db:query(products, tenant.id, d.from, d.to, opts.location)
  end
  return d
end

---- as JSON ----

local function as_json(d)
  local null <const>, change = json.null, nil
  if d.previous then
    change = {}
    for name, now in pairs(d.current.metrics) do
      local percent <const> = change_of(now, d.previous[name])
      change[name] = percent == nil and null or percent
    end
  end
  return json.encode {
    tenant = { id = d.tenant.id, name = d.tenant.name }, from = d.from or null, to = d.to or null,
    granularity = granularity, location = opts.location or null, current = d.current, previous = d.previous or null,
    change = change or null,
    days_without_events = { current = d.missing or null, previous = d.before_missing or null },
  }
end

---- as text ----

local colours <const> = terminal.colours()
local bold <const>, dim <const>, good <const>, bad <const>, warning <const> = "1", "2", "32", "31", "33"
local bar_colours <const> = { "36", "34" }

local function paint(code, text)
  return colours and code and text ~= "" and "\27[" .. code .. "m" .. text .. "\27[0m" or text
end

local function clip(text)
  return terminal.width(text) > width and terminal.fit(text, width) or text
end

local function say(code, text)
  local line = ""
  for word in text:gmatch "[^ ]+" do
    if line ~= "" and terminal.width(line) + 1 + terminal.width(word) > width then
      print(paint(code, clip(line)))
      line = ""
    end
    line = line == "" and word or line .. " " .. word
  end
  print(paint(code, clip(line)))
end

local function heading(text)
  print()
  print(paint(bold, clip(text)))
end

-- How wide the columns are beside `room` for bars: the first one gives way, then those go that may, highest drop first.
-- Also what is left.
local function widths_of(columns, rows, room)
  local kept <const>, widths <const> = {}, {}
  for i, c in ipairs(columns) do
    kept[i] = c
    widths[c] = terminal.width(c.title)
    for _, row in ipairs(rows) do widths[c] = math.max(widths[c], terminal.width(c.cell(row))) end
    widths[c] = math.min(widths[c], i == 1 and math.max(16, width // 2 - 4) or 20)
  end
  local function used()
    local n = 2 * (#kept - 1)
    for _, c in ipairs(kept) do n = n + widths[c] end
    return n
  end
  local first <const> = kept[1]
  local function narrow(least, limit)
    widths[first] = math.max(math.min(widths[first], least), widths[first] - math.max(0, used() - limit))
  end
  narrow(first.least or 10, width - room)
  while used() > width - room do
    local out
    for i, c in ipairs(kept) do
      if c.drop and (not out or c.drop > kept[out].drop) then out = i end
    end
    if not out then break end
    table.remove(kept, out)
  end
  narrow(3, width)
  return kept, widths, width - used()
end

-- Rows as columns { title, cell = fn(row), right, drop, colour = fn(row), least } and bars { title, value = fn(row) }. least
-- is what the first column keeps while others can be dropped. One bar is drawn where there is room for it; two, a chart, go
-- before columns that may be dropped.
local function draw(rows, columns, bars)
  bars = bars or {}
  local both <const> = #bars == 2 and width >= 60
  local kept <const>, widths <const>, left <const> = widths_of(columns, rows, both and 26 or #bars == 2 and 8 or 0)
  local shown <const>, room = {}, left - 2
  for i, b in ipairs(bars) do
    if room >= 4 and (i == 1 or both and left >= 26) then shown[i] = b end
  end
  if #shown == 2 then room = (left - 4) // 2 end
  local largest <const> = {}
  for i, b in ipairs(shown) do
    for _, row in ipairs(rows) do largest[i] = math.max(largest[i] or 0, b.value(row)) end
  end
  local function line(cell, bar)
    local parts <const> = {}
    for i, c in ipairs(kept) do parts[i] = cell(c, widths[c]) end
    for i, b in ipairs(shown) do
      local text <const> = bar(b, i)
      parts[#parts + 1] = paint(bar_colours[i], text) .. (i < #shown and (" "):rep(room - terminal.width(text)) or "")
    end
    return (table.concat(parts, "  "):gsub(" +$", ""))
  end
  local titles = ""
  for i, c in ipairs(kept) do titles = titles .. (i > 1 and "  " or "") .. terminal.fit(c.title, widths[c], c.right) end
  for i, b in ipairs(shown) do titles = titles .. "  " .. (i < #shown and terminal.fit(b.title, room) or b.title) end
  if titles:find "%S" then print(paint(dim, (clip(titles):gsub(" +$", "")))) end
  for _, row in ipairs(rows) do
    print(line(function(c, w)
      local text <const> = terminal.fit(c.cell(row), w, c.right)
      return c.colour and paint(c.colour(row), text) or text
    end, function(b, i) return terminal.bar(b.value(row), largest[i], room) end))
  end
end

local function number(title, key, drop)
  return { title = title, right = true, drop = drop, cell = function(row) return count(row[key]) end }
end

local function amount(title, key)
  return { title = title, right = true, cell = function(row) return money(row[key]) end }
end

local function bar(title, key)
  return { title = title, value = function(row) return tonumber(row[key]) or 0 end }
end

local function percent(v) return string.format("%.2f %%", v * 100) end

-- What is counted, in the order of the page; less: less of it is better.
local headline <const> = {
  { "Revenue", "totalRevenue", show = money }, { "Orders", "totalPurchases" }, { "Visitors", "totalVisitors" },
  { "Conversion", "conversionRate", show = percent }, { "Unique users", "uniqueUsers" },
  { "Repeat visitors", "repeatVisits" }, { "Abandoned carts", "abandonedCarts", less = true }, { "Searches", "totalSearches" },
  { "Failed searches", "failedSearches", less = true },
}

local function change_text(now, before)
  local p <const> = change_of(now, before)
  if not p then return "new" end
  if math.abs(p) < 0.05 then return "=" end
  local size <const> = math.abs(p)
  return (p > 0 and "▲ " or "▼ ") .. (size < 1000 and string.format("%.1f", size) or count(size)) .. " %"
end

local function draw_headline(d)
  local rows <const> = {}
  for i, h in ipairs(headline) do
    local show <const>, now <const>, before <const> = h.show or count, d.current.metrics[h[2]], d.previous and d.previous[h[2]]
    local p <const> = before and (change_of(now, before) or now)
    rows[i] = { label = h[1], now = show(now), before = before and show(before) or "",
      change = before and change_text(now, before) or "",
      colour = p and math.abs(p) >= 0.05 and ((p > 0) == not h.less and good or bad) or nil }
  end
  draw(rows, {
    { title = "", cell = function(row) return row.label end },
    { title = "", right = true, cell = function(row) return row.now end },
    { title = d.previous and "change" or "", cell = function(row) return row.change end,
      colour = function(row) return row.colour end },
    { title = d.previous and "before" or "", right = true, drop = 1, cell = function(row) return row.before end },
  })
end

local function bucket_title(row)
  if #row.date > 10 then return (row.date:gsub("T", " ")) end
  return granularity == "daily" and width >= 60 and time.format(row.date, "%a ") .. row.date or row.date
end

local function draw_chart(d)
  heading("Revenue and visitors, " .. granularity)
  draw(d.current.chartData, { { title = "", cell = bucket_title, least = 16 }, amount("revenue", "revenue"),
    number("visitors", "visitors", 1), number("orders", "purchases", 2), number("carts", "carts", 3),
    number("searches", "searches", 4) }, { bar("revenue", "revenue"), bar("visitors", "visitors") })
end

local function branch_title(row)
  if not row.locationId then return "(no known branch)" end
  return printable(row.locationId) .. (row.locationName and "  " .. printable(row.locationName) or "")
end

local function draw_branches(title, rows, with_bars)
  heading(title)
  draw(rows, { { title = "", cell = branch_title }, amount("revenue", "totalRevenue"), number("visitors", "totalVisitors", 1),
    number("carts", "abandonedCarts", 3), number("failed", "failedSearches", 2), number("orders", "totalPurchases", 4) },
    with_bars and { bar("", "totalRevenue") })
end

-- The function's order is most revenue first, what no known branch did last. Among branches of equal revenue the worst had
-- most visitors.
local function draw_best_and_worst(stats)
  local known <const>, unknown = {}, nil
  for _, l in ipairs(stats) do
    if l.locationId then known[#known + 1] = l else unknown = l end
  end
  if #known <= 10 then return draw_branches("Branches", stats, true) end
  local best <const> = table.move(known, 1, 5, 1, {})
  best[6] = unknown
  draw_branches("Best branches", best, true)
  local places <const> = {}
  for i, l in ipairs(known) do places[l] = i end
  table.sort(known, function(a, b)
    if a.totalRevenue ~= b.totalRevenue then return a.totalRevenue < b.totalRevenue end
    if a.totalVisitors ~= b.totalVisitors then return a.totalVisitors > b.totalVisitors end
    return places[a] > places[b]
  end)
  draw_branches("Worst branches", table.move(known, 1, 5, 1, {}))
end

local function warn(gaps, missing, from, to, which)
  if missing == 0 then return end
  local days <const>, listed <const> = time.diff_days(from, to) + 1, {}
  for i = 1, math.min(#gaps, 6) do
    listed[i] = gaps[i].first .. (gaps[i].last > gaps[i].first and " to " .. gaps[i].last or "")
  end
  if #gaps > 6 then listed[7] = "..." end
  say(warning, string.format("! %s of %s days%s have no events: %s", count(missing), count(days), which,
    table.concat(listed, ", ")))
end

local function draw_all(d)
  local where <const> = d.location and "  at " .. branch_title { locationId = d.location.location_id,
    locationName = d.location.location_name } or ""
  print(paint(bold, clip(string.format("%s  %s to %s%s", printable(d.tenant.name), d.from, d.to, where))))
  if d.before_from then print(paint(dim, clip("against " .. d.before_from .. " to " .. d.before_to))) end
  warn(d.gaps, d.missing, d.from, d.to, "")
  if d.before_from then warn(d.before_gaps, d.before_missing, d.before_from, d.before_to, " before") end
  print()
  draw_headline(d)
  draw_chart(d)
  if not d.location then draw_best_and_worst(d.current.locationStats) end
  if #d.products > 0 then
    heading "Products"
    draw(d.products, {
      { title = "", cell = function(row) return printable(row.name or row.identity or "(without a name)") end },
      amount("revenue", "revenue"), number("sold", "quantity", 1), number("orders", "orders", 2),
    }, { bar("", "revenue") })
  end
  if #d.terms > 0 then
    heading "Searches in vain"
    draw(d.terms, { { title = "", cell = function(row) return printable(row.term) end }, number("times", "times"),
      number("sessions", "sessions", 1) }, { bar("", "times") })
  end
end

local db <close> = pg.connect()
local d <const> = db:transaction(gather, { isolation = "repeatable read", read_only = true })
if opts.json then
  print(as_json(d))
elseif not d.from then
  say(nil, printable(d.tenant.name) .. ": no events yet; garun ingest.lua loads them")
else
  draw_all(d)
end
