---@meta garun.proc
--- Child processes, without a shell between: arguments arrive as they are.
---
---     local proc <const> = require "garun.proc"
---     local r <const> = proc.run { "pg_dump", "--schema-only", "shop", timeout = 60 }
---     if r.status ~= 0 then error(r.stderr) end
---
---     local p <close> = proc.spawn { "tail", "-F", path, stdout = "pipe" }
---     for line in p:lines() do ... end
---
--- Errors have kind "proc". A child ends with its handle: SIGTERM, after the grace SIGKILL, and nobody waits for it.

local proc = {}

---@class garun.proc.SpawnOptions
---@field [integer] string|integer the program (looked up in PATH) and its arguments
---@field env? table<string, string|number|false> variables set or, with false, removed; the others are inherited
---@field clear_env? boolean true: nothing is inherited; default false
---@field cwd? string
---@field stdin? "pipe"|"null"|"inherit"|string|garun.Source default "null"; any other text is data
---@field input? string|garun.Source data for standard input, whatever they say
---@field stdout? "pipe"|"null"|"inherit"|string or the path of a file that is appended to; spawn inherits, run pipes
---@field stderr? "pipe"|"null"|"inherit"|"stdout"|string the same; "stdout": where that goes
---@field uid? integer run as this user; its group is used unless gid is given
---@field gid? integer
---@field user? string a user's name instead of uid and gid
---@field new_group? boolean true: a session and process group of its own; signals go to all of it; default false
---@field detach? boolean true: a group of its own, and it outlives its handle and garun; default false
---@field grace? number seconds from SIGTERM to SIGKILL, 0 to 3600, default 5

---@class garun.proc.Exit
---@field status? integer 0 to 255; nil when a signal ended it
---@field signal? string "SIGKILL"; nil when it ended by itself

---@class garun.proc.Process
---@field pid integer
local Process = {}

--- Waits for the end; nil when the time is over before.
---@async
---@param timeout? number seconds, default: as long as it takes
---@return garun.proc.Exit?
function Process:wait(timeout) end

--- Sends a signal; false when the process has ended already.
---@param signal? string|integer "TERM" (default), "SIGKILL", 9 ...
---@return boolean sent
function Process:kill(signal) end

--- Sends SIGTERM now and SIGKILL after the grace; does not wait.
function Process:terminate() end

--- A source of what the child writes to standard output (stdout = "pipe"). A child that writes faster than it is read
--- waits.
---@return garun.Source
---@nodiscard
function Process:stdout() end

--- A source of what it writes to standard error (stderr = "pipe").
---@return garun.Source
---@nodiscard
function Process:stderr() end

--- The lines of its standard output.
---@param opts? garun.fs.LinesOptions
---@return fun(): string?
---@nodiscard
function Process:lines(opts) end

--- Writes to its standard input (stdin = "pipe") and waits until the pipe has taken it. Raises code "EPIPE" when the
--- child has closed it.
---@async
---@param data string
---@return garun.proc.Process self
function Process:write(data) end

--- Ends its standard input.
function Process:close_stdin() end

--- Gives the process up: it is terminated, unless it was detached. `local p <close>` does it too.
function Process:close() end

--- Starts a program.
---@param spec garun.proc.SpawnOptions
---@return garun.proc.Process
---@nodiscard
function proc.spawn(spec) end

---@class garun.proc.RunOptions: garun.proc.SpawnOptions
---@field timeout? number seconds; then the child is terminated; default none
---@field max_output? integer bytes of stdout and of stderr each, default 16777216; beyond it the child is terminated

---@class garun.proc.Result: garun.proc.Exit
---@field stdout? string when it was piped
---@field stderr? string when it was piped
---@field timed_out? true the timeout ended it
---@field truncated? true max_output ended it

--- Runs a program to its end and collects what it wrote. A status other than 0 is no error: look at the result. Output
--- that comes later than a second after the end, from what the program left in the background, is not waited for.
---@async
---@param spec garun.proc.RunOptions
---@return garun.proc.Result
---@nodiscard
function proc.run(spec) end

--- The id of this process.
---@return integer
---@nodiscard
function proc.pid() end

--- The effective user of this process.
---@return integer
---@nodiscard
function proc.uid() end

---@class garun.proc.User
---@field name string
---@field uid integer
---@field gid integer
---@field home string
---@field shell string

--- A user of this machine by name or uid; nil when there is none.
---@param name string|integer
---@return garun.proc.User?
---@nodiscard
function proc.user(name) end

--- Whether a process with that id exists (it may be another one than meant: ids are used again).
---@param pid integer
---@return boolean
---@nodiscard
function proc.exists(pid) end

--- The name of this machine.
---@return string
---@nodiscard
function proc.hostname() end

return proc
