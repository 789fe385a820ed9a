-- garun.bigquery.fail: errors of kind "bigquery". What Google's reasons mean: whether trying again helps, and what to do.

local errors <const> = require "garun.error"

local fail <const> = {}

-- Reasons that may pass by themselves. quotaExceeded is none: it lasts until the quota's day is over, and neither
-- Google's Python nor its Node client tries again.
local passing <const> = {
  rateLimitExceeded = true, userRateLimitExceeded = true, jobRateLimitExceeded = true, backendError = true,
  internalError = true, jobBackendError = true, jobInternalError = true, badGateway = true, tableUnavailable = true,
}
local passing_status <const> = { [408] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }

local hints <const> = {
  accessDenied = "give the account the roles BigQuery Data Viewer (on the data set) and BigQuery Job User (on the project)",
  authError = "the access token was refused, and a new one too: look at the account and its key",
  billingNotEnabled = "the project has no billing account; Google's sandbox does not run this",
  bytesBilledLimitExceeded = "raise maximum_bytes_billed when the query may cost that much",
  quotaExceeded = "a quota of the project is used up, mostly for the day; see its quotas in the Google Cloud console",
  responseTooLarge = "the answer is beyond 10 GB: read the table by an extract job (via = \"extract\")",
  resourcesExceeded = "the query needs more than BigQuery gives it; read the table by an extract job (via = \"extract\")",
  invalid_grant = "the key was deleted or this machine's clock is wrong: compare the key's id in the Google Cloud console",
}

-- Whether the same call may be made again. Only errors of the wire and of BigQuery: a deadline of the caller's
-- (task.timeout) says retryable, too, but of the caller's whole undertaking.
function fail.passing(err)
  return (errors.is(err, "http") or errors.is(err, "bigquery")) and err.retryable and not err.spoilt
end

-- Raises an error of kind "bigquery" with these fields.
function fail.raise(fields)
  fields.kind = "bigquery"
  error(errors.new(fields), 0)
end

-- The same for an answer that contradicts itself: rows of it may have been handed out, so it is the whole read that may be
-- made again, not the call.
function fail.spoilt(fields)
  fields.kind, fields.retryable = "bigquery", true
  fields.hint = fields.hint or "nothing of it may be used; run again"
  local err <const> = errors.new(fields)
  err.spoilt = true
  error(err, 0)
end

function fail.usage(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 3)
end

-- The error of an error object in Google's form ({ reason, message, location }), of a job or of an HTTP answer.
function fail.from_reason(what, proto, status)
  local reason <const> = type(proto.reason) == "string" and proto.reason or status and tostring(status) or "unknown"
  local message <const> = type(proto.message) == "string" and proto.message or "no message"
  local detail
  if status then detail = "HTTP status " .. status end
  if type(proto.location) == "string" then detail = (detail and detail .. ", " or "") .. "at " .. proto.location end
  -- A job may be unknown for a moment behind its start.
  local fresh <const> = reason == "notFound" and message:find("Not found: Job", 1, true) ~= nil
  return errors.new { kind = "bigquery", code = reason, message = what .. ": " .. message:sub(1, 900), detail = detail,
    hint = hints[reason], retryable = passing[reason] or (status and passing_status[status]) or fresh }
end

-- The error of an answer whose status is not 2xx; body is what json.decode gave, or nil.
function fail.from_answer(what, status, body)
  local e <const> = type(body) == "table" and body.error
  if type(e) == "table" then
    local first <const> = type(e.errors) == "table" and e.errors[1] or {}
    return fail.from_reason(what, { reason = first.reason, message = e.message or first.message,
      location = first.location }, status)
  end
  if type(e) == "string" then             -- OAuth 2 (RFC 6749, 5.2)
    return fail.from_reason(what, { reason = e, message = type(body.error_description) == "string" and body.error_description
      or e }, status)
  end
  return fail.from_reason(what, { message = string.format("the server answered %d and no reason", status) }, status)
end

return fail
