-- garun.config: configuration from the environment and from .env, checked before anything uses it.
--
-- The environment wins over the file. Every variable garun knows is in the table below; another POSTGRES_*, DATABASE_*
-- or GARUN_* name is an error, for a setting that is silently ignored is found out at night.

local host <const> = require "garun.core.host"
local errors <const> = require "garun.error"

local config <const> = {}

local function integer(low, high)
  return function(text)
    local n <const> = text:match("^%d+$") and math.tointeger(tonumber(text))
    if n and n >= low and n <= high then return n end
    return nil, string.format("must be an integer from %d to %d", low, high)
  end
end

local function one_of(...)
  local words <const> = { ... }
  return function(text)
    for _, w in ipairs(words) do
      if text == w then return text end
    end
    return nil, "must be one of " .. table.concat(words, ", ")
  end
end

local function text(value)
  if value:find("[\0\r\n]") then return nil, "must be one line" end
  return value
end

local known <const> = {
  POSTGRES_HOST = text,
  POSTGRES_PORT = integer(1, 65535),
  POSTGRES_USER = text,
  POSTGRES_PASSWORD = text,
  POSTGRES_DATABASE = text,
  POSTGRES_SSLMODE = one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
  POSTGRES_SSLROOTCERT = text,
  DATABASE_POOL_SIZE = integer(1, 1000),
  DATABASE_MAX_OVERFLOW = integer(0, 1000),
  DATABASE_POOL_TIMEOUT = integer(0, 86400),
  DATABASE_POOL_RECYCLE = integer(0, 31536000),
  GARUN_LOG_LEVEL = one_of("debug", "info", "warn", "error"),
  GARUN_LOG_FORMAT = one_of("logfmt", "json"),
  GARUN_VAR = text,       -- where the private PostgreSQL and reject files live
  GARUN_HOME = text,      -- where scripts/ and sql/ are
  GARUN_DEBUG = text,     -- set: core dumps are allowed
  GARUN_TEST = text,      -- set by `garun test` for the files it runs
  GARUN_TEST_FAULT = text,    -- where such a test stops the process (garun.fault)
}

local values <const>, origin <const> = {}, {}

local function refuse(where, name, why)
  error(errors.new { kind = "config", message = string.format("%s: %s %s", where, name, why),
    hint = "garun help config lists the variables" }, 0)
end

local function set(name, value, where)
  local check <const> = known[name]
  if not check then
    local names <const> = {}
    for k in pairs(known) do names[#names + 1] = k end
    table.sort(names)
    local near <const> = errors.nearest(name, names)
    refuse(where, name, "is no variable that garun knows" .. (near and "; did you mean " .. near .. "?" or ""))
  end
  local checked <const>, why <const> = check(value)
  if checked == nil then refuse(where, name, why) end
  values[name], origin[name] = checked, where
end

-- NAME=value, NAME="value with \n \" \\", NAME='as it is'; "export " in front and a comment behind are allowed.
local function parse_line(line)
  local name <const>, rest <const> = line:match("^%s*([%a_][%w_]*)%s*=%s*(.-)%s*$")
  if not name then return nil, "is no NAME=value" end
  local quote <const> = rest:sub(1, 1)
  if quote == "'" then
    local value <const> = rest:match("^'([^']*)'%s*$") or rest:match("^'([^']*)'%s+#.*$")
    return name, value, value == nil and "has an unclosed quote or text after it" or nil
  elseif quote == '"' then
    local out <const>, i = {}, 2
    while true do
      local c <const> = rest:sub(i, i)
      if c == "" then return name, nil, "has an unclosed quote" end
      if c == '"' then break end
      if c == "\\" then
        i = i + 1
        local e <const> = rest:sub(i, i)
        out[#out + 1] = ({ n = "\n", t = "\t", r = "\r" })[e] or e
      else
        out[#out + 1] = c
      end
      i = i + 1
    end
    local tail <const> = rest:sub(i + 1)
    if not (tail:match("^%s*$") or tail:match("^%s+#")) then return name, nil, "has text after the closing quote" end
    return name, table.concat(out)
  end
  return name, (rest:gsub("%s+#.*$", ""))
end

local function load_file(path, must_exist)
  local file <close>, why = io.open(path, "r")
  if not file then
    if must_exist then refuse(path, "configuration file", "cannot be read: " .. why) end
    return
  end
  local n, seen <const> = 0, {}
  for line in file:lines() do
    n = n + 1
    line = line:gsub("\r$", ""):gsub("^%s*export%s+", "")
    if line:match("%S") and not line:match("^%s*#") then
      local where <const> = string.format("%s:%d", path, n)
      local name <const>, value, bad = parse_line(line)
      if not name then refuse(where, "the line", value) end
      if bad then refuse(where, name, bad) end
      if seen[name] then refuse(where, name, "was set in line " .. seen[name] .. " already") end
      seen[name] = n
      if not known[name] or host.getenv(name) == nil then set(name, value, where) end
    end
  end
end

-- Reads the environment and the file (default ./.env, which need not exist). main.lua calls it once.
function config.load(path)
  for k in pairs(values) do values[k], origin[k] = nil, nil end
  for name, value in pairs(host.environ()) do
    if name:match("^POSTGRES_") or name:match("^DATABASE_") or name:match("^GARUN_") then
      set(name, value, "environment")
    end
  end
  load_file(path or ".env", path ~= nil)
  local log <const> = require "garun.log"
  log.configure { level = values.GARUN_LOG_LEVEL or "info", format = values.GARUN_LOG_FORMAT or "logfmt" }
  -- One of fewer than four bytes would shred every line that it is taken out of.
  if #(values.POSTGRES_PASSWORD or "") >= 4 then log.secret(values.POSTGRES_PASSWORD) end
end

function config.get(name)
  if not known[name] then error("config.get: unknown variable " .. tostring(name), 2) end
  return values[name]
end

-- Where the value came from: "environment", ".env:3", or nil.
function config.origin(name)
  return origin[name]
end

-- The directory that holds scripts/ and sql/: the checkout, or PREFIX/share/garun.
function config.root()
  return values.GARUN_HOME or host.root()
end

function config.path(name)
  return config.root() .. "/" .. name
end

-- A checkout keeps it beside itself; an installed garun where its user may write (XDG Base Directory Specification).
function config.var()
  if values.GARUN_VAR then return values.GARUN_VAR end
  local root <const> = config.root()
  if not root:match("/share/garun$") then return root .. "/var" end
  if require("garun.proc").uid() == 0 then return "/var/lib/garun" end
  local state <const> = host.getenv("XDG_STATE_HOME")
  if state and state ~= "" then return state .. "/garun" end
  return (host.getenv("HOME") or "/tmp") .. "/.local/state/garun"
end

-- Connection settings of the configured server, or of the private one, which is started when it does not run.
function config.postgres()
  if not values.POSTGRES_HOST then
    for _, name in ipairs { "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD" } do
      if values[name] then
        refuse(origin[name], name, "is set, but POSTGRES_HOST is not: set it too, or neither for the private server")
      end
    end
    local own <const> = require("garun.private_pg").ensure()
    own.database = values.POSTGRES_DATABASE or own.database
    return own
  end
  return {
    host = values.POSTGRES_HOST,
    port = values.POSTGRES_PORT or 5432,
    user = values.POSTGRES_USER,
    password = values.POSTGRES_PASSWORD,
    database = values.POSTGRES_DATABASE,
    sslmode = values.POSTGRES_SSLMODE,
    sslrootcert = values.POSTGRES_SSLROOTCERT,
  }
end

return config
