-- garun.prelude: what scripts find different from plain Lua, set up before the first one runs.
--
-- `require` that may wait: Lua's own is a C function, and a module that connects to a database at its top level could
-- not wait under it. The search order and the messages are Lua's (manual 6.3).

local core <const> = require "garun.core.task"

local loaded <const>, searchers <const> = package.loaded, package.searchers
local loading <const> = {}     -- name -> { task, parks of other tasks that want it too }

local function find(name)
  local missing <const> = {}
  for _, searcher in ipairs(searchers) do
    local loader, data = searcher(name)
    if type(loader) == "function" then return loader, data end
    if type(loader) == "string" then missing[#missing + 1] = loader end
  end
  error(string.format("module '%s' not found:\n\t%s", name, table.concat(missing, "\n\t")), 4)
end

local function load_module(name)
  local loader <const>, data <const> = find(name)
  local value <const> = loader(name, data)
  if value ~= nil then loaded[name] = value end
  if loaded[name] == nil then loaded[name] = true end
  return loaded[name], data
end

function _G.require(name)
  if type(name) ~= "string" then
    error(string.format("bad argument #1 to 'require' (string expected, got %s)", type(name)), 2)
  end
  local other = loading[name]
  while other do
    if other.task == core.current() then
      error(string.format("loop while loading module '%s': it requires itself", name), 2)
    end
    local park <const> = core.park()
    other[#other + 1] = park
    park:wait()
    other = loading[name]
  end
  if loaded[name] ~= nil then return loaded[name] end
  local mine <const> = { task = core.current() }
  local done <close> = setmetatable({}, { __close = function()
    loading[name] = nil
    for _, park in ipairs(mine) do park:wake() end
  end })
  loading[name] = mine
  return load_module(name)
end

-- What cannot be caught by a typo: `try(db.query, db, sql)` gives value or nil, err.
function _G.try(fn, ...)
  return (function(ok, ...)
    if ok then return ... end
    return nil, ...
  end)(pcall(fn, ...))
end

return true
