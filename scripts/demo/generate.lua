-- generate: makes sample data: the GA4 export of an industrial distributor's web shop, with the dirt real exports have,
-- the users and locations files that belong to it, and a manifest.json that says what a correct load must find.
-- The same arguments give the same bytes, today and on every machine. Nothing in it is real.

local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local json <const> = require "garun.json"

local calendar <const> = require "generator.calendar"
local day <const> = require "generator.day"
local dirt <const> = require "generator.dirt"
local master <const> = require "generator.master"
local random <const> = require "generator.random"
local session <const> = require "generator.session"
local shop <const> = require "generator.shop"
local visitor <const> = require "generator.visitor"

local usage <const> = [[
usage: garun scripts/demo/generate.lua --out DIR --from YYYY-MM-DD --days N --events-per-day N [options]

  --seed N          another world (default 1)
  --gzip            write events_YYYYMMDD.ndjson.gz
  --form F          json, extract or console: one encoding for all files (default mixed: most are json)
  --dirt X          how much dirt: 0 none, 1 as in the wild (default), 20 for tests
  --no-late         leave the late events out: the same days as they were exported the first time
  --mistagged       a shop whose tag fires no_search_results for every search
  --tenants A,B     one shop each, in DIR/A and DIR/B, instead of one in DIR
]]

-- Business by weekday, Monday first, in percent of the average day; and how much a day differs from its like.
local WEEK <const> = { 122, 131, 128, 125, 112, 48, 34 }
local NOISE <const> = 12

local ECHO_EVERY <const> = 5000   -- events for one order whose thank-you page is loaded again on the next day
local LATE_SHARE <const> = 0.012

local function refuse(message)
  error(errors.new { kind = "usage", message = "generate: " .. message, hint = "usage: --out DIR --from YYYY-MM-DD "
    .. "--days N --events-per-day N; --help tells the rest" }, 0)
end

local VALUES <const> = { out = true, from = true, days = true, ["events-per-day"] = true, seed = true, form = true,
  dirt = true, tenants = true }
local FLAGS <const> = { gzip = true, ["no-late"] = true, mistagged = true, help = true }

local function parse(args)
  local o <const>, i = {}, 1
  while args[i] do
    local name <const>, value <const> = args[i]:match("^%-%-([^=]+)=?(.*)$")
    if FLAGS[name] and not args[i]:find("=", 1, true) then
      o[name] = true
    elseif VALUES[name] and args[i]:find("=", 1, true) then
      o[name] = value
    elseif VALUES[name] then
      i = i + 1
      o[name] = args[i] or refuse("--" .. name .. " needs a value")
    else
      refuse(("unknown argument '%s'"):format(args[i]))
    end
    i = i + 1
  end
  return o
end

local function whole(o, name, default, low, high)
  local text <const> = o[name]
  if text == nil then
    return default or refuse("--" .. name .. " is missing")
  end
  local n <const> = text:match("^%-?%d+$") and math.tointeger(tonumber(text))
  if not n or n < low or n > high then
    refuse(("--%s is '%s' and must be a whole number from %d to %d"):format(name, text, low, high))
  end
  return n
end

local function options(args)
  local o <const> = parse(args)
  if o.help then
    return o
  end
  local spec <const> = {
    out = o.out or refuse("--out is missing"),
    from = calendar.parse(o.from or refuse("--from is missing"))
      or refuse(("--from is '%s', which is no date YYYY-MM-DD"):format(o.from)),
    days = whole(o, "days", nil, 1, 3660),
    events = whole(o, "events-per-day", nil, 1, 100000000),
    seed = whole(o, "seed", 1, math.mininteger, math.maxinteger),
    dirt = tonumber(o.dirt or 1),
    form = o.form or "mixed",
    gzip = o.gzip, late = not o["no-late"], mistagged = o.mistagged or false,
    tenants = {},
  }
  if not spec.dirt or not (spec.dirt >= 0 and spec.dirt <= 1000) then
    refuse(("--dirt is '%s' and must be a number from 0 to 1000"):format(o.dirt))
  elseif not ({ json = true, extract = true, console = true, mixed = true })[spec.form] then
    refuse(("--form is '%s' and must be json, extract, console or mixed"):format(spec.form))
  end
  for name in (o.tenants or ""):gmatch("[^,]+") do
    if not name:match("^[%w][%w._-]*$") then
      refuse(("--tenants: '%s' is no name for a directory"):format(name))
    end
    spec.tenants[#spec.tenants + 1] = name
  end
  return spec
end

-- A file that has its name only once it is complete. Returns a sink for chunks; nil finishes.
local function output(path, compressed)
  local temporary <const> = path .. ".part"
  local file <const> = fs.open(temporary, "w")
  local function sink(chunk)
    if chunk then
      file:write(chunk)
    else
      file:close()
      fs.rename(temporary, path)
    end
  end
  return compressed and gzip.writer(sink, { level = 6 }) or sink
end

-- How many events the day shall have.
local function volume(spec, number)
  local r <const> = random.new(spec.seed, "volume", number)
  return math.max(1, spec.events * WEEK[calendar.weekday(number)] * (100 + r:int(-NOISE, NOISE)) // 10000)
end

local function encoding(spec, number)
  if spec.form ~= "mixed" then
    return spec.form
  end
  return ({ [3] = "extract", [4] = "console" })[number % 5] or "json"
end

-- Somebody comes by; who it is follows from the stream.
local function visit(d, r, pools, options_of_session)
  local now <const> = d:moment(r)
  local who <const> = r:int(1, 100)
  local v
  if who <= 38 then
    v = visitor.customer(d.shop, r:skewed(pools.customers), now)
  elseif who <= 62 then
    v = visitor.returning(d.shop, r:skewed(pools.returning), now)
  else
    v = visitor.new(d.shop, r, now)
  end
  local o <const> = options_of_session or {}
  o.login = not r:chance(0.35)
  session.new(d, v, now, r, o):run()
end

-- The order number k of a day that is loaded again on the next one. Both days make it anew from the same stream, so
-- that a day's bytes do not depend on which days are generated with it.
local function echo(d, bought_on, k, again)
  local r <const> = random.new(d.shop.seed, "echo", bought_on, k)
  local s <const> = session.new(d, visitor.customer(d.shop, r:int(1, #d.shop.customers), calendar.utc(bought_on, 0)),
    calendar.utc(d.number, r:int(9 * 3600, 15 * 3600)), random.new(d.shop.seed, "echo", bought_on, k, d.number))
  local items <const>, cents, quantity = {}, 0, 0
  for i = 1, r:int(1, 4) do
    local product <const> = r:pick(d.shop.products)
    local item <const> = s:item(product, r:int(1, 9))
    item.revenue = item.cents * item.quantity
    items[i], cents, quantity = item, cents + item.revenue, quantity + item.quantity
  end
  local order <const> = { items = items, revenue = cents, quantity = quantity, unique = #items, shipping = 0, tax = 0,
    transaction_id = ("W%s-E%d"):format(calendar.compact(bought_on):sub(3), k) }
  if not again then
    s:home()
  end
  s:go("/checkout/thank-you", "Thank you for your order | " .. d.shop.name)
  s:purchase(order)
end

-- All events of a day: visits until the volume is reached, the dirt spread among them, late events at the end.
local function fill(d, spec, pools)
  local target <const> = volume(spec, d.number)
  local tasks <const> = dirt.plan(d.shop.seed, d.number, target, spec.dirt)
  local step <const> = target / (#tasks + 1)
  local late <const> = spec.dirt > 0 and (target * LATE_SHARE) // 8 | 0 or 0
  local done, k = 0, 0
  for i = 1, target // ECHO_EVERY do
    echo(d, d.number, i, false)
  end
  for i = 1, volume(spec, d.number - 1) // ECHO_EVERY do
    echo(d, d.number - 1, i, true)
  end
  while d.account.lines < target - late * 8 do
    k = k + 1
    visit(d, random.new(d.shop.seed, "visit", d.number, k), pools)
    while done < #tasks and d.account.lines >= step * (done + 1) do
      done = done + 1
      tasks[done](d)
    end
  end
  for i = done + 1, #tasks do
    tasks[i](d)
  end
  if spec.late then
    for i = 1, late do
      local r <const> = random.new(d.shop.seed, "late", d.number, i)
      visit(d, r, pools, { offset = r:int(3, 70) * 3600000000 })
    end
  end
  d:flush()
end

local function cents(n)
  return ("%d.%02d"):format(n // 100, n % 100)
end

-- The account as the manifest shows it: money as exact text.
local function shown(a)
  local out <const> = {}
  for key, value in pairs(a) do
    out[key] = value
  end
  out.purchase_cents, out.order_cents = nil, nil
  out.purchase_revenue, out.order_revenue = cents(a.purchase_cents), cents(a.order_cents)
  out.other = json.object(a.other)
  return out
end

local function generate(spec, dir, seed)
  local pools <const> = { customers = math.max(40, math.min(25000, spec.events // 8)) }
  pools.returning = pools.customers * 2
  local world <const> = shop.new(seed, pools.customers)
  local total <const>, files <const>, orders <const> = day.account(), json.array {}, {}
  fs.mkdir(dir, { parents = true })
  local about <const> = {}
  for name, text in pairs { users = master.users(world, spec.dirt), locations = master.locations(world, spec.dirt) } do
    fs.write(dir .. "/" .. name .. ".csv", text.csv)
    about[name] = text.account
  end
  for number = spec.from, spec.from + spec.days - 1 do
    local name <const> = ("events_%s.ndjson%s"):format(calendar.compact(number), spec.gzip and ".gz" or "")
    local form <const> = encoding(spec, number)
    local sink <const> = output(dir .. "/" .. name, spec.gzip)
    local d <const> = day.new { shop = world, number = number, form = form, sink = sink, orders = orders,
      mistagged = spec.mistagged }
    fill(d, spec, pools)
    sink(nil)
    local entry <const> = shown(d.account)
    entry.file, entry.date, entry.form, entry.bytes = name, calendar.format(number), form, d.bytes
    entry.reject_lines = json.array(d.rejects)
    files[#files + 1] = entry
    day.add_account(total, d.account)
  end
  fs.write(dir .. "/manifest.json", json.encode({
    shop = world.name, seed = seed, time_zone = calendar.zone, from = calendar.format(spec.from),
    to = calendar.format(spec.from + spec.days - 1), dirt = spec.dirt, mistagged = spec.mistagged,
    late_events = spec.late, files = files, total = shown(total), users = about.users, locations = about.locations,
  }, { indent = 2, sort_keys = true }) .. "\n")
  print(("%s: %s, %d day%s from %s: %d lines, %d rows, %d rejected"):format(dir, world.name, spec.days,
    spec.days == 1 and "" or "s", calendar.format(spec.from), total.lines, total.loaded, total.rejected))
end

local spec <const> = options { ... }
if spec.help then
  io.write(usage)
  return 0
end
if #spec.tenants == 0 then
  generate(spec, spec.out, spec.seed)
end
for _, name in ipairs(spec.tenants) do
  generate(spec, spec.out .. "/" .. name, random.new(spec.seed, "tenant", name):int(1, 1 << 31))
end
return 0
