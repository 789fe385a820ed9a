-- The ---@meta files are the one source of help: they say what there is, neither more nor less.

local help <const> = require "garun.help"
local host <const> = require "garun.core.host"
local t <const> = require "garun.test"

-- Functions of the module itself that the file declares: `function mod.name(` and `mod.name =`.
local function documented(module)
  local text <const> = host.text("meta/" .. module)
  local variable <const> = text:match("\nreturn ([%a_][%w_]*)%s*$")
  t.ok(variable, module .. ": the file ends with return and the module's name")
  local names <const> = {}
  for name in text:gmatch("\nfunction " .. variable .. "%.([%w_]+)%(") do names[name] = true end
  for name in text:gmatch("\n" .. variable .. "%.([%w_]+)%s*=") do names[name] = true end
  return names
end

for _, module in ipairs(help.modules()) do
  t.test("the help of " .. module .. " names exactly what the module has", function()
    local live <const>, said <const> = require(module), documented(module)
    for name in pairs(said) do t.ok(live[name] ~= nil, name .. " is documented and does not exist") end
    for name, value in pairs(live) do
      if type(name) == "string" and not name:match("^_") then
        t.ok(said[name], name .. " (" .. type(value) .. ") exists and is not documented")
      end
    end
  end)
end

t.test("every function has a text, and every parameter is described or named", function()
  for _, module in ipairs(help.modules()) do
    for _, item in ipairs(help.parse(module).items) do
      local text = false
      for _, line in ipairs(item.doc) do text = text or line:match("%S") and not line:match("^@") end
      t.ok(text, module .. ": " .. item.name .. " has no text")
      local params <const> = {}
      for _, line in ipairs(item.doc) do
        local name <const> = line:match("^@param%s+([%w_.]+)")
        if name then params[name] = true end
      end
      for arg in item.args:gmatch("[%w_.]+") do
        t.ok(params[arg] or item.name:match("[:.]__"), module .. ": " .. item.name .. ": parameter " .. arg .. " is not described")
      end
    end
  end
end)

t.test("modules of DESIGN's list that exist are documented", function()
  for _, name in ipairs { "pg", "copy", "json", "uuid", "csv", "gzip", "fs", "time", "task", "log", "crypto", "pipeline" } do
    t.ok(help.parse("garun." .. name), name)
  end
end)

t.test("garun help finds modules, functions, methods and commands", function()
  local function out(...)
    local r <const> = t.run { "garun", "help", ... }
    t.equal(r.status, 0, r.stderr)
    return r.stdout
  end
  t.match(out(), "commands:.*  db  .*modules.*garun.pg")
  t.match(out "task", "task.spawn%(fn, %.%.%.%)")
  t.match(out "task.join", "Task:join%(%)")
  t.match(out "db", "garun db")
  t.match(out "config", "POSTGRES_HOST")
  local r <const> = t.run { "garun", "help", "taks" }
  t.equal(r.status, 2)
  t.match(r.stderr, "did you mean 'garun help task'")
end)
