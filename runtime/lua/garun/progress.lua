-- garun.progress: the numbers of a load while it runs: for the job's row and for the line on the terminal.

local time <const> = require "garun.time"

local progress <const> = {}
progress.__index = progress

-- on_change(state) is called at most five times a second.
function progress.new(on_change)
  return setmetatable({ chunks = {}, started = time.monotonic(), bytes_total = 0, on_change = on_change,
    told = 0, days = 0, unchanged = 0 }, progress)
end

-- Sources that will be read. One of unknown size makes the whole unknown.
function progress:expect(sources)
  for _, s in ipairs(sources) do
    if not s.size then self.unknown = true end
    self.bytes_total = self.bytes_total + (s.size or 0)
  end
end

function progress:chunk(chunk)
  local mine <const> = { bytes = 0, totals = {}, counts = {}, sources = chunk.sources }
  self.chunks[#self.chunks + 1] = mine
  return {
    read = function(n)
      mine.bytes = mine.bytes + n
      self:tell()
    end,
    totals = function(totals, counts)
      mine.totals, mine.counts = totals, counts
      self:tell()
    end,
    finished = function(result)
      mine.done, mine.totals, mine.counts = true, result, result.tables
      if result.unchanged then self.unchanged = self.unchanged + 1 end
      for _ in pairs(result.days) do self.days = self.days + 1 end
      self:tell(true)
    end,
    failed = function() mine.totals, mine.counts, mine.bytes = {}, {}, 0 end,
  }
end

function progress:tell(now)
  if not self.on_change then return end
  local t <const> = time.monotonic()
  if not now and t - self.told < 0.2 then return end
  self.told = t
  self.on_change(self)
end

local function add(self, key)
  local n = 0
  for _, c in ipairs(self.chunks) do n = n + (c.totals[key] or 0) end
  return n
end

-- Bytes of the sources as they are stored, for the share that is done.
local function stored_bytes(self)
  local n = 0
  for _, c in ipairs(self.chunks) do
    for _, s in ipairs(c.sources) do
      n = n + (c.done and s.size or s.stream and s.stream.bytes or 0)
    end
  end
  return n
end

-- { lines, rows, rejected, bytes, bytes_read, bytes_total, percent, days_done, seconds }: rows are those on their way.
function progress:progress()
  local bytes, read <const> = 0, stored_bytes(self)
  for _, c in ipairs(self.chunks) do bytes = bytes + c.bytes end
  local total <const> = not self.unknown and self.bytes_total or nil
  return {
    lines = add(self, "lines"), rows = add(self, "rows"), rejected = add(self, "rejected"), bytes = bytes,
    bytes_read = read, bytes_total = total, percent = total and total > 0 and math.min(100, read * 100 // total) or nil,
    days_done = self.days, seconds = time.monotonic() - self.started,
  }
end

-- Rows per table, in the keys of records_processed.
function progress:records()
  local records <const> = {}
  for _, c in ipairs(self.chunks) do
    for name, n in pairs(c.counts) do records[name] = (records[name] or 0) + n end
  end
  return records
end

return progress
