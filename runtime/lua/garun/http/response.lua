-- garun.http.response: what a request gives back, read whole or as it comes.

local errors <const> = require "garun.error"
local gzip <const> = require "garun.gzip"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local printable <const> = require "garun.printable"
local tasks <const> = require "garun.core.task"

local response <const> = {}
response.__index = response
response.__name = "garun.http.response"

local EXCERPT <const> = 400         -- bytes of a body in an error
local SLICE <const> = 256 << 10     -- bytes decompressed at a time: the others get their turn in between

-- Statuses that another try may cure. 501 and 505 will not change.
local curable <const> = { [408] = true, [425] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }

local reasons <const> = { [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [405] = "Method Not Allowed", [408] = "Request Timeout", [409] = "Conflict", [410] = "Gone", [412] = "Precondition Failed",
  [413] = "Content Too Large", [415] = "Unsupported Media Type", [416] = "Range Not Satisfiable",
  [422] = "Unprocessable Content", [429] = "Too Many Requests", [500] = "Internal Server Error", [501] = "Not Implemented",
  [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout" }

local function fail(what, code, text, more)
  local e <const> = errors.new { kind = "http", code = code, message = what .. ": " .. text, hint = more and more.hint,
    detail = more and more.detail, retryable = more and more.retryable or false, cause = more and more.cause }
  error(e, 0)
end
response.fail = fail

---- the body's coding ----

local formats <const> = { gzip = "gzip", ["x-gzip"] = "gzip", deflate = "auto" }      -- "deflate" may lack zlib's frame

-- The formats to undo, last applied first; nil when the body is as it is.
local function codings(what, headers)
  local text <const> = headers["content-encoding"]
  if not text then return nil end
  local list <const> = {}
  for name in text:lower():gmatch("[^,%s]+") do
    if formats[name] then
      table.insert(list, 1, formats[name])
    elseif name ~= "identity" then
      fail(what, "encoding", "the body comes in Content-Encoding " .. printable(name) .. ", which garun cannot undo",
        { hint = "it was not asked for; decompress = false gives the bytes as they are" })
    end
  end
  return #list > 0 and list or nil
end

local function retold(what, e)
  if not errors.is(e, "gzip") then error(e, 0) end
  if e.code == "truncated" then
    fail(what, "cut", "the compressed body ends too early", { detail = e.message, retryable = true, cause = e })
  end
  if e.code == "max_bytes" then
    fail(what, "too_large", "the body is larger than max_body when it is decompressed",
      { detail = e.message, hint = "raise max_body, or read it with stream = true", cause = e })
  end
  fail(what, "encoding", "the compressed body is damaged", { detail = e.message, cause = e })
end

local function guarded(what, read)
  return function()
    local ok <const>, chunk <const> = pcall(read)
    if ok then return chunk end
    return retold(what, chunk)
  end
end

local function unpack_source(what, read, list, max)
  for _, format in ipairs(list) do
    read = gzip.reader(read, { format = format, max_bytes = max, name = "the body" })
  end
  return guarded(what, read)
end

local function unpack_text(what, text, list, max)
  if text == "" then return text end      -- the framing says that it is whole
  local at, parts <const> = 1, {}
  local read <const> = unpack_source(what, function()
    if at > #text then return nil end
    if at > 1 then tasks.sleep(0) end
    at = at + SLICE
    return text:sub(at - SLICE, at - 1)
  end, list, max)
  for chunk in read do parts[#parts + 1] = chunk end
  return table.concat(parts)
end

---- making one ----

-- The end of a body is proven by its length, by chunks or by HTTP/2's frames; a connection that ends proves nothing.
local function check_frame(self, job)
  local te <const>, length <const> = self.headers["transfer-encoding"], self.headers["content-length"]
  if te and te:lower() ~= "chunked" then
    fail(self.what, "protocol", "the answer comes in Transfer-Encoding " .. printable(te) .. ", which nobody asked for")
  end
  if length and not te and length:find(",", 1, true) then
    for part in length:gmatch("[^,%s]+") do
      if part ~= length:match("%d+") then
        fail(self.what, "protocol", "the answer has several lengths: " .. printable(length))
      end
    end
  end
  if length or te or self.version:sub(1, 2) ~= "1." or job.allow_unframed or self.method == "HEAD" or self.status == 204
    or self.status == 304 or self.status >= 400 then
    return
  end
  fail(self.what, "unframed", "the body has neither a length nor chunks: nothing tells a whole one from a cut one",
    { hint = "allow_unframed = true takes such answers; check what you got by other means" })
end

-- The answer to a hop of a job (garun.http). With call it streams, else text is the body.
function response.new(hop, job, status, version, headers, text, call)
  local self <const> = setmetatable({ status = status, version = version, headers = headers, url = hop.url,
    method = hop.method, what = hop.what, secret = job.own_authorization }, response)
  check_frame(self, job)
  local list <const> = job.decompress and codings(hop.what, headers)
  if not call then
    self.body = list and unpack_text(hop.what, text, list, job.max_body) or text
    return self
  end
  self.call = call
  local function raw(n)
    while true do
      local chunk <const> = call:read(n)
      if chunk ~= false then return chunk end
      hop.feed(call)
    end
  end
  local empty <const> = headers["content-length"] == "0" or hop.method == "HEAD" or status == 204 or status == 304
  self.source = list and not empty and unpack_source(hop.what, raw, list) or raw
  self.left = job.limit
  return self
end

---- reading ----

local function pull(self, n)
  if not self.source then
    error(errors.new { kind = "http", code = "closed", message = self.what .. ": the response is closed" }, 0)
  end
  local chunk <const> = self.source(n)
  if chunk and self.left then
    self.left = self.left - #chunk
    if self.left < 0 then
      self:close()
      fail(self.what, "too_large", "the body is larger than max_body")
    end
  end
  return chunk
end

-- The next bytes, at most n of them; nil at the end.
function response:read(n)
  if n ~= nil and (math.type(n) ~= "integer" or n < 1) then
    error(errors.new { kind = "usage", code = "argument", message = "response:read: n is a number of bytes from 1" }, 2)
  end
  if not self.call then      -- read whole already
    local at <const> = self.at or 1
    if at > #self.body then return nil end
    local chunk <const> = self.body:sub(at, n and at + n - 1 or -1)
    self.at = at + #chunk
    return chunk
  end
  local chunk = self.rest
  self.rest = nil
  if not chunk then
    if self.ended then return nil end
    chunk = pull(self, n)
    if chunk == nil then
      self.ended = true
      self.call:close()
      return nil
    end
  end
  if n and #chunk > n then
    self.rest = chunk:sub(n + 1)
    chunk = chunk:sub(1, n)
  end
  return chunk
end

-- A source of the body. The response is the fourth value, so that a `for` that is left early closes it.
function response:chunks(n)
  return function() return self:read(n) end, nil, nil, self
end

-- All that is left of a body that streams, as far as `max` bytes.
function response:text(max)
  if not self.call then return self.body end
  local parts <const>, size = {}, 0
  for chunk in function() return self:read() end do
    parts[#parts + 1] = chunk
    size = size + #chunk
    if size > (max or 64 << 20) then
      self:close()
      fail(self.what, "too_large", string.format("the body is larger than %d bytes", max or 64 << 20))
    end
  end
  return table.concat(parts)
end

local function excerpt(self)
  local ok, text = true, self.body
  if not text then
    if self.ended then return nil end
    ok, text = pcall(self.read, self, EXCERPT)
  end
  if not ok or not text or text == "" then return nil end
  local cut <const> = #text > EXCERPT
  -- Redacted whole and then cut: half a secret is one, too.
  text = log.redact(text:sub(1, 16 * EXCERPT))
  if type(self.secret) == "string" and self.secret ~= "" then      -- the caller's own Authorization, sent back
    text = text:gsub(self.secret:gsub("%p", "%%%0"), "***")
  end
  return printable(text:sub(1, EXCERPT)) .. (cut and "..." or "")
end

function response:json(opts)
  local text <const> = self:text()
  local ok <const>, value <const> = pcall(json.decode, text, opts)
  if ok then return value end
  if not errors.is(value, "json") then error(value, 0) end
  return fail(self.what, "json", "the answer is no JSON: " .. value.message, {
    detail = string.format("status %d, %s, %d bytes%s",
    self.status, printable(self.headers["content-type"] or "no content type"), #text,
    excerpt(self) and ": " .. excerpt(self) or ""), cause = value })
end

function response:check()
  if self.status >= 200 and self.status < 300 then return self end
  local detail <const> = excerpt(self)
  self:close()
  local reason <const> = reasons[self.status]
  local text = tostring(self.status) .. (reason and " " .. reason or "")
  local location <const> = self.status // 100 == 3 and self.headers.location
  if location then text = text .. " to " .. require("garun.http.url").show(location) end
  local after <const> = self.headers["retry-after"]
  return fail(self.what, "HTTP " .. self.status, text, { detail = detail, retryable = curable[self.status] or false,
    hint = after and "the server asks to wait: Retry-After " .. printable(after:sub(1, 40)) or nil })
end

function response:close()
  if self.call then self.call:close() end
  if not self.ended then self.source = nil end
  self.rest = nil
end
response.__close = response.close

function response:__tostring()
  return string.format("http.response(%s, %d)", self.what, self.status)
end

return response
