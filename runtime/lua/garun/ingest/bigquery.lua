-- garun.ingest.bigquery: the days of a tenant's BigQuery export as sources of a load.
--
-- A day that Google has not exported yet is no day without events: it is told as missing and left as it is in the database.

local bigquery <const> = require "garun.bigquery"
local errors <const> = require "garun.error"
local log <const> = require "garun.log"
local pg <const> = require "garun.pg"
local tenant <const> = require "garun.tenant"
local time <const> = require "garun.time"

local module <const> = {}

local DEFAULT_DAYS <const> = 4        -- Google changes daily tables for up to 72 hours after the day

local function client_of(settings, ctx)
  return bigquery.client { project = settings.project, dataset = settings.dataset, credentials = settings.credentials,
    bucket = ctx and ctx.bucket, labels = { program = "garun" } }
end

-- Event names that the mapping has a table for: others are not asked for.
local function event_names(mapping)
  local names <const> = {}
  local route <const> = mapping.route
  if not route or route.from ~= "event_name" then return nil end
  for name in pairs(route) do
    if name ~= "from" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- The last complete days in the tenant's time zone; where only the end is named, as many up to it, and where only the start
-- is, all from it on.
function module.range(t, from, to)
  to = to or time.yesterday(t.time_zone or "UTC")
  return { from = from or time.add_days(to, 1 - DEFAULT_DAYS), to = to }
end

-- Sources of the range, the days that BigQuery has no table of, and what must be closed after they were read.
function module.sources(ctx)
  local settings
  do
    local db <close> = pg.connect(ctx.conninfo)
    settings = tenant.need(db, ctx.tenant, "bigquery")
  end
  local range <const> = ctx.range
  local client <const> = client_of(settings, ctx)
  local ok <const>, list <const>, missing <const> = pcall(function()
    local sources <const>, gaps <const> = {}, {}
    for _, day in ipairs(client:days(range.from, range.to, { intraday = ctx.intraday or false })) do
      if day.kind == "missing" then
        gaps[#gaps + 1] = day.day
      else
        sources[#sources + 1] = client:events(day.day, { table = day, types = event_names(ctx.mapping), via = ctx.via,
          intraday = ctx.intraday or false })
      end
    end
    return sources, gaps
  end)
  if not ok then
    client:close()
    error(list, 0)
  end
  if #missing > 0 then
    log.warn("BigQuery has no table of these days yet; they are left as they are", { days = table.concat(missing, " "),
      dataset = settings.dataset })
  end
  if #list == 0 then
    client:close()
    error(errors.new { kind = "bigquery", code = "no_tables", retryable = true,
      message = string.format("data set %s has no table of any day from %s to %s", settings.dataset, range.from, range.to),
      hint = "yesterday's table is there a few hours after midnight; --intraday takes what there is of today" }, 0)
  end
  return list, missing, client
end

-- What the queries would cost, without running them: { bytes, cost }.
function module.estimate(sources)
  local total <const> = { bytes = 0, cost = 0 }
  for _, s in ipairs(sources) do
    local e <const> = s.estimate()
    total.bytes, total.cost = total.bytes + e.bytes, total.cost + e.cost
  end
  return total
end

-- For `garun tenant check`: raises what is wrong, returns a word about what is right.
function module.check(settings)
  local client <close> = client_of(settings)
  local answer <const> = client:check()
  return settings.dataset .. (answer.location and ", " .. answer.location or "")
end

return module
