-- The night's work of a tenant in one command: events from a BigQuery server, users and locations from an SFTP server. What
-- is in the database then is what the same files bring.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local s <const> = require "support"
local t <const> = require "garun.test"
local time <const> = require "garun.time"

local server <const> = dofile(config.path "tests/lua/bigquery_server.lua")
local sshd <const> = require "sshd"

local TO <const> = time.yesterday "UTC"
local FROM <const> = time.add_days(TO, -3)

---- a shop whose export lies in BigQuery ----

-- Looks at a value and adds what it tells to the description of a field.
local function learn(field, v)
  if json.is_array(v) then
    field.mode = "REPEATED"
    for _, e in ipairs(v) do learn(field, e) end
  elseif type(v) == "table" then
    field.fields = field.fields or {}
    for k, e in pairs(v) do
      field.fields[k] = field.fields[k] or {}
      learn(field.fields[k], e)
    end
  elseif v ~= nil and v ~= json.null then
    local kind <const> = math.type(v) or type(v)
    if field.kind ~= "float" or kind ~= "integer" then field.kind = kind end
  end
end

local TYPES <const> = { integer = "INTEGER", float = "FLOAT", boolean = "BOOLEAN", string = "STRING" }

local function schema_of(fields)
  local list <const> = json.array {}
  for name, f in pairs(fields) do
    list[#list + 1] = { name = name, mode = f.mode or "NULLABLE", type = f.fields and "RECORD" or TYPES[f.kind or "string"],
      fields = f.fields and schema_of(f.fields) or nil }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- Four days of events as files and as tables of a server, and a tenant whose configuration names it.
local function shop(events)
  local dir <const> = t.tmpdir()
  local made <const> = t.run { "garun", "--env", "/dev/null", config.path "scripts/demo/generate.lua", "--out", dir, "--from",
    FROM, "--days", "4", "--events-per-day", tostring(events or 120), "--form", "json", "--dirt", "0" }
  if made.status ~= 0 then error(made.stderr) end
  local bq <const> = server.start { auth = true }
  local private <const>, public <const> = server.new_key()
  bq.control("accounts", { email = "loader@shop.example", public_key = public })
  local root <const> = {}
  for day in time.range(FROM, TO) do
    local rows <const> = json.array {}
    for line in fs.lines(dir .. "/events_" .. day:gsub("-", "") .. ".ndjson") do
      rows[#rows + 1] = json.decode(line)
      learn(root, rows[#rows])
    end
    bq.table { day = day, schema = schema_of(root.fields), rows = rows }
  end
  local db <const> = s.tenant()
  db.env.BIGQUERY_EMULATOR_HOST = bq.authority
  local conn <const> = db.connect()
  t.after(function() conn:close() end)
  conn:exec("update tenant_config set bigquery_project_id = 'shop', bigquery_dataset_id = 'analytics_1', "
    .. "bigquery_credentials = $1", pg.json { type = "service_account", client_email = "loader@shop.example", private_key = private, project_id = "shop",
      token_uri = bq.url .. "/token" })
  return { dir = dir, bq = bq, db = db, conn = conn, private = private }
end

-- All rows with their raw events; numbers as such, for BigQuery writes 15.0 where a file has 15.
local function rows(conn)
  local parts <const> = {}
  for _, name in ipairs(s.tables) do
    parts[#parts + 1] = string.format("select '%s' as tab, event_timestamp, user_pseudo_id, "
      .. "to_jsonb(t) - 'id' - 'tenant_id' as row from %s t", name, name)
  end
  return conn:query("select tab, row from (" .. table.concat(parts, " union all ")
    .. ") r order by tab, event_timestamp, user_pseudo_id, row ->> 'param_page_location', "
    .. "row -> 'raw_data' ->> 'event_bundle_sequence_id'")
end

local function same_rows(a, b)
  local got <const>, want <const> = rows(a), rows(b)
  t.equal(#got, #want)
  t.ok(#want > 100)
  for i, r in ipairs(want) do t.equal(got[i], r, "row " .. i) end
end

t.test("events from BigQuery are the events of the same days' files, column by column", function()
  local sh <const> = shop()
  local r <const> = sh.db.ingest {}
  t.equal({ r.days, r.rejected, r.first_day, r.last_day }, { 4, 0, FROM, TO })
  local other <const> = s.tenant()
  other.ingest { "--source", sh.dir .. "/events_*.ndjson" }
  local files <const> = other.connect()
  t.after(function() files:close() end)
  same_rows(sh.conn, files)
  local job <const> = sh.conn:one [[
    select status, data_types, records_processed, start_date::text, end_date::text from processing_jobs]]
  t.equal({ job.status, job.data_types, job.records_processed.page_view }, { "completed", { "events" }, r.page_view })
  t.equal({ job.start_date, job.end_date }, { FROM, TO })
end)

t.test("days that BigQuery has not changed are not read again, changed ones are", function()
  local sh <const> = shop()
  sh.db.ingest {}
  sh.bq.control("clear")
  local again <const> = sh.db.ingest {}
  t.equal({ again.unchanged, again.loads }, { 4, 4 })
  t.equal(#sh.bq.log("/queries"), 0, "no query, nothing is billed")
  local line <const> = fs.lines(sh.dir .. "/events_" .. TO:gsub("-", "") .. ".ndjson")()
  local root <const> = {}
  learn(root, json.decode(line))
  sh.bq.table { day = TO, schema = schema_of(root.fields), rows = json.array { json.decode(line) } }
  local third <const> = sh.db.ingest { "--max-shrink", "100" }
  t.equal({ third.unchanged, third.loads }, { 3, 4 })
  t.equal(sh.conn:value("select sum(total)::int from garun.days where day = $1", TO), 1)
end)

t.test("a day without a table is left as it is and told; no table at all is an error to try again later", function()
  local sh <const> = shop()
  sh.db.ingest {}
  local before <const> = s.fingerprint(sh.conn)
  sh.bq.control("drop", { project = "shop", dataset = "analytics_1", table = "events_" .. TO:gsub("-", "") })
  local r <const> = sh.db.ingest {}
  t.equal(r.missing_days, { TO })
  t.equal(s.fingerprint(sh.conn), before)
  local none <const> = sh.db.garun { "ingest.lua", "--from", "2019-01-01", "--to", "2019-01-04" }
  t.equal(none.status, 75, none.stderr)
  t.match(none.stderr, "analytics_1 has no table of any day from 2019%-01%-01 to 2019%-01%-04")
  t.equal(sh.conn:value "select status from processing_jobs order by created_at desc limit 1", "failed")
end)

t.test("one day that a guard stops fails alone; the others are committed, and the job says which and why", function()
  local sh <const> = shop(500)
  local bad <const> = time.add_days(FROM, 1)
  local file <const> = sh.dir .. "/events_" .. bad:gsub("-", "") .. ".ndjson"
  sh.db.ingest {}
  local before <const> = s.fingerprint(sh.conn, bad)
  local event <const>, root <const> = json.decode(fs.lines(file)()), {}
  learn(root, event)
  sh.bq.table { day = bad, schema = schema_of(root.fields), rows = json.array { event } }
  local r <const> = sh.db.garun { "ingest.lua", "--force" }
  t.equal(r.status, 3, r.stderr)
  t.match(r.stderr, bad:gsub("%-", "%%-") .. " would have 1 rows instead of")
  local job <const> = sh.conn:one [[
    select status, error_message, records_processed from processing_jobs order by created_at desc limit 1]]
  t.equal(job.status, "failed")
  t.match(job.error_message, bad:gsub("%-", "%%-"))
  t.ok(job.records_processed.page_view > 0, "the other days count")
  t.equal(sh.conn:value("select count(*) from garun.days where load_id in (select load_id from garun.loads where job_id = "
    .. "(select id from processing_jobs order by created_at desc limit 1))"), 3)
  t.equal(s.fingerprint(sh.conn, bad), before, "and this one is as it was")
end)

t.test("a dry run tells what the queries would cost and reads nothing", function()
  local sh <const> = shop()
  local r <const> = sh.db.ingest { "--dry-run" }
  t.ok(r.estimate.bytes > 0)
  t.equal(sh.conn:value "select count(*) from page_view", 0)
  t.equal(sh.conn:value "select count(*) from processing_jobs", 0)
end)

t.test("a wrong key stops the events with Google's reason, and is in no error and no job", function()
  local sh <const> = shop()
  local other <const> = server.new_key()
  sh.conn:exec("update tenant_config set bigquery_credentials = bigquery_credentials "
    .. "|| jsonb_build_object('private_key', $1::text)", other)
  local r <const> = sh.db.garun { "ingest.lua" }
  t.equal(r.status, 1)
  t.match(r.stderr, "Invalid JWT Signature")
  local job <const> = sh.conn:one "select status, error_message from processing_jobs"
  t.equal(job.status, "failed")
  for _, text in ipairs { r.stderr, job.error_message } do
    t.equal(text:find(other:sub(40, 80), 1, true), nil)
  end
end)

---- users and locations ----

-- An SFTP server of the tenant's with the generator's files, the users as a workbook.
local function files_server(sh)
  local ssh <const> = sshd.start()
  local csv <const> = require "garun.csv"
  local records <const> = csv.decode(fs.read(sh.dir .. "/users.csv"), { header = false })
  local columns <const>, list <const> = {}, {}
  for i, title in ipairs(records[1]) do columns[i] = { title = title } end
  for i = 2, #records do list[i - 1] = records[i] end
  require("xlsx").write(ssh.files .. "/UserReport.xlsx", { sheets = { { name = "User Report", columns = columns, rows = list } } })
  fs.write(ssh.files .. "/branches.csv", fs.read(sh.dir .. "/locations.csv"))
  sh.conn:exec("update tenant_config set sftp_config = $1", pg.json { host = "127.0.0.1", port = ssh.port, username = ssh.user,
    private_key = fs.read(ssh.key), host_key = ssh.host_key, remote_path = ssh.files, locations_file = "branches.csv" })
  return ssh, #list
end

t.test("one command does the night's work: events from BigQuery, users and locations from SFTP", function()
  local sh <const> = shop()
  local _ <const>, users <const> = files_server(sh)
  local r <const> = sh.db.garun { "ingest.lua" }
  t.equal(r.status, 0, r.stderr)
  t.match(r.stdout, "users: %d+ rows of sftp://")
  t.match(r.stdout, "locations: %d+ rows of sftp://.*branches.csv")
  local job <const> = sh.conn:one "select status, data_types, records_processed from processing_jobs"
  t.equal({ job.status, job.data_types }, { "completed", { "events", "users", "locations" } })
  t.equal(job.records_processed.users_processed, sh.conn:value "select count(*) from users")
  t.equal(job.records_processed.locations_processed, sh.conn:value "select count(*) from locations")
  t.equal(job.records_processed.page_view, sh.conn:value "select count(*) from page_view")
  t.ok(job.records_processed.users_processed > 0 and job.records_processed.users_processed <= users)
  t.equal(sh.conn:value "select count(*) from garun.loads where source_kind = 'sftp'", 2)
  -- The branches that events carry are those of the file.
  t.ok(sh.conn:value [[select count(*) from page_view p join locations l on l.location_id = p.user_prop_default_branch_id]] > 0)

  local again <const> = sh.db.ingest {}
  t.equal({ again.unchanged, again.users.updated + again.users.inserted, again.locations.unchanged },
    { 4, 0, job.records_processed.locations_processed })
end)

t.test("master data that fails leaves the events committed, and the other file too", function()
  local sh <const> = shop()
  local ssh <const> = files_server(sh)
  fs.write(ssh.files .. "/UserReport.xlsx", "PK\3\4 this is no workbook")
  local r <const> = sh.db.garun { "ingest.lua" }
  t.equal(r.status, 1, r.stderr)
  t.match(r.stderr, "users: sftp://")
  local job <const> = sh.conn:one "select status, error_message, records_processed from processing_jobs"
  t.equal(job.status, "failed")
  t.match(job.error_message, "^.*users: sftp://.*UserReport.xlsx")
  t.equal({ job.records_processed.users_processed, job.records_processed.locations_processed },
    { nil, sh.conn:value "select count(*) from locations" })
  t.equal(sh.conn:value "select count(*) from garun.days", 4)

  -- Nothing of the server's key or address is a secret, the private key is.
  t.equal(r.stderr:find("BEGIN OPENSSH", 1, true), nil)
end)

t.test("a changed host key stops users and locations, not the events", function()
  local sh <const> = shop()
  files_server(sh)
  sh.conn:exec "update tenant_config set sftp_config = sftp_config || '{\"host_key\": \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}'"
  local r <const> = sh.db.garun { "ingest.lua" }
  t.equal(r.status, 1, r.stderr)
  t.match(r.stderr, "2 parts of the job failed")
  t.equal(sh.conn:value "select count(*) from garun.days", 4)
  t.equal(sh.conn:value "select count(*) from users", 0)
end)

t.test("events come from the tenant's SFTP server too", function()
  local sh <const> = shop()
  local ssh <const> = files_server(sh)
  local name <const> = "events_" .. TO:gsub("-", "") .. ".ndjson"
  fs.write(ssh.files .. "/" .. name, fs.read(sh.dir .. "/" .. name))
  local r <const> = sh.db.ingest { "--source", string.format("sftp://%s@127.0.0.1:%d%s/%s", ssh.user, ssh.port, ssh.files, name) }
  t.equal({ r.days, r.first_day, r.rejected }, { 1, TO, 0 })
  local other <const> = sh.db.garun { "ingest.lua", "--source", "sftp://elsewhere.example/x.ndjson" }
  t.match(other.stderr, "no key or password for this server is known")
end)

t.test("the README's commands of the night work in the order given", function()
  local host <const> = require "garun.core.host"
  local sh <const> = shop()
  local ssh <const> = files_server(sh)
  local commands <const> = t.ok(fs.read(config.path "README.md"):match("## The night\n\n```\n(.-)```"))
  local env <const> = {}
  for k, v in pairs(sh.db.env) do env[k] = v end
  for line in commands:gmatch("[^\n]+") do
    local r <const> = t.run { "/bin/sh", "-c", (line:gsub("^build/garun", host.exe() .. " --env /dev/null")), cwd = ssh.files,
      env = env }
    t.equal(r.status, 0, line .. "\n" .. r.stderr .. r.stdout)
  end
end)
