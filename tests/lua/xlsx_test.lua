-- xlsx, reading: what other programs write is read as they mean it; what is broken or hostile is refused in words.

local files <const> = require "xlsx_files"
local fs <const> = require "garun.fs"
local t <const> = require "garun.test"
local task <const> = require "garun.task"
local xlsx <const> = require "xlsx"

local book <const>, path_of <const>, python <const> = files.book, files.path, files.python

-- All rows of a sheet: { { row number, cells... }, ... }
local function read(source, opts, sheet, open)
  local b <close> = xlsx.open(type(source) == "string" and source:find("^PK") and { data = source } or source, open)
  local rows <const> = {}
  for row, number in b:rows(sheet, opts) do
    local copy <const> = { number }
    for i = 1, row.n do copy[i + 1] = row[i] == nil and "" or row[i] end
    rows[#rows + 1] = copy
  end
  return rows
end

local function one(cell, opts, more)
  local all <const> = more or {}
  all.rows = "<row>" .. cell .. "</row>"
  local rows <const> = read(book(all), opts)
  return rows[1] and rows[1][2]
end

local function refused(want, source, open)
  if type(source) == "string" and not source:find("^/") then source = { data = source } end
  return t.raises(want, function()
    local b <close> = xlsx.open(source, open)
    for _ in b:rows() do end
  end)
end

---- values ----

t.test("numbers are text as stored, whole ones digits only", function()
  for stored, want in pairs { ["123"] = "123", ["123.0"] = "123", ["1.23E+5"] = "123000", ["1E3"] = "1000", ["-12.50E1"] = "-125",
    ["0.10000000000000001"] = "0.10000000000000001", ["1.5"] = "1.5", ["0.0"] = "0", ["-0"] = "-0", ["-0.00"] = "0", ["1.5E-3"] = "1.5E-3",
    ["00123"] = "00123", ["4930123456789"] = "4930123456789", ["1.2345678901234567E+19"] = "12345678901234567000", ["1E+36"] = "1E+36",
    ["1E+35"] = "1" .. ("0"):rep(35), ["1E+999999999999"] = "1E+999999999999", ["12e"] = "12e", ["abc"] = "abc", [" 7 "] = "7", ["."] = ".",
    ["5."] = "5", [".5"] = ".5", ["0.1E1"] = "1", ["120E-1"] = "12", [("9"):rep(300)] = ("9"):rep(300) } do
    t.equal(one("<c><v>" .. stored .. "</v></c>"), want, stored)
  end
end)

t.test("typed values are integers, floats, booleans and text", function()
  local typed <const> = { values = "typed" }
  t.equal(one("<c><v>123.0</v></c>", typed), 123)
  t.equal(one("<c><v>1.23E+5</v></c>", typed), 123000)
  t.equal(one("<c><v>0.10000000000000001</v></c>", typed), 0.1)
  t.equal(one("<c><v>9007199254740993</v></c>", typed), 9007199254740993)
  t.equal(one("<c><v>0x10</v></c>", typed), "0x10")
  t.equal({ one('<c t="b"><v>1</v></c>', typed), one('<c t="b"><v>0</v></c>', typed), one('<c t="b"><v>true</v></c>', typed) },
    { true, false, true })
  t.equal({ one('<c t="b"><v>1</v></c>'), one('<c t="b"><v>0</v></c>') }, { "TRUE", "FALSE" })
  t.equal(one('<c t="e"><v>#N/A</v></c>', typed), "#N/A")
  t.equal(one('<c t="e"><v>#N/A</v></c>', { errors = "nil" }), nil)
  t.equal(one('<c t="d"><v>2024-01-05T00:00:00</v></c>', typed), "2024-01-05T00:00:00")
end)

t.test("shared, rich and inline strings, formulas: text without phonetic hints, escapes undone, blanks kept", function()
  local strings <const> = '<si><t xml:space="preserve"> a </t></si><si><r><rPr><b/></rPr><t>ri</t></r><r><t>ch</t></r><rPh sb="0" eb="1"><t>no</t></rPh>'
    .. "<phoneticPr/></si><si><t>_x000D__x0041__x005F_x0041__xD83D__xDE00__xD800_&lt;ü</t></si><si/><si><t/></si>"
  local cells <const> = {}
  for i = 0, 4 do cells[#cells + 1] = '<c t="s"><v>' .. i .. "</v></c>" end
  cells[#cells + 1] = '<c t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r><rPh><t>no</t></rPh></is></c>'
  cells[#cells + 1] = '<c t="str"><f>A1&amp;"x"</f><v>form</v></c><c><f>1+1</f><v>2</v></c><c><f>1+1</f></c><c><f/><v></v></c>'
  local b <close> = xlsx.open { data = book { strings = strings, rows = "<row>" .. table.concat(cells) .. "</row>" } }
  local rows <const> = b:rows()
  t.equal(rows:next(), { " a ", "rich", "\rA_x0041_😀\u{FFFD}<ü", "", "", "inline", "form", "2", n = 8 })
  t.equal({ rows:next(), rows:uncalculated() }, { nil, 2 })
end)

t.test("sparse and unnumbered rows and cells stand where they belong; merged cells have their value once", function()
  local rows <const> = read(book { rows = '<row><c><v>1</v></c><c r="D1"><v>4</v></c><c><v>5</v></c></row><row r="7"/><row r="10"><c r="XFD10"><v>9</v></c></row>'
    .. '<row><c/><c s="1"/><c r="c11"><v>3</v></c></row><row r="1048576"><c r="A1048576"><v>z</v></c></row>' })
  t.equal({ rows[1], rows[3], rows[4], #rows }, { { 1, "1", "", "", "4", "5" }, { 11, "", "", "3" }, { 1048576, "z" }, 4 })
  t.equal({ rows[2][1], #rows[2], rows[2][16385] }, { 10, 16385, "9" })
  local path <const> = path_of "m.xlsx"
  python([[
w = o.Workbook(); s = w.active
s["A1"] = "title"; s.merge_cells("A1:C1"); s["A2"] = 1; s["C2"] = 3
w.save(sys.argv[1])]], path)
  t.equal(read(path), { { 1, "title" }, { 2, "1", "", "3" } })
end)

t.test("strict workbooks, prefixes, UTF-16 parts and foreign elements are read", function()
  local strict <const> = '<x:worksheet xmlns:x="http://purl.oclc.org/ooxml/spreadsheetml/main" xmlns:y="urn:y"><x:sheetData><x:row><x:c><x:v>1</x:v></x:c>'
    .. '<y:c><y:v>2</y:v></y:c><x:c><y:v>3</y:v><x:extLst><x:ext><x:v>4</x:v></x:ext></x:extLst><x:v>5</x:v></x:c></x:row></x:sheetData></x:worksheet>'
  t.equal(read(book { sheet = strict }), { { 1, "1", "5" } })
  local base <const> = "http://purl.oclc.org/ooxml/officeDocument/relationships"
  local parts <const> = { ["_rels/.rels"] = files.relations { { "officeDocument", "/xl/workbook.xml", base = base } },
    ["xl/_rels/workbook.xml.rels"] = files.relations { { "worksheet", "/xl/a/../worksheets/./sheet1.xml", base = base } },
    ["xl/workbook.xml"] = '<workbook xmlns="http://purl.oclc.org/ooxml/spreadsheetml/main" xmlns:r="' .. base
      .. '"><workbookPr date1904="true"/><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>' }
  t.equal(read(book { sheet = strict, parts = parts }), { { 1, "1", "5" } })
  local wide <const> = ('<?xml version="1.0" encoding="UTF-16"?>' .. files.sheet("<row><c><v>1</v></c></row>"):gsub("^.-\n", "")):gsub(".", "%0\0")
  t.equal(read(book { sheet = "\xFF\xFE" .. wide }), { { 1, "1" } })
end)

t.test("dates follow the number format, in both calendars, as openpyxl has them", function()
  local path <const> = path_of "d.xlsx"
  for _, epoch in ipairs { "1900", "1904" } do
    local want <const> = python([[
from openpyxl.styles.numbers import is_date_format, BUILTIN_FORMATS
from openpyxl.utils.datetime import CALENDAR_MAC_1904
w = o.Workbook(); s = w.active
if sys.argv[2] == "1904": w.epoch = CALENDAR_MAC_1904
formats = ["yyyy-mm-dd", "dd/mm/yyyy hh:mm", "d. mmmm yyyy", "[$-409]mmm d, yyyy;@", "hh:mm:ss", "h:mm AM/PM", "mm:ss.0", "mmm-yy", "yyyy\\-mm",
  "0.00", "#,##0", "0.00E+00", "General", "@", '0 "days"', '"d"0', '[Red]0.00', "#,##0\\ \\d", "0%", "mmm", "[$€-407]#,##0.00", "_-* #,##0_-",
  "m/d/yy h:mm", "d-mmm", "yyyy/mm/dd;@", "dddd", "ss", "[<1]0;General"]
for f in formats + [BUILTIN_FORMATS[i] for i in (14, 15, 16, 17, 18, 19, 20, 21, 22, 45, 47)]:
    row = []
    for n in (1, 59, 61, 366.25, 45296, 45296.5, 45296.123456) + ((0.75, 2958465) if sys.argv[2] == "1900" else (2957003,)):
        c = s.cell(s.max_row + 1 if not row else s.max_row, len(row) + 1, n); c.number_format = f; row.append(n)
w.save(sys.argv[1])
out = []
for row in o.load_workbook(sys.argv[1]).active.iter_rows():
    for c in row:
        if c.value is None: continue
        out.append([c.number_format, c.value.isoformat(timespec="milliseconds") if c.is_date else c.value, bool(c.is_date), c.row])
print(json.dumps(out))]], path, epoch)
    local got <const>, at = {}, 0
    for _, row in ipairs(read(path, { values = "typed" })) do
      for i = 2, #row do got[#got + 1] = row[i] end
    end
    t.equal(#got, #want)
    for _, w in ipairs(want) do
      at = at + 1
      local g, value = got[at], w[2]
      if w[3] then
        -- openpyxl gives midnight for a day: what is left out here must be it. Of times and days it tells no more than we do.
        t.equal(type(g), "string", w[1] .. " " .. tostring(value))
        if not g:find("[T:]") then g = g .. "T00:00:00" end
        if not g:find(".", 1, true) then g = g .. ".000" end
      end
      t.equal(g, value, epoch .. " " .. w[1])
    end
  end
end)

t.test("the day that never was, elapsed hours and serials without a day", function()
  local styles <const> = '<numFmts><numFmt numFmtId="164" formatCode="yyyy-mm-dd"/><numFmt numFmtId="165" formatCode="[h]:mm:ss"/></numFmts>'
    .. '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="46"/><xf numFmtId="22"/></cellXfs>'
  local function typed(style, v) return one(string.format('<c s="%d"><v>%s</v></c>', style, v), { values = "typed" }, { styles = styles }) end
  t.equal({ typed(1, 59), typed(1, 60), typed(1, 61), typed(1, 1), typed(1, 0) }, { "1900-02-28", 60, "1900-03-01", "1900-01-01", 0 })
  t.equal({ typed(2, 1.5), typed(3, 100), typed(3, 0.5) }, { "36:00:00", "2400:00:00", "12:00:00" })
  t.equal({ typed(4, 45296), typed(1, -1), typed(1, 2958466), typed(1, 45295.9999999999) }, { "2024-01-05T00:00:00", -1, 2958466, "2024-01-05" })
  t.equal({ typed(9, 45296), typed(0, 45296) }, { 45296, 45296 })       -- a style that there is not is none
  t.equal(one('<c s="1"><v>45296</v></c>', nil, { styles = styles }), "45296")
end)

t.test("what openpyxl writes is read cell by cell, on every sheet", function()
  local path <const> = path_of "o.xlsx"
  local want <const> = python([[
import random
random.seed(7)
w = o.Workbook(); w.remove(w.active); out = []
def cell():
    k = random.randrange(8)
    if k == 0: return None
    if k == 1: return random.randrange(-10**12, 10**12)
    if k == 2: return random.random() * 10 ** random.randrange(-8, 9)
    if k == 3: return random.random() < .5
    return "".join(random.choice("aä <>&\"'\n\tß漢😀=+-@0123") for _ in range(random.randrange(1, 30)))
for n in ("Users", "Zweites Blatt", "漢字"):
    s = w.create_sheet(n); rows = []
    for i in range(300):
        row = [cell() for _ in range(random.randrange(1, 12))]
        for j, v in enumerate(row):
            if v is not None:
                c = s.cell(i + 1, j + 1); c.value = v
                if isinstance(v, str): c.data_type = "s"
        rows.append(row)
    out.append([n, rows])
w.save(sys.argv[1])
print(json.dumps(out))]], path)         -- it writes 16 digits of a float
  local b <close> = xlsx.open(path)
  for i, w in ipairs(want) do
    t.equal(b:sheets()[i], { name = w[1], state = "visible", cells = true })
    local got <const> = {}
    for row, number in b:rows(i, { values = "typed" }) do got[number] = row end
    for r, row in ipairs(w[2]) do
      for c, v in ipairs(row) do
        local g <const> = got[r] and got[r][c]
        if v == require("garun.json").null then t.equal(g, nil)
        elseif type(v) == "number" then t.ok(type(g) == "number" and math.abs(g - v) <= math.abs(v) * 1e-15, string.format("%s %.17g %.17g", w[1], g, v))
        else t.equal(g, v) end
      end
    end
  end
end)

---- sheets ----

t.test("sheets are named, hidden ones and charts too, and found by name, number or as the first", function()
  local path <const> = path_of "s.xlsx"
  python([[
w = o.Workbook(); w.active.title = "Ein & Blatt"; w.active["A1"] = "one"
c = w.create_chartsheet("Chart"); c.add_chart(o.chart.BarChart())
h = w.create_sheet("Hidden"); h.sheet_state = "hidden"; h["A1"] = "two"
v = w.create_sheet("Very"); v.sheet_state = "veryHidden"
w.save(sys.argv[1])]], path)
  local b <close> = xlsx.open(path)
  t.equal(b:sheets(), { { name = "Ein & Blatt", state = "visible", cells = true }, { name = "Chart", state = "visible", cells = false },
    { name = "Hidden", state = "hidden", cells = true }, { name = "Very", state = "very hidden", cells = true } })
  t.equal({ read(path), read(path, nil, "HIDDEN"), read(path, nil, 3), read(path, nil, 4) }, { { { 1, "one" } }, { { 1, "two" } }, { { 1, "two" } }, {} })
  t.match(t.raises({ kind = "xlsx", code = "no_sheet" }, b.rows, b, "Users").message, "no sheet 'Users'; there are: 'Ein & Blatt', 'Chart', 'Hidden'")
  t.raises({ code = "no_sheet" }, b.rows, b, 0)
  t.raises({ code = "no_sheet" }, b.rows, b, 5)
  t.raises({ code = "no_cells" }, b.rows, b, "Chart")
  t.raises({ kind = "usage" }, b.rows, b, {})
  t.match(t.raises({ kind = "usage" }, b.rows, b, 1, { value = "typed" }).message, "did you mean 'values'")
  t.raises({ kind = "usage" }, b.rows, b, 1, { values = "dates" })
  t.raises({ kind = "usage" }, xlsx.open, 7)
  t.raises({ kind = "usage" }, xlsx.open, { file = "x" })
  t.raises({ kind = "usage" }, xlsx.open, "a\0b")
end)

---- what is no workbook ----

local function ole(name)
  local head <const> = "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1" .. ("\0"):rep(22) .. string.pack("<I2", 9) .. ("\0"):rep(16) .. string.pack("<I4", 1)
  local wide <const> = name:gsub(".", "%0\0")
  return head .. ("\0"):rep(1024 - #head) .. ("R\0o\0o\0t\0" .. ("\0"):rep(120)) .. wide .. ("\0"):rep(512)
end

t.test("other files are recognised, and the error says what to do", function()
  t.equal(refused({ kind = "xlsx", code = "encrypted" }, ole "EncryptedPackage").hint, "save it without a password (File, Info, Protect Workbook)")
  t.match(refused({ code = "xls" }, ole "Workbook").message, "old binary format %(%.xls%)")
  t.match(refused({ code = "xls" }, path_of("a.xlsx", ole "Book")).message, "^/.*/a%.xlsx: ")
  refused({ code = "ole" }, ole "WordDocument")
  t.match(refused({ code = "xlsb" }, book { parts = { ["_rels/.rels"] = files.relations { { "officeDocument", "xl/workbook.bin" } } } }).message, "%.xlsb")
  t.match(refused({ code = "ods" }, files.zip { { "mimetype", "application/vnd.oasis.opendocument.spreadsheet" }, { "content.xml", "<x/>" } }).message, "%(%.ods%)")
  t.match(refused({ code = "not_xlsx" }, book { parts = { ["_rels/.rels"] = files.relations { { "officeDocument", "word/document.xml" } } } }).message, "Word document")
  t.match(refused({ code = "not_xlsx" }, files.zip { { "a.txt", "x" } }).detail, "a.txt")
  refused({ code = "not_xlsx" }, files.zip {})
  refused({ code = "empty" }, path_of("e.xlsx", ""))
  refused({ code = "empty" }, { data = "" })
  for text, what in pairs { ["<html><body>"] = "an HTML page", ["a;b\n1;2\n"] = "CSV perhaps", ["\x1f\x8b\8\0"] = "gzip data", ["%PDF-1.4"] = "a PDF",
    ["<?xml version='1.0'?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet' progid='Excel.Sheet'>"] = "Excel 2003", ["\0\1\2"] = "no zip archive" } do
    t.match(refused({ code = "not_xlsx" }, path_of("x.xlsx", text)).message, what)
  end
  refused({ kind = "xlsx", code = "ENOENT" }, path_of "nothing.xlsx")
  refused({ kind = "xlsx", code = "EISDIR" }, t.tmpdir())
  local fifo <const> = path_of "fifo"
  t.equal(t.run({ "mkfifo", fifo }).status, 0)
  t.match(refused({ code = "not_xlsx" }, fifo).message, "a pipe or device")
  t.match(refused({ code = "not_xlsx" }, { data = "xx" }, { name = "sftp://h/u.xlsx" }).message, "^sftp://h/u.xlsx: ")
end)

t.test("a cut workbook is an error at every length", function()
  local whole <const> = book { rows = '<row><c t="s"><v>0</v></c></row>', strings = "<si><t>x</t></si>", deflate = true }
  t.equal(read(whole), { { 1, "x" } })
  for n = 1, #whole - 1, 7 do refused({ kind = "xlsx" }, { data = whole:sub(1, n) }) end
  t.match(refused({ code = "truncated" }, { data = whole:sub(1, 900) }).hint, "transfer it again")
end)

t.test("damaged bytes are an error or change nothing, and never the program", function()
  local whole <const> = book { rows = '<row r="1"><c r="A1" t="s"><v>0</v></c><c t="inlineStr"><is><t>y</t></is></c></row>', strings = "<si><t>x</t></si>", deflate = true }
  for at = 1, #whole, 3 do
    local bad <const> = whole:sub(1, at - 1) .. string.char(whole:byte(at) ~ (1 << at % 8)) .. whole:sub(at + 1)
    local ok <const>, got <const> = pcall(read, bad)
    if ok then t.equal(got, { { 1, "x", "y" } }, "byte " .. at) else t.equal(got.kind, bad:find("^PK") and "xlsx" or got.kind) end
  end
end)

t.test("any damage inside the parts is an error of its own kind, or is read", function()
  local parts <const> = { rows = '<row r="1"><c r="A1" t="s"><v>1</v></c><c r="B1" s="1"><v>45296.5</v></c></row><row r="2"><c t="inlineStr"><is><t>_x0041_</t></is></c></row>',
    strings = "<si><t>x</t></si><si><r><t>y</t></r></si>", styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>' }
  local seed = 4711
  local function random(n)
    seed = (seed * 6364136223846793005 + 1442695040888963407) & math.maxinteger
    return seed // 65536 % n
  end
  local pieces <const> = { "<", ">", '"', "/", "&", "<row>", "</c>", "<c>", "<v>", "</v>", "-", "999999999999", "E", "\0", "\xff", "_x", "<!--", "]]>" }
  local read_well = 0
  for _ = 1, 1500 do
    local damaged <const> = { parts = {} }
    for name, text in pairs(parts) do damaged[name] = text end
    local name <const> = ({ "rows", "strings", "styles" })[random(3) + 1]
    local text <const>, at <const> = parts[name], random(#parts[name]) + 1
    damaged[name] = text:sub(1, at - 1) .. pieces[random(#pieces) + 1] .. text:sub(at + random(3))
    local ok <const>, e <const> = pcall(read, book(damaged), { values = "typed" })
    if ok then read_well = read_well + 1 else t.equal(e.kind, "xlsx", tostring(e)) end
  end
  t.ok(read_well > 50 and read_well < 1400, read_well)
end)

t.test("missing parts, wrong checksums and encrypted entries are named", function()
  for _, part in ipairs { "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml" } do
    t.match(refused({ code = "missing_part" }, book { parts = { [part] = false } }).message, part:gsub("%p", "%%%0") .. " is missing")
  end
  t.match(refused({ code = "damaged" }, book { entry = { ["xl/worksheets/sheet1.xml"] = { crc = 1 } } }).message, "sheet1.xml is damaged: CRC")
  refused({ code = "encrypted" }, book { entry = { ["xl/worksheets/sheet1.xml"] = { flags = 1 } } })
  refused({ code = "damaged" }, book { parts = { ["xl/workbook.xml"] = '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheets/></workbook>' } })
  refused({ code = "damaged" }, book { parts = { ["xl/_rels/workbook.xml.rels"] = files.relations {} } })
end)

---- hostile files ----

t.test("broken XML is an error that names sheet and row", function()
  local e <const> = refused({ kind = "xlsx", code = "xml" }, book { rows = '<row r="16"><c><v>1</v></c></row><row r="17"><c><v>1</c></row>' })
  t.match(e.message, "sheet 'S', row 17: broken XML: mismatched tag, at line 2, column %d+ of part xl/worksheets/sheet1.xml")
  t.match(refused({ code = "xml" }, book { sheet = files.sheet("<row><c><v>1</v></c></row>"):sub(1, -10) }).message, "sheet 'S': broken XML: unclosed token")
  t.match(refused({ code = "xml" }, book { rows = "<row><c><v>\xff</v></c></row>" }).message, "row 1: broken XML: not well%-formed")
  refused({ code = "xml" }, book { strings = "<si>" })
  refused({ code = "xml" }, book { sheet = "" })
end)

t.test("document types and entities are refused", function()
  local lol <const> = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' .. files.sheet("<row><c><v>&b;</v></c></row>"):gsub("^.-\n", "")
  t.match(refused({ code = "doctype" }, book { sheet = lol }).message, "sheet 'S': part has a document type")
  refused({ code = "doctype" }, book { sheet = '<!DOCTYPE x SYSTEM "file:///etc/passwd">' .. files.sheet(""):gsub("^.-\n", "") })
  refused({ code = "xml" }, book { rows = "<row><c><v>&xxe;</v></c></row>" })
end)

t.test("zip bombs end at the bounds, by ratio and in all", function()
  local blank <const> = files.sheet("<row><c><v>1</v></c></row>" .. (" "):rep(40 << 20))
  local bomb <const> = book { sheet = blank, deflate = true }
  t.ok(#bomb < 100000)
  local e <const> = refused({ code = "max_ratio" }, { data = bomb })
  t.match(e.message, "%d+ bytes of part xl/worksheets/sheet1.xml inflate to more than %d+, beyond max_ratio = 400")
  t.equal(#read({ data = bomb }, nil, nil, { max_ratio = 2000 }), 1)
  refused({ code = "max_bytes" }, { data = bomb }, { max_ratio = 2000, max_bytes = 1 << 20 })
end)

t.test("deep nesting, endless tags, huge cells and wild references are refused", function()
  refused({ code = "xml" }, book { rows = ("<row><c>"):rep(2) .. ("<a>"):rep(200) })
  t.match(refused({ code = "xml" }, book { rows = '<row r="' .. ("1"):rep(3 << 20) .. '"/>' }).message, "a single tag or comment")
  t.match(refused({ code = "xml" }, book { rows = "<!--" .. ("x"):rep(3 << 20) .. "-->" }).message, "a single tag or comment")
  t.match(refused({ code = "cell" }, book { rows = '<row><c t="str"><v>' .. ("x"):rep(2 << 20) .. "</v></c></row>" }).message, "row 1: column 1 has more than")
  for _, r in ipairs { "XFE1", "ZZZZZZZZZZ1", "1", "A", "", "$A$1", "Ä1" } do
    t.match(refused({ code = "reference" }, book { rows = '<row r="5"><c r="' .. r .. '"/></row>' }).message, "sheet 'S', row 5: the cell reference", r)
  end
  for _, r in ipairs { "0", "1048577", "99999999999999999999999", "-1", "x", "" } do
    refused({ code = "reference" }, book { rows = '<row r="' .. r .. '"/>' })
  end
  refused({ code = "reference" }, book { rows = '<row r="1048576"/><row><c><v>1</v></c></row>' })
  refused({ code = "reference" }, book { rows = '<row><c r="XFD1"/><c/></row>' })
  refused({ code = "row" }, book { rows = "<row>" .. ('<c r="A1"><v>1</v></c>'):rep(40000) .. "</row>" })
  for _, v in ipairs { "2", "-1", "x", "99999999999999999999", "1.0" } do
    t.match(refused({ code = "shared_string" }, book { strings = "<si/><si/>", rows = '<row><c/><c t="s"><v>' .. v .. "</v></c></row>" }).message,
      "row 1: column 2 refers to shared string .* there are 2 of them")
  end
  refused({ code = "cell" }, book { rows = '<row><c t="zz"><v>1</v></c></row>' })
  refused({ code = "max_strings" }, { data = book { strings = ("<si><t>0123456789</t></si>"):rep(1000) } }, { max_strings = 10000 })
  refused({ code = "max_strings" }, { data = book { strings = ("<si/>"):rep(10000) } }, { max_strings = 10000 })
end)

---- tasks and memory ----

local function big(rows)
  local parts <const> = {}
  for i = 1, rows do parts[i] = string.format('<row r="%d"><c r="A%d" t="s"><v>%d</v></c><c r="B%d"><v>%d</v></c></row>', i, i, i % 2, i, i * 7) end
  return book { strings = "<si><t>a</t></si><si><t>b</t></si>", rows = table.concat(parts), deflate = true }
end

t.test("reading lets other tasks run, and two sheets of one book are read at once", function()
  local b <close> = xlsx.open { data = big(20000) }
  local turns, reading = 0, true
  local other <const> = task.spawn(function()
    while reading do
      turns = turns + 1
      task.sleep(0)
    end
  end)
  local counts <const> = task.map({ 1, 2, 3 }, function()
    local n = 0
    for row, number in b:rows(1, { values = "typed" }) do
      n = n + 1
      if number ~= n or row[2] ~= n * 7 or row[1] ~= (n % 2 == 0 and "a" or "b") then error("row " .. number) end
    end
    return n
  end)
  reading = false
  other:join()
  t.equal(counts, { 20000, 20000, 20000 })
  t.ok(turns > 3, "other task had " .. turns .. " turns")
end)

t.test("leaving early, closing the book meanwhile, a cancelled task and an error caught leave nothing half-read", function()
  local data <const> = big(20000)
  do
    local b <const> = xlsx.open { data = data }
    local rows <const> = b:rows()
    t.equal(select(2, rows:next()), 1)
    b:close()
    b:close()
    t.equal(select(2, rows:next()), 2)         -- the iterator holds what it needs
    rows:close()
    rows:close()
    t.raises({ code = "closed" }, rows.next, rows)
    t.raises({ code = "closed" }, rows.uncalculated, rows)
    t.raises({ code = "closed" }, b.rows, b)
    t.raises({ code = "closed" }, b.sheets, b)
  end
  local b <close> = xlsx.open { data = data }
  for _ in b:rows() do break end
  local rows <const> = b:rows()
  local reader <const> = task.spawn(function() for _ in rows do end end)
  task.sleep(0)
  t.raises({ code = "busy" }, rows.next, rows)
  reader:cancel()
  t.raises({ kind = "cancelled" }, reader.join, reader)
  t.raises({ kind = "xlsx" }, rows.next, rows)
  rows:close()
  local n = 0
  for _ in b:rows() do n = n + 1 end
  t.equal(n, 20000)
  local opener <const> = task.spawn(function() return xlsx.open { data = data } end)
  task.sleep(0)
  opener:cancel()
  pcall(opener.join, opener)
  local broken <close> = xlsx.open { data = book { rows = "<row><c><v>1</v></c></row><row>" } }
  local it <const> = broken:rows()
  t.raises({ code = "xml" }, it.next, it)
  t.raises({ code = "closed" }, it.next, it)
end)

t.test("memory does not grow with the rows", function()
  local function resident()
    return tonumber(fs.read("/proc/self/statm"):match("^%d+ (%d+)")) * 4096
  end
  local path <const> = path_of "big.xlsx"
  local out <close> = xlsx.writer(path)
  local sheet <const> = out:sheet { columns = { "n", "text" } }
  for i = 1, 200000 do sheet:row { i, "some text of row " .. i } end
  out:finish()
  local b <close> = xlsx.open(path)
  local n, base, most = 0, nil, 0
  for _ in b:rows() do
    n = n + 1
    if n == 20000 then
      collectgarbage()
      base = resident()
    elseif n % 20000 == 0 then
      collectgarbage()
      most = math.max(most, resident() - base)
    end
  end
  t.equal(n, 200001)
  -- The file inflates to 20 MB. ASan keeps what was freed for a while.
  if not os.getenv("ASAN_OPTIONS") then t.ok(most < 4 << 20, "grew by " .. most) end
end)
