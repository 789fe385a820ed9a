---@meta garun.error
--- Error objects: what every garun function raises when something fails. One is a table with the fields below; printing
--- it gives "kind: message" with detail and hint on lines of their own, and `..` joins it with strings.
---
---     local errors <const> = require "garun.error"
---     local ok, err = pcall(db.query, db, "select 1")
---     if not ok and errors.is(err, "pg") and err.retryable then ... end

---@class garun.Error
---@field kind string the module that failed: "pg", "fs", "json", "usage" ...; "error" when nobody said
---@field code? string for programs: SQLSTATE, errno name ("ENOENT"), HTTP status ("503")
---@field message string a sentence: what failed, on what and why
---@field detail? string more about this case, as a server's DETAIL
---@field hint? string what to do
---@field retryable boolean whether the same call may succeed later
---@field at? string the line of the script that met the error, "load.lua:12"
---@field cause? any the error that this one wraps
---@operator concat: string

local errors = {}

---@class garun.error.Fields
---@field kind? string default "error"
---@field code? string|integer kept as a string
---@field message string required
---@field detail? string
---@field hint? string
---@field retryable? boolean default false
---@field cause? any

--- Makes an error object; raise it with error(e). Raises kind "usage" for unknown fields and wrong types.
---
---     error(errors.new { kind = "shop", message = "no price for item " .. id, hint = "run prices.lua first" })
---@param fields garun.error.Fields|string a string is the message
---@return garun.Error
---@nodiscard
function errors.new(fields) end

--- Tells whether v is an error object, and of that kind when one is given.
---@param v any
---@param kind? string
---@return boolean
---@nodiscard
function errors.is(v, kind) end

--- A new error object with the context in front of the message: "while loading 2024-01-05: duplicate key". Kind, code,
--- detail, hint and retryable stay; the old value is in field cause. Strings and other values become error objects.
---
---     local ok, err = pcall(load_day, day)
---     if not ok then error(errors.wrap(err, "while loading " .. day)) end
---@param v any what pcall caught
---@param context string
---@return garun.Error
---@nodiscard
function errors.wrap(v, context) end

--- The name that word was probably meant to be: at most a third of it wrong. Case does not count.
---
---     errors.nearest("ingets", { "ingest", "report" })     --> "ingest"
---@param word string
---@param names string[] at most 9999
---@return string? name nil when none is near
---@nodiscard
function errors.nearest(word, names) end

--- Checks the option table of a function of yours: a key that is not in names raises kind "usage" and says which name
--- is the nearest.
---@param fn string the function's name for the message, "shop.load"
---@param opts table? nil gives an empty table
---@param names string[] the options there are
---@return table opts
function errors.check_options(fn, opts, names) end

return errors
