-- garun rebuild: derives anew what the analytics functions read (garun.session_days ...) from the event tables.
--
-- usage: garun rebuild [--tenant T | --all] [--from DATE] [--to DATE]
--
-- Loads and triggers keep these rows by themselves; this is for rows that somebody changed by hand. --all: every tenant of
-- the database. Each day is one transaction: stopped half-way it has done some days, and may be run again at any time,
-- also while loads run.

local errors <const> = require "garun.error"
local ledger <const> = require "garun.ledger"
local options <const> = require "garun.options"
local pg <const> = require "garun.pg"
local time <const> = require "garun.time"

-- Read committed: garun.rollup waits for the tenant's other writers and must then see what they committed.
local transaction <const> = { isolation = "read committed", retries = 3 }

local function rebuild(db, tenant, opts)
  local days <const> = db:query("select d::text as day from garun.days_with_events($1, $2, $3) d order by d", tenant.id,
    opts.from, opts.to)
  for _, row in ipairs(days) do
    local started <const> = time.monotonic()
    local ok <const>, e <const> = pcall(db.transaction, db, function(tx)
      ledger.derive(tx, tenant.id, { [row.day] = true })
    end, transaction)
    if not ok then error(errors.wrap(e, "rebuild of " .. row.day), 0) end
    print(string.format("%s  %.2f s", row.day, time.monotonic() - started))
  end
  return #days
end

return function(...)
  local opts <const> = options.parse("rebuild", { ... },
    { tenant = "text", all = "flag", from = "date", to = "date", help = "flag" })
  if opts.help then return require "garun.command.help"("rebuild") end
  if opts.all and opts.tenant then options.fail("rebuild", "--all and --tenant exclude each other") end
  if opts.from and opts.to and opts.to < opts.from then options.fail("rebuild", "--to is before --from") end
  local started <const> = time.monotonic()
  local db <close> = pg.connect()
  local tenants <const> = opts.all and db:query "select id::text, name from tenant_config order by name"
    or { options.tenant(db, opts.tenant) }
  local days = 0
  for _, tenant in ipairs(tenants) do
    if opts.all then print(require "garun.printable"(tenant.name)) end
    days = days + rebuild(db, tenant, opts)
  end
  if days > 0 then ledger.analyze(db) end
  print(string.format("%d day%s derived again in %.1f s", days, days == 1 and "" or "s", time.monotonic() - started))
  return 0
end
