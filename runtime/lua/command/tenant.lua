-- garun tenant: the tenant of a database and its connections
--
--   garun tenant check [--tenant T] [--only LIST] [--json]
--
-- check connects to each service that tenant_config names: PostgreSQL; BigQuery (a query that is not run); SFTP (both files
-- must be there); mail (a login, no mail). It writes what it found into bigquery_enabled, sftp_enabled, smtp_enabled and
-- *_validation_error: a service that fails is switched off until a check finds it well, and only what needs it stops. One
-- that a person switched off (enabled false, no error) stays off. --only: those services, of postgres, bigquery, sftp, smtp.
--
-- Shapes of the JSONB columns (! must be there):
--   bigquery_credentials   the Google service-account key object; bigquery_project_id, bigquery_dataset_id!
--                          (analytics_<property>)
--   postgres_config        host, port, database, user, password, sslmode, connect_timeout
--   sftp_config            host!, port, username!, password | private_key, host_key | known_hosts, remote_path, user_file,
--                          locations_file
--   email_config           server!, port, username, password, from_address!, from_name, use_tls, use_ssl, ca (file of the
--                          authorities to trust instead of the system's)
--
-- Exit status: 0 all well, 1 a service failed, 2 usage.

local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local options <const> = require "garun.options"
local pg <const> = require "garun.pg"
local printable <const> = require "garun.printable"
local task <const> = require "garun.task"
local tenant <const> = require "garun.tenant"
local time <const> = require "garun.time"

local services <const> = { "postgres", "bigquery", "sftp", "smtp" }

-- Each proves that the service can be used and returns a word about it; it raises what is wrong.
local checks <const> = {}

function checks.postgres(s)
  local db <close> = pg.connect { host = s.host, port = s.port, database = s.database, user = s.user, password = s.password,
    sslmode = s.sslmode, connect_timeout = s.connect_timeout }
  return db:value "select current_database() || ', PostgreSQL ' || current_setting('server_version')"
end

function checks.bigquery(s)
  return require("garun.ingest.bigquery").check(s)
end

function checks.sftp(s)
  local session <close> = require("garun.sftp").connect(s.connect)
  local names <const>, missing <const> = {}, {}
  for entry in session:list(s.remote_path) do names[entry.name] = true end
  for _, name in ipairs { s.users, s.locations } do
    if not names[name] then missing[#missing + 1] = name end
  end
  if #missing > 0 then
    error(errors.new { kind = "sftp", code = "SFTP_NO_SUCH_FILE",
      message = string.format("%s is not in %s of %s", table.concat(missing, ", "), s.remote_path, s.connect.host),
      hint = "the names are user_file and locations_file of sftp_config" }, 0)
  end
  return s.connect.host .. ", " .. s.remote_path
end

function checks.smtp(s)
  local client <close> = require("garun.smtp").connect(s.connect)     -- with the login
  client:check()
  return s.connect.server .. (s.connect.username and ", as " .. s.connect.username or "")
end

local function write(db, t, service, enabled, message)
  if service == "postgres" then return end
  db:exec(string.format("update tenant_config set %s_enabled = $2, %s_validation_error = $3, updated_at = now() where id = $1 "
    .. "and (%s_enabled, %s_validation_error) is distinct from ($2, $3)", service, service, service, service), t.id, enabled,
    message)
end

-- { service, state = "ok" | "failed" | "off" | "none", text, seconds }
local function check(conninfo, t, service)
  local db <close> = pg.connect(conninfo)
  local started <const> = time.monotonic()
  local ok, text = pcall(function()
    local settings <const> = tenant.service(db, t, service)
    if not settings then return nil end
    if settings.enabled == false and not settings.error then return false end
    return task.timeout(60, checks[service], settings)
  end)
  local result <const> = { service = service, seconds = time.monotonic() - started }
  if not ok then
    if errors.is(text, "cancelled") then error(text, 0) end
    result.state, result.text = "failed", (log.redact(tostring(text)))
    write(db, t, service, false, result.text)
  elseif text == nil then
    result.state, result.text = "none", "not configured"
  elseif text == false then
    result.state, result.text = "off", "switched off by hand"
  else
    result.state, result.text = "ok", text
    write(db, t, service, true, nil)
  end
  return result
end

local commands <const> = {}

function commands.check(...)
  local opts <const> = options.parse("tenant check", { ... }, { tenant = "text", only = "text", json = "flag" })
  local wanted <const> = {}
  for name in (opts.only or table.concat(services, ",")):gmatch("[^,]+") do
    if not checks[name] then
      options.fail("tenant check", "--only: there is no service '" .. name .. "'; these are: " .. table.concat(services, ", "))
    end
    wanted[#wanted + 1] = name
  end
  local t
  do
    local db <close> = pg.connect()
    t = options.tenant(db, opts.tenant)
  end
  local results <const>, failed = task.map(wanted, function(service) return check(nil, t, service) end), false
  for _, r in ipairs(results) do failed = failed or r.state == "failed" end
  if opts.json then
    local out <const> = { tenant = t.name, ok = not failed, services = {} }
    for _, r in ipairs(results) do
      out.services[r.service] = { state = r.state, text = r.text, seconds = r.seconds }
    end
    print(json.encode(out))
  else
    for _, r in ipairs(results) do
      print(string.format("%-9s %-7s %s", r.service, r.state, printable(r.text)))
    end
  end
  return failed and 1 or 0
end

return function(name, ...)
  local command <const> = commands[name or ""]
  if not command then
    if name == nil or name == "--help" or name == "-h" then return require "garun.command.help"("tenant") end
    options.fail("tenant", "there is no 'garun tenant " .. name .. "'; there is: check")
  end
  return command(...)
end
