---@meta garun.task
--- Several things at once. A script reads like blocking code; whatever waits (pg, fs, proc, sleep ...) lets other tasks
--- run meanwhile. A task ends after the tasks it started; a failure goes to whoever joins it, else to its parent.
---
--- ```lua
--- local task <const> = require "garun.task"
--- local a <const> = task.spawn(load, "2024-01-05")
--- local b <const> = task.spawn(load, "2024-01-06")
--- print(a:join(), b:join())
--- ```
local task = {}

--- A running function. `local t <close> = task.spawn(...)` cancels it when the block is left and waits for its end; an
--- error of its clean-up is raised there.
---@class garun.Task
local Task = {}

--- Waits for the end of the task and gives its function's results; raises its error.
---@async
---@return any ...
function Task:join() end

--- Raises in the task's current or next wait; its <close> blocks run and may wait. A task cancelled like this is no
--- failure of its parent.
---@param reason? any error value; default: an error of kind "cancelled"
function Task:cancel(reason) end

--- Where it is: "ready", "running", "waiting", "closing" (its function has ended, its children have not), "done" or
--- "failed".
---@return string
function Task:status() end

--- Starts fn(...) as a child of the running task. It runs when the running task waits next. A failure that nobody joins
--- is raised in the parent's current or next wait.
---@param fn function
---@param ... any
---@return garun.Task
function task.spawn(fn, ...) end

--- As spawn, but the task is cancelled when the function that started it ends: heartbeats, progress.
---@param fn function
---@param ... any
---@return garun.Task
function task.background(fn, ...) end

--- Waits.
---@async
---@param seconds number 0 to 1e9; 0 lets the other tasks run
function task.sleep(seconds) end

--- The running task.
---@return garun.Task
function task.current() end

--- Calls fn(...) and gives its results; when it has not ended in time, a timeout error (kind "timeout", retryable) is
--- raised in its current wait.
---@async
---@param seconds number
---@param fn function
---@param ... any
---@return any ...
function task.timeout(seconds, fn, ...) end

--- Calls fn(...) in a task of its own and gives its results, after all tasks that it started have ended. A failure of any
--- of them comes out of this call.
---@async
---@param fn function
---@param ... any
---@return any ...
function task.scope(fn, ...) end

--- Calls fn(value, index) for each value of the list, several at a time, and gives the results in the list's order. The
--- first failure cancels the others and is raised.
---@async
---@param list any[]
---@param fn fun(value: any, index: integer): any
---@param opts? { concurrency: integer } default 8
---@return any[]
function task.map(list, fn, opts) end

--- A bounded queue between tasks. `for value in channel do` ends when it is closed and empty.
---@class garun.Channel
local Channel = {}

--- Waits while the channel is full. Raises when it is closed (kind "task", code "closed"); nil cannot be sent.
---@async
---@param value any
function Channel:send(value) end

--- Waits for a value; nil when the channel is closed and empty.
---@async
---@return any
function Channel:recv() end

--- No more values come: receivers get what is left, then nil; senders get an error.
function Channel:close() end

--- Makes a channel.
---@param capacity? integer values that it holds before send waits; default 1
---@return garun.Channel
function task.channel(capacity) end

return task
