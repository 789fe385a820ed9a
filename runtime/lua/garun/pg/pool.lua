-- garun.pg.pool: connections that are kept and lent out, with the meaning that SQLAlchemy gives to size, max_overflow,
-- timeout and recycle.
--
-- A lent connection is a new handle each time (core.move), so a handle that was given back cannot reach the connection
-- any more. Giving back never waits: a connection that is not clean (open transaction, broken, unread data that cannot
-- be read) is closed, and the next borrower gets a new one. Waiters are served first come first served.

local core <const> = require "garun.core.pg"
local config <const> = require "garun.config"
local connect <const> = require "garun.pg.connect"
local errors <const> = require "garun.error"
local core_task <const> = require "garun.core.task"
local time <const> = require "garun.time"

local M <const> = {}

local pool <const> = {}
pool.__index = pool
pool.__name = "pg.pool"
pool.__metatable = false

local OPTIONS <const> = { "size", "max_overflow", "timeout", "recycle", "reset" }

local function number(opts, name, variable, default, low)
  local value = opts[name]
  if value == nil then value = tonumber(config.get(variable)) or default end
  if type(value) ~= "number" or not (value >= low) then
    error(errors.new { kind = "usage",
      message = string.format("pg.pool: option '%s' must be a number, %d or more", name, low) }, 0)
  end
  return value
end

function M.new(conninfo, opts)
  opts = errors.check_options("pg.pool", opts, OPTIONS)
  if opts.reset ~= nil and opts.reset ~= "rollback" and opts.reset ~= "discard" then
    error(errors.new { kind = "usage",
      message = "pg.pool: option 'reset' must be \"rollback\" or \"discard\"" }, 0)
  end
  return setmetatable({
    conninfo = conninfo,
    size = number(opts, "size", "DATABASE_POOL_SIZE", 10, 1),
    max_overflow = number(opts, "max_overflow", "DATABASE_MAX_OVERFLOW", 5, 0),
    wait = number(opts, "timeout", "DATABASE_POOL_TIMEOUT", 30, 0),
    recycle = number(opts, "recycle", "DATABASE_POOL_RECYCLE", 1800, 0),
    discard = opts.reset == "discard",
    total = 0,          -- connections that exist, and those being opened
    idle = {},          -- items { conn, born, session, used }, the latest one last
    waiters = {},       -- { park, item | slot }, first come first
    closed = false,
  }, pool)
end

-- Gives a free place to the first waiter, as an item or as the right to open a connection.
local function serve(self, item)
  local waiter <const> = table.remove(self.waiters, 1)
  if not waiter then return false end
  if item then waiter.item = item else waiter.slot = true end
  waiter.park:wake()
  return true
end

local function free_slot(self)
  self.total = self.total - 1
  if self.total < self.size + self.max_overflow and #self.waiters > 0 then
    self.total = self.total + 1
    serve(self, nil)
  end
end

local function put_back(self, item)
  if self.closed then
    item.conn:close()
    free_slot(self)
  elseif not serve(self, item) then
    self.idle[#self.idle + 1] = item
  end
end

-- Called by the C side in place of closing a lent handle. If the handle still has its connection afterwards it is
-- closed.
local function returned(self, handle, item)
  self.lent = (self.lent or 1) - 1
  local clean <const> = handle:alive() and not handle:in_transaction()
  local surplus <const> = self.total > self.size and #self.waiters == 0
  if not clean or self.closed or surplus then
    free_slot(self)
    return
  end
  item.conn = core.move(handle)
  put_back(self, item)
end

local function lend(self, item)
  local handle <const> = item.conn
  item.conn = nil
  item.used = true
  self.lent = (self.lent or 0) + 1
  connect.sessions[handle] = item.session
  core.on_close(handle, function(h) returned(self, h, item) end)
  return handle
end

-- Runs fn and tells whether it succeeded; a failure that is not PostgreSQL's, a cancellation above all, is not
-- swallowed.
local function attempt(fn, ...)
  local ok <const>, err <const> = pcall(fn, ...)
  if not ok and not errors.is(err, "pg") then error(err, 0) end
  return ok
end

local function reset(item)
  item.conn:exec { "DISCARD ALL", prepare = false, timeout = item.session.timeout }
  core.forget_statements(item.conn)
  connect.set_up(item.conn, item.session.sql, item.session.timeout)
end

-- True when the idle connection may be lent: young enough, alive, and reset if the pool is told so.
local function fit(self, item)
  if self.recycle > 0 and time.monotonic() - item.born > self.recycle then return false end
  if not item.conn:alive() then return false end
  return not (self.discard and item.used) or attempt(reset, item)
end

local function open(self)       -- a place is reserved already
  local ok <const>, conn = pcall(connect.connect, self.conninfo)
  if not ok then
    free_slot(self)
    error(conn, 0)
  end
  return { conn = conn, born = time.monotonic(), session = connect.sessions[conn], used = false }
end

local function timed_out(self, seconds)
  return errors.new {
    kind = "pg", code = "pool_timeout", retryable = true,
    message = string.format("pool:connect: no connection became free within %g s; %d of %d are in use (size %d, "
      .. "max_overflow %d)", seconds, self.lent or 0, self.size + self.max_overflow, self.size, self.max_overflow),
    hint = "give connections back sooner (pool:with does it by itself), or raise DATABASE_POOL_SIZE, "
      .. "DATABASE_MAX_OVERFLOW or DATABASE_POOL_TIMEOUT",
  }
end

local function leave_queue(self, waiter)
  for i, w in ipairs(self.waiters) do
    if w == waiter then
      table.remove(self.waiters, i)
      return
    end
  end
end

-- Waits for an item or a place; nil at the timeout.
local function queue(self, seconds)
  local waiter <const> = { park = core_task.park() }
  self.waiters[#self.waiters + 1] = waiter
  local mine <const> = {}
  local ok <const>, err <const> = pcall(function()
    local alarm <close> = core_task.alarm(seconds, mine)
    waiter.park:wait()
    return alarm
  end)
  if ok then return waiter end
  leave_queue(self, waiter)
  if rawequal(err, mine) then       -- ours; what was handed over in the same moment is taken
    return (waiter.item or waiter.slot) and waiter or nil
  end
  if waiter.item then put_back(self, waiter.item) elseif waiter.slot then free_slot(self) end
  error(err, 0)
end

local function check_open(self)
  if self.closed then
    error(errors.new { kind = "pg", code = "closed", message = "pool:connect: the pool is closed" }, 0)
  end
end

function pool:connect(timeout)
  local seconds <const> = timeout or self.wait
  local item, slot
  check_open(self)
  if #self.waiters > 0 or self.total >= self.size + self.max_overflow and #self.idle == 0 then
    local got <const> = queue(self, seconds)
    if not got then error(timed_out(self, seconds), 0) end
    item, slot = got.item, got.slot
  else
    item = table.remove(self.idle)
    if not item then
      self.total = self.total + 1
      slot = true
    end
  end
  if self.closed then
    if item then item.conn:close() end
    free_slot(self)
    check_open(self)
  end
  if slot then return lend(self, open(self)) end
  local ok <const>, fits <const> = pcall(fit, self, item)
  if ok and fits then return lend(self, item) end
  item.conn:close()
  if not ok then
    free_slot(self)
    error(fits, 0)
  end
  return lend(self, open(self))       -- in its place
end

function pool:with(fn, ...)
  local db <close> = self:connect()
  local results <const> = table.pack(core.call(fn, db, ...))
  if db:status() == "transaction" then attempt(db.exec, db, { "ROLLBACK", prepare = false, timeout = 10 }) end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

function pool:status()
  return {
    size = self.size, max_overflow = self.max_overflow, total = self.total, idle = #self.idle,
    in_use = self.lent or 0, waiting = #self.waiters, closed = self.closed,
  }
end

function pool:close()
  if self.closed then return end
  self.closed = true
  local idle <const> = self.idle
  self.idle = {}
  for _, item in ipairs(idle) do
    item.conn:close()
    self.total = self.total - 1
  end
  while #self.waiters > 0 do
    self.total = self.total + 1
    serve(self, nil)        -- they wake up to a closed pool
  end
end

pool.__close = pool.close

function pool:__tostring()
  local s <const> = self:status()
  return string.format("pg.pool(%d in use, %d idle%s)", s.in_use, s.idle, s.closed and ", closed" or "")
end

return M
