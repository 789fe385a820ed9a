-- garun.tenant: the tenant's row of tenant_config, and the settings of its services as the bindings take them.
--
-- The shapes of the JSONB columns are a contract with other programs that write them; unknown keys are left alone, wrong
-- types are errors that name column and key. Secrets go from here to the bindings and nowhere else: each is registered with
-- the log, which takes it out of every line.

local errors <const> = require "garun.error"
local log <const> = require "garun.log"

local tenant <const> = {}

local function usage(message, hint)
  error(errors.new { kind = "usage", message = message, hint = hint }, 0)
end

-- The tenant called `name` (name or id), or the only active one. { id, name, time_zone }
function tenant.find(db, name)
  local rows <const> = db:query("select id::text, name, time_zone, is_active from tenant_config order by name")
  local list <const> = {}
  for _, r in ipairs(rows) do
    if name and (r.name == name or r.id == name) then
      if not r.is_active then usage("tenant '" .. name .. "' is not active") end
      return r
    end
    if r.is_active then list[#list + 1] = r end
  end
  if not name and #list == 1 then return list[1] end
  local names <const> = {}
  for _, r in ipairs(list) do names[#names + 1] = r.name end
  local known <const> = #names > 0 and "active tenants: " .. table.concat(names, ", ")
    or "there is no active tenant: insert a row into tenant_config"
  usage(name and "no tenant is called '" .. name .. "'" or "which tenant? name it with --tenant", known)
end

---- services ----

local columns <const> = { bigquery = "bigquery_credentials", sftp = "sftp_config", smtp = "email_config",
  postgres = "postgres_config" }
local titles <const> = { bigquery = "BigQuery", sftp = "SFTP", smtp = "mail", postgres = "PostgreSQL" }
local secrets <const> = { password = true, private_key = true, passphrase = true, client_secret = true, refresh_token = true }

local function fail(t, service, code, message, hint)
  error(errors.new { kind = "tenant", code = code, hint = hint,
    message = string.format("%s of tenant '%s': %s", titles[service], t.name, message) }, 0)
end

local function keep_secret(t, service, key, value)
  if value:find("^enc:") then
    fail(t, service, "sealed", columns[service] .. "." .. key .. " is sealed, and this version cannot open it",
      "store the plain value")
  end
  if #value >= 4 then log.secret(value) end
end

-- Takes the keys out of a JSONB object. spec: { key = type, ... }, "text!" is one that must be there.
local function take(t, service, from, spec)
  local out <const> = {}
  for key, wanted in pairs(spec) do
    local v <const> = from[key]
    local kind <const>, required <const> = wanted:match("^(%a+)(!?)$")
    local missing <const> = v == nil or v == "" or type(v) == "userdata"
    if missing and required == "!" then
      fail(t, service, "config", columns[service] .. " has no '" .. key .. "'", "see the shapes in `garun help tenant`")
    elseif not missing then
      local ok <const> = kind == "text" and type(v) == "string" or kind == "number" and math.type(v) == "integer"
        or kind == "flag" and type(v) == "boolean"
      if not ok then
        fail(t, service, "config", string.format("%s.%s must be %s", columns[service], key,
          kind == "text" and "text" or kind == "number" and "a whole number" or "true or false"))
      end
      if secrets[key] then keep_secret(t, service, key, v) end
      out[key] = v
    end
  end
  return out
end

local shapes <const> = {}

function shapes.bigquery(t, row)
  local project <const>, dataset <const> = row.bigquery_project_id, row.bigquery_dataset_id
  if not project and not dataset and not row.config then return nil end
  if not dataset then fail(t, "bigquery", "config", "bigquery_dataset_id is empty", "it is analytics_<property id>") end
  local credentials <const> = row.config
  if credentials then
    for key, v in pairs(credentials) do
      if secrets[key] and type(v) == "string" then keep_secret(t, "bigquery", key, v) end
    end
  end
  return { project = project or credentials and credentials.project_id or fail(t, "bigquery", "config",
    "bigquery_project_id is empty"), dataset = dataset, credentials = credentials }
end

function shapes.sftp(t, row)
  if not row.config then return nil end
  local c <const> = take(t, "sftp", row.config, { host = "text!", port = "number", username = "text!", password = "text",
    private_key = "text", passphrase = "text", host_key = "text", known_hosts = "text", remote_path = "text",
    user_file = "text", locations_file = "text" })
  return {
    connect = { host = c.host, port = c.port, username = c.username, password = c.password, private_key = c.private_key,
      passphrase = c.passphrase, host_key = c.host_key, known_hosts = c.known_hosts },
    remote_path = c.remote_path or ".", users = c.user_file or "UserReport.xlsx",
    locations = c.locations_file or "Locations_List.xlsx",
  }
end

function shapes.smtp(t, row)
  if not row.config then return nil end
  local c <const> = take(t, "smtp", row.config, { server = "text!", port = "number", username = "text", user_name = "text",
    password = "text", from_address = "text!", from_name = "text", use_tls = "flag", use_ssl = "flag",
    ca = "text" })
  local tls <const> = c.use_ssl and "implicit" or c.use_tls == false and "none" or "starttls"
  return {
    connect = { server = c.server, port = c.port or (c.use_ssl and 465 or 587), tls = tls, username = c.username or c.user_name,
      password = c.password, ca = c.ca },
    from_address = c.from_address, from_name = c.from_name,
  }
end

function shapes.postgres(t, row)
  local c <const> = row.config and take(t, "postgres", row.config, { host = "text", port = "number", database = "text",
    user = "text", password = "text", sslmode = "text", connect_timeout = "number" })
  if not c or next(c) == nil then return nil end
  return c
end

-- Settings of a service ("bigquery", "sftp", "smtp", "postgres") of tenant t = { id, name }, nil when nothing is configured:
-- { enabled, error, ... } and what the shape says. Raises kind "tenant", code "config" or "sealed".
function tenant.service(db, t, service)
  local column <const> = columns[service]
  if not column then usage("no service is called '" .. tostring(service) .. "'") end
  local row <const> = db:one(string.format("select %s as config%s%s from tenant_config where id = $1", column,
    service == "bigquery" and ", bigquery_project_id, bigquery_dataset_id" or "",
    service ~= "postgres" and string.format(", %s_enabled as enabled, %s_validation_error as error", service, service) or ""),
    t.id)
  if type(row.config) == "userdata" then row.config = nil end      -- json's null
  local settings <const> = shapes[service](t, row)
  if settings then
    settings.enabled = row.enabled ~= false
    settings.error = row.error
  end
  return settings
end

-- The same for those who need the service: not configured and switched off are errors that say so.
function tenant.need(db, t, service)
  local settings <const> = tenant.service(db, t, service)
  if not settings then
    fail(t, service, "not_configured", "nothing is configured (tenant_config." .. columns[service] .. ")")
  end
  if not settings.enabled then
    fail(t, service, "disabled", "it is switched off" .. (settings.error and ": the last check said: " .. settings.error or ""),
      "put it right, then: garun tenant check --tenant '" .. t.name .. "'")
  end
  return settings
end

return tenant
