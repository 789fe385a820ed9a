-- garun db: the private PostgreSQL server, used while POSTGRES_HOST is not set
--
--   garun db start            start it, make the cluster when there is none
--   garun db stop             stop it; sessions are ended, their transactions rolled back
--   garun db restart          stop and start
--   garun db status           what it is and where; exit code 0 when it runs, 3 when it does not
--   garun db url              a connection URL for psql and other programs; starts the server
--   garun db psql [ARGS]      psql in the database garun; starts the server
--   garun db destroy --yes    stop it and delete the cluster with all its data
--
-- The cluster is under var/pg (GARUN_VAR sets var/), its settings can be changed in var/pg/data/local.conf.

local config <const> = require "garun.config"
local errors <const> = require "garun.error"
local private_pg <const> = require "garun.private_pg"

local NOT_RUNNING <const> = 3     -- the exit code of "status" in the LSB

local function say(text)
  print(text)
end

local function no_operands(name, ...)
  if select("#", ...) > 0 then
    local text <const> = string.format("garun db %s takes no operand, got '%s'", name, (...))
    error(errors.new { kind = "usage", message = text }, 0)
  end
end

local commands <const> = {}

function commands.start(...)
  no_operands("start", ...)
  local started <const>, own <const> = private_pg.start { log = say }
  print(string.format("PostgreSQL %s, socket in %s", started and "started" or "runs already", own.host))
end

function commands.stop(...)
  no_operands("stop", ...)
  print(private_pg.stop { log = say } and "PostgreSQL stopped" or "PostgreSQL does not run")
end

function commands.restart(...)
  no_operands("restart", ...)
  private_pg.stop { log = say }
  commands.start()
end

function commands.status(...)
  no_operands("status", ...)
  local s <const> = private_pg.status()
  local words <const> = {
    absent = "there is no private cluster yet; garun db start makes it",
    stopped = "stopped",
    crashed = "stopped; it was killed, the next start recovers",
    starting = "starting",
    stopping = "stopping",
    ready = "running",
  }
  print("state    " .. words[s.state])
  if s.pid then print("pid      " .. s.pid) end
  if s.running and s.since then print("since    " .. os.date("!%Y-%m-%d %H:%M:%S UTC", s.since)) end
  if s.version then print("version  PostgreSQL " .. s.version) end
  print("data     " .. s.data)
  if s.user then print("user     " .. s.user) end
  if s.socket then print("socket   " .. s.socket) end
  print("log      " .. s.log)
  return s.running and 0 or NOT_RUNNING
end

function commands.url(...)
  no_operands("url", ...)
  print(private_pg.url())
end

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- The C library's system() is right for a program that owns the terminal: Ctrl-C is psql's while it runs.
function commands.psql(...)
  local program <const>, env <const> = private_pg.psql()
  local words <const> = { "exec env -u PGSERVICE -u PGHOSTADDR -u PGPASSWORD -u PGOPTIONS" }
  for name, value in pairs(env) do words[#words + 1] = name .. "=" .. quote(value) end
  words[#words + 1] = quote(program)
  for _, word in ipairs { ... } do words[#words + 1] = quote(word) end
  io.stdout:flush()
  local _, how <const>, code <const> = os.execute(table.concat(words, " "))
  return how == "signal" and 128 + code or code
end

function commands.destroy(...)
  if select("#", ...) ~= 1 or (...) ~= "--yes" then
    local s <const> = private_pg.status()
    error(errors.new { kind = "usage", message = "garun db destroy deletes " .. s.data .. " with all databases in it",
      hint = "garun db destroy --yes does it" }, 0)
  end
  print(private_pg.destroy { log = say } and "the private cluster is deleted" or "there is no private cluster")
end

return function(name, ...)
  local names <const> = {}
  for k in pairs(commands) do names[#names + 1] = k end
  table.sort(names)
  local command <const> = commands[name or ""]
  if not command then
    local near <const> = name and errors.nearest(name, names)
    error(errors.new { kind = "usage",
      message = name and string.format("garun db: no command '%s'", name) or "garun db: which command?",
      hint = (near and "did you mean '" .. near .. "'? " or "") .. "commands: " .. table.concat(names, ", ") }, 0)
  end
  local host <const> = config.get("POSTGRES_HOST")
  if host and name ~= "status" and name ~= "stop" and name ~= "destroy" then
    error(errors.new { kind = "usage",
      message = string.format("POSTGRES_HOST is %s (%s): garun uses that server, not a private one", host,
        config.origin("POSTGRES_HOST")), hint = "unset POSTGRES_HOST to use the private server" }, 0)
  end
  return command(...) or 0
end
