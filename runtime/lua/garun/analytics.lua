-- garun.analytics: the analytics functions of sql/functions for scripts, reports and the prompt: named options, checked
-- before anything is sent, answers as Lua tables. It adds nothing to what the functions say and keeps no state.

local errors <const> = require "garun.error"
local time <const> = require "garun.time"
local uuid <const> = require "garun.uuid"

local analytics <const> = {}

local page_rows <const> = 1000                  -- of analytics.pages: what the functions give at most
local granularities <const> = { "hourly", "4hours", "12hours", "daily", "weekly", "monthly" }
local job_statuses <const> = { "queued", "processing", "completed", "failed" }

---- options ----

-- The SQL functions' parameters. They are sent by name, so their order is the functions' own affair.
local parameters <const> = {
  tenant = "p_tenant_id", page = "p_page", limit = "p_limit", query = "p_query", location = "p_location_id",
  from = "p_start_date", to = "p_end_date", include_converted = "p_include_converted", granularity = "p_granularity",
  session = "p_session_id", user = "p_user_id", status = "p_status", branch = "p_branch_code",
}
local options_of <const> = {}
for option, parameter in pairs(parameters) do options_of[parameter] = option end

local function refuse(fn, option, what, value, hint)
  local shown <const> = type(value) == "string" and string.format("%q", value) or tostring(value)
  error(errors.new { kind = "usage", hint = hint,
    message = string.format("analytics.%s: option %s is %s, not %s", fn, option, what, shown) }, 0)
end

-- Each gives what is sent for a value, or nil and what it must be.
local readers <const> = {}

function readers.tenant(v)
  if uuid.is(v) then return v end
  return nil, "a tenant's id (a UUID, tenant_config.id)"
end

function readers.page(v)
  local n <const> = math.type(v) and math.tointeger(v)
  if n and n >= 1 and n <= 0x7fffffff then return n end
  return nil, "a whole number from 1"
end

function readers.limit(v)
  local n <const> = math.type(v) and math.tointeger(v)
  if n and n >= 1 and n <= 1000 then return n end
  return nil, "a whole number from 1 to 1000"
end

function readers.from(v)
  if time.is_date(v) then return v end
  return nil, "a date, YYYY-MM-DD"
end

readers.to = readers.from

function readers.include_converted(v)
  if type(v) == "boolean" then return v end
  return nil, "true or false"
end

local function text(v)
  if type(v) == "string" and utf8.len(v) and not v:find("\0", 1, true) then return v end
  return nil, "text (UTF-8, without a NUL byte)"
end

for _, name in ipairs { "query", "location", "session", "user", "branch", "status" } do readers[name] = text end

local function one_of(list)
  return function(v)
    for _, known in ipairs(list) do
      if v == known then return v end
    end
    return nil, table.concat(list, ", ", 1, #list - 1) .. " or " .. list[#list],
      type(v) == "string" and errors.nearest(v, list) or nil
  end
end

readers.granularity = one_of(granularities)
local read_job_status <const> = one_of(job_statuses)

---- calls ----

local required <const> = { tenant = true, session = true, user = true }
local defaults <const> = { page = 1, limit = 50, granularity = "daily", include_converted = false }

-- The server refuses what only it can know, as a chart of too many buckets; its text names the parameters of SQL.
local function translate(fn, e)
  if not (errors.is(e, "pg") and e.code == "22023" and e.message:find "p_%l") then return e end
  return errors.new { kind = "usage", code = e.code, hint = e.hint, cause = e,
    message = "analytics." .. fn .. ": " .. e.message:gsub("from p_start_date", "from"):gsub("to p_end_date", "to")
      :gsub("p_[%l_]+", options_of) }
end

local function check(fn, names, own, opts)
  local values <const> = {}
  for i, name in ipairs(names) do
    local v = opts[name]
    if v == nil then v = defaults[name] end
    if v == nil then
      if required[name] then
        error(errors.new { kind = "usage", message = "analytics." .. fn .. ": option " .. name .. " is missing" }, 0)
      end
    else
      local read <const>, what <const>, near <const> = (own and own[name] or readers[name])(v)
      if read == nil then refuse(fn, name, what, v, near and "did you mean '" .. near .. "'?") end
      values[i] = read
    end
  end
  if opts.from and opts.to and opts.to < opts.from then
    error(errors.new { kind = "usage",
      message = string.format("analytics.%s: option to (%s) is before option from (%s)", fn, opts.to, opts.from) }, 0)
  end
  return values
end

-- Makes analytics[fn]: a call of the SQL function `sql_name` with these options beside tenant. own: readers of its own.
local function define(fn, sql_name, names, own)
  table.insert(names, 1, "tenant")
  local given <const>, allowed <const> = {}, { "nulls", "timeout" }
  for i, name in ipairs(names) do
    given[i] = parameters[name] .. " => $" .. i
    allowed[#allowed + 1] = name
  end
  local sql <const> = string.format("select %s(%s)", sql_name, table.concat(given, ", "))
  analytics[fn] = function(db, opts)
    if type(db) ~= "userdata" then
      error(errors.new { kind = "usage", message = string.format(
        "analytics.%s: argument db is a connection of garun.pg, not a %s", fn, type(db)) }, 0)
    end
    opts = errors.check_options("analytics." .. fn, opts, allowed)
    local values <const> = check(fn, names, own, opts)
    local ok <const>, result <const> = pcall(db.value, db, { sql, nulls = opts.nulls, timeout = opts.timeout },
      table.unpack(values, 1, #names))
    if not ok then error(translate(fn, result), 0) end
    return result
  end
end

define("purchase_tasks", "get_purchase_tasks", { "page", "limit", "query", "location", "from", "to" })
define("cart_abandonment_tasks", "get_cart_abandonment_tasks", { "page", "limit", "query", "location", "from", "to" })
define("search_analysis_tasks", "get_search_analysis_tasks",
  { "page", "limit", "query", "location", "from", "to", "include_converted" })
define("repeat_visit_tasks", "get_repeat_visit_tasks", { "page", "limit", "query", "location", "from", "to" })
define("performance_tasks", "get_performance_tasks", { "page", "limit", "location", "from", "to" })
define("dashboard", "get_complete_dashboard_data", { "from", "to", "granularity", "location" })
define("session_history", "get_session_history", { "session" })
define("user_history", "get_user_history", { "user" })
define("locations", "get_locations", {})
define("data_availability", "get_data_availability", {})
define("processing_jobs", "get_processing_jobs", { "page", "limit", "status" }, { status = read_job_status })
define("email_jobs", "get_email_jobs", { "page", "limit", "status" }, { status = read_job_status })
define("email_send_history", "get_email_send_history", { "page", "limit", "status", "branch", "from", "to" })

---- pages ----

-- What the functions that give pages are called, and where a page's rows are when they are not its data itself.
local paged <const> = {}
for _, name in ipairs { "purchase_tasks", "cart_abandonment_tasks", "search_analysis_tasks", "repeat_visit_tasks",
  "performance_tasks", "processing_jobs", "email_jobs", "email_send_history" } do
  paged[analytics[name]] = { name = name, rows = name == "performance_tasks" and "bounced_sessions" or nil }
end

function analytics.pages(fn, db, opts)
  local known <const> = paged[fn]
  if not known then
    error(errors.new { kind = "usage",
      message = "analytics.pages: argument fn is a function that gives pages, as analytics.purchase_tasks" }, 0)
  end
  if type(opts) ~= "table" then
    error(errors.new { kind = "usage", message = "analytics.pages: argument opts is a table, not a " .. type(opts) }, 0)
  end
  local asked <const> = { limit = page_rows, page = 0 }
  for k, v in pairs(opts) do
    if k == "page" or k == "limit" then
      error(errors.new { kind = "usage", message = "analytics.pages: option " .. k .. " is chosen by it; leave it out" }, 0)
    end
    asked[k] = v
  end
  local rows, i, more = {}, 0, true
  return function()
    i = i + 1
    if not rows[i] and more then
      asked.page = asked.page + 1
      local answer <const> = fn(db, asked)
      rows, i, more = known.rows and answer.data[known.rows] or answer.data, 1, answer.has_more
    end
    return rows[i]
  end
end

return analytics
