-- garun.http.url: what may be asked for, and how it may be shown. Parsing is libcurl's (garun.core.http), so that what is
-- checked here is what is connected to.

local core <const> = require "garun.core.http"
local errors <const> = require "garun.error"
local log <const> = require "garun.log"
local printable <const> = require "garun.printable"

local url <const> = {}

local SHOWN <const> = 300      -- bytes of a URL in a text

-- Names of query parameters whose values are nobody's business; part of the name is enough.
local secret_names <const> = { "token", "key", "sig", "secret", "pass", "pwd", "auth", "cred", "session", "sas" }

local function secret_name(name)
  name = name:lower()
  for _, word in ipairs(secret_names) do
    if name:find(word, 1, true) then return true end
  end
  return false
end
url.secret_name = secret_name

-- A URL for texts: without user, secret values and whatever is registered as a secret, and not too long.
function url.show(text)
  if #text <= SHOWN and not text:find("[^%w:/._%-%%,;=+~]") then return log.redact(text) end
  text = text:gsub("^([%a][%w+.-]*:/*)[^/?#@]*@", "%1", 1)
  local path <const>, query <const> = text:match("^([^?]*%?)(.*)$")
  if query then
    text = path .. query:gsub("([^&=#]+)=([^&#]*)", function(name, value)
      if value ~= "" and secret_name(name) then return name .. "=***" end
    end)
  end
  text = log.redact(text)
  if #text > SHOWN then text = text:sub(1, SHOWN) .. "..." end
  return printable(text)
end

local function fail(text, why, hint)
  error(errors.new { kind = "http", code = "url", message = "bad URL " .. url.show(text) .. ": " .. why, hint = hint }, 0)
end

local function escape(c)
  return string.format("%%%02X", c:byte())
end

-- Percent-encodes what a URL cannot hold as it is; the host may be in any alphabet.
local function clean(text)
  if text:find("[%c\x7f]") then
    fail(text, "it has a control character", "percent-encode it; option query does that by itself")
  end
  if not text:find("[\x80-\xff ]") then return text end
  local head <const>, rest <const> = text:match("^(%a[%w+.-]*://[^/?#]*)(.*)$")
  if head then return head .. rest:gsub("[\x80-\xff ]", escape) end
  return (text:gsub("[\x80-\xff ]", escape))
end

-- Reads a URL, a relative one against base. { url, scheme, host, port, origin, shown, user, password }
function url.parse(text, base)
  if type(text) ~= "string" or text == "" then
    error(errors.new { kind = "usage", code = "argument", message = "http: url is a string, not "
      .. (text == "" and "an empty one" or "a " .. type(text)) }, 0)
  end
  if not base and not text:find("^%a[%w+.-]*://") then
    fail(text, "it has no scheme", "write https://" .. url.show(text):gsub("^/+", "") .. ", or give the client a base_url")
  end
  local whole <const>, scheme, host, port, user, password = core.url(clean(text), base)
  if not whole then fail(text, scheme) end
  if scheme ~= "http" and scheme ~= "https" then fail(text, "its scheme is not http or https") end
  if host == "" then fail(text, "it has no host") end
  if password and #password >= 4 then log.secret(password) end
  return { url = whole, scheme = scheme, host = host:lower(), port = port, user = user, password = password,
    origin = scheme .. "://" .. host:lower() .. ":" .. port, shown = url.show(whole) }
end

local function encode(value)
  return (value:gsub("[^%w%-._~]", escape))
end

local function scalar(fn, name, value)
  local kind <const> = type(value)
  if kind == "string" then return value end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  error(errors.new { kind = "usage", code = "argument", message = string.format(
    "%s: '%s' is a string, a number or a boolean, or a list of them, not a %s", fn, tostring(name), kind) }, 0)
end

-- name=value&... of a table, in the order of the names; a list gives a name several times. A list of { name, value }
-- keeps its own order.
function url.pairs(fn, fields)
  local parts <const> = {}
  local function add(name, value)
    if type(name) ~= "string" then
      error(errors.new { kind = "usage", code = "argument",
        message = fn .. ": names are strings, not " .. type(name) .. "s" }, 0)
    end
    if type(value) == "table" then
      for _, v in ipairs(value) do parts[#parts + 1] = encode(name) .. "=" .. encode(scalar(fn, name, v)) end
    else
      parts[#parts + 1] = encode(name) .. "=" .. encode(scalar(fn, name, value))
    end
  end
  if type(fields[1]) == "table" then
    for _, pair in ipairs(fields) do add(pair[1], pair[2]) end
  else
    local names <const> = {}
    for name in pairs(fields) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do add(name, fields[name]) end
  end
  return table.concat(parts, "&")
end

-- The URL with the query added behind the one it has.
function url.with_query(text, query)
  local added <const> = type(query) == "string" and query:gsub("^%?", "") or url.pairs("http: query", query)
  if added == "" then return text end
  local before, fragment = text:match("^([^#]*)(#?.*)$")
  local join <const> = not before:find("?", 1, true) and "?" or before:find("[?&]$") and "" or "&"
  return before .. join .. added .. fragment
end

-- Whether the list allows the host: "api.example.com", "*.example.com" (what is below it), either with ":port".
function url.allowed(at, list)
  for _, entry in ipairs(list) do
    local name, port = entry:lower():match("^(.-):(%d+)$")
    if not name or name:find(":", 1, true) then name, port = entry:lower(), nil end      -- an IPv6 address has colons
    local host <const> = at.host
    local same = host == name or host == "[" .. name .. "]"
    if not same and name:sub(1, 2) == "*." then same = #host > #name - 1 and host:sub(-(#name - 1)) == name:sub(2) end
    if same and (not port or tonumber(port) == at.port) then return true end
  end
  return false
end

function url.check_allowed(at, list)
  if list and not url.allowed(at, list) then
    error(errors.new { kind = "http", code = "host_not_allowed", message = string.format(
      "%s: the host %s is not in allow_hosts", at.shown, at.host) }, 0)
  end
end

return url
