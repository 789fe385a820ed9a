-- garun.private_pg.process: which processes belong to a cluster, read from postmaster.pid and /proc.
--
-- Neither is believed alone: a pid file outlives its server, a pid is used again, and the backends of a postmaster that
-- was killed work on until they notice. It signals only processes of this cluster.

local fs <const> = require "garun.fs"
local place <const> = require "garun.private_pg.place"
local task <const> = require "garun.task"

local process <const> = {}

-- The words of a process's command line; {} for a process that has gone. PostgreSQL writes its title there as one word.
local function command_line(pid)
  local words <const> = {}
  for word in (place.slurp("/proc/" .. pid .. "/cmdline") or ""):gmatch("[^\0]+") do words[#words + 1] = word end
  return words
end

-- Whether a process runs the postgres program, and is not only a zombie of it.
local function is_postgres(pid)
  local name <const>, state <const> = (place.slurp("/proc/" .. pid .. "/stat") or ""):match("^%d+ %((.*)%) (%a)")
  return (name == "postgres" or name == "postmaster") and state ~= "Z" and state ~= "X"
end

-- /proc/PID/cwd can be read of one's own processes and, mostly, as root; nil otherwise.
local function working_directory(pid)
  local ok <const>, path <const> = pcall(fs.readlink, "/proc/" .. pid .. "/cwd")
  return ok and path or nil
end

-- Whether pid is the postmaster of the cluster: both when started with -D as garun does, and by hand from elsewhere.
local function is_postmaster(pid, at)
  if not is_postgres(pid) then return false end
  for _, word in ipairs(command_line(pid)) do
    if word == at.data then return true end
  end
  return working_directory(pid) == at.data
end

--- Whether a process is there and is no zombie.
function process.alive(pid)
  local state <const> = (place.slurp("/proc/" .. pid .. "/stat") or ""):match("^%d+ %(.*%) (%a)")
  return state ~= nil and state ~= "Z" and state ~= "X"
end

--- The state of a cluster: {state, pid, since, socket}. state is "absent" (no cluster), "stopped", "crashed" (a pid
--- file without its server), "starting", "ready" or "stopping".
function process.state(at)
  if not at.exists or not fs.exists(at.data .. "/PG_VERSION") then return { state = "absent" } end
  local text <const> = place.slurp(at.data .. "/postmaster.pid")
  if not text then return { state = "stopped" } end
  local lines <const> = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  local pid <const> = math.tointeger(tonumber(lines[1]))
  if not pid or pid <= 0 or not is_postmaster(pid, at) then return { state = "crashed", pid = pid } end
  -- Lines as in miscadmin.h: 1 pid, 3 start time, 5 socket directory, 8 status.
  local status <const> = (lines[8] or ""):match("%a+")
  return {
    state = (status == "ready" or status == "stopping") and status or "starting",
    pid = pid,
    since = math.tointeger(tonumber(lines[3])),
    socket = lines[5] ~= "" and lines[5] or nil,
  }
end

--- The processes of the cluster other than a live postmaster's: what a killed postmaster left behind.
function process.orphans(at)
  local list <const> = {}
  local title <const> = "postgres: " .. at.cluster .. ": "
  for _, entry in ipairs(fs.list("/proc")) do
    if entry:match("^%d+$") and is_postgres(entry) then
      local words <const> = command_line(entry)
      if (words[1] or ""):sub(1, #title) == title or working_directory(entry) == at.data then
        list[#list + 1] = math.tointeger(tonumber(entry))
      end
    end
  end
  return list
end

--- Sends a signal ("INT", "TERM", "QUIT", "KILL") to processes of the cluster as its owner; those that have gone
--- meanwhile are no failure.
function process.signal(at, name, pids)
  for _, pid in ipairs(pids) do
    place.shell(at, "signalling", 'kill -s "$1" "$2" 2>/dev/null || ! test -d "/proc/$2"', name, tostring(pid))
  end
end

--- Waits until condition() is true, at most `seconds`; whether it became so.
function process.wait(seconds, condition)
  local pause, waited = 0.01, 0.0
  while not condition() do
    if waited >= seconds then return false end
    task.sleep(pause)
    waited, pause = waited + pause, math.min(pause * 2, 0.2)
  end
  return true
end

--- Ends what a killed postmaster left behind: a new one refuses to start while they hold the old one's shared memory.
--- They notice its death themselves as soon as they wait for anything, so they get a few seconds first. say(text) hears
--- of it. Returns whether all are gone.
function process.end_orphans(at, say)
  local function none() return #process.orphans(at) == 0 end
  if none() then return true end
  say(string.format("the server was killed, waiting for %d of its processes to end", #process.orphans(at)))
  for _, step in ipairs { { nil, 3 }, { "TERM", 3 }, { "QUIT", 3 }, { "KILL", 5 } } do
    if step[1] then process.signal(at, step[1], process.orphans(at)) end
    if process.wait(step[2], none) then return true end
  end
  return false
end

return process
