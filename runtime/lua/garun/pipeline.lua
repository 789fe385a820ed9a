-- garun.pipeline: moves records from sources into tables, as a mapping says.
--
-- pipeline.load is the whole: one transaction that appends, replaces a range or merges by key. pipeline.pump is its
-- heart, for those who have a transaction and a protocol of their own (garun.ingest): source -> worker -> COPY, one lane.
-- Bytes never become Lua values on the way, but for rejects.

local core <const> = require "garun.core.load"
local csv <const> = require "garun.csv"
local errors <const> = require "garun.error"
local host <const> = require "garun.core.host"
local mapping_module <const> = require "garun.mapping"
local pg <const> = require "garun.pg"
local rejects_module <const> = require "garun.rejects"
local source_module <const> = require "garun.source"
local task <const> = require "garun.task"

local pipeline <const> = {}

-- Around the worker's rows: signature, flags and length of the extension; at the end a field count of -1 (PostgreSQL
-- manual, COPY, Binary Format). The server reads this with a sixth less CPU than text: there is nothing to unescape.
local COPY_FORMAT <const> = { format = "binary" }
local COPY_HEADER <const> = "PGCOPY\n\xFF\r\n\0" .. string.pack(">I4I4", 0, 0)
local COPY_TRAILER <const> = string.pack(">i2", -1)

pipeline.mapping = mapping_module.new
pipeline.const = mapping_module.const
pipeline.uuid = mapping_module.uuid
pipeline.record = mapping_module.record
pipeline.param = mapping_module.param

---- pump ----

-- The header of a CSV source names the fields: reads the first record off the stream. Returns names and a stream that
-- goes on behind it.
local function split_header(stream, format)
  local text, rest = ""
  while true do
    local chunk <const> = stream()
    text = text .. (chunk or "")
    local record, after = core.first_record(text, true, format.delimiter, format.quote)
    if record or not chunk then
      text, rest = record or text, after or ""
      break
    end
  end
  if text == "" then return nil, stream end
  local fields <const> = csv.decode(text:gsub("^\u{FEFF}", ""),
    { delimiter = format.delimiter, quote = format.quote, header = false })[1]
  return fields, function()
    if rest ~= "" then
      local first <const> = rest
      rest = ""
      return first
    end
    return stream()
  end, text
end

local function feed(lane, sources, bound, hooks)
  if not (bound.format.csv and bound.format.header) then lane:plan(bound:pack()) end
  for _, src in ipairs(sources) do
    local stream <const> = src.open()
    local pull = stream
    src.stream = stream
    lane:source(src.name)
    if bound.format.csv and bound.format.header then
      local fields, after = split_header(stream, bound.format)
      if fields then
        lane:plan(bound:pack(fields, src.name))
        pull = after
      end
    end
    for chunk in pull do
      lane:write(chunk)
      hooks.read(#chunk)
    end
    lane:end_source()
    src.digest, src.bytes = stream.digest, stream.bytes
  end
  lane:finish()
end

-- Rows so far by table name.
local function rows_by_table(lane, bound)
  local rows <const> = {}
  for _, counts in pairs(lane:counts()) do
    for t, n in ipairs(counts) do
      local name <const> = bound.tables[t].name
      rows[name] = (rows[name] or 0) + n
    end
  end
  return rows
end

local no_hooks <const> = { read = function() end, part = function() end, reject = function() end,
  progress = function() end }

-- Runs the sources through one worker into the tables of `bound` (mapping:bind(db)), on tx's connection; without tx the
-- rows are counted and dropped. hooks: part(text) before the first row of a partition is sent; reject(r, close_copy),
-- where r is { source, line, offset, column, code, reason, raw } and close_copy() frees the connection for statements;
-- read(bytes); progress(totals, rows by table). Returns { totals..., tables = { name = rows }, parts = { part = {
-- name = rows } }, others = { name = n } }. Every number that the server reported is checked against the worker's.
function pipeline.pump(tx, bound, sources, hooks)
  hooks = setmetatable(hooks or {}, { __index = no_hooks })
  local format <const> = bound.format
  local lane <close> = core.lane {
    worker = host.worker(), tables = #bound.tables, dedup = bound.dedup ~= nil, csv = format.csv,
    delimiter = format.delimiter, quote = format.quote,
  }
  local feeder <close> = task.spawn(feed, lane, sources, bound, hooks)
  local sent <const> = {}
  local copy, open

  local function close_copy()
    if not copy then return end
    local c <const> = copy
    copy = nil
    c:write(COPY_TRAILER)
    sent[open] = (sent[open] or 0) + c:finish()
  end

  local function flush(t)
    if not tx then
      lane:discard(t)
      return
    end
    if open ~= t then close_copy() end
    if not copy then
      copy, open = tx:copy_in(bound.tables[t].target, bound.tables[t].names, COPY_FORMAT), t
      copy:write(COPY_HEADER)
    end
    lane:flush(t, copy)
  end

  for step in lane.next, lane do
    if step.parts then
      close_copy()
      for _, part in ipairs(step.parts) do hooks.part(part) end
    end
    for _, reject in ipairs(step.rejects or {}) do hooks.reject(reject, close_copy) end
    for _, t in ipairs(step.full or {}) do flush(t) end
    if step.done then hooks.progress(lane:totals(), rows_by_table(lane, bound)) end
  end
  feeder:join()
  for t = 1, #bound.tables do
    if lane:bytes(t) > 0 then flush(t) end
  end
  close_copy()

  local result <const> = lane:totals()
  result.tables, result.parts, result.others, result.memory = rows_by_table(lane, bound), {}, lane:others(),
    lane:memory()
  for part, rows in pairs(lane:counts()) do
    result.parts[part] = {}
    for t, n in ipairs(rows) do result.parts[part][bound.tables[t].name] = n end
  end
  pipeline.reconcile(result, tx and sent, bound)
  return result
end

-- Source count = COPY tags + rejects + duplicates + others + out of range, or nothing is committed. sent: rows by the
-- server's command tags, nil when nothing was sent to one.
function pipeline.reconcile(result, sent, bound)
  local loaded = 0
  for t, info in ipairs(bound.tables) do
    local kept <const> = result.tables[info.name] or 0
    local copied <const> = sent and (sent[t] or 0) or kept
    loaded = loaded + copied
    if kept ~= copied then
      error(errors.new { kind = "load", code = "count", message = string.format(
        "table %s: the server counted %d rows, %d were sent; nothing was committed", info.name, copied, kept) }, 0)
    end
  end
  result.loaded = loaded
  local accounted <const> = loaded + result.other + result.duplicates + result.rejected + result.out_of_range
  if accounted ~= result.lines then
    error(errors.new { kind = "load", code = "count", message = string.format(
      "%d lines were read, but %d are accounted for (%d loaded, %d other, %d duplicates, %d rejected, %d out of range); "
      .. "nothing was committed", result.lines, accounted, loaded, result.other, result.duplicates, result.rejected,
      result.out_of_range) }, 0)
  end
end

---- load ----

local function sources_of(from)
  if type(from) == "string" then return source_module.list { from } end
  if type(from) == "function" then return { source_module.from_function("function", from) } end
  if type(from) == "table" and from.open then return { from } end
  if type(from) ~= "table" or #from == 0 then
    error("pipeline.load: option 'from' must be a path, a glob, '-', a list of them, or a source function", 3)
  end
  if type(from[1]) == "table" then return from end
  return source_module.list(from)
end

-- Rows go into a temporary table like the target; rows with a known key are updated where something differs.
local function merge(tx, bound, key)
  local changed = 0
  for _, info in ipairs(bound.tables) do
    local cols <const>, sets <const>, differs <const>, keys <const>, is_key <const> = {}, {}, {}, {}, {}
    for _, k in ipairs(key) do
      keys[#keys + 1] = pg.ident(k)
      is_key[k] = true
    end
    for _, c in ipairs(info.names) do
      local id <const> = pg.ident(c)
      cols[#cols + 1] = id
      if not is_key[c] then
        sets[#sets + 1] = id .. " = excluded." .. id
        differs[#differs + 1] = string.format("t.%s is distinct from excluded.%s", id, id)
      end
    end
    local list <const> = table.concat(cols, ", ")
    -- The last of several rows with one key wins; ctid is the order in which COPY wrote them.
    local sql = string.format("insert into %s as t (%s) select distinct on (%s) %s from %s order by %s, ctid desc "
      .. "on conflict (%s) do ", pg.ident(info.name), list, table.concat(keys, ", "), list, info.target,
      table.concat(keys, ", "), table.concat(keys, ", "))
    if #sets == 0 then
      sql = sql .. "nothing"
    else
      sql = sql .. "update set " .. table.concat(sets, ", ") .. " where " .. table.concat(differs, " or ")
    end
    changed = changed + tx:exec(sql)
  end
  return changed
end

local function stage(tx, bound)
  for _, info in ipairs(bound.tables) do
    info.target = pg.ident("garun_stage_" .. info.name)
    tx:exec(string.format("create temporary table %s (like %s including defaults) on commit drop", info.target,
      pg.ident(info.name)))
  end
end

local load_options <const> = { "db", "mapping", "from", "mode", "key", "range", "max_rejects", "max_reject_percent",
  "reject_file", "on_progress" }

function pipeline.load(opts)
  opts = errors.check_options("pipeline.load", opts, load_options)
  local mode <const> = opts.mode or "append"
  if mode ~= "append" and mode ~= "replace" and mode ~= "merge" then
    error("pipeline.load: option 'mode' must be append, replace or merge, got " .. tostring(mode), 2)
  end
  if not mapping_module.is(opts.mapping) then error("pipeline.load: option 'mapping' must be a pipeline.mapping", 2) end
  if mode == "merge" and type(opts.key) ~= "table" then
    error("pipeline.load: mode 'merge' needs option 'key', the list of key columns", 2)
  end
  local sources <const> = sources_of(opts.from)
  local own <close> = opts.db == nil and pg.connect() or nil
  local db <const> = opts.db or own
  local result
  db:transaction(function(tx)
    local bound <const> = opts.mapping:bind(tx, { range = opts.range })
    local partition <const> = bound.partition
    if mode == "replace" and not partition then
      error("pipeline.load: mode 'replace' needs a mapping with a partition column", 2)
    end
    if mode == "merge" then stage(tx, bound) end
    local deleted = 0
    local limits <const> = rejects_module.limits(opts)
    local file <close> = rejects_module.file(opts.reject_file)
    result = pipeline.pump(tx, bound, sources, {
      part = function(part)
        if mode ~= "replace" then return end
        for _, info in ipairs(bound.tables) do
          deleted = deleted + tx:exec(string.format("delete from %s where %s = $1", pg.ident(info.name),
            pg.ident(partition)), part)
        end
      end,
      reject = function(r)
        limits:count(r)
        file:add(r)
      end,
      progress = function(totals)
        limits:check(totals)
        if opts.on_progress then opts.on_progress(totals) end
      end,
    })
    limits:check(result, true)
    if mode == "merge" then result.changed = merge(tx, bound, opts.key) end
    result.deleted = deleted
  end)
  return result
end

return pipeline
