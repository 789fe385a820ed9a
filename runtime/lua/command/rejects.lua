-- garun rejects: lines that could not be stored: what, where, why; and storing them after all.
--
-- usage: garun rejects list [--tenant T] [--source TEXT] [--all] [--limit N] [--json]
--        garun rejects show ID
--        garun rejects replay [ID ...] [--tenant T] [--mapping FILE]
--
-- list shows the newest first; --all also those that were replayed. replay loads the named ones, or all, with today's
-- mapping; a line that is rejected again stays, with its new reason.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local options <const> = require "garun.options"
local pg <const> = require "garun.pg"
local printable <const> = require "garun.printable"

local function tenant_id(db, name)
  return require("garun.tenant").find(db, name).id
end

local commands <const> = {}

function commands.list(opts)
  local db <close> = pg.connect()
  local limit <const> = opts.limit or 50
  local rows <const> = db:query([[
    select id, source, line, byte_offset, column_name, code, reason, created_at::text, replayed_at::text
      from garun.rejects
     where tenant_id = $1 and ($2 or replayed_at is null) and ($3::text is null or position($3 in source) > 0)
     order by id desc limit $4]], tenant_id(db, opts.tenant), opts.all or false, opts.source, limit)
  if opts.json then
    for _, r in ipairs(rows) do print(json.encode(r)) end
    return 0
  end
  for _, r in ipairs(rows) do
    print(string.format("%8d  %s:%s  %s%s%s", r.id, printable(r.source), r.line or "?",
      r.column_name and r.column_name .. ": " or "", printable(r.reason), r.replayed_at and "  (replayed)" or ""))
  end
  if #rows == 0 then print("no rejects") end
  if #rows == limit then print(string.format("... the newest %d; --limit shows more", limit)) end
  return 0
end

function commands.show(opts)
  local id <const> = math.tointeger(tonumber(opts[1]))
  if not id or opts[2] then options.fail("rejects", "show takes one id") end
  local db <close> = pg.connect()
  local r <const> = db:one("select * from garun.rejects where id = $1", id)
  if not r then error(errors.new { kind = "usage", message = "there is no reject " .. id }, 0) end
  for _, k in ipairs { "source", "line", "byte_offset", "column_name", "code", "reason", "created_at", "replayed_at",
    "load_id" } do
    if r[k] ~= nil then print(string.format("%-12s %s", k, printable(tostring(r[k])))) end
  end
  print()
  print(printable(r.raw or ""))
  return 0
end

function commands.replay(opts)
  local ids
  for i, word in ipairs(opts) do
    ids = ids or {}
    ids[i] = math.tointeger(tonumber(word)) or options.fail("rejects", "'" .. word .. "' is no id")
  end
  local r <const> = require("garun.replay").rejects {
    tenant = opts.tenant, ids = ids, mapping = dofile(opts.mapping or config.path "scripts/mappings/ga4.lua"),
  }
  print(string.format("%d lines: %d stored, %d there already, %d of other events, %d rejected again", r.lines, r.stored,
    r.duplicates, r.other, r.rejected))
  return 0
end

return function(...)
  local opts <const> = options.parse("rejects", { ... }, { tenant = "text", source = "text", all = "flag", limit = "integer",
    json = "flag", mapping = "text", help = "flag", words = true })
  local name <const> = table.remove(opts, 1)
  if opts.help or not name then return require "garun.command.help"("rejects") end
  local command <const> = commands[name]
  if not command then options.fail("rejects", "unknown command '" .. name .. "'; it is list, show or replay") end
  return command(opts)
end
