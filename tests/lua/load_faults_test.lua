-- What is killed whenever: every day is wholly old or wholly new, and the next run converges without any cleaning up.

local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local host <const> = require "garun.core.host"
local pg <const> = require "garun.pg"
local proc <const> = require "garun.proc"
local s <const> = require "support"
local t <const> = require "garun.test"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local days <const> = { "2024-01-01", "2024-01-02", "2024-01-03" }

-- Two exports of the same days; the second one has other events.
local old_dir, new_dir
local function exports()
  if not old_dir then
    local function keep(seed)
      local dir <const> = s.events { days = 3, events = 700, seed = seed, dirt = 5 }
      local kept <const> = os.tmpname() .. ".d"
      t.equal(t.run({ "cp", "-r", dir, kept }).status, 0)
      return kept
    end
    old_dir, new_dir = keep(1), keep(2)
  end
  return old_dir .. "/events_*.ndjson", new_dir .. "/events_*.ndjson"
end

local function fingerprints(db)
  local conn <close> = db.connect()
  local out <const> = {}
  for _, day in ipairs(days) do out[day] = s.fingerprint(conn, day) end
  return out
end

local new_state
local function new_fingerprints()
  if not new_state then
    local db <const> = s.tenant()
    local _, new <const> = exports()
    db.ingest { "--source", new }
    new_state = fingerprints(db)
  end
  return new_state
end

-- Backends end a moment after their client was killed.
local function wait_for_no_backends(db)
  local admin <close> = pg.connect { host = db.at.host, port = db.at.port, user = db.at.user, database = "postgres" }
  for _ = 1, 500 do
    if admin:value("select count(*) from pg_stat_activity where datname = $1", db.at.database) == 0 then return end
    task.sleep(0.02)
  end
  error "backends of a killed loader do not end"
end

local function children(pid)
  local file <close> = io.open(string.format("/proc/%d/task/%d/children", pid, pid))
  local list <const> = {}
  for child in (file and file:read("a") or ""):gmatch("%d+") do
    local name <close> = io.open("/proc/" .. child .. "/comm")
    if name and name:read("l") == "garun-worker" then list[#list + 1] = math.tointeger(tonumber(child)) end
  end
  return list
end

local function start(db, args, env)
  local cmd <const> = { host.exe(), "--env", "/dev/null", "ingest.lua", table.unpack(args) }
  cmd.env, cmd.stdout, cmd.stderr = {}, "null", "pipe"
  for k, v in pairs(db.env) do cmd.env[k] = v end
  for k, v in pairs(env or {}) do cmd.env[k] = v end
  return proc.spawn(cmd)
end

local points <const> = { "after_lock", "after_delete", "after_delete:2", "copying", "copying:2", "after_copy", "before_ledger",
  "before_fence", "before_commit", "before_commit:2", "after_commit", "before_complete" }

for _, point in ipairs(points) do
  t.test("kill -9 of the host at " .. point .. ": each day old or new, then the next run converges", function()
    local db <const> = s.tenant()
    local old <const>, new <const> = exports()
    db.ingest { "--source", old }
    local before <const>, after <const> = fingerprints(db), new_fingerprints()
    local killed <const> = start(db, { "--source", new, "--jobs", "2" }, { GARUN_TEST_FAULT = point })
    t.equal(killed:wait(60).signal, "SIGKILL", "the fault point was reached")
    wait_for_no_backends(db)
    local now <const> = fingerprints(db)
    for _, day in ipairs(days) do
      t.ok(now[day] == before[day] or now[day] == after[day], day .. " is a mixture: " .. now[day])
    end
    db.ingest { "--source", new }
    t.equal(fingerprints(db), after)
    t.equal(db.value "select count(*) from processing_jobs where status = 'processing'", 0, "orphaned jobs")
    t.equal(db.value "select count(*) from processing_jobs where error_message like '%ended without a word%'", 1)
    t.equal(db.value "select count(*) from garun.days d join garun.loads l using (load_id) where d.total = l.rows_loaded", 3)
  end)
end

t.test("the workers of a killed host are gone with it", function()
  local db <const> = s.tenant()
  local fifo <const> = t.tmpdir() .. "/pipe"
  t.equal(t.run({ "mkfifo", fifo }).status, 0)
  local feeder <close> = proc.spawn { "sh", "-c", 'exec 3>"$0"; cat "$1" >&3; sleep 60', fifo, fs.glob((exports()))[1] }
  local p <close> = start(db, { "--source", fifo })
  local workers = {}
  for _ = 1, 500 do
    workers = children(p.pid)
    if #workers > 0 then break end
    task.sleep(0.01)
  end
  t.equal(#workers, 1)
  p:kill("KILL")
  p:wait(10)
  for _ = 1, 200 do
    if not proc.exists(workers[1]) then break end
    task.sleep(0.01)
  end
  t.equal(proc.exists(workers[1]), false)
  t.ok(feeder)
end)

-- Holds a load up in the middle of its first COPY: its source is a pipe that does not end yet.
local function held(db, name)
  local fifo <const> = t.tmpdir() .. "/" .. name
  t.equal(t.run({ "mkfifo", fifo }).status, 0)
  local p <const> = start(db, { "--source", fifo })
  local pipe
  for _ = 1, 1000 do
    local ok <const>, file <const> = pcall(fs.open, fifo, "w")     -- refused until somebody reads
    if ok then
      pipe = file
      break
    end
    task.sleep(0.01)
  end
  pipe:write(fs.read(fs.glob(select(2, exports()))[1]))
  for _ = 1, 1000 do
    if #children(p.pid) > 0 and db.value("select count(*) from pg_locks where locktype = 'advisory'") > 0 then break end
    task.sleep(0.01)
  end
  return p, pipe
end

t.test("while a load runs, its job's row tells progress and the lease is held", function()
  local db <const> = s.tenant()
  local p <close>, pipe = held(db, "p")
  local conn <close> = db.connect()
  local row
  for _ = 1, 500 do
    row = conn:one "select status, progress, records_processed from processing_jobs"
    if row.progress and row.progress.bytes > 0 then break end
    task.sleep(0.02)
  end
  t.equal(row.status, "processing")
  t.ok(row.progress.bytes > 0 and row.progress.seconds >= 0)
  t.equal(conn:value "select lease_until > now() and owner is not null and epoch = 1 from garun.leases", true)
  pipe:close()
  t.equal(p:wait(30).status, 0)
  t.equal(conn:value "select status from processing_jobs", "completed")
  t.equal(conn:value "select owner is null and lease_until is null from garun.leases", true)
end)

t.test("kill -9 of the worker: the load says so, rolls back, and the next run converges", function()
  local db <const> = s.tenant()
  local old <const> = exports()
  db.ingest { "--source", old }
  local before <const> = fingerprints(db)
  local p <close>, pipe = held(db, "w")
  host.kill(children(p.pid)[1], 9)
  local r <const> = p:wait(30)
  t.equal(r.status, 75, "try again later")
  t.match(p:stderr()(), "the worker process %d+ was killed by signal 9")
  pipe:close()
  t.equal(fingerprints(db), before)
  t.equal(db.value "select status from processing_jobs order by created_at desc limit 1", "failed")
  t.equal(db.ingest({ "--source", old }).unchanged, 3)
end)

t.test("a killed worker of files is replaced and the load succeeds", function()
  local db <const> = s.tenant()
  local _, new <const> = exports()
  local p <close> = start(db, { "--source", new, "--jobs", "1" })
  local killed = false
  for _ = 1, 2000 do
    local w <const> = children(p.pid)
    if #w > 0 then
      host.kill(w[1], 9)
      killed = true
      break
    end
    task.sleep(0.001)
  end
  t.equal(killed, true)
  local r <const>, said = p:wait(60), ""
  for chunk in p:stderr() do said = said .. chunk end
  t.equal(r.status, 0, said)
  t.equal(fingerprints(db), new_fingerprints())
end)

t.test("kill -9 of the worker while a COPY is open: rolled back, and tried again by itself", function()
  local db <const> = s.tenant()
  local dir <const> = s.events { days = 1, events = 12000, seed = 3 }
  local twin <const> = s.tenant()
  twin.ingest { "--source", dir .. "/*.ndjson" }
  local p <close> = start(db, { "--source", dir .. "/*.ndjson" })
  local killed = false
  local conn <close> = db.connect()
  local until_ <const> = time.monotonic() + 60
  while not killed and time.monotonic() < until_ do
    if conn:value "select count(*) from pg_stat_progress_copy where bytes_processed > 0" > 0 then
      local w <const> = children(p.pid)
      if #w > 0 then
        host.kill(w[1], 9)
        killed = true
      end
    end
  end
  t.equal(killed, true)
  local said = ""
  for chunk in p:stderr() do said = said .. chunk end
  t.equal(p:wait(60).status, 0, said)
  t.match(said, "was killed by signal 9")
  t.equal(fingerprints(db), fingerprints(twin))
end)

t.test("a killed backend: the error names it, nothing is half done, and a load of files tries again by itself", function()
  local db <const> = s.tenant()
  local p <close>, pipe = held(db, "b")
  t.ok(db.value("select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and granted") > 0)
  pcall(pipe.write, pipe, ("\n"):rep(1 << 20))
  pcall(pipe.close, pipe)
  local r <const> = p:wait(30)
  t.equal(r.status, 75)
  t.match(p:stderr()(), "terminating connection due to administrator command")
  t.equal(db.value "select count(*) from page_view", 0)
end)

t.test("SIGTERM: rolled back, the job says why, exit code 143", function()
  local db <const> = s.tenant()
  local p <close>, pipe = held(db, "t")
  p:kill("TERM")
  t.equal(p:wait(20).status, 143)
  pipe:close()
  wait_for_no_backends(db)
  t.equal(db.value "select count(*) from page_view", 0)
  t.equal(db.value "select status from processing_jobs", "failed")
  t.match(db.value "select error_message from processing_jobs", "SIGTERM")
end)

t.test("two loads of the same days at once leave them once", function()
  local db <const> = s.tenant()
  local _, new <const> = exports()
  local a <close> = start(db, { "--source", new })
  local b <close> = start(db, { "--source", new, "--force" })
  t.equal(a:wait(60).status, 0)
  t.equal(b:wait(60).status, 0)
  t.equal(fingerprints(db), new_fingerprints())
end)

t.test("a load whose job was taken over commits nothing", function()
  local db <const> = s.tenant()
  local _, new <const> = exports()
  local conn <close> = db.connect()
  conn:script [[
    create function bump() returns trigger language plpgsql as $$ begin update garun.leases set epoch = epoch + 1; return new; end $$;
    create trigger taken after insert on garun.loads for each row execute function bump()]]
  local r <const> = db.garun { "ingest.lua", "--source", new }
  t.equal(r.status, 1)
  t.match(r.stderr, "was taken over by another worker")
  t.equal(conn:value "select count(*) from page_view", 0)
  t.equal(conn:value "select count(*) from garun.loads", 0)
end)

t.test("bad input: one clear line, a non-zero exit, nothing half done", function()
  local db <const> = s.tenant()
  local good <const> = s.event() .. "\n"
  local function ingest(source, env) return db.garun { "ingest.lua", "--source", source, env = env } end
  local function fails(r, pattern)
    t.ok(r.status ~= 0 and r.status ~= nil, pattern)
    t.match(r.stderr, pattern)
    t.equal(db.value "select count(*) from page_view", 0, pattern)
  end
  fails(ingest "/nowhere/events.ndjson", "/nowhere/events.ndjson: no such file")
  fails(ingest "/nowhere/*.ndjson", "no file matches /nowhere/")
  fails(ingest "/tmp", "is a directory")
  local whole <const> = gzip.compress((good):rep(1000))
  fails(ingest(s.file(whole:sub(1, #whole - 20), "events.ndjson.gz")), "events.ndjson.gz.*truncated")
  fails(ingest(s.file(whole:sub(1, #whole // 2) .. "\0\0" .. whole:sub(#whole // 2), "events.ndjson.gz")), "events.ndjson.gz")
  fails(ingest(s.file(good), { POSTGRES_HOST = "/nowhere" }), "/nowhere")
  fails(ingest(s.file(good), { POSTGRES_HOST = "127.0.0.1", POSTGRES_PORT = "1" }), "127.0.0.1.*[Cc]onnection refused")
  fails(ingest(s.file(good), { POSTGRES_USER = "stranger", POSTGRES_PASSWORD = "hunter22" }), "password authentication failed")
  fails(ingest(s.file(good), { POSTGRES_DATABASE = "no_such_db" }), 'database "no_such_db" does not exist')
  local conn <close> = db.connect()
  conn:exec "alter table page_view drop column param_page_referrer"
  fails(ingest(s.file(good)), "table page_view has no column param_page_referrer")
  t.equal(conn:value "select count(*) from processing_jobs where status = 'processing'", 0)
end)

t.test("passwords are in no message", function()
  local db <const> = s.tenant()
  local r <const> = db.garun { "ingest.lua", "--source", s.file { s.event() },
    env = { POSTGRES_USER = "stranger", POSTGRES_PASSWORD = "hunter22", GARUN_LOG_LEVEL = "debug" } }
  t.ok(r.status ~= 0)
  t.equal((r.stdout .. r.stderr):find("hunter22", 1, true), nil)
end)

t.test("a full disk: the server's error is told and the day stays as it was", function()
  if proc.uid() ~= 0 then t.skip "only root may mount a small tmpfs" end
  local db <const> = s.tenant()
  local old <const>, new <const> = exports()
  db.ingest { "--source", old }
  local before <const> = fingerprints(db)
  local dir <const> = t.tmpdir()
  if t.run({ "mount", "-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs", dir }).status ~= 0 then t.skip "no mounts here" end
  t.after(function() t.run { "umount", "-l", dir } end)
  local conn <close> = db.connect()
  local owner <const> = fs.stat(db.at.host).uid
  fs.mkdir(dir .. "/space")
  t.equal(t.run({ "chown", tostring(owner), dir .. "/space" }).status, 0)
  t.equal(t.run({ "chmod", "711", dir }).status, 0)
  local name <const> = "small_" .. proc.pid()
  conn:exec("create tablespace " .. name .. " location '" .. dir .. "/space'")
  t.after(function()
    local admin <close> = pg.connect { host = db.at.host, port = db.at.port, user = db.at.user, database = db.at.database }
    admin:exec "alter table page_view set tablespace pg_default"
    admin:exec("drop tablespace " .. name)
  end)
  conn:exec("create table filler tablespace " .. name .. " as select repeat('x', 900) as x from generate_series(1, 100)")
  local moved <const> = pcall(conn.exec, conn, "alter table page_view set tablespace " .. name)
  if not moved then t.skip "the old rows do not fit" end
  local r <const> = db.garun { "ingest.lua", "--source", new, "--jobs", "1" }
  t.ok(r.status ~= 0)
  t.match(r.stderr, "No space left on device")
  local now <const>, after <const> = fingerprints(db), new_fingerprints()
  for _, day in ipairs(days) do t.ok(now[day] == before[day] or now[day] == after[day], day .. " is a mixture") end
  conn:exec "drop table filler"
end)

t.test("the exports of this file are removed", function()
  for _, dir in ipairs { old_dir, new_dir } do
    fs.remove(dir, { recursive = true })
    os.remove((dir:gsub("%.d$", "")))
  end
end)
