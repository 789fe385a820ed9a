---@meta garun.private_pg
--- garun's own PostgreSQL, used while POSTGRES_HOST is not set: a cluster under var/pg, made with the newest server
--- programs of the machine, on a Unix socket only, never run as root, started by whoever needs it. See garun db.
---
--- The role garun is its superuser; the owner of the cluster and root reach it without a password, all other roles need
--- one. Everything raises kind "db": code "missing" (no server programs), "version" (the cluster is another major
--- version's), "owner" (it belongs to another user), "user", "directory", "socket", "start", "stop", "orphans",
--- "elsewhere", "command"; kind "fs", code "locked" when another garun holds the cluster's lock for 11 minutes.

local private_pg = {}

---@class garun.private_pg.Settings
---@field host string directory of the socket
---@field port integer
---@field user string
---@field database string

---@class garun.private_pg.Options
---@field var? string the directory the cluster is below, default config.var()
---@field log? fun(text: string)|false hears of what is unexpected; default: the log, level info; false: nobody

---@class garun.private_pg.Status
---@field state "absent"|"stopped"|"crashed"|"starting"|"ready"|"stopping"
---@field running boolean whether it accepts connections
---@field pid? integer of the postmaster
---@field since? integer when it was started, seconds since 1970
---@field version? string major version of the cluster
---@field data string directory of the cluster
---@field socket? string directory of the socket
---@field log string directory of the log
---@field user? string system user the cluster belongs to

--- Connection settings of the server, which is made and started when it does not run. The database is
--- POSTGRES_DATABASE, made when there is none, else garun.
---
---     local db <close> = pg.connect(private_pg.ensure())
---@async
---@param options? garun.private_pg.Options
---@return garun.private_pg.Settings
function private_pg.ensure(options) end

--- Starts the server when it does not run, and waits until it accepts connections.
---@async
---@param options? garun.private_pg.Options
---@return boolean started whether it had to be started
---@return garun.private_pg.Settings
function private_pg.start(options) end

--- Stops the server: sessions are ended, their transactions rolled back. Waits until it is gone, at most 300 seconds.
--- options.mode is "fast" (the default) or "immediate", which leaves the next start to recover.
---@async
---@param options? garun.private_pg.Options|{mode: "fast"|"immediate"}
---@return boolean stopped whether it ran
function private_pg.stop(options) end

--- Stops the server and deletes the cluster with all its data.
---@async
---@param options? garun.private_pg.Options
---@return boolean deleted whether there was one
function private_pg.destroy(options) end

--- What is known of the cluster; starts nothing.
---@param options? {var: string}
---@return garun.private_pg.Status
function private_pg.status(options) end

--- A connection URL for psql and every other libpq program; starts the server when it does not run.
---
---     print(private_pg.url())   --> postgresql:///garun?host=%2Fsrv%2Fgarun%2Fvar%2Fpg%2Frun&port=5432&user=garun
---@async
---@return string
function private_pg.url() end

--- psql's path and the environment with which it reaches the server, which is started when it does not run.
---@async
---@return string program
---@return table<string, string> environment
function private_pg.psql() end

return private_pg
