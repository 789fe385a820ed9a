-- scripts/demo/generate.lua: the same bytes each time, and a manifest that an independent reading confirms.

local config <const> = require "garun.config"
local csv <const> = require "garun.csv"
local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local json <const> = require "garun.json"
local t <const> = require "garun.test"

local SCRIPT <const> = config.root() .. "/scripts/demo/generate.lua"

local function generate(...)
  local dir <const> = t.tmpdir()
  local r <const> = t.run { "garun", SCRIPT, "--out", dir, ... }
  t.equal(r.status, 0, r.stderr)
  return dir, json.decode(fs.read(dir .. "/manifest.json"))
end

local function same_files(a, b)
  local names <const> = fs.list(a)
  t.equal(fs.list(b), names, "the files")
  for _, name in ipairs(names) do
    t.ok(fs.read(a .. "/" .. name) == fs.read(b .. "/" .. name), name .. " is the same in both")
  end
end

local TABLES <const> = {
  purchase = "purchase", add_to_cart = "add_to_cart", page_view = "page_view", view_item = "view_item",
  view_search_results = "view_search_results", no_search_results = "no_search_results",
  view_search_results_no_results = "no_search_results",
}

local COLUMNS <const> = {
  "event_date", "event_timestamp", "event_name", "event_params", "event_previous_timestamp", "event_value_in_usd",
  "event_bundle_sequence_id", "event_server_timestamp_offset", "user_id", "user_pseudo_id", "privacy_info",
  "user_properties", "user_first_touch_timestamp", "user_ltv", "device", "geo", "app_info", "traffic_source",
  "stream_id", "platform", "event_dimensions", "ecommerce", "items", "collected_traffic_source", "is_active_user",
  "batch_event_index", "batch_page_id", "batch_ordering_id", "session_traffic_source_last_click", "publisher",
}

-- A line as an object; nil when a loader has to reject it. Broken UTF-8 and unpaired surrogates, which the decoder
-- refuses, are replaced as a loader does; the generator writes no paired ones. repaired: whether that was necessary.
local function read(line)
  local repaired = line:find("\\u0000", 1, true) ~= nil or line:find("1e400000", 1, true) ~= nil
  local text, n = line:gsub("\\u[dD][89a-fA-F]%x%x", "\\ufffd")
  repaired = repaired or n > 0
  while true do
    local ok <const>, bad <const> = utf8.len(text)
    if ok then
      break
    end
    text, repaired = text:sub(1, bad - 1) .. "\u{FFFD}" .. text:sub(bad + 1), true
  end
  local ok <const>, event <const> = pcall(json.decode, (text:gsub("1e400000", "1")))
  if not ok or type(event) ~= "table" or json.is_array(event) then
    return nil
  end
  return event, repaired
end

local function value(v)
  for _, kind in ipairs { "string_value", "int_value", "double_value", "float_value" } do
    if v[kind] ~= nil and v[kind] ~= json.null then
      return v[kind]
    end
  end
  return nil
end

local function present(v)
  if v == json.null then
    return nil
  end
  return v
end

local function param(event, key)
  for _, p in ipairs(event.event_params) do
    if p.key == key then
      return value(p.value)
    end
  end
  return nil
end

local function real_date(text)
  local y <const>, m <const>, d <const> = tostring(text):match("^(%d%d%d%d)(%d%d)(%d%d)$")
  return y ~= nil and pcall(function()
    assert(os.date("!%Y%m%d", os.time { year = y, month = m, day = d, hour = 12 }) == text)
  end)
end

local function finite(v, limit)
  local n <const> = tonumber(v)
  return n ~= nil and n == n and math.abs(n) < limit
end

local function too_long(event)
  if #tostring(present(event.user_pseudo_id) or "") > 255 then
    return true
  end
  for _, p in ipairs(event.user_properties) do
    if p.key:lower() == "webuserid" and #tostring(value(p.value)) > 100 then
      return true
    end
  end
  return event.event_name == "purchase" and #tostring(param(event, "transaction_id") or "") > 100
end

local function length(v)
  return type(v) == "string" and utf8.len(v, 1, -1, true) or 0
end

-- How many values of a stored event are cut, and how many numbers become NULL.
local function changes(event, name)
  local cut, nulled = 0, 0
  local item <const> = (name == "add_to_cart" or name == "view_item") and present(event.items[1]) or {}
  for _, v in pairs { param(event, "page_title") or "", param(event, "search_term") or "",
    present(item.item_name) or "" } do
    cut = cut + (length(v) > 500 and 1 or 0)
  end
  if present(item.price) and not finite(item.price, 1e8) then
    nulled = nulled + 1
  end
  if name == "add_to_cart" and present(item.quantity) and not finite(item.quantity, 2147483648) then
    nulled = nulled + 1
  end
  local revenue <const> = name == "purchase" and present(event.ecommerce) and present(event.ecommerce.purchase_revenue)
  if revenue and not finite(revenue, 1e13) then
    nulled = nulled + 1
  end
  return cut, nulled
end

local function account_of(text)
  local a <const> = { lines = 0, rejected = 0, duplicates = 0, other_events = 0, repaired = 0, cut = 0, nulled = 0,
    rows = {}, reject_lines = {} }
  for _, name in pairs(TABLES) do
    a.rows[name] = 0
  end
  local seen <const>, number = {}, 0
  local function stored(event, line)
    local batch <const> = present(event.batch_page_id)
    local key <const> = batch and table.concat({ tostring(event.user_pseudo_id), tostring(event.event_timestamp),
      event.event_name, tostring(batch), tostring(event.batch_ordering_id), tostring(event.batch_event_index) }, "\0")
      or line
    if seen[key] then
      a.duplicates = a.duplicates + 1
      return false
    end
    seen[key] = true
    return true
  end
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    if line:match("%S") then
      a.lines = a.lines + 1
      local event <const>, repaired <const> = read(line)
      if not event or not real_date(event.event_date) or not event.event_name or too_long(event) then
        a.rejected = a.rejected + 1
        table.insert(a.reject_lines, number)
      elseif not TABLES[event.event_name] then
        a.other_events = a.other_events + 1
      elseif stored(event, line) then
        local name <const> = TABLES[event.event_name]
        local cut <const>, nulled <const> = changes(event, name)
        a.rows[name] = a.rows[name] + 1
        a.cut, a.nulled, a.repaired = a.cut + cut, a.nulled + nulled, a.repaired + (repaired and 1 or 0)
      end
    end
  end
  return a
end

t.test("the same arguments give the same bytes, another seed gives others", function()
  local args <const> = { "--from", "2024-03-09", "--days", "2", "--events-per-day", "300" }
  local one <const>, two <const> = generate(table.unpack(args)), generate(table.unpack(args))
  same_files(one, two)
  table.move({ "--seed", "2" }, 1, 2, #args + 1, args)
  local three <const> = generate(table.unpack(args))
  t.ok(fs.read(one .. "/events_20240309.ndjson") ~= fs.read(three .. "/events_20240309.ndjson"))
  t.ok(fs.read(one .. "/users.csv") ~= fs.read(three .. "/users.csv"))
end)

t.test("a day's bytes do not depend on which days are made with it", function()
  local alone <const> = generate("--from", "2024-03-10", "--days", "1", "--events-per-day", "6000")
  local among <const> = generate("--from", "2024-03-08", "--days", "4", "--events-per-day", "6000")
  t.ok(fs.read(alone .. "/events_20240310.ndjson") == fs.read(among .. "/events_20240310.ndjson"))
end)

for _, form in ipairs { "json", "extract", "console" } do
  t.test("an independent reading of a " .. form .. " file confirms the manifest", function()
    local dir <const>, manifest <const> = generate("--from", "2024-01-05", "--days", "2", "--events-per-day", "900",
      "--dirt", "25", "--seed", "7", "--form", form)
    local all <const> = { rejected = 0, duplicates = 0, repaired = 0, nulled = 0, cut = 0 }
    t.equal(#manifest.files, 2)
    for _, file in ipairs(manifest.files) do
      local got <const> = account_of(fs.read(dir .. "/" .. file.file))
      local rejected <const> = {}
      for i, r in ipairs(file.reject_lines) do
        rejected[i] = r.line
      end
      t.equal(got.reject_lines, rejected, file.file .. ": lines to reject")
      t.equal(got.rows, file.rows, file.file .. ": rows")
      for _, key in ipairs { "lines", "rejected", "duplicates", "other_events", "repaired", "cut", "nulled" } do
        t.equal(got[key], file[key], file.file .. ": " .. key)
      end
      local loaded = 0
      for _, n in pairs(file.rows) do
        loaded = loaded + n
      end
      t.equal(loaded, file.loaded)
      t.equal(loaded + file.other_events + file.duplicates + file.rejected + file.out_of_range, file.lines)
      for key in pairs(all) do
        all[key] = all[key] + file[key]
      end
    end
    for key, n in pairs(all) do
      t.equal(manifest.total[key], n, "total " .. key)
      t.ok(n > 0, "there is something " .. key)
    end
  end)
end

t.test("without dirt there is nothing to reject, repair or cut", function()
  local _, manifest <const> = generate("--from", "2024-01-05", "--days", "3", "--events-per-day", "500", "--dirt", "0")
  for _, key in ipairs { "rejected", "duplicates", "repaired", "cut", "nulled", "late" } do
    t.equal(manifest.total[key], 0, key)
  end
  t.equal(manifest.users.rejected, 0)
end)

t.test("an event has all columns of the export, in the table's order", function()
  local dir <const> = generate("--from", "2024-01-05", "--days", "1", "--events-per-day", "200", "--dirt", "0",
    "--form", "json")
  for line in fs.read(dir .. "/events_20240105.ndjson"):gmatch("[^\n]+") do
    local at = 0
    for key in pairs(json.decode(line)) do
      t.ok(table.concat(COLUMNS, " "):find(key, 1, true), key .. " is a column")
    end
    for _, column in ipairs(COLUMNS) do
      local found <const> = line:find('"' .. column .. '":', at + 1, true)
      t.ok(found, column .. " stands where the table has it")
      at = found
    end
  end
end)

t.test("the extract form leaves nulls out and quotes integers, the console form quotes every scalar", function()
  local args <const> = { "--from", "2024-01-05", "--days", "1", "--events-per-day", "200", "--dirt", "0", "--form" }
  local function text(form)
    args[10] = form
    return fs.read((generate(table.unpack(args))) .. "/events_20240105.ndjson")
  end
  local extract <const> = text "extract"
  t.ok(not extract:find(":null", 1, true))
  t.match(extract, '"event_timestamp":"%d+"')
  t.match(extract, '"price":%d')
  local console <const> = text "console"
  t.match(console, '"user_id":null')
  t.match(console, '"price":"%d+%.%d+"')
  t.match(console, '"is_active_user":"true"')
  local plain <const> = text "json"
  t.match(plain, '"event_timestamp":%d+,')
  t.match(plain, '"is_active_user":true')
end)

t.test("--gzip writes the same bytes, compressed", function()
  local args <const> = { "--from", "2024-01-05", "--days", "1", "--events-per-day", "300" }
  local plain <const> = generate(table.unpack(args))
  args[#args + 1] = "--gzip"
  local packed <const> = generate(table.unpack(args))
  t.ok(gzip.decompress(fs.read(packed .. "/events_20240105.ndjson.gz"))
    == fs.read(plain .. "/events_20240105.ndjson"))
  t.equal(fs.glob(packed .. "/*.part"), {})
end)

t.test("--no-late gives the day as it was before its late events came", function()
  local args <const> = { "--from", "2024-01-05", "--days", "1", "--events-per-day", "3000" }
  local full <const>, after <const> = generate(table.unpack(args))
  args[#args + 1] = "--no-late"
  local early <const>, before <const> = generate(table.unpack(args))
  local now <const>, then_ <const> = fs.read(full .. "/events_20240105.ndjson"),
    fs.read(early .. "/events_20240105.ndjson")
  t.ok(#then_ < #now and now:sub(1, #then_) == then_, "the late events stand at the end")
  t.equal(before.total.late, 0)
  t.ok(after.total.late > 0)
  t.ok(after.total.lines > before.total.lines)
end)

t.test("an order whose thank-you page is loaded again on the next day counts once", function()
  local dir <const>, manifest <const> = generate("--from", "2024-01-08", "--days", "2", "--events-per-day", "5000",
    "--dirt", "0", "--form", "json")
  local days_of <const>, orders = {}, 0
  for i, file in ipairs(manifest.files) do
    for line in fs.read(dir .. "/" .. file.file):gmatch("[^\n]+") do
      if line:find('"event_name":"purchase"', 1, true) then
        local id <const> = param(json.decode(line), "transaction_id")
        orders = orders + (days_of[id] and 0 or 1)
        days_of[id] = (days_of[id] or "") .. i
      end
    end
  end
  t.equal(manifest.total.orders, orders)
  local again <const> = {}
  for _, days in pairs(days_of) do
    again[days] = true
  end
  t.ok(again["12"], "an order of the first day comes again on the second")
  t.ok(again["1"] and again["2"])
end)

t.test("--tenants makes a shop for each name", function()
  local dir <const> = t.tmpdir()
  local r <const> = t.run { "garun", SCRIPT, "--out", dir, "--from", "2024-01-05", "--days", "1",
    "--events-per-day", "200", "--tenants", "north,south" }
  t.equal(r.status, 0, r.stderr)
  t.equal(fs.list(dir), { "north", "south" })
  t.ok(fs.read(dir .. "/north/events_20240105.ndjson") ~= fs.read(dir .. "/south/events_20240105.ndjson"))
end)

t.test("--mistagged fires no_search_results for every search", function()
  local _, manifest <const> = generate("--from", "2024-01-05", "--days", "1", "--events-per-day", "1000", "--dirt", "0",
    "--mistagged")
  t.equal(manifest.total.rows.view_search_results, 0)
  t.ok(manifest.total.mistagged > 0 and manifest.total.mistagged < manifest.total.rows.no_search_results)
end)

t.test("the users and locations files hold what the manifest says", function()
  local dir <const>, manifest <const> = generate("--from", "2024-01-05", "--days", "1", "--events-per-day", "4000")
  local rows, stored, rejected = 0, {}, 0
  for i, row in ipairs(csv.decode(fs.read(dir .. "/users.csv"), { header = false })) do
    if i > 2 then -- a title and the header
      local first <const>, second <const> = row[1]:match("%S+"), row[2]:match("%S+")
      rows = rows + 1
      if first or second then
        stored[first or second] = true
      else
        rejected = rejected + 1
      end
    end
  end
  local ids = 0
  for _ in pairs(stored) do
    ids = ids + 1
  end
  t.equal({ rows, ids, rejected }, { manifest.users.rows, manifest.users.stored, manifest.users.rejected })
  t.equal(rows - ids - rejected, manifest.users.duplicates)
  local locations <const> = csv.decode(fs.read(dir .. "/locations.csv"), { header = false })
  t.equal(#locations - 1, manifest.locations.rows)
  t.equal(locations[1], { "Warehouse Code", "Warehouse Name", "City", "State", "Zip" })
end)

for name, args in pairs {
  ["no arguments"] = {}, ["a date that does not exist"] = { "--from", "2024-02-30", "--days", "1" },
  ["no days"] = { "--from", "2024-02-01", "--days", "0" }, ["an unknown option"] = { "--form-date", "x" },
  ["an unknown form"] = { "--from", "2024-02-01", "--days", "1", "--events-per-day", "5", "--form", "xml" },
  ["a tenant that is a path"] = { "--from", "2024-02-01", "--days", "1", "--events-per-day", "5", "--tenants", "../x" },
} do
  t.test("refuses " .. name .. " with exit code 2", function()
    local dir <const> = t.tmpdir()
    local r <const> = t.run { "garun", SCRIPT, "--out", dir, table.unpack(args) }
    t.equal(r.status, 2)
    t.match(r.stderr, "generate: ")
    t.equal(fs.list(dir), {})
  end)
end
