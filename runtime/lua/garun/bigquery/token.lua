-- garun.bigquery.token: access tokens of Google accounts: service-account keys, gcloud's own, the metadata server.
--
-- One token per account and scope in the process, whoever asks; it is renewed a minute before it ends, by one task while
-- the others wait. Keys and tokens are registered as secrets and never part of an error.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fail <const> = require "garun.bigquery.fail"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local token <const> = {}

local MARGIN <const> = 60               -- seconds before its end at which a token is no longer used
local METADATA <const> = "metadata.google.internal"
local TOKEN_URI <const> = "https://oauth2.googleapis.com/token"

local accounts <const> = {}             -- per account and scope: { token, expires, lock }

local function secret(value)
  if type(value) == "string" and #value >= 4 then log.secret(value) end
end

-- A secret goes over TLS, or nowhere but to this machine.
function token.check_url(url, what)
  local scheme <const>, authority <const> = url:match("^(%a[%w+.-]*)://([^/?#]*)")
  local name <const> = authority and (authority:match("^%[(.*)%]") or authority:gsub(":%d*$", ""))
  if scheme == "https" or scheme == "http" and (name == "127.0.0.1" or name == "::1" or name == "localhost") then
    return url
  end
  fail.raise { code = "credentials", message = string.format("%s is %s: credentials go over https only", what, url) }
end

---- what an account is ----

local function field(key, name, kind)
  if type(key[name]) ~= "string" or key[name] == "" then
    fail.raise { code = "credentials", message = string.format("the %s has no %s", kind, name),
      hint = "give the JSON file as Google made it" }
  end
  return key[name]
end

local function read_file(path, from)
  local text <const> = fs.exists(path) and fs.read(path)
  if not text then
    fail.raise { code = "credentials", message = string.format("the key file %s (%s) is not there", path, from) }
  end
  return text
end

-- Where Google's own tools look (Application Default Credentials).
local function default_credentials()
  local path <const> = host.getenv("GOOGLE_APPLICATION_CREDENTIALS")
  if path and path ~= "" then return read_file(path, "GOOGLE_APPLICATION_CREDENTIALS") end
  local base <const> = host.getenv("CLOUDSDK_CONFIG") or (host.getenv("HOME") or "") .. "/.config/gcloud"
  local file <const> = base .. "/application_default_credentials.json"
  if fs.exists(file) then return fs.read(file) end
  if host.getenv("GCE_METADATA_HOST") then return "metadata" end
  fail.raise { code = "credentials", message = "there are no credentials for BigQuery",
    hint = "give the service account's key (credentials = its JSON, or GOOGLE_APPLICATION_CREDENTIALS = its path); "
      .. "on a machine of Google's, credentials = \"metadata\"" }
end

local function parse(text)
  local ok <const>, key <const> = pcall(json.decode, text, { excerpt = false })
  if not ok or type(key) ~= "table" or json.is_array(key) then
    fail.raise { code = "credentials", message = "the credentials are no JSON object",
      detail = not ok and key.message or nil, hint = "give the JSON file as Google made it, or its path" }
  end
  return key
end

-- The table of a key, whatever it was given as.
local function load(credentials)
  local given = credentials
  if given == nil then given = default_credentials() end
  if given == "metadata" then return { type = "metadata" } end
  if type(given) == "string" then
    if not given:match("^%s*{") then given = read_file(given, "credentials") end
    given = parse(given)
  end
  if type(given) ~= "table" then fail.usage("bigquery.client: credentials is a table, JSON text, a path or \"metadata\"") end
  return given
end

---- getting one ----

-- Retries of its own: these requests carry the key, not a token.
local function ask(what, request)
  local pause = 0.5
  for attempt = 1, 4 do
    request.retry, request.timeout, request.idempotent = false, request.timeout or 30, true
    local ok <const>, answer <const> = pcall(http.request, request)
    local err
    if not ok then
      err = errors.is(answer, "http") and errors.wrap(answer, what) or answer
    else
      local decoded <const>, body = pcall(json.decode, answer.body, { excerpt = false })
      body = decoded and body or nil
      if answer.status == 200 and type(body) == "table" and type(body.access_token) == "string" then return body end
      err = answer.status == 200 and errors.new { kind = "bigquery", code = "token", message = what
        .. ": the answer holds no access token" } or fail.from_answer(what, answer.status, body)
    end
    if attempt == 4 or not fail.passing(err) then error(err, 0) end
    task.sleep(pause * (0.5 + math.random() / 2))
    pause = pause * 2
  end
end

local function signed(key, scope, uri)
  local now <const> = math.floor(time.now())
  local function part(value) return crypto.base64url_encode(json.encode(value, { sort_keys = true })) end
  local text <const> = part { alg = "RS256", typ = "JWT", kid = key.private_key_id } .. "."
    .. part { iss = key.client_email, scope = scope, aud = uri, iat = now, exp = now + 3600 }
  return text .. "." .. crypto.base64url_encode(crypto.sign("RS256", key.private_key, text))
end

local kinds <const> = {}

function kinds.service_account(key, scope)
  local email <const> = field(key, "client_email", "service account's key")
  local pem <const> = field(key, "private_key", "service account's key")
  local uri <const> = token.check_url(key.token_uri or TOKEN_URI, "token_uri")
  secret(pem)
  return email .. "\0" .. crypto.sha256(pem) .. "\0" .. uri, function()
    return ask("getting a token for " .. email, { url = uri, method = "POST", form = {
      grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion = signed(key, scope, uri) } })
  end
end

function kinds.authorized_user(key)
  local id <const> = field(key, "client_id", "user's credentials")
  local client_secret <const> = field(key, "client_secret", "user's credentials")
  local refresh <const> = field(key, "refresh_token", "user's credentials")
  local uri <const> = token.check_url(key.token_uri or TOKEN_URI, "token_uri")
  secret(client_secret)
  secret(refresh)
  return id .. "\0" .. crypto.sha256(refresh) .. "\0" .. uri, function()
    return ask("getting a token for the user of " .. id, { url = uri, method = "POST", form = {
      grant_type = "refresh_token", client_id = id, client_secret = client_secret, refresh_token = refresh } })
  end
end

-- On a machine of Google's. Plain http by design: it never leaves the machine, and the header keeps strangers out.
function kinds.metadata(_, scope)
  local at <const> = host.getenv("GCE_METADATA_HOST") or METADATA
  return "metadata\0" .. at, function()
    return ask("getting a token from the metadata server " .. at, { timeout = 5, query = { scopes = scope },
      url = "http://" .. at .. "/computeMetadata/v1/instance/service-accounts/default/token",
      headers = { ["Metadata-Flavor"] = "Google" } })
  end
end

---- keeping one ----

-- A provider of tokens for the account: get() gives one, refused(t) says that t was not accepted. project and
-- quota_project are those that the credentials name.
function token.provider(credentials, scope)
  local key <const> = load(credentials)
  local make <const> = kinds[key.type]
  if not make then
    fail.raise { code = "credentials", message = string.format("credentials of type %s are not supported",
      type(key.type) == "string" and "'" .. key.type .. "'" or "nil"),
      hint = "give a service account's key (type service_account), gcloud's (authorized_user), or \"metadata\"" }
  end
  local id <const>, request <const> = make(key, scope)
  local name <const> = id .. "\0" .. scope
  local account <const> = accounts[name] or { lock = task.channel(1) }
  accounts[name] = account

  local function valid() return account.token and time.monotonic() < account.expires end

  local self <const> = { quota_project = key.quota_project_id, project = key.project_id }
  function self.get()
    if valid() then return account.token end
    account.lock:send(true)
    local _ <close> = setmetatable({}, { __close = function() account.lock:recv() end })
    if valid() then return account.token end
    local began <const> = time.monotonic()
    local answer <const> = request()
    local seconds <const> = math.tointeger(answer.expires_in) or 300
    secret(answer.access_token)
    account.token = answer.access_token
    account.expires = began + math.max(seconds - MARGIN, seconds / 2)
    return account.token
  end
  function self.refused(value)
    if account.token == value then account.token = nil end
  end
  return self
end

return token
