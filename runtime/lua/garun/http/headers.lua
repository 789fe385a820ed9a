-- garun.http.headers: checked request headers, and the table of a response's.

local errors <const> = require "garun.error"

local headers <const> = {}

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

-- What libcurl says by itself; a second one would let two ends disagree about where the message stops.
local reserved <const> = { ["transfer-encoding"] = true, ["content-length"] = true, ["connection"] = true,
  ["expect"] = true, ["keep-alive"] = true, ["upgrade"] = true, ["te"] = true, ["trailer"] = true }

local function check(fn, name, value)
  if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") then      -- RFC 9110, 5.6.2
    misuse("%s: '%s' is no name of a header", fn, tostring(name):gsub("%c", "?"))
  end
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then misuse("%s: header %s is a string, not a %s", fn, name, type(value)) end
  if value:find("[%z\1-\8\10-\31\127]") then
    misuse("%s: header %s has a line end or another control character", fn, name)
  end
  if reserved[name:lower()] then misuse("%s: header %s is set by garun itself", fn, name) end
  return value
end

-- Adds the headers of a table (name = value, list of values, or false for none) to `into`: lower-case name ->
-- { name, values }. A later table wins.
function headers.add(fn, into, given)
  if given == nil then return end
  if type(given) ~= "table" then misuse("%s: headers is a table, not a %s", fn, type(given)) end
  for name, value in pairs(given) do
    local values
    if value == false then
      values = {}
      check(fn, name, "")
    elseif type(value) == "table" then
      values = {}
      for i, v in ipairs(value) do values[i] = check(fn, name, v) end
    else
      values = { check(fn, name, value) }
    end
    into[name:lower()] = { name = name, values = values }
  end
end

-- The lines for libcurl: "Name;" is how it is told of an empty one, "Name:" of one that it shall not send. By itself it
-- would wait a second for "100 Continue" before a large body, and call every body without a type a form.
function headers.lines(set)
  local lines <const> = { "Expect:", not set["content-type"] and "Content-Type:" or nil }
  for _, header in pairs(set) do
    if #header.values == 0 then lines[#lines + 1] = header.name .. ":" end
    for _, value in ipairs(header.values) do
      lines[#lines + 1] = value:find("%S") and header.name .. ": " .. value or header.name .. ";"
    end
  end
  return lines
end

local response <const> = { __name = "garun.http.headers", __metatable = false }

function response.__index(t, name)
  return type(name) == "string" and rawget(t, name:lower()) or nil
end

-- Names are lower-case in the table, looked up in any case.
function headers.of_response(t)
  return setmetatable(t, response)
end

return headers
