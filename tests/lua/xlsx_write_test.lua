-- xlsx, writing: openpyxl and our own reader see what was meant; what a sheet cannot hold is refused; a workbook appears
-- whole or not at all.

local files <const> = require "xlsx_files"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"
local task <const> = require "garun.task"
local xlsx <const> = require "xlsx"

local python <const> = files.python

local function write(sheets, name)
  local path <const> = files.path(name or "out.xlsx")
  return path, xlsx.write(path, { sheets = sheets })
end

local function read(path, sheet, opts)
  local b <close> = xlsx.open(path)
  local rows <const> = {}
  for row, number in b:rows(sheet, opts or { values = "typed" }) do
    row.n = nil
    rows[number] = row
  end
  return rows
end

t.test("every kind of value comes back, from us and from openpyxl", function()
  local strings <const> = { "=1+1", "=HYPERLINK(\"http://x\")", "+1", "-1", "@x", "http://example.com", "mailto:a@b", "00123", "1.5", "TRUE", " blank ",
    "a\tb\nc\r\nd", "<&>\"'", "ß漢😀", "_x0041_", "_x005F_", "_x", "a_xZZZZ_", "\u{FFFD}", "é\u{301}" }
  local rows <const> = {}
  for i, s in ipairs(strings) do rows[i] = { s, i, i + 0.25, i % 2 == 0 } end
  local path <const>, n <const> = write { { name = "Blatt 1", rows = rows } }
  t.equal(n, #strings)
  t.equal(read(path), rows)
  local got <const> = python([[
out = [list(r) for r in o.load_workbook(sys.argv[1])["Blatt 1"].iter_rows(values_only=True)]
types = [[c.data_type for c in r] for r in o.load_workbook(sys.argv[1])["Blatt 1"].iter_rows()]
print(json.dumps([out, types]))]], path)
  for i, row in ipairs(got[1]) do
    -- openpyxl undoes no escapes; a formula would show as type f.
    if not strings[i]:find("_x") and not strings[i]:find("\r") then t.equal(row, rows[i]) end
    t.ok(got[2][i][1] ~= "f" and got[2][i][1] ~= "n", strings[i])
  end
end)

t.test("control characters and bytes that XML has not survive", function()
  local rows <const> = { { "a\0b", "\1\2\8\11\31", "x\u{FFFE}\u{FFFF}y", "\127", "\u{85}\u{2028}" } }
  t.equal(read((write { { rows = rows } })), rows)
end)

t.test("missing values are empty cells; numbers beyond 2^53 keep their digits as text", function()
  local path <const> = write { { rows = { { nil, 1, nil, json.null, "x", n = 7 }, {}, { n = 3 }, { 9007199254740992, 9007199254740993, math.mininteger, 1e300, -0.5 } } } }
  t.equal(read(path), { [1] = { [2] = 1, [5] = "x" }, [4] = { 9007199254740992, "9007199254740993", "-9223372036854775808", 1e300, -0.5 } })
end)

t.test("columns have types: text, numbers from text, dates", function()
  local columns <const> = { { title = "Id", type = "text" }, { title = "Value", type = "number", format = "#,##0.00" }, { title = "Day", type = "date" },
    { title = "At", type = "datetime" }, "Any" }
  local path <const> = write { { name = "T", columns = columns, rows = {
    { 123, "12.50", "2024-02-29", "2024-01-05 06:30:15", true },
    { 1.5, 7, "1900-01-01", "2024-01-05T23:59:59.250Z", "x" },
    { Id = "007", Day = "1900-03-01", At = "2024-01-05", Any = 1 },
    { true, "-1e3", 45296, "2024-12-31T00:00:00+01:00" },
  } } }
  t.equal(read(path), { { "Id", "Value", "Day", "At", "Any" },
    { "123", 12.5, "2024-02-29", "2024-01-05T06:30:15", true },
    { "1.5", 7, "1900-01-01", "2024-01-05T23:59:59.250", "x" },
    { "007", nil, "1900-03-01", "2024-01-05T00:00:00", 1 },
    { "true", -1000, "2024-01-05", "2024-12-31T00:00:00" } })
  local got <const> = python([[
s = o.load_workbook(sys.argv[1])["T"]
print(json.dumps([str(s["C2"].value), s["C2"].number_format, str(s["D2"].value), s["B2"].number_format, s["B2"].value, s["A2"].data_type]))]], path)
  t.equal(got, { "2024-02-29 00:00:00", "yyyy-mm-dd", "2024-01-05 06:30:15", "#,##0.00", 12.5, "s" })
end)

t.test("the header is bold and frozen, columns are as wide as their text or as asked, the filter spans all rows", function()
  local path <const> = write {
    { name = "A", autofilter = true, columns = { "Short", { title = "Long", key = "k" }, { title = "Set", width = 33 } }, rows = { { k = ("w"):rep(30), Set = 1 }, { k = ("w"):rep(200) } } },
    { name = "B", freeze = false, columns = { "X" } },
    { name = "C", header = false, columns = { "X" }, rows = { { "no header" } } } }
  local got <const> = python([[
w = o.load_workbook(sys.argv[1]); a, b, c = w["A"], w["B"], w["C"]
print(json.dumps([a["A1"].font.b, a["A2"].font.b, a.freeze_panes, b.freeze_panes, a.auto_filter.ref, b.auto_filter.ref,
  round(a.column_dimensions["A"].width), round(a.column_dimensions["B"].width), round(a.column_dimensions["C"].width), c["A1"].value]))]], path)
  t.equal(got, { true, false, "A2", json.null, "A1:C3", json.null, 9, 63, 34, "no header" })
end)

t.test("a row may come from any iterator, one that waits too, and sheets may be filled in turn", function()
  local path <const> = files.path "s.xlsx"
  do
    local out <close> = xlsx.writer(path)
    local a <const>, b <const> = out:sheet { name = "a" }, out:sheet()
    for i = 1, 30000 do
      if i % 1000 == 0 then task.sleep(0) end
      a:row { i }:row { -i }
      b:row { "b" .. i }
    end
    t.equal(out:finish(), 90000)
  end
  local a <const>, b <const> = read(path, "a"), read(path, "Sheet2")
  t.equal({ #a, a[59999][1], a[60000][1], #b, b[30000][1] }, { 60000, 30000, -30000, 30000, "b30000" })
  local i = 0
  t.equal(select(2, write { { rows = function()
    task.sleep(0)
    i = i + 1
    return i <= 10 and { i } or nil
  end } }), 10)
  -- What was read may be written: an iterator with a close.
  local book <close> = xlsx.open(path)
  t.equal(select(2, write({ { rows = book:rows "a" } }, "copy.xlsx")), 60000)
end)

t.test("sheet names follow Excel's rules, and the error says which one", function()
  for name, why in pairs { [""] = "empty", [("x"):rep(32)] = "32 characters", ["a/b"] = "one of", ["a:b"] = "one of", ["[x]"] = "one of", ["a*"] = "one of",
    ["a?"] = "one of", ["a\\b"] = "one of", ["a\nb"] = "control", ["'a"] = "apostrophe", ["a'"] = "apostrophe", ["History"] = "Excel keeps", ["\xff"] = "UTF%-8" } do
    t.match(t.raises({ kind = "xlsx", code = "sheet_name" }, write, { { name = name } }).message, why, name)
  end
  t.match(t.raises({ code = "sheet_name" }, write, { { name = "Users" }, { name = "USERS" } }).message, "already")
  t.raises({ kind = "usage" }, write, { { name = 7 } })
  t.equal(#read((write { { name = ("ü"):rep(31), rows = { { 1 } } } })), 1)
end)

t.test("what a cell cannot hold is an error with its place, and nothing of the row is written", function()
  local path <const> = files.path "e.xlsx"
  local out <close> = xlsx.writer(path)
  local s <const> = out:sheet { name = "S", columns = { "a", { title = "d", type = "date" }, { title = "n", type = "number" } } }
  for _, case in ipairs { { { "\xff" }, "utf8", "column 1" }, { { ("x"):rep(32768) }, "size", "column 1" }, { { ("😀"):rep(16384) }, "size", "column 1" },
    { { 0 / 0 }, "number", "column 1" }, { { math.huge }, "number", "column 1" }, { { "a", "2024-02-30" }, "date", "column 2" }, { { "a", "1899-12-31" }, "date", "column 2" },
    { { "a", "yesterday" }, "date", "column 2" }, { { "a", nil, "x1" }, "number", "column 3" }, { { {} }, "type", "column 1" }, { { print }, "type", "column 1" } } do
    t.match(t.raises({ kind = "xlsx", code = case[2] }, s.row, s, case[1]).message, "sheet 'S', row 2, " .. case[3])
  end
  local wide <const> = {}
  for i = 1, 16385 do wide[i] = i end
  t.raises({ code = "columns" }, s.row, s, wide)
  t.raises({ kind = "usage" }, s.row, s, "x")
  s:row { "good" }
  s:row { ("😀"):rep(16383) .. "x" }
  out:finish()
  t.equal({ #read(path), read(path)[2][1] }, { 3, "good" })
end)

t.test("options are checked", function()
  t.raises({ kind = "usage" }, xlsx.write, files.path "x.xlsx", {})
  t.raises({ kind = "usage" }, write, { { nam = "x" } })
  t.match(t.raises({ kind = "usage" }, write, { { columns = { { titel = "x" } } } }).message, "column 1.*did you mean 'title'")
  t.raises({ kind = "usage" }, write, { { columns = { { title = "x", type = "money" } } } })
  t.raises({ kind = "usage" }, write, { { columns = { { title = "x", width = 0 } } } })
  t.raises({ kind = "usage" }, write, { { rows = 7 } })
  t.raises({ kind = "usage" }, xlsx.writer, "")
end)

t.test("a sheet is full at 1,048,576 rows", function()
  local path <const> = files.path "full.xlsx"
  local out <close> = xlsx.writer(path)
  local s <const> = out:sheet { name = "S", columns = { "n" } }
  local row <const> = { 1 }
  for _ = 1, 1048575 do s:row(row) end
  t.match(t.raises({ kind = "xlsx", code = "rows" }, s.row, s, row).message, "sheet 'S' is full: it has 1048576 rows")
  t.equal(out:finish(), 1048575)
  local b <close> = xlsx.open(path)
  local last
  for _, number in b:rows() do last = number end
  t.equal(last, 1048576)
end)

t.test("an unfinished workbook leaves nothing, a finished one replaces the old in one step and keeps its mode", function()
  local dir <const> = t.tmpdir()
  local path <const> = dir .. "/w.xlsx"
  fs.write(path, "old")
  fs.chmod(path, "0640")
  do
    local out <close> = xlsx.writer(path)
    local s <const> = out:sheet()
    for i = 1, 20000 do s:row { i, "text" } end
  end
  t.raises("boom", function()
    xlsx.write(path, { sheets = { { rows = function() error("boom", 0) end } } })
  end)
  t.equal({ fs.list(dir), fs.read(path) }, { { "w.xlsx" }, "old" })
  local out <const> = xlsx.writer(path)
  out:sheet():row { "new" }
  t.equal(out:finish(), 1)
  t.equal({ fs.list(dir), fs.stat(path).mode & 511, read(path)[1][1] }, { { "w.xlsx" }, 416, "new" })
  t.raises({ kind = "xlsx", code = "closed" }, out.finish, out)
  out:close()
  out:close()
  fs.symlink("w.xlsx", dir .. "/link")
  xlsx.write(dir .. "/link", { sheets = { { rows = { { "by link" } } } } })
  t.equal({ fs.readlink(dir .. "/link"), read(path)[1][1] }, { "w.xlsx", "by link" })
  t.raises({ kind = "xlsx", code = "EISDIR" }, xlsx.writer, dir)
  t.match(t.raises({ kind = "xlsx", code = "ENOENT" }, xlsx.writer, dir .. "/none/w.xlsx").message, "cannot write .*/none/w.xlsx")
end)

t.test("a cancelled writer gives its memory and files back, and other tasks run while it finishes", function()
  local dir <const> = t.tmpdir()
  local function descriptors() return #fs.list "/proc/self/fd" end
  local before <const> = descriptors()
  local writing <const> = task.spawn(function()
    local out <close> = xlsx.writer(dir .. "/w.xlsx")
    local s <const> = out:sheet()
    for i = 1, 1 << 40 do s:row { i, "some text that makes it flush" } end
  end)
  task.sleep(0)
  writing:cancel()
  t.raises({ kind = "cancelled" }, writing.join, writing)
  local turns, busy = 0, true
  local other <const> = task.spawn(function()
    while busy do
      turns = turns + 1
      task.sleep(0)
    end
  end)
  local rows <const> = {}
  for i = 1, 50000 do rows[i] = { i, "text " .. i } end
  xlsx.write(dir .. "/v.xlsx", { sheets = { { rows = rows } } })
  busy = false
  other:join()
  t.ok(turns > 10, turns)
  collectgarbage()
  t.equal({ fs.list(dir), descriptors() }, { { "v.xlsx" }, before })
end)

t.test("a full disk is an error, and the old workbook stays", function()
  if proc.uid() ~= 0 then t.skip "only root may mount a small tmpfs" end
  local dir <const> = t.tmpdir() .. "/small"
  fs.mkdir(dir)
  if t.run({ "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir }).status ~= 0 then t.skip "no tmpfs can be mounted here" end
  t.after(function() t.run { "umount", "-l", dir } end)
  fs.write(dir .. "/w.xlsx", "old")
  local function try_rows(n)
    xlsx.write(dir .. "/w.xlsx", { sheets = { { rows = (function()
      local i = 0
      return function()
        i = i + 1
        return i <= n and { i, "row number " .. i, i * 3.5 } or nil
      end
    end)() } } })
  end
  -- The first does not even fit as rows; the others fail while they are put together: copied, packed.
  for _, n in ipairs { 30000, 7000, 5500, 4800 } do
    t.match(t.raises({ kind = "xlsx" }, try_rows, n).message, "cannot write", n)
    t.equal({ fs.list(dir), fs.read(dir .. "/w.xlsx") }, { { "w.xlsx" }, "old" }, n)
  end
  try_rows(1000)
  t.equal(#read(dir .. "/w.xlsx"), 1000)
end)
