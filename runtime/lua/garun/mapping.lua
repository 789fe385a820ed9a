-- garun.mapping: where each column of each table comes from. Declared once in Lua, checked against the live tables, and
-- packed as the plan that the worker runs (garun.plan).
--
-- pipeline.mapping{ name, format, route, partition, duplicates, columns, tables } makes one; mapping:bind(db) looks the
-- tables up in pg_catalog and gives what a load needs. See scripts/mappings/ga4.lua for a full example.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local pg <const> = require "garun.pg"
local plan <const> = require "garun.plan"

local mapping <const> = {}
local methods <const> = {}
methods.__index = methods
methods.__name = "garun.mapping"

local bound_methods <const> = {}
bound_methods.__index = bound_methods

-- Markers for columns that come from no path.
local marker <const> = {}
mapping.uuid = setmetatable({ uuid = true }, marker)            -- a new time-ordered UUID for each row
mapping.record = setmetatable({ from = "." }, marker)           -- the whole record

function mapping.const(value) return setmetatable({ constant = value }, marker) end
function mapping.param(name) return setmetatable({ param = name }, marker) end    -- bind's params[name]

local function fail(name, message, ...)
  error(errors.new { kind = "mapping", message = string.format("mapping %s: ", name) .. message:format(...) }, 0)
end

function mapping.is(v)
  return getmetatable(v) == methods
end

---- declaration ----

local column_options <const> = { id = true, default = true, bad = true, trim = true, empty = true, unit = true }

-- "a.b:number" -> { path = "a.b", as = "number" }
local function alternative(text)
  local path <const>, as <const> = text:match("^(.*):(%l+)$")
  if as == "number" or as == "json" or as == "text" then return { path = path, as = as } end
  return { path = text }
end

-- Brings what a person writes for a column into the form of garun.plan, without name and type.
local function column(where, spec, csv)
  if getmetatable(spec) == marker then
    return { uuid = spec.uuid, from = spec.from, constant = spec.constant, param = spec.param }
  end
  if type(spec) == "string" then spec = { spec } end
  if type(spec) ~= "table" then fail(where, "a path or a list of paths is expected, got %s", type(spec)) end
  local out <const> = { from = {} }
  for k, v in pairs(spec) do
    if math.type(k) == "integer" then
      if type(v) ~= "string" then fail(where, "path %d is no string", k) end
      out.from[k] = csv and { path = v } or alternative(v)
    elseif not column_options[k] then
      local near <const> = errors.nearest(tostring(k), { "id", "default", "bad", "trim", "empty", "unit" })
      fail(where, "unknown option '%s'%s", tostring(k), near and "; did you mean '" .. near .. "'?" or "")
    end
  end
  out.too_long = spec.id and "reject" or nil
  out.default, out.bad, out.trim, out.empty, out.unit = spec.default, spec.bad, spec.trim, spec.empty, spec.unit
  return out
end

local spec_keys <const> = { "name", "format", "route", "partition", "duplicates", "columns", "tables", "table",
  "delimiter", "quote", "header", "fields" }

function mapping.new(spec)
  spec = errors.check_options("pipeline.mapping", spec, spec_keys)
  local name <const> = spec.name or spec.table or "without a name"
  local format <const> = spec.format or "ndjson"
  if format ~= "ndjson" and format ~= "csv" then fail(name, "format must be ndjson or csv, got %s", tostring(format)) end
  local csv <const> = format == "csv"
  if (spec.tables == nil) == (spec.table == nil) then fail(name, "give 'table', the name, or 'tables'") end
  if spec.table and not spec.columns then fail(name, "'columns' is missing") end
  local self <const> = setmetatable({
    name = name, route = spec.route, partition = spec.partition, duplicates = spec.duplicates, columns = {}, names = {},
    format = { csv = csv, header = csv and spec.header ~= false, fields = spec.fields,
      delimiter = spec.delimiter or ",", quote = spec.quote or '"' },
  }, methods)
  if csv and not self.format.header and not spec.fields then
    fail(name, "a CSV without a header needs 'fields', the list of its columns")
  end
  for table_name, extra in pairs(spec.tables or { [spec.table] = {} }) do
    local columns <const> = {}
    for _, part in ipairs { spec.columns or {}, extra } do
      for c, v in pairs(part) do columns[c] = column(string.format("%s, column %s.%s", name, table_name, c), v, csv) end
    end
    self.columns[table_name] = columns
    self.names[#self.names + 1] = table_name
  end
  table.sort(self.names)
  return self
end

---- binding ----

local function catalog(db, name, table_name)
  local rows <const> = db:query([[
    select a.attname as name, format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid),
             case when t.typbasetype <> 0 then t.typtypmod else a.atttypmod end) as type,
           a.attnotnull or t.typnotnull as not_null, a.atthasdef or a.attidentity <> '' as has_default,
           a.attgenerated <> '' as generated
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum]], pg.ident(table_name))
  if #rows == 0 then fail(name, "there is no table %s in this database (garun init_db.lua makes the schema)", table_name) end
  return rows
end

-- A column that the mapping names and the table lacks; the names of those that it has.
local function check_names(self, table_name, live)
  local names <const>, has <const> = {}, {}
  for i, c in ipairs(live) do names[i], has[c.name] = c.name, true end
  for c in pairs(self.columns[table_name]) do
    if not has[c] then
      local near <const> = errors.nearest(c, names)
      fail(self.name, "table %s has no column %s%s", table_name, c, near and "; did you mean " .. near .. "?" or "")
    end
  end
  return has
end

local function bind_table(self, db, table_name, params)
  local columns <const>, copied <const>, live <const> = {}, {}, catalog(db, self.name, table_name)
  local has <const> = check_names(self, table_name, live)
  for _, c in ipairs(live) do
    local from <const> = self.columns[table_name][c.name]
    if from then
      if c.generated then fail(self.name, "column %s.%s is generated and cannot be loaded", table_name, c.name) end
      local out <const> = { name = c.name, type = c.type, not_null = c.not_null }
      for k, v in pairs(from) do out[k] = v end
      if from.param then
        out.param, out.constant = nil, params[from.param]
        if out.constant == nil then fail(self.name, "parameter '%s' of column %s is not given", from.param, c.name) end
      end
      columns[#columns + 1] = out
      copied[#copied + 1] = c.name
    elseif c.not_null and not c.has_default then
      fail(self.name, "column %s.%s is NOT NULL without a default, and the mapping does not say where it comes from",
        table_name, c.name)
    end
  end
  return { name = table_name, target = pg.ident(table_name), names = copied, columns = columns,
    partition = self.partition and has[self.partition] and self.partition or nil }
end

local function paths(list)
  local out <const> = {}
  for i, p in ipairs(list or {}) do out[i] = alternative(p) end
  return out
end

-- Looks the tables up; opts: range { from, to } bounds the partition's text, params fills pipeline.param columns.
-- Raises when a table or column is missing or of a type that cannot be loaded.
function methods:bind(db, opts)
  opts = errors.check_options("mapping:bind", opts, { "range", "params" })
  local bound <const> = setmetatable({ format = self.format, partition = self.partition, tables = {}, mapping = self,
    range = opts.range and { min = opts.range.from, max = opts.range.to } or nil }, bound_methods)
  for i, name in ipairs(self.names) do bound.tables[i] = bind_table(self, db, name, opts.params or {}) end
  if self.duplicates then
    local d <const> = errors.check_options("mapping.duplicates", self.duplicates, { "key", "whole_without" })
    bound.dedup = { key = paths(d.key), unless_null = paths(d.whole_without),
      seed = (string.unpack("<i8", crypto.random(8))) }
  end
  if self.route then
    bound.route = { from = paths(type(self.route.from) == "table" and self.route.from or { self.route.from }), values = {} }
    for value, table_name in pairs(self.route) do
      if value ~= "from" then bound.route.values[value] = table_name end
    end
  elseif #self.names > 1 then
    fail(self.name, "there are several tables and no route between them")
  end
  bound.digest = crypto.xxh128(bound:pack_for(bound:paths(), { seed = 0, whole = true }))
  return bound
end

-- All paths that columns name: for a CSV, the fields that the digest is made with.
function bound_methods:paths()
  local list <const>, seen <const> = {}, {}
  for _, t in ipairs(self.tables) do
    for _, c in ipairs(t.columns) do
      for _, alt in ipairs(type(c.from) == "table" and c.from or {}) do
        if not seen[alt.path] then
          seen[alt.path] = true
          list[#list + 1] = alt.path
        end
      end
    end
  end
  table.sort(list)
  return list
end

function bound_methods:pack_for(fields, fixed)
  local tables <const> = {}
  for i, t in ipairs(self.tables) do tables[i] = { name = t.name, columns = t.columns, partition = t.partition } end
  local dedup <const> = self.dedup and { key = self.dedup.key, unless_null = self.dedup.unless_null,
    seed = fixed and fixed.seed or self.dedup.seed }
  return plan.pack {
    format = self.format.csv and "csv" or "ndjson",
    csv = self.format.csv and { columns = fields, delimiter = self.format.delimiter, quote = self.format.quote } or nil,
    route = self.route, dedup = dedup, range = not (fixed and fixed.whole) and self.range or nil, tables = tables,
  }
end

-- The packed plan; for a CSV with a header, of a file with these fields.
function bound_methods:pack(fields, source_name)
  local ok <const>, packed <const> = pcall(self.pack_for, self, fields or self.format.fields)
  if ok then return packed end
  error(source_name and errors.wrap(packed, source_name) or packed, 0)
end

return mapping
