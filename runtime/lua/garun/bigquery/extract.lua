-- garun.bigquery.extract: a whole table by an extract job to Cloud Storage, for days too big to be queried or to save the
-- query's price. The files (gzip'ed NDJSON) are downloaded several at once and deleted afterwards, however it ends.

local core <const> = require "garun.core.bq_rows"
local fail <const> = require "garun.bigquery.fail"
local gzip <const> = require "garun.gzip"
local jobs <const> = require "garun.bigquery.jobs"
local log <const> = require "garun.log"
local ordered <const> = require "garun.bigquery.ordered"
local task <const> = require "garun.task"

local extract <const> = {}

local CAPACITY <const> = 12             -- chunks of 256 KiB that wait of each file
local CLEANUP_TIMEOUT <const> = 60

-- "bucket" or "gs://bucket/some/prefix" to its parts.
function extract.bucket(value)
  local name <const>, prefix <const> = value:gsub("^gs://", ""):match("^([%l%d][%l%d._-]+)/?(.*)$")
  if not name or prefix:find("[%c*?#]") then
    fail.usage("bigquery.client: bucket is the name of a bucket, or gs://bucket/prefix, not '%s'", value)
  end
  return name, prefix == "" and "" or prefix:gsub("/*$", "/")
end

local function object_url(client, bucket, name)
  local function escape(s)
    return (s:gsub("[^%w._~-]", function(c) return string.format("%%%02X", c:byte()) end))
  end
  return client.storage .. "/storage/v1/b/" .. escape(bucket) .. "/o" .. (name and "/" .. escape(name) or "")
end

-- All objects below the prefix, in the order of their names.
local function list(client, what, bucket, prefix)
  local objects <const>, seen <const>, token = {}, {}, nil
  repeat
    local answer <const> = client.rest:call(what, { url = object_url(client, bucket), query = { prefix = prefix,
      pageToken = token } })
    for _, o in ipairs(answer.items or {}) do objects[#objects + 1] = o end
    token = answer.nextPageToken
    if token and seen[token] then
      fail.raise { code = "repeatedPage", retryable = true, message = what .. ": the same page comes again and again" }
    end
    seen[token or ""] = true
  until not token
  table.sort(objects, function(a, b) return a.name < b.name end)
  return objects
end

local function delete(client, what, bucket, prefix)
  local ok <const>, err <const> = pcall(task.timeout, CLEANUP_TIMEOUT, function()
    task.map(list(client, what, bucket, prefix), function(o)
      client.rest:attempt(what, function()
        client.rest:once(what, { url = object_url(client, bucket, o.name), method = "DELETE" })
      end)
    end, { concurrency = 4 })
  end)
  if not ok then
    log.warn("files of an extract are left in Cloud Storage",
      { uri = "gs://" .. bucket .. "/" .. prefix, error = tostring(err) })
  end
end

-- A source of an object's bytes that goes on where it was cut, and a function that gives it up.
local function download(client, what, bucket, object)
  local size <const> = tonumber(object.size)
  local at, answer = 0, nil
  local function close()
    if answer then answer:close() end
    answer = nil
  end
  local function open()
    local range <const> = at > 0 and "bytes=" .. at .. "-" or nil
    answer = client.rest:once(what, { url = object_url(client, bucket, object.name), stream = true, decompress = false,
      query = { alt = "media", generation = object.generation }, headers = { Range = range } })
    if range and answer.status ~= 206 then
      close()
      fail.raise { code = "range", message = what .. ": Cloud Storage answers with the whole file instead of its rest" }
    end
  end
  local function read()
    local chunk <const> = client.rest:attempt(what, function()
      if at == size then return nil end
      if not answer then open() end
      local ok <const>, bytes <const> = pcall(answer.read, answer)
      if not ok then
        close()
        error(bytes, 0)
      end
      if not bytes then
        close()
        fail.raise { code = "truncated", retryable = true, message = string.format("%s: gs://%s/%s ends at byte %d of %d", what,
          bucket, object.name, at, size) }
      end
      return bytes
    end)
    at = at + #(chunk or "")
    return chunk
  end
  return read, close
end

local function run_job(client, meta, bucket, prefix)
  local what <const> = "extract of " .. client.data_project .. "." .. client.dataset .. "." .. meta.table
  return jobs.rerun(client, function()
    local job <const> = jobs.insert(client, what, "extract_" .. meta.table, { extract = {
      sourceTable = { projectId = client.data_project, datasetId = client.dataset, tableId = meta.table },
      destinationUris = { "gs://" .. bucket .. "/" .. prefix .. "*.json.gz" }, destinationFormat = "NEWLINE_DELIMITED_JSON",
      compression = "GZIP" } })
    local resource <const> = jobs.wait_end(client, job)
    local counts <const> = ((resource.statistics or {}).extract or {}).destinationUriFileCounts
    return { what = what, id = job.id, files = jobs.count(job, type(counts) == "table" and counts[1]) }
  end)
end

-- Reads the table's rows as lines: read() gives chunks and nil at the end, close(). on_end(lines, job id) is called when
-- all has been read.
function extract.open(client, meta, opts)
  local bucket <const>, base <const> = client.bucket, client.bucket_prefix
  local prefix <const> = base .. jobs.new_id(meta.table) .. "/"
  local lines, job, objects, at = 0, nil, nil, 0
  return ordered.open { parallel = opts.parallel, capacity = CAPACITY,
    next = function()
      if not objects then
        job = run_job(client, meta, bucket, prefix)
        objects = list(client, job.what, bucket, prefix)
        if #objects ~= job.files then
          fail.raise { code = "shards", retryable = true, message = string.format(
            "%s: %d files are in gs://%s/%s, the job wrote %d", job.what, #objects, bucket, prefix, job.files) }
        end
      end
      at = at + 1
      return objects[at]
    end,
    fetch = function(object, put)
      local raw <const>, close <const> = download(client, job.what, bucket, object)
      local _ <close> = setmetatable({}, { __close = close })
      local last = "\n"
      for chunk in gzip.reader(raw, { name = "gs://" .. bucket .. "/" .. object.name }) do
        lines = lines + core.count(chunk)
        last = chunk:sub(-1)
        put(chunk)
      end
      if last ~= "\n" then
        lines = lines + 1
        put("\n")
      end
    end,
    finish = function() opts.on_end(lines, job.id) end,
    cleanup = function() delete(client, "clean-up of an extract", bucket, prefix) end,
  }
end

return extract
