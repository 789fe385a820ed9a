---@meta garun.replay
--- Rows from what the database itself holds: `garun replay` and `garun rejects replay`.
local replay = {}

--- Derives all columns of the days again from raw_data. Each day is replaced in one transaction; a row that the mapping
--- cannot store, would leave out or would move to another day stops its day (kind "guard").
---@async
---@param opts { tenant: string?, from: string?, to: string?, mapping: garun.Mapping, dry_run: boolean?, conninfo: table?, on_day: fun(day: string, rows: integer)? }
---@return { days: integer, rows: integer }
function replay.run(opts) end

--- Loads rejects again. A row that is there already is not stored twice; a line that is rejected again keeps its new reason.
---@async
---@param opts { tenant: string?, ids: integer[]?, mapping: garun.Mapping, conninfo: table? }
---@return { lines: integer, stored: integer, duplicates: integer, other: integer, rejected: integer }
function replay.rejects(opts) end

return replay
