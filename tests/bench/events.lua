-- events: the bench's data: page views of about 3 kB each as NDJSON, and narrow rows of five short columns as NDJSON
-- and CSV. Deterministic, and fast because an event is a template with a dozen fields that differ. Clean on purpose:
-- `make bench` measures throughput; what dirt does is tested with scripts/demo/generate.lua.
--
--   garun tests/bench/events.lua events  N FROM DAYS DIR    N events over DAYS days: DIR/events_YYYYMMDD.ndjson
--   garun tests/bench/events.lua narrow  N DIR              DIR/narrow.ndjson and DIR/narrow.csv

local here <const> = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/"
package.path = here .. "../../scripts/demo/?.lua;" .. package.path

local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"

local calendar <const> = require "generator.calendar"
local ga4 <const> = require "generator.ga4"
local random <const> = require "generator.random"
local shop <const> = require "generator.shop"

local BATCH <const> = 256   -- lines written at once

-- Pages and visitors are drawn from pools of rendered text, timestamps and ids are new for each event.
local PAGES <const>, VISITORS <const> = 2000, 4000
local VIEWS <const> = 5             -- page views of a visit, one after the other

-- What the template holds in place of its variable parts: text and numbers that occur nowhere else in it.
local DATE <const>, PAGE <const>, VISITOR <const> = "@DATE@", "@PAGE@", "@VISITOR@"
local MICROS <const>, SESSION <const>, BUNDLE <const>, BATCH_PAGE <const> = 770000000001, 770000000002, 770000000003,
  770000000004

-- The text between the variable parts (one more than those), and which part follows each.
local function template(form)
  local params <const> = {
    form:param("ga_session_id", "int", SESSION), form:param("ga_session_number", "int", 3), PAGE,
    form:param("engaged_session_event", "int", 1), form:param("session_engaged", "string", "1"),
  }
  local line <const> = form:event {
    date = DATE, micros = MICROS, name = "page_view", params = table.concat(params, ","), bundle = BUNDLE,
    visitor = VISITOR, active = true, batch = { BATCH_PAGE, 1, 1 },
    last_click = form:member("session_traffic_source_last_click", "null"),
  }
  local marks <const> = {}
  for _, mark in ipairs { DATE, MICROS, PAGE, SESSION, BUNDLE, VISITOR, BATCH_PAGE } do
    local first <const>, last <const> = line:find(tostring(mark), 1, true)
    marks[#marks + 1] = { mark = mark, first = first, last = last }
  end
  table.sort(marks, function(a, b) return a.first < b.first end)
  local pieces <const>, names <const>, from = {}, {}, 1
  for i, m in ipairs(marks) do
    pieces[i], names[i], from = line:sub(from, m.first - 1), m.mark, m.last + 1
  end
  pieces[#marks + 1] = line:sub(from) .. "\n"
  return pieces, names
end

local function pools(form, world)
  local r <const> = random.new("bench pools")
  local pages <const>, visitors <const> = {}, {}
  for i = 1, PAGES do
    local product <const>, before <const> = r:pick(world.products), r:pick(world.products)
    pages[i] = form:param("page_location", "string", ("https://%s%s?ref=%x"):format(world.host, product.path, i)) .. ","
      .. form:param("page_title", "string", product.title .. " | " .. world.name) .. ","
      .. form:param("page_referrer", "string", "https://" .. world.host .. before.path)
  end
  for i = 1, VISITORS do
    local c <const>, touch <const> = r:pick(world.customers), (1600000000 + r:int(0, 90000000)) * 1000000
    visitors[i] = form:visitor {
      user_id = c.id, pseudo = ("%d.%d"):format(r:int(100000000, 2147483647), touch // 1000000), consent = "Yes",
      properties = { form:property("webuserid", "string", c.id, touch),
        form:property("default_branch_id", "string", c.branch.id, touch) },
      first_touch = touch, ltv = r:int(0, 900000),
      device = { category = "desktop", brand = "Google", model = "Chrome", os = "Windows", os_version = "Windows 11",
        language = "en-us", browser = "Chrome", version = "121.0." .. r:int(1000, 9999) .. ".140" },
      geo = { city = c.branch.city, region = c.branch.state, metro = c.branch.metro, country = "United States",
        continent = "Americas", sub = "Northern America" },
      source = { campaign = "(organic)", medium = "organic", source = "google" },
      stream = world.stream, host = world.host,
    }
  end
  return pages, visitors
end

local function events(count, from, days, dir)
  local form <const> = ga4.forms.json
  local world <const> = shop.new(1, 2000)
  local pieces <const>, names <const> = template(form)
  local pages <const>, visitors <const> = pools(form, world)
  local values <const> = {}
  for d = 1, days do
    local number <const> = from + d - 1
    local r <const> = random.new("bench events", number)
    local start <const>, share <const> = calendar.utc(number, 0), count // days + (d <= count % days and 1 or 0)
    local file <const> = fs.open(("%s/events_%s.ndjson"):format(dir, calendar.compact(number)), "w")
    local out, n = {}, 0
    values[DATE] = calendar.compact(number)
    for i = 1, share do
      local second <const> = start + i * 82800 // share
      values[MICROS] = second * 1000000 + r:int(0, 999999)
      values[PAGE] = pages[r:int(1, PAGES)]
      if (i - 1) % VIEWS == 0 then      -- the next visit
        values[SESSION] = second - r:int(0, 60)
        values[VISITOR] = visitors[r:int(1, VISITORS)]
      end
      values[BUNDLE] = r:int(-2147483648, 2147483647)
      values[BATCH_PAGE] = second * 1000 + i % 1000
      for p = 1, #names do
        out[n + 1], out[n + 2], n = pieces[p], values[names[p]], n + 2
      end
      n = n + 1
      out[n] = pieces[#pieces]
      if i % BATCH == 0 or i == share then
        file:write(table.concat(out, "", 1, n))
        n = 0
      end
    end
    file:close()
  end
end

-- id, day, kind, amount, flag: about 60 bytes as JSON, 32 as CSV.
local function narrow(count, dir)
  local r <const> = random.new("bench narrow")
  local json <const>, csv <const> = fs.open(dir .. "/narrow.ndjson", "w"), fs.open(dir .. "/narrow.csv", "w")
  local lines <const>, rows <const> = {}, {}
  local KINDS <const> = { "view", "cart", "buy", "search" }
  csv:write("id,day,kind,amount,ok\n")
  local n = 0
  for i = 1, count do
    local bits <const> = r:next()
    local day <const> = ("2024-01-%02d"):format(1 + (bits >> 8 & 15))
    local kind <const> = KINDS[1 + (bits >> 16 & 3)]
    local amount <const> = ("%d.%02d"):format(bits >> 20 & 1023, (bits >> 40 & 127) % 100)
    local flag <const> = bits >> 50 & 1 == 1 and "true" or "false"
    n = n + 1
    lines[n] = ('{"id":%d,"day":"%s","kind":"%s","amount":%s,"ok":%s}\n'):format(i, day, kind, amount, flag)
    rows[n] = ("%d,%s,%s,%s,%s\n"):format(i, day, kind, amount, flag)
    if n == 4 * BATCH or i == count then
      json:write(table.concat(lines, "", 1, n))
      csv:write(table.concat(rows, "", 1, n))
      n = 0
    end
  end
  json:close()
  csv:close()
end

local function number_of(text)
  local n <const> = tostring(text):match("^%d+$") and math.tointeger(tonumber(text))
  return n and n > 0 and n or nil
end

local kind <const>, count <const> = ..., number_of((select(2, ...)))
if kind == "events" and count then
  local from <const>, days <const>, dir <const> = select(3, ...)
  if calendar.parse(from or "") and number_of(days) and dir then
    events(count, calendar.parse(from), number_of(days), dir)
    return 0
  end
elseif kind == "narrow" and count and select(3, ...) then
  narrow(count, (select(3, ...)))
  return 0
end
error(errors.new { kind = "usage",
  message = "usage: events.lua events N YYYY-MM-DD DAYS DIR | events.lua narrow N DIR" }, 0)
