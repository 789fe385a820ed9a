-- garun.bigquery.events: a day of the GA4 export as a source of a load: NDJSON, one event a line.
--
-- One query a day for all event types, for BigQuery bills the columns that are read, not the rows. Each row is one text,
-- TO_JSON_STRING(JSON_STRIP_NULLS(TO_JSON(t))): two thirds of an event's members are NULL, and these need not travel.
-- TO_JSON writes INT64 as exact JSON numbers and leaves empty arrays and structs in place, so nothing is lost but that NULL
-- and "no such member" become one, which for a table of named columns they are. nulls = "keep" gives TO_JSON_STRING(t),
-- for servers without these functions (emulators); there integers beyond 2^53 are strings.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local extract <const> = require "garun.bigquery.extract"
local fail <const> = require "garun.bigquery.fail"
local jobs <const> = require "garun.bigquery.jobs"
local log <const> = require "garun.log"
local pages <const> = require "garun.bigquery.pages"
local query <const> = require "garun.bigquery.query"
local tables <const> = require "garun.bigquery.tables"
local time <const> = require "garun.time"

local events <const> = {}

local PARALLEL <const> = 3

local options <const> = { "types", "intraday", "columns", "nulls", "via", "parallel", "page_rows", "table" }

---- the statement ----

local function quoted(name)
  if not name:find("^[%a_][%w_]*$") then fail.usage("client:events: '%s' is no name of a column", name) end
  return "t.`" .. name .. "`"
end

-- The columns that are both wanted and in the table: older tables have fewer.
local function columns_of(meta, wanted)
  local has <const>, list <const> = {}, {}
  for _, f in ipairs(meta.schema and meta.schema.fields or {}) do has[f.name] = true end
  for _, name in ipairs(wanted) do
    if has[name] then list[#list + 1] = name end
  end
  if #list == 0 then fail.usage("client:events: table %s has none of the columns asked for", meta.table) end
  return list
end

local function statement(client, meta, opts)
  local row = "t"
  if opts.columns then
    local list <const> = columns_of(meta, opts.columns)
    for i, name in ipairs(list) do list[i] = quoted(name) end
    row = "STRUCT(" .. table.concat(list, ", ") .. ")"
  end
  local text <const> = (opts.nulls or client.nulls) == "keep" and "TO_JSON_STRING(" .. row .. ")"
    or "TO_JSON_STRING(JSON_STRIP_NULLS(TO_JSON(" .. row .. ")))"
  return string.format("SELECT %s AS event FROM `%s` AS t%s", text, tables.full_name(client, meta.table),
    opts.types and " WHERE t.event_name IN UNNEST(@types)" or "")
end

---- reading ----

-- Runs the query; a job that fails for a reason that may pass is run again, as another job.
local function run_query(client, meta, sql, params)
  local what <const> = "query of " .. tables.full_name(client, meta.table)
  local configuration <const> = query.configuration(client, sql, { params = params })
  return jobs.rerun(client, function()
    local job <const> = jobs.insert(client, what, meta.table, { query = configuration })
    local ended <const> = jobs.wait_query(client, job)
    ended.job = job
    return ended
  end)
end

local function check_count(client, meta, rows)
  if meta.rows and rows ~= meta.rows and meta.kind == "daily" and not meta.streaming then
    fail.spoilt { code = "rowCount", message = string.format("%s: %d rows came, the table has %d",
      tables.full_name(client, meta.table), rows, meta.rows) }
  end
end

local stream <const> = { __name = "garun.bigquery.stream" }
stream.__index = stream

function stream:__call()
  local chunk <const> = self.read()
  if chunk then
    self.bytes = self.bytes + #chunk
    self.hash:update(chunk)
    return chunk
  end
  if not self.digest then
    -- What was read is a snapshot, of the table as it was known before unless it has changed since; then the digest is
    -- that of the bytes, which no later look at the table will match: it is read again.
    local unchanged <const> = tables.same(self.meta, tables.get(self.client, self.meta.table))
    if unchanged and not self.filtered then check_count(self.client, self.meta, self.rows) end
    if not unchanged then
      log.info("a table of BigQuery changed while it was read; the next run reads it again", { table = self.meta.table })
    end
    self.digest = unchanged and self.version or self.hash:final()
  end
  return nil
end

function stream:close()
  self.stop()
end
stream.__close = stream.close

local function open_query(client, meta, opts, sql, params, self)
  local ended <const> = run_query(client, meta, sql, params)
  self.rows, self.job_id, self.bytes_processed = ended.total, ended.job.id, ended.bytes
  self.read, self.stop = pages.open(client, ended.job, ended.total, { parallel = opts.parallel or PARALLEL,
    page_rows = opts.page_rows, paging = client.paging })
end

local function open_extract(client, meta, opts, self)
  self.bytes_processed = 0
  self.read, self.stop = extract.open(client, meta, { parallel = opts.parallel or PARALLEL, on_end = function(lines, id)
    self.rows, self.job_id = lines, id
  end })
end

---- the source ----

local function check(client, opts)
  if opts.types ~= nil then
    if type(opts.types) ~= "table" or #opts.types == 0 then fail.usage("client:events: types is a list of event names") end
    for _, name in ipairs(opts.types) do
      if type(name) ~= "string" then fail.usage("client:events: types is a list of event names") end
    end
  end
  if opts.columns ~= nil and (type(opts.columns) ~= "table" or #opts.columns == 0) then
    fail.usage("client:events: columns is a list of names")
  end
  if opts.nulls ~= nil and opts.nulls ~= "strip" and opts.nulls ~= "keep" then
    fail.usage("client:events: nulls is \"strip\" or \"keep\"")
  end
  for name, max in pairs { parallel = 32, page_rows = 1000000 } do
    local v <const> = opts[name]
    if v ~= nil and (math.type(v) ~= "integer" or v < 1 or v > max) then
      fail.usage("client:events: %s is a whole number from 1 to %d", name, max)
    end
  end
  local via <const> = opts.via or "query"
  if via ~= "query" and via ~= "extract" then fail.usage("client:events: via is \"query\" or \"extract\"") end
  if via == "extract" then
    if not client.bucket then fail.usage("client:events: via = \"extract\" needs the option bucket of bigquery.client") end
    if opts.types or opts.columns then
      fail.usage("client:events: an extract holds all events and columns; types and columns are for queries")
    end
  end
  return via
end

-- What a load's ledger compares: the table as BigQuery describes it, and what of it is wanted. Known before reading.
local function version(client, meta, opts)
  local parts <const> = { "bigquery 1", tables.full_name(client, meta.table), tostring(meta.last_modified),
    tostring(meta.rows) }
  for _, name in ipairs { "types", "columns" } do
    local list <const> = opts[name] and table.move(opts[name], 1, #opts[name], 1, {}) or {}
    table.sort(list)
    parts[#parts + 1] = table.concat(list, "\1")
  end
  return crypto.xxh128(table.concat(parts, "\0"))
end

function events.source(client, day, opts)
  opts = errors.check_options("client:events", opts, options)
  local via <const> = check(client, opts)
  if not time.is_date(day) then fail.usage("client:events: day is a date like 2024-01-31") end
  local meta <const> = opts.table or tables.day(client, day, tables.allowed("client:events", opts))
  if not meta.table then
    fail.raise { code = "notFound", message = string.format("%s.%s has no table of events for %s", client.data_project,
      client.dataset, day), hint = "client:days(from, to) tells which days there are; a day appears up to a day later" }
  end
  local sql <const> = via == "query" and statement(client, meta, opts) or nil
  local params <const> = opts.types and { types = opts.types } or nil
  local uri <const> = "bigquery://" .. client.data_project .. "/" .. client.dataset .. "/" .. meta.table
  local digest <const> = version(client, meta, opts)
  return {
    uri = uri, name = uri, kind = "bigquery", day = day, table = meta.table, table_kind = meta.kind, rows = meta.rows,
    size = meta.bytes, mtime_ns = meta.last_modified and meta.last_modified * 1000000, version = digest, sql = sql,
    estimate = function()
      if via == "extract" then return { bytes = 0, cost = 0.0 } end
      return query.dry_run(client, sql, { params = params })
    end,
    open = function()
      local self <const> = setmetatable({ client = client, meta = meta, version = digest, bytes = 0, hash = crypto.xxh128(),
        filtered = opts.types ~= nil }, stream)
      if via == "extract" then
        open_extract(client, meta, opts, self)
      else
        open_query(client, meta, opts, sql, params, self)
      end
      return self
    end,
  }
end

return events
