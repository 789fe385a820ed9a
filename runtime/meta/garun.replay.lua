---@meta garun.replay
--- Rows from what the database itself holds: `garun replay` and `garun rejects replay`.
local replay = {}

---@class garun.replay.Options
---@field mapping garun.Mapping
---@field tenant? string name or id; default: the only active tenant
---@field from? string first day, YYYY-MM-DD
---@field to? string last day, inclusive
---@field dry_run? boolean derive, count, roll back
---@field conninfo? table of pg.connect; default: the configured database
---@field on_day? fun(day: string, rows: integer)

--- Derives all columns of the days again from raw_data. Each day is replaced in one transaction; a row that the mapping
--- cannot store, would leave out or would move to another day stops its day (kind "guard").
---@async
---@param opts garun.replay.Options
---@return { days: integer, rows: integer }
function replay.run(opts) end

--- Loads rejects again. A row that is there already is not stored twice; a line that is rejected again keeps its new reason.
---@async
---@param opts { tenant: string?, ids: integer[]?, mapping: garun.Mapping, conninfo: table? }
---@return { lines: integer, stored: integer, duplicates: integer, other: integer, rejected: integer }
function replay.rejects(opts) end

return replay
