-- garun.pg.text: names and constants as SQL text, for the places where $1 cannot stand.

local errors <const> = require "garun.error"

local M <const> = {}

local function check(fn, value, what)
  if type(value) ~= "string" then
    error(errors.new { kind = "usage",
      message = string.format("%s: %s must be a string, got %s", fn, what, type(value)) }, 0)
  end
  if value:find("\0", 1, true) or not utf8.len(value) then
    error(errors.new { kind = "usage", message = string.format("%s: %s has a NUL byte or is not UTF-8", fn, what) }, 0)
  end
  return value
end

function M.ident(...)
  local parts <const> = table.pack(...)
  if parts.n == 0 then check("pg.ident", nil, "a name") end
  for i = 1, parts.n do
    local name <const> = check("pg.ident", parts[i], "a name")
    if name == "" then error(errors.new { kind = "usage", message = "pg.ident: a name is empty" }, 0) end
    parts[i] = '"' .. name:gsub('"', '""') .. '"'
  end
  return table.concat(parts, ".")
end

function M.literal(value)
  if value == nil then return "NULL" end
  if type(value) == "boolean" then return tostring(value) end
  if math.type(value) == "integer" then return string.format("%d", value) end
  if type(value) == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      return value ~= value and "'NaN'" or value > 0 and "'Infinity'" or "'-Infinity'"
    end
    return string.format("%.17g", value)
  end
  local text <const> = check("pg.literal", value, "the value"):gsub("'", "''")
  -- E'' says what a backslash means whatever standard_conforming_strings is.
  if text:find("\\", 1, true) then return " E'" .. text:gsub("\\", "\\\\") .. "'" end
  return "'" .. text .. "'"
end

-- A table as db:copy_in takes it: "t", "schema.t", or what pg.ident made.
function M.table_name(fn, name)
  check(fn, name, "the table's name")
  if name:sub(1, 1) == '"' then return name end
  local parts <const> = {}
  for part in (name .. "."):gmatch("(.-)%.") do parts[#parts + 1] = part end
  return M.ident(table.unpack(parts))
end

return M
