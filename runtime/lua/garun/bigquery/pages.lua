-- garun.bigquery.pages: the rows of a finished query of one JSON column, as lines, several pages under way at once.
--
-- The results of a query are immutable and numbered, so pages are asked for as ranges of row numbers (startIndex), in
-- parallel; a page whose body is cut is asked for again from its first missing row. Servers that do not know startIndex
-- (emulators) get the pages one after another by pageToken. A page becomes lines in C (garun.core.bq_rows) and is never
-- whole in memory. What is handed out is exactly totalRows rows, or an error.

local core <const> = require "garun.core.bq_rows"
local crypto <const> = require "garun.crypto"
local fail <const> = require "garun.bigquery.fail"
local jobs <const> = require "garun.bigquery.jobs"
local json <const> = require "garun.json"
local ordered <const> = require "garun.bigquery.ordered"

local pages <const> = {}

local CAPACITY <const> = 12             -- chunks of 256 KiB that wait of each page
local FIRST_ROWS <const> = 2500         -- rows asked for before it is known how many a page holds

-- What all pages of one result have in common.
local function new_state(client, job, total)
  return { client = client, job = job, total = total, rows = 0, digests = {},
    url = client.base .. "/projects/" .. client.project .. "/queries/" .. job.id }
end

local function check_members(state, text)
  local job <const> = state.job
  local ok <const>, members <const> = pcall(json.decode, text, { excerpt = false })
  if not ok then
    fail.raise { code = "page", retryable = true, message = job.what .. ": a page is damaged: " .. members.message }
  end
  if members.error or members.rows ~= nil then
    fail.raise { code = "page", retryable = true, message = job.what .. ": a page has members that do not belong there" }
  end
  if members.totalRows ~= nil and jobs.count(job, members.totalRows) ~= state.total then
    fail.spoilt { code = "totalRows", message = string.format(
      "%s: a page says that there are %s rows, the job said %d", job.what, members.totalRows, state.total) }
  end
  return members
end

-- The same page twice means that somebody between mixed up answers: the number of rows would hide it.
local function check_repeated(state, digest, rows, first)
  if rows < 2 then return end
  local before <const> = state.digests[digest]
  if before and before ~= first then
    fail.spoilt { code = "repeatedPage", message = string.format(
      "%s: the rows from %d on are those from %d on once more", state.job.what, first, before),
      hint = "a server that does not know startIndex needs paging = \"token\"" }
  end
  state.digests[digest] = first
end

-- One request for rows. at: first (row, for messages), start (startIndex) or token, rows wanted (nil: as many as come),
-- skip: rows of the page that were handed out before. Calls put with whole lines and got with their number.
local function fetch(state, at, put, got)
  local answer <const> = state.client.rest:once(state.job.what, { url = state.url, stream = true, query = {
    location = state.job.location, startIndex = at.start, pageToken = at.token,
    maxResults = at.rows } })
  local _ <close> = answer
  local scanner <close> = core.scanner(at.skip)
  local hash <const> = crypto.xxh128()
  local seen = 0
  for bytes in answer:chunks() do
    local lines <const>, head <const> = scanner:feed(bytes)
    if head then check_members(state, head) end
    if lines then
      local n <const> = math.max(scanner:rows() - at.skip, 0)
      if at.rows and n > at.rows then
        fail.spoilt { code = "rowCount", message = string.format("%s: a page has more rows than the %d asked for",
          state.job.what, at.rows), hint = "a server that does not know maxResults needs paging = \"token\"" }
      end
      hash:update(lines)
      put(lines)
      got(n - seen)
      seen = n
    end
  end
  local members <const> = check_members(state, scanner:finish())
  if members.jobComplete == false then
    fail.raise { code = "answer", retryable = true, message = state.job.what .. ": the finished job is under way again" }
  end
  if at.skip == 0 then check_repeated(state, hash:final(), seen, at.first) end
  return { rows = seen, token = members.pageToken }
end

local function row_count(state, what)
  fail.spoilt { code = "rowCount", message = string.format("%s: %s of the %d rows are missing",
    state.job.what, what, state.total) }
end

---- ranges in parallel ----

-- Fetches the rows of a range, in as many requests as the server makes of it.
local function fetch_range(state, range, put)
  local first, empty = range.first, 0
  local settled <const> = jobs.settled(state.client, state.job)
  while first < range.last do
    local wanted <const> = range.last - first
    local page <const> = state.client.rest:attempt(state.job.what, function()
      return fetch(state, { first = first, start = first, rows = range.last - first, skip = 0 }, put, function(n)
        first = first + n
        state.rows = state.rows + n
      end)
    end, settled)
    if first < range.last and page.rows > 0 and page.rows < wanted then
      state.page_rows = math.max(1, math.min(state.page_rows, page.rows))
    end
    empty = page.rows == 0 and empty + 1 or 0
    if empty == 3 then row_count(state, range.last - first) end
  end
end

local function open_ranges(state, opts)
  local at = 0
  state.page_rows = opts.page_rows or FIRST_ROWS
  return ordered.open { parallel = opts.parallel, capacity = CAPACITY,
    next = function()
      if at >= state.total then return nil end
      local range <const> = { first = at, last = math.min(at + state.page_rows, state.total) }
      at = range.last
      return range
    end,
    fetch = function(range, put) fetch_range(state, range, put) end,
    finish = function()
      if state.rows ~= state.total then row_count(state, state.total - state.rows) end
    end,
    cleanup = opts.cleanup,
  }
end

---- page tokens ----

local function fetch_tokens(state, opts, put)
  local token, seen <const>, first = nil, {}, 0
  local settled <const> = jobs.settled(state.client, state.job)
  repeat
    local handed_out = 0
    local page <const> = state.client.rest:attempt(state.job.what, function()
      return fetch(state, { first = first, token = token, rows = opts.page_rows, skip = handed_out }, put, function(n)
          handed_out = handed_out + n
          state.rows = state.rows + n
        end)
    end, settled)
    first = first + handed_out
    token = page.token
    if token and seen[token] then
      fail.spoilt { code = "repeatedPage", message = state.job.what .. ": the same page comes again and again" }
    end
    if token then seen[token] = true end
  until not token
end

local function open_tokens(state, opts)
  local given = state.total == 0
  return ordered.open { parallel = 1, capacity = CAPACITY,
    next = function()
      if given then return nil end
      given = true
      return true
    end,
    fetch = function(_, put) fetch_tokens(state, opts, put) end,
    finish = function()
      if state.rows ~= state.total then
        if state.rows < state.total then row_count(state, state.total - state.rows) end
        fail.spoilt { code = "rowCount", message = string.format("%s: %d rows came, the job said %d",
          state.job.what, state.rows, state.total) }
      end
    end,
    cleanup = opts.cleanup,
  }
end

-- Reads the lines of a finished job: read() gives chunks of whole lines and nil behind the last of `total` rows, close().
-- opts: parallel, page_rows (nil: as fits), paging ("range" or "token"), cleanup
function pages.open(client, job, total, opts)
  local state <const> = new_state(client, job, total)
  if opts.paging == "token" then return open_tokens(state, opts) end
  return open_ranges(state, opts)
end

return pages
