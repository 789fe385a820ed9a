-- garun.plan: packs a load plan for the worker (encode/plan.h has the format and checks it again).
--
-- A plan says what becomes of a record: the tables, where each column comes from, what makes two records the same. It
-- is all that the worker knows of a load: no name of a source or of a column is built in there.

local errors <const> = require "garun.error"

local plan <const> = {}

local TYPES <const> = { text = 0, varchar = 1, bpchar = 2, int2 = 3, int4 = 4, int8 = 5, numeric = 6, float4 = 7,
  float8 = 8, bool = 9, date = 10, timestamp = 11, timestamptz = 12, uuid = 13, json = 14, jsonb = 15 }
local SQL_NAMES <const> = { ["character varying"] = "varchar", character = "bpchar", char = "bpchar",
  smallint = "int2", integer = "int4", int = "int4", bigint = "int8", decimal = "numeric", real = "float4",
  ["double precision"] = "float8", boolean = "bool", ["timestamp without time zone"] = "timestamp",
  ["timestamp with time zone"] = "timestamptz", citext = "text" }
local NUMBERS <const> = { int2 = true, int4 = true, int8 = true, numeric = true, float4 = true, float8 = true }
local KINDS <const> = { text = 0, number = 1, int = 1, json = 2 }
local UNITS <const> = { s = 1, ms = 1000, us = 1000000 }
local MAX_LINE <const> = 16 << 20

local function fail(code, message, ...)
  error(errors.new { kind = "plan", code = code, message = message:format(...) }, 0)
end

local function sorted_keys(t)
  local keys <const> = {}
  for k in pairs(t) do keys[#keys + 1] = tostring(k) end
  table.sort(keys)
  return keys
end

local function check_keys(where, t, names)
  if type(t) ~= "table" then fail("usage", "%s must be a table, not %s", where, type(t)) end
  return errors.check_options(where, t, names)
end

local function one_of(where, value, choices)
  local n <const> = choices[value]
  if n then return n end
  local near <const> = type(value) == "string" and errors.nearest(value, sorted_keys(choices))
  fail("usage", "%s is %s; it is one of %s%s", where, tostring(value), table.concat(sorted_keys(choices), ", "),
    near and " (did you mean " .. near .. "?)" or "")
end

-- ---- paths ----

-- A bare name ends at a character of the syntax; a quoted one takes anything, with \" and \\.
local function read_name(text, at, stop)
  if text:sub(at, at) == '"' then
    local parts, i = {}, at + 1
    while true do
      local c = text:sub(i, i)
      if c == "" then return nil end
      if c == '"' then return table.concat(parts), i + 1 end
      if c == "\\" then
        i = i + 1
        c = text:sub(i, i)
      end
      parts[#parts + 1] = c
      i = i + 1
    end
  end
  local name <const>, after <const> = text:match("^([^" .. stop .. "]+)()", at)
  return name, after
end

-- Reads what stands between brackets: an index, key=value, key~value. Returns a step and the position behind "]".
local function read_brackets(text, at)
  local index <const>, after <const> = text:match("^(%d+)%]()", at)
  if index then
    local n <const> = math.tointeger(tonumber(index))
    if not n or n > 0xFFFFFFFF then return nil end
    return { index = n }, after
  end
  local name <const>, i <const> = read_name(text, at, "=~%]%[\"")
  local operator <const> = name and text:match("^[=~]", i)
  if not operator then return nil end
  local value <const>, j <const> = read_name(text, i + 1, "%]\"")
  if not value or text:sub(j, j) ~= "]" then return nil end
  return { name = name, value = value, fold = operator == "~" }, j + 1
end

function plan.parse_path(text)
  if type(text) ~= "string" then fail("path", "a path must be a string, not %s", type(text)) end
  local steps <const> = {}
  if text == "." then return steps end
  local at = 1
  local function bad(why)
    fail("path", "the path %q is malformed at character %d: %s", text, at, why)
  end
  if text == "" then bad("it is empty; the whole record is \".\"") end
  while at <= #text do
    local c <const> = text:sub(at, at)
    if c == "[" then
      local step <const>, after <const> = read_brackets(text, at + 1)
      if not step then bad("an index [0] or a look-up [key=value] or [key~value] is expected") end
      steps[#steps + 1] = step
      at = after
    else
      if #steps > 0 then
        if c ~= "." then bad("a dot or a bracket is expected") end
        at = at + 1
      end
      local name <const>, after <const> = read_name(text, at, ".%[%]\"")
      if not name then bad("a member's name is expected (quote odd ones: a.\"x.y\")") end
      steps[#steps + 1] = { name = name }
      at = after
    end
  end
  if #steps > 32 then bad("it has more than 32 steps") end
  return steps
end

-- ---- types ----

function plan.parse_type(text)
  if type(text) ~= "string" then fail("type", "a column's type must be a string, not %s", type(text)) end
  local lower <const> = text:lower()
  local base = lower:gsub("%s*%b()", ""):gsub("^%s+", ""):gsub("%s+$", "")
  local a <const>, b <const> = lower:match("%(%s*(%d+)%s*,?%s*(%-?%d*)%s*%)")
  base = SQL_NAMES[base] or base
  if not TYPES[base] then
    fail("type", "columns of type %s cannot be loaded; the types are %s", text, table.concat(sorted_keys(TYPES), ", "))
  end
  local type_ <const> = { name = base }
  if base == "varchar" or base == "bpchar" then
    type_.length = math.tointeger(tonumber(a))
    -- SQL: character without a length is character(1); bpchar without one is unbounded
    if base == "bpchar" and not a and not lower:find("bpchar", 1, true) then type_.length = 1 end
  elseif base == "numeric" and a then
    type_.precision, type_.scale = math.tointeger(tonumber(a)), math.tointeger(tonumber(b)) or 0
  end
  return type_
end

-- ---- packing ----

local function text(s) return string.pack("<s4", s) end

-- Collects each path once; alternatives refer to them by number.
local function path_list()
  local packed <const>, known <const> = {}, {}
  local function add(path)
    if known[path] then return known[path] end
    local steps <const>, out <const> = plan.parse_path(path), {}
    out[1] = string.pack("<B", #steps)
    for _, step in ipairs(steps) do
      if step.index then
        out[#out + 1] = string.pack("<BI4", 1, step.index)
      elseif step.value then
        out[#out + 1] = string.pack("<Bs4s4", step.fold and 3 or 2, step.name, step.value)
      else
        out[#out + 1] = string.pack("<Bs4", 0, step.name)
      end
    end
    packed[#packed + 1] = table.concat(out)
    known[path] = #packed - 1
    return known[path]
  end
  return add, packed
end

-- A CSV column is named as it is: "Unit.Price [EUR]" is no path there.
local function csv_path_list(fields, where)
  local packed <const>, known <const>, names <const> = {}, {}, {}
  for _, f in ipairs(fields) do names[f] = true end
  local function add(path)
    if known[path] then return known[path] end
    if path ~= "." and not names[path] then
      local near <const> = errors.nearest(path, fields)
      fail("column", "%s has no column %q%s", where, path, near and "; the nearest is " .. near or "")
    end
    packed[#packed + 1] = path == "." and string.pack("<B", 0) or string.pack("<BBs4", 1, 0, path)
    known[path] = #packed - 1
    return known[path]
  end
  return add, packed
end

local function pack_alternatives(where, list, default, add)
  if type(list) == "string" or (type(list) == "table" and list.path) then list = { list } end
  if type(list) ~= "table" then fail("usage", "%s must be a path or a list of paths", where) end
  if #list > 32 then fail("usage", "%s has more than 32 alternatives", where) end
  local out <const> = { string.pack("<B", #list) }
  for i, item in ipairs(list) do
    local kind = default
    if type(item) == "table" then
      check_keys(where, item, { "path", "as" })
      if item.as ~= nil then kind = item.as end
      item = item.path
    end
    if type(item) ~= "string" then fail("usage", "%s: alternative %d is no path", where, i) end
    out[#out + 1] = string.pack("<I2B", add(item), one_of(where .. ".as", kind, KINDS))
  end
  return table.concat(out)
end

local COLUMN_KEYS <const> = { "name", "type", "length", "precision", "scale", "from", "constant", "uuid", "default",
  "not_null", "too_long", "bad", "trim", "empty", "unit" }

local function pack_column(where, column, add)
  check_keys(where, column, COLUMN_KEYS)
  if type(column.name) ~= "string" then fail("usage", "%s has no name", where) end
  where = where .. " (" .. column.name .. ")"
  local t <const> = plan.parse_type(column.type)
  local a, b = 0, 0
  if t.name == "varchar" or t.name == "bpchar" then
    a = column.length or t.length or 0
  elseif t.name == "numeric" then
    a, b = column.precision or t.precision or 0, column.scale or t.scale or 0
  end
  local sources <const> = (column.from ~= nil and 1 or 0) + (column.constant ~= nil and 1 or 0) +
    (column.uuid and 1 or 0)
  if sources > 1 then fail("usage", "%s: give one of from, constant and uuid", where) end
  if sources == 0 and column.default == nil then
    fail("usage", "%s has no source: give from, constant, uuid or default", where)
  end
  if column.uuid and t.name ~= "uuid" and t.name ~= "text" and not (t.name == "varchar" and (a == 0 or a >= 36)) then
    fail("usage", "%s: a UUID does not fit into %s", where, column.type)
  end
  local too_long <const> = one_of(where .. ".too_long", column.too_long or "cut", { cut = 0, reject = 2 })
  local bad <const> = one_of(where .. ".bad", column.bad or (NUMBERS[t.name] and "null" or "reject"),
    { null = 0, reject = 4 })
  local empty <const> = one_of(where .. ".empty", column.empty or "keep", { keep = 0, null = 16 })
  local flags <const> = (column.not_null and 1 or 0) | too_long | bad | (column.trim and 8 or 0) | empty |
    (column.default ~= nil and 32 or 0)
  local json <const> = t.name == "json" or t.name == "jsonb"
  local source <const> = column.constant ~= nil and 1 or column.uuid and 2 or 0
  return table.concat {
    string.pack("<s4BBi4i4I2I4s4s4", column.name, source, TYPES[t.name], a, b, flags,
      one_of(where .. ".unit", column.unit or "us", UNITS), column.constant ~= nil and tostring(column.constant) or "",
      column.default ~= nil and tostring(column.default) or ""),
    pack_alternatives(where .. ".from", column.from or {}, json and "json" or NUMBERS[t.name] and "number" or "text",
      add),
  }
end

local function pack_table(where, spec, add)
  check_keys(where, spec, { "name", "columns", "partition" })
  if type(spec.columns) ~= "table" or #spec.columns == 0 then fail("usage", "%s has no columns", where) end
  local out <const>, numbers <const> = {}, {}
  for i, column in ipairs(spec.columns) do
    out[#out + 1] = pack_column(("%s.columns[%d]"):format(where, i), column, add)
    numbers[column.name] = i
  end
  local partition = spec.partition
  if type(partition) == "string" then
    partition = numbers[partition] or
      fail("usage", "%s.partition: %s is none of its columns", where, spec.partition)
  elseif partition ~= nil and not (math.type(partition) == "integer" and spec.columns[partition]) then
    fail("usage", "%s.partition must be one of its columns, by name or number from 1", where)
  end
  return string.pack("<s4I2I2", tostring(spec.name or ""), partition or 0, #spec.columns) .. table.concat(out)
end

local function pack_list(list, pack_one)
  local out <const> = { string.pack("<I2", #list) }
  for i, item in ipairs(list) do out[#out + 1] = pack_one(item, i) end
  return table.concat(out)
end

local function pack_route(route, tables, add)
  if route == nil then return string.pack("<BI2", 0, 0) end
  check_keys("plan.route", route, { "from", "values" })
  if type(route.values) ~= "table" then fail("usage", "plan.route.values must be a table") end
  local numbers <const>, out <const> = {}, {}
  for i, t in ipairs(tables) do
    if t.name then numbers[t.name] = i end
  end
  local names <const> = {}
  for value in pairs(route.values) do
    if type(value) ~= "string" then fail("usage", "plan.route.values: %s is no string", tostring(value)) end
    names[#names + 1] = value
  end
  table.sort(names)      -- the same plan gives the same bytes
  for _, value in ipairs(names) do
    local target <const> = route.values[value]
    local n <const> = numbers[target] or target
    if math.type(n) ~= "integer" or not tables[n] then
      fail("usage", "plan.route.values: %s leads to no table (%s)", value, tostring(target))
    end
    out[#out + 1] = string.pack("<s4I2", value, n - 1)
  end
  local from <const> = pack_alternatives("plan.route.from", route.from, "text", add)
  if from:byte() == 0 then fail("usage", "plan.route.from is empty") end
  return from .. string.pack("<I2", #names) .. table.concat(out)
end

local function pack_dedup(dedup, add)
  if dedup == nil then return "\0" end
  check_keys("plan.dedup", dedup, { "key", "unless_null", "seed" })
  if dedup.seed ~= nil and math.type(dedup.seed) ~= "integer" then
    fail("usage", "plan.dedup.seed must be an integer")
  end
  local function one(where)
    return function(item, i) return pack_alternatives(("%s[%d]"):format(where, i), item, "number", add) end
  end
  return string.pack("<Bi8", 1, dedup.seed or 0) .. pack_list(dedup.key or {}, one "plan.dedup.key") ..
    pack_list(dedup.unless_null or {}, one "plan.dedup.unless_null")
end

local function pack_bound(where, value)
  if value ~= nil and type(value) ~= "string" then fail("usage", "%s must be a string", where) end
  return string.pack("<Bs4", value and 1 or 0, value or "")
end

local function pack_format(spec)
  local csv <const> = spec.csv or {}
  local format <const> = one_of("plan.format", spec.format or (spec.csv and "csv" or "ndjson"), { ndjson = 0, csv = 1 })
  check_keys("plan.csv", csv, { "columns", "delimiter", "quote" })
  local delimiter <const>, quote <const> = csv.delimiter or ",", csv.quote or '"'
  local columns <const> = csv.columns or {}
  if format == 1 then
    if #delimiter ~= 1 or delimiter:byte() >= 0x80 or delimiter:find("[%z\r\n]") then
      fail("usage", "plan.csv.delimiter must be one ASCII character, not %q", delimiter)
    end
    if #quote > 1 or quote:find("[\x80-\xFF\r\n]") or quote == delimiter then
      fail("usage", "plan.csv.quote must be one ASCII character other than the delimiter, or \"\" for none")
    end
    if #columns == 0 then fail("usage", "plan.csv.columns is empty") end
    if #columns > 1664 then fail("usage", "plan.csv.columns has more than 1664 names") end
  end
  local max_line <const> = spec.max_line or MAX_LINE
  if math.type(max_line) ~= "integer" or max_line < 1 or max_line > MAX_LINE then
    fail("usage", "plan.max_line must be between 1 and %d", MAX_LINE)
  end
  return format == 1, columns, string.pack("<BBBI4", format, delimiter:byte(), quote:byte() or 0, max_line) ..
    pack_list(columns, text)
end

function plan.pack(spec)
  check_keys("plan", spec, { "format", "csv", "max_line", "route", "dedup", "range", "tables" })
  if type(spec.tables) ~= "table" or #spec.tables == 0 then fail("usage", "the plan has no tables") end
  local range <const> = check_keys("plan.range", spec.range or {}, { "min", "max" })
  local csv <const>, fields <const>, format <const> = pack_format(spec)
  local add, paths
  if csv then add, paths = csv_path_list(fields, "the file") else add, paths = path_list() end
  local route <const> = pack_route(spec.route, spec.tables, add)
  local dedup <const> = pack_dedup(spec.dedup, add)
  local tables <const> = pack_list(spec.tables, function(t, i)
    return pack_table(("plan.tables[%d]"):format(i), t, add)
  end)
  if #paths > 4096 then fail("usage", "the plan has more than 4096 paths") end
  return table.concat { "GPLN\1", format, string.pack("<I2", #paths), table.concat(paths), route, dedup,
    pack_bound("plan.range.min", range.min), pack_bound("plan.range.max", range.max), tables }
end

return plan
