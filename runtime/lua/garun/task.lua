-- garun.task: running several things at once, and waiting for them.
--
-- A task is a coroutine that the loop runs; garun.core.task has the primitives. Everything here is structured: a task
-- ends after the tasks it started, and a failure travels up to whoever joins it, or to the parent.

local core <const> = require "garun.core.task"
local errors <const> = require "garun.error"

local task <const> = {}

function task.spawn(fn, ...)
  return core.spawn(false, fn, ...)
end

function task.background(fn, ...)
  return core.spawn(true, fn, ...)
end

task.sleep = core.sleep
task.current = core.current

function task.timeout(seconds, fn, ...)
  local alarm <close> = core.alarm(seconds, errors.new {
    kind = "timeout", retryable = true,
    message = string.format("timed out after %g seconds", seconds),
  })
  return (function(...) return ... end)(fn(...))    -- not a tail call: the alarm closes after it
end

-- Runs fn in a task of its own and gives its results: what it starts ends with it, failures come out of this call.
function task.scope(fn, ...)
  return core.spawn(false, fn, ...):join()
end

---- channels: a bounded queue between tasks ----

local channel <const> = {}
channel.__index = channel
channel.__name = "garun.channel"

local function wake(list)
  local park = table.remove(list, 1)
  if park then park:wake() end
end

-- A waiter that is cancelled must not swallow the wake-up that was meant for it.
local function wait(list)
  local park <const> = core.park()
  list[#list + 1] = park
  local ok, err = pcall(park.wait, park)
  if ok then return end
  for i, p in ipairs(list) do
    if p == park then
      table.remove(list, i)
      error(err, 0)
    end
  end
  wake(list)
  error(err, 0)
end

function channel:send(value)
  if value == nil then error("channel:send: nil cannot be sent; close the channel to end it", 2) end
  while not self.closed and #self.queue >= self.capacity do
    wait(self.senders)
  end
  if self.closed then
    error(errors.new { kind = "task", code = "closed", message = "channel:send: the channel is closed" }, 2)
  end
  self.queue[#self.queue + 1] = value
  wake(self.receivers)
end

function channel:recv()
  while #self.queue == 0 do
    if self.closed then return nil end
    wait(self.receivers)
  end
  local value <const> = table.remove(self.queue, 1)
  wake(self.senders)
  return value
end

function channel:close()
  self.closed = true
  while #self.receivers > 0 do wake(self.receivers) end
  while #self.senders > 0 do wake(self.senders) end
end

channel.__close = channel.close
channel.__call = channel.recv      -- for value in ch do

function channel:__len()
  return #self.queue
end

function task.channel(capacity)
  capacity = capacity == nil and 1 or capacity
  if math.type(capacity) ~= "integer" or capacity < 1 then
    error("task.channel: capacity must be an integer from 1, got " .. tostring(capacity), 2)
  end
  return setmetatable({ capacity = capacity, queue = {}, senders = {}, receivers = {}, closed = false }, channel)
end

---- map ----

function task.map(list, fn, opts)
  opts = errors.check_options("task.map", opts, { "concurrency" })
  local concurrency <const> = opts.concurrency or 8
  if math.type(concurrency) ~= "integer" or concurrency < 1 then
    error("task.map: concurrency must be an integer from 1, got " .. tostring(concurrency), 2)
  end
  local results <const>, n <const>, at = {}, #list, 0
  task.scope(function()
    for _ = 1, math.min(concurrency, n) do
      task.spawn(function()
        while at < n do
          at = at + 1
          local i <const> = at
          results[i] = fn(list[i], i)
        end
      end)
    end
  end)
  return results
end

return task
