-- GA4 events that go wrong wherever they can, the same for the same seed: for the analytics tests. hostile.make gives
-- events, users and locations; hostile.event makes one event for a case of its own.
--
--     local data = hostile.make { seed = 1, from = "2024-03-25", days = 12, events = 1500, zone = "Europe/Vienna" }

local json <const> = require "garun.json"
local time <const> = require "garun.time"

local hostile <const> = {}

-- One event of the shape that the export gives; what is nil is absent. opts: name, day, ts (microseconds), user, ga, web,
-- branch, transaction, revenue, items, url, title, term.
function hostile.event(opts)
  local e <const> = { event_name = opts.name, event_date = opts.day:gsub("-", ""), event_timestamp = opts.ts,
    user_pseudo_id = opts.user, event_params = json.array {}, user_properties = json.array {}, items = opts.items }
  local function put(list, key, value)
    if value == nil then return end
    local field <const> = math.type(value) == "integer" and "int_value" or type(value) == "number" and "double_value"
      or "string_value"
    list[#list + 1] = { key = key, value = { [field] = value } }
  end
  put(e.event_params, "ga_session_id", opts.ga)
  put(e.event_params, "page_location", opts.url)
  put(e.event_params, "page_title", opts.title)
  put(e.event_params, "transaction_id", opts.transaction)
  put(e.event_params, "search_term", opts.term)
  put(e.user_properties, "webuserid", opts.web)
  put(e.user_properties, "default_branch_id", opts.branch)
  if opts.revenue ~= nil then e.ecommerce = { purchase_revenue = opts.revenue } end
  return e
end

-- Chance --------------------------------------------------------------------------------------------------------------

local Dice <const> = {}
Dice.__index = Dice

local function dice(seed)
  local d <const> = setmetatable({ state = seed * 2654435761 + 12345 }, Dice)
  for _ = 1, 8 do d:roll(2) end
  return d
end

-- 1 to n.
function Dice:roll(n)
  self.state = self.state * 6364136223846793005 + 1442695040888963407
  return (self.state >> 33) % n + 1
end

function Dice:percent(p) return self:roll(100) <= p end

function Dice:pick(list) return list[self:roll(list.n or #list)] end

-- What things are called ------------------------------------------------------------------------------------------------

local products <const> = {
  { item_id = "A1", item_name = "M10 Bolt", item_category = "Bolts" },
  { item_id = "A2", item_name = "m10 bolt", item_category = "Bolts" },
  { item_id = "A_3", item_name = "100% Cotton Gloves", item_category = "Safety" },
  { item_id = "AX3", item_name = "1000 Cotton Gloves" },
  { item_id = "B\\1", item_name = "Back\\slash Saw", item_category = "Tools" },
  { item_id = "b\"2", item_name = "Pipe \"2 in\"", item_category = "Pipes" },
  { item_name = "Unnumbered Valve", item_category = "Valves" },
  { item_name = "UNNUMBERED_PUMP", item_category = json.null },
  { item_id = "NONAME-1", item_category = "Odd" },
  { item_id = json.null, item_name = json.null, item_category = "Neither" },
  { item_id = "", item_name = "Empty id", item_category = "" },
  { item_id = "(not set)", item_name = "(not set)", item_category = "(not set)" },
  { item_id = 4711, item_name = "Number as id", item_category = "Odd" },
  { item_id = "00123", item_name = "Leading zeros", item_category = "Odd" },
  { item_id = "\u{e4}1", item_name = "M\u{fc}ller Ventil \u{1F600}", item_category = "Valves" },
}
for i = 1, 16 do
  products[#products + 1] = { item_id = string.format("P%02d", i), item_name = "Plain part " .. i, item_category = "Plain" }
end

local terms <const> = {
  " M10 Bolt ", "m10 bolt\t", "M10 BOLT", "m10  bolt", "100% cotton", "100x cotton", "a_b", "axb", "back\\slash",
  "back\\\\slash", "", "   ", "\t\r\n", "\v\fpump\r\n", "PUMP", 4711, "4711 ", "(not set)", "o'ring", "\"quoted\"",
  "m\u{fc}ller", "gloves", "GLOVES", "saw", "valve", "pipe", "seal", "nut", "washer", "hinge", "motor", "belt",
}

local paths <const> = {}
for i, name in ipairs { "", "c/bolts", "c/Bolts", "c/pipes", "p/1", "p/2", "p/3", "cart", "login", "checkout", "help",
  "about", "news", "x" } do
  paths[i] = "https://shop.example/" .. name
end

local tails <const> = { "", "", "", "?q=1", "?q=2&x=%20", "#top", "?a=1#b", "#b?a=1", "?" }

local branches <const> = { "D01", "D01", "D01", "D02", "D02", "D03", "00123", 7, "X99", "", "(not set)", "d01" }

hostile.locations = {
  { location_id = "D01", location_name = "Graz", city = "Graz", state = "Steiermark" },
  { location_id = "D02", location_name = "Linz", city = "Linz" },
  { location_id = "D03", location_name = "Linz", city = "Traun", state = "" },
  { location_id = "00123" },
  { location_id = "7", location_name = "Wien 7", city = "Wien", state = "Wien" },
  { location_id = "D09", location_name = "Nobody comes here" },
}

-- Some of the web users only; one that no event knows; one that is called like a device.
hostile.users = {
  { user_id = "1001", buying_company_name = "ACME Bolts GmbH", email = "buyer_1@acme.example", cell_phone = "+43 1",
    office_phone = "+43 2" },
  { user_id = "1002", buying_company_name = "100% Pipes", email = "Pipes%Office@Example.COM" },
  { user_id = "1003", email = "back\\slash@example.com", cell_phone = "0664" },
  { user_id = "1004", buying_company_name = "acme_tools", email = "buyerx1@acme.example" },
  { user_id = "W-7", buying_company_name = "M\u{fc}ller & S\u{f6}hne", office_phone = "" },
  { user_id = "", buying_company_name = "The empty user" },
  { user_id = "dev05", buying_company_name = "Called like a device" },
  { user_id = "9999", buying_company_name = "Never seen" },
}

-- One event ---------------------------------------------------------------------------------------------------------

-- The same value in one of the shapes in which the export may give it.
local function shaped(d, value)
  if math.type(value) == "integer" then
    local way <const> = d:roll(4)
    if way == 1 then return { int_value = value } end
    if way == 2 then return { int_value = tostring(value), string_value = json.null } end
    if way == 3 then return { string_value = tostring(value) } end
    return { double_value = value + 0.0, int_value = json.null }
  end
  if d:percent(30) then return { string_value = value, int_value = json.null, float_value = json.null } end
  return { string_value = value }
end

local function put(d, list, key, value)
  if value == nil then
    if d:percent(20) then list[#list + 1] = { key = key, value = { string_value = json.null, int_value = json.null } } end
  else
    list[#list + 1] = { key = key, value = shaped(d, value) }
  end
end

local function cents(d) return d:roll(100000) / 100 end

local function item_of(d, first)
  local product <const> = d:pick(products)
  local item <const> = {}
  for k, v in pairs(product) do item[k] = v end
  if d:percent(5) and item.item_id then item.item_name = nil end
  local price <const> = d:roll(10)
  if price <= 5 then item.price = cents(d)
  elseif price == 6 then item.price = string.format("%.2f", cents(d))
  elseif price == 7 then item.price = d:roll(50)
  elseif price == 8 then item.price = json.null
  elseif price == 9 then item.price = not first and d:pick { "abc", "", "12,50", 1.2345, "0.0005" } or 0 end
  local quantity <const> = d:roll(8)
  if quantity <= 4 then item.quantity = d:roll(9)
  elseif quantity == 5 then item.quantity = tostring(d:roll(12))
  elseif quantity == 6 then item.quantity = json.null
  elseif quantity == 7 then item.quantity = not first and d:pick { 2.5, "0.25", "many", "" } or 0 end
  return item
end

-- Items, or null, or nothing. unlike: no item twice, for views.
local function items_of(d, unlike)
  local kind <const> = d:roll(12)
  if kind == 1 then return nil end
  if kind == 2 then return json.null end
  if kind == 3 then return json.array {} end
  local list <const>, seen <const> = json.array {}, {}
  for i = 1, d:percent(60) and 1 or d:roll(4) do
    local item <const> = item_of(d, i == 1)
    local id <const> = tostring(item.item_id or item.item_name)
    if not (unlike and seen[id]) then list[#list + 1] = item end
    seen[id] = true
  end
  return list
end

local function fill_purchase(d, e, state)
  local id
  local kind <const> = d:roll(20)
  if kind <= 4 and #state.orders > 0 then id = d:pick(state.orders)
  elseif kind == 5 then id = nil
  elseif kind == 6 then id = ""
  elseif kind == 7 then id = "(not set)"
  elseif kind == 8 then id = 100000 + d:roll(5)
  else
    id = string.format(d:percent(10) and "t%%%03d_x" or "T%04d", #state.orders + 1)
    state.orders[#state.orders + 1] = id
  end
  e.ecommerce = {}
  if id ~= nil and d:percent(50) then e.ecommerce.transaction_id = id else put(d, e.event_params, "transaction_id", id) end
  local revenue <const> = d:roll(10)
  if revenue <= 4 then e.ecommerce.purchase_revenue = cents(d)
  elseif revenue == 5 then e.ecommerce.purchase_revenue = string.format("%.2f", cents(d))
  elseif revenue == 6 then e.event_params[#e.event_params + 1] = { key = "value", value = { double_value = cents(d) } }
  elseif revenue == 7 then e.event_params[#e.event_params + 1] = { key = "value", value = { int_value = "250" } }
  elseif revenue == 8 then e.ecommerce.purchase_revenue = 0
  elseif revenue == 9 then e.ecommerce.purchase_revenue = json.null end
  e.items = items_of(d)
end

local function fill_search(d, e)
  local term
  if not d:percent(4) then term = d:pick(terms) end
  if e.event_name ~= "view_search_results" and d:percent(50) then
    put(d, e.event_params, "no_search_results_term", term)
  else
    put(d, e.event_params, "search_term", term)
  end
end

local names <const> = { "page_view", "page_view", "page_view", "page_view", "page_view", "view_item", "view_item", "view_item",
  "add_to_cart", "add_to_cart", "view_search_results", "view_search_results", "view_search_results", "no_search_results",
  "view_search_results_no_results", "purchase", "scroll", "login", "page_view", "view_search_results" }

-- who: { user, ga, web, branch }
local function make_event(d, state, name, ts, who)
  while state.used[ts] do ts = ts + 1 end
  state.used[ts] = true
  local at <const> = time.to_local(ts / 1e6, state.zone).date
  local day = at
  if d:percent(2) then day = time.add_days(at, d:percent(50) and 1 or -1) end
  local e <const> = { event_name = name, event_date = day:gsub("-", ""), event_timestamp = d:percent(50) and ts or tostring(ts),
    user_pseudo_id = who.user, event_params = json.array {}, user_properties = json.array {} }
  put(d, e.event_params, "ga_session_id", who.ga)
  put(d, e.event_params, "page_title", d:percent(90) and "Title " .. d:roll(9) or nil)
  local url <const> = d:pick(paths) .. d:pick(tails)
  put(d, e.event_params, "page_location", d:percent(92) and (who.only_page or url) or nil)
  local keys <const> = { "webuserid", "WebUserId", "WEBUSERID" }
  put(d, e.user_properties, d:pick(keys), who.web)
  local branch <const> = d:percent(12) and d:pick(branches) or who.branch
  put(d, e.user_properties, d:percent(80) and "default_branch_id" or "Default_Branch_Id", branch)
  if name == "purchase" then fill_purchase(d, e, state)
  elseif name == "view_item" or name == "add_to_cart" then e.items = items_of(d, name == "view_item")
  elseif name:find("search") then fill_search(d, e) end
  if state.batches then
    e.batch_page_id, e.batch_ordering_id, e.batch_event_index = ts, d:roll(3), d:roll(5)
  end
  return e
end

-- Sessions ----------------------------------------------------------------------------------------------------------

-- Devices and who uses them: some always anonymous, several of one web user, some of two.
local function devices_of()
  local list <const> = {}
  for i = 1, 48 do
    list[i] = { id = string.format("dev%02d", i) }
    if i <= 3 then list[i].webs = { 1001 }                 -- one web user on three devices
    elseif i <= 5 then list[i].webs = { 1002, 1003 }       -- two web users share them
    elseif i <= 7 then list[i].webs = { "W-7" }
    elseif i == 8 then list[i].webs = { "" }
    elseif i == 9 then list[i].webs = { "dev05" }          -- a web user called like a device
    elseif i == 10 then list[i].webs = { "unknown%1", 1001 }
    elseif i <= 14 then list[i].webs = { 1000 + i } end
  end
  list[#list + 1] = { id = nil }                           -- consent mode
  list[#list + 1] = { id = "" }
  return list
end

-- Local times at which sessions like to start: around midnight, and when the clocks change.
local clocks <const> = { "23:50", "23:58", "00:00", "00:03", "01:40", "02:10", "02:50", "03:00", "06:00", "09:30", "12:00",
  "12:05", "15:59", "18:20" }

local function start_of(d, opts, day)
  local clock = d:pick(clocks)
  if d:percent(50) then clock = string.format("%02d:%02d", d:roll(24) - 1, d:roll(60) - 1) end
  local at <const> = time.from_local(day, clock, opts.zone)
  return math.floor(at) * 1000000 + d:roll(999999)
end

local function add_session(d, state, opts, add)
  local device <const> = d:pick(state.devices)
  local day <const> = time.add_days(opts.from, d:roll(opts.days) - 1)
  local ts = start_of(d, opts, day)
  local who <const> = { user = device.id, branch = d:pick(branches),
    ga = d:percent(45) and 1711000000 + d:roll(12) or ts // 1000000 }
  if d:percent(4) then who.ga = nil end
  if d:percent(8) then who.branch = nil end
  if d:percent(25) then who.only_page = d:pick(paths) .. d:pick(tails) end
  local count <const> = d:percent(25) and 1 or d:roll(14)
  local login <const> = device.webs and (d:percent(50) and 1 or d:roll(count + 2))
  for i = 1, count do
    if login and i >= login then who.web = d:percent(85) and d:pick(device.webs) or nil end
    local name <const> = count == 1 and d:percent(70) and "page_view" or d:pick(names)
    add(make_event(d, state, name, ts, who))
    ts = ts + d:roll(1200) * 1000000 + d:roll(999)
  end
end

-- Cases that chance would not find --------------------------------------------------------------------------------------

-- A purchase by the same web user, on another device, a moment before, at, and after the last add_to_cart; in the
-- session itself; outside the dates that tests ask for; without a session; a repeat of an older order.
local function add_cart_cases(opts, add)
  local day <const> = time.add_days(opts.from, 5)
  local base <const> = math.floor(time.from_local(day, "10:00", opts.zone)) * 1000000
  local before <const>, after <const> = time.add_days(opts.from, 2), time.add_days(opts.from, 9)
  local function case(n, cart, purchase)
    local at <const> = base + n * 60000000 + 100 * opts.seed
    cart.name, cart.day, cart.ts, cart.ga = "add_to_cart", day, at, cart.ga or 5000 + n
    cart.items = json.array { products[n % #products + 1] }
    add(hostile.event(cart))
    purchase.name, purchase.day, purchase.ts = "purchase", purchase.day or day, at + purchase.after
    purchase.revenue = n
    purchase.transaction = purchase.transaction or "case" .. n
    add(hostile.event(purchase))
  end
  for i, after_us in ipairs { -1, 0, 1 } do
    local web <const> = "cw" .. i
    case(i, { user = "c" .. i, web = web, branch = "D01" },
      { user = "d" .. i, web = web, ga = 1, branch = "D02", after = after_us })
    case(i + 3, { user = "e" .. i, branch = "D01" }, { user = "e" .. i, ga = 2, after = after_us, web = "ew" .. i })
    case(i + 6, { user = "f" .. i }, { user = "f" .. i, ga = 5006 + i, after = after_us * 1000 })
  end
  case(10, { user = "g1", web = "gw" }, { user = "g1", web = "gw", ga = 9, day = after, after = 4 * 86400000000 })
  case(11, { user = "g2" }, { user = "g2", ga = 5011, day = before, after = -3 * 86400000000 })
  case(12, { user = "g3" }, { user = "g3", after = 5 })
  case(13, { user = "g4", ga = 5013 }, { ga = 5013, after = 5 })
  case(14, { user = "g5" }, { user = "g5", ga = 77, after = 500, transaction = "case1" })
  case(15, { user = "g6", web = "gx" }, { user = "g7", ga = 78, after = 500 })
  local later <const> = base + 5 * 86400000000 + opts.seed
  add(hostile.event { name = "page_view", day = after, ts = later, user = "g7", ga = 78, web = "gx" })
end

-- Repeats as the export makes them, and what only looks like one.
local function add_repeats(opts, add)
  local day <const> = time.add_days(opts.from, 4)
  local base <const> = math.floor(time.from_local(day, "08:00", opts.zone)) * 1000000 + opts.seed
  local function view(n, web, batch)
    local e <const> = hostile.event { name = "page_view", day = day, ts = base + n, user = "r1", ga = 33, web = web,
      url = paths[2] }
    if batch then e.batch_page_id, e.batch_ordering_id, e.batch_event_index = batch, 1, "2" end
    return e
  end
  add(view(1, "1001"))
  add(view(1, "1001"))                 -- wholly identical
  add(view(2, "rwA", 7))
  add(view(2, "rwB", 7))               -- the same batch ids: the first is kept
  add(view(2, "rwA", "8"))             -- another batch
  add(view(3, "tieB"))
  add(view(3, "tieA"))                 -- at the same moment: the greater web user id
  local e <const> = hostile.event { name = "purchase", day = day, ts = base + 4, user = "r1", ga = 33, revenue = 9.99,
    transaction = "rep" }
  e.batch_page_id, e.batch_ordering_id, e.batch_event_index = 1, 1, 1
  add(e)
  add(e)
end

-- A visitor of many products and days, and one device that every web user borrows.
local function add_collectors(opts, add)
  for i = 0, 2 do
    local day <const> = time.add_days(opts.from, 3 + i)
    local base <const> = math.floor(time.from_local(day, "14:00", opts.zone)) * 1000000 + opts.seed
    add(hostile.event { name = "page_view", day = day, ts = base, user = "col", ga = 100 + i, branch = "D01", url = paths[3] })
    for n, product in ipairs(products) do
      if (n + i) % 2 == 0 then
        add(hostile.event { name = "view_item", day = day, ts = base + n * 1000, user = "col", ga = 100 + i, branch = "D01",
          items = json.array { product }, url = paths[n % #paths + 1] })
      end
    end
    for n, web in ipairs { "bor1", "bor2" } do
      add(hostile.event { name = "page_view", day = day, ts = base + n * 10 + 7, user = "kiosk", web = web,
        ga = 200 + 10 * i + n })
    end
  end
  local day <const> = time.add_days(opts.from, 4)
  local base <const> = math.floor(time.from_local(day, "16:00", opts.zone)) * 1000000 + opts.seed
  add(hostile.event { name = "purchase", day = day, ts = base, user = "kiosk", ga = 299, web = "bor2", revenue = 1 })
end

-- opts: seed, from, days, events (about), zone. Gives { events, users, locations }; events are encodable.
function hostile.make(opts)
  local d <const> = dice(opts.seed)
  local state <const> = { used = {}, orders = {}, devices = devices_of(), zone = opts.zone, batches = opts.seed % 2 == 1 }
  local list <const> = {}
  local function add(e)
    local ts <const> = math.tointeger(tonumber(e.event_timestamp))
    state.used[ts] = true
    list[#list + 1] = e
  end
  add_cart_cases(opts, add)
  add_repeats(opts, add)
  add_collectors(opts, add)
  while #list < opts.events do
    local from <const> = #list + 1
    add_session(d, state, opts, add)
    if d:percent(5) then list[#list + 1] = list[from] end     -- the export repeats an event
  end
  return { events = list, users = hostile.users, locations = hostile.locations }
end

-- The lines of these events, decoded again: what a reader of the file sees.
function hostile.decoded(list)
  local out <const> = {}
  for i, e in ipairs(list) do out[i] = json.decode(json.encode(e)) end
  return out
end

return hostile
