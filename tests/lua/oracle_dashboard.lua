-- The oracle's dashboard, histories, performance and master data. Methods of what oracle.new gives.

local events <const> = require "oracle_events"
local json <const> = require "garun.json"
local time <const> = require "garun.time"

local dashboard <const> = {}

local function is_search(row)
  return row.tab == "view_search_results" or row.tab == "no_search_results"
end

-- The numbers of a filter, money in cents.
local function count_all(self, f)
  local n <const> = { revenue = 0, orders = 0, searches = 0, failed = 0, users = 0, repeats = 0, visits = 0 }
  for _, r in ipairs(self:select(f, "purchase", self.orders)) do
    n.revenue = n.revenue + (r.revenue or 0)
    n.orders = n.orders + 1
  end
  for _, r in ipairs(self:select(f)) do
    if is_search(r) then n.searches = n.searches + 1 end
    if r.tab == "no_search_results" then n.failed = n.failed + 1 end
  end
  for _, u in ipairs(self:visitors(f)) do
    n.users = n.users + 1
    n.visits = n.visits + #u.visits
    if #u.visits >= 2 then n.repeats = n.repeats + 1 end
  end
  n.carts = #self:abandoned(f)
  return n
end

-- Buckets -----------------------------------------------------------------------------------------------------------

local hours <const> = { hourly = 1, ["4hours"] = 4, ["12hours"] = 12 }

-- The start of the bucket that an hour of a day falls into.
local function bucket_start(day, hour, granularity)
  local width <const> = hours[granularity]
  if width then return string.format("%sT%02d:00", day, hour // width * width) end
  if granularity == "weekly" then return time.add_days(day, 1 - time.weekday(day)) end
  if granularity == "monthly" then return time.month_start(day) end
  return day
end

-- The hour of event_date that the row belongs to: the nearest one when its local day is another.
local function hour_of(self, row)
  local at <const> = time.to_local(row.ts / 1e6, self.zone)
  if at.date < row.day then return 0 end
  if at.date > row.day then return 23 end
  return at.hour
end

local function chart(self, f, granularity)
  local list <const>, by_start <const>, visited <const> = json.array {}, {}, {}
  if not f.from then return list end
  for day in time.range(f.from, f.to) do
    for hour = 0, 23 do
      local start <const> = bucket_start(day, hour, granularity)
      if not by_start[start] then
        by_start[start] = { date = start, revenue = 0, purchases = 0, visitors = 0, carts = 0, searches = 0 }
        list[#list + 1] = by_start[start]
      end
    end
  end
  local function bucket(row) return by_start[bucket_start(row.day, hour_of(self, row), granularity)] end
  for _, r in ipairs(self:select(f, "purchase", self.orders)) do
    local b <const> = bucket(r)
    b.revenue = b.revenue + (r.revenue or 0)
    b.purchases = b.purchases + 1
  end
  for _, r in ipairs(self:select(f)) do
    local b <const> = bucket(r)
    if is_search(r) then b.searches = b.searches + 1 end
    if r.tab == "page_view" and r.session then
      visited[b] = visited[b] or {}
      if not visited[b][r.session] then
        visited[b][r.session] = true
        b.visitors = b.visitors + 1
      end
    end
  end
  for _, a in ipairs(self:abandoned(f)) do
    local b <const> = bucket(a.carts[#a.carts])
    b.carts = b.carts + 1
  end
  for _, b in ipairs(list) do b.revenue = b.revenue / 100 end
  return list
end

-- Locations ---------------------------------------------------------------------------------------------------------

local function location_row(self, f, place)
  local n <const> = count_all(self, f)
  return {
    locationId = place and place.location_id, locationName = place and place.location_name, city = place and place.city,
    state = place and place.state, totalRevenue = n.revenue / 100, totalPurchases = n.orders, totalVisitors = n.visits,
    abandonedCarts = n.carts, repeatVisits = n.repeats, failedSearches = n.failed,
  }
end

local function location_stats(self, f)
  if f.location then return json.array { location_row(self, f, self.place_of[f.location]) } end
  local list <const> = json.array {}
  for _, place in ipairs(self.places) do
    list[#list + 1] = location_row(self, { from = f.from, to = f.to, location = place.location_id }, place)
  end
  events.sort(list, function(x) return { x.totalRevenue, x.locationId } end, { -1, 1 })
  list[#list + 1] = location_row(self, { from = f.from, to = f.to, no_location = true })
  return list
end

-- First and last day with data, of all tables and branches.
local function days_with_data(self)
  local first, last
  for _, r in ipairs(self.rows) do
    if not first or r.day < first then first = r.day end
    if not last or r.day > last then last = r.day end
  end
  return first, last
end

function dashboard:dashboard(f)
  local first <const>, last <const> = days_with_data(self)
  local resolved <const> = { from = f.from or first, to = f.to or last, location = f.location }
  local n <const> = count_all(self, resolved)
  if not resolved.from or not resolved.to then resolved.from, resolved.to = nil, nil end
  return {
    metrics = {
      totalRevenue = n.revenue / 100, totalPurchases = n.orders, totalVisitors = n.visits, abandonedCarts = n.carts,
      uniqueUsers = n.users, totalSearches = n.searches, failedSearches = n.failed, repeatVisits = n.repeats,
      conversionRate = n.visits > 0 and n.orders / n.visits or 0,
    },
    chartData = chart(self, resolved, f.granularity or "daily"),
    locationStats = location_stats(self, f),
  }
end

-- Histories ---------------------------------------------------------------------------------------------------------

-- What a row tells of itself. The columns of the first item have two decimals; view_item has no quantity.
local function details_of(row)
  if row.tab == "page_view" then return { page_location = row.url, page_title = row.title } end
  if row.tab == "purchase" then
    return { transaction_id = row.transaction, revenue = row.revenue and row.revenue / 100, items = row.items }
  end
  if is_search(row) then return { search_term = row.term } end
  local item <const> = row.items[1] or {}
  local price <const> = events.decimal(item.price, 2)
  return {
    item_id = events.text(item.item_id), item_name = events.text(item.item_name),
    category = events.text(item.item_category), price = price and price / 100,
    quantity = row.tab == "add_to_cart" and events.number(item.quantity) or nil,
  }
end

-- Oldest first; of more than 1000 the newest.
local function history(rows)
  events.sort(rows, function(r) return { r.ts, r.tab } end, { 1, 1 })
  local list <const> = json.array {}
  for i = math.max(1, #rows - 999), #rows do
    local r <const> = rows[i]
    list[#list + 1] = { event_timestamp = events.iso(r.ts), event_type = r.tab, session_id = r.ga, user_pseudo_id = r.pseudo,
      details = details_of(r) }
  end
  return list
end

function dashboard:session_history(session_id)
  local rows <const> = {}
  for _, r in ipairs(self.rows) do
    if r.session and r.session.id == session_id then rows[#rows + 1] = r end
  end
  return history(rows)
end

-- A web user's sessions; when there is none of that name, those of the anonymous device.
function dashboard:user_history(user)
  for _, key in ipairs { "webuser\0" .. user, "anonymous\0" .. user } do
    local rows <const> = {}
    for _, r in ipairs(self.rows) do
      if r.session and r.session.user == key then rows[#rows + 1] = r end
    end
    if #rows > 0 then return history(rows) end
  end
  return json.array {}
end

-- Performance -------------------------------------------------------------------------------------------------------

-- The only known page of these page views; nil when there are more, or none.
local function only_page(views)
  local page
  for _, r in ipairs(views) do
    local p <const> = events.page(r.url)
    if p ~= nil then
      if page ~= nil and page ~= p then return nil end
      page = p
    end
  end
  return page
end

function dashboard:performance_tasks(f)
  local found <const>, by_page <const>, pages <const> = {}, {}, {}
  for _, v in ipairs(self:visits(f)) do
    local page <const> = only_page(v.views)
    if page then
      local last <const> = v.views[#v.views]
      found[#found + 1] = { keys = { last.ts, v.session.pseudo, v.session.id },
        out = self:with_user({ session_id = v.session.id, event_date = last.day, entry_page = page }, v.session) }
      if not by_page[page] then
        by_page[page] = { entry_page = page, bounce_count = 0 }
        pages[#pages + 1] = by_page[page]
      end
      by_page[page].bounce_count = by_page[page].bounce_count + 1
    end
  end
  events.sort(found, function(x) return x.keys end, { -1, 1, 1 })
  events.sort(pages, function(x) return { x.bounce_count, x.entry_page } end, { -1, 1 })
  local rows <const>, frequent <const> = {}, json.array {}
  for i, x in ipairs(found) do rows[i] = x.out end
  for i = 1, math.min(10, #pages) do frequent[i] = pages[i] end
  local answer <const> = self.envelope(f, rows)
  answer.data = { bounced_sessions = answer.data, frequently_bounced_pages = frequent }
  return answer
end

-- Master data -------------------------------------------------------------------------------------------------------

function dashboard:locations()
  local list <const> = json.array {}
  for i, l in ipairs(self.places) do
    list[i] = { location_id = l.location_id, location_name = l.location_name, city = l.city, state = l.state }
  end
  return events.sort(list, function(l) return { l.location_name, l.location_id } end, { 1, 1 })
end

function dashboard:data_availability()
  local first <const>, last <const> = days_with_data(self)
  local out <const> = { first_day = first, last_day = last, total_events = #self.rows, tables = {}, days = json.array {} }
  for _, tab in ipairs(events.tables) do out.tables[tab] = { events = 0 } end
  local by_day <const>, days <const> = {}, {}
  for _, r in ipairs(self.rows) do
    local tab <const> = out.tables[r.tab]
    tab.events = tab.events + 1
    if not tab.first_day or r.day < tab.first_day then tab.first_day = r.day end
    if not tab.last_day or r.day > tab.last_day then tab.last_day = r.day end
    if not by_day[r.day] then
      by_day[r.day] = { date = r.day }
      for _, name in ipairs(events.tables) do by_day[r.day][name] = 0 end
      days[#days + 1] = by_day[r.day]
    end
    by_day[r.day][r.tab] = by_day[r.day][r.tab] + 1
  end
  events.sort(days, function(d) return { d.date } end, { 1 })
  for i = math.max(1, #days - 89), #days do out.days[#out.days + 1] = days[i] end
  return out
end

return dashboard
