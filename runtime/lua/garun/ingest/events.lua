-- garun.ingest.events: loads events day by day, each day in one transaction: wholly old or wholly new.
--
-- A chunk is one transaction on one connection. Sources that carry their day in the name (events_YYYYMMDD...) make one
-- chunk a day, several at once; other sources are one chunk together, for any of them may hold any day. In a chunk:
-- lock -> is it loaded already? -> DELETE each day at its first row -> COPY -> counts reconciled -> guards -> rejects ->
-- ledger -> fence -> COMMIT. Knows nothing of the job's row but its fence, nor where sources come from.

local errors <const> = require "garun.error"
local fault <const> = require "garun.fault"
local ledger <const> = require "garun.ledger"
local log <const> = require "garun.log"
local pg <const> = require "garun.pg"
local pipeline <const> = require "garun.pipeline"
local rejects <const> = require "garun.rejects"
local task <const> = require "garun.task"
local time <const> = require "garun.time"
local uuid <const> = require "garun.uuid"

local events <const> = {}

local retries <const> = 2              -- of a chunk whose error may pass: a killed backend, a deadlock, a dead worker
local number_keys <const> = { "lines", "loaded", "other", "duplicates", "rejected", "out_of_range", "repaired", "cut",
  "nulled" }
local readable_again <const> = { file = true, bigquery = true, sftp = true, https = true }

---- chunks ----

local function day_of(uri)
  local y <const>, m <const>, d <const> = uri:match("events_(%d%d%d%d)(%d%d)(%d%d)[^/%d][^/]*$")
  if not y then
    local a <const>, b <const>, c <const> = uri:match("events_intraday_(%d%d%d%d)(%d%d)(%d%d)[^/%d][^/]*$")
    if not a then return nil end
    return a .. "-" .. b .. "-" .. c
  end
  return y .. "-" .. m .. "-" .. d
end

local function new_chunk(day, sources)
  local uris <const> = {}
  for _, s in ipairs(sources) do uris[#uris + 1] = s.uri end
  return { day = day, sources = sources, source = table.concat(uris, " "), kind = sources[1].kind }
end

-- Chunks in the order of their days, and how many sources lie outside the range and need not be read.
local function split(sources, range)
  local by_day <const>, days <const>, outside = {}, {}, 0
  for _, s in ipairs(sources) do
    local day <const> = s.day or day_of(s.uri)
    if not day then return { new_chunk(nil, sources) }, 0 end
    if range.from and day < range.from or range.to and day > range.to then
      outside = outside + 1
    else
      if not by_day[day] then
        by_day[day] = {}
        days[#days + 1] = day
      end
      table.insert(by_day[day], s)
    end
  end
  table.sort(days)
  local chunks <const> = {}
  for _, day in ipairs(days) do chunks[#chunks + 1] = new_chunk(day, by_day[day]) end
  return chunks, outside
end

---- one chunk ----

local foreign_day <const> = {}      -- raised when a source named for one day holds another's rows
local unchanged <const> = {}        -- raised to roll back a load that would change nothing

local function lock(tx, ctx, chunk)
  ledger.lock_tenant(tx, ctx.tenant.id, chunk.day == nil)
  if chunk.day then ledger.lock_day(tx, ctx.tenant.id, chunk.day) end
  fault "after_lock"
end

local function from_ledger(load)
  return { lines = load.lines, loaded = load.rows_loaded, other = load.other_events, duplicates = load.duplicates,
    rejected = load.rejected, out_of_range = load.out_of_range, repaired = load.repaired, cut = load.cut,
    nulled = load.nulled, tables = load.rows, unchanged = true, days = {}, first_day = load.first_day,
    last_day = load.last_day, bytes = 0 }
end

local function already_loaded(tx, ctx, chunk, bound)
  local load <const> = ledger.current(tx, ctx.tenant.id, chunk.source)
  if not load or load.mapping_digest ~= bound.digest then return nil end
  return load, ledger.same_files(load, chunk.sources)
    and load.digest == ledger.digest(ledger.source_digests(load.sources), ctx.range)
end

local function delete_day(tx, ctx, bound, day)
  local deleted = 0
  for _, info in ipairs(bound.tables) do
    deleted = deleted + tx:exec(string.format("delete from %s where tenant_id = $1 and event_date = $2",
      pg.ident(info.name)), ctx.tenant.id, day)
  end
  return deleted
end

-- Days of the range that brought no row: left alone, unless the source is said to be complete for them.
local function empty_days(tx, ctx, chunk, bound, days)
  if not ctx.allow_empty then return end
  local first <const>, last <const> = chunk.day or ctx.range.from, chunk.day or ctx.range.to
  if not (first and last) then return end
  for day in time.range(first, last) do
    if not days[day] then days[day] = { rows = {}, deleted = delete_day(tx, ctx, bound, day) } end
  end
end

local function load_in(tx, ctx, chunk, progress)
  lock(tx, ctx, chunk)
  ledger.derive_by_hand(tx)
  local bound <const> = ctx.mapping:bind(tx, { range = ctx.range, params = { tenant_id = ctx.tenant.id } })
  local before <const>, same <const> = already_loaded(tx, ctx, chunk, bound)
  if same and not ctx.force then return from_ledger(before) end

  local load_id <const>, started_at <const> = uuid.v7(), tx:value("select clock_timestamp()::text")
  local limits <const>, days <const> = rejects.limits(ctx), {}
  local file <close> = rejects.file(ctx.reject_file and ctx.reject_file(chunk))
  local kept <const> = rejects.table(tx, { tenant_id = ctx.tenant.id, load_id = load_id, job_id = ctx.job.id })
  tx:exec("delete from garun.rejects where tenant_id = $1 and source = any($2) and replayed_at is null", ctx.tenant.id,
    pg.array(chunk.names))
  local result <const> = pipeline.pump(tx, bound, chunk.sources, {
    read = progress.read,
    part = function(day)
      if chunk.day and day ~= chunk.day then error(foreign_day, 0) end
      days[day] = { rows = {}, deleted = delete_day(tx, ctx, bound, day) }
      fault "after_delete"
    end,
    reject = function(r, close_copy)
      limits:count(r)
      file:add(r)
      kept:add(r, close_copy)
    end,
    progress = function(totals, counts)
      limits:check(totals)
      progress.totals(totals, counts)
      fault "copying"
    end,
  })
  fault "after_copy"
  limits:check(result, true)
  kept:flush()
  for day, rows in pairs(result.parts) do
    if days[day] then days[day].rows = rows end
  end
  empty_days(tx, ctx, chunk, bound, days)
  ledger.check_shrink(days, ctx.max_shrink)
  local digest <const> = ledger.digest(ledger.source_digests(chunk.sources), ctx.range)
  if before and before.digest == digest and not ctx.force then error({ unchanged, from_ledger(before) }, 0) end
  fault "before_ledger"
  ledger.write(tx, { load_id = load_id, tenant_id = ctx.tenant.id, job_id = ctx.job.id, source = chunk.source,
    source_kind = chunk.kind, sources = chunk.sources, digest = digest, mapping_digest = bound.digest,
    started_at = started_at, result = result, days = days })
  ledger.derive(tx, ctx.tenant.id, days)
  fault "before_fence"
  ctx.job:fence(tx)
  fault "before_commit"
  result.days = days
  return result
end

local function load_once(ctx, chunk, progress)
  local db <close> = pg.connect(ctx.conninfo)
  local result
  local ok <const>, err <const> = pcall(db.transaction, db, function(tx)
    result = load_in(tx, ctx, chunk, progress)
  end)
  fault "after_commit"
  if ok then return result end
  if type(err) == "table" and err[1] == unchanged then return err[2] end
  error(err, 0)
end

local function can_read_again(chunk)
  for _, s in ipairs(chunk.sources) do
    if not readable_again[s.kind] then return false end
  end
  return true
end

local function load_chunk(ctx, chunk)
  chunk.names = {}
  for _, s in ipairs(chunk.sources) do chunk.names[#chunk.names + 1] = s.name end
  for attempt = 0, retries do
    local progress <const> = ctx.progress(chunk)
    local ok <const>, result <const> = pcall(load_once, ctx, chunk, progress)
    if ok then
      progress.finished(result)
      return result
    end
    progress.failed()
    local again <const> = errors.is(result) and result.retryable and attempt < retries and can_read_again(chunk)
    if not again then
      if errors.is(result) and chunk.day then error(errors.wrap(result, chunk.day), 0) end
      error(result, 0)
    end
    log.warn("a load failed and is tried again", { day = chunk.day, source = chunk.source, attempt = attempt + 1,
      error = tostring(result) })
    task.sleep(2 ^ attempt * (0.5 + math.random() / 2))
  end
end

---- dry run ----

local function count_only(ctx, chunk)
  local db <close> = pg.connect(ctx.conninfo)
  local bound <const> = ctx.mapping:bind(db, { range = ctx.range, params = { tenant_id = ctx.tenant.id } })
  local before <const>, same <const> = already_loaded(db, ctx, chunk, bound)
  if same and not ctx.force then return from_ledger(before) end
  local limits <const>, progress <const> = rejects.limits(ctx), ctx.progress(chunk)
  local result <const> = pipeline.pump(nil, bound, chunk.sources, {
    read = progress.read,
    part = function(day)
      if chunk.day and day ~= chunk.day then error(foreign_day, 0) end
    end,
    reject = function(r) limits:count(r) end,
    progress = progress.totals,
  })
  limits:check(result, true)
  result.days = {}
  for day, rows in pairs(result.parts) do
    result.days[day] = { rows = rows, deleted = db:value(
      "select total from garun.days where tenant_id = $1 and day = $2", ctx.tenant.id, day) or 0 }
  end
  progress.finished(result)
  return result
end

---- the whole ----

-- An error of the server stops what has not begun: the next day would meet it too. Others are of one day.
local function of_the_server(e)
  return errors.is(e, "pg") or not errors.is(e)
end

-- Loads the sources. Returns what each chunk did and how many sources lay outside the range, and the failures: { day, error }.
function events.load(ctx, sources)
  local chunks, outside = split(sources, ctx.range)
  if #chunks == 0 then
    error(errors.new { kind = "usage", message = string.format("none of the %d files lies within --from %s --to %s",
      #sources, ctx.range.from or "", ctx.range.to or "") }, 0)
  end
  local one <const> = ctx.dry_run and count_only or load_chunk
  local results <const>, failures <const> = {}, {}
  local stopped, foreign = false, false
  task.map(chunks, function(chunk)
    if stopped then return end
    local ok <const>, result <const> = pcall(one, ctx, chunk)
    if ok then
      results[#results + 1] = result
    elseif result == foreign_day then
      stopped, foreign = true, true
    elseif errors.is(result, "cancelled") then
      error(result, 0)
    else
      failures[#failures + 1] = { day = chunk.day, error = result }
      stopped = stopped or of_the_server(result)
    end
  end, { concurrency = ctx.jobs })
  if not foreign then return results, outside, failures end
  -- Replacing is idempotent, so what was committed meanwhile does no harm; now all days go together.
  log.warn("a file named for one day holds events of another; all files are loaded in one transaction")
  return { one(ctx, new_chunk(nil, sources)) }, 0, {}
end

-- The results of events.load added up.
function events.sum(results)
  local total <const> = { tables = {}, others = {}, days = 0, unchanged = 0, loads = #results, memory = 0 }
  for _, k in ipairs(number_keys) do total[k] = 0 end
  for _, r in ipairs(results) do
    for _, k in ipairs(number_keys) do total[k] = total[k] + r[k] end
    for name, n in pairs(r.tables) do total.tables[name] = (total.tables[name] or 0) + n end
    for name, n in pairs(r.others or {}) do total.others[name] = (total.others[name] or 0) + n end
    for day in pairs(r.days) do
      total.days = total.days + 1
      if not total.first_day or day < total.first_day then total.first_day = day end
      if not total.last_day or day > total.last_day then total.last_day = day end
    end
    if r.unchanged then
      total.unchanged = total.unchanged + 1
      if r.first_day and (not total.first_day or r.first_day < total.first_day) then total.first_day = r.first_day end
      if r.last_day and (not total.last_day or r.last_day > total.last_day) then total.last_day = r.last_day end
    end
  end
  return total
end

-- A table of which a good part is new has statistics that lie to the planner. The columns that an index is on, which
-- queries filter and join by, are analyzed at once; ANALYZE with a column list does not reset the table's change counter
-- (analyze.c, do_analyze_rel), so autovacuum follows with all columns and its full sample: until then a smaller one
-- will do.
function events.analyze(db, total, mapping)
  local grown = false
  db:exec "set default_statistics_target = 30"
  for _, name in ipairs(mapping.names) do
    local n <const> = total.tables[name] or 0
    local t <const> = db:one([[
      select c.reltuples, (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                            where attrelid = c.oid and attnum in (select unnest(indkey) from pg_index where indrelid = c.oid)
                              and attnum > 0) as columns
        from pg_class c where c.oid = $1::regclass]], pg.ident(name))
    if n > 0 and (t.reltuples <= 0 or n > t.reltuples / 10) then
      db:exec(string.format("analyze %s%s", pg.ident(name), t.columns and " (" .. t.columns .. ")" or ""))
      grown = true
    end
  end
  if grown then ledger.analyze(db) end
end

return events
