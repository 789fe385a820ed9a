-- analytics_data: a month of a tenant's events, made in the database by SQL: for scale 1, 200,000 sessions with 1 M page
-- views, 250 k view_item, 50 k add_to_cart, 15 k purchases and 110 k searches over 31 days at 150 branches. Rows are as
-- wide as real ones. analytics_bench.lua times the functions on it.

local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local pg <const> = require "garun.pg"
local private_pg <const> = require "garun.private_pg"
local proc <const> = require "garun.proc"

local ROOT <const> = debug.getinfo(1, "S").source:match "^@(.*)/tests/bench/" or "."

local data <const> = {}

data.TENANT = "0b5e5a3c-6f0e-4c51-8d8e-2f5a1c0de001"
data.FROM, data.TO = "2024-01-01", "2024-01-31"

local MASTER <const> = [[
insert into tenant_config (id, name, postgres_config) values ('{tenant}', 'bench', '{}');
insert into locations (location_id, tenant_id, location_name, city, state)
select 'D' || lpad(i::text, 3, '0'), '{tenant}', 'Branch ' || i, 'City ' || i % 60, 'S' || i % 20 from generate_series(1, 150) i;
insert into users (user_id, tenant_id, buying_company_name, email, cell_phone, office_phone)
select (10000 + i)::text, '{tenant}', 'Company ' || i, 'buyer' || i || '@customer' || i % 5000 || '.example', '555-0100', '555-0101'
  from generate_series(1, $1::int) i;
]]

-- A session: who, where, when, and how much of everything. A visitor has one branch (it is a user property, the default
-- branch), but one session in 50 is seen at two; some cross midnight.
local SESSIONS <const> = [[
create unlogged table bench_sessions as
select s.*, 'D' || lpad((1 + (power((hashtext(coalesce(web, pseudo)) & 65535) / 65536.0, 1.4) * 149)::int)::text, 3, '0')
         as branch
  from (
select i, 'p' || (power(random(), 1.3) * $1 * 0.6)::int || '.1690000000' as pseudo,
       extract(epoch from date '2024-01-01' + d)::bigint + sec as sid, sec,
       case when random() < 0.45 then (10000 + (power(random(), 1.5) * $2)::int + 1)::text end as web,
       random() < 0.02 as two,
       case when random() < 0.3 then 1 else 2 + (random() * 9.42)::int end as views,
       random() as r, d
  from (select i, (random() * 30)::int as d, (random() * 86340)::int as sec from generate_series(1, $1::int) i) s) s
 order by d
]]

local EVENT <const> = [[
insert into {table} (tenant_id, event_date, event_timestamp, user_pseudo_id, user_prop_webuserid, user_prop_default_branch_id,
  param_ga_session_id, param_page_title, param_page_location, device_category, device_operating_system, geo_country,
  geo_city, raw_data{columns})
select '{tenant}', least(to_timestamp(sid + off)::date, '2024-01-31'), ((sid + off) * 1000000 + (random() * 999999)::int)::text,
       pseudo, case when k > 1 then web end, case when two and k % 2 = 0 then 'D001' else branch end, sid::text,
       'Page ' || page, 'https://shop.example/p/' || page || '?ref=' || k, 'desktop', 'Windows', 'United States',
       'City ' || i % 500,
       jsonb_build_object('event_name', '{table}', 'pad', repeat(md5(i::text || k), 12), 'k', k){values}
  from (select s.*, k, (k - 1) * 40 + (random() * 30)::int as off, (power(random(), 2) * 20000)::int as page
          from bench_sessions s cross join lateral generate_series(1, {times}) k) e
]]

local ITEM <const> = [[, 'SKU-' || page, 'Industrial widget ' || page, 'Widgets', page % 500 + 0.5{more},
  jsonb_build_array(jsonb_build_object('item_id', 'SKU-' || page, 'item_name', 'Industrial widget ' || page,
    'item_category', 'Widgets', 'price', page % 500 + 0.5, 'quantity', 1 + k % 5))]]

local function fill(template, values)
  return (template:gsub("{(%l+)}", values))
end

local function insert(name, columns, values, how_often)
  return fill(EVENT, { table = name, columns = columns, tenant = data.TENANT, values = values, times = how_often })
end

local item_columns <const> = ", first_item_item_id, first_item_item_name, first_item_item_category, first_item_price"

data.inserts = {
  page_view = insert("page_view", "", "", "s.views"),
  view_item = insert("view_item", item_columns .. ", items_json", fill(ITEM, { more = "" }), "(s.r * 2 + 0.25)::int"),
  add_to_cart = insert("add_to_cart", item_columns .. ", first_item_quantity, items_json",
    fill(ITEM, { more = ", 1 + k % 5" }), "case when s.r > 0.9 then 2 + (s.sec % 2) else 0 end"),
  purchase = insert("purchase", ", param_transaction_id, ecommerce_purchase_revenue, items_json",
    [[, 'T' || i, page % 900 + 9.99, jsonb_build_array(jsonb_build_object('item_id', 'SKU-' || page,
      'item_name', 'Industrial widget ' || page, 'price', 12.5, 'quantity', 2))]],
    "case when s.r > 0.93 then 1 + (s.sec % 14 = 0)::int else 0 end"),
  view_search_results = insert("view_search_results", ", param_search_term",
    [[, 'term ' || (power(random(), 3) * 30000)::int]],
    "case when s.r < 0.2 then 2 + (s.r * 5.1)::int else 0 end"),
  no_search_results = insert("no_search_results", ", param_no_search_results_term",
    [[, 'lost ' || (power(random(), 3) * 5000)::int]], "case when s.r > 0.45 and s.r < 0.5 then 1 else 0 end"),
}

data.tables = { "page_view", "view_item", "add_to_cart", "purchase", "view_search_results", "no_search_results" }

-- Fills the event tables of a database with the schema; say(text) is told what is done. The indexes are made after
-- the rows, for that is quicker.
function data.make(db, scale, say)
  db:exec "select setseed(0.42)"
  local users <const> = 20000 * scale
  for statement in fill(MASTER, { tenant = data.TENANT }):gmatch("[^;]+;") do
    if statement:find("$1", 1, true) then
      db:exec(statement, users)
    else
      db:exec(statement)
    end
  end
  db:exec(SESSIONS, 200000 * scale, users)
  local indexes <const> = db:query([[
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as def from pg_index i
     where not indisprimary and indrelid = any($1::text[]::regclass[])]], require("garun.pg").array(data.tables))
  for _, index in ipairs(indexes) do db:exec("drop index " .. index.name) end
  db:transaction(function(tx)
    tx:exec "set local garun.rollup = manual"
    for _, name in ipairs(data.tables) do
      say(string.format("%s: %d rows", name, tx:exec(data.inserts[name])))
    end
  end)
  for _, index in ipairs(indexes) do db:exec(index.def) end
  db:exec "drop table bench_sessions"
end

-- Where the database with the data of this scale is, for pg.connect, and whether it was made now: in a private server
-- under dir, kept for the next run.
function data.database(dir, scale, say)
  fs.mkdir(dir, { parents = true })
  local name <const> = "analytics_" .. scale
  local _, at <const> = private_pg.start { var = dir .. "/analytics" }
  local where <const> = { host = at.host, port = at.port, user = at.user, database = name }
  local admin <close> = pg.connect { host = at.host, port = at.port, user = at.user, database = "postgres" }
  if admin:value("select count(*) from pg_database where datname = $1", name) > 0 then return where, false end
  where.database = name .. "_unfinished"
  admin:exec("drop database if exists " .. where.database)
  admin:exec("create database " .. where.database)
  local r <const> = proc.run { host.exe(), "--env", "/dev/null", ROOT .. "/scripts/init_db.lua", env = { POSTGRES_HOST = at.host,
    POSTGRES_PORT = tostring(at.port), POSTGRES_USER = at.user, POSTGRES_DATABASE = where.database } }
  if r.status ~= 0 then error(r.stderr, 0) end
  do
    local db <close> = pg.connect(where)
    data.make(db, scale, say)
  end
  admin:exec(string.format("alter database %s rename to %s", where.database, name))
  where.database = name
  return where, true
end

return data
