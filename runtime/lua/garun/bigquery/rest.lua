-- garun.bigquery.rest: one call of Google's REST APIs: token, errors, and trying again what may pass.
--
-- A call is tried again after transport errors, 408, 429, 5xx and rate limits, with growing pauses and not before
-- Retry-After says so; after a 401 once, at once, with a new token. All that is called through here is idempotent:
-- reading, or starting a job under an id of ours.

local errors <const> = require "garun.error"
local fail <const> = require "garun.bigquery.fail"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local http_retry <const> = require "garun.http.retry"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local task <const> = require "garun.task"

local rest <const> = {}
rest.__index = rest

local MAX_PAUSE <const> = 32            -- seconds
local MAX_RETRY_AFTER <const> = 300
local ERROR_MAX <const> = 1 << 20       -- bytes of an error's body that are looked at

-- opts: provider or nil, user_project, retries, backoff, timeout (both seconds), http (options of http.client)
function rest.new(opts)
  -- Google compresses for those only whose User-Agent says gzip, too (its "performance tips"). Several pages wait at a
  -- time: over HTTP/2 those would share one connection, and what is not read yet would fill libcurl's memory (its window
  -- is megabytes a stream) instead of the server's.
  local wire <const> = { user_agent = "garun/" .. host.version .. " (gzip)", http2 = false }
  for k, v in pairs(opts.http or {}) do wire[k] = v end
  return setmetatable({ provider = opts.provider, user_project = opts.user_project, retries = opts.retries,
    backoff = opts.backoff, timeout = opts.timeout, http = http.client(wire) }, rest)
end

function rest:close()
  self.http:close()
end

-- Runs fn, which makes one attempt, until it succeeds, its error will not pass, or there were enough. settled(err) is
-- called ahead of each pause and may raise what ends it sooner.
function rest:attempt(what, fn, settled)
  local pause = self.backoff
  for n = 0, math.huge do
    local ok <const>, result <const> = pcall(fn)
    if ok then return result end
    if not fail.passing(result) or n >= self.retries then error(result, 0) end
    if settled then settled(result) end
    local wait <const> = math.max(result.retry_after or 0, pause * (0.5 + math.random() / 2))
    log.debug("a call of BigQuery is tried again", { call = what, error = result.message, code = result.code, pause = wait })
    task.sleep(wait)
    pause = math.min(pause * 2, MAX_PAUSE)
  end
end

local function refusal(what, answer)
  local text <const> = answer:text(ERROR_MAX)
  answer:close()
  local ok <const>, body <const> = pcall(json.decode, text, { excerpt = false })
  local err <const> = fail.from_answer(what, answer.status, ok and body or nil)
  local after <const> = http_retry.after(answer.headers)
  err.retry_after = after and math.min(after, MAX_RETRY_AFTER)
  return err
end

-- One request, answered with 2xx, or an error. With stream = true the caller closes the response.
function rest:once(what, request)
  local copy <const> = { retry = false, idempotent = true, timeout = not request.stream and self.timeout or nil }
  for k, v in pairs(request) do copy[k] = v end
  copy.headers = { ["X-Goog-User-Project"] = self.user_project }
  for k, v in pairs(request.headers or {}) do copy.headers[k] = v end
  for n = 1, 2 do
    local token <const> = self.provider and self.provider.get()
    copy.headers.Authorization = token and "Bearer " .. token or nil
    local ok <const>, answer <const> = pcall(self.http.request, self.http, copy)
    if not ok then error(errors.is(answer, "http") and errors.wrap(answer, what) or answer, 0) end
    if answer.status >= 200 and answer.status < 300 then return answer end
    if answer.status ~= 401 or not token or n == 2 then error(refusal(what, answer), 0) end
    self.provider.refused(token)
    answer:close()
  end
end

-- Calls and decodes: the answer's JSON object.
function rest:call(what, request, settled)
  return self:attempt(what, function()
    local answer <const> = self:once(what, request)
    if answer.status == 204 then return {} end
    local ok <const>, body <const> = pcall(json.decode, answer.body, { excerpt = false })
    if not ok or type(body) ~= "table" then
      fail.raise { code = "answer", retryable = true, message = what .. ": the answer is no JSON object",
        detail = not ok and body.message or nil }
    end
    return body
  end, settled)
end

return rest
