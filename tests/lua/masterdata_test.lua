-- garun.masterdata: users and locations from real files into a real database, each file wholly or not at all.

local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local masterdata <const> = require "garun.masterdata"
local s <const> = require "support"
local source <const> = require "garun.source"
local t <const> = require "garun.test"
local xlsx <const> = require "xlsx"

local HEADER <const> = "USER_ID,CUSTOMER_NAME,EMAIL,CELL_PHONE,OFFICE_PHONE\n"

local function file(name, text)
  local path <const> = t.tmpdir() .. "/" .. name
  fs.write(path, text)
  return path
end

local function load(db, kind, path, opts)
  local all <const> = { kind = kind, path = path }
  for k, v in pairs(opts or {}) do all[k] = v end
  return masterdata.load(db, all)
end

local function users(db)
  return db:value "select string_agg(concat_ws('|', user_id, buying_company_name, email, cell_phone, office_phone), ' ' order by user_id) from users"
end

local function numbers(r)
  return { r.read, r.inserted, r.updated, r.unchanged, r.duplicates, r.rejected }
end

local function warned(r, pattern)
  for _, w in ipairs(r.warnings) do
    if w:find(pattern) then return w end
  end
  error("no warning matches " .. pattern .. ": " .. table.concat(r.warnings, "; "), 2)
end

t.test("a workbook's users arrive: sheet by name, title above the header, ids as text, numbers without .0", function()
  local db <close> = s.tenant().connect()
  local path <const> = t.tmpdir() .. "/UserReport.xlsx"
  xlsx.write(path, { sheets = {
    { name = "Cover", rows = { { "USER_ID" }, { "wrong sheet" } } },
    { name = "user report", rows = {
      { "User Report of today" }, { "", nil, "printed" },
      { "Cimm User Id", "user_id", "Buying Company Name", "E mail_Address", "CELL PHONE", "Phone Number", "Discount" },
      { "00123", "x", " Müller & Co ", "a@b.c", 491701234567, "030", 5 },
      { 123, nil, "Zwei" },
      { nil, 7.0, nil, "second@column" },
      { 1.5e9, "y", true, nil, nil, nil, nil, nil, "a note beside the table" },
      {}, { "  " },
    } } } })
  local r <const> = load(db, "users", path)
  t.equal(numbers(r), { 4, 4, 0, 0, 0, 0 })
  t.equal({ r.format, r.sheet }, { "xlsx", "user report" })
  t.equal(users(db), "00123|Müller & Co|a@b.c|491701234567|030 123|Zwei 1500000000|TRUE 7|second@column")
  warned(r, "not used: Discount$")
end)

t.test("locations: the first non-blank of the names counts, in their order", function()
  local db <close> = s.tenant().connect()
  local r <const> = load(db, "locations", file("l.csv", "Branch_Code;location id;WAREHOUSE CODE;Location Name;Warehouse_Name;City;Province\n"
    .. "B1;L1;W1;ln;wn;Ulm;BW\nB2;L2; ;ln;;;\nB3;;;;;x;\n"))
  t.equal(numbers(r), { 3, 3, 0, 0, 0, 0 })
  t.equal(db:value "select string_agg(concat_ws('|', location_id, location_name, city, state), ' ' order by location_id) from locations",
    "B3|x L2|ln W1|wn|Ulm|BW")
end)

t.test("updated_at moves only where something changed, and unchanged rows are not written", function()
  local db <close> = s.tenant().connect()
  load(db, "users", file("a.csv", HEADER .. "1,a,a@x,,\n2,b,,,\n3,c,,,\n"))
  db:exec "update users set updated_at = '2020-01-01', created_at = '2020-01-01'"
  local before <const> = db:value "select string_agg(ctid::text || xmin::text, ' ' order by user_id) from users where user_id <> '2'"
  local r <const> = load(db, "users", file("b.csv", HEADER .. "1,a,a@x,,\n2,B,,,\n3,c,,,\n4,d,,,\n"))
  t.equal(numbers(r), { 4, 1, 1, 2, 0, 0 })
  t.equal(db:value "select string_agg(user_id, ' ') from users where updated_at > '2020-01-02' and created_at = '2020-01-01'", "2")
  t.equal(db:value "select string_agg(ctid::text || xmin::text, ' ' order by user_id) from users where user_id in ('1', '3')", before)
  t.equal(numbers(load(db, "users", file("c.csv", HEADER .. "2,B,,,\n"))), { 1, 0, 0, 1, 0, 0 })
  t.equal(numbers(load(db, "users", file("d.csv", HEADER .. "2,,,,\n"))), { 1, 0, 1, 0, 0, 0 })     -- NULL is a change, too
end)

t.test("other tenants' rows are not touched", function()
  local db <close> = s.tenant().connect()
  db:exec "insert into tenant_config (name, postgres_config) values ('other', '{}')"
  load(db, "users", file("a.csv", HEADER .. "1,acme,,,\n"), { tenant = "acme" })
  load(db, "users", file("b.csv", HEADER .. "1,other,,,\n"), { tenant = "other" })
  t.equal(db:value "select string_agg(buying_company_name, ' ' order by buying_company_name) from users", "acme other")
  t.raises({ kind = "usage" }, load, db, "users", file("c.csv", HEADER))        -- which tenant?
end)

t.test("the last of duplicate ids wins, with a warning that names the rows", function()
  local db <close> = s.tenant().connect()
  local r <const> = load(db, "users", file("a.csv", HEADER .. "1,first,,,\n2,b,,,\n1,second,,,\n 1 ,last,,,\n"))
  t.equal(numbers(r), { 4, 2, 0, 0, 2, 0 })
  t.equal(users(db), "1|last 2|b")
  t.match(warned(r, "id of a later one"), "1 %(rows 2, 4, 5%)")
end)

t.test("rows without an id, with an over-long one or with stray delimiters are rejected with their row number", function()
  local db <close> = s.tenant().connect()
  local dir <const> = t.tmpdir()
  local r <const> = load(db, "users", file("a.csv", HEADER .. "ok,A,,,\n,no id,x@y,,\n" .. ("x"):rep(101) .. ",long,,,\nz,Smith, John,a@b,1,2\n"
    .. ("ü"):rep(100) .. ",umlauts,,,\n"), { reject_file = dir .. "/r.ndjson" })
  t.equal(numbers(r), { 5, 2, 0, 0, 0, 3 })
  local got <const> = {}
  for i, x in ipairs(r.rejects) do got[i] = x.row .. " " .. x.code .. " " .. tostring(x.column) end
  t.equal(got, { "3 no_id user_id", "4 too_long user_id", "5 fields nil" })
  t.equal(r.rejects[3].raw, "z,Smith,\" John\",a@b,1,2")
  t.equal(db:value "select string_agg(line || ' ' || code, ', ' order by line) from garun.rejects", "3 no_id, 4 too_long, 5 fields")
  t.equal(db:value "select convert_from(raw, 'UTF8') from garun.rejects where line = 3", ",no id,x@y,,")
  t.match(fs.read(dir .. "/r.ndjson"), '"no_id"')
end)

t.test("nothing but rejects, or too many of them, stores nothing", function()
  local db <close> = s.tenant().connect()
  t.raises({ kind = "guard", code = "rejects" }, load, db, "users", file("a.csv", HEADER .. ",x,,,\n,y,,,\n"))
  local text <const> = { HEADER }
  for i = 1, 300 do text[#text + 1] = (i % 2 == 0 and i or "") .. ",n,,,\n" end
  t.raises({ kind = "guard" }, load, db, "users", file("b.csv", table.concat(text)), { max_rejects = 100 })
  t.equal({ db:value "select count(*) from users", db:value "select count(*) from garun.rejects" }, { 0, 0 })
  t.equal(load(db, "users", file("c.csv", table.concat(text))).rejected, 150)
end)

t.test("over-long text is cut in characters and counted, zero bytes in text are repaired", function()
  local db <close> = s.tenant().connect()
  local r <const> = load(db, "users", file("a.csv", HEADER .. "1," .. ("ä"):rep(256) .. ",b@c," .. ("1"):rep(51) .. ",\n"))
  t.equal({ r.cut, db:value "select char_length(buying_company_name) from users", db:value "select char_length(cell_phone) from users" },
    { 2, 255, 50 })
  warned(r, "2 values were cut")
  local path <const> = t.tmpdir() .. "/nul.xlsx"
  xlsx.write(path, { sheets = { { rows = { { "USER_ID", "EMAIL" }, { "1", "a\0b" }, { "2\0", "x" } } } } })
  local n <const> = load(db, "users", path)
  t.equal({ n.repaired, n.rejected, n.rejects[1].code }, { 1, 1, "bad_id" })
  t.equal(db:value "select email from users where user_id = '1'", "a\u{FFFD}b")
end)

t.test("CSV by any delimiter, with any line end, byte order mark, quotes and a title above", function()
  for _, d in ipairs { ",", ";", "\t", "|" } do
    local db <close> = s.tenant().connect()
    local text <const> = "\u{FEFF}Report of users\r\n\r\nUser ID,Customer Name,Email\r\n007,\"Bond" .. d .. " \"\"James\"\"\r\nLondon\",j@b\r\n"
    local r <const> = load(db, "users", file("users.txt", (text:gsub(",", d))))
    t.equal({ r.format, r.read, r.inserted }, { d == "\t" and "tsv" or "csv", 1, 1 })
    t.equal(users(db), "007|Bond" .. d .. " \"James\"\r\nLondon|j@b")
  end
end)

t.test("a quote that is never closed does not swallow customers in silence", function()
  local db <close> = s.tenant().connect()
  local ok <const>, r <const> = pcall(load, db, "users", file("a.csv", HEADER .. '1,5" pipe,,,\n2,"open,,,\n3,c,,,\n4,d,,,\n'))
  -- Refused, or each of the three rows told about.
  if ok then t.equal({ r.read, r.rejected }, { 2, 1 }) else t.match(tostring(r), "quote") end
  t.equal(users(db), ok and "1|5\" pipe" or nil)
end)

t.test("Windows-1252 is repaired and counted, or refused when UTF-8 is demanded", function()
  local db <close> = s.tenant().connect()
  local path <const> = file("a.csv", HEADER .. "1,M\xFCller \x80 \x96,,,\n2,Zoë,,,\n")
  local r <const> = load(db, "users", path)
  t.equal(r.repaired, 1)
  t.equal(users(db), "1|Müller € – 2|Zoë")
  local e <const> = t.raises({ kind = "masterdata", code = "encoding" }, load, db, "users", path, { encoding = "utf-8" })
  t.match(e.message, "line 2: field 2")
  t.equal(load(db, "users", file("b.csv", HEADER .. "3,Caf\xE9,,,\n"), { encoding = "windows-1252" }).repaired, 0)
  t.equal(db:value "select buying_company_name from users where user_id = '3'", "Café")
end)

t.test("Excel's Unicode text, UTF-16 with tabs, is read", function()
  local db <close> = s.tenant().connect()
  for i, order in ipairs { "<", ">" } do
    local bytes <const> = { string.pack(order .. "I2", 0xFEFF) }
    for _, c in utf8.codes("USER_ID\tCUSTOMER_NAME\r\n" .. i .. "\tÄ😀\r\n") do
      if c < 0x10000 then bytes[#bytes + 1] = string.pack(order .. "I2", c)
      else bytes[#bytes + 1] = string.pack(order .. "I2I2", 0xD800 + (c - 0x10000 >> 10), 0xDC00 + (c - 0x10000 & 0x3FF)) end
    end
    t.equal(load(db, "users", file("u.txt", table.concat(bytes))).inserted, 1)
  end
  t.equal(users(db), "1|Ä😀 2|Ä😀")
end)

t.test("compressed files, sources and names that lie do not matter", function()
  local db <close> = s.tenant().connect()
  local dir <const> = t.tmpdir()
  local text <const> = HEADER .. "1,a,,,\n"
  xlsx.write(dir .. "/w.xlsx", { sheets = { { rows = { { "USER_ID", "EMAIL" }, { "2", "b" } } } } })
  local book <const> = fs.read(dir .. "/w.xlsx")
  t.equal(load(db, "users", file("a.csv.gz", gzip.compress(text))).format, "csv")
  t.equal(load(db, "users", file("a.xlsx", text)).format, "csv")
  t.equal(load(db, "users", file("b.csv", book)).format, "xlsx")
  t.equal(load(db, "users", file("b.xlsx.gz", gzip.compress(book))).format, "xlsx")
  local at = 0
  local r <const> = masterdata.load(db, { kind = "users", source = source.from_function("sftp://x/w.xlsx", function()
    at = at + 1000
    local chunk <const> = book:sub(at - 999, at)
    return chunk ~= "" and chunk or nil
  end) })
  t.equal({ r.format, r.source, r.unchanged, #r.digest }, { "xlsx", "sftp://x/w.xlsx", 1, 32 })
end)

t.test("a file without a header names what was seen and what is wanted", function()
  local db <close> = s.tenant().connect()
  local e <const> = t.raises({ kind = "masterdata", code = "header" }, load, db, "users", file("a.csv", "Kunde;Name;Telefon\n1;x;2\n"))
  t.match(e.detail, "seen: Kunde, Name, Telefon\nwanted: CIMM_USER_ID or USER_ID %(required%), BUYING_COMPANY_NAME or")
  local path <const> = t.tmpdir() .. "/w.xlsx"
  xlsx.write(path, { sheets = { { rows = { { "EMAIL", "CELL_PHONE" }, { "a", "b" } } } } })
  t.match(t.raises({ code = "header" }, load, db, "users", path).detail, "seen: EMAIL, CELL_PHONE")
  t.equal(db:value "select count(*) from users", 0)
end)

t.test("an empty or shrunken file removes nothing and warns", function()
  local db <close> = s.tenant().connect()
  load(db, "users", file("a.csv", HEADER .. "1,a,,,\n2,b,,,\n3,c,,,\n"))
  warned(load(db, "users", file("b.csv", "")), "is empty: nothing was changed, 3 users are stored")
  warned(load(db, "users", file("c.csv", HEADER)), "has 0 ids, and 3 users are stored")
  warned(load(db, "users", file("d.csv", HEADER .. "1,x,,,\n")), "has 1 ids, and 3 users")
  t.equal(users(db), "1|x 2|b 3|c")
  t.equal(#load(db, "users", file("e.csv", HEADER .. "1,x,,,\n2,b,,,\n")).warnings, 0)
end)

t.test("missing columns become NULL, with a warning", function()
  local db <close> = s.tenant().connect()
  load(db, "users", file("a.csv", HEADER .. "1,a,b@c,1,2\n"))
  warned(load(db, "users", file("b.csv", "USER_ID,EMAIL\n1,b@c\n")), "missing.*buying_company_name.*cell_phone.*office_phone")
  t.equal(users(db), "1|b@c")
end)

t.test("what is no table is named: pages, old workbooks, damaged ones", function()
  local db <close> = s.tenant().connect()
  t.match(t.raises({ code = "format" }, load, db, "users", file("u.csv", "<!DOCTYPE html><html>Login</html>")).message, "an HTML page")
  t.raises({ code = "format" }, load, db, "users", file("u.csv", "abc\0def"))
  t.raises({ kind = "xlsx", code = "ole" }, load, db, "users", file("u.xls", "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1" .. ("\0"):rep(600)))
  t.raises({ kind = "xlsx", code = "truncated" }, load, db, "users", file("u.xlsx", "PK\3\4" .. ("x"):rep(600)))
  t.raises({ kind = "source" }, load, db, "users", "/nowhere/u.xlsx")
  t.raises({ kind = "gzip", code = "truncated" }, load, db, "users", file("u.csv.gz", gzip.compress(HEADER .. "1,a,,,\n"):sub(1, -3)))
end)

t.test("a file that breaks half-way leaves nothing behind, and the connection is of use", function()
  local db <close> = s.tenant().connect()
  local rows <const> = {}
  for i = 1, 5000 do rows[i] = i .. ",name " .. i .. ",,,\n" end
  local sent = false
  local broken <const> = source.from_function("sftp://x/u.csv", function()
    if sent then error(require("garun.error").new { kind = "sftp", message = "connection lost", retryable = true }, 0) end
    sent = true
    return HEADER .. table.concat(rows)
  end)
  t.raises({ kind = "sftp", retryable = true }, masterdata.load, db, { kind = "users", source = broken })
  t.equal(db:value "select count(*) from users", 0)
  t.equal(load(db, "users", file("a.csv", HEADER .. table.concat(rows))).inserted, 5000)
end)

t.test("two loads of the same file at once give each row once", function()
  local at <const> = s.tenant()
  local rows <const> = {}
  for i = 1, 2000 do rows[i] = i .. ",n,,,\n" end
  local path <const> = file("a.csv", HEADER .. table.concat(rows))
  local results <const> = require("garun.task").map({ 1, 2, 3 }, function() return masterdata.load(at.at, { kind = "users", path = path }) end)
  local inserted, unchanged = 0, 0
  for _, r in ipairs(results) do inserted, unchanged = inserted + r.inserted, unchanged + r.unchanged end
  t.equal({ inserted, unchanged, at.value "select count(*) from users" }, { 2000, 4000, 2000 })
end)

t.test("formulas without a stored result count as blank, with a warning", function()
  local db <close> = s.tenant().connect()
  local path <const> = t.tmpdir() .. "/f.xlsx"
  local r <const> = t.run { "/usr/bin/python3", "-c", [[
import openpyxl, sys
w = openpyxl.Workbook()
for row in (["USER_ID", "EMAIL"], ["1", "=A2&\"@x\""], ["=1+1", "y"]): w.active.append(row)
w.save(sys.argv[1])]], path }
  t.equal(r.stderr, "")
  local result <const> = load(db, "users", path)
  t.equal(numbers(result), { 2, 1, 0, 0, 0, 1 })
  warned(result, "2 formulas have no stored result")
end)

t.test("a job that was taken over commits nothing", function()
  local at <const> = s.tenant()
  local db <close> = at.connect()
  local jobs <const> = require "garun.jobs"
  local job <const> = jobs.start(db, { tenant_id = db:value "select id::text from tenant_config", types = { "users" } })
  local path <const> = file("a.csv", HEADER .. "1,a,,,\n,b,,,\n")
  t.equal(load(db, "users", path, { job = job }).inserted, 1)
  t.equal(db:value("select count(*) from garun.rejects where job_id = $1", job.id), 1)
  db:exec "update garun.leases set epoch = epoch + 1"
  t.raises({ kind = "job", code = "fenced" }, load, db, "users", file("b.csv", HEADER .. "1,changed,,,\n"), { job = job })
  t.equal(users(db), "1|a")
end)

t.test("options are checked", function()
  local db <close> = s.tenant().connect()
  t.raises({ kind = "usage" }, masterdata.load, db, { kind = "customers", path = "x" })
  t.raises({ kind = "usage" }, masterdata.load, db, { kind = "users" })
  t.raises({ kind = "usage" }, masterdata.load, db, { kind = "users", path = "x", encodng = "utf-8" })
  t.raises({ kind = "usage" }, masterdata.load, db, { kind = "users", path = "x", encoding = "latin" })
end)
