-- garun.bigquery.tables: what tables there are and what is known of them without reading: names, rows, bytes, last change.
-- These calls cost nothing.

local errors <const> = require "garun.error"
local fail <const> = require "garun.bigquery.fail"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local tables <const> = {}

local LIST_PAGE <const> = 1000
local DIRECT_DAYS <const> = 40      -- that many days are asked for one by one; beyond, the data set is listed first
local CONCURRENCY <const> = 8

-- The tables that may hold a day's events, the completest first (360's fresh tables grow through the day).
tables.kinds = { "daily", "fresh", "intraday" }
local prefixes <const> = { daily = "events_", fresh = "events_fresh_", intraday = "events_intraday_" }

function tables.dataset_url(client)
  if not client.dataset then fail.usage("bigquery: this client has no dataset; give one to bigquery.client") end
  return client.base .. "/projects/" .. client.data_project .. "/datasets/" .. client.dataset
end

function tables.check_name(fn, name)
  if type(name) ~= "string" or name == "" or #name > 1024 or name:find("[%c`/?#%%.\\]") then
    fail.usage("%s: '%s' is no name of a table", fn, tostring(name))
  end
  return name
end

function tables.full_name(client, name)
  return client.data_project .. "." .. client.dataset .. "." .. name
end

-- An iterator over { name, type, created }.
function tables.list(client)
  local url <const> = tables.dataset_url(client) .. "/tables"
  local what <const> = "tables of " .. client.data_project .. "." .. client.dataset
  local page, at, token, seen = {}, 0, nil, {}
  local ended = false
  return function()
    while at == #page do
      if ended then return nil end
      local answer <const> = client.rest:call(what, { url = url, query = { maxResults = LIST_PAGE, pageToken = token } })
      page, at, token = answer.tables or {}, 0, answer.nextPageToken
      ended = not token
      if token then
        if seen[token] then
          fail.raise { code = "repeatedPage", retryable = true, message = what .. ": the same page comes again and again" }
        end
        seen[token] = true
      end
    end
    at = at + 1
    local t <const> = page[at]
    return { name = t.tableReference.tableId, type = t.type, created = math.tointeger(tonumber(t.creationTime)) }
  end
end

local function number(value)
  return value ~= nil and math.tointeger(tonumber(value)) or nil
end

-- What is known of a table, or nil when there is none of that name.
function tables.get(client, name)
  local what <const> = "table " .. tables.full_name(client, name)
  local ok <const>, answer <const> = pcall(client.rest.call, client.rest, what,
    { url = tables.dataset_url(client) .. "/tables/" .. name:gsub("[^%w_-]", function(c)
      return string.format("%%%02X", c:byte())
    end) })
  if not ok then
    -- A data set that is not there is a mistake, not a day without a table.
    if errors.is(answer, "bigquery") and answer.code == "notFound" and not answer.message:find("Not found: Dataset", 1, true)
      and not answer.message:find("Not found: Project", 1, true) then
      return nil
    end
    error(answer, 0)
  end
  return { name = name, type = answer.type, schema = answer.schema, rows = number(answer.numRows),
    bytes = number(answer.numBytes), last_modified = number(answer.lastModifiedTime), created = number(answer.creationTime),
    etag = answer.etag, location = answer.location, streaming = answer.streamingBuffer ~= nil }
end

-- True when it is, by all that is known, the same table with the same rows. The etag says too much: it may change with a
-- description.
function tables.same(a, b)
  return a ~= nil and b ~= nil and a.last_modified == b.last_modified and a.rows == b.rows and a.bytes == b.bytes
end

---- days ----

local function digits(day)
  return (day:gsub("-", ""))
end

function tables.name_of(kind, day)
  return prefixes[kind] .. digits(day)
end

-- The kinds that opts allow, in their order.
function tables.allowed(fn, opts)
  local intraday <const> = opts.intraday
  if intraday ~= nil and intraday ~= "only" and type(intraday) ~= "boolean" then
    fail.usage("%s: intraday is true (when there is no daily table), false or \"only\"", fn)
  end
  if intraday == "only" then return { "intraday" } end
  if intraday == false then return { "daily", "fresh" } end
  return tables.kinds
end

-- Names of the event tables in the data set, as a set.
local function listed(client)
  local set <const> = {}
  for t in tables.list(client) do set[t.name] = true end
  return set
end

-- The table that holds a day: { day, table, kind, rows, bytes, last_modified, ... }; kind "missing" and no table.
function tables.day(client, day, kinds, known)
  for _, kind in ipairs(kinds) do
    local name <const> = tables.name_of(kind, day)
    local t <const> = (not known or known[name]) and tables.get(client, name)
    if t then
      t.day, t.kind, t.table = day, kind, name
      return t
    end
  end
  return { day = day, kind = "missing" }
end

function tables.days(client, from, to, opts)
  opts = errors.check_options("client:days", opts, { "intraday" })
  local kinds <const> = tables.allowed("client:days", opts)
  if not (time.is_date(from) and time.is_date(to)) then fail.usage("client:days: from and to are dates like 2024-01-31") end
  local list <const> = {}
  for day in time.range(from, to) do list[#list + 1] = day end
  local known <const> = #list > DIRECT_DAYS and listed(client) or nil
  return task.map(list, function(day) return tables.day(client, day, kinds, known) end, { concurrency = CONCURRENCY })
end

return tables
