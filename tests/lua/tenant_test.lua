-- garun tenant check: it really connects, tells what is wrong, and switches off what cannot be used and nothing else.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local s <const> = require "support"
local sshd <const> = require "sshd"
local mail_servers <const> = require "smtp_support"
local t <const> = require "garun.test"

local bigquery_server <const> = dofile(config.path "tests/lua/bigquery_server.lua")

local PASSWORD <const> = "a-long-mail-password"

-- A tenant with all four services, real ones.
local function tenant()
  local bq <const> = bigquery_server.start { auth = true }
  local private <const>, public <const> = bigquery_server.new_key()
  bq.control("accounts", { email = "loader@shop.example", public_key = public })
  bq.table { day = "2024-01-05", rows = 3 }
  local ssh <const> = sshd.start()
  fs.write(ssh.files .. "/UserReport.xlsx", "x")
  fs.write(ssh.files .. "/Locations_List.xlsx", "x")
  local pair <const> = mail_servers.certificate "localhost"
  local relay <const> = mail_servers.serve("real", { cert = pair.cert, key = pair.key, user = "me@shop.example",
    password = PASSWORD })
  local db <const> = s.tenant()
  db.env.BIGQUERY_EMULATOR_HOST = bq.authority
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  conn:exec([[update tenant_config set bigquery_project_id = 'shop', bigquery_dataset_id = 'analytics_1',
    bigquery_credentials = $1, sftp_config = $2, email_config = $3, postgres_config = $4]],
    pg.json { type = "service_account", client_email = "loader@shop.example", private_key = private, project_id = "shop",
      token_uri = bq.url .. "/token" },
    pg.json { host = "127.0.0.1", port = ssh.port, username = ssh.user, private_key = fs.read(ssh.key), host_key = ssh.host_key,
      remote_path = ssh.files },
    pg.json { server = "localhost", port = relay.port, username = "me@shop.example", password = PASSWORD, ca = pair.cert,
      from_address = "reports@shop.example" },
    pg.json { host = db.at.host, port = db.at.port, database = db.at.database, user = db.at.user })
  return { bq = bq, ssh = ssh, relay = relay, db = db, conn = conn, private = private }
end

local function check(sh, ...)
  local r <const> = sh.db.garun { "tenant", "check", "--json", ... }
  return json.decode(r.stdout).services, r
end

local function flags(sh)
  return sh.conn:one [[select bigquery_enabled as bigquery, sftp_enabled as sftp, smtp_enabled as smtp,
    bigquery_validation_error as bigquery_error, sftp_validation_error as sftp_error, smtp_validation_error as smtp_error
    from tenant_config]]
end

t.test("four services that can be used are told so", function()
  local sh <const> = tenant()
  local services <const>, r <const> = check(sh)
  t.equal(r.status, 0, r.stdout .. r.stderr)
  for _, name in ipairs { "postgres", "bigquery", "sftp", "smtp" } do t.equal(services[name].state, "ok", name) end
  t.match(services.smtp.text, "localhost, as me@shop.example")
  t.match(services.postgres.text, sh.db.at.database)
  t.equal(flags(sh), { bigquery = true, sftp = true, smtp = true })
  t.equal(#sh.relay.mails(), 0, "a login is no mail")
end)

t.test("what fails is switched off with the reason, and comes back with the next check that finds it well", function()
  local sh <const> = tenant()
  sh.conn:exec "update tenant_config set email_config = email_config || '{\"password\": \"wrong-password-123\"}'"
  fs.remove(sh.ssh.files .. "/UserReport.xlsx")
  local services <const>, r <const> = check(sh)
  t.equal(r.status, 1)
  t.equal({ services.bigquery.state, services.sftp.state, services.smtp.state }, { "ok", "failed", "failed" })
  local f = flags(sh)
  t.equal({ f.bigquery, f.sftp, f.smtp }, { true, false, false })
  t.match(f.sftp_error, "UserReport.xlsx is not in")
  t.match(f.smtp_error, "535")
  t.equal((r.stdout .. r.stderr .. f.smtp_error):find("wrong-password-123", 1, true), nil, "no secret is shown")

  local ingest <const> = sh.db.garun { "ingest.lua", "--types", "users" }
  t.equal(ingest.status, 1)
  t.match(ingest.stderr, "it is switched off: the last check said:.*UserReport.xlsx is not in")

  fs.write(sh.ssh.files .. "/UserReport.xlsx", "x")
  check(sh, "--only", "sftp")
  f = flags(sh)
  t.equal({ f.sftp, f.sftp_error, f.smtp }, { true, nil, false }, "only what was asked for is checked")
end)

t.test("a service that a person switched off stays off and is not tried", function()
  local sh <const> = tenant()
  sh.conn:exec "update tenant_config set bigquery_enabled = false"
  sh.bq.control "clear"
  local services <const> = check(sh)
  t.equal(services.bigquery.state, "off")
  t.equal(#sh.bq.log ".", 0)
  t.equal(flags(sh).bigquery, false)
end)

t.test("wrong values of the configuration are named with column and key", function()
  local sh <const> = tenant()
  for _, case in ipairs {
    { "sftp_config", '{"port": "22"}', "sftp_config.port must be a whole number" },
    { "sftp_config", '{"host": ""}', "sftp_config has no 'host'" },
    { "email_config", '{"use_ssl": "yes"}', "email_config.use_ssl must be true or false" },
    { "email_config", '{"password": "enc:v1:abc"}', "email_config.password is sealed" },
  } do
    local column <const>, patch <const>, pattern <const> = table.unpack(case)
    local before <const> = sh.conn:value("select " .. column .. "::text from tenant_config")
    sh.conn:exec(string.format("update tenant_config set %s = %s || $1::jsonb", column, column), patch)
    local services <const> = check(sh, "--only", column == "sftp_config" and "sftp" or "smtp")
    t.match(select(2, next(services)).text, pattern)
    sh.conn:exec(string.format("update tenant_config set %s = $1::jsonb", column), before)
  end
end)

t.test("nothing configured is no failure; a word that is no service is a usage error", function()
  local db <const> = s.tenant()
  local r <const> = db.garun { "tenant", "check" }
  t.equal(r.status, 0, r.stderr)
  t.match(r.stdout, "sftp +none +not configured")
  t.equal(db.garun({ "tenant", "check", "--only", "ftp" }).status, 2)
  t.match(db.garun({ "tenant", "chek" }).stderr, "there is no 'garun tenant chek'")
end)
