-- garun.http.retry: when a request is made again, and after how long.

local errors <const> = require "garun.error"
local time <const> = require "garun.time"

local retry <const> = {}

local options <const> = { "attempts", "base", "max", "on" }
local STATUSES <const> = { 408, 429, 500, 502, 503, 504 }
local idempotent <const> = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true, TRACE = true }

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

local function set_of(list)
  local set <const> = {}
  for _, status in ipairs(list) do set[status] = true end
  return set
end

local default <const> = { attempts = 4, base = 0.5, max = 60, on = set_of(STATUSES) }
local never <const> = { attempts = 1, base = 0, max = 0, on = {} }

-- RFC 9110, 9.2.2: doing it twice is as doing it once.
function retry.idempotent(method)
  return idempotent[method] or false
end

-- Gives the policy for an option: nil, false, true or a table. `safe`: the request may be repeated without being asked to.
function retry.policy(fn, given, safe)
  if given == false then return never end
  if given == nil or given == true then return (safe or given) and default or never end
  local opts <const> = errors.check_options(fn .. ": retry", given, options)
  local policy <const> = { attempts = opts.attempts or default.attempts, base = opts.base or default.base,
    max = opts.max or default.max, on = opts.on and set_of(opts.on) or default.on }
  if math.type(policy.attempts) ~= "integer" or policy.attempts < 1 or policy.attempts > 100 then
    misuse("%s: retry.attempts is a whole number from 1 to 100", fn)
  end
  if type(policy.base) ~= "number" or not (policy.base >= 0 and policy.base <= 3600) then
    misuse("%s: retry.base is a number of seconds from 0 to 3600", fn)
  end
  if type(policy.max) ~= "number" or not (policy.max >= 0 and policy.max <= 86400) then
    misuse("%s: retry.max is a number of seconds from 0 to 86400", fn)
  end
  return policy
end

local months <const> = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10,
  Nov = 11, Dec = 12 }

-- Seconds since 1970 of an HTTP date in its three forms (RFC 9110, 5.6.7); nil for anything else.
function retry.http_date(text)
  local day, month, year, h, m, s = text:match("^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    day, month, year, h, m, s = text:match("^%a+, (%d%d)-(%a%a%a)-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if day then
      local now <const> = os.date("!*t").year
      year = now - now % 100 + tonumber(year)
      if year > now + 50 then year = year - 100 end
    end
  end
  if not day then month, day, h, m, s, year = text:match("^%a+ (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$") end
  if not day or not months[month] then return nil end
  local date <const> = string.format("%04d-%02d-%02d", tonumber(year), months[month], tonumber(day))
  local ok, days = pcall(time.diff_days, "1970-01-01", date)
  if not ok then return nil end
  return days * 86400 + tonumber(h) * 3600 + tonumber(m) * 60 + tonumber(s)
end

-- The seconds that Retry-After asks for; nil when it does not.
function retry.after(headers)
  local text <const> = headers["retry-after"]
  if not text then return nil end
  if text:find("^%d+$") then return tonumber(text) end
  local at <const> = retry.http_date(text)
  if not at then return nil end
  -- The server's own clock, when it tells: ours may be wrong.
  local now <const> = headers.date and retry.http_date(headers.date) or os.time()
  return math.max(at - now, 0)
end

-- How long to wait behind attempt n: "full jitter", so that a thousand clients do not come back at once.
function retry.delay(policy, n)
  return math.random() * math.min(policy.max, policy.base * 2.0 ^ (n - 1))
end

return retry
