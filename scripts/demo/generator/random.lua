-- random: the generator's own random numbers, so that a seed gives the same bytes with every Lua and every libm.
-- Only integer arithmetic and exact float division; nothing here calls math.log and its kin, whose last digit differs
-- between C libraries. The algorithm is SplitMix64 (Steele, Lea, Flood 2014): any seed is a good seed, so every day,
-- visitor and product can have a stream of its own that does not depend on who drew before.

local random <const> = {}

local Random <const> = {}
Random.__index = Random

local function mix(z)
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

--- A stream that is named by its arguments: random.new(seed, "visitor", 17).
---@param ... integer|string
function random.new(...)
  local state = 0x9e3779b97f4a7c15
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if math.type(part) == "integer" then
      state = mix(state ~ part) + i
    else
      for at = 1, #part do
        state = (state ~ part:byte(at)) * 0x100000001b3
      end
      state = mix(state) + i
    end
  end
  return setmetatable({ state = state }, Random)
end

--- 64 random bits.
function Random:next()
  local state = self.state + 0x9e3779b97f4a7c15
  self.state = state
  return mix(state)
end

--- An integer from low to high, both included.
function Random:int(low, high)
  return low + (self:next() >> 11) % (high - low + 1)
end

--- True with probability p.
function Random:chance(p)
  return (self:next() >> 11) * 0x1p-53 < p
end

--- An element of a list, all alike.
function Random:pick(list)
  return list[1 + (self:next() >> 11) % #list]
end

--- An integer from 1 to n, small ones far more often: some customers come daily, most come rarely.
function Random:skewed(n)
  local a, b = (self:next() >> 11) * 0x1p-53, (self:next() >> 11) * 0x1p-53
  return 1 + (a * b * n) // 1 | 0
end

--- Makes a picker of keys of a table {key = weight}; weights are whole numbers. The keys are sorted first, for the
--- order of pairs() is not the same in two runs.
---@param weights table<string, integer>
---@return fun(r: table): string
function random.weighted(weights)
  local keys <const>, bounds <const>, total = {}, {}, 0
  for key in pairs(weights) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    total = total + weights[key]
    bounds[i] = total
  end
  return function(r)
    local at <const> = r:int(1, total)
    for i = 1, #bounds do
      if at <= bounds[i] then
        return keys[i]
      end
    end
  end
end

--- Shuffles a list in place (Fisher-Yates).
function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j <const> = self:int(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

return random
