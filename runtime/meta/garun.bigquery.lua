---@meta garun.bigquery
--- A client of Google BigQuery, made for the GA4 export: days of events as sources of a load, queries with exact values,
--- tables and what is known of them.
---
---     local bigquery <const> = require "garun.bigquery"
---     local client <close> = bigquery.client { dataset = "analytics_123456789", credentials = key_text }
---     for _, d in ipairs(client:days("2024-01-01", "2024-01-04")) do print(d.day, d.kind, d.rows, d.last_modified) end
---     for chunk in client:events("2024-01-04").open() do ... end       -- NDJSON
---     for row in client:query("select event_name, count(*) as n from events_20240104 group by 1") do ... end
---
--- Errors have kind "bigquery" and Google's reason as code ("notFound", "quotaExceeded", "accessDenied"; the HTTP status,
--- "503", where no reason came; "invalid_grant" for keys), or kind "http" for the wire. What may pass (5xx, 429, rate limits,
--- cut and damaged answers) has been tried again before it is raised, with retryable = true; a 401 once with a new token.
--- An answer that is not whole is an error, never fewer rows: code "rowCount", "totalRows", "repeatedPage", "tableChanged"
--- (all retryable), "page", "truncated".
---
--- BIGQUERY_EMULATOR_HOST ("localhost:9050") is the server instead of Google's, without credentials, page by page;
--- STORAGE_EMULATOR_HOST (a URL) the same for Cloud Storage. GOOGLE_APPLICATION_CREDENTIALS and GCE_METADATA_HOST are read
--- as Google's own clients do.

local bigquery = {}

---@class garun.bigquery.ClientOptions
---@field project? string the project that pays; default: that of the credentials
---@field dataset? string "analytics_123456789", or "project.analytics_123456789" for data of another project
---@field credentials? table|string|false a key: table, JSON text or path (service_account, authorized_user); "metadata" on
---  a machine of Google's; false: none. Default: where Google's tools look (GOOGLE_APPLICATION_CREDENTIALS, gcloud's file)
---@field location? string "EU", "europe-west3"; default: BigQuery finds it by the data
---@field endpoint? string default https://bigquery.googleapis.com; http only to this machine, or without credentials
---@field storage_endpoint? string default https://storage.googleapis.com
---@field labels? table<string, string> of all jobs, for the bill; lower-case letters, digits, _ and -, at most 63
---@field maximum_bytes_billed? integer a query that would cost more fails with code "bytesBilledLimitExceeded"
---@field price_per_tib? number for estimates, default 6.25
---@field user_project? string quota project (X-Goog-User-Project); default: that of the credentials
---@field bucket? string "bucket" or "gs://bucket/prefix" of Cloud Storage, in the data's location, for via = "extract"
---@field paging? "range"|"token" pages by row numbers and in parallel (default), or one after another as emulators need it
---@field timeout? number seconds a call may take, 1 to 3600, default 60; not of downloads, which may go on
---@field job_timeout? number seconds a job may take until it is cancelled, 1 to 86400, default 3600
---@field retries? integer tries after the first one, 0 to 20, default 6
---@field backoff? number seconds of the first pause, doubled up to 32, default 1
---@field http? table options of http.client: ca, proxy, max_connections ...

---@class garun.bigquery.Client
local Client = {}

--- Makes a client. Nothing is sent yet. Raises kind "bigquery", code "credentials" for a key that is none.
---@param opts garun.bigquery.ClientOptions
---@return garun.bigquery.Client
---@nodiscard
function bigquery.client(opts) end

--- Closes its connections.
function Client:close() end

---@class garun.bigquery.QueryOptions
---@field params? table by name (@name) or an array (?): strings, integers, floats, booleans, arrays of them, and
---  { type = "DATE", value = "2024-01-31" } for other types, { type = "STRING" } for NULL,
---  { type = "ARRAY<STRING>", value = {} } for empty arrays
---@field dry_run? boolean true: nothing is run; gives a garun.bigquery.Estimate
---@field page_rows? integer rows a page, default 2000: what is in memory at once, twice
---@field labels? table<string, string> added to the client's
---@field maximum_bytes_billed? integer
---@field location? string
---@field use_cache? boolean default true

---@class garun.bigquery.Estimate
---@field bytes integer that would be read
---@field cost number in the currency of price_per_tib
---@field schema table
---@field location? string

--- An iterator: `for row in result do`. Rows are tables by column name. INT64 are integers, FLOAT64 floats, BOOL booleans,
--- BYTES bytes, TIMESTAMP an integer of microseconds since 1970; NUMERIC, BIGNUMERIC, DATE, TIME, DATETIME, JSON and
--- GEOGRAPHY are text. RECORD is a table, REPEATED an array; NULL is absent.
---@class garun.bigquery.Result
---@field schema table { fields = { { name, type, mode, fields } } }
---@field total? integer rows of the whole answer
---@field bytes? integer bytes that the query read
---@field job_id? string
---@field cache_hit? boolean
---@field affected? integer rows that a DML statement changed
local Result = {}

--- All rows that are left.
---@async
---@return table[]
function Result:all() end

--- Gives up the rest. `local r <close> = client:query(...)` does it too.
function Result:close() end

--- Runs a query in GoogleSQL and gives its rows; names without a data set are of the client's. Not for millions of rows:
--- client:events and client:rows are.
---@async
---@param sql string
---@param opts? garun.bigquery.QueryOptions
---@return garun.bigquery.Result|garun.bigquery.Estimate
function Client:query(sql, opts) end

--- Reads a table without a query, which costs nothing. No snapshot: a table that is replaced meanwhile raises code
--- "tableChanged" (at the end at the latest).
---@async
---@param name string
---@param opts? { columns: string[]?, page_rows: integer? }
---@return garun.bigquery.Result
function Client:rows(name, opts) end

--- The tables of the data set: an iterator over { name, type, created } (created in milliseconds since 1970).
---@async
---@return fun(): table?
function Client:tables() end

---@class garun.bigquery.Table
---@field name string
---@field type string "TABLE", "VIEW" ...
---@field schema table
---@field rows? integer without those of the streaming buffer
---@field bytes? integer
---@field last_modified? integer milliseconds since 1970
---@field created? integer milliseconds since 1970
---@field etag? string
---@field location? string
---@field streaming boolean rows are still on their way into it

--- What is known of a table, free of charge; nil when there is none of that name.
---@async
---@param name string
---@return garun.bigquery.Table?
function Client:table(name) end

---@class garun.bigquery.Day: garun.bigquery.Table
---@field day string
---@field kind "daily"|"fresh"|"intraday"|"missing"
---@field table? string nil when the day is missing

--- What there is for each day of a range, free of charge: the daily table, else the fresh one (Analytics 360), else the
--- intraday one. Google rewrites daily tables for up to three days; a day whose last_modified and rows are those of the
--- last load needs no load.
---@async
---@param from string
---@param to string
---@param opts? { intraday: boolean|"only"|nil } intraday = false: without intraday tables; "only": nothing else
---@return garun.bigquery.Day[]
function Client:days(from, to, opts) end

---@class garun.bigquery.EventsOptions
---@field types? string[] event names; default all. It changes the download, not the price
---@field columns? string[] of the table's columns; those that it does not have are left out. It changes the price
---@field intraday? boolean|"only" as of client:days
---@field nulls? "strip"|"keep" NULL members are left out by BigQuery (default), or written (default with an emulator)
---@field via? "query"|"extract" extract: a job writes the table to the client's bucket, which costs no query; for big days
---@field parallel? integer pages or files under way at once beside the one that is read, 1 to 32, default 3
---@field page_rows? integer rows asked for at once, 1 to 1000000; default: what a page of BigQuery's holds
---@field table? garun.bigquery.Day of client:days, to save asking again

--- A source as of garun.source. open() runs the query (or extract) and gives a stream of NDJSON, one event a line; at its
--- end stream.digest is `version` unless the table has changed since the source was made, stream.rows the number of events.
--- The stream holds at most a few MiB, whatever the day's size, and makes the download wait.
---@class garun.bigquery.Events: garun.Source
---@field day string
---@field table string
---@field table_kind "daily"|"fresh"|"intraday"
---@field rows? integer of the table
---@field size? integer bytes of the table
---@field mtime_ns? integer its last change
---@field version string digest of the table's name, last change and rows and of types and columns, before reading
---@field sql? string the query
---@field estimate fun(): garun.bigquery.Estimate what it would cost, by a dry run

--- The events of a day. Raises code "notFound" when there is no table for it: a day without a table is not a day without
--- events. INT64 are JSON numbers (nulls = "strip"), numbers or, beyond 2^53, strings ("keep"), or strings ("extract").
---@async
---@param day string
---@param opts? garun.bigquery.EventsOptions
---@return garun.bigquery.Events
function Client:events(day, opts) end

--- Whether the account may do what a load needs, at no cost: asks for the data set and for a dry run.
---@async
---@return { location: string? }
function Client:check() end

return bigquery
