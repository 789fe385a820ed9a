-- The oracle's ground: GA4 events as decoded JSON objects -> rows, sessions, users and orders, by domain.md section 2 and 4,
-- in plain loops. oracle.lua gathers this and what is built on it; nothing here knows of SQL.

local json <const> = require "garun.json"

local events <const> = {}

local tables <const> = {
  purchase = "purchase", add_to_cart = "add_to_cart", page_view = "page_view", view_item = "view_item",
  view_search_results = "view_search_results", no_search_results = "no_search_results",
  view_search_results_no_results = "no_search_results",
}

events.tables = { "add_to_cart", "no_search_results", "page_view", "purchase", "view_item", "view_search_results" }

-- json.null and nil alike are no value.
local function known(v)
  if v == json.null then return nil end
  return v
end

-- A scalar as text: whole floats without a fraction.
function events.text(v)
  v = known(v)
  if v == nil then return nil end
  if math.type(v) == "float" and v == math.floor(v) then return string.format("%d", math.tointeger(v)) end
  if math.type(v) == "float" then return string.format("%.15g", v) end
  return tostring(v)
end

-- A JSON number or a string that holds one, in units of 10^-digits, exact; nil for anything else.
function events.decimal(v, digits)
  v = known(v)
  local text <const> = type(v) == "number" and events.text(v) or v
  if type(text) ~= "string" then return nil end
  local sign <const>, whole <const>, rest <const> = text:match("^%s*([-+]?)(%d+)%.?(%d*)%s*$")
  if not whole then return nil end
  local fraction <const> = rest:sub(1, digits)
  if rest:sub(digits + 1):find("[1-9]") then error("the test's data has more decimals than the oracle keeps: " .. text) end
  local n <const> = math.tointeger(tonumber(whole .. fraction .. ("0"):rep(digits - #fraction)))
  return sign == "-" and -n or n
end

-- A JSON number or a string that holds one, as a number.
function events.number(v)
  local n <const> = events.decimal(v, 6)
  return n and n / 1e6
end

-- The first of these fields of { string_value =, int_value = ... } that has a value, then double_value, float_value.
local function value_of(value, first, second)
  value = known(value)
  if value == nil then return nil end
  for _, field in ipairs { first, second, "double_value", "float_value" } do
    local v <const> = events.text(value[field])
    if v ~= nil then return v end
  end
  return nil
end

local function find(list, key, case_matters)
  for _, entry in ipairs(known(list) or {}) do
    local name <const> = entry.key or ""
    if name == key or not case_matters and name:lower() == key then return entry.value end
  end
  return nil
end

local function param(e, key, first, second)
  return value_of(find(e.event_params, key, true), first, second)
end

local function property(e, key, first, second)
  return value_of(find(e.user_properties, key, false), first, second)
end

-- Revenue in cents.
local function revenue(e)
  local ecommerce <const> = known(e.ecommerce) or {}
  local v = known(ecommerce.purchase_revenue)
  if v == nil then
    local value <const> = find(e.event_params, "value", true) or {}
    v = known(value.double_value)
    if v == nil then v = known(value.float_value) end
    if v == nil then v = known(value.int_value) end
  end
  return events.decimal(v, 2)
end

-- One event -> one row; nil when its name is none of ours.
function events.row(e)
  local name <const> = tables[e.event_name]
  if not name then return nil end
  local row <const> = {
    tab = name,
    day = e.event_date:gsub("^(%d%d%d%d)(%d%d)(%d%d)$", "%1-%2-%3"),
    ts = math.tointeger(tonumber(e.event_timestamp)),
    pseudo = known(e.user_pseudo_id),
    webuser = property(e, "webuserid", "int_value", "string_value"),
    branch = property(e, "default_branch_id", "string_value", "int_value"),
    ga = param(e, "ga_session_id", "int_value", "string_value"),
    title = param(e, "page_title", "string_value", "int_value"),
    url = param(e, "page_location", "string_value", "int_value"),
    items = known(e.items) or json.array {},
  }
  if name == "purchase" then
    row.transaction = param(e, "transaction_id", "string_value", "int_value")
      or events.text((known(e.ecommerce) or {}).transaction_id)
    row.revenue = revenue(e)
  elseif name == "view_search_results" then
    row.term = param(e, "search_term", "string_value", "int_value")
  elseif name == "no_search_results" then
    row.term = param(e, "no_search_results_term", "string_value", "int_value")
      or param(e, "search_term", "string_value", "int_value")
  end
  return row
end

-- What makes an event the same as another of its day.
local function identity(e)
  local ids <const> = { events.text(e.batch_page_id), events.text(e.batch_ordering_id), events.text(e.batch_event_index) }
  if ids[1] and ids[2] and ids[3] then
    return table.concat({ e.event_date, known(e.user_pseudo_id) or "\1", events.text(e.event_timestamp), e.event_name,
      ids[1], ids[2], ids[3] }, "\0")
  end
  return json.encode(e, { sort_keys = true })
end

-- The rows that a load of these events stores, in order of time.
function events.rows(list)
  local rows <const>, seen <const> = {}, {}
  for _, e in ipairs(list) do
    local id <const> = identity(e)
    if not seen[id] then
      seen[id] = true
      local row <const> = events.row(e)
      if row then rows[#rows + 1] = row end
    end
  end
  events.sort(rows, function(r) return { r.ts, r.tab } end, { 1, 1 })
  return rows
end

-- Gives every row its session and every session its user; gives the list of sessions.
function events.sessions(rows)
  local by_key <const>, list <const> = {}, {}
  for _, r in ipairs(rows) do
    if r.pseudo ~= nil and r.ga ~= nil then
      local key <const> = r.pseudo .. "\0" .. r.ga
      local s = by_key[key]
      if not s then
        s = { key = key, pseudo = r.pseudo, id = r.ga, rows = {} }
        by_key[key] = s
        list[#list + 1] = s
      end
      s.rows[#s.rows + 1] = r
      r.session = s
    end
  end
  for _, s in ipairs(list) do
    local when
    for _, r in ipairs(s.rows) do
      if r.webuser ~= nil and (when == nil or r.ts > when or r.ts == when and r.webuser > s.webuser) then
        s.webuser, when = r.webuser, r.ts
      end
    end
    s.user = s.webuser ~= nil and "webuser\0" .. s.webuser or "anonymous\0" .. s.pseudo
  end
  return list
end

-- The first purchase of every transaction id; each of those that have none.
function events.orders(rows)
  local list <const>, seen <const> = {}, {}
  for _, r in ipairs(rows) do     -- in order of time
    if r.tab == "purchase" then
      local id <const> = r.transaction
      if id == nil or id == "" or id == "(not set)" then
        list[#list + 1] = r
      elseif not seen[id] then
        seen[id] = true
        list[#list + 1] = r
      end
    end
  end
  return list
end

-- Sorts by the keys that keys_of gives: 1 is ascending, -1 descending; a key that is nil comes last either way.
-- Text is compared bytewise. Rows whose keys are all equal keep their order.
function events.sort(list, keys_of, directions)
  local keyed <const> = {}
  for i, v in ipairs(list) do keyed[i] = { keys = keys_of(v), place = i, value = v } end
  table.sort(keyed, function(a, b)
    for i, direction in ipairs(directions) do
      local x <const>, y <const> = a.keys[i], b.keys[i]
      if x ~= y then
        if x == nil then return false end
        if y == nil then return true end
        if direction > 0 then return x < y else return x > y end
      end
    end
    return a.place < b.place
  end)
  for i, k in ipairs(keyed) do list[i] = k.value end
  return list
end

-- Microseconds as ISO 8601.
function events.iso(ts)
  return os.date("!%Y-%m-%dT%H:%M:%S", ts // 1000000) .. string.format(".%06dZ", ts % 1000000)
end

-- What an item is known by: its id, else its name, nil when it has neither.
function events.item_identity(item)
  return events.text(item.item_id) or events.text(item.item_name)
end

-- A term as it is compared and shown; nil when it is blank.
function events.term(text)
  if text == nil then return nil end
  local trimmed <const> = text:match("^[ \t\n\r\v\f]*(.-)[ \t\n\r\v\f]*$"):lower()
  return trimmed ~= "" and trimmed or nil
end

-- The page of a URL: without query and fragment.
function events.page(url)
  return url and url:match("^[^?#]*")
end

-- Whether the query is a part of one of these texts, without case. No query, or an empty one, finds everything.
function events.found(query, texts, n)
  if query == nil or query == "" then return true end
  for i = 1, n or #texts do
    if texts[i] ~= nil and texts[i]:lower():find(query:lower(), 1, true) then return true end
  end
  return false
end

return events
