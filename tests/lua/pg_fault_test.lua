-- What goes wrong: servers that are gone, silent or refusing; terminated backends in every state; busy, cancelled.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"
local proc <const> = require "garun.proc"
local time <const> = require "garun.time"

local function terminate(at, pid)
  local admin <close> = pg.connect(at)
  t.equal(admin:value("select pg_terminate_backend($1, 5000)", pid), true)
end

t.test("pg_terminate_backend of an idle connection: the next call raises 57P01, then it is closed", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  terminate(at, db:backend_pid())
  t.raises({ kind = "pg", code = "57P01", retryable = true }, db.query, db, "select 1")
  t.equal(db:status(), "closed")
  t.raises({ code = "closed" }, db.query, db, "select 1")
  local second <close> = pg.connect(at)
  terminate(at, second:backend_pid())
  t.equal(second:alive(), false)
end)

t.test("pg_terminate_backend in a query, a stream, a COPY and a transaction raises 57P01", function()
  local at <const> = t.postgres()
  local function during(fn)
    local db <close> = pg.connect(at)
    local pid <const> = db:backend_pid()
    local killer <const> = task.spawn(function()
      task.sleep(0.2)
      terminate(at, pid)
    end)
    t.raises({ kind = "pg", code = "57P01", retryable = true }, fn, db)
    killer:join()
    t.equal(db:status(), "closed")
    t.raises({ code = "closed" }, db.query, db, "select 1")
  end
  during(function(db) db:query("select pg_sleep(30)") end)
  during(function(db) for _ in db:rows("select g, pg_sleep(0.01) from generate_series(1, 3000) g") do end end)
  during(function(db)
    db:exec "create temp table k (i int)"
    local c <close> = db:copy_in("k", { "i" })
    while true do
      c:row(1)
      c:write("")
      task.sleep(0.01)
    end
  end)
  during(function(db)
    for _ in db:copy_out("select g, pg_sleep(0.01) from generate_series(1, 3000) g"):source() do end
  end)
  during(function(db)
    db:transaction(function()
      db:exec "select 1"
      db:exec "select pg_sleep(30)"
    end)
  end)
  during(function(db) db:pipeline(function(p) p:query("select pg_sleep(30)") p:query("select 1") end) end)
  during(function(db)
    db:listen("x")
    db:notification()
  end)
end)

t.test("a call's timeout cancels the statement and leaves the connection usable", function()
  local db <close> = pg.connect(t.postgres())
  local e <const> = t.raises({ kind = "pg", code = "timeout" }, db.query, db, { "select pg_sleep(30)", timeout = 0.2 })
  t.match(e.message, "longer than its timeout of 0.2 s")
  for i = 1, 20 do t.equal(db:value("select $1::int", i), i) end    -- no late cancel request hits these
  db:defaults { timeout = 0.2 }
  t.raises({ code = "timeout" }, db.exec, db, "select pg_sleep(30)")
  t.equal(db:value { "select 1 from pg_sleep(0.4)", timeout = 0 }, 1)
end)

t.test("a cancelled task closes the connection it waited on, at once, and ends the statement", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  local pid <const> = db:backend_pid()
  t.raises({ kind = "timeout" }, task.timeout, 0.1, db.query, db, "select pg_sleep(60)")
  t.equal(db:status(), "closed")
  t.raises("a call on it was cut off", db.query, db, "select 1")
  local admin <close> = pg.connect(at)
  for _ = 1, 50 do
    if admin:value("select count(*) from pg_stat_activity where pid = $1", pid) == 0 then return end
    task.sleep(0.1)
  end
  t.ok(false, "the backend is still there")
end)

t.test("a second task gets busy, may cancel the statement, and a close by it wakes the first", function()
  local db <close> = pg.connect(t.postgres())
  local first <const> = task.spawn(function() return pcall(db.query, db, "select pg_sleep(30)") end)
  task.sleep(0.1)
  local e <const> = t.raises({ kind = "pg", code = "busy" }, db.query, db, "select 1")
  t.match(e.message, "connection is busy: another task's statement runs on it")
  t.equal(db:status(), "busy")
  t.equal(db:cancel(), true)
  local ok <const>, err <const> = first:join()
  t.equal({ ok, err.code }, { false, "57014" })
  t.equal(db:cancel(), false)
  t.equal(db:value("select 1"), 1)
  local second <const> = task.spawn(function() return pcall(db.query, db, "select pg_sleep(30)") end)
  task.sleep(0.1)
  db:close()
  local ok2 <const>, err2 <const> = second:join()
  t.equal({ ok2, err2.code }, { false, "closed" })
  t.equal(db:status(), "closed")
end)

-- Between an event (or a cancellation) and the moment its task runs again the connection still belongs to that call.
local held <const> = {
  query = function(db) db:value "select pg_sleep(0.02)" end,
  rows = function(db) for _ in db:rows "select pg_sleep(0.02)" do task.sleep(0) end end,
  copy_in = function(db)
    local c <close> = db:copy_in "pg_temp.held"
    for _ = 1, 3 do c:write(("1\n"):rep(1000000)) end
    c:finish()
  end,
  copy_out = function(db)
    for _ in db:copy_out("select pg_sleep(0.01) from generate_series(1, 2)"):source() do task.sleep(0) end
  end,
  notification = function(db) db:notification(0.02) end,
  pipeline = function(db) db:pipeline(function(p) p:query "select pg_sleep(0.02)" end) end,
}

for name, call in pairs(held) do
  t.test("a connection is closed while " .. name .. " of another task has been woken or cancelled, but has not run yet",
    function()
      local at <const> = t.postgres()
      for round = 1, 12 do
        local db <const> = pg.connect(at)
        db:exec "create temp table held (i int)"
        local other <const> = task.spawn(function() return pcall(call, db) end)
        task.sleep(0.001 * round)
        if round % 2 == 0 then
          other:cancel()
        else
          local until_ <const> = time.monotonic() + 0.03
          while time.monotonic() < until_ do end        -- its event is there, and nobody has looked
          task.sleep(0)
        end
        db:close()
        local ok <const>, err <const> = pcall(other.join, other)
        t.ok(ok or err.kind == "cancelled", tostring(err))
        t.equal(db:status(), "closed")
      end
    end)
end

t.test("waiting is impossible where Lua cannot yield, and says so", function()
  local db <close> = pg.connect(t.postgres())
  t.raises("cannot wait here", table.sort, { 3, 2, 1 }, function(a, b) return db:value("select $1::int < $2", a, b) end)
  t.equal(db:value("select 1"), 1)
end)

t.test("no server on a socket: the error says what failed and what to do, without the password", function()
  local nowhere <const> = { host = t.tmpdir(), database = "x", user = "y", password = "not-in-any-error" }
  local e <const> = t.raises({ kind = "pg", code = "08001", retryable = true }, pg.connect, nowhere)
  t.match(e.message, "^cannot connect to database \"x\" at .* as user \"y\": No such file or directory")
  t.match(e.hint, "POSTGRES_HOST")
  t.ok(not tostring(e):find("not-in-any-error", 1, true))
end)

t.test("connection refused on TCP, and a name that does not exist", function()
  local e = t.raises({ kind = "pg", code = "08001" }, pg.connect,
    { host = "127.0.0.1", port = 1, database = "x", user = "u" })
  t.match(e.message, ": Connection refused$")
  t.match(e.hint, "check that the server runs")
  e = t.raises({ kind = "pg", code = "08001" }, pg.connect, { host = "no-such-host.invalid", database = "x" })
  t.match(e.message, "cannot look up the database's host \"no%-such%-host.invalid\"")
end)

t.test("a missing database and a wrong password carry the server's SQLSTATE", function()
  local at <const> = t.postgres()
  local e = t.raises({ kind = "pg", code = "3D000", retryable = false }, pg.connect,
    { host = at.host, port = at.port, user = at.user, database = "no_such_database" })
  t.match(e.message, "database \"no_such_database\" does not exist$")
  local admin <close> = pg.connect(at)
  local role <const> = "r_" .. at.database
  admin:script(string.format("create role %s login password 'right'; alter role %s set search_path = pg_catalog",
    role, role))
  t.after(function()
    local again <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = "postgres" }
    again:exec("drop role " .. role)
  end)
  local ok <const>, db = pcall(pg.connect, { host = at.host, port = at.port, user = role, database = at.database,
    password = "wrong-password" })
  if ok then
    db:close()
    t.skip("this server trusts every role")
  end
  t.equal({ db.code, db.retryable }, { "28P01", false })
  t.match(db.hint, "POSTGRES_PASSWORD")
  t.ok(not tostring(db):find("wrong-password", 1, true))
  local right <close> = pg.connect { host = at.host, port = at.port, user = role, database = at.database,
    password = "right" }
  t.equal(right:value("select current_user"), role)
end)

-- A server in Python that accepts and then does what `body` says, or all that `program` says; gives its port.
local function fake_server(body, program)
  if t.run { "python3", "-c", "" }.status ~= 0 then t.skip("no python3 here") end
  local path <const> = t.tmpdir() .. "/port"
  local p <const> = proc.spawn { "python3", "-c", string.format([[
import socket, time, os
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(8)
open(%q + ".new", "w").write(str(s.getsockname()[1]))
os.rename(%q + ".new", %q)
%s
while True:
    c, _ = s.accept()
    %s
]], path, path, path, program or "", body), stdin = "null", stdout = "null", stderr = "null" }
  t.after(function() p:kill("SIGKILL") p:wait() end)
  for _ = 1, 100 do
    local file <close> = io.open(path)
    if file then return tonumber(file:read("a")) end
    task.sleep(0.05)
  end
  t.ok(false, "the fake server did not start")
end

t.test("a server that accepts and never answers runs into connect_timeout", function()
  local port <const> = fake_server("keep = c; time.sleep(60)")
  local e <const> = t.raises({ kind = "pg", code = "timeout", retryable = true }, pg.connect,
    { host = "127.0.0.1", port = port, database = "x", user = "u", connect_timeout = 0.3 })
  t.match(e.message, "no answer within connect_timeout = 0.3 s")
  t.raises({ kind = "timeout" }, task.timeout, 0.2, pg.connect,
    { host = "127.0.0.1", port = port, database = "x", user = "u", connect_timeout = 30 })
end)

t.test("a server that hangs up while connecting raises a clear error", function()
  local port <const> = fake_server("c.close()")
  local e <const> = t.raises({ kind = "pg", code = "08001", retryable = true }, pg.connect,
    { host = "127.0.0.1", port = port, database = "x", user = "u", sslmode = "disable" })
  t.match(e.message, "cannot connect to database \"x\" at 127.0.0.1:%d+ as user \"u\": .*")
end)

t.test("something that is no PostgreSQL raises a clear error", function()
  local port <const> = fake_server("c.recv(100); c.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'); c.close()")
  t.raises({ kind = "pg", code = "08001" }, pg.connect,
    { host = "127.0.0.1", port = port, database = "x", user = "u", sslmode = "disable", connect_timeout = 3 })
end)

t.test("another host must prove its name: a server without TLS is refused by default", function()
  local port <const> = fake_server("c.recv(8); c.sendall(b'N'); time.sleep(0.2); c.close()")
  local name <const> = t.run { "hostname" }.stdout:gsub("%s", "")
  local ok <const>, err <const> = pcall(pg.connect, { host = name, hostaddr = "127.0.0.1", port = port, database = "x",
    user = "u", connect_timeout = 3 })
  t.ok(not ok)
  t.match(err.message, "server does not support SSL")
  t.match(err.hint, "sslmode = \"disable\"")
end)

t.test("of several hosts the first that answers is taken", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect { host = t.tmpdir() .. "," .. at.host, port = at.port, user = at.user,
    database = at.database }
  t.equal(db:value("select 1"), 1)
end)

t.test("a backend that does not react to a cancel request loses its connection after the grace", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  db:script [[create function deaf() returns int language plpgsql as $$
    begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end $$]]
  local pid <const> = db:backend_pid()
  local e <const> = t.raises({ kind = "pg", code = "timeout", retryable = true }, db.query, db,
    { "select deaf()", timeout = 0.2 })
  t.match(e.message, "the connection was closed")
  t.equal(db:status(), "closed")
  terminate(at, pid)
end)

t.test("a peer that falls silent costs timeout and grace, and does not hold up the end of the process", function()
  local at <const> = t.postgres()
  local dir <const> = t.tmpdir()
  local relay <const> = string.format([[
target, frozen = %q, %q
def pump(a, b):
    while True:
        data = a.recv(65536)
        while os.path.exists(frozen): time.sleep(0.1)
        if not data: break
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def relay(c):
    while os.path.exists(frozen): time.sleep(0.1)
    u = socket.socket(socket.AF_UNIX)
    u.connect(target)
    threading.Thread(target=pump, args=(c, u), daemon=True).start()
    threading.Thread(target=pump, args=(u, c), daemon=True).start()
import threading
while True:
    threading.Thread(target=relay, args=(s.accept()[0],), daemon=True).start()
]], at.host .. "/.s.PGSQL." .. tostring(at.port or 5432), dir .. "/frozen")
  local port <const> = fake_server("", relay)
  local script <const> = dir .. "/silent.lua"
  local file <close> = io.open(script, "w")
  file:write(string.format([==[
    local pg <const> = require "garun.pg"
    local db <close> = pg.connect { host = "127.0.0.1", port = %d, user = %q, database = %q, sslmode = "disable" }
    print(db:value "select 1")
    io.open(%q, "w"):close()
    local ok <const>, err <const> = pcall(db.query, db, { "select 2", timeout = 0.2 })
    print(ok, err.kind, err.code, err.retryable, db:status())
  ]==], port, at.user, at.database, dir .. "/frozen"))
  file:close()
  local started <const> = os.time()
  local r <const> = t.run { "garun", script, timeout = 30 }
  if r.stderr:find("peer authentication", 1, true) then t.skip("this server does not take connections of this user") end
  t.equal({ r.status, r.stdout }, { 0, "1\nfalse\tpg\ttimeout\ttrue\tclosed\n" })
  t.ok(os.time() - started < 15)
end)

t.test("a server that stops raises a retryable error in a waiting query", function()
  local dir <const> = t.tmpdir()
  local env <const> = { GARUN_VAR = dir, PATH = os.getenv("PATH"), ASAN_OPTIONS = os.getenv("ASAN_OPTIONS"),
    LSAN_OPTIONS = os.getenv("LSAN_OPTIONS") }
  t.after(function() t.run { "garun", "db", "destroy", "--yes", env = env, clear_env = true } end)
  local url <const> = t.run { "garun", "db", "url", env = env, clear_env = true }
  if url.status ~= 0 then t.skip("no private server here: " .. url.stderr) end
  t.equal(t.run({ "garun", "db", "start", env = env, clear_env = true }).status, 0)
  local db <close> = pg.connect((t.run { "garun", "db", "url", env = env, clear_env = true }.stdout:gsub("%s", "")))
  local waiting <const> = task.spawn(function() return pcall(db.query, db, "select pg_sleep(60)") end)
  task.sleep(0.2)
  t.equal(t.run({ "garun", "db", "stop", env = env, clear_env = true }).status, 0)
  local ok <const>, err <const> = waiting:join()
  t.equal({ ok, err.kind, err.code, err.retryable }, { false, "pg", "57P01", true })
end)
