-- garun.private_pg.cluster: the server programs of this machine, making a cluster and launching its server.
--
-- Called under the cluster's lock only. It never touches a cluster of another major version.

local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local place <const> = require "garun.private_pg.place"
local proc <const> = require "garun.proc"
local process <const> = require "garun.private_pg.process"
local settings <const> = require "garun.private_pg.settings"

local cluster <const> = {}

-- ---- programs ----

local function has_programs(bin)
  return fs.exists(bin .. "/postgres") and fs.exists(bin .. "/initdb")
end

-- The server programs of this machine, newest first: a list of {major, bin}.
local function servers()
  local list <const> = {}
  for _, path in ipairs(fs.glob("/usr/lib/postgresql/*/bin/postgres")) do
    local bin <const> = fs.dirname(path)
    local major <const> = math.tointeger(tonumber(bin:match("/(%d+)/bin$")))
    if major and has_programs(bin) then list[#list + 1] = { major = major, bin = bin } end
  end
  if #list == 0 then
    for bin in (host.getenv("PATH") or ""):gmatch("[^:]+") do
      if bin:sub(1, 1) == "/" and has_programs(bin) then
        local version <const> = proc.run { bin .. "/postgres", "--version" }.stdout
        local major <const> = math.tointeger(tonumber(version:match("PostgreSQL%) (%d+)")))
        if major then list[#list + 1] = { major = major, bin = bin } end
      end
    end
  end
  table.sort(list, function(a, b) return a.major > b.major end)
  return list
end

--- The server programs for the cluster: {major, bin}; those of its own major version when it exists, else the newest.
function cluster.programs(at)
  local list <const> = servers()
  if #list == 0 then
    place.fail("missing", "there is no PostgreSQL server on this machine: no initdb and postgres in "
      .. "/usr/lib/postgresql/*/bin or PATH", "install it (apt-get install postgresql), or set POSTGRES_HOST")
  end
  local made_by <const> = (place.slurp(at.data .. "/PG_VERSION") or ""):match("%d+")
  if not made_by then
    if list[1].major < 14 then
      place.fail("version", "the newest PostgreSQL on this machine is " .. list[1].major .. ", garun needs 14 or newer")
    end
    return list[1]
  end
  local found <const> = {}
  for i, server in ipairs(list) do
    if tostring(server.major) == made_by then return server end
    found[i] = tostring(server.major)
  end
  place.fail("version",
    string.format("the cluster in %s was made by PostgreSQL %s, but this machine has only %s", at.data, made_by,
      table.concat(found, ", ")),
    string.format("install postgresql-%s. To move on to a newer one, dump the data with it (pg_dump), then "
      .. "garun db destroy --yes and restore into the new cluster, or use pg_upgrade", made_by))
end

-- ---- the machine ----

-- Bytes of memory this process may use: the machine's, or the control group's where that is less.
local function memory()
  local bytes = (tonumber((place.slurp("/proc/meminfo") or ""):match("MemTotal:%s+(%d+)")) or 1 << 20) * 1024
  local group <const> = (place.slurp("/proc/self/cgroup") or ""):match("0::(/[^\n]*)") or "/"
  for _, path in ipairs { "/sys/fs/cgroup" .. group .. "/memory.max", "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes" } do
    bytes = math.min(bytes, tonumber((place.slurp(path) or ""):match("^%d+")) or bytes)
  end
  return math.tointeger(bytes // 1)
end

-- Whether this server accepts a setting; it may be older, or built without the library.
local function accepts(at, server, data, name, value)
  return pcall(place.run, at, "asking for " .. name, { server.bin .. "/postgres", "-D", data, "-C", name, "-c",
    name .. "=" .. value })
end

local function write_settings(at, server, data)
  local machine <const> = {
    memory = memory(), cores = host.cores(), disk_free = fs.space(at.base).available,
    wal_lz4 = accepts(at, server, data, "wal_compression", "lz4"),
    toast_lz4 = accepts(at, server, data, "default_toast_compression", "lz4"),
  }
  local shared <const> = fs.exists("/dev/shm") and fs.space("/dev/shm").total or nil
  place.write(at, data .. "/garun.conf", table.concat({
    "# Written by garun at every start, for this machine's memory and cores. Put your own settings into local.conf",
    "# beside this file: it is read after it.",
    "", settings.private(at, shared), settings.tuning(machine) }, "\n"))
end

-- ---- making and launching ----

-- Removes clusters that were never finished. An initdb whose garun was killed may still write into its own: what cannot
-- be removed now is removed at another start.
local function sweep(at)
  place.shell(at, "removing unfinished clusters", 'rm -rf "$1".new.* 2>/dev/null || true', at.data)
end

--- Makes the cluster: all of it or nothing, for it takes its name at the end.
function cluster.initialise(at, server, say)
  local new <const> = place.shell(at, "making a directory", 'mktemp -d "$1.new.XXXXXX"', at.data).stdout:gsub("\n$", "")
  local owner <const> = proc.user(at.owner.uid)
  say(string.format("making the private PostgreSQL %d cluster in %s", server.major, at.data))
  place.run(at, "making the cluster", { server.bin .. "/initdb", "-D", new, "--username=garun", "--auth-local=peer",
    "--auth-host=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-collate=C",
    "--no-instructions" })
  place.write(at, new .. "/pg_hba.conf", settings.hba())
  place.write(at, new .. "/pg_ident.conf", settings.ident(owner and owner.name or tostring(at.owner.uid)))
  place.shell(at, "writing postgresql.conf", 'printf "%s\\n" "$2" >> "$1"', new .. "/postgresql.conf",
    "\n# Added by garun\ninclude = 'garun.conf'\ninclude_if_exists = 'local.conf'")
  place.write(at, new .. "/local.conf", "# Your own settings: read after garun.conf, never written by garun again.\n")
  -- garun.conf is written again before every start; the single-user server below needs it too.
  write_settings(at, server, new)
  -- The superuser garun would otherwise find the schema garun ("$user") before public, and make its tables there.
  place.run(at, "making the database garun", { server.bin .. "/postgres", "--single", "-D", new, "-c",
    "exit_on_error=on", "postgres", stdin = "CREATE DATABASE garun;\nALTER ROLE garun SET search_path = public;\n" })
  place.shell(at, "naming the cluster", 'mv "$1" "$2"', new, at.data)
end

-- The last lines of what the server said since `started`, for the operator.
local function last_words(at)
  return place.shell(at, "reading the log", [[
    cd "$1"; tail -n 12 start.log
    for file in $(ls -t postgresql-*.log 2>/dev/null | head -n 1); do
      test start.log -nt "$file" || tail -n 12 "$file"
    done]], at.log).stdout:match("^%s*(.-)%s*$")
end

--- Launches the server in a session of its own and waits until it accepts connections. timeout in seconds.
function cluster.launch(at, server, timeout, say)
  sweep(at)
  write_settings(at, server, at.data)
  place.make_socket_directory(at)
  local child <const> = proc.spawn {
    "/bin/sh", "-euc", 'umask 077; exec "$1" -D "$2" >"$3" 2>&1 </dev/null', "sh", server.bin .. "/postgres", at.data,
    at.log .. "/start.log",
    cwd = "/", clear_env = true, env = { PATH = "/usr/local/bin:/usr/bin:/bin", LC_ALL = "C.UTF-8", LANG = "C.UTF-8" },
    stdin = "null", stdout = "null", stderr = "null", detach = true,
    uid = proc.uid() == 0 and at.owner.uid or nil, gid = proc.uid() == 0 and at.owner.gid or nil,
  }
  local pid <const>, waited = child.pid, 0
  while true do
    local over <const> = process.wait(math.min(10, timeout), function()
      return not process.alive(pid) or process.state(at).state == "ready"
    end)
    if over then break end
    waited = waited + 10
    if waited >= timeout then
      place.fail("start", string.format("the private PostgreSQL (pid %d) is not ready after %d seconds", pid, waited),
        "it goes on starting: look at " .. at.log .. " and try again", last_words(at))
    end
    say(string.format("the private PostgreSQL is starting for %d seconds, perhaps recovering from a crash", waited))
  end
  if process.state(at).state ~= "ready" then
    place.fail("start", "the private PostgreSQL did not start", "mend what its log says; all of it is in " .. at.log,
      last_words(at))
  end
  return pid
end

return cluster
