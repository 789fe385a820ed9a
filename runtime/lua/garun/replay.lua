-- garun.replay: rows from what the database itself holds: columns derived again from raw_data after a change of the
-- mapping, and rejects that can be stored after all.

local errors <const> = require "garun.error"
local ledger <const> = require "garun.ledger"
local pg <const> = require "garun.pg"
local pipeline <const> = require "garun.pipeline"
local rejects <const> = require "garun.rejects"
local source <const> = require "garun.source"
local uuid <const> = require "garun.uuid"

local replay <const> = {}

local chunk_bytes <const> = 256 << 10
local rolled_back <const> = {}      -- raised by a dry run when all has been done

-- A source of lines: next_line() gives a string or nil.
local function lines_source(name, next_line)
  return source.from_function(name, function()
    local parts <const>, n = {}, 0
    while n < chunk_bytes do
      local line <const> = next_line()
      if not line then break end
      parts[#parts + 1] = line
      parts[#parts + 1] = "\n"
      n = n + #line + 1
    end
    return n > 0 and table.concat(parts) or nil
  end)
end

---- columns again ----

local function union(names, columns, where)
  local parts <const> = {}
  for _, name in ipairs(names) do
    parts[#parts + 1] = string.format("select %s from %s where %s", columns, pg.ident(name), where)
  end
  return table.concat(parts, " union all ")
end

local of_day <const> = "tenant_id = $1 and event_date = $2"

-- The ledger entry of the day's load with the new mapping. Only a load of this one day may keep its digest: with others
-- beside it, it would say of all of them that they have the new mapping.
local function entry_of(tx, tenant_id, day, bound)
  local was <const> = tx:one([[
    select l.source, l.source_kind, l.sources, l.digest, l.first_day = l.last_day as single
      from garun.days d join garun.loads l using (load_id) where d.tenant_id = $1 and d.day = $2]], tenant_id, day)
  local single <const> = was and was.single
  return {
    load_id = uuid.v7(), tenant_id = tenant_id, started_at = tx:value("select clock_timestamp()::text"),
    mapping_digest = bound.digest, source = single and was.source or "replay " .. day, source_kind = "replay",
    sources = single and was.sources or {}, digest = single and was.digest or nil,
  }
end

local function replay_day(ctx, day)
  local reader <close> = pg.connect(ctx.conninfo)
  local db <close> = pg.connect(ctx.conninfo)
  local result
  db:transaction(function(tx)
    ledger.lock_tenant(tx, ctx.tenant.id, false)
    ledger.lock_day(tx, ctx.tenant.id, day)
    ledger.derive_by_hand(tx)
    local bound <const> = ctx.mapping:bind(tx, { params = { tenant_id = ctx.tenant.id } })
    bound.dedup = nil       -- what is stored has been through it; jsonb may make equal what was not
    local without <const> = tx:value("select count(*) from (" .. union(ctx.mapping.names, "1",
      of_day .. " and raw_data is null") .. ") r", ctx.tenant.id, day)
    if without > 0 then
      error(errors.new { kind = "guard", code = "no_raw_data",
        message = string.format("%s has %d rows without raw_data, which nothing can be derived from", day, without) }, 0)
    end
    local deleted, kept = 0, rejects.limits { max_rejects = 0, max_reject_percent = 0 }
    reader:transaction(function(rx)
      -- The rows as they are under our lock, while this transaction deletes them.
      local rows <const> = rx:rows("select raw::text from (" .. union(ctx.mapping.names, "raw_data as raw, event_timestamp",
        of_day) .. ") r order by event_timestamp", ctx.tenant.id, day)
      for _, info in ipairs(bound.tables) do
        deleted = deleted + tx:exec("delete from " .. pg.ident(info.name) .. " where " .. of_day, ctx.tenant.id, day)
      end
      result = pipeline.pump(tx, bound, { lines_source("raw_data of " .. day, function()
        local row <const> = rows()
        return row and row.raw
      end) }, { reject = function(r) kept:count(r) end })
    end, { isolation = "repeatable read", read_only = true })
    kept:check(result, true)
    if result.lines ~= deleted or result.other > 0 then
      error(errors.new { kind = "guard", code = "count", message = string.format(
        "%s has %d rows, but %d were read and the mapping leaves %d of them out; nothing was committed", day, deleted,
        result.lines, result.other) }, 0)
    end
    local days <const> = {}
    for part, rows in pairs(result.parts) do days[part] = { rows = rows, deleted = part == day and deleted or 0 } end
    for part in pairs(days) do
      if part ~= day then
        error(errors.new { kind = "guard", code = "day", message = string.format(
          "the mapping would move events of %s to %s: load these days again from their source", day, part) }, 0)
      end
    end
    if next(days) then
      local entry <const> = entry_of(tx, ctx.tenant.id, day, bound)
      entry.result, entry.days = result, days
      ledger.write(tx, entry)
    end
    ledger.derive(tx, ctx.tenant.id, days)
    if ctx.dry_run then error({ rolled_back, result }, 0) end
  end)
  return result
end

-- Derives all columns of the days again. opts: { tenant, from, to, mapping, dry_run, conninfo, on_day }
-- Returns { days, rows }. A day is replaced in one transaction; a row that cannot be derived stops its day.
function replay.run(opts)
  local db <close> = pg.connect(opts.conninfo)
  local ctx <const> = { tenant = require("garun.tenant").find(db, opts.tenant), conninfo = opts.conninfo,
    mapping = opts.mapping, dry_run = opts.dry_run }
  local days <const> = db:query("select distinct event_date::text as day from (" .. union(ctx.mapping.names, "event_date",
    "tenant_id = $1 and event_date between coalesce($2::date, '-infinity') and coalesce($3::date, 'infinity')")
    .. ") d order by 1", ctx.tenant.id, opts.from, opts.to)
  local total <const> = { days = 0, rows = 0 }
  for _, d in ipairs(days) do
    local ok <const>, r <const> = pcall(replay_day, ctx, d.day)
    local result <const> = ok and r or type(r) == "table" and r[1] == rolled_back and r[2]
    if not result then error(errors.is(r) and errors.wrap(r, "replay of " .. d.day) or r, 0) end
    total.days = total.days + 1
    total.rows = total.rows + result.loaded
    if opts.on_day then opts.on_day(d.day, result.loaded) end
  end
  return total
end

---- rejects again ----

-- Rows that are there already, by a later load of a mended source, are not stored twice.
local function move(tx, info, stage)
  local cols <const> = {}
  for i, c in ipairs(info.names) do cols[i] = pg.ident(c) end
  local list <const> = table.concat(cols, ", ")
  return tx:query(string.format([[
    with moved as (insert into %s (%s) select %s from %s s where not exists (select from %s t
        where t.tenant_id = s.tenant_id and t.event_date = s.event_date
          and t.event_timestamp is not distinct from s.event_timestamp and t.raw_data = s.raw_data)
      returning event_date)
    select event_date::text as day, count(*) as n from moved group by 1]], pg.ident(info.name), list, list, stage,
    pg.ident(info.name)))
end

local function store(tx, tenant_id, rows, mapping, load_id)
  local bound <const> = mapping:bind(tx, { params = { tenant_id = tenant_id } })
  local again <const>, i = {}, 0
  for _, info in ipairs(bound.tables) do
    info.target = pg.ident("garun_replay_" .. info.name)
    tx:exec(string.format("create temporary table %s (like %s including defaults) on commit drop", info.target,
      pg.ident(info.name)))
  end
  local result <const> = pipeline.pump(tx, bound, { lines_source("rejects", function()
    i = i + 1
    return rows[i] and (rows[i].raw:gsub("[\r\n]+", " "))
  end) }, { reject = function(r) again[r.line] = r end })
  local stored, days <const> = 0, {}
  for _, info in ipairs(bound.tables) do
    for _, m in ipairs(move(tx, info, info.target)) do
      stored = stored + m.n
      days[m.day] = (days[m.day] or 0) + m.n
    end
  end
  for day, n in pairs(days) do
    tx:exec("update garun.days set replayed = replayed + $3 where tenant_id = $1 and day = $2", tenant_id, day, n)
  end
  ledger.derive(tx, tenant_id, days)
  result.duplicates = result.duplicates + result.loaded - stored
  result.loaded = stored
  ledger.write(tx, { load_id = load_id, tenant_id = tenant_id, source = "garun rejects replay", source_kind = "rejects",
    sources = {}, mapping_digest = bound.digest, started_at = tx:value("select clock_timestamp()::text"),
    result = result, days = {} })
  return result, again
end

-- Loads rejects again with today's mapping. opts: { tenant, ids = list or nil for all, mapping, conninfo }
-- Returns { lines, stored, duplicates, other, rejected }; what is rejected again keeps its new reason.
function replay.rejects(opts)
  local db <close> = pg.connect(opts.conninfo)
  local tenant <const> = require("garun.tenant").find(db, opts.tenant)
  local load_id <const>, out = uuid.v7(), nil
  db:transaction(function(tx)
    ledger.lock_tenant(tx, tenant.id, true)
    ledger.derive_by_hand(tx)
    local rows <const> = tx:query([[
      select id, raw from garun.rejects where tenant_id = $1 and replayed_at is null and raw is not null
         and ($2::bigint[] is null or id = any($2)) order by id for update]], tenant.id,
      opts.ids and pg.array(opts.ids) or nil)
    if #rows == 0 then
      out = { lines = 0, stored = 0, duplicates = 0, other = 0, rejected = 0 }
      return
    end
    local result <const>, again <const> = store(tx, tenant.id, rows, opts.mapping, load_id)
    for i, row in ipairs(rows) do
      local r <const> = again[i]
      if r then
        tx:exec("update garun.rejects set column_name = $2, code = $3, reason = $4 where id = $1", row.id, r.column,
          r.code, r.reason)
      else
        tx:exec("update garun.rejects set replayed_at = now(), replay_load_id = $2 where id = $1", row.id, load_id)
      end
    end
    out = { lines = result.lines, stored = result.loaded, duplicates = result.duplicates, other = result.other,
      rejected = result.rejected }
  end)
  return out
end

return replay
