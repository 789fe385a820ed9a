-- visitor: who comes to the shop: customers with a login, people who come again without one, and passers-by. A visitor
-- is the same on every day (device, place, source); only passers-by belong to their day.

local random <const> = require "generator.random"

local visitor <const> = {}

local Visitor <const> = {}
Visitor.__index = Visitor

local DEVICES <const> = {
  { category = "desktop", brand = "Google", model = "Chrome", os = "Windows", os_version = "Windows 10",
    browser = "Chrome", version = "121.0.6167.140" },
  { category = "desktop", brand = "Microsoft", model = "Edge", os = "Windows", os_version = "Windows 11",
    browser = "Edge", version = "120.0.2210.144" },
  { category = "desktop", brand = "Google", model = "Chrome", os = "Windows", os_version = "Windows 11",
    browser = "Chrome", version = "120.0.6099.225" },
  { category = "desktop", brand = "Apple", model = "Safari", os = "Macintosh", os_version = "Intel 10.15",
    browser = "Safari", version = "17.2.1" },
  { category = "mobile", brand = "Apple", model = "iPhone", marketing = "iPhone 14", os = "iOS",
    os_version = "iOS 17.2.1", browser = "Safari", version = "17.2" },
  { category = "mobile", brand = "Samsung", model = "SM-S911U", marketing = "Galaxy S23", os = "Android",
    os_version = "Android 14", browser = "Chrome", version = "121.0.6167.101" },
  { category = "mobile", brand = "Google", model = "Pixel 7", marketing = "Pixel 7", os = "Android",
    os_version = "Android 14", browser = "Chrome", version = "120.0.6099.210" },
  { category = "tablet", brand = "Apple", model = "iPad", marketing = "iPad", os = "iOS", os_version = "iPadOS 16.6",
    browser = "Safari", version = "16.6" },
  { category = "desktop", brand = "Mozilla", model = "Firefox", os = "Linux", browser = "Firefox", version = "122.0" },
}

local DIRECT <const> = { source = "(direct)", medium = "(none)", campaign = "(direct)", channel = "Direct" }
local GOOGLE <const> = { source = "google", medium = "organic", campaign = "(organic)", channel = "Organic Search",
  term = "(not provided)" }

-- Where visits come from; what comes more often is listed more often. Paid clicks get a gclid each.
local SOURCES <const> = { DIRECT, DIRECT, GOOGLE, GOOGLE,
  { source = "bing", medium = "organic", campaign = "(organic)", channel = "Organic Search" },
  { source = "google", medium = "cpc", campaign = "Pumps & Valves | Midwest", campaign_id = "20817745391",
    channel = "Paid Search", term = "ball valve 3/4", paid = true },
  { source = "newsletter", medium = "email", campaign = "spring-maintenance", campaign_id = "nl-0412",
    channel = "Email" },
  { source = "plumbing-forum.example", medium = "referral", campaign = "(referral)", channel = "Referral" },
}

-- Where people without a branch are; half of what GA4 knows about cities is nothing.
local PLACES <const> = {
  { city = "Denver", region = "Colorado", metro = "Denver CO", country = "United States", continent = "Americas",
    sub = "Northern America" },
  { city = "(not set)", region = "Iowa", metro = "(not set)", country = "United States", continent = "Americas",
    sub = "Northern America" },
  { city = "Winnipeg", region = "Manitoba", metro = "(not set)", country = "Canada", continent = "Americas",
    sub = "Northern America" },
  { city = "São Paulo", region = "State of São Paulo", metro = "(not set)", country = "Brazil",
    continent = "Americas", sub = "South America" },
  { city = "Frankfurt am Main", region = "Hesse", metro = "(not set)", country = "Germany", continent = "Europe",
    sub = "Western Europe" },
  { city = "", region = "", metro = "(not set)", country = "India", continent = "Asia", sub = "Southern Asia" },
}

local LANGUAGES <const> = { "en-us", "en-us", "en-us", "en-us", "es-us", "en-ca", "de-de" }

local SAFE <const> = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

local function click_id(r)
  local out <const> = {}
  for i = 1, 40 do
    local at <const> = r:int(1, #SAFE)
    out[i] = SAFE:sub(at, at)
  end
  return "Cj0KCQiA" .. table.concat(out)
end

-- A source for one visit; a paid click has an id of its own.
function visitor.source(r)
  local s <const> = r:pick(SOURCES)
  if not s.paid then
    return s
  end
  return { source = s.source, medium = s.medium, campaign = s.campaign, campaign_id = s.campaign_id,
        channel = s.channel, term = s.term, gclid = click_id(r) }
end

local function place(r, branch)
  if branch and r:chance(0.9) then
    return { city = branch.city, region = branch.state, metro = branch.metro, country = "United States",
          continent = "Americas", sub = "Northern America" }
  end
  return r:pick(PLACES)
end

local function make(shop, r, customer)
  local v <const> = setmetatable({
    shop = shop,
    customer = customer,
    branch = customer and customer.branch or r:chance(0.25) and r:pick(shop.branches) or nil,
    device = setmetatable({ language = r:pick(LANGUAGES) }, { __index = r:pick(DEVICES) }),
    origin = visitor.source(r),
    consent = r:chance(0.7) and "Yes" or nil,
    -- Two generations of the shop's tag are live at once: they spell the key differently and type the id differently.
    key = r:chance(0.2) and "WebUserId" or "webuserid",
    integer_id = customer and r:chance(0.3) and not customer.id:find("^0") or false,
    heads = {},
  }, Visitor)
  v.place = place(r, v.branch)
  v.ltv = customer and r:int(0, 400) * 2500 or nil
  return v
end

-- Gives the visitor its cookie: first touch in microseconds, and the pseudo id that carries the second of it.
function Visitor:cookie(r, first_touch)
  self.first_touch = first_touch
  self.pseudo = ("%d.%d"):format(r:int(100000000, 2147483647), first_touch // 1000000)
  return self
end

--- The rendered columns 9 to 21, with or without the login. Kept, since most visitors send several events.
function Visitor:head(form, login)
  local key <const> = login and "in" or "out"
  local text = self.heads[key]
  if text then
    return text
  end
  local properties <const>, c <const> = {}, login and self.customer
  local stamp <const> = self.first_touch
  if c then
    if self.integer_id then
      properties[1] = form:property(self.key, "int", tonumber(c.id), stamp)
    else
      properties[1] = form:property(self.key, "string", c.id, stamp)
    end
    properties[2] = form:property("customer_type", "string", "contractor", stamp)
  end
  if self.branch and (c or not self.customer) then
    properties[#properties + 1] = form:property("default_branch_id", "string", self.branch.id, stamp)
  end
  text = form:visitor {
    user_id = c and not self.integer_id and type(c.id) == "string" and c.id or nil,
    pseudo = self.pseudo, consent = self.consent, properties = properties, first_touch = self.first_touch,
    ltv = self.ltv, device = self.device, geo = self.place, source = self.origin, stream = self.shop.stream,
    host = self.shop.host,
  }
  self.heads[key] = text
  return text
end

--- The customer number i.
function visitor.customer(shop, i, now)
  local r <const> = random.new(shop.seed, "customer visitor", i)
  local v <const> = make(shop, r, shop.customers[i])
  return v:cookie(r, math.min(1609459200 + r:int(0, 1000) * 86400 + r:int(0, 86399), now) * 1000000 + r:int(0, 999999))
end

--- The person number i who comes again and again without a login.
function visitor.returning(shop, i, now)
  local r <const> = random.new(shop.seed, "returning visitor", i)
  return make(shop, r):cookie(r, math.min(1640995200 + r:int(0, 700) * 86400 + r:int(0, 86399), now) * 1000000
    + r:int(0, 999999))
end

--- A passer-by who comes for the first time now.
function visitor.new(shop, r, now)
  return make(shop, r):cookie(r, now * 1000000 + r:int(0, 999999))
end

--- Somebody who did not consent: no cookie, no session, a new person with each page as far as GA4 can tell.
function visitor.without_consent(shop, r)
  local v <const> = make(shop, r)
  v.consent, v.pseudo, v.first_touch, v.ltv = "No", nil, nil, nil
  return v
end

return visitor
