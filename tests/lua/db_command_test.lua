-- The private PostgreSQL: made, started, stopped and found by `garun db`, killed at bad moments, in bad places.
-- Each test has a cluster of its own below a temporary GARUN_VAR.

local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local ROOT <const> = proc.uid() == 0      -- the clusters of these tests then belong to the user postgres

local UNSET <const> = { "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DATABASE",
  "XDG_RUNTIME_DIR" }

local function environment(var, more)
  local env <const> = { GARUN_VAR = var }
  for _, name in ipairs(UNSET) do env[name] = false end
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

-- Runs `garun db ...` outside the checkout, so that no .env is read. `more` has options of proc.run.
local function db(var, words, more)
  local command <const> = { "garun", "db", table.unpack(words) }
  command.cwd = "/"
  for k, v in pairs(more or {}) do command[k] = v end
  command.env = environment(var, more and more.env)
  return t.run(command)
end

local function must(result, label)
  if result.status ~= 0 then
    error(errors.new { kind = "test", message = string.format("%s: status %s signal %s", label or "command",
      tostring(result.status), tostring(result.signal)), detail = result.stdout .. result.stderr }, 0)
  end
  return result.stdout
end

-- A var directory whose cluster goes with the test.
local function new_var()
  local var <const> = t.tmpdir() .. "/var"
  t.after(function() db(var, { "destroy", "--yes" }) end)
  return var
end

local function query(var, sql)
  return must(db(var, { "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql }), sql):gsub("\n$", "")
end

local function postmaster(var)
  local text <const> = fs.read(var .. "/pg/data/postmaster.pid")
  return math.tointeger(tonumber(text:match("^%d+")))
end

local function kill(pid)
  must(t.run { "/bin/sh", "-c", 'kill -s KILL "$1"', "sh", tostring(pid) }, "kill")
end

-- The living postmasters that were started with -D of this cluster.
local function postmasters(data)
  local n = 0
  for _, entry in ipairs(fs.list("/proc")) do
    local file <close> = entry:match("^%d+$") and io.open("/proc/" .. entry .. "/cmdline", "rb") or nil
    local line <const> = file and file:read("a") or ""
    if line:find("postgres\0", 1, true) and line:find("\0-D\0" .. data .. "\0", 1, true) then n = n + 1 end
  end
  return n
end

t.test("status, start, url, psql, restart, stop and destroy do what they say", function()
  local var <const> = new_var()
  local status = db(var, { "status" })
  t.equal(status.status, 3, "status without a cluster")
  t.match(status.stdout, "no private cluster")
  t.ok(not fs.exists(var), "status makes nothing")
  t.match(must(db(var, { "stop" })), "does not run")

  t.match(must(db(var, { "start" })), "PostgreSQL started")
  t.match(must(db(var, { "start" })), "runs already")
  status = db(var, { "status" })
  t.equal(status.status, 0)
  t.match(status.stdout, "state +running\n")

  local url <const> = must(db(var, { "url" })):gsub("\n$", "")
  local user <const> = fs.stat(var .. "/pg").uid
  local by_url <const> = t.run { "psql", "-XqAt", url, "-c", "select current_user, current_database()",
    uid = ROOT and user or nil }
  t.equal(must(by_url), "garun|garun\n", "psql with the URL")
  t.equal(db(var, { "psql", "-Xc", "select no_such_column" }).status, 1, "psql's exit code is ours")

  local before <const> = postmaster(var)
  query(var, "create table kept as select 1 as x")
  must(db(var, { "restart" }))
  t.ok(postmaster(var) ~= before, "restart makes a new server")
  t.equal(query(var, "select x from kept"), "1")

  t.match(must(db(var, { "stop" })), "PostgreSQL stopped")
  t.equal(db(var, { "status" }).status, 3)
  t.equal(postmasters(var .. "/pg/data"), 0)

  local refused <const> = db(var, { "destroy" })
  t.equal(refused.status, 2)
  t.match(refused.stderr, "%-%-yes")
  t.ok(fs.exists(var .. "/pg/data/PG_VERSION"))
  t.match(must(db(var, { "destroy", "--yes" })), "deleted")
  t.ok(not fs.exists(var .. "/pg"))
end)

t.test("the server is set up as the document recommends, listens on no port and is never root's", function()
  local var <const> = new_var()
  local show <const> = function(name) return query(var, "show " .. name) end
  t.equal(show "listen_addresses", "")
  t.equal(show "data_checksums", "on")
  t.equal(show "server_encoding", "UTF8")
  t.equal(show "fsync", "on")
  t.equal(show "full_page_writes", "on")
  t.equal(show "synchronous_commit", "on")
  t.equal(show "random_page_cost", "1.1")
  t.equal(show "effective_io_concurrency", "200")
  t.equal(show "log_min_duration_statement", "1s")
  t.equal(show "jit", "off")
  t.equal(show "search_path", "public", "the role garun must not make tables in the schema garun")
  t.equal(query(var, "select datcollate from pg_database where datname = current_database()"), "C")
  t.equal(query(var, "select datctype from pg_database where datname = current_database()"), "C.UTF-8")
  t.equal(query(var, "select count(*) from pg_file_settings where error is not null"), "0")
  t.equal(query(var, "select string_agg(array_to_string(user_name, ',') || ' ' || auth_method, '; ' "
    .. "order by line_number) from pg_hba_file_rules"), "garun peer; garun peer; all scram-sha-256")
  local stat <const> = fs.stat(var .. "/pg/data")
  t.ok(stat.uid ~= 0, "the cluster belongs to an ordinary user")
  t.equal(stat.mode, tonumber("700", 8))
  t.equal(fs.stat(var .. "/pg").mode, tonumber("700", 8))
  -- Another role needs its password, from whatever user it comes.
  query(var, "create role tenant login password 'right'; grant create on schema public to tenant")
  local function as_tenant(password)
    return db(var, { "psql", "-XqAtw", "-U", "tenant", "-c", "select current_user" },
      { env = { PGPASSFILE = password } })
  end
  local pass <const> = t.tmpdir() .. "/pass"
  fs.write(pass, "*:*:*:tenant:wrong\n", { mode = "0600" })
  t.match(as_tenant(pass).stderr, "password authentication failed")
  fs.write(pass, "*:*:*:tenant:right\n", { mode = "0600" })
  t.equal(must(as_tenant(pass)), "tenant\n")
end)

t.test("many starts at once make one cluster and start one server", function()
  local var <const> = new_var()
  local function start() return db(var, { "start" }) end
  local results <const> = task.map({ 1, 2, 3, 4, 5, 6 }, start, { concurrency = 6 })
  local started, found, made = 0, 0, 0
  for _, r in ipairs(results) do
    must(r, "start")
    started = started + select(2, r.stdout:gsub("PostgreSQL started", ""))
    found = found + select(2, r.stdout:gsub("runs already", ""))
    made = made + select(2, r.stdout:gsub("making the private PostgreSQL", ""))
  end
  t.equal(made, 1, "clusters made")
  t.equal(started, 1, "servers started")
  t.equal(found, 5)
  t.equal(postmasters(var .. "/pg/data"), 1)
end)

t.test("a killed server is started again with its data, and what it left behind is ended", function()
  local var <const> = new_var()
  query(var, "create table kept as select 1 as x")
  -- A backend that computes notices the death of its postmaster late; the next server must not meet it.
  local busy <close> = proc.spawn { "psql", "-Xqc", "select count(*) from generate_series(1, 1e12)",
    must(db(var, { "url" })):gsub("\n$", ""), stdin = "null", stdout = "null", stderr = "null",
    uid = ROOT and fs.stat(var .. "/pg").uid or nil }
  local function computing()
    return query(var, "select count(*) from pg_stat_activity where query like '%1e12%' and pid <> pg_backend_pid()")
  end
  for _ = 1, 100 do
    if computing() == "1" then break end
    task.sleep(0.05)
  end
  t.equal(computing(), "1")
  kill(postmaster(var))
  for _ = 1, 200 do
    if postmasters(var .. "/pg/data") == 0 then break end
    task.sleep(0.02)                               -- its memory is large, its end takes a moment
  end
  t.equal(db(var, { "status" }).status, 3, "a killed server does not run")
  local started <const> = db(var, { "start" })
  must(started, "start")
  t.match(started.stdout, "was killed")
  t.match(started.stdout, "PostgreSQL started")
  t.equal(query(var, "select x from kept"), "1")
  t.equal(computing(), "0")
  t.equal(postmasters(var .. "/pg/data"), 1)
  busy:kill("KILL")
end)

t.test("a pid file of a process that is no server does not prevent the start", function()
  local var <const> = new_var()
  query(var, "select 1")
  local path <const> = var .. "/pg/data/postmaster.pid"
  local uid <const> = ROOT and fs.stat(var .. "/pg").uid or nil
  local text <const> = fs.read(path)
  must(db(var, { "stop" }))
  -- The number belongs to a living process of the same user now; PostgreSQL alone would refuse to start.
  local other <close> = proc.spawn { "sleep", "60", uid = uid, cwd = "/" }
  local stale <const> = text:gsub("^%d+", tostring(other.pid), 1)
  must(t.run { "/bin/sh", "-c", 'cat > "$1"', "sh", path, stdin = stale, uid = uid })
  t.match(db(var, { "status" }).stdout, "it was killed")
  t.match(must(db(var, { "start" })), "PostgreSQL started")
  t.ok(proc.exists(other.pid), "the stranger lives")
  other:kill("KILL")
end)

t.test("a server that runs where its processes cannot be seen is not started a second time", function()
  local var <const> = new_var()
  must(db(var, { "start" }))
  local exe <const> = require("garun.core.host").exe()
  local apart <const> = t.run { "unshare", "--pid", "--fork", "--mount-proc", exe, "db", "start", cwd = "/",
    env = environment(var) }
  if apart.stderr:find("unshare", 1, true) then t.skip("no PID namespace here: " .. apart.stderr) end
  t.equal(apart.status, 1)
  t.match(apart.stderr, "runs in another container")
  t.equal(postmasters(var .. "/pg/data"), 1)
  t.equal(query(var, "select 1"), "1")
end)

t.test("garun killed at any moment of a start leaves nothing that the next start minds", function()
  local var <const> = new_var()
  for _, moment in ipairs { 0.05, 0.3, 0.6, 0.9, 1.2, 0.02, 0.05, 0.1 } do
    local first <close> = proc.spawn { require("garun.core.host").exe(), "db", "start", cwd = "/",
      env = environment(var), stdin = "null", stdout = "null", stderr = "null" }
    task.sleep(moment)
    pcall(first.kill, first, "KILL")               -- it may be done already
    first:wait()
    if moment > 0.8 then db(var, { "stop" }) end   -- the moments after it hit the launch, not the making
  end
  must(db(var, { "start" }))
  t.equal(query(var, "select 1"), "1")
  t.equal(postmasters(var .. "/pg/data"), 1)
  must(db(var, { "restart" }))
  t.equal(#fs.glob(var .. "/pg/data.new*"), 0, "unfinished clusters left")
end)

t.test("a server that cannot start says why, in the words of its log", function()
  local var <const> = new_var()
  query(var, "select 1")
  must(db(var, { "stop" }))
  local path <const>, uid <const> = var .. "/pg/data/local.conf", ROOT and fs.stat(var .. "/pg").uid or nil
  must(t.run { "/bin/sh", "-c", 'echo "shared_buffers = much" > "$1"', "sh", path, uid = uid })
  local failed <const> = db(var, { "start" })
  t.equal(failed.status, 1)
  t.match(failed.stderr, "did not start")
  t.match(failed.stderr, 'invalid value for parameter "shared_buffers"')
  t.match(failed.stderr, "/pg/log")
  must(t.run { "/bin/sh", "-c", 'echo "work_mem = 5MB" > "$1"', "sh", path, uid = uid })
  t.equal(query(var, "show work_mem"), "5MB", "local.conf wins over garun.conf")
end)

t.test("a path too long for a socket gets a directory of its own for it", function()
  local var <const> = t.tmpdir() .. "/" .. string.rep("long-directory-name/", 6) .. "var"
  t.after(function() db(var, { "destroy", "--yes" }) end)
  local out <const> = must(db(var, { "start" }))
  t.match(out, "too long for a socket")
  t.equal(query(var, "select 1"), "1")
  local dir <const> = fs.read(var .. "/pg/socket-dir")
  local stat <const> = fs.stat(dir)
  t.equal(stat.mode, tonumber("700", 8))
  t.equal(stat.uid, fs.stat(var .. "/pg").uid)
  must(db(var, { "stop" }))
  fs.remove(dir, { recursive = true })             -- as /tmp is emptied at boot
  t.equal(query(var, "select 1"), "1")
  must(db(var, { "destroy", "--yes" }))
  t.ok(not fs.exists(dir), "destroy removes the socket's directory")
end)

t.test("a private XDG_RUNTIME_DIR of the cluster's user is taken for the socket of a long path", function()
  local dir <const> = t.tmpdir()
  local var <const> = dir .. "/" .. string.rep("long-directory-name/", 6) .. "var"
  t.after(function() db(var, { "destroy", "--yes" }) end)
  local runtime <const> = dir .. "/run"
  fs.mkdir(runtime, { mode = "0700" })
  if ROOT then must(t.run { "chown", "postgres", runtime }) end
  must(db(var, { "start" }, { env = { XDG_RUNTIME_DIR = runtime } }))
  t.match(fs.read(var .. "/pg/socket-dir"), "^" .. runtime:gsub("%p", "%%%0") .. "/garun%-")
  t.equal(query(var, "select 1"), "1", "found without XDG_RUNTIME_DIR, too")
end)

t.test("a directory for the socket that somebody else has made is refused", function()
  if not ROOT then t.skip("needs root to be somebody else") end
  local var <const> = t.tmpdir() .. "/" .. string.rep("long-directory-name/", 6) .. "var"
  t.after(function() db(var, { "destroy", "--yes" }) end)
  must(db(var, { "start" }))
  local dir <const> = fs.read(var .. "/pg/socket-dir")
  must(db(var, { "stop" }))
  fs.remove(dir, { recursive = true })
  fs.mkdir(dir)                                    -- root's now, with mode 0755
  t.after(function() fs.remove(dir, { recursive = true, missing_ok = true }) end)
  local refused <const> = db(var, { "start" })
  t.equal(refused.status, 1)
  t.match(refused.stderr, "somebody else has made it")
end)

t.test("a cluster of another major version is named, with what to do", function()
  local var <const> = new_var()
  query(var, "select 1")
  must(db(var, { "stop" }))
  local uid <const> = ROOT and fs.stat(var .. "/pg").uid or nil
  must(t.run { "/bin/sh", "-c", 'echo 9 > "$1"', "sh", var .. "/pg/data/PG_VERSION", uid = uid })
  local failed <const> = db(var, { "start" })
  t.equal(failed.status, 1)
  t.match(failed.stderr, "was made by PostgreSQL 9, but this machine has only %d+")
  t.match(failed.stderr, "install postgresql%-9")
end)

t.test("an ordinary user has a cluster of their own, and no other user's", function()
  if not ROOT then t.skip("needs root to become other users") end
  local nobody <const> = proc.user "nobody" or t.skip("there is no user nobody")
  local dir <const> = t.tmpdir()
  must(t.run { "chown", tostring(nobody.uid), dir })
  local var <const>, as_nobody <const> = dir .. "/var", { uid = nobody.uid, gid = nobody.gid }
  t.after(function() db(var, { "destroy", "--yes" }, as_nobody) end)
  must(db(var, { "start" }, as_nobody), "start as nobody")
  t.equal(fs.stat(var .. "/pg/data").uid, nobody.uid)
  t.equal(must(db(var, { "psql", "-XqAtc", "select current_user" }, as_nobody)), "garun\n")
  t.equal(query(var, "select current_user"), "garun", "root reaches it too")
  local postgres <const> = proc.user "postgres"
  if postgres then
    local refused <const> = db(var, { "start" }, { uid = postgres.uid, gid = postgres.gid })
    t.equal(refused.status, 1)
    t.match(refused.stderr, "belongs to user nobody")
  end
  must(db(var, { "stop" }), "root stops it")
  must(db(var, { "start" }), "root starts it")
  t.equal(fs.stat(var .. "/pg/data").uid, nobody.uid, "it stays nobody's")
end)

t.test("a var directory out of the server's reach sends root's cluster to /var/lib/garun, and says so", function()
  if not ROOT then t.skip("needs root") end
  local home <const> = t.tmpdir()
  fs.chmod(home, "0700")
  local var <const> = home .. "/project/var"
  t.after(function() db(var, { "destroy", "--yes" }) end)
  local out <const> = must(db(var, { "start" }))
  t.match(out, "cannot reach .*/var/lib/garun/project%-%x+/pg")
  local base <const> = fs.read(var .. "/pg.elsewhere")
  t.ok(fs.exists(base .. "/data/PG_VERSION"))
  t.equal(query(var, "select 1"), "1")
  must(db(var, { "destroy", "--yes" }))
  t.ok(not fs.exists(fs.dirname(base)))
  t.ok(not fs.exists(var .. "/pg.elsewhere"))
end)

t.test("POSTGRES_DATABASE names the database in the private server, which is made when it is missing", function()
  local var <const> = new_var()
  local more <const> = { env = { POSTGRES_DATABASE = 'odd "name"' } }
  for _ = 1, 2 do
    t.equal(must(db(var, { "psql", "-XqAtc", "select current_database()" }, more)), 'odd "name"\n')
  end
end)

t.test("wrong commands and operands are usage errors that help", function()
  local var <const> = t.tmpdir() .. "/var"
  local function refused(pattern, words, more)
    local r <const> = db(var, words, more)
    t.equal(r.status, 2, table.concat(words, " "))
    t.match(r.stderr, pattern)
  end
  refused("did you mean 'start'", { "strat" })
  refused("which command", {})
  refused("takes no operand", { "start", "now" })
  refused("POSTGRES_HOST is db%.example", { "start" }, { env = { POSTGRES_HOST = "db.example" } })
  t.ok(not fs.exists(var))
end)
