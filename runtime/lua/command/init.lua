-- garun init: sets up the configured database: tables, functions, indexes, migrations
--
--   garun init             make what is missing; may be run again at any time, also while loads run
--   garun init --check     tell where the database differs from sql/, change nothing; exit code 1 when it does
--   garun init --create    make the database POSTGRES_DATABASE first when there is none
--
-- The same as garun init_db.lua.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"

return function(...)
  local path <const> = config.path("scripts/init_db.lua")
  local file <close>, why <const> = io.open(path, "rb")
  if not file then
    error(errors.new { kind = "config", message = "garun init: cannot read the script: " .. why,
      hint = "set GARUN_HOME to the directory that holds scripts/ and sql/" }, 0)
  end
  return assert(load(file:read("a"):gsub("^#[^\n]*", "", 1), "@" .. path, "t"))(...)
end
