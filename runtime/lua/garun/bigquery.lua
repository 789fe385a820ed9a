-- garun.bigquery: a client of Google BigQuery for the GA4 export: queries, tables, days of events.
--
-- The parts are in garun.bigquery.*: token (accounts), rest (one call, errors, trying again), jobs, query and decode (rows
-- as Lua values), tables, events, pages and extract (days of events as lines). Here are the client and its options.

local errors <const> = require "garun.error"
local events <const> = require "garun.bigquery.events"
local extract <const> = require "garun.bigquery.extract"
local fail <const> = require "garun.bigquery.fail"
local host <const> = require "garun.core.host"
local query <const> = require "garun.bigquery.query"
local rest <const> = require "garun.bigquery.rest"
local tables <const> = require "garun.bigquery.tables"
local token <const> = require "garun.bigquery.token"

local bigquery <const> = {}

local ENDPOINT <const> = "https://bigquery.googleapis.com"
local STORAGE <const> = "https://storage.googleapis.com"
local SCOPE <const> = "https://www.googleapis.com/auth/bigquery"
local STORAGE_SCOPE <const> = "https://www.googleapis.com/auth/devstorage.read_write"
local PRICE <const> = 6.25              -- USD a TiB, on demand, most regions (2024)

local client <const> = { __name = "garun.bigquery.client", __metatable = false }
client.__index = client

local options <const> = { "project", "dataset", "credentials", "location", "endpoint", "storage_endpoint", "labels",
  "maximum_bytes_billed", "price_per_tib", "user_project", "bucket", "paging", "timeout", "job_timeout", "retries", "backoff",
  "http" }

local function number(opts, name, min, max, def)
  local v = opts[name]
  if v == nil then v = def end
  if v ~= nil and (type(v) ~= "number" or not (v >= min and v <= max)) then
    fail.usage("bigquery.client: %s is a number from %g to %g", name, min, max)
  end
  return v
end

local function check_labels(labels)
  for k, v in pairs(labels or {}) do
    if type(k) ~= "string" or not k:find("^%l[%l%d_-]*$") or #k > 63 or type(v) ~= "string" or not v:find("^[%l%d_-]*$")
      or #v > 63 then
      fail.usage("bigquery.client: label %s = %s: at most 63 lower-case letters, digits, _ and -, the name begins with a "
        .. "letter", tostring(k), tostring(v))
    end
  end
  return labels
end

-- A server's URL without a path; credentials go over TLS only.
local function check_endpoint(name, value, with_credentials)
  if type(value) ~= "string" then fail.usage("bigquery.client: %s is a URL", name) end
  local url <const> = value:gsub("/+$", "")
  if not url:find("^https?://[^/?#%s]+$") then
    fail.usage("bigquery.client: %s is a URL like http://127.0.0.1:9050, not '%s'", name, value)
  end
  return with_credentials and token.check_url(url, name) or url
end

-- The emulator's URL, as Google's own clients read the variable.
local function emulator()
  local value <const> = host.getenv("BIGQUERY_EMULATOR_HOST")
  if not value or value == "" then return nil end
  return value:find("://", 1, true) and value or "http://" .. value
end

-- "dataset" or "project.dataset", for data that lie in another project than the one that pays.
local function split_dataset(dataset, project)
  if dataset == nil then return nil, project end
  if type(dataset) ~= "string" then fail.usage("bigquery.client: dataset is a name like analytics_123456789") end
  local own <const>, name <const> = dataset:match("^([%w:.-]+)%.([%w_]+)$")
  if own then return name, own end
  if not dataset:find("^[%w_]+$") then
    fail.usage("bigquery.client: dataset is a name like analytics_123456789 or project.analytics_123456789, not '%s'", dataset)
  end
  return dataset, project
end

function bigquery.client(opts)
  opts = errors.check_options("bigquery.client", opts, options)
  local emulated <const> = opts.endpoint == nil and emulator() or nil
  local provider
  local bucket, bucket_prefix
  if opts.bucket ~= nil then bucket, bucket_prefix = extract.bucket(tostring(opts.bucket)) end
  if opts.credentials ~= false and not (emulated and opts.credentials == nil) then
    provider = token.provider(opts.credentials, bucket and SCOPE .. " " .. STORAGE_SCOPE or SCOPE)
  end
  local project <const> = opts.project or provider and provider.project
  if type(project) ~= "string" or not project:find("^[%w:.-]+$") then
    fail.usage("bigquery.client: project is the id of a Google Cloud project%s",
      project and ", not '" .. tostring(project) .. "'" or "; the credentials name none")
  end
  local limit <const> = opts.maximum_bytes_billed
  if limit ~= nil and (math.type(limit) ~= "integer" or limit < 1) then
    fail.usage("bigquery.client: maximum_bytes_billed is a number of bytes from 1")
  end
  local paging <const> = opts.paging or (emulated and "token" or "range")
  if paging ~= "range" and paging ~= "token" then fail.usage("bigquery.client: paging is \"range\" or \"token\"") end
  local endpoint <const> = check_endpoint("endpoint", opts.endpoint or emulated or ENDPOINT, provider ~= nil)
  local dataset <const>, data_project <const> = split_dataset(opts.dataset, project)
  local retries <const> = number(opts, "retries", 0, 20, 6)
  local timeout <const> = number(opts, "timeout", 1, 3600, 60)
  return setmetatable({
    project = project, dataset = dataset, data_project = data_project, location = opts.location,
    base = endpoint .. "/bigquery/v2", bucket = bucket, bucket_prefix = bucket_prefix, paging = paging,
    storage = check_endpoint("storage_endpoint", opts.storage_endpoint or host.getenv("STORAGE_EMULATOR_HOST") or STORAGE,
      provider ~= nil),
    labels = check_labels(opts.labels), maximum_bytes_billed = limit,
    price_per_tib = number(opts, "price_per_tib", 0, 1e6, PRICE), nulls = emulated and "keep" or "strip", timeout = timeout,
    job_timeout = number(opts, "job_timeout", 1, 86400, 3600),
    rest = rest.new { provider = provider, retries = retries, backoff = number(opts, "backoff", 0.001, 60, 1),
      timeout = timeout, user_project = opts.user_project or provider and provider.quota_project, http = opts.http },
  }, client)
end

function client:close()
  self.rest:close()
end
client.__close = client.close

function client:__tostring()
  return string.format("bigquery.client(%s%s)", self.data_project, self.dataset and "." .. self.dataset or "")
end

function client:query(sql, opts)
  return query.run(self, sql, opts)
end

function client:rows(name, opts)
  return query.table_rows(self, name, opts)
end

function client:tables()
  return tables.list(self)
end

function client:table(name)
  return tables.get(self, tables.check_name("client:table", name))
end

function client:days(from, to, opts)
  return tables.days(self, from, to, opts)
end

function client:events(day, opts)
  return events.source(self, day, opts)
end

-- Whether the account can do what a load needs, at no cost: the data set is there and a query may be run.
function client:check()
  local answer <const> = self.rest:call("data set " .. self.data_project .. "." .. tostring(self.dataset),
    { url = tables.dataset_url(self) })
  query.dry_run(self, "SELECT 1", {})
  return { location = answer.location }
end

return bigquery
