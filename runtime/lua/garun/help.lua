-- garun.help: the text of `garun help`, read from the ---@meta files that editors use; there is no second source.

local host <const> = require "garun.core.host"

local help <const> = {}

-- Names of the built-in commands, sorted.
function help.commands()
  local names <const> = {}
  for _, name in ipairs(host.files()) do
    local command <const> = name:match("^garun%.command%.([%w_]+)$")
    if command then names[#names + 1] = command end
  end
  table.sort(names)
  return names
end

-- A command file's first comment line is its summary: "-- garun db: the private PostgreSQL. ...".
function help.command(name)
  local text <const> = host.text("garun.command." .. name)
  if not text then return nil end
  local lines <const> = {}
  for line in text:gmatch("([^\n]*)\n") do
    local comment <const> = line:match("^%-%- ?(.*)$")
    if not comment then break end
    lines[#lines + 1] = comment
  end
  return lines
end

-- Names of the documented modules, sorted: "garun.pg", ...
function help.modules()
  local names <const> = {}
  for _, name in ipairs(host.files()) do
    local module <const> = name:match("^meta/(.+)$")
    if module then names[#names + 1] = module end
  end
  table.sort(names)
  return names
end

-- Reads one meta file into { module = { doc lines }, items = { { name, signature, doc = {lines} }, ... } }.
function help.parse(module)
  local text <const> = host.text("meta/" .. module)
  if not text then return nil end
  local parsed <const> = { name = module, doc = {}, items = {} }
  local doc = {}
  for line in text:gmatch("([^\n]*)\n") do
    local comment <const> = line:match("^%-%-%-? ?(.*)$")
    local name <const>, args <const> = line:match("^function ([%w_.:]+)(%b())")
    if comment then
      doc[#doc + 1] = comment
    elseif name then
      parsed.items[#parsed.items + 1] = { name = name, args = args, doc = doc }
      doc = {}
    else
      local field <const> = line:match("^([%w_]+%.[%w_.]+)%s*=")
      if field then parsed.items[#parsed.items + 1] = { name = field, args = "", doc = doc } end
      if #parsed.doc == 0 and #doc > 0 and not field then parsed.doc = doc end
      doc = {}
    end
  end
  return parsed
end

-- "pg.query" finds the functions of garun.pg whose last name is query, methods included.
function help.find(topic)
  local module, last = topic:match("^garun%.([%w_]+)[.:]?([%w_]*)$")
  if not module then module, last = topic:match("^([%w_]+)[.:]?([%w_]*)$") end
  if not module then return nil end
  local parsed <const> = help.parse("garun." .. module) or help.parse(module)     -- the second: a plugin
  if not parsed then return nil end
  if last == "" then return parsed end
  local found <const> = {}
  for _, item in ipairs(parsed.items) do
    if item.name:match("[%w_]+$") == last then found[#found + 1] = item end
  end
  return parsed, found
end

return help
