---@meta garun.copy
--- Whole COPYs in one call, on top of db:copy_in and db:copy_out of garun.pg. Each stores everything or nothing and
--- gives the number of rows by the server's count; errors are those of garun.pg, and what the iterator or source
--- raises.

local copy = {}

--- Stores rows from an iterator: each call gives an array with one value per column, nil at the end.
---
---     copy.rows(db, "users", { "user_id", "email" }, csv.reader(source))
---@async
---@param db pg.Conn
---@param what string the table
---@param columns string[]
---@param next_row fun(): table?
---@return integer rows
function copy.rows(db, what, columns, next_row) end

--- Stores ready data from a source of chunks, cut anywhere: COPY text, or what options.format says.
---
---     copy.text(db, "users", { "user_id", "email" }, fs.source("users.csv"), { format = "csv", header = true })
---@async
---@param db pg.Conn
---@param what string the table, or a whole COPY statement
---@param columns? string[]
---@param source fun(): string?
---@param options? pg.CopyOptions
---@return integer rows
function copy.text(db, what, columns, source, options) end

--- Carries rows from one connection to another one without making Lua values of them.
---
---     copy.between(old, "select * from users where tenant_id = 7", new, "users")
---@async
---@param from_db pg.Conn
---@param from string a table, a query, or a COPY ... TO STDOUT statement
---@param to_db pg.Conn another connection
---@param what string the table
---@param columns? string[]
---@return integer rows
function copy.between(from_db, from, to_db, what, columns) end

return copy
