-- garun.jobs: the row of a job in processing_jobs, its lease and its fence.
--
-- One job = one row. garun.leases says who works on it: owner, epoch, until when. All times are the database's. A job
-- whose lease was taken over has a new epoch, and the old owner can neither commit (fence) nor change the row.

local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local log <const> = require "garun.log"
local pg <const> = require "garun.pg"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"
local uuid <const> = require "garun.uuid"

local heartbeat_seconds <const> = 15
local lease <const> = "interval '60 seconds'"

local jobs <const> = {}
local job <const> = {}
job.__index = job

-- "host:pid:start": a pid alone may be another process by now.
local function start_ticks(pid)
  local file <close> = io.open("/proc/" .. pid .. "/stat", "r")
  local stat <const> = file and file:read("a")
  if not stat then return nil end
  local i = 0
  for field in stat:match("%) (.*)$"):gmatch("%S+") do     -- proc(5): field 22, counted from 3 behind the name
    i = i + 1
    if i == 20 then return field end
  end
  return nil
end

local function owner_name()
  return string.format("%s:%d:%s", proc.hostname(), proc.pid(), start_ticks(proc.pid()))
end

local function lost(self)
  return errors.new { kind = "job", code = "fenced", message = string.format(
    "job %s was taken over by another worker; this one committed nothing more", self.job_id) }
end

-- Jobs whose worker is gone are failed here, so that none stays "processing" for ever: those whose lease has run out, and
-- those of a process on this host that does not exist any more.
function jobs.sweep(db, tenant_id)
  local rows <const> = db:query([[
    select j.id, j.job_id, l.owner, l.epoch, l.lease_until < now() as expired
      from processing_jobs j join garun.leases l on l.job_id = j.id
     where j.tenant_id = $1 and j.status = 'processing' and l.owner is not null]], tenant_id)
  local host <const> = proc.hostname()
  for _, r in ipairs(rows) do
    local at <const>, pid <const>, start <const> = r.owner:match("^(.*):(%d+):(%d+)$")
    local dead <const> = at == host and start_ticks(pid) ~= start
    if r.expired or dead then
      db:transaction(function(tx)
        local taken <const> = tx:exec("update garun.leases set epoch = epoch + 1, owner = null, lease_until = null "
          .. "where job_id = $1 and epoch = $2", r.id, r.epoch)
        if taken == 0 then return end
        tx:exec([[update processing_jobs set status = 'failed', completed_at = now(), updated_at = now(),
                    error_message = $2 where id = $1 and status = 'processing']], r.id,
          "the process that ran it (" .. r.owner .. ") ended without a word; days that it had committed are complete")
      end)
      log.warn("found a job whose process is gone", { job = r.job_id, owner = r.owner })
    end
  end
end

-- Makes the row, already processing, and its lease. opts: { tenant_id, types, first_day, last_day }
function jobs.start(db, opts)
  local self <const> = setmetatable({ db = db, epoch = 1, owner = owner_name(), tenant_id = opts.tenant_id }, job)
  self.job_id = "ingest-" .. uuid.v7()
  db:transaction(function(tx)
    self.id = tx:value([[
      insert into processing_jobs (tenant_id, job_id, status, data_types, start_date, end_date, started_at)
      values ($1, $2, 'processing', $3, $4, $5, now()) returning id]], opts.tenant_id, self.job_id,
      pg.json(json.array(opts.types)), opts.first_day, opts.last_day)
    tx:exec("insert into garun.leases (job_id, kind, epoch, owner, lease_until, heartbeat_at) values ($1, "
      .. "'processing_jobs', $2, $3, now() + " .. lease .. ", now())", self.id, self.epoch, self.owner)
  end)
  return self
end

-- In the load's transaction, just before COMMIT: raises when the job is not ours any more. The row lock keeps a rescuer
-- waiting until the commit is done.
function job:fence(tx)
  if tx:value("select epoch from garun.leases where job_id = $1 and epoch = $2 for share", self.id, self.epoch) == nil then
    error(lost(self), 0)
  end
end

local function beat(self, db)
  local n <const> = db:exec("update garun.leases set heartbeat_at = now(), lease_until = now() + " .. lease
    .. " where job_id = $1 and epoch = $2 and owner = $3", self.id, self.epoch, self.owner)
  if n == 0 then error(lost(self), 0) end
end

local function tell_progress(self, db, progress, records)
  db:exec("update processing_jobs set progress = $2, records_processed = $3, updated_at = now() "
    .. "where id = $1 and status = 'processing'", self.id, pg.json(progress), pg.json(records))
end

-- One connection's worth of keeping alive; ends by an error only.
local function keep_alive(self, conninfo, numbers)
  local db <close> = pg.connect(conninfo)
  local next_beat = self.next_beat
  while true do
    if time.monotonic() >= next_beat then
      beat(self, db)
      next_beat = time.monotonic() + heartbeat_seconds
      self.next_beat = next_beat
    end
    tell_progress(self, db, numbers())
    task.sleep(1)
  end
end

-- Renews the lease and writes progress until the task that this returns is closed. On a connection of its own: it may be
-- cut off in the middle of a statement, and a long statement of the caller must not let the lease run out.
function job:keep_alive(conninfo, numbers)
  self.next_beat = time.monotonic() + heartbeat_seconds
  return task.background(function()
    task.sleep(1)                       -- most loads are over before
    while true do
      local _ <const>, err <const> = pcall(keep_alive, self, conninfo, numbers)
      if not (errors.is(err) and err.retryable) then error(err, 0) end
      log.warn("the job's progress could not be written; the fence decides whether it may still commit",
        { job = self.job_id, error = tostring(err) })
      task.sleep(1)
    end
  end)
end

local function finish(self, status, records, progress, message)
  self.db:transaction(function(tx)
    local mine <const> = tx:exec("update garun.leases set owner = null, lease_until = null where job_id = $1 "
      .. "and epoch = $2", self.id, self.epoch)
    if mine == 0 then error(lost(self), 0) end
    tx:exec([[update processing_jobs set status = $2, records_processed = $3, progress = $4, error_message = $5,
                completed_at = now(), updated_at = now() where id = $1 and status = 'processing']],
      self.id, status, pg.json(records), pg.json(progress), message)
  end)
end

function job:complete(records, progress)
  finish(self, "completed", records, progress, nil)
end

function job:fail(records, progress, err)
  finish(self, "failed", records, progress, (log.redact(tostring(err))))
end

return jobs
