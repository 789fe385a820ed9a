-- garun.bigquery.query: jobs.query with decoded rows, dry runs, and rows of a table without a query.
--
-- A page of rows is decoded as a whole (page_rows bounds it), and the next one is fetched while the script works on it.

local core_uuid <const> = require "garun.uuid"
local decode <const> = require "garun.bigquery.decode"
local errors <const> = require "garun.error"
local fail <const> = require "garun.bigquery.fail"
local jobs <const> = require "garun.bigquery.jobs"
local tables <const> = require "garun.bigquery.tables"
local task <const> = require "garun.task"

local query <const> = {}

local PAGE_ROWS <const> = 2000
local SERVER_WAIT <const> = 10
local TIB <const> = 1 << 40
local MIN_BILLED <const> = 10 << 20     -- BigQuery bills at least 10 MiB for a table, and whole MiB

local options <const> = { "params", "dry_run", "page_rows", "labels", "maximum_bytes_billed", "location", "use_cache" }

---- a result ----

local result <const> = { __name = "garun.bigquery.result" }
result.__index = result

-- Fetches pages in a task of its own, one ahead; the task ends with the one that began the query.
local function prefetch(next_page)
  local channel <const> = task.channel(1)
  local failed
  local worker <const> = task.background(function()
    local ok <const>, err <const> = pcall(function()
      for page in next_page do channel:send(page) end
    end)
    if not ok then failed = { err } end
    channel:close()
  end)
  return function()
    local page <const> = channel:recv()
    if not page and failed then error(failed[1], 0) end
    return page
  end, function() worker:cancel() end
end

-- fields: schema, total and what else is known; first: a page's rows; more: gives further pages, or nil
local function new_result(fields, first, more, what)
  fields.decode = decode.rows(fields.schema)
  fields.page, fields.at, fields.seen, fields.what = first, 0, 0, what
  if more then fields.more, fields.stop = prefetch(more) end
  return setmetatable(fields, result)
end

-- The next row, or nil behind the last one of exactly as many as were promised.
function result:__call()
  while self.at == #self.page do
    if self.stop == false then return nil end
    local page <const> = self.more and self.more()
    if not page then
      self.stop = false
      if self.total and self.seen ~= self.total then
        fail.spoilt { code = "rowCount", message = string.format("%s: %d rows came, %d were promised",
          self.what, self.seen, self.total) }
      end
      if self.finish then self.finish() end
      return nil
    end
    self.page, self.at = page, 0
  end
  self.at = self.at + 1
  self.seen = self.seen + 1
  return self.decode(self.page[self.at])
end

function result:all()
  local list <const> = {}
  for row in self do list[#list + 1] = row end
  return list
end

function result:close()
  if self.stop then self.stop() end
  self.page, self.at, self.stop = {}, 0, false
end
result.__close = result.close

---- queries ----

function query.cost(client, bytes)
  if bytes == 0 then return 0.0 end
  local billed <const> = math.max(MIN_BILLED, (bytes + (1 << 20) - 1) // (1 << 20) * (1 << 20))
  return billed / TIB * client.price_per_tib
end

local function merged_labels(client, own)
  if own == nil then return client.labels end
  local all <const> = {}
  for k, v in pairs(client.labels or {}) do all[k] = v end
  for k, v in pairs(own) do all[k] = v end
  return all
end

-- What a query is, as requests and job configurations have it.
function query.configuration(client, sql, opts)
  if type(sql) ~= "string" or not sql:find("%S") then fail.usage("client:query: sql is a text, not a %s", type(sql)) end
  local parameters <const>, mode <const> = decode.parameters(opts.params)
  local limit <const> = opts.maximum_bytes_billed or client.maximum_bytes_billed
  return { query = sql, useLegacySql = false, queryParameters = parameters, parameterMode = mode,
    maximumBytesBilled = limit and tostring(limit) or nil, useQueryCache = opts.use_cache,
    defaultDataset = client.dataset and { projectId = client.data_project, datasetId = client.dataset } or nil }
end

local function integer(value)
  return value ~= nil and math.tointeger(tonumber(value)) or nil
end

-- Bytes and cost of a query that is not run.
function query.dry_run(client, sql, opts)
  local body <const> = query.configuration(client, sql, opts)
  body.dryRun, body.location, body.labels = true, opts.location or client.location, merged_labels(client, opts.labels)
  body.maximumBytesBilled = nil         -- the estimate is what is asked for
  local answer <const> = client.rest:call("dry run", { method = "POST", json = body,
    url = client.base .. "/projects/" .. client.project .. "/queries" })
  local bytes <const> = integer(answer.totalBytesProcessed)
  if not bytes then fail.raise { code = "answer", message = "dry run: the answer does not tell the bytes" } end
  return { bytes = bytes, cost = query.cost(client, bytes), schema = answer.schema,
    location = type(answer.jobReference) == "table" and answer.jobReference.location or nil }
end

-- Pages behind the first answer.
local function pages_of(client, job, page_rows, token)
  local url <const> = client.base .. "/projects/" .. client.project .. "/queries/" .. job.id
  local settled <const> = jobs.settled(client, job)
  local seen <const> = {}
  return function()
    if not token then return nil end
    if seen[token] then
      fail.spoilt { code = "repeatedPage", message = "query: the same page comes again and again" }
    end
    seen[token] = true
    local answer <const> = client.rest:call("query", { url = url, query = { location = job.location, pageToken = token,
      maxResults = page_rows, ["formatOptions.useInt64Timestamp"] = "true" } }, settled)
    if jobs.count(job, answer.totalRows) ~= job.total then
      fail.spoilt { code = "totalRows", message = string.format(
        "query: a page says that there are %s rows, the first one said %d", answer.totalRows, job.total) }
    end
    token = answer.pageToken
    return answer.rows or {}
  end
end

function query.run(client, sql, opts)
  opts = errors.check_options("client:query", opts, options)
  if opts.dry_run then return query.dry_run(client, sql, opts) end
  local page_rows <const> = opts.page_rows or PAGE_ROWS
  local body <const> = query.configuration(client, sql, opts)
  body.location, body.labels = opts.location or client.location, merged_labels(client, opts.labels)
  body.requestId, body.maxResults, body.timeoutMs = core_uuid.v7(), page_rows, SERVER_WAIT * 1000
  body.formatOptions = { useInt64Timestamp = true }
  local answer = client.rest:call("query", { method = "POST", json = body, timeout = client.timeout + SERVER_WAIT,
    url = client.base .. "/projects/" .. client.project .. "/queries" })
  local ref <const> = type(answer.jobReference) == "table" and answer.jobReference or {}
  local job <const> = { id = ref.jobId, location = ref.location or client.location, what = "query" }
  if answer.jobComplete ~= true then
    if not job.id then fail.raise { code = "answer", retryable = true, message = "query: the answer names no job" } end
    local settled <const> = jobs.settled(client, job)
    answer = jobs.wait(client, job, function()
      local a <const> = client.rest:call("query", { timeout = client.timeout + SERVER_WAIT,
        url = client.base .. "/projects/" .. client.project .. "/queries/" .. job.id,
        query = { location = job.location, maxResults = page_rows, timeoutMs = SERVER_WAIT * 1000,
          ["formatOptions.useInt64Timestamp"] = "true" } }, settled)
      return a.jobComplete == true, a
    end)
  end
  job.total = answer.totalRows ~= nil and jobs.count(job, answer.totalRows) or nil
  if answer.pageToken and not (job.id and job.total) then
    fail.raise { code = "answer", retryable = true, message = "query: the answer has more pages and does not name its job" }
  end
  return new_result({ schema = answer.schema, total = job.total, bytes = integer(answer.totalBytesProcessed), job_id = job.id,
    cache_hit = answer.cacheHit == true, affected = integer(answer.numDmlAffectedRows) }, answer.rows or {},
    answer.pageToken and pages_of(client, job, page_rows, answer.pageToken), "query")
end

---- rows of a table ----

-- Reads a table without a query, which costs nothing. Not a snapshot: a table that is replaced meanwhile is an error.
function query.table_rows(client, name, opts)
  opts = errors.check_options("client:rows", opts, { "columns", "page_rows" })
  local what <const> = "rows of " .. tables.full_name(client, tables.check_name("client:rows", name))
  local before <const> = tables.get(client, name)
  if not before then fail.raise { code = "notFound", message = what .. ": there is no such table" } end
  local schema = before.schema
  if opts.columns then
    local wanted <const>, fields <const> = {}, {}
    for _, c in ipairs(opts.columns) do wanted[c] = true end
    for _, f in ipairs(schema.fields) do
      if wanted[f.name] then
        fields[#fields + 1] = f
        wanted[f.name] = nil
      end
    end
    local missing <const> = next(wanted)
    if missing then fail.usage("client:rows: table %s has no column %s", name, tostring(missing)) end
    schema = { fields = fields }
  end
  local function changed()
    fail.spoilt { code = "tableChanged", message = what .. ": the table was replaced while it was read" }
  end
  local seen <const>, token, total, ended = {}, nil, nil, false
  local function page()
    if ended then return nil end
    local answer <const> = client.rest:call(what, { url = tables.dataset_url(client) .. "/tables/" .. name .. "/data", query = {
      maxResults = opts.page_rows or PAGE_ROWS, pageToken = token, ["formatOptions.useInt64Timestamp"] = "true",
      selectedFields = opts.columns and table.concat(opts.columns, ",") or nil } })
    local n <const> = jobs.count({ what = what }, answer.totalRows)
    if total and n ~= total then changed() end
    total, token = n, answer.pageToken
    if token and seen[token] then
      fail.spoilt { code = "repeatedPage", message = what .. ": the same page comes again and again" }
    end
    if token then seen[token] = true end
    ended = not token
    return answer.rows or {}
  end
  local first <const> = page()
  local self <const> = new_result({ schema = schema, total = total, bytes = before.bytes }, first, not ended and page, what)
  self.finish = function()
    if not tables.same(before, tables.get(client, name)) then changed() end
  end
  return self
end

return query
