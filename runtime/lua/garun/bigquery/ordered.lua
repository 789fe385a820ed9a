-- garun.bigquery.ordered: several things fetched at once, read in their order, with a bound on what waits.
--
-- Owns the tasks that fetch; they end with the task that opened it, or with close(). What one of them raises is raised
-- in the reader.

local task <const> = require "garun.task"

local ordered <const> = {}

local merged_bytes <const> = 256 << 10     -- small chunks are joined: a hand-over costs a switch of tasks

-- opts: next() gives the next item or nil; fetch(item, put) fetches it and calls put(text) for what it has; parallel:
-- items under way beside the one that is read; capacity: chunks of 256 KiB that wait of each; finish(): called in the
-- reader when all has been read; cleanup(): called at the end, whatever it was. Gives read(), close().
function ordered.open(opts)
  local slots <const> = task.channel(opts.parallel)
  local failed, current, ended
  local function fetch(item, channel)
    local parts, bytes = {}, 0
    local function flush()
      if bytes == 0 then return end
      local text <const> = table.concat(parts)
      parts, bytes = {}, 0
      channel:send(text)
    end
    opts.fetch(item, function(text)
      parts[#parts + 1] = text
      bytes = bytes + #text
      if bytes >= merged_bytes then flush() end
    end)
    flush()
    channel:close()
  end
  local function run()
    for item in opts.next do
      local channel <const> = task.channel(opts.capacity)
      slots:send(channel)             -- waits while enough is under way
      task.spawn(fetch, item, channel)
    end
  end
  local worker <const> = task.background(function()
    local ok <const>, err <const> = pcall(function()
      local _ <close> = setmetatable({}, { __close = opts.cleanup or function() end })
      local all <close> = task.spawn(run)     -- ended, with all that it started, when this block is left
      all:join()
    end)
    if not ok then failed = { err } end
    slots:close()
    if not ok and current then current:close() end      -- wakes a reader, who looks at `failed` first
  end)
  local function check()
    if failed then error(failed[1], 0) end
  end
  local function read()
    while not ended do
      check()
      current = current or slots:recv()
      if not current then
        check()
        ended = true
        if opts.finish then opts.finish() end
        return nil
      end
      local text <const> = current:recv()
      if text then return text end
      current = nil
    end
    return nil
  end
  return read, function()
    ended = true
    worker:cancel()
  end
end

return ordered
