-- garun.http.download: a body into a file that appears whole or not at all, and goes on where it was cut.
--
-- The bytes go to PATH.part, which is locked; PATH.part.json says which version of what it is. The next attempt, or the
-- next run, asks for the rest with Range and If-Range: a server that has another version by then sends all of it. What
-- cannot be proven to be the same version is never continued.

local core <const> = require "garun.core.http"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local response <const> = require "garun.http.response"
local retry <const> = require "garun.http.retry"
local settings <const> = require "garun.http.settings"
local tasks <const> = require "garun.core.task"
local clock <const> = require "garun.time"

local download <const> = {}

local fail <const>, misuse <const> = response.fail, settings.misuse
local PROGRESS <const> = 1 << 20      -- bytes that make an attempt a success of its own
local own_options <const> = { "query", "sha256", "progress", "progress_interval", "resume", "sync" }
local options <const> = table.move(settings.shared, 1, #settings.shared, #own_options + 1,
  table.move(own_options, 1, #own_options, 1, {}))

---- what is there of an earlier attempt ----

-- After a power cut a file may have its length but not its bytes: a part is good within one boot only.
local function boot()
  local ok <const>, id <const> = pcall(fs.read, "/proc/sys/kernel/random/boot_id")
  return ok and id:match("%S+") or ""
end

-- If-Range takes strong validators only (RFC 9110, 13.1.5): no weak ETag, and no date that is as young as the answer.
local function validator(headers)
  local etag <const> = headers.etag
  if etag and etag:sub(1, 1) == '"' then return etag end
  local modified <const>, date <const> = headers["last-modified"], headers.date
  local at <const>, now <const> = modified and retry.http_date(modified), date and retry.http_date(date)
  if at and now and now - at >= 1 then return modified end
  return nil
end

local function read_note(self)
  local ok <const>, text <const> = pcall(fs.read, self.note, { max_bytes = 65536 })
  local good <const>, note <const> = pcall(json.decode, ok and text or "")
  if good and type(note) == "table" and note.url == self.shown and note.boot == boot() and type(note.validator) == "string"
    and note.validator:find("^[^%c]+$") then
    return note
  end
  return nil
end

local function write_note(self, headers, total)
  self.validator = validator(headers)
  self.total = total
  if self.validator and self.resume then
    fs.write(self.note, json.encode { url = self.shown, validator = self.validator, boot = boot(), total = total },
      { sync = false })
  else
    fs.remove(self.note, { missing_ok = true })
  end
end

---- one attempt ----

local function number(text)
  return text and tonumber(text:match("^%d+$")) or nil
end

-- Takes the head of an answer: where its bytes go. True when there is nothing left to fetch.
local function begin(self, r, start)
  local coding <const> = r.headers["content-encoding"]
  if coding and coding:lower() ~= "identity" and self.decompress ~= false then
    fail(r.what, "encoding", "the server sends it compressed (" .. coding .. ") though it was asked not to",
      { hint = "decompress = false keeps the bytes as they come" })
  end
  if r.status == 416 and start > 0 then
    local total <const> = number((r.headers["content-range"] or ""):match("^bytes %*/(%d+)$"))
    if total == start then return true end      -- it was whole: only the renaming had been missing
    self.sink:reset(0)
    self.validator = nil
    fail(r.what, "range", "the server has less than the part that is here; it is fetched anew", { retryable = true })
  end
  r:check()
  if r.status == 206 then
    local from, _, total = (r.headers["content-range"] or ""):match("^bytes (%d+)%-(%d+)/([%d*]+)$")
    total = number(total)
    if start == 0 or tonumber(from) ~= start or self.total and total and total ~= self.total then
      self.sink:reset(0)
      self.validator = nil
      fail(r.what, "range", "the server sends another range than the one asked for: "
        .. (r.headers["content-range"] or "no Content-Range"), { retryable = start > 0 })
    end
    self.total = total or self.total
    self.resumed = self.resumed or start
    return false
  end
  if r.status ~= 200 and r.status ~= 203 then fail(r.what, "HTTP " .. r.status, "this answer has no file") end
  self.sink:reset(0)
  self.resumed = nil
  write_note(self, r.headers, number(r.headers["content-length"]))
  return false
end

local function ticker(self, call, start)
  return tasks.spawn(true, function()
    while true do
      tasks.sleep(self.interval)
      self.progress(start + call:count(), self.total)
    end
  end)
end

local function fetch(self)
  local start <const> = self.sink:size()
  local headers <const> = {}
  if start > 0 then
    headers.Range = string.format("bytes=%d-", start)
    headers["If-Range"] = self.validator
  end
  headers["Accept-Encoding"] = "identity"
  local r <close> = self.ask(headers)
  if begin(self, r, start) then return r end
  local from <const> = self.sink:size()
  if self.max and self.total and self.total > self.max then
    fail(r.what, "too_large", string.format("it has %d bytes, more than max_body = %d", self.total, self.max))
  end
  local call <const> = r.call
  call:save(self.sink, self.max and self.max - from or nil)
  local tick <close> = self.progress and ticker(self, call, from)
  if call:finish() == false then fail(r.what, "body", "the server wants a body") end
  if self.total and self.sink:size() ~= self.total then
    fail(r.what, "cut", string.format("%d bytes came instead of %d", self.sink:size(), self.total), { retryable = true })
  end
  return r
end

---- all of it ----

local function attempts(self, policy, deadline)
  local n = 0
  while true do
    n = n + 1
    local before <const> = self.sink:size()
    local ok <const>, r <const> = pcall(fetch, self)
    if ok then return r end
    if not (errors.is(r, "http") and r.retryable and r.code ~= "timeout") then error(r, 0) end
    local size <const> = self.sink:size()
    if not self.validator and size > 0 then self.sink:reset(0) end
    -- It goes on: patience is counted for those who stand still.
    if self.validator and size - before >= PROGRESS and policy.attempts > 1 then n = 0 end
    local status <const> = number((r.code or ""):match("^HTTP (%d+)$"))
    if n >= policy.attempts or status and not policy.on[status] then error(r, 0) end
    local delay <const> = self.after or retry.delay(policy, math.max(n, 1))
    if self.after and self.after > policy.max or deadline and clock.monotonic() + delay >= deadline then error(r, 0) end
    log.debug("http download goes on", { request = self.what, have = size, delay = delay, reason = r.code })
    tasks.sleep(delay)
  end
end

local function check_digest(self, want)
  local digest <close> = crypto.sha256()
  for chunk in fs.source(self.part, { chunk = 1 << 20 }) do digest:update(chunk) end
  local got <const> = digest:final()
  if got == want then return end
  self.spoiled = true
  fail(self.what, "checksum", "its SHA-256 is " .. got .. ", not " .. want, { retryable = true })
end

-- What stays behind: a part that can be continued, or nothing. While it is locked.
local function tidy(self)
  if self.done or self.sink:size() > 0 and self.validator and self.resume and not self.spoiled then return end
  fs.remove(self.part, { missing_ok = true })
  fs.remove(self.note, { missing_ok = true })
end

-- ask(headers, opts) makes the request and gives its streaming response.
function download.run(ask, at, path, opts, def)
  local fn <const> = "http.download"
  if type(path) ~= "string" or path == "" then misuse("%s: path (argument 2) is a string", fn) end
  if opts.progress ~= nil and type(opts.progress) ~= "function" then misuse("%s: progress is a function", fn) end
  settings.seconds(fn, "progress_interval", opts.progress_interval)
  local want <const> = opts.sha256 and tostring(opts.sha256):lower()
  if want and not want:find("^" .. ("%x"):rep(64) .. "$") then misuse("%s: sha256 is 64 hexadecimal digits", fn) end
  local old <const> = fs.stat(path)
  if old and old.type ~= "file" then misuse("%s: %s is a %s, not a file", fn, path, old.type) end
  if old then path = fs.realpath(path) end      -- a symbolic link stays one
  local deadline <const> = def.timeout and clock.monotonic() + def.timeout
  local self <const> = { part = path .. ".part", note = path .. ".part.json", shown = at.shown, what = "GET " .. at.shown,
    progress = opts.progress, interval = opts.progress_interval or 0.25, resume = opts.resume ~= false,
    decompress = opts.decompress, max = def.max_body }
  function self.ask(headers)
    local left <const> = deadline and deadline - clock.monotonic()
    local r <const> = ask(headers, left and math.max(left, 0.001))
    self.after = retry.after(r.headers)
    return r
  end
  local sink <close>, have <const> = core.sink(self.part)
  self.sink = sink
  local guard <close> = setmetatable({}, { __close = function() tidy(self) end })
  local note <const> = have > 0 and self.resume and read_note(self)
  if note then
    self.validator, self.total = note.validator, note.total
  elseif have > 0 then
    sink:reset(0)
  end
  local r <const> = attempts(self, retry.policy(fn, def.retry, true), deadline)
  if want then check_digest(self, want) end
  local bytes <const> = sink:size()
  if self.progress then self.progress(bytes, self.total or bytes) end
  if old then fs.chmod(self.part, old.mode) end
  sink:finish(path, opts.sync ~= false)
  self.done = true
  fs.remove(self.note, { missing_ok = true })
  return { path = path, bytes = bytes, status = r.status, url = r.url, etag = r.headers.etag,
    last_modified = r.headers["last-modified"], resumed_from = self.resumed }
end

download.options = options

return download
