-- garun help: commands, modules and functions. `garun help [COMMAND | MODULE | MODULE.FUNCTION | config]`

local errors <const> = require "garun.error"
local help <const> = require "garun.help"

-- Tags of the annotation language as a person reads them.
local function plain(line)
  local name <const>, rest <const> = line:match("^@param%s+([%w_?.]+)%s*(.*)$")
  if name then return "  " .. name .. "  " .. rest end
  local returns <const> = line:match("^@return%s+(.*)$")
  if returns then return "  -> " .. returns end
  local field <const> = line:match("^@field%s+(.*)$")
  if field then return "  ." .. field end
  if line:match("^@") then return nil end
  return line
end

local function print_doc(lines, indent)
  for _, line in ipairs(lines) do
    local text <const> = plain(line)
    if text then print(indent .. text) end
  end
end

local function first_line(lines)
  for _, line in ipairs(lines) do
    if line ~= "" and not line:match("^@") then return line end
  end
  return ""
end

local function overview()
  print("garun SCRIPT.lua [args], garun COMMAND [args], garun -h for options\n\ncommands:")
  for _, name in ipairs(help.commands()) do
    print(string.format("  %-10s %s", name, (help.command(name)[1] or ""):gsub("^garun [%w_]+: ", "")))
  end
  print("\nmodules (garun help MODULE, garun help MODULE.FUNCTION):")
  for _, name in ipairs(help.modules()) do
    print(string.format("  %-16s %s", name, first_line(help.parse(name).doc)))
  end
  return 0
end

return function(topic)
  if not topic then return overview() end
  local command <const> = help.command(topic)
  local parsed <const>, found <const> = help.find(topic)
  if command then print_doc(command, "") end
  if command and parsed then print() end
  if found then
    for _, item in ipairs(found) do
      print(item.name .. item.args)
      print_doc(item.doc, "  ")
      print()
    end
  elseif parsed then
    print_doc(parsed.doc, "")
    print()
    for _, item in ipairs(parsed.items) do
      print(string.format("  %s%s", item.name, item.args))
      print("      " .. first_line(item.doc))
    end
  end
  if not command and (not parsed or found and #found == 0) then
    local names <const> = help.commands()
    for _, m in ipairs(help.modules()) do names[#names + 1] = m:gsub("^garun%.", "") end
    local near <const> = errors.nearest(topic, names)
    error(errors.new { kind = "usage", message = "no help for '" .. topic .. "'",
      hint = near and "did you mean 'garun help " .. near .. "'?" or "garun help lists what there is" }, 0)
  end
  return 0
end
