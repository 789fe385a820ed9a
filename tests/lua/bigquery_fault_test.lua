-- garun.bigquery when things go wrong: what may pass is tried again and costs no row, what may not is one clear error.
local t <const> = require "garun.test"
local bigquery <const> = require "garun.bigquery"
local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local task <const> = require "garun.task"
local time <const> = require "garun.time"
local server <const> = dofile(config.path "tests/lua/bigquery_server.lua")

local function start(settings)
  local s <const> = server.start(settings or { page_rows = 20 })
  s.table { day = "2024-01-05", rows = 100 }
  return s
end

local function client(s, opts)
  local all <const> = { project = "shop", dataset = "analytics_1", credentials = false, endpoint = s.url,
    storage_endpoint = s.url, backoff = 0.01, retries = 4 }
  for k, v in pairs(opts or {}) do all[k] = v end
  local c <const> = bigquery.client(all)
  t.after(function() c:close() end)
  return c
end

local function drain(c, opts)
  local parts <const> = {}
  local stream <close> = c:events("2024-01-05", opts).open()
  for chunk in stream do parts[#parts + 1] = chunk end
  return table.concat(parts)
end

local pages <const> = "/queries/garun_.*[?&](startIndex|pageToken)="
local sql <const> = "SELECT event_name, event_timestamp FROM `shop.analytics_1.events_20240105`"

-- Runs read(client) without and with each fault, under both ways of paging; the results must be the same.
local function survives(faults, read, settings)
  local s <const> = start(settings)
  for _, paging in ipairs { "range", "token" } do
    local c <const> = client(s, { paging = paging })
    local want <const> = read(c)
    for i, fault in ipairs(faults) do
      s.control "clear"
      s.fault(fault)
      local got <const> = read(c)
      t.ok(got == want, paging .. ": fault " .. i)
      local left <const> = s.control "left"
      t.equal(left, 0, paging .. ": fault " .. i .. " (" .. fault.kind .. ") has not come")
    end
  end
end

local function passing(path)
  return {
    { path = path, kind = "status", status = 429, reason = "rateLimitExceeded" },
    { path = path, kind = "status", status = 403, reason = "rateLimitExceeded", n = 2 },
    { path = path, kind = "status", status = 500, reason = "internalError", n = 4 },
    { path = path, kind = "status", status = 503, reason = "backendError" },
    { path = path, kind = "html", status = 502 },
    { path = path, kind = "html", status = 503, n = 2 },
    { path = path, kind = "reset" },
    { path = path, kind = "slow", seconds = 0.1 },
  }
end

t.test("faults that pass cost no event: at the start of the job, while it is waited for, on its pages", function()
  survives(passing "/jobs$", drain)
  survives(passing "maxResults=0", drain)
  survives(passing(pages), drain)
  survives({ { path = "maxResults=0", kind = "incomplete", n = 5 } }, drain)
end)

t.test("a page whose body is cut, at any place, is read on from its first missing row", function()
  local cuts <const> = {}
  for i, at in ipairs { 0, 0.01, 0.2, 0.5, 0.77, 0.99 } do cuts[i] = { path = pages, kind = "cut", at = at, skip = i % 4, n = 1 } end
  for _, gzip in ipairs { false, true } do survives(cuts, drain, { page_rows = 20, gzip = gzip }) end
  survives({ { path = pages, kind = "broken" } }, drain)
  survives({ { path = pages, kind = "cut", at = 0.6, n = 4 } }, drain)
end)

t.test("decoded queries survive the same", function()
  local function read(c)
    local list <const> = {}
    for row in c:query(sql, { page_rows = 30 }) do list[#list + 1] = row.event_name .. row.event_timestamp end
    return table.concat(list, "\n")
  end
  survives(passing "/queries$", read)
  survives(passing "/queries/.*pageToken", read)
  survives({ { path = "/queries$", kind = "incomplete" }, { path = "/queries$", kind = "cut" },
    { path = "/queries/", kind = "cut" }, { path = "/queries/", kind = "broken" } }, read)
end)

t.test("an extract's files are read on where they were cut", function()
  local settings <const> = { shard_rows = 30, buckets = { "transfer" }, page_rows = 20 }
  local faults <const> = passing "alt=media"
  for i, at in ipairs { 0, 0.1, 0.5, 0.9 } do faults[#faults + 1] = { path = "alt=media", kind = "cut", at = at, skip = i - 1 } end
  faults[#faults + 1] = { path = "/jobs/", kind = "html" }
  faults[#faults + 1] = { path = "/o[?]prefix", kind = "reset" }
  local s <const> = start(settings)
  local c <const> = client(s, { bucket = "transfer" })
  local want <const> = drain(c, { via = "extract" })
  for i, fault in ipairs(faults) do
    s.control "clear"
    s.fault(fault)
    t.ok(drain(c, { via = "extract" }) == want, "fault " .. i)
    t.equal(s.control "left", 0)
    t.equal(s.control "objects", {})
  end
  t.ok(#want > 0)
end)

t.test("an extract that fails half-way leaves no files", function()
  local s <const> = start { shard_rows = 10, buckets = { "transfer" } }
  local c <const> = client(s, { bucket = "transfer", retries = 1 })
  s.fault { path = "alt=media", kind = "html", skip = 3, n = 1000 }
  t.raises({ kind = "bigquery", code = "503", retryable = true }, drain, c, { via = "extract" })
  t.equal(s.control "objects", {})
  s.control "clear"
  local stream <const> = c:events("2024-01-05", { via = "extract" }).open()
  t.ok(stream())
  stream:close()
  task.timeout(20, function()
    while #s.control "objects" > 0 do task.sleep(0.05) end
  end)
end)

t.test("Retry-After is waited for", function()
  local s <const> = start()
  local c <const> = client(s)
  s.fault { path = "/queries$", kind = "status", status = 429, reason = "rateLimitExceeded", retry_after = 1 }
  local from <const> = time.monotonic()
  t.equal(#c:query(sql):all(), 100)
  t.ok(time.monotonic() - from >= 1)
end)

t.test("what does not pass is raised at once, with Google's reason", function()
  local s <const> = start()
  local c <const> = client(s)
  for reason, status in pairs { quotaExceeded = 403, accessDenied = 403, billingNotEnabled = 403, responseTooLarge = 403,
    invalid = 400 } do
    s.control "clear"
    s.fault { path = "/queries", kind = "status", status = status, reason = reason, message = "no <b>more</b>", n = 100 }
    local e <const> = t.raises({ kind = "bigquery", code = reason, retryable = false }, c.query, c, sql)
    t.match(e.message, "no <b>more</b>")
    t.equal(#s.log "/queries", 1)
    t.raises({ code = reason }, drain, c)
  end
end)

t.test("what goes on failing is an error that may pass, after as many tries as were allowed", function()
  local s <const> = start()
  local c <const> = client(s, { retries = 3 })
  s.fault { path = "/queries$", kind = "html", status = 503, n = 100 }
  t.raises({ kind = "bigquery", code = "503", retryable = true }, c.query, c, sql)
  t.equal(#s.log "/queries$", 4)
  s.control "clear"
  s.fault { path = pages, kind = "reset", n = 100 }
  t.raises({ kind = "http", retryable = true }, drain, c)
  s.control "clear"
  s.fault { path = pages, kind = "cut", at = 0.3, n = 100 }
  t.raises({ retryable = true }, drain, c)
  s.process:kill "KILL"
  s.process:wait()
  local e <const> = t.raises({ kind = "http", retryable = true }, c.query, c, sql)
  t.match(e.message, "^query: ")
end)

t.test("a job that fails for a passing reason is run again as another one, twice at most", function()
  local s <const> = start()
  local c <const> = client(s)
  s.fault { path = "maxResults=0", kind = "job_fails", reason = "backendError", n = 2 }
  t.equal(#drain(c) > 0, true)
  t.equal(#s.log "/jobs$", 3)
  s.control "clear"
  s.fault { path = "maxResults=0", kind = "job_fails", reason = "backendError", n = 10 }
  t.raises({ kind = "bigquery", code = "backendError", retryable = true }, drain, c)
  t.equal(#s.log "/jobs$", 3)
  s.control "clear"
  s.fault { path = "maxResults=0", kind = "job_fails", reason = "resourcesExceeded", message = "too big", n = 10 }
  local e <const> = t.raises({ kind = "bigquery", code = "resourcesExceeded", retryable = false }, drain, c)
  t.match(e.hint, "extract")
  t.equal(#s.log "/jobs$", 1)
end)

t.test("a job that fails behind its first pages fails the read, not as fewer events", function()
  local s <const> = start()
  for _, paging in ipairs { "range", "token" } do
    local c <const> = client(s, { paging = paging })
    s.control "clear"
    s.fault { path = pages, kind = "job_fails", reason = "stopped", skip = 2 }
    t.raises({ kind = "bigquery", code = "stopped" }, drain, c)
    s.control "clear"
    s.fault { path = pages, kind = "job_fails", reason = "internalError", skip = 2 }
    t.raises({ kind = "bigquery", code = "internalError", retryable = true }, drain, c)
  end
end)

t.test("rows that are missing, repeated or too many are an error, never other numbers", function()
  local s <const> = start()
  local function raises(code, fault, paging, opts)
    s.control "clear"
    s.fault(fault)
    local e <const> = t.raises({ kind = "bigquery", code = code, retryable = true }, drain, client(s, { paging = paging }), opts)
    t.equal(s.control "left", 0)
    return e
  end
  t.match(raises("rowCount", { path = pages, kind = "drop_row", skip = 1 }, "token").message, "1 of the 100 rows are missing")
  raises("totalRows", { path = pages, kind = "total", by = 1, skip = 1 }, "token")
  raises("totalRows", { path = pages, kind = "total", by = -1, skip = 1 }, "range")
  raises("repeatedPage", { path = pages, kind = "repeat_page", skip = 1 }, "token")
  raises("repeatedPage", { path = pages, kind = "repeat_page", skip = 1 }, "range", { parallel = 1, page_rows = 20 })
  raises("totalRows", { path = "maxResults=0", kind = "total", by = 1 }, "token", { types = { "scroll" } })
  for _, paging in ipairs { "range", "token" } do
    s.control "clear"
    s.fault { path = "/queries/", kind = "total", by = 1, n = 1000 }
    t.raises({ kind = "bigquery", code = "rowCount", retryable = true }, drain, client(s, { paging = paging }))
  end
  -- By ranges a row that a page leaves out is asked for once more.
  s.control "clear"
  s.fault { path = pages, kind = "drop_row", skip = 1 }
  local _, n <const> = drain(client(s)):gsub("\n", "")
  t.equal(n, 100)

  local function query(fault)
    s.control "clear"
    s.fault(fault)
    return t.raises({ kind = "bigquery", retryable = true }, function()
      client(s):query(sql, { page_rows = 30 }):all()
    end).code
  end
  t.equal(query { path = "/queries/", kind = "drop_row" }, "rowCount")
  t.equal(query { path = "/queries/", kind = "total", by = 1 }, "totalRows")
end)

t.test("an answer that does not fit the table is an error", function()
  local s <const> = start()
  local c <const> = client(s)
  local source <const> = c:events("2024-01-05")
  -- The table said 100 rows; a job that reads 90 is no answer about it.
  local rows <const> = server.rows("2024-01-05", 90)
  local before <const> = c:table "events_20240105"
  s.control("tables", { project = "shop", dataset = "analytics_1", table = "events_20240105", schema = server.schema, rows = rows,
    lastModifiedTime = before.last_modified, claims = { numRows = "100", numBytes = tostring(before.bytes) } })
  local e <const> = t.raises({ kind = "bigquery", code = "rowCount", retryable = true }, function()
    for _ in source.open() do end
  end)
  t.match(e.message, "90 rows came, the table has 100")
end)

t.test("a table that is replaced while its rows are read is an error", function()
  local s <const> = start()
  local c <const> = client(s)
  local function read(change_after)
    local n = 0
    for _ in c:rows("events_20240105", { page_rows = 10 }) do
      n = n + 1
      if n == change_after then s.table { day = "2024-01-05", rows = 100, lastModifiedTime = 1704880000000 + change_after } end
    end
    return n
  end
  t.equal(read(0), 100)
  for _, after in ipairs { 1, 55, 99 } do t.raises({ kind = "bigquery", code = "tableChanged", retryable = true }, read, after) end
end)

t.test("a job that nobody waits for any more is cancelled", function()
  local s <const> = start()
  local c <const> = client(s)
  s.fault { path = "maxResults=0", kind = "incomplete", n = 100000 }
  t.raises({ kind = "timeout" }, task.timeout, 0.4, drain, c)
  t.equal(#s.log "/cancel$", 1)
  local impatient <const> = client(s, { job_timeout = 1 })
  local e <const> = t.raises({ kind = "bigquery", code = "timeout", retryable = true }, drain, impatient)
  t.match(e.message, "job_timeout = 1 s")
  t.equal(#s.log "/cancel$", 2)
end)

t.test("a read can be cancelled in its middle and the client goes on working", function()
  local s <const> = start()
  local c <const> = client(s)
  for _, fault in ipairs { { path = pages, kind = "slow", seconds = 3, skip = 1 }, { path = "/jobs$", kind = "slow", seconds = 3 } } do
    s.control "clear"
    s.fault(fault)
    local e <const> = t.raises({ kind = "timeout" }, task.timeout, 0.3, drain, c)
    t.ok(errors.is(e, "timeout"))
  end
  s.control "clear"
  t.ok(#drain(c) > 0)
  local stream <const> = c:events("2024-01-05", { parallel = 2, page_rows = 5 }).open()
  t.ok(stream())
  stream:close()
  t.ok(#drain(c) > 0)
end)

t.test("no fault's error holds the token", function()
  local s <const> = server.start { auth = true }
  s.table { day = "2024-01-05", rows = 3 }
  s.control("accounts", { client_id = "id", client_secret = "secret", refresh_token = "refresh" })
  local c <const> = client(s, { retries = 1, credentials = { type = "authorized_user", client_id = "id", client_secret = "secret",
    refresh_token = "refresh", token_uri = s.url .. "/token" } })
  t.equal(#c:query(sql):all(), 3)
  for _, kind in ipairs { "html", "reset", "broken" } do
    s.fault { path = "/queries$", kind = kind, n = 8 }
    local e = t.raises({ retryable = true }, c.query, c, sql)
    s.control "clear"
    while e do
      t.ok(not tostring(e):find("ya29", 1, true) and not tostring(e):find("Bearer", 1, true))
      e = errors.is(e) and e.cause
    end
  end
end)
