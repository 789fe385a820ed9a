-- garun.ledger: what was loaded from where, in the load's own transaction: garun.loads and garun.days.
--
-- The digest of a load is made of its sources' digests and of the range that was asked for. The same digest with the
-- same mapping, while every day of it is still as that load left it, means that there is nothing to do.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"

local ledger <const> = {}

-- source_digests in order; range { from, to }, each may be nil.
function ledger.digest(source_digests, range)
  return crypto.xxh128(table.concat(source_digests, " ") .. " " .. (range.from or "") .. ".." .. (range.to or ""))
end

-- Days are locked one by one, so that days of one tenant load side by side; a load that does not know its days
-- beforehand has the tenant for itself. Advisory locks are per database and end with the transaction.
function ledger.lock_tenant(tx, tenant_id, alone)
  tx:exec(string.format("select %s(hashtextextended('garun.load ' || $1::text, 0))",
    alone and "pg_advisory_xact_lock" or "pg_advisory_xact_lock_shared"), tenant_id)
end

function ledger.lock_day(tx, tenant_id, day)
  tx:exec("select pg_advisory_xact_lock(hashtextextended('garun.day ' || $1::text || ' ' || $2::text, 0))", tenant_id, day)
end

-- From here on the transaction's changes of event tables are derived by ledger.derive, once a day, and not by triggers
-- at every statement.
function ledger.derive_by_hand(tx)
  tx:exec "select set_config('garun.rollup', 'manual', true)"
end

-- Brings garun's derived rows (what the analytics functions read) of these days to what the event tables hold now. Late in
-- the transaction: from here to its end no other one of this tenant can do the same. days: { [day] = { rows = { table = n }
-- of the whole day } }, or any other value where these are not known.
function ledger.derive(tx, tenant_id, days)
  local sorted <const> = {}
  for day in pairs(days) do sorted[#sorted + 1] = day end
  table.sort(sorted)
  for _, day in ipairs(sorted) do
    local rows <const> = type(days[day]) == "table" and days[day].rows
    tx:exec("select garun.rollup($1, $2, $3)", tenant_id, day, rows and pg.json(json.object(rows)) or nil)
  end
end

-- Statistics of the derived rows: without them a question asked right after a first load joins a month row by row.
function ledger.analyze(db)
  db:exec [[analyze garun.session_days, garun.visitor_days, garun.cart_days, garun.purchases, garun.search_days,
    garun.hour_stats, garun.day_stats]]
end

-- The newest load of this source when all that it loaded is still there as it left it; nil otherwise.
function ledger.current(db, tenant_id, source)
  return db:one([[
    select l.load_id, l.digest, l.mapping_digest, l.sources, l.rows, l.first_day, l.last_day, l.lines, l.rows_loaded,
           l.other_events, l.duplicates, l.rejected, l.out_of_range, l.repaired, l.cut, l.nulled
      from garun.loads l
     where l.tenant_id = $1 and l.source = $2
       and l.run_no = (select max(run_no) from garun.loads where tenant_id = $1 and source = $2)
       and l.rows_loaded = (select coalesce(sum(d.total), 0) from garun.days d
                             where d.tenant_id = $1 and d.load_id = l.load_id)]], tenant_id, source)
end

-- True when the files are, by size, time and inode, those that the load read: then nobody needs to read them again.
function ledger.same_files(load, sources)
  if #load.sources ~= #sources then return false end
  for i, was in ipairs(load.sources) do
    local now <const> = sources[i]
    if not now.mtime_ns or was.uri ~= now.uri or was.size ~= now.size or was.mtime_ns ~= now.mtime_ns
      or was.inode ~= now.inode then
      return false
    end
  end
  return true
end

function ledger.source_digests(sources)
  local list <const> = {}
  for _, s in ipairs(sources) do list[#list + 1] = s.digest end
  return list
end

-- Writes the load and takes over its days. entry: { load_id, tenant_id, job_id, source, source_kind, sources, digest,
-- mapping_digest, started_at, result = pipeline.pump's, days = { [day] = { rows = {}, deleted = n } } }
function ledger.write(tx, entry)
  local r <const>, first, last = entry.result, nil, nil
  for day in pairs(entry.days) do
    if not first or day < first then first = day end
    if not last or day > last then last = day end
  end
  local files <const> = json.array {}
  for _, s in ipairs(entry.sources) do
    files[#files + 1] = { uri = s.uri, size = s.size, mtime_ns = s.mtime_ns, inode = s.inode, digest = s.digest }
  end
  tx:exec([[
    insert into garun.loads (load_id, tenant_id, job_id, source, source_kind, sources, digest, mapping_digest, started_at,
      first_day, last_day, lines, rows_loaded, other_events, duplicates, rejected, out_of_range, repaired, cut, nulled,
      rows, garun_version)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)]],
    entry.load_id, entry.tenant_id, entry.job_id, entry.source, entry.source_kind, pg.json(files), entry.digest,
    entry.mapping_digest, entry.started_at, first, last, r.lines, r.loaded, r.other, r.duplicates, r.rejected,
    r.out_of_range, r.repaired, r.cut, r.nulled, pg.json(json.object(r.tables)), require("garun.core.host").version)
  for day, d in pairs(entry.days) do
    local total = 0
    for _, n in pairs(d.rows) do total = total + n end
    tx:exec([[
      insert into garun.days (tenant_id, day, load_id, rows, total, deleted) values ($1, $2, $3, $4, $5, $6)
      on conflict (tenant_id, day) do update set load_id = excluded.load_id, rows = excluded.rows,
        total = excluded.total, deleted = excluded.deleted, replaced_at = clock_timestamp()]],
      entry.tenant_id, day, entry.load_id, pg.json(json.object(d.rows)), total, d.deleted)
  end
end

-- Stops a load that would leave a day with far fewer rows than it had: more often half a source than a quiet day.
function ledger.check_shrink(days, max_shrink)
  for day, d in pairs(days) do
    local total = 0
    for _, n in pairs(d.rows) do total = total + n end
    if d.deleted >= 100 and total < d.deleted * (1 - max_shrink / 100) then
      error(errors.new { kind = "guard", code = "shrink",
        message = string.format("%s would have %d rows instead of %d; nothing was committed", day, total, d.deleted),
        hint = string.format("look at the source; when it is right, run again with --max-shrink %d",
          math.ceil((1 - total / d.deleted) * 100)) }, 0)
    end
  end
end

return ledger
