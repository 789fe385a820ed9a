---@meta garun.ingest
--- One job of one tenant: events day by day, users and locations; what scripts/ingest.lua calls. Each day is replaced in one
--- transaction: lock, DELETE, COPY, counts reconciled, guards, ledger, fence, COMMIT. Each file of master data is merged in
--- one. A part that fails leaves the others alone.
local ingest = {}

---@class garun.ingest.Options
---@field mapping garun.Mapping with the columns tenant_id and event_date, partitioned by event_date
---@field sources? string[] paths, globs, URIs or "-": of the events when types has them, else of the only type; default: the
--- tenant's BigQuery and SFTP server
---@field tenant? string name or id; default: the only active tenant
---@field from? string first day, YYYY-MM-DD; default: as the sources hold; of BigQuery the last 4 complete days
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
---@field types? string[] what to load; default: events of sources that are named, else all that is configured
---@field intraday? boolean BigQuery: a day without its daily table comes from the intraday table
---@field via? "query"|"extract" BigQuery: default "query"
---@field bucket? string for via = "extract"

--- Runs a load. Returns pipeline.load's numbers summed, and days, first_day, last_day, loads, unchanged (loads that the
--- ledger knew), job_id, seconds. Raises kind "guard" when a guard stops it, kind "usage" for a tenant or range that does
--- not exist; the job's row says "failed" then.
---@async
---@param opts garun.ingest.Options
---@return table
function ingest.run(opts) end

--- The types of data there are: "events", "users", "locations".
---@type string[]
ingest.types = {}

return ingest
