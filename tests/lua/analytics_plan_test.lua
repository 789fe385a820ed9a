-- How the analytics functions are executed, whatever the machine: what they read grows with what is asked for, and no
-- plan goes wrong where statistics are missing or a month is asked for.

local json <const> = require "garun.json"
local s <const> = require "support"
local t <const> = require "garun.test"

-- A tenant's database with a month of sessions, made by SQL: enough rows that a scan of the whole costs more than an index.
local function month()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  local tenant <const> = conn:value "select id::text from tenant_config"
  conn:exec([[insert into locations (tenant_id, location_id, location_name)
    select $1, 'D' || i, 'Branch ' || i from generate_series(1, 40) i]], tenant)
  conn:transaction(function(tx)
    tx:exec "set local garun.rollup = manual"
    for name, columns in pairs { page_view = "", view_item = "", view_search_results = ", param_search_term",
      no_search_results = ", param_no_search_results_term", add_to_cart = ", items_json",
      purchase = ", param_transaction_id, ecommerce_purchase_revenue" } do
      local values <const> = ({ view_search_results = ", 'term ' || i % 50", no_search_results = ", 'lost ' || i % 20",
        add_to_cart = [[, '[{"item_id":"a","price":2,"quantity":3}]'::jsonb]], purchase = ", 'T' || i, 10" })[name] or ""
      local step <const> = ({ page_view = 1, view_item = 3, view_search_results = 5, no_search_results = 40, add_to_cart = 12,
        purchase = 60 })[name]
      tx:exec(string.format([[
        insert into %s (tenant_id, event_date, event_timestamp, user_pseudo_id, param_ga_session_id,
                        user_prop_default_branch_id, user_prop_webuserid%s)
        select $1, date '2024-01-01' + i %% 31, ((1704067200 + i %% 31 * 86400 + i) * 1000000::bigint)::text,
               'p' || i / 31 / 4 %% 900, (1704067200 + i %% 31 * 86400 + i / 31 / 4 %% 900)::text, 'D' || i / 31 %% 40 + 1,
               case when i %% 2 = 0 then (i / 31 / 4 %% 900)::text end%s
          from generate_series(0, 60000, %d) i]], name, columns, values, step), tenant)
    end
    tx:value("select garun.rebuild($1)", tenant)
  end)
  for _, name in ipairs(s.tables) do conn:exec("analyze " .. name) end
  conn:script "analyze garun.session_days; analyze garun.visitor_days; analyze garun.cart_days; analyze garun.purchases; analyze garun.search_days"
  return db, tenant
end

-- The plans of all statements inside a function, as auto_explain tells them: a list of plan trees.
local function plans(db, sql)
  local r <const> = t.run { "psql", "-XqAt", "-h", db.at.host, "-p", tostring(db.at.port), "-U", db.at.user, "-d",
    db.at.database, stdin = [[
load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on; set auto_explain.log_timing = off; set auto_explain.log_format = json;
set client_min_messages = log;
select ]] .. sql .. ";\n" }
  if r.status ~= 0 then error(r.stderr) end
  local list <const> = {}
  for text in r.stderr:gmatch "plan:%s*(%b{})" do list[#list + 1] = json.decode(text).Plan end
  if #list == 0 then error("no plan: " .. r.stderr) end
  return list
end

local function walk(node, fn, parent)
  fn(node, parent)
  for _, child in ipairs(node.Plans or {}) do walk(child, fn, node) end
end

-- The tables that are large here; a seq scan of the others is right.
local events <const> = { page_view = true, view_item = true, view_search_results = true, add_to_cart = true }

-- Each with its arguments: tenant, location (quoted or null), first and last day.
local functions <const> = {
  { "get_purchase_tasks", "($tenant, 1, 50, null, $location, $from, $to)" },
  { "get_cart_abandonment_tasks", "($tenant, 1, 50, null, $location, $from, $to)" },
  { "get_search_analysis_tasks", "($tenant, 1, 50, null, $location, $from, $to)" },
  { "get_repeat_visit_tasks", "($tenant, 1, 50, null, $location, $from, $to)" },
  { "get_performance_tasks", "($tenant, 1, 50, $location, $from, $to)" },
  { "get_complete_dashboard_data", "($tenant, $from, $to, 'daily', $location)" },
}

local function call(f, values)
  return f[1] .. f[2]:gsub("%$(%l+)", function(name) return values[name] and "'" .. values[name] .. "'" or "null" end)
end

t.test("one branch and one day read no table as a whole; a month joins by hash, not row by row", function()
  local db <const>, tenant <const> = month()
  for _, f in ipairs(functions) do
    for _, plan in ipairs(plans(db, call(f, { tenant = tenant, location = "D7", from = "2024-01-15", to = "2024-01-15" }))) do
      walk(plan, function(node)
        local name <const> = node["Relation Name"]
        if node["Node Type"] == "Seq Scan" and (events[name] or name == "session_days" or name == "visitor_days"
          or name == "search_days") then
          error(string.format("%s scans %s for one branch-day", f[1], name))
        end
      end)
    end
    for _, plan in ipairs(plans(db, call(f, { tenant = tenant, from = "2024-01-01", to = "2024-01-31" }))) do
      walk(plan, function(node, parent)
        if parent and parent["Node Type"] == "Nested Loop" and node["Actual Loops"] > 2000 then
          error(string.format("%s runs %s %d times for a month", f[1], node["Node Type"], node["Actual Loops"]))
        end
        if events[node["Relation Name"]] and node["Node Type"] == "Seq Scan" then
          error(string.format("%s scans %s for a month; the derived rows have it all", f[1], node["Relation Name"]))
        end
      end)
    end
  end
  for _, sql in ipairs {
    "get_session_history('" .. tenant .. "', (select max(param_ga_session_id) from page_view))",
    "get_user_history('" .. tenant .. "', '77')",
    "get_user_history('" .. tenant .. "', 'p78')",
  } do
    for i, plan in ipairs(plans(db, sql)) do
      walk(plan, function(node)
        if node["Node Type"] == "Seq Scan" and (events[node["Relation Name"]] or node["Relation Name"] == "session_days")
          and not plan.Plans[1]["Subplan Name"] then
          error(string.format("%s scans %s (statement %d)", sql, node["Relation Name"], i))
        end
      end)
    end
  end
end)
