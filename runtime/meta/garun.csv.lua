---@meta garun.csv
--- CSV (RFC 4180), read and written row by row, whatever the size.
---
---     local csv <const> = require "garun.csv"
---     for row, line in csv.reader(text, { header = true }) do print(line, row.customer_id) end
---     local text = csv.encode(db:query "select * from users", { formulas = "neutralise" })

local csv = {}

---@class garun.csv.ReaderOptions
---@field header? boolean|string[] true: the first row has the columns' names; or the names themselves; default false
---@field delimiter? string one ASCII character, default ","
---@field quote? string one ASCII character, default '"'; "" = there are no quotes
---@field trim? boolean true: spaces and tabs around fields are dropped, not those within quotes; default false
---@field lax? boolean true: quotes at odd places are taken as they are; default false: they are errors
---@field ragged? boolean true: rows may have any number of fields; default false: they have that of the first
---@field null? string a field of this text without quotes is absent (nil); default: none is
---@field keep_blank? boolean true: a blank line is a row of one empty field; default false: it is nothing
---@field encoding? "utf-8"|"windows-1252"|"bytes" default "utf-8"
---@field max_row? integer bytes of a row, 1 to 2^30, default 16777216

--- A row is a list of strings or, with a header, a table by name.
---@alias garun.csv.Row string[]|table<string, string>

---@class garun.csv.Reader
---@overload fun(): row: garun.csv.Row?, line: integer?
local Reader = {}

--- The next row and the number of the line where it begins; nil at the end. `for row, line in reader do` does so too.
---
--- Raises kind "csv", code "quote" (where the quote opens), "fields", "header", "utf8" or "size", with line, byte
--- within the line (from 1) and field. After an error the reader is closed.
---@async
---@return garun.csv.Row? row
---@return integer? line
function Reader:next() end

--- The names of the columns; nil without a header, or before the first row was read.
---@return string[]?
---@nodiscard
function Reader:columns() end

--- Gives the reader's memory back. Closing twice is allowed; `local r <close>` does it too.
function Reader:close() end

--- Reads rows from a string or from a function that gives the text in chunks of any size and nil at the end; it may
--- wait. LF, CR LF and CR end a line. A byte order mark is passed over.
---
---     for row in csv.reader(file:chunks(), { delimiter = ";", encoding = "windows-1252" }) do ... end
---
--- With option header rows are tables by name, else lists. Fields beyond the names (ragged) are at [1], [2] ...
--- Encoding "utf-8" checks the text, "windows-1252" converts it to UTF-8, "bytes" takes it unchecked. max_row bounds
--- the memory and finds a quote that is never closed.
---@param source string|fun(): string?
---@param opts? garun.csv.ReaderOptions
---@return garun.csv.Reader
---@nodiscard
function csv.reader(source, opts) end

--- All rows of a text at once. Options and errors as of csv.reader.
---@param text string
---@param opts? garun.csv.ReaderOptions
---@return garun.csv.Row[] rows
---@nodiscard
function csv.decode(text, opts) end

---@class garun.csv.WriterOptions
---@field columns? string[] the columns in their order; rows may then be tables by name
---@field header? boolean whether the columns' names are the first row; default: true when there are columns
---@field delimiter? string one ASCII character, default ","
---@field quote? string one ASCII character, default '"'
---@field quote_all? boolean true: every string is quoted; default false: those that need it
---@field newline? "\r\n"|"\n" default "\r\n"
---@field null? string what stands for nil and json.null, default ""; when given, strings that look the same are quoted
---@field formulas? "keep"|"neutralise" what to do about strings that a spreadsheet would calculate, default "keep"
---@field bom? boolean true: a UTF-8 byte order mark first, by which Excel knows the encoding; default false

---@class garun.csv.Writer
local Writer = {}

--- Writes a row: a list or, with option columns, a table by name (one without element 1). All rows have the width of
--- the first, or of the columns. Fields are strings, finite numbers, booleans, nil or json.null. Every 64 KiB or so the
--- sink is called.
---
--- Raises kind "csv", code "fields", "type" or "number"; nothing of that row is written then.
---@async
---@param row table
---@return garun.csv.Writer self
function Writer:row(row) end

--- Hands to the sink what is held back.
---@async
---@return garun.csv.Writer self
function Writer:flush() end

--- Flushes and ends the writer. Without it the last rows are dropped when the writer is closed: closing never waits.
---@async
---@return integer rows written, without the header
function Writer:finish() end

--- Gives the writer's memory back and drops what was not flushed.
function Writer:close() end

--- Writes rows to a function that takes chunks of text, or to an object with a method write; both may wait.
---
--- formulas = "neutralise" puts ' before strings that begin with = + - @, a tab or a line end and are no plain numbers
--- (OWASP, CSV injection). Use it for files that people open, not for files that programs read.
---
---     local out <close> = csv.writer(function(chunk) file:write(chunk) end, { columns = { "id", "name" } })
---     for row in db:rows "select id, name from users" do out:row(row) end
---     out:finish()
---@param sink fun(chunk: string)|{write: fun(self: any, chunk: string)}
---@param opts? garun.csv.WriterOptions
---@return garun.csv.Writer
---@nodiscard
function csv.writer(sink, opts) end

--- The text of all rows at once. When rows are tables by name the columns are option columns, or the list rows.columns
--- (as query results have it), or the sorted names of the first row. Options and errors as of csv.writer.
---@param rows table[]
---@param opts? garun.csv.WriterOptions
---@return string text
---@nodiscard
function csv.encode(rows, opts) end

return csv
