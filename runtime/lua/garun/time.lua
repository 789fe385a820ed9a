-- garun.time: clocks, dates and time zones.
--
-- A date is a string 'YYYY-MM-DD', for that is what databases, files and people use, and it sorts. An instant is UTC
-- seconds since 1970 (a float may carry microseconds); where every microsecond counts it is an integer of microseconds
-- and the function's name says so. A zone is an IANA name, "UTC" when none is given. The calendar is Gregorian, years 1
-- to 9999. garun.core.time has the arithmetic.

local core <const> = require "garun.core.time"
local errors <const> = require "garun.error"

local time <const> = {}

local MICROS <const> = 1000000

time.now = core.now
time.micros = core.micros
time.monotonic = core.monotonic

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 3)
end

local function fail(level, code, fmt, ...)
  error(errors.new { kind = "time", code = code, message = string.format(fmt, ...) }, level + 1)
end

---- dates ----

-- The day number of a date, 0 for 1970-01-01; raises for what is no date.
local function day_number(fn, date)
  if type(date) == "string" then
    local y <const>, m <const>, d <const> = date:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
    local n <const> = y and core.days(tonumber(y), tonumber(m), tonumber(d))
    if n then return n end
    fail(3, "date", "time.%s: '%s' is no date; dates look like 2024-01-31", fn, date:sub(1, 40))
  end
  error(errors.new { kind = "usage", code = "argument",
    message = string.format("time.%s: a date is a string like 2024-01-31, not a %s", fn, type(date)) }, 3)
end

local function to_date(n)
  local y <const>, m <const>, d <const> = core.civil(n)
  if not y then fail(3, "range", "time: the date lies outside the years 1 to 9999") end
  return string.format("%04d-%02d-%02d", y, m, d)
end

local function whole(fn, name, v)
  if math.type(v) ~= "integer" then
    error(errors.new { kind = "usage", code = "argument",
      message = string.format("time.%s: %s is a whole number, not %s", fn, name, tostring(v)) }, 3)
  end
  return v
end

function time.is_date(v)
  if type(v) ~= "string" then return false end
  local y <const>, m <const>, d <const> = v:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  return y ~= nil and core.days(tonumber(y), tonumber(m), tonumber(d)) ~= nil
end

-- Also takes the digits-only form of GA4's event_date and of BigQuery's table suffixes.
function time.parse_date(text)
  if type(text) ~= "string" then misuse("time.parse_date: text is a string, not a %s", type(text)) end
  local y, m, d = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  if not y then y, m, d = text:match("^(%d%d%d%d)(%d%d)(%d%d)$") end
  local n <const> = y and core.days(tonumber(y), tonumber(m), tonumber(d))
  if not n then fail(2, "date", "time.parse_date: '%s' is no date; it is 2024-01-31 or 20240131", text:sub(1, 40)) end
  return to_date(n)
end

function time.date(year, month, day)
  local n <const> = core.days(whole("date", "year", year), whole("date", "month", month), whole("date", "day", day))
  if not n then fail(2, "date", "time.date: there is no day %d-%d-%d", year, month, day) end
  return to_date(n)
end

function time.date_fields(date)
  local y <const>, m <const>, d <const> = core.civil(day_number("date_fields", date))
  return y, m, d
end

function time.add_days(date, days)
  return to_date(day_number("add_days", date) + whole("add_days", "days", days))
end

function time.diff_days(from, to)
  return day_number("diff_days", to) - day_number("diff_days", from)
end

function time.add_months(date, months)
  local y, m, d = core.civil(day_number("add_months", date))
  local count <const> = y * 12 + m - 1 + whole("add_months", "months", months)
  y, m = count // 12, count % 12 + 1
  local n = core.days(y, m, d)
  while not n and d > 28 do          -- the 31st of a month with fewer days is its last one
    d = d - 1
    n = core.days(y, m, d)
  end
  if not n then fail(2, "range", "time.add_months: the date lies outside the years 1 to 9999") end
  return to_date(n)
end

function time.month_start(date)
  day_number("month_start", date)
  return date:sub(1, 8) .. "01"
end

function time.month_end(date)
  local n = day_number("month_end", date)
  local y <const>, m <const> = core.civil(n)
  for d = 31, 28, -1 do
    n = core.days(y, m, d)
    if n then break end
  end
  return to_date(n)
end

function time.weekday(date)
  local _ <const>, _ <const>, _ <const>, w <const> = core.civil(day_number("weekday", date))
  return w
end

function time.year_day(date)
  local n <const> = day_number("year_day", date)
  return n - core.days((core.civil(n)), 1, 1) + 1
end

-- A week belongs to the year of its Thursday (ISO 8601).
local function iso_week(n)
  local thursday <const> = n + 4 - select(4, core.civil(n))
  local year <const> = core.civil(thursday)
  if not year then fail(3, "range", "time.iso_week: the week lies outside the years 1 to 9999") end
  return year, (thursday - core.days(year, 1, 1)) // 7 + 1
end

function time.iso_week(date)
  return iso_week(day_number("iso_week", date))
end

function time.range(from, to, step)
  local n <const>, last <const> = day_number("range", from), day_number("range", to)
  step = step == nil and 1 or whole("range", "step", step)
  if step == 0 then misuse("time.range: step must not be 0") end
  local at = n - step
  return function()
    at = at + step
    if step > 0 and at > last or step < 0 and at < last then return nil end
    return to_date(at)
  end
end

---- instants and zones ----

local function check_zone(fn, zone)
  if zone == nil then return "UTC" end
  if type(zone) ~= "string" then
    error(errors.new { kind = "usage", code = "argument",
      message = string.format("time.%s: a zone is a name like Europe/Berlin, not a %s", fn, type(zone)) }, 3)
  end
  return zone
end

-- Seconds (integer or float) as integer microseconds: a float of today's seconds is exact to a quarter of one.
local function to_micros(fn, instant)
  if math.type(instant) == "integer" and instant > -1000000000000 and instant < 1000000000000 then
    return instant * MICROS
  end
  if math.type(instant) == "float" and instant > -1e12 and instant < 1e12 then
    return math.floor(instant * MICROS + 0.5)
  end
  error(errors.new { kind = "usage", code = "argument", message = string.format(
    "time.%s: an instant is a number of seconds since 1970, not %s", fn, tostring(instant)) }, 3)
end

local function fields_at(micros, zone)
  local instant <const> = micros // MICROS
  local offset <const>, abbreviation <const>, dst <const> = core.offset(zone, instant)
  local here <const> = instant + offset
  local day <const>, second <const> = here // 86400, here % 86400
  local y <const>, m <const>, d <const>, w <const> = core.civil(day)
  if not y then fail(3, "range", "time: the instant lies outside the years 1 to 9999") end
  return {
    year = y, month = m, day = d, hour = second // 3600, min = second // 60 % 60, sec = second % 60,
    usec = micros % MICROS, weekday = w, year_day = day - core.days(y, 1, 1) + 1,
    offset = offset, abbreviation = abbreviation, dst = dst,
    date = string.format("%04d-%02d-%02d", y, m, d),
    time = string.format("%02d:%02d:%02d", second // 3600, second // 60 % 60, second % 60),
  }
end

function time.to_local(instant, zone)
  return fields_at(to_micros("to_local", instant), check_zone("to_local", zone))
end

-- Seconds of a clock time, and its microseconds.
local function clock_seconds(fn, text)
  local h, m, rest = tostring(text):match("^(%d%d):(%d%d)(.*)$")
  local s, fraction = "0", ""
  if h and rest ~= "" then
    s, fraction = rest:match("^:(%d%d)(.*)$")
    if s and fraction ~= "" then fraction = fraction:match("^%.(%d%d?%d?%d?%d?%d?)$") end
  end
  h, m, s = tonumber(h), tonumber(m), tonumber(s)
  if not (h and m and s and fraction) or h > 23 or m > 59 or s > 59 then
    fail(3, "time", "time.%s: '%s' is no time of day; times look like 06:30 or 06:30:15.250", fn,
      tostring(text):sub(1, 40))
  end
  return h * 3600 + m * 60 + s, fraction == "" and 0 or tonumber(fraction) * 10 ^ (6 - #fraction) // 1 | 0
end

function time.from_local(date, clock, zone)
  local n <const> = day_number("from_local", date)
  local seconds <const>, usec <const> = clock_seconds("from_local", clock == nil and "00:00" or clock)
  local instant <const>, fit <const> = core.instant(check_zone("from_local", zone), n * 86400 + seconds)
  if usec == 0 or fit == "gap" then return instant, fit end
  return instant + usec / MICROS, fit
end

function time.day_bounds(date, zone)
  local n <const> = day_number("day_bounds", date)
  zone = check_zone("day_bounds", zone)
  local from <const> = core.instant(zone, n * 86400)
  local to <const> = core.instant(zone, (n + 1) * 86400)
  return from, to
end

function time.date_at(instant, zone)
  return fields_at(to_micros("date_at", instant), check_zone("date_at", zone)).date
end

function time.today(zone)
  return fields_at(core.micros(), check_zone("today", zone)).date
end

function time.yesterday(zone)
  return time.add_days(fields_at(core.micros(), check_zone("yesterday", zone)).date, -1)
end

time.zone_exists = core.zone_exists

function time.zones()
  local names <const> = core.zones()
  table.sort(names)
  return names
end

function time.next_change(instant, zone)
  return core.next_change(check_zone("next_change", zone), to_micros("next_change", instant) // MICROS)
end

---- text ----

local function offset_text(offset, colon)
  local sign <const>, abs <const> = offset < 0 and "-" or "+", math.abs(offset)
  local text <const> = string.format("%s%02d%s%02d", sign, abs // 3600, colon, abs // 60 % 60)
  return abs % 60 == 0 and text or text .. string.format("%s%02d", colon, abs % 60)
end

local function iso_text(micros, zone, digits)
  local f <const> = fields_at(micros, zone)
  local fraction = ""
  if digits > 0 then fraction = "." .. string.format("%06d", f.usec):sub(1, digits) end
  return f.date .. "T" .. f.time .. fraction .. (zone == "UTC" and "Z" or offset_text(f.offset, ":"))
end

local iso_options <const> = { "zone", "digits" }

local function iso_arguments(fn, opts)
  opts = errors.check_options("time." .. fn, opts, iso_options)
  local digits <const> = opts.digits
  if digits ~= nil and (math.type(digits) ~= "integer" or digits < 0 or digits > 6) then
    misuse("time.%s: digits is from 0 to 6", fn)
  end
  return check_zone(fn, opts.zone), digits
end

function time.iso8601(instant, opts)
  local zone <const>, digits <const> = iso_arguments("iso8601", opts)
  return iso_text(to_micros("iso8601", instant), zone, digits or 0)
end

function time.iso8601_micros(micros, opts)
  local zone <const>, digits <const> = iso_arguments("iso8601_micros", opts)
  return iso_text(whole("iso8601_micros", "micros", micros), zone, digits or 6)
end

-- ISO 8601 and RFC 3339: a date, T or a space, a time, and Z or an offset. A text without an offset says nothing about
-- the instant it means, so it is refused unless a zone is given for it.
local function parse_iso(fn, text, zone)
  if type(text) ~= "string" then
    error(errors.new { kind = "usage", code = "argument",
      message = string.format("time.%s: text is a string, not a %s", fn, type(text)) }, 3)
  end
  local date, h, m, rest = text:match("^(%d%d%d%d%-%d%d%-%d%d)[Tt ](%d%d):(%d%d)(.*)$")
  local s, fraction = "00", ""
  if rest and rest:match("^:%d%d") then
    s, rest = rest:match("^:(%d%d)(.*)$")
    local digits <const> = rest:match("^[.,](%d+)")
    if digits then fraction, rest = digits, rest:sub(#digits + 2) end
  end
  local offset
  if rest == "Z" or rest == "z" then
    offset = 0
  elseif rest and rest ~= "" then
    local sign <const>, oh <const>, more <const> = rest:match("^([+-])(%d%d)(.*)$")
    local om, os = "00", "00"                           -- seconds: before zones were whole minutes, as we write them
    if sign and more ~= "" then
      om, os = more:match("^:?(%d%d)$"), "00"
      if not om then om, os = more:match("^:(%d%d):(%d%d)$") end
    end
    if sign and om and tonumber(oh) <= 23 and tonumber(om) <= 59 and tonumber(os) <= 59 then
      offset = (tonumber(oh) * 3600 + tonumber(om) * 60 + tonumber(os)) * (sign == "-" and -1 or 1)
    else
      date = nil
    end
  end
  local sec = tonumber(s)
  if not date or not time.is_date(date) or tonumber(h) > 23 or tonumber(m) > 59 or sec > 60 then
    fail(3, "iso8601", "time.%s: '%s' is no ISO 8601 time; it looks like 2024-01-31T06:30:15.250Z", fn, text:sub(1, 60))
  end
  if sec == 60 then sec = 59 end                        -- a leap second, as POSIX clocks repeat it
  local here <const> = day_number(fn, date) * 86400 + tonumber(h) * 3600 + tonumber(m) * 60 + sec
  local usec <const> = math.tointeger(tonumber((fraction .. "000000"):sub(1, 6)))
  if offset then return (here - offset) * MICROS + usec end
  if not zone then
    fail(3, "iso8601", "time.%s: '%s' has no offset (Z or +01:00), and no zone was given for it", fn, text:sub(1, 60))
  end
  return core.instant(zone, here) * MICROS + usec
end

function time.parse_iso8601(text, zone)
  local micros <const> = parse_iso("parse_iso8601", text, zone)
  return micros % MICROS == 0 and micros // MICROS or micros / MICROS
end

function time.parse_iso8601_micros(text, zone)
  return parse_iso("parse_iso8601_micros", text, zone)
end

local day_names <const> = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" }
local month_names <const> = { "January", "February", "March", "April", "May", "June", "July", "August", "September",
  "October", "November", "December" }

-- strftime's letters, in English and without a locale.
local letters <const> = {
  Y = function(f) return string.format("%04d", f.year) end,
  y = function(f) return string.format("%02d", f.year % 100) end,
  m = function(f) return string.format("%02d", f.month) end,
  d = function(f) return string.format("%02d", f.day) end,
  e = function(f) return tostring(f.day) end,
  j = function(f) return string.format("%03d", f.year_day) end,
  H = function(f) return string.format("%02d", f.hour) end,
  M = function(f) return string.format("%02d", f.min) end,
  S = function(f) return string.format("%02d", f.sec) end,
  f = function(f) return string.format("%06d", f.usec) end,
  A = function(f) return day_names[f.weekday] end,
  a = function(f) return day_names[f.weekday]:sub(1, 3) end,
  B = function(f) return month_names[f.month] end,
  b = function(f) return month_names[f.month]:sub(1, 3) end,
  u = function(f) return tostring(f.weekday) end,
  G = function(f) return string.format("%04d", (time.iso_week(f.date))) end,
  V = function(f) return string.format("%02d", (select(2, time.iso_week(f.date)))) end,
  F = function(f) return f.date end,
  T = function(f) return f.time end,
  z = function(f) return offset_text(f.offset, "") end,
  Z = function(f) return f.abbreviation end,
  s = function(f) return tostring(f.instant) end,
  ["%"] = function() return "%" end,
}

function time.format(value, pattern, zone)
  local f
  if type(value) == "string" then
    local n <const> = day_number("format", value)
    f = fields_at(n * 86400 * MICROS, "UTC")
    f.instant = n * 86400
    if zone ~= nil then misuse("time.format: a date has no zone; give an instant with it") end
  else
    local micros <const> = to_micros("format", value)
    f = fields_at(micros, check_zone("format", zone))
    f.instant = micros // MICROS
  end
  if type(pattern) ~= "string" then misuse("time.format: pattern is a string like '%%d %%B %%Y'") end
  return (pattern:gsub("%%(.?)", function(letter)
    local fill <const> = letters[letter]
    if not fill then misuse("time.format: unknown letter '%%%s' in '%s'", letter, pattern) end
    return fill(f)
  end))
end

return time
