-- The oracle's tasks: orders, abandoned carts, searches, repeat visits. Methods of what oracle.new gives.

local events <const> = require "oracle_events"
local json <const> = require "garun.json"

local tasks <const> = {}

-- Orders ------------------------------------------------------------------------------------------------------------

function tasks:purchase_tasks(f)
  local found <const> = {}
  for _, r in ipairs(self:select(f, "purchase", self.orders)) do
    local out <const> = self:with_user({
      transaction_id = r.transaction, event_date = r.day, order_value = r.revenue and r.revenue / 100,
      page_location = r.url, ga_session_id = r.ga, products = r.items,
    }, r.session)
    local texts <const> = { out.customer_name or "", out.email or "", r.transaction or "" }
    for _, item in ipairs(r.items) do
      texts[#texts + 1] = events.text(item.item_name) or ""
      texts[#texts + 1] = events.text(item.item_id) or ""
    end
    if events.found(f.query, texts) then found[#found + 1] = { ts = r.ts, id = r.transaction, out = out } end
  end
  events.sort(found, function(x) return { x.ts, x.id } end, { -1, 1 })
  local rows <const> = {}
  for i, x in ipairs(found) do rows[i] = x.out end
  return self.envelope(f, rows)
end

-- Abandoned carts ---------------------------------------------------------------------------------------------------

-- Whether a purchase in the date range, at any branch, ends the task of this session's cart.
local function bought(self, session, last, f)
  for _, p in ipairs(self.rows) do
    if p.tab == "purchase" and p.session and self.in_range(f, p) then
      if p.session == session then return true end
      local same_user <const> = session.webuser ~= nil and p.session.webuser == session.webuser
        or p.session.pseudo == session.pseudo
      if same_user and p.ts > last.ts then return true end
    end
  end
  return false
end

-- { session, carts } for every abandoned cart of the filter; carts are its add_to_cart rows there.
function tasks:abandoned(f)
  local list <const> = {}
  for _, s in ipairs(self.sessions) do
    local carts <const> = self:select(f, "add_to_cart", s.rows)
    if #carts > 0 and not bought(self, s, carts[#carts], f) then list[#list + 1] = { session = s, carts = carts } end
  end
  return list
end

-- The same item once: quantities added, the last known name, category and price. Gives the products in order of their
-- first appearance, the number of items, and their value in millionths.
local function merge_items(carts)
  local products <const>, by_item <const> = json.array {}, {}
  local count, value = 0, 0
  for _, cart in ipairs(carts) do
    for _, item in ipairs(cart.items) do
      local quantity <const> = events.decimal(item.quantity, 2) or 100
      local price <const> = events.decimal(item.price, 4)
      count = count + quantity
      value = value + quantity * (price or 0)
      local key <const> = events.item_identity(item) or json.null
      local p = by_item[key]
      if not p then
        p = { quantity = 0 }
        by_item[key] = p
        products[#products + 1] = p
      end
      p.item_id = events.text(item.item_id) or p.item_id
      p.item_name = events.text(item.item_name) or p.item_name
      p.item_category = events.text(item.item_category) or p.item_category
      if price then p.price = price / 1e4 end
      p.quantity = p.quantity + quantity / 100
    end
  end
  return products, count / 100, value
end

function tasks:cart_abandonment_tasks(f)
  local found <const> = {}
  for _, a in ipairs(self:abandoned(f)) do
    local products <const>, count <const>, value <const> = merge_items(a.carts)
    local last <const> = a.carts[#a.carts]
    local out <const> = self:with_user({
      session_id = a.session.id, event_date = last.day, last_activity = events.iso(last.ts), items_count = count,
      total_value = value / 1e6, products = products,
    }, a.session)
    local texts <const> = { out.customer_name or "", out.email or "" }
    for _, p in ipairs(products) do
      texts[#texts + 1] = p.item_name or ""
      texts[#texts + 1] = p.item_id or ""
    end
    if events.found(f.query, texts) then
      found[#found + 1] = { keys = { value, last.ts, a.session.pseudo, a.session.id }, out = out }
    end
  end
  events.sort(found, function(x) return x.keys end, { -1, -1, 1, 1 })
  local rows <const> = {}
  for i, x in ipairs(found) do rows[i] = x.out end
  return self.envelope(f, rows)
end

-- Searches ----------------------------------------------------------------------------------------------------------

local function has_purchase(session)
  for _, r in ipairs(session.rows) do
    if r.tab == "purchase" then return true end
  end
  return false
end

-- Adds a search to the group of its session, term and type; blank terms have none.
local function add_search(groups, by_key, row, kind)
  local term <const> = events.term(row.term)
  if not term then return end
  local key <const> = (row.session and row.session.key or "") .. "\0\0" .. term .. "\0\0" .. kind
  local g = by_key[key]
  if not g then
    g = { session = row.session, term = term, kind = kind, count = 0 }
    by_key[key] = g
    groups[#groups + 1] = g
  end
  g.count = g.count + 1
  g.last = row     -- rows come in order of time
end

local function search_groups(self, f)
  local groups <const>, by_key <const> = {}, {}
  for _, r in ipairs(self:select(f, "no_search_results")) do add_search(groups, by_key, r, "no_results") end
  local successful <const> = self:select(f, "view_search_results")
  local per_session <const> = {}
  for _, r in ipairs(successful) do
    if r.session then per_session[r.session] = (per_session[r.session] or 0) + 1 end
  end
  for _, r in ipairs(successful) do
    if r.session and per_session[r.session] >= 3 then
      local converted <const> = has_purchase(r.session)
      if not converted or f.include_converted then
        add_search(groups, by_key, r, converted and "converted" or "no_conversion")
      end
    end
  end
  return groups
end

-- The 20 most frequent terms of the filter, successful and failed; the query does not change them.
local function top_terms(self, f)
  local by_term <const>, list <const> = {}, {}
  for _, r in ipairs(self:select(f)) do
    local term <const> = (r.tab == "view_search_results" or r.tab == "no_search_results") and events.term(r.term)
    if term then
      local x = by_term[term]
      if not x then
        x = { search_term = term, search_count = 0, zero_results = 0, sessions = 0, seen = {} }
        by_term[term] = x
        list[#list + 1] = x
      end
      x.search_count = x.search_count + 1
      if r.tab == "no_search_results" then x.zero_results = x.zero_results + 1 end
      if r.session and not x.seen[r.session] then
        x.seen[r.session] = true
        x.sessions = x.sessions + 1
      end
    end
  end
  events.sort(list, function(x) return { x.search_count, x.search_term } end, { -1, 1 })
  local top <const> = json.array {}
  for i = 1, math.min(20, #list) do
    list[i].seen = nil
    top[i] = list[i]
  end
  return top
end

function tasks:search_analysis_tasks(f)
  local found <const> = {}
  for _, g in ipairs(search_groups(self, f)) do
    local out <const> = self:with_user({
      search_term = g.term, search_type = g.kind, search_count = g.count, session_id = g.session and g.session.id,
      event_date = g.last.day,
    }, g.session)
    if events.found(f.query, { g.term, out.customer_name or "", out.email or "" }) then
      found[#found + 1] = { out = out, keys = { g.count, g.last.ts, g.kind, g.term, g.session and g.session.pseudo,
        g.session and g.session.id } }
    end
  end
  events.sort(found, function(x) return x.keys end, { -1, -1, 1, 1, 1, 1 })
  local rows <const> = {}
  for i, x in ipairs(found) do rows[i] = x.out end
  local answer <const> = self.envelope(f, rows)
  answer.top_terms = top_terms(self, f)
  return answer
end

-- Repeat visits -----------------------------------------------------------------------------------------------------

-- Whether the user bought in the date range under any id: as the web user, or on a device used there by the user.
local function bought_as_user(self, user, webuser, f)
  local devices <const> = {}
  for _, r in ipairs(self.rows) do
    if r.session and r.session.user == user and self.in_range(f, r) then devices[r.pseudo] = true end
  end
  for _, p in ipairs(self.rows) do
    if p.tab == "purchase" and p.session and self.in_range(f, p) then
      if webuser ~= nil and p.session.webuser == webuser or devices[p.pseudo] then return true end
    end
  end
  return false
end

-- The distinct items that were viewed, each as its last view shows it: newest first, 20; and their number.
local function viewed_items(rows)
  local by_item <const>, list <const> = {}, {}
  for _, r in ipairs(rows) do
    for _, item in ipairs(r.tab == "view_item" and r.items or {}) do
      local id <const> = events.item_identity(item)
      if id then
        local x = by_item[id]
        if not x then
          x = { id = id }
          by_item[id] = x
          list[#list + 1] = x
        end
        x.ts = r.ts
        x.out = { title = events.text(item.item_name), url = r.url, category = events.text(item.item_category),
          price = events.number(item.price) }
      end
    end
  end
  events.sort(list, function(x) return { x.ts, x.id } end, { -1, 1 })
  local details <const> = json.array {}
  for i = 1, math.min(20, #list) do details[i] = list[i].out end
  return details, #list
end

-- All rows of these visits that are inside the filter, in order of time.
local function rows_of_visits(self, f, visits)
  local of_user <const> = {}
  for _, v in ipairs(visits) do of_user[v.session] = true end
  local rows <const> = {}
  for _, r in ipairs(self:select(f)) do
    if r.session and of_user[r.session] then rows[#rows + 1] = r end
  end
  return rows
end

function tasks:repeat_visit_tasks(f)
  local found <const> = {}
  for _, u in ipairs(self:visitors(f)) do
    local session <const> = u.visits[1].session
    if #u.visits >= 2 and not bought_as_user(self, u.user, session.webuser, f) then
      local views = 0
      for _, v in ipairs(u.visits) do views = views + #v.views end
      local rows <const> = rows_of_visits(self, f, u.visits)
      local last <const> = rows[#rows]
      local details <const>, distinct <const> = viewed_items(rows)
      local out <const> = self:with_user({
        visitor_id = session.webuser or session.pseudo, visits = #u.visits, page_views_count = views,
        products_viewed = distinct, products_details = details, last_activity = events.iso(last.ts), event_date = last.day,
      }, session)
      if events.found(f.query, { out.customer_name or "", out.email or "" }) then
        found[#found + 1] = { out = out, keys = { #u.visits, views, last.ts, out.visitor_id, session.webuser and 0 or 1 } }
      end
    end
  end
  events.sort(found, function(x) return x.keys end, { -1, -1, -1, 1, 1 })
  local rows <const> = {}
  for i, x in ipairs(found) do rows[i] = x.out end
  return self.envelope(f, rows)
end

return tasks
