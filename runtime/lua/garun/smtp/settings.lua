-- garun.smtp.settings: the options of smtp.connect, checked and complete.

local errors <const> = require "garun.error"
local printable <const> = require "garun.printable"
local proc <const> = require "garun.proc"

local M <const> = {}

local OPTIONS <const> = { "server", "port", "tls", "username", "password", "token", "auth", "ca", "cert", "key", "key_password",
  "pin", "hello", "connections", "connect_timeout", "timeout", "dot_timeout", "max_idle" }

local PORTS <const> = { starttls = 587, implicit = 465, none = 25 }
local MECHANISMS <const> = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "XOAUTH2", "OAUTHBEARER" }

local CONNECT_TIMEOUT <const> = 60       -- RFC 5321 gives a banner five minutes; nobody waits that long for a login
local TIMEOUT <const> = 300              -- 4.5.3.2: MAIL, RCPT and blocks of data three to five minutes
local DOT_TIMEOUT <const> = 600          -- 4.5.3.2.6: giving up earlier makes duplicates
local MAX_IDLE <const> = 240             -- relays hang up after five minutes

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "option", message = string.format(fmt, ...) }, 0)
end

local function text_option(o, name)
  local value <const> = o[name]
  if value == nil then return nil end
  if type(value) ~= "string" or value == "" or value:find("%c") then
    misuse("smtp.connect: option '%s' must be a text without control characters", name)
  end
  return value
end

local function number_option(o, name, default, min, max, integer)
  local value <const> = o[name] == nil and default or o[name]
  if type(value) ~= "number" or not (value >= min and value <= max) or integer and math.type(value) ~= "integer" then
    misuse("smtp.connect: option '%s' must be %s from %g to %g", name, integer and "an integer" or "a number", min, max)
  end
  return value
end

local function is_loopback(name)
  return name == "localhost" or name == "::1" or name:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

-- The options, checked and complete.
function M.options(given)
  local o <const> = {}
  for k, v in pairs(errors.check_options("smtp.connect", given, OPTIONS)) do o[k] = v end
  for _, name in ipairs { "server", "username", "password", "token", "ca", "cert", "key", "key_password", "pin", "hello" } do
    o[name] = text_option(o, name)
  end
  if not o.server then misuse("smtp.connect: option 'server' is missing: a host name, an address or the path of a socket") end
  o.socket = o.server:find("^/") and o.server or nil
  if not o.socket and not o.server:find("^[%w._-]+$") and not o.server:find("^[%x:]+[%x.]*$") then
    misuse("smtp.connect: '%s' is no host name or address; the port is an option of its own", printable(o.server))
  end
  o.tls = o.tls == nil and "starttls" or o.tls
  if not PORTS[o.tls] then misuse('smtp.connect: option \'tls\' must be "starttls", "implicit" or "none"') end
  o.port = number_option(o, "port", PORTS[o.tls], 1, 65535, true)
  o.connections = number_option(o, "connections", 1, 1, 100, true)
  o.connect_timeout = number_option(o, "connect_timeout", CONNECT_TIMEOUT, 0.001, 3600)
  o.timeout = number_option(o, "timeout", TIMEOUT, 0.001, 86400)
  o.dot_timeout = number_option(o, "dot_timeout", DOT_TIMEOUT, 0.001, 86400)
  o.max_idle = number_option(o, "max_idle", MAX_IDLE, 0, 86400)
  if (o.password or o.token) and not o.username then misuse("smtp.connect: a password or token needs a username") end
  if o.username and not o.password and not o.token then misuse("smtp.connect: username '%s' needs a password or a token",
    printable(o.username)) end
  if o.password and o.token then misuse("smtp.connect: give a password or a token, not both") end
  if o.tls == "none" and o.username and not o.socket and not is_loopback(o.server) then
    misuse('smtp.connect: a password never goes to %s in clear text; use tls = "starttls" or "implicit"', o.server)
  end
  if o.cert == nil and (o.key or o.key_password) then misuse("smtp.connect: key and key_password belong to option 'cert'") end
  local hello <const> = o.hello or proc.hostname()
  if not hello:find("^%[?[%w.:_-]+%]?$") then misuse("smtp.connect: hello must be a host name, got '%s'", printable(hello)) end
  o.hello = hello
  return o
end

-- AUTH only by what was chosen. libcurl left alone would prefer Kerberos whenever a relay offers it, and stop there.
function M.mechanisms(o)
  local list = o.auth == nil and (o.token and { "XOAUTH2", "OAUTHBEARER" } or { "PLAIN", "LOGIN" }) or o.auth
  if type(list) == "string" then list = { list } end
  if type(list) ~= "table" or #list == 0 then misuse("smtp.connect: option 'auth' is a mechanism or a list of them") end
  local names <const> = {}
  for i, name in ipairs(list) do
    for _, known in ipairs(MECHANISMS) do
      if type(name) == "string" and name:upper() == known then names[i] = known end
    end
    if not names[i] then misuse("smtp.connect: auth: mechanisms are %s", table.concat(MECHANISMS, ", ")) end
  end
  return names
end

return M
