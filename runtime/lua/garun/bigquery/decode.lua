-- garun.bigquery.decode: cells of answers to Lua values, and Lua values to query parameters.
--
-- Exact: INT64 are integers to the last bit, NUMERIC and BIGNUMERIC stay text, TIMESTAMP is an integer of microseconds.

local crypto <const> = require "garun.crypto"
local fail <const> = require "garun.bigquery.fail"
local json <const> = require "garun.json"

local decode <const> = {}

---- answers ----

local function broken(name, kind, value)
  fail.raise { code = "answer", message = string.format("column %s holds %s, which is no %s", name,
    type(value) == "string" and "'" .. value:sub(1, 40) .. "'" or "a " .. type(value), kind) }
end

local function text(name, kind)
  return function(v)
    if type(v) ~= "string" then broken(name, kind, v) end
    return v
  end
end

local function integer(name, kind)
  return function(v)
    local n <const> = type(v) == "string" and v:find("^%-?%d+$") and tonumber(v)
    if math.type(n) ~= "integer" then broken(name, kind, v) end
    return n
  end
end

local special <const> = { NaN = 0 / 0, Infinity = math.huge, ["-Infinity"] = -math.huge, ["+Infinity"] = math.huge }

local function float(name, kind)
  return function(v)
    local n <const> = type(v) == "string" and (special[v] or tonumber(v))
    if not n then broken(name, kind, v) end
    return n + 0.0
  end
end

local function boolean(name, kind)
  return function(v)
    if v == "true" then return true end
    if v ~= "false" then broken(name, kind, v) end
    return false
  end
end

local function bytes(name, kind)
  return function(v)
    if type(v) ~= "string" then broken(name, kind, v) end
    return crypto.base64_decode(v)
  end
end

-- Answers use the old names, queries and some emulators the new ones.
local scalars <const> = { INTEGER = integer, INT64 = integer, FLOAT = float, FLOAT64 = float, BOOLEAN = boolean,
  BOOL = boolean, BYTES = bytes, TIMESTAMP = integer }

local record

local function value_of(field)
  local kind <const> = field.type
  local one
  if kind == "RECORD" or kind == "STRUCT" then
    one = record(field.fields or {}, field.name)
  else
    one = (scalars[kind] or text)(field.name, kind)
  end
  if field.mode ~= "REPEATED" then return one end
  return function(v)
    if type(v) ~= "table" then broken(field.name, "array", v) end
    local list <const> = json.array {}
    for i, cell in ipairs(v) do
      local e <const> = type(cell) == "table" and cell.v
      if e == nil then list[i] = json.null else list[i] = one(e) end
    end
    return list
  end
end

-- A function from { f = { { v = .. }, .. } } to a table by names; NULL members are absent.
function record(fields, name)
  local names <const>, values <const> = {}, {}
  for i, field in ipairs(fields) do names[i], values[i] = field.name, value_of(field) end
  return function(v)
    local cells <const> = type(v) == "table" and v.f
    if type(cells) ~= "table" or #cells ~= #names then broken(name, "record of " .. #names .. " columns", v) end
    local out <const> = {}
    for i, cell in ipairs(cells) do
      local c <const> = cell.v
      if c ~= nil then out[names[i]] = values[i](c) end
    end
    return out
  end
end

function decode.rows(schema)
  return record(type(schema) == "table" and schema.fields or {}, "(row)")
end

---- parameters ----

local scalar_types <const> = { string = "STRING", boolean = "BOOL" }

local function scalar_text(v)
  if v == nil or v == json.null then return nil end
  if type(v) ~= "number" then return tostring(v) end
  if v ~= v then return "NaN" end
  if v == math.huge then return "Infinity" end
  if v == -math.huge then return "-Infinity" end
  return math.type(v) == "integer" and tostring(v) or string.format("%.17g", v)
end

local function type_of(name, v)
  if math.type(v) == "integer" then return "INT64" end
  if math.type(v) == "float" then return "FLOAT64" end
  local kind <const> = scalar_types[type(v)]
  if not kind then
    fail.usage("client:query: parameter %s is a %s; give { type = \"DATE\", value = ... } for other types", name, type(v))
  end
  return kind
end

local function parameter(name, v)
  local kind, value = nil, v
  if type(v) == "table" and type(v.type) == "string" then
    kind, value = v.type:upper(), v.value
  end
  local element <const> = kind and kind:match("^ARRAY<(.+)>$")
  if kind and not element then
    return { type = kind }, { value = scalar_text(value) }
  end
  if type(value) == "table" then
    if not element and #value == 0 then
      fail.usage("client:query: parameter %s is an empty array; give { type = \"ARRAY<STRING>\", value = {} }", name)
    end
    local list <const> = json.array {}
    for i, e in ipairs(value) do list[i] = { value = scalar_text(e) } end
    return { type = "ARRAY", arrayType = { type = element or type_of(name, value[1]) } }, { arrayValues = list }
  end
  return { type = type_of(name, value) }, { value = scalar_text(value) }
end

-- The members of a request: named parameters from a table with names, positional ones from an array.
function decode.parameters(params)
  if params == nil then return nil, nil end
  if type(params) ~= "table" then fail.usage("client:query: params is a table, not a %s", type(params)) end
  local list <const> = json.array {}
  if #params > 0 then
    for i, v in ipairs(params) do
      local kind <const>, value <const> = parameter("#" .. i, v)
      list[i] = { parameterType = kind, parameterValue = value }
    end
    return list, "POSITIONAL"
  end
  local names <const> = {}
  for name in pairs(params) do
    if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
      fail.usage("client:query: '%s' is no name of a parameter", tostring(name))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local kind <const>, value <const> = parameter(name, params[name])
    list[i] = { name = name, parameterType = kind, parameterValue = value }
  end
  return #names > 0 and list or nil, #names > 0 and "NAMED" or nil
end

return decode
