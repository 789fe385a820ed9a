-- session: what somebody does on a visit, as the hits that GA4's tag would send. A session writes its events through
-- day:add() and stops at the day's end; it is drawn from its own random stream.

local random <const> = require "generator.random"
local visitor <const> = require "generator.visitor"

local session <const> = {}

local Session <const> = {}
Session.__index = Session

-- What customers type and the shop does not have.
local UNKNOWN <const> = { "bal valve 3/4", "thermastat", "grundfoss pump", "1 1/2 pvc cuplings", "B&G 189165LF",
  "MCM-4452K15",
  "return policy", "invoice 88213", "welding rod 7018", "pex crimp toool", "water heather 40", "sch80 nippel",
  "forklift tires", "0-60 psi guage", "R-22 refrigerant", "schraube m8" }

local OTHER_CLICKS <const> = { "https://www.grundfos.example/datasheet/alpha2.pdf", "tel:+14025550100",
  "https://maps.example/?q=branch", "https://status.carrier.example/track/1Z999" }

---@param day table       where the events go
---@param v table         the visitor
---@param start integer   Unix seconds
---@param r table         random stream of this session
---@param options? table  login (boolean), offset (micros), batchless (boolean)
function session.new(day, v, start, r, options)
  options = options or {}
  start = day:free_second(v, start)
  local source <const> = r:chance(0.6) and v.origin or visitor.source(r)
  return setmetatable({
    day = day, shop = day.shop, form = day.form, visitor = v, r = r,
    login = v.customer ~= nil and options.login ~= false,
    offset = options.offset, batchless = options.batchless,
    id = v.pseudo and start or nil,
    number = v.first_touch and 1 + math.max(0, start - v.first_touch // 1000000) // 259200 or nil,
    micros = start * 1000000 + r:int(0, 999999),
    source = source, last_click = day.form:last_click(source),
    first = true, engaged = false, cart = {},
  }, Session)
end

-- Parameters that every hit of a page carries, rendered once a page.
local function page_params(self)
  local form <const>, page <const> = self.form, self.page
  local out <const> = {}
  local function add(key, kind, value)
    out[#out + 1] = form:param(key, kind, value)
  end
  if self.id then
    add("ga_session_id", "int", self.id)
    add("ga_session_number", "int", self.number)
  end
  add("page_location", "string", page.location)
  add("page_title", "string", page.title)
  if page.referrer then
    add("page_referrer", "string", page.referrer)
  elseif self.r:chance(0.3) then
    add("page_referrer", "null") -- a key without a value: seen in real exports
  end
  add("engaged_session_event", "int", 1)
  if self.r:chance(0.5) then -- the same key is typed differently row by row
    add("session_engaged", "string", self.engaged and "1" or "0")
  else
    add("session_engaged", "int", self.engaged and 1 or 0)
  end
  return table.concat(out, ",")
end

--- Makes the event of one hit of the current page, without sending it. extra: list of rendered params; fields: further
--- members of the event and the marks that day:add() counts by. Returns nil when the day is over.
function Session:event(name, extra, fields)
  if self.over then
    return nil
  end
  self.micros = self.micros + self.r:int(1000, 900000)
  if self.micros >= self.day.last_micro then
    self.over = true
    return nil
  end
  local params = self.page.params
  if extra and #extra > 0 then
    params = params .. "," .. table.concat(extra, ",")
  end
  self.index = self.index + 1
  local e <const> = {
    date = self.day.date, micros = self.micros, name = name, params = params, bundle = self.page.bundle,
    offset = self.offset, visitor = self.visitor:head(self.form, self.login), last_click = self.last_click,
    active = self.engaged, session = self.id,
    batch = not self.batchless and { self.page.id, self.page.order, self.index } or nil,
  }
  if self.first then
    e.collected = self.form:collected(self.source)
  end
  for key, value in pairs(fields or {}) do
    e[key] = value
  end
  return e
end

--- Sends one hit of the current page and returns its event, nil when the day is over.
function Session:hit(name, extra, fields)
  local e <const> = self:event(name, extra, fields)
  if e then
    self.day:add(e)
  end
  return e
end

--- Goes to another page and sends what its load sends. Returns the page_view event.
function Session:go(path, title, fields)
  local r <const> = self.r
  if self.page then
    self.micros = self.micros + r:int(4, 75) * 1000000
  end
  local referrer = self.page and self.page.location
  if not self.page and self.source.medium ~= "(none)" then
    referrer = "https://www." .. self.source.source .. (self.source.medium == "referral" and "/t/4711" or ".example/")
  end
  self.page = {
    location = "https://" .. self.shop.host .. path, title = title, referrer = referrer,
    id = self.micros // 1000, order = 1, bundle = self.day:bundle(),
  }
  self.index = 0
  self.page.params = page_params(self)
  local view
  if self.first then
    view = self:hit("page_view", { self.form:param("entrances", "int", 1) }, fields)
    if not self.id or self.visitor.first_touch // 1000000 >= self.id then
      self:hit("first_visit")
    end
    self:hit("session_start")
    self.first = false
  else
    view = self:hit("page_view", nil, fields)
  end
  self.engaged = true
  if r:chance(0.22) then
    self.page.order = 2
    self:hit("scroll", { self.form:param("percent_scrolled", "int", 90) })
  end
  if r:chance(0.3) then
    self.page.order = 3
    self:hit("user_engagement", { self.form:param("engagement_time_msec", "int", r:int(300, 90000)) })
  end
  return view
end

function Session:home()
  return self:go("/", self.shop.name .. " | Home")
end

function Session:category()
  local product <const> = self.r:pick(self.shop.products)
  return self:go("/c/" .. product.kind:lower():gsub("[^%w]+", "-"), product.kind .. " | " .. self.shop.name)
end

--- One item as it stands in an event.
function Session:item(product, quantity, fields)
  local item <const> = {
    id = product.id, name = product.name, brand = product.brand, variant = product.variant,
    category = product.category, category2 = product.kind, cents = product.cents, quantity = quantity,
    branch = self.visitor.branch and self.visitor.branch.id or nil,
  }
  for key, value in pairs(fields or {}) do
    item[key] = value
  end
  return item
end

--- Opens a product's page: page_view and view_item.
function Session:product(product)
  product = product or self.r:pick(self.shop.products)
  self:go(product.path, product.title .. " | " .. self.shop.name)
  self.seen = product
  return self:hit("view_item", { self.form:param("currency", "string", "USD"),
    self.form:param("value", "double", product.cents) }, {
    value = product.cents, items = { self:item(product, self.r:chance(0.7) and 1 or nil) },
  })
end

-- A term as people type it: part of a product's name in this or that case, or its number.
local function term_for(r, product)
  local pick <const> = r:int(1, 6)
  if pick == 1 then
    return product.id
  elseif pick == 2 then
    return product.name:lower()
  elseif pick == 3 then
    return product.kind:upper()
  elseif pick == 4 then
    return " " .. product.kind:lower() .. " " .. product.variant .. " "
  elseif pick == 5 then
    return product.brand .. " " .. product.kind
  end
  return product.kind:lower()
end

local function url_encode(text)
  return (text:gsub("[^%w%-%.~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Searches for something the shop has.
function Session:search(term)
  local product <const> = self.r:pick(self.shop.products)
  term = term or term_for(self.r, product)
  local shown <const> = type(term) == "string" and term or "…"
  self:go("/search?q=" .. url_encode(shown), ("Search results for %s | %s"):format(shown, self.shop.name))
  local params <const> = { self.form:param("search_term", "string", term),
    self.form:param("unique_search_term", "int", 1) }
  if self.day.mistagged then
    params[1] = self.form:param("no_search_results_term", "string", term)
    return self:hit("no_search_results", params, { mistagged = true })
  end
  return self:hit("view_search_results", params)
end

--- Searches in vain. The two event names and the two parameter names are all in use.
function Session:search_in_vain(term)
  local r <const> = self.r
  term = term or r:pick(UNKNOWN)
  self:go("/search?q=" .. url_encode(term), "No Results Found | " .. self.shop.name)
  local key <const> = r:chance(0.6) and "no_search_results_term" or "search_term"
  return self:hit(r:chance(0.8) and "no_search_results" or "view_search_results_no_results",
    { self.form:param(key, "string", term) })
end

--- Puts the product last seen into the cart, sometimes with others from the quick order pad.
function Session:add_to_cart(fields)
  local r <const> = self.r
  local items <const> = { self:item(self.seen, r:int(1, 12), fields) }
  while #items < 6 and r:chance(0.15) do
    items[#items + 1] = self:item(r:pick(self.shop.products), r:int(1, 4))
  end
  local value = 0
  for _, item in ipairs(items) do
    if type(item.cents) == "number" and type(item.quantity) == "number" then
      value = value + item.cents * item.quantity
    end
    self.cart[#self.cart + 1] = item
  end
  self.page.order = self.page.order + 1
  return self:hit("add_to_cart", { self.form:param("currency", "string", "USD"),
    self.form:param("value", "double", value) }, { value = value, items = items })
end

--- Logs in, in the middle of the visit.
function Session:log_in()
  self:go("/login", "Sign in | " .. self.shop.name)
  self.login = self.visitor.customer ~= nil
  self:hit("login", { self.form:param("method", "string", "password") })
end

local function order_of(self, transaction)
  local items <const>, revenue, quantity = {}, 0, 0
  for i, item in ipairs(self.cart) do
    local line <const> = item.cents * item.quantity
    items[i] = setmetatable({ revenue = line, list = "cart", index = tostring(i) }, { __index = item })
    revenue, quantity = revenue + line, quantity + item.quantity
  end
  return { items = items, transaction_id = transaction, revenue = revenue, quantity = quantity, unique = #items,
        shipping = self.r:chance(0.4) and 1495 or 0, tax = revenue * 7 // 100 }
end

--- Sends the purchase of an order. changes: no_param (boolean: the transaction id is in ecommerce alone), fields
--- (members and marks that override the event's).
function Session:purchase(order, changes)
  changes = changes or {}
  local form <const> = self.form
  local params <const> = { form:param("currency", "string", "USD") }
  if order.revenue % 100 == 0 then
    params[2] = form:param("value", "int", order.revenue // 100)
  else
    params[2] = form:param("value", "double", order.revenue)
  end
  params[3] = form:param("shipping", "double", order.shipping)
  if not changes.no_param then
    params[4] = form:param("transaction_id", "string", order.transaction_id)
  end
  local fields <const> = { value = order.revenue, ecommerce = order, items = order.items, revenue = order.revenue,
    transaction = order.transaction_id }
  for key, value in pairs(changes.fields or {}) do
    fields[key] = value
  end
  return self:hit("purchase", params, fields)
end

--- Buys what is in the cart. Returns the order; nil when the day ended before.
function Session:buy(transaction, changes)
  local form <const>, r <const> = self.form, self.r
  self:go("/cart", "Your cart | " .. self.shop.name)
  self:hit("view_cart", nil, { items = self.cart })
  self:go("/checkout", "Checkout | " .. self.shop.name)
  self:hit("begin_checkout", { form:param("currency", "string", "USD") }, { items = self.cart })
  if r:chance(0.5) then
    self:hit("add_shipping_info", { form:param("shipping_tier", "string", "Will call") })
  end
  local order <const> = order_of(self, transaction)
  self:go("/checkout/thank-you", "Thank you for your order | " .. self.shop.name)
  if not self:purchase(order, changes) then
    return nil
  end
  if r:chance(0.03) then
    self:reload(order, changes)
  end
  return order
end

--- Loads the thank-you page again, which fires the purchase again: same transaction, another moment.
function Session:reload(order, changes)
  self:go("/checkout/thank-you", "Thank you for your order | " .. self.shop.name)
  return self:purchase(order, changes)
end

local function browse(self)
  for _ = 1, self.r:int(1, 5) do
    local what <const> = self.r:int(1, 10)
    if what <= 3 then
      self:category()
    elseif what <= 8 then
      self:product()
    elseif what == 9 then
      self:go("/branches", "Our branches | " .. self.shop.name)
      self:hit("click", { self.form:param("link_url", "string", self.r:pick(OTHER_CLICKS)),
        self.form:param("outbound", "string", "true") })
    else
      self:hit("view_item_list", { self.form:param("item_list_name", "string", "Related products") },
        { items = { self:item(self.r:pick(self.shop.products)), self:item(self.r:pick(self.shop.products)) } })
    end
  end
end

local KINDS <const> = {
  customer = random.weighted { bounce = 12, browse = 34, search = 22, cart = 16, buy = 16 },
  stranger = random.weighted { bounce = 42, browse = 36, search = 14, cart = 6, buy = 2 },
}

--- A whole visit of the usual kinds.
function Session:run()
  local r <const> = self.r
  local kind <const> = KINDS[self.visitor.customer and "customer" or "stranger"](r)
  local landing <const> = r:int(1, 10)
  if landing <= 4 then
    self:home()
  elseif landing <= 6 then
    self:category()
  else
    self:product()
  end
  if kind == "bounce" then
    return
  elseif kind == "search" or r:chance(0.25) then
    for _ = 1, r:int(1, 4) do
      if r:chance(0.22) then
        self:search_in_vain()
      else
        self:search()
      end
      if r:chance(0.6) then
        self:product()
      end
    end
  end
  if kind == "browse" then
    browse(self)
  elseif kind == "cart" or kind == "buy" then
    if self.visitor.customer and not self.login and r:chance(0.7) then
      self:log_in()
    end
    for _ = 1, r:int(1, 4) do
      self:product()
      self:add_to_cart()
    end
    if kind == "buy" then
      self:buy(self.day:transaction())
    end
  end
end

return session
