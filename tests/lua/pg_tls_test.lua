-- TLS: what is verified by default, and that COPY, streams and large values work through it. A server of this file's
-- own, for it must listen on TCP (127.0.0.1) with a certificate.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local fs <const> = require "garun.fs"
local task <const> = require "garun.task"

local server

-- Makes it listen with TLS; gives its settings.
local function configure(db, dir)
  local cert <const>, url <const> = dir .. "/server.crt", db("url")
  do
    local admin <close> = pg.connect(url)
    local data <const> = admin:value("show data_directory")
    admin:exec(string.format("copy (select 1) to program %s", pg.literal(string.format(
      "cat >/dev/null; cd '%s' && openssl req -new -x509 -nodes -days 2 -subj /CN=localhost -addext "
      .. "subjectAltName=DNS:localhost -newkey rsa:2048 -keyout server.key -out server.crt 2>/dev/null "
      .. "&& chmod 600 server.key "
      .. "&& echo 'host all all 127.0.0.1/32 scram-sha-256' > tls_hba.conf && cat pg_hba.conf >> tls_hba.conf", data))))
    local file <close> = io.open(cert, "w")
    file:write(admin:value("select pg_read_file('server.crt')"))
    admin:exec "alter system set ssl = on"
    admin:exec "alter system set listen_addresses = '127.0.0.1'"
    admin:exec(string.format("alter system set hba_file = '%s/tls_hba.conf'", data))
    admin:exec "create role tls_user superuser login password 'tls-password'"
  end
  db("stop")
  db("start")
  local admin <close> = pg.connect(url)
  if admin:value("show listen_addresses") ~= "127.0.0.1" then t.skip("the private server cannot listen on TCP") end
  return { cert = cert, url = url }
end

-- Starts it at the first call.
local function start()
  if server then return server end
  if t.run { "sh", "-c", "command -v openssl" }.status ~= 0 then t.skip("no openssl command here") end
  local dir <const> = os.tmpname()
  os.remove(dir)
  fs.mkdir(dir)
  local env <const> = { GARUN_VAR = dir, PATH = os.getenv("PATH"), ASAN_OPTIONS = os.getenv("ASAN_OPTIONS"),
    LSAN_OPTIONS = os.getenv("LSAN_OPTIONS") }
  local function db(...)
    local cmd <const> = { "garun", "db", env = env, clear_env = true }
    table.move({ ... }, 1, select("#", ...), 3, cmd)
    local r <const> = t.run(cmd)
    if r.status ~= 0 then t.skip("no server of its own here: " .. r.stderr) end
    return (r.stdout:gsub("%s+$", ""))
  end
  local function stop()
    t.run { "garun", "db", "destroy", "--yes", env = env, clear_env = true }
    fs.remove(dir, { recursive = true })
  end
  local ok <const>, made <const> = pcall(function()
    db("start")
    return configure(db, dir)
  end)
  if not ok then
    stop()
    error(made, 0)
  end
  made.stop = stop
  server = made
  return server
end

local function settings(more)
  local s <const> = start()
  local admin <close> = pg.connect(s.url)
  local at <const> = { host = "localhost", hostaddr = "127.0.0.1", port = admin:value("show port"),
    user = "tls_user", password = "tls-password", database = "postgres", connect_timeout = 5 }
  for k, v in pairs(more or {}) do at[k] = v end
  return at, s
end

t.test("TLS is used when asked for, and the certificate is checked against CA and name", function()
  local at <const>, s <const> = settings { sslmode = "verify-full" }
  local e = t.raises({ kind = "pg", code = "08001" }, pg.connect, at)     -- the system's CAs do not know it
  t.match(e.message, "certificate")
  t.match(e.hint, "sslrootcert")
  at.sslrootcert = s.cert
  do
    local db <close> = pg.connect(at)
    t.match(db:tls(), "^TLSv1")
  end
  at.host = "other.example"
  e = t.raises({ kind = "pg", code = "08001" }, pg.connect, at)
  t.match(e.message, "other.example")
end)

t.test("a host that is not this one is verified by default, loopback is not encrypted", function()
  local at <const>, s <const> = settings { host = "other.example" }
  t.raises({ code = "08001" }, pg.connect, at)
  local plain <close> = pg.connect(settings())
  t.equal(plain:tls(), nil)
  at.host, at.sslmode, at.sslrootcert = "localhost", "verify-full", s.cert
  local db <close> = pg.connect(at)
  t.equal(db:value("select ssl from pg_stat_ssl where pid = pg_backend_pid()"), true)
end)

t.test("the wrong password's SQLSTATE comes through TLS too", function()
  t.raises({ code = "28P01" }, pg.connect, (settings { sslmode = "require", password = "wrong" }))
end)

t.test("streams, large values, COPY both ways and early COPY errors work through TLS", function()
  local db <close> = pg.connect((settings { sslmode = "require", timeout = 60 }))
  t.match(db:tls(), "^TLSv1")
  local n = 0
  for row in db:rows("select g as id, repeat('x', g % 30000) as pad from generate_series(1, 5000) g") do
    n = n + row.id
  end
  t.equal(n, 12502500)
  for size = 8000, 33000, 1237 do t.equal(#db:value("select repeat('y', $1::int)", size), size) end
  t.equal(#db:value("select $1::text", ("z"):rep(20 << 20)), 20 << 20)
  db:exec "create temp table c (i int8, s text)"
  do
    local c <close> = db:copy_in("c")
    for i = 1, 50000 do c:row(i, "some text") end
    t.equal(c:finish(), 50000)
  end
  local rows = 0
  for _ in db:copy_out("c"):rows() do rows = rows + 1 end
  t.equal(rows, 50000)
  local sent = 0
  t.raises({ code = "22P02" }, function()
    local c <close> = db:copy_in("c")
    c:write("bad\tx\n")
    local block <const> = ("5\t" .. ("x"):rep(1000) .. "\n"):rep(64)
    for _ = 1, 3000 do
      c:write(block)
      sent = sent + 1
    end
    c:finish()
  end)
  t.ok(sent < 1500, sent .. " blocks of 3000 were sent after the bad row")
  t.equal(db:value("select 1"), 1)
  db:script [[set client_min_messages = notice; create function loud() returns trigger language plpgsql as
    $$ begin raise info 'a notice during COPY'; return new; end $$;
    create trigger loud before insert on c for each row when (new.i % 1000 = 0) execute function loud()]]
  local c <close> = db:copy_in("c")
  for i = 1, 20000 do c:row(i, ("n"):rep(200)) end
  t.equal(c:finish(), 20000)
end)

t.test("a timeout cancels through TLS and a cancelled task ends the backend", function()
  local db <close> = pg.connect((settings { sslmode = "require" }))
  t.raises({ code = "timeout" }, db.query, db, { "select pg_sleep(30)", timeout = 0.2 })
  t.equal(db:value("select 1"), 1)
  t.raises({ kind = "timeout" }, task.timeout, 0.2, db.query, db, "select pg_sleep(30)")
  t.equal(db:status(), "closed")
end)

t.test("the server of this file is taken away", function()
  if not server then t.skip("it was not started") end
  server.stop()
  t.raises({ code = "08001" }, pg.connect, server.url)
end)
