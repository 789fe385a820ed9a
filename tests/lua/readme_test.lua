-- Every example of README.md, run as it stands there.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local pg <const> = require "garun.pg"
local s <const> = require "support"
local t <const> = require "garun.test"

local readme <const> = fs.read(config.path "README.md")

-- The Lua block behind `<!-- test: NAME -->`.
local function block(name)
  return t.ok(readme:match("<!%-%- test: " .. name .. " %-%->\n```lua\n(.-)\n```"), "no block " .. name)
end

t.test("the pipeline example merges CSV files and keeps rejects", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  db:exec "create table orders (order_id varchar(8) primary key, ordered_on date, amount numeric(9,2), customer text, source text)"
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/orders.lua", block "orders")
  fs.write(dir .. "/orders_1.csv", "Order No,Date,Total,Sum,Customer\nA1,2024-01-05,1.50,, Smith \nA2,2024-01-05,,2,\n")
  fs.write(dir .. "/orders_2.csv", "Order No,Date,Total,Sum,Customer\nA2,2024-01-06,3,,Jones\nmuch too long,2024-01-06,3,,x\n")
  local r <const> = t.run { "garun", "--env", "/dev/null", "orders.lua", "orders_1.csv", "orders_2.csv", cwd = dir,
    env = { POSTGRES_HOST = at.host, POSTGRES_PORT = tostring(at.port), POSTGRES_USER = at.user, POSTGRES_DATABASE = at.database } }
  t.equal(r.stderr, "")
  t.equal(r.stdout, "4 lines, 2 changed, 1 rejected\n")
  t.equal(db:value "select string_agg(concat_ws('|', order_id, ordered_on, amount, customer, source), ' ' order by order_id) from orders",
    "A1|2024-01-05|1.50|Smith|shop A2|2024-01-06|3.00|Jones|shop")
  t.match(fs.read(dir .. "/var/rejects/orders.ndjson"), "much too long")
end)

t.test("examples/orders.lua appends, replaces days and merges, from CSV and NDJSON", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  db:exec "create table orders (order_id varchar(20) primary key, ordered_on date not null, amount numeric(9,2), customer text, source text)"
  local dir <const> = t.tmpdir()
  local function run(mode, name, text)
    fs.write(dir .. "/" .. name, text)
    local r <const> = t.run { "garun", "--env", "/dev/null", "examples/orders.lua", mode, dir .. "/" .. name, cwd = dir,
      env = { POSTGRES_HOST = at.host, POSTGRES_PORT = tostring(at.port), POSTGRES_USER = at.user, POSTGRES_DATABASE = at.database } }
    t.equal(r.stderr, "")
    return r.stdout
  end
  local function table_now() return db:value "select string_agg(concat_ws('|', order_id, ordered_on, amount, customer), ' ' order by order_id) from orders" end
  t.equal(run("append", "a.csv", "Order No,Date,Total,Sum,Customer\nA,2024-01-05,1,,x\nB,2024-01-06,2,,y\n"), "2 lines: 2 loaded, 0 rejected\n")
  run("replace", "b.ndjson", '{"order":{"number":"C","placed":"2024-01-06"},"totals":[{"kind":"net","amount":1},{"kind":"gross","amount":"3.5"}],"customer":{"name":" z "}}\n')
  t.equal(table_now(), "A|2024-01-05|1.00|x C|2024-01-06|3.50|z")
  run("merge", "c.csv", "Order No,Date,Total,Sum,Customer\nC,2024-01-07,,4,z\nD,2024-01-07,5,,\n")
  t.equal(table_now(), "A|2024-01-05|1.00|x C|2024-01-07|4.00|z D|2024-01-07|5.00")
end)

t.test("the script example counts two tables at once", function()
  local db <const> = s.tenant()
  local path <const> = t.tmpdir() .. "/s.lua"
  fs.write(path, block "script")
  t.equal(db.garun({ path }).stdout, "purchase\t0\npage_view\t0\n")
end)

t.test("the wires example gets the rates and sends the mail", function()
  local server <const> = require("smtp_support").serve("faults", {})
  local python <const> = [[
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"day": "2024-01-05", "EUR": 1.09}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H); print(s.server_address[1], flush=True); s.serve_forever()]]
  local p <const> = require("garun.proc").spawn { "/usr/bin/python3", "-c", python, stdout = "pipe" }
  t.after(function() p:close() end)
  local path <const> = t.tmpdir() .. "/w.lua"
  fs.write(path, block "wires")
  local r <const> = t.run { "garun", "--env", "/dev/null", path, "http://127.0.0.1:" .. p:lines()() .. "/rates", "127.0.0.1",
    tostring(server.port) }
  t.equal({ r.status, r.stdout }, { 0, "QID\n" }, r.stderr)
  t.match(server.mails()[1], "Subject: Rates of 2024%-01%-05\r\n.*\r\nEUR 1.09\r\n")
end)

t.test("the numbers example prints every abandoned cart", function()
  local db <const> = s.tenant()
  local conn <close> = db.connect()
  for i, items in ipairs { { { item_id = "A", price = 2.5, quantity = 3 } }, { { item_id = "B", price = 100 } } } do
    conn:exec([[insert into add_to_cart (tenant_id, event_date, event_timestamp, user_pseudo_id, param_ga_session_id,
        user_prop_webuserid, first_item_price, items_json)
      select id, '2024-01-05', '1704412800000000', $1, '1', $2, 1, $3 from tenant_config]], "u" .. i, i == 2 and "77" or nil,
      require("garun.pg").json(items))
  end
  conn:exec("insert into users (tenant_id, user_id, buying_company_name) select id, '77', 'Smith' from tenant_config")
  local path <const> = t.tmpdir() .. "/n.lua"
  fs.write(path, block "numbers")
  local r <const> = db.garun { path }
  t.equal(r.stderr, "")
  t.equal(r.stdout, "2024-01-05\tSmith\t100.00\n2024-01-05\tanonymous\t7.50\n")
end)

t.test("the first load's commands work in the order given", function()
  local commands <const> = t.ok(readme:match("## A first load\n\n```\n(.-)```"))
  local dir <const> = t.tmpdir()
  fs.chmod(dir, "0711")
  fs.mkdir(dir .. "/exports")
  local made <const> = t.run { "garun", "--env", "/dev/null", config.path "scripts/demo/generate.lua", "--out", dir .. "/exports",
    "--from", "2024-01-01", "--days", "2", "--events-per-day", "300", "--gzip" }
  t.equal(made.status, 0, made.stderr)
  local env <const> = { GARUN_VAR = dir .. "/var", POSTGRES_HOST = false, POSTGRES_USER = false, POSTGRES_DATABASE = false,
    POSTGRES_PORT = false, POSTGRES_PASSWORD = false }
  t.after(function() t.run { "garun", "db", "destroy", "--yes", cwd = dir, env = env } end)
  local out = ""
  for line in commands:gmatch("[^\n]+") do
    local r <const> = t.run { "/bin/sh", "-c", (line:gsub("^build/garun", host.exe())), cwd = dir, env = env }
    t.equal(r.status, 0, line .. "\n" .. r.stderr)
    out = out .. r.stdout
  end
  t.match(out, "2024%-01%-01 to 2024%-01%-02 in .*page_view")
  t.match(out, "nothing to do: these sources are loaded already")
  t.match(out, "events_20240101.ndjson.gz:%d+")
  t.match(out, "acme  2024%-01%-01 to 2024%-01%-31\n.*\nRevenue +[%d,.]+  new")
end)

t.test("every file and directory that the README names exists", function()
  for path in readme:gmatch("%]%(([^)]+)%)") do t.ok(fs.exists(config.path(path)), path) end
  for path in readme:gmatch("`([%w_]+/[%w_/.]+%.%w+)`") do
    t.ok(fs.exists(config.path(path)) or path:match("^build/"), path)
  end
end)
