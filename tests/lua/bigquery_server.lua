-- Shared by the BigQuery tests: the fixture server of tests/server/bigquery.py, its tables, faults and log.

local config <const> = require "garun.config"
local http <const> = require "garun.http"
local json <const> = require "garun.json"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"

local server <const> = {}

local function scalar(name, kind)
  return { name = name, type = kind, mode = "NULLABLE" }
end

local function record(name, fields, mode)
  return { name = name, type = "RECORD", mode = mode or "NULLABLE", fields = fields }
end

-- The columns of the export that these tests use; `old` are those of a table before 2023.
local value <const> = { scalar("string_value", "STRING"), scalar("int_value", "INTEGER"), scalar("float_value", "FLOAT"),
  scalar("double_value", "FLOAT") }
server.old_schema = { scalar("event_date", "STRING"), scalar("event_timestamp", "INTEGER"), scalar("event_name", "STRING"),
  record("event_params", { scalar("key", "STRING"), record("value", value) }, "REPEATED"), scalar("user_pseudo_id", "STRING"),
  record("ecommerce", { scalar("purchase_revenue", "FLOAT"), scalar("transaction_id", "STRING") }),
  record("items", { scalar("item_id", "STRING"), scalar("price", "FLOAT"), scalar("quantity", "INTEGER") }, "REPEATED") }
server.schema = table.move(server.old_schema, 1, #server.old_schema, 1, {})
table.insert(server.schema, record("collected_traffic_source", { scalar("manual_source", "STRING"), scalar("gclid", "STRING") }))
table.insert(server.schema, scalar("is_active_user", "BOOLEAN"))

local names <const> = { "page_view", "purchase", "view_item", "scroll" }

-- n rows of a day, as the control endpoint takes them.
function server.rows(day, n)
  local rows <const> = json.array {}
  for i = 1, n do
    local name <const> = names[i % #names + 1]
    rows[i] = {
      event_date = day:gsub("-", ""), event_timestamp = 1704412800000000 + i, event_name = name, user_pseudo_id = "u" .. i % 17,
      event_params = json.array { { key = "page_title", value = { string_value = "Schraube \"M" .. i % 20 .. "\" <ü> \\ 😀" } },
        { key = "ga_session_id", value = { int_value = "9007199254740" .. 993 + i % 7 } },
        { key = "score", value = { double_value = i / 4 } } },
      ecommerce = name == "purchase" and { purchase_revenue = i / 2, transaction_id = "T" .. i } or nil,
      items = json.array(name == "purchase" and { { item_id = "A" .. i, price = 12.5, quantity = 3 } } or {}),
      is_active_user = i % 2 == 0,
    }
  end
  return rows
end

-- Starts a server for the running test: { url, control(what, body), table{...}, fault{...}, log(path pattern), key() }
function server.start(settings)
  local p <const> = proc.spawn { "/usr/bin/python3", config.path "tests/server/bigquery.py", stdin = "pipe", stdout = "pipe" }
  t.after(function() p:close() end)
  local port <const> = assert(p:lines()():match("^port (%d+)$"))
  local self <const> = { url = "http://127.0.0.1:" .. port, authority = "127.0.0.1:" .. port, process = p }
  function self.control(what, body)
    local answer <const> = http.request { url = self.url .. "/control/" .. what, method = "POST", json = body or {}, retry = false }
    return answer:check():json()
  end
  -- An events table: day, rows (a number or the rows), and anything that the control endpoint takes.
  function self.table(spec)
    local all <const> = { project = "shop", dataset = "analytics_1", schema = server.schema }
    for k, v in pairs(spec) do all[k] = v end
    all.day = nil
    if spec.day then all.table = all.table or "events_" .. spec.day:gsub("-", "") end
    if type(all.rows) == "number" then all.rows = server.rows(spec.day or "2024-01-05", all.rows) end
    self.control("tables", all)
    return all
  end
  function self.fault(spec) self.control("faults", spec) end
  -- The requests so far whose path matches.
  function self.log(pattern, method)
    local list <const> = {}
    for _, r in ipairs(self.control "log") do
      if r.path:find(pattern) and (not method or r.method == method) then list[#list + 1] = r end
    end
    return list
  end
  self.control("settings", settings or {})
  return self
end

-- A new RSA key: private and public part in PEM.
function server.new_key()
  local function openssl(...)
    local r <const> = proc.run { "openssl", ... }
    if r.status ~= 0 then error(r.stderr) end
    return r.stdout
  end
  local path <const> = t.tmpdir() .. "/key.pem"
  openssl("genpkey", "-quiet", "-algorithm", "RSA", "-out", path)
  return require("garun.fs").read(path), openssl("pkey", "-in", path, "-pubout")
end

return server
