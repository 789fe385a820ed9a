---@meta garun.pipeline
--- Moves records from files into tables, as a mapping says. Records are parsed, checked against the table's types and
--- encoded in a worker process; they never become Lua values.
---
--- ```lua
--- local pipeline <const> = require "garun.pipeline"
--- local result <const> = pipeline.load {
---   from = "orders_*.csv",
---   mode = "merge", key = { "order_id" },
---   mapping = pipeline.mapping {
---     format = "csv", table = "orders",
---     columns = { order_id = "Order No", ordered_on = "Date", amount = { "Total", "Sum" } },
---   },
--- }
--- print(result.loaded, result.rejected)
--- ```
local pipeline = {}

--- What a load came to. Every line is accounted for: lines = loaded + other + duplicates + rejected + out_of_range.
---@class garun.pipeline.Result
---@field lines integer lines that are not empty; with CSV, records
---@field loaded integer rows by the server's own count
---@field other integer records that the route leads to no table
---@field duplicates integer
---@field rejected integer
---@field out_of_range integer
---@field repaired integer rows with NUL, unpaired surrogates or broken UTF-8, replaced by U+FFFD
---@field cut integer texts cut at their column's length
---@field nulled integer numbers that their column cannot hold, loaded as NULL
---@field tables table<string, integer> rows by table
---@field parts table<string, table<string, integer>> rows by partition and table
---@field others table<string, integer> how often each route value that leads nowhere came, at most 1000 of them
---@field deleted? integer rows that mode "replace" removed
---@field changed? integer rows that mode "merge" inserted or updated

---@class garun.pipeline.MappingSpec
---@field name? string for messages; default: the table
---@field format? "ndjson"|"csv" default "ndjson"
---@field table? string the one table; else `tables`
---@field tables? table<string, table<string, garun.pipeline.Column>> what each table adds to `columns`
---@field columns table<string, garun.pipeline.Column> by column name
---@field route? table { from = path, value = table name, ... }: which table a record goes to
---@field partition? string the column whose values are replaced as a whole
---@field duplicates? { key: string[], whole_without: string[] } when two records of a partition are the same: equal values
---   of key; without any of whole_without, when the whole records are equal
---@field delimiter? string CSV: one ASCII character, default ","
---@field quote? string CSV: one ASCII character, default '"'
---@field header? boolean CSV: the first record names the fields; default true
---@field fields? string[] CSV without a header: their names

--- Where a column comes from: a path, or a list of paths of which the first that is not null counts, with options.
--- Paths: `a.b`, `items[0]`, `params[key=title].value` (the element whose member key is "title"; `~` for `=`: case does
--- not matter), `.` (the whole record), `a."odd.name"`. `path:number` takes a number or a string that holds one;
--- `path:json` a sub-tree. In a CSV a path is a field's name.
---@class garun.pipeline.Column
---@field id? boolean too long a value rejects the row; else text is cut at the column's length, in characters
---@field default? string where all paths are null
---@field bad? "null"|"reject" a value that the type cannot hold; default: numbers become NULL, others reject the row
---@field trim? boolean white space at both ends goes
---@field empty? "keep"|"null" what '' is; default "keep"
---@field unit? "s"|"ms"|"us" of times given as numbers; default "us"

--- Declares a mapping. Raises for what is misspelt or contradictory; the tables are looked at when it is used.
---@param spec garun.pipeline.MappingSpec
---@return garun.Mapping
function pipeline.mapping(spec) end

--- A column with the same value in every row.
---@param value string|number|boolean
function pipeline.const(value) end

--- A column filled by whoever runs the mapping (mapping:bind's params).
---@param name string
function pipeline.param(name) end

--- A column with a new time-ordered UUID (RFC 9562, version 7) in every row.
pipeline.uuid = {}

--- A column with the whole record as JSON, without null members.
pipeline.record = {}

--- A declared mapping.
---@class garun.Mapping
local Mapping = {}

--- Looks the tables up in the catalog and gives what pipeline.pump needs. Raises (kind "mapping") when a table or column
--- is missing, of a type that cannot be loaded, or NOT NULL without a source.
---@async
---@param db garun.pg.Connection
---@param opts? { range: { from: string?, to: string? }, params: table }
---@return table bound
function Mapping:bind(db, opts) end

---@class garun.pipeline.LoadOptions
---@field mapping garun.Mapping
---@field from string|string[]|function a path, a glob, "-", a list of them, or a source function
---@field db? garun.pg.Connection default: a connection of its own to the configured database
---@field mode? "append"|"replace"|"merge" replace: every partition that occurs is replaced; merge: by `key`; default append
---@field key? string[] mode merge: the columns of a unique index
---@field range? { from: string?, to: string? } records outside are counted and left out
---@field max_rejects? integer default 1000: more than this and ...
---@field max_reject_percent? number default 1: ... more than this share of the lines stop the load
---@field reject_file? string NDJSON file that takes the rejects
---@field on_progress? fun(totals: table)

--- Loads in one transaction: all or nothing. Raises when a source fails, when too much is rejected (kind "guard"), when
--- the counts of source and server differ.
---@async
---@param opts garun.pipeline.LoadOptions
---@return garun.pipeline.Result
function pipeline.load(opts) end

--- The heart of load, for those with a transaction and a protocol of their own: sources through one worker into the tables
--- of a bound mapping. hooks: part(text) before a partition's first row, reject(r, close_copy), read(bytes),
--- progress(totals, rows by table). Without tx rows are counted and dropped.
---@async
---@param tx garun.pg.Connection?
---@param bound table
---@param sources table[] of garun.source
---@param hooks? table
---@return garun.pipeline.Result
function pipeline.pump(tx, bound, sources, hooks) end

--- Raises unless the server's and the worker's counts are the same and every line is accounted for.
---@param result garun.pipeline.Result
---@param sent table<integer, integer>? rows by table number, by COPY's command tags
---@param bound table
function pipeline.reconcile(result, sent, bound) end

return pipeline
