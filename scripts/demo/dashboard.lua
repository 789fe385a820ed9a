-- dashboard: what is in a tenant's tables, on a terminal: days, branches, products, searches in vain. Plain SQL over
-- the six event tables; sessions are (user_pseudo_id, ga_session_id), an order counts once, on the day of its first
-- event.
--
--   garun demo/dashboard.lua [--tenant NAME|ID] [--from DATE] [--to DATE] [--width N]
--
-- Without dates: the last 14 days that have data. Product names and search terms are strangers' text and shown escaped.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local pg <const> = require "garun.pg"
local terminal <const> = require "terminal"

local usage <const> = "usage: garun demo/dashboard.lua [--tenant NAME|ID] [--from YYYY-MM-DD] [--to YYYY-MM-DD] "
  .. "[--width N]"
local count <const>, fit <const> = terminal.count, terminal.fit
local money <const>, safe <const> = terminal.money, terminal.safe

local function refuse(message)
  error(errors.new { kind = "usage", message = "dashboard: " .. message, hint = usage }, 0)
end

local function options(args)
  local o <const>, i = {}, 1
  while args[i] do
    local name <const> = args[i]:match("^%-%-(%l+)$")
    if name == "help" then
      o.help = true
    elseif name == "tenant" or name == "from" or name == "to" or name == "width" then
      i = i + 1
      o[name] = args[i] or refuse("--" .. name .. " needs a value")
    else
      refuse(("unknown argument '%s'"):format(args[i]))
    end
    i = i + 1
  end
  for _, name in ipairs { "from", "to" } do
    if o[name] and not o[name]:match("^%d%d%d%d%-%d%d%-%d%d$") then
      refuse(("--%s is '%s' and must be a date YYYY-MM-DD"):format(name, o[name]))
    end
  end
  if o.from and o.to and o.from > o.to then
    refuse("--from is after --to")
  end
  local width <const> = o.width and math.tointeger(tonumber(o.width))
  if o.width and not (width and width >= 40 and width <= 1000) then
    refuse(("--width is '%s' and must be a number from 40 to 1000"):format(o.width))
  end
  o.width = width or math.max(60, math.min(terminal.columns(), 160))
  return o
end

-- ---- questions ----

-- All events of the tenant and range with what the counts need. $1 tenant, $2 first day, $3 last day.
local EVENTS <const> = [[
  events AS (
    SELECT event_date, 'page_view' AS kind, user_pseudo_id, param_ga_session_id, user_prop_default_branch_id AS branch
      FROM page_view WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
    UNION ALL
    SELECT event_date, 'view_item', user_pseudo_id, param_ga_session_id, user_prop_default_branch_id
      FROM view_item WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
    UNION ALL
    SELECT event_date, 'add_to_cart', user_pseudo_id, param_ga_session_id, user_prop_default_branch_id
      FROM add_to_cart WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
    UNION ALL
    SELECT event_date, 'search', user_pseudo_id, param_ga_session_id, user_prop_default_branch_id
      FROM view_search_results WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
    UNION ALL
    SELECT event_date, 'failed', user_pseudo_id, param_ga_session_id, user_prop_default_branch_id
      FROM no_search_results WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
  ),
]]

-- Orders: reloads of the thank-you page fire the purchase again. The first event counts, also when it is before the
-- range.
local ORDERS <const> = [[
  marked AS (
    SELECT p.event_date, p.ecommerce_purchase_revenue AS revenue, p.items_json, p.user_prop_default_branch_id AS branch,
           row_number() OVER (PARTITION BY coalesce(nullif(nullif(p.param_transaction_id, ''), '(not set)'), p.id::text)
                              ORDER BY p.event_timestamp::numeric, p.id) AS nth
      FROM purchase p WHERE p.tenant_id = $1 AND p.event_date <= $3
  ),
  orders AS (SELECT * FROM marked WHERE nth = 1 AND event_date >= $2)
]]

local DAYS <const> = "WITH " .. EVENTS .. ORDERS .. [[
  SELECT to_char(d, 'Dy YYYY-MM-DD') AS day,
         coalesce(e.views, 0) AS views, coalesce(e.visits, 0) AS visits, coalesce(e.carts, 0) AS carts,
         coalesce(e.failed, 0) AS failed, coalesce(o.orders, 0) AS orders,
         coalesce(o.revenue, 0)::text AS revenue, coalesce(o.revenue, 0)::float8 AS height
    FROM generate_series($2::date, $3::date, interval '1 day') AS d
    LEFT JOIN (
      SELECT event_date, count(*) FILTER (WHERE kind = 'page_view') AS views,
             count(DISTINCT (user_pseudo_id, param_ga_session_id)) FILTER (WHERE kind = 'page_view'
               AND user_pseudo_id IS NOT NULL AND param_ga_session_id IS NOT NULL) AS visits,
             count(*) FILTER (WHERE kind = 'add_to_cart') AS carts, count(*) FILTER (WHERE kind = 'failed') AS failed
        FROM events GROUP BY 1) e ON e.event_date = d::date
    LEFT JOIN (SELECT event_date, count(*) AS orders, sum(revenue) AS revenue FROM orders GROUP BY 1) o
      ON o.event_date = d::date
   ORDER BY d
]]

local TOTALS <const> = "WITH " .. EVENTS .. ORDERS .. [[
  SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM purchase WHERE tenant_id = $1
            AND event_date BETWEEN $2 AND $3) AS events,
         (SELECT count(DISTINCT (user_pseudo_id, param_ga_session_id)) FROM events WHERE kind = 'page_view'
            AND user_pseudo_id IS NOT NULL AND param_ga_session_id IS NOT NULL) AS visits,
         (SELECT count(DISTINCT user_pseudo_id) FROM events) AS visitors,
         (SELECT count(*) FROM events WHERE kind IN ('search', 'failed')) AS searches,
         (SELECT count(*) FROM events WHERE kind = 'failed') AS failed,
         (SELECT count(*) FROM orders) AS orders,
         (SELECT coalesce(sum(revenue), 0)::text FROM orders) AS revenue
]]

local BRANCHES <const> = "WITH " .. EVENTS .. ORDERS .. [[
  SELECT b.branch, l.location_name AS name, l.city, l.state, coalesce(v.visits, 0) AS visits,
         coalesce(o.orders, 0) AS orders, coalesce(o.revenue, 0)::text AS revenue,
         coalesce(o.revenue, 0)::float8 AS height
    FROM (SELECT branch FROM events UNION SELECT branch FROM orders) b
    LEFT JOIN locations l ON l.tenant_id = $1 AND l.location_id = b.branch
    LEFT JOIN (SELECT branch, count(DISTINCT (user_pseudo_id, param_ga_session_id)) AS visits FROM events
                WHERE kind = 'page_view' AND user_pseudo_id IS NOT NULL AND param_ga_session_id IS NOT NULL
                GROUP BY 1) v ON v.branch IS NOT DISTINCT FROM b.branch
    LEFT JOIN (SELECT branch, count(*) AS orders, sum(revenue) AS revenue FROM orders GROUP BY 1) o
      ON o.branch IS NOT DISTINCT FROM b.branch
   ORDER BY coalesce(o.revenue, 0) DESC, visits DESC, b.branch LIMIT 12
]]

-- Prices and quantities in items_json are what the site sent: numbers, strings, "NaN". Only plain numbers are summed.
local PRODUCTS <const> = "WITH " .. ORDERS .. [[,
  items AS (
    SELECT it ->> 'item_id' AS id, it ->> 'item_name' AS name,
           CASE WHEN it ->> 'price' ~ '^[0-9]{1,12}(\.[0-9]{1,9})?$' THEN (it ->> 'price')::numeric END AS price,
           CASE WHEN it ->> 'quantity' ~ '^[0-9]{1,9}$' THEN (it ->> 'quantity')::numeric ELSE 1 END AS quantity
      FROM orders, jsonb_array_elements(CASE jsonb_typeof(items_json) WHEN 'array' THEN items_json ELSE '[]' END) AS it
  )
  SELECT max(name) AS name, id, sum(quantity)::bigint AS quantity, count(*) AS orders,
         round(coalesce(sum(price * quantity), 0), 2)::text AS revenue,
         coalesce(sum(price * quantity), 0)::float8 AS height
    FROM items GROUP BY id ORDER BY sum(price * quantity) DESC NULLS LAST, id LIMIT 10
]]

local SEARCHES <const> = [[
  SELECT lower(btrim(param_no_search_results_term, E' \t\r\n')) AS term, count(*) AS times,
         count(DISTINCT (user_pseudo_id, param_ga_session_id)) AS visits
    FROM no_search_results
   WHERE tenant_id = $1 AND event_date BETWEEN $2 AND $3
     AND btrim(coalesce(param_no_search_results_term, ''), E' \t\r\n') <> ''
   GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10
]]

local RANGE <const> = [[
  SELECT to_char(max(event_date), 'YYYY-MM-DD') AS last_day,
         to_char(greatest(min(event_date), max(event_date) - 13), 'YYYY-MM-DD') AS first_day
    FROM (SELECT event_date FROM page_view WHERE tenant_id = $1 UNION ALL
          SELECT event_date FROM purchase WHERE tenant_id = $1 UNION ALL
          SELECT event_date FROM add_to_cart WHERE tenant_id = $1 UNION ALL
          SELECT event_date FROM view_item WHERE tenant_id = $1) AS days
   WHERE event_date <= coalesce($2::date, 'infinity')
]]

-- ---- the tenant ----

local function find_tenant(db, wanted)
  local found <const> = db:query([[
    SELECT id, name FROM tenant_config
     WHERE CASE WHEN $1::text IS NULL THEN is_active ELSE $1 IN (name, id::text) END ORDER BY name]], wanted)
  if #found == 1 then
    return found[1]
  end
  local names <const> = {}
  for i, row in ipairs(db:query "SELECT name FROM tenant_config ORDER BY name LIMIT 20") do
    names[i] = safe(row.name)
  end
  local there <const> = #names == 0 and "the database has no tenant"
    or "there are: " .. table.concat(names, ", ")
  if wanted then
    refuse(("no tenant '%s'; %s"):format(safe(wanted), there))
  end
  refuse((#found == 0 and "no active tenant; " or "several active tenants, name one with --tenant; ") .. there)
end

-- ---- drawing ----

local colours <const> = terminal.colours()

local function paint(code, text)
  return colours and text ~= "" and "\27[" .. code .. "m" .. text .. "\27[0m" or text
end

local function heading(text)
  print()
  print(paint("1", text))
end

-- Prints rows as columns. columns: { title, width, function(row) -> text, right = boolean }; the last one is a bar,
-- drawn in what is left of the width: function(row) -> number.
local function draw(rows, columns, width)
  local bar <const>, used, titles = columns[#columns], 0, {}
  for i = 1, #columns - 1 do
    titles[i] = fit(columns[i][1], columns[i][2], columns[i].right)
    used = used + columns[i][2] + 2
  end
  print(paint("2", (table.concat(titles, "  "):gsub(" +$", ""))))
  local largest = 0
  for _, row in ipairs(rows) do
    largest = math.max(largest, bar[1](row))
  end
  for _, row in ipairs(rows) do
    local cells <const> = {}
    for i = 1, #columns - 1 do
      cells[i] = fit(columns[i][3](row), columns[i][2], columns[i].right)
    end
    local line <const> = table.concat(cells, "  ") .. "  "
    print(((line .. paint("36", terminal.bar(bar[1](row), largest, width - used))):gsub(" +$", "")))
  end
end

local function height(row)
  return row.height
end

local function number_column(title, columns, key)
  return { title, columns, function(row) return count(row[key]) end, right = true }
end

local REVENUE <const> = { "revenue", 14, function(row) return money(row.revenue) end, right = true }

local function draw_all(db, tenant, from, to, width)
  local function ask(sql)
    return db:query(sql, tenant.id, from, to)
  end
  local total <const> = ask(TOTALS)[1]
  print(paint("1", safe(tenant.name)) .. ("  %s to %s"):format(from, to))
  print(("%s events, %s visits of %s visitors, %s orders, %s; %s searches, %s in vain"):format(count(total.events),
    count(total.visits), count(total.visitors), count(total.orders), money(total.revenue), count(total.searches),
    count(total.failed)))

  heading "Days"
  draw(ask(DAYS), { { "", 14, function(row) return row.day end }, number_column("views", 9, "views"),
    number_column("visits", 8, "visits"), number_column("orders", 7, "orders"), REVENUE, { height } }, width)

  -- What a name gets: half of the line, since its numbers and a bar shall fit as well.
  local name_width <const> = math.max(16, math.min(48, width // 2 - 12))
  heading "Branches"
  draw(ask(BRANCHES), { { "", name_width, function(row)
    return row.branch and safe(row.branch) .. (row.name and "  " .. safe(row.name) or "") or "(no branch known)"
  end }, number_column("visits", 8, "visits"), number_column("orders", 7, "orders"), REVENUE, { height } }, width)

  heading "Products"
  draw(ask(PRODUCTS), { { "", name_width, function(row) return safe(row.name or row.id or "(without a name)") end },
    number_column("sold", 8, "quantity"), number_column("orders", 7, "orders"), REVENUE, { height } }, width)

  heading "Searches in vain"
  draw(ask(SEARCHES), { { "", name_width, function(row) return safe(row.term) end }, number_column("times", 8, "times"),
    number_column("visits", 7, "visits"), { function(row) return row.times end } }, width)
end

local o <const> = options { ... }
if o.help then
  print(usage)
  return 0
end
local db <close> = pg.connect(config.postgres())
local tenant <const> = find_tenant(db, o.tenant)
-- One snapshot for all questions: a load that commits in between must not split the page.
db:transaction(function(tx)
  local range <const> = tx:one(RANGE, tenant.id, o.to)
  local from <const>, to <const> = o.from or range.first_day, o.to or range.last_day
  if not (from and to) or from > to then
    local until_when <const> = o.to and " until " .. o.to or ""
    print(("%s: no events%s yet; garun ingest.lua loads them"):format(safe(tenant.name), until_when))
    return
  end
  draw_all(tx, tenant, from, to, o.width)
end, { isolation = "repeatable read", read_only = true })
return 0
