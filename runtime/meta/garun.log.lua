---@meta garun.log
--- Records on standard error: one line each, logfmt or JSON, for people and for log collectors.
---
---     local log <const> = require "garun.log"
---     log.info("day loaded", { day = "2024-01-05", rows = 120345, seconds = 4.2 })
---     local l <const> = log.with { tenant = "acme" }
---     l.warn("source is late")
---
---     time=2024-01-06T02:00:04.120Z level=info msg="day loaded" day=2024-01-05 rows=120345 seconds=4.2
---
--- GARUN_LOG_LEVEL is debug, info (default), warn or error; GARUN_LOG_FORMAT is logfmt (default) or json. Control and
--- invisible characters are escaped, registered secrets are replaced by ***, a value of more than 8 KiB is cut. Fields
--- come in the order of their names, those of log.with first. A record that cannot be written is dropped; the next one
--- that can has the number of them as lost_lines.

local log = {}

---@class garun.log.Logger
local Logger = {}

--- Writes a record. An error object as message becomes its message, with kind, code, detail, hint and at as fields.
---@param message any
---@param fields? table<string, any>
function Logger.debug(message, fields) end

--- Writes a record about what goes as it should.
---@param message any
---@param fields? table<string, any>
function Logger.info(message, fields) end

--- Writes a record about what somebody should look at some day.
---@param message any
---@param fields? table<string, any>
function Logger.warn(message, fields) end

--- Writes a record about what failed.
---@param message any
---@param fields? table<string, any>
function Logger.error(message, fields) end

--- A logger whose records carry these fields as well.
---@param fields table<string, any>
---@return garun.log.Logger
---@nodiscard
function Logger.with(fields) end

--- Writes a record for someone who looks for a fault.
---@param message any text, or an error object, which becomes its message with its parts as fields
---@param fields? table<string, any> strings, numbers, booleans; tables are shown as {a=1}, at most three levels
function log.debug(message, fields) end

--- Writes a record about what goes as it should.
---@param message any
---@param fields? table<string, any>
function log.info(message, fields) end

--- Writes a record about what somebody should look at some day.
---@param message any
---@param fields? table<string, any>
function log.warn(message, fields) end

--- Writes a record about what failed.
---@param message any
---@param fields? table<string, any>
function log.error(message, fields) end

--- A logger whose records carry these fields; those of a record win over them.
---@param fields table<string, any>
---@return garun.log.Logger
---@nodiscard
function log.with(fields) end

--- Whether records of a level are written.
---@param level "debug"|"info"|"warn"|"error"
---@return boolean
---@nodiscard
function log.enabled(level) end

--- The lowest level that is written.
---@return "debug"|"info"|"warn"|"error"
---@nodiscard
function log.level() end

---@class garun.log.Options
---@field level? "debug"|"info"|"warn"|"error"
---@field format? "logfmt"|"json"

--- Changes level or format for the whole process.
---@param opts garun.log.Options
function log.configure(opts) end

--- Registers a value that must never be printed, in plain or percent-encoded, and returns it. Raises for one of fewer
--- than four bytes.
---@param value string
---@return string value
function log.secret(value) end

--- The text with all registered secrets replaced by ***.
---@param text string
---@return string
---@nodiscard
function log.redact(text) end

return log
