-- garun.masterdata: users and locations from files (domain: sheets of an ERP, named and shaped as they like).
--
-- One file is one transaction: rows go by COPY into a temporary table, from there in one INSERT ... ON CONFLICT that
-- touches only what differs. Nothing is ever deleted: a file that lost its rows must not take the customers along.

local crypto <const> = require "garun.crypto"
local csv <const> = require "garun.csv"
local errors <const> = require "garun.error"
local ledger <const> = require "garun.ledger"
local pg <const> = require "garun.pg"
local rejects <const> = require "garun.rejects"
local sheet <const> = require "garun.masterdata.sheet"
local source <const> = require "garun.source"
local tenant_module <const> = require "garun.tenant"
local time <const> = require "garun.time"
local uuid <const> = require "garun.uuid"

local masterdata <const> = {}

-- The columns of a table and the headers that fill each, the first non-blank one wins; the first column is the id.
local kinds <const> = {
  users = { sheet = "User Report", columns = {
    { "user_id", "CIMM_USER_ID", "USER_ID" },
    { "buying_company_name", "BUYING_COMPANY_NAME", "CUSTOMER_NAME" },
    { "email", "EMAIL_ADDRESS", "EMAIL" },
    { "cell_phone", "CELL_PHONE", "MOBILE_PHONE" },
    { "office_phone", "PHONE_NUMBER", "OFFICE_PHONE" },
  } },
  locations = { sheet = "Locations", columns = {
    { "location_id", "WAREHOUSE_CODE", "LOCATION_ID", "BRANCH_CODE" },
    { "location_name", "WAREHOUSE_NAME", "LOCATION_NAME" },
    { "city", "CITY" },
    { "state", "STATE", "PROVINCE" },
  } },
}

local KEEP_REJECTS <const>, KEEP_DUPLICATES <const> = 20, 5
local PROGRESS_ROWS <const> = 1000
local MAX_BYTES <const> = 1 << 30

local function usage(message, hint)
  error(errors.new { kind = "usage", message = message, hint = hint }, 0)
end

---- headers ----

-- Without case, spaces and underscores; a no-break space is a space.
local function normal(text)
  return (text:gsub("\u{00A0}", " "):gsub("^\u{FEFF}", ""):gsub("[%s_]", ""):lower())
end

local function header_names(kind)
  local names <const> = {}
  for i, column in ipairs(kind.columns) do
    for j = 2, #column do names[normal(column[j])] = i end
  end
  return names
end

-- How many columns of a header the cells are; 0 when the id is not among them.
local function scorer(names)
  return function(cells)
    local n, id = 0, false
    for i = 1, cells.n or #cells do
      local column <const> = cells[i] and names[normal(cells[i])]
      if column then n, id = n + 1, id or column == 1 end
    end
    return id and n or 0
  end
end

-- Which cells fill each column, in the order of preference; and the headers that nobody knows.
local function bind(kind, names, header)
  local cells <const>, unknown <const> = {}, {}
  for i, column in ipairs(kind.columns) do
    cells[i] = {}
    for j = 2, #column do
      for at = 1, header.n do
        if header[at] and normal(header[at]) == normal(column[j]) then table.insert(cells[i], at) end
      end
    end
  end
  for at = 1, header.n do
    local text <const> = header[at] and header[at]:match("^%s*(.-)%s*$") or ""
    if text ~= "" and not names[normal(text)] then unknown[#unknown + 1] = text end
  end
  return cells, unknown
end

local function wanted_names(kind)
  local list <const> = {}
  for i, column in ipairs(kind.columns) do
    list[i] = table.concat(column, " or ", 2) .. (i == 1 and " (required)" or "")
  end
  return table.concat(list, ", ")
end

local function no_header(name, kind, rows)
  local best
  for _, row in ipairs(rows) do
    if not best or row.n > best.n then best = row end
  end
  local seen <const> = {}
  for i = 1, best and math.min(best.n, 40) or 0 do
    local text <const> = best[i] and best[i]:gsub("%c", " "):match("^%s*(.-)%s*$") or ""
    if text ~= "" then seen[#seen + 1] = #text > 60 and text:sub(1, (utf8.offset(text, 40) or 41) - 1) .. "..." or text end
  end
  error(errors.new { kind = "masterdata", code = "header",
    message = string.format("%s: no row among its first %d is a header with an id column", name, math.max(#rows, 1)),
    detail = "seen: " .. (#seen > 0 and table.concat(seen, ", ") or "nothing") .. "\nwanted: " .. wanted_names(kind),
    hint = "case, spaces and underscores do not count" }, 0)
end

---- values ----

-- Trimmed; nil when nothing is left.
local function clean(text)
  if text == nil or text == "" then return nil end
  if text:find("[\0\xC2\xE2\xEF]") then      -- NUL, no-break space, zero-width space, byte order mark
    text = text:gsub("\u{00A0}", " "):gsub("\u{200B}", ""):gsub("\u{FEFF}", "")
  end
  if text:find("^%s") or text:find("%s$") then text = text:match("^%s*(.-)%s*$") end
  return text ~= "" and text or nil
end

local function first_value(row, cells)
  for _, at in ipairs(cells) do
    local value <const> = clean(row[at])
    if value then return value end
  end
  return nil
end

-- At most `max` characters; the second result tells that it was cut.
local function cut(text, max)
  if #text <= max then return text, false end
  local stop <const> = utf8.offset(text, max + 1)
  if not stop or stop > #text then return text, false end
  return text:sub(1, stop - 1), true
end

local function too_many_fields(row, width)
  for i = width + 1, row.n do
    if clean(row[i]) then return true end
  end
  return false
end

---- the load ----

local load <const> = {}
load.__index = load

local function reject(self, row, number, column, code, reason)
  local cells <const> = {}
  for i = 1, row.n do cells[i] = row[i] or "" end
  local r <const> = { source = self.source.uri, line = number, column = column, code = code, reason = reason,
    raw = csv.encode({ cells }, { newline = "\n" }):sub(1, -2) }
  self.result.rejected = self.result.rejected + 1
  self.limits:count(r)
  self.file:add(r)
  self.kept:add(r, function() self:end_copy() end)
  local list <const> = self.result.rejects
  if #list < KEEP_REJECTS then
    list[#list + 1] = { row = number, column = column, code = code, reason = reason, raw = r.raw }
  end
end

-- The values of a row in the table's order; nil when it is rejected, or blank.
function load:values(row, number)
  local result <const>, kind <const> = self.result, self.kind
  local values <const>, cuts = {}, 0
  local any = false
  for i = 1, #kind.columns do
    values[i] = first_value(row, self.cells[i])
    any = any or values[i] ~= nil
  end
  if not any then
    for i = 1, row.n do any = any or clean(row[i]) ~= nil end
    if not any then return nil end
  end
  result.read = result.read + 1
  local id_name <const>, id <const> = kind.columns[1][1], values[1]
  local max <const> = self.lengths[id_name]
  if row.n > self.width and too_many_fields(row, self.width) then
    return reject(self, row, number, nil, "fields", string.format(
      "the row has %d fields and the header %d: a delimiter or quote in a value is not quoted", row.n, self.width))
  elseif not id then
    return reject(self, row, number, id_name, "no_id", "the row has no id")
  elseif id:find("\0", 1, true) then
    return reject(self, row, number, id_name, "bad_id", "the id has a zero byte in it")
  elseif max and utf8.len(id) > max then
    return reject(self, row, number, id_name, "too_long", string.format("the id has %d characters, %d are allowed",
      utf8.len(id), max))
  end
  for i = 2, #kind.columns do
    local value = values[i]
    if value and value:find("\0", 1, true) then
      value = value:gsub("\0", "\u{FFFD}")
      result.repaired = result.repaired + 1
    end
    local length <const> = self.lengths[kind.columns[i][1]]
    if value and length then
      local was
      value, was = cut(value, length)
      if was then cuts = cuts + 1 end
    end
    values[i] = value
  end
  result.cut = result.cut + cuts
  return values
end

function load:end_copy()
  local copy <const> = self.copy
  self.copy = nil
  if copy then self.copied = self.copied + copy:finish() end
end

function load:send(number, values)
  if not self.copy then
    local names <const> = { "line" }
    for i, column in ipairs(self.kind.columns) do names[i + 1] = column[1] end
    self.copy = self.tx:copy_in(pg.ident("pg_temp", self.temp), names)
  end
  self.copy:row(number, table.unpack(values, 1, #self.kind.columns))
end

-- All rows of the file into the temporary table.
function load:stage(input)
  local tx <const>, result <const> = self.tx, self.result
  local columns <const> = { "line bigint not null" }
  for _, column in ipairs(self.kind.columns) do columns[#columns + 1] = pg.ident(column[1]) .. " text" end
  tx:exec { "create temp table " .. pg.ident(self.temp) .. " (" .. table.concat(columns, ", ") .. ") on commit drop",
    prepare = false }
  local ok <const>, err <const> = pcall(function()
    for row, number in function() return input:next() end do
      local values <const> = self:values(row, number)
      if values then self:send(number, values) end
      if result.read % PROGRESS_ROWS == 0 and self.on_progress then self.on_progress(result) end
      if result.rejected > 0 then self:check_limits(false) end
    end
    self:end_copy()
  end)
  if not ok then
    if self.copy then self.copy:close "the file could not be read to its end" end
    error(err, 0)
  end
  self:check_limits(true)
  self.kept:flush()
end

function load:check_limits(at_end)
  local result <const> = self.result
  self.limits:check({ lines = result.read, rejected = result.rejected, rows = result.read - result.rejected, other = 0,
    out_of_range = 0 }, at_end)
end

local upsert_sql <const> = [[
  with last as (
    select distinct on ($id) $names from $temp order by $id, line desc
  ), done as (
    insert into $target as t (tenant_id, $names)
    select $1, $names from last order by $id
    on conflict (tenant_id, $id) do update set $sets, updated_at = now()
     where ($old) is distinct from ($new)
    returning xmax = 0 as fresh        -- no row version before it
  )
  select (select count(*) from last) as ids, count(*) filter (where fresh) as inserted,
         count(*) filter (where not fresh) as updated
    from done]]

-- From the temporary table into the real one.
function load:upsert()
  local tx <const>, kind <const>, result <const> = self.tx, self.kind, self.result
  local sets <const>, old <const>, new <const>, names <const> = {}, {}, {}, {}
  for i, column in ipairs(kind.columns) do
    local name <const> = pg.ident(column[1])
    names[i] = name
    if i > 1 then
      sets[#sets + 1], old[#old + 1], new[#new + 1] = name .. " = excluded." .. name, "t." .. name, "excluded." .. name
    end
  end
  local words <const> = { id = names[1], names = table.concat(names, ", "), temp = pg.ident("pg_temp", self.temp),
    target = pg.ident(self.name), sets = table.concat(sets, ", "), old = table.concat(old, ", "),
    new = table.concat(new, ", ") }
  local function sql(text) return (text:gsub("%$(%a+)", words)) end
  -- One file after the other: two at once would each count the other's rows as its own.
  tx:exec("select pg_advisory_xact_lock(hashtextextended($1, 0))",
    "garun.masterdata:" .. self.name .. ":" .. self.tenant.id)
  self.stored = tx:value(sql "select count(*) from $target where tenant_id = $1", self.tenant.id)
  local counts <const> = tx:one({ sql(upsert_sql), prepare = false }, self.tenant.id)
  result.inserted, result.updated = counts.inserted, counts.updated
  result.unchanged = counts.ids - counts.inserted - counts.updated
  result.duplicates = self.copied - counts.ids
  local accounted <const> = counts.ids + result.duplicates + result.rejected
  if accounted ~= result.read then
    error(errors.new { kind = "load", code = "count", message = string.format(
      "%s: %d rows were read, but %d are accounted for; nothing was committed", self.source.name, result.read, accounted) }, 0)
  end
  if result.duplicates > 0 then
    local some <const> = {}
    for _, r in ipairs(tx:query { sql "select $id as id, string_agg(line::text, ', ' order by line) as lines from $temp "
      .. "group by 1 having count(*) > 1 order by min(line) limit " .. KEEP_DUPLICATES, prepare = false }) do
      some[#some + 1] = string.format("%s (rows %s)", r.id, #r.lines > 60 and r.lines:sub(1, 60) .. "..." or r.lines)
    end
    self:warn("%d rows have the id of a later one, the last one counts: %s%s", result.duplicates, table.concat(some, ", "),
      result.duplicates > #some and " ..." or "")
  end
end

function load:warn(format, ...)
  table.insert(self.result.warnings, string.format(format, ...))
end

-- What the operator should know of a file that was loaded all the same.
function load:look_back(input)
  local result <const> = self.result
  local ids <const> = result.inserted + result.updated + result.unchanged
  local limit <const> = self.stored * (100 - self.max_shrink) / 100
  if input.format == "empty" then
    self:warn("the file is empty: nothing was changed, %d %s are stored", self.stored, self.name)
  elseif ids < limit then
    self:warn("the file has %d ids, and %d %s are stored: nothing was removed, but is the file whole?", ids, self.stored,
      self.name)
  end
  if result.repaired > 0 then
    self:warn("%d values were repaired: they were no valid UTF-8 and taken for Windows-1252, or had zero bytes",
      result.repaired)
  end
  if result.cut > 0 then self:warn("%d values were cut at their column's length", result.cut) end
  local formulas <const> = input.uncalculated and input.uncalculated() or 0
  if formulas > 0 then
    self:warn("%d formulas have no stored result and count as blank: open the workbook in Excel and save it", formulas)
  end
end

function load:bind_header(input)
  local header <const>, seen <const> = input:header()
  if not header then
    if input.format == "empty" then return false end
    no_header(self.source.name, self.kind, seen)
  end
  local missing <const> = {}
  local cells <const>, unknown <const> = bind(self.kind, self.names, header)
  self.cells = cells
  -- A sheet has no delimiters that could be missed: what stands beside the table is a note.
  self.width = input.format == "xlsx" and math.maxinteger or header.n
  for i, column in ipairs(self.kind.columns) do
    if #self.cells[i] == 0 then missing[#missing + 1] = column[1] .. " (" .. table.concat(column, " or ", 2) .. ")" end
  end
  if #unknown > 0 then self:warn("columns that are not used: %s", table.concat(unknown, ", ")) end
  if #missing > 0 then self:warn("columns that are missing, their values become NULL: %s", table.concat(missing, ", ")) end
  return true
end

-- The lengths of the table's columns in characters, as the database has them.
local function column_lengths(tx, name)
  local lengths <const> = {}
  local rows <const> = tx:query([[select attname as name, case when atttypid = 'varchar'::regtype and atttypmod > 4
    then atttypmod - 4 end as length from pg_attribute where attrelid = to_regclass($1) and attnum > 0]], name)
  if #rows == 0 then
    error(errors.new { kind = "masterdata", code = "table", message = "there is no table " .. name .. " in this database",
      hint = "run garun init_db.lua" }, 0)
  end
  for _, r in ipairs(rows) do lengths[r.name] = r.length end
  return lengths
end

local function in_transaction(self, tx, opts)
  self.tx = tx
  self.copied = 0
  self.lengths = column_lengths(tx, self.name)
  local load_id <const>, started_at <const> = uuid.v7(), tx:value("select clock_timestamp()::text")
  self.kept = rejects.table(tx, { tenant_id = self.tenant.id, load_id = load_id, job_id = opts.job and opts.job.id })
  local bytes <const> = self.source.open()
  local input <close> = sheet.open(function() return bytes() end, { name = self.source.name, score = scorer(self.names),
    sheet = opts.sheet or self.kind.sheet, encoding = opts.encoding, max_bytes = opts.max_bytes or MAX_BYTES })
  local result <const> = self.result
  result.format, result.sheet = input.format, input.sheet
  if self:bind_header(input) then
    self:stage(input)
    result.repaired = result.repaired + input.repaired
    self:upsert()
  else
    self.stored = tx:value("select count(*) from " .. pg.ident(self.name) .. " where tenant_id = $1", self.tenant.id)
  end
  self:look_back(input)
  result.digest = type(bytes) == "table" and bytes.digest or nil
  ledger.write(tx, { load_id = load_id, tenant_id = self.tenant.id, job_id = opts.job and opts.job.id, days = {},
    source = self.source.uri or self.source.name, source_kind = self.source.kind or "file", digest = result.digest,
    sources = { { uri = self.source.uri, size = self.source.size, mtime_ns = self.source.mtime_ns, digest = result.digest } },
    started_at = started_at, result = { lines = result.read, loaded = result.inserted + result.updated + result.unchanged,
      other = 0, duplicates = result.duplicates, rejected = result.rejected, out_of_range = 0, repaired = result.repaired,
      cut = result.cut, nulled = 0, tables = { [self.name] = result.inserted + result.updated + result.unchanged } } })
  if opts.job then opts.job:fence(tx) end
end

---- the module ----

local option_names <const> = { "tenant", "kind", "path", "source", "sheet", "encoding", "job", "max_bytes", "max_shrink",
  "max_rejects", "max_reject_percent", "reject_file", "on_progress" }

local function source_of(opts)
  if (opts.path == nil) == (opts.source == nil) then
    usage "masterdata.load: give path (of a file), or source (of garun.source), one of them"
  end
  if opts.source then return opts.source end
  local list <const> = source.list { opts.path }
  if #list ~= 1 then usage(string.format("masterdata.load: %s are %d files, give one", opts.path, #list)) end
  return list[1]
end

local function check(opts)
  opts = errors.check_options("masterdata.load", opts, option_names)
  if not kinds[opts.kind] then
    usage('masterdata.load: kind is "users" or "locations", not ' .. tostring(opts.kind))
  end
  local encoding <const> = opts.encoding
  if encoding ~= nil and encoding ~= "auto" and encoding ~= "utf-8" and encoding ~= "windows-1252" then
    usage 'masterdata.load: encoding is "auto", "utf-8" or "windows-1252"'
  end
  local shrink <const> = opts.max_shrink
  if shrink ~= nil and (type(shrink) ~= "number" or not (shrink >= 0 and shrink <= 100)) then
    usage "masterdata.load: max_shrink is a number of percent, 0 to 100"
  end
  return opts
end

function masterdata.load(db, opts)
  opts = check(opts)
  if type(db) ~= "userdata" then
    local own <close> = pg.connect(db)
    return masterdata.load(own, opts)
  end
  local started <const> = time.monotonic()
  local file <close> = rejects.file(opts.reject_file)
  local kind <const> = kinds[opts.kind]
  local self <const> = setmetatable({
    kind = kind, name = opts.kind, names = header_names(kind), file = file, limits = rejects.limits(opts),
    source = source_of(opts), tenant = tenant_module.find(db, opts.tenant), max_shrink = opts.max_shrink or 50,
    temp = "garun_" .. opts.kind .. "_" .. crypto.hex_encode(crypto.random(4)), on_progress = opts.on_progress,
    result = { kind = opts.kind, read = 0, inserted = 0, updated = 0, unchanged = 0, duplicates = 0, rejected = 0, cut = 0,
      repaired = 0, rejects = {}, warnings = {} },
  }, load)
  self.result.source = self.source.name
  db:transaction(function(tx) in_transaction(self, tx, opts) end)
  if self.on_progress then self.on_progress(self.result) end
  self.result.seconds = time.monotonic() - started
  return self.result
end

return masterdata
