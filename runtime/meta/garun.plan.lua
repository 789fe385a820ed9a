---@meta garun.plan
--- Packs load plans. A plan says what becomes of each record of a source: the tables, where each column comes from,
--- what is cut, made NULL or rejected, what makes two records the same. garun.pipeline makes and packs plans by itself;
--- use this module to see what it does or to drive a worker of your own.
---
---     local bytes = plan.pack {
---       route = { from = "event_name", values = { purchase = "purchase", page_view = "page_view" } },
---       tables = { { name = "purchase", partition = "event_date", columns = { ... } }, ... },
---     }
---
--- Paths: `a.b.c` members, `items[0]` an element, `params[key=page_title].value` the first element whose member `key`
--- is that text, `props[key~userid]` the same without case (ASCII), `.` the whole record. Odd names are quoted:
--- `a."x.y"`, `params[key="a]b"]`. With CSV a path is the name of a column, taken as it is, or `.`, the whole record as
--- an object without its nulls.

local plan = {}

---@class garun.plan.Source
---@field path string
---@field as? "text"|"number"|"int"|"json" how to read it. text: a string as it is, anything else as its JSON text.
---  number (or int): a number or a string that holds one, in plain form (16.0 is 16, 1.5E7 is 15000000, all digits
---  kept); a string that holds none as it is. json: the JSON text, null members of objects left out. Default: json
---  for json and jsonb columns, number for numeric types, else text.

---@alias garun.plan.From string|garun.plan.Source|(string|garun.plan.Source)[] the first that is not null counts; at
---  most 32

---@class garun.plan.Column
---@field name string
---@field type string as PostgreSQL's format_type() gives it: "text", "character varying(100)", "numeric(15,2)",
---  "timestamp with time zone" ...; domains and arrays are not known
---@field length? integer of varchar and char, in characters, when it is not in `type`; 0 for unbounded
---@field precision? integer of numeric, 1 to 1000, when it is not in `type`; 0 for unbounded
---@field scale? integer of numeric, -1000 to 1000
---@field from? garun.plan.From one of from, constant and uuid
---@field constant? string|number|boolean the same text in each row, checked against the type when the plan is taken
---@field uuid? boolean a new time-ordered UUID (version 7) for each row
---@field default? string|number|boolean takes the place of NULL
---@field not_null? boolean a row with NULL here is rejected with code "null"
---@field too_long? "cut"|"reject" a text beyond varchar(n) or char(n): cut at n characters and counted (default), or
---  the row is rejected with code "too_long"; spaces beyond the length always go, as in PostgreSQL
---@field bad? "null"|"reject" a value that the type cannot hold: NULL and counted (default for numbers), or the row is
---  rejected (default for all others) with code "number", "date", "timestamp", "bool", "uuid" or "json"
---@field trim? boolean white space at both ends of texts goes first
---@field empty? "keep"|"null" whether '' is NULL; default "keep"
---@field unit? "s"|"ms"|"us" of timestamps given as numbers since 1970; default "us". Times without an offset are UTC

---@class garun.plan.Table
---@field name? string for route.values
---@field partition? string|integer the column, by name or number from 1, whose text tells rows apart for the host
---@field columns garun.plan.Column[] in the order of the COPY, at most 1600

---@class garun.plan.Route
---@field from garun.plan.From the value that decides about the table; a record without it is rejected, code "route"
---@field values table<string, string|integer> table by value, as a name or a number from 1; other values are counted

---@class garun.plan.Dedup
---@field key garun.plan.From[] what makes two records of a partition the same; read as numbers where they are
---@field unless_null? garun.plan.From[] where one of these is null the whole record, null members aside, is the key
---@field seed? integer any 64 bits; make it random for data of strangers, and the same for all workers of a load

---@class garun.plan.Csv
---@field columns string[] names in the order of the file; a record with more or fewer fields is rejected, code "fields"
---@field delimiter? string one ASCII character, default ","
---@field quote? string one ASCII character, "" for none, default '"'; an unquoted empty field is NULL, a quoted one ''

---@class garun.plan.Spec
---@field format? "ndjson"|"csv" default: csv when `csv` is given
---@field csv? garun.plan.Csv
---@field max_line? integer longest line in bytes, 1 to 16777216 (the default); longer ones are rejected, code "line"
---@field route? garun.plan.Route without it all records go to the first table
---@field dedup? garun.plan.Dedup
---@field range? {min?: string, max?: string} partitions outside, compared as text, are counted and left out
---@field tables garun.plan.Table[] at least one, at most 1024

---@class garun.plan.Step
---@field name? string member, or the member that elements are looked up by
---@field index? integer element, from 0
---@field value? string of a look-up
---@field fold? boolean whether the look-up is without case

---@class garun.plan.Type
---@field name string "text", "varchar", "bpchar", "int2", "int4", "int8", "numeric", "float4", "float8", "bool",
---  "date", "timestamp", "timestamptz", "uuid", "json" or "jsonb"
---@field length? integer
---@field precision? integer
---@field scale? integer

--- Packs a plan into the bytes that the worker takes. The same plan gives the same bytes. Raises kind "plan": code
--- "usage" (a wrong value; the text names the place), "path", "type" or "column" (a CSV file has
--- no such column); kind "usage" for unknown keys.
---
---     local bytes = plan.pack { tables = { { columns = { { name = "raw", type = "jsonb", from = "." } } } } }
---@param spec garun.plan.Spec
---@return string
function plan.pack(spec) end

--- Takes a path apart. The whole record is the empty list. Raises kind "plan", code "path", with the place in the text.
---
---     plan.parse_path("params[key=title].value")  --> { { name = "params" }, { name = "key", value = "title", fold =
---     false }, { name = "value" } }
---@param text string at most 32 steps
---@return garun.plan.Step[]
function plan.parse_path(text) end

--- Takes a type's SQL name apart. Raises kind "plan", code "type", for types that cannot be loaded.
---
---     plan.parse_type("numeric(15,2)")  --> { name = "numeric", precision = 15, scale = 2 }
---@param text string
---@return garun.plan.Type
function plan.parse_type(text) end

return plan
