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
local known <const> = {}
for _, name in ipairs(request_options) do known[name] = true end

---- a client ----

local client <const> = { __name = "garun.http.client", __metatable = false }
client.__index = client

function http.client(opts)
  opts = errors.check_options("http.client", opts, client_options)
  settings.check("http.client", opts)
  settings.count("http.client", "max_connections", opts.max_connections, 1, 10000)
  settings.count("http.client", "per_host", opts.per_host, 1, 10000)
  local copy <const> = {}
  for k, v in pairs(opts) do copy[k] = v end
  if copy.base_url ~= nil then
    local at <const> = url.parse(copy.base_url)
    copy.base_url = at.url
    if at.url:find("?", 1, true) then misuse("http.client: base_url has no query") end
    if at.user and not copy.basic_auth and not copy.bearer then copy.basic_auth = { at.user, at.password or "" } end
  end
  return setmetatable({ options = copy, wire = settings.for_wire("http.client", copy), lines = {},
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

-- The connection's settings: the client's, unless the request has its own.
local function wire_of(self, fn, opts)
  for _, name in ipairs(settings.wire) do
    if opts[name] ~= nil then
      local merged <const> = {}
      for _, n in ipairs(settings.wire) do
        merged[n] = opts[n]
        if merged[n] == nil then merged[n] = self.options[n] end
      end
      return settings.for_wire(fn, merged)
    end
  end
  return self.wire
end

-- Credentials: they stay with the server that they are for.
local function is_credential(name)
  return name == "cookie" or url.secret_name(name)
end

local function header_set(self, job)
  local opts <const>, set <const>, fn <const> = job.opts, {}, job.fn
  headers.add(fn, set, { ["User-Agent"] = opts.user_agent or self.options.user_agent or AGENT, Accept = "*/*" })
  if job.decompress then headers.add(fn, set, { ["Accept-Encoding"] = "gzip, deflate" }) end
  if job.body and job.body.type then headers.add(fn, set, { ["Content-Type"] = job.body.type }) end
  headers.add(fn, set, self.options.headers)
  headers.add(fn, set, opts.headers)
  return set
end

-- Most requests of a client have the same header lines, which are made once.
local function common_lines(self, job)
  local opts <const> = job.opts
  if opts.headers or opts.user_agent or job.body and job.body.type then return nil end
  local lines = self.lines[job.decompress]
  if not lines then
    local set <const> = header_set(self, job)
    lines = { list = headers.lines(set), authorization = set.authorization ~= nil, idempotent = set["idempotency-key"] ~= nil }
    self.lines[job.decompress] = lines
  end
  return lines
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

-- A hop is what garun.core.http is given (client:start), and what the Lua half has to know of it besides: at, source
-- (the body) and feed.
local function first_hop(job)
  return { at = job.at, method = job.method, url = job.at.url, what = job.what, host = job.at.origin, source = job.body,
    timeout = job.timeout, connect_timeout = job.connect_timeout, stall_timeout = job.stall_timeout,
    max_body = not job.stream and job.max_body or nil, collect = not job.stream, stream = job.stream,
    idempotent = job.idempotent }
end

local function prepare(job, hop)
  if job.deadline then
    hop.left = job.deadline - clock.monotonic()
    if hop.left <= 0 then
      error(errors.new { kind = "http", code = "timeout", retryable = true, message = string.format(
        "%s: not done within timeout = %g s", hop.what, job.timeout) }, 0)
    end
  end
  local source <const>, method <const> = hop.source, hop.method
  hop.body, hop.length, hop.feed = nil, nil, nil
  if source then
    hop.body, hop.length = source.text or true, source.length
    if not source.text then hop.feed = feeder(source.open()) end
  elseif method == "POST" or method == "PUT" or method == "PATCH" then
    hop.body = ""
  end
end

-- One transfer to its end: status, version, headers, body.
local function transfer(self, hop, wire)
  local call <close> = self.core:start(hop, wire)
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

-- One transfer as far as its head: status, version, headers, nothing, the call that has the body.
local function open(self, hop, wire)
  local call <const> = self.core:start(hop, wire)
  local ok <const>, status <const>, version <const>, head <const> = pcall(head_of, call, hop)
  if ok then return status, version, head, nil, call end
  call:close()
  error(status, 0)
end

local moved <const> = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function refuse(hop, text, hint)
  error(errors.new { kind = "http", code = "redirect", message = hop.what .. ": " .. text, hint = hint }, 0)
end

-- Where a redirect leads: changes the hop and its headers; gives the connection's settings.
local function follow(job, hop, set, wire, status, location)
  local at <const> = url.parse(location, hop.url)
  if hop.at.scheme == "https" and at.scheme == "http" then
    refuse(hop, "the server redirects to " .. at.shown .. ", which is not encrypted")
  end
  url.check_allowed(at, job.allow_hosts)
  local method = hop.method
  if status == 303 and method ~= "HEAD" or (status == 301 or status == 302) and method == "POST" then method = "GET" end
  if method ~= hop.method then
    hop.source = nil
    set["content-type"], set["content-encoding"] = nil, nil
  elseif hop.source and hop.source.once then
    refuse(hop, "the server redirects to " .. at.shown .. ", and the body from a function cannot be sent again",
      "ask for that URL, or give the body as a string or file")
  end
  if at.origin ~= hop.at.origin then
    for name in pairs(set) do
      if is_credential(name) then set[name] = nil end
    end
    if wire.cert or wire.cert_pem then
      local bare <const> = {}
      for k, v in pairs(wire) do bare[k] = v end
      bare.cert, bare.cert_pem, bare.key, bare.key_pem, bare.serial = nil, nil, nil, nil, nil
      wire = bare
    end
  end
  hop.at, hop.url, hop.host, hop.method, hop.what = at, at.url, at.origin, method, method .. " " .. at.shown
  hop.headers = headers.lines(set)
  return wire
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
  local hop <const>, go <const> = first_hop(job), job.stream and open or transfer
  local common <const> = common_lines(self, job)
  local set, wire = nil, job.wire
  if common and not job.authorization then
    hop.headers = common.list
  else
    set = header_set(self, job)
    if job.authorization then set.authorization = { name = "Authorization", values = { job.authorization } } end
    hop.headers = headers.lines(set)
  end
  local hops = 0
  while true do
    prepare(job, hop)
    local status <const>, version <const>, head <const>, text <const>, call <const> = go(self, hop, wire)
    local location <const> = moved[status] and head.location
    if not location or job.max_redirects == 0 then
      if not call then
        local r <const> = response.new(hop, job, status, version, head, text)
        r.redirects = hops
        return r
      end
      local ok <const>, r <const> = pcall(response.new, hop, job, status, version, head, nil, call)
      if not ok then
        call:close()
        error(r, 0)
      end
      r.redirects = hops
      return r
    end
    if call then drain(call) end
    hops = hops + 1
    if hops > job.max_redirects then
      refuse(hop, string.format("more than max_redirects = %d redirects; the last one leads to %s", job.max_redirects,
        url.show(location)))
    end
    set = set or header_set(self, job)
    wire = follow(job, hop, set, wire, status, location)
  end
end

local function worth_it(e)
  return errors.is(e, "http") and e.retryable and e.code ~= "timeout"
end

-- Runs the attempts of a job.
local function run(self, job)
  for n = 1, math.huge do
    job.authorization = not job.own_authorization and settings.authorization(job.fn, job.auth, job.at) or nil
    local ok <const>, r <const> = pcall(attempt, self, job)
    local policy <const> = job.policy
    local last <const> = n >= policy.attempts
    if ok then
      r.attempts = n
      if last or not policy.on[r.status] then return r end
    elseif last or not worth_it(r) then
      error(r, 0)
    end
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

-- What a header of the caller's says about the request: whether it has an authorization, and may be repeated.
local function own_headers(self, opts)
  local authorization, key
  for _, set in ipairs { self.options.headers or {}, opts.headers or {} } do
    for name, value in pairs(set) do
      local lower <const> = name:lower()
      if lower == "authorization" then authorization = value end
      key = key or lower == "idempotency-key"
    end
  end
  return authorization, key
end

local function perform(self, fn, method, target, opts)
  settings.check(fn, opts, known, request_options)
  if type(method) ~= "string" or not method:find("^[%u%l%-_]+$") then misuse("%s: method is a name like GET or POST", fn) end
  method = method:upper()
  if method == "CONNECT" then misuse("%s: CONNECT is for proxies", fn) end
  local own <const> = self.options
  local function pick(name, def)
    local value = opts[name]
    if value == nil then value = own[name] end
    if value == nil then return def end
    return value
  end
  target = settings.url(fn, own.base_url, target)
  if opts.query ~= nil then target = url.with_query(target, opts.query) end
  local at <const>, allow <const> = url.parse(target), pick "allow_hosts"
  url.check_allowed(at, allow)
  local body <const> = bodies.of(fn, opts)
  if body and (method == "HEAD" or method == "TRACE") then misuse("%s: %s has no body", fn, method) end
  local authorization, key
  if opts.headers or own.headers then authorization, key = own_headers(self, opts) end
  local idempotent = opts.idempotent
  if idempotent == nil then idempotent = key or retry.idempotent(method) end
  local policy = retry.policy(fn, pick "retry", idempotent)
  if opts.retry == nil and not idempotent or body and body.once then policy = retry.policy(fn, false) end
  local timeout <const>, max_body <const> = pick "timeout", pick "max_body"
  return run(self, {
    fn = fn, opts = opts, at = at, method = method, what = method .. " " .. at.shown, body = body,
    wire = wire_of(self, fn, opts),
    auth = (opts.basic_auth ~= nil or opts.bearer ~= nil) and opts or own, own_authorization = authorization,
    allow_hosts = allow, policy = policy, idempotent = idempotent,
    timeout = timeout, deadline = timeout and clock.monotonic() + timeout,
    connect_timeout = pick("connect_timeout", CONNECT_TIMEOUT), stall_timeout = pick("stall_timeout", STALL_TIMEOUT),
    max_redirects = pick("max_redirects", MAX_REDIRECTS), max_body = max_body or MAX_BODY, limit = max_body,
    decompress = pick("decompress", true), allow_unframed = pick "allow_unframed", stream = opts.stream,
  })
end

-- Into a file. The body is asked for as it is stored: a range of compressed bytes is worth nothing.
local function fetch_file(self, target, path, opts)
  local download <const>, fn <const> = require "garun.http.download", "http.download"
  opts = errors.check_options(fn, opts, download.options)
  settings.check(fn, opts)
  local base <const> = settings.url(fn, self.options.base_url, target)
  local whole <const> = opts.query and url.with_query(base, opts.query) or base
  local plain <const> = {}
  for _, name in ipairs(settings.shared) do plain[name] = opts[name] end
  plain.stream, plain.decompress, plain.retry, plain.max_body = true, false, false, nil
  local function pick(name)
    if opts[name] ~= nil then return opts[name] end
    return self.options[name]
  end
  return download.run(function(now, left)
    plain.headers = {}
    for k, v in pairs(opts.headers or {}) do plain.headers[k] = v end
    for k, v in pairs(now) do plain.headers[k] = v end
    plain.timeout = left
    return perform(self, fn, "GET", whole, plain)
  end, url.parse(whole), path, opts, { timeout = pick "timeout", max_body = pick "max_body", retry = pick "retry" })
end

---- what scripts call ----

local none <const> = {}

function client:request(opts)
  if type(opts) ~= "table" then misuse("http.request: takes a table of options") end
  return perform(self, "http.request", opts.method or "GET", opts.url, opts)
end

function http.request(opts)
  return client.request(default(), opts)
end

for _, name in ipairs { "get", "head", "post", "put", "patch", "delete" } do
  local fn <const>, method <const> = "http." .. name, name:upper()
  client[name] = function(self, target, opts)
    if opts and (opts.url or opts.method) then misuse("%s: url and method are no options here", fn) end
    return perform(self, fn, method, target, opts or none)
  end
  http[name] = function(target, opts)
    return client[name](default(), target, opts)
  end
end

function client:download(target, path, opts)
  return fetch_file(self, target, path, opts)
end

function http.download(target, path, opts)
  return fetch_file(default(), target, path, opts)
end

return http
