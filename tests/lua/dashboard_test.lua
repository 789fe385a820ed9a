-- scripts/demo/dashboard.lua and terminal.lua: the numbers of the generator's manifest come out again, and strangers'
-- text does nothing to the terminal.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local pg <const> = require "garun.pg"
local t <const> = require "garun.test"

local SCRIPTS <const> = config.root() .. "/scripts"
package.path = SCRIPTS .. "/demo/?.lua;" .. package.path
local terminal <const> = require "terminal"

-- A database with the schema and one tenant; env for the scripts.
local function database()
  local at <const> = t.postgres()
  local env <const> = { POSTGRES_DATABASE = at.database, NO_COLOR = "1", COLUMNS = "100" }
  local r <const> = t.run { "garun", SCRIPTS .. "/init_db.lua", env = env }
  t.equal(r.status, 0, r.stderr)
  local db <const> = pg.connect { host = at.host, port = at.port, user = at.user, database = at.database }
  t.after(function() db:close() end)
  db:exec "INSERT INTO tenant_config (name, postgres_config) VALUES ('Shop', '{}')"
  return db, env
end

local function dashboard(env, ...)
  local r <const> = t.run { "garun", SCRIPTS .. "/demo/dashboard.lua", env = env, ... }
  t.equal(r.status, 0, r.stderr)
  t.ok(utf8.len(r.stdout), "the output is UTF-8")
  t.ok(not r.stdout:find("[\1-\9\11-\31\127]"), "the output holds no control character")
  return r.stdout
end

t.test("text is shown without what could act on the terminal", function()
  t.equal(terminal.safe("a\27[2Jb"), "a\\u{1b}[2Jb")
  t.equal(terminal.safe("x\u{202E}y\u{200B}\r\n\t\0\u{9b}"), "x\\u{202e}y\\u{200b}\\u{d}\\u{a}\\u{9}\\u{0}\\u{9b}")
  t.equal(terminal.safe("R\xe9g\xc3"), "R\u{FFFD}g\u{FFFD}")
  t.equal(terminal.safe("\xed\xa0\x80"), "\u{FFFD}\u{FFFD}\u{FFFD}")
  t.equal(terminal.safe("Größe 3/4\" 日本 😀"), "Größe 3/4\" 日本 😀")
  t.equal(terminal.safe(""), "")
end)

t.test("text is measured and cut in columns, not in bytes", function()
  t.equal(terminal.width("日本"), 4)
  t.equal(terminal.width("e\u{301}"), 1)
  t.equal(terminal.width("\u{FF01}\u{FF61}"), 3)
  t.equal(terminal.fit("Größe", 8), "Größe   ")
  t.equal(terminal.fit("12", 4, true), "  12")
  t.equal(terminal.fit("abcdef", 4), "abc…")
  t.equal(terminal.fit("日本語", 4), "日… ")
  t.equal(terminal.fit("日本", 4), "日本")
end)

t.test("bars grow by eighths and never vanish while there is something", function()
  t.equal(terminal.bar(10, 10, 3), "███")
  t.equal(terminal.bar(5, 10, 3), "█▌")
  t.equal(terminal.bar(1, 1000000, 3), "▏")
  t.equal(terminal.bar(0, 10, 3), "")
  t.equal(terminal.bar(0, 0, 3), "")
  t.equal(terminal.bar(5, 10, 0), "")
end)

t.test("money keeps every cent of the database's text", function()
  t.equal(terminal.money("1234567.5"), "$1,234,567.50")
  t.equal(terminal.money("0"), "$0.00")
  t.equal(terminal.money("-12.34"), "-$12.34")
  t.equal(terminal.money("9007199254740993.01"), "$9,007,199,254,740,993.01")
  t.equal(terminal.money("NaN"), "NaN")
end)

t.test("the dashboard of a load shows the orders, revenue and events of the manifest", function()
  local _ <const>, env <const> = database()
  local dir <const> = t.tmpdir()
  local made <const> = t.run { "garun", SCRIPTS .. "/demo/generate.lua", "--out", dir, "--from", "2024-01-08", "--days",
    "3", "--events-per-day", "5000" }
  t.equal(made.status, 0, made.stderr)
  local loaded <const> = t.run { "garun", SCRIPTS .. "/ingest.lua", "--source", dir .. "/events_*.ndjson", env = env }
  t.equal(loaded.status, 0, loaded.stderr)
  local total <const> = json.decode(fs.read(dir .. "/manifest.json")).total
  local text <const> = dashboard(env)
  t.ok(text:find("Shop  2024-01-08 to 2024-01-10", 1, true), text)
  t.ok(text:find(("%s events, "):format(terminal.count(total.loaded)), 1, true), text)
  t.ok(text:find((" %d orders, %s;"):format(total.orders, terminal.money(total.order_revenue)), 1, true), text)
  t.ok(text:find((" %d in vain"):format(total.rows.no_search_results), 1, true), text)
  t.match(text, "Mon 2024%-01%-08 .*█")
  for line in text:gmatch("[^\n]+") do
    t.ok(terminal.width(line) <= 100, line)
  end
end)

t.test("an order of before the range is no order of the range, whatever is loaded again in it", function()
  local db <const>, env <const> = database()
  db:exec [[
    INSERT INTO purchase (tenant_id, event_date, event_timestamp, param_transaction_id, ecommerce_purchase_revenue,
      items_json)
    SELECT id, d::date, extract(epoch FROM d::timestamp)::bigint::text || '000000', tx, 10, '[]'
      FROM tenant_config, (VALUES ('2024-01-01', 'W1'), ('2024-01-02', 'W1'), ('2024-01-02', 'W2'),
        ('2024-01-02', 'W2'), ('2024-01-02', '(not set)'), ('2024-01-02', '(not set)'),
        ('2024-01-02', NULL)) AS v(d, tx)]]
  t.match(dashboard(env), " 5 orders, %$50%.00;")
  t.match(dashboard(env, "--from", "2024-01-02", "--to", "2024-01-02"), " 4 orders, %$40%.00;")
end)

t.test("hostile terms, names and prices are shown and summed without harm", function()
  local db <const>, env <const> = database()
  db:exec([[INSERT INTO no_search_results (tenant_id, event_date, param_no_search_results_term)
    SELECT id, '2024-01-02', $1 FROM tenant_config]], "\27]0;owned\7pump\u{202E}")
  db:exec([[INSERT INTO purchase (tenant_id, event_date, event_timestamp, ecommerce_purchase_revenue, items_json)
    SELECT id, '2024-01-02', '1', NULL, $1 FROM tenant_config]], pg.json {
    { item_id = "A", item_name = "\27[31mred", price = "NaN", quantity = 2 },
    { item_id = "B", item_name = "b", price = "12.5", quantity = "2" },
    { item_id = "C", item_name = "c", price = 1e300, quantity = 99999999999 },
  })
  local text <const> = dashboard(env)
  t.ok(text:find("\\u{1b}]0;owned\\u{7}pump\\u{202e}", 1, true), text)
  t.ok(text:find("\\u{1b}[31mred", 1, true), text)
  t.match(text, "%$25%.00")
end)

t.test("says what is wrong: no tenant, several, an unknown one, no events", function()
  local db <const>, env <const> = database()
  t.match(dashboard(env), "Shop: no events yet")
  local function refused(...)
    local r <const> = t.run { "garun", SCRIPTS .. "/demo/dashboard.lua", env = env, ... }
    t.equal(r.status, 2)
    return r.stderr
  end
  t.match(refused("--tenant", "Shp"), "no tenant 'Shp'; there are: Shop")
  t.match(refused("--from", "yesterday"), "must be a date")
  db:exec "INSERT INTO tenant_config (name, postgres_config) VALUES ('Other', '{}')"
  t.match(refused(), "several active tenants.*Other, Shop")
  db:exec "UPDATE tenant_config SET is_active = false"
  t.match(refused(), "no active tenant")
end)
