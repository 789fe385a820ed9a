---@meta garun.json
--- An exact JSON codec (RFC 8259). Integers of 64 bits are integers and floats are floats, in both directions and to
--- the last digit: 1.0 is written as 1.0. Text is UTF-8 and checked. Decoded arrays stay arrays when they are empty.
---
---     local json <const> = require "garun.json"
---     local order = json.decode '{"id":1618065507111835497,"lines":[]}'
---     print(json.encode(order))                                    --> the same text
---
--- A null element of an array is json.null, which keeps its place; a null member of an object is absent, as nil is in
--- Lua, unless option nulls keeps it. json.null is not false: compare it, `if v ~= json.null`.

local json = {}

--- Stands for null where nil cannot: in arrays, and in objects on request. It is the same value as cjson.null.
---@type lightuserdata
json.null = nil

---@class garun.json.DecodeOptions
---@field nulls? boolean true: null members, and a document that is null, are json.null; default false: nil
---@field big? "string"|"float"|"error" what becomes of numbers beyond 64-bit integers and floats, default "string"
---@field duplicates? "last"|"error" a name that comes twice in an object, default "last"
---@field utf8? "error"|"replace" broken UTF-8 and unpaired surrogates: raise (default), or U+FFFD in their place
---@field excerpt? boolean false: error texts do not quote the document, for documents that hold secrets; default true

--- Reads a JSON document. At most 512 levels deep. A byte order mark at the beginning is passed over.
---
--- Option big: "string" keeps all digits, the default because nothing is lost; "float" rounds; "error" raises. Of equal
--- names the last wins, as in PostgreSQL's jsonb. With nulls = true encode writes what decode read.
---
--- Raises kind "json" with code "syntax", "utf8", "number", "duplicate" or "depth"; the message has line and column
--- (in characters, from 1), detail shows the place as `before >>> after`.
---@param text string
---@param opts? garun.json.DecodeOptions
---@return any value
---@nodiscard
function json.decode(text, opts) end

---@class garun.json.EncodeOptions
---@field pretty? boolean true: indented by two spaces
---@field indent? integer|string spaces (0 to 16) or white space of one level
---@field sort_keys? boolean members in the order of their bytes: stable text; default: true when indented
---@field html? boolean true: < > & U+2028 U+2029 as \u escapes, for text within a script element
---@field utf8? "error"|"replace" strings that are not UTF-8: raise (default), or U+FFFD for each bad byte

--- Writes a value as JSON. A table with the keys 1..n is an array, one with strings an object, an empty one {} unless
--- json.array marked it. A class may say what its tables are by a field __jsontype = "array" or "object" of its
--- metatable; such an array is its elements 1..#t. Metamethods are not called.
---
--- Raises kind "json" and names the place by its path ("items[3].price: NaN cannot be written in JSON"), with code
--- "number" (NaN, infinity), "sparse" (holes), "keys" (numbers and names mixed), "utf8", "type" (functions ...) or
--- "depth" (deeper than 512: a table that contains itself).
---@param value any
---@param opts? garun.json.EncodeOptions
---@return string text
---@nodiscard
function json.encode(value, opts) end

--- Marks a table as an array, so that it is written as [] when it is empty and refused when it has other keys.
---
---     json.encode { tags = json.array {} }     --> {"tags":[]}
---@generic T: table
---@param t? T default: a new table
---@return T t the same table
function json.array(t) end

--- Marks a table as an object: integer keys become names ("10"), and an array that was decoded becomes an object again.
---@generic T: table
---@param t? T default: a new table
---@return T t the same table
function json.object(t) end

--- Tells whether encode would write v as an array.
---@param v any
---@return boolean
---@nodiscard
function json.is_array(v) end

return json
