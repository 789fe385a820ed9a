-- garun.pg.connect: from what a script says to an open session. Which server, which address, how it is secured, and
-- what every session is set to; garun.core.pg only opens one address.

local core <const> = require "garun.core.pg"
local errors <const> = require "garun.error"
local host <const> = require "garun.core.host"
local log <const> = require "garun.log"
local text <const> = require "garun.pg.text"

local M <const> = {}

-- Settings that libpq takes by the same name.
local LIBPQ <const> = {
  "host", "hostaddr", "port", "user", "password", "passfile", "application_name", "options", "sslmode", "sslrootcert",
  "sslcert", "sslkey", "sslcrl", "sslsni", "ssl_min_protocol_version", "channel_binding", "target_session_attrs",
  "gssencmode", "krbsrvname", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
  "tcp_user_timeout",
}

-- Settings of ours.
local OURS <const> = {
  "dsn", "database", "connect_timeout", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
  "search_path", "role", "read_only", "time_zone", "settings", "timeout", "nulls", "numbers", "prepare",
}

local KNOWN <const> = table.move(LIBPQ, 1, #LIBPQ, #OURS + 1, table.move(OURS, 1, #OURS, 1, {}))

local DEFAULT_CONNECT_TIMEOUT <const> = 10
local SYSTEM_CA <const> = "/etc/ssl/certs/ca-certificates.crt"

-- tcp_user_timeout: Linux before 6.7 counts it also while the peer's window is closed, and a server that waits for a
-- lock in the middle of a COPY closes it; so it must be far above any such wait.
local TCP <const> = {
  keepalives = "1", keepalives_idle = "30", keepalives_interval = "10", keepalives_count = "3",
  tcp_user_timeout = "300000",
}

local function refuse(message, hint)
  error(errors.new { kind = "usage", message = message, hint = hint }, 0)
end

local function check(options, name, want)
  local value <const> = options[name]
  if value == nil then return nil end
  local kind <const> = want == "seconds" and "number" or want
  if type(value) ~= kind or want == "seconds" and not (value >= 0 and value < 1e7) then
    refuse(string.format("pg.connect: option '%s' must be a %s", name,
      want == "seconds" and "number of seconds, 0 or more" or want))
  end
  return value
end

-- The environment's server where the caller names none. A host without a password must not get another server's.
local function fill(options)
  if options.host or options.hostaddr then return options end
  local at <const> = require("garun.config").postgres()
  for _, name in ipairs { "host", "port", "user", "password", "database", "sslmode" } do
    if options[name] == nil then options[name] = at[name] end
  end
  return options
end

local function from_dsn(dsn)
  local options <const> = {}
  for key, value in pairs(core.parse_dsn(dsn)) do
    if key == "dbname" then
      key = "database"
    elseif key == "connect_timeout" then
      value = tonumber(value)
    end
    options[key] = value
  end
  return options
end

-- All settings in one table, checked.
local function gather(what)
  if what == nil then return fill {} end
  if type(what) == "string" then what = { dsn = what } end
  if type(what) ~= "table" then
    refuse("pg.connect: expects a connection string or a table of settings, got " .. type(what))
  end
  errors.check_options("pg.connect", what, KNOWN)
  local options <const> = what.dsn and from_dsn(check(what, "dsn", "string")) or {}
  for key, value in pairs(what) do
    if key ~= "dsn" then options[key] = value end
  end
  return fill(options)
end

local function is_socket(name)
  return name:sub(1, 1) == "/" or name:sub(1, 1) == "@"
end

local function is_loopback(name)
  return name == "localhost" or name == "::1" or name:match("^127%.%d+%.%d+%.%d+$") ~= nil
end

local function is_address(name)
  return name:match("^%d+%.%d+%.%d+%.%d+$") ~= nil or name:find(":", 1, true) ~= nil
end

local function exists(path)
  local file <close> = io.open(path, "r")
  return file ~= nil
end

-- How the wire is secured when nobody says: a Unix socket needs nothing; loopback takes TLS only where the server
-- insists, for it costs a bulk load a third of its speed and protects from nobody; any other host must prove its name.
local function secure(keywords, name)
  local mode <const> = keywords.sslmode or host.getenv("PGSSLMODE")
  if is_socket(name) then
    keywords.sslmode = mode
    return
  end
  keywords.sslmode = mode or (is_loopback(name) and "allow" or "verify-full")
  local verify <const> = keywords.sslmode == "verify-full" or keywords.sslmode == "verify-ca"
  if verify and not keywords.sslrootcert and not host.getenv("PGSSLROOTCERT")
    and not exists((host.getenv("HOME") or "") .. "/.postgresql/root.crt") and exists(SYSTEM_CA) then
    keywords.sslrootcert = SYSTEM_CA
  end
end

local function split(list)
  local out <const> = {}
  for item in (tostring(list) .. ","):gmatch("([^,]*),") do out[#out + 1] = item end
  return out
end

-- Every (host, address, port) to try, in order. A name with several addresses gives one entry for each.
local function endpoints(options)
  local out <const> = {}
  local names <const> = split(options.host or options.hostaddr)
  local ports <const> = split(options.port or host.getenv("PGPORT") or 5432)
  local given <const> = options.hostaddr and split(options.hostaddr)
  for i, name in ipairs(names) do
    local port <const> = ports[i] or ports[1]
    if given and given[i] then
      out[#out + 1] = { name = name, address = given[i], port = port }
    elseif is_socket(name) then
      out[#out + 1] = { name = name, port = port }
    elseif is_address(name) then
      out[#out + 1] = { name = name, address = name, port = port }
    else
      for _, address in ipairs(core.resolve(name)) do
        out[#out + 1] = { name = name, address = address, port = port }
      end
    end
  end
  return out
end

local function milliseconds(seconds)
  return string.format("%dms", math.ceil(seconds * 1000))
end

-- The one statement that every session begins with.
local function setup_sql(options, version)
  local set <const> = {
    { "TimeZone", options.time_zone or "UTC" },
    { "DateStyle", "ISO, YMD" },
    { "IntervalStyle", "postgres" },
    { "extra_float_digits", "3" },
    { "standard_conforming_strings", "on" },
    { "bytea_output", "hex" },
  }
  -- A backend notices a client that is gone while it computes; without this it would finish its query first.
  if version >= 140000 then set[#set + 1] = { "client_connection_check_interval", "5s" } end
  for _, name in ipairs { "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout" } do
    if check(options, name, "seconds") then set[#set + 1] = { name, milliseconds(options[name]) } end
  end
  if check(options, "role", "string") then set[#set + 1] = { "role", options.role } end
  if check(options, "read_only", "boolean") then set[#set + 1] = { "default_transaction_read_only", "on" } end
  local path <const> = options.search_path
  if type(path) == "table" then
    local quoted <const> = {}
    for i, name in ipairs(path) do quoted[i] = text.ident(name) end
    set[#set + 1] = { "search_path", table.concat(quoted, ", ") }
  elseif check(options, "search_path", "string") then
    set[#set + 1] = { "search_path", path }
  end
  local names <const> = {}
  for name in pairs(check(options, "settings", "table") or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do set[#set + 1] = { name, tostring(options.settings[name]) } end
  local calls <const> = {}
  for i, pair in ipairs(set) do
    calls[i] = string.format("pg_catalog.set_config(%s, %s, false)", text.literal(pair[1]), text.literal(pair[2]))
  end
  return "SELECT " .. table.concat(calls, ", ")
end

local function without_check_interval(sql)
  return (sql:gsub(", pg_catalog%.set_config%('client_connection_check_interval', '5s', false%)", ""))
end

-- Sets the session up, or sets it up again after DISCARD ALL.
function M.set_up(db, sql, timeout)
  local ok, err = pcall(db.exec, db, { sql, prepare = false, timeout = timeout })
  if not ok and errors.is(err, "pg") and tostring(err.message):find("client_connection_check_interval", 1, true) then
    ok, err = pcall(db.exec, db, { without_check_interval(sql), prepare = false, timeout = timeout })
  end
  if ok then return end
  db:close()
  error(err, 0)
end

-- Errors after which another address of the same list is worth a try: the server was not reached, or cannot serve now.
local function next_address(err)
  return errors.is(err, "pg") and (err.code == "timeout" or err.code:match("^08") or err.code:match("^57P0")) ~= nil
end

local function open(options, at, timeout)
  local keywords <const> = {
    dbname = options.database, host = at.name, hostaddr = at.address, port = tostring(at.port),
    fallback_application_name = "garun", client_encoding = "UTF8",
    gssencmode = "disable",     -- libpq would ask the ticket cache and the KDC, blocking
  }
  for _, name in ipairs(LIBPQ) do
    if options[name] ~= nil and name ~= "host" and name ~= "hostaddr" and name ~= "port" then
      keywords[name] = tostring(options[name])
    end
  end
  secure(keywords, at.name)
  if at.address then
    for name, value in pairs(TCP) do keywords[name] = keywords[name] or value end
  end
  local where <const> = is_socket(at.name) and string.format("%s (port %s)", at.name, at.port)
    or string.format("%s:%s", at.name, at.port)
  local label <const> = string.format("database \"%s\" at %s as user \"%s\"",
    options.database or options.user or host.getenv("PGDATABASE") or "", where,
    options.user or host.getenv("PGUSER") or host.getenv("USER") or "")
  local db <const> = core.new()
  core.open(db, keywords, label, timeout)
  return db
end

-- sessions[db] is what pool.lua needs to set a session up again.
M.sessions = setmetatable({}, { __mode = "k" })

function M.connect(what)
  local options <const> = gather(what)
  local timeout <const> = check(options, "connect_timeout", "seconds") or DEFAULT_CONNECT_TIMEOUT
  if options.password then log.secret(tostring(options.password)) end
  check(options, "timeout", "seconds")
  for _, name in ipairs { "nulls", "numbers", "prepare" } do check(options, name, "boolean") end
  local list <const> = endpoints(options)
  local failed
  for i, at in ipairs(list) do
    local ok <const>, db = pcall(open, options, at, timeout)
    if ok then
      local sql <const> = setup_sql(options, db:server_version())
      db:defaults { timeout = options.timeout, nulls = options.nulls, numbers = options.numbers,
        prepare = options.prepare }
      M.set_up(db, sql, timeout)
      M.sessions[db] = { sql = sql, timeout = timeout }
      return db
    end
    failed = db
    if i == #list or not next_address(failed) then break end
  end
  error(failed, 0)
end

return M
