-- garun.ingest.master: users and locations as a part of a job, from sources that were named or from the tenant's SFTP server.

local errors <const> = require "garun.error"
local masterdata <const> = require "garun.masterdata"
local pg <const> = require "garun.pg"
local source <const> = require "garun.source"
local tenant <const> = require "garun.tenant"

local master <const> = {}

local numbers <const> = { "read", "inserted", "updated", "unchanged", "duplicates", "rejected", "cut", "repaired" }

-- The tenant's file of this kind, users or locations.
local function of_tenant(ctx, kind)
  local db <close> = pg.connect(ctx.conninfo)
  local settings <const> = tenant.need(db, ctx.tenant, "sftp")
  local dir <const> = settings.remote_path == "." and "" or settings.remote_path:gsub("/*$", "/")
  return source.sftp(settings.connect, dir .. settings[kind])
end

local undo <const> = {}       -- raised to roll a dry run back

local function load_file(ctx, kind, s)
  local db <close> = pg.connect(ctx.conninfo)
  local opts <const> = { tenant = ctx.tenant.id, kind = kind, source = s, job = ctx.job, max_rejects = ctx.max_rejects,
    max_reject_percent = ctx.max_reject_percent }
  if not ctx.dry_run then return masterdata.load(db, opts) end
  local result
  local ok <const>, why <const> = pcall(db.transaction, db, function(tx)
    result = masterdata.load(tx, opts)
    error(undo, 0)
  end)
  if not ok and why ~= undo then error(why, 0) end
  return result
end

-- Loads the sources one after the other. Returns the sums of numbers, processed (rows that are stored now as the files say)
-- and files (masterdata.load's results).
function master.load(ctx, kind, sources)
  local total <const> = { files = {}, processed = 0 }
  for _, k in ipairs(numbers) do total[k] = 0 end
  for _, s in ipairs(sources or { of_tenant(ctx, kind) }) do
    local ok <const>, r <const> = pcall(load_file, ctx, kind, s)
    if not ok then error(errors.is(r) and errors.wrap(r, s.name) or r, 0) end
    for _, k in ipairs(numbers) do total[k] = total[k] + r[k] end
    total.processed = total.processed + r.inserted + r.updated + r.unchanged
    table.insert(total.files, r)
  end
  return total
end

return master
