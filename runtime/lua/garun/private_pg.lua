-- garun.private_pg: garun's own PostgreSQL, for those who have not configured one.
--
-- One cluster per var/ directory, on a Unix socket only, never as root, started by whoever needs it first. All changes
-- are made under a lock file, so that many garuns at once start one server; a running one is found without the lock.
-- Killing garun or the server at any moment leaves nothing that the next start does not put right.

local cluster <const> = require "garun.private_pg.cluster"
local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local log <const> = require "garun.log"
local place <const> = require "garun.private_pg.place"
local proc <const> = require "garun.proc"
local process <const> = require "garun.private_pg.process"

local private_pg <const> = {}

local ROLE <const>, DATABASE <const> = "garun", "garun"
local START_TIMEOUT <const>, STOP_TIMEOUT <const>, LOCK_TIMEOUT <const> = 600, 300, 660

local function running(state)
  return state == "ready" or state == "starting" or state == "stopping"
end

local function settings(at)
  return { host = at.socket, port = at.port, user = ROLE, database = DATABASE }
end

-- Checks the options of a function and gives them with `log` set.
local function checked(name, options, ...)
  options = errors.check_options("private_pg." .. name, options, { "var", ... })
  local say <const> = options.log or options.log == nil and function(text) log.info(text) end or function() end
  return options, say
end

local function ready(at, now)
  return now.state == "ready" and fs.exists(at.socket .. "/.s.PGSQL." .. at.port)
end

-- ---- starting ----

-- What is left of a server that was killed. A server that answers although its process cannot be seen runs in another
-- container on the same directory; starting a second one would ruin the data.
local function clear_away(at, server, say)
  if not process.end_orphans(at, say) then
    place.fail("orphans", string.format("processes of the killed server do not end: %s",
      table.concat(process.orphans(at), ", ")), "end them (kill -9) and start again")
  end
  if not fs.exists(at.data .. "/postmaster.pid") then return end
  local answered <const> = pcall(place.run, at, "asking the socket", { server.bin .. "/pg_isready", "-q", "-h",
    at.socket, "-p", tostring(at.port), "-t", "3" })
  if answered then
    place.fail("elsewhere", "a server answers on " .. at.socket .. ", but its process is not to be seen from here",
      "it runs in another container or as another user on the same directory: stop it there")
  end
  say("the server was not stopped properly; it recovers from its log")
  place.shell(at, "removing postmaster.pid", 'rm -f "$1"', at.data .. "/postmaster.pid")
end

local function start_locked(at, say)
  local now = process.state(at)
  if ready(at, now) then return false end
  if now.state == "ready" then
    say("the socket of the running server is gone, it is started again")
    process.signal(at, "INT", { now.pid })
  end
  if running(now.state) then
    process.wait(START_TIMEOUT, function()
      now = process.state(at)
      return not running(now.state) or ready(at, now)
    end)
    if now.state == "ready" then return true end
    if running(now.state) then
      place.fail("start", string.format("the private PostgreSQL (pid %d) has been %s for %d seconds", now.pid,
        now.state, START_TIMEOUT), "look at " .. at.log)
    end
  end
  local server <const> = cluster.programs(at)
  if now.state == "absent" then
    cluster.initialise(at, server, say)
  else
    clear_away(at, server, say)
  end
  cluster.launch(at, server, START_TIMEOUT, say)
  return true
end

--- Starts the server when it does not run; whether it had to, and where it is.
function private_pg.start(options)
  local say
  options, say = checked("start", options, "log")
  local at = place.find(options.var)
  if ready(at, process.state(at)) then return false, settings(at) end
  at = place.make(at, say)
  local lock <close> = fs.lock(at.lock, { timeout = LOCK_TIMEOUT })
  local started <const> = start_locked(at, say)
  return started, settings(at)
end

-- Makes the database that POSTGRES_DATABASE names, once a process.
local made <const> = {}
local function make_database(at, name)
  if made[at.data .. " " .. name] then return end
  local programs <const> = cluster.programs(at)
  place.run(at, "making the database " .. name, { programs.bin .. "/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-v",
    "name=" .. name, "-h", at.socket, "-p", tostring(at.port), "-U", ROLE, "-d", DATABASE, stdin = [[
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
]] })
  made[at.data .. " " .. name] = true
end

--- Connection settings of the server, which is started when it does not run.
function private_pg.ensure(options)
  options = checked("ensure", options, "log")
  local started <const>, own <const> = private_pg.start(options)
  if started then log.info("private PostgreSQL started", { socket = own.host }) end
  local wanted <const> = config.get("POSTGRES_DATABASE")
  if wanted and wanted ~= DATABASE then
    make_database(place.find(options.var), wanted)
    own.database = wanted
  end
  return own
end

-- ---- stopping ----

-- The postmaster's signals for its ways to stop (PostgreSQL manual, 19.5): "fast" ends the sessions and writes
-- everything, "immediate" leaves the next start to recover.
local SIGNALS <const> = { fast = "INT", immediate = "QUIT" }

local function stop_locked(at, mode, say)
  local now <const> = process.state(at)
  if running(now.state) then
    process.signal(at, SIGNALS[mode], { now.pid })
    local gone <const> = process.wait(STOP_TIMEOUT, function() return not process.alive(now.pid) end)
    if not gone then
      place.fail("stop", string.format("the private PostgreSQL (pid %d) has not stopped after %d seconds", now.pid,
        STOP_TIMEOUT), "it may be writing a checkpoint to a slow disk: look at " .. at.log)
    end
    return true
  end
  if now.state == "crashed" then
    process.end_orphans(at, say)
    place.shell(at, "removing postmaster.pid", 'rm -f "$1"', at.data .. "/postmaster.pid")
  end
  return false
end

--- Stops the server; whether it ran.
function private_pg.stop(options)
  local say
  options, say = checked("stop", options, "log", "mode")
  local mode <const> = options.mode or "fast"
  if not SIGNALS[mode] then
    error(errors.new { kind = "usage", message = "private_pg.stop: mode is \"fast\" or \"immediate\"" }, 2)
  end
  local at <const> = place.find(options.var)
  if not fs.exists(at.lock) then return false end
  local lock <close> = fs.lock(at.lock, { timeout = LOCK_TIMEOUT })
  return stop_locked(at, mode, say)
end

--- Stops the server and deletes the cluster with all its data; whether there was one.
function private_pg.destroy(options)
  local say
  options, say = checked("destroy", options, "log")
  local at <const> = place.find(options.var)
  if not at.exists then return false end
  if fs.exists(at.lock) then
    local lock <close> = fs.lock(at.lock, { timeout = LOCK_TIMEOUT })
    stop_locked(at, "immediate", say)
    -- data first and under another name: a half-deleted cluster must not be taken for one.
    place.shell(at, "deleting the cluster",
      'test ! -e "$1/data" || { rm -rf "$1/data.gone"; mv "$1/data" "$1/data.gone"; }; rm -rf "$1"/* "$2"', at.base,
      at.socket)
  end
  fs.remove(at.base, { recursive = true, missing_ok = true })
  if at.base ~= at.var .. "/pg" then
    fs.remove(fs.dirname(at.base), { missing_ok = true })
    fs.remove(at.var .. "/pg.elsewhere", { missing_ok = true })
  end
  return true
end

-- ---- telling ----

--- What is known without starting anything: {state, running, pid, since, version, data, socket, log, user}.
function private_pg.status(options)
  local at <const> = place.find(checked("status", options).var)
  local now <const> = process.state(at)
  local owner <const> = at.owner and proc.user(at.owner.uid)
  return {
    state = now.state, running = now.state == "ready", pid = running(now.state) and now.pid or nil, since = now.since,
    version = (place.slurp(at.data .. "/PG_VERSION") or ""):match("%d+"), data = at.data, socket = at.socket,
    log = at.log, user = owner and owner.name,
  }
end

local function escape(text)
  return (text:gsub("[^%w._~-]", function(c) return string.format("%%%02X", c:byte()) end))
end

--- A connection URL for psql and every other libpq program.
function private_pg.url()
  local own <const> = private_pg.ensure()
  return string.format("postgresql:///%s?host=%s&port=%d&user=%s", escape(own.database), escape(own.host), own.port,
    own.user)
end

--- psql's path, and the environment with which it reaches the server.
function private_pg.psql()
  local own <const> = private_pg.ensure()
  local bin <const> = cluster.programs(place.find()).bin
  local program <const> = fs.exists(bin .. "/psql") and bin .. "/psql" or "psql"
  return program, { PGHOST = own.host, PGPORT = tostring(own.port), PGUSER = own.user, PGDATABASE = own.database }
end

return private_pg
