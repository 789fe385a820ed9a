-- garun.bigquery.jobs: starting jobs under ids of ours, waiting for their end, cancelling those that nobody waits for.
--
-- The id is made here, so a request that is sent twice starts one job: the second is answered "duplicate", which is as
-- good as an answer. An error in fetching results may be the job's own; jobs.get tells.

local errors <const> = require "garun.error"
local fail <const> = require "garun.bigquery.fail"
local log <const> = require "garun.log"
local task <const> = require "garun.task"
local time <const> = require "garun.time"
local uuid <const> = require "garun.uuid"

local jobs <const> = {}

local SERVER_WAIT <const> = 10          -- seconds that a request for results waits for the job's end
local MIN_PAUSE <const>, MAX_PAUSE <const> = 0.1, 5
local CANCEL_TIMEOUT <const> = 5
local RUNS <const> = 3

-- An id that says in Google's console whose job it is.
function jobs.new_id(kind)
  return "garun_" .. kind:gsub("[^%w_-]", "_"):sub(1, 200) .. "_" .. uuid.v7():gsub("-", "")
end

function jobs.url(client, job)
  return client.base .. "/projects/" .. client.project .. "/jobs/" .. job.id
end

-- Raises the error of a job that has ended with one; gives the job's resource.
local function check(job, resource)
  local status <const> = type(resource.status) == "table" and resource.status or {}
  local ref <const> = resource.jobReference
  if type(ref) == "table" and type(ref.location) == "string" then job.location = ref.location end
  if type(status.errorResult) == "table" then
    local err <const> = fail.from_reason(job.what, status.errorResult)
    err.job = job.id
    error(err, 0)
  end
  return resource, status.state == "DONE"
end

function jobs.get(client, job)
  return check(job, client.rest:call(job.what, { url = jobs.url(client, job), query = { location = job.location } }))
end

-- For rest:attempt: before a call about the job is made again, ends the matter when the job itself has failed.
function jobs.settled(client, job)
  return function(err)
    if err.kind == "bigquery" and err.code ~= "authError" then jobs.get(client, job) end
  end
end

-- Starts a job: { id, location, what }.
function jobs.insert(client, what, kind, configuration)
  local job <const> = { id = jobs.new_id(kind), location = client.location, what = what }
  configuration.labels = client.labels
  local function insert()
    return client.rest:call(what, { url = client.base .. "/projects/" .. client.project .. "/jobs", method = "POST", json = {
      jobReference = { projectId = client.project, jobId = job.id, location = job.location }, configuration = configuration } })
  end
  local ok <const>, answer <const> = pcall(insert)
  if not ok and answer.kind == "bigquery" and answer.code == "duplicate" then
    jobs.get(client, job)
  elseif not ok then
    error(answer, 0)
  else
    check(job, answer)
  end
  return job
end

-- Asks once for the job's end, without caring for the answer: a query that nobody reads still costs.
function jobs.cancel(client, job)
  local ok <const>, err <const> = pcall(task.timeout, CANCEL_TIMEOUT, function()
    client.rest:once(job.what, { url = jobs.url(client, job) .. "/cancel", method = "POST", timeout = CANCEL_TIMEOUT,
      query = { location = job.location } })
  end)
  if not ok then log.debug("a job of BigQuery could not be cancelled", { job = job.id, error = tostring(err) }) end
end

-- Calls ask() until it says that the job has ended; gives its second result. The job is cancelled when this fails.
function jobs.wait(client, job, ask)
  local done
  local _ <close> = setmetatable({}, { __close = function(_, err)
    if not done and not (errors.is(err) and err.job) then jobs.cancel(client, job) end
  end })
  local deadline <const> = client.job_timeout and time.monotonic() + client.job_timeout
  local pause = MIN_PAUSE
  while true do
    local asked <const> = time.monotonic()
    local ended <const>, result <const> = ask()
    if ended then
      done = true
      return result
    end
    if deadline and time.monotonic() > deadline then
      fail.raise { code = "timeout", retryable = true, message = string.format("%s: not done within job_timeout = %g s",
        job.what, client.job_timeout), hint = "the job was cancelled; look at its plan under the id " .. job.id }
    end
    -- A server that has waited itself is asked again at once.
    if time.monotonic() - asked < 1 then
      task.sleep(pause)
      pause = math.min(pause * 1.5, MAX_PAUSE)
    end
  end
end

-- Waits for a query's end: { schema, total, bytes }. No rows come with it.
function jobs.wait_query(client, job)
  local settled <const> = jobs.settled(client, job)
  local answer <const> = jobs.wait(client, job, function()
    local a <const> = client.rest:call(job.what, { url = client.base .. "/projects/" .. client.project .. "/queries/" .. job.id,
      timeout = client.timeout + SERVER_WAIT,
      query = { location = job.location, maxResults = 0, timeoutMs = SERVER_WAIT * 1000 } }, settled)
    return a.jobComplete == true, a
  end)
  return { schema = answer.schema, total = jobs.count(job, answer.totalRows), bytes = math.tointeger(
    tonumber(answer.totalBytesProcessed)) }
end

-- Calls run(), which starts a job and waits for it, again when the job itself has failed for a reason that may pass. Calls
-- that failed have been tried again already.
function jobs.rerun(client, run)
  for n = 1, RUNS do
    local ok <const>, result <const> = pcall(run)
    if ok then return result end
    if n == RUNS or not fail.passing(result) or not result.job then error(result, 0) end
    log.warn("a job of BigQuery failed and is run again", { job = result.job, error = result.message, code = result.code })
    task.sleep(client.rest.backoff * 2.0 ^ n * (0.5 + math.random() / 2))
  end
end

-- The number in one of Google's int64 texts.
function jobs.count(job, value)
  local n <const> = type(value) == "string" and value:find("^%d+$") and math.tointeger(tonumber(value))
  if not n then
    fail.raise { code = "answer", retryable = true, message = job.what .. ": the answer has no number of rows (totalRows)" }
  end
  return n
end

-- Waits for the end of a job that has no rows; gives its resource.
function jobs.wait_end(client, job)
  return jobs.wait(client, job, function()
    local resource <const>, ended <const> = jobs.get(client, job)
    return ended, resource
  end)
end

return jobs
