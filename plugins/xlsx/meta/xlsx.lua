---@meta xlsx
--- Excel workbooks (.xlsx), read and written row by row in constant memory. A plugin: build/plugins/xlsx.so.
---
---     local xlsx <const> = require "xlsx"
---     local book <close> = xlsx.open "UserReport.xlsx"
---     for row, number in book:rows "User Report" do print(number, row[1], row[2]) end
---
---     xlsx.write("users.xlsx", { sheets = { { name = "Users", columns = { "Id", "Name" }, rows = rows } } })
---
--- Reading and writing are done on threads, in batches: other tasks go on meanwhile.

local xlsx = {}

---@class xlsx.OpenOptions
---@field name? string what messages call the workbook; default: the path
---@field max_bytes? integer what a part (a sheet, the shared strings) may inflate to, default 4294967296
---@field max_ratio? number what a part may inflate to beyond 32 MiB, in times its compressed size; default 400
---@field max_strings? integer bytes that the shared strings may take in memory, default 536870912

--- Opens a workbook: a path, or { data = bytes }. The shared strings are read with the first row.
---
--- Raises kind "xlsx": code "encrypted", "xls", "xlsb", "ods", "ole", "not_xlsx", "empty" (what the file is instead),
--- "truncated", "damaged", "missing_part", "xml" (broken, with sheet, row and line), "doctype", "max_bytes", "max_ratio",
--- "max_strings", "bomb"; "ENOENT" and its like. Entities are not supported, external or not, as no workbook has any.
---@async
---@param source string|{data: string}
---@param opts? xlsx.OpenOptions
---@return xlsx.Book
---@nodiscard
function xlsx.open(source, opts) end

---@class xlsx.Book
local Book = {}

---@class xlsx.SheetInfo
---@field name string
---@field state "visible"|"hidden"|"very hidden"
---@field cells boolean false for a chart or dialog, which has no rows

--- The sheets in their order.
---@return xlsx.SheetInfo[]
---@nodiscard
function Book:sheets() end

---@class xlsx.RowsOptions
---@field values? "text"|"typed" default "text"
---@field errors? "text"|"nil" cells that show an error: "#N/A" as text (default), or absent

--- The rows of a sheet: a name (case does not count where no other fits), a number from 1, or nil for the first with cells.
--- A row is an array of its cells with n, the number of its last cell; cells without a value are absent, and rows without
--- cells are left out: the second result is the row's number in the sheet. Of merged cells the first has the value.
---
---     for row, number in book:rows(1, { values = "typed" }) do ... end
---
--- "text": every cell is a string. Numbers are as the file has them (0.1 may be "0.10000000000000001"), but whole ones
--- are digits only: "123" for 123.0 and 1.23E+2, up to 36 digits. Booleans are "TRUE" and "FALSE", dates the numbers
--- that they are.
---
--- "typed": numbers are numbers (integers when whole), booleans booleans, and numbers that the format shows as date or
--- time are ISO text: "2024-01-05", "2024-01-05T06:30:00", "06:30:00", hours beyond 24 for elapsed time. The calendars of
--- 1900 and 1904 are known. A number without a day, as 60 in the calendar of 1900, stays a number.
---
--- Formulas give their stored result. Text is unescaped (_x000D_), phonetic hints are left out.
---
--- Raises kind "xlsx", code "no_sheet" or "no_cells"; then as xlsx.open, and "shared_string", "reference", "cell", "row".
---@param sheet? string|integer
---@param opts? xlsx.RowsOptions
---@return xlsx.Rows
---@return nil
---@return nil
---@return xlsx.Rows
---@nodiscard
function Book:rows(sheet, opts) end

--- Gives the book up; iterators over its rows go on. Closing twice is allowed; `local book <close>` does it too.
function Book:close() end

---@class xlsx.Rows
---@overload fun(): row: table?, number: integer?
local Rows = {}

--- The next row and its number; nil at the end. `for` calls it.
---@async
---@return table? row
---@return integer? number
function Rows:next() end

--- How many formulas without a stored result there were so far: their cells are absent. Programs write such files; Excel
--- stores results when it saves.
---@return integer
---@nodiscard
function Rows:uncalculated() end

--- Ends the reading.
function Rows:close() end

---@class xlsx.Column
---@field title? string of the header row
---@field key? string of rows that are tables by name; default: the title
---@field width? number in characters; default: by the widest text, up to 60
---@field format? string number format, "#,##0.00", "0%", "dd.mm.yyyy"
---@field type? "text"|"number"|"date"|"datetime" text: numbers become text; number: text becomes a number or raises;
---             date, datetime: ISO text becomes a date or raises, default format yyyy-mm-dd [hh:mm:ss]; default: as the
---             value is

---@class xlsx.SheetOptions
---@field name? string 1 to 31 characters, none of []:*?/\; default "Sheet1" ...
---@field columns? (string|xlsx.Column)[] titles or more
---@field header? boolean a bold first row of the titles; default: when there are titles
---@field freeze? boolean the header stays in sight; default true
---@field autofilter? boolean default false

---@class xlsx.SheetRows: xlsx.SheetOptions
---@field rows table[]|fun(): table? a list, or an iterator that may wait

--- Writes a workbook whole: it appears when it is complete, or not at all. Gives the number of rows without headers.
---
---     xlsx.write("orders.xlsx", { sheets = { { name = "Orders", autofilter = true, columns = {
---       { title = "Order", key = "transaction_id" }, { title = "Day", key = "event_date", type = "date" },
---       { title = "Value", key = "order_value", type = "number", format = "#,##0.00" } },
---       rows = db:rows "select * from orders" } } })
---
--- A string is a text cell, whatever it begins with: nothing becomes a formula or a link. Integers beyond 2^53 become
--- text, for a sheet would change their digits. Errors as of Sheet:row.
---@async
---@param path string
---@param opts { sheets: xlsx.SheetRows[] }
---@return integer rows
function xlsx.write(path, opts) end

---@class xlsx.Writer
local Writer = {}

--- Writes a workbook row by row in constant memory. Its temporary files are beside it, nameless.
---
---     local out <close> = xlsx.writer "users.xlsx"
---     local users <const> = out:sheet { name = "Users", columns = { "Id", "Name" } }
---     for u in db:rows "select id, name from users" do users:row { u.id, u.name } end
---     out:finish()
---@param path string
---@return xlsx.Writer
---@nodiscard
function xlsx.writer(path) end

--- Adds a sheet. Sheets may be filled in any order. Raises code "sheet_name" for a name that Excel refuses.
---@param opts? xlsx.SheetOptions
---@return xlsx.Sheet
function Writer:sheet(opts) end

--- Completes the file and renames it into its place; what was there is replaced. Gives the number of rows without headers.
---@async
---@return integer rows
function Writer:finish() end

--- Gives an unfinished workbook up: nothing is left of it. `local out <close>` does it too.
function Writer:close() end

---@class xlsx.Sheet
local Sheet = {}

--- Adds a row: an array (with n when it ends in nil), or a table by name when there are columns. Values are strings,
--- numbers, booleans, nil, json.null.
---
--- Raises kind "xlsx" with sheet, row and column: code "utf8", "size" (32,767 characters), "number", "date", "type",
--- "columns" (16,384), "rows" (1,048,576 with the header); nothing of that row is written then.
---@async
---@param row table
---@return xlsx.Sheet self
function Sheet:row(row) end

return xlsx
