-- garun.options: reading `--name value` options of scripts and commands; an unknown one is an error with a suggestion.

local errors <const> = require "garun.error"

local options <const> = {}

-- Raises a usage error (exit code 2).
function options.fail(program, message)
  error(errors.new { kind = "usage", message = program .. ": " .. message,
    hint = "garun " .. program .. " --help tells the options" }, 0)
end

local readers <const> = {}

function readers.text(text) return text end

function readers.date(text)
  local ok <const> = require("garun.time").is_date(text)
  if ok then return text end
  return nil, "takes a date, YYYY-MM-DD"
end

function readers.integer(text)
  local n <const> = text:match("^%d+$") and math.tointeger(tonumber(text))
  if n then return n end
  return nil, "takes a whole number"
end

function readers.count(text)
  local n <const> = readers.integer(text)
  if n and n >= 1 and n <= 64 then return n end
  return nil, "takes a number from 1 to 64"
end

function readers.percent(text)
  local n <const> = tonumber(text)
  if n and n >= 0 and n <= 100 then return n end
  return nil, "takes a number from 0 to 100"
end

readers.list = readers.text

-- spec: { name = "text" | "date" | "integer" | "count" | "percent" | "list" | "flag" }; --a-b is a_b. Words that are no
-- options are in result[1..n], for programs that take them (spec.words = true).
function options.parse(program, args, spec)
  local result <const>, names <const> = {}, {}
  for name in pairs(spec) do
    if name ~= "words" then names[#names + 1] = "--" .. name:gsub("_", "-") end
  end
  local i, only_words = 1, false
  while args[i] ~= nil do
    local a <const> = args[i]
    local dashed, value = a:match("^(%-%-[%w-]+)=(.*)$")
    dashed = dashed or a
    if a == "--" and not only_words then
      only_words = true
    elseif not only_words and dashed:match("^%-%-?%w") then
      if dashed == "-h" then dashed = "--help" end
      local name <const> = dashed:sub(3):gsub("-", "_")
      local kind <const> = dashed:sub(1, 2) == "--" and name ~= "words" and spec[name]
      if not kind then
        local near <const> = errors.nearest(dashed, names)
        options.fail(program, "unknown option " .. dashed .. (near and "; did you mean " .. near .. "?" or ""))
      end
      if kind == "flag" then
        if value then options.fail(program, dashed .. " takes no value") end
        result[name] = true
      else
        if not value then
          i = i + 1
          value = args[i]
        end
        if value == nil then options.fail(program, dashed .. " needs a value") end
        local read <const>, why <const> = readers[kind](value)
        if read == nil then options.fail(program, string.format("%s %s, got '%s'", dashed, why, value)) end
        if kind == "list" then
          result[name] = result[name] or {}
          table.insert(result[name], read)
        elseif result[name] ~= nil then
          options.fail(program, dashed .. " is given twice")
        else
          result[name] = read
        end
      end
    elseif spec.words then
      result[#result + 1] = a
    else
      options.fail(program, "unexpected argument '" .. a .. "'")
    end
    i = i + 1
  end
  return result
end

-- The tenant that --tenant names (name or id), or the only active one; an error says by which option.
function options.tenant(db, name)
  local ok <const>, tenant <const> = pcall(require("garun.tenant").find, db, name)
  if ok then return tenant end
  error(name and errors.is(tenant, "usage") and errors.wrap(tenant, "--tenant") or tenant, 0)
end

return options
