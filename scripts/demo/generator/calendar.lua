-- calendar: days and the shop's local time, without tzdata: the same bytes must come out after a time zone update. The
-- property's zone is America/Chicago by the rule in force since 2007: clocks go forward on the second Sunday of March
-- at 2:00 and back on the first Sunday of November at 2:00. A day is a number: days since 1970-01-01.

local calendar <const> = { zone = "America/Chicago" }

local STANDARD <const>, DAYLIGHT <const> = -6 * 3600, -5 * 3600

-- Days since the epoch of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level date algorithms").
local function from_civil(year, month, day)
  if month <= 2 then
    year = year - 1
  end
  local era <const> = year // 400
  local yoe <const> = year - era * 400
  local doy <const> = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
  return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
end

local function to_civil(days)
  local z <const> = days + 719468
  local era <const> = z // 146097
  local doe <const> = z - era * 146097
  local yoe <const> = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
  local doy <const> = doe - (365 * yoe + yoe // 4 - yoe // 100)
  local mp <const> = (5 * doy + 2) // 153
  local month <const> = mp < 10 and mp + 3 or mp - 9
  local year <const> = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year, month, doy - (153 * mp + 2) // 5 + 1
end

--- The day of 'YYYY-MM-DD'; nil when the text is none that exists.
function calendar.parse(text)
  local y, m, d = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  if not y then
    return nil
  end
  local day <const> = from_civil(tonumber(y), tonumber(m), tonumber(d))
  return calendar.format(day) == text and day or nil
end

function calendar.format(day)
  return ("%04d-%02d-%02d"):format(to_civil(day))
end

--- 'YYYYMMDD', as in event_date and table names.
function calendar.compact(day)
  return ("%04d%02d%02d"):format(to_civil(day))
end

--- 1 = Monday ... 7 = Sunday.
function calendar.weekday(day)
  return (day + 3) % 7 + 1
end

local function nth_sunday(year, month, n)
  local first <const> = from_civil(year, month, 1)
  return first + (7 - calendar.weekday(first)) + 7 * (n - 1)
end

--- Unix seconds of a local wall clock time, given as seconds since the day's 0:00. Times the clock skips come out an
--- hour later, of the hour that it repeats the first one is meant.
function calendar.utc(day, seconds)
  local year <const> = to_civil(day)
  local spring <const>, autumn <const> = nth_sunday(year, 3, 2), nth_sunday(year, 11, 1)
  local wall <const> = day * 86400 + seconds
  local summer <const> = wall >= spring * 86400 + 10800 and wall < autumn * 86400 + 7200
  return wall - (summer and DAYLIGHT or STANDARD)
end

return calendar
