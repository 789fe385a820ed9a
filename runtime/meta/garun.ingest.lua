---@meta garun.ingest
--- Loads events of one tenant day by day; what scripts/ingest.lua calls. Each day is replaced in one transaction: lock,
--- DELETE, COPY, counts reconciled, guards, ledger, fence, COMMIT.
local ingest = {}

---@class garun.ingest.Options
---@field mapping garun.Mapping with the columns tenant_id and event_date, partitioned by event_date
---@field sources string[] paths, globs, "-"
---@field tenant? string name or id; default: the only active tenant
---@field from? string first day, YYYY-MM-DD; default: as the sources hold
---@field to? string last day, inclusive
---@field jobs? integer days loaded at once, each on its own connection and worker; default 2
---@field force? boolean load again what the ledger says is loaded
---@field allow_empty? boolean the sources are complete: days of the range without events become empty
---@field dry_run? boolean read, check, count; change nothing
---@field max_rejects? integer see pipeline.load
---@field max_reject_percent? number
---@field max_shrink? number percent of its rows that a day may lose; default 50
---@field reject_file? fun(chunk: table): string
---@field on_progress? fun(state: table)
---@field conninfo? table of pg.connect; default: the configured database
---@field types? string[] for the job's row; default { "events" }

--- Runs a load. Returns pipeline.load's numbers summed, and days, first_day, last_day, loads, unchanged (loads that the
--- ledger knew), job_id, seconds. Raises kind "guard" when a guard stops it, kind "usage" for a tenant or range that does
--- not exist; the job's row says "failed" then.
---@async
---@param opts garun.ingest.Options
---@return table
function ingest.run(opts) end

--- The tenant of that name or id, or the only active one: { id, name, time_zone }.
---@async
---@param db garun.pg.Connection
---@param name? string
---@return table
function ingest.tenant(db, name) end

return ingest
