-- day: one day's file: takes events, writes their lines, and keeps the account of what a correct load must make of
-- them. The account is made from what was put in, not from reading the lines again, so that it can stand against the
-- loader.

local calendar <const> = require "generator.calendar"
local ga4 <const> = require "generator.ga4"
local random <const> = require "generator.random"

local day <const> = {}

local Day <const> = {}
Day.__index = Day

-- Event name -> table; what is not here is counted as another event.
local TABLES <const> = {
  purchase = "purchase", add_to_cart = "add_to_cart", page_view = "page_view", view_item = "view_item",
  view_search_results = "view_search_results", no_search_results = "no_search_results",
  view_search_results_no_results = "no_search_results",
}

local FLUSH <const> = 128       -- lines written at once
local REMEMBERED <const> = 64   -- recent events that may come again

local by_hour <const> = random.weighted {
  ["00"] = 2, ["01"] = 1, ["02"] = 1, ["03"] = 1, ["04"] = 3, ["05"] = 9, ["06"] = 28, ["07"] = 58, ["08"] = 82,
  ["09"] = 95, ["10"] = 98, ["11"] = 88, ["12"] = 66, ["13"] = 84, ["14"] = 90, ["15"] = 80, ["16"] = 62, ["17"] = 38,
  ["18"] = 24, ["19"] = 20, ["20"] = 18, ["21"] = 13, ["22"] = 8, ["23"] = 4,
}

--- An account with every number at zero.
function day.account()
  local rows <const> = {}
  for _, name in pairs(TABLES) do
    rows[name] = 0
  end
  return { lines = 0, rows = rows, loaded = 0, other_events = 0, other = {}, duplicates = 0, rejected = 0,
        out_of_range = 0, repaired = 0, nulled = 0, cut = 0, late = 0, mistagged = 0, purchase_cents = 0, orders = 0,
        order_cents = 0 }
end

--- Adds an account to a total.
function day.add_account(total, a)
  for key, value in pairs(a) do
    if type(value) == "table" then
      total[key] = total[key] or {}
      for name, count in pairs(value) do
        total[key][name] = (total[key][name] or 0) + count
      end
    else
      total[key] = (total[key] or 0) + value
    end
  end
end

---@param options table  shop, number (the day), form (name), sink (function(text)), mistagged (boolean), orders (set of
---  the transactions that earlier days of this run have counted)
function day.new(options)
  local number <const> = options.number
  local self <const> = setmetatable({
    shop = options.shop, number = number, form = ga4.forms[options.form], sink = options.sink,
    orders = options.orders, mistagged = options.mistagged,
    date = calendar.compact(number),
    last_micro = calendar.utc(number, 86400) * 1000000,
    account = day.account(), rejects = {}, bytes = 0,
    physical = 0, pending = {}, taken = {}, bundles = 0, transactions = 0, recent = {}, remembered = 0,
  }, Day)
  return self
end

--- A moment of the day as Unix seconds, by the shop's opening habits.
function Day:moment(r)
  return calendar.utc(self.number, tonumber(by_hour(r)) * 3600 + r:int(0, 3599))
end

--- The first second from start on in which this visitor has no other session: the session id is that second.
function Day:free_second(v, start)
  while v.pseudo and self.taken[v.pseudo .. start] do
    start = start + 1
  end
  if v.pseudo then
    self.taken[v.pseudo .. start] = true
  end
  return start
end

--- A bundle id that no other page load of the day has; half of them are negative, as in real exports.
function Day:bundle()
  self.bundles = self.bundles + 1
  return (self.bundles * 2654435761 & 0xffffffff) - 0x80000000
end

--- A transaction id that is unique over all days.
function Day:transaction()
  self.transactions = self.transactions + 1
  return ("W%s-%05d"):format(self.date:sub(3), self.transactions)
end

--- Writes one line as it is, without counting anything. ending: "\n" if not given.
function Day:write(text, ending)
  local pending <const> = self.pending
  pending[#pending + 1] = text
  pending[#pending + 1] = ending or "\n"
  self.physical = self.physical + 1
  if #pending >= 2 * FLUSH then
    self:flush()
  end
end

function Day:flush()
  local text <const> = table.concat(self.pending)
  self.pending = {}
  self.bytes = self.bytes + #text
  if text ~= "" then
    self.sink(text)
  end
end

--- Writes a line that no load may accept.
---@param reason string  "json", "date", "name" or "too_long"
function Day:reject(text, reason)
  local a <const> = self.account
  self:write(text)
  a.lines = a.lines + 1
  a.rejected = a.rejected + 1
  self.rejects[#self.rejects + 1] = { line = self.physical, reason = reason }
end

-- An order counts once, at its first event; without a usable id it stands alone.
local function count_purchase(self, e)
  local a <const>, id <const>, cents <const> = self.account, e.transaction, e.revenue or 0
  a.purchase_cents = a.purchase_cents + cents
  local known <const> = type(id) == "string" and id ~= "" and id ~= "(not set)"
  if not (known and self.orders[id]) then
    a.orders = a.orders + 1
    a.order_cents = a.order_cents + cents
  end
  if known then
    self.orders[id] = true
  end
end

--- Writes an event and counts it. Beside the members of ga4's event it may carry marks: reject (reason), repaired,
--- nulled, cut, mistagged (booleans), transaction and revenue (of a purchase), again (a second copy: a duplicate),
--- ending.
function Day:add(e)
  local a <const> = self.account
  local line <const> = self.form:event(e)
  if e.reject then
    return self:reject(line, e.reject)
  end
  self:write(line, e.ending)
  a.lines = a.lines + 1
  local name <const> = TABLES[e.name]
  if not name then
    a.other_events = a.other_events + 1
    a.other[e.name] = (a.other[e.name] or 0) + 1
    return
  elseif e.again then
    a.duplicates = a.duplicates + 1
    return
  end
  a.rows[name] = a.rows[name] + 1
  a.loaded = a.loaded + 1
  a.repaired = a.repaired + (e.repaired and 1 or 0)
  a.nulled = a.nulled + (e.nulled and 1 or 0)
  a.cut = a.cut + (e.cut and 1 or 0)
  a.late = a.late + (e.offset and 1 or 0)
  a.mistagged = a.mistagged + (e.mistagged and 1 or 0)
  if name == "purchase" then
    count_purchase(self, e)
  end
  -- Events without batch ids, or of nobody, are the same only as wholly identical lines; those are dirt's business.
  if e.batch and e.session and not (e.repaired or e.nulled or e.cut or e.ending) then
    self.remembered = self.remembered % REMEMBERED + 1
    self.recent[self.remembered] = e
  end
end

--- Sends one of the last events again; nil when there is none yet. changes override members of the copy.
function Day:again(r, changes)
  if #self.recent == 0 then
    return
  end
  local copy <const> = {}
  for key, value in pairs(r:pick(self.recent)) do
    copy[key] = value
  end
  for key, value in pairs(changes or {}) do
    copy[key] = value
  end
  copy.again = true
  self:add(copy)
end

return day
