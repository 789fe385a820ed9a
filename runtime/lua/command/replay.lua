-- garun replay: derives columns again from raw_data, after a change of the mapping; no source is needed.
--
-- usage: garun replay [--tenant T] [--from DATE] [--to DATE] [--mapping FILE] [--dry-run]
--
-- Each day is replaced in one transaction. A row that the mapping cannot store, or would leave out, stops its day.

local config <const> = require "garun.config"
local options <const> = require "garun.options"

return function(...)
  local opts <const> = options.parse("replay", { ... },
    { tenant = "text", from = "date", to = "date", mapping = "text", dry_run = "flag", help = "flag" })
  if opts.help then return require "garun.command.help"("replay") end
  local r <const> = require("garun.replay").run {
    tenant = opts.tenant, from = opts.from, to = opts.to, dry_run = opts.dry_run,
    mapping = dofile(opts.mapping or config.path "scripts/mappings/ga4.lua"),
    on_day = function(day, rows) print(string.format("%s  %d rows", day, rows)) end,
  }
  print(string.format("%d days, %d rows%s", r.days, r.rows, opts.dry_run and " (dry run: rolled back)" or " derived again"))
  return 0
end
