-- garun.private_pg.place: where the private cluster is and which system user it belongs to.
--
--   var/pg/data          the cluster                  var/pg/run          its socket
--   var/pg/log/          the server's log             var/pg/lock         held while it is started or stopped
--   var/pg/socket-dir    where the socket is when var/pg/run is too long a path for one
--   var/pg.elsewhere     where all of this is when var/ is out of the owner's reach
--
-- PostgreSQL refuses to run as root, so root's cluster belongs to somebody else: the owner of var/ when that is an
-- ordinary user, else postgres, else nobody. Everything below var/pg is then done as that user: root follows no links
-- that an unprivileged user can plant.

local config <const> = require "garun.config"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local proc <const> = require "garun.proc"

local place <const> = {}

local PORT <const> = 5432
local LONGEST_SOCKET <const> = 107      -- sockaddr_un.sun_path, less its NUL
local ELSEWHERE <const> = "/var/lib/garun"

local function fail(code, message, hint, detail)
  error(errors.new { kind = "db", code = code, message = message, hint = hint, detail = detail }, 0)
end
place.fail = fail

--- The content of a small file, or nil when it cannot be read. For /proc and the cluster's own files.
function place.slurp(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

-- ---- users ----

local function must_have_name(uid)
  return proc.user(uid) or fail("user",
    string.format("user id %d has no entry in the password database, and PostgreSQL needs one", uid),
    "run garun as a user that exists here, or add one with that id (adduser --uid)")
end

local function choose_owner(var)
  if proc.uid() ~= 0 then return must_have_name(proc.uid()) end
  local uid <const> = fs.stat(var).uid
  local owner <const> = uid ~= 0 and proc.user(uid) or proc.user "postgres" or proc.user "nobody"
  return owner or fail("user", "PostgreSQL does not run as root, and there is no user postgres and no user nobody",
    "run garun as an ordinary user, or install postgresql, which makes the user postgres")
end

-- ---- doing things as the owner ----

--- Runs a program as the owner of the cluster with an environment that holds no secrets: options as proc.run.
--- Raises an error of kind "db" that names `what` when it fails.
function place.run(at, what, command)
  command.cwd = "/"        -- PostgreSQL's programs insist on a current directory they may enter
  command.clear_env = true
  command.env = { PATH = "/usr/local/bin:/usr/bin:/bin", LC_ALL = "C.UTF-8", LANG = "C.UTF-8" }
  if proc.uid() == 0 then command.uid, command.gid = at.owner.uid, at.owner.gid end
  local done <const> = proc.run(command)
  if done.status ~= 0 then
    local how <const> = done.signal and "was ended by " .. done.signal or "ended with status " .. done.status
    fail("command", string.format("%s failed: %s %s", what, command[1], how), nil,
      (done.stderr .. done.stdout):match("^%s*(.-)%s*$"))
  end
  return done
end

--- The same for a few lines of shell; the arguments are $1, $2, ...
function place.shell(at, what, script, ...)
  return place.run(at, what, { "/bin/sh", "-euc", script, "sh", ... })
end

--- Writes a file of the cluster as its owner: all of it or nothing.
function place.write(at, path, text)
  place.run(at, "writing " .. path, { "/bin/sh", "-euc", 'umask 077; cat > "$1.new"; mv "$1.new" "$1"', "sh", path,
    stdin = text })
end

-- ---- where ----

local function absolute(path)
  if fs.exists(path) then return fs.realpath(path) end
  return path:sub(1, 1) == "/" and path or fs.join(fs.cwd(), path)
end

local function describe(var, base)
  local digest <const> = crypto.sha256(base):sub(1, 12)
  local at <const> = { var = var, base = base, data = base .. "/data", log = base .. "/log", lock = base .. "/lock",
    port = PORT, cluster = "garun-" .. digest, digest = digest }
  local stat <const> = fs.stat(base)
  -- A directory of root's is one that was being made when garun was killed: it is not the owner's yet.
  at.exists = stat ~= nil and not (stat.uid == 0 and proc.uid() == 0)
  if at.exists then
    at.owner = { uid = stat.uid, gid = stat.gid }
    if proc.uid() ~= 0 and stat.uid ~= proc.uid() then
      local owner <const> = proc.user(stat.uid)
      local name <const> = owner and owner.name or tostring(stat.uid)
      fail("owner", string.format("the private PostgreSQL in %s belongs to user %s", base, name),
        string.format("run garun as root or as %s, or set GARUN_VAR to a directory of your own", name))
    end
    at.socket = place.slurp(base .. "/socket-dir") or base .. "/run"
  end
  return at
end

--- Where the cluster of a var directory (default: the configured one) is or would be; makes nothing. Raises an error of
--- kind "db" when it belongs to another user.
function place.find(dir)
  local var <const> = absolute(dir or config.var())
  return describe(var, place.slurp(var .. "/pg.elsewhere") or var .. "/pg")
end

-- ---- making it ----

-- A directory for the socket outside the cluster, for a path that is too long. It must be ours alone: whoever owns the
-- directory could put a socket of their own there.
local function short_directory(at)
  local runtime <const> = host.getenv("XDG_RUNTIME_DIR")
  local stat <const> = runtime and runtime:sub(1, 1) == "/" and fs.stat(runtime)
  local usable <const> = stat and stat.uid == at.owner.uid and stat.mode & 63 == 0 and #runtime < 60
  return string.format("%s/garun-%d-%s", usable and runtime or "/tmp", at.owner.uid, at.digest)
end

--- Makes the directory of the socket where it is missing (/tmp is emptied at boot), and checks whose it is.
function place.make_socket_directory(at)
  place.shell(at, "making the directory for the socket", 'mkdir -m 700 "$1" 2>/dev/null || test -d "$1"', at.socket)
  local stat <const> = fs.stat(at.socket, { follow = false })
  if not stat or stat.type ~= "directory" or stat.uid ~= at.owner.uid or stat.mode & 63 ~= 0 then
    fail("socket", string.format("%s, the directory for the socket, is not a directory of user id %d with mode 0700",
      at.socket, at.owner.uid), "somebody else has made it: look at it, remove it and start again")
  end
end

local function make_base(at)
  if proc.uid() ~= 0 then
    fs.mkdir(at.base, { parents = true, mode = "0700" })
    return true
  end
  local made <const> = proc.run { "install", "-d", "-m", "0700", "-o", tostring(at.owner.uid), "-g",
    tostring(at.owner.gid), at.base }
  if made.status ~= 0 then
    fail("directory", "cannot make the directory " .. at.base, nil, made.stderr:match("^%s*(.-)%s*$"))
  end
  local reached <const> = proc.run { "test", "-w", at.base, "-a", "-x", at.base, uid = at.owner.uid, gid = at.owner.gid,
    cwd = "/" }
  return reached.status == 0
end

--- Makes the directories of the cluster where they are missing and returns the place; say(text) hears of anything
--- unexpected about it.
function place.make(at, say)
  fs.mkdir(at.var, { parents = true })
  local var <const> = fs.realpath(at.var)
  if not at.exists then
    local owner <const> = choose_owner(var)
    at.owner = owner
    if proc.uid() == 0 then
      say("PostgreSQL does not run as root: the private cluster belongs to user " .. owner.name)
    end
    if not make_base(at) then
      fs.remove(at.base, { missing_ok = true })
      local base <const> = string.format("%s/%s-%s/pg", ELSEWHERE, fs.basename(fs.dirname(var)):gsub("[^%w_.-]", "_"),
        crypto.sha256(var):sub(1, 8))
      say(string.format("user %s cannot reach %s, so the private cluster is made in %s", owner.name, var, base))
      at = describe(var, base)
      at.owner = owner
      fs.mkdir(fs.dirname(base), { parents = true, mode = "0755" })
      if not make_base(at) then
        fail("directory", string.format("user %s cannot reach %s", owner.name, base),
          "make the directories above it accessible (chmod o+x), or set GARUN_VAR")
      end
      fs.write(var .. "/pg.elsewhere", base)
    end
    at = describe(var, at.base)
  end
  if #at.socket + #"/.s.PGSQL.5432" > LONGEST_SOCKET then
    at.socket = short_directory(at)
    place.write(at, at.base .. "/socket-dir", at.socket)
    say(string.format("the path of %s is too long for a socket, it is in %s", at.base, at.socket))
  end
  place.make_socket_directory(at)
  place.shell(at, "making directories", 'umask 077; mkdir -p "$1"; : >> "$2"', at.log, at.lock)
  return at
end

return place
