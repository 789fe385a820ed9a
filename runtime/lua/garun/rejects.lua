-- garun.rejects: lines that cannot be stored: how many are too many, and where they are kept.
--
-- A reject is { source, line, offset, column, code, reason, raw }. It goes to a file, one JSON object a line (raw as
-- text where it is UTF-8, else raw_base64), and to garun.rejects in the load's own transaction.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"

local rejects <const> = {}

---- limits ----

local limits <const> = {}
limits.__index = limits

-- A load stops when more than max_rejects lines and more than max_reject_percent of its lines are rejected, and when
-- there is nothing but rejects: then the source is not what the mapping is for.
function rejects.limits(opts)
  return setmetatable({ max = opts.max_rejects or 1000, percent = opts.max_reject_percent or 1, seen = 0 }, limits)
end

function limits:count(reject)
  self.seen = self.seen + 1
  self.first = self.first or reject
end

function limits:check(totals, at_end)
  local lines <const>, rejected <const> = totals.lines, totals.rejected
  local beyond <const> = rejected > self.max and rejected * 100 > lines * self.percent
  local only <const> = at_end and rejected > 0 and totals.rows == 0 and totals.other == 0 and totals.out_of_range == 0
  if not (beyond or only) then return end
  local first <const> = self.first
  error(errors.new {
    kind = "guard", code = "rejects",
    message = string.format("%d of %d lines were rejected%s; nothing was committed", rejected, lines,
      beyond and string.format(", the limit is %g %% and %d lines", self.percent, self.max) or ""),
    detail = first and string.format("the first one: %s line %s: %s%s", first.source or "source", first.line,
      first.column and first.column .. ": " or "", first.reason) or nil,
    hint = "mend the source or the mapping, or raise --max-rejects and --max-reject-percent",
  }, 0)
end

---- the file ----

local file <const> = {}
file.__index = file

-- NDJSON at path; nil keeps nothing. Made with the first reject only.
function rejects.file(path)
  return setmetatable({ path = path, n = 0 }, file)
end

function file:add(r)
  self.n = self.n + 1
  if not self.path then return end
  if not self.out then
    fs.mkdir(fs.dirname(self.path), { parents = true })
    self.out = fs.open(self.path, "w")
  end
  local line <const> = { source = r.source, line = r.line, offset = r.offset, column = r.column, code = r.code,
    reason = r.reason }
  if utf8.len(r.raw) then line.raw = r.raw else line.raw_base64 = crypto.base64_encode(r.raw) end
  self.out:write(json.encode(line) .. "\n")
end

function file:close()
  local out <const> = self.out
  self.out = nil
  if out then out:close() end
end

file.__close = file.close

---- the table ----

local columns <const> = { "tenant_id", "load_id", "job_id", "source", "line", "byte_offset", "column_name", "code",
  "reason", "raw" }
local flush_rows <const>, flush_bytes <const> = 1000, 1 << 20

local writer <const> = {}
writer.__index = writer

-- Collects rejects and writes them to garun.rejects by COPY, in tx. ids: { tenant_id, load_id, job_id }.
function rejects.table(tx, ids)
  return setmetatable({ tx = tx, ids = ids, rows = {}, bytes = 0 }, writer)
end

-- close_copy ends the COPY that is open on the connection, when there is one.
function writer:add(r, close_copy)
  self.rows[#self.rows + 1] = r
  self.bytes = self.bytes + #r.raw
  if #self.rows >= flush_rows or self.bytes >= flush_bytes then
    close_copy()
    self:flush()
  end
end

function writer:flush()
  if #self.rows == 0 then return end
  local pg <const> = require "garun.pg"
  local copy <close> = self.tx:copy_in("garun.rejects", columns)
  for _, r in ipairs(self.rows) do
    copy:row(self.ids.tenant_id, self.ids.load_id, self.ids.job_id, r.source, r.line, r.offset, r.column, r.code,
      r.reason, pg.bytea(r.raw))
  end
  copy:finish()
  self.rows, self.bytes = {}, 0
end

return rejects
