-- index_bench: what each index of sql/indexes on an event table costs a load: rows of analytics_data.lua, without raw_data,
-- are copied into a table that has the primary key only, and into one that has the index too, by turns. Told is the
-- difference of the quickest copies: what disturbs one only ever adds.

local fs <const> = require "garun.fs"
local pg <const> = require "garun.pg"
local time <const> = require "garun.time"
local data <const> = require "analytics_data"

local ROOT <const> = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/../.."
local ROUNDS <const>, ROWS <const> = tonumber(arg[1]) or 5, 100000

local db <close> = pg.connect((data.database(ROOT .. "/build/bench", 1, print)))
db:exec "set client_min_messages = warning"
local is_event <const> = {}
for _, name in ipairs(data.tables) do is_event[name] = true end

-- Seconds to copy the rows into a new table like theirs, with this index (nil: none). As in a load, ids and days ascend.
local function copy(name, columns)
  db:exec "drop table if exists bench_index"
  db:exec(string.format("create table bench_index (like %s including defaults including storage, primary key (id))", name))
  if columns then db:exec("create index on bench_index" .. columns) end
  db:exec "checkpoint"
  local started <const> = time.monotonic()
  local n <const> = db:exec "insert into bench_index select * from bench_rows"
  return time.monotonic() - started, n
end

print(string.format("%-45s %12s %10s", "index", "us a row", "rows"))
for _, entry in ipairs(fs.list(ROOT .. "/sql/indexes")) do
  local text <const> = fs.read(ROOT .. "/sql/indexes/" .. entry)
  local index <const>, name <const>, columns <const> = text:match "CREATE INDEX IF NOT EXISTS (%S+)%s+ON ([%l_]+)(.*);"
  if is_event[name] then
    db:exec "drop table if exists bench_rows"
    db:exec(string.format("create temp table bench_rows as select * from %s order by event_date, id limit %d", name, ROWS))
    db:exec "update bench_rows set raw_data = null"
    local without, with, rows = math.huge, math.huge, nil
    for _ = 1, ROUNDS do
      without = math.min(without, (copy(name)))
      local seconds
      seconds, rows = copy(name, columns)
      with = math.min(with, seconds)
    end
    print(string.format("%-45s %12.2f %10d", index, (with - without) / rows * 1e6, rows))
  end
end
db:exec "drop table if exists bench_index"
