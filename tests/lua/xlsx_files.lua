-- Workbooks for the tests of xlsx, byte by byte: a zip writer, the parts of a small workbook, and openpyxl as the oracle.

local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local json <const> = require "garun.json"
local t <const> = require "garun.test"

local files <const> = {}

local crc_table <const> = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do c = c & 1 == 1 and c >> 1 ~ 0xEDB88320 or c >> 1 end
  crc_table[i] = c
end

local function crc32(s)
  local c = 0xFFFFFFFF
  for i = 1, #s do c = crc_table[(c ~ s:byte(i)) & 0xFF] ~ c >> 8 end
  return c ~ 0xFFFFFFFF
end

-- A zip archive of { { name, bytes, deflate = true, crc = n, flags = n }, ... }.
function files.zip(entries)
  local out <const>, directory <const>, at = {}, {}, 0
  for _, e in ipairs(entries) do
    local name <const>, plain <const> = e[1], e[2]
    local data <const> = e.deflate and gzip.compress(plain, { format = "raw", level = 9 }) or plain
    local fields <const> = string.pack("<I2I2I2I2I2I4I4I4I2I2", 20, e.flags or 0, e.deflate and 8 or 0, 0, 33,
      e.crc or crc32(plain), #data, #plain, #name, 0)
    local entry <const> = "PK\3\4" .. fields .. name .. data
    directory[#directory + 1] = "PK\1\2" .. string.pack("<I2", 20) .. fields .. string.pack("<I2I2I2I4I4", 0, 0, 0, 0, at) .. name
    out[#out + 1] = entry
    at = at + #entry
  end
  local tail <const> = table.concat(directory)
  return table.concat(out) .. tail .. "PK\5\6" .. string.pack("<I2I2I2I2I4I4I2", 0, 0, #entries, #entries, #tail, at, 0)
end

local MAIN <const> = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
local RELATIONS <const> = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

function files.relations(list)
  local out <const> = { '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">' }
  for i, r in ipairs(list) do
    out[#out + 1] = string.format('<Relationship Id="r%d" Type="%s/%s" Target="%s"/>', i, r.base or RELATIONS, r[1], r[2])
  end
  return table.concat(out) .. "</Relationships>"
end

-- The XML of a sheet around its rows.
function files.sheet(rows)
  return '<?xml version="1.0" encoding="UTF-8"?>\n<worksheet xmlns="' .. MAIN .. '"><sheetData>' .. rows .. "</sheetData></worksheet>"
end

-- A workbook of one sheet 'S': opts.rows (or opts.sheet, the whole part), opts.strings, opts.styles (insides), and opts.parts
-- to replace or (false) drop parts; entries' options under opts.entry[name].
function files.book(opts)
  local parts <const> = {
    ["_rels/.rels"] = files.relations { { "officeDocument", "xl/workbook.xml" } },
    ["xl/workbook.xml"] = '<workbook xmlns="' .. MAIN .. '" xmlns:r="' .. RELATIONS .. '">' .. (opts.workbook or "")
      .. '<sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
    ["xl/_rels/workbook.xml.rels"] = files.relations { { "worksheet", "worksheets/sheet1.xml" }, { "sharedStrings", "sharedStrings.xml" },
      { "styles", "styles.xml" } },
    ["xl/worksheets/sheet1.xml"] = opts.sheet or files.sheet(opts.rows or ""),
    ["xl/sharedStrings.xml"] = '<sst xmlns="' .. MAIN .. '">' .. (opts.strings or "") .. "</sst>",
    ["xl/styles.xml"] = '<styleSheet xmlns="' .. MAIN .. '">' .. (opts.styles or "") .. "</styleSheet>",
  }
  for name, bytes in pairs(opts.parts or {}) do parts[name] = bytes end
  local names <const>, entries <const> = {}, {}
  for name, bytes in pairs(parts) do
    if bytes then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    entries[i] = { name, parts[name], deflate = opts.deflate }
    for k, v in pairs(opts.entry and opts.entry[name] or {}) do entries[i][k] = v end
  end
  return files.zip(entries)
end

-- Runs Python with openpyxl imported as o; arguments are sys.argv[1:]. What it prints as JSON comes back decoded.
function files.python(code, ...)
  local r <const> = t.run { "/usr/bin/python3", "-c", "import openpyxl as o, sys, json, datetime\n" .. code, ... }
  if r.status ~= 0 then error("python: " .. r.stderr, 2) end
  return r.stdout ~= "" and json.decode(r.stdout, { nulls = true }) or nil
end

function files.path(name, bytes)
  local path <const> = t.tmpdir() .. "/" .. name
  if bytes then fs.write(path, bytes) end
  return path
end

return files
