-- garun.masterdata.sheet: a file of any tabular kind as rows of cells: .xlsx, CSV, TSV; what it is is seen by content.
--
-- A name says nothing: portals export HTML as .xls, and CSV as .xlsx. Cells are UTF-8 text, or absent; text that is no
-- UTF-8 is taken for Windows-1252 and counted. Memory does not grow with the rows.

local csv <const> = require "garun.csv"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"

local sheet <const> = {}

local HEAD <const> = 64 << 10                 -- of a text, to find delimiter and header in
local HEADER_ROWS <const> = 30                -- a title may be above the header, not a novel
local DELIMITERS <const> = { ",", ";", "\t", "|" }
local OLE <const> = "\xD0\xCF\x11\xE0"

local function fail(code, message, hint, detail)
  error(errors.new { kind = "masterdata", code = code, message = message, hint = hint, detail = detail }, 0)
end

---- encodings ----

-- The 27 characters of Windows-1252 that are not those of Latin-1; the five that it leaves open stay what they are there.
local upper <const> = {
  [0x80] = 0x20AC, [0x82] = 0x201A, [0x83] = 0x0192, [0x84] = 0x201E, [0x85] = 0x2026, [0x86] = 0x2020, [0x87] = 0x2021,
  [0x88] = 0x02C6, [0x89] = 0x2030, [0x8A] = 0x0160, [0x8B] = 0x2039, [0x8C] = 0x0152, [0x8E] = 0x017D, [0x91] = 0x2018,
  [0x92] = 0x2019, [0x93] = 0x201C, [0x94] = 0x201D, [0x95] = 0x2022, [0x96] = 0x2013, [0x97] = 0x2014, [0x98] = 0x02DC,
  [0x99] = 0x2122, [0x9A] = 0x0161, [0x9B] = 0x203A, [0x9C] = 0x0153, [0x9E] = 0x017E, [0x9F] = 0x0178,
}

local function from_1252(text)
  return (text:gsub("[\x80-\xFF]", function(c)
    return utf8.char(upper[c:byte()] or c:byte())
  end))
end

-- A source of UTF-16 (Excel's "Unicode text") as one of UTF-8; unpaired surrogates become U+FFFD.
local function from_utf16(name, pull, format)
  local rest, high = "", nil
  return function()
    local chunk <const> = pull()
    if chunk == nil then
      if rest ~= "" then fail("encoding", name .. ": the UTF-16 text ends in half a character; it is cut") end
      return nil
    end
    local bytes <const> = rest .. chunk
    local units <const> = #bytes // 2
    rest = bytes:sub(units * 2 + 1)
    local out <const> = {}
    for i = 1, units do
      local unit <const> = string.unpack(format, bytes, i * 2 - 1)
      if high and unit >= 0xDC00 and unit < 0xE000 then
        out[#out + 1] = utf8.char(0x10000 + ((high - 0xD800) << 10) + unit - 0xDC00)
        high = nil
      else
        if high then out[#out + 1] = "\u{FFFD}" end
        high = unit >= 0xD800 and unit < 0xDC00 and unit or nil
        if not high then out[#out + 1] = utf8.char(unit >= 0xDC00 and unit < 0xE000 and 0xFFFD or unit) end
      end
    end
    return table.concat(out)
  end
end

-- Makes a CSV row's fields UTF-8 in place.
local function to_utf8(self, row, line)
  for i = 1, #row do
    if self.encoding == "windows-1252" then
      row[i] = from_1252(row[i])
    elseif not utf8.len(row[i]) then
      if self.encoding == "utf-8" then
        fail("encoding", string.format("%s, line %d: field %d is not valid UTF-8", self.name, line, i),
          "give encoding = \"windows-1252\" when it is that")
      end
      row[i] = from_1252(row[i])
      self.repaired = self.repaired + 1
    end
  end
end

---- text ----

-- Bytes read ahead, then the rest.
local function replay(head, pull)
  local first = head
  return function()
    local chunk <const> = first or pull()
    first = nil
    return chunk
  end
end

local function read_ahead(pull, want)
  local parts <const>, n = {}, 0
  local ended = false
  while n < want do
    local chunk <const> = pull()
    if chunk == nil then
      ended = true
      break
    end
    parts[#parts + 1] = chunk
    n = n + #chunk
  end
  return table.concat(parts), ended
end

local function csv_options(delimiter)
  return { delimiter = delimiter, lax = true, ragged = true, encoding = "bytes" }
end

-- The first rows of the text, read with a delimiter. The text may be cut anywhere, so an error is its end.
local function first_rows(head, delimiter)
  local rows <const> = {}
  local reader <close> = csv.reader(head, csv_options(delimiter))
  pcall(function()
    for row in reader do
      rows[#rows + 1] = row
      if #rows == HEADER_ROWS then break end
    end
  end)
  return rows
end

-- The delimiter that finds a header, by how many columns it recognises; without one that with the most fields.
local function sniff(head, score)
  local best, best_score, widest, width = nil, 0, ",", 0
  for _, delimiter in ipairs(DELIMITERS) do
    for _, row in ipairs(first_rows(head, delimiter)) do
      local s <const> = score(row)
      if s > best_score then best, best_score = delimiter, s end
      if #row > width then widest, width = delimiter, #row end
    end
  end
  return best or widest
end

local function looks_like(head)
  local start <const> = head:gsub("^\xEF\xBB\xBF", ""):match("^%s*(.-)$"):sub(1, 64):lower()
  if start:find("^<!doctype html") or start:find("^<html") then return "an HTML page (of a login, perhaps)" end
  if start:find("^<") then return "an XML or HTML document" end
  if start:find("^%%pdf") then return "a PDF document" end
  if start:find('^{%s*"') or start:find('^%[%s*[{"]') then return "JSON" end
  return nil
end

local function open_text(self, head, ended, pull)
  local format <const> = head:find("^\xFF\xFE") and "<I2" or head:find("^\xFE\xFF") and ">I2"
  local text = replay(head, ended and function() end or pull)
  if format then
    text = from_utf16(self.name, text, format)
    head, ended = read_ahead(text, HEAD)
    text = replay(head, ended and function() end or text)
  end
  if head:find("\0", 1, true) and not format then
    fail("format", self.name .. ": this is neither a workbook (.xlsx) nor text (CSV, TSV); it has zero bytes in it")
  end
  local other <const> = looks_like(head)
  if other then
    fail("format", self.name .. ": this is neither a workbook (.xlsx) nor CSV but " .. other, nil,
      "it begins: " .. head:sub(1, 80):gsub("%c", " "))
  end
  self.delimiter = sniff(head:sub(1, HEAD), self.score)
  self.format = self.delimiter == "\t" and "tsv" or "csv"
  local reader <const> = csv.reader(text, csv_options(self.delimiter))
  self.closes = { reader }
  self.pull = function()
    local row <const>, line <const> = reader()
    if row then
      to_utf8(self, row, line)
      row.n = #row
    end
    return row, line
  end
end

---- workbooks ----

local function plugin()
  local ok <const>, xlsx <const> = pcall(require, "xlsx")
  if ok then return xlsx end
  fail("plugin", "reading workbooks (.xlsx) needs the plugin xlsx: " .. tostring(xlsx):match("[^\n]*"),
    "run make; or give the file as CSV")
end

-- A zip archive is read from its end: what comes by a stream goes into a temporary file first.
local function open_workbook(self, head, ended, pull, opts)
  local xlsx <const> = plugin()
  local file <const> = fs.tempfile()
  self.closes = { file }
  local n = 0
  local bytes <const> = replay(head, ended and function() end or pull)
  for chunk in bytes do
    n = n + #chunk
    if n > opts.max_bytes then
      fail("max_bytes", string.format("%s: the workbook is larger than max_bytes = %d", self.name, opts.max_bytes))
    end
    file:write(chunk)
  end
  local book <const> = xlsx.open(file.path, { name = self.name })
  table.insert(self.closes, 1, book)
  local wanted, first
  for i, s in ipairs(book:sheets()) do
    if s.cells then
      if opts.sheet and s.name:lower() == opts.sheet:lower() then wanted = wanted or i end
      if s.state == "visible" then first = first or i end
    end
  end
  local index <const> = wanted or first or 1
  self.format = "xlsx"
  self.sheet = book:sheets()[index].name
  local rows <const> = book:rows(index, { errors = "nil" })
  table.insert(self.closes, 1, rows)
  self.pull = rows
  self.uncalculated = function() return rows:uncalculated() end
end

---- opening ----

local methods <const> = {}
methods.__index = methods

-- opts: { name, score = function(cells) -> how many columns of a header they are, 0 = none; sheet = the preferred sheet's
-- name, encoding = "auto"|"utf-8"|"windows-1252", max_bytes }. pull gives the bytes, decompressed.
function sheet.open(pull, opts)
  local self <const> = setmetatable({ name = opts.name, score = opts.score, encoding = opts.encoding or "auto",
    repaired = 0, closes = {} }, methods)
  local ok <const>, err <const> = pcall(function()
    local head <const>, ended <const> = read_ahead(pull, HEAD)
    if head == "" then
      self.format, self.pull = "empty", function() end
    elseif head:find("^PK") or head:sub(1, 4) == OLE or head:find("^\x09[\x02\x04\x08]\x00") then
      open_workbook(self, head, ended, pull, opts)
    else
      open_text(self, head, ended, pull)
    end
  end)
  if not ok then
    self:close()
    error(err, 0)
  end
  return self
end

-- Reads down to the header: its cells; nil and the rows that were seen when there is none.
function methods:header()
  local seen <const> = {}
  for row in self.pull do
    if self.score(row) > 0 then return row end
    seen[#seen + 1] = row
    if #seen == HEADER_ROWS then break end
  end
  return nil, seen
end

-- The next row { ..., n = }, and its number (sheets) or line (text).
function methods:next()
  return self.pull()
end

function methods:close()
  local list <const> = self.closes
  self.closes = {}
  for _, thing in ipairs(list) do thing:close() end
end

methods.__close = methods.close

return sheet
