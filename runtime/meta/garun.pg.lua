---@meta garun.pg
--- PostgreSQL. Every call reads like blocking code and waits without blocking other tasks.
---
---     local pg <const> = require "garun.pg"
---     local db <close> = pg.connect()
---     for row in db:rows("select * from purchase where event_date = $1", day) do ... end
---     db:transaction(function(tx)
---       tx:exec("delete from page_view where event_date = $1", day)
---       local out <close> = tx:copy_in("page_view", { "tenant_id", "event_date", "raw_data" })
---       for event in events do out:row(tenant, day, pg.json(event)) end
---       out:finish()
---     end)
---
--- Values from the server: int2, int4, int8, oid -> integer; float4, float8 -> float; numeric -> string, because money
--- must survive (option numbers = true gives numbers); bool -> boolean; date, time, timestamp, interval, uuid, text,
--- enum and everything else -> string as psql shows it, in UTC; json, jsonb -> decoded by garun.json; bytea -> its
--- bytes; arrays -> tables with pg.null for NULL elements; a domain is what its base type is. NULL is absent (option
--- nulls = true: pg.null, in rows and inside JSON).
---
--- Parameters are $1, $2 ... and never become part of the SQL text. A string, number or boolean is sent as text and the
--- server infers its type from the statement, so `select $1` alone is text: write `$1::int`. nil and pg.null are NULL,
--- trailing ones count. A table raises: say pg.json(t) or pg.array(t). Strings with a NUL byte or broken UTF-8 raise
--- before anything is sent; wrap binary data in pg.bytea(s).
---
--- Where a statement is expected there may be a table, { sql, timeout = 2.5 }, with the options
--- timeout (seconds for the server's answer; then the statement is cancelled), nulls, numbers, arrays (rows are arrays
--- { v1, v2, n = 2 } in column order) and prepare (false: no prepared statement).
---
--- Errors are raised: kind "pg", code the SQLSTATE or "closed", "busy", "timeout", "copy", "too_many",
--- "duplicate_column", "pool_timeout"; message, detail, hint, retryable (true for 08*, 53*, 40001, 40P01, 55P03,
--- 57P01-57P03), connection (database, host, user), statement (its first 200 characters; parameters are never shown),
--- and where the server gave them: where, schema, table, column, datatype, constraint, position. Misuse raises kind
--- "usage".
---
--- One connection runs one thing at a time; a second task gets code "busy". A task that is cancelled while it waits for
--- a statement closes the connection and has the server cancel the statement; an open transaction is rolled back by
--- that.

local pg = {}

---@class pg.Settings
---@field dsn? string "host=... dbname=..." or "postgresql://..."; the other settings override it
---@field host? string name, address, or directory of a Unix socket; several, separated by commas, are tried in turn
---@field hostaddr? string address to use without looking host up
---@field port? integer|string 5432
---@field database? string
---@field user? string
---@field password? string never shown in errors and logs
---@field passfile? string
---@field sslmode? "disable"|"allow"|"prefer"|"require"|"verify-ca"|"verify-full" default: see pg.connect
---@field sslrootcert? string file of the CA; default ~/.postgresql/root.crt, else the system's CAs
---@field sslcert? string
---@field sslkey? string
---@field sslcrl? string
---@field sslsni? integer|string
---@field ssl_min_protocol_version? string
---@field channel_binding? "disable"|"prefer"|"require"
---@field target_session_attrs? "any"|"read-write"|"read-only"|"primary"|"standby"|"prefer-standby"
---@field gssencmode? string default "disable", for a ticket request would block
---@field krbsrvname? string
---@field keepalives? integer
---@field keepalives_idle? integer seconds, default 30
---@field keepalives_interval? integer seconds, default 10
---@field keepalives_count? integer default 3
---@field tcp_user_timeout? integer milliseconds (libpq's unit), default 300000
---@field application_name? string default "garun"
---@field options? string command-line options for the backend
---@field connect_timeout? number seconds for each address, default 10; 0 = none
---@field statement_timeout? number seconds; the server's own limit for each statement
---@field lock_timeout? number seconds
---@field idle_in_transaction_session_timeout? number seconds
---@field search_path? string|string[] a list of names is quoted
---@field role? string SET ROLE
---@field read_only? boolean default_transaction_read_only
---@field time_zone? string default "UTC"
---@field settings? table<string, string|number|boolean> any other settings of the session
---@field timeout? number seconds: default for the calls' option; 0 = none
---@field nulls? boolean default for the calls' option
---@field numbers? boolean default for the calls' option
---@field prepare? boolean false for a pooler that shares sessions between clients (PgBouncer in transaction mode)

---@class pg.Statement
---@field [1] string the SQL text
---@field timeout? number seconds; 0 = none
---@field nulls? boolean
---@field numbers? boolean
---@field arrays? boolean
---@field prepare? boolean

---@class pg.Rows: table an array of rows
---@field n integer number of rows
---@field columns string[] names in order
---@field types string[] "int4", "text[]", ...
---@field affected integer rows that an INSERT, UPDATE, DELETE, MERGE or COPY touched, or a SELECT gave
---@field command string the server's command tag, "INSERT 0 5"

--- Opens a connection. Without an argument: POSTGRES_HOST, _PORT, _USER, _PASSWORD, _DATABASE and _SSLMODE, or the
--- private PostgreSQL when POSTGRES_HOST is not set. A string is a connection string. A table that names a host takes
--- nothing from these variables, one without a host takes what it does not say itself.
---
--- The wire, when sslmode is not given (nor PGSSLMODE): a Unix socket needs nothing; for localhost, 127.x and ::1
--- "allow", TLS only where the server insists; for any other host "verify-full": the server must prove its name.
---
--- The session is UTF-8, UTC, DateStyle ISO, IntervalStyle postgres, bytea as hex, floats at full length, whatever the
--- server's defaults are; client_connection_check_interval is 5 s (PostgreSQL 14 or later), so that a backend notices a
--- client that is gone. A name with several addresses, and several hosts, are tried in turn.
---
---     local db <close> = pg.connect { host = "db1", user = "etl", password = secret, database = "ga" }
---@async
---@param settings? string|pg.Settings
---@return pg.Conn
function pg.connect(settings) end

---@class pg.PoolOptions
---@field size? integer connections that are kept, default DATABASE_POOL_SIZE (10)
---@field max_overflow? integer more of them under load, closed when given back, default DATABASE_MAX_OVERFLOW (5)
---@field timeout? number seconds a borrower waits, default DATABASE_POOL_TIMEOUT (30)
---@field recycle? number age in seconds at which one is replaced, default DATABASE_POOL_RECYCLE (1800); 0 = never
---@field reset? "rollback"|"discard" "discard": DISCARD ALL before a connection is lent again

--- A pool of connections to one database. Nothing is opened before it is needed.
---
---     local pool <close> = pg.pool()
---     task.map(days, function(day) return pool:with(load_day, day) end, { concurrency = 4 })
---@param settings? string|pg.Settings as pg.connect
---@param options? pg.PoolOptions
---@return pg.Pool
function pg.pool(settings, options) end

--- v as JSON, for a json or jsonb parameter, column or array element. pg.json(pg.null) is JSON's null; SQL's NULL is
--- nil.
---@param v any what garun.json can encode, else kind "json"
---@return pg.Value
function pg.json(v) end

--- A list as an array: numbers, strings, booleans, nil (with t.n) or pg.null, pg.json and pg.bytea values, and lists of
--- equal length for more dimensions, at most 6.
---@param t table
---@return pg.Value
function pg.array(t) end

--- A string of any bytes as bytea.
---@param s string
---@return pg.Value
function pg.bytea(s) end

---@class pg.Value

--- A name quoted for SQL text; several are joined with dots. Names cannot be parameters; values should be.
---
---     db:exec("truncate " .. pg.ident("staging", name))
---@param name string not empty
---@param ... string
---@return string
function pg.ident(name, ...) end

--- A value quoted for SQL text, for the few places where $1 is not possible (SET, DDL).
---@param v string|number|boolean|nil
---@return string
function pg.literal(v) end

--- NULL inside arrays and rows; the same value as json.null.
pg.null = nil

---@class pg.Conn
local Conn = {}

--- Runs one statement and gives all rows, each a table by column name. Two columns of one name raise, unless arrays =
--- true.
---
---     local rows <const> = db:query("select name, city from locations where tenant_id = $1", tenant)
---     for _, row in ipairs(rows) do print(row.name, row.city) end
---@async
---@param sql string|pg.Statement one statement
---@param ... any parameters
---@return pg.Rows
function Conn:query(sql, ...) end

--- The only row, or nil when there is none; raises code "too_many" when there are more.
---@async
---@param sql string|pg.Statement
---@param ... any
---@return table?
function Conn:one(sql, ...) end

--- The only column of the only row, or nil when there is no row or it is NULL; raises code "too_many" otherwise.
---@async
---@param sql string|pg.Statement
---@param ... any
---@return any
function Conn:value(sql, ...) end

--- Runs one statement and gives the number of rows it touched.
---@async
---@param sql string|pg.Statement
---@param ... any
---@return integer
function Conn:exec(sql, ...) end

--- Streams rows in constant memory: what is not taken stays on the server. Leaving the loop early cancels the
--- statement; inside a transaction, where a cancel would spoil it, the rest is read and thrown away by the next call
--- instead, so use LIMIT there. The timeout counts the server's time for each row. The fourth value is an object with
--- :close() and :columns() (names, nil before the first row).
---
---     for row in db:rows("select * from page_view where event_date = $1", day) do sink(row) end
---@async
---@param sql string|pg.Statement
---@param ... any
---@return fun(): table? next_row
---@return nil
---@return nil
---@return pg.RowStream
function Conn:rows(sql, ...) end

---@class pg.RowStream
local RowStream = {}

--- Leaves the stream early. A for loop does it by itself.
function RowStream:close() end

--- Names in order, nil before the first row.
---@return string[]?
function RowStream:columns() end

--- Runs several statements without parameters, separated by semicolons, and gives their results in order. Outside a
--- transaction they are one: all or nothing, unless the text has BEGIN and COMMIT of its own. The error's statement is
--- the script's line, or the number of the statement that failed.
---@async
---@param sql string|pg.Statement
---@return pg.Rows[]
function Conn:script(sql) end

---@class pg.TransactionOptions
---@field isolation? "read committed"|"repeatable read"|"serializable"
---@field read_only? boolean
---@field deferrable? boolean
---@field retries? integer how often the function is run again after a serialization failure or deadlock, default 0

--- Runs fn(db) in a transaction and gives its results. Any error rolls back and is raised again, a cancelled task
--- included. A statement that failed and whose error was caught makes the commit raise code 25P02: nothing was stored.
--- Inside a transaction it is a savepoint, and takes no options. A connection lost during COMMIT raises with a hint
--- that the outcome is unknown.
---@async
---@param fn fun(db: pg.Conn): ...
---@param options? pg.TransactionOptions
---@return any ...
function Conn:transaction(fn, options) end

---@class pg.CopyOptions
---@field format? "text"|"csv"|"binary" default "text"; :row() needs it
---@field delimiter? string
---@field null? string
---@field header? boolean
---@field freeze? boolean
---@field timeout? number seconds the server may take no data

--- Opens COPY ... FROM STDIN. Leave it by :finish(); anything else stores nothing.
---
---     local out <close> = db:copy_in("users", { "tenant_id", "user_id", "email" })
---     for u in users do out:row(tenant, u.id, u.email) end
---     local n <const> = out:finish()
---@async
---@param what string a table ("t", "schema.t", or what pg.ident gave), or a whole COPY statement
---@param columns? string[] default: all
---@param options? pg.CopyOptions
---@return pg.CopyIn
function Conn:copy_in(what, columns, options) end

---@class pg.CopyIn
local CopyIn = {}

--- Adds a row: one value per column, nil is NULL (trailing ones too), as parameters otherwise. A value that cannot be
--- stored raises and the row is taken back: a script that catches the error may go on. Waits when the server is slower.
---@async
---@param ... any
function CopyIn:row(...) end

--- Adds ready data in the COPY's format; pieces may begin and end anywhere.
---@async
---@param data string
function CopyIn:write(data) end

--- Ends the COPY and gives the number of rows by the server's count. Raises what the server found wrong; its detail
--- names line and column.
---@async
---@return integer
function CopyIn:finish() end

--- Aborts a COPY that is not finished, with a reason for the server's log. Does not wait.
---@param reason? string
function CopyIn:close(reason) end

--- Bytes handed over so far.
---@return integer
function CopyIn:bytes() end

--- Opens COPY ... TO STDOUT of a table or a query.
---
---     for row in db:copy_out("select id, name from locations"):rows() do print(row[1], row[2]) end
---@async
---@param what string a table, a query, or a whole COPY statement
---@param columns? string[]
---@param options? pg.CopyOptions
---@return pg.CopyOut
function Conn:copy_out(what, columns, options) end

---@class pg.CopyOut
local CopyOut = {}

--- The next chunk of whole rows in the COPY's format (about 64 KiB at most, one row at least), nil at the end.
---@async
---@return string?
function CopyOut:read() end

--- The next row of a text COPY as an array of strings with n; NULL is nil. nil at the end.
---@async
---@return table?
function CopyOut:row() end

--- read as a source: for chunk in out:source() do ... end; leaving the loop closes it.
---@return fun(): string?
---@return nil
---@return nil
---@return pg.CopyOut
function CopyOut:source() end

--- row as an iterator: for row in out:rows() do ... end; leaving the loop closes it.
---@return fun(): table?
---@return nil
---@return nil
---@return pg.CopyOut
function CopyOut:rows() end

--- Rows read so far.
---@return integer
function CopyOut:count() end

--- Leaves it early, as with db:rows. Does not wait.
function CopyOut:close() end

--- Sends many small statements in few round trips. fn(p) adds them; then all run, as one implicit transaction (or as
--- part of the one that is open): the first error undoes all of them and names its statement's number. No COPY. The
--- results come in order: rows for p:query, counts for p:exec.
---
---     local results <const> = db:pipeline(function(p)
---       for _, j in ipairs(jobs) do p:exec("update job set seen = now() where id = $1", j) end
---     end)
---@async
---@param fn fun(p: pg.Pipeline)
---@param options? {timeout: number}
---@return (pg.Rows|integer)[] results with n
function Conn:pipeline(fn, options) end

---@class pg.Pipeline
local Pipeline = {}

--- Adds a statement whose rows are wanted; gives its number.
---@param sql string
---@param ... any
---@return integer
function Pipeline:query(sql, ...) end

--- Adds a statement whose count is wanted; gives its number.
---@param sql string
---@param ... any
---@return integer
function Pipeline:exec(sql, ...) end

--- Subscribes to a channel.
---@async
---@param channel string
function Conn:listen(channel) end

--- Ends a subscription, or all of them.
---@async
---@param channel? string
function Conn:unlisten(channel) end

--- Sends a notification, at the end of the transaction when one is open.
---@async
---@param channel string
---@param payload? string less than 8000 bytes
function Conn:notify(channel, payload) end

---@class pg.Notification
---@field channel string
---@field payload string
---@field pid integer of the sender's backend

--- The next notification, also one that came during a statement; nil when none came within timeout seconds. A task
--- cancelled here leaves the connection usable. Raises inside a transaction, where none arrives.
---@async
---@param timeout? number seconds, default: for ever
---@return pg.Notification?
function Conn:notification(timeout) end

--- An iterator over notification(timeout); ends when none came for timeout seconds.
---
---     db:listen("jobs")
---     for n in db:notifications(60) do wake(n.payload) end
---@param timeout? number
---@return fun(): pg.Notification?
function Conn:notifications(timeout) end

--- Called by another task: asks the server to cancel the running statement, whose caller gets code 57014. false when
--- none runs.
---@async
---@return boolean sent
function Conn:cancel() end

---@class pg.Defaults
---@field timeout? number
---@field nulls? boolean
---@field numbers? boolean
---@field prepare? boolean

--- Sets the options of calls that do not give their own.
---@param options pg.Defaults
function Conn:defaults(options) end

--- What the connection is doing. "draining": a stream or COPY was left early, the next call reads its rest first.
---@return "new"|"idle"|"transaction"|"busy"|"listening"|"rows"|"copy_in"|"copy_out"|"draining"|"closed"
function Conn:status() end

--- The transaction's state, without asking the server; "failed" until it is rolled back.
---@return "idle"|"open"|"failed"|"active"
function Conn:transaction_status() end

--- Whether a transaction is open, failed ones included.
---@return boolean
function Conn:in_transaction() end

--- false when the server has ended this idle connection meanwhile. Does not wait.
---@return boolean
function Conn:alive() end

--- A setting that the server reports by itself: "server_version", "TimeZone", "in_hot_standby" ...
---@param name string
---@return string?
function Conn:parameter(name) end

--- The server's version as one number: 150004 is 15.4.
---@return integer
function Conn:server_version() end

--- The pid of this connection's backend, for pg_stat_activity.
---@return integer
function Conn:backend_pid() end

--- The database's name.
---@return string
function Conn:database() end

--- The user that logged in.
---@return string
function Conn:user() end

--- "TLSv1.3", or nil in clear text and on a Unix socket.
---@return string?
function Conn:tls() end

--- Closes the connection; an open transaction is rolled back by the server. A lent one goes back to its pool. Twice is
--- fine.
function Conn:close() end

---@class pg.Pool
local Pool = {}

--- Lends a connection whose close gives it back; waits for one at most timeout seconds (default: the pool's), first
--- come first served, then raises code "pool_timeout". A dead idle connection is replaced. One that is given back
--- inside a transaction is closed instead.
---@async
---@param timeout? number
---@return pg.Conn
function Pool:connect(timeout) end

--- Lends a connection to fn(db, ...) and gives its results; an open transaction is rolled back afterwards.
---@async
---@param fn fun(db: pg.Conn, ...): ...
---@param ... any
---@return any ...
function Pool:with(fn, ...) end

---@class pg.PoolStatus
---@field size integer
---@field max_overflow integer
---@field total integer connections that exist or are being opened
---@field idle integer
---@field in_use integer
---@field waiting integer tasks
---@field closed boolean

--- Numbers at this moment.
---@return pg.PoolStatus
function Pool:status() end

--- Closes idle connections now, lent ones when they come back. Waiting tasks get code "closed".
function Pool:close() end

return pg
