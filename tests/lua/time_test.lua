-- garun.time: dates, zones and texts. The zones themselves are held against Python in tests/c/test_zone.c.
local t <const> = require "garun.test"
local time <const> = require "garun.time"
local fs <const> = require "garun.fs"

local exe <const> = require("garun.core.host").exe()

t.test("the clocks agree with the system's", function()
  t.ok(math.abs(time.now() - os.time()) <= 1.1)
  t.ok(math.abs(time.micros() / 1e6 - time.now()) < 1)
  t.equal(math.type(time.micros()), "integer")
  local a <const> = time.monotonic()
  t.ok(time.monotonic() >= a)
  t.equal(time.today(), os.date("!%Y-%m-%d"))
end)

t.test("dates are checked strictly", function()
  for _, good in ipairs { "2024-02-29", "0001-01-01", "9999-12-31", "2000-02-29" } do t.ok(time.is_date(good), good) end
  for _, bad in ipairs { "2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-01-00", "2024-01-32", "2024-1-1",
    "20240101", "2024-01-01 ", "0000-01-01", "", "x", 20240101 } do t.ok(not time.is_date(bad), tostring(bad)) end
  t.equal(time.parse_date "20240131", "2024-01-31")
  t.equal(time.parse_date "2024-01-31", "2024-01-31")
  t.raises({ kind = "time", code = "date" }, time.parse_date, "31.01.2024")
  t.raises({ kind = "time", code = "date" }, time.add_days, "2024-02-30", 1)
  t.raises("not a number", time.add_days, 20240131, 1)
  t.raises("whole number", time.add_days, "2024-01-31", 0.5)
  t.equal(time.date(2024, 2, 29), "2024-02-29")
  t.raises("no day 2023%-2%-29", time.date, 2023, 2, 29)
  t.equal({ time.date_fields "2024-02-29" }, { 2024, 2, 29 })
end)

t.test("days and months are counted", function()
  t.equal(time.add_days("2024-02-28", 2), "2024-03-01")
  t.equal(time.add_days("2024-03-01", -1), "2024-02-29")
  t.equal(time.add_days("1969-12-31", 1), "1970-01-01")
  t.equal(time.add_days("0001-01-01", 3652058), "9999-12-31")
  t.raises({ code = "range" }, time.add_days, "9999-12-31", 1)
  t.raises({ code = "range" }, time.add_days, "2024-01-01", math.maxinteger // 2)
  t.equal(time.diff_days("2024-01-01", "2025-01-01"), 366)
  t.equal(time.diff_days("2025-01-01", "2024-01-01"), -366)
  t.equal(time.add_months("2024-01-31", 1), "2024-02-29")
  t.equal(time.add_months("2024-03-31", -1), "2024-02-29")
  t.equal(time.add_months("2024-12-15", 1), "2025-01-15")
  t.equal(time.add_months("2024-01-15", -13), "2022-12-15")
  t.raises({ code = "range" }, time.add_months, "9999-12-31", 1)
  t.equal(time.month_start "2024-02-17", "2024-02-01")
  t.equal({ time.month_end "2024-02-17", time.month_end "2023-02-01", time.month_end "2024-12-31" },
    { "2024-02-29", "2023-02-28", "2024-12-31" })
  t.equal({ time.weekday "2024-01-01", time.weekday "2024-01-07", time.weekday "1969-12-31" }, { 1, 7, 3 })
  t.equal({ time.year_day "2024-12-31", time.year_day "2023-12-31", time.year_day "2024-01-01" }, { 366, 365, 1 })
end)

t.test("weeks are those of ISO 8601", function()
  for date, want in pairs { ["2021-01-03"] = { 2020, 53 }, ["2021-01-04"] = { 2021, 1 }, ["2024-12-30"] = { 2025, 1 },
    ["2023-01-01"] = { 2022, 52 }, ["2020-12-31"] = { 2020, 53 }, ["2024-07-15"] = { 2024, 29 } } do
    t.equal({ time.iso_week(date) }, want, date)
  end
end)

t.test("a week of every day agrees with the C library", function()
  for i = 0, 20000, 7 do
    local date <const> = time.add_days("1980-01-01", i)
    local s <const> = os.time { year = tonumber(date:sub(1, 4)), month = tonumber(date:sub(6, 7)),
      day = tonumber(date:sub(9)), hour = 12 }
    t.equal(time.format(date, "%G-%V-%u %j %a %b"), os.date("!%G-%V-%u %j %a %b", s), date)
  end
end)

t.test("a range has both its ends", function()
  local function list(...)
    local all <const> = {}
    for day in time.range(...) do all[#all + 1] = day end
    return all
  end
  t.equal(list("2024-02-28", "2024-03-01"), { "2024-02-28", "2024-02-29", "2024-03-01" })
  t.equal(list("2024-01-01", "2024-01-01"), { "2024-01-01" })
  t.equal(list("2024-01-02", "2024-01-01"), {})
  t.equal(list("2024-01-02", "2024-01-01", -1), { "2024-01-02", "2024-01-01" })
  t.equal(list("2024-01-01", "2024-01-15", 7), { "2024-01-01", "2024-01-08", "2024-01-15" })
  t.equal(list("9999-12-30", "9999-12-31"), { "9999-12-30", "9999-12-31" })
  t.raises("must not be 0", time.range, "2024-01-01", "2024-01-02", 0)
end)

t.test("an instant has its local fields", function()
  t.equal(time.to_local(1706682600.25, "Asia/Kolkata"), { year = 2024, month = 1, day = 31, hour = 12, min = 0,
    sec = 0, usec = 250000,
    weekday = 3, year_day = 31, offset = 19800, abbreviation = "IST", dst = false, date = "2024-01-31",
      time = "12:00:00" })
  local summer <const> = time.to_local(1720000000, "Europe/Berlin")
  t.equal({ summer.offset, summer.abbreviation, summer.dst }, { 7200, "CEST", true })
  t.equal(time.to_local(-0.5).time .. "." .. time.to_local(-0.5).usec, "23:59:59.500000")
  t.equal(time.date_at(1706655600, "Europe/Berlin"), "2024-01-31")
  t.equal(time.date_at(1706655599, "Europe/Berlin"), "2024-01-30")
  t.raises("is a number of seconds", time.to_local, 0 / 0)
  t.raises("is a number of seconds", time.to_local, "now")
end)

t.test("a local time in a gap is the first instant after it, in an overlap the first of the two", function()
  t.equal({ time.from_local("2024-03-31", "02:30", "Europe/Berlin") }, { 1711846800, "gap" })
  t.equal(time.iso8601(1711846800, { zone = "Europe/Berlin" }), "2024-03-31T03:00:00+02:00")
  t.equal({ time.from_local("2024-03-31", "02:30:59.9", "Europe/Berlin") }, { 1711846800, "gap" })
  t.equal({ time.from_local("2024-10-27", "02:30", "Europe/Berlin") }, { 1729989000, "overlap" })
  t.equal({ time.from_local("2024-10-27", "02:30:00.5", "Europe/Berlin") }, { 1729989000.5, "overlap" })
  t.equal({ time.from_local("2024-06-01", "12:00", "America/New_York") }, { 1717257600 })
  t.equal({ time.from_local("2024-06-01") }, { 1717200000 })
  for _, bad in ipairs { "24:00", "12:60", "12", "12:00:60", "12:00:", "12:00:00.", "12:00:00.1234567", " 12:00",
    "1:00" } do
    t.raises({ kind = "time", code = "time" }, time.from_local, "2024-06-01", bad)
  end
end)

t.test("days have 23, 24 or 25 hours", function()
  for date, hours in pairs { ["2024-03-31"] = 23, ["2024-10-27"] = 25, ["2024-06-01"] = 24 } do
    local from <const>, to <const> = time.day_bounds(date, "Europe/Berlin")
    t.equal((to - from) / 3600, hours + 0.0, date)
    t.equal(time.date_at(from, "Europe/Berlin"), date)
    t.equal(time.date_at(to - 1, "Europe/Berlin"), date)
  end
  -- In Santiago the clock jumps from midnight to one.
  local from <const> = time.day_bounds("2024-09-08", "America/Santiago")
  t.equal(time.to_local(from, "America/Santiago").time, "01:00:00")
end)

t.test("zones are known by their names, and nearly known ones are suggested", function()
  t.equal(time.zone_exists "Europe/Berlin", true)
  t.equal({ time.zone_exists "Europe/Berln" }, { false, "Europe/Berlin" })
  t.equal({ time.zone_exists "berlin" }, { false, "Europe/Berlin" })
  t.equal({ time.zone_exists "Nowhere/At_All_Whatsoever" }, { false })
  local e <const> = t.raises({ kind = "time", code = "unknown" }, time.today, "europe/berlin")
  t.equal(e.hint, "did you mean 'Europe/Berlin'?")
  t.raises({ code = "unknown" }, time.today, "../../etc/passwd")
  t.raises("a zone is a name", time.today, 1)
  local zones <const> = time.zones()
  t.ok(#zones > 400)
  for _, name in ipairs(zones) do
    t.ok(time.to_local(1706682600, name).offset % 60 == 0, name)
  end
  t.equal(time.iso8601(time.next_change(1704067200, "Europe/Berlin")), "2024-03-31T01:00:00Z")
  t.equal(time.next_change(0, "UTC"), nil)
end)

t.test("without tzdata the error says so, and UTC works", function()
  local r <const> = t.run { exe, "-e", [[
    local time = require "garun.time"
    print(time.to_local(0).abbreviation, select(2, pcall(time.today, "Europe/Berlin")))]],
      env = { TZDIR = "/nonexistent" } }
  t.match(r.stdout, "^UTC\t.*no time zones on this machine.*hint: install the package tzdata")
end)

t.test("the environment's TZ changes nothing", function()
  local r <const> = t.run { exe, "-e", [[print(require("garun.time").iso8601(0))]], env = { TZ = "Asia/Tokyo" } }
  t.equal(r.stdout, "1970-01-01T00:00:00Z\n")
end)

t.test("ISO 8601 is written and read to the microsecond", function()
  t.equal(time.iso8601(0), "1970-01-01T00:00:00Z")
  t.equal(time.iso8601(1706682600.123456, { digits = 6 }), "2024-01-31T06:30:00.123456Z")
  t.equal(time.iso8601(1706682600.999999, { digits = 3 }), "2024-01-31T06:30:00.999Z")
  t.equal(time.iso8601(1706682600, { zone = "America/St_Johns" }), "2024-01-31T03:00:00-03:30")
  t.equal(time.iso8601_micros(-1), "1969-12-31T23:59:59.999999Z")
  t.equal(time.iso8601_micros(1704067200123456, { digits = 0 }), "2024-01-01T00:00:00Z")
  for text, want in pairs { ["2024-01-31T06:30:00Z"] = 1706682600000000,
    ["2024-01-31 06:30:00.5+00:00"] = 1706682600500000,
    ["2024-01-31T07:30+01"] = 1706682600000000, ["2024-01-31t01:30:00,123456789-0500"] = 1706682600123456,
    ["2016-12-31T23:59:60Z"] = 1483228799000000, ["1969-12-31T23:59:59.999999Z"] = -1 } do
    t.equal(time.parse_iso8601_micros(text), want, text)
  end
  t.equal(time.parse_iso8601 "2024-01-31T06:30:00.25Z", 1706682600.25)
  t.equal(math.type(time.parse_iso8601 "2024-01-31T06:30:00Z"), "integer")
  t.equal(time.parse_iso8601("2024-07-31T06:30:00", "Europe/Berlin"), 1722400200)
  t.raises("has no offset", time.parse_iso8601, "2024-01-31T06:30:00")
  for _, bad in ipairs { "2024-01-31", "2024-02-30T00:00:00Z", "2024-01-31T24:00:00Z", "2024-01-31T06:30:00X",
    "2024-01-31T06:30:00+1",
    "2024-01-31T06:30:00.Z", "2024-01-31T06:30:00+01:60", "2024-01-31T06:30:00ZZ", "" } do
    t.raises({ kind = "time", code = "iso8601" }, time.parse_iso8601, bad)
  end
  local state = 12345
  for _ = 1, 2000 do
    state = state * 6364136223846793005 + 1442695040888963407
    local micros <const> = (state >> 1) % 8000000000000000 - 2000000000000000
    t.equal(time.parse_iso8601_micros(time.iso8601_micros(micros)), micros)
    t.equal(time.parse_iso8601_micros(time.iso8601_micros(micros, { zone = "Asia/Kathmandu" })) // 60000000,
      micros // 60000000)
  end
end)

t.test("patterns are strftime's, in English", function()
  t.equal(time.format("2024-01-05", "%A, %e %B %Y | %a %b %d %y %m %j %u %V %G %F %%"),
    "Friday, 5 January 2024 | Fri Jan 05 24 01 005 5 01 2024 2024-01-05 %")
  t.equal(time.format(1706682600.25, "%H:%M:%S.%f %T %z %Z %s", "Asia/Tokyo"),
    "15:30:00.250000 15:30:00 +0900 JST 1706682600")
  t.raises("unknown letter '%%Q'", time.format, "2024-01-05", "%Q")
  t.raises("unknown letter '%%'", time.format, "2024-01-05", "100%")
  t.raises("a date has no zone", time.format, "2024-01-05", "%F", "UTC")
end)

t.test("a damaged zone file is an error", function()
  local dir <const> = t.tmpdir()
  fs.mkdir(dir .. "/Test")
  fs.write(dir .. "/Test/Cut", fs.read("/usr/share/zoneinfo/Europe/Berlin"):sub(1, 1000))
  fs.write(dir .. "/Test/Text", ("not a zone\n"):rep(10))
  local r <const> = t.run { exe, "-e", [[
    local time = require "garun.time"
    print(select(2, pcall(time.today, "Test/Cut")))
    print(select(2, pcall(time.today, "Test/Text")))
    print(select(2, pcall(time.today, "Test")))]], env = { TZDIR = dir } }
  t.match(r.stdout, "Test/Cut: its file is damaged.*reinstall")
  t.match(r.stdout, "unknown time zone 'Test/Text'.*is no zone file")
  t.match(r.stdout, "unknown time zone 'Test'")
end)
