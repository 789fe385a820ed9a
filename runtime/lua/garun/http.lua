-- garun.http: HTTP requests. A status is no error, a transfer that fails is one.
--
-- garun.core.http moves the bytes of one transfer; here is what a request is made of: its URL, headers and body, the
-- redirects it follows, the attempts it takes. libcurl gets neither redirects nor decompression to decide.

local core <const> = require "garun.core.http"
local bodies <const> = require "garun.http.body"
local errors <const> = require "garun.error"
local headers <const> = require "garun.http.headers"
local log <const> = require "garun.log"
local response <const> = require "garun.http.response"
local retry <const> = require "garun.http.retry"
local settings <const> = require "garun.http.settings"
local tasks <const> = require "garun.core.task"
local clock <const> = require "garun.time"
local url <const> = require "garun.http.url"

local http <const> = {}

local CONNECT_TIMEOUT <const>, STALL_TIMEOUT <const> = 10, 60
local MAX_REDIRECTS <const>, MAX_BODY <const> = 10, 64 << 20
local DRAIN <const> = 64 << 10      -- bytes of a redirect's body that are read to keep the connection
local AGENT <const> = "garun"

local misuse <const> = settings.misuse

local own_options <const> = { "url", "method", "query", "json", "form", "multipart", "body", "stream", "idempotent" }
local request_options <const> = table.move(settings.shared, 1, #settings.shared, #own_options + 1,
  table.move(own_options, 1, #own_options, 1, {}))
local client_options <const> = table.move({ "base_url", "max_connections", "per_host" }, 1, 3, #settings.shared + 1,
  table.move(settings.shared, 1, #settings.shared, 1, {}))

---- a client ----

local client <const> = { __name = "garun.http.client", __metatable = false }
client.__index = client

function http.client(opts)
  opts = errors.check_options("http.client", opts, client_options)
  settings.check("http.client", opts)
  settings.count("http.client", opts, "max_connections", 1, 10000)
  settings.count("http.client", opts, "per_host", 1, 10000)
  retry.policy("http.client", opts.retry, true)
  local copy <const> = {}
  for k, v in pairs(opts) do copy[k] = v end
  if copy.base_url ~= nil then
    copy.base_url = url.parse(copy.base_url).url
    if copy.base_url:find("?", 1, true) then misuse("http.client: base_url has no query") end
    local at <const> = url.parse(opts.base_url)
    if at.user and not copy.basic_auth and not copy.bearer then copy.basic_auth = { at.user, at.password or "" } end
  end
  return setmetatable({ options = copy, wire = settings.for_wire("http.client", copy),
    core = core.client { max = opts.max_connections, per_host = opts.per_host } }, client)
end

function client:close()
  self.core:close()
end
client.__close = client.close

function client:__tostring()
  return "http.client(" .. (self.options.base_url and url.show(self.options.base_url) or "") .. ")"
end

local shared
local function default()
  shared = shared or http.client()
  return shared
end

---- one request ----

local function pick(self, opts, name, def)
  local value = opts[name]
  if value == nil then value = self.options[name] end
  if value == nil then return def end
  return value
end

-- The connection's settings: the client's, unless the request has its own.
local function wire_of(self, fn, opts)
  for _, name in ipairs(settings.wire) do
    if opts[name] ~= nil then
      local merged <const> = {}
      for _, n in ipairs(settings.wire) do merged[n] = pick(self, opts, n) end
      return settings.for_wire(fn, merged)
    end
  end
  return self.wire
end

-- Credentials: they stay with the server that they are for.
local function is_credential(name)
  return name == "cookie" or url.secret_name(name)
end

local function header_set(self, fn, opts, body, decompress)
  local set <const> = {}
  headers.add(fn, set, { ["User-Agent"] = pick(self, opts, "user_agent", AGENT), Accept = "*/*" })
  if decompress then headers.add(fn, set, { ["Accept-Encoding"] = "gzip, deflate" }) end
  if body and body.type then headers.add(fn, set, { ["Content-Type"] = body.type }) end
  headers.add(fn, set, self.options.headers)
  headers.add(fn, set, opts.headers)
  return set
end

-- Feeds the request's body to a call that asks for it.
local function feeder(source)
  return function(call)
    local chunk <const> = source()
    if chunk ~= nil and type(chunk) ~= "string" then
      error(errors.new { kind = "usage", code = "argument",
        message = "http: a body's function gives strings and nil at the end, not a " .. type(chunk) }, 0)
    end
    call:put(chunk)
  end
end

-- What garun.core.http needs to know of a hop.
local function order(job, hop)
  local timeout
  if job.deadline then
    timeout = job.deadline - clock.monotonic()
    if timeout <= 0 then
      error(errors.new { kind = "http", code = "timeout", retryable = true, message = string.format(
        "%s: not done within timeout = %g s", hop.what, job.timeout) }, 0)
    end
  end
  local body <const> = hop.body
  local text = body and body.text
  hop.feed = body and not text and feeder(body.open()) or nil
  if not body and (hop.method == "POST" or hop.method == "PUT" or hop.method == "PATCH") then text = "" end
  return { method = hop.method, url = hop.at.url, what = hop.what, host = hop.at.origin,
    headers = headers.lines(hop.headers), body = hop.feed and true or text, length = body and body.length,
    timeout = job.timeout, left = timeout, connect_timeout = job.connect_timeout, stall_timeout = job.stall_timeout,
    max_body = not job.stream and job.max_body or nil, collect = not job.stream, stream = job.stream,
    idempotent = job.idempotent }
end

-- One transfer to its end: status, version, headers, body.
local function transfer(self, job, hop)
  local call <close> = self.core:start(order(job, hop), hop.wire)
  while true do
    local status <const>, version <const>, head <const>, text <const> = call:finish()
    if status then return status, version, headers.of_response(head), text end
    hop.feed(call)
  end
end

local function head_of(call, hop)
  while true do
    local status <const>, version <const>, head <const> = call:head()
    if status then return status, version, headers.of_response(head) end
    hop.feed(call)
  end
end

-- One transfer as far as its head: status, version, headers, the call that has the body.
local function open(self, job, hop)
  local call <const> = self.core:start(order(job, hop), hop.wire)
  local ok <const>, status <const>, version <const>, head <const> = pcall(head_of, call, hop)
  if ok then return status, version, head, call end
  call:close()
  error(status, 0)
end

local moved <const> = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function refuse(hop, text, hint)
  error(errors.new { kind = "http", code = "redirect", message = hop.what .. ": " .. text, hint = hint }, 0)
end

-- Where a redirect leads: changes the hop.
local function follow(job, hop, status, location)
  local at <const> = url.parse(location, hop.at.url)
  if hop.at.scheme == "https" and at.scheme == "http" then
    refuse(hop, "the server redirects to " .. at.shown .. ", which is not encrypted")
  end
  url.check_allowed(at, job.allow_hosts)
  local method = hop.method
  if status == 303 and method ~= "HEAD" or (status == 301 or status == 302) and method == "POST" then method = "GET" end
  if method ~= hop.method then
    hop.body = nil
    hop.headers["content-type"], hop.headers["content-encoding"] = nil, nil
  elseif hop.body and hop.body.once then
    refuse(hop, "the server redirects to " .. at.shown .. ", and the body from a function cannot be sent again",
      "ask for that URL, or give the body as a string or file")
  end
  if at.origin ~= hop.at.origin then
    for name in pairs(hop.headers) do
      if is_credential(name) then hop.headers[name] = nil end
    end
    if hop.wire.cert or hop.wire.cert_pem then
      local bare <const> = {}
      for k, v in pairs(hop.wire) do bare[k] = v end
      bare.cert, bare.cert_pem, bare.key, bare.key_pem = nil, nil, nil, nil
      hop.wire = bare
    end
  end
  hop.at, hop.method, hop.what = at, method, method .. " " .. at.shown
end

-- Reads what a redirect says, so that its connection can be used again, unless it is long.
local function drain(call)
  local size = 0
  local ok = true
  while ok and size < DRAIN do
    local chunk
    ok, chunk = pcall(call.read, call, DRAIN)
    if not ok and not errors.is(chunk, "http") then
      call:close()
      error(chunk, 0)
    end
    if not chunk then break end
    size = size + #chunk
  end
  call:close()
end

-- One attempt: the transfer and the redirects behind it.
local function attempt(self, job)
  local hop <const> = { at = job.at, method = job.method, what = job.what, body = job.body, wire = job.wire, headers = {} }
  for name, header in pairs(job.headers) do hop.headers[name] = header end
  if job.authorization then hop.headers.authorization = { name = "Authorization", values = { job.authorization } } end
  local hops = 0
  while true do
    local status, version, head, text, call
    if job.stream then
      status, version, head, call = open(self, job, hop)
    else
      status, version, head, text = transfer(self, job, hop)
    end
    local location <const> = moved[status] and head.location
    if not location or job.max_redirects == 0 then
      local ctx <const> = { what = hop.what, method = hop.method, url = hop.at.url, decompress = job.decompress,
        max_body = job.max_body, allow_unframed = job.allow_unframed, feed = hop.feed, limit = job.limit }
      local ok <const>, r <const> = pcall(response.new, ctx, status, version, head, text, call)
      if not ok then
        if call then call:close() end
        error(r, 0)
      end
      r.redirects = hops
      r.secrets = job.secrets
      return r
    end
    if call then drain(call) end
    hops = hops + 1
    if hops > job.max_redirects then
      refuse(hop, string.format("more than max_redirects = %d redirects; the last one leads to %s", job.max_redirects,
        url.show(location)))
    end
    follow(job, hop, status, location)
  end
end

local function worth_it(e)
  return errors.is(e, "http") and e.retryable and e.code ~= "timeout"
end

-- Runs the attempts of a job.
local function run(self, fn, job)
  for n = 1, math.huge do
    local set_by_user <const> = job.headers.authorization
    job.authorization = not set_by_user and settings.authorization(fn, job.auth, job.at) or nil
    job.secrets = set_by_user and set_by_user.values or nil
    local ok <const>, r <const> = pcall(attempt, self, job)
    local policy <const> = job.policy
    local last <const> = n >= policy.attempts
    if ok then r.attempts = n end
    if ok and (last or not policy.on[r.status]) then return r end
    if not ok and (last or not worth_it(r)) then error(r, 0) end
    local after <const> = ok and retry.after(r.headers)
    local delay <const> = after or retry.delay(policy, n)
    -- Who asks for more patience than we may have, or than is left, is not asked again: the caller decides.
    if after and after > policy.max or job.deadline and clock.monotonic() + delay >= job.deadline then
      if ok then return r end
      error(r, 0)
    end
    if ok then r:close() end
    log.debug("http retry", { request = job.what, attempt = n, delay = delay, reason = ok and "HTTP " .. r.status or r.code })
    tasks.sleep(delay)
  end
end

local function perform(self, fn, opts)
  opts = errors.check_options(fn, opts, request_options)
  settings.check(fn, opts)
  local method = opts.method or "GET"
  if type(method) ~= "string" or not method:find("^[%u%l%-_]+$") then misuse("%s: method is a name like GET or POST", fn) end
  method = method:upper()
  if method == "CONNECT" then misuse("%s: CONNECT is for proxies", fn) end
  local target = settings.url(fn, self.options.base_url, opts.url)
  if opts.query ~= nil then target = url.with_query(target, opts.query) end
  local at <const> = url.parse(target)
  local allow <const> = pick(self, opts, "allow_hosts")
  url.check_allowed(at, allow)
  local body <const> = bodies.of(fn, opts)
  if body and (method == "HEAD" or method == "TRACE") then misuse("%s: %s has no body", fn, method) end
  local decompress <const> = pick(self, opts, "decompress", true)
  local set <const> = header_set(self, fn, opts, body, decompress)
  local idempotent = opts.idempotent
  if idempotent == nil then idempotent = retry.idempotent(method) or set["idempotency-key"] ~= nil end
  local timeout <const> = pick(self, opts, "timeout")
  local policy = retry.policy(fn, pick(self, opts, "retry"), idempotent)
  if opts.retry == nil and not idempotent or body and body.once then policy = retry.policy(fn, false) end
  local own_auth <const> = opts.basic_auth ~= nil or opts.bearer ~= nil
  local max_body <const> = pick(self, opts, "max_body")
  return run(self, fn, {
    at = at, method = method, what = method .. " " .. at.shown, body = body, headers = set, wire = wire_of(self, fn, opts),
    auth = own_auth and opts or self.options, allow_hosts = allow, policy = policy, idempotent = idempotent,
    timeout = timeout, deadline = timeout and clock.monotonic() + timeout,
    connect_timeout = pick(self, opts, "connect_timeout", CONNECT_TIMEOUT),
    stall_timeout = pick(self, opts, "stall_timeout", STALL_TIMEOUT),
    max_redirects = pick(self, opts, "max_redirects", MAX_REDIRECTS), max_body = max_body or MAX_BODY, limit = max_body,
    decompress = decompress, allow_unframed = pick(self, opts, "allow_unframed"), stream = opts.stream,
  })
end

-- Into a file. The body is asked for as it is stored: a range of compressed bytes is worth nothing.
local function fetch_file(self, target, path, opts)
  local download <const> = require "garun.http.download"
  opts = errors.check_options("http.download", opts, download.options)
  settings.check("http.download", opts)
  local base <const> = settings.url("http.download", self.options.base_url, target)
  local whole <const> = opts.query and url.with_query(base, opts.query) or base
  local plain <const> = { stream = true, url = whole, decompress = false, retry = false }
  for _, name in ipairs(settings.shared) do
    if plain[name] == nil then plain[name] = opts[name] end
  end
  plain.max_body = nil
  return download.run(function(headers_now, left)
    plain.headers = {}
    for k, v in pairs(opts.headers or {}) do plain.headers[k] = v end
    for k, v in pairs(headers_now) do plain.headers[k] = v end
    plain.timeout = left
    return perform(self, "http.download", plain)
  end, url.parse(whole), path, opts, { timeout = pick(self, opts, "timeout"), max_body = pick(self, opts, "max_body"),
    retry = pick(self, opts, "retry") })
end

function client:download(target, path, opts)
  return fetch_file(self, target, path, opts)
end

function http.download(target, path, opts)
  return fetch_file(default(), target, path, opts)
end

function client:request(opts)
  return perform(self, "http.request", opts)
end

for _, method in ipairs { "get", "head", "post", "put", "patch", "delete" } do
  local fn <const>, name <const> = "http." .. method, method:upper()
  client[method] = function(self, target, opts)
    local all <const> = { url = target, method = name }
    for k, v in pairs(opts or {}) do
      if k == "url" or k == "method" then misuse("%s: %s is not an option here", fn, k) end
      all[k] = v
    end
    return perform(self, fn, all)
  end
  http[method] = function(target, opts)
    return client[method](default(), target, opts)
  end
end

function http.request(opts)
  return perform(default(), "http.request", opts)
end

return http
