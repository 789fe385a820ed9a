-- pg.connect: settings, the session it sets up, questions about a connection; notifications and notices.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local task <const> = require "garun.task"

t.test("a session is UTF-8, UTC, ISO and named garun whatever the server's defaults are", function()
  local at <const> = t.postgres()
  do
    local admin <close> = pg.connect(at)
    admin:script(string.format([[alter database %s set timezone = 'Asia/Tokyo';
      alter database %s set datestyle = 'German'; alter database %s set intervalstyle = 'iso_8601';
      alter database %s set bytea_output = 'escape'; alter database %s set extra_float_digits = 0;
      alter database %s set standard_conforming_strings = off]], table.unpack { at.database, at.database, at.database,
      at.database, at.database, at.database }))
  end
  local db <close> = pg.connect(at)
  for name, want in pairs { client_encoding = "UTF8", TimeZone = "UTC", DateStyle = "ISO, YMD",
    IntervalStyle = "postgres", application_name = "garun", bytea_output = "hex",
    standard_conforming_strings = "on" } do
    t.equal(db:value("select current_setting($1)", name), want, name)
  end
  t.equal(db:value("select 0.1::float8 + 0.2"), 0.1 + 0.2)
  t.equal(db:parameter("TimeZone"), "UTC")
  if db:server_version() >= 140000 then
    t.equal(db:value("select current_setting('client_connection_check_interval')"), "5s")
  end
end)

t.test("settings reach the session", function()
  local at <const> = t.postgres()
  at.statement_timeout, at.lock_timeout, at.search_path = 2.5, 0.25, { "pg_catalog", 'odd"name' }
  at.time_zone, at.application_name, at.read_only = "Europe/Berlin", "loader", true
  at.settings = { work_mem = "64MB" }
  local db <close> = pg.connect(at)
  for name, want in pairs { statement_timeout = "2500ms", lock_timeout = "250ms", TimeZone = "Europe/Berlin",
    application_name = "loader", work_mem = "64MB", search_path = '"pg_catalog", "odd""name"' } do
    t.equal(db:value("select current_setting($1)", name), want, name)
  end
  t.raises({ code = "25006" }, db.exec, db, "create table x (i int)")
end)

t.test("a setting the server refuses fails the connect and names it", function()
  local at <const> = t.postgres()
  at.settings = { no_such_setting = "1" }
  t.raises("no_such_setting", pg.connect, at)
end)

t.test("connection strings of both kinds, and what is wrong with others", function()
  local at <const> = t.postgres()
  local a <close> = pg.connect(string.format("host=%s port=%s user=%s dbname=%s application_name='my app'", at.host,
    at.port or 5432, at.user, at.database))
  t.equal(a:value("select current_setting('application_name')"), "my app")
  local host <const> = at.host:gsub("/", "%%2F")
  local url <const> = string.format("postgresql://%s@%s:%s/%s", at.user, host, at.port or 5432, at.database)
  local b <close> = pg.connect { dsn = url, timeout = 5 }
  t.equal(b:database(), at.database)
  t.equal(b:user(), at.user)
  local e <const> = t.raises({ kind = "usage" }, pg.connect, "host=x password=geheim oops")
  t.ok(not tostring(e):find("geheim", 1, true))
  t.raises("expects a connection string or a table", pg.connect, 5)
  t.raises("databse.*database", pg.connect, { databse = "x" })
  t.raises("connect_timeout", pg.connect, { host = "/tmp", connect_timeout = "5" })
end)

t.test("a connection answers questions and cannot be forged", function()
  local at <const> = t.postgres()
  local db <const> = pg.connect(at)
  t.match(tostring(db), '^pg%.conn%(database "' .. at.database .. '" at .*, idle%)$')
  t.equal(getmetatable(db), false)
  t.equal(db:status(), "idle")
  t.equal(db:in_transaction(), false)
  t.equal(db:transaction_status(), "idle")
  t.equal(db:alive(), true)
  t.equal(db:tls(), nil)
  t.equal(db:backend_pid(), db:value("select pg_backend_pid()"))
  t.ok(db:server_version() >= 140000)
  db:close()
  db:close()
  t.equal(db:status(), "closed")
  t.equal(tostring(db), "pg.conn(closed)")
  t.raises({ kind = "pg", code = "closed" }, db.query, db, "select 1")
  t.raises("garun.pg.conn expected", db.query, {}, "select 1")
  t.raises("garun.pg.conn expected", db.query, "select 1")
end)

t.test("notifications arrive in order, with a timeout, and a cancelled wait leaves the connection usable", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  local other <close> = pg.connect(at)
  db:listen("Odd Channel")
  other:notify("Odd Channel", "one")
  other:notify("Odd Channel")
  local got <const> = {}
  for n in db:notifications(0.2) do got[#got + 1] = { n.channel, n.payload, n.pid } end
  local pid <const> = other:backend_pid()
  t.equal(got, { { "Odd Channel", "one", pid }, { "Odd Channel", "", pid } })
  t.raises({ kind = "timeout" }, task.timeout, 0.1, db.notification, db)
  t.equal(db:value("select 1"), 1)
  local sender <const> = task.spawn(function()
    task.sleep(0.1)
    other:notify("Odd Channel", "late")
  end)
  t.equal(db:notification(5).payload, "late")
  sender:join()
  other:notify("Odd Channel", "during a query")
  t.equal(db:value("select pg_sleep(0.1)::text"), "")
  t.equal(db:notification(0).payload, "during a query")
  db:unlisten()
  other:notify("Odd Channel", "unheard")
  t.equal(db:notification(0.1), nil)
  t.raises({ code = "25001" }, db.transaction, db, function() db:notification(0) end)
end)

t.test("notices go to the log at their level, secrets and control characters taken out", function()
  local at <const> = t.postgres()
  local script <const> = t.tmpdir() .. "/notice.lua"
  local file <const> = io.open(script, "w")
  file:write(string.format([==[
    local pg <const> = require "garun.pg"
    local db <close> = pg.connect { host = %q, port = %s, user = %q, database = %q, password = "hidden-word" }
    db:script [[do $$ begin raise notice 'seen hidden-word'; raise warning E'two\nlines'; raise debug 'unseen'; end $$]]
  ]==], at.host, tostring(at.port or 5432), at.user, at.database))
  file:close()
  local r <const> = t.run { "garun", script }
  t.equal({ r.status, r.stdout }, { 0, "" })
  t.match(r.stderr, 'level=info msg="seen %*%*%*" from=postgres')
  t.match(r.stderr, 'level=warn msg="two\\nlines"')
  t.ok(not r.stderr:find("unseen", 1, true))
end)

t.test("the meta files describe exactly what there is", function()
  local host <const> = require "garun.core.host"
  local text <const> = host.text("meta/garun.pg") .. host.text("meta/garun.copy")
  local function documented(prefix)
    local names <const> = {}
    for name in text:gmatch("\nfunction " .. prefix .. "([%w_]+)%(") do names[name] = true end
    return names
  end
  local function functions(of)
    local names <const> = {}
    for name, value in pairs(of) do
      if type(value) == "function" and not name:find("^__") then names[name] = true end
    end
    return names
  end
  t.equal(functions(pg), documented("pg%."))
  t.equal(functions(require "garun.copy"), documented("copy%."))
  t.equal(functions(require("garun.core.pg").conn), documented("Conn:"))
  local at <const> = t.postgres()
  local pool <close> = pg.pool(at)
  local db <close> = pool:connect()
  db:exec "create table c (i int)"
  local function has(object, class)
    local names <const> = documented(class .. ":")
    t.ok(next(names), class)
    for name in pairs(names) do t.equal(type(object[name]), "function", class .. ":" .. name) end
  end
  has(pool, "Pool")
  do
    local c <close> = db:copy_in("c")
    has(c, "CopyIn")
  end
  do
    local c <close> = db:copy_out("c")
    has(c, "CopyOut")
  end
  local _, _, _, stream <const> = db:rows("select 1")
  has(stream, "RowStream")
  stream:close()
  db:pipeline(function(p) has(p, "Pipeline") end)
end)
