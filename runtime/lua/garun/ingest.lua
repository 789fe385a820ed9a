-- garun.ingest: one job of one tenant: events, users and locations, each from where it was asked for or from the tenant's own
-- sources.
--
-- Each type is a part of the job and fails alone: what the others brought is committed and counted, and the job's row says
-- which part failed and why. garun.ingest.events and garun.ingest.master do the loading.

local errors <const> = require "garun.error"
local events <const> = require "garun.ingest.events"
local fault <const> = require "garun.fault"
local jobs <const> = require "garun.jobs"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local master <const> = require "garun.ingest.master"
local pg <const> = require "garun.pg"
local source <const> = require "garun.source"
local task <const> = require "garun.task"
local tenant_module <const> = require "garun.tenant"
local time <const> = require "garun.time"

local ingest <const> = {}

ingest.types = { "events", "users", "locations" }

---- parts ----

-- runners[type](ctx, sources or nil) gives the numbers of events.sum, or { users_processed = n ... } for master data, and
-- the failures { error } of what failed alone.
local runners <const> = {}

local function load_events(ctx, sources)
  local results <const>, outside <const>, failures <const> = events.load(ctx, sources)
  local total <const> = events.sum(results)
  total.outside, total.results = outside, results
  return total, failures
end

function runners.events(ctx, sources)
  if sources then return load_events(ctx, sources) end
  local bigquery <const> = require "garun.ingest.bigquery"
  local days <const>, missing <const>, client <close> = bigquery.sources(ctx)
  ctx.state:expect(days)
  if ctx.dry_run then
    local total <const> = events.sum {}
    total.missing, total.estimate = missing, bigquery.estimate(days)
    return total, {}
  end
  local total <const>, failures <const> = load_events(ctx, days)
  total.missing = missing
  return total, failures
end

function runners.users(ctx, sources) return master.load(ctx, "users", sources) end

function runners.locations(ctx, sources) return master.load(ctx, "locations", sources) end

local function merge(total, r)
  for k, v in pairs(r) do
    if k == "records" then
      for name, n in pairs(v) do total.records[name] = n end
    else
      total[k] = v
    end
  end
end

-- Runs all parts side by side. given: { [type] = sources }. Returns the numbers and the failures of all.
local function run_parts(ctx, types, given)
  local total <const>, failures <const> = events.sum {}, {}
  total.records, total.master = {}, {}
  task.map(types, function(kind)
    local ok <const>, r <const>, failed <const> = pcall(runners[kind], ctx, given[kind])
    if ok then
      if kind == "events" then merge(total, r) else merge(total.master, { [kind] = r }) end
      for name, n in pairs(r.tables or {}) do total.records[name] = n end
      if r.processed then total.records[kind .. "_processed"] = r.processed end
      for _, f in ipairs(failed or {}) do failures[#failures + 1] = { error = f.error } end
    elseif errors.is(r, "cancelled") then
      error(r, 0)
    else
      failures[#failures + 1] = { error = #types > 1 and errors.is(r) and errors.wrap(r, kind) or r }
    end
  end, { concurrency = #types })
  return total, failures
end

-- One error for all failures: the only one as it is, several as a list. They may be tried again when all may.
local function join(failures)
  if #failures == 1 then return failures[1].error end
  local lines <const>, retryable, guard = {}, true, true
  for _, f in ipairs(failures) do
    local e <const> = f.error
    lines[#lines + 1] = tostring(errors.is(e) and e.message or e)
    retryable = retryable and errors.is(e) and e.retryable
    guard = guard and errors.is(e, "guard")
  end
  return errors.new { kind = guard and "guard" or "ingest", code = "parts", retryable = retryable,
    message = string.format("%d parts of the job failed; what the others brought is committed", #failures),
    detail = table.concat(lines, "\n") }
end

---- the whole ----

local run_options <const> = { "tenant", "sources", "from", "to", "jobs", "force", "allow_empty", "dry_run", "mapping",
  "max_rejects", "max_reject_percent", "max_shrink", "reject_file", "on_progress", "conninfo", "types", "intraday", "via",
  "bucket" }

-- What to load when nobody says it: events of sources that are named, else all that is configured.
local function default_types(db, opts, tenant)
  if opts.sources then return { "events" } end
  local types <const> = {}
  if tenant_module.service(db, tenant, "bigquery") then types[#types + 1] = "events" end
  if tenant_module.service(db, tenant, "sftp") then
    types[#types + 1] = "users"
    types[#types + 1] = "locations"
  end
  if #types == 0 then
    error(errors.new { kind = "usage",
      message = "tenant '" .. tenant.name .. "' has no source: neither BigQuery nor SFTP is configured",
      hint = "name one with --source, or see `garun help tenant`" }, 0)
  end
  return types
end

-- Sources that were named are those of the events, or of the only type.
local function named(db, opts, tenant, types)
  if not opts.sources then return {} end
  local events_too = false
  for _, kind in ipairs(types) do events_too = events_too or kind == "events" end
  if not events_too and #types > 1 then
    error(errors.new { kind = "usage", message = "a source cannot hold both users and locations",
      hint = "load them one by one: --types users --source FILE" }, 0)
  end
  return { [events_too and "events" or types[1]] = source.list(opts.sources, { sftp = function()
    return tenant_module.need(db, tenant, "sftp")
  end }) }
end

-- Loads what opts name; see runtime/meta/garun.ingest.lua.
function ingest.run(opts)
  opts = errors.check_options("ingest.run", opts, run_options)
  local started <const> = time.monotonic()
  local db <close> = pg.connect(opts.conninfo)
  local tenant <const> = tenant_module.find(db, opts.tenant)
  local types <const> = opts.types or default_types(db, opts, tenant)
  local state <const> = require("garun.progress").new(opts.on_progress)
  local ctx <const> = {
    tenant = tenant, conninfo = opts.conninfo, mapping = opts.mapping, jobs = opts.jobs or 2, force = opts.force,
    range = { from = opts.from, to = opts.to }, allow_empty = opts.allow_empty, dry_run = opts.dry_run,
    max_rejects = opts.max_rejects, max_reject_percent = opts.max_reject_percent, max_shrink = opts.max_shrink or 50,
    reject_file = opts.reject_file, intraday = opts.intraday, via = opts.via, bucket = opts.bucket, state = state,
  }
  local given <const> = named(db, opts, tenant, types)
  for _, kind in ipairs(types) do
    if kind == "events" and not given.events then
      ctx.range = require("garun.ingest.bigquery").range(tenant, opts.from, opts.to)
    end
  end
  for _, sources in pairs(given) do state:expect(sources) end
  ctx.progress = function(chunk) return state:chunk(chunk) end
  if opts.dry_run then
    local total <const>, failures <const> = run_parts(ctx, types, given)
    if #failures > 0 then error(join(failures), 0) end
    total.seconds = time.monotonic() - started
    return total
  end

  jobs.sweep(db, tenant.id)
  ctx.job = jobs.start(db, { tenant_id = tenant.id, types = types, first_day = ctx.range.from,
    last_day = ctx.range.to })
  local total, failures = nil, {}
  local ok <const>, why <const> = pcall(function()
    local alive <close> = ctx.job:keep_alive(ctx.conninfo, function()
      return state:progress(), json.object(state:records())
    end)
    total, failures = run_parts(ctx, types, given)
  end)
  local failure = not ok and why or nil
  if not failure and #failures > 0 then failure = join(failures) end
  if failure then
    local told <const>, trouble <const> = pcall(function()
      if total then events.analyze(db, total, ctx.mapping) end
      ctx.job:fail(json.object(total and total.records or state:records()), state:progress(), failure)
    end)
    if not told then
      log.error("the job's failure could not be recorded", { job = ctx.job.job_id, error = tostring(trouble) })
    end
    error(failure, 0)
  end
  events.analyze(db, total, ctx.mapping)
  fault "before_complete"
  total.job_id, total.seconds = ctx.job.job_id, time.monotonic() - started
  ctx.job:complete(json.object(total.records), state:progress())
  return total
end

return ingest
