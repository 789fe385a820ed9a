-- garun.http.settings: the options of a client, checked, and what libcurl gets of them.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local headers <const> = require "garun.http.headers"
local log <const> = require "garun.log"
local retry <const> = require "garun.http.retry"

local settings <const> = {}

-- Options of the connection: a request that has one of them gets settings of its own.
settings.wire = { "ca", "cert", "key", "key_password", "proxy", "no_proxy", "http2" }

-- Options that a request has, too.
settings.shared = { "headers", "ca", "cert", "key", "key_password", "proxy", "no_proxy", "allow_hosts", "http2", "user_agent",
  "basic_auth", "bearer", "timeout", "connect_timeout", "stall_timeout", "max_redirects", "max_body", "retry", "decompress",
  "allow_unframed" }

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end
settings.misuse = misuse

local function secret(value)
  if type(value) == "string" and #value >= 4 then log.secret(value) end
  return value
end

function settings.seconds(fn, name, value)
  if value ~= nil and (type(value) ~= "number" or not (value > 0 and value <= 1e6)) then
    misuse("%s: %s is a number of seconds above 0, at most 1000000", fn, name)
  end
end

function settings.count(fn, name, value, min, max)
  if value ~= nil and (math.type(value) ~= "integer" or value < min or value > max) then
    misuse("%s: %s is a whole number from %d to %d", fn, name, min, max)
  end
end

local function text(fn, opts, name)
  local value <const> = opts[name]
  if value ~= nil and (type(value) ~= "string" or value == "" or value:find("%z")) then
    misuse("%s: %s is a string that is not empty", fn, name)
  end
  return value
end

-- A PEM text, or the path of a file that can be read; anything else is told now, not by a handshake that fails.
local function pem(fn, opts, name, out)
  local value <const> = text(fn, opts, name)
  if not value then return end
  if value:find("-----BEGIN", 1, true) then
    out[name .. "_pem"] = value
  elseif not fs.exists(value) then
    misuse("%s: %s: there is no file %s", fn, name, value)
  else
    out[name] = value
  end
end

local proxy_schemes <const> = { http = true, https = true, socks5 = true, socks5h = true }

local function proxy(fn, opts, out)
  local value <const> = text(fn, opts, "proxy")
  local no_proxy <const> = opts.no_proxy
  if no_proxy ~= nil then
    if type(no_proxy) ~= "string" and type(no_proxy) ~= "table" then misuse("%s: no_proxy is a list of hosts", fn) end
    out.no_proxy = type(no_proxy) == "table" and table.concat(no_proxy, ",") or no_proxy
  end
  if not value then return end
  if value == "env" then
    out.proxy_env = true
    return
  end
  local scheme <const>, userinfo, rest = value:match("^(%a[%w]*)://([^@/]*@?)(.*)$")
  if not scheme or not proxy_schemes[scheme:lower()] or value:find("[%c ]") then
    misuse("%s: proxy is \"env\" or a URL with http, https, socks5 or socks5h: http://user:password@host:3128", fn)
  end
  if userinfo:sub(-1) ~= "@" then
    userinfo, rest = "", userinfo .. rest
  end
  out.proxy = scheme .. "://" .. rest
  if userinfo ~= "" then
    local function plain(s) return (s:gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)) end
    local user <const>, password = userinfo:sub(1, -2):match("^([^:]*):?(.*)$")
    out.proxy_user, out.proxy_password = plain(user), secret(plain(password))
  end
end

-- What libcurl gets. By its serial number garun.core.http knows a handle that has it already.
local serial = 0
function settings.for_wire(fn, opts)
  serial = serial + 1
  local out <const> = { http2 = opts.http2 ~= false, serial = serial }
  pem(fn, opts, "ca", out)
  pem(fn, opts, "cert", out)
  pem(fn, opts, "key", out)
  if out.key_pem then secret(out.key_pem) end
  if (opts.cert == nil) ~= (opts.key == nil) then misuse("%s: cert and key go together", fn) end
  out.key_password = secret(text(fn, opts, "key_password"))
  proxy(fn, opts, out)
  return out
end

local function basic(fn, value)
  if type(value) ~= "table" or type(value[1]) ~= "string" or type(value[2]) ~= "string" or value[1]:find(":", 1, true) then
    misuse("%s: basic_auth is { user, password }; the user has no colon", fn)
  end
  secret(value[2])
  return "Basic " .. secret(crypto.base64_encode(value[1] .. ":" .. value[2]))
end
settings.basic = basic

---- checks of the options that a client and a request have in common ----

local checks <const> = { timeout = settings.seconds, connect_timeout = settings.seconds, stall_timeout = settings.seconds }

function checks.max_redirects(fn, name, value) settings.count(fn, name, value, 0, 100) end

function checks.max_body(fn, name, value) settings.count(fn, name, value, 1, 1 << 40) end

function checks.retry(fn, _, value) retry.policy(fn, value, true) end

function checks.headers(fn, _, value) headers.add(fn, {}, value) end

function checks.user_agent(fn, name, value)
  text(fn, { [name] = value }, name)
  headers.add(fn, {}, { ["User-Agent"] = value })
end

function checks.basic_auth(fn, _, value) basic(fn, value) end

function checks.bearer(fn, _, value)
  if type(value) == "string" then
    secret(value)
  elseif type(value) ~= "function" then
    misuse("%s: bearer is a token or a function that gives one", fn)
  end
end

function checks.allow_hosts(fn, _, value)
  if type(value) ~= "table" then misuse("%s: allow_hosts is a list of host names", fn) end
  for _, host in ipairs(value) do
    if type(host) ~= "string" or host == "" or host:find("[/%s]") then
      misuse("%s: allow_hosts holds names like \"api.example.com\", \"*.example.com\" or \"localhost:8080\"", fn)
    end
  end
end

-- Checks each option that is given; with `known`, a set, also that there is no other.
function settings.check(fn, opts, known, names)
  if type(opts) ~= "table" then errors.check_options(fn, opts, names or {}) end
  for name, value in pairs(opts) do
    if known and not known[name] then errors.check_options(fn, opts, names) end
    local check <const> = checks[name]
    if check then check(fn, name, value) end
  end
  if opts.basic_auth ~= nil and opts.bearer ~= nil then misuse("%s: give basic_auth or bearer, not both", fn) end
end

-- The value of the Authorization header, or nil. A function is asked for each attempt: tokens expire.
function settings.authorization(fn, opts, at)
  if opts.basic_auth then return basic(fn, opts.basic_auth) end
  if opts.bearer then
    local token <const> = type(opts.bearer) == "function" and opts.bearer() or opts.bearer
    if type(token) ~= "string" or token == "" or token:find("[%c ]") then
      misuse("%s: bearer has to give a token, not %s", fn, type(token) == "string" and "such text" or "a " .. type(token))
    end
    return "Bearer " .. secret(token)
  end
  if at.user or at.password then return basic(fn, { at.user or "", at.password or "" }) end
  return nil
end

function settings.url(fn, base_url, target)
  if base_url and type(target) == "string" and not target:find("^%a[%w+.-]*://") then
    -- A path is below the base, whatever slashes they have: "v2" and "/v2" are the same.
    return (base_url:gsub("/+$", "")) .. (target == "" and "" or target:find("^[/?]") and target or "/" .. target)
  end
  if target == nil and base_url then return base_url end
  if target == nil then misuse("%s: url is missing", fn) end
  return target
end

return settings
