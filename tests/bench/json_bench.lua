-- garun tests/bench/json_bench.lua: garun.json beside lua-cjson on the same documents in one run.
-- Prints the median of several alternating rounds per document, in MB of JSON text a second.
local json <const> = require "garun.json"
local cjson <const> = require "cjson"

cjson.encode_max_depth(1000)

local ROUNDS <const>, SECONDS <const> = 9, 0.15

-- An event as the GA4 export has it: many short keys, repeated {key, value} pairs, nulls, 16-digit times.
local function event(i)
  local parts <const> = {}
  for p = 1, 24 do
    parts[p] = ([[{"key":"param_%d","value":{"string_value":"https://shop.example/catalogue/%d?page=%d","int_value":null,]]
      .. [["float_value":null,"double_value":null}}]]):format(p, i * 7919 % 100000, p)
  end
  return ([[{"event_date":"20240105","event_timestamp":"%d","event_name":"page_view","event_params":[%s],]]
    .. [["user_pseudo_id":"%d.%d","device":{"category":"desktop","language":"de-de","web_info":{"browser":"Chrome",]]
    .. [["hostname":"shop.example"}},"geo":{"city":"M\u00fcnchen","country":"Germany"},"items":[]}]])
    :format(1704412800000000 + i * 1234, table.concat(parts, ","), i * 104729, 1704412800 + i)
end

local function documents()
  local events <const>, numbers <const>, strings <const>, records <const> = {}, {}, {}, {}
  for i = 1, 50 do events[i] = event(i) end
  for i = 1, 5000 do numbers[i] = i % 3 == 0 and i * 1618033 or i * 0.25 + 0.01 * (i % 7) end
  for i = 1, 1000 do
    strings[i] = ("Schraube M%d × %d, verzinkt \"A2\"\n"):format(i % 20, i) .. ("lorem ipsum dolor "):rep(i % 6)
    records[i] = { id = i, name = "item " .. i, price = i * 1.25, active = i % 2 == 0, tags = { "a", "b", "c" } }
  end
  return {
    { "GA4 events", "[" .. table.concat(events, ",") .. "]" },
    { "small records", json.encode(records) },
    { "numbers", json.encode(numbers) },
    { "text", json.encode(strings) },
  }
end

-- Megabytes a second of f(x), which handles `bytes` bytes of text.
local function rate(f, x, bytes)
  local n, start <const> = 0, os.clock()
  local elapsed
  repeat
    f(x)
    n = n + 1
    elapsed = os.clock() - start
  until elapsed > SECONDS / ROUNDS
  return n * bytes / elapsed / 1e6
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

print(("%-14s %-7s %12s %12s %8s"):format("document", "", "garun.json", "lua-cjson", "ratio"))
for _, document in ipairs(documents()) do
  local name <const>, text <const> = document[1], document[2]
  local cases <const> = {
    { "decode", json.decode, cjson.decode, text, text },
    { "encode", json.encode, cjson.encode, json.decode(text, { nulls = true }), cjson.decode(text) },
  }
  for _, case in ipairs(cases) do
    local ours <const>, theirs <const> = {}, {}
    for round = 1, ROUNDS do
      collectgarbage()
      ours[round] = rate(case[2], case[4], #text)
      collectgarbage()
      theirs[round] = rate(case[3], case[5], #text)
    end
    local a <const>, b <const> = median(ours), median(theirs)
    print(("%-14s %-7s %7.0f MB/s %7.0f MB/s %7.2fx"):format(name, case[1], a, b, a / b))
  end
end
