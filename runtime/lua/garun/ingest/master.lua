-- garun.ingest.master: users and locations, from a file that was named or from the tenant's SFTP server.
--
-- A file from SFTP is fetched whole before it is read: the directory of an .xlsx stands at its end. It lies under
-- var/incoming for as long as it is loaded.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local pg <const> = require "garun.pg"
local tenant <const> = require "garun.tenant"
local uuid <const> = require "garun.uuid"

local master <const> = {}

local add <const> = { "read", "inserted", "updated", "unchanged", "rejected" }

-- Where the file of this kind lies now, its name for messages, and what removes it again.
local function fetch(ctx, kind)
  local settings
  do
    local db <close> = pg.connect(ctx.conninfo)
    settings = tenant.need(db, ctx.tenant, "sftp")
  end
  local name <const> = settings[kind]
  local remote <const> = settings.remote_path == "." and name or settings.remote_path:gsub("/$", "") .. "/" .. name
  local dir <const> = config.var() .. "/incoming"
  fs.mkdir(dir, { parents = true, mode = "0700" })
  local path <const> = string.format("%s/%s-%s", dir, uuid.v7(), kind)
  local session <close> = require("garun.sftp").connect(settings.connect)
  session:get(remote, path)
  return path, "sftp://" .. settings.connect.host .. "/" .. remote:gsub("^/", ""), setmetatable({}, { __close = function()
    fs.remove(path)
  end })
end

local function load_file(ctx, kind, path, name)
  return require("garun.masterdata").load(ctx.conninfo, { tenant = ctx.tenant.id, kind = kind, path = path, name = name,
    job = ctx.job, dry_run = ctx.dry_run })
end

-- Loads the sources, or the tenant's file. Returns { read, inserted, updated, unchanged, rejected, processed, files }.
function master.load(ctx, kind, sources)
  local total <const> = { files = {}, processed = 0 }
  for _, k in ipairs(add) do total[k] = 0 end
  local function count(name, r)
    for _, k in ipairs(add) do total[k] = total[k] + (r[k] or 0) end
    total.processed = total.processed + r.inserted + r.updated + r.unchanged
    r.name = name
    table.insert(total.files, r)
  end
  if not sources then
    local path <const>, name <const>, gone <close> = fetch(ctx, kind)
    count(name, load_file(ctx, kind, path, name))
    return total
  end
  for _, s in ipairs(sources) do
    if s.kind ~= "file" then
      error(errors.new { kind = "usage", message = string.format("%s: %s are read from files", s.name, kind),
        hint = "store it first, then name the file" }, 0)
    end
    count(s.name, load_file(ctx, kind, s.uri, s.name))
  end
  return total
end

return master
