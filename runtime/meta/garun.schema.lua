---@meta garun.schema
--- Brings a database to what the files of sql/ say, and tells where it differs. What garun init and garun init_db.lua
--- do.
---
---     local db <close> = pg.connect()
---     local done = schema.apply(db)
---     print(#done.created, #done.migrations)

local schema = {}

---@class garun.schema.Options
---@field tables? string[] names of sql/tables/*.sql in the order in which they are made; default: by their REFERENCES
---@field dir? string directory that holds tables/, runtime/ ...; default: sql/ of the checkout or installation
---@field schema? string where the tenant's tables are; default "public"
---@field lock_timeout? number seconds to wait for a table that is in use, default 10
---@field log? fun(text: string)|false hears of each thing done; default: the log, level info; false: nobody

---@class garun.schema.Difference
---@field kind "table"|"column"|"index"|"constraint"|"migration"
---@field table string name of the table, with the prefix "garun." for garun's own
---@field name string name of the column, index, constraint or migration
---@field what "missing"|"type"|"definition"|"invalid"|"compression"|"comment"|"pending"|"changed"|"unknown"|"gap"
---@field text string a sentence for people
---@field wanted? string what the files say
---@field got? string what the database has
---@field hint? string what to do about a migration
---@field mended boolean whether schema.apply puts it right

---@class garun.schema.Report
---@field created string[] tables and indexes made
---@field mended string[] tables brought up to date
---@field unchanged integer files whose tables and indexes were there
---@field functions integer files of functions run
---@field migrations {version: integer, name: string, seconds: number}[] migrations applied
---@field differences garun.schema.Difference[] what still differs; also logged as warnings
---@field seconds number

--- Makes tables, garun's own tables, functions and indexes where they are missing and applies the migrations that are
--- new, in one transaction: all of it or nothing. Two runs at once come one after the other. What is there already is
--- not locked, so it can run while loads do. It drops nothing and changes no type: such differences are reported.
--- Raises kind "schema": code "migration" (a file was changed after it was applied, a gap, the database is newer than
--- the files), "order", "syntax", "transaction", "missing", "version" (server older than 14), "locked" (another run
--- takes over a minute), or the server's SQLSTATE with the file and line in the message; 55P03 when a table stayed in
--- use, with those who hold it.
---
---     schema.apply(db, { log = print })
---@async
---@param db garun.pg.Connection
---@param options? garun.schema.Options
---@return garun.schema.Report
function schema.apply(db, options) end

--- Where the database differs from the files, migrations included; empty when it does not. Changes nothing: it makes
--- the tables in a scratch schema and rolls that back, so the role needs CREATE on the database. Tables, columns and
--- indexes that only the database has are no difference. Raises as schema.apply, but not for migrations.
---
---     for _, d in ipairs(schema.check(db)) do print(d.text) end
---@async
---@param db garun.pg.Connection
---@param options? garun.schema.Options
---@return garun.schema.Difference[]
function schema.check(db, options) end

--- The number of the newest migration the database has had; nil when it was never set up.
---@async
---@param db garun.pg.Connection
---@return integer?
function schema.version(db) end

return schema
