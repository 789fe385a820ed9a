---@meta garun.time
--- Clocks, dates and time zones.
---
---     local time <const> = require "garun.time"
---     for day in time.range(time.add_days(time.today(zone), -4), time.yesterday(zone)) do ... end
---     local from <const>, to <const> = time.day_bounds("2024-03-31", "Europe/Berlin")     -- 23 hours
---
--- A date is text like "2024-01-31" (years 1 to 9999), an instant is seconds since 1970-01-01 UTC (a float carries
--- microseconds for today's dates), micros are the same as an integer of microseconds, exact. A zone is an IANA name,
--- "UTC" when left out; zones come from the package tzdata (or $TZDIR). Raises kind "time" for what is no date, time
--- or zone; an unknown zone comes with a suggestion.

local time = {}

--- UTC now.
---@return number seconds
---@nodiscard
function time.now() end

--- UTC now.
---@return integer micros
---@nodiscard
function time.micros() end

--- A clock that nobody sets, for measuring.
---@return number seconds from some moment in the past
---@nodiscard
function time.monotonic() end

--- Whether v is a date.
---@param v any
---@return boolean
---@nodiscard
function time.is_date(v) end

--- The date of "2024-01-31" or "20240131"; raises for anything else.
---@param text string
---@return string date
---@nodiscard
function time.parse_date(text) end

--- Makes a date; raises when there is no such day.
---@param year integer
---@param month integer
---@param day integer
---@return string date
---@nodiscard
function time.date(year, month, day) end

--- Year, month and day of a date.
---@param date string
---@return integer year
---@return integer month
---@return integer day
---@nodiscard
function time.date_fields(date) end

--- The date that many days later.
---@param date string
---@param days integer may be negative
---@return string date
---@nodiscard
function time.add_days(date, days) end

--- The number of days from one date to another; negative when the second is earlier.
---@param from string
---@param to string
---@return integer days
---@nodiscard
function time.diff_days(from, to) end

--- The same day in another month; its last day when it has no such day.
---@param date string
---@param months integer may be negative
---@return string date
---@nodiscard
function time.add_months(date, months) end

--- The first day of the month that the date lies in.
---@param date string
---@return string date the first of its month
---@nodiscard
function time.month_start(date) end

--- The last day of the month that the date lies in.
---@param date string
---@return string date the last day of its month
---@nodiscard
function time.month_end(date) end

--- The day of the week, as ISO 8601 numbers it.
---@param date string
---@return integer weekday 1 = Monday to 7 = Sunday
---@nodiscard
function time.weekday(date) end

--- The number of the day in its year.
---@param date string
---@return integer year_day 1 to 366
---@nodiscard
function time.year_day(date) end

--- The ISO 8601 week and the year it belongs to.
---@param date string
---@return integer year
---@return integer week 1 to 53
---@nodiscard
function time.iso_week(date) end

--- The dates from one to another, both included; none when `to` is earlier (and step positive).
---@param from string
---@param to string
---@param step? integer days, default 1, not 0
---@return fun(): string?
---@nodiscard
function time.range(from, to, step) end

---@class garun.time.Local
---@field year integer
---@field month integer
---@field day integer
---@field hour integer
---@field min integer
---@field sec integer
---@field usec integer microseconds within the second
---@field weekday integer 1 = Monday to 7 = Sunday
---@field year_day integer
---@field offset integer seconds that the local clock is ahead of UTC
---@field abbreviation string "CEST"
---@field dst boolean summer time
---@field date string "2024-01-31"
---@field time string "06:30:00"

--- What clock and calendar of a zone show at an instant.
---@param instant number
---@param zone? string
---@return garun.time.Local
---@nodiscard
function time.to_local(instant, zone) end

--- The instant of a local date and time. A time that the clock jumps over gives the first instant after the jump and
--- "gap"; one that it shows twice gives the first of the two and "overlap".
---@param date string
---@param clock? string "06:30", "06:30:15" or "06:30:15.250", default "00:00"
---@param zone? string
---@return number instant an integer unless clock has a fraction
---@return nil|"gap"|"overlap" fit
---@nodiscard
function time.from_local(date, clock, zone) end

--- The instants at which a date begins and ends in a zone (its end is the beginning of the next one).
---@param date string
---@param zone? string
---@return integer from
---@return integer to
---@nodiscard
function time.day_bounds(date, zone) end

--- The date in a zone at an instant.
---@param instant number
---@param zone? string
---@return string date
---@nodiscard
function time.date_at(instant, zone) end

--- The date that it is now in a zone.
---@param zone? string
---@return string date
---@nodiscard
function time.today(zone) end

--- The date before today in a zone: the day that last ended there.
---@param zone? string
---@return string date
---@nodiscard
function time.yesterday(zone) end

--- Whether there is such a zone; when not, also the name that was probably meant.
---@param name string
---@return boolean
---@return string? nearest
---@nodiscard
function time.zone_exists(name) end

--- The names of all zones, sorted.
---@return string[]
---@nodiscard
function time.zones() end

--- The first instant after the given one at which the zone's clock is set; nil when it never will be.
---@param instant number
---@param zone? string
---@return integer? instant
---@nodiscard
function time.next_change(instant, zone) end

---@class garun.time.IsoOptions
---@field zone? string default "UTC", written as Z
---@field digits? integer of the second's fraction, 0 to 6; default 0 (iso8601_micros: 6); further ones are cut off

--- "2024-01-31T06:30:00Z", or with a zone "2024-01-31T07:30:00+01:00".
---@param instant number
---@param opts? garun.time.IsoOptions
---@return string
---@nodiscard
function time.iso8601(instant, opts) end

--- "2024-01-31T06:30:00.123456Z"
---@param micros integer
---@param opts? garun.time.IsoOptions
---@return string
---@nodiscard
function time.iso8601_micros(micros, opts) end

--- Reads an ISO 8601 or RFC 3339 time: date, "T" or a space, time, "Z" or an offset. Text without an offset is local
--- time of the zone, and an error when none is given. Digits beyond microseconds are cut off.
---@param text string
---@param zone? string for text without an offset
---@return number instant an integer when it is whole
---@nodiscard
function time.parse_iso8601(text, zone) end

--- The same, exact.
---@param text string
---@param zone? string for text without an offset
---@return integer micros
---@nodiscard
function time.parse_iso8601_micros(text, zone) end

--- Formats a date, or an instant in a zone, by strftime's letters: %Y %y %m %d %e (day without a zero) %j %H %M %S %f
--- (microseconds) %A %a %B %b (English) %u %G %V (ISO week) %F %T %z %Z %s %%. Raises for any other letter.
---
---     time.format("2024-01-05", "%A, %e %B %Y")     --> "Friday, 5 January 2024"
---@param value string|number
---@param pattern string
---@param zone? string for an instant
---@return string
---@nodiscard
function time.format(value, pattern, zone) end

return time
