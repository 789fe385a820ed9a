-- The oracle: every answer of the analytics functions, computed again from GA4 events in plain, slow, obvious Lua by
-- domain.md section 4. It knows nothing of SQL; analytics_test.lua compares the database's answers with it.
--
--     local o = oracle.new(list_of_decoded_events, { users = {...}, locations = {...}, time_zone = "Europe/Vienna" })
--     o:purchase_tasks { page = 1, limit = 50, query = "bolt", location = "D01", from = "2024-03-28", to = "2024-03-30" }

local events <const> = require "oracle_events"
local json <const> = require "garun.json"

local oracle <const> = {}
oracle.__index = oracle

for _, part in ipairs { "oracle_tasks", "oracle_dashboard" } do
  for name, method in pairs(require(part)) do oracle[name] = method end
end

-- users and locations are rows as the tables have them.
function oracle.new(list, opts)
  opts = opts or {}
  local self <const> = setmetatable({ zone = opts.time_zone or "UTC", users = {}, place_of = {} }, oracle)
  self.places = opts.locations or {}
  for _, u in ipairs(opts.users or {}) do self.users[u.user_id] = u end
  for _, l in ipairs(self.places) do self.place_of[l.location_id] = l end
  self.rows = events.rows(list)
  self.sessions = events.sessions(self.rows)
  self.orders = events.orders(self.rows)
  return self
end

-- Whether a row's day is inside the filter's date range.
function oracle.in_range(f, row)
  return (f.from == nil or row.day >= f.from) and (f.to == nil or row.day <= f.to)
end

-- Whether a row is inside the filter. no_location asks for the rows of no known branch.
function oracle:inside(f, row)
  if not oracle.in_range(f, row) then return false end
  if f.no_location then return row.branch == nil or self.place_of[row.branch] == nil end
  return f.location == nil or row.branch == f.location
end

-- The rows of a table (of all tables when it is nil) that are inside the filter, in order of time.
function oracle:select(f, tab, rows)
  local list <const> = {}
  for _, r in ipairs(rows or self.rows) do
    if (tab == nil or r.tab == tab) and self:inside(f, r) then list[#list + 1] = r end
  end
  return list
end

-- Adds the five user fields of a session's user; none of them when there is no session.
function oracle:with_user(out, session)
  if session == nil or session.webuser == nil then return out end
  out.user_id = session.webuser
  local u <const> = self.users[session.webuser]
  if u then
    out.customer_name, out.email, out.phone, out.office_phone = u.buying_company_name, u.email, u.cell_phone, u.office_phone
  end
  return out
end

-- Every visit of the filter: { session, views } with its page views in order of time.
function oracle:visits(f)
  local list <const> = {}
  for _, s in ipairs(self.sessions) do
    local views <const> = self:select(f, "page_view", s.rows)
    if #views > 0 then list[#list + 1] = { session = s, views = views } end
  end
  return list
end

-- Visits by user: { { user =, visits = {...} }, ... }
function oracle:visitors(f)
  local by_user <const>, list <const> = {}, {}
  for _, v in ipairs(self:visits(f)) do
    local u = by_user[v.session.user]
    if not u then
      u = { user = v.session.user, visits = {} }
      by_user[v.session.user] = u
      list[#list + 1] = u
    end
    u.visits[#u.visits + 1] = v
  end
  return list
end

-- One page of rows.
function oracle.envelope(f, rows)
  local page <const>, limit <const> = f.page or 1, f.limit or 50
  local data <const> = json.array {}
  for i = (page - 1) * limit + 1, math.min(page * limit, #rows) do data[#data + 1] = rows[i] end
  return { data = data, total = #rows, page = page, limit = limit, has_more = page * limit < #rows }
end

return oracle
